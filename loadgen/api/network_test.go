package api

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"servebench/results"
)

// oneToken answers with a stream of one token.
func oneToken(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, events["empty text"]+"data: [DONE]\n\n")
}

// aServer serves with these protocols until the test ends.
func aServer(t *testing.T, secure, one, two bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(one)
	s.Config.Protocols.SetHTTP2(two)
	s.Config.Protocols.SetUnencryptedHTTP2(two)
	s.EnableHTTP2 = two
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// TestHTTP2 speaks HTTP/2 where it is asked for, with TLS and without, and HTTP/1.1 otherwise, to servers that would do either.
func TestHTTP2(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %t, HTTP/2 %t", secure, two), func(t *testing.T) {
				var protocols sync.Map
				var connections atomic.Int32
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					protocols.Store(r.Proto, true)
					_, _ = io.Copy(io.Discard, r.Body) // a server may answer before it has all of a request
					w.Header().Set("Content-Type", "text/event-stream")
					for range 20 {
						_, _ = io.WriteString(w, events["template"])
						w.(http.Flusher).Flush()
						time.Sleep(time.Millisecond)
					}
					_, _ = io.WriteString(w, "data: [DONE]\n\n")
				}))
				server.Config.Protocols = new(http.Protocols)
				server.Config.Protocols.SetHTTP1(true)
				server.Config.Protocols.SetHTTP2(true)
				server.Config.Protocols.SetUnencryptedHTTP2(true)
				server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
					if s == http.StateNew {
						connections.Add(1)
					}
				}
				server.EnableHTTP2 = true
				if secure {
					server.StartTLS()
				} else {
					server.Start()
				}
				defer server.Close()
				client := newTestClient(t, "vllm", server.URL, func(c *Config) { c.HTTP2, c.Insecure = two, true })
				if err := client.SpeaksHTTP2(t.Context()); err != nil {
					t.Fatal(err)
				}
				protocols.Clear()
				const streams = 8
				var sending sync.WaitGroup
				for range streams {
					sending.Go(func() {
						reply := send(t, client)
						if reply.Failure != nil || len(reply.Chunks) != 20 {
							t.Errorf("failure %+v, %d chunks; want 20", reply.Failure, len(reply.Chunks))
							return
						}
						last := reply.Written
						for i, c := range reply.Chunks {
							if c.At < last || c.Lag < 0 {
								t.Errorf("chunk %d at %v with a lag of %v, the one before at %v", i, c.At, c.Lag, last)
							}
							last = c.At
						}
						if reply.Written == 0 || reply.Headers < reply.Written || reply.Done < last {
							t.Errorf("written %v, headers %v, last %v, done %v: out of order", reply.Written, reply.Headers, last, reply.Done)
						}
					})
				}
				sending.Wait()
				want, shared := "HTTP/1.1", int32(streams)
				if two {
					want, shared = "HTTP/2.0", 1
				}
				protocols.Range(func(got, _ any) bool {
					if got != want {
						t.Errorf("a request came over %s, want %s", got, want)
					}
					return true
				})
				if n := connections.Load(); two && n != shared || n > streams {
					t.Errorf("%d connections, want %d", n, shared)
				}
			})
		}
	}
}

// TestHTTP2HoldsNothingBack: a server's limit of streams a connection opens another connection, and is no queue. Each request is answered only
// when all have come.
func TestHTTP2HoldsNothingBack(t *testing.T) {
	const streams = 7
	var all sync.WaitGroup
	all.Add(streams)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		all.Done()
		all.Wait()
		oneToken(w, r)
	}))
	server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2}
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	client := newTestClient(t, "vllm", server.URL, func(c *Config) { c.HTTP2, c.Timeout = true, 20*time.Second })
	if err := client.SpeaksHTTP2(t.Context()); err != nil { // and knows the limit now
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for range streams {
		sending.Go(func() {
			if reply := send(t, client); reply.Failure != nil {
				t.Error(reply.Failure.Message)
			}
		})
	}
	sending.Wait()
}

