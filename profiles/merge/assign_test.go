package merge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"servebench/results"
)

// ask is a request sent at s whose first token was seen at f and last at l, in ms, with so many tokens.
func ask(s, f, l int64, prompt, tokens int) *request {
	r := &results.Record{}
	q := &request{record: r, prompt: prompt, cached: -1, tokens: tokens, began: s * 1e6, send: s * 1e6, end: l * 1e6}
	if f > 0 {
		q.chunks = []chunk{{f * 1e6, 1}}
		if tokens > 1 {
			q.chunks = append(q.chunks, chunk{l * 1e6, tokens - 1})
		}
	}
	return q
}

// step runs from s to e, in ms, with so many prompts of so many tokens in all, and decodes.
func step(s, e int64, prompts, promptTokens, decodes int) Step {
	st := Step{Start: s * 1e6, End: e * 1e6, Prompts: prompts, PromptTokens: promptTokens, Decodes: decodes, DecodeTokens: decodes}
	switch {
	case prompts != 0 && decodes > 0:
		st.Phase = Mixed
	case prompts != 0:
		st.Phase = Prefill
	default:
		st.Phase = Decode
	}
	return st
}

// words are links in short: first-last>final, ? after what is ambiguous, - for none.
func words(links []link) string {
	var all []string
	for _, l := range links {
		if !l.found() {
			all = append(all, "-")
			continue
		}
		w := fmt.Sprint(l.first)
		if l.last != l.first {
			w += fmt.Sprintf("-%d", l.last)
		}
		if l.ambiguous {
			w += "?"
		}
		w += fmt.Sprintf(">%d", l.final)
		if !l.sure {
			w += "?"
		}
		all = append(all, w)
	}
	return strings.Join(all, " ")
}

