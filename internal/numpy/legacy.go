package numpy

import (
	"fmt"
	"math"
	"math/bits"
)

// A Legacy is NumPy's legacy generator: numpy.random.seed and the functions beside
// it, or a RandomState.
type Legacy struct {
	twister twister
	// The polar method makes normal values in pairs; the second waits here.
	spare    float64
	hasSpare bool
}

// NewLegacy is numpy.random.RandomState(seed).
func NewLegacy(seed uint32) *Legacy {
	l := new(Legacy)
	l.Seed(seed)
	return l
}

// Seed starts the stream again, as numpy.random.seed does.
func (l *Legacy) Seed(seed uint32) {
	l.twister.seed(seed)
	l.spare, l.hasSpare = 0, false
}

// Float64 is random_sample(): uniform in [0, 1).
func (l *Legacy) Float64() float64 { return l.twister.float64() }

// Exponential is standard_exponential() times scale.
func (l *Legacy) Exponential(scale float64) float64 { return float64(scale * l.exponential()) }

func (l *Legacy) exponential() float64 { return -Log(1 - l.Float64()) }

// Normal is standard_normal().
func (l *Legacy) Normal() float64 {
	if l.hasSpare {
		x := l.spare
		l.spare, l.hasSpare = 0, false
		return x
	}
	for {
		x1 := float64(2*l.Float64()) - 1
		x2 := float64(2*l.Float64()) - 1
		r2 := float64(x1*x1) + float64(x2*x2)
		if r2 < 1 && r2 != 0 {
			f := math.Sqrt(float64(-2*Log(r2)) / r2)
			l.spare, l.hasSpare = float64(f*x1), true
			return float64(f * x2)
		}
	}
}

// Gamma is gamma(shape, scale). The shape must not be negative.
func (l *Legacy) Gamma(shape, scale float64) float64 { return float64(scale * l.gamma(shape)) }

// The conversions keep the compiler from fusing a product with a sum, which would
// change the last bit on machines that can.
func (l *Legacy) gamma(shape float64) float64 {
	switch {
	case shape == 1:
		return l.exponential()
	case shape == 0:
		return 0
	case shape < 1:
		for {
			u := l.Float64()
			v := l.exponential()
			if u <= 1-shape {
				x := Pow(u, 1/shape)
				if x <= v {
					return x
				}
				continue
			}
			y := -Log((1 - u) / shape)
			x := Pow(1-shape+float64(shape*y), 1/shape)
			if x <= v+y {
				return x
			}
		}
	}
	b := shape - 1.0/3
	c := 1 / math.Sqrt(9*b)
	for {
		var x, v float64
		for v <= 0 {
			x = l.Normal()
			v = 1 + float64(c*x)
		}
		v = float64(v*v) * v
		u := l.Float64()
		if u < 1-float64(float64(0.0331*float64(x*x))*float64(x*x)) {
			return float64(b * v)
		}
		if Log(u) < float64(float64(0.5*x)*x)+float64(b*(1-v+Log(v))) {
			return float64(b * v)
		}
	}
}

// Uniform is uniform(low, high).
func (l *Legacy) Uniform(low, high float64) float64 { return low + float64((high-low)*l.Float64()) }

// Lognormal is lognormal(mean, sigma): of the normal values beneath it.
func (l *Legacy) Lognormal(mean, sigma float64) float64 {
	return Exp(mean + float64(sigma*l.Normal()))
}

// Zipf is zipf(a), for a above 1.
func (l *Legacy) Zipf(a float64) int {
	const largest = 1<<63 - 1
	if a >= 1025 {
		return 1 // NumPy's never returns from there
	}
	exponent := a - 1
	b := Pow(2, exponent)
	for {
		u := 1 - l.Float64()
		v := l.Float64()
		x := math.Floor(Pow(u, -1/exponent))
		if x > largest || x < 1 {
			continue
		}
		t := Pow(1+1/x, exponent)
		if float64(float64(v*x)*(t-1))/(b-1) <= t/b {
			return int(x)
		}
	}
}

// Poisson is poisson(lambda), for lambda from 0 on.
func (l *Legacy) Poisson(lambda float64) int {
	switch {
	case lambda == 0:
		return 0 // and draws nothing
	case lambda < 10:
		limit, product := Exp(-lambda), 1.0
		for n := 0; ; n++ {
			if product *= l.Float64(); product <= limit {
				return n
			}
		}
	}
	// Hoermann's transformed rejection.
	logLambda := Log(lambda)
	b := 0.931 + float64(2.53*math.Sqrt(lambda))
	a := -0.059 + float64(0.02483*b)
	invAlpha := 1.1239 + 1.1328/(b-3.4)
	vr := 0.9277 - 3.6224/(b-2)
	for {
		u := l.Float64() - 0.5
		v := l.Float64()
		us := 0.5 - math.Abs(u)
		k := math.Floor(float64((2*a/us+b)*u) + lambda + 0.43)
		switch {
		case us >= 0.07 && v <= vr:
			return int(k)
		case k < 0 || us < 0.013 && v > us:
		case Log(v)+Log(invAlpha)-Log(a/float64(us*us)+b) <= -lambda+float64(k*logLambda)-logGamma(k+1):
			return int(k)
		}
	}
}

// logGamma is the logarithm of the gamma function as NumPy's generators have it.
func logGamma(x float64) float64 {
	if x == 1 || x == 2 {
		return 0
	}
	terms := [10]float64{
		8.333333333333333e-02, -2.777777777777778e-03, 7.936507936507937e-04, -5.952380952380952e-04, 8.417508417508418e-04,
		-1.917526917526918e-03, 6.410256410256410e-03, -2.955065359477124e-02, 1.796443723690307e-01, -1.39243221690590e+00,
	}
	steps := 0
	if x < 7 {
		steps = int(7 - x)
	}
	x0 := x + float64(steps)
	inverse := float64((1 / x0) * (1 / x0))
	sum := terms[9]
	for k := 8; k >= 0; k-- {
		sum = float64(sum*inverse) + terms[k]
	}
	const logTwoPi = 1.8378770664093453
	log := sum/x0 + 0.5*logTwoPi + float64((x0-0.5)*Log(x0)) - x0
	for range steps {
		log -= Log(x0 - 1)
		x0--
	}
	return log
}

// IntN is randint(0, n). It panics if n is not positive.
func (l *Legacy) IntN(n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("numpy: randint below %d", n))
	}
	if n == 1 {
		return 0 // and draws nothing
	}
	return int(l.twister.masked(uint64(n - 1)))
}

// Between is randint(low, high+1): both ends included. It panics if high is below low.
func (l *Legacy) Between(low, high int) int { return low + l.IntN(high-low+1) }

// Ints is randint(0, n, size=count).
func (l *Legacy) Ints(n, count int) []int {
	out := make([]int, count)
	for i := range out {
		out[i] = l.IntN(n)
	}
	return out
}

// Shuffle is shuffle() of n values of which swap exchanges two.
func (l *Legacy) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, int(l.twister.masked(uint64(i))))
	}
}

// Permutation is permutation(n).
func (l *Legacy) Permutation(n int) []int {
	p := count(n)
	l.Shuffle(n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}

// Choice is choice(n, size, replace). Without replacement size must not exceed n.
func (l *Legacy) Choice(n, size int, replace bool) []int {
	if replace {
		return l.Ints(n, size)
	}
	return l.Permutation(n)[:size]
}

func count(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	return p
}

// onesUpTo is the smallest 2^k-1 that is at least v.
func onesUpTo(v uint64) uint64 { return 1<<bits.Len64(v) - 1 }
