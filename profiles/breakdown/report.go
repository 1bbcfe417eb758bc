package breakdown

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
)

// Schema is the version of the JSON form.
const Schema = 1

// A Report is the answers to one set of traces. Its JSON form is stable: docs/trace-json.md
// defines every key. Times are whole nanoseconds on the clock of the first file. What the
// traces cannot give is absent, and Warnings says why.
type Report struct {
	Schema      int               `json:"schema"`
	Files       []FileInfo        `json:"files"`
	Window      *Window           `json:"window,omitempty"`
	Devices     []Device          `json:"devices,omitempty"`
	AllDevices  *Device           `json:"all_devices,omitempty"`
	Gaps        *Gaps             `json:"gaps,omitempty"`
	Steps       []Step            `json:"steps,omitempty"`
	Phases      []Phase           `json:"phases,omitempty"`
	ByPhase     []Phase           `json:"by_phase,omitempty"`
	Transitions []Transition      `json:"transitions,omitempty"`
	Compiles    *Compiles         `json:"compiles,omitempty"`
	Kernels     []Kernel          `json:"kernels,omitempty"`
	KernelsBy   *KernelTables     `json:"kernels_by,omitempty"`
	Ops         []NameTime        `json:"ops,omitempty"`
	Python      *Python           `json:"python,omitempty"`
	Host        *Host             `json:"host,omitempty"`
	HostSelf    map[string]int64  `json:"host_self_by_class,omitempty"`
	Comm        *Comm             `json:"comm,omitempty"`
	Launch      *Launch           `json:"launch,omitempty"`
	Copies      []Copy            `json:"copies,omitempty"`
	Memory      map[string]Memory `json:"memory,omitempty"`
	Padding     *Padding          `json:"padding,omitempty"`
	Proxy       *Proxy            `json:"device_estimate,omitempty"`
	Requests    *Requests         `json:"requests,omitempty"`
	Warnings    []string          `json:"warnings,omitempty"`

	by string // the table WriteText shows, see Options.By
}

// FileInfo is one file that was read.
type FileInfo struct {
	File     string   `json:"file"`
	SHA256   string   `json:"sha256,omitempty"`
	Events   int64    `json:"events"`
	Complete bool     `json:"complete"`
	Base     *int64   `json:"base_time_ns,omitempty"`
	Rank     *int     `json:"rank,omitempty"`
	World    *int     `json:"world_size,omitempty"`
	Warnings []string `json:"warnings"`
}

// A Window is the stretch of time that figures refer to.
type Window struct {
	Start int64 `json:"start_ns"`
	End   int64 `json:"end_ns"`
	// Source is trace (the profiler's own window), extent (first start to last end of all
	// slices), window or steps (asked for).
	Source string `json:"source"`
}

// Length is the window's length.
func (w *Window) Length() int64 { return w.End - w.Start }

// A Device is how busy an accelerator was: the union of its work, of all streams.
type Device struct {
	// File and Device are absent in AllDevices.
	File    string `json:"file,omitempty"`
	Device  *int64 `json:"device,omitempty"`
	Rows    int64  `json:"rows"`
	Kernels int64  `json:"kernels"`
	First   int64  `json:"first_ns"`
	Last    int64  `json:"last_ns"`
	Span    int64  `json:"span_ns"`
	Busy    int64  `json:"busy_ns"`
	Idle    int64  `json:"idle_ns"`
	// Gaps are the holes between first and last; Gaps1us those of at least a microsecond.
	Gaps    int64  `json:"gaps"`
	Gaps1us int64  `json:"gaps_1us"`
	GapMax  *int64 `json:"gap_max_ns,omitempty"`
	GapP50  *int64 `json:"gap_p50_ns,omitempty"`
	GapP99  *int64 `json:"gap_p99_ns,omitempty"`
	// Histogram counts gaps by length.
	Histogram []Bin `json:"gap_histogram,omitempty"`
	// EdgeBefore and EdgeAfter are the idle time from the window's start to the first row
	// and from the last row to the window's end.
	EdgeBefore *int64 `json:"edge_before_ns,omitempty"`
	EdgeAfter  *int64 `json:"edge_after_ns,omitempty"`
	// BusyOfSpan and BusyOfWindow are shares.
	BusyOfSpan   *float64 `json:"busy_of_span,omitempty"`
	BusyOfWindow *float64 `json:"busy_of_window,omitempty"`
	Streams      []Stream `json:"streams,omitempty"`
	// Engines are the kinds of engine of a Gaudi device: any lane of the kind active.
	Engines []Stream `json:"engines,omitempty"`
}

