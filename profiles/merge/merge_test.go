package merge

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/profiles"
	"servebench/profiles/trace"
	"servebench/results"
)

const (
	msec = int64(time.Millisecond)
	// zero is the Unix time of the tests' files: their base.
	zero = int64(1_790_857_026_000_000_000)
)

// small writes a trace of one slice, with a window from s to e in ms.
func small(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func windowed(base string, s, e int) string {
	return fmt.Sprintf(`{%s"traceEvents": [
{"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "pid": "Spans", "tid": "PyTorch Profiler", "ts": %d000.000, "dur": %d000.000},
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 7, "tid": 7, "ts": %d500.000, "dur": 10.000, "args": {"External id": 3}},
{"ph": "M", "name": "process_name", "pid": 7, "tid": 0, "args": {"name": "python"}}
]}`, base, s, e-s, s)
}

const based = `"baseTimeNanoseconds": 1790857026000000000, `

// sent is a streamed request: times are ms after zero.
func sent(id int, s int64, chunks ...int64) *results.Record {
	m := func(t int64) results.Moment { return results.Moment(zero + t*msec) }
	r := &results.Record{ID: id, Kind: results.Load, Model: "m", InputTokens: 8, Due: m(s), Released: m(s), Dispatched: m(s)}
	r.WriteBegan, r.Written, r.Status = m(s), m(s), 200
	for _, c := range chunks {
		r.Chunks = append(r.Chunks, results.Chunk{At: m(c), Tokens: 1})
	}
	if n := len(chunks); n > 0 {
		r.Done = m(chunks[n-1] + 1)
		r.Usage = &results.Usage{Prompt: 8, Completion: n, Cached: -1}
	}
	return r
}

func called(startSent, startAnswered, stopSent, stopAnswered int64) profiles.Marks {
	return profiles.Marks{StartSent: zero + startSent*msec, StartAnswered: zero + startAnswered*msec, StopSent: zero + stopSent*msec, StopAnswered: zero + stopAnswered*msec, Called: true}
}

func TestAlign(t *testing.T) {
	at := func(s, e int64) window { return window{start: zero + s*msec, end: zero + e*msec, known: true} }
	for _, tc := range []struct {
		name     string
		marks    profiles.Marks
		windows  []window
		requests []*request
		steps    []Step
		sameHost bool
		lo, hi   int64 // ms; see want
		theta    int64
		aligned  bool
		method   string
		warning  string
	}{
		{"one host", called(0, 4, 100, 900), []window{at(2, 103)}, nil, nil, true, -2, 2, 0, true, "same host, verified by start call", ""},
		{"the answer of the stop bounds too", called(0, 4, 100, 104), []window{at(1, 103)}, nil, nil, true, -1, 1, 0, true, "same host, verified by stop call and start call", ""},
		{"several ranks: the largest start, the smallest end", called(0, 10, 100, 900), []window{at(8, 107), at(9, 102)}, nil, nil, true, -1, 2, 0, true, "same host, verified by start call and stop call", ""},
		{"another host, 42 ms ahead", called(0, 4, 100, 900), []window{at(44, 144)}, nil, nil, false, 40, 44, 42, true, "middle of the bounds by start call", ""},
		{"another host, loosely bounded", called(0, 10, 100, 900), []window{at(44, 144)}, nil, nil, false, 34, 44, 39, false, "middle of the bounds by start call", "clocks: the offset is known to [34ms, 44ms] only, more than 5ms"},
		{"one host that is not", called(0, 4, 100, 900), []window{at(44, 144)}, nil, nil, true, 40, 44, 42, false, "bounds: the clocks differ although it is one host", "clocks: client and server are said to share one, but it differs by [40ms, 44ms]"},
		{"a clock that was set", called(0, 4, 100, 900), []window{at(44, 103)}, nil, nil, false, 40, 3, 21, false, "none: the bounds contradict each other", "clocks: by the start call the server's is at least 40ms ahead, by the stop call at most 3ms"},
		{"a delayed start bounds from one side", profiles.Marks{StartSent: zero, StartAnswered: zero + 4*msec, StopSent: zero + 100*msec, StopAnswered: zero + 105*msec, Called: true, StartLoose: true}, []window{at(50, 103)}, nil, nil, false, -2, 3, 0, true, "middle of the bounds by stop call", ""},
		{"a limited profile ends before the stop", profiles.Marks{StartSent: zero, StartAnswered: zero + 4*msec, StopSent: zero + 100*msec, StopAnswered: zero + 105*msec, Called: true, StopLoose: true}, []window{at(2, 50)}, nil, nil, false, -2, 2, 0, true, "middle of the bounds by start call", ""},
		{"the name of the file", called(0, 4, 100, 104), []window{{stamp: zero + 102*msec}}, nil, nil, false, -2, 2, 0, true, "middle of the bounds by file name", ""},
		{"a script's moments bound nothing", profiles.Marks{StartSent: zero, StartAnswered: zero + msec, StopSent: zero + 2*msec, StopAnswered: zero + 3*msec}, []window{at(50, 60)}, nil, nil, true, math.MinInt64, math.MaxInt64, 0, true, "same host", ""},
		{"nothing known of two hosts", profiles.Marks{}, nil, nil, nil, false, math.MinInt64, math.MaxInt64, 0, false, "assumed equal", "clocks: nothing bounds the offset"},
		{"what the requests say", profiles.Marks{}, nil,
			[]*request{requestOf(sent(0, 10, 32, 42)), requestOf(sent(1, 11, 32))},
			[]Step{moved(step(13, 31, 2, 16, 0)), moved(step(32, 40, 0, 0, 1))},
			false, -1, 2, 0, true, "middle of the bounds by received tokens and sent requests", ""},
		{"requests whose counts do not agree say nothing", profiles.Marks{}, nil,
			[]*request{requestOf(sent(0, 10, 32, 42))},
			[]Step{moved(step(13, 31, 2, 16, 0)), moved(step(32, 40, 0, 0, 1))},
			true, math.MinInt64, math.MaxInt64, 0, true, "same host", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := align(tc.marks, tc.windows, tc.requests, tc.steps, tc.sameHost, 5*time.Millisecond)
			lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
			if c.HasLo {
				lo = c.Lo / msec
			}
			if c.HasHi {
				hi = c.Hi / msec
			}
			if lo != tc.lo || hi != tc.hi || c.Theta/msec != tc.theta || c.Aligned != tc.aligned || c.Method != tc.method {
				t.Errorf("got  [%d, %d] theta %d aligned %t %q\nwant [%d, %d] theta %d aligned %t %q", lo, hi, c.Theta/msec, c.Aligned, c.Method, tc.lo, tc.hi, tc.theta, tc.aligned, tc.method)
			}
			if got := strings.Join(c.Warnings, "\n"); (tc.warning == "") != (got == "") || !strings.HasPrefix(got, tc.warning) {
				t.Errorf("warnings %q; want %q", got, tc.warning)
			}
		})
	}
}

