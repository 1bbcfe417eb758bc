package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A part is one component of a tokenizer.json, and where it stands in it.
type part struct {
	where  string
	kind   string
	fields map[string]json.RawMessage
}

// partOf reads a component; ok is false for null or nothing.
func partOf(where string, raw json.RawMessage) (p part, ok bool, err error) {
	if len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		return part{}, false, nil
	}
	p.where = where
	if err := json.Unmarshal(raw, &p.fields); err != nil {
		return part{}, false, fmt.Errorf("%s: not an object", where)
	}
	if kind, ok := p.fields["type"]; ok {
		if err := json.Unmarshal(kind, &p.kind); err != nil {
			return part{}, false, fmt.Errorf("%s: type is not a string", where)
		}
	}
	return p, true, nil
}

func (p part) errorf(format string, args ...any) error {
	where := p.where
	if p.kind != "" {
		where += " (" + p.kind + ")"
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

// unknown refuses a component by name.
func (p part) unknown(have ...string) error {
	if p.kind == "" {
		return fmt.Errorf("%s: has no type", p.where)
	}
	return fmt.Errorf("%s: unknown type %q: have %s", p.where, p.kind, strings.Join(have, ", "))
}

func (p part) has(name string) bool {
	raw, ok := p.fields[name]
	return ok && string(raw) != "null"
}

// read decodes a field that must be there.
func (p part) read(name string, into any) error {
	raw, ok := p.fields[name]
	if !ok {
		return p.errorf("has no %s", name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return p.errorf("%s: %v", name, plainJSON(err))
	}
	return nil
}

// optional decodes a field that may be missing or null.
func (p part) optional(name string, into any) error {
	if !p.has(name) {
		return nil
	}
	return p.read(name, into)
}

// char reads a field that is one character.
func (p part) char(name string) (rune, error) {
	var text string
	if err := p.read(name, &text); err != nil {
		return 0, err
	}
	r, size := utf8.DecodeRuneInString(text)
	if size == 0 || size != len(text) {
		return 0, p.errorf("%s: %q is not one character", name, text)
	}
	return r, nil
}

// list reads a field that is a list of components.
func (p part) list(name string) ([]part, error) {
	var raw []json.RawMessage
	if err := p.read(name, &raw); err != nil {
		return nil, err
	}
	parts := make([]part, 0, len(raw))
	for i, one := range raw {
		inner, ok, err := partOf(fmt.Sprintf("%s.%s[%d]", p.where, name, i), one)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, p.errorf("%s[%d] is null", name, i)
		}
		parts = append(parts, inner)
	}
	return parts, nil
}

// plainJSON strips Go's own words from an error of encoding/json.
func plainJSON(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }

// file is a whole tokenizer.json.
type file struct {
	Version       *string         `json:"version"`
	AddedTokens   []fileToken     `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`

	// exact reads scores as they are written, not as the library's own reader does.
	exact bool
}

type fileToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// parse builds a tokenizer from the text of a tokenizer.json.
func parse(data []byte) (*Tokenizer, error) {
	f, err := readFile(data)
	if err != nil {
		return nil, err
	}
	return f.build()
}

func readFile(data []byte) (*file, error) {
	f := &file{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s", plainJSON(err))
	}
	return f, nil
}

func (f *file) build() (*Tokenizer, error) {
	if f.Version != nil && *f.Version != "1.0" {
		return nil, fmt.Errorf("version: %q is not known: have \"1.0\"", *f.Version)
	}
	t := &Tokenizer{added: newAddedVocabulary()}
	var err error
	if t.model, err = parseModel(f.Model, f.exact); err != nil {
		return nil, err
	}
	if t.normalize, err = parseNormalizer("normalizer", f.Normalizer); err != nil {
		return nil, err
	}
	if err := t.setPreTokenizer(f.PreTokenizer); err != nil {
		return nil, err
	}
	if t.post, err = parsePostProcessor(f.PostProcessor); err != nil {
		return nil, err
	}
	if err := t.setDecoder(f.Decoder); err != nil {
		return nil, err
	}
	tokens := make([]addedToken, len(f.AddedTokens))
	for i, token := range f.AddedTokens {
		tokens[i] = addedToken{token.Content, token.SingleWord, token.LStrip, token.RStrip, token.Normalized, token.Special}
	}
	t.add(tokens)
	return t, nil
}

func parseModel(raw json.RawMessage, exact bool) (model, error) {
	p, ok, err := partOf("model", raw)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("model: missing")
	}
	kind := p.kind
	if kind == "" {
		// Files from before the models were named; told apart by what they hold.
		switch {
		case p.has("merges"):
			kind = "BPE"
		case p.has("max_input_chars_per_word"):
			kind = "WordPiece"
		case len(p.fields["vocab"]) > 0 && p.fields["vocab"][0] == '[':
			kind = "Unigram"
		case p.has("unk_token"):
			kind = "WordLevel"
		}
	}
	switch kind {
	case "BPE":
		return parseBPE(p)
	case "Unigram":
		return parseUnigram(p, exact)
	case "WordPiece":
		v, err := p.vocabulary()
		if err != nil {
			return nil, err
		}
		m := &wordPiece{vocabulary: v, unknown: "[UNK]", prefix: "##", maxChars: 100}
		if err := firstError(p.optional("unk_token", &m.unknown), p.optional("continuing_subword_prefix", &m.prefix), p.optional("max_input_chars_per_word", &m.maxChars)); err != nil {
			return nil, err
		}
		return m, nil
	case "WordLevel":
		v, err := p.vocabulary()
		if err != nil {
			return nil, err
		}
		m := &wordLevel{vocabulary: v, unknown: "<unk>"}
		return m, p.optional("unk_token", &m.unknown)
	}
	return nil, p.unknown("BPE", "Unigram", "WordLevel", "WordPiece")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p part) vocabulary() (vocabulary, error) {
	var ids map[string]int32
	if err := p.read("vocab", &ids); err != nil {
		return vocabulary{}, err
	}
	for token, id := range ids {
		if id < 0 {
			return vocabulary{}, p.errorf("vocab: %q has the id %d", token, id)
		}
	}
	return newVocabulary(ids), nil
}

func parseBPE(p part) (model, error) {
	v, err := p.vocabulary()
	if err != nil {
		return nil, err
	}
	m := &bpe{vocabulary: v}
	var dropout *float64
	var unknown *string
	if err := firstError(
		p.optional("dropout", &dropout), p.optional("unk_token", &unknown),
		p.optional("continuing_subword_prefix", &m.prefix), p.optional("end_of_word_suffix", &m.suffix),
		p.optional("fuse_unk", &m.fuseUnknown), p.optional("byte_fallback", &m.byteFallback),
		p.optional("ignore_merges", &m.ignoreMerges),
	); err != nil {
		return nil, err
	}
	if dropout != nil && *dropout != 0 {
		return nil, p.errorf("dropout is %v: such a model gives other ids every time", *dropout)
	}
	if unknown != nil {
		m.unknown, m.hasUnknown = *unknown, true
	}
	merges, err := p.merges()
	if err != nil {
		return nil, err
	}
	if err := newBPE(m, merges); err != nil {
		return nil, p.errorf("%w", err)
	}
	return m, nil
}

// merges reads pairs, or strings of two tokens and a space between.
func (p part) merges() ([]mergeConfig, error) {
	raw := p.fields["merges"]
	var pairs [][2]string
	if err := json.Unmarshal(raw, &pairs); err == nil {
		merges := make([]mergeConfig, len(pairs))
		for i, pair := range pairs {
			merges[i] = mergeConfig{pair[0], pair[1]}
		}
		return merges, nil
	}
	var lines []string
	if err := p.read("merges", &lines); err != nil {
		return nil, err
	}
	return mergeLines(lines, p.errorf)
}

// mergeLines reads "a b" lines, leaving out a line of the version.
func mergeLines(lines []string, errorf func(string, ...any) error) ([]mergeConfig, error) {
	merges := make([]mergeConfig, 0, len(lines))
	for i, line := range lines {
		if strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, errorf("merges[%d]: %q is not two tokens with a space between", i, line)
		}
		merges = append(merges, mergeConfig{left, right})
	}
	return merges, nil
}

