package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// benchOn runs bench serve on a simulator and gives what it printed.
func benchOn(t *testing.T, args ...string) (stdout string, status int) {
	t.Helper()
	config := quick
	config.DevMode = slices.Contains(args, "--sweep-max-concurrency")
	_, url := simulator(t, config)
	status, stdout, stderr := servebench(t, append([]string{"bench", "serve", "--base-url", url, "--disable-tqdm", "--skip-tokenizer-init", "--prompt-token-ids",
		"--random-input-len", "8", "--random-output-len", "4"}, args...)...)
	if status != 0 {
		t.Log(stderr)
	}
	return stdout, status
}

func TestSweepAndRepeats(t *testing.T) {
	dir := t.TempDir()
	out, status := benchOn(t, "--sweep-max-concurrency", "1,2", "--sweep-num-prompts-factor", "3", "--num-runs", "2", "--sweep-summary-percentiles", "97.5",
		"--save-result", "--result-dir", dir, "--result-filename", "r.json", "--reset-prefix-cache", "--steady-state-min-window", "0")
	if status != 0 {
		t.Fatal(status)
	}
	for _, want := range []string{" 2 Runs at concurrency=1 ", " 2 Runs at concurrency=2 ", "P97.5 TTFT", "Best throughput: ", " Steady State ", "std (n-1)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	for name, prompts := range map[string]string{"r-concurrency=1-run=0.json": "3", "r-concurrency=1-run=1.json": "3", "r-concurrency=2-run=0.json": "6", "r-concurrency=2-run=1.json": "6"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var result map[string]json.RawMessage
		if err := json.Unmarshal(text, &result); err != nil {
			t.Fatal(err)
		}
		if string(result["num_prompts"]) != prompts || string(result["completed"]) != prompts {
			t.Errorf("%s: %s prompts, %s completed; want %s", name, result["num_prompts"], result["completed"], prompts)
		}
		var steady struct {
			Window struct {
				Target  int     `json:"target_concurrency"`
				Least   int     `json:"threshold_abs"`
				Peak    int     `json:"observed_peak"`
				Total   int     `json:"requests_total"`
				Seconds float64 `json:"duration_s"`
				Warning *string
			}
			Output float64 `json:"output_throughput"`
		}
		if err := json.Unmarshal(result["steady_state"], &steady); err != nil {
			t.Fatalf("%s: steady_state %s: %v", name, result["steady_state"], err)
		}
		users := int(name[len("r-concurrency=")] - '0')
		if w := steady.Window; w.Target != users || w.Least != users || w.Peak != users || strconv.Itoa(w.Total) != prompts || w.Seconds <= 0 || w.Warning != nil || steady.Output <= 0 {
			t.Errorf("%s: steady_state %s", name, result["steady_state"])
		}
	}
}

func TestResetPrefixCacheNeedsDevMode(t *testing.T) {
	if _, status := benchOn(t, "--num-prompts", "1", "--reset-prefix-cache"); status != 1 {
		t.Errorf("exit %d on a server without the route; want 1", status)
	}
}

func TestSpreadOver(t *testing.T) {
	s := spreadOver([]float64{2, 4, 6})
	if s.mean != 4 || s.std != 2 || s.min != 2 || s.max != 6 || s.n != 3 {
		t.Errorf("%+v; want mean 4, std 2, min 2, max 6", s)
	}
}

func TestCompareSaved(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := file("a.json", `{"num_prompts": 5, "request_rate": "inf", "duration": 2.0, "mean_ttft_ms": 10.0, "old": 1}`)
	b := file("b.json", `{"num_prompts": 6, "request_rate": "inf", "duration": 1.0, "mean_ttft_ms": 12.5, "new": 2}`)
	var out bytes.Buffer
	if err := compareSaved(&out, a, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"they differ in num_prompts: 5 and 6\n", "duration                                       2.00           1.00   -50.00 %\n",
		"mean_ttft_ms                                  10.00          12.50   +25.00 %\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := compareSaved(&out, a, file("c.json", "{}\n{}")); err == nil || !strings.Contains(err.Error(), "several results") {
		t.Errorf("two results in a file: %v", err)
	}
}

func TestDryRunSendsNothing(t *testing.T) {
	out, status := benchOn(t, "--num-prompts", "5", "--dry-run", "--random-input-len", "10", "--random-output-len", "6")
	if status != 0 {
		t.Fatal(status)
	}
	for _, want := range []string{"Requests:                      5\n", "Different prompts:             5\n",
		"prompt                       10     10.0     10.0     10.0       10       50\n", "output asked for              6      6.0      6.0      6.0        6       30\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestTemplateIsAppliedOnce(t *testing.T) {
	for _, tc := range []struct {
		flags string
		want  bool
	}{
		{"--backend openai-chat --dataset-name custom --dataset-path x.jsonl", true},
		{"--backend openai-chat --dataset-name custom --dataset-path x.jsonl --compat vllm", false},
		{"--dataset-name custom --dataset-path x.jsonl", false},
		{"--backend openai-chat --dataset-name sharegpt --dataset-path x.json", false},
	} {
		o, err := parseBench(strings.Fields(tc.flags), benchEnv{Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(tc.flags, err)
		}
		if got := o.dataset().SkipTemplate; got != tc.want {
			t.Errorf("%s: template left to the server: %t; want %t", tc.flags, got, tc.want)
		}
	}
}
