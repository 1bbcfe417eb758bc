package merge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"servebench/loadgen/server"
	"servebench/loadgen/sim"
	"servebench/profiles"
	"servebench/profiles/breakdown"
	"servebench/results"
)

// TestLinksAreTrue runs loads against the simulator, brackets, collects, analyses and merges, and compares the links with
// the simulator's own log: what is called unique is right, and most is found.
func TestLinksAreTrue(t *testing.T) {
	for _, tc := range []struct {
		name     string
		config   sim.Config
		requests int
		users    int
		prompt   func(i int) int
		output   func(i int) int
		unique   int           // at least
		lag      time.Duration // at most, by which a busy client sees events late
	}{
		{"cuda", sim.Config{Device: sim.CUDA}, 24, 4, func(i int) int { return 20 + 7*i }, func(i int) int { return 3 + i%5 }, 24, 0},
		{"cuda, one length and a queue", sim.Config{Device: sim.CUDA, MaxNumSeqs: 3}, 30, 10, func(int) int { return 64 }, func(i int) int { return 4 + i%3 }, 0, 0},
		{"cuda, prompts cut into chunks", sim.Config{Device: sim.CUDA, MaxNumBatchedTokens: 64}, 10, 2, func(i int) int { return 150 + i }, func(int) int { return 4 }, 10, 0},
		{"cuda, chunks of one length and a queue", sim.Config{Device: sim.CUDA, MaxNumBatchedTokens: 100, MaxNumSeqs: 4}, 24, 8, func(i int) int { return 130 + i%2 }, func(i int) int { return 4 + i%4 }, 0, 0},
		{"cpu", sim.Config{Device: sim.CPU}, 12, 1, func(i int) int { return 30 + i }, func(int) int { return 5 }, 12, 0},
		{"cpu, several tokens an event", sim.Config{Device: sim.CPU, StreamInterval: 4}, 8, 2, func(i int) int { return 30 + i }, func(int) int { return 9 }, 8, 0},
		{"gaudi", sim.Config{Device: sim.Gaudi, CompileTime: 5 * time.Millisecond}, 16, 4, func(i int) int { return 40 + 3*i }, func(i int) int { return 3 + i%3 }, 16, 0},
		{"gaudi, one length and a queue", sim.Config{Device: sim.Gaudi, MaxNumSeqs: 3, Warmup: true}, 24, 8, func(int) int { return 64 }, func(i int) int { return 3 + i%3 }, 0, 0},
		{"gaudi of two ranks", sim.Config{Device: sim.Gaudi, Ranks: 2, Warmup: true, HardwareTrace: true}, 8, 2, func(i int) int { return 40 + 3*i }, func(int) int { return 4 }, 8, 0},
		{"cuda, a busy client", sim.Config{Device: sim.CUDA, MaxNumSeqs: 6}, 40, 10, func(i int) int { return 64 + i%3 }, func(i int) int { return 4 + i%3 }, 0, 15 * time.Millisecond},
		{"cuda, chunks and a busy client", sim.Config{Device: sim.CUDA, MaxNumBatchedTokens: 100, MaxNumSeqs: 6}, 40, 10, func(i int) int { return 130 + i%7 }, func(i int) int { return 4 + i%4 }, 0, 15 * time.Millisecond},
		{"gaudi, a busy client", sim.Config{Device: sim.Gaudi, MaxNumSeqs: 6, Warmup: true}, 40, 10, func(i int) int { return 64 + i%3 }, func(i int) int { return 3 + i%3 }, 0, 15 * time.Millisecond},
	} {
		t.Run(tc.name, inTestTime(func(t *testing.T) {
			dir := t.TempDir()
			tc.config.ProfileDir, tc.config.ProfileStop, tc.config.NoPrefixCache = dir, 20*time.Millisecond, true
			s, err := sim.New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			wire := &memory{make(chan net.Conn), make(chan struct{})}
			served := make(chan error)
			go func() { served <- s.Serve(wire) }()
			client := wire.client()
			defer func() {
				client.CloseIdleConnections()
				s.Close()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			target := server.Target{BaseURL: "http://sim", Client: client}
			p, err := profiles.New("vllm", profiles.Config{Target: target})
			if err != nil {
				t.Fatal(err)
			}
			records := make([]*results.Record, tc.requests)
			session, err := profiles.Bracket{Profiler: p}.Do(t.Context(), func(ctx context.Context) error {
				var users sync.WaitGroup
				for u := range tc.users {
					users.Go(func() {
						for i := u; i < tc.requests; i += tc.users {
							records[i] = complete(t, ctx, client, i, tc.prompt(i), tc.output(i))
						}
					})
				}
				users.Wait()
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range records {
				delay(r, tc.lag, uint64(i))
			}
			collected, err := profiles.Collect(t.Context(), profiles.Collection{From: []string{dir}, Into: filepath.Join(t.TempDir(), "traces"), Marks: session.Marks, Every: time.Millisecond})
			if err != nil || len(collected.Warnings) > 0 {
				t.Fatalf("Collect() = %v, warnings %q", err, collected.Warnings)
			}
			var traces []Trace
			var paths []string
			for _, f := range collected.Of(profiles.Trace) {
				traces = append(traces, Trace{Path: f.Path, Rank: f.Rank, Stamp: f.Stamp})
				paths = append(paths, f.Path)
			}
			if want := max(1, tc.config.Ranks); len(traces) != want {
				t.Fatalf("%d traces; want %d", len(traces), want)
			}
			report, err := breakdown.Analyze(t.Context(), paths, breakdown.Options{})
			if err != nil {
				t.Fatal(err)
			}
			steps, others, err := Found(report, traces)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Traces: traces, Records: slices.Values(records), Marks: session.Marks, Steps: steps, Others: others, SameHost: true}
			checkAgainstLog(t, s, in, records, tc.unique)

			result, err := Merge(filepath.Join(t.TempDir(), FileName), in)
			if err != nil {
				t.Fatal(err)
			}
			if c := result.Clock; !c.Aligned || c.Theta != 0 || !c.HasLo || !c.HasHi || len(result.Warnings) > 0 {
				t.Errorf("clock %+v, warnings %q", c, result.Warnings)
			}
			c := result.Comparison
			t.Logf("theta in [%v by %s, %v by %s]; linked %d, ambiguous %d; network+queue %v, prefill %v, return %v, gap %v, period %v, batch %.2f, steps/token %.2f",
				time.Duration(result.Clock.Lo), result.Clock.LoBy, time.Duration(result.Clock.Hi), result.Clock.HiBy, c.Linked, c.Ambiguous,
				c.NetworkQueue.P50, c.Prefill.P50, c.Return.P50, c.TokenGap.P50, c.Period.P50, c.Batch, c.StepsPerToken)
		}))
	}
}

// delay makes the client see the events of a reply late, by up to most, in order.
func delay(r *results.Record, most time.Duration, seed uint64) {
	if most == 0 {
		return
	}
	random := rand.New(rand.NewPCG(seed, 1))
	var at results.Moment
	for i := range r.Chunks {
		at = max(at, r.Chunks[i].At.Add(time.Duration(random.Int64N(int64(most)))))
		r.Chunks[i].At = at
	}
	r.Done = max(r.Done, at)
}

func inTestTime(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

// memory is a network within the process, so that the simulator runs on the test's own time.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	select {
	case <-m.done:
	default:
		close(m.done)
	}
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case m.conns <- far:
			return near, nil
		case <-m.done:
			return nil, net.ErrClosed
		}
	}}}
}

