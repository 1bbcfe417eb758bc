package results

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// ManifestVersion is the version of the manifest's layout. A reader refuses a higher one.
const ManifestVersion = 1

// A Manifest says how a run was made and how it ended. It holds no secret: command lines,
// headers and settings pass through Redact before they come here.
type Manifest struct {
	// Version is ManifestVersion.
	Version int `json:"version"`
	// Tool is the program and version that made the run, Command its command line.
	Tool    string   `json:"tool"`
	Command []string `json:"command,omitempty"`
	// Scenario is the scenario as run, every default filled in.
	Scenario json.RawMessage `json:"scenario,omitempty"`
	Seed     int64           `json:"seed"`
	// Settings are what reports print about the load.
	Settings Settings `json:"settings"`
	// Shard is set when the run is one of several.
	Shard *Shard `json:"shard,omitempty"`

	Machine Machine `json:"machine"`
	// Clocks pair the clocks of this machine, at the start and at the end at least.
	Clocks []ClockPair `json:"clocks,omitempty"`
	// Server is what the server said about itself.
	Server Server `json:"server"`
	// Prompts says how prompts were made and counted.
	Prompts Prompts `json:"prompts"`
	// Stamps is "kernel" or "user": who stamped the chunks.
	Stamps string `json:"stamps,omitempty"`
	// HTTPVersion is 2 where requests shared connections, so that a stamp is the connection's: that of its latest read when the client came to see
	// the event. Empty is 1.1.
	HTTPVersion string `json:"http_version,omitempty"`
	// Basis is the one the report's first table uses.
	Basis Basis `json:"basis,omitempty"`

	// Created is when the folder was made. Began and Ended bound the load: right before the first request could be
	// sent, and right after the last reply was over. Their difference is the duration of reports.
	Created Moment `json:"created_ns"`
	Began   Moment `json:"began_ns,omitempty"`
	Ended   Moment `json:"ended_ns,omitempty"`

	// Profile is the bracket; nil when no profiler was asked for.
	Profile *Profile `json:"profile,omitempty"`
	// Client is what the client process measured about itself; nil until the load ended.
	Client *Client `json:"client,omitempty"`
	// Audit holds figures against each other; nil until the load ended.
	Audit []Check `json:"audit,omitempty"`
	// RateChanges are the steps of a ramp-up.
	RateChanges []RateChange `json:"rate_changes,omitempty"`

	// Outcome is empty while the run goes on, Reason the sentence that goes with it.
	Outcome Outcome `json:"outcome,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	// Warnings are doubts about the numbers.
	Warnings []string `json:"warnings,omitempty"`
	// Records describes the records file; nil until it was closed.
	Records *RecordsFile `json:"records,omitempty"`
	// Files are the SHA-256 of the other files that figures are derived from, by name.
	Files map[string]string `json:"files,omitempty"`
	// Offsets are how far other clocks were ahead of this machine's, by reference.
	Offsets []ClockOffset `json:"clock_offsets,omitempty"`
	// Merge is set when the run was merged from shards.
	Merge *Merging `json:"merge,omitempty"`
}

// An Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "ok"
	Interrupted Outcome = "interrupted"
	Failed      Outcome = "error"
)

// Settings are the load as it was asked for, in the words of reports.
type Settings struct {
	// Backend is the kind of API, Endpoint the path, BaseURL the server (without user or password).
	Backend  string `json:"backend,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	BaseURL  string `json:"base_url,omitempty"`
	// Model is the name in requests, ModelID the model itself, Tokenizer the tokenizer's
	// name; empty when there was none.
	Model     string `json:"model,omitempty"`
	ModelID   string `json:"model_id,omitempty"`
	Tokenizer string `json:"tokenizer,omitempty"`
	// Pooling says that requests ask for embeddings, scores or the like, not for text.
	Pooling bool `json:"pooling,omitempty"`
	// Label and Metadata are the user's own words; Date is the local time of the result, YYYYMMDD-HHMMSS.
	Label    string `json:"label,omitempty"`
	Metadata []Pair `json:"metadata,omitempty"`
	Date     string `json:"date,omitempty"`
	Dataset  string `json:"dataset,omitempty"`
	// NumPrompts is how many requests were planned.
	NumPrompts int `json:"num_prompts"`
	// RequestRate is requests per second, Burstiness the shape of the gaps.
	RequestRate Number `json:"request_rate"`
	Burstiness  Number `json:"burstiness"`
	// MaxConcurrency is the client's limit; 0 when there is none.
	MaxConcurrency int     `json:"max_concurrency,omitempty"`
	RampUp         *RampUp `json:"ramp_up,omitempty"`
	// ProbeRate is probes per second; 0 when there are none.
	ProbeRate float64 `json:"probe_rate,omitempty"`
	// Metrics and Percentiles select what the table shows.
	Metrics     []string  `json:"metrics,omitempty"`
	Percentiles []float64 `json:"percentiles,omitempty"`
	// Goodput are the objectives a request must meet to count.
	Goodput []Objective `json:"goodput,omitempty"`
	// Bounds are the objectives of the whole run, such as p99 ttft <= 300ms.
	Bounds []string `json:"bounds,omitempty"`
	// Formats are the reports that the folder keeps beside the usual ones.
	Formats []string `json:"formats,omitempty"`
	// Detailed says that the result file lists each request.
	Detailed bool `json:"detailed,omitempty"`
	// Engine says for which tool's definitions the table stands: empty for vLLM's table with our basis.
	Compat string `json:"compat,omitempty"`
}

