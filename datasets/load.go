package datasets

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"servebench/internal/numpy"
)

// A Source is the configuration of one dataset; its kinds are in kinds.go. New gives the
// usual configuration of a kind, to be changed and given to Load.
type Source interface {
	// load makes the samples.
	load(*build) error
	needs() needs
}

// Options are what every source asks for.
type Options struct {
	// Requests is how many samples are wanted. 0 or less is every row of the custom
	// sources, spec_bench and speed_bench; the others refuse it.
	Requests int
	// Seed starts every random number of the dataset.
	Seed uint32
	// IDPrefix begins the ids of samples.
	IDPrefix string
	// Tokenizer counts and makes prompts; nil when there is none.
	Tokenizer Tokenizer
	// NoOversample leaves a source that is too short as it is, instead of repeating it.
	NoOversample bool
	// KeepOrder leaves rows in the order of the source.
	KeepOrder bool
	// Chat makes prompts into chat messages with their media inside (vLLM's
	// --enable-multimodal-chat).
	Chat bool
	// Conversations keeps the later turns of sources that hold conversations (sharegpt).
	Conversations bool
	// SkipTemplate leaves prompts as they are where the chat template would be put
	// around them.
	SkipTemplate bool
	// TemplateArgs are given to the chat template of custom and speed_bench.
	TemplateArgs Members
	// MaxModelLen leaves out samples whose prompt and answer together are longer, in
	// tokens; 0 has no limit.
	MaxModelLen int
	// Compat reproduces what vLLM 0.33 does and should not: see docs/differences.md.
	Compat bool
	// Workers bounds how many calls the tokenizer gets at once; 0 is the number of
	// processors. It changes no sample.
	Workers int
}

// A Set is a loaded dataset, and what loading it left behind.
type Set struct {
	n  int
	at func(int) Sample
	// Legacy is NumPy's global generator as loading left it. vLLM draws its arrivals
	// from it.
	Legacy *numpy.Legacy
	// Python is Python's global generator as loading left it. vLLM draws the names of
	// LoRA modules from it.
	Python *numpy.Python
	// Mismatches are the counts of tokens that prompts have too many, or too few if
	// negative, as the vLLM client logs them: that of a common prefix first, then the total. Zeros
	// are left out.
	Mismatches []int
	// Notes are doubts about the samples, for people.
	Notes []string
}

var _ Dataset = (*Set)(nil)

// Len is the number of samples.
func (s *Set) Len() int { return s.n }

// At is sample i.
func (s *Set) At(i int) Sample { return s.at(i) }

// Load makes the samples of a source. Only a source that fetches files, or a tokenizer
// that asks a server, takes long enough for ctx to matter.
func Load(ctx context.Context, src Source, o Options) (*Set, error) {
	if o.Tokenizer == nil && src.needs().tokenizer {
		return nil, fmt.Errorf("dataset %s needs a tokenizer: give one, or use random with token ids", nameOf(src))
	}
	if o.Requests <= 0 && !src.needs().all {
		return nil, fmt.Errorf("dataset %s: %d requests: give a number above 0", nameOf(src), o.Requests)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	b := &build{
		ctx:     ctx,
		Options: o,
		legacy:  numpy.NewLegacy(o.Seed),
		python:  numpy.NewPython(uint64(o.Seed)),
	}
	if err := src.load(b); err != nil {
		return nil, err
	}
	set := &Set{n: len(b.samples), Legacy: b.legacy, Python: b.python, Mismatches: b.mismatches, Notes: b.notes}
	samples := b.samples
	set.at = func(i int) Sample { return samples[i] }
	if b.lazy != nil {
		set.n, set.at = b.lazyLen, b.lazy
	}
	return set, set.limit(o.MaxModelLen)
}

// limit leaves out samples of more tokens than a model takes.
func (s *Set) limit(tokens int) error {
	if tokens <= 0 {
		return nil
	}
	var kept []int
	for i := range s.n {
		if one := s.at(i); one.InputTokens+one.OutputTokens <= tokens {
			kept = append(kept, i)
		}
	}
	switch left := s.n - len(kept); {
	case left == 0:
		return nil
	case len(kept) == 0:
		return fmt.Errorf("each of %d samples is longer than the %d tokens of the model: ask for shorter ones", left, tokens)
	default:
		s.Notes = append(s.Notes, fmt.Sprintf("%d of %d samples were left out: they are longer than the %d tokens of the model", left, s.n, tokens))
	}
	at := s.at
	s.n, s.at = len(kept), func(i int) Sample { return at(kept[i]) }
	return nil
}

// A build is a dataset in the making.
type build struct {
	ctx context.Context
	Options
	samples    []Sample
	lazyLen    int
	lazy       func(int) Sample // instead of samples
	legacy     *numpy.Legacy
	python     *numpy.Python
	mismatches []int
	notes      []string
}

func (b *build) mismatch(tokens int) {
	if tokens != 0 {
		b.mismatches = append(b.mismatches, tokens)
	}
}

func (b *build) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *build) id(i int) string { return fmt.Sprint(b.IDPrefix, i) }

