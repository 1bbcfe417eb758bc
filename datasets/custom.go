package datasets

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Custom is the source custom: prompts of your own, as JSON Lines with the key prompt.
type Custom struct {
	Path string `json:"path" yaml:"path"`
	// OutputLen is the length of every answer in tokens; -1 takes output_tokens of each
	// row.
	OutputLen int `json:"output_len" yaml:"output_len"`
}

// SpecBench is the source spec_bench: the questions of Spec-Bench, as JSON Lines.
type SpecBench struct {
	Path      string `json:"path" yaml:"path"`
	OutputLen int    `json:"output_len" yaml:"output_len"`
	// Category keeps only the rows of one category.
	Category string `json:"category,omitempty" yaml:"category,omitempty"`
}

// SpeedBench is the source speed_bench: a folder of SPEED-Bench, one JSON Lines file for
// each subset.
type SpeedBench struct {
	Path      string `json:"path" yaml:"path"`
	Subset    string `json:"subset" yaml:"subset"`
	OutputLen int    `json:"output_len" yaml:"output_len"`
	// Category keeps only the rows of one category.
	Category string `json:"category,omitempty" yaml:"category,omitempty"`
	// MaxInputLen cuts prompts to so many tokens, if above 0.
	MaxInputLen int `json:"max_input_len,omitempty" yaml:"max_input_len,omitempty"`
}

func (c *Custom) needs() needs     { return needs{all: true} }
func (s *SpecBench) needs() needs  { return needs{all: true, tokenizer: true} }
func (s *SpeedBench) needs() needs { return needs{all: true, tokenizer: true} }

// A wish is a prompt of a file and what the file says of its answer.
type wish struct {
	place  string
	prompt value
	output value // nil when the file says nothing
	hasOut bool
}

func (c *Custom) load(b *build) error {
	rows, err := customRows(c.Path)
	if err != nil {
		return err
	}
	wishes := make([]wish, len(rows))
	for i, r := range rows {
		prompt, ok := r.get("prompt")
		if !ok {
			return fmt.Errorf("%s: no \"prompt\": have %s", r.place, r.keys())
		}
		output, has := r.get("output_tokens")
		wishes[i] = wish{r.place, prompt, output, has}
	}
	if b.Compat {
		asPandas(wishes)
	}
	return b.wishes(wishes, b.Seed, c.OutputLen, b.SkipTemplate, b.TemplateArgs)
}

// customRows reads a file of the custom sources.
func customRows(path string) ([]row, error) {
	if !strings.HasSuffix(path, ".jsonl") {
		return nil, fmt.Errorf("%s: the custom sources read JSON Lines only: give a .jsonl file", path)
	}
	return readLines(path, 0)
}

// asPandas turns a column of numeric strings into numbers, as pandas does when vLLM reads
// the file.
func asPandas(wishes []wish) {
	for i := range wishes {
		s, ok := wishes[i].prompt.(string)
		if !ok {
			return
		}
		if _, ok := number(s); !ok {
			return
		}
	}
	for i := range wishes {
		n, _ := number(wishes[i].prompt)
		wishes[i].prompt = n
	}
}

