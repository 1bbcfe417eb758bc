package sim

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// gaudiWriter writes one Gaudi worker's rows.
type gaudiWriter struct {
	rowWriter
	cfg      *Config
	base     int64
	pid      int
	handle   int
	compiled int
}

// pair writes a begin and its end.
func (g *gaudiWriter) pair(cat, name string, pid, tid int, from, to int64, args string) {
	g.add(row{ph: "B", cat: cat, name: name, pid: pid, tid: tid, ts: from - g.base, args: args})
	g.add(row{ph: "E", cat: cat, name: name, pid: pid, tid: tid, ts: to - g.base})
}

// vllm writes one of the plugin's own rows, which have no category and a fixed order of keys.
func (g *gaudiWriter) vllm(tid int, name string, from, to int64) {
	g.raw(fmt.Sprintf(`{"pid": %d, "tid": %d, "ph": "X", "name": %s, "ts": %s, "dur": %s, "args": null}`, g.pid, tid, quoted(name), micros(from-g.base), micros(to-from)))
}

func (g *gaudiWriter) counter(at int64, series string) {
	g.raw(fmt.Sprintf(`{"pid": %d, "tid": 1, "ph": "C", "name": "utils", "ts": %s, "args": {%s}}`, g.pid, micros(at-g.base), series))
}

func (g *gaudiWriter) raw(text string) {
	if g.err != nil {
		return
	}
	if g.n > 0 {
		text = g.sep + text
	}
	g.n++
	_, g.err = io.WriteString(g.w, text)
}

func (p *profiler) writeGaudi(w io.Writer, t *session, rank int) error {
	c := &p.cfg
	base := baseOf(t.began)
	g := &gaudiWriter{rowWriter: rowWriter{w: w, style: sorted, sep: ", "}, cfg: c, base: base, pid: os.Getpid() + 1 + rank}
	fmt.Fprintf(w, `{"baseTimeNanoseconds": %d, "deviceProperties": [{"name": "HPU", "totalGlobalMem": 137438953472}], "displayTimeUnit": "ms", `, base)
	fmt.Fprintf(w, `"distributedInfo": {"backend": "hccl", "pg_config": [{"backend_config": "hpu:hccl", "pg_desc": "default_pg", "pg_name": "0", "pg_size": %d, "ranks": %s}], "pg_count": 1, "rank": %d, "world_size": %d}, `, c.Ranks, ranks(c.Ranks), rank, c.Ranks)
	fmt.Fprintf(w, `"schemaVersion": 1, "traceEvents": [`)

	began := t.began - base
	meta := func(pid, tid any, name, args string) {
		g.add(row{ph: "M", name: name, pid: pid, tid: tid, ts: began, args: args})
	}
	process := func(pid int, name string) { meta(pid, 0, "process_name", `"name": `+quoted(name)) }
	process(g.pid, "VLLM::EngineCore")
	meta(g.pid, 0, "process_labels", `"labels": "CPU"`)
	meta(g.pid, g.pid, "thread_name", fmt.Sprintf(`"name": "thread %d (VLLM::EngineCor)"`, g.pid))
	process(g.pid+10_000, "Synapse Logger")
	process(g.pid+20_000, "Bridge Logs")
	if c.HardwareTrace {
		process(0, "/device:HPU:0")
		for _, lane := range lanes {
			meta(0, lane.tid, "thread_name", `"name": `+quoted(lane.name))
		}
	}
	g.torch(t)
	g.add(row{ph: "X", cat: "Trace", name: "PyTorch Profiler (0)", pid: "Spans", tid: "PyTorch Profiler", ts: began, dur: t.ended - t.began, args: `"Op count": 0`})
	g.add(row{ph: "i", scope: "g", name: "Iteration Start: PyTorch Profiler", pid: "Traces", tid: "Trace PyTorch Profiler", ts: began})
	g.add(row{ph: "i", scope: "g", name: "Record Window End", pid: "", tid: "", ts: p.clock.now() - base})
	g.bridge(t)
	g.plugin(append(append([]Step{}, p.earlier...), t.steps...), rank == 0)
	g.raw(`{"args": {"name": "vLLM"}, "name": "process_name", "ph": "M", "pid": 1}`)
	if g.err != nil {
		return g.err
	}
	_, err := fmt.Fprintf(w, `], "traceName": "/tmp/tmp%08x.json", "trace_id": "%s"}`, uint32(mix(uint64(t.number))), p.traceID(t, rank))
	return err
}

