package sim

import "time"

// Phases of a step.
const (
	Prefill = "prefill" // prompts only
	Decode  = "decode"  // one more token for each sequence
	Mixed   = "mixed"   // both in one step
	Empty   = "empty"   // clears up after the last request and computes no token
)

// A Step is one batch that the engine computed, in Unix nanoseconds. Its rows in a profiler trace say the same.
type Step struct {
	// Number counts steps from 1, Iteration the engine's turns; on Gaudi one iteration can hold several steps.
	Number    int    `json:"step"`
	Iteration int    `json:"iteration"`
	Phase     string `json:"phase"`

	// Began is when the host began with the step, Dispatched when it had handed everything to the device, DeviceBegan and
	// DeviceEnded enclose the device's work, Ended is when the host knew the tokens (on Gaudi of the whole iteration).
	// Before it no token of the step goes out.
	Began       int64 `json:"began_ns"`
	Dispatched  int64 `json:"dispatched_ns"`
	DeviceBegan int64 `json:"device_began_ns"`
	DeviceEnded int64 `json:"device_ended_ns"`
	Ended       int64 `json:"ended_ns"`

	// Prompts and PromptTokens are sequences in the prompt phase and their tokens in this step,
	// Sequences those that decode, one token each. NewTokens is the number of output tokens that came of it.
	Prompts      int `json:"prompts"`
	PromptTokens int `json:"prompt_tokens"`
	Sequences    int `json:"sequences"`
	NewTokens    int `json:"new_tokens"`
	// Requests are the numbers of the requests in the step, prompts and decoding in batch order.
	Requests []int `json:"requests"`

	// Bucket is the padded size on Gaudi; Longest the longest prompt part of the batch, Blocks the cache blocks in use by
	// the batch, and Compile what compiling the bucket cost, 0 where it was there already.
	Bucket  Bucket        `json:"bucket,omitzero"`
	Longest int           `json:"longest,omitzero"`
	Blocks  int           `json:"blocks,omitzero"`
	Compile time.Duration `json:"compile_ns,omitzero"`

	// Sums over the prompts and over the decoding sequences of total length, squared query
	// length, and query times total length: what the detailed step name says.
	promptLen, promptSquares, promptProducts, decodeLen int
	used, capacity                                      int // cache blocks in all

	turn    int64 // when the iteration began, before its inputs were prepared
	context int   // longest total length in the batch
}

// A record of the last n things.
type ring[T any] struct {
	items []T
	next  int
	limit int
	lost  int
}

func (r *ring[T]) add(item T) {
	if len(r.items) < r.limit {
		r.items = append(r.items, item)
		return
	}
	r.items[r.next] = item
	r.next = (r.next + 1) % r.limit
	r.lost++
}

func (r *ring[T]) all() []T {
	return append(append(make([]T, 0, len(r.items)), r.items[r.next:]...), r.items[:r.next]...)
}
