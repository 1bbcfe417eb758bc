package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"servebench/loadgen/wire"
	"servebench/results"
)

// SpeaksHTTP2 asks the server for its root, to find out before the load. What it answers does not matter. Without Config.HTTP2 nothing is asked.
func (c *Client) SpeaksHTTP2(ctx context.Context) error {
	if !c.cfg.HTTP2 {
		return nil
	}
	if proxy, err := c.cfg.Proxy(&http.Request{URL: c.url}); err == nil && proxy != nil && c.url.Scheme == "http" {
		return fmt.Errorf("HTTP/2 without TLS does not go through a proxy (%s): use https, HTTP/1.1, or no proxy", proxy.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	root := *c.url
	root.Path, root.RawQuery = "/", ""
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, root.String(), nil)
	if err != nil {
		return err
	}
	resp, err := c.transport.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		if resp.ProtoMajor == 2 {
			return nil
		}
		return c.answeredIn(resp.Proto) // net/http takes it of a server that says nothing of protocols in the TLS handshake
	}
	// How a server fails that does not understand has no one form. That it answers in HTTP/1.1 is sure.
	one := &http.Transport{DialContext: c.dial, Proxy: c.cfg.Proxy, TLSClientConfig: &tls.Config{InsecureSkipVerify: c.cfg.Insecure}}
	defer one.CloseIdleConnections()
	if resp, err := one.RoundTrip(req); err == nil {
		resp.Body.Close()
		return c.answeredIn(resp.Proto)
	}
	return fmt.Errorf("HTTP/2: %w%s", err, connectHint(err))
}

// sendHTTP2 sends a request over a connection that it shares. Whose bytes a read brought is known once net/http has read them, so that no stamp is the
// request's own: that of an event is the connection's latest read at the moment the client comes to see the event. It is no earlier than the event's
// bytes, and the lag says how much later the client was. The request counts as written when its last byte was taken for sending.
func (c *call) sendHTTP2(ctx context.Context, reply *results.Reply) {
	began := c.client.cfg.Clock.Now()
	var conn *wire.Conn
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if conn != nil { // one that turned the stream away
			c.client.tally.end(conn)
		}
		if conn = wire.From(info.Conn); conn != nil {
			c.began(reply, conn, info.Reused, began)
		}
	}}
	lastRead := func() wire.Read {
		if conn == nil {
			return wire.Read{}
		}
		r := conn.LastRead()
		r.User = c.client.cfg.Clock.Now()
		return r
	}
	sending := &sending{body: c.body.Bytes, clock: c.client.cfg.Clock}
	req := c.request().WithContext(httptrace.WithClientTrace(ctx, trace))
	req.Body, req.GetBody = sending.begin(), func() (io.ReadCloser, error) {
		// Asked for when the server turned the stream away unread, or closed the connection before it.
		c.client.tally.refused.Add(1)
		return sending.begin(), nil
	}
	resp, err := c.client.transport.RoundTrip(req)
	switch {
	case err != nil:
		class := results.FailConnect
		if conn != nil {
			class = results.FailCut
		}
		reply.Failure, reply.Done = c.client.failure(ctx, err, class), results.Moment(c.client.cfg.Clock.Now())
	case resp.ProtoMajor != 2:
		resp.Body.Close()
		reply.Failure = &results.Failure{Class: results.FailConnect, Message: c.client.answeredIn(resp.Proto).Error()}
		reply.Done = results.Moment(c.client.cfg.Clock.Now())
	default:
		defer resp.Body.Close()
		headers := lastRead()
		c.read(ctx, resp, headers, reply, lastRead)
		c.finish(reply, new(wire.Exchange), lastRead(), headers)
	}
	reply.Written = results.Moment(sending.done.Load())
	if conn != nil {
		c.client.tally.addConn(conn)
	}
}

// A sending is a body that notes when its last byte was taken.
type sending struct {
	body  []byte
	clock *wire.Clock
	done  atomic.Int64
}

func (s *sending) begin() io.ReadCloser { return &sendingReader{s, bytes.NewReader(s.body)} }

type sendingReader struct {
	*sending
	rest *bytes.Reader
}

func (r *sendingReader) Read(b []byte) (int, error) {
	n, err := r.rest.Read(b)
	if n > 0 && r.rest.Len() == 0 {
		r.done.Store(r.clock.Now())
	}
	return n, err
}

func (r *sendingReader) Close() error { return nil }

// answeredIn is what is wrong with an answer in another protocol.
func (c *Client) answeredIn(proto string) error {
	return fmt.Errorf("the server does not speak HTTP/2 at %s, but %s: leave the HTTP version at 1.1", c.url.Host, proto)
}
