package compare

import "math"

// tTail is the probability that Student's t with df degrees of freedom lies above t.
func tTail(t, df float64) float64 {
	switch {
	case math.IsNaN(t) || df <= 0:
		return math.NaN()
	case t < 0:
		return 1 - tTail(-t, df)
	case math.IsInf(t, 1):
		return 0
	case math.IsInf(df, 1):
		return math.Erfc(t/math.Sqrt2) / 2
	}
	return incompleteBeta(df/2, 0.5, df/(df+t*t)) / 2
}

// tQuantile is the value above which Student's t lies with probability tail, 0 < tail <= 1/2.
func tQuantile(tail, df float64) float64 {
	low, high := 0.0, 1.0
	for tTail(high, df) > tail {
		low, high = high, 2*high
		if high > 1e12 {
			return math.Inf(1)
		}
	}
	for range 80 {
		middle := (low + high) / 2
		if tTail(middle, df) > tail {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// incompleteBeta is the regularised incomplete beta function, by its continued fraction (Lentz's method).
func incompleteBeta(a, b, x float64) float64 {
	if x <= 0 {
		return 0
	}
	if x >= 1 {
		return 1
	}
	if x > (a+1)/(a+b+2) {
		return 1 - incompleteBeta(b, a, 1-x)
	}
	logOf := func(v float64) float64 { g, _ := math.Lgamma(v); return g }
	front := math.Exp(logOf(a+b)-logOf(a)-logOf(b)+a*math.Log(x)+b*math.Log1p(-x)) / a
	const tiny = 1e-300
	keep := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/keep(1-(a+b)*x/(a+1))
	fraction := d
	for m := 1.0; m < 500; m++ {
		term := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / keep(1+term*d)
		c = keep(1 + term/c)
		fraction *= d * c
		term = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / keep(1+term*d)
		c = keep(1 + term/c)
		step := d * c
		fraction *= step
		if math.Abs(step-1) < 1e-14 {
			break
		}
	}
	return front * fraction
}
