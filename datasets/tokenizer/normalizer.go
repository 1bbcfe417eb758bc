package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A normalizer rewrites a piece before it is cut.
type normalizer func(p piece) piece

// rewrite is a normalizer from a function of text.
func rewrite(f func(string) string) normalizer { return rewriteFrom(f, -1) }

// rewriteFrom is rewrite; where the first character goes away, gone is what counts
// as the start of the input.
func rewriteFrom(f func(string) string, gone int) normalizer {
	return func(p piece) piece {
		text := f(p.text)
		if text == p.text {
			return p
		}
		if p.zero >= 0 {
			p.zero = rewrittenZero(f, p, text, gone)
		}
		p.text = text
		return p
	}
}

// rewrittenZero is where the input's first character ends up: all that it became
// counts as its start.
func rewrittenZero(f func(string) string, p piece, text string, gone int) int {
	_, size := utf8.DecodeRuneInString(p.text[p.zero:])
	head := f(p.text[:p.zero+size])
	if head == "" {
		return gone
	}
	if !strings.HasPrefix(text, head) {
		return 0
	}
	_, size = utf8.DecodeLastRuneInString(head)
	return len(head) - size
}

// form is a Unicode normal form.
func form(f norm.Form) normalizer {
	return rewrite(func(text string) string { return inForm(f, text) })
}

// inForm is f.String for the library's Unicode.
func inForm(f norm.Form, text string) string {
	if f.IsNormalString(text) {
		return text
	}
	apply := f.String
	if manyMarks(text) {
		apply = func(text string) string { return longForm(f, text) }
	}
	var out strings.Builder
	for {
		i := strings.IndexFunc(text, func(r rune) bool { return r >= undecomposed[0] && inPairs(undecomposed, r) })
		if i < 0 {
			if out.Len() == 0 {
				return apply(text)
			}
			out.WriteString(apply(text))
			return out.String()
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		out.WriteString(apply(text[:i]))
		out.WriteString(text[i : i+size])
		text = text[i+size:]
	}
}

// manyMarks says whether text has more marks in a row than x/text takes without
// putting a joiner (U+034F) between them.
func manyMarks(text string) bool {
	const most = 24 // of 30, as a character may hold some
	classes := charClasses()
	run := 0
	for _, r := range text {
		if r < 0x300 || classOf(classes, r)&isMark == 0 {
			run = 0
		} else if run++; run > most {
			return true
		}
	}
	return false
}

// longForm is the normal form by the book: decompose, order the marks, compose.
func longForm(f norm.Form, text string) string {
	decomposed := norm.NFD
	if f == norm.NFKC || f == norm.NFKD {
		decomposed = norm.NFKD
	}
	var runes []rune
	var classes []uint8
	for _, r := range text {
		for _, part := range decomposed.String(string(r)) {
			runes = append(runes, part)
			classes = append(classes, norm.NFD.PropertiesString(string(part)).CCC())
		}
	}
	for from := 0; from < len(runes); from++ {
		to := from
		for to < len(runes) && classes[to] != 0 {
			to++
		}
		if to > from {
			at := make([]int, to-from)
			for i := range at {
				at[i] = from + i
			}
			slices.SortStableFunc(at, func(a, b int) int { return int(classes[a]) - int(classes[b]) })
			ordered, orderedClasses := make([]rune, len(at)), make([]uint8, len(at))
			for i, j := range at {
				ordered[i], orderedClasses[i] = runes[j], classes[j]
			}
			copy(runes[from:], ordered)
			copy(classes[from:], orderedClasses)
			from = to
		}
	}
	if f == norm.NFD || f == norm.NFKD {
		return string(runes)
	}
	out := runes[:0:0]
	starter, last := -1, uint8(0) // the last starter in out, and the class after it
	for i, r := range runes {
		if starter >= 0 && (last < classes[i] || last == 0 && starter == len(out)-1) {
			if both := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(both) == 1 {
				out[starter] = both[0]
				continue
			}
		}
		if classes[i] == 0 {
			starter = len(out)
		}
		last = classes[i]
		out = append(out, r)
	}
	return string(out)
}

// strip removes space at the ends.
func strip(left, right bool) normalizer {
	return func(p piece) piece {
		if left {
			if rest := strings.TrimLeftFunc(p.text, isWhite); len(rest) < len(p.text) {
				p = p.slice(len(p.text)-len(rest), len(p.text))
			}
		}
		if right {
			p = p.slice(0, len(strings.TrimRightFunc(p.text, isWhite)))
		}
		return p
	}
}

// prepend puts text in front of anything but nothing.
func prepend(text string) normalizer {
	return func(p piece) piece {
		if p.text == "" {
			return p
		}
		return p.prepend(text)
	}
}

// replace puts content for every match.
func replace(find finder, content string) normalizer {
	return func(p piece) piece {
		if p.text == "" {
			return p
		}
		list := find(p.text)
		at := slices.IndexFunc(list, func(s stretch) bool { return s.match })
		if at < 0 {
			return p
		}
		if first := list[at]; p.zero >= 0 && first.from <= p.zero {
			p.zero = 0
			if first.from == 0 && utf8.RuneCountInString(p.text[:first.to]) > 1 {
				p.zero = -1 // the new characters are counted as the last of those they replace
			}
		}
		p.text = replaceAll(func(string) []stretch { return list }, p.text, content)
		return p
	}
}

// replaceLiteral is replace for a fixed string, which is what almost all files have.
func replaceLiteral(pattern, content string) normalizer {
	slow := replace(literal(pattern), content)
	single := utf8.RuneCountInString(pattern) == 1
	return func(p piece) piece {
		if !single && p.zero >= 0 && strings.HasPrefix(p.text, pattern) {
			return slow(p)
		}
		if p.zero > 0 {
			p.zero = len(strings.ReplaceAll(p.text[:p.zero], pattern, content))
		}
		p.text = strings.ReplaceAll(p.text, pattern, content)
		return p
	}
}

func lowercase(text string) string {
	ascii := true
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(text)
	}
	var out strings.Builder
	out.Grow(len(text) + 8)
	for _, r := range text {
		if r == 'İ' { // the one character whose small form is two
			out.WriteString("i\u0307")
			continue
		}
		out.WriteRune(lowerRune(r))
	}
	return out.String()
}