func checkAgainstLog(t *testing.T, s *sim.Server, in Input, records []*results.Record, least int) {
	t.Helper()
	j, err := join(&in)
	if err != nil {
		t.Fatal(err)
	}
	log := make(map[string]sim.RequestLog)
	for _, r := range s.Requests() {
		log[r.XRequestID] = r
	}
	truth := make(map[int]sim.Step)
	for _, step := range s.Steps() {
		truth[step.Number] = step
	}
	is := func(got int64, want int64) bool { return max(got-want, want-got) < int64(100*time.Microsecond) }
	unique, finals := 0, 0
	for i, q := range j.requests {
		l := &j.links[i]
		r, ok := log[q.record.RequestID]
		if !ok {
			t.Fatalf("%s is not in the simulator's log", q.record.RequestID)
		}
		if !l.found() {
			if least > 0 {
				t.Errorf("%s is linked to no step", q.name)
			}
			continue
		}
		if !l.ambiguous {
			unique++
			if first := truth[r.Tokens[0].Step]; !is(j.steps[l.last].Start, first.Began) {
				t.Errorf("%s is linked to the step at %d; its prompt was done in the one at %d", q.name, j.steps[l.last].Start, first.Began)
			}
		}
		if l.sure {
			finals++
			if last := truth[r.Tokens[len(r.Tokens)-1].Step]; !is(j.steps[l.final].Start, last.Began) {
				t.Errorf("%s: its last token is said to come from the step at %d; it came from the one at %d", q.name, j.steps[l.final].Start, last.Began)
			}
		}
		if q.began > j.steps[l.first].Start || q.end < j.steps[max(l.last, l.final)].End {
			t.Errorf("%s does not enclose its steps", q.name)
		}
	}
	t.Logf("%d of %d unique, %d final steps sure", unique, len(records), finals)
	if unique < least {
		t.Errorf("%d of %d links are unique; want %d at least", unique, len(records), least)
	}
}

// complete sends one streamed completion of random ids and stamps it.
func complete(t *testing.T, ctx context.Context, client *http.Client, i, prompt, output int) *results.Record {
	ids := make([]int, prompt)
	for k := range ids {
		ids[k] = 300 + (i*7919+k*104729)%3000
	}
	body, err := json.Marshal(map[string]any{"model": "facebook/opt-125m", "prompt": ids, "max_tokens": output, "ignore_eos": true, "temperature": 0,
		"stream": true, "return_token_ids": true, "stream_options": map[string]any{"include_usage": true}})
	if err != nil {
		t.Error(err)
		return nil
	}
	now := func() results.Moment { return results.Moment(time.Now().UnixNano()) }
	r := &results.Record{ID: i, Kind: results.Load, RequestID: "r" + strconv.Itoa(i), InputTokens: prompt, AskedTokens: output}
	r.OutputTokens = -1
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { r.WriteBegan, r.Written = now(), now() }})
	request, err := http.NewRequestWithContext(traced, http.MethodPost, "http://sim/v1/completions", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Request-Id", r.RequestID)
	r.Dispatched = now()
	response, err := client.Do(request)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer response.Body.Close()
	r.Headers, r.Status = now(), response.StatusCode
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		at := now()
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var event struct {
			Choices []struct {
				IDs []int `json:"token_ids"`
			}
			Usage *struct {
				Prompt     int `json:"prompt_tokens"`
				Completion int `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Error(err)
			return nil
		}
		for _, c := range event.Choices {
			r.Chunks = append(r.Chunks, results.Chunk{At: at, Tokens: len(c.IDs)})
		}
		if u := event.Usage; u != nil {
			r.Usage = &results.Usage{Prompt: u.Prompt, Completion: u.Completion, Cached: -1}
		}
	}
	r.Done = now()
	if err := lines.Err(); err != nil || r.Usage == nil || r.Usage.Completion != output {
		t.Error(fmt.Errorf("request %d: %v, usage %+v", i, err, r.Usage))
	}
	return r
}
