package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"servebench/results"
)

// Every point of the sweep has a search of its own, as of a single search, and points that share a server share it.
func TestSearchAtEveryPoint(t *testing.T) {
	t.Parallel()
	s := parsed(t, quick+`
objectives: {bounds: ["failures <= 0"]}
search: {field: load.concurrency, to: 4, repeats: 1}
sweep:
  grid: {sim.max_num_seqs: [4, 16], dataset.input_len: [8, 16, 32]}
report: {formats: [junit, text]}
`)
	dir := filepath.Join(t.TempDir(), "s")
	watcher := &heard{}
	x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true, Watcher: watcher}, anyClient: true})
	if err != nil {
		t.Fatal(err)
	}
	starts := 0
	for _, p := range watcher.phases {
		if p == "starting the simulator" {
			starts++
		}
	}
	if !x.Complete || x.Kind != "searches" || len(x.Points) != 6 || len(x.Runs) != 0 || starts != 2 {
		t.Errorf("complete %t, %s of %d points, %d runs of its own, the simulator started %d times; want true, searches, 6, 0, 2", x.Complete, x.Kind, len(x.Points), len(x.Runs), starts)
	}
	for _, p := range x.Points {
		inner, err := OpenIndex(filepath.Join(dir, p.Folder))
		if err != nil {
			t.Fatal(err)
		}
		if p.Search == nil || p.Search.Best == nil || *p.Search.Best != 4 || p.Runs != 3 || len(inner.Runs) != 3 || !inner.Complete || !sameJSON(inner.Search, p.Search) {
			t.Errorf("%s: %+v after %d runs, and %d in its folder; want 4 after 3", p.Name, p.Search, p.Runs, len(inner.Runs))
		}
		if p.Figures == nil || p.Figures.Completed != 6 || !sameJSON(p.Figures, inner.Points[2].Figures) {
			t.Errorf("%s: figures %+v; want those of the highest value", p.Name, p.Figures)
		}
		for _, r := range inner.Runs {
			if _, err := os.Stat(filepath.Join(dir, p.Folder, r.Folder, results.ManifestFile)); err != nil {
				t.Error(err)
			}
		}
	}
	if x.Points[3].Folder != "searches/p4-max_num_seqs=16,input_len=8" {
		t.Errorf("the fourth search lies in %s", x.Points[3].Folder)
	}
	c := x.Capacity
	if c == nil || c.Field != "dataset.input_len" || c.Search != "load.concurrency" {
		t.Fatalf("capacity %+v", c)
	}
	var got []string
	for _, p := range c.Points {
		got = append(got, fmt.Sprintf("%d %s %g %g %v", p.Point, p.Line, p.X, p.Best, p.Failed))
	}
	want := []string{
		"4 sim.max_num_seqs=16 8 4 <nil>", "5 sim.max_num_seqs=16 16 4 <nil>", "6 sim.max_num_seqs=16 32 4 <nil>",
		"1 sim.max_num_seqs=4 8 4 <nil>", "2 sim.max_num_seqs=4 16 4 <nil>", "3 sim.max_num_seqs=4 32 4 <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("capacity\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	table, err := os.ReadFile(filepath.Join(dir, PointsFile))
	if err != nil || bytes.Count(table, []byte("\n")) != 7 ||
		!bytes.Contains(table, []byte("\n4,\"searches/p4-max_num_seqs=16,input_len=8\",16,8,load.concurrency,4,,,1,1,0,0,3,6,6,0,")) {
		t.Errorf("table (%v):\n%s", err, table)
	}
	for name, want := range map[string]string{"report.txt": "searches quick: 6 of 6 ended", "junit.xml": `tests="6" failures="0"`} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s (%v) lacks %q:\n%s", name, err, want, text)
		}
	}
	// Done again, nothing is run.
	watcher.phases = nil
	again, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true, Watcher: watcher}, anyClient: true})
	if err != nil || !sameJSON(again.Points, x.Points) || slices.Contains(watcher.phases, "starting the simulator") {
		t.Errorf("done again (%v) it is another one, or made runs: %q", err, watcher.phases)
	}
	other := parsed(t, quick+"sweep: {grid: {load.concurrency: [1, 2]}}")
	if _, err := RunSeries(t.Context(), other, SeriesOptions{Options: Options{Dir: dir, Sim: true}}); !errors.Is(err, errOther) {
		t.Errorf("another series in the folder: %v; want it refused", err)
	}
}