func TestDrift(t *testing.T) {
	// Over 1,000 s the offset goes from [-1, 1] ms to [199, 201] ms: 200 ppm.
	marks := called(0, 2, 1_000_002, 1_000_004)
	c := align(marks, []window{{start: zero + 1*msec, end: zero + 1_000_203*msec, known: true}}, nil, nil, false, 5*time.Millisecond)
	if !c.HasDrift || c.DriftLo != 198 || c.DriftHi != 202 || c.Aligned || !strings.Contains(strings.Join(c.Warnings, "\n"), "they drift by 198 to 202 ppm") {
		t.Errorf("got %+v; want 198 to 202 ppm and no trust", c)
	}
	marks = called(0, 2, 1002, 1004)
	if c := align(marks, []window{{start: zero + 1*msec, end: zero + 1003*msec, known: true}}, nil, nil, false, 5*time.Millisecond); !c.HasDrift || c.DriftLo != -2000 || c.DriftHi != 2000 || !c.Aligned {
		t.Errorf("within a second: %+v; want the bounds and trust", c)
	}
	marks = called(0, 2, 102, 104)
	if c := align(marks, []window{{start: zero + 1*msec, end: zero + 103*msec, known: true}}, nil, nil, false, 5*time.Millisecond); c.HasDrift {
		t.Errorf("within 100 ms: %+v; want no drift", c)
	}
}

