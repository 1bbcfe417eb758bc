package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server with its own port until the test ends.
func start(t testing.TB, c Config) (*Server, string) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// quick is a server that takes no time worth mentioning.
func quick(c Config) Config {
	for _, d := range []*int64{(*int64)(&c.HostGap), (*int64)(&c.Launch), (*int64)(&c.StepBase), (*int64)(&c.PromptToken), (*int64)(&c.Sequence), (*int64)(&c.ProfileStart), (*int64)(&c.ProfileStop)} {
		if *d == 0 {
			*d = -1
		}
	}
	return c
}

// exchange sends a recorded request as it is, and returns the whole answer.
func exchange(t *testing.T, addr string, request []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The recorder closed its connection after each answer; ours has to ask for that.
	request = bytes.Replace(request, []byte("\r\nAccept:"), []byte("\r\nConnection: close\r\nAccept:"), 1)
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A reply is an answer taken apart.
type reply struct {
	status  string
	headers []string // names in small letters, sorted; the values of the telling ones
	body    string
	chunks  []string
}

func parse(t *testing.T, raw []byte) reply {
	t.Helper()
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no head in %q", raw)
	}
	lines := strings.Split(string(head), "\r\n")
	r := reply{status: lines[0], body: string(body)}
	isChunked := false
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		name = strings.ToLower(name)
		switch name {
		case "connection":
			continue // ours was asked to close
		case "content-type", "transfer-encoding", "server", "vary", "allow":
			name += ": " + value
		}
		isChunked = isChunked || name == "transfer-encoding: chunked"
		r.headers = append(r.headers, name)
	}
	slices.Sort(r.headers)
	if isChunked {
		reader := bufio.NewReader(bytes.NewReader(body))
		for {
			var size int
			if _, err := fmt.Fscanf(reader, "%x\r\n", &size); err != nil {
				t.Fatalf("chunk %d: %v", len(r.chunks), err)
			}
			chunk := make([]byte, size+2)
			if _, err := io.ReadFull(reader, chunk); err != nil {
				t.Fatalf("chunk %d: %v", len(r.chunks), err)
			}
			if size == 0 {
				break
			}
			r.chunks = append(r.chunks, string(chunk[:size]))
		}
		r.body = strings.Join(r.chunks, "")
	}
	return r
}

// shape is a JSON text with its keys in order and its values replaced by their kinds.
func shape(text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value func(parent string) string
	value = func(parent string) string {
		token, err := d.Token()
		if err != nil {
			return "?" + err.Error()
		}
		switch token := token.(type) {
		case json.Delim:
			var parts []string
			if token == '[' {
				for d.More() {
					// Lists of any length are alike.
					if s := value(parent); !slices.Contains(parts, s) {
						parts = append(parts, s)
					}
				}
				d.Token()
				return "[" + strings.Join(parts, ",") + "]"
			}
			for d.More() {
				key, _ := d.Token()
				parts = append(parts, key.(string)+":"+value(key.(string)))
			}
			d.Token()
			if parent == "top_logprobs" && !strings.HasPrefix(parts[0], "token:") {
				return "{words}" // keys are tokens
			}
			return "{" + strings.Join(parts, ",") + "}"
		case nil:
			return "null"
		case string:
			if parent == "object" || parent == "type" || parent == "role" {
				return token
			}
			return "string"
		case json.Number:
			return "number"
		case bool:
			return fmt.Sprint(token)
		}
		return "?"
	}
	return value("")
}

// shapes are the shapes of a stream's events, runs of equal ones as one.
func shapes(chunks []string) []string {
	var out []string
	for _, chunk := range chunks {
		text := chunk
		if name, data, ok := strings.Cut(chunk, "data: {"); ok {
			end := "}" + strings.TrimPrefix(chunk[strings.LastIndex(chunk, "}"):], "}")
			text = name + "data: " + shape("{"+strings.TrimSuffix(data, "\n\n")) + strings.TrimPrefix(end, "}")
		}
		if len(out) == 0 || out[len(out)-1] != text {
			out = append(out, text)
		}
	}
	return out
}

func distinct(all []string) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func recorded(t *testing.T, name string) (request []byte, response reply) {
	t.Helper()
	path := filepath.Join("testdata", "recordings", filepath.FromSlash(name))
	request, err := os.ReadFile(path + ".request")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path + ".response")
	if err != nil {
		t.Fatal(err)
	}
	return request, parse(t, raw)
}

