package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/datasets"
	"servebench/internal/argparse"
	"servebench/loadgen"
	"servebench/loadgen/api"
)

// benchPlan is what the flags come to.
type benchPlan struct {
	// Strict says that --compat vllm was given.
	Strict bool
	// Warnings are for the user before the run.
	Warnings []string
	// Kind is the backend. RootURL is the server's address without the endpoint, URL that with it.
	Kind         api.Kind
	RootURL, URL string
	// Headers are those of --header, in order.
	Headers [][2]string
	// Metadata are the words of --metadata.
	Metadata [][2]string
	// Extra are the sampling parameters and --extra-body, in the order of the body.
	Extra []datasets.Member
	// TemplateKwargs are --chat-template-kwargs; nil without.
	TemplateKwargs map[string]json.RawMessage
	// Metrics are the sections of the table, Percentiles the percentiles in each.
	Metrics     []string
	Percentiles []float64
	Goodput     []goal
	// TimelineMS are the two bounds of the timeline's colours; set only with --plot-timeline.
	TimelineMS [2]float64
	// SelfTimed says that requests go out at the dataset's time stamps.
	SelfTimed bool
	// RangeRatio is the spread of random lengths.
	RangeRatio spread
	MMLimit    map[string]int
	MMBuckets  []mmBucket
	// MaxFailures is nil when only a run in which everything failed counts as failed.
	MaxFailures *failureLimit
	Shard       loadgen.Shard
	StartAt     time.Time
	Sources     []netip.Addr
	// SweepConcurrency, SweepRates and SweepPercentiles are the lists of the --sweep flags.
	SweepConcurrency             []int
	SweepRates, SweepPercentiles []float64

	values *argparse.Values
	later  []benchFault
}

// A benchMoment is when the original notices a mistake. We tell before the first request; with
// --compat vllm the requests that it sends until then go out as well.
type benchMoment int

const (
	atStart      benchMoment = iota
	afterModel               // the model's name and the tokenizer are known
	afterDataset             // the dataset is loaded and aligned
	afterAdvice              // the advice about the temperature is printed
	beforeCheck              // the ready check is about to begin
	beforeWarmup             // the warm-ups are about to begin
	inRun                    // the metrics were read; the first request is about to go
	afterLoad                // the requests are done
	afterRun                 // the table is printed
)

type benchFault struct {
	when benchMoment
	err  error
}

// A benchError is a command line that reads well and makes no sense.
type benchError struct {
	faults []error
	status int
}

func (e *benchError) Error() string { return errors.Join(e.faults...).Error() }

// Status is the exit status: 2, or 1 with --compat vllm, as the original's.
func (e *benchError) Status() int { return e.status }

// Text is what to print.
func (e *benchError) Text() string {
	var out strings.Builder
	for _, fault := range e.faults {
		fmt.Fprintf(&out, "servebench bench serve: error: %v\n", fault)
	}
	return out.String()
}

// benchEnv is what a command line means something in.
type benchEnv struct {
	// Getenv looks up the environment.
	Getenv func(string) string
	// ReadConfig reads the file of --config; without it there is no such flag.
	ReadConfig func(path string) ([]argparse.Setting, error)
	// Now is when the command was given.
	Now time.Time
}

// parseBench reads the words after "bench serve" and checks what they ask for. Its error is an
// *argparse.Help, an *argparse.Error or a *benchError.
func parseBench(argv []string, env benchEnv) (*benchOptions, error) {
	strict := slices.Contains(argv, "--compat=vllm")
	for i := 1; i < len(argv); i++ {
		strict = strict || argv[i-1] == "--compat" && argv[i] == "vllm"
	}
	o, err := parseBenchAs(argv, env, strict)
	if err == nil && o.Compat != nil && !strict { // in the config file, or abbreviated
		o, err = parseBenchAs(argv, env, true)
	}
	if err != nil {
		return nil, err
	}
	return o, o.check(env)
}

func parseBenchAs(argv []string, env benchEnv, strict bool) (*benchOptions, error) {
	o := &benchOptions{}
	p := benchParser(o)
	p.ReadConfig = env.ReadConfig
	p.Strict = strict
	values, err := p.Parse(argv)
	if err != nil {
		return nil, err
	}
	o.values, o.Strict, o.Warnings = values, strict, values.Warnings
	return o, nil
}

