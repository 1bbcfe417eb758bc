package schedule

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"servebench/internal/numpy"
)

// A Stage is one part of a schedule. Zero means the usual: requests at a constant rate.
type Stage struct {
	// Kind is one of Kinds; empty is constant.
	Kind string
	// Rate is in requests per second; of a ramp it is the rate at its beginning.
	Rate float64
	// To is the rate at the end of a ramp, in requests per second.
	To float64
	// Burstiness is the shape of the gamma distribution of the gaps of kind gamma and of
	// the ramps: 1 is Poisson, less is burstier, infinity is constant. 0 is 1 for gamma
	// and constant for ramps.
	Burstiness float64
	// Requests ends the stage after so many requests; 0 does not.
	Requests int
	// Duration ends the stage after this time; 0 does not. If both are set, whichever
	// comes first ends it. A stage with neither goes on for ever.
	Duration time.Duration
	// Seed starts the stage's own random numbers.
	Seed uint32
	// Times are the due times of kind replay, from the start of the stage, ascending.
	Times []time.Duration
}

// gaps makes the times between requests of a stage, in seconds, given the seconds since
// its start and the number of requests so far. It is false when there are no more.
type gaps func(at float64, i int) (gap float64, more bool)

// Check returns every fault of the stage.
func (s Stage) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	kind, ok := kinds[s.name()]
	if !ok {
		fault("no schedule %q: have %s", s.Kind, names())
		return errors.Join(faults...)
	}
	if s.Requests < 0 {
		fault("%s: %d requests", s.name(), s.Requests)
	}
	if s.Duration < 0 {
		fault("%s: a duration of %v", s.name(), s.Duration)
	}
	if kind.needsRate && !(s.Rate > 0 && !math.IsInf(s.Rate, 1)) {
		fault("%s: a rate of %v requests per second: give one above 0, or kind at_once", s.name(), s.Rate)
	}
	if kind.ramps {
		if !(s.To > 0 && !math.IsInf(s.To, 1)) {
			fault("%s: a ramp to %v requests per second: give a rate above 0", s.name(), s.To)
		}
		if (s.Requests > 0) == (s.Duration > 0) {
			fault("%s: a ramp is over some requests or some duration: give one of the two", s.name())
		}
	}
	if !(s.Burstiness >= 0) {
		fault("%s: a burstiness of %v: give one above 0", s.name(), s.Burstiness)
	}
	if s.name() == "at_once" && s.Requests == 0 {
		fault("at_once: give the number of requests")
	}
	for i, t := range s.Times {
		if t < 0 || i > 0 && t < s.Times[i-1] {
			fault("replay: time %d is %v: times ascend from 0", i, t)
			break
		}
	}
	return errors.Join(faults...)
}

func (s Stage) name() string {
	if s.Kind == "" {
		return "constant"
	}
	return s.Kind
}

// Due is when the requests of the stage are due, from its start. It begins from the seed
// each time it is ranged over. A stage that Check finds fault with has none.
func (s Stage) Due() iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		if s.Check() != nil {
			return
		}
		next := kinds[s.name()].gaps(s, numpy.NewLegacy(s.Seed))
		at := 0.0
		for i := 0; s.Requests == 0 || i < s.Requests; i++ {
			gap, more := next(at, i)
			if !more {
				return
			}
			at += gap
			due := Seconds(at)
			if s.Duration > 0 && due > s.Duration || !yield(due) {
				return
			}
		}
	}
}

// Stages plays stages one after another: the due times of all requests from the start of
// the first, and the stage of each. A stage with a duration lasts that long; one without
// ends with its last request. It returns every fault of every stage.
func Stages(stages ...Stage) (iter.Seq2[int, time.Duration], error) {
	var faults []error
	for i, s := range stages {
		if err := s.Check(); err != nil {
			faults = append(faults, fmt.Errorf("stage %d: %w", i, err))
			continue
		}
		if i < len(stages)-1 && s.Requests == 0 && s.Duration == 0 && s.name() != "replay" {
			faults = append(faults, fmt.Errorf("stage %d: %s has no end: give requests or a duration", i, s.name()))
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return func(yield func(int, time.Duration) bool) {
		var start time.Duration
		for i, s := range stages {
			end := start
			sent := 0
			for due := range s.Due() {
				end = start + due
				sent++
				if !yield(i, end) {
					return
				}
			}
			if s.Duration > 0 && (s.Requests == 0 || sent < s.Requests) {
				end = start + s.Duration
			}
			start = end
		}
	}, nil
}
