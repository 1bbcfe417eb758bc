package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/compare"
)

// scenarioFile writes a scenario for the tiny model: sixteen tokens in, some out, one user after the other.
func scenarioFile(t *testing.T, port, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scenario.yaml")
	text := `name: tiny
server: {url: "http://127.0.0.1:` + port + `"}
model: facebook/opt-125m
dataset: {input_len: 16, output_len: 8}
body: {ignore_eos: true, extra: {temperature: 0}}
warmup: {requests: 2}
load: {requests: 12, concurrency: 1}
` + more
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// indexOf opens a series whose points all have figures and in which no request failed.
func indexOf(t *testing.T, dir string) *scenario.Index {
	t.Helper()
	x, err := scenario.OpenIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Complete {
		t.Errorf("%s is not complete", dir)
	}
	for _, p := range x.Points {
		if f := p.Figures; f == nil || f.Failed != 0 || f.Completed != f.Requests || f.OutputRate == nil || *f.OutputRate <= 0 {
			t.Errorf("%s: figures %+v", p.Name, f)
		}
	}
	return x
}

// TestVLLMSweep starts two servers in turn, each for two points, is interrupted in the second run, and goes on.
func TestVLLMSweep(t *testing.T) {
	dir := vllm(t)
	port := freePort(t)
	command := func(seqs string) string {
		words := []string{
			filepath.Join(dir, "venv", "bin", "vllm"), "serve", filepath.Join(dir, "models", "tiny-opt"), "--host", "127.0.0.1", "--port", port,
			"--served-model-name", "facebook/opt-125m", "--max-model-len", "256", "--dtype", "bfloat16", "--enforce-eager", "--distributed-executor-backend", "uni",
			"--max-num-seqs", seqs,
		}
		text, _ := json.Marshal(words)
		return string(text)
	}
	file := scenarioFile(t, port, fmt.Sprintf(`sweep:
  grid:
    server.command: [%s, %s]
    load.concurrency: [1, 4]
`, command("2"), command("8")))
	out := filepath.Join(t.TempDir(), "sweep")
	args := []string{"run", file, "--set", "server.env={VLLM_SERVER_DEV_MODE: 1}", "--out", out}

	// Ctrl-C once the second run has its folder.
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for ctx.Err() == nil {
			if runs, _ := filepath.Glob(filepath.Join(out, scenario.RunsFolder, "*")); len(runs) >= 2 {
				interrupt()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	root := rootCommand(&interrupts{end: ctx, leave: context.Background()})
	root.SetArgs(args)
	var first strings.Builder
	root.SetOut(&first)
	root.SetErr(&first)
	status := exitStatus(root.ExecuteContext(ctx), &first)
	interrupt()
	<-watching
	x, err := scenario.OpenIndex(out)
	if err != nil {
		t.Fatalf("exit %d, %v\n%s", status, err, first.String())
	}
	ended := map[string]results.Moment{}
	for _, r := range x.Runs {
		if r.Status != scenario.RunPending {
			ended[r.Folder] = r.Ended
		}
	}
	if status != exitFailed || x.Complete || len(ended) == 0 || len(ended) > 2 || !strings.Contains(first.String(), "goes on; runs that ended are not made again") {
		t.Errorf("interrupted: exit %d, %d runs ended, complete %t\n%s", status, len(ended), x.Complete, first.String())
	}

	status, stdout, stderr := servebench(t, args...)
	if status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	t.Log("\n" + stdout)
	x = indexOf(t, out)
	if len(x.Points) != 4 || len(x.Runs) != 4 {
		t.Fatalf("%d points, %d runs; want 4, 4", len(x.Points), len(x.Runs))
	}
	var caches []string
	for _, r := range x.Runs {
		if was, ok := ended[r.Folder]; ok && was != r.Ended {
			t.Errorf("%s had ended and was run again", r.Folder)
		}
		if r.Status != scenario.RunOK || r.Figures.Completed != 12 || r.Figures.OutputTokens == nil || *r.Figures.OutputTokens != 12*8 {
			t.Errorf("%s: %s, %+v", r.Folder, r.Status, r.Figures)
		}
		caches = append(caches, r.Cache)
	}
	// The two points of a server share it, the one that was cut off apart: then it was started once more.
	if got := strings.Join(caches, ", "); got != "fresh server, reset, fresh server, reset" && got != "fresh server, fresh server, fresh server, reset" {
		t.Errorf("servers and their caches: %s", got)
	}
	// Which point is faster is the machine's business. That each is on the curve of its server is ours.
	c := x.Curve("e2el", "p99")
	if c == nil || len(c.Points) != 4 || len(c.Pareto) == 0 || c.Points[0].Line != c.Points[1].Line || c.Points[1].Line == c.Points[2].Line {
		t.Errorf("curve %+v; want two points on each of two lines", c)
	}
}

// TestVLLMSearch looks for how many users a server can take that runs one request at a time: with two, each waits as long as a request
// takes. Then it searches at two points of a sweep.
func TestVLLMSearch(t *testing.T) {
	dir := vllm(t)
	port := startVLLM(t, dir, "tiny-opt", "--served-model-name", "facebook/opt-125m", "--max-num-seqs", "1")
	// How long a request takes here, alone.
	file := scenarioFile(t, port, "report: {formats: [junit]}\n")
	one := filepath.Join(t.TempDir(), "one")
	if status, stdout, stderr := servebench(t, "run", file, "--set", "dataset.output_len=64", "--out", one); status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	var alone struct {
		Latency []struct {
			Metric, Basis string
			Percentiles   map[string]float64
		}
	}
	text, err := os.ReadFile(filepath.Join(one, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &alone)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Of one user a first token takes a step of 64, of two a whole request more.
	limit := time.Duration(0)
	for _, l := range alone.Latency {
		if l.Metric == "e2el" && l.Basis == "service" {
			limit = time.Duration(l.Percentiles["50"] * 0.5 * float64(time.Millisecond))
		}
	}
	settings := []string{
		"--set", "dataset.output_len=64", "--set", fmt.Sprintf(`objectives.bounds=["p50 ttft <= %v", "failures <= 0"]`, limit.Round(time.Microsecond)),
		"--set", "search={field: load.concurrency, to: 8, repeats: 3}",
	}
	out := filepath.Join(t.TempDir(), "search")
	status, stdout, stderr := servebench(t, append([]string{"run", file, "--out", out}, settings...)...)
	if status == exitMissed && strings.Contains(stderr, "the client, not the server, was the limit") {
		t.Skipf("this machine is too busy for a search: %s", stderr)
	}
	if status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	t.Log("\n" + stdout)
	x, err := scenario.OpenIndex(out)
	if err != nil {
		t.Fatal(err)
	}
	r := x.Search
	if !x.Complete || r == nil || r.Best == nil || r.Failed == nil || *r.Best != 1 || *r.Failed != 2 {
		t.Fatalf("complete %t, found %+v; want 1 that holds, and 2 that do not", x.Complete, r)
	}
	// Three clear runs at either end are 75 %. On a busy machine one of the six can be out of line, which leaves 37 %.
	sure := 0.0
	if r.Confidence != nil {
		sure = *r.Confidence
	}
	if sure < 0.37 || !strings.Contains(stdout, "with a confidence of ") {
		t.Errorf("confidence %v of %d in %d and %d in %d", sure, r.BestHeld, r.BestRuns, r.FailedHeld, r.FailedRuns)
	}
	for _, run := range x.Runs {
		if run.Status == scenario.RunOK && run.Figures.Failed != 0 {
			t.Errorf("%s: %g requests failed", run.Folder, run.Figures.Failed)
		}
	}
	if j := readJUnit(t, filepath.Join(out, "junit.xml")); len(j.Suites) != 1 || j.Suites[0].Cases[0].Name != "a value of load.concurrency holds" || j.Failures != 0 {
		t.Errorf("junit.xml says %+v", j)
	}
	runs := len(x.Runs)
	if status, _, stderr := servebench(t, append([]string{"run", file, "--out", out}, settings...)...); status != 0 || !strings.Contains(stderr, fmt.Sprintf("%d runs have ended", runs)) ||
		strings.Contains(stderr, "load ended") {
		t.Errorf("done again: exit %d\n%s", status, stderr)
	}

	both := filepath.Join(t.TempDir(), "searches")
	status, stdout, stderr = servebench(t, "run", file, "--out", both, "--set", `objectives.bounds=["failures <= 0"]`,
		"--set", "search={field: load.concurrency, to: 2, repeats: 1}", "--set", "sweep={grid: {dataset.input_len: [8, 64]}}")
	if status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	t.Log("\n" + stdout)
	y := indexOf(t, both)
	for _, p := range y.Points {
		if p.Search == nil || p.Search.Best == nil || *p.Search.Best != 2 {
			t.Errorf("%s: %+v", p.Name, p.Search)
		}
	}
	if c := y.Capacity; c == nil || c.Field != "dataset.input_len" || len(c.Points) != 2 || c.Points[1].X != 64 {
		t.Errorf("capacity %+v", y.Capacity)
	}
}

// TestVLLMAB compares one user with four on the same server by turns.
func TestVLLMAB(t *testing.T) {
	dir := vllm(t)
	port := startVLLM(t, dir, "tiny-opt", "--served-model-name", "facebook/opt-125m")
	out := filepath.Join(t.TempDir(), "ab")
	// The client shares two processors with the server here, and may be judged by that.
	args := []string{"ab", scenarioFile(t, port, ""), "--set", "dataset.output_len=32", "--set", "load.requests=24", "--set-b", "load.concurrency=4", "--repeats", "4", "--force", "--out", out}
	status, stdout, stderr := servebench(t, args...)
	if status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	t.Log("\n" + stdout)
	x := indexOf(t, out)
	var order []string
	for _, r := range x.Runs {
		order = append(order, filepath.Base(r.Folder))
	}
	if got, want := strings.Join(order, " "), "A-r1 B-r1 B-r2 A-r2 A-r3 B-r3 B-r4 A-r4"; got != want {
		t.Errorf("order %s; want %s", got, want)
	}
	status, text, stderr := servebench(t, append(args, "--format", "json")...)
	if status != 0 || strings.Contains(stderr, "load ended") {
		t.Fatalf("done again: exit %d\n%s", status, stderr)
	}
	var report compare.Report
	if err := json.Unmarshal([]byte(text[strings.Index(text, "\n{")+1:]), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Comparisons) != 1 {
		t.Fatalf("%d comparisons", len(report.Comparisons))
	}
	c := report.Comparisons[0]
	if c.Baseline.Name != "A" || c.Candidate.Name != "B" || len(c.Baseline.Runs) != 4 || len(c.Candidate.Runs) != 4 || c.Baseline.Completed != 96 || c.Candidate.Completed != 96 || c.Sample != "runs" {
		t.Errorf("sides %+v, %+v, sample %s", c.Baseline, c.Candidate, c.Sample)
	}
	seen := map[string]bool{}
	for _, row := range c.Rows {
		switch {
		case row.Metric == "output_throughput" && row.Verdict == "worse":
			t.Errorf("output throughput went from %.1f to %.1f with four users: %s", row.Baseline, row.Candidate, row.Verdict)
		case row.Verdict == "" || row.Baseline < 0 || row.Candidate < 0 || row.Metric == "failures" && row.Verdict != "same": // on a busy machine most are inconclusive
			t.Errorf("%s %s has no verdict", row.Statistic, row.Metric)
		}
		seen[row.Metric] = true
	}
	if !seen["output_throughput"] || !seen["ttft"] || !seen["e2el"] || !strings.Contains(stdout, "B against A") || !strings.Contains(stdout, "verdict") {
		t.Errorf("figures %v in\n%s", seen, stdout)
	}
}
