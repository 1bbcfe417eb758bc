package audit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"servebench/results"
)

const ms = results.Moment(time.Millisecond)

// ledger holds ten replies: 100 ms to the first of 5 tokens, 10 ms between tokens, 20 prompt tokens.
func ledger(change func(*results.Record)) *Ledger {
	l := &Ledger{}
	for i := range 10 {
		at := results.Moment(i+1) * 1000 * ms
		r := &results.Record{Kind: results.Load, InputTokens: 20, Due: at, Released: at, Dispatched: at, Reply: results.Reply{
			Written: at, Done: at + 140*ms, Usage: &results.Usage{Prompt: 20, Completion: 5, Cached: 8},
		}}
		for n := range 5 {
			r.Chunks = append(r.Chunks, results.Chunk{At: at + (100+10*results.Moment(n))*ms})
		}
		if change != nil {
			change(r)
		}
		l.Add(r)
	}
	return l
}

// metrics is a page after n requests of the kind above.
func metrics(n int, ttft, itl float64) []byte {
	var b strings.Builder
	for name, value := range map[string]int{"generation_tokens": 5 * n, "prompt_tokens": 20 * n, "prefix_cache_queries": 20 * n, "prefix_cache_hits": 8 * n} {
		fmt.Fprintf(&b, "# TYPE vllm:%s_total counter\nvllm:%s_total %d\n", name, name, value)
	}
	for name, h := range map[string][2]float64{"time_to_first_token": {float64(n), ttft}, "inter_token_latency": {float64(4 * n), itl}} {
		fmt.Fprintf(&b, "# TYPE vllm:%s_seconds histogram\nvllm:%s_seconds_bucket{le=\"+Inf\"} %v\nvllm:%s_seconds_sum %v\nvllm:%s_seconds_count %v\n", name, name, h[0], name, h[1]*h[0], name, h[0])
	}
	return []byte(b.String())
}

func TestChecks(t *testing.T) {
	share := func(v float64) *float64 { return &v }
	good := Facts{Before: metrics(3, 0.098, 0.01), After: metrics(13, 0.098, 0.01), Busy: 1400 * time.Millisecond, Duration: 10 * time.Second}
	with := func(change func(*Facts)) Facts { f := good; change(&f); return f }
	const little, output, prompt, asked, ttft, itl, cache = 0, 2, 3, 4, 5, 6, 7
	for _, tc := range []struct {
		name   string
		record func(*results.Record)
		facts  Facts
		check  int
		state  results.CheckState
		says   string
	}{
		{"in flight", nil, good, little, results.Passed, "counted 0.140, derived 0.140"},
		{"in flight, miscounted", nil, with(func(f *Facts) { f.Busy = time.Second }), little, results.Missed, "+40.0 %"},
		{"in flight, not counted", nil, with(func(f *Facts) { f.Busy = 0 }), little, results.NotCheckable, "did not count"},
		{"output", nil, good, output, results.Passed, "in replies 50, at the server 50 (+0"},
		{"output of others", nil, with(func(f *Facts) { f.After = metrics(15, 0.098, 0.01) }), output, results.Missed, "(+10, tolerance 0.5 %): did others"},
		{"output, no page", nil, with(func(f *Facts) { f.After = nil }), output, results.NotCheckable, "no such counter"},
		{"output, no usage", func(r *results.Record) { r.Usage = nil }, good, output, results.NotCheckable, "0 of 10 replies"},
		{"prompt", nil, good, prompt, results.Passed, "in replies 200, at the server 200"},
		{"asked", nil, good, asked, results.Passed, "asked 200, counted 200 (+0.00 a request"},
		{"asked, a token more", func(r *results.Record) { r.InputTokens = 19 }, good, asked, results.Passed, "(+1.00 a request"},
		{"asked for less", func(r *results.Record) { r.InputTokens = 15 }, good, asked, results.Missed, "asked 150, counted 200"},
		{"first tokens", nil, good, ttft, results.Passed, "client 100.000 ms, server 98.000 ms on average: network and client +2.000 ms"},
		{"first tokens before the server's", func(r *results.Record) { r.Chunks[0].At -= 3 * ms }, good, ttft, results.Missed, "-1.000 ms"},
		{"first tokens far behind", func(r *results.Record) { r.Written -= 20 * ms }, good, ttft, results.Missed, "+22.000 ms (budget 9.800 ms)"},
		{"first tokens of others", nil, with(func(f *Facts) { f.After = metrics(14, 0.098, 0.01) }), ttft, results.NotCheckable, "timed 11 requests, the client 10"},
		{"gaps", nil, good, itl, results.Passed, "client 0.400 s, server 0.400 s"},
		{"gaps too long", func(r *results.Record) { r.Chunks[4].At += 2 * ms }, good, itl, results.Missed, "+0.5000 ms a gap"},
		{"cache, replies", nil, good, cache, results.Passed, "in replies 80, at the server 80"},
		{"cache, expected", nil, with(func(f *Facts) { f.CachedShare, f.CachedWithin = share(0.42), 0.05 }), cache, results.Passed, "40.0 % of prompt tokens were hits, the dataset should give 42.0 %"},
		{"cache, off", nil, with(func(f *Facts) { f.CachedShare, f.CachedWithin = share(0), 0.02 }), cache, results.Missed, "should give 0.0 %"},
	} {
		if got := ledger(tc.record).Checks(tc.facts)[tc.check]; got.State != tc.state || !strings.Contains(got.Detail, tc.says) {
			t.Errorf("%s: %s: %s; want %s with %q", tc.name, got.State, got.Detail, tc.state, tc.says)
		}
	}
}

