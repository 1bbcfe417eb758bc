package scenario

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"servebench/loadgen/api"
	"servebench/loadgen/server"
)

// proxy chooses a proxy for a request, as http.Transport wants it.
func (s *Server) proxy() (func(*http.Request) (*url.URL, error), error) {
	switch s.Proxy {
	case "":
		return http.ProxyFromEnvironment, nil
	case "none":
		return api.NoProxy, nil
	}
	u, err := url.Parse(s.Proxy)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address of a proxy: write http://host:port, or none", s.Proxy)
	}
	return http.ProxyURL(u), nil
}

// socketOf is the path of the Unix socket that a server listens on; empty when it is none.
func socketOf(address string) string {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok {
		return ""
	}
	return path
}

// baseURL is the server's address for HTTP. One behind a socket has no name of its own.
func (r *runner) baseURL() string {
	if socketOf(r.host.url) != "" {
		return "http://localhost"
	}
	return strings.TrimRight(r.host.url, "/")
}

// newTarget is the server for questions beside the load, which go the load's way.
func (r *runner) newTarget() server.Target {
	return server.Target{BaseURL: r.baseURL(), Headers: r.header(), Clock: r.clock.Clock.Now, Client: r.httpClient()}
}

// httpClient is what they go through; nil is the usual.
func (r *runner) httpClient() *http.Client {
	socket := socketOf(r.host.url)
	if !r.compat() && !r.Server.Insecure && r.Server.Proxy == "" && !r.Server.HTTP2 && socket == "" {
		return nil
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: r.Server.Insecure}, DisableCompression: true}
	transport.Proxy, _ = r.Server.proxy() // was checked
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	var asks http.RoundTripper = transport
	if r.Server.HTTP2 {
		transport.ForceAttemptHTTP2 = true // with TLS the server chooses
		two := transport.Clone()
		two.Protocols = new(http.Protocols)
		two.Protocols.SetUnencryptedHTTP2(true)
		asks = &eitherVersion{two: two, one: transport}
	}
	if r.compat() {
		asks = pythonic{asks, strings.HasSuffix(r.host.url, "/")}
	}
	return &http.Client{Transport: asks}
}

// An eitherVersion asks over HTTP/2, and servers without TLS that do not answer so over HTTP/1.1: those that are asked whether they are ready, or that
// have another program for their questions, need not speak what the load does. With TLS the server chooses.
type eitherVersion struct {
	two, one http.RoundTripper
	// settled says that HTTP/1.1 was answered.
	settled atomic.Bool
}

func (e *eitherVersion) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" || e.settled.Load() {
		return e.one.RoundTrip(req)
	}
	resp, err := e.two.RoundTrip(req)
	if err == nil || req.Body != nil && req.GetBody == nil {
		return resp, err
	}
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	resp, err = e.one.RoundTrip(again)
	e.settled.Store(err == nil)
	return resp, err
}
