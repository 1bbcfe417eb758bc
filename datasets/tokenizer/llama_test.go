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
