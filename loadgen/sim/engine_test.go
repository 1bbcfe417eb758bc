package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	ms = time.Millisecond
	us = time.Microsecond
)

// newServer is a server without a port, closed by the caller: under synctest it has to end within the test.
func newServer(t testing.TB, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post asks a server without a network in between.
func post(ctx context.Context, s *Server, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, "POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// ids is a prompt of n token ids that begins with a number of its own, as JSON.
func ids(first, n int) string {
	out := make([]int, n)
	for i := range out {
		out[i] = (first*1000 + i) % 30000
	}
	return string(appendInts(nil, out))
}

func completion(prompt string, tokens int) string {
	return fmt.Sprintf(`{"prompt":%s,"max_tokens":%d,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`, prompt, tokens)
}

// costs are round numbers: 1 ms between steps, 2 ms to the device, 10 ms a step, 10 us a prompt token, 1 ms a sequence.
func costs(c Config) Config {
	c.HostGap, c.Launch, c.StepBase, c.PromptToken, c.Sequence = 1*ms, 2*ms, 10*ms, 10*us, 1*ms
	return c
}

// phases are the steps as text.
func phases(steps []Step) []string {
	var out []string
	for _, s := range steps {
		text := fmt.Sprintf("%s %d(%d)+%d", s.Phase, s.Prompts, s.PromptTokens, s.Sequences)
		if s.Bucket.Batch > 0 {
			text += fmt.Sprintf(" bs%d seq%d ctx%d", s.Bucket.Batch, s.Bucket.Seq, s.Bucket.Blocks)
		}
		if s.Compile > 0 {
			text += " compile"
		}
		out = append(out, text)
	}
	return out
}

func TestOneRequestTakesItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{}))
		defer s.Close()
		began := s.clock.now()
		post(t.Context(), s, "/v1/completions", completion(ids(1, 100), 3))
		synctest.Wait()
		time.Sleep(time.Second)
		if got, want := phases(s.Steps()), []string{"prefill 1(100)+0", "decode 0(0)+1", "decode 0(0)+1", "empty 0(0)+0"}; !slices.Equal(got, want) {
			t.Errorf("steps %q; want %q", got, want)
		}
		l := s.Requests()[0]
		var at []time.Duration
		for _, token := range l.Tokens {
			at = append(at, time.Duration(token.WriteDone-began))
		}
		// 2 + 10 + 100 × 0.01 ms, then 1 + 2 + 10 + 1 ms each.
		if want := []time.Duration{13 * ms, 27 * ms, 41 * ms}; !slices.Equal(at, want) {
			t.Errorf("tokens went out after %v; want %v", at, want)
		}
		if l.PromptTokens != 100 || l.OutputTokens != 3 || l.Finish != "length" || l.Status != 200 {
			t.Errorf("log %+v", l)
		}
		for i, step := range s.Steps()[:3] {
			if step.Number != i+1 || step.Ended != step.DeviceEnded || step.DeviceBegan-step.Began != int64(2*ms) || !slices.Equal(step.Requests, []int{1}) {
				t.Errorf("step %+v", step)
			}
			if token := l.Tokens[i]; token.Step != step.Number || token.Computed != step.Ended {
				t.Errorf("token %d came of step %d at %d; want %d at %d", i, token.Step, token.Computed, step.Number, step.Ended)
			}
		}
	})
}

// together asks several things at once and waits for all.
func together(s *Server, bodies ...string) {
	var group sync.WaitGroup
	for _, body := range bodies {
		group.Go(func() { post(context.Background(), s, "/v1/completions", body) })
		synctest.Wait()
	}
	group.Wait()
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := costs(Config{MaxNumSeqs: 2})
		s := newServer(t, c)
		defer s.Close()
		together(s, completion(ids(1, 50), 2), completion(ids(2, 50), 4), completion(ids(3, 50), 1), completion(ids(4, 50), 1))
		time.Sleep(time.Second)
		want := []string{
			"prefill 1(50)+0", // the first was alone when its step began
			"mixed 1(50)+1",   // the second joins
			"mixed 1(50)+1",   // the third has the first's place
			"mixed 1(50)+1",   // the fourth has the third's
			"decode 0(0)+1",
			"empty 0(0)+0",
		}
		if got := phases(s.Steps()); !slices.Equal(got, want) {
			t.Errorf("steps %q; want %q", got, want)
		}
	})
}

