package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// goldenDir is the folder of recorded results, one subfolder a tokenizer.
func goldenDir(t testing.TB) string {
	t.Helper()
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	dir := filepath.Join(root, "tokenizers")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no recorded tokenizers: %v (SERVEBENCH_GOLDEN names the folder above)", err)
	}
	return dir
}

// goldenCases calls f with every tokenizer folder that holds the file, as a subtest.
func goldenCases(t *testing.T, file string, f func(t *testing.T, tok *Tokenizer, path string)) {
	dirs, err := filepath.Glob(filepath.Join(goldenDir(t), "*", file))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 0 {
		t.Skipf("no %s recorded", file)
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			tok, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			f(t, tok, path)
		})
	}
}

// eachLine decodes every line of a JSONL file.
func eachLine[T any](t *testing.T, path string, f func(line int, row T)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("%s:%d: %v", path, n, err)
		}
		f(n, row)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenEncodings(t *testing.T) {
	type row struct {
		Text     string `json:"text"`
		With     []int  `json:"ids_with_special"`
		Without  []int  `json:"ids_without"`
		Decoded  string `json:"decoded"`
		DecodedW string `json:"decoded_with_special"`
		Skipped  string `json:"decoded_skip_special"`
	}
	goldenCases(t, "encodings.jsonl", func(t *testing.T, tok *Tokenizer, path string) {
		eachLine(t, path, func(line int, r row) {
			for _, c := range []struct {
				special bool
				want    []int
			}{{true, r.With}, {false, r.Without}} {
				got, err := tok.Encode(r.Text, c.special)
				if err != nil {
					t.Errorf("line %d: Encode(%q): %v", line, r.Text, err)
				} else if !slices.Equal(got, c.want) {
					t.Errorf("line %d: Encode(%q, %t)\n got %v\nwant %v", line, r.Text, c.special, got, c.want)
				}
			}
			for _, c := range []struct {
				name   string
				decode func([]int) (string, error)
				ids    []int
				want   string
			}{{"Decode(without)", tok.Decode, r.Without, r.Decoded}, {"Decode(with)", tok.Decode, r.With, r.DecodedW}, {"DecodeSkipSpecial", tok.DecodeSkipSpecial, r.With, r.Skipped}} {
				if got, err := c.decode(c.ids); err != nil || got != c.want {
					t.Errorf("line %d: %s(%v)\n got %q, %v\nwant %q", line, c.name, c.ids, got, err, c.want)
				}
			}
		})
	})
}

func TestGoldenDecodings(t *testing.T) {
	type row struct {
		IDs       []int  `json:"ids"`
		Decoded   string `json:"decoded"`
		Reencoded []int  `json:"reencoded"`
	}
	goldenCases(t, "decodings.jsonl", func(t *testing.T, tok *Tokenizer, path string) {
		eachLine(t, path, func(line int, r row) {
			got, err := tok.Decode(r.IDs)
			if err != nil || got != r.Decoded {
				t.Errorf("line %d: Decode(%v)\n got %q, %v\nwant %q", line, r.IDs, got, err, r.Decoded)
			}
			ids, err := tok.Encode(r.Decoded, false)
			if err != nil || !slices.Equal(ids, r.Reencoded) {
				t.Errorf("line %d: Encode(%q)\n got %v, %v\nwant %v", line, r.Decoded, ids, err, r.Reencoded)
			}
		})
	})
}

func TestGoldenSummary(t *testing.T) {
	dir := goldenDir(t)
	data, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil {
		t.Skip(err)
	}
	var all map[string]struct {
		VocabSize int   `json:"vocab_size"`
		Len       int   `json:"len"`
		Special   int   `json:"num_special_tokens_to_add"`
		IDs       []int `json:"all_special_ids"`
		HasChat   bool  `json:"has_chat_template"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			tok, err := Load(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want.IDs)
			if got := tok.VocabSize(); got != want.VocabSize {
				t.Errorf("VocabSize() = %d, want %d", got, want.VocabSize)
			}
			if got := tok.SpecialTokens(); got != want.Special {
				t.Errorf("SpecialTokens() = %d, want %d", got, want.Special)
			}
			if got := tok.SpecialIDs(); !slices.Equal(got, want.IDs) {
				t.Errorf("SpecialIDs() = %v, want %v", got, want.IDs)
			}
			if got := tok.HasTemplate(); got != want.HasChat {
				t.Errorf("HasTemplate() = %t, want %t", got, want.HasChat)
			}
			if got := tok.Name(); got != name {
				t.Errorf("Name() = %q, want %q", got, name)
			}
		})
	}
}

func TestGoldenChat(t *testing.T) {
	type row struct {
		Messages   json.RawMessage            `json:"messages"`
		Generation bool                       `json:"add_generation_prompt"`
		Kwargs     map[string]json.RawMessage `json:"kwargs"`
		Rendered   *string                    `json:"rendered"`
		IDs        []int                      `json:"ids"`
		Without    []int                      `json:"ids_without"`
	}
	goldenCases(t, "chat.jsonl", func(t *testing.T, tok *Tokenizer, path string) {
		eachLine(t, path, func(line int, r row) {
			got, err := tok.Render(r.Messages, r.Generation, r.Kwargs)
			if r.Rendered == nil {
				if err == nil {
					t.Errorf("line %d: Render(%s) = %q, want an error", line, r.Messages, got)
				}
				return
			}
			if err != nil || got != *r.Rendered {
				t.Errorf("line %d: Render(%s)\n got %q, %v\nwant %q", line, r.Messages, got, err, *r.Rendered)
				return
			}
			for _, c := range []struct {
				special bool
				want    []int
			}{{true, r.IDs}, {false, r.Without}} {
				if ids, err := tok.Encode(got, c.special); err != nil || !slices.Equal(ids, c.want) {
					t.Errorf("line %d: Encode(%q, %t)\n got %v, %v\nwant %v", line, got, c.special, ids, err, c.want)
				}
			}
		})
	})
}
