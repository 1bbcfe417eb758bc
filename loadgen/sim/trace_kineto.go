package sim

import (
	"fmt"
	"io"
	"os"
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

// kernels are what a step runs on the device, with their shares of its time in percent.
var kernels = []struct {
	name  string
	share int64
}{
	{"void at::native::vectorized_gather_kernel<16, long>", 3},
	{"void vllm::layer_norm_kernel<c10::BFloat16>", 5},
	{"nvjet_tst_128x64_64x8_2x1_v_bz_TNT", 24},
	{"flash_fwd_splitkv_kernel", 20},
	{"nvjet_tst_64x64_64x10_4x1_v_bz_TNT", 14},
	{"nvjet_tst_256x128_64x4_2x1_v_bz_bias_TNT", 22},
	{"triton_poi_fused_relu_0", 4},
	{"nvjet_tst_128x256_64x4_1x2_h_bz_TNT", 8},
}

const (
	streamID   = 7
	onlyKernel = 40_000 // device time in ns below which a step is one kernel
)

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
	numbers := make([]int64, len(t.steps)) // each annotation's External id
	for i := range t.steps {
		s := &t.steps[i]
		numbers[i] = k.external + 1
		k.op("user_annotation", s.annotation(k.cfg.DetailedAnnotations), s.Began, s.Dispatched)
		if s.Phase == Empty {
			continue
		}
		prepared := min(s.DeviceBegan, s.Dispatched)
		if k.cfg.Device == CPU {
			prepared = s.Began + (s.Dispatched-s.Began)/10
		}
		k.op("cpu_op", "aten::copy_", s.Began+(prepared-s.Began)/2, prepared-(prepared-s.Began)/10)
		from, to := prepared+(s.Dispatched-prepared)/20, s.Dispatched-(s.Dispatched-prepared)/10
		k.op("cpu_op", "aten::linear", from, from+(to-from)/3)
		k.op("cpu_op", "vllm::unified_attention_with_output", from+(to-from)/3+1, from+2*(to-from)/3)
		k.op("cpu_op", "aten::linear", from+2*(to-from)/3+1, to)
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
		k.frame(run, "vllm/v1/worker/gpu_model_runner.py(1207): _prepare_inputs", s.Began, s.Began+(prepared-s.Began)*19/20)
		k.frame(run, "nn.Module: OPTForCausalLM_0", prepared, s.Dispatched-(s.Dispatched-prepared)/20)
		if k.cfg.Device == CUDA {
			k.frame(step, "<built-in method synchronize of torch.cuda.Event object at 0x7f3c5c0e8a30>", s.Dispatched, max(s.DeviceEnded, s.Dispatched))
		}
	}
	if k.cfg.Device == CPU {
		return
	}
	for i := range t.steps {
		if s := &t.steps[i]; s.Phase != Empty {
			k.external = numbers[i]
			k.onDevice(s)
		}
	}
}

// onDevice writes what one step had the device do. Device work fills [DeviceBegan, DeviceEnded) but for two gaps: 5 us after the input's copy,
// of which the host is late by 1 us and the launch takes 4 us, and 1 us before the output's copy, which was launched long before.
func (k *kinetoWriter) onDevice(s *Step) {
	const us = 1000
	correlation := int64(s.Number) * 32
	name := s.annotation(k.cfg.DetailedAnnotations)
	from, to := s.DeviceBegan, s.DeviceEnded
	isGraph := s.Phase == Decode
	launch := max(s.Began, from-4*us)
	if to-from < onlyKernel {
		k.call("cudaLaunchKernel", correlation, launch, launch+2*us, true)
		if to > from {
			k.work("kernel", kernels[2].name, correlation, from, to, "")
		}
	} else {
		k.call("cudaMemcpyAsync", correlation, launch, launch+3*us, true)
		k.work("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", correlation, from, from+2*us, fmt.Sprintf(`, "bytes": %d, "memory bandwidth (GB/s)": 1.0`, 8*(s.PromptTokens+s.Sequences)))
		first, last := from+7*us, to-3*us
		begin := from + 3*us
		rest := s.Dispatched - 6*us - begin
		if isGraph {
			correlation++
			k.call("cudaGraphLaunch", correlation, begin, begin+max(rest/2, us), true)
		}
		done := first
		share := int64(0)
		for i, kernel := range kernels {
			share += kernel.share
			end := first + (last-first)*share/100
			more := fmt.Sprintf(`, "grid": [%d, 1, 1], "block": [256, 1, 1]`, max(s.PromptTokens+s.Sequences, 1))
			if isGraph {
				more += fmt.Sprintf(`, "graph id": 1, "graph node id": %d`, i+1)
			} else {
				correlation++
				at := begin + rest*int64(i)/int64(len(kernels))
				k.call("cudaLaunchKernel", correlation, at, at+2*us, true)
			}
			k.work("kernel", kernel.name, correlation, done, end, more)
			done = end
		}
		correlation++
		k.call("cudaMemcpyAsync", correlation, s.Dispatched-5*us, s.Dispatched-2*us, true)
		k.work("gpu_memcpy", "Memcpy DtoH (Device -> Pinned)", correlation, to-2*us, to, fmt.Sprintf(`, "bytes": %d, "memory bandwidth (GB/s)": 0.5`, 8*max(s.NewTokens, 1)))
	}
	if to > from {
		k.add(row{ph: "X", cat: "gpu_user_annotation", name: name, pid: k.device, tid: streamID, ts: from - k.base - 1, dur: to - from + 2, args: fmt.Sprintf(`"External id": %d`, k.external)})
	}
	k.call("cudaEventSynchronize", correlation+1, s.Dispatched+us/2, max(to, s.Dispatched+us/2), false)
}
