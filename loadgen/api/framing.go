package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// mostHead is the most bytes that the head of a reply may have; net/http has the same limit.
const mostHead = 10 << 20

// A head is the status line and the headers of a reply, as far as they have come.
type head struct{ bytes []byte }

// take takes bytes until the head is whole, and returns it with the bytes that follow it; nil while it is not. Informational replies (100, 103) are
// passed over.
func (h *head) take(b []byte) (resp *http.Response, rest []byte, err error) {
	for {
		end := headEnd(h.bytes, b)
		if end < 0 {
			if h.bytes = append(h.bytes, b...); len(h.bytes) > mostHead {
				return nil, nil, fmt.Errorf("the reply's headers have more than %d bytes", mostHead)
			}
			return nil, nil, nil
		}
		whole := b[:end]
		if len(h.bytes) > 0 {
			h.bytes = append(h.bytes, whole...)
			whole = h.bytes
		}
		resp, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(whole), len(whole)), post)
		if err != nil {
			return nil, nil, err
		}
		h.bytes, b = nil, b[end:]
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, b, nil
		}
	}
}

// post is the request that replies answer: ReadResponse asks it for its method.
var post = &http.Request{Method: http.MethodPost}

// headEnd is where in b the head ends that began with before: behind its first empty line. It is negative when it does not.
func headEnd(before, b []byte) int {
	// An end of line, and after it another, with or without its carriage return.
	const back = 2
	tail := before[max(0, len(before)-back):]
	joined := b
	if len(tail) > 0 {
		joined = append(append(make([]byte, 0, len(tail)+len(b)), tail...), b...)
	}
	for from := 0; ; {
		i := bytes.IndexByte(joined[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		switch rest := joined[from:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return from + 1 - len(tail)
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return from + 2 - len(tail)
		}
	}
}

// A body finds the bytes of a reply's body on the wire.
type body interface {
	// take moves the body's bytes to the front of b and returns their number, and the bytes behind the body's end once that has come.
	take(b []byte) (n int, rest []byte, over bool, err error)
	// cut says what the end of the connection means: nil when it is the end of the body too.
	cut() error
}

// bodyOf is how the body of a reply is framed.
func bodyOf(resp *http.Response) body {
	switch {
	case len(resp.TransferEncoding) > 0:
		return &chunked{}
	case resp.ContentLength >= 0:
		return &counted{left: resp.ContentLength}
	}
	return untilClosed{}
}

type counted struct{ left int64 }

func (c *counted) take(b []byte) (int, []byte, bool, error) {
	n := int(min(c.left, int64(len(b))))
	c.left -= int64(n)
	return n, b[n:], c.left == 0, nil
}

func (c *counted) cut() error { return io.ErrUnexpectedEOF }

type untilClosed struct{}

func (untilClosed) take(b []byte) (int, []byte, bool, error) { return len(b), nil, false, nil }
func (untilClosed) cut() error                               { return nil }

// A chunked body is that of RFC 9112, section 7.1.
type chunked struct {
	state  chunkState
	size   uint64 // of the present chunk, then what is left of it
	digits int
	line   int // bytes of the present line
}

type chunkState uint8

const (
	inSize      chunkState = iota // hexadecimal digits
	inSpace                       // between them and the end of the line
	inExtension                   // what a semicolon begins there
	afterSize                     // the line feed of that line
	inData
	afterData    // its carriage return
	afterReturn  // its line feed
	inTrailer    // at the beginning of a line
	inField      // within one
	trailerEnded // the last line feed is missing
)

// mostLine is the most bytes in a line between chunks, as in net/http.
const mostLine = 4096

var errChunk = errors.New("malformed chunked encoding")

func (d *chunked) take(b []byte) (n int, rest []byte, over bool, err error) {
	for i := 0; i < len(b); {
		if d.state == inData {
			m := int(min(d.size, uint64(len(b)-i)))
			n += copy(b[n:], b[i:i+m])
			i += m
			if d.size -= uint64(m); d.size == 0 {
				d.state = afterData
			}
			continue
		}
		c := b[i]
		i++
		if d.line++; d.line > mostLine {
			return n, nil, false, fmt.Errorf("%w: a line of more than %d bytes", errChunk, mostLine)
		}
		switch d.state {
		case inSize:
			digit, ok := hex(c)
			switch {
			case ok && d.digits == 16:
				return n, nil, false, fmt.Errorf("%w: a chunk's size of more than 16 digits", errChunk)
			case ok:
				d.size, d.digits = d.size<<4|digit, d.digits+1
			case d.digits == 0:
				return n, nil, false, fmt.Errorf("%w: %q where a chunk's size begins", errChunk, c)
			case c == ';':
				d.state = inExtension
			case c == '\r':
				d.state = afterSize
			case c == ' ' || c == '\t':
				d.state = inSpace
			default:
				return n, nil, false, fmt.Errorf("%w: %q in a chunk's size", errChunk, c)
			}
		case inSpace:
			switch c {
			case '\r':
				d.state = afterSize
			case ' ', '\t':
			default:
				return n, nil, false, fmt.Errorf("%w: %q behind a chunk's size", errChunk, c)
			}
		case inExtension:
			switch c {
			case '\r':
				d.state = afterSize
			case '\n':
				return n, nil, false, fmt.Errorf("%w: a line that ends without a carriage return", errChunk)
			}
		case afterSize:
			if c != '\n' {
				return n, nil, false, fmt.Errorf("%w: %q behind a carriage return", errChunk, c)
			}
			d.begin()
		case afterData:
			if c != '\r' {
				return n, nil, false, fmt.Errorf("%w: %q behind a chunk's data", errChunk, c)
			}
			d.state = afterReturn
		case afterReturn:
			if c != '\n' {
				return n, nil, false, fmt.Errorf("%w: %q behind a chunk's data", errChunk, c)
			}
			d.state, d.line = inSize, 0
		case inTrailer:
			switch c {
			case '\n':
				return n, b[i:], true, nil
			case '\r':
				d.state = trailerEnded
			default:
				d.state = inField
			}
		case inField:
			if c == '\n' {
				d.state, d.line = inTrailer, 0
			}
		case trailerEnded:
			if c != '\n' {
				return n, nil, false, fmt.Errorf("%w: %q behind the last chunk", errChunk, c)
			}
			return n, b[i:], true, nil
		}
	}
	return n, nil, false, nil
}

// begin begins a chunk, or the trailer behind the last one.
func (d *chunked) begin() {
	d.state, d.line, d.digits = inData, 0, 0
	if d.size == 0 {
		d.state = inTrailer
	}
}

func (d *chunked) cut() error { return io.ErrUnexpectedEOF }

func hex(c byte) (uint64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return uint64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return uint64(c-'A') + 10, true
	}
	return 0, false
}
