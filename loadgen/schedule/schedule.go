// Package schedule says when requests are due: a sequence of times since the start of
// the load, fixed by a configuration and a seed before the first request is sent. It
// knows nothing of replies, so a slow server cannot slow it down.
//
// VLLM is the arrival process of vLLM's client, equal to it in the last bit. A Stage is
// one part of a schedule of our own (constant, Poisson, gamma, ramps, replays), and
// Stages plays several one after another. In all of them a gap comes before each
// request, the first one too: n requests at a constant rate r are due at 1/r, 2/r, ...,
// n/r.
package schedule

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"
)

// Seconds is s seconds, rounded to the nanosecond. What is too far away for a Duration
// is as far away as it can be.
func Seconds(s float64) time.Duration {
	ns := math.Round(s * 1e9)
	switch {
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns <= math.MinInt64:
		return math.MinInt64
	}
	return time.Duration(ns)
}

// Due turns offsets in seconds into due times.
func Due(offsets []float64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for _, s := range offsets {
			if !yield(Seconds(s)) {
				return
			}
		}
	}
}

// AllAtOnce is n requests due at the start.
func AllAtOnce(n int) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for range n {
			if !yield(0) {
				return
			}
		}
	}
}

// Replay is due times taken from time stamps in seconds, as they are: neither moved nor
// sorted, as vLLM sends a timed trace. A time that an earlier request has passed already
// is due at once. Rebase and Order do better.
func Replay(seconds []float64) iter.Seq[time.Duration] { return Due(seconds) }

// Rebase moves time stamps so that the earliest is 0.
func Rebase(seconds []float64) []float64 {
	if len(seconds) == 0 {
		return nil
	}
	first := slices.Min(seconds)
	out := make([]float64, len(seconds))
	for i, s := range seconds {
		out[i] = s - first
	}
	return out
}

// Order is the order in which requests with these time stamps have to be sent: equal
// ones keep their places.
func Order(seconds []float64) []int {
	order := make([]int, len(seconds))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(seconds[a], seconds[b]) })
	return order
}

// Shard is the part of a sequence that shard k of n sends: the elements at the positions
// i with i mod n = k, and those positions. The shards of one sequence share nothing and
// miss nothing.
func Shard[T any](seq iter.Seq[T], k, n int) iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		i := 0
		for v := range seq {
			if i%n == k && !yield(i, v) {
				return
			}
			i++
		}
	}
}
