package wire

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// A Dialer makes stamping connections. Its DialContext fits http.Transport; TLS, proxies and connection reuse stay the transport's.
// It is safe for concurrent use and must not be changed once used.
type Dialer struct {
	// Clock is the clock of all stamps; required.
	Clock *Clock
	// Sources are local addresses to connect from, in turn: one address has some 28,000 ports for one server,
	// so more streams need more addresses. Empty leaves the choice to the system.
	Sources []netip.Addr
	// Socket is the path of a Unix socket to connect to, whatever the address asked for. Empty means TCP.
	Socket string
	// Timeout limits one connection attempt; zero means none but the context's.
	Timeout time.Duration

	turn atomic.Uint64
}

// DialContext connects and returns a *Conn.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	stamps()
	dialer := net.Dialer{Timeout: d.Timeout, ControlContext: control}
	if d.Socket != "" {
		network, address, dialer.ControlContext = "unix", d.Socket, nil
	} else if len(d.Sources) > 0 {
		source := d.Sources[(d.turn.Add(1)-1)%uint64(len(d.Sources))]
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	inner, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		// A request is sent when it is written; waiting for more would count as the server's time.
		if err := tcp.SetNoDelay(true); err != nil {
			inner.Close()
			return nil, err
		}
	}
	return Wrap(inner, d.Clock), nil
}
