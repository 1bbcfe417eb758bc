package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// printReport prints what a run found: the table, and under it what the trace says.
func printReport(w io.Writer, r *scenario.Result) error {
	return report.Text(w, r.Summary)
}

// formats are the forms of a report.
var formats = map[string]func(io.Writer, *summary.Summary) error{
	"text":      report.Text,
	"vllm-json": func(w io.Writer, s *summary.Summary) error { _, err := w.Write(append(report.VLLMJSON(s), '\n')); return err },
	"json":      report.JSON,
}

func reportCommand() *cobra.Command {
	format := "text"
	names := make([]string, 0, len(formats))
	for name := range formats {
		names = append(names, name)
	}
	slices.Sort(names)
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Print the report of a saved run",
		Example: "  servebench report runs/gaudi-e2e-multi-20260102-030405\n" +
			"  servebench report --format vllm-json runs/gaudi-e2e-multi-20260102-030405",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			print, ok := formats[format]
			if !ok {
				return fmt.Errorf("no format %q: have %s", format, list(names))
			}
			run, err := results.Open(args[0])
			if err != nil {
				return failed(err)
			}
			defer run.Close()
			s, err := summary.OfRun(run)
			if err != nil {
				return failed(err)
			}
			return failed(print(cmd.OutOrStdout(), s))
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "the `form`: "+list(names))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