func recordings(t *testing.T, folders ...string) []string {
	t.Helper()
	var names []string
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join("testdata", "recordings", folder, "*.request"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no recordings in %s (%v)", folder, err)
		}
		for _, f := range files {
			names = append(names, folder+"/"+strings.TrimSuffix(filepath.Base(f), ".request"))
		}
	}
	return names
}

func tiny(model string) Config {
	return quick(Config{Model: model, Root: "/models/" + model, MaxNumSeqs: 64, DevMode: model == "tiny-qwen"})
}

// Streams and plain answers have the shape of the recorded ones: status, headers, keys in their order, kinds of values, chunks.
func TestAnswersAreLikeTheRecordedOnes(t *testing.T) {
	_, opt := start(t, tiny("tiny-opt"))
	_, qwen := start(t, tiny("tiny-qwen"))
	interval := tiny("tiny-qwen")
	interval.StreamInterval = 4
	_, four := start(t, interval)
	for _, name := range recordings(t, "completions", "chat", "responses", "messages") {
		t.Run(name, func(t *testing.T) {
			request, want := recorded(t, name)
			addr := opt
			switch {
			case strings.Contains(name, "interval"):
				addr = four
			case bytes.Contains(request, []byte("tiny-qwen")):
				addr = qwen
			}
			got := parse(t, exchange(t, addr, request))
			if got.status != want.status {
				t.Errorf("status %q; want %q", got.status, want.status)
			}
			if !slices.Equal(got.headers, want.headers) {
				t.Errorf("headers %q; want %q", got.headers, want.headers)
			}
			if strings.Contains(name, "-stop") {
				return // what is said decides these: TestStop
			}
			if strings.Contains(name, "/error") {
				if got.body != want.body {
					t.Errorf("body\n%s; want\n%s", got.body, want.body)
				}
				return
			}
			if want.chunks == nil {
				if g, w := shape(got.body), shape(want.body); g != w {
					t.Errorf("body\n%s; want\n%s", g, w)
				}
				return
			}
			g, w := shapes(got.chunks), shapes(want.chunks)
			if strings.Contains(name, "-n2") {
				// Which choice is ahead is chance.
				g, w = distinct(g), distinct(w)
			}
			if !slices.Equal(g, w) {
				t.Errorf("events\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
			}
		})
	}
}

// Errors are the recorded ones, byte for byte.
func TestErrorsAreTheRecordedOnes(t *testing.T) {
	_, opt := start(t, tiny("tiny-opt"))
	_, qwen := start(t, tiny("tiny-qwen"))
	for _, name := range recordings(t, "errors") {
		t.Run(name, func(t *testing.T) {
			request, want := recorded(t, name)
			addr := opt
			if bytes.Contains(request, []byte("tiny-qwen")) {
				addr = qwen
			}
			got := parse(t, exchange(t, addr, request))
			if got.status != want.status || !slices.Equal(got.headers, want.headers) || got.body != want.body {
				t.Errorf("%s %q\n%s\nwant %s %q\n%s", got.status, got.headers, got.body, want.status, want.headers, want.body)
			}
			if len(want.chunks) != len(got.chunks) {
				t.Errorf("%d chunks; want %d", len(got.chunks), len(want.chunks))
			}
		})
	}
}

func TestServerPagesAreLikeTheRecordedOnes(t *testing.T) {
	_, opt := start(t, tiny("tiny-opt"))
	_, qwen := start(t, tiny("tiny-qwen"))
	for _, name := range recordings(t, "server") {
		t.Run(name, func(t *testing.T) {
			request, want := recorded(t, name)
			addr := opt
			if strings.Contains(name, "qwen") || strings.Contains(name, "-dev") && !strings.HasSuffix(name, "-not-dev") || strings.Contains(name, "metrics") {
				addr = qwen
			}
			got := parse(t, exchange(t, addr, request))
			if got.status != want.status || !slices.Equal(got.headers, want.headers) {
				t.Errorf("%s %q; want %s %q", got.status, got.headers, want.status, want.headers)
			}
			switch {
			case strings.Contains(name, "metrics"):
				compareMetrics(t, got.body, want.body)
			case strings.Contains(name, "server-info-dev"):
				var g, w map[string]any
				if json.Unmarshal([]byte(got.body), &g) != nil || json.Unmarshal([]byte(want.body), &w) != nil || len(g) != len(w) {
					t.Errorf("%d keys; want %d", len(g), len(w))
				}
				for section, fields := range g["vllm_config"].(map[string]any) {
					known, ok := w["vllm_config"].(map[string]any)[section].(map[string]any)
					for key := range fields.(map[string]any) {
						if _, isKnown := known[key]; !isKnown && (ok || section != "profiler_config") {
							t.Errorf("%s.%s is not in the recorded page", section, key)
						}
					}
				}
			case name == "server/load" || name == "server/version" || want.body == "" || strings.Contains(want.body, "detail") || strings.Contains(want.body, "success"):
				if got.body != want.body {
					t.Errorf("body %q; want %q", got.body, want.body)
				}
			default:
				if g, w := shape(got.body), shape(want.body); g != w {
					t.Errorf("body\n%s; want\n%s", g, w)
				}
			}
		})
	}
}

var seriesLine = regexp.MustCompile(`^([a-zA-Z_:]+)(?:\{(.*)\})? `)

// compareMetrics holds all families of the engine against the recorded page: names, kinds, labels, buckets, order.
func compareMetrics(t *testing.T, got, want string) {
	t.Helper()
	outline := func(page string) []string {
		var out []string
		for _, line := range strings.Split(page, "\n") {
			if strings.HasPrefix(line, "# TYPE vllm:") {
				out = append(out, line)
			}
			if m := seriesLine.FindStringSubmatch(line); m != nil && strings.HasPrefix(m[1], "vllm:") {
				if m[1] == "vllm:cache_config_info" {
					m[2] = "..."
				}
				out = append(out, m[1]+"{"+m[2]+"}")
			}
		}
		return out
	}
	g, w := outline(got), outline(want)
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d of the outline: %q; want %q", i, g[min(i, len(g)-1):min(i+1, len(g))], w[min(i, len(w)-1):min(i+1, len(w))])
		}
	}
}

