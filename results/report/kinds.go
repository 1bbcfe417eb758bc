package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"servebench/results/summary"
)

// formats are what `report --format` offers.
var formats = map[string]func(io.Writer, *summary.Summary) error{
	"text":     func(w io.Writer, s *summary.Summary) error { return Text(w, s, Options{}) },
	"vllm":     func(w io.Writer, s *summary.Summary) error { return Text(w, s, Options{Bare: true}) },
	"json":     JSON,
	"markdown": Markdown,
	"csv":      CSV,
	"vllm-json": func(w io.Writer, s *summary.Summary) error {
		_, err := w.Write(append(VLLMJSON(s), '\n'))
		return err
	},
}

// Formats are the names that Write takes.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Write writes the report in the format named.
func Write(w io.Writer, format string, s *summary.Summary) error {
	write, ok := formats[format]
	if !ok {
		return fmt.Errorf("no report format %q: have %s", format, strings.Join(Formats(), ", "))
	}
	return write(w, s)
}
