package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"servebench/datasets"
	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

func benchCommand(i *interrupts) *cobra.Command {
	bench := &cobra.Command{
		Use:     "bench",
		Short:   "The command line of vllm bench",
		Example: "  servebench bench serve --model facebook/opt-125m --num-prompts 100",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	serve := &cobra.Command{
		Use:                "serve",
		Short:              "Load a server with the flags of vllm bench serve",
		DisableFlagParsing: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, last string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, c := range benchCommandParser().Complete(args, last) {
				words = append(words, c.Word+"\t"+c.Help)
			}
			return words, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return benchServe(cmd, i, args) },
	}
	bench.AddCommand(serve, multiTurnCommand(i), sweepCommand())
	return bench
}

func benchServe(cmd *cobra.Command, i *interrupts, args []string) error {
	o, err := parseBench(args, benchEnv{Getenv: os.Getenv, ReadConfig: scenario.ReadSettings, Now: time.Now()})
	var help *argparse.Help
	var usage *argparse.Error
	var wrong *benchError
	switch {
	case errors.As(err, &help):
		_, err := fmt.Fprint(cmd.OutOrStdout(), help.Text)
		return err
	case errors.As(err, &usage):
		fmt.Fprint(cmd.ErrOrStderr(), usage.Text())
		return exitCode{code: usage.Status()}
	case errors.As(err, &wrong):
		fmt.Fprint(cmd.ErrOrStderr(), wrong.Text())
		return exitCode{code: wrong.Status()}
	case err != nil:
		return err
	}
	if o.Strict && o.values.ConfigPath != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "servebench bench serve: error: the original cannot use --config here: leave out --compat vllm, or the file")
		return exitCode{code: exitUsage}
	}
	if o.templateByServer() {
		o.Warnings = append(o.Warnings, "the server puts chat messages into the model's template, so it is not put around prompts here; the original does both")
	}
	for _, w := range o.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
	}
	switch {
	case o.Compare != nil:
		return failed(compareSaved(cmd.OutOrStdout(), o.Compare[0], o.Compare[1]))
	case o.DryRun:
		return o.dry(cmd)
	case o.repeats():
		return o.repeat(cmd, i)
	}
	s, err := o.scenario()
	if err != nil {
		return err
	}
	return o.run(cmd, i, s)
}

// templateByServer says that the template is left to the server, which applies it to chat messages. The original's client
// applies it too.
func (o *benchOptions) templateByServer() bool {
	templated := slices.Contains([]string{"custom", "spec_bench", "speed_bench", "hf"}, o.DatasetName)
	return templated && o.Backend == "openai-chat" && !o.SkipChatTemplate && !o.Strict
}

