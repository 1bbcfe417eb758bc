package report

import (
	"bytes"
	"strings"
	"testing"

	"servebench/results"
)

func TestAs(t *testing.T) {
	m, recs := sample(nil)
	dir := t.TempDir()
	w, err := results.Create(dir, *m)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
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
	defer run.Close()
	if got := strings.Join(Tools(), " "); got != "aiperf genai-perf guidellm mlperf sglang vllm" {
		t.Errorf("tools are %s", got)
	}
	for tool, wants := range map[string][]string{
		"vllm":       {"Mean TTFT (ms):                          106.05    \n", "Peak concurrent requests      requests that touch a second"},
		"sglang":     {"ttft         ms      118  106.045", "concurrency         requests"},
		"aiperf":     {"inter_chunk_latency               ms          354   10.000", "request_throughput       requests/s"},
		"genai-perf": {"request_latency       ms      118  136.045"},
		"guidellm":   {"time_per_output_token_ms  ms      118   34.011"},
		"mlperf":     {"latency              ms      118  147.015"},
	} {
		var out bytes.Buffer
		if err := As(&out, run, tool); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", tool, want, out.String())
			}
		}
		if err := As(&full{100}, run, tool); err == nil {
			t.Errorf("%s on a full disk: no error", tool)
		}
	}
	if err := As(&bytes.Buffer{}, run, "abc"); err == nil {
		t.Error("an unknown tool went through")
	}
}
