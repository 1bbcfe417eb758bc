package breakdown

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The rows below are written from descriptions of what vLLM, the bridge and Synapse put
// into a trace on Gaudi; no complete recorded trace of one was to be had.

func writeTrace(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// gaudiRows is a full trace without device rows: two prompts and three decodes, 1000 us
// each, recorded from 10,000 us on; a warm-up step lies before the window.
const gaudiRows = `{"baseTimeNanoseconds": 1790857026000000000, "traceEvents": [
{"args": null, "dur": 500, "name": "prefill", "ph": "X", "pid": 77, "tid": 3, "ts": 2000},
{"args": {"name": "python3"}, "name": "process_name", "ph": "M", "pid": 77, "tid": 0},
{"args": {"name": "vLLM"}, "name": "process_name", "ph": "M", "pid": 1, "tid": 0},
{"args": {"Op count": 0}, "cat": "Trace", "dur": 10000, "name": "PyTorch Profiler (0)", "ph": "X", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 10000},
{"args": null, "dur": 100, "name": "prepare_input_tensors", "ph": "X", "pid": 77, "tid": 3, "ts": 10890},
{"args": {"prompt_bucket_batch_size": 2, "prompt_batch_size": 1, "prompt_bucket_seq_len": 128, "prompt_batch_token_utilization": 0.25, "prompt_seq_len": 64}, "name": "utils", "ph": "C", "pid": 77, "tid": 1, "ts": 10995},
{"args": null, "dur": 600, "name": "model_forward_bs2_seq128_ctx0_graphsT", "ph": "X", "pid": 77, "tid": 3, "ts": 11010},
{"args": null, "dur": 100, "name": "GRAPH COMPILE: recipe_a", "ph": "X", "pid": 77, "tid": 3, "ts": 11010},
{"args": null, "dur": 150, "name": "GRAPH COMPILE: recipe_b", "ph": "X", "pid": 77, "tid": 3, "ts": 11110},
{"args": null, "dur": 50, "name": "sampler", "ph": "X", "pid": 77, "tid": 3, "ts": 11700},
{"args": null, "dur": 1000, "name": "prefill", "ph": "X", "pid": 77, "tid": 3, "ts": 11000},
{"args": {"prompt_bucket_batch_size": 2, "prompt_batch_size": 2, "prompt_bucket_seq_len": 128, "prompt_batch_token_utilization": 0.75}, "name": "utils", "ph": "C", "pid": 77, "tid": 1, "ts": 12995},
{"args": null, "dur": 300, "name": "model_forward_bs2_seq128_ctx0_graphsT", "ph": "X", "pid": 77, "tid": 3, "ts": 13010},
{"args": null, "dur": 1000, "name": "prefill", "ph": "X", "pid": 77, "tid": 3, "ts": 13000},
{"args": {"decode_bucket_batch_size": 4, "decode_batch_size": 3, "decode_bucket_seq_len": 1, "decode_bucket_ctx_blocks": 8, "cache_num_blocks_used": 6}, "name": "utils", "ph": "C", "pid": 77, "tid": 1, "ts": 14498},
{"args": null, "dur": 200, "name": "model_forward_bs4_seq1_ctx8_graphsT", "ph": "X", "pid": 77, "tid": 3, "ts": 14510},
{"args": null, "dur": 500, "name": "decode", "ph": "X", "pid": 77, "tid": 3, "ts": 14500},
{"args": null, "dur": 200, "name": "model_forward_bs4_seq1_ctx8_graphsT", "ph": "X", "pid": 77, "tid": 3, "ts": 15510},
{"args": null, "dur": 500, "name": "decode", "ph": "X", "pid": 77, "tid": 3, "ts": 15500},
{"args": null, "dur": 300, "name": "sampler_postprocessing", "ph": "X", "pid": 77, "tid": 3, "ts": 16000}
]}`

func TestGaudiStepsCompilesAndPadding(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, gaudiRows))
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Rule+" "+s.Phase+" "+s.Bucket)
	}
	want := []string{"gaudi prefill bs2 seq128 ctx0 graphsT", "gaudi prefill bs2 seq128 ctx0 graphsT", "gaudi decode bs4 seq1 ctx8 graphsT", "gaudi decode bs4 seq1 ctx8 graphsT"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if r.ByPhase[0].Phase != "prefill" || r.ByPhase[0].Host.Total != 2000000 || r.ByPhase[1].Host.P50 != 500000 || r.ByPhase[1].Period.P50 != 1000000 {
		t.Errorf("phases %+v %+v", r.ByPhase[0].Host, r.ByPhase[1])
	}
	c := r.Compiles
	if c.Count != 2 || c.Total != 250000 || c.List[0].Name != "GRAPH COMPILE: recipe_b" || c.List[0].Bucket != "bs2 seq128 ctx0 graphsT" || c.List[0].Step != "prefill" || c.Kinds["gaudi_graph"] != (Total{2, 250000}) {
		t.Errorf("compiles %+v", c)
	}
	if *c.Share != 0.025 || c.After.Count != 0 {
		t.Errorf("share %v, after warm-up %+v", *c.Share, c.After)
	}
	// Prompts: batch waste 1/2 then 0, token waste 3/4 then 1/4, both 1000 us; a decode of
	// 500 us wastes 1/4 of its batch and 2 of 8 blocks.
	p := r.Padding
	if p.Joined != 3 || p.Unjoined != 0 || *p.PromptTokens != 0.5 || *p.DecodeBlocks != 0.25 || *p.Batch != 0.25 {
		t.Errorf("padding %+v: tokens %v, blocks %v, batch %v", p, *p.PromptTokens, *p.DecodeBlocks, *p.Batch)
	}
	// 0.75 and 0.25 of 2 x 128 tokens; 750 + 250 us of prompts and 125 us of the decode.
	if *p.WastedTokens != 256 || *p.WastedSeconds != 0.001125 {
		t.Errorf("wasted %v tokens, %v s", *p.WastedTokens, *p.WastedSeconds)
	}
	if b := p.Buckets[0]; b.Phase != "prefill" || b.Count != 2 || *b.Batch != 0.25 || *b.PromptTokens != 0.5 {
		t.Errorf("bucket %+v", b)
	}
	if r.Proxy == nil || r.Proxy.Blocked != 300000 || r.Proxy.Preparing != 1450000 || r.Proxy.Launches != 0 {
		t.Errorf("proxy %+v", r.Proxy)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "1 steps from outside the recorded window") }) {
		t.Errorf("warnings %q", r.Warnings)
	}
}

