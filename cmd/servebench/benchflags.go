package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"servebench/internal/argparse"
)

// benchOptions is what a command line of bench serve asks for. A pointer is nil where
// the flag is unset and that is a meaning of its own. The fields of the first part are the flags;
// those of the second are what they come to, set by parseBench.
type benchOptions struct {
	// Target.
	Backend         string
	BaseURL         *string
	Host            string
	Port            int
	Endpoint        string // the backend's usual path where the flag was not given, except with --compat vllm
	Header          []string
	Insecure        bool
	Model           *string
	ServedModelName *string
	Tokenizer       *string
	TokenizerMode   string
	TrustRemoteCode bool
	SkipTokenizer   bool
	Label           *string
	LoraModules     []string
	LoraAssignment  string

	// Load.
	NumPrompts       int
	RequestRate      float64
	Burstiness       float64
	MaxConcurrency   *int
	RampStrategy     *string
	RampStart        *int
	RampEnd          *int
	SelfTimedFlag    *bool
	ProbeRate        float64
	NumWarmups       int
	ReadyTimeoutSecs int
	Seed             int
	DisableTqdm      bool
	Profile          bool

	// Requests.
	TopP, MinP, Temperature           *float64
	TopK                              *int
	FrequencyPenalty, PresencePenalty *float64
	RepetitionPenalty                 *float64
	Logprobs                          *int
	IgnoreEOS                         bool // forced on where the original forces it
	UseBeamSearch                     bool
	ExtraBodyJSON                     any // nil, or any JSON value as package argparse has it
	TemplateKwargsJSON                any
	RequestIDPrefix                   string
	InputLen, OutputLen               *int

	// Report.
	PercentileMetrics *string
	MetricPercentiles string
	GoodputFlag       []string
	SaveResult        bool
	SaveDetailed      bool
	AppendResult      bool
	ResultDir         *string
	ResultFilename    *string
	MetadataFlag      []string
	PlotTimeline      bool
	TimelineITL       string
	PlotDatasetStats  bool

	// Datasets. The lengths already follow --input-len and --output-len.
	DatasetName          string
	DatasetPath          *string
	NoStream             bool
	NoOversample         bool
	SkipChatTemplate     bool
	MultimodalChat       bool
	DisableShuffle       bool
	CustomOutputLen      int
	CustomClientSideData bool
	SpecBenchOutputLen   int
	SpecBenchCategory    *string
	ShareGPTOutputLen    *int
	TraceChunkHashSize   int
	TraceSecMultiplier   float64
	TraceTimestampKey    string
	TraceInputLengthKey  string
	TraceOutputLengthKey string
	TraceHashIDsKey      string
	BlazeditMinDistance  float64
	BlazeditMaxDistance  float64
	ASRMaxAudioSecs      float64
	ASRMinAudioSecs      float64
	RandomInputLen       int
	RandomOutputLen      int
	RandomRangeRatio     string
	RandomPrefixLen      int
	RandomBatchSize      int
	NoReranker           bool
	MMBaseItems          int
	MMItemsRangeRatio    float64
	MMLimitJSON          any
	MMBucketDict         any
	HFSubset             *string
	HFSplit              *string
	HFName               *string
	HFOutputLen          *int
	BFCLCategories       []string // nil when the flag was not given
	PrefixLen            int
	PrefixSuffixLen      int
	PrefixCount          int
	PrefixOutputLen      int
	SpeedBenchSubset     string
	SpeedBenchOutputLen  int
	SpeedBenchCategory   *string

	// The native client of vLLM.
	PromptTokenIDs            bool
	MaxModelLen               *int
	HFTextColumn              *string
	SpeedBenchConfig          *string
	SpeedBenchMaxInputLen     *int
	SweepMaxConcurrency       *string
	SweepRequestRate          *string
	SweepNumPromptsFactor     *int
	SweepSummaryPercentiles   *string
	ResetPrefixCache          bool
	NumRuns                   int
	Compare                   []string
	DryRun                    bool
	ProfileBatchThreshold     *int
	ProfileDuration           float64 // seconds
	SteadyStateThreshold      float64
	SteadyStateMinWindow      *float64 // seconds
	NoSteadyState             bool
	CacheHitFraction          float64
	CacheRatio                float64
	MultiTurn                 bool
	MultiTurnTurns            int
	MultiTurnMinTurns         int
	MultiTurnMaxTurns         int
	MultiTurnConcurrency      *int
	MultiTurnDelayMS          float64
	PerTurnInputLen           int
	MultiTurnGlobalPrefix     float64
	MultiTurnConversationPart float64

	// Ours.
	Out                *string
	Compat             *string
	LegacyRangeRatio   bool
	ProfileOptional    bool
	MaxFailuresFlag    *string
	TraceDir           *string
	WarmConnections    bool
	NoCanary           bool
	ShardFlag          *string
	StartAtFlag        *string
	RequireValid       bool
	SourceAddressFlag  []string
	HTTPVersion        string
	Proxy              *string
	HeadersEverywhere  bool
	DistinctWarmups    bool
	RebaseTrace        bool
	ConnectTimeoutSecs float64
	RequestTimeoutSecs float64

	benchPlan
}

