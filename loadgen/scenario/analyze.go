package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"servebench/profiles"
	"servebench/profiles/breakdown"
	"servebench/profiles/merge"
	"servebench/results"
	"servebench/results/report"
)

// analyze answers what happened inside the server and puts the requests into its trace. The run is closed by then: what
// is read is what was kept.
func (r *runner) analyze(ctx context.Context, result *Result) error {
	ctx = context.WithoutCancel(ctx) // an interrupted run is analysed too
	if r.Leave != nil {
		ctx = r.Leave
	}
	files := r.collected.Of(profiles.Trace)
	if len(files) == 0 {
		files = r.collected.Of(profiles.Events)
	}
	if len(files) == 0 {
		files = r.collected.Of(profiles.Merged)
	}
	if len(files) == 0 {
		r.Watcher.Note("no worker's trace among the collected files: nothing to analyse")
		return nil
	}
	r.Watcher.Phase("analysing the trace")
	var paths []string
	var traces []merge.Trace
	for _, f := range files {
		paths = append(paths, f.Path)
		trace := merge.Trace{Path: f.Path, Rank: max(0, f.Rank)}
		if f.Named {
			trace.Stamp = f.Stamp
		}
		traces = append(traces, trace)
	}
	answers, err := breakdown.Analyze(ctx, paths, breakdown.Options{})
	if err != nil {
		return fmt.Errorf("the traces were collected, and could not be analysed: %w", err)
	}
	result.Server = &report.Server{Trace: answers}
	err = r.mergeTraces(ctx, result, answers, traces)
	text, jsonErr := json.MarshalIndent(result.Server, "", "  ")
	if jsonErr != nil {
		return errors.Join(err, jsonErr)
	}
	return errors.Join(err, results.WriteFile(filepath.Join(r.Dir, ServerFile), append(text, '\n')))
}

// mergeTraces writes the merged file.
func (r *runner) mergeTraces(ctx context.Context, result *Result, answers *breakdown.Report, traces []merge.Trace) error {
	steps, others, err := merge.Found(answers, traces)
	if err != nil {
		return err
	}
	run, err := results.Open(r.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	var readErr error
	out := filepath.Join(r.Dir, merge.FileName)
	seed := r.Seed
	merged, err := merge.Merge(out, merge.Input{
		Traces: traces, Marks: r.session.Marks, Steps: steps, Others: others,
		Records: func(yield func(*results.Record) bool) {
			for rec, err := range run.Records() {
				if err != nil {
					readErr = err
					return
				}
				if !yield(rec) { // of every kind: each took part in the server's steps
					return
				}
			}
		},
		SameHost: r.host == nil || r.host.process != nil || r.host.sim != nil || r.target.Local(ctx),
		RunID:    filepath.Base(r.Dir), Tool: results.ToolVersion(), URL: results.RedactURL(r.Server.URL), Seed: &seed,
	})
	if err = errors.Join(err, readErr); err != nil {
		return fmt.Errorf("the traces were collected, and the requests could not be put into them: %w", err)
	}
	result.Merged = out
	for _, w := range merged.Warnings {
		r.Watcher.Warn(w)
	}
	clock := &report.ClockNote{Theta: merged.Clock.Theta, Method: merged.Clock.Method, Aligned: merged.Clock.Aligned}
	if merged.Clock.HasLo {
		clock.Lo = &merged.Clock.Lo
	}
	if merged.Clock.HasHi {
		clock.Hi = &merged.Clock.Hi
	}
	result.Server.Clock = clock
	if c := merged.Comparison; c.Linked+c.Ambiguous+c.Unlinked > 0 {
		result.Server.Requests = &report.RequestNote{
			Linked: c.Linked, Ambiguous: c.Ambiguous, Unlinked: c.Unlinked, Counted: c.NetworkQueue.N,
			NetworkQueue: nanoseconds(c.NetworkQueue.Mean), Prefill: nanoseconds(c.Prefill.Mean), Return: nanoseconds(c.Return.Mean),
		}
	}
	return nil
}

func nanoseconds(d time.Duration) int64 { return d.Nanoseconds() }

// ServerAnswers are what a saved run found in the server's trace; nil when it has none.
func ServerAnswers(run *results.Run) (*report.Server, error) {
	text, err := run.ReadFile(ServerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(report.Server)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(run.Dir(), ServerFile), err)
	}
	return s, nil
}
