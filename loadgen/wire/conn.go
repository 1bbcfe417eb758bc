package wire

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is a network connection that stamps what it reads and writes. Reading and writing cost no allocation.
// It works under net/http and under TLS; find it again with From.
//
// With HTTP/2 many requests share a connection: then an Exchange gets the reads of others and misses its own. Ask the
// Conn's own LastRead instead, which is late at most, or measure over HTTP/1.1.
type Conn struct {
	inner    net.Conn
	clock    *Clock
	exchange atomic.Pointer[Exchange]
	// farewell says that what is written from now on belongs to no request.
	farewell atomic.Bool

	mu   sync.Mutex
	last Read // its Seq counts the reads of the connection
	// ready is when the connection had been set up.
	ready int64
	// kernel holds what kernel stamps need; nil when the connection has none.
	kernel *kernelConn
}

var _ net.Conn = (*Conn)(nil)

// Wrap makes a Conn of any connection. Kernel stamps are asked for when it is TCP on a system that gives them.
func Wrap(inner net.Conn, clock *Clock) *Conn {
	c := &Conn{inner: inner, clock: clock}
	c.kernel = newKernelConn(c)
	c.ready = clock.Now()
	return c
}

// From finds the Conn beneath conn: conn itself, or what lies under layers that have a NetConn method, as *tls.Conn has. It is nil when there is none.
func From(conn net.Conn) *Conn {
	for conn != nil {
		if c, ok := conn.(*Conn); ok {
			return c
		}
		layer, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = layer.NetConn()
	}
	return nil
}

// Kind is the kind of stamps that reads of this connection get.
func (c *Conn) Kind() Kind {
	if c.kernel != nil {
		return Kernel
	}
	return User
}

// Ready is when the connection had been set up: connected, and wrapped, before any TLS handshake.
func (c *Conn) Ready() int64 { return c.ready }

// Clock is the clock of the connection's stamps.
func (c *Conn) Clock() *Clock { return c.clock }

// NetConn is the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.inner }

// Read reads what has come, as net.Conn does, and stamps it.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r, err := c.take(b)
	return r.Bytes, err
}

// take is Read with all that is known about it.
func (c *Conn) take(b []byte) (Read, error) {
	var r Read
	var err error
	if c.kernel != nil {
		r, err = c.kernel.read(b)
	} else {
		r.Bytes, err = c.inner.Read(b)
		r.User, r.Kind = c.clock.Now(), User
		r.At = r.User
	}
	x := c.exchange.Load()
	if r.Bytes > 0 {
		c.mu.Lock()
		r.Seq = c.last.Seq + 1
		c.last = r
		c.mu.Unlock()
		if x != nil {
			x.noteRead(c, r)
		}
	}
	if err != nil && x != nil && !isTimeout(err) {
		x.noteClosed(c, c.clock.Now())
	}
	return r, err
}

// LastRead is the latest read of the connection that returned bytes, whichever request they were for. Its Seq
// counts from the beginning of the connection, a TLS handshake included.
func (c *Conn) LastRead() Read {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Write writes all of b, as net.Conn does, and stamps when its last byte left.
func (c *Conn) Write(b []byte) (int, error) {
	x := c.exchange.Load()
	if c.farewell.Load() {
		x = nil
	}
	if x != nil {
		x.noteWriting(c, c.clock.Now())
	}
	if c.kernel != nil {
		return c.kernel.write(b, x)
	}
	n, err := c.inner.Write(b)
	if x != nil {
		x.noteWrite(c, n, c.clock.Now())
	}
	return n, err
}

// collect fetches a send stamp that the kernel has made since the write.
func (c *Conn) collect() {
	if c.kernel != nil {
		c.kernel.collect()
	}
}

// Close closes the connection.
func (c *Conn) Close() error { return c.inner.Close() }

// LocalAddr is the client's address.
func (c *Conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr is the server's address.
func (c *Conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// SetDeadline sets the time limit of reads and writes, as net.Conn does.
func (c *Conn) SetDeadline(t time.Time) error {
	c.farewell.Store(!t.IsZero())
	return c.inner.SetDeadline(t)
}

// SetReadDeadline sets the time limit of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.inner.SetReadDeadline(t) }

// SetWriteDeadline sets the time limit of writes. While there is one, writes count for no exchange: net/http sets none,
// and crypto/tls sets one when it says goodbye, which must not pass for the end of the request.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.farewell.Store(!t.IsZero())
	return c.inner.SetWriteDeadline(t)
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
