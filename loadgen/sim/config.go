package sim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// The devices that the simulator can pretend to run on. They decide how batches are formed and
// what a profiler trace looks like.
const (
	// CUDA mixes prompts and decoding in one step. Its trace has kernels.
	CUDA = "cuda"
	// Gaudi has separate batches for prompts and decoding, padded to buckets. Its trace is the end-to-end one of the
	// Gaudi plugin.
	Gaudi = "gaudi"
	// CPU is CUDA without a device: the trace has steps and host rows only.
	CPU = "cpu"
)

// A Config is what the simulated server is like. The zero value is a usable server. A duration of
// zero means the usual one, a negative duration none at all.
type Config struct {
	// Model is the name that requests must ask for, usually facebook/opt-125m. Aliases are further names
	// (LoRA adapters). AnyModel takes whatever name is asked for. Root is the model's folder as /v1/models says it;
	// usually the Model.
	Model    string
	Aliases  []string
	AnyModel bool
	Root     string
	// Version is what /version says, usually 0.32.0.
	Version string

	// Device is CUDA, Gaudi or CPU; usually CUDA.
	Device string
	// Seed decides the contents of all answers, and whom a fault strikes that strikes a share.
	Seed uint64

	// Tokenizer counts prompts and words answers; usually Words of Vocabulary ids. NoBOS leaves out
	// the special token before a prompt of text.
	Tokenizer  Tokenizer
	Vocabulary int
	NoBOS      bool
	// NaturalLength is the mean number of tokens after which an answer ends by itself where the request does not
	// ignore the end of sequence; 0: answers are as long as they may be.
	NaturalLength int

	// MaxModelLen limits prompt and answer together, in tokens; usually 2048. MaxNumSeqs is the number of sequences that
	// run at a time, usually 128: the others queue, first come first served. MaxNumBatchedTokens limits the tokens of a
	// step, usually 8192. A prompt that does not fit into what is left of a step is split over steps, unless
	// NoChunkedPrefill (on Gaudi never).
	MaxModelLen, MaxNumSeqs, MaxNumBatchedTokens int
	NoChunkedPrefill                             bool
	// BlockSize is the tokens of a cache block (usually 16, on Gaudi and CPU 128), Blocks their number, usually 32768. A
	// sequence that finds no free block is preempted: it queues again and is computed anew.
	BlockSize, Blocks int
	// NoPrefixCache computes every prompt whole. Otherwise full blocks that an earlier prompt began
	// with cost nothing.
	NoPrefixCache bool

	// FirstToken and BetweenTokens, when FirstToken is positive, replace the engine by fixed
	// delays: see the package's comment.
	FirstToken, BetweenTokens time.Duration
	// HostGap is the time between two steps, usually 200 us. Launch is the time from a step's begin to the first work
	// on the device, usually 300 us. StepBase (usually 4 ms), PromptToken (10 us) and Sequence (30 us)
	// make up the device's time.
	HostGap, Launch, StepBase, PromptToken, Sequence time.Duration

	// PromptBatch is the number of prompts in one prefill batch on Gaudi, usually 4.
	PromptBatch int
	// Buckets are the sizes that batches are padded to on Gaudi.
	Buckets Buckets
	// CompileTime is what the first use of a bucket costs on Gaudi, usually 400 ms. Warmup compiles all
	// buckets before the first request, WarmBuckets these ones, at no cost in time.
	CompileTime time.Duration
	Warmup      bool
	WarmBuckets []Bucket

	// StreamInterval is the number of tokens in an event of a stream, usually 1; the first token goes
	// out by itself in any case.
	StreamInterval int

	// PromptTokensDetails has the usage say how many prompt tokens were cached; RequestMetrics has the last event
	// say the server's own timings; Multimodal takes images, video and sound in chat, as 64 tokens each.
	PromptTokensDetails, RequestMetrics, Multimodal bool

	// ProfileDir is the folder that traces are written to. Without one the server has no profiler, and its
	// endpoints do not exist. ProfileStart and ProfileStop are how long the two calls take (usually 2 ms and 200 ms); the
	// engine stands still meanwhile. Writing the traces is part of stopping, and can take longer.
	ProfileDir                string
	ProfileStart, ProfileStop time.Duration
	// Ranks is the number of workers, each with a trace of its own; usually 1.
	Ranks int
	// Stacks adds Python rows (never on Gaudi's end-to-end trace). DetailedAnnotations names steps in the detailed form. HardwareTrace adds
	// device rows to a Gaudi trace, NoCompileRows leaves its GRAPH COMPILE rows out.
	Stacks, DetailedAnnotations, HardwareTrace, NoCompileRows bool

	// DevMode opens /server_info, /reset_prefix_cache and the like.
	DevMode bool
	// APIKey, when set, must come as a bearer token on every path under /v1.
	APIKey string
	// Startup is how long Serve takes to accept its first connection.
	Startup time.Duration

	// Faults are what goes wrong, and for whom. A request can ask for one in its X-Sim-Fault header or its
	// sim_fault body key instead: see ParseFault.
	Faults []Fault
	// DieAfter is the number of requests after whose arrival the server dies: its connections are reset and
	// its port is closed. 0 is never.
	DieAfter int

	// Log is given one JSON line for each finished request and each step: see RequestLog and Step.
	Log io.Writer
	// Keep is the number of finished requests that Requests remembers, usually 10,000; Steps remembers ten times as many
	// steps. Older ones are forgotten first.
	Keep int
}

