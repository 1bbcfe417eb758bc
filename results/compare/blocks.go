package compare

import (
	"math"
	"math/rand/v2"
)

// The rules of resampling. docs/statistics.md shows what they do to error rates.
const (
	// blockFactor is how many times longer than the bias of its variance a block is.
	blockFactor = 6
	// minBlocks is how many blocks a run must hold for an interval.
	minBlocks = 10
	// replicates is how many times runs are drawn again.
	replicates = 800
)

// correlationTime is the integrated autocorrelation time of xs, whose mean is zero: by what factor neighbours that are alike
// make the variance of the mean larger. It is 1 for independent values, and never less. The sum of
// autocorrelations ends at a lag of five times the sum.
func correlationTime(xs []float64) float64 {
	n := len(xs)
	zero := 0.0
	for _, x := range xs {
		zero += x * x
	}
	if zero == 0 {
		return 1
	}
	tau := 1.0
	for lag := 1; lag < n; lag++ {
		c := 0.0
		for i := lag; i < n; i++ {
			c += xs[i] * xs[i-lag]
		}
		tau += 2 * c / zero
		if float64(lag) >= 5*tau {
			break
		}
	}
	return max(tau, 1)
}

// A plan is how one class of runs is resampled.
type plan struct {
	// length is that of a block in cells, number how many blocks a replicate has.
	length, number int
	// blocks is how many blocks the run holds, not rounded.
	blocks float64
	// widen makes up for what blocks of this length and number leave out of the variance.
	widen float64
	// tau is the correlation time in cells.
	tau float64
}

// planOf chooses the length of blocks from the pulls of cells.
func planOf(pulls []float64) plan {
	cells := len(pulls)
	mean := 0.0
	for _, p := range pulls {
		mean += p
	}
	mean /= float64(cells)
	for i := range pulls {
		pulls[i] -= mean
	}
	tau := correlationTime(pulls)
	// With autocorrelations that fade geometrically, blocks of length L miss the share lost/L of the variance.
	lost := (tau*tau - 1) / (2 * tau)
	length := max(int(math.Ceil(blockFactor*lost)), 1)
	p := plan{length: min(length, cells), blocks: float64(cells) / float64(length), tau: tau}
	p.number = max(int(math.Round(float64(cells)/float64(p.length))), 1)
	p.widen = float64(p.number*p.length) / float64(cells)
	p.widen /= 1 - lost/float64(length)
	if p.blocks > 1 {
		p.widen *= p.blocks / (p.blocks - 1)
	}
	return p
}

// draw fills starts with where blocks begin.
func (p *plan) draw(rng *rand.Rand, starts []int, cells int) {
	for i := range starts {
		starts[i] = rng.IntN(cells)
	}
}
