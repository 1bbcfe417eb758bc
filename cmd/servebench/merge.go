package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

func mergeCommand() *cobra.Command {
	var out string
	var o results.MergeOptions
	cmd := &cobra.Command{
		Use:   "merge RUN... --out DIR",
		Short: "Put the shards of one run together",
		Long: `merge makes one run of the shards that several processes recorded. Its records are the shards' own, its figures those that one process
would have reported. Shards that are missing, died, came too late or belong to another run are refused by name.`,
		Example: `  servebench merge runs/job-17/shard-* --out runs/job-17/merged
  servebench merge shard-0 shard-1 shard-3 --allow-missing --out partial`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("merge takes the run folders of the shards")
			case out == "":
				return errors.New("merge needs --out, the folder of the merged run")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Judge, o.Doubts = scenario.Judge, busy
			merged, err := results.Merge(out, args, o)
			if err != nil {
				return failed(err)
			}
			for _, note := range merged.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note: "+note)
			}
			return settle(cmd, out, &merged.Manifest)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `folder` of the merged run")
	cmd.Flags().BoolVar(&o.AllowMissing, "allow-missing", false, "merge what there is: the result is marked as partial")
	cmd.Flags().BoolVar(&o.AllowLate, "allow-late", false, "merge shards that came too late for the common start")
	return cmd
}

// settle writes and prints the reports of a run that was just made, and fails when the run did.
func settle(cmd *cobra.Command, dir string, m *results.Manifest) error {
	s, err := scenario.WriteReports(dir)
	if err != nil {
		return failed(err)
	}
	if err := report.Text(cmd.OutOrStdout(), s, report.Options{}); err != nil {
		return failed(err)
	}
	parts(cmd.ErrOrStderr(), m)
	fmt.Fprintf(cmd.ErrOrStderr(), "run:    %s\nreport: servebench report %s\n", relative(dir), relative(dir))
	if m.Outcome != results.OK {
		return failed(errors.New(m.Reason))
	}
	return missedObjectives(s)
}

// parts says what a merged run was made of.
func parts(w io.Writer, m *results.Manifest) {
	if m.Merge == nil {
		return
	}
	for _, s := range m.Merge.Shards {
		records := "no last line"
		if s.Records != nil {
			records = fmt.Sprintf("%d records", s.Records.Count)
		}
		fmt.Fprintf(w, "shard %s: %s on %s, %s\n", s.Shard, s.Folder, s.Machine.Host, records)
	}
}

// busy doubts a shard whose client took more of its processors than the bound of a healthy client: among many shards it
// would hardly show in the figures of all.
func busy(m *results.Manifest) []string {
	length, ok := m.Ended.Sub(m.Began)
	if c := m.Client; ok && length > 0 && c != nil && c.CPU != nil && c.Cores > 0 {
		if share := c.CPU.Seconds() / length.Seconds() / float64(c.Cores); share > summary.CPUBound {
			return []string{fmt.Sprintf("the client used %.0f %% of its %d processors (bound %.0f %%)", share*100, c.Cores, summary.CPUBound*100)}
		}
	}
	return nil
}

func compactCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "compact RUN --out DIR",
		Short: "Copy a run that is over with its records packed tightly",
		Long: `compact copies a run folder and packs its records as tightly as they can be without losing any: every figure stays what it is. The
old folder is left alone.`,
		Example: "  servebench compact runs/nightly --out archive/nightly",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return fmt.Errorf("compact takes one run folder, not %d", len(args))
			case out == "":
				return errors.New("compact needs --out, the folder of the copy")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := results.Compact(out, args[0]); err != nil {
				return failed(err)
			}
			before, after := recordsSize(args[0]), recordsSize(out)
			fmt.Fprintf(cmd.ErrOrStderr(), "records: %s before, %s after\nrun:     %s\n", size(before), size(after), relative(out))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `folder` of the copy")
	return cmd
}

func recordsSize(dir string) int64 {
	info, err := os.Stat(dir + string(os.PathSeparator) + results.RecordsName)
	if err != nil {
		return 0
	}
	return info.Size()
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