// A Stream is one stream or lane of a device.
type Stream struct {
	Stream any   `json:"stream"` // a number, or a name where the profiler names lanes
	Rows   int64 `json:"rows"`
	Busy   int64 `json:"busy_ns"`
	Span   int64 `json:"span_ns"`
}

// A Bin is a row of the histogram of gaps: those of at least From and less than To.
type Bin struct {
	From  int64  `json:"from_ns"`
	To    *int64 `json:"to_ns,omitempty"`
	Count int64  `json:"count"`
	Total int64  `json:"total_ns"`
}

// Gaps says why devices were idle between their first and last row.
type Gaps struct {
	Threshold int64 `json:"threshold_ns"`
	// Count is the number of gaps of at least the threshold.
	Count int64 `json:"count"`
	Below Below `json:"below"`
	// Reasons are host_late, launch_latency, device_side and unlinked. A gap whose call
	// came late has two parts; it is counted under host_late.
	Reasons map[string]Total `json:"reasons"`
	// ByClass is host_late by the class of the innermost slice on the launching thread.
	ByClass map[string]int64 `json:"host_late_by_class,omitempty"`
	// ByLabel is host_late by what it means, where a slice around it tells.
	ByLabel map[string]int64 `json:"host_late_by_label,omitempty"`
	// InsideSteps and BetweenSteps split host_late by whether a step was running.
	InsideSteps  *int64     `json:"host_late_inside_steps_ns,omitempty"`
	BetweenSteps *int64     `json:"host_late_between_steps_ns,omitempty"`
	Top          []HostLate `json:"host_late_top,omitempty"`
	// Longest are the longest gaps.
	Longest []Gap `json:"longest,omitempty"`
}

// Below are gaps shorter than the threshold.
type Below struct {
	Count int64 `json:"count"`
	Total int64 `json:"total_ns"`
}

// A Total counts occurrences and their time.
type Total struct {
	Count int64 `json:"count,omitempty"`
	Total int64 `json:"total_ns"`
}

// HostLate is time that a device waited for the host while it was inside one slice.
type HostLate struct {
	Class string `json:"class"`
	Name  string `json:"name"`
	Total int64  `json:"total_ns"`
}

// A Gap is one hole of a device.
type Gap struct {
	File   string `json:"file,omitempty"`
	Device int64  `json:"device"`
	Start  int64  `json:"start_ns"`
	Total  int64  `json:"total_ns"`
	Reason string `json:"reason"`
	// Kernel is the row that ended the gap.
	Kernel string `json:"kernel"`
}

// A Step is one pass of the engine.
type Step struct {
	Name  string `json:"name"`
	Rule  string `json:"rule"`
	Phase string `json:"phase"`
	// Bucket is the shape that the step belongs to, see docs/trace-json.md.
	Bucket    string `json:"bucket,omitempty"`
	HostStart int64  `json:"host_start_ns"`
	// HostNS is how long the host was in it: dispatch only, where the device runs later.
	HostNS   int64  `json:"host_ns"`
	DevStart *int64 `json:"dev_start_ns,omitempty"`
	DevEnd   *int64 `json:"dev_end_ns,omitempty"`
	DevBusy  *int64 `json:"dev_busy_ns,omitempty"`
	DevRows  *int64 `json:"dev_rows,omitempty"`
	// Estimated says that the device figures are inferred from the host's calls (Gaudi
	// without a hardware trace): launches in place of rows, outstanding in place of busy.
	Estimated bool `json:"dev_estimated,omitempty"`
	// DevLead is from the host's start to the device's.
	DevLead *int64 `json:"dev_lead_ns,omitempty"`
	Kernels *int64 `json:"kernels,omitempty"`
	Graphs  *int64 `json:"graph_launches,omitempty"`
	// Period is the device's end minus that of the step before, or of the host's starts.
	Period *int64 `json:"period_ns,omitempty"`
	// Prompts and Generations are requests in either phase, Tokens their tokens.
	Prompts     *int64 `json:"prompt_requests,omitempty"`
	Generations *int64 `json:"generation_requests,omitempty"`
	Tokens      *int64 `json:"tokens,omitempty"`
	Thread      string `json:"thread,omitempty"`
	File        string `json:"file,omitempty"`
	// Aside says that phases leave the step out: another rank's, or another thread's.
	Aside bool `json:"aside,omitempty"`
}

