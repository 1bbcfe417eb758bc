package scenario

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"servebench/loadgen/sim"
	"servebench/results"
)

// simServer is the simulator behind a server of the test's own. change sets that up before it starts.
func simServer(t *testing.T, change func(*httptest.Server)) *httptest.Server {
	t.Helper()
	engine, err := sim.New(sim.Config{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(engine.Handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	change(server)
	if server.URL == "" {
		server.Start()
	}
	t.Cleanup(func() { server.Close(); engine.Close() })
	return server
}

func TestHowTheServerIsReached(t *testing.T) {
	two := func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP2(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.EnableHTTP2 = true
	}
	for _, tc := range []struct {
		name    string
		set     func(*httptest.Server)
		server  Server
		url     func(*httptest.Server) string // empty: the server's
		http    string                        // as the manifest has it
		stamps  string
		problem string
	}{
		{name: "plain", set: func(*httptest.Server) {}, stamps: "kernel"},
		{name: "TLS", set: func(s *httptest.Server) { s.StartTLS() }, server: Server{Insecure: true}, stamps: "kernel"},
		{name: "HTTP/2 without TLS", set: two, server: Server{HTTP2: true}, http: "2", stamps: "kernel"},
		{name: "HTTP/2 with TLS", set: func(s *httptest.Server) { two(s); s.StartTLS() }, server: Server{HTTP2: true, Insecure: true}, http: "2", stamps: "kernel"},
		{name: "no HTTP/2", set: func(*httptest.Server) {}, server: Server{HTTP2: true}, problem: "server.http2: the server does not speak HTTP/2 at 127.0.0.1:"},
		{
			name: "socket", stamps: "user",
			set: func(s *httptest.Server) {
				s.Listener.Close()
				l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
				if err != nil {
					t.Fatal(err)
				}
				s.Listener = l
			},
			url: func(s *httptest.Server) string { return "unix://" + s.Listener.Addr().String() },
		},
		{
			name: "a proxy that is not there", set: func(*httptest.Server) {}, server: Server{Proxy: "http://127.0.0.1:1"},
			problem: "proxyconnect tcp: dial tcp 127.0.0.1:1",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := simServer(t, tc.set)
			address := server.URL
			if tc.url != nil {
				address = tc.url(server)
			}
			in, out := 8, 4
			s := &Scenario{
				Name: "reached", Model: "m", Server: tc.server, Dataset: Dataset{InputLen: &in, OutputLen: &out}, Body: Body{IgnoreEOS: true},
				Load: Load{Requests: 6, Concurrency: 3},
			}
			result, err := Run(t.Context(), s, Options{Dir: filepath.Join(t.TempDir(), "run"), URL: address})
			if tc.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tc.problem) {
					t.Errorf("%v; want %q", err, tc.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := result.Summary.Manifest
			if result.Summary.Completed != 6 || m.HTTPVersion != tc.http || m.Prompts.Method == "" {
				t.Errorf("%d of 6 requests, HTTP %q, prompts %+v; want HTTP %q", result.Summary.Completed, m.HTTPVersion, m.Prompts, tc.http)
			}
			if m.Stamps != tc.stamps && !(m.Stamps == "user" && tc.stamps == "kernel") { // which not every system has
				t.Errorf("stamps by %q, want %q", m.Stamps, tc.stamps)
			}
			for _, c := range m.Audit {
				if c.State == results.Missed && strings.Contains(c.Name, "tokens") {
					t.Errorf("%s: %s", c.Name, c.Detail)
				}
			}
			if warned := strings.Contains(strings.Join(result.Summary.Warnings, "\n"), "over HTTP/2 requests share connections"); warned != (tc.http == "2") {
				t.Errorf("warnings %q", result.Summary.Warnings)
			}
		})
	}
}
