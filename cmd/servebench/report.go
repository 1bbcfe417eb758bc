package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/page"
	"servebench/results/report"
	"servebench/results/summary"
)

func reportCommand() *cobra.Command {
	format, formats := "text", append(report.Formats(), "html")
	as := ""
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Print the report of a saved run, sweep or search",
		Long: `report prints the report of a saved run again: as text, as every figure in JSON, as Markdown or CSV, as JUnit XML for pipelines (objectives, the client's
verdict and the audit's checks are its test cases), or with a row a request, as CSV or Parquet. A folder with a sweep, a search, repeats or an A/B
comparison has a text, CSV (a row a run), JSON, JUnit (a suite a point) and a page.`,
		Example: "  servebench report runs/gaudi-e2e-multi-20260102-030405\n" +
			"  servebench report --format vllm-json runs/gaudi-e2e-multi-20260102-030405\n" +
			"  servebench report --format junit runs/gaudi-e2e-multi-20260102-030405 > junit.xml\n" +
			"  servebench report --format parquet runs/gaudi-e2e-multi-20260102-030405 > requests.parquet\n" +
			"  servebench report --as genai-perf runs/gaudi-e2e-multi-20260102-030405",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return fmt.Errorf("no format %q: have %s", format, list(formats))
			}
			if as != "" && !slices.Contains(report.Tools(), as) {
				return fmt.Errorf("no definitions of %q: have %s", as, list(report.Tools()))
			}
			if x, err := scenario.OpenIndex(args[0]); !errors.Is(err, fs.ErrNotExist) {
				if err == nil {
					err = reportSeries(cmd.OutOrStdout(), x, args[0], format, as)
				}
				return failed(err)
			}
			run, err := results.Open(args[0])
			if err != nil {
				return failed(err)
			}
			defer run.Close()
			if as != "" {
				return failed(report.As(cmd.OutOrStdout(), run, as))
			}
			var s *summary.Summary
			if run.Manifest().Began != 0 || run.Len() > 0 { // else no load was sent: a script's run, or one that ended before
				if s, err = summary.OfRun(run); err != nil {
					return failed(err)
				}
			}
			if format != "text" {
				if s == nil {
					return failed(fmt.Errorf("%s: no load was sent, so there are no figures: %s", args[0], run.Manifest().Reason))
				}
				if format == "html" {
					return failed(writePage(cmd.OutOrStdout(), run))
				}
				return failed(report.Write(cmd.OutOrStdout(), format, s, run.Records()))
			}
			server, err := scenario.ServerAnswers(run)
			if err != nil {
				return failed(err)
			}
			if s == nil && server == nil {
				return failed(fmt.Errorf("%s: nothing was measured: %s", args[0], run.Manifest().Reason))
			}
			return failed(printRun(cmd.OutOrStdout(), s, server, report.Options{}))
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "the `form`: "+list(formats))
	cmd.Flags().StringVar(&as, "as", "", "the figures by another `tool`'s definitions, and what differs: "+list(report.Tools()))
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions(report.Tools(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// reportSeries writes the report of a series.
func reportSeries(w io.Writer, x *scenario.Index, dir, format, as string) error {
	switch {
	case as != "":
		return fmt.Errorf("%s holds a %s: --as takes one run, of those in %s", dir, x.Kind, filepath.Join(dir, scenario.RunsFolder))
	case format == "html":
		s := seriesOf(x, ".")
		s.Index = ""
		for i := range s.Points { // nobody serves the pages that these lead to
			p := &s.Points[i]
			for n := range p.Runs {
				p.Runs[n].Link = ""
			}
			if p.Search != nil {
				p.Search.Link = ""
			}
		}
		return page.WriteSeries(w, s)
	}
	return x.Write(w, format)
}
