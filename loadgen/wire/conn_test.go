package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a stamping client connection and the server's end of it.
func connPair(t testing.TB) (client *Conn, server *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := (&Dialer{Clock: NewClock()}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, server = conn.(*Conn), accepted.(*net.TCPConn)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

func send(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	buffer := make([]byte, len(want))
	if _, err := io.ReadFull(conn, buffer); err != nil || string(buffer) != want {
		t.Fatalf("received %q, %v; want %q", buffer, err, want)
	}
}

func tcpKind() Kind {
	if kernelStamps {
		return Kernel
	}
	return User
}

func TestReadsAreCounted(t *testing.T) {
	client, server := connPair(t)
	var x Exchange
	if x.LastRead() != (Read{}) || x.Conn() != nil {
		t.Error("a new exchange has seen something")
	}
	if _, ok := x.Written(); ok {
		t.Error("a new exchange has written something")
	}
	client.Begin(&x)
	texts := []string{"a", "bb", "ccc"}
	for range 10 {
		texts = append(texts, "dddd", "e")
	}
	var reads []Read
	for i, text := range texts {
		send(t, server, text)
		receive(t, client, text)
		r := x.LastRead()
		if r.Seq != i+1 || r.Bytes != len(text) || r.Kind != tcpKind() {
			t.Errorf("read %d is %+v", i+1, r)
		}
		reads = append(reads, r)
	}
	if got := client.LastRead(); got != reads[len(reads)-1] {
		t.Errorf("the connection's last read is %+v, want %+v", got, reads[len(reads)-1])
	}
}

// TestNextRequestLeavesTheExchangeAlone: after the end of a response the connection may carry another request before the first one's exchange is asked.
func TestNextRequestLeavesTheExchangeAlone(t *testing.T) {
	client, server := connPair(t)
	var first, second Exchange
	client.Begin(&first)
	send(t, client, "request")
	receive(t, server, "request")
	send(t, server, "reply")
	receive(t, client, "reply")
	read := first.LastRead()
	written, _ := first.Written()

	client.Begin(&second)
	send(t, client, "another request")
	receive(t, server, "another request")
	send(t, server, "another reply")
	receive(t, client, "another reply")
	if got := first.LastRead(); got != read || got.Bytes != len("reply") {
		t.Errorf("the first exchange read %+v, before the next request %+v", got, read)
	}
	if got, ok := first.Written(); !ok || got != written || got.Bytes != int64(len("request")) {
		t.Errorf("the first exchange wrote %+v, before the next request %+v", got, written)
	}
	if got := second.LastRead(); got.Seq != 1 || got.Bytes != len("another reply") {
		t.Errorf("the second exchange read %+v", got)
	}
	// And an exchange that went to another connection hears no more of this one.
	other, _ := connPair(t)
	other.Begin(&second)
	send(t, server, "x")
	receive(t, client, "x")
	if got := second.LastRead(); got.Seq != 0 || second.Attempts() != 2 {
		t.Errorf("after moving on it read %+v in attempt %d", got, second.Attempts())
	}
	second.Reset()
	if second.Attempts() != 0 || second.Conn() != nil {
		t.Errorf("after Reset: attempt %d", second.Attempts())
	}
}

// TestLargeRequest writes more than the buffers hold: the stamp is that of the last byte, not of the
// first that left.
func TestLargeRequest(t *testing.T) {
	client, server := connPair(t)
	var x Exchange
	client.Begin(&x)
	request := bytes.Repeat([]byte("x"), 12<<20)
	var writing sync.WaitGroup
	writing.Go(func() {
		for part := request; len(part) > 0; part = part[min(len(part), 5<<20):] {
			if _, err := client.Write(part[:min(len(part), 5<<20)]); err != nil {
				t.Error(err)
			}
		}
	})
	// A reply comes while the request is still being written, and send stamps while the buffer is full.
	receive(t, server, "x")
	send(t, server, "early")
	receive(t, client, "early")
	if w, ok := x.Written(); !ok || !w.Busy {
		t.Errorf("half-way: %+v, %t; want busy", w, ok)
	}
	reading := make(chan string)
	go func() {
		buffer := make([]byte, 10)
		n, err := client.Read(buffer)
		if err != nil {
			t.Error(err)
		}
		reading <- string(buffer[:n])
	}()
	half := clockOf(client)
	if n, err := io.CopyN(io.Discard, server, int64(len(request))-2); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	receive(t, server, "x")
	arrived := clockOf(client)
	writing.Wait()
	send(t, server, "late")
	if got := <-reading; got != "late" {
		t.Errorf("read %q after a request that filled the buffers, want %q", got, "late")
	}
	w, ok := x.Written()
	if !ok || w.Busy || w.Bytes != int64(len(request)) || w.Count != 3 || w.Kind != tcpKind() {
		t.Errorf("written %+v, %t", w, ok)
	}
	if w.Began >= half || w.At <= half || w.Kind == Kernel && w.At >= arrived {
		t.Errorf("began %d, half-way %d, written %d, arrived %d", w.Began, half, w.At, arrived)
	}
}

func clockOf(c *Conn) int64 { return c.Clock().Now() }

func TestErrorsAreThoseOfANetConn(t *testing.T) {
	t.Run("end of file", func(t *testing.T) {
		client, server := connPair(t)
		var x Exchange
		client.Begin(&x)
		before := clockOf(client)
		server.Close()
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read %d, %v; want 0, EOF", n, err)
		}
		if at := x.Closed(); at < before || at > clockOf(client) {
			t.Errorf("closed at %d, want after %d", at, before)
		}
	})
	t.Run("reset", func(t *testing.T) {
		client, server := connPair(t)
		server.SetLinger(0)
		server.Close()
		n, err := client.Read(make([]byte, 1))
		var op *net.OpError
		if n != 0 || !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" {
			t.Errorf("read %d, %v; want a connection reset", n, err)
		}
		if _, err := client.Write([]byte("x")); err == nil {
			t.Error("wrote to a connection that was reset")
		} else if !errors.As(err, &op) || op.Op != "write" {
			t.Errorf("write: %v, want a net.OpError of write", err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		client, server := connPair(t)
		var x Exchange
		client.Begin(&x)
		client.SetReadDeadline(time.Now().Add(-time.Second))
		_, err := client.Read(make([]byte, 1))
		var op *net.OpError
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "read" || !op.Timeout() {
			t.Errorf("%v, want a timeout of read", err)
		}
		if x.Closed() != 0 {
			t.Error("a timeout passed for the end of the connection")
		}
		client.SetReadDeadline(time.Time{})
		send(t, server, "x")
		receive(t, client, "x")
	})
	t.Run("closed", func(t *testing.T) {
		client, _ := connPair(t)
		done := make(chan error)
		go func() {
			_, err := client.Read(make([]byte, 1))
			done <- err
		}()
		client.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want %v", err, net.ErrClosed)
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v, want %v", err, net.ErrClosed)
		}
		if _, ok := client.Info(); ok {
			t.Error("a closed connection has information")
		}
	})
	t.Run("nothing to read into", func(t *testing.T) {
		client, _ := connPair(t)
		if n, err := client.Read(nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// TestFarewell: what is written under a write deadline, as crypto/tls writes its last alert, is no part of the request.
func TestFarewell(t *testing.T) {
	client, _ := connPair(t)
	var x Exchange
	client.Begin(&x)
	send(t, client, "request")
	client.SetWriteDeadline(time.Now().Add(time.Minute))
	send(t, client, "goodbye")
	if w, _ := x.Written(); w.Bytes != int64(len("request")) || w.Count != 1 {
		t.Errorf("written %+v, want the request alone", w)
	}
}

func TestAnyConnUnderVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		clock := NewClock()
		client := Wrap(near, clock)
		var x Exchange
		client.Begin(&x)
		start := clock.Now()
		go func() {
			io.ReadFull(far, make([]byte, 7))
			time.Sleep(50 * time.Millisecond)
			far.Write([]byte("reply"))
			far.Close()
		}()
		time.Sleep(time.Second)
		send(t, client, "request")
		receive(t, client, "reply")
		w, ok := x.Written()
		if want := start + int64(time.Second); !ok || w.At != want || w.Began != want || w.Kind != User {
			t.Errorf("written %+v, %t; want at %d", w, ok, want)
		}
		want := Read{Seq: 1, At: start + int64(1050*time.Millisecond), User: start + int64(1050*time.Millisecond), Bytes: 5, Kind: User}
		if got := x.LastRead(); got != want || got.Lag() != 0 {
			t.Errorf("read %+v, want %+v", got, want)
		}
		if client.Kind() != User || client.Ready() != start {
			t.Errorf("kind %v, ready at %d, want %v at %d", client.Kind(), client.Ready(), User, start)
		}
		client.Close()
	})
}

func TestSources(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sources := []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	if probe, err := net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Skip("this system has no second loopback address")
	} else {
		probe.Close()
	}
	dialer := &Dialer{Clock: NewClock(), Sources: sources}
	for i := range 4 {
		conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
		if want := sources[i%2]; got != want {
			t.Errorf("connection %d comes from %v, want %v", i, got, want)
		}
		conn.Close()
	}
}

func TestDialErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	dialer := &Dialer{Clock: NewClock()}
	if conn, err := dialer.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v; want connection refused", conn, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
		t.Errorf("connected to %v with a context that had ended", conn.RemoteAddr())
	}
}