// Given says that the flag with that key (num_prompts) was on the command line or in the config file.
func (o *benchOptions) Given(dest string) bool { return o.values.Given(dest) }

// FaultAt is the first mistake that the original notices at that moment. There are none left without --compat vllm.
func (o *benchOptions) FaultAt(when benchMoment) error {
	for _, f := range o.later {
		if f.when == when {
			return f.err
		}
	}
	return nil
}

// checker collects faults in the original's order.
type checker struct {
	*benchOptions
	env    benchEnv
	faults []benchFault
}

// add notes a mistake.
func (c *checker) add(when benchMoment, format string, args ...any) {
	c.faults = append(c.faults, benchFault{when, fmt.Errorf(format, args...)})
}

// better notes a mistake that the original does not see.
func (c *checker) better(format string, args ...any) {
	if !c.Strict {
		c.add(atStart, format, args...)
	}
}

// worse notes what only the original stumbles over.
func (c *checker) worse(when benchMoment, format string, args ...any) {
	if c.Strict {
		c.add(when, format, args...)
	}
}

func (c *checker) warn(format string, args ...any) {
	if !c.Strict {
		c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
	}
}

func (o *benchOptions) check(env benchEnv) error {
	c := &checker{benchOptions: o, env: env}
	kind, err := api.KindOf(o.Backend)
	if err != nil {
		c.add(atStart, "--backend: %w", err)
	}
	o.Kind = kind
	c.load()
	c.target()
	c.dataset()
	c.request()
	c.report()
	c.run()
	c.native()
	c.own()
	var now []error
	for _, f := range c.faults {
		switch {
		case !o.Strict:
			now = append(now, f.err)
		case f.when == atStart:
			return &benchError{faults: []error{f.err}, status: 1}
		default:
			o.later = append(o.later, f)
		}
	}
	if now != nil {
		return &benchError{faults: now, status: 2}
	}
	return nil
}

// load is the part of the checks before anything else: concurrency, seed, plots, ramp.
func (c *checker) load() {
	if c.MaxConcurrency != nil && *c.MaxConcurrency <= 0 {
		c.add(atStart, "--max-concurrency %d: must be above 0; leave it out for no limit", *c.MaxConcurrency)
	}
	if c.Seed < 0 || int64(c.Seed) > 1<<32-1 {
		c.add(atStart, "--seed %d: must be from 0 to 2^32-1", c.Seed)
	}
	if c.PlotTimeline {
		bounds, err := floatsOf(c.TimelineITL)
		if err != nil {
			c.add(atStart, "--timeline-itl-thresholds %s: %w", c.TimelineITL, err)
		} else if len(bounds) != 2 {
			c.add(atStart, "--timeline-itl-thresholds %s: needs two values such as 25,50", c.TimelineITL)
		} else {
			c.TimelineMS = [2]float64(bounds)
		}
	}
	if c.RampStrategy == nil {
		if c.RampStart != nil || c.RampEnd != nil {
			c.warn("--ramp-up-start-rps and --ramp-up-end-rps do nothing without --ramp-up-strategy")
		}
		return
	}
	switch {
	case c.RequestRate != inf:
		c.add(atStart, "--request-rate has no place beside --ramp-up-strategy: the ramp sets the rate")
	case c.RampStart == nil || c.RampEnd == nil:
		c.add(atStart, "--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps")
	case *c.RampStart < 0 || *c.RampEnd < 0:
		c.add(atStart, "--ramp-up-start-rps and --ramp-up-end-rps must not be negative")
	case *c.RampStart > *c.RampEnd:
		c.add(atStart, "--ramp-up-start-rps %d is above --ramp-up-end-rps %d", *c.RampStart, *c.RampEnd)
	case *c.RampStart == 0 && *c.RampStrategy == "exponential":
		c.add(atStart, "--ramp-up-start-rps 0: an exponential ramp has to start above 0")
	case *c.RampStart == 0:
		c.add(inRun, "--ramp-up-start-rps 0: at that rate the first request is never due; start at 1")
	}
}

