package tokenizer

import "unicode/utf8"

// A splitter cuts text as one well-known pattern does, without a regular
// expression engine: next returns the end of the match that begins at byte i.
// The patterns match every character, so matches lie end to end.
type splitter interface {
	next(text string, i int) int
}

const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	suffixes      = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	patternLlama3 = suffixes + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = suffixes + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	casedHead     = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	casedTail     = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	casedRest     = `| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternO200k  = casedHead + suffixes + `?|` + casedTail + suffixes + `?|\p{N}{1,3}` + casedRest
	patternTekken = casedHead + `|` + casedTail + `|\p{N}` + casedRest
)

// knownSplitters maps a pattern, letter for letter, to the code that equals it.
// Any other pattern goes to a regular expression engine, about 15 times slower.
var knownSplitters = map[string]func() splitter{
	patternGPT2:   func() splitter { return gpt2Splitter{charClasses()} },
	patternLlama3: func() splitter { return wordSplitter{classes: charClasses(), suffixFirst: true, digits: 3} },
	patternQwen2:  func() splitter { return wordSplitter{classes: charClasses(), suffixFirst: true, digits: 1} },
	patternO200k:  func() splitter { return wordSplitter{classes: charClasses(), cased: true, suffixLast: true, digits: 3} },
	patternTekken: func() splitter { return wordSplitter{classes: charClasses(), cased: true, digits: 1} },
}

// gpt2Splitter is the pattern of GPT-2 and of every ByteLevel pre-tokenizer that
// brings its own.
type gpt2Splitter struct{ classes *[1 << 17]uint8 }

func (s gpt2Splitter) next(text string, i int) int {
	first := text[i]
	if first == '\'' {
		if n := suffixLen(text[i:], false); n > 0 {
			return i + n
		}
	}
	j := i
	if first == ' ' && i+1 < len(text) {
		j = i + 1
	}
	bits, size := s.at(text, j)
	switch {
	case bits&isLetter != 0:
		return s.run(text, j+size, isLetter)
	case bits&isNumber != 0:
		return s.run(text, j+size, isNumber)
	case bits&isSpace == 0:
		j += size
		for j < len(text) {
			bits, size := s.at(text, j)
			if bits&(isSpace|isLetter|isNumber) != 0 {
				break
			}
			j += size
		}
		return j
	}
	return spaces(s.classes, text, i)
}

func (s gpt2Splitter) at(text string, i int) (uint8, int) { return classAt(s.classes, text, i) }

func (s gpt2Splitter) run(text string, i int, bits uint8) int {
	return runOf(s.classes, text, i, bits)
}

func classAt(classes *[1 << 17]uint8, text string, i int) (bits uint8, size int) {
	if c := text[i]; c < utf8.RuneSelf {
		return classes[c], 1
	}
	r, size := utf8.DecodeRuneInString(text[i:])
	return classOf(classes, r), size
}

func runOf(classes *[1 << 17]uint8, text string, i int, bits uint8) int {
	for i < len(text) {
		got, size := classAt(classes, text, i)
		if got&bits == 0 {
			break
		}
		i += size
	}
	return i
}

// spaces matches \s+(?!\S)|\s+ : a run of space leaves its last character to the
// word that follows, unless it is the only one.
func spaces(classes *[1 << 17]uint8, text string, i int) int {
	end, last := i, i
	for end < len(text) {
		bits, size := classAt(classes, text, end)
		if bits&isSpace == 0 {
			break
		}
		last = end
		end += size
	}
	if end < len(text) && last > i {
		return last
	}
	return end
}

// suffixLen is the length of 's 't 're 've 'm 'll 'd at the start of text, or 0.
// Without regard to case, ſ (U+017F) is an s, as the pattern's engine has it.
func suffixLen(text string, fold bool) int {
	if len(text) < 2 {
		return 0
	}
	a := text[1]
	if fold {
		if a >= 'A' && a <= 'Z' {
			a |= 0x20
		}
		if a == 0xC5 && len(text) > 2 && text[2] == 0xBF {
			return 3
		}
	}
	switch a {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(text) < 3 {
		return 0
	}
	b := text[2]
	if fold && b >= 'A' && b <= 'Z' {
		b |= 0x20
	}
	if a == 'r' && b == 'e' || a == 'v' && b == 'e' || a == 'l' && b == 'l' {
		return 3
	}
	return 0
}

// wordSplitter is the family of patterns that began with cl100k. A word may take
// one character that is no letter, digit or line end before it; digits come in
// groups; marks take the line ends that follow them.
type wordSplitter struct {
	classes     *[1 << 17]uint8
	suffixFirst bool // 's and its kind are matches of their own
	suffixLast  bool // a word takes 's and its kind with it
	cased       bool // a word goes from capitals to small letters, and marks (\p{M}) belong to it
	digits      int  // most digits in a match
	wholeTail   bool // space at the end of the text is one match, line ends or not
}

func (s wordSplitter) next(text string, i int) int {
	if s.suffixFirst && text[i] == '\'' {
		if n := suffixLen(text[i:], true); n > 0 {
			return i + n
		}
	}
	bits, size := classAt(s.classes, text, i)
	if s.cased {
		if end := s.casedWord(text, i, bits, size); end > 0 {
			return end
		}
	} else {
		if bits&isLetter != 0 {
			return runOf(s.classes, text, i+size, isLetter)
		}
		if bits&(isNewline|isNumber) == 0 && i+size < len(text) {
			after, n := classAt(s.classes, text, i+size)
			if after&isLetter != 0 {
				return runOf(s.classes, text, i+size+n, isLetter)
			}
		}
	}
	if bits&isNumber != 0 {
		end := i + size
		for n := 1; n < s.digits && end < len(text); n++ {
			bits, size := classAt(s.classes, text, end)
			if bits&isNumber == 0 {
				break
			}
			end += size
		}
		return end
	}
	j := i
	if text[i] == ' ' && i+1 < len(text) {
		j = i + 1
	}
	if bits, size := classAt(s.classes, text, j); bits&(isSpace|isLetter|isNumber) == 0 {
		j += size
		for j < len(text) {
			bits, size := classAt(s.classes, text, j)
			if bits&(isSpace|isLetter|isNumber) != 0 {
				break
			}
			j += size
		}
		for j < len(text) && (text[j] == '\r' || text[j] == '\n' || s.cased && text[j] == '/') {
			j++
		}
		return j
	}
	return s.blank(text, i)
}

// blank matches \s*[\r\n]+|\s+(?!\S)|\s+ : a run of space up to its last line
// end, or as spaces does.
func (s wordSplitter) blank(text string, i int) int {
	end, last, line := i, i, -1
	for end < len(text) {
		bits, size := classAt(s.classes, text, end)
		if bits&isSpace == 0 {
			break
		}
		last = end
		end += size
		if bits&isNewline != 0 {
			line = end
		}
	}
	switch {
	case s.wholeTail && end == len(text):
		return end
	case line >= 0:
		return line
	case end < len(text) && last > i:
		return last
	}
	return end
}

const (
	capitals = isUpper | isOther | isMark
	smalls   = isLower | isOther | isMark
)

// casedWord matches the two alternatives for words of the cased patterns, or
// returns 0. Each takes an optional leading character first and falls back to
// none, as a greedy pattern does.
func (s wordSplitter) casedWord(text string, i int, bits uint8, size int) int {
	lead := bits&(isNewline|isLetter|isNumber) == 0
	if lead {
		if end := s.headed(text, i+size); end > 0 {
			return s.suffixed(text, end)
		}
	}
	if end := s.headed(text, i); end > 0 {
		return s.suffixed(text, end)
	}
	if lead {
		if end := s.tailed(text, i+size); end > 0 {
			return s.suffixed(text, end)
		}
	}
	if end := s.tailed(text, i); end > 0 {
		return s.suffixed(text, end)
	}
	return 0
}

// headed matches [capitals]*[smalls]+ at i, or returns 0. The two sets share
// uncased letters and marks: when no small letter follows the run of capitals,
// the run gives back its characters until one of them can stand as a small one.
func (s wordSplitter) headed(text string, i int) int {
	end, shared := i, 0
	for end < len(text) {
		bits, size := classAt(s.classes, text, end)
		if bits&capitals == 0 {
			break
		}
		end += size
		if bits&smalls != 0 {
			shared = end
		}
	}
	if after := runOf(s.classes, text, end, smalls); after > end {
		return after
	}
	return shared
}

// tailed matches [capitals]+[smalls]* at i, or returns 0.
func (s wordSplitter) tailed(text string, i int) int {
	end := runOf(s.classes, text, i, capitals)
	if end == i {
		return 0
	}
	return runOf(s.classes, text, end, smalls)
}

func (s wordSplitter) suffixed(text string, end int) int {
	if s.suffixLast && end < len(text) && text[end] == '\'' {
		return end + suffixLen(text[end:], true)
	}
	return end
}
