package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"servebench/datasets"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/loadgen/api"
	"servebench/loadgen/server"
	"servebench/loadgen/wire"
	"servebench/profiles"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// Options say where and how a scenario runs, apart from what it is.
type Options struct {
	// Dir is the run folder; it must not hold a run.
	Dir string
	// URL is a server that is running; Sim takes the built-in simulator. Without either the scenario's own
	// server is launched, or taken as running when the scenario has no command.
	URL string
	Sim bool
	// Traces is where the server's traces appear on this machine, in place of the scenario's.
	Traces string
	// Shard is this process's part of the load; StartAt is when the load begins, zero for as soon as it can.
	Shard   loadgen.Shard
	StartAt results.Moment
	// ClockReference is a server whose clock the shards of a load are compared with, beside the server under test's.
	ClockReference string
	// Command is the command line, for the manifest. Settings completes what reports print about the load.
	Command  []string
	Settings func(*results.Settings)
	// Check, when set, is asked at each point whether the run may go on.
	Check func(Point) error
	// Samples, when set, gets the samples that the load is made of, before it begins, and can refuse them.
	Samples func(datasets.Dataset) error
	// Aligned, when set, hears what came of comparing the first prompt's length with the server's count of it.
	Aligned func(server, client int, err error)
	// NoCanary leaves out the stream of the client's own by which it measures its error.
	NoCanary bool
	// WarmConnections has connections opened before the load begins.
	WarmConnections bool
	// Watcher hears how the run goes; nil is nobody.
	Watcher Watcher
	// Leave ends waiting for the profiler's stop: the second Ctrl-C. The context given to Run is the first.
	Leave context.Context

	// keep holds on to the server between the runs of a series; nil starts and stops it for the one run.
	keep *keeper
}

// A Point is a place in a run at which Options.Check is asked.
type Point int

// The points: the model and its tokenizer are known; the prompts are made and aligned; the ready check is done or
// left out; so are the warm-ups; the server's metrics were read, and the first request is about to go.
const (
	Identified Point = iota
	Prepared
	Answered
	Warmed
	Loading
)

// A Watcher hears how a run goes, from one goroutine at a time.
type Watcher interface {
	// Phase says what the run does now.
	Phase(text string)
	// Waiting says how long the present phase has taken, about once a second.
	Waiting(elapsed time.Duration, detail string)
	// Note is something worth knowing, Warn a doubt about the numbers.
	Note(text string)
	Warn(text string)
	// Loading begins the load: planned is its number of requests, 0 when its time is the bound.
	Loading(live *loadgen.Live, planned int, span time.Duration)
	// Record is one request that ended; Loaded ends the load.
	Record(rec *results.Record)
	Loaded()
}

// A Result is a run that is over.
type Result struct {
	Dir     string
	Summary *summary.Summary
	// Server is what the trace says; nil without one. Merged is the file for Perfetto.
	Server *report.Server
	Merged string
	// Outcome is how it ended, and Reason why when that is not OK.
	Outcome results.Outcome
	Reason  string
}

// Run carries out a scenario from end to end. Whatever happens, the run folder says it. The error is why there is
// no result, or why the result is not all of it; the Result's Summary is nil when nothing was measured. The Result
// itself is nil, and the error Problems, when the scenario makes no sense.
func Run(ctx context.Context, s *Scenario, o Options) (result *Result, err error) {
	if faults := s.Faults(); len(faults) > 0 {
		var found Problems
		for _, f := range faults {
			found = append(found, Problem{Source: "scenario", Path: f.Path, Message: f.Message})
		}
		return nil, found
	}
	if s.IsSeries() {
		return nil, Problems{{Source: "scenario", Message: "it makes several runs (repeats, sweep or search): RunSeries carries it out"}}
	}
	if o.Watcher == nil {
		o.Watcher = silent{}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	e := &expander{run: dir, script: filepath.Join(dir, "script.py")}
	expanded, err := s.expand(e)
	if err != nil {
		return nil, Problems{{Source: "scenario", Message: err.Error()}}
	}
	defer collectAt(collectBefore)()
	roomForPacer()
	r := &runner{Scenario: expanded, Options: o, clock: newRunClock()}
	if o.URL != "" {
		r.Server.URL = o.URL
	}
	if r.Traces != "" && r.Profile != nil {
		r.Profile.Traces = r.Traces
	}
	if err := r.checkShard(); err != nil {
		return nil, Problems{{Source: "scenario", Message: err.Error()}}
	}
	result = &Result{Dir: r.Dir}
	if err := r.create(s); err != nil {
		result.Outcome, result.Reason = results.Failed, err.Error()
		return result, err
	}
	defer func() {
		result.Outcome, result.Reason = r.outcome(ctx, err)
		outcome, reason := result.Outcome, result.Reason
		if closeErr := r.out.Close(outcome, reason); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", r.out.Dir(), closeErr))
		}
		if len(r.collected.Files) > 0 {
			err = errors.Join(err, r.analyze(ctx, result))
		}
		if r.measured {
			err = errors.Join(err, r.report(result))
		}
	}()
	return result, r.run(ctx, result)
}