func parseUnigram(p part, exact bool) (model, error) {
	var raw [][]json.RawMessage
	if err := p.read("vocab", &raw); err != nil {
		return nil, err
	}
	vocab := make([]scoredToken, len(raw))
	var err error
	for i, pair := range raw {
		if len(pair) != 2 {
			return nil, p.errorf("vocab[%d] is not a token and its score", i)
		}
		if err := json.Unmarshal(pair[0], &vocab[i].text); err != nil {
			return nil, p.errorf("vocab[%d]: %s", i, plainJSON(err))
		}
		read := serdeFloat
		if exact {
			read = func(raw json.RawMessage) (f float64, err error) { return f, json.Unmarshal(raw, &f) }
		}
		if vocab[i].score, err = read(pair[1]); err != nil {
			return nil, p.errorf("vocab[%d]: %s", i, plainJSON(err))
		}
	}
	var unknown *int64
	var fallback bool
	if err := firstError(p.optional("unk_id", &unknown), p.optional("byte_fallback", &fallback)); err != nil {
		return nil, err
	}
	id := int32(-1)
	if unknown != nil {
		if *unknown < 0 || *unknown >= int64(len(vocab)) {
			return nil, p.errorf("unk_id %d is not in the vocabulary of %d", *unknown, len(vocab))
		}
		id = int32(*unknown)
	}
	return newUnigram(vocab, id, fallback), nil
}

