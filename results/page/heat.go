package page

import (
	"math"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// The heat map's rows are gap lengths from heatShortest, perDecade of them to a factor of ten.
const (
	heatShortest = 100 * time.Microsecond
	perDecade    = 40
	decades      = 6
	// mostHeatRows is how many rows the map shows; neighbours are put together where lengths spread further.
	mostHeatRows = 60
	heatColumns  = 240
	// momentsCount is into how many moments the run is cut to see how many streams stood still at once.
	momentsCount = 4096
)

// A heat counts the gaps between tokens by when they ended and how long they were, and how many of the streams waited in
// a long gap at each moment.
type heat struct {
	columns grid
	cells   []uint32 // columns x rows, row by row
	// least and most bound the rows in use.
	least, most int
	moments     grid
	open        []float64 // streams between their first and last event, mean of each moment
	waiting     []float64 // those in a long gap: see summary.LongGap
	gaps        int
	scratch     []time.Duration
}

const heatRows = perDecade * decades

func newHeat(length time.Duration) *heat {
	h := &heat{columns: gridOf(length, heatColumns), moments: gridOf(length, momentsCount), least: heatRows}
	h.cells = make([]uint32, h.columns.n*heatRows)
	h.open, h.waiting = make([]float64, h.moments.n), make([]float64, h.moments.n)
	return h
}

func (h *heat) add(rec *results.Record, b results.Basis, began results.Moment) {
	n := len(rec.Chunks)
	if n < 2 || !rec.OK() {
		return
	}
	at := func(i int) time.Duration { return time.Duration(rec.Chunks[i].Seen(b) - began) }
	h.moments.spread(h.open, at(0), at(n-1))
	h.scratch = h.scratch[:0]
	for i := 1; i < n; i++ {
		h.scratch = append(h.scratch, at(i)-at(i-1))
	}
	long, _, told := summary.LongGap(h.scratch)
	for i := 1; i < n; i++ {
		gap := at(i) - at(i-1)
		h.gaps++
		row := heatRow(gap)
		h.least, h.most = min(h.least, row), max(h.most, row)
		h.cells[row*h.columns.n+h.columns.index(at(i))]++
		if told && gap > long {
			h.moments.spread(h.waiting, at(i-1), at(i))
		}
	}
}

func heatRow(gap time.Duration) int {
	if gap <= heatShortest {
		return 0
	}
	return min(int(math.Log10(float64(gap)/float64(heatShortest))*perDecade), heatRows-1)
}

// shown is the part of the map with gaps in it: its rows, each of which holds so many of the map's own, from the row first on.
func (h *heat) shown() (first, together, rows int) {
	for together = 1; ; together *= 2 {
		first = max(h.least/together-2, 0) * together
		rows = (min(h.most+2*together, heatRows-1)-first)/together + 1
		if rows <= mostHeatRows {
			return first, together, rows
		}
	}
}

// stalled is, for each column of the map, the largest share of streams that waited at one of its moments; of one stream that is no share.
func (h *heat) stalled() []float64 {
	shares := make([]float64, h.columns.n)
	for i := range h.open {
		if h.open[i] < 2 {
			continue
		}
		column := h.columns.index((h.moments.from(i) + h.moments.to(i)) / 2)
		shares[column] = max(shares[column], min(h.waiting[i]/h.open[i], 1))
	}
	return shares
}
