package sim

import (
	"fmt"
	"io"
	"os"
	"time"
)

// annotation is the step's name in a trace.
func (s *Step) annotation(isDetailed bool) string {
	if isDetailed {
		return fmt.Sprintf("execute_%d_context_%d(sq%dsk%dsqsq%dsqsk%d)_generation_%d(sq%dsk%dsqsq%dsqsk%d)", s.PromptTokens+s.Sequences,
			s.Prompts, s.PromptTokens, s.promptLen, s.promptSquares, s.promptProducts,
			s.Sequences, s.Sequences, s.decodeLen, s.Sequences, s.decodeLen)
	}
	return fmt.Sprintf("execute_context_%d(%d)_generation_%d(%d)", s.Prompts, s.PromptTokens, s.Sequences, s.Sequences)
}

// kernels are what a step runs on the device, with their shares of its time in percent, and the ops that launch them.
var kernels = []struct {
	name, op string
	share    int64
}{
	{"void at::native::vectorized_gather_kernel<16, long>", "aten::embedding", 3},
	{"void vllm::layer_norm_kernel<c10::BFloat16>", "aten::layer_norm", 5},
	{"nvjet_tst_128x64_64x8_2x1_v_bz_TNT", "aten::linear", 24},
	{"flash_fwd_splitkv_kernel", "vllm::unified_attention_with_output", 20},
	{"nvjet_tst_64x64_64x10_4x1_v_bz_TNT", "aten::linear", 14},
	{"nvjet_tst_256x128_64x4_2x1_v_bz_bias_TNT", "aten::linear", 22},
	{"triton_poi_fused_relu_0", "triton_poi_fused_relu_0", 4},
	{"nvjet_tst_128x256_64x4_1x2_h_bz_TNT", "aten::linear", 8},
}

const (
	streamID   = 7
	onlyKernel = int64(time.Millisecond) // device time below which a step is one kernel
)

// A launch is one API call and the device work that it starts.
type launch struct {
	op, call string // op is empty where none encloses the call
	from, to int64
	work     []work
	external int64
}

type work struct {
	cat, name string
	from, to  int64
	more      string // further arguments
}

// launches are what one step has the device do. The work fills [DeviceBegan, DeviceEnded] but for two gaps: 5 us after the
// input's copy, of which the host is late by 1 us and the launch takes 4 us, and 1 us before the output's copy, which was launched
// long before. A step of less than a millisecond is one kernel.
func launches(s *Step) []launch {
	const us = int64(time.Microsecond)
	from, to := s.DeviceBegan, s.DeviceEnded
	if s.Phase == Empty || to <= from {
		return nil
	}
	if to-from < onlyKernel {
		begin := max(s.Began, from-4*us)
		return []launch{{"aten::linear", "cudaLaunchKernel", begin, min(begin+2*us, s.Dispatched), []work{{"kernel", kernels[2].name, from, to, ""}}, 0}}
	}
	tokens := s.PromptTokens + s.Sequences
	var out []launch
	first, begin := from, from
	if from-s.Began >= 10*us {
		first, begin = from+7*us, from+3*us
		out = append(out, launch{"aten::copy_", "cudaMemcpyAsync", from - 4*us, from - us, []work{
			{"gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", from, from + 2*us, fmt.Sprintf(`, "bytes": %d, "memory bandwidth (GB/s)": %s`, 8*tokens, pyFloat(float64(8*tokens)/2000))},
		}, 0})
	}
	last, rest := to-3*us, s.Dispatched-6*us-begin
	graph := launch{call: "cudaGraphLaunch", from: begin, to: begin + rest/2}
	share, done := int64(0), first
	for i, kernel := range kernels {
		at := begin + rest*share/100
		share += kernel.share
		w := work{"kernel", kernel.name, done, first + (last-first)*share/100, fmt.Sprintf(`, "grid": [%d, 1, 1], "block": [256, 1, 1]`, tokens)}
		done = w.to
		if s.Phase == Decode {
			w.more += fmt.Sprintf(`, "graph id": 1, "graph node id": %d`, i+1)
			graph.work = append(graph.work, w)
		} else {
			out = append(out, launch{kernel.op, "cudaLaunchKernel", at, at + 2*us, []work{w}, 0})
		}
	}
	if s.Phase == Decode {
		out = append(out, graph)
	}
	bytes := 8 * max(s.NewTokens, 1)
	return append(out, launch{"aten::copy_", "cudaMemcpyAsync", s.Dispatched - 5*us, s.Dispatched - 2*us, []work{
		{"gpu_memcpy", "Memcpy DtoH (Device -> Pinned)", to - 2*us, to, fmt.Sprintf(`, "bytes": %d, "memory bandwidth (GB/s)": %s`, bytes, pyFloat(float64(bytes)/2000))},
	}, 0})
}

