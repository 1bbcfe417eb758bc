package merge

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"servebench/profiles"
)

// A Clock is how the server's clock stands to the client's. Theta is server minus client, in ns:
// a client's moment t is t + Theta on the server's clock. Only the client's rows are moved.
type Clock struct {
	Theta int64 `json:"theta_ns"`
	// Lo and Hi bound Theta: causes come before effects. HasLo and HasHi say which bound there is.
	Lo    int64 `json:"theta_lo_ns"`
	Hi    int64 `json:"theta_hi_ns"`
	HasLo bool  `json:"has_lo"`
	HasHi bool  `json:"has_hi"`
	// LoBy and HiBy say what the bounds come from.
	LoBy string `json:"lo_by,omitempty"`
	HiBy string `json:"hi_by,omitempty"`
	// Method says how Theta was chosen.
	Method string `json:"method"`
	// Aligned says that rows of both sides may be compared: on one host when the bounds agree with it,
	// else when the bounds are close enough.
	Aligned bool `json:"aligned"`
	// DriftLo and DriftHi bound the drift of Theta over the run in parts per million; HasDrift says that
	// the run was long enough to bound it.
	DriftLo  float64 `json:"drift_lo_ppm,omitempty"`
	DriftHi  float64 `json:"drift_hi_ppm,omitempty"`
	HasDrift bool    `json:"has_drift"`
	// Warnings are doubts about it.
	Warnings []string `json:"warnings,omitempty"`

	sameHost bool
}

// slack is how wrong a comparison of both sides can be.
func (c *Clock) slack() int64 {
	switch {
	case c.sameHost && c.Aligned:
		return 0
	case c.HasLo && c.HasHi && c.Lo <= c.Hi:
		return max(c.Theta-c.Lo, c.Hi-c.Theta)
	}
	return 0
}

// A window is what a profiler says it recorded, in Unix ns of the server's clock.
type window struct {
	start, end int64
	known      bool
	stamp      int64 // when the file's export began, from its name; 0 unknown
}

// bounds gathers inequalities of Theta.
type bounds struct {
	lo, hi     int64
	loBy, hiBy string
}

func unbounded() bounds { return bounds{lo: math.MinInt64, hi: math.MaxInt64} }

func (b *bounds) atLeast(theta int64, by string) {
	if theta > b.lo {
		b.lo, b.loBy = theta, by
	}
}

func (b *bounds) atMost(theta int64, by string) {
	if theta < b.hi {
		b.hi, b.hiBy = theta, by
	}
}

func (b *bounds) add(other bounds) {
	b.atLeast(other.lo, other.loBy)
	b.atMost(other.hi, other.hiBy)
}

func (b *bounds) hasLo() bool { return b.lo != math.MinInt64 }
func (b *bounds) hasHi() bool { return b.hi != math.MaxInt64 }

// What bounds come from.
const (
	byStart  = "start call"
	byStop   = "stop call"
	byStamp  = "file name"
	bySends  = "sent requests"
	byTokens = "received tokens"
)

// align bounds and chooses Theta. steps are on the server's clock, those that compute only.
func align(marks profiles.Marks, windows []window, requests []*request, steps []Step, sameHost bool, limit time.Duration) Clock {
	c := Clock{sameHost: sameHost}
	early, late := unbounded(), unbounded()
	boundByCalls(marks, windows, &early, &late)
	boundByRequests(requests, steps, &early, &late)
	b := early
	b.add(late)
	c.HasLo, c.HasHi = b.hasLo(), b.hasHi()
	if c.HasLo {
		c.Lo, c.LoBy = b.lo, b.loBy
	}
	if c.HasHi {
		c.Hi, c.HiBy = b.hi, b.hiBy
	}
	width := time.Duration(math.MaxInt64)
	if c.HasLo && c.HasHi {
		width = time.Duration(b.hi - b.lo)
	}
	verified := strings.Join(sources(b), " and ")

	switch {
	case c.HasLo && c.HasHi && width < 0:
		c.Theta = b.lo + (b.hi-b.lo)/2
		c.Method = "none: the bounds contradict each other"
		if sameHost {
			c.Theta = 0
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("clocks: by the %s the server's is at least %v ahead, by the %s at most %v: a clock was set during the run, or a trace is of another session",
			c.LoBy, time.Duration(b.lo), c.HiBy, time.Duration(b.hi)))
	case sameHost && b.lo <= 0 && b.hi >= 0:
		c.Method = "same host"
		c.Aligned = true
		if verified != "" {
			c.Method += ", verified by " + verified
		}
	case sameHost:
		c.Theta = b.middle()
		c.Method = "bounds: the clocks differ although it is one host"
		c.Warnings = append(c.Warnings, fmt.Sprintf("clocks: client and server are said to share one, but it differs by %s: a time namespace, another host, or a clock that was set", b.interval()))
	case c.HasLo && c.HasHi:
		c.Theta = b.middle()
		c.Method = "middle of the bounds by " + verified
		c.Aligned = width <= limit
		if !c.Aligned {
			c.Warnings = append(c.Warnings, fmt.Sprintf("clocks: the offset is known to %s only, more than %v: do not compare the client's rows with the server's finely", b.interval(), limit))
		}
	case c.HasLo || c.HasHi:
		c.Theta = b.middle()
		c.Method = "one bound by " + verified
		c.Warnings = append(c.Warnings, "clocks: the offset is bounded on one side only: do not compare the client's rows with the server's")
	default:
		c.Method = "assumed equal"
		c.Warnings = append(c.Warnings, "clocks: nothing bounds the offset, so the clocks are taken for equal")
	}
	c.drift(marks, early, late)
	return c
}

