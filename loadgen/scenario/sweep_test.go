package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/loadgen/sim"
	"servebench/results"
)

// quick is a scenario on the simulator that takes some ten milliseconds a run.
const quick = `
name: quick
seed: 3
dataset: {input_len: 8, output_len: 3}
load: {requests: 6, concurrency: 3}
sim: {first_token: 2ms, between_tokens: 1ms}
`

func parsed(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse("test.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSweepPoints(t *testing.T) {
	for _, tc := range []struct {
		name, sweep string
		want        []string
	}{
		{"grid, the first varies slowest", "grid: {load.concurrency: [1, 2], dataset.input_len: [8, 9]}", []string{
			"load.concurrency=1 dataset.input_len=8", "load.concurrency=1 dataset.input_len=9",
			"load.concurrency=2 dataset.input_len=8", "load.concurrency=2 dataset.input_len=9"}},
		{"steps", "grid: {load.rate: {from: 1, to: 2, step: 0.25}}", []string{"load.rate=1", "load.rate=1.25", "load.rate=1.5", "load.rate=1.75", "load.rate=2"}},
		{"steps that miss the end", "grid: {load.rate: {from: 0.1, to: 0.5, step: 0.3}}", []string{"load.rate=0.1", "load.rate=0.4"}},
		{"ratios", "grid: {load.concurrency: {from: 1, to: 20, times: 2}}", []string{
			"load.concurrency=1", "load.concurrency=2", "load.concurrency=4", "load.concurrency=8", "load.concurrency=16"}},
		{"a count of whole numbers", "grid: {load.concurrency: {from: 1, to: 4, count: 7}}", []string{
			"load.concurrency=1", "load.concurrency=2", "load.concurrency=3", "load.concurrency=4"}},
		{"a count on a log scale", "grid: {load.rate: {from: 1, to: 100, count: 3, scale: log}}", []string{"load.rate=1", "load.rate=10", "load.rate=100"}},
		{"linked", "linked: [{dataset.input_len: [8, 16], dataset.output_len: [4, 2]}]", []string{
			"dataset.input_len=8 dataset.output_len=4", "dataset.input_len=16 dataset.output_len=2"}},
		{"points times grid", "{grid: {load.concurrency: [1, 2]}, points: [{load.requests: 3}, {load.requests: 4, seed: 1}], seeds: fixed}", []string{
			"load.concurrency=1 load.requests=3", "load.concurrency=1 load.requests=4 seed=1",
			"load.concurrency=2 load.requests=3", "load.concurrency=2 load.requests=4 seed=1"}},
		{"lists and mappings are values too", `points: [{server.command: "vllm serve x"}, {load: {requests: 2, rate: inf}}]`, []string{
			"server.command=vllm serve x", `load={"requests": 2, "rate": "inf"}`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sweep := tc.sweep
			if sweep[0] != '{' {
				sweep = "{" + sweep + "}"
			}
			s := parsed(t, quick+"sweep: "+sweep)
			var got []string
			for _, p := range s.Sweep.points() {
				got = append(got, p.String())
				if _, err := s.With(p); err != nil {
					t.Errorf("%s: %v", p, err)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("points %q; want %q", got, tc.want)
			}
		})
	}
}

func TestSweepFaultsHaveTheirPlace(t *testing.T) {
	text := `name: x
load: {requests: 4}
sweep:
  grid:
    load.rate: [1, -2]
    load.rte: [1]
    dataset.input_len: [8, many]
`
	_, err := Parse("x.yaml", text)
	var problems Problems
	if _, base := Parse("x.yaml", strings.Replace(text, "requests: 4", "requests: 4, nonsense: 1", 1)); base == nil ||
		!strings.Contains(base.Error(), "x.yaml:5:20: load.rate: -2") || !strings.Contains(base.Error(), `"nonsense"`) {
		t.Errorf("a fault of the base hides those of the points, or the other way round: %v", base)
	}
	if !errors.As(err, &problems) {
		t.Fatalf("error %v; want problems", err)
	}
	for _, want := range []string{
		"x.yaml:5:20: load.rate: -2 is not above zero", "x.yaml:6:", `there is no key "rte" here`, "x.yaml:7:28: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("problems lack %q:\n%v", want, err)
		}
	}
	for _, tc := range []struct{ sweep, want string }{
		{"{}", "it has no points"},
		{"{grid: {load.rate: []}}", "the list is empty"},
		{"{grid: {load.rate: {from: 1, to: 2}}}", "a range needs one of step, times and count"},
		{"{grid: {load.rate: {from: 2, to: 1, step: 1}}}", "from its lower end to its upper end"},
		{"{grid: {load.rate: {from: 0, to: 1, times: 2}}}", "begins above 0"},
		{"{grid: {load.rate: {from: 0, to: 1e9, step: 1e-3}}}", "more than 10000 values"},
		{"{grid: {load.rate: 5}}", "want a list of values, or a range"},
		{"{grid: {load.rate: [1], load: [{requests: 1}]}}", "load is set by load.rate in sweep.grid too"},
		{"{grid: {load.rate: [1]}, points: [{load.rate: 2}]}", "load.rate is set by load.rate in sweep.grid too"},
		{"{linked: [{load.rate: [1, 2], load.requests: [1]}]}", "load.requests has 1 values and load.rate 2"},
		{"{grid: {seed: [1, 2]}}", "give sweep.seeds: fixed"},
		{"{grid: {load.rate: [1]}, order: counterbalanced}", "give repeats: 2"},
		{"{grid: {load.rate: [1]}, order: up}", "have given, random, counterbalanced"},
		{"{grid: {load.rate: [1]}, sedes: run}", `no key "sedes"`},
		{"{grid: {load.rate: [1]}}\nsearch: {}", "load.rate is what the search changes: sweep other fields"},
		{"{grid: {dataset.input_len: [1]}, order: counterbalanced}\nsearch: {}", "there is no way back"},
		{"{grid: {dataset.input_len: [1]}, seeds: run}\nsearch: {}", "have repeat, fixed"},
		{"{grid: {dataset.input_len: [1]}}\nrepeats: 2\nsearch: {}", "a search decides by search.repeats"},
		{"{grid: {load.duration: [1s, -1s]}}\nsearch: {}", `"-1s" is negative`},
		{"{points: [{load.duration: 1s}, {dataset.input_len: 8}]}\nsearch: {}", "give load.duration"},
		{"{grid: {search.tolerance: [1%]}}\nsearch: {}", "search.tolerance cannot be swept"},
	} {
		if _, err := Parse("x.yaml", "load: {requests: 4}\nsweep: "+tc.sweep); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("sweep %s: %v; want %q", tc.sweep, err, tc.want)
		}
	}
}