// kinetoWriter writes one process's rows.
type kinetoWriter struct {
	rowWriter
	cfg      *Config
	base     int64
	pid      int
	device   int
	external int64
	python   int64
}

// at appends a host row of the main thread; arguments beyond args are free.
func (k *kinetoWriter) host(cat, name string, from, to int64, args string) {
	k.add(row{ph: "X", cat: cat, name: name, pid: k.pid, tid: k.pid, ts: from - k.base, dur: max(to-from, 0), args: args})
}

func (k *kinetoWriter) op(cat, name string, from, to int64) {
	k.external++
	k.host(cat, name, from, to, fmt.Sprintf(`"External id": %d,"Record function id": 0, "Ev Idx": %d`, k.external, k.external-1))
}

func (k *kinetoWriter) frame(parent int64, name string, from, to int64) int64 {
	if !k.cfg.Stacks {
		return 0
	}
	k.python++
	above := "null"
	if parent > 0 {
		above = fmt.Sprint(parent)
	}
	k.host("python_function", name, from, to, fmt.Sprintf(`"Python parent id": %s, "Python id": %d, "Ev Idx": %d`, above, k.python, k.external+k.python))
	return k.python
}

// call writes an API call and, with a device row, the arrow between them.
func (k *kinetoWriter) call(name string, correlation, from, to int64, hasWork bool) {
	k.host("cuda_runtime", name, from, to, fmt.Sprintf(`"cbid": 211, "correlation": %d, "External id": %d`, correlation, k.external))
	if hasWork {
		k.add(row{ph: "s", cat: "ac2g", name: "ac2g", pid: k.pid, tid: k.pid, ts: from - k.base, id: correlation})
	}
}

func (k *kinetoWriter) work(cat, name string, correlation, from, to int64, more string) {
	k.add(row{
		ph: "X", cat: cat, name: name, pid: k.device, tid: streamID, ts: from - k.base, dur: to - from,
		args: fmt.Sprintf(`"External id": %d, "device": %d, "context": 1, "stream": %d, "correlation": %d%s`, k.external, k.device, streamID, correlation, more),
	})
	k.add(row{ph: "f", cat: "ac2g", name: "ac2g", pid: k.device, tid: streamID, ts: from - k.base, id: correlation})
}

// meta names a process or a thread.
func (k *kinetoWriter) meta(ts int64, pid, tid any, name, args string) {
	k.add(row{ph: "M", name: name, pid: pid, tid: tid, ts: ts, args: args})
}