// Stats describe a set of durations. Percentiles are nearest-rank.
type Stats struct {
	Mean  float64 `json:"mean"`
	P50   int64   `json:"p50"`
	P90   int64   `json:"p90"`
	P99   int64   `json:"p99"`
	Max   int64   `json:"max"`
	Total int64   `json:"total"`
	Count int64   `json:"count"`
}

// statsOf describes durations, whose order it changes.
func statsOf(ns []int64) *Stats {
	if len(ns) == 0 {
		return nil
	}
	s := &Stats{P50: selected(ns, 50), P90: selected(ns, 90), P99: selected(ns, 99), Max: slices.Max(ns), Count: int64(len(ns))}
	for _, v := range ns {
		s.Total += v
	}
	s.Mean = round(float64(s.Total)/float64(len(ns)), 3)
	return s
}

// quantile is the nearest-rank percentile of sorted values: index ceil(q*n) - 1.
func quantile(sorted []int64, percent int) int64 {
	i := (len(sorted)*percent + 99) / 100
	return sorted[max(i, 1)-1]
}

// selected is the nearest-rank percentile of values in any order, which it changes. It
// puts one value into its place instead of all of them.
func selected(ns []int64, percent int) int64 {
	k := max((len(ns)*percent+99)/100, 1) - 1
	low, high := 0, len(ns)-1
	for low < high {
		// The middle of three keeps sorted input from being the worst.
		a, b, c := ns[low], ns[(low+high)/2], ns[high]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := low, high
		for i <= j {
			for ns[i] < pivot {
				i++
			}
			for ns[j] > pivot {
				j--
			}
			if i <= j {
				ns[i], ns[j] = ns[j], ns[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j
		case k >= i:
			low = i
		default:
			return ns[k]
		}
	}
	return ns[k]
}

func round(v float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(v*scale) / scale
}

// A Phase is the steps of one phase and bucket, or of a whole phase.
type Phase struct {
	Phase   string `json:"phase"`
	Bucket  string `json:"bucket,omitempty"`
	Count   int64  `json:"count"`
	Host    *Stats `json:"host_ns,omitempty"`
	Period  *Stats `json:"period_ns,omitempty"`
	DevSpan *Stats `json:"dev_span_ns,omitempty"`
	DevBusy *Stats `json:"dev_busy_ns,omitempty"`
	Tokens  *int64 `json:"tokens,omitempty"`
	// TokensPerSecond is tokens over the sum of periods of the steps that have one.
	TokensPerSecond *float64 `json:"tokens_per_s,omitempty"`
}

// A Transition is what lies between a step of one phase and the next of another.
type Transition struct {
	From    string           `json:"from"`
	To      string           `json:"to"`
	Count   int64            `json:"count"`
	HostGap *Stats           `json:"host_gap_ns,omitempty"`
	DevGap  *Stats           `json:"dev_gap_ns,omitempty"`
	ByClass map[string]int64 `json:"host_gap_by_class,omitempty"`
	// Share is the host gaps' share of the window.
	Share *float64 `json:"share_of_window,omitempty"`
}

// Compiles are recompilations of every kind.
type Compiles struct {
	// Count and Total are graphs and frames compiled: outermost rows only.
	Count int64            `json:"count"`
	Total int64            `json:"total_ns"`
	Share *float64         `json:"share_of_window,omitempty"`
	Kinds map[string]Total `json:"by_kind,omitempty"`
	After *AfterWarmup     `json:"after_warmup,omitempty"`
	List  []Compile        `json:"list"`
	// Captures are API calls about graph capture by name; queries such as
	// cudaStreamIsCapturing are calls, but capture nothing: see CaptureList.
	Captures    map[string]int64 `json:"captures"`
	CaptureList []Compile        `json:"capture_list,omitempty"`
	// GraphCalls are runs of compiled graphs, CompiledGraphs how many different ones.
	GraphCalls     int64            `json:"compiled_graph_calls"`
	CompiledGraphs int64            `json:"compiled_graphs"`
	Lookups        int64            `json:"cache_lookups"`
	GraphLaunches  map[string]int64 `json:"graph_launches"`
	LazyLoading    *Total           `json:"lazy_loading,omitempty"`
	// Suspected are steps that lasted ten times their bucket's median.
	Suspected []Compile `json:"suspected,omitempty"`
}

// AfterWarmup counts compiles that began after the first steps.
type AfterWarmup struct {
	Steps int   `json:"steps"`
	Count int64 `json:"count"`
	Total int64 `json:"total_ns"`
}

// A Compile is one recompilation.
type Compile struct {
	Start int64  `json:"start_ns"`
	Total int64  `json:"total_ns"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	// Step and Bucket are where it happened.
	Step   string `json:"step,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Thread string `json:"thread,omitempty"`
	File   string `json:"file,omitempty"`
}

// A Kernel is all runs of one device program.
type Kernel struct {
	Name         string           `json:"name"`
	Short        string           `json:"short"`
	Group        string           `json:"group"`
	Count        int64            `json:"count"`
	Total        int64            `json:"total_ns"`
	Mean         float64          `json:"mean_ns"`
	Min          int64            `json:"min_ns"`
	P50          int64            `json:"p50_ns"`
	Max          int64            `json:"max_ns"`
	ShareOfBusy  float64          `json:"share_of_busy"`
	ShareOfTotal float64          `json:"share_of_total"`
	Phases       map[string]Total `json:"phases,omitempty"`
}

// KernelTables are kernels summed by short name and by group.
type KernelTables struct {
	Short []KernelSum `json:"short"`
	Group []KernelSum `json:"group"`
	// Unmatched is the share of kernel time that no rule puts into a group.
	Unmatched float64 `json:"unmatched_share"`
}

// A KernelSum is one row of a KernelTables.
type KernelSum struct {
	Name         string           `json:"name"`
	Count        int64            `json:"count"`
	Total        int64            `json:"total_ns"`
	ShareOfTotal float64          `json:"share_of_total"`
	Phases       map[string]Total `json:"phases,omitempty"`
}

// A NameTime is the time of one name: total with what it called, self without.
type NameTime struct {
	Class string `json:"class,omitempty"`
	Name  string `json:"name"`
	Count int64  `json:"count"`
	// Total counts occurrences that are not inside the same name.
	Total int64 `json:"total_ns"`
	Self  int64 `json:"self_ns"`
	// Device is the device work started inside.
	Device *int64 `json:"device_ns,omitempty"`
}

// Python is where the interpreter spent its time. Children are Python rows only: the self
// time of a frame includes the operators it calls.
type Python struct {
	Rows    int64 `json:"rows"`
	Threads int64 `json:"threads"`
	// Violations are rows that reached over the slice around them; they were cut there.
	Violations int64      `json:"violations"`
	TopSelf    []NameTime `json:"top_self"`
	TopTotal   []NameTime `json:"top_total"`
	ByFile     []NameTime `json:"by_file"`
	ByPackage  []NameTime `json:"by_package"`
	ByModule   []NameTime `json:"by_module,omitempty"`
	// Engine is the thread of the steps, else the one with most operators; the lists above
	// are over all threads, in which idle ones can dominate.
	Engine *ThreadTimes  `json:"engine_thread,omitempty"`
	Others []ThreadTimes `json:"other_threads,omitempty"`
}

// ThreadTimes are the Python times of one thread.
type ThreadTimes struct {
	Thread   string     `json:"thread"`
	Rows     int64      `json:"rows"`
	TopSelf  []NameTime `json:"top_self,omitempty"`
	TopTotal []NameTime `json:"top_total,omitempty"`
}

// Host is the host's time by name over all classes: the self time of an operator is time
// inside C++.
type Host struct {
	Rows       int64      `json:"rows"`
	Violations int64      `json:"violations"`
	TopSelf    []NameTime `json:"top_self"`
}

// Comm is communication against computation.
type Comm struct {
	Kernels int64 `json:"kernels"`
	Comm    int64 `json:"comm_ns"`
	Compute int64 `json:"compute_ns"`
	Overlap int64 `json:"overlap_ns"`
	// Exposed is communication that no computation hides; ExposedCopies also less copies.
	Exposed       int64        `json:"exposed_ns"`
	ExposedCopies int64        `json:"exposed_less_copies_ns"`
	Ratio         *float64     `json:"overlap_ratio,omitempty"`
	Collectives   []Collective `json:"collectives,omitempty"`
	// Skew is how far apart the ranks begin the same collective.
	Skew *Skew `json:"skew,omitempty"`
}

// A Collective is all calls of one kind in one size of group.
type Collective struct {
	Name      string `json:"name"`
	GroupSize *int64 `json:"group_size,omitempty"`
	Count     int64  `json:"count"`
	Total     int64  `json:"total_ns"`
	Bytes     *int64 `json:"bytes,omitempty"`
	// BusBandwidth is in bytes per nanosecond (GB/s), as nccl-tests counts it.
	BusBandwidth *float64 `json:"bus_gb_per_s,omitempty"`
}

// Skew compares ranks.
type Skew struct {
	Matched int64  `json:"matched"`
	Start   *Stats `json:"start_skew_ns,omitempty"`
	// Waiting is the time inside collectives beyond the fastest rank's, by file.
	Waiting map[string]int64 `json:"waiting_ns,omitempty"`
}

// Launch is the delay between API calls and the rows they start.
type Launch struct {
	Linked     int64 `json:"linked"`
	Unlinked   int64 `json:"unlinked"`
	MaxPerCall int64 `json:"max_per_call"`
	// DCall counts from the call's start, DRet from its return; every linked row counts.
	DCall *Delay `json:"d_call,omitempty"`
	DRet  *Delay `json:"d_ret,omitempty"`
	// FirstCall and FirstRet count only the first row of each call, so that a graph counts once.
	FirstCall *Delay `json:"d_call_first,omitempty"`
	FirstRet  *Delay `json:"d_ret_first,omitempty"`
	// BeforeReturn is rows that began before their call returned; BeforeCall before it
	// began, which only a bad conversion of clocks can give.
	BeforeReturn int64            `json:"started_before_return"`
	BeforeCall   int64            `json:"started_before_call"`
	Queue        map[string]Queue `json:"queue,omitempty"`
}

// A Delay describes launch delays.
type Delay struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ns"`
	P50   int64   `json:"p50_ns"`
	P99   int64   `json:"p99_ns"`
	Max   int64   `json:"max_ns"`
}

// A Queue is how many launches waited on a stream.
type Queue struct {
	Max     int64   `json:"max"`
	Average float64 `json:"time_avg"`
}

// A Copy is all copies of one kind.
type Copy struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	Total int64  `json:"total_ns"`
	Bytes *int64 `json:"bytes,omitempty"`
	// Bandwidth is bytes per nanosecond.
	Bandwidth *float64 `json:"gb_per_s,omitempty"`
	P50Bytes  *int64   `json:"p50_bytes,omitempty"`
	// Small is the share of copies below 64 KiB.
	Small *float64 `json:"share_below_64kib,omitempty"`
	// Overlapped is the time that computation ran at the same time.
	Overlapped int64 `json:"overlapped_ns"`
}

