package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A piece is a stretch of the text on its way to the model: an added token that
// was found in it, or text still to be cut.
type piece struct {
	text string
	id   int32 // -1: text
	// zero is the last byte of text that counts as the start of the whole input, or
	// -1. It is not always 0: what is put in front of the first character counts too.
	zero int
}

func (p piece) slice(from, to int) piece {
	return piece{text: p.text[from:to], id: -1, zero: min(max(p.zero-from, -1), to-from)}
}

func (p piece) prepend(text string) piece {
	p.text = text + p.text
	if p.zero >= 0 {
		p.zero += len(text)
	}
	return p
}

// A preTokenizer cuts one piece of text into others and appends those that are not
// empty.
type preTokenizer func(p piece, out []piece) []piece

// behavior says what happens to the matches of a pattern.
type behavior string

const (
	isolated           behavior = "Isolated"
	removed            behavior = "Removed"
	contiguous         behavior = "Contiguous"
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
)

// stretch is a part of a text that a pattern matches, or that lies between matches.
type stretch struct {
	from, to int
	match    bool
}

// A finder lists the matches of a pattern and what lies between them.
type finder func(text string) []stretch

// stretches collects matches, given in order, and fills the gaps.
type stretches struct {
	list []stretch
	last int
}

func (s *stretches) add(from, to int) {
	if s.last != from {
		s.list = append(s.list, stretch{s.last, from, false})
	}
	s.list = append(s.list, stretch{from, to, true})
	s.last = to
}

func (s *stretches) end(text string) []stretch {
	if s.last != len(text) {
		s.list = append(s.list, stretch{s.last, len(text), false})
	}
	return s.list
}

// runesWhere finds single characters.
func runesWhere(is func(rune) bool) finder {
	return func(text string) []stretch {
		var found stretches
		for i, r := range text {
			if is(r) {
				found.add(i, i+utf8.RuneLen(r))
			}
		}
		return found.end(text)
	}
}

// literal finds a string; the empty string has one empty match at every character,
// as the expression engine has it.
func literal(pattern string) finder {
	return func(text string) []stretch {
		var found stretches
		if pattern == "" {
			for i := range text {
				found.add(i, i)
			}
			found.add(len(text), len(text))
			return found.end(text)
		}
		for i := 0; ; {
			n := strings.Index(text[i:], pattern)
			if n < 0 {
				return found.end(text)
			}
			found.add(i+n, i+n+len(pattern))
			i += n + len(pattern)
		}
	}
}

// splitterFinder is a finder of a pattern that matches everything.
func splitterFinder(s splitter) finder {
	return func(text string) []stretch {
		var found stretches
		for i := 0; i < len(text); {
			end := s.next(text, i)
			found.add(i, end)
			i = end
		}
		return found.end(text)
	}
}

// splitAt cuts where find says, as how says.
func splitAt(find finder, how behavior, invert bool) preTokenizer {
	return func(p piece, out []piece) []piece {
		list := find(p.text)
		if invert {
			for i := range list {
				list[i].match = !list[i].match
			}
		}
		for _, s := range arrange(list, how) {
			if s.from < s.to {
				out = append(out, p.slice(s.from, s.to))
			}
		}
		return out
	}
}

// arrange joins or drops stretches, in place.
func arrange(list []stretch, how behavior) []stretch {
	kept := list[:0]
	was := false
	switch how {
	case removed:
		for _, s := range list {
			if !s.match {
				kept = append(kept, s)
			}
		}
	case contiguous:
		for _, s := range list {
			if n := len(kept); n > 0 && s.match == was {
				kept[n-1].to = s.to
			} else {
				kept = append(kept, s)
			}
			was = s.match
		}
	case mergedWithPrevious:
		for _, s := range list {
			if n := len(kept); n > 0 && s.match && !was {
				kept[n-1].to = s.to
			} else {
				kept = append(kept, s)
			}
			was = s.match
		}
	case mergedWithNext:
		kept = nil
		for i := len(list) - 1; i >= 0; i-- {
			s := list[i]
			if n := len(kept); n > 0 && s.match && !was {
				kept[n-1].from = s.from
			} else {
				kept = append(kept, s)
			}
			was = s.match
		}
		for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
			kept[i], kept[j] = kept[j], kept[i]
		}
	default:
		return list
	}
	return kept
}