// How much a heap may grow, in percent, until the collector runs.
const (
	// collectBefore is that before the load: four collections less until the first request.
	collectBefore = 400
	// collectUnder is that under load, which makes little garbage and keeps its records: half the usual room costs no time and halves what a thousand
	// streams take.
	collectUnder = 50
)

// collectAt sets that, unless the user did, and returns what undoes it.
func collectAt(percent int) func() {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}

// A runner is one run under way.
type runner struct {
	*Scenario
	Options
	clock  *runClock
	out    *results.Writer
	host   *host
	target server.Target

	modelID, servedModel string
	idPrefix             string
	kind                 api.Kind
	client               *api.Client
	hub                  *wire.Hub // nil where there can be none

	session   profiles.Session
	collected profiles.Collected
	recorder  *summary.Recorder
	tally     tally
	measured  bool
	before    healthCheck
}

// A tally is what the outcome of a run depends on.
type tally struct {
	requests, failed int
	// example is the message of the first failure.
	example string
}

func (t *tally) add(rec *results.Record) {
	if rec.Kind != results.Load {
		return
	}
	t.requests++
	if rec.OK() {
		return
	}
	if t.failed++; t.example == "" {
		t.example = rec.Failure.Message
	}
}

func (s *Scenario) compat() bool { return s.Report.Compat == "vllm" }

func (r *runner) note(format string, args ...any) { r.Watcher.Note(fmt.Sprintf(format, args...)) }

// warn tells a doubt about the numbers and keeps it with them.
func (r *runner) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Watcher.Warn(text)
	r.update(func(m *results.Manifest) { m.Warnings = append(m.Warnings, text) })
}

// update changes the manifest. A disk that fails shows when the run is closed.
func (r *runner) update(change func(*results.Manifest)) { _ = r.out.Update(change) }

// create makes the run folder, so that whatever goes wrong from here on is written down.
func (r *runner) create(asWritten *Scenario) error {
	text, err := asWritten.JSON()
	if err != nil {
		return err
	}
	basis := results.Service
	if r.compat() {
		basis = results.VLLM
	}
	m := results.Manifest{
		Version: results.ManifestVersion, Tool: results.ToolVersion(), Command: results.RedactArgs(r.Command),
		Scenario: results.RedactJSON(text), Seed: r.Seed, Machine: results.ThisMachine(), Created: r.clock.Now(), Basis: basis,
		Clocks: []results.ClockPair{r.clockPair()},
	}
	m.Shard = r.shardMark()
	r.out, err = results.Create(r.Dir, m)
	return err
}

