package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/loadgen/server"
	"servebench/profiles/breakdown"
	"servebench/profiles/merge"
	"servebench/profiles/trace"
	"servebench/results"
)

// traceFlags shape an analysis.
type traceFlags struct {
	window, steps, format, out string
	options                    breakdown.Options
}

func (f *traceFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.window, "window", "", "only this part, `A..B` after the window's start, as in 100ms..2s; either end may be left out")
	flags.StringVar(&f.steps, "steps", "", "only these engine steps, `K..N`, counted from 1")
}

// read takes the words apart.
func (f *traceFlags) read() error {
	if f.window != "" {
		from, to, ok := strings.Cut(f.window, "..")
		var err1, err2 error
		if from != "" {
			f.options.From, err1 = time.ParseDuration(from)
		}
		if to != "" {
			f.options.To, err2 = time.ParseDuration(to)
		}
		if !ok || errors.Join(err1, err2) != nil {
			return fmt.Errorf("--window %s: want A..B with durations, as in 100ms..2s", f.window)
		}
		if f.options.From < 0 || to != "" && f.options.To <= f.options.From {
			return fmt.Errorf("--window %s: want A..B with A before B and not before the window's start, as in 100ms..2s", f.window)
		}
	}
	if f.steps != "" {
		from, to, ok := strings.Cut(f.steps, "..")
		first, err1 := strconv.Atoi(from)
		last, err2 := first, error(nil)
		if ok {
			last, err2 = strconv.Atoi(to)
		}
		if errors.Join(err1, err2) != nil || first < 1 || last < first {
			return fmt.Errorf("--steps %s: want K..N, counted from 1, as in 10..20", f.steps)
		}
		f.options.FirstStep, f.options.LastStep = first, last
	}
	return nil
}

// traceForms are the forms of an analysis.
var traceForms = map[string]func(*breakdown.Report, io.Writer) error{
	"text": (*breakdown.Report).WriteText,
	"csv":  (*breakdown.Report).WriteCSV,
	"html": (*breakdown.Report).WriteHTML,
	"json": func(r *breakdown.Report, w io.Writer) error {
		b, err := r.JSON()
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	},
}

func traceCommand() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace FILE|DIR|RUN...",
		Short: "Say what a profiler's trace says: steps, gaps, recompilations, kernels, Python",
		Long: `trace reads profiler traces of any size (Kineto JSON of vLLM, SGLang, Gaudi and others, packed or not, whole or cut) and
answers exactly. Several files are the ranks of one run. A run folder stands for its merged trace.`,
		Example: "  servebench trace runs/gaudi-e2e-multi-20260102-030405\n" +
			"  servebench trace --format json --steps 10..20 rank0.1790857026000000000.pt.trace.json.gz",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			form, ok := traceForms[f.format]
			if !ok {
				return fmt.Errorf("no format %q: have csv, html, json, text", f.format)
			}
			if err := f.read(); err != nil {
				return err
			}
			paths, err := tracePaths(args)
			if err != nil {
				return failed(err)
			}
			report, err := breakdown.Analyze(cmd.Context(), paths, f.options)
			if err != nil {
				return failed(err)
			}
			return failed(form(report, cmd.OutOrStdout()))
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "text", "the `form`: csv, html, json, text")
	flags.DurationVar(&f.options.GapThreshold, "gap-threshold", time.Microsecond, "the shortest gap that gets a reason")
	flags.IntVar(&f.options.Top, "top", 50, "`rows` of lists of names; -1 shows all")
	flags.StringVar(&f.options.By, "by", "short", "what the table of names is by: name, short, group, file, package, module")
	flags.StringVar(&f.options.Thread, "thread", "", "Python times of threads whose name or id contains this `text`")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "html", "json", "text"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(traceMergeCommand(), traceSliceCommand(), traceThinCommand(), traceConvertCommand(), traceOpenCommand())
	return cmd
}

// tracePaths are the files that the words stand for: files, the worker traces in a folder, or the merged trace of a run.
func tracePaths(args []string) ([]string, error) {
	var paths []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			paths = append(paths, arg)
			continue
		}
		merged := filepath.Join(arg, merge.FileName)
		if _, err := os.Stat(merged); err == nil {
			paths = append(paths, merged)
			continue
		}
		found, err := workerTraces(arg)
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	return paths, nil
}

// workerTraces are the workers' traces in a folder, or in the folder traces of a run.
func workerTraces(dir string) ([]string, error) {
	for _, place := range []string{filepath.Join(dir, "traces"), dir} {
		var found []string
		for _, pattern := range []string{"*.trace.json", "*.trace.json.gz", "*.trace.json.zst", "server_events_*.json"} {
			list, err := filepath.Glob(filepath.Join(place, pattern))
			if err != nil {
				return nil, err
			}
			for _, path := range list {
				if !strings.Contains(filepath.Base(path), ".async_llm.") && filepath.Base(path) != merge.FileName {
					found = append(found, path)
				}
			}
		}
		if found != nil {
			slices.Sort(found)
			return found, nil
		}
	}
	return nil, fmt.Errorf("%s: no worker's trace there (*.trace.json, *.trace.json.gz)", dir)
}

