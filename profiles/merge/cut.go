package merge

import (
	"cmp"
	"slices"
)

// cut assigns where long prompts were cut over several steps. Every step says how many prompts were in it and how
// many tokens of theirs it computed, and the engine's rule is known: a step has room for so many tokens, prompts
// begun go first, and only the last prompt of a step can be cut. So prompts are completed in the order in which
// they begin, and the requests are tried as a puzzle: in the order of their first tokens to begin with, in
// others where that does not come out even. Without a solution nothing is linked.
//
// Two things can make a solution another one as well: prompts of one length changing places, and neighbours
// changing their order. A request that neither can touch is called unique.
func (m *matching) cut(links []link) {
	c := &cutter{matching: m, budget: 200_000 + 100*len(m.prefills)}
	c.begun = make([]bool, len(m.served))
	for i := range m.served {
		c.queue = append(c.queue, i)
	}
	slices.SortStableFunc(c.queue, func(a, b int) int {
		return cmp.Compare(m.requests[m.served[a]].first(), m.requests[m.served[b]].first())
	})
	c.before = make([]cutState, len(m.prefills)+1)
	if !c.solve(0, cutState{}, 0) {
		return
	}
	first, last := make([]int, len(m.served)), make([]int, len(m.served))
	for i := range first {
		first[i], last[i] = -1, -1
	}
	for s, members := range c.members {
		for _, i := range members {
			if first[i] < 0 {
				first[i] = s
			}
			last[i] = s
		}
	}
	doubt := c.exchanged(first, last)
	for at := 0; at+1 < len(c.order); at++ {
		a, b := c.order[at], c.order[at+1]
		if doubt[a] && doubt[b] || m.from[b] >= m.to[a] || c.need(a) == c.need(b) {
			continue
		}
		if c.swaps(at, first[a]) {
			doubt[a], doubt[b] = true, true
		}
	}
	for i, at := range m.served {
		if first[i] < 0 {
			continue
		}
		l := &links[at]
		l.first, l.last, l.ambiguous = m.prefills[first[i]], m.prefills[last[i]], doubt[i]
	}
}

// A cutter solves the puzzle. Requests and steps are numbered as in the matching.
type cutter struct {
	*matching
	budget  int        // tries that are left
	queue   []int      // requests, in the order in which they are tried
	begun   []bool     // by position in queue
	order   []int      // requests, as they began
	members [][]int    // requests by step
	before  []cutState // by step
}

// A cutState is what a step finds.
type cutState struct {
	open  []cutPrompt // prompts begun and not complete
	begun int         // requests begun: the length of order
}

type cutPrompt struct{ request, left int }

func (s cutState) equal(t cutState) bool { return s.begun == t.begun && slices.Equal(s.open, t.open) }

func (c *cutter) need(i int) int { return c.requests[c.served[i]].computed() }

func (c *cutter) within(i, s int) bool { return s >= c.from[i] && s < c.to[i] }

// enter puts prompts into step s. It is false when the counts, the rule or the times say no.
func (c *cutter) enter(s int, state cutState, news []int) (after cutState, ok bool) {
	step := &c.steps[c.prefills[s]]
	if len(state.open)+len(news) != step.Prompts {
		return cutState{}, false
	}
	room := step.PromptTokens
	put := func(p cutPrompt, final bool) bool {
		if !c.within(p.request, s) || room <= 0 {
			return false
		}
		spent := min(p.left, room)
		room -= spent
		if spent < p.left {
			if !final {
				return false
			}
			after.open = append(after.open, cutPrompt{p.request, p.left - spent})
		}
		return true
	}
	n := 0
	for _, p := range state.open {
		if n++; !put(p, n == step.Prompts) {
			return cutState{}, false
		}
	}
	for _, i := range news {
		if n++; !put(cutPrompt{i, c.need(i)}, n == step.Prompts) {
			return cutState{}, false
		}
	}
	after.begun = state.begun + len(news)
	return after, room == 0
}

// furthest is how many of those that wait are tried for one place: they come nearly in order.
const furthest = 8

// solve fills step s and those after it. All of the queue before low have begun.
func (c *cutter) solve(s int, state cutState, low int) bool {
	c.before[s] = state
	if s == len(c.prefills) {
		return len(state.open) == 0 && len(c.order) == len(c.served)
	}
	missing := c.steps[c.prefills[s]].Prompts - len(state.open)
	if missing < 0 {
		return false
	}
	return c.choose(s, state, missing, nil, low)
}

// choose picks the prompts that begin in step s, one after the other.
func (c *cutter) choose(s int, state cutState, missing int, news []int, low int) bool {
	if c.budget--; c.budget < 0 {
		return false
	}
	if missing == 0 {
		after, ok := c.enter(s, state, news)
		if !ok {
			return false
		}
		var members []int
		for _, p := range state.open {
			members = append(members, p.request)
		}
		c.members = append(c.members[:s], append(members, news...))
		c.order = append(c.order[:state.begun], news...)
		if c.solve(s+1, after, low) {
			return true
		}
		c.order = c.order[:state.begun]
		return false
	}
	for low < len(c.begun) && c.begun[low] {
		low++
	}
	tried := 0
	for at := low; at < len(c.queue) && at < low+4*furthest && tried < furthest; at++ {
		i := c.queue[at]
		if c.begun[at] || c.from[i] > s {
			continue
		}
		tried++
		if !c.within(i, s) {
			continue
		}
		c.begun[at] = true
		if c.choose(s, state, missing-1, append(news, i), low) {
			return true
		}
		c.begun[at] = false
	}
	return false
}

// swaps says whether the solution also comes out when the requests at `at` and after it begin in the other
// order. s is the step in which the first of them began.
func (c *cutter) swaps(at, s int) bool {
	order := func(k int) int {
		switch k {
		case at:
			k = at + 1
		case at + 1:
			k = at
		}
		return c.order[k]
	}
	state := c.before[s]
	for ; s < len(c.prefills); s++ {
		missing := c.steps[c.prefills[s]].Prompts - len(state.open)
		if missing < 0 || state.begun+missing > len(c.order) {
			return false
		}
		var news []int
		for k := range missing {
			news = append(news, order(state.begun+k))
		}
		var ok bool
		if state, ok = c.enter(s, state, news); !ok {
			return false
		}
		if state.begun >= at+2 && state.equal(c.before[s+1]) {
			return true // from here on nothing differs
		}
	}
	return len(state.open) == 0
}

// exchanged finds the requests that could change places with others of one length.
func (c *cutter) exchanged(first, last []int) []bool {
	doubt := make([]bool, len(c.served))
	groups := make(map[int][]int)
	for _, i := range c.order {
		groups[c.need(i)] = append(groups[c.need(i)], i)
	}
	for _, group := range groups {
		if len(group) < 2 {
			continue
		}
		reach := make([][]int32, len(group))
		edges := 0
		for k, i := range group {
			// They began in order, so those whose steps are in i's window are neighbours.
			for _, side := range []int{-1, 1} {
				for n := k + side; n >= 0 && n < len(group) && edges <= mostEdges; n += side {
					o := group[n]
					if first[o] < c.from[i] && side < 0 || first[o] >= c.to[i] {
						break
					}
					if first[o] >= c.from[i] && last[o] < c.to[i] {
						reach[k] = append(reach[k], int32(n))
						edges++
					}
				}
			}
		}
		component := components(reach)
		size := make(map[int]int)
		for _, n := range component {
			size[n]++
		}
		for k, i := range group {
			doubt[i] = size[component[k]] > 1 || edges > mostEdges
		}
	}
	return doubt
}
