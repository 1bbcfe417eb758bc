package summary

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"servebench/internal/numpy"
	"servebench/results"
)

// A Tool is another load generator's way to count. Only definitions that its documentation or
// source states are here; what could not be confirmed is left out, and Omits says so.
type Tool struct {
	Name, Title string
	// Source is where the definitions stand.
	Source string
	// Omits are figures of the tool that are not offered.
	Omits string
	// Percentiles are those that the tool reports, Rule how it computes them.
	Percentiles []float64
	Rule        string
	percentile  func([]weighted, float64) float64
	metrics     []toolMetric
	totals      []toolTotal
}

// weighted is one value of a metric and how much it counts.
type weighted struct{ value, weight float64 }

// toolMetric is a metric with one value, or several, a request.
type toolMetric struct {
	name, unit string
	definition string
	// differs is how it differs from ours, and why.
	differs string
	values  func(into []weighted, r *results.Record) []weighted
}

// toolTotal is a figure of the whole run.
type toolTotal struct {
	name, unit string
	definition string
	differs    string
	value      func(*toolSums) (float64, bool)
}

// toolSums is what totals are made of.
type toolSums struct {
	duration              float64 // of the load, seconds
	completed             int
	input, inputLocal     int // tokens: the server's count, the client's
	output                int
	first, last           results.Moment // of successful requests: first start, last output
	latencies             float64        // sum, seconds
	haveInput, haveOutput bool
}

// A ToolReport is a run in a tool's definitions.
type ToolReport struct {
	Tool    *Tool
	Metrics []ToolFigure
	Totals  []ToolFigure
}

// A ToolFigure is one figure in a tool's definition. A distribution has statistics, a total a value.
type ToolFigure struct {
	Name, Unit, Definition, Differs string
	// Count is 0 for a total.
	Count                 int
	Value, Mean, Min, Max float64
	Percentiles           []Percentile
}

// ToolNames are the tools that AsTool knows.
func ToolNames() []string {
	var names []string
	for i := range tools {
		names = append(names, tools[i].Name)
	}
	slices.Sort(names)
	return names
}

// AsTool counts a saved run as another tool would have. Failed requests, warm-ups and probes do not count.
func AsTool(run *results.Run, name string) (*ToolReport, error) {
	i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no definitions of %q: have %s", name, strings.Join(ToolNames(), ", "))
	}
	tool := &tools[i]
	values := make([][]weighted, len(tool.metrics))
	var sums toolSums
	if length, ok := run.Manifest().Ended.Sub(run.Manifest().Began); ok {
		sums.duration = length.Seconds()
	}
	for rec, err := range run.Records() {
		if err != nil {
			return nil, err
		}
		if rec.Kind != results.Load || !rec.OK() {
			continue
		}
		sums.add(rec)
		for j := range tool.metrics {
			values[j] = tool.metrics[j].values(values[j], rec)
		}
	}
	report := &ToolReport{Tool: tool}
	for j, m := range tool.metrics {
		if len(values[j]) == 0 {
			continue
		}
		report.Metrics = append(report.Metrics, tool.figure(m, values[j]))
	}
	for _, total := range tool.totals {
		if v, ok := total.value(&sums); ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			report.Totals = append(report.Totals, ToolFigure{Name: total.name, Unit: total.unit, Definition: total.definition, Differs: total.differs, Value: v})
		}
	}
	return report, nil
}

func (s *toolSums) add(rec *results.Record) {
	s.completed++
	if n, ok := promptTokens(rec); ok {
		s.input += n
		s.haveInput = true
	}
	s.inputLocal += max(rec.InputTokens, 0)
	if n, ok := rec.Tokens(); ok {
		s.output += n
		s.haveOutput = true
	}
	if start := rec.Dispatched; start != 0 && (s.first == 0 || start < s.first) {
		s.first = start
	}
	s.last = max(s.last, lastOutput(rec))
	if d, ok := results.E2EL(rec, results.VLLM); ok {
		s.latencies += d.Seconds()
	}
}

// span is the time from the first request to the last output, in seconds.
func (s *toolSums) span() float64 {
	length, _ := s.last.Sub(s.first)
	return length.Seconds()
}

