package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
)

// A heard is a Receiver that keeps what it hears.
type heard struct {
	reads chan Read
	texts chan string
	ends  chan error
}

func newHeard() *heard {
	return &heard{reads: make(chan Read, 100), texts: make(chan string, 100), ends: make(chan error, 100)}
}

func (h *heard) Receive(b []byte, r Read, err error) (wake func()) {
	if err != nil {
		return func() { h.ends <- err }
	}
	text := string(b)
	return func() {
		h.reads <- r
		h.texts <- text
	}
}

// linePair is a line with a receiver, and the server's end of it.
func linePair(t testing.TB) (*Line, *heard, *net.TCPConn) {
	t.Helper()
	client, server := connPair(t)
	hub, err := NewHub(client.Clock())
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(hub.Close)
	line, err := hub.Take(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	ears := newHeard()
	if !line.Attach(ears) {
		t.Fatal("a fresh line is over")
	}
	return line, ears, server
}

// TestHubKeepsAPlaceOfItsOwn: what a Hub waits with is not taken from others, it does not hold up what stops all threads, and closed it gives
// the place back. Where the user says how many there are, it takes none.
func TestHubKeepsAPlaceOfItsOwn(t *testing.T) {
	for _, said := range []string{"", "2"} {
		t.Run("GOMAXPROCS="+said, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", said)
			places := runtime.GOMAXPROCS(0)
			more := 0
			if untold() {
				more = 1
			}
			client, server := connPair(t)
			hub, err := NewHub(client.Clock())
			if err != nil {
				t.Skip(err)
			}
			ears := newHeard()
			if _, err := hub.Take(client, ears); err != nil {
				t.Error(err)
			}
			if got := runtime.GOMAXPROCS(0); got != places+more {
				t.Errorf("%d places with a hub, want %d", got, places+more)
			}
			for range 3 {
				runtime.GC() // stops every thread, the waiting one too
				send(t, server, "still there")
				if got := <-ears.texts; got != "still there" {
					t.Errorf("read %q", got)
				}
			}
			hub.Close()
			if got := runtime.GOMAXPROCS(0); got != places {
				t.Errorf("%d places after the hub, want %d", got, places)
			}
		})
	}
}

// TestHubReadsAndStamps hands on what comes, each read with its own stamp of the kernel, and the end.
func TestHubReadsAndStamps(t *testing.T) {
	line, ears, server := linePair(t)
	clock := line.Conn().Clock()
	var x Exchange
	line.Conn().Begin(&x)
	before := clock.Now()
	send(t, line.Conn(), "request")
	receive(t, server, "request")
	arrived := clock.Now()
	for i, text := range []string{"a", "bc"} {
		send(t, server, text)
		got, r := <-ears.texts, <-ears.reads
		if got != text || r.Bytes != len(text) || r.Kind != Kernel || r.Seq != i+1 {
			t.Errorf("read %d: %q, %+v; want %q by the kernel", i+1, got, r, text)
		}
		if r.At < arrived || r.User < r.At || clock.Now() < r.User {
			t.Errorf("read %d: sent after %d, came %d, seen %d", i+1, arrived, r.At, r.User)
		}
	}
	if w, ok := x.Written(); !ok || w.Kind != Kernel || w.At < before || w.At > arrived {
		t.Errorf("written %+v, %t; want the kernel's stamp between %d and %d", w, ok, before, arrived)
	}
	if last := x.LastRead(); last.Seq != 2 || last.Bytes != 2 {
		t.Errorf("the exchange has %+v; want the second read, of 2", last)
	}
	if !line.Conn().Quiet() {
		t.Error("an open line with nothing to read is not quiet")
	}
	server.Close()
	if err := <-ears.ends; err != io.EOF {
		t.Errorf("end %v; want %v", err, io.EOF)
	}
	if line.Detach() || line.Attach(ears) {
		t.Error("a line whose server has gone can be used again")
	}
}

