package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
)

// carryOutSeries makes all runs of a scenario with repeats, a sweep, a search or both, and prints what came of them.
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
	runs := scenario.RunsFolder
	if x.Kind == "searches" {
		runs = scenario.SearchesFolder
	}
	fmt.Fprintf(w, "\nindex:  %s\ntable:  %s\nruns:   %s\n", relative(o.Dir)+"/"+scenario.IndexFile, relative(o.Dir)+"/"+x.Table(), relative(o.Dir)+"/"+runs)
	if !x.Complete {
		fmt.Fprintf(w, "not complete: the same command with --out %s goes on; runs that ended are not made again\n", relative(o.Dir))
	}
	failures := 0
	for _, r := range x.Runs {
		if r.Status == scenario.RunFailed && x.Kind != "search" {
			failures++
		}
	}
	unsearched := 0
	for _, p := range x.Points {
		if p.Error != "" {
			unsearched++
		}
	}
	switch {
	case err != nil:
		return failed(err)
	case unsearched > 0:
		return failed(fmt.Errorf("%d of %d searches failed; --retry-failed makes their failed runs again", unsearched, len(x.Points)))
	case failures > 0:
		return failed(fmt.Errorf("%d of %d runs failed; --retry-failed makes them again", failures, len(x.Runs)))
	case x.Missed() != "":
		return exitCode{exitMissed, errors.New(x.Missed())}
	}
	return nil
}