// Memory is the allocator's use of one device.
type Memory struct {
	Peak         int64 `json:"peak_bytes"`
	ReservedPeak int64 `json:"reserved_peak_bytes"`
	Start        int64 `json:"start_bytes"`
	End          int64 `json:"end_bytes"`
	Allocations  int64 `json:"allocations"`
	Frees        int64 `json:"frees"`
	Allocated    int64 `json:"allocated_bytes"`
	// PerSecond is allocations per second of the window.
	PerSecond *float64 `json:"allocations_per_s,omitempty"`
}

// Padding is work on padding, of steps on Gaudi whose counters tell.
type Padding struct {
	Joined   int64 `json:"joined"`
	Unjoined int64 `json:"unjoined"`
	// Batch, PromptTokens and DecodeBlocks are shares wasted, weighted by the steps' time.
	Batch         *float64        `json:"batch_waste,omitempty"`
	PromptTokens  *float64        `json:"prompt_token_waste,omitempty"`
	DecodeBlocks  *float64        `json:"decode_block_waste,omitempty"`
	WastedTokens  *float64        `json:"wasted_prompt_tokens,omitempty"`
	WastedSeconds *float64        `json:"wasted_seconds,omitempty"`
	Buckets       []PaddingBucket `json:"buckets,omitempty"`
}

