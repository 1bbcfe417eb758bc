package wire

import (
	"context"
	"time"
)

// A Pacer waits for moments. The loop that lets requests go on schedule owns one; it is not for concurrent use.
//
// How the loop hands a request on matters as much as the waiting. Start its goroutine and yield at once,
//
//	go send(request)
//	runtime.Gosched()
//
// and it runs on the very thread that was waiting, which is awake: without the yield, another thread has to be woken to
// find it. BenchmarkHandOff measures both.
type Pacer interface {
	// Until returns at the moment at, or as soon after as it can; at once when that has passed. The error is the
	// context's, when it ended first.
	Until(ctx context.Context, at int64) error
}

// Timers is a Pacer of the runtime's timers: portable, a millisecond late or so, and on virtual time inside a testing/synctest bubble.
func Timers(clock *Clock) Pacer { return &timers{clock: clock} }

type timers struct {
	clock *Clock
	timer *time.Timer
}

func (p *timers) Until(ctx context.Context, at int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := time.Duration(at - p.clock.Now())
		if left <= 0 {
			return nil
		}
		if err := p.sleep(ctx, left); err != nil {
			return err
		}
	}
}

// sleep waits for d, or for the context to end.
func (p *timers) sleep(ctx context.Context, d time.Duration) error {
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		p.timer.Stop()
		return ctx.Err()
	}
}

// Precise is a Pacer that is late by microseconds, as far as the system gives it a processor: it sleeps on an exact timer of the kernel and
// spins for the last few. Elsewhere than on Linux it spins for longer, since timers are coarser there. It follows
// real time only. A context that ends is noticed within four milliseconds.
func Precise(clock *Clock) Pacer { return &precise{timers: timers{clock: clock}} }

type precise struct{ timers }

func (p *precise) Until(ctx context.Context, at int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := time.Duration(at - p.clock.Now())
		switch {
		case left <= 0:
			return nil
		case left > coarse:
			// Far away: a timer that the context can interrupt.
			if err := p.sleep(ctx, left-coarse+coarse/4); err != nil {
				return err
			}
		case left > fine:
			exactSleep(left - fine)
		default:
			for p.clock.Now() < at {
			}
			return ctx.Err()
		}
	}
}