// backends are in the original's order, which is that of its messages.
var backends = []string{"vllm", "openai", "openai-chat", "openai-responses", "openai-audio", "openai-embeddings", "openai-embeddings-chat",
	"openai-embeddings-clip", "openai-embeddings-vlm2vec", "infinity-embeddings", "infinity-embeddings-clip", "vllm-pooling", "vllm-rerank"}

var datasetNames = []string{"sharegpt", "burstgpt", "random", "random-mm", "random-rerank", "hf", "custom", "custom_audio", "custom_image",
	"prefix_repetition", "spec_bench", "speed_bench", "timed_trace"}

// Titles of the help text. The first part replaces the original's one large group.
const (
	secTarget   = "target"
	secLoad     = "load"
	secRequest  = "request"
	secReport   = "report"
	secResults  = "results"
	secProfile  = "profiling"
	secDataset  = "dataset"
	secRun      = "run folder and limits"
	secScale    = "several machines"
	secRepeat   = "sweeps and repeats"
	secSteady   = "steady state"
	secTurns    = "multi-turn"
	secSampling = "sampling parameters"
)

var benchGroups = []argparse.Group{
	{Title: secTarget, Summary: "the server, the model and how to reach them"},
	{Title: secLoad, Summary: "how many requests, and when they are due"},
	{Title: secRequest, Summary: "what goes into every request"},
	{Title: secSampling, Summary: "sent only when given; else the server decides"},
	{Title: secReport, Summary: "what the table shows"},
	{Title: secResults, Summary: "files in the original's formats"},
	{Title: secRun, Summary: "our own record of the run, limits and verdicts"},
	{Title: secProfile, Summary: "the server's profiler around the load"},
	{Title: secRepeat, Summary: "several runs by one command"},
	{Title: secSteady, Summary: "the part of a closed loop in which the load is full"},
	{Title: secTurns, Summary: "conversations instead of single requests"},
	{Title: secScale, Summary: "one load from several processes"},
	{Title: secDataset, Summary: "where prompts come from"},
	{Title: "random dataset options", Summary: "made-up prompts of given lengths"},
	{Title: "random multimodal dataset options extended from random dataset", Summary: "made-up images and videos beside made-up prompts"},
	{Title: "prefix repetition dataset options", Summary: "made-up prompts that share beginnings"},
	{Title: "sharegpt dataset options", Summary: "conversations in ShareGPT's JSON"},
	{Title: "custom dataset options", Summary: "your own JSON Lines: custom, custom_image, custom_audio"},
	{Title: "timed-trace dataset options", Summary: "a recorded load, replayed"},
	{Title: "hf dataset options", Summary: "sets of the Hugging Face Hub or a local copy"},
	{Title: "spec bench dataset options", Summary: "Spec-Bench"},
	{Title: "speed bench dataset options", Summary: "SPEED-Bench"},
	{Title: "blazedit dataset options", Summary: "code edits"},
	{Title: "asr dataset options", Summary: "speech"},
	{Title: "BFCL dataset options", Summary: "function calls"},
}

const benchSummary = `Loads a server with requests, measures every token and prints the table of vllm bench serve; a command line for that
tool works unchanged. Names may be abbreviated and written with _ or -; a list takes words up to the next option.`

const benchExample = `  servebench sim --port 8000 &
  servebench bench serve --port 8000 --num-prompts 50 --max-concurrency 8 --random-input-len 256 --random-output-len 32`

// benchCommandParser is the parser of bench serve, for help and completion.
func benchCommandParser() *argparse.Parser {
	p := benchParser(&benchOptions{})
	p.ReadConfig = func(path string) ([]argparse.Setting, error) {
		return nil, fmt.Errorf("%s: this parser reads no files", path)
	}
	return p
}

