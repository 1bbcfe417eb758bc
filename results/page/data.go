package page

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"iter"
	"math"
	"slices"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// Arrays travel as base64 of little-endian numbers: half the size of their digits, and read at once. A number that does not exist
// is NaN.
type (
	floats  []float64 // as 32 bits
	doubles []float64
	ints    []int // as 32 bits with a sign
	gapList []byte
)

func (f floats) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 4*len(f))
	for _, v := range f {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}
	return quoted(b), nil
}

func (f doubles) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 8*len(f))
	for _, v := range f {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return quoted(b), nil
}

func (n ints) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 4*len(n))
	for _, v := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(int32(min(max(v, math.MinInt32), math.MaxInt32))))
	}
	return quoted(b), nil
}

func (g gapList) MarshalJSON() ([]byte, error) { return quoted(g), nil }

func quoted(b []byte) []byte {
	out := make([]byte, 0, 2+base64.StdEncoding.EncodedLen(len(b)))
	out = append(out, '"')
	out = base64.StdEncoding.AppendEncode(out, b)
	return append(out, '"')
}

// charts is what the page's script draws. Times of the run are seconds since it began, latencies milliseconds.
type charts struct {
	Length  float64       `json:"length"`
	Basis   results.Basis `json:"basis"`
	CDFs    []cdf         `json:"cdfs"`
	Load    loadChart     `json:"load"`
	Windows windowChart   `json:"windows"`
	Heat    *heatChart    `json:"heat,omitempty"`
	Rows    rowChart      `json:"rows"`
	Marks   []mark        `json:"marks"`
	// Jumps are rows worth looking at.
	Jumps []jump `json:"jumps"`
}

// A cdf is one distribution: the share of values at or below each value.
type cdf struct {
	Name   string `json:"name"`
	Label  string `json:"label"`
	Values floats `json:"values"`
	// Shares are percent; Nines are -log10(1-share), which stretches the tail.
	Shares floats `json:"shares"`
	Nines  floats `json:"nines"`
}

type loadChart struct {
	Edges    floats `json:"edges"` // one more than the stretches
	Due      floats `json:"due"`
	Done     floats `json:"done"`
	Failed   floats `json:"failed,omitempty"`
	Tokens   floats `json:"tokens,omitempty"`
	InFlight floats `json:"inFlight"`
	Queued   floats `json:"queued,omitempty"`
}

type windowChart struct {
	Edges   floats         `json:"edges"`
	Metrics []windowMetric `json:"metrics"`
}

type windowMetric struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	P50   floats `json:"p50"`
	P90   floats `json:"p90"`
	P99   floats `json:"p99"`
}

type heatChart struct {
	Edges floats `json:"edges"`
	// Bounds are the gap lengths between rows, one more than the rows.
	Bounds floats `json:"bounds"`
	Cells  ints   `json:"cells"`
	// Stalled is the share of streams, in percent, that waited in a long gap.
	Stalled floats `json:"stalled"`
	Most    int    `json:"most"`
	// Worst is when the worst stalls began.
	Worst floats `json:"worst,omitempty"`
}

type rowChart struct {
	ID     ints     `json:"id"`
	Stage  ints     `json:"stage,omitempty"`
	Start  doubles  `json:"start"`
	Wait   floats   `json:"wait"`
	TTFT   floats   `json:"ttft"`
	TPOT   floats   `json:"tpot"`
	E2EL   floats   `json:"e2el"`
	Gap    floats   `json:"gap"`
	Input  ints     `json:"input"`
	Output ints     `json:"output"`
	Failed ints     `json:"failed"` // 0, or 1 plus the index of its class
	Class  []string `json:"classes,omitempty"`
	// Followed are the rows whose gaps are known, Counts how many each, Gaps their microseconds one after the other
	// in groups of seven bits, the lowest first.
	Followed ints    `json:"followed"`
	Counts   ints    `json:"counts"`
	Gaps     gapList `json:"gaps"`
}

type mark struct {
	From float64 `json:"from"`
	To   float64 `json:"to,omitempty"`
	// Whole says that the stretch is the whole run, so that nothing needs to be told apart.
	Whole bool   `json:"whole,omitempty"`
	Label string `json:"label"`
	Kind  string `json:"kind"` // stage, profile
}

