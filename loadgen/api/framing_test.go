package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"testing"
)

// unframe feeds a body to its decoder in pieces of the given sizes, over and over, and returns what it found.
func unframe(b body, wire []byte, sizes []byte) (text, rest []byte, over bool, err error) {
	for i := 0; len(wire) > 0; i++ {
		size := len(wire)
		if len(sizes) > 0 {
			size = min(size, 1+int(sizes[i%len(sizes)]))
		}
		piece := bytes.Clone(wire[:size])
		wire = wire[size:]
		n, left, done, err := b.take(piece)
		text = append(text, piece[:n]...)
		if err != nil {
			return text, nil, false, err
		}
		if done {
			return text, append(bytes.Clone(left), wire...), true, nil
		}
	}
	return text, nil, false, nil
}

func TestChunkedBody(t *testing.T) {
	for _, tc := range []struct {
		name, wire, text, rest string
		over                   bool
		fails                  bool
	}{
		{name: "two chunks", wire: "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", text: "abcde", over: true},
		{name: "what follows", wire: "1\r\na\r\n0\r\n\r\nHTTP/1.1", text: "a", rest: "HTTP/1.1", over: true},
		{name: "capitals, zeros and an extension", wire: "00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", text: "0123456789", over: true},
		{name: "a trailer", wire: "1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nz", text: "a", rest: "z", over: true},
		{name: "no end", wire: "3\r\nabc\r\n", text: "abc"},
		{name: "in the middle of a chunk", wire: "5\r\nabc", text: "abc"},
		{name: "no size", wire: "\r\n", fails: true},
		{name: "no number", wire: "x\r\n", fails: true},
		{name: "a size of 17 digits", wire: "11111111111111111\r\n", fails: true},
		{name: "data longer than its size", wire: "1\r\nab\r\n", text: "a", fails: true},
	} {
		for _, sizes := range [][]byte{nil, {0}, {1, 2}} {
			text, rest, over, err := unframe(&chunked{}, []byte(tc.wire), sizes)
			if string(text) != tc.text || string(rest) != tc.rest || over != tc.over || errors.Is(err, errChunk) != tc.fails {
				t.Errorf("%s in pieces %v: %q, rest %q, over %t, %v", tc.name, sizes, text, rest, over, err)
			}
		}
	}
}

// FuzzChunkedBody holds the decoder against net/http's: what both take is the same, and this one takes nothing that the other refuses.
func FuzzChunkedBody(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\n\r\nrest"), []byte{0, 3})
	f.Add([]byte("A;x\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"), []byte{2})
	f.Add([]byte("3\nabc\r\n0\n\n"), []byte{})
	f.Fuzz(func(t *testing.T, wire, sizes []byte) {
		text, _, over, err := unframe(&chunked{}, wire, sizes)
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(wire)))
		switch {
		case over && wantErr != nil:
			t.Errorf("%q is taken as %q; net/http says %v", wire, text, wantErr)
		case over && !bytes.Equal(text, want):
			t.Errorf("%q is taken as %q; net/http says %q", wire, text, want)
		case err == nil && !over && wantErr == nil && !bytes.HasPrefix(want, text):
			t.Errorf("%q begins with %q; net/http says %q", wire, text, want)
		}
	})
}

func TestHead(t *testing.T) {
	for _, tc := range []struct {
		name, wire, rest string
		status           int
	}{
		{"a reply", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab", 200},
		{"line feeds alone", "HTTP/1.1 404 Not Found\nContent-Length: 0\n\n", "", 404},
		{"an interim reply before it", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", "x", 200},
	} {
		for size := range len(tc.wire) {
			var h head
			var resp *http.Response
			var rest []byte
			for wire := []byte(tc.wire); len(wire) > 0; {
				piece := wire[:min(size+1, len(wire))]
				wire = wire[len(piece):]
				var err error
				if resp, rest, err = h.take(piece); err != nil {
					t.Fatalf("%s in pieces of %d: %v", tc.name, size+1, err)
				}
				if resp != nil {
					rest = append(bytes.Clone(rest), wire...)
					break
				}
			}
			if resp == nil || resp.StatusCode != tc.status || string(rest) != tc.rest {
				t.Errorf("%s in pieces of %d: %v, rest %q; want %d, %q", tc.name, size+1, resp, rest, tc.status, tc.rest)
			}
		}
	}
	if _, _, err := (&head{}).take([]byte("SSH-2.0-OpenSSH\r\n\r\n")); err == nil {
		t.Error("another protocol's greeting is taken for a reply")
	}
	if _, _, err := (&head{}).take(bytes.Repeat([]byte("x"), mostHead+1)); err == nil {
		t.Error("a head without an end is kept for ever")
	}
}

// FuzzHead takes a head in two pieces wherever it is cut as it takes it whole.
func FuzzHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), 17)
	f.Add([]byte("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n\r\nbody"), 23)
	f.Fuzz(func(t *testing.T, wire []byte, cut int) {
		cut = max(0, min(cut, len(wire)))
		resp, rest, err := (&head{}).take(wire)
		var h head
		got, gotRest, gotErr := h.take(wire[:cut])
		if got == nil && gotErr == nil {
			got, gotRest, gotErr = h.take(wire[cut:])
		} else if got != nil {
			gotRest = append(bytes.Clone(gotRest), wire[cut:]...)
		}
		if (err == nil) != (gotErr == nil) || (resp == nil) != (got == nil) {
			t.Fatalf("%q: %v, %v; cut at %d: %v, %v", wire, resp, err, cut, got, gotErr)
		}
		if resp == nil {
			return
		}
		if got.StatusCode != resp.StatusCode || !bytes.Equal(gotRest, rest) {
			t.Errorf("%q: %d, %q; cut at %d: %d, %q", wire, resp.StatusCode, rest, cut, got.StatusCode, gotRest)
		}
		if resp.StatusCode < 200 {
			return
		}
		// net/http finds the same end of the head.
		reader := bufio.NewReaderSize(bytes.NewReader(wire), len(wire)+16)
		for {
			theirs, err := http.ReadResponse(reader, post)
			if err != nil {
				t.Fatalf("%q: net/http says %v", wire, err)
			}
			if theirs.StatusCode >= 200 {
				break
			}
		}
		if left, _ := reader.Peek(reader.Buffered()); !bytes.Equal(left, rest) {
			t.Errorf("%q: what follows the head is %q; net/http says %q", wire, rest, left)
		}
	})
}
