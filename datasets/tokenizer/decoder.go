package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A decoder is one step from tokens back to text; joined, what the last step
// returns is the text.
type decoder struct {
	do   func(tokens []string) []string
	kind decoderKind
}

// decoderKind is what decodeTable has to know of a decoder.
type decoderKind int

const (
	manyTokens   decoderKind = iota // looks at several tokens, or at their places
	oneToken                        // treats every token by itself, and always alike
	byteTokens                      // decodeByteFallback
	joinTokens                      // decodeFuse
	byteAlphabet                    // decodeByteLevel
)

// decodeTable is the decoding of single tokens, done beforehand. Most decoders
// treat tokens one by one, then spell bytes, join, and trim the whole: such a
// decoding is a look-up, three to ten times as fast.
type decodeTable struct {
	texts   []string // by id; bytes, not characters, where alphabet is set
	bytes   []int16  // by id: the byte a token stands for, or -1; nil without byteTokens
	known   []bool
	special []bool
	// alphabet says that the bytes of all tokens together are the text.
	alphabet bool
	// rest are the decoders of the joined text.
	rest []decoder
}

// mostTable bounds the ids of a table.
const mostTable = 1 << 22

// newDecodeTable returns nil when the decoders are of another shape.
func (t *Tokenizer) newDecodeTable() *decodeTable {
	if !t.hasDecoder {
		return nil
	}
	table := &decodeTable{}
	n := 0
	for n < len(t.decoders) && t.decoders[n].kind == oneToken {
		n++
	}
	single, rest := t.decoders[:n], t.decoders[n:]
	spell := false
	if len(rest) > 0 && rest[0].kind == byteTokens {
		spell, rest = true, rest[1:]
	}
	switch {
	case len(rest) > 0 && rest[0].kind == joinTokens:
		table.rest = rest[1:]
	case len(rest) > 0 && rest[0].kind == byteAlphabet && !spell:
		table.alphabet, table.rest = true, rest[1:]
	case len(rest) > 0:
		return nil
	}
	last := int32(-1)
	t.eachToken(func(id int32, _ string) { last = max(last, id) })
	if last >= mostTable {
		return nil
	}
	size := int(last) + 1
	table.texts, table.known, table.special = make([]string, size), make([]bool, size), make([]bool, size)
	if spell {
		table.bytes = make([]int16, size)
	}
	t.eachToken(func(id int32, text string) {
		table.known[id], table.special[id] = true, t.added.special[text]
		one := []string{text}
		for _, d := range single {
			one = d.do(one)
		}
		text = one[0]
		if spell {
			table.bytes[id] = -1
			if b, ok := byteToken(text); ok {
				table.bytes[id] = int16(b)
			}
		}
		if table.alphabet {
			if bytes, ok := fromByteRunes(nil, text); ok {
				text = string(bytes)
			}
		}
		table.texts[id] = text
	})
	return table
}

// eachToken lists every id and its text, those of the added tokens last.
func (t *Tokenizer) eachToken(f func(id int32, text string)) {
	t.model.each(f)
	for id := range t.added.tokens {
		text, _ := t.added.text(id)
		f(id, text)
	}
}

// decode is what the decoders make of ids.
func (table *decodeTable) decode(ids []int, skipSpecial bool) string {
	size := 0
	for _, id := range ids {
		if id < len(table.texts) {
			size += len(table.texts[id])
		}
	}
	out := make([]byte, 0, size)
	spelled := -1 // where a run of spelled bytes began
	for _, id := range ids {
		if id >= len(table.texts) || !table.known[id] || skipSpecial && table.special[id] {
			continue
		}
		if table.bytes != nil {
			if b := table.bytes[id]; b >= 0 {
				if spelled < 0 {
					spelled = len(out)
				}
				out = append(out, byte(b))
				continue
			}
			if spelled >= 0 {
				out, spelled = mendBytes(out, spelled), -1
			}
		}
		out = append(out, table.texts[id]...)
	}
	if spelled >= 0 {
		out = mendBytes(out, spelled)
	}
	var text string
	if table.alphabet {
		text = lossy(out)
	} else {
		text = string(out)
	}
	if len(table.rest) == 0 {
		return text
	}
	tokens := []string{text}
	for _, d := range table.rest {
		tokens = d.do(tokens)
	}
	return strings.Join(tokens, "")
}

// mendBytes puts one U+FFFD for each byte from from on, if they spell nothing.
func mendBytes(out []byte, from int) []byte {
	if utf8.Valid(out[from:]) {
		return out
	}
	n := len(out) - from
	out = out[:from]
	for range n {
		out = utf8.AppendRune(out, utf8.RuneError)
	}
	return out
}

func decodeByteLevel(tokens []string) []string {
	var bytes []byte
	for _, token := range tokens {
		with, ok := fromByteRunes(bytes, token)
		if !ok {
			with = append(bytes, token...)
		}
		bytes = with
	}
	return []string{lossy(bytes)}
}

// lossy reads bytes as UTF-8. Each longest stretch that could have begun a
// character, and each byte that could not, becomes one U+FFFD.
func lossy(bytes []byte) string {
	if utf8.Valid(bytes) {
		return string(bytes)
	}
	var out strings.Builder
	out.Grow(len(bytes) + 8)
	for len(bytes) > 0 {
		if r, size := utf8.DecodeRune(bytes); r != utf8.RuneError || size > 1 {
			out.Write(bytes[:size])
			bytes = bytes[size:]
			continue
		}
		out.WriteRune(utf8.RuneError)
		bytes = bytes[badPrefix(bytes):]
	}
	return out.String()
}

