package profiles

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"servebench/loadgen/server"
)

// replay answers the calls, in order, with the recorded bytes of a real server. asked returns
// what was asked.
func replay(t *testing.T, answers ...string) (target server.Target, asked func() []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls []string
	var serving sync.WaitGroup
	serving.Go(func() {
		for _, name := range answers {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(request.Body)
			kind := ""
			if got := request.Header.Get("Content-Type"); got != "" {
				kind = " (" + got + ")"
			}
			mu.Lock()
			calls = append(calls, request.Method+" "+request.URL.Path+kind+" "+string(body))
			mu.Unlock()
			data, err := os.ReadFile(filepath.Join("testdata", name+".response"))
			if err != nil {
				t.Error(err)
			}
			_, _ = conn.Write(data)
			conn.Close()
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return server.Target{BaseURL: "http://" + listener.Addr().String(), Client: client}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(calls)
	}
}

func vllm(t *testing.T, target server.Target, o VLLMOptions) Profiler {
	t.Helper()
	p, err := New("vllm", Config{Target: target, VLLM: o})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// counting is a clock that advances by a microsecond with every look.
func counting() func() int64 {
	var mu sync.Mutex
	var at int64
	return func() int64 {
		mu.Lock()
		defer mu.Unlock()
		at += 1000
		return at
	}
}

func TestBracketAroundALoad(t *testing.T) {
	target, asked := replay(t, "start", "stop")
	loaded := false
	session, err := Bracket{Profiler: vllm(t, target, VLLMOptions{}), Clock: counting()}.Do(t.Context(), func(context.Context) error {
		if got := asked(); !slices.Equal(got, []string{"POST /start_profile "}) {
			t.Errorf("before the load: %q; want the start alone, with an empty body", got)
		}
		loaded = true
		return nil
	})
	if err != nil || !loaded {
		t.Fatalf("Do() = %v, loaded %t", err, loaded)
	}
	if got, want := asked(), []string{"POST /start_profile ", "POST /stop_profile "}; !slices.Equal(got, want) {
		t.Errorf("asked %q; want %q", got, want)
	}
	// Four looks at the clock a call: before and after it, and in between when the connection stood and
	// when the answer began, which are the marks.
	if want := (Marks{StartSent: 2000, StartAnswered: 3000, StopSent: 6000, StopAnswered: 7000, Called: true}); session.Marks != want {
		t.Errorf("marks %+v; want %+v", session.Marks, want)
	}
}

func TestStartWithOptions(t *testing.T) {
	target, asked := replay(t, "start-three-steps", "stop-three-steps")
	p := vllm(t, target, VLLMOptions{Prefix: "three-steps", DelayIterations: 2, MaxIterations: 3})
	session, err := Bracket{Profiler: p}.Do(t.Context(), func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := `POST /start_profile (application/json) {"profile_prefix":"three-steps","delay_iterations":2,"max_iterations":3}`
	if got := asked()[0]; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	if !session.Marks.StartLoose || !session.Marks.StopLoose {
		t.Errorf("marks %+v; want both ends loose", session.Marks)
	}
}

func TestRefusedStarts(t *testing.T) {
	for _, tc := range []struct {
		answer string
		o      VLLMOptions
		is     error
		want   string
	}{
		{"start-no-profiler", VLLMOptions{}, ErrNotConfigured, "start_profile: 404 Not Found: Not Found: " + vllmHints.notConfigured},
		{"start-twice", VLLMOptions{}, ErrAlreadyRunning, "start_profile: 409 Conflict: A profiling session is already active. Call /stop_profile before starting another session.: " + vllmHints.alreadyRunning},
		{"start-negative-max", VLLMOptions{MaxIterations: 1}, ErrRefused, "start_profile: 400 Bad Request: max_iterations must be greater than or equal to 0"},
		{"start-get", VLLMOptions{}, ErrRefused, "start_profile: 405 Method Not Allowed: Method Not Allowed: this is not the server's own address: look at the base URL and at proxies before it"},
	} {
		t.Run(tc.answer, func(t *testing.T) {
			target, asked := replay(t, tc.answer)
			_, err := Bracket{Profiler: vllm(t, target, tc.o)}.Do(t.Context(), func(context.Context) error {
				t.Error("the load ran")
				return nil
			})
			if !errors.Is(err, tc.is) || !errors.Is(err, ErrRefused) || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if got := len(asked()); got != 1 {
				t.Errorf("%d calls; want the start alone: the session is not ours to stop", got)
			}
		})
	}
}

func TestTheHintsNameWhatTurnsItOn(t *testing.T) {
	for _, word := range []string{"--profiler-config", "VLLM_TORCH_PROFILER_DIR", "--profile-optional"} {
		if !strings.Contains(vllmHints.notConfigured, word) {
			t.Errorf("the hint does not name %s", word)
		}
	}
}

func TestAnOptionalProfileIsGoneWithout(t *testing.T) {
	target, asked := replay(t, "start-no-profiler")
	loaded := false
	session, err := Bracket{Profiler: vllm(t, target, VLLMOptions{}), Optional: true}.Do(t.Context(), func(context.Context) error {
		loaded = true
		return nil
	})
	if err != nil || !loaded || !errors.Is(session.Refused, ErrNotConfigured) {
		t.Errorf("Do() = %v, loaded %t, refused %v", err, loaded, session.Refused)
	}
	if got := len(asked()); got != 1 {
		t.Errorf("%d calls; want no stop", got)
	}
}

func TestUnreachableServerIsNotStopped(t *testing.T) {
	target, _ := replay(t) // nobody accepts: refuse by closing
	target.BaseURL = "http://127.0.0.1:1"
	_, err := Bracket{Profiler: vllm(t, target, VLLMOptions{}), Optional: true}.Do(t.Context(), func(context.Context) error {
		t.Error("the load ran")
		return nil
	})
	if err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "check host and port") {
		t.Errorf("got %v; want an unreachable server", err)
	}
}

// engine is a server of one function: what it answers to a call, and how long it takes.
type engine struct {
	mu    sync.Mutex
	calls []string
	serve func(r *http.Request) (status int, body string, err error)
}

func (e *engine) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.calls = append(e.calls, r.URL.Path)
	e.mu.Unlock()
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{}) // as a transport does
	}
	status, body, err := e.serve(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (e *engine) profiler(t *testing.T, kind string, c Config) Profiler {
	t.Helper()
	c.Target = server.Target{BaseURL: "http://engine", Client: &http.Client{Transport: e}}
	p, err := New(kind, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fine(*http.Request) (int, string, error) { return 200, "", nil }

func TestTheStopIsSentWhateverHappens(t *testing.T) {
	failure := errors.New("the load failed")
	for _, tc := range []struct {
		name string
		load func(context.Context, context.CancelFunc) error
		want error
	}{
		{"error", func(context.Context, context.CancelFunc) error { return failure }, failure},
		{"cancelled", func(ctx context.Context, cancel context.CancelFunc) error { cancel(); return ctx.Err() }, context.Canceled},
		{"panic", func(context.Context, context.CancelFunc) error { panic(failure) }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &engine{serve: func(r *http.Request) (int, string, error) { return 200, "", r.Context().Err() }}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			func() {
				defer func() {
					if got := recover(); (got != nil) != (tc.name == "panic") {
						t.Errorf("recovered %v", got)
					}
				}()
				session, err := Bracket{Profiler: e.profiler(t, "vllm", Config{})}.Do(ctx, func(ctx context.Context) error { return tc.load(ctx, cancel) })
				if !errors.Is(err, tc.want) || session.StopError != nil {
					t.Errorf("Do() = %v, stop %v; want %v alone", err, session.StopError, tc.want)
				}
			}()
			if want := []string{"/start_profile", "/stop_profile"}; !slices.Equal(e.calls, want) {
				t.Errorf("calls %q; want %q", e.calls, want)
			}
		})
	}
}

func TestAStartWithoutAnAnswerIsStopped(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(*http.Request) (int, string, error)
		want  string
	}{
		{"cut off", func(*http.Request) (int, string, error) { return 0, "", io.ErrUnexpectedEOF }, "unexpected EOF"},
		{"an error inside", func(*http.Request) (int, string, error) {
			return 500, `{"error":{"message":"Profiler is not enabled."}}`, nil
		}, "start_profile: 500 Internal Server Error: Profiler is not enabled.: " + vllmHints.notEnabled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &engine{serve: func(r *http.Request) (int, string, error) {
				if r.URL.Path == "/start_profile" {
					return tc.start(r)
				}
				return 200, "", nil
			}}
			_, err := Bracket{Profiler: e.profiler(t, "vllm", Config{})}.Do(t.Context(), func(context.Context) error {
				t.Error("the load ran")
				return nil
			})
			if err == nil || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if want := []string{"/start_profile", "/stop_profile"}; !slices.Equal(e.calls, want) {
				t.Errorf("calls %q; want %q: the server may be recording", e.calls, want)
			}
		})
	}
}

func TestAStopTakesAsLongAsItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{serve: func(r *http.Request) (int, string, error) {
			if r.URL.Path == "/stop_profile" {
				return 200, "", sleep(r.Context(), 20*time.Minute)
			}
			return 200, "", nil
		}}
		var heard []time.Duration
		b := Bracket{Profiler: e.profiler(t, "vllm", Config{}), Progress: func(p Phase, d time.Duration) {
			if p == Stopping {
				heard = append(heard, d)
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		session, err := b.Do(ctx, func(context.Context) error { cancel(); return nil })
		if err != nil || session.Marks.StopAnswered-session.Marks.StopSent != int64(20*time.Minute) {
			t.Errorf("Do() = %v, stop took %v; want 20 min", err, time.Duration(session.Marks.StopAnswered-session.Marks.StopSent))
		}
		if len(heard) < 1199 || heard[0] != time.Second || heard[1198] != 1199*time.Second {
			t.Errorf("%d times heard of the progress; want each second of 20 min", len(heard))
		}
	})
}

func TestTheStopCanBeLeft(t *testing.T) {
	forever := func(r *http.Request) (int, string, error) {
		if r.URL.Path == "/stop_profile" {
			<-r.Context().Done()
			return 0, "", r.Context().Err()
		}
		return 200, "", nil
	}
	again := errors.New("second Ctrl-C")
	synctest.Test(t, func(t *testing.T) {
		e := &engine{serve: forever}
		leave, cancel := context.WithCancelCause(t.Context())
		b := Bracket{Profiler: e.profiler(t, "vllm", Config{}), Leave: leave}
		session, err := b.Do(t.Context(), func(context.Context) error {
			time.AfterFunc(time.Minute, func() { cancel(again) })
			return nil
		})
		if !errors.Is(err, again) || !errors.Is(session.StopError, again) || session.Marks.StopSent == 0 || session.Marks.StopAnswered != 0 {
			t.Errorf("Do() = %v, marks %+v; want the stop sent and left", err, session.Marks)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e := &engine{serve: forever}
		_, err := Bracket{Profiler: e.profiler(t, "vllm", Config{}), StopLimit: time.Hour}.Do(t.Context(), func(context.Context) error { return nil })
		if err == nil || err.Error() != "stop_profile: no answer after 1h0m0s: the server may still be writing its trace" {
			t.Errorf("at the limit: %v", err)
		}
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestAWindowOfALoad(t *testing.T) {
	load := func(ctx context.Context) error { return sleep(ctx, 60*time.Second) }
	second := func(ns, began int64) float64 { return float64(ns-began) / 1e9 }
	// at is true from so many seconds after the first question, which comes when the load begins or, of an Until, when the profile has begun.
	at := func(n int) func(context.Context) error {
		var asked time.Time
		return When(func() bool {
			if asked.IsZero() {
				asked = time.Now()
			}
			return time.Since(asked) >= time.Duration(n)*time.Second
		})
	}
	for _, tc := range []struct {
		name        string
		w           Window
		start, stop float64 // seconds after the load began; 0 did not happen
		missed      bool
	}{
		{"from 10 s for 5 s", Window{From: After(10 * time.Second), For: 5 * time.Second}, 10, 15, false},
		{"from 10 s to the end", Window{From: After(10 * time.Second)}, 10, 60, false},
		{"longer than the load", Window{From: After(50 * time.Second), For: time.Hour}, 50, 60, false},
		{"after the load", Window{From: After(70 * time.Second), For: time.Second}, 0, 0, true},
		{"from one moment to another", Window{From: at(20), Until: at(15)}, 20, 35, false},
		{"the length ends it first", Window{From: at(20), For: 5 * time.Second, Until: at(15)}, 20, 25, false},
		{"the load ends it first", Window{From: at(20), Until: at(100)}, 20, 60, false},
		{"a moment that does not come", Window{From: at(100), Until: at(1)}, 0, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &engine{serve: fine}
				began := time.Now().UnixNano()
				session, err := Bracket{Profiler: e.profiler(t, "vllm", Config{})}.During(t.Context(), tc.w, load)
				if err != nil || session.Missed != tc.missed {
					t.Fatalf("During() = %v, missed %t; want missed %t", err, session.Missed, tc.missed)
				}
				if tc.missed {
					if len(e.calls) != 0 {
						t.Errorf("calls %q; want none", e.calls)
					}
					return
				}
				if start, stop := second(session.Marks.StartSent, began), second(session.Marks.StopSent, began); start != tc.start || stop != tc.stop {
					t.Errorf("started at %v s, stopped at %v s; want %v and %v", start, stop, tc.start, tc.stop)
				}
			})
		})
	}
}

func TestAWindowRefusedEndsTheLoad(t *testing.T) {
	refuse := func(*http.Request) (int, string, error) { return 404, `{"detail":"Not Found"}`, nil }
	for _, optional := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := &engine{serve: refuse}
			began := time.Now()
			session, err := Bracket{Profiler: e.profiler(t, "vllm", Config{}), Optional: optional}.During(t.Context(), Window{From: After(time.Second)}, func(ctx context.Context) error {
				return sleep(ctx, time.Minute)
			})
			took := time.Since(began)
			if !optional && (!errors.Is(err, ErrNotConfigured) || errors.Is(err, context.Canceled) || took != time.Second) {
				t.Errorf("During() = %v after %v; want the refusal alone, after 1 s", err, took)
			}
			if optional && (err != nil || !errors.Is(session.Refused, ErrNotConfigured) || took != time.Minute) {
				t.Errorf("optional: During() = %v, refused %v, after %v; want the whole load", err, session.Refused, took)
			}
		})
	}
}

func TestAWindowOnceRequestsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		e := &engine{serve: func(r *http.Request) (int, string, error) {
			if r.URL.Path != "/metrics" {
				return 200, "", nil
			}
			running := "3"
			if time.Since(began) >= 4*time.Second {
				running = "8"
			}
			return 200, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running " + running + "\n", nil
		}}
		target := server.Target{BaseURL: "http://engine", Client: &http.Client{Transport: e}}
		session, err := Bracket{Profiler: e.profiler(t, "vllm", Config{})}.During(t.Context(),
			Window{From: OnceRunning(target, 8, time.Second), For: 2 * time.Second},
			func(ctx context.Context) error { return sleep(ctx, time.Minute) })
		if err != nil || session.Marks.StartSent-began.UnixNano() != int64(4*time.Second) || session.Marks.StopSent-session.Marks.StartSent != int64(2*time.Second) {
			t.Errorf("During() = %v, %+v; want a start after 4 s and a stop 2 s later", err, session.Marks)
		}
	})
}

func TestAWindowIsStoppedAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{serve: fine}
		func() {
			defer func() { recover() }()
			_, _ = Bracket{Profiler: e.profiler(t, "vllm", Config{})}.During(t.Context(), Window{}, func(context.Context) error {
				synctest.Wait()
				panic("no")
			})
		}()
		if want := []string{"/start_profile", "/stop_profile"}; !slices.Equal(e.calls, want) {
			t.Errorf("calls %q; want %q", e.calls, want)
		}
	})
}