// A point at which nothing holds, and one whose search cannot be carried out, leave the others alone.
func TestSearchesThatFindNothing(t *testing.T) {
	t.Parallel()
	s := parsed(t, quick+`
search: {field: load.concurrency, to: 2, repeats: 1}
sweep:
  points:
    - {objectives.bounds: ["p50 ttft <= 1us"]}
    - {objectives.bounds: ["failures <= 0"], endpoint: /v1/nothing}
    - {objectives.bounds: ["failures <= 0"]}
`)
	x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: filepath.Join(t.TempDir(), "s"), Sim: true}, anyClient: true})
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := x.Points[0], x.Points[1], x.Points[2]
	if first.Search == nil || first.Search.Best != nil || first.Figures != nil || third.Search == nil || *third.Search.Best != 2 {
		t.Errorf("searches %+v, %+v; want nothing, and 2", first.Search, third.Search)
	}
	if want := "no value holds at 1 of 3 points: "; !x.Complete || !strings.HasPrefix(x.Missed(), want) {
		t.Errorf("complete %t, missed %q; want true, %q...", x.Complete, x.Missed(), want)
	}
	if !strings.Contains(second.Error, "measured nothing: backend vllm speaks to paths that end in completions") || second.Search != nil {
		t.Errorf("the second search: error %q, %+v", second.Error, second.Search)
	}
	var text bytes.Buffer
	if err := x.Text(&text); err != nil || !strings.Contains(text.String(), "failed: objectives.bounds=") {
		t.Errorf("the text (%v) does not say what failed:\n%s", err, text.String())
	}
	if x.Capacity != nil {
		t.Errorf("a capacity against bounds: %+v", x.Capacity)
	}
}

const killedSearches = quick + `
objectives: {bounds: ["failures <= 0"]}
search: {field: load.concurrency, to: 4, repeats: 2}
sweep: {grid: {dataset.input_len: [8, 16]}, order: random}
`

// Searches that were killed in the middle, twice, come out as those that were not.
func TestKilledSearchesResume(t *testing.T) {
	t.Parallel()
	s := parsed(t, killedSearches)
	want, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: filepath.Join(t.TempDir(), "whole"), Sim: true}, anyClient: true})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "killed")
	finished := map[string]results.Moment{}
	each := func(x *Index, do func(path string, r *RunLine)) {
		for _, p := range x.Points {
			if inner, err := OpenIndex(filepath.Join(dir, p.Folder)); err == nil {
				for _, r := range inner.Runs {
					do(p.Folder+"/"+r.Folder, r)
				}
			}
		}
	}
	for _, kill := range []int{2, 6} { // in the first search, and in the second
		killChild(t, dir, kill, "SERVEBENCH_TEST_SEARCHES=1")
		x, err := OpenIndex(dir)
		if err != nil {
			t.Fatal(err)
		}
		each(x, func(path string, r *RunLine) {
			if r.Status != RunPending {
				if was, ok := finished[path]; ok && was != r.Ended {
					t.Errorf("%s had ended and was run again", path)
				}
				finished[path] = r.Ended
			}
		})
		t.Logf("killed with %d runs ended", len(finished))
	}
	got, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}, anyClient: true})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := withoutTimes(t, got), withoutTimes(t, want); a != b {
		t.Errorf("what was resumed is another:\n%s\nwant\n%s", a, b)
	}
	runs := 0
	each(got, func(path string, r *RunLine) {
		runs++
		if was, ok := finished[path]; ok && was != r.Ended {
			t.Errorf("%s had ended and was run again", path)
		}
		run, err := results.Open(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if ok, why := run.Complete(); !ok {
			t.Errorf("%s: %s", path, why)
		}
		run.Close()
	})
	if runs != 8 {
		t.Errorf("%d runs; want 8", runs)
	}
}

// Ended by Ctrl-C, the index says what there is.
func TestInterruptedSearches(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	x, err := RunSeries(ctx, parsed(t, killedSearches), SeriesOptions{Options: Options{Dir: dir, Sim: true, Watcher: &interrupter{at: 2, cancel: cancel}}, anyClient: true})
	if !errors.Is(err, context.Canceled) || x.Complete {
		t.Fatalf("error %v, complete %t; want the interruption, false", err, x.Complete)
	}
	saved, err := OpenIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for _, p := range saved.Points {
		if p.Search != nil {
			t.Errorf("%s has an answer after one run", p.Name)
		}
		runs += p.Runs
	}
	if runs != 1 {
		t.Errorf("%d runs ended; want 1", runs)
	}
}

func TestLongValuesAreToldApart(t *testing.T) {
	const base = "vllm serve facebook/opt-125m --host 127.0.0.1 --port 8000 "
	x := &Index{}
	for i, value := range []string{base + "--max-num-seqs 64", base + "--max-num-seqs 256 --enforce-eager --dtype bfloat16"} {
		x.Points = append(x.Points, &PointLine{Number: i + 1, Settings: Assignments{
			{"server.command", &yaml.Node{Kind: yaml.ScalarNode, Value: value}}, {"load.concurrency", &yaml.Node{Kind: yaml.ScalarNode, Value: "12"}},
		}})
	}
	for i, want := range []string{"... --max-num-seqs 64", "... --max-num-seqs 256 --enforce-eage..."} {
		if got := x.short(x.Points[i], "server.command"); got != want {
			t.Errorf("point %d: %q; want %q", i+1, got, want)
		}
		if got := x.short(x.Points[i], "load.concurrency"); got != "12" {
			t.Errorf("a short value became %q", got)
		}
	}
}
