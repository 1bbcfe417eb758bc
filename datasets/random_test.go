package datasets_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
	"servebench/internal/numpy"
)

// A bytesTokenizer has a token for each byte but two special ones, and one before each prompt.
type bytesTokenizer struct{}

func (bytesTokenizer) Encode(text string, special bool) ([]int, error) {
	var ids []int
	if special {
		ids = []int{0}
	}
	for _, b := range []byte(text) {
		ids = append(ids, int(b))
	}
	return ids, nil
}

func (bytesTokenizer) Decode(ids []int) (string, error) {
	var b []byte
	for _, id := range ids {
		b = append(b, byte(id))
	}
	return strings.ToValidUTF8(string(b), "?"), nil
}

func (bytesTokenizer) VocabSize() int     { return 256 }
func (bytesTokenizer) SpecialIDs() []int  { return []int{0, 1} }
func (bytesTokenizer) SpecialTokens() int { return 1 }

// A harvest knows only the ids of a few letters.
type harvest struct{ bytesTokenizer }

func (harvest) IDs() []int { return []int{'a', 'b', 'c', 'd', 'e'} }

// A broken tokenizer cannot decode.
type broken struct{ bytesTokenizer }

func (broken) Decode([]int) (string, error) { return "", errors.New("the server said no") }

func mustLoad(t *testing.T, src datasets.Source, o datasets.Options) *datasets.Set {
	t.Helper()
	set, err := datasets.Load(t.Context(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func samples(set *datasets.Set) []datasets.Sample {
	out := make([]datasets.Sample, set.Len())
	for i := range out {
		out[i] = set.At(i)
	}
	return out
}

func TestRandomIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	for _, name := range []string{"gpt2", "llama3", "llama2"} {
		tok, err := tokenizer.Load(filepath.Join(goldenRoot(), "tokenizers", name))
		if err != nil {
			t.Fatal(err)
		}
		src := &datasets.Random{InputLen: 48, OutputLen: 9, PrefixLen: 5, InputRange: 0.5, OutputRange: 0.5}
		one := mustLoad(t, src, datasets.Options{Requests: 60, Seed: 3, Tokenizer: tok, Workers: 1})
		many := mustLoad(t, src, datasets.Options{Requests: 60, Seed: 3, Tokenizer: tok, Workers: 7})
		if !reflect.DeepEqual(samples(one), samples(many)) || !slices.Equal(one.Mismatches, many.Mismatches) {
			t.Errorf("%s: seven processors make other prompts than one", name)
		}
	}
}

// Each sample is the
// same whenever it is asked for, and has the length that was asked for.
func TestRandomLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &datasets.Random{
			InputLen:    rapid.IntRange(3, 60).Draw(t, "input"),
			OutputLen:   rapid.IntRange(0, 40).Draw(t, "output"),
			PrefixLen:   rapid.IntRange(0, 20).Draw(t, "prefix"),
			InputRange:  rapid.Float64Range(0, 0.45).Draw(t, "input range"),
			OutputRange: rapid.Float64Range(0, 0.99).Draw(t, "output range"),
			TokenIDs:    rapid.Bool().Draw(t, "ids"),
		}
		o := datasets.Options{Requests: rapid.IntRange(1, 20).Draw(t, "requests"), Seed: rapid.Uint32().Draw(t, "seed"), Tokenizer: bytesTokenizer{}}
		set, err := datasets.Load(context.Background(), r, o)
		if err != nil {
			t.Fatal(err)
		}
		if set.Len() != o.Requests {
			t.Fatalf("%d samples of %d", set.Len(), o.Requests)
		}
		length := r.InputLen
		if !r.TokenIDs {
			length--
		}
		for i, s := range samples(set) {
			if !reflect.DeepEqual(s, set.At(i)) {
				t.Errorf("sample %d is not the same twice", i)
			}
			n := len(s.Prompt.Text)
			if r.TokenIDs {
				n = len(s.Prompt.IDs)
			}
			if n != s.InputTokens {
				t.Errorf("sample %d has %d tokens and says %d", i, n, s.InputTokens)
			}
			low := float64(r.PrefixLen) + float64(length)*(1-r.InputRange)
			high := float64(r.PrefixLen) + float64(length)*(1+r.InputRange)
			if r.TokenIDs && (float64(n) < low-1 || float64(n) > high+1) {
				t.Errorf("sample %d has %d tokens, outside [%v, %v]", i, n, low, high)
			}
			if out := float64(s.OutputTokens); out < max(1, float64(r.OutputLen)*(1-r.OutputRange)-1) || out > max(1, float64(r.OutputLen)*(1+r.OutputRange)+1) {
				t.Errorf("sample %d wants %v tokens of %d ± %v", i, out, r.OutputLen, r.OutputRange)
			}
			for _, id := range s.Prompt.IDs {
				if id < 2 || id > 255 {
					t.Errorf("sample %d has the id %d", i, id)
				}
			}
		}
	})
}

