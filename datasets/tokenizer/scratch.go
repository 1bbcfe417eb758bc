package tokenizer

import "strings"

// scratch is the memory of one encoding at a time: buffers, and the ids of pieces
// seen before. A Tokenizer keeps a few.
type scratch struct {
	cache  map[string]span
	arena  []int32
	ids    []int32
	pieces [2][]piece
	links  []link
	queue  candidates
	paths  []pathNode
	key    []byte
}

type span struct{ from, to uint32 }

const (
	// longestCached bounds the pieces worth remembering, in bytes: longer ones
	// rarely come again.
	longestCached = 256
	// cacheEntries and cacheIDs bound what a scratch remembers (a few megabytes).
	cacheEntries = 1 << 16
	cacheIDs     = 1 << 19
)

func newScratch() *scratch { return &scratch{cache: make(map[string]span, 1024)} }

// encode is the model's encode, remembered.
func (s *scratch) encode(m model, piece string, ids []int32) ([]int32, error) {
	if span, ok := s.cache[piece]; ok {
		return append(ids, s.arena[span.from:span.to]...), nil
	}
	from := len(ids)
	ids, err := m.encode(s, piece, ids)
	if err != nil {
		return nil, err
	}
	if len(piece) <= longestCached {
		if len(s.cache) >= cacheEntries || len(s.arena) >= cacheIDs {
			clear(s.cache)
			s.arena = s.arena[:0]
		}
		start := uint32(len(s.arena))
		s.arena = append(s.arena, ids[from:]...)
		s.cache[strings.Clone(piece)] = span{start, uint32(len(s.arena))}
	}
	return ids, nil
}
