package numpy

import (
	"math"
	"slices"
)

// Sum is numpy.sum of contiguous doubles: pairwise, in eight lanes below 128 values. The
// order of the additions decides the last bits.
func Sum(xs []float64) float64 {
	n := len(xs)
	if n < 8 {
		sum := 0.0
		for _, x := range xs {
			sum += x
		}
		return sum
	}
	if n > 128 {
		half := n / 2
		half -= half % 8
		return Sum(xs[:half]) + Sum(xs[half:])
	}
	var r [8]float64
	copy(r[:], xs)
	i := 8
	for ; i+8 <= n; i += 8 {
		for j, x := range xs[i : i+8] {
			r[j] += x
		}
	}
	sum := ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
	for _, x := range xs[i:] {
		sum += x
	}
	return sum
}

// Mean is numpy.mean; NaN of nothing.
func Mean(xs []float64) float64 { return Sum(xs) / float64(len(xs)) }

// Std is numpy.std: the deviation of a population (ddof 0); NaN of nothing.
func Std(xs []float64) float64 {
	mean := Mean(xs)
	squares := make([]float64, len(xs))
	for i, x := range xs {
		d := x - mean
		squares[i] = float64(d * d)
	}
	return math.Sqrt(Sum(squares) / float64(len(xs)))
}

// Median is numpy.median; NaN of nothing.
func Median(xs []float64) float64 { return MedianSorted(sorted(xs)) }

// MedianSorted is Median of values that ascend.
func MedianSorted(xs []float64) float64 {
	n := len(xs)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return xs[n/2]
	}
	return (xs[n/2-1] + xs[n/2]) / 2
}

// Percentile is numpy.percentile(xs, p), p in 0..100: linear between the two nearest
// ranks; NaN of nothing.
func Percentile(xs []float64, p float64) float64 { return PercentileSorted(sorted(xs), p) }

// PercentileSorted is Percentile of values that ascend.
func PercentileSorted(xs []float64, p float64) float64 {
	n := len(xs)
	if n == 0 {
		return math.NaN()
	}
	v := float64(float64(n-1) * (p / 100))
	if v >= float64(n-1) {
		return xs[n-1]
	}
	if v < 0 {
		return xs[0]
	}
	floor := math.Floor(v)
	t := v - floor
	a, b := xs[int(floor)], xs[int(floor)+1]
	if t >= 0.5 {
		return b - float64((b-a)*(1-t))
	}
	return a + float64((b-a)*t)
}

func sorted(xs []float64) []float64 {
	s := slices.Clone(xs)
	slices.Sort(s)
	return s
}