func (c *checker) target() {
	c.RootURL = "http://" + joinHostPort(c.Host, c.Port)
	if c.BaseURL != nil {
		c.RootURL = *c.BaseURL
		u, err := url.Parse(*c.BaseURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "unix" || u.Scheme != "unix" && u.Host == "" {
			c.better("--base-url %q: must be http://host:port or https://host:port", *c.BaseURL)
		}
	} else {
		if c.Port < 1 || c.Port > 65535 {
			c.better("--port %d: must be from 1 to 65535", c.Port)
		}
		if c.Host == "" || strings.ContainsAny(c.Host, "/ ?#@") {
			c.better("--host %q: must be a name or an address; an address with http:// goes into --base-url", c.Host)
		}
	}
	if !c.Given("endpoint") && !c.Strict {
		c.Endpoint = c.Kind.Path
	}
	if strings.HasSuffix(c.RootURL, "/") && strings.HasPrefix(c.Endpoint, "/") {
		c.warn("--base-url ends with / and the endpoint begins with one: requests go to %s", c.RootURL+c.Endpoint)
	}
	c.URL = c.RootURL + c.Endpoint
	headers, err := pairsOf(c.Header)
	if err != nil {
		c.add(atStart, "--header: %w", err)
	}
	for _, h := range headers {
		if h[0] == "" || strings.ContainsFunc(h[0], func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			c.better("--header: %q is no name of a header", h[0])
		}
		if strings.ContainsAny(h[1], "\r\n\x00") {
			c.better("--header %s: the value has a line break", h[0])
		}
	}
	c.Headers = headers
}

// joinHostPort puts an IPv6 address into brackets.
func joinHostPort(host string, port int) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

var madeUp = []string{"random", "random-mm", "random-rerank", "prefix_repetition"}

func (c *checker) dataset() {
	isMadeUp := slices.Contains(madeUp, c.DatasetName)
	switch {
	case isMadeUp && c.DatasetPath != nil:
		c.add(afterModel, "--dataset-path has no place beside --dataset-name %s, which is made up: name the kind of the file", c.DatasetName)
	case !isMadeUp && c.DatasetPath == nil:
		c.better("--dataset-name %s needs --dataset-path", c.DatasetName)
	}
	if !slices.Contains([]string{"custom", "custom_image", "custom_audio"}, c.DatasetName) && c.SkipTokenizer {
		c.worse(afterModel, "--skip-tokenizer-init: dataset %s needs a tokenizer", c.DatasetName)
	}
	if c.InputLen != nil {
		c.RandomInputLen = *c.InputLen
	}
	if c.OutputLen != nil {
		n := *c.OutputLen
		c.RandomOutputLen, c.CustomOutputLen, c.SpecBenchOutputLen, c.PrefixOutputLen = n, n, n, n
		c.ShareGPTOutputLen, c.HFOutputLen = &n, &n
	}
	if c.SpeedBenchConfig != nil {
		c.SpeedBenchSubset = *c.SpeedBenchConfig
	}
	isTrace := c.DatasetName == "timed_trace"
	if isTrace || (c.DatasetName == "random" || c.DatasetName == "random-mm") && c.Kind.Sampling {
		c.IgnoreEOS = true
	}
	c.SelfTimed = isTrace
	if c.SelfTimedFlag != nil {
		c.SelfTimed = *c.SelfTimedFlag
		if !isTrace {
			c.add(afterModel, "--self-timed and --no-self-timed are for --dataset-name timed_trace, not %s", c.DatasetName)
		}
	}
	if isTrace && c.Backend != "vllm" && c.Backend != "openai" {
		c.add(afterModel, "--dataset-name timed_trace sends token ids: --backend must be vllm or openai, not %s", c.Backend)
	}
	if c.DatasetName == "random-mm" && c.Backend != "openai-chat" && c.Backend != "openai-audio" {
		c.add(afterModel, "--dataset-name random-mm: --backend must be openai-chat or openai-audio, not %s", c.Backend)
	}
	if c.NumPrompts <= 0 && !slices.Contains([]string{"custom", "custom_image", "custom_audio", "spec_bench", "speed_bench"}, c.DatasetName) {
		c.better("--num-prompts %d: dataset %s has no end, so it must be above 0", c.NumPrompts, c.DatasetName)
		when := afterAdvice
		if c.NumPrompts < 0 && (strings.HasPrefix(c.DatasetName, "random") || c.DatasetName == "burstgpt") {
			when = afterModel
		}
		c.worse(when, "--num-prompts %d: no requests come of it", c.NumPrompts)
	}
	if strings.HasPrefix(c.DatasetName, "random") {
		if !c.Strict && !c.LegacyRangeRatio && c.DatasetName == "random" && isOne(c.RandomRangeRatio) {
			// Instructions from before vLLM 0.8.4 say 1.0, which today's client refuses: it can only mean this.
			c.LegacyRangeRatio = true
			c.warn("--random-range-ratio 1.0 is taken in its old meaning, exact lengths: %s", ratioMeaning)
		}
		var err error
		if c.RangeRatio, err = spreadOf(c.RandomRangeRatio, c.LegacyRangeRatio); err != nil {
			c.add(afterModel, "--random-range-ratio %w", err)
		}
	} else if c.LegacyRangeRatio {
		c.warn("--legacy-range-ratio does nothing with dataset %s", c.DatasetName)
	}
	c.MMBuckets = bucketsOf(c.MMBucketDict)
	c.multimodalLimits()
	if c.TemplateKwargsJSON != nil {
		kwargs, ok := c.TemplateKwargsJSON.(*argparse.Dict)
		if !ok {
			c.add(afterModel, "--chat-template-kwargs %s: must be a JSON object", argparse.Dumps(c.TemplateKwargsJSON))
		} else {
			c.TemplateKwargs = map[string]json.RawMessage{}
			for key, value := range kwargs.All() {
				c.TemplateKwargs[key.(string)] = json.RawMessage(argparse.Dumps(value))
			}
		}
	}
}

func (c *checker) multimodalLimits() {
	limits, ok := c.MMLimitJSON.(*argparse.Dict)
	if !ok {
		c.add(afterModel, "--random-mm-limit-mm-per-prompt %s: must be a JSON object", argparse.Dumps(c.MMLimitJSON))
		return
	}
	c.MMLimit = map[string]int{}
	for key, value := range limits.All() {
		n, ok := value.(int)
		if !ok || n < 0 {
			c.add(afterModel, "--random-mm-limit-mm-per-prompt: %s must be a number from 0 on, not %s", key, argparse.Dumps(value))
			continue
		}
		c.MMLimit[key.(string)] = n
	}
}

// request puts sampling parameters and the extra body together.
func (c *checker) request() {
	body := &argparse.Dict{}
	real := func(key string, value *float64) {
		if value != nil {
			body.Set(key, *value)
		}
	}
	real("top_p", c.TopP)
	if c.TopK != nil {
		body.Set("top_k", *c.TopK)
	}
	real("min_p", c.MinP)
	real("temperature", c.Temperature)
	real("frequency_penalty", c.FrequencyPenalty)
	real("presence_penalty", c.PresencePenalty)
	real("repetition_penalty", c.RepetitionPenalty)
	if body.Len() > 0 && !c.Kind.Sampling {
		if !c.Kind.Pooling {
			c.add(afterDataset, "sampling parameters have no meaning for --backend %s: leave them out, or put what the server takes into --extra-body", c.Backend)
		}
		c.warn("sampling parameters are not sent: they have no meaning for --backend %s", c.Backend)
		body = &argparse.Dict{}
	}
	if c.UseBeamSearch {
		c.better("--use-beam-search has no effect in the original and none here: put what the server takes into --extra-body, or leave it out")
	}
	switch extra := c.ExtraBodyJSON.(type) {
	case nil:
	case *argparse.Dict:
		for key, value := range extra.All() {
			body.Set(key, value)
		}
	default:
		if !c.Strict || !falsy(extra) {
			c.add(afterDataset, "--extra-body %s: must be a JSON object", argparse.Dumps(extra))
		}
	}
	for key, value := range body.All() {
		c.Extra = append(c.Extra, datasets.Member{Key: key.(string), Value: argparse.StrictJSON(value)})
	}
}

// falsy is what Python takes for no value at all.
func falsy(value any) bool {
	switch v := value.(type) {
	case bool:
		return !v
	case int:
		return v == 0
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	}
	return false
}

var metricNames = []string{"ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue"}

func (c *checker) report() {
	goals, err := goalsOf(c.GoodputFlag)
	if err != nil {
		c.add(afterDataset, "--goodput: %w", err)
	}
	c.Goodput = goals
	c.Percentiles, err = floatsOf(c.MetricPercentiles)
	if err != nil {
		c.add(afterAdvice, "--metric-percentiles %s: %w", c.MetricPercentiles, err)
	}
	for _, p := range c.Percentiles {
		if !(p >= 0 && p <= 100) {
			c.add(afterLoad, "--metric-percentiles %s: %s is not from 0 to 100", c.MetricPercentiles, argparse.FloatRepr(p))
		}
	}
	list := "ttft,tpot,itl"
	if c.Kind.Pooling {
		list = "e2el"
	}
	if c.PercentileMetrics != nil && *c.PercentileMetrics != "" {
		list = *c.PercentileMetrics
	}
	c.Metrics = []string{} // none that is known is none, not the usual ones
	for name := range strings.SplitSeq(list, ",") {
		if !c.Strict {
			name = strings.TrimSpace(name)
		}
		switch {
		case slices.Contains(metricNames, name):
			if !slices.Contains(c.Metrics, name) {
				c.Metrics = append(c.Metrics, name)
			}
		case name != "":
			c.better("--percentile-metrics: no metric %q: have %s", name, strings.Join(metricNames, ", "))
		}
	}
	c.Metadata, err = pairsOf(c.MetadataFlag)
	if err != nil {
		c.add(afterRun, "--metadata: %w", err)
	}
	saves := c.SaveResult || c.AppendResult
	if c.PlotDatasetStats && !saves && !c.PlotTimeline {
		c.worse(afterRun, "--plot-dataset-stats alone has no file name: add --save-result")
	}
	hasName := c.ResultFilename != nil && *c.ResultFilename != ""
	if saves && !hasName && c.env.Getenv != nil && c.env.Getenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT") != "" {
		c.worse(afterRun, "SAVE_TO_PYTORCH_BENCHMARK_FORMAT needs --result-filename")
	}
}

