package canary

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"servebench/loadgen/wire"
	"servebench/results"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// TestErrorIsMeasuredLessTrue does the arithmetic: the first token's error is against the whole request, a gap's against its gap, and
// whoever stamped counts by its own stamps.
func TestErrorIsMeasuredLessTrue(t *testing.T) {
	var found [2]samples
	s := &found[paced]
	chunk := func(at, lag time.Duration) results.Chunk { return results.Chunk{At: results.Moment(at), Lag: lag} }
	// Written at 10, received at 11; the events left at 31, 51 and 71, and came 1 ms later each, but for the second, which was
	// read with the third.
	s.add(&results.Reply{
		Written: results.Moment(10 * ms),
		Chunks:  []results.Chunk{chunk(32*ms, 3*ms), chunk(72*ms, 0), chunk(72*ms, 0)},
	}, truth{received: int64(11 * ms), sent: []int64{int64(31 * ms), int64(51 * ms), int64(71 * ms)}})
	for _, tc := range []struct {
		name       string
		kernel     bool
		ttft       time.Duration
		least, max time.Duration
	}{
		{"the kernel's stamps", true, 2 * ms, 20 * ms, 20 * ms}, // 22 measured, 20 true; gaps 40 and 0 for 20 and 20
		{"the client's own", false, 5 * ms, 17 * ms, 20 * ms},   // 25 measured; the first gap is 37
	} {
		c := sum(&found, tc.kernel)
		if c.Requests != 1 || c.Events != 3 || c.TTFT.Max != tc.ttft || c.ITL.Max != tc.max {
			t.Errorf("%s: %d requests, %d events, TTFT %v, ITL up to %v; want 1, 3, %v, %v", tc.name, c.Requests, c.Events, c.TTFT.Max, c.ITL.Max, tc.ttft, tc.max)
		}
		if got := time.Duration(min(s.by[0].itl[0], s.by[0].itl[1])); tc.kernel && got != tc.least {
			t.Errorf("%s: the smaller error of a gap is %v; want %v", tc.name, got, tc.least)
		}
	}
}

// TestBothMannersTogether: what the kernel's timers may have added to a paced song counts for nothing beside a spoken one, what is more counts.
func TestBothMannersTogether(t *testing.T) {
	const us = time.Microsecond
	spoken := &results.Error{P50: us, P99: 4 * us, Max: 40 * ms}
	for _, tc := range []struct {
		name                string
		paced, spoken, want *results.Error
	}{
		{"nothing wrong", &results.Error{P50: 5 * us, P99: 30 * us, Max: 99 * us}, spoken, spoken},
		{"starved", &results.Error{P50: 20 * us, P99: 20 * ms, Max: 20 * ms}, spoken, &results.Error{P50: us, P99: 20 * ms, Max: 40 * ms}},
		{"paced alone", &results.Error{P99: 30 * us}, nil, &results.Error{P99: 30 * us}},
		{"spoken alone", nil, spoken, spoken},
	} {
		if got := together(tc.paced, tc.spoken); *got != *tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, *got, *tc.want)
		}
	}
	if got := together(nil, nil); got != nil {
		t.Errorf("%+v of nothing", *got)
	}
}

func TestNothingMeasuredIsNoCanary(t *testing.T) {
	if got := sum(new([2]samples), true); got != nil {
		t.Errorf("%+v of nothing; want nil", got)
	}
}

// TestRehearsal has several streams sing at once, one of them spoken, and a canary beside them.
func TestRehearsal(t *testing.T) {
	clock := wire.NewClock()
	c, err := Start(clock, nil)
	if err != nil {
		t.Skip(err)
	}
	got, err := Rehearse(t.Context(), clock, 6, 8)
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests != 6 || got.Events != 48 || got.TTFT == nil || got.ITL == nil {
		t.Errorf("%+v; want 6 requests with 48 events and their errors", got)
	}
	if beside := c.Stop(true); beside != nil && beside.Events != events*beside.Requests {
		t.Errorf("%d events in %d requests; want %d each", beside.Events, beside.Requests, events)
	}
}
