package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Tokenizer is one model's way of counting text. It is safe for concurrent use.
type Tokenizer struct {
	name      string
	model     model
	added     *addedVocabulary
	normalize []normalizer
	cuts      []preTokenizer
	splitter  splitter // set when the only cut is a well-known pattern
	post      *postProcessor

	decoders   []decoder
	hasDecoder bool
	table      *decodeTable // nil: the decoders are run

	config config

	mu   sync.Mutex
	free []*scratch
	// parsed are the chat templates used so far, by source.
	parsed map[string]*jinjaTemplate
}

// Load reads the tokenizer in a folder: tokenizer.json, and beside it, where they
// exist, tokenizer_config.json, special_tokens_map.json, added_tokens.json and the
// chat templates. A folder without tokenizer.json may have a tiktoken rank file. A
// path to one of the files themselves will do.
func Load(path string) (*Tokenizer, error) {
	dir, file := path, filepath.Join(path, "tokenizer.json")
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir, file = filepath.Dir(path), path
	} else if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
		if file, err = findRanks(dir); err != nil {
			return nil, err
		}
	}
	fields, modern, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	t, err := loadFile(dir, file, fields)
	if err != nil {
		return nil, err
	}
	t.name = filepath.Base(dir)
	if abs, err := filepath.Abs(dir); err == nil {
		t.name = filepath.Base(abs)
	}
	if err := t.configure(dir, fields, modern); err != nil {
		return nil, err
	}
	t.table = t.newDecodeTable()
	return t, nil
}