// scenario turns the flags into one.
func (o *benchOptions) scenario() (*scenario.Scenario, error) {
	s := &scenario.Scenario{
		Name: "bench-serve", Seed: int64(o.Seed), Model: deref(o.Model), ServedModel: deref(o.ServedModelName), Tokenizer: deref(o.Tokenizer),
		Backend: o.Backend, Endpoint: o.Endpoint,
		Server: scenario.Server{
			URL: o.RootURL, Insecure: o.Insecure, Proxy: deref(o.Proxy), HTTP2: o.HTTPVersion == "2",
			ConnectWithin: seconds(o.ConnectTimeoutSecs), AnswerWithin: seconds(o.RequestTimeoutSecs),
		},
		Body: scenario.Body{IgnoreEOS: o.IgnoreEOS, Logprobs: o.Logprobs, RequestIDPrefix: o.RequestIDPrefix},
		Load: scenario.Load{Requests: max(0, o.NumPrompts), ProbeRate: max(0, o.ProbeRate), Replay: o.SelfTimed, Rebase: o.SelfTimed && o.RebaseTrace},
		Warmup: scenario.Warmup{
			Requests: max(0, o.NumWarmups), ReadyCheck: scenario.Duration(max(0, o.ReadyTimeoutSecs)) * scenario.Duration(time.Second),
		},
		Report: scenario.Report{Metrics: o.Metrics, Percentiles: o.Percentiles, Texts: o.SaveDetailed, Compat: deref(o.Compat)},
	}
	if s.Load.Requests == 0 && (o.FaultAt(afterModel) != nil || o.FaultAt(afterAdvice) != nil) {
		s.Load.Requests = 1 // the run ends before it
	}
	if o.Model == nil {
		s.ServedModel = "" // the original takes both names from the server then
	}
	if o.SkipTokenizer {
		s.Tokenizer = "none"
	}
	for _, a := range o.Sources {
		s.Server.SourceAddresses = append(s.Server.SourceAddresses, a.String())
	}
	for _, h := range o.Headers {
		s.Headers = append(s.Headers, results.Pair{Key: h[0], Value: h[1]})
	}
	for _, m := range o.Metadata {
		s.Metadata = append(s.Metadata, results.Pair{Key: m[0], Value: m[1]})
	}
	if len(o.Extra) > 0 {
		s.Body.Extra = object(o.Extra)
	}
	if o.MaxConcurrency != nil {
		s.Load.Concurrency = *o.MaxConcurrency
	}
	if o.RampStrategy != nil {
		s.Load.Ramp = &scenario.Ramp{Shape: *o.RampStrategy, From: float64(*o.RampStart), To: float64(*o.RampEnd)}
	} else if !math.IsInf(o.RequestRate, 1) && o.FaultAt(inRun) == nil { // a rate that makes no sense is told when the original tells it
		rate := scenario.Rate(o.RequestRate)
		s.Load.Rate = &rate
	}
	if o.Burstiness != 1 && o.FaultAt(inRun) == nil {
		shape := scenario.Rate(o.Burstiness)
		s.Load.Burstiness = &shape
	}
	if len(o.LoraModules) > 0 {
		s.Lora = &scenario.Lora{Modules: o.LoraModules, Assignment: o.LoraAssignment}
	}
	for _, g := range o.Goodput {
		if s.Objectives.Goodput == nil {
			s.Objectives.Goodput = map[string]scenario.Duration{}
		}
		s.Objectives.Goodput[g.Name] = scenario.Duration(g.MS * float64(time.Millisecond))
	}
	if o.Profile {
		s.Profile = &scenario.Profile{Optional: o.ProfileOptional || o.Strict}
		if o.ProfileBatchThreshold != nil {
			s.Profile.OnceRunning, s.Profile.For = *o.ProfileBatchThreshold, seconds(o.ProfileDuration)
		}
	}
	s.Dataset = o.dataset()
	if o.MultiTurn {
		o.talk(s)
	}
	return s, nil
}

func seconds(s float64) scenario.Duration { return scenario.Duration(s * float64(time.Second)) }

func deref(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// object is members as a JSON object.
func object(list []datasets.Member) scenario.JSON {
	b := []byte("{")
	for i, m := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		key, _ := json.Marshal(m.Key) // a string always has a JSON form
		b = append(append(append(b, key...), ": "...), m.Value...)
	}
	return append(b, '}')
}

