package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"servebench/internal/python"
	"servebench/results"
	"servebench/results/summary"
)

// vLLM's table is 50 columns wide: a label of 40, a blank, a value of 10.
const tableWidth = 50

// A table is vLLM's way to print figures. It keeps the first error.
type table struct {
	w   io.Writer
	err error
}

func (t *table) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

// title centres text; an odd blank goes to the right.
func (t *table) title(text string, fill string) {
	t.line("%s", centred(text, fill))
}

func centred(text, fill string) string {
	room := max(tableWidth-len(text), 0)
	return strings.Repeat(fill, room/2) + text + strings.Repeat(fill, room-room/2)
}

func (t *table) int(label string, v int) { t.line("%-40s %-10d", label, v) }

func (t *table) float(label string, v float64) { t.line("%-40s %-10s", label, fixed(v)) }

// fixed is Python's '.2f'.
func fixed(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// percentileName is how a percentile stands in labels and keys: 99, 99.9.
func percentileName(p float64) string {
	if p == math.Trunc(p) && math.Abs(p) < 1e15 {
		return strconv.FormatFloat(p, 'f', 0, 64)
	}
	return python.Float(p)
}

// Traffic prints what vLLM says before the load: the rate, its shape and the limits.
func Traffic(w io.Writer, s *results.Settings) error {
	t := &table{w: w}
	if r := s.RampUp; r != nil {
		t.line("Traffic ramp-up strategy: %s.", r.Strategy)
		t.line("Will increase RPS from %d to %d RPS over the duration of the benchmark.", r.StartRPS, r.EndRPS)
	} else {
		t.line("Traffic request rate: %s", python.Float(float64(s.RequestRate)))
	}
	process := "Gamma distribution"
	if s.Burstiness == 1 {
		process = "Poisson process"
	}
	t.line("Burstiness factor: %s (%s)", python.Float(float64(s.Burstiness)), process)
	if s.MaxConcurrency > 0 {
		t.line("Maximum request concurrency: %d", s.MaxConcurrency)
	} else {
		t.line("Maximum request concurrency: None")
	}
	if s.ProbeRate > 0 {
		t.line("Probe request rate: %s req/s", python.Float(s.ProbeRate))
	}
	return t.err
}

// maxErrors is how many failures the table quotes.
const maxErrors = 10

// Failures prints the first failures as vLLM does, before its table. Pooling runs print none.
func Failures(w io.Writer, s *summary.Summary) error {
	t := &table{w: w}
	if s.Manifest.Settings.Pooling || s.VLLM.Failed == 0 {
		return nil
	}
	t.line("Failed requests during benchmark run detected (capping to %d):", maxErrors)
	n := 0
	for i := range s.Outputs {
		if o := &s.Outputs[i]; !o.Success && n < maxErrors {
			t.line("Error %d: %s", n, o.Error)
			n++
		}
	}
	return t.err
}

// VLLMTable prints vLLM's table.
func VLLMTable(w io.Writer, s *summary.Summary) error {
	t := &table{w: w}
	set, v := &s.Manifest.Settings, s.VLLM
	generation, counted := !set.Pooling, set.Tokenizer != ""
	t.title(" Serving Benchmark Result ", "=")
	t.int("Successful requests:", v.Completed)
	t.int("Failed requests:", v.Failed)
	if set.MaxConcurrency > 0 {
		t.int("Maximum request concurrency:", set.MaxConcurrency)
	}
	if !set.RequestRate.Infinite() {
		t.float("Request rate configured (RPS):", float64(set.RequestRate))
	}
	t.float("Benchmark duration (s):", v.Duration)
	t.int("Total input tokens:", v.TotalInput)
	if generation && counted {
		t.int("Total generated tokens:", v.TotalOutput)
	}
	t.float("Request throughput (req/s):", v.RequestThroughput)
	if !generation {
		t.float("Input throughput (inputs/s):", v.SequenceThroughput)
	}
	if generation && len(set.Goodput) > 0 {
		t.float("Request goodput (req/s):", v.Goodput)
	}
	if generation && counted {
		t.float("Output token throughput (tok/s):", v.OutputThroughput)
		t.float("Peak output token throughput (tok/s):", v.PeakTokens)
	}
	if generation {
		t.float("Peak concurrent requests:", float64(v.PeakConcurrent))
	}
	if v.RTFx > 0 {
		t.float("RTFx (Inverse Real-Time Factor):", v.RTFx)
	}
	if counted {
		t.float("Total token throughput (tok/s):", v.TotalTokenThroughput)
	}
	if p := s.Probes; p != nil {
		t.title("Probe Requests", "-")
		t.int("Probe requests completed:", p.Completed)
		t.int("Probe requests failed:", p.Failed)
		t.float("Median probe E2EL (ms):", p.Median)
		t.float("P99 probe E2EL (ms):", p.P99)
		t.float("Max probe E2EL (ms):", p.Max)
	}
	for _, m := range tableMetrics(set) {
		t.metric(m, v.Stats[m.Name])
	}
	switch {
	case s.Diffusion != nil:
		t.diffusion(s.Diffusion)
	case s.Spec != nil:
		t.specDecode(s.Spec)
	}
	t.title("", "=")
	return t.err
}

// tableMetrics are the metrics that vLLM prints and stores, in its order.
func tableMetrics(set *results.Settings) []*results.Metric {
	var list []*results.Metric
	for i := range results.Metrics {
		m := &results.Metrics[i]
		allowed := false
		switch m.Name {
		case "ttft", "tpot", "itl":
			allowed = !set.Pooling && set.Tokenizer != ""
		case "e2el":
			allowed = true
		case "client_queue_time":
			allowed = set.MaxConcurrency > 0
		case "e2el_including_client_queue":
			allowed = set.MaxConcurrency > 0 && !set.RequestRate.Infinite()
		}
		for _, name := range set.Metrics {
			if allowed && name == m.Name {
				list = append(list, m)
				break
			}
		}
	}
	return list
}

func (t *table) metric(m *results.Metric, s summary.Stat) {
	t.title(m.Title, "-")
	t.float("Mean "+m.Label+" (ms):", s.Mean)
	t.float("Median "+m.Label+" (ms):", s.Median)
	for _, p := range s.Percentiles {
		t.float("P"+percentileName(p.P)+" "+m.Label+" (ms):", p.Value)
	}
}

func (t *table) diffusion(d *summary.Diffusion) {
	t.title("Diffusion Decoding", "-")
	t.float("Committed throughput (tok/s):", d.CommittedThroughput)
	t.float("Denoising steps per canvas:", d.StepsPerCanvas)
	t.float("Committed per denoising step:", d.CommittedPerStep)
	t.int("Committed tokens:", d.CommittedTokens)
	t.int("Denoising steps:", d.DenoisingSteps)
	t.int("Canvas positions evaluated:", d.CanvasPositions)
}

func (t *table) specDecode(d *summary.SpecDecode) {
	t.title("Speculative Decoding", "-")
	t.float("Acceptance rate (%):", d.AcceptanceRate)
	t.float("Acceptance length:", d.AcceptanceLength)
	t.int("Drafts:", d.Drafts)
	t.int("Draft tokens:", d.DraftTokens)
	t.int("Accepted tokens:", d.AcceptedTokens)
	if len(d.PerPosition) > 0 {
		t.line("Per-position acceptance (%%):")
		for i, rate := range d.PerPosition {
			t.float("  Position "+strconv.Itoa(i)+":", rate*100)
		}
	}
}
