package server

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func page(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	return body
}

func TestMetricsOfARealServer(t *testing.T) {
	target, _ := replay(t, map[string]string{"GET /metrics": "metrics-after.response"})
	ticks := int64(0)
	target.Clock = func() int64 { ticks += 1000; return ticks }
	m, err := target.Scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Before != 1000 || m.After != 2000 {
		t.Errorf("stamped %d and %d; want 1000 and 2000", m.Before, m.After)
	}
	if !bytes.Equal(m.Page, page(t, "metrics-after.response")) {
		t.Error("the raw page is not what the server sent")
	}
	for _, tc := range []struct {
		name string
		get  func() (float64, bool)
		want float64
	}{
		{"running", m.Running, 0},
		{"waiting", m.Waiting, 0},
		{"prompt tokens", m.PromptTokens, 4631},
		{"generation tokens", m.GenerationTokens, 1100},
		{"preemptions", m.Preemptions, 0},
		{"KV cache", m.KVCacheUsage, 0},
		{"one reason", func() (float64, bool) {
			return m.Value("vllm:num_requests_waiting_by_reason", map[string]string{"reason": "capacity"})
		}, 0},
	} {
		if got, ok := tc.get(); got != tc.want || !ok {
			t.Errorf("%s = %v, %t; want %v", tc.name, got, ok, tc.want)
		}
	}
	if queries, hits, ok := m.PrefixCache(); queries != 4631 || hits != 0 || !ok {
		t.Errorf("PrefixCache() = %v, %v, %t", queries, hits, ok)
	}
	if _, ok := m.Value("vllm:no_such", nil); ok {
		t.Error("a metric that is not there has a value")
	}
	if _, ok := m.Value("vllm:prompt_tokens", map[string]string{"model_name": "other"}); ok {
		t.Error("a series of another model was taken")
	}
}

func TestHistogramBetweenTwoReadings(t *testing.T) {
	before, err := ParseMetrics(page(t, "metrics-before.response"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := ParseMetrics(page(t, "metrics-after.response"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "vllm:time_to_first_token_seconds"
	b, okBefore := before.Histogram(name, nil)
	a, okAfter := after.Histogram(name, nil)
	d, ok := a.Since(b)
	if !okBefore || !okAfter || !ok {
		t.Fatal("a histogram is missing")
	}
	mean, _ := d.Mean()
	if want := (12.436591386795044 - 5.4680750370025635) / 32; d.Count != 32 || math.Abs(mean-want) > 1e-12 {
		t.Errorf("%d requests of mean %v; want 32 of %v", d.Count, mean, want)
	}
	if i := 7; d.Buckets[i] != (Bucket{0.1, 1}) {
		t.Errorf("bucket %d = %+v; want one at most 0.1", i, d.Buckets[i])
	}
	if last := d.Buckets[len(d.Buckets)-1]; !math.IsInf(last.UpTo, 1) || last.Count != 32 {
		t.Errorf("last bucket %+v; want all 32", last)
	}
	if _, ok := b.Since(a); ok {
		t.Error("a histogram that shrank is a new server's, yet has a difference")
	}
}

func TestMetricsOfSeveralEngines(t *testing.T) {
	m, err := ParseMetrics([]byte(`# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b, c\"d"} 3
vllm:num_requests_running{engine="1",model_name="a b, c\"d"} 4.0 1700000000000
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{engine="0"} 0.25
vllm:gpu_cache_usage_perc{engine="1"} 0.5
vllm:gpu_cache_usage_perc{engine="2"} NaN
`))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.Running(); got != 7 || !ok {
		t.Errorf("Running() = %v; want 7", got)
	}
	if got, ok := m.Value("vllm:num_requests_running", map[string]string{"engine": "1"}); got != 4 || !ok {
		t.Errorf("of engine 1 = %v; want 4", got)
	}
	if got, ok := m.KVCacheUsage(); got != 0.5 || !ok {
		t.Errorf("KVCacheUsage() = %v; want the fullest engine's 0.5", got)
	}
	if _, ok := m.Waiting(); ok {
		t.Error("Waiting() has a value that nobody measured")
	}
}

func TestMetricsPageCutShort(t *testing.T) {
	m, err := ParseMetrics([]byte("# TYPE a gauge\na 1\nb{x=\"y"))
	if err == nil {
		t.Error("no error for a cut line")
	}
	if got, ok := m.Value("a", nil); got != 1 || !ok {
		t.Errorf("a = %v, %t; want what stood before the cut", got, ok)
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n"))
	f.Add([]byte("a{b=\"c\\\"\"} NaN 5\n# HELP\n#\n"))
	f.Add(page(f, "metrics-before.response")[:4000])
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetrics(data)
		if m == nil {
			t.Fatal("nothing came back", err)
		}
		for name := range m.families {
			m.Value(name, nil)
			if h, ok := m.Histogram(name, nil); ok {
				if d, ok := h.Since(h); ok && d.Count != 0 {
					t.Errorf("%s differs from itself by %d", name, d.Count)
				}
			}
		}
		m.KVCacheUsage()
	})
}
