package sim

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An event is a trace row as read back, in nanoseconds since the epoch.
type event struct {
	Ph, Cat, Name, ID string
	Pid, Tid          string
	from, to          int64
	args              map[string]any
}

type traceFile struct {
	name   string
	keys   []string
	fields map[string]json.RawMessage
	base   int64
	events []event
	raw    string
}

func nanos(t *testing.T, n json.Number) int64 {
	t.Helper()
	whole, part, _ := strings.Cut(n.String(), ".")
	if len(part) != 3 {
		t.Fatalf("time %s has not three decimals", n)
	}
	var out int64
	if _, err := fmt.Sscan(whole+part, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func readTrace(t *testing.T, path string) *traceFile {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	tr := &traceFile{name: filepath.Base(path), raw: string(raw)}
	d := json.NewDecoder(strings.NewReader(tr.raw))
	d.Token()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		tr.keys = append(tr.keys, key.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(raw, &tr.fields); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(tr.fields["baseTimeNanoseconds"], &tr.base); err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Ph, Cat, Name string
		ID            any
		Pid, Tid      any
		Ts, Dur       json.Number
		Args          map[string]any
	}
	d = json.NewDecoder(strings.NewReader(string(tr.fields["traceEvents"])))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		e := event{Ph: r.Ph, Cat: r.Cat, Name: r.Name, Pid: fmt.Sprint(r.Pid), Tid: fmt.Sprint(r.Tid), ID: fmt.Sprint(r.ID), args: r.Args}
		if r.Ts != "" {
			e.from = tr.base + nanos(t, r.Ts)
			e.to = e.from
		}
		if r.Ph == "X" {
			e.to = e.from + nanos(t, r.Dur)
		}
		tr.events = append(tr.events, e)
	}
	return tr
}

func (tr *traceFile) where(is func(*event) bool) []event {
	var out []event
	for _, e := range tr.events {
		if is(&e) {
			out = append(out, e)
		}
	}
	return out
}

// covered is the length of the union of the rows.
func covered(rows []event) int64 {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b event) int { return cmp.Compare(a.from, b.from) })
	var length, end int64
	for _, r := range rows {
		length += max(r.to-max(r.from, end), 0)
		end = max(end, r.to)
	}
	return length
}

// expectNesting fails where two rows of one thread overlap without one holding the other.
func expectNesting(t *testing.T, rows []event) {
	t.Helper()
	threads := make(map[string][]event)
	for _, r := range rows {
		threads[r.Pid+"/"+r.Tid] = append(threads[r.Pid+"/"+r.Tid], r)
	}
	for thread, rows := range threads {
		slices.SortStableFunc(rows, func(a, b event) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to))
		})
		var open []event
		for _, r := range rows {
			for len(open) > 0 && open[len(open)-1].to <= r.from {
				open = open[:len(open)-1]
			}
			if len(open) > 0 && r.to > open[len(open)-1].to {
				t.Errorf("thread %s: %s [%d, %d) reaches over %s [%d, %d)", thread, r.Name, r.from, r.to, open[len(open)-1].Name, open[len(open)-1].from, open[len(open)-1].to)
			}
			open = append(open, r)
		}
	}
}

// bracket runs a load between start and stop, and returns the steps of the session.
func bracket(t *testing.T, s *Server, start string, load func(*Server)) []Step {
	t.Helper()
	if w := post(context.Background(), s, "/start_profile", start); w.Code != 200 {
		t.Fatalf("start: %d %s", w.Code, w.Body)
	}
	from := len(s.Steps())
	load(s)
	time.Sleep(20 * time.Millisecond) // the empty step
	if w := post(context.Background(), s, "/stop_profile", ""); w.Code != 200 {
		t.Fatalf("stop: %d %s", w.Code, w.Body)
	}
	return s.Steps()[from:]
}

func traces(t *testing.T, dir string) []*traceFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	var out []*traceFile
	for _, path := range paths {
		out = append(out, readTrace(t, path))
	}
	return out
}

