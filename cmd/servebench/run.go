package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// runFlags are the flags that say where and how a scenario runs.
type runFlags struct {
	url, out, traces string
	sim              bool
	sets             []string
	shard            string
	startAt          string
	clockReference   string
	profileOptional  bool
	maxFailures      int
	requireValid     bool

	check, dryRun, retryFailed bool
}

func runCommand(i *interrupts) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run PRESET|FILE.yaml",
		Short: "Carry out a scenario from end to end",
		Long: `run carries out a scenario: it starts the server that the scenario names (or uses the one at --url, or the simulator), waits
until it is ready, starts its profiler, sends the load, stops the profiler, collects the traces, puts the requests into them, and
prints the figures. Everything is kept in a run folder.

Where the scenario states objectives.bounds, such as p99 ttft <= 300ms, the report says which are met, and the exit status is 3 when one is missed; it is 1
when the run itself failed, and 2 when the command or the scenario is wrong.

A scenario with repeats, a sweep or a search makes several runs in one folder, with an index. Interrupted, the same command with --out
FOLDER goes on where it ended.`,
		Example: `  servebench run gaudi-e2e-multi --sim
  servebench run gaudi-e2e-multi --url http://127.0.0.1:8080 --trace-dir /tmp
  servebench run vllm-torch --sim --set load.rate=8 --set load.requests=40
  servebench run vllm-torch --sim --dry-run
  servebench run vllm-torch --sim --set "objectives.bounds=[p99 ttft <= 2s]" --set "report.formats=[junit]"
  servebench run vllm-torch --sim --set profile=null --set "sweep={grid: {load.concurrency: [1, 2, 4]}}"`,
		Args:              oneScenario,
		ValidArgsFunction: completeScenario,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.check {
				return checkScenario(cmd, args[0], f.sets)
			}
			s, err := scenario.Read(args[0], f.sets)
			if err != nil {
				return err
			}
			if f.profileOptional && s.Profile != nil {
				s.Profile.Optional = true
			}
			if cmd.Flags().Changed("max-failures") {
				s.Objectives.MaxFailures = &f.maxFailures
			}
			o, err := f.options(s)
			switch {
			case err != nil:
				return err
			case f.dryRun:
				return dryRun(cmd, s, o)
			case s.IsSeries():
				return carryOutSeries(cmd, i, s, scenario.SeriesOptions{Options: o, RetryFailed: f.retryFailed})
			}
			return carryOut(cmd, i, s, o, f.requireValid)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "", "use the server that runs at this `address`")
	flags.BoolVar(&f.sim, "sim", false, "use the built-in simulator")
	flags.StringArrayVar(&f.sets, "set", nil, "change a field of the scenario: `path=value`, as in load.rate=5; may be repeated")
	flags.StringVar(&f.out, "out", "", "the run `folder` (default runs/NAME-TIME)")
	flags.StringVar(&f.traces, "trace-dir", "", "the `folder` or pattern in which the server's traces appear on this machine")
	flags.StringVar(&f.shard, "shard", "", "send part `k/n` of the load, k from 0; auto takes both from Slurm, auto/n takes k from a Kubernetes Indexed Job")
	flags.StringVar(&f.startAt, "start-at", "", "begin the load at this `time`: 2026-01-31T12:00:00Z, Unix seconds, or +30s")
	flags.StringVar(&f.clockReference, "clock-reference", "", "with --shard: a time `server` (NTP) by which the clocks of the machines are compared")
	flags.BoolVar(&f.profileOptional, "profile-optional", false, "go on without a profile when the server refuses to start its profiler")
	flags.IntVar(&f.maxFailures, "max-failures", 0, "count the run as failed when more than `n` requests fail (default: when all do)")
	flags.BoolVar(&f.requireValid, "require-valid", false, "count a single run as failed unless the verdict on its client is ok")
	flags.BoolVar(&f.check, "check", false, "say whether the scenario has faults, all at once, and run nothing")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be run and sent, and run and send nothing")
	flags.BoolVar(&f.retryFailed, "retry-failed", false, "of a sweep taken up again, make runs again that failed")
	cmd.MarkFlagsMutuallyExclusive("url", "sim")
	cmd.MarkFlagsMutuallyExclusive("check", "dry-run")
	return cmd
}

