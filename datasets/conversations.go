package datasets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Conversations is the source conversations: whole conversations, in either format of vLLM's multi-turn script. A JSON list
// holds them; a JSON object with "filetype": "generate_conversations" says how they are cut out of text files.
type Conversations struct {
	Path string `json:"path" yaml:"path"`
	// OutputLen is the length of every answer in tokens; nil takes those of the answers in the file. NoLimit asks for no length.
	OutputLen *int `json:"output_len,omitempty" yaml:"output_len,omitempty"`
	NoLimit   bool `json:"no_limit,omitempty" yaml:"no_limit,omitempty"`
}

func (c *Conversations) needs() needs { return needs{all: true, tokenizer: true} }

// Parameters are how the file says that conversations are made, names with their values in the order of the script's report; nil where it
// holds the conversations themselves.
func (c *Conversations) Parameters() ([][2]string, error) {
	text, err := os.ReadFile(c.Path)
	if err != nil {
		return nil, err
	}
	if !describes(text) {
		return nil, nil
	}
	s, err := readGenerated(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	return [][2]string{
		{"text_files", strings.Join(s.TextFiles, ", ")}, {"input_num_turns", s.Input.Turns.String()},
		{"input_common_prefix_num_tokens", s.Input.CommonPrefix.String()}, {"input_prefix_num_tokens", s.Input.Prefix.String()},
		{"input_num_tokens", s.Input.Tokens.String()}, {"output_num_tokens", s.Output.Tokens.String()},
	}, nil
}

// describes says that a file tells how conversations are made.
func describes(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

// A said is a conversation in texts: a question and its answer in turn.
type said struct {
	id    string
	turns []exchange
}

func (c *Conversations) load(b *build) error {
	text, err := os.ReadFile(c.Path)
	if err != nil {
		return err
	}
	var all []said
	if describes(text) {
		var s *generated
		if s, err = readGenerated(text); err == nil {
			all, err = s.make(b)
		}
	} else {
		var left int
		all, left, err = readSaid(text)
		if left > 0 {
			b.note("%s: %d last questions without an answer were left out: nothing says how long their answers are", c.Path, left)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	if b.Requests > 0 && b.Requests < len(all) {
		all = all[:b.Requests]
	}
	// Answers that were cut out of a text begin alike: most are counted once.
	return inOrder(b.ctx, len(all), b.Workers, func(i int) ([]Turn, error) {
		turns := make([]Turn, len(all[i].turns))
		for k, e := range all[i].turns {
			question, err := b.Tokenizer.Encode(e.prompt, false)
			if err != nil {
				return nil, err
			}
			answer, err := b.Tokenizer.Encode(e.answer, false)
			if err != nil {
				return nil, err
			}
			wanted := max(1, len(answer))
			switch {
			case c.NoLimit:
				wanted = -1
			case c.OutputLen != nil:
				wanted = *c.OutputLen
			}
			turns[k] = Turn{Text: e.prompt, Answer: e.answer, InputTokens: len(question), OutputTokens: wanted}
		}
		return turns, nil
	}, func(i int, turns []Turn) (bool, error) {
		b.samples = append(b.samples, Sample{
			ID: all[i].id, Prompt: Prompt{Text: turns[0].Text}, InputTokens: turns[0].InputTokens, OutputTokens: turns[0].OutputTokens,
			Answer: turns[0].Answer, Later: turns[1:],
		})
		return true, nil
	})
}

// readSaid reads a list of conversations; left counts questions at their ends that have no answer.
func readSaid(text []byte) (all []said, left int, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if tok, err := d.Token(); err != nil || tok != json.Delim('[') {
		return nil, 0, errors.New("neither a JSON list of conversations nor an object that says how to make them")
	}
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		var entry struct {
			ID       *string                           `json:"id"`
			Messages []struct{ Role, Content *string } `json:"messages"`
		}
		if err := d.Decode(&entry); err != nil {
			return nil, 0, fmt.Errorf("conversation %d: %w", i, err)
		}
		switch {
		case entry.ID == nil:
			return nil, 0, fmt.Errorf(`conversation %d has no "id": want {"id": "...", "messages": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]}`, i)
		case seen[*entry.ID]:
			return nil, 0, fmt.Errorf("conversation %d has the id %q of an earlier one", i, *entry.ID)
		case len(entry.Messages) == 0:
			return nil, 0, fmt.Errorf(`conversation %d (%s) has no "messages"; files of ShareGPT's own form are those of dataset sharegpt`, i, *entry.ID)
		}
		seen[*entry.ID] = true
		s := said{id: *entry.ID}
		for n, m := range entry.Messages {
			want := [...]string{"user", "assistant"}[n%2]
			switch {
			case m.Role == nil || m.Content == nil:
				return nil, 0, fmt.Errorf("conversation %d (%s): message %d lacks its role or content", i, s.id, n)
			case *m.Role != want:
				return nil, 0, fmt.Errorf("conversation %d (%s): message %d is of role %q; want %s: user and assistant take turns, the user first", i, s.id, n, *m.Role, want)
			case n%2 == 1:
				s.turns = append(s.turns, exchange{*entry.Messages[n-1].Content, *m.Content})
			case n == len(entry.Messages)-1:
				left++
			}
		}
		if len(s.turns) > 0 {
			all = append(all, s)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, 0, err
	}
	if len(all) == 0 {
		return nil, 0, errors.New("no conversation has a question and an answer")
	}
	return all, left, nil
}

// A generated says how conversations are made.
type generated struct {
	Filetype      string   `json:"filetype"`
	Conversations int      `json:"num_conversations"`
	TextFiles     []string `json:"text_files"`
	PrintStats    bool     `json:"print_stats"`
	Input         struct {
		Turns        *lengths `json:"num_turns"`
		CommonPrefix *lengths `json:"common_prefix_num_tokens"`
		Prefix       *lengths `json:"prefix_num_tokens"`
		Tokens       *lengths `json:"num_tokens"`
	} `json:"prompt_input"`
	Output struct {
		Tokens *lengths `json:"num_tokens"`
	} `json:"prompt_output"`
}

const generatedType = "generate_conversations"

// Bounds of what a file may ask for: above them it is not what it seems.
const (
	mostConversations = 1 << 20
	mostMessages      = 1 << 16
)

func readGenerated(text []byte) (*generated, error) {
	s := &generated{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the object")
	}
	switch {
	case s.Filetype != generatedType:
		return nil, fmt.Errorf("filetype is %q; want %q", s.Filetype, generatedType)
	case s.Conversations < 1 || s.Conversations > mostConversations:
		return nil, fmt.Errorf("num_conversations is %d; want 1 to %d", s.Conversations, mostConversations)
	case len(s.TextFiles) == 0:
		return nil, errors.New("text_files is empty: name at least one file that prompts are cut out of")
	}
	for _, field := range []struct {
		name            string
		of              *lengths
		optional, whole bool
	}{
		{"prompt_input.num_turns", s.Input.Turns, false, true},
		{"prompt_input.num_tokens", s.Input.Tokens, false, false},
		{"prompt_input.common_prefix_num_tokens", s.Input.CommonPrefix, true, true},
		{"prompt_input.prefix_num_tokens", s.Input.Prefix, false, true},
		{"prompt_output.num_tokens", s.Output.Tokens, false, false},
	} {
		if field.of == nil {
			if !field.optional {
				return nil, fmt.Errorf(`%s is missing: want a distribution, such as {"distribution": "constant", "value": 100}`, field.name)
			}
			continue
		}
		if err := field.of.check(field.whole); err != nil {
			return nil, fmt.Errorf("%s: %w", field.name, err)
		}
	}
	return s, nil
}

// baseText is what every question asks; what follows it comes from the text files.
const baseText = "Please rewrite the following text and add more content: "

// make cuts conversations out of the text files, as vLLM's script does from the same seed.
func (s *generated) make(b *build) ([]said, error) {
	base, err := b.Tokenizer.Encode(baseText, false)
	if err != nil {
		return nil, err
	}
	var source []int
	for _, name := range s.TextFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("text_files: %w", err)
		}
		lines := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\r", "\n") // as Python reads a text file
		ids, err := b.Tokenizer.Encode(lines, false)
		if err != nil {
			return nil, fmt.Errorf("text_files: %s: %w", name, err)
		}
		source = append(source, ids...)
	}
	// cut is a piece of the text.
	cut := func(from, n int) (string, error) {
		if from+n >= len(source) {
			return "", fmt.Errorf("%d tokens of text are wanted from number %d on, but the text files have %d: give longer text_files, or ask for less", n, from, len(source))
		}
		return b.Tokenizer.Decode(source[from : from+n])
	}
	answers := map[int]string{}
	answer := func(n int) (string, error) {
		text, ok := answers[n]
		if !ok {
			var err error
			if text, err = cut(0, n); err != nil {
				return "", err
			}
			answers[n] = text
		}
		return text, nil
	}

	messages := s.Input.Turns.sample(b.legacy, s.Conversations)
	for i, n := range messages {
		n = max(n, 2)
		messages[i] = n + n%2 // every question has its answer
		if n > mostMessages {
			return nil, fmt.Errorf("conversation %d has %d messages; want at most %d", i, n, mostMessages)
		}
	}
	prefixes := s.Input.Prefix.sample(b.legacy, s.Conversations)
	offset, common := 0, ""
	if s.Input.CommonPrefix != nil {
		if n := s.Input.CommonPrefix.sample(b.legacy, 1)[0]; n > 0 {
			if common, err = cut(0, max(0, n-2)); err != nil {
				return nil, fmt.Errorf("prompt_input.common_prefix_num_tokens: %w", err)
			}
			common += "."
			offset = n
		}
	}
	var all []said
	for c := range s.Conversations {
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		inputs := s.Input.Tokens.sample(b.legacy, messages[c])
		outputs := s.Output.Tokens.sample(b.legacy, messages[c])
		longest := len(base)
		for _, n := range inputs {
			longest = max(longest, n)
		}
		talk := said{id: fmt.Sprintf("CONV_ID_%d", c)}
		for m := 0; m < messages[c]; m += 2 {
			place := func(err error) error { return fmt.Errorf("conversation %d, message %d: %w", c, m, err) }
			begin := fmt.Sprintf("%d is a nice number... ", c) // else all conversations begin alike
			if m == 0 {
				begin = common + begin
			}
			ids, err := b.Tokenizer.Encode(begin, false)
			if err != nil {
				return nil, place(err)
			}
			left := max(inputs[m], len(base)) - len(ids) - len(base)
			if n := prefixes[c]; m == 0 && n > 0 {
				text, err := cut(offset, n)
				if err != nil {
					return nil, place(err)
				}
				begin += fmt.Sprintf("%d, %s", c, text)
				offset += n
			}
			rest := ""
			if left > 0 {
				if rest, err = cut(offset+m*longest, left); err != nil {
					return nil, place(err)
				}
			}
			reply, err := answer(max(outputs[m+1], 1))
			if err != nil {
				return nil, place(err)
			}
			talk.turns = append(talk.turns, exchange{begin + baseText + rest, reply})
		}
		all = append(all, talk)
		offset += messages[c]
	}
	if s.PrintStats {
		turns := 0
		for _, n := range messages {
			turns += n / 2
		}
		b.note("%d conversations of %.1f questions each on average were made", len(all), float64(turns)/float64(len(all)))
	}
	return all, nil
}