// serdeFloat reads a JSON number as the library's own reader does: the digits as one
// integer, then one division or product. That is off by the last bit for about a fifth of
// all scores, and decides between paths whose sums are equal but for it.
func serdeFloat(raw json.RawMessage) (float64, error) {
	var exact float64
	if err := json.Unmarshal(raw, &exact); err != nil {
		return 0, err
	}
	digits, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(string(raw), "-")), "e")
	exponent, err := strconv.Atoi(cmp.Or(power, "0"))
	if err != nil {
		return exact, nil // beyond any float: 0
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	significand, full := uint64(0), false
	for i, d := range whole + fraction {
		next := significand*10 + uint64(d-'0')
		full = full || significand > math.MaxUint64/10 || next < significand*10
		if !full {
			significand = next
		}
		if inWhole := i < len(whole); full && inWhole {
			exponent++
		} else if !full && !inWhole {
			exponent--
		}
	}
	value := float64(significand)
	for ; exponent < -308 && value != 0; exponent += 308 {
		value /= 1e308
	}
	switch {
	case value == 0:
	case exponent < 0:
		value /= math.Pow10(-exponent)
	default:
		value *= math.Pow10(exponent)
	}
	return math.Copysign(value, exact), nil
}

func parseNormalizer(where string, raw json.RawMessage) ([]normalizer, error) {
	p, ok, err := partOf(where, raw)
	if err != nil || !ok {
		return nil, err
	}
	return p.normalizers()
}

// flag reads a boolean that must be there.
func (p part) flag(name string) (value bool, err error) {
	return value, p.read(name, &value)
}

