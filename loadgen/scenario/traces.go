package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"servebench/profiles"
)

// traceSources are where the server writes its traces, as this machine sees them.
func (r *runner) traceSources() []string {
	switch {
	case r.Profile == nil:
		return nil
	case r.host != nil && r.host.sim != nil:
		return []string{r.traceFolder(r.Dir)}
	case r.Profile.Traces != "":
		return []string{r.Profile.Traces}
	case r.host != nil && r.host.process != nil:
		return []string{r.traceFolder(r.Dir)}
	}
	return nil
}

// collect brings the bracket's files into the run.
func (r *runner) collect(from []string, earlier profiles.Listing) error {
	if len(from) == 0 && r.Profile.Collect == "" {
		r.warn("the traces stay where the server wrote them: say where that is with --trace-dir (a folder or a pattern), or how to bring them with profile.collect")
		return nil
	}
	patience := time.Duration(r.Profile.Within)
	if patience == 0 {
		patience = 2 * time.Minute
	}
	r.Watcher.Phase("collecting traces")
	// An interrupted run still wants its trace.
	ctx := r.Leave
	if ctx == nil {
		ctx = context.Background()
	}
	collected, err := profiles.Collect(ctx, profiles.Collection{
		From: from, Command: r.Profile.Collect, Into: filepath.Join(r.Dir, "traces"), Marks: r.session.Marks, Before: earlier, Ranks: r.Profile.Ranks,
		Patience: patience, Progress: func(text string) { r.Watcher.Waiting(0, text) },
	})
	r.collected = collected
	for _, w := range collected.Warnings {
		r.warn("%s", w)
	}
	if errors.Is(err, profiles.ErrNoTraces) {
		return fmt.Errorf("the run is complete, but its traces are missing: %w", err)
	}
	return err
}
