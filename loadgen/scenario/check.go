package scenario

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"servebench/datasets"
	"servebench/loadgen/api"
	"servebench/results"
	"servebench/results/report"
)

// A Fault is something wrong with a scenario, by the path of its field.
type Fault struct{ Path, Message string }

// Faults are all that is wrong with the scenario, as far as can be known before it runs.
func (s *Scenario) Faults() []Fault {
	var f faults
	if s.checkSeries(&f); s.Sweep != nil {
		return f // each of its points is a scenario, and is checked as one
	}
	s = s.searched()
	s.checkServer(&f)
	if _, err := api.KindOf(s.backend()); err != nil {
		f.add("backend", "%v", err)
	}
	if s.Seed < 0 || s.Seed > math.MaxUint32 {
		f.add("seed", "%d is outside 0 to 4294967295", s.Seed)
	}
	if s.Name != "" && strings.ContainsAny(s.Name, "/\\ \t\n") {
		f.add("name", "%q names a folder: no blanks and no slashes", s.Name)
	}
	s.checkDataset(&f)
	if len(s.Stages) > 0 && s.Load != (Load{}) {
		f.add("stages", "give load or stages, not both")
	}
	s.Load.check(&f, "load")
	wholeFile := s.Load.Conversations != nil && s.Dataset.Name == "conversations"
	switch {
	case s.Load.Requests > 0 || wholeFile:
	case s.Load.Conversations != nil:
		f.add("load.conversations", "give requests: the number of conversations")
	case len(s.Stages) == 0 && s.Load.Duration == 0 && s.sends() && !s.endsWithRows():
		f.add("load", "give requests or a duration, or the load never ends")
	}
	for i := range s.Stages {
		stage := &s.Stages[i]
		at := fmt.Sprintf("stages.%d", i)
		stage.check(&f, at)
		if stage.Requests == 0 && stage.Duration == 0 {
			f.add(at, "a stage needs requests or a duration, or it never ends")
		}
		if stage.ProbeRate != 0 {
			f.add(at+".probe_rate", "probes run beside the whole load: only load can have them")
		}
	}
	s.checkProfile(&f)
	for name, limit := range s.Objectives.Goodput {
		if name != "ttft" && name != "tpot" && name != "e2el" {
			f.add("objectives.goodput."+name, "goodput is bounded by ttft, tpot or e2el")
		}
		if limit <= 0 {
			f.add("objectives.goodput."+name, "the bound must be above zero")
		}
	}
	for i, name := range s.Report.Metrics {
		if !slices.ContainsFunc(results.Metrics, func(m results.Metric) bool { return m.Name == name }) {
			f.add(fmt.Sprintf("report.metrics.%d", i), "no metric %q: have %s", name, metricNames())
		}
	}
	for i, name := range s.Report.Formats {
		if !slices.Contains(report.Formats(), name) {
			f.add(fmt.Sprintf("report.formats.%d", i), "no report format %q: have %s", name, strings.Join(report.Formats(), ", "))
		}
	}
	for i, p := range s.Report.Percentiles {
		if p < 0 || p > 100 {
			f.add(fmt.Sprintf("report.percentiles.%d", i), "%g is outside 0 to 100", p)
		}
	}
	if c := s.Report.Compat; c != "" && c != "vllm" {
		f.add("report.compat", "no tool %q to count as: have vllm", c)
	}
	if s.Lora != nil && !slices.Contains([]string{"", "random", "round-robin"}, s.Lora.Assignment) {
		f.add("lora.assignment", "no assignment %q: have random, round-robin", s.Lora.Assignment)
	}
	if s.Dataset.Name != "" {
		if _, err := datasets.New(s.Dataset.Name); err != nil {
			f.add("dataset.name", "%v", err)
		}
	}
	if !slices.Contains([]string{"", "gaudi", "cuda", "cpu", "none"}, s.Sim.Profiler) {
		f.add("sim.profiler", "no kind of trace %q: have gaudi, cuda, cpu, none", s.Sim.Profiler)
	}
	return f
}

type faults []Fault

func (f *faults) add(path, format string, args ...any) {
	*f = append(*f, Fault{path, fmt.Sprintf(format, args...)})
}

// checkBounds finds bounds that can never be met.
func (o *Objectives) checkBounds(f *faults) {
	for i, b := range o.Bounds {
		if b.Metric == "goodput" && len(o.Goodput) == 0 {
			f.add(fmt.Sprintf("objectives.bounds.%d", i), "goodput counts requests that meet objectives.goodput: give it, as in goodput: {ttft: 300ms}")
		}
	}
}

