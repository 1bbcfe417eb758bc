package compare

import "math"

// The rules of resampling. docs/statistics.md shows what they do to error rates.
const (
	// blockFactor is how long a block is, in multiples of the share of the variance that blocks of one cell would miss.
	blockFactor = 6
	// MinBlocks is how many independent blocks a run must be worth before a figure gets an interval.
	MinBlocks = 10
	// replicates is how many times runs are drawn again for a figure, curveReplicates for a point of a curve.
	replicates      = 500
	curveReplicates = 150
	// safety widens what blocks find: without it, intervals of 95 % were wrong in up to 5.6 % of simulated comparisons.
	safety = 1.03
)

// correlationTime is the integrated autocorrelation time of xs, whose mean is zero: by what factor neighbours that are alike
// make the variance of the mean larger. It is 1 for independent values, and never less. The sum of
// autocorrelations ends at a lag of five times the sum.
func correlationTime(xs []float64) float64 {
	zero := 0.0
	for _, x := range xs {
		zero += x * x
	}
	if zero == 0 {
		return 1
	}
	tau := 1.0
	for lag := 1; lag < len(xs); lag++ {
		c := 0.0
		for i := lag; i < len(xs); i++ {
			c += xs[i] * xs[i-lag]
		}
		tau += 2 * c / zero
		if float64(lag) >= 5*tau {
			// Taking the mean away lowered each autocorrelation by about tau/n.
			tau /= 1 - min(2*float64(lag)/float64(len(xs)), 0.75)
			break
		}
	}
	return max(tau, 1)
}

// A plan is how one class of runs is resampled.
type plan struct {
	// length is that of a block in cells, number how many blocks a replicate has.
	length, number int
	// df are the degrees of freedom of the variance that such blocks give.
	df float64
	// widen makes up for what blocks of this length and number leave out of the variance.
	widen float64
}

// planOf chooses blocks for cells that pull a figure by so much. They are at least so many cells long.
func planOf(pulls []float64, least int) plan {
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
	wanted := max(int(math.Ceil(blockFactor*lost)), least, 1)
	blocks := float64(cells) / float64(wanted)
	p := plan{length: min(wanted, cells)}
	p.number = max(int(math.Round(float64(cells)/float64(p.length))), 1)
	p.widen = float64(p.number*p.length) / float64(cells) / (1 - lost/float64(wanted))
	if blocks > 1 {
		p.widen *= blocks / (blocks - 1)
	}
	p.df = blocks - 1
	// A variance of K sums with kurtosis k is as good as one of 2K/(k-1) normal ones: where a few blocks hold all of
	// the pull, as above the 99th percentile of a queue, they are all there is to judge by.
	if k, ok := kurtosis(pulls, p.length); ok {
		p.df = min(p.df, 2*blocks/max(k-1, 0.1)-1)
	}
	return p
}

// kurtosis is that of the sums over length neighbouring cells, all the way round.
func kurtosis(pulls []float64, length int) (float64, bool) {
	sum := 0.0
	for _, p := range pulls[:length] {
		sum += p
	}
	var squares, fourths float64
	for i, p := range pulls {
		squares += sum * sum
		fourths += sum * sum * sum * sum
		sum += pulls[(i+length)%len(pulls)] - p
	}
	if squares == 0 || length == len(pulls) {
		return 0, false
	}
	return fourths * float64(len(pulls)) / (squares * squares), true
}
