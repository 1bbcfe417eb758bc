package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// vllmFramer cuts a stream as vLLM 0.33's Python client does, its weaknesses included: whatever came is decoded as strict UTF-8 and
// appended; each part that a blank line ends is an event; a rest that is already complete JSON after "data: " counts at once. For the sake of
// comparing numbers, not for measuring.
type vllmFramer struct {
	// typed reads events as the Responses API needs them: data lines joined, those without data skipped.
	typed  bool
	emit   func(data []byte, more bool)
	buffer []byte
	tail   []byte // an incomplete character
}

var errNotUTF8 = errors.New("the stream is no UTF-8")

func (f *vllmFramer) feed(b []byte) error {
	f.tail = append(f.tail, b...)
	whole := len(f.tail)
	for i := 1; i <= min(3, whole); i++ { // a character may go on in the next read
		if c := f.tail[whole-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(f.tail[whole-i:]) {
				whole -= i
			}
			break
		}
	}
	if !utf8.Valid(f.tail[:whole]) {
		return errNotUTF8
	}
	f.buffer = append(f.buffer, f.tail[:whole]...)
	f.tail = append(f.tail[:0], f.tail[whole:]...)
	for {
		part, rest, found := bytes.Cut(f.buffer, []byte("\n\n"))
		if !found {
			break
		}
		if err := f.message(bytes.TrimSpace(part)); err != nil {
			return err
		}
		f.buffer = rest
	}
	if payload, ok := bytes.CutPrefix(f.buffer, []byte("data: ")); ok {
		payload = bytes.TrimSpace(payload)
		if string(payload) == "[DONE]" || json.Valid(payload) {
			rest := bytes.TrimSpace(f.buffer)
			f.buffer = nil
			return f.message(rest)
		}
	}
	return nil
}

func (f *vllmFramer) message(m []byte) error {
	switch {
	case len(m) == 0:
		return nil
	case f.typed:
		var data [][]byte
		for line := range bytes.Lines(m) {
			if payload, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:")); ok {
				data = append(data, bytes.TrimSpace(payload))
			}
		}
		if len(data) > 0 {
			f.emit(bytes.Join(data, []byte("\n")), false)
		}
		return nil
	case m[0] == ':':
		return nil
	}
	f.emit(bytes.TrimPrefix(m, []byte("data: ")), false)
	return nil
}

func (f *vllmFramer) end() error { return nil }
