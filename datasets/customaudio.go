package datasets

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// CustomAudio is the source custom_audio: sound files, each with a prompt or without, as
// JSON Lines. With Options.Chat the sound goes into chat messages, else it is uploaded.
type CustomAudio struct {
	Path string `json:"path" yaml:"path"`
	// OutputLen is the length of every answer in tokens; -1 takes output_tokens of each
	// row.
	OutputLen int `json:"output_len" yaml:"output_len"`
}

func (c *CustomAudio) needs() needs { return needs{all: true} }

func (c *CustomAudio) load(b *build) error {
	rows, err := customRows(c.Path)
	if err != nil {
		return err
	}
	return b.fromRows(rows, c.sample)
}

func (c *CustomAudio) sample(b *build, r row) (s Sample, err error) {
	text := ""
	if _, ok := r.get("prompt"); ok {
		if text, err = r.text("prompt"); err != nil {
			return s, err
		}
	}
	name, err := r.text("audio")
	if err != nil {
		return s, err
	}
	data, err := fetch(url(name, "http://", "https://", "file://"), filepath.Dir(c.Path))
	if err != nil {
		return s, err
	}
	sound, err := readClip(data, name)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	output, has := r.get("output_tokens")
	s = Sample{Prompt: Prompt{Text: text}, InputTokens: -1, Media: []Media{sound.media(b.Chat)}}
	if s.OutputTokens, err = b.wishedOutput(wish{output: output, hasOut: has}, c.OutputLen); err != nil {
		return s, err
	}
	if b.Tokenizer == nil {
		return s, nil
	}
	if !b.Chat && !b.SkipTemplate && hasTemplate(b.Tokenizer) {
		if text, err = b.template(userMessage(quote(text)), nil); err != nil {
			return s, err
		}
		s.Prompt = Prompt{Text: text}
	}
	s.InputTokens, err = b.count(text)
	return s, err
}

// hasTemplate says whether a tokenizer can render chats: some are of a kind that could, and
// have no template.
func hasTemplate(tok Tokenizer) bool {
	if _, ok := tok.(Template); !ok {
		return false
	}
	t, ok := tok.(interface{ HasTemplate() bool })
	return !ok || t.HasTemplate()
}

// media is the sound as a part of a chat message, or as a file to upload.
func (c clip) media(chat bool) Media {
	if !chat {
		return Media{Type: "audio", Name: c.name, Data: c.data, Seconds: c.seconds}
	}
	return Media{Type: "input_audio", Seconds: c.seconds, JSON: json.RawMessage(object(
		"type", `"input_audio"`,
		"input_audio", object("data", quote(base64.StdEncoding.EncodeToString(c.data)), "format", quote(c.format)),
	))}
}
