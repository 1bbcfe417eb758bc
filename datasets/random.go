package datasets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"servebench/internal/numpy"
)

// Random is the source random: prompts of a wanted length made of consecutive ids, from a
// random offset each.
type Random struct {
	// InputLen and OutputLen are the mean lengths in tokens. InputLen counts the
	// tokens that the model puts around a prompt.
	InputLen  int `json:"input_len" yaml:"input_len"`
	OutputLen int `json:"output_len" yaml:"output_len"`
	// PrefixLen is the number of tokens that come before every prompt, the same ones.
	PrefixLen int `json:"prefix_len,omitempty" yaml:"prefix_len,omitempty"`
	// InputRange and OutputRange are the half-widths r of the windows
	// [floor(len*(1-r)), ceil(len*(1+r))] from which lengths are drawn; in [0, 1).
	InputRange  float64 `json:"input_range,omitempty" yaml:"input_range,omitempty"`
	OutputRange float64 `json:"output_range,omitempty" yaml:"output_range,omitempty"`
	// LegacyRatio gives both ranges the meaning they had up to vLLM 0.8.3: lengths are
	// drawn from [int(len*r), len], r in [0, 1], by NumPy's legacy generator, so that 1 is an
	// exact length.
	LegacyRatio bool `json:"legacy_ratio,omitempty" yaml:"legacy_ratio,omitempty"`
	// BatchSize puts so many prompts into one request, for embeddings.
	BatchSize int `json:"batch_size,omitempty" yaml:"batch_size,omitempty"`

	// TokenIDs sends ids instead of text: the lengths are exact, and no tokenizer is
	// asked. Without a tokenizer the ids are those of [FirstID, VocabSize).
	TokenIDs  bool `json:"token_ids,omitempty" yaml:"token_ids,omitempty"`
	VocabSize int  `json:"vocab_size,omitempty" yaml:"vocab_size,omitempty"`
	FirstID   int  `json:"first_id,omitempty" yaml:"first_id,omitempty"`
	// CacheHitFraction is the share of warm prompts, which begin alike; CacheRatio is
	// the share of each warm prompt that is the common beginning. With TokenIDs only.
	CacheHitFraction float64 `json:"cache_hit_fraction,omitempty" yaml:"cache_hit_fraction,omitempty"`
	CacheRatio       float64 `json:"cache_ratio,omitempty" yaml:"cache_ratio,omitempty"`
}

// ParseRangeRatio reads a --random-range-ratio: a number for both, or a JSON object with
// the keys input and output.
func ParseRangeRatio(s string) (input, output float64, err error) {
	if r, err := strconv.ParseFloat(s, 64); err == nil {
		return r, r, nil
	}
	var both map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &both); err != nil {
		return 0, 0, fmt.Errorf("range ratio %q: give a number, or a JSON object such as {\"input\": 0.3, \"output\": 0.5}", s)
	}
	for _, side := range []struct {
		key string
		to  *float64
	}{{"input", &input}, {"output", &output}} {
		value, ok := both[side.key]
		if !ok {
			return 0, 0, fmt.Errorf("range ratio %s: the object must have both keys, input and output", s)
		}
		if err := json.Unmarshal(bytes.Trim(value, `"`), side.to); err != nil {
			return 0, 0, fmt.Errorf("range ratio %s: %s is no number", s, side.key)
		}
	}
	return input, output, nil
}

func (r *Random) needs() needs { return needs{tokenizer: !r.TokenIDs, ids: r.TokenIDs} }

// A draft is what is drawn for all prompts before the first is made.
type draft struct{ inputs, outputs, offsets []int }

// checkShortest refuses a window that empty prompts can come out of. Inputs are lowered by
// special, the tokens that the model puts around a prompt.
func (r *Random) checkShortest(special int) error {
	length := float64(max(0, r.InputLen-special))
	lowest := int(math.Floor(length * (1 - r.InputRange)))
	if r.LegacyRatio {
		lowest = int(length * r.InputRange)
	}
	if r.PrefixLen+lowest < 1 {
		return fmt.Errorf("random input length %d is too small: with %d special tokens and a range ratio of %v a prompt of %d tokens could come out: raise the input or prefix length, or lower the ratio%s",
			r.InputLen, special, r.InputRange, r.PrefixLen+lowest, r.hint())
	}
	return nil
}

// hint is for who comes with a document from the time of the other meaning.
func (r *Random) hint() string {
	if r.InputRange != 1 || r.LegacyRatio {
		return ""
	}
	return "; a ratio of 1.0 meant exact lengths up to vLLM 0.8.3, which is 0.0 today: leave it out, or ask for its legacy meaning"
}

