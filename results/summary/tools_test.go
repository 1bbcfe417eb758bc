package summary

import (
	"math"
	"strings"
	"testing"

	"servebench/results"
)

// savedRun keeps three requests: of 3 tokens with gaps of 10 ms, of 5 tokens with gaps of 20 ms, and one that failed.
func savedRun(t *testing.T) *results.Run {
	t.Helper()
	dir := t.TempDir()
	w, err := results.Create(dir, *manifest())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []*results.Record{
		reply(0, 0, 99*ms, 10*ms, 3), reply(1, 1000*ms, 199*ms, 20*ms, 5), failure(2, 0, results.FailCut, "x"),
	} {
		rec.Encoding = ms
		for i := range rec.Chunks {
			rec.Chunks[i].Lag = 0
		}
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Close() })
	return run
}

func TestTools(t *testing.T) {
	run := savedRun(t)
	// Sent at 0 and 1000 ms, first output after 100 and 200 ms, last after 120 and 280 ms, replies over a millisecond later.
	for _, tc := range []struct {
		tool, figure string
		mean, p99    float64
	}{
		{"sglang", "ttft", 151, 200}, // the encoding of 1 ms included
		{"sglang", "itl", 100.0 / 6, 20},
		{"sglang", "tpot", 15, 19.9},
		{"sglang", "e2e_latency", 201, 279.4},
		{"aiperf", "time_to_first_token", 150, 199},
		{"aiperf", "inter_token_latency", 15, 19.9},
		{"aiperf", "inter_chunk_latency", 100.0 / 6, 20},
		{"aiperf", "time_to_second_token", 15, 19.9},
		{"aiperf", "request_latency", 200, 278.4},
		{"aiperf", "output_token_throughput_per_user", 75, 99.5},
		{"aiperf", "prefill_throughput_per_user", 90, 119.4},
		{"genai-perf", "inter_token_latency", 15, 19.9},
		{"genai-perf", "request_latency", 200, 278.4},
		{"guidellm", "time_to_first_token_ms", 150, 200},
		{"guidellm", "time_per_output_token_ms", (40*3 + 56*5) / 8.0, 56},
		{"guidellm", "inter_token_latency_ms", (10*2 + 20*4) / 6.0, 20},
		{"guidellm", "request_latency", 0.201, 0.281},
		{"mlperf", "latency", 201, 281},
		{"mlperf", "first_token_latency", 150, 200},
	} {
		report, err := AsTool(run, tc.tool)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range report.Metrics {
			if f.Name != tc.figure {
				continue
			}
			found = true
			p99 := math.NaN()
			for _, p := range f.Percentiles {
				if p.P == 99 {
					p99 = p.Value
				}
			}
			if math.Abs(f.Mean-tc.mean) > 1e-9 || math.Abs(p99-tc.p99) > 1e-9 {
				t.Errorf("%s %s: mean %v, p99 %v; want %v, %v", tc.tool, tc.figure, f.Mean, p99, tc.mean, tc.p99)
			}
		}
		if !found {
			t.Errorf("%s has no %s", tc.tool, tc.figure)
		}
	}
	for _, tc := range []struct {
		tool, figure string
		want         float64
	}{
		{"sglang", "request_throughput", 0.5}, {"sglang", "input_throughput", 5}, {"sglang", "output_throughput", 2},
		{"sglang", "concurrency", 0.402 / 4}, {"aiperf", "request_throughput", 2 / 1.28}, {"aiperf", "output_token_throughput", 8 / 1.28},
		{"aiperf", "total_token_throughput", 32 / 1.28}, {"genai-perf", "output_token_throughput", 8 / 1.28},
	} {
		report, err := AsTool(run, tc.tool)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range report.Totals {
			if f.Name == tc.figure {
				found = true
				if math.Abs(f.Value-tc.want) > 1e-9 {
					t.Errorf("%s %s = %v, want %v", tc.tool, tc.figure, f.Value, tc.want)
				}
			}
		}
		if !found {
			t.Errorf("%s has no %s", tc.tool, tc.figure)
		}
	}
	if _, err := AsTool(run, "ab"); err == nil || !strings.Contains(err.Error(), "have aiperf, genai-perf, guidellm, mlperf, sglang") {
		t.Errorf("an unknown tool: %v", err)
	}
}

func TestToolsAreDocumented(t *testing.T) {
	for _, tool := range tools {
		if tool.Title == "" || tool.Source == "" || tool.Omits == "" || tool.Rule == "" || len(tool.Percentiles) == 0 {
			t.Errorf("%s lacks a part of its description", tool.Name)
		}
		for _, m := range tool.metrics {
			if m.unit == "" || m.definition == "" || m.differs == "" {
				t.Errorf("%s %s lacks a part of its definition", tool.Name, m.name)
			}
		}
		for _, m := range tool.totals {
			if m.unit == "" || m.definition == "" || m.differs == "" {
				t.Errorf("%s %s lacks a part of its definition", tool.Name, m.name)
			}
		}
	}
}

func TestWeightedPercentile(t *testing.T) {
	values := []weighted{{10, 2}, {20, 4}}
	for p, want := range map[float64]float64{0: 10, 33: 10, 34: 20, 100: 20} {
		if got := cumulative(values, p); got != want {
			t.Errorf("p%v = %v, want %v", p, got, want)
		}
	}
	for p, want := range map[float64]float64{0: 10, 49: 10, 50: 20, 100: 20} {
		if got := indexed(values, p); got != want {
			t.Errorf("index of p%v gives %v, want %v", p, got, want)
		}
	}
}

func TestOtherBasisOfASavedRun(t *testing.T) {
	s, err := OfRunFrom(savedRun(t), results.VLLM)
	if err != nil {
		t.Fatal(err)
	}
	if s.Basis != results.VLLM || math.Abs(s.VLLM.Stats["ttft"].Mean-151) > 1e-9 {
		t.Errorf("from %s: TTFT %v, want 151", s.Basis, s.VLLM.Stats["ttft"].Mean)
	}
}