// TestGaudiOldForm has vLLM's rows on process 1 and the names of the older engine.
func TestGaudiOldForm(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, `{"traceEvents": [
{"ph": "X", "name": "prompt", "pid": 1, "tid": 3, "ts": 100, "dur": 50, "args": null},
{"ph": "X", "name": "model_prompt_bs1_seq128_ctx0_graphsF", "pid": 1, "tid": 3, "ts": 110, "dur": 20, "args": null},
{"ph": "X", "name": "decode", "pid": 1, "tid": 3, "ts": 200, "dur": 30, "args": null},
{"ph": "X", "name": "model_decode_bs4_seq1_ctx2_graphsT", "pid": 1, "tid": 3, "ts": 205, "dur": 20, "args": null}]}`))
	if r.Compiles != nil || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "PT_HPU_METRICS_GC_DETAILS") }) {
		t.Errorf("no compile rows, and yet figures of compiles: %+v, %q", r.Compiles, r.Warnings)
	}
	if len(r.Steps) != 2 || r.Steps[0].Bucket != "bs1 seq128 ctx0 graphsF" || r.Steps[1].Phase != "decode" || r.Steps[1].Bucket != "bs4 seq1 ctx2 graphsT" {
		t.Errorf("steps %+v", r.Steps)
	}
}

