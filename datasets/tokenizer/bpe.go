package tokenizer

import (
	"container/heap"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// A model turns one piece of text into ids. It is read-only after loading; what
// it wants to remember goes into the scratch of the caller.
type model interface {
	kind() string
	// encode appends the ids of piece.
	encode(s *scratch, piece string, ids []int32) ([]int32, error)
	// id is the id of a token, if there is one.
	id(token string) (int32, bool)
	// token is the text of an id, if there is one.
	token(id int32) (string, bool)
	// each lists all ids and their texts.
	each(f func(id int32, text string))
	size() int
}

// vocabulary is what BPE, WordPiece and WordLevel share.
type vocabulary struct {
	ids    map[string]int32
	tokens map[int32]string
}

func newVocabulary(ids map[string]int32) vocabulary {
	tokens := make(map[int32]string, len(ids))
	for token, id := range ids {
		tokens[id] = token
	}
	return vocabulary{ids: ids, tokens: tokens}
}

func (v vocabulary) id(token string) (int32, bool) { id, ok := v.ids[token]; return id, ok }
func (v vocabulary) token(id int32) (string, bool) { t, ok := v.tokens[id]; return t, ok }
func (v vocabulary) size() int                     { return len(v.ids) }

func (v vocabulary) each(f func(id int32, text string)) {
	for id, text := range v.tokens {
		f(id, text)
	}
}

// bpe is byte pair encoding: a piece begins as characters, and the neighbours
// with the lowest-ranked merge become one until no merge applies.
type bpe struct {
	vocabulary
	merges       mergeTable
	unknown      string
	hasUnknown   bool
	prefix       string // before every character but the first of a piece
	suffix       string // after the last character of a piece
	fuseUnknown  bool
	byteFallback bool
	ignoreMerges bool

	// raw says that pieces are the bytes themselves, not the printable characters
	// that stand for them in the vocabulary; bytes and whole are then its entries
	// under those bytes.
	raw   bool
	bytes [256]int32
	whole map[string]int32

	// joins holds the characters that some merge puts before a wordMark; nil when
	// pieces are not to be cut. See segments.
	joins map[rune]bool
}

func (m *bpe) kind() string { return "BPE" }

type mergeConfig struct{ left, right string }

// newBPE resolves the merges, in order of rank; of a pair given twice the last counts.
func newBPE(m *bpe, merges []mergeConfig) error {
	m.merges = newMergeTable(len(merges))
	for rank, merge := range merges {
		left, ok := m.ids[merge.left]
		if !ok {
			return fmt.Errorf("merges[%d]: token %q is not in the vocabulary", rank, merge.left)
		}
		right, ok := m.ids[merge.right]
		if !ok {
			return fmt.Errorf("merges[%d]: token %q is not in the vocabulary", rank, merge.right)
		}
		if len(merge.right) < len(m.prefix) {
			return fmt.Errorf("merges[%d]: token %q is shorter than the prefix %q", rank, merge.right, m.prefix)
		}
		joined := merge.left + merge.right[len(m.prefix):]
		id, ok := m.ids[joined]
		if !ok {
			return fmt.Errorf("merges[%d]: token %q is not in the vocabulary", rank, joined)
		}
		m.merges.put(left, right, uint32(rank), id)
	}
	m.findJoins(merges)
	return nil
}

// useBytes makes the model take raw bytes instead of their printable stand-ins. It
// reports whether it could: every byte needs a token, and marks on the edges of a
// piece would have to be characters.
func (m *bpe) useBytes() bool {
	if m.prefix != "" || m.suffix != "" {
		return false
	}
	var bytes [256]int32
	for b := range 256 {
		id, ok := m.ids[string(byteRunes[b])]
		if !ok {
			return false
		}
		bytes[b] = id
	}
	m.raw, m.bytes, m.joins = true, bytes, nil
	if m.ignoreMerges {
		m.whole = make(map[string]int32, len(m.ids))
		for token, id := range m.ids {
			if text, ok := fromByteRunes(nil, token); ok {
				m.whole[string(text)] = id
			}
		}
	}
	return true
}

func (m *bpe) encode(s *scratch, piece string, ids []int32) ([]int32, error) {
	if m.joins == nil {
		return m.encodeSegment(s, piece, ids)
	}
	for piece != "" {
		end := m.segmentEnd(piece)
		var err error
		if ids, err = s.encode(segment{m}, piece[:end], ids); err != nil {
			return nil, err
		}
		piece = piece[end:]
	}
	return ids, nil
}

// wordMark is how SentencePiece writes a space.
const wordMark = '▁'

// findJoins prepares the cutting of pieces into segments. A SentencePiece model
// takes a whole text as one piece. But where no merge joins the character before a
// wordMark with one that begins with it, what lies on the two sides never meets,
// and can be encoded, and remembered, word by word: seven times as fast, same ids.
func (m *bpe) findJoins(merges []mergeConfig) {
	if _, ok := m.ids[string(wordMark)]; !ok || m.raw || m.ignoreMerges || m.prefix != "" || m.suffix != "" {
		return
	}
	m.joins = map[rune]bool{wordMark: true}
	for _, merge := range merges {
		if strings.HasPrefix(merge.right, string(wordMark)) {
			r, _ := utf8.DecodeLastRuneInString(merge.left)
			m.joins[r] = true
		}
	}
}

// segmentEnd is the first place in piece where it can be cut. The character before
// has to have a token: what stands for an unknown one could merge.
func (m *bpe) segmentEnd(piece string) int {
	for from := 1; from < len(piece); {
		n := strings.Index(piece[from:], string(wordMark))
		if n < 0 {
			break
		}
		at := from + n
		r, size := utf8.DecodeLastRuneInString(piece[:at])
		if !m.joins[r] {
			if _, ok := m.ids[piece[at-size:at]]; ok {
				return at
			}
		}
		from = at + 1
	}
	return len(piece)
}

// segment is the model without the cutting.
type segment struct{ *bpe }

func (m segment) encode(s *scratch, piece string, ids []int32) ([]int32, error) {
	return m.encodeSegment(s, piece, ids)
}

func (m *bpe) encodeSegment(s *scratch, piece string, ids []int32) ([]int32, error) {
	if m.ignoreMerges {
		lookup := m.ids
		if m.raw {
			lookup = m.whole
		}
		if id, ok := lookup[piece]; ok {
			return append(ids, id), nil
		}
	}
	from := len(ids)
	if m.raw {
		for i := range len(piece) {
			ids = append(ids, m.bytes[piece[i]])
		}
	} else {
		var err error
		if ids, err = m.characters(piece, ids); err != nil {
			return nil, err
		}
	}
	n := m.merge(s, ids[from:])
	return ids[:from+n], nil
}

// characters appends the ids a piece begins with.
func (m *bpe) characters(piece string, ids []int32) ([]int32, error) {
	unknown := int32(-1) // one seen and not yet written
	for i := 0; i < len(piece); {
		_, size := utf8.DecodeRuneInString(piece[i:])
		token := piece[i : i+size]
		if i > 0 && m.prefix != "" {
			token = m.prefix + token
		}
		i += size
		if i == len(piece) && m.suffix != "" {
			token += m.suffix
		}
		if id, ok := m.ids[token]; ok {
			if unknown >= 0 {
				ids, unknown = append(ids, unknown), -1
			}
			ids = append(ids, id)
			continue
		}
		if m.byteFallback {
			if with, ok := appendByteTokens(ids, m.ids, token); ok {
				// An unknown character that waits is written after these bytes: the
				// library does so, and ids must be its ids.
				ids = with
				continue
			}
		}
		if !m.hasUnknown {
			continue
		}
		if unknown >= 0 && m.fuseUnknown {
			continue
		}
		if unknown >= 0 {
			ids = append(ids, unknown)
		}
		id, ok := m.ids[m.unknown]
		if !ok {
			return nil, fmt.Errorf("model: the unknown token %q is not in the vocabulary", m.unknown)
		}
		unknown = id
	}
	if unknown >= 0 {
		ids = append(ids, unknown)
	}
	return ids, nil
}

const hexDigits = "0123456789ABCDEF"

// appendByteTokens appends <0xNN> for every byte of text, if all of them exist.
func appendByteTokens(ids []int32, vocab map[string]int32, text string) ([]int32, bool) {
	from := len(ids)
	name := []byte("<0x00>")
	for i := range len(text) {
		name[3], name[4] = hexDigits[text[i]>>4], hexDigits[text[i]&15]
		id, ok := vocab[string(name)]
		if !ok {
			return ids[:from], false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// fewSymbols is the length up to which searching all pairs again after each merge
// beats a heap (BenchmarkMerge).
const fewSymbols = 48

// merge applies the merges to ids in place and returns how many are left.
func (m *bpe) merge(s *scratch, ids []int32) int {
	switch {
	case len(ids) < 2:
		return len(ids)
	case len(ids) > fewSymbols:
		return m.mergeMany(s, ids)
	}
	var found [fewSymbols]mergeEntry
	last := len(ids) - 1
	for i := range last {
		found[i] = m.merges.get(ids[i], ids[i+1])
	}
	for last > 0 {
		best, rank := 0, uint32(math.MaxUint32)
		for i := range last {
			if found[i].rank < rank {
				best, rank = i, found[i].rank
			}
		}
		if rank == math.MaxUint32 {
			break
		}
		ids[best] = found[best].id
		copy(ids[best+1:], ids[best+2:last+1])
		copy(found[best:], found[best+1:last])
		last--
		if best < last {
			found[best] = m.merges.get(ids[best], ids[best+1])
		}
		if best > 0 {
			found[best-1] = m.merges.get(ids[best-1], ids[best])
		}
	}
	return last + 1
}

// mergeMany is merge with a heap of candidates, for pieces of any length.
func (m *bpe) mergeMany(s *scratch, ids []int32) int {
	n := len(ids)
	if cap(s.links) < n {
		s.links = make([]link, n)
	}
	links := s.links[:n]
	queue := s.queue[:0]
	for i := range n {
		links[i] = link{prev: int32(i - 1), next: int32(i + 1)}
		if i+1 < n {
			if e := m.merges.get(ids[i], ids[i+1]); e.rank != math.MaxUint32 {
				queue = append(queue, candidate{rank: e.rank, pos: int32(i), id: e.id})
			}
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		top := queue.pop()
		at := top.pos
		next := links[at].next
		if ids[at] < 0 || int(next) >= n {
			continue
		}
		if e := m.merges.get(ids[at], ids[next]); e.rank == math.MaxUint32 || e.id != top.id {
			continue // one of the two has changed since
		}
		ids[at], ids[next] = top.id, -1
		after := links[next].next
		links[at].next = after
		if int(after) < n {
			links[after].prev = at
			if e := m.merges.get(ids[at], ids[after]); e.rank != math.MaxUint32 {
				queue.push(candidate{rank: e.rank, pos: at, id: e.id})
			}
		}
		if prev := links[at].prev; prev >= 0 {
			if e := m.merges.get(ids[prev], ids[at]); e.rank != math.MaxUint32 {
				queue.push(candidate{rank: e.rank, pos: prev, id: e.id})
			}
		}
	}
	s.queue = queue
	kept := 0
	for _, id := range ids {
		if id >= 0 {
			ids[kept] = id
			kept++
		}
	}
	return kept
}

type link struct{ prev, next int32 }

type candidate struct {
	rank uint32
	pos  int32
	id   int32
}

// candidates is a heap: lowest rank first, then the leftmost.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	if c[i].rank != c[j].rank {
		return c[i].rank < c[j].rank
	}
	return c[i].pos < c[j].pos
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any     { return c.pop() }

// push and pop are container/heap's without its boxing of every element.
func (c *candidates) push(x candidate) {
	*c = append(*c, x)
	list := *c
	for i := len(list) - 1; i > 0; {
		parent := (i - 1) / 2
		if !list.Less(i, parent) {
			break
		}
		list.Swap(i, parent)
		i = parent
	}
}

func (c *candidates) pop() candidate {
	list := *c
	top := list[0]
	last := len(list) - 1
	list[0] = list[last]
	list = list[:last]
	*c = list
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && list.Less(child+1, child) {
			child++
		}
		if !list.Less(child, i) {
			break
		}
		list.Swap(i, child)
		i = child
	}
	return top
}

type mergeEntry struct {
	rank uint32 // math.MaxUint32: the pair does not merge
	id   int32
}

// mergeTable maps a pair of ids to its merge: open addressing over one slice,
// since this look-up is the heart of an encoding.
type mergeTable struct {
	slots []mergeSlot
	shift uint
}

type mergeSlot struct {
	left, right int32
	mergeEntry
}

func newMergeTable(n int) mergeTable {
	bits := uint(4)
	for 1<<bits < 2*n {
		bits++
	}
	t := mergeTable{slots: make([]mergeSlot, 1<<bits), shift: 64 - bits}
	for i := range t.slots {
		t.slots[i] = mergeSlot{left: -1, right: -1, mergeEntry: mergeEntry{rank: math.MaxUint32}}
	}
	return t
}

func (t *mergeTable) start(left, right int32) int {
	return int((uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9E3779B97F4A7C15 >> t.shift)
}

func (t *mergeTable) get(left, right int32) mergeEntry {
	for i := t.start(left, right); ; i = (i + 1) & (len(t.slots) - 1) {
		slot := &t.slots[i]
		if slot.left == left && slot.right == right || slot.left < 0 {
			return slot.mergeEntry
		}
	}
}

func (t *mergeTable) put(left, right int32, rank uint32, id int32) {
	i := t.start(left, right)
	for t.slots[i].left >= 0 && (t.slots[i].left != left || t.slots[i].right != right) {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = mergeSlot{left: left, right: right, mergeEntry: mergeEntry{rank: rank, id: id}}
}

// byteRunes are the printable characters that stand for bytes in a byte-level
// vocabulary: printable Latin-1 for itself, the rest from U+0100 on, in order.
var byteRunes = func() (table [256]rune) {
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			table[b] = b
		} else {
			table[b] = next
			next++
		}
	}
	return table
}()

// runeBytes is byteRunes backwards: -1 for other characters.
var runeBytes = func() (table [324]int16) {
	for i := range table {
		table[i] = -1
	}
	for b, r := range byteRunes {
		table[r] = int16(b)
	}
	return table
}()

// toByteRunes writes text as the characters that stand for its bytes.
func toByteRunes(text string) string {
	var out strings.Builder
	out.Grow(2 * len(text))
	for i := range len(text) {
		out.WriteRune(byteRunes[text[i]])
	}
	return out.String()
}

// fromByteRunes appends the bytes that token stands for; ok is false, and dst as
// it was, when it holds any other character.
func fromByteRunes(dst []byte, token string) (_ []byte, ok bool) {
	from := len(dst)
	for _, r := range token {
		if int(r) >= len(runeBytes) || runeBytes[r] < 0 {
			return dst[:from], false
		}
		dst = append(dst, byte(runeBytes[r]))
	}
	return dst, true
}