// options are the scenario's circumstances.
func (f *runFlags) options(s *scenario.Scenario) (scenario.Options, error) {
	o := scenario.Options{Dir: f.out, URL: f.url, Sim: f.sim, Traces: f.traces, ClockReference: f.clockReference, Command: os.Args}
	if o.Dir == "" {
		name := s.Name
		if name == "" {
			name = "run"
		}
		o.Dir = freshFolder(filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405")))
	}
	if f.shard != "" {
		shard, err := shardOf(f.shard, os.Getenv)
		if err != nil {
			return o, fmt.Errorf("--shard: %w", err)
		}
		o.Shard = shard
	}
	if f.startAt != "" {
		at, err := startOf(f.startAt, time.Now())
		if err != nil {
			return o, fmt.Errorf("--start-at: %w", err)
		}
		o.StartAt = results.Moment(at.UnixNano())
	}
	return o, nil
}

// freshFolder is dir, or dir with a number where it exists already.
func freshFolder(dir string) string {
	name := dir
	for n := 2; ; n++ {
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", dir, n)
	}
}

// carryOut runs a scenario with progress on stderr and the report on stdout.
func carryOut(cmd *cobra.Command, i *interrupts, s *scenario.Scenario, o scenario.Options, requireValid bool) error {
	progress := newProgress(cmd.ErrOrStderr())
	o.Watcher, o.Leave = progress, i.leave
	result, err := scenario.Run(cmd.Context(), s, o)
	progress.close()
	if result == nil {
		return err // the scenario itself is wrong
	}
	err = errors.Join(err, printRun(cmd.OutOrStdout(), result.Summary, result.Server, report.Options{}))
	if result.Summary != nil {
		err = errors.Join(err, savePage(result.Dir))
	}
	where(cmd.ErrOrStderr(), result)
	if err != nil {
		return failed(err)
	}
	return verdictOn(result, requireValid)
}

// verdictOn is the error of a run that failed, or that did not meet what was asked of it.
func verdictOn(result *scenario.Result, requireValid bool) error {
	switch {
	case result.Outcome != results.OK:
		return failed(errors.New(result.Reason))
	case requireValid && (result.Summary == nil || result.Summary.Health.State != summary.Healthy):
		return failed(notValid(result.Summary))
	}
	return missedObjectives(result.Summary)
}

// notValid says why the figures are not to be relied on.
func notValid(s *summary.Summary) error {
	if s == nil {
		return errors.New("--require-valid: nothing was measured")
	}
	return errors.New("--require-valid: " + strings.Join(s.Warnings, "; "))
}

// missedObjectives is the error of a run that went well and missed an objective.
func missedObjectives(s *summary.Summary) error {
	if s == nil {
		return nil
	}
	var list []string
	for _, b := range s.Missed() {
		list = append(list, b.Bound+": "+b.Measured())
	}
	if len(list) == 0 {
		return nil
	}
	return exitCode{exitMissed, errors.New("objectives were missed: " + strings.Join(list, "; "))}
}

// printRun prints a run: the table, and under it what the server's trace says. Either may be missing.
func printRun(w io.Writer, s *summary.Summary, server *report.Server, o report.Options) error {
	var err error
	if s != nil {
		err = report.Text(w, s, o)
	}
	if err == nil && server != nil {
		err = report.Answers(w, server)
	}
	return err
}

// where says where everything is.
func where(w io.Writer, r *scenario.Result) {
	fmt.Fprintf(w, "run:    %s\n", relative(r.Dir))
	if r.Merged != "" {
		fmt.Fprintf(w, "trace:  %s (open it at https://ui.perfetto.dev)\n", relative(r.Merged))
	}
	if r.Summary != nil {
		fmt.Fprintf(w, "report: servebench report %s, or its page: servebench view %s\n", relative(r.Dir), relative(r.Dir))
	}
}

// relative shortens a path below the working folder.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(here, path)
	if err != nil || len(rel) > len(path) || rel[0] == '.' {
		return path
	}
	return rel
}

// oneScenario takes the arguments of a command that reads a scenario.
func oneScenario(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes one scenario, a preset or a file, not %d: presets are %s", cmd.Name(), len(args), list(scenario.Presets()))
	}
	return nil
}

// printFrom prints what is made of a scenario: of its fields, and of its text with what was set.
func printFrom(cmd *cobra.Command, name string, sets []string, made func(s *scenario.Scenario, text string) (string, error)) error {
	s, err := scenario.Read(name, sets)
	if err != nil {
		return err
	}
	text, err := scenario.YAML(name, sets)
	if err != nil {
		return err
	}
	out, err := made(s, text)
	if err != nil {
		return err
	}
	_, err = io.WriteString(cmd.OutOrStdout(), out)
	return failed(err)
}

func completeScenario(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return scenario.Presets(), cobra.ShellCompDirectiveDefault
}
