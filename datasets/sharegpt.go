package datasets

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// ShareGPT is the source sharegpt: a JSON list of conversations, of which the first turn
// is the prompt and the second says how long the answer is.
type ShareGPT struct {
	Path string `json:"path" yaml:"path"`
	// OutputLen is the length of every answer in tokens; nil takes the length of the
	// second turn.
	OutputLen *int `json:"output_len,omitempty" yaml:"output_len,omitempty"`
}

func (s *ShareGPT) needs() needs { return needs{tokenizer: true} }

// A conversation is what a row of sharegpt is reduced to.
type conversation struct {
	place          string
	prompt, answer string
	image, video   string
	later          []exchange
}

// An exchange is a later turn of a conversation and its answer.
type exchange struct{ prompt, answer string }

// fits says whether lengths are those of an ordinary exchange, by the limits that vLLM
// took over from its first benchmark.
func fits(prompt, output, maxPrompt, maxTotal int, anyOutput bool) bool {
	const shortest = 4
	return prompt >= shortest && (anyOutput || output >= shortest) && prompt <= maxPrompt && prompt+output <= maxTotal
}

// readConversations reads a JSON list one conversation at a time: the file is hundreds of
// megabytes, most of which is not needed unless conversations are wanted whole.
func readConversations(r io.Reader, path string, whole bool) ([]conversation, error) {
	d := json.NewDecoder(bufio.NewReaderSize(r, 1<<20))
	if tok, err := d.Token(); err != nil || tok != json.Delim('[') {
		return nil, fmt.Errorf("%s: not a JSON list of conversations", path)
	}
	var out []conversation
	for i := 0; d.More(); i++ {
		place := fmt.Sprintf("%s: conversation %d", path, i)
		var entry struct {
			Conversations []struct{ Value *string }
			Image, Video  json.RawMessage
		}
		if err := d.Decode(&entry); err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		if len(entry.Conversations) < 2 {
			continue
		}
		first, second := entry.Conversations[0].Value, entry.Conversations[1].Value
		if first == nil || second == nil {
			return nil, fmt.Errorf("%s: a turn has no value", place)
		}
		c := conversation{place: place, prompt: *first, answer: *second}
		for turn := 2; whole && turn+1 < len(entry.Conversations); turn += 2 {
			prompt, answer := entry.Conversations[turn].Value, entry.Conversations[turn+1].Value
			if prompt == nil || answer == nil {
				return nil, fmt.Errorf("%s: a turn has no value", place)
			}
			c.later = append(c.later, exchange{*prompt, *answer})
		}
		for _, media := range []struct {
			from json.RawMessage
			to   *string
			name string
		}{{entry.Image, &c.image, "image"}, {entry.Video, &c.video, "video"}} {
			if len(media.from) == 0 || string(media.from) == "null" {
				continue
			}
			if err := json.Unmarshal(media.from, media.to); err != nil {
				return nil, fmt.Errorf("%s: %s is not a path or URL", place, media.name)
			}
		}
		out = append(out, c)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no conversation has two turns", path)
	}
	return out, nil
}

func (s *ShareGPT) load(b *build) error {
	file, err := os.Open(s.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	rows, err := readConversations(file, s.Path, b.Conversations)
	if err != nil {
		return err
	}
	shuffled(b, b.Seed, rows)
	type lengths struct {
		prompt, answer int
		later          []Turn
	}
	err = inOrder(b.ctx, len(rows), b.Workers, func(i int) (l lengths, err error) {
		if l.prompt, err = b.count(rows[i].prompt); err == nil {
			l.answer, err = b.count(rows[i].answer)
		}
		for _, e := range rows[i].later {
			turn := Turn{Text: e.prompt}
			if s.OutputLen != nil {
				turn.OutputTokens = *s.OutputLen
			} else if err == nil {
				turn.OutputTokens, err = b.count(e.answer)
				turn.OutputTokens = max(turn.OutputTokens, 1)
			}
			l.later = append(l.later, turn)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", rows[i].place, err)
		}
		return l, err
	}, func(i int, l lengths) (bool, error) {
		output := l.answer
		if s.OutputLen != nil {
			output = *s.OutputLen
		}
		if !fits(l.prompt, output, 1024, 2048, s.OutputLen != nil) {
			return true, nil
		}
		sample := Sample{
			ID: b.id(len(b.samples)), Prompt: Prompt{Text: rows[i].prompt}, InputTokens: l.prompt, OutputTokens: output, Later: l.later,
		}
		switch {
		case rows[i].image != "":
			sample.Media = []Media{imageURL(rows[i].image)}
		case rows[i].video != "":
			sample.Media = []Media{videoURL(rows[i].video)}
		}
		b.chatted(&sample)
		b.samples = append(b.samples, sample)
		return len(b.samples) < b.Requests, nil
	})
	if err != nil {
		return err
	}
	if err := b.oversample(b.Seed, b.Requests); err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}
