package loadgen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"servebench/datasets"
	"servebench/results"
)

const ms = time.Millisecond

// A testClock is the bubble's own time.
type testClock struct{}

func (testClock) Now() results.Moment { return results.Moment(time.Now().UnixNano()) }

func (testClock) Until(ctx context.Context, at results.Moment) error {
	select {
	case <-time.After(time.Until(at.Time())):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A testServer takes a fixed time for every reply.
type testServer struct {
	takes   time.Duration
	prepare func(Request) error
}

func (s testServer) Prepare(r Request) (Call, error) {
	if s.prepare != nil {
		if err := s.prepare(r); err != nil {
			return nil, err
		}
	}
	return testCall(s.takes), nil
}

type testCall time.Duration

func (testCall) Size() int      { return 100 }
func (testCall) Sequences() int { return 0 }

func (c testCall) Send(ctx context.Context) results.Reply {
	began := testClock{}.Now()
	select {
	case <-time.After(time.Duration(c)):
		return results.Reply{Written: began, Done: testClock{}.Now(), Status: 200}
	case <-ctx.Done():
		return results.Reply{Written: began, Failure: &results.Failure{Class: results.FailCancelled, Message: ctx.Err().Error()}}
	}
}

func numbered(n int) func(int) (Request, bool) {
	return func(i int) (Request, bool) {
		return Request{Sample: datasets.Sample{ID: fmt.Sprint(i)}}, n == 0 || i < n
	}
}

func every(d time.Duration, n int) func(func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		for i := range n {
			if !yield(time.Duration(i) * d) {
				return
			}
		}
	}
}

// offsets are the records' due times, dispatch times and ends, from the earliest due time, ordered by id.
func collect(recs []results.Record) (due, dispatched, done []time.Duration) {
	slices.SortFunc(recs, func(a, b results.Record) int { return a.ID - b.ID })
	start := recs[0].Due
	for _, r := range recs {
		start = min(start, r.Due)
	}
	for _, r := range recs {
		due = append(due, time.Duration(r.Due-start))
		dispatched = append(dispatched, time.Duration(r.Dispatched-start))
		done = append(done, time.Duration(r.Done-start))
	}
	return due, dispatched, done
}

func TestOpenLoopDoesNotWaitForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(5), Sender: testServer{takes: time.Hour}, Clock: testClock{},
			Stages: []Stage{{Due: every(100*ms, 5)}},
		}))
		due, dispatched, _ := collect(recs)
		want := []time.Duration{0, 100 * ms, 200 * ms, 300 * ms, 400 * ms}
		if !slices.Equal(due, want) || !slices.Equal(dispatched, want) {
			t.Errorf("due %v, dispatched %v; want %v for both", due, dispatched, want)
		}
	})
}

func TestLimitedOpenLoopQueuesInOrderAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(4), Sender: testServer{takes: 300 * ms}, Clock: testClock{},
			Stages: []Stage{{Due: every(100*ms, 4), Limit: 1}},
		}))
		due, dispatched, _ := collect(recs)
		if want := []time.Duration{0, 100 * ms, 200 * ms, 300 * ms}; !slices.Equal(due, want) {
			t.Errorf("due %v; want %v", due, want)
		}
		if want := []time.Duration{0, 300 * ms, 600 * ms, 900 * ms}; !slices.Equal(dispatched, want) {
			t.Errorf("dispatched %v; want %v", dispatched, want)
		}
		for i, want := range []time.Duration{0, 200 * ms, 400 * ms, 600 * ms} {
			if got, ok := recs[i].QueueTime(); got != want || !ok {
				t.Errorf("request %d queued for %v, %t; want %v", i, got, ok, want)
			}
			if late, ok := recs[i].Lateness(); late != 0 || !ok {
				t.Errorf("request %d was let go %v late, %t; want 0", i, late, ok)
			}
		}
	})
}

func TestClosedLoopSendsWhenAUserIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(5), Sender: testServer{takes: 100 * ms}, Clock: testClock{},
			Stages: []Stage{{Users: 2, Think: 50 * ms}},
		}))
		due, dispatched, done := collect(recs)
		want := []time.Duration{0, 0, 150 * ms, 150 * ms, 300 * ms}
		if !slices.Equal(due, want) || !slices.Equal(dispatched, want) {
			t.Errorf("due %v, dispatched %v; want %v for both", due, dispatched, want)
		}
		if got, want := done[4], 400*ms; got != want {
			t.Errorf("the last reply ended at %v; want %v", got, want)
		}
	})
}

func TestCeilingOfAClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(4), Sender: testServer{takes: ms}, Clock: testClock{},
			Stages: []Stage{{Users: 4, MaxRate: 10}},
		}))
		_, dispatched, _ := collect(recs)
		if want := []time.Duration{0, 100 * ms, 200 * ms, 300 * ms}; !slices.Equal(dispatched, want) {
			t.Errorf("dispatched %v; want %v", dispatched, want)
		}
	})
}

func TestStagesFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(0), Sender: testServer{takes: 250 * ms}, Clock: testClock{},
			Stages: []Stage{
				{Due: every(100*ms, 100), For: 300 * ms},
				{Users: 2, For: 600 * ms},
				{Due: every(100*ms, 2)},
			},
		}))
		due, _, _ := collect(recs)
		want := []time.Duration{
			0, 100 * ms, 200 * ms, // the first stage
			300 * ms, 300 * ms, 550 * ms, 550 * ms, 800 * ms, 800 * ms, // two users until 900 ms
			900 * ms, 1000 * ms,
		}
		if !slices.Equal(due, want) {
			t.Errorf("due %v; want %v", due, want)
		}
		for i, stage := range []int{0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2} {
			if recs[i].Stage != stage || recs[i].ID != i {
				t.Errorf("record %d: request %d of stage %d; want stage %d", i, recs[i].ID, recs[i].Stage, stage)
			}
		}
	})
}

func TestShardsTogetherAreTheWholeRun(t *testing.T) {
	plan := func(shard Shard, stages ...Stage) Plan {
		return Plan{Requests: numbered(50), Sender: testServer{takes: 70 * ms}, Clock: testClock{}, Stages: stages, Shard: shard}
	}
	for _, stages := range [][]Stage{
		{{Due: every(10*ms, 23)}, {Due: every(30*ms, 100)}},
		{{Users: 14, Count: 30}, {Due: every(10*ms, 100)}},
	} {
		synctest.Test(t, func(t *testing.T) {
			whole := slices.Collect(Run(t.Context(), plan(Shard{}, stages...)))
			for _, n := range []int{1, 2, 3, 7} {
				var union []results.Record
				for k := range n {
					p := plan(Shard{k, n}, stages...)
					union = append(union, slices.Collect(Run(t.Context(), p))...)
				}
				slices.SortFunc(union, func(a, b results.Record) int { return a.ID - b.ID })
				slices.SortFunc(whole, func(a, b results.Record) int { return a.ID - b.ID })
				if len(union) != len(whole) {
					t.Fatalf("%d shards sent %d requests; want %d", n, len(union), len(whole))
				}
				for i := range whole {
					if union[i].ID != whole[i].ID || union[i].RequestID != whole[i].RequestID || union[i].Stage != whole[i].Stage {
						t.Errorf("%d shards: record %d is request %d of stage %d; want %d of %d", n, i,
							union[i].ID, union[i].Stage, whole[i].ID, whole[i].Stage)
					}
				}
			}
		})
	}
}

func TestStopCutsWhatIsInFlightAndRecordsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(150*ms, stop)
		recs := slices.Collect(Run(ctx, Plan{
			Requests: numbered(0), Sender: testServer{takes: time.Hour}, Clock: testClock{},
			Stages: []Stage{{Due: every(100*ms, 100), Limit: 1}},
		}))
		if len(recs) != 2 {
			t.Fatalf("%d records; want 2: one in flight, one queued", len(recs))
		}
		for _, r := range recs {
			if r.Failure == nil || r.Failure.Class != results.FailCancelled {
				t.Errorf("request %d: %v; want it cancelled", r.ID, r.Failure)
			}
		}
	})
}

func TestLeavingTheLoopStopsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var live Live
		for range Run(t.Context(), Plan{
			Requests: numbered(0), Sender: testServer{takes: 10 * ms}, Clock: testClock{}, Live: &live,
			Stages: []Stage{{Users: 3}},
		}) {
			break
		}
		if got := live.InFlight.Load(); got != 0 {
			t.Errorf("%d requests in flight after the loop; want 0", got)
		}
	})
}

func TestARequestThatCannotBeWordedIsARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Requests: numbered(2), Clock: testClock{},
			Sender: testServer{takes: ms, prepare: func(r Request) error {
				if r.ID == 1 {
					return errors.New("no words")
				}
				return nil
			}},
			Stages: []Stage{{Users: 1}},
		}))
		if len(recs) != 2 || !recs[0].OK() || recs[1].OK() || recs[1].Failure.Message != "no words" {
			t.Errorf("records %+v; want the second to fail with its reason", recs)
		}
	})
}

func TestProbesRunBesideTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes []time.Duration
		var start results.Moment
		for rec := range Run(t.Context(), Plan{
			Requests: numbered(1), Sender: testServer{takes: 250 * ms}, Clock: testClock{},
			Stages: []Stage{{Users: 1}},
			Probe:  &Probe{Sender: testServer{takes: 20 * ms}, Every: 80 * ms},
		}) {
			if rec.Kind == results.Probe {
				if start == 0 {
					start = rec.Due
				}
				probes = append(probes, time.Duration(rec.Due-start))
			}
		}
		if want := []time.Duration{0, 100 * ms, 200 * ms}; !slices.Equal(probes, want) {
			t.Errorf("probes at %v; want %v", probes, want)
		}
	})
}

func TestAPanicInASenderIsRunsOwn(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the panic of a sender was lost")
		}
	}()
	for range Run(t.Context(), Plan{
		Requests: numbered(1), Clock: testClock{}, Stages: []Stage{{Users: 1}},
		Sender: testServer{prepare: func(Request) error { panic("boom") }},
	}) {
	}
}
