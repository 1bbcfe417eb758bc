package scenario

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// A Search looks for the highest value of a field with which the server still meets objectives.bounds and, where the load has a rate,
// keeps up with it. Beside a sweep, each of its points is searched.
type Search struct {
	// Field is load.rate (the default) or load.concurrency.
	Field string `yaml:"field,omitempty" json:"field,omitempty" jsonschema:"enum=load.rate,enum=load.concurrency"`
	// From is the first value that is tried; 0 is 1. To is the highest that may be tried; 0 is no limit for a rate, 1024 for a concurrency.
	From float64 `yaml:"from,omitempty" json:"from,omitempty"`
	To   float64 `yaml:"to,omitempty" json:"to,omitempty"`
	// Grow is the ratio of two values while everything holds; 0 is 2.
	Grow float64 `yaml:"grow,omitempty" json:"grow,omitempty"`
	// Tolerance is how near the answer is to the first value that failed: a share such as 5%, the default.
	Tolerance Share `yaml:"tolerance,omitempty" json:"tolerance,omitempty"`
	// Repeats is how many runs of a value decide near the boundary, by majority; 0 is 3.
	Repeats int `yaml:"repeats,omitempty" json:"repeats,omitempty"`
	// Runs ends the search after so many; 0 is 60.
	Runs int `yaml:"runs,omitempty" json:"runs,omitempty"`
	// ToTheEnd carries every run to its end, also when it is lost or the server is saturated already.
	ToTheEnd bool `yaml:"to_the_end,omitempty" json:"to_the_end,omitempty"`
}

// A Share is a part of a whole, written as 5% or 0.05.
type Share float64

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(text []byte) error {
	number, scale := string(text), 1.0
	if n := len(number); n > 0 && number[n-1] == '%' {
		number, scale = number[:n-1], 100
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v/scale >= 1 {
		return fmt.Errorf("%q is no share: write 5%% or 0.05", text)
	}
	*s = Share(v / scale)
	return nil
}

// MarshalText writes a share in percent.
func (s Share) MarshalText() ([]byte, error) {
	return append(strconv.AppendFloat(nil, float64(s)*100, 'g', 10, 64), '%'), nil
}

// UnmarshalYAML reads it from a number or a text.
func (s *Share) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("want a share such as 5%%")
	}
	return s.UnmarshalText([]byte(node.Value))
}

// What a search tries by default.
const (
	usualGrow        = 2
	usualTolerance   = 0.05
	usualRepeats     = 3
	usualRuns        = 60
	usualConcurrency = 1024
)

// withDefaults is the search with the usual values filled in.
func (q Search) withDefaults() Search {
	if q.Field == "" {
		q.Field = "load.rate"
	}
	if q.From == 0 {
		q.From = 1
	}
	if q.To == 0 {
		q.To = math.Inf(1)
		if q.whole() {
			q.To = usualConcurrency
		}
	}
	if q.Grow == 0 {
		q.Grow = usualGrow
	}
	if q.Tolerance == 0 {
		q.Tolerance = usualTolerance
	}
	if q.Repeats == 0 {
		q.Repeats = usualRepeats
	}
	if q.Runs == 0 {
		q.Runs = usualRuns
	}
	return q
}

// whole says that the field takes whole numbers only.
func (q *Search) whole() bool { return q.Field == "load.concurrency" }

// checkSearch finds what is wrong with the search, and with the bounds that it is to meet.
func (s *Scenario) checkSearch(f *faults) {
	s.Objectives.checkBounds(f)
	if s.Search == nil {
		return
	}
	q := s.Search.withDefaults()
	if !slices.Contains([]string{"load.rate", "load.concurrency"}, q.Field) {
		f.add("search.field", "no search along %q: have load.rate, load.concurrency", q.Field)
	}
	if q.From < 0 || q.To < q.From || q.whole() && (q.From < 1 || q.From != math.Trunc(q.From)) {
		f.add("search.from", "the search runs upwards from a value above 0 to one that is higher; a concurrency is a whole number")
	}
	if !(q.Grow > 1) {
		f.add("search.grow", "%g is not above 1", q.Grow)
	}
	if q.Repeats < 0 || q.Runs < 0 {
		f.add("search.repeats", "numbers of runs must not be negative")
	}
	if s.Repeats > 1 {
		f.add("repeats", "a search decides by search.repeats how often it tries a value: leave repeats out")
	}
	if len(s.Stages) > 0 || s.Load.Ramp != nil || s.Load.Replay {
		f.add("search", "it changes %s: stages, ramps and replays have no such value", q.Field)
	}
	if !s.sends() {
		f.add("search", "the scenario sends nothing that could be searched")
	}
	switch q.Field {
	case "load.rate":
		if s.Load.Duration == 0 {
			f.add("search", "give load.duration: with a number of requests, a run gets the shorter the higher the rate, and a server that falls behind does not show")
		}
	case "load.concurrency":
		if !s.Load.Rate.Infinite() {
			f.add("search", "with a rate, the concurrency is only a limit: leave load.rate out, or search along load.rate")
		}
		if len(s.Objectives.Bounds) == 0 && s.Objectives.MaxFailures == nil {
			f.add("search", "nothing ends it: give objectives.bounds, such as p99 ttft <= 300ms")
		}
	}
}

