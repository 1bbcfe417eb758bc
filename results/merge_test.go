package results_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

const (
	ms    = time.Millisecond
	began = results.Moment(1_767_323_045_000_000_000)
)

// openLoop is a made-up run of n requests on schedule, with warm-ups, probes and failures of several kinds.
func openLoop(n int) []results.Record {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	var recs []results.Record
	due := began
	for i := range n {
		due = due.Add(time.Duration(rng.ExpFloat64() * float64(20*ms)))
		recs = append(recs, made(rng, i, due))
	}
	for i := range 4 {
		warm := made(rng, i, began.Add(-time.Duration(i+1)*300*ms))
		warm.Kind = results.Warmup
		probe := made(rng, i, began.Add(time.Duration(i)*200*ms))
		probe.Kind = results.Probe
		recs = append(recs, warm, probe)
	}
	return inOrder(recs)
}

// closedLoop is a made-up run of users who each wait for their reply.
func closedLoop(n, users int) []results.Record {
	rng := rand.New(rand.NewPCG(2, uint64(n)))
	var recs []results.Record
	free := make([]results.Moment, users)
	for i := range n {
		u := i % users
		rec := made(rng, i, max(free[u], began))
		rec.User, rec.Turn = u, i/users
		free[u] = end(&rec).Add(5 * ms)
		recs = append(recs, rec)
	}
	return inOrder(recs)
}

func inOrder(recs []results.Record) []results.Record {
	slices.SortFunc(recs, func(a, b results.Record) int {
		if x, y := end(&a), end(&b); x != y {
			return int(x - y)
		}
		return a.ID - b.ID
	})
	return recs
}

// end is when a request was over, by whatever stamp it has.
func end(r *results.Record) results.Moment {
	switch n := len(r.Chunks); {
	case r.Done != 0:
		return r.Done
	case n > 0:
		return r.Chunks[n-1].At
	case r.Dispatched != 0:
		return r.Dispatched
	}
	return r.Due
}

// made is one request: most succeed, some fail in one way or another.
func made(rng *rand.Rand, id int, due results.Moment) results.Record {
	wait := func(mean time.Duration) time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
	r := results.Record{
		ID: id, Kind: results.Load, RequestID: fmt.Sprintf("run-%d", id), Model: "m", InputTokens: 100 + rng.IntN(50), AskedTokens: 16,
		AudioSeconds: float64(rng.IntN(1000)) / 7, Due: due, Reply: results.Reply{OutputTokens: -1},
	}
	r.Released = due.Add(wait(50 * time.Microsecond))
	if id%31 == 30 {
		r.Failure = &results.Failure{Class: results.FailRequest, Message: "cannot be worded"}
		return r
	}
	r.Dispatched = r.Released.Add(wait(2 * ms))
	r.Encoding = wait(ms)
	r.WriteBegan = r.Dispatched.Add(wait(ms))
	r.Written = r.WriteBegan.Add(wait(ms))
	if id%17 == 16 {
		r.Done = r.Written.Add(wait(10 * ms))
		r.Status, r.Failure = 500, &results.Failure{Class: results.FailStatus, Message: fmt.Sprintf("status 500: reason %d", id%5)}
		return r
	}
	r.Status = 200
	r.Headers = r.Written.Add(wait(5 * ms))
	at := r.Headers
	for i := range 1 + rng.IntN(24) {
		at = at.Add(wait(15 * ms))
		r.Chunks = append(r.Chunks, results.Chunk{At: at, Lag: wait(20 * time.Microsecond), Tokens: 1, Visible: i > 0, Shared: rng.IntN(20) == 0})
	}
	if id%23 == 22 {
		r.Failure = &results.Failure{Class: results.FailCut, Message: "the connection ended"}
		return r
	}
	r.Done, r.Finish, r.EndMarked = at.Add(wait(ms)), "length", true
	if id%3 == 0 {
		r.Usage = &results.Usage{Prompt: r.InputTokens + 1, Completion: len(r.Chunks) + rng.IntN(2), Cached: rng.IntN(3) - 1}
	} else {
		r.OutputTokens = len(r.Chunks)
	}
	r.Text = strings.Repeat("word ", rng.IntN(3))
	if rng.IntN(2) == 0 {
		queue := wait(ms)
		r.ServerQueue = &queue
	}
	return r
}

