package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"servebench/results"
)

// lateFrom is how late a shard's first request may leave before the shard counts as late for the common start: what one
// pause of a healthy client may cost.
const lateFrom = 10 * time.Millisecond

// drainLimit bounds the wait for the other shards' requests to end.
const drainLimit = 10 * time.Minute

// sharded says whether this process sends only a part of the load.
func (r *runner) sharded() bool { return r.Shard.N > 1 }

// leads says whether this process does what is done once for all shards: it brackets the load with the profiler and sends the
// probes. A run that is not dealt to shards leads itself.
func (r *runner) leads() bool { return r.Shard.K == 0 }

// shardMark is the manifest's word on the shard; nil for a whole run.
func (r *runner) shardMark() *results.Shard {
	if !r.sharded() {
		return nil
	}
	return &results.Shard{K: r.Shard.K, N: r.Shard.N, StartAt: r.StartAt}
}

// CheckShards says whether the load can be dealt to n processes.
func (s *Scenario) CheckShards(n int) error {
	if s.Script != nil || s.Server.EndsBy != "" {
		return errors.New("a script loads its engine by itself, in one process: it has no shards")
	}
	for i, l := range s.loads() {
		if l.Concurrency > 0 && l.Concurrency < n {
			at := "load.concurrency"
			if len(s.Stages) > 0 {
				at = fmt.Sprintf("stages.%d.concurrency", i)
			}
			return fmt.Errorf("%s is %d, and each of %d shards needs one of it: take fewer shards", at, l.Concurrency, n)
		}
	}
	return nil
}

// checkShard refuses what shards cannot do together.
func (r *runner) checkShard() error {
	if !r.sharded() {
		return nil
	}
	shard := results.Shard{K: r.Shard.K, N: r.Shard.N}
	if err := r.CheckShards(shard.N); err != nil {
		return fmt.Errorf("shard %s: %w", shard, err)
	}
	switch {
	case r.Options.Sim:
		return fmt.Errorf("shard %s: every shard would start a simulator of its own: start one with servebench sim, and give its address with --url", shard)
	case r.URL == "" && len(r.Server.Command) > 0:
		return fmt.Errorf("shard %s: every shard would start the server: start it once, and give its address with --url (servebench slurm prints a script that does)", shard)
	}
	return nil
}

// noteClocks keeps how far other clocks are ahead of this machine's, where several machines share a load. The reference is a
// time server, or empty.
func (r *runner) noteClocks(ctx context.Context, reference string) {
	if !r.sharded() {
		return
	}
	offsets, err := clockOffsets(ctx, r.clock.Now, r.target, reference)
	r.update(func(m *results.Manifest) { m.Offsets = offsets })
	if err != nil {
		r.warn("%v", err)
	}
}

// warmupShare is how many of n warm-up requests this process sends; they are dealt as the load is.
func (r *runner) warmupShare(n int) int {
	if !r.sharded() {
		return n
	}
	return max(0, (n-r.Shard.K+r.Shard.N-1)/r.Shard.N)
}

// A startWatch notices whether a shard was late for the start that it shares with the others.
type startWatch struct {
	at     results.Moment
	before time.Duration // how late it was already when the load was to begin
	// first is the request of the lowest id so far, and lateness how late it left.
	first    int
	seen     bool
	lateness time.Duration
}

// watchStart begins to watch, right before the load.
func (r *runner) watchStart() *startWatch {
	w := &startWatch{at: r.StartAt}
	if now := r.clock.Now(); w.at != 0 && now > w.at {
		w.before = time.Duration(now - w.at)
	}
	return w
}

// add looks at a record: the first request tells whether the load was ready in time.
func (w *startWatch) add(rec *results.Record) {
	if w.at == 0 || rec.Kind != results.Load || w.seen && rec.ID >= w.first {
		return
	}
	if lateness, ok := rec.Lateness(); ok {
		w.first, w.seen, w.lateness = rec.ID, true, lateness
	}
}

// late is how much too late the load began; zero when it was in time.
func (w *startWatch) late() time.Duration {
	if w.lateness > lateFrom {
		return max(w.before, w.lateness)
	}
	return w.before
}

// noteStart keeps what was noticed with the run, and says it.
func (r *runner) noteStart(w *startWatch) {
	late := w.late()
	if late == 0 {
		return
	}
	r.update(func(m *results.Manifest) {
		if m.Shard != nil {
			m.Shard.Late = late
		}
	})
	r.warn("the load began %v after the moment that --start-at gave: its requests were late, and a merge will refuse this shard", late.Round(time.Millisecond))
}

// drain waits until the server runs nothing any more: what the other shards sent is over then as well. The server must have stood
// idle for longer than requests lie apart, so that a pause between two of them is not taken for the end.
func (r *runner) drain(ctx context.Context) {
	if !r.sharded() {
		return
	}
	quiet := r.quiet()
	r.Watcher.Phase("waiting for the other shards' requests to end")
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	var idle results.Moment
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		busy, err := r.busy(ctx)
		now := r.clock.Now()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.warn("whether the other shards' requests are over is not known, and the bracket may have ended before them: %v", err)
			return
		case busy > 0:
			idle = 0
		case idle == 0:
			idle = now
		case time.Duration(now-idle) >= quiet:
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if busy > 0 {
				r.warn("the server still ran %g requests %v after this shard's own were over: the bracket ended before them", busy, drainLimit)
			}
			return
		}
	}
}

// busy is how many requests the server runs or has waiting.
func (r *runner) busy(ctx context.Context) (float64, error) {
	m, err := r.target.Scrape(ctx)
	if m == nil {
		return 0, err
	}
	running, ok := m.Running()
	if !ok {
		return 0, fmt.Errorf("%s says nothing of running requests", results.RedactURL(r.target.URL("/metrics")))
	}
	waiting, _ := m.Waiting()
	return running + waiting, nil
}

// quiet is how long the server must stand idle before the load counts as over: two seconds, and ten mean gaps of an open loop, which
// one gap in 22,000 of a Poisson process exceeds.
func (r *runner) quiet() time.Duration {
	quiet := 2 * time.Second
	for _, l := range r.loads() {
		rate := math.Inf(1)
		switch {
		case l.Ramp != nil:
			rate = max(min(l.Ramp.From, l.Ramp.To), 0.1)
		case !l.Rate.Infinite():
			rate = float64(*l.Rate)
		}
		quiet = max(quiet, time.Duration(10/rate*float64(time.Second)), 2*time.Duration(l.Think))
	}
	return min(quiet, time.Minute)
}