func loadOf(bodies ...string) func(*Server) {
	return func(s *Server) {
		var group sync.WaitGroup
		for _, body := range bodies {
			group.Go(func() { post(context.Background(), s, "/v1/completions", body) })
			time.Sleep(time.Millisecond)
		}
		group.Wait()
	}
}

var fourRequests = loadOf(completion(ids(1, 100), 4), completion(ids(2, 60), 3), completion(ids(3, 80), 2), completion(ids(4, 10), 5))

func TestCUDATraceIsTrueToTheSteps(t *testing.T) {
	for _, stacks := range []bool{false, true} {
		t.Run(fmt.Sprintf("stacks %t", stacks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Config{Stacks: stacks, Ranks: 2}
				c.ProfileDir = t.TempDir()
				s := newServer(t, c)
				defer s.Close()
				steps := bracket(t, s, "", fourRequests)
				files := traces(t, c.ProfileDir)
				if len(files) != 3 {
					t.Fatalf("%d files; want 2 ranks and the front end", len(files))
				}
				names := []string{`^dp0_pp0_tp0_dcp0_ep0_rank0\.\d{18}\.pt\.trace\.json\.gz$`, `^dp0_pp0_tp1_dcp0_ep1_rank1\.\d{18}\.pt\.trace\.json\.gz$`, `_\d+\.async_llm\.\d{18}\.pt\.trace\.json\.gz$`}
				for i, tr := range files {
					if !regexp.MustCompile(names[i]).MatchString(tr.name) {
						t.Errorf("file %s; want %s", tr.name, names[i])
					}
					window := tr.where(func(e *event) bool { return e.Cat == "Trace" })
					if len(window) != 1 || window[0].from > steps[0].Began || window[0].to < steps[len(steps)-1].Ended {
						t.Errorf("%s: window %+v", tr.name, window)
					}
					if tr.base%raster != 0 || window[0].from-tr.base >= raster {
						t.Errorf("%s: base %d is not on the raster", tr.name, tr.base)
					}
				}
				for rank, tr := range files[:2] {
					expectCUDA(t, tr, rank, steps, stacks)
				}
				if n := len(files[2].where(func(e *event) bool { return e.Ph == "X" && e.Cat != "Trace" })); n != 0 {
					t.Errorf("the front end's file has %d rows", n)
				}
				tables, _ := filepath.Glob(filepath.Join(c.ProfileDir, "*.profiler_out.txt"))
				if len(tables) != 2 {
					t.Errorf("%d tables; want one a rank", len(tables))
				}
			})
		})
	}
}

