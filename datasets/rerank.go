package datasets

import (
	"errors"
	"fmt"

	"servebench/internal/numpy"
)

// RandomRerank is the source random-rerank: one random query, and groups of random
// documents to be ranked by it.
type RandomRerank struct {
	// InputLen is the length of query and document together in tokens, or of each where
	// the model does not rerank by itself.
	InputLen int `json:"input_len" yaml:"input_len"`
	// InputRange is the half-width of the window of lengths; see Random.
	InputRange float64 `json:"input_range,omitempty" yaml:"input_range,omitempty"`
	// BatchSize is how many documents one request has; without a native reranker the
	// query counts as one of them.
	BatchSize int `json:"batch_size,omitempty" yaml:"batch_size,omitempty"`
	// NoReranker says that the model only embeds.
	NoReranker bool `json:"no_reranker,omitempty" yaml:"no_reranker,omitempty"`
}

func (r *RandomRerank) needs() needs { return needs{tokenizer: true} }

func (r *RandomRerank) load(b *build) error {
	if r.InputLen < 0 || r.InputLen > mostTokens {
		return fmt.Errorf("random-rerank: an input length of %d: give one from 0 to %d", r.InputLen, mostTokens)
	}
	if !(r.InputRange >= 0 && r.InputRange < 1) {
		return fmt.Errorf("random-rerank: a range ratio of %v is not in [0, 1)", r.InputRange)
	}
	documents, batch := b.Requests, max(1, r.BatchSize)
	separators, queryLen := 1, r.InputLen/2-1
	if r.NoReranker {
		if documents < 2 || batch < 2 {
			return errors.New("random-rerank without a reranker: the query is one of the prompts, so ask for at least 2 requests and a batch size of at least 2")
		}
		documents--
		batch--
		separators, queryLen = 0, r.InputLen
	}
	rng := numpy.NewGenerator(uint64(b.Seed))
	special := b.Tokenizer.SpecialTokens()
	w, err := newWriter(b, rng, b.Tokenizer.SpecialIDs())
	if err != nil {
		return fmt.Errorf("random-rerank: %w", err)
	}
	draft := func(n, input int) (draft, error) {
		return drawDraft(rng, n, max(0, input-special), 0, w.vocab, r.InputRange, 0)
	}
	query, err := draft(1, queryLen)
	if err != nil {
		return fmt.Errorf("random-rerank: %w", err)
	}
	documentLen := r.InputLen
	if !r.NoReranker {
		documentLen = r.InputLen - query.inputs[0] - separators
	}
	rest, err := draft(documents, documentLen)
	if err != nil {
		return fmt.Errorf("random-rerank: %w", err)
	}
	total := 0
	var asked *fit
	err = w.prompts(nil, 0, query, 0, func(_ int, f *fit) error {
		asked = f
		total += f.mismatch()
		return nil
	})
	if err != nil {
		return fmt.Errorf("random-rerank: query: %w", err)
	}
	var open Sample
	err = w.prompts(nil, 0, rest, 1, func(i int, f *fit) error {
		total += f.mismatch()
		if open.Prompt.List == nil {
			open.Prompt.List = []string{asked.text}
			if r.NoReranker {
				open.InputTokens = len(asked.ids)
			}
		}
		open.Prompt.List = append(open.Prompt.List, f.text)
		open.InputTokens += len(f.ids)
		if !r.NoReranker {
			open.InputTokens += len(asked.ids) + separators
		}
		if len(open.Prompt.List) == batch+1 || i == documents-1 {
			open.ID = b.id(i / batch)
			b.samples = append(b.samples, open)
			open = Sample{}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("random-rerank: document: %w", err)
	}
	b.mismatch(total)
	return nil
}
