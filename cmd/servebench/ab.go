package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results/compare"
)

// abFlags are the flags of ab as they were written.
type abFlags struct {
	sets, setsA, setsB []string
	urlA, urlB, out    string
	sim, retry         bool
	repeats            int
	compare            compareFlags
}

func abCommand(i *interrupts) *cobra.Command {
	f := abFlags{repeats: 4, compare: compareFlags{margin: "2%", confidence: "95%", format: "text"}}
	cmd := &cobra.Command{
		Use:   "ab A.yaml [B.yaml]",
		Short: "Run two servers or two settings by turns, and compare them",
		Long: `ab makes runs of two scenarios by turns, there and back (A B B A ...), so that a drift of the machine falls on both alike, and compares them.
Run k of either has the same seed, so both send the same prompts. With one scenario, --set-a and --set-b say in what the two differ.

The runs are kept. Taken up again with the same --out, runs that ended are not made again.`,
		Example: `  servebench ab vllm-torch --sim --set profile=null --set-a load.concurrency=2 --set-b load.concurrency=4 --repeats 4
  servebench ab before.yaml after.yaml --fail-on "p99 ttft +5%"
  servebench ab chat.yaml --url-a http://10.0.0.1:8000 --url-b http://10.0.0.2:8000`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := f.compare.options()
			if err != nil {
				return err
			}
			if !slices.Contains(compare.Formats(), f.compare.format) {
				return fmt.Errorf("no format %q: have %s", f.compare.format, list(compare.Formats()))
			}
			var sides []*scenario.Scenario
			for n, own := range [][]string{f.setsA, f.setsB} {
				sets := append(slices.Clone(f.sets), own...)
				if address := []string{f.urlA, f.urlB}[n]; address != "" {
					sets = append(sets, "server.url="+address, "server.command=[]", "server.before=[]")
				}
				s, err := scenario.Read(args[min(n, len(args)-1)], sets)
				if err != nil {
					return err
				}
				sides = append(sides, s)
			}
			name := sides[0].Name
			if name == "" {
				name = "ab"
			}
			o := scenario.SeriesOptions{Options: scenario.Options{Dir: f.out, Sim: f.sim}, RetryFailed: f.retry}
			if o.Dir == "" {
				o.Dir = freshFolder(filepath.Join("runs", name+"-ab-"+time.Now().Format("20060102-150405")))
			}
			progress := newProgress(cmd.ErrOrStderr())
			o.Watcher, o.Leave = progress, i.leave
			if f.repeats%2 != 0 {
				progress.Warn(fmt.Sprintf("%d repeats do not balance: an even number goes there and back", f.repeats))
			}
			x, err := scenario.RunAB(cmd.Context(), sides[0], sides[1], f.repeats, o)
			progress.close()
			if err := closeSeries(cmd, x, o, err); err != nil {
				return err
			}
			return f.hold(cmd, x, sides, o.Dir, options)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.sets, "set", nil, "change a field of both scenarios: `path=value`; may be repeated")
	flags.StringArrayVar(&f.setsA, "set-a", nil, "change a field of the first: `path=value`; may be repeated")
	flags.StringArrayVar(&f.setsB, "set-b", nil, "change a field of the second: `path=value`; may be repeated")
	flags.StringVar(&f.urlA, "url-a", "", "the first is the server that runs at this `address`")
	flags.StringVar(&f.urlB, "url-b", "", "the second is the server that runs at this `address`")
	flags.BoolVar(&f.sim, "sim", false, "use the built-in simulator for both")
	flags.IntVar(&f.repeats, "repeats", f.repeats, "make so `many` runs of each")
	flags.StringVar(&f.out, "out", "", "the `folder` of the runs (default runs/NAME-ab-TIME); an unfinished one is taken up again")
	flags.BoolVar(&f.retry, "retry-failed", false, "make runs again that failed before")
	flags.StringSliceVar(&f.compare.metrics, "metric", nil, "the `metrics` to compare: "+list(compare.MetricNames()))
	flags.StringSliceVar(&f.compare.percentiles, "percentiles", nil, "the `percentiles` of latencies (default 50,90,99,99.9)")
	flags.StringSliceVar(&f.compare.vary, "vary", nil, "further `fields` that are meant to differ")
	flags.StringVar(&f.compare.margin, "margin", f.compare.margin, "the `change` that makes no difference")
	flags.StringVar(&f.compare.confidence, "confidence", f.compare.confidence, "the `level` of intervals and verdicts")
	flags.StringArrayVar(&f.compare.gates, "fail-on", nil, "end with status 3 when this gets worse beyond chance and by more than the bar: `\"p99 ttft +5%\"`; may be repeated")
	flags.BoolVar(&f.compare.undecidedFails, "fail-undecided", false, "end with status 3 also when a gate could not be decided")
	flags.BoolVar(&f.compare.force, "force", false, "compare runs that are not comparable")
	flags.StringVar(&f.compare.format, "format", f.compare.format, "the `form` of the comparison: "+list(compare.Formats()))
	cmd.MarkFlagsMutuallyExclusive("sim", "url-a")
	cmd.MarkFlagsMutuallyExclusive("sim", "url-b")
	return cmd
}

// hold compares the runs of the two sides.
func (f *abFlags) hold(cmd *cobra.Command, x *scenario.Index, sides []*scenario.Scenario, dir string, o compare.Options) error {
	// What the user made to differ is no reason to refuse.
	differing, err := scenario.Differences(sides[0], sides[1])
	if err != nil {
		return failed(err)
	}
	o.Vary = append(o.Vary, f.compare.vary...)
	for _, d := range differing {
		o.Vary = append(o.Vary, comparedAs(d.Path)...)
	}
	slices.Sort(o.Vary)
	o.Vary = slices.Compact(o.Vary)
	var groups []*compare.Group
	for n, name := range []string{"A", "B"} {
		g := &compare.Group{Name: name}
		for _, folder := range x.Folders(n + 1) {
			runs, err := compare.Open(filepath.Join(dir, filepath.FromSlash(folder)), o)
			if err != nil {
				return failed(err)
			}
			g.Runs = append(g.Runs, runs...)
		}
		if len(g.Runs) == 0 {
			return failed(fmt.Errorf("%s has no run that ended well", name))
		}
		groups = append(groups, g)
	}
	report, err := compared(groups, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout())
	if err := compare.Write(cmd.OutOrStdout(), f.compare.format, report); err != nil {
		return failed(err)
	}
	return f.compare.verdict(cmd.ErrOrStderr(), report)
}

// comparedAs are the fields by which a comparison sees a change of a scenario's field.
func comparedAs(path string) []string {
	top, rest, _ := strings.Cut(path, ".")
	switch top {
	case "load":
		switch rest {
		case "rate", "concurrency", "requests":
			return []string{rest}
		}
		return []string{"load", "burstiness", "rate"}
	case "stages":
		return []string{"stages", "rate", "concurrency", "requests"}
	case "dataset":
		return []string{"dataset", "dataset_options", "input_length", "output_length", "load"}
	case "body":
		return []string{"body", "output_length"}
	case "model", "served_model":
		return []string{"model", "tokenizer", "input_length"}
	case "backend", "endpoint":
		return []string{"backend", "endpoint"}
	case "tokenizer", "seed":
		return []string{top, "input_length"}
	case "report":
		return []string{"basis", "compat"}
	case "metadata":
		return []string{path}
	}
	return nil // the server's own part may differ without a word
}
