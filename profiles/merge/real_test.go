package merge

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"servebench/profiles"
	"servebench/profiles/breakdown"
	"servebench/profiles/trace"
	"servebench/results"
)

// clientFile is what the client of a recorded run noted.
type clientFile struct {
	Model string
	Start struct {
		Sent     int64 `json:"sent_ns"`
		Answered int64 `json:"answered_ns"`
	} `json:"start_profile"`
	Stop struct {
		Sent     int64 `json:"sent_ns"`
		Answered int64 `json:"answered_ns"`
	} `json:"stop_profile"`
	Requests []struct {
		I            int
		ID           string
		Connect      results.Moment `json:"connect_ns"`
		Connected    results.Moment `json:"connected_ns"`
		WriteBegan   results.Moment `json:"write_began_ns"`
		Written      results.Moment `json:"written_ns"`
		Headers      results.Moment `json:"headers_ns"`
		Done         results.Moment `json:"done_ns"`
		Status       int
		FinishReason string `json:"finish_reason"`
		Usage        struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
		}
		Events []struct {
			NS     results.Moment
			Tokens int
		}
	}
}

// recorded is the input of a recorded run of a real server, in testdata or a folder given.
func recorded(t *testing.T, dir string) Input {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "client.json"))
	if err != nil {
		t.Fatal(err)
	}
	var client clientFile
	if err := json.Unmarshal(data, &client); err != nil {
		t.Fatal(err)
	}
	var records []*results.Record
	for _, q := range client.Requests {
		r := &results.Record{ID: q.I, Kind: results.Load, Model: client.Model, InputTokens: -1, RequestID: q.ID,
			Due: q.Connect, Released: q.Connect, Dispatched: q.Connect}
		r.Reply = results.Reply{Connected: q.Connected, WriteBegan: q.WriteBegan, Written: q.Written, Headers: q.Headers, Done: q.Done,
			Status: q.Status, Finish: q.FinishReason, EndMarked: true,
			Usage: &results.Usage{Prompt: q.Usage.Prompt, Completion: q.Usage.Completion, Cached: -1}, OutputTokens: -1}
		for _, e := range q.Events {
			r.Chunks = append(r.Chunks, results.Chunk{At: e.NS, Tokens: e.Tokens, Visible: true})
		}
		records = append(records, r)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "rank0.*.pt.trace.json.gz"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: traces %q, %v", dir, paths, err)
	}
	meta, steps := stepsOf(t, paths[0])
	seed := int64(6)
	return Input{
		Traces:  []Trace{{Path: paths[0], Meta: &meta}},
		Records: slices.Values(records),
		Marks: profiles.Marks{StartSent: client.Start.Sent, StartAnswered: client.Start.Answered,
			StopSent: client.Stop.Sent, StopAnswered: client.Stop.Answered, Called: true},
		Steps: steps, SameHost: true, RunID: "run", Tool: "servebench test", URL: "http://127.0.0.1:8012", Seed: &seed,
	}
}

// stepsOf has the trace analysed.
func stepsOf(t *testing.T, path string) (trace.Meta, []Step) {
	t.Helper()
	meta, err := trace.ReadFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	report, err := breakdown.Analyze(t.Context(), []string{path}, breakdown.Options{})
	if err != nil {
		t.Fatal(err)
	}
	steps, others, err := Found(report, []Trace{{Path: path}})
	if err != nil || len(others) != 0 {
		t.Fatalf("Found() = %v, %d others; want none on a CPU", err, len(others))
	}
	return meta, steps
}

// A row is an event of a merged file as a strict parser sees it; times are in ns.
type row struct {
	Ph, Cat, Name, S, Bp string
	PID                  any
	TID                  any
	TS, Dur              json.Number
	ID                   any
	Args                 map[string]any
}

// ns is a time of microseconds with decimals as whole nanoseconds.
func ns(t *testing.T, n json.Number) int64 {
	t.Helper()
	if n == "" {
		return 0
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		t.Fatalf("time %q", n)
	}
	r.Mul(r, big.NewRat(1000, 1))
	if !r.IsInt() {
		t.Fatalf("time %q is no whole number of nanoseconds", n)
	}
	return r.Num().Int64()
}