// PaddingBucket is the waste of one bucket.
type PaddingBucket struct {
	Phase        string   `json:"phase"`
	Bucket       string   `json:"bucket"`
	Count        int64    `json:"count"`
	Total        int64    `json:"total_ns"`
	Batch        *float64 `json:"batch_waste,omitempty"`
	PromptTokens *float64 `json:"prompt_token_waste,omitempty"`
	DecodeBlocks *float64 `json:"decode_block_waste,omitempty"`
}

// Proxy is an estimate of a Gaudi device's work from the host's side, where the device
// itself was not traced.
type Proxy struct {
	Estimate bool `json:"estimate"`
	// Launches were matched with the wait that ended them; Unmatched were not.
	Launches  int64 `json:"launches"`
	Unmatched int64 `json:"unmatched"`
	Span      int64 `json:"span_ns"`
	// BusyMax is an upper bound of the compute stream's work, IdleMin a lower bound of
	// its idleness.
	BusyMax int64         `json:"busy_max_ns"`
	IdleMin int64         `json:"idle_min_ns"`
	Streams []ProxyStream `json:"streams"`
	// Blocked is the host waiting for the device, Preparing the host preparing batches.
	Blocked   int64 `json:"host_blocked_ns"`
	Preparing int64 `json:"host_preparing_ns"`
	// Other is the rest of the window.
	Other *int64 `json:"host_other_ns,omitempty"`
	// HostGapByClass and HostGapTop say what the launching thread did while nothing was
	// outstanding on the compute stream.
	HostGapByClass map[string]int64 `json:"host_gap_by_class,omitempty"`
	HostGapTop     []HostLate       `json:"host_gap_top,omitempty"`
}