func TestAssign(t *testing.T) {
	for _, tc := range []struct {
		name     string
		requests []*request
		steps    []Step
		slack    int64
		want     string
	}{
		{"one request, three tokens",
			[]*request{ask(0, 12, 32, 8, 3)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 0, 0, 1), step(21, 30, 0, 0, 1)}, 0, "0>2"},
		{"one after the other",
			[]*request{ask(0, 12, 12, 8, 1), ask(14, 32, 32, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(20, 30, 1, 8, 0)}, 0, "0>0 1>1"},
		{"a step of both kinds",
			[]*request{ask(0, 12, 24, 8, 2), ask(5, 24, 24, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 1)}, 0, "0>1 1>1"},
		{"two that can be exchanged",
			[]*request{ask(0, 25, 25, 8, 1), ask(0, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0)}, 0, "0?>0? 1?>1?"},
		{"told apart by the first token",
			[]*request{ask(0, 15, 15, 8, 1), ask(0, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0)}, 0, "0>0 1>1"},
		{"told apart by the time of sending",
			[]*request{ask(0, 25, 25, 8, 1), ask(5, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0)}, 0, "0>0 1>1"},
		{"but not within the slack of the clocks",
			[]*request{ask(0, 25, 25, 8, 1), ask(5, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0)}, 5e6, "0?>0? 1?>1?"},
		{"told apart by the length of the prompt, against the order of sending",
			[]*request{ask(0, 25, 25, 8, 1), ask(0, 25, 25, 9, 1)},
			[]Step{step(1, 10, 1, 9, 0), step(11, 20, 1, 8, 0)}, 0, "1>1 0>0"},
		{"lengths that do not add up tell nothing: some came from the cache",
			[]*request{ask(0, 25, 25, 80, 1), ask(0, 25, 25, 9, 1)},
			[]Step{step(1, 10, 1, 9, 0), step(11, 20, 1, 8, 0)}, 0, "0?>0? 1?>1?"},
		{"a chain of exchanges",
			[]*request{ask(0, 25, 25, 8, 1), ask(0, 35, 35, 8, 1), ask(10, 35, 35, 8, 1)},
			[]Step{step(1, 9, 1, 8, 0), step(11, 20, 1, 8, 0), step(21, 30, 1, 8, 0)}, 0, "0?>0? 1?>1? 2?>2?"},
		{"the deadline decides where the order of sending would leave one out",
			[]*request{ask(0, 35, 35, 8, 1), ask(0, 15, 15, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(21, 30, 1, 8, 0)}, 0, "1>1 0>0"},
		{"somebody else's request: one place too many",
			[]*request{ask(0, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0)}, 0, "0?>0?"},
		{"one place too few",
			[]*request{ask(0, 25, 25, 8, 1), ask(0, 25, 25, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0)}, 0, "0?>0? -"},
		{"a step before it was sent, a step after its first token",
			[]*request{ask(10, 15, 15, 8, 1)},
			[]Step{step(1, 9, 1, 8, 0), step(21, 30, 1, 8, 0)}, 0, "-"},
		{"no output",
			[]*request{ask(0, 0, 5, 8, 0), ask(0, 12, 12, 8, 1)},
			[]Step{step(1, 10, 1, 8, 0)}, 0, "- 0>0"},
		{"a prompt in three chunks",
			[]*request{ask(0, 40, 50, 20, 2)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 1, 8, 0), step(21, 30, 1, 4, 0), step(31, 45, 0, 0, 1)}, 0, "0-2>3"},
		{"chunks of two prompts that share a step",
			[]*request{ask(0, 22, 22, 12, 1), ask(0, 32, 32, 8, 1)},
			[]Step{step(1, 10, 1, 10, 0), step(11, 20, 2, 10, 0)}, 0, "0-1>1 1>1"},
		{"chunks one after the other",
			[]*request{ask(0, 22, 22, 12, 1), ask(23, 42, 42, 12, 1)},
			[]Step{step(1, 10, 1, 10, 0), step(11, 20, 1, 2, 0), step(24, 30, 1, 10, 0), step(31, 40, 1, 2, 0)}, 0, "0-1>1 2-3>3"},
		{"steps without counts",
			[]*request{ask(0, 12, 12, 8, 1), ask(14, 40, 40, 8, 1)},
			[]Step{step(1, 10, -1, -1, 0), step(20, 30, -1, -1, 0), step(31, 38, -1, -1, 0)}, 0, "0>0 1?>1?"},
		{"several tokens a step: the last by time",
			[]*request{ask(0, 12, 32, 8, 9)},
			[]Step{step(1, 10, 1, 8, 0), step(11, 20, 0, 0, 1), step(21, 30, 0, 0, 1), step(40, 50, 0, 0, 1)}, 0, "0>2?"},
		{"nothing at all", nil, nil, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := words(assign(tc.requests, tc.steps, tc.slack)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestUniqueMeansUnique compares with trying all assignments.
func TestUniqueMeansUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var steps []Step
		at := int64(10)
		room := 0
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			n := rapid.IntRange(1, 2).Draw(t, "prompts")
			steps = append(steps, step(at, at+5, n, -1, 0))
			room += n
			at += 10
		}
		var requests []*request
		for range rapid.IntRange(1, 5).Draw(t, "requests") {
			s := rapid.Int64Range(0, at).Draw(t, "sent")
			f := rapid.Int64Range(s+1, at+20).Draw(t, "seen")
			requests = append(requests, ask(s, f, f, 8, 1))
		}
		slices.SortStableFunc(requests, func(a, b *request) int { return int(sign(a.send - b.send)) })
		links := assign(requests, steps, 0)
		if room > len(requests) {
			return // counts as chunks or other people's
		}

		// All assignments that place as many as the one found, each request's steps in them.
		placed := 0
		for _, l := range links {
			if l.found() {
				placed++
			}
		}
		best := -1
		seen := make([]map[int]bool, len(requests))
		now := make([]int, len(requests))
		left := make([]int, len(steps))
		for i := range steps {
			left[i] = steps[i].Prompts
		}
		var try func(i, n int)
		try = func(i, n int) {
			if i == len(requests) {
				if n > best {
					best = n
					for k := range seen {
						seen[k] = make(map[int]bool)
					}
				}
				if n == best {
					for k, s := range now {
						seen[k][s] = true
					}
				}
				return
			}
			now[i] = -1
			try(i+1, n)
			for s := range steps {
				if left[s] > 0 && steps[s].Start >= requests[i].send && steps[s].End <= requests[i].first() {
					left[s]--
					now[i] = s
					try(i+1, n+1)
					left[s]++
				}
			}
		}
		try(0, 0)
		if placed != best {
			t.Fatalf("%d of %d placed; %d could be", placed, len(requests), best)
		}
		for i, l := range links {
			if !l.found() {
				continue
			}
			if unique := len(seen[i]) == 1; !l.ambiguous && !unique {
				t.Fatalf("request %d is called unique in step %d; it could be in any of %v (-1: none)", i, l.first, seen[i])
			} else if l.ambiguous && unique && room == len(requests) && best == len(requests) {
				t.Fatalf("request %d is called ambiguous; it can only be in step %d", i, l.first)
			}
		}
	})
}

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tokens  []int
		total   int
		want    []int
		guessed bool
	}{
		{"all known", []int{1, 4, 2}, 7, []int{1, 4, 2}, false},
		{"one token each", []int{-1, -1, -1}, 3, []int{1, 1, 1}, false},
		{"shares", []int{-1, -1, -1}, 7, []int{3, 2, 2}, true},
		{"what is left", []int{1, -1, -1}, 9, []int{1, 4, 4}, true},
		{"fewer than events", []int{-1, -1}, 1, []int{-1, -1}, true},
		{"no total", []int{-1}, 0, []int{-1}, true},
	} {
		chunks := make([]chunk, len(tc.tokens))
		for i, n := range tc.tokens {
			chunks[i].tokens = n
		}
		guessed := spread(chunks, tc.total)
		var got []int
		for _, c := range chunks {
			got = append(got, c.tokens)
		}
		if !slices.Equal(got, tc.want) || guessed != tc.guessed {
			t.Errorf("%s: %v, guessed %t; want %v, %t", tc.name, got, guessed, tc.want, tc.guessed)
		}
	}
}
