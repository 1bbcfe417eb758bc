package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/internal/argparse"
	"servebench/loadgen/server"
	"servebench/results"
	"servebench/results/summary"
)

// A benchPoint is one load of a sweep, or the only one of a command that repeats it.
type benchPoint struct {
	// name is concurrency=8 or rate=2.0; empty without a sweep. value is the number alone.
	name, value string
	options     benchOptions
	runs        []*summary.Summary
}

// repeats says that one command line is several runs.
func (o *benchOptions) repeats() bool {
	return o.NumRuns > 1 || o.SweepConcurrency != nil || o.SweepRates != nil
}

// points are the loads of the command line, in its order.
func (o *benchOptions) points() []*benchPoint {
	var list []*benchPoint
	for _, n := range o.SweepConcurrency {
		p := &benchPoint{name: fmt.Sprintf("concurrency=%d", n), value: fmt.Sprint(n), options: *o}
		p.options.MaxConcurrency = &n
		if o.SweepNumPromptsFactor != nil {
			p.options.NumPrompts = n * *o.SweepNumPromptsFactor
		}
		list = append(list, p)
	}
	for _, rate := range o.SweepRates {
		p := &benchPoint{name: "rate=" + argparse.FloatRepr(rate), value: argparse.FloatRepr(rate), options: *o}
		p.options.RequestRate = rate
		list = append(list, p)
	}
	if list == nil {
		list = append(list, &benchPoint{options: *o})
	}
	return list
}

