package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"servebench/loadgen/sim"
	"servebench/results"
)

// simulator serves a simulator of that configuration and returns its address.
func simulator(t *testing.T, c sim.Config) (*sim.Server, string) {
	t.Helper()
	server, err := sim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { server.Close(); serving.Wait() })
	return server, "http://" + l.Addr().String()
}

// quick is a simulator that answers at once.
var quick = sim.Config{FirstToken: time.Millisecond, BetweenTokens: time.Millisecond, Model: "m"}

// opened opens a run that has to be readable whatever happened to it.
func opened(t *testing.T, dir string) *results.Run {
	t.Helper()
	run, err := results.Open(dir)
	if err != nil {
		t.Fatalf("the run does not open: %v", err)
	}
	t.Cleanup(func() { run.Close() })
	return run
}

func TestProceduresOnTheSimulator(t *testing.T) {
	for _, tc := range []struct {
		preset   string
		requests int
		says     []string
	}{
		{"gaudi-e2e-single", 1, []string{"Mean E2EL (ms):", "Inside the Server", "Recompilations", "Compiled:                                2,"}},
		{"gaudi-e2e-multi", 4, []string{
			"Successful requests:                     4         ", "Total input tokens:                      512       ", "Total generated tokens:                  16        ",
			"Requests linked to their steps:          4, 0 with a doubt, 0 not", "Engine Steps (ms)", "Host Gaps (ms)",
		}},
		{"gaudi-e2e-script", 0, []string{"Engine Steps (ms)"}},
		{"vllm-torch", 16, []string{"Device busy (%):", "Successful requests:                     16        "}},
	} {
		t.Run(tc.preset, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			status, stdout, stderr := servebench(t, "run", tc.preset, "--sim", "--out", dir)
			if status != 0 {
				t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
			}
			for _, want := range tc.says {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
			run := opened(t, dir)
			if ok, why := run.Complete(); !ok || run.Len() != tc.requests || run.Manifest().Outcome != results.OK {
				t.Errorf("complete %t (%s), %d records, outcome %s; want true, %d, ok", ok, why, run.Len(), run.Manifest().Outcome, tc.requests)
			}
			status, again, _ := servebench(t, "report", dir)
			if status != 0 || again != stdout {
				t.Errorf("report (exit %d) differs from what the run printed:\n%s\nrun:\n%s", status, again, stdout)
			}
			for _, name := range []string{"manifest.json", "records.jsonl.zst", "merged.trace.json.gz", "server.json"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestBenchServeAndReportPrintTheSame(t *testing.T) {
	_, url := simulator(t, quick)
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := servebench(t, "bench", "serve", "--base-url", url, "--num-prompts", "12", "--random-input-len", "20", "--random-output-len", "5",
		"--request-rate", "200", "--max-concurrency", "2", "--percentile-metrics", "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue", "--out", dir)
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	if !strings.Contains(stdout, "Client-side Queueing") || !strings.Contains(stdout, "Successful requests:                     12        ") {
		t.Errorf("the table lacks the client's queueing or the requests:\n%s", stdout)
	}
	if _, again, _ := servebench(t, "report", dir); again != stdout {
		t.Errorf("report differs:\n%s\nbench serve:\n%s", again, stdout)
	}
	var vllm map[string]any
	_, text, _ := servebench(t, "report", "--format", "vllm-json", dir)
	if err := json.Unmarshal([]byte(text), &vllm); err != nil || vllm["completed"] != 12.0 {
		t.Errorf("--format vllm-json: completed %v, %v; want 12", vllm["completed"], err)
	}
	// Nothing is overwritten.
	status, _, stderr = servebench(t, "bench", "serve", "--base-url", url, "--num-prompts", "1", "--out", dir)
	if status != 1 || !strings.Contains(stderr, "holds a run") {
		t.Errorf("a second run into the same folder: exit %d, %s; want 1 and a refusal", status, stderr)
	}
}

func TestWhatGoesWrongSaysSoAndLeavesARunThatOpens(t *testing.T) {
	_, good := simulator(t, sim.Config{FirstToken: time.Millisecond, BetweenTokens: time.Millisecond, Model: "m"})
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	free := freePort(t)
	faulty := func(words string) string {
		fault, err := sim.ParseFault(words)
		if err != nil {
			t.Fatal(err)
		}
		c := quick
		c.Faults = []sim.Fault{fault}
		_, url := simulator(t, c)
		return url
	}
	dying := quick
	dying.DieAfter = 3
	_, mortal := simulator(t, dying)
	for _, tc := range []struct {
		name  string
		args  string
		says  string
		exit  int
		opens bool
	}{
		{"unreachable", "bench serve --model m --base-url http://127.0.0.1:" + free + " --num-prompts 2", "no server answers at http://127.0.0.1:" + free, 1, true},
		{"wrong model", "bench serve --model other --base-url " + good + " --num-prompts 2", `serves no model "other": it serves m`, 1, true},
		{"wrong path", "bench serve --model m --base-url " + good + " --endpoint /v9/completions --num-prompts 2", "all requests failed: 404 Not Found: Not Found", 1, true},
		{"4xx with the server's words", "bench serve --model m --base-url " + good + " --random-input-len 5000 --num-prompts 2", "all requests failed: 400 Bad Request: ", 1, true},
		{"5xx with the server's words", "bench serve --model m --num-prompts 2 --base-url " + faulty("status=503,message=out of memory"), "all requests failed: 503 Service Unavailable: out of memory", 1, true},
		{"an error inside a stream", "bench serve --model m --num-prompts 2 --base-url " + faulty("error=2"), "all requests failed: ", 1, true},
		{"some fail and too many", "bench serve --model m --num-prompts 4 --max-concurrency 1 --max-failures 0 --base-url " + faulty("status=500,to=1"), "1 of 4 requests failed", 1, true},
		{"a server that dies", "bench serve --model m --num-prompts 6 --max-concurrency 1 --max-failures 1 --base-url " + mortal, "of 6 requests failed", 1, true},
		{"port in use", "run vllm-torch --set server.command=sleep --set server.url=http://" + busy.Addr().String(), "the port is in use", 1, true},
		{"a command that ends", "run vllm-torch --set server.command=false --set server.url=http://127.0.0.1:" + free, "exit", 1, true},
		{"a command that is not there", "run vllm-torch --set server.command=no-such-program --set server.url=http://127.0.0.1:" + free, "no-such-program", 1, true},
		{"no profiler", "bench serve --model m --profile --num-prompts 2 --base-url " + good, "--profiler-config", 1, true},
		{"unwritable folder", "run vllm-torch --sim --out /proc/no/run", "/proc/no", 1, false},
		{"unknown preset", "run gaudi-e2e-mult --sim", "presets are", 2, false},
		{"unknown field", "run gaudi-e2e-multi --sim --set load.requsts=3", `there is no key "requsts"`, 2, false},
		{"unknown flag", "bench serve --num-promps 3", "--num-promps", 2, false},
		{"bad value", "bench serve --request-rate 0", "request-rate", 2, false},
		{"both url and sim", "run gaudi-e2e-multi --sim --url " + good, "[sim url]", 2, false},
		{"no run", "report /nowhere", "/nowhere", 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			args := strings.Fields(tc.args)
			if tc.opens {
				args = append(args, "--out", dir)
			}
			status, _, stderr := servebench(t, args...)
			if status != tc.exit || !strings.Contains(stderr, tc.says) {
				t.Errorf("exit %d; want %d and %q in\n%s", status, tc.exit, tc.says, stderr)
			}
			if tc.opens {
				if m := opened(t, dir).Manifest(); m.Outcome != results.Failed && tc.name != "a server that dies" && tc.name != "some fail and too many" || m.Outcome == "" {
					t.Errorf("outcome %q, reason %q; want error", m.Outcome, m.Reason)
				}
			}
		})
	}
}

// TestProfileOptional goes on where the server has no profiler, and says so in the run.
func TestProfileOptional(t *testing.T) {
	_, url := simulator(t, quick)
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := servebench(t, "bench", "serve", "--base-url", url, "--model", "m", "--profile", "--profile-optional", "--num-prompts", "3", "--out", dir)
	if status != 0 || !strings.Contains(stdout, "Successful requests:                     3         ") {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	m := opened(t, dir).Manifest()
	if m.Profile == nil || !strings.Contains(m.Profile.Start.Error, "404") || len(m.Warnings) == 0 {
		t.Errorf("profile %+v, warnings %v; want the refusal in both", m.Profile, m.Warnings)
	}
}

// TestInterrupt ends a load in the middle: the profiler is stopped, and what was measured is kept, reported and analysed.
func TestInterrupt(t *testing.T) {
	traces := t.TempDir()
	server, url := simulator(t, sim.Config{Model: "m", ProfileDir: traces, StepBase: 2 * time.Millisecond})
	dir := filepath.Join(t.TempDir(), "run")
	ctx, interrupt := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { // Ctrl-C once a few requests were answered
		for ctx.Err() == nil {
			if len(server.Requests()) >= 5 {
				interrupt()
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	root := rootCommand(&interrupts{end: ctx, leave: context.Background()})
	root.SetArgs([]string{"bench", "serve", "--base-url", url, "--model", "m", "--profile", "--trace-dir", traces, "--num-prompts", "100000",
		"--max-concurrency", "2", "--random-input-len", "10", "--random-output-len", "4", "--skip-tokenizer-init", "--out", dir})
	var out, errs strings.Builder
	root.SetOut(&out)
	root.SetErr(&errs)
	status := exitStatus(root.ExecuteContext(ctx), &errs)
	watching.Wait()
	if status != 1 || !strings.Contains(errs.String(), "stopped before its end") {
		t.Errorf("exit %d; want 1 and that it was stopped\n%s", status, errs.String())
	}
	run := opened(t, dir)
	m := run.Manifest()
	if m.Outcome != results.Interrupted || m.Profile == nil || m.Profile.Stop.Answered == 0 {
		t.Errorf("outcome %s, profile %+v; want interrupted, with an answered stop", m.Outcome, m.Profile)
	}
	cancelled := 0
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Failure != nil && rec.Failure.Class == results.FailCancelled {
			cancelled++
		}
	}
	if run.Len() < 5 || cancelled == 0 || cancelled > 2 {
		t.Errorf("%d records, %d of them cut; want at least 5, and one or two", run.Len(), cancelled)
	}
	if !strings.Contains(out.String(), "Inside the Server") {
		t.Errorf("no answers from the trace of an interrupted run\n%s\n%s", out.String(), errs.String())
	}
	if response, err := http.Post(url+"/start_profile", "", nil); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("the profiler was not stopped: a start is answered %v, %v", response.StatusCode, err)
	}
}

// TestNoSecretsAreKept looks for the keys of a run in everything it wrote.
func TestNoSecretsAreKept(t *testing.T) {
	_, url := simulator(t, quick)
	t.Setenv("OPENAI_API_KEY", "sk-very-secret")
	dir := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := servebench(t, "bench", "serve", "--base-url", url, "--model", "m", "--num-prompts", "2", "--header", "Authorization=Bearer other-secret",
		"--header", "X-Api-Key=third-secret", "--out", dir)
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	texts := map[string]string{"stdout": stdout, "stderr": stderr}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		texts[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		if strings.Contains(text, "secret") {
			t.Errorf("%s holds a secret", name)
		}
	}
}

// exampleWord is a word of a shell's line, quotes respected.
var exampleWord = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)

// TestEveryCommandHasAnExample keeps the help honest.
func TestEveryCommandHasAnExample(t *testing.T) {
	root := rootCommand(&interrupts{end: t.Context(), leave: t.Context()})
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			continue
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, line := range strings.Split(strings.ReplaceAll(cmd.Example, "\\\n", " "), "\n") {
			var words []string
			for _, word := range exampleWord.FindAllString(line, -1) {
				if word == "|" || word == ">" || word == "&" {
					break
				}
				words = append(words, strings.Trim(word, `"'`))
			}
			if len(words) == 0 {
				continue
			}
			found, rest, err := root.Find(words[1:])
			if words[0] != "servebench" || err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			if found.DisableFlagParsing {
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
	if status, stdout, _ := servebench(t, "completion", "bash"); status != 0 || !strings.Contains(stdout, "servebench") {
		t.Errorf("completion bash: exit %d", status)
	}
	if status, stdout, _ := servebench(t, "version"); status != 0 || !strings.HasPrefix(stdout, "servebench ") {
		t.Errorf("version: exit %d, %q", status, stdout)
	}
}