// writeKineto writes a worker's trace in the exporter's own layout; rank -1 is the front end's.
func (p *profiler) writeKineto(w io.Writer, t *session, rank int) error {
	c := &p.cfg
	base := baseOf(t.began)
	pid, program := os.Getpid()+1+rank, "VLLM::EngineCore"
	if c.Ranks > 1 {
		program = fmt.Sprintf("VLLM::Worker_TP%d", rank)
	}
	if rank < 0 {
		pid, program = os.Getpid(), "vllm"
	}
	backend := "nccl"
	if c.Device == CPU {
		backend = "gloo"
	}
	fmt.Fprintf(w, " {\n    \"schemaVersion\": 1,\n    \"deviceProperties\": [")
	if c.Device == CUDA {
		for i := range c.Ranks {
			if i > 0 {
				io.WriteString(w, ",")
			}
			fmt.Fprintf(w, "\n      {\n        \"id\": %d, \"name\": \"Simulated GPU\", \"totalGlobalMem\": 85899345920,\n        \"computeMajor\": 9, \"computeMinor\": 0,\n        \"maxThreadsPerBlock\": 1024, \"maxThreadsPerMultiprocessor\": 2048,\n        \"regsPerBlock\": 65536, \"warpSize\": 32,\n        \"sharedMemPerBlock\": 49152, \"numSms\": 132\n      }", i)
		}
	}
	fmt.Fprintf(w, "],\n    \n      \"trace_id\": \"%s\",\n", p.traceID(t, rank))
	if c.Stacks {
		io.WriteString(w, "      \"with_stack\": 1,\n")
	}
	fmt.Fprintf(w, "      \"vllm_version_tuple\": [%s],\n", versionTuple(c.Version))
	if rank >= 0 {
		fmt.Fprintf(w, "      \"distributedInfo\": {\"backend\": \"%s\", \"rank\": %d, \"world_size\": %d, \"pg_count\": 1, \"pg_config\": [{\"pg_name\": \"0\", \"pg_desc\": \"default_pg\", \"backend_config\": \"cpu:gloo,cuda:%s\", \"pg_size\": %d, \"ranks\": %s}]},\n",
			backend, rank, c.Ranks, backend, c.Ranks, ranks(c.Ranks))
	}
	fmt.Fprintf(w, "      \"vllm_version\": %s,\n      \"host_name\": %s,\n    \"displayTimeUnit\": \"ms\",\n    \"baseTimeNanoseconds\": %d,\n    \"traceEvents\": [\n    \n",
		quoted(c.Version), quoted(hostName()), base)
	k := &kinetoWriter{rowWriter: rowWriter{w: w, style: kineto, sep: ",\n"}, cfg: c, base: base, pid: pid, device: max(rank, 0)}
	began := t.began - base
	k.meta(began, pid, 0, "process_name", `"name": `+quoted(program))
	k.meta(began, pid, 0, "process_labels", `"labels": "CPU"`)
	k.meta(began, pid, 0, "process_sort_index", fmt.Sprintf(`"sort_index": %d`, pid))
	if rank >= 0 {
		// The kernel cuts thread names at 15 letters.
		k.meta(began, pid, pid, "thread_name", `"name": `+quoted(fmt.Sprintf("thread %d (%.15s)", pid, program)))
		k.meta(began, pid, pid, "thread_sort_index", fmt.Sprintf(`"sort_index": %d`, pid))
		if c.Device == CUDA {
			k.meta(began, k.device, 0, "process_name", `"name": `+quoted(program))
			k.meta(began, k.device, 0, "process_labels", fmt.Sprintf(`"labels": "GPU %d"`, k.device))
			k.meta(began, k.device, 0, "process_sort_index", fmt.Sprintf(`"sort_index": %d`, 5_000_000+k.device))
			k.meta(began, k.device, streamID, "thread_name", fmt.Sprintf(`"name": "stream %d"`, streamID))
			k.meta(began, k.device, streamID, "thread_sort_index", fmt.Sprintf(`"sort_index": %d`, streamID))
		}
		k.steps(t)
	}
	k.add(row{ph: "X", cat: "Trace", name: "PyTorch Profiler (0)", pid: "Spans", tid: "PyTorch Profiler", ts: began, dur: t.ended - t.began, args: `"Op count": 0`})
	k.meta(began, "Spans", 0, "process_sort_index", `"sort_index": 536870912`)
	k.add(row{ph: "i", scope: "g", name: "Iteration Start: PyTorch Profiler", pid: "Traces", tid: "Trace PyTorch Profiler", ts: began})
	k.add(row{ph: "i", scope: "g", name: "Record Window End", pid: "", tid: "", ts: p.clock.now() - base})
	if k.err != nil {
		return k.err
	}
	_, err := fmt.Fprintf(w, "\n  ],\n      \"traceName\": \"/tmp/tmp%08x.json\" }\n", uint32(mix(uint64(t.number))))
	return err
}

