package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// A rank file (tiktoken) holds tokens only. Its pattern and its special tokens are
// known by its name, or by the configuration beside it.
type rankFile struct {
	splitter splitter
	special  map[string]int32
	nfc      bool
}

// rankFiles are the rank files whose pattern is published, by name.
func rankFiles(name string) (rankFile, bool) {
	switch strings.TrimSuffix(name, ".tiktoken") {
	case "cl100k_base":
		s := wordSplitter{classes: charClasses(), suffixFirst: true, digits: 3, wholeTail: true}
		return rankFile{splitter: s, special: map[string]int32{"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276}}, true
	case "o200k_base":
		return rankFile{splitter: knownSplitters[patternO200k](), special: map[string]int32{"<|endoftext|>": 199999, "<|endofprompt|>": 200018}}, true
	case "r50k_base", "p50k_base", "gpt2":
		return rankFile{splitter: knownSplitters[patternGPT2](), special: map[string]int32{"<|endoftext|>": 50256}}, true
	case "qwen":
		special := map[string]int32{"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
		for i := range int32(205) {
			special[fmt.Sprintf("<|extra_%d|>", i)] = 151646 + i
		}
		return rankFile{splitter: knownSplitters[patternQwen2](), special: special, nfc: true}, true
	}
	return rankFile{}, false
}

// loadRanks reads a rank file. One whose name says nothing gets the pattern that
// transformers gives it (Llama 3's), and its special tokens from the configuration
// beside it; a folder that brings its own tokenizer code is refused.
func loadRanks(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := parseRanks(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t := &Tokenizer{model: m, added: newAddedVocabulary(), hasDecoder: true, decoders: []decoder{{decodeByteLevel, byteAlphabet}}}
	known, ok := rankFiles(filepath.Base(path))
	if !ok {
		if err := t.namedByConfig(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		known.splitter = knownSplitters[patternLlama3]()
	}
	t.splitter = known.splitter
	t.cuts = []preTokenizer{splitWith(t.splitter)}
	if known.nfc {
		t.normalize = []normalizer{form(norm.NFC)}
	}
	for text, id := range known.special {
		t.added.ids[text], t.added.special[text] = id, true
		t.added.tokens[id] = addedToken{content: text, special: true}
	}
	return t, nil
}

// namedByConfig adds the special tokens of tokenizer_config.json that lie beyond
// the ranks, with a placeholder for every id between that has none.
func (t *Tokenizer) namedByConfig(dir string) error {
	var c struct {
		Map   any                  `json:"auto_map"`
		Added map[string]tokenText `json:"added_tokens_decoder"`
	}
	if _, err := readJSON(dir, "tokenizer_config.json", &c); err != nil {
		return err
	}
	if c.Map != nil {
		return errors.New("the folder's tokenizer is Python code of its own (auto_map): its pattern is not known")
	}
	last := int32(-1)
	byID := map[int32]addedToken{}
	for key, token := range c.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 || id > 1<<24 {
			return fmt.Errorf("tokenizer_config.json: added_tokens_decoder: %q is no token id", key)
		}
		byID[int32(id)] = token.addedToken
		last = max(last, int32(id))
	}
	var tokens []addedToken
	for id := int32(t.model.size()); id <= last; id++ {
		text := byID[id].content
		if text == "" {
			text = fmt.Sprintf("<|reserved_token_%d|>", id)
		}
		tokens = append(tokens, addedToken{content: text, special: true})
	}
	t.added.add(tokens, t.model, nil)
	return nil
}

// isRanks tells a rank file from a SentencePiece model, which may have the same name.
func isRanks(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	token, rank, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	if !ok {
		return false
	}
	_, err := base64.StdEncoding.DecodeString(string(token))
	_, rankErr := strconv.ParseUint(string(rank), 10, 31)
	return err == nil && rankErr == nil
}

// parseRanks makes a BPE of lines of a token in base 64 and its rank. A pair of
// tokens merges when their bytes together are a token, the lowest rank first.
func parseRanks(data []byte) (*bpe, error) {
	if !isRanks(data) {
		return nil, errors.New("is no tiktoken file (lines of a token in base 64 and its rank); a SentencePiece model has to be converted to tokenizer.json")
	}
	m := &bpe{ignoreMerges: true, whole: map[string]int32{}, raw: true}
	ids := map[string]int32{}
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		text, number, _ := strings.Cut(line, " ")
		token, err := base64.StdEncoding.DecodeString(text)
		rank, rankErr := strconv.ParseUint(number, 10, 31)
		if err != nil || rankErr != nil || len(token) == 0 || len(token) > 1<<12 {
			return nil, fmt.Errorf("line %d is not a token in base 64 and its rank", n+1)
		}
		m.whole[string(token)] = int32(rank)
		ids[toByteRunes(string(token))] = int32(rank)
	}
	m.vocabulary = newVocabulary(ids)
	for b := range 256 {
		id, ok := m.whole[string([]byte{byte(b)})]
		if !ok {
			return nil, fmt.Errorf("has no token for the byte %#02x", b)
		}
		m.bytes[b] = id
	}
	type pair struct{ left, right, id int32 }
	var pairs []pair
	for token, id := range m.whole {
		for i := 1; i < len(token); i++ {
			left, ok := m.whole[token[:i]]
			if !ok {
				continue
			}
			if right, ok := m.whole[token[i:]]; ok {
				pairs = append(pairs, pair{left, right, id})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
	})
	m.merges = newMergeTable(len(pairs))
	for rank, p := range pairs {
		m.merges.put(p.left, p.right, uint32(rank), p.id)
	}
	return m, nil
}

// findRanks looks for a rank file in a folder without tokenizer.json.
func findRanks(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.tiktoken"))
	if err != nil {
		return "", err
	}
	for _, name := range []string{"tokenizer.model", "tiktoken.model"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			names = append(names, filepath.Join(dir, name))
		}
	}
	switch len(names) {
	case 0:
		return "", fmt.Errorf("%s: no tokenizer.json and no tiktoken file: %w", dir, fs.ErrNotExist)
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("%s: several tiktoken files (%s): name one", dir, strings.Join(names, ", "))
}