// TestGaudiThreadsAreJoined has one system thread in four places: the torch process, both
// logs, and vLLM's own rows.
func TestGaudiThreadsAreJoined(t *testing.T) {
	call := func(pid int, name string, from, to int, args string) string {
		return fmt.Sprintf(`{"ph": "B", "cat": "Runtime", "name": %q, "pid": %d, "tid": 77, "ts": %d, "args": {%s}}, {"ph": "E", "cat": "Runtime", "name": %q, "pid": %d, "tid": 77, "ts": %d},`, name, pid, from, args, name, pid, to)
	}
	const compute = `"streamHandle": "0x1", "streamName": "STREAM_TYPE_COMPUTE", "eventHandle": "0xe"`
	r := analyze(t, Options{}, writeTrace(t, "["+
		call(10077, "synLaunchWithExternalEvents", 100, 110, compute)+
		call(10077, "synEventRecord", 111, 112, compute)+
		call(10077, "synEventSynchronize", 120, 150, compute)+
		call(20077, "LaunchSyncTensorsGraph", 160, 210, "")+
		call(10077, "synLaunchWithExternalEvents", 200, 205, compute)+
		call(10077, "synEventRecord", 206, 207, compute)+
		call(10077, "synEventSynchronize", 220, 250, compute)+`
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 77, "tid": 77, "ts": 155, "dur": 90},
{"ph": "X", "name": "decode", "pid": 77, "tid": 3, "ts": 90, "dur": 165},
{"ph": "M", "name": "process_name", "pid": 10077, "tid": 0, "args": {"name": "Synapse Logger"}},
{"ph": "M", "name": "process_name", "pid": 20077, "tid": 0, "args": {"name": "Bridge Logs"}}]`))
	// Nothing is outstanding in [150, 200): decode until 155, mm until 160, the bridge from there.
	if want := map[string]int64{"engine": 5000, "cpu_op": 5000, "runtime": 40000}; !reflect.DeepEqual(r.Proxy.HostGapByClass, want) {
		t.Errorf("host gap %v, want %v", r.Proxy.HostGapByClass, want)
	}
	if r.Proxy.Blocked != 60000 || r.HostSelf["engine"] != 34000 || r.HostSelf["cpu_op"] != 15000 {
		t.Errorf("blocked %d, self %v", r.Proxy.Blocked, r.HostSelf)
	}
}

// TestGaudiSuspectedCompile has a forward pass far above its bucket's median.
func TestGaudiSuspectedCompile(t *testing.T) {
	var b strings.Builder
	b.WriteString("[")
	for i := range 9 {
		dur := 1000
		if i == 4 {
			dur = 60000
		}
		at := i * 100000
		fmt.Fprintf(&b, `{"ph": "X", "name": "decode", "pid": 7, "tid": 3, "ts": %d, "dur": %d}, {"ph": "X", "name": "model_forward_bs4_seq1_ctx8_graphsT", "pid": 7, "tid": 3, "ts": %d, "dur": %d},`, at, dur+20, at+10, dur)
	}
	r := analyze(t, Options{}, writeTrace(t, b.String()))
	if c := r.Compiles; c == nil || c.Count != 0 || len(c.Suspected) != 1 || c.Suspected[0].Start != 400000000 || c.Suspected[0].Total != 60000000 {
		t.Errorf("compiles %+v", c)
	}
}

// TestGaudiServerEvents reads the high-level form: an array that is never closed, in
// absolute microseconds.
func TestGaudiServerEvents(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, `[{"pid": 1, "tid": 3, "ph": "X", "name": "prefill", "ts": 1661619207988636.25, "dur": 1000.5, "args": null},{"pid": 1, "tid": 3, "ph": "X", "name": "decode", "ts": 1661619207998636.0, "dur": 10.25, "args": null},`))
	if len(r.Steps) != 2 || r.Steps[0].HostStart != 1661619207988636250 || r.Steps[0].HostNS != 1000500 || r.Steps[1].HostNS != 10250 || r.Files[0].Complete {
		t.Errorf("steps %+v, %+v", r.Steps, r.Files)
	}
}

// TestGaudiHardwareTrace has device rows: the category Runtime means work on the device
// there, and an API call elsewhere. The process is named after the rows.
func TestGaudiHardwareTrace(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, `{"traceEvents": [
{"ph": "X", "cat": "Kernel", "name": "gemm", "pid": 0, "tid": 1000, "ts": 100, "dur": 50, "args": {"device": 0, "recipeName": "r"}},
{"ph": "X", "cat": "Kernel", "name": "add", "pid": 0, "tid": 2000, "ts": 140, "dur": 20, "args": {}},
{"ph": "X", "cat": "Kernel", "name": "add", "pid": 0, "tid": 2001, "ts": 140, "dur": 20, "args": {}},
{"ph": "X", "cat": "Runtime", "name": "dma_node", "pid": 0, "tid": 1, "ts": 200, "dur": 10, "args": {}},
{"ph": "X", "cat": "Runtime", "name": "send", "pid": 0, "tid": 9000, "ts": 205, "dur": 10, "args": {}},
{"ph": "X", "cat": "Runtime", "name": "enqueueWithExternalEventsExt (accel0)", "pid": 22101, "tid": 5, "ts": 90, "dur": 5, "args": {}},
{"ph": "M", "name": "process_name", "pid": 0, "tid": 0, "args": {"name": "/device:HPU:0"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 1000, "args": {"name": "[HD0] MME"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 2000, "args": {"name": "[HD0] TPC 0"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 2001, "args": {"name": "[HD0] TPC 1"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 1, "args": {"name": "[D0] SPDMA 0"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 9000, "args": {"name": "[D0] NIC 0"}}]}`))
	d := r.Devices[0]
	if d.Rows != 5 || d.Busy != 75000 || d.Idle != 40000 || d.Gaps != 1 {
		t.Errorf("device %+v", d)
	}
	engines := map[any]int64{}
	for _, e := range d.Engines {
		engines[e.Stream] = e.Busy
	}
	if !reflect.DeepEqual(engines, map[any]int64{"MME": int64(50000), "TPC": int64(20000), "DMA": int64(10000), "NIC": int64(10000)}) {
		t.Errorf("engines %v", engines)
	}
	if r.Comm.Kernels != 1 || r.Comm.Comm != 10000 || r.Comm.Overlap != 5000 || r.Host.Rows != 1 || r.Proxy != nil {
		t.Errorf("comm %+v, host %+v", r.Comm, r.Host)
	}
}