func TestArrivals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	times := func(gap func() float64) []results.Moment {
		var list []results.Moment
		at := 1.0
		for range 2000 {
			list = append(list, results.Moment(at*1e9))
			at += gap()
		}
		return list
	}
	poisson := times(func() float64 { return rng.ExpFloat64() / 50 })
	constant := times(func() float64 { return 0.02 })
	for _, tc := range []struct {
		name string
		at   []results.Moment
		a    Arrivals
		want results.CheckState
	}{
		{"Poisson", poisson, Arrivals{50, 1}, results.Passed},
		{"Poisson at another rate", poisson, Arrivals{60, 1}, results.Missed},
		{"Poisson for bursts", poisson, Arrivals{50, 0.5}, results.Missed},
		{"constant", constant, Arrivals{50, math.Inf(1)}, results.Passed},
		{"Poisson for constant", poisson, Arrivals{50, math.Inf(1)}, results.Missed},
		{"constant for Poisson", constant, Arrivals{50, 1}, results.Missed},
		{"at once", constant, Arrivals{math.Inf(1), 1}, results.NotCheckable},
		{"too few", constant[:5], Arrivals{50, 1}, results.NotCheckable},
	} {
		if got := arrived(tc.at, tc.a); got.State != tc.want {
			t.Errorf("%s: %s: %s; want %s", tc.name, got.State, got.Detail, tc.want)
		}
	}
}

func TestGammaBelow(t *testing.T) {
	for _, tc := range []struct{ shape, x, want float64 }{
		{1, 1, 1 - math.Exp(-1)},             // the exponential distribution
		{1, 5, 1 - math.Exp(-5)},             //
		{2, 3, 1 - 4*math.Exp(-3)},           // 1 - (1+x) e^-x
		{0.5, 2, math.Erf(math.Sqrt(2))},     //
		{0.5, .02, math.Erf(math.Sqrt(.02))}, //
		{3, 0, 0},
	} {
		if got := gammaBelow(tc.shape, tc.x); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("gammaBelow(%v, %v) = %v; want %v", tc.shape, tc.x, got, tc.want)
		}
	}
}
