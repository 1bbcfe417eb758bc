package merge

import (
	"cmp"
	"container/heap"
	"slices"
)

// A link says which steps served a request. Steps are indices; -1 is none.
type link struct {
	// first and last are the steps in which its prompt was computed; more than one when the prompt was
	// cut into chunks.
	first, last int
	// ambiguous says that another step could have been it, as far as the trace tells.
	ambiguous bool
	// final is the step that computed its last token; sure says that the counts of all steps agree with it.
	final int
	sure  bool
}

func (l *link) found() bool { return l.first >= 0 }

// mostEdges bounds the work of telling what is unique. Beyond it everything counts as ambiguous.
const mostEdges = 16_000_000

// assign links requests, in the order of sending, to steps, in the order of time. slack is how wrong a
// comparison of their times can be.
//
// Engines take requests in the order of their arrival, so that is how steps are filled, each with as many
// prompts as its name says. A link is unique when no exchange with other requests would also fit.
func assign(requests []*request, steps []Step, slack int64) []link {
	links := make([]link, len(requests))
	for i := range links {
		links[i] = link{first: -1, last: -1, final: -1}
	}
	var prefills []int // indices of steps with prompts
	counted := true
	prompts, promptTokens := 0, 0
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Prompts > 0:
			prefills = append(prefills, i)
			prompts += s.Prompts
			promptTokens += max(0, s.PromptTokens)
		case s.Prompts < 0 && (s.Phase == Prefill || s.Phase == Mixed):
			prefills = append(prefills, i)
			counted = false
		}
	}
	var served []int // indices of requests that got a token
	asked, known := 0, true
	for i, q := range requests {
		if q.first() == 0 {
			continue
		}
		served = append(served, i)
		asked += q.prompt
		known = known && q.prompt > 0
	}
	if len(served) == 0 || len(prefills) == 0 {
		return links
	}

	m := &matching{slack: slack, requests: requests, steps: steps, served: served, prefills: prefills}
	m.window()
	switch {
	case counted && prompts > len(served) && known && promptTokens == asked:
		m.chunks(links)
	case !counted:
		m.uncounted(links)
	default:
		m.fill(prompts == len(served) && known && promptTokens == asked)
		m.tell(links, prompts == len(served) && !slices.Contains(m.assigned, -1))
	}
	finish(requests, steps, links, slack)
	return links
}

// A matching assigns served requests to prefill steps. Both are numbered by their position in served and
// prefills.
type matching struct {
	slack    int64
	requests []*request
	steps    []Step
	served   []int
	prefills []int

	from, to []int // the steps that a request could have been in: [from, to)
	exact    bool  // the counts of tokens agree: a lone prompt's length says whose it is
	assigned []int // by request; -1 none
}

// window finds for each request the prefill steps that began after it was sent and ended before its
// first token was seen. Steps are in order of time and do not overlap, so they are a stretch.
func (m *matching) window() {
	m.from, m.to = make([]int, len(m.served)), make([]int, len(m.served))
	for i, at := range m.served {
		q := m.requests[at]
		m.from[i], _ = slices.BinarySearchFunc(m.prefills, q.send-m.slack, func(s int, t int64) int { return cmp.Compare(m.steps[s].Start, t) })
		m.to[i], _ = slices.BinarySearchFunc(m.prefills, q.first()+m.slack+1, func(s int, t int64) int { return cmp.Compare(m.steps[s].End, t) })
		m.to[i] = max(m.to[i], m.from[i])
	}
}

// fits says whether request i could have been in step s of its window.
func (m *matching) fits(i, s int) bool {
	if s < m.from[i] || s >= m.to[i] {
		return false
	}
	step := &m.steps[m.prefills[s]]
	return !m.exact || step.Prompts != 1 || step.PromptTokens == m.requests[m.served[i]].prompt
}

// fill assigns in the order of sending; where that leaves a request out that another order would not, by
// the earliest deadline, which finds a complete assignment whenever there is one.
func (m *matching) fill(exact bool) {
	best := -1
	for _, try := range []struct{ exact, bySend bool }{{exact, true}, {exact, false}, {false, true}, {false, false}} {
		m.exact = try.exact
		assigned, n := m.order(try.bySend)
		if n > best {
			best = n
			m.assigned = assigned
			exact = try.exact
		}
		if best == len(m.served) {
			break
		}
	}
	m.exact = exact
}

