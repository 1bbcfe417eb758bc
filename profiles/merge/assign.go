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
		asked += q.computed()
		known = known && q.prompt > 0
	}
	if len(served) == 0 || len(prefills) == 0 {
		return links
	}

	m := &matching{slack: slack, requests: requests, steps: steps, served: served, prefills: prefills}
	m.window()
	switch {
	case counted && prompts > len(served) && known && promptTokens == asked:
		m.cut(links)
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
	return !m.exact || step.Prompts != 1 || step.PromptTokens == m.requests[m.served[i]].computed()
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

// finish finds the step of each request's last token. An engine runs a request in every step that generates, one
// token a step, until it is done. So the requests are followed through the steps, and where that gives
// every step of a request as many requests as the step says it had, that is how it was. Elsewhere it is the
// last step that ended before the token was seen.
func finish(requests []*request, steps []Step, links []link, slack int64) {
	f := &following{requests: requests, links: links, done: make([][]int, len(steps)), before: -1, agrees: []int{0}}
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
		l.final = -1
		f.done[l.last] = append(f.done[l.last], i)
	}
	f.mixes = slices.ContainsFunc(steps, func(s Step) bool { return s.Phase == Mixed })
	for s := range steps {
		if d := steps[s].Decodes; d > 0 || d < 0 && (steps[s].Phase == Decode || steps[s].Phase == Mixed) {
			f.generate(s, d)
		}
		f.complete(s, steps[s].Start)
	}
	for i, q := range requests {
		l := &links[i]
		if !l.found() || q.tokens == 1 || l.sure && steps[l.final].End <= q.last()+slack {
			continue
		}
		// By time: the last step that generates and ended before the last token was seen.
		k, _ := slices.BinarySearchFunc(f.generating, q.last()+slack+1, func(s int, t int64) int { return cmp.Compare(steps[s].End, t) })
		l.final, l.sure = l.last, false
		if k > 0 && f.generating[k-1] > l.last {
			l.final = f.generating[k-1]
		}
	}
}

// A following is the state of an engine as far as the links tell, from step to step.
type following struct {
	requests []*request
	links    []link
	done     [][]int // requests by the step that completed their prompt
	mixes    bool    // prompts and decodes share steps

	running []follower
	fresh   []follower // prompts complete, not generating yet
	before  int        // the last step that generated; -1 none
	seen    int64      // when the last token of all requests so far was seen
	lost    bool       // the counts disagreed, and nobody knows who is running

	generating []int // steps
	agrees     []int // how many of the first n of them agree
}

// A follower is a request in the engine.
type follower struct {
	request, left int
	prompted      int // the step that completed its prompt
	joined        int // the generating step it was first in
}

// complete takes in the requests whose prompts step s completed.
func (f *following) complete(s int, start int64) {
	if f.lost && len(f.running)+len(f.fresh) == 0 && start > f.seen {
		f.lost = false // the engine was idle: whatever was unknown is over
	}
	for _, i := range f.done[s] {
		f.fresh = append(f.fresh, follower{request: i, left: f.requests[i].tokens - 1, prompted: s})
		f.seen = max(f.seen, f.requests[i].last())
	}
}

// generate runs a step that generates for d requests; -1 is unknown.
func (f *following) generate(s, d int) {
	n := f.joining(d)
	for _, r := range f.fresh[:n] {
		r.joined = len(f.generating)
		f.running = append(f.running, r)
	}
	f.fresh = slices.Delete(f.fresh, 0, n)
	agrees := f.agrees[len(f.agrees)-1]
	if len(f.running) == d && !f.lost {
		agrees++
	} else {
		f.lost = true
	}
	f.agrees = append(f.agrees, agrees)
	f.generating = append(f.generating, s)
	f.before = s
	still := f.running[:0]
	for _, r := range f.running {
		if r.left--; r.left > 0 {
			still = append(still, r)
			continue
		}
		l := &f.links[r.request]
		l.final = s
		l.sure = !l.ambiguous && f.agrees[len(f.generating)]-f.agrees[r.joined] == len(f.generating)-r.joined
	}
	f.running = still
}

// joining is how many of the fresh begin to generate in a step for d. All do, where prompts and decodes share
// steps. An engine that takes turns of steps with prompts and one that generates (Gaudi) lets those whose
// prompts are of the same turn wait for the next; the count tells where the turn began.
func (f *following) joining(d int) int {
	if f.mixes || len(f.running)+len(f.fresh) == d {
		return len(f.fresh)
	}
	for n := range f.fresh {
		ofThisTurn := f.fresh[n].prompted > f.before
		sameBatch := n > 0 && f.fresh[n-1].prompted == f.fresh[n].prompted
		if ofThisTurn && !sameBatch && len(f.running)+n == d {
			return n
		}
	}
	return len(f.fresh)
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