// check refuses what no length can be drawn from.
func (r *Random) check() error {
	top := "[0, 1)"
	bad := func(v float64) bool { return !(v >= 0 && v < 1) }
	if r.LegacyRatio {
		top = "[0, 1]"
		bad = func(v float64) bool { return !(v >= 0 && v <= 1) }
	}
	for _, side := range []struct {
		name  string
		ratio float64
	}{{"input", r.InputRange}, {"output", r.OutputRange}} {
		if bad(side.ratio) {
			return fmt.Errorf("random %s range ratio %v is not in %s%s", side.name, side.ratio, top, r.hint())
		}
	}
	for _, n := range []int{r.InputLen, r.OutputLen, r.PrefixLen} {
		if n < 0 || n > mostTokens {
			return fmt.Errorf("random lengths %d, %d, %d: each is from 0 to %d", r.InputLen, r.OutputLen, r.PrefixLen, mostTokens)
		}
	}
	switch {
	case !(r.CacheHitFraction >= 0 && r.CacheHitFraction <= 1) || !(r.CacheRatio >= 0 && r.CacheRatio <= 1):
		return fmt.Errorf("random cache hit fraction %v and cache ratio %v: each is in [0, 1]", r.CacheHitFraction, r.CacheRatio)
	case r.CacheHitFraction > 0 && !r.TokenIDs:
		return errors.New("random cache hits need prompts of token ids: text would not share its tokens exactly")
	case r.CacheHitFraction > 0 && r.PrefixLen > 0:
		return errors.New("random cache hits and a common prefix are two ways to share: give one")
	}
	return nil
}

// drawDraft draws lengths and offsets by vLLM's window around the mean.
func drawDraft(rng *numpy.Generator, n, input, output, vocab int, inputRange, outputRange float64) (draft, error) {
	window := func(length int, ratio float64, floor int) (low, high int) {
		low = max(floor, int(math.Floor(float64(length)*(1-ratio))))
		high = max(floor, int(math.Ceil(float64(length)*(1+ratio))))
		return low, high
	}
	if vocab < 1 {
		return draft{}, errors.New("a vocabulary without ids")
	}
	inLow, inHigh := window(input, inputRange, 0)
	outLow, outHigh := window(output, outputRange, 1)
	return draft{rng.Ints(inLow, inHigh, n), rng.Ints(outLow, outHigh, n), rng.Ints(0, vocab-1, n)}, nil
}

// legacyDraft draws them as vLLM did up to 0.8.3.
func (r *Random) legacyDraft(rng *numpy.Legacy, n, input, vocab int) draft {
	window := func(length int, ratio float64) []int {
		low := int(float64(length) * ratio)
		out := make([]int, n)
		for i := range out {
			out[i] = rng.Between(low, length)
		}
		return out
	}
	return draft{window(input, r.InputRange), window(r.OutputLen, r.OutputRange), rng.Ints(vocab, n)}
}

// ramp is n consecutive ids of a list that begins again at its end.
func ramp(ids []int, from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = ids[(from+i)%len(ids)]
	}
	return out
}

func (r *Random) load(b *build) error {
	rng := numpy.NewGenerator(uint64(b.Seed))
	special, vocab := 0, r.VocabSize
	var ids []int
	switch {
	case b.Tokenizer != nil:
		vocab = b.Tokenizer.VocabSize()
		ids = ordinary(b.Tokenizer, b.Tokenizer.SpecialIDs())
		if !r.TokenIDs {
			special = b.Tokenizer.SpecialTokens()
		}
	case r.FirstID < 0 || r.VocabSize <= r.FirstID:
		return fmt.Errorf("random token ids without a tokenizer need a vocabulary size above the first id: have %d and %d", r.VocabSize, r.FirstID)
	default:
		ids = upTo(r.FirstID, r.VocabSize)
		b.note("prompts are token ids from %d to %d: which of them are special is not known", r.FirstID, r.VocabSize-1)
	}
	if err := r.checkShortest(special); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	if len(ids) == 0 {
		return errors.New("random: the tokenizer has no ids that are not special")
	}
	length := max(0, r.InputLen-special)
	var d draft
	if r.LegacyRatio {
		d = r.legacyDraft(b.legacy, b.Requests, length, vocab)
	} else {
		var err error
		if d, err = drawDraft(rng, b.Requests, length, r.OutputLen, vocab, r.InputRange, r.OutputRange); err != nil {
			return fmt.Errorf("random: %w", err)
		}
	}
	if r.TokenIDs {
		r.loadIDs(b, rng, d, ids)
		return nil
	}
	w, err := newWriter(b, rng, b.Tokenizer.SpecialIDs())
	if err != nil {
		return fmt.Errorf("random: %w", err)
	}
	prefix, err := w.prefix(b, r.PrefixLen)
	if err != nil {
		return fmt.Errorf("random: prefix: %w", err)
	}
	batch := max(1, r.BatchSize)
	b.samples = make([]Sample, 0, (b.Requests+batch-1)/batch)
	total := 0
	var open Sample // the request that is being filled
	err = w.prompts(prefix, r.PrefixLen, d, 0, func(i int, f *fit) error {
		total += f.mismatch()
		if batch == 1 {
			b.samples = append(b.samples, Sample{
				ID: b.id(i), Prompt: Prompt{Text: f.text}, InputTokens: len(f.ids), OutputTokens: d.outputs[i],
			})
			return nil
		}
		open.Prompt.List = append(open.Prompt.List, f.text)
		open.InputTokens += len(f.ids)
		if len(open.Prompt.List) == batch || i == b.Requests-1 {
			open.ID = b.id(i / batch)
			b.samples = append(b.samples, open)
			open = Sample{}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("random: %w", err)
	}
	b.mismatch(total)
	return nil
}

// loadIDs makes prompts of ids. They are made again each time they are asked for: a
// hundred thousand of them would not fit in memory, and cost nothing to make.
func (r *Random) loadIDs(b *build, rng *numpy.Generator, d draft, ids []int) {
	prefix := make([]int, r.PrefixLen)
	for i := range prefix {
		prefix[i] = ids[rng.IntN(len(ids))]
	}
	warm := make([]bool, b.Requests)
	common := 0
	if r.CacheHitFraction > 0 {
		order := rng.Permutation(b.Requests)
		for _, i := range order[:int(math.Round(float64(b.Requests)*r.CacheHitFraction))] {
			warm[i] = true
		}
		common = rng.IntN(len(ids))
	}
	prompt := func(i int) []int {
		n := d.inputs[i]
		if warm[i] {
			shared := int(math.Floor(float64(n) * r.CacheRatio))
			return append(ramp(ids, common, shared), ramp(ids, d.offsets[i]+i, n-shared)...)
		}
		return append(prefix[:len(prefix):len(prefix)], ramp(ids, d.offsets[i]+i, n)...)
	}
	batch := max(1, r.BatchSize)
	if batch == 1 {
		b.lazyLen = b.Requests
		b.lazy = func(i int) Sample {
			p := prompt(i)
			return Sample{ID: b.id(i), Prompt: Prompt{IDs: p}, InputTokens: len(p), OutputTokens: d.outputs[i]}
		}
		return
	}
	b.lazyLen = (b.Requests + batch - 1) / batch
	b.lazy = func(k int) Sample {
		s := Sample{ID: b.id(k)}
		var lists []string
		for i := k * batch; i < min(b.Requests, (k+1)*batch); i++ {
			p := prompt(i)
			s.InputTokens += len(p)
			lists = append(lists, intList(p))
		}
		s.Prompt.JSON = json.RawMessage(list(lists...))
		return s
	}
}

func intList(ids []int) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.Itoa(id)
	}
	return list(words...)
}

