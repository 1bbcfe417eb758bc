package scenario

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"servebench/internal/lazy"
	"servebench/results"
)

// SeriesOptions say where and how a series runs. Dir is its folder; one that holds an unfinished series of the same scenario is
// taken up again: runs that ended are not made again.
type SeriesOptions struct {
	Options
	// RetryFailed makes failed runs again.
	RetryFailed bool

	// title names the series in place of its scenario: a search that is one of several.
	title string
	// anyClient has a search believe a run whose client was too slow: for tests, which run on whatever machine there is.
	anyClient bool
}

// RunSeries carries out a scenario with repeats, a sweep or a search. The index says what became of each run; the error is why the
// series is not complete.
func RunSeries(ctx context.Context, s *Scenario, o SeriesOptions) (*Index, error) {
	if faults := s.Faults(); len(faults) > 0 {
		var found Problems
		for _, f := range faults {
			found = append(found, Problem{Source: "scenario", Path: f.Path, Message: f.Message})
		}
		return nil, found
	}
	switch {
	case s.Search != nil && s.Sweep != nil:
		return runSearches(ctx, s, o)
	case s.Search != nil:
		return runSearch(ctx, s, o)
	}
	return runSweep(ctx, s, o)
}

// A series is many runs in one folder, under way.
type series struct {
	SeriesOptions
	index *Index
	keep  *keeper
	lent  bool // keep belongs to a series around this one
	// earlier are the runs that ended before an interruption, by their folder.
	earlier map[string]*RunLine
	total   int // planned runs; 0 when not known
}

// openSeries makes the folder of a series, or takes it up again.
func openSeries(o SeriesOptions, x *Index) (*series, error) {
	if o.Watcher == nil {
		o.Watcher = silent{}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	x.Schema, x.Tool, x.Created = IndexSchema, results.ToolVersion(), results.Moment(time.Now().UnixNano())
	v := &series{SeriesOptions: o, index: x, keep: o.keep, lent: o.keep != nil, earlier: map[string]*RunLine{}}
	if !v.lent {
		v.keep = new(keeper)
	}
	old, err := OpenIndex(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Join(dir, results.ManifestFile)); err == nil {
			return nil, fmt.Errorf("%s holds a run: choose another folder", dir)
		}
	case err != nil:
		return nil, err
	case old.Digest != x.Digest:
		return nil, fmt.Errorf("%s: %w", dir, errOther)
	default:
		x.Created = old.Created
		for _, r := range old.Runs {
			if r.Status != RunPending && (r.Status != RunFailed || !o.RetryFailed) {
				v.earlier[r.Folder] = r
			}
		}
		o.Watcher.Note(fmt.Sprintf("taking up %s again: %d runs have ended", dir, len(v.earlier)))
	}
	if x.Kind == "searches" {
		return v, os.MkdirAll(filepath.Join(dir, SearchesFolder), 0o777)
	}
	return v, os.MkdirAll(filepath.Join(dir, RunsFolder), 0o777)
}

// path is that of a folder that the index names.
func (v *series) path(folder string) string { return filepath.Join(v.Dir, filepath.FromSlash(folder)) }

// close stops the server that the runs shared.
func (v *series) close() {
	if v.lent {
		return
	}
	if err := v.keep.stop(); err != nil {
		v.Watcher.Warn("stopping the server: " + err.Error())
	}
}

// write brings the index to the disk.
func (v *series) write() error {
	v.index.Updated = results.Moment(time.Now().UnixNano())
	return v.index.write(v.Dir)
}

