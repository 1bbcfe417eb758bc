package loadgen

import (
	"context"
	"iter"
	"time"

	"github.com/sourcegraph/conc"

	"servebench/results"
)

// Run carries out the plan and yields a record for each request as it ends, in the order of their ends. When ctx
// ends, nothing more is sent, requests in flight are cut, and their records say so. Leaving the loop early does the same.
//
// Run waits for every goroutine that it started; a panic in one of them becomes its own.
func Run(ctx context.Context, plan Plan) iter.Seq[results.Record] {
	return func(yield func(results.Record) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		e := &engine{Plan: plan, ctx: ctx, records: newMailbox[results.Record]()}
		if e.Live == nil {
			e.Live = new(Live)
		}
		var driver conc.WaitGroup
		driver.Go(func() {
			defer e.records.close()
			e.drive()
		})
		wanted := true
		for {
			rec, ok := e.records.take()
			if !ok {
				break
			}
			if wanted && !yield(rec) {
				wanted = false
				stop()
			}
		}
		driver.Wait()
	}
}

// An engine is one run under way.
type engine struct {
	Plan
	// ctx is the run's: a stage that is over does not cut what it has in flight.
	ctx     context.Context
	records *mailbox[results.Record]
	senders conc.WaitGroup
}

// drive runs the stages. The load is over when the last reply ended; the probes end after it.
func (e *engine) drive() {
	loadOver, endLoad := context.WithCancel(e.ctx)
	var probes conc.WaitGroup
	defer probes.Wait()
	defer endLoad()
	defer e.senders.Wait()

	base, start := 0, e.Start
	for i, stage := range e.Stages {
		if e.ctx.Err() != nil {
			return
		}
		s := &stageRun{engine: e, Stage: stage, index: i, start: start, base: base, over: make(chan struct{})}
		if i == 0 && e.Probe != nil {
			s.began = func() { probes.Go(func() { e.probe(loadOver) }) }
		}
		s.run()
		base, start = s.nextBase(), s.end
	}
}

// A job is a request with its call; err is set instead of call when the request could not be worded.
type job struct {
	Request
	call     Call
	err      error
	encoding time.Duration
	due      time.Duration
	stage    int
	user     int
	turn     int
}

// send carries out a job and puts its record.
func (e *engine) send(j job, due, released results.Moment) {
	e.records.put(e.exchange(&j, due, released))
}

// record is a job's record before it is sent.
func (e *engine) record(j *job, due, released results.Moment) results.Record {
	rec := results.Record{
		ID: j.ID, Kind: j.Kind, RequestID: j.Sample.ID, Model: j.Model, Stage: j.stage, User: j.user, Turn: j.turn,
		InputTokens: j.Sample.InputTokens, AskedTokens: max(0, j.Sample.OutputTokens),
		AudioSeconds: audioSeconds(j.Sample),
		Due:          due, Released: released, Encoding: j.encoding,
	}
	if rec.Model == "" {
		rec.Model = e.Model
	}
	return rec
}

// exchange carries out a job.
func (e *engine) exchange(j *job, due, released results.Moment) results.Record {
	rec := e.record(j, due, released)
	e.Live.begin(e.Clock.Now())
	switch {
	case j.err != nil:
		rec.Failure = &results.Failure{Class: results.FailRequest, Message: j.err.Error()}
	case e.ctx.Err() != nil:
		rec.Failure = &results.Failure{Class: results.FailCancelled, Message: "the run ended before it was sent"}
	default:
		rec.Sequences = j.call.Sequences()
		rec.Dispatched = e.Clock.Now()
		rec.Reply = j.call.Send(e.ctx)
	}
	e.Live.end(e.Clock.Now(), rec.OK())
	return rec
}

// probe sends one probe at once, then each Every after the one before ended, until the load is over.
func (e *engine) probe(loadOver context.Context) {
	for n := 0; ; n++ {
		r := e.Probe.Request
		r.ID, r.Kind = n, results.Probe
		due := e.Clock.Now()
		rec := results.Record{ID: n, Kind: r.Kind, InputTokens: r.Sample.InputTokens, AskedTokens: r.Sample.OutputTokens, Due: due, Released: due}
		if call, err := e.Probe.Sender.Prepare(r); err != nil {
			rec.Failure = &results.Failure{Class: results.FailRequest, Message: err.Error()}
		} else {
			rec.Dispatched = e.Clock.Now()
			rec.Encoding, _ = rec.Dispatched.Sub(due)
			rec.Reply = call.Send(e.ctx)
		}
		e.records.put(rec)
		if e.Clock.Until(loadOver, e.Clock.Now().Add(e.Probe.Every)) != nil {
			return
		}
	}
}
