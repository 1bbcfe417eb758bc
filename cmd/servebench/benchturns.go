package main

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/summary"
)

// talk makes the load one of conversations.
func (o *benchOptions) talk(s *scenario.Scenario) {
	least, most := o.turnRange()
	c := &scenario.Conversations{
		Turns: o.MultiTurnTurns, MinTurns: least, MaxTurns: most, TurnInputLen: o.PerTurnInputLen,
		SharedPrefix: o.MultiTurnGlobalPrefix, OwnPrefix: o.MultiTurnConversationPart,
	}
	s.Load.Conversations = c
	if o.DatasetName == "sharegpt" {
		if !o.Given("multi_turn_num_turns") {
			c.Turns = 0 // all that were recorded
		}
		if c.MinTurns == 0 && c.MaxTurns > 0 { // at most so many
			c.Turns, c.MaxTurns = c.MaxTurns, 0
		}
	}
	s.Load.Think = scenario.Duration(o.MultiTurnDelayMS * 1e6)
	if o.MultiTurnConcurrency != nil {
		s.Load.Concurrency = *o.MultiTurnConcurrency
	}
}

// turnRange is the range that numbers of turns are drawn from, zeros without one. An end that was not given is --multi-turn-num-turns,
// except for recorded conversations, which end anyway.
func (o *benchOptions) turnRange() (least, most int) {
	least, most = o.MultiTurnMinTurns, o.MultiTurnMaxTurns
	switch {
	case least == 0 && most == 0:
	case least == 0 && o.DatasetName != "sharegpt":
		least = o.MultiTurnTurns
	case most == 0:
		most = o.MultiTurnTurns
	}
	return least, most
}

// printTurns prints the figures of each turn, and gives them for the result file.
func printTurns(w io.Writer, result *scenario.Result) (json.RawMessage, error) {
	run, err := results.Open(result.Dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	m := run.Manifest()
	turns := map[int]*summary.Recorder{}
	for rec, err := range run.Records() {
		if err != nil {
			return nil, err
		}
		if rec.Kind != results.Load {
			continue
		}
		if turns[rec.Turn] == nil {
			turns[rec.Turn] = summary.NewRecorder(summary.ConfigOf(m))
		}
		turns[rec.Turn].Add(rec)
	}
	perSecond := func(n int) any {
		if result.Summary.Duration <= 0 {
			return nil
		}
		return float64(n) / result.Summary.Duration
	}
	t := &lines{w: w}
	t.say("%s", centre(" By Turn: means, latencies in ms ", 96, "="))
	t.say("%-6s %9s %7s %10s %10s %10s %10s %10s %10s", "Turn", "completed", "failed", "prompt tok", "cached tok", "output tok", "TTFT", "TPOT", "E2EL")
	list := []any{}
	for _, n := range slices.Sorted(maps.Keys(turns)) {
		s := turns[n].Summary(m, "", "")
		d := &argparse.Dict{}
		d.Set("turn_index", n)
		d.Set("num_samples", s.Requests)
		d.Set("completed", s.Completed)
		d.Set("failed", s.Failed)
		// Over the whole load, as the native client has them.
		total := func(count, throughput string, tokens *int, unknown int) {
			var n, rate any
			if tokens != nil && unknown == 0 {
				n, rate = *tokens, perSecond(*tokens)
			}
			d.Set(count, n)
			d.Set(throughput, rate)
		}
		total("total_input_tokens", "input_throughput", s.InputTokens, s.InputUnknown)
		total("total_output_tokens", "output_throughput", s.OutputTokens, s.OutputUnknown)
		d.Set("request_throughput", perSecond(s.Completed))
		row := []any{n + 1, s.Completed, s.Failed}
		mean := func(key string, total *int, unknown int) {
			if total == nil || s.Completed == unknown {
				d.Set(key, nil)
				row = append(row, "-")
				return
			}
			v := float64(*total) / float64(s.Completed-unknown)
			d.Set(key, v)
			row = append(row, fixed1(v))
		}
		mean("mean_input_tokens", s.InputTokens, s.InputUnknown)
		mean("mean_cached_tokens", s.CachedTokens, 0)
		mean("mean_output_tokens", s.OutputTokens, s.OutputUnknown)
		for _, name := range []string{"ttft", "tpot", "itl", "e2el"} {
			dist := s.Dist(name, s.Basis)
			if name != "itl" {
				text := "-"
				if dist != nil {
					text = fixed1(dist.Mean)
				}
				row = append(row, text)
			}
			if dist == nil { // nothing measured has no figures
				continue
			}
			stat := s.VLLM.Stats[name]
			d.Set("mean_"+name+"_ms", stat.Mean)
			d.Set("median_"+name+"_ms", stat.Median)
			d.Set("std_"+name+"_ms", stat.Std)
			for _, p := range stat.Percentiles {
				d.Set("p"+percent(p.P)+"_"+name+"_ms", p.Value)
			}
		}
		list = append(list, d)
		t.say("%-6d %9d %7d %10s %10s %10s %10s %10s %10s", row...)
	}
	t.say("%s", centre("", 96, "="))
	return json.RawMessage(argparse.Dumps(list)), t.err
}