// TestGaudiProxy pairs launches, records and waits. The event handle is reused; one
// launch is never waited for.
func TestGaudiProxy(t *testing.T) {
	const row = `{"ph": "%", "cat": "Runtime", "name": "@", "pid": 10077, "tid": #, "ts": !, "args": {"streamHandle": "0x1", "streamName": "STREAM_TYPE_COMPUTE", "eventHandle": "0xe"}},`
	var text strings.Builder
	text.WriteString("[")
	call := func(name, tid, from, to string) {
		for _, half := range [][2]string{{"B", from}, {"E", to}} {
			text.WriteString(strings.NewReplacer("%", half[0], "@", name, "#", tid, "!", half[1]).Replace(row))
		}
	}
	call("synLaunchWithExternalEvents", "77", "100", "110")
	call("synEventRecord", "77", "112", "114")
	call("synEventSynchronize", "78", "120", "180")
	call("synLaunchWithExternalEvents", "77", "150", "160") // overlaps the wait of the first
	call("synEventRecord", "77", "181", "182")              // the handle again
	call("synEventSynchronize", "78", "190", "250")
	call("prepare", "77", "260", "290")
	call("synLaunchWithExternalEvents", "77", "300", "310")
	call("synEventRecord", "77", "312", "314")
	call("synEventSynchronize", "78", "320", "400")
	call("synLaunchWithExternalEvents", "77", "500", "510")
	text.WriteString(`{"ph": "X", "name": "decode", "pid": 77, "tid": 3, "ts": 95, "dur": 100, "args": null}]`)
	r := analyze(t, Options{}, writeTrace(t, text.String()))
	if s := r.Steps[0]; !s.Estimated || *s.DevBusy != 150000 || *s.DevRows != 2 || *s.DevLead != 5000 || s.Kernels != nil {
		t.Errorf("step %+v", s)
	}
	p := r.Proxy
	// Outstanding: [100, 250) and [300, 400).
	if p.Launches != 3 || p.Unmatched != 1 || p.Span != 300000 || p.BusyMax != 250000 || p.IdleMin != 50000 || !p.Estimate {
		t.Errorf("proxy %+v", p)
	}
	if want := map[string]int64{"runtime": 30000, "(none)": 20000}; !reflect.DeepEqual(p.HostGapByClass, want) || p.HostGapTop[0].Name != "prepare" {
		t.Errorf("host gap %v %v, want %v", p.HostGapByClass, p.HostGapTop, want)
	}
}

func TestGaudiFragment(t *testing.T) {
	r := analyze(t, Options{}, realTrace(t, "gaudi_synapse_logger_fragment.json"))
	want := map[string]NameTime{
		"call:synEventSynchronize":         {Class: "runtime", Count: 9, Total: 69000},
		"call:synLaunchWithExternalEvents": {Class: "runtime", Count: 3, Total: 136000},
		"SyncTensorsGraphInternal":         {Class: "runtime", Count: 5, Total: 1594000},
	}
	for _, n := range r.Host.TopSelf {
		if w, ok := want[n.Name]; ok && (n.Count != w.Count || n.Total != w.Total || n.Class != w.Class) {
			t.Errorf("%+v, want %+v", n, w)
		}
		delete(want, n.Name)
	}
	if len(want) > 0 || !slices.Contains(r.Files[0].Warnings, "10 ends without a begin and 3 begins without an end left out, as at the edges of a window") {
		t.Errorf("missing %v; warnings %q", want, r.Files[0].Warnings)
	}
}
