package api

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"servebench/loadgen/wire"
	"servebench/results"
)

// A tally is what the connections went through.
type tally struct {
	retransmits, disordered, again atomic.Int64
	refused                        atomic.Int64 // streams that a server turned away unread, for there were too many on the connection
	asked                          atomic.Int64 // requests whose connection the kernel told about
	minRTT                         atomic.Int64

	mu   sync.Mutex
	busy map[*wire.Conn]int // connections with requests under way, and how many
	// queues is what looking into their receive queues found.
	queues results.ReceiveQueue
}

// begin notes that a request has got a connection.
func (t *tally) begin(conn *wire.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy == nil {
		t.busy = map[*wire.Conn]int{}
	}
	t.busy[conn]++
}

func (t *tally) end(conn *wire.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[conn]--; t.busy[conn] <= 0 {
		delete(t.busy, conn)
	}
}

// looked is into how many receive queues one look goes: what takes some 30 us.
const looked = 64

// LookIntoQueues asks some of the connections that replies are coming over, in no order, how many bytes lie there unread.
func (c *Client) LookIntoQueues() {
	t := &c.tally
	t.mu.Lock()
	conns := make([]*wire.Conn, 0, looked)
	for conn := range t.busy {
		if conns = append(conns, conn); len(conns) == looked {
			break
		}
	}
	t.mu.Unlock()
	var found results.ReceiveQueue
	for _, conn := range conns {
		n, ok := conn.Unread()
		if !ok {
			continue
		}
		found.Looks++
		if n > 0 {
			found.Waiting++
			found.Most = max(found.Most, n)
		}
	}
	t.mu.Lock()
	t.queues.Add(found)
	t.mu.Unlock()
}

// Queues is what was found; false when the kernel told nothing.
func (c *Client) Queues() (results.ReceiveQueue, bool) {
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	return c.tally.queues, c.tally.queues.Looks > 0
}

// add takes the state of a request's connection when the request has ended.
func (t *tally) add(exchange *wire.Exchange) {
	if exchange.Attempts() > 1 {
		t.again.Add(1)
	}
	if conn := exchange.Conn(); conn != nil {
		t.addConn(conn)
	}
}

// addConn takes what a connection went through since it was asked last.
func (t *tally) addConn(conn *wire.Conn) {
	t.end(conn)
	news, ok := conn.News()
	if !ok {
		return
	}
	t.asked.Add(1)
	t.retransmits.Add(int64(news.Retransmits))
	for rtt := int64(news.MinRTT); rtt > 0; {
		old := t.minRTT.Load()
		if old != 0 && old <= rtt || t.minRTT.CompareAndSwap(old, rtt) {
			break
		}
	}
}

// Retransmits is the number of TCP segments that were sent again so far; false when the kernel did not tell.
func (c *Client) Retransmits() (int64, bool) {
	return c.tally.retransmits.Load(), c.tally.asked.Load() > 0
}

// MinRTT is the shortest round trip that the kernel saw; false when it did not tell.
func (c *Client) MinRTT() (time.Duration, bool) {
	rtt := c.tally.minRTT.Load()
	return time.Duration(rtt), rtt > 0
}

// Notes are what happened to requests on their way that no record shows.
func (c *Client) Notes() []string {
	var list []string
	if n := c.tally.again.Load(); n > 0 {
		list = append(list, fmt.Sprintf("%d requests found their kept connection closed by the server and took another one; nothing of them had been written", n))
	}
	if n := c.tally.refused.Load(); n > 0 {
		list = append(list, fmt.Sprintf("%d times the server turned a stream away unread, for there were too many on its connection (HTTP/2), and its request was sent on another: it counts as written then", n))
	}
	if n := c.tally.disordered.Load(); n > 0 {
		list = append(list, fmt.Sprintf("in %d replies TCP segments came out of order: their stamps are the client's own, late at most", n))
	}
	return list
}
