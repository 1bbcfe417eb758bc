package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/profiles/merge"
	"servebench/results"
	"servebench/results/compare"
	"servebench/results/page"
)

// viewFlags say how pages are served.
type viewFlags struct {
	port     int
	noOpen   bool
	perfetto string
	idle     time.Duration
}

func viewCommand() *cobra.Command {
	f := viewFlags{perfetto: page.DefaultPerfetto, idle: time.Hour}
	cmd := &cobra.Command{
		Use:   "view RUN|DIR",
		Short: "Look at runs in the browser",
		Long: `view serves the pages of a run, or of all runs below a folder with a list of them, to the browser on this machine, and to nobody else.
A profiled run's page opens the merged trace in the Perfetto UI: the browser hands the file over, nothing is uploaded.`,
		Example: "  servebench view runs\n  servebench view --no-open --port 9000 runs/gaudi-e2e-multi-20260102-030405",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := page.CheckPerfetto(f.perfetto); err != nil {
				return fmt.Errorf("--perfetto: %w", err)
			}
			if f.idle <= 0 {
				return fmt.Errorf("--idle %v: want a time above zero", f.idle)
			}
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return failed(fmt.Errorf("%s is no folder: view takes a run folder, or one with runs below it", args[0]))
			}
			return failed(view(cmd.Context(), cmd.ErrOrStderr(), args[0], f))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.port, "port", 0, "serve at this `port` of this machine (default: a free one)")
	flags.BoolVar(&f.noOpen, "no-open", false, "print the address, and leave the browser alone")
	flags.StringVar(&f.perfetto, "perfetto", f.perfetto, "open traces in the Perfetto UI at this `address`")
	flags.DurationVar(&f.idle, "idle", f.idle, "end when nobody has asked for anything for this `time`")
	return cmd
}

// view serves pages until the context ends or nobody looks any more.
func view(ctx context.Context, talk io.Writer, dir string, f viewFlags) error {
	v := &viewer{dir: dir, perfetto: f.perfetto, briefs: map[string]brief{}}
	return servePages(ctx, talk, f, pages{
		command: "view", handler: v,
		idle:  func() time.Duration { return f.idle },
		ended: func() string { return fmt.Sprintf("nobody looked for %v", f.idle) },
	})
}

// openBrowser shows an address in the user's browser.
func openBrowser(ctx context.Context, address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, name, args...).Run()
}

// A viewer serves the pages of the runs below a folder.
type viewer struct {
	dir, perfetto string

	mu     sync.Mutex
	briefs map[string]brief // by name of the run
}

// brief is a line of the list with the time stamp of the manifest it was made from.
type brief struct {
	of   time.Time
	line *page.Brief
}

// ServeHTTP answers: the list at /, a run at /run/NAME, its trace at /trace/NAME and the page that opens that at /open/NAME; runs held
// against each other at /compare?run=NAME&run=NAME, and a sweep or search at /series/NAME.
func (v *viewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !admit(w, r, "view") {
		return
	}
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var err error
	switch kind {
	case "":
		err = v.index(w, r)
	case "run", "open", "trace":
		var run *results.Run
		if run, err = v.open(name); err != nil {
			break
		}
		defer run.Close()
		switch kind {
		case "run":
			err = v.page(w, run, name)
		case "open":
			err = v.opener(w, run, name)
		case "trace":
			err = v.trace(w, r, run)
		}
	case "compare":
		err = v.compare(w, r)
	case "series":
		err = v.series(w, name)
	default:
		err = fs.ErrNotExist
	}
	var wrong badRequest
	switch {
	case errors.As(err, &wrong):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "there is no such page", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// admit answers what command must not: requests by a name of somebody else's that leads to this machine, which must read nothing, and
// those that would change something. For the rest it sets the headers of every answer, and is true.
func admit(w http.ResponseWriter, r *http.Request, command string) bool {
	if !ownHost(r.Host) {
		http.Error(w, "this is not the address that "+command+" printed", http.StatusForbidden)
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, command+" only shows", http.StatusMethodNotAllowed)
		return false
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	return true
}

func ownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return slices.Contains([]string{"127.0.0.1", "localhost", "::1", "[::1]"}, host)
}

// address is that of a kind of page of a run.
func address(kind, name string) string {
	return (&url.URL{Path: "/" + kind + "/" + name}).EscapedPath()
}

// mostRuns bounds a list.
const mostRuns = 2000

// runs are the names of the runs below the folder: their paths in it, "." for itself. series are those of the folders that hold a sweep or
// search.
func (v *viewer) runs() (names, series []string, err error) {
	root := os.DirFS(v.dir)
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil // a folder that may not be read holds no run for us
		case !entry.IsDir():
			return nil
		case name != "." && strings.HasPrefix(entry.Name(), "."), strings.Count(name, "/") > 8:
			return fs.SkipDir
		}
		if info, err := fs.Stat(root, path.Join(name, results.ManifestFile)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
			if len(names) == mostRuns {
				return fs.SkipAll
			}
			return fs.SkipDir // runs hold no runs
		}
		if _, err := scenario.OpenIndex(filepath.Join(v.dir, filepath.FromSlash(name))); err == nil {
			series = append(series, name)
		}
		return nil
	})
	return names, series, err
}

