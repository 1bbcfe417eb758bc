package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// indexFormats are what `report --format` offers for a series.
var indexFormats = map[string]func(*Index, io.Writer) error{
	"text": (*Index).Text,
	"csv":  (*Index).CSV,
	"json": func(x *Index, w io.Writer) error {
		text, err := json.MarshalIndent(x, "", "  ")
		if err == nil {
			_, err = w.Write(append(text, '\n'))
		}
		return err
	},
	"junit": (*Index).JUnit,
}

// IndexFormats are the names that Write takes.
func IndexFormats() []string { return slices.Sorted(maps.Keys(indexFormats)) }

// Write writes the series in the format named.
func (x *Index) Write(w io.Writer, format string) error {
	write, ok := indexFormats[format]
	if !ok {
		return fmt.Errorf("no format %q of a series: have %s; each of its runs has a folder, which has more", format, strings.Join(IndexFormats(), ", "))
	}
	return write(x, w)
}

// keepReports writes those of the scenario's report.formats that a series has, beside its index and table.
func (x *Index) keepReports(dir string) error {
	for _, format := range x.formats {
		write, ok := indexFormats[format]
		if !ok || format == "json" || format == "csv" {
			continue
		}
		err := results.WriteStream(filepath.Join(dir, report.FileName(format)), func(w io.Writer) error { return write(x, w) })
		if err != nil {
			return err
		}
	}
	return nil
}

// JUnit writes a suite a point: that each of its runs went to its end and met the objectives. Of a search that is not asked of every
// run, but that some value holds.
func (x *Index) JUnit(w io.Writer) error {
	var suites []report.Suite
	if x.Kind == "search" {
		suites = append(suites, report.Suite{Name: x.title(), Began: x.Created, Cases: []report.Case{searchCase(x.Search)}})
		return report.WriteJUnit(w, "servebench", suites)
	}
	for _, p := range x.Points {
		if x.Kind == "searches" {
			suites = append(suites, report.Suite{Name: p.Name, Properties: p.properties(x), Cases: []report.Case{searchCase(p.Search)}})
			if p.Error != "" {
				last := &suites[len(suites)-1].Cases[0]
				last.State, last.Message = report.CaseError, p.Error
			}
			continue
		}
		name := p.Name
		if len(p.Settings) == 0 && x.Kind == "repeats" {
			name = x.title()
		}
		suite := report.Suite{Name: name, Properties: p.properties(x)}
		for _, r := range x.Runs {
			if r.Point != p.Number {
				continue
			}
			if suite.Began == 0 {
				suite.Began = r.Began
			}
			prefix := ""
			if x.Repeats > 1 {
				prefix = fmt.Sprintf("repeat %d: ", r.Repeat)
			}
			cases := r.cases(prefix)
			suite.Seconds += cases[0].Seconds
			suite.Cases = append(suite.Cases, cases...)
		}
		suites = append(suites, suite)
	}
	return report.WriteJUnit(w, "servebench", suites)
}

// properties say what a point is.
func (p *PointLine) properties(x *Index) []results.Pair {
	list := []results.Pair{{Key: "series", Value: x.title()}}
	for _, a := range p.Settings {
		list = append(list, results.Pair{Key: a.Field, Value: p.Settings.of(a.Field)})
	}
	return list
}

// title is the series' name, or what it is.
func (x *Index) title() string {
	if x.Name != "" {
		return x.Name
	}
	return x.Kind
}

// cases are what is asked of a run.
func (r *RunLine) cases(prefix string) []report.Case {
	end := report.Case{Class: "run", Name: prefix + "the run goes to its end", Output: r.Folder}
	switch r.Status {
	case RunPending:
		end.State, end.Message = report.CaseSkipped, "it was not made yet"
	case RunFailed:
		end.State, end.Message = report.CaseError, firstLine(r.Reason)
	}
	if r.Figures != nil && r.Figures.Duration != nil {
		end.Seconds = *r.Figures.Duration
	}
	list := []report.Case{end}
	for _, b := range r.Bounds {
		list = append(list, report.ObjectiveCase(prefix, b))
	}
	if r.Figures != nil && r.Figures.Client != "" {
		list = append(list, report.ClientCase(prefix, r.Figures.Client, nil))
	}
	return list
}

// searchCase says whether a search found a value.
func searchCase(found *SearchResult) report.Case {
	c := report.Case{Class: "search", Name: "a value holds"}
	switch {
	case found == nil:
		c.State, c.Message = report.CaseSkipped, "the search is not over"
	case found.Best == nil:
		c.State, c.Message = report.CaseFailed, found.Text
	default:
		c.Output = found.Text
	}
	if found != nil {
		c.Name = "a value of " + found.Field + " holds"
	}
	return c
}

// missed are the objectives that a run which ended well did not meet.
func (r *RunLine) missed() []summary.BoundResult {
	if r.Status != RunOK {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Bounds), func(b summary.BoundResult) bool { return b.Met })
}

// Missed says why a series did not meet its bar: a search found no value that holds, or repeats of one scenario missed an objective. The
// points of a sweep are there to see where objectives are missed: they have no bar.
func (x *Index) Missed() string {
	switch {
	case x.Kind == "search" && x.Search != nil && x.Search.Best == nil:
		return x.Search.Text
	case x.Kind == "searches":
		var list []string
		for _, p := range x.Points {
			if p.Search != nil && p.Search.Best == nil {
				list = append(list, p.Name)
			}
		}
		if len(list) > 0 {
			return fmt.Sprintf("no value holds at %d of %d points: %s", len(list), len(x.Points), strings.Join(list, "; "))
		}
	case x.Kind == "repeats":
		var list []string
		for _, r := range x.Runs {
			for _, b := range r.missed() {
				list = append(list, fmt.Sprintf("%s in repeat %d: %s", b.Bound, r.Repeat, b.Measured()))
			}
		}
		if len(list) > 0 {
			return "objectives were missed: " + strings.Join(list, "; ")
		}
	}
	return ""
}