// set puts a value in the place of the field that is searched along.
func (q *Search) set(l *Load, value float64) {
	if q.whole() {
		l.Concurrency = int(value)
		return
	}
	rate := Rate(value)
	l.Rate = &rate
}

// searched is the scenario of a search's first run, as far as its load goes; any other scenario is itself.
func (s *Scenario) searched() *Scenario {
	if s.Search == nil {
		return s
	}
	first := *s
	q := s.Search.withDefaults()
	q.set(&first.Load, q.From)
	return &first
}

// A trial is one run of a search.
type trial struct {
	held bool
	// why says in a few words what decided.
	why string
	// doubtful says that saturation was neither shown nor excluded.
	doubtful bool
	// void says that it tells nothing of the server.
	void bool
}

// A tried value is one with the trials made of it.
type tried struct {
	value  float64
	trials []trial
	voids  int
}

// mostVoids is how many runs of a value may be void. Then it counts as failed: with this client, nothing can be said beyond it.
const mostVoids = 2

func (t *tried) held() int {
	n := 0
	for _, one := range t.trials {
		if one.held {
			n++
		}
	}
	return n
}

// A SearchResult is what a search found.
type SearchResult struct {
	Field string `json:"field"`
	// Best is the highest value that held; absent when none did. Failed is the lowest value above it that did not; absent when none
	// failed, so that the boundary lies above all that was tried.
	Best   *float64 `json:"best,omitempty"`
	Failed *float64 `json:"failed,omitempty"`
	// BestHeld of BestRuns runs at Best held, FailedHeld of FailedRuns at Failed.
	BestHeld   int `json:"best_held"`
	BestRuns   int `json:"best_runs"`
	FailedHeld int `json:"failed_held"`
	FailedRuns int `json:"failed_runs"`
	// Runs is how many runs it took.
	Runs int `json:"runs"`
	// Confidence is that of the boundary lying between Best and Failed; absent without both, and where it is below one in a hundred. See confidence.
	Confidence *float64 `json:"confidence,omitempty"`
	// Width is Failed / Best - 1, and Tolerance what was asked for.
	Width     *float64 `json:"width,omitempty"`
	Tolerance float64  `json:"tolerance"`
	// Doubtful counts runs in which saturation was neither shown nor excluded.
	Doubtful int `json:"doubtful_runs,omitempty"`
	// Void counts runs that were made again because the client, not the server, was the limit.
	Void int `json:"void_runs,omitempty"`
	// Ended says why it ended.
	Ended string `json:"ended"`
	// Text says it in a sentence or two.
	Text string `json:"text"`
}

// search brackets the boundary and halves the bracket. try carries out one run of a value. It is a pure function of what try answers, so
// that a search that was interrupted takes the same way again.
func (q Search) search(ctx context.Context, try func(ctx context.Context, value float64, repeat int) (trial, error)) (*SearchResult, error) {
	q = q.withDefaults()
	r := &SearchResult{Field: q.Field, Tolerance: float64(q.Tolerance)}
	var all []*tried
	at := func(v float64) *tried {
		for _, t := range all {
			if t.value == v {
				return t
			}
		}
		t := &tried{value: v}
		all = append(all, t)
		return t
	}
	spent := func() bool { return r.Runs >= q.Runs }
	// decide makes runs of a value until a majority of n is sure, or, for the two ends of the answer, all n.
	decide := func(v float64, n int, all bool) (bool, error) {
		t := at(v)
		for len(t.trials) < n && !spent() {
			held, lost := t.held(), len(t.trials)-t.held()
			if !all && (2*held > n || 2*lost > n) {
				break
			}
			one, err := try(ctx, v, len(t.trials)+t.voids)
			if err != nil {
				return false, err
			}
			r.Runs++
			if one.void && t.voids < mostVoids {
				t.voids++
				r.Void++
				continue
			}
			if one.doubtful {
				r.Doubtful++
			}
			t.trials = append(t.trials, one)
		}
		return 2*t.held() > len(t.trials), nil
	}
	step := func(v float64) float64 { // the values that can be tried
		if q.whole() {
			return math.Round(v)
		}
		text := strconv.FormatFloat(v, 'g', 4, 64)
		v, _ = strconv.ParseFloat(text, 64)
		return v
	}
	var best, failed *tried
	near := func() bool {
		return failed != nil && best != nil && failed.value/best.value-1 <= 4*float64(q.Tolerance)
	}
	narrow := func() bool {
		if failed == nil || best == nil {
			return false
		}
		middle := step(math.Sqrt(best.value * failed.value))
		return failed.value/best.value-1 <= float64(q.Tolerance) || middle <= best.value || middle >= failed.value
	}
	next := func() (float64, string) {
		switch {
		case best == nil && failed == nil:
			return step(q.From), ""
		case failed == nil && best.value >= q.To:
			return 0, fmt.Sprintf("%g, the highest value that may be tried, holds", best.value)
		case failed == nil:
			return step(math.Min(q.To, math.Max(best.value*q.Grow, best.value+1e-3))), ""
		case best == nil:
			v := step(failed.value / q.Grow)
			if q.whole() && failed.value <= 1 || failed.value < q.From/1000 {
				return 0, "the lowest value that can be tried does not hold"
			}
			return max(v, step(0)), ""
		}
		return step(math.Sqrt(best.value * failed.value)), ""
	}
	// lower takes the end that held for one that failed, and higher the other way round: more runs of it said so.
	lower := func() {
		failed, best = best, nil
		for _, t := range all {
			if t.value < failed.value && 2*t.held() > len(t.trials) && (best == nil || t.value > best.value) {
				best = t
			}
		}
	}
	higher := func() {
		best, failed = failed, nil
		for _, t := range all {
			if t.value > best.value && 2*t.held() <= len(t.trials) && (failed == nil || t.value < failed.value) {
				failed = t
			}
		}
	}
	take := func(t *tried, held bool) {
		if held {
			best = t
		} else {
			failed = t
		}
	}
	for r.Ended == "" {
		if spent() {
			r.Ended = fmt.Sprintf("after %d runs, the most that it may make", r.Runs)
			break
		}
		if narrow() {
			// Both ends get their full number of runs; one that changes its side opens the bracket again.
			ok, err := decide(best.value, q.Repeats, true)
			if err != nil {
				return r, err
			}
			if !ok && !spent() {
				lower()
				continue
			}
			if ok, err = decide(failed.value, q.Repeats, true); err != nil {
				return r, err
			}
			if ok && !spent() {
				higher()
				continue
			}
			r.Ended = "the bracket is as narrow as asked for"
			break
		}
		v, over := next()
		if over != "" {
			if best != nil {
				if ok, err := decide(best.value, q.Repeats, true); err != nil {
					return r, err
				} else if !ok && !spent() {
					lower()
					continue
				}
			}
			r.Ended = over
			break
		}
		n := 1
		if near() {
			n = q.Repeats
		}
		held, err := decide(v, n, false)
		if err != nil {
			return r, err
		}
		take(at(v), held)
	}
	r.fill(best, failed)
	return r, nil
}

