package summary

import (
	"math"

	"servebench/internal/numpy"
	"servebench/results"
)

// An Output is one finished request in the terms of vLLM's client. Times are seconds.
type Output struct {
	Success bool
	// PromptLen and OutputTokens are token counts; OutputTokens is 0 when the server sent none.
	PromptLen, OutputTokens int
	TTFT, Latency           float64
	ITL                     []float64
	// Start is on any clock, QueueTime the wait for the client's own limit.
	Start, QueueTime float64
	Text, Error      string
	// ServerQueue and ServerTTFT are the server's own timings; nil when it sent none.
	ServerQueue, ServerTTFT *float64
	// Sequences is the number of inputs of a pooling request, AudioSeconds the length of what was heard.
	Sequences    int
	AudioSeconds float64
}

// VLLMOptions are what vLLM's arithmetic needs beside the outputs.
type VLLMOptions struct {
	// Duration is that of the run, in seconds.
	Duration float64
	// Pooling counts sequences instead of output tokens.
	Pooling bool
	// CountTokens counts the tokens of a text without special ones; nil when there is no tokenizer.
	CountTokens func(text string) int
	// Percentiles are 0..100.
	Percentiles []float64
	// Goodput are the objectives on ttft, tpot and e2el; none when goodput was not asked for.
	Goodput []results.Objective
}

// VLLM holds the figures of vLLM's report. Nothing measured is zero here, because it is there.
type VLLM struct {
	Duration          float64
	Completed, Failed int
	// TotalInput and TotalOutput are tokens, OutputLens the tokens of each request.
	TotalInput, TotalOutput int
	OutputLens              []int
	// Throughputs are per second of the run.
	RequestThroughput, OutputThroughput, TotalTokenThroughput float64
	// Goodput counts requests that met every objective, per second.
	Goodput float64
	// InputSequences and SequenceThroughput belong to pooling.
	InputSequences     int
	SequenceThroughput float64
	// PeakTokens is the busiest second by stream events, which vLLM calls tokens. PeakConcurrent counts the
	// requests that touch a second, which is more than were in flight at once.
	PeakTokens     float64
	PeakConcurrent int
	// RTFx is seconds of audio per second of the run.
	RTFx float64
	// Stats are by metric name: ttft, tpot, itl, e2el, client_queue_time and e2el_including_client_queue.
	Stats map[string]Stat
}

// A Stat sums up one metric in milliseconds. Its deviation is that of a population.
type Stat struct {
	Mean, Median, Std float64
	Percentiles       []Percentile
}

// A Percentile is the value at rank P of 0..100.
type Percentile struct {
	P, Value float64
}

// SumUp does vLLM's arithmetic on outputs in dispatch order.
func SumUp(outputs []Output, opts VLLMOptions) *VLLM {
	v := &VLLM{Duration: opts.Duration, OutputLens: make([]int, 0, len(outputs))}
	var ttfts, tpots, allTPOTs, itls, e2els, queues, queuedE2ELs []float64
	audio := 0.0
	for i := range outputs {
		o := &outputs[i]
		if !o.Success {
			v.Failed++
			v.OutputLens = append(v.OutputLens, 0)
			continue
		}
		v.Completed++
		v.TotalInput += o.PromptLen
		v.InputSequences += o.Sequences
		e2els = append(e2els, o.Latency)
		queues = append(queues, o.QueueTime)
		queuedE2ELs = append(queuedE2ELs, o.Latency+o.QueueTime)
		if opts.Pooling {
			continue
		}
		length := o.OutputTokens
		if length == 0 {
			length = 1
			if opts.CountTokens != nil {
				length = opts.CountTokens(o.Text)
			}
		}
		v.OutputLens = append(v.OutputLens, length)
		v.TotalOutput += length
		tpot := 0.0
		if length > 1 {
			tpot = (o.Latency - o.TTFT) / float64(length-1)
			tpots = append(tpots, tpot)
		}
		allTPOTs = append(allTPOTs, tpot)
		itls = append(itls, o.ITL...)
		ttfts = append(ttfts, o.TTFT)
		audio += o.AudioSeconds
	}
	if opts.Duration > 0 {
		v.rates(opts, audio, good(opts.Goodput, ttfts, allTPOTs, e2els))
	}
	if !opts.Pooling {
		v.PeakTokens, v.PeakConcurrent = peaks(outputs)
	}
	v.Stats = map[string]Stat{
		"ttft":                        statOf(ttfts, opts.Percentiles),
		"tpot":                        statOf(tpots, opts.Percentiles),
		"itl":                         statOf(itls, opts.Percentiles),
		"e2el":                        statOf(e2els, opts.Percentiles),
		"client_queue_time":           statOf(queues, opts.Percentiles),
		"e2el_including_client_queue": statOf(queuedE2ELs, opts.Percentiles),
	}
	return v
}