func TestOrderOfRuns(t *testing.T) {
	s := parsed(t, quick+"sweep: {grid: {server.command: [a, b], load.concurrency: [1, 2, 3]}}")
	var points []*sweepPoint
	for _, p := range s.Sweep.points() {
		one, err := s.With(p)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, &sweepPoint{settings: p, scenario: one})
	}
	if got := turn(points, "given", 1, 1); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("given: %v", got)
	}
	if got := turn(points, "counterbalanced", 1, 0); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("counterbalanced, there: %v", got)
	}
	if got := turn(points, "counterbalanced", 1, 1); !slices.Equal(got, []int{5, 4, 3, 2, 1, 0}) {
		t.Errorf("counterbalanced, back: %v", got)
	}
	different := 0
	for repeat := range 20 {
		got := turn(points, "random", 1, repeat)
		if !slices.Equal(got, turn(points, "random", 1, repeat)) {
			t.Errorf("repeat %d: another order with the same seed", repeat)
		}
		changes := 0
		for i := range got[1:] {
			if got[i]/3 != got[i+1]/3 {
				changes++
			}
		}
		if changes != 1 {
			t.Errorf("repeat %d: %v changes the server %d times; want 1", repeat, got, changes)
		}
		if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
			different++
		}
		slices.Sort(got)
		if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("repeat %d is no permutation: %v", repeat, got)
		}
	}
	if different < 15 {
		t.Errorf("%d of 20 random orders differ from the given one", different)
	}
}

