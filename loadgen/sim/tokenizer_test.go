package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"
)

func words(t testing.TB, vocabulary int) *Words {
	t.Helper()
	w, err := NewWords(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWordsEncode(t *testing.T) {
	w := words(t, 0)
	for _, tc := range []struct {
		text string
		want int
	}{
		{"", 0},
		{" the", 1},
		{"</s>", 1},
		{"<s", 2},
		{" abcdef", 3},  // " abc", "de", "f"
		{" Abc 123", 2}, // capitals up to T have words
		{" Zbc", 3},     // " ", "Z", "bc"
		{"é", 2},        // two bytes
		{"12345", 3},    // "12", "34", "5"
		{"San Francisco is a", 10},
	} {
		ids := w.Encode(tc.text, false)
		if len(ids) != tc.want {
			t.Errorf("Encode(%q) = %v; want %d ids", tc.text, ids, tc.want)
		}
		if got := w.Decode(ids); got != tc.text {
			t.Errorf("Decode(Encode(%q)) = %q", tc.text, got)
		}
	}
	if got := w.Encode(" the", true); len(got) != 2 || got[0] != EOS {
		t.Errorf("Encode with special ids = %v; want the id %d first", got, EOS)
	}
	if got, want := w.Decode([]int{2, 4}), "</s>\x00"; got != want {
		t.Errorf("Decode = %q; want %q", got, want)
	}
}

// A prompt made of ramps of ids, as random prompts are, keeps its ids on the way through text.
func TestWordsRampsSurvive(t *testing.T) {
	for _, size := range []int{firstPair, 5000, DefaultVocabulary, 50272, 151936} {
		w := words(t, size)
		const length = 200
		for start := 0; start < size; start += 17 {
			ramp := make([]int, length)
			for i := range ramp {
				ramp[i] = (start + i) % size
			}
			if got := w.Encode(w.Decode(ramp), false); !slices.Equal(got, ramp) {
				t.Fatalf("vocabulary %d: the ramp from %d of %d ids came back as %d ids", size, start, length, len(got))
			}
		}
	}
}

func TestWordsRandomIDsSurvive(t *testing.T) {
	w := words(t, 0)
	random := rand.New(rand.NewPCG(1, 2))
	const prompts, length = 2000, 128
	changed := 0
	for range prompts {
		ids := make([]int, length)
		for i := range ids {
			ids[i] = random.IntN(w.Vocabulary())
		}
		if !slices.Equal(w.Encode(w.Decode(ids), false), ids) {
			changed++
		}
	}
	if changed > prompts/50 {
		t.Errorf("%d of %d random prompts changed on the way through text; want at most 2 %%", changed, prompts)
	}
}

func TestVocabularyIsChecked(t *testing.T) {
	for _, size := range []int{1, firstPair - 1, 1 << 30, -1} {
		if _, err := NewWords(size); err == nil {
			t.Errorf("NewWords(%d) was accepted", size)
		}
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{"San Francisco is a", "é\uf7c3\uf7a9", "\uf7c3\uf7a9", "</s><s", " abc 12 345", "中文\u00a0", "\ufffd\uf780"} {
		f.Add(s)
	}
	w := words(f, 0)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip("JSON carries no other strings")
		}
		ids := w.Encode(text, false)
		for _, id := range ids {
			if id < 0 || id >= w.Vocabulary() {
				t.Fatalf("id %d is outside the vocabulary", id)
			}
		}
		if got := w.Decode(ids); got != text {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
		if again := w.Encode(w.Decode(ids), false); !slices.Equal(again, ids) {
			t.Fatalf("ids %v of %q came back as %v", ids, text, again)
		}
	})
}
