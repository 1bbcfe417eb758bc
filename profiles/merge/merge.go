// Package merge puts the client's requests into the server's trace: one file, one clock,
// the server's rows as they were and the client's on top of them.
//
// The two sides share nothing but causality. No trace names a request, and no server
// sends its clock. So the offset of the clocks is bounded by what must have come
// before what, and a request is linked to the engine steps that served it by order and
// counts; where that leaves a choice, the file says so.
package merge

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"servebench/profiles"
	"servebench/profiles/trace"
	"servebench/results"
)

// A Trace is one rank's file.
type Trace struct {
	Path string
	Rank int
	// Meta is what a reading of the file found; nil has it read, and with it the counters that say how
	// many requests a step of a Gaudi held.
	Meta *trace.Meta
	// Stamp is the time in the file's name, in Unix ns of the server's clock; 0 when there is none.
	Stamp int64
}

// A Step is one step of an engine, as the trace shows it. Times are on the clock of its
// rank's file.
type Step struct {
	Rank int
	// Phase is prefill, decode, mixed or empty; Bucket and Name are for people.
	Phase, Bucket, Name string
	// Start and End are on the host: with asynchronous scheduling the dispatch alone.
	Start, End int64
	// DevStart and DevEnd are the first start and last end of its work on the device, Busy the
	// device's busy time within; OnDevice says that there was any.
	DevStart, DevEnd int64
	Busy             time.Duration
	OnDevice         bool
	// Prompts is how many requests were in their prompt phase and PromptTokens how many tokens of theirs
	// were scheduled; Decodes and DecodeTokens are those of the requests that generate. -1 is unknown.
	Prompts, PromptTokens, Decodes, DecodeTokens int
}

// ready is when what the step computed existed: the device's end, else the host's.
func (s *Step) ready() int64 {
	if s.OnDevice {
		return max(s.End, s.DevEnd)
	}
	return s.End
}

// computes says that the step computed tokens; the last step of a run clears up and
// computes none.
func (s *Step) computes() bool { return s.Phase != Empty }

// The phases of a step.
const (
	Prefill = "prefill"
	Decode  = "decode"
	Mixed   = "mixed"
	Empty   = "empty"
)

// A Mark is something else that the analysis found in a rank's trace: a gap or a compile. Times
// are on the clock of its rank's file.
type Mark struct {
	Rank       int
	Kind       string // the name of its row: gaps, compiles
	Name       string
	Start, End int64
	Args       []trace.Arg
}

// An Input is everything that goes into a merged file.
type Input struct {
	// Traces are the ranks' files, at least one.
	Traces []Trace
	// Records are the requests, in any order.
	Records iter.Seq[*results.Record]
	// Marks are the bracket's.
	Marks profiles.Marks
	// Steps and Others are what an analysis of the files found.
	Steps  []Step
	Others []Mark
	// SameHost says that client and server read one clock: one machine, no time namespaces.
	SameHost bool
	// Limit is how far the bounds of the offset may be apart for the clocks to count as aligned; zero
	// means 5 ms.
	Limit time.Duration
	// RunID, Tool and URL go into the file for people. Redact the URL first.
	RunID, Tool, URL string
	// Seed is the run's; nil is left out.
	Seed *int64
	// TokenMarks is how many events a request may have for each to be marked; zero means 200, negative
	// marks none.
	TokenMarks int
}

// A Result is what was written, and what the two sides say about each other.
type Result struct {
	// Clock is how the clocks were aligned.
	Clock Clock
	// Requests are the rows written; Lanes the number of rows they needed, the most requests in flight.
	Requests, Lanes int
	// Comparison are the client's figures beside the server's.
	Comparison Comparison
	// Traces are what reading the files found, in the order of Input.Traces.
	Traces []trace.Meta
	// Warnings are for people; those of the clock are among them.
	Warnings []string
}

// FileName is what a run folder calls the merged file.
const FileName = "merged.trace.json.gz"

