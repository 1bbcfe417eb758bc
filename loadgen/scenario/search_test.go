package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"servebench/datasets"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/loadgen/sim"
	"servebench/results"
	"servebench/results/summary"
)

// A bubbleClock is the time of a synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() results.Moment { return results.Moment(time.Now().UnixNano()) }

func (bubbleClock) Until(ctx context.Context, at results.Moment) error {
	select {
	case <-time.After(time.Until(at.Time())):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A direct sender asks the simulator without a network, so that a search takes no real time and does not depend on
// the machine's.
type direct struct {
	server *sim.Server
	output int
}

type directCall struct {
	direct
	body string
}

func (d direct) Prepare(r loadgen.Request) (loadgen.Call, error) {
	ids := make([]int, 16)
	for i := range ids {
		ids[i] = (r.ID*31 + i) % 30000
	}
	body, err := json.Marshal(map[string]any{"prompt": ids, "max_tokens": d.output, "ignore_eos": true, "stream": true})
	return directCall{d, string(body)}, err
}

func (directCall) Size() int      { return 0 }
func (directCall) Sequences() int { return 0 }

func (c directCall) Send(ctx context.Context) results.Reply {
	began := bubbleClock{}.Now()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/completions", strings.NewReader(c.body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	reply := results.Reply{WriteBegan: began, Written: began, Done: bubbleClock{}.Now(), Status: w.Code, EndMarked: true, OutputTokens: c.output}
	if w.Code != 200 || ctx.Err() != nil {
		reply.Failure = &results.Failure{Class: results.FailStatus, Message: w.Body.String()}
	}
	return reply
}

// simulated carries out one run of a search in a bubble, with the rest of the search as it is.
func simulated(t *testing.T, s *Scenario, config sim.Config, q Search, value float64, repeat int, output int) trial {
	t.Helper()
	run := *s
	run.Seed += int64(repeat)
	rate := Rate(value)
	run.Load.Rate = &rate
	server, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stages, err := run.stages(samples{}, numpy.NewLegacy(uint32(run.Seed)))
	if err != nil {
		t.Fatal(err)
	}
	m := results.Manifest{Version: results.ManifestVersion, Basis: results.Service}
	recorder := summary.NewRecorder(summary.ConfigOf(&m))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	watch := newLookout(&run, float64(q.Tolerance))
	watch.Watcher, watch.cancel = silent{}, cancel
	live := new(loadgen.Live)
	var records []results.Record
	m.Began = bubbleClock{}.Now()
	watch.Loading(live, 0, time.Duration(run.Load.Duration))
	for rec := range loadgen.Run(ctx, loadgen.Plan{
		Stages: stages, Sender: direct{server, output}, Clock: bubbleClock{}, Live: live,
		Requests: func(i int) (loadgen.Request, bool) {
			return loadgen.Request{ID: i, Sample: datasets.Sample{InputTokens: 16, OutputTokens: output}}, true
		},
	}) {
		records = append(records, rec)
		recorder.Add(&rec)
		watch.Record(&rec)
	}
	watch.Loaded()
	m.Ended = bubbleClock{}.Now()
	sum := recorder.Summary(&m, "", "")
	line := &RunLine{Status: RunOK, Figures: figuresOf(sum), Bounds: summary.Hold(run.Objectives.Bounds, sum)}
	line.Figures.Client = summary.Healthy // nothing real was sent
	if early := stoppedEarly(ctx); early != nil {
		line.Status, line.Reason = RunStopped, early.reason
	}
	trend, ok, err := TrendOf(func(yield func(*results.Record, error) bool) {
		for i := range records {
			if !yield(&records[i], nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		line.Trend = trend
	}
	return line.judge(&run, float64(q.Tolerance))
}

// The search finds the rate that the simulator's configuration can be shown to sustain, within 5 %.
func TestSearchFindsTheCapacity(t *testing.T) {
	t.Parallel()
	const output = 2
	for _, tc := range []struct {
		arrival             string
		capacity, tolerance float64
		confidence          float64
		duration            string
	}{{"constant", 50, 0.03, 0.7, "12s"}, {"poisson", 40, 0.05, 0.2, "40s"}} {
		t.Run(tc.arrival, func(t *testing.T) {
			config, err := sim.Config{MaxNumSeqs: 8, NoPrefixCache: true}.WithCapacity(tc.capacity, 16, output)
			if err != nil {
				t.Fatal(err)
			}
			s := parsed(t, "seed: 7\nload: {duration: "+tc.duration+", arrival: "+tc.arrival+"}\nsearch: {from: 6, tolerance: "+fmt.Sprint(tc.tolerance)+", repeats: 3}\nobjectives: {bounds: [failures <= 0]}")
			synctest.Test(t, func(t *testing.T) {
				q := s.Search.withDefaults()
				early := 0
				r, err := q.search(t.Context(), func(_ context.Context, value float64, repeat int) (trial, error) {
					one := simulated(t, s, config, q, value, repeat, output)
					t.Logf("%8.4g: %t, %s", value, one.held, one.why)
					if strings.Contains(one.why, "saturated") {
						early++
					}
					return one, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Log(r.Text)
				if r.Best == nil || math.Abs(*r.Best/tc.capacity-1) > 0.05 {
					t.Fatalf("found %v; the capacity is %g", r.Best, tc.capacity)
				}
				if r.Failed == nil || r.Confidence == nil || *r.Width > tc.tolerance+1e-9 || *r.Confidence < tc.confidence || r.Runs > 40 {
					t.Errorf("result %+v", r)
				}
				if early == 0 {
					t.Error("no run was stopped early, though some were far beyond the capacity")
				}
			})
		})
	}
}

func TestSearchDecidesByMajority(t *testing.T) {
	bad := trial{why: "missed"}
	good := trial{held: true}
	for _, tc := range []struct {
		name         string
		search       Search
		try          func(value float64, repeat int) trial
		best, failed float64 // 0: none
		ended        string
	}{
		{"a sharp boundary", Search{From: 1, Tolerance: 0.01}, func(v float64, _ int) trial {
			if v <= 37 {
				return good
			}
			return bad
		}, 36.84, 37.04, "narrow"},
		{"below the first value", Search{From: 100, Tolerance: 0.1}, func(v float64, _ int) trial {
			if v <= 3 {
				return good
			}
			return bad
		}, 2.865, 3.125, "narrow"},
		{"nothing holds", Search{From: 1}, func(float64, int) trial { return bad }, 0, 0.0009765, "lowest"},
		{"everything holds", Search{From: 1, To: 10}, func(float64, int) trial { return good }, 10, 0, "highest"},
		{"whole numbers", Search{Field: "load.concurrency"}, func(v float64, _ int) trial {
			if v <= 11 {
				return good
			}
			return bad
		}, 11, 12, "narrow"},
		{"one bad run in three does not decide", Search{From: 8, Tolerance: 0.05}, func(v float64, repeat int) trial {
			if v <= 20 && (repeat != 1 || v < 15) {
				return good
			}
			return bad
		}, 19.87, 20.75, "narrow"},
		{"two void runs are made again", Search{Field: "load.concurrency", To: 4}, func(v float64, repeat int) trial {
			if v == 2 && repeat < 2 {
				return trial{void: true}
			}
			return good
		}, 4, 0, "highest"},
		{"a client that cannot", Search{Field: "load.concurrency", To: 4}, func(v float64, repeat int) trial {
			if v > 2 {
				return trial{void: true}
			}
			return good
		}, 2, 3, "narrow"},
		{"too many runs", Search{From: 1, Runs: 4}, func(v float64, _ int) trial { return good }, 8, 0, "most that it may make"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var values []string
			r, err := tc.search.search(t.Context(), func(_ context.Context, v float64, repeat int) (trial, error) {
				values = append(values, fmt.Sprintf("%g/%d", v, repeat))
				return tc.try(v, repeat), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			value := func(v *float64) float64 {
				if v == nil {
					return 0
				}
				return *v
			}
			if value(r.Best) != tc.best || value(r.Failed) != tc.failed || !strings.Contains(r.Ended, tc.ended) || r.Runs != len(values) {
				t.Errorf("best %v, failed %v, ended %q after %d runs; want %v, %v, %q\n%s\n%s", value(r.Best), value(r.Failed), r.Ended, r.Runs, tc.best, tc.failed, tc.ended,
					strings.Join(values, " "), r.Text)
			}
			slices.Sort(values)
			if len(slices.Compact(values)) != r.Runs {
				t.Errorf("a run was made twice: %v", values)
			}
		})
	}
}

func TestConfidence(t *testing.T) {
	for _, tc := range []struct {
		heldLow, runsLow, heldHigh, runsHigh int
		want                                 float64
	}{
		{3, 3, 0, 3, 0.75}, {5, 5, 0, 5, 1 - 2.0/32}, {2, 3, 0, 3, 1 - 0.5 - 0.125}, {1, 1, 0, 1, 0}, {6, 6, 0, 6, 1 - 2.0/64},
	} {
		if got := confidence(tc.heldLow, tc.runsLow, tc.heldHigh, tc.runsHigh); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%d of %d against %d of %d: %v; want %v", tc.heldLow, tc.runsLow, tc.heldHigh, tc.runsHigh, got, tc.want)
		}
	}
}

func TestTrendIsTheShareLeftUndone(t *testing.T) {
	// 100 requests a second come, 90 end: ten more each second, from 20 on.
	var counts []count
	for i := range 1000 {
		at := float64(i) / 100
		counts = append(counts, count{at, 20 + 10*at, float64(i + 1)})
	}
	got, ok := trend(counts, 0.2, 10, student95)
	if !ok || math.Abs(got.Slope-10) > 0.05 || math.Abs(got.Deficit-0.1) > 0.001 || !got.Saturated(0.05) || got.Seconds != 8 || got.Requests != 799 {
		t.Errorf("trend %+v, %t; want a slope of 10, a tenth of what came, over the last 8 s", got, ok)
	}
	for i := range counts {
		counts[i].inside = 20 + float64(i*7%5)
	}
	if got, ok := trend(counts, 0.2, 10, student95); !ok || got.Saturated(0) || math.Abs(got.Deficit) > 0.001 || got.DeficitHigh > 0.05 {
		t.Errorf("a steady number: %+v, %t", got, ok)
	}
	if _, ok := trend(counts, 3, 10, student95); ok {
		t.Error("requests of three seconds tell nothing in ten")
	}
}

func TestLookoutKnowsWhenARunIsLost(t *testing.T) {
	record := func(ms int, failed bool) *results.Record {
		r := &results.Record{Kind: results.Load, Due: 1, Dispatched: 1, Reply: results.Reply{
			WriteBegan: 1, Written: 1, Done: 1 + results.Moment(ms)*1e6, Chunks: []results.Chunk{{At: 1 + results.Moment(ms)*1e6}},
		}}
		if failed {
			r.Failure = &results.Failure{Class: results.FailStatus}
		}
		return r
	}
	for _, tc := range []struct {
		name, objectives string
		planned          int
		good, bad        int // the bad come last
		failures         bool
		want             string
	}{
		{"one failure too many", "bounds: [failures <= 2]", 100, 50, 3, true, "failures <= 2 cannot be met any more: 3 requests failed"},
		{"two are allowed", "bounds: [failures <= 2]", 100, 50, 2, true, ""},
		{"a share of what is planned", "bounds: [failures <= 2%]", 200, 10, 4, true, ""},
		{"more than a share", "bounds: [failures <= 2%]", 200, 10, 5, true, "5 of at most 200"},
		{"p90 of 100: eleven may be slow", "bounds: [p90 e2el <= 5ms]", 100, 10, 11, false, ""},
		{"p90 of 100: twelve may not", "bounds: [p90 e2el <= 5ms]", 100, 10, 12, false, "12 of at most 100 requests took longer"},
		{"max", "bounds: [max ttft <= 5ms]", 0, 10, 1, false, "max ttft <= 5ms cannot be met any more"},
		{"a mean may recover", "bounds: [mean ttft <= 5ms]", 100, 0, 99, false, ""},
		{"goodput", "{goodput: {ttft: 5ms}, bounds: [goodput >= 95%]}", 100, 0, 6, false, "6 of at most 100 requests missed"},
		{"max_failures", "{max_failures: 0}", 100, 0, 1, true, "1 requests failed, 0 are allowed"},
		{"nobody knows how many come", "bounds: [p90 e2el <= 5ms]", 0, 0, 50, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objectives := tc.objectives
			if objectives[0] != '{' {
				objectives = "{" + objectives + "}"
			}
			k := newLookout(parsed(t, "load: {requests: 100}\nobjectives: "+objectives), 0.05)
			k.planned = tc.planned
			for range tc.good {
				if got := k.add(record(1, false)); got != "" {
					t.Fatalf("lost after good requests: %s", got)
				}
			}
			for i := range tc.bad {
				got := k.add(record(10, tc.failures))
				if last := i == tc.bad-1; !last && got != "" || last && (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) && last {
					t.Fatalf("after %d bad ones: %q; want %q after %d", i+1, got, tc.want, tc.bad)
				}
			}
		})
	}
}

// The whole way with a real server: a bound that the simulator's fixed delay cannot meet, and one that it meets at any concurrency.
func TestSearchRuns(t *testing.T) {
	for _, tc := range []struct {
		bound string
		best  *float64
		ended string
		runs  int
	}{
		{"failures <= 0", new(float64), "highest", 5},
		{"p50 ttft <= 1us", nil, "lowest", 1},
	} {
		t.Run(tc.bound, func(t *testing.T) {
			s := parsed(t, quick+"search: {field: load.concurrency, to: 4}\nobjectives: {bounds: [\""+tc.bound+"\"]}")
			dir := filepath.Join(t.TempDir(), "s")
			x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}, anyClient: true})
			if err != nil {
				t.Fatal(err)
			}
			r := x.Search
			if tc.best != nil {
				*tc.best = 4
			}
			if (r.Best == nil) != (tc.best == nil) || r.Best != nil && *r.Best != *tc.best || !strings.Contains(r.Ended, tc.ended) || r.Runs != tc.runs || len(x.Runs) != tc.runs {
				t.Errorf("best %v after %d runs, ended %q: %s", r.Best, r.Runs, r.Ended, r.Text)
			}
			if tc.best == nil && (x.Runs[0].Status != RunStopped || !strings.Contains(x.Runs[0].Reason, "cannot be met any more")) {
				t.Errorf("the first run is %s (%s); want it stopped once it was lost", x.Runs[0].Status, x.Runs[0].Reason)
			}
			again, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}, anyClient: true})
			if err != nil || !sameJSON(again.Runs, x.Runs) || !sameJSON(again.Search, x.Search) {
				t.Errorf("done again it is another search: %v", err)
			}
		})
	}
}