// carryOut makes one run and enters it into the index, or takes over what an earlier process made of it. The error is why
// the series cannot go on. watch, if not nil, gets the run's context and what happens in it.
func (v *series) carryOut(ctx context.Context, line *RunLine, s *Scenario, watch *lookout) error {
	if old := v.earlier[line.Folder]; old != nil {
		position := line.Position
		*line = *old
		line.Position = position
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := v.path(line.Folder)
	if err := v.setAside(dir, line.Folder); err != nil {
		return err
	}
	if err := v.write(); err != nil { // the plan, before anything of it is there
		return err
	}
	of := ""
	if v.total > 0 {
		of = fmt.Sprintf(" of %d", v.total)
	}
	v.Watcher.Phase(fmt.Sprintf("run %d%s: %s, repeat %d", line.Position, of, v.index.Points[line.Point-1].Name, line.Repeat))
	o := v.Options
	o.Dir, o.keep = dir, v.keep
	v.keep.cache = ""
	seeded := *s
	seeded.Seed = line.Seed
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if watch != nil {
		watch.Watcher, watch.cancel = v.Watcher, cancel
		o.Watcher = watch
		defer watch.close()
	}
	line.Began = results.Moment(time.Now().UnixNano())
	result, err := Run(runCtx, &seeded, o)
	line.Ended = results.Moment(time.Now().UnixNano())
	line.Cache = v.keep.cache
	early := stoppedEarly(runCtx)
	if ctx.Err() != nil && early == nil {
		line.Began, line.Ended, line.Cache = 0, 0, ""
		return ctx.Err()
	}
	if v.keep.host != nil && !v.keep.alive() {
		_ = v.keep.stop() // it has died; the next run gets a new one
	}
	line.Status = RunOK
	switch {
	case early != nil:
		line.Status, line.Reason = RunStopped, early.reason
	case result == nil || result.Outcome != results.OK:
		line.Status = RunFailed
		switch {
		case result != nil && result.Reason != "":
			line.Reason = result.Reason
		case err != nil:
			line.Reason = err.Error()
		}
	case err != nil:
		line.Reason = err.Error()
		if result.Summary == nil {
			line.Status = RunFailed
		}
	}
	if result != nil && result.Summary != nil {
		line.Figures = figuresOf(result.Summary)
		line.Bounds = result.Summary.Bounds
		if trend, ok, err := trendOfRun(dir, s); err == nil && ok {
			line.Trend = trend
		}
		v.Watcher.Note(v.index.Points[line.Point-1].Name + ": " + line.words())
	} else {
		v.Watcher.Warn(fmt.Sprintf("%s: %s", line.Folder, firstLine(line.Reason)))
	}
	return nil
}

// trendOfRun reads the trend of a run's requests; there is none in a closed loop, which holds their number.
func trendOfRun(dir string, s *Scenario) (*Trend, bool, error) {
	if len(s.Stages) > 0 || s.Load.Rate.Infinite() {
		return nil, false, nil
	}
	run, err := results.Open(dir)
	if err != nil {
		return nil, false, err
	}
	defer run.Close()
	return TrendOf(run.Records())
}

// words are a run's figures in a few words.
func (r *RunLine) words() string {
	var parts []string
	if r.Status != RunOK {
		parts = append(parts, r.Status+" ("+firstLine(r.Reason)+")")
	}
	if f := r.Figures; f != nil {
		for _, one := range []struct {
			text  string
			value *float64
		}{
			{"%.2f req/s", f.RequestRate}, {"%.1f tok/s", f.OutputRate}, {"TTFT p99 %.1f ms", f.at("ttft", "p99")}, {"E2EL p99 %.1f ms", f.at("e2el", "p99")},
		} {
			if one.value != nil {
				parts = append(parts, fmt.Sprintf(one.text, *one.value))
			}
		}
		if f.Failed > 0 {
			parts = append(parts, fmt.Sprintf("%g failed", f.Failed))
		}
	}
	return strings.Join(parts, ", ")
}

// setAside moves away what an interrupted run left.
func (v *series) setAside(dir, name string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := filepath.Join(v.Dir, AsideFolder)
	if err := os.MkdirAll(aside, 0o777); err != nil {
		return err
	}
	for n := 1; ; n++ {
		to := filepath.Join(aside, fmt.Sprintf("%s-%d", filepath.Base(name), n))
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			v.Watcher.Note(fmt.Sprintf("%s was not finished: it lies in %s now, and is made again", name, filepath.Join(AsideFolder, filepath.Base(to))))
			return os.Rename(dir, to)
		}
	}
}