func metricNames() string {
	var names []string
	for _, m := range results.Metrics {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

func (s *Scenario) checkServer(f *faults) {
	if u := s.Server.URL; u != "" && !placeholder().MatchString(u) {
		parsed, err := url.Parse(u)
		switch {
		case err != nil:
			f.add("server.url", "%v", err)
		case parsed.Scheme == "unix":
		case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
			f.add("server.url", "%q is no address: write http://host:port", u)
		}
	}
	if _, err := s.Server.proxy(); err != nil {
		f.add("server.proxy", "%v", err)
	}
	if !slices.Contains([]string{"", "auto", "always", "never"}, s.Server.ProfilerFlag) {
		f.add("server.profiler_flag", "%q is none of auto, always, never", s.Server.ProfilerFlag)
	}
	if !slices.Contains([]string{"", "assertion"}, s.Server.EndsBy) {
		f.add("server.ends_by", "%q is unknown: have assertion", s.Server.EndsBy)
	}
	if _, err := regexp.Compile(s.Server.ReadyLog); err != nil {
		f.add("server.ready_log", "%v", err)
	}
	for i, words := range s.Server.Before {
		if len(words) == 0 {
			f.add(fmt.Sprintf("server.before.%d", i), "the command is empty")
		}
	}
	if s.Script != nil && len(s.Script.Command) == 0 {
		f.add("script.command", "the script needs a command: python3 ${script} runs program")
	}
}

func (s *Scenario) checkDataset(f *faults) {
	d := &s.Dataset
	length := func(path string, n *int, least int) {
		if n != nil && *n < least {
			f.add(path, "%d is below %d", *n, least)
		}
	}
	length("dataset.input_len", d.InputLen, 0)
	length("dataset.output_len", d.OutputLen, 1)
	length("dataset.prefix_len", d.PrefixLen, 0)
	for name, r := range map[string]float64{"input": d.RangeRatio.Input, "output": d.RangeRatio.Output} {
		switch {
		case r < 0 || r > 1 || r == 1 && !d.LegacyRangeRatio:
			if r == 1 {
				f.add("dataset.range_ratio", "%s", LegacyRatioHelp)
			} else {
				f.add("dataset.range_ratio", "%s ratio %g is outside 0 to 1", name, r)
			}
		}
	}
	if d.Prompt != "" && d.Name != "" && d.Name != "random" {
		f.add("dataset.prompt", "a fixed prompt takes the place of dataset %s: leave one of them out", d.Name)
	}
}

// LegacyRatioHelp explains the two meanings of a range ratio of 1.
const LegacyRatioHelp = "1.0 meant exact lengths until vLLM 0.8.3 (lengths uniform in [ratio x len, len]); since then a ratio is the half-width of a window and must be below 1. " +
	"For exact lengths write 0; for the old meaning set legacy_range_ratio: true"

func (l *Load) check(f *faults, at string) {
	if l.Requests < 0 {
		f.add(at+".requests", "%d is negative", l.Requests)
	}
	if l.Concurrency < 0 {
		f.add(at+".concurrency", "%d is negative", l.Concurrency)
	}
	if l.Rate != nil && *l.Rate <= 0 {
		f.add(at+".rate", "%g is not above zero", float64(*l.Rate))
	}
	if l.Burstiness != nil && *l.Burstiness <= 0 {
		f.add(at+".burstiness", "%g is not above zero", float64(*l.Burstiness))
	}
	if !slices.Contains([]string{"", "poisson", "constant", "gamma"}, l.Arrival) {
		f.add(at+".arrival", "no arrival process %q: have poisson, constant, gamma", l.Arrival)
	}
	if l.Arrival == "gamma" && l.Burstiness == nil {
		f.add(at+".arrival", "gamma needs a burstiness")
	}
	if l.Arrival != "" && l.Arrival != "gamma" && l.Burstiness != nil {
		f.add(at+".burstiness", "%s arrivals have none: leave it out, or write arrival: gamma", l.Arrival)
	}
	open := !l.Rate.Infinite() || l.Ramp != nil || l.Replay
	if l.Ramp != nil {
		if l.Rate != nil {
			f.add(at+".rate", "a ramp sets the rate: leave rate out")
		}
		if l.Ramp.Shape != "linear" && l.Ramp.Shape != "exponential" {
			f.add(at+".ramp.shape", "no shape %q: have linear, exponential", l.Ramp.Shape)
		}
		if l.Ramp.From < 0 || l.Ramp.To <= 0 {
			f.add(at+".ramp", "rates must be above zero")
		}
		if l.Ramp.Shape == "exponential" && l.Ramp.From == 0 {
			f.add(at+".ramp.from", "an exponential ramp cannot begin at zero")
		}
		if l.Requests == 0 {
			f.add(at+".ramp", "a ramp is spread over a number of requests: give requests")
		}
	}
	if open && l.Think != 0 {
		f.add(at+".think", "think time belongs to a closed loop: leave out rate, ramp and replay, and give a concurrency")
	}
	if c := l.Conversations; c != nil {
		if open {
			f.add(at+".conversations", "conversations belong to a closed loop: leave out rate, ramp and replay, and give a concurrency")
		}
		if c.Turns < 0 || c.MinTurns < 0 || c.MaxTurns < c.MinTurns || (c.MinTurns == 0) != (c.MaxTurns == 0) {
			f.add(at+".conversations", "give turns above 0, or min_turns and max_turns with 1 <= min <= max")
		}
		if c.Held < 0 || c.UserRequests < 0 || c.PauseRate < 0 {
			f.add(at+".conversations", "held, user_requests and pause_rate must not be negative")
		}
		if c.PauseRate > 0 && l.Think != 0 {
			f.add(at+".conversations.pause_rate", "it takes the place of think: leave out one of them")
		}
		if !slices.Contains([]string{"", "round_robin", "random"}, c.Sampling) {
			f.add(at+".conversations.sampling", "no sampling %q: have round_robin, random", c.Sampling)
		}
		if !slices.Contains([]string{"", "header", "body", "none"}, c.Session) {
			f.add(at+".conversations.session", "no session %q: have header, body, none", c.Session)
		}
		if c.TurnInputLen < 0 || c.SharedPrefix < 0 || c.OwnPrefix < 0 || c.SharedPrefix+c.OwnPrefix >= 1 {
			f.add(at+".conversations", "lengths and shares must not be negative, and the two shares together stay below 1")
		}
	}
	if open && l.MaxRate != 0 {
		f.add(at+".max_rate", "a ceiling belongs to a closed loop; an open loop has a rate")
	}
	if l.MaxRate < 0 || l.ProbeRate < 0 {
		f.add(at, "rates must not be negative")
	}
	if !open && l.Duration != 0 && l.Concurrency == 0 {
		f.add(at+".duration", "without a rate or a concurrency everything is sent at once: give one of them")
	}
}

func (s *Scenario) checkProfile(f *faults) {
	p := s.Profile
	if p == nil {
		return
	}
	if !slices.Contains([]string{"", "vllm", "sglang", "none"}, p.Kind) {
		f.add("profile.kind", "no profiler %q: have vllm, sglang, none", p.Kind)
	}
	var starts []string
	for _, one := range []struct {
		name  string
		given bool
	}{{"from", p.From != 0}, {"once_running", p.OnceRunning != 0}, {"once_in_flight", p.OnceInFlight != 0}, {"stage", p.Stage != ""}} {
		if one.given {
			starts = append(starts, one.name)
		}
	}
	if len(starts) > 1 {
		f.add("profile."+starts[1], "the bracket starts once: give one of %s", strings.Join(starts, ", "))
	}
	if len(starts) > 0 && starts[0] != "stage" && p.For == 0 {
		f.add("profile.for", "a bracket inside the load needs a length")
	}
	if p.OnceRunning < 0 || p.OnceInFlight < 0 {
		f.add("profile."+starts[0], "numbers of requests must not be negative")
	}
	if _, ok := s.stageNamed(p.Stage); p.Stage != "" && !ok {
		var have []string
		for i, stage := range s.Stages {
			have = append(have, cmp.Or(stage.Name, strconv.Itoa(i+1)))
		}
		if have == nil {
			f.add("profile.stage", "the load has no stages: give stages, or from and for")
		} else {
			f.add("profile.stage", "no stage %q: have %s", p.Stage, strings.Join(have, ", "))
		}
	}
	if p.Steps < 0 || p.Skip < 0 {
		f.add("profile.steps", "steps must not be negative")
	}
	if p.Collect != "" && !strings.Contains(p.Collect, "${dest}") {
		f.add("profile.collect", "the command must name ${dest}, the folder to bring the files to")
	}
}

// stageNamed is the index of a stage by its name, or by its number from 1.
func (s *Scenario) stageNamed(name string) (int, bool) {
	if i := slices.IndexFunc(s.Stages, func(stage Stage) bool { return stage.Name == name }); i >= 0 && name != "" {
		return i, true
	}
	n, err := strconv.Atoi(name)
	return n - 1, err == nil && n >= 1 && n <= len(s.Stages)
}

// sends says whether requests are sent at all: scripts and one-bucket profiles load themselves.
func (s *Scenario) sends() bool { return s.Script == nil && s.Server.EndsBy == "" }

// endsWithRows says that the dataset bounds the load.
func (s *Scenario) endsWithRows() bool {
	src, err := datasets.New(s.Dataset.Name)
	return err == nil && datasets.HasEnd(src)
}

func (s *Scenario) backend() string {
	if s.Backend == "" {
		return "vllm"
	}
	return s.Backend
}