// Merge writes the merged trace to out, packed as its ending says. The file appears when it is
// complete; one that exists is not overwritten. The server's rows of a single rank are copied
// unchanged; those of several ranks get process ids of their own (trace.Join).
func Merge(out string, in Input) (Result, error) {
	if _, err := os.Lstat(out); err == nil {
		return Result{}, fmt.Errorf("merge: %s exists already: remove it or give another name", out)
	}
	j, err := join(&in)
	if err != nil {
		return Result{}, err
	}
	result := j.result()
	drawn := &drawing{joined: j, in: in}
	drawn.lay()
	result.Lanes = drawn.lanes
	additions := trace.Additions{
		Rows:     drawn.rows(),
		Keys:     []trace.Arg{{Key: "loadTrace", Value: drawn.about(result)}},
		Metadata: drawn.metadata(result),
	}
	if len(in.Traces) == 1 {
		meta, err := trace.InsertFile(out, in.Traces[0].Path, additions)
		if err != nil {
			return Result{}, fmt.Errorf("merge: %w", err)
		}
		result.Traces = []trace.Meta{meta}
		return result, nil
	}
	var ranks []trace.Rank
	for _, t := range in.Traces {
		ranks = append(ranks, trace.Rank{Path: t.Path, Rank: t.Rank, Meta: t.Meta})
	}
	if result.Traces, err = trace.Join(out, ranks, additions); err != nil {
		return Result{}, fmt.Errorf("merge: %w", err)
	}
	return result, nil
}

// Compare does everything but write the file.
func Compare(in Input) (Result, error) {
	j, err := join(&in)
	if err != nil {
		return Result{}, err
	}
	return j.result(), nil
}

func (j *joined) result() Result {
	return Result{Clock: j.clock, Requests: len(j.requests), Comparison: j.compare(), Warnings: j.warnings}
}

// A joined is both sides on one clock: the client's.
type joined struct {
	marks    profiles.Marks
	requests []*request
	// steps are those of the leading rank that computed something, in order of time, on the client's clock;
	// all are the steps of every rank.
	steps []Step
	all   []Step
	clock Clock
	// base is the Unix time of the merged file's zero on the server's clock.
	base     int64
	bases    map[int]int64 // by rank
	links    []link        // by request
	warnings []string
}

