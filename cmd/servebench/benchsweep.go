package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
)

// sweepFlags are the flags of the sweeps that run something.
type sweepFlags struct {
	serveCmd, benchCmd, afterBench, startupCmd string
	showStdout                                 bool
	readyTimeout                               int
	serveParams, benchParams, startupParams    string
	linkVars                                   string
	outputDir, experiment                      string
	numRuns                                    int
	dryRun, resume, continueOnError            bool
	warmupPrompts                              int
	workloadVar                                string
	workloadIters                              int
	strictParams                               bool
}

func sweepCommand() *cobra.Command {
	sweep := &cobra.Command{
		Use:     "sweep",
		Short:   "The command lines of vllm bench sweep: many servers, many loads, and their plots",
		Args:    cobra.NoArgs,
		Example: "  servebench bench sweep serve --serve-cmd 'vllm serve m' --bench-cmd 'vllm bench serve --model m' --bench-params loads.json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	sweep.AddCommand(sweepServeCommand(), sweepWorkloadCommand(), sweepStartupCommand(), sweepPlotCommand(), sweepParetoCommand())
	for _, cmd := range sweep.Commands() {
		cmd.Args = cobra.MaximumNArgs(1)
		cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName { // --serve_cmd is --serve-cmd
			return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
		})
	}
	return sweep
}

// shared are the flags of every sweep that runs something.
func (f *sweepFlags) shared(flags *pflag.FlagSet, runs int) {
	flags.StringVar(&f.serveParams, "serve-params", "", "JSON `file` of parameters for the server: a list of objects, or an object of named ones")
	flags.BoolVar(&f.showStdout, "show-stdout", false, "show what the commands print")
	flags.StringVarP(&f.outputDir, "output-dir", "o", "results", "the `folder` of experiments")
	flags.StringVarP(&f.experiment, "experiment-name", "e", "", "the `name` of this one (default: the time)")
	flags.IntVar(&f.numRuns, "num-runs", runs, "runs of each combination")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the commands and run nothing")
	flags.BoolVar(&f.resume, "resume", false, "go on with an experiment: what is there is kept")
	flags.BoolVar(&f.continueOnError, "continue-on-error", false, "write a failure file and go on")
}

func (f *sweepFlags) serving(flags *pflag.FlagSet) {
	flags.StringVar(&f.serveCmd, "serve-cmd", "", "the `command` that runs the server")
	flags.StringVar(&f.benchCmd, "bench-cmd", "", "the `command` that loads it; vllm bench serve is run by this program, without Python")
	flags.StringVar(&f.afterBench, "after-bench-cmd", "", "a `command` to run after each run, in place of emptying the server's caches")
	flags.IntVar(&f.readyTimeout, "server-ready-timeout", 300, "how many `seconds` the server may take to be ready")
	flags.StringVar(&f.benchParams, "bench-params", "", "JSON `file` of parameters for the load")
	flags.StringVar(&f.linkVars, "link-vars", "", "combine only where `serve_key=bench_key` are equal, separated by commas")
	flags.IntVar(&f.warmupPrompts, "warmup-num-prompts", 0, "before each combination, one run of so many prompts that is not measured")
}

func sweepServeCommand() *cobra.Command {
	var f sweepFlags
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run every load on every server configuration",
		Example: "  servebench bench sweep serve --serve-cmd 'vllm serve m' --bench-cmd 'vllm bench serve --model m' --serve-params s.json --bench-params b.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected %q: quote the commands", args[0])
			}
			s, err := f.sweep(cmd)
			if err != nil {
				return err
			}
			return failed(s.serve(cmd.Context(), s.combination))
		},
	}
	f.shared(cmd.Flags(), 3)
	f.serving(cmd.Flags())
	return cmd
}

