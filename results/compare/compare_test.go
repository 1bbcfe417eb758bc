package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

var update = flag.Bool("update", false, "accept the reports as they are now")

const (
	ms   = time.Millisecond
	zero = results.Moment(1_700_000_000_000_000_000)
)

// A load is how the runs of tests are made.
type load struct {
	requests int
	// first and gap are the mean time to the first token and between tokens, in milliseconds; every request has four tokens.
	first, gap float64
	// seed drives the load, own the run.
	seed int64
	own  uint64
	// failEvery makes each so manieth request fail.
	failEvery int
	stages    bool
	change    func(m *results.Manifest)
}

func (l load) run(t testing.TB, name string, o Options) *Run {
	t.Helper()
	m, records := l.records()
	r, err := OfRecords(name, m, records, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (l load) records() (*results.Manifest, iter.Seq2[*results.Record, error]) {
	lengths, own := rand.New(rand.NewPCG(uint64(l.seed), 1)), rand.New(rand.NewPCG(l.own, 2))
	m := &results.Manifest{
		Version: 1, Tool: "servebench 1.2.3", Seed: l.seed, Stamps: "kernel", Basis: results.Service, Created: zero.Add(time.Duration(l.own)), Began: zero,
		Ended: zero.Add(time.Duration(l.requests) * 10 * ms).Add(time.Second), Outcome: results.OK, Server: results.Server{Version: "0.33.0"},
		Settings: results.Settings{
			Backend: "vllm", Endpoint: "/v1/completions", ModelID: "org/m-7b", Dataset: "random", NumPrompts: l.requests, RequestRate: 100, Burstiness: 1,
			Goodput: []results.Objective{{Metric: "ttft", MS: 2 * l.first}},
		},
	}
	if l.stages {
		m.Scenario = []byte(`{"stages":[{"name":"slow"},{"name":"fast"}]}`)
	}
	if l.change != nil {
		l.change(m)
	}
	return m, func(yield func(*results.Record, error) bool) {
		for i := range l.requests {
			due := zero.Add(time.Duration(i) * 10 * ms)
			input := 50 + lengths.IntN(100)
			r := &results.Record{
				ID: i, Kind: results.Load, InputTokens: input, AskedTokens: 4, Due: due, Released: due, Dispatched: due,
				Reply: results.Reply{WriteBegan: due, Written: due, Headers: due.Add(ms), Status: 200, OutputTokens: -1},
			}
			if l.stages {
				r.Stage = i * 2 / l.requests
			}
			first := l.first * math.Exp(0.3*own.NormFloat64())
			at := due.Add(time.Duration(first * 1e6))
			for range 4 {
				r.Chunks = append(r.Chunks, results.Chunk{At: at, Tokens: 1, Visible: true})
				at = at.Add(time.Duration(l.gap * math.Exp(0.2*own.NormFloat64()) * 1e6))
			}
			r.Done = r.Chunks[3].At
			r.Usage = &results.Usage{Prompt: input, Completion: 4, Cached: 0}
			if l.failEvery > 0 && i%l.failEvery == 0 {
				r.Chunks, r.Usage, r.Failure, r.Status = nil, nil, &results.Failure{Class: results.FailStatus, Message: "busy"}, 503
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// groups makes two groups of runs.
func groups(t testing.TB, o Options, before, after []load) []*Group {
	t.Helper()
	list := []*Group{{Name: "before"}, {Name: "after"}}
	for i, loads := range [][]load{before, after} {
		for k, l := range loads {
			list[i].Runs = append(list[i].Runs, l.run(t, fmt.Sprintf("%s-%d", list[i].Name, k+1), o))
		}
	}
	return list
}

func compared(t testing.TB, o Options, before, after []load) *Report {
	t.Helper()
	r, err := Compare(groups(t, o, before, after), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rowNamed(t testing.TB, r *Report, metric, statistic string) *Row {
	t.Helper()
	for _, row := range r.Comparisons[0].Rows {
		if row.Metric == metric && row.Statistic == statistic {
			return row
		}
	}
	t.Fatalf("no row %s %s", metric, statistic)
	return nil
}

// Values in a comparison are those of the run's own report.
func TestValuesAgreeWithTheSummary(t *testing.T) {
	l := load{requests: 1200, first: 50, gap: 10, seed: 1, own: 1, failEvery: 40}
	r := compared(t, Options{Draws: 20, Plain: true}, []load{l}, []load{{requests: 1200, first: 60, gap: 10, seed: 1, own: 2, failEvery: 40}})
	m, records := l.records()
	recorder := summary.NewRecorder(summary.ConfigOf(m))
	for rec := range records {
		recorder.Add(rec)
	}
	s := recorder.Summary(m, "", "")
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-9*math.Abs(want) {
			t.Errorf("%s: %v; the summary has %v", what, got, want)
		}
	}
	for _, metric := range []string{"ttft", "tpot", "itl", "e2el"} {
		d := s.Dist(metric, results.Service)
		near(metric+" mean", rowNamed(t, r, metric, "mean").Baseline, d.Mean)
		for _, p := range []float64{50, 90, 99} {
			want, _ := d.At(p)
			near(metric+" "+percentileName(p), rowNamed(t, r, metric, percentileName(p)).Baseline, want)
		}
	}
	near("requests", rowNamed(t, r, "request_throughput", rateStatistic).Baseline, *s.RequestRate)
	near("output tokens", rowNamed(t, r, "output_throughput", rateStatistic).Baseline, *s.OutputRate)
	near("goodput", rowNamed(t, r, "goodput", rateStatistic).Baseline, *s.Goodput.PerSecond)
	near("goodput share", rowNamed(t, r, "goodput_share", rateStatistic).Baseline, s.Goodput.Share)
	near("failures", rowNamed(t, r, "failures", rateStatistic).Baseline, 30.0/1200)
}

func TestVerdicts(t *testing.T) {
	base := load{requests: 2000, first: 50, gap: 10, seed: 1, own: 1}
	slower := load{requests: 2000, first: 60, gap: 10, seed: 1, own: 2}
	r := compared(t, Options{Margin: 0.05, Plain: true}, []load{base}, []load{slower})
	for _, tc := range []struct {
		metric, statistic string
		want              Verdict
	}{
		{"ttft", "mean", Worse}, {"ttft", "p50", Worse}, {"itl", "mean", Equivalent}, {"tpot", "p50", Equivalent}, {"failures", rateStatistic, Same},
	} {
		row := rowNamed(t, r, tc.metric, tc.statistic)
		if row.Verdict != tc.want {
			t.Errorf("%s %s: %s, want %s: %+v, ratio %v in %v", tc.metric, tc.statistic, row.Verdict, tc.want, row, *row.Ratio, row.RatioInterval)
		}
	}
	if row := rowNamed(t, r, "ttft", "mean"); math.Abs(*row.Ratio-1.2) > 0.03 || row.RatioInterval.Low > 1.2 || row.RatioInterval.High < 1.2 {
		t.Errorf("ttft mean: ratio %v in %v, true is 1.2", *row.Ratio, row.RatioInterval)
	}
	// The other way round everything is better.
	r = compared(t, Options{Baseline: "after", Plain: true}, []load{base}, []load{slower})
	if row := rowNamed(t, r, "ttft", "mean"); row.Verdict != Better {
		t.Errorf("with the baseline turned round: %s", row.Verdict)
	}
	// A change that a few requests cannot tell from chance asks for more.
	r = compared(t, Options{Plain: true}, []load{{requests: 200, first: 50, gap: 10, seed: 1, own: 1}}, []load{{requests: 200, first: 51, gap: 10, seed: 1, own: 2}})
	if row := rowNamed(t, r, "ttft", "mean"); row.Verdict != Inconclusive || row.Needs == nil || row.Needs.Requests < 500 || row.Needs.Requests > 100000 {
		t.Errorf("200 requests, 2 %%: %s, needs %v", row.Verdict, row.Needs)
	}
}

// With three runs a side, runs are the sample: the interval is Welch's, and their own spread counts.
func TestRunsAreTheSample(t *testing.T) {
	side := func(own uint64, firsts ...float64) (list []load) {
		for i, first := range firsts {
			list = append(list, load{requests: 400, first: first, gap: 10, seed: 1, own: own + uint64(i)})
		}
		return list
	}
	r := compared(t, Options{Draws: 20, Plain: true}, side(1, 50, 60, 70), side(11, 55, 65, 75))
	c := r.Comparisons[0]
	if c.Sample != "runs" || c.Paired {
		t.Errorf("the sample is the %s, paired %t", c.Sample, c.Paired)
	}
	row := rowNamed(t, r, "ttft", "p90")
	if row.Verdict != Inconclusive || row.Needs == nil || row.Needs.Runs < 1 || row.RatioInterval.High-row.RatioInterval.Low < 0.3 {
		t.Errorf("runs that differ by 20 %% among themselves: %s in %v, needs %v", row.Verdict, row.RatioInterval, row.Needs)
	}
	if r := compared(t, Options{Draws: 20, Plain: true}, side(1, 50, 60), side(11, 55, 65, 75)); r.Comparisons[0].Sample != "requests" {
		t.Error("two runs on one side are no sample of runs")
	}
}

func TestPercentilesNeedValues(t *testing.T) {
	r := compared(t, Options{Draws: 20, Plain: true}, []load{{requests: 500, first: 50, gap: 10, seed: 1, own: 1}}, []load{{requests: 500, first: 50, gap: 10, seed: 1, own: 2}})
	var have []string
	for _, row := range r.Comparisons[0].Rows {
		if row.Metric == "ttft" {
			have = append(have, row.Statistic)
		}
	}
	if want := []string{"mean", "p50", "p90"}; !slices.Equal(have, want) {
		t.Errorf("500 requests give %v, want %v", have, want)
	}
	if got, want := r.Comparisons[0].LeftOut[0], "ttft: too few values on a side: p99 takes 1000, p99.9 takes 10000"; got != want {
		t.Errorf("left out %q, want %q", got, want)
	}
}

func TestStages(t *testing.T) {
	o := Options{Draws: 20, Plain: true}
	l := load{requests: 1000, first: 50, gap: 10, seed: 1, own: 1, stages: true}
	other := l
	other.own = 2
	r := compared(t, o, []load{l}, []load{other})
	stages := r.Comparisons[0].Stages
	if len(stages) != 2 || stages[0].Name != "slow" || stages[1].Name != "fast" {
		t.Fatalf("stages %v", stages)
	}
	for _, s := range stages {
		if s.Rows[0].Metric != "ttft" || s.Rows[0].requests != 500 {
			t.Errorf("stage %s begins with %s of %d requests", s.Name, s.Rows[0].Metric, s.Rows[0].requests)
		}
		for _, row := range s.Rows {
			if row.Metric == "request_throughput" {
				t.Errorf("stage %s has a throughput", s.Name)
			}
		}
	}
}

func TestComparability(t *testing.T) {
	quick := Options{Metrics: []string{"ttft"}, Draws: 20, Plain: true}
	ok := load{requests: 100, first: 50, gap: 10, seed: 1, own: 1}
	with := func(change func(l *load)) load {
		l := ok
		l.own = 2
		change(&l)
		return l
	}
	manifest := func(change func(m *results.Manifest)) load { return with(func(l *load) { l.change = change }) }
	for _, tc := range []struct {
		name  string
		other load
		want  Severity
		field string
		text  string
	}{
		{"model", manifest(func(m *results.Manifest) { m.Settings.ModelID = "org/m-8b" }), Refusal, "model", "model differs between before and after: org/m-7b, org/m-8b"},
		{"backend", manifest(func(m *results.Manifest) { m.Settings.Backend = "sglang" }), Refusal, "backend", "backend differs between before and after: vllm, sglang"},
		{"rate", manifest(func(m *results.Manifest) { m.Settings.RequestRate = 50 }), Refusal, "rate", "rate differs between before and after: 100.0, 50.0"},
		{"concurrency", manifest(func(m *results.Manifest) { m.Settings.MaxConcurrency = 8 }), Refusal, "concurrency", "concurrency differs between before and after: none, 8"},
		{"dataset", manifest(func(m *results.Manifest) { m.Settings.Dataset = "sharegpt" }), Refusal, "dataset", "dataset differs between before and after: random, sharegpt"},
		{"seed", with(func(l *load) { l.seed = 2 }), Doubt, "seed", "seed differs between before and after: 1, 2"},
		{"version", manifest(func(m *results.Manifest) { m.Server.Version = "0.34.0" }), Remark, "server_version", "server_version differs between before and after: 0.33.0, 0.34.0"},
		{"flags", manifest(func(m *results.Manifest) { m.Server.Command = []string{"vllm", "serve"} }), "", "", ""},
		{"interrupted", manifest(func(m *results.Manifest) { m.Outcome, m.Reason = results.Interrupted, "Ctrl-C" }), Refusal, "incomplete", "after-1 is not whole: it ended as interrupted: Ctrl-C"},
		{"failures", with(func(l *load) { l.failEvery = 10 }), Doubt, "failures", "after-1: 10.0 % of requests failed, so its latencies are those of the others"},
		{"same", ok, Refusal, "run", "before-1 and after-1 are the same run"},
		{"stamps", manifest(func(m *results.Manifest) { m.Stamps = "user" }), Doubt, "stamps", "stamps differs between before and after: kernel, user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := groups(t, quick, []load{ok}, []load{tc.other})
			found := findings(list[0], list[1], nil)
			if tc.want == "" {
				if len(found) != 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			if want := (Finding{tc.want, tc.field, tc.text}); !slices.Contains(found, want) {
				t.Errorf("found %v, want %v", found, want)
			}
			_, err := Compare(list, quick)
			var refused *RefusedError
			if errors.As(err, &refused) != (tc.want == Refusal) {
				t.Errorf("refused: %v", err)
			}
			forced, varied := quick, quick
			forced.Force, varied.Vary = true, []string{tc.field}
			if _, err := Compare(list, forced); err != nil {
				t.Errorf("with force: %v", err)
			}
			if _, err := Compare(list, varied); err != nil {
				t.Errorf("meant to differ: %v", err)
			}
		})
	}
}

func TestCachedPromptsAndLengths(t *testing.T) {
	a := load{requests: 100, first: 50, gap: 10, own: 1}.run(t, "a", Options{})
	b := load{requests: 100, first: 50, gap: 10, own: 2}.run(t, "b", Options{})
	b.CachedShare, b.OutputLength = 0.5, 5
	found := findings(&Group{"A", []*Run{a}}, &Group{"B", []*Run{b}}, nil)
	for _, want := range []Finding{
		{Refusal, "output_length", "output_length differs between A and B: 4.0, 5.0 tokens on average"},
		{Refusal, "prefix_cache", "prefix_cache differs between A and B: 0.0 %, 50.0 % of prompt tokens were cached"},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("found %v, want %v", found, want)
		}
	}
	b.CachedShare, b.OutputLength, b.Client, b.ClientReason = 0.05, 4, summary.ClientBound, "it was late"
	found = findings(&Group{"A", []*Run{a}}, &Group{"B", []*Run{b}}, nil)
	for _, want := range []Finding{
		{Doubt, "prefix_cache", "prefix_cache differs between A and B: 0.0 %, 5.0 % of prompt tokens were cached"},
		{Refusal, "client", "b says more about the client than about the server: it was late"},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("found %v, want %v", found, want)
		}
	}
}

// What only the scenario tells: think times, arrivals, stages.
func TestScenarios(t *testing.T) {
	with := func(own uint64, scenario string) *Run {
		return load{requests: 20, first: 50, gap: 10, own: own, change: func(m *results.Manifest) { m.Scenario = []byte(scenario) }}.run(t, "r", Options{})
	}
	a := with(1, `{"load":{"rate":"5","requests":20,"arrival":"poisson"},"dataset":{"name":"random","input_len":5}}`)
	b := with(2, `{"load":{"rate":"6","requests":30,"arrival":"constant"},"dataset":{"input_len":5,"name":"random"},"stages":[{"rate":"1"},{"rate":"2","name":"two"}]}`)
	if want := []string{"stage 1", "two"}; !slices.Equal(b.stages, want) {
		t.Errorf("stages %v, want %v", b.stages, want)
	}
	found := findings(&Group{"A", []*Run{a}}, &Group{"B", []*Run{b}}, nil)
	for _, want := range []Finding{
		{Refusal, "load", `load differs between A and B: {"arrival":"poisson"}, {"arrival":"constant"}`},
		{Refusal, "stages", `stages differs between A and B: none, [{"rate":"1"},{"name":"two","rate":"2"}]`},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("found %v, want %v", found, want)
		}
	}
	if slices.ContainsFunc(found, func(f Finding) bool { return f.Field == "dataset_options" }) {
		t.Errorf("the order of keys makes no difference, yet found %v", found)
	}
}

// The profiler's settings name the folder of a run: they make no two servers differ.
func TestServersWithoutTheirProfiler(t *testing.T) {
	got := command([]string{"vllm", "serve", "m", "--profiler-config", `{"dir":"a"}`, "--profiler-config.dir=b", "--port", "1"})
	if want := "vllm serve m --port 1"; got != want {
		t.Errorf("command %q, want %q", got, want)
	}
	if got, want := settings([]byte(`{"b":{"profiler_config":{"dir":"x"},"c":[1,{"torch_profiler_dir":"y"}]},"a":2}`)), `{"a":2,"b":{"c":[1,{}]}}`; got != want {
		t.Errorf("settings %s, want %s", got, want)
	}
}

// Sweeps are compared point by point.
func TestMatch(t *testing.T) {
	at := func(rate float64, own uint64) load {
		return load{requests: 200, first: 5000 / rate, gap: 10, seed: 1, own: own, change: func(m *results.Manifest) { m.Settings.RequestRate = results.Number(rate) }}
	}
	list := groups(t, Options{Draws: 20, Plain: true}, []load{at(50, 1), at(100, 2), at(200, 3)}, []load{at(100, 4), at(50, 5)})
	_, err := Compare(list, Options{Draws: 20, Plain: true})
	if err == nil || !strings.Contains(err.Error(), "rate differs inside before: 50.0, 100.0") || !strings.Contains(err.Error(), "--match rate") {
		t.Errorf("points of a sweep in one group: %v", err)
	}
	r, err := Compare(list, Options{Match: []string{"rate"}, Draws: 20, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Comparisons) != 2 || r.Comparisons[0].name() != "after against before at rate 50.0" || r.Comparisons[1].name() != "after against before at rate 100.0" {
		t.Errorf("%d comparisons, the first %s", len(r.Comparisons), r.Comparisons[0].name())
	}
	if want := "after has no run with rate 200.0: those of before were left out"; !slices.Contains(r.Notes, want) {
		t.Errorf("notes %q lack %q", r.Notes, want)
	}
}

// A path of the scenario cuts a sweep as well as a field does; one that no run has is a mistake, not a match.
func TestMatchByAPath(t *testing.T) {
	at := func(length int, own uint64) load {
		return load{requests: 100, first: float64(length), gap: 10, seed: 1, own: own, change: func(m *results.Manifest) {
			m.Scenario = json.RawMessage(fmt.Sprintf(`{"dataset":{"input_len":%d},"server":{"command":["serve","x"]},"stages":[{"rate":"3"}]}`, length))
		}}
	}
	o := Options{Draws: 20, Plain: true, Match: []string{"dataset.input_len", "server.command", "stages.0.rate"}}
	r, err := Compare(groups(t, o, []load{at(64, 1), at(128, 2)}, []load{at(128, 3), at(64, 4)}), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := `after against before at dataset.input_len 64, server.command ["serve","x"], stages.0.rate 3`; len(r.Comparisons) != 2 || r.Comparisons[0].name() != want {
		t.Errorf("%d comparisons, the first %s; want 2, %s", len(r.Comparisons), r.Comparisons[0].name(), want)
	}
	o.Match = []string{"dataset.input_length"}
	if _, err := Compare(groups(t, o, []load{at(64, 1)}, []load{at(64, 4)}), o); err == nil || !strings.Contains(err.Error(), `no run has a field "dataset.input_length" to match: have model, `) {
		t.Errorf("a field that no run has: %v", err)
	}
	o.Match = []string{"input_length"}
	if r, err := Compare(groups(t, o, []load{at(64, 1)}, []load{at(64, 4)}), o); err != nil || !strings.Contains(r.Comparisons[0].name(), "at input_length ") || strings.Contains(r.Comparisons[0].name(), "unknown") {
		t.Errorf("by the length that was counted: %v, %+v", err, r)
	}
}

func TestMistakes(t *testing.T) {
	run := load{requests: 10, first: 50, gap: 10}.run(t, "r", Options{})
	g := func(name string) *Group { return &Group{name, []*Run{run}} }
	for _, tc := range []struct {
		groups []*Group
		o      Options
		want   string
	}{
		{[]*Group{g("a")}, Options{}, "a comparison takes two groups of runs, not 1"},
		{[]*Group{g("a"), g("a")}, Options{}, "two groups are named a"},
		{[]*Group{g("a"), {Name: "b"}}, Options{}, "group b has no run"},
		{[]*Group{g("a"), g("b")}, Options{Baseline: "c"}, `no group "c": have a, b`},
		{[]*Group{g("a"), g("b")}, Options{Percentiles: []float64{100}}, "percentile 100: want one between 0 and 100"},
		{[]*Group{g("a"), g("b")}, Options{Confidence: 1}, "confidence 1: want a share of 0.5 to 1, such as 0.95"},
		{[]*Group{g("a"), g("b")}, Options{Margin: math.NaN()}, "margin NaN: want a share of 0 to 1, such as 2%"},
		{[]*Group{g("a"), g("b")}, Options{Basis: "x"}, `no basis "x": have service, response, vllm`},
	} {
		if _, err := Compare(tc.groups, tc.o); err == nil || err.Error() != tc.want {
			t.Errorf("%v; want %s", err, tc.want)
		}
	}
}

// The reports of one comparison, to the byte. Their figures come from a fixed seed.
func TestReports(t *testing.T) {
	gate := func(text string) Gate {
		g, err := ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	o := Options{Seed: 1, Gates: []Gate{gate("p90 ttft +5%"), gate("mean itl +1ms"), gate("failures +1%")}}
	newer := func(m *results.Manifest) { m.Server.Version = "0.34.0" }
	r := compared(t, o,
		[]load{{requests: 1000, first: 50, gap: 10, seed: 1, own: 1, failEvery: 250, stages: true}},
		[]load{{requests: 1000, first: 58, gap: 10, seed: 1, own: 2, failEvery: 100, stages: true, change: newer}})
	r.Tool = "servebench 1.2.3"
	for format, file := range map[string]string{"text": "report.txt", "markdown": "report.md", "json": "report.json", "csv": "report.csv", "benchfmt": "report.bench"} {
		t.Run(format, func(t *testing.T) {
			var got bytes.Buffer
			if err := Write(&got, format, r); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", file)
			if *update {
				if err := os.MkdirAll("testdata", 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs; if that is right: go test ./results/compare -update\n--- got\n%s--- want\n%s", path, got.Bytes(), want)
			}
		})
	}
	if err := Write(&bytes.Buffer{}, "x", r); err == nil || err.Error() != `no format "x": have benchfmt, csv, json, markdown, text` {
		t.Error(err)
	}
}
