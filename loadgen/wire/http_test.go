package wire

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"testing"
)

// A stepServer answers with an event stream, event by event as the test says.
type stepServer struct {
	*httptest.Server
	steps chan string // "" ends the response
}

func newStepServer(t *testing.T, start func(*testing.T, *httptest.Server)) *stepServer {
	s := &stepServer{steps: make(chan string)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		for step := range s.steps {
			if step == "" {
				return
			}
			io.WriteString(w, strings.TrimPrefix(step, "headers"))
			w.(http.Flusher).Flush()
		}
	}))
	start(t, s.Server)
	t.Cleanup(s.Close)
	return s
}

// do sends a request whose stamps go to x.
func do(t *testing.T, client *http.Client, url string, body []byte, x *Exchange) *http.Response {
	t.Helper()
	return doWith(t, client, url, body, x, http.Header{"Idempotency-Key": {"1"}})
}

func doWith(t *testing.T, client *http.Client, url string, body []byte, x *Exchange, header http.Header) *http.Response {
	t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		c := From(info.Conn)
		if c == nil {
			t.Errorf("no Conn beneath a %T", info.Conn)
			return
		}
		c.Begin(x)
	}}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// TestExchange follows one stream and the next on the same connection, over all kinds of
// connection.
func TestExchange(t *testing.T) {
	for _, tc := range []struct {
		name   string
		start  func(*testing.T, *httptest.Server)
		dialer func(*httptest.Server, *Dialer)
		kernel bool
	}{
		{"tcp", func(_ *testing.T, s *httptest.Server) { s.Start() }, nil, true},
		{"tls", func(_ *testing.T, s *httptest.Server) { s.StartTLS() }, nil, true},
		{"tcp6", func(t *testing.T, s *httptest.Server) {
			listener, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Skip("this system has no IPv6 loopback")
			}
			s.Listener.Close()
			s.Listener = listener
			s.Start()
		}, nil, true},
		{"unix", func(t *testing.T, s *httptest.Server) {
			listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			s.Listener.Close()
			s.Listener = listener
			s.Start()
		}, func(s *httptest.Server, d *Dialer) { d.Socket = s.Listener.Addr().String() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := newStepServer(t, tc.start)
			clock := NewClock()
			dialer := &Dialer{Clock: clock}
			url := server.URL
			if tc.dialer != nil {
				tc.dialer(server.Server, dialer)
				url = "http://localhost"
			}
			transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			client := &http.Client{Transport: transport}
			t.Cleanup(transport.CloseIdleConnections)
			kind := User
			if tc.kernel && kernelStamps {
				kind = Kernel
			}

			var exchanges [2]Exchange
			var stamps []int64
			for i := range exchanges {
				x := &exchanges[i]
				go func() { server.steps <- "headers" }()
				began := clock.Now()
				response := do(t, client, url, bytes.Repeat([]byte("x"), 20_000), x)
				headers := x.LastRead()
				if headers.Seq == 0 || headers.Kind != kind {
					t.Errorf("headers: %+v, want kind %v", headers, kind)
				}
				seq := headers.Seq
				stamps = append(stamps, began, headers.At)
				buffer := make([]byte, 1000)
				for _, text := range []string{"data: a\n\n", "data: b\n\n"} {
					before := clock.Now()
					server.steps <- text
					n, err := response.Body.Read(buffer)
					if err != nil || string(buffer[:n]) != text {
						t.Fatalf("read %q, %v; want %q", buffer[:n], err, text)
					}
					r := x.LastRead()
					if r.Seq <= seq || r.Kind != kind {
						t.Errorf("read %+v after number %d, want kind %v", r, seq, kind)
					}
					if r.At < before || r.User < r.At || r.User > clock.Now() {
						t.Errorf("stamps out of order: sent after %d, came %d, seen %d", before, r.At, r.User)
					}
					seq = r.Seq
					stamps = append(stamps, r.At)
				}
				server.steps <- ""
				if n, err := response.Body.Read(buffer); n != 0 || err != io.EOF {
					t.Errorf("the end read %d bytes, %v", n, err)
				}
				response.Body.Close()
				w, ok := x.Written()
				if !ok || w.Kind != kind || w.Busy {
					t.Errorf("written %+v, %t; want kind %v", w, ok, kind)
				}
				if w.Began < began || w.At < w.Began || w.At > w.User && kind == User || w.At > headers.At && kind == Kernel || w.Bytes < 20_000 {
					t.Errorf("began %d, write began %d, written %d, headers %d; %d bytes", began, w.Began, w.At, headers.At, w.Bytes)
				}
				if x.Attempts() != 1 || x.Closed() != 0 || x.Disordered() {
					t.Errorf("attempts %d, closed %d, disordered %t", x.Attempts(), x.Closed(), x.Disordered())
				}
			}
			if exchanges[0].Conn() != exchanges[1].Conn() {
				t.Error("the second request took another connection; the test is about reuse")
			}
			for i := 1; i < len(stamps); i++ {
				if stamps[i] < stamps[i-1] {
					t.Errorf("moment %d before moment %d", i, i-1)
				}
			}
		})
	}
}

func TestFirstEventInTheHeadersRead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 10_000)
		conn.Read(buffer)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n")
		conn.Read(buffer) // until the client closes
	}()
	clock := NewClock()
	transport := &http.Transport{DialContext: (&Dialer{Clock: clock}).DialContext}
	defer transport.CloseIdleConnections()
	var x Exchange
	response := do(t, &http.Client{Transport: transport}, "http://"+listener.Addr().String(), nil, &x)
	headers := x.LastRead()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "data: a\n\n" {
		t.Fatalf("body %q, %v", body, err)
	}
	if got := x.LastRead(); got != headers || got.Seq != 1 {
		t.Errorf("the event was read by %+v, the headers by %+v; want the same first read", got, headers)
	}
}

// TestHTTP2: several requests share a connection, whose own last read is never too early for any of them.
func TestHTTP2(t *testing.T) {
	steps := map[string]chan string{"/0": make(chan string), "/1": make(chan string)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		for step := range steps[r.URL.Path] {
			io.WriteString(w, step)
			w.(http.Flusher).Flush()
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	clock := NewClock()
	transport := &http.Transport{
		DialContext: (&Dialer{Clock: clock}).DialContext, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	var x [2]Exchange
	var bodies [2]io.ReadCloser
	for i, path := range []string{"/0", "/1"} {
		response := do(t, &http.Client{Transport: transport}, server.URL+path, nil, &x[i])
		if response.ProtoMajor != 2 {
			t.Fatalf("the response is %s", response.Proto)
		}
		bodies[i] = response.Body
	}
	conn := x[0].Conn()
	if x[1].Conn() != conn {
		t.Fatal("the requests did not share a connection")
	}
	for i, path := range []string{"/0", "/1", "/0"} {
		before := clock.Now()
		steps[path] <- "data: a\n\n"
		if _, err := io.ReadFull(bodies[i%2], make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		if r := conn.LastRead(); r.At < before || r.At > clock.Now() {
			t.Errorf("%s read at %d, sent after %d", path, r.At, before)
		}
	}
	for i, path := range []string{"/0", "/1"} {
		close(steps[path])
		io.Copy(io.Discard, bodies[i])
		bodies[i].Close()
	}
}
