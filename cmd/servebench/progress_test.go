package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"servebench/loadgen"
	"servebench/results"
)

// Without a terminal there is a line each ten seconds, and its latencies are those of the last ten.
func TestProgressWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		live := new(loadgen.Live)
		p.Phase("warming up")
		p.Loading(live, 100, 0)
		ended := func(ttft time.Duration) {
			now := results.Moment(time.Now().UnixNano())
			rec := &results.Record{Kind: results.Load, Reply: results.Reply{Written: now.Add(-ttft - 5*time.Millisecond), Done: now}}
			rec.Chunks = []results.Chunk{{At: now.Add(-5 * time.Millisecond)}, {At: now}}
			live.Done.Add(1)
			p.Record(rec)
		}
		ended(20 * time.Millisecond)
		live.InFlight.Store(3)
		time.Sleep(12 * time.Second)
		ended(80 * time.Millisecond)
		live.Failed.Store(2)
		live.Queued.Store(4)
		time.Sleep(10 * time.Second)
		live.InFlight.Store(0)
		live.Queued.Store(0)
		p.Loaded()
		p.close()
		want := strings.Join([]string{
			"warming up",
			"  1/100 done, 0.1/s, 3 in flight, TTFT p50 20.0 p99 20.0 ms, ITL p50 5.0 p99 5.0 ms",
			"  2/100 done, 0.1/s, 3 in flight, 4 queued here, 2 failed, last 10s: TTFT p50 80.0 p99 80.0 ms, ITL p50 5.0 p99 5.0 ms",
			"load ended: 2/100 done, 0.1/s, 0 in flight, 2 failed, last 10s: TTFT p50 80.0 p99 80.0 ms, ITL p50 5.0 p99 5.0 ms", "",
		}, "\n")
		// The values are right to 1 %.
		got := regexp.MustCompile(`p(50|99) [0-9.]+`).ReplaceAllStringFunc(out.String(), func(s string) string {
			v, _ := strconv.ParseFloat(s[4:], 64)
			return fmt.Sprintf("%s%.0f.0", s[:4], v)
		})
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
