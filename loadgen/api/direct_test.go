package api

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"servebench/datasets"
	"servebench/loadgen"
	"servebench/loadgen/wire"
	"servebench/results"
)

const okHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

// chunk frames text as one chunk.
func chunk(text string) string {
	const digits = "0123456789abcdef"
	n := len(text)
	return string([]byte{digits[n>>8&15], digits[n>>4&15], digits[n&15]}) + "\r\n" + text + "\r\n"
}

// okReply is a stream of one token.
var okReply = okHead + chunk(events["template"]) + chunk("data: [DONE]\n\n") + "0\r\n\r\n"

// scripted is a server whose connections follow a script. It counts connections and requests.
type scripted struct {
	url         string
	mu          sync.Mutex
	connections int
	requests    [][]byte
}

func (s *scripted) counts() (connections, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, len(s.requests)
}

// newScripted serves: answer answers request number n of the whole server, from 0; false closes the connection afterwards.
func newScripted(t *testing.T, answer func(conn net.Conn, n int) bool) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{url: "http://" + l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				var raw bytes.Buffer
				in := bufio.NewReader(io.TeeReader(conn, &raw))
				for {
					raw.Reset()
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					s.mu.Lock()
					n := len(s.requests)
					s.requests = append(s.requests, bytes.Clone(raw.Bytes()))
					s.mu.Unlock()
					if !answer(conn, n) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return s
}

// TestBothWaysSendTheSame sends one request by net/http and one by a Hub: the same bytes.
func TestBothWaysSendTheSame(t *testing.T) {
	server := newScripted(t, func(conn net.Conn, _ int) bool {
		_, _ = io.WriteString(conn, okReply)
		return true
	})
	eachWay(t, func(t *testing.T, way func(*Config)) {
		send(t, newTestClient(t, "openai-chat", server.url, way, func(c *Config) {
			c.Headers = [][2]string{{"Authorization", "Bearer k"}, {"x-b", "2"}, {"X-a", "1"}}
		}))
	})
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.requests) == 2 && !bytes.Equal(server.requests[0], server.requests[1]) {
		t.Errorf("net/http sends\n%s\nthe hub\n%s", server.requests[0], server.requests[1])
	}
}

// TestConnectionsBetweenRequests keeps a connection as long as HTTP lets it, sends nothing twice, and takes no bytes for another request's.
func TestConnectionsBetweenRequests(t *testing.T) {
	for _, tc := range []struct {
		name        string
		answer      func(conn net.Conn, n int) bool
		connections int      // that three requests take
		failures    []string // of the three
	}{
		{"kept", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, okReply)
			return true
		}, 1, []string{"", "", ""}},
		{"closed after each", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, okReply)
			return false
		}, 3, []string{"", "", ""}},
		{"its end announced", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, strings.Replace(okReply, "\r\n", "\r\nConnection: close\r\n", 1))
			return true
		}, 3, []string{"", "", ""}},
		{"ended by the close alone", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"+events["template"]+"data: [DONE]\n\n")
			return false
		}, 3, []string{"", "", ""}},
		{"bytes behind the reply", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, okReply+"HTTP/1.1 500 Late\r\n\r\n")
			return true
		}, 3, []string{"", "", ""}},
		{"no reply to the second", func(conn net.Conn, n int) bool {
			if n == 1 {
				return false
			}
			_, _ = io.WriteString(conn, okReply)
			return true
		}, 2, []string{"", results.FailCut, ""}},
		{"a reset in the second", func(conn net.Conn, n int) bool {
			if n == 1 {
				_, _ = io.WriteString(conn, okHead+chunk(events["template"]))
				_ = conn.(*net.TCPConn).SetLinger(0)
				return false
			}
			_, _ = io.WriteString(conn, okReply)
			return true
		}, 2, []string{"", results.FailCut, ""}},
		{"an interim reply", func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+okReply)
			return true
		}, 1, []string{"", "", ""}},
		{"a refusal", func(conn net.Conn, n int) bool {
			if n == 1 {
				_, _ = io.WriteString(conn, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nwait")
				return true
			}
			_, _ = io.WriteString(conn, okReply)
			return true
		}, 1, []string{"", results.FailStatus, ""}},
		{"an event of a megabyte", func(conn net.Conn, _ int) bool {
			big := strings.Replace(events["empty text"], `"logprobs":null`, `"logprobs":"`+strings.Repeat("x", 1<<20)+`"`, 1)
			_, _ = io.WriteString(conn, okHead)
			for len(big) > 0 {
				n := min(len(big), 4095)
				_, _ = io.WriteString(conn, chunk(big[:n]))
				big = big[n:]
			}
			_, _ = io.WriteString(conn, chunk("data: [DONE]\n\n")+"0\r\n\r\n")
			return true
		}, 1, []string{"", "", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, way func(*Config)) {
				server := newScripted(t, tc.answer)
				client := newTestClient(t, "vllm", server.url, way)
				for i, want := range tc.failures {
					reply := send(t, client)
					switch {
					case want == "" && reply.Failure != nil:
						t.Errorf("request %d: %+v", i+1, reply.Failure)
					case want == "" && (len(reply.Chunks) != 1 || !reply.EndMarked):
						t.Errorf("request %d: %d chunks, end marked %t; want one, true", i+1, len(reply.Chunks), reply.EndMarked)
					case want != "" && (reply.Failure == nil || reply.Failure.Class != want):
						t.Errorf("request %d: %+v; want %s", i+1, reply.Failure, want)
					}
					if tc.connections == len(tc.failures) {
						settle(client)
					}
				}
				if connections, requests := server.counts(); connections != tc.connections || requests != len(tc.failures) {
					t.Errorf("%d connections, %d requests; want %d and %d", connections, requests, tc.connections, len(tc.failures))
				}
			})
		})
	}
}

