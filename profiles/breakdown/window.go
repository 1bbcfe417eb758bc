package breakdown

import (
	"fmt"
	"strings"
)

// StepWindow is the stretch of time that the steps first to last take, counted from 1 in
// the order of time in the leading file, with the device work they started. It is on the
// clock of the first file, as trace.Cut wants it.
func (r *Report) StepWindow(first, last int) (start, end int64, err error) {
	steps := r.leading()
	if first < 1 || last < first {
		return 0, 0, fmt.Errorf("steps %d..%d are none: they are counted from 1", first, last)
	}
	if first > len(steps) {
		return 0, 0, fmt.Errorf("step %d was asked for, but the trace has %d", first, len(steps))
	}
	return windowOf(steps[first-1 : min(last, len(steps))])
}

// Around is the stretch of time around something worth seeing: "slowest-step" with the
// steps before and after it, "compile" (the longest one, with the steps around it), or
// "request:ID", a request of a merged trace.
func (r *Report) Around(what string) (start, end int64, err error) {
	steps := r.leading()
	switch {
	case what == "slowest-step":
		slowest := -1
		for i, s := range steps {
			if slowest < 0 || s.length() > steps[slowest].length() {
				slowest = i
			}
		}
		if slowest < 0 {
			return 0, 0, fmt.Errorf("the trace has no steps to be the slowest")
		}
		return windowOf(steps[max(slowest-1, 0):min(slowest+2, len(steps))])
	case what == "compile":
		if r.Compiles == nil || len(r.Compiles.List)+len(r.Compiles.CaptureList) == 0 {
			return 0, 0, fmt.Errorf("the trace has no recompilation")
		}
		list := r.Compiles.List
		if len(list) == 0 {
			list = r.Compiles.CaptureList
		}
		c := list[0]
		start, end = c.Start, c.Start+c.Total
		for _, s := range steps {
			// The step that holds it, and its neighbours.
			if s.HostStart <= c.Start && c.Start < s.HostStart+s.HostNS {
				from, to, err := windowOf([]*Step{s})
				return min(start, from), max(end, to), err
			}
		}
		margin := max(c.Total/10, 1000)
		return start - margin, end + margin, nil
	case strings.HasPrefix(what, "request:"):
		id := strings.TrimPrefix(what, "request:")
		if r.Requests == nil {
			return 0, 0, fmt.Errorf("the trace holds no requests: only a merged one does")
		}
		for _, q := range r.Requests.List {
			if q.Name == id || q.Name == "req "+id {
				return q.Start, q.End, nil
			}
		}
		return 0, 0, fmt.Errorf("the trace holds no request %s", id)
	}
	return 0, 0, fmt.Errorf("nothing is called %q: have slowest-step, compile, request:ID", what)
}

// leading are the steps that phases are about.
func (r *Report) leading() []*Step {
	var out []*Step
	for i := range r.Steps {
		if !r.Steps[i].Aside {
			out = append(out, &r.Steps[i])
		}
	}
	return out
}

// length is how long a step took, device work included.
func (s *Step) length() int64 {
	end := s.HostStart + s.HostNS
	if s.DevEnd != nil {
		end = max(end, *s.DevEnd)
	}
	return end - s.HostStart
}

func windowOf(steps []*Step) (start, end int64, err error) {
	start, end = steps[0].HostStart, steps[0].HostStart
	for _, s := range steps {
		start, end = min(start, s.HostStart), max(end, s.HostStart+s.length())
	}
	return start, end, nil
}
