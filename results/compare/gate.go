package compare

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"servebench/results"
)

// A Gate is a bar that a comparison must not miss: a figure, and by how much it may get worse.
type Gate struct {
	// Text is the gate as it was written.
	Text string
	// Metric and Statistic name the figure.
	Metric, Statistic string
	// Limit is the bar, as a change for the worse above zero; Unit is "%", "ms" or "points".
	Limit float64
	Unit  string
}

// ParseGate reads a gate: a statistic and a metric in either order, then the change that must not be exceeded, such as
// "p99 ttft +5%", "mean itl +2ms", "output_throughput -3%" or "failures +1%". Without a change, any
// change for the worse misses the bar.
func ParseGate(text string) (Gate, error) {
	g := Gate{Text: text, Unit: "%"}
	bad := func(format string, args ...any) (Gate, error) {
		return g, fmt.Errorf("gate %q: %s: write it like \"p99 ttft +5%%\"", text, fmt.Sprintf(format, args...))
	}
	sign := 0.0
	for _, word := range strings.Fields(strings.ToLower(text)) {
		switch {
		case word[0] == '+' || word[0] == '-':
			if sign != 0 {
				return bad("it has two changes")
			}
			sign = 1
			if word[0] == '-' {
				sign = -1
			}
			number := word[1:]
			for _, unit := range []struct{ suffix, name string }{{"%", "%"}, {"ms", "ms"}} {
				if rest, ok := strings.CutSuffix(number, unit.suffix); ok {
					number, g.Unit = rest, unit.name
					break
				}
			}
			v, err := strconv.ParseFloat(number, 64)
			if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) || number == word[1:] {
				return bad("%s is no change in %% or ms", word)
			}
			g.Limit = v
		case word == "mean" || word == "median" || isPercentile(word):
			if g.Statistic != "" {
				return bad("it has two statistics")
			}
			g.Statistic = word
			if word == "median" {
				g.Statistic = "p50"
			}
		default:
			if g.Metric != "" {
				return bad("it names both %s and %s", g.Metric, word)
			}
			g.Metric = word
		}
	}
	if g.Metric == "" {
		return bad("it names no metric")
	}
	higherIsBetter, isRate, err := kindOf(g.Metric)
	if err != nil {
		return bad("%v", err)
	}
	switch {
	case isRate && g.Statistic != "":
		return bad("%s has no %s", g.Metric, g.Statistic)
	case isRate && g.Unit == "ms":
		return bad("%s is no time", g.Metric)
	case !isRate && g.Statistic == "":
		return bad("say which statistic of %s", g.Metric)
	case higherIsBetter && sign > 0, !higherIsBetter && sign < 0:
		return bad("%s gets worse the other way", g.Metric)
	}
	if isRate {
		g.Statistic = rateStatistic
	}
	if slices.Contains(shareNames, g.Metric) {
		g.Unit = "points"
	}
	return g, nil
}

// isPercentile says that word is p and a number of 0..100.
func isPercentile(word string) bool {
	_, ok := percentileOf(word)
	return ok
}

func percentileOf(word string) (float64, bool) {
	digits, ok := strings.CutPrefix(word, "p")
	if !ok {
		return 0, false
	}
	p, err := strconv.ParseFloat(digits, 64)
	return p, err == nil && p > 0 && p < 100
}

// kindOf says which way a metric is better, and whether it is a rate or share instead of a distribution.
func kindOf(metric string) (higherIsBetter, isRate bool, err error) {
	if _, ok := results.MetricNamed(metric); ok {
		return false, false, nil
	}
	for _, r := range rates {
		if r.name == metric {
			return !r.lowerIsBetter, true, nil
		}
	}
	return false, false, fmt.Errorf("no metric %s: have %s", metric, strings.Join(MetricNames(), ", "))
}

// The outcomes of a gate.
const (
	Passed    = "passed"    // the change is shown to stay within the bar
	Missed    = "missed"    // the figure got worse beyond chance, and by more than the bar
	Undecided = "undecided" // neither was shown
	Absent    = "absent"    // there is no such figure, or too few values for it
)

// A GateResult is what became of a gate in one comparison.
type GateResult struct {
	Gate    string `json:"gate"`
	Outcome string `json:"outcome"`
	// Comparison names the groups and, where there are several, the load.
	Comparison string `json:"comparison"`
	// Change is the change for the worse in the gate's unit, Bound the worse end of its interval; absent when not known.
	Change *float64 `json:"change,omitempty"`
	Bound  *float64 `json:"bound,omitempty"`
	Unit   string   `json:"unit"`
	// P is twice the probability of such a change for the worse by chance, corrected for the number of gates: below 5 % where
	// an interval of 95 % leaves no room for the better.
	P *float64 `json:"p,omitempty"`
	// Text says it in a sentence.
	Text string `json:"text"`

	raw float64
}

