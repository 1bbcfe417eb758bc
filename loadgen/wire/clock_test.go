package wire

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClockShowsWallTime(t *testing.T) {
	clock := NewClock()
	before := time.Now().UnixNano()
	now := clock.Now()
	after := time.Now().UnixNano()
	const slack = int64(10 * time.Microsecond) // the base is compared to within the width of a reading
	if now < before-slack || now > after+slack {
		t.Errorf("the clock shows %d between wall times %d and %d", now, before, after)
	}
	if got := clock.At(time.Unix(0, now)); got < now-slack || got > now+slack {
		t.Errorf("At(%d) = %d", now, got)
	}
	if got := clock.Time(now).UnixNano(); got != now {
		t.Errorf("Time(%d) is at %d", now, got)
	}
}

func TestClockFollowsVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := NewClock()
		start := clock.Now()
		if want := time.Now().UnixNano(); start != want {
			t.Errorf("the clock shows %d, want %d", start, want)
		}
		time.Sleep(time.Hour)
		if got := clock.Now() - start; got != int64(time.Hour) {
			t.Errorf("an hour took %v", time.Duration(got))
		}
		if got := clock.pair() - start; got != int64(time.Hour) || clock.Steps() != 0 {
			t.Errorf("a pair after an hour shows %v, %d steps", time.Duration(got), clock.Steps())
		}
	})
}

// stepped makes clock believe that the wall clock was ahead by offset until now, so that the next look at it
// finds it stepped back.
func stepped(clock *Clock, offset time.Duration) { clock.offset.Store(int64(offset)) }

func TestClockNoticesSteps(t *testing.T) {
	if !kernelStamps {
		t.Skip("the clocks of this system are too coarse for small steps")
	}
	clock := NewClock()
	for range 1000 {
		clock.pair()
	}
	if got := clock.Check(); got != 0 {
		t.Fatalf("%d steps of a steady clock (a test machine that sets its clock?)", got)
	}
	for i, by := range []time.Duration{time.Second, -time.Second, 10 * time.Microsecond, -10 * time.Microsecond} {
		stepped(clock, by)
		clock.pair()
		if got := clock.Steps(); got != int64(i)+1 {
			t.Errorf("a step by %v: %d steps counted, want %d", -by, got, i+1)
		}
		if got := clock.Offset(); got > 2*time.Microsecond || got < -2*time.Microsecond {
			t.Errorf("a step by %v left an offset of %v, want none", -by, got)
		}
	}
}

func TestKernelStampOnTheRunsClock(t *testing.T) {
	const (
		s    = int64(time.Second)
		us   = int64(time.Microsecond)
		seen = 1000 * s // on the run's clock
	)
	for _, tc := range []struct {
		name           string
		wall           int64
		offset, before int64
		sinceStep      int64 // from the step to seen; 0: none
		want           int64
		wantOK         bool
	}{
		{name: "no step", wall: seen - 5*us, want: seen - 5*us, wantOK: true},
		{name: "as late as the read", wall: seen, want: seen, wantOK: true},
		{name: "a hair later than the read", wall: seen + 100, want: seen, wantOK: true},
		{name: "after the read", wall: seen + us, wantOK: false},
		{name: "long after a step", wall: seen + s - 5*us, offset: s, sinceStep: 10 * s, want: seen - 5*us, wantOK: true},
		{name: "taken after a step forward", wall: seen + s - 5*us, offset: s, sinceStep: 10 * us, want: seen - 5*us, wantOK: true},
		{name: "taken before a step forward", wall: seen - 50*us, offset: s, sinceStep: 10 * us, want: seen - 50*us, wantOK: true},
		{name: "taken after a step back", wall: seen - s - 5*us, offset: -s, sinceStep: 10 * us, want: seen - 5*us, wantOK: true},
		{name: "taken before a step back", wall: seen - 50*us, offset: -s, sinceStep: 10 * us, want: seen - 50*us, wantOK: true},
		{name: "between two small steps the later reading", wall: seen - 50*us, offset: 20 * us, sinceStep: 10 * us, want: seen - 50*us, wantOK: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var clock Clock
			clock.offset.Store(tc.offset)
			clock.before.Store(tc.before)
			if tc.sinceStep != 0 {
				clock.stepped.Store(seen - tc.sinceStep)
			}
			got, ok := clock.fromWall(tc.wall, seen)
			if ok != tc.wantOK || ok && got != tc.want {
				t.Errorf("fromWall(%d) = %d, %t; want %d, %t", tc.wall-seen, got-seen, ok, tc.want-seen, tc.wantOK)
			}
		})
	}
}

func BenchmarkClock(b *testing.B) {
	clock := NewClock()
	b.Run("Now", func(b *testing.B) {
		for b.Loop() {
			clock.Now()
		}
	})
	b.Run("pair", func(b *testing.B) {
		for b.Loop() {
			clock.pair()
		}
	})
}
