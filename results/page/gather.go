package page

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// charted are the metrics with curves, in the order of the page.
var charted = []string{"ttft", "tpot", "itl", "e2el"}

// An extent is what one look at all records tells: how long the run is and which ids it holds.
type extent struct {
	began, ended results.Moment
	ids          []int // of the load, ascending
}

func (e *extent) length() time.Duration { return time.Duration(e.ended - e.began) }

// position is an id's place among those of the load, batch the stretch of neighbouring requests that the place lies in.
func (e *extent) position(id int) int {
	i, _ := slices.BinarySearch(e.ids, id)
	return i
}

func (e *extent) batch(position int) int {
	return min(position*batchCount/max(len(e.ids), 1), batchCount-1)
}

// endOf is when nothing more of a request came.
func endOf(rec *results.Record) results.Moment {
	end := rec.Done
	if n := len(rec.Chunks); n > 0 {
		end = max(end, rec.Chunks[n-1].At)
	}
	return end
}

// startOf is where a request's latencies count from, or the next best moment of a request that never got there.
func startOf(rec *results.Record, b results.Basis) results.Moment {
	return cmp.Or(rec.Start(b), rec.Dispatched, rec.Released, rec.Due)
}

// extentOf looks at every request of the load. The manifest's bounds hold where they are known; a request outside of them widens
// the picture all the same.
func extentOf(m *results.Manifest, load iter.Seq2[*results.Record, error]) (*extent, error) {
	e := &extent{began: m.Began, ended: m.Ended}
	for rec, err := range load {
		if err != nil {
			return nil, err
		}
		e.ids = append(e.ids, rec.ID)
		if first := cmp.Or(rec.Due, rec.Dispatched); first != 0 && (e.began == 0 || first < e.began) {
			e.began = first
		}
		e.ended = max(e.ended, endOf(rec))
	}
	slices.Sort(e.ids)
	e.ended = max(e.ended, e.began+1)
	return e, nil
}

// A figure is one number of the headline whose interval is wanted.
type figure struct {
	isMean   bool
	p, value float64 // percentile 0..100, value in ms
	sureness sureness
}

// A curve gathers one metric: its distribution, its intervals, and its percentiles over time.
type curve struct {
	metric  *results.Metric
	dist    *summary.Dist
	all     *histogram
	figures []*figure
	windows []*histogram
}

// A gathering is what one pass over the records leaves for the charts.
type gathering struct {
	extent  *extent
	basis   results.Basis
	curves  []*curve          // of the headline, the charted ones among them
	byTime  grid              // windows of percentiles
	series  *series           // rates and numbers in flight
	heat    *heat             // gaps by time and length
	stages  []results.Moment  // when each stage's first request was due
	rows    *waterfall        // requests one by one
	longest map[string]marked // the extreme requests, by what they are extreme in
}

// marked is a request that stands out.
type marked struct {
	id    int
	value time.Duration
}

