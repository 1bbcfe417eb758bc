package scenario

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"servebench/loadgen"
	"servebench/loadgen/server"
	"servebench/loadgen/sim"
	"servebench/results"
)

// listening is the simulator behind a front that keeps what was asked, by request id.
type listening struct {
	*httptest.Server
	mu       sync.Mutex
	bodies   map[string]string
	profiler []string // its calls
}

func listen(t *testing.T, config sim.Config) *listening {
	t.Helper()
	engine, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l := &listening{bodies: map[string]string{}}
	handler := engine.Handler()
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Request-Id"); id != "" {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			l.mu.Lock()
			if earlier, twice := l.bodies[id]; twice {
				t.Errorf("request %s was sent twice: %s and %s", id, earlier, body)
			}
			l.bodies[id] = string(body)
			l.mu.Unlock()
		}
		if strings.HasSuffix(r.URL.Path, "_profile") {
			l.mu.Lock()
			l.profiler = append(l.profiler, r.URL.Path)
			l.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		l.Close()
		engine.Close()
	})
	return l
}

func init() { dateSpread = 12 * time.Millisecond }

// shardedScenario asks short random prompts.
func shardedScenario(load string) string {
	return `
name: sharded
seed: 11
model: m
tokenizer: none
dataset: {name: random, input_len: 12, output_len: 3, range_ratio: 0.5}
body: {request_id_prefix: r-}
` + load
}

func TestShardsTogetherSendWhatOneRunSends(t *testing.T) {
	for _, tc := range []struct {
		load string
		// scheduled says that every request is due at a moment that is known beforehand.
		scheduled bool
	}{
		{"load: {requests: 24, rate: 400, burstiness: 0.5}\nwarmup: {requests: 5}\n", true},
		{"load: {requests: 24, rate: 300, concurrency: 5, arrival: constant}\n", true},
		{"stages:\n  - {requests: 10, rate: 300}\n  - {requests: 7, rate: 500}\n  - {requests: 8, rate: 200}\n", true},
		{"load: {requests: 24, concurrency: 6}\n", false},
		{"stages:\n  - {requests: 10, rate: 300}\n  - {requests: 9, concurrency: 4}\n  - {requests: 8, rate: 200}\n", false},
	} {
		s, err := Parse("test.yaml", shardedScenario(tc.load))
		if err != nil {
			t.Fatal(err)
		}
		asked, recorded := carryOut(t, s, 1, tc.scheduled)
		if len(asked) == 0 || len(recorded) < len(asked) {
			t.Fatalf("%sone run: %d requests, %d records", tc.load, len(asked), len(recorded))
		}
		for _, n := range []int{2, 3} {
			shardsAsked, shardsRecorded := carryOut(t, s, n, tc.scheduled)
			if !maps.Equal(shardsAsked, asked) {
				t.Errorf("%s%d shards: asked %d requests, one run %d, or other ones", tc.load, n, len(shardsAsked), len(asked))
			}
			if !slices.Equal(shardsRecorded, recorded) {
				t.Errorf("%s%d shards recorded\n%s\none run recorded\n%s", tc.load, n, strings.Join(shardsRecorded, "\n"), strings.Join(recorded, "\n"))
			}
		}
	}
}

