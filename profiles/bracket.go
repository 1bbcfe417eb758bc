package profiles

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// Marks are the moments of a bracket on the client's clock, in Unix ns; zero did not happen.
type Marks struct {
	// StartSent and StopSent are before the first byte of the call left; StartAnswered and
	// StopAnswered are after the first byte of its answer came. So whatever the server did because
	// of the call lies in between, and that bounds its clock.
	StartSent     int64 `json:"start_sent_ns"`
	StartAnswered int64 `json:"start_answered_ns"`
	StopSent      int64 `json:"stop_sent_ns"`
	StopAnswered  int64 `json:"stop_answered_ns"`
	// Called says that the marks are those of calls to a server. A script starts and stops on its own,
	// and its marks bound nothing.
	Called bool `json:"called"`
	// StartLoose says that the profiler was told to begin later than it answers, StopLoose that
	// it may have ended before it was told to.
	StartLoose bool `json:"start_loose,omitempty"`
	StopLoose  bool `json:"stop_loose,omitempty"`
}

// A Phase is where a bracket stands.
type Phase string

// The phases that take time.
const (
	Starting Phase = "start_profile"
	Stopping Phase = "stop_profile"
)

// A Bracket puts a profiler around a load. Once the start was sent the stop is sent, whatever happens in
// between.
type Bracket struct {
	Profiler Profiler
	// Clock tells the time in Unix ns; nil means the system's clock.
	Clock func() int64
	// Optional goes on without a profile when the server refuses to start one.
	Optional bool
	// TrustErrors takes every error that the server answers the start with for a refusal. Otherwise a stop follows at
	// once the errors behind which it may record all the same.
	TrustErrors bool
	// Progress, when set, hears once a second how long a call has taken. It is called from
	// another goroutine, never after the Bracket has returned.
	Progress func(Phase, time.Duration)
	// StopLimit is how long to wait for the stop's answer; zero waits for as long as it takes.
	StopLimit time.Duration
	// Leave, when set, ends the wait for the stop's answer at once when it is done: the second
	// Ctrl-C. The context given to Do, the first one, does not.
	Leave context.Context
}

// A Session is a bracket that is over.
type Session struct {
	Marks Marks
	// Refused is why there is no profile, when an optional one was refused.
	Refused error
	// Missed says that the load ended before the moment to profile came.
	Missed bool
	// StopError is why the stop failed; it is also part of the error returned.
	StopError error
}

// Do starts the profiler, runs the load and stops the profiler, in this order also when the load
// fails or panics or ctx is cancelled. load must return only when all its replies have come: the
// model stands still while a profiler stops.
//
// The error is that of the load, of the stop, or both; a refused start ends it before the load.
func (b Bracket) Do(ctx context.Context, load func(context.Context) error) (session Session, err error) {
	if err := b.start(ctx, &session); err != nil {
		if b.Optional && errors.Is(err, ErrRefused) {
			session.Refused = err
			return session, load(ctx)
		}
		return session, err
	}
	defer func() {
		session.StopError = b.stop(ctx, &session.Marks)
		err = errors.Join(err, session.StopError)
	}()
	return session, load(ctx)
}

// A Window is a part of a load.
type Window struct {
	// From returns when the profile is to begin; nil is at once. See After, OnceRunning and When.
	From func(context.Context) error
	// For is how long it lasts; zero is until the load has ended. Until returns when the profile is to end before that; nil is never.
	For   time.Duration
	Until func(context.Context) error
}

// During profiles a window of the load. The requests that run when the window ends stand still until the
// profiler has stopped, and their figures show it. A refused start ends the load.
func (b Bracket) During(ctx context.Context, w Window, load func(context.Context) error) (session Session, err error) {
	loaded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var profiled sync.WaitGroup
	var seen Session
	var failed error
	profiled.Go(func() {
		seen, failed = b.window(ctx, w, ended)
		if failed != nil && seen.StopError == nil {
			cancel(failed)
		}
	})
	defer func() {
		close(ended)
		profiled.Wait()
		session = seen
		if failed != nil && (errors.Is(err, failed) || errors.Is(err, context.Canceled) && errors.Is(context.Cause(loaded), failed)) {
			err = nil // the load ended because of it
		}
		err = errors.Join(err, failed)
	}()
	return session, load(loaded)
}

