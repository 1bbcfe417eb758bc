package datasets

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"servebench/internal/numpy"
)

// BurstGPT is the source burstgpt: the lengths of a recorded service, from its CSV file.
// The prompts are runs of consecutive ids, and the recorded times are not used.
type BurstGPT struct {
	Path string `json:"path" yaml:"path"`
}

func (s *BurstGPT) needs() needs { return needs{tokenizer: true} }

// A burst is the lengths of one recorded request.
type burst struct{ input, output int }

// readBursts reads the successful requests to GPT-4.
func readBursts(r io.Reader, name string) ([]burst, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	header, err := c.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: no rows", name)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	model, response := slices.Index(header, "Model"), slices.Index(header, "Response tokens")
	if model < 0 || response < 0 || len(header) < 4 {
		return nil, fmt.Errorf("%s:1: the columns are %s: need Model, Response tokens, and at least four", name, strings.Join(header, ", "))
	}
	var rows []burst
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := c.FieldPos(0)
		if len(record) != len(header) {
			return nil, fmt.Errorf("%s:%d: %d columns, not %d", name, line, len(record), len(header))
		}
		if record[model] != "GPT-4" {
			continue
		}
		answered, ok := whole(record[response])
		if !ok {
			return nil, fmt.Errorf("%s:%d: Response tokens is %q, not a number", name, line, record[response])
		}
		if answered <= 0 {
			continue
		}
		// By position, as vLLM takes them: third and fourth.
		var b burst
		var okIn, okOut bool
		b.input, okIn = whole(record[2])
		b.output, okOut = whole(record[3])
		if !okIn || !okOut || b.input < 0 || b.input > mostTokens {
			return nil, fmt.Errorf("%s:%d: the lengths are %q and %q", name, line, record[2], record[3])
		}
		rows = append(rows, b)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: no answered request to GPT-4", name)
	}
	return rows, nil
}

// mostTokens bounds a length that a file asks for: above it the file is not what it seems.
const mostTokens = 1 << 24

func (s *BurstGPT) load(b *build) error {
	file, err := os.Open(s.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	rows, err := readBursts(file, s.Path)
	if err != nil {
		return err
	}
	chosen := numpy.NewLegacy(b.Seed).Choice(len(rows), b.Requests, b.Requests > len(rows))
	vocab := b.Tokenizer.VocabSize()
	ids := upTo(0, vocab)
	if h, ok := b.Tokenizer.(Harvest); ok {
		ids = h.IDs()
	}
	if len(ids) == 0 {
		return fmt.Errorf("%s: the tokenizer has no ids to make prompts of", s.Path)
	}
	b.samples = make([]Sample, 0, len(chosen))
	return inOrder(b.ctx, len(chosen), b.Workers, func(i int) (string, error) {
		return b.Tokenizer.Decode(ramp(ids, i, rows[chosen[i]].input))
	}, func(i int, text string) (bool, error) {
		r := rows[chosen[i]]
		b.samples = append(b.samples, Sample{ID: b.id(i), Prompt: Prompt{Text: text}, InputTokens: r.input, OutputTokens: r.output})
		return true, nil
	})
}