// run is what the original sees only when the first request is about to go.
func (c *checker) run() {
	if c.Kind.Dialect != nil {
		if err := api.Fits(c.Backend, c.Kind.Dialect, c.URL); err != nil {
			when := inRun
			switch {
			case c.ReadyTimeoutSecs > 0:
				when = beforeCheck
			case c.NumWarmups > 0:
				when = beforeWarmup
			}
			c.add(when, "--endpoint: %w", err)
		}
	}
	if c.SelfTimed {
		return
	}
	if !(c.RequestRate > 0) {
		c.add(inRun, "--request-rate %s: must be above 0; inf sends all at once", argparse.FloatRepr(c.RequestRate))
	}
	if !(c.Burstiness > 0) {
		c.add(inRun, "--burstiness %s: must be above 0; 1 is a Poisson process", argparse.FloatRepr(c.Burstiness))
	}
}

// native checks the flags of vLLM's native client.
func (c *checker) native() {
	if c.Compare != nil && len(c.Compare) != 2 {
		c.add(atStart, "--compare needs two files, not %d", len(c.Compare))
	}
	if c.SweepMaxConcurrency != nil && c.SweepRequestRate != nil {
		c.add(atStart, "--sweep-max-concurrency and --sweep-request-rate: give one of them")
	}
	if c.SweepMaxConcurrency != nil {
		for part := range strings.SplitSeq(*c.SweepMaxConcurrency, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || n < 1 {
				c.add(atStart, "--sweep-max-concurrency: %q is no number from 1 on", part)
			}
			c.SweepConcurrency = append(c.SweepConcurrency, n)
		}
	}
	if c.SweepRequestRate != nil {
		rates, err := floatsOf(*c.SweepRequestRate)
		if err != nil {
			c.add(atStart, "--sweep-request-rate: %w", err)
		}
		for _, rate := range rates {
			if !(rate > 0) {
				c.add(atStart, "--sweep-request-rate: %s must be above 0", argparse.FloatRepr(rate))
			}
		}
		c.SweepRates = rates
	}
	if c.SweepSummaryPercentiles != nil {
		var err error
		if c.SweepPercentiles, err = floatsOf(*c.SweepSummaryPercentiles); err != nil {
			c.add(atStart, "--sweep-summary-percentiles: %w", err)
		}
		for _, p := range c.SweepPercentiles {
			if !(p >= 0 && p <= 100) {
				c.add(atStart, "--sweep-summary-percentiles: %s is not from 0 to 100", argparse.FloatRepr(p))
			}
		}
	}
	if c.SweepNumPromptsFactor != nil {
		if *c.SweepNumPromptsFactor < 1 {
			c.add(atStart, "--sweep-num-prompts-factor %d: must be above 0", *c.SweepNumPromptsFactor)
		}
		if c.SweepMaxConcurrency == nil {
			c.add(atStart, "--sweep-num-prompts-factor needs --sweep-max-concurrency")
		}
	}
	if c.NumRuns < 1 {
		c.add(atStart, "--num-runs %d: must be above 0", c.NumRuns)
	}
	c.positive("--max-model-len", c.MaxModelLen)
	c.positive("--speed-bench-max-input-len", c.SpeedBenchMaxInputLen)
	c.positive("--profile-batch-threshold", c.ProfileBatchThreshold)
	c.positive("--multi-turn-concurrency", c.MultiTurnConcurrency)
	if c.ProfileBatchThreshold != nil && !c.Profile {
		c.add(atStart, "--profile-batch-threshold needs --profile")
	}
	if !(c.ProfileDuration > 0) {
		c.add(atStart, "--profile-duration %s: must be above 0", argparse.FloatRepr(c.ProfileDuration))
	}
	if !(c.SteadyStateThreshold > 0 && c.SteadyStateThreshold <= 1) {
		c.add(atStart, "--steady-state-threshold %s: must be above 0 and at most 1", argparse.FloatRepr(c.SteadyStateThreshold))
	}
	if c.SteadyStateMinWindow != nil && !(*c.SteadyStateMinWindow >= 0) {
		c.add(atStart, "--steady-state-min-window %s: must not be negative", argparse.FloatRepr(*c.SteadyStateMinWindow))
	}
	for _, share := range []struct {
		flag  string
		value float64
	}{
		{"--random-cache-hit-fraction", c.CacheHitFraction}, {"--random-cache-ratio", c.CacheRatio},
		{"--multi-turn-prefix-global-ratio", c.MultiTurnGlobalPrefix}, {"--multi-turn-prefix-conversation-ratio", c.MultiTurnConversationPart},
	} {
		if !(share.value >= 0 && share.value <= 1) {
			c.add(atStart, "%s %s: must be from 0 to 1", share.flag, argparse.FloatRepr(share.value))
		}
	}
	if c.DatasetName != "random" && c.PromptTokenIDs {
		c.add(atStart, "--prompt-token-ids is for --dataset-name random, not %s", c.DatasetName)
	}
	if (c.CacheHitFraction > 0 || c.CacheRatio > 0) && !c.PromptTokenIDs {
		c.add(atStart, "--random-cache-hit-fraction and --random-cache-ratio need --prompt-token-ids")
	}
	if c.PromptTokenIDs && c.Backend != "vllm" && c.Backend != "openai" {
		c.add(atStart, "--prompt-token-ids: --backend must be vllm or openai, not %s", c.Backend)
	}
	c.turns()
}

