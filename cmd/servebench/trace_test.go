package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/profiles/breakdown"
	"servebench/profiles/merge"
	"servebench/profiles/trace"
	"servebench/results/page"
)

// Recorded traces of a real server on a CPU: six steps and thirty-six.
const (
	fourTrace  = "../../profiles/breakdown/testdata/four-nostack.json.gz"
	eightTrace = "../../profiles/breakdown/testdata/eight-nostack.json.gz"
)

// deviceTrace is one step that launches two kernels and a copy; times are in microseconds. The device is idle from 50 to 70: up to 60
// because the host had not launched the second kernel yet, then until the launch had come through.
const deviceTrace = `{"schemaVersion": 1, "distributedInfo": {"rank": 0, "world_size": 1}, "baseTimeNanoseconds": 1000000000, "traceEvents": [
{"ph": "X", "cat": "user_annotation", "name": "execute_context_0(0)_generation_2(2)", "pid": 1, "tid": 1, "ts": 0, "dur": 100},
{"ph": "X", "cat": "python_function", "name": "a.py(1): f", "pid": 1, "tid": 1, "ts": 1, "dur": 98, "args": {"Python id": 1}},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 10, "dur": 30},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 20, "dur": 5, "args": {"correlation": 1}},
{"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": 30, "dur": 20, "args": {"device": 0, "stream": 7, "correlation": 1}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": 60, "dur": 5, "args": {"correlation": 2}},
{"ph": "X", "cat": "kernel", "name": "add", "pid": 0, "tid": 7, "ts": 70, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 2}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "pid": 1, "tid": 1, "ts": 72, "dur": 5, "args": {"correlation": 3}},
{"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "pid": 0, "tid": 7, "ts": 80, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 3, "bytes": 1000}}
]}`

