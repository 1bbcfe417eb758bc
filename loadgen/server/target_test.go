package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// replay answers every call with the recorded bytes of a real server; routes map "METHOD path" to
// a file in testdata. asked returns what was asked, bodies included.
func replay(t *testing.T, routes map[string]string) (target Target, asked func() []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls []string
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(request.Body)
				route := request.Method + " " + request.URL.RequestURI()
				mu.Lock()
				calls = append(calls, route+" "+string(body))
				mu.Unlock()
				name, ok := routes[route]
				if !ok {
					name = "server-info-not-dev.response"
				}
				data, err := os.ReadFile(filepath.Join("testdata", name))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write(data)
			})
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return Target{BaseURL: "http://" + listener.Addr().String() + "/", Client: client}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(calls)
	}
}

func TestTargetReadsARealServer(t *testing.T) {
	target, asked := replay(t, map[string]string{
		"GET /health":              "health.response",
		"GET /version":             "version.response",
		"GET /v1/models":           "models.response",
		"POST /tokenize":           "tokenize.response",
		"POST /detokenize":         "detokenize.response",
		"POST /reset_prefix_cache": "reset-prefix-cache-dev.response",
	})
	ctx := t.Context()
	if err := target.Health(ctx); err != nil {
		t.Errorf("Health() = %v", err)
	}
	if got, err := target.Version(ctx); got != "0.32.0" || err != nil {
		t.Errorf("Version() = %q, %v; want 0.32.0", got, err)
	}
	models, err := target.Models(ctx)
	if err != nil || len(models) != 1 || models[0].ID != "tiny-opt" || models[0].MaxLength != 2048 {
		t.Errorf("Models() = %+v, %v; want tiny-opt of length 2048", models, err)
	}
	ids, err := target.Tokenize(ctx, "tiny-opt", "San Francisco is a", true)
	if want := []int{2, 54, 287, 2143, 70, 315, 302, 567, 429}; !slices.Equal(ids, want) || err != nil {
		t.Errorf("Tokenize() = %v, %v; want %v", ids, err, want)
	}
	text, err := target.Detokenize(ctx, "tiny-opt", ids)
	if text != "</s>San Francisco is a" || err != nil {
		t.Errorf("Detokenize() = %q, %v", text, err)
	}
	if err := target.ResetPrefixCache(ctx); err != nil {
		t.Errorf("ResetPrefixCache() = %v", err)
	}
	_, err = target.ServerInfo(ctx)
	if !IsStatus(err, 404) {
		t.Errorf("ServerInfo() without developer mode: %v; want a status 404", err)
	}
	want := []string{
		"GET /health ",
		"GET /version ",
		"GET /v1/models ",
		`POST /tokenize {"model":"tiny-opt","prompt":"San Francisco is a","add_special_tokens":true}`,
		`POST /detokenize {"model":"tiny-opt","tokens":[2,54,287,2143,70,315,302,567,429]}`,
		"POST /reset_prefix_cache ",
		"GET /server_info?config_format=json ",
	}
	if got := asked(); !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestResetPrefixCacheOutsideDeveloperMode(t *testing.T) {
	target, _ := replay(t, map[string]string{"POST /reset_prefix_cache": "reset-prefix-cache-not-dev.response"})
	err := target.ResetPrefixCache(t.Context())
	if !IsStatus(err, 404) || !strings.HasSuffix(err.Error(), "/reset_prefix_cache: 404 Not Found: Not Found") {
		t.Errorf("got %v; want the status and the server's words", err)
	}
}

func TestHealthOfAServerWithoutTheRoute(t *testing.T) {
	target, asked := replay(t, map[string]string{"GET /v1/models": "models.response"})
	if err := target.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if got := len(asked()); got != 2 {
		t.Errorf("%d calls; want /health, then /v1/models", got)
	}
}

func TestMessage(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"error object", `{"error":{"message":"The model does not exist.","code":404}}`, "The model does not exist."},
		{"detail", `{"detail":"Not Found"}`, "Not Found"},
		{"detail list", `{"detail":[{"msg":"x"}]}`, `[{"msg":"x"}]`},
		{"error text", `{"error":"no"}`, "no"},
		{"message", `{"object":"error","message":"too long"}`, "too long"},
		{"plain", "Internal Server Error\n", "Internal Server Error"},
		{"empty", "", ""},
		{"long", strings.Repeat("x", 600), strings.Repeat("x", 500) + "..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Message([]byte(tc.body)); got != tc.want {
				t.Errorf("Message() = %q; want %q", got, tc.want)
			}
		})
	}
}

func TestHeadersGoOutAndStayOutOfErrors(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	address := strings.Replace(srv.URL, "http://", "http://user:hush@", 1)
	target := Target{BaseURL: address, Headers: http.Header{"authorization": {"Bearer sesame"}}, Client: srv.Client()}
	err := target.Health(t.Context())
	if got != "Bearer sesame" {
		t.Errorf("sent Authorization %q", got)
	}
	if !IsStatus(err, 401) || strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v; want a 401 without secrets", err)
	}
}

func TestUnreachableServerSaysWhatWouldDo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, err = Target{BaseURL: "http://" + address}.Version(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no server answers at http://"+address+": check host and port") {
		t.Errorf("got %v", err)
	}
}

func TestACallHonoursItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		target := Target{BaseURL: "http://server", Client: silent}
		began := time.Now()
		_, err := target.Version(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != callLimit {
			t.Errorf("without a deadline: %v after %v; want the package's own %v", err, time.Since(began), callLimit)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		began = time.Now()
		_, err = target.Version(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Minute {
			t.Errorf("with a deadline: %v after %v; want that deadline", err, time.Since(began))
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func TestWaitReadyAsksUntilHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			calls++
			if calls < 4 {
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			}
			return answer(r, 200, ""), nil
		})}
		var heard []time.Duration
		ready, err := Target{BaseURL: "http://server", Client: client}.WaitReady(t.Context(), Readiness{
			Every:    time.Second,
			Progress: func(w Waiting) { heard = append(heard, w.Elapsed) },
		})
		if err != nil || ready.After != 3*time.Second || ready.Warmed != "" {
			t.Errorf("WaitReady() = %+v, %v; want ready after 3 s", ready, err)
		}
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(heard, want) {
			t.Errorf("progress at %v; want %v", heard, want)
		}
	})
}

func TestWaitReadyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := func(code int) Target {
			return Target{BaseURL: "http://server", Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				return answer(r, code, `{"detail":"loading"}`), nil
			})}}
		}
		_, err := status(503).WaitReady(t.Context(), Readiness{Limit: 10 * time.Second})
		if err == nil || err.Error() != "not ready after 10s: GET http://server/health: 503 Service Unavailable: loading" {
			t.Errorf("at the limit: %v", err)
		}
		began := time.Now()
		if _, err := status(401).WaitReady(t.Context(), Readiness{}); !IsStatus(err, 401) || time.Since(began) != 0 {
			t.Errorf("without the key: %v after %v; want the 401 at once", err, time.Since(began))
		}
		cause := errors.New("Ctrl-C")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := status(503).WaitReady(ctx, Readiness{}); !errors.Is(err, cause) {
			t.Errorf("when told to stop: %v", err)
		}
	})
}

func TestTheServersTokenizer(t *testing.T) {
	// Words are ids by their length and first letter; the model puts a 2 before a prompt.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) > longestQuestion+100 {
			t.Errorf("a question of %d bytes", len(body))
		}
		ids := "54,287"
		switch {
		case strings.Contains(string(body), "the of and"):
			ids = "7,7,3,1999"
		case !strings.Contains(string(body), "San"):
			ids = "7,11"
		}
		if strings.Contains(string(body), `"add_special_tokens":true`) {
			ids = "2," + ids
		}
		_, _ = io.WriteString(w, `{"tokens":[`+ids+`]}`)
	}))
	defer srv.Close()
	tok, err := AskTokenizer(t.Context(), Target{BaseURL: srv.URL, Client: srv.Client()}, "m")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.IDs(), []int{3, 7, 11, 1999}; !slices.Equal(got, want) {
		t.Errorf("IDs() = %v; want %v", got, want)
	}
	if got := tok.VocabSize(); got != 2000 {
		t.Errorf("VocabSize() = %d; want 2000", got)
	}
	if got := tok.SpecialIDs(); !slices.Equal(got, []int{2}) || tok.SpecialTokens() != 1 {
		t.Errorf("SpecialIDs() = %v, SpecialTokens() = %d; want 2 alone", got, tok.SpecialTokens())
	}
	if got, err := tok.Encode("San", true); !slices.Equal(got, []int{2, 54, 287}) || err != nil {
		t.Errorf("Encode() = %v, %v", got, err)
	}
}

func TestTokenizerOfAServerWithoutTheRoute(t *testing.T) {
	target, _ := replay(t, nil)
	if _, err := AskTokenizer(t.Context(), target, "m"); !IsStatus(err, 404) {
		t.Errorf("got %v; want the 404 kept", err)
	}
}

func TestPlainTextIsShortAndComplete(t *testing.T) {
	var all []string
	for text := range plainText() {
		if len(text) > longestQuestion {
			t.Errorf("a piece of %d bytes", len(text))
		}
		all = append(all, strings.Fields(text)...)
	}
	if want := len(strings.Fields(words)) + 26*26 + 100; len(all) != want {
		t.Errorf("%d words; want %d", len(all), want)
	}
}

func TestLocal(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			if target := (Target{BaseURL: "http://" + n.IP.String() + ":8000"}); !target.Local(t.Context()) {
				t.Errorf("%s is not local", target.BaseURL)
			}
		}
	}
	for address, want := range map[string]bool{
		"http://127.0.0.1:8000":  true,
		"http://[::1]:8000/base": true,
		"http://0.0.0.0:8000":    true,
		"http://192.0.2.7:8000":  false, // kept for documentation: nobody's
		"":                       false,
		"://":                    false,
	} {
		if got := (Target{BaseURL: address}).Local(t.Context()); got != want {
			t.Errorf("%q: Local() = %t; want %t", address, got, want)
		}
	}
}

// A server closes the connection that it kept, at the moment of the next question: the question goes out again on a new one.
func TestPostOutlivesAnIdleConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		for number := range 2 {
			conn, err := l.Accept()
			if err != nil {
				served <- err
				return
			}
			in := bufio.NewReader(conn)
			request, err := http.ReadRequest(in)
			if err == nil {
				if _, there := request.Header["Idempotency-Key"]; there {
					err = errors.New("the key went over the wire")
				}
				_, _ = io.Copy(io.Discard, request.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"tokens\":[1, 2]}")
			}
			if number == 0 { // the second question meets a reset
				_, _ = in.ReadByte()
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			conn.Close()
			if err != nil {
				served <- err
				return
			}
		}
		served <- nil
	}()
	target := Target{BaseURL: "http://" + l.Addr().String(), Client: &http.Client{Transport: &http.Transport{}}}
	for range 2 {
		if ids, err := target.Tokenize(t.Context(), "m", "a b", false); err != nil || len(ids) != 2 {
			l.Close() // nobody comes again
			t.Errorf("got %v, %v; want two tokens", ids, err)
		}
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
