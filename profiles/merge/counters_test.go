package merge

import (
	"slices"
	"testing"
	"time"

	"servebench/results"
)

// TestStepsOfAGaudi takes the numbers of requests from counters, which stand a little before their steps.
func TestStepsOfAGaudi(t *testing.T) {
	path := small(t, "vllm.1790857026103000000.pt.trace.json", `{`+based+`"traceEvents": [
{"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": 2000.000, "dur": 101000.000},
{"ph": "C", "name": "utils", "pid": 1, "tid": 1, "ts": 11995.5, "args": {"prompt_bucket_batch_size": 2, "prompt_batch_size": 1, "prompt_bucket_seq_len": 128, "prompt_batch_token_utilization": 0.03125}},
{"ph": "C", "name": "utils", "pid": 1, "tid": 1, "ts": 21990.25, "args": {"decode_batch_size": 1.0, "decode_bucket_batch_size": 4, "engine_iteration": 2}},
{"ph": "C", "name": "utils", "pid": 1, "tid": 1, "ts": 22000, "args": {"cumulative_graph_compilations": 3}},
{"ph": "C", "name": "utils", "pid": 1, "tid": 1, "ts": 41000, "args": {"prompt_batch_size": "many"}},
{"ph": "X", "name": "prefill", "pid": 7, "tid": 3, "ts": 12000, "dur": 8000, "args": null},
{"ph": "X", "name": "decode", "pid": 7, "tid": 3, "ts": 22000, "dur": 3000, "args": null}
]}`)
	unknown := Step{Prompts: -1, PromptTokens: -1, Decodes: -1, DecodeTokens: -1}
	prefill, decode, late := unknown, unknown, unknown
	prefill.Phase, prefill.Start, prefill.End = Prefill, 12*msec, 20*msec
	decode.Phase, decode.Start, decode.End = Decode, 22*msec, 25*msec
	late.Phase, late.Start, late.End = Decode, 27*msec, 28*msec // whose sample is missing
	in := Input{Traces: []Trace{{Path: path}}, Records: slices.Values([]*results.Record{sent(0, 10, 21, 26)}), Marks: called(0, 4, 101, 900), Steps: []Step{decode, prefill, late}, SameHost: true}
	j, err := join(&in)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][4]int{{1, 8, 0, 0}, {0, 0, 1, 1}, {-1, -1, -1, -1}} {
		s := j.all[i]
		if got := [4]int{s.Prompts, s.PromptTokens, s.Decodes, s.DecodeTokens}; got != want {
			t.Errorf("step %d holds %v; want %v", i, got, want)
		}
	}
	if got, want := words(j.links), "0>1"; got != want {
		t.Errorf("linked %s; want %s", got, want)
	}
	if in.Steps[0].Phase != Prefill {
		t.Error("the steps were not sorted")
	}
	if d := j.compare(); d.Requests[0].Return != time.Millisecond || d.StepsPerToken != 0 {
		t.Errorf("%+v; want 1 ms back, and no steps per token where a count is missing", d)
	}
}