// repeat carries out every point as often as asked. A run that failed is told, and the next one goes on; whatever ends the
// command ends all of them.
func (o *benchOptions) repeat(cmd *cobra.Command, i *interrupts) error {
	if err := o.files(); err != nil {
		return err
	}
	if o.ramped() && o.SweepRates != nil {
		return exitCode{exitUsage, errors.New("--sweep-request-rate has no place beside --ramp-up-strategy: the ramp sets the rate")}
	}
	points := o.points()
	var problems []error
	w := cmd.OutOrStdout()
	for _, p := range points {
		for n := range o.NumRuns {
			part := p.name
			if o.NumRuns > 1 {
				part = strings.TrimPrefix(fmt.Sprintf("%s/run=%d", part, n), "/")
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "--- %s\n", part)
			s, err := p.options.scenario()
			if err != nil {
				return err
			}
			result, err := p.options.once(cmd, i, s, part)
			if result == nil {
				return err
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", part, err))
			}
			if result.Summary != nil && result.Outcome != results.Interrupted {
				p.runs = append(p.runs, result.Summary)
			}
			if cmd.Context().Err() != nil {
				break
			}
		}
		if len(p.runs) > 1 {
			problems = append(problems, p.spread(w))
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	if len(points) > 1 {
		problems = append(problems, o.sweepTable(w, points))
	}
	return failed(errors.Join(problems...))
}

func (o *benchOptions) ramped() bool { return o.RampStrategy != nil }

// A repeatFigure is a figure of a run that runs are compared by.
type repeatFigure struct {
	label string
	of    func(*summary.Summary) (float64, bool)
}

// repeatFigures are the throughputs, and mean, median and percentiles of each latency.
func (o *benchOptions) repeatFigures() []repeatFigure {
	list := []repeatFigure{
		{"Request throughput (req/s)", func(s *summary.Summary) (float64, bool) { return s.VLLM.RequestThroughput, s.VLLM.Completed > 0 }},
	}
	if !o.Kind.Pooling {
		list = append(list, repeatFigure{"Output token throughput (tok/s)", func(s *summary.Summary) (float64, bool) {
			return s.VLLM.OutputThroughput, s.OutputTokens != nil
		}})
	}
	list = append(list, repeatFigure{"Total token throughput (tok/s)", func(s *summary.Summary) (float64, bool) {
		return s.VLLM.TotalTokenThroughput, s.InputTokens != nil
	}})
	if len(o.Goodput) > 0 {
		list = append(list, repeatFigure{"Request goodput (req/s)", func(s *summary.Summary) (float64, bool) { return s.VLLM.Goodput, true }})
	}
	for _, name := range o.Metrics {
		m, ok := results.MetricNamed(name)
		if !ok {
			continue
		}
		stat := func(value func(summary.Stat) float64) func(*summary.Summary) (float64, bool) {
			return func(s *summary.Summary) (float64, bool) {
				if s.Dist(name, s.Basis) == nil { // nothing measured, which vLLM's arithmetic calls zero
					return 0, false
				}
				return value(s.VLLM.Stats[name]), true
			}
		}
		list = append(list, repeatFigure{"Mean " + m.Label + " (ms)", stat(func(st summary.Stat) float64 { return st.Mean })},
			repeatFigure{"Median " + m.Label + " (ms)", stat(func(st summary.Stat) float64 { return st.Median })})
		for i, p := range o.Percentiles {
			list = append(list, repeatFigure{"P" + percent(p) + " " + m.Label + " (ms)", stat(func(st summary.Stat) float64 { return st.Percentiles[i].Value })})
		}
	}
	return list
}

// percent spells a percentile as the table does: 99, 99.9.
func percent(p float64) string { return strings.TrimSuffix(argparse.FloatRepr(p), ".0") }

// A spread is what several runs say of one figure.
type spreadOfRuns struct {
	n                   int
	mean, std, min, max float64
}

// spreadOver sums up values. Its deviation is that of a sample (n - 1): the runs stand for all that could have been made.
func spreadOver(values []float64) (s spreadOfRuns) {
	s.n, s.min, s.max = len(values), math.Inf(1), math.Inf(-1)
	for _, v := range values {
		s.mean += v / float64(s.n)
		s.min, s.max = min(s.min, v), max(s.max, v)
	}
	for _, v := range values {
		s.std += (v - s.mean) * (v - s.mean)
	}
	if s.n > 1 {
		s.std = math.Sqrt(s.std / float64(s.n-1))
	}
	return s
}

// spread prints what the runs of a point have in common and how far they lie apart.
func (p *benchPoint) spread(w io.Writer) error {
	title := fmt.Sprintf(" %d Runs", len(p.runs))
	if p.name != "" {
		title += " at " + p.name
	}
	t := &lines{w: w}
	t.say("%s", centre(title+" ", 96, "="))
	t.say("%-36s %11s %11s %11s %11s %10s", "", "mean", "std (n-1)", "min", "max", "CV (%)")
	for _, f := range p.options.repeatFigures() {
		var values []float64
		for _, s := range p.runs {
			if v, ok := f.of(s); ok {
				values = append(values, v)
			}
		}
		if len(values) < 2 {
			continue
		}
		s := spreadOver(values)
		cv := "-"
		if s.mean != 0 {
			cv = fmt.Sprintf("%.2f", 100*s.std/s.mean)
		}
		note := ""
		if s.n < len(p.runs) {
			note = fmt.Sprintf("  (%d of %d runs)", s.n, len(p.runs))
		}
		t.say("%-36s %11.2f %11.2f %11.2f %11.2f %10s%s", f.label+":", s.mean, s.std, s.min, s.max, cv, note)
	}
	t.say("%s", strings.Repeat("=", 96))
	return t.err
}

// sweepTable prints a line a point and names the best.
func (o *benchOptions) sweepTable(w io.Writer, points []*benchPoint) error {
	variable, unit := "Concurrency", "concurrency"
	if o.SweepRates != nil {
		variable, unit = "Rate (req/s)", "request rate"
	}
	percentiles := append([]float64(nil), o.Percentiles...)
	for _, p := range o.SweepPercentiles {
		if !contains(percentiles, p) {
			percentiles = append(percentiles, p)
		}
	}
	type column struct {
		title string
		of    func(*summary.Summary) (float64, bool)
	}
	columns := []column{
		{"req/s", func(s *summary.Summary) (float64, bool) { return s.VLLM.RequestThroughput, s.VLLM.Completed > 0 }},
	}
	throughput := func(s *summary.Summary) (float64, bool) { return s.VLLM.OutputThroughput, s.OutputTokens != nil }
	if o.Kind.Pooling {
		throughput = func(s *summary.Summary) (float64, bool) { return s.VLLM.TotalTokenThroughput, s.InputTokens != nil }
	} else {
		columns = append(columns, column{"out tok/s", throughput})
	}
	columns = append(columns, column{"total tok/s", func(s *summary.Summary) (float64, bool) { return s.VLLM.TotalTokenThroughput, s.InputTokens != nil }})
	for _, name := range o.Metrics {
		m, ok := results.MetricNamed(name)
		if !ok {
			continue
		}
		columns = append(columns, column{"mean " + m.Label, func(s *summary.Summary) (float64, bool) {
			d := s.Dist(name, s.Basis)
			if d == nil {
				return 0, false
			}
			return d.Mean, true
		}})
		for _, p := range percentiles {
			columns = append(columns, column{"P" + percent(p) + " " + m.Label, func(s *summary.Summary) (float64, bool) {
				return percentileIn(s, name, p)
			}})
		}
	}
	t := &lines{w: w}
	t.say("")
	t.say("%s", centre(" Sweep: latencies in ms ", 96, "="))
	head := fmt.Sprintf("%-14s %9s %7s", variable, "completed", "failed")
	for _, c := range columns {
		head += fmt.Sprintf(" %*s", max(11, len(c.title)), c.title)
	}
	t.say("%s", head)
	best, bestAt := math.Inf(-1), ""
	for _, p := range points {
		if len(p.runs) == 0 {
			t.say("%-14s %9s", p.value, "no result")
			continue
		}
		completed, lost := 0, 0
		for _, s := range p.runs {
			completed += s.Completed
			lost += s.Failed
		}
		line := fmt.Sprintf("%-14s %9d %7d", p.value, completed, lost)
		for _, c := range columns {
			text := "-"
			if v, ok := meanOver(p.runs, c.of); ok {
				text = fmt.Sprintf("%.2f", v)
			}
			line += fmt.Sprintf(" %*s", max(11, len(c.title)), text)
		}
		t.say("%s", line)
		if v, ok := meanOver(p.runs, throughput); ok && v > best {
			best, bestAt = v, p.value
		}
	}
	if bestAt != "" {
		t.say("Best throughput: %.2f tok/s at %s %s", best, unit, bestAt)
	}
	t.say("%s", strings.Repeat("=", 96))
	return t.err
}

// meanOver is the mean over the runs that have the figure.
func meanOver(runs []*summary.Summary, of func(*summary.Summary) (float64, bool)) (float64, bool) {
	sum, n := 0.0, 0
	for _, s := range runs {
		if v, ok := of(s); ok {
			sum += v
			n++
		}
	}
	return sum / float64(max(n, 1)), n > 0
}

// percentileIn is a percentile that the run need not have been asked for.
func percentileIn(s *summary.Summary, metric string, p float64) (float64, bool) {
	d := s.Dist(metric, s.Basis)
	if d == nil {
		return 0, false
	}
	if v, ok := d.At(p); ok {
		return v, true
	}
	if s.Outputs == nil { // too many to keep
		return 0, false
	}
	stat := summary.SumUp(s.Outputs, summary.VLLMOptions{Duration: s.Duration, Pooling: s.Manifest.Settings.Pooling, Percentiles: []float64{p}}).Stats[metric]
	return stat.Percentiles[0].Value, true
}

func contains(list []float64, p float64) bool {
	for _, q := range list {
		if q == p {
			return true
		}
	}
	return false
}

// resetPrefixCache empties the server's prefix cache, so that a run does not find the prompts of the one before.
func (o *benchOptions) resetPrefixCache(ctx context.Context) error {
	header := http.Header{}
	for _, h := range o.Headers {
		header.Set(h[0], h[1])
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := (server.Target{BaseURL: o.RootURL, Headers: header}).ResetPrefixCache(ctx)
	if server.IsStatus(err, http.StatusNotFound) {
		return fmt.Errorf("--reset-prefix-cache: %w: the server has this route only in dev mode (VLLM_SERVER_DEV_MODE=1)", err)
	}
	if err != nil {
		return fmt.Errorf("--reset-prefix-cache: %w", err)
	}
	return nil
}

// lines writes until the first error.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) say(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format+"\n", args...)
	}
}

func centre(text string, width int, fill string) string {
	room := max(width-len(text), 0)
	return strings.Repeat(fill, room/2) + text + strings.Repeat(fill, room-room/2)
}

// partName is a result file's name with the run's own part before the suffix.
func partName(file, part string) string {
	if part == "" {
		return file
	}
	dir, base := filepath.Split(file)
	ext := filepath.Ext(base)
	return dir + strings.TrimSuffix(base, ext) + "-" + strings.ReplaceAll(part, "/", "-") + ext
}

// wantsSteady says that the steady part was asked for. It is not part of the usual report, whose form is the Python client's.
func (o *benchOptions) wantsSteady() bool {
	return !o.NoSteadyState && (o.Given("steady_state_threshold") || o.Given("steady_state_min_window"))
}

// fixed1 is a figure of a narrow table.
func fixed1(v float64) string { return fmt.Sprintf("%.1f", v) }
