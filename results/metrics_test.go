package results

import (
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// streamed is a request that was due at 1 s, left the limit 20 ms later, was written 5 ms after that, and
// whose three events came 100, 110 and 130 ms after the write, each seen 1 ms later.
func streamed() *Record {
	at := func(d time.Duration) Moment { return Moment(time.Second + d) }
	return &Record{
		Due: at(0), Released: at(2 * ms), Dispatched: at(20 * ms), Encoding: 3 * ms,
		Reply: Reply{
			Connected: at(24 * ms), WriteBegan: at(24 * ms), Written: at(25 * ms), Headers: at(27 * ms),
			Chunks: []Chunk{
				{At: at(125 * ms), Lag: ms, Tokens: 1},
				{At: at(135 * ms), Lag: ms, Tokens: 1, Visible: true},
				{At: at(155 * ms), Lag: 2 * ms, Tokens: 3, Visible: true},
			},
			Done: at(160 * ms), Usage: &Usage{Prompt: 7, Completion: 5, Cached: -1}, OutputTokens: -1,
		},
	}
}

func TestMetricsOfAStream(t *testing.T) {
	for _, tc := range []struct {
		name                    string
		service, response, vllm []time.Duration
	}{
		{"ttft", []time.Duration{100 * ms}, []time.Duration{125 * ms}, []time.Duration{109 * ms}},
		{"tpot", []time.Duration{7500 * time.Microsecond}, []time.Duration{7500 * time.Microsecond}, []time.Duration{7750 * time.Microsecond}},
		{"itl", []time.Duration{10 * ms, 20 * ms}, []time.Duration{10 * ms, 20 * ms}, []time.Duration{10 * ms, 21 * ms}},
		{"e2el", []time.Duration{130 * ms}, []time.Duration{155 * ms}, []time.Duration{140 * ms}},
		{"client_queue_time", []time.Duration{18 * ms}, []time.Duration{18 * ms}, []time.Duration{18 * ms}},
		{"e2el_including_client_queue", []time.Duration{148 * ms}, []time.Duration{155 * ms}, []time.Duration{158 * ms}},
		{"ttfvt", []time.Duration{110 * ms}, []time.Duration{135 * ms}, []time.Duration{119 * ms}},
		{"time_to_headers", []time.Duration{2 * ms}, []time.Duration{27 * ms}, []time.Duration{10 * ms}},
		{"lateness", []time.Duration{2 * ms}, []time.Duration{2 * ms}, []time.Duration{2 * ms}},
		{"connect_time", []time.Duration{4 * ms}, []time.Duration{4 * ms}, []time.Duration{4 * ms}},
		{"send_time", []time.Duration{ms}, []time.Duration{ms}, []time.Duration{ms}},
		{"read_lag", []time.Duration{ms, ms, 2 * ms}, []time.Duration{ms, ms, 2 * ms}, []time.Duration{ms, ms, 2 * ms}},
		{"server_queue_time", nil, nil, nil},
		{"server_ttft", nil, nil, nil},
	} {
		metric, ok := MetricNamed(tc.name)
		if !ok {
			t.Fatalf("no metric %q", tc.name)
		}
		for basis, want := range map[Basis][]time.Duration{Service: tc.service, Response: tc.response, VLLM: tc.vllm} {
			if got := metric.Append(nil, streamed(), basis); !slices.Equal(got, want) {
				t.Errorf("%s from %s = %v, want %v", tc.name, basis, got, want)
			}
		}
	}
	if len(Metrics) != 14 {
		t.Errorf("%d metrics, 14 tested", len(Metrics))
	}
}

func TestMetricsOfOtherReplies(t *testing.T) {
	whole := &Record{Due: 1000, Dispatched: 1000, Reply: Reply{Written: 1100, Done: 1600, OutputTokens: -1}}
	unsent := &Record{Due: 1000, Reply: Reply{OutputTokens: -1, Failure: &Failure{Class: FailConnect}}}
	single := &Record{Due: 1000, Reply: Reply{Written: 1100, Chunks: []Chunk{{At: 1500}}, OutputTokens: 1}}
	queue := 5 * ms
	timed := &Record{Reply: Reply{ServerQueue: &queue, ServerTTFT: new(time.Duration)}}
	for _, tc := range []struct {
		what, metric string
		rec          *Record
		basis        Basis
		want         time.Duration
		wantOK       bool
	}{
		{"a whole reply ends at its end", "ttft", whole, Service, 500, true},
		{"a whole reply ends at its end", "e2el", whole, Response, 600, true},
		{"a whole reply has no gaps", "itl", whole, Service, 0, false},
		{"a whole reply has no rate", "tpot", whole, Service, 0, false},
		{"never sent, never late", "ttft", unsent, Service, 0, false},
		{"never sent has no vLLM start", "e2el", unsent, VLLM, 0, false},
		{"never released", "lateness", unsent, Service, 0, false},
		{"one token has no rate", "tpot", single, Service, 0, false},
		{"one token has a first", "ttft", single, Service, 400, true},
		{"a server's figure", "server_queue_time", timed, Service, 5 * ms, true},
		{"a server's zero is a figure", "server_ttft", timed, Service, 0, true},
	} {
		metric, _ := MetricNamed(tc.metric)
		if got, ok := metric.Value(tc.rec, tc.basis); got != tc.want || ok != tc.wantOK {
			t.Errorf("%s: %s = %v, %t; want %v, %t", tc.what, tc.metric, got, ok, tc.want, tc.wantOK)
		}
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Metrics {
		if m.Name == "" || m.Title == "" || m.Label == "" || m.Unit != "ms" || m.Doc == "" || m.Source == "" || m.Append == nil {
			t.Errorf("metric %q lacks a part of its definition", m.Name)
		}
		if seen[m.Name] {
			t.Errorf("metric %q stands twice", m.Name)
		}
		seen[m.Name] = true
	}
}