// count is the number of tokens of a text, those the model puts around it included.
func (b *build) count(text string) (int, error) {
	ids, err := b.Tokenizer.Encode(text, true)
	return len(ids), err
}

// shuffled puts rows in the order that Python's random.shuffle gives after
// random.seed(seed), which is called even if the order is kept.
func shuffled[T any](b *build, seed uint32, rows []T) {
	b.python.Seed(uint64(seed))
	if !b.KeepOrder {
		b.python.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
}

// oversample repeats samples until there are n, and refuses ids that come twice. The
// copies have ids of their own.
func (b *build) oversample(seed uint32, n int) error {
	if b.NoOversample {
		return nil
	}
	have := len(b.samples)
	if have < n {
		if have == 0 {
			return fmt.Errorf("no sample is left to repeat: every row was filtered out")
		}
		b.python.Seed(uint64(seed))
		b.samples = slices.Grow(b.samples, n-have)
		for i := have; i < n; i++ {
			s := b.samples[b.python.IntN(have)]
			s.ID = b.id(i)
			b.samples = append(b.samples, s)
		}
		b.note("%d samples were repeated to make %d", have, n)
	}
	seen := make(map[string]bool, len(b.samples))
	for i := range b.samples {
		id := b.samples[i].ID
		if seen[id] {
			return fmt.Errorf("two samples have the id %s: keep to the rows there are, without oversampling", id)
		}
		seen[id] = true
	}
	return nil
}

// template puts the chat template around messages.
func (b *build) template(messages string, args Members) (string, error) {
	t, ok := b.Tokenizer.(Template)
	if !ok {
		return "", fmt.Errorf("the tokenizer has no chat template: skip it, or give a tokenizer that has one")
	}
	return t.Render([]byte(messages), true, args.Map())
}

// needs is what a source asks of the rest of a run.
type needs struct {
	tokenizer bool // a tokenizer
	all       bool // 0 requests are all rows
	media     bool // a dialect that sends images, videos or audio
	embeds    bool // an embedding dialect will do for media
	chat      bool // chat messages, and nothing else
	ids       bool // a dialect that sends token ids
}

// HasEnd says that a source ends by itself: 0 requests are all its rows.
func HasEnd(src Source) bool { return src.needs().all }

// CheckBackend says whether a backend of vLLM's client can send what a source holds.
func CheckBackend(src Source, backend string) error {
	n := src.needs()
	switch {
	case n.chat && backend != "openai-chat":
		return fmt.Errorf("dataset %s has tools for chat: use backend openai-chat, not %s", nameOf(src), backend)
	case n.media && backend != "openai-chat" && backend != "openai-audio" && !(n.embeds && strings.Contains(backend, "embeddings-")):
		return fmt.Errorf("dataset %s has media, which backend %s does not send: use openai-chat or openai-audio", nameOf(src), backend)
	case n.ids && backend != "vllm" && backend != "openai":
		return fmt.Errorf("dataset %s has prompts of token ids, which backend %s does not send: use vllm or openai", nameOf(src), backend)
	}
	return nil
}
