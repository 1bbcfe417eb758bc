// Package compare holds runs against each other: for every metric and percentile the two values, their ratio with a confidence
// interval, and a verdict that chance alone explains in one comparison of twenty at most.
//
// Where a group repeats its run often enough, the run is what is counted. Where it does not, the requests of a run are drawn
// again in blocks, since neighbours share a queue; never its tokens, since those of one request belong together.
// docs/statistics.md tells the method, what it assumes, and the error rates it was seen to have.
package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"servebench/internal/python"
	"servebench/results"
)

// Options say what is compared and how. The zero Options compare the usual figures at 95 %, within a margin of 2 %.
type Options struct {
	// Baseline names the group that the others are held against; empty is the first.
	Baseline string
	// Metrics are names of results.Metrics and of rates; none are the usual ones.
	Metrics []string
	// Percentiles are those of every distribution, 0..100; none are 50, 90, 99 and 99.9.
	Percentiles []float64
	// Basis is what latencies count from; empty is what each run's own report uses.
	Basis results.Basis
	// Match are fields that cut the groups into parts: only runs of the same values are compared.
	Match []string
	// Vary are fields that are meant to differ.
	Vary []string
	// Margin is the relative change that makes no difference; 0 is 0.02, and what is below 0 is none. Shares have a tenth of it, in points.
	Margin float64
	// Confidence is that of intervals and, corrected for the number of figures, of verdicts; 0 is 0.95.
	Confidence float64
	// Seed is that of drawing requests again.
	Seed uint64
	// Draws is how many times the runs are drawn again for a figure; 0 is 500.
	Draws int
	// Gates are bars that must not be missed.
	Gates []Gate
	// Force compares what had better not be.
	Force bool
	// Plain leaves the curves out.
	Plain bool
}

// usual are the metrics of a comparison that names none.
var usual = []string{"ttft", "tpot", "itl", "e2el", "request_throughput", "output_throughput", "goodput", "goodput_share", "failures"}

// MetricNames are the names that Options.Metrics takes.
func MetricNames() []string {
	var names []string
	for i := range results.Metrics {
		names = append(names, results.Metrics[i].Name)
	}
	for _, r := range rates {
		names = append(names, r.name)
	}
	return names
}

// Check says what is wrong with the options.
func (o *Options) Check() error {
	for _, name := range o.Metrics {
		if _, _, err := kindOf(name); err != nil {
			return err
		}
	}
	for _, p := range o.Percentiles {
		if !(p > 0 && p < 100) {
			return fmt.Errorf("percentile %v: want one between 0 and 100", p)
		}
	}
	if o.Margin >= 1 || math.IsNaN(o.Margin) {
		return fmt.Errorf("margin %v: want a share of 0 to 1, such as 2%%", o.Margin)
	}
	if o.Confidence != 0 && !(o.Confidence >= 0.5 && o.Confidence < 1) {
		return fmt.Errorf("confidence %v: want a share of 0.5 to 1, such as 0.95", o.Confidence)
	}
	switch o.Basis {
	case "", results.Service, results.Response, results.VLLM:
	default:
		return fmt.Errorf("no basis %q: have %s, %s, %s", o.Basis, results.Service, results.Response, results.VLLM)
	}
	return nil
}

func (o *Options) margin() float64     { return max(cmp.Or(o.Margin, 0.02), 0) }
func (o *Options) confidence() float64 { return cmp.Or(o.Confidence, 0.95) }

// metrics are the names that are compared: the usual or chosen ones, and those of gates.
func (o *Options) metrics() []string {
	names := slices.Clone(o.Metrics)
	if len(names) == 0 {
		names = slices.Clone(usual)
	}
	for _, g := range o.Gates {
		if !slices.Contains(names, g.Metric) {
			names = append(names, g.Metric)
		}
	}
	return names
}

// latencies are the metrics among them that have a distribution, in the order of results.Metrics.
func (o *Options) latencies() []*results.Metric {
	names := o.metrics()
	var list []*results.Metric
	for i := range results.Metrics {
		if m := &results.Metrics[i]; slices.Contains(names, m.Name) {
			list = append(list, m)
		}
	}
	return list
}

