// Package profiles holds a profiler around a run: how each engine's is started and
// stopped, the bracket that never leaves one running, and the collection of the trace files
// it wrote.
//
// A profiler lives in the server. Starting it takes milliseconds to seconds; stopping it
// takes as long as the server needs to write its trace, seconds to many minutes, and the
// model makes no token meanwhile.
package profiles

import "context"

// A Profiler is started before a load and stopped after it. It sees neither the load nor a
// clock: the Bracket stamps its calls.
type Profiler interface {
	// Start returns when the profiler records.
	Start(ctx context.Context) error
	// Stop returns when the trace is written, however long that takes; only ctx ends it sooner.
	Stop(ctx context.Context) error
}

// None profiles nothing.
type None struct{}

// Start does nothing.
func (None) Start(context.Context) error { return nil }

// Stop does nothing.
func (None) Stop(context.Context) error { return nil }