// A Bucket is the padded size of a batch on Gaudi: sequences, tokens a sequence (1 when decoding),
// and blocks of context.
type Bucket struct {
	Phase  string `json:"phase"` // Prefill or Decode
	Batch  int    `json:"batch"`
	Seq    int    `json:"seq"`
	Blocks int    `json:"blocks"`
}

func (b Bucket) String() string {
	return fmt.Sprintf("%s bs%d seq%d ctx%d", b.Phase, b.Batch, b.Seq, b.Blocks)
}

// Buckets are the sizes to choose a bucket from.
type Buckets struct {
	PromptBatch, PromptSeq, PromptBlocks, DecodeBatch, DecodeBlocks Range
}

// A Range of sizes: Min, doubled until Step, then the multiples of Step up to Max. A larger size is
// rounded up to a multiple of Step.
type Range struct{ Min, Step, Max int }

// Pad is the smallest size of the range that holds n.
func (r Range) Pad(n int) int {
	size := r.Min
	for size < n && size < r.Step {
		size = min(2*size, r.Step)
	}
	if size >= n {
		return size
	}
	return (n + r.Step - 1) / r.Step * r.Step
}

// Sizes are all sizes of the range.
func (r Range) Sizes() []int {
	var sizes []int
	for size := r.Min; ; {
		sizes = append(sizes, size)
		if size >= r.Max {
			return sizes
		}
		size = r.Pad(size + 1)
	}
}

func usual[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func usualDuration(p *time.Duration, value time.Duration) {
	if *p == 0 {
		*p = value
	}
	*p = max(*p, 0)
}

// withDefaults is the configuration with the usual values filled in, or every fault found.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	for _, n := range []struct {
		name  string
		value int
	}{
		{"MaxModelLen", c.MaxModelLen}, {"MaxNumSeqs", c.MaxNumSeqs}, {"MaxNumBatchedTokens", c.MaxNumBatchedTokens},
		{"BlockSize", c.BlockSize}, {"Blocks", c.Blocks}, {"PromptBatch", c.PromptBatch}, {"StreamInterval", c.StreamInterval},
		{"Ranks", c.Ranks}, {"Keep", c.Keep}, {"NaturalLength", c.NaturalLength}, {"DieAfter", c.DieAfter},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("sim: %s is %d: must not be negative (0 is the usual)", n.name, n.value))
		}
	}
	usual(&c.Model, "facebook/opt-125m")
	usual(&c.Root, c.Model)
	usual(&c.Version, "0.32.0")
	usual(&c.Device, CUDA)
	if devices := []string{CUDA, Gaudi, CPU}; !slices.Contains(devices, c.Device) {
		errs = append(errs, fmt.Errorf("sim: no device %q: have %s", c.Device, strings.Join(devices, ", ")))
	}
	if c.Tokenizer == nil {
		words, err := NewWords(c.Vocabulary)
		if err != nil {
			errs = append(errs, fmt.Errorf("sim: %w", err))
		}
		c.Tokenizer = words
	}
	usual(&c.MaxModelLen, 2048)
	usual(&c.MaxNumSeqs, 128)
	usual(&c.MaxNumBatchedTokens, 8192)
	blockSize := 16
	if c.Device != CUDA {
		blockSize = 128
	}
	usual(&c.BlockSize, blockSize)
	usual(&c.Blocks, 32768)
	if c.MaxModelLen > c.Blocks*c.BlockSize {
		errs = append(errs, fmt.Errorf("sim: MaxModelLen is %d, but %d blocks of %d tokens hold only %d", c.MaxModelLen, c.Blocks, c.BlockSize, c.Blocks*c.BlockSize))
	}
	if c.FirstToken <= 0 && c.BetweenTokens > 0 {
		errs = append(errs, errors.New("sim: BetweenTokens is set without FirstToken: set both for fixed delays"))
	}
	c.BetweenTokens = max(c.BetweenTokens, 0)
	usualDuration(&c.HostGap, 200*time.Microsecond)
	usualDuration(&c.Launch, 300*time.Microsecond)
	usualDuration(&c.StepBase, 4*time.Millisecond)
	usualDuration(&c.PromptToken, 10*time.Microsecond)
	usualDuration(&c.Sequence, 30*time.Microsecond)
	usual(&c.PromptBatch, 4)
	usual(&c.Buckets.PromptBatch, Range{1, max(c.PromptBatch, 1), max(c.PromptBatch, 1)})
	usual(&c.Buckets.PromptSeq, Range{128, 128, (c.MaxModelLen + 127) / 128 * 128})
	usual(&c.Buckets.PromptBlocks, Range{1, 1, 1})
	usual(&c.Buckets.DecodeBatch, Range{1, min(32, c.MaxNumSeqs), c.MaxNumSeqs})
	blocks := c.MaxNumSeqs * ((c.MaxModelLen + c.BlockSize - 1) / max(c.BlockSize, 1))
	usual(&c.Buckets.DecodeBlocks, Range{128, 128, (blocks + 127) / 128 * 128})
	for _, r := range []struct {
		name string
		Range
	}{
		{"PromptBatch", c.Buckets.PromptBatch}, {"PromptSeq", c.Buckets.PromptSeq}, {"PromptBlocks", c.Buckets.PromptBlocks},
		{"DecodeBatch", c.Buckets.DecodeBatch}, {"DecodeBlocks", c.Buckets.DecodeBlocks},
	} {
		if r.Min < 1 || r.Step < r.Min || r.Max < r.Min {
			errs = append(errs, fmt.Errorf("sim: bucket range %s is %d, %d, %d: needs 1 <= minimum <= step and minimum <= maximum", r.name, r.Min, r.Step, r.Max))
		}
	}
	usualDuration(&c.CompileTime, 400*time.Millisecond)
	usual(&c.StreamInterval, 1)
	usualDuration(&c.ProfileStart, 2*time.Millisecond)
	usualDuration(&c.ProfileStop, 200*time.Millisecond)
	usual(&c.Ranks, 1)
	usual(&c.Keep, 10_000)
	for i := range c.Faults {
		if err := c.Faults[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("sim: fault %d: %w", i, err))
		}
	}
	if c.ProfileDir != "" {
		if info, err := os.Stat(c.ProfileDir); err == nil && !info.IsDir() {
			errs = append(errs, fmt.Errorf("sim: profile folder %s is a file", c.ProfileDir))
		}
	}
	return c, errors.Join(errs...)
}