// traceFile writes a file of that name and text.
func traceFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// checked is how many events a trace has by the strict reader.
func checked(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := trace.Check(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return n
}

func TestTraceJSONNames(t *testing.T) {
	status, stdout, stderr := servebench(t, "trace", "--format", "json", traceFile(t, "t.json", deviceTrace))
	if status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"schema": 1, "files.0.file": "t.json", "files.0.events": 9, "files.0.complete": true, "files.0.base_time_ns": 1000000000, "files.0.rank": 0, "files.0.world_size": 1,
		"window.start_ns": 0, "window.end_ns": 100000, "window.source": "extent",
		"devices.0.device": 0, "devices.0.rows": 3, "devices.0.kernels": 2, "devices.0.first_ns": 30000, "devices.0.last_ns": 90000, "devices.0.span_ns": 60000,
		"devices.0.busy_ns": 40000, "devices.0.idle_ns": 20000, "devices.0.gaps": 1, "devices.0.gaps_1us": 1, "devices.0.gap_max_ns": 20000,
		"devices.0.gap_p50_ns": 20000, "devices.0.gap_p99_ns": 20000, "devices.0.streams.0.stream": 7, "devices.0.streams.0.rows": 3,
		"devices.0.streams.0.busy_ns": 40000, "devices.0.streams.0.span_ns": 60000, "all_devices.busy_ns": 40000, "all_devices.idle_ns": 20000,
		"gaps.threshold_ns": 1000, "gaps.count": 1, "gaps.below.count": 0, "gaps.below.total_ns": 0, "gaps.reasons.host_late.count": 1,
		"gaps.reasons.host_late.total_ns": 10000, "gaps.reasons.launch_latency.total_ns": 10000, "gaps.host_late_by_class.python_function": 10000,
		"gaps.host_late_top.0.class": "python_function", "gaps.host_late_top.0.name": "a.py(1): f", "gaps.host_late_top.0.total_ns": 10000,
		"steps.0.name": "execute_context_0(0)_generation_2(2)", "steps.0.rule": "vllm_annotation", "steps.0.phase": "decode", "steps.0.host_start_ns": 0,
		"steps.0.host_ns": 100000, "steps.0.dev_start_ns": 30000, "steps.0.dev_end_ns": 90000, "steps.0.dev_busy_ns": 40000, "steps.0.dev_rows": 3,
		"phases.0.phase": "decode", "phases.0.count": 1, "phases.0.host_ns.mean": 100000, "phases.0.host_ns.p50": 100000, "phases.0.host_ns.p90": 100000,
		"phases.0.host_ns.p99": 100000, "phases.0.host_ns.max": 100000, "phases.0.host_ns.total": 100000, "phases.0.period_ns": nil,
		"compiles.count": 0, "compiles.total_ns": 0, "compiles.compiled_graph_calls": 0, "compiles.cache_lookups": 0,
		"kernels.0.name": "gemm", "kernels.0.short": "gemm", "kernels.0.group": "gemm", "kernels.0.count": 1, "kernels.0.total_ns": 20000, "kernels.1.name": "add",
		"python.rows": 1, "python.threads": 1, "python.violations": 0, "python.top_self.0.name": "a.py(1): f", "python.top_self.0.count": 1,
		"python.top_self.0.total_ns": 98000, "python.top_self.0.self_ns": 58000 + 40000,
		"host_self_by_class.python_function": 58000, "host_self_by_class.cpu_op": 25000, "host_self_by_class.cuda_runtime": 15000, "host_self_by_class.user_annotation": 2000,
		"comm.kernels": 0, "comm.comm_ns": 0, "comm.compute_ns": 30000, "comm.overlap_ns": 0,
		"launch.linked": 3, "launch.unlinked": 0, "launch.max_per_call": 1, "launch.d_call.p50_ns": 10000, "launch.d_call.max_ns": 10000,
		"launch.d_ret.mean_ns": 4333.333, "launch.d_ret.p50_ns": 5000, "launch.d_ret.max_ns": 5000, "launch.queue.7.max": 1, "launch.queue.7.time_avg": 0.466667,
		"copies.0.name": "Memcpy HtoD", "copies.0.bytes": 1000, "copies.0.total_ns": 10000, "padding": nil, "requests": nil, "memory": nil,
	} {
		var at any = got
		for word := range strings.SplitSeq(path, ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[word]
			case []any:
				var i int
				if _, err := fmt.Sscan(word, &i); err != nil || i >= len(v) {
					t.Fatalf("%s: no row %s of %d", path, word, len(v))
				}
				at = v[i]
			default:
				at = nil
			}
		}
		if n, ok := want.(int); ok {
			want = float64(n)
		}
		if at != want {
			t.Errorf("%s = %v, want %v", path, at, want)
		}
	}
	for _, list := range []string{"list", "captures", "graph_launches"} {
		if _, ok := got["compiles"].(map[string]any)[list]; !ok {
			t.Errorf("compiles.%s is not there", list)
		}
	}
}

func TestTraceForms(t *testing.T) {
	path := traceFile(t, "t.json", deviceTrace)
	for form, want := range map[string][]string{
		"text": {"t.json: 9 events, rank 0 of 1\n", "host_late"},
		"csv":  {"section,row,figure,value\n", "devices,1 t.json,busy_ns,40000\n"},
		"html": {"<!DOCTYPE html>", ">t.json: 9 events, rank 0 of 1<", "Steps by phase"},
	} {
		status, stdout, stderr := servebench(t, "trace", "--format", form, path)
		if status != 0 {
			t.Errorf("%s: exit %d: %s", form, status, stderr)
		}
		for _, text := range want {
			if !strings.Contains(stdout, text) {
				t.Errorf("%s: %q is not in %.400s", form, text, stdout)
			}
		}
	}
	for _, tc := range []struct{ args, says string }{
		{"--format xml", `no format "xml": have csv, html, json, text`}, {"--by colour", "have name, short, group, file, package, module"},
	} {
		if status, _, stderr := servebench(t, append([]string{"trace", path}, strings.Fields(tc.args)...)...); status == 0 || !strings.Contains(stderr, tc.says) {
			t.Errorf("%s: exit %d: %s", tc.args, status, stderr)
		}
	}
}