func TestFrom(t *testing.T) {
	client, server := connPair(t)
	if From(client) != client {
		t.Error("a Conn is not found in itself")
	}
	if From(layer{layer{client}}) != client {
		t.Error("a Conn is not found under two layers")
	}
	if got := From(server); got != nil {
		t.Errorf("found %v in a plain connection", got)
	}
	if got := From(nil); got != nil {
		t.Errorf("found %v in nothing", got)
	}
}

type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }

// A scriptedServer sends what the test says on each connection it accepts, once a request has come.
func scriptedServer(t *testing.T, script func(conn net.Conn, number int)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for number := 0; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				script(conn, number)
			})
		}
	})
	return "http://" + listener.Addr().String()
}

func httpClient(t *testing.T) *http.Client {
	transport := &http.Transport{DialContext: (&Dialer{Clock: NewClock()}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

// TestJoinedReads: a chunk and a half arrive in one segment, the rest in another. The body hands the whole chunk out together with
// the rest, so that its event comes with two reads: the second is what is known of it.
func TestJoinedReads(t *testing.T) {
	rest := make(chan struct{})
	url := scriptedServer(t, func(conn net.Conn, _ int) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, chunkedHead+"9\r\ndata: a\n\n\r\n9\r\ndata")
		<-rest
		io.WriteString(conn, ": b\n\n\r\n0\r\n\r\n")
		conn.Read(make([]byte, 1))
	})
	var x Exchange
	response := do(t, httpClient(t), url, nil, &x)
	headers := x.LastRead()
	if headers.Seq != 1 {
		t.Fatalf("the headers came with %+v, want the first read", headers)
	}
	close(rest)
	buffer := make([]byte, 100)
	n, err := response.Body.Read(buffer)
	if want := "data: a\n\ndata: b\n\n"; string(buffer[:n]) != want {
		t.Fatalf("the body handed out %q, %v; want %q", buffer[:n], err, want)
	}
	last := x.LastRead()
	if last.Seq != 2 {
		t.Errorf("last read %+v, want the second", last)
	}
}

// TestServerClosesBetweenRequests: a request that is sent again on a new connection says so, and keeps no stamp of the first attempt.
func TestServerClosesBetweenRequests(t *testing.T) {
	url := scriptedServer(t, func(conn net.Conn, number int) {
		buffer := make([]byte, 4096)
		conn.Read(buffer)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if number == 0 {
			conn.Read(buffer) // the second request gets no answer here
			return
		}
		conn.Read(buffer)
	})
	client := httpClient(t)
	var first, second Exchange
	for i, x := range []*Exchange{&first, &second} {
		response := do(t, client, url, []byte("body"), x)
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != "ok" {
			t.Fatalf("request %d: %q, %v", i, body, err)
		}
	}
	if first.Attempts() != 1 || second.Attempts() != 2 {
		t.Errorf("attempts %d and %d, want 1 and 2", first.Attempts(), second.Attempts())
	}
	if got := second.LastRead(); got.Seq != 1 || second.Closed() != 0 {
		t.Errorf("the second attempt read %+v and closed at %d", got, second.Closed())
	}
	if second.Conn() == first.Conn() {
		t.Error("both requests were answered on one connection")
	}
	if w, ok := second.Written(); !ok || w.Count != 1 {
		t.Errorf("the second attempt wrote %+v, %t; want one write", w, ok)
	}
}

func TestServerClosesInsideTheReply(t *testing.T) {
	url := scriptedServer(t, func(conn net.Conn, _ int) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, chunkedHead+"9\r\ndata: a\n\n\r\n9\r\ndata")
	})
	var x Exchange
	response := do(t, httpClient(t), url, nil, &x)
	body, err := io.ReadAll(response.Body)
	if string(body) != "data: a\n\ndata" || err != io.ErrUnexpectedEOF {
		t.Fatalf("body %q, %v", body, err)
	}
	if x.Closed() == 0 || x.Closed() < x.LastRead().At {
		t.Errorf("closed at %d, the last read at %d", x.Closed(), x.LastRead().At)
	}
}

