package summary

import (
	"iter"
	"testing"
	"time"

	"servebench/results"
)

// loaded is a load request from second to second with an event at its end and so many tokens.
func loaded(id int, from, to, tokens int) *results.Record {
	second := func(s int) results.Moment {
		return results.Moment(time.Unix(1000, 0).Add(time.Duration(s) * time.Second).UnixNano())
	}
	return &results.Record{ID: id, Kind: results.Load, Due: second(from), Dispatched: second(from), Released: second(from), Reply: results.Reply{
		WriteBegan: second(from), Written: second(from), Done: second(to), Chunks: []results.Chunk{{At: second(to), Tokens: -1}},
		Usage: &results.Usage{Completion: tokens}, OutputTokens: -1,
	}}
}

func each(list ...*results.Record) iter.Seq2[*results.Record, error] {
	return func(yield func(*results.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestSteadyState(t *testing.T) {
	// Two users: both busy from 1 to 4, one alone from 4 to 5, both again until 8.
	s, err := SteadyState(each(loaded(0, 0, 3, 10), loaded(1, 1, 4, 20), loaded(2, 3, 8, 30), loaded(3, 5, 9, 40)), 2, 0.95, results.Service, []float64{99})
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	if s.Threshold != 2 || s.Duration() != 7*time.Second || s.Dips != 1 || s.Dipped != time.Second {
		t.Errorf("threshold %d, duration %v, %d dips of %v; want 2, 7s, 1 of 1s", s.Threshold, s.Duration(), s.Dips, s.Dipped)
	}
	if s.Ended != 3 || s.Requests != 2 || s.OutputTokens != 60 {
		t.Errorf("%d ended, %d whole, %v tokens; want 3, 2, 60", s.Ended, s.Requests, s.OutputTokens)
	}
	if s.Peak != 2 || s.Began != 3 || s.Answered != 4 {
		t.Errorf("peak %d, %d began, %d answered; want 2, 3, 4", s.Peak, s.Began, s.Answered)
	}
	if got := s.Stats["e2el"].Mean; got != 4000 {
		t.Errorf("mean e2el %v ms; want 4000: the requests from 1 to 4 and from 3 to 8", got)
	}
	if s, err := SteadyState(each(loaded(0, 0, 3, 10)), 2, 0.95, results.Service, nil); s != nil || err != nil {
		t.Errorf("a load that was never full: %v, %v", s, err)
	}
}
