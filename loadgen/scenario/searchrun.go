package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"servebench/loadgen"
	"servebench/results"
	"servebench/results/summary"
)

// runSearch carries out a search. Taken up again, it asks for the same values in the same order, and those that have answers
// already are not run again.
func runSearch(ctx context.Context, s *Scenario, o SeriesOptions) (*Index, error) {
	q := s.Search.withDefaults()
	text, err := s.JSON()
	if err != nil {
		return nil, err
	}
	x := &Index{Kind: "search", Name: cmp.Or(o.title, s.Name), Scenario: results.RedactJSON(text), Seeds: "repeat", Repeats: q.Repeats, formats: s.Report.Formats}
	if x.Digest, err = digest("search", s, o.Sim); err != nil {
		return nil, err
	}
	v, err := openSeries(o, x)
	if err != nil {
		return nil, err
	}
	defer v.close()
	result, err := q.search(ctx, func(ctx context.Context, value float64, repeat int) (trial, error) {
		return v.try(ctx, s, &q, value, repeat)
	})
	if err != nil {
		return x, errors.Join(err, v.write())
	}
	x.Search = result
	return x, v.write()
}

// try makes one run of a value.
func (v *series) try(ctx context.Context, s *Scenario, q *Search, value float64, repeat int) (trial, error) {
	run := *s
	run.Search = nil
	number := strconv.FormatFloat(value, 'g', -1, 64)
	q.set(&run.Load, value)
	settings := Assignments{{q.Field, &yaml.Node{Kind: yaml.ScalarNode, Value: number}}}
	var point *PointLine
	for _, p := range v.index.Points {
		if p.Name == settings.String() {
			point = p
		}
	}
	if point == nil {
		point = &PointLine{Number: len(v.index.Points) + 1, Name: settings.String(), Settings: settings}
		v.index.Points = append(v.index.Points, point)
	}
	_, name, _ := strings.Cut(q.Field, ".")
	line := &RunLine{
		Position: len(v.index.Runs) + 1, Point: point.Number, Repeat: repeat + 1, Seed: s.Seed + int64(repeat), Status: RunPending,
		Folder: fmt.Sprintf("%s/%s=%s-r%d", RunsFolder, name, number, repeat+1),
	}
	v.index.Runs = append(v.index.Runs, line)
	var watch *lookout
	if !q.ToTheEnd {
		watch = newLookout(&run, float64(q.Tolerance))
	}
	if err := v.carryOut(ctx, line, &run, watch); err != nil {
		return trial{}, err
	}
	if line.Figures == nil {
		return trial{}, errors.Join(fmt.Errorf("%s measured nothing: %s", line.Folder, line.Reason), v.write())
	}
	one := line.judge(&run, float64(q.Tolerance))
	if one.void && v.anyClient {
		one = trial{held: true}
	}
	line.Held, line.Why = &one.held, one.why
	return one, v.write()
}

// judge says whether a run met everything that a search asks of it.
func (r *RunLine) judge(s *Scenario, tolerance float64) trial {
	if r.Status == RunStopped || r.Status == RunFailed {
		return trial{why: firstLine(r.Reason)}
	}
	if r.Figures.Client == summary.ClientBound {
		return trial{void: true, why: "the client, not the server, was the limit"}
	}
	for _, b := range r.Bounds {
		switch {
		case b.Value == nil:
			return trial{why: b.Bound + " could not be measured"}
		case !b.Met:
			return trial{why: fmt.Sprintf("%s is missed with %.4g", b.Bound, *b.Value)}
		}
	}
	if s.Load.Rate.Infinite() {
		return trial{held: true, why: "all bounds are met"}
	}
	switch t := r.Trend; {
	case t == nil:
		return trial{held: true, doubtful: true, why: "all bounds are met; the run was too short to tell whether the server keeps up"}
	case t.Saturated(tolerance):
		return trial{why: "the server fell behind: " + t.words()}
	default:
		return trial{held: true, doubtful: t.DeficitHigh > tolerance, why: "all bounds are met, and the server kept up: " + t.words()}
	}
}

// words say how much the number of requests grew.
func (t *Trend) words() string {
	return fmt.Sprintf("it left undone %.1f %% of what came (%.1f to %.1f %% with 95 %% on either side)", t.Deficit*100, t.DeficitLow*100, t.DeficitHigh*100)
}

// A lookout watches a run of a search, and ends it once its outcome is sure.
type lookout struct {
	Watcher
	cancel    context.CancelCauseFunc
	scenario  *Scenario
	tolerance float64
	basis     results.Basis

	mu      sync.Mutex
	planned int // requests that the load can come to; 0 when nobody knows
	failed  int
	bad     int   // of which goodput knows that they are none
	above   []int // by bound, requests beyond its limit
	lives   []float64
	over    bool // the outcome is sure

	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
}

func newLookout(s *Scenario, tolerance float64) *lookout {
	basis := results.Service
	if s.compat() {
		basis = results.VLLM
	}
	return &lookout{scenario: s, tolerance: tolerance, basis: basis, above: make([]int, len(s.Objectives.Bounds)), stop: make(chan struct{})}
}

