package page

import (
	"cmp"
	"math"
	"slices"
	"time"

	"servebench/results"
)

const (
	// mostRows is how many requests the waterfall draws. Of a longer run it draws every second, third, ... and, besides, those
	// that stand out.
	mostRows = 16_000
	// mostFollowed is of how many requests it holds every token, mostTokens how many tokens in all.
	mostFollowed = 300
	mostTokens   = 120_000
)

// A row is one request of the waterfall. What it does not have is not a number.
type row struct {
	id, stage            int
	start                results.Moment
	wait                 float64 // ms from due to start
	ttft, tpot, e2el     float64 // ms
	longestGap           float64 // ms
	failed               bool
	class                string
	input, output, chunk int
}

// A waterfall keeps the requests that the page draws one by one.
type waterfall struct {
	stride int
	rows   []row
	// extremes are the slowest by each of several measures and the failures; they are drawn whatever the stride.
	extremes map[string]*extremes
}

// extremes keeps the rows with the largest values.
type extremes struct {
	most int
	rows []row
	key  func(*row) float64
}

func (e *extremes) add(r row) {
	v := e.key(&r)
	if math.IsNaN(v) {
		return
	}
	e.rows = append(e.rows, r)
	if len(e.rows) < 2*e.most {
		return
	}
	e.trim()
}

func (e *extremes) trim() {
	slices.SortFunc(e.rows, func(a, b row) int { return cmp.Or(cmp.Compare(e.key(&b), e.key(&a)), cmp.Compare(a.id, b.id)) })
	e.rows = e.rows[:min(len(e.rows), e.most)]
}

func newWaterfall(requests int) *waterfall {
	return &waterfall{stride: (requests + mostRows - 1) / mostRows, extremes: map[string]*extremes{
		"ttft": {most: 60, key: func(r *row) float64 { return r.ttft }},
		"e2el": {most: 60, key: func(r *row) float64 { return r.e2el }},
		"itl":  {most: 60, key: func(r *row) float64 { return r.longestGap }},
		"failed": {most: 500, key: func(r *row) float64 {
			if r.failed {
				return float64(-r.id)
			}
			return math.NaN()
		}},
	}}
}

// add takes a request; position is its place among the load's, by id.
func (w *waterfall) add(rec *results.Record, b results.Basis, position int) {
	r := rowOf(rec, b)
	if w.stride <= 1 || position%w.stride == 0 {
		w.rows = append(w.rows, r)
	}
	for _, e := range w.extremes {
		e.add(r)
	}
}

func rowOf(rec *results.Record, b results.Basis) row {
	nan := math.NaN()
	r := row{
		id: rec.ID, stage: rec.Stage, start: startOf(rec, b), wait: nan, ttft: nan, tpot: nan, e2el: nan, longestGap: nan, failed: !rec.OK(),
		input: rec.InputTokens, output: -1, chunk: len(rec.Chunks),
	}
	ms := func(d time.Duration, ok bool) float64 {
		if !ok {
			return nan
		}
		return float64(d) / 1e6
	}
	r.wait = ms(r.start.Sub(rec.Due))
	if n, ok := rec.Tokens(); ok {
		r.output = n
	}
	if u := rec.Usage; u != nil && u.Prompt > 0 {
		r.input = u.Prompt
	}
	if len(rec.Chunks) > 0 || rec.OK() {
		r.ttft = ms(results.TTFT(rec, b))
	}
	if !rec.OK() {
		r.class = rec.Failure.Class
		// How long it took to fail.
		r.e2el = ms(endOf(rec).Sub(r.start))
		return r
	}
	r.tpot = ms(results.TPOT(rec, b))
	r.e2el = ms(results.E2EL(rec, b))
	for i := 1; i < len(rec.Chunks); i++ {
		if gap := ms(rec.Chunks[i].Seen(b).Sub(rec.Chunks[i-1].Seen(b))); !(gap <= r.longestGap) {
			r.longestGap = gap
		}
	}
	return r
}

// finish puts the rows into the order in which they began and says which requests' tokens are wanted.
func (w *waterfall) finish() (follow map[int]bool) {
	follow = map[int]bool{}
	budget := mostTokens
	take := func(r *row) {
		if !follow[r.id] && r.chunk > 0 && len(follow) < mostFollowed && r.chunk <= budget {
			follow[r.id] = true
			budget -= r.chunk
		}
	}
	for _, name := range []string{"ttft", "e2el", "itl", "failed"} {
		e := w.extremes[name]
		e.trim()
		for i := range e.rows {
			if i < 40 {
				take(&e.rows[i])
			}
		}
		w.rows = append(w.rows, e.rows...)
	}
	slices.SortFunc(w.rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
	w.rows = slices.CompactFunc(w.rows, func(a, b row) bool { return a.id == b.id })
	slices.SortStableFunc(w.rows, func(a, b row) int { return cmp.Compare(a.start, b.start) })
	// The rest of the room goes to requests evenly from the whole run.
	step := max(1, len(w.rows)/mostFollowed)
	for i := 0; i < len(w.rows); i += step {
		take(&w.rows[i])
	}
	for i := range w.rows {
		take(&w.rows[i])
	}
	return follow
}

// gapsOf are the times between a request's events in milliseconds.
func gapsOf(rec *results.Record, b results.Basis) []float64 {
	gaps := make([]float64, 0, len(rec.Chunks))
	for i := 1; i < len(rec.Chunks); i++ {
		gaps = append(gaps, float64(rec.Chunks[i].Seen(b)-rec.Chunks[i-1].Seen(b))/1e6)
	}
	return gaps
}
