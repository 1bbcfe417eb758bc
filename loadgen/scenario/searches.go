package scenario

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"servebench/results"
)

// SearchesFolder holds the searches of a sweep: each is a folder as of a single search.
const SearchesFolder = "searches"

// A Capacity is the answer of each search of a sweep against a field that is swept.
type Capacity struct {
	// Field is the swept field, Search the one that was searched along.
	Field  string          `json:"field"`
	Search string          `json:"search"`
	Points []CapacityPoint `json:"points"`
}

// A CapacityPoint is the answer at one point. Points of a line differ in Field only; they stand by ascending X.
type CapacityPoint struct {
	Point int     `json:"point"`
	Line  string  `json:"line,omitempty"`
	X     float64 `json:"x"`
	// Best is the highest value that held, Failed the lowest above it that did not; absent when none failed.
	Best   float64  `json:"best"`
	Failed *float64 `json:"failed,omitempty"`
}

// checkSearches finds what is wrong with a search at every point of a sweep. What is wrong with a point's search is found when
// the point is made.
func (s *Scenario) checkSearches(f *faults) {
	q := s.Search.withDefaults()
	if s.Repeats > 1 {
		f.add("repeats", "a search decides by search.repeats how often it tries a value: leave repeats out")
	}
	if s.Sweep.Order == "counterbalanced" {
		f.add("sweep.order", "with a search each point is made once, and there is no way back: have given, random")
	}
	if s.Sweep.Seeds == "run" {
		f.add("sweep.seeds", "a search sends the same prompts at each of its values: have repeat, fixed")
	}
	for _, field := range s.Sweep.fields() {
		if field == q.Field || field == "load" {
			f.add("sweep", "%s is what the search changes: sweep other fields", q.Field)
		}
	}
}

// fields are the names of all swept fields, in their order.
func (w *Sweep) fields() []string {
	var names []string
	for _, p := range w.points() {
		for _, a := range p {
			if !slices.Contains(names, a.Field) {
				names = append(names, a.Field)
			}
		}
	}
	return names
}

// runSearches makes a search at every point of a sweep. Taken up again, searches that ended are not made again, and one that was cut off goes
// on where it was.
func runSearches(ctx context.Context, s *Scenario, o SeriesOptions) (*Index, error) {
	text, err := s.JSON()
	if err != nil {
		return nil, err
	}
	x := &Index{
		Kind: "searches", Name: s.Name, Scenario: results.RedactJSON(text), Order: cmp.Or(s.Sweep.Order, "given"), Seeds: cmp.Or(s.Sweep.Seeds, "repeat"),
		Repeats: s.Search.withDefaults().Repeats, formats: s.Report.Formats,
	}
	points, err := s.sweepPoints()
	if err != nil {
		return nil, err
	}
	var all []*Scenario
	for i, p := range points {
		all = append(all, p.scenario)
		x.Points = append(x.Points, &PointLine{
			Number: i + 1, Name: pointName(p.settings), Settings: p.settings, Folder: SearchesFolder + "/" + pointFolder("p", i+1, len(points), p.settings),
		})
	}
	if x.Digest, err = digest(x.Kind, x.Order, x.Seeds, s.Seed, o.Sim, all); err != nil {
		return nil, err
	}
	v, err := openSeries(o, x)
	if err != nil {
		return nil, err
	}
	defer v.close()
	for _, p := range x.Points { // what is there already stays in the index if this ends early
		if inner, err := OpenIndex(v.path(p.Folder)); err == nil {
			p.take(inner)
		}
	}
	if err := v.write(); err != nil {
		return x, err
	}
	for n, i := range turn(points, x.Order, uint64(s.Seed), 0) {
		p := x.Points[i]
		v.Watcher.Phase(fmt.Sprintf("search %d of %d: %s", n+1, len(points), p.Name))
		o := v.SeriesOptions
		o.Dir, o.keep, o.title = v.path(p.Folder), v.keep, strings.TrimPrefix(s.Name+": "+p.Name, ": ")
		inner, err := runSearch(ctx, points[i].scenario, o)
		if inner != nil {
			p.take(inner)
			for _, note := range inner.Notes {
				if !slices.Contains(x.Notes, note) {
					x.Notes = append(x.Notes, note)
				}
			}
		}
		p.Error = ""
		switch {
		case ctx.Err() != nil:
			return x, errors.Join(err, v.write())
		case err != nil: // the other points can still be searched
			p.Error = err.Error()
			v.Watcher.Warn(p.Name + ": " + firstLine(p.Error))
		default:
			v.Watcher.Note(p.Name + ": " + inner.Search.Text)
		}
		if err := v.write(); err != nil {
			return x, err
		}
	}
	return x, nil
}

