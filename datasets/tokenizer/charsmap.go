package tokenizer

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"
)

// charsMap is SentencePiece's compiled table of replacements: a double-array trie
// over UTF-8 whose values are offsets into a pool of zero-terminated strings.
type charsMap struct {
	units []uint32
	pool  string
	ascii [128]bool // single characters that are replaced
}

func newCharsMap(blob []byte) (*charsMap, error) {
	if len(blob) < 4 {
		return nil, errors.New("precompiled_charsmap is shorter than its own size field")
	}
	size := int64(binary.LittleEndian.Uint32(blob))
	blob = blob[4:]
	if size%4 != 0 || size > int64(len(blob)) || size == 0 {
		return nil, errors.New("precompiled_charsmap has a trie that is cut short")
	}
	m := &charsMap{units: make([]uint32, size/4), pool: string(blob[size:])}
	if !utf8.ValidString(m.pool) {
		return nil, errors.New("precompiled_charsmap has strings that are not UTF-8")
	}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(blob[4*i:])
	}
	for c := range m.ascii {
		_, m.ascii[c] = m.transform(string(rune(c)))
	}
	return m, nil
}

// transform returns the replacement of the shortest prefix of chunk that has one.
// (The longest would make more sense; this is what models were trained with.)
func (m *charsMap) transform(chunk string) (string, bool) {
	at := uint32(0)
	unit := m.units[0]
	at ^= unitOffset(unit)
	for i := 0; i < len(chunk) && chunk[i] != 0; i++ {
		at ^= uint32(chunk[i])
		if int64(at) >= int64(len(m.units)) {
			return "", false
		}
		unit = m.units[at]
		if unit&(1<<31|0xFF) != uint32(chunk[i]) {
			return "", false
		}
		at ^= unitOffset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		if int64(at) >= int64(len(m.units)) {
			return "", false
		}
		value := int(m.units[at] & (1<<31 - 1))
		if value > len(m.pool) {
			return "", false
		}
		text, _, _ := strings.Cut(m.pool[value:], "\x00")
		return text, true
	}
	return "", false
}

func unitOffset(unit uint32) uint32 { return (unit >> 10) << (unit & (1 << 9) >> 6) }

// longestCluster bounds the grapheme clusters that are replaced as one, in bytes.
const longestCluster = 6

func (m *charsMap) normalize(text string) string {
	var out strings.Builder
	out.Grow(len(text) + 8)
	for i := 0; i < len(text); {
		// Two ASCII characters never share a cluster, but for \r\n.
		if c := text[i]; c < utf8.RuneSelf && c != '\r' && (i+1 == len(text) || text[i+1] < utf8.RuneSelf) {
			if m.ascii[c] {
				with, _ := m.transform(text[i : i+1])
				out.WriteString(with)
			} else {
				out.WriteByte(c)
			}
			i++
			continue
		}
		end := clusterEnd(text, i)
		if end-i < longestCluster {
			if with, ok := m.transform(text[i:end]); ok {
				out.WriteString(with)
				i = end
				continue
			}
		}
		for i < end {
			_, size := utf8.DecodeRuneInString(text[i:])
			if with, ok := m.transform(text[i : i+size]); ok {
				out.WriteString(with)
			} else {
				out.WriteString(text[i : i+size])
			}
			i += size
		}
	}
	return out.String()
}

// clusterEnd is the end of the grapheme cluster at i, by the rules of UAX 29 that
// can make a cluster of fewer than six bytes or tell where one begins.
func clusterEnd(text string, i int) int {
	r, size := utf8.DecodeRuneInString(text[i:])
	end := i + size
	if r == '\r' {
		if end < len(text) && text[end] == '\n' {
			end++
		}
		return end
	}
	if r == '\n' || inPairs(clusterControl, r) {
		return end
	}
	flags, pictograph := 0, inPairs(pictographs, r)
	for last := r; end < len(text); last = r {
		r, size = utf8.DecodeRuneInString(text[end:])
		switch {
		case inPairs(clusterExtend, r):
		case r == '\r' || r == '\n' || inPairs(clusterControl, r):
			return end
		case inPairs(clusterPrepend, last):
			pictograph = inPairs(pictographs, r)
		case hangulJoin(last, r):
		case isFlag(last) && isFlag(r) && flags%2 == 0:
			flags++
		case pictograph && last == 0x200D && inPairs(pictographs, r):
		default:
			return end
		}
		end += size
	}
	return end
}

func isFlag(r rune) bool { return r >= 0x1F1E6 && r <= 0x1F1FF }

// hangulJoin says whether two Hangul characters belong to one syllable.
func hangulJoin(a, b rune) bool {
	lead := func(r rune) bool { return r >= 0x1100 && r <= 0x115F || r >= 0xA960 && r <= 0xA97C }
	vowel := func(r rune) bool { return r >= 0x1160 && r <= 0x11A7 || r >= 0xD7B0 && r <= 0xD7C6 }
	tail := func(r rune) bool { return r >= 0x11A8 && r <= 0x11FF || r >= 0xD7CB && r <= 0xD7FB }
	syllable := func(r rune) bool { return r >= 0xAC00 && r <= 0xD7A3 }
	open := func(r rune) bool { return syllable(r) && (r-0xAC00)%28 == 0 }
	switch {
	case lead(a):
		return lead(b) || vowel(b) || syllable(b)
	case open(a) || vowel(a):
		return vowel(b) || tail(b)
	case syllable(a) || tail(a):
		return tail(b)
	}
	return false
}