// A heard is a watcher that keeps what it hears.
type heard struct {
	silent
	phases, notes, warnings []string
}

func (h *heard) Phase(text string) { h.phases = append(h.phases, text) }
func (h *heard) Note(text string)  { h.notes = append(h.notes, text) }
func (h *heard) Warn(text string)  { h.warnings = append(h.warnings, text) }

func TestSweepRunsOnOneServer(t *testing.T) {
	t.Parallel()
	s := parsed(t, quick+"repeats: 2\nsweep: {grid: {sim.max_num_seqs: [4, 8], load.concurrency: [1, 2]}, order: counterbalanced}")
	dir := filepath.Join(t.TempDir(), "s")
	watcher := new(heard)
	x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true, Watcher: watcher}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range x.Runs {
		got = append(got, fmt.Sprintf("%d p%d r%d seed %d %s %s %v", r.Position, r.Point, r.Repeat, r.Seed, r.Status, r.Cache, r.Figures.Completed))
	}
	want := []string{
		"1 p1 r1 seed 3 ok fresh server 6", "2 p2 r1 seed 3 ok reset 6", "3 p3 r1 seed 3 ok fresh server 6", "4 p4 r1 seed 3 ok reset 6",
		"5 p4 r2 seed 4 ok reset 6", "6 p3 r2 seed 4 ok reset 6", "7 p2 r2 seed 4 ok fresh server 6", "8 p1 r2 seed 4 ok reset 6",
	}
	if !slices.Equal(got, want) {
		t.Errorf("runs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	starts := 0
	for _, p := range watcher.phases {
		if p == "starting the simulator" {
			starts++
		}
	}
	if starts != 3 {
		t.Errorf("the simulator was started %d times; want 3: A B B A", starts)
	}
	if !x.Complete || len(x.Points) != 4 || x.Points[0].Runs != 2 || x.Points[0].Line != "sim.max_num_seqs=4" {
		t.Errorf("complete %t, points %+v", x.Complete, x.Points[0])
	}
	saved, err := OpenIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(saved, x) {
		t.Error("the index on the disk is another one")
	}
	for _, r := range x.Runs {
		run, err := results.Open(filepath.Join(dir, r.Folder))
		if err != nil {
			t.Fatal(err)
		}
		if m := run.Manifest(); m.Seed != r.Seed || m.Outcome != results.OK {
			t.Errorf("%s: seed %d, outcome %s", r.Folder, m.Seed, m.Outcome)
		}
		run.Close()
	}
	var text bytes.Buffer
	if err := x.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sweep quick: 8 of 8 runs ended", "sim.max_num_seqs", "p99 E2EL (ms"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	table, err := os.ReadFile(filepath.Join(dir, TableFile))
	if err != nil || bytes.Count(table, []byte("\n")) != 9 || !bytes.HasPrefix(table, []byte("position,point,repeat,seed,status,folder,sim.max_num_seqs,load.concurrency,requests,")) {
		t.Errorf("table (%v):\n%s", err, table)
	}
	// Done again, nothing is run.
	again, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !sameJSON(again.Runs, x.Runs) {
		t.Error("a complete sweep was run again")
	}
	other := parsed(t, quick+"sweep: {grid: {load.concurrency: [1, 2]}}")
	if _, err := RunSeries(t.Context(), other, SeriesOptions{Options: Options{Dir: dir, Sim: true}}); !errors.Is(err, errOther) {
		t.Errorf("another sweep in the folder: %v; want it refused", err)
	}
}

func TestFailedPointDoesNotEndASweep(t *testing.T) {
	t.Parallel()
	s := parsed(t, quick+"sweep: {points: [{load.concurrency: 2}, {endpoint: /v1/nothing}, {load.concurrency: 3}]}")
	dir := filepath.Join(t.TempDir(), "s")
	x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range x.Runs {
		got = append(got, r.Status)
	}
	if !slices.Equal(got, []string{"ok", "failed", "ok"}) || x.Runs[1].Reason == "" || x.Points[1].Runs != 0 {
		t.Errorf("states %v, reason %q, runs of point 2: %d", got, x.Runs[1].Reason, x.Points[1].Runs)
	}
	first := x.Runs[1].Ended
	x, err = RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}, RetryFailed: true})
	if err != nil || x.Runs[1].Ended == first || x.Runs[0].Status != RunOK {
		t.Errorf("retry: %v; the failed run ended at %v, before at %v", err, x.Runs[1].Ended, first)
	}
	if _, err := os.Stat(filepath.Join(dir, AsideFolder, filepath.Base(x.Runs[1].Folder)+"-1")); err != nil {
		t.Errorf("what failed was not set aside: %v", err)
	}
}