func (s *SpecBench) load(b *build) error {
	rows, err := readLines(s.Path, 0)
	if err != nil {
		return err
	}
	wishes, err := categorized(rows, s.Category, func(r row) (value, error) {
		turns, _ := r.get("turns")
		items, ok := turns.([]value)
		if !ok || len(items) == 0 {
			return nil, fmt.Errorf("%s: no list \"turns\": have %s", r.place, r.keys())
		}
		return items[0], nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	if b.Compat { // which gives it neither the seed nor a way around the template
		return b.wishes(wishes, 0, s.OutputLen, false, nil)
	}
	return b.wishes(wishes, b.Seed, s.OutputLen, b.SkipTemplate, b.TemplateArgs)
}

func (s *SpeedBench) load(b *build) error {
	if info, err := os.Stat(s.Path); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s: not a folder: speed_bench wants the folder that holds %s.jsonl", s.Path, s.Subset)
	}
	path := filepath.Join(s.Path, s.Subset+".jsonl")
	rows, err := readLines(path, 0)
	if err != nil {
		return err
	}
	wishes, err := categorized(rows, s.Category, func(r row) (value, error) {
		messages, _ := r.get("messages")
		items, ok := messages.([]value)
		if !ok || len(items) == 0 {
			return nil, fmt.Errorf("%s: no list \"messages\": have %s", r.place, r.keys())
		}
		first, ok := items[0].(fields)
		if !ok {
			return nil, fmt.Errorf("%s: the first message is %s", r.place, kindOf(items[0]))
		}
		content, ok := first.get("content")
		if !ok {
			return nil, fmt.Errorf("%s: the first message has no \"content\"", r.place)
		}
		return content, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if s.MaxInputLen > 0 {
		for i, w := range wishes {
			text, ok := w.prompt.(string)
			if !ok {
				continue
			}
			ids, err := b.Tokenizer.Encode(text, false)
			if err != nil {
				return fmt.Errorf("%s: %w", w.place, err)
			}
			if len(ids) <= s.MaxInputLen {
				continue
			}
			if wishes[i].prompt, err = b.Tokenizer.Decode(ids[:s.MaxInputLen]); err != nil {
				return fmt.Errorf("%s: %w", w.place, err)
			}
		}
	}
	seed := b.Seed
	if b.Compat {
		seed = 0
	}
	return b.wishes(wishes, seed, s.OutputLen, b.SkipTemplate, b.TemplateArgs)
}

// categorized takes the prompts of the rows of a category; of all if it is empty.
func categorized(rows []row, category string, prompt func(row) (value, error)) ([]wish, error) {
	var wishes []wish
	seen := map[string]bool{}
	for _, r := range rows {
		is, _ := r.get("category")
		name, _ := is.(string)
		seen[name] = true
		if category != "" && name != category {
			continue
		}
		p, err := prompt(r)
		if err != nil {
			return nil, err
		}
		wishes = append(wishes, wish{place: r.place, prompt: p})
	}
	if len(wishes) == 0 {
		return nil, fmt.Errorf("no row of category %q: have %s", category, strings.Join(sortedKeys(seen), ", "))
	}
	return wishes, nil
}

// wishes makes samples of prompts: templated, counted, shuffled, repeated.
func (b *build) wishes(rows []wish, seed uint32, outputLen int, skipTemplate bool, args Members) error {
	shuffled(b, seed, rows)
	want := b.Requests
	if want <= 0 {
		want = len(rows)
	}
	n := min(want, len(rows))
	err := inOrder(b.ctx, n, b.Workers, func(i int) (Sample, error) {
		s, err := b.wish(rows[i], outputLen, skipTemplate, args)
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
	return b.oversample(seed, want)
}

func (b *build) wish(w wish, outputLen int, skipTemplate bool, args Members) (Sample, error) {
	s := Sample{Prompt: promptOf(w.prompt), InputTokens: -1}
	if b.Tokenizer == nil && b.Compat {
		s.InputTokens, s.OutputTokens = 1, 1
		return s, nil
	}
	var err error
	if s.OutputTokens, err = b.wishedOutput(w, outputLen); err != nil || b.Tokenizer == nil {
		return s, err
	}
	if !skipTemplate {
		switch w.prompt.(type) {
		case string, []value:
		default:
			return s, fmt.Errorf("the prompt is %s: the chat template wants a string", kindOf(w.prompt))
		}
		text, err := b.template(userMessage(spell(w.prompt)), args)
		if err != nil {
			return s, err
		}
		s.Prompt = Prompt{Text: text}
	}
	s.InputTokens, err = b.countPrompt(s.Prompt)
	return s, err
}

// countPrompt is the number of tokens of a prompt that is text, texts or ids.
func (b *build) countPrompt(p Prompt) (int, error) {
	switch {
	case p.JSON != nil:
		v, err := parse(p.JSON)
		if err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("the prompt is %s: only strings, lists of strings and lists of token ids can be counted", kindOf(v))
	case p.IDs != nil:
		return len(p.IDs), nil
	case p.List != nil:
		if b.Compat {
			return len(p.List), nil // a batch of texts has that many lists of ids
		}
		total := 0
		for _, text := range p.List {
			n, err := b.count(text)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	return b.count(p.Text)
}

// wishedOutput is the length of the answer: the one given, or that of the row for -1.
func (b *build) wishedOutput(w wish, outputLen int) (int, error) {
	if outputLen != -1 {
		return outputLen, nil
	}
	if !w.hasOut {
		return 0, fmt.Errorf("no \"output_tokens\": every row needs it when no output length is given")
	}
	n, ok := whole(w.output)
	if !ok {
		return 0, fmt.Errorf("\"output_tokens\" is %s, not a number", spell(w.output))
	}
	return n, nil
}
