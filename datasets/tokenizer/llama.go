package tokenizer

import (
	"encoding/json"
	"fmt"
)

// rebuildAsLlama does what transformers 5 does for the class LlamaTokenizer: it
// takes the vocabulary from tokenizer.json and sets the parts around it anew. The
// ids differ from the file's own for texts that begin with a space, and behind
// special tokens. Other model types that name this class are given the file as it
// is, and so is a file that is not of SentencePiece's kind.
func (t *Tokenizer) rebuildAsLlama(dir string, fields map[string]json.RawMessage) error {
	var class string
	legacy := false
	var prefix *bool
	read := func(name string, into any) error {
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			return nil
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("%s/tokenizer_config.json: %s: %s", dir, name, plainJSON(err))
		}
		return nil
	}
	if err := firstError(read("tokenizer_class", &class), read("legacy", &legacy), read("add_prefix_space", &prefix)); err != nil {
		return err
	}
	m, ok := t.model.(*bpe)
	if !ok || m.raw || !m.byteFallback || class != "LlamaTokenizer" && class != "LlamaTokenizerFast" {
		return nil
	}
	if _, ok := m.ids[string(wordMark)]; !ok {
		return nil
	}
	var model struct {
		Type string `json:"model_type"`
	}
	if _, err := readJSON(dir, "config.json", &model); err != nil {
		return err
	}
	if model.Type != "" && model.Type != "llama" {
		return nil
	}
	scheme := "first"
	switch {
	case prefix != nil && !*prefix:
		scheme = "never"
	case legacy:
		scheme = "always"
	}
	m.fuseUnknown, m.hasUnknown, m.unknown = true, false, ""
	t.normalize = nil
	t.cuts = []preTokenizer{metaspace{replacement: string(wordMark), scheme: scheme}.preTokenize}
	t.splitter = nil
	t.hasDecoder = true
	t.decoders = []decoder{{decodeReplace(literal(string(wordMark)), " "), oneToken}, {decodeByteFallback, byteTokens}, {decodeFuse, joinTokens}}
	if scheme != "never" {
		t.decoders = append(t.decoders, decoder{decodeStrip(' ', 1, 0), oneToken})
	}
	clear(t.added.normal) // nothing normalizes them any more
	for name, text := range map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} {
		if _, ok := fields[name]; !ok {
			fields[name], _ = json.Marshal(text)
		}
	}
	return nil
}