// open opens the run of a name that the list could hold.
func (v *viewer) open(name string) (*results.Run, error) {
	if name == "" {
		name = "."
	}
	if !fs.ValidPath(name) {
		return nil, fs.ErrNotExist
	}
	dir := filepath.Join(v.dir, filepath.FromSlash(name))
	if _, err := os.Stat(filepath.Join(dir, results.ManifestFile)); err != nil {
		return nil, err
	}
	return results.Open(dir)
}

func (v *viewer) index(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/" {
		return fs.ErrNotExist
	}
	names, series, err := v.runs()
	if err != nil {
		return err
	}
	if len(names) == 1 && names[0] == "." {
		http.Redirect(w, r, address("run", ""), http.StatusSeeOther)
		return nil
	}
	var lines []*page.Brief
	var troubles []page.Trouble
	for _, name := range names {
		line, err := v.line(name)
		if err != nil {
			troubles = append(troubles, page.Trouble{Name: name, Error: err.Error()})
			continue
		}
		lines = append(lines, line)
	}
	if len(names) == mostRuns {
		troubles = append(troubles, page.Trouble{Name: v.dir, Error: fmt.Sprintf("only the first %d runs are listed: view a folder further down", mostRuns)})
	}
	dir, err := filepath.Abs(v.dir)
	if err != nil {
		dir = v.dir
	}
	list := page.List{Folder: dir, Runs: lines, Troubles: troubles, Compare: "/compare"}
	for _, name := range series {
		list.Series = append(list.Series, page.SeriesRun{Name: name, Link: address("series", name)})
	}
	return html(w, func(w io.Writer) error { return page.WriteIndex(w, list) })
}

// line is a run's line of the list. It is read again when the manifest has changed.
func (v *viewer) line(name string) (*page.Brief, error) {
	run, err := v.open(name)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	info, err := os.Stat(filepath.Join(run.Dir(), results.ManifestFile))
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	known, ok := v.briefs[name]
	v.mu.Unlock()
	if ok && known.of.Equal(info.ModTime()) {
		return known.line, nil
	}
	line, err := page.BriefOf(run)
	if err != nil {
		return nil, err
	}
	line.Name, line.Link = name, address("run", name)
	if trace, err := traceOf(run); err != nil {
		return nil, err
	} else if trace != "" {
		line.Trace = address("open", name)
	}
	v.mu.Lock()
	v.briefs[name] = brief{info.ModTime(), line}
	v.mu.Unlock()
	return line, nil
}

