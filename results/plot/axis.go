package plot

import "math"

// An axis maps values to 0..1. On a logarithmic one, low and high are logarithms.
type axis struct {
	low, high float64
	log       bool
}

// axis is the one that holds all values, and the number of points that it cannot.
func (f *Figure) axis(log bool, values func(Point) []float64) (a axis, hidden int) {
	a = axis{low: math.Inf(1), high: math.Inf(-1), log: log}
	for i := range f.Panels {
		for _, c := range f.Panels[i].Curves {
			for _, p := range c.Points {
				for j, v := range values(p) {
					if !a.holds(v) {
						if j == 0 {
							hidden++
						}
						continue
					}
					if log {
						v = math.Log10(v)
					}
					a.low, a.high = min(a.low, v), max(a.high, v)
				}
			}
		}
	}
	if !(a.low <= a.high) {
		a.low, a.high = 0, 1
	}
	room := (a.high - a.low) * 0.05
	if room == 0 {
		room = max(math.Abs(a.low)*0.05, 0.5)
	}
	// A scale that begins near zero begins there: lengths then compare.
	if !log && a.low >= 0 && a.low < a.high/2 {
		a.low = 0
	} else {
		a.low -= room
	}
	a.high += room
	return a, hidden
}

// holds says whether the axis can show v at all.
func (a axis) holds(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0) }

// clamp brings the end of a band onto the axis.
func (a axis) clamp(v float64) float64 {
	if a.log && v <= 0 {
		return math.Pow(10, a.low)
	}
	if !a.log {
		return min(max(v, a.low), a.high)
	}
	return v
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return (v - a.low) / (a.high - a.low)
}

// ticks are round values, five or so.
func (a axis) ticks() []float64 {
	if a.log {
		return a.decades()
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(step*m) <= 7 {
			step *= m
			break
		}
	}
	var list []float64
	for k := math.Ceil(a.low/step - 1e-9); k*step <= a.high+step*1e-9; k++ {
		list = append(list, k*step)
	}
	return list
}

func (a axis) decades() []float64 {
	marks := []float64{1}
	if a.high-a.low < 2.5 {
		marks = []float64{1, 2, 5}
	}
	var list []float64
	for d := math.Floor(a.low); d <= a.high; d++ {
		for _, m := range marks {
			if v := m * math.Pow(10, d); math.Log10(v) >= a.low && math.Log10(v) <= a.high {
				list = append(list, v)
			}
		}
	}
	return list
}