// A file is a trace as encoding/json reads it.
type file struct {
	keys   map[string]json.RawMessage
	events []json.RawMessage
}

func readStrictly(t *testing.T, path string) file {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var r file
	if err := json.Unmarshal(data, &r.keys); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.keys["traceEvents"], &r.events); err != nil {
		t.Fatal(err)
	}
	delete(r.keys, "traceEvents")
	return r
}

// ours are the rows that were added.
func (f file) ours(t *testing.T, n int) []row {
	t.Helper()
	rows := make([]row, n)
	for i := range rows {
		d := json.NewDecoder(bytes.NewReader(f.events[i]))
		d.UseNumber()
		if err := d.Decode(&rows[i]); err != nil {
			t.Fatalf("%v: %s", err, f.events[i])
		}
	}
	return rows
}

const (
	clientProcess = json.Number("2000000001")
	stepsProcess  = json.Number("2000000002")
)

// merged merges a recorded run and returns the rows that were added, after checking that the server's are
// as they were.
func merged(t *testing.T, in Input) (Result, []row) {
	t.Helper()
	out := filepath.Join(t.TempDir(), FileName)
	result, err := Merge(out, in)
	if err != nil {
		t.Fatal(err)
	}
	before, after := readStrictly(t, in.Traces[0].Path), readStrictly(t, out)
	added := len(after.events) - len(before.events)
	for i, e := range before.events {
		if !bytes.Equal(e, after.events[added+i]) {
			t.Fatalf("event %d of the server was changed:\n%s\n%s", i, e, after.events[added+i])
		}
	}
	for key, value := range before.keys {
		if !bytes.Equal(value, after.keys[key]) {
			t.Errorf("key %s was changed:\n%s\n%s", key, value, after.keys[key])
		}
	}
	var about struct {
		Clock    Clock
		Requests int
	}
	if err := json.Unmarshal(after.keys["loadTrace"], &about); err != nil || about.Clock.Theta != result.Clock.Theta || about.Requests != result.Requests {
		t.Errorf("loadTrace says %+v (%v); want what was returned", about, err)
	}
	var shown map[string]any
	if err := json.Unmarshal(after.keys["metadata"], &shown); err != nil || shown["load_run_id"] != "run" || shown["load_clock_aligned"] != result.Clock.Aligned {
		t.Errorf("metadata says %v (%v)", shown, err)
	}
	return result, after.ours(t, added)
}

var recordedRuns = []string{"single-uni-nostack", "single-uni-stack", "eight-uni-nostack", "eight-mp-nostack"}

func TestMergeOfARealServersTrace(t *testing.T) {
	for _, name := range recordedRuns {
		t.Run(name, func(t *testing.T) { checkRun(t, filepath.Join("testdata", name)) })
	}
}

// TestMergeOfMoreTraces does the same on every recorded run of a folder.
func TestMergeOfMoreTraces(t *testing.T) {
	root := os.Getenv("SERVEBENCH_TEST_TRACES_VLLM_CPU")
	if root == "" {
		t.Skip("SERVEBENCH_TEST_TRACES_VLLM_CPU names no folder of recorded runs with client.json")
	}
	found, _ := filepath.Glob(filepath.Join(root, "*", "client.json"))
	if len(found) == 0 {
		t.Fatalf("%s holds no */client.json", root)
	}
	for _, path := range found {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { checkRun(t, filepath.Dir(path)) })
	}
}