// benchParser is the parser that fills o. The options stand in the order of the original's
// table, which is that of the line it prints; its first group holds all without a group of their own.
func benchParser(o *benchOptions) *argparse.Parser {
	const (
		on     = argparse.StoreTrue
		number = argparse.Int
		real   = argparse.Float
		object = argparse.JSON
		custom = "custom dataset options"
		spec   = "spec bench dataset options"
		trace  = "timed-trace dataset options"
		blaze  = "blazedit dataset options"
		asr    = "asr dataset options"
		random = "random dataset options"
		mm     = "random multimodal dataset options extended from random dataset"
		hf     = "hf dataset options"
		prefix = "prefix repetition dataset options"
		speed  = "speed bench dataset options"
	)
	options := []*argparse.Option{
		{Flag: "--trust-remote-code", Section: secTarget, Action: on, Into: &o.TrustRemoteCode,
			Help: "Accepted for old command lines. Nothing is ever executed: a tokenizer or set that needs code is refused by name."},
		{Flag: "--seed", Section: secLoad, Type: number, Default: 0, Into: &o.Seed,
			Help: "Seeds prompts, lengths and arrivals; equal seeds send equal requests, also equal to those of the Python client. 0 to 2^32-1."},
		{Flag: "--num-prompts", Section: secLoad, Type: number, Default: 1000, Into: &o.NumPrompts,
			Help: "Number of requests. 0 or less takes every row of custom, custom_image, custom_audio, spec_bench and speed_bench."},
		{Flag: "--dataset-name", Section: secDataset, Default: "random", Choices: datasetNames, Into: &o.DatasetName,
			Aliases: map[string]string{"speed-bench": "speed_bench", "timed-trace": "timed_trace", "prefix-repetition": "prefix_repetition", "spec-bench": "spec_bench"},
			Help:    "Kind of the dataset."},
		{Flag: "--no-stream", Section: secDataset, Action: on, Into: &o.NoStream,
			Help: "Reads a hf dataset whole before shuffling it, instead of as a stream. It changes which rows come first."},
		{Flag: "--dataset-path", Section: secDataset, Metavar: "PATH", Into: &o.DatasetPath,
			Help: "The dataset's file, folder or Hub name. The made-up datasets take none."},
		{Flag: "--no-oversample", Section: secDataset, Action: on, Into: &o.NoOversample,
			Help: "Sends a short dataset as it is, instead of repeating rows until there are enough."},
		{Flag: "--skip-chat-template", Section: secDataset, Action: on, Into: &o.SkipChatTemplate,
			Help: "Sends prompts without putting them into the model's chat template first."},
		{Flag: "--enable-multimodal-chat", Section: secDataset, Action: on, Into: &o.MultimodalChat,
			Help: "Makes chat messages with the media inside while the dataset is loaded, not while requests are sent."},
		{Flag: "--disable-shuffle", Section: secDataset, Action: on, Into: &o.DisableShuffle,
			Help: "Keeps the rows in their order."},

		{Flag: "--custom-output-len", Group: custom, Type: number, Default: 256, Into: &o.CustomOutputLen,
			Help: "Output tokens of each request; -1 takes the row's own output_tokens."},
		{Flag: "--custom-ensure-client-side-data", Group: custom, Action: on, Into: &o.CustomClientSideData,
			Help: "Sends images as base64 inside the request, so that the server need not read files or fetch addresses."},
		{Flag: "--spec-bench-output-len", Group: spec, Type: number, Default: 256, Into: &o.SpecBenchOutputLen,
			Help: "Output tokens of each request."},
		{Flag: "--spec-bench-category", Group: spec, Into: &o.SpecBenchCategory,
			Help: "Only rows of this category."},
		{Flag: "--sharegpt-output-len", Group: "sharegpt dataset options", Type: number, Into: &o.ShareGPTOutputLen,
			Help: "Output tokens of each request; without it the length of the recorded answer."},
		{Flag: "--timed-trace-chunk-hash-size", Group: trace, Type: number, Default: 16, Into: &o.TraceChunkHashSize,
			Help: "Tokens that one hash id stands for."},
		{Flag: "--timed-trace-sec-multiplier", Group: trace, Type: real, Default: 1, Into: &o.TraceSecMultiplier,
			Help: "Turns the trace's time stamps into seconds: 0.001 for milliseconds."},
		{Flag: "--timed-trace-label-timestamp", Group: trace, Metavar: "KEY", Default: "timestamp", Into: &o.TraceTimestampKey,
			Help: "Key of the time stamp in a row."},
		{Flag: "--timed-trace-label-input-length", Group: trace, Metavar: "KEY", Default: "input_length", Into: &o.TraceInputLengthKey,
			Help: "Key of the prompt's length in tokens."},
		{Flag: "--timed-trace-label-output-length", Group: trace, Metavar: "KEY", Default: "output_length", Into: &o.TraceOutputLengthKey,
			Help: "Key of the answer's length in tokens."},
		{Flag: "--timed-trace-label-hash-ids", Group: trace, Metavar: "KEY", Default: "hash_ids", Into: &o.TraceHashIDsKey,
			Help: "Key of the list of hash ids: equal ids get equal tokens, so that prefix caches behave as in the trace."},
		{Flag: "--blazedit-min-distance", Group: blaze, Type: real, Default: 0.0, Into: &o.BlazeditMinDistance,
			Help: "Least normalised edit distance between the code and its change, inclusive."},
		{Flag: "--blazedit-max-distance", Group: blaze, Type: real, Default: 1.0, Into: &o.BlazeditMaxDistance,
			Help: "Greatest normalised edit distance, inclusive."},
		{Flag: "--asr-max-audio-len-sec", Group: asr, Type: real, Default: inf, Into: &o.ASRMaxAudioSecs,
			Help: "Longest clip in seconds, inclusive."},
		{Flag: "--asr-min-audio-len-sec", Group: asr, Type: real, Default: 0.0, Into: &o.ASRMinAudioSecs,
			Help: "Shortest clip in seconds, inclusive."},
		{Flag: "--random-input-len", Group: random, Type: number, Default: 1024, Into: &o.RandomInputLen,
			Help: "Mean prompt length in tokens, without the common prefix."},
		{Flag: "--random-output-len", Group: random, Type: number, Default: 128, Into: &o.RandomOutputLen,
			Help: "Mean output length in tokens."},
		{Flag: "--random-range-ratio", Group: random, Metavar: "R|JSON", Default: "0.0", Into: &o.RandomRangeRatio,
			Help: `Spread of lengths: uniform in [len x (1-r), len x (1+r)], r in [0, 1), so 0 is exact. One number for both, or {"input": r, "output": r}. Older releases meant something else: see --legacy-range-ratio.`},
		{Flag: "--random-prefix-len", Group: random, Type: number, Default: 0, Into: &o.RandomPrefixLen,
			Help: "Tokens of a beginning that all prompts share, on top of the input length."},
		{Flag: "--random-batch-size", Group: random, Type: number, Default: 1, Into: &o.RandomBatchSize,
			Help: "Prompts in one request of embeddings or rerank."},
		{Flag: "--no-reranker", Group: random, Action: on, Into: &o.NoReranker,
			Help: "The model is no native reranker: query and document are counted apart."},
		{Flag: "--random-mm-base-items-per-request", Group: mm, Type: number, Default: 1, Into: &o.MMBaseItems,
			Help: "Mean number of images and videos in a request."},
		{Flag: "--random-mm-num-mm-items-range-ratio", Group: mm, Type: real, Default: 0.0, Into: &o.MMItemsRangeRatio,
			Help: "Spread of that number, in [0, 1]: uniform in [n x (1-r), n x (1+r)]."},
		{Flag: "--random-mm-limit-mm-per-prompt", Group: mm, Type: object, Default: dict("image", 255, "video", 1), Into: &o.MMLimitJSON,
			Help: "Most items of each kind in a request; the server's own limit must allow as many."},
		{Flag: "--random-mm-bucket-config", Group: mm, Type: argparse.Custom, Convert: parseBuckets, TypeName: "_parse_mm_bucket_config", Metavar: "DICT",
			Default: dict(argparse.Tuple{256, 256, 1}, 0.5, argparse.Tuple{720, 1280, 1}, 0.5, argparse.Tuple{720, 1280, 16}, 0.0), Into: &o.MMBucketDict,
			Help: "Sizes and their weights as {(height, width, frames): weight}; one frame is an image, more are a video."},
		{Flag: "--hf-subset", Group: hf, Into: &o.HFSubset,
			Help: "Subset (configuration) of the set."},
		{Flag: "--hf-split", Group: hf, Into: &o.HFSplit,
			Help: "Split of the set; without it the set's usual one."},
		{Flag: "--hf-name", Group: hf, Into: &o.HFName,
			Help: "The set's name on the Hub, where --dataset-path is a local copy: it decides how rows are read."},
		{Flag: "--hf-output-len", Group: hf, Type: number, Into: &o.HFOutputLen,
			Help: "Output tokens of each request; without it the set's usual."},
		{Flag: "--bfcl-categories", Group: "BFCL dataset options", Type: argparse.Custom, Convert: parseCategories, TypeName: "<lambda>", Metavar: "A,B", Into: categories(o),
			Help: "Categories, separated by commas; without it simple, live_simple and multiple."},
		{Flag: "--prefix-repetition-prefix-len", Group: prefix, Type: number, Default: 256, Into: &o.PrefixLen,
			Help: "Tokens of each shared beginning."},
		{Flag: "--prefix-repetition-suffix-len", Group: prefix, Type: number, Default: 256, Into: &o.PrefixSuffixLen,
			Help: "Tokens of each prompt behind its beginning."},
		{Flag: "--prefix-repetition-num-prefixes", Group: prefix, Type: number, Default: 10, Into: &o.PrefixCount,
			Help: "Number of different beginnings."},
		{Flag: "--prefix-repetition-output-len", Group: prefix, Type: number, Default: 128, Into: &o.PrefixOutputLen,
			Help: "Output tokens of each request."},
		{Flag: "--speed-bench-dataset-subset", Group: speed, Default: "qualitative", Into: &o.SpeedBenchSubset,
			Choices: []string{"qualitative", "throughput_16k", "throughput_1k", "throughput_2k", "throughput_32k", "throughput_8k"},
			Help:    "File of the set to read."},
		{Flag: "--speed-bench-output-len", Group: speed, Type: number, Default: 4096, Into: &o.SpeedBenchOutputLen,
			Help: "Output tokens of each request."},
		{Flag: "--speed-bench-category", Group: speed, Into: &o.SpeedBenchCategory,
			Help: "Only rows of this category."},

		{Flag: "--label", Section: secResults, Into: &o.Label,
			Help: "Beginning of the result file's name, and kept in it; without it the backend's name."},
		{Flag: "--backend", Section: secTarget, Default: "openai", Choices: backends, Into: &o.Backend,
			Help: "Kind of API that is spoken."},
		{Flag: "--base-url", Section: secTarget, Metavar: "URL", Into: &o.BaseURL,
			Help: "Address of the server, in place of host and port: http://host:port, and any path before the endpoint."},
		{Flag: "--host", Section: secTarget, Default: "127.0.0.1", Into: &o.Host,
			Help: "Host name or address."},
		{Flag: "--port", Section: secTarget, Type: number, Default: 8000, Into: &o.Port,
			Help: "Port."},
		{Flag: "--endpoint", Section: secTarget, Metavar: "PATH", Default: "/v1/completions", Into: &o.Endpoint,
			Help: "Path of requests. When it is not given, the backend's usual path."},
		{Flag: "--header", Section: secTarget, Nargs: argparse.ZeroOrMore, Metavar: "KEY=VALUE", Secret: true, Into: &o.Header,
			Help: "Headers of every request. They are never printed or kept."},
		{Flag: "--max-concurrency", Section: secLoad, Type: number, Into: &o.MaxConcurrency,
			Help: "Most requests in flight. With a rate, requests that are due wait for it, and the wait is recorded."},
		{Flag: "--model", Section: secTarget, Into: &o.Model,
			Help: "Model's name or folder; without it the first model that the server lists."},
		{Flag: "--input-len", Section: secRequest, Type: number, Into: &o.InputLen,
			Help: "Prompt length of the random dataset, whatever --random-input-len says."},
		{Flag: "--output-len", Section: secRequest, Type: number, Into: &o.OutputLen,
			Help: "Output length of random, sharegpt, custom, hf, spec_bench and prefix_repetition, whatever their own flags say."},
		{Flag: "--tokenizer", Section: secTarget, Metavar: "NAME|DIR", Into: &o.Tokenizer,
			Help: "Tokenizer's name or folder; without it the model's."},
		{Flag: "--tokenizer-mode", Section: secTarget, Default: "auto", Into: &o.TokenizerMode,
			Help: "How to read the tokenizer: auto, hf, mistral and so on."},
		{Flag: "--use-beam-search", Section: secRequest, Action: on, Into: &o.UseBeamSearch,
			Help: "Refused: the original accepts it and sends nothing of it. Put it into --extra-body if the server takes it."},
		{Flag: "--logprobs", Section: secRequest, Type: number, Into: &o.Logprobs,
			Help: "Log probabilities of so many tokens with each token (completions only). Changes what the server has to do."},
		{Flag: "--request-rate", Section: secLoad, Type: real, Default: inf, Into: &o.RequestRate,
			Help: "Requests per second; inf sends all at once."},
		{Flag: "--burstiness", Section: secLoad, Type: real, Default: 1.0, Into: &o.Burstiness,
			Help: "Shape of the gaps at a finite rate: 1 is a Poisson process, below 1 burstier, above 1 more even, inf constant."},
		{Flag: "--probe-request-rate", Section: secLoad, Type: real, Default: 0.0, Into: &o.ProbeRate,
			Help: "Beside the load, sends one-token probes at about this rate per second, one after the other; 0 sends none."},
		{Flag: "--disable-tqdm", Section: secReport, Action: on, Into: &o.DisableTqdm,
			Help: "Shows no progress."},
		{Flag: "--num-warmups", Section: secLoad, Type: number, Default: 0, Into: &o.NumWarmups,
			Help: "Requests before the clock starts, not counted. They ask other prompts than the first, which would lie in the server's prefix cache; with --compat vllm they are copies of it."},
		{Flag: "--profile", Section: secProfile, Action: on, Into: &o.Profile,
			Help: "Starts the server's profiler before the load and stops it after; the server must have been started with one."},
		{Flag: "--save-result", Section: secResults, Action: on, Into: &o.SaveResult,
			Help: "Writes the result as JSON."},
		{Flag: "--save-detailed", Section: secResults, Action: on, Into: &o.SaveDetailed,
			Help: "Keeps the figures of every request in it: lengths, times, texts, errors."},
		{Flag: "--append-result", Section: secResults, Action: on, Into: &o.AppendResult,
			Help: "Appends the result to the file as one more line."},
		{Flag: "--metadata", Section: secResults, Nargs: argparse.ZeroOrMore, Metavar: "KEY=VALUE", Into: &o.MetadataFlag,
			Help: "Words of your own to keep in the result."},
		{Flag: "--result-dir", Section: secResults, Metavar: "DIR", Into: &o.ResultDir,
			Help: "Folder of the result; it is made if need be."},
		{Flag: "--result-filename", Section: secResults, Metavar: "FILE", Into: &o.ResultFilename,
			Help: "Name of the result, in place of {label}-{rate}qps-concurrency{n}-{model}-{date}.json."},
		{Flag: "--ignore-eos", Section: secRequest, Action: on, Into: &o.IgnoreEOS,
			Help: "Makes the server go on to the length asked for. Always on for random, random-mm and timed_trace."},
		{Flag: "--self-timed", Section: secLoad, Action: argparse.OnOff, Into: &o.SelfTimedFlag,
			Help: "Sends timed_trace at its own time stamps (its default), or at the rate given."},
		{Flag: "--percentile-metrics", Section: secReport, Metavar: "A,B", Into: &o.PercentileMetrics,
			Help: "Sections of the table: ttft, tpot, itl, e2el, client_queue_time, e2el_including_client_queue. Without it ttft,tpot,itl, or e2el for embeddings and scores."},
		{Flag: "--metric-percentiles", Section: secReport, Metavar: "P,Q", Default: "99", Into: &o.MetricPercentiles,
			Help: "Percentiles in each section, 0 to 100."},
		{Flag: "--goodput", Section: secReport, Nargs: argparse.OneOrMore, Metavar: "NAME:MS", Into: &o.GoodputFlag,
			Help: "Objectives in milliseconds by ttft, tpot or e2el: requests that meet all of them are counted as goodput."},
		{Flag: "--request-id-prefix", Section: secRequest, Default: "bench-" + randomHex() + "-", Into: &o.RequestIDPrefix,
			Help: "Beginning of the x-request-id headers; random in each run."},
		{Flag: "--top-p", Group: secSampling, Type: real, Into: &o.TopP,
			Help: "Share of the probability mass to sample from."},
		{Flag: "--top-k", Group: secSampling, Type: number, Into: &o.TopK,
			Help: "Number of likeliest tokens to sample from."},
		{Flag: "--min-p", Group: secSampling, Type: real, Into: &o.MinP,
			Help: "Least probability of a token, as a share of the likeliest one's."},
		{Flag: "--temperature", Group: secSampling, Type: real, Into: &o.Temperature,
			Help: "Temperature; 0 is greedy."},
		{Flag: "--frequency-penalty", Group: secSampling, Type: real, Into: &o.FrequencyPenalty,
			Help: "Penalty that grows with every repetition of a token."},
		{Flag: "--presence-penalty", Group: secSampling, Type: real, Into: &o.PresencePenalty,
			Help: "Penalty for a token that has occurred."},
		{Flag: "--repetition-penalty", Group: secSampling, Type: real, Into: &o.RepetitionPenalty,
			Help: "Factor against tokens of the prompt and the output."},
		{Flag: "--served-model-name", Section: secTarget, Into: &o.ServedModelName,
			Help: "Name of the model in requests, where it differs from --model."},
		{Flag: "--lora-modules", Section: secRequest, Nargs: argparse.OneOrMore, Metavar: "NAME", Into: &o.LoraModules,
			Help: "LoRA adapters the server has loaded: each request asks for one of them."},
		{Flag: "--lora-assignment", Section: secRequest, Default: "random", Choices: []string{"random", "round-robin"}, Into: &o.LoraAssignment,
			Help: "How adapters are dealt out."},
		{Flag: "--ramp-up-strategy", Section: secLoad, Choices: []string{"linear", "exponential"}, Into: &o.RampStrategy,
			Help: "Lets the rate grow over the run from --ramp-up-start-rps to --ramp-up-end-rps, in place of --request-rate."},
		{Flag: "--ramp-up-start-rps", Section: secLoad, Type: number, Into: &o.RampStart,
			Help: "Rate at the first request."},
		{Flag: "--ramp-up-end-rps", Section: secLoad, Type: number, Into: &o.RampEnd,
			Help: "Rate at the last request."},
		{Flag: "--ready-check-timeout-sec", Section: secLoad, Type: number, Default: 0, Into: &o.ReadyTimeoutSecs,
			Help: "Before the run, tries one request until it succeeds, for at most so many seconds; 0 tries none."},
		{Flag: "--chat-template-kwargs", Section: secDataset, Type: object, Into: &o.TemplateKwargsJSON,
			Help: "Arguments of the chat template where prompts are put into it here (custom, speed_bench)."},
		{Flag: "--extra-body", Section: secRequest, Type: object, Into: &o.ExtraBodyJSON,
			Help: `JSON object merged into every request's body, over anything else in it, e.g. '{"chat_template_kwargs": {"enable_thinking": false}}'.`},
		{Flag: "--skip-tokenizer-init", Section: secTarget, Action: on, Into: &o.SkipTokenizer,
			Help: "Loads no tokenizer. Tokens are then counted by the server alone."},
		{Flag: "--insecure", Section: secTarget, Action: on, Into: &o.Insecure,
			Help: "Does not check TLS certificates."},
		{Flag: "--plot-timeline", Section: secResults, Action: on, Into: &o.PlotTimeline,
			Help: "Draws every request and its tokens as an HTML file beside the result."},
		{Flag: "--timeline-itl-thresholds", Section: secResults, Metavar: "MS,MS", Default: "25,50", Into: &o.TimelineITL,
			Help: "Gaps between tokens, in milliseconds, at which the timeline's colour changes."},
		{Flag: "--plot-dataset-stats", Section: secResults, Action: on, Into: &o.PlotDatasetStats,
			Help: "Draws the lengths of prompts and outputs beside the result."},
	}
	original := len(options)
	options = append(options, nativeOptions(o)...)
	options = append(options, ownOptions(o)...)
	for i, option := range options {
		option.Extension = i >= original
		if option.Group == "" && !option.Extension {
			option.Group = "options"
		}
		if option.Action == argparse.StoreTrue {
			option.Default = false
		}
	}
	return &argparse.Parser{Prog: "servebench bench serve", Summary: benchSummary, Example: benchExample, Groups: benchGroups, Options: options}
}

