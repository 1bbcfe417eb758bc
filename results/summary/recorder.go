package summary

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"servebench/results"
)

// ExactValues is how many numbers a Recorder keeps, of eight bytes each, before it goes over to
// histograms: about six million events, or half a million requests.
const ExactValues = 16 << 20

// perRequest is what one request takes of the limit beside its events.
const perRequest = 32

// Percentiles are those of our own reports; what a run asks for comes on top.
var Percentiles = []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9}

// Config says how a Recorder counts. The zero Config counts from the service basis.
type Config struct {
	// Basis is that of the first table.
	Basis results.Basis
	// Pooling says that requests ask for embeddings or the like, not for text.
	Pooling bool
	// Goodput are the objectives that a good request meets.
	Goodput []results.Objective
	// Limit replaces ExactValues.
	Limit int
}

// ConfigOf is the configuration that a run's manifest asks for.
func ConfigOf(m *results.Manifest) Config {
	return Config{Basis: m.Basis, Pooling: m.Settings.Pooling, Goodput: m.Settings.Goodput}
}

// A Recorder sums up records. It is not safe for concurrent use: records come one at a time.
type Recorder struct {
	config Config
	series []*series
	// room is what is left of the limit; keep says that nothing was dropped yet.
	room int
	keep bool
	// outputs and ids belong together.
	outputs []numbered

	inFlight crowd
	busy     moments // lengths of its spans
	stalls   stalls
	smear    smear

	counts   counts
	failures map[string]*FailureClass
	kinds    map[results.Kind]int

	probes       []float64
	probesFailed int

	// seconds are by Unix time; latest is the one used last.
	seconds  map[int64]*second
	latest   *second
	latestAt int64
}

type numbered struct {
	id    int
	start results.Moment
	Output
}

// second is one second of the run for the peaks of runs too long to keep.
type second struct{ events, touching int }

type counts struct {
	requests, completed, failed int
	input, output               int
	inputKnown, outputKnown     int
	cached, cachedKnown         int
	sequences                   int
	audio                       float64
	good                        int
	chunks, shared              int
	streams, firstShared        int
	late, dated                 int
	firstDue, lastDue           results.Moment
	noUsage, estimated          int
	unknownOutput               int
	truncated                   int
}

// NewRecorder makes an empty Recorder.
func NewRecorder(c Config) *Recorder {
	if c.Basis == "" {
		c.Basis = results.Service
	}
	if c.Limit == 0 {
		c.Limit = ExactValues
	}
	r := &Recorder{
		config: c, room: c.Limit, keep: true, failures: map[string]*FailureClass{}, kinds: map[results.Kind]int{},
		seconds: map[int64]*second{},
	}
	for i := range results.Metrics {
		m := &results.Metrics[i]
		r.series = append(r.series, &series{metric: m, basis: c.Basis})
		if m.Based && c.Basis != results.Response {
			r.series = append(r.series, &series{metric: m, basis: results.Response})
		}
	}
	return r
}

// Add takes one record.
func (r *Recorder) Add(rec *results.Record) {
	r.kinds[rec.Kind]++
	switch rec.Kind {
	case results.Load:
	case results.Probe:
		if latency, ok := results.E2EL(rec, r.config.Basis); ok && rec.OK() {
			r.probes = append(r.probes, latency.Seconds())
		} else {
			r.probesFailed++
		}
		return
	default:
		return
	}
	r.count(rec)
	r.room -= perRequest + len(rec.Chunks) + len(rec.Text)/8
	if r.keep && r.room < 0 {
		r.drop()
	}
	var room [64]time.Duration
	for _, s := range r.series {
		if !rec.OK() && !s.metric.Failures {
			continue
		}
		for _, v := range s.metric.Append(room[:0], rec, s.basis) {
			// Gaps are kept in outputs, lags nowhere: three digits of them will do.
			s.add(v, r.keep && !s.metric.PerEvent)
		}
	}
	if r.keep {
		start := cmp.Or(rec.Start(r.config.Basis), rec.Dispatched, rec.Due)
		output := outputOf(rec, r.config.Basis)
		if r.config.Pooling && !output.Success {
			output.PromptLen = 0 // vLLM's client knows it from the reply alone
		}
		r.outputs = append(r.outputs, numbered{rec.ID, start, output})
	}
	r.span(rec)
	if usual := r.stalls.add(rec); rec.OK() {
		r.smear.add(rec, usual)
	}
	r.tally(rec)
}

// drop gives the exact values up: from here on the histograms, which hold everything, must do.
func (r *Recorder) drop() {
	r.keep = false
	r.outputs = nil
	r.inFlight.coarsen()
	r.stalls.open.coarsen()
	for _, s := range r.series {
		s.exact = nil
	}
}