// torch writes what PyTorch itself recorded: ops of the main thread.
func (g *gaudiWriter) torch(t *session) {
	for i := range t.steps {
		s := &t.steps[i]
		op := func(name string, from, to int64) {
			g.add(row{ph: "X", cat: "cpu_op", name: name, pid: g.pid, tid: g.pid, ts: from - g.base, dur: to - from, args: fmt.Sprintf(`"Ev Idx": %d, "External id": %d`, i, i+1)})
		}
		if s.turn > 0 && s.turn < s.Began && g.isFirst(t, i) {
			op("aten::_to_copy", s.turn+(s.Began-s.turn)/4, s.Began-(s.Began-s.turn)/4)
		}
		op("hpu::linear", s.inside(10), s.inside(60))
	}
}

// isFirst says that the step is the first of its iteration, isLast the opposite.
func (g *gaudiWriter) isFirst(t *session, i int) bool {
	return i == 0 || t.steps[i-1].Iteration != t.steps[i].Iteration
}

func (g *gaudiWriter) isLast(t *session, i int) bool {
	return i+1 == len(t.steps) || t.steps[i+1].Iteration != t.steps[i].Iteration
}

// inside is the moment when so many percent of the step's time on the host, compiling apart, are over.
func (s *Step) inside(percent int64) int64 {
	at := s.Began + (s.Dispatched-s.Began-int64(s.Compile))*percent/100
	if percent > 5 {
		at += int64(s.Compile)
	}
	return at
}

// lanes are the device's engines that a hardware trace shows, with their shares of a step's time in percent.
var lanes = []struct {
	name, op string
	tid      int
	from, to int64
}{
	{"[HD0] MME", "gemm", 1000, 5, 80},
	{"[HD0] TPC 0", "layer_norm_fwd", 2000, 0, 30},
	{"[HD0] TPC 1", "softmax", 2001, 60, 100},
	{"[D0] SPDMA 0", "memcpy_hbm", 3000, 0, 10},
}

// bridge writes the bridge's and the Synapse API's rows, from which the device's work can be told when no hardware
// trace was taken: a launch, an event recorded behind it, and a waiting thread that learns when it is done.
func (g *gaudiWriter) bridge(t *session) {
	const compute, copies = "STREAM_TYPE_COMPUTE", "STREAM_TYPE_COPY_DEVICE_TO_HOST"
	logger, thread := g.pid+10_000, g.pid
	free := make(map[int]int64)
	wait := func(from, to int64, stream string, waiter int) {
		g.handle++
		args := fmt.Sprintf(`"eventHandle": "0x%x", "streamHandle": "0x%x", "streamName": "%s"`, 0x1000+g.handle%64*16, 0x100+waiter*16, stream)
		name := "synLaunchWithExternalEvents"
		if stream != compute {
			name = "synMemCopyAsync"
		}
		tick := (to - from) / 100
		g.pair("Runtime", name, logger, thread, from, from+min(10_000, 30*tick), args)
		g.pair("Runtime", "synEventRecord", logger, thread, from+min(10_500, 31*tick), from+min(11_500, 33*tick), args)
		// A waiting thread waits for one thing at a time.
		begin := max(from+min(12_000, 35*tick), free[waiter])
		g.pair("Runtime", "synEventSynchronize", logger, thread+waiter, begin, max(to, begin), args)
		free[waiter] = max(to, begin)
	}
	for i := range t.steps {
		s := &t.steps[i]
		launch := max(s.Dispatched-12_000, s.inside(90))
		g.pair("Runtime", "SyncTensorsGraphInternal", g.pid+20_000, thread, launch-min(2000, (launch-s.Began)/2), s.Dispatched, "")
		wait(launch, s.DeviceEnded, compute, 1)
		if g.isLast(t, i) {
			copied := max(s.Dispatched+1000, s.DeviceEnded-1000)
			g.pair("Runtime", "copy_hpu_lazy_D2H", g.pid+20_000, thread, s.Dispatched, max(s.DeviceEnded, s.Dispatched), "")
			wait(min(copied, s.DeviceEnded), max(s.DeviceEnded, copied), copies, 2)
		}
		if g.cfg.HardwareTrace {
			g.hardware(s)
		}
	}
}

func (g *gaudiWriter) hardware(s *Step) {
	length := s.DeviceEnded - s.DeviceBegan
	for _, lane := range lanes {
		cat := "Kernel"
		if strings.Contains(lane.name, "DMA") {
			cat = "Memcpy"
		}
		from, to := s.DeviceBegan+length*lane.from/100, s.DeviceBegan+length*lane.to/100
		if to > from {
			g.add(row{
				ph: "X", cat: cat, name: lane.op, pid: 0, tid: lane.tid, ts: from - g.base, dur: to - from,
				args: fmt.Sprintf(`"dataType": "bf16", "device": 0, "eventHandle": "0x0", "recipeId": %d, "recipeName": "%s", "streamHandle": "0x110"`, s.Number, s.recipe()),
			})
		}
	}
}