// TestTraceWindows reads --window and --steps; the window of the trace begins at start, its third step ends at thirdEnd.
func TestTraceWindows(t *testing.T) {
	const start, end = 4651978571059358, 4651978681247061
	const secondStart, thirdEnd = 4651978647460548, 4651978651655559 + 2521465
	for _, tc := range []struct {
		arg  string
		want breakdown.Window
	}{
		{"--window=..", breakdown.Window{Start: start, End: end, Source: "trace"}},
		{"--window=5ms..60ms", breakdown.Window{Start: start + 5e6, End: start + 60e6, Source: "window"}},
		{"--window=100ms..", breakdown.Window{Start: start + 100e6, End: end, Source: "window"}},
		{"--window=..1.5s", breakdown.Window{Start: start, End: end, Source: "window"}},
		{"--steps=2..3", breakdown.Window{Start: secondStart, End: thirdEnd, Source: "steps"}},
		{"--steps=2", breakdown.Window{Start: secondStart, End: secondStart + 3638214, Source: "steps"}},
	} {
		status, stdout, stderr := servebench(t, "trace", "--format", "json", "--top", "1", tc.arg, fourTrace)
		var got breakdown.Report
		if err := json.Unmarshal([]byte(stdout), &got); status != 0 || err != nil || got.Window == nil || *got.Window != tc.want {
			t.Errorf("%s: exit %d, %v, %+v, want %+v; %s", tc.arg, status, err, got.Window, tc.want, stderr)
		}
	}
	for _, tc := range []struct {
		arg    string
		status int
		says   string
	}{
		{"--window=5ms", 2, "want A..B with durations"},
		{"--window=5..6", 2, "want A..B with durations"},
		{"--window=a..6s", 2, "want A..B with durations"},
		{"--window=5ms..1ms", 2, "want A..B with A before B"},
		{"--window=5ms..5ms", 2, "want A..B with A before B"},
		{"--window=..0s", 2, "want A..B with A before B"},
		{"--window=-1ms..5ms", 2, "not before the window's start"},
		{"--steps=0", 2, "want K..N, counted from 1"},
		{"--steps=3..2", 2, "want K..N, counted from 1"},
		{"--steps=1..", 2, "want K..N, counted from 1"},
		{"--steps=x", 2, "want K..N, counted from 1"},
		{"--steps=1-2", 2, "want K..N, counted from 1"},
		{"--steps=7", 1, "step 7 was asked for, but the trace has 6"},
		{"--window=1s..2s", 1, "the window begins 1s after the start of a trace of 110.187703ms"},
	} {
		for _, args := range [][]string{{"trace", fourTrace, tc.arg}, {"trace", "slice", fourTrace, tc.arg, "-o", filepath.Join(t.TempDir(), "o.json")}} {
			status, stdout, stderr := servebench(t, args...)
			if status != tc.status || !strings.Contains(stderr, tc.says) || stdout != "" {
				t.Errorf("%v: exit %d: %s, want %d: %s", args, status, stderr, tc.status, tc.says)
			}
		}
	}
}