// A Pair is a key with its value, in the order given.
type Pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// RampUp is a rate that changes over the run.
type RampUp struct {
	Strategy string `json:"strategy"`
	StartRPS int    `json:"start_rps"`
	EndRPS   int    `json:"end_rps"`
}

// A RateChange is one step of a ramp-up.
type RateChange struct {
	RPS int `json:"rps"`
	// Timestamp is local ISO time with microseconds.
	Timestamp string `json:"timestamp"`
}

// An Objective is a bound that a request must meet: metric at most MS milliseconds.
type Objective struct {
	Metric string  `json:"metric"`
	MS     float64 `json:"ms"`
}

// A Number is a float that may be infinite; JSON gets "inf" then.
type Number float64

// Infinite is no limit.
func (n Number) Infinite() bool { return math.IsInf(float64(n), 1) }

// MarshalJSON writes "inf", "-inf" and "nan" for what JSON lacks.
func (n Number) MarshalJSON() ([]byte, error) {
	switch f := float64(n); {
	case math.IsInf(f, 1):
		return []byte(`"inf"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-inf"`), nil
	case math.IsNaN(f):
		return []byte(`"nan"`), nil
	default:
		return json.Marshal(f)
	}
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%s is no number", b)
	}
	*n = Number(f)
	return nil
}

// A Shard is one part of a run: request i belongs to shard i mod N.
type Shard struct {
	K int `json:"k"`
	N int `json:"n"`
	// StartAt is the moment at which the loads of all shards were to begin; zero when none was given.
	StartAt Moment `json:"start_at_ns,omitempty"`
	// Late is how long after StartAt the load of this shard began; zero when it was in time.
	Late time.Duration `json:"late_ns,omitempty"`
}

// String is the shard as people write it: 2/4.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.K, s.N) }

// A ClockOffset is how far a reference's clock was ahead of this machine's: the truth lies within Offset ± Within.
type ClockOffset struct {
	// Reference names the clock. Shards whose references have the same name can be compared.
	Reference string        `json:"reference"`
	Offset    time.Duration `json:"offset_ns"`
	Within    time.Duration `json:"within_ns"`
	// Note says how it was told.
	Note string `json:"note,omitempty"`
}

// Merging says what a merged run was made of.
type Merging struct {
	// N is how many shards the load was dealt to, Shards those that were merged, Missing those that were not.
	N       int           `json:"n"`
	Shards  []MergedShard `json:"shards"`
	Missing []int         `json:"missing,omitempty"`
	// Partial says what is not here of the whole load; empty when everything is.
	Partial string `json:"partial,omitempty"`
	// ClockReference is what the clocks of the shards' machines were compared by; empty when they could not be, or
	// needed not be because it was one machine. ClockDifference is the most by which two of them can differ.
	ClockReference  string         `json:"clock_reference,omitempty"`
	ClockDifference *time.Duration `json:"clock_difference_ns,omitempty"`
}

// A MergedShard is one part of a merged run.
type MergedShard struct {
	Shard
	// Folder is the name of its run folder.
	Folder  string        `json:"folder"`
	Command []string      `json:"command,omitempty"`
	Machine Machine       `json:"machine"`
	Began   Moment        `json:"began_ns,omitempty"`
	Ended   Moment        `json:"ended_ns,omitempty"`
	Client  *Client       `json:"client,omitempty"`
	Audit   []Check       `json:"audit,omitempty"`
	Offsets []ClockOffset `json:"clock_offsets,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Records *RecordsFile  `json:"records,omitempty"`
}

// A Machine is where the client ran.
type Machine struct {
	Host   string `json:"host,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel,omitempty"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Go     string `json:"go"`
}

// ThisMachine describes the machine that this process runs on.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
	m.Host, _ = os.Hostname()
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(string(b))
	}
	return m
}

