package main

import (
	"encoding/json"
	"fmt"
	"io"

	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/summary"
)

// steady prints the figures of the part of the run in which the load was full, and gives them for the result file: null when
// there was none.
func (o *benchOptions) steady(w io.Writer, result *scenario.Result) (json.RawMessage, error) {
	null := json.RawMessage("null")
	t := &lines{w: w}
	t.say("%s", centre(" Steady State ", 50, "="))
	defer func() { t.say("%s", centre("", 50, "=")) }()
	if o.MaxConcurrency == nil || o.RequestRate != inf || o.ramped() {
		t.say("none: it is that of a closed loop, --max-concurrency without a rate")
		return null, t.err
	}
	run, err := results.Open(result.Dir)
	if err != nil {
		return null, err
	}
	defer run.Close()
	s, err := summary.SteadyState(run.Records(), *o.MaxConcurrency, o.SteadyStateThreshold, result.Summary.Basis, o.Percentiles)
	if err != nil {
		return null, err
	}
	if s == nil {
		t.say("none: fewer than %s of %d requests were ever in flight", argparse.FloatRepr(o.SteadyStateThreshold), *o.MaxConcurrency)
		return null, t.err
	}
	seconds := s.Duration().Seconds()
	began, _ := s.From.Sub(result.Summary.Manifest.Began)
	t.say("%-40s %d", "In flight at least:", s.Threshold)
	t.say("%-40s %.2f to %.2f", "From / to (s after the start):", began.Seconds(), began.Seconds()+seconds)
	t.say("%-40s %d, %.2f s in all", "Dips below:", s.Dips, s.Dipped.Seconds())
	t.say("%-40s %d", "Requests begun and ended inside:", s.Requests)
	t.say("%-40s %.2f", "Request throughput (req/s):", s.RequestRate)
	t.say("%-40s %.2f", "Output token throughput (tok/s):", s.OutputRate)
	least := max(10, 0.1*result.Summary.Duration)
	if o.SteadyStateMinWindow != nil {
		least = *o.SteadyStateMinWindow
	}
	var warning any
	if seconds < least {
		warning = fmt.Sprintf("the load was full for %.2f s only, less than %.2f s: send more requests", seconds, least)
	}
	// The names are the native client's; dips, dipped_s and requests are ours.
	window := pairs([][2]any{
		{"start_s", began.Seconds()}, {"end_s", began.Seconds() + seconds}, {"duration_s", seconds}, {"target_concurrency", *o.MaxConcurrency},
		{"threshold", o.SteadyStateThreshold}, {"threshold_abs", s.Threshold}, {"observed_peak", s.Peak}, {"requests_started_in_window", s.Began},
		{"requests_completed_in_window", s.Ended}, {"requests_total", s.Answered}, {"warning", warning},
		{"dips", s.Dips}, {"dipped_s", s.Dipped.Seconds()}, {"requests", s.Requests},
	})
	d := pairs([][2]any{{"window", window}, {"request_throughput", s.RequestRate}, {"input_throughput", nil}, {"output_throughput", s.OutputRate}, {"total_token_throughput", nil}})
	if s.InputUnknown == 0 {
		input := float64(s.InputTokens) / seconds
		d.Set("input_throughput", input)
		d.Set("total_token_throughput", input+s.OutputRate)
	}
	for _, name := range o.Metrics {
		m, known := results.MetricNamed(name)
		stat, ok := s.Stats[name]
		if !known || !ok || name != "ttft" && name != "tpot" && name != "itl" && name != "e2el" {
			continue
		}
		t.say("%-40s %.2f", "Mean "+m.Label+" (ms):", stat.Mean)
		t.say("%-40s %.2f", "Median "+m.Label+" (ms):", stat.Median)
		d.Set("mean_"+name+"_ms", stat.Mean)
		d.Set("median_"+name+"_ms", stat.Median)
		d.Set("std_"+name+"_ms", stat.Std)
		list := []any{}
		for _, p := range stat.Percentiles {
			t.say("%-40s %.2f", "P"+percent(p.P)+" "+m.Label+" (ms):", p.Value)
			d.Set("p"+percent(p.P)+"_"+name+"_ms", p.Value)
			list = append(list, []any{p.P, p.Value})
		}
		if name == "ttft" { // the native client has these as a list
			d.Set("percentiles_ttft_ms", list)
		}
	}
	if warning != nil {
		t.say("warning: %s", warning)
	}
	if s.Dips > 0 {
		t.say("warning: the load fell below the threshold %s", fmt.Sprintf("%d times: the server or the client was not kept busy", s.Dips))
	}
	return json.RawMessage(argparse.Dumps(d)), t.err
}
