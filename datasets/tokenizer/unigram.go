package tokenizer

import (
	"errors"
	"math"
	"unicode/utf8"
)

// unigram picks, of all ways to cut a piece into tokens, the one whose scores sum
// to the most.
type unigram struct {
	vocab        []scoredToken
	ids          map[string]int32
	trie         byteTrie
	unknown      int32 // -1: none
	unknownScore float64
	byteFallback bool
}

type scoredToken struct {
	text  string
	score float64
}

// unknownPenalty is how much less than the least likely token a character without
// one scores.
const unknownPenalty = 10

func newUnigram(vocab []scoredToken, unknown int32, byteFallback bool) *unigram {
	m := &unigram{vocab: vocab, ids: make(map[string]int32, len(vocab)), unknown: unknown, byteFallback: byteFallback}
	least := math.Inf(1)
	for id, token := range vocab {
		m.ids[token.text] = int32(id)
		least = min(least, token.score)
	}
	m.unknownScore = least - unknownPenalty
	m.trie = newByteTrie(m.ids)
	return m
}

func (m *unigram) kind() string                  { return "Unigram" }
func (m *unigram) size() int                     { return len(m.vocab) }
func (m *unigram) id(token string) (int32, bool) { id, ok := m.ids[token]; return id, ok }
func (m *unigram) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(m.vocab) {
		return "", false
	}
	return m.vocab[id].text, true
}

func (m *unigram) each(f func(id int32, text string)) {
	for id, token := range m.vocab {
		f(int32(id), token.text)
	}
}

// pathNode is the best way found to reach a byte of the piece.
type pathNode struct {
	score float64
	from  int32 // where its last token starts; -1: not reached
	id    int32
}

func (m *unigram) encode(s *scratch, piece string, ids []int32) ([]int32, error) {
	n := len(piece)
	if cap(s.paths) <= n {
		s.paths = make([]pathNode, n+1)
	}
	best := s.paths[:n+1]
	for i := range best {
		best[i] = pathNode{from: -1}
	}
	for at := 0; at < n; {
		here := best[at].score
		_, size := utf8.DecodeRuneInString(piece[at:])
		single := false
		node := int32(0)
		for i := at; i < n; i++ {
			if node = m.trie.step(node, piece[i]); node < 0 {
				break
			}
			id := m.trie.ids[node]
			if id < 0 {
				continue
			}
			to := &best[i+1]
			if score := m.vocab[id].score + here; to.from < 0 || score > to.score {
				*to = pathNode{score, int32(at), id}
			}
			single = single || i+1 == at+size
		}
		if !single {
			to := &best[at+size]
			if score := m.unknownScore + here; to.from < 0 || score > to.score {
				if m.unknown < 0 {
					return nil, errors.New("model: the text has a character without a token, and the model has no unk_id")
				}
				*to = pathNode{score, int32(at), m.unknown}
			}
		}
		at += size
	}
	// The path is read from its end; neighbouring unknowns are one.
	from := len(ids)
	for end := n; end > 0; {
		start := int(best[end].from)
		id := best[end].id
		if id == m.unknown {
			for start > 0 && best[start].id == m.unknown {
				start = int(best[start].from)
			}
			ids = m.appendUnknown(ids, piece[start:end])
		} else {
			ids = append(ids, id)
		}
		end = start
	}
	for i, j := from, len(ids)-1; i < j; i, j = i+1, j-1 {
		ids[i], ids[j] = ids[j], ids[i]
	}
	return ids, nil
}

// appendUnknown appends a stretch without tokens, last id first.
func (m *unigram) appendUnknown(ids []int32, text string) []int32 {
	if id, ok := m.ids[text]; ok {
		return append(ids, id)
	}
	if m.byteFallback {
		from := len(ids)
		if with, ok := appendByteTokens(ids, m.ids, text); ok {
			for i, j := from, len(with)-1; i < j; i, j = i+1, j-1 {
				with[i], with[j] = with[j], with[i]
			}
			return with
		}
	}
	return append(ids, m.unknown)
}

// byteTrie holds the strings of a vocabulary. Its edges lie in one hash table.
type byteTrie struct {
	ids   []int32 // by node: the string that ends there, or -1
	root  [256]int32
	edges []trieSlot
	shift uint
}

type trieSlot struct {
	key  uint64 // node<<8 | label, plus 1; 0: free
	node int32
}

func newByteTrie(tokens map[string]int32) byteTrie {
	total := 0
	for token := range tokens {
		total += len(token)
	}
	bits := uint(4)
	for 1<<bits < 2*total {
		bits++
	}
	t := byteTrie{ids: []int32{-1}, edges: make([]trieSlot, 1<<bits), shift: 64 - bits}
	for i := range t.root {
		t.root[i] = -1
	}
	for token, id := range tokens {
		if token == "" {
			continue
		}
		node := int32(0)
		for i := range len(token) {
			next := t.step(node, token[i])
			if next < 0 {
				next = int32(len(t.ids))
				t.ids = append(t.ids, -1)
				t.put(node, token[i], next)
			}
			node = next
		}
		t.ids[node] = id
	}
	return t
}

func (t *byteTrie) step(node int32, label byte) int32 {
	if node == 0 {
		return t.root[label]
	}
	key := (uint64(node)<<8 | uint64(label)) + 1
	for i := int(key * 0x9E3779B97F4A7C15 >> t.shift); ; i = (i + 1) & (len(t.edges) - 1) {
		switch t.edges[i].key {
		case key:
			return t.edges[i].node
		case 0:
			return -1
		}
	}
}

func (t *byteTrie) put(node int32, label byte, next int32) {
	if node == 0 {
		t.root[label] = next
		return
	}
	key := (uint64(node)<<8 | uint64(label)) + 1
	i := int(key * 0x9E3779B97F4A7C15 >> t.shift)
	for t.edges[i].key != 0 {
		i = (i + 1) & (len(t.edges) - 1)
	}
	t.edges[i] = trieSlot{key, next}
}
