package report

import (
	"fmt"
	"io"
	"slices"

	"servebench/results"
	"servebench/results/summary"
)

// Tools are the names that As takes.
func Tools() []string {
	names := append(summary.ToolNames(), "vllm")
	slices.Sort(names)
	return names
}

// As prints one saved run in the definitions of another load generator, and how those differ from ours.
func As(w io.Writer, run *results.Run, tool string) error {
	if tool == "vllm" {
		return asVLLM(w, run)
	}
	r, err := summary.AsTool(run, tool)
	if err != nil {
		return err
	}
	t := &table{w: w}
	t.line("%s as %s counts", run.Dir(), r.Tool.Title)
	t.line("Definitions: %s.", r.Tool.Source)
	t.line("Percentiles: %s.", r.Tool.Rule)
	t.line("Not offered: %s.", r.Tool.Omits)
	t.line("")
	head := []string{"metric", "unit", "count", "mean", "min"}
	for _, p := range r.Tool.Percentiles {
		head = append(head, "p"+percentileName(p))
	}
	rows := [][]string{append(head, "max")}
	for _, f := range r.Metrics {
		row := []string{f.Name, f.Unit, fmt.Sprint(f.Count), short(f.Mean), short(f.Min)}
		for _, p := range f.Percentiles {
			row = append(row, short(p.Value))
		}
		rows = append(rows, append(row, short(f.Max)))
	}
	t.columns(rows, 2)
	if len(r.Totals) > 0 {
		t.line("")
		rows = nil
		for _, f := range r.Totals {
			rows = append(rows, []string{f.Name, f.Unit, short(f.Value)})
		}
		t.columns(rows, 2)
	}
	t.line("")
	rows = [][]string{{"figure", "its definition", "against ours"}}
	for _, f := range slices.Concat(r.Metrics, r.Totals) {
		rows = append(rows, []string{f.Name, f.Definition, f.Differs})
	}
	t.columns(rows, 3)
	return t.err
}

// vllmDiffers is what vLLM's definitions change against ours.
var vllmDiffers = [][]string{
	{"figure", "its definition", "against ours"},
	{"TTFT, E2EL", "from the start of the send, encoding and connecting included, to what the client itself saw", "ours counts from the kernel's stamps"},
	{"TPOT", "(E2EL - TTFT) / (output tokens - 1)", "as ours, on user-space stamps"},
	{"ITL", "each gap between events, all streams pooled", "as ours, on user-space stamps"},
	{"Peak output token throughput", "events in the busiest second", "events, not tokens; ours has no such figure"},
	{"Peak concurrent requests", "requests that touch a second", "more than were in flight at once; ours is the true peak"},
	{"Total generated tokens", "a reply whose tokens nobody knows counts as one", "ours leaves it out and says so"},
	{"Failures", "in no latency; zeros where nothing was measured", "ours leaves out what was not measured"},
}

func asVLLM(w io.Writer, run *results.Run) error {
	s, err := summary.OfRunFrom(run, results.VLLM)
	if err != nil {
		return err
	}
	t := &table{w: w}
	t.line("%s as vLLM counts", run.Dir())
	t.line("Definitions: vLLM 0.33, vllm bench serve.")
	t.line("")
	if t.err == nil {
		t.err = Text(w, s, Options{Bare: true})
	}
	t.line("")
	t.columns(vllmDiffers, 3)
	return t.err
}

func short(v float64) string { return fmt.Sprintf("%.3f", v) }

// columns prints rows in columns as wide as they need; the first texts are left-justified, the rest are numbers.
func (t *table) columns(rows [][]string, texts int) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			if i > 0 {
				line += "  "
			}
			switch {
			case i >= texts:
				line += fmt.Sprintf("%*s", widths[i], cell)
			case i < len(row)-1:
				line += fmt.Sprintf("%-*s", widths[i], cell)
			default:
				line += cell
			}
		}
		t.line("%s", line)
	}
}
