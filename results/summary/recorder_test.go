package summary

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"servebench/results"
)

const (
	ms   = time.Millisecond
	zero = results.Moment(1_700_000_000_000_000_000)
)

// reply is a request that was due at start, written a millisecond later, and answered by tokens every gap after first.
func reply(id int, start, first, gap time.Duration, tokens int) *results.Record {
	due := zero.Add(start)
	r := &results.Record{
		ID: id, Kind: results.Load, InputTokens: 10, Due: due, Released: due, Dispatched: due,
		Reply: results.Reply{WriteBegan: due, Written: due.Add(ms), Headers: due.Add(2 * ms), OutputTokens: -1, Status: 200},
	}
	at := r.Written.Add(first)
	for range tokens {
		r.Chunks = append(r.Chunks, results.Chunk{At: at, Lag: 10 * time.Microsecond, Tokens: 1, Visible: true})
		at = at.Add(gap)
	}
	r.Done = at.Add(-gap + ms)
	r.Usage = &results.Usage{Prompt: 12, Completion: tokens, Cached: -1}
	return r
}

func failure(id int, start time.Duration, class, message string) *results.Record {
	due := zero.Add(start)
	return &results.Record{
		ID: id, Kind: results.Load, InputTokens: 10, Due: due, Released: due, Dispatched: due,
		Reply: results.Reply{WriteBegan: due, Written: due, Done: due.Add(ms), OutputTokens: -1, Status: 500, Failure: &results.Failure{Class: class, Message: message}},
	}
}

func manifest() *results.Manifest {
	return &results.Manifest{
		Stamps: "kernel", Basis: results.Service, Began: zero, Ended: zero.Add(4 * time.Second),
		Settings: results.Settings{
			NumPrompts: 5, Tokenizer: "t", RequestRate: results.Number(math.Inf(1)), Burstiness: 1,
			Metrics: []string{"ttft", "tpot", "itl"}, Percentiles: []float64{50},
			Goodput: []results.Objective{{Metric: "ttft", MS: 100}},
		},
	}
}

func record(m *results.Manifest, recs ...*results.Record) *Summary {
	r := NewRecorder(ConfigOf(m))
	for _, rec := range recs {
		r.Add(rec)
	}
	return r.Summary(m, "", "")
}

