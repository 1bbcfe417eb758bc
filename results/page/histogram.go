package page

import (
	"math"
	"time"
)

// The bounds of a histogram: a microsecond and a day. What lies outside is counted at the edge, and is drawn there.
const (
	shortest = float64(time.Microsecond)
	longest  = float64(24 * time.Hour)
)

// A histogram counts times in bins of equal ratio, so that its memory does not grow with the run. Its quantiles are as exact
// as its bins are narrow; they place curves and bounds of intervals, while the figures in tables are the summary's.
type histogram struct {
	counts []uint32
	scale  float64 // bins per factor of e
	n      uint64
}

// Resolutions: the width of a bin as a share of its value.
const (
	fine   = 0.001 // curves and intervals
	coarse = 0.005 // one of many windows
)

func newHistogram(resolution float64) *histogram {
	scale := 1 / math.Log1p(resolution)
	return &histogram{counts: make([]uint32, 2+int(math.Log(longest/shortest)*scale)), scale: scale}
}

func (h *histogram) add(d time.Duration) {
	v := min(max(float64(d), shortest), longest)
	h.counts[min(int(math.Log(v/shortest)*h.scale), len(h.counts)-1)]++
	h.n++
}

// at is the value at a share of the ranks, in milliseconds: share 0 is the smallest, 1 the largest.
func (h *histogram) at(share float64) float64 {
	rank := share * float64(h.n-1)
	var before uint64
	for i, c := range h.counts {
		if c == 0 {
			continue
		}
		if float64(before+uint64(c)) > rank {
			within := (rank - float64(before) + 0.5) / float64(c)
			return shortest / 1e6 * math.Exp((float64(i)+min(max(within, 0), 1))/h.scale)
		}
		before += uint64(c)
	}
	return longest / 1e6
}
