package summary

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"servebench/results"
)

// A smear is what late reads cost: several tokens that one read brings get the stamp of the last. How wrong the others' are nobody
// knows, only that they came since the read before. It is estimated as if they had come evenly since then; before a first token as if at
// the stream's usual pace. Reads in time count for nothing, whatever they bring: a server may send several tokens at once.
//
// Source: servebench. It is the load's own error, where the canary's is a sample beside it.
type smear struct{ ttft, itl mostlyZero }

// A mostlyZero is a distribution most of which is zero.
type mostlyZero struct {
	zeros, others int
	histogram     *hdrhistogram.Histogram
}

func (e *mostlyZero) add(d time.Duration) {
	if d <= 0 {
		e.zeros++
		return
	}
	if e.histogram == nil {
		e.histogram = newHistogram()
	}
	e.others++
	_ = e.histogram.RecordValue(min(int64(d), int64(histogramMax)))
}

// p99 is the 99th percentile; nil of nothing.
func (e *mostlyZero) p99() *time.Duration {
	n := e.zeros + e.others
	if n == 0 {
		return nil
	}
	rank := int(math.Ceil(0.99 * float64(n)))
	if rank <= e.zeros {
		return new(time.Duration)
	}
	d := time.Duration(e.histogram.ValueAtPercentile(100 * float64(rank-e.zeros) / float64(e.others)))
	return &d
}

// add takes the stream of one record, whose usual gap is given; zero when nobody knows it.
func (s *smear) add(rec *results.Record, usual time.Duration) {
	chunks := rec.Chunks
	for from := 0; from < len(chunks); {
		to := from + 1
		for to < len(chunks) && chunks[to].At == chunks[from].At {
			to++
		}
		spacing, before := time.Duration(0), time.Duration(0)
		if n := to - from; n > 1 && chunks[from].Lag >= lateFor(usual) {
			switch {
			case from > 0:
				since, _ := chunks[from].At.Sub(chunks[from-1].At)
				spacing = since / time.Duration(n)
			case to < len(chunks):
				rest, _ := chunks[len(chunks)-1].At.Sub(chunks[from].At)
				spacing = rest / time.Duration(len(chunks)-to)
			}
			before = time.Duration(n-1) * spacing
		}
		if from == 0 {
			s.ttft.add(before)
		} else {
			s.itl.add(before)
		}
		for range to - from - 1 {
			s.itl.add(spacing)
		}
		from = to
	}
}