func TestRecorder(t *testing.T) {
	s := record(manifest(),
		reply(0, 0, 100*ms, 10*ms, 3),
		reply(1, 500*ms, 200*ms, 20*ms, 3),
		failure(2, time.Second, results.FailStatus, "boom"),
		failure(3, time.Second, results.FailStatus, "bang"),
		failure(4, time.Second, results.FailCut, "gone"),
		&results.Record{Kind: results.Warmup},
		&results.Record{Kind: results.Probe, Reply: results.Reply{Written: 100, Done: 100 + results.Moment(7*ms)}},
		&results.Record{Kind: results.Probe, Reply: results.Reply{Failure: &results.Failure{}}},
	)
	if s.Requests != 5 || s.Completed != 2 || s.Failed != 3 || s.Duration != 4 || !s.Exact {
		t.Errorf("%d requests, %d completed, %d failed in %v s, exact %t", s.Requests, s.Completed, s.Failed, s.Duration, s.Exact)
	}
	if *s.InputTokens != 24 || *s.OutputTokens != 6 || *s.OutputRate != 1.5 || *s.TotalTokenRate != 7.5 || *s.RequestRate != 0.5 {
		t.Errorf("tokens %d in, %d out; %v out/s, %v all/s, %v requests/s", *s.InputTokens, *s.OutputTokens, *s.OutputRate, *s.TotalTokenRate, *s.RequestRate)
	}
	if s.CachedTokens != nil {
		t.Errorf("%d cached tokens, which nobody told", *s.CachedTokens)
	}
	for _, tc := range []struct {
		metric         string
		basis          results.Basis
		count          int
		mean, std, p50 float64
	}{
		{"ttft", results.Service, 2, 150, 50, 150},
		{"ttft", results.Response, 2, 151, 50, 151},
		{"tpot", results.Service, 2, 15, 5, 15},
		{"itl", results.Service, 4, 15, 5, 15},
		{"e2el", results.Service, 2, 180, 60, 180},
		{"e2el", results.Response, 2, 181, 60, 181},
		{"lateness", results.Service, 5, 0, 0, 0},
		{"time_to_headers", results.Service, 2, 1, 0, 1},
		{"client_queue_time", results.Service, 2, 0, 0, 0},
	} {
		d := s.Dist(tc.metric, tc.basis)
		if d == nil {
			t.Errorf("no %s from %s", tc.metric, tc.basis)
			continue
		}
		p50, _ := d.At(50)
		if d.Count != tc.count || d.Mean != tc.mean || d.Std != tc.std || p50 != tc.p50 || !d.Exact {
			t.Errorf("%s from %s: %d values, mean %v, deviation %v, median %v, exact %t; want %+v", tc.metric, tc.basis, d.Count, d.Mean, d.Std, p50, d.Exact, tc)
		}
	}
	if d := s.Dist("server_ttft", results.Service); d != nil {
		t.Errorf("a server that sent no time has %+v", d)
	}
	if d := s.Dist("connect_time", results.Service); d != nil {
		t.Errorf("connections that were reused took %+v", d)
	}
	want := []FailureClass{
		{results.FailStatus, 2, []Example{{2, 500, "boom"}, {3, 500, "bang"}}},
		{results.FailCut, 1, []Example{{4, 500, "gone"}}},
	}
	if diff := cmp.Diff(want, s.Failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if s.Goodput.Requests != 1 || s.Goodput.Share != 0.2 || *s.Goodput.PerSecond != 0.25 || s.VLLM.Goodput != 0.25 {
		t.Errorf("goodput %+v, vLLM's %v", s.Goodput, s.VLLM.Goodput)
	}
	if *s.InFlightPeak != 3 {
		t.Errorf("%d in flight, want 3", *s.InFlightPeak)
	}
	if want := (0.122 + 0.242 + 3*0.001) / 4; math.Abs(*s.InFlightMean-want) > 1e-12 {
		t.Errorf("%v in flight on average, want %v", *s.InFlightMean, want)
	}
	if p := s.Probes; p == nil || p.Completed != 1 || p.Failed != 1 || p.Max != 7 {
		t.Errorf("probes %+v", p)
	}
	if s.Kinds[results.Warmup] != 1 || s.Kinds[results.Load] != 5 {
		t.Errorf("kinds %v", s.Kinds)
	}
	if v := s.VLLM; v.Completed != 2 || v.Failed != 3 || v.TotalInput != 24 || math.Abs(v.Stats["ttft"].Mean-150) > 1e-9 || v.PeakConcurrent != 2 {
		t.Errorf("vLLM's figures %+v", v)
	}
}

func TestOutputsAreInDispatchOrder(t *testing.T) {
	s := record(manifest(), reply(1, 250*ms, 100*ms, 0, 1), failure(2, 0, results.FailCut, ""), reply(0, 0, 100*ms, 0, 1))
	if got := [3]float64{s.Outputs[0].Start, s.Outputs[1].Start, s.Outputs[2].Start}; got != [3]float64{0.001, 0.251, 0} {
		t.Errorf("starts are %v", got)
	}
	if o := s.Outputs[2]; o.Success || o.Error != results.FailCut || o.Latency != 0 || o.TTFT != 0 || o.PromptLen != 10 {
		t.Errorf("a failure became %+v", o)
	}
}

func TestBases(t *testing.T) {
	rec := reply(0, 0, 100*ms, 10*ms, 3)
	rec.Encoding = 2 * ms
	m := manifest()
	m.Basis = results.VLLM
	s := record(m, rec)
	// From 2 ms before the dispatch to what user space saw: 2 + 1 + 100 + 0.01.
	if got := s.VLLM.Stats["ttft"].Mean; got != 103.01 {
		t.Errorf("vLLM's TTFT is %v, want 103.01", got)
	}
	if got := s.Dist("ttft", results.VLLM).Mean; got != 103.01 {
		t.Errorf("TTFT is %v, want 103.01", got)
	}
	if got := s.Dist("ttft", results.Response).Mean; got != 101 {
		t.Errorf("the response TTFT is %v, want 101", got)
	}
	m.Basis = results.Response
	s = record(m, rec)
	n := 0
	for _, d := range s.Dists {
		if d.Metric.Name == "ttft" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("TTFT stands there %d times, want once", n)
	}
}

func TestUnknownIsNotZero(t *testing.T) {
	rec := reply(0, 0, 100*ms, 10*ms, 3)
	rec.Usage, rec.InputTokens = nil, -1
	m := manifest()
	m.Ended = 0
	s := record(m, rec)
	if s.InputTokens != nil || s.OutputTokens != nil || s.OutputRate != nil || s.TotalTokenRate != nil || s.InputUnknown != 1 || s.OutputUnknown != 1 {
		t.Errorf("%+v", s)
	}
	if s.Dist("tpot", results.Service) != nil {
		t.Error("a rate of unknown tokens")
	}
	if s.VLLM.TotalOutput != 1 {
		t.Errorf("vLLM counts %d tokens, want 1", s.VLLM.TotalOutput)
	}
	if s.Duration != 0.122 || !strings.Contains(strings.Join(s.Warnings, "\n"), "the run has no end") {
		t.Errorf("duration %v, warnings %q", s.Duration, s.Warnings)
	}
	empty := record(m)
	if empty.Duration != 0 || empty.RequestRate != nil || empty.InFlightPeak != nil || len(empty.Dists) != 0 || empty.Health.State != Unmeasured || empty.Goodput != nil {
		t.Errorf("nothing became %+v", empty)
	}
}

// some makes n requests of all sorts.
func some(n int) []*results.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	var recs []*results.Record
	for i := range n {
		start := time.Duration(rng.Int64N(int64(3 * time.Second)))
		if rng.IntN(10) == 0 {
			recs = append(recs, failure(i, start, results.FailStatus, []string{"a", "b", "c", "d"}[rng.IntN(4)]))
			continue
		}
		rec := reply(i, start, time.Duration(rng.Int64N(int64(200*ms))), time.Duration(rng.Int64N(int64(20*ms))), 1+rng.IntN(20))
		if rng.IntN(5) == 0 {
			rec.Usage, rec.OutputTokens = nil, len(rec.Chunks)
		}
		rec.Released = rec.Due.Add(time.Duration(rng.Int64N(int64(100 * time.Microsecond))))
		rec.Dispatched = rec.Released.Add(time.Duration(rng.Int64N(int64(100 * time.Microsecond))))
		recs = append(recs, rec)
	}
	return recs
}

