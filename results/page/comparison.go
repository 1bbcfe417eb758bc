package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"servebench/results"
	"servebench/results/compare"
)

// comparisonView is what the page of a comparison shows.
type comparisonView struct {
	Title       string
	Index       string
	Level       string // of confidence, in percent
	Margin      string
	Gates       []gateRow
	Comparisons []comparisonPart
	Notes       []string
	Data        template.JS
}

type gateRow struct {
	compare.GateResult
	Class string
}

type comparisonPart struct {
	*compare.Comparison
	Number int
	Name   string
	Match  string
	Basis  string
	Counts []verdictCount
	Tables []comparedTable
	Stages []comparedStage
	Curves bool
}

type verdictCount struct {
	Verdict, Class string
	Count          int
}

type comparedStage struct {
	Name   string
	Tables []comparedTable
}

// A comparedTable is one group of figures: those of a metric, or all rates.
type comparedTable struct {
	Title string
	Rows  []comparedRow
	// Zero and Margin are where no change, and the margin on either side, lie in the drawing of intervals.
	Drawing drawing
}

type comparedRow struct {
	Name, Baseline, Candidate, Change, Interval string
	Verdict                                     compare.Verdict
	Class, Note                                 string
	// The interval's drawing, in percent of its width: the bar and the mark. Drawn says that there is one.
	Drawn          bool
	From, To, Mark float64
}

// A drawing is the scale of the intervals of a comparison: Reach is the change in percent at its edges.
type drawing struct {
	Reach                 float64
	Zero, Lower, Width    float64 // where no change lies, and where the margin begins, and how wide it is
	LeftLabel, RightLabel string
}

// WriteComparison writes the page of a comparison. index is the address of the list of runs, empty without one.
func WriteComparison(w io.Writer, r *compare.Report, index string) error {
	v := &comparisonView{
		Title: "Against " + r.Baseline, Index: index, Notes: r.Notes,
		Level:  strconv.FormatFloat(math.Round(r.Confidence*1e4)/100, 'f', -1, 64),
		Margin: strconv.FormatFloat(math.Round(r.Margin*1e4)/100, 'f', -1, 64),
	}
	if len(r.Comparisons) == 1 {
		v.Title = r.Comparisons[0].Candidate.Name + " against " + r.Baseline
	}
	for _, g := range r.Gates {
		class := map[string]string{compare.Passed: "good", compare.Missed: "bad"}[g.Outcome]
		v.Gates = append(v.Gates, gateRow{g, cmp.Or(class, "fair")})
	}
	d := drawingOf(r)
	var charts []comparedCharts
	for i, c := range r.Comparisons {
		part := comparisonPart{Comparison: c, Number: i, Name: c.Candidate.Name + " against " + c.Baseline.Name, Curves: len(c.Curves) > 0}
		var match []string
		for _, f := range c.Match {
			match = append(match, f.Name+" "+cmp.Or(f.Value, "unknown"))
		}
		part.Match = strings.Join(match, ", ")
		part.Basis = map[results.Basis]string{
			results.Service: "written to the kernel", results.Response: "due", results.VLLM: "sent, as vLLM counts",
		}[c.Basis]
		for _, verdict := range []compare.Verdict{compare.Worse, compare.Better, compare.Equivalent, compare.Same, compare.Inconclusive} {
			n := 0
			for _, row := range c.Rows {
				if row.Verdict == verdict {
					n++
				}
			}
			if n > 0 {
				part.Counts = append(part.Counts, verdictCount{string(verdict), verdictClass(verdict), n})
			}
		}
		part.Tables = comparedTables(c.Rows, d)
		for _, s := range c.Stages {
			part.Stages = append(part.Stages, comparedStage{s.Name, comparedTables(s.Rows, d)})
		}
		v.Comparisons = append(v.Comparisons, part)
		charts = append(charts, comparedChartsOf(c))
	}
	data, err := json.Marshal(map[string]any{"comparisons": charts})
	if err != nil {
		return err
	}
	v.Data = template.JS(data) // JSON as package json writes it holds no < and no >
	return templates().ExecuteTemplate(w, "compare.html", shellOf(v.Title, v, asset("uPlot.min.js"), asset("draw.js"), asset("compare.js")))
}

func verdictClass(v compare.Verdict) string {
	return map[compare.Verdict]string{compare.Better: "good", compare.Worse: "bad"}[v]
}

// comparedTables puts rows of one metric together, and figures of the whole run at the end.
func comparedTables(rows []*compare.Row, d drawing) []comparedTable {
	var tables []comparedTable
	for _, r := range rows {
		title := r.Label + " (" + r.Unit + ")"
		single := !slices.ContainsFunc(results.Metrics, func(m results.Metric) bool { return m.Name == r.Metric })
		if single {
			title = "Whole run"
		}
		if n := len(tables); n == 0 || tables[n-1].Title != title {
			tables = append(tables, comparedTable{Title: title, Drawing: d})
		}
		t := &tables[len(tables)-1]
		t.Rows = append(t.Rows, comparedRowOf(r, single, d))
	}
	return tables
}

