// Package summary turns records into numbers: vLLM's own arithmetic bit for bit, the same
// figures from the kernel's stamps, and the health of the client that took them.
//
// A Recorder is fed one record after another, live or from a saved run; both give the same
// summary. It holds exact samples up to a stated number and histograms beyond.
package summary

import (
	"errors"
	"fmt"
	"io/fs"

	"servebench/results"
)

// A Summary is everything that reports say about a run. Pointers are nil, and maps and lists lack an
// entry, where nothing could be measured.
type Summary struct {
	// Manifest says how the run was made.
	Manifest *results.Manifest
	// Complete is false for a run that died, is still going on, or lost records; Why says which.
	Complete bool
	Why      string

	// VLLM are the figures of the first table, on the manifest's basis, from Outputs in dispatch order. Outputs is nil
	// when there were too many to keep; the statistics come from histograms then.
	VLLM    *VLLM
	Outputs []Output
	// Probes, Spec and Diffusion are nil when there were none.
	Probes    *Probes
	Spec      *SpecDecode
	Diffusion *Diffusion

	// Basis is what latencies count from, unless a Dist says otherwise. Exact says that every value was kept.
	Basis results.Basis
	Exact bool
	// Duration is that of the load in seconds; 0 when it could not be told.
	Duration float64
	// Requests counts those of the load, Kinds all records by kind.
	Requests, Completed, Failed int
	Kinds                       map[results.Kind]int
	// Failures are by class, the most frequent first.
	Failures []FailureClass

	// InputTokens, OutputTokens and CachedTokens are sums over successful requests, by the server's count where it sent
	// one; the Unknown numbers count the requests that are in no sum.
	InputTokens, OutputTokens, CachedTokens *int
	InputUnknown, OutputUnknown             int
	// RequestRate is successful requests per second; the token rates are tokens per second of the load.
	RequestRate, InputRate, OutputRate, TotalTokenRate *float64
	// Goodput is nil without objectives.
	Goodput *Goodput
	// Bounds are the run's objectives, met or missed; nil without any.
	Bounds []BoundResult
	// InFlightPeak is the true maximum of requests in flight at once, InFlightMean its mean over the load.
	InFlightPeak *int
	InFlightMean *float64

	// Dists are the distributions of every metric that has values, in the order of results.Metrics; those that
	// depend on the start stand there twice, from Basis and from the due time.
	Dists []*Dist
	// Stalls are what held streams up; nil when no stream had gaps enough to tell.
	Stalls *Stalls
	// Health is how well the client kept up.
	Health Health
	// Warnings are doubts about the numbers, the gravest first.
	Warnings []string
}

// Goodput is how many requests met every objective.
type Goodput struct {
	Objectives []results.Objective
	Requests   int
	// Share is of all requests of the load: failures count against it.
	Share float64
	// PerSecond is good requests per second; nil when the duration is not known.
	PerSecond *float64
}

// Dist finds a distribution; nil when the metric has no values.
func (s *Summary) Dist(metric string, b results.Basis) *Dist {
	for _, d := range s.Dists {
		if d.Metric.Name == metric && (d.Basis == b || !d.Metric.Based) {
			return d
		}
	}
	return nil
}

func (s *Summary) warn(text string) { s.Warnings = append(s.Warnings, text) }

// OfRun sums up a saved run on the basis that its manifest names.
func OfRun(run *results.Run) (*Summary, error) { return OfRunFrom(run, run.Manifest().Basis) }

// OfRunFrom sums up a saved run on another basis.
func OfRunFrom(run *results.Run, basis results.Basis) (*Summary, error) {
	m := run.Manifest()
	config := ConfigOf(m)
	config.Basis = basis
	r := NewRecorder(config)
	for rec, err := range run.Records() {
		if err != nil {
			return nil, err
		}
		r.Add(rec)
	}
	before, err := text(run, results.MetricsBefore)
	if err != nil {
		return nil, err
	}
	after, err := text(run, results.MetricsAfter)
	if err != nil {
		return nil, err
	}
	s := r.Summary(m, before, after)
	s.Complete, s.Why = run.Complete()
	if !s.Complete {
		s.Warnings = append([]string{s.Why}, s.Warnings...)
	}
	return s, nil
}

func text(run *results.Run, name string) (string, error) {
	b, err := run.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// dists fills in the distributions.
func (r *Recorder) dists(s *Summary, percentiles []float64) {
	for _, series := range r.series {
		var sorted []float64
		switch {
		case !r.keep:
		case series.metric.Name == "itl":
			sorted = r.gaps(series.count)
		case !series.metric.PerEvent:
			sorted = series.sorted()
		}
		if d := series.dist(percentiles, sorted); d != nil {
			s.Dists = append(s.Dists, d)
		}
	}
}

// figures fills in counts, tokens, rates and what was in flight.
func (r *Recorder) figures(s *Summary) {
	c := &r.counts
	s.Completed, s.Failed = c.completed, c.failed
	s.Failures = r.failureClasses()
	if c.inputKnown > 0 {
		s.InputTokens = new(c.input)
	}
	s.InputUnknown = c.completed - c.inputKnown
	if c.outputKnown > 0 {
		s.OutputTokens = new(c.output)
	}
	if !r.config.Pooling {
		s.OutputUnknown = c.completed - c.outputKnown
	}
	if c.cachedKnown > 0 {
		s.CachedTokens = new(c.cached)
	}
	if s.Duration > 0 {
		perSecond := func(n *int) *float64 {
			if n == nil {
				return nil
			}
			return new(float64(*n) / s.Duration)
		}
		s.RequestRate = perSecond(&c.completed)
		s.InputRate = perSecond(s.InputTokens)
		s.OutputRate = perSecond(s.OutputTokens)
		if s.InputTokens != nil && s.OutputTokens != nil {
			s.TotalTokenRate = perSecond(new(*s.InputTokens + *s.OutputTokens))
		}
		if r.inFlight.n > 0 {
			s.InFlightMean = new(r.busy.total() / 1e9 / s.Duration)
		}
	}
	if objectives := s.Manifest.Settings.Goodput; len(objectives) > 0 && c.requests > 0 {
		s.Goodput = &Goodput{Objectives: objectives, Requests: c.good, Share: float64(c.good) / float64(c.requests)}
		if s.Duration > 0 {
			s.Goodput.PerSecond = new(float64(c.good) / s.Duration)
		}
	}
	if r.inFlight.n > 0 {
		s.InFlightPeak = new(r.inFlight.peak())
		if grain := r.inFlight.grain(); grain > 0 {
			s.warn(fmt.Sprintf("the peak in flight is that of moments %.1f ms apart", grain.Seconds()*1e3))
		}
	}
}