func checkRun(t *testing.T, dir string) {
	in := recorded(t, dir)
	result, rows := merged(t, in)
	records := slices.Collect(in.Records)
	c := result.Clock
	if c.Theta != 0 || !c.Aligned || !c.HasLo || !c.HasHi || c.Lo > 0 || c.Hi < 0 || len(result.Warnings) != 0 {
		t.Errorf("clock %+v, warnings %q; want 0 within the bounds", c, result.Warnings)
	}
	t.Logf("theta in [%v, %v], %s", time.Duration(c.Lo), time.Duration(c.Hi), c.Method)
	if result.Requests != len(records) || result.Comparison.Unlinked != 0 {
		t.Errorf("%d requests, %d of them unlinked; want %d and none", result.Requests, result.Comparison.Unlinked, len(records))
	}
	t.Logf("linked %d, ambiguous %d; network+queue %v, prefill %v, return %v; gap %v, period %v; idle %v of %v; %.2f steps/token, batch %.2f",
		result.Comparison.Linked, result.Comparison.Ambiguous, result.Comparison.NetworkQueue.P50, result.Comparison.Prefill.P50, result.Comparison.Return.P50,
		result.Comparison.TokenGap.P50, result.Comparison.Period.P50, result.Comparison.Idle, result.Comparison.InFlight, result.Comparison.StepsPerToken, result.Comparison.Batch)

	base := int64(0)
	if in.Traces[0].Meta.HasBase {
		base = in.Traces[0].Meta.Base
	}
	requests := make(map[string]row)
	var steps, tokens []row
	for _, r := range rows {
		switch {
		case r.PID == clientProcess && r.Ph == "X" && strings.HasPrefix(r.Name, "req "):
			requests[r.Name] = r
		case r.PID == clientProcess && r.Ph == "i" && r.Name == "token":
			tokens = append(tokens, r)
		case r.PID == stepsProcess && r.Ph == "X":
			steps = append(steps, r)
		}
	}
	for _, r := range records {
		got, ok := requests["req "+strconv.Itoa(r.ID)]
		if !ok {
			t.Errorf("request %d has no row", r.ID)
			continue
		}
		if at, dur := ns(t, got.TS)+base, ns(t, got.Dur); at != int64(r.Dispatched) || dur != int64(r.Done-r.Dispatched) {
			t.Errorf("request %d is at %d for %d; want %d for %d", r.ID, at, dur, r.Dispatched, r.Done-r.Dispatched)
		}
		if got.Args["prompt_tokens"] != json.Number(strconv.Itoa(r.Usage.Prompt)) || got.Args["output_tokens"] != json.Number(strconv.Itoa(r.Usage.Completion)) {
			t.Errorf("request %d says %v", r.ID, got.Args)
		}
	}

	// The k-th token, over all requests, is never seen before the step that computed it ended.
	slices.SortFunc(tokens, func(a, b row) int { return int(sign(ns(t, a.TS) - ns(t, b.TS))) })
	slices.SortFunc(steps, func(a, b row) int { return int(sign(ns(t, a.TS) - ns(t, b.TS))) })
	number := func(r row, key string) int {
		n, _ := strconv.Atoi(string(r.Args[key].(json.Number)))
		return n
	}
	seen, computed, step := 0, 0, -1
	for _, token := range tokens {
		for range number(token, "tokens") {
			seen++
			for computed < seen {
				step++
				computed += number(steps[step], "prompts") + number(steps[step], "decodes")
			}
			if end := ns(t, steps[step].TS) + ns(t, steps[step].Dur); ns(t, token.TS) < end {
				t.Errorf("token %d was seen %v before its step ended", seen, time.Duration(end-ns(t, token.TS)))
			}
		}
	}
	want := 0
	for _, r := range records {
		want += r.Usage.Completion
	}
	if seen != want || len(steps) == 0 {
		t.Errorf("%d tokens are marked; want %d", seen, want)
	}

	checkNesting(t, rows)
	checkArrows(t, rows, requests, result)
	checkCounters(t, rows)
}

// checkNesting tests that the slices of each of our rows nest.
func checkNesting(t *testing.T, rows []row) {
	t.Helper()
	type thread struct{ pid, tid any }
	open := make(map[thread][]int64) // ends
	var slicesOnly []row
	for _, r := range rows {
		if r.Ph == "X" {
			slicesOnly = append(slicesOnly, r)
		}
	}
	slices.SortStableFunc(slicesOnly, func(a, b row) int { return int(sign(ns(t, a.TS) - ns(t, b.TS))) })
	for _, r := range slicesOnly {
		key := thread{r.PID, r.TID}
		from := ns(t, r.TS)
		to := from + ns(t, r.Dur)
		ends := open[key]
		for len(ends) > 0 && ends[len(ends)-1] <= from {
			ends = ends[:len(ends)-1]
		}
		if len(ends) > 0 && to > ends[len(ends)-1] {
			t.Errorf("%s at %s on %v reaches over what it is in", r.Name, r.TS, key)
		}
		open[key] = append(ends, to)
	}
}

