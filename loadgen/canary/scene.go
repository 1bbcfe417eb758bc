package canary

import (
	"bufio"
	"bytes"
	"context"
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

// A manner is how a scene sends its events.
type manner int

const (
	// paced events are written all at once, and the kernel sends one each gap: they go on when the process gets no processor.
	paced manner = iota
	// spoken events are each written when they are due. No timer's work lies between their leaving and their coming, but a process
	// that gets no processor speaks late.
	spoken
)

// paths are what a request asks for to be answered in a manner.
var paths = [...]string{paced: "/paced", spoken: "/spoken"}

// A scene is the scripted server: it answers each request with a stream of as many events as max_tokens says, one each gap.
type scene struct {
	clock *wire.Clock
	// hub reads the client's side, nil when that is net/http; serverHub reads the server's: the same one, or one of its own.
	hub, serverHub *wire.Hub
	gap            time.Duration
	listener       net.Listener
	serving        sync.WaitGroup

	mu     sync.Mutex
	lines  map[*wire.Line]bool
	heard  map[string]chan struct{} // closed when the client has its reply
	truths map[string]chan truth
	closed bool
}

func newScene(clock *wire.Clock, hub *wire.Hub, gap time.Duration) (*scene, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	serverHub := hub
	if hub == nil {
		if serverHub, err = wire.NewHub(clock); err != nil {
			l.Close()
			return nil, err
		}
	}
	s := &scene{
		clock: clock, hub: hub, serverHub: serverHub, gap: gap, listener: l,
		lines: map[*wire.Line]bool{}, heard: map[string]chan struct{}{}, truths: map[string]chan truth{},
	}
	s.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			listener := &audience{requests: make(chan request, 1), ended: make(chan struct{})}
			line, err := serverHub.Take(wire.Wrap(conn, clock), listener)
			if err != nil {
				conn.Close() // the client sees that it is not served
				continue
			}
			if s.enter(line) {
				s.serving.Go(func() {
					defer s.leave(line)
					_ = s.serve(line, listener) // the client sees what went wrong
				})
			}
		}
	})
	return s, nil
}

func (s *scene) url(m manner) string { return "http://" + s.listener.Addr().String() + paths[m] }

func (s *scene) enter(l *wire.Line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return false
	}
	s.lines[l] = true
	return true
}

func (s *scene) leave(l *wire.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, l)
	l.Close()
}

func (s *scene) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for l := range s.lines {
		l.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	if s.hub == nil {
		s.serverHub.Close()
	}
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

// A request is one that the scene has got whole.
type request struct {
	id     string
	manner manner
	events int
	came   int64 // when its last byte came
}

// An audience takes the requests of one connection. The client sends one, and the next when it has heard the reply.
type audience struct {
	bytes    []byte
	requests chan request
	ended    chan struct{}
}

func (a *audience) Receive(b []byte, r wire.Read, err error) (wake func()) {
	if err != nil {
		return func() { close(a.ended) }
	}
	b = bytes.Clone(b)
	return func() { a.hear(b, r.At) } // reading a request is not the Hub's work
}

func (a *audience) hear(b []byte, at int64) {
	a.bytes = append(a.bytes, b...)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(a.bytes)))
	if err != nil {
		return // more is to come
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	a.bytes = a.bytes[:0]
	got := request{id: req.Header.Get("X-Request-Id"), events: asked(body), came: at}
	if req.URL.Path == paths[spoken] {
		got.manner = spoken
	}
	a.requests <- got
}

// serve answers the requests of one connection, which are all of one manner.
func (s *scene) serve(line *wire.Line, a *audience) error {
	var out *wire.Segments
	for {
		var req request
		select {
		case req = <-a.requests:
		case <-a.ended:
			return nil
		}
		s.mu.Lock()
		heard, told := s.heard[req.id], s.truths[req.id]
		s.mu.Unlock()
		if heard == nil {
			return fmt.Errorf("request %q was not announced", req.id)
		}
		line.Rest()
		if out == nil {
			pace := 0
			if req.manner == paced {
				pace = int(size * time.Second / s.gap)
			}
			var err error
			if out, err = wire.NewSegments(line, pace); err != nil {
				return err
			}
		}
		for i, piece := range pieces(req.events) {
			if req.manner == spoken && i > 0 {
				time.Sleep(s.gap)
			}
			if err := out.Write(piece); err != nil {
				return err
			}
		}
		<-heard
		t := truth{received: req.came}
		if sent := out.Sent(20 * time.Millisecond); len(sent) == req.events+2 { // the headers, the events, the end
			t.sent = sent[1 : req.events+1]
			for _, at := range sent {
				if at == 0 {
					t.sent = nil
				}
			}
		}
		line.Resume()
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

// pieces are a reply: its head, the events, the end.
func pieces(events int) [][]byte {
	all := [][]byte{[]byte(head)}
	for range events {
		all = append(all, event)
	}
	const done = "data: [DONE]\n\n"
	return append(all, fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(done), done))
}