// percentiles are those of the table.
func (o *Options) percentiles() []float64 {
	list := slices.Clone(o.Percentiles)
	if len(list) == 0 {
		list = []float64{50, 90, 99, 99.9}
	}
	for _, g := range o.Gates {
		if p, ok := percentileOf(g.Statistic); ok {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// A Group is some runs under one name: repeats of one another, unless Options.Match tells them apart.
type Group struct {
	Name string
	Runs []*Run
}

// A Report is the outcome of a comparison.
type Report struct {
	Schema     string  `json:"schema"`
	Tool       string  `json:"tool"`
	Baseline   string  `json:"baseline"`
	Confidence float64 `json:"confidence"`
	Margin     float64 `json:"margin"`
	Seed       uint64  `json:"seed"`
	// Comparisons are those of every other group with the baseline, part by part.
	Comparisons []*Comparison `json:"comparisons"`
	Gates       []GateResult  `json:"gates,omitempty"`
	// Notes say how to read it.
	Notes []string `json:"notes,omitempty"`

	// What Benchfmt needs: the groups with their runs, the metrics in order, their percentiles, the fields that cut groups.
	groups      []*Group
	order       []string
	percentiles []float64
	match       []string
}

// A Comparison is one group held against the baseline.
type Comparison struct {
	// Baseline and Candidate describe the two sides.
	Baseline  Side `json:"baseline"`
	Candidate Side `json:"candidate"`
	// Match are the values that both sides share, where groups were cut into parts.
	Match []Field `json:"match,omitempty"`
	// Sample is what was counted: "runs" or "requests".
	Sample string `json:"sample"`
	// Basis is what latencies count from.
	Basis results.Basis `json:"basis"`
	// Paired says that both sides sent the same requests, which were drawn together.
	Paired   bool      `json:"paired"`
	Findings []Finding `json:"findings,omitempty"`
	Rows     []*Row    `json:"rows"`
	Stages   []*Stage  `json:"stages,omitempty"`
	// Curves are the whole distributions.
	Curves []*Curve `json:"curves,omitempty"`
	// LeftOut names figures that had too few values, and how many they need.
	LeftOut []string `json:"left_out,omitempty"`
}

// A Side is one group in a comparison.
type Side struct {
	Name      string   `json:"name"`
	Runs      []string `json:"runs"`
	Requests  int      `json:"requests"`
	Completed int      `json:"completed"`
}

// A Stage compares one stage of the load.
type Stage struct {
	Name string `json:"name"`
	Rows []*Row `json:"rows"`
}

// A RefusedError says why groups were not compared.
type RefusedError struct{ Findings []Finding }

func (e *RefusedError) Error() string {
	var lines []string
	hint := ""
	for _, f := range e.Findings {
		if f.Severity != Refusal {
			continue
		}
		lines = append(lines, f.Text)
		if strings.Contains(f.Text, " inside ") && hint == "" {
			hint = "; --match " + f.Field + " compares equal with equal"
		}
	}
	return "these runs are not comparable: " + strings.Join(lines, "; ") + hint + "; --vary FIELD allows what is meant to differ, --force everything"
}

// Compare holds groups against the baseline. Groups that are not comparable are refused with a *RefusedError.
func Compare(groups []*Group, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	base, others, err := sides(groups, o.Baseline)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Schema: "servebench.compare/1", Tool: results.ToolVersion(), Baseline: base.Name, Confidence: o.confidence(), Margin: o.margin(), Seed: o.Seed,
		groups: groups, order: o.metrics(), percentiles: o.percentiles(), match: o.Match,
	}
	for _, name := range o.Match {
		if err := checkMatch(groups, name); err != nil {
			return nil, err
		}
	}
	parts := partsOf(base, o.Match)
	for _, other := range others {
		theirs := partsOf(other, o.Match)
		for _, ours := range parts {
			i := slices.IndexFunc(theirs, func(p part) bool { return slices.Equal(p.match, ours.match) })
			if i < 0 {
				r.note("%s has no run with %s: those of %s were left out", other.Name, describe(ours.match), base.Name)
				continue
			}
			c := &Comparison{Match: ours.match, Findings: findings(ours.Group, theirs[i].Group, o.Vary)}
			r.Comparisons = append(r.Comparisons, c)
			if c.refused() && !o.Force {
				continue
			}
			c.compute(ours.Group, theirs[i].Group, &o)
		}
		for _, p := range theirs {
			if !slices.ContainsFunc(parts, func(q part) bool { return slices.Equal(p.match, q.match) }) {
				r.note("%s has no run with %s: those of %s were left out", base.Name, describe(p.match), other.Name)
			}
		}
	}
	if len(r.Comparisons) == 0 {
		return nil, fmt.Errorf("no run of %s has a counterpart with the same %s", base.Name, strings.Join(o.Match, ", "))
	}
	if !o.Force {
		var all []Finding
		for _, c := range r.Comparisons {
			if c.refused() {
				all = append(all, c.Findings...)
			}
		}
		if len(all) > 0 {
			return nil, &RefusedError{all}
		}
	}
	r.decide(&o)
	return r, nil
}

func (c *Comparison) refused() bool {
	return slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Severity == Refusal })
}

