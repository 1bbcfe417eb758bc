package compare

import (
	"cmp"
	"math"
	"slices"
)

// rateStatistic is the statistic of what is no distribution.
const rateStatistic = "whole run"

// A rate is a figure of the whole run: so much a second, or a share of all requests.
type rate struct {
	name, label, unit string
	lowerIsBetter     bool
	// of makes the figure; nil when the run does not have it.
	of func(r *Run) figure
}

// rates are all of them, in the order of reports.
var rates = []rate{
	{name: "request_throughput", label: "Requests", unit: "req/s", of: func(r *Run) figure {
		return r.perSecond(func(w *row) float64 { return one(w.ok) })
	}},
	{name: "output_throughput", label: "Output tokens", unit: "tok/s", of: func(r *Run) figure {
		return r.perSecond(func(w *row) float64 { return known(w.output) })
	}},
	{name: "total_token_throughput", label: "All tokens", unit: "tok/s", of: func(r *Run) figure {
		return r.perSecond(func(w *row) float64 {
			if !w.ok {
				return 0
			}
			return known(w.input) + known(w.output)
		})
	}},
	{name: "goodput", label: "Goodput", unit: "req/s", of: func(r *Run) figure {
		if !r.objectives {
			return nil
		}
		return r.perSecond(func(w *row) float64 { return one(w.good) })
	}},
	{name: "goodput_share", label: "Met every objective", unit: "share", of: func(r *Run) figure {
		if !r.objectives {
			return nil
		}
		return r.share(func(w *row) bool { return w.good })
	}},
	{name: "failures", label: "Failed", unit: "share", lowerIsBetter: true, of: func(r *Run) figure {
		return r.share(func(w *row) bool { return !w.ok })
	}},
}

// shareNames are the rates that are shares of all requests, compared in percentage points.
var shareNames = []string{"goodput_share", "failures"}

// rateBlocks is how many blocks a run has for its rates.
const rateBlocks = 25

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func known(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// perSecond is a sum over time: each request, in the order in which they ended, adds its part and the time since the one before
// it. The time up to the first end, and from the last one to the end of the load, belongs to the run as a whole.
func (r *Run) perSecond(part func(*row) float64) figure {
	if len(r.rows) == 0 || !(r.duration > 0) {
		return nil
	}
	ended := make([]*row, 0, len(r.rows))
	total := 0.0
	for i := range r.rows {
		w := &r.rows[i]
		if math.IsNaN(w.end) {
			return nil
		}
		total += part(w)
		ended = append(ended, w)
	}
	if total == 0 {
		return nil
	}
	slices.SortStableFunc(ended, func(a, b *row) int { return cmp.Compare(a.end, b.end) })
	outside := r.duration - (ended[len(ended)-1].end - ended[0].end)
	if outside < -1e-6*r.duration {
		return nil // the moments do not fit the duration
	}
	f := ratioOf(len(ended), func(i int) (float64, float64) {
		if i == 0 {
			return part(ended[i]), 0
		}
		return part(ended[i]), ended[i].end - ended[i-1].end
	})
	// A queue makes a slow second be followed by a fast one: short blocks would take that for noise.
	f.least = (f.cells() + rateBlocks - 1) / rateBlocks
	f.fixed = max(outside, 0)
	return f
}

func (r *Run) share(of func(*row) bool) figure {
	if len(r.rows) == 0 {
		return nil
	}
	return ratioOf(len(r.rows), func(i int) (float64, float64) { return one(of(&r.rows[i])), 1 })
}