// splitWith is splitAt for a splitter whose matches are all kept.
func splitWith(s splitter) preTokenizer {
	return func(p piece, out []piece) []piece {
		for i := 0; i < len(p.text); {
			end := s.next(p.text, i)
			out = append(out, p.slice(i, end))
			i = end
		}
		return out
	}
}

// leadingSpace puts a space before a piece that has none.
func leadingSpace(p piece, out []piece) []piece {
	if !strings.HasPrefix(p.text, " ") {
		p = p.prepend(" ")
	}
	return append(out, p)
}

// byteCharacters writes a piece as the characters that stand for its bytes.
func byteCharacters(p piece, out []piece) []piece {
	p.text = toByteRunes(p.text)
	p.zero = min(p.zero, 0)
	return append(out, p)
}

// metaspace writes spaces as another character and starts a piece at each of them.
type metaspace struct {
	replacement string
	scheme      string // always, first, never: when one is put in front
	split       bool
}

func (m metaspace) preTokenize(p piece, out []piece) []piece {
	text := strings.ReplaceAll(p.text, " ", m.replacement)
	if p.zero > 0 {
		p.zero = len(strings.ReplaceAll(p.text[:p.zero], " ", m.replacement))
	}
	p.text = text
	if !strings.HasPrefix(text, m.replacement) && (m.scheme == "always" || m.scheme == "first" && p.zero >= 0) {
		p = p.prepend(m.replacement)
	}
	if !m.split {
		return append(out, p)
	}
	for from := 0; from < len(p.text); {
		// A run of replacements is cut at each of them: only the last takes the word.
		to := strings.Index(p.text[from+1:], m.replacement)
		if to < 0 {
			to = len(p.text)
		} else {
			to += from + 1
		}
		out = append(out, p.slice(from, to))
		from = to
	}
	return out
}

// splitBert cuts at white space, which it drops, and at punctuation, which it keeps.
func splitBert(p piece, out []piece) []piece {
	table := bertTable()
	from := 0
	for i, r := range p.text {
		bits := bertBits(table, r)
		if bits&(bertBlank|bertPunct) == 0 {
			continue
		}
		if from < i {
			out = append(out, p.slice(from, i))
		}
		from = i + utf8.RuneLen(r)
		if bits&bertBlank == 0 {
			out = append(out, p.slice(i, from))
		}
	}
	if from < len(p.text) {
		out = append(out, p.slice(from, len(p.text)))
	}
	return out
}

// fixedLength cuts every n characters.
func fixedLength(n int) preTokenizer {
	return func(p piece, out []piece) []piece {
		from, count := 0, 0
		for i := range p.text {
			if count == n {
				out = append(out, p.slice(from, i))
				from, count = i, 0
			}
			count++
		}
		return append(out, p.slice(from, len(p.text)))
	}
}

// whitespaceWords finds \w+|[^\w\s]+ : runs of word characters and runs of marks.
func whitespaceWords(text string) []stretch {
	var found stretches
	const space, word, mark = 0, 1, 2
	from, kind := 0, space
	for i, r := range text {
		now := mark
		switch {
		case isWord(r):
			now = word
		case isWhite(r):
			now = space
		}
		if now != kind {
			if kind != space {
				found.add(from, i)
			}
			from, kind = i, now
		}
	}
	if kind != space {
		found.add(from, len(text))
	}
	return found.end(text)
}

func isNumeric(r rune) bool { return unicode.Is(unicode.N, r) || inPairs(numericOnly, r) }

func isPunctuation(r rune) bool { return inPairs(bertPunctuation, r) }
