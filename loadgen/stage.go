package loadgen

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/time/rate"

	"servebench/datasets"
	"servebench/results"
)

// Bodies that wait for their due time are bounded in bytes and in number.
const (
	aheadBytes = 64 << 20
	aheadMost  = 4096
)

// together is how many users of a closed loop come at once, a millisecond before the next ones. A connection and a first request take the
// client some 80 us. The runtime looks at the network when it has nothing else to do, so with a thousand users at once the
// first replies would lie unread until their second token came too, and their TTFT would be wrong by a gap: measured with TestAccuracy
// at 1,000 streams, p99 20 ms then, 0.02 ms so.
const together = 8

// A stageRun is one stage under way.
type stageRun struct {
	*engine
	Stage
	index int
	// base is the number of requests of the whole run before this stage.
	base int
	// start is when the stage begins, zero for now; end is when it is over for the stage after it.
	start, end results.Moment
	// began is called when the stage begins; it may be nil.
	began func()

	ready chan job      // jobs in order
	room  chan struct{} // a token for each job in ready

	prepared atomic.Int64 // due times that the preparer went through
	lastDue  atomic.Int64 // the last of them, whichever shard it is of

	taking  sync.Mutex // holds takers in order, also while they wait for ready
	last    int        // the last request taken
	tookAny bool

	once sync.Once     // closes over
	over chan struct{} // closed when the stage sends nothing more
}

