package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"servebench/internal/python"
	"servebench/loadgen/scenario"
	"servebench/loadgen/server"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// A benchTalk says on stdout what vllm bench serve says there, in the same places: scripts look for its
// lines. It is used with --compat vllm alone; otherwise stdout is for the report.
type benchTalk struct {
	o *benchOptions
	w io.Writer
	// held are lines behind the profiler's start, whose outcome is known later.
	held []string
	hold bool
	err  error
}

func (t *benchTalk) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if t.hold {
		t.held = append(t.held, line)
		return
	}
	t.print(line)
}

func (t *benchTalk) print(line string) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, line)
	}
}

// attach lets it hear the run.
func (t *benchTalk) attach(options *scenario.Options) {
	o := t.o
	t.say("%s", o.namespace(os.Getenv))
	if o.Model == nil {
		t.say("Model not specified, fetching first model from server...")
	}
	settings, check := options.Settings, options.Check
	model := ""
	options.Settings = func(st *results.Settings) {
		settings(st)
		model = st.ModelID
		if o.Model == nil {
			t.say("First model name: %s, first model id: %s", st.Model, st.ModelID)
		}
	}
	options.Aligned = func(server, client int, err error) { t.aligned(model, server, client, err) }
	options.Check = func(p scenario.Point) error {
		if p == scenario.Identified && o.FaultAt(afterModel) == nil && o.DatasetName == "timed_trace" {
			t.say(`timed-trace: chunk_size: %d, sec_multiplier: %s, label_ts: "%s", label_input_length: "%s", label_output_length: "%s", label_hash_ids: "%s"`,
				o.TraceChunkHashSize, python.Float(o.TraceSecMultiplier), o.TraceTimestampKey, o.TraceInputLengthKey, o.TraceOutputLengthKey, o.TraceHashIDsKey)
		}
		if p == scenario.Loading {
			t.traffic()
		}
		if err := check(p); err != nil {
			return err
		}
		switch p {
		case scenario.Prepared:
			t.advise()
			if err := o.FaultAt(afterAdvice); err != nil {
				return err
			}
			t.prepared()
			return o.FaultAt(beforeCheck)
		case scenario.Answered:
			if o.ReadyTimeoutSecs > 0 {
				t.say("Initial test run completed.")
			}
			if o.NumWarmups > 0 {
				t.say("Warming up with %d requests...", o.NumWarmups)
			}
			return o.FaultAt(beforeWarmup)
		case scenario.Warmed:
			if o.NumWarmups > 0 {
				t.say("Warmup run completed.")
			}
			t.say("Starting main benchmark run...")
			if o.Profile {
				t.say("Starting profiler...")
				t.hold = true
			}
		}
		return nil
	}
}

func (t *benchTalk) aligned(model string, count, want int, err error) {
	var status *server.StatusError
	switch {
	case err == nil && count == want:
	case err == nil:
		t.say("WARNING: tokenizer mismatch (server=%d, expected=%d), re-aligning prompts.", count, want)
	case errors.As(err, &status) && status.Status == 404:
		t.say("WARNING: /tokenize unavailable (404 Not Found: either this server has no /tokenize route, or it does not serve a model named `%s` "+
			"(its served names are listed by GET /v1/models)), skipping alignment.", model)
	case errors.As(err, &status):
		t.say("WARNING: /tokenize unavailable (HTTP %d), skipping alignment.", status.Status)
	default:
		t.say("WARNING: %s unreachable (%v), skipping alignment.", t.o.RootURL, err)
	}
}

func (t *benchTalk) advise() {
	if !t.o.Kind.Pooling && t.o.Temperature == nil {
		t.say("WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by default. The default will be determined on the server side " +
			"and can be model/API specific. For the old behavior, include --temperature=0.")
	}
}

func (t *benchTalk) prepared() {
	o := t.o
	t.say("Starting initial single prompt test run...")
	if o.ReadyTimeoutSecs > 0 {
		t.say("Waiting for endpoint to become up in %d seconds", o.ReadyTimeoutSecs)
	} else {
		t.say("Skipping endpoint ready check.")
	}
}

// traffic says how the load is paced.
func (t *benchTalk) traffic() {
	o := t.o
	if o.SelfTimed {
		t.say("Self timing is set, using the timestamps from the trace file.")
		return
	}
	st := results.Settings{RequestRate: results.Number(o.RequestRate), Burstiness: results.Number(o.Burstiness), ProbeRate: o.ProbeRate}
	if o.MaxConcurrency != nil {
		st.MaxConcurrency = *o.MaxConcurrency
	}
	if o.RampStrategy != nil {
		st.RampUp = &results.RampUp{Strategy: *o.RampStrategy, StartRPS: *o.RampStart, EndRPS: *o.RampEnd}
	}
	var text strings.Builder
	_ = report.Traffic(&text, &st) // a builder takes everything
	t.say("%s", strings.TrimSuffix(text.String(), "\n"))
}

// loaded says what was held back.
func (t *benchTalk) loaded(profile *results.Profile) {
	if !t.hold {
		return
	}
	t.hold = false
	if profile != nil && profile.Start.Error == "" && profile.Start.Answered != 0 {
		t.print("Profiler started")
	}
	for _, line := range t.held {
		t.print(line)
	}
}

// outcome prints what stands above the table.
func (t *benchTalk) outcome(s *summary.Summary) error {
	t.err = errors.Join(t.err, report.Failures(t.w, s))
	if !t.o.Kind.Pooling && s.Completed > 0 {
		t.print("tip: install termplotlib and gnuplot to plot the metrics")
	}
	return t.err
}

// report prints failures and the table.
func (t *benchTalk) report(s *summary.Summary) error {
	t.err = errors.Join(t.outcome(s), report.VLLMTable(t.w, s))
	if profile := s.Manifest.Profile; profile != nil {
		t.print("Stopping profiler...")
		if profile.Start.Error == "" && profile.Stop.Error == "" {
			t.print("Profiler stopped")
		}
	}
	return t.err
}
