package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"servebench/internal/argparse"
	"servebench/internal/lazy"
	"servebench/results/plot"
	"servebench/results/report"
)

// plotFlags are the flags of the plots as they were written.
type plotFlags struct {
	figDir, figBy, rowBy, colBy, curveBy string
	varX, varY, filterBy, binBy          string
	scaleX, scaleY, figName              string
	noErrorBars, dryRun                  bool
	figHeight                            float64
	figDPI                               int
	userVar, gpuVar, labelBy             string
}

func sweepPlotCommand() *cobra.Command {
	var f plotFlags
	cmd := &cobra.Command{
		Use:     "plot DIR",
		Short:   "Plot a figure of a sweep's runs against another",
		Long:    "plot draws the runs of every summary.json below a folder: SVG files, and one HTML page that holds them all.",
		Example: "  servebench bench sweep plot results/20260102_030405 --var-x max_concurrency --var-y p99_ttft_ms --curve-by max_num_seqs",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("plot takes one folder: that of a sweep")
			}
			rows, err := summariesBelow(args[0])
			if err != nil {
				return failed(err)
			}
			figures, names, err := f.figures(rows)
			if err != nil {
				return err
			}
			dir := f.figDir
			if dir == "" {
				dir = args[0]
			}
			return failed(f.write(cmd.OutOrStdout(), dir, names, figures))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.figDir, "fig-dir", "", "the `folder` of the figures (default: that of the sweep)")
	flags.StringVar(&f.figBy, "fig-by", "", "`variables`, separated by commas: one figure for each combination of their values")
	flags.StringVar(&f.rowBy, "row-by", "", "`variables` of the rows of panels")
	flags.StringVar(&f.colBy, "col-by", "", "`variables` of the columns of panels")
	flags.StringVar(&f.curveBy, "curve-by", "", "`variables` of the curves in a panel")
	flags.StringVar(&f.varX, "var-x", "total_token_throughput", "the `variable` on the x axis")
	flags.StringVar(&f.varY, "var-y", "median_ttft_ms", "the `variable` on the y axis")
	flags.StringVar(&f.filterBy, "filter-by", "", "keep only runs that fulfil these `conditions`: var<=value, with == != <= >= < >")
	flags.StringVar(&f.binBy, "bin-by", "", "round `var%size` down to multiples of the size")
	flags.StringVar(&f.scaleX, "scale-x", "", "`scale` of the x axis: linear or log")
	flags.StringVar(&f.scaleY, "scale-y", "", "`scale` of the y axis: linear or log")
	flags.StringVar(&f.figName, "fig-name", "FIGURE", "beginning of the files' `names`")
	flags.BoolVar(&f.noErrorBars, "no-error-bars", false, "leave out the band of one standard deviation over repeats")
	f.common(cmd)
	return cmd
}

func (f *plotFlags) common(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Float64Var(&f.figHeight, "fig-height", 6.4, "height of a panel in `inches` of 100 units")
	flags.IntVar(&f.figDPI, "fig-dpi", 300, "accepted for old command lines: SVG has no `resolution`")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be drawn")
}

// write writes each figure, and a page of all.
func (f *plotFlags) write(w io.Writer, dir string, names []string, figures []*plot.Figure) error {
	page := filepath.Join(dir, f.figName+".html")
	if f.dryRun {
		for i, fig := range figures {
			fmt.Fprintf(w, "%s: %d panels\n", filepath.Join(dir, names[i]+".svg"), len(fig.Panels))
		}
		return nil
	}
	var b bytes.Buffer
	for i, fig := range figures {
		b.Reset()
		if err := plot.SVG(&b, fig); err != nil {
			return err
		}
		if err := report.Save(filepath.Join(dir, names[i]+".svg"), b.Bytes()); err != nil {
			return err
		}
		fmt.Fprintln(w, filepath.Join(dir, names[i]+".svg"))
	}
	b.Reset()
	if err := plot.Page(&b, f.figName, names, figures); err != nil {
		return err
	}
	fmt.Fprintln(w, page)
	return report.Save(page, b.Bytes())
}

