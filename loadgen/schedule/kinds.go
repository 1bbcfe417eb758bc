package schedule

import (
	"maps"
	"math"
	"slices"
	"strings"

	"servebench/internal/numpy"
)

type kind struct {
	needsRate, ramps bool
	gaps             func(Stage, *numpy.Legacy) gaps
}

// kinds lists what a stage can be.
var kinds = map[string]kind{
	"at_once":          {gaps: atOnce},
	"constant":         {needsRate: true, gaps: constant},
	"poisson":          {needsRate: true, gaps: poisson},
	"gamma":            {needsRate: true, gaps: gamma},
	"ramp_linear":      {needsRate: true, ramps: true, gaps: rampLinear},
	"ramp_exponential": {needsRate: true, ramps: true, gaps: rampExponential},
	"replay":           {gaps: replay},
}

// Kinds lists the kinds of stages.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

func names() string { return strings.Join(Kinds(), ", ") }

func atOnce(Stage, *numpy.Legacy) gaps {
	return func(float64, int) (float64, bool) { return 0, true }
}

// constant does not add up gaps: thousands of rounded additions would drift.
func constant(s Stage, _ *numpy.Legacy) gaps {
	return func(at float64, i int) (float64, bool) { return float64(i+1)/s.Rate - at, true }
}

func poisson(s Stage, rng *numpy.Legacy) gaps {
	return func(float64, int) (float64, bool) { return rng.Exponential(1 / s.Rate), true }
}

func gamma(s Stage, rng *numpy.Legacy) gaps {
	unit := units(s, rng, 1)
	return func(float64, int) (float64, bool) { return unit() / s.Rate, true }
}

// units makes gaps of mean 1 with the stage's burstiness, or the usual one.
func units(s Stage, rng *numpy.Legacy, usual float64) func() float64 {
	shape := s.Burstiness
	if shape == 0 {
		shape = usual
	}
	if math.IsInf(shape, 1) {
		return func() float64 { return 1 }
	}
	return func() float64 { return rng.Gamma(shape, 1/shape) }
}

// rampLinear lets the rate grow evenly, with time if the stage has a duration, else with
// the requests.
func rampLinear(s Stage, rng *numpy.Legacy) gaps {
	if s.Duration == 0 {
		return rampByIndex(s, rng, func(p float64) float64 { return s.Rate + (s.To-s.Rate)*p })
	}
	// The request after the mass m (the integral of the rate) solves
	// a/2 t^2 + Rate t = m for t, where a is how fast the rate grows.
	a := (s.To - s.Rate) / s.Duration.Seconds()
	return rampByMass(s, rng, func(m float64) float64 {
		return 2 * m / (s.Rate + math.Sqrt(s.Rate*s.Rate+2*a*m))
	})
}

// rampExponential lets the rate grow by equal factors.
func rampExponential(s Stage, rng *numpy.Legacy) gaps {
	factor := s.To / s.Rate
	if s.Duration == 0 {
		return rampByIndex(s, rng, func(p float64) float64 { return s.Rate * numpy.Pow(factor, p) })
	}
	g := numpy.Log(factor) / s.Duration.Seconds()
	return rampByMass(s, rng, func(m float64) float64 {
		if g == 0 {
			return m / s.Rate
		}
		return math.Log1p(g*m/s.Rate) / g
	})
}

func rampByIndex(s Stage, rng *numpy.Legacy, rate func(progress float64) float64) gaps {
	unit := units(s, rng, math.Inf(1))
	return func(_ float64, i int) (float64, bool) {
		return unit() / rate(float64(i)/float64(max(s.Requests-1, 1))), true
	}
}

// rampByMass places requests where the integral of the rate has grown by one gap of
// mean 1, which keeps the rate right at every moment whatever the gaps are.
func rampByMass(s Stage, rng *numpy.Legacy, at func(mass float64) float64) gaps {
	unit := units(s, rng, math.Inf(1))
	mass := 0.0
	return func(now float64, _ int) (float64, bool) {
		mass += unit()
		t := at(mass)
		// A falling ramp never collects more mass than it has: NaN past its vertex.
		return t - now, t <= s.Duration.Seconds()
	}
}

func replay(s Stage, _ *numpy.Legacy) gaps {
	return func(at float64, i int) (float64, bool) {
		if i >= len(s.Times) {
			return 0, false
		}
		return s.Times[i].Seconds() - at, true
	}
}
