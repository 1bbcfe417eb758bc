package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
)

// carryOutSeries makes all runs of a scenario with repeats, a sweep or a search, and prints what came of them.
func carryOutSeries(cmd *cobra.Command, i *interrupts, s *scenario.Scenario, o scenario.SeriesOptions) error {
	if o.Shard.N > 1 || o.StartAt != 0 {
		return errors.New("several runs cannot be dealt to shards at a common start: leave --shard and --start-at out")
	}
	progress := newProgress(cmd.ErrOrStderr())
	o.Watcher, o.Leave = progress, i.leave
	x, err := scenario.RunSeries(cmd.Context(), s, o)
	progress.close()
	return closeSeries(cmd, x, o, err)
}

// closeSeries prints a series' table, says where it is, and how to go on where it is not complete.
func closeSeries(cmd *cobra.Command, x *scenario.Index, o scenario.SeriesOptions, err error) error {
	if x == nil {
		return err // the scenario itself is wrong, or the folder is another's
	}
	if textErr := x.Text(cmd.OutOrStdout()); textErr != nil {
		return failed(errors.Join(err, textErr))
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "\nindex:  %s\ntable:  %s\nruns:   %s\n", relative(o.Dir)+"/"+scenario.IndexFile, relative(o.Dir)+"/"+scenario.TableFile,
		relative(o.Dir)+"/"+scenario.RunsFolder)
	if !x.Complete {
		fmt.Fprintf(w, "not complete: the same command with --out %s goes on; runs that ended are not made again\n", relative(o.Dir))
	}
	failures := 0
	for _, r := range x.Runs {
		if r.Status == scenario.RunFailed && x.Kind != "search" {
			failures++
		}
	}
	switch {
	case err != nil:
		return failed(err)
	case failures > 0:
		return failed(fmt.Errorf("%d of %d runs failed; --retry-failed makes them again", failures, len(x.Runs)))
	case x.Missed() != "":
		return exitCode{exitMissed, errors.New(x.Missed())}
	}
	return nil
}