// output is the flag -o, which these commands need.
func output(cmd *cobra.Command, out *string) {
	cmd.Flags().StringVarP(out, "output", "o", "", "the `file` to write; .gz and .zst pack it")
	_ = cmd.MarkFlagRequired("output")
}

// fresh refuses to overwrite.
func fresh(path string) error {
	if _, err := os.Stat(path); err == nil {
		return failed(fmt.Errorf("%s exists: nothing is overwritten", path))
	}
	return nil
}

func traceMergeCommand() *cobra.Command {
	var out, client string
	cmd := &cobra.Command{
		Use:   "merge RUN|SERVER_TRACE...",
		Short: "Put a run's requests into the server's trace, and several ranks into one file",
		Example: "  servebench trace merge runs/bench-serve-20260102-030405 -o merged.trace.json.gz\n" +
			"  servebench trace merge rank0.pt.trace.json.gz rank1.pt.trace.json.gz --client runs/bench-serve-20260102-030405 -o merged.trace.json.gz",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fresh(out); err != nil {
				return err
			}
			var paths []string
			for _, arg := range args {
				info, err := os.Stat(arg)
				if err != nil {
					return failed(err)
				}
				if !info.IsDir() {
					paths = append(paths, arg)
					continue
				}
				found, err := workerTraces(arg)
				if err != nil {
					return failed(err)
				}
				paths = append(paths, found...)
				if _, err := os.Stat(filepath.Join(arg, "manifest.json")); err == nil && client == "" {
					client = arg
				}
			}
			analysis, err := breakdown.Analyze(cmd.Context(), paths, breakdown.Options{})
			if err != nil {
				return failed(err)
			}
			if client == "" {
				return failed(joinRanks(out, paths, analysis))
			}
			run, err := results.Open(client)
			if err != nil {
				return failed(err)
			}
			defer run.Close()
			target := server.Target{BaseURL: run.Manifest().Settings.BaseURL}
			merged, err := scenario.MergeTraces(out, scenario.MergeInput{
				Run: run, Paths: paths, Analysis: analysis, SameHost: run.Manifest().Server.Command != nil || target.Local(cmd.Context()),
			})
			if err != nil {
				return failed(err)
			}
			for _, w := range merged.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			c := merged.Comparison
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d requests; %d linked to their steps, %d with a doubt, %d not\n", out, merged.Requests, c.Linked, c.Ambiguous, c.Unlinked)
			return nil
		},
	}
	output(cmd, &out)
	cmd.Flags().StringVar(&client, "client", "", "the `run` whose requests go in")
	return cmd
}

// joinRanks puts several ranks into one file.
func joinRanks(out string, paths []string, analysis *breakdown.Report) error {
	var ranks []trace.Rank
	for i, path := range paths {
		rank := trace.Rank{Path: path, Rank: i}
		if i < len(analysis.Files) && analysis.Files[i].Rank != nil {
			rank.Rank = *analysis.Files[i].Rank
		}
		ranks = append(ranks, rank)
	}
	_, err := trace.Join(out, ranks, trace.Additions{})
	return err
}

// conversion is the flag --to of the commands that write a trace.
type conversion string

func (c *conversion) register(cmd *cobra.Command) {
	cmd.Flags().StringVar((*string)(c), "to", "json", "the `form` to write: json, or perfetto (its own, four times smaller; no other viewer reads it)")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"json", "perfetto"}, cobra.ShellCompDirectiveNoFileComp))
}

func (c conversion) check() error {
	if c != "json" && c != "perfetto" {
		return fmt.Errorf("no form %q: have json, perfetto", string(c))
	}
	return nil
}

// write has make write a JSON trace to out, or to a file of its own that is converted to out.
func (c conversion) write(out string, make func(path string) error) error {
	if c == "json" {
		return make(out)
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), ".servebench-*")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	between := filepath.Join(dir, "trace.json")
	if err := make(between); err != nil {
		return err
	}
	return toPerfetto(out, between)
}

// toPerfetto converts a trace and reads the result back.
func toPerfetto(out, src string) error {
	wrote, _, err := trace.WritePerfetto(out, src)
	if err != nil {
		return failed(err)
	}
	f, err := os.Open(out)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	read, err := trace.ReadPerfetto(f, func(*trace.PerfettoEvent) error { return nil })
	if err == nil && read.Events() != wrote.Events() {
		err = fmt.Errorf("%d events were written and %d read back", wrote.Events(), read.Events())
	}
	if err != nil {
		return failed(fmt.Errorf("%s: %w", out, errors.Join(err, os.Remove(out))))
	}
	return nil
}

