package audit

import (
	"math"
	"slices"
	"time"

	"servebench/results"
)

// Arrivals are how an open loop's requests were to come.
type Arrivals struct {
	// Rate is requests a second; 0 for a closed loop, everything at once, or a rate that changes.
	Rate float64
	// Burstiness is the shape of the gamma distribution of gaps: 1 is Poisson, +Inf is a constant gap.
	Burstiness float64
}

// fixed says that there is one distribution of gaps to test.
func (a Arrivals) fixed() bool { return a.Rate > 0 && !math.IsInf(a.Rate, 1) }

// arrived tests the gaps between requests as they left against the distribution that was asked for, by Kolmogorov and Smirnov. A constant gap
// has no distribution to test: there the gaps themselves are compared.
func arrived(released []results.Moment, a Arrivals) results.Check {
	const name = "arrivals: asked and achieved"
	const fewest = 20
	switch {
	case !a.fixed():
		return none(name, "no fixed rate was asked for")
	case len(released) < fewest:
		return none(name, "fewer than 20 requests")
	}
	sorted := slices.Clone(released)
	slices.Sort(sorted)
	gaps := make([]float64, 0, len(sorted)-1)
	for i := 1; i < len(sorted); i++ {
		gaps = append(gaps, float64(sorted[i]-sorted[i-1])/1e9)
	}
	slices.Sort(gaps)
	if math.IsInf(a.Burstiness, 1) {
		off := make([]float64, len(gaps))
		for i, g := range gaps {
			off[i] = math.Abs(g - 1/a.Rate)
		}
		slices.Sort(off)
		p99 := time.Duration(off[int(0.99*float64(len(off)-1))] * 1e9)
		limit := max(time.Millisecond, time.Duration(1e9/a.Rate/10))
		return check(name, p99 <= limit, "gaps are off the constant %.3f ms by up to %.3f ms (p99; tolerance %.3f ms)", 1e3/a.Rate, p99.Seconds()*1e3, limit.Seconds()*1e3)
	}
	shape := a.Burstiness
	if shape <= 0 {
		shape = 1
	}
	distance, n := 0.0, float64(len(gaps))
	for i, g := range gaps {
		p := gammaBelow(shape, g*a.Rate*shape)
		distance = max(distance, p-float64(i)/n, float64(i+1)/n-p)
	}
	const critical = 1.628 // a true distribution goes beyond it once in a hundred times
	limit := critical / (math.Sqrt(n) + 0.12 + 0.11/math.Sqrt(n))
	return check(name, distance <= limit, "the gaps' distribution is %.4f away from gamma(%.4g) at %.4g/s (Kolmogorov-Smirnov, %d gaps; bound %.4f at 1 %%)",
		distance, shape, a.Rate, len(gaps), limit)
}

// gammaBelow is the probability that a gamma variable of this shape and scale 1 lies below x: the regularized lower incomplete
// gamma function, by its series or its continued fraction, whichever converges.
func gammaBelow(shape, x float64) float64 {
	if x <= 0 {
		return 0
	}
	lg, _ := math.Lgamma(shape)
	front := math.Exp(shape*math.Log(x) - x - lg)
	if x < shape+1 {
		term, sum := 1/shape, 1/shape
		for n := shape + 1; term > sum*1e-15 && n < shape+1e5; n++ {
			term *= x / n
			sum += term
		}
		return min(front*sum, 1)
	}
	const tiny = 1e-300
	b := x + 1 - shape
	c, d := 1/tiny, 1/b
	h := d
	for i := 1.0; i < 1e5; i++ {
		a := -i * (i - shape)
		b += 2
		if d = a*d + b; math.Abs(d) < tiny {
			d = tiny
		}
		if c = b + a/c; math.Abs(c) < tiny {
			c = tiny
		}
		d = 1 / d
		h *= d * c
		if math.Abs(d*c-1) < 1e-15 {
			break
		}
	}
	return max(0, 1-front*h)
}