func TestLongPromptsAreSplit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		whole bool
		want  []string
	}{
		{"chunked", false, []string{"prefill 1(64)+0", "prefill 1(64)+0", "prefill 2(64)+0", "mixed 1(38)+1", "decode 0(0)+2", "empty 0(0)+0"}},
		// The second does not fit beside a decoding sequence, and goes alone once nothing else wants the step.
		{"whole", true, []string{"prefill 1(150)+0", "decode 0(0)+1", "decode 0(0)+1", "prefill 1(80)+0", "decode 0(0)+1", "empty 0(0)+0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, costs(Config{MaxNumBatchedTokens: 64, NoChunkedPrefill: tc.whole}))
				defer s.Close()
				together(s, completion(ids(1, 150), 3), completion(ids(2, 80), 2))
				time.Sleep(time.Second)
				if got := phases(s.Steps()); !slices.Equal(got, tc.want) {
					t.Errorf("steps %q; want %q", got, tc.want)
				}
			})
		})
	}
}

// A closed loop as wide as the server reaches the capacity that the configuration promises.
func TestCapacityIsReached(t *testing.T) {
	for _, tc := range []struct{ seqs, input, output int }{{8, 128, 16}, {16, 40, 1}, {4, 200, 100}} {
		t.Run(fmt.Sprintf("%d of %d in %d out", tc.seqs, tc.input, tc.output), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Config{MaxNumSeqs: tc.seqs, NoPrefixCache: true, MaxNumBatchedTokens: 1 << 20}
				want, ok := c.Capacity(tc.input, tc.output)
				if !ok {
					t.Fatal("no capacity")
				}
				s := newServer(t, c)
				defer s.Close()
				const each = 50
				var group sync.WaitGroup
				began := time.Now()
				for user := range tc.seqs {
					group.Go(func() {
						for i := range each {
							post(context.Background(), s, "/v1/completions", completion(ids(user*each+i, tc.input), tc.output))
						}
					})
				}
				group.Wait()
				rate := float64(tc.seqs*each) / time.Since(began).Seconds()
				if diff := rate/want - 1; diff > 0.02 || diff < -0.02 {
					t.Errorf("%.3f requests a second; Capacity says %.3f", rate, want)
				}
			})
		})
	}
	c, err := Config{MaxNumSeqs: 16}.WithCapacity(50, 128, 32)
	if got, ok := c.Capacity(128, 32); err != nil || !ok || math.Abs(got-50) > 1e-3 {
		t.Errorf("WithCapacity of 50 a second gives %v (%v)", got, err)
	}
	if _, err := (Config{MaxNumSeqs: 16}).WithCapacity(1e6, 128, 32); err == nil {
		t.Error("a million requests a second were promised")
	}
	for name, c := range map[string]Config{
		"fixed": {FirstToken: ms}, "gaudi": {Device: Gaudi}, "token limit": {MaxNumBatchedTokens: 100}, "broken": {Device: "tpu"},
	} {
		if _, ok := c.Capacity(128, 16); ok {
			t.Errorf("%s: a capacity is claimed", name)
		}
	}
}

func TestFixedDelaysAreExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{FirstToken: 50 * ms, BetweenTokens: 10 * ms})
		defer s.Close()
		random := rand.New(rand.NewPCG(3, 4))
		var group sync.WaitGroup
		const requests, tokens = 100, 20
		for i := range requests {
			wait := time.Duration(random.IntN(int(100 * ms)))
			group.Go(func() {
				time.Sleep(wait)
				post(context.Background(), s, "/v1/completions", completion(ids(i, 30), tokens))
			})
		}
		group.Wait()
		made := 0
		for _, l := range s.Requests() {
			if len(l.Tokens) != tokens {
				t.Fatalf("request %d: %d tokens", l.Request, len(l.Tokens))
			}
			for k, token := range l.Tokens {
				due := l.Received + int64(50*ms) + int64(k)*int64(10*ms)
				if token.Computed != due || token.WriteBegan != due {
					t.Fatalf("request %d: token %d was computed %d ns and written %d ns off its time", l.Request, k, token.Computed-due, token.WriteBegan-due)
				}
			}
		}
		last := int64(0)
		for _, step := range s.Steps() {
			made += step.NewTokens
			if step.Began < last || step.Ended < step.DeviceEnded || step.DeviceEnded < step.Began {
				t.Fatalf("step %+v overlaps the one before, which ended at %d", step, last)
			}
			last = step.Ended
		}
		if made != requests*tokens {
			t.Errorf("steps made %d tokens; want %d", made, requests*tokens)
		}
	})
}

