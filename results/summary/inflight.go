package summary

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"servebench/results"
)

// peakOf is the largest number of spans that overlap. A span ends before another that starts at the same moment.
func peakOf(spans []span) int {
	starts := make([]results.Moment, len(spans))
	ends := make([]results.Moment, len(spans))
	for i, s := range spans {
		starts[i], ends[i] = s.from, s.to
	}
	slices.Sort(starts)
	slices.Sort(ends)
	peak, ended := 0, 0
	for i, at := range starts {
		for ended < len(ends) && ends[ended] <= at {
			ended++
		}
		// A span of no length has ended before it began; it was in flight all the same.
		peak = max(peak, i+1-min(ended, i))
	}
	return peak
}

// extent is the time from the first span's start to the last one's end.
func (r *Recorder) extent() time.Duration {
	if len(r.spans) == 0 {
		return 0
	}
	first := slices.MinFunc(r.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	last := slices.MaxFunc(r.spans, func(a, b span) int { return cmp.Compare(a.to, b.to) })
	return time.Duration(last.to - first.from)
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

// approximate is vLLM's figures of a run too long to keep: counts are exact, percentiles come from
// histograms, and the busiest second is one of the clock instead of one counted from the first start.
func (r *Recorder) approximate(opts VLLMOptions) *VLLM {
	c := &r.counts
	v := &VLLM{
		Duration: opts.Duration, Completed: c.completed, Failed: c.failed,
		TotalInput: c.input, TotalOutput: c.output + c.unknownOutput, InputSequences: c.sequences,
		Stats: map[string]Stat{},
	}
	if opts.Duration > 0 {
		v.rates(opts, c.audio, c.good)
	}
	if !opts.Pooling {
		for _, s := range r.seconds {
			v.PeakTokens = max(v.PeakTokens, float64(s.events))
			v.PeakConcurrent = max(v.PeakConcurrent, s.touching)
		}
	}
	for _, s := range r.series {
		if s.basis != r.config.Basis {
			continue
		}
		d := s.dist(append([]float64{50}, opts.Percentiles...), nil)
		if d == nil || len(d.Percentiles) == 0 {
			d = &Dist{Percentiles: make([]Percentile, len(opts.Percentiles)+1)}
			for i, p := range opts.Percentiles {
				d.Percentiles[i+1].P = p
			}
		}
		v.Stats[s.metric.Name] = Stat{Mean: d.Mean, Median: d.Percentiles[0].Value, Std: d.Std, Percentiles: d.Percentiles[1:]}
	}
	return v
}
