package canary

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"servebench/loadgen/wire"
)

// size is the length of an event on the wire, about that of a real server's.
const size = 256

// A scene is the scripted server: it answers each request with a stream of as many events as max_tokens says, all written at once and
// sent by the kernel, one each gap.
type scene struct {
	clock    *wire.Clock
	hub      *wire.Hub
	pace     int
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	heard  map[string]chan struct{} // closed when the client has its reply
	truths map[string]chan truth
	closed bool
}

func newScene(clock *wire.Clock, hub *wire.Hub, gap time.Duration) (*scene, error) {
	if wire.Stamps() != wire.Kernel {
		return nil, errors.New("this system's kernel does not stamp what comes")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &scene{
		clock: clock, hub: hub, pace: int(size * time.Second / gap), listener: l,
		conns: map[net.Conn]bool{}, heard: map[string]chan struct{}{}, truths: map[string]chan truth{},
	}
	s.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if s.enter(conn) {
				s.serving.Go(func() {
					defer s.leave(conn)
					_ = s.serve(conn) // the client sees what went wrong
				})
			}
		}
	})
	return s, nil
}

func (s *scene) url() string { return "http://" + s.listener.Addr().String() + "/v1/completions" }

func (s *scene) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *scene) leave(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.Close()
}

func (s *scene) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// expect announces a request. What it returns says that the reply has come, and waits for the truth about it.
func (s *scene) expect(id string) func(context.Context) (truth, bool) {
	heard, told := make(chan struct{}), make(chan truth, 1)
	s.mu.Lock()
	s.heard[id], s.truths[id] = heard, told
	s.mu.Unlock()
	return func(ctx context.Context) (truth, bool) {
		close(heard)
		const patience = time.Second // the server's part is done: it has only to tell
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case t := <-told:
			return t, true
		case <-ctx.Done():
		case <-timer.C:
		}
		return truth{}, false
	}
}

// serve answers the requests of one connection.
func (s *scene) serve(inner net.Conn) error {
	tcp, ok := inner.(*net.TCPConn)
	if !ok {
		return errors.New("no TCP connection")
	}
	conn := wire.Wrap(tcp, s.clock)
	out, err := wire.NewSegments(tcp, s.clock, s.pace)
	if err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return err
		}
		t := truth{received: conn.LastRead().At}
		id := req.Header.Get("X-Request-Id")
		s.mu.Lock()
		heard, told := s.heard[id], s.truths[id]
		s.mu.Unlock()
		if heard == nil {
			return fmt.Errorf("request %q was not announced", id)
		}
		events := asked(body)
		if err := perform(out, events); err != nil {
			return err
		}
		<-heard
		if sent := out.Sent(20 * time.Millisecond); len(sent) == events+2 { // the headers, the events, the end
			t.sent = sent[1 : events+1]
			for _, at := range sent {
				if at == 0 {
					t.sent = nil
				}
			}
		}
		told <- t
	}
}

// asked is the body's max_tokens.
func asked(body []byte) int {
	_, rest, _ := strings.Cut(string(body), `"max_tokens": `)
	digits, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(digits)
	return max(n, 1)
}

const (
	head  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	begin = `data: {"id":"canary","object":"text_completion","created":0,"model":"canary","choices":[{"index":0,"text":"`
	end   = `","logprobs":null,"finish_reason":null}]}` + "\n\n"
)

// event is a chunk with an event, size bytes in all.
var event = func() []byte {
	framing := len("100\r\n") + len("\r\n")
	text := strings.Repeat("a", size-framing-len(begin)-len(end))
	data := begin + text + end
	return fmt.Appendf(nil, "%03x\r\n%s\r\n", len(data), data)
}()

// perform writes a reply.
func perform(out *wire.Segments, events int) error {
	if err := out.Write([]byte(head)); err != nil {
		return err
	}
	for range events {
		if err := out.Write(event); err != nil {
			return err
		}
	}
	const done = "data: [DONE]\n\n"
	return out.Write(fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(done), done))
}
