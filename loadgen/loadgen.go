// Package loadgen is the engine: it sends a plan's requests when they are due and
// yields one record for each, as it ends.
//
// All concurrency lives inside Run. Around it, records come one at a time, so neither
// the writer of a run nor its statistics need a lock.
package loadgen

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"servebench/datasets"
	"servebench/results"
)

// A Request is what is to be asked, before it is worded for one kind of server.
type Request struct {
	// ID is the position in the whole run, from 0.
	ID int
	// Kind is Load, unless the plan says otherwise.
	Kind results.Kind
	// Model is the name for the body; empty means the sender's own.
	Model string
	// Session is sent as X-Session-ID, the same for all turns of a conversation; empty when none is.
	Session string
	// Sample is the content.
	Sample datasets.Sample
}

// A Call is one request, worded, encoded and ready to go. Send carries it out once and returns when the
// reply has ended; a failure is part of the reply.
type Call interface {
	Send(ctx context.Context) results.Reply
	// Size is the length of the encoded body in bytes.
	Size() int
	// Sequences is the number of inputs of a pooling request, 0 for any other.
	Sequences() int
}

// A Sender words requests for one server. It knows nothing of when they are due.
type Sender interface {
	Prepare(r Request) (Call, error)
}

// A Clock is the run's clock. It is an interface so that tests can let time pass without waiting.
type Clock interface {
	Now() results.Moment
	// Until returns at the moment at, or with the context's error. Its lateness is the
	// client's own: it is recorded with every request.
	Until(ctx context.Context, at results.Moment) error
}

// A Stage is one part of the load. With Users it is a closed loop: each user sends, waits for the reply,
// thinks and sends again. Without, it is an open loop: requests go out at their Due times whatever became of the others.
type Stage struct {
	// Name is for reports; it may be empty.
	Name string
	// Due are the due times of an open loop, from the start of the stage, ascending.
	Due iter.Seq[time.Duration]
	// Limit is the most requests an open loop has in flight; the others wait in the client, and the wait is
	// recorded. 0 is no limit.
	Limit int
	// Users is the number of users of a closed loop.
	Users int
	// Talks, if not nil, are the conversations that the users of a closed loop hold, in place of the plan's requests.
	Talks *Talks
	// Think is how long a user waits between a reply and the next request.
	Think time.Duration
	// MaxRate is a ceiling on the requests per second of a closed loop; 0 is none. It is a limiter, no
	// schedule: a request that it held back is due when it lets go.
	MaxRate float64
	// Count ends the stage after so many requests; 0 is no limit.
	Count int
	// For ends the stage after so long; 0 is no limit. Requests in flight then go on.
	For time.Duration
}

// A Plan is everything Run needs.
type Plan struct {
	// Requests gives request i of the whole run, false when there is none. It is called
	// from one goroutine, in order, before the request is due.
	Requests func(i int) (Request, bool)
	// Stages run one after the other. A stage begins when the one before sent its last request or its
	// time was up; what is in flight carries over.
	Stages []Stage
	// Sender words and sends; Model is the name in its requests, for the records.
	Sender Sender
	Model  string
	// Clock is the run's clock.
	Clock Clock
	// Start is when the first stage begins; zero is as soon as the first requests are ready.
	Start results.Moment
	// Shard is this process's part of the load.
	Shard Shard
	// Probe, if not nil, is a side stream beside the load.
	Probe *Probe
	// Live, if not nil, is kept up to date for whoever watches.
	Live *Live
}

// A Shard is part K of N of a load that several processes carry out together: request i belongs to
// shard i mod N, user u to shard u mod N. The zero Shard is the whole load.
type Shard struct{ K, N int }

// Has says whether number i belongs to the shard.
func (s Shard) Has(i int) bool { return s.N <= 1 || i%s.N == s.K }

func (s Shard) step() int { return max(s.N, 1) }

// share is how many of n numbers from 0 on belong to the shard.
func (s Shard) share(n int) int {
	if s.N <= 1 {
		return n
	}
	return (n - s.K + s.N - 1) / s.N
}

// A Probe is a side stream of single requests: one at once, then each Every after the one before ended, until the load
// is over. Probes pass no concurrency limit.
type Probe struct {
	Request Request
	Sender  Sender
	Every   time.Duration
}

// Live counts what is under way. All fields may be read at any time.
type Live struct {
	// Released counts requests that the pacer let go, Queued those waiting for the client's own
	// limit, InFlight those at the server, Done and Failed those that ended.
	Released, Queued, InFlight, Done, Failed atomic.Int64
	// MaxInFlight is the highest number in flight so far.
	MaxInFlight atomic.Int64
	// Started is when the first stage began, a Moment; 0 before.
	Started atomic.Int64
	// Stages counts those that have begun.
	Stages atomic.Int64
	// Busy is the integral over time of the requests in flight, in nanoseconds, once all have ended.
	Busy atomic.Int64
}

func (l *Live) begin(at results.Moment) {
	l.Busy.Add(-int64(at))
	n := l.InFlight.Add(1)
	for {
		m := l.MaxInFlight.Load()
		if n <= m || l.MaxInFlight.CompareAndSwap(m, n) {
			return
		}
	}
}

func (l *Live) end(at results.Moment, ok bool) {
	l.Busy.Add(int64(at))
	l.InFlight.Add(-1)
	l.Done.Add(1)
	if !ok {
		l.Failed.Add(1)
	}
}
