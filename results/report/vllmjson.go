package report

import (
	"strconv"

	"servebench/internal/python"
	"servebench/results/summary"
)

// An object is a Python dict: a key that is set again keeps its place.
type object struct {
	keys   []string
	values map[string][]byte
}

func (o *object) set(key string, value []byte) {
	if o.values == nil {
		o.values = map[string][]byte{}
	}
	if _, known := o.values[key]; !known {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

func (o *object) str(key, v string)     { o.set(key, python.AppendString(nil, v)) }
func (o *object) int(key string, v int) { o.set(key, strconv.AppendInt(nil, int64(v), 10)) }
func (o *object) null(key string)       { o.set(key, []byte("null")) }
func (o *object) float(key string, v float64) {
	o.set(key, python.AppendFloat(nil, v))
}

func (o *object) text(key, v string) {
	if v == "" {
		o.null(key)
		return
	}
	o.str(key, v)
}

// append appends the object with Python's separators.
func (o *object) append(b []byte) []byte {
	b = append(b, '{')
	for i, key := range o.keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = python.AppendString(b, key)
		b = append(b, ": "...)
		b = append(b, o.values[key]...)
	}
	return append(b, '}')
}

// list appends one value for each output.
func list(outputs []summary.Output, value func([]byte, *summary.Output) []byte) []byte {
	b := []byte{'['}
	for i := range outputs {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = value(b, &outputs[i])
	}
	return append(b, ']')
}

func floats(b []byte, xs []float64) []byte {
	b = append(b, '[')
	for i, x := range xs {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = python.AppendFloat(b, x)
	}
	return append(b, ']')
}

func floatOrNull(b []byte, f *float64) []byte {
	if f == nil {
		return append(b, "null"...)
	}
	return python.AppendFloat(b, *f)
}

// VLLMJSON is vLLM's result file: one object on one line, without a line's end.
func VLLMJSON(s *summary.Summary) []byte { return resultObject(s).append(nil) }

func resultObject(s *summary.Summary) *object {
	o := &object{}
	set := &s.Manifest.Settings
	o.str("date", set.Date)
	o.str("endpoint_type", set.Backend)
	o.str("backend", set.Backend)
	o.text("label", set.Label)
	o.str("model_id", set.ModelID)
	o.text("tokenizer_id", set.Tokenizer)
	o.int("num_prompts", set.NumPrompts)
	for _, pair := range set.Metadata {
		o.str(pair.Key, pair.Value)
	}
	if set.RequestRate.Infinite() {
		o.str("request_rate", "inf")
	} else {
		o.float("request_rate", float64(set.RequestRate))
	}
	o.float("burstiness", float64(set.Burstiness))
	if set.MaxConcurrency > 0 {
		o.int("max_concurrency", set.MaxConcurrency)
	} else {
		o.null("max_concurrency")
	}
	if r := set.RampUp; r != nil {
		o.str("ramp_up_strategy", r.Strategy)
		o.int("ramp_up_start_rps", r.StartRPS)
		o.int("ramp_up_end_rps", r.EndRPS)
	}
	resultPart(o, s)
	return o
}

// resultPart is what was measured.
func resultPart(o *object, s *summary.Summary) {
	set := &s.Manifest.Settings
	if set.Pooling {
		poolingResult(o, s)
	} else {
		generationResult(o, s)
	}
	if p := s.Probes; p != nil {
		o.int("probe_completed", p.Completed)
		o.int("probe_failed", p.Failed)
		o.float("probe_median_e2el_ms", p.Median)
		o.float("probe_p99_e2el_ms", p.P99)
		o.float("probe_max_e2el_ms", p.Max)
	}
	if set.RampUp != nil {
		b := []byte{'['}
		for i, change := range s.Manifest.RateChanges {
			if i > 0 {
				b = append(b, ", "...)
			}
			var step object
			step.int("rps", change.RPS)
			step.str("timestamp", change.Timestamp)
			b = step.append(b)
		}
		o.set("rps_change_events", append(b, ']'))
	}
	if d := s.Spec; d != nil {
		o.float("spec_decode_acceptance_rate", d.AcceptanceRate)
		o.float("spec_decode_acceptance_length", d.AcceptanceLength)
		o.int("spec_decode_num_drafts", d.Drafts)
		o.int("spec_decode_draft_tokens", d.DraftTokens)
		o.int("spec_decode_accepted_tokens", d.AcceptedTokens)
		o.set("spec_decode_per_position_acceptance_rates", floats(nil, d.PerPosition))
	}
	if d := s.Diffusion; d != nil {
		o.float("diffusion_committed_throughput", d.CommittedThroughput)
		o.float("diffusion_steps_per_canvas", d.StepsPerCanvas)
		o.float("diffusion_committed_per_step", d.CommittedPerStep)
		o.int("diffusion_committed_tokens", d.CommittedTokens)
		o.int("diffusion_denoising_steps", d.DenoisingSteps)
		o.int("diffusion_canvas_positions", d.CanvasPositions)
	}
	for _, m := range tableMetrics(set) {
		stat := s.VLLM.Stats[m.Name]
		o.float("mean_"+m.Name+"_ms", stat.Mean)
		o.float("median_"+m.Name+"_ms", stat.Median)
		o.float("std_"+m.Name+"_ms", stat.Std)
		for _, p := range stat.Percentiles {
			o.float("p"+percentileName(p.P)+"_"+m.Name+"_ms", p.Value)
		}
	}
}

func generationResult(o *object, s *summary.Summary) {
	v, outputs := s.VLLM, s.Outputs
	// A run too long to keep has no lists; empty ones would be a lie.
	listed := outputs != nil || v.Completed+v.Failed == 0
	detailed := listed && s.Manifest.Settings.Detailed
	o.float("duration", v.Duration)
	o.int("completed", v.Completed)
	o.int("failed", v.Failed)
	o.int("total_input_tokens", v.TotalInput)
	o.int("total_output_tokens", v.TotalOutput)
	o.float("request_throughput", v.RequestThroughput)
	if len(s.Manifest.Settings.Goodput) > 0 {
		o.float("request_goodput", v.Goodput)
	} else {
		o.null("request_goodput")
	}
	o.float("output_throughput", v.OutputThroughput)
	o.float("total_token_throughput", v.TotalTokenThroughput)
	if detailed {
		o.set("input_lens", list(outputs, appendPromptLen))
		o.set("output_lens", python.AppendInts(nil, v.OutputLens))
		o.set("ttfts", list(outputs, func(b []byte, out *summary.Output) []byte { return python.AppendFloat(b, out.TTFT) }))
		o.set("itls", list(outputs, func(b []byte, out *summary.Output) []byte { return floats(b, out.ITL) }))
	}
	if listed {
		o.set("latencies", list(outputs, appendLatency))
	}
	if detailed {
		o.set("start_times", list(outputs, func(b []byte, out *summary.Output) []byte { return python.AppendFloat(b, out.Start) }))
	}
	if listed {
		o.set("queue_times", list(outputs, appendQueueTime))
	}
	if detailed {
		o.set("generated_texts", list(outputs, func(b []byte, out *summary.Output) []byte { return python.AppendString(b, out.Text) }))
		o.set("errors", list(outputs, appendError))
	}
	o.float("max_output_tokens_per_s", v.PeakTokens)
	o.int("max_concurrent_requests", v.PeakConcurrent)
	o.float("rtfx", v.RTFx)
	if detailed && hasServerTimings(outputs) {
		o.set("server_queue_times", list(outputs, func(b []byte, out *summary.Output) []byte { return floatOrNull(b, out.ServerQueue) }))
		o.set("server_ttfts", list(outputs, func(b []byte, out *summary.Output) []byte { return floatOrNull(b, out.ServerTTFT) }))
	}
}

func poolingResult(o *object, s *summary.Summary) {
	v, outputs := s.VLLM, s.Outputs
	listed := outputs != nil || v.Completed+v.Failed == 0
	detailed := listed && s.Manifest.Settings.Detailed
	o.float("duration", v.Duration)
	o.int("completed", v.Completed)
	o.int("total_input_tokens", v.TotalInput)
	o.int("total_input_sequences", v.InputSequences)
	o.float("request_throughput", v.RequestThroughput)
	o.float("input_sequence_throughput", v.SequenceThroughput)
	o.float("total_token_throughput", v.TotalTokenThroughput)
	if detailed {
		o.set("input_lens", list(outputs, appendPromptLen))
	}
	if listed {
		o.set("latencies", list(outputs, appendLatency))
		o.set("queue_times", list(outputs, appendQueueTime))
	}
	if detailed {
		o.set("errors", list(outputs, appendError))
	}
}

func appendPromptLen(b []byte, o *summary.Output) []byte {
	return strconv.AppendInt(b, int64(o.PromptLen), 10)
}
func appendLatency(b []byte, o *summary.Output) []byte   { return python.AppendFloat(b, o.Latency) }
func appendQueueTime(b []byte, o *summary.Output) []byte { return python.AppendFloat(b, o.QueueTime) }
func appendError(b []byte, o *summary.Output) []byte     { return python.AppendString(b, o.Error) }

func hasServerTimings(outputs []summary.Output) bool {
	for i := range outputs {
		if outputs[i].ServerQueue != nil || outputs[i].ServerTTFT != nil {
			return true
		}
	}
	return false
}