// manifest is that of the whole run.
func manifest(basis results.Basis, recs []results.Record) results.Manifest {
	m := results.Manifest{
		Tool: "servebench test", Scenario: json.RawMessage(`{"name":"x","load":{"rate":8}}`), Seed: 3, Basis: basis, Stamps: "kernel", Created: began.Add(-5 * time.Second),
		Settings: results.Settings{
			Backend: "vllm", Endpoint: "/v1/completions", BaseURL: "http://server:8000", Model: "m", ModelID: "m", Tokenizer: "m", NumPrompts: len(recs),
			RequestRate: 50, Burstiness: 1, Metrics: []string{"ttft", "tpot", "itl", "e2el"}, Percentiles: []float64{50, 99},
			Goodput: []results.Objective{{Metric: "ttft", MS: 30}, {Metric: "e2el", MS: 400}}, Date: "20260102-030405", Detailed: true,
		},
		Machine: results.Machine{Host: "client", Cores: 8, OS: "linux", Arch: "amd64", Go: "go"}, Began: began,
		Server: results.Server{Version: "0.33.0"}, Prompts: results.Prompts{Method: "tokenizer"}, Warnings: []string{"the disk is slow"},
	}
	for i := range recs {
		if recs[i].Kind == results.Load {
			m.Ended = max(m.Ended, end(&recs[i]))
		}
	}
	return m
}