// take enters what a search found. The point's figures are those of the highest value that held.
func (p *PointLine) take(inner *Index) {
	p.Search, p.Runs, p.Figures = inner.Search, len(inner.Runs), nil
	for _, r := range inner.Runs {
		if r.Status == RunPending {
			p.Runs--
		}
	}
	if inner.Search == nil || inner.Search.Best == nil {
		return
	}
	for _, one := range inner.Points {
		if inner.IsAnswer(one) {
			p.Figures = one.Figures
		}
	}
}

// searched says whether the search of every point is over.
func (x *Index) searched() bool {
	return len(x.Points) > 0 && !slices.ContainsFunc(x.Points, func(p *PointLine) bool { return p.Search == nil && p.Error == "" })
}

// capacities are the answers against the swept field with the most different numbers; none without two of them.
func (x *Index) capacities() *Capacity {
	field, most := "", 1
	for _, name := range x.fields() {
		var seen []float64
		numeric := true
		for _, p := range x.Points {
			v, err := strconv.ParseFloat(p.Settings.of(name), 64)
			if numeric = numeric && err == nil; numeric && !slices.Contains(seen, v) {
				seen = append(seen, v)
			}
		}
		if numeric && len(seen) > most {
			field, most = name, len(seen)
		}
	}
	if field == "" {
		return nil
	}
	c := &Capacity{Field: field}
	for _, p := range x.Points {
		if p.Search == nil || p.Search.Best == nil {
			continue
		}
		v, _ := strconv.ParseFloat(p.Settings.of(field), 64)
		var rest Assignments
		for _, a := range p.Settings {
			if a.Field != field {
				rest = append(rest, a)
			}
		}
		c.Search = p.Search.Field
		c.Points = append(c.Points, CapacityPoint{Point: p.Number, Line: rest.String(), X: v, Best: *p.Search.Best, Failed: p.Search.Failed})
	}
	if len(c.Points) < 2 {
		return nil
	}
	slices.SortStableFunc(c.Points, func(a, b CapacityPoint) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.X, b.X)) })
	return c
}

// searchesText writes a line a search.
func (x *Index) searchesText(w io.Writer) error {
	ended := 0
	for _, p := range x.Points {
		if p.Search != nil {
			ended++
		}
	}
	fmt.Fprintf(w, "searches %s: %d of %d ended\n\n", cmp.Or(x.Name, "without a name"), ended, len(x.Points))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "point\t"
	fields := x.fields()
	for _, name := range fields {
		head += name + "\t"
	}
	fmt.Fprintln(t, head+"holds\tfails\tconfidence\truns\treq/s\tout tok/s\tTTFT p50\tp99\tITL p99\tE2EL p50\tp99\t")
	for _, p := range x.Points {
		row := strconv.Itoa(p.Number) + "\t"
		for _, name := range fields {
			row += x.short(p, name) + "\t"
		}
		var best, failed, confidence *float64
		if r := p.Search; r != nil {
			best, failed = r.Best, r.Failed
			if r.Confidence != nil {
				percent := math.Floor(*r.Confidence * 100) // it is a lower bound
				confidence = &percent
			}
		}
		row += shown(best, -1) + "\t" + shown(failed, -1) + "\t"
		if confidence != nil {
			row += shown(confidence, 0) + " %"
		} else {
			row += "-"
		}
		row += "\t" + strconv.Itoa(p.Runs) + "\t"
		fmt.Fprintln(t, row+p.Figures.columns())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "Figures are those of the highest value that holds: means of its runs, latencies in milliseconds.")
	for _, p := range x.Points {
		switch {
		case p.Error != "":
			fmt.Fprintf(w, "\nfailed: %s: %s\n", p.Name, firstLine(p.Error))
		case p.Search != nil:
			fmt.Fprintf(w, "\n%s: %s\n", p.Name, p.Search.Text)
		}
	}
	for _, n := range x.Notes {
		fmt.Fprintln(w, "warning: "+n)
	}
	return nil
}

// searchesCSV writes one row a search: its point's settings, its answer, and the figures of the highest value that held.
func (x *Index) searchesCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	fields := x.fields()
	head := append([]string{"point", "folder"}, fields...)
	head = append(head, "field", "best", "failed", "confidence", "best_held", "best_runs", "failed_held", "failed_runs", "runs")
	if err := out.Write(append(head, figureColumns()...)); err != nil {
		return err
	}
	for _, p := range x.Points {
		row := []string{strconv.Itoa(p.Number), p.Folder}
		for _, name := range fields {
			row = append(row, p.Settings.of(name))
		}
		if r := p.Search; r != nil {
			row = append(row, r.Field, numberText(r.Best), numberText(r.Failed), numberText(r.Confidence), strconv.Itoa(r.BestHeld), strconv.Itoa(r.BestRuns),
				strconv.Itoa(r.FailedHeld), strconv.Itoa(r.FailedRuns))
		} else {
			row = append(row, make([]string, 8)...)
		}
		if err := out.Write(append(append(row, strconv.Itoa(p.Runs)), p.Figures.cells()...)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