func expectCUDA(t *testing.T, tr *traceFile, rank int, steps []Step, stacks bool) {
	t.Helper()
	wantKeys := []string{"schemaVersion", "deviceProperties", "trace_id", "vllm_version_tuple", "distributedInfo", "vllm_version", "host_name", "displayTimeUnit", "baseTimeNanoseconds", "traceEvents", "traceName"}
	if stacks {
		wantKeys = slices.Insert(wantKeys, 3, "with_stack")
	}
	if !slices.Equal(tr.keys, wantKeys) {
		t.Errorf("keys %q; want %q", tr.keys, wantKeys)
	}
	var info struct {
		Rank  int
		World int `json:"world_size"`
	}
	if err := json.Unmarshal(tr.fields["distributedInfo"], &info); err != nil || info.Rank != rank || info.World != 2 {
		t.Errorf("distributedInfo %s", tr.fields["distributedInfo"])
	}
	annotations := tr.where(func(e *event) bool { return e.Cat == "user_annotation" })
	if len(annotations) != len(steps) {
		t.Fatalf("%d annotations; want %d", len(annotations), len(steps))
	}
	calls := make(map[string]event)
	for _, e := range tr.where(func(e *event) bool { return e.Cat == "cuda_runtime" }) {
		id := fmt.Sprint(e.args["correlation"])
		if _, twice := calls[id]; twice {
			t.Errorf("two calls have the correlation %s", id)
		}
		calls[id] = e
	}
	device := tr.where(func(e *event) bool { return slices.Contains([]string{"kernel", "gpu_memcpy"}, e.Cat) })
	prompts := 0
	for i, s := range steps {
		a := annotations[i]
		if a.Name != fmt.Sprintf("execute_context_%d(%d)_generation_%d(%d)", s.Prompts, s.PromptTokens, s.Sequences, s.Sequences) || a.from != s.Began || a.to != s.Dispatched {
			t.Errorf("annotation %+v of step %+v", a, s)
		}
		prompts += s.PromptTokens
		var mine []event
		for _, e := range device {
			call, ok := calls[fmt.Sprint(e.args["correlation"])]
			if !ok {
				t.Fatalf("%s has no call", e.Name)
			}
			if call.from >= e.from {
				t.Errorf("%s starts before its call", e.Name)
			}
			if call.from >= a.from && call.from < a.to {
				mine = append(mine, e)
				if e.Pid != fmt.Sprint(rank) || e.Tid != "7" {
					t.Errorf("%s is on %s/%s", e.Name, e.Pid, e.Tid)
				}
			}
		}
		if s.Phase == Empty {
			if len(mine) > 0 {
				t.Errorf("the empty step has %d device rows", len(mine))
			}
			continue
		}
		from := slices.MinFunc(mine, func(a, b event) int { return cmp.Compare(a.from, b.from) }).from
		to := slices.MaxFunc(mine, func(a, b event) int { return cmp.Compare(a.to, b.to) }).to
		if from != s.DeviceBegan || to != s.DeviceEnded {
			t.Errorf("step %d: device [%d, %d); want [%d, %d)", s.Number, from, to, s.DeviceBegan, s.DeviceEnded)
		}
		if idle := to - from - covered(mine); idle != 6000 {
			t.Errorf("step %d: %d ns of gaps; want 6000", s.Number, idle)
		}
		graphs := 0
		for _, e := range calls {
			if e.Name == "cudaGraphLaunch" && e.from >= a.from && e.from < a.to {
				graphs++
			}
		}
		if want := map[string]int{Decode: 1}[s.Phase]; graphs != want {
			t.Errorf("step %d (%s): %d graph launches; want %d", s.Number, s.Phase, graphs, want)
		}
	}
	if prompts != 250 {
		t.Errorf("%d prompt tokens in steps; want 250", prompts)
	}
	python := tr.where(func(e *event) bool { return e.Cat == "python_function" })
	if (len(python) > 0) != stacks {
		t.Errorf("%d python rows", len(python))
	}
	expectNesting(t, tr.where(func(e *event) bool {
		return slices.Contains([]string{"python_function", "cpu_op", "user_annotation", "cuda_runtime"}, e.Cat)
	}))
	starts, ends := tr.where(func(e *event) bool { return e.Ph == "s" }), tr.where(func(e *event) bool { return e.Ph == "f" })
	if len(starts) == 0 || len(ends) != len(device) {
		t.Errorf("%d arrows begin, %d end, for %d device rows", len(starts), len(ends), len(device))
	}
}

func TestCPUTraceIsTrueToTheSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Device: CPU, DetailedAnnotations: true, ProfileDir: t.TempDir()}
		s := newServer(t, c)
		defer s.Close()
		steps := bracket(t, s, `{"profile_prefix":"p1"}`, fourRequests)
		files := traces(t, c.ProfileDir)
		worker := slices.IndexFunc(files, func(tr *traceFile) bool { return strings.HasPrefix(tr.name, "p1_rank0.") })
		front := slices.IndexFunc(files, func(tr *traceFile) bool { return strings.HasPrefix(tr.name, "p1_"+hostName()) })
		if len(files) != 2 || worker < 0 || front < 0 {
			t.Fatalf("%d files; want the worker's and the front end's", len(files))
		}
		tr := files[worker]
		annotations := tr.where(func(e *event) bool { return e.Cat == "user_annotation" })
		if got, want := annotations[0].Name, "execute_100_context_1(sq100sk100sqsq10000sqsk10000)_generation_0(sq0sk0sqsq0sqsk0)"; got != want {
			t.Errorf("first step %s; want %s", got, want)
		}
		if got, want := annotations[len(annotations)-1].Name, "execute_0_context_0(sq0sk0sqsq0sqsk0)_generation_0(sq0sk0sqsq0sqsk0)"; got != want {
			t.Errorf("last step %s; want %s", got, want)
		}
		for i, s := range steps {
			if annotations[i].from != s.Began || annotations[i].to != s.DeviceEnded {
				t.Errorf("step %+v is shown as %+v", s, annotations[i])
			}
		}
		if n := len(tr.where(func(e *event) bool { return strings.Contains(e.Cat, "kernel") || strings.Contains(e.Cat, "cuda") })); n != 0 {
			t.Errorf("%d device rows", n)
		}
		if string(tr.fields["deviceProperties"]) != "[]" {
			t.Errorf("deviceProperties %s", tr.fields["deviceProperties"])
		}
	})
}

// outline is a trace's text, its rows' layout included, without what differs from run to run.
func outline(text string) []string {
	for _, r := range []struct{ old, new string }{
		{`"(?:[^"\\]|\\.)*"(: )`, "$0"},
		{`: "[^"]*"`, `: "..."`},
		{`\["0", "32", "0"\]`, "[...]"},
		{`"pg_config": \[\{.*?\}\]`, `"pg_config": [...]`},
		{`-?\d+(\.\d{3})`, "N.NNN"},
		{`\b\d+\b`, "N"},
		{`"ERROR": \[.*?\],`, ""},
	} {
		text = regexp.MustCompile(r.old).ReplaceAllString(text, r.new)
	}
	var out []string
	for _, row := range strings.Split(text, "\n  {\n") {
		if row = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(row), ",")); len(out) == 0 || !slices.Contains(out, row) {
			out = append(out, row)
		}
	}
	return out
}

// The exporter's layout, down to blanks and line breaks, is that of a real trace.
func TestTraceIsLaidOutLikeARealOne(t *testing.T) {
	real, err := os.ReadFile(filepath.Join("testdata", "traces", "cpu-excerpt.json"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := Config{Device: CPU, ProfileDir: t.TempDir()}
		s := newServer(t, c)
		defer s.Close()
		bracket(t, s, "", fourRequests)
		files := traces(t, c.ProfileDir)
		tr := files[slices.IndexFunc(files, func(tr *traceFile) bool { return strings.HasPrefix(tr.name, "rank0.") })]
		got, want := outline(tr.raw), outline(string(real))
		if !slices.Equal(got, want) {
			t.Errorf("laid out as\n%s\nwant\n%s", strings.Join(got, "\n----\n"), strings.Join(want, "\n----\n"))
		}
	})
}

func TestGaudiTraceIsTrueToTheSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Device: Gaudi, MaxModelLen: 256, PromptBatch: 2, CompileTime: 50 * ms, HardwareTrace: true, Ranks: 2, ProfileDir: t.TempDir()}
		s := newServer(t, c)
		defer s.Close()
		// Before the profiler starts: rows that the first file holds and that are none of its business.
		fourRequests(s)
		time.Sleep(20 * ms)
		before := s.Steps()
		steps := bracket(t, s, "", loadOf(completion(ids(5, 100), 4), completion(ids(6, 60), 3), completion(ids(7, 180), 2)))
		files := traces(t, c.ProfileDir)
		if len(files) != 2 {
			t.Fatalf("%d files; want one a rank", len(files))
		}
		for rank, tr := range files {
			if !regexp.MustCompile(`^vllm\.\d{18}\.pt\.trace\.json\.gz$`).MatchString(tr.name) {
				t.Errorf("file %s", tr.name)
			}
			if !slices.IsSorted(tr.keys) || strings.Count(tr.raw, "\n") != 0 {
				t.Errorf("%s: keys %q", tr.name, tr.keys)
			}
			var info struct{ Rank int }
			if err := json.Unmarshal(tr.fields["distributedInfo"], &info); err != nil || info.Rank != rank {
				t.Errorf("distributedInfo %s; want rank %d", tr.fields["distributedInfo"], rank)
			}
		}
		tr := files[0]
		phases := tr.where(func(e *event) bool { return e.Cat == "" && e.Ph == "X" && (e.Name == Prefill || e.Name == Decode) })
		all := append(slices.Clone(before), steps...)
		if len(phases) != len(all) {
			t.Fatalf("%d phase rows; want %d", len(phases), len(all))
		}
		counters := tr.where(func(e *event) bool { return e.Ph == "C" && e.args["engine_iteration"] != nil })
		forwards := tr.where(func(e *event) bool { return strings.HasPrefix(e.Name, "model_forward_") })
		compiled, compiles := time.Duration(0), 0
		for i, s := range all {
			p := phases[i]
			if p.Name != s.Phase || p.from != s.Began || p.to != s.Dispatched || p.Tid != "3" {
				t.Errorf("row %+v of step %+v", p, s)
			}
			f := forwards[i]
			if want := fmt.Sprintf("model_forward_bs%d_seq%d_ctx%d_graphsT", s.Bucket.Batch, s.Bucket.Seq, s.Bucket.Blocks); f.Name != want || f.from < p.from || f.to > p.to {
				t.Errorf("forward %+v of step %+v; want %s inside", f, s, want)
			}
			n := counters[i]
			if lead := s.Began - n.from; lead < 0 || lead > int64(ms) {
				t.Errorf("counter %d comes %d ns before its step", i, lead)
			}
			phase, batch := "prompt", s.Prompts
			if s.Phase == Decode {
				phase, batch = "decode", s.Sequences
			}
			if fmt.Sprint(n.args[phase+"_batch_size"]) != fmt.Sprint(batch) || fmt.Sprint(n.args[phase+"_bucket_batch_size"]) != fmt.Sprint(s.Bucket.Batch) {
				t.Errorf("counter %v of step %+v", n.args, s)
			}
			if s.Phase == Prefill {
				tokens, _ := n.args["prompt_batch_token_utilization"].(json.Number).Float64()
				if got := tokens * float64(s.Bucket.Batch*s.Bucket.Seq); got < float64(s.PromptTokens)-0.01 || got > float64(s.PromptTokens)+0.01 {
					t.Errorf("counter says %.2f real tokens; want %d", got, s.PromptTokens)
				}
			}
			compiled += s.Compile
			if s.Compile > 0 {
				compiles++
			}
		}
		rows := tr.where(func(e *event) bool { return strings.HasPrefix(e.Name, "GRAPH COMPILE: ") })
		if got := time.Duration(covered(rows)); len(rows) != compiles || got != compiled || compiles == 0 {
			t.Errorf("%d compiles of %v; want %d of %v", len(rows), got, compiles, compiled)
		}
		window := tr.where(func(e *event) bool { return e.Cat == "Trace" })[0]
		if window.from > steps[0].Began || window.from < before[len(before)-1].Ended {
			t.Errorf("window from %d", window.from)
		}
		device := tr.where(func(e *event) bool { return e.Pid == "0" && e.Ph == "X" })
		for _, s := range steps {
			var mine []event
			for _, e := range device {
				if e.from >= s.DeviceBegan && e.to <= s.DeviceEnded {
					mine = append(mine, e)
				}
			}
			if got, want := covered(mine), s.DeviceEnded-s.DeviceBegan; got != want {
				t.Errorf("step %d: device busy for %d ns; want %d", s.Number, got, want)
			}
		}
		expectProtocol(t, tr, steps)
		expectNesting(t, phases)
		if n := len(files[1].where(func(e *event) bool { return e.Name == Prefill || e.Name == Decode || e.Ph == "C" })); n != 0 {
			t.Errorf("rank 1 has %d rows that only the first rank writes", n)
		}
		if n := len(files[1].where(func(e *event) bool { return e.Name == "model_executable" })); n != len(steps)+len(before) {
			t.Errorf("rank 1 has %d model_executable rows; want %d", n, len(steps)+len(before))
		}

		// A second session's file holds its own rows only.
		more := bracket(t, s, "", loadOf(completion(ids(8, 100), 2)))
		again := traces(t, c.ProfileDir)
		last := again[len(again)-2]
		if n := len(last.where(func(e *event) bool { return e.Name == Prefill || e.Name == Decode })); n != len(more) {
			t.Errorf("the second file has %d steps; want %d", n, len(more))
		}
	})
}