// dataset is the dataset's part of the flags, with only the settings that its kind has.
func (o *benchOptions) dataset() scenario.Dataset {
	d := scenario.Dataset{
		Name: o.DatasetName, Path: deref(o.DatasetPath), NoOversample: o.NoOversample, KeepOrder: o.DisableShuffle, SkipTemplate: o.SkipChatTemplate || o.templateByServer(),
		Chat: o.MultimodalChat,
	}
	if o.MaxModelLen != nil {
		d.MaxModelLen = *o.MaxModelLen
	}
	if o.TemplateKwargs != nil {
		d.TemplateArgs, _ = json.Marshal(o.TemplateKwargs) // raw messages always have a JSON form
	}
	options := map[string]any{}
	set := func(key string, value any) { options[key] = value }
	random := func() {
		d.InputLen, d.OutputLen, d.PrefixLen = &o.RandomInputLen, &o.RandomOutputLen, &o.RandomPrefixLen
		d.RangeRatio = scenario.Ratio{Input: o.RangeRatio.Input, Output: o.RangeRatio.Output}
	}
	switch o.DatasetName {
	case "random":
		random()
		d.LegacyRangeRatio = o.LegacyRangeRatio
		if o.RandomBatchSize != 1 {
			set("batch_size", o.RandomBatchSize)
		}
		if o.PromptTokenIDs {
			set("token_ids", true)
		}
		if o.CacheHitFraction > 0 {
			set("cache_hit_fraction", o.CacheHitFraction)
			set("cache_ratio", o.CacheRatio)
		}
	case "random-mm":
		random()
		set("base_items_per_request", o.MMBaseItems)
		set("num_mm_items_range_ratio", o.MMItemsRangeRatio)
		set("limit_mm_per_prompt", o.MMLimit)
		set("bucket_config", o.MMBuckets)
	case "random-rerank":
		d.InputLen = &o.RandomInputLen
		set("input_range", o.RangeRatio.Input)
		set("batch_size", o.RandomBatchSize)
		set("no_reranker", o.NoReranker)
	case "prefix_repetition":
		set("prefix_len", o.PrefixLen)
		set("suffix_len", o.PrefixSuffixLen)
		set("num_prefixes", o.PrefixCount)
		set("output_len", o.PrefixOutputLen)
	case "sharegpt":
		d.OutputLen = o.ShareGPTOutputLen
	case "custom", "custom_audio":
		set("output_len", o.CustomOutputLen)
	case "custom_image":
		set("output_len", o.CustomOutputLen)
		set("inline", o.CustomClientSideData)
	case "spec_bench":
		set("output_len", o.SpecBenchOutputLen)
		set("category", deref(o.SpecBenchCategory))
	case "speed_bench":
		set("output_len", o.SpeedBenchOutputLen)
		set("subset", o.SpeedBenchSubset)
		set("category", deref(o.SpeedBenchCategory))
		if o.SpeedBenchMaxInputLen != nil {
			set("max_input_len", *o.SpeedBenchMaxInputLen)
		}
	case "timed_trace":
		set("chunk_hash_size", o.TraceChunkHashSize)
		set("sec_multiplier", o.TraceSecMultiplier)
		set("label_timestamp", o.TraceTimestampKey)
		set("label_input_length", o.TraceInputLengthKey)
		set("label_output_length", o.TraceOutputLengthKey)
		set("label_hash_ids", o.TraceHashIDsKey)
	case "hf":
		d.OutputLen = o.HFOutputLen
		set("name", deref(o.HFName))
		set("text_column", deref(o.HFTextColumn))
		set("subset", deref(o.HFSubset))
		set("split", deref(o.HFSplit))
		set("no_stream", o.NoStream)
		set("min_distance", o.BlazeditMinDistance)
		set("max_distance", o.BlazeditMaxDistance)
		set("min_audio_len_sec", o.ASRMinAudioSecs)
		if !math.IsInf(o.ASRMaxAudioSecs, 1) {
			set("max_audio_len_sec", o.ASRMaxAudioSecs)
		}
		if o.BFCLCategories != nil {
			set("categories", o.BFCLCategories)
		}
	}
	if len(options) > 0 {
		d.Options, _ = json.Marshal(options) // plain values always have a JSON form
	}
	return d
}

// run carries the scenario out and writes vLLM's files.
func (o *benchOptions) run(cmd *cobra.Command, i *interrupts, s *scenario.Scenario) error {
	if err := o.files(); err != nil {
		return err
	}
	_, err := o.once(cmd, i, s, "")
	return err
}