func (r *Recorder) count(rec *results.Record) {
	c := &r.counts
	c.requests++
	if rec.Due != 0 {
		if c.firstDue == 0 || rec.Due < c.firstDue {
			c.firstDue = rec.Due
		}
		c.lastDue = max(c.lastDue, rec.Due)
	}
	if lateness, ok := rec.Lateness(); ok {
		c.dated++
		if lateness > LateAfter {
			c.late++
		}
	}
	last := len(rec.Chunks) - 1
	if last >= 0 {
		c.streams++
		if last > 0 && rec.Chunks[0].Shared && rec.Chunks[0].At == rec.Chunks[1].At {
			c.firstShared++
		}
	}
	for i := range rec.Chunks {
		// The last token's event shares its read with the end of the stream where the server sends both at once: nothing is lost by that.
		if rec.Chunks[i].Shared && (i < last || i > 0 && rec.Chunks[i-1].At == rec.Chunks[i].At) {
			c.shared++
		}
	}
	c.chunks += len(rec.Chunks)
	if !rec.OK() {
		c.failed++
		r.fail(rec)
		return
	}
	c.completed++
	if r.isGood(rec) {
		c.good++
	}
	c.audio += rec.AudioSeconds
	c.sequences += max(rec.Sequences, 1)
	if rec.Usage == nil {
		c.noUsage++
	}
	if n, ok := promptTokens(rec); ok {
		c.input += n
		c.inputKnown++
	}
	if u := rec.Usage; u != nil && u.Cached >= 0 {
		c.cached += u.Cached
		c.cachedKnown++
	}
	if r.config.Pooling {
		return
	}
	n, ok := rec.Tokens()
	switch {
	case !ok:
		c.unknownOutput++
	default:
		c.output += n
		c.outputKnown++
		if rec.Usage == nil || rec.Usage.Completion <= 0 {
			c.estimated++
		}
	}
}

// isGood says that a successful request meets every objective. A metric that it does not have (the time per token of a
// single token) cannot be missed, as in vLLM.
func (r *Recorder) isGood(rec *results.Record) bool {
	for _, o := range r.config.Goodput {
		m, ok := results.MetricNamed(o.Metric)
		if !ok {
			return false
		}
		var room [64]time.Duration
		for _, v := range m.Append(room[:0], rec, r.config.Basis) {
			if v.Seconds() > o.MS/1000 {
				return false
			}
		}
	}
	return true
}

func promptTokens(rec *results.Record) (int, bool) {
	if u := rec.Usage; u != nil && u.Prompt > 0 {
		return u.Prompt, true
	}
	return rec.InputTokens, rec.InputTokens >= 0
}

// maxExamples is how many messages of a class of failures are quoted.
const maxExamples = 3

// A FailureClass counts the failures of one class.
type FailureClass struct {
	Class string
	Count int
	// Examples are different messages, first come first kept.
	Examples []Example
}

// An Example is one failure as its request tells it.
type Example struct {
	ID      int
	Status  int
	Message string
}

func (r *Recorder) fail(rec *results.Record) {
	f := rec.Failure
	if f.Class == results.FailTruncated {
		r.counts.truncated++
	}
	class := r.failures[f.Class]
	if class == nil {
		class = &FailureClass{Class: f.Class}
		r.failures[f.Class] = class
	}
	class.Count++
	// The same examples whatever the order of records: those of the lowest ids.
	same := func(e Example) bool { return e.Message == f.Message && e.Status == rec.Status }
	if i := slices.IndexFunc(class.Examples, same); i >= 0 {
		class.Examples[i].ID = min(class.Examples[i].ID, rec.ID)
	} else {
		class.Examples = append(class.Examples, Example{rec.ID, rec.Status, f.Message})
	}
	slices.SortFunc(class.Examples, func(a, b Example) int { return cmp.Compare(a.ID, b.ID) })
	if len(class.Examples) > maxExamples {
		class.Examples = class.Examples[:maxExamples]
	}
}

// span notes when the request was in flight: from the moment the client let it go to the end of its reply.
func (r *Recorder) span(rec *results.Record) {
	end := rec.Done
	if n := len(rec.Chunks); end == 0 && n > 0 {
		end = rec.Chunks[n-1].At
	}
	length, ok := end.Sub(rec.Dispatched)
	if !ok || length < 0 {
		return
	}
	r.busy.add(int64(length))
	r.inFlight.add(span{rec.Dispatched, end})
}

// tally counts events and touching requests by second for runs too long to keep.
func (r *Recorder) tally(rec *results.Record) {
	start := rec.Start(r.config.Basis)
	latency, ok := results.E2EL(rec, r.config.Basis)
	if !rec.OK() || !ok || latency < 0 || latency > histogramMax {
		return
	}
	for s := secondOf(start); s <= secondOf(start.Add(latency)); s++ {
		r.second(s).touching++
	}
	for i := range rec.Chunks {
		r.second(secondOf(rec.Chunks[i].Seen(r.config.Basis))).events++
	}
}

func secondOf(m results.Moment) int64 { return int64(m) / 1e9 }

func (r *Recorder) second(at int64) *second {
	if r.latest != nil && r.latestAt == at {
		return r.latest
	}
	s := r.seconds[at]
	if s == nil {
		s = &second{}
		r.seconds[at] = s
	}
	r.latest, r.latestAt = s, at
	return s
}