func TestGaudiBatchesArePaddedAndCompiledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := costs(Config{Device: Gaudi, MaxModelLen: 256, MaxNumSeqs: 8, PromptBatch: 2, CompileTime: 100 * ms})
		c.WarmBuckets = []Bucket{{Decode, 4, 1, 128}}
		s := newServer(t, c)
		defer s.Close()
		// All three arrive while the first one's step runs.
		together(s, completion(ids(1, 100), 1), completion(ids(2, 100), 2), completion(ids(3, 140), 2), completion(ids(4, 20), 2))
		time.Sleep(time.Second)
		want := []string{
			"prefill 1(100)+0 bs1 seq128 ctx0 compile",
			"prefill 2(240)+0 bs2 seq256 ctx0 compile",
			"prefill 1(20)+0 bs1 seq128 ctx0",
			"decode 0(0)+3 bs4 seq1 ctx128",
		}
		steps := s.Steps()
		if got := phases(steps); !slices.Equal(got, want) {
			t.Fatalf("steps %q; want %q", got, want)
		}
		if steps[1].Iteration != steps[2].Iteration || steps[1].Ended != steps[2].Ended {
			t.Errorf("two prompt batches are not in one iteration: %+v and %+v", steps[1], steps[2])
		}
		// Preparing 1 ms, dispatching 1 ms, compiling; 10 ms and 128 × 10 us of device.
		if got, want := time.Duration(steps[0].Ended-steps[0].turn), 2*ms+100*ms+10*ms+1280*us; got != want {
			t.Errorf("first iteration took %v; want %v", got, want)
		}
		if got, want := time.Duration(steps[3].DeviceEnded-steps[3].DeviceBegan), 14*ms; got != want {
			t.Errorf("decoding took %v of the device; want %v (a padded batch of 4)", got, want)
		}
		if steps[2].DeviceBegan != steps[1].DeviceEnded {
			t.Error("the second prompt batch did not wait for the device")
		}
	})
}

func TestWarmupCompilesEveryBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{Device: Gaudi, MaxModelLen: 256, MaxNumSeqs: 8, Warmup: true})
		defer s.Close()
		together(s, completion(ids(1, 100), 5), completion(ids(2, 250), 2), completion(ids(2, 250), 2))
		for _, step := range s.Steps() {
			if step.Compile != 0 {
				t.Errorf("%s was compiled after the warm-up", step.Bucket)
			}
		}
	})
}

func TestRange(t *testing.T) {
	r := Range{1, 32, 128}
	if got, want := r.Sizes(), []int{1, 2, 4, 8, 16, 32, 64, 96, 128}; !slices.Equal(got, want) {
		t.Errorf("sizes %v; want %v", got, want)
	}
	for n, want := range map[int]int{0: 1, 1: 1, 3: 4, 17: 32, 33: 64, 128: 128, 129: 160} {
		if got := r.Pad(n); got != want {
			t.Errorf("Pad(%d) = %d; want %d", n, got, want)
		}
	}
}

func TestPrefixCacheSavesWholeBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{BlockSize: 16, DevMode: true}))
		defer s.Close()
		for range 2 {
			post(t.Context(), s, "/v1/completions", completion(ids(1, 64), 1))
		}
		post(t.Context(), s, "/reset_prefix_cache", "")
		post(t.Context(), s, "/v1/completions", completion(ids(1, 64), 1))
		var got []int
		for _, l := range s.Requests() {
			got = append(got, l.CachedTokens)
		}
		// 4 blocks were computed, but the last token has to be computed again, and its block with it.
		if want := []int{0, 48, 0}; !slices.Equal(got, want) {
			t.Errorf("cached tokens %v; want %v", got, want)
		}
		expectMetrics(t, s, `vllm:prefix_cache_queries_total{engine="0",model_name="facebook/opt-125m"} 192.0`, `vllm:prefix_cache_hits_total{engine="0",model_name="facebook/opt-125m"} 48.0`)
	})
}

func expectMetrics(t *testing.T, s *Server, lines ...string) {
	t.Helper()
	page := string(s.metrics.text())
	for _, line := range lines {
		if !strings.Contains(page, line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no line %q in\n%s", line, strings.Join(slices.DeleteFunc(strings.Split(page, "\n"), func(l string) bool { return !strings.HasPrefix(l, name) }), "\n"))
		}
	}
}

func TestSequencesGiveWayWhenBlocksRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{BlockSize: 16, Blocks: 6, MaxModelLen: 96, NoPrefixCache: true}))
		defer s.Close()
		together(s, completion(ids(1, 30), 40), completion(ids(2, 30), 40), completion(ids(3, 30), 40))
		for _, l := range s.Requests() {
			if l.OutputTokens != 40 || l.Finish != "length" {
				t.Errorf("request %d: %d tokens, %s", l.Request, l.OutputTokens, l.Finish)
			}
		}
		page := string(s.metrics.text())
		if strings.Contains(page, `vllm:num_preemptions_total{engine="0",model_name="facebook/opt-125m"} 0.0`) {
			t.Error("nothing was preempted")
		}
		expectMetrics(t, s, `vllm:kv_cache_usage_perc{engine="0",model_name="facebook/opt-125m"} 0.0`, `vllm:generation_tokens_total{engine="0",model_name="facebook/opt-125m"} 120.0`)
	})
}

func TestClientThatLeavesFreesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{MaxNumSeqs: 1}))
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		post(ctx, s, "/v1/completions", completion(ids(1, 50), 1000))
		post(t.Context(), s, "/v1/completions", completion(ids(2, 50), 2))
		logs := s.Requests()
		if logs[0].Error == "" || logs[1].OutputTokens != 2 {
			t.Errorf("logs %+v", logs)
		}
		if wait := time.Duration(logs[1].Tokens[0].Computed - logs[1].Received); wait > 50*ms {
			t.Errorf("the second request waited %v for its first token", wait)
		}
		expectMetrics(t, s, `vllm:request_success_total{engine="0",finished_reason="abort",model_name="facebook/opt-125m"} 1.0`)
	})
}

func TestMetricsCountWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{Model: "m"}))
		defer s.Close()
		together(s, completion(ids(1, 100), 3), completion(ids(2, 100), 3))
		expectMetrics(t, s,
			`vllm:num_requests_running{engine="0",model_name="m"} 0.0`,
			`vllm:prompt_tokens_total{engine="0",model_name="m"} 200.0`,
			`vllm:generation_tokens_total{engine="0",model_name="m"} 6.0`,
			`vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 2.0`,
			// The first: 13 ms. The second came at once but missed that step: 13 + 1 + 2 + 10 + 1 + 1 ms.
			`vllm:time_to_first_token_seconds_bucket{engine="0",le="0.01",model_name="m"} 0.0`,
			`vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="m"} 1.0`,
			`vllm:time_to_first_token_seconds_bucket{engine="0",le="0.04",model_name="m"} 2.0`,
			`vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 0.041`,
			`vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 4.0`,
			`vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 204.0`,
			`vllm:request_queue_time_seconds_sum{engine="0",model_name="m"} 0.014`,
			`http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 2.0`,
		)
	})
}

func TestSameSeedSameAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := func(seed uint64, order []int) map[string]string {
			s := newServer(t, quick(Config{Seed: seed}))
			defer s.Close()
			out := make(map[string]string)
			for _, i := range order {
				for _, temperature := range []string{"0", "1"} {
					body := fmt.Sprintf(`{"prompt":"prompt %d","max_tokens":8,"ignore_eos":true,"temperature":%s,"seed":%d}`, i, temperature, i)
					w := post(t.Context(), s, "/v1/completions", body)
					_, text, _ := strings.Cut(w.Body.String(), `"text":`)
					text, _, _ = strings.Cut(text, `,"logprobs"`)
					out[fmt.Sprint(i)+"/"+temperature] = text
				}
			}
			return out
		}
		one, two, other := said(1, []int{1, 2, 3}), said(1, []int{3, 1, 2}), said(2, []int{1, 2, 3})
		for key, text := range one {
			if two[key] != text {
				t.Errorf("request %s: %s, then %s", key, text, two[key])
			}
			if other[key] == text {
				t.Errorf("request %s: %s with either seed", key, text)
			}
		}
		if one["1/0"] == one["1/1"] {
			t.Error("the temperature changed nothing")
		}
	})
}

func TestAnswersEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, quick(Config{NaturalLength: 20, MaxModelLen: 4096}))
		defer s.Close()
		tokens := 0
		const requests = 200
		for i := range requests {
			post(t.Context(), s, "/v1/completions", fmt.Sprintf(`{"prompt":"prompt %d","max_tokens":2000,"min_tokens":5}`, i))
			l := s.Requests()[i]
			if l.Finish != "stop" || l.OutputTokens <= 5 {
				t.Fatalf("request %d ended with %s after %d tokens", i, l.Finish, l.OutputTokens)
			}
			tokens += l.OutputTokens
		}
		// 5 that must come and 20 on average.
		if mean := float64(tokens) / requests; mean < 21 || mean > 29 {
			t.Errorf("mean of %.1f tokens; want about 25", mean)
		}
	})
}

func TestCloseCutsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{StepBase: time.Hour})
		done := make(chan struct{})
		go func() {
			defer close(done)
			post(context.Background(), s, "/v1/completions", completion(ids(1, 10), 5))
		}()
		synctest.Wait()
		s.Close()
		<-done
		if l := s.Requests(); len(l) != 1 || l[0].Error != errClosed.Error() {
			t.Errorf("log %+v", l)
		}
		s.Close() // a second time is no fault
	})
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"device":      {Device: "tpu"},
		"negative":    {MaxNumSeqs: -1},
		"vocabulary":  {Vocabulary: 3},
		"blocks":      {Blocks: 2},
		"delays":      {BetweenTokens: ms},
		"fault":       {Faults: []Fault{{Status: 200}}},
		"bucket":      {Buckets: Buckets{PromptSeq: Range{5, 1, 9}}},
		"profile dir": {ProfileDir: "config.go"},
	} {
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