// settle waits until the client has seen that the server closed a connection, or sent something more on it. net/http does not tell: it gets some time.
func settle(c *Client) {
	if c.direct == nil {
		time.Sleep(50 * time.Millisecond)
		return
	}
	for kept := 1; kept > 0; time.Sleep(time.Millisecond) {
		kept = 0
		c.direct.mu.Lock()
		for _, l := range c.direct.idle {
			if l.Conn().Quiet() {
				kept++
			}
		}
		c.direct.mu.Unlock()
	}
}

// TestARefusalWhileWriting keeps what a server says that refuses a large request before it has read it.
func TestARefusalWhileWriting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.ReadFull(conn, make([]byte, 1000))
				_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn) // until the client hangs up
			})
		}
	})
	eachWay(t, func(t *testing.T, way func(*Config)) {
		client := newTestClient(t, "vllm", "http://"+l.Addr().String(), way)
		call, err := client.Prepare(loadgen.Request{Sample: datasets.Sample{Prompt: datasets.Prompt{Text: strings.Repeat("x", 32<<20)}}})
		if err != nil {
			t.Fatal(err)
		}
		reply := call.Send(t.Context())
		if reply.Failure == nil || reply.Failure.Class != results.FailStatus || !strings.Contains(reply.Failure.Message, "too large") {
			t.Errorf("failure %+v; want the server's own words", reply.Failure)
		}
	})
}

// TestASlowReader sends a large request to a server that stops reading half-way until another request has had its answer: the clock starts with the last
// byte, and nobody else waits.
func TestASlowReader(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		halfway, others := make(chan struct{}), make(chan struct{})
		var clock *wire.Clock
		var half, arrived int64
		var serving sync.WaitGroup
		defer serving.Wait()
		serving.Go(func() {
			for range 2 {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer conn.Close()
					in := bufio.NewReader(conn)
					req, err := http.ReadRequest(in)
					if err != nil {
						t.Error(err)
						return
					}
					if large := req.ContentLength > 1<<20; large {
						_, _ = io.CopyN(io.Discard, req.Body, req.ContentLength/2)
						close(halfway)
						<-others
						half = clock.Now()
						_, _ = io.Copy(io.Discard, req.Body)
						arrived = clock.Now()
					}
					_, _ = io.WriteString(conn, okReply)
				})
			}
		})
		client := newTestClient(t, "vllm", "http://"+l.Addr().String(), way, func(c *Config) { clock = c.Clock })
		call, err := client.Prepare(loadgen.Request{Sample: datasets.Sample{Prompt: datasets.Prompt{Text: strings.Repeat("x", 32<<20)}}})
		if err != nil {
			t.Fatal(err)
		}
		var slow results.Reply
		var sending sync.WaitGroup
		sending.Go(func() { slow = call.Send(t.Context()) })
		<-halfway
		if other := send(t, client); other.Failure != nil {
			t.Errorf("beside the slow one: %+v", other.Failure)
		}
		close(others)
		sending.Wait()
		serving.Wait()
		if slow.Failure != nil || len(slow.Chunks) != 1 {
			t.Fatalf("failure %+v, %d chunks", slow.Failure, len(slow.Chunks))
		}
		written, first := int64(slow.Written), int64(slow.Chunks[0].At)
		const slack = int64(20 * time.Microsecond) // between the kernel's clock and the run's
		if written <= half || wire.Stamps() == wire.Kernel && written >= arrived+slack || first <= arrived-slack {
			t.Errorf("half-way %d, written %+d, arrived %+d, first token %+d", half, written-half, arrived-half, first-half)
		}
	})
}