// figures are one for each combination of the figure's variables.
func (f *plotFlags) figures(rows []*argparse.Dict) ([]*plot.Figure, []string, error) {
	if err := errors.Join(checkScale("scale-x", f.scaleX), checkScale("scale-y", f.scaleY)); err != nil {
		return nil, nil, err
	}
	rows, err := selected(rows, f.filterBy, f.binBy)
	if err != nil {
		return nil, nil, err
	}
	figBy, rowBy, colBy, curveBy := csvList(f.figBy), csvList(f.rowBy), csvList(f.colBy), csvList(f.curveBy)
	for _, list := range [][]string{figBy, rowBy, colBy, curveBy, {f.varX, f.varY}} {
		for _, name := range list {
			if !slices.ContainsFunc(rows, func(r *argparse.Dict) bool { _, ok := r.Get(name); return ok }) {
				return nil, nil, fmt.Errorf("no run has %s: have %s", name, list2(columnsOf(rows)))
			}
		}
	}
	var figures []*plot.Figure
	var names []string
	for _, figure := range groupBy(rows, figBy) {
		fig := &plot.Figure{
			XLabel: f.varX, YLabel: f.varY, XLog: f.scaleX == "log", YLog: f.scaleY == "log", Height: f.figHeight, Title: strings.Join(figure.pairs(figBy), ", "),
		}
		name := f.figName
		if len(figBy) > 0 {
			name += "-" + strings.Join(figure.pairs(figBy), "-")
		}
		columns := groupBy(figure.rows, colBy)
		fig.Columns = len(columns)
		for _, row := range groupBy(figure.rows, rowBy) {
			for _, column := range columns {
				panel := plot.Panel{Title: strings.Join(append(row.pairs(rowBy), column.pairs(colBy)...), ", ")}
				var cell []*argparse.Dict
				for _, r := range row.rows {
					if column.has(r, colBy) {
						cell = append(cell, r)
					}
				}
				for _, curve := range groupBy(cell, curveBy) {
					panel.Curves = append(panel.Curves, plot.Curve{Name: strings.Join(curve.pairs(curveBy), ", "), Points: f.points(curve.rows)})
				}
				fig.Panels = append(fig.Panels, panel)
			}
		}
		figures, names = append(figures, fig), append(names, sanitized(name))
	}
	return figures, names, nil
}

// points are the means over the runs of one x, with a band of one standard deviation (of a sample).
func (f *plotFlags) points(rows []*argparse.Dict) []plot.Point {
	at := map[float64][]float64{}
	var xs []float64
	for _, r := range rows {
		x, ok := numberOf(r, f.varX)
		y, ok2 := numberOf(r, f.varY)
		if !ok || !ok2 {
			continue
		}
		if _, seen := at[x]; !seen {
			xs = append(xs, x)
		}
		at[x] = append(at[x], y)
	}
	slices.Sort(xs)
	var points []plot.Point
	for _, x := range xs {
		s := spreadOver(at[x])
		p := plot.Point{X: x, Y: s.mean}
		if s.n > 1 && !f.noErrorBars {
			p.Low, p.High = s.mean-s.std, s.mean+s.std
		}
		points = append(points, p)
	}
	return points
}

func checkScale(flag, text string) error {
	if text != "" && text != "linear" && text != "log" {
		return fmt.Errorf("--%s %s: have linear and log", flag, text)
	}
	return nil
}

func csvList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// list2 is a list for an error, cut where it would fill the screen.
func list2(words []string) string {
	if len(words) > 40 {
		words = append(slices.Clone(words[:40]), "...")
	}
	return list(words)
}

