package tokenizer

import (
	"maps"
	"slices"
	"sync"
	"unicode"
)

// anyScript joins whatever stands beside it.
const anyScript = 0

// scriptTable numbers the script of the first 2^17 code points; above them all is Han.
var scriptTable = sync.OnceValues(func() (table *[1 << 17]uint8, han uint8) {
	table = new([1 << 17]uint8)
	numbers := map[string]uint8{}
	for i, name := range slices.Sorted(maps.Keys(unicode.Scripts)) {
		numbers[name] = uint8(i + 1)
	}
	han = numbers["Han"]
	// SentencePiece counts the three Japanese scripts as one.
	numbers["Hiragana"], numbers["Katakana"] = han, han
	for name, ranges := range unicode.Scripts {
		for _, r := range ranges.R16 {
			for c := int(r.Lo); c <= int(r.Hi); c += int(r.Stride) {
				table[c] = numbers[name]
			}
		}
		for _, r := range ranges.R32 {
			for c := int(r.Lo); c <= int(r.Hi) && c < len(table); c += int(r.Stride) {
				table[c] = numbers[name]
			}
		}
	}
	for i := 0; i < len(scriptless); i += 2 {
		for c := scriptless[i]; c <= scriptless[i+1] && int(c) < len(table); c++ {
			table[c] = anyScript
		}
	}
	// Where the library's tables differ from ours.
	table[0x61C], table[0x589] = numbers["Common"], numbers["Common"]
	table[0x953], table[0x954] = numbers["Devanagari"], numbers["Devanagari"]
	table[0x30FC] = han
	table[' '] = anyScript
	return table, han
})

func scriptOf(r rune) uint8 {
	table, han := scriptTable()
	if int(r) < len(table) {
		return table[r]
	}
	if unicode.Is(unicode.Han, r) && !inPairs(scriptless, r) {
		return han
	}
	if unicode.Is(unicode.Inherited, r) {
		return table[0xFE00] // the variation selectors
	}
	if unicode.Is(unicode.Common, r) {
		return table['_'] // tags, of which flags are made
	}
	return anyScript
}

// splitScripts cuts where the script of the characters changes. Until a first
// script is known, characters of any script still begin the piece.
func splitScripts(p piece, out []piece) []piece {
	const none = -1
	last, from := none, none
	for i, r := range p.text {
		script := int(scriptOf(r))
		if script != anyScript && last != anyScript && last != script {
			if from != none {
				out = append(out, p.slice(from, i))
			}
			from = i
		}
		if script != anyScript {
			last = script
		}
	}
	if from != none && from < len(p.text) {
		out = append(out, p.slice(from, len(p.text)))
	}
	return out
}
