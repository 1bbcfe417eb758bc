package breakdown

import "slices"

// A span is a half-open stretch of time.
type span struct{ from, to int64 }

// union merges spans, which it sorts, and returns them disjoint and ascending. Touching
// spans become one.
func union(spans []span) []span {
	sortRuns(spans, func(a, b *span) bool { return a.from < b.from })
	var out []span
	for _, s := range spans {
		out = extended(out, s)
	}
	return out
}

// extended adds to a union a span that begins no earlier than any in it.
func extended(u []span, s span) []span {
	if n := len(u); n > 0 && s.from <= u[n-1].to {
		u[n-1].to = max(u[n-1].to, s.to)
		return u
	}
	return grown(u, s)
}

func length(spans []span) (n int64) {
	for _, s := range spans {
		n += s.to - s.from
	}
	return n
}

// overlap is how long two unions are both active.
func overlap(a, b []span) (n int64) {
	for len(a) > 0 && len(b) > 0 {
		if from, to := max(a[0].from, b[0].from), min(a[0].to, b[0].to); to > from {
			n += to - from
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return n
}

// within is how long a union is active inside [from, to).
func within(u []span, from, to int64) (n int64) {
	i, _ := slices.BinarySearchFunc(u, from, func(s span, at int64) int {
		if s.to <= at {
			return -1
		}
		return 1
	})
	for ; i < len(u) && u[i].from < to; i++ {
		if f, t := max(u[i].from, from), min(u[i].to, to); t > f {
			n += t - f
		}
	}
	return n
}
