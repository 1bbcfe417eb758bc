// Package sse reads and writes event streams (text/event-stream), the form in
// which an LLM server sends its tokens.
//
// The reader is a push parser: it is handed exactly the bytes that one read of
// the connection returned and calls back for each event those bytes complete.
// So one time stamp, taken at the read, holds for everything it hands out, and
// no buffering layer sits between the clock and the token. Reading an event
// allocates nothing; only an event that spans reads is copied.
//
// The rules are those of the WHATWG standard ("Server-sent events", parsing and
// interpreting an event stream), with one exception: bytes are handed on as they
// came, invalid UTF-8 included, because judging them is the caller's business.
package sse

import (
	"bytes"
	"errors"
	"fmt"
)

// DefaultMax is the size in bytes above which an event is refused when
// Parser.Max is zero. Events with many logprobs reach a megabyte.
const DefaultMax = 64 << 20

// ErrTooLarge is what Feed's error wraps when an event exceeds Parser.Max.
var ErrTooLarge = errors.New("event too large")

// ErrCut is what End returns when the stream stopped inside an event.
var ErrCut = errors.New("stream ended inside an event: its closing blank line is missing")

// An Event is one dispatched event. Its slices are valid until the callback
// returns.
type Event struct {
	// Type is the value of the event field; empty stands for "message".
	Type []byte
	// Data is the data lines joined by newlines.
	Data []byte
	// ID is the last event ID of the stream, which stays set until changed.
	ID []byte
	// End is the number of bytes of the Feed that had been read when the event
	// was complete.
	End int
}

var bom = []byte("\xef\xbb\xbf")

// A Parser reads one event stream. The zero value is ready.
type Parser struct {
	// Max is the largest event accepted, in bytes as received, without comments;
	// zero means DefaultMax.
	Max int

	line []byte // the beginning of a line whose end has not come
	data []byte // the data lines so far, each with its newline
	// whole is a lone data line that still lies in the fed bytes; hasWhole tells
	// an empty one from none.
	whole    []byte
	hasWhole bool
	typ      []byte
	nextID   []byte
	id       []byte

	retry    int
	hasRetry bool

	size    int // bytes of the event under way
	bomSeen int // bytes of a byte order mark read so far; -1 once past it
	skipLF  bool
	err     error
}

// Reset makes p ready for another stream. Max and the buffers are kept.
func (p *Parser) Reset() {
	*p = Parser{
		Max: p.Max, line: p.line[:0], data: p.data[:0],
		typ: p.typ[:0], nextID: p.nextID[:0], id: p.id[:0],
	}
}

// Feed reads b, the next bytes of the stream, and calls emit for each event that
// they complete, in order. It keeps no reference to b. After an error, which can
// only be an event above Max, every later Feed returns the same error.
func (p *Parser) Feed(b []byte, emit func(Event)) error {
	if p.err != nil {
		return p.err
	}
	total := len(b)
	if p.bomSeen >= 0 {
		b = p.skipBOM(b)
	}
	if p.skipLF && len(b) > 0 {
		p.skipLF = false
		if b[0] == '\n' {
			b = b[1:]
		}
	}
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			end = len(b)
		}
		if cr := bytes.IndexByte(b[:end], '\r'); cr >= 0 {
			end = cr
		}
		if end == len(b) {
			if !p.keep(b) {
				return p.err
			}
			break
		}
		line, rest := b[:end], b[end+1:]
		if b[end] == '\r' {
			switch {
			case len(rest) == 0:
				p.skipLF = true
			case rest[0] == '\n':
				rest = rest[1:]
			}
		}
		carried := len(p.line) > 0
		if carried {
			if !p.keep(line) {
				return p.err
			}
			line = p.line
		}
		if len(line) == 0 {
			p.dispatch(total-len(rest), emit)
		} else if line[0] != ':' {
			if !carried && !p.grow(len(line)) {
				return p.err
			}
			p.field(line, carried)
		}
		p.line = p.line[:0]
		b = rest
	}
	if p.hasWhole {
		p.copyWhole()
	}
	return nil
}

