package argparse

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting as Python's recursion limit does.
const maxDepth = 900

// Loads is Python's json.loads: nil, bool, int (*big.Int where it does not fit), float64,
// string, []any or *Dict. It takes NaN and Infinity, and the last of equal keys. A lone
// surrogate in a string is kept in the three bytes that would encode it.
func Loads(text string) (any, error) {
	s := &scanner{text: text}
	s.space()
	value, err := s.value(0)
	if err != nil {
		return nil, err
	}
	s.space()
	if s.at < len(s.text) {
		return nil, s.fault("extra data")
	}
	return value, nil
}

type scanner struct {
	text string
	at   int
}

func (s *scanner) fault(what string) error { return fmt.Errorf("%s at byte %d", what, s.at) }

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\n\r", s.text[s.at]) >= 0 {
		s.at++
	}
}

func (s *scanner) skip(word string) bool {
	if strings.HasPrefix(s.text[s.at:], word) {
		s.at += len(word)
		return true
	}
	return false
}

func (s *scanner) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, s.fault("nested too deeply")
	}
	switch {
	case s.skip("null"):
		return nil, nil
	case s.skip("true"):
		return true, nil
	case s.skip("false"):
		return false, nil
	case s.skip("NaN"):
		return math.NaN(), nil
	case s.skip("Infinity"):
		return math.Inf(1), nil
	case s.skip("-Infinity"):
		return math.Inf(-1), nil
	case s.skip(`"`):
		return s.str()
	case s.skip("["):
		return s.list(depth)
	case s.skip("{"):
		return s.object(depth)
	}
	return s.number()
}

func (s *scanner) list(depth int) (any, error) {
	list := []any{}
	s.space()
	if s.skip("]") {
		return list, nil
	}
	for {
		s.space()
		value, err := s.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
		s.space()
		if s.skip("]") {
			return list, nil
		}
		if !s.skip(",") {
			return nil, s.fault("expected , or ]")
		}
	}
}

func (s *scanner) object(depth int) (any, error) {
	object := &Dict{}
	s.space()
	if s.skip("}") {
		return object, nil
	}
	for {
		s.space()
		if !s.skip(`"`) {
			return nil, s.fault("expected a key in double quotes")
		}
		key, err := s.str()
		if err != nil {
			return nil, err
		}
		s.space()
		if !s.skip(":") {
			return nil, s.fault("expected :")
		}
		s.space()
		value, err := s.value(depth + 1)
		if err != nil {
			return nil, err
		}
		object.Set(key, value)
		s.space()
		if s.skip("}") {
			return object, nil
		}
		if !s.skip(",") {
			return nil, s.fault("expected , or }")
		}
	}
}

func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at - from
}

func (s *scanner) number() (any, error) {
	from := s.at
	s.skip("-")
	if !s.skip("0") && s.digits() == 0 {
		s.at = from
		return nil, s.fault("expected a value")
	}
	isFloat := false
	if back := s.at; s.skip(".") {
		if s.digits() == 0 {
			s.at = back
		} else {
			isFloat = true
		}
	}
	if back := s.at; s.skip("e") || s.skip("E") {
		if !s.skip("-") {
			s.skip("+")
		}
		if s.digits() == 0 {
			s.at = back
		} else {
			isFloat = true
		}
	}
	text := s.text[from:s.at]
	if !isFloat {
		return ParseInt(text)
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, err
	}
	return value, nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// str reads a string behind its opening quote.
func (s *scanner) str() (string, error) {
	var out strings.Builder
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '"':
			s.at++
			return out.String(), nil
		case c < 0x20:
			return "", s.fault("control character in a string")
		case c != '\\':
			out.WriteByte(c)
			s.at++
		default:
			s.at++
			if s.at == len(s.text) {
				return "", s.fault("unfinished string")
			}
			c := s.text[s.at]
			if c == 'u' {
				s.at++
				unit, err := s.unit()
				if err != nil {
					return "", err
				}
				if unit >= 0xd800 && unit < 0xdc00 && strings.HasPrefix(s.text[s.at:], `\u`) {
					back := s.at
					s.at += 2
					low, err := s.unit()
					if err != nil {
						return "", err
					}
					if low >= 0xdc00 && low < 0xe000 {
						unit = 0x10000 + (unit-0xd800)<<10 + low - 0xdc00
					} else {
						s.at = back
					}
				}
				writeUnit(&out, unit)
				continue
			}
			plain, ok := escapes[c]
			if !ok {
				return "", s.fault("unknown escape")
			}
			out.WriteByte(plain)
			s.at++
		}
	}
	return "", s.fault("unfinished string")
}

