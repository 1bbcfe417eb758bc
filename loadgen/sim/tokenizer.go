package sim

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Tokenizer turns text into token ids and back.
type Tokenizer interface {
	// Encode is the ids of text; special asks for those that the model wants around it.
	Encode(text string, special bool) []int
	// Decode is the text of ids, special ones included.
	Decode(ids []int) string
	// Vocabulary is the number of ids: every id from 0 up to it can be decoded.
	Vocabulary() int
}

// Words is the simulator's own tokenizer. Any text survives encoding and decoding, and so, but for rare
// accidents, do any ids survive decoding and encoding: a prompt of random ids keeps its length on its way
// through text. (The accidents are runs of one-letter tokens that happen to spell a longer one.)
//
// The ids stand for, in this order: the four special words of OPT; the 256 bytes; pairs of small letters;
// pairs of digits; a blank and three digits; a blank and three small letters; a blank, a capital and two small
// letters; then single characters, from the ideographs at U+4E00 on. No word begins another one, and all but the pairs
// begin with a blank, which is why joined words fall apart into the same words.
//
// A lone byte token above 127 has no text of its own; it is shown as the private character
// U+F700 plus the byte, and read back from it.
type Words struct {
	size int
	bos  int
}

// DefaultVocabulary is the number of ids of the simulator's own tokenizer, unless told otherwise.
const DefaultVocabulary = 32768

// EOS is the id of the simulator's end-of-sequence token, which also stands before every prompt, as in OPT.
const EOS = 2

const loneByte = 0xF700

var specials = [...]string{"<s>", "<pad>", "</s>", "<unk>"}

const (
	firstByte    = len(specials)
	firstPair    = firstByte + 256
	firstDigits  = firstPair + 26*26
	firstNumber  = firstDigits + 100
	firstWord    = firstNumber + 1000
	firstCapital = firstWord + 26*26*26
	firstChar    = firstCapital + 26*26*26
)

// charRanges are the characters that have an id of their own, in the order of their ids.
var charRanges = [...][2]rune{{0x4E00, 0x9FFF}, {0xAC00, 0xD7A3}, {0x20000, 0x2A6DF}, {0xF0000, 0xFFFFD}}

// NewWords is a tokenizer of so many ids, 0 for the usual number.
func NewWords(vocabulary int) (*Words, error) {
	if vocabulary == 0 {
		vocabulary = DefaultVocabulary
	}
	most := firstChar
	for _, r := range charRanges {
		most += int(r[1]-r[0]) + 1
	}
	if vocabulary < firstPair || vocabulary > most {
		return nil, fmt.Errorf("vocabulary of %d: must be from %d to %d", vocabulary, firstPair, most)
	}
	return &Words{size: vocabulary, bos: EOS}, nil
}

// Vocabulary implements Tokenizer.
func (w *Words) Vocabulary() int { return w.size }

// byteOf and idOfByte scatter the bytes over their ids, so that letters are no neighbours: prompts
// are often ramps of consecutive ids, and "a", "b", "c" in a row would come back as pairs.
func byteOf(id int) byte     { return byte((id - firstByte) * 101) }
func idOfByte(b byte) int    { return firstByte + int(b*109) } // 101 × 109 = 1 mod 256
func lower(b byte) bool      { return 'a' <= b && b <= 'z' }
func digit(b byte) bool      { return '0' <= b && b <= '9' }
func triple(a, b, c int) int { return (a*26+b)*26 + c }

// Encode implements Tokenizer.
func (w *Words) Encode(text string, special bool) []int {
	ids := make([]int, 0, len(text)/3+2)
	if special {
		ids = append(ids, w.bos)
	}
	for i := 0; i < len(text); {
		if text[i] >= utf8.RuneSelf {
			end := i
			for end < len(text) && text[end] >= utf8.RuneSelf {
				end++
			}
			ids = w.encodeRun(ids, text[i:end])
			i = end
			continue
		}
		id, n := w.ascii(text[i:])
		ids = append(ids, id)
		i += n
	}
	return ids
}