// order fills steps in order of time with the requests that are there, by sending or by deadline.
func (m *matching) order(bySend bool) (assigned []int, n int) {
	assigned = make([]int, len(m.served))
	for i := range assigned {
		assigned[i] = -1
	}
	byStart := make([]int, len(m.served))
	for i := range byStart {
		byStart[i] = i
	}
	slices.SortStableFunc(byStart, func(a, b int) int { return cmp.Compare(m.from[a], m.from[b]) })
	waiting := &queue{less: func(a, b int) bool {
		if !bySend && m.to[a] != m.to[b] {
			return m.to[a] < m.to[b]
		}
		return a < b
	}}
	next := 0
	for s, at := range m.prefills {
		for next < len(byStart) && m.from[byStart[next]] <= s {
			heap.Push(waiting, byStart[next])
			next++
		}
		room := m.steps[at].Prompts
		var back []int
		for room > 0 && waiting.Len() > 0 {
			i := heap.Pop(waiting).(int)
			switch {
			case s >= m.to[i]: // its first token came before
			case !m.fits(i, s):
				back = append(back, i)
			default:
				assigned[i] = s
				n++
				room--
			}
		}
		for _, i := range back {
			heap.Push(waiting, i)
		}
	}
	return assigned, n
}

// tell writes the assignment into links and marks what is not unique. whole says that the steps hold
// as many prompts as there are requests, so that no place in them is somebody else's.
//
// Think of steps as places and draw an arrow from s to u when a request in s could be in u. A request can
// be somewhere else exactly when its step lies on a circle that begins with such an arrow: then
// everybody on the circle moves on by one. Free places are one more node, from and to which one can
// move when the steps are not whole. Requests left out are another: each step could give one up to it, and
// it could fill the steps of their windows.
func (m *matching) tell(links []link, whole bool) {
	n := len(m.prefills)
	free, out := n, n+1 // the nodes of free places and of requests left out
	taken := make([]int, n)
	edges := 0
	for i, s := range m.assigned {
		if s >= 0 {
			taken[s]++
		}
		edges += m.to[i] - m.from[i]
	}
	component := make([]int, n+2)
	if edges <= mostEdges {
		reach := make([][]int32, n+2)
		for i, s := range m.assigned {
			if s < 0 {
				s = out
			}
			for u := m.from[i]; u < m.to[i]; u++ {
				if u != s && m.fits(i, u) {
					reach[s] = append(reach[s], int32(u))
				}
			}
		}
		for s := range n {
			if taken[s] < m.steps[m.prefills[s]].Prompts {
				reach[s] = append(reach[s], int32(free))
			}
			if !whole {
				reach[free] = append(reach[free], int32(s))
			}
			reach[s] = append(reach[s], int32(out))
			slices.Sort(reach[s])
			reach[s] = slices.Compact(reach[s])
		}
		component = components(reach)
	}
	for i, s := range m.assigned {
		if s < 0 {
			continue
		}
		l := &links[m.served[i]]
		l.first, l.last = m.prefills[s], m.prefills[s]
		l.ambiguous = component[s] == component[out]
		for u := m.from[i]; u < m.to[i] && !l.ambiguous; u++ {
			l.ambiguous = u != s && m.fits(i, u) && component[u] == component[s]
		}
	}
}

// uncounted assigns where steps do not say how many prompts they hold.
func (m *matching) uncounted(links []link) {
	for i, at := range m.served {
		if m.from[i] == m.to[i] {
			continue
		}
		l := &links[at]
		l.first, l.last = m.prefills[m.from[i]], m.prefills[m.from[i]]
		l.ambiguous = m.to[i]-m.from[i] > 1
	}
}

// chunks assigns where long prompts were cut over several steps: requests are taken in the order of
// sending, and every step spends its prompt tokens on them, a prompt begun before all others. The counts
// of tokens agree over the run, so a step that does not come out even tells that the order was
// another; from there on everything is ambiguous.
func (m *matching) chunks(links []link) {
	type partial struct{ i, left int }
	var open []partial
	next := 0
	doubt := false
	holders := make([]int, len(m.prefills)) // requests in each step
	for s, at := range m.prefills {
		step := &m.steps[at]
		budget := step.PromptTokens
		var now []partial
		now = append(now, open...)
		for len(now) < step.Prompts && next < len(m.served) {
			now = append(now, partial{next, m.requests[m.served[next]].prompt})
			next++
		}
		if len(now) != step.Prompts {
			doubt = true
		}
		open = open[:0]
		holders[s] = len(now)
		for k, p := range now {
			l := &links[m.served[p.i]]
			if l.first < 0 {
				l.first = at
			}
			l.last = at
			spent := min(p.left, budget)
			if spent < p.left && k < len(now)-1 {
				doubt = true // only the last of a step is cut
			}
			budget -= spent
			if p.left -= spent; p.left > 0 {
				open = append(open, p)
			}
			l.ambiguous = l.ambiguous || doubt
		}
		if budget != 0 {
			doubt = true
		}
	}
	for i, at := range m.served {
		l := &links[at]
		if !l.found() {
			continue
		}
		first, _ := slices.BinarySearch(m.prefills, l.first)
		last, _ := slices.BinarySearch(m.prefills, l.last)
		if first < m.from[i] || last >= m.to[i] {
			*l = link{first: -1, last: -1, final: -1} // it cannot have been: better none than a wrong one
			continue
		}
		// Alone in all steps of its window, it cannot be exchanged.
		for u := m.from[i]; u < m.to[i]; u++ {
			if u < first || u > last || holders[u] > 1 {
				l.ambiguous = true
			}
		}
	}
}

