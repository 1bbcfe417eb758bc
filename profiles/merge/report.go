package merge

import (
	"fmt"
	"strconv"
	"time"

	"servebench/internal/lazy"
	"servebench/profiles/breakdown"
	"servebench/profiles/trace"
)

// Found takes the steps, gaps and compiles out of an analysis of the traces. traces are in the order in which the
// analysis read their files.
func Found(r *breakdown.Report, traces []Trace) (steps []Step, others []Mark, err error) {
	if len(r.Files) != len(traces) {
		return nil, nil, fmt.Errorf("merge: the analysis is of %d files, not of these %d", len(r.Files), len(traces))
	}
	type place struct {
		rank  int
		shift int64 // from the first file's clock, which the analysis uses, to the file's own
	}
	places := make(map[string]place)
	for i, f := range r.Files {
		p := place{rank: traces[i].Rank}
		if f.Base != nil && r.Files[0].Base != nil {
			p.shift = *r.Files[0].Base - *f.Base
		}
		if _, twice := places[f.File]; twice {
			return nil, nil, fmt.Errorf("merge: two traces are called %s: their steps cannot be told apart", f.File)
		}
		places[f.File] = p
		if i == 0 {
			places[""] = p // an analysis of one file does not name it
		}
	}
	for _, s := range r.Steps {
		p, ok := places[s.File]
		if !ok {
			return nil, nil, fmt.Errorf("merge: the analysis has a step of %s, which is not among the traces", s.File)
		}
		steps = append(steps, stepOf(s, p.rank, p.shift))
	}
	add := func(kind, name, file string, start, length int64, args ...trace.Arg) {
		if p, ok := places[file]; ok {
			others = append(others, Mark{Rank: p.rank, Kind: kind, Name: name, Start: start + p.shift, End: start + length + p.shift, Args: args})
		}
	}
	compile := func(kind string, c breakdown.Compile) {
		args := []trace.Arg{{Key: "kind", Value: c.Kind}}
		if c.Step != "" {
			args = append(args, trace.Arg{Key: "step", Value: c.Step})
		}
		if c.Bucket != "" {
			args = append(args, trace.Arg{Key: "bucket", Value: c.Bucket})
		}
		add(kind, c.Name, c.File, c.Start, c.Total, args...)
	}
	if r.Compiles != nil {
		for _, c := range r.Compiles.List {
			compile("compiles", c)
		}
		for _, c := range r.Compiles.Suspected {
			compile("suspected compiles", c)
		}
		for _, c := range r.Compiles.CaptureList {
			compile("graph captures", c)
		}
	}
	if r.Gaps != nil {
		for _, g := range r.Gaps.Longest {
			add(fmt.Sprintf("longest gaps of device %d", g.Device), g.Reason, g.File, g.Start, g.Total, trace.Arg{Key: "until", Value: g.Kernel})
		}
	}
	return steps, others, nil
}

// vllmStep is the name vLLM gives to a step, in its plain and its detailed form.
var vllmStep = lazy.Regexp(`^execute_(?:\d+_)?context_(\d+)\((?:sq)?(\d+)[^)]*\)_generation_(\d+)\((?:sq)?(\d+)[^)]*\)$`)

func stepOf(s breakdown.Step, rank int, shift int64) Step {
	step := Step{
		Rank: rank, Phase: s.Phase, Bucket: s.Bucket, Name: s.Name, Start: s.HostStart + shift, End: s.HostStart + s.HostNS + shift,
		Prompts: -1, PromptTokens: -1, Decodes: -1, DecodeTokens: -1,
	}
	if s.DevStart != nil && s.DevEnd != nil {
		step.DevStart, step.DevEnd, step.OnDevice = *s.DevStart+shift, *s.DevEnd+shift, true
		if s.DevBusy != nil {
			step.Busy = time.Duration(*s.DevBusy)
		}
	}
	if s.Prompts != nil && s.Generations != nil {
		step.Prompts, step.Decodes = int(*s.Prompts), int(*s.Generations)
		if s.Tokens != nil {
			// A generating request has one token in a step, unless it speculates; then the name tells.
			step.DecodeTokens = step.Decodes
			step.PromptTokens = max(0, int(*s.Tokens)-step.Decodes)
			if step.Prompts == 0 {
				step.PromptTokens, step.DecodeTokens = 0, int(*s.Tokens)
			}
		}
	}
	if m := vllmStep().FindStringSubmatch(s.Name); m != nil {
		for i, into := range []*int{&step.Prompts, &step.PromptTokens, &step.Decodes, &step.DecodeTokens} {
			if n, err := strconv.Atoi(m[i+1]); err == nil {
				*into = n
			}
		}
	}
	return step
}
