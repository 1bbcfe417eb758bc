//go:build !386 && !s390x

package main

import (
	"fmt"
	"testing"
	"time"
)

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("POST /v1/completions?a=b HTTP/1.1\r\nContent-Length: 2\r\nX-Request-Id: 7\r\n\r\n{}GET"))
	f.Add([]byte("GET / HTTP/1.0\r\nconnection: close\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, taken, err := parseRequest(b)
		if taken < 0 || taken > len(b) || err != nil && taken != 0 {
			t.Fatalf("took %d of %d bytes, %v", taken, len(b), err)
		}
		if taken == 0 {
			return
		}
		// What was enough once is enough when more follows, and every byte of it was needed.
		again, more, err := parseRequest(append(b[:taken:taken], "GET / HTTP/1.1\r\n\r\n"...))
		if err != nil || more != taken || fmt.Sprint(again) != fmt.Sprint(r) {
			t.Fatalf("took %d bytes (%v), with more behind it %d (%v), %v", taken, r, more, again, err)
		}
		if _, fewer, _ := parseRequest(b[:taken-1]); fewer == taken {
			t.Fatalf("took %d bytes of %d", fewer, taken-1)
		}
	})
}

func TestParseRequest(t *testing.T) {
	for _, tc := range []struct {
		bytes string
		want  string // method, path, id, closes, body
		taken int
		fails bool
	}{
		{"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", "GET /health  false ", 33, false},
		{"GET /log?x=1 HTTP/1.0\r\n\r\nrest", "GET /log  true ", 25, false},
		{"POST / HTTP/1.1\r\nCONTENT-LENGTH: 3\r\nx-request-id: r 1\r\nConnection: close\r\n\r\nabcd", "POST / r 1 true abc", 79, false},
		{"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", "", 0, false},
		{"POST / HTTP/1.1\r\n", "", 0, false},
		{"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", "", 0, true},
		{"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "", 0, true},
		{"nonsense\r\n\r\n", "", 0, true},
	} {
		r, taken, err := parseRequest([]byte(tc.bytes))
		if (err != nil) != tc.fails || taken != tc.taken {
			t.Errorf("%q: took %d, %v; want %d, failing %t", tc.bytes, taken, err, tc.taken, tc.fails)
			continue
		}
		if got := fmt.Sprintf("%s %s %s %t %s", r.method, r.path, r.id, r.closes, r.body); taken > 0 && got != tc.want {
			t.Errorf("%q: %q, want %q", tc.bytes, got, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := config{First: time.Second, Gap: time.Second, Tokens: 1, PerChunk: 1}
	for _, tc := range []struct {
		change func(*config)
		want   string
	}{
		{func(*config) {}, "<nil>"},
		{func(c *config) { c.First = -1 }, "-first -1ns, -gap 1s, -spin 0s: none may be negative"},
		{func(c *config) { c.Gap, c.Align = 0, true }, "-align needs a -gap above 0"},
		{func(c *config) { c.PerChunk = 0 }, "-tokens 1, -per-chunk 0: both must be at least 1"},
	} {
		c := good
		tc.change(&c)
		if got := fmt.Sprint(c.check()); got != tc.want {
			t.Errorf("%+v: %s, want %s", c, got, tc.want)
		}
	}
}