func (t *Tool) figure(m toolMetric, values []weighted) ToolFigure {
	slices.SortFunc(values, func(a, b weighted) int { return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.weight, b.weight)) })
	f := ToolFigure{
		Name: m.name, Unit: m.unit, Definition: m.definition, Differs: m.differs, Count: len(values),
		Min: values[0].value, Max: values[len(values)-1].value,
	}
	sum, weight := 0.0, 0.0
	for _, v := range values {
		sum += v.value * v.weight
		weight += v.weight
	}
	f.Mean = sum / weight
	for _, p := range t.Percentiles {
		f.Percentiles = append(f.Percentiles, Percentile{p, t.percentile(values, p)})
	}
	return f
}

// linear interpolates between the two nearest ranks.
func linear(sorted []weighted, p float64) float64 {
	xs := make([]float64, len(sorted))
	for i, v := range sorted {
		xs[i] = v.value
	}
	return numpy.PercentileSorted(xs, p)
}

// cumulative is the smallest value whose share of the weights, with all smaller ones, reaches p.
func cumulative(sorted []weighted, p float64) float64 {
	total := 0.0
	for _, v := range sorted {
		total += v.weight
	}
	sum := 0.0
	for _, v := range sorted {
		sum += v.weight
		if sum/total >= p/100 {
			return v.value
		}
	}
	return sorted[len(sorted)-1].value
}

// indexed is the value at index n*p, cut to a whole number.
func indexed(sorted []weighted, p float64) float64 {
	return sorted[min(int(float64(len(sorted))*(p/100)), len(sorted)-1)].value
}

// seenMS is a latency from a start to the moment the client itself saw a chunk, in milliseconds.
func seenMS(c *results.Chunk, start results.Moment) (float64, bool) {
	d, ok := c.Seen(results.VLLM).Sub(start)
	return milliseconds(d), ok
}

func lastOutput(r *results.Record) results.Moment {
	if n := len(r.Chunks); n > 0 {
		return r.Chunks[n-1].Seen(results.VLLM)
	}
	return r.Done
}

// plain makes a metric of one value a request, each counting the same.
func plain(value func(*results.Record) (float64, bool)) func([]weighted, *results.Record) []weighted {
	return func(into []weighted, r *results.Record) []weighted {
		if v, ok := value(r); ok {
			into = append(into, weighted{v, 1})
		}
		return into
	}
}

// ofMetric is one of our metrics on vLLM's basis, in milliseconds.
func ofMetric(name string) func([]weighted, *results.Record) []weighted {
	m, _ := results.MetricNamed(name)
	return func(into []weighted, r *results.Record) []weighted {
		var room [64]time.Duration
		for _, d := range m.Append(room[:0], r, results.VLLM) {
			into = append(into, weighted{milliseconds(d), 1})
		}
		return into
	}
}

// firstSeen, lastSeen and between are latencies from the dispatch, without the encoding of the body.
func firstSeen(r *results.Record) (float64, bool) {
	if len(r.Chunks) == 0 {
		return 0, false
	}
	return seenMS(&r.Chunks[0], r.Dispatched)
}

func lastSeen(r *results.Record) (float64, bool) {
	d, ok := lastOutput(r).Sub(r.Dispatched)
	return milliseconds(d), ok
}

// perToken is (last output - first output) / (tokens - 1).
func perToken(r *results.Record) (float64, bool) {
	tokens, ok := r.Tokens()
	if !ok || tokens < 2 || len(r.Chunks) == 0 {
		return 0, false
	}
	span, ok := lastOutput(r).Sub(r.Chunks[0].Seen(results.VLLM))
	return milliseconds(span) / float64(tokens-1), ok
}

func secondGap(r *results.Record) (float64, bool) {
	if len(r.Chunks) < 2 {
		return 0, false
	}
	return seenMS(&r.Chunks[1], r.Chunks[0].Seen(results.VLLM))
}

const (
	fromSend = "counts from the client's send to what user space saw, connecting included; ours counts from the kernel's stamps"
	sameMean = "one mean a request; ours pools every gap, so that a stall shows"
	perSpan  = "divides by the time from the first request to the last output; ours by the whole load"
)