// moved puts a step of the tests onto the clock of zero.
func moved(s Step) Step {
	s.Start, s.End = s.Start+zero, s.End+zero
	return s
}

func TestRowsOfAFewRequests(t *testing.T) {
	path := small(t, "rank0.1790857026103000000.pt.trace.json", windowed(based, 2, 103))
	failed := sent(2, 15)
	failed.Status, failed.Done = 503, results.Moment(zero+25*msec)
	failed.Failure = &results.Failure{Class: results.FailStatus, Message: `overloaded, "try" later`}
	connecting := sent(1, 20, 35)
	connecting.Dispatched, connecting.Connected = results.Moment(zero+18*msec), results.Moment(zero+19*msec)
	connecting.Released = connecting.Dispatched.Add(-3 * time.Millisecond)
	early := sent(9, -50, -40) // a warm-up before the profiler started
	early.Kind = results.Warmup
	out := filepath.Join(t.TempDir(), "merged.trace.json")
	in := Input{
		Traces:  []Trace{{Path: path}},
		Records: slices.Values([]*results.Record{sent(0, 10, 30, 40), connecting, failed, early}),
		Marks:   called(0, 4, 100, 900),
		Steps: []Step{
			{Phase: Prefill, Bucket: "1x8", Name: "execute", Start: 12 * msec, End: 28 * msec, Prompts: 1, PromptTokens: 8},
			{Phase: Mixed, Start: 29 * msec, End: 33 * msec, Prompts: 1, PromptTokens: 8, Decodes: 1, DecodeTokens: 1, OnDevice: true, DevStart: 30 * msec, DevEnd: 34 * msec, Busy: 3 * time.Millisecond},
			{Phase: Empty, Start: 36 * msec, End: 37 * msec},
		},
		Others:   []Mark{{Kind: "compiles", Name: "graph", Start: 13 * msec, End: 20 * msec, Args: []trace.Arg{{Key: "bucket", Value: "1x8"}}}},
		SameHost: true, RunID: "r1",
	}
	result, err := Merge(out, in)
	if err != nil {
		t.Fatal(err)
	}
	if result.Requests != 3 || result.Lanes != 3 {
		t.Errorf("%d requests in %d lanes; want 3 in 3", result.Requests, result.Lanes)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Events []json.RawMessage `json:"traceEvents"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range whole.Events[:len(whole.Events)-3] {
		if !strings.Contains(string(e), `"ph": "M"`) {
			got = append(got, string(e))
		}
	}
	want := []string{
		`{"ph": "i", "cat": "client", "name": "start_profile sent", "pid": 2000000001, "tid": 0, "ts": 0.000, "s": "g"}`,
		`{"ph": "i", "cat": "client", "name": "start_profile returned", "pid": 2000000001, "tid": 0, "ts": 4000.000, "s": "g"}`,
		`{"ph": "i", "cat": "client", "name": "stop_profile sent", "pid": 2000000001, "tid": 0, "ts": 100000.000, "s": "g"}`,
		`{"ph": "i", "cat": "client", "name": "stop_profile returned", "pid": 2000000001, "tid": 0, "ts": 900000.000, "s": "g"}`,
		`{"ph": "i", "cat": "client", "name": "load began", "pid": 2000000001, "tid": 0, "ts": 10000.000, "s": "g"}`,
		`{"ph": "i", "cat": "client", "name": "load ended", "pid": 2000000001, "tid": 0, "ts": 41000.000, "s": "g"}`,
		`{"ph": "X", "cat": "client", "name": "req 0", "pid": 2000000001, "tid": 1, "ts": 10000.000, "dur": 31000.000, "args": {"id": 0, "model": "m", "prompt_tokens": 8, "output_tokens": 2, "ttft_ms": 20, "e2e_ms": 30, "client_queue_ms": 0, "status": 200, "link": "unique"}}`,
		`{"ph": "X", "cat": "client", "name": "wait first token", "pid": 2000000001, "tid": 1, "ts": 10000.000, "dur": 20000.000}`,
		`{"ph": "X", "cat": "client", "name": "stream", "pid": 2000000001, "tid": 1, "ts": 30000.000, "dur": 10000.000, "args": {"events": 2}}`,
		`{"ph": "i", "cat": "client", "name": "token", "pid": 2000000001, "tid": 1, "ts": 30000.000, "s": "t", "args": {"tokens": 1}}`,
		`{"ph": "i", "cat": "client", "name": "token", "pid": 2000000001, "tid": 1, "ts": 40000.000, "s": "t", "args": {"tokens": 1}}`,
		`{"ph": "X", "cat": "client", "name": "req 2", "pid": 2000000001, "tid": 2, "ts": 15000.000, "dur": 10000.000, "args": {"id": 2, "model": "m", "prompt_tokens": 8, "client_queue_ms": 0, "status": 503, "failure": "status"}}`,
		`{"ph": "i", "cat": "client", "name": "error: status", "pid": 2000000001, "tid": 2, "ts": 25000.000, "s": "t", "args": {"request": 2, "message": "overloaded, \"try\" later"}}`,
		`{"ph": "X", "cat": "client", "name": "req 1", "pid": 2000000001, "tid": 3, "ts": 18000.000, "dur": 18000.000, "args": {"id": 1, "model": "m", "prompt_tokens": 8, "output_tokens": 1, "ttft_ms": 15, "e2e_ms": 15, "client_queue_ms": 3, "status": 200, "link": "unique"}}`,
		`{"ph": "X", "cat": "client", "name": "connect", "pid": 2000000001, "tid": 3, "ts": 18000.000, "dur": 1000.000}`,
		`{"ph": "X", "cat": "client", "name": "wait first token", "pid": 2000000001, "tid": 3, "ts": 20000.000, "dur": 15000.000}`,
		`{"ph": "X", "cat": "client", "name": "stream", "pid": 2000000001, "tid": 3, "ts": 35000.000, "dur": 0.000, "args": {"events": 1}}`,
		`{"ph": "i", "cat": "client", "name": "token", "pid": 2000000001, "tid": 3, "ts": 35000.000, "s": "t", "args": {"tokens": 1}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 10000.000, "args": {"in_flight": 1}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 15000.000, "args": {"in_flight": 2}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 18000.000, "args": {"in_flight": 3}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 25000.000, "args": {"in_flight": 2}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 36000.000, "args": {"in_flight": 1}}`,
		`{"ph": "C", "cat": "client", "name": "client", "pid": 2000000001, "tid": 0, "ts": 41000.000, "args": {"in_flight": 0}}`,
		`{"ph": "C", "cat": "client", "name": "tokens/s", "pid": 2000000001, "tid": 0, "ts": 10000.000, "args": {"output": 30, "prompt": 160}}`,
		`{"ph": "C", "cat": "client", "name": "tokens/s", "pid": 2000000001, "tid": 0, "ts": 110000.000, "args": {"output": 0, "prompt": 0}}`,
		`{"ph": "X", "cat": "step", "name": "prefill", "pid": 2000000002, "tid": 1, "ts": 12000.000, "dur": 16000.000, "args": {"phase": "prefill", "bucket": "1x8", "prompts": 1, "prompt_tokens": 8, "decodes": 0, "decode_tokens": 0, "row": "execute"}}`,
		`{"ph": "X", "cat": "step", "name": "mixed", "pid": 2000000002, "tid": 1, "ts": 29000.000, "dur": 4000.000, "args": {"phase": "mixed", "prompts": 1, "prompt_tokens": 8, "decodes": 1, "decode_tokens": 1, "dev_start_us": 1000, "dev_end_us": 5000, "busy_us": 3000, "gap_before_us": 1000}}`,
		`{"ph": "X", "cat": "step", "name": "empty", "pid": 2000000002, "tid": 1, "ts": 36000.000, "dur": 1000.000, "args": {"phase": "empty", "prompts": 0, "prompt_tokens": 0, "decodes": 0, "decode_tokens": 0, "gap_before_us": 3000}}`,
		`{"ph": "X", "cat": "gaps", "name": "gap", "pid": 2000000003, "tid": 2, "ts": 28000.000, "dur": 1000.000, "args": {"between": "prefill to mixed", "requests_in_flight_us": 1000}}`,
		`{"ph": "X", "cat": "gaps", "name": "gap", "pid": 2000000003, "tid": 2, "ts": 33000.000, "dur": 3000.000, "args": {"between": "mixed to empty", "requests_in_flight_us": 3000}}`,
		`{"ph": "X", "cat": "compiles", "name": "graph", "pid": 2000000003, "tid": 1, "ts": 13000.000, "dur": 7000.000, "args": {"bucket": "1x8"}}`,
		`{"ph": "s", "cat": "client2step", "name": "prompt", "pid": 2000000001, "tid": 1, "ts": 10000.001, "id": 0}`,
		`{"ph": "f", "cat": "client2step", "name": "prompt", "pid": 2000000002, "tid": 1, "ts": 12000.001, "id": 0, "bp": "e"}`,
		`{"ph": "s", "cat": "client2step", "name": "last token", "pid": 2000000002, "tid": 1, "ts": 32999.999, "id": 1}`,
		`{"ph": "f", "cat": "client2step", "name": "last token", "pid": 2000000001, "tid": 1, "ts": 39999.999, "id": 1, "bp": "e"}`,
		`{"ph": "s", "cat": "client2step", "name": "prompt", "pid": 2000000001, "tid": 3, "ts": 20000.001, "id": 4}`,
		`{"ph": "f", "cat": "client2step", "name": "prompt", "pid": 2000000002, "tid": 1, "ts": 29000.001, "id": 4, "bp": "e"}`,
		`{"ph": "s", "cat": "client2step", "name": "last token", "pid": 2000000002, "tid": 1, "ts": 32999.999, "id": 5}`,
		`{"ph": "f", "cat": "client2step", "name": "last token", "pid": 2000000001, "tid": 3, "ts": 34999.999, "id": 5, "bp": "e"}`,
	}
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("row %d\ngot  %s\nwant %s", i, g, w)
		}
	}

	c := result.Comparison
	if c.Linked != 2 || c.Ambiguous != 0 || c.Unlinked != 0 {
		t.Errorf("linked %d, ambiguous %d, unlinked %d; want 2, 0, 0", c.Linked, c.Ambiguous, c.Unlinked)
	}
	const d = time.Millisecond
	wantSplits := []Split{
		{ID: 0, NetworkQueue: 2 * d, Prefill: 16 * d, Return: 2 * d, TokenGap: 10 * d, HasGap: true, Steps: 2},
		{ID: 1, NetworkQueue: 9 * d, Prefill: 5 * d, Return: 1 * d, Steps: 1},
	}
	if !slices.Equal(c.Requests, wantSplits) {
		t.Errorf("splits\n%+v\nwant\n%+v", c.Requests, wantSplits)
	}
	// In flight from 10 to 40; steps from 12 to 28, 29 to 34 (on the device) and 36 to 37.
	if c.InFlight != 30*d || c.Idle != 8*d || !c.HasIdle {
		t.Errorf("idle %v of %v in flight; want 8 ms of 30 ms", c.Idle, c.InFlight)
	}
	if c.OnDevice || c.WithAmbiguous != c.Parts {
		t.Errorf("on the device %t, with ambiguous ones %+v; want false, as one step has no device rows, and no difference", c.OnDevice, c.WithAmbiguous)
	}
	if c.NetworkQueue != (Distribution{2, 5500 * time.Microsecond, 2 * d, 9 * d, 9 * d, 9 * d}) {
		t.Errorf("network and queue %+v", c.NetworkQueue)
	}
	// Steps of 1 and 2 requests for 16 and 4 ms; one step generated one token.
	if c.StepsPerToken != 1 || c.Batch != 1.2 {
		t.Errorf("%v steps a token, batch %v; want 1 and 1.2", c.StepsPerToken, c.Batch)
	}
}

func TestMergeDoesNotOverwrite(t *testing.T) {
	path := small(t, "t.json", windowed(based, 2, 103))
	out := small(t, "merged.trace.json", "mine")
	_, err := Merge(out, Input{Traces: []Trace{{Path: path}}, Records: slices.Values([]*results.Record(nil))})
	if err == nil || err.Error() != "merge: "+out+" exists already: remove it or give another name" {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(out); string(data) != "mine" {
		t.Error("it was overwritten")
	}
}

func TestMergeRefuses(t *testing.T) {
	path := small(t, "t.json", windowed(based, 2, 103))
	relative := small(t, "r.json", windowed("", 2, 103))
	none := slices.Values([]*results.Record(nil))
	for _, tc := range []struct {
		name string
		in   Input
		want string
	}{
		{"no traces", Input{Records: none}, "merge: no traces: name the files of the ranks"},
		{"one rank twice", Input{Records: none, Traces: []Trace{{Path: path}, {Path: path}}}, "merge: two traces of rank 0: " + path + " is the second"},
		{"a step of no rank", Input{Records: none, Traces: []Trace{{Path: path}}, Steps: []Step{{Rank: 3}}}, "merge: a step of rank 3, of which there is no trace"},
		{"ranks without a clock", Input{Records: none, Traces: []Trace{{Path: path}, {Path: relative, Rank: 1}}}, "merge: " + relative + ": its clock is unknown (no baseTimeNanoseconds), so it cannot be put beside the other ranks"},
		{"no such file", Input{Records: none, Traces: []Trace{{Path: path + "x"}}}, "merge: open " + path + "x: no such file or directory"},
	} {
		out := filepath.Join(t.TempDir(), FileName)
		if _, err := Merge(out, tc.in); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v\nwant %s", tc.name, err, tc.want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) > 0 {
			t.Errorf("%s: left behind %q", tc.name, left)
		}
	}
}

func TestTracesWithoutABase(t *testing.T) {
	for _, tc := range []struct {
		name  string
		text  string
		theta int64
		ts    string // of the request
		warns bool
	}{
		{"the raster's", windowed("", 2, 103), 0, "10000.000", false},
		{"absolute times", strings.ReplaceAll(strings.ReplaceAll(windowed("", 2, 103), `"ts": 2`, `"ts": 1790857026002`), "002000.000", "002000.000"), 0, "1790857026010000.000", false},
		{"no clock at all", strings.ReplaceAll(windowed("", 2, 103), `"ts": 2`, `"ts": 7000000002`), 7_000_000_000*msec - zero, "7000000010000.000", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := small(t, "t.json", tc.text)
			out := filepath.Join(t.TempDir(), "m.json")
			result, err := Merge(out, Input{Traces: []Trace{{Path: path}}, Records: slices.Values([]*results.Record{sent(0, 10, 30)}), Marks: called(0, 4, 101, 900), SameHost: true})
			if err != nil {
				t.Fatal(err)
			}
			if result.Clock.Theta != tc.theta || (len(result.Warnings) > 0) != tc.warns {
				t.Errorf("theta %d, warnings %q; want %d", result.Clock.Theta, result.Warnings, tc.theta)
			}
			data, err := os.ReadFile(out)
			if err != nil || !strings.Contains(string(data), `"name": "req 0", "pid": 2000000001, "tid": 1, "ts": `+tc.ts+",") {
				t.Errorf("the request is not at %s (%v):\n%.1500s", tc.ts, err, data)
			}
		})
	}
}

func TestSeveralRanks(t *testing.T) {
	a := small(t, "rank1.json", windowed(based, 3, 104))
	b := small(t, "rank0.json", windowed(based, 2, 103))
	out := filepath.Join(t.TempDir(), "m.json")
	result, err := Merge(out, Input{
		Traces:  []Trace{{Path: a, Rank: 1}, {Path: b, Rank: 0}},
		Records: slices.Values([]*results.Record{sent(0, 10, 30)}), Marks: called(0, 4, 101, 900), SameHost: true,
		Steps: []Step{
			{Rank: 1, Phase: Prefill, Start: 13 * msec, End: 29 * msec, Prompts: 1, PromptTokens: 8},
			{Rank: 0, Phase: Prefill, Start: 12 * msec, End: 28 * msec, Prompts: 1, PromptTokens: 8},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Traces) != 2 || result.Comparison.Linked != 1 || result.Comparison.Requests[0].NetworkQueue != 2*time.Millisecond {
		t.Errorf("%d traces, %+v; want the leading rank's step linked", len(result.Traces), result.Comparison)
	}
	if c := result.Clock; c.Lo != -1*msec || c.Hi != 2*msec {
		t.Errorf("bounds [%v, %v]; want the later start and the earlier end: [-1ms, 2ms]", time.Duration(c.Lo), time.Duration(c.Hi))
	}
	data, err := os.ReadFile(out)
	if err != nil || !json.Valid(data) {
		t.Fatalf("no JSON (%v)", err)
	}
	for _, part := range []string{
		`"pid": 10000007`, `"pid": 20000007`, `"pid": "r1 Spans"`, `"name": "rank 1 python"`,
		`"pid": 2000000002, "tid": 2, "ts": 13000.000, "dur": 16000.000`,
		`"name": "thread_name", "pid": 2000000002, "tid": 2, "args": {"name": "rank 1"}`,
		`"name": "req 0"`,
	} {
		if !strings.Contains(string(data), part) {
			t.Errorf("the file does not hold %s", part)
		}
	}
}

func TestManyRequestsInFlight(t *testing.T) {
	path := small(t, "t.json", windowed(based, 2, 103))
	var records []*results.Record
	for i := range manyLanes + 1 {
		records = append(records, sent(i, 10, 30, 40))
	}
	out := filepath.Join(t.TempDir(), "m.json")
	result, err := Merge(out, Input{Traces: []Trace{{Path: path}}, Records: slices.Values(records), Marks: called(0, 4, 101, 900), SameHost: true,
		Steps: []Step{{Phase: Prefill, Start: 12 * msec, End: 28 * msec, Prompts: manyLanes + 1, PromptTokens: 8 * (manyLanes + 1)}}})
	if err != nil {
		t.Fatal(err)
	}
	if result.Lanes != manyLanes+1 {
		t.Errorf("%d lanes", result.Lanes)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Events []row `json:"traceEvents"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatal(err)
	}
	open := make(map[any][]string)
	begun := 0
	for _, r := range whole.Events {
		switch r.Ph {
		case "b":
			begun++
			open[r.ID] = append(open[r.ID], r.Name)
		case "e":
			stack := open[r.ID]
			if len(stack) == 0 || stack[len(stack)-1] != r.Name {
				t.Fatalf("span %v ends %s in %v", r.ID, r.Name, stack)
			}
			open[r.ID] = stack[:len(stack)-1]
		case "s", "f":
			t.Fatalf("an arrow without a slice to bind to: %+v", r)
		}
	}
	for id, stack := range open {
		if len(stack) > 0 {
			t.Errorf("span %v never ends %v", id, stack)
		}
	}
	if want := 3 * (manyLanes + 1); begun != want {
		t.Errorf("%d spans; want %d", begun, want)
	}
}

func TestThroughputGoesToZeroBetween(t *testing.T) {
	path := small(t, "t.json", windowed(based, 2, 1003))
	out := filepath.Join(t.TempDir(), "m.json")
	if _, err := Merge(out, Input{Traces: []Trace{{Path: path}}, Records: slices.Values([]*results.Record{sent(0, 10, 30, 40, 760)}), Marks: called(0, 4, 1001, 1900), SameHost: true}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		if _, after, ok := strings.Cut(line, `"name": "tokens/s", "pid": 2000000001, "tid": 0, "ts": `); ok {
			got = append(got, strings.TrimRight(after, "},\n"))
		}
	}
	want := []string{
		`10000.000, "args": {"output": 20, "prompt": 80`,
		`110000.000, "args": {"output": 0, "prompt": 0`,
		`710000.000, "args": {"output": 10, "prompt": 0`,
		`810000.000, "args": {"output": 0, "prompt": 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
