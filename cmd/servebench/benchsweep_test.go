package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servebench/internal/argparse"
)

// TestMain lets the test program stand in for servebench where a sweep starts it.
func TestMain(m *testing.M) {
	if os.Getenv("SERVEBENCH_TEST_MAIN") != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func setOf(t *testing.T, text string) paramSet {
	t.Helper()
	v, err := argparse.Loads(text)
	if err != nil {
		t.Fatal(err)
	}
	return paramSet{v.(*argparse.Dict)}
}

func TestParamsApply(t *testing.T) {
	for _, tc := range []struct{ name, set, command, want string }{
		{"replaced in any spelling", `{"max_num_seqs": 8}`, "vllm serve m --max_num_seqs 4 --x", "vllm serve m --max-num-seqs 8 --x"},
		{"appended", `{"max-num-seqs": 8, "rate": 1.0}`, "c", "c --max-num-seqs 8 --rate 1.0"},
		{"the joined form is not seen", `{"seed": 2}`, "c --seed=1", "c --seed=1 --seed 2"},
		{"booleans", `{"eager": true, "a_b": false, "c.d": true}`, "c", "c --eager --no-a-b --c.d=true"},
		{"a boolean in its place", `{"eager": false}`, "c --eager --y", "c --no-eager --y"},
		{"what follows a dot stays", `{"comp_config.max_x": 1}`, "c", "c --comp-config.max_x 1"},
		{"python's str", `{"l": [1, "a"], "n": null, "_benchmark_name": "x"}`, "c", "c --l [1, 'a'] --n None"},
		{"objects are JSON", `{"o": {"a": 1}}`, "c", `c --o {"a": 1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strings.Join(setOf(t, tc.set).apply(strings.Fields(tc.command)), " "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestSweepFolders(t *testing.T) {
	empty := setOf(t, `{}`)
	for _, tc := range []struct{ got, want string }{
		{folder("SERVE", setOf(t, `{"a": 1, "b": true}`), "BENCH", setOf(t, `{"m": "org/x"}`)), "SERVE--a=1-b=True-BENCH--m=org_x"},
		{folder("SERVE", empty, "BENCH", setOf(t, `{"_benchmark_name": "../up", "x": 1}`)), "BENCH--___up"},
		{folder("SERVE", setOf(t, `{"a": 1}`), "BENCH", empty), "SERVE--a=1"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s; want %s", tc.got, tc.want)
		}
	}
}

func TestLinks(t *testing.T) {
	links, err := readLinks("max_num_seqs=max_concurrency")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		serve, bench string
		want         bool
	}{
		{`{"max-num-seqs": 4}`, `{"max_concurrency": 4}`, true},
		{`{"max_num_seqs": 4}`, `{"max_concurrency": 8}`, false},
		{`{"max_num_seqs": 4}`, `{}`, false},
	} {
		if got := linked(links, setOf(t, tc.serve), setOf(t, tc.bench)); got != tc.want {
			t.Errorf("%s with %s: %t", tc.serve, tc.bench, got)
		}
	}
}

func TestBetween(t *testing.T) {
	if got := between(3, 10, 5); !slices.Equal(got, []int{5, 6, 8}) { // 4.75, 6.5 and 8.25: half to even
		t.Errorf("got %v; want 5 6 8", got)
	}
	if got := between(2, 3, 10); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("got %v; want 2 3", got)
	}
}

func TestSaveCSV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary.csv")
	if err := saveCSV(path, []*argparse.Dict{
		setOf(t, `{"n": 1, "x": 0.5, "s": "a,b", "l": [1.0], "h": 3, "b": true}`).Dict, setOf(t, `{"n": 2, "x": 1, "h": null}`).Dict,
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := ",n,x,s,l,h,b\n0,1,0.5,\"a,b\",[1.0],3.0,True\n1,2,1.0,,,,\n"; string(text) != want {
		t.Errorf("got  %q\nwant %q", text, want)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSweepServe(t *testing.T) {
	t.Setenv("SERVEBENCH_TEST_MAIN", "1")
	dir, port := t.TempDir(), freePort(t)
	serve := write(t, filepath.Join(dir, "serve.json"), `[{"max_num_seqs": 2}, {"max_num_seqs": 4}]`)
	bench := write(t, filepath.Join(dir, "bench.json"), `{"one": {"max_concurrency": 2, "random_input_len": 8}, "two": {"max_concurrency": 4}}`)
	args := []string{
		"bench", "sweep", "serve", "--serve-cmd", "servebench sim --first-token 1ms --between-tokens 1ms --port " + port,
		"--bench-cmd", "vllm bench serve --port " + port + " --num-prompts 4 --skip-tokenizer-init --prompt-token-ids --random-output-len 3 --disable-tqdm",
		"--serve_params", serve, "--bench-params", bench, "--link-vars", "max_num_seqs=max_concurrency", "--num-runs", "2", "-o", dir, "-e", "x",
		"--warmup-num-prompts", "1",
	}
	status, dry, _ := servebench(t, append(args, "--dry-run")...)
	if status != 0 || strings.Count(dry, "server: ") != 2 || strings.Count(dry, "load: ") != 6 || exists(filepath.Join(dir, "x")) {
		t.Fatalf("dry run: exit %d\n%s", status, dry)
	}
	status, _, errs := servebench(t, args...)
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, errs)
	}
	for _, name := range []string{"SERVE--max_num_seqs=2-BENCH--one", "SERVE--max_num_seqs=4-BENCH--two"} {
		runs, err := readSummary(filepath.Join(dir, "x", name, "summary.json"))
		if err != nil || len(runs) != 2 {
			t.Fatalf("%s: %d runs, %v", name, len(runs), err)
		}
		for n, r := range runs {
			completed, _ := numberOf(r, "completed")
			number, _ := numberOf(r, "run_number")
			_, hasE2EL := numberOf(r, "p99_e2el_ms")
			seqs, _ := numberOf(r, "max_num_seqs")
			concurrency, _ := numberOf(r, "max_concurrency")
			if completed != 4 || int(number) != n || !hasE2EL || seqs != concurrency {
				t.Errorf("%s, run %d: %s", name, n, argparse.Dumps(r))
			}
		}
		for _, file := range []string{"warmup.json", "run=0.json", "run=1.json"} {
			if !exists(filepath.Join(dir, "x", name, file)) {
				t.Errorf("%s has no %s", name, file)
			}
		}
	}
	f, err := os.Open(filepath.Join(dir, "x", "summary.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if rows, err := csv.NewReader(f).ReadAll(); err != nil || len(rows) != 5 {
		t.Errorf("summary.csv: %d rows, %v; want 5", len(rows), err)
	}
	// A second one is refused; resumed, it keeps what is there.
	if status, _, _ := servebench(t, args...); status != exitUsage {
		t.Errorf("again: exit %d; want %d", status, exitUsage)
	}
	before, err := os.Stat(filepath.Join(dir, "x", "SERVE--max_num_seqs=2-BENCH--one", "run=0.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "x", "SERVE--max_num_seqs=4-BENCH--two")); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := servebench(t, append(args, "--resume")...); status != 0 {
		t.Fatalf("resumed: exit %d\n%s", status, errs)
	}
	after, err := os.Stat(filepath.Join(dir, "x", "SERVE--max_num_seqs=2-BENCH--one", "run=0.json"))
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a run that was there was made again: %v", err)
	}
	if !exists(filepath.Join(dir, "x", "SERVE--max_num_seqs=4-BENCH--two", "summary.json")) {
		t.Error("the missing combination was not made up for")
	}
	// Its plots.
	status, out, errs := servebench(t, "bench", "sweep", "plot", filepath.Join(dir, "x"), "--var-x", "max_concurrency", "--curve-by", "_benchmark_name",
		"--fig-by", "backend", "--filter-by", "completed>=4, failed == 0", "--scale-y", "log")
	if want := filepath.Join(dir, "x", "FIGURE-backend=openai.svg"); status != 0 || !strings.Contains(out, want) || !exists(want) || !exists(filepath.Join(dir, "x", "FIGURE.html")) {
		t.Errorf("plot: exit %d\n%s\n%s", status, out, errs)
	}
	status, out, errs = servebench(t, "bench", "sweep", "plot_pareto", filepath.Join(dir, "x"))
	text, err := os.ReadFile(filepath.Join(dir, "x", "pareto", "PARETO.svg"))
	if status != 0 || err != nil || strings.Count(string(text), "<circle") < 5 || !strings.Contains(string(text), "gpu_count=1") {
		t.Errorf("plot_pareto: exit %d, %v\n%s\n%s", status, err, out, errs)
	}
}

func TestSweepGoesOnAfterFailures(t *testing.T) {
	t.Setenv("SERVEBENCH_TEST_MAIN", "1")
	dir, port := t.TempDir(), freePort(t)
	bench := write(t, filepath.Join(dir, "bench.json"), `{"bad": {"backend": "none"}, "good": {}}`)
	args := []string{
		"bench", "sweep", "serve", "--serve-cmd", "servebench sim --first-token 1ms --between-tokens 1ms --port " + port,
		"--bench-cmd", "vllm bench serve --port " + port + " --num-prompts 2 --skip-tokenizer-init --prompt-token-ids --random-output-len 3 --disable-tqdm",
		"--bench-params", bench, "--num-runs", "1", "-o", dir, "-e", "x", "--continue-on-error",
	}
	if status, _, errs := servebench(t, args...); status != 0 {
		t.Fatalf("exit %d\n%s", status, errs)
	}
	text, err := os.ReadFile(filepath.Join(dir, "x", "BENCH--bad", "run=0.failure.json"))
	if err != nil {
		t.Fatal(err)
	}
	var failure struct {
		RunNumber int    `json:"run_number"`
		Type      string `json:"error_type"`
		Error     string
		Bench     map[string]any `json:"bench_overrides"`
	}
	if err := json.Unmarshal(text, &failure); err != nil || failure.Type != "CommandFailed" || !strings.Contains(failure.Error, "'none'") || failure.Bench["backend"] != "none" {
		t.Errorf("%s: %v", text, err)
	}
	if exists(filepath.Join(dir, "x", "BENCH--bad", "summary.json")) || !exists(filepath.Join(dir, "x", "BENCH--good", "summary.json")) {
		t.Error("want a summary of the good combination alone")
	}
}

func TestSweepWorkload(t *testing.T) {
	t.Setenv("SERVEBENCH_TEST_MAIN", "1")
	dir, port := t.TempDir(), freePort(t)
	status, _, errs := servebench(t, "bench", "sweep", "serve_workload", "--serve-cmd", "servebench sim --first-token 5ms --between-tokens 5ms --port "+port,
		"--bench-cmd", "vllm bench serve --port "+port+" --num-prompts 8 --skip-tokenizer-init --prompt-token-ids --random-output-len 3 --disable-tqdm",
		"--workload-var", "max_concurrency", "--workload-iters", "3", "--num-runs", "1", "-o", dir, "-e", "x")
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, errs)
	}
	for _, n := range []int{1, 8} {
		if name := fmt.Sprintf("BENCH--max_concurrency=%d-WL--max_concurrency=%d", n, n); !exists(filepath.Join(dir, "x", name, "summary.json")) {
			t.Errorf("no %s", name)
		}
	}
	entries, err := filepath.Glob(filepath.Join(dir, "x", "WL--max_concurrency=*"))
	if err != nil || len(entries) != 1 {
		t.Errorf("between: %v, %v; want one value", entries, err)
	}
}

func TestSweepStartup(t *testing.T) {
	dir := t.TempDir()
	script := write(t, filepath.Join(dir, "startup.sh"), `case "$*" in *--help=all*) echo --model --eager --output-json; exit;; esac
for last; do :; done
echo "{\"args\": \"$*\", \"seconds\": 1.5}" > "$last"
`)
	serve := write(t, filepath.Join(dir, "serve.json"), `[{"eager": true, "unknown_flag": 3}, {"eager": false}]`)
	args := []string{"bench", "sweep", "startup", "--startup-cmd", "sh " + script + " --model m", "--serve-params", serve, "-o", dir, "-e", "x"}
	if status, _, errs := servebench(t, args...); status != 0 || !strings.Contains(errs, "unknown_flag is left out") {
		t.Fatalf("exit %d\n%s", status, errs)
	}
	runs, err := readSummary(filepath.Join(dir, "x", "SERVE--eager=True", "summary.json"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	given, _ := runs[0].Get("args")
	if seconds, _ := numberOf(runs[0], "seconds"); seconds != 1.5 || !strings.HasPrefix(argparse.Str(given), "--model m --eager --output-json ") {
		t.Errorf("%s", argparse.Dumps(runs[0]))
	}
	if status, _, _ := servebench(t, append(args, "-e", "y", "--strict-params")...); status != exitFailed {
		t.Errorf("strict: exit %d; want %d", status, exitFailed)
	}
}

func TestSweepServerThatDies(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	args := []string{"bench", "sweep", "serve", "--serve-cmd", "sh -c 'echo no device; exit 3' --port " + port, "--bench-cmd", "true", "-o", dir, "-e", "x"}
	status, _, errs := servebench(t, args...)
	if status != exitFailed || !strings.Contains(errs, "exit status 3") || !strings.Contains(errs, "no device") {
		t.Errorf("exit %d\n%s", status, errs)
	}
	status, _, errs = servebench(t, append(args, "-e", "y", "--continue-on-error")...)
	failure, err := readObject(filepath.Join(dir, "y", "SERVE--failure.json"))
	if status != exitFailed || err != nil {
		t.Fatalf("going on: exit %d, %v\n%s", status, err, errs)
	}
	if kind, _ := failure.Get("error_type"); kind != "ServerDied" {
		t.Errorf("%s", argparse.Dumps(failure))
	}
}

func TestFilters(t *testing.T) {
	for _, tc := range []struct {
		value    any
		op, want string
		ok       bool
	}{
		{3, ">=", "2.5", true}, {"inf", ">", "100", true}, {true, "==", "true", true}, {false, "!=", "True", true}, {"a", "==", "b", false}, {"true", "==", "true", true},
	} {
		if got := fulfils(tc.value, tc.op, tc.want); got != tc.ok {
			t.Errorf("%v %s %s: %t", tc.value, tc.op, tc.want, got)
		}
	}
}