// rates are the counts per second.
func (v *VLLM) rates(opts VLLMOptions, audio float64, good int) {
	v.RequestThroughput = float64(v.Completed) / opts.Duration
	v.TotalTokenThroughput = float64(v.TotalInput+v.TotalOutput) / opts.Duration
	v.OutputThroughput = float64(v.TotalOutput) / opts.Duration
	v.SequenceThroughput = float64(v.InputSequences) / opts.Duration
	v.RTFx = audio / opts.Duration
	if len(opts.Goodput) > 0 {
		v.Goodput = float64(good) / opts.Duration
	}
}

// good counts the requests that meet every objective.
func good(objectives []results.Objective, ttfts, tpots, e2els []float64) int {
	values := map[string][]float64{"ttft": ttfts, "tpot": tpots, "e2el": e2els}
	n := 0
	for i := range e2els {
		met := true
		for _, o := range objectives {
			list, known := values[o.Metric]
			met = met && known && i < len(list) && o.MS/1000 >= list[i]
		}
		if met {
			n++
		}
	}
	return n
}

// maxSeconds bounds the buckets of peaks; a run beyond it has none.
const maxSeconds = 1 << 26

// peaks are the busiest second by events and by touching requests, in whole seconds from the
// earliest start of a successful request.
func peaks(outputs []Output) (tokens float64, concurrent int) {
	first, last := math.Inf(1), math.Inf(-1)
	for i := range outputs {
		if o := &outputs[i]; o.Success {
			first = min(first, o.Start)
			last = max(last, o.Start+o.Latency)
		}
	}
	if !(last-first < maxSeconds) {
		return 0, 0
	}
	seconds := int(math.Ceil(last-first)) + 1
	if seconds < 1 {
		return 0, 0
	}
	events := make([]int, seconds)
	touching := make([]int, seconds+1) // differences
	for i := range outputs {
		o := &outputs[i]
		if !o.Success {
			continue
		}
		at := o.Start + o.TTFT
		count := func() {
			// The bucket is cut towards zero, so a little before the start counts as second 0.
			if second := math.Trunc(at - first); second >= 0 && second < float64(seconds) {
				events[int(second)]++
			}
		}
		count()
		for _, gap := range o.ITL {
			at += gap
			count()
		}
		from, to := int(o.Start-first), int((o.Start+o.Latency)-first)
		from, to = max(from, 0), min(to, seconds-1)
		if from <= to {
			touching[from]++
			touching[to+1]--
		}
	}
	busiest, now := 0, 0
	for i, n := range events {
		busiest = max(busiest, n)
		now += touching[i]
		concurrent = max(concurrent, now)
	}
	return float64(busiest), concurrent
}

// statOf is the statistics of seconds in milliseconds; of nothing they are zero.
func statOf(xs []float64, percentiles []float64) Stat {
	if len(xs) == 0 {
		xs = []float64{0}
	}
	s := Stat{Mean: numpy.Mean(xs) * 1000, Std: numpy.Std(xs) * 1000}
	sorted := ascending(xs)
	s.Median = numpy.MedianSorted(sorted) * 1000
	for _, p := range percentiles {
		s.Percentiles = append(s.Percentiles, Percentile{p, numpy.PercentileSorted(sorted, p) * 1000})
	}
	return s
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