// TestNoHTTP2 asks servers that speak HTTP/1.1 alone: with TLS one that refuses in the handshake, and one that never heard of the choice.
func TestNoHTTP2(t *testing.T) {
	plain := aServer(t, false, true, false, oneToken)
	refusing := aServer(t, true, true, false, oneToken)
	deaf := httptest.NewUnstartedServer(http.HandlerFunc(oneToken))
	deaf.Config.ErrorLog = log.New(io.Discard, "", 0)
	l := tls.NewListener(deaf.Listener, &tls.Config{Certificates: refusing.TLS.Certificates})
	served := make(chan error, 1)
	deaf.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	go func() { served <- deaf.Config.Serve(l) }()
	t.Cleanup(func() { deaf.Config.Close(); <-served })
	for name, address := range map[string]string{"plain": plain.URL, "refusing": refusing.URL, "deaf": "https://" + deaf.Listener.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			client := newTestClient(t, "vllm", address, func(c *Config) { c.HTTP2, c.Insecure = true, true })
			const says = "the server does not speak HTTP/2 at "
			if err := client.SpeaksHTTP2(t.Context()); err == nil || !strings.HasPrefix(err.Error(), says) {
				t.Errorf("%v; want %q", err, says)
			}
			if reply := send(t, client); reply.Failure == nil || len(reply.Chunks) > 0 {
				t.Errorf("%+v, %d chunks; want a failure and none", reply.Failure, len(reply.Chunks))
			}
		})
	}
}

// aProxy is an HTTP proxy: it forwards requests, and opens tunnels.
func aProxy(t *testing.T, uses *atomic.Int32) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uses.Add(1)
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		in, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			out.Close()
			return
		}
		_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
		var tunnel sync.WaitGroup
		tunnel.Go(func() { _, _ = io.Copy(out, buffered); out.Close() })
		tunnel.Go(func() { _, _ = io.Copy(in, out); in.Close() })
		tunnel.Wait()
	}))
	t.Cleanup(s.Close)
	return s
}

// TestProxies go through a proxy: requests as they are, connections with TLS through a tunnel, also with HTTP/2 inside.
func TestProxies(t *testing.T) {
	for _, tc := range []struct {
		secure, two bool
	}{{false, false}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("TLS %t, HTTP/2 %t", tc.secure, tc.two), func(t *testing.T) {
			eachWay(t, func(t *testing.T, way func(*Config)) {
				var uses atomic.Int32
				proxy := aProxy(t, &uses)
				server := aServer(t, tc.secure, !tc.two, tc.two, oneToken)
				client := newTestClient(t, "vllm", server.URL, way, func(c *Config) {
					address, err := url.Parse(proxy.URL)
					if err != nil {
						t.Fatal(err)
					}
					c.Proxy, c.Insecure, c.HTTP2 = http.ProxyURL(address), true, tc.two
				})
				defer client.Close()
				if reply := send(t, client); reply.Failure != nil || len(reply.Chunks) != 1 {
					t.Errorf("%+v, %d chunks; want one", reply.Failure, len(reply.Chunks))
				}
				if n := uses.Load(); n != 1 {
					t.Errorf("the proxy was asked %d times, want once", n)
				}
			})
		})
	}
	t.Run("not without TLS", func(t *testing.T) {
		server := aServer(t, false, true, true, oneToken)
		client := newTestClient(t, "vllm", server.URL, func(c *Config) {
			c.Proxy, c.HTTP2 = http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}), true
		})
		if err := client.SpeaksHTTP2(t.Context()); err == nil || !strings.Contains(err.Error(), "does not go through a proxy") {
			t.Errorf("%v; want one that names the proxy", err)
		}
	})
}

// TestUnixSocket talks to a server on one, where the client itself takes the stamps.
func TestUnixSocket(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(oneToken)}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		defer func() { server.Close(); <-served }()
		client := newTestClient(t, "vllm", "http://localhost", way, func(c *Config) { c.Socket = path })
		reply := send(t, client)
		if reply.Failure != nil || len(reply.Chunks) != 1 || reply.Chunks[0].At == 0 || reply.Written == 0 {
			t.Errorf("%+v, chunks %+v, written %v", reply.Failure, reply.Chunks, reply.Written)
		}
		if got := client.Stamps(); got != "user" {
			t.Errorf("stamps by %q, want user", got)
		}
	})
}