func versionTuple(version string) string {
	out := ""
	for i, from := 0, 0; i <= len(version); i++ {
		if i == len(version) || version[i] == '.' {
			if out != "" {
				out += ", "
			}
			out += quoted(version[from:i])
			from = i + 1
		}
	}
	return out
}

func ranks(n int) string {
	out := "["
	for i := range n {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprint(i)
	}
	return out + "]"
}

// steps writes annotations and ops first, then Python rows, then calls and device work, like the real exporter: rows
// are not sorted by time.
func (k *kinetoWriter) steps(t *session) {
	isCPU := k.cfg.Device == CPU
	started := make([][]launch, len(t.steps))
	for i := range t.steps {
		s := &t.steps[i]
		k.op("user_annotation", s.annotation(k.cfg.DetailedAnnotations), s.Began, s.Dispatched)
		if s.Phase == Empty {
			continue
		}
		if isCPU {
			part := (s.Dispatched - s.Began) / 10
			for j, op := range []string{"aten::copy_", "aten::linear", "vllm::unified_attention_with_output", "aten::linear", "aten::argmax"} {
				from := s.Began + part*int64(2*j) + part/10
				k.op("cpu_op", op, from, from+part*18/10)
			}
			continue
		}
		started[i] = launches(s)
		for j := range started[i] {
			l := &started[i][j]
			if l.op != "" {
				k.op("cpu_op", l.op, max(l.from-500, s.Began), min(l.to+500, s.Dispatched))
			}
			l.external = k.external
		}
	}
	loop := k.frame(0, "vllm/v1/engine/core.py(1171): run_busy_loop", t.began, t.ended)
	last := t.began
	for i := range t.steps {
		s := &t.steps[i]
		if !k.cfg.Stacks {
			break
		}
		begin := max(last, s.Began-int64(k.cfg.HostGap)/2)
		last = s.Ended
		step := k.frame(loop, "vllm/v1/engine/core.py(421): step", begin, s.Ended)
		k.frame(step, "vllm/v1/core/sched/scheduler.py(238): schedule", begin, begin+(s.Began-begin)*9/10)
		run := k.frame(step, "vllm/v1/worker/gpu_model_runner.py(3310): execute_model", s.Began, s.Dispatched)
		if s.Phase == Empty {
			continue
		}
		prepared := min(s.DeviceBegan, s.Dispatched)
		if isCPU {
			prepared = s.Began + (s.Dispatched-s.Began)/5
		}
		k.frame(run, "vllm/v1/worker/gpu_model_runner.py(1207): _prepare_inputs", s.Began, prepared)
		k.frame(run, "nn.Module: OPTForCausalLM_0", prepared, s.Dispatched-(s.Dispatched-prepared)/20)
		if !isCPU {
			k.frame(step, "<built-in method synchronize of torch.cuda.Event object at 0x7f3c5c0e8a30>", s.Dispatched, max(s.DeviceEnded, s.Dispatched))
		}
	}
	for i := range t.steps {
		if s := &t.steps[i]; !isCPU && s.Phase != Empty {
			k.onDevice(s, started[i])
		}
	}
}

// onDevice writes one step's calls and device work.
func (k *kinetoWriter) onDevice(s *Step, started []launch) {
	correlation := int64(s.Number) * 32
	for _, l := range started {
		correlation++
		k.external = l.external
		k.call(l.call, correlation, l.from, l.to, true)
		for _, w := range l.work {
			k.work(w.cat, w.name, correlation, w.from, w.to, w.more)
		}
	}
	if len(started) > 0 {
		// The exporter's copy of the annotation reaches a nanosecond beyond the work at both ends.
		k.add(row{
			ph: "X", cat: "gpu_user_annotation", name: s.annotation(k.cfg.DetailedAnnotations), pid: k.device, tid: streamID,
			ts: s.DeviceBegan - k.base - 1, dur: s.DeviceEnded - s.DeviceBegan + 2, args: fmt.Sprintf(`"External id": %d`, k.external),
		})
	}
	k.call("cudaEventSynchronize", correlation+1, s.Dispatched, max(s.DeviceEnded, s.Dispatched), false)
}
