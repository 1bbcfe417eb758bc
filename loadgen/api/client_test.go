package api

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"servebench/datasets"
	"servebench/loadgen"
	"servebench/loadgen/wire"
	"servebench/results"
)

// replay answers every request with the same bytes and closes the connection. It returns its address and the
// requests as they came.
func replay(t *testing.T, answer []byte) (url string, requests func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				var raw bytes.Buffer
				req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
				if err != nil {
					return
				}
				body, _ := io.ReadAll(req.Body)
				_ = body
				mu.Lock()
				seen = append(seen, raw.String())
				mu.Unlock()
				_, _ = c.Write(answer)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return "http://" + l.Addr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(seen) }
}

func newTestClient(t *testing.T, backend, url string, change ...func(*Config)) *Client {
	t.Helper()
	kind, err := KindOf(backend)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{URL: url + kind.Path, Kind: kind, Clock: wire.NewClock(), KeepTexts: true, Options: Options{Model: "m"}}
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eachWay runs a test with connections that net/http reads and with connections that a Hub reads.
func eachWay(t *testing.T, test func(t *testing.T, way func(*Config))) {
	t.Run("net/http", func(t *testing.T) { test(t, func(*Config) {}) })
	t.Run("hub", func(t *testing.T) {
		test(t, func(c *Config) {
			hub, err := wire.NewHub(c.Clock)
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(hub.Close)
			c.Hub = hub
		})
	})
}

func send(t *testing.T, c *Client) results.Reply {
	t.Helper()
	call, err := c.Prepare(loadgen.Request{Sample: datasets.Sample{ID: "r-0", Prompt: datasets.Prompt{Text: "x"}, OutputTokens: 7}})
	if err != nil {
		t.Fatal(err)
	}
	return call.Send(t.Context())
}

func recording(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".response"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRecordedStreams reads what a real vLLM sent.
func TestRecordedStreams(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		for _, tc := range []struct {
			file, backend   string
			tokens          []int // of each chunk; -1 when only the usage can tell
			visible         int
			finish          string
			prompt, output  int // of the usage; 0 without one
			textBegins      string
			failure, says   string
			truncated, none bool
		}{
			{file: "completions/stream-usage", backend: "vllm", tokens: repeat(-1, 7), visible: 7, finish: "length", prompt: 9, output: 7, textBegins: " author based based"},
			{file: "completions/stream-plain", backend: "vllm", tokens: repeat(-1, 7), visible: 7, finish: "length", textBegins: " author based"},
			{file: "completions/stream-interval-4", backend: "vllm", tokens: []int{1, 4, 4, 4, 1}, visible: 5, finish: "length", prompt: 7, output: 14, textBegins: "/mini see"},
			{file: "completions/stream-continuous-usage", backend: "vllm", tokens: repeat(1, 7), visible: 7, finish: "length", prompt: 9, output: 7},
			{file: "completions/stream-utf8-split", backend: "vllm", tokens: nil, visible: 17, finish: "length", none: true},
			{file: "completions/stream-one-token", backend: "vllm", tokens: repeat(-1, 1), visible: 1, finish: "length", prompt: 9, output: 1},
			{file: "chat/stream-usage", backend: "openai-chat", tokens: repeat(-1, 7), visible: 7, finish: "length", prompt: 35, output: 7, textBegins: "\n\n"},
			{file: "chat/stream-token-ids", backend: "openai-chat", tokens: repeat(1, 5), visible: 5, finish: "length"},
			{file: "responses/stream", backend: "openai-responses", tokens: repeat(-1, 2), visible: 2, finish: "incomplete", prompt: 35, output: 5},
			{file: "errors/token-out-of-vocabulary", backend: "vllm", failure: results.FailServer, says: "Token id 999999 is out of vocabulary"},
			{file: "errors/unknown-model", backend: "vllm", failure: results.FailStatus, says: "404 Not Found: The model `no-such-model` does not exist."},
			{file: "errors/wrong-path", backend: "vllm", failure: results.FailStatus, says: "404 Not Found: Not Found"},
			{file: "errors/prompt-too-long", backend: "vllm", failure: results.FailStatus, says: "at least 2049"},
		} {
			t.Run(tc.file, func(t *testing.T) {
				url, _ := replay(t, recording(t, tc.file))
				reply := send(t, newTestClient(t, tc.backend, url, way))
				if tc.failure != "" {
					if reply.Failure == nil || reply.Failure.Class != tc.failure || !strings.Contains(reply.Failure.Message, tc.says) {
						t.Fatalf("failure %+v; want %s with %q", reply.Failure, tc.failure, tc.says)
					}
					return
				}
				if reply.Failure != nil {
					t.Fatalf("failed: %+v", reply.Failure)
				}
				var tokens []int
				visible := 0
				for _, c := range reply.Chunks {
					tokens = append(tokens, c.Tokens)
					if c.Visible {
						visible++
					}
				}
				if !tc.none && !slices.Equal(tokens, tc.tokens) {
					t.Errorf("tokens of the chunks %v; want %v", tokens, tc.tokens)
				}
				if visible != tc.visible {
					t.Errorf("%d chunks with text; want %d", visible, tc.visible)
				}
				if reply.Finish != tc.finish || !reply.EndMarked {
					t.Errorf("finish %q, end marked %t; want %q, true", reply.Finish, reply.EndMarked, tc.finish)
				}
				if tc.output > 0 && (reply.Usage == nil || reply.Usage.Prompt != tc.prompt || reply.Usage.Completion != tc.output) {
					t.Errorf("usage %+v; want %d and %d", reply.Usage, tc.prompt, tc.output)
				}
				if !strings.HasPrefix(reply.Text, tc.textBegins) {
					t.Errorf("text %q; want it to begin with %q", reply.Text, tc.textBegins)
				}
				inOrder := []results.Moment{reply.Connected, reply.WriteBegan, reply.Written, reply.Headers, reply.Chunks[0].At, reply.Done}
				if !slices.IsSorted(inOrder) || slices.Contains(inOrder, 0) {
					t.Errorf("stamps out of order or missing: %v", inOrder)
				}
			})
		}
	})
}