// write makes a run folder.
func write(t testing.TB, dir string, m results.Manifest, recs []results.Record, has func(i int, r *results.Record) bool) string {
	t.Helper()
	w, err := results.Create(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if has == nil || has(i, &recs[i]) {
			if err := w.Record(&recs[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{results.MetricsBefore, results.MetricsAfter} {
		page := "vllm:spec_decode_num_drafts_total 10\nvllm:spec_decode_num_draft_tokens_total 30\nvllm:spec_decode_num_accepted_tokens_total 20\n"
		if name == results.MetricsAfter {
			page = strings.ReplaceAll(page, "0\n", "7\n")
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

// deal writes the shards of a run and returns their folders.
func deal(t testing.TB, m results.Manifest, recs []results.Record, n int) []string {
	t.Helper()
	var dirs []string
	for k := range n {
		part := m
		part.Shard = &results.Shard{K: k, N: n}
		if k > 0 { // they are a little apart
			part.Created = part.Created.Add(ms)
			part.Began = part.Began.Add(ms)
			part.Ended = part.Ended.Add(-ms)
			part.Settings.Date = "20260102-030406"
		}
		dirs = append(dirs, write(t, filepath.Join(t.TempDir(), fmt.Sprintf("shard-%d", k)), part, recs, func(i int, r *results.Record) bool {
			if r.Kind != results.Load {
				return i%n == k
			}
			return r.ID%n == k
		}))
	}
	return dirs
}

// reports are everything that reports say of a run, and its records as they stand in the file.
func reports(t testing.TB, dir string) map[string]string {
	t.Helper()
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if problems := run.Verify(); problems != nil {
		t.Errorf("%s: %q", dir, problems)
	}
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, format := range report.Formats() {
		var b bytes.Buffer
		if err := report.Write(&b, format, s, run.Records()); err != nil {
			t.Fatal(err)
		}
		all[format] = b.String()
	}
	all["vllm result"] = string(report.VLLMJSON(s))
	var records strings.Builder
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		records.Write(append(line, '\n'))
	}
	all["records"] = records.String()
	return all
}

func TestMergedRunIsTheWholeRun(t *testing.T) {
	for _, loop := range []struct {
		name string
		recs []results.Record
	}{{"open loop", openLoop(160)}, {"closed loop", closedLoop(120, 13)}, {"fewer requests than shards", openLoop(5)}} {
		for _, basis := range []results.Basis{results.Service, results.VLLM} {
			m := manifest(basis, loop.recs)
			want := reports(t, write(t, filepath.Join(t.TempDir(), "whole"), m, loop.recs, nil))
			for _, n := range []int{1, 2, 3, 7, 16} {
				out := filepath.Join(t.TempDir(), "merged")
				dirs := deal(t, m, loop.recs, n)
				rand.Shuffle(n, func(i, j int) { dirs[i], dirs[j] = dirs[j], dirs[i] })
				merged, err := results.Merge(out, dirs, results.MergeOptions{})
				if err != nil {
					t.Fatalf("%s, %d shards: %v", loop.name, n, err)
				}
				if len(merged.Notes) > 0 || merged.Manifest.Merge.N != n || len(merged.Manifest.Merge.Shards) != n {
					t.Errorf("%s, %d shards: %q, %+v", loop.name, n, merged.Notes, merged.Manifest.Merge)
				}
				got := reports(t, out)
				for _, format := range append(report.Formats(), "vllm result", "records") {
					if got[format] != want[format] {
						t.Errorf("%s on the %s basis, %d shards: %s differs (-one process +merged):\n%s", loop.name, basis, n, format, cmp.Diff(want[format], got[format]))
					}
				}
			}
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	recs := openLoop(40)
	whole := manifest(results.Service, recs)
	for _, tc := range []struct {
		name    string
		change  func(k int, m *results.Manifest)
		leave   int
		options results.MergeOptions
		wants   []string
	}{
		{"a missing shard", nil, 2, results.MergeOptions{}, []string{"shard 2/4 is missing", "--allow-missing"}},
		{"another seed", func(k int, m *results.Manifest) { m.Seed += int64(k / 3) }, -1, results.MergeOptions{}, []string{"shard 0/4", "shard 3/4", "the seed is 3 in one, 4 in the other"}},
		{"another scenario", func(k int, m *results.Manifest) {
			if k == 1 {
				m.Scenario = json.RawMessage(`{"name":"x","load":{"rate":9}}`)
			}
		}, -1, results.MergeOptions{}, []string{"shard 1/4", "the scenario's load.rate is 8 in one, 9 in the other"}},
		{"another version", func(k int, m *results.Manifest) {
			if k == 1 {
				m.Tool, m.Server.Version = "servebench v2", "0.34.0"
			}
		}, -1, results.MergeOptions{}, []string{"the version of servebench is servebench test in one, servebench v2 in the other", "the server's version is 0.33.0 in one, 0.34.0 in the other"}},
		{"another way of making prompts", func(k int, m *results.Manifest) {
			if k == 1 {
				m.Prompts.Method = "ids"
			}
		}, -1, results.MergeOptions{}, []string{"how prompts were made is tokenizer in one, ids in the other"}},
		{"another number", func(k int, m *results.Manifest) {
			if k == 1 {
				m.Shard.N = 5
			}
		}, -1, results.MergeOptions{}, []string{"shard 0/4", "shard 1/5", "are not shards of one run"}},
		{"one twice", func(k int, m *results.Manifest) {
			if k == 3 {
				m.Shard.K = 2
			}
		}, -1, results.MergeOptions{AllowMissing: true}, []string{"shard 2/4 is given twice"}},
		{"a wrong number", func(k int, m *results.Manifest) {
			if k == 3 {
				m.Shard.K = 9
			}
		}, -1, results.MergeOptions{}, []string{"says that it is shard 9/4, which there is not"}},
		{"no shard", func(k int, m *results.Manifest) {
			if k == 0 {
				m.Shard = nil
			}
		}, -1, results.MergeOptions{}, []string{"is no shard: one process recorded the whole run"}},
		{"a late shard", func(k int, m *results.Manifest) {
			m.Shard.StartAt = began
			if k == 2 {
				m.Shard.Late = 1500 * ms
			}
		}, -1, results.MergeOptions{}, []string{"shard 2/4", "came 1.5s too late for the common start", "--allow-late"}},
		{"another start", func(k int, m *results.Manifest) { m.Shard.StartAt = began.Add(time.Duration(k/3) * time.Minute) }, -1,
			results.MergeOptions{}, []string{"shard 0/4", "shard 3/4", "were to begin at different moments: 2026-01-02T03:04:05Z and 2026-01-02T03:05:05Z"}},
		{"requests of others", func(k int, m *results.Manifest) {
			switch k {
			case 0:
				m.Shard.K = 1
			case 1:
				m.Shard.K = 0
			}
		}, -1, results.MergeOptions{}, []string{"which is not one of shard"}},
	} {
		var dirs []string
		for k := range 4 {
			if k == tc.leave {
				continue
			}
			m := whole
			m.Shard = &results.Shard{K: k, N: 4}
			if tc.change != nil {
				tc.change(k, &m)
			}
			dirs = append(dirs, write(t, filepath.Join(t.TempDir(), fmt.Sprintf("s%d", k)), m, recs, func(_ int, r *results.Record) bool { return r.ID%4 == k }))
		}
		out := filepath.Join(t.TempDir(), "out")
		_, err := results.Merge(out, dirs, tc.options)
		if err == nil {
			t.Errorf("%s was merged", tc.name)
			continue
		}
		for _, want := range tc.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", tc.name, err, want)
			}
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: the refused merge left a folder", tc.name)
		}
	}
	if _, err := results.Merge(filepath.Join(t.TempDir(), "out"), []string{"nowhere/a", "nowhere/b"}, results.MergeOptions{}); err == nil ||
		!strings.Contains(err.Error(), "nowhere/a is no run folder") || !strings.Contains(err.Error(), "nowhere/b is no run folder") {
		t.Errorf("folders that are none: %v", err)
	}
}

func TestMergeTakesTheSameRequestOnlyOnce(t *testing.T) {
	recs := openLoop(8)
	m := manifest(results.Service, recs)
	m.Shard = &results.Shard{K: 0, N: 1}
	dir := write(t, filepath.Join(t.TempDir(), "s"), m, slices.Concat(recs, recs), nil)
	if _, err := results.Merge(filepath.Join(t.TempDir(), "out"), []string{dir}, results.MergeOptions{}); err == nil || !strings.Contains(err.Error(), "which was there already") {
		t.Errorf("a request that was recorded twice: %v", err)
	}
}

// cutOff takes the last segment away from a run, as if its process had been killed.
func cutOff(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, results.RecordsName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:bytes.LastIndex(b, []byte{0x5B, 0x2A, 0x4D, 0x18})]
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, results.ManifestFile)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var m results.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	m.Outcome, m.Records, m.Ended = "", nil, 0
	text, _ = json.Marshal(m)
	if err := os.WriteFile(name, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestMergeWhatThereIs(t *testing.T) {
	recs := openLoop(40)
	dirs := deal(t, manifest(results.Service, recs), recs, 4)
	cutOff(t, dirs[1])
	given := []string{dirs[0], dirs[1], dirs[3]}
	_, err := results.Merge(filepath.Join(t.TempDir(), "out"), given, results.MergeOptions{})
	for _, want := range []string{"shard 2/4 is missing", "shard 1/4", "is not whole: the run ended without its last line"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	merged, err := results.Merge(out, given, results.MergeOptions{AllowMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	if o, reason := merged.Manifest.Outcome, merged.Manifest.Reason; o != results.Interrupted || !strings.Contains(reason, "shard 1/4: it ended without saying how") {
		t.Errorf("outcome %q, %q", o, reason)
	}
	run, err := results.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	if want := "shard 2/4 is missing; shard 1/4"; s.Complete || !strings.HasPrefix(s.Why, want) || !strings.HasPrefix(s.Warnings[0], want) {
		t.Errorf("complete %t: %q, %q", s.Complete, s.Why, s.Warnings)
	}
	want := 0
	for i := range recs {
		if r := &recs[i]; r.Kind == results.Load && r.ID%4 != 2 {
			want++
		}
	}
	if s.Requests != want {
		t.Errorf("%d requests, want %d", s.Requests, want)
	}
}

func TestMergeAllowLate(t *testing.T) {
	recs := openLoop(10)
	m := manifest(results.Service, recs)
	var dirs []string
	for k := range 2 {
		part := m
		part.Shard = &results.Shard{K: k, N: 2, StartAt: began, Late: time.Duration(k) * 20 * ms}
		dirs = append(dirs, write(t, filepath.Join(t.TempDir(), fmt.Sprint(k)), part, recs, func(_ int, r *results.Record) bool { return r.ID%2 == k }))
	}
	merged, err := results.Merge(filepath.Join(t.TempDir(), "out"), dirs, results.MergeOptions{AllowLate: true})
	if err != nil {
		t.Fatal(err)
	}
	if w := merged.Manifest.Warnings; len(w) != 2 || !strings.Contains(w[1], "shard 1/2") || !strings.Contains(w[1], "came 20ms too late") {
		t.Errorf("warnings %q", w)
	}
}

func TestMergedManifest(t *testing.T) {
	second := time.Second
	offset := func(reference string, ns, within time.Duration) results.ClockOffset {
		return results.ClockOffset{Reference: reference, Offset: ns, Within: within}
	}
	shard := func(host string, cores int, cpu time.Duration, pause time.Duration, offsets ...results.ClockOffset) func(*results.Manifest) {
		return func(m *results.Manifest) {
			m.Machine.Host, m.Machine.Cores, m.Offsets = host, cores, offsets
			steal, drops := cpu, int64(cpu/second)
			m.Client = &results.Client{CPU: &cpu, Cores: 8, GCPauseMax: &pause, Steal: &steal, PacketDrops: &drops, CPUWait: &pause,
				Pressure: map[string]float64{"cpu": cpu.Seconds() / 10}, ReceiveQueue: &results.ReceiveQueue{Looks: 5, Waiting: 1, Most: int(cpu / second)},
				Canary: &results.Canary{Requests: 2, Events: 9, TTFT: &results.Error{P50: cpu, P99: pause, Max: second}}}
		}
	}
	recs := openLoop(33)
	var dirs []string
	for k, change := range []func(*results.Manifest){
		shard("a", 8, second, 2*ms, offset("utc", 0, ms), offset("far", 0, second)),
		shard("a", 8, 2*second, 3*ms, offset("utc", ms, ms)),
		shard("b", 16, 4*second, ms, offset("utc", -6*ms, ms), offset("far", 0, second)),
	} {
		m := manifest(results.Service, recs)
		m.Shard = &results.Shard{K: k, N: 3}
		change(&m)
		switch k {
		case 0:
			m.Warnings = []string{"odd", "common"}
		case 1:
			m.Warnings = []string{"common"}
			m.Profile = &results.Profile{Kind: "vllm", Start: results.Call{Sent: 5}}
		case 2:
			m.Warnings, m.Settings.BaseURL = []string{"common"}, "http://other"
		}
		dir := filepath.Join(t.TempDir(), fmt.Sprint(k))
		if err := os.MkdirAll(filepath.Join(dir, "traces", "rank0"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "traces", "rank0", "t.json"), fmt.Append(nil, "trace of ", k), 0o666); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, write(t, dir, m, recs, func(_ int, r *results.Record) bool { return r.Kind == results.Load && r.ID%3 == k }))
	}
	out := filepath.Join(t.TempDir(), "out")
	merged, err := results.Merge(out, dirs, results.MergeOptions{
		Doubts: func(m *results.Manifest) []string {
			if m.Shard.K == 2 {
				return []string{"busy"}
			}
			return nil
		},
		Judge: func(_ *results.Manifest, requests, failed int, example string) (results.Outcome, string) {
			return results.Failed, fmt.Sprintf("%d of %d %s", failed, requests, example)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := merged.Manifest
	if c := m.Client; *c.CPU != 7*second || c.Cores != 16 || *c.GCPauseMax != 3*ms || c.GCPauses != nil {
		t.Errorf("client: %v on %d, pause %v, pauses %v", *c.CPU, c.Cores, *c.GCPauseMax, c.GCPauses)
	}
	// On machine a the two shards saw the same two seconds stolen; on b there were four.
	if c := m.Client; *c.Steal != 6*second || *c.PacketDrops != 6 || *c.CPUWait != 6*ms || c.Retransmits != nil || c.Pressure["cpu"] != 0.4 {
		t.Errorf("machines: steal %v, drops %d, wait %v, retransmits %v, pressure %v", *c.Steal, *c.PacketDrops, *c.CPUWait, c.Retransmits, c.Pressure)
	}
	if diff := cmp.Diff(&results.Canary{Requests: 6, Events: 27, TTFT: &results.Error{P50: 4 * second, P99: 3 * ms, Max: second}}, m.Client.Canary); diff != "" {
		t.Errorf("canary (-want +got):\n%s", diff)
	}
	if got, want := *m.Client.ReceiveQueue, (results.ReceiveQueue{Looks: 15, Waiting: 3, Most: 4}); got != want {
		t.Errorf("receive queues %+v, want %+v", got, want)
	}
	if m.Machine.Host != "a, b" || m.Machine.Cores != 24 {
		t.Errorf("machine %+v", m.Machine)
	}
	if m.Profile == nil || m.Profile.Start.Sent != 5 {
		t.Errorf("profile %+v", m.Profile)
	}
	if b, err := os.ReadFile(filepath.Join(out, "traces", "rank0", "t.json")); string(b) != "trace of 1" {
		t.Errorf("trace %q, %v", b, err)
	}
	if m.Outcome != results.Failed || m.Reason != "3 of 33 status 500: reason 1" {
		t.Errorf("outcome %q %q", m.Outcome, m.Reason)
	}
	want := []string{
		"shard 0/3: odd", "common", "shard 2/3: busy",
		"the shards went to different addresses, and perhaps to different servers: http://other, http://server:8000",
		"the clocks of the shards' machines differ by at least 4ms, by utc; that moves arrivals against each other, and what was in flight at once; it moves no latency",
	}
	if diff := cmp.Diff(want, m.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if m.Merge.ClockReference != "utc" || *m.Merge.ClockDifference != 8*ms || len(merged.Notes) != 1 || !strings.Contains(merged.Notes[0], "differ by at most 8ms, by utc") {
		t.Errorf("clocks: %q %v, %q", m.Merge.ClockReference, *m.Merge.ClockDifference, merged.Notes)
	}
}

func TestCompact(t *testing.T) {
	recs := openLoop(300)
	dir := write(t, filepath.Join(t.TempDir(), "run"), manifest(results.Service, recs), recs, nil)
	if err := os.WriteFile(filepath.Join(dir, "server.log"), []byte("up"), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "compacted")
	merged, err := results.Compact(out, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := reports(t, out), reports(t, dir); !cmp.Equal(got, want) {
		t.Errorf("reports differ:\n%s", cmp.Diff(want, got))
	}
	if b, err := os.ReadFile(filepath.Join(out, "server.log")); string(b) != "up" {
		t.Errorf("server.log is %q, %v", b, err)
	}
	if merged.Manifest.Records.Count != len(recs) {
		t.Errorf("%d records, want %d", merged.Manifest.Records.Count, len(recs))
	}
	if _, err := results.Compact(out, dir); err == nil || !strings.Contains(err.Error(), "holds a run already") {
		t.Errorf("a folder in use: %v", err)
	}
	cutOff(t, dir)
	if _, err := results.Compact(filepath.Join(t.TempDir(), "again"), dir); err == nil || !strings.Contains(err.Error(), "without its last line") {
		t.Errorf("a run that died: %v", err)
	}
}

func FuzzDifferences(f *testing.F) {
	f.Add(`{"a":[1,2,{"b":null}],"c":"x"}`, `{"a":[1,2,{"b":1}]}`)
	f.Add(`[1]`, `{"a":1}`)
	f.Add(``, `0`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if same, err := results.Differences([]byte(a), []byte(a)); err == nil && len(same) > 0 {
			t.Errorf("%q differs from itself: %v", a, same)
		}
		ab, err1 := results.Differences([]byte(a), []byte(b))
		ba, err2 := results.Differences([]byte(b), []byte(a))
		if (err1 == nil) != (err2 == nil) || len(ab) != len(ba) {
			t.Errorf("%q, %q: %v %v, the other way %v %v", a, b, ab, err1, ba, err2)
		}
	})
}

func TestDifferences(t *testing.T) {
	got, err := results.Differences([]byte(`{"a":{"b":1.0,"c":[1,2]},"d":"x","e":[1],"f":true}`), []byte(`{"a":{"b":1.00,"c":[1,3]},"e":[1,2],"f":true,"g":null}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []results.Difference{{"a.b", "1.0", "1.00"}, {"a.c.1", "2", "3"}, {"d", `"x"`, ""}, {"e", "a list of 1", "a list of 2"}, {"g", "", "null"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// BenchmarkMerge merges eight shards of requests with 100 chunks each, and sums the run up as the command does. It stands
// for 500,000 requests, which must take less than a minute on two processors; SERVEBENCH_BENCH_REQUESTS sets their number.
func BenchmarkMerge(b *testing.B) {
	n := 20_000
	if text := os.Getenv("SERVEBENCH_BENCH_REQUESTS"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			b.Fatal(err)
		}
	}
	const shards, chunks = 8, 100
	var dirs []string
	var bytesIn int64
	for k := range shards {
		m := manifest(results.Service, nil)
		m.Shard = &results.Shard{K: k, N: shards}
		m.Ended = began.Add(time.Duration(n) * ms)
		dir := filepath.Join(b.TempDir(), fmt.Sprint(k))
		w, err := results.Create(dir, m)
		if err != nil {
			b.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(3, uint64(k)))
		for id := k; id < n; id += shards {
			r := made(rng, 0, began.Add(time.Duration(id)*ms))
			r.ID, r.RequestID = id, fmt.Sprintf("bench-%d", id)
			r.Chunks = r.Chunks[:0]
			at := r.Headers
			for range chunks {
				at = at.Add(20*ms + time.Duration(rng.NormFloat64()*float64(ms)))
				r.Chunks = append(r.Chunks, results.Chunk{At: at, Lag: time.Duration(4000 + rng.IntN(4000)), Tokens: 1, Visible: true})
			}
			r.Done = at.Add(ms)
			if err := w.Record(&r); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(results.OK, ""); err != nil {
			b.Fatal(err)
		}
		bytesIn += w.Manifest().Records.Bytes
		dirs = append(dirs, dir)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var merging time.Duration
	peak := uint64(0) // of what is alive
	for i := range b.N {
		out := filepath.Join(b.TempDir(), fmt.Sprint("out", i))
		start := time.Now()
		_, err := results.Merge(out, dirs, results.MergeOptions{Progress: func(int, int) {
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}})
		if err != nil {
			b.Fatal(err)
		}
		merging += time.Since(start)
		run, err := results.Open(out)
		if err != nil {
			b.Fatal(err)
		}
		s, err := summary.OfRun(run)
		run.Close()
		if err != nil || s.Requests != n {
			b.Fatal(s.Requests, err)
		}
	}
	requests := float64(n) * float64(b.N)
	b.ReportMetric(float64(merging.Nanoseconds())/requests, "ns/request-merged")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/requests, "ns/request")
	b.ReportMetric(float64(peak)/(1<<20), "MB-alive")
	b.ReportMetric(float64(bytesIn)/float64(n)/chunks, "B/chunk")
}