func TestRandomTokenIDsNeedNoTokenizer(t *testing.T) {
	src := &datasets.Random{InputLen: 6, OutputLen: 3, PrefixLen: 2, TokenIDs: true, VocabSize: 10, FirstID: 4}
	set := mustLoad(t, src, datasets.Options{Requests: 4, IDPrefix: "p-"})
	prefix := set.At(0).Prompt.IDs[:2]
	for i, s := range samples(set) {
		if len(s.Prompt.IDs) != 8 || s.InputTokens != 8 || s.OutputTokens != 3 || s.ID != fmt.Sprint("p-", i) {
			t.Errorf("sample %d: %+v", i, s)
		}
		if !slices.Equal(s.Prompt.IDs[:2], prefix) {
			t.Errorf("sample %d begins with %v, others with %v", i, s.Prompt.IDs[:2], prefix)
		}
		for j, id := range s.Prompt.IDs {
			if id < 4 || id >= 10 {
				t.Errorf("sample %d has the id %d", i, id)
			}
			if next := id + 1; j >= 2 && j < 7 && s.Prompt.IDs[j+1] != map[bool]int{true: 4, false: next}[next == 10] {
				t.Errorf("sample %d is no run of ids: %v", i, s.Prompt.IDs)
			}
		}
	}
	if len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "which of them are special is not known") {
		t.Errorf("notes: %q", set.Notes)
	}
	src.BatchSize = 3
	set = mustLoad(t, src, datasets.Options{Requests: 4})
	if set.Len() != 2 || set.At(0).InputTokens != 24 || set.At(1).InputTokens != 8 || string(set.At(1).Prompt.JSON[:2]) != "[[" {
		t.Errorf("batches: %+v", samples(set))
	}
}

func TestRandomCacheHits(t *testing.T) {
	src := &datasets.Random{InputLen: 100, OutputLen: 1, TokenIDs: true, VocabSize: 50_000, CacheHitFraction: 0.3, CacheRatio: 0.8}
	set := mustLoad(t, src, datasets.Options{Requests: 50})
	begin := map[string]int{}
	for _, s := range samples(set) {
		if len(s.Prompt.IDs) != 100 {
			t.Fatalf("a prompt of %d tokens", len(s.Prompt.IDs))
		}
		begin[fmt.Sprint(s.Prompt.IDs[:80])]++
	}
	warm := 0
	for _, n := range begin {
		if n > 1 {
			warm += n
		}
	}
	if warm != 15 {
		t.Errorf("%d of 50 prompts begin alike, want 15", warm)
	}
}

