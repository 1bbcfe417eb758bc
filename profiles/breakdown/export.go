package breakdown

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
)

// WriteCSV writes every figure of the report as one row: the section, the row of it (the
// name where it has one, else its number), the figure, its value. Names of figures are
// those of the JSON form, joined by points.
func (r *Report) WriteCSV(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a float would round nanoseconds
	out := csv.NewWriter(w)
	if err := out.Write([]string{"section", "row", "figure", "value"}); err != nil {
		return err
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		section := key.(string)
		list, isList := value.([]any)
		if !isList {
			writeFigures(out, section, "", "", value)
			continue
		}
		for i, v := range list {
			row := strconv.Itoa(i + 1)
			if m, ok := v.(map[string]any); ok {
				if name := rowName(m); name != "" {
					row += " " + name
				}
			}
			writeFigures(out, section, row, "", v)
		}
	}
	out.Flush()
	return out.Error()
}

// rowName is what a row of a list is called.
func rowName(m map[string]any) string {
	for _, key := range []string{"name", "phase", "file", "from"} {
		if s, ok := m[key].(string); ok {
			if bucket, ok := m["bucket"].(string); ok && key == "phase" {
				s += " " + bucket
			}
			return s
		}
	}
	return ""
}

func writeFigures(out *csv.Writer, section, row, figure string, value any) {
	join := func(part string) string {
		if figure == "" {
			return part
		}
		return figure + "." + part
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			writeFigures(out, section, row, join(key), v[key])
		}
	case []any:
		for i, x := range v {
			part := strconv.Itoa(i + 1)
			if m, ok := x.(map[string]any); ok {
				if name := rowName(m); name != "" {
					part += " " + name
				}
			}
			writeFigures(out, section, row, join(part), x)
		}
	case json.Number:
		out.Write([]string{section, row, figure, v.String()})
	case string:
		out.Write([]string{section, row, figure, v})
	case bool:
		out.Write([]string{section, row, figure, strconv.FormatBool(v)})
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

const htmlText = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Trace report</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; color: #222; background: #fff; }
h2 { font-size: 1.1em; margin: 1.8em 0 .4em; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .15em .9em .15em 0; vertical-align: top; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
td:last-child { white-space: normal; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
p.warning { margin: .2em 0; color: #8a4b00; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } th, td { border-color: #333; } p.warning { color: #e0a050; } }
</style></head><body>
<h1>Trace report</h1>
{{range .Files}}<p>{{.}}</p>
{{end}}{{range $i, $t := .Tables}}<h2>{{.Title}}</h2>
<table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td{{if number .}} class="n"{{end}}>{{.}}</td>{{end}}</tr>
{{end}}</table>
{{if eq $i 0}}{{range $.Warnings}}<p class="warning">warning: {{.}}</p>
{{end}}{{end}}{{end}}</body></html>
`

// looksNumeric says whether a cell is a figure, which is set to the right.
func looksNumeric(s string) bool {
	s = strings.TrimRight(s, " %mnsu")
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	page := template.Must(template.New("report").Funcs(template.FuncMap{"number": looksNumeric}).Parse(htmlText))
	return page.Execute(w, r.page())
}
