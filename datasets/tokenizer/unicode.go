package tokenizer

import (
	"sync"
	"unicode"
)

// Bits of charClasses. A rune may carry several.
const (
	isLetter  = 1 << iota // \p{L}
	isNumber              // \p{N}
	isSpace               // \s, the White_Space property
	isUpper               // \p{Lu} or \p{Lt}
	isLower               // \p{Ll}
	isOther               // \p{Lm} or \p{Lo}
	isMark                // \p{M}
	isNewline             // \r or \n
)

// charClasses holds the bits of the first 2^17 code points. The splitters ask for
// every rune of every text, and a search in the range tables would be half of
// their time.
var charClasses = sync.OnceValue(func() *[1 << 17]uint8 {
	table := new([1 << 17]uint8)
	mark := func(ranges *unicode.RangeTable, bits uint8) {
		for _, r := range ranges.R16 {
			for c := int(r.Lo); c <= int(r.Hi); c += int(r.Stride) {
				table[c] |= bits
			}
		}
		for _, r := range ranges.R32 {
			for c := int(r.Lo); c <= int(r.Hi) && c < len(table); c += int(r.Stride) {
				table[c] |= bits
			}
		}
	}
	mark(unicode.L, isLetter)
	mark(unicode.N, isNumber)
	mark(unicode.White_Space, isSpace)
	mark(unicode.Lu, isUpper)
	mark(unicode.Lt, isUpper)
	mark(unicode.Ll, isLower)
	mark(unicode.Lm, isOther)
	mark(unicode.Lo, isOther)
	mark(unicode.M, isMark)
	pairs := func(list []rune, bits uint8) {
		for i := 0; i < len(list); i += 2 {
			for c := list[i]; c <= list[i+1] && int(c) < len(table); c++ {
				table[c] |= bits
			}
		}
	}
	pairs(newUpper, isLetter|isUpper)
	pairs(newLower, isLetter|isLower)
	pairs(newModifier, isLetter|isOther)
	pairs(newLetter, isLetter|isOther)
	pairs(newMark, isMark)
	pairs(newNumber, isNumber)
	table['\n'] |= isNewline
	table['\r'] |= isNewline
	return table
})

// classOf is charClasses for any rune.
func classOf(table *[1 << 17]uint8, r rune) uint8 {
	if int(r) < len(table) {
		return table[r]
	}
	var bits uint8
	if unicode.Is(unicode.L, r) || inPairs(newLetter, r) {
		bits |= isLetter | isOther // only ideographs live up there
	}
	if unicode.Is(unicode.M, r) {
		bits |= isMark
	}
	return bits
}

// inPairs searches one of the generated tables.
func inPairs(list []rune, r rune) bool {
	low, high := 0, len(list)/2
	for low < high {
		mid := (low + high) / 2
		switch {
		case r < list[2*mid]:
			high = mid
		case r > list[2*mid+1]:
			low = mid + 1
		default:
			return true
		}
	}
	return false
}

func isWhite(r rune) bool { return unicode.Is(unicode.White_Space, r) }

func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r) || unicode.Is(unicode.Pc, r) || inPairs(wordOnly, r)
}
