package wire

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimersFollowVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := NewClock()
		pacer := Timers(clock)
		start := clock.Now()
		for _, after := range []time.Duration{time.Nanosecond, time.Millisecond, time.Hour, time.Minute} {
			if err := pacer.Until(t.Context(), start+int64(after)); err != nil {
				t.Fatal(err)
			}
			want := max(after, time.Duration(clock.Now()-start)) // the last one has passed already
			if got := time.Duration(clock.Now() - start); got != want {
				t.Errorf("woke after %v, want %v", got, want)
			}
		}
		if got := time.Duration(clock.Now() - start); got != time.Hour {
			t.Errorf("a moment that had passed took until %v, want no time after an hour", got)
		}
	})
}

func TestTimersStopWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := NewClock()
		pacer := Timers(clock)
		start := clock.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pacer.Until(ctx, start+int64(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
		if got := time.Duration(clock.Now() - start); got != time.Second {
			t.Errorf("returned after %v, want 1s", got)
		}
		// A timer that was stopped must not fire into the next wait.
		if err := pacer.Until(t.Context(), start+int64(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(clock.Now() - start); got != time.Hour {
			t.Errorf("the next wait ended after %v, want 1h", got)
		}
	})
}

func TestPreciseIsNeverEarly(t *testing.T) {
	clock := NewClock()
	pacer := Precise(clock)
	at := clock.Now()
	for i := range 100 {
		at += int64(i) * int64(10*time.Microsecond)
		if err := pacer.Until(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if now := clock.Now(); now < at {
			t.Fatalf("woke %d ns early", at-now)
		}
	}
}

func TestPreciseStopsWithTheContext(t *testing.T) {
	clock := NewClock()
	pacer := Precise(clock)
	for _, far := range []time.Duration{time.Hour, 3 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := pacer.Until(ctx, clock.Now()+int64(far)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v ahead: error %v, want the context's", far, err)
		}
		if err := pacer.Until(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("a moment that has passed: error %v, want the context's", err)
		}
	}
}

// BenchmarkPacer is the lateness of a thousand arrivals a second. Its p99 must stay below 100 us on a quiet machine; what other
// processes take of the processors shows here.
func BenchmarkPacer(b *testing.B) {
	for _, bc := range []struct {
		name string
		make func(*Clock) Pacer
	}{{"precise", Precise}, {"timers", Timers}} {
		b.Run(bc.name, func(b *testing.B) {
			clock := NewClock()
			pacer := bc.make(clock)
			at := clock.Now() + int64(time.Millisecond)
			var late []int64
			for b.Loop() {
				if err := pacer.Until(b.Context(), at); err != nil {
					b.Fatal(err)
				}
				late = append(late, clock.Now()-at)
				at += int64(time.Millisecond)
			}
			report(b, late, "late")
		})
	}
}

// BenchmarkHandOff is the time from the due moment to the first line of the goroutine that was started for it.
func BenchmarkHandOff(b *testing.B) {
	for _, yields := range []bool{true, false} {
		name := "go+yield"
		if !yields {
			name = "go"
		}
		b.Run(name, func(b *testing.B) {
			clock := NewClock()
			pacer := Precise(clock)
			at := clock.Now() + int64(time.Millisecond)
			started := make(chan int64, 1)
			var late []int64
			for b.Loop() {
				if err := pacer.Until(b.Context(), at); err != nil {
					b.Fatal(err)
				}
				go func() { started <- clock.Now() }()
				if yields {
					runtime.Gosched()
				}
				late = append(late, <-started-at)
				at += int64(time.Millisecond)
			}
			report(b, late, "late")
		})
	}
}

func report(b *testing.B, ns []int64, what string) {
	slices.Sort(ns)
	b.ReportMetric(float64(ns[len(ns)/2])/1e3, "p50-us-"+what)
	b.ReportMetric(float64(ns[len(ns)*99/100])/1e3, "p99-us-"+what)
}
