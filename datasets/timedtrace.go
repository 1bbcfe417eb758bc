package datasets

import (
	"fmt"

	"servebench/internal/numpy"
)

// TimedTrace is the source timed_trace: recorded lengths, times and block hashes of a
// service, as JSON Lines. Prompts are token ids: equal hashes give equal ids.
type TimedTrace struct {
	Path string `json:"path" yaml:"path"`
	// ChunkSize is how many tokens one hash stands for.
	ChunkSize int `json:"chunk_hash_size" yaml:"chunk_hash_size"`
	// Multiplier turns the time stamps of the file into seconds.
	Multiplier float64 `json:"sec_multiplier" yaml:"sec_multiplier"`
	// The keys of the file.
	TimestampKey string `json:"label_timestamp" yaml:"label_timestamp"`
	InputKey     string `json:"label_input_length" yaml:"label_input_length"`
	OutputKey    string `json:"label_output_length" yaml:"label_output_length"`
	HashesKey    string `json:"label_hash_ids" yaml:"label_hash_ids"`
	// HashSeed is the PYTHONHASHSEED under which vLLM would make the same ids. vLLM
	// itself makes others in every process unless that is set.
	HashSeed uint32 `json:"hash_seed,omitempty" yaml:"hash_seed,omitempty"`
}

func (s *TimedTrace) needs() needs { return needs{tokenizer: true, ids: true} }

// A traced request is one row.
type traced struct {
	input, output int
	hashes        []string
	at            float64
}

func (s *TimedTrace) read(r row) (t traced, err error) {
	get := func(key, flag string) (value, error) {
		v, ok := r.get(key)
		if !ok || v == nil {
			return nil, fmt.Errorf("%s: no %q: have %s; %s names the key", r.place, key, r.keys(), flag)
		}
		return v, nil
	}
	length := func(key, flag string, to *int) error {
		v, err := get(key, flag)
		if err != nil {
			return err
		}
		n, ok := whole(v)
		if !ok || n < 0 || n > mostTokens {
			return fmt.Errorf("%s: %q is %s: not a number of tokens", r.place, key, spell(v))
		}
		*to = n
		return nil
	}
	if err := length(s.InputKey, "label_input_length", &t.input); err != nil {
		return t, err
	}
	if err := length(s.OutputKey, "label_output_length", &t.output); err != nil {
		return t, err
	}
	v, err := get(s.TimestampKey, "label_timestamp")
	if err != nil {
		return t, err
	}
	at, ok := number(v)
	if !ok {
		return t, fmt.Errorf("%s: %q is %s: not a time", r.place, s.TimestampKey, spell(v))
	}
	t.at = at * s.Multiplier
	hashes, ok := r.get(s.HashesKey)
	if !ok || hashes == nil {
		return t, nil
	}
	items, ok := hashes.([]value)
	if !ok {
		return t, fmt.Errorf("%s: %q is %s, not a list", r.place, s.HashesKey, kindOf(hashes))
	}
	for _, h := range items {
		word, ok := h.(string)
		if !ok {
			word = spell(h)
		}
		t.hashes = append(t.hashes, word)
	}
	return t, nil
}

// A chunk is some ids that a hash stands for.
type chunk struct {
	seed uint32
	size int
}

// chunks are those of a row: whole ones, then what is left of its length. A row with too
// few hashes is shorter than it says.
func (s *TimedTrace) chunks(t traced) (out []chunk, total int) {
	left := t.input
	for _, h := range t.hashes {
		if left <= 0 {
			break
		}
		size := min(s.ChunkSize, left)
		key := fmt.Sprintf("%s:%d", h, size)
		out = append(out, chunk{uint32(numpy.StringHash(s.HashSeed, key)), size})
		left -= size
		total += size
	}
	return out, total
}

func (s *TimedTrace) load(b *build) error {
	if s.ChunkSize < 1 {
		return fmt.Errorf("timed_trace: a chunk of %d tokens: give a size above 0", s.ChunkSize)
	}
	rows, err := readLines(s.Path, b.Requests)
	if err != nil {
		return err
	}
	if b.Compat {
		// vLLM never gives it the seed, and starts both generators again.
		b.legacy.Seed(0)
		b.python.Seed(0)
	}
	special := map[int]bool{}
	for _, id := range b.Tokenizer.SpecialIDs() {
		special[id] = true
	}
	var ids []int
	for _, id := range everyID(b.Tokenizer) {
		if !special[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return fmt.Errorf("timed_trace: the tokenizer has no ids that are not special")
	}
	trace := make([]traced, len(rows))
	chunks := make([][]chunk, len(rows))
	totals := make([]int, len(rows))
	short := 0
	for i, r := range rows {
		if trace[i], err = s.read(r); err != nil {
			return err
		}
		if chunks[i], totals[i] = s.chunks(trace[i]); totals[i] < trace[i].input {
			short++
		}
		trace[i].hashes = nil
	}
	if short > 0 {
		b.note("%s: %d rows have too few hashes for their length: their prompts are shorter", s.Path, short)
	}
	// Made when asked for: the prompts of a long trace would not fit in memory.
	b.lazyLen = len(trace)
	b.lazy = func(i int) Sample {
		prompt := make([]int, 0, totals[i])
		for _, c := range chunks[i] {
			for _, k := range numpy.NewPython(uint64(c.seed)).Choices(len(ids), c.size) {
				prompt = append(prompt, ids[k])
			}
		}
		return Sample{
			ID: b.id(i), Prompt: Prompt{IDs: prompt}, InputTokens: len(prompt), OutputTokens: trace[i].output,
			Timestamp: trace[i].at, Timed: true,
		}
	}
	return nil
}