func TestOrderDoesNotMatter(t *testing.T) {
	recs := some(300)
	for _, limit := range []int{0, 2000} {
		var want *Summary
		for round := range 3 {
			r := NewRecorder(Config{Limit: limit, Goodput: manifest().Settings.Goodput})
			rand.New(rand.NewPCG(uint64(round), 3)).Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
			for _, rec := range recs {
				r.Add(rec)
			}
			s := r.Summary(manifest(), "", "")
			if s.Exact != (limit == 0) {
				t.Fatalf("limit %d: exact %t", limit, s.Exact)
			}
			for _, d := range s.Dists {
				d.Metric = &results.Metric{Name: d.Metric.Name}
			}
			if want == nil {
				want = s
			} else if diff := cmp.Diff(want, s, cmp.AllowUnexported(Output{})); diff != "" {
				t.Fatalf("limit %d: another order gives another summary:\n%s", limit, diff)
			}
		}
	}
}

func TestHistogramsStandInForSamples(t *testing.T) {
	recs := some(400)
	goodput := manifest().Settings.Goodput
	exact, rough := NewRecorder(Config{Goodput: goodput}), NewRecorder(Config{Goodput: goodput, Limit: 1})
	for _, rec := range recs {
		exact.Add(rec)
		rough.Add(rec)
	}
	a, b := exact.Summary(manifest(), "", ""), rough.Summary(manifest(), "", "")
	if b.Exact || b.Outputs != nil || !strings.Contains(strings.Join(b.Warnings, "\n"), "too many to keep") {
		t.Errorf("exact %t, %d outputs, warnings %q", b.Exact, len(b.Outputs), b.Warnings)
	}
	for i, d := range a.Dists {
		e := b.Dists[i]
		if e.Count != d.Count || e.Mean != d.Mean || e.Std != d.Std || e.Min != d.Min || e.Max != d.Max {
			t.Errorf("%s: %+v became %+v", d.Metric.Name, d, e)
		}
		if d.Metric.PerEvent && e.Exact {
			t.Errorf("%s claims to be exact", d.Metric.Name)
		}
	}
	for _, name := range []string{"itl", "ttft", "e2el"} {
		d, e := a.Dist(name, results.Service), b.Dist(name, results.Service)
		for _, p := range []float64{50, 90} {
			x, _ := d.At(p)
			y, _ := e.At(p)
			if math.Abs(x-y) > 0.02*x {
				t.Errorf("%s p%v: %v from samples, %v from the histogram", name, p, x, y)
			}
		}
	}
	v, w := a.VLLM, b.VLLM
	if v.Completed != w.Completed || v.TotalInput != w.TotalInput || v.TotalOutput != w.TotalOutput || v.OutputThroughput != w.OutputThroughput || v.Goodput != w.Goodput {
		t.Errorf("vLLM's counts %+v became %+v", v, w)
	}
	if math.Abs(v.Stats["itl"].Mean-w.Stats["itl"].Mean) > 1e-9 || math.Abs(v.PeakTokens-w.PeakTokens) > 0.3*v.PeakTokens {
		t.Errorf("vLLM's ITL %v, peak %v became %v, %v", v.Stats["itl"], v.PeakTokens, w.Stats["itl"], w.PeakTokens)
	}
}