func repeat(v, n int) []int { return slices.Repeat([]int{v}, n) }

// TestAStreamCutAnywhereFails cuts a real stream after every byte: only the whole of it is a success.
func TestAStreamCutAnywhereFails(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		whole := recording(t, "completions/stream-usage")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var serving sync.WaitGroup
		defer serving.Wait()
		defer l.Close()
		next := make(chan []byte, 1)
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = c.Write(<-next)
				}
				c.Close()
			}
		})
		client := newTestClient(t, "vllm", "http://"+l.Addr().String(), way)
		for n := range len(whole) {
			next <- whole[:n]
			reply := send(t, client)
			if reply.Failure == nil {
				t.Fatalf("a stream cut after %d of %d bytes is a success", n, len(whole))
			}
			if reply.Status == 200 && reply.Failure.Class != results.FailCut {
				t.Errorf("cut after %d bytes: %+v; want class %s", n, reply.Failure, results.FailCut)
			}
		}
		next <- whole
		if reply := send(t, client); reply.Failure != nil {
			t.Errorf("the whole stream: %+v", reply.Failure)
		}
	})
}

func TestHeadersReplaceEachOtherWhateverTheirCase(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		url, requests := replay(t, recording(t, "completions/stream-usage"))
		client := newTestClient(t, "vllm", url, way, func(c *Config) {
			c.Headers = [][2]string{{"Authorization", "Bearer k"}, {"authorization", "Basic abc"}, {"x-request-id", "mine"}, {"content-type", "application/json; v=2"}}
		})
		send(t, client)
		got := requests()[0]
		for _, want := range []string{"authorization: Basic abc\r\n", "x-request-id: r-0\r\n", "content-type: application/json; v=2\r\n", "Accept-Encoding: identity\r\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		for _, not := range []string{"Bearer", "mine", "Content-Type:"} {
			if strings.Contains(got, not) {
				t.Errorf("%q in\n%s", not, got)
			}
		}
	})
}

func TestAPackedReplyIsRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		url, _ := replay(t, []byte("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"))
		reply := send(t, newTestClient(t, "vllm", url, way))
		if reply.Failure == nil || reply.Failure.Class != results.FailStream || !strings.Contains(reply.Failure.Message, "gzip") {
			t.Errorf("failure %+v; want one that names gzip", reply.Failure)
		}
	})
}

func TestNothingListens(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		reply := send(t, newTestClient(t, "vllm", "http://"+l.Addr().String(), way))
		if reply.Failure == nil || reply.Failure.Class != results.FailConnect || !strings.Contains(reply.Failure.Message, "nothing listens there") {
			t.Errorf("failure %+v; want %s and what would help", reply.Failure, results.FailConnect)
		}
		if reply.Written != 0 || reply.Done == 0 {
			t.Errorf("written %v, done %v; want no first and some second", reply.Written, reply.Done)
		}
	})
}

func TestACancelledRequestSaysSo(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client := newTestClient(t, "vllm", "http://"+l.Addr().String(), way)
		ctx, cancel := context.WithCancel(t.Context())
		call, err := client.Prepare(loadgen.Request{Sample: datasets.Sample{Prompt: datasets.Prompt{Text: "x"}}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				_, _ = c.Read(make([]byte, 1))
			}
			cancel()
		}()
		reply := call.Send(ctx)
		if reply.Failure == nil || reply.Failure.Class != results.FailCancelled {
			t.Errorf("failure %+v; want %s", reply.Failure, results.FailCancelled)
		}
	})
}