func TestProfilerAnswersLikeTheRecordedOnes(t *testing.T) {
	c := tiny("tiny-opt")
	c.ProfileDir, c.Device = t.TempDir(), CPU
	_, with := start(t, c)
	_, without := start(t, tiny("tiny-qwen"))
	for _, step := range []struct{ name, addr string }{
		{"start-no-profiler", without},
		{"stop-no-profiler", without},
		{"stop-without-start", with},
		{"start", with},
		{"start-twice", with},
		{"stop", with},
		{"stop-twice", with},
		{"start-get", with},
		{"start-bad-json", with},
		{"start-bad-prefix", with},
		{"start-negative-max", with},
		{"start-unknown-key", with},
		{"stop", with},
		{"start-with-prefix", with},
		{"stop-with-prefix", with},
		{"start-three-steps", with},
		{"stop-three-steps", with},
		{"start-after-stop", with},
	} {
		request, want := recorded(t, "profile/"+step.name)
		got := parse(t, exchange(t, step.addr, request))
		if got.status != want.status || !slices.Equal(got.headers, want.headers) || got.body != want.body {
			t.Errorf("%s: %s %q %q; want %s %q %q", step.name, got.status, got.headers, got.body, want.status, want.headers, want.body)
		}
	}
}

// The head of a stream is a write of its own, and so is every event.
func TestEveryEventIsAWriteOfItsOwn(t *testing.T) {
	s, err := New(quick(Config{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var writes []string
	web := httptest.NewUnstartedServer(s.Handler())
	web.Config.ConnContext = nil
	web.Listener = &spyListener{web.Listener, &writes}
	web.Start()
	defer web.Close()
	response, err := http.Post(web.URL+"/v1/completions", "application/json", strings.NewReader(`{"prompt":" abc","max_tokens":3,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	web.Close()
	if len(writes) != 7 {
		t.Fatalf("%d writes; want 7 (head, 3 tokens, usage, [DONE], end):\n%q", len(writes), writes)
	}
	if !strings.HasPrefix(writes[0], "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(writes[0], "\r\n\r\n") {
		t.Errorf("first write %q; want the head alone", writes[0])
	}
	for i, w := range writes[1:6] {
		if !strings.Contains(w, "\r\ndata: ") || strings.Count(w, "data: ") != 1 {
			t.Errorf("write %d is %q; want one event", i+1, w)
		}
	}
	if writes[6] != "0\r\n\r\n" {
		t.Errorf("last write %q; want the last chunk", writes[6])
	}
}

type spyListener struct {
	net.Listener
	writes *[]string
}

func (l *spyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &spyConn{conn, l.writes}, err
}

type spyConn struct {
	net.Conn
	writes *[]string
}

func (c *spyConn) Write(b []byte) (int, error) {
	*c.writes = append(*c.writes, string(b))
	return c.Conn.Write(b)
}