func TestNegativeAndHugeTimesAreCountedNotClamped(t *testing.T) {
	s := &series{metric: &results.Metrics[0]}
	for _, v := range []time.Duration{-5 * ms, 5 * ms, 48 * time.Hour, 15 * ms} {
		s.add(v, false)
	}
	d := s.dist([]float64{0, 100}, nil)
	if d.Count != 4 || d.Outside != 2 || d.Min != -5 || d.Max != 172800000 || d.Mean != (172800000+15)/4.0 {
		t.Errorf("%+v", d)
	}
	if p, _ := d.At(100); math.Abs(p-15) > 0.02 {
		t.Errorf("the largest value of the histogram is %v, want 15", p)
	}
}

func TestMoments(t *testing.T) {
	var m moments
	for _, v := range []int64{-3, 1, 2, math.MaxInt64, math.MinInt64 + 1} {
		m.add(v)
	}
	mean, std := m.meanAndStd(5)
	if mean != 0 || math.Abs(std/(math.MaxInt64*math.Sqrt(0.4))-1) > 1e-12 {
		t.Errorf("mean %v, deviation %v", mean, std)
	}
	var n moments
	n.add(-1)
	n.add(-3)
	if mean, std := n.meanAndStd(2); mean != -2 || std != 1 || n.total() != -4 {
		t.Errorf("mean %v, deviation %v, sum %v", mean, std, n.total())
	}
}

