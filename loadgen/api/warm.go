package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"

	"servebench/loadgen/wire"
)

// warm are connections that were opened before the load and wait for its first requests.
type warm struct {
	mu      sync.Mutex
	address string
	conns   []net.Conn
}

// WarmUp opens as many connections as Config.Warm asks for, TLS handshake included, so that the first requests of the load find them
// ready. The server may close them before they are used; a closed one is not taken.
func (c *Client) WarmUp(ctx context.Context) error {
	if c.cfg.Warm <= 0 {
		return nil
	}
	target := c.url
	proxy, err := c.cfg.Proxy(&http.Request{URL: target})
	switch {
	case err != nil:
		return fmt.Errorf("proxy: %w", err)
	case proxy != nil && target.Scheme == "https":
		return fmt.Errorf("warm connections through the proxy %s: it is asked for each connection when a request needs one; leave one of the two out", proxy.Host)
	case proxy != nil:
		target = proxy
	}
	address := addressOf(target)
	conns := make([]net.Conn, c.cfg.Warm)
	faults := make([]error, c.cfg.Warm)
	var dialing sync.WaitGroup
	places := make(chan struct{}, 64) // more at a time would overflow the server's queue of new connections
	for i := range conns {
		places <- struct{}{}
		dialing.Go(func() {
			defer func() { <-places }()
			conns[i], faults[i] = c.dialer.DialContext(ctx, "tcp", address)
			if faults[i] == nil && c.transport.DialTLSContext != nil && proxy == nil {
				conns[i], faults[i] = c.shakeHands(ctx, conns[i], address)
			}
		})
	}
	dialing.Wait()
	var fault error
	c.warm.mu.Lock()
	defer c.warm.mu.Unlock()
	c.warm.address = address
	for i, conn := range conns {
		switch {
		case faults[i] != nil:
			fault = fmt.Errorf("warm connection %d of %d: %w%s", i+1, c.cfg.Warm, faults[i], connectHint(faults[i]))
		default:
			c.warm.conns = append(c.warm.conns, conn)
		}
	}
	return fault
}

// addressOf is the host and port of a URL.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// take is a connection that is still open, nil when none is left.
func (w *warm) take(address string) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if address != w.address {
		return nil
	}
	for len(w.conns) > 0 {
		last := len(w.conns) - 1
		conn := w.conns[last]
		w.conns = w.conns[:last]
		if wire.From(conn).Quiet() {
			return conn
		}
		conn.Close()
	}
	return nil
}

func (w *warm) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.conns = nil
}

// dial gives the transport a connection: one that waits, or a new one.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.transport.DialTLSContext == nil { // else those that wait have shaken hands already
		if conn := c.warm.take(address); conn != nil {
			return conn, nil
		}
	}
	return c.dialer.DialContext(ctx, network, address)
}

// dialTLS does the same for the transport's connections with TLS.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	if conn := c.warm.take(address); conn != nil {
		return conn, nil
	}
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.shakeHands(ctx, conn, address)
}

func (c *Client) shakeHands(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	cfg := c.transport.TLSClientConfig.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// NoProxy is a Config.Proxy that lets no request go through one.
func NoProxy(*http.Request) (*url.URL, error) { return nil, nil }