// ascii is the token that s begins with, and its length.
func (w *Words) ascii(s string) (id, n int) {
	switch {
	case s[0] == '<':
		for id, word := range specials {
			if strings.HasPrefix(s, word) {
				return id, len(word)
			}
		}
	case s[0] == ' ' && len(s) >= 4:
		b, c, d := s[1], s[2], s[3]
		switch {
		case lower(b) && lower(c) && lower(d):
			id = firstWord + triple(int(b-'a'), int(c-'a'), int(d-'a'))
		case 'A' <= b && b <= 'Z' && lower(c) && lower(d):
			id = firstCapital + triple(int(b-'A'), int(c-'a'), int(d-'a'))
		case digit(b) && digit(c) && digit(d):
			id = firstNumber + int(b-'0')*100 + int(c-'0')*10 + int(d-'0')
		}
		if id != 0 && id < w.size {
			return id, 4
		}
	case len(s) >= 2 && lower(s[0]) && lower(s[1]):
		if id := firstPair + int(s[0]-'a')*26 + int(s[1]-'a'); id < w.size {
			return id, 2
		}
	case len(s) >= 2 && digit(s[0]) && digit(s[1]):
		if id := firstDigits + int(s[0]-'0')*10 + int(s[1]-'0'); id < w.size {
			return id, 2
		}
	}
	return idOfByte(s[0]), 1
}

// encodeRun encodes text without ASCII. Shown lone bytes become byte tokens again, unless
// these would join into another character.
func (w *Words) encodeRun(ids []int, run string) []int {
	begin := len(ids)
	shown := false
	for _, r := range run {
		if id, ok := w.char(r); ok {
			ids = append(ids, id)
		} else if r > loneByte+127 && r <= loneByte+255 {
			shown = true
			ids = append(ids, idOfByte(byte(r-loneByte)))
		} else {
			ids = appendBytes(ids, string(r))
		}
	}
	if shown && w.Decode(ids[begin:]) != run {
		ids = ids[:begin]
		for _, r := range run {
			if id, ok := w.char(r); ok {
				ids = append(ids, id)
			} else {
				ids = appendBytes(ids, string(r))
			}
		}
	}
	return ids
}

func appendBytes(ids []int, s string) []int {
	for i := range len(s) {
		ids = append(ids, idOfByte(s[i]))
	}
	return ids
}

func (w *Words) char(r rune) (int, bool) {
	id := firstChar
	for _, span := range charRanges {
		if r >= span[0] && r <= span[1] {
			id += int(r - span[0])
			return id, id < w.size
		}
		id += int(span[1]-span[0]) + 1
	}
	return 0, false
}

// appendToken appends the bytes of a token, which need not be whole characters.
func (w *Words) appendToken(b []byte, id int) []byte {
	letters := func(first byte, n int) []byte {
		return append(b, ' ', first+byte(n/676), 'a'+byte(n/26%26), 'a'+byte(n%26))
	}
	switch {
	case id < 0:
		return b
	case id < firstByte:
		return append(b, specials[id]...)
	case id < firstPair:
		return append(b, byteOf(id))
	case id < firstDigits:
		n := id - firstPair
		return append(b, 'a'+byte(n/26), 'a'+byte(n%26))
	case id < firstNumber:
		n := id - firstDigits
		return append(b, '0'+byte(n/10), '0'+byte(n%10))
	case id < firstWord:
		n := id - firstNumber
		return append(b, ' ', '0'+byte(n/100), '0'+byte(n/10%10), '0'+byte(n%10))
	case id < firstCapital:
		return letters('a', id-firstWord)
	case id < firstChar:
		return letters('A', id-firstCapital)
	}
	n := id - firstChar
	for _, span := range charRanges {
		if width := int(span[1]-span[0]) + 1; n >= width {
			n -= width
			continue
		}
		return utf8.AppendRune(b, span[0]+rune(n))
	}
	return b
}

// Decode implements Tokenizer.
func (w *Words) Decode(ids []int) string {
	raw := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		raw = w.appendToken(raw, id)
	}
	if utf8.Valid(raw) {
		return string(raw)
	}
	return string(showBytes(nil, raw))
}

// showBytes appends raw with every byte that belongs to no character shown as a private one.
func showBytes(out, raw []byte) []byte {
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 {
			out = utf8.AppendRune(out, loneByte+rune(raw[0]))
		} else {
			out = append(out, raw[:n]...)
		}
		raw = raw[n:]
	}
	return out
}
