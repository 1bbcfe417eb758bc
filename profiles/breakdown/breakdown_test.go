package breakdown

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/profiles/trace"
)

func TestStepNames(t *testing.T) {
	for name, want := range map[string]string{
		"execute_context_1(128)_generation_0(0)":        "vllm_annotation prefill 1/0 128+0",
		"execute_context_3(384)_generation_1(1)":        "vllm_annotation mixed 3/1 384+1",
		"execute_context_0(0)_generation_4(4)":          "vllm_annotation decode 0/4 0+4",
		"execute_context_0(0)_generation_0(0)":          "vllm_annotation empty 0/0 0+0",
		"execute_context_1(888_788544)_generation_0(0)": "vllm_annotation prefill 1/0 888+0",
		"execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)": "vllm_annotation mixed 9/37 8155+37",
		"execute_new_2_cached_3":             "vllm_annotation mixed 2/3 unknown",
		"execute_new_2_cached_0":             "vllm_annotation prefill 2/0 unknown",
		"execute_new_0_cached_7":             "vllm_annotation decode 0/7 unknown",
		"step[EXTEND bs=15 toks=15360 x]":    "sglang_annotation prefill 15/0 15360+0",
		"step[DECODE bs=32 toks=32]":         "sglang_annotation decode 0/32 0+32",
		"step[DECODE bs=32]":                 "sglang_annotation decode 0/32 0+32",
		"step[MIXED bs=6 toks=1026 c=4 g=2]": "sglang_annotation mixed 4/2 1024+2",
		"step[IDLE bs=0]":                    "sglang_annotation empty 0/0 unknown",
		"prefill[bs=2 tok=14721 req=1]":      "sglang_annotation prefill 2/0 14721+0",
		"decode[bs=117/128 tok=117]":         "sglang_annotation decode 0/117 0+117",
		"execute_diffusion_2_512x512":        "sglang_annotation step 0/2 unknown",
		"ProfilerStep#4":                     "profiler_step step 0/0 unknown",
		"execute_model":                      "none",
		"aten::add":                          "none",
	} {
		got := "none"
		if s, ok := annotatedStep(name); ok {
			tokens := "unknown"
			if s.hasTokens {
				tokens = fmt.Sprintf("%d+%d", s.promptTokens, s.genTokens)
			}
			got = fmt.Sprintf("%s %s %d/%d %s", ruleNames[s.rule], s.phase, s.prompts, s.generations, tokens)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestShortNamesAndGroups(t *testing.T) {
	for name, want := range map[string]string{
		"void at::native::vectorized_elementwise_kernel<4, at::native::f<int>(int)::{lambda(float)#1}>(int, float*)":                                "at::native::vectorized_elementwise_kernel elementwise",
		"std::enable_if<(((8)>(0)))&&vllm::_typeConvert<c10::BFloat16>::exists, void>::type vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>(int)": "vllm::fused_add_rms_norm_kernel norm",
		"void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16>(float*)":                                                             "(anonymous namespace)::multimem_all_reduce_kernel comm",
		"ncclKernel_AllReduce_RING_LL_Sum_float(ncclDevComm*, unsigned long)":                                                                       "ncclKernel_AllReduce_RING_LL_Sum_float comm",
		"kernel_unified_attention_2d":    "kernel_unified_attention_2d attention",
		"Cijk_Alik_Bljk_BBS_BH":          "Cijk_Alik_Bljk_BBS_BH gemm",
		"Memcpy DtoH (Device -> Pinned)": "Memcpy DtoH copy",
		"triton_poi_fused_add_0":         "triton_poi_fused_add_0 triton",
		"mystery":                        "mystery other",
		"<<<":                            "<<< other",
	} {
		if got := shortName(name) + " " + kernelGroup(name, kindCompute); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestPythonGroups(t *testing.T) {
	for name, want := range map[string][3]string{
		"vllm/v1/core/sched/scheduler.py(591): schedule":            {"vllm/v1/core/sched/scheduler.py", "vllm", ""},
		"threading.py(359): wait":                                   {"threading.py", "threading", ""},
		"/usr/lib/python3/dist-packages/torch/_ops.py(1): __call__": {"/usr/lib/python3/dist-packages/torch/_ops.py", "torch", ""},
		"<built-in function linear>":                                {"<built-in>", "<built-in>", ""},
		"nn.Module: GptOssForCausalLM_0":                            {"", "", "GptOssForCausalLM"},
		"nn.Module: My_Layer":                                       {"", "", "My_Layer"},
		"<string>(2): dynamic_func":                                 {"<string>", "<string>", ""},
		"odd":                                                       {"", "", ""},
	} {
		file, pkg, module := pythonGroups(name)
		if got := [3]string{file, pkg, module}; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestLabelsAndCompiles(t *testing.T) {
	for name, want := range map[string]string{
		"cudaDeviceSynchronize": "blocking_sync",
		"hipEventSynchronize":   "blocking_sync",
		"aten::item":            "blocking_sync",
		"copy_hpu_lazy_D2H":     "blocking_sync",
		"vllm/v1/worker/gpu_model_runner.py(1): _prepare_inputs": "input_preparation",
		"prepare_input_tensors":                                  "input_preparation",
		"vllm/v1/core/sched/scheduler.py(591): schedule":         "scheduler",
		"zmq/sugar/poll.py(80): poll":                            "waiting",
		"torch/_dynamo/convert_frame.py(9): _compile":            "compile",
		"torch/_inductor/compile_fx.py(9): compile_fx_inner":     "compile",
		"torch/_inductor/compile_fx.py(9): run":                  "",
		"_compile.compile_inner (dynamo_timed)":                  "compile",
		"triton/compiler/compiler.py(226): compile":              "compile",
		"re/_compiler.py(743): compile":                          "",
		"aten::add":                                              "",
		"cudaStreamIsCapturing":                                  "",
	} {
		l := newLexicon()
		info := l.info(l.names.ID(name))
		if got := labelNames[info.label]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A small CUDA trace whose figures can be worked out in one's head, in microseconds:
//
//	device   [100,110) [110,120)      [150,160)   [200.5,210) [215,220) [300,310)
//	calls    90        95              140         199         185       none
//	thread 5 step [80,260): python run [85,250), op [120,138)
const smallCUDA = `{"baseTimeNanoseconds": 1000000000, "traceEvents": [
{"ph": "X", "cat": "user_annotation", "name": "execute_context_1(64)_generation_2(2)", "pid": 5, "tid": 5, "ts": 80, "dur": 180},
{"ph": "X", "cat": "python_function", "name": "a.py(1): run", "pid": 5, "tid": 5, "ts": 85, "dur": 165},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 5, "tid": 5, "ts": 120, "dur": 18},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 5, "tid": 5, "ts": 90, "dur": 3, "args": {"correlation": 1}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 5, "tid": 5, "ts": 95, "dur": 3, "args": {"correlation": 2}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 5, "tid": 5, "ts": 140, "dur": 3, "args": {"correlation": 3}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "pid": 5, "tid": 5, "ts": 185, "dur": 3, "args": {"correlation": 5}},
{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 5, "tid": 5, "ts": 199, "dur": 2, "args": {"correlation": 4}},
{"ph": "X", "cat": "kernel", "name": "k<int>(int)", "pid": 0, "tid": 7, "ts": 110, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 2}},
{"ph": "X", "cat": "kernel", "name": "k<int>(int)", "pid": 0, "tid": 7, "ts": 100, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 1}},
{"ph": "X", "cat": "kernel", "name": "ncclDevKernel_AllReduce", "pid": 0, "tid": 7, "ts": 150, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 3, "Collective name": "allreduce", "Group size": 2, "In msg nelems": 1000, "Out msg nelems": 1000, "dtype": "BFloat16", "Process Group Name": "0", "Seq": 4}},
{"ph": "X", "cat": "kernel", "name": "k<int>(int)", "pid": 0, "tid": 7, "ts": 200.5, "dur": 9.5, "args": {"device": 0, "stream": 7, "correlation": 4}},
{"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)", "pid": 0, "tid": 8, "ts": 215, "dur": 5, "args": {"device": 0, "stream": 8, "correlation": 5, "bytes": 4096}},
{"ph": "X", "cat": "kernel", "name": "late", "pid": 0, "tid": 7, "ts": 300, "dur": 10, "args": {"device": 0, "stream": 7, "correlation": 99}},
{"ph": "X", "cat": "gpu_user_annotation", "name": "not work", "pid": 0, "tid": 7, "ts": 99, "dur": 300, "args": {"device": 0, "stream": 7}},
{"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 50, "dur": 300},
{"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 5, "tid": 5, "ts": 86, "s": "t", "args": {"Device Type": 1, "Device Id": 0, "Bytes": 100, "Total Allocated": 1100, "Total Reserved": 4000}},
{"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 5, "tid": 5, "ts": 87, "s": "t", "args": {"Device Type": 1, "Device Id": 0, "Bytes": -300, "Total Allocated": 800, "Total Reserved": 4000}}
]}`

func TestSmallCUDATrace(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, smallCUDA))
	d := r.Devices[0]
	if d.Rows != 6 || d.Kernels != 5 || d.First != 100000 || d.Span != 210000 || d.Busy != 54500 || d.Idle != 155500 || d.Gaps != 4 || *d.EdgeBefore != 50000 || *d.EdgeAfter != 40000 || *d.GapMax != 80000 {
		t.Errorf("device %+v", d)
	}
	if len(d.Streams) != 2 || d.Streams[0] != (Stream{int64(7), 5, 49500, 210000}) {
		t.Errorf("streams %+v", d.Streams)
	}
	// Gaps: [120,150) late until 140; [160,200.5) late until 199; [210,215) launched before;
	// [220,300) unlinked.
	g := r.Gaps
	want := map[string]Total{"host_late": {2, 59000}, "launch_latency": {0, 11500}, "device_side": {1, 5000}, "unlinked": {1, 80000}}
	if !reflect.DeepEqual(g.Reasons, want) || g.Count != 4 || g.Below.Count != 0 {
		t.Errorf("gaps %+v", g)
	}
	// Late: [120,138) mm, [138,140) run, [160,185) run, [185,188) memcpy, [188,199) run.
	if wantClass := map[string]int64{"cpu_op": 18000, "python_function": 38000, "cuda_runtime": 3000}; !reflect.DeepEqual(g.ByClass, wantClass) || *g.InsideSteps != 59000 {
		t.Errorf("late by class %v, inside steps %d", g.ByClass, *g.InsideSteps)
	}
	if g.Top[0] != (HostLate{"python_function", "a.py(1): run", 38000}) || g.Longest[0].Reason != "unlinked" || g.Longest[0].Kernel != "late" {
		t.Errorf("top %+v, longest %+v", g.Top, g.Longest[0])
	}
	s := r.Steps[0]
	if s.Phase != "mixed" || s.Bucket != "context 1(64) generation 2 NONE" || *s.DevRows != 5 || *s.Kernels != 4 || *s.DevStart != 100000 || *s.DevEnd != 220000 || *s.DevBusy != 44500 || *s.DevLead != 20000 {
		t.Errorf("step %+v", s)
	}
	k := r.Kernels[0]
	if k.Name != "k<int>(int)" || k.Short != "k" || k.Count != 3 || k.Total != 29500 || k.Min != 9500 || k.P50 != 10000 || k.Phases["mixed"] != (Total{3, 29500}) || k.ShareOfTotal != round(29500.0/49500, 6) {
		t.Errorf("kernel %+v", k)
	}
	l := r.Launch
	if l.Linked != 5 || l.Unlinked != 1 || l.DCall.P50 != 10000 || l.DCall.Max != 30000 || l.DRet.Max != 27000 || l.BeforeReturn != 1 || l.Queue["7"].Max != 2 || l.Queue["8"] != (Queue{1, 1}) {
		t.Errorf("launch %+v %+v", l, l.DCall)
	}
	c := r.Comm
	if c.Kernels != 1 || c.Comm != 10000 || c.Compute != 39500 || c.Overlap != 0 || *c.Collectives[0].Bytes != 2000 || *c.Collectives[0].BusBandwidth != 0.2 {
		t.Errorf("comm %+v", c)
	}
	if x := r.Copies[0]; x.Count != 1 || *x.Bytes != 4096 || *x.Bandwidth != round(4096.0/5000, 6) || *x.Small != 1 {
		t.Errorf("copy %+v", x)
	}
	if m := r.Memory["cuda:0"]; m.Peak != 1100 || m.Start != 1100 || m.End != 800 || m.Allocations != 1 || m.Frees != 1 || m.Allocated != 100 {
		t.Errorf("memory %+v", m)
	}
	// The operator launched nothing itself; the calls lie beside it.
	if r.Ops[0].Name != "aten::mm" || r.Ops[0].Device != nil || r.Window.Source != "trace" || r.Window.Length() != 300000 {
		t.Errorf("ops %+v, window %+v", r.Ops, r.Window)
	}
	a := r.Answers()
	if a.Wall != 300*time.Microsecond || !a.HasBusy || a.Busy != 54500.0/300000 || a.Gaps[0].Reason != "unlinked" || a.Phases[0].Host.Total != 180000 {
		t.Errorf("answers %+v", a)
	}
}

func TestGapThresholdAndWindow(t *testing.T) {
	file := writeTrace(t, smallCUDA)
	r := analyze(t, Options{GapThreshold: 35 * time.Microsecond}, file)
	if r.Gaps.Count != 2 || r.Gaps.Below != (Below{2, 35000}) || r.Gaps.Reasons["host_late"] != (Total{1, 39000}) {
		t.Errorf("gaps %+v", r.Gaps)
	}
	// From 55 to 155 us after the window's start: [105, 205).
	r = analyze(t, Options{From: 55 * time.Microsecond, To: 155 * time.Microsecond}, file)
	d := r.Devices[0]
	if r.Window.Source != "window" || r.Window.Start != 105000 || d.First != 105000 || d.Last != 205000 || d.Busy != 5000+10000+10000+4500 || d.Gaps != 2 || d.Kernels != 4 {
		t.Errorf("window %+v, device %+v", r.Window, d)
	}
	if r.Python.TopSelf[0].Total != 100000 || len(r.Steps) != 0 {
		t.Errorf("python %+v, steps %v", r.Python.TopSelf[0], r.Steps)
	}
	r = analyze(t, Options{FirstStep: 1, LastStep: 1}, file)
	if r.Window.Source != "steps" || r.Window.Start != 80000 || r.Window.End != 260000 || r.Devices[0].Rows != 5 {
		t.Errorf("window %+v, device %+v", r.Window, r.Devices[0])
	}
}

func TestOptionsAreChecked(t *testing.T) {
	file := writeTrace(t, smallCUDA)
	for _, tc := range []struct {
		opts Options
		want string
	}{
		{Options{From: 2, To: 1}, "is empty"},
		{Options{FirstStep: 3, LastStep: 2}, "are none"},
		{Options{From: 1, FirstStep: 1}, "one is enough"},
		{Options{By: "colour"}, `no table by "colour": have name, short, group, file, package, module`},
		{Options{GapThreshold: -1}, "below zero"},
		{Options{FirstStep: 7}, "step 7 was asked for, but the trace has 1"},
		{Options{From: time.Second}, "after the start of a trace"},
	} {
		_, err := Analyze(context.Background(), []string{file}, tc.opts)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %s", tc.opts, err, tc.want)
		}
	}
	var not *trace.NotTraceError
	if _, err := Analyze(context.Background(), []string{writeTrace(t, "hello")}, Options{}); !errors.As(err, &not) {
		t.Errorf("error %v", err)
	}
	if _, err := Analyze(context.Background(), nil, Options{}); err == nil {
		t.Error("no files were analysed")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Analyze(ctx, []string{"testdata/four-stack.json.gz"}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestRanks puts two ranks of different bases on one clock.
func TestRanks(t *testing.T) {
	second := strings.NewReplacer(`"baseTimeNanoseconds": 1000000000`, `"distributedInfo": {"rank": 1, "world_size": 2}, "baseTimeNanoseconds": 1000002000`,
		`"ts": 150, "dur": 10`, `"ts": 152, "dur": 14`).Replace(smallCUDA)
	first := strings.Replace(smallCUDA, `{"base`, `{"distributedInfo": {"rank": 0, "world_size": 2}, "base`, 1)
	dir := t.TempDir()
	var files []string
	for i, text := range []string{second, first} {
		path := filepath.Join(dir, fmt.Sprintf("rank%d.json", 1-i))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	r := analyze(t, Options{}, files...)
	// The first file is rank 1: its base is the report's clock, rank 0 is 2 us earlier on it.
	if len(r.Devices) != 2 || r.Devices[0].First != 100000 || r.Devices[1].First != 98000 || r.AllDevices.Rows != 12 || r.AllDevices.First != 98000 {
		t.Errorf("devices %+v", r.Devices)
	}
	if len(r.Steps) != 2 || len(r.ByPhase) != 1 || r.ByPhase[0].Count != 1 || r.Steps[0].File != "rank1.json" || *r.Files[0].Rank != 1 || *r.Files[0].World != 2 {
		t.Errorf("steps %d, phases %+v", len(r.Steps), r.ByPhase)
	}
	// The collective begins at 152 and 148, takes 14 and 10 us.
	if s := r.Comm.Skew; s == nil || s.Matched != 1 || s.Start.Max != 4000 || s.Waiting["rank1.json"] != 4000 || s.Waiting["rank0.json"] != 0 {
		t.Errorf("skew %+v", s)
	}
	if r.Python.TopSelf[0].Count != 2 {
		t.Errorf("python %+v", r.Python.TopSelf[0])
	}
	_ = r.Launch.Queue["rank1.json/7"]
	if len(r.Launch.Queue) != 4 {
		t.Errorf("queues %v", r.Launch.Queue)
	}
}

// TestMergedRequestsByArrow follows the merge's own arrows, also where the order says
// otherwise, and a prompt over two steps.
func TestMergedRequestsByArrow(t *testing.T) {
	step := func(tokens, ts, dur int) string {
		return fmt.Sprintf(`{"ph": "X", "cat": "user_annotation", "name": "execute_context_1(%d)_generation_0(0)", "pid": 5, "tid": 5, "ts": %d, "dur": %d},`, tokens, ts, dur)
	}
	r := analyze(t, Options{}, writeTrace(t, `{"traceEvents": [`+step(8, 120, 10)+step(64, 140, 20)+step(36, 165, 15)+`
{"ph": "X", "name": "req 7", "pid": 2000000001, "tid": 1, "ts": 90, "dur": 310, "args": {"prompt_tokens": 130, "cached_tokens": 30, "output_tokens": 3}},
{"ph": "X", "name": "stream", "pid": 2000000001, "tid": 1, "ts": 200, "dur": 100},
{"ph": "X", "cat": "user_annotation", "name": "execute_context_0(0)_generation_1(1)", "pid": 5, "tid": 5, "ts": 215, "dur": 5},
{"ph": "X", "cat": "user_annotation", "name": "execute_context_0(0)_generation_1(1)", "pid": 5, "tid": 5, "ts": 255, "dur": 5},
{"ph": "X", "name": "wait first token", "pid": 2000000001, "tid": 1, "ts": 100, "dur": 100},
{"ph": "s", "cat": "client2step", "name": "prompt", "id": 0, "pid": 2000000001, "tid": 1, "ts": 100.001},
{"ph": "f", "cat": "client2step", "name": "prompt", "id": 0, "bp": "e", "pid": 2000000002, "tid": 1, "ts": 140.001},
{"ph": "b", "cat": "request", "name": "req 8", "id": 2, "pid": 2000000001, "tid": 0, "ts": 500},
{"ph": "b", "cat": "request", "name": "wait first token", "id": 2, "pid": 2000000001, "tid": 0, "ts": 500},
{"ph": "e", "cat": "request", "name": "wait first token", "id": 2, "pid": 2000000001, "tid": 0, "ts": 530},
{"ph": "e", "cat": "request", "name": "req 8", "id": 2, "pid": 2000000001, "tid": 0, "ts": 600}]}`))
	q := r.Requests
	if q.Count != 2 || q.Linked != 1 || q.Unlinked != 1 {
		t.Fatalf("requests %+v", q)
	}
	if l := q.List[0]; *l.Step != 2 || *l.TTFT != 100000 || *l.Queue != 40000 || *l.Prefill != 40000 || *l.Return != 20000 {
		t.Errorf("request 7: step %d, queue %d, prefill %d, return %d", *l.Step, *l.Queue, *l.Prefill, *l.Return)
	}
	// Periods 50 and 40 us; gaps of 10, 5, 35 and 35 us while request 7 was in flight.
	if q.PerToken.P50 != 50000 || q.DecodePeriod.P50 != 45000 || *q.BetweenSteps != 85000 {
		t.Errorf("per token %+v, period %+v, between steps %d", q.PerToken, q.DecodePeriod, *q.BetweenSteps)
	}
	if l := q.List[1]; l.Name != "req 8" || *l.TTFT != 30000 || l.End != 600000 {
		t.Errorf("request 8: %+v", l)
	}
}

// TestRanksInOneFile analyses what trace.Join makes of two ranks: devices of the same
// number stay apart, and phases count each step once.
func TestRanksInOneFile(t *testing.T) {
	one := writeTrace(t, smallCUDA)
	joined := filepath.Join(t.TempDir(), "both.json")
	if _, err := trace.Join(joined, []trace.Rank{{Path: one, Rank: 0}, {Path: one, Rank: 1}}, trace.Additions{}); err != nil {
		t.Fatal(err)
	}
	r, single := analyze(t, Options{}, joined), analyze(t, Options{}, one)
	if len(r.Devices) != 2 || r.Devices[0].Busy != single.Devices[0].Busy || r.Devices[1].Idle != single.Devices[0].Idle || r.AllDevices.Busy != single.Devices[0].Busy {
		t.Errorf("devices %+v", r.Devices)
	}
	if r.Launch.Linked != 2*single.Launch.Linked || r.Gaps.Reasons["host_late"].Total != 2*single.Gaps.Reasons["host_late"].Total {
		t.Errorf("launch %+v, gaps %+v", r.Launch, r.Gaps.Reasons)
	}
	if len(r.Steps) != 2 || !r.Steps[1].Aside || r.ByPhase[0].Count != 1 || *r.Steps[1].DevRows != 5 {
		t.Errorf("steps %+v", r.Steps)
	}
}

func TestCompilesAndCaptures(t *testing.T) {
	row := func(cat, name string, ts, dur int) string {
		return fmt.Sprintf(`{"ph": "X", "cat": %q, "name": %q, "pid": 5, "tid": 5, "ts": %d, "dur": %d, "args": {"correlation": %d}}`, cat, name, ts, dur, ts)
	}
	r := analyze(t, Options{Warmup: 1}, writeTrace(t, "["+strings.Join([]string{
		row("user_annotation", "execute_context_1(8)_generation_0(0)", 0, 500),
		row("cpu_op", "_compile.compile_inner (dynamo_timed)", 10, 300),
		row("cpu_op", "compile_fx (dynamo_timed)", 50, 100), // inside: not another
		row("python_function", "torch/_dynamo/convert_frame.py(9): _compile", 12, 200),
		row("cpu_op", "TorchDynamo Cache Lookup", 1, 2),
		row("user_annotation", "## Call CompiledFxGraph abc ##", 400, 10),
		row("user_annotation", "## Call CompiledFxGraph abc ##", 420, 10),
		row("user_annotation", "execute_context_0(0)_generation_1(1)", 600, 500),
		row("python_function", "triton/compiler/compiler.py(226): compile", 650, 40),
		row("cuda_runtime", "cudaStreamBeginCapture", 700, 1),
		row("cuda_runtime", "cudaStreamIsCapturing", 705, 1),
		row("cuda_runtime", "cudaStreamEndCapture", 750, 5),
		row("cuda_runtime", "cudaGraphInstantiate", 760, 20),
		row("cuda_runtime", "cudaGraphLaunch", 790, 5),
		row("overhead", "Lazy Function Loading", 800, 7),
	}, ",")+"]"))
	c := r.Compiles
	if c.Count != 2 || c.Total != 340000 || c.List[0].Total != 300000 || c.List[0].Kind != "torch_compile" || c.List[1].Kind != "triton" || c.List[1].Step != "execute_context_0(0)_generation_1(1)" {
		t.Errorf("compiles %+v", c.List)
	}
	if c.After.Count != 1 || c.After.Total != 40000 || c.Lookups != 1 || c.GraphCalls != 2 || c.CompiledGraphs != 1 || c.GraphLaunches["cudaGraphLaunch"] != 1 || *c.LazyLoading != (Total{1, 7000}) {
		t.Errorf("compiles %+v", c)
	}
	if !reflect.DeepEqual(c.Captures, map[string]int64{"cudaStreamBeginCapture": 1, "cudaStreamEndCapture": 1}) || c.Kinds["graph_capture"] != (Total{1, 55000}) || c.Kinds["graph_instantiate"] != (Total{1, 20000}) || len(c.CaptureList) != 2 {
		t.Errorf("captures %+v %+v", c.Captures, c.Kinds)
	}
}

// TestMergedRequests splits the time to the first token of a merged trace.
func TestMergedRequests(t *testing.T) {
	req := func(lane, from, first, to int) string {
		return fmt.Sprintf(`{"ph": "X", "name": "req %d", "pid": 2000000001, "tid": %d, "ts": %d, "dur": %d}, {"ph": "X", "name": "wait first token", "pid": 2000000001, "tid": %d, "ts": %d, "dur": %d},`, lane, lane, from, to-from, lane, from, first-from)
	}
	r := analyze(t, Options{}, writeTrace(t, `{"traceEvents": [`+req(1, 100, 190, 400)+req(2, 210, 310, 420)+req(3, 600, 640, 700)+`
{"ph": "X", "name": "derived", "pid": 2000000002, "tid": 1, "ts": 0, "dur": 10000},
{"ph": "X", "cat": "user_annotation", "name": "execute_context_1(8)_generation_0(0)", "pid": 5, "tid": 5, "ts": 120, "dur": 50},
{"ph": "X", "cat": "user_annotation", "name": "execute_context_1(8)_generation_0(0)", "pid": 5, "tid": 5, "ts": 250, "dur": 40}]}`))
	q := r.Requests
	if q.Count != 3 || q.Linked != 2 || q.Unlinked != 1 || q.Queue.Max != 40000 || q.Queue.P50 != 20000 || q.Prefill.Total != 90000 || q.Return.Total != 40000 || q.InFlight != 420000 {
		t.Errorf("requests %+v %+v %+v", q, q.Queue, q.Return)
	}
	if l := q.List; len(l) != 3 || l[0].Name != "req 1" || *l[0].Step != 1 || *l[1].Step != 2 || *l[1].Return != 20000 || l[2].Step != nil || *l[2].TTFT != 40000 {
		t.Errorf("requests %+v", l)
	}
	for what, want := range map[string]string{
		"slowest-step": "120000 290000 <nil>", "request:2": "210000 420000 <nil>", "request:9": "0 0 the trace holds no request 9",
		"compile": "0 0 the trace has no recompilation", "x": `0 0 nothing is called "x": have slowest-step, compile, request:ID`,
	} {
		from, to, err := r.Around(what)
		if got := fmt.Sprint(from, " ", to, " ", err); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	if from, to, err := r.StepWindow(2, 5); from != 250000 || to != 290000 || err != nil {
		t.Errorf("steps 2..5: %d, %d, %v", from, to, err)
	}
	if _, _, err := r.StepWindow(3, 3); err == nil {
		t.Error("a third step was found")
	}
	if r.Host.Rows != 2 {
		t.Errorf("%d host rows: the client's are not the server's", r.Host.Rows)
	}
}

func TestReportForms(t *testing.T) {
	r := analyze(t, Options{}, writeTrace(t, smallCUDA))
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
	again, err := back.JSON()
	if err != nil || !bytes.Equal(b, again) {
		t.Error("the JSON does not come back the same")
	}
	for _, absent := range []string{`"padding"`, `"requests"`, `"rank"`, `"file": ""`} {
		if bytes.Contains(b, []byte(absent)) {
			t.Errorf("%s is there", absent)
		}
	}
	var table strings.Builder
	if err := r.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"section,row,figure,value\n", "devices,1 t.json,busy_ns,54500\n", "gaps,,reasons.host_late.total_ns,59000\n", "kernels,1 k<int>(int),total_ns,29500\n", "phases,1 mixed context 1(64) generation 2 NONE,host_ns.p50,180000\n"} {
		if !strings.Contains(table.String(), row) {
			t.Errorf("the CSV lacks %q", row)
		}
	}
	if len(r.Files) > 0 {
		r.Files[0].File = "<script>"
	}
	var html strings.Builder
	if err := r.WriteHTML(&html); err != nil || strings.Contains(html.String(), "<script>") || !strings.Contains(html.String(), "idle: unlinked") || !strings.Contains(html.String(), "&lt;script&gt;") {
		t.Errorf("%v\n%s", err, html.String())
	}
	for _, by := range []string{"name", "short", "group", "file", "package", "module"} {
		r.by = by
		var out strings.Builder
		if err := r.WriteText(&out); err != nil || !strings.Contains(out.String(), "wall (trace)") || !strings.Contains(out.String(), "idle: unlinked") {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
}

// TestSameAnswersTwice guards against answers that depend on the order of a map.
func TestSameAnswersTwice(t *testing.T) {
	want, err := analyze(t, Options{}, "testdata/four-stack.json.gz", "testdata/three-steps.json.gz").JSON()
	if err != nil {
		t.Fatal(err)
	}
	again := 3
	if underRace {
		again = 1
	}
	for range again {
		got, err := analyze(t, Options{}, "testdata/four-stack.json.gz", "testdata/three-steps.json.gz").JSON()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatal("two analyses of the same files differ")
		}
	}
}

// TestOrderOfRowsDoesNotMatter shuffles the events of a trace.
func TestOrderOfRowsDoesNotMatter(t *testing.T) {
	var outer struct{ TraceEvents []json.RawMessage }
	if err := json.Unmarshal([]byte(smallCUDA), &outer); err != nil {
		t.Fatal(err)
	}
	strip := func(r *Report) string {
		r.Files = nil
		b, _ := r.JSON()
		return string(b)
	}
	want := strip(analyze(t, Options{}, writeTrace(t, smallCUDA)))
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		// The two memory events keep their order in time by their stamps.
		random.Shuffle(len(outer.TraceEvents), func(i, j int) {
			outer.TraceEvents[i], outer.TraceEvents[j] = outer.TraceEvents[j], outer.TraceEvents[i]
		})
		b, err := json.Marshal(map[string]any{"traceEvents": outer.TraceEvents, "baseTimeNanoseconds": 1000000000})
		if err != nil {
			t.Fatal(err)
		}
		if got := strip(analyze(t, Options{}, writeTrace(t, string(b)))); got != want {
			t.Fatal("the report depends on the order of the rows")
		}
	}
}

func TestSortRuns(t *testing.T) {
	type row struct{ key, seq int }
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rows := make([]row, random.IntN(300))
		for i := range rows {
			switch random.IntN(3) {
			case 0:
				rows[i].key = i
			case 1:
				rows[i].key = random.IntN(50)
			default:
				rows[i].key = 300 - i
			}
			rows[i].seq = i
		}
		want := slices.Clone(rows)
		slices.SortStableFunc(want, func(a, b row) int { return a.key - b.key })
		sortRuns(rows, func(a, b *row) bool { return a.key < b.key })
		if !slices.Equal(rows, want) {
			t.Fatalf("got %v, want %v", rows, want)
		}
	}
}

func TestIntervals(t *testing.T) {
	u := union([]span{{5, 7}, {1, 3}, {3, 4}, {6, 6}, {10, 12}})
	if !slices.Equal(u, []span{{1, 4}, {5, 7}, {10, 12}}) || length(u) != 7 {
		t.Errorf("union %v", u)
	}
	if n := overlap(u, []span{{2, 6}, {11, 20}}); n != 4 {
		t.Errorf("overlap %d, want 4", n)
	}
	for _, tc := range []struct{ from, to, want int64 }{{0, 20, 7}, {2, 6, 3}, {4, 5, 0}, {12, 20, 0}, {-5, 1, 0}} {
		if got := within(u, tc.from, tc.to); got != tc.want {
			t.Errorf("within %d..%d: %d, want %d", tc.from, tc.to, got, tc.want)
		}
	}
}