func (r *runner) run(ctx context.Context, result *Result) error {
	if r.Script != nil || r.Server.EndsBy != "" {
		return r.runScript(ctx, result)
	}
	defer func() {
		if r.keep != nil {
			return // it belongs to the series
		}
		if err := r.host.stop(); err != nil {
			r.Watcher.Warn("stopping the server: " + err.Error())
		}
	}()
	if err := r.open(ctx); err != nil {
		return err
	}
	if r.host.process != nil {
		var cancel context.CancelFunc
		ctx, cancel = r.host.process.Guard(ctx)
		defer cancel()
	}
	if err := r.identify(ctx); err != nil {
		return err
	}
	tok, how, err := r.chooseTokenizer(ctx)
	if err != nil {
		return err
	}
	r.update(func(m *results.Manifest) { m.Prompts = how })
	if err := r.check(Identified); err != nil {
		return err
	}
	planned := r.prompts()
	r.idPrefix = r.Body.RequestIDPrefix
	if r.idPrefix == "" {
		r.idPrefix = newIDPrefix()
	}
	r.Watcher.Phase("making prompts")
	set, err := r.loadDataset(ctx, tok, planned)
	if err != nil {
		return err
	}
	var data datasets.Dataset
	var names []string
	var stages []loadgen.Stage
	if set != nil {
		if set.Len() == 0 {
			return errNoSamples
		}
		for _, n := range set.Notes {
			r.note("%s", n)
		}
		if len(r.Stages) == 0 && r.Load.Duration == 0 && set.Len() != planned {
			planned = set.Len()
			r.Load.Requests = planned
		}
		if data, err = r.align(ctx, set); err != nil {
			return err
		}
		if r.Load.Replay && r.Load.Rebase {
			data = rebased(data)
		}
		if r.Lora != nil {
			names = r.loraNames(set.Python, planned)
		}
		stages, err = r.Scenario.stages(data, set.Legacy)
	} else {
		stages, err = r.Scenario.stages(samples{}, numpy.NewLegacy(uint32(r.Seed)))
	}
	if err != nil {
		return err
	}
	if err := r.check(Prepared); err != nil {
		return err
	}
	if r.Samples != nil && data != nil {
		if err := r.Samples(data); err != nil {
			return err
		}
	}
	if err := r.checkDisk(data, planned); err != nil {
		return err
	}
	if err := r.connect(tok, data); err != nil {
		return err
	}
	defer r.disconnect()
	if err := r.client.SpeaksHTTP2(ctx); err != nil {
		return fmt.Errorf("server.http2: %w", err)
	}
	r.noteClocks(ctx, r.ClockReference)
	requests := r.requests(data, planned, names)
	var talk *talk
	if r.Load.Conversations != nil {
		if talk, err = r.conversations(ctx, tok, data); err != nil {
			return err
		}
	}
	r.update(func(m *results.Manifest) { r.recorder = summary.NewRecorder(summary.ConfigOf(m)) })
	if err := r.warmUp(ctx, requests); err != nil {
		return err
	}
	if talk != nil {
		stage, err := talk.stage(ctx)
		if err != nil {
			return err
		}
		stages, planned = []loadgen.Stage{stage}, stage.Talks.Requests
	}
	if err := r.check(Warmed); err != nil {
		return err
	}
	return r.bracket(ctx, loadgen.Plan{
		Requests: requests, Stages: stages, Sender: r.client, Model: r.servedModel, Clock: r.clock, Shard: r.Shard, Start: r.StartAt, Live: new(loadgen.Live),
		Probe: r.probe(requests),
	}, planned, result)
}

func (r *runner) check(p Point) error {
	if r.Check == nil {
		return nil
	}
	return r.Check(p)
}

// open gets at the server: launched, simulated or running.
func (r *runner) open(ctx context.Context) (err error) {
	note := func(text string) { r.Watcher.Note(text) }
	switch {
	case r.Options.Sim:
		r.host, err = r.keep.take(r, "the simulator", func() (*host, error) { return r.simulate(r.Dir) })
	case r.URL == "" && len(r.Server.Command) > 0:
		r.host, err = r.keep.take(r, "the server", func() (*host, error) { return r.launch(ctx, r.Dir, note) })
	case r.Server.URL == "":
		err = errors.New("no server: give --url http://host:port, --sim, or a scenario with server.command")
	default:
		r.host = &host{url: r.Server.URL}
		if p := r.Profile; p != nil && len(p.Unverified) > 0 {
			r.note("the server was running already; it was not checked that it was started with: %s", strings.Join(p.Unverified, ", "))
		}
	}
	if err != nil {
		return err
	}
	r.target = r.newTarget()
	r.update(func(m *results.Manifest) { m.Server.Command = results.RedactArgs(r.host.command) })
	if err := r.waitReady(ctx); err != nil {
		return err
	}
	return r.keep.reset(ctx, r)
}

// header are the user's headers and the key.
func (r *runner) header() http.Header {
	h := http.Header{}
	for _, pair := range r.headers() {
		h.Set(pair[0], pair[1])
	}
	return h
}