// A writer makes the prompts of the random sources.
type writer struct {
	ctx     context.Context
	tok     Tokenizer
	rng     *numpy.Generator
	ids     []int // what prompts are made of
	vocab   int
	workers int
	known   map[int]bool // the ids of a Harvest; nil when all are
}

func newWriter(b *build, rng *numpy.Generator, special []int) (*writer, error) {
	w := &writer{ctx: b.ctx, tok: b.Tokenizer, rng: rng, ids: ordinary(b.Tokenizer, special), vocab: b.Tokenizer.VocabSize(), workers: b.Workers}
	if len(w.ids) == 0 {
		return nil, errors.New("the tokenizer has no ids that are not special")
	}
	if h, ok := b.Tokenizer.(Harvest); ok {
		w.known = map[int]bool{}
		for _, id := range h.IDs() {
			w.known[id] = true
		}
	}
	return w, nil
}

// draw is n ids to fill up with.
func (w *writer) draw(n int) []int { return w.usable(w.rng.Ints(0, w.vocab-1, n)) }

// usable replaces ids that a Harvest does not know.
func (w *writer) usable(ids []int) []int {
	if w.known != nil {
		for i, id := range ids {
			if !w.known[id] {
				ids[i] = w.ids[id%len(w.ids)]
			}
		}
	}
	return ids
}

// prefix makes the common beginning of n ids.
func (w *writer) prefix(b *build, n int) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	ids := w.rng.Ints(0, len(w.ids)-1, n)
	for i, k := range ids {
		ids[i] = w.ids[k]
	}
	f, err := fitted(w.tok, ids, n, w.draw)
	if err != nil {
		return nil, err
	}
	b.mismatch(f.mismatch())
	return f.ids, nil
}

// prompts makes the prompts of a draft and hands them over in order. Everything up to
// the first random number that a prompt needs is done on all processors; the random numbers are drawn in
// order, so the prompts are the same on any number of processors. shift is added to the position
// of a prompt in its ramp.
func (w *writer) prompts(prefix []int, prefixLen int, d draft, shift int, take func(i int, f *fit) error) error {
	return inOrder(w.ctx, len(d.inputs), w.workers, func(i int) (*fit, error) {
		f := &fit{
			ids:    append(prefix[:len(prefix):len(prefix)], ramp(w.ids, d.offsets[i]+i+shift, d.inputs[i])...),
			target: prefixLen + d.inputs[i],
		}
		if err := f.run(w.tok); err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i, err)
		}
		return f, nil
	}, func(i int, f *fit) (bool, error) {
		if err := f.finish(w.tok, w.draw); err != nil {
			return false, fmt.Errorf("prompt %d: %w", i, err)
		}
		return true, take(i, f)
	})
}