// A ProxyStream is the outstanding work of one stream.
type ProxyStream struct {
	Stream      string `json:"stream"`
	Launches    int64  `json:"launches"`
	Outstanding int64  `json:"outstanding_ns"`
}

// Requests are the client's requests of a merged trace against the server's steps.
type Requests struct {
	Count int64 `json:"count"`
	// Linked have exactly one candidate step for their prompt; Ambiguous several.
	Linked    int64 `json:"linked"`
	Ambiguous int64 `json:"ambiguous"`
	Unlinked  int64 `json:"unlinked"`
	// Queue is from sending to the start of the prompt's step (network and queue),
	// Prefill the step, Return from its end to the first token.
	TTFT    *Stats `json:"ttft_ns,omitempty"`
	Queue   *Stats `json:"network_and_queue_ns,omitempty"`
	Prefill *Stats `json:"prefill_ns,omitempty"`
	Return  *Stats `json:"return_ns,omitempty"`
	// IdleInFlight is device idleness while requests were in flight.
	IdleInFlight *int64 `json:"idle_in_flight_ns,omitempty"`
	InFlight     int64  `json:"in_flight_ns"`
	// BetweenSteps is time between steps while requests were in flight: overhead.
	BetweenSteps *int64 `json:"between_steps_in_flight_ns,omitempty"`
	// PerToken is each request's mean time per token after the first, DecodePeriod the mean
	// period of the steps that generated meanwhile.
	PerToken     *Stats `json:"time_per_token_ns,omitempty"`
	DecodePeriod *Stats `json:"decode_period_ns,omitempty"`
	// List are the requests in the order of sending.
	List []Request `json:"list,omitempty"`
}

// A Request is one request of a merged trace.
type Request struct {
	Name  string `json:"name"`
	Start int64  `json:"start_ns"`
	End   int64  `json:"end_ns"`
	TTFT  *int64 `json:"ttft_ns,omitempty"`
	// Step is the number of the step that computed its prompt, from 1; Ambiguous says that
	// others could have.
	Step      *int   `json:"step,omitempty"`
	Ambiguous bool   `json:"ambiguous,omitempty"`
	Queue     *int64 `json:"network_and_queue_ns,omitempty"`
	Prefill   *int64 `json:"prefill_ns,omitempty"`
	Return    *int64 `json:"return_ns,omitempty"`
}

// JSON is the report in its stable form, indented, with a line break at the end.
func (r *Report) JSON() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // kernel names are full of angle brackets
	e.SetIndent("", "  ")
	err := e.Encode(r)
	return out.Bytes(), err
}

func ptr[T any](v T) *T { return &v }