// badPrefix is how many bytes at the start of an invalid sequence belong together.
func badPrefix(bytes []byte) int {
	low, high, need := byte(0x80), byte(0xBF), 0
	switch first := bytes[0]; {
	case first >= 0xC2 && first <= 0xDF:
		need = 1
	case first >= 0xE0 && first <= 0xEF:
		need = 2
		if first == 0xE0 {
			low = 0xA0
		}
		if first == 0xED {
			high = 0x9F
		}
	case first >= 0xF0 && first <= 0xF4:
		need = 3
		if first == 0xF0 {
			low = 0x90
		}
		if first == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for n <= need && n < len(bytes) && bytes[n] >= low && bytes[n] <= high {
		low, high = 0x80, 0xBF
		n++
	}
	return n
}

// decodeByteFallback turns runs of <0xNN> into the characters they spell, or into
// one U+FFFD each where they spell none.
func decodeByteFallback(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var bytes []byte
	flush := func() {
		if utf8.Valid(bytes) {
			if len(bytes) > 0 {
				out = append(out, string(bytes))
			}
		} else {
			for range bytes {
				out = append(out, "\uFFFD")
			}
		}
		bytes = bytes[:0]
	}
	for _, token := range tokens {
		if b, ok := byteToken(token); ok {
			bytes = append(bytes, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out
}

// byteToken reads <0xNN>. A plus sign counts as a digit that is not there: the
// library's number parser takes "+F" for 15.
func byteToken(token string) (byte, bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	high, low := token[3], token[4]
	digit := func(c byte) (byte, bool) {
		switch {
		case c >= '0' && c <= '9':
			return c - '0', true
		case c >= 'a' && c <= 'f':
			return c - 'a' + 10, true
		case c >= 'A' && c <= 'F':
			return c - 'A' + 10, true
		}
		return 0, false
	}
	l, ok := digit(low)
	if !ok {
		return 0, false
	}
	if high == '+' {
		return l, true
	}
	h, ok := digit(high)
	return h<<4 | l, ok
}

func decodeFuse(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// decodeReplace puts content for every match of find in each token.
func decodeReplace(find finder, content string) func([]string) []string {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			out[i] = replaceAll(find, token, content)
		}
		return out
	}
}

func replaceAll(find finder, text, content string) string {
	if text == "" {
		return text // a pattern is not even tried on nothing
	}
	var out strings.Builder
	for _, s := range find(text) {
		if s.match {
			out.WriteString(content)
		} else {
			out.WriteString(text[s.from:s.to])
		}
	}
	return out.String()
}

// decodeStrip takes up to start characters from the left of each token and up to
// stop from its right, as long as they are char.
func decodeStrip(char rune, start, stop int) func([]string) []string {
	mark := string(char)
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			left := token
			for n := 0; n < start && strings.HasPrefix(left, mark); n++ {
				left = left[len(mark):]
			}
			for n := 0; n < stop && strings.HasSuffix(left, mark); n++ {
				left = left[:len(left)-len(mark)]
			}
			out[i] = left
		}
		return out
	}
}

// decode drops the replacement at the start and makes spaces of the others.
func (m metaspace) decode(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, token := range tokens {
		with := " "
		if i == 0 && m.scheme != "never" {
			with = ""
		}
		out[i] = strings.ReplaceAll(token, m.replacement, with)
	}
	return out
}

// decodeWordPiece joins tokens with spaces, but for those that continue a word.
func decodeWordPiece(prefix string, cleanup bool) func([]string) []string {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			if i > 0 {
				if rest, ok := strings.CutPrefix(token, prefix); ok {
					token = rest
				} else {
					token = " " + token
				}
			}
			if cleanup {
				token = wordPieceCleanup(token)
			}
			out[i] = token
		}
		return out
	}
}

// wordPieceCleanup is the library's own clean-up; it differs from cleanUp in
// " do not".
func wordPieceCleanup(text string) string {
	for _, pair := range [][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
		{" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// cleanUp is what transformers does to a decoded text when tokenizer_config.json
// asks for clean_up_tokenization_spaces: ten replacements, in this order.
func cleanUp(text string) string {
	for _, pair := range [][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"},
		{" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// decodeBPE turns the end-of-word suffix into a space, at the end into nothing.
func decodeBPE(suffix string) func([]string) []string {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, token := range tokens {
			with := " "
			if i == len(tokens)-1 {
				with = ""
			}
			out[i] = strings.ReplaceAll(token, suffix, with)
		}
		return out
	}
}

// decodeCTC drops repeated tokens and padding.
func decodeCTC(pad, delimiter string, cleanup bool) func([]string) []string {
	return func(tokens []string) []string {
		var out []string
		for i, token := range tokens {
			if i > 0 && token == tokens[i-1] {
				continue
			}
			token = strings.ReplaceAll(token, pad, "")
			if cleanup {
				token = strings.ReplaceAll(wordPieceCleanup(token), delimiter, " ")
			}
			if token != "" {
				out = append(out, token)
			}
		}
		return out
	}
}