type jump struct {
	Label string `json:"label"`
	Row   int    `json:"row"`
}

// leastWindowed is how many requests it takes for percentiles over time to be more than lone points.
const leastWindowed = 30

// chartsOf puts what was gathered into the form that the script draws. load is a further look at the records, for the tokens of
// the requests that are followed.
func chartsOf(s *summary.Summary, g *gathering, load iter.Seq2[*results.Record, error], stages []string) (*charts, error) {
	c := &charts{Length: g.extent.length().Seconds(), Basis: g.basis, CDFs: []cdf{}, Marks: []mark{}, Jumps: []jump{}}
	for _, curve := range g.curves {
		if !slices.Contains(charted, curve.metric.Name) || curve.dist.Basis != g.basis || curve.all.n == 0 {
			continue
		}
		c.CDFs = append(c.CDFs, cdfOf(curve))
		if s.Completed < leastWindowed {
			continue
		}
		c.Windows.Metrics = append(c.Windows.Metrics, windowsOf(curve))
	}
	c.Windows.Edges = edges(g.byTime)
	sr := g.series
	c.Load = loadChart{Edges: edges(sr.grid), Due: sr.perSecond(sr.due), Done: sr.perSecond(sr.done), InFlight: sr.inFlight}
	if s.Failed > 0 {
		c.Load.Failed = sr.perSecond(sr.failed)
	}
	if sr.hasTokens {
		c.Load.Tokens = sr.perSecond(sr.tokens)
	}
	if sr.hasQueue {
		c.Load.Queued = sr.queued
	}
	c.Heat = heatOf(g.heat)
	if s.Stalls != nil && c.Heat != nil {
		for _, w := range s.Stalls.Worst {
			c.Heat.Worst = append(c.Heat.Worst, time.Duration(w.At-g.extent.began).Seconds())
		}
	}
	c.marks(s.Manifest, g, stages)
	if err := c.rows(g, load); err != nil {
		return nil, err
	}
	return c, nil
}

func edges(g grid) floats {
	e := make(floats, g.n+1)
	for i := range g.n {
		e[i] = g.from(i).Seconds()
	}
	e[g.n] = g.to(g.n - 1).Seconds()
	return e
}

// cdfOf places the curve by the histogram, and goes through the summary's own percentiles.
func cdfOf(c *curve) cdf {
	d := c.dist
	out := cdf{Name: c.metric.Name, Label: c.metric.Label}
	last := d.Min
	for _, share := range shares(d.Count) {
		v, ok := d.At(share)
		switch {
		case share == 0:
			v = d.Min
		case share == 100:
			v = d.Max
		case !ok:
			v = min(max(c.all.at(share/100), last), d.Max)
		}
		last = max(v, last)
		out.Values = append(out.Values, last)
		out.Shares = append(out.Shares, share)
		nines := -math.Log10(1 - share/100)
		if share == 100 {
			// The largest of n values has one in n beyond or at it.
			nines = math.Log10(float64(max(d.Count, 2)))
		}
		out.Nines = append(out.Nines, nines)
	}
	return out
}

// shares are the percentiles of a curve through n values: close together in the tail as far as there are values.
func shares(n int) []float64 {
	var list []float64
	for p := range 100 {
		list = append(list, float64(p))
	}
	for rest := 1.0; float64(n)*rest/100 > 10; rest /= 10 {
		for i := 1; i < 10; i++ {
			// 99.1, not 99.10000000000001: the summary is asked by the same name.
			list = append(list, math.Round((100-rest*(1-float64(i)/10))*1e9)/1e9)
		}
	}
	list = append(list, 100)
	slices.Sort(list)
	return slices.Compact(list)
}

func windowsOf(c *curve) windowMetric {
	w := windowMetric{Name: c.metric.Name, Label: c.metric.Label}
	at := func(h *histogram, p float64) float64 {
		// A percentile needs a value beyond it.
		if h == nil || float64(h.n)*(1-p) < 1 {
			return math.NaN()
		}
		return h.at(p)
	}
	for _, h := range c.windows {
		w.P50 = append(w.P50, at(h, 0.5))
		w.P90 = append(w.P90, at(h, 0.9))
		w.P99 = append(w.P99, at(h, 0.99))
	}
	return w
}