func traceSliceCommand() *cobra.Command {
	var f traceFlags
	var around string
	var clip bool
	var to conversion
	cmd := &cobra.Command{
		Use:   "slice FILE",
		Short: "Cut the part worth looking at out of a trace",
		Long: `slice writes a part of a trace: a stretch of time, some engine steps, or what lies around something. Figures are worked out on the
whole trace, never on a slice: device work that was launched before it is missing there.`,
		Example: "  servebench trace slice merged.trace.json.gz --around slowest-step -o slowest.trace.json.gz\n" +
			"  servebench trace slice merged.trace.json.gz --steps 10..12 --to perfetto -o steps.pftrace",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.read(); err != nil {
				return err
			}
			given := 0
			for _, word := range []string{f.window, f.steps, around} {
				if word != "" {
					given++
				}
			}
			if given != 1 {
				return errors.New("give one of --window, --steps and --around")
			}
			if err := to.check(); err != nil {
				return err
			}
			if err := fresh(f.out); err != nil {
				return err
			}
			report, err := breakdown.Analyze(cmd.Context(), args, breakdown.Options{})
			if err != nil {
				return failed(err)
			}
			var start, end int64
			note := "window " + f.window
			switch {
			case around != "":
				note = "around " + around
				start, end, err = report.Around(around)
			case f.steps != "":
				note = "steps " + f.steps
				start, end, err = report.StepWindow(f.options.FirstStep, f.options.LastStep)
			case report.Window == nil:
				err = errors.New("the trace has no window")
			case f.options.From.Nanoseconds() >= report.Window.Length():
				err = fmt.Errorf("the window begins %v after the start of a trace of %v", f.options.From, time.Duration(report.Window.Length()))
			default:
				start, end = report.Window.Start+f.options.From.Nanoseconds(), report.Window.End
				if f.options.To > 0 {
					end = report.Window.Start + f.options.To.Nanoseconds()
				}
			}
			if err != nil {
				return failed(fmt.Errorf("%s: %w", args[0], err))
			}
			return to.write(f.out, func(path string) error {
				result, err := trace.Slice(path, args[0], trace.Cut{Start: start, End: end, Clip: clip, Calls: true, Note: note})
				if err != nil {
					return failed(err)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: kept %d of %d events\n", f.out, result.Kept, result.Read)
				return nil
			})
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&around, "around", "", "what to look at: slowest-step, compile or request:`ID`")
	cmd.Flags().BoolVar(&clip, "clip", false, "cut slices at the edges instead of keeping them whole")
	to.register(cmd)
	output(cmd, &f.out)
	return cmd
}

func traceThinCommand() *cobra.Command {
	var out, target string
	var to conversion
	cmd := &cobra.Command{
		Use:   "thin FILE",
		Short: "Make a trace small enough for the browser",
		Long: `thin takes away what viewers do not show first and what people look for last, until the file is small enough, and says what went. Device work,
annotations, steps and compiles stay. Figures are worked out on the whole trace, never on a thinned one.`,
		Example: "  servebench trace thin merged.trace.json.gz --target 100MB -o thin.trace.json.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			size, err := parseBytes(target)
			if err != nil {
				return fmt.Errorf("--target: %w", err)
			}
			if err := to.check(); err != nil {
				return err
			}
			if err := fresh(out); err != nil {
				return err
			}
			return to.write(out, func(path string) error {
				result, err := trace.Thin(path, args[0], size)
				if err != nil {
					return failed(err)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: kept %d of %d events, %d bytes\n", out, result.Kept, result.Read, result.Bytes)
				for _, r := range result.Removed {
					fmt.Fprintln(cmd.ErrOrStderr(), "  taken away: "+r)
				}
				if !result.Reached {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: larger than %s although all that may go is gone: slice it first\n", target)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&target, "target", "100MB", "the largest `size` of the file, as in 100MB or 500KB")
	to.register(cmd)
	output(cmd, &out)
	return cmd
}

func traceConvertCommand() *cobra.Command {
	var out string
	var to conversion
	cmd := &cobra.Command{
		Use:     "convert FILE",
		Short:   "Write a trace as strict JSON or in Perfetto's own form",
		Example: "  servebench trace convert merged.trace.json.gz --to perfetto -o merged.pftrace",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := to.check(); err != nil {
				return err
			}
			if err := fresh(out); err != nil {
				return err
			}
			if to == "perfetto" {
				return toPerfetto(out, args[0])
			}
			_, err := trace.InsertFile(out, args[0], trace.Additions{})
			return failed(err)
		},
	}
	to.register(cmd)
	output(cmd, &out)
	return cmd
}

// parseBytes reads a size: digits with B, KB, MB or GB (decimal), or KiB, MiB, GiB.
func parseBytes(text string) (int64, error) {
	units := []struct {
		suffix string
		size   float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || n <= 0 || n*u.size >= 1<<62 {
			break
		}
		return int64(n * u.size), nil
	}
	return 0, fmt.Errorf("%q is no size: write 100MB, 500KB or 1GiB", text)
}