// WithCapacity is the configuration with StepBase chosen so that Capacity(input, output) is the given rate: what a search for
// the highest rate has to find.
func (c Config) WithCapacity(perSecond float64, input, output int) (Config, error) {
	full, err := c.withDefaults()
	if err != nil {
		return Config{}, err
	}
	c.StepBase = -1
	fastest, ok := c.Capacity(input, output)
	if !ok {
		return Config{}, fmt.Errorf("sim: the capacity for %d tokens in and %d out is not known for this configuration", input, output)
	}
	if !(perSecond > 0 && perSecond < fastest) {
		return Config{}, fmt.Errorf("sim: no step is short enough for %v requests a second: at most %v are possible", perSecond, fastest)
	}
	perStep := float64(full.MaxNumSeqs) / float64(output) * float64(time.Second)
	c.StepBase = time.Duration(perStep/perSecond - perStep/fastest)
	return c, nil
}

// Capacity is the rate, in requests a second, at which the server answers requests of so many prompt and
// output tokens when it is never idle: the most that an open loop can ask of it for long. It is
//
//	(S / O) / (HostGap + Launch + StepBase + Sequence × S(O-1)/O + PromptToken × S·I/O)
//
// with S = MaxNumSeqs, I and O the tokens of prompt and output: each request holds one of S places for O steps (its
// prompt's step yields the first token), so S/O of them begin and end in each step.
// It is exact for a closed loop of S users or more; with fewer users put their number in MaxNumSeqs. It is not known (false) with
// fixed delays, on Gaudi (padding), or where a step's token limit would split or delay prompts.
// Prefix caching is taken to find nothing.
func (c Config) Capacity(input, output int) (perSecond float64, ok bool) {
	c, err := c.withDefaults()
	if err != nil || c.FirstToken > 0 || c.Device == Gaudi || input < 1 || output < 1 || c.MaxNumSeqs*(input+1) > c.MaxNumBatchedTokens {
		return 0, false
	}
	s, i, o := float64(c.MaxNumSeqs), float64(input), float64(output)
	step := float64(c.HostGap+c.Launch+c.StepBase) + float64(c.Sequence)*s*(o-1)/o + float64(c.PromptToken)*s*i/o
	return s / o / step * float64(time.Second), true
}
