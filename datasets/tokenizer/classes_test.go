package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLlamaClass: a folder whose class is LlamaTokenizer is read as transformers 5
// builds that class, not as its tokenizer.json says. The ids are transformers'.
func TestLlamaClass(t *testing.T) {
	from := filepath.Join("..", "..", "testdata", "golden", "tokenizers", "llama2")
	data, err := os.ReadFile(filepath.Join(from, "tokenizer.json"))
	if err != nil {
		t.Skip(err)
	}
	for _, tc := range []struct {
		name, class, modelType string
		want                   map[string][]int
	}{
		{"class", "LlamaTokenizer", "llama", map[string][]int{"  ": {1, 260}, "</s>a": {1, 2, 1738}}},
		{"file", "PreTrainedTokenizerFast", "llama", map[string][]int{"  ": {1, 260, 1731}, "</s>a": {1, 2, 268}}},
		{"another model", "LlamaTokenizer", "mistral", map[string][]int{"  ": {1, 260, 1731}, "</s>a": {1, 2, 268}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			config, err := json.Marshal(map[string]any{"tokenizer_class": tc.class, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{"tokenizer.json": data, "tokenizer_config.json": config, "config.json": []byte(`{"model_type":"` + tc.modelType + `"}`)} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			tok, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			for text, want := range tc.want {
				if got, err := tok.Encode(text, true); err != nil || !slices.Equal(got, want) {
					t.Errorf("Encode(%q) = %v, %v; want %v", text, got, err, want)
				}
			}
		})
	}
}

// TestClasses compares folders that name a class with what transformers (5.19) made of them. Each takes one of the recorded
// tokenizers and changes members of its tokenizer.json.
func TestClasses(t *testing.T) {
	type row struct {
		Name, Base    string
		Change        map[string]json.RawMessage
		Config, Model json.RawMessage
		Special       []int
		Cases         []struct {
			Text    string
			IDs     []int
			Decoded string
		}
	}
	eachLine(t, filepath.Join("testdata", "classes.jsonl"), func(_ int, r row) {
		t.Run(r.Name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "tokenizers", r.Base, "tokenizer.json"))
			if err != nil {
				t.Skip(err)
			}
			var whole map[string]json.RawMessage
			if err := json.Unmarshal(data, &whole); err != nil {
				t.Fatal(err)
			}
			for key, value := range r.Change {
				whole[key] = value
			}
			if data, err = json.Marshal(whole); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, data := range map[string][]byte{"tokenizer.json": data, "tokenizer_config.json": r.Config, "config.json": r.Model} {
				if string(data) == "null" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			tok, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.SpecialIDs(); !slices.Equal(got, r.Special) {
				t.Errorf("SpecialIDs() = %v, want %v", got, r.Special)
			}
			for _, c := range r.Cases {
				if got, err := tok.Encode(c.Text, true); err != nil || !slices.Equal(got, c.IDs) {
					t.Errorf("Encode(%q)\n got %v, %v\nwant %v", c.Text, got, err, c.IDs)
				}
				if got, err := tok.Decode(c.IDs); err != nil || got != c.Decoded {
					t.Errorf("Decode(%v)\n got %q, %v\nwant %q", c.IDs, got, err, c.Decoded)
				}
			}
		})
	})
}