var tools = []Tool{
	{
		Name: "sglang", Title: "SGLang bench_serving",
		Source:      "sgl-project/sglang, python/sglang/bench_serving.py, calculate_metrics",
		Omits:       "retokenized token counts, accept length",
		Percentiles: []float64{50, 95, 99}, Rule: "linear between the two nearest ranks (NumPy)", percentile: linear,
		metrics: []toolMetric{
			{"ttft", "ms", "first event that carried output - send", fromSend, ofMetric("ttft")},
			{"tpot", "ms", "(latency - ttft) / (output tokens - 1)", "as ours, on user-space stamps", ofMetric("tpot")},
			{"itl", "ms", "each gap between events, all streams pooled", "as ours, on user-space stamps", ofMetric("itl")},
			{"e2e_latency", "ms", "last event - send", fromSend, ofMetric("e2el")},
		},
		totals: []toolTotal{
			{"request_throughput", "requests/s", "completed / duration", "as ours", func(s *toolSums) (float64, bool) { return float64(s.completed) / s.duration, true }},
			{"input_throughput", "tokens/s", "input tokens by the client's count / duration", "ours takes the server's count", func(s *toolSums) (float64, bool) {
				return float64(s.inputLocal) / s.duration, s.inputLocal > 0
			}},
			{"output_throughput", "tokens/s", "output tokens / duration", "as ours", func(s *toolSums) (float64, bool) { return float64(s.output) / s.duration, s.haveOutput }},
			{"concurrency", "requests", "sum of latencies / duration", "ends at the last event; ours at the end of the reply", func(s *toolSums) (float64, bool) {
				return s.latencies / s.duration, s.completed > 0
			}},
		},
	}, {
		Name: "aiperf", Title: "NVIDIA AIPerf",
		Source:      "ai-dynamo/aiperf, docs/metrics-reference.md",
		Omits:       "metrics of its own tokenizer, of GPUs and of time slices",
		Percentiles: []float64{50, 90, 95, 99}, Rule: "linear between the two nearest ranks (NumPy)", percentile: linear,
		metrics: []toolMetric{
			{"time_to_first_token", "ms", "first non-empty event - send, reasoning included", fromSend + "; an empty first event, which AIPerf passes over, is counted here", plain(firstSeen)},
			{"time_to_second_token", "ms", "second event - first event", "ours has no such figure", plain(secondGap)},
			{"inter_token_latency", "ms", "(request latency - ttft) / (output tokens - 1), one value a request", sameMean, plain(perToken)},
			{"inter_chunk_latency", "ms", "each gap between events, all streams pooled", "ours calls this ITL, as vLLM does", ofMetric("itl")},
			{"request_latency", "ms", "last event - send", fromSend, plain(lastSeen)},
			{"output_token_throughput_per_user", "tokens/s", "1 / inter token latency, one value a request", "ours has no such figure", plain(func(r *results.Record) (float64, bool) {
				v, ok := perToken(r)
				return 1000 / v, ok && v > 0
			})},
			{"prefill_throughput_per_user", "tokens/s", "input tokens / ttft, one value a request", "ours has no such figure", plain(func(r *results.Record) (float64, bool) {
				ttft, ok := firstSeen(r)
				tokens, known := promptTokens(r)
				return float64(tokens) * 1000 / ttft, ok && known && ttft > 0
			})},
		},
		totals: []toolTotal{
			{"request_throughput", "requests/s", "completed / (last output - first send)", perSpan, func(s *toolSums) (float64, bool) { return float64(s.completed) / s.span(), true }},
			{"output_token_throughput", "tokens/s", "output tokens / (last output - first send)", perSpan, func(s *toolSums) (float64, bool) { return float64(s.output) / s.span(), s.haveOutput }},
			{"total_token_throughput", "tokens/s", "input and output tokens / (last output - first send)", perSpan, func(s *toolSums) (float64, bool) {
				return float64(s.input+s.output) / s.span(), s.haveInput && s.haveOutput
			}},
		},
	}, {
		Name: "genai-perf", Title: "NVIDIA GenAI-Perf",
		Source:      "triton-inference-server/perf_analyzer, genai-perf: README.md (Metrics) and the parser of profile data",
		Omits:       "token counts of its own tokenizer (the server's are used)",
		Percentiles: []float64{75, 90, 99}, Rule: "linear between the two nearest ranks; the tool does not document its rule", percentile: linear,
		metrics: []toolMetric{
			{"time_to_first_token", "ms", "first non-empty event - send", fromSend + "; an empty first event, which GenAI-Perf passes over, is counted here", plain(firstSeen)},
			{"time_to_second_token", "ms", "second event - first event", "ours has no such figure", plain(secondGap)},
			{"inter_token_latency", "ms", "(request latency - ttft) / (output tokens - 1), one value a request, rounded to nanoseconds", sameMean, plain(func(r *results.Record) (float64, bool) {
				v, ok := perToken(r)
				return math.RoundToEven(v*1e6) / 1e6, ok && len(r.Chunks) > 1
			})},
			{"request_latency", "ms", "last event - send", fromSend, plain(lastSeen)},
		},
		totals: []toolTotal{
			{"request_throughput", "requests/s", "completed / (last output - first send)", perSpan, func(s *toolSums) (float64, bool) { return float64(s.completed) / s.span(), true }},
			{"output_token_throughput", "tokens/s", "output tokens / (last output - first send)", perSpan, func(s *toolSums) (float64, bool) { return float64(s.output) / s.span(), s.haveOutput }},
		},
	}, {
		Name: "guidellm", Title: "GuideLLM",
		Source:      "vllm-project/guidellm, docs/guides/metrics.md and its request statistics and benchmark metrics",
		Omits:       "rates and concurrency, which it takes from time slices",
		Percentiles: []float64{50, 90, 95, 99}, Rule: "smallest value whose cumulated weight reaches the percentile", percentile: cumulative,
		metrics: []toolMetric{
			{"time_to_first_token_ms", "ms", "first token - request start", fromSend, plain(firstSeen)},
			{"time_per_output_token_ms", "ms", "(last token - request start) / output tokens, weighted by output tokens", "includes the time to the first token; ours excludes it", func(into []weighted, r *results.Record) []weighted {
				tokens, ok := r.Tokens()
				latency, seen := lastSeen(r)
				if ok && seen {
					into = append(into, weighted{latency / float64(tokens), float64(tokens)})
				}
				return into
			}},
			{"inter_token_latency_ms", "ms", "(last token - first token) / (output tokens - 1), weighted by output tokens - 1", sameMean, func(into []weighted, r *results.Record) []weighted {
				if v, ok := perToken(r); ok {
					tokens, _ := r.Tokens()
					into = append(into, weighted{v, float64(tokens - 1)})
				}
				return into
			}},
			{"request_latency", "s", "request end - request start", "ends with the reply, not with the last event", plain(func(r *results.Record) (float64, bool) {
				d, ok := r.Done.Sub(r.Dispatched)
				return d.Seconds(), ok
			})},
		},
	}, {
		Name: "mlperf", Title: "MLPerf Inference LoadGen",
		Source:      "mlcommons/inference, loadgen/loadgen.cc and loadgen/results.cc",
		Omits:       "time per output token (its formula could not be confirmed), rates, early stopping, validity of a run",
		Percentiles: []float64{50, 90, 95, 97, 99, 99.9}, Rule: "the value at index n*p of the sorted list", percentile: indexed,
		metrics: []toolMetric{
			{"latency", "ms", "completion - scheduled time", "our response latency, but to the end of the reply", plain(func(r *results.Record) (float64, bool) {
				d, ok := r.Done.Sub(r.Due)
				return milliseconds(d), ok
			})},
			{"first_token_latency", "ms", "first token - scheduled time", "our response TTFT, on user-space stamps", plain(func(r *results.Record) (float64, bool) {
				if len(r.Chunks) == 0 {
					return 0, false
				}
				return seenMS(&r.Chunks[0], r.Due)
			})},
		},
	},
}