func (s *Step) recipe() string {
	return fmt.Sprintf("%s_bs%d_seq%d_ctx%d", s.Phase, s.Bucket.Batch, s.Bucket.Seq, s.Bucket.Blocks)
}

// plugin writes the plugin's own events, in the order in which they were completed. Nothing empties its queue when the profiler starts,
// so the steps of the first file begin with the server. Ranks other than the first have neither phases nor counters.
func (g *gaudiWriter) plugin(steps []Step, isDriver bool) {
	c := g.cfg
	if isDriver {
		g.counter(g.start(steps), fmt.Sprintf(`"const_cache_num_blocks": %d, "const_gpu_memory_utilization": 0.9, "const_block_size": %d`, c.Blocks, c.BlockSize))
	}
	all := &session{steps: steps}
	for i := range steps {
		s := &steps[i]
		if g.isFirst(all, i) && s.turn > 0 && s.turn < s.Began {
			g.vllm(3, "prepare_input_tensors", s.turn, s.Began)
		}
		shape := fmt.Sprintf("bs%d_seq%d_ctx%d", s.Bucket.Batch, s.Bucket.Seq, s.Bucket.Blocks)
		forward := s.inside(2)
		if s.Compile > 0 {
			g.compiled++
			if !c.NoCompileRows && isDriver {
				g.vllm(3, "GRAPH COMPILE: "+s.recipe(), forward, forward+int64(s.Compile))
				g.counter(forward, fmt.Sprintf(`"cumulative_graph_compilations": %d`, g.compiled))
			}
		}
		name := "model_forward_" + shape + "_graphsT"
		if !isDriver {
			name = "model_executable"
		}
		g.vllm(3, name, forward, s.inside(75))
		g.vllm(3, fmt.Sprintf("compute_logits%d_seq%d_ctx%d", s.Bucket.Batch, s.Bucket.Seq, s.Bucket.Blocks), s.inside(76), s.inside(85))
		g.vllm(3, "sampler", s.inside(86), s.inside(98))
		if isDriver {
			g.vllm(3, s.Phase, s.Began, s.Dispatched)
			g.counter(max(s.Began-3000, s.turn), g.utils(s))
		}
		if g.isLast(all, i) {
			g.vllm(3, "sampler_postprocessing", s.Dispatched, max(s.Ended, s.Dispatched))
		}
	}
}

func (g *gaudiWriter) start(steps []Step) int64 {
	if len(steps) > 0 {
		return steps[0].turnBegan()
	}
	return g.base
}

// utils is the counter of one step.
func (g *gaudiWriter) utils(s *Step) string {
	phase, tokens := "prompt", s.PromptTokens
	batch, longest := s.Prompts, s.Longest
	if s.Phase == Decode {
		phase, tokens, batch, longest = "decode", s.decodeLen, s.Sequences, s.context
	}
	seconds := float64(max(s.DeviceEnded-s.Began, 1)) / 1e9
	var b strings.Builder
	add := func(key string, v float64) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"%s": %s`, key, pyFloat(v))
	}
	count := func(key string, v int) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `"%s": %d`, key, v)
	}
	count(phase+"_bucket_batch_size", s.Bucket.Batch)
	count(phase+"_batch_size", batch)
	count(phase+"_bucket_seq_len", s.Bucket.Seq)
	count(phase+"_bucket_ctx_blocks", s.Bucket.Blocks)
	count(phase+"_seq_len", longest)
	count(phase+"_ctx_len", s.context-s.Longest)
	add(phase+"_bucket_gen_throughput", float64(s.Bucket.Batch)/seconds)
	add(phase+"_real_gen_throughput", float64(batch)/seconds)
	add(phase+"_batch_token_utilization", float64(tokens)/float64(s.Bucket.Batch*s.Bucket.Seq))
	add(phase+"_batch_block_utilization", float64(s.Blocks)/float64(max(s.Bucket.Blocks, 1)))
	add("average_real_throughput", float64(s.NewTokens)/seconds)
	count("engine_iteration", s.Number)
	if phase == "prompt" {
		add("prompt_bucket_in_throughput", float64(s.Bucket.Batch*s.Bucket.Seq)/seconds)
		add("prompt_real_in_throughput", float64(tokens)/seconds)
	}
	used := s.Blocks
	if phase == "prompt" {
		used = s.used
	}
	count("cache_num_blocks_used", used)
	count("cache_num_free_blocks", s.capacity-s.used)
	add("cache_computed_utilization", float64(s.used)/float64(s.capacity))
	return b.String()
}
