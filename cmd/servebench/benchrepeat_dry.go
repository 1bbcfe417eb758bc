package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"servebench/datasets"
	"servebench/internal/numpy"
	"servebench/loadgen/scenario"
)

// dry builds the dataset, says what it holds and sends nothing.
func (o *benchOptions) dry(cmd *cobra.Command) error {
	s, err := o.scenario()
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr())
	set, how, err := scenario.Samples(cmd.Context(), s, scenario.Options{URL: o.RootURL, Watcher: progress})
	progress.close()
	if err != nil {
		return failed(err)
	}
	for _, note := range set.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+note)
	}
	t := &lines{w: cmd.OutOrStdout()}
	o.describe(t, set, how.Method)
	return t.err
}

func (o *benchOptions) describe(t *lines, set datasets.Dataset, method string) {
	var inputs, outputs, totals []float64
	prompts := map[string]bool{}
	media, unknown, unlimited, timed := 0, 0, 0, 0
	first, last := 0.0, 0.0
	for i := range set.Len() {
		s := set.At(i)
		if s.InputTokens < 0 {
			unknown++
		} else {
			inputs = append(inputs, float64(s.InputTokens))
			totals = append(totals, float64(s.InputTokens+s.OutputTokens))
		}
		if s.OutputTokens == 0 {
			unlimited++
		}
		outputs = append(outputs, float64(s.OutputTokens))
		media += len(s.Media)
		prompts[fmt.Sprint(s.Prompt, string(s.Messages))] = true
		if s.Timed {
			if timed == 0 || s.Timestamp < first {
				first = s.Timestamp
			}
			last = max(last, s.Timestamp)
			timed++
		}
	}
	t.say("%s", centre(" Dataset ", 74, "="))
	t.say("%-30s %s", "Kind:", o.DatasetName)
	t.say("%-30s %s", "Prompts made by:", method)
	t.say("%-30s %d", "Requests:", set.Len())
	t.say("%-30s %d", "Different prompts:", len(prompts))
	if media > 0 {
		t.say("%-30s %d", "Images, videos and clips:", media)
	}
	if timed > 0 {
		t.say("%-30s %.3f to %.3f", "Time stamps (s):", first, last)
	}
	t.say("%-22s %8s %8s %8s %8s %8s %8s", "Tokens a request", "min", "mean", "median", "p90", "max", "total")
	for _, row := range []struct {
		name   string
		values []float64
	}{{"prompt", inputs}, {"output asked for", outputs}, {"both", totals}} {
		if len(row.values) == 0 {
			t.say("%-22s %8s", row.name, "-")
			continue
		}
		slices.Sort(row.values)
		sum := 0.0
		for _, v := range row.values {
			sum += v
		}
		t.say("%-22s %8.0f %8.1f %8.1f %8.1f %8.0f %8.0f", row.name, row.values[0], sum/float64(len(row.values)), numpy.MedianSorted(row.values),
			numpy.PercentileSorted(row.values, 90), row.values[len(row.values)-1], sum)
	}
	if unknown > 0 {
		t.say("note: %d prompts could not be counted without a tokenizer", unknown)
	}
	if unlimited > 0 && !o.Kind.Pooling {
		t.say("note: %d requests ask for no number of output tokens", unlimited)
	}
	t.say("%s", centre("", 74, "="))
}