// The numbers are those of numpy.random.RandomState(7).
func TestRandomLegacyRatio(t *testing.T) {
	src := &datasets.Random{InputLen: 33, OutputLen: 8, InputRange: 0.5, OutputRange: 0.5, LegacyRatio: true}
	set := mustLoad(t, src, datasets.Options{Requests: 5, Seed: 7, Tokenizer: bytesTokenizer{}})
	var outputs []int
	for _, s := range samples(set) {
		outputs = append(outputs, s.OutputTokens)
	}
	if want := []int{4, 5, 6, 6, 4}; !slices.Equal(outputs, want) {
		t.Errorf("output lengths %v, want %v", outputs, want)
	}
	ids := mustLoad(t, &datasets.Random{InputLen: 32, OutputLen: 8, InputRange: 0.5, OutputRange: 0.5, LegacyRatio: true, TokenIDs: true, VocabSize: 2000},
		datasets.Options{Requests: 5, Seed: 7})
	for i, s := range samples(ids) {
		if want := []int{31, 20, 19, 23, 30}[i]; s.InputTokens != want {
			t.Errorf("input length %d is %d, want %d", i, s.InputTokens, want)
		}
		if want := []int{1191, 1092, 1456, 1919, 391}[i] + i; s.Prompt.IDs[0] != want {
			t.Errorf("prompt %d begins with %d, want %d", i, s.Prompt.IDs[0], want)
		}
	}
	used := numpy.NewLegacy(7)
	used.Ints(17, 5)
	used.Ints(5, 5)
	used.Ints(2000, 5)
	if got, want := ids.Legacy.Float64(), used.Float64(); got != want {
		t.Errorf("the arrivals begin at %v, want %v", got, want)
	}
	exact := mustLoad(t, &datasets.Random{InputLen: 128, OutputLen: 4, InputRange: 1, OutputRange: 1, LegacyRatio: true, TokenIDs: true, VocabSize: 99},
		datasets.Options{Requests: 9})
	for i, s := range samples(exact) {
		if s.InputTokens != 128 || s.OutputTokens != 4 {
			t.Errorf("request %d: %d and %d tokens, want 128 and 4", i, s.InputTokens, s.OutputTokens)
		}
	}
}

func TestRandomWithKnownIDsOnly(t *testing.T) {
	set := mustLoad(t, &datasets.Random{InputLen: 12, OutputLen: 1, PrefixLen: 3}, datasets.Options{Requests: 6, Tokenizer: harvest{}})
	for i, s := range samples(set) {
		if len(s.Prompt.Text) != 14 || strings.Trim(s.Prompt.Text, "abcde") != "" {
			t.Errorf("prompt %d is %q", i, s.Prompt.Text)
		}
	}
}