func (p part) normalizers() ([]normalizer, error) {
	one := func(n normalizer) ([]normalizer, error) { return []normalizer{n}, nil }
	switch p.kind {
	case "Sequence":
		parts, err := p.list("normalizers")
		if err != nil {
			return nil, err
		}
		var all []normalizer
		for _, inner := range parts {
			some, err := inner.normalizers()
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "BertNormalizer":
		b := bertNormalizer{}
		var accents *bool
		if err := firstError(p.read("clean_text", &b.cleanText), p.read("handle_chinese_chars", &b.chinese), p.read("lowercase", &b.lowercase), p.optional("strip_accents", &accents)); err != nil {
			return nil, err
		}
		b.stripAccents = b.lowercase
		if accents != nil {
			b.stripAccents = *accents
		}
		return one(rewrite(b.normalize))
	case "Strip":
		left, err := p.flag("strip_left")
		if err != nil {
			return nil, err
		}
		right, err := p.flag("strip_right")
		if err != nil {
			return nil, err
		}
		return one(strip(left, right))
	case "StripAccents":
		return one(rewrite(stripAccents))
	case "NFC":
		return one(form(norm.NFC))
	case "NFD":
		return one(form(norm.NFD))
	case "NFKC":
		return one(form(norm.NFKC))
	case "NFKD":
		return one(form(norm.NFKD))
	case "Lowercase":
		return one(rewrite(lowercase))
	case "Nmt":
		return one(rewrite(nmt))
	case "Precompiled":
		var text string
		if err := p.read("precompiled_charsmap", &text); err != nil {
			return nil, err
		}
		blob, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, p.errorf("precompiled_charsmap: %v", err)
		}
		m, err := newCharsMap(blob)
		if err != nil {
			return nil, p.errorf("%w", err)
		}
		// The library's account of what was removed begins behind the first character.
		return one(rewriteFrom(m.normalize, 0))
	case "Replace":
		find, text, err := p.pattern()
		if err != nil {
			return nil, err
		}
		var content string
		if err := p.read("content", &content); err != nil {
			return nil, err
		}
		if text != nil && *text != "" {
			return one(replaceLiteral(*text, content))
		}
		if matchesNothing(find.find) {
			return nil, p.errorf("the pattern matches between characters: the library itself fails on that")
		}
		return one(replace(find.find, content))
	case "Prepend":
		var text string
		if err := p.read("prepend", &text); err != nil {
			return nil, err
		}
		return one(prepend(text))
	case "ByteLevel":
		return one(rewrite(toByteRunes))
	}
	return nil, p.unknown("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace", "Sequence", "Strip", "StripAccents")
}

// matchesNothing says whether a pattern has empty matches, as far as a few texts
// can show.
func matchesNothing(find finder) bool {
	for _, probe := range []string{"a", "ab", " a", "a 1\n", "é日", "  ", "\n"} {
		if slices.ContainsFunc(find(probe), func(s stretch) bool { return s.match && s.from == s.to }) {
			return true
		}
	}
	return false
}

// found is a pattern ready to use; splitter is set for the well-known ones.
type found struct {
	find     finder
	splitter splitter
}

// pattern reads {"String": ...} or {"Regex": ...}; text is set for the first.
func (p part) pattern() (f found, text *string, err error) {
	var pattern struct{ String, Regex *string }
	if err := p.read("pattern", &pattern); err != nil {
		return f, nil, err
	}
	switch {
	case pattern.String != nil:
		return found{find: literal(*pattern.String)}, pattern.String, nil
	case pattern.Regex != nil:
		f, err := compile(*pattern.Regex)
		if err != nil {
			return f, nil, p.errorf("%w", err)
		}
		return f, nil, nil
	}
	return f, nil, p.errorf("pattern is neither a String nor a Regex")
}

// A cut is one step of pre-tokenizing. splitter is set when the step is nothing
// but a well-known pattern, bytes when it writes bytes as characters.
type cut struct {
	do       preTokenizer
	splitter splitter
	bytes    bool
}

func (t *Tokenizer) setPreTokenizer(raw json.RawMessage) error {
	p, ok, err := partOf("pre_tokenizer", raw)
	if err != nil || !ok {
		return err
	}
	cuts, err := p.cuts()
	if err != nil {
		return err
	}
	// A vocabulary of bytes can be asked with the bytes themselves.
	if m, ok := t.model.(*bpe); ok && len(cuts) > 0 && cuts[len(cuts)-1].bytes && m.useBytes() {
		cuts = cuts[:len(cuts)-1]
	}
	if len(cuts) == 1 {
		t.splitter = cuts[0].splitter
	}
	for _, c := range cuts {
		t.cuts = append(t.cuts, c.do)
	}
	return nil
}

