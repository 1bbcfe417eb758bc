package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

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
	stamps := map[string]int64{}
	for _, f := range files {
		paths = append(paths, f.Path)
		if f.Named {
			stamps[f.Path] = f.Stamp
		}
	}
	answers, err := breakdown.Analyze(ctx, paths, breakdown.Options{})
	if err != nil {
		return fmt.Errorf("the traces were collected, and could not be analysed: %w", err)
	}
	result.Server = &report.Server{Trace: answers}
	run, err := results.Open(r.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	out := filepath.Join(r.Dir, merge.FileName)
	merged, err := MergeTraces(out, MergeInput{
		Run: run, Analysis: answers, Paths: paths, Stamps: stamps, Marks: &r.session.Marks,
		SameHost: r.host == nil || r.host.process != nil || r.host.sim != nil || r.target.Local(ctx),
	})
	if err != nil {
		err = fmt.Errorf("the traces were collected, and the requests could not be put into them: %w", err)
	} else {
		result.Merged = out
		for _, w := range merged.Warnings {
			r.Watcher.Warn(w)
		}
		result.Server.Clock, result.Server.Requests = clockNote(merged.Clock), requestNote(merged.Comparison)
	}
	text, jsonErr := json.MarshalIndent(result.Server, "", "  ")
	if jsonErr != nil {
		return errors.Join(err, jsonErr)
	}
	return errors.Join(err, results.WriteFile(filepath.Join(r.Dir, ServerFile), append(text, '\n')))
}

// A MergeInput is a run and the server's traces that belong to it.
type MergeInput struct {
	// Run holds the requests and the bracket's marks.
	Run *results.Run
	// Paths are the workers' traces, Analysis what an analysis of them in this order found.
	Paths    []string
	Analysis *breakdown.Report
	// Stamps are the server's times in the files' names, in Unix ns, where known.
	Stamps map[string]int64
	// SameHost says that client and server read one clock.
	SameHost bool
	// Marks are the bracket's; nil takes them from the run.
	Marks *profiles.Marks
}

// MergeTraces puts a run's requests into the server's traces, as one file at out.
func MergeTraces(out string, in MergeInput) (merge.Result, error) {
	var traces []merge.Trace
	for i, path := range in.Paths {
		t := merge.Trace{Path: path, Rank: i, Stamp: in.Stamps[path]}
		if i < len(in.Analysis.Files) && in.Analysis.Files[i].Rank != nil {
			t.Rank = *in.Analysis.Files[i].Rank
		}
		traces = append(traces, t)
	}
	steps, others, err := merge.Found(in.Analysis, traces)
	if err != nil {
		return merge.Result{}, err
	}
	m := in.Run.Manifest()
	input := merge.Input{
		Traces: traces, Steps: steps, Others: others, SameHost: in.SameHost, RunID: filepath.Base(in.Run.Dir()), Tool: results.ToolVersion(),
		URL: m.Settings.BaseURL, Seed: &m.Seed,
	}
	if in.Marks != nil {
		input.Marks = *in.Marks
	} else if p := m.Profile; p != nil {
		input.Marks = profiles.Marks{
			StartSent: int64(p.Start.Sent), StartAnswered: int64(p.Start.Answered), StopSent: int64(p.Stop.Sent), StopAnswered: int64(p.Stop.Answered),
			Called: p.Kind != "script" && p.Kind != "none",
		}
	}
	var readErr error
	input.Records = func(yield func(*results.Record) bool) {
		for rec, err := range in.Run.Records() {
			if err != nil {
				readErr = err
				return
			}
			if !yield(rec) { // of every kind: each took part in the server's steps
				return
			}
		}
	}
	merged, err := merge.Merge(out, input)
	return merged, errors.Join(err, readErr)
}

func clockNote(c merge.Clock) *report.ClockNote {
	note := &report.ClockNote{Theta: c.Theta, Method: c.Method, Aligned: c.Aligned}
	if c.HasLo {
		note.Lo = &c.Lo
	}
	if c.HasHi {
		note.Hi = &c.Hi
	}
	return note
}

// requestNote is nil without requests to speak of.
func requestNote(c merge.Comparison) *report.RequestNote {
	if c.Linked+c.Ambiguous+c.Unlinked == 0 {
		return nil
	}
	return &report.RequestNote{
		Linked: c.Linked, Ambiguous: c.Ambiguous, Unlinked: c.Unlinked, Counted: c.NetworkQueue.N, OnDevice: c.OnDevice,
		NetworkQueue: c.NetworkQueue.Mean.Nanoseconds(), Prefill: c.Prefill.Mean.Nanoseconds(), Return: c.Return.Mean.Nanoseconds(),
	}
}

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
