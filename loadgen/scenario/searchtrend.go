package scenario

import (
	"iter"
	"math"
	"slices"
	"time"

	"servebench/results"
)

// A Trend is how the number of requests in the system (due and not yet ended) grew while the load went on.
//
// In a system that keeps up it settles. Where the load is more than the server can do, it grows by the difference, so Slope divided by
// the rate is the share of the load that the server did not keep up with.
type Trend struct {
	// Slope is in requests per second, from the means of equal parts of the load after its beginning; Low and High bound it with 95 %
	// on either side. Neighbouring parts depend on one another, which the bounds allow for (Newey and West 1987, lag 3).
	Slope float64 `json:"slope_per_s"`
	Low   float64 `json:"slope_low_per_s"`
	High  float64 `json:"slope_high_per_s"`
	// Deficit is Slope as a share of the rate at which requests came, DeficitLow and DeficitHigh its bounds.
	Deficit     float64 `json:"deficit"`
	DeficitLow  float64 `json:"deficit_low"`
	DeficitHigh float64 `json:"deficit_high"`
	// Seconds is the length of what was looked at, Requests how many came in it.
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
}

const (
	// trendParts is the number of parts of a load whose means are compared; a line through them has two degrees of freedom less.
	trendParts = 20
	// student95 and student999 are the quantiles of Student's t for trendParts-2 degrees of freedom: one side 95 % and 99.9 %.
	student95, student999 = 1.7341, 3.6105
	// lag is how many neighbours of a part it is taken to depend on.
	lag = 3
	// settling is the share of a load after its start in which the number may still rise because it began at zero.
	settling = 0.2
	// lifetimes is how often a request's own time must fit into what is looked at, or its rise from zero would look like a trend.
	lifetimes = 3
)

// A count is the number of requests in the system at a moment, and how many have come so far.
type count struct {
	at       float64 // seconds from the load's start
	inside   float64
	arrivals float64
}

// trend fits a line to counts from the moment on when the number had time to settle, up to end. lifetime is how long a
// request usually takes. It is false when there is too little to tell.
func trend(counts []count, lifetime, end, quantile float64) (*Trend, bool) {
	from := max(settling*end, lifetimes*lifetime)
	length := end - from
	if length <= 0 || length < lifetimes*lifetime {
		return nil, false
	}
	var sums [trendParts]float64
	var weights [trendParts]float64
	before, after := 0.0, 0.0
	for i, c := range counts {
		if c.at <= from {
			before = c.arrivals
		}
		if c.at <= end {
			after = c.arrivals
		}
		// A count holds until the next one.
		until := end
		if i+1 < len(counts) {
			until = min(end, counts[i+1].at)
		}
		for at := max(from, c.at); at < until; {
			part := min(trendParts-1, int((at-from)/length*trendParts))
			stop := min(until, from+float64(part+1)*length/trendParts)
			if stop <= at { // a rounding error at the border of a part
				stop = math.Nextafter(at, math.Inf(1))
			}
			sums[part] += c.inside * (stop - at)
			weights[part] += stop - at
			at = stop
		}
	}
	arrivals := after - before
	if arrivals < trendParts {
		return nil, false
	}
	for i := range sums {
		if weights[i] == 0 {
			return nil, false
		}
		sums[i] /= weights[i]
	}
	slope, deviation := line(sums[:], length/trendParts)
	rate := arrivals / length
	t := &Trend{Slope: slope, Low: slope - quantile*deviation, High: slope + quantile*deviation, Seconds: length, Requests: int(arrivals)}
	t.Deficit, t.DeficitLow, t.DeficitHigh = t.Slope/rate, t.Low/rate, t.High/rate
	return t, true
}

// line is the slope of the best line through values at equal distances, and its standard deviation with neighbours dependent.
func line(values []float64, distance float64) (slope, deviation float64) {
	n := float64(len(values))
	middle, mean := (n-1)/2, 0.0
	for _, v := range values {
		mean += v / n
	}
	xx, xy := 0.0, 0.0
	for i, v := range values {
		x := float64(i) - middle
		xx += x * x
		xy += x * (v - mean)
	}
	b := xy / xx
	scores := make([]float64, len(values))
	for i, v := range values {
		x := float64(i) - middle
		scores[i] = x * (v - mean - b*x)
	}
	variance := 0.0
	for j := range lag + 1 {
		weight := 2 * (1 - float64(j)/(lag+1))
		if j == 0 {
			weight = 1
		}
		for i := j; i < len(scores); i++ {
			variance += weight * scores[i] * scores[i-j]
		}
	}
	variance *= n / (n - 2) // two parameters were fitted
	return b / distance, math.Sqrt(max(0, variance)) / xx / distance
}

// Saturated says that the server fell behind: the trend is above zero beyond chance, and more than half the tolerance of the load was left
// undone. Less than that a queue near its limit does now and then before it settles.
func (t *Trend) Saturated(tolerance float64) bool { return t.Low > 0 && t.Deficit > tolerance/2 }

// TrendOf is the trend of a run's load; false when there is too little to tell. The load ends with the last request that came due.
func TrendOf(records iter.Seq2[*results.Record, error]) (*Trend, bool, error) {
	var due, done []results.Moment
	var lives []float64
	for rec, err := range records {
		if err != nil {
			return nil, false, err
		}
		if rec.Kind != results.Load || rec.Due == 0 {
			continue
		}
		due = append(due, rec.Due)
		if rec.Done != 0 {
			done = append(done, rec.Done)
			lives = append(lives, time.Duration(rec.Done-rec.Due).Seconds())
		}
	}
	if len(due) == 0 || len(lives) == 0 {
		return nil, false, nil
	}
	slices.Sort(due)
	slices.Sort(done)
	began, end := due[0], due[len(due)-1]
	second := func(m results.Moment) float64 { return time.Duration(m - began).Seconds() }
	counts := make([]count, 0, len(due)+len(done))
	for i, j := 0, 0; i < len(due); {
		at := due[i]
		if j < len(done) && done[j] < at {
			at = done[j]
			j++
		} else {
			i++
		}
		counts = append(counts, count{second(at), float64(i - j), float64(i)})
	}
	t, ok := trend(counts, lifetime(lives), second(end), student95)
	return t, ok, nil
}

// lifetime is how long a request takes before a queue builds up: the lower quartile.
func lifetime(lives []float64) float64 {
	sorted := slices.Sorted(slices.Values(lives))
	return sorted[len(sorted)/4]
}
