package sim

import (
	"math"
	"sync/atomic"
	"time"
)

// A clock reads Unix nanoseconds that follow the wall clock as it stood when the server was
// made and the monotonic clock from then on, so that log, traces and streams agree.
type clock struct{ start time.Time }

func newClock() clock { return clock{start: time.Now()} }

func (c clock) now() int64 { return c.start.UnixNano() + int64(time.Since(c.start)) }

// An alarm wakes one goroutine at an absolute moment. time.Sleep is not good enough for that: the
// runtime's network poller counts in whole milliseconds, so it oversleeps by up to one. The kernel's
// timer, where there is one, is late by some tens of microseconds.
type alarm struct {
	clock  clock
	kernel *kernelTimer // nil: none, or the time is a test's own
	poked  atomic.Bool
	pokes  chan struct{}
}

func newAlarm(c clock) *alarm {
	a := &alarm{clock: c, pokes: make(chan struct{}, 1)}
	if !timeIsFaked() {
		a.kernel = newKernelTimer()
	}
	return a
}

// never is a deadline that only a poke ends.
const never = math.MaxInt64

// wait returns at the deadline, or earlier when somebody pokes; it says whether somebody did.
func (a *alarm) wait(deadline int64) (wasPoked bool) {
	for {
		var left int64
		if deadline != never {
			if left = deadline - a.clock.now(); left <= 0 {
				return false
			}
		}
		if a.kernel != nil {
			a.kernel.set(left)
			// A poke that came before the timer was set is seen here; one that comes
			// later sets the timer anew, and is seen after the wait.
			if a.poked.Swap(false) {
				return true
			}
			if a.kernel.wait() {
				if a.poked.Swap(false) {
					return true
				}
				continue
			}
		}
		var fires <-chan time.Time
		if deadline != never {
			timer := time.NewTimer(time.Duration(left))
			defer timer.Stop()
			fires = timer.C
		}
		select {
		case <-fires:
		case <-a.pokes:
			return true
		}
	}
}

// poke ends the wait under way, or else the next one.
func (a *alarm) poke() {
	if k := a.kernel; k != nil {
		a.poked.Store(true)
		k.set(1)
		return
	}
	select {
	case a.pokes <- struct{}{}:
	default:
	}
}

func (a *alarm) close() {
	if a.kernel != nil {
		a.kernel.close()
	}
}