func (b Bracket) window(ctx context.Context, w Window, ended <-chan struct{}) (session Session, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ended:
			cancel()
		case <-waiting.Done():
		}
	})
	defer watch.Wait()
	defer cancel()
	if w.From != nil {
		if err := w.From(waiting); err != nil {
			if waiting.Err() != nil {
				session.Missed = true
				return session, nil
			}
			return session, err
		}
	}
	if waiting.Err() != nil {
		session.Missed = true
		return session, nil
	}
	if err := b.start(ctx, &session); err != nil {
		if b.Optional && errors.Is(err, ErrRefused) {
			session.Refused = err
			return session, nil
		}
		return session, err
	}
	defer func() {
		session.StopError = b.stop(ctx, &session.Marks)
		err = session.StopError
	}()
	var over <-chan time.Time
	if w.For > 0 {
		timer := time.NewTimer(w.For)
		defer timer.Stop()
		over = timer.C
	}
	var reached chan struct{}
	if w.Until != nil {
		reached = make(chan struct{})
		watch.Go(func() {
			_ = w.Until(waiting) // it ends at the load's end at the latest
			close(reached)
		})
	}
	select {
	case <-over:
	case <-reached:
	case <-waiting.Done():
	}
	return session, nil
}

// When is a window's From or Until: when ok is true, which is asked every millisecond. It must be cheap.
func When(ok func() bool) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !ok() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
}

// After is a window's From: d after the load began.
func After(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// OnceRunning is a window's From: when n requests run on the server at the same time, as its metrics
// say (asked every so often; zero is the usual).
func OnceRunning(target interface {
	WaitRunning(ctx context.Context, n int, every time.Duration) error
}, n int, every time.Duration) func(context.Context) error {
	return func(ctx context.Context) error { return target.WaitRunning(ctx, n, every) }
}

func (b Bracket) now() int64 {
	if b.Clock != nil {
		return b.Clock()
	}
	return time.Now().UnixNano()
}

func (b Bracket) start(ctx context.Context, session *Session) error {
	m := &session.Marks
	if p, ok := b.Profiler.(interface{ loose() (start, stop bool) }); ok {
		m.StartLoose, m.StopLoose = p.loose()
	}
	sent, err := b.call(ctx, Starting, b.Profiler.Start, &m.StartSent, &m.StartAnswered)
	m.Called = sent
	if err == nil {
		return nil
	}
	var refused *RefusedError
	if sent && (!errors.As(err, &refused) || refused.Status >= 500 && !b.TrustErrors) {
		// The server may record all the same: its answer did not come, or an error after some of its
		// processes had begun. A stop without a start is harmless.
		session.StopError = b.stop(ctx, m)
		if session.StopError != nil && !errors.As(session.StopError, &refused) {
			return errors.Join(err, session.StopError)
		}
	}
	return err
}

func (b Bracket) stop(ctx context.Context, m *Marks) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	if b.Leave != nil {
		defer context.AfterFunc(b.Leave, func() { cancel(context.Cause(b.Leave)) })()
	}
	if b.StopLimit > 0 {
		timer := time.AfterFunc(b.StopLimit, func() {
			cancel(fmt.Errorf("no answer after %v: the server may still be writing its trace", b.StopLimit))
		})
		defer timer.Stop()
	}
	_, err := b.call(ctx, Stopping, b.Profiler.Stop, &m.StopSent, &m.StopAnswered)
	return err
}

// call makes one call and stamps it. sent says that bytes went to a server.
func (b Bracket) call(ctx context.Context, phase Phase, do func(context.Context) error, sentAt, answeredAt *int64) (sent bool, err error) {
	// The transport says when the connection stood and when the answer began: dialling and reading are
	// not between the stamps. A profiler that speaks no HTTP is stamped around the call.
	var connected, answered atomic.Int64
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { connected.Store(b.now()) },
		GotFirstResponseByte: func() { answered.Store(b.now()) },
	})
	before := b.now()
	err = b.watched(phase, func() error { return do(traced) })
	after := b.now()
	if at := connected.Load(); at != 0 {
		*sentAt, *answeredAt = at, answered.Load()
		if *answeredAt == 0 && err == nil {
			*answeredAt = after // a transport that does not say when the answer began
		}
		return true, err
	}
	if err == nil {
		*sentAt, *answeredAt = before, after
	}
	return false, err
}

// watched runs do and tells the progress once a second.
func (b Bracket) watched(phase Phase, do func() error) error {
	if b.Progress == nil {
		return do()
	}
	began := time.Now()
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.Progress(phase, time.Since(began).Truncate(time.Second))
			case <-done:
				return
			}
		}
	})
	defer telling.Wait()
	defer close(done)
	return do()
}