// skipBOM drops a byte order mark at the start of the stream, however it was
// split.
func (p *Parser) skipBOM(b []byte) []byte {
	for len(b) > 0 && p.bomSeen < len(bom) {
		if b[0] != bom[p.bomSeen] {
			// A part of a mark was no mark: it belongs to the first line.
			p.line = append(p.line, bom[:p.bomSeen]...)
			p.size += p.bomSeen
			p.bomSeen = -1
			return b
		}
		b = b[1:]
		p.bomSeen++
	}
	if p.bomSeen == len(bom) {
		p.bomSeen = -1
	}
	return b
}

// keep adds part to the line under way. Of a comment only the colon is kept.
func (p *Parser) keep(part []byte) bool {
	if len(p.line) > 0 && p.line[0] == ':' {
		return true
	}
	if len(part) > 0 && len(p.line) == 0 && part[0] == ':' {
		p.line = append(p.line, ':')
		return true
	}
	if !p.grow(len(part)) {
		return false
	}
	p.line = append(p.line, part...)
	return true
}

// grow counts n more bytes of the event under way.
func (p *Parser) grow(n int) bool {
	limit := p.Max
	if limit <= 0 {
		limit = DefaultMax
	}
	p.size += n
	if p.size > limit {
		p.err = fmt.Errorf("%w: more than %d bytes without a blank line", ErrTooLarge, limit)
		return false
	}
	return true
}

// field reads a line that is neither blank nor a comment. copied says that the line lies
// in p.line, which the next line overwrites.
func (p *Parser) field(line []byte, copied bool) {
	name, value := line, []byte(nil)
	if colon := bytes.IndexByte(line, ':'); colon >= 0 {
		name, value = line[:colon], line[colon+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(name) {
	case "data":
		if !copied && !p.hasWhole && len(p.data) == 0 {
			p.whole, p.hasWhole = value, true
			return
		}
		if p.hasWhole {
			p.copyWhole()
		}
		p.data = append(p.data, value...)
		p.data = append(p.data, '\n')
	case "event":
		p.typ = append(p.typ[:0], value...)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.nextID = append(p.nextID[:0], value...)
		}
	case "retry":
		if n, ok := digits(value); ok {
			p.retry, p.hasRetry = n, true
		}
	}
}

func (p *Parser) copyWhole() {
	p.data = append(p.data, p.whole...)
	p.data = append(p.data, '\n')
	p.whole, p.hasWhole = nil, false
}

// dispatch ends an event. Without data there is none, whatever its other fields.
func (p *Parser) dispatch(end int, emit func(Event)) {
	p.id = append(p.id[:0], p.nextID...)
	data, ok := p.whole, p.hasWhole
	if !ok && len(p.data) > 0 {
		data, ok = p.data[:len(p.data)-1], true
	}
	if ok {
		emit(Event{Type: p.typ, Data: data, ID: p.id, End: end})
	}
	p.whole, p.hasWhole = nil, false
	p.data, p.typ = p.data[:0], p.typ[:0]
	p.size = 0
}

// digits reads a decimal number. A number that does not fit an int is none.
func digits(b []byte) (int, bool) {
	if len(b) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (1<<31-1-9)/10 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// Retry is the reconnection time that the stream last asked for, in milliseconds.
func (p *Parser) Retry() (ms int, ok bool) { return p.retry, p.hasRetry }

// Pending says that bytes of an event were read that no blank line has ended. A
// comment under way is not an event.
func (p *Parser) Pending() bool {
	unfinished := len(p.line) > 0 && p.line[0] != ':'
	return unfinished || p.bomSeen > 0 || len(p.data) > 0 || len(p.typ) > 0
}

// End says how the stream ended, once its last byte was fed: ErrCut when that was
// inside an event, the error of Feed if there was one, else nil. An event that was
// cut is never handed out.
func (p *Parser) End() error {
	if p.err != nil {
		return p.err
	}
	if p.Pending() {
		return ErrCut
	}
	return nil
}
