// Package wire is the stopwatch: connections that know when their bytes left and
// came, the clock those moments are on, and a pacer that lets requests go on time.
//
// A busy client sees a byte long after it came: with a thousand streams, goroutines
// queue for the processor and a stamp taken after a read is milliseconds late. So a
// Conn asks the kernel, which stamped each packet when it arrived and each
// request when it left, and keeps the user-space stamp beside it: the difference is
// how late the client itself was. Where the kernel gives no stamp (Unix sockets, other
// systems) the user-space stamp stands in, and every stamp says which kind it is. A stamp can
// be late, and then says so; it is never early, save for the first loss of a segment on a connection: see
// Exchange.Disordered.
//
// All moments are int64 nanoseconds on the run's Clock.
package wire

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Clock is the clock of one run: Unix nanoseconds that follow the wall clock as it stood
// when the Clock was made and the monotonic clock from then on, so that a step of the wall clock
// moves no latency. It is safe for concurrent use. Inside a testing/synctest bubble it
// follows the bubble's time.
type Clock struct {
	base time.Time
	unix int64 // what the run's clock said at base

	// offset is the wall clock minus the run's clock, in nanoseconds: near zero until the wall clock
	// is stepped.
	offset atomic.Int64
	steps  atomic.Int64

	mu      sync.Mutex
	before  atomic.Int64 // the offset before the last step
	stepped atomic.Int64 // when that step was noticed; zero when there was none
}

const (
	// doubt is how far one reading of both clocks may differ from the known offset before the
	// clocks are compared carefully. The readings lie some 30 ns apart.
	doubt = 2 * int64(time.Microsecond)
	// stepMemory is how long after a step a kernel stamp from before it may turn up.
	stepMemory = int64(time.Second)
)

// NewClock starts a run's clock. It shows wall time.
func NewClock() *Clock {
	c := &Clock{base: time.Now()}
	c.unix = c.base.UnixNano()
	// The wall clock and the monotonic clock are read one after the other: when the goroutine
	// was interrupted in between, the base is off by as much.
	offset, _ := c.measure()
	c.unix += offset
	return c
}

// Now is the present moment.
func (c *Clock) Now() int64 { return c.unix + int64(time.Since(c.base)) }

// At is the moment of t on the run's clock. A time without a monotonic reading is taken as wall time.
func (c *Clock) At(t time.Time) int64 { return c.unix + int64(t.Sub(c.base)) }

// Time is m as wall time.
func (c *Clock) Time(m int64) time.Time { return time.Unix(0, m) }

// Steps is the number of times the wall clock was seen to jump against the monotonic clock
// since the run began. Steps move no moment of the run; they tell that
// other machines' stamps may not be comparable.
func (c *Clock) Steps() int64 { return c.steps.Load() }

// Offset is the wall clock minus the run's clock: zero unless the wall clock was stepped.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// Check compares the two clocks now, so that a step is noticed although no kernel stamp
// is being read, and returns Steps.
func (c *Clock) Check() int64 {
	c.compare()
	return c.steps.Load()
}

// pair is the present moment, read together with the wall clock to notice a step.
func (c *Clock) pair() int64 {
	t := time.Now()
	now := c.unix + int64(t.Sub(c.base))
	if drift := t.UnixNano() - now - c.offset.Load(); drift > doubt || drift < -doubt {
		c.compare()
	}
	return now
}

// measure is the wall clock minus the run's clock, from the closest of a few pairs of readings, and by how much
// that may be wrong.
func (c *Clock) measure() (offset, wrong int64) {
	best := int64(1 << 62)
	for range 8 {
		a, b := time.Now(), time.Now()
		// a.wall <= a.monotonic <= b.wall, in the order of reading.
		run := c.unix + int64(a.Sub(c.base))
		if width := b.UnixNano() - a.UnixNano(); width >= 0 && width < best {
			best = width
			offset = a.UnixNano() + width/2 - run
		}
	}
	return offset, best / 2
}

// compare looks for a step. Slewing (NTP) moves both clocks alike and does not show here.
func (c *Clock) compare() {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, wrong := c.measure()
	known := c.offset.Load()
	if wrong += smallestStep; offset-known <= wrong && known-offset <= wrong {
		return
	}
	c.before.Store(known)
	c.stepped.Store(c.Now())
	c.offset.Store(offset)
	c.steps.Add(1)
}

// fromWall is the moment of a wall-clock stamp that the kernel took no later than seen, a moment
// that came out of pair after the stamp was read. It is false when no reading of the stamp makes
// sense, which only a step that has not been noticed can cause.
func (c *Clock) fromWall(wall, seen int64) (int64, bool) {
	const slack = 200 // half of the width of a careful comparison, at most
	at := wall - c.offset.Load()
	ok := at <= seen+slack
	if stepped := c.stepped.Load(); stepped != 0 && seen-stepped < stepMemory {
		// The stamp may be from before the step. Of the readings that are possible
		// the later one is taken: late rather than early.
		if old := wall - c.before.Load(); old <= seen+slack && (!ok || old > at) {
			at, ok = old, true
		}
	}
	return min(at, seen), ok
}
