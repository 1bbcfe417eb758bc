// Package page makes a run something to look at: one HTML file with its figures, its curves, its requests one by one, and what
// the server's trace says. The file needs nothing but a browser, and asks nothing of any network: its own content policy forbids it.
//
// Every number on a page is computed here, in Go, and most by the summary that the text report prints. The script in
// the page places and formats numbers, and never computes one.
package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// FileName is what a run folder calls its page.
const FileName = "report.html"

// Options say what belongs to a page beside the run.
type Options struct {
	// Server is what the run found in the server's trace; nil without one.
	Server *report.Server
	// Trace is the file name of the merged trace in the run's folder; empty without one.
	Trace string
	// Viewer is the address of a page that opens the trace, where the page is served by a program that has one; empty
	// in a file.
	Viewer string
	// Index is the address of the list of runs, where there is one.
	Index string
}

//go:embed assets
var assets embed.FS

func asset(name string) string {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"ms": ms, "fixed": fixed, "count": count, "percent": percent, "interval": Interval.text, "sides": sides, "dict": dict,
	}).ParseFS(assets, "assets/*.html"))
})

// dict makes a map of keys and values, for templates that take more than one thing.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// A shell is what all pages are wrapped in.
type shell struct {
	Title string
	// Policy forbids the page every address, and every script but those that stand in it.
	Policy  string
	Style   template.HTML
	Scripts template.HTML
	Notices string
	Body    any
}

func shellOf(title string, body any, scripts ...string) *shell {
	s := &shell{Title: title, Body: body}
	style := asset("page.css")
	if slices.Contains(scripts, asset("uPlot.min.js")) {
		s.Notices = asset("uPlot.LICENSE")
		style = asset("uPlot.min.css") + "\n" + style
	}
	policy := []string{"default-src 'none'", "img-src data:", "style-src " + digest(style)}
	if len(scripts) > 0 {
		var b strings.Builder
		digests := "script-src"
		for _, text := range scripts {
			digests += " " + digest(text)
			b.WriteString("<script>" + text + "</script>\n")
		}
		policy = append(policy, digests)
		s.Scripts = template.HTML(b.String())
	}
	s.Style = template.HTML("<style>" + style + "</style>")
	s.Policy = strings.Join(policy, "; ")
	return s
}

// digest is how a content policy names a text that it lets pass.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Write writes the page of a run. It reads the records four times and holds little of them.
func Write(w io.Writer, run *results.Run, o Options) error {
	s, err := summary.OfRun(run)
	if err != nil {
		return err
	}
	load := func(yield func(*results.Record, error) bool) {
		for rec, err := range run.Records() {
			if (err != nil || rec.Kind == results.Load) && !yield(rec, err) {
				return
			}
		}
	}
	return write(w, run.Manifest(), s, load, o)
}

// write writes the page from looks at the requests of the load.
func write(w io.Writer, m *results.Manifest, s *summary.Summary, load iter.Seq2[*results.Record, error], o Options) error {
	v, err := viewOf(m, s, load, o)
	if err != nil {
		return err
	}
	return templates().ExecuteTemplate(w, "run.html", shellOf(v.Title, v, asset("uPlot.min.js"), asset("draw.js"), asset("page.js")))
}

// viewOf is everything that the run's page shows.
func viewOf(m *results.Manifest, s *summary.Summary, load iter.Seq2[*results.Record, error], o Options) (*view, error) {
	e, err := extentOf(m, load)
	if err != nil {
		return nil, err
	}
	columns := columnsOf(&m.Settings)
	g, err := gather(s, e, load, columns)
	if err != nil {
		return nil, err
	}
	names := stageNames(m)
	c, err := chartsOf(s, g, load, names)
	if err != nil {
		return nil, err
	}
	v := &view{Options: o, Columns: columns}
	v.fill(m, s, g)
	v.Windowed = len(c.Windows.Metrics) > 0
	for _, m := range c.Marks {
		if m.Kind == "profile" {
			v.Profiled = "The shaded stretch was profiled."
			if m.Whole {
				v.Profiled = "The profiler was on throughout."
			}
		}
	}
	if v.Scenario, err = scenarioText(m); err != nil {
		return nil, err
	}
	if o.Server != nil && o.Server.Trace != nil {
		v.Answers = answersOf(o.Server)
	}
	data, err := c.encoded()
	if err != nil {
		return nil, err
	}
	v.Data = template.JS(data) // JSON as package json writes it holds no < and no >
	return v, nil
}

func scenarioText(m *results.Manifest) (string, error) {
	if len(m.Scenario) == 0 || string(m.Scenario) == "null" {
		return "", nil
	}
	text, err := yamlOf(m.Scenario)
	if err != nil {
		return "", fmt.Errorf("the manifest's scenario: %w", err)
	}
	return text, nil
}

// TraceOf is the name of the merged trace in a run's folder; empty without one.
func TraceOf(folder fs.FS, name string) (string, error) {
	info, err := fs.Stat(folder, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	return name, err
}