// series is the page of a sweep or search.
func (v *viewer) series(w http.ResponseWriter, name string) error {
	if !fs.ValidPath(name) {
		return fs.ErrNotExist
	}
	x, err := scenario.OpenIndex(filepath.Join(v.dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	return html(w, func(w io.Writer) error { return page.WriteSeries(w, seriesOf(x, name)) })
}

// seriesOf is a series' index as its page shows it; name is that of its folder.
func seriesOf(x *scenario.Index, name string) page.Series {
	s := page.Series{Name: cmp.Or(x.Name, name), Kind: x.Kind, Began: x.Created, Runs: len(x.Runs), Warnings: slices.Clone(x.Notes), Index: "/"}
	links := map[int][]page.SeriesRun{}
	for _, r := range x.Runs {
		run := page.SeriesRun{Name: fmt.Sprintf("%d", r.Position)}
		switch r.Status {
		case scenario.RunPending:
		case scenario.RunFailed:
			s.Warnings = append(s.Warnings, "failed: "+r.Folder+": "+r.Reason)
			fallthrough
		default:
			s.Ended++
			run.Link = address("run", path.Join(name, filepath.ToSlash(r.Folder)))
		}
		links[r.Point] = append(links[r.Point], run)
	}
	var knees []int
	for _, k := range x.Knees {
		knees = append(knees, k.Point)
		if k.Text != "" {
			s.Findings = append(s.Findings, k.Text)
		}
	}
	for _, p := range x.Points {
		point := page.SeriesPoint{Number: p.Number, Name: p.Name, Runs: links[p.Number]}
		if f := p.Figures; f != nil {
			at := func(metric, statistic string) *float64 {
				if v, ok := f.Latency[metric][statistic]; ok {
					return &v
				}
				return nil
			}
			point.RequestRate, point.OutputRate, point.Failed = f.RequestRate, f.OutputRate, &f.Failed
			point.TTFT50, point.TTFT99, point.ITL99 = at("ttft", "p50"), at("ttft", "p99"), at("itl", "p99")
			point.E2EL50, point.E2EL99 = at("e2el", "p50"), at("e2el", "p99")
		}
		point.Marks, point.Best, point.Missed = x.Marks(p), x.IsAnswer(p), p.Met != nil && !*p.Met
		if x.Kind == "searches" {
			point.Search = searchOf(p, name)
			s.Runs++
			if r := p.Search; r != nil {
				s.Ended++
				point.Holds, point.Fails = r.Best, r.Failed
				if r.Confidence != nil {
					point.Confidence = new(*r.Confidence * 100)
				}
				s.Findings = append(s.Findings, p.Name+": "+r.Text)
			}
			if p.Error != "" {
				s.Warnings = append(s.Warnings, "failed: "+p.Folder+": "+p.Error)
			}
		}
		s.Points = append(s.Points, point)
	}
	if c := x.Capacity; c != nil {
		s.Capacity = &page.SeriesCapacity{Field: c.Field, Search: c.Search}
		for _, p := range c.Points {
			s.Capacity.Points = append(s.Capacity.Points, page.SeriesPlace{Point: p.Point, Line: p.Line, X: p.X, Y: p.Best, Fails: p.Failed})
		}
	}
	for _, c := range x.Curves {
		curve := page.SeriesCurve{Metric: c.Metric, Statistic: c.Statistic, X: c.X, Front: c.Pareto, Knees: knees}
		for _, p := range c.Points {
			curve.Points = append(curve.Points, page.SeriesPlace{Point: p.Point, Line: p.Line, X: p.X, Y: p.Y})
		}
		s.Curves = append(s.Curves, curve)
	}
	if x.Search != nil {
		s.Result = x.Search.Text
	}
	return s
}

// searchOf leads to the page of a point's search.
func searchOf(p *scenario.PointLine, name string) *page.SeriesRun {
	run := &page.SeriesRun{Name: fmt.Sprintf("%d runs", p.Runs)}
	if p.Runs > 0 {
		run.Link = address("series", path.Join(name, p.Folder))
	}
	return run
}

// traceOf is the merged trace of a run; empty without one.
func traceOf(run *results.Run) (string, error) {
	return page.TraceOf(os.DirFS(run.Dir()), merge.FileName)
}

// html sends a page whole or, if it cannot be made, not at all.
func html(w http.ResponseWriter, write func(io.Writer) error) error {
	var b strings.Builder
	if err := write(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return nil // the browser has gone
	}
	return nil
}

func (v *viewer) page(w http.ResponseWriter, run *results.Run, name string) error {
	o, err := pageOptions(run)
	if err != nil {
		return err
	}
	if o.Trace != "" {
		o.Viewer = address("open", name)
	}
	if name != "" {
		o.Index = "/"
	}
	return html(w, func(w io.Writer) error { return page.Write(w, run, o) })
}

// pageOptions are what a run's folder holds beside its records.
func pageOptions(run *results.Run) (o page.Options, err error) {
	if o.Server, err = scenario.ServerAnswers(run); err != nil {
		return o, err
	}
	o.Trace, err = traceOf(run)
	return o, err
}

// writePage writes the page of a run as a file of its own: nobody serves it, so its trace is one to be saved.
func writePage(w io.Writer, run *results.Run) error {
	o, err := pageOptions(run)
	if err != nil {
		return err
	}
	return page.Write(w, run, o)
}

// savePage puts the page of a run into its folder.
func savePage(dir string) error {
	run, err := results.Open(dir)
	if err != nil {
		return err
	}
	defer run.Close()
	var b bytes.Buffer
	if err := writePage(&b, run); err != nil {
		return err
	}
	return results.WriteFile(filepath.Join(dir, page.FileName), b.Bytes())
}

func (v *viewer) opener(w http.ResponseWriter, run *results.Run, name string) error {
	info, err := os.Stat(filepath.Join(run.Dir(), merge.FileName))
	if err != nil {
		return err
	}
	title, err := filepath.Abs(run.Dir())
	if err != nil {
		return err
	}
	return html(w, func(w io.Writer) error {
		return page.WriteOpener(w, page.Opener{
			Title: filepath.Base(title), Trace: address("trace", name), FileName: merge.FileName, Bytes: info.Size(),
			Perfetto: v.perfetto, Back: address("run", name),
		})
	})
}

// trace sends the file as it is: it is compressed, and whoever asked is to get it so.
func (v *viewer) trace(w http.ResponseWriter, r *http.Request, run *results.Run) error {
	f, err := os.Open(filepath.Join(run.Dir(), merge.FileName))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	w.Header().Set("Content-Type", "application/gzip")
	http.ServeContent(w, r, merge.FileName, info.ModTime(), f)
	return nil
}

// badRequest is a mistake of whoever asked.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// mostCompared bounds how many runs are held in memory at once.
const mostCompared = 8

// compare holds the runs that were ticked against the one of them that was made first.
func (v *viewer) compare(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	names := slices.Compact(slices.Sorted(slices.Values(query["run"])))
	if len(names) < 2 || len(names) > mostCompared {
		return badRequest(fmt.Sprintf("tick two runs to compare, up to %d", mostCompared))
	}
	o := compare.Options{Force: query.Get("force") != ""}
	var groups []*compare.Group
	began := map[string]results.Moment{}
	for _, name := range names {
		run, err := v.open(name)
		if err != nil {
			return err
		}
		dir := run.Dir()
		began[name] = run.Manifest().Created
		run.Close()
		runs, err := compare.Open(dir, o)
		if err != nil {
			return err
		}
		groups = append(groups, &compare.Group{Name: name, Runs: runs})
	}
	slices.SortStableFunc(groups, func(a, b *compare.Group) int { return cmp.Compare(began[a.Name], began[b.Name]) })
	report, err := compare.Compare(groups, o)
	var refused *compare.RefusedError
	switch {
	case errors.As(err, &refused):
		query.Set("force", "1")
		return html(w, func(w io.Writer) error { return page.WriteRefusal(w, refused, "/compare?"+query.Encode(), "/") })
	case err != nil:
		return err
	}
	return html(w, func(w io.Writer) error { return page.WriteComparison(w, report, "/") })
}