// withoutTimes is an index without what another run of the same sweep may have otherwise.
func withoutTimes(t *testing.T, x *Index) string {
	t.Helper()
	y := *x
	y.Created, y.Updated = 0, 0
	y.Curves, y.Knees, y.Points, y.Runs = nil, nil, nil, nil
	strip := func(f *Figures) *Figures {
		if f == nil {
			return nil
		}
		return &Figures{Requests: f.Requests, Completed: f.Completed, Failed: f.Failed, InputTokens: f.InputTokens, OutputTokens: f.OutputTokens}
	}
	for _, p := range x.Points {
		q := *p
		q.Figures = strip(p.Figures)
		y.Points = append(y.Points, &q)
	}
	for _, r := range x.Runs {
		q := *r
		q.Figures, q.Began, q.Ended, q.Trend = strip(r.Figures), 0, 0, nil
		// A resumed sweep starts its server anew.
		if q.Cache == cacheFresh {
			q.Cache = cacheReset
		}
		y.Runs = append(y.Runs, &q)
	}
	text, err := json.MarshalIndent(&y, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const killedSweep = quick + "repeats: 2\nsweep: {grid: {load.concurrency: [1, 2, 3]}, order: random}\n"

// TestSweepChild is no test: it is the process that TestKilledSweepResumes and TestKilledSearchesResume kill.
func TestSweepChild(t *testing.T) {
	dir := os.Getenv("SERVEBENCH_TEST_SWEEP")
	if dir == "" {
		t.Skip("only a process of TestKilledSweepResumes runs this")
	}
	text := killedSweep
	if os.Getenv("SERVEBENCH_TEST_SEARCHES") != "" {
		text = killedSearches
	}
	if _, err := RunSeries(t.Context(), parsed(t, text), SeriesOptions{Options: Options{Dir: dir, Sim: true}, anyClient: true}); err != nil {
		t.Fatal(err)
	}
}

// killChild starts TestSweepChild and kills it once so many run folders are there, or lets it end before.
func killChild(t *testing.T, dir string, runs int, env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSweepChild$")
	cmd.Env = append(append(os.Environ(), "SERVEBENCH_TEST_SWEEP="+dir), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		of, _ := filepath.Glob(filepath.Join(dir, RunsFolder, "*"))
		inner, _ := filepath.Glob(filepath.Join(dir, SearchesFolder, "*", RunsFolder, "*"))
		if len(of)+len(inner) >= runs {
			_ = cmd.Process.Kill() // SIGKILL
			<-ended
			return
		}
		select {
		case <-ended:
			return
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// A sweep that was killed in the middle of a run, twice, has the index of one that was not, apart from times.
func TestKilledSweepResumes(t *testing.T) {
	t.Parallel()
	whole := filepath.Join(t.TempDir(), "whole")
	s := parsed(t, killedSweep)
	want, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: whole, Sim: true}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "killed")
	for _, kill := range []int{2, 4} { // when so many runs have a folder
		killChild(t, dir, kill)
	}
	finished := map[string]results.Moment{}
	if x, err := OpenIndex(dir); err != nil {
		t.Fatal(err)
	} else {
		for _, r := range x.Runs {
			if r.Status != RunPending {
				finished[r.Folder] = r.Ended
			}
		}
		t.Logf("killed with %d of %d runs ended", len(finished), len(x.Runs))
	}
	got, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := withoutTimes(t, got), withoutTimes(t, want); a != b {
		t.Errorf("the resumed sweep's index is another:\n%s\nwant\n%s", a, b)
	}
	for _, r := range got.Runs {
		if was, ok := finished[r.Folder]; ok && was != r.Ended {
			t.Errorf("%s had ended and was run again", r.Folder)
		}
	}
	// Every folder of the sweep is a whole run; what was cut off lies apart.
	entries, err := os.ReadDir(filepath.Join(dir, RunsFolder))
	if err != nil || len(entries) != 6 {
		t.Errorf("%d runs (%v); want 6", len(entries), err)
	}
	for _, e := range entries {
		run, err := results.Open(filepath.Join(dir, RunsFolder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if ok, why := run.Complete(); !ok {
			t.Errorf("%s: %s", e.Name(), why)
		}
		run.Close()
	}
}

func TestInterruptedSweepResumes(t *testing.T) {
	t.Parallel()
	s := parsed(t, quick+"sweep: {grid: {load.concurrency: [1, 2, 3]}}")
	dir := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	watcher := &interrupter{at: 2, cancel: cancel}
	x, err := RunSeries(ctx, s, SeriesOptions{Options: Options{Dir: dir, Sim: true, Watcher: watcher}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v; want the interruption", err)
	}
	if x.Complete || x.Runs[0].Status != RunOK || x.Runs[1].Status != RunPending || x.Runs[2].Status != RunPending {
		t.Errorf("states %s %s %s, complete %t", x.Runs[0].Status, x.Runs[1].Status, x.Runs[2].Status, x.Complete)
	}
	y, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
	if err != nil || !y.Complete || !reflect.DeepEqual(y.Runs[0].Figures, x.Runs[0].Figures) {
		t.Errorf("taken up again: %v, complete %t", err, y.Complete)
	}
	if _, err := os.Stat(filepath.Join(dir, AsideFolder)); errors.Is(err, fs.ErrNotExist) {
		t.Error("the interrupted run was not set aside")
	}
}

// An interrupter ends the series when its n-th load begins.
type interrupter struct {
	silent
	n, at  int
	cancel func()
}

func (i *interrupter) Record(*results.Record) {
	if i.n++; i.n == 6+i.at {
		i.cancel()
	}
}

func TestRunRefusesASeries(t *testing.T) {
	if _, err := Run(t.Context(), parsed(t, quick+"repeats: 2"), Options{Dir: t.TempDir(), Sim: true}); err == nil || !strings.Contains(err.Error(), "RunSeries") {
		t.Errorf("error %v", err)
	}
}

func TestCurves(t *testing.T) {
	point := func(n int, line string, x, p99, mean float64) *PointLine {
		return &PointLine{Number: n, Name: fmt.Sprint(n), Line: line, Figures: &Figures{OutputRate: &x, Latency: map[string]map[string]float64{
			"e2el": {"mean": mean, "p50": mean, "p99": p99},
		}}}
	}
	list, knees := curves([]*PointLine{
		point(1, "a", 10, 100, 100), // power 0.1
		point(2, "a", 20, 110, 110), // 0.18
		point(3, "a", 30, 130, 130), // 0.23
		point(4, "a", 32, 400, 400), // 0.08
		point(5, "b", 5, 90, 90),
		point(6, "b", 29, 120, 120),
		{Number: 7, Name: "7"}, // failed
	})
	if len(list) != 2 || list[1].Statistic != "p99" || list[1].X != "output_throughput" {
		t.Fatalf("curves %+v", list)
	}
	if got, want := list[1].Pareto, []int{5, 1, 2, 6, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("front %v; want %v", got, want)
	}
	if len(knees) != 1 || knees[0].Point != 3 || knees[0].AtEnd {
		t.Errorf("knees %+v; want point 3", knees)
	}
	front := pareto([]CurvePoint{{1, "", 10, 5}, {2, "", 10, 4}, {3, "", 12, 4}, {4, "", 11, 9}})
	if !slices.Equal(front, []int{3}) {
		t.Errorf("front %v; want 3 alone", front)
	}
}

// TestServerChild is no test: it is the server that TestLaunchedServerOutlivesRuns launches.
func TestServerChild(t *testing.T) {
	address := os.Getenv("SERVEBENCH_TEST_SERVER")
	if address == "" {
		t.Skip("only a process of TestLaunchedServerOutlivesRuns runs this")
	}
	s, err := sim.New(sim.Config{Model: "m", FirstToken: time.Millisecond, DevMode: os.Getenv("DEV") == "1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("serving", os.Getpid())
	_ = s.Serve(l)
}

// A launched server is started anew only where its own part of the scenario changes, or dies; its cache is emptied where it can be.
func TestLaunchedServerOutlivesRuns(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := parsed(t, `
name: launched
model: m
tokenizer: none
server:
  command: ["`+os.Args[0]+`", "-test.run=^TestServerChild$", "-test.v"]
  env: {SERVEBENCH_TEST_SERVER: "`+address+`", DEV: 1}
  url: http://`+address+`
  ready_within: 60s
load: {requests: 3}
sweep: {grid: {server.env.DEV: [1, 0], load.concurrency: [1, 2]}}
`)
	dir := filepath.Join(t.TempDir(), "s")
	x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range x.Runs {
		_, err := os.Stat(filepath.Join(dir, r.Folder, "server.log"))
		cache, _, _ := strings.Cut(r.Cache, ":")
		got = append(got, fmt.Sprintf("%s %s log %t %s", r.Status, cache, err == nil, r.Reason))
	}
	want := []string{"ok fresh server log true ", "ok reset log false ", "ok fresh server log true ", "ok not reset log false "}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q; want %q", got, want)
	}
	if len(x.Notes) != 1 || !strings.Contains(x.Notes[0], "VLLM_SERVER_DEV_MODE=1") {
		t.Errorf("notes %q; want a word on the cache that could not be emptied", x.Notes)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the last server still runs")
	}
}

// A runs, then B twice, then A: what stays the same between two runs goes on.
func TestABRunsThereAndBack(t *testing.T) {
	t.Parallel()
	a, b := parsed(t, quick), parsed(t, strings.Replace(quick, "concurrency: 3", "concurrency: 2", 1))
	dir := filepath.Join(t.TempDir(), "s")
	x, err := RunAB(t.Context(), a, b, 2, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range x.Runs {
		got = append(got, fmt.Sprintf("%s %s seed %d %s", r.Folder, r.Status, r.Seed, r.Cache))
	}
	want := []string{"runs/A-r1 ok seed 3 fresh server", "runs/B-r1 ok seed 3 reset", "runs/B-r2 ok seed 4 reset", "runs/A-r2 ok seed 4 reset"}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q; want %q", got, want)
	}
	if !slices.Equal(x.Folders(2), []string{"runs/B-r1", "runs/B-r2"}) {
		t.Errorf("folders of B: %q", x.Folders(2))
	}
	differences, err := Differences(a, b)
	if err != nil || len(differences) != 1 || differences[0].Path != "load.concurrency" {
		t.Errorf("differences %v, %v", differences, err)
	}
	if _, err := RunAB(t.Context(), a, parsed(t, quick+"repeats: 2"), 2, SeriesOptions{Options: Options{Dir: dir, Sim: true}}); err == nil || !strings.Contains(err.Error(), "several runs") {
		t.Errorf("a series as a side: %v", err)
	}
}
