package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"servebench/loadgen/wire"
	"servebench/results"
)

// A direct speaks HTTP/1.1 over connections that a wire.Hub reads. A token goes from the socket through the framing and the event parser into the
// reply's chunks in one go, on the Hub's thread, without a buffer or a goroutine of its own.
type direct struct {
	client *Client
	hub    *wire.Hub

	mu   sync.Mutex
	idle []idleLine // the one used last at the end
}

type idleLine struct {
	*wire.Line
	since time.Time
}

// line is a connection to the server: a kept one, or a new one.
func (d *direct) line(ctx context.Context) (line *wire.Line, reused bool, err error) {
	for {
		line := d.kept()
		if line == nil {
			break
		}
		if line.Conn().Quiet() {
			return line, true, nil
		}
		line.Close()
	}
	conn, err := d.client.dial(ctx, "tcp", addressOf(d.client.url))
	if err != nil {
		return nil, false, err
	}
	line, err = d.hub.Take(wire.From(conn), nil)
	if err != nil {
		conn.Close()
		return nil, false, &net.OpError{Op: "dial", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
	}
	return line, false, nil
}

// kept takes the connection that was used last; nil when there is none, or it was too long ago.
func (d *direct) kept() *wire.Line {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
	last := len(d.idle) - 1
	if last < 0 {
		return nil
	}
	line := d.idle[last].Line
	d.idle = d.idle[:last]
	return line
}

// keep keeps a connection for the next request.
func (d *direct) keep(line *wire.Line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
	d.idle = append(d.idle, idleLine{line, time.Now()})
}

// drop closes what was kept for too long.
func (d *direct) drop() {
	old := 0
	for old < len(d.idle) && time.Since(d.idle[old].since) > idleFor {
		d.idle[old].Close()
		old++
	}
	d.idle = d.idle[old:]
}

func (d *direct) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.idle {
		l.Close()
	}
	d.idle = nil
}

// lastWord is how long a server that stopped reading a request may take to say why.
const lastWord = 100 * time.Millisecond

// send carries out a request.
func (d *direct) send(ctx context.Context, c *call, reply *results.Reply) {
	var exchange wire.Exchange
	began := d.client.cfg.Clock.Now()
	var a *answer
	var line *wire.Line
	var writeErr error
	var forget func() bool
	for {
		var reused bool
		var err error
		if line, reused, err = d.line(ctx); err != nil {
			c.unanswered(ctx, reply, &exchange, err)
			return
		}
		a = &answer{call: c, reply: reply, over: make(chan struct{})}
		conn := line.Conn()
		conn.Begin(&exchange)
		c.began(reply, conn, reused, began)
		if !line.Attach(a) && reused {
			d.client.tally.end(conn)
			line.Close()
			continue
		}
		forget = context.AfterFunc(ctx, line.Close)
		var n int
		n, writeErr = conn.Write(c.bytes)
		if n > 0 || !reused || writeErr == nil || ctx.Err() != nil {
			break
		}
		// The server closed a kept connection and nothing was sent: another one is as good.
		d.client.tally.end(conn)
		line.Detach()
		forget()
		line.Close()
	}
	if writeErr != nil {
		select {
		case <-a.over:
		case <-time.After(lastWord):
			line.Close()
		}
	}
	<-a.over
	// Until the line lets go of it, the answer may still hear that the connection ended.
	reusable := line.Detach() && a.reusable() && writeErr == nil
	c.answered(ctx, a, &exchange, writeErr)
	if forget() && reusable {
		d.keep(line)
	} else {
		line.Close()
	}
}

// answered judges the reply once all of it is there that will be.
func (c *call) answered(ctx context.Context, a *answer, exchange *wire.Exchange, writeErr error) {
	reply := a.reply
	if a.resp == nil {
		err := a.err
		if writeErr != nil {
			err = writeErr
		}
		c.unanswered(ctx, reply, exchange, err)
		return
	}
	reply.Status = a.resp.StatusCode
	reply.Headers = results.Moment(a.headers.At)
	switch {
	case packed(a.resp) != "":
		reply.Failure = unpackable(a.resp)
	case a.resp.StatusCode != http.StatusOK:
		c.refused(a.resp, a.document, reply)
	case a.stream == nil:
		c.document(ctx, a.resp, a.document, a.err, reply)
	case a.problem != nil:
		reply.Failure = a.problem
		a.stream.end(false)
	case a.err != nil:
		reply.Failure = c.client.failure(ctx, a.err, results.FailCut)
		a.stream.end(false)
	default:
		reply.Failure = a.stream.end(true)
	}
	c.finish(reply, exchange, exchange.LastRead(), a.headers)
}

// An answer takes the bytes of one reply.
type answer struct {
	call  *call
	reply *results.Reply

	head    head
	resp    *http.Response // once its head is whole
	headers wire.Read
	body    body
	stream  *reader // of an event stream; any other reply is kept as a document
	problem *results.Failure
	// document is the body of a reply that is no stream; of a refusal, its beginning.
	document []byte

	// over is closed after the last bytes; err says why nothing more will come, nil at a good end. Bytes behind that end are more.
	over chan struct{}
	err  error
	done bool
	more bool
}

// Receive takes the bytes of one read.
func (a *answer) Receive(b []byte, r wire.Read, err error) (wake func()) {
	if a.done {
		a.more = true
		return nil
	}
	if a.take(b, r, err); a.done {
		return a.tell
	}
	return nil
}

func (a *answer) take(b []byte, r wire.Read, err error) {
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
			if a.body != nil {
				err = a.body.cut()
			} else if len(a.head.bytes) == 0 {
				err = errNoReply
			}
		}
		a.end(err)
		return
	}
	if a.resp == nil {
		if b, err = a.begin(b, r); err != nil || a.resp == nil || a.done {
			if err != nil {
				a.end(err)
			}
			return
		}
	}
	n, rest, over, err := a.body.take(b)
	a.more = len(rest) > 0
	switch {
	case n == 0:
	case a.stream != nil:
		a.problem = a.stream.feed(b[:n], r)
	case a.resp.StatusCode == http.StatusOK:
		a.document = append(a.document, b[:n]...)
	default:
		a.document = append(a.document, b[:min(n, mostRefused-len(a.document))]...)
	}
	if err != nil || over || a.problem != nil {
		a.more = a.more || !over
		a.end(err)
	}
}

// begin takes bytes of the head and returns what follows it.
func (a *answer) begin(b []byte, r wire.Read) ([]byte, error) {
	resp, rest, err := a.head.take(b)
	if err != nil || resp == nil {
		return nil, err
	}
	a.resp, a.headers, a.body = resp, r, bodyOf(resp)
	if resp.StatusCode == http.StatusOK && !a.call.whole() {
		a.stream = newReader(a.call, a.reply)
	}
	if unread := packed(resp) != ""; unread || resp.ContentLength == 0 {
		a.more = unread || len(rest) > 0
		a.end(nil)
	}
	return rest, nil
}

func (a *answer) end(err error) { a.done, a.err = true, err }

func (a *answer) tell() { close(a.over) }

// reusable says that the connection can serve another request.
func (a *answer) reusable() bool {
	return a.err == nil && a.resp != nil && !a.resp.Close && !a.more && a.body.cut() != nil
}

var errNoReply = errors.New("the server closed the connection without a reply")

var _ wire.Receiver = (*answer)(nil)