// headline are the distributions of the first table: what the server did, then what its user saw.
func headline(s *summary.Summary) []*summary.Dist {
	var list []*summary.Dist
	take := func(name string, b results.Basis) {
		if d := s.Dist(name, b); d != nil && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	for _, name := range charted {
		if s.Manifest.Settings.Pooling && name != "e2el" {
			continue
		}
		take(name, s.Basis)
	}
	for _, name := range []string{"ttft", "e2el"} {
		if s.Manifest.Settings.Pooling && name != "e2el" {
			continue
		}
		take(name, results.Response)
	}
	if d := s.Dist("client_queue_time", s.Basis); d != nil && (d.Max >= 1 || s.Manifest.Settings.MaxConcurrency > 0) {
		list = append(list, d)
	}
	for _, name := range []string{"server_queue_time", "server_ttft"} {
		take(name, s.Basis)
	}
	return list
}

// gather looks at every request of the load and keeps what the charts need.
func gather(s *summary.Summary, e *extent, load iter.Seq2[*results.Record, error], percentiles []float64) (*gathering, error) {
	g := &gathering{extent: e, basis: s.Basis, longest: map[string]marked{}}
	g.byTime = gridOf(e.length(), windowsFor(s.Completed))
	for _, d := range headline(s) {
		c := &curve{metric: d.Metric, dist: d, all: newHistogram(fine), figures: []*figure{{isMean: true, value: d.Mean}}}
		for _, p := range percentiles {
			if v, ok := d.At(p); ok {
				c.figures = append(c.figures, &figure{p: p, value: v})
			}
		}
		c.windows = make([]*histogram, g.byTime.n)
		g.curves = append(g.curves, c)
	}
	g.series = newSeries(gridOf(e.length(), min(max(len(e.ids)/6, 24), 300)))
	g.heat = newHeat(e.length())
	g.rows = newWaterfall(len(e.ids))

	for rec, err := range load {
		if err != nil {
			return nil, err
		}
		g.add(rec)
	}
	return g, nil
}

func (g *gathering) add(rec *results.Record) {
	began := g.extent.began
	start := startOf(rec, g.basis)
	position := g.extent.position(rec.ID)
	batch := g.extent.batch(position)
	for _, c := range g.curves {
		if rec.OK() || c.metric.Failures {
			c.add(g, rec, start, batch)
		}
	}
	for len(g.stages) <= rec.Stage && rec.Stage < 1<<10 {
		g.stages = append(g.stages, 0)
	}
	if at := &g.stages[min(max(rec.Stage, 0), len(g.stages)-1)]; rec.Due != 0 && (*at == 0 || rec.Due < *at) {
		*at = rec.Due
	}
	g.series.add(rec, began)
	g.heat.add(rec, g.basis, began)
	g.rows.add(rec, g.basis, position)
	g.mark(rec)
}

func (g *gathering) mark(rec *results.Record) {
	note := func(what string, d time.Duration, ok bool) {
		// The same request whatever the order of records.
		if old, known := g.longest[what]; ok && (!known || d > old.value || d == old.value && rec.ID < old.id) {
			g.longest[what] = marked{rec.ID, d}
		}
	}
	if !rec.OK() {
		return
	}
	d, ok := results.TTFT(rec, g.basis)
	note("ttft", d, ok)
	d, ok = results.E2EL(rec, g.basis)
	note("e2el", d, ok)
	for i := 1; i < len(rec.Chunks); i++ {
		d, ok := rec.Chunks[i].Seen(g.basis).Sub(rec.Chunks[i-1].Seen(g.basis))
		note("itl", d, ok)
	}
}

// add takes the values that a request has of the metric.
func (c *curve) add(g *gathering, rec *results.Record, start results.Moment, batch int) {
	var room [64]time.Duration
	values := c.metric.Append(room[:0], rec, c.dist.Basis)
	if len(values) == 0 {
		return
	}
	sum := 0.0
	for i, v := range values {
		c.all.add(v)
		sum += float64(v) / 1e6
		// A gap belongs to the time at which it ended, a request to the time at which it began.
		at := start
		if c.metric.PerEvent && i+1 < len(rec.Chunks) {
			at = rec.Chunks[i+1].Seen(c.dist.Basis)
		}
		w := g.byTime.index(time.Duration(at - g.extent.began))
		if c.windows[w] == nil {
			c.windows[w] = newHistogram(coarse)
		}
		c.windows[w].add(v)
	}
	n := float64(len(values))
	for _, f := range c.figures {
		if f.isMean {
			f.sureness.add(sum-f.value*n, n, batch)
			continue
		}
		below := 0.0
		for _, v := range values {
			if float64(v)/1e6 <= f.value {
				below++
			}
		}
		f.sureness.add(below-f.p/100*n, n, batch)
	}
}

// interval is that of a figure; false where the run is too short for any.
func (c *curve) interval(f *figure) (Interval, bool) {
	if f.isMean {
		return f.sureness.mean(f.value)
	}
	low, high, ok := f.sureness.percentile(f.p / 100)
	if !ok {
		return Interval{}, false
	}
	i := Interval{math.Inf(-1), math.Inf(1)}
	if low >= 0 {
		i.Low = min(max(c.all.at(low), c.dist.Min), f.value)
	}
	if !math.IsInf(high, 1) {
		i.High = max(min(c.all.at(high), c.dist.Max), f.value)
	}
	return i, true
}

// A grid cuts the run into stretches of a round length. The last one reaches to the end.
type grid struct {
	width, length time.Duration
	n             int
}

// gridOf cuts a length into at most so many stretches.
func gridOf(length time.Duration, most int) grid {
	for scale := time.Duration(1); ; scale *= 10 {
		for _, digit := range []time.Duration{1, 2, 5} {
			if width := digit * scale; length/width <= time.Duration(most) {
				return grid{width, length, max(1, int((length+width/2)/width))}
			}
		}
	}
}

// windowsFor is how many windows of percentiles a run of n requests can be cut into.
func windowsFor(n int) int { return min(max(n/25, 12), 120) }

func (g grid) index(at time.Duration) int { return min(max(int(at/g.width), 0), g.n-1) }

// from and to bound a stretch.
func (g grid) from(i int) time.Duration { return time.Duration(i) * g.width }

func (g grid) to(i int) time.Duration {
	if i == g.n-1 {
		return max(g.length, g.from(i)+1)
	}
	return g.from(i + 1)
}

// spread gives each stretch how much of [from, to) lies in it, as a share of the stretch: sums of it over many spans are
// mean numbers in flight.
func (g grid) spread(into []float64, from, to time.Duration) {
	from, to = max(from, 0), min(to, g.to(g.n-1))
	for i := g.index(from); i < g.n && g.from(i) < to; i++ {
		covered := min(to, g.to(i)) - max(from, g.from(i))
		into[i] += float64(covered) / float64(g.to(i)-g.from(i))
	}
}
