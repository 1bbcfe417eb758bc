package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"servebench/results"
)

// A Verdict says what a comparison of one figure showed.
type Verdict string

// The verdicts.
const (
	// Better and Worse changes are beyond chance, corrected for the number of figures.
	Better Verdict = "better"
	Worse  Verdict = "worse"
	// Equivalent figures differ by less than the margin, beyond chance.
	Equivalent Verdict = "equivalent"
	// Same figures are equal, and nothing in them varied.
	Same Verdict = "same"
	// Inconclusive figures may differ by more than the margin or by nothing.
	Inconclusive Verdict = "inconclusive"
)

// A Row compares one figure.
type Row struct {
	Metric string `json:"metric"`
	Label  string `json:"label"`
	// Statistic is "mean", a percentile such as "p99", or "whole run".
	Statistic      string `json:"statistic"`
	Unit           string `json:"unit"`
	HigherIsBetter bool   `json:"higher_is_better"`
	// Baseline and Candidate are the two values, geometric means over the runs of a group.
	Baseline  float64 `json:"baseline"`
	Candidate float64 `json:"candidate"`
	// Difference is Candidate - Baseline; its interval is the ratio's, in the baseline's unit.
	Difference         float64   `json:"difference"`
	DifferenceInterval *Interval `json:"difference_interval,omitempty"`
	// Ratio is Candidate / Baseline; absent where a value is not above zero, and for shares.
	Ratio         *float64  `json:"ratio,omitempty"`
	RatioInterval *Interval `json:"ratio_interval,omitempty"`
	// P is the probability of such a change by chance, Adjusted the same corrected for the number of figures.
	P        *float64 `json:"p,omitempty"`
	Adjusted *float64 `json:"p_adjusted,omitempty"`
	Verdict  Verdict  `json:"verdict"`
	// Needs is about how many more of the sample a side takes for a verdict.
	Needs *Needs `json:"needs,omitempty"`
	// Note says why there is no interval.
	Note string `json:"note,omitempty"`

	estimate estimate
	known    bool // there is an interval
	share    bool
	// runs and requests are those of the side with fewer.
	runs, requests int
	byRuns         bool
}

// An Interval is a confidence interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Needs is about how many more runs or requests each side takes.
type Needs struct {
	Runs     int `json:"runs,omitempty"`
	Requests int `json:"requests,omitempty"`
}

func (n *Needs) String() string {
	if n.Runs > 0 {
		return fmt.Sprintf("about %d more runs a side", n.Runs)
	}
	return fmt.Sprintf("about %d more requests a side", n.Requests)
}

// A pair is two sides while they are compared.
type pair struct {
	a, b    []*Run
	o       *Options
	runs    bool
	points  []float64
	spreads map[*series]*spread
	leftOut []string
}

// curvePoints are the percentiles of curves.
var curvePoints = []float64{1, 2.5, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.9}

func newPair(a, b []*Run, o *Options) *pair {
	p := &pair{a: a, b: b, o: o, spreads: map[*series]*spread{}}
	p.points = o.percentiles()
	if !o.Plain {
		p.points = append(p.points, curvePoints...)
	}
	slices.Sort(p.points)
	p.points = slices.Compact(p.points)
	return p
}

// MinBeyond is how many values must lie beyond a percentile, on either side of it, for an interval.
const MinBeyond = 10

// beyond is how many of n values lie beyond percentile p.
func beyond(n int, p float64) float64 { return math.Round(float64(n)*min(p, 100-p)*1e6) / 1e8 }

