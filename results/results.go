// Package results holds what was measured: one Record a request, with every
// stamp the client took, the definitions of all metrics, and the run folder in
// which records are kept.
//
// Nothing here is a statistic. A Record keeps moments; metrics are derived when
// records are read, so that a later report can never disagree with the live one.
package results

import "time"

// A Moment is a point in time on the run's clock: Unix nanoseconds that follow
// CLOCK_REALTIME as it stood when the run began and CLOCK_MONOTONIC from then on,
// so that a step of the wall clock moves no latency. Zero means that it did not
// happen.
type Moment int64

// Sub is the time from u to m. It is false when either did not happen.
func (m Moment) Sub(u Moment) (time.Duration, bool) {
	if m == 0 || u == 0 {
		return 0, false
	}
	return time.Duration(m - u), true
}

// Add is the moment d after m.
func (m Moment) Add(d time.Duration) Moment { return m + Moment(d) }

// Time is m as wall time.
func (m Moment) Time() time.Time { return time.Unix(0, int64(m)) }

// A Kind says why a request was sent. Only Load requests enter the metrics.
type Kind string

// The kinds of request.
const (
	Load   Kind = "load"   // the load itself
	Warmup Kind = "warmup" // before the bracket; kept apart
	Ready  Kind = "ready"  // the ready check
	Probe  Kind = "probe"  // the side stream of one-token probes
)

// A Record is everything known about one request of a run.
type Record struct {
	// ID is the request's position in the whole run, from 0. It is the same
	// whatever the number of shards.
	ID   int
	Kind Kind
	// RequestID is the x-request-id that was sent; empty when none was.
	RequestID string
	// Model is the name in the request's body.
	Model string
	// Stage is the index of the load stage that sent it; User the closed-loop user or
	// conversation it belongs to; Turn its position in that conversation, from 0.
	Stage, User, Turn int

	// InputTokens is the client's own count of the prompt. -1 when nothing
	// could count it. The server's count is in Usage.
	InputTokens int
	// AskedTokens is the number of output tokens asked for; 0 when not limited.
	AskedTokens int
	// AudioSeconds is the length of the audio that was sent, in seconds.
	AudioSeconds float64
	// Sequences is the number of inputs in a pooling request; 0 otherwise.
	Sequences int

	// Due is when the schedule wanted the request sent. In a closed loop: when the user
	// became free to send it.
	Due Moment
	// Dispatched is when the client let it go: the concurrency limit passed, the body
	// encoded, right before the request was handed to the transport.
	Dispatched Moment
	// Released is when the pacer let the request go to wait for the concurrency limit. Released - Due is the
	// client's lateness, Dispatched - Released its queueing.
	Released Moment
	// Encoding is how long building and encoding the body took. It was done before
	// Due and is part of no latency, except where a report counts as vLLM does.
	Encoding time.Duration

	Reply
}

// A Reply is what came back, and when.
type Reply struct {
	// Connected is when a new connection was ready; zero when one was reused.
	Connected Moment
	// WriteBegan is right before the first byte of the request was handed to the kernel,
	// Written when the last one left it (the kernel's send stamp where it gives one,
	// else right after the write returned).
	WriteBegan, Written Moment
	// Headers is the read that completed the response headers. They come before the
	// first token is computed: never take them for it.
	Headers Moment
	// Chunks are the events that carried output, in order.
	Chunks []Chunk
	// Done is the read that ended the response.
	Done Moment

	// Status is the HTTP status; 0 when none came.
	Status int
	// Finish is the server's finish_reason.
	Finish string
	// EndMarked says that the stream said it was over ([DONE], or the terminal event of its dialect).
	EndMarked bool
	// Usage is the server's own count; nil when it sent none.
	Usage *Usage
	// Text is the output; empty unless the run keeps texts.
	Text string
	// OutputTokens is the local count of output tokens where Usage is missing; -1 when unknown.
	OutputTokens int
	// ServerQueue and ServerTTFT are the server's own timings, where it sends them.
	ServerQueue, ServerTTFT *time.Duration
	// Failure says why the request failed; nil when it succeeded.
	Failure *Failure
}

// A Chunk is one event of a stream that carried output. It can hold several tokens,
// or a token whose text is still empty.
type Chunk struct {
	// At is the kernel's receive time of the read that completed the event (the
	// user-space time where the kernel gives none).
	At Moment
	// Lag is how much later the client itself saw it: the user-space stamp minus At.
	Lag time.Duration
	// Tokens is the number of output tokens in it; -1 when only the usage can tell.
	Tokens int
	// Visible says that it carried answer text; Shared that its read brought more than it: another event, or bytes behind it.
	// Its stamp is an upper bound then, unless it was the read's last event, and gaps within one read are zero.
	Visible, Shared bool
}

// Usage is the server's own token count.
type Usage struct {
	Prompt, Completion int
	// Cached is the number of prompt tokens served from the prefix cache; -1 when not said.
	Cached int
}

// A Failure is why a request failed. Failures are records: never retried, never in a
// latency percentile, always against goodput.
type Failure struct {
	// Class is one short word for counting: see the Fail constants.
	Class string
	// Message is a sentence for people, with the server's own words where it gave any.
	Message string
}

// Classes of failure.
const (
	FailConnect   = "connect"   // no connection
	FailStatus    = "status"    // an HTTP status other than 200
	FailServer    = "server"    // an error event inside a 200 stream
	FailStream    = "stream"    // a malformed stream
	FailCut       = "cut"       // the connection ended inside the reply
	FailTruncated = "truncated" // a clean end without an end mark or finish reason
	FailEmpty     = "empty"     // a stream without any output
	FailTimeout   = "timeout"   // a time limit of the client's
	FailCancelled = "cancelled" // the run ended first
	FailRequest   = "request"   // the request could not be built
)

// OK says that the request succeeded.
func (r *Record) OK() bool { return r.Failure == nil }

// Tokens is the number of output tokens: the server's usage, else the local count. A chunk
// is not a token, so chunks are never counted.
func (r *Record) Tokens() (int, bool) {
	if r.Usage != nil && r.Usage.Completion > 0 {
		return r.Usage.Completion, true
	}
	if r.OutputTokens > 0 {
		return r.OutputTokens, true
	}
	return 0, false
}

// Lateness is how long after its due time the pacer let the request go.
func (r *Record) Lateness() (time.Duration, bool) { return r.Released.Sub(r.Due) }

// QueueTime is how long the client's own concurrency limit held the request back.
func (r *Record) QueueTime() (time.Duration, bool) { return r.Dispatched.Sub(r.Released) }
