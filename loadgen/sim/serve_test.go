package sim

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a listener within the process, so that whole connections can run on a test's own time.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
}

func newMemory() *memory { return &memory{make(chan net.Conn), make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	select {
	case <-m.done:
	default:
		close(m.done)
	}
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case m.conns <- far:
			return near, nil
		case <-m.done:
			return nil, net.ErrClosed
		}
	}}}
}

func TestServeOnATestsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{FirstToken: 50 * ms, BetweenTokens: 10 * ms, Startup: time.Second})
		m := newMemory()
		done := make(chan error)
		go func() { done <- s.Serve(m) }()
		client := m.client()
		began := time.Now()
		response, err := client.Post("http://sim/v1/completions", "application/json", strings.NewReader(completion(ids(1, 10), 3)))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("headers after %v; want the start-up's second", got)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || strings.Count(string(body), `"logprobs"`) != 3 {
			t.Errorf("%v: %s", err, body)
		}
		if got, want := time.Since(began), time.Second+70*ms; got != want {
			t.Errorf("the answer took %v; want %v", got, want)
		}
		other := newMemory()
		if err := s.Serve(other); err == nil {
			t.Error("a second Serve was accepted")
		}
		client.CloseIdleConnections()
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Serve(newMemory()); err == nil {
			t.Error("a closed server was served")
		}
	})
}