// middle is the best choice within the bounds: its error is at most half of their width.
func (b *bounds) middle() int64 {
	switch {
	case b.hasLo() && b.hasHi():
		return b.lo + (b.hi-b.lo)/2
	case b.hasLo():
		return max(0, b.lo)
	case b.hasHi():
		return min(0, b.hi)
	}
	return 0
}

func (b *bounds) interval() string {
	side := func(has bool, v int64) string {
		if !has {
			return "unknown"
		}
		return time.Duration(v).String()
	}
	return fmt.Sprintf("[%s, %s]", side(b.hasLo(), b.lo), side(b.hasHi(), b.hi))
}

func sources(b bounds) []string {
	var by []string
	if b.hasLo() {
		by = append(by, b.loBy)
	}
	if b.hasHi() && !slices.Contains(by, b.hiBy) {
		by = append(by, b.hiBy)
	}
	return by
}

// boundByCalls takes what the profiler calls say: recording began after the start was sent, and before it
// was answered; it ended after the stop was sent, and before it was answered.
func boundByCalls(marks profiles.Marks, windows []window, early, late *bounds) {
	if !marks.Called {
		return
	}
	for _, w := range windows {
		if w.known {
			if marks.StartSent != 0 {
				early.atMost(w.start-marks.StartSent, byStart)
			}
			if marks.StartAnswered != 0 && !marks.StartLoose {
				early.atLeast(w.start-marks.StartAnswered, byStart)
			}
			if marks.StopSent != 0 && !marks.StopLoose {
				late.atMost(w.end-marks.StopSent, byStop)
			}
			if marks.StopAnswered != 0 {
				late.atLeast(w.end-marks.StopAnswered, byStop)
			}
		}
		// The export begins after the end of the recording and before the stop is answered.
		if w.stamp != 0 {
			if marks.StopAnswered != 0 {
				late.atLeast(w.stamp-marks.StopAnswered, byStamp)
			}
			if marks.StopSent != 0 && !marks.StopLoose && !w.known {
				late.atMost(w.stamp-marks.StopSent, byStamp)
			}
		}
	}
}

// boundByRequests takes what the load says: no step begins more prompts than were sent, and no
// more tokens are received than were computed. That holds when the steps are those of these
// requests and of no others, whole: when the counts agree.
func boundByRequests(requests []*request, steps []Step, early, late *bounds) {
	prompts, computed := 0, 0
	for i := range steps {
		s := &steps[i]
		if s.Prompts < 0 || s.Decodes < 0 {
			return
		}
		prompts += s.Prompts
		computed += s.Prompts + s.Decodes
	}
	type token struct {
		at    int64
		count int
	}
	var seen []token
	received, sent := 0, 0
	var sends []int64
	for _, q := range requests {
		if !q.record.OK() || q.tokens == 0 {
			return
		}
		sends = append(sends, q.send) // requests are in the order of sending
		sent++
		for _, c := range q.chunks {
			if c.tokens < 0 {
				return
			}
			// A share that was guessed may claim a token too early: count it at the end.
			at := c.at
			if q.guessed {
				at = q.last()
			}
			seen = append(seen, token{at, c.tokens})
			received += c.tokens
		}
	}
	if len(steps) == 0 || sent == 0 {
		return
	}
	half := steps[0].Start + (steps[len(steps)-1].End-steps[0].Start)/2
	side := func(s *Step) *bounds {
		if s.Start < half {
			return early
		}
		return late
	}
	if prompts == sent {
		begun := 0
		for i := range steps {
			s := &steps[i]
			begun += s.Prompts
			if s.Prompts > 0 {
				side(s).atMost(s.Start-sends[begun-1], bySends)
			}
		}
	}
	if computed == received {
		slices.SortFunc(seen, func(a, b token) int { return int(sign(a.at - b.at)) })
		// earliest is when more than `before` tokens had been received.
		next, have := 0, 0
		before := 0
		for i := range steps {
			s := &steps[i]
			for next < len(seen) && have+seen[next].count <= before {
				have += seen[next].count
				next++
			}
			if next < len(seen) {
				side(s).atLeast(s.End-seen[next].at, byTokens)
			}
			before += s.Prompts + s.Decodes
		}
	}
}

func sign(n int64) int64 {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// drift compares the bounds of the run's first half with those of its second.
func (c *Clock) drift(marks profiles.Marks, early, late bounds) {
	if !early.hasLo() || !early.hasHi() || !late.hasLo() || !late.hasHi() || marks.StopSent <= marks.StartAnswered || marks.StartAnswered == 0 {
		return
	}
	over := float64(marks.StopSent-marks.StartAnswered) / 1e6 // 1e6: ppm
	lo, hi := float64(late.lo-early.hi)/over, float64(late.hi-early.lo)/over
	const vague = 10_000 // ppm; a short run bounds nothing
	if hi-lo > vague {
		return
	}
	c.DriftLo, c.DriftHi, c.HasDrift = lo, hi, true
	const trusted = 100 // ppm; quartz is within
	if c.DriftLo > trusted || c.DriftHi < -trusted {
		c.Aligned = false
		c.Warnings = append(c.Warnings, fmt.Sprintf("clocks: they drift by %.0f to %.0f ppm, more than clocks do: one was set during the run", c.DriftLo, c.DriftHi))
	}
}