// FuzzEvent feeds anything to every kind of stream: no panic, and a template never takes an event for another.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"id":"x","choices":[{"index":0,"text":"a","finish_reason":null}]}`), []byte(`{"id":"x","choices":[{"index":0,"text":"b\"}],\"usage\":{}","finish_reason":null}]}`))
	f.Add([]byte(`{"choices":[{"delta":{"content":"a"}}]}`), []byte(`{"choices":[{"delta":{"content":"\u00e9"}}]}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for name, kind := range kinds {
			if kind.Pooling {
				var d Delta
				_ = kind.Dialect.Whole(first, http.Header{}, &d)
				continue
			}
			var tmpl template
			stream := kind.Dialect.Stream(false)
			var d Delta
			if stream.Event(first, &d) != nil {
				continue
			}
			if d.Plain {
				tmpl.learn(first, d.Text)
			}
			text, ok := tmpl.match(second)
			if !ok {
				continue
			}
			var full Delta
			if err := kind.Dialect.Stream(false).Event(second, &full); err != nil || !full.Output || !bytes.Equal(full.Text, text) || full.Usage != nil || len(full.Finish) > 0 {
				t.Errorf("%s: the template takes %q for the text %q; in full it is %+v, %v", name, second, text, full, err)
			}
		}
	})
}

// events are one token's event as three servers word it.
var events = map[string]string{
	"template":   `data: {"id":"cmpl-9887690712e5d006","object":"text_completion","created":1795507840,"model":"tiny-opt","choices":[{"index":0,"text":" based","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}` + "\n\n",
	"usage":      `data: {"id":"cmpl-9887690712e5d006","object":"text_completion","created":1795507840,"model":"tiny-opt","choices":[{"index":0,"text":" based","logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}` + "\n\n",
	"token ids":  `data: {"id":"cmpl-9887690712e5d006","object":"text_completion","created":1795507840,"model":"tiny-opt","choices":[{"index":0,"text":" based","logprobs":null,"finish_reason":null,"token_ids":[5,6]}]}` + "\n\n",
	"empty text": `data: {"id":"cmpl-9887690712e5d006","object":"text_completion","created":1795507840,"model":"tiny-opt","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null}]}` + "\n\n",
}

// eventReader reads events without a connection.
func eventReader(tokens int) (*reader, *results.Reply) {
	kind, _ := KindOf("vllm")
	reply := &results.Reply{}
	return newReader(&call{client: &Client{cfg: Config{Kind: kind}}, asked: tokens}, reply), reply
}

// raced says that the race detector is on.
var raced bool

var underRace bool

// TestATokenAllocatesNothing reads tokens that a stream was asked for: no event is garbage.
func TestATokenAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector allocates")
	}
	for name, event := range events {
		r, reply := eventReader(1000)
		r.text = make([]byte, 0, 1<<20)
		seq, line := 0, []byte(event)
		if n := testing.AllocsPerRun(500, func() {
			seq++
			if r.feed(line, wire.Read{Seq: seq, At: int64(seq), User: int64(seq)}) != nil {
				t.Fatal("the event is refused")
			}
		}); n != 0 && !raced {
			t.Errorf("%s: %v allocations an event; want none", name, n)
		}
		if len(reply.Chunks) != 501 {
			t.Errorf("%s: %d chunks; want 501", name, len(reply.Chunks))
		}
	}
}

// TestEventsThatShareARead marks each event whose stamp may be late or whose gap is zero.
func TestEventsThatShareARead(t *testing.T) {
	event := events["empty text"]
	for _, tc := range []struct {
		name  string
		feeds []string
		seqs  []int
		want  []bool
	}{
		{"one a read", []string{event, event}, []int{1, 2}, []bool{false, false}},
		{"two a read", []string{event + event, event}, []int{1, 2}, []bool{true, true, false}},
		{"the end behind it", []string{event + "data: [DONE]\n\n"}, []int{1}, []bool{true}},
		{"a beginning behind it", []string{event + event[:9], event[9:]}, []int{1, 2}, []bool{true, false}},
		{"one read, handed on in two", []string{event, event}, []int{1, 1}, []bool{true, true}},
	} {
		r, reply := eventReader(8)
		for i, b := range tc.feeds {
			if problem := r.feed([]byte(b), wire.Read{Seq: tc.seqs[i], At: int64(tc.seqs[i])}); problem != nil {
				t.Fatal(problem)
			}
		}
		var got []bool
		for _, c := range reply.Chunks {
			got = append(got, c.Shared)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: shared %v; want %v", tc.name, got, tc.want)
		}
	}
}

// TestWarmConnectionsAreUsed opens connections before the load: the requests find them, and a closed one is passed over.
func TestWarmConnectionsAreUsed(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		for _, secure := range []bool{false, true} {
			var mu sync.Mutex
			opened := map[string]http.ConnState{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, events["empty text"]+"data: [DONE]\n\n")
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Config.ConnState = func(c net.Conn, s http.ConnState) {
				mu.Lock()
				defer mu.Unlock()
				opened[c.RemoteAddr().String()] = s
			}
			if secure {
				server.StartTLS()
			} else {
				server.Start()
			}
			client := newTestClient(t, "vllm", server.URL, way, func(c *Config) { c.Warm, c.Insecure = 3, true })
			if err := client.WarmUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			client.warm.conns[2].Close() // the next to be taken
			for range 2 {
				if reply := send(t, client); reply.Failure != nil || reply.Connected != 0 {
					t.Errorf("TLS %t: failure %v, connected %v; want neither", secure, reply.Failure, reply.Connected)
				}
			}
			mu.Lock()
			if len(opened) != 3 {
				t.Errorf("TLS %t: %d connections; want the 3 warm ones alone", secure, len(opened))
			}
			mu.Unlock()
			client.Close()
			server.Close()
		}
	})
}

// BenchmarkEvents is the cost of reading one token's event, once the bytes are there. It must stay far below
// the seven microseconds that the kernel needs for an event that arrives alone.
func BenchmarkEvents(b *testing.B) {
	for name, event := range events {
		b.Run(name, func(b *testing.B) {
			r, reply := eventReader(1000)
			line := []byte(event)
			b.ReportAllocs()
			for b.Loop() {
				if r.feed(line, wire.Read{Seq: 1, At: 1, User: 2}) != nil {
					b.Fatal("the event is refused")
				}
				if len(reply.Chunks) == cap(reply.Chunks) {
					reply.Chunks, r.text = reply.Chunks[:0], r.text[:0]
				}
			}
		})
	}
}
