package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"servebench/results"
	"servebench/results/compare"
	"servebench/results/page"
)

// compareFlags are the flags of compare as they were written.
type compareFlags struct {
	groups, metrics, gates []string
	match, vary            []string
	percentiles            []string
	baseline, basis        string
	margin, confidence     string
	format                 string
	seed                   uint64
	force, undecidedFails  bool
}

// compareFormats are the forms of a comparison, the page among them.
func compareFormats() []string { return append(compare.Formats(), "html") }

func compareCommand() *cobra.Command {
	f := compareFlags{margin: "2%", confidence: "95%", format: "text"}
	cmd := &cobra.Command{
		Use:   "compare A... -- B... | compare --group NAME=A,B ...",
		Short: "Compare runs: ratios with intervals, and verdicts that hold",
		Long: `compare holds runs against each other: for every metric and percentile the two values, their ratio with a confidence interval, and a
verdict. A run is a run folder, a result file of vllm bench serve (--save-result, better with --save-detailed), or a folder that holds
either, such as a sweep. Two arguments are two groups; "--" parts longer ones; the runs of a group are repeats of one another.

With three runs or more on each side, runs are the sample. With fewer, requests are drawn again in blocks, and the intervals
know what varies inside a run only. Verdicts are corrected for the number of figures. A gate is missed (exit status 3) when the figure got worse
beyond chance and by more than its bar; one that could not be decided is a warning, unless --fail-undecided is given.`,
		Example: `  servebench compare runs/before runs/after
  servebench compare runs/before-* -- runs/after-*
  servebench compare --fail-on "p99 ttft +5%" --fail-on "output_throughput -3%" old1 old2 old3 -- new1 new2 new3
  servebench compare --group fp16=a,b,c --group fp8=d,e,f --group int4=g,h,i --vary model
  servebench compare --match rate --format markdown sweeps/old sweeps/new`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := f.grouped(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			o, err := f.options()
			if err != nil {
				return err
			}
			if !slices.Contains(compareFormats(), f.format) {
				return fmt.Errorf("no format %q: have %s", f.format, list(compareFormats()))
			}
			var groups []*compare.Group
			for _, g := range names {
				group := &compare.Group{Name: g.name}
				for _, path := range g.paths {
					runs, err := compare.Open(path, o)
					if err != nil {
						return failed(err)
					}
					group.Runs = append(group.Runs, runs...)
				}
				groups = append(groups, group)
			}
			report, err := compared(groups, o)
			if err != nil {
				return err
			}
			write := compare.Write
			if f.format == "html" {
				write = func(w io.Writer, _ string, r *compare.Report) error { return page.WriteComparison(w, r, "") }
			}
			if err := write(cmd.OutOrStdout(), f.format, report); err != nil {
				return failed(err)
			}
			return f.verdict(cmd.ErrOrStderr(), report)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.groups, "group", nil, "a group of runs: `NAME=A,B`; may be repeated")
	flags.StringVar(&f.baseline, "baseline", "", "the group that the others are held against: its `name` (default: the first)")
	flags.StringSliceVar(&f.match, "match", nil, "compare only runs with the same values of these `fields`, such as rate,concurrency or a path of the scenario, such as dataset.input_len")
	flags.StringSliceVar(&f.vary, "vary", nil, "`fields` that are meant to differ, such as model")
	flags.StringSliceVar(&f.metrics, "metric", nil, "the `metrics` to compare: "+list(compare.MetricNames()))
	flags.StringSliceVar(&f.percentiles, "percentiles", nil, "the `percentiles` of latencies (default 50,90,99,99.9)")
	flags.StringVar(&f.basis, "basis", "", "what latencies count from: service, response or vllm (default: as each run's report)")
	flags.StringVar(&f.margin, "margin", f.margin, "the `change` that makes no difference")
	flags.StringVar(&f.confidence, "confidence", f.confidence, "the `level` of intervals and verdicts")
	flags.Uint64Var(&f.seed, "seed", 0, "the `seed` for drawing requests again")
	flags.StringArrayVar(&f.gates, "fail-on", nil, "end with status 3 when this gets worse beyond chance and by more than the bar: `\"p99 ttft +5%\"`; may be repeated")
	flags.BoolVar(&f.undecidedFails, "fail-undecided", false, "end with status 3 also when a gate could not be decided")
	flags.BoolVar(&f.force, "force", false, "compare runs that are not comparable")
	flags.StringVar(&f.format, "format", f.format, "the `form`: "+list(compareFormats()))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(compareFormats(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("metric", cobra.FixedCompletions(compare.MetricNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// namedPaths is a group before its runs are opened.
type namedPaths struct {
	name  string
	paths []string
}

// grouped sorts the arguments into groups. dash is where the first "--" stood, -1 without one.
func (f *compareFlags) grouped(args []string, dash int) ([]namedPaths, error) {
	var groups []namedPaths
	for _, text := range f.groups {
		name, paths, ok := strings.Cut(text, "=")
		if !ok || name == "" || paths == "" {
			return nil, fmt.Errorf("--group %s: want NAME=A,B", text)
		}
		groups = append(groups, namedPaths{name, strings.Split(paths, ",")})
	}
	switch {
	case len(groups) > 0 && len(args) > 0:
		return nil, fmt.Errorf("%s stands outside every group: with --group, all runs belong to one", args[0])
	case len(groups) == 1:
		return nil, errors.New("one --group is not enough: a comparison takes two")
	case len(groups) > 0:
		return groups, nil
	}
	var parts [][]string
	switch {
	case dash >= 0:
		parts = append(parts, args[:dash])
		rest := args[dash:]
		for {
			at := slices.Index(rest, "--")
			if at < 0 {
				break
			}
			parts, rest = append(parts, rest[:at]), rest[at+1:]
		}
		parts = append(parts, rest)
	case len(args) == 2:
		parts = [][]string{args[:1], args[1:]}
	default:
		return nil, fmt.Errorf("%d runs without a \"--\" between them: write A... -- B..., or two runs alone", len(args))
	}
	for i, paths := range parts {
		for _, path := range paths {
			if strings.HasPrefix(path, "--") {
				return nil, fmt.Errorf("%s stands behind the \"--\": flags come before the runs", path)
			}
		}
		if len(paths) == 0 {
			return nil, errors.New("there is no run on one side of the \"--\"")
		}
		groups = append(groups, namedPaths{string(rune('A' + i%26)), paths})
	}
	// Groups of one run are named after it, if that tells them apart.
	var names []string
	for _, g := range groups {
		if name := filepath.Base(filepath.Clean(g.paths[0])); len(g.paths) == 1 && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == len(groups) {
		for i := range groups {
			groups[i].name = names[i]
		}
	}
	return groups, nil
}

func (f *compareFlags) options() (compare.Options, error) {
	o := compare.Options{
		Baseline: f.baseline, Metrics: f.metrics, Basis: results.Basis(f.basis), Match: f.match, Vary: f.vary, Seed: f.seed, Force: f.force,
	}
	var err error
	if o.Margin, err = share("margin", f.margin); err != nil {
		return o, err
	}
	if o.Margin == 0 {
		o.Margin = -1 // no margin at all, where zero stands for the usual one
	}
	if o.Confidence, err = share("confidence", f.confidence); err != nil {
		return o, err
	}
	for _, text := range f.percentiles {
		p, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return o, fmt.Errorf("--percentiles %s: want numbers such as 50,99", text)
		}
		o.Percentiles = append(o.Percentiles, p)
	}
	for _, text := range f.gates {
		g, err := compare.ParseGate(text)
		if err != nil {
			return o, fmt.Errorf("--fail-on: %w", err)
		}
		o.Gates = append(o.Gates, g)
	}
	return o, o.Check()
}

// share reads 2% or 0.02.
func share(flag, text string) (float64, error) {
	number, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("--%s %s: want a share such as 2%% or 0.02", flag, text)
	}
	if isPercent {
		v /= 100
	}
	return v, nil
}

// compared compares groups. That they may not be compared is the runs' fault; anything else is the command line's.
func compared(groups []*compare.Group, o compare.Options) (*compare.Report, error) {
	report, err := compare.Compare(groups, o)
	var refused *compare.RefusedError
	if errors.As(err, &refused) {
		return nil, failed(err)
	}
	return report, err
}

// verdict is the exit status that the gates give. A gate that holds nothing is a mistake, never a pass.
func (f *compareFlags) verdict(talk io.Writer, r *compare.Report) error {
	var missed, absent []string
	for _, g := range r.Gates {
		text := fmt.Sprintf("%s %s: %s: %s", g.Outcome, g.Gate, g.Comparison, g.Text)
		switch {
		case g.Outcome == compare.Missed || g.Outcome == compare.Undecided && f.undecidedFails:
			missed = append(missed, text)
		case g.Outcome == compare.Absent:
			absent = append(absent, text)
		case g.Outcome == compare.Undecided:
			fmt.Fprintln(talk, "warning: "+text)
		}
	}
	switch {
	case len(missed) > 0:
		return exitCode{exitMissed, errors.New(strings.Join(append(missed, absent...), "; "))}
	case len(absent) > 0:
		return failed(errors.New(strings.Join(absent, "; ")))
	}
	return nil
}
