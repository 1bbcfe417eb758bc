package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// metrics are the figures that /metrics shows, by the names that vLLM gives them.
type metrics struct {
	mu      sync.Mutex
	model   string
	created float64 // Unix seconds
	blocks  int
	config  string // the labels of cache_config_info

	running, waiting, used   int
	preemptions              int
	queries, hits            int
	promptTokens, newTokens  int
	success                  map[string]int
	handled                  map[string]int // by handler, method and status
	promptLength, newLength  *histogram
	iteration                *histogram
	maxNew, paramN, paramMax *histogram
	ttft, itl, tpot          *histogram
	e2e, queue, inference    *histogram
	prefill, decode          *histogram
	preempts, computed       *histogram
}

type histogram struct {
	bounds []float64
	counts []int // the last one is beyond all bounds
	sum    float64
	n      int
}

func newHistogram(bounds ...float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]int, len(bounds)+1)}
}

func (h *histogram) add(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i]++
	h.sum += v
	h.n++
}

// seconds adds a duration in nanoseconds.
func (h *histogram) seconds(ns int64) { h.add(float64(ns) / 1e9) }

func newMetrics(c Config, created int64) *metrics {
	m := &metrics{
		model: c.Model, created: float64(created) / 1e9, blocks: c.Blocks,
		success: make(map[string]int), handled: make(map[string]int),
		config: fmt.Sprintf(`block_size="%d",cache_dtype="auto",enable_prefix_caching="%s",engine="0",num_gpu_blocks="%d"`,
			c.BlockSize, pyBool(!c.NoPrefixCache), c.Blocks),
	}
	var tokens []float64
	for scale := 1.0; scale <= float64(c.MaxModelLen); scale *= 10 {
		for _, b := range []float64{1, 2, 5} {
			if b*scale <= float64(c.MaxModelLen) {
				tokens = append(tokens, b*scale)
			}
		}
	}
	between := []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	whole := []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	for _, h := range []**histogram{&m.promptLength, &m.newLength, &m.maxNew, &m.paramMax, &m.computed} {
		*h = newHistogram(tokens...)
	}
	for _, h := range []**histogram{&m.itl, &m.tpot} {
		*h = newHistogram(between...)
	}
	for _, h := range []**histogram{&m.e2e, &m.queue, &m.inference, &m.prefill, &m.decode} {
		*h = newHistogram(whole...)
	}
	m.iteration = newHistogram(1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
	m.paramN = newHistogram(1, 2, 5, 10, 20)
	m.preempts = newHistogram(1, 2, 3, 4, 5, 10, 20)
	m.ttft = newHistogram(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
	return m
}

func (m *metrics) gauges(running, waiting, used int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.waiting, m.used = running, waiting, used
}

func (m *metrics) preempted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.preemptions++
}

func (m *metrics) admitted(s *sequence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.preempted == 0 {
		m.queries += len(s.prompt)
		m.hits += s.cached
	}
}

func (m *metrics) step(tokens int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.iteration.add(float64(tokens))
}

func (m *metrics) token(s *sequence, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.max > 0 {
		m.newTokens++
	}
	if s.firstToken == 0 {
		s.firstToken = at
		m.promptTokens += len(s.prompt)
		m.ttft.seconds(at - s.arrived)
	} else {
		m.itl.seconds(at - s.lastToken)
	}
	s.lastToken = at
}

func (m *metrics) finished(s *sequence, reason string, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.success[reason]++
	m.promptLength.add(float64(len(s.prompt)))
	m.newLength.add(float64(len(s.output)))
	m.paramMax.add(float64(s.max))
	m.preempts.add(float64(s.preempted))
	m.e2e.seconds(at - s.arrived)
	if s.scheduled == 0 {
		return
	}
	m.queue.seconds(s.scheduled - s.arrived)
	m.computed.add(float64(len(s.prompt) - s.cached))
	if s.firstToken == 0 {
		return
	}
	m.inference.seconds(s.lastToken - s.scheduled)
	m.prefill.seconds(s.firstToken - s.scheduled)
	m.decode.seconds(s.lastToken - s.firstToken)
	if n := len(s.output); n > 1 {
		m.tpot.seconds((s.lastToken - s.firstToken) / int64(n-1))
	} else {
		m.tpot.add(0)
	}
}

// asked counts a request's n and its longest answer wanted.
func (m *metrics) asked(n, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paramN.add(float64(n))
	m.maxNew.add(float64(most))
}

func (m *metrics) answered(handler, method string, status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handled[fmt.Sprintf(`handler=%q,method=%q,status="%dxx"`, handler, method, status/100)]++
}

// text is the page in Prometheus's text format.
func (m *metrics) text() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := page{base: fmt.Sprintf(`model_name=%q`, m.model)}
	p.created = m.created
	p.counter("vllm:estimated_flops_per_gpu", "Floating point operations; the simulator does none.", p.labels(), 0)
	p.counter("vllm:estimated_read_bytes_per_gpu", "Bytes read from memory; the simulator reads none.", p.labels(), 0)
	p.counter("vllm:estimated_write_bytes_per_gpu", "Bytes written to memory; the simulator writes none.", p.labels(), 0)
	p.gauge("vllm:num_requests_running", "Sequences in the batch.", p.labels(), float64(m.running))
	p.gauge("vllm:num_requests_waiting", "Sequences in the queue.", p.labels(), float64(m.waiting))
	p.gauge("vllm:num_requests_waiting_by_reason", "Sequences in the queue, by what they wait for.",
		p.labels("reason", "capacity"), float64(m.waiting), p.labels("reason", "deferred"), 0)
	p.gauge("vllm:engine_sleep_state", "Whether the engine is awake.",
		p.labels("sleep_state", "awake"), 1, p.labels("sleep_state", "weights_offloaded"), 0, p.labels("sleep_state", "discard_all"), 0)
	p.gauge("vllm:kv_cache_usage_perc", "Share of the cache blocks in use, from 0 to 1.", p.labels(), float64(m.used)/float64(m.blocks))
	p.counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", p.labels(), float64(m.queries))
	p.counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", p.labels(), float64(m.hits))
	p.counter("vllm:external_prefix_cache_queries", "Prompt tokens looked up elsewhere; always 0.", p.labels(), 0)
	p.counter("vllm:external_prefix_cache_hits", "Prompt tokens found elsewhere; always 0.", p.labels(), 0)
	p.counter("vllm:mm_cache_queries", "Media items looked up; always 0.", p.labels(), 0)
	p.counter("vllm:mm_cache_hits", "Media items found; always 0.", p.labels(), 0)
	p.counter("vllm:num_preemptions", "Times that a sequence lost its place.", p.labels(), float64(m.preemptions))
	p.counter("vllm:prompt_tokens", "Prompt tokens processed.", p.labels(), float64(m.promptTokens))
	p.counter("vllm:prompt_tokens_by_source", "Prompt tokens by where they came from.",
		p.labels("source", "local_compute"), float64(m.promptTokens-min(m.hits, m.promptTokens)),
		p.labels("source", "local_cache_hit"), float64(min(m.hits, m.promptTokens)),
		p.labels("source", "external_kv_transfer"), 0)
	p.counter("vllm:prompt_tokens_cached", "Prompt tokens that were in a cache.", p.labels(), float64(m.hits))
	p.counter("vllm:prompt_tokens_cached_by_source", "Prompt tokens that were in a cache, by which.",
		p.labels("source", "device"), float64(m.hits), p.labels("source", "host"), 0, p.labels("source", "p2p"), 0,
		p.labels("source", "disk"), 0, p.labels("source", "external_unspecified"), 0)
	p.counter("vllm:generation_tokens", "Output tokens.", p.labels(), float64(m.newTokens))
	var reasons []any
	for _, r := range []string{"stop", "length", "abort", "error", "repetition"} {
		reasons = append(reasons, p.labels("finished_reason", r), float64(m.success[r]))
	}
	p.counter("vllm:request_success", "Finished sequences, by how.", reasons...)
	p.counter("vllm:admission_rejections", "Requests turned away by a queue's limit; always 0.",
		fmt.Sprintf(`model_name=%q,reason="max_num_queued_reqs"`, m.model), 0,
		fmt.Sprintf(`model_name=%q,reason="max_num_queued_tokens"`, m.model), 0)
	p.histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", m.promptLength)
	p.histogram("vllm:request_generation_tokens", "Output tokens of a request.", m.newLength)
	p.histogram("vllm:iteration_tokens_total", "Tokens in an engine step.", m.iteration)
	p.histogram("vllm:request_max_num_generation_tokens", "Longest output asked for.", m.maxNew)
	p.histogram("vllm:request_params_n", "The parameter n.", m.paramN)
	p.histogram("vllm:request_params_max_tokens", "The parameter max_tokens.", m.paramMax)
	p.histogram("vllm:time_to_first_token_seconds", "Time to the first token.", m.ttft)
	p.histogram("vllm:inter_token_latency_seconds", "Time between tokens.", m.itl)
	p.histogram("vllm:request_time_per_output_token_seconds", "A request's mean time for a token after the first.", m.tpot)
	p.histogram("vllm:e2e_request_latency_seconds", "Time from arrival to the last token.", m.e2e)
	p.histogram("vllm:request_queue_time_seconds", "Time in the queue.", m.queue)
	p.histogram("vllm:request_inference_time_seconds", "Time in the batch.", m.inference)
	p.histogram("vllm:request_prefill_time_seconds", "Time in the batch before the first token.", m.prefill)
	p.histogram("vllm:request_decode_time_seconds", "Time in the batch after the first token.", m.decode)
	p.histogram("vllm:request_num_preemptions", "Times that a request lost its place.", m.preempts)
	p.histogram("vllm:request_prefill_kv_computed_tokens", "Prompt tokens that no cache held.", m.computed)
	p.gauge("vllm:cache_config_info", "Settings of the cache.", m.config, 1)
	var handled []any
	for _, labels := range slices.Sorted(keys(m.handled)) {
		handled = append(handled, labels, float64(m.handled[labels]))
	}
	if len(handled) > 0 {
		p.counter("http_requests", "Requests by handler, method and class of status.", handled...)
	}
	return p.Bytes()
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A page is written family by family.
type page struct {
	bytes.Buffer
	base    string
	created float64
}

// labels are the labels of every family, and a further pair, in alphabetical order.
func (p *page) labels(pair ...string) string {
	all := []string{`engine="0"`, p.base}
	if len(pair) == 2 {
		all = append(all, fmt.Sprintf("%s=%q", pair[0], pair[1]))
		slices.Sort(all)
	}
	return strings.Join(all, ",")
}

func (p *page) head(name, help, kind string) {
	fmt.Fprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// gauge writes a family; series are labels and values in turn.
func (p *page) gauge(name, help string, series ...any) {
	p.head(name, help, "gauge")
	p.series(name, series)
}

func (p *page) series(name string, series []any) {
	for i := 0; i < len(series); i += 2 {
		value, ok := series[i+1].(float64)
		if !ok {
			value = float64(series[i+1].(int))
		}
		fmt.Fprintf(p, "%s{%s} %s\n", name, series[i], promFloat(value))
	}
}

func (p *page) counter(name, help string, series ...any) {
	p.head(name+"_total", help, "counter")
	p.series(name+"_total", series)
	p.head(name+"_created", help, "gauge")
	for i := 0; i < len(series); i += 2 {
		fmt.Fprintf(p, "%s_created{%s} %s\n", name, series[i], promFloat(p.created))
	}
}

func (p *page) histogram(name, help string, h *histogram) {
	p.head(name, help, "histogram")
	total := 0
	for i, n := range h.counts {
		total += n
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = promFloat(h.bounds[i])
		}
		fmt.Fprintf(p, "%s_bucket{%s} %s\n", name, p.labels("le", bound), promFloat(float64(total)))
	}
	fmt.Fprintf(p, "%s_count{%s} %s\n%s_sum{%s} %s\n", name, p.labels(), promFloat(float64(h.n)), name, p.labels(), promFloat(h.sum))
	p.head(name+"_created", help, "gauge")
	fmt.Fprintf(p, "%s_created{%s} %s\n", name, p.labels(), promFloat(p.created))
}

// promFloat writes a number the way Python's Prometheus client does: Python's shortest form, with an exponent from seven
// digits before the point on.
func promFloat(v float64) string {
	s := pyFloat(v)
	if dot := strings.IndexByte(s, '.'); v > 0 && dot > 6 && !strings.ContainsAny(s, "e") {
		mantissa := strings.TrimRight(s[:1]+"."+s[1:dot]+s[dot+1:], "0.")
		return mantissa + "e+0" + strconv.Itoa(dot-1)
	}
	return s
}

// pyFloat is Python's repr of a float.
func pyFloat(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if v != 0 && (v < 1e-4 && v > -1e-4 || v >= 1e16 || v <= -1e16) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	if !strings.ContainsRune(s, '.') {
		s += ".0"
	}
	return s
}

func pyBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