func columnsOf(rows []*argparse.Dict) []string {
	var names []string
	for _, r := range rows {
		for key := range r.All() {
			if name := argparse.Str(key); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// A group are runs that agree in some variables.
type plotGroup struct {
	values []any
	rows   []*argparse.Dict
}

// groupBy sorts the runs into groups, in ascending order of numbers and then of texts.
func groupBy(rows []*argparse.Dict, names []string) []plotGroup {
	if len(names) == 0 {
		return []plotGroup{{rows: rows}}
	}
	var groups []plotGroup
	for _, r := range rows {
		i := slices.IndexFunc(groups, func(g plotGroup) bool { return g.has(r, names) })
		if i < 0 {
			g := plotGroup{}
			for _, name := range names {
				v, _ := r.Get(name)
				g.values = append(g.values, v)
			}
			groups, i = append(groups, g), len(groups)
		}
		groups[i].rows = append(groups[i].rows, r)
	}
	slices.SortStableFunc(groups, func(a, b plotGroup) int {
		for i := range names {
			if c := compareValues(a.values[i], b.values[i]); c != 0 {
				return c
			}
		}
		return 0
	})
	return groups
}

func compareValues(a, b any) int {
	x, ok := asNumber(a)
	y, ok2 := asNumber(b)
	if ok && ok2 {
		return cmp.Compare(x, y)
	}
	return strings.Compare(argparse.Str(a), argparse.Str(b))
}

func (g plotGroup) has(r *argparse.Dict, names []string) bool {
	for i, name := range names {
		v, _ := r.Get(name)
		if argparse.Dumps(v) != argparse.Dumps(g.values[i]) {
			return false
		}
	}
	return true
}

func (g plotGroup) pairs(names []string) []string {
	var list []string
	for i, name := range names {
		list = append(list, name+"="+argparse.Str(g.values[i]))
	}
	return list
}

var condition = lazy.Regexp(`^(.*?)(==|!=|<=|>=|<|>)(.*)$`)

// selected applies filters and bins.
func selected(rows []*argparse.Dict, filters, bins string) ([]*argparse.Dict, error) {
	for _, text := range csvList(filters) {
		m := condition().FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("--filter-by %s: want var==value, with == != <= >= < or >", text)
		}
		name, op, want := strings.TrimSpace(m[1]), m[2], strings.TrimSpace(m[3])
		var kept []*argparse.Dict
		for _, r := range rows {
			if v, ok := r.Get(name); ok && fulfils(v, op, want) {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	if len(rows) == 0 {
		return nil, errors.New("--filter-by leaves no run")
	}
	for _, text := range csvList(bins) {
		name, sizeText, ok := strings.Cut(text, "%")
		size, err := strconv.ParseFloat(strings.TrimSpace(sizeText), 64)
		if !ok || err != nil || !(size > 0) {
			return nil, fmt.Errorf("--bin-by %s: want var%%size with a size above 0", text)
		}
		name = strings.TrimSpace(name)
		for i, r := range rows {
			if v, ok := numberOf(r, name); ok {
				rows[i] = paramSet{r}.with(name, math.Floor(v/size)*size).Dict
			}
		}
	}
	return rows, nil
}

// fulfils compares numbers as numbers, booleans as booleans and anything else as text.
func fulfils(value any, op, want string) bool {
	c := 0
	x, isNumber := asNumber(value)
	y, err := strconv.ParseFloat(want, 64)
	switch flag, isBool := value.(bool); {
	case isBool && (strings.EqualFold(want, "true") || strings.EqualFold(want, "false")):
		if flag != strings.EqualFold(want, "true") {
			c = 1
		}
		if op != "==" && op != "!=" {
			return false
		}
	case isNumber && err == nil:
		c = cmp.Compare(x, y)
	default:
		c = strings.Compare(argparse.Str(value), want)
	}
	switch op {
	case "==":
		return c == 0
	case "!=":
		return c != 0
	case "<=":
		return c <= 0
	case ">=":
		return c >= 0
	case "<":
		return c < 0
	}
	return c > 0
}

func sweepParetoCommand() *cobra.Command {
	var f plotFlags
	cmd := &cobra.Command{
		Use:     "plot_pareto DIR",
		Short:   "Plot tokens per second and GPU against tokens per second and user",
		Example: "  servebench bench sweep plot_pareto results/20260102_030405",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("plot_pareto takes one folder: that of a sweep")
			}
			rows, err := summariesBelow(args[0])
			if err != nil {
				return failed(err)
			}
			fig, skipped, err := f.pareto(rows)
			if err != nil {
				return failed(err)
			}
			if skipped > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %d of %d runs are left out: they tell no throughput or no number of users\n", skipped, len(rows))
			}
			f.figName = "PARETO"
			return failed(f.write(cmd.OutOrStdout(), filepath.Join(args[0], "pareto"), []string{"PARETO"}, []*plot.Figure{fig}))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.userVar, "user-count-var", "max_concurrency", "the `variable` that counts users")
	flags.StringVar(&f.gpuVar, "gpu-count-var", "", "the `variable` that counts GPUs (default: the product of the parallel sizes)")
	flags.StringVar(&f.labelBy, "label-by", "max_concurrency,gpu_count", "`variables` to write beside the frontier's points")
	f.common(cmd)
	return cmd
}

// pareto is the figure of all runs with their frontier.
func (f *plotFlags) pareto(rows []*argparse.Dict) (*plot.Figure, int, error) {
	var points []plot.Point
	skipped := 0
	for _, r := range rows {
		throughput, ok := numberOf(r, "output_throughput")
		users, ok2 := f.users(r)
		gpus := f.gpus(r)
		if !ok || !ok2 || gpus <= 0 {
			skipped++
			continue
		}
		var labels []string
		for _, name := range csvList(f.labelBy) {
			if name == "gpu_count" {
				labels = append(labels, fmt.Sprintf("gpu_count=%g", gpus))
			} else if v, ok := r.Get(name); ok {
				labels = append(labels, name+"="+argparse.Str(v))
			}
		}
		points = append(points, plot.Point{X: throughput / users, Y: throughput / gpus, Label: strings.Join(labels, ", ")})
	}
	if len(points) == 0 {
		return nil, skipped, errors.New("no run tells both its output_throughput and its number of users")
	}
	all := slices.Clone(points)
	for i := range all {
		all[i].Label = ""
	}
	return &plot.Figure{
		Title: "Pareto frontier", XLabel: "Tokens/s/user", YLabel: "Tokens/s/GPU", Height: f.figHeight,
		Panels: []plot.Panel{{Curves: []plot.Curve{
			{Name: "runs", Scatter: true, Faint: true, Points: all}, {Name: "frontier", Points: plot.Frontier(points)},
		}}},
	}, skipped, nil
}

// users is the number of users of a run: a rate without end has infinitely many.
func (f *plotFlags) users(r *argparse.Dict) (float64, bool) {
	for _, name := range []string{f.userVar, "request_rate", "max_concurrent_requests"} {
		if v, ok := numberOf(r, name); ok && v > 0 {
			return v, true
		}
	}
	return 0, false
}

// gpus is the number of GPUs of a run, as far as its parameters tell.
func (f *plotFlags) gpus(r *argparse.Dict) float64 {
	if f.gpuVar != "" {
		if v, ok := numberOf(r, f.gpuVar); ok {
			return v
		}
	}
	product := 1.0
	for _, names := range [][]string{{"tensor_parallel_size", "tp"}, {"pipeline_parallel_size", "pp"}, {"data_parallel_size", "dp"}} {
		for _, name := range names {
			if value, ok := (paramSet{r}).param(name); ok {
				if v, ok := asNumber(value); ok {
					product *= v
					break
				}
			}
		}
	}
	return product
}
