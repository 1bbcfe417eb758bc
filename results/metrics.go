package results

import "time"

// A Basis says which moment a latency starts at, and which stamp of a chunk ends it.
type Basis string

// The bases. Each report states which one its figures use.
const (
	// Service counts from Written, when the kernel took the last byte of the request, to the kernel's
	// receive stamps: what the server and the network did.
	Service Basis = "service"
	// Response counts from Due, when the schedule wanted the request sent, to the kernel's receive stamps: what a
	// user would have waited, the client's own queueing and lateness included.
	Response Basis = "response"
	// VLLM counts as `vllm bench serve` does: from before the body is encoded and the connection made, to the
	// moment the client itself saw the chunk. Its clock starts after the wait for the concurrency limit.
	VLLM Basis = "vllm"
)

// Start is the moment at which latencies of basis b start; zero when it did not happen.
func (r *Record) Start(b Basis) Moment {
	switch b {
	case Response:
		return r.Due
	case VLLM:
		if r.Dispatched == 0 {
			return 0
		}
		// Our bodies are encoded before they are due, vLLM's after the start.
		return r.Dispatched.Add(-r.Encoding)
	}
	return r.Written
}

// Seen is the moment at which basis b counts a chunk.
func (c *Chunk) Seen(b Basis) Moment {
	if b == VLLM {
		return c.At.Add(c.Lag)
	}
	return c.At
}

// A Metric is the one definition of a figure: its names, its unit and how it is derived from a record.
// Reports, comparisons and the objectives of a search all read this table.
type Metric struct {
	// Name is the key in files and flags.
	Name string
	// Title heads its section of a report, Label stands in its lines.
	Title, Label string
	// Unit is what reports print; values are durations.
	Unit string
	// Doc is the definition in a sentence, Source where it comes from.
	Doc, Source string
	// Based says that the value depends on the basis' start.
	Based bool
	// Client says that it measures the client, not the server.
	Client bool
	// Failures says that failed requests count too; of every other metric they have none.
	Failures bool
	// PerEvent says that a request has as many values as its stream has events, or gaps between them.
	PerEvent bool
	// Append appends the values that r has to into: none when a moment is missing, several for a metric of gaps.
	// It looks at the stamps only; whether a failed request counts is the caller's rule.
	Append func(into []time.Duration, r *Record, b Basis) []time.Duration
}

// Value is the first value that r has.
func (m *Metric) Value(r *Record, b Basis) (time.Duration, bool) {
	var room [1]time.Duration
	values := m.Append(room[:0], r, b)
	if len(values) == 0 {
		return 0, false
	}
	return values[0], true
}

