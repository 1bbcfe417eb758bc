package scenario

import (
	"context"
	"sync"

	"servebench/loadgen/wire"
	"servebench/results"
)

// A runClock is the run's clock as the engine wants it. Its pacers spin for the last microseconds, so each
// waiter has one to itself.
type runClock struct {
	*wire.Clock
	pacers sync.Pool
}

func newRunClock() *runClock {
	c := &runClock{Clock: wire.NewClock()}
	c.pacers.New = func() any { return wire.Precise(c.Clock) }
	return c
}

func (c *runClock) Now() results.Moment { return results.Moment(c.Clock.Now()) }

func (c *runClock) Until(ctx context.Context, at results.Moment) error {
	if at <= c.Now() {
		return ctx.Err()
	}
	pacer, _ := c.pacers.Get().(wire.Pacer)
	defer c.pacers.Put(pacer)
	return pacer.Until(ctx, int64(at))
}