// judge holds a row against the gate; P is filled in uncorrected.
func (g *Gate) judge(row *Row, name string, confidence float64) GateResult {
	out := GateResult{Gate: g.Text, Outcome: Undecided, Comparison: name, Unit: g.Unit, raw: math.NaN()}
	if row == nil {
		out.Outcome, out.Text = Absent, "there is no such figure on both sides, or too few values for it"
		return out
	}
	e := row.estimate
	if row.Verdict == Same {
		out.Outcome, out.Change, out.Text = Passed, new(0.0), "both sides are the same"
		return out
	}
	worse := 1.0
	if row.HigherIsBetter {
		worse = -1
	}
	inUnit := func(change float64) float64 {
		switch {
		case g.Unit == "%" && e.logs:
			return worse * math.Expm1(change) * 100
		case g.Unit == "ms" && e.logs:
			return worse * math.Expm1(change) * row.Baseline
		case g.Unit == "points":
			return worse * change * 100
		}
		return worse * change
	}
	if e.logs || g.Unit != "%" {
		out.Change = finite(inUnit(e.change))
	}
	if !row.known {
		out.Text = row.Note
		return out
	}
	if out.Change == nil {
		out.Text = "a side is zero: no ratio"
		return out
	}
	out.raw = min(2*e.above(0, worse*e.change), 1)
	half := 0.0
	if e.se > 0 {
		half = tQuantile((1-confidence)/2, e.df) * e.se
	}
	out.Bound = finite(inUnit(e.change + worse*half))
	if out.Bound == nil {
		out.raw, out.Text = math.NaN(), "its interval has no bound"
	}
	return out
}

// Hold holds every comparison against gates on figures that were compared.
func (r *Report) Hold(gates []Gate) []GateResult {
	var list []GateResult
	for _, c := range r.Comparisons {
		for i := range gates {
			g := &gates[i]
			var row *Row
			if at := slices.IndexFunc(c.Rows, func(x *Row) bool { return x.Metric == g.Metric && x.Statistic == g.Statistic }); at >= 0 {
				row = c.Rows[at]
			}
			list = append(list, g.judge(row, c.name(), r.Confidence))
		}
	}
	settle(gates, list, r.Confidence)
	return list
}

// settle corrects the gates' probabilities for their number and decides.
func settle(gates []Gate, list []GateResult, confidence float64) {
	var ps []float64
	for i := range list {
		ps = append(ps, list[i].raw)
	}
	adjusted := holm(ps)
	for i := range list {
		r := &list[i]
		g := gates[i%len(gates)]
		if math.IsNaN(r.raw) {
			continue
		}
		r.P = new(adjusted[i])
		change := g.worse(*r.Change)
		switch {
		case adjusted[i] < 1-confidence && *r.Change > g.Limit:
			r.Outcome = Missed
			r.Text = fmt.Sprintf("%s, more than %s%s, and not by chance (p %s)", change, short(g.Limit), g.unit(), probability(adjusted[i]))
		case *r.Bound < g.Limit:
			r.Outcome = Passed
			r.Text = fmt.Sprintf("%s, at worst %s", change, g.worse(*r.Bound))
		default:
			r.Text = fmt.Sprintf("%s, but it could be %s", change, g.worse(*r.Bound))
		}
	}
}

// worse words a change.
func (g *Gate) worse(change float64) string {
	if change < 0 {
		return short(-change) + g.unit() + " better"
	}
	return short(change) + g.unit() + " worse"
}

func (g *Gate) unit() string {
	if g.Unit == "%" {
		return " %"
	}
	return " " + g.Unit
}

// holm is Holm's step-down correction: probabilities that may each be held against the same level, with that level's chance
// that any of them errs. What is not a number is no test.
func holm(ps []float64) []float64 {
	var order []int
	for i, p := range ps {
		if !math.IsNaN(p) {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case ps[a] < ps[b]:
			return -1
		case ps[a] > ps[b]:
			return 1
		}
		return a - b
	})
	out := slices.Clone(ps)
	most := 0.0
	for rank, i := range order {
		most = max(most, min(ps[i]*float64(len(order)-rank), 1))
		out[i] = most
	}
	return out
}