// rows are the comparisons of metrics, distributions first.
func (p *pair) rows(names []string) []*Row {
	var rows []*Row
	for i := range results.Metrics {
		m := &results.Metrics[i]
		if !slices.Contains(names, m.Name) {
			continue
		}
		if row := p.row(m, "mean", p.figures(m, 0)); row != nil {
			rows = append(rows, row)
		}
		var missing []string
		for _, at := range p.o.percentiles() {
			if least, ok := p.enough(m, at); !ok {
				if least > 0 {
					missing = append(missing, fmt.Sprintf("%s takes %d", percentileName(at), least))
				}
				continue
			}
			if row := p.row(m, percentileName(at), p.figures(m, at)); row != nil {
				rows = append(rows, row)
			}
		}
		if len(missing) > 0 {
			p.leftOut = append(p.leftOut, fmt.Sprintf("%s: too few values on a side: %s", m.Name, strings.Join(missing, ", ")))
		}
	}
	for i := range rates {
		if r := &rates[i]; slices.Contains(names, r.name) {
			if row := p.rate(r); row != nil {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// enough says whether there are enough values for a percentile; if not, how many it takes, 0 when there are none at all.
func (p *pair) enough(m *results.Metric, at float64) (least int, ok bool) {
	need := int(math.Ceil(MinBeyond*100/min(at, 100-at) - 1e-6))
	for _, side := range [][]*Run{p.a, p.b} {
		total := 0
		for _, r := range side {
			n := 0
			if s := r.series[m.Name]; s != nil {
				n = len(s.values)
			} else if _, stated := r.stated[m.Name+" "+percentileName(at)]; stated {
				n = r.Completed
			} else {
				return 0, false
			}
			total += n
			// A run that is one observation of several may have fewer, but more than its extreme value.
			if !p.runs && beyond(n, at) < MinBeyond || p.runs && beyond(n, at) < 1 {
				return need, false
			}
		}
		if beyond(total, at) < MinBeyond {
			return need, false
		}
	}
	return 0, true
}

// sample is what a figure is of one run: its value and, where its requests are known, the figure itself.
type sample struct {
	value  float64
	figure figure
	load   uint64
}

// samples are those of a run list; nil when a run lacks the figure.
func samples(runs []*Run, metric, statistic string, of func(*Run) figure) []sample {
	var out []sample
	for i, r := range runs {
		s := sample{load: cmp.Or(r.load, uint64(i)+1+r.Identity)}
		if f := of(r); f != nil {
			s.value, s.figure = f.value(), f
		} else if v, ok := r.stated[metric+" "+statistic]; ok {
			s.value = v
		} else {
			return nil
		}
		if math.IsNaN(s.value) || math.IsInf(s.value, 0) {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// spread is that of a run's metric, made once.
func (p *pair) spread(r *Run, metric string) *spread {
	s := r.series[metric]
	if s == nil {
		return nil
	}
	if p.spreads[s] == nil {
		p.spreads[s] = spreadOf(len(r.rows), s.values, s.offsets, p.points)
	}
	return p.spreads[s]
}

// figures makes the figure of a run: a percentile, or the mean for 0.
func (p *pair) figures(m *results.Metric, at float64) func(*Run) figure {
	return func(r *Run) figure {
		s := p.spread(r, m.Name)
		if s == nil {
			return nil
		}
		if at == 0 {
			return s.sum
		}
		if q := s.quantile(at); q != nil {
			return q
		}
		return nil
	}
}

func (p *pair) row(m *results.Metric, statistic string, of func(*Run) figure) *Row {
	row := &Row{Metric: m.Name, Label: m.Label, Statistic: statistic, Unit: m.Unit}
	return p.fill(row, of)
}

func (p *pair) rate(r *rate) *Row {
	row := &Row{Metric: r.name, Label: r.label, Statistic: rateStatistic, Unit: r.unit, HigherIsBetter: !r.lowerIsBetter}
	row.share = slices.Contains(shareNames, r.name)
	return p.fill(row, r.of)
}

// fill compares the figure; nil when a side lacks it.
func (p *pair) fill(row *Row, of func(*Run) figure) *Row {
	a, b := samples(p.a, row.Metric, row.Statistic, of), samples(p.b, row.Metric, row.Statistic, of)
	if a == nil || b == nil {
		return nil
	}
	row.runs, row.requests, row.byRuns = min(len(a), len(b)), min(requestsOf(p.a), requestsOf(p.b)), p.runs
	e, known := p.estimate(row, a, b, cmp.Or(p.o.Draws, replicates))
	row.estimate, row.known = e, known
	row.Baseline, row.Candidate = centre(a, e.logs), centre(b, e.logs)
	row.Difference = row.Candidate - row.Baseline
	if e.logs {
		row.Ratio = finite(math.Exp(e.change))
	}
	if known {
		row.P = finite(e.p())
		row.DifferenceInterval, row.RatioInterval = e.intervals(p.o.confidence(), row.Baseline)
	}
	return row
}

func requestsOf(runs []*Run) (n int) {
	for _, r := range runs {
		n += r.Requests
	}
	return n
}

// centre is the value of a group.
func centre(samples []sample, logs bool) float64 {
	if len(samples) == 1 {
		return samples[0].value
	}
	sum := 0.0
	for _, s := range samples {
		sum += scale(logs, s.value)
	}
	sum /= float64(len(samples))
	if logs {
		return math.Exp(sum)
	}
	return sum
}

// estimate compares two sides of a figure, and says whether the standard error is known.
func (p *pair) estimate(row *Row, a, b []sample, draws int) (estimate, bool) {
	values := func(list []sample) (out []float64) {
		for _, s := range list {
			out = append(out, s.value)
		}
		return out
	}
	va, vb := values(a), values(b)
	logs := !row.share && allPositive(va, vb)
	if p.runs {
		e := betweenRuns(va, vb, logs)
		p.widen(row, &e)
		return e, true
	}
	sideA, okA := sideFrom(a)
	sideB, okB := sideFrom(b)
	if !okA || !okB {
		e := estimate{logs: logs}
		for _, s := range a {
			e.change -= scale(logs, s.value) / float64(len(a))
		}
		for _, s := range b {
			e.change += scale(logs, s.value) / float64(len(b))
		}
		row.Note = fmt.Sprintf("a result file lists no requests for it: %d runs a side give an interval", MinRuns)
		return e, false
	}
	e := withinRuns(sideA, sideB, logs, p.o.Seed, draws)
	p.widen(row, &e)
	if e.blocks < MinBlocks {
		more := "more requests"
		if e.blocks > 0 {
			row.Needs = &Needs{Requests: roundUp(float64(row.requests) * (MinBlocks/max(e.blocks, 1) - 1))}
			more = row.Needs.String()
		}
		row.Note = fmt.Sprintf("too few independent stretches: needs %s, or %d runs a side", more, MinRuns)
		return e, false
	}
	return e, true
}

// widen keeps the error of a share from being too small where hardly any request counts (Agresti and Caffo's one more of each
// kind).
func (p *pair) widen(row *Row, e *estimate) {
	if !row.share {
		return
	}
	variance := 0.0
	for _, side := range [][]*Run{p.a, p.b} {
		var n, x float64
		for _, r := range side {
			for i := range r.rows {
				n++
				if w := &r.rows[i]; row.Metric == "failures" && !w.ok || row.Metric == "goodput_share" && w.good {
					x++
				}
			}
		}
		share := (x + 1) / (n + 2)
		variance += share * (1 - share) / (n + 2)
	}
	if least := math.Sqrt(variance); e.se < least {
		e.se = least
		// The requests themselves tell this error, not blocks or runs.
		e.df, e.blocks = math.Inf(1), math.Inf(1)
	}
}

func sideFrom(list []sample) (side, bool) {
	var s side
	for _, one := range list {
		if one.figure == nil {
			return s, false
		}
		s.figures = append(s.figures, one.figure)
		s.loads = append(s.loads, one.load)
	}
	return s, true
}

// verdicts judges rows as one family.
func verdicts(rows []*Row, o *Options) {
	alpha := 1 - o.confidence()
	differ, alike := make([]float64, len(rows)), make([]float64, len(rows))
	tested := 0
	for i, row := range rows {
		differ[i], alike[i] = math.NaN(), math.NaN()
		row.Verdict = Inconclusive
		if row.same() {
			row.Verdict, row.P, row.known = Same, nil, true
			continue
		}
		if !row.known {
			continue
		}
		tested++
		e := &row.estimate
		differ[i] = e.p()
		if margin, ok := row.margin(o); ok {
			// Two one-sided tests: neither beyond the margin below nor above.
			alike[i] = max(e.above(-margin.Low, e.change), 1-e.above(margin.High, e.change))
		}
	}
	differ, alike = holm(differ), holm(alike)
	for i, row := range rows {
		if math.IsNaN(differ[i]) {
			continue
		}
		row.Adjusted = new(differ[i])
		switch {
		case alike[i] < alpha:
			row.Verdict = Equivalent
		case differ[i] >= alpha:
			row.Needs = row.needs(o, tested)
		case row.estimate.change > 0 == row.HigherIsBetter:
			row.Verdict = Better
		default:
			row.Verdict = Worse
		}
	}
}

// same says that both sides have one value and nothing varied.
func (row *Row) same() bool {
	if row.share {
		return row.Baseline == row.Candidate && (row.Baseline == 0 || row.Baseline == 1)
	}
	return row.known && row.estimate.se == 0 && row.estimate.change == 0
}

// margin is how far below and above no change a figure still counts as equivalent, on the scale of the estimate.
func (row *Row) margin(o *Options) (Interval, bool) {
	switch {
	case row.share:
		return Interval{o.margin() / 10, o.margin() / 10}, true
	case row.estimate.logs:
		return Interval{-math.Log1p(-o.margin()), math.Log1p(o.margin())}, true
	}
	return Interval{}, false
}

// power is the chance with which the number in Needs leads to a verdict, if the change is as it was seen.
const power = 0.8

// needs is how many more of the sample lead to a verdict with that power: that the change is there, or that it is within the margin,
// whichever takes fewer.
func (row *Row) needs(o *Options, tested int) *Needs {
	e := &row.estimate
	target := math.Abs(e.change)
	if m, ok := row.margin(o); ok {
		target = max(target, min(m.Low, m.High)-target)
	}
	if !(target > 0) || !(e.se > 0) {
		return nil
	}
	tail := (1 - o.confidence()) / 2 / float64(max(tested, 1))
	if !row.byRuns {
		factor := math.Pow(e.se*(tQuantile(tail, e.df)+tQuantile(1-power, math.Inf(1)))/target, 2)
		if more := float64(row.requests) * (factor - 1); more >= 1 {
			return &Needs{Requests: roundUp(more)}
		}
		return nil
	}
	// Student's t needs a few more than the normal law, from where the search starts.
	normal := e.se * (tQuantile(tail, math.Inf(1)) + tQuantile(1-power, math.Inf(1))) / target
	from := max(row.runs+1, int(min(float64(row.runs)*normal*normal, 1e6)))
	for n := from; ; n++ {
		se := e.se * math.Sqrt(float64(row.runs)/float64(n))
		if n-from > 1000 || se*(tQuantile(tail, float64(2*n-2))+tQuantile(1-power, math.Inf(1))) <= target {
			return &Needs{Runs: n - row.runs}
		}
	}
}

// roundUp rounds up to two digits: more would claim to know.
func roundUp(v float64) int {
	if v <= 1 {
		return 1
	}
	unit := math.Pow(10, max(math.Floor(math.Log10(v))-1, 0))
	return int(min(math.Ceil(v/unit)*unit, 1e15))
}