func (s *scanner) unit() (rune, error) {
	if s.at+4 > len(s.text) {
		return 0, s.fault("unfinished \\u")
	}
	n, err := strconv.ParseUint(s.text[s.at:s.at+4], 16, 16)
	if err != nil {
		return 0, s.fault("expected four hexadecimal digits")
	}
	s.at += 4
	return rune(n), nil
}

// writeUnit writes a code point; a lone surrogate as the three bytes that would encode it.
func writeUnit(out *strings.Builder, r rune) {
	if r >= 0xd800 && r < 0xe000 {
		out.Write([]byte{0xe0 | byte(r>>12), 0x80 | byte(r>>6)&0x3f, 0x80 | byte(r)&0x3f})
		return
	}
	out.WriteRune(r)
}

// nextRune reads the code point at the start of s. A byte that is no UTF-8 is what Python makes of
// it on a command line: a surrogate from 0xdc80 on.
func nextRune(s string) (rune, int) {
	r, size := utf8.DecodeRuneInString(s)
	if r != utf8.RuneError || size != 1 {
		return r, size
	}
	if len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] < 0xc0 && s[2] >= 0x80 && s[2] < 0xc0 {
		return rune(s[0]&0xf)<<12 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), 3
	}
	return 0xdc00 + rune(s[0]), 1
}

// Dumps is Python's json.dumps with its defaults: ", " and ": " between, everything but
// printable ASCII escaped, NaN and Infinity unquoted.
func Dumps(value any) string {
	var out strings.Builder
	dump(&out, value)
	return out.String()
}

// StrictJSON is Dumps with infinities as numbers beyond all floats, which every reader of JSON takes, and Python's takes for
// infinity.
func StrictJSON(value any) json.RawMessage {
	return json.RawMessage(Dumps(finite(value)))
}

type beyond string // a number that is dumped as it stands

func finite(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsInf(v, 0) {
			return beyond(strings.Replace(FloatRepr(v), "inf", "1e999", 1))
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = finite(v[i])
		}
		return list
	case *Dict:
		d := &Dict{}
		for key, element := range v.All() {
			d.Set(key, finite(element))
		}
		return d
	}
	return value
}

func dump(out *strings.Builder, value any) {
	switch v := value.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case int:
		out.WriteString(strconv.Itoa(v))
	case *big.Int:
		out.WriteString(v.String())
	case float64:
		switch {
		case math.IsNaN(v):
			out.WriteString("NaN")
		case math.IsInf(v, 1):
			out.WriteString("Infinity")
		case math.IsInf(v, -1):
			out.WriteString("-Infinity")
		default:
			out.WriteString(FloatRepr(v))
		}
	case beyond:
		out.WriteString(string(v))
	case string:
		dumpString(out, v)
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		dump(out, list)
	case Tuple:
		dump(out, []any(v))
	case []any:
		out.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				out.WriteString(", ")
			}
			dump(out, element)
		}
		out.WriteByte(']')
	case *Dict:
		out.WriteByte('{')
		first := true
		for key, element := range v.All() {
			if !first {
				out.WriteString(", ")
			}
			first = false
			if text, ok := key.(string); ok {
				dumpString(out, text)
			} else {
				dumpString(out, Repr(key))
			}
			out.WriteString(": ")
			dump(out, element)
		}
		out.WriteByte('}')
	default:
		dumpString(out, fmt.Sprint(v))
	}
}

func dumpString(out *strings.Builder, s string) {
	out.WriteByte('"')
	for len(s) > 0 {
		r, size := nextRune(s)
		s = s[size:]
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\f':
			out.WriteString(`\f`)
		case r == '\b':
			out.WriteString(`\b`)
		case r >= ' ' && r <= '~':
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(out, `\u%04x`, r)
		}
	}
	out.WriteByte('"')
}