// rows counts the events of a trace by their names.
func rowNames(t *testing.T, path string) map[string]int {
	t.Helper()
	names := map[string]int{}
	if _, err := trace.ReadFile(path, func(ev *trace.Event) error { names[ev.Name]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTraceSlice(t *testing.T) {
	const second, third = "execute_context_3(384)_generation_1(1)", "execute_context_0(0)_generation_4(4)"
	dir := t.TempDir()
	steps := filepath.Join(dir, "steps.json.gz")
	status, _, stderr := servebench(t, "trace", "slice", fourTrace, "--steps", "2..3", "-o", steps)
	if status != 0 || stderr != steps+": kept 782 of 2016 events\n" {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	if n := checked(t, steps); n != 782 {
		t.Errorf("%d events", n)
	}
	names := rowNames(t, steps)
	if names[second] != 1 || names[third] != 1 || names["execute_context_1(128)_generation_0(0)"] != 0 {
		t.Errorf("steps in the slice: %v", names)
	}
	// The same stretch, given by its time.
	window := filepath.Join(dir, "window.json")
	if status, _, stderr := servebench(t, "trace", "slice", fourTrace, "--window", "76.40119ms..83.117666ms", "-o", window); status != 0 || !maps.Equal(rowNames(t, window), names) {
		t.Errorf("exit %d: %s", status, stderr)
	}
	// The slowest step is the first; the one after it comes along.
	slowest := filepath.Join(dir, "slowest.json.zst")
	if status, _, stderr := servebench(t, "trace", "slice", fourTrace, "--around", "slowest-step", "--clip", "-o", slowest); status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	if names := rowNames(t, slowest); names["execute_context_1(128)_generation_0(0)"] != 1 || names[second] != 1 || names[third] != 0 {
		t.Errorf("steps around the slowest: %v", names)
	}
	// In Perfetto's own form it is the same slice.
	native := filepath.Join(dir, "steps.pftrace")
	if status, _, stderr := servebench(t, "trace", "slice", fourTrace, "--steps", "2..3", "--to", "perfetto", "-o", native); status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	if got := nativeNames(t, native); got[second] != 1 || got[third] != 1 || got["_C::onednn_mm"] != names["_C::onednn_mm"] {
		t.Errorf("%v, want %v", got, names)
	}
	out := filepath.Join(dir, "no.json")
	for _, tc := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "give one of --window, --steps and --around"},
		{"--steps 1 --around compile", 2, "give one of --window, --steps and --around"},
		{"--steps 1 --to svg", 2, `no form "svg": have json, perfetto`},
		{"--around compile", 1, "the trace has no recompilation"},
		{"--around request:1", 1, "the trace holds no requests: only a merged one does"},
		{"--around noon", 1, `nothing is called "noon": have slowest-step, compile, request:ID`},
	} {
		status, _, stderr := servebench(t, append([]string{"trace", "slice", fourTrace, "-o", out}, strings.Fields(tc.args)...)...)
		if status != tc.status || !strings.Contains(stderr, tc.says) {
			t.Errorf("%s: exit %d: %s; want %d: %s", tc.args, status, stderr, tc.status, tc.says)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 4 {
		t.Errorf("left in the folder: %v", left)
	}
}

// nativeNames counts the slices of a trace in Perfetto's own form by their names.
func nativeNames(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names := map[string]int{}
	if _, err := trace.ReadPerfetto(f, func(e *trace.PerfettoEvent) error { names[e.Name]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTraceThin(t *testing.T) {
	dir := t.TempDir()
	whole, small, least := filepath.Join(dir, "whole.json.gz"), filepath.Join(dir, "small.json.gz"), filepath.Join(dir, "least.json")
	if status, _, stderr := servebench(t, "trace", "thin", fourTrace, "--target", "1MB", "-o", whole); status != 0 || !strings.HasPrefix(stderr, whole+": kept 2016 of 2016 events, ") || strings.Contains(stderr, "taken away") {
		t.Errorf("exit %d: %s", status, stderr)
	}
	if got, want := rowNames(t, whole), rowNames(t, fourTrace); !maps.Equal(got, want) {
		t.Errorf("a trace that is small enough came out as %v, want %v", got, want)
	}
	status, _, stderr := servebench(t, "trace", "thin", fourTrace, "--target", "30KB", "-o", small)
	if status != 0 || !strings.Contains(stderr, "taken away: arrows") {
		t.Errorf("exit %d: %s", status, stderr)
	}
	if info, err := os.Stat(small); err != nil || info.Size() > 30000 || checked(t, small) == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if status, _, stderr := servebench(t, "trace", "thin", fourTrace, "--target", "1KB", "-o", least); status != 0 || !strings.Contains(stderr, "warning: larger than 1KB although all that may go is gone") {
		t.Errorf("exit %d: %s", status, stderr)
	}
	// What is looked for first is there to the last.
	for name, n := range rowNames(t, fourTrace) {
		if got := rowNames(t, least)[name]; strings.HasPrefix(name, "execute_context") && got != n {
			t.Errorf("%s: %d of %d left", name, got, n)
		}
	}
	for _, size := range []string{"big", "-1MB", "0", "1 TB"} {
		if status, _, stderr := servebench(t, "trace", "thin", fourTrace, "--target="+size, "-o", filepath.Join(dir, "no.json")); status != 2 || !strings.Contains(stderr, "is no size: write 100MB, 500KB or 1GiB") {
			t.Errorf("%s: exit %d: %s", size, status, stderr)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"100MB": 100_000_000, "500KB": 500_000, "1GiB": 1 << 30, "1.5KiB": 1536, "7": 7, "7B": 7, "2 MB": 2_000_000} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestTraceConvert(t *testing.T) {
	dir := t.TempDir()
	// Loose text becomes strict.
	loose := traceFile(t, "loose.json", "[{\"ph\":\"X\",\"name\":\"a\x01\",\"ts\":1,\"dur\":2,\"args\":{\"x\":NaN}},{\"ph\":\"i\",\"name\":\"b\",\"ts\":2,},")
	strict := filepath.Join(dir, "strict.json")
	if status, _, stderr := servebench(t, "trace", "convert", loose, "-o", strict); status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	if b, err := os.ReadFile(strict); err != nil || !json.Valid(b) || checked(t, strict) != 2 {
		t.Errorf("%q, %v", b, err)
	}
	// There and back: the slices of the recorded trace.
	native := filepath.Join(dir, "t.pftrace")
	if status, _, stderr := servebench(t, "trace", "convert", fourTrace, "--to", "perfetto", "-o", native); status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	want := map[string]int{}
	if _, err := trace.ReadFile(fourTrace, func(ev *trace.Event) error {
		if ev.Phase == 'X' || ev.Phase == 'i' {
			want[ev.Name]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := nativeNames(t, native); !maps.Equal(got, want) || len(want) == 0 {
		t.Errorf("%v, want %v", got, want)
	}
	if status, _, stderr := servebench(t, "trace", "convert", fourTrace, "--to", "svg", "-o", filepath.Join(dir, "no")); status != 2 || !strings.Contains(stderr, `no form "svg"`) {
		t.Errorf("exit %d: %s", status, stderr)
	}
}

func TestTraceMergeOfRanks(t *testing.T) {
	dir := t.TempDir()
	other := strings.Replace(deviceTrace, `"rank": 0, "world_size": 1`, `"rank": 1, "world_size": 2`, 1)
	a, b := traceFile(t, "a.json", strings.Replace(deviceTrace, `"world_size": 1`, `"world_size": 2`, 1)), traceFile(t, "b.json", strings.Replace(other, "1000000000", "1000500000", 1))
	out := filepath.Join(dir, "both.json.gz")
	if status, _, stderr := servebench(t, "trace", "merge", a, b, "-o", out); status != 0 {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	var starts []int64
	if _, err := trace.ReadFile(out, func(ev *trace.Event) error {
		if ev.Name == "gemm" {
			starts = append(starts, ev.TS)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// The second rank's clock began 500 us later.
	if slices.Sort(starts); !slices.Equal(starts, []int64{30_000, 530_000}) {
		t.Errorf("gemm begins at %v", starts)
	}
	status, stdout, stderr := servebench(t, "trace", "--format", "json", out)
	var report breakdown.Report
	if err := json.Unmarshal([]byte(stdout), &report); status != 0 || err != nil || len(report.Devices) != 2 || report.AllDevices.Busy != 80_000 || report.Devices[0].Busy != 40_000 {
		t.Errorf("exit %d, %v, %d devices; %s", status, err, len(report.Devices), stderr)
	}
}

// TestTraceMergeOfARun does after the fact what the run did by itself.
func TestTraceMergeOfARun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if status, stdout, stderr := servebench(t, "run", "gaudi-e2e-multi", "--sim", "--out", dir); status != 0 {
		t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	again := filepath.Join(t.TempDir(), "again.json.gz")
	status, _, stderr := servebench(t, "trace", "merge", dir, "-o", again)
	if status != 0 || !strings.HasSuffix(stderr, again+": 4 requests; 4 linked to their steps, 0 with a doubt, 0 not\n") {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	merged := filepath.Join(dir, merge.FileName)
	if got, want := rowNames(t, again), rowNames(t, merged); !maps.Equal(got, want) {
		t.Errorf("merged again: %v, want %v", got, want)
	}
	if a, b := checked(t, again), checked(t, merged); a != b || a == 0 {
		t.Errorf("%d events, want %d", a, b)
	}
	// A run stands for its merged trace, in which requests can be looked for.
	_, ofRun, _ := servebench(t, "trace", "--format", "json", dir)
	_, ofFile, _ := servebench(t, "trace", "--format", "json", merged)
	if ofRun != ofFile || !strings.Contains(ofRun, `"requests"`) {
		t.Error("the answers on a run are not those on its merged trace")
	}
	cut := filepath.Join(t.TempDir(), "cut.json")
	if status, _, stderr := servebench(t, "trace", "slice", merged, "--around", "request:2", "-o", cut); status != 0 || rowNames(t, cut)["req 2"] != 1 {
		t.Errorf("exit %d: %s", status, stderr)
	}
}

func TestTraceOverwritesNothing(t *testing.T) {
	for _, args := range []string{"slice --steps 1", "thin", "convert", "convert --to perfetto", "slice --steps 1 --to perfetto", "merge"} {
		there := traceFile(t, "there.json", "mine")
		status, _, stderr := servebench(t, append(append([]string{"trace"}, strings.Fields(args)...), fourTrace, "-o", there)...)
		if status != 1 || stderr != "servebench: "+there+" exists: nothing is overwritten\n" {
			t.Errorf("%s: exit %d: %s", args, status, stderr)
		}
		if b, err := os.ReadFile(there); err != nil || string(b) != "mine" {
			t.Errorf("%s: the file now holds %q, %v", args, b, err)
		}
		status, _, stderr = servebench(t, append(append([]string{"trace"}, strings.Fields(args)...), fourTrace)...)
		if status != 2 || !strings.Contains(stderr, `required flag(s) "output" not set`) {
			t.Errorf("%s without -o: exit %d: %s", args, status, stderr)
		}
	}
}

func TestTraceOfOtherFiles(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ name, text, says string }{
		{"page.html", "<!DOCTYPE html><html>", "not a trace but an HTML page"},
		{"empty.json", "", "not a trace but an empty file"},
		{"result.json", `{"mean_ttft_ms": 3}`, "not a trace but a JSON object without traceEvents (its keys: mean_ttft_ms)"},
		{"t.zip", "PK\x03\x04xxxx", "not a trace but a zip archive"},
	} {
		path := traceFile(t, tc.name, tc.text)
		for _, args := range []string{"trace", "trace slice --steps 1 -o", "trace thin -o", "trace convert -o", "trace convert --to perfetto -o", "trace merge -o", "trace open --no-open"} {
			words := strings.Fields(args)
			if words[len(words)-1] == "-o" {
				words = append(words, filepath.Join(dir, "out.json"))
			}
			status, stdout, stderr := servebench(t, append(words, path)...)
			if status != 1 || stdout != "" || !strings.Contains(stderr, tc.name+": "+tc.says) {
				t.Errorf("%s %s: exit %d: %s", args, tc.name, status, stderr)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if status, _, stderr := servebench(t, "trace", dir); status != 1 || !strings.Contains(stderr, "no worker's trace there") {
		t.Errorf("an empty folder: exit %d: %s", status, stderr)
	}
	if status, _, stderr := servebench(t, "trace", filepath.Join(dir, "gone.json")); status != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("a file that is not there: exit %d: %s", status, stderr)
	}
}

func TestTraceOpen(t *testing.T) {
	o, err := newTraceOpener(fourTrace, page.DefaultPerfetto)
	if err != nil {
		t.Fatal(err)
	}
	f := viewFlags{idle: 10 * time.Minute}
	ask := func(method, target, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		r.Host = host
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		return w
	}
	w := ask(http.MethodGet, "/", "127.0.0.1:9000")
	for _, text := range []string{"Trace of four-nostack.json.gz", `"trace":"/trace"`, `"origin":"https://ui.perfetto.dev"`, `"fileName":"four-nostack.json.gz"`, "startupCommands"} {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s is not in the page (%d)", text, w.Code)
		}
	}
	if policy := w.Header().Get("Cross-Origin-Opener-Policy"); policy != "" {
		t.Errorf("the page sends Cross-Origin-Opener-Policy %s", policy)
	}
	if got := o.idle(f); got != 10*time.Minute {
		t.Errorf("it waits %v before the trace was fetched", got)
	}
	want, err := os.ReadFile(fourTrace)
	if err != nil {
		t.Fatal(err)
	}
	if w := ask(http.MethodGet, "/trace", "localhost"); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("the trace: %d, %d bytes of %d, %v", w.Code, w.Body.Len(), len(want), w.Header())
	}
	if got := o.idle(f); got != afterFetch {
		t.Errorf("it waits %v after the trace was fetched", got)
	}
	for _, tc := range []struct {
		method, target, host string
		want                 int
	}{
		{http.MethodGet, "/trace", "evil.example", 403}, {http.MethodPost, "/trace", "127.0.0.1", 405}, {http.MethodGet, "/etc/passwd", "127.0.0.1", 404}, {http.MethodHead, "/trace", "127.0.0.1", 200},
	} {
		if w := ask(tc.method, tc.target, tc.host); w.Code != tc.want {
			t.Errorf("%s %s of %s: %d, want %d", tc.method, tc.target, tc.host, w.Code, tc.want)
		}
	}
}

func TestTraceOpenPins(t *testing.T) {
	u, err := url.Parse(pinned("https://ui.perfetto.dev"))
	if err != nil || u.Host != "ui.perfetto.dev" || u.Path != "/" {
		t.Fatalf("%v, %v", u, err)
	}
	text, ok := strings.CutPrefix(u.Fragment, "!/?startupCommands=")
	var commands []struct {
		ID   string
		Args []string
	}
	if err := json.Unmarshal([]byte(text), &commands); !ok || err != nil || len(commands) != 1 || commands[0].ID != "dev.perfetto.PinTracksByRegex" || !strings.Contains(commands[0].Args[0], "client: requests") {
		t.Errorf("%s: %+v, %v", u.Fragment, commands, err)
	}
	if given := "https://example.com/ui/#!/?hideSidebar=true"; pinned(given) != given {
		t.Errorf("an address with a fragment became %s", pinned(given))
	}
}

func TestTraceOpenEnds(t *testing.T) {
	if status, _, stderr := servebench(t, "trace", "open", "--no-open", "--idle", "1ns", fourTrace); status != 0 || !strings.Contains(stderr, "nobody fetched the trace for 1ns") {
		t.Errorf("exit %d: %s", status, stderr)
	}
	native := filepath.Join(t.TempDir(), "t.pftrace")
	if _, _, err := trace.WritePerfetto(native, fourTrace); err != nil {
		t.Fatal(err)
	}
	o, err := newTraceOpener(native, page.DefaultPerfetto)
	if err != nil {
		t.Fatalf("a trace in Perfetto's own form: %v", err)
	}
	said, tell := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer tell.Close()
		ended <- o.serve(t.Context(), tell, viewFlags{noOpen: true, idle: 500 * time.Millisecond})
	}()
	var address string
	if _, err := fmt.Fscanf(said, "trace open: %s", &address); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, said)
	reply, err := http.Get(address + "trace")
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, reply.Body)
	reply.Body.Close()
	if info, _ := os.Stat(native); err != nil || n != info.Size() {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := <-ended; err != nil || !o.fetched.Load() {
		t.Errorf("%v, fetched %t", err, o.fetched.Load())
	}
	for args, says := range map[string]string{"--perfetto x": "no address of a Perfetto UI", "--idle 0s": "above zero"} {
		if status, _, stderr := servebench(t, append([]string{"trace", "open", fourTrace}, strings.Fields(args)...)...); status != 2 || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit %d: %s", args, status, stderr)
		}
	}
}