func heatOf(h *heat) *heatChart {
	if h.gaps == 0 {
		return nil
	}
	first, together, rows := h.shown()
	out := &heatChart{Edges: edges(h.columns), Cells: make(ints, rows*h.columns.n)}
	for i := range rows + 1 {
		out.Bounds = append(out.Bounds, float64(heatShortest)/1e6*math.Pow(10, float64(first+i*together)/perDecade))
	}
	for i, n := range h.cells {
		if n > 0 {
			cell := &out.Cells[(i/h.columns.n-first)/together*h.columns.n+i%h.columns.n]
			*cell += int(n)
			out.Most = max(out.Most, *cell)
		}
	}
	for _, share := range h.stalled() {
		out.Stalled = append(out.Stalled, 100*share)
	}
	return out
}

// marks are the stages' beginnings and the profiler's bracket.
func (c *charts) marks(m *results.Manifest, g *gathering, names []string) {
	at := func(moment results.Moment) float64 { return time.Duration(moment - g.extent.began).Seconds() }
	if len(g.stages) > 1 {
		for i, moment := range g.stages {
			if moment == 0 {
				continue
			}
			label := stageName(names, i)
			c.Marks = append(c.Marks, mark{From: at(moment), Label: label, Kind: "stage"})
		}
	}
	if p := m.Profile; p != nil && p.Start.Answered != 0 {
		end := c.Length
		if p.Stop.Sent != 0 {
			end = at(p.Stop.Sent)
		}
		begin := at(p.Start.Answered)
		if begin <= 0.01*c.Length && end >= 0.99*c.Length {
			c.Marks = append(c.Marks, mark{From: 0, To: c.Length, Label: "profiled throughout", Kind: "profile", Whole: true})
		} else {
			c.Marks = append(c.Marks, mark{From: begin, To: end, Label: "profiled", Kind: "profile"})
		}
	}
}

func (c *charts) rows(g *gathering, load iter.Seq2[*results.Record, error]) error {
	follow := g.rows.finish()
	gaps := map[int][]float64{}
	for rec, err := range load {
		if err != nil {
			return err
		}
		if follow[rec.ID] {
			gaps[rec.ID] = gapsOf(rec, g.basis)
		}
	}
	r := &c.Rows
	classes := map[string]int{}
	place := map[int]int{}
	for i := range g.rows.rows {
		row := &g.rows.rows[i]
		place[row.id] = i
		r.ID = append(r.ID, row.id)
		if len(g.stages) > 1 {
			r.Stage = append(r.Stage, row.stage)
		}
		r.Start = append(r.Start, time.Duration(row.start-g.extent.began).Seconds())
		r.Wait = append(r.Wait, row.wait)
		r.TTFT = append(r.TTFT, row.ttft)
		r.TPOT = append(r.TPOT, row.tpot)
		r.E2EL = append(r.E2EL, row.e2el)
		r.Gap = append(r.Gap, row.longestGap)
		r.Input = append(r.Input, row.input)
		r.Output = append(r.Output, row.output)
		failed := 0
		if row.failed {
			if _, known := classes[row.class]; !known {
				classes[row.class] = len(r.Class)
				r.Class = append(r.Class, row.class)
			}
			failed = 1 + classes[row.class]
		}
		r.Failed = append(r.Failed, failed)
		if follow[row.id] {
			r.Followed = append(r.Followed, i)
			r.Counts = append(r.Counts, len(gaps[row.id]))
			for _, gap := range gaps[row.id] {
				r.Gaps = binary.AppendUvarint(r.Gaps, uint64(math.Round(max(gap, 0)*1000)))
			}
		}
	}
	for _, j := range []struct{ label, of string }{
		{"slowest first token", "ttft"}, {"longest gap", "itl"}, {"longest request", "e2el"},
	} {
		if m, ok := g.longest[j.of]; ok {
			if i, drawn := place[m.id]; drawn {
				c.Jumps = append(c.Jumps, jump{j.label, i})
			}
		}
	}
	return nil
}

// encoded is JSON that is safe inside a script element.
func (c *charts) encoded() ([]byte, error) { return json.Marshal(c) }
