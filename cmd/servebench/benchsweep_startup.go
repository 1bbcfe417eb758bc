package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"servebench/internal/argparse"
	"servebench/internal/lazy"
	"servebench/loadgen/scenario"
)

func sweepStartupCommand() *cobra.Command {
	var f sweepFlags
	cmd := &cobra.Command{
		Use:     "startup",
		Short:   "Measure how long every server configuration takes to start",
		Example: "  servebench bench sweep startup --startup-cmd 'vllm bench startup --model m' --serve-params s.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected %q: quote the command", args[0])
			}
			words, err := scenario.SplitWords(f.startupCmd)
			if err != nil || len(words) == 0 {
				return fmt.Errorf("--startup-cmd %q: %w", f.startupCmd, errors.Join(err, errors.New("want a command")))
			}
			s := &sweep{sweepFlags: &f, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), benchWords: words}
			if s.servers, err = readParams(f.serveParams); err != nil {
				return fmt.Errorf("--serve-params: %w", err)
			}
			if s.bench, err = readParams(f.startupParams); err != nil {
				return fmt.Errorf("--startup-params: %w", err)
			}
			if f.numRuns < 1 {
				return fmt.Errorf("--num-runs %d: must be above 0", f.numRuns)
			}
			if err := s.open(); err != nil {
				return err
			}
			return failed(s.startup(cmd.Context()))
		},
	}
	f.shared(cmd.Flags(), 1)
	cmd.Flags().StringVar(&f.startupCmd, "startup-cmd", "vllm bench startup", "the `command` that starts an engine and measures it")
	cmd.Flags().StringVar(&f.startupParams, "startup-params", "", "JSON `file` of parameters for the measurement")
	cmd.Flags().BoolVar(&f.strictParams, "strict-params", false, "refuse parameters that the command does not know, instead of leaving them out")
	return cmd
}

// startup runs the measurement for every combination.
func (s *sweep) startup(ctx context.Context) error {
	known := s.knownFlags(ctx)
	for i := range s.servers {
		var err error
		if s.servers[i], err = s.only(known, s.servers[i]); err != nil {
			return err
		}
	}
	for i := range s.bench {
		var err error
		if s.bench[i], err = s.only(known, s.bench[i]); err != nil {
			return err
		}
	}
	for _, serve := range s.servers {
		for _, bench := range s.bench {
			dir := filepath.Join(s.dir, folder("SERVE", serve, "STARTUP", bench))
			var runs []*argparse.Dict
			for n := range s.numRuns {
				result, err := s.startupRun(ctx, serve, bench, filepath.Join(dir, fmt.Sprintf("run=%d.json", n)), n)
				if err != nil {
					if err := s.pass(ctx, dir, n, serve, bench, err); err != nil {
						return err
					}
					continue
				}
				if result != nil {
					runs = append(runs, result)
				}
			}
			if len(runs) > 0 {
				s.all = append(s.all, runs...)
				if err := saveSummary(filepath.Join(dir, "summary.json"), runs); err != nil {
					return err
				}
			}
		}
	}
	if len(s.all) == 0 {
		if s.dryRun {
			return nil
		}
		return fmt.Errorf("nothing ran to its end: the failures are in %s", s.dir)
	}
	return saveCSV(filepath.Join(s.dir, "summary.csv"), s.all)
}

func (s *sweep) startupRun(ctx context.Context, serve, bench paramSet, path string, n int) (*argparse.Dict, error) {
	if !s.dryRun && exists(path) {
		return readObject(path)
	}
	words := append(ours(bench.apply(serve.apply(s.benchWords))), "--output-json", path)
	if s.dryRun {
		fmt.Fprintf(s.out, "startup: %s\n", quoted(words))
		return nil, nil
	}
	fmt.Fprintf(s.errs, "startup: %s\n", quoted(words))
	if err := makeParent(path); err != nil {
		return nil, err
	}
	if err := s.command(ctx, words); err != nil {
		return nil, err
	}
	result, err := readObject(path)
	if err != nil {
		return nil, fmt.Errorf("the measurement wrote no result: %w", err)
	}
	result.Set("run_number", n)
	for _, set := range []paramSet{serve, bench} {
		for key, value := range set.All() {
			result.Set(key, value)
		}
	}
	return result, saveIndented(path, result, 4)
}

var flagName = lazy.Regexp(`--[a-zA-Z0-9][a-zA-Z0-9_-]*`)

// knownFlags are the flags that the command's help names; nil when it could not be asked.
func (s *sweep) knownFlags(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	words := append(ours(s.benchWords), "--help=all")
	text, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
	flags := flagName().FindAllString(string(text), -1)
	if err != nil || len(flags) < 3 {
		fmt.Fprintf(s.errs, "note: %s does not list its flags: all parameters are given to it\n", quoted(words))
		return nil
	}
	return flags
}

// only leaves out what the command does not know.
func (s *sweep) only(known []string, p paramSet) (paramSet, error) {
	if known == nil {
		return p, nil
	}
	kept := &argparse.Dict{}
	for k, value := range p.All() {
		key, _ := k.(string)
		head := regexp.MustCompile(`\..*$`).ReplaceAllString(key, "")
		ok := key == nameKey || slices.ContainsFunc(spellings(head), func(name string) bool { return slices.Contains(known, "--"+name) })
		switch {
		case ok:
			kept.Set(k, value)
		case s.strictParams:
			return p, fmt.Errorf("the startup command has no flag for %s", key)
		default:
			fmt.Fprintf(s.errs, "note: %s is left out: the startup command has no such flag\n", key)
		}
	}
	return paramSet{kept}, nil
}
