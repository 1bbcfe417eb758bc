package sim

import "container/list"

// A prefixCache remembers which full blocks of tokens were computed. It keeps no tokens, only
// a hash of everything up to the block's end.
type prefixCache struct {
	size   int // tokens in a block
	limit  int // blocks
	recent *list.List
	known  map[uint64]*list.Element
}

func newPrefixCache(size, limit int) *prefixCache {
	return &prefixCache{size: size, limit: limit, recent: list.New(), known: make(map[uint64]*list.Element)}
}

// blocks calls see for the hash of each full block of the sequence's first n tokens until it returns false.
func (p *prefixCache) blocks(s *sequence, n int, see func(uint64) bool) {
	h := uint64(0)
	for i := range n / p.size * p.size {
		id := 0
		if i < len(s.prompt) {
			id = s.prompt[i]
		} else {
			id = s.output[i-len(s.prompt)]
		}
		h = mix(h ^ uint64(id))
		if (i+1)%p.size == 0 && !see(h) {
			return
		}
	}
}

// find is the number of tokens at the sequence's beginning that need no computing. The last
// one always does: something has to yield the next token.
func (p *prefixCache) find(s *sequence) int {
	found := 0
	p.blocks(s, s.total()-1, func(h uint64) bool {
		e, ok := p.known[h]
		if ok {
			p.recent.MoveToFront(e)
			found += p.size
		}
		return ok
	})
	return found
}

func (p *prefixCache) add(s *sequence, n int) {
	p.blocks(s, n, func(h uint64) bool {
		if e, ok := p.known[h]; ok {
			p.recent.MoveToFront(e)
			return true
		}
		p.known[h] = p.recent.PushFront(h)
		if p.recent.Len() > p.limit {
			oldest := p.recent.Back()
			p.recent.Remove(oldest)
			delete(p.known, oldest.Value.(uint64))
		}
		return true
	})
}

func (p *prefixCache) reset() {
	p.recent.Init()
	clear(p.known)
}