func (r *runner) headers() [][2]string {
	var list [][2]string
	if key := os.Getenv("OPENAI_API_KEY"); key != "" {
		list = append(list, [2]string{"Authorization", "Bearer " + key})
	}
	for _, h := range r.Headers {
		list = append(list, [2]string{h.Key, h.Value})
	}
	return list
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// waitReady waits for a server that the run started; a running one is asked once. Counting as vLLM does sends nothing that its client
// would not send.
func (r *runner) waitReady(ctx context.Context) error {
	readiness := server.Readiness{
		Server: r.host.process, Limit: time.Duration(r.Server.ReadyWithin),
		Progress: func(w server.Waiting) { r.Watcher.Waiting(w.Elapsed, w.Line) },
	}
	switch {
	case r.keep.goesOn():
		return r.target.Health(ctx) // it was ready for the run before
	case r.host.process != nil:
		r.Watcher.Phase("waiting for the server")
		if readiness.Limit == 0 {
			readiness.Limit = 30 * time.Minute
		}
		if r.Server.ReadyLog != "" {
			readiness.Line = regexp.MustCompile(r.Server.ReadyLog)
		}
	case r.host.sim != nil:
		readiness.Limit = time.Minute
	case r.compat():
		return nil
	case readiness.Limit == 0:
		err := r.target.Health(ctx)
		var status *server.StatusError
		if err != nil && !errors.As(err, &status) {
			return err
		}
		return nil // it answers; what it says of /health is its own business
	}
	ready, err := r.target.WaitReady(ctx, readiness)
	if err != nil {
		return err
	}
	if ready.Warmed != "" {
		r.note("the server is warm: %s", ready.Warmed)
	}
	return nil
}

// identify finds out which model is served, and what the server says of itself.
func (r *runner) identify(ctx context.Context) error {
	r.modelID, r.servedModel = r.Model, r.ServedModel
	var models []server.Model
	var modelsErr error
	if r.modelID == "" || !r.compat() {
		target := r.target
		if r.compat() {
			target.Headers = http.Header{}
			for _, h := range r.Headers {
				target.Headers.Set(h.Key, h.Value)
			}
		}
		models, modelsErr = target.Models(ctx)
	}
	if r.modelID == "" {
		switch {
		case modelsErr != nil:
			return fmt.Errorf("the model is not named, and the server does not tell: %w; give --model", modelsErr)
		case len(models) == 0:
			return fmt.Errorf("no models found on the server at %s: is it the right address? Else give --model", r.target.BaseURL)
		}
		r.servedModel = models[0].ID
		if r.modelID = models[0].Root; r.modelID == "" {
			r.modelID = r.servedModel
		}
	}
	if r.servedModel == "" {
		r.servedModel = r.modelID
	}
	if modelsErr == nil && len(models) > 0 && !slices.ContainsFunc(models, func(m server.Model) bool { return m.ID == r.servedModel }) {
		var have []string
		for _, m := range models {
			have = append(have, m.ID)
		}
		return fmt.Errorf("the server at %s serves no model %q: it serves %s; give --model or --served-model-name", r.target.BaseURL, r.servedModel, strings.Join(have, ", "))
	}
	kind, err := api.KindOf(r.backend())
	if err != nil {
		return err
	}
	r.kind = kind
	about := results.Server{Command: results.RedactArgs(r.host.command)}
	if !r.compat() {
		about.Version, _ = r.target.Version(ctx)
		if info, err := r.target.ServerInfo(ctx); err == nil {
			about.Settings = results.RedactJSON(info)
		}
		if len(models) > 0 {
			about.Models, _ = json.Marshal(models)
		}
	}
	r.update(func(m *results.Manifest) {
		m.Server = about
		m.Settings = r.settings()
		if r.Options.Settings != nil {
			r.Options.Settings(&m.Settings)
		}
	})
	return ctx.Err()
}

// endpoint is the path of requests.
func (r *runner) endpoint() string {
	if r.Endpoint != "" {
		return r.Endpoint
	}
	return r.kind.Path
}

// settings are the load in the words of reports.
func (r *runner) settings() results.Settings {
	st := results.Settings{
		Backend: r.backend(), Endpoint: r.endpoint(), BaseURL: results.RedactURL(r.target.BaseURL), Model: r.servedModel, ModelID: r.modelID,
		Pooling: r.kind.Pooling, Dataset: r.Dataset.Name, NumPrompts: r.Load.Requests, MaxConcurrency: r.Load.Concurrency,
		RequestRate: results.Number(math.Inf(1)), Burstiness: 1, ProbeRate: r.Load.ProbeRate, Metrics: r.Report.Metrics, Percentiles: r.Report.Percentiles,
		Detailed: r.Report.Texts, Compat: r.Report.Compat, Date: time.Now().Format("20060102-150405"), Tokenizer: r.Tokenizer,
	}
	switch {
	case st.Tokenizer == "":
		st.Tokenizer = r.modelID
	case st.Tokenizer == "none" && r.compat():
		st.Tokenizer = "" // the Python client leaves out most of its report then
	}
	if st.Metrics == nil {
		st.Metrics = []string{"ttft", "tpot", "itl", "e2el"}
	}
	if st.Percentiles == nil {
		st.Percentiles = []float64{99}
	}
	if st.Dataset == "" {
		st.Dataset = "random"
	}
	if !r.Load.Rate.Infinite() {
		st.RequestRate = results.Number(*r.Load.Rate)
	}
	if r.Load.Burstiness != nil {
		st.Burstiness = results.Number(*r.Load.Burstiness)
	} else if r.Load.Arrival == "constant" {
		st.Burstiness = results.Number(math.Inf(1))
	}
	if ramp := r.Load.Ramp; ramp != nil {
		st.RampUp = &results.RampUp{Strategy: ramp.Shape, StartRPS: int(ramp.From), EndRPS: int(ramp.To)}
	}
	for _, name := range []string{"ttft", "tpot", "e2el"} {
		if limit, ok := r.Objectives.Goodput[name]; ok {
			st.Goodput = append(st.Goodput, results.Objective{Metric: name, MS: float64(limit) / float64(time.Millisecond)})
		}
	}
	for _, b := range r.Objectives.Bounds {
		st.Bounds = append(st.Bounds, b.String())
	}
	st.Formats = r.Report.Formats
	st.Metadata = r.Metadata
	return st
}

// connect makes the client.
func (r *runner) connect(tok datasets.Tokenizer, data datasets.Dataset) error {
	path := r.endpoint()
	if err := api.Fits(r.backend(), r.kind.Dialect, path); err != nil && !r.compat() {
		return err // the Python client finds out at the first request
	}
	cfg := api.Config{
		Kind: r.kind, Clock: r.clock.Clock, Headers: r.headers(), Insecure: r.Server.Insecure, KeepTexts: r.Report.Texts || r.Load.Conversations != nil, Compat: r.compat(),
		Timeout: time.Duration(r.Server.AnswerWithin), ConnectTimeout: time.Duration(r.Server.ConnectWithin), Warm: r.warmConnections(),
		HTTP2: r.Server.HTTP2,
		Options: api.Options{
			Model: r.servedModel, Logprobs: r.Body.Logprobs, IgnoreEOS: r.Body.IgnoreEOS, Exact: json.RawMessage(r.Body.Exact), NoStream: r.Body.NoStream,
		},
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 6 * time.Hour
	}
	if each := time.Duration(r.Server.TokenWithin); each > 0 && data != nil {
		cfg.Timeout = max(cfg.Timeout, each*time.Duration(longestAnswer(data)))
	}
	cfg.Proxy, _ = r.Server.proxy() // was checked
	if r.Body.Exact != nil {
		cfg.Options.NoStream = !streams(r.Body.Exact)
	}
	extra, err := members(r.Body.Extra)
	if err != nil {
		return fmt.Errorf("body.extra: %w", err)
	}
	cfg.Options.Extra = extra
	base := r.target.BaseURL
	if r.compat() {
		base = r.host.url // joined as it is, slash or none
	}
	if cfg.Socket = socketOf(r.host.url); cfg.Socket != "" {
		base = r.baseURL()
	}
	cfg.URL = base + path
	for i, text := range r.Server.SourceAddresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("server.source_addresses.%d: %w", i, err)
		}
		cfg.Sources = append(cfg.Sources, addr)
	}
	if counter, ok := tok.(interface {
		Encode(string, bool) ([]int, error)
	}); ok && tok != nil {
		cfg.Count = func(text string) (int, error) {
			ids, err := counter.Encode(text, false)
			return len(ids), err
		}
	}
	if _, err := wire.RaiseFileLimit(uint64(2*r.Load.Concurrency + 1024)); err != nil {
		r.note("%v", err)
	}
	if hub, err := wire.NewHub(cfg.Clock); err == nil {
		r.hub, cfg.Hub = hub, hub
	}
	if r.client, err = api.New(cfg); err != nil {
		r.disconnect()
	}
	return err
}