// outputOf is a record in the terms of vLLM's client, but for its start.
func outputOf(rec *results.Record, b results.Basis) Output {
	o := Output{
		Success: rec.OK(), Text: rec.Text, Sequences: max(rec.Sequences, 1), AudioSeconds: rec.AudioSeconds,
		PromptLen: max(rec.InputTokens, 0),
	}
	if n, ok := promptTokens(rec); ok && rec.OK() {
		o.PromptLen = n
	}
	if n, ok := rec.Tokens(); ok && rec.OK() {
		o.OutputTokens = n
	}
	if d, ok := results.TTFT(rec, b); ok && (rec.OK() || len(rec.Chunks) > 0) {
		o.TTFT = d.Seconds()
	}
	if d, ok := results.E2EL(rec, b); ok && rec.OK() {
		o.Latency = d.Seconds()
	}
	for i := 1; i < len(rec.Chunks); i++ {
		if gap, ok := rec.Chunks[i].Seen(b).Sub(rec.Chunks[i-1].Seen(b)); ok {
			if o.ITL == nil {
				o.ITL = make([]float64, 0, len(rec.Chunks)-1)
			}
			o.ITL = append(o.ITL, gap.Seconds())
		}
	}
	if d, ok := rec.QueueTime(); ok {
		o.QueueTime = d.Seconds()
	}
	if rec.ServerQueue != nil {
		s := rec.ServerQueue.Seconds()
		o.ServerQueue = &s
	}
	if rec.ServerTTFT != nil {
		s := rec.ServerTTFT.Seconds()
		o.ServerTTFT = &s
	}
	if f := rec.Failure; f != nil {
		o.Error = f.Message
		if o.Error == "" {
			o.Error = f.Class
		}
	}
	return o
}

// Summary sums up what was added. The manifest says how the run was made; before and after are the server's /metrics.
func (r *Recorder) Summary(m *results.Manifest, before, after string) *Summary {
	c := &r.counts
	set := &m.Settings
	s := &Summary{
		Manifest: m, Complete: true, Basis: r.config.Basis, Exact: r.keep,
		Requests: c.requests, Kinds: r.kinds,
		Probes: SumUpProbes(r.probes, r.probesFailed), Spec: SpecDecoding(before, after),
	}
	if length, ok := m.Ended.Sub(m.Began); ok && length > 0 {
		s.Duration = length.Seconds()
	} else if length := r.inFlight.extent(); length > 0 {
		s.Duration = length.Seconds()
		s.warn("the run has no end: its duration is taken from the first request's start to the last reply's end")
	}
	s.Diffusion = DiffusionDecoding(before, after, s.Duration)

	percentiles := slices.Concat(Percentiles, set.Percentiles)
	slices.Sort(percentiles)
	percentiles = slices.Compact(percentiles)
	opts := VLLMOptions{Duration: s.Duration, Pooling: r.config.Pooling, Percentiles: set.Percentiles, Goodput: set.Goodput}
	if r.keep {
		slices.SortStableFunc(r.outputs, func(a, b numbered) int { return cmp.Compare(a.id, b.id) })
		s.Outputs = make([]Output, len(r.outputs))
		zero := m.Began
		if zero == 0 && len(r.outputs) > 0 {
			zero = slices.MinFunc(r.outputs, func(a, b numbered) int { return cmp.Compare(a.start, b.start) }).start
		}
		for i := range r.outputs {
			s.Outputs[i] = r.outputs[i].Output
			// Counted from the run's beginning, a double keeps every nanosecond.
			s.Outputs[i].Start = time.Duration(r.outputs[i].start - zero).Seconds()
		}
		s.VLLM = SumUp(s.Outputs, opts)
	} else {
		s.VLLM = r.approximate(opts)
		s.warn(fmt.Sprintf("%d requests with %d events are too many to keep: percentiles come from histograms of three digits", c.requests, c.chunks))
	}
	r.dists(s, percentiles)
	r.figures(s)
	s.Stalls = r.stalls.sum(m.Stamps == "kernel")
	r.health(s)
	s.objectives()
	for _, c := range m.Audit {
		if c.State == results.Missed {
			s.warn(fmt.Sprintf("figures that must agree do not: %s: %s", c.Name, c.Detail))
		}
	}
	return s
}

// gaps are the exact gaps that the outputs hold, in milliseconds, ascending. A gap of a whole number of
// nanoseconds comes out as that number again.
func (r *Recorder) gaps(n int) []float64 {
	all := make([]float64, 0, n)
	for i := range r.outputs {
		if o := &r.outputs[i]; o.Success {
			for _, gap := range o.ITL {
				all = append(all, math.Round(gap*1e9)/1e6)
			}
		}
	}
	slices.Sort(all)
	return all
}

func (r *Recorder) failureClasses() []FailureClass {
	var list []FailureClass
	for _, class := range slices.Sorted(maps.Keys(r.failures)) {
		list = append(list, *r.failures[class])
	}
	slices.SortStableFunc(list, func(a, b FailureClass) int { return cmp.Compare(b.Count, a.Count) })
	return list
}