func lowerRune(r rune) rune {
	if r >= 0x1C89 {
		if small, ok := newSmall[r]; ok {
			return small
		}
	}
	return unicode.ToLower(r)
}

func stripAccents(text string) string {
	return strings.Map(func(r rune) rune {
		if inPairs(combining, r) {
			return -1
		}
		return r
	}, text)
}

// nmt is SentencePiece's list of controls to drop and oddities to make spaces.
func nmt(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 1 && r <= 8, r == 0x0B, r >= 0x0E && r <= 0x1F, r == 0x7F, r == 0x8F, r == 0x9F:
			return -1
		case r == 9, r == 0x0A, r == 0x0C, r == 0x0D, r == 0x1680, r >= 0x200B && r <= 0x200F,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			return ' '
		}
		return r
	}, text)
}

// bertNormalizer is the text clean-up of BERT.
type bertNormalizer struct {
	cleanText, chinese, stripAccents, lowercase bool
}

// Bits of bertTable.
const (
	bertDrop  = 1 << iota // removed by clean_text
	bertSpace             // made a space by clean_text
	bertCJK               // set apart by handle_chinese_chars
	bertMark              // removed by strip_accents
	bertPunct             // cut at
	bertBlank             // white space
)

// bertTable is the generated tables for quick look-up, up to 2^17.
var bertTable = sync.OnceValue(func() *[1 << 17]uint8 {
	table := new([1 << 17]uint8)
	mark := func(list []rune, bits uint8) {
		for i := 0; i < len(list); i += 2 {
			for c := list[i]; c <= list[i+1] && int(c) < len(table); c++ {
				table[c] |= bits
			}
		}
	}
	mark(bertControl, bertDrop)
	mark([]rune{0, 0, 0xFFFD, 0xFFFD}, bertDrop)
	mark(bertWhite, bertSpace)
	mark(bertAccent, bertMark)
	mark(bertPunctuation, bertPunct)
	for c := range table {
		if isChinese(rune(c)) {
			table[c] |= bertCJK
		}
		if isWhite(rune(c)) {
			table[c] |= bertBlank
		}
	}
	return table
})

func bertBits(table *[1 << 17]uint8, r rune) (bits uint8) {
	if int(r) < len(table) {
		return table[r]
	}
	if inPairs(bertControl, r) {
		bits |= bertDrop
	}
	if isChinese(r) {
		bits |= bertCJK
	}
	if inPairs(bertAccent, r) {
		bits |= bertMark
	}
	if inPairs(bertPunctuation, r) {
		bits |= bertPunct
	}
	return bits
}

func (b bertNormalizer) normalize(text string) string {
	table := bertTable()
	out := make([]byte, 0, len(text)+16)
	ascii := true
	for i, r := range text {
		if r < utf8.RuneSelf {
			c := text[i]
			if bits := table[c]; bits != 0 && b.cleanText {
				if bits&bertDrop != 0 {
					continue
				}
				if bits&bertSpace != 0 {
					c = ' '
				}
			}
			if b.lowercase && c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			out = append(out, c)
			continue
		}
		bits := bertBits(table, r)
		if b.cleanText {
			if bits&bertDrop != 0 {
				continue
			}
			if bits&bertSpace != 0 {
				out = append(out, ' ')
				continue
			}
		}
		ascii = false
		if b.chinese && bits&bertCJK != 0 {
			out = append(out, ' ')
			out = utf8.AppendRune(out, r)
			out = append(out, ' ')
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	text = string(out)
	if ascii {
		return text
	}
	if b.stripAccents {
		text = strings.Map(func(r rune) rune {
			if r >= utf8.RuneSelf && bertBits(table, r)&bertMark != 0 {
				return -1
			}
			return r
		}, inForm(norm.NFD, text))
	}
	if b.lowercase {
		text = lowercase(text)
	}
	return text
}

func isChinese(r rune) bool {
	return r >= 0x4E00 && r <= 0x9FFF || r >= 0x3400 && r <= 0x4DBF || r >= 0x20000 && r <= 0x2A6DF ||
		r >= 0x2A700 && r <= 0x2B73F || r >= 0x2B740 && r <= 0x2B81F || r >= 0x2B920 && r <= 0x2CEAF ||
		r >= 0xF900 && r <= 0xFAFF || r >= 0x2F800 && r <= 0x2FA1F
}