// disconnect closes the client and what reads its connections.
func (r *runner) disconnect() {
	if r.client != nil {
		r.client.Close()
	}
	if r.hub != nil {
		r.hub.Close()
	}
}

// longestAnswer is the most tokens that a sample asks for.
func longestAnswer(data datasets.Dataset) (tokens int) {
	for i := range data.Len() {
		sample := data.At(i)
		tokens = max(tokens, sample.OutputTokens)
		for _, turn := range sample.Later {
			tokens = max(tokens, turn.OutputTokens)
		}
	}
	return tokens
}

// streams says whether a body asks for a stream.
func streams(body JSON) bool {
	var b struct{ Stream bool }
	_ = json.Unmarshal(body, &b)
	return b.Stream
}

// members are the keys of a JSON object in their order.
func members(object JSON) ([]datasets.Member, error) {
	if object == nil {
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(object)))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("want a mapping")
	}
	var list []datasets.Member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := key.(string)
		list = append(list, datasets.Member{Key: name, Value: value})
	}
	return list, nil
}

// warmUp does the ready check and the warm-up requests. Their records are kept, apart from the load's.
func (r *runner) warmUp(ctx context.Context, requests func(int) (loadgen.Request, bool)) error {
	first, ok := requests(0)
	if !ok {
		return nil
	}
	first.Model, first.Sample.ID = "", ""
	if limit := time.Duration(r.Warmup.ReadyCheck); limit > 0 {
		r.Watcher.Phase("checking that requests are answered")
		first.Kind = results.Ready
		if err := r.readyCheck(ctx, first, limit); err != nil {
			return err
		}
	}
	if err := r.check(Answered); err != nil {
		return err
	}
	n := r.Warmup.Requests
	if r.warmupShare(n) == 0 {
		return nil
	}
	r.Watcher.Phase("warming up")
	plan := loadgen.Plan{Sender: r.client, Clock: r.clock, Shard: r.Shard, Stages: []loadgen.Stage{{Users: max(1, min(n, r.Load.Concurrency)), Count: n}}}
	if r.Load.Concurrency == 0 {
		plan.Stages[0].Users = n
	}
	plan.Requests = func(i int) (loadgen.Request, bool) {
		q := first
		if !r.compat() { // others than the load's first, which would lie in the prefix cache
			if other, ok := requests(r.prompts() - 1 - i%max(1, r.prompts())); ok {
				q = other
			}
		}
		q.Kind, q.Model, q.Sample.ID = results.Warmup, "", ""
		return q, i < n
	}
	for rec := range loadgen.Run(ctx, plan) {
		if err := r.out.Record(&rec); err != nil {
			return err
		}
		r.recorder.Add(&rec)
	}
	return ctx.Err()
}