// TestATimeout ends a request that the server never ends, and with it its connection.
func TestATimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		closed := make(chan struct{})
		server := newScripted(t, func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, okHead+chunk(events["template"]))
			_, _ = conn.Read(make([]byte, 1))
			close(closed)
			return false
		})
		client := newTestClient(t, "vllm", server.url, way, func(c *Config) { c.Timeout = 30 * time.Millisecond })
		reply := send(t, client)
		if reply.Failure == nil || reply.Failure.Class != results.FailTimeout || len(reply.Chunks) != 1 {
			t.Errorf("failure %+v, %d chunks; want %s and the one that came", reply.Failure, len(reply.Chunks), results.FailTimeout)
		}
		<-closed
	})
}

// TestManyAtOnce has many requests share few processors and one thread.
func TestManyAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, way func(*Config)) {
		server := newScripted(t, func(conn net.Conn, _ int) bool {
			_, _ = io.WriteString(conn, okHead)
			for range 20 {
				_, _ = io.WriteString(conn, chunk(events["template"]))
			}
			_, _ = io.WriteString(conn, chunk("data: [DONE]\n\n")+"0\r\n\r\n")
			return true
		})
		client := newTestClient(t, "vllm", server.url, way)
		var sending sync.WaitGroup
		for range 50 {
			sending.Go(func() {
				for range 4 {
					if reply := send(t, client); reply.Failure != nil || len(reply.Chunks) != 20 || reply.Text != strings.Repeat(" based", 20) {
						t.Errorf("failure %+v, %d chunks, text %q", reply.Failure, len(reply.Chunks), reply.Text)
					}
				}
			})
		}
		sending.Wait()
		if connections, requests := server.counts(); requests != 200 || connections >= 150 { // net/http opens some beside those that are about to be free
			t.Errorf("%d requests over %d connections; want 200 over far fewer", requests, connections)
		}
	})
}

// BenchmarkRequest is a request with a hundred tokens that come as fast as they can, by either way.
func BenchmarkRequest(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	reply := []byte(okHead + strings.Repeat(chunk(events["template"]), 100) + chunk("data: [DONE]\n\n") + "0\r\n\r\n")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if _, err := conn.Write(reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	kind, err := KindOf("vllm")
	if err != nil {
		b.Fatal(err)
	}
	for _, way := range []string{"net/http", "hub"} {
		b.Run(way, func(b *testing.B) {
			cfg := Config{URL: "http://" + l.Addr().String() + kind.Path, Kind: kind, Clock: wire.NewClock(), Options: Options{Model: "m"}}
			if way == "hub" {
				hub, err := wire.NewHub(cfg.Clock)
				if err != nil {
					b.Skip(err)
				}
				defer hub.Close()
				cfg.Hub = hub
			}
			client, err := New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			b.ReportAllocs()
			for b.Loop() {
				call, err := client.Prepare(loadgen.Request{Sample: datasets.Sample{ID: "r", Prompt: datasets.Prompt{Text: "x"}, OutputTokens: 100}})
				if err != nil {
					b.Fatal(err)
				}
				if reply := call.Send(context.Background()); reply.Failure != nil {
					b.Fatal(reply.Failure)
				}
			}
		})
	}
}