// most is the number of requests that a load cannot exceed, but for one chance in ten thousand; 0 when nobody knows.
func (s *Scenario) most() int {
	l := &s.Load
	byTime := 0
	if l.Duration > 0 && !l.Rate.Infinite() {
		n := float64(*l.Rate) * time.Duration(l.Duration).Seconds()
		spread := 4 * math.Sqrt(n)
		if l.Burstiness != nil {
			spread /= math.Sqrt(math.Min(1, float64(*l.Burstiness)))
		}
		byTime = int(math.Ceil(n+spread)) + 1
	}
	switch {
	case l.Requests > 0 && byTime > 0:
		return min(l.Requests, byTime)
	case l.Requests > 0:
		return l.Requests
	}
	return byTime
}

// Loading begins to look at the number of requests in the system, where the load is an open one.
func (k *lookout) Loading(live *loadgen.Live, planned int, span time.Duration) {
	k.Watcher.Loading(live, planned, span)
	k.mu.Lock()
	k.planned = k.scenario.most()
	k.mu.Unlock()
	if k.scenario.Load.Rate.Infinite() || span <= 0 {
		return
	}
	k.stopped.Go(func() {
		ticker := time.NewTicker(max(5*time.Millisecond, span/400))
		defer ticker.Stop()
		began := time.Now()
		var counts []count
		for n := 0; ; n++ {
			select {
			case <-k.stop:
				return
			case <-ticker.C:
			}
			at := time.Since(began).Seconds()
			released := live.Released.Load()
			counts = append(counts, count{at, float64(released - live.Done.Load()), float64(released)})
			if n%20 != 0 || at < 0.4*span.Seconds() || at > span.Seconds() {
				continue
			}
			k.mu.Lock()
			lives := k.lives
			k.mu.Unlock()
			if len(lives) == 0 {
				continue
			}
			if t, ok := trend(counts, lifetime(lives), at, student999); ok && t.DeficitLow > 2*k.tolerance {
				k.end(fmt.Sprintf("the server is saturated: of what came it left undone %.0f %% (at least %.0f %% with 99.9 %%)", t.Deficit*100, t.DeficitLow*100))
				return
			}
		}
	})
}

// Loaded ends looking.
func (k *lookout) Loaded() {
	k.close()
	k.Watcher.Loaded()
}

func (k *lookout) close() {
	k.once.Do(func() { close(k.stop) })
	k.stopped.Wait()
}

func (k *lookout) end(reason string) {
	k.mu.Lock()
	first := !k.over
	k.over = true
	k.mu.Unlock()
	if first {
		k.cancel(&stopEarly{reason})
	}
}

// Record ends the run once a bound cannot be met any more, whatever is to come.
func (k *lookout) Record(rec *results.Record) {
	k.Watcher.Record(rec)
	if rec.Kind != results.Load {
		return
	}
	if reason := k.add(rec); reason != "" {
		k.end("it is lost: " + reason)
	}
}

// add takes a record, and says which bound it broke for good.
func (k *lookout) add(rec *results.Record) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return ""
	}
	o := &k.scenario.Objectives
	if life, ok := rec.Done.Sub(rec.Due); ok {
		k.lives = append(k.lives, life.Seconds())
	}
	if rec.OK() {
		for name, limit := range o.Goodput {
			if m, known := results.MetricNamed(name); known {
				if v, ok := m.Value(rec, k.basis); ok && v > time.Duration(limit) {
					k.bad++
					break
				}
			}
		}
	} else {
		k.failed++
		k.bad++
	}
	if o.MaxFailures != nil && k.failed > *o.MaxFailures {
		return fmt.Sprintf("%d requests failed, %d are allowed", k.failed, *o.MaxFailures)
	}
	for i, b := range o.Bounds {
		if reason := k.broken(b, i, rec); reason != "" {
			return fmt.Sprintf("%s cannot be met any more: %s", b, reason)
		}
	}
	return ""
}

// dust is what rounding leaves of a share of a whole number.
const dust = 1e-6

// broken says why a bound cannot be met any more; empty while it can.
func (k *lookout) broken(b summary.Bound, i int, rec *results.Record) string {
	planned := float64(k.planned)
	switch {
	case b.Metric == "failures" && !b.Share && float64(k.failed) > b.Limit:
		return fmt.Sprintf("%d requests failed", k.failed)
	case b.Metric == "failures" && b.Share && planned > 0 && float64(k.failed) > b.Limit/100*planned+dust:
		return fmt.Sprintf("%d of at most %d requests failed", k.failed, k.planned)
	case b.Metric == "goodput" && planned > 0 && float64(k.bad) > (1-b.Limit/100)*planned+dust:
		return fmt.Sprintf("%d of at most %d requests missed their objectives", k.bad, k.planned)
	}
	m, ok := results.MetricNamed(b.Metric)
	if !ok || m.PerEvent || !rec.OK() {
		return ""
	}
	v, ok := m.Value(rec, k.basis)
	if !ok || float64(v)/float64(time.Millisecond) <= b.Limit {
		return ""
	}
	k.above[i]++
	switch b.Statistic {
	case "max":
		return fmt.Sprintf("a request took %v", v)
	case "mean", "min":
		return ""
	}
	p, err := strconv.ParseFloat(strings.TrimPrefix(b.Statistic, "p"), 64)
	// A percentile lies between two neighbouring values: one value more than its share may be beyond the limit.
	if err == nil && planned > 0 && float64(k.above[i]) > (1-p/100)*planned+1+dust {
		return fmt.Sprintf("%d of at most %d requests took longer", k.above[i], k.planned)
	}
	return ""
}
