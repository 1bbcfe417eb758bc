package summary

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"servebench/internal/numpy"
	"servebench/results"
)

// histogramMax is the longest time a histogram holds; longer ones are counted apart.
const histogramMax = 24 * time.Hour

// A Dist is how one metric is distributed. Numbers are milliseconds.
type Dist struct {
	Metric *results.Metric
	Basis  results.Basis
	// Count is the number of values. A Dist without any is never made.
	Count int
	// Mean and Std (of a population) are exact, whatever was kept of the values; so are Min and Max.
	Mean, Std, Min, Max float64
	// Percentiles interpolate between exact values if Exact; else they come from a histogram of
	// three digits (0.1 %).
	Percentiles []Percentile
	Exact       bool
	// Outside counts values that the histogram cannot hold: negative, or above a day. They are no part of its percentiles.
	Outside int
}

// At is the percentile p, if it was asked for.
func (d *Dist) At(p float64) (float64, bool) {
	for _, v := range d.Percentiles {
		if v.P == p {
			return v.Value, true
		}
	}
	return 0, false
}

// A series collects the values of one metric. Its results do not depend on their order.
type series struct {
	metric *results.Metric
	basis  results.Basis
	// exact holds every value; it is dropped when the recorder's limit is reached.
	exact []time.Duration
	// histogram holds those it can.
	histogram *hdrhistogram.Histogram
	outside   int
	count     int
	min, max  time.Duration
	moments   moments
}

func (s *series) add(v time.Duration, keep bool) {
	if s.count == 0 {
		s.min, s.max = v, v
		s.histogram = newHistogram()
	}
	s.count++
	s.min, s.max = min(s.min, v), max(s.max, v)
	s.moments.add(int64(v))
	if keep {
		s.exact = append(s.exact, v)
	}
	if s.histogram.RecordValue(int64(v)) != nil {
		s.outside++
	}
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(histogramMax), 3) }

// sorted are the exact values in milliseconds, ascending.
func (s *series) sorted() []float64 {
	sorted := make([]float64, len(s.exact))
	for i, v := range s.exact {
		sorted[i] = milliseconds(v)
	}
	slices.Sort(sorted)
	return sorted
}

// dist sums up the values; nil when there are none. Sorted are all of them in milliseconds, ascending; nil when they
// were not kept.
func (s *series) dist(percentiles []float64, sorted []float64) *Dist {
	if s.count == 0 {
		return nil
	}
	exact := sorted != nil
	d := &Dist{
		Metric: s.metric, Basis: s.basis, Count: s.count, Outside: s.outside, Exact: exact,
		Min: milliseconds(s.min), Max: milliseconds(s.max),
	}
	mean, std := s.moments.meanAndStd(s.count)
	d.Mean, d.Std = mean/1e6, std/1e6
	for _, p := range percentiles {
		switch {
		case exact:
			d.Percentiles = append(d.Percentiles, Percentile{p, numpy.PercentileSorted(sorted, p)})
		case s.outside < s.count:
			d.Percentiles = append(d.Percentiles, Percentile{p, milliseconds(time.Duration(s.histogram.ValueAtPercentile(p)))})
		}
	}
	return d
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// moments are the sum and the sum of squares of whole numbers, exact to 128 bits, so that no order of
// additions can change a digit of the mean.
type moments struct {
	sumHigh, sumLow, squareHigh, squareLow uint64
}

func (m *moments) add(v int64) {
	var carry uint64
	m.sumLow, carry = bits.Add64(m.sumLow, uint64(v), 0)
	m.sumHigh, _ = bits.Add64(m.sumHigh, uint64(v>>63), carry)
	size := uint64(v)
	if v < 0 {
		size = -size
	}
	high, low := bits.Mul64(size, size)
	m.squareLow, carry = bits.Add64(m.squareLow, low, 0)
	m.squareHigh, _ = bits.Add64(m.squareHigh, high, carry)
}

func (m *moments) sum() *big.Int {
	sum := wide(m.sumHigh, m.sumLow)
	if m.sumHigh>>63 == 1 {
		sum.Sub(sum, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return sum
}

func (m *moments) total() float64 {
	total, _ := new(big.Float).SetInt(m.sum()).Float64()
	return total
}

func (m *moments) meanAndStd(n int) (mean, std float64) {
	sum := m.sum()
	count := big.NewInt(int64(n))
	mean, _ = new(big.Rat).SetFrac(sum, count).Float64()
	// n*sum(x^2) - sum(x)^2 is exact, and its root over n is the deviation.
	spread := new(big.Int).Mul(count, wide(m.squareHigh, m.squareLow))
	spread.Sub(spread, new(big.Int).Mul(sum, sum))
	variance, _ := new(big.Rat).SetFrac(spread, new(big.Int).Mul(count, count)).Float64()
	return mean, math.Sqrt(variance)
}

func wide(high, low uint64) *big.Int {
	v := new(big.Int).SetUint64(high)
	v.Lsh(v, 64)
	return v.Or(v, new(big.Int).SetUint64(low))
}