// join puts both sides on one clock. It sorts the traces of in and reads what was not read.
func join(in *Input) (*joined, error) {
	if len(in.Traces) == 0 {
		return nil, errors.New("merge: no traces: name the files of the ranks")
	}
	in.Traces = slices.Clone(in.Traces)
	slices.SortStableFunc(in.Traces, func(a, b Trace) int { return cmp.Compare(a.Rank, b.Rank) })
	counters := make(map[int][]counter) // by rank
	for i := range in.Traces {
		if in.Traces[i].Meta == nil {
			meta, err := trace.ReadFile(in.Traces[i].Path, func(e *trace.Event) error {
				if c, ok := counterOf(e); ok {
					counters[in.Traces[i].Rank] = append(counters[in.Traces[i].Rank], c)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("merge: %w", err)
			}
			in.Traces[i].Meta = &meta
		}
	}
	j := &joined{marks: in.Marks, bases: make(map[int]int64)}
	for r := range in.Records {
		// What ended before the profiler started or began after it stopped is not in the trace.
		if q := requestOf(r); q != nil && (in.Marks.StartSent == 0 || q.end >= in.Marks.StartSent) && (in.Marks.StopAnswered == 0 || q.began <= in.Marks.StopAnswered) {
			j.requests = append(j.requests, q)
		}
	}
	slices.SortStableFunc(j.requests, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.send, b.send), cmp.Compare(a.id, b.id))
	})

	windows := make([]window, 0, len(in.Traces))
	known := true
	for i, t := range in.Traces {
		base, ok := baseOf(t.Meta, in.Marks)
		if !ok {
			known = false
			if len(in.Traces) > 1 {
				return nil, fmt.Errorf("merge: %s: its clock is unknown (no baseTimeNanoseconds), so it cannot be put beside the other ranks", t.Path)
			}
			j.warnings = append(j.warnings, fmt.Sprintf("%s: its clock is unknown (no baseTimeNanoseconds): aligned by the profiler calls alone", t.Meta.Name))
		}
		if _, twice := j.bases[t.Rank]; twice {
			return nil, fmt.Errorf("merge: two traces of rank %d: %s is the second", t.Rank, t.Path)
		}
		j.bases[t.Rank] = base
		if i == 0 {
			j.base = base
		}
		w := window{stamp: t.Stamp}
		if t.Meta.HasWindow {
			w.start, w.end, w.known = base+t.Meta.Start, base+t.Meta.End, true
		}
		windows = append(windows, w)
	}
	if len(in.Traces) > 1 {
		// Join puts all ranks on the first base that is known.
		for _, t := range in.Traces {
			if t.Meta.HasBase {
				j.base = t.Meta.Base
				break
			}
		}
	}
	in.Steps = slices.Clone(in.Steps)
	slices.SortStableFunc(in.Steps, func(a, b Step) int { return cmp.Compare(a.Start, b.Start) })
	for rank, list := range counters {
		var steps []*Step
		for i := range in.Steps {
			if in.Steps[i].Rank == rank {
				steps = append(steps, &in.Steps[i])
			}
		}
		slices.SortStableFunc(list, func(a, b counter) int { return cmp.Compare(a.at, b.at) })
		count(steps, list)
	}
	for _, s := range in.Steps {
		base, ok := j.bases[s.Rank]
		if !ok {
			return nil, fmt.Errorf("merge: a step of rank %d, of which there is no trace", s.Rank)
		}
		s.Start, s.End = s.Start+base, s.End+base
		if s.OnDevice {
			s.DevStart, s.DevEnd = s.DevStart+base, s.DevEnd+base
		}
		j.all = append(j.all, s)
	}
	slices.SortStableFunc(j.all, func(a, b Step) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Rank, b.Rank)) })
	leading := in.Traces[0].Rank
	for _, s := range j.all {
		if s.Rank == leading && s.computes() {
			j.steps = append(j.steps, s)
		}
	}

	limit := in.Limit
	if limit <= 0 {
		limit = 5 * time.Millisecond
	}
	j.clock = align(in.Marks, windows, j.requests, j.steps, in.SameHost && known, limit)
	j.warnings = append(j.warnings, j.clock.Warnings...)
	theta := j.clock.Theta
	for _, steps := range [][]Step{j.steps, j.all} {
		for i := range steps {
			s := &steps[i]
			s.Start, s.End = s.Start-theta, s.End-theta
			if s.OnDevice {
				s.DevStart, s.DevEnd = s.DevStart-theta, s.DevEnd-theta
			}
		}
	}
	j.links = assign(j.requests, j.steps, j.clock.slack())
	return j, nil
}

// raster is what Kineto's base counts in: three average months.
const raster = 7_889_238 * 1_000_000_000

// baseOf is the Unix time of a file's zero. A file without its base holds Unix times, or was
// written by one of the few builds that left the base out: then the raster's is tried.
func baseOf(m *trace.Meta, marks profiles.Marks) (base int64, ok bool) {
	if m.HasBase {
		return m.Base, true
	}
	if !m.HasSlices {
		return 0, true
	}
	if _, absolute := m.Unix(m.First); absolute {
		return 0, true
	}
	if marks.StartSent == 0 {
		return 0, false
	}
	base = marks.StartSent / raster * raster
	const far = int64(10 * time.Minute)
	end := marks.StopAnswered
	if end == 0 {
		end = marks.StartSent
	}
	if first := base + m.First; first < marks.StartSent-far || first > end+far {
		return 0, false
	}
	return base, true
}
