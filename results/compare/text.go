package compare

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"servebench/results"
)

// A printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// Text writes the report for a terminal.
func Text(w io.Writer, r *Report) error {
	p := &printer{w: w}
	for i, c := range r.Comparisons {
		if i > 0 {
			p.line("")
		}
		p.comparison(r, c)
	}
	if len(r.Gates) > 0 {
		p.line("")
		p.line("Gates")
		for _, g := range r.Gates {
			p.line("  %-9s  %-22s %s: %s", g.Outcome, printable(g.Gate), g.Comparison, g.Text)
		}
	}
	if len(r.Notes) > 0 {
		p.line("")
	}
	for _, n := range r.Notes {
		p.line("note: %s", n)
	}
	return p.err
}

func (p *printer) comparison(r *Report, c *Comparison) {
	p.line("%s", printable(c.name()))
	for _, side := range []Side{c.Baseline, c.Candidate} {
		p.line("  %-12s %s, %d requests, %d completed", printable(side.Name)+":", plural(len(side.Runs), "run"), side.Requests, side.Completed)
	}
	counted := map[results.Basis]string{
		results.Service: "written to the kernel", results.Response: "due", results.VLLM: "sent, as vLLM counts",
	}[c.Basis]
	paired := ""
	if c.Paired {
		paired = "; both sent the same requests"
	}
	p.line("  latencies from when requests were %s; the sample is the %s%s", counted, strings.TrimSuffix(c.Sample, "s"), paired)
	for _, f := range c.Findings {
		p.line("  %s: %s", f.Severity, printable(f.Text))
	}
	p.line("")
	p.rows(r, c.Baseline.Name, c.Candidate.Name, c.Rows, c.Curves)
	for _, text := range c.LeftOut {
		p.line("left out: %s", text)
	}
	for _, s := range c.Stages {
		p.line("")
		p.line("Stage %s", printable(s.Name))
		p.rows(r, c.Baseline.Name, c.Candidate.Name, s.Rows, nil)
	}
}

func (p *printer) rows(r *Report, a, b string, rows []*Row, curves []*Curve) {
	level := strings.TrimSuffix(strconv.FormatFloat(r.Confidence*100, 'f', 1, 64), ".0")
	p.line("%-26s%12s%12s%10s  %-20s  %s", "", clip(printable(a), 11), clip(printable(b), 11), "change", level+" % interval", "verdict")
	for i, row := range rows {
		label := row.Label
		if row.Statistic == rateStatistic {
			label += " (" + row.shownUnit() + ")"
		} else {
			if i == 0 || rows[i-1].Metric != row.Metric {
				p.line("%s (%s)", row.Label, row.Unit)
			}
			label = "  " + row.Statistic
		}
		verdict := string(row.Verdict)
		switch {
		case row.Note != "":
			verdict += ": " + row.Note
		case row.Needs != nil:
			verdict += ": needs " + row.Needs.String()
		}
		change, interval := row.change()
		p.line("%-26s%12s%12s%10s  %-20s  %s", label, row.shown(row.Baseline), row.shown(row.Candidate), change, interval, verdict)
		if i == len(rows)-1 || rows[i+1].Metric != row.Metric {
			p.shift(row.Metric, curves)
		}
	}
}

// shiftPoints are the percentiles of the small shift in text.
var shiftPoints = []float64{5, 25, 50, 75, 95}

// shift prints how the distribution moved.
func (p *printer) shift(metric string, curves []*Curve) {
	for _, c := range curves {
		if c.Metric != metric {
			continue
		}
		var parts []string
		for _, point := range c.Points {
			if slices.Contains(shiftPoints, point.P) && point.Ratio != nil {
				parts = append(parts, fmt.Sprintf("%s %s %%", percentileName(point.P), signed((*point.Ratio-1)*100)))
			}
		}
		if len(parts) > 0 {
			p.line("  shift: %s", strings.Join(parts, ", "))
		}
	}
}

// change is the change and its interval: in per cent where there is a ratio, in points for shares, else in the unit.
func (r *Row) change() (change, interval string) {
	switch {
	case r.Ratio != nil:
		change = signed((*r.Ratio-1)*100) + " %"
		if i := r.RatioInterval; i != nil {
			interval = signed((i.Low-1)*100) + " .. " + signed((i.High-1)*100) + " %"
		}
	case r.share:
		change = signed(r.Difference*100) + " pt"
		if i := r.DifferenceInterval; i != nil {
			interval = signed(i.Low*100) + " .. " + signed(i.High*100) + " pt"
		}
	default:
		change = signed(r.Difference)
		if i := r.DifferenceInterval; i != nil {
			interval = signed(i.Low) + " .. " + signed(i.High)
		}
	}
	return change, interval
}

func (r *Row) shown(v float64) string {
	if r.share {
		v *= 100
	}
	return strconv.FormatFloat(v, 'f', decimals(v), 64)
}

func (r *Row) shownUnit() string {
	if r.share {
		return "%"
	}
	return r.Unit
}

// decimals leave five digits or so.
func decimals(v float64) int {
	switch v = math.Abs(v); {
	case v >= 10000:
		return 0
	case v >= 1000:
		return 1
	case v >= 10 || v == 0:
		return 2
	}
	return 3
}

// signed is a change with its sign.
func signed(v float64) string {
	digits := 2
	switch {
	case math.Abs(v) >= 1e6:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case math.Abs(v) >= 100:
		digits = 0
	case math.Abs(v) >= 10:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Trim(text, "-0.") == "" {
		return strings.TrimPrefix(text, "-")
	}
	if v > 0 {
		return "+" + text
	}
	return text
}

// short is a number in a sentence.
func short(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }

// probability is a p value.
func probability(p float64) string {
	if p < 0.0001 {
		return "< 0.0001"
	}
	return strconv.FormatFloat(p, 'g', 2, 64)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// printable is text without control characters: names come from files.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}

// clip keeps the end of a long name.
func clip(text string, room int) string {
	if n := utf8.RuneCountInString(text); n > room {
		return ".." + string([]rune(text)[n-room+2:])
	}
	return text
}
