package datasets

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CustomImage is the source custom_image: prompts with pictures, as JSON Lines. A row has a
// prompt and a list of image_files, or content parts as they go into a chat message.
type CustomImage struct {
	Path      string `json:"path" yaml:"path"`
	OutputLen int    `json:"output_len" yaml:"output_len"`
	// Inline sends the pictures themselves instead of their names.
	Inline bool `json:"inline,omitempty" yaml:"inline,omitempty"`
}

func (c *CustomImage) needs() needs { return needs{all: true} }

func (c *CustomImage) load(b *build) error {
	rows, err := customRows(c.Path)
	if err != nil {
		return err
	}
	for _, r := range rows {
		_, hasPrompt := r.get("prompt")
		_, hasFiles := r.get("image_files")
		_, hasContent := r.get("content")
		if !hasContent && !(hasPrompt && hasFiles) {
			return fmt.Errorf("%s: need \"prompt\" and \"image_files\", or \"content\": have %s", r.place, r.keys())
		}
	}
	return b.fromRows(rows, c.sample)
}

// fromRows takes the samples that sample makes of shuffled rows, on all workers and in the
// order of the rows, repeated until there are enough.
func (b *build) fromRows(rows []row, sample func(*build, row) (Sample, error)) error {
	shuffled(b, b.Seed, rows)
	want := b.Requests
	if want <= 0 {
		want = len(rows)
	}
	err := inOrder(b.ctx, min(want, len(rows)), b.Workers, func(i int) (Sample, error) {
		s, err := sample(b, rows[i])
		if err != nil {
			return s, fmt.Errorf("%s: %w", rows[i].place, err)
		}
		return s, nil
	}, func(i int, s Sample) (bool, error) {
		s.ID = b.id(i)
		b.samples = append(b.samples, s)
		return true, nil
	})
	if err != nil {
		return err
	}
	return b.oversample(b.Seed, want)
}

func (c *CustomImage) sample(b *build, r row) (s Sample, err error) {
	s = Sample{InputTokens: -1, OutputTokens: c.OutputLen}
	if !b.Compat { // vLLM asks for -1 tokens
		s.OutputTokens = max(0, c.OutputLen)
	}
	var text string
	if content, ok := r.get("content"); ok {
		parts, words, err := c.parts(content)
		if err != nil {
			return s, err
		}
		text = words
		s.Prompt = Prompt{JSON: json.RawMessage(parts)}
		if b.Chat {
			s.Prompt = Prompt{JSON: json.RawMessage(userMessage(parts))}
		}
	} else {
		if text, err = r.text("prompt"); err != nil {
			return s, err
		}
		files, _ := r.get("image_files")
		names, ok := files.([]value)
		if !ok || len(names) == 0 {
			return s, errors.New("\"image_files\" must be a list with at least one file")
		}
		for _, name := range names {
			ref, ok := name.(string)
			if !ok {
				return s, fmt.Errorf("\"image_files\" has %s where a path or URL belongs", kindOf(name))
			}
			m, err := c.image(ref)
			if err != nil {
				return s, err
			}
			s.Media = append(s.Media, m)
		}
		s.Prompt = Prompt{Text: text}
		b.chatted(&s)
	}
	switch {
	case b.Tokenizer != nil:
		s.InputTokens, err = b.count(text)
	case b.Compat:
		s.InputTokens = 1
	}
	return s, err
}

// parts are content parts as they go into a chat message, and the text in them.
func (c *CustomImage) parts(content value) (parts, text string, err error) {
	items, ok := content.([]value)
	if !ok || len(items) == 0 {
		return "", "", errors.New("\"content\" must be a list with at least one part")
	}
	out := make([]string, len(items))
	for i, item := range items {
		part, ok := item.(fields)
		if !ok {
			return "", "", fmt.Errorf("content part %d is %s, not an object", i, kindOf(item))
		}
		kind, err := part.text("type")
		if err != nil {
			return "", "", fmt.Errorf("content part %d: %w", i, err)
		}
		switch kind {
		case "text":
			words, err := part.text("text")
			if err != nil {
				return "", "", fmt.Errorf("content part %d: %w", i, err)
			}
			text += words
			out[i] = object("type", `"text"`, "text", quote(words))
		case "image":
			ref, err := part.text("image")
			if err != nil {
				return "", "", fmt.Errorf("content part %d: %w", i, err)
			}
			m, err := c.image(ref)
			if err != nil {
				return "", "", fmt.Errorf("content part %d: %w", i, err)
			}
			out[i] = string(m.JSON)
		case "image_url":
			if out[i], err = c.imagePart(part); err != nil {
				return "", "", fmt.Errorf("content part %d: %w", i, err)
			}
		default:
			return "", "", fmt.Errorf("content part %d is of type %q: have text, image, image_url", i, kind)
		}
	}
	return list(out...), text, nil
}

// imagePart is a part of type image_url. What stands beside the URL is kept.
func (c *CustomImage) imagePart(part fields) (string, error) {
	v, _ := part.get("image_url")
	if ref, ok := v.(string); ok {
		m, err := c.image(ref)
		return string(m.JSON), err
	}
	named, ok := v.(fields)
	if !ok {
		return "", errors.New("\"image_url\" must be a string or an object with a url")
	}
	ref, err := named.text("url")
	if err != nil {
		return "", err
	}
	if ref, err = c.reference(ref); err != nil {
		return "", err
	}
	pairs := []string{"url", quote(ref)}
	for _, f := range named {
		if f.key != "url" {
			pairs = append(pairs, f.key, spell(f.value))
		}
	}
	return object("type", `"image_url"`, "image_url", object(pairs...)), nil
}

func (c *CustomImage) image(ref string) (Media, error) {
	ref, err := c.reference(ref)
	if err != nil {
		return Media{}, err
	}
	return imageURL(ref), nil
}

// reference is how an image is named in a request: by its URL, or with Inline by its data.
func (c *CustomImage) reference(ref string) (string, error) {
	ref = url(ref, "http://", "https://", "file://", "data:image/")
	if !c.Inline || strings.HasPrefix(ref, "data:image/") {
		return ref, nil
	}
	data, err := fetch(ref, filepath.Dir(c.Path))
	if err != nil {
		return "", err
	}
	kind := http.DetectContentType(data)
	if !strings.HasPrefix(kind, "image/") {
		return "", fmt.Errorf("%s is %s, not an image", ref, kind)
	}
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data), nil
}

// largest bounds one file of media, in bytes.
const largest = 1 << 30

// fetch reads what a URL names. A relative path is looked for in the working folder, then
// in the folder of the file that names it.
func fetch(ref, folder string) ([]byte, error) {
	path, ok := strings.CutPrefix(ref, "file://")
	if ok {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(path) {
			if beside, err := os.ReadFile(filepath.Join(folder, path)); err == nil {
				return beside, nil
			}
		}
		return data, err
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get(ref)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", ref, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, largest+1))
	if err == nil && len(data) > largest {
		err = fmt.Errorf("%s: larger than %d bytes", ref, largest)
	}
	return data, err
}
