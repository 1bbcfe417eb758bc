package breakdown

import (
	"slices"
	"time"
)

// Answers are the few figures of a report that a run prints under its own table.
type Answers struct {
	// Wall is the length of the recorded window.
	Wall time.Duration
	// Busy is the share of the window in which devices worked, over all devices; HasBusy is
	// false when no device was traced.
	Busy    float64
	HasBusy bool
	// Gaps are idle times of devices by reason, longest first.
	Gaps []GapAnswer
	// Phases are prefill, decode and mixed steps, in that order, as far as there are any.
	Phases []PhaseAnswer
	// Compiles are recompilations, LateCompiles those after the first few steps.
	Compiles     int64
	CompileTime  time.Duration
	LateCompiles int64
	// Python are the names with the most self time on the engine's thread; empty without
	// stacks.
	Python []NameTime
	// Warnings are what to know before believing the figures.
	Warnings []string
}

// A GapAnswer is idle time of one reason.
type GapAnswer struct {
	Reason string
	Count  int64
	Total  time.Duration
}

// A PhaseAnswer is the steps of one phase.
type PhaseAnswer struct {
	Phase string
	Count int64
	// Host is how long the host was in a step, Period from one step's end to the next's,
	// Device from the first to the last row of its device work. Nil where unknown.
	Host, Period, Device *Stats
}

// Answers picks the figures that a run prints.
func (r *Report) Answers() Answers {
	var a Answers
	if r.Window != nil {
		a.Wall = time.Duration(r.Window.Length())
	}
	if len(r.Devices) > 0 && r.Window != nil && r.Window.Length() > 0 {
		var busy int64
		for _, d := range r.Devices {
			busy += d.Busy
		}
		a.Busy, a.HasBusy = float64(busy)/float64(int64(len(r.Devices))*r.Window.Length()), true
	}
	if r.Gaps != nil {
		for reason, t := range r.Gaps.Reasons {
			a.Gaps = append(a.Gaps, GapAnswer{reason, t.Count, time.Duration(t.Total)})
		}
		slices.SortFunc(a.Gaps, func(x, y GapAnswer) int {
			if x.Total != y.Total {
				return -cmpInt(int64(x.Total), int64(y.Total))
			}
			return cmpString(x.Reason, y.Reason)
		})
	}
	for _, phase := range []string{phasePrefill, phaseDecode, phaseMixed, phaseOther} {
		for _, p := range r.ByPhase {
			if p.Phase == phase {
				a.Phases = append(a.Phases, PhaseAnswer{p.Phase, p.Count, p.Host, p.Period, p.DevSpan})
			}
		}
	}
	if c := r.Compiles; c != nil {
		a.Compiles, a.CompileTime = c.Count, time.Duration(c.Total)
		if c.After != nil {
			a.LateCompiles = c.After.Count
		}
	}
	if p := r.Python; p != nil {
		a.Python = p.TopSelf
		if p.Engine != nil {
			a.Python = p.Engine.TopSelf
		}
		a.Python = a.Python[:min(len(a.Python), 5)]
	}
	a.Warnings = append(a.Warnings, r.Warnings...)
	for _, f := range r.Files {
		for _, w := range f.Warnings {
			a.Warnings = append(a.Warnings, f.File+": "+w)
		}
	}
	return a
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