// TestHubWritesMoreThanFits waits for room, while replies go on being read.
func TestHubWritesMoreThanFits(t *testing.T) {
	line, ears, server := linePair(t)
	request := bytes.Repeat([]byte("x"), 12<<20)
	var writing sync.WaitGroup
	writing.Go(func() {
		if n, err := line.Conn().Write(request); n != len(request) || err != nil {
			t.Errorf("wrote %d of %d, %v", n, len(request), err)
		}
	})
	receive(t, server, "x")
	send(t, server, "early")
	if got := <-ears.texts; got != "early" {
		t.Errorf("read %q while writing; want early", got)
	}
	if n, err := io.CopyN(io.Discard, server, int64(len(request))-1); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	writing.Wait()
}

// TestHubLineEndsWhileWriting ends a write that waits for room when the server hangs up, and when the client does.
func TestHubLineEndsWhileWriting(t *testing.T) {
	for name, hangUp := range map[string]func(*Line, *net.TCPConn){
		"client": func(l *Line, _ *net.TCPConn) { l.Close() },
		"server": func(_ *Line, s *net.TCPConn) { _ = s.CloseWrite() },
		"reset":  func(_ *Line, s *net.TCPConn) { _ = s.SetLinger(0); s.Close() },
	} {
		line, ears, server := linePair(t)
		written := make(chan error, 1)
		go func() {
			_, err := line.Conn().Write(make([]byte, 64<<20))
			written <- err
		}()
		if _, err := io.CopyN(io.Discard, server, 1); err != nil {
			t.Fatal(err)
		}
		hangUp(line, server)
		if err := <-written; err == nil {
			t.Errorf("%s: the write succeeded", name)
		}
		if err := <-ears.ends; name == "client" && !errors.Is(err, net.ErrClosed) || name == "server" && err != io.EOF {
			t.Errorf("%s: the receiver hears %v", name, err)
		}
		line.Close()
		if len(ears.ends) > 0 {
			t.Errorf("%s: the end was told twice", name)
		}
	}
}

// TestHubAnswerToNothing ends a line that gets bytes while nobody receives: they must not be taken for the next reply.
func TestHubAnswerToNothing(t *testing.T) {
	line, ears, server := linePair(t)
	if !line.Detach() {
		t.Fatal("the line is over")
	}
	send(t, server, "what nobody asked for")
	<-line.over
	if line.Attach(ears) {
		t.Error("the line goes on")
	}
	if len(ears.texts) > 0 {
		t.Errorf("the receiver got %q", <-ears.texts)
	}
}

// TestHubCloses closes the lines that are left and tells their receivers.
func TestHubCloses(t *testing.T) {
	client, server := connPair(t)
	hub, err := NewHub(client.Clock())
	if err != nil {
		t.Skip(err)
	}
	line, err := hub.Take(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	ears := newHeard()
	line.Attach(ears)
	hub.Close()
	if err := <-ears.ends; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the receiver hears %v; want %v", err, net.ErrClosed)
	}
	if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the server reads %d, %v; want the end", n, err)
	}
	if _, err := line.Conn().Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a closed line: %v; want %v", err, net.ErrClosed)
	}
}

type count struct{ reads chan int }

func (c *count) Receive(b []byte, _ Read, err error) (wake func()) {
	if err == nil {
		c.reads <- len(b)
	}
	return nil
}

func TestHubDoesNotAllocate(t *testing.T) {
	line, _, server := linePair(t)
	counter := &count{reads: make(chan int)}
	line.Attach(counter)
	message, buffer := []byte("message"), make([]byte, 100)
	var x Exchange
	line.Conn().Begin(&x)
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := server.Write(message); err != nil {
			t.Fatal(err)
		}
		<-counter.reads
	})
	if allocs != 0 {
		t.Errorf("%v allocations a read; want none", allocs)
	}
	allocs = testing.AllocsPerRun(200, func() {
		if _, err := line.Conn().Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(buffer); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1 { // the closure that asks whether the line is open
		t.Errorf("%v allocations a write; want one at most", allocs)
	}
}