func (s *stageRun) run() {
	if s.Talks != nil {
		s.talk()
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	var preparer conc.WaitGroup
	defer preparer.Wait()
	defer stop()
	s.end = s.start
	s.ready = make(chan job, aheadMost)
	firstBatch := make(chan struct{})
	preparer.Go(func() { s.prepareAll(ctx, sync.OnceFunc(func() { close(firstBatch) })) })
	if s.index == 0 { // later stages have begun to count already
		select {
		case <-firstBatch:
		case <-ctx.Done():
			return
		}
	}
	if s.start == 0 {
		s.start = s.Clock.Now()
	} else if s.Clock.Until(ctx, s.start) != nil {
		return
	}
	s.end = s.start
	s.begins()
	if s.Users > 0 {
		s.closedLoop(ctx)
	} else {
		s.openLoop(ctx)
	}
	s.finish()
}

// begins tells that the stage begins.
func (s *stageRun) begins() {
	if s.index == 0 {
		s.Live.Started.Store(int64(s.start))
	}
	s.Live.Stages.Store(int64(s.index + 1))
	if s.began != nil {
		s.began()
	}
}

// finish marks that the stage sends nothing more.
func (s *stageRun) finish() { s.once.Do(func() { close(s.over) }) }

// nextBase is the number of requests of the whole run up to the end of this stage. A closed loop that ended by time went
// as far as it went: its shards go on in steps that keep their numbers apart.
func (s *stageRun) nextBase() int {
	s.taking.Lock()
	defer s.taking.Unlock()
	switch {
	case s.Talks != nil:
		return s.base + s.Talks.Requests
	case s.Users == 0:
		return s.base + int(s.prepared.Load())
	case s.Count > 0 && s.For == 0:
		return s.base + s.Count
	case !s.tookAny:
		return s.base
	case s.Shard.N <= 1:
		return s.last + 1
	default:
		return s.last - s.Shard.K + s.Shard.N
	}
}

// prepareAll words the stage's requests in order, as far ahead as there is room; firstBatch is called
// once there is none left or no request left.
func (s *stageRun) prepareAll(ctx context.Context, firstBatch func()) {
	defer close(s.ready)
	defer firstBatch()
	nextDue, stopDue := s.dueTimes()
	defer stopDue()
	for n := 0; s.Count == 0 || n < s.Count; n++ {
		due, ok := nextDue()
		if !ok || s.For > 0 && due >= s.For {
			return
		}
		s.prepared.Store(int64(n + 1))
		s.lastDue.Store(int64(due))
		i := s.base + n
		if !s.Shard.Has(i) {
			continue
		}
		j, ok := s.prepare(i)
		if !ok {
			return
		}
		j.due = due
		if s.room == nil {
			s.room = make(chan struct{}, s.ahead(j))
		}
		select {
		case s.room <- struct{}{}:
		default:
			firstBatch()
			select {
			case s.room <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		s.ready <- j // has room: ready is at least as large as room
	}
}

// ahead is how many jobs of the size of j may wait.
func (s *stageRun) ahead(j job) int {
	if j.call == nil {
		return aheadMost
	}
	return min(aheadMost, max(64, s.Users, aheadBytes/max(1, j.call.Size())))
}

// prepare words request i of the run; false when there is no such request.
func (s *stageRun) prepare(i int) (job, bool) {
	r, ok := s.Requests(i)
	if !ok {
		return job{}, false
	}
	r.ID = i
	if r.Kind == "" {
		r.Kind = results.Load
	}
	j := job{Request: r, stage: s.index}
	began := s.Clock.Now()
	j.call, j.err = s.Sender.Prepare(r)
	j.encoding, _ = s.Clock.Now().Sub(began)
	return j, true
}

// dueTimes pulls the stage's due times. A closed loop has none: each is zero.
func (s *stageRun) dueTimes() (next func() (time.Duration, bool), stop func()) {
	switch {
	case s.Users > 0:
		return func() (time.Duration, bool) { return 0, true }, func() {}
	case s.Due == nil:
		return func() (time.Duration, bool) { return 0, false }, func() {}
	}
	return iter.Pull(s.Due)
}

// take is the next job, in order; false when there is none or the stage is over.
func (s *stageRun) take() (job, bool) {
	s.taking.Lock()
	defer s.taking.Unlock()
	select {
	case <-s.over:
		return job{}, false
	default:
	}
	j, ok := <-s.ready
	if !ok {
		return job{}, false
	}
	<-s.room
	s.last, s.tookAny = j.ID, true
	return j, true
}

// openLoop sends on schedule. Nothing in its loop waits for a server, a disk or a limit: what has to wait, waits elsewhere.
func (s *stageRun) openLoop(ctx context.Context) {
	dispatch := func(w waiting) {
		s.senders.Go(func() { s.send(w.job, w.due, w.released) })
	}
	if limit := s.Shard.share(s.Limit); s.Limit > 0 {
		queue := newMailbox[waiting]()
		defer queue.close()
		for range max(1, limit) {
			s.senders.Go(func() {
				for w, ok := queue.take(); ok; w, ok = queue.take() {
					s.Live.Queued.Add(-1)
					s.send(w.job, w.due, w.released)
				}
			})
		}
		dispatch = func(w waiting) {
			s.Live.Queued.Add(1)
			queue.put(w)
		}
	}
	for j, ok := s.take(); ok; j, ok = s.take() {
		due := s.start.Add(j.due)
		if ctx.Err() != nil || s.Clock.Until(ctx, due) != nil {
			return
		}
		released := s.Clock.Now()
		s.Live.Released.Add(1)
		dispatch(waiting{j, due, released})
		// The sender runs at once on this thread, which is awake, instead of waiting until another one is woken: see wire.Pacer.
		runtime.Gosched()
	}
	// The stage ends with the last request of the whole run, so that the next one begins at the same moment in every shard.
	s.end = s.start.Add(time.Duration(s.lastDue.Load()))
	if s.For > 0 {
		s.end = s.start.Add(s.For)
	}
}

// A waiting job was let go by the pacer.
type waiting struct {
	job
	due, released results.Moment
}

// closedLoop lets the users run and returns when the stage sends nothing more; replies may still be under way.
func (s *stageRun) closedLoop(ctx context.Context) {
	var ceiling *rate.Limiter
	if s.MaxRate > 0 {
		ceiling = rate.NewLimiter(rate.Limit(s.MaxRate/float64(s.Shard.step())), 1)
	}
	if s.Shard.share(s.Users) == 0 {
		s.finish() // more shards than users: nobody else would end the stage
	}
	come, arrived := s.start, 0
	for u := range s.Users {
		if !s.Shard.Has(u) {
			continue
		}
		if arrived++; arrived > together && (arrived-1)%together == 0 {
			time.Sleep(time.Millisecond)
			come = s.Clock.Now()
		}
		due := come
		s.senders.Go(func() { s.user(ctx, u, due, ceiling) })
		runtime.Gosched()
	}
	if s.For > 0 {
		var timer conc.WaitGroup
		timed, stop := context.WithCancel(ctx)
		timer.Go(func() {
			if s.Clock.Until(timed, s.start.Add(s.For)) == nil {
				s.finish()
			}
		})
		defer timer.Wait()
		defer stop()
	}
	select {
	case <-s.over:
	case <-ctx.Done():
	}
	s.end = s.Clock.Now()
}

// user is one user of a closed loop: it ends the stage when it finds no more to send.
func (s *stageRun) user(ctx context.Context, number int, due results.Moment, ceiling *rate.Limiter) {
	for {
		if ctx.Err() != nil || s.Clock.Until(ctx, due) != nil {
			return
		}
		if ceiling != nil {
			if ceiling.Wait(ctx) != nil {
				return
			}
			due = s.Clock.Now()
		}
		j, ok := s.take()
		if !ok {
			s.finish()
			return
		}
		j.user = number
		s.Live.Released.Add(1)
		s.send(j, due, s.Clock.Now())
		due = s.Clock.Now().Add(s.Think)
	}
}

func audioSeconds(sample datasets.Sample) float64 {
	total := 0.0
	for _, m := range sample.Media {
		total += m.Seconds
	}
	return total
}