func (c *checker) turns() {
	if !c.MultiTurn {
		for _, key := range []string{"multi_turn_num_turns", "multi_turn_min_turns", "multi_turn_max_turns", "multi_turn_concurrency", "multi_turn_delay_ms",
			"per_turn_input_len", "multi_turn_prefix_global_ratio", "multi_turn_prefix_conversation_ratio"} {
			if c.Given(key) {
				c.warn("--%s does nothing without --multi-turn", strings.ReplaceAll(key, "_", "-"))
			}
		}
		return
	}
	if c.Backend != "openai-chat" {
		c.add(atStart, "--multi-turn: --backend must be openai-chat, not %s", c.Backend)
	}
	if c.RequestRate != inf || c.RampStrategy != nil {
		c.add(atStart, "--multi-turn is a closed loop, in which each turn waits for the answer before: leave --request-rate and ramps out, and give --max-concurrency")
	}
	if c.PromptTokenIDs {
		c.add(atStart, "--multi-turn sends texts: leave --prompt-token-ids out")
	}
	if c.MultiTurnTurns < 1 {
		c.add(atStart, "--multi-turn-num-turns %d: must be above 0", c.MultiTurnTurns)
	}
	if least, most := c.turnRange(); least < 0 || most < least {
		c.add(atStart, "--multi-turn-min-turns %d, --multi-turn-max-turns %d: give 1 <= min <= max, or neither; one alone goes with --multi-turn-num-turns %d", c.MultiTurnMinTurns, c.MultiTurnMaxTurns, c.MultiTurnTurns)
	}
	if !(c.MultiTurnDelayMS >= 0) {
		c.add(atStart, "--multi-turn-delay-ms %s: must not be negative", argparse.FloatRepr(c.MultiTurnDelayMS))
	}
	if c.PerTurnInputLen < 0 {
		c.add(atStart, "--per-turn-input-len %d: must not be negative", c.PerTurnInputLen)
	}
	if c.MultiTurnGlobalPrefix+c.MultiTurnConversationPart >= 1 {
		c.add(atStart, "--multi-turn-prefix-global-ratio and --multi-turn-prefix-conversation-ratio together must stay below 1")
	}
}

