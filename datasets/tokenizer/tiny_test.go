package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// tinyFiles are a tokenizer one can do by hand: a=0 b=1 ab=2, with <s>=3 in front.
func tinyFiles() map[string]string {
	return map[string]string{
		"tokenizer.json": `{"version":"1.0","added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
			"normalizer":null,"pre_tokenizer":null,"decoder":null,
			"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}},
			"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`,
		"tokenizer_config.json": `{"bos_token":"<s>"}`,
	}
}

// loadTiny loads the tiny tokenizer with some members of tokenizer.json replaced.
func loadTiny(t testing.TB, change map[string]string) (*Tokenizer, error) {
	t.Helper()
	dir := t.TempDir()
	files := tinyFiles()
	var whole map[string]json.RawMessage
	if err := json.Unmarshal([]byte(files["tokenizer.json"]), &whole); err != nil {
		t.Fatal(err)
	}
	for key, text := range change {
		whole[key] = json.RawMessage(text)
	}
	data, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	files["tokenizer.json"] = string(data)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return Load(dir)
}
