package summary

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"servebench/results"
)

func TestParseBound(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"p99 ttft <= 300ms", "ttft p99 300"}, {"ttft p99 <= 0.3s", "ttft p99 300"}, {"median tpot<=50ms", "tpot p50 50"}, {"goodput >= 99%", "goodput  99"},
		{"failures <= 0", "failures  0"}, {"failures <= 1.5%", "failures  1.5"}, {"output_throughput >= 900", "output_throughput  900"},
		{"ttft <= 300ms", "which of all values"}, {"p99 ttft >= 300ms", "bounded from above"}, {"p98 ttft <= 1s", `no statistic "p98"`}, {"p99 ttft <= 300", "no duration"},
		{"goodput >= 0.99", "no share"}, {"p99 goodput >= 99%", "one value a run"}, {"latency <= 1s", `"latency"`}, {"<= 3", "no bound"}, {"ttft itl <= 3ms", "two figures"},
	} {
		b, err := ParseBound(tc.text)
		got := fmt.Sprintf("%s %s %g", b.Metric, b.Statistic, b.Limit)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want && (err == nil || !strings.Contains(got, tc.want)) {
			t.Errorf("%q: %s; want %s", tc.text, got, tc.want)
		}
	}
}

// TestSummaryHoldsObjectives has ten requests of 10 to 100 ms, of which the first failed.
func TestSummaryHoldsObjectives(t *testing.T) {
	m := &results.Manifest{Began: 1, Ended: 1 + results.Moment(2*time.Second), Settings: results.Settings{
		Goodput: []results.Objective{{Metric: "ttft", MS: 50}},
		Bounds: []string{
			"max ttft <= 100ms", "p50 ttft <= 59ms", "goodput >= 40%", "goodput >= 41%", "failures <= 1", "failures <= 9%", "request_throughput >= 4.5",
			"output_throughput >= 1", "mean itl <= 1s", "of another version",
		},
	}}
	r := NewRecorder(ConfigOf(m))
	for i := range 10 {
		at := results.Moment(1 + (i+1)*10*int(time.Millisecond))
		rec := results.Record{ID: i, Kind: results.Load, Due: 1, Released: 1, Dispatched: 1, Reply: results.Reply{
			WriteBegan: 1, Written: 1, Done: at, Chunks: []results.Chunk{{At: at, Tokens: -1}}, EndMarked: true, OutputTokens: -1,
		}}
		if i == 0 {
			rec.Failure = &results.Failure{Class: results.FailServer}
		}
		r.Add(&rec)
	}
	s := r.Summary(m, "", "")
	want := []string{
		"max ttft <= 100ms: 100 ms, true", "p50 ttft <= 59ms: 60 ms, false", "goodput >= 40%: 40 %, true", "goodput >= 41%: 40 %, false",
		"failures <= 1: 1 requests, true", "failures <= 9%: 10 %, false", "request_throughput >= 4.5: 4.5 requests/s, true",
		"output_throughput >= 1: could not be measured, false", "mean itl <= 1s: could not be measured, false",
	}
	for i, b := range s.Bounds {
		if got := fmt.Sprintf("%s: %s, %t", b.Bound, b.Measured(), b.Met); i >= len(want) || got != want[i] {
			t.Errorf("objective %d is %q", i, got)
		}
	}
	if len(s.Bounds) != len(want) || len(s.Missed()) != 5 {
		t.Errorf("%d objectives, %d missed; want %d, 5", len(s.Bounds), len(s.Missed()), len(want))
	}
	if text := strings.Join(s.Warnings, "\n"); !strings.Contains(text, `an objective cannot be read: "of another version" is no bound`) {
		t.Errorf("warnings are %q", text)
	}
	m.Shard = &results.Shard{K: 0, N: 2}
	if s := r.Summary(m, "", ""); s.Bounds != nil {
		t.Errorf("a part of a load is held against the objectives of the whole: %v", s.Bounds)
	}
}
