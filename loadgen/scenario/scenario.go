// Package scenario says what a run is, and carries it out from end to end: the file
// with its schema, the presets, and the run itself, from starting the server to the
// merged trace and the answers.
package scenario

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// A Scenario is everything about a run. Its zero fields mean the usual; the yaml tags are the keys of
// a scenario file.
type Scenario struct {
	// Name is a short name without blanks; it names the run folder.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// About says in a sentence or two what the scenario is for.
	About string `yaml:"about,omitempty" json:"about,omitempty"`
	// Seed seeds prompts, lengths and arrivals.
	Seed int64 `yaml:"seed,omitempty" json:"seed,omitempty"`
	// Server is the server under test.
	Server Server `yaml:"server,omitempty" json:"server,omitempty"`
	// Script is a program that loads and brackets an engine by itself; then nothing is sent.
	Script *Script `yaml:"script,omitempty" json:"script,omitempty"`
	// Model is the model's name or folder; empty asks the server.
	Model string `yaml:"model,omitempty" json:"model,omitempty"`
	// ServedModel is the name in requests, where it differs from Model.
	ServedModel string `yaml:"served_model,omitempty" json:"served_model,omitempty"`
	// Tokenizer is a folder or a model's name; "server" uses the server's own, "none" sends token ids.
	// Empty tries the model's folder or cache, then the server, then token ids.
	Tokenizer string `yaml:"tokenizer,omitempty" json:"tokenizer,omitempty"`
	// Backend is the kind of API; empty is vllm.
	Backend string `yaml:"backend,omitempty" json:"backend,omitempty"`
	// Endpoint is the path of requests; empty is the backend's usual one.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	// Headers go with every request.
	Headers Pairs `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Dataset is what is asked.
	Dataset Dataset `yaml:"dataset,omitempty" json:"dataset,omitempty"`
	// Body is what goes into every request besides.
	Body Body `yaml:"body,omitempty" json:"body,omitempty"`
	// Warmup is sent before the load and measured apart.
	Warmup Warmup `yaml:"warmup,omitempty" json:"warmup,omitempty"`
	// Load is when requests are due, or Stages are, one after the other.
	Load   Load    `yaml:"load,omitempty" json:"load,omitempty"`
	Stages []Stage `yaml:"stages,omitempty" json:"stages,omitempty"`
	// Profile brackets the load with the server's profiler; nil leaves the profiler alone.
	Profile *Profile `yaml:"profile,omitempty" json:"profile,omitempty"`
	// Objectives are bounds that the run should meet.
	Objectives Objectives `yaml:"objectives,omitempty" json:"objectives,omitempty"`
	// Report is what is printed and kept.
	Report Report `yaml:"report,omitempty" json:"report,omitempty"`
	// Sim configures the simulator, where the scenario runs on it.
	Sim Sim `yaml:"sim,omitempty" json:"sim,omitempty"`
	// Lora names adapters: each request asks for one of them.
	Lora *Lora `yaml:"lora,omitempty" json:"lora,omitempty"`
	// Metadata are the user's own words, kept with the results.
	Metadata Pairs `yaml:"metadata,omitempty" json:"metadata,omitempty"`
	// Repeats is how often the run, or each point of a sweep, is carried out; 0 is once.
	Repeats int `yaml:"repeats,omitempty" json:"repeats,omitempty"`
	// Sweep makes one run for each of many values of the scenario's fields; with a search, it makes one search for each.
	Sweep *Sweep `yaml:"sweep,omitempty" json:"sweep,omitempty"`
	// Search looks for the highest rate or concurrency that still meets the objectives.
	Search *Search `yaml:"search,omitempty" json:"search,omitempty"`

	// origin is the text it was read from, so that a sweep can change fields in it.
	origin *origin
}

// A Server is the server under test: where it is and, if the run is to launch it, how.
type Server struct {
	// URL is its address, with http:// or https://, or unix:///path.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// Before are programs run before the server, in order.
	Before []Words `yaml:"before,omitempty" json:"before,omitempty"`
	// Command launches it. Empty means that it is running.
	Command Words `yaml:"command,omitempty" json:"command,omitempty"`
	// Env are variables added to the command's environment, Dir its working folder.
	Env map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	Dir string            `yaml:"dir,omitempty" json:"dir,omitempty"`
	// ProfilerFlag says when --profiler-config is added to the command: auto (the default) adds it when the installed vLLM is
	// 0.13 or later, which takes it and from 0.16 on needs it; always; never.
	ProfilerFlag string `yaml:"profiler_flag,omitempty" json:"profiler_flag,omitempty" jsonschema:"enum=auto,enum=always,enum=never"`
	// ReadyWithin is how long it may take to answer; 0 is 30 minutes for a launched server.
	ReadyWithin Duration `yaml:"ready_within,omitempty" json:"ready_within,omitempty"`
	// ReadyLog is a regular expression that its log must match before it counts as warm.
	ReadyLog string `yaml:"ready_log,omitempty" json:"ready_log,omitempty"`
	// EndsBy says that the command is to end by itself: "assertion" for the one-bucket profiles, whose
	// server stops with an intended assertion.
	EndsBy string `yaml:"ends_by,omitempty" json:"ends_by,omitempty" jsonschema:"enum=assertion"`
	// Insecure leaves TLS certificates unchecked.
	Insecure bool `yaml:"insecure,omitempty" json:"insecure,omitempty"`
	// HTTP2 speaks HTTP/2 in place of HTTP/1.1: requests share connections, and a stamp is the connection's. Without TLS the server has to know.
	HTTP2 bool `yaml:"http2,omitempty" json:"http2,omitempty"`
	// Proxy is the address of an HTTP proxy, or none; empty takes the one that the environment names (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
	Proxy string `yaml:"proxy,omitempty" json:"proxy,omitempty"`
	// ConnectWithin limits making a connection, 0 is ten seconds; AnswerWithin a whole request, 0 is six hours.
	ConnectWithin Duration `yaml:"connect_within,omitempty" json:"connect_within,omitempty"`
	AnswerWithin  Duration `yaml:"answer_within,omitempty" json:"answer_within,omitempty"`
	// TokenWithin raises AnswerWithin where answers are long: to so much for each token of the longest that is asked for.
	TokenWithin Duration `yaml:"token_within,omitempty" json:"token_within,omitempty"`
	// SourceAddresses are local addresses to connect from, in turn.
	SourceAddresses []string `yaml:"source_addresses,omitempty" json:"source_addresses,omitempty"`
}

// A Script is a program that carries out its own generation and bracket.
type Script struct {
	// Command runs it; ${script} is the file that Program was written to.
	Command Words `yaml:"command,omitempty" json:"command,omitempty"`
	// Program is its text; empty when Command names a file of the user's.
	Program string `yaml:"program,omitempty" json:"program,omitempty"`
}

// A Dataset is what is asked.
type Dataset struct {
	// Name is the kind: random, prefix_repetition, sharegpt and so on; empty is random.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Path is its file, folder or Hub name.
	Path string `yaml:"path,omitempty" json:"path,omitempty"`
	// InputLen, OutputLen and PrefixLen are lengths in tokens.
	InputLen  *int `yaml:"input_len,omitempty" json:"input_len,omitempty"`
	OutputLen *int `yaml:"output_len,omitempty" json:"output_len,omitempty"`
	PrefixLen *int `yaml:"prefix_len,omitempty" json:"prefix_len,omitempty"`
	// RangeRatio spreads lengths: today's meaning is a half-width in [0, 1), {input, output} or one number for both.
	RangeRatio Ratio `yaml:"range_ratio,omitempty" json:"range_ratio,omitzero"`
	// LegacyRangeRatio takes the ratio in its old meaning: lengths uniform in [ratio x len, len], so 1 is exact.
	LegacyRangeRatio bool `yaml:"legacy_range_ratio,omitempty" json:"legacy_range_ratio,omitempty"`
	// Prompt is one prompt that every request asks, in place of a dataset.
	Prompt string `yaml:"prompt,omitempty" json:"prompt,omitempty"`
	// Prompts is how many different prompts are made for a load that is bounded by time; 0 is 1000, or twenty a user.
	Prompts int `yaml:"prompts,omitempty" json:"prompts,omitempty"`
	// NoOversample leaves a source that is too short as it is; KeepOrder leaves its rows in their order; SkipTemplate sends prompts
	// without the chat template; Chat makes chat messages of them, with their media inside.
	NoOversample bool `yaml:"no_oversample,omitempty" json:"no_oversample,omitempty"`
	KeepOrder    bool `yaml:"keep_order,omitempty" json:"keep_order,omitempty"`
	SkipTemplate bool `yaml:"skip_template,omitempty" json:"skip_template,omitempty"`
	Chat         bool `yaml:"chat,omitempty" json:"chat,omitempty"`
	// MaxModelLen leaves out samples whose prompt and answer together are longer, in tokens; 0 leaves out none.
	MaxModelLen int `yaml:"max_model_len,omitempty" json:"max_model_len,omitempty"`
	// TemplateArgs go to the chat template.
	TemplateArgs JSON `yaml:"template_args,omitempty" json:"template_args,omitempty"`
	// Options are further settings of the kind: num_prefixes, category and so on.
	Options JSON `yaml:"options,omitempty" json:"options,omitempty"`
}

// A Body is what goes into every request besides its prompt.
type Body struct {
	// Exact goes out as it is, whatever the dataset says.
	Exact JSON `yaml:"exact,omitempty" json:"exact,omitempty"`
	// IgnoreEOS makes the server go on to the length asked for.
	IgnoreEOS bool `yaml:"ignore_eos,omitempty" json:"ignore_eos,omitempty"`
	// Logprobs asks for the log probabilities of so many tokens.
	Logprobs *int `yaml:"logprobs,omitempty" json:"logprobs,omitempty"`
	// RequestIDPrefix begins every x-request-id; empty is bench- and eight random hex digits.
	RequestIDPrefix string `yaml:"request_id_prefix,omitempty" json:"request_id_prefix,omitempty"`
	// NoStream asks for whole replies.
	NoStream bool `yaml:"no_stream,omitempty" json:"no_stream,omitempty"`
	// Extra are members merged over the body: temperature, top_p and anything else.
	Extra JSON `yaml:"extra,omitempty" json:"extra,omitempty"`
}

// A Warmup is sent before the load.
type Warmup struct {
	// Requests is how many.
	Requests int `yaml:"requests,omitempty" json:"requests,omitempty"`
	// ReadyCheck is how long to try a first request until it succeeds; 0 tries none.
	ReadyCheck Duration `yaml:"ready_check,omitempty" json:"ready_check,omitempty"`
}

// A Load is when requests are due. With a rate it is an open loop; with a concurrency alone a closed one; with both, an open
// loop whose requests wait for the limit, and the wait is recorded.
type Load struct {
	// Requests is how many; 0 is as many as Duration allows, or else the dataset's.
	Requests int `yaml:"requests,omitempty" json:"requests,omitempty"`
	// Duration ends the load.
	Duration Duration `yaml:"duration,omitempty" json:"duration,omitempty"`
	// Concurrency is the number of requests in flight at most.
	Concurrency int `yaml:"concurrency,omitempty" json:"concurrency,omitempty"`
	// Rate is requests per second; absent or inf sends as fast as Concurrency allows.
	Rate *Rate `yaml:"rate,omitempty" json:"rate,omitempty"`
	// Arrival is the shape of the gaps: poisson (the default), constant, or gamma with Burstiness.
	Arrival    string `yaml:"arrival,omitempty" json:"arrival,omitempty" jsonschema:"enum=poisson,enum=constant,enum=gamma"`
	Burstiness *Rate  `yaml:"burstiness,omitempty" json:"burstiness,omitempty"`
	// Ramp changes the rate over the load; it takes the place of Rate.
	Ramp *Ramp `yaml:"ramp,omitempty" json:"ramp,omitempty"`
	// Replay sends at the dataset's own time stamps; Rebase sorts them and lets them begin at 0.
	Replay bool `yaml:"replay,omitempty" json:"replay,omitempty"`
	Rebase bool `yaml:"rebase,omitempty" json:"rebase,omitempty"`
	// Think is how long a user of a closed loop waits before the next request.
	Think Duration `yaml:"think,omitempty" json:"think,omitempty"`
	// Conversations are held by the users of a closed loop in place of single requests; Requests then counts them, and 0 is all that
	// dataset conversations holds.
	Conversations *Conversations `yaml:"conversations,omitempty" json:"conversations,omitempty"`
	// MaxRate is a ceiling on a closed loop's requests per second.
	MaxRate float64 `yaml:"max_rate,omitempty" json:"max_rate,omitempty"`
	// ProbeRate sends a side stream of one-token probes.
	ProbeRate float64 `yaml:"probe_rate,omitempty" json:"probe_rate,omitempty"`
}

// A Stage is a load that is one part of several.
type Stage struct {
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	Load `yaml:",inline"`
}

// Conversations say how long conversations are and what their turns share. Each turn carries all turns before it with their
// replies, unless a prefix is shared: then every turn stands for itself, with the same length.
type Conversations struct {
	// Turns is how many turns each has; with MinTurns and MaxTurns the number is drawn between them. The conversations of sharegpt and
	// conversations are the recorded ones: they have at most so many turns, and all of theirs without a number. Elsewhere 0 is 3.
	Turns    int `yaml:"turns,omitempty" json:"turns,omitempty"`
	MinTurns int `yaml:"min_turns,omitempty" json:"min_turns,omitempty"`
	MaxTurns int `yaml:"max_turns,omitempty" json:"max_turns,omitempty"`
	// TurnInputLen is the length in tokens of what the user says after the first turn; 0 is that of the first.
	TurnInputLen int `yaml:"turn_input_len,omitempty" json:"turn_input_len,omitempty"`
	// SharedPrefix is the share of each prompt that all conversations begin with, OwnPrefix the share that the turns of one
	// conversation have in common after it.
	SharedPrefix float64 `yaml:"shared_prefix,omitempty" json:"shared_prefix,omitempty"`
	OwnPrefix    float64 `yaml:"own_prefix,omitempty" json:"own_prefix,omitempty"`
	// Held is how many conversations a user has under way, still one request at a time; 0 is 1. Sampling says which of them it goes
	// on with: round_robin (the default), or random.
	Held     int    `yaml:"held,omitempty" json:"held,omitempty"`
	Sampling string `yaml:"sampling,omitempty" json:"sampling,omitempty" jsonschema:"enum=round_robin,enum=random"`
	// PauseRate makes a user pause after each reply, in place of think: for exponentially distributed times of which there
	// are so many in a second on average.
	PauseRate float64 `yaml:"pause_rate,omitempty" json:"pause_rate,omitempty"`
	// UserRequests ends a user's part after so many requests; 0 has no limit.
	UserRequests int `yaml:"user_requests,omitempty" json:"user_requests,omitempty"`
	// Together ends the load as soon as one user has nothing more to do: what was measured then had all users in it. Turns that are left
	// are not sent.
	Together bool `yaml:"together,omitempty" json:"together,omitempty"`
	// WarmFirst sends the first turns of all conversations before the load, measured apart; the load goes on with the second.
	WarmFirst bool `yaml:"warm_first,omitempty" json:"warm_first,omitempty"`
	// Session is how requests name their conversation: header (the default) is X-Session-ID, body the same and conversation_id in the
	// body, none not at all.
	Session string `yaml:"session,omitempty" json:"session,omitempty" jsonschema:"enum=header,enum=body,enum=none"`
}

// A Ramp goes from one rate to another.
type Ramp struct {
	// Shape is linear or exponential.
	Shape string  `yaml:"shape" json:"shape" jsonschema:"enum=linear,enum=exponential"`
	From  float64 `yaml:"from" json:"from"`
	To    float64 `yaml:"to" json:"to"`
}

// A Profile brackets the load.
type Profile struct {
	// Kind is the profiler: vllm (the default), sglang, none (the server profiles by itself).
	Kind string `yaml:"kind,omitempty" json:"kind,omitempty" jsonschema:"enum=vllm,enum=sglang,enum=none"`
	// Optional goes on without a profiler when it cannot start.
	Optional bool `yaml:"optional,omitempty" json:"optional,omitempty"`
	// Traces is where the server writes its trace files, as seen from this machine: a folder or a pattern.
	Traces string `yaml:"traces,omitempty" json:"traces,omitempty"`
	// Collect is a command that brings the traces of a remote server into ${dest}.
	Collect string `yaml:"collect,omitempty" json:"collect,omitempty"`
	// Ranks is how many trace files to expect; 0 is what the files say.
	Ranks int `yaml:"ranks,omitempty" json:"ranks,omitempty"`
	// Within is how long to wait for them; 0 is two minutes.
	Within Duration `yaml:"within,omitempty" json:"within,omitempty"`
	// From and For bracket a part of the load only: from so long after its start, for so long.
	From Duration `yaml:"from,omitempty" json:"from,omitempty"`
	For  Duration `yaml:"for,omitempty" json:"for,omitempty"`
	// OnceRunning starts the bracket when the server says that so many requests run, OnceInFlight when the client has so many in flight.
	OnceRunning  int `yaml:"once_running,omitempty" json:"once_running,omitempty"`
	OnceInFlight int `yaml:"once_in_flight,omitempty" json:"once_in_flight,omitempty"`
	// Stage brackets one stage, by its name or its number from 1: from its beginning until the next one begins or, with For, for so long.
	Stage string `yaml:"stage,omitempty" json:"stage,omitempty"`
	// Steps asks the server to profile so many engine steps, after Skip of them.
	Steps int `yaml:"steps,omitempty" json:"steps,omitempty"`
	Skip  int `yaml:"skip,omitempty" json:"skip,omitempty"`
	// Prefix is put before the names of the trace files, where the server supports it.
	Prefix string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// Unverified are settings of the server that the procedure needs and that a running server does not tell.
	Unverified []string `yaml:"unverified,omitempty" json:"unverified,omitempty"`
}

// Objectives are bounds for the run.
type Objectives struct {
	// Goodput are bounds that each request must meet to count: ttft, tpot or e2el, as durations.
	Goodput map[string]Duration `yaml:"goodput,omitempty" json:"goodput,omitempty"`
	// MaxFailures is the most failed requests with which the run still counts as a success; absent allows
	// all but all.
	MaxFailures *int `yaml:"max_failures,omitempty" json:"max_failures,omitempty"`
	// Bounds are further bounds on the whole run, such as "p99 ttft <= 300ms", "goodput >= 99%" or "failures <= 0". A single run that misses one
	// ends with exit status 3.
	Bounds []summary.Bound `yaml:"bounds,omitempty" json:"bounds,omitempty"`
}

// A Report is what is printed and kept.
type Report struct {
	// Metrics are the sections of the table: ttft, tpot, itl, e2el and so on.
	Metrics []string `yaml:"metrics,omitempty" json:"metrics,omitempty"`
	// Percentiles are the percentiles of each; absent is 99.
	Percentiles []float64 `yaml:"percentiles,omitempty" json:"percentiles,omitempty"`
	// Formats are reports that the folder keeps beside report.json, result.json and the page, such as junit for pipelines and parquet, which
	// has a row a request.
	Formats []string `yaml:"formats,omitempty" json:"formats,omitempty"`
	// Texts keeps the generated texts.
	Texts bool `yaml:"texts,omitempty" json:"texts,omitempty"`
	// Compat counts as another tool does: vllm.
	Compat string `yaml:"compat,omitempty" json:"compat,omitempty" jsonschema:"enum=vllm"`
}

// Lora are the adapters that requests ask for.
type Lora struct {
	// Modules are the adapters' names.
	Modules []string `yaml:"modules" json:"modules"`
	// Assignment is random (the default) or round-robin.
	Assignment string `yaml:"assignment,omitempty" json:"assignment,omitempty" jsonschema:"enum=random,enum=round-robin"`
}

// A Sim configures the built-in simulator.
type Sim struct {
	// Profiler is the kind of trace it writes: gaudi, cuda, cpu, or none.
	Profiler string `yaml:"profiler,omitempty" json:"profiler,omitempty" jsonschema:"enum=gaudi,enum=cuda,enum=cpu,enum=none"`
	// Warmup compiles all buckets before the first request, as a real server on Gaudi does; without it the first use of a
	// bucket costs a compile, which the trace shows.
	Warmup bool `yaml:"warmup,omitempty" json:"warmup,omitempty"`
	// Stacks puts Python rows into its traces.
	Stacks bool `yaml:"stacks,omitempty" json:"stacks,omitempty"`
	// MaxNumSeqs is the most requests it runs at once.
	MaxNumSeqs int `yaml:"max_num_seqs,omitempty" json:"max_num_seqs,omitempty"`
	// FirstToken and BetweenTokens fix its delays instead of simulating an engine.
	FirstToken    Duration `yaml:"first_token,omitempty" json:"first_token,omitempty"`
	BetweenTokens Duration `yaml:"between_tokens,omitempty" json:"between_tokens,omitempty"`
}

// A Duration is written like 300ms, 2.5s or 10m.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration: write 300ms, 2.5s or 10m", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes it the same way.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// A Rate is requests per second, or inf. Burstiness is written the same way.
type Rate float64

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	s := strings.TrimPrefix(string(text), ".")
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) {
		return fmt.Errorf("%q is no rate: write requests per second, or inf", text)
	}
	*r = Rate(v)
	return nil
}

// MarshalText writes a rate.
func (r Rate) MarshalText() ([]byte, error) {
	if math.IsInf(float64(r), 1) {
		return []byte("inf"), nil
	}
	return strconv.AppendFloat(nil, float64(r), 'g', -1, 64), nil
}

// Infinite says that nothing but the concurrency holds requests back.
func (r *Rate) Infinite() bool { return r == nil || math.IsInf(float64(*r), 1) }

// A Ratio is the spread of lengths: one for both, or one each.
type Ratio struct {
	Input  float64 `yaml:"input" json:"input"`
	Output float64 `yaml:"output" json:"output"`
}

// Pairs are keys with values, in their order.
type Pairs []results.Pair

// MarshalJSON writes an object, whose keys say which values are secrets.
func (p Pairs) MarshalJSON() ([]byte, error) {
	b := []byte("{")
	for i, pair := range p {
		if i > 0 {
			b = append(b, ", "...)
		}
		key, err := json.Marshal(pair.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(pair.Value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ": "...), value...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads it back, keys in their order.
func (p *Pairs) UnmarshalJSON(b []byte) error {
	list, err := members(b)
	if err != nil {
		return err
	}
	*p = nil
	for _, m := range list {
		var value string
		if err := json.Unmarshal(m.Value, &value); err != nil {
			return fmt.Errorf("%s: %w", m.Key, err)
		}
		*p = append(*p, results.Pair{Key: m.Key, Value: value})
	}
	return nil
}

// Words are the words of a command: a list, or one line that is split at blanks as a shell would, quotes respected.
type Words []string

// JSON is the scenario as it is kept with the results.
func (s *Scenario) JSON() (json.RawMessage, error) { return json.Marshal(s) }

func (d Duration) String() string { return time.Duration(d).String() }