func (p part) cuts() ([]cut, error) {
	one := func(do preTokenizer) ([]cut, error) { return []cut{{do: do}}, nil }
	how := isolated
	switch p.kind {
	case "Sequence":
		parts, err := p.list("pretokenizers")
		if err != nil {
			return nil, err
		}
		var all []cut
		for _, inner := range parts {
			some, err := inner.cuts()
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "ByteLevel":
		b, err := p.byteLevel()
		if err != nil {
			return nil, err
		}
		var all []cut
		if b.prefixSpace {
			all = append(all, cut{do: leadingSpace})
		}
		if b.regex {
			s := knownSplitters[patternGPT2]()
			all = append(all, cut{do: splitWith(s), splitter: s})
		}
		return append(all, cut{do: byteCharacters, bytes: true}), nil
	case "Split":
		f, _, err := p.pattern()
		if err != nil {
			return nil, err
		}
		if how, err = p.behavior(""); err != nil {
			return nil, err
		}
		invert, err := p.flag("invert")
		if err != nil {
			return nil, err
		}
		if f.splitter != nil && (how == isolated || how == removed && invert) {
			return []cut{{do: splitWith(f.splitter), splitter: f.splitter}}, nil
		}
		return one(splitAt(f.find, how, invert))
	case "Metaspace":
		m, err := p.metaspace()
		if err != nil {
			return nil, err
		}
		return one(m.preTokenize)
	case "BertPreTokenizer":
		return one(splitBert)
	case "Whitespace":
		return one(splitAt(whitespaceWords, removed, true))
	case "WhitespaceSplit":
		return one(splitAt(runesWhere(isWhite), removed, false))
	case "CharDelimiterSplit":
		r, err := p.char("delimiter")
		if err != nil {
			return nil, err
		}
		return one(splitAt(runesWhere(func(c rune) bool { return c == r }), removed, false))
	case "Punctuation":
		how, err := p.behavior(isolated)
		if err != nil {
			return nil, err
		}
		return one(splitAt(runesWhere(isPunctuation), how, false))
	case "Digits":
		alone, err := p.flag("individual_digits")
		if err != nil {
			return nil, err
		}
		if !alone {
			how = contiguous
		}
		return one(splitAt(runesWhere(isNumeric), how, false))
	case "FixedLength":
		n := 5
		if err := p.optional("length", &n); err != nil {
			return nil, err
		}
		if n < 1 {
			return nil, p.errorf("length is %d", n)
		}
		return one(fixedLength(n))
	case "UnicodeScripts":
		return one(splitScripts)
	}
	return nil, p.unknown("BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation", "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit")
}

func (p part) behavior(usual behavior) (behavior, error) {
	if usual != "" && !p.has("behavior") {
		return usual, nil
	}
	var how behavior
	if err := p.read("behavior", &how); err != nil {
		return "", err
	}
	have := []behavior{isolated, removed, contiguous, mergedWithPrevious, mergedWithNext}
	if !slices.Contains(have, how) {
		return "", p.errorf("behavior: unknown %q", how)
	}
	return how, nil
}

type byteLevel struct{ prefixSpace, regex bool }

func (p part) byteLevel() (b byteLevel, err error) {
	b.regex = true
	if err := p.read("add_prefix_space", &b.prefixSpace); err != nil {
		return b, err
	}
	return b, p.optional("use_regex", &b.regex)
}

func (p part) metaspace() (metaspace, error) {
	r, err := p.char("replacement")
	if err != nil {
		return metaspace{}, err
	}
	m := metaspace{replacement: string(r), scheme: "always", split: true}
	var prefix *bool
	if err := firstError(p.optional("prepend_scheme", &m.scheme), p.optional("split", &m.split), p.optional("add_prefix_space", &prefix)); err != nil {
		return m, err
	}
	if !slices.Contains([]string{"always", "first", "never"}, m.scheme) {
		return m, p.errorf("prepend_scheme: unknown %q: have always, first, never", m.scheme)
	}
	if prefix != nil && !*prefix {
		if m.scheme != "never" {
			if p.has("prepend_scheme") {
				return m, p.errorf("add_prefix_space is false, but prepend_scheme is %q", m.scheme)
			}
		}
		m.scheme = "never"
	}
	return m, nil
}

func (t *Tokenizer) setDecoder(raw json.RawMessage) error {
	p, ok, err := partOf("decoder", raw)
	if err != nil || !ok {
		return err
	}
	t.decoders, err = p.decoders()
	t.hasDecoder = true
	return err
}

func (p part) decoders() ([]decoder, error) {
	kind := manyTokens
	one := func(do func([]string) []string) ([]decoder, error) { return []decoder{{do, kind}}, nil }
	switch p.kind {
	case "Sequence":
		parts, err := p.list("decoders")
		if err != nil {
			return nil, err
		}
		var all []decoder
		for _, inner := range parts {
			some, err := inner.decoders()
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "ByteLevel":
		kind = byteAlphabet
		return one(decodeByteLevel)
	case "ByteFallback":
		kind = byteTokens
		return one(decodeByteFallback)
	case "Fuse":
		kind = joinTokens
		return one(decodeFuse)
	case "Strip":
		char, err := p.char("content")
		if err != nil {
			return nil, err
		}
		var start, stop int
		if err := firstError(p.read("start", &start), p.read("stop", &stop)); err != nil {
			return nil, err
		}
		kind = oneToken
		return one(decodeStrip(char, start, stop))
	case "Replace":
		f, _, err := p.pattern()
		if err != nil {
			return nil, err
		}
		var content string
		if err := p.read("content", &content); err != nil {
			return nil, err
		}
		kind = oneToken
		return one(decodeReplace(f.find, content))
	case "Metaspace":
		m, err := p.metaspace()
		if err != nil {
			return nil, err
		}
		return one(m.decode)
	case "WordPiece":
		var prefix string
		var cleanup bool
		if err := firstError(p.read("prefix", &prefix), p.read("cleanup", &cleanup)); err != nil {
			return nil, err
		}
		return one(decodeWordPiece(prefix, cleanup))
	case "BPEDecoder":
		var suffix string
		if err := p.read("suffix", &suffix); err != nil {
			return nil, err
		}
		return one(decodeBPE(suffix))
	case "CTC":
		var pad, delimiter string
		var cleanup bool
		if err := firstError(p.read("pad_token", &pad), p.read("word_delimiter_token", &delimiter), p.read("cleanup", &cleanup)); err != nil {
			return nil, err
		}
		return one(decodeCTC(pad, delimiter, cleanup))
	}
	return nil, p.unknown("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip", "WordPiece")
}

// A postProcessor puts special tokens around the ids of a text. It works on a list
// of runs, the text being one of them, because that is what the library hands from
// one processor to the next.
type postProcessor struct {
	// with and without special tokens: ids, and textHere where the text goes.
	with, without []int32
	// added is how many tokens it says it adds.
	added int
}

const textHere = -1

func parsePostProcessor(raw json.RawMessage) (*postProcessor, error) {
	p, ok, err := partOf("post_processor", raw)
	if err != nil || !ok {
		return nil, err
	}
	post := &postProcessor{}
	steps, err := p.processors()
	if err != nil {
		return nil, err
	}
	for _, special := range []bool{true, false} {
		runs := [][]int32{{textHere}}
		for _, step := range steps {
			if runs, err = step.apply(runs, special); err != nil {
				return nil, err
			}
		}
		flat := slices.Concat(runs...)
		if special {
			post.with = flat
		} else {
			post.without = flat
		}
	}
	for _, step := range steps {
		post.added += step.added
	}
	return post, nil
}

type processor struct {
	added int
	apply func(runs [][]int32, special bool) ([][]int32, error)
}

func (p part) processors() ([]processor, error) {
	switch p.kind {
	case "Sequence":
		parts, err := p.list("processors")
		if err != nil {
			return nil, err
		}
		var all []processor
		for _, inner := range parts {
			some, err := inner.processors()
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "ByteLevel": // moves offsets only
		return nil, nil
	case "BertProcessing", "RobertaProcessing":
		sep, err := p.tokenPair("sep")
		if err != nil {
			return nil, err
		}
		cls, err := p.tokenPair("cls")
		if err != nil {
			return nil, err
		}
		second := []int32(nil) // what a second run begins with
		if p.kind == "RobertaProcessing" {
			second = []int32{sep}
		}
		return []processor{{added: 2, apply: func(runs [][]int32, special bool) ([][]int32, error) {
			if !special {
				return runs, nil
			}
			out := make([][]int32, len(runs))
			for i, run := range runs {
				before := []int32{cls}
				if i > 0 {
					before = second
				}
				out[i] = slices.Concat(before, run, []int32{sep})
			}
			return out, nil
		}}}, nil
	case "TemplateProcessing":
		return p.template()
	}
	return nil, p.unknown("BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing")
}

// tokenPair reads ["[SEP]", 102].
func (p part) tokenPair(name string) (int32, error) {
	var pair []json.RawMessage
	if err := p.read(name, &pair); err != nil {
		return 0, err
	}
	var text string
	var id int32
	if len(pair) != 2 || json.Unmarshal(pair[0], &text) != nil || json.Unmarshal(pair[1], &id) != nil || id < 0 {
		return 0, p.errorf("%s is not a token and its id", name)
	}
	return id, nil
}

func (p part) template() ([]processor, error) {
	type templatePiece struct {
		SpecialToken *struct{ ID string }
		Sequence     *struct{ ID string }
	}
	var single, pair []templatePiece
	var tokens map[string]struct{ IDs []int32 }
	if err := firstError(p.read("single", &single), p.read("pair", &pair), p.read("special_tokens", &tokens)); err != nil {
		return nil, err
	}
	check := func(name string, list []templatePiece) error {
		for i, piece := range list {
			switch {
			case piece.SpecialToken != nil:
				if _, ok := tokens[piece.SpecialToken.ID]; !ok {
					return p.errorf("%s[%d]: %q is not among special_tokens", name, i, piece.SpecialToken.ID)
				}
			case piece.Sequence != nil && (piece.Sequence.ID == "A" || piece.Sequence.ID == "B"):
			default:
				return p.errorf("%s[%d] is neither a SpecialToken nor the Sequence A or B", name, i)
			}
		}
		return nil
	}
	if err := firstError(check("single", single), check("pair", pair)); err != nil {
		return nil, err
	}
	for name, token := range tokens {
		if slices.ContainsFunc(token.IDs, func(id int32) bool { return id < 0 }) {
			return nil, p.errorf("special_tokens: %q has an id below zero", name)
		}
	}
	added := 0
	for _, piece := range single {
		if piece.SpecialToken != nil {
			added += len(tokens[piece.SpecialToken.ID].IDs)
		}
	}
	apply := func(runs [][]int32, special bool) ([][]int32, error) {
		list := single
		switch len(runs) {
		case 1:
		case 2:
			list = pair
		default:
			return nil, p.errorf("comes after a processor that makes %d runs of the text", len(runs))
		}
		var out [][]int32
		for i, piece := range list {
			switch {
			case piece.SpecialToken != nil:
				if special {
					out = append(out, tokens[piece.SpecialToken.ID].IDs)
				}
			case piece.Sequence.ID == "B" && len(runs) < 2:
				return nil, p.errorf("single[%d] asks for a second text", i)
			case piece.Sequence.ID == "B":
				out = append(out, runs[1])
			default:
				out = append(out, runs[0])
			}
		}
		return out, nil
	}
	return []processor{{added: added, apply: apply}}, nil
}

// maxID is the greatest id this package holds.
const maxID = math.MaxInt32
