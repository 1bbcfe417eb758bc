package sim

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A scanner finds what Python's JSON reader would say about a text that is no JSON. It is asked only then.
type scanner struct {
	text  string
	i     int
	depth int
}

// A syntaxError has Python's words and position (in characters) for a fault in a JSON text.
type syntaxError struct {
	message string
	at      int
}

func (s *scanner) fail(message string, at int) *syntaxError {
	return &syntaxError{message, utf8.RuneCountInString(s.text[:at])}
}

func (s *scanner) space() {
	for s.i < len(s.text) && strings.IndexByte(" \t\n\r", s.text[s.i]) >= 0 {
		s.i++
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.text) {
		return s.text[s.i]
	}
	return 0
}

// pythonSyntax is the fault in text, nil when Python would find none.
func pythonSyntax(text string) *syntaxError {
	s := &scanner{text: text}
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	s.space()
	if s.i < len(text) {
		return s.fail("Extra data", s.i)
	}
	return nil
}

func (s *scanner) value() *syntaxError {
	if s.depth++; s.depth > 900 {
		return s.fail("maximum recursion depth exceeded", s.i)
	}
	defer func() { s.depth-- }()
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '-' || digit(c):
		return s.number()
	}
	for _, word := range []string{"null", "true", "false", "NaN", "Infinity"} {
		if strings.HasPrefix(s.text[s.i:], word) {
			s.i += len(word)
			return nil
		}
	}
	return s.fail("Expecting value", s.i)
}

func (s *scanner) number() *syntaxError {
	begin := s.i
	if s.peek() == '-' {
		s.i++
	}
	if strings.HasPrefix(s.text[s.i:], "Infinity") {
		s.i += len("Infinity")
		return nil
	}
	if !digit(s.peek()) {
		return s.fail("Expecting value", begin)
	}
	if s.peek() == '0' {
		s.i++
	} else {
		s.digits()
	}
	if s.peek() == '.' && s.i+1 < len(s.text) && digit(s.text[s.i+1]) {
		s.i++
		s.digits()
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		rest := strings.TrimLeft(s.text[s.i+1:min(len(s.text), s.i+2)], "+-")
		at := s.i + 1
		if rest == "" {
			at++
		}
		if at < len(s.text) && digit(s.text[at]) {
			s.i = at
			s.digits()
		}
	}
	return nil
}

func (s *scanner) digits() {
	for digit(s.peek()) {
		s.i++
	}
}

func (s *scanner) str() *syntaxError {
	begin := s.i
	for s.i++; s.i < len(s.text); s.i++ {
		switch c := s.text[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c < 0x20:
			return s.fail("Invalid control character at", s.i)
		case c == '\\':
			s.i++
			switch e := s.peek(); {
			case s.i >= len(s.text):
				return s.fail("Unterminated string starting at", begin)
			case e == 'u':
				if s.i+5 >= len(s.text) { // the closing quote has to fit, too
					return s.fail(`Invalid \uXXXX escape`, s.i)
				}
				if _, err := strconv.ParseUint(s.text[s.i+1:s.i+5], 16, 16); err != nil {
					return s.fail(`Invalid \uXXXX escape`, s.i)
				}
				s.i += 4
			case strings.IndexByte(`"\/bfnrt`, e) < 0:
				return s.fail(`Invalid \escape`, s.i-1)
			}
		}
	}
	return s.fail("Unterminated string starting at", begin)
}

func (s *scanner) array() *syntaxError {
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ']':
			s.i++
			return nil
		case ',':
			s.i++
			s.space()
		default:
			return s.fail("Expecting ',' delimiter", s.i)
		}
	}
}

func (s *scanner) object() *syntaxError {
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.fail("Expecting property name enclosed in double quotes", s.i)
		}
		if err := s.str(); err != nil {
			return err
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("Expecting ':' delimiter", s.i)
		}
		s.i++
		s.space()
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case '}':
			s.i++
			return nil
		case ',':
			s.i++
			s.space()
		default:
			return s.fail("Expecting ',' delimiter", s.i)
		}
	}
}

// pyRepr is how Python shows a string.
func pyRepr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := []byte{quote}
	for _, r := range s {
		switch {
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\\' || r == rune(quote):
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			b = fmt.Appendf(b, `\x%02x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(append(b, quote))
}

// appendString appends s as JSON the way the server writes it: characters outside ASCII as they are, control characters as escapes.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

func quoted(s string) string { return string(appendString(nil, s)) }