// TestInformationalResponse: an interim response is not the response's headers, and a body that waited for it is part of the request.
func TestInformationalResponse(t *testing.T) {
	interim := make(chan time.Time, 1)
	url := scriptedServer(t, func(conn net.Conn, _ int) {
		buffer := make([]byte, 4096)
		conn.Read(buffer)
		interim <- time.Now()
		io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		conn.Read(buffer) // the body
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		conn.Read(buffer)
	})
	client := httpClient(t)
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	var x Exchange
	response := doWith(t, client, url, []byte("body"), &x, http.Header{"Expect": {"100-continue"}})
	if headers := x.LastRead(); headers.Bytes != len("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") || headers.Seq != 2 {
		t.Errorf("headers %+v", headers)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	w, ok := x.Written()
	if at := x.Conn().Clock().At(<-interim); !ok || w.Count != 2 || w.Began >= at || w.User <= at {
		t.Errorf("written %+v, %t; want two writes, before and after the interim response at %d", w, ok, at)
	}
}

func TestReadingAndWritingDoNotAllocate(t *testing.T) {
	client, server := connPair(t)
	var x Exchange
	client.Begin(&x)
	buffer, message := make([]byte, 100), []byte("message")
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := client.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(buffer); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(buffer); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a write and a read, want none", allocs)
	}
}