func loadFile(dir, file string, fields map[string]json.RawMessage) (*Tokenizer, error) {
	if filepath.Ext(file) != ".json" {
		return loadRanks(file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f, err := readFile(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := f.rebuild(dir, fields); err != nil {
		return nil, err
	}
	t, err := f.build()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// add takes added tokens. The matchers are built by configure, once all are in.
func (t *Tokenizer) add(tokens []addedToken) {
	var normalize func(string) string
	if t.normalize != nil {
		normalize = func(text string) string { return t.normalized(piece{text: text, id: -1}).text }
	}
	t.added.add(tokens, t.model, normalize)
}

func (t *Tokenizer) normalized(p piece) piece {
	for _, n := range t.normalize {
		p = n(p)
	}
	return p
}

// Name is the name of the folder or repository the tokenizer came from.
func (t *Tokenizer) Name() string { return t.name }

// Kind is the model's kind: BPE, Unigram, WordPiece or WordLevel.
func (t *Tokenizer) Kind() string { return t.model.kind() }

// VocabSize is the size of the model's vocabulary without added tokens.
func (t *Tokenizer) VocabSize() int { return t.model.size() }

// SpecialTokens is how many tokens Encode adds around a single text.
func (t *Tokenizer) SpecialTokens() int {
	if t.post == nil {
		return 0
	}
	return t.post.added
}

// AddedSpecialIDs are the ids of all added tokens that are marked special, named or
// not, ascending.
func (t *Tokenizer) AddedSpecialIDs() []int {
	var ids []int
	for id, token := range t.added.tokens {
		if token.special {
			ids = append(ids, int(id))
		}
	}
	slices.Sort(ids)
	return ids
}

// AllIDs are the ids of the model and of all added tokens, ascending. Of tokens with the
// same text only the one that the text encodes to counts.
func (t *Tokenizer) AllIDs() []int {
	var ids []int
	t.model.each(func(id int32, text string) {
		if known, ok := t.model.id(text); ok && known == id {
			ids = append(ids, int(id))
		}
	})
	for id := range t.added.tokens {
		ids = append(ids, int(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Encode returns the ids of text, with the special tokens the model puts around a
// prompt if special is set. text must be UTF-8.
func (t *Tokenizer) Encode(text string, special bool) ([]int, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("text is not UTF-8")
	}
	s := t.borrow()
	defer t.giveBack(s)
	ids, err := t.encode(s, text, s.ids[:0])
	if err != nil {
		return nil, err
	}
	s.ids = ids
	return t.around(ids, special), nil
}

// around puts the special tokens around the ids of a text.
func (t *Tokenizer) around(ids []int32, special bool) []int {
	frame := []int32{textHere}
	if t.post != nil {
		frame = t.post.without
		if special {
			frame = t.post.with
		}
	}
	out := make([]int, 0, len(ids)+len(frame))
	for _, id := range frame {
		if id != textHere {
			out = append(out, int(id))
			continue
		}
		for _, id := range ids {
			out = append(out, int(id))
		}
	}
	return out
}

func (t *Tokenizer) borrow() *scratch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		s := t.free[n-1]
		t.free = t.free[:n-1]
		return s
	}
	return newScratch()
}

// giveBack keeps a scratch for the next encoding. More than there are processors
// are not worth their megabytes.
func (t *Tokenizer) giveBack(s *scratch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) < 2*runtime.GOMAXPROCS(0) {
		t.free = append(t.free, s)
	}
}

// encode appends the ids of text, nothing around them.
func (t *Tokenizer) encode(s *scratch, text string, ids []int32) ([]int32, error) {
	whole := piece{text: text, id: -1}
	var err error
	t.added.cut(&t.added.raw, text, func(from, to int, id int32) {
		if err != nil {
			return
		}
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		p := t.normalized(whole.slice(from, to))
		t.added.cut(&t.added.cooked, p.text, func(from, to int, id int32) {
			switch {
			case err != nil:
			case id >= 0:
				ids = append(ids, id)
			default:
				ids, err = t.encodePiece(s, p.slice(from, to), ids)
			}
		})
	})
	return ids, err
}

// encodePiece cuts a piece and appends the ids of what comes out.
func (t *Tokenizer) encodePiece(s *scratch, p piece, ids []int32) (_ []int32, err error) {
	if t.splitter != nil {
		for i := 0; i < len(p.text); {
			end := t.splitter.next(p.text, i)
			if ids, err = s.encode(t.model, p.text[i:end], ids); err != nil {
				return nil, err
			}
			i = end
		}
		return ids, nil
	}
	in, out := append(s.pieces[0][:0], p), s.pieces[1][:0]
	for _, do := range t.cuts {
		out = out[:0]
		for _, p := range in {
			out = do(p, out)
		}
		in, out = out, in
	}
	s.pieces[0], s.pieces[1] = in, out
	for _, p := range in {
		if p.text == "" {
			continue
		}
		if ids, err = s.encode(t.model, p.text, ids); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Decode returns the text of ids, special tokens kept. Ids that stand for nothing
// are left out. If the folder's configuration asks for clean-up of spaces and the
// model is not BPE, ten fixed replacements follow (a space before . ? ! , n't and
// the like goes).
func (t *Tokenizer) Decode(ids []int) (string, error) { return t.decode(ids, false) }

// DecodeSkipSpecial is Decode without the added tokens that are marked special.
func (t *Tokenizer) DecodeSkipSpecial(ids []int) (string, error) { return t.decode(ids, true) }

func (t *Tokenizer) decode(ids []int, skipSpecial bool) (string, error) {
	for i, id := range ids {
		if id < 0 || id > 1<<32-1 {
			return "", fmt.Errorf("ids[%d] is %d, which is no token id", i, id)
		}
	}
	text := ""
	if t.table != nil {
		text = t.table.decode(ids, skipSpecial)
	} else {
		text = t.runDecoders(ids, skipSpecial)
	}
	if t.config.cleanUp && (t.config.cleanUpBPE || t.model.kind() != "BPE") {
		text = cleanUp(text)
	}
	return text, nil
}

// runDecoders is decoding without a table.
func (t *Tokenizer) runDecoders(ids []int, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if id > maxID {
			continue
		}
		token, ok := t.added.text(int32(id))
		if !ok {
			if token, ok = t.model.token(int32(id)); !ok {
				continue
			}
		}
		if skipSpecial && t.added.special[token] {
			continue
		}
		tokens = append(tokens, token)
	}
	if !t.hasDecoder {
		return strings.Join(tokens, " ")
	}
	for _, d := range t.decoders {
		tokens = d.do(tokens)
	}
	return strings.Join(tokens, "")
}