// once is one run. part is its name among several, empty when it is the only one; it becomes part of the names of its files. The
// result is nil when the scenario makes no sense.
func (o *benchOptions) once(cmd *cobra.Command, i *interrupts, s *scenario.Scenario, part string) (*scenario.Result, error) {
	options := scenario.Options{
		URL: o.RootURL, Traces: deref(o.TraceDir), Shard: o.Shard, Command: os.Args, NoCanary: o.NoCanary, WarmConnections: o.WarmConnections,
	}
	if !o.StartAt.IsZero() {
		options.StartAt = results.Moment(o.StartAt.UnixNano())
	}
	keep := true
	switch {
	case o.Out != nil:
		options.Dir = filepath.Join(*o.Out, filepath.FromSlash(part))
	case o.Profile && !o.Strict:
		options.Dir = freshFolder(filepath.Join("runs", "bench-serve-"+time.Now().Format("20060102-150405")))
	default:
		dir, err := os.MkdirTemp("", "servebench-")
		if err != nil {
			return nil, failed(err)
		}
		defer os.RemoveAll(dir)
		options.Dir, keep = filepath.Join(dir, "run"), false
	}
	if o.FaultAt(afterLoad) != nil {
		s.Report.Percentiles = nil // told when the original tells it
	}
	options.Check = func(p scenario.Point) error { return o.FaultAt(moments[p]) }
	options.Settings = func(st *results.Settings) { st.Label, st.NumPrompts = deref(o.Label), o.NumPrompts }
	progress := newProgress(cmd.ErrOrStderr())
	progress.quiet = o.DisableTqdm
	options.Watcher, options.Leave = progress, i.leave
	talk := &benchTalk{o: o, w: cmd.OutOrStdout()}
	if o.Strict {
		talk.attach(&options)
	}
	if o.ResetPrefixCache {
		if err := o.resetPrefixCache(cmd.Context()); err != nil {
			return nil, failed(err)
		}
	}
	result, err := scenario.Run(cmd.Context(), s, options)
	progress.close()
	if result == nil {
		return nil, err
	}
	if o.Strict {
		talk.loaded(profileOf(result))
	}
	if result.Summary != nil && o.Strict {
		for _, f := range result.Summary.Failures {
			if f.Class == results.FailRequest { // the original dies of a request that it cannot put together
				return result, failed(errors.Join(err, errors.New(f.Examples[0].Message)))
			}
		}
	}
	if fault := o.FaultAt(afterLoad); fault != nil && result.Summary != nil {
		return result, failed(errors.Join(err, talk.outcome(result.Summary), fault))
	}
	if result.Summary != nil {
		if o.Strict {
			err = errors.Join(err, talk.report(result.Summary))
		} else {
			err = errors.Join(err, printRun(cmd.OutOrStdout(), result.Summary, result.Server, report.Options{}))
		}
		var extra []report.Arg
		if o.wantsSteady() {
			steady, steadyErr := o.steady(cmd.OutOrStdout(), result)
			err = errors.Join(err, steadyErr)
			extra = append(extra, report.Arg{Name: "steady_state", Value: steady})
		}
		if o.MultiTurn {
			turns, turnsErr := printTurns(cmd.OutOrStdout(), result)
			err = errors.Join(err, turnsErr)
			extra = append(extra, report.Arg{Name: "per_turn_metrics", Value: turns})
		}
		// What the original notices now keeps its files from being written.
		if fault := o.FaultAt(afterRun); fault == nil || o.crashesLate() {
			err = errors.Join(err, o.save(cmd.OutOrStdout(), result.Summary, part, extra), fault)
		} else {
			err = errors.Join(err, fault)
		}
	}
	if keep && result.Summary != nil {
		err = errors.Join(err, savePage(result.Dir))
	}
	if keep {
		where(cmd.ErrOrStderr(), result)
	}
	switch {
	case err != nil:
		return result, failed(err)
	case o.Strict && result.Outcome != results.Interrupted:
		return result, nil // failed requests do not change the original's exit status
	case result.Outcome != results.OK:
		return result, failed(errors.New(result.Reason))
	case o.MaxFailures != nil && o.MaxFailures.Exceeded(result.Summary.Failed, result.Summary.Requests):
		return result, failed(fmt.Errorf("%d of %d requests failed, more than --max-failures %s", result.Summary.Failed, result.Summary.Requests, deref(o.MaxFailuresFlag)))
	case o.RequireValid && result.Summary.Health.State != summary.Healthy:
		return result, failed(notValid(result.Summary))
	}
	return result, nil
}

// profileOf is what the run folder says of the profiler; nil when it says nothing.
func profileOf(result *scenario.Result) *results.Profile {
	if result.Summary != nil {
		return result.Summary.Manifest.Profile
	}
	run, err := results.Open(result.Dir)
	if err != nil {
		return nil
	}
	defer run.Close()
	return run.Manifest().Profile
}

// moments are when the original notices a mistake, by the points of a run.
var moments = map[scenario.Point]benchMoment{
	scenario.Identified: afterModel, scenario.Prepared: afterDataset, scenario.Loading: inRun,
}