func TestInfo(t *testing.T) {
	client, server := connPair(t)
	send(t, server, "12345")
	info, ok := client.Info()
	if ok != kernelStamps {
		t.Fatalf("Info is there: %t, want %t", ok, kernelStamps)
	}
	if !ok {
		return
	}
	for range 1000 { // the bytes may still be on their way
		if info.ReceiveQueue > 0 {
			break
		}
		time.Sleep(time.Millisecond)
		info, _ = client.Info()
	}
	if n, ok := client.Unread(); n != info.ReceiveQueue || !ok {
		t.Errorf("%d bytes unread, known %t; want %d", n, ok, info.ReceiveQueue)
	}
	if info.ReceiveQueue != 5 || info.SendQueue != 0 || info.Retransmits != 0 || info.OutOfOrder != 0 || info.RTT <= 0 {
		t.Errorf("%+v, want 5 bytes to read and a quiet connection", info)
	}
}

func TestRaiseFileLimit(t *testing.T) {
	have, err := RaiseFileLimit(64)
	if err != nil || have < 64 {
		t.Errorf("RaiseFileLimit(64) = %d, %v", have, err)
	}
	const all = 1 << 40 // more than any system allows
	if got, err := RaiseFileLimit(all); err == nil && got < all || err != nil && got < have {
		t.Errorf("RaiseFileLimit(%d) = %d, %v; had %d", uint64(all), got, err, have)
	}
}

// BenchmarkRead is the cost of one token's read: a small message each way over loopback, against a plain connection.
func BenchmarkRead(b *testing.B) {
	for _, plain := range []bool{false, true} {
		name := "stamped"
		if plain {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			stamping, server := connPair(b)
			var client net.Conn = stamping
			if plain {
				client = stamping.NetConn()
			}
			var x Exchange
			stamping.Begin(&x)
			message, buffer := make([]byte, 250), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := server.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Read(buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