func (r *Report) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// sides picks the baseline.
func sides(groups []*Group, baseline string) (base *Group, others []*Group, err error) {
	if len(groups) < 2 {
		return nil, nil, fmt.Errorf("a comparison takes two groups of runs, not %d", len(groups))
	}
	var names []string
	for _, g := range groups {
		if len(g.Runs) == 0 {
			return nil, nil, fmt.Errorf("group %s has no run", g.Name)
		}
		if slices.Contains(names, g.Name) {
			return nil, nil, fmt.Errorf("two groups are named %s", g.Name)
		}
		names = append(names, g.Name)
	}
	at := 0
	if baseline != "" {
		if at = slices.Index(names, baseline); at < 0 {
			return nil, nil, fmt.Errorf("no group %q: have %s", baseline, strings.Join(names, ", "))
		}
	}
	return groups[at], slices.Delete(slices.Clone(groups), at, at+1), nil
}

// A part is the runs of a group that share the values of some fields.
type part struct {
	*Group
	match []Field
}

// partsOf cuts a group by fields, in the order of its runs.
func partsOf(g *Group, by []string) []part {
	var parts []part
	for _, r := range g.Runs {
		var match []Field
		for _, name := range by {
			match = append(match, Field{name, r.Field(name)})
		}
		i := slices.IndexFunc(parts, func(p part) bool { return slices.Equal(p.match, match) })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{&Group{Name: g.Name}, match})
		}
		parts[i].Runs = append(parts[i].Runs, r)
	}
	return parts
}

// checkMatch says whether any run has a field: one that none has would take unequal runs for equal.
func checkMatch(groups []*Group, name string) error {
	var have []string
	for _, g := range groups {
		for _, r := range g.Runs {
			if r.Field(name) != "" {
				return nil
			}
			for _, f := range r.Fields {
				if !slices.Contains(have, f.Name) {
					have = append(have, f.Name)
				}
			}
		}
	}
	return fmt.Errorf("no run has a field %q to match: have %s, input_length, output_length, or a path of the scenario, such as dataset.input_len", name, strings.Join(have, ", "))
}

func describe(match []Field) string {
	var words []string
	for _, f := range match {
		words = append(words, f.Name+" "+cmp.Or(f.Value, "unknown"))
	}
	return strings.Join(words, ", ")
}

// name is how a gate names the comparison.
func (c *Comparison) name() string {
	text := c.Candidate.Name + " against " + c.Baseline.Name
	if len(c.Match) > 0 {
		text += " at " + describe(c.Match)
	}
	return text
}