func sweepWorkloadCommand() *cobra.Command {
	var f sweepFlags
	cmd := &cobra.Command{
		Use:   "serve_workload",
		Short: "Explore each configuration from one request at a time to all at once",
		Long: `serve_workload runs each combination with one request at a time and with all at once, and then at values of the rate or the concurrency
between the throughputs of the two.`,
		Example: "  servebench bench sweep serve_workload --serve-cmd 'vllm serve m' --bench-cmd 'vllm bench serve --model m' --workload-iters 6",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("unexpected %q: quote the commands", args[0])
			case f.workloadVar != "request_rate" && f.workloadVar != "max_concurrency":
				return fmt.Errorf("--workload-var %s: have request_rate and max_concurrency", f.workloadVar)
			case f.workloadIters < 2:
				return fmt.Errorf("--workload-iters %d: must be at least 2", f.workloadIters)
			}
			s, err := f.sweep(cmd)
			if err != nil {
				return err
			}
			for _, b := range s.bench {
				if _, ok := b.param(f.workloadVar); ok {
					return fmt.Errorf("--bench-params sets %s, which --workload-var explores: leave one of them out", f.workloadVar)
				}
			}
			return failed(s.serve(cmd.Context(), s.workload))
		},
	}
	f.shared(cmd.Flags(), 3)
	f.serving(cmd.Flags())
	cmd.Flags().StringVar(&f.workloadVar, "workload-var", "request_rate", "the `variable` to explore: request_rate or max_concurrency")
	cmd.Flags().IntVar(&f.workloadIters, "workload-iters", 10, "how many `values`, both ends included")
	return cmd
}

// A sweep is an experiment under way.
type sweep struct {
	*sweepFlags
	out, errs io.Writer
	dir       string
	// serveWords, benchWords and afterWords are the commands.
	serveWords, benchWords, afterWords []string
	servers, bench                     []paramSet
	links                              []link
	// all are the runs for summary.csv.
	all []*argparse.Dict
	// failures counts what continue-on-error passed over.
	failures int
}

