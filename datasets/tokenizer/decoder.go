package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A decoder is one step from tokens back to text; joined, what the last step
// returns is the text.
type decoder func(tokens []string) []string

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
func decodeReplace(find finder, content string) decoder {
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
func decodeStrip(char rune, start, stop int) decoder {
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
func decodeWordPiece(prefix string, cleanup bool) decoder {
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
func decodeBPE(suffix string) decoder {
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
func decodeCTC(pad, delimiter string, cleanup bool) decoder {
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