func comparedRowOf(r *compare.Row, single bool, d drawing) comparedRow {
	row := comparedRow{Name: r.Statistic, Verdict: r.Verdict, Class: verdictClass(r.Verdict), Note: r.Note}
	scale, unit := 1.0, ""
	if r.Unit == "share" {
		scale, unit = 100, " pt"
	}
	if single {
		row.Name = r.Label + " (" + strings.Replace(r.Unit, "share", "%", 1) + ")"
	}
	if row.Note == "" && r.Needs != nil {
		row.Note = "needs " + r.Needs.String()
	}
	row.Baseline, row.Candidate = figured(r.Baseline*scale), figured(r.Candidate*scale)
	switch {
	case r.Ratio != nil:
		row.Change = signed((*r.Ratio-1)*100) + " %"
		if i := r.RatioInterval; i != nil {
			row.Interval = signed((i.Low-1)*100) + " … " + signed((i.High-1)*100) + " %"
			row.Drawn = true
			row.From, row.To, row.Mark = d.place((i.Low-1)*100), d.place((i.High-1)*100), d.place((*r.Ratio-1)*100)
		}
	default:
		row.Change = signed(r.Difference*scale) + unit
		if i := r.DifferenceInterval; i != nil {
			row.Interval = signed(i.Low*scale) + " … " + signed(i.High*scale) + unit
		}
	}
	return row
}

// drawingOf is the scale on which the intervals of all figures are drawn: one for the whole page, so that lengths can be compared.
// What reaches further is cut at the edge, where it is seen to.
func drawingOf(r *compare.Report) drawing {
	reach := 2 * r.Margin * 100
	var ends []float64
	for _, c := range r.Comparisons {
		for _, row := range c.Rows {
			if i := row.RatioInterval; i != nil {
				ends = append(ends, math.Abs(i.Low-1)*100, math.Abs(i.High-1)*100)
			}
		}
	}
	if len(ends) > 0 {
		slices.Sort(ends)
		reach = max(reach, ends[len(ends)*9/10])
	}
	for _, nice := range []float64{1, 2, 5, 10, 20, 50, 100} {
		if nice >= reach || nice == 100 {
			reach = nice
			break
		}
	}
	d := drawing{Reach: reach, Zero: 50}
	d.Lower = d.place(-100 * r.Margin)
	d.Width = d.place(100*r.Margin) - d.Lower
	text := strconv.FormatFloat(reach, 'f', -1, 64)
	d.LeftLabel, d.RightLabel = "−"+text+" %", "+"+text+" %"
	return d
}

// place is where a change in percent lies, 0..100.
func (d drawing) place(change float64) float64 {
	return math.Round(100*min(max(50+50*change/d.Reach, 0), 100)) / 100
}

// figured is a figure with five digits or so.
func figured(v float64) string {
	decimals := 3
	switch a := math.Abs(v); {
	case a >= 10000:
		decimals = 0
	case a >= 1000:
		decimals = 1
	case a >= 10 || a == 0:
		decimals = 2
	}
	return fixed(decimals, v)
}

// signed is a change with its sign.
func signed(v float64) string {
	decimals := 2
	switch a := math.Abs(v); {
	case a >= 100:
		decimals = 0
	case a >= 10:
		decimals = 1
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	switch {
	case strings.Trim(text, "-0.") == "":
		return strings.TrimPrefix(text, "-")
	case v > 0:
		return "+" + text
	}
	return "−" + strings.TrimPrefix(text, "-")
}

// comparedCharts are the distributions of one comparison.
type comparedCharts struct {
	Baseline  string          `json:"baseline"`
	Candidate string          `json:"candidate"`
	Level     string          `json:"level"`
	Curves    []comparedCurve `json:"curves"`
}

type comparedCurve struct {
	Label     string `json:"label"`
	Unit      string `json:"unit"`
	P         floats `json:"p"`
	Baseline  floats `json:"baseline"`
	Candidate floats `json:"candidate"`
	// Shift is the change of each percentile in percent, Low and High its interval.
	Shift floats `json:"shift"`
	Low   floats `json:"low"`
	High  floats `json:"high"`
}

func comparedChartsOf(c *compare.Comparison) comparedCharts {
	out := comparedCharts{Baseline: c.Baseline.Name, Candidate: c.Candidate.Name, Curves: []comparedCurve{}}
	for _, curve := range c.Curves {
		x := comparedCurve{Label: curve.Label, Unit: curve.Unit}
		for _, p := range curve.Points {
			x.P = append(x.P, p.P)
			x.Baseline, x.Candidate = append(x.Baseline, p.Baseline), append(x.Candidate, p.Candidate)
			shift, low, high := math.NaN(), math.NaN(), math.NaN()
			if p.Ratio != nil {
				shift = (*p.Ratio - 1) * 100
			}
			if i := p.RatioInterval; i != nil {
				low, high = (i.Low-1)*100, (i.High-1)*100
			}
			x.Shift, x.Low, x.High = append(x.Shift, shift), append(x.Low, low), append(x.High, high)
		}
		out.Curves = append(out.Curves, x)
	}
	return out
}

// WriteRefusal writes the page of a comparison that was refused, with the address that compares all the same; index is that of
// the list of runs.
func WriteRefusal(w io.Writer, refused *compare.RefusedError, force, index string) error {
	var reasons []string
	for _, f := range refused.Findings {
		if f.Severity == compare.Refusal {
			reasons = append(reasons, f.Text)
		}
	}
	return templates().ExecuteTemplate(w, "refused.html", shellOf("Not comparable", struct {
		Reasons      []string
		Force, Index string
	}{reasons, force, index}))
}

// sides words the runs of a side.
func sides(s compare.Side) string {
	return fmt.Sprintf("%s, %s requests, %s completed", plural(len(s.Runs), "run"), count(s.Requests), count(s.Completed))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