// expectProtocol pairs launches with the waits for them: each compute launch ends with its step's device work.
func expectProtocol(t *testing.T, tr *traceFile, steps []Step) {
	t.Helper()
	type span struct{ from, to int64 }
	open := make(map[string][]event)
	var launches, waits []span
	handles := make(map[string]int64)
	depth := 0
	for _, e := range slices.SortedStableFunc(slices.Values(tr.where(func(e *event) bool { return e.Ph == "B" || e.Ph == "E" })), func(a, b event) int { return cmp.Compare(a.from, b.from) }) {
		thread := e.Pid + "/" + e.Tid
		if e.Ph == "B" {
			open[thread] = append(open[thread], e)
			depth++
			continue
		}
		stack := open[thread]
		if len(stack) == 0 || stack[len(stack)-1].Name != e.Name {
			t.Fatalf("end of %s without its begin", e.Name)
		}
		b := stack[len(stack)-1]
		open[thread] = stack[:len(stack)-1]
		depth--
		handle, stream := fmt.Sprint(b.args["eventHandle"]), fmt.Sprint(b.args["streamName"])
		if stream != "STREAM_TYPE_COMPUTE" {
			continue
		}
		switch b.Name {
		case "synLaunchWithExternalEvents":
			handles[handle] = b.from
			launches = append(launches, span{b.from, e.from})
		case "synEventSynchronize":
			waits = append(waits, span{handles[handle], e.from})
		}
	}
	if depth != 0 || len(launches) != len(steps) || len(waits) != len(steps) {
		t.Fatalf("%d left open, %d launches, %d waits; want 0, %d, %d", depth, len(launches), len(waits), len(steps), len(steps))
	}
	for i, s := range steps {
		if waits[i].to != s.DeviceEnded || waits[i].from < s.Began || waits[i].from > s.Dispatched {
			t.Errorf("step %d: work from %d to %d; want from inside [%d, %d] to %d", s.Number, waits[i].from, waits[i].to, s.Began, s.Dispatched, s.DeviceEnded)
		}
	}
}

func TestProfilerStopsByItselfAfterItsIterations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{ProfileDir: t.TempDir()}
		s := newServer(t, c)
		defer s.Close()
		early := 0
		steps := bracket(t, s, `{"profile_prefix":"three","delay_iterations":2,"max_iterations":3}`, func(s *Server) {
			fourRequests(s)
			early = len(traces(t, c.ProfileDir))
		})
		if early != 1 {
			t.Errorf("%d files before the stop; want the worker's", early)
		}
		tr := traces(t, c.ProfileDir)
		if len(tr) != 2 {
			t.Fatalf("%d files; want 2", len(tr))
		}
		worker := tr[slices.IndexFunc(tr, func(tr *traceFile) bool { return strings.Contains(tr.name, "rank0") })]
		annotations := worker.where(func(e *event) bool { return e.Cat == "user_annotation" })
		if len(annotations) != 3 || annotations[0].from != steps[2].Began {
			t.Errorf("%d steps from %d; want 3 from %d", len(annotations), annotations[0].from, steps[2].Began)
		}
	})
}