func cpuModel(cpuinfo string) string {
	for row := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(row, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ToolVersion names this program and, where the build knows it, its version and commit.
func ToolVersion() string {
	tool := "servebench"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return tool
	}
	if v := info.Main.Version; v != "" {
		tool += " " + v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			tool += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return tool
}

// A ClockPair is the two clocks of a machine read together.
type ClockPair struct {
	Realtime  int64 `json:"realtime_ns"`
	Monotonic int64 `json:"monotonic_ns"`
	// Within bounds how far apart the two readings can lie.
	Within time.Duration `json:"within_ns"`
}

// A Server is what the server said about itself.
type Server struct {
	Version string `json:"version,omitempty"`
	// Settings and Models are its own JSON: /server_info and /v1/models, where it answers them.
	Settings json.RawMessage `json:"settings,omitempty"`
	Models   json.RawMessage `json:"models,omitempty"`
	// Command is the command line that launched it, where we did.
	Command []string `json:"command,omitempty"`
}

// Prompts says how prompts were made and their tokens counted.
type Prompts struct {
	// Method is "tokenizer" (a local one), "server" (its /tokenize and /detokenize) or "ids" (token ids, no text).
	Method string `json:"method,omitempty"`
	// Detail is the tokenizer's folder or the server's path.
	Detail string `json:"detail,omitempty"`
}

// A Profile is the bracket around the load.
type Profile struct {
	// Kind is the profiler: vllm, sglang, script.
	Kind string `json:"kind"`
	// Start and Stop are the two calls; a call that was never sent has no moments.
	Start Call `json:"start"`
	Stop  Call `json:"stop"`
}

// A Call is one request to the profiler.
type Call struct {
	Sent     Moment `json:"sent_ns,omitempty"`
	Answered Moment `json:"answered_ns,omitempty"`
	Status   int    `json:"status,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Client is what the client process measured about itself while the load ran. Nil and absent mean not measured.
type Client struct {
	// CPU is the processor time used, user and system; Cores how many processors it could use.
	CPU   *time.Duration `json:"cpu_ns,omitempty"`
	Cores int            `json:"cores,omitempty"`
	// GCPauses counts the collector's stops of the whole program, GCPauseMax the longest and GCPauseTotal the sum.
	GCPauses     *int64         `json:"gc_pauses,omitempty"`
	GCPauseMax   *time.Duration `json:"gc_pause_max_ns,omitempty"`
	GCPauseTotal *time.Duration `json:"gc_pause_total_ns,omitempty"`
	// SchedulerP99 is how long a ready goroutine waited for a processor.
	SchedulerP99 *time.Duration `json:"scheduler_p99_ns,omitempty"`
	// CPUWait is how long the process's threads were ready to run and had no processor, added up.
	CPUWait *time.Duration `json:"cpu_wait_ns,omitempty"`
	// Steal is processor time that the machine's host kept from it, all processors together.
	Steal *time.Duration `json:"steal_ns,omitempty"`
	// Pressure is the share of the time, 0..1, in which some task of the machine waited for a processor, for memory or for
	// a disk, by these names: cpu, memory, io.
	Pressure map[string]float64 `json:"pressure,omitempty"`
	// PacketDrops counts packets that the machine dropped because its queues of received ones were full.
	PacketDrops *int64 `json:"packet_drops,omitempty"`
	// Retransmits counts TCP segments that were sent again.
	Retransmits *int64 `json:"tcp_retransmits,omitempty"`
	// ReceiveQueue is what came and waited to be read, by looks into some of the connections ten times a second.
	ReceiveQueue *ReceiveQueue `json:"receive_queue,omitempty"`
	// ClockStep is how far the wall clock moved against the monotonic one.
	ClockStep *time.Duration `json:"clock_step_ns,omitempty"`
	// TTFTError and ITLError are the client's own error, p99, from a stream whose times are known.
	TTFTError *time.Duration `json:"ttft_error_p99_ns,omitempty"`
	ITLError  *time.Duration `json:"itl_error_p99_ns,omitempty"`
	// Canary is that stream; nil without one.
	Canary *Canary `json:"canary,omitempty"`
}

// A ReceiveQueue is what lay in the kernel's queues of connections that replies were coming over.
type ReceiveQueue struct {
	// Looks is into how many queues was looked, Waiting how many of them held bytes, Most the most bytes that one held.
	Looks   int `json:"looks"`
	Waiting int `json:"waiting"`
	Most    int `json:"most_bytes"`
}

// Add adds what other looks found.
func (q *ReceiveQueue) Add(other ReceiveQueue) {
	q.Looks += other.Looks
	q.Waiting += other.Waiting
	q.Most = max(q.Most, other.Most)
}

// A Canary is what the client measured wrong on a stream whose times are known: one of its own, from a server inside the process
// that the kernel paces and stamps, read beside the load and in the same way.
type Canary struct {
	// Requests and Events are how many were measured.
	Requests int `json:"requests"`
	Events   int `json:"events"`
	// TTFT is of the times from a request's sending to its first token, ITL of the gaps between tokens. Neither is nil
	// unless nothing was measured.
	TTFT *Error `json:"ttft,omitempty"`
	ITL  *Error `json:"itl,omitempty"`
}

// An Error is a distribution of differences between measured and true, without their sign.
type Error struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// A Check is one comparison of figures that must agree.
type Check struct {
	// Name says what is compared.
	Name string `json:"name"`
	// State is passed, failed or not checkable.
	State CheckState `json:"state"`
	// Detail is the comparison in a sentence, with both figures and the tolerance, or why there is none.
	Detail string `json:"detail"`
}

// A CheckState is how a Check ended.
type CheckState string

// The states of a Check.
const (
	Passed       CheckState = "passed"
	Missed       CheckState = "failed"
	NotCheckable CheckState = "not checkable"
)

// RecordsFile describes a closed records file.
type RecordsFile struct {
	Count  int    `json:"count"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}