// checkArrows tests that both ends of every arrow lie in a slice, and that the steps they lead to are within the
// request's span.
func checkArrows(t *testing.T, rows []row, requests map[string]row, result Result) {
	t.Helper()
	enclosing := func(r row) (found row) {
		for _, s := range rows {
			if s.Ph == "X" && s.PID == r.PID && s.TID == r.TID && ns(t, s.TS) <= ns(t, r.TS) && ns(t, r.TS) < ns(t, s.TS)+ns(t, s.Dur) {
				if found.Name == "" || strings.HasPrefix(s.Name, "req ") || s.PID == stepsProcess {
					found = s
				}
			}
		}
		return found
	}
	ends := make(map[any][]row)
	for _, r := range rows {
		if r.Cat == category {
			ends[r.ID] = append(ends[r.ID], r)
		}
	}
	if want := 2 * len(requests); len(ends) != want {
		t.Errorf("%d arrows; want %d: to the first step and from the last of each request", len(ends), want)
	}
	for id, pair := range ends {
		if len(pair) != 2 || pair[0].Ph != "s" || pair[1].Ph != "f" || pair[1].Bp != "e" || pair[0].Name != pair[1].Name {
			t.Errorf("arrow %v: %+v", id, pair)
			continue
		}
		from, to := enclosing(pair[0]), enclosing(pair[1])
		if from.Name == "" || to.Name == "" {
			t.Errorf("arrow %v: an end is in no slice", id)
			continue
		}
		request, step := from, to
		if pair[0].Name == "last token" {
			request, step = to, from
		}
		if request.PID != clientProcess || step.PID != stepsProcess {
			t.Errorf("arrow %v leads from %s to %s", id, from.Name, to.Name)
		}
		if ns(t, step.TS) < ns(t, request.TS) || ns(t, step.TS)+ns(t, step.Dur) > ns(t, request.TS)+ns(t, request.Dur) {
			t.Errorf("%s does not enclose the step %s at %s that served it", request.Name, step.Name, step.TS)
		}
		if unique := request.Args["link"] == "unique"; unique == (pair[0].Args["ambiguous"] == true) && pair[0].Name == "prompt" {
			t.Errorf("%s is %v, its arrow %v", request.Name, request.Args["link"], pair[0].Args)
		}
	}
}

func checkCounters(t *testing.T, rows []row) {
	t.Helper()
	last := make(map[string]row)
	most := 0
	for _, r := range rows {
		if r.Ph != "C" {
			continue
		}
		last[r.Name] = r
		if r.Name == "client" {
			n, _ := strconv.Atoi(string(r.Args["in_flight"].(json.Number)))
			most = max(most, n)
		}
	}
	if last["client"].Args["in_flight"] != json.Number("0") || last["tokens/s"].Args["output"] != json.Number("0") || last["tokens/s"].Args["prompt"] != json.Number("0") {
		t.Errorf("the counters end with %v and %v; want zeros", last["client"].Args, last["tokens/s"].Args)
	}
	if most < 1 || most > 4 {
		t.Errorf("at most %d in flight; want 1 to 4", most)
	}
}