func (c *checker) positive(flag string, value *int) {
	if value != nil && *value < 1 {
		c.add(atStart, "%s %d: must be above 0", flag, *value)
	}
}

// own checks our own flags.
func (c *checker) own() {
	getenv := c.env.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	// To the original, --out is short for --output-len: a line that relies on it must not run with another length.
	if c.Out != nil {
		if _, err := strconv.Atoi(*c.Out); err == nil {
			c.add(atStart, "--out %s would be a folder: for the length of outputs write --output-len", *c.Out)
		}
	}
	var err error
	if c.MaxFailuresFlag != nil {
		var limit failureLimit
		if limit, err = failureLimitOf(*c.MaxFailuresFlag); err != nil {
			c.add(atStart, "--max-failures: %w", err)
		}
		c.MaxFailures = &limit
	}
	if c.ShardFlag != nil {
		if c.Shard, err = shardOf(*c.ShardFlag, getenv); err != nil {
			c.add(atStart, "--shard: %w", err)
		}
		if c.Shard.N > 1 && c.Out == nil {
			c.add(atStart, "--shard: a part of a load is of use only when it is kept: give --out, and merge the parts with servebench merge")
		}
		if c.Shard.N > 1 && !c.Given("request_id_prefix") {
			c.warn("--shard without --request-id-prefix: every part has request ids of its own")
		}
	}
	if c.StartAtFlag != nil {
		if c.StartAt, err = startOf(*c.StartAtFlag, c.env.Now); err != nil {
			c.add(atStart, "--start-at: %w", err)
		} else if c.StartAt.Before(c.env.Now) {
			c.add(atStart, "--start-at %s has passed", *c.StartAtFlag)
		}
	}
	if c.Sources, err = addressesOf(c.SourceAddressFlag); err != nil {
		c.add(atStart, "--source-address: %w", err)
	}
	for _, limit := range []struct {
		flag  string
		value float64
	}{{"--connect-timeout-sec", c.ConnectTimeoutSecs}, {"--request-timeout-sec", c.RequestTimeoutSecs}} {
		if !(limit.value >= 0 && limit.value < 1e9) {
			c.add(atStart, "%s %s: must be from 0 to 1e9", limit.flag, argparse.FloatRepr(limit.value))
		}
	}
	if c.ProfileOptional && !c.Profile {
		c.warn("--profile-optional does nothing without --profile")
	}
	if c.TraceDir != nil && !c.Profile {
		c.warn("--trace-dir does nothing without --profile")
	}
	if c.RebaseTrace && c.DatasetName != "timed_trace" {
		c.warn("--timed-trace-rebase does nothing with dataset %s", c.DatasetName)
	}
}
