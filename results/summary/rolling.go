package summary

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"servebench/results"
)

// slicesOfSpan is how many parts a Rolling forgets its span in.
const slicesOfSpan = 10

// Rolling are the latencies of the requests that ended in the last stretch of a load that is going on, to 1 %. It takes the same memory
// whatever the length of the load.
type Rolling struct {
	slice time.Duration
	// parts are filled in turn, each for one slice; the one after newest is the oldest.
	parts  [slicesOfSpan + 1]rollingPart
	newest int
	began  time.Time // of the newest
	whole  *hdrhistogram.Histogram
	room   []time.Duration
}

// A rollingPart holds TTFT and ITL.
type rollingPart [2]*hdrhistogram.Histogram

// NewRolling makes one over the last span, and up to a tenth more.
func NewRolling(span time.Duration) *Rolling {
	coarse := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(histogramMax), 2) }
	r := &Rolling{slice: span / slicesOfSpan, whole: coarse()}
	for i := range r.parts {
		r.parts[i] = rollingPart{coarse(), coarse()}
	}
	return r
}

// turn empties what is too old.
func (r *Rolling) turn(now time.Time) {
	if r.began.IsZero() {
		r.began = now
	}
	for n := 0; now.Sub(r.began) >= r.slice; n++ {
		if n == len(r.parts) { // all are empty
			r.began = now
			return
		}
		r.began = r.began.Add(r.slice)
		r.newest = (r.newest + 1) % len(r.parts)
		for _, h := range r.parts[r.newest] {
			h.Reset()
		}
	}
}

// Add takes a request of the load that has just ended.
func (r *Rolling) Add(rec *results.Record, now time.Time) {
	r.turn(now)
	if !rec.OK() {
		return
	}
	part := &r.parts[r.newest]
	if v, ok := results.TTFT(rec, results.Service); ok {
		_ = part[0].RecordValue(int64(v)) // one of more than a day is not worth a glance
	}
	if m, ok := results.MetricNamed("itl"); ok {
		r.room = m.Append(r.room[:0], rec, results.Service)
		for _, v := range r.room {
			_ = part[1].RecordValue(int64(v))
		}
	}
}

// Latencies are the median and the 99th percentile of TTFT and of ITL in milliseconds; nil when there are none.
func (r *Rolling) Latencies(now time.Time) (ttft, itl *[2]float64) {
	r.turn(now)
	at := func(i int) *[2]float64 {
		r.whole.Reset()
		for _, part := range r.parts {
			r.whole.Merge(part[i])
		}
		if r.whole.TotalCount() == 0 {
			return nil
		}
		value := func(p float64) float64 { return float64(r.whole.ValueAtPercentile(p)) / float64(time.Millisecond) }
		return &[2]float64{value(50), value(99)}
	}
	return at(0), at(1)
}
