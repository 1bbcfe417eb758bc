package server

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metricsAccept asks for the text format: a server that could, would otherwise answer in
// OpenMetrics, which the parser does not read.
const metricsAccept = "text/plain;version=0.0.4"

// Metrics is one reading of a server's /metrics.
type Metrics struct {
	// Before and After are right before the question and right after the answer, in Unix ns; the
	// figures are from in between. Zero when the page was parsed from elsewhere.
	Before, After int64
	// Page is the answer as it came.
	Page []byte

	families map[string]*dto.MetricFamily
}

// Scrape reads /metrics. A page with a malformed line gives the metrics before it together
// with the error.
func (t Target) Scrape(ctx context.Context) (*Metrics, error) {
	before := t.now()
	page, err := t.do(ctx, http.MethodGet, "/metrics")
	after := t.now()
	if err != nil {
		return nil, err
	}
	m, err := ParseMetrics(page)
	m.Before, m.After = before, after
	return m, err
}

// ParseMetrics reads a page in Prometheus' text format, version 0.0.4.
func ParseMetrics(page []byte) (*Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	m := &Metrics{Page: page, families: families}
	if err != nil {
		return m, fmt.Errorf("metrics: %w", err)
	}
	return m, nil
}

// Value is a gauge's or a counter's value, summed over its series (one per engine and
// model). A counter is found with and without its _total. match picks the series whose labels
// have these values; nil takes all.
func (m *Metrics) Value(name string, match map[string]string) (float64, bool) {
	var sum float64
	found := false
	for value := range m.values(name, match) {
		sum += value
		found = true
	}
	return sum, found
}

// values yields the value of each series of a gauge or counter.
func (m *Metrics) values(name string, match map[string]string) func(func(float64) bool) {
	return func(yield func(float64) bool) {
		family := m.families[name]
		if family == nil {
			family = m.families[name+"_total"]
		}
		for _, series := range family.GetMetric() {
			if !matches(series, match) {
				continue
			}
			var value float64
			switch {
			case series.Gauge != nil:
				value = series.Gauge.GetValue()
			case series.Counter != nil:
				value = series.Counter.GetValue()
			case series.Untyped != nil:
				value = series.Untyped.GetValue()
			default:
				continue
			}
			if math.IsNaN(value) {
				continue // a NaN is a number that was not measured
			}
			if !yield(value) {
				return
			}
		}
	}
}

func matches(series *dto.Metric, match map[string]string) bool {
	found := 0
	for _, label := range series.GetLabel() {
		if want, ok := match[label.GetName()]; ok {
			if label.GetValue() != want {
				return false
			}
			found++
		}
	}
	return found == len(match)
}

// A Histogram is a server's own, in the unit of its name.
type Histogram struct {
	Count uint64
	Sum   float64
	// Buckets are in ascending order; the last one's bound is +Inf.
	Buckets []Bucket
}

// A Bucket counts what was at most UpTo.
type Bucket struct {
	UpTo  float64
	Count uint64
}

// Mean is Sum / Count; false when nothing was counted.
func (h Histogram) Mean() (float64, bool) {
	if h.Count == 0 {
		return 0, false
	}
	return h.Sum / float64(h.Count), true
}

// Since is what was counted between an earlier reading of the same histogram and this one; false when
// the server started anew in between, or its buckets changed.
func (h Histogram) Since(earlier Histogram) (Histogram, bool) {
	if earlier.Count > h.Count || len(earlier.Buckets) != len(h.Buckets) {
		return Histogram{}, false
	}
	d := Histogram{Count: h.Count - earlier.Count, Sum: h.Sum - earlier.Sum}
	for i, b := range h.Buckets {
		e := earlier.Buckets[i]
		if e.UpTo != b.UpTo || e.Count > b.Count {
			return Histogram{}, false
		}
		d.Buckets = append(d.Buckets, Bucket{b.UpTo, b.Count - e.Count})
	}
	return d, true
}

// Histogram is a histogram of the page, added up over its series. Series with different bounds do not
// add up, and there is none then.
func (m *Metrics) Histogram(name string, match map[string]string) (Histogram, bool) {
	var sum Histogram
	found := false
	for _, series := range m.families[name].GetMetric() {
		h := series.GetHistogram()
		if h == nil || !matches(series, match) {
			continue
		}
		one := Histogram{Count: h.GetSampleCount(), Sum: h.GetSampleSum()}
		for _, b := range h.GetBucket() {
			one.Buckets = append(one.Buckets, Bucket{b.GetUpperBound(), b.GetCumulativeCount()})
		}
		if !found {
			sum, found = one, true
			continue
		}
		if len(one.Buckets) != len(sum.Buckets) {
			return Histogram{}, false
		}
		sum.Count += one.Count
		sum.Sum += one.Sum
		for i, b := range one.Buckets {
			if sum.Buckets[i].UpTo != b.UpTo {
				return Histogram{}, false
			}
			sum.Buckets[i].Count += b.Count
		}
	}
	return sum, found
}

// first is the first of several names a figure goes by: vLLM's of today, its older ones, SGLang's.
func (m *Metrics) first(names ...string) (float64, bool) {
	for _, name := range names {
		if value, ok := m.Value(name, nil); ok {
			return value, true
		}
	}
	return 0, false
}

// Running is the number of requests in the engines' batches.
func (m *Metrics) Running() (float64, bool) {
	return m.first("vllm:num_requests_running", "sglang:num_running_reqs")
}

// Waiting is the number of requests in the engines' queues.
func (m *Metrics) Waiting() (float64, bool) {
	return m.first("vllm:num_requests_waiting", "sglang:num_queue_reqs")
}

// PromptTokens is the number of prompt tokens processed since the server started.
func (m *Metrics) PromptTokens() (float64, bool) {
	return m.first("vllm:prompt_tokens", "sglang:prompt_tokens")
}

// GenerationTokens is the number of tokens generated since the server started.
func (m *Metrics) GenerationTokens() (float64, bool) {
	return m.first("vllm:generation_tokens", "sglang:generation_tokens")
}

// Preemptions is how often a running request was put back into the queue since the server started.
func (m *Metrics) Preemptions() (float64, bool) { return m.first("vllm:num_preemptions") }

// PrefixCache is the number of prompt tokens that were looked up in the prefix cache since the server
// started, and of those found there.
func (m *Metrics) PrefixCache() (queries, hits float64, ok bool) {
	queries, okQueries := m.first("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries")
	hits, okHits := m.first("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits")
	return queries, hits, okQueries && okHits
}

// KVCacheUsage is the used share of the KV cache, 0 to 1, of the engine where it is largest.
func (m *Metrics) KVCacheUsage() (float64, bool) {
	for _, name := range []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"} {
		largest, found := 0.0, false
		for value := range m.values(name, nil) {
			largest, found = max(largest, value), true
		}
		if found {
			return largest, true
		}
	}
	return 0, false
}

// WaitRunning returns when at least n requests run on the server, as its metrics say. It
// asks every so often; zero means 250 ms.
func (t Target) WaitRunning(ctx context.Context, n int, every time.Duration) error {
	if every <= 0 {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m, err := t.Scrape(ctx)
		if m == nil {
			return fmt.Errorf("waiting for %d running requests: %w", n, err)
		}
		running, ok := m.Running()
		if !ok {
			return fmt.Errorf("waiting for %d running requests: %s says nothing of running requests", n, redacted(t.URL("/metrics")))
		}
		if running >= float64(n) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