// Metrics are all metrics, in the order of reports. A new metric is one row.
var Metrics = []Metric{
	{
		Name: "ttft", Title: "Time to First Token", Label: "TTFT", Unit: "ms", Based: true,
		Doc:    "from the start to the first event that carried output; for a reply that is not streamed, to its end",
		Source: "vLLM 0.33 bench serve: ttft",
		Append: one(TTFT),
	}, {
		Name: "tpot", Title: "Time per Output Token (excl. 1st token)", Label: "TPOT", Unit: "ms",
		Doc:    "(last event - first event) / (output tokens - 1); a reply of fewer than two tokens has none",
		Source: "vLLM 0.33 bench serve: tpot = (latency - ttft) / (output length - 1); GuideLLM's TPOT includes the first token",
		Append: one(TPOT),
	}, {
		Name: "itl", Title: "Inter-token Latency", Label: "ITL", Unit: "ms", PerEvent: true,
		Doc:    "each gap between two events of one stream, all streams pooled; an event can hold several tokens",
		Source: "vLLM 0.33 bench serve: itl",
		Append: gaps,
	}, {
		Name: "e2el", Title: "End-to-end Latency", Label: "E2EL", Unit: "ms", Based: true,
		Doc:    "from the start to the last event that carried output; for a reply that is not streamed, to its end",
		Source: "vLLM 0.33 bench serve: latency",
		Append: one(E2EL),
	}, {
		Name: "client_queue_time", Title: "Client-side Queueing", Label: "Client Queue Time", Unit: "ms", Client: true,
		Doc:    "how long the client's own concurrency limit held the request back",
		Source: "vLLM 0.33 bench serve: client_queue_time",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return r.QueueTime() }),
	}, {
		Name: "e2el_including_client_queue", Title: "Queue-inclusive End-to-end Latency", Label: "E2EL incl. Client Queue",
		Unit: "ms", Based: true,
		Doc:    "E2EL plus the client queue time; the response basis holds the queue already, so nothing is added there",
		Source: "vLLM 0.33 bench serve: e2el_including_client_queue",
		Append: one(func(r *Record, b Basis) (time.Duration, bool) {
			latency, ok := E2EL(r, b)
			if !ok || b == Response {
				return latency, ok
			}
			queue, ok := r.QueueTime()
			return latency + queue, ok
		}),
	}, {
		Name: "ttfvt", Title: "Time to First Visible Token", Label: "TTFVT", Unit: "ms", Based: true,
		Doc:    "from the start to the first event that carried answer text, not reasoning or an empty token",
		Source: "servebench",
		Append: one(func(r *Record, b Basis) (time.Duration, bool) {
			for i := range r.Chunks {
				if c := &r.Chunks[i]; c.Visible {
					return c.Seen(b).Sub(r.Start(b))
				}
			}
			return 0, false
		}),
	}, {
		Name: "time_to_headers", Title: "Time to Headers", Label: "Time to Headers", Unit: "ms", Based: true,
		Doc:    "from the start to the response headers, which come before the first token is computed",
		Source: "servebench",
		Append: one(func(r *Record, b Basis) (time.Duration, bool) { return r.Headers.Sub(r.Start(b)) }),
	}, {
		Name: "lateness", Title: "Schedule Lateness", Label: "Lateness", Unit: "ms", Client: true, Failures: true,
		Doc:    "how long after its due time the pacer let the request go",
		Source: "servebench",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return r.Lateness() }),
	}, {
		Name: "connect_time", Title: "Connecting", Label: "Connect Time", Unit: "ms", Client: true,
		Doc:    "how long a request waited for a new connection; a reused one has none",
		Source: "servebench",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return r.Connected.Sub(r.Dispatched) }),
	}, {
		Name: "send_time", Title: "Sending", Label: "Send Time", Unit: "ms", Client: true,
		Doc:    "from right before the first byte of the request to the last byte in the kernel's hands",
		Source: "servebench",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return r.Written.Sub(r.WriteBegan) }),
	}, {
		Name: "read_lag", Title: "Kernel-to-user Lag", Label: "Read Lag", Unit: "ms", Client: true, PerEvent: true,
		Doc:    "how much later than the kernel the client itself saw an event; without kernel stamps it is zero by definition",
		Source: "servebench",
		Append: func(into []time.Duration, r *Record, _ Basis) []time.Duration {
			for i := range r.Chunks {
				into = append(into, r.Chunks[i].Lag)
			}
			return into
		},
	}, {
		Name: "server_queue_time", Title: "Server's Own Queue Time", Label: "Server Queue Time", Unit: "ms",
		Doc:    "the server's own figure for the request's wait in its queue, where it sends one",
		Source: "vLLM 0.33: metrics.queue_time_ms of a stream (--enable-per-request-metrics)",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return pointed(r.ServerQueue) }),
	}, {
		Name: "server_ttft", Title: "Server's Own Time to First Token", Label: "Server TTFT", Unit: "ms",
		Doc:    "the server's own figure for its time to the first token, where it sends one",
		Source: "vLLM 0.33: metrics.time_to_first_token_ms of a stream (--enable-per-request-metrics)",
		Append: one(func(r *Record, _ Basis) (time.Duration, bool) { return pointed(r.ServerTTFT) }),
	},
}

// MetricNamed finds a metric by its name.
func MetricNamed(name string) (*Metric, bool) {
	for i := range Metrics {
		if Metrics[i].Name == name {
			return &Metrics[i], true
		}
	}
	return nil, false
}

// TTFT is the time to the first event that carried output. A reply that is not
// streamed has one moment only, its end.
func TTFT(r *Record, b Basis) (time.Duration, bool) {
	if len(r.Chunks) == 0 {
		return r.Done.Sub(r.Start(b))
	}
	return r.Chunks[0].Seen(b).Sub(r.Start(b))
}

// E2EL is the time to the last event that carried output: what follows it (usage, the
// end mark) is no part of the answer.
func E2EL(r *Record, b Basis) (time.Duration, bool) {
	if len(r.Chunks) == 0 {
		return r.Done.Sub(r.Start(b))
	}
	return r.Chunks[len(r.Chunks)-1].Seen(b).Sub(r.Start(b))
}

// TPOT is the mean time per output token after the first.
func TPOT(r *Record, b Basis) (time.Duration, bool) {
	tokens, ok := r.Tokens()
	if !ok || tokens < 2 || len(r.Chunks) == 0 {
		return 0, false
	}
	span, ok := r.Chunks[len(r.Chunks)-1].Seen(b).Sub(r.Chunks[0].Seen(b))
	return span / time.Duration(tokens-1), ok
}

func gaps(into []time.Duration, r *Record, b Basis) []time.Duration {
	for i := 1; i < len(r.Chunks); i++ {
		if gap, ok := r.Chunks[i].Seen(b).Sub(r.Chunks[i-1].Seen(b)); ok {
			into = append(into, gap)
		}
	}
	return into
}

func one(value func(*Record, Basis) (time.Duration, bool)) func([]time.Duration, *Record, Basis) []time.Duration {
	return func(into []time.Duration, r *Record, b Basis) []time.Duration {
		if v, ok := value(r, b); ok {
			into = append(into, v)
		}
		return into
	}
}

func pointed(d *time.Duration) (time.Duration, bool) {
	if d == nil {
		return 0, false
	}
	return *d, true
}
