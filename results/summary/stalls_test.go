package summary

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"servebench/results"
)

// readAfter is how long after the kernel the client of reply sees a token.
const readAfter = 10 * time.Microsecond

// steady are n streams, side by side, of 100 tokens every 20 ms, out of step by 2 ms each.
func steady(n int) []*results.Record {
	list := make([]*results.Record, n)
	for i := range list {
		list[i] = reply(i, time.Duration(i%10)*2*ms, 100*ms, 20*ms, 100)
	}
	return list
}

// halt has the server send nothing for length from at on: what was to come then comes later, and all after it.
func halt(r *results.Record, at, length time.Duration) {
	for i := range r.Chunks {
		if r.Chunks[i].At >= zero.Add(at) {
			r.Chunks[i].At = r.Chunks[i].At.Add(length)
		}
	}
	r.Done = r.Done.Add(length)
}

// unread has the client read nothing for length from at on: one read brings what came meanwhile.
func unread(r *results.Record, at, length time.Duration) {
	end := zero.Add(at + length)
	last := results.Moment(0)
	for _, c := range r.Chunks {
		if c.At > zero.Add(at) && c.At <= end {
			last = c.At
		}
	}
	for i := range r.Chunks {
		if c := &r.Chunks[i]; c.At > zero.Add(at) && c.At <= end {
			c.At, c.Lag, c.Shared = last, time.Duration(end-last)+readAfter, true
		}
	}
}

func TestStalls(t *testing.T) {
	for _, tc := range []struct {
		name    string
		streams int
		do      func(list []*results.Record)
		want    []StallCount
		worst   *Stall
	}{
		{"none", 10, func([]*results.Record) {}, nil, nil},
		{"gaps of four times the usual are not far beyond it", 10, func(list []*results.Record) {
			for _, r := range list {
				halt(r, time.Second, 60*ms)
			}
		}, nil, nil},
		{"all streams at once", 10, func(list []*results.Record) {
			for _, r := range list {
				halt(r, time.Second, 200*ms)
			}
		}, []StallCount{{ServerStall, 1, 10, 10 * 200 * ms, 220 * ms}}, &Stall{ServerStall, zero.Add(981*ms + readAfter), 220 * ms, 0, 10, 10, 2 * time.Second}},
		{"two of them", 10, func(list []*results.Record) {
			for _, r := range list {
				halt(r, 500*ms, 200*ms)
				halt(r, 1200*ms, 300*ms)
			}
		}, []StallCount{{ServerStall, 2, 20, 10 * 500 * ms, 320 * ms}}, nil},
		{"one stream alone", 10, func(list []*results.Record) { halt(list[3], time.Second, 200*ms) },
			[]StallCount{{RequestStall, 1, 1, 200 * ms, 220 * ms}}, &Stall{RequestStall, zero.Add(987*ms + readAfter), 220 * ms, 3, 1, 10, 200 * ms}},
		{"one replica of two", 10, func(list []*results.Record) {
			for _, r := range list[:5] {
				halt(r, time.Second, 200*ms)
			}
		}, []StallCount{{GroupStall, 1, 5, time.Second, 220 * ms}}, nil},
		{"a long one alone, and a short one of all within", 10, func(list []*results.Record) {
			for _, r := range list[1:] {
				halt(r, time.Second, 150*ms)
			}
			halt(list[0], 600*ms, 900*ms)
		}, []StallCount{{ServerStall, 1, 9, 9 * 150 * ms, 170 * ms}, {RequestStall, 1, 1, 900 * ms, 920 * ms}}, nil},
		{"the client did not read", 10, func(list []*results.Record) {
			for _, r := range list {
				unread(r, time.Second, 200*ms)
			}
		}, []StallCount{{ClientStall, 1, 10, 0, 0}}, nil},
		{"a server that sends in one go what it kept back", 10, func(list []*results.Record) {
			for _, r := range list {
				unread(r, time.Second, 200*ms)
				for i := range r.Chunks {
					if c := &r.Chunks[i]; c.Lag > ms {
						c.At, c.Lag = c.At.Add(c.Lag-20*time.Microsecond), 20*time.Microsecond
					}
				}
			}
		}, []StallCount{{ServerStall, 1, 10, 0, 0}}, nil},
		{"the only stream", 1, func(list []*results.Record) { halt(list[0], time.Second, 200*ms) },
			[]StallCount{{LoneStall, 1, 1, 200 * ms, 220 * ms}}, &Stall{LoneStall, zero.Add(981*ms + readAfter), 220 * ms, 0, 1, 1, 200 * ms}},
		{"tokens in bursts of five", 10, func(list []*results.Record) {
			for _, r := range list {
				for i := range r.Chunks {
					r.Chunks[i].At = r.Chunks[i/5*5].At.Add(time.Duration(i%5) * 10 * time.Microsecond)
				}
			}
		}, nil, nil},
		{"failed requests are in no latency", 2, func(list []*results.Record) {
			for _, r := range list {
				halt(r, time.Second, 200*ms)
				r.Failure = &results.Failure{Class: results.FailCut}
			}
			list[1].Failure = nil
		}, []StallCount{{LoneStall, 1, 1, 200 * ms, 220 * ms}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := steady(tc.streams)
			tc.do(list)
			for range 2 { // in any order
				s := record(manifest(), list...).Stalls
				if s == nil {
					t.Fatal("not measured")
				}
				if len(s.Kinds) != len(tc.want) {
					t.Fatalf("%+v, want %+v", s.Kinds, tc.want)
				}
				for i, want := range tc.want {
					got := s.Kinds[i]
					if want.Lost == 0 { // what the phases of reads make of it is not for the head
						got.Lost, got.Longest = 0, 0
					}
					if got != want {
						t.Errorf("%+v, want %+v", got, want)
					}
				}
				if tc.worst != nil {
					if diff := cmp.Diff(*tc.worst, s.Worst[0]); diff != "" {
						t.Error(diff)
					}
				}
				slices.Reverse(list)
			}
		})
	}
}