// carryOut is what a run of n shards asks, by request id, and records.
func carryOut(t *testing.T, s *Scenario, n int, scheduled bool) (asked map[string]string, recorded []string) {
	t.Helper()
	l := listen(t, sim.Config{Model: "m", FirstToken: time.Millisecond, BetweenTokens: time.Millisecond})
	dirs := make([]string, n)
	start := results.Moment(time.Now().UnixNano())
	var shards sync.WaitGroup
	for k := range n {
		dirs[k] = filepath.Join(t.TempDir(), fmt.Sprint(k))
		shards.Go(func() {
			if _, err := Run(t.Context(), s, Options{Dir: dirs[k], URL: l.URL, Shard: loadgen.Shard{K: k, N: n}, StartAt: start}); err != nil {
				t.Errorf("shard %d/%d: %v", k, n, err)
			}
		})
	}
	shards.Wait()
	dir := dirs[0]
	if n > 1 {
		dir = filepath.Join(t.TempDir(), "merged")
		if _, err := results.Merge(dir, dirs, results.MergeOptions{AllowLate: true}); err != nil {
			t.Fatal(err)
		}
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for r, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		due := "when its user is free"
		if scheduled && r.Kind == results.Load {
			due = time.Duration(r.Due - start).String()
		}
		recorded = append(recorded, fmt.Sprintf("%s %04d %s stage %d in %d ask %d due %s ok %t", r.Kind, r.ID, r.RequestID, r.Stage, r.InputTokens, r.AskedTokens, due, r.OK()))
	}
	slices.Sort(recorded)
	return maps.Clone(l.bodies), recorded
}

func TestShardsRefuseWhatTheyCannotDo(t *testing.T) {
	for _, tc := range []struct {
		yaml  string
		sim   bool
		wants string
	}{
		{"load: {requests: 24, concurrency: 3}\n", false, "shard 1/4: load.concurrency is 3, and each of 4 shards needs one of it"},
		{"stages: [{requests: 4, rate: 2}, {requests: 9, concurrency: 2}]\n", false, "shard 1/4: stages.1.concurrency is 2"},
		{"load: {requests: 24, rate: 5}\n", true, "shard 1/4: every shard would start a simulator of its own"},
		{"load: {requests: 24, rate: 5}\nserver: {command: vllm serve m, url: 'http://127.0.0.1:1'}\n", false, "shard 1/4: every shard would start the server"},
	} {
		s, err := Parse("test.yaml", shardedScenario(tc.yaml))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "run")
		_, err = Run(t.Context(), s, Options{Dir: dir, Sim: tc.sim, Shard: loadgen.Shard{K: 1, N: 4}})
		if err == nil || !strings.Contains(err.Error(), tc.wants) {
			t.Errorf("%s: error %v, want %q", tc.yaml, err, tc.wants)
		}
	}
}

