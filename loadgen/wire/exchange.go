package wire

import (
	"sync"
	"time"
)

// A Kind is where a stamp was taken.
type Kind uint8

// The kinds of stamp.
const (
	None   Kind = iota // no stamp: it did not happen
	User               // in user space, after the system call: late by as much as the client is busy
	Kernel             // by the kernel, when the packet came or left
)

func (k Kind) String() string {
	switch k {
	case User:
		return "user"
	case Kernel:
		return "kernel"
	}
	return "none"
}

// A Read is one read of a connection that returned bytes.
type Read struct {
	// Seq counts the reads of the exchange, from 1. Zero is no read.
	Seq int
	// At is when the last of its bytes came: the kernel's stamp where Kind is Kernel, else User.
	// For the bytes before the last one it is an upper bound.
	At int64
	// User is when the read returned to the client.
	User int64
	// Bytes is how many it returned, as they were on the wire (under TLS: encrypted).
	Bytes int
	// Kind says where At was taken.
	Kind Kind
}

// Lag is how much later than At the client itself saw the bytes.
func (r Read) Lag() time.Duration { return time.Duration(r.User - r.At) }

// A Write is the sending of a request, as far as it has come: all its writes together.
type Write struct {
	// Began is right before the first byte was handed to the kernel.
	Began int64
	// At is when the last byte left: the kernel's send stamp where Kind is Kernel, else User.
	At int64
	// User is right after the last write returned.
	User int64
	// Count is the number of writes, Bytes what they wrote (under TLS: encrypted).
	Count int
	Bytes int64
	// Kind says where At was taken.
	Kind Kind
	// Busy says that a write was still under way when asked, so that the last byte had not left or
	// the client had not come round to note it.
	Busy bool
}

// An Exchange is one request and its response on a Conn: who wants stamps makes one (the
// zero value is ready, and it may be used again for a next request) and passes it to Begin once the
// request has a connection. Stamps of the next request on the same connection go to that
// request's Exchange, so an Exchange can be asked at leisure after the response has ended.
// It is safe for concurrent use. Its methods never block.
type Exchange struct {
	mu       sync.Mutex
	conn     *Conn
	attempts int

	write Write
	// sent is the kernel's stamp of the latest write's last byte, which can be known before the write has returned; zero when it is not known.
	sent     int64
	last     Read
	closed   int64
	disorder bool
}

// Begin makes x the exchange of the next request on c and clears it. Call it when the request has got the
// connection and nothing of it was written: from httptrace's GotConn.
// A request that net/http retries on another connection begins again.
func (c *Conn) Begin(x *Exchange) {
	x.mu.Lock()
	attempts := x.attempts
	if x.conn == nil {
		attempts = 0
	}
	x.conn, x.attempts = c, attempts+1
	x.write, x.sent, x.last, x.closed, x.disorder = Write{}, 0, Read{}, 0, false
	x.mu.Unlock()
	if old := c.exchange.Load(); old != nil && old != x {
		c.disordered() // the last chance to note it where it belongs
	}
	c.exchange.Store(x)
}

// Reset forgets everything, the connection and the attempts included, so that x can serve another request.
func (x *Exchange) Reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, x.attempts = nil, 0
	x.write, x.sent, x.last, x.closed, x.disorder = Write{}, 0, Read{}, 0, false
}

// Attempts is how often the exchange has begun since it was new or reset: more than 1 when the request was sent again on
// another connection.
func (x *Exchange) Attempts() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.attempts
}

// Conn is the connection of the exchange, nil before Begin.
func (x *Exchange) Conn() *Conn {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn
}

// LastRead is the latest read that returned bytes. Right after a Read of a response body it is the read that completed
// what the body returned, or an earlier one whose rest was still buffered: then its
// Seq is the one seen before. Right after the response headers came it is the read that completed these.
func (x *Exchange) LastRead() Read {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

// Closed is when the client saw the end of the connection (end of file or an error); zero while it is open.
func (x *Exchange) Closed() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed
}

// Written is the sending of the request. Ask when the response has ended: a server may
// answer before it has the whole request, and the kernel may hold the last bytes back.
// It is false when nothing was written.
func (x *Exchange) Written() (Write, bool) {
	x.mu.Lock()
	c, w := x.conn, x.write
	x.mu.Unlock()
	if c != nil && w.Count > 0 && !w.Busy {
		c.collect()
		x.mu.Lock()
		if x.conn == c {
			w = x.write
		}
		x.mu.Unlock()
	}
	return w, w.Count > 0 || w.Busy
}

// Disordered says that TCP segments arrived out of order during the exchange: one was lost and sent again, or overtaken. Those behind it wait
// for it and keep their older stamps, so a read can be stamped before its bytes were there to read. Stamps that may have been
// much too early were replaced by the user-space ones; others may be early by up to 500 us (on a Hub's line by any time), and by no more than their Lag.
// Where that matters, take User for At in all reads of a disordered exchange.
func (x *Exchange) Disordered() bool {
	x.mu.Lock()
	c := x.conn
	x.mu.Unlock()
	if c != nil && c.exchange.Load() == x {
		c.disordered()
	}
	return x.isDisordered()
}

func (x *Exchange) isDisordered() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.disorder
}

// noteRead adds a read that c made, unless the exchange has gone to another connection.
func (x *Exchange) noteRead(c *Conn, r Read) {
	x.mu.Lock()
	if x.conn == c {
		r.Seq = x.last.Seq + 1
		x.last = r
	}
	x.mu.Unlock()
}

func (x *Exchange) noteClosed(c *Conn, at int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn == c && x.closed == 0 {
		x.closed = at
	}
}

func (x *Exchange) noteWriting(c *Conn, began int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn != c {
		return
	}
	if x.write.Began == 0 {
		x.write.Began = began
	}
	x.write.Busy, x.sent = true, 0
}

func (x *Exchange) noteWrite(c *Conn, n int, after int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn != c {
		return
	}
	w := &x.write
	w.Busy = false
	if n > 0 {
		w.Count++
		w.Bytes += int64(n)
		w.User, w.At, w.Kind = after, after, User
		if x.sent != 0 {
			w.At, w.Kind = x.sent, Kernel
		}
	}
}
