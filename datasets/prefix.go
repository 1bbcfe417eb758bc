package datasets

import "fmt"

// PrefixRepetition is the source prefix_repetition: several common prefixes, each before
// the same number of random suffixes, to load a prefix cache.
type PrefixRepetition struct {
	// PrefixLen, SuffixLen and OutputLen are lengths in tokens.
	PrefixLen int `json:"prefix_len" yaml:"prefix_len"`
	SuffixLen int `json:"suffix_len" yaml:"suffix_len"`
	Prefixes  int `json:"num_prefixes" yaml:"num_prefixes"`
	OutputLen int `json:"output_len" yaml:"output_len"`
}

func (p *PrefixRepetition) needs() needs { return needs{tokenizer: true} }

func (p *PrefixRepetition) load(b *build) error {
	if min(p.PrefixLen, p.SuffixLen, p.OutputLen) < 0 || max(p.PrefixLen, p.SuffixLen) > mostTokens || p.Prefixes < 1 {
		return fmt.Errorf("prefix_repetition: lengths %d, %d, %d and %d prefixes: lengths are not negative, and there is a prefix",
			p.PrefixLen, p.SuffixLen, p.OutputLen, p.Prefixes)
	}
	each, rest := b.Requests/p.Prefixes, b.Requests%p.Prefixes
	if each == 0 {
		return fmt.Errorf("prefix_repetition: %d requests are fewer than %d prefixes: ask for more, or use fewer prefixes", b.Requests, p.Prefixes)
	}
	if b.Compat && rest > 0 {
		b.note("%d prompts for each of %d prefixes: %d of the %d requests asked for are dropped, as vLLM does", each, p.Prefixes, rest, b.Requests)
		rest = 0
	}
	// The source starts both generators again, and the arrivals come from what it leaves.
	b.legacy.Seed(b.Seed)
	b.python.Seed(uint64(b.Seed))
	w, err := newWriter(b, nil, nil)
	if err != nil {
		return fmt.Errorf("prefix_repetition: %w", err)
	}
	draw := func(n int) []int { return w.usable(b.legacy.Ints(w.vocab, n)) }
	total := 0
	run := func(n int) ([]int, error) {
		f, err := fitted(b.Tokenizer, draw(n), n, draw)
		if err != nil {
			return nil, err
		}
		total += f.mismatch()
		return f.ids, nil
	}
	for k := range p.Prefixes {
		prefix, err := run(p.PrefixLen)
		if err != nil {
			return fmt.Errorf("prefix_repetition: prefix %d: %w", k, err)
		}
		n := each
		if k < rest {
			n++
		}
		for range n {
			suffix, err := run(p.SuffixLen)
			if err != nil {
				return fmt.Errorf("prefix_repetition: prompt %d: %w", len(b.samples), err)
			}
			ids := append(prefix[:len(prefix):len(prefix)], suffix...)
			text, err := b.Tokenizer.Decode(ids)
			if err != nil {
				return fmt.Errorf("prefix_repetition: prompt %d: %w", len(b.samples), err)
			}
			b.samples = append(b.samples, Sample{Prompt: Prompt{Text: text}, InputTokens: len(ids), OutputTokens: p.OutputLen})
		}
	}
	b.mismatch(total)
	if !b.KeepOrder {
		b.python.Shuffle(len(b.samples), func(i, j int) { b.samples[i], b.samples[j] = b.samples[j], b.samples[i] })
	}
	return nil
}