func TestEngineStandsStillWhileTheProfilerStops(t *testing.T) {
	for name, c := range map[string]Config{"engine": {}, "fixed": {FirstToken: 5 * ms, BetweenTokens: 5 * ms}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.ProfileDir, c.ProfileStop = t.TempDir(), time.Second
				s := newServer(t, c)
				defer s.Close()
				if w := post(t.Context(), s, "/start_profile", ""); w.Code != 200 {
					t.Fatal(w.Code)
				}
				var group sync.WaitGroup
				group.Go(func() { post(context.Background(), s, "/v1/completions", completion(ids(1, 20), 40)) })
				time.Sleep(50 * ms)
				stopped := s.clock.now()
				group.Go(func() { post(context.Background(), s, "/stop_profile", "") })
				time.Sleep(100 * ms)
				group.Go(func() { post(context.Background(), s, "/v1/completions", completion(ids(2, 20), 1)) })
				health := httptest.NewRecorder()
				s.Handler().ServeHTTP(health, httptest.NewRequest("GET", "/health", nil))
				if health.Code != 200 {
					t.Errorf("/health answered %d while the profiler stopped", health.Code)
				}
				if len(s.Requests()) != 0 {
					t.Error("a request was finished while the engine stood still")
				}
				group.Wait()
				logs := s.Requests()
				var gap int64
				for _, l := range logs {
					for i := 1; i < len(l.Tokens); i++ {
						gap = max(gap, l.Tokens[i].Computed-l.Tokens[i-1].Computed)
					}
				}
				if d := time.Duration(gap); d < time.Second || d > time.Second+20*ms {
					t.Errorf("the longest gap is %v; want about a second", d)
				}
				for _, l := range logs {
					if len(l.Tokens) == 1 && l.Tokens[0].Computed < stopped+int64(time.Second) {
						t.Errorf("the second request's token came %v after the stop", time.Duration(l.Tokens[0].Computed-stopped))
					}
				}
			})
		})
	}
}

func TestStartIsStrictAboutItsBody(t *testing.T) {
	s := newServer(t, quick(Config{ProfileDir: t.TempDir()}))
	defer s.Close()
	for body, want := range map[string]string{
		`{"max_iterations":"3"}`:   "'type': 'int_type', 'loc': 'body.max_iterations'",
		`{"delay_iterations":1.5}`: "'type': 'int_type', 'loc': 'body.delay_iterations'",
		`{"profile_prefix":5}`:     "'type': 'string_type', 'loc': 'body.profile_prefix'",
		`{"profiler_kwargs":[]}`:   "'type': 'dict_type', 'loc': 'body.profiler_kwargs'",
		`{"profile_prefix":""}`:    "profile_prefix must be",
		`{"delay_iterations":-1}`:  "delay_iterations must be",
	} {
		if w := post(t.Context(), s, "/start_profile", body); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s; want 400 and %s", body, w.Code, w.Body, want)
		}
	}
	if w := post(t.Context(), s, "/start_profile", `{"profile_prefix":"a.b-c_1","max_iterations":null}`); w.Code != 200 {
		t.Errorf("a sound body: %d %s", w.Code, w.Body)
	}
}

func TestProfileFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, quick(Config{ProfileDir: filepath.Join(file, "sub")}))
	defer s.Close()
	post(t.Context(), s, "/start_profile", "")
	if w := post(t.Context(), s, "/stop_profile", ""); w.Code != 500 {
		t.Errorf("stop answered %d; want 500", w.Code)
	}
	if w := post(t.Context(), s, "/start_profile", ""); w.Code != 200 {
		t.Errorf("the next start answered %d; want 200", w.Code)
	}
}