func TestSGLang(t *testing.T) {
	var body string
	e := &engine{serve: func(r *http.Request) (int, string, error) {
		if r.URL.Path == "/stop_profile" {
			return 500, "profiling is not in progress", nil
		}
		data, _ := io.ReadAll(r.Body)
		body = string(data)
		return 200, "Start profiling.\n", nil
	}}
	no := false
	p := e.profiler(t, "sglang", Config{SGLang: SGLangOptions{OutputDir: "/t", NumSteps: 5, Activities: []string{"CPU", "GPU"}, ByStage: true, WithStack: &no}})
	session, err := Bracket{Profiler: p}.Do(t.Context(), func(context.Context) error { return nil })
	if err != nil {
		t.Error(err)
	}
	if want := `{"output_dir":"/t","num_steps":5,"activities":["CPU","GPU"],"profile_by_stage":true,"with_stack":false}`; body != want {
		t.Errorf("sent %s\nwant %s", body, want)
	}
	if session.Marks.StartLoose || !session.Marks.StopLoose {
		t.Errorf("marks %+v; want a loose stop: it ends after 5 steps", session.Marks)
	}
	_, err = Bracket{Profiler: e.profiler(t, "sglang", Config{})}.Do(t.Context(), func(context.Context) error { return nil })
	if err == nil || err.Error() != "stop_profile: 500 Internal Server Error: profiling is not in progress" || body != "{}" {
		t.Errorf("without steps: %v, sent %s; want the failed stop kept and an empty object sent", err, body)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		kind string
		c    Config
		want string
	}{
		{"torch", Config{}, `no profiler "torch": have none, script, sglang, vllm`},
		{"vllm", Config{VLLM: VLLMOptions{Prefix: "../x", MaxIterations: -1}},
			"profile prefix \"../x\": want 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first\nprofile limit of -1 iterations: want 0 (none) or more"},
		{"sglang", Config{SGLang: SGLangOptions{NumSteps: -1}}, "profile of -1 steps from step 0: want 0 (not said) or more"},
		{"script", Config{}, "profiler script: no program: name it and its arguments"},
	} {
		if _, err := New(tc.kind, tc.c); err == nil || err.Error() != tc.want {
			t.Errorf("New(%s) = %v\nwant %s", tc.kind, err, tc.want)
		}
	}
}

func TestNoneProfilesNothing(t *testing.T) {
	p, err := New("none", Config{})
	if err != nil {
		t.Fatal(err)
	}
	session, err := Bracket{Profiler: p}.Do(t.Context(), func(context.Context) error { return nil })
	if err != nil || session.Marks.Called {
		t.Errorf("Do() = %v, called %t", err, session.Marks.Called)
	}
}