// fill states what was found.
func (r *SearchResult) fill(best, failed *tried) {
	unit := "requests/s"
	if r.Field == "load.concurrency" {
		unit = "requests in flight"
	}
	if best != nil {
		v := best.value
		r.Best, r.BestHeld, r.BestRuns = &v, best.held(), len(best.trials)
	}
	if failed != nil {
		v := failed.value
		r.Failed, r.FailedHeld, r.FailedRuns = &v, failed.held(), len(failed.trials)
	}
	switch {
	case best == nil && failed == nil:
		r.Text = "nothing was tried"
	case best == nil:
		r.Text = fmt.Sprintf("no value holds: already %g %s do not (%s)", failed.value, unit, failed.why(false))
	case failed == nil:
		r.Text = fmt.Sprintf("at least %g %s: it held in %d of %d runs, and nothing higher was tried", best.value, unit, r.BestHeld, r.BestRuns)
	default:
		w := failed.value/best.value - 1
		r.Width = &w
		sure := "So few runs do not tell how sure that is"
		if c := confidence(r.BestHeld, r.BestRuns, r.FailedHeld, r.FailedRuns); c >= 0.01 {
			r.Confidence = &c
			sure = fmt.Sprintf("The boundary lies between them with a confidence of %.0f %% or more", math.Floor(c*100))
		}
		r.Text = fmt.Sprintf("%g %s: held in %d of %d runs; %g held in %d of %d (%s). %s",
			best.value, unit, r.BestHeld, r.BestRuns, failed.value, r.FailedHeld, r.FailedRuns, failed.why(false), sure)
	}
	r.Text += fmt.Sprintf(". It took %d runs and ended because %s.", r.Runs, r.Ended)
	if r.Void > 0 {
		r.Text += fmt.Sprintf(" %d runs were made again because the client was the limit in them.", r.Void)
	}
	if r.Doubtful > 0 {
		r.Text += fmt.Sprintf(" In %d runs it was neither shown nor excluded that the server fell behind: longer runs tell.", r.Doubtful)
	}
}

// why is what decided a trial that held or did not.
func (t *tried) why(held bool) string {
	for _, one := range t.trials {
		if one.held == held {
			return one.why
		}
	}
	return ""
}

// confidence bounds the probability, from below, that the boundary lies between two values: the one at which half of the runs hold. If it
// lay below the lower value, held of n runs or more would hold there with the probability of as many heads in n tosses of a coin
// at most, and likewise above the upper value; the two errors add up.
func confidence(heldLow, runsLow, heldHigh, runsHigh int) float64 {
	return max(0, 1-heads(heldLow, runsLow)-heads(runsHigh-heldHigh, runsHigh))
}

// heads is the probability of k or more heads in n tosses of a coin.
func heads(k, n int) float64 {
	sum := 0.0
	for i := k; i <= n; i++ {
		logChoose, _ := math.Lgamma(float64(n + 1))
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(logChoose - a - b - float64(n)*math.Ln2)
	}
	return math.Min(1, sum)
}