func TestVerdict(t *testing.T) {
	late := func(d time.Duration) func(*results.Record) {
		return func(r *results.Record) { r.Released = r.Due.Add(d) }
	}
	lag := func(d time.Duration) func(*results.Record) {
		return func(r *results.Record) {
			for i := range r.Chunks {
				r.Chunks[i].Lag = d
			}
		}
	}
	shared := func(r *results.Record) { r.Chunks[1].Shared = true }
	used := func(cpu, pause time.Duration) *results.Client {
		return &results.Client{CPU: &cpu, Cores: 2, GCPauseMax: &pause}
	}
	wrong := func(ttft, itl time.Duration) *results.Client {
		return &results.Client{TTFTError: &ttft, ITLError: &itl}
	}
	for _, tc := range []struct {
		name   string
		change func(*results.Record)
		client *results.Client
		gap    time.Duration
		loop   int
		stamps string
		state  State
		reason string
	}{
		{name: "well", gap: ms, state: Healthy},
		{name: "a little late", change: late(2 * ms), gap: ms, state: Degraded, reason: "up to 2.00 ms late (p99; bound 1 ms)"},
		{name: "very late", change: late(20 * ms), gap: ms, state: ClientBound, reason: "up to 20.00 ms late (p99; bound 10 ms)"},
		{name: "late in a burst", change: late(20 * ms), gap: 0, state: Healthy},
		{name: "too late in a burst", change: late(time.Second), gap: 0, state: ClientBound, reason: "bound 400 ms"},
		{name: "slow reader", change: lag(60 * ms), gap: ms, state: Healthy},
		{name: "slow reader in a loop", change: lag(40 * ms), gap: ms, loop: 4, state: Healthy},
		{name: "late in a loop", change: late(20 * ms), gap: ms, loop: 4, state: Healthy},
		{name: "very slow reader in a loop", change: lag(60 * ms), gap: ms, loop: 4, state: ClientBound, reason: "ms after the kernel had them, which delayed the requests that came after (p99; bound 50 ms)"},
		{name: "a little wrong", client: wrong(2*ms, ms/10), gap: ms, state: Degraded, reason: "its own error of TTFT was up to 2.00 ms (p99 of its canary; bound 1 ms)"},
		{name: "very wrong", client: wrong(ms/10, 30*ms), gap: ms, state: ClientBound, reason: "its own error of ITL was up to 30.00 ms (p99 of its canary; bound 10 ms)"},
		{name: "exact", client: wrong(ms/10, ms/10), gap: ms, state: Healthy},
		{name: "first tokens read late", change: func(r *results.Record) {
			if r.ID%50 == 0 {
				r.Chunks[0].At, r.Chunks[0].Shared = r.Chunks[1].At, true
			}
		}, gap: ms, state: Degraded, reason: "2.5 % of first tokens were read together with the second, so that their TTFT is too long by up to a gap (bound 1 %)"},
		{name: "shares the end's read", change: func(r *results.Record) { r.Chunks[2].Shared = true }, gap: ms, state: Healthy},
		{name: "shared reads", change: shared, gap: ms, state: Degraded, reason: "33.3 % of events shared a read"},
		{name: "busy", client: used(6*time.Second, ms), gap: ms, state: Degraded, reason: "75 % of its 2 processors (bound 70 %)"},
		{name: "too busy", client: used(7500*ms, ms), gap: ms, state: ClientBound, reason: "94 % of its 2 processors (bound 90 %)"},
		{name: "stopped", client: used(time.Second, 6*ms), gap: ms, state: Healthy},
		{name: "stopped between read and stamp", client: used(time.Second, 6*ms), gap: ms, stamps: "user", state: Degraded, reason: "stopped it for 6.00 ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := manifest()
			m.Client, m.Settings.MaxConcurrency = tc.client, tc.loop
			if tc.stamps != "" {
				m.Stamps = tc.stamps
			}
			var recs []*results.Record
			for i := range 120 {
				rec := reply(i, time.Duration(i)*tc.gap, 100*ms, 10*ms, 3)
				if tc.change != nil {
					tc.change(rec)
				}
				recs = append(recs, rec)
			}
			s := record(m, recs...)
			if got := strings.Join(s.Health.Reasons, "; "); s.Health.State != tc.state || !strings.Contains(got, tc.reason) || (tc.reason == "" && got != "") {
				t.Errorf("%s: %s; want %s: %s", s.Health.State, got, tc.state, tc.reason)
			}
			if tc.state == ClientBound && !strings.HasPrefix(s.Warnings[0], "the client, not the server, limited the run: ") {
				t.Errorf("warnings %q", s.Warnings)
			}
			if tc.state == Healthy && len(s.Warnings) != 0 {
				t.Errorf("warnings %q", s.Warnings)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	m := manifest()
	m.Stamps = "user"
	m.Settings.Percentiles = []float64{99, 99.9}
	m.Warnings = []string{"said before"}
	counted := reply(0, 0, 100*ms, ms, 3)
	counted.Usage, counted.OutputTokens = nil, 3
	s := record(m, counted, failure(1, 5*ms, results.FailTruncated, "cut"))
	all := strings.Join(s.Warnings, "\n")
	for _, want := range []string{"said before", "stamped in user space", "1 stream ended without", "no token count for 1 reply", "p99 needs 100 replies, there are 1", "p99.9 needs 1000 replies"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among\n%s", want, all)
		}
	}
	if s.Health.ReadLag != nil {
		t.Error("a lag without kernel stamps")
	}
}

// TestRolling lets time pass: what ended more than eleven seconds ago is forgotten, what ended less than ten ago is not.
func TestRolling(t *testing.T) {
	r := NewRolling(10 * time.Second)
	began := time.Unix(1_700_000_000, 0)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	if ttft, itl := r.Latencies(at(0)); ttft != nil || itl != nil {
		t.Errorf("nothing yet: %v, %v", ttft, itl)
	}
	r.Add(reply(0, 0, 100*ms, 10*ms, 3), at(1))
	r.Add(failure(1, 0, results.FailCut, ""), at(1))
	r.Add(reply(2, 0, 300*ms, 30*ms, 3), at(8))
	for _, tc := range []struct {
		at, ttft50, ttft99, itl99 float64 // zero for nothing
	}{{9, 100, 300, 30}, {10.9, 100, 300, 30}, {12, 300, 300, 30}, {18.9, 300, 300, 30}, {19, 0, 0, 0}, {1000, 0, 0, 0}} {
		ttft, itl := r.Latencies(at(tc.at))
		if ttft == nil || itl == nil {
			ttft, itl = new([2]float64), new([2]float64)
		}
		if near := func(got, want float64) bool { return math.Abs(got-want) <= 0.01*want }; !near(ttft[0], tc.ttft50) || !near(ttft[1], tc.ttft99) || !near(itl[1], tc.itl99) {
			t.Errorf("after %v s: TTFT %v, ITL %v; want %+v", tc.at, *ttft, *itl, tc)
		}
	}
	r.Add(reply(3, 0, 50*ms, 5*ms, 3), at(1001))
	if ttft, _ := r.Latencies(at(1001)); ttft == nil || math.Abs(ttft[0]-50) > 0.5 {
		t.Errorf("after a long silence: %v", ttft)
	}
}

func TestSavedRunGivesTheSameSummary(t *testing.T) {
	dir := t.TempDir()
	m := manifest()
	w, err := results.Create(dir, *m)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecorder(ConfigOf(m))
	for _, rec := range some(100) {
		r.Add(rec)
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := results.WriteFile(dir+"/"+results.MetricsBefore, []byte("vllm:spec_decode_num_drafts_total 1\nvllm:spec_decode_num_draft_tokens_total 1\n")); err != nil {
		t.Fatal(err)
	}
	if err := results.WriteFile(dir+"/"+results.MetricsAfter, []byte("vllm:spec_decode_num_drafts_total 3\nvllm:spec_decode_num_draft_tokens_total 5\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	saved, err := OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	if !saved.Complete || saved.Spec == nil || saved.Spec.Drafts != 2 {
		t.Errorf("complete %t, spec %+v", saved.Complete, saved.Spec)
	}
	live := r.Summary(saved.Manifest, "", "")
	live.Spec = saved.Spec
	if diff := cmp.Diff(live, saved, cmp.AllowUnexported(Output{}), cmp.Comparer(func(a, b *results.Metric) bool { return a == b })); diff != "" {
		t.Errorf("(-live +saved):\n%s", diff)
	}
}

func BenchmarkAdd(b *testing.B) {
	rec := reply(0, 0, 100*ms, 10*ms, 100)
	r := NewRecorder(Config{Limit: 1})
	b.ReportAllocs()
	for b.Loop() {
		r.Add(rec)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
}
