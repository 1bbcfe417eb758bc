package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"servebench/loadgen/scenario"
)

const abScenario = `
name: ab
dataset: {input_len: 8, output_len: 3}
load: {requests: 8, concurrency: 4}
sim: {first_token: 2ms, between_tokens: 1ms}
`

// inProcess runs a command, and gives all that it prints and its exit status.
func inProcess(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	stdout, stderr, status := command(t, args...)
	return stdout + stderr, status
}

func TestABRunsAndCompares(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ab.yaml")
	if err := os.WriteFile(file, []byte(abScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "out")
	args := []string{"ab", file, "--sim", "--out", to, "--set-a", "load.concurrency=1", "--repeats", "3", "--force", "--metric", "e2el"}
	out, status := inProcess(t, args...)
	if status != 0 {
		t.Fatalf("status %d:\n%s", status, out)
	}
	for _, want := range []string{"3 repeats do not balance", "ab ab: 6 of 6 runs ended", "index:  ", "E2EL"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	x, err := scenario.OpenIndex(to)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, r := range x.Runs {
		order = append(order, filepath.Base(r.Folder))
	}
	if got, want := strings.Join(order, " "), "A-r1 B-r1 B-r2 A-r2 A-r3 B-r3"; got != want {
		t.Errorf("order %s; want %s", got, want)
	}
	// Done again, nothing is run, and the comparison is the same.
	again, status := inProcess(t, args...)
	if status != 0 || strings.Contains(again, "run 1 of 6") || !strings.Contains(again, "6 runs have ended") {
		t.Errorf("status %d:\n%s", status, again)
	}
	if out, status := inProcess(t, "ab", file, "--sim", "--set", "repeats=2", "--out", filepath.Join(dir, "other")); status != exitUsage || !strings.Contains(out, "several runs") {
		t.Errorf("a series as a side: status %d: %s", status, out)
	}
}

func TestCheckAndDryRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	if err := os.WriteFile(file, []byte(abScenario+"nonsense: 1\nseed: -1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status := inProcess(t, "run", "--check", file)
	if status != exitUsage || !strings.Contains(out, file+`:6:1: there is no key "nonsense"`) || !strings.Contains(out, file+":7:7: seed: -1") {
		t.Errorf("status %d; want all faults and 2:\n%s", status, out)
	}
	if err := os.WriteFile(file, []byte(abScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, status := inProcess(t, "run", "--check", file); status != 0 || !strings.Contains(out, "no faults: one run") {
		t.Errorf("status %d: %s", status, out)
	}
	t.Chdir(dir)
	out, status = inProcess(t, "run", "--dry-run", "--sim", "--set", "tokenizer=none", "--set", "model=m", file)
	if status != 0 || !strings.Contains(out, "dry run: nothing was started, no connection was opened, nothing was sent") {
		t.Errorf("status %d: %s", status, out)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("a dry run left %v (%v)", entries, err)
	}
	if out, status := inProcess(t, "schema"); status != 0 || !strings.HasPrefix(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\"") {
		t.Errorf("status %d: %.200s", status, out)
	}
}

func TestRunCarriesOutASweep(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	if err := os.WriteFile(file, []byte(abScenario+"sweep: {grid: {load.concurrency: [1, 2, 4]}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status := inProcess(t, "run", file, "--sim", "--out", filepath.Join(dir, "out"))
	if status != 0 || !strings.Contains(out, "sweep ab: 3 of 3 runs ended") || !strings.Contains(out, "against output_throughput") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if out, status := inProcess(t, "run", file, "--sim", "--shard", "0/2", "--url", ""); status != exitUsage {
		t.Errorf("a sweep in shards: status %d: %s", status, out)
	}
	// A search that finds nothing misses its bar.
	out, status = inProcess(t, "run", file, "--sim", "--out", filepath.Join(dir, "search"), "--set", "sweep=null",
		"--set", "search={field: load.concurrency, to: 2}", "--set", `objectives={bounds: ["min ttft <= 1us"]}`)
	if status != exitMissed || !strings.Contains(out, "no value holds") {
		t.Errorf("status %d; want 3:\n%s", status, out)
	}
}