// TestShapesOfStreams reads what servers put between, before and around tokens.
func TestShapesOfStreams(t *testing.T) {
	delta := func(inner string) string {
		return `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + inner + `,"finish_reason":null}]}` + "\n\n"
	}
	const done = `data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	const usage = `data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}` + "\n\n"
	role := delta(`{"role":"assistant","content":""}`)
	for _, tc := range []struct {
		name, stream string
		visible      []bool // of each chunk
		text         string
		tokens       int // by the usage; 0 without one
		class        string
	}{
		{"a role and two tokens", role + delta(`{"content":"a"}`) + delta(`{"content":"b"}`) + done, []bool{true, true}, "ab", 0, ""},
		{"comments and keep-alives", ": ping\n\n" + role + ":\n\n" + delta(`{"content":"a"}`) + ": ping\n\n\n\n" + delta(`{"content":"b"}`) + ": bye\n" + done, []bool{true, true}, "ab", 0, ""},
		{"other fields", "retry: 5\nevent: message\nid: 7\n" + delta(`{"content":"a"}`) + done, []bool{true}, "a", 0, ""},
		{"CR LF", strings.ReplaceAll(role+delta(`{"content":"a"}`)+done, "\n", "\r\n"), []bool{true}, "a", 0, ""},
		{"thoughts first", role + delta(`{"reasoning":"hm"}`) + delta(`{"reasoning_content":"so"}`) + delta(`{"content":"a"}`) + done, []bool{false, false, true}, "a", 0, ""},
		{"a tool call", role + delta(`{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}`) +
			delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`) + done, []bool{false, false}, "", 0, ""},
		{"usage", role + delta(`{"content":"a"}`) + delta(`{"content":"b"}`) + strings.Replace(done, "data: [DONE]", usage+"data: [DONE]", 1), []bool{true, true}, "ab", 2, ""},
		{"an error in the middle", role + delta(`{"content":"a"}`) + `data: {"error":{"message":"out of memory","code":500}}` + "\n\ndata: [DONE]\n\n", []bool{true}, "a", 0, results.FailServer},
		{"an error at once", `data: {"error":{"message":"no","code":400}}` + "\n\ndata: [DONE]\n\n", nil, "", 0, results.FailServer},
		{"no end", role + delta(`{"content":"a"}`), []bool{true}, "a", 0, results.FailTruncated},
		{"no output", role + done, nil, "", 0, results.FailEmpty},
		{"no JSON", role + "data: {\"choices\n\n" + done, nil, "", 0, results.FailStream},
		{"logprobs of a megabyte", role + strings.Replace(delta(`{"content":"a"}`), `"finish_reason":null`, `"logprobs":{"content":[`+
			strings.TrimSuffix(strings.Repeat(`{"token":"a","logprob":-1.5},`, 36000), ",")+`]},"finish_reason":null`, 1) + delta(`{"content":"b"}`) + done, []bool{true, true}, "ab", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, way func(*Config)) {
				for _, piece := range []int{1 << 30, 7} { // as it is, and in pieces that cut every line
					if piece == 7 && len(tc.stream) > 1<<16 {
						piece = 4093
					}
					var requests atomic.Int32
					server := aServer(t, false, true, false, func(w http.ResponseWriter, _ *http.Request) {
						requests.Add(1)
						w.Header().Set("Content-Type", "text/event-stream")
						for rest := tc.stream; rest != ""; {
							n := min(piece, len(rest))
							_, _ = io.WriteString(w, rest[:n])
							w.(http.Flusher).Flush()
							rest = rest[n:]
						}
					})
					reply := send(t, newTestClient(t, "openai-chat", server.URL, way))
					switch {
					case tc.class == "" && reply.Failure != nil, tc.class != "" && (reply.Failure == nil || reply.Failure.Class != tc.class):
						t.Fatalf("pieces of %d: failure %+v, want %q", piece, reply.Failure, tc.class)
					case reply.Text != tc.text:
						t.Errorf("pieces of %d: text %q, want %q", piece, reply.Text, tc.text)
					case (reply.Usage != nil) != (tc.tokens > 0) || reply.Usage != nil && reply.Usage.Completion != tc.tokens:
						t.Errorf("pieces of %d: usage %+v, want %d tokens", piece, reply.Usage, tc.tokens)
					}
					var visible []bool
					for _, c := range reply.Chunks {
						visible = append(visible, c.Visible)
					}
					if fmt.Sprint(visible) != fmt.Sprint(tc.visible) {
						t.Errorf("pieces of %d: visible %v, want %v", piece, visible, tc.visible)
					}
					if n := requests.Load(); n != 1 {
						t.Errorf("pieces of %d: sent %d times", piece, n)
					}
				}
			})
		})
	}
}

// TestTimeToTheFirstVisibleToken: thoughts are output, and not yet an answer.
func TestTimeToTheFirstVisibleToken(t *testing.T) {
	server := aServer(t, false, true, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, delta := range []string{`{"reasoning_content":"hm"}`, `{"content":"a"}`} {
			_, _ = fmt.Fprintf(w, `data: {"choices":[{"index":0,"delta":%s,"finish_reason":null}]}`+"\n\n", delta)
			w.(http.Flusher).Flush()
			time.Sleep(30 * time.Millisecond)
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
	rec := &results.Record{Reply: send(t, newTestClient(t, "openai-chat", server.URL))}
	visible, _ := results.MetricNamed("ttfvt")
	first, ok := results.TTFT(rec, results.Service)
	seen, okSeen := visible.Value(rec, results.Service)
	if !ok || !okSeen || seen-first < 25*time.Millisecond {
		t.Errorf("first token after %v, first visible one after %v; want 30 ms between them", first, seen)
	}
}
