package compare

import (
	"math"
	"math/rand/v2"
)

// A side is one group's part in a comparison of one figure: the runs that have it.
type side struct {
	figures []figure
	// loads say which runs sent the same load: request i of one is request i of the other.
	loads []uint64
}

// An estimate is a change from one side to the other, on the scale of logarithms, or of the figures themselves where one is not
// above zero.
type estimate struct {
	// change is the second side minus the first, se its standard error, df the degrees of freedom of that.
	change, se, df float64
	logs           bool
	// blocks is how many independent blocks the run with the fewest is worth; infinite where runs are the sample.
	blocks float64
}

// scale is the scale that figures are compared on.
func scale(logs bool, v float64) float64 {
	if logs {
		return math.Log(v)
	}
	return v
}

func allPositive(sides ...[]float64) bool {
	for _, values := range sides {
		for _, v := range values {
			if !(v > 0) {
				return false
			}
		}
	}
	return true
}

// betweenRuns compares values where every run is one observation: Welch's t.
func betweenRuns(a, b []float64, logs bool) estimate {
	e := estimate{logs: logs, blocks: math.Inf(1)}
	meanA, varA := moments(a, e.logs)
	meanB, varB := moments(b, e.logs)
	e.change = meanB - meanA
	partA, partB := varA/float64(len(a)), varB/float64(len(b))
	e.se, e.df = math.Sqrt(partA+partB), welch(partA, float64(len(a)-1), partB, float64(len(b)-1))
	return e
}

// moments are the mean and the variance of a sample.
func moments(xs []float64, logs bool) (mean, variance float64) {
	for _, x := range xs {
		mean += scale(logs, x)
	}
	mean /= float64(len(xs))
	for _, x := range xs {
		d := scale(logs, x) - mean
		variance += d * d
	}
	return mean, variance / float64(len(xs)-1)
}

// welch is the degrees of freedom of a sum of two variances.
func welch(a, dfA, b, dfB float64) float64 {
	switch {
	case a == 0 && b == 0:
		return dfA + dfB
	case a == 0:
		return dfB
	case b == 0:
		return dfA
	}
	return (a + b) * (a + b) / (a*a/dfA + b*b/dfB)
}

// A member is a run of a class with its part in the change.
type member struct {
	figure
	weight float64
}

// withinRuns compares figures whose uncertainty is that of the requests inside the runs. Runs that sent the same load
// are drawn together, block by block, so that what the load did to both cancels.
func withinRuns(a, b side, logs bool, seed uint64, draws int) estimate {
	e := estimate{logs: logs, blocks: math.Inf(1)}
	classes := map[uint64][]member{}
	var order []uint64
	add := func(s side, sign float64) {
		for i, f := range s.figures {
			weight := sign / float64(len(s.figures))
			e.change += weight * scale(e.logs, f.value())
			if classes[s.loads[i]] == nil {
				order = append(order, s.loads[i])
			}
			classes[s.loads[i]] = append(classes[s.loads[i]], member{f, weight})
		}
	}
	add(a, -1)
	add(b, 1)

	variance, dfs := 0.0, 0.0
	for at, class := range order {
		members := classes[class]
		cells := members[0].cells()
		p := planFor(members, cells)
		e.blocks = min(e.blocks, p.df+1)
		rng := rand.New(rand.NewPCG(seed, uint64(at)+1))
		starts := make([]int, p.number)
		var mean, squares, n float64
		for range draws {
			for i := range starts {
				starts[i] = rng.IntN(cells)
			}
			change := 0.0
			for _, m := range members {
				change += m.weight * scale(e.logs, m.drawn(starts, p.length))
			}
			if math.IsNaN(change) || math.IsInf(change, 0) {
				continue
			}
			n++
			d := change - mean
			mean += d / n
			squares += d * (change - mean)
		}
		if n < float64(draws)/2 {
			e.blocks = 0 // too few values for most replicates to have any
			continue
		}
		v := squares / (n - 1) * p.widen
		variance += v
		if v > 0 && p.df > 0 {
			dfs += v * v / p.df
		}
	}
	e.se, e.df = safety*math.Sqrt(variance), math.Inf(1)
	if dfs > 0 {
		e.df = variance * variance / dfs
	}
	return e
}

// planFor chooses blocks for the runs of a class: long enough for what they have in common and for each of them alone, since
// two runs of one load can be alike for a long while and then part.
func planFor(members []member, cells int) plan {
	together := make([]float64, cells)
	var alone [][]float64
	length := 1
	for _, m := range members {
		pulls := m.pull()
		for i, p := range pulls {
			together[i] += m.weight * p
		}
		alone = append(alone, pulls)
		length = max(length, planOf(pulls, 1).length)
		// The requests beyond a high percentile are too few to tell for how long a busy server stays busy; all
		// requests together tell.
		switch f := m.figure.(type) {
		case *quantile:
			length = max(length, planOf(f.sum.pull(), 1).length)
		case *ratio:
			length = max(length, f.least)
		}
	}
	p := planOf(together, length)
	for _, pulls := range alone {
		p.df = min(p.df, planOf(pulls, p.length).df)
	}
	return p
}

// p is the probability of a change at least as far from zero, either way, if there were none.
func (e *estimate) p() float64 { return min(2*e.above(0, math.Abs(e.change)), 1) }

// above is the probability of a change above observed if the true one were bound.
func (e *estimate) above(bound, observed float64) float64 {
	d := observed - bound
	if e.se == 0 {
		switch {
		case d > 0:
			return 0
		case d < 0:
			return 1
		}
		return 0.5
	}
	return tTail(d/e.se, e.df)
}

// interval is the confidence interval of the change.
func (e *estimate) interval(confidence float64) (low, high float64) {
	if e.se == 0 {
		return e.change, e.change
	}
	half := tQuantile((1-confidence)/2, e.df) * e.se
	return e.change - half, e.change + half
}

// intervals are those of the difference, in the unit of the baseline, and of the ratio, where there is one.
func (e *estimate) intervals(confidence, baseline float64) (difference, ratio *Interval) {
	low, high := e.interval(confidence)
	if !e.logs {
		return interval(low, high), nil
	}
	return interval(math.Expm1(low)*baseline, math.Expm1(high)*baseline), interval(math.Exp(low), math.Exp(high))
}

// interval is nil where a bound is beyond all numbers, which says nothing.
func interval(low, high float64) *Interval {
	if finite(low) == nil || finite(high) == nil {
		return nil
	}
	return &Interval{low, high}
}

// finite is a number that JSON has.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