// TestNoStallsWithoutGaps: a number that could not be measured is absent.
func TestNoStallsWithoutGaps(t *testing.T) {
	if s := record(manifest(), reply(0, 0, 100*ms, 20*ms, StallGaps)).Stalls; s != nil {
		t.Errorf("%d gaps tell what is usual: %+v", StallGaps-1, s)
	}
	if s := record(manifest(), reply(0, 0, 100*ms, 20*ms, StallGaps+1), reply(1, 0, 100*ms, 20*ms, 3)).Stalls; s == nil || s.Streams != 1 || s.Short != 1 || s.Gaps != 0 {
		t.Errorf("%+v, want one stream that tells and one that does not", s)
	}
	m := manifest()
	m.Stamps = "user"
	if s := record(m, steady(2)...).Stalls; s.ClientTold {
		t.Error("without kernel stamps nobody tells the client's stalls from the server's")
	}
}

// TestStallsAreBounded: more long gaps than are kept are counted, and the longest are classed.
func TestStallsAreBounded(t *testing.T) {
	var s stalls
	chunks := make([]results.Chunk, 0, 1<<12)
	at, n := zero, 0
	for len(chunks) < cap(chunks) {
		if at = at.Add(ms); len(chunks)%16 == 15 {
			at = at.Add(time.Duration(100+n%7) * ms)
			n++
		}
		chunks = append(chunks, results.Chunk{At: at})
	}
	const streams = 1000
	for i := range streams {
		s.add(&results.Record{ID: i, Reply: results.Reply{Chunks: chunks}})
	}
	if len(s.gaps) >= 2*stallLimit {
		t.Errorf("%d gaps kept", len(s.gaps))
	}
	got := s.sum(true)
	if got.Gaps != streams*n || got.Unclassed != streams*n-stallLimit {
		t.Errorf("%d gaps, %d in no kind; want %d, %d", got.Gaps, got.Unclassed, streams*n, streams*n-stallLimit)
	}
	if s.gaps[0].length() < 105*ms {
		t.Errorf("a gap of %v was kept, and longer ones were not", s.gaps[0].length())
	}
}
