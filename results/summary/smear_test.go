package summary

import (
	"testing"
	"time"

	"servebench/results"
)

func TestSmear(t *testing.T) {
	const ms = time.Millisecond
	type read struct {
		at, lag time.Duration
		tokens  int
	}
	for _, tc := range []struct {
		name      string
		reads     []read
		ttft, itl time.Duration // the largest of each
		smeared   int           // gaps
	}{
		{"one token a read", []read{{50 * ms, 0, 1}, {70 * ms, 0, 1}, {90 * ms, 5 * ms, 1}}, 0, 0, 0},
		{"two that the server sent together", []read{{50 * ms, 0, 2}, {90 * ms, 0, 2}}, 0, 0, 0},
		{"two in a late read", []read{{50 * ms, 0, 1}, {90 * ms, 3 * ms, 2}, {110 * ms, 0, 1}}, 0, 20 * ms, 2},
		{"four in a late read", []read{{50 * ms, 0, 1}, {130 * ms, 3 * ms, 4}}, 0, 60 * ms, 4},
		{"the first with the second", []read{{70 * ms, 3 * ms, 2}, {90 * ms, 0, 1}, {110 * ms, 0, 1}}, 20 * ms, 20 * ms, 1},
		{"a burst behind a stall, read at once", []read{{50 * ms, 0, 1}, {450 * ms, 3 * ms, 20}}, 0, 0, 0},
		{"all in one", []read{{70 * ms, 3 * ms, 3}}, 0, 0, 0}, // nothing tells their pace
	} {
		var s smear
		rec := results.Record{}
		for _, r := range tc.reads {
			for range r.tokens {
				rec.Chunks = append(rec.Chunks, results.Chunk{At: results.Moment(r.at), Lag: r.lag, Shared: r.tokens > 1})
			}
		}
		usual := time.Duration(0)
		if len(rec.Chunks) > 8 {
			usual = 40 * ms
		}
		s.add(&rec, usual)
		largest := func(e *mostlyZero) time.Duration {
			if e.histogram == nil {
				return 0
			}
			return time.Duration(e.histogram.Max())
		}
		near := func(got, want time.Duration) bool { return got >= want && got <= want+want/500 } // three digits
		if !near(largest(&s.ttft), tc.ttft) || !near(largest(&s.itl), tc.itl) || s.itl.others != tc.smeared || s.itl.zeros+s.itl.others != len(rec.Chunks)-1 {
			t.Errorf("%s: TTFT %v, ITL up to %v, %d smeared of %d gaps; want %v, %v, %d of %d", tc.name,
				largest(&s.ttft), largest(&s.itl), s.itl.others, s.itl.zeros+s.itl.others, tc.ttft, tc.itl, tc.smeared, len(rec.Chunks)-1)
		}
	}
}

// TestSmearPercentile finds the 99th percentile among many zeros.
func TestSmearPercentile(t *testing.T) {
	for _, tc := range []struct {
		zeros, others int
		want          time.Duration
	}{{99, 1, 0}, {98, 2, 20 * time.Millisecond}, {0, 1, 20 * time.Millisecond}} {
		var e mostlyZero
		for range tc.zeros {
			e.add(0)
		}
		for range tc.others {
			e.add(20 * time.Millisecond)
		}
		if got := *e.p99(); got < tc.want || got > tc.want+tc.want/500 {
			t.Errorf("%d zeros and %d others: p99 %v; want %v", tc.zeros, tc.others, got, tc.want)
		}
	}
	if (&mostlyZero{}).p99() != nil {
		t.Error("a percentile of nothing")
	}
}
