package sim

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAlarmKeepsTestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		a := newAlarm(c)
		defer a.close()
		for _, d := range []time.Duration{time.Nanosecond, 1500 * time.Microsecond, time.Hour} {
			deadline := c.now() + int64(d)
			if a.wait(deadline) || c.now() != deadline {
				t.Errorf("woke %d ns off the deadline in %v", c.now()-deadline, d)
			}
		}
		go a.poke()
		before := c.now()
		if !a.wait(before+int64(time.Hour)) || c.now() != before {
			t.Error("a poke did not end the wait at once")
		}
	})
}

func TestAlarmOfTheKernel(t *testing.T) {
	c := newClock()
	a := newAlarm(c)
	defer a.close()
	deadline := c.now() + int64(3*time.Millisecond)
	if a.wait(deadline) || c.now() < deadline {
		t.Error("woke before the deadline")
	}
	a.poke() // before the wait: ends the next one
	if !a.wait(c.now() + int64(time.Hour)) {
		t.Error("an early poke was lost")
	}
	done := make(chan bool)
	go func() { done <- a.wait(c.now() + int64(time.Hour)) }()
	a.poke()
	if !<-done {
		t.Error("a poke did not end the wait")
	}
}

// BenchmarkAlarm is how late the alarm wakes. It must stay well below the half millisecond within which
// clients are held to what the simulator did.
func BenchmarkAlarm(b *testing.B) {
	c := newClock()
	a := newAlarm(c)
	defer a.close()
	var late []int64
	for b.Loop() {
		deadline := c.now() + int64(2*time.Millisecond)
		a.wait(deadline)
		late = append(late, c.now()-deadline)
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2]), "ns-late-p50")
	b.ReportMetric(float64(late[len(late)*99/100]), "ns-late-p99")
}
