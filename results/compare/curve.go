package compare

import (
	"cmp"
	"math"

	"servebench/results"
)

// A Curve is the distribution of one metric on both sides, and how each percentile moved.
type Curve struct {
	Metric string `json:"metric"`
	Label  string `json:"label"`
	Unit   string `json:"unit"`
	// Points are by percentile. Where a percentile has too few values, the point has no interval.
	Points []CurvePoint `json:"points"`
}

// A CurvePoint is one percentile: P against either value is the distribution function, P against Difference or Ratio the shift.
// Intervals hold point by point, not for the whole curve at once.
type CurvePoint struct {
	P                  float64   `json:"p"`
	Baseline           float64   `json:"baseline"`
	Candidate          float64   `json:"candidate"`
	Difference         float64   `json:"difference"`
	DifferenceInterval *Interval `json:"difference_interval,omitempty"`
	Ratio              *float64  `json:"ratio,omitempty"`
	RatioInterval      *Interval `json:"ratio_interval,omitempty"`
}

// curves are the distributions of every metric whose values both sides list.
func (p *pair) curves() []*Curve {
	var out []*Curve
	for _, m := range p.o.latencies() {
		c := &Curve{Metric: m.Name, Label: m.Label, Unit: m.Unit}
		for _, at := range curvePoints {
			if point, ok := p.point(m, at); ok {
				c.Points = append(c.Points, point)
			}
		}
		if len(c.Points) > 0 {
			out = append(out, c)
		}
	}
	return out
}

func (p *pair) point(m *results.Metric, at float64) (CurvePoint, bool) {
	for _, side := range [][]*Run{p.a, p.b} {
		for _, r := range side {
			// With not one value beyond it, a percentile is the largest value.
			if s := r.series[m.Name]; s == nil || beyond(len(s.values), at) < 1 {
				return CurvePoint{}, false
			}
		}
	}
	of := p.figures(m, at)
	a, b := samples(p.a, m.Name, "", of), samples(p.b, m.Name, "", of)
	if a == nil || b == nil {
		return CurvePoint{}, false
	}
	row := &Row{}
	e, known := p.estimate(row, a, b, min(cmp.Or(p.o.Draws, curveReplicates), curveReplicates))
	c := CurvePoint{P: at, Baseline: centre(a, e.logs), Candidate: centre(b, e.logs)}
	c.Difference = c.Candidate - c.Baseline
	if e.logs {
		c.Ratio = finite(math.Exp(e.change))
	}
	if _, ok := p.enough(m, at); !ok || !known {
		return c, true
	}
	c.DifferenceInterval, c.RatioInterval = e.intervals(p.o.confidence(), c.Baseline)
	return c, true
}