func TestClocksOfTwoHosts(t *testing.T) {
	for _, name := range recordedRuns {
		in := recorded(t, filepath.Join("testdata", name))
		in.SameHost = false
		result, err := Compare(in)
		if err != nil {
			t.Fatal(err)
		}
		c := result.Clock
		if c.Lo > 0 || c.Hi < 0 || c.Theta < c.Lo || c.Theta > c.Hi || !strings.HasPrefix(c.Method, "middle of the bounds by ") {
			t.Errorf("%s: %+v; want the truth, 0, within the bounds", name, c)
		}
		if width := time.Duration(c.Hi - c.Lo); c.Aligned != (width <= 5*time.Millisecond) {
			t.Errorf("%s: aligned %t with bounds %v apart", name, c.Aligned, width)
		}
		t.Logf("%s: theta %v in [%v by %s, %v by %s], aligned %t, drift %.0f to %.0f ppm", name, time.Duration(c.Theta), time.Duration(c.Lo), c.LoBy, time.Duration(c.Hi), c.HiBy, c.Aligned, c.DriftLo, c.DriftHi)

		// The same run on a client whose clock is 42 s behind.
		const behind = 42 * time.Second
		moved := in
		moved.Marks = in.Marks
		for _, m := range []*int64{&moved.Marks.StartSent, &moved.Marks.StartAnswered, &moved.Marks.StopSent, &moved.Marks.StopAnswered} {
			*m -= int64(behind)
		}
		var records []*results.Record
		for r := range in.Records {
			q := *r
			for _, m := range []*results.Moment{&q.Due, &q.Released, &q.Dispatched, &q.Connected, &q.WriteBegan, &q.Written, &q.Headers, &q.Done} {
				*m = m.Add(-behind)
			}
			q.Chunks = slices.Clone(r.Chunks)
			for i := range q.Chunks {
				q.Chunks[i].At = q.Chunks[i].At.Add(-behind)
			}
			records = append(records, &q)
		}
		moved.Records = slices.Values(records)
		other, err := Compare(moved)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(other.Clock.Theta - c.Theta); got != behind {
			t.Errorf("%s: 42 s apart, theta moved by %v", name, got)
		}
		if other.Comparison.Linked != result.Comparison.Linked || other.Comparison.WithAmbiguous != result.Comparison.WithAmbiguous {
			t.Errorf("%s: 42 s apart, the comparison is another: %+v\n%+v", name, other.Comparison, result.Comparison)
		}
		// Claiming one host is found out.
		moved.SameHost = true
		lie, err := Compare(moved)
		if err != nil {
			t.Fatal(err)
		}
		if lie.Clock.Aligned || len(lie.Warnings) != 1 || !strings.Contains(lie.Warnings[0], "are said to share one") {
			t.Errorf("%s: 42 s apart on one host: %+v", name, lie.Clock)
		}
	}
}

// TestMergeIntoTracesOfAccelerators puts a request into every trace of a folder and reads the result strictly.
// SERVEBENCH_KEEP_MERGED names a folder to leave the results in, for scripts/trace/browser.sh.
func TestMergeIntoTracesOfAccelerators(t *testing.T) {
	root := os.Getenv("SERVEBENCH_TEST_TRACES")
	if root == "" {
		t.Skip("SERVEBENCH_TEST_TRACES names no folder of traces")
	}
	paths, _ := filepath.Glob(filepath.Join(root, "*.pt.trace.json.gz"))
	if len(paths) == 0 {
		t.Fatalf("%s holds no *.pt.trace.json.gz", root)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if info, err := os.Stat(path); underRace && err == nil && info.Size() > 500_000 {
				t.Skip("under the race detector, files up to 500 kB")
			}
			meta, err := trace.ReadFile(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			first, ok := meta.Unix(meta.First)
			if !ok {
				t.Fatal("its clock is unknown")
			}
			at := func(d time.Duration) results.Moment { return results.Moment(first).Add(d) }
			r := &results.Record{Kind: results.Load, InputTokens: 8, Dispatched: at(0)}
			r.Reply = results.Reply{WriteBegan: at(0), Written: at(time.Microsecond), Done: at(time.Millisecond), Status: 200,
				Chunks: []results.Chunk{{At: at(time.Millisecond / 2), Tokens: 1}}, OutputTokens: 1}
			out := filepath.Join(t.TempDir(), FileName)
			if keep := os.Getenv("SERVEBENCH_KEEP_MERGED"); keep != "" {
				out = filepath.Join(keep, strings.TrimSuffix(filepath.Base(path), ".pt.trace.json.gz")+".merged.json.gz")
			}
			if _, err := Merge(out, Input{Traces: []Trace{{Path: path, Meta: &meta}}, Records: slices.Values([]*results.Record{r}), SameHost: true}); err != nil {
				t.Fatal(err)
			}
			after := readStrictly(t, out)
			added := len(after.events) - int(meta.Events)
			if added <= 0 {
				t.Fatalf("%d events; the file had %d", len(after.events), meta.Events)
			}
			for _, row := range after.ours(t, added) {
				if row.Name == "req 0" && ns(t, row.TS) == meta.First {
					return
				}
			}
			t.Errorf("the request is not at the first slice, %d", meta.First)
		})
	}
}
