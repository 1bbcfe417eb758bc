package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// wordPiece takes the longest token that starts a word, then the longest that
// continues it, and so on; a word that cannot be finished is unknown as a whole.
type wordPiece struct {
	vocabulary
	unknown  string
	prefix   string // before tokens that continue a word
	maxChars int    // longer words are unknown
}

func (m *wordPiece) kind() string { return "WordPiece" }

func (m *wordPiece) encode(s *scratch, piece string, ids []int32) ([]int32, error) {
	if len(piece) > m.maxChars && utf8.RuneCountInString(piece) > m.maxChars {
		return m.appendUnknown(ids)
	}
	from := len(ids)
	key := s.key[:0]
	for start := 0; start < len(piece); {
		key = key[:0]
		if start > 0 {
			key = append(key, m.prefix...)
		}
		head := len(key)
		key = append(key, piece[start:]...)
		id, ok := int32(0), false
		for len(key) > head {
			if id, ok = m.ids[string(key)]; ok {
				break
			}
			_, size := utf8.DecodeLastRune(key)
			key = key[:len(key)-size]
		}
		s.key = key
		if !ok {
			return m.appendUnknown(ids[:from])
		}
		ids = append(ids, id)
		start += len(key) - head
	}
	return ids, nil
}

func (m *wordPiece) appendUnknown(ids []int32) ([]int32, error) {
	id, ok := m.ids[m.unknown]
	if !ok {
		return nil, fmt.Errorf("model: the unknown token %q is not in the vocabulary", m.unknown)
	}
	return append(ids, id), nil
}

// wordLevel knows whole pieces only.
type wordLevel struct {
	vocabulary
	unknown string
}

func (m *wordLevel) kind() string { return "WordLevel" }

func (m *wordLevel) encode(_ *scratch, piece string, ids []int32) ([]int32, error) {
	if id, ok := m.ids[piece]; ok {
		return append(ids, id), nil
	}
	if id, ok := m.ids[m.unknown]; ok {
		return append(ids, id), nil
	}
	return nil, fmt.Errorf("model: %q is not in the vocabulary, and neither is the unknown token %q", piece, m.unknown)
}
