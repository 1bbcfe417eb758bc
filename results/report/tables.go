package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"servebench/results"
	"servebench/results/summary"
)

// columns are the percentiles of Markdown and CSV: those that any run has.
var columns = summary.Percentiles

// CSV writes one row a metric and basis, in milliseconds. What was not measured is empty.
func CSV(w io.Writer, s *summary.Summary) error {
	out := csv.NewWriter(w)
	head := []string{"metric", "basis", "count", "mean_ms", "std_ms", "min_ms"}
	for _, p := range columns {
		head = append(head, "p"+percentileName(p)+"_ms")
	}
	if err := out.Write(append(head, "max_ms", "exact")); err != nil {
		return err
	}
	for _, d := range s.Dists {
		row := []string{d.Metric.Name, string(d.Basis), strconv.Itoa(d.Count), number(d.Mean), number(d.Std), number(d.Min)}
		for _, p := range columns {
			text := ""
			if v, ok := d.At(p); ok {
				text = number(v)
			}
			row = append(row, text)
		}
		if err := out.Write(append(row, number(d.Max), strconv.FormatBool(d.Exact))); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// Markdown writes the report for a page or a ticket.
func Markdown(w io.Writer, s *summary.Summary) error {
	t := &table{w: w}
	set := &s.Manifest.Settings
	t.line("# %s", cell(title(set)))
	t.line("")
	for _, warning := range s.Warnings {
		t.line("> **Warning:** %s", oneLine(warning))
		t.line(">")
	}
	if len(s.Warnings) > 0 {
		t.line("")
	}
	t.line("| | |")
	t.line("|---|---|")
	row := func(name, value string) { t.line("| %s | %s |", name, cell(value)) }
	row("Requests", fmt.Sprintf("%d completed, %d failed", s.Completed, s.Failed))
	if s.Duration > 0 {
		row("Duration", fmt.Sprintf("%.2f s", s.Duration))
	}
	rate := func(name, unit string, v *float64) {
		if v != nil {
			row(name, fmt.Sprintf("%.2f %s", *v, unit))
		}
	}
	rate("Requests", "per second", s.RequestRate)
	rate("Input tokens", "per second", s.InputRate)
	rate("Output tokens", "per second", s.OutputRate)
	if g := s.Goodput; g != nil {
		row("Met every objective", fmt.Sprintf("%d of %d (%.2f %%)", g.Requests, s.Requests, g.Share*100))
	}
	for _, b := range s.Bounds {
		row("Objective "+b.Bound, map[bool]string{true: "met: ", false: "missed: "}[b.Met]+b.Measured())
	}
	if s.InFlightPeak != nil {
		row("In flight, true peak", strconv.Itoa(*s.InFlightPeak))
	}
	row("Client", string(s.Health.State))
	if v := s.Manifest.Server.Version; v != "" {
		row("Server", v)
	}
	if m := s.Manifest.Machine; m.CPU != "" {
		row("Machine", fmt.Sprintf("%d x %s", m.Cores, m.CPU))
	}
	t.line("")
	if len(s.Dists) > 0 {
		t.line("| metric (ms) | counted from | count | mean | p50 | p90 | p99 | max |")
		t.line("|---|---|---:|---:|---:|---:|---:|---:|")
		for _, d := range s.Dists {
			cells := []string{d.Metric.Label, counted(d), strconv.Itoa(d.Count), fixed(d.Mean)}
			for _, p := range []float64{50, 90, 99} {
				text := ""
				if v, ok := d.At(p); ok {
					text = fixed(v)
				}
				cells = append(cells, text)
			}
			t.line("| %s | %s |", strings.Join(cells, " | "), fixed(d.Max))
		}
	}
	if len(s.Failures) > 0 {
		t.line("")
		t.line("| failure | count | example |")
		t.line("|---|---:|---|")
		for _, class := range s.Failures {
			text := ""
			if len(class.Examples) > 0 {
				text = fmt.Sprintf("request %d: %.200s", class.Examples[0].ID, class.Examples[0].Message)
			}
			t.line("| %s | %d | %s |", cell(class.Class), class.Count, cell(text))
		}
	}
	return t.err
}

func title(set *results.Settings) string {
	name := set.ModelID
	if set.Label != "" {
		name = set.Label + ": " + name
	}
	if name == "" {
		return "Load test"
	}
	return "Load test of " + name
}

// counted says where a latency starts.
func counted(d *summary.Dist) string {
	if !d.Metric.Based {
		return ""
	}
	return map[results.Basis]string{results.Service: "written", results.Response: "due", results.VLLM: "sent (vLLM)"}[d.Basis]
}

// cell is text that breaks no Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\\", `\\`).Replace(oneLine(text))
}