func TestRandomRefuses(t *testing.T) {
	ok := datasets.Options{Requests: 2, Tokenizer: bytesTokenizer{}}
	for _, tc := range []struct {
		name string
		src  datasets.Source
		o    datasets.Options
		want string
	}{
		{"no tokenizer", &datasets.Random{InputLen: 9}, datasets.Options{Requests: 1}, "dataset random needs a tokenizer: give one, or use random with token ids"},
		{"no requests", &datasets.Random{InputLen: 9}, datasets.Options{Tokenizer: bytesTokenizer{}}, "dataset random: 0 requests: give a number above 0"},
		{"too short", &datasets.Random{InputLen: 1}, ok, "random input length 1 is too small: with 1 special tokens and a range ratio of 0 a prompt of 0 tokens could come out"},
		{"1.0 of old", &datasets.Random{InputLen: 128, InputRange: 1, OutputRange: 1}, ok, "a ratio of 1.0 meant exact lengths up to vLLM 0.8.3, which is 0.0 today"},
		{"1.0 with a prefix", &datasets.Random{InputLen: 128, PrefixLen: 1, InputRange: 1}, ok, "random input range ratio 1 is not in [0, 1); a ratio of 1.0 meant exact"},
		{"output ratio", &datasets.Random{InputLen: 128, OutputRange: -0.1}, ok, "random output range ratio -0.1 is not in [0, 1)"},
		{"legacy ratio", &datasets.Random{InputLen: 128, InputRange: 1.1, LegacyRatio: true}, ok, "random input range ratio 1.1 is not in [0, 1]"},
		{"negative", &datasets.Random{InputLen: 128, OutputLen: -1}, ok, "random lengths 128, -1, 0: each is from 0 to 16777216"},
		{"ids without a vocabulary", &datasets.Random{InputLen: 4, TokenIDs: true}, datasets.Options{Requests: 1}, "need a vocabulary size above the first id: have 0 and 0"},
		{"cache hits in text", &datasets.Random{InputLen: 9, CacheHitFraction: 0.5}, ok, "random cache hits need prompts of token ids"},
		{"cache hits beside a prefix", &datasets.Random{InputLen: 9, PrefixLen: 1, TokenIDs: true, CacheHitFraction: 0.5}, ok, "give one"},
		{"cache fraction", &datasets.Random{InputLen: 9, TokenIDs: true, CacheHitFraction: 2}, ok, "each is in [0, 1]"},
		{"broken tokenizer", &datasets.Random{InputLen: 9}, datasets.Options{Requests: 1, Tokenizer: broken{}}, "random: prompt 0: the server said no"},
		{"broken tokenizer, prefix", &datasets.Random{InputLen: 9, PrefixLen: 2}, datasets.Options{Requests: 1, Tokenizer: broken{}}, "random: prefix: the server said no"},
		{"rerank of one", &datasets.RandomRerank{InputLen: 9, NoReranker: true}, ok, "ask for at least 2 requests and a batch size of at least 2"},
		{"rerank ratio", &datasets.RandomRerank{InputLen: 9, InputRange: 1}, ok, "a range ratio of 1 is not in [0, 1)"},
		{"prefixes", &datasets.PrefixRepetition{PrefixLen: 2}, ok, "and there is a prefix"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := datasets.Load(t.Context(), tc.src, tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestParseRangeRatio(t *testing.T) {
	for _, tc := range []struct {
		text          string
		input, output float64
		fault         string
	}{
		{"0.25", 0.25, 0.25, ""},
		{`{"input": 0.3, "output": 0.8}`, 0.3, 0.8, ""},
		{`{"output": "0.5", "input": 0}`, 0, 0.5, ""},
		{`{"input": 0.3}`, 0, 0, "the object must have both keys"},
		{`{"input": [], "output": 1}`, 0, 0, "input is no number"},
		{"half", 0, 0, "give a number, or a JSON object"},
	} {
		in, out, err := datasets.ParseRangeRatio(tc.text)
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: got %v, want %q in it", tc.text, err, tc.fault)
			}
			continue
		}
		if err != nil || in != tc.input || out != tc.output {
			t.Errorf("%s: %v, %v, %v; want %v, %v", tc.text, in, out, err, tc.input, tc.output)
		}
	}
}

func TestPrefixRepetitionSpreadsTheRemainder(t *testing.T) {
	src := &datasets.PrefixRepetition{PrefixLen: 6, SuffixLen: 4, Prefixes: 3, OutputLen: 2}
	count := func(set *datasets.Set) map[string]int {
		n := map[string]int{}
		for _, s := range samples(set) {
			n[s.Prompt.Text[:6]]++
		}
		return n
	}
	ours := mustLoad(t, src, datasets.Options{Requests: 11, Tokenizer: asciiTokenizer{}, KeepOrder: true})
	if ours.Len() != 11 || len(count(ours)) != 3 {
		t.Errorf("%d prompts of %v", ours.Len(), count(ours))
	}
	theirs := mustLoad(t, src, datasets.Options{Requests: 11, Tokenizer: asciiTokenizer{}, Compat: true})
	if theirs.Len() != 9 || len(theirs.Notes) != 1 || !strings.Contains(theirs.Notes[0], "2 of the 11 requests asked for are dropped") {
		t.Errorf("%d prompts as vLLM, notes %q", theirs.Len(), theirs.Notes)
	}
}

// An asciiTokenizer has a token for each letter of a few, so that every text is its ids.
type asciiTokenizer struct{ bytesTokenizer }

func (asciiTokenizer) Decode(ids []int) (string, error) {
	var b []byte
	for _, id := range ids {
		b = append(b, byte('A'+id%26))
	}
	return string(b), nil
}

func TestKinds(t *testing.T) {
	want := []string{
		"burstgpt", "conversations", "custom", "custom_audio", "custom_image", "hf", "prefix_repetition", "random", "random-mm",
		"random-rerank", "sharegpt", "spec_bench", "speed_bench", "timed_trace",
	}
	if got := datasets.Kinds(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := datasets.New("sonnet"); err == nil || !strings.Contains(err.Error(), `no dataset "sonnet": have burstgpt, conversations, custom,`) {
		t.Errorf("sonnet: %v", err)
	}
}

func TestCheckBackend(t *testing.T) {
	calls := &datasets.HF{Path: "gorilla-llm/Berkeley-Function-Calling-Leaderboard"}
	arena := &datasets.HF{Path: "x", Name: "lmarena-ai/VisionArena-Chat"}
	for _, tc := range []struct {
		src     datasets.Source
		backend string
		ok      bool
	}{
		{&datasets.Random{}, "vllm", true},
		{&datasets.Random{}, "openai-embeddings", true},
		{&datasets.Random{TokenIDs: true}, "openai", true},
		{&datasets.Random{TokenIDs: true}, "openai-chat", false},
		{&datasets.TimedTrace{}, "openai-chat", false},
		{&datasets.RandomMM{}, "openai-chat", true},
		{&datasets.RandomMM{}, "openai-audio", true},
		{&datasets.RandomMM{}, "openai-embeddings-clip", false},
		{&datasets.RandomMM{}, "openai", false},
		{arena, "openai-chat", true},
		{arena, "openai-embeddings-clip", true},
		{arena, "vllm", false},
		{calls, "openai-chat", true},
		{calls, "openai-audio", false},
	} {
		if err := datasets.CheckBackend(tc.src, tc.backend); (err == nil) != tc.ok {
			t.Errorf("%T on %s: %v", tc.src, tc.backend, err)
		}
	}
}

func TestMaxModelLen(t *testing.T) {
	src := &datasets.Random{InputLen: 20, OutputLen: 5, InputRange: 0.9, TokenIDs: true, VocabSize: 99}
	all := mustLoad(t, src, datasets.Options{Requests: 40})
	some := mustLoad(t, src, datasets.Options{Requests: 40, MaxModelLen: 25})
	var want []datasets.Sample
	for _, s := range samples(all) {
		if s.InputTokens <= 20 {
			want = append(want, s)
		}
	}
	if got := samples(some); !reflect.DeepEqual(got, want) || len(want) == 40 {
		t.Errorf("%d samples, want %d of 40", len(got), len(want))
	}
	if n := len(some.Notes); n != 2 || !strings.Contains(some.Notes[1], "of 40 samples were left out: they are longer than the 25 tokens") {
		t.Errorf("notes %q", some.Notes)
	}
	if _, err := datasets.Load(t.Context(), src, datasets.Options{Requests: 40, MaxModelLen: 3}); err == nil || !strings.Contains(err.Error(), "each of 40 samples is longer") {
		t.Errorf("got %v", err)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := datasets.Load(ctx, &datasets.Random{InputLen: 9}, datasets.Options{Requests: 5, Tokenizer: bytesTokenizer{}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRandomMMWithoutText(t *testing.T) {
	src := &datasets.RandomMM{Items: 1, Limits: map[string]int{"image": 1}, Buckets: []datasets.Bucket{{Height: 4, Width: 4, Frames: 1, Weight: 1}}}
	set := mustLoad(t, src, datasets.Options{Requests: 2, Tokenizer: bytesTokenizer{}})
	if s := set.At(1); s.Prompt.Text != "" || s.InputTokens != 0 || len(s.Media) != 1 {
		t.Errorf("%+v", s)
	}
}
