package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// formats are what `compare --format` offers.
var formats = map[string]func(io.Writer, *Report) error{
	"text": Text, "markdown": Markdown, "json": JSON, "csv": CSV, "benchfmt": Benchfmt,
}

// Formats are the names that Write takes.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Write writes the report in the format named.
func Write(w io.Writer, format string, r *Report) error {
	write, ok := formats[format]
	if !ok {
		return fmt.Errorf("no format %q: have %s", format, strings.Join(Formats(), ", "))
	}
	return write(w, r)
}