// sweep checks the flags and makes the experiment's folder.
func (f *sweepFlags) sweep(cmd *cobra.Command) (*sweep, error) {
	s := &sweep{sweepFlags: f, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
	var problems []error
	words := func(flag, text string, required bool) []string {
		list, err := scenario.SplitWords(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", flag, err))
		}
		if required && len(list) == 0 {
			problems = append(problems, fmt.Errorf("--%s is required", flag))
		}
		return list
	}
	s.serveWords, s.benchWords, s.afterWords = words("serve-cmd", f.serveCmd, true), words("bench-cmd", f.benchCmd, true), words("after-bench-cmd", f.afterBench, false)
	var err error
	if s.servers, err = readParams(f.serveParams); err != nil {
		problems = append(problems, fmt.Errorf("--serve-params: %w", err))
	}
	if s.bench, err = readParams(f.benchParams); err != nil {
		problems = append(problems, fmt.Errorf("--bench-params: %w", err))
	}
	if s.links, err = readLinks(f.linkVars); err != nil {
		problems = append(problems, err)
	}
	if f.numRuns < 1 {
		problems = append(problems, fmt.Errorf("--num-runs %d: must be above 0", f.numRuns))
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return s, s.open()
}

// open makes the experiment's folder, or finds it again.
func (s *sweep) open() error {
	name := s.experiment
	if name == "" {
		name = time.Now().Format("20060102_150405")
	}
	s.dir = filepath.Join(s.outputDir, name)
	switch there := exists(s.dir); {
	case s.dryRun:
		return nil
	case there && !s.resume:
		return fmt.Errorf("%s exists: give --resume to go on with it, or another --experiment-name", s.dir)
	case !there && s.resume:
		return fmt.Errorf("--resume: there is no %s: give the --experiment-name to go on with", s.dir)
	}
	return os.MkdirAll(s.dir, 0o755)
}

// serve runs every combination of server and load: one server for all loads of a configuration.
func (s *sweep) serve(ctx context.Context, combination func(context.Context, *sweepServer, paramSet, paramSet) error) error {
	var problems []error
	for _, serve := range s.servers {
		var loads []paramSet
		done := true
		for _, b := range s.bench {
			if linked(s.links, serve, b) {
				loads = append(loads, b)
				done = done && s.finished(serve, b)
			}
		}
		if len(loads) == 0 {
			continue
		}
		if done && !s.dryRun { // nothing to run: the server need not start
			for _, b := range loads {
				runs, err := readSummary(filepath.Join(s.dir, folder("SERVE", serve, "BENCH", b), "summary.json"))
				if err != nil {
					problems = append(problems, err)
				}
				s.all = append(s.all, runs...)
			}
			continue
		}
		if err := s.withServer(ctx, serve, func(server *sweepServer) error {
			for _, b := range loads {
				if err := combination(ctx, server, serve, b); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			if ctx.Err() != nil || !s.continueOnError {
				problems = append(problems, err)
				break
			}
			s.failures++
			fmt.Fprintf(s.errs, "servebench: %v\n", err)
			name := sanitized(serve.text())
			d := &argparse.Dict{}
			d.Set("error_type", errorType(err))
			d.Set("error", err.Error())
			d.Set("serve_overrides", serve.Dict)
			problems = append(problems, saveIndented(filepath.Join(s.dir, "SERVE-"+name+"-failure.json"), d, 4))
		}
	}
	if s.dryRun {
		return errors.Join(problems...)
	}
	if len(s.all) > 0 {
		problems = append(problems, saveCSV(filepath.Join(s.dir, "summary.csv"), s.all))
	}
	fmt.Fprintf(s.errs, "sweep: %d runs in %s\n", len(s.all), s.dir)
	if s.failures > 0 && len(s.all) == 0 {
		problems = append(problems, fmt.Errorf("nothing ran to its end: the failures are in %s", s.dir))
	}
	return errors.Join(problems...)
}

// finished says that a combination has its summary already.
func (s *sweep) finished(serve, bench paramSet) bool {
	if s.workloadVar != "" { // its values are known only after the first two
		return false
	}
	return exists(filepath.Join(s.dir, folder("SERVE", serve, "BENCH", bench), "summary.json"))
}

// combination runs one load on one server as often as asked.
func (s *sweep) combination(ctx context.Context, server *sweepServer, serve, bench paramSet) error {
	_, err := s.repeat(ctx, server, serve, bench, filepath.Join(s.dir, folder("SERVE", serve, "BENCH", bench)))
	return err
}

// repeat runs a load in its folder and writes its summary.
func (s *sweep) repeat(ctx context.Context, server *sweepServer, serve, bench paramSet, dir string) ([]*argparse.Dict, error) {
	if s.warmupPrompts > 0 {
		warm := bench.with("num_prompts", s.warmupPrompts)
		if _, err := s.bench1(ctx, server, serve, warm, dir, "warmup.json", -1); err != nil {
			return nil, s.pass(ctx, dir, -1, serve, bench, err)
		}
	}
	var runs []*argparse.Dict
	for n := range s.numRuns {
		result, err := s.bench1(ctx, server, serve, bench, dir, fmt.Sprintf("run=%d.json", n), n)
		if err != nil {
			if err := s.pass(ctx, dir, n, serve, bench, err); err != nil {
				return nil, err
			}
			continue
		}
		if result != nil {
			runs = append(runs, result)
		}
	}
	if s.dryRun || len(runs) == 0 {
		return nil, nil
	}
	s.all = append(s.all, runs...)
	return runs, saveSummary(filepath.Join(dir, "summary.json"), runs)
}

// pass writes a failure down and goes on, where that was asked for.
func (s *sweep) pass(ctx context.Context, dir string, n int, serve, bench paramSet, err error) error {
	if ctx.Err() != nil || !s.continueOnError {
		return err
	}
	s.failures++
	fmt.Fprintf(s.errs, "servebench: %v\n", err)
	d := &argparse.Dict{}
	d.Set("run_number", n)
	d.Set("error_type", errorType(err))
	d.Set("error", err.Error())
	d.Set("serve_overrides", serve.Dict)
	d.Set("bench_overrides", bench.Dict)
	name := fmt.Sprintf("run=%d.failure.json", n)
	if n < 0 {
		name = "warmup.failure.json"
	}
	return saveIndented(filepath.Join(dir, name), d, 4)
}

// workload runs a combination with one request at a time, with all at once, and between.
func (s *sweep) workload(ctx context.Context, server *sweepServer, serve, bench paramSet) error {
	size := s.datasetSize(bench)
	at := func(extra paramSet, value int) ([]*argparse.Dict, error) {
		load := paramSet{&argparse.Dict{}}.with(s.workloadVar, value)
		dir := filepath.Join(s.dir, folder("SERVE", serve, "BENCH", extra, "WL", load))
		return s.repeat(ctx, server, serve, extra.with(s.workloadVar, value), dir)
	}
	serial, err := at(bench.with("max_concurrency", 1), 1)
	if err != nil {
		return err
	}
	kept := len(s.all)
	batch, err := at(bench.with("max_concurrency", size), size)
	if err != nil {
		return err
	}
	last := slices.Clone(s.all[min(kept, len(s.all)):])
	s.all = s.all[:min(kept, len(s.all))] // the batch stands after the values between
	if s.dryRun {
		fmt.Fprintf(s.out, "# then %d values of %s between the throughputs of these two\n", s.workloadIters-2, s.workloadVar)
		return nil
	}
	low, ok := s.estimate(serial)
	high, ok2 := s.estimate(batch)
	if ok && ok2 {
		for _, value := range between(math.Ceil(low), math.Floor(high), s.workloadIters) {
			if _, err := at(bench, value); err != nil {
				return err
			}
		}
	}
	s.all = append(s.all, last...)
	return nil
}

// datasetSize is how many requests a run has.
func (s *sweep) datasetSize(bench paramSet) int {
	if v, ok := bench.param("num_prompts"); ok {
		if n, ok := v.(int); ok {
			return n
		}
	}
	for i, word := range s.benchWords {
		name, value, joined := strings.Cut(word, "=")
		if strings.ReplaceAll(name, "_", "-") != "--num-prompts" {
			continue
		}
		if !joined && i+1 < len(s.benchWords) {
			value = s.benchWords[i+1]
		}
		if n, err := strconv.Atoi(value); err == nil {
			return n
		}
	}
	return 1000
}

// estimate is the load that runs carried: their mean rate, or by Little's law their mean number in flight.
func (s *sweep) estimate(runs []*argparse.Dict) (float64, bool) {
	sum, n := 0.0, 0
	for _, r := range runs {
		rate, ok := numberOf(r, "request_throughput")
		if !ok {
			continue
		}
		if s.workloadVar == "max_concurrency" {
			latency, ok := numberOf(r, "mean_e2el_ms")
			if !ok {
				continue
			}
			rate *= latency / 1000
		}
		sum += rate
		n++
	}
	return sum / float64(max(n, 1)), n > 0
}

// between are n evenly spaced whole numbers from low to high, without the two ends, each once.
func between(low, high float64, n int) []int {
	var list []int
	for i := 1; i < n-1; i++ {
		list = append(list, int(math.RoundToEven(low+float64(i)*((high-low)/float64(n-1)))))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// numberOf is a figure of a run; "inf" and the like count as numbers.
func numberOf(r *argparse.Dict, key string) (float64, bool) {
	value, _ := r.Get(key)
	return asNumber(value)
}

func asNumber(value any) (float64, bool) {
	switch v := value.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	case string:
		if v == "inf" || v == "-inf" || v == "nan" {
			f, err := strconv.ParseFloat(v, 64)
			return f, err == nil
		}
	}
	return 0, false
}