// readyCheck tries a request until it succeeds or the time is over. A try under way ends at the deadline.
func (r *runner) readyCheck(ctx context.Context, q loadgen.Request, limit time.Duration) error {
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	last := ""
	for left := limit; left > 0; left = limit - time.Since(began) {
		for rec := range loadgen.Run(deadline, loadgen.Plan{
			Sender: r.client, Clock: r.clock, Stages: []loadgen.Stage{{Users: 1, Count: 1}},
			Requests: func(i int) (loadgen.Request, bool) { return q, i == 0 },
		}) {
			if err := r.out.Record(&rec); err != nil {
				return err
			}
			r.recorder.Add(&rec)
			if rec.OK() {
				return nil
			}
			if deadline.Err() == nil || last == "" {
				last = rec.Failure.Message
			}
		}
		// As long as was left before the try, as vLLM's client waits: the last wait ends past the deadline.
		select {
		case <-time.After(min(5*time.Second, left)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the ready check got no answer within %v: %s", limit, last)
}

// probe is the side stream of one-token probes.
func (r *runner) probe(requests func(int) (loadgen.Request, bool)) *loadgen.Probe {
	if r.Load.ProbeRate <= 0 || !r.leads() {
		return nil
	}
	q, _ := requests(0)
	q.Model = ""
	q.Sample = datasets.Sample{Prompt: datasets.Prompt{Text: "Hi"}, OutputTokens: 1, InputTokens: 1, Extra: q.Sample.Extra}
	return &loadgen.Probe{Request: q, Sender: r.client, Every: time.Duration(float64(time.Second) / r.Load.ProbeRate)}
}

// bracket carries out the load with the profiler around it.
func (r *runner) bracket(ctx context.Context, plan loadgen.Plan, planned int, result *Result) error {
	load := func(ctx context.Context) error { return r.load(ctx, plan, planned) }
	if r.Profile == nil || !r.leads() {
		return load(ctx)
	}
	kind := r.Profile.Kind
	if kind == "" {
		kind = "vllm"
	}
	profiler, err := profiles.New(kind, profiles.Config{Target: r.target, VLLM: profiles.VLLMOptions{
		Prefix: r.Profile.Prefix, DelayIterations: r.Profile.Skip, MaxIterations: r.Profile.Steps,
	}, SGLang: profiles.SGLangOptions{NumSteps: r.Profile.Steps, Prefix: r.Profile.Prefix}})
	if err != nil {
		return err
	}
	from := r.traceSources()
	earlier, err := profiles.Look(from...)
	if err != nil {
		return err
	}
	b := profiles.Bracket{
		Profiler: profiler, Clock: r.clock.Clock.Now, Optional: r.Profile.Optional, Leave: r.Leave, TrustErrors: r.compat(),
		Progress: func(p profiles.Phase, d time.Duration) { r.Watcher.Waiting(d, string(p)) },
	}
	r.Watcher.Phase("starting the profiler")
	if w, ok := r.window(plan.Live); ok {
		r.session, err = b.During(ctx, w, load)
	} else {
		r.session, err = b.Do(ctx, func(ctx context.Context) error {
			defer r.Watcher.Phase("stopping the profiler: the server writes its trace, which can take minutes")
			defer r.drain(ctx)
			return load(ctx)
		})
	}
	r.noteSession(kind)
	if r.session.Refused != nil && r.compat() { // the Python client stops what it could not start
		_, _ = r.target.Do(context.WithoutCancel(ctx), http.MethodPost, "/stop_profile", nil)
	}
	if r.measured && r.session.Refused == nil && !r.session.Missed {
		if collectErr := r.collect(from, earlier); collectErr != nil {
			err = errors.Join(err, collectErr)
		}
	}
	return err
}

// window is the part of the load that is profiled; false for all of it.
func (r *runner) window(live *loadgen.Live) (profiles.Window, bool) {
	p := r.Profile
	w := profiles.Window{For: time.Duration(p.For)}
	switch {
	case p.From > 0:
		w.From = profiles.After(time.Duration(p.From))
	case p.OnceRunning > 0:
		w.From = profiles.OnceRunning(r.target, p.OnceRunning, 0)
	case p.OnceInFlight > 0:
		w.From = profiles.When(func() bool { return live.InFlight.Load() >= int64(p.OnceInFlight) })
	case p.Stage != "":
		i, _ := r.stageNamed(p.Stage)
		w.From = profiles.When(func() bool { return live.Stages.Load() > int64(i) })
		w.Until = profiles.When(func() bool { return live.Stages.Load() > int64(i)+1 })
	default:
		return w, false
	}
	return w, true
}

func (r *runner) noteSession(kind string) {
	m := r.session.Marks
	profile := &results.Profile{
		Kind:  kind,
		Start: results.Call{Sent: results.Moment(m.StartSent), Answered: results.Moment(m.StartAnswered)},
		Stop:  results.Call{Sent: results.Moment(m.StopSent), Answered: results.Moment(m.StopAnswered)},
	}
	if r.session.Refused != nil {
		profile.Start.Error = r.session.Refused.Error()
		r.warn("no profile: %v", r.session.Refused)
	}
	if r.session.Missed {
		r.warn("no profile: the load ended before its moment came")
	}
	if r.session.StopError != nil {
		profile.Stop.Error = r.session.StopError.Error()
	}
	r.update(func(m *results.Manifest) { m.Profile = profile })
}

// load carries out the load itself.
func (r *runner) load(ctx context.Context, plan loadgen.Plan, planned int) error {
	metricsBefore, err := r.metricsPage(ctx)
	if err == nil {
		if err := results.WriteFile(filepath.Join(r.Dir, results.MetricsBefore), metricsBefore); err != nil {
			return err
		}
	}
	if err := r.check(Loading); err != nil {
		return err
	}
	if err := r.client.WarmUp(ctx); err != nil {
		return err
	}
	ledger := r.ledger()
	span := time.Duration(0)
	for _, s := range plan.Stages {
		span += s.For
	}
	r.Watcher.Phase("")
	r.Watcher.Loading(plan.Live, planned, span)
	began := r.clock.Now()
	r.before = checkHealth(r.clock.Clock)
	machine := checkMachine()
	r.measured = true
	r.update(func(m *results.Manifest) { m.Began = began })
	singer := r.startCanary() // which takes the processor for a moment: last of all
	var failed error
	// Not at once: a collection would take a processor from the first requests.
	defer time.AfterFunc(20*time.Millisecond, func() { collectAt(collectUnder) }).Stop()
	start := r.watchStart()
	stopLooking := r.lookIntoQueues()
	for rec := range loadgen.Run(ctx, plan) {
		if err := r.out.Record(&rec); err != nil {
			failed = err
			break
		}
		start.add(&rec)
		r.recorder.Add(&rec)
		ledger.Add(&rec)
		r.tally.add(&rec)
		r.Watcher.Record(&rec)
	}
	ended := r.clock.Now()
	stopLooking()
	client := checkHealth(r.clock.Clock).since(r.before)
	checkMachine().since(machine, client)
	r.noteCanary(singer, client)
	if at := plan.Live.Started.Load(); at != 0 {
		began = results.Moment(at)
	}
	r.update(func(m *results.Manifest) {
		m.Began, m.Ended, m.Client = began, ended, client
		m.Clocks = append(m.Clocks, r.clockPair())
		m.Stamps = r.client.Stamps()
		if r.Server.HTTP2 {
			m.HTTPVersion = "2"
		}
		m.Warnings = append(m.Warnings, r.client.Notes()...)
	})
	r.Watcher.Loaded()
	r.noteStart(start)
	if failed != nil {
		return failed
	}
	// The server's own counts are of use after an interruption too.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	metricsAfter, err := r.metricsPage(after)
	duration, _ := ended.Sub(began)
	checks := r.audit(ledger, time.Duration(plan.Live.Busy.Load()), duration, metricsBefore, metricsAfter)
	r.update(func(m *results.Manifest) { m.Audit = checks })
	if err != nil {
		return nil
	}
	return results.WriteFile(filepath.Join(r.Dir, results.MetricsAfter), metricsAfter)
}

// metricsPage reads /metrics. vLLM's client asks twice, without headers.
func (r *runner) metricsPage(ctx context.Context) ([]byte, error) {
	target := r.target
	if r.compat() {
		target.Headers = nil
		if _, err := target.Do(ctx, http.MethodGet, "/metrics", nil); ctx.Err() != nil {
			return nil, err
		}
	}
	return target.Do(ctx, http.MethodGet, "/metrics", nil)
}

// clockPair reads the wall clock and the run's clock, which follows the monotonic one, together.
func (r *runner) clockPair() results.ClockPair {
	before := r.clock.Clock.Now()
	wall := time.Now().UnixNano()
	after := r.clock.Clock.Now()
	return results.ClockPair{Realtime: wall, Monotonic: before + (after-before)/2, Within: time.Duration(after - before)}
}

// outcome is how the run ended.
func (r *runner) outcome(ctx context.Context, err error) (results.Outcome, string) {
	var died *server.ExitError
	switch {
	case errors.As(err, &died):
		return results.Failed, "the server ended: " + died.Error()
	case ctx.Err() != nil:
		if early := stoppedEarly(ctx); early != nil {
			return results.Interrupted, early.Error()
		}
		return results.Interrupted, "stopped before its end"
	case err != nil:
		return results.Failed, err.Error()
	}
	return r.judge()
}

// judge says whether too many requests failed.
func (r *runner) judge() (results.Outcome, string) {
	t, limit := r.tally, r.Objectives.MaxFailures
	switch {
	case limit != nil && t.failed > *limit:
		return results.Failed, fmt.Sprintf("%d of %d requests failed, %d allowed: %s", t.failed, t.requests, *limit, t.example)
	case t.requests > 0 && t.failed == t.requests:
		return results.Failed, "all requests failed: " + t.example
	}
	return results.OK, ""
}

type silent struct{}

func (silent) Phase(string)                              {}
func (silent) Waiting(time.Duration, string)             {}
func (silent) Note(string)                               {}
func (silent) Warn(string)                               {}
func (silent) Loading(*loadgen.Live, int, time.Duration) {}
func (silent) Record(*results.Record)                    {}
func (silent) Loaded()                                   {}