// digest is the same for series that make the same runs.
func digest(parts ...any) (string, error) {
	h := sha256.New()
	for _, p := range parts {
		text, err := json.Marshal(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// unsafeInNames is what a folder's name is better without.
var unsafeInNames = lazy.Regexp(`[^A-Za-z0-9.=+_-]+`)

// pointFolder names the folder of a point: where it stands, and what it is.
func pointFolder(kind string, point, of int, settings Assignments) string {
	digits := len(fmt.Sprint(of))
	var words []string
	for _, a := range settings {
		name := a.String()
		field, value, _ := strings.Cut(name, "=")
		if i := strings.LastIndexByte(field, '.'); i >= 0 {
			field = field[i+1:]
		}
		words = append(words, unsafeInNames().ReplaceAllString(field+"="+value, "_"))
	}
	text := strings.Join(words, ",")
	if len(text) > 60 {
		text = text[:60]
	}
	name := fmt.Sprintf("%s%0*d", kind, digits, point)
	if text != "" {
		name += "-" + strings.Trim(text, ",")
	}
	return name
}

// pointName is what tables call a point.
func pointName(a Assignments) string { return cmp.Or(a.String(), "the scenario") }

// lineOf groups points that differ in their load only.
func lineOf(a Assignments) string {
	var rest Assignments
	for _, one := range a {
		if !strings.HasPrefix(one.Field, "load.") && one.Field != "load" {
			rest = append(rest, one)
		}
	}
	return rest.String()
}

// runSweep makes all points of a sweep, or a scenario's repeats.
func runSweep(ctx context.Context, s *Scenario, o SeriesOptions) (*Index, error) {
	sweep, kind := s.Sweep, "sweep"
	if sweep == nil {
		sweep, kind = &Sweep{}, "repeats"
	}
	points, err := s.sweepPoints()
	if err != nil {
		return nil, err
	}
	text, err := s.JSON()
	if err != nil {
		return nil, err
	}
	x := &Index{
		Kind: kind, Name: s.Name, Scenario: results.RedactJSON(text), Order: cmp.Or(sweep.Order, "given"), Seeds: cmp.Or(sweep.Seeds, "repeat"),
		Repeats: max(1, s.Repeats), formats: s.Report.Formats,
	}
	return runPoints(ctx, x, points, s.Seed, o)
}

// sweepPoints are the points of the scenario's sweep; without one, the scenario itself.
func (s *Scenario) sweepPoints() ([]*sweepPoint, error) {
	base := *s
	base.Sweep, base.Repeats = nil, 0
	if s.Sweep == nil {
		return []*sweepPoint{{scenario: &base}}, nil
	}
	var points []*sweepPoint
	for _, settings := range s.Sweep.points() {
		p := &sweepPoint{settings: settings, scenario: &base}
		if len(settings) > 0 {
			var err error
			if p.scenario, err = s.With(settings); err != nil {
				return nil, err
			}
		}
		points = append(points, p)
	}
	return points, nil
}

// A sweepPoint is one combination of values before it runs.
type sweepPoint struct {
	name     string // of a point without settings
	settings Assignments
	scenario *Scenario
}

// runPoints makes every point as often as the index says, in the order that it says.
func runPoints(ctx context.Context, x *Index, points []*sweepPoint, seed int64, o SeriesOptions) (*Index, error) {
	var all []*Scenario
	for i, p := range points {
		all = append(all, p.scenario)
		line := &PointLine{Number: i + 1, Name: cmp.Or(p.name, pointName(p.settings)), Settings: p.settings, Line: lineOf(p.settings)}
		if p.name != "" {
			line.Line = p.name
		}
		x.Points = append(x.Points, line)
	}
	var err error
	if x.Digest, err = digest(x.Kind, x.Order, x.Seeds, x.Repeats, seed, o.Sim, all); err != nil {
		return nil, err
	}
	var scenarios []*Scenario
	for repeat := range x.Repeats {
		for _, i := range turn(points, x.Order, uint64(seed), repeat) {
			line := &RunLine{Position: len(x.Runs) + 1, Point: i + 1, Repeat: repeat + 1, Status: RunPending, Seed: points[i].scenario.Seed}
			switch x.Seeds {
			case "repeat":
				line.Seed += int64(repeat)
			case "run":
				line.Seed += int64(i*x.Repeats + repeat)
			}
			line.Folder = fmt.Sprintf("%s/%s-r%d", RunsFolder, pointFolder("p", i+1, len(points), points[i].settings), repeat+1)
			if p := points[i]; p.name != "" {
				line.Folder = fmt.Sprintf("%s/%s-r%d", RunsFolder, p.name, repeat+1)
			}
			x.Runs = append(x.Runs, line)
			scenarios = append(scenarios, points[i].scenario)
		}
	}
	v, err := openSeries(o, x)
	if err != nil {
		return nil, err
	}
	defer v.close()
	v.total = len(x.Runs)
	// What ended before an interruption is in the index from the start, so that a second interruption loses nothing.
	for _, line := range x.Runs {
		if old := v.earlier[line.Folder]; old != nil {
			*line = *old
		}
	}
	for i, line := range x.Runs {
		if line.Status != RunPending {
			continue
		}
		if err := v.carryOut(ctx, line, scenarios[i], nil); err != nil {
			return x, errors.Join(err, v.write())
		}
		if err := v.write(); err != nil {
			return x, err
		}
	}
	return x, v.write()
}

// turn is the order of the points in one repeat. Points that share a server stay together when the order is random, so that a server is
// not started more often than there are servers.
func turn(points []*sweepPoint, order string, seed uint64, repeat int) []int {
	list := make([]int, len(points))
	for i := range list {
		list[i] = i
	}
	switch {
	case order == "counterbalanced" && repeat%2 == 1:
		slices.Reverse(list)
	case order == "random":
		random := rand.New(rand.NewPCG(seed, uint64(repeat)))
		var groups [][]int
		for i, p := range points {
			at := slices.IndexFunc(groups, func(g []int) bool {
				other := points[g[0]].scenario
				return sameJSON(other.Server, p.scenario.Server) && sameJSON(other.Sim, p.scenario.Sim) && other.Model == p.scenario.Model
			})
			if at < 0 {
				groups = append(groups, []int{i})
				continue
			}
			groups[at] = append(groups[at], i)
		}
		random.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
		list = list[:0]
		for _, g := range groups {
			random.Shuffle(len(g), func(i, j int) { g[i], g[j] = g[j], g[i] })
			list = append(list, g...)
		}
	}
	return list
}
