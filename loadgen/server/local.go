package server

import (
	"context"
	"net"
	"net/url"
)

// Local says that the target is on this machine: its host is one of this machine's addresses. Both sides
// then read one clock. A forwarded port (ssh -L, kubectl port-forward) looks local and is not.
func (t Target) Local(ctx context.Context) bool {
	u, err := url.Parse(t.BaseURL)
	if err != nil || u.Hostname() == "" {
		return false
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, u.Hostname())
	if err != nil || len(addresses) == 0 {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() && !a.IP.IsUnspecified() && !contains(own, a.IP) {
			return false
		}
	}
	return true
}

func contains(own []net.Addr, ip net.IP) bool {
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}