// nativeOptions are what vLLM's native client has beyond the Python one.
func nativeOptions(o *benchOptions) []*argparse.Option {
	const (
		on     = argparse.StoreTrue
		number = argparse.Int
		real   = argparse.Float
	)
	return []*argparse.Option{
		{Flag: "--prompt-token-ids", Section: "random dataset options", Action: on, Into: &o.PromptTokenIDs,
			Help: "Sends token ids in place of text: exact lengths, and the server need not tokenize."},
		{Flag: "--max-model-len", Section: secDataset, Type: number, Into: &o.MaxModelLen,
			Help: "Leaves out samples whose prompt and output together are longer."},
		{Flag: "--hf-text-column", Section: "hf dataset options", Metavar: "NAME", Into: &o.HFTextColumn,
			Help: "Column that holds the prompt, for sets that are not known by name."},
		{Flag: "--speed-bench-config", Section: "speed bench dataset options", Into: &o.SpeedBenchConfig,
			Choices: []string{"qualitative", "throughput_16k", "throughput_1k", "throughput_2k", "throughput_32k", "throughput_8k"},
			Help:    "Another name of --speed-bench-dataset-subset."},
		{Flag: "--speed-bench-max-input-len", Section: "speed bench dataset options", Type: number, Into: &o.SpeedBenchMaxInputLen,
			Help: "Cuts prompts to so many tokens."},
		{Flag: "--sweep-max-concurrency", Section: secRepeat, Metavar: "N,M", Into: &o.SweepMaxConcurrency,
			Help: "Runs once for each of these concurrencies and compares."},
		{Flag: "--sweep-request-rate", Section: secRepeat, Metavar: "X,Y", Into: &o.SweepRequestRate,
			Help: "Runs once for each of these rates and compares."},
		{Flag: "--sweep-num-prompts-factor", Section: secRepeat, Type: number, Into: &o.SweepNumPromptsFactor,
			Help: "Sends concurrency times this many requests at each point of a sweep."},
		{Flag: "--sweep-summary-percentiles", Section: secRepeat, Metavar: "P,Q", Into: &o.SweepSummaryPercentiles,
			Help: "Further columns of the sweep's table."},
		{Flag: "--reset-prefix-cache", Section: secRepeat, Action: on, Into: &o.ResetPrefixCache,
			Help: "Empties the server's prefix cache before each point; the server must run in dev mode."},
		{Flag: "--num-runs", Section: secRepeat, Type: number, Default: 1, Into: &o.NumRuns,
			Help: "Repeats the run and reports mean, deviation, least, greatest and coefficient of variation."},
		{Flag: "--compare", Section: secRepeat, Nargs: argparse.OneOrMore, Metavar: "FILE", Into: &o.Compare,
			Help: "Compares two saved results and sends nothing."},
		{Flag: "--dry-run", Section: secDataset, Action: on, Into: &o.DryRun,
			Help: "Builds the dataset, prints what it holds and sends no load."},
		{Flag: "--profile-batch-threshold", Section: secProfile, Type: number, Into: &o.ProfileBatchThreshold,
			Help: "Starts the profiler once the server says that so many requests run."},
		{Flag: "--profile-duration", Section: secProfile, Type: real, Default: 5, Metavar: "SECONDS", Into: &o.ProfileDuration,
			Help: "Stops that profile after so many seconds."},
		{Flag: "--steady-state-threshold", Section: secSteady, Type: real, Default: 0.95, Into: &o.SteadyStateThreshold,
			Help: "Share of --max-concurrency at which the load counts as full, in (0, 1]."},
		{Flag: "--steady-state-min-window", Section: secSteady, Type: real, Metavar: "SECONDS", Into: &o.SteadyStateMinWindow,
			Help: "Warns when the full part is shorter; without it 10 s or a tenth of the run, whichever is longer."},
		{Flag: "--no-steady-state", Section: secSteady, Action: on, Into: &o.NoSteadyState,
			Help: "Reports the whole run only."},
		{Flag: "--random-cache-hit-fraction", Section: "random dataset options", Type: real, Default: 0.0, Into: &o.CacheHitFraction,
			Help: "Share of prompts that begin with a common part; needs --prompt-token-ids."},
		{Flag: "--random-cache-ratio", Section: "random dataset options", Type: real, Default: 0.0, Into: &o.CacheRatio,
			Help: "How much of such a prompt is the common part."},
		{Flag: "--multi-turn", Section: secTurns, Action: on, Into: &o.MultiTurn,
			Help: "Sends conversations: each turn carries the history and waits for the answer before. --num-prompts counts conversations; backend openai-chat."},
		{Flag: "--multi-turn-num-turns", Section: secTurns, Type: number, Default: 3, Into: &o.MultiTurnTurns,
			Help: "Turns of each conversation; with sharegpt the most turns, and without it all that were recorded."},
		{Flag: "--multi-turn-min-turns", Section: secTurns, Type: number, Default: 0, Into: &o.MultiTurnMinTurns,
			Help: "Number of turns drawn from here to --multi-turn-max-turns, or to --multi-turn-num-turns."},
		{Flag: "--multi-turn-max-turns", Section: secTurns, Type: number, Default: 0, Into: &o.MultiTurnMaxTurns,
			Help: "See --multi-turn-min-turns; 0 for both takes --multi-turn-num-turns. Of recorded conversations the most turns."},
		{Flag: "--multi-turn-concurrency", Section: secTurns, Type: number, Into: &o.MultiTurnConcurrency,
			Help: "Conversations at once; without it --max-concurrency."},
		{Flag: "--multi-turn-delay-ms", Section: secTurns, Type: real, Default: 0, Into: &o.MultiTurnDelayMS,
			Help: "Time to think between an answer and the next turn."},
		{Flag: "--per-turn-input-len", Section: secTurns, Type: number, Default: 0, Into: &o.PerTurnInputLen,
			Help: "Prompt tokens of turns after the first; 0 is the same length."},
		{Flag: "--multi-turn-prefix-global-ratio", Section: secTurns, Type: real, Default: 0.0, Into: &o.MultiTurnGlobalPrefix,
			Help: "Share of each prompt that all conversations have in common. With it no history grows."},
		{Flag: "--multi-turn-prefix-conversation-ratio", Section: secTurns, Type: real, Default: 0.0, Into: &o.MultiTurnConversationPart,
			Help: "Share that the turns of one conversation have in common; the two together stay below 1."},
	}
}