// MinRuns is how many runs a side takes for the run to be what is counted.
const MinRuns = 3

func (c *Comparison) compute(a, b *Group, o *Options) {
	c.Baseline, c.Candidate, c.Basis = sideOf(a), sideOf(b), a.Runs[0].Basis
	c.Sample = "requests"
	if len(a.Runs) >= MinRuns && len(b.Runs) >= MinRuns {
		c.Sample = "runs"
	}
	for _, x := range a.Runs {
		for _, y := range b.Runs {
			c.Paired = c.Paired || c.Sample == "requests" && x.load != 0 && x.load == y.load
		}
	}
	if c.Sample == "requests" {
		c.Findings = append(c.Findings, Finding{Doubt, "repeats", fmt.Sprintf(
			"fewer than %d runs on a side: intervals know what varies inside a run, not from run to run; a server that varies by itself looks changed", MinRuns)})
		gravestFirst(c.Findings)
	}
	p := newPair(a.Runs, b.Runs, o)
	p.runs = c.Sample == "runs"
	c.Rows = p.rows(o.metrics())
	c.LeftOut = p.leftOut
	if !o.Plain {
		c.Curves = p.curves()
	}
	c.stages(a, b, o)
}

func sideOf(g *Group) Side {
	s := Side{Name: g.Name}
	for _, r := range g.Runs {
		s.Runs = append(s.Runs, r.Name)
		s.Requests += r.Requests
		s.Completed += r.Completed
	}
	return s
}

// stages compares stage by stage where every run has the same ones. Rates of a stage are left out: its requests end in the
// next one.
func (c *Comparison) stages(a, b *Group, o *Options) {
	names := a.Runs[0].stages
	if len(names) < 2 {
		return
	}
	for _, r := range slices.Concat(a.Runs, b.Runs) {
		if !slices.Equal(r.stages, names) {
			return
		}
	}
	cut := func(runs []*Run, i int) (out []*Run) {
		for _, r := range runs {
			out = append(out, r.stage(i))
		}
		return out
	}
	for i, name := range names {
		p := newPair(cut(a.Runs, i), cut(b.Runs, i), o)
		p.runs = c.Sample == "runs"
		c.Stages = append(c.Stages, &Stage{name, p.rows(slices.DeleteFunc(o.metrics(), func(m string) bool {
			_, isRate, _ := kindOf(m)
			return isRate && !slices.Contains(shareNames, m)
		}))})
	}
}

// decide gives verdicts, corrected for the number of figures, and holds gates against them.
func (r *Report) decide(o *Options) {
	var all, stages []*Row
	for _, c := range r.Comparisons {
		all = append(all, c.Rows...)
		for _, s := range c.Stages {
			stages = append(stages, s.Rows...)
		}
	}
	verdicts(all, o)
	verdicts(stages, o)
	r.Gates = r.Hold(o.Gates)
	sampled := map[string]bool{}
	for _, c := range r.Comparisons {
		sampled[c.Sample] = true
	}
	tested := 0
	for _, row := range all {
		if row.known {
			tested++
		}
	}
	percent := python.Float(math.Round(o.confidence()*1e4) / 100)
	percent = strings.TrimSuffix(percent, ".0")
	if sampled["runs"] {
		r.note("runs are the sample: intervals by Welch's t on logarithms, values are geometric means of the runs")
	}
	if sampled["requests"] {
		r.note("requests are the sample, drawn again in blocks of neighbours")
	}
	r.note("intervals are %s %% each; verdicts hold together at that level, by Holm's correction for %d figures", percent, tested)
	if len(stages) > 0 {
		r.note("stages are corrected apart from the whole run")
	}
}

// Has says whether a gate ended with the outcome.
func (r *Report) Has(outcome string) bool {
	return slices.ContainsFunc(r.Gates, func(g GateResult) bool { return g.Outcome == outcome })
}

// percentileName is how a percentile stands in labels: p99, p99.9.
func percentileName(p float64) string { return "p" + strconv.FormatFloat(p, 'f', -1, 64) }
