package summary

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"servebench/results"
)

// A Steady is the part of a closed loop in which the load was full: from the first to the last moment at which
// at least Threshold requests were in flight.
type Steady struct {
	// Threshold is the number in flight from which the load counts as full.
	Threshold int
	// From and To bound the part. Dips is how often the load fell below the threshold between them for a millisecond or more, Dipped
	// for how long in all: a part with dips is less steady than its name.
	From, To results.Moment
	Dips     int
	Dipped   time.Duration
	// Peak is the most requests in flight.
	Peak int
	// Requests began and ended inside; the latencies are theirs. Began counts those that began inside, Ended those that ended inside, whatever
	// became of them else; Answered counts all of the load.
	Requests, Began, Ended, Answered int
	// InputTokens are those of the requests that began inside; InputUnknown counts requests of which they are not known.
	InputTokens, InputUnknown int
	// OutputTokens are those whose events came inside: a reply's tokens, not its events, spread over its events where the server
	// does not say how many each one held.
	OutputTokens float64
	// RequestRate is ended requests, OutputRate tokens, per second of the part.
	RequestRate, OutputRate float64
	// Stats are by metric name: ttft, tpot, itl and e2el.
	Stats map[string]Stat
}

// turnaround is what a user of a closed loop may take between a reply and the next request without being idle.
const turnaround = time.Millisecond

// Duration is the length of the part.
func (s *Steady) Duration() time.Duration { return time.Duration(s.To - s.From) }

// SteadyState finds the steady part of a load with that many users, share being the part of them that must be busy. It goes
// through the records twice. The result is nil when the load was never full.
func SteadyState(records iter.Seq2[*results.Record, error], users int, share float64, basis results.Basis, percentiles []float64) (*Steady, error) {
	s := &Steady{Threshold: max(1, int(math.Ceil(share*float64(users)-1e-9)))}
	type change struct {
		at results.Moment
		by int
	}
	var changes []change
	for rec, err := range records {
		if err != nil {
			return nil, err
		}
		if from, to := inFlight(rec); rec.Kind == results.Load && from != 0 && to > from {
			changes = append(changes, change{from, 1}, change{to, -1})
		}
	}
	// A reply that ends at the moment the next request goes leaves no gap: its user was busy all along.
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.by, a.by)) })
	n, fell := 0, results.Moment(0)
	for i, c := range changes {
		n += c.by
		if i+1 == len(changes) || changes[i+1].at > c.at {
			s.Peak = max(s.Peak, n)
		}
		switch {
		case c.by > 0 && n == s.Threshold:
			if s.From == 0 {
				s.From = c.at
			} else if time.Duration(c.at-fell) >= turnaround {
				s.Dips++
				s.Dipped += time.Duration(c.at - fell)
			}
		case c.by < 0 && n == s.Threshold-1:
			fell, s.To = c.at, c.at
		}
	}
	if s.From == 0 || s.To <= s.From {
		return nil, nil
	}
	var outputs []Output
	for rec, err := range records {
		if err != nil {
			return nil, err
		}
		from, to := inFlight(rec)
		if rec.Kind != results.Load || !rec.OK() || from == 0 {
			continue
		}
		s.Answered++
		s.OutputTokens += s.tokens(rec)
		if from >= s.From && from < s.To {
			s.Began++
			switch n := rec.InputTokens; {
			case rec.Usage != nil && rec.Usage.Prompt > 0:
				s.InputTokens += rec.Usage.Prompt
			case n >= 0:
				s.InputTokens += n
			default:
				s.InputUnknown++
			}
		}
		if to >= s.From && to <= s.To {
			s.Ended++
		}
		if from >= s.From && to <= s.To {
			s.Requests++
			outputs = append(outputs, outputOf(rec, basis))
		}
	}
	seconds := s.Duration().Seconds()
	s.RequestRate, s.OutputRate = float64(s.Ended)/seconds, s.OutputTokens/seconds
	if s.Requests > 0 {
		s.Stats = SumUp(outputs, VLLMOptions{Duration: seconds, Percentiles: percentiles}).Stats
	}
	return s, nil
}

// inFlight is when a request was at the server, as far as the client can tell.
func inFlight(rec *results.Record) (from, to results.Moment) {
	to = rec.Done
	if n := len(rec.Chunks); to == 0 && n > 0 {
		to = rec.Chunks[n-1].At
	}
	return rec.Dispatched, to
}

// tokens are the reply's tokens that came inside.
func (s *Steady) tokens(rec *results.Record) float64 {
	all, ok := rec.Tokens()
	if !ok || len(rec.Chunks) == 0 {
		return 0
	}
	known := 0
	for i := range rec.Chunks {
		if n := rec.Chunks[i].Tokens; n >= 0 {
			known += n
		} else {
			known = -1
			break
		}
	}
	inside := 0.0
	for i := range rec.Chunks {
		c := &rec.Chunks[i]
		switch {
		case c.At < s.From || c.At > s.To:
		case known == all:
			inside += float64(c.Tokens)
		default:
			inside += float64(all) / float64(len(rec.Chunks))
		}
	}
	return inside
}