// ownOptions are ours.
func ownOptions(o *benchOptions) []*argparse.Option {
	const (
		on   = argparse.StoreTrue
		real = argparse.Float
	)
	return []*argparse.Option{
		{Flag: "--out", Section: secRun, Metavar: "DIR", Into: &o.Out,
			Help: "Keeps the run: every request with all its stamps, the report, traces. Nothing there is overwritten."},
		{Flag: "--compat", Section: secRun, Choices: []string{"vllm"}, Into: &o.Compat,
			Help: "Counts, parses and fails as vllm bench serve does where it is known to be wrong: for comparisons with old numbers."},
		{Flag: "--max-failures", Section: secRun, Metavar: "N|P%", Into: &o.MaxFailuresFlag,
			Help: "Most failed requests, as a number or a share, with which the command still exits with 0; without it only a run in which all fail exits with 1."},
		{Flag: "--require-valid", Section: secRun, Action: on, Into: &o.RequireValid,
			Help: "Exits with 1 when the client, not the server, limited the run."},
		{Flag: "--legacy-range-ratio", Section: "random dataset options", Action: on, Into: &o.LegacyRangeRatio,
			Help: "Takes --random-range-ratio as releases before 0.8.4 did: lengths uniform in [len x r, len], r in [0, 1], so 1.0 is exact."},
		{Flag: "--profile-optional", Section: secProfile, Action: on, Into: &o.ProfileOptional,
			Help: "Goes on without a profile when the profiler cannot be started."},
		{Flag: "--trace-dir", Section: secProfile, Metavar: "DIR|GLOB", Into: &o.TraceDir,
			Help: "Where the server writes its trace files, as seen from here; they are collected into the run folder."},
		{Flag: "--warm-connections", Section: secLoad, Action: on, Into: &o.WarmConnections,
			Help: "Opens connections before the clock starts, so that no request pays for connecting."},
		{Flag: "--no-canary", Section: secRun, Action: on, Into: &o.NoCanary,
			Help: "Leaves out the canary: two streams of the client's own, 40 tokens a second each, by which it measures how wrong it is."},
		{Flag: "--distinct-warmups", Section: secLoad, Action: on, Into: &o.DistinctWarmups,
			Help: "The way it is done anyway: warm-ups ask other prompts than the load's first."},
		{Flag: "--timed-trace-rebase", Section: "timed-trace dataset options", Action: on, Into: &o.RebaseTrace,
			Help: "Sorts the trace and lets it begin at 0."},
		{Flag: "--headers-everywhere", Section: secTarget, Action: on, Into: &o.HeadersEverywhere,
			Help: "The way it is done anyway: headers and key are sent also when asking for models, tokens and metrics."},
		{Flag: "--source-address", Section: secTarget, Nargs: argparse.OneOrMore, Metavar: "IP", Into: &o.SourceAddressFlag,
			Help: "Local addresses to connect from, in turn: each has some 28,000 ports to one server."},
		{Flag: "--http-version", Section: secTarget, Default: "1.1", Choices: []string{"1.1", "2"}, Into: &o.HTTPVersion,
			Help: "HTTP/1.1, a connection for each request in flight, or HTTP/2, where they share one and stamps are the connection's."},
		{Flag: "--proxy", Section: secTarget, Metavar: "URL", Into: &o.Proxy,
			Help: "HTTP proxy to go through, or none; usually the one that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name."},
		{Flag: "--connect-timeout-sec", Section: secTarget, Type: real, Default: 10, Into: &o.ConnectTimeoutSecs,
			Help: "Longest time for a connection to be made."},
		{Flag: "--request-timeout-sec", Section: secTarget, Type: real, Default: 21600, Into: &o.RequestTimeoutSecs,
			Help: "Longest time for one request, six hours like the original; 0 is none."},
		{Flag: "--shard", Section: secScale, Metavar: "K/N", Into: &o.ShardFlag,
			Help: "Sends only part K (from 0) of N of the load: request i belongs to part i mod N. All parts need the same flags and seed, and --request-id-prefix."},
		{Flag: "--start-at", Section: secScale, Metavar: "TIME", Into: &o.StartAtFlag,
			Help: "When the load begins: 2026-01-31T12:00:00Z, Unix seconds, or +30s from now. Give every part the same moment."},
	}
}

func randomHex() string {
	b := make([]byte, 4)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