func TestOnlyShard0Brackets(t *testing.T) {
	l := listen(t, sim.Config{Model: "m", FirstToken: time.Millisecond, BetweenTokens: time.Millisecond, Device: sim.CUDA, ProfileDir: t.TempDir()})
	s, err := Parse("test.yaml", shardedScenario("load: {requests: 8, rate: 100, probe_rate: 50}\nprofile: {optional: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for k := range 2 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(k))
		dirs = append(dirs, dir)
		if _, err := Run(t.Context(), s, Options{Dir: dir, URL: l.URL, Shard: loadgen.Shard{K: k, N: 2}}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"/start_profile", "/stop_profile"}; !slices.Equal(l.profiler, want) {
		t.Errorf("profiler calls %q, want %q", l.profiler, want)
	}
	merged := filepath.Join(t.TempDir(), "merged")
	m, err := results.Merge(merged, dirs, results.MergeOptions{AllowLate: true})
	if err != nil {
		t.Fatal(err)
	}
	if m.Manifest.Profile == nil || m.Manifest.Profile.Start.Sent == 0 {
		t.Errorf("the merged run's bracket is %+v", m.Manifest.Profile)
	}
	for k, dir := range dirs {
		run, err := results.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		probes := 0
		for rec, err := range run.Records() {
			if err == nil && rec.Kind == results.Probe {
				probes++
			}
		}
		if (probes > 0) != (k == 0) {
			t.Errorf("shard %d sent %d probes", k, probes)
		}
		run.Close()
	}
}

func TestStartWatch(t *testing.T) {
	lag := func(id int, late time.Duration) *results.Record {
		return &results.Record{ID: id, Kind: results.Load, Due: 1000, Released: results.Moment(1000).Add(late)}
	}
	for _, tc := range []struct {
		name   string
		before time.Duration
		recs   []*results.Record
		want   time.Duration
	}{
		{"in time", 0, []*results.Record{lag(4, 20*time.Microsecond), lag(8, time.Second)}, 0},
		{"known beforehand", time.Second, []*results.Record{lag(4, 2*time.Second)}, 2 * time.Second},
		{"bodies were not ready", 0, []*results.Record{lag(8, 0), lag(4, 50*time.Millisecond)}, 50 * time.Millisecond},
		{"a pause is no late start", 0, []*results.Record{lag(4, 9*time.Millisecond)}, 0},
	} {
		w := &startWatch{at: 1000, before: tc.before}
		for _, r := range tc.recs {
			w.add(r)
		}
		if got := w.late(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestDateOffset(t *testing.T) {
	const ahead = 90 * time.Second
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	}))
	defer s.Close()
	now := func() results.Moment { return results.Moment(time.Now().UnixNano()) }
	o, ok := dateOffset(t.Context(), now, server.Target{BaseURL: s.URL})
	if !ok || (o.Offset-ahead).Abs() > o.Within || o.Within > 1200*time.Millisecond {
		t.Errorf("offset %v within %v, %t; want %v", o.Offset, o.Within, ok, ahead)
	}
}

// timeServer answers as one whose clock is ahead; spoil changes the answer.
func timeServer(t *testing.T, ahead time.Duration, spoil func([]byte)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		var ask [48]byte
		for {
			_, from, err := conn.ReadFrom(ask[:])
			if err != nil {
				return
			}
			answer := make([]byte, 48)
			answer[0], answer[1] = 4<<3|4, 2
			copy(answer[24:32], ask[40:48])
			at := time.Now().Add(ahead).UnixNano()
			for _, place := range []int{32, 40} {
				binary.BigEndian.PutUint32(answer[place:], uint32(at/1e9-ntpEpoch))
				binary.BigEndian.PutUint32(answer[place+4:], uint32(uint64(at%1e9)<<32/1e9))
			}
			if spoil != nil {
				spoil(answer)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return conn.LocalAddr().String()
}

func TestNTPOffset(t *testing.T) {
	now := func() results.Moment { return results.Moment(time.Now().UnixNano()) }
	for _, ahead := range []time.Duration{0, 1234 * time.Millisecond, -40 * time.Hour} {
		o, err := ntpOffset(t.Context(), now, timeServer(t, ahead, nil))
		if err != nil || (o.Offset-ahead).Abs() > o.Within || o.Within > time.Second {
			t.Errorf("offset %v within %v, %v; want %v", o.Offset, o.Within, err, ahead)
		}
	}
	for wants, spoil := range map[string]func([]byte){
		"not one of a time server": func(b []byte) { b[0] = 4<<3 | 3 },
		"to another question":      func(b []byte) { b[24]++ },
		"does not know the time":   func(b []byte) { b[1] = 0 },
		"not know the time itself": func(b []byte) { b[0] |= 3 << 6 },
	} {
		if _, err := ntpOffset(t.Context(), now, timeServer(t, 0, spoil)); err == nil || !strings.Contains(err.Error(), wants) {
			t.Errorf("error %v, want %q", err, wants)
		}
	}
}

func TestNTPTime(t *testing.T) {
	at := func(seconds, fraction uint32) results.Moment {
		var b [8]byte
		binary.BigEndian.PutUint32(b[:], seconds)
		binary.BigEndian.PutUint32(b[4:], fraction)
		return ntpTime(b[:])
	}
	if got, want := at(3_976_311_845, 1<<31), results.Moment(1_767_323_045_500_000_000); got != want {
		t.Errorf("2026: %d, want %d", got, want)
	}
	if got, want := at(1, 0), results.Moment((1<<32+1-2_208_988_800)*1_000_000_000); got != want {
		t.Errorf("2036: %d, want %d", got, want)
	}
}

func TestJudge(t *testing.T) {
	m := &results.Manifest{Scenario: []byte(`{"objectives":{"max_failures":2}}`)}
	for _, tc := range []struct {
		requests, failed int
		want             results.Outcome
		reason           string
	}{
		{10, 2, results.OK, ""},
		{10, 3, results.Failed, "3 of 10 requests failed, 2 allowed: boom"},
		{2, 2, results.Failed, "all requests failed: boom"},
	} {
		if got, reason := Judge(m, tc.requests, tc.failed, "boom"); got != tc.want || reason != tc.reason {
			t.Errorf("%d of %d: %q %q, want %q %q", tc.failed, tc.requests, got, reason, tc.want, tc.reason)
		}
	}
}

func TestQuiet(t *testing.T) {
	for yaml, want := range map[string]time.Duration{
		"load: {requests: 4, concurrency: 2}\n":                           2 * time.Second,
		"load: {requests: 4, concurrency: 2, think: 4s}\n":                8 * time.Second,
		"load: {requests: 4, rate: 0.5}\n":                                20 * time.Second,
		"load: {requests: 4, rate: 0.01}\n":                               time.Minute,
		"load: {requests: 400, ramp: {shape: linear, from: 2, to: 50}}\n": 5 * time.Second,
	} {
		s, err := Parse("test.yaml", shardedScenario(yaml))
		if err != nil {
			t.Fatal(err)
		}
		if got := (&runner{Scenario: s}).quiet(); got != want {
			t.Errorf("%s: %v, want %v", yaml, got, want)
		}
	}
}

func TestMergedRunIsAudited(t *testing.T) {
	s, err := Parse("test.yaml", shardedScenario("load: {requests: 24, concurrency: 6}\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, sim.Config{Model: "m", FirstToken: time.Millisecond, BetweenTokens: time.Millisecond})
	var dirs []string
	var shards sync.WaitGroup
	for k := range 2 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(k))
		dirs = append(dirs, dir)
		shards.Go(func() {
			if _, err := Run(t.Context(), s, Options{Dir: dir, URL: l.URL, Shard: loadgen.Shard{K: k, N: 2}}); err != nil {
				t.Error(err)
			}
		})
	}
	shards.Wait()
	merged := filepath.Join(t.TempDir(), "merged")
	if _, err := results.Merge(merged, dirs, results.MergeOptions{Judge: Judge}); err != nil {
		t.Fatal(err)
	}
	sum, err := WriteReports(merged)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]results.CheckState{}
	for _, c := range sum.Manifest.Audit {
		states[c.Name] = c.State
	}
	for _, name := range []string{"output tokens: replies and server", "prompt tokens: replies and server"} {
		if states[name] != results.Passed {
			t.Errorf("%q is %q, want passed: %+v", name, states[name], sum.Manifest.Audit)
		}
	}
}

func TestOfShards(t *testing.T) {
	shard := func(k int, state results.CheckState) results.MergedShard {
		return results.MergedShard{Shard: results.Shard{K: k, N: 2}, Audit: []results.Check{{Name: "other", State: results.Missed}, {Name: "c", State: state, Detail: "so"}}}
	}
	c := results.Check{Name: "c", State: results.NotCheckable, Detail: "why"}
	for _, tc := range []struct {
		a, b results.CheckState
		want results.Check
	}{
		{results.Passed, results.Passed, results.Check{Name: "c", State: results.Passed, Detail: "in each of 2 shards"}},
		{results.Passed, results.Missed, results.Check{Name: "c", State: results.Missed, Detail: "shard 1/2: so"}},
		{results.Passed, results.NotCheckable, c},
	} {
		if got := ofShards(c, []results.MergedShard{shard(0, tc.a), shard(1, tc.b)}); got != tc.want {
			t.Errorf("%s and %s: %+v, want %+v", tc.a, tc.b, got, tc.want)
		}
	}
}
