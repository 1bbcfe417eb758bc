package sim

import "container/heap"

// byDue is a heap of sequences by when their next token is due, then by arrival.
type byDue []*sequence

func (h byDue) Len() int { return len(h) }
func (h byDue) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].job.log.Request < h[j].job.log.Request
}
func (h byDue) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byDue) Push(x any)   { *h = append(*h, x.(*sequence)) }
func (h *byDue) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (e *engine) push(s *sequence) { heap.Push((*byDue)(&e.fixed), s) }

// deliverDue hands out all tokens that are due, and says when the next one is. With fixed delays a step
// is whatever was due at one wake-up. It computed since shortly before, so that a trace holds steps that do not
// overlap and that ended before their tokens went out.
func (e *engine) deliverDue() (next int64) {
	now := e.clock.now()
	var due []part
	for len(e.fixed) > 0 && (e.fixed[0].due <= now || e.fixed[0].isAborted) {
		s := heap.Pop((*byDue)(&e.fixed)).(*sequence)
		if s.isAborted {
			continue
		}
		n := 1
		if s.isPrompt() {
			n = len(s.prompt)
			s.scheduled = s.arrived
			e.metrics.admitted(s)
		}
		due = append(due, part{s, n, s.isPrompt()})
	}
	e.metrics.gauges(len(e.fixed)+len(due), 0, 0)
	if len(due) == 0 {
		return e.nextDue()
	}
	e.iteration++
	batches := e.batches(due)
	began := max(e.ended, now-int64(max(e.cfg.BetweenTokens, e.cfg.FirstToken))/2)
	length := (now - began) / int64(len(batches))
	for _, batch := range batches {
		s := e.plan(batch, now, now)
		s.Began, s.DeviceBegan, s.turn = began, began, began
		began += length
		s.Dispatched, s.DeviceEnded, s.Ended, s.Compile = began, began, now, 0
		for _, p := range batch {
			p.computed += p.tokens
			s.NewTokens += e.give(p.sequence, &s)
			if p.finish == "" {
				p.due += int64(e.cfg.BetweenTokens)
				e.push(p.sequence)
			}
		}
		e.metrics.step(s.PromptTokens + s.Sequences)
		e.steps.add(s)
		e.onStep(&s)
	}
	e.ended = now
	e.metrics.gauges(len(e.fixed), 0, 0)
	return e.nextDue()
}

func (e *engine) nextDue() int64 {
	if len(e.fixed) == 0 {
		return never
	}
	return e.fixed[0].due
}