// finish finds the step of each request's last token. An engine runs a request in every step that
// generates until it is done, one token a step: when counting so gives every step as many requests as its
// name says, that is how it was. Elsewhere it is the last step that ended before the token was seen.
func finish(requests []*request, steps []Step, links []link, slack int64) {
	var generating []int // steps with decodes, in order
	position := make([]int, len(steps)+1)
	for i := range steps {
		position[i] = len(generating)
		if steps[i].Decodes > 0 || steps[i].Decodes < 0 && (steps[i].Phase == Decode || steps[i].Phase == Mixed) {
			generating = append(generating, i)
		}
	}
	position[len(steps)] = len(generating)
	change := make([]int, len(generating)+1) // of the number of requests generating
	for i, q := range requests {
		l := &links[i]
		if !l.found() || q.tokens == 0 {
			continue
		}
		l.final = l.last
		if q.tokens == 1 {
			l.sure = !l.ambiguous
			continue
		}
		begin := position[l.last+1]
		end := begin + q.tokens - 1
		if end > len(generating) || steps[generating[end-1]].End > q.last()+slack {
			l.final = -1
			continue
		}
		l.final = generating[end-1]
		change[begin]++
		change[end]--
	}
	agrees := make([]int, len(generating)+1) // how many of the first n steps agree
	now := 0
	for k, s := range generating {
		now += change[k]
		agrees[k+1] = agrees[k]
		if steps[s].Decodes == now {
			agrees[k+1]++
		}
	}
	for i, q := range requests {
		l := &links[i]
		if !l.found() || q.tokens == 1 {
			continue
		}
		if l.final >= 0 && q.tokens > 1 {
			begin := position[l.last+1]
			end := begin + q.tokens - 1
			if agrees[end]-agrees[begin] == end-begin {
				l.sure = !l.ambiguous
				continue
			}
		}
		// By time: the last step that generates and ended before the last token was seen.
		k, _ := slices.BinarySearchFunc(generating, q.last()+slack+1, func(s int, t int64) int { return cmp.Compare(steps[s].End, t) })
		l.final = l.last
		if k > 0 && generating[k-1] > l.last {
			l.final = generating[k-1]
		}
	}
}

// components numbers the strongly connected components of a graph (Tarjan's algorithm, without
// recursion: chains of steps are long).
func components(reach [][]int32) []int {
	n := len(reach)
	index, low, component := make([]int, n), make([]int, n), make([]int, n)
	for i := range component {
		component[i] = -1
	}
	type frame struct{ node, edge int }
	var stack []int
	var calls []frame
	count, order := 0, 0
	for root := range n {
		if index[root] != 0 {
			continue
		}
		calls = append(calls[:0], frame{root, 0})
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			v := f.node
			if f.edge == 0 {
				order++
				index[v], low[v] = order, order
				stack = append(stack, v)
			}
			if f.edge < len(reach[v]) {
				w := int(reach[v][f.edge])
				f.edge++
				switch {
				case index[w] == 0:
					calls = append(calls, frame{w, 0})
				case component[w] < 0:
					low[v] = min(low[v], index[w])
				}
				continue
			}
			if low[v] == index[v] {
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					component[w] = count
					if w == v {
						break
					}
				}
				count++
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				u := calls[len(calls)-1].node
				low[u] = min(low[u], low[v])
			}
		}
	}
	return component
}

// A queue is a heap of numbers.
type queue struct {
	items []int
	less  func(a, b int) bool
}

func (q *queue) Len() int           { return len(q.items) }
func (q *queue) Less(i, j int) bool { return q.less(q.items[i], q.items[j]) }
func (q *queue) Swap(i, j int)      { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *queue) Push(x any)         { q.items = append(q.items, x.(int)) }
func (q *queue) Pop() any {
	last := q.items[len(q.items)-1]
	q.items = q.items[:len(q.items)-1]
	return last
}
