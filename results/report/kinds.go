package report

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"servebench/results"
	"servebench/results/summary"
)

// Records are a run's records, one after the other.
type Records = iter.Seq2[*results.Record, error]

// A format is one way to write a run.
type format struct {
	// file is the name that a run folder gives it.
	file  string
	write func(io.Writer, *summary.Summary, Records) error
}

// figures is a format that needs no records.
func figures(write func(io.Writer, *summary.Summary) error) func(io.Writer, *summary.Summary, Records) error {
	return func(w io.Writer, s *summary.Summary, _ Records) error { return write(w, s) }
}

// formats are what `report --format` and a scenario's report.formats offer.
var formats = map[string]format{
	"text": {"report.txt", figures(func(w io.Writer, s *summary.Summary) error { return Text(w, s, Options{}) })},
	"vllm": {"table.txt", figures(func(w io.Writer, s *summary.Summary) error { return Text(w, s, Options{Bare: true}) })},
	"json": {"report.json", figures(JSON)},
	"vllm-json": {"result.json", figures(func(w io.Writer, s *summary.Summary) error {
		_, err := w.Write(append(VLLMJSON(s), '\n'))
		return err
	})},
	"markdown":     {"report.md", figures(Markdown)},
	"csv":          {"report.csv", figures(CSV)},
	"junit":        {"junit.xml", figures(JUnit)},
	"requests-csv": {"requests.csv", RequestsCSV},
	"parquet":      {"requests.parquet", Parquet},
}

// Formats are the names that Write takes.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// FileName is what a run folder calls the report of a format; empty when there is no such format.
func FileName(name string) string { return formats[name].file }

// Write writes the report in the format named.
func Write(w io.Writer, name string, s *summary.Summary, records Records) error {
	f, ok := formats[name]
	if !ok {
		return fmt.Errorf("no report format %q: have %s", name, strings.Join(Formats(), ", "))
	}
	return f.write(w, s, records)
}
