// Package python spells values the way CPython does: repr of a float and the text of
// json.dumps with its default separators. Servers and scripts that were written against
// a Python client can see the difference, so bodies and result files follow it.
package python

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Float is repr(f): the shortest digits that read back as f, an exponent below 1e-4 and from 1e16 on.
func Float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		return mantissa + "e" + exponent
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// AppendFloat appends f as json.dumps does; the values JSON lacks are NaN, Infinity and -Infinity there.
func AppendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	return append(b, Float(f)...)
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string with every character outside ASCII escaped (ensure_ascii).
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f { // DEL is escaped too
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if c < utf8.RuneSelf {
			b = appendEscape(b, c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= 0x10000 {
			r -= 0x10000
			b = appendUnit(b, 0xd800+uint16(r>>10))
			b = appendUnit(b, 0xdc00+uint16(r&0x3ff))
		} else {
			b = appendUnit(b, uint16(r))
		}
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	}
	return appendUnit(b, uint16(c))
}

func appendUnit(b []byte, u uint16) []byte {
	return append(b, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}

// AppendInts appends a list of integers.
func AppendInts(b []byte, ids []int) []byte {
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, ']')
}

// AppendStrings appends a list of strings.
func AppendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendString(b, s)
	}
	return append(b, ']')
}

// AppendJSON appends a JSON value as json.dumps(json.loads(value)) spells it: its keys in their order (the
// last of a repeated key counts, in the place of the first), numbers as Python reads them.
func AppendJSON(b []byte, value []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	b, err := appendValue(b, dec)
	if err != nil {
		return b, err
	}
	if dec.More() {
		return b, fmt.Errorf("text after the JSON value at byte %d", dec.InputOffset())
	}
	return b, nil
}

func appendValue(b []byte, dec *json.Decoder) ([]byte, error) {
	tok, err := dec.Token()
	if err != nil {
		return b, err
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return appendObject(b, dec)
		}
		return appendList(b, dec)
	case string:
		return AppendString(b, v), nil
	case json.Number:
		return appendNumber(b, v.String())
	case bool:
		return strconv.AppendBool(b, v), nil
	default:
		return append(b, "null"...), nil
	}
}

func appendList(b []byte, dec *json.Decoder) ([]byte, error) {
	b = append(b, '[')
	for first := true; dec.More(); first = false {
		if !first {
			b = append(b, ", "...)
		}
		var err error
		if b, err = appendValue(b, dec); err != nil {
			return b, err
		}
	}
	_, err := dec.Token()
	return append(b, ']'), err
}

func appendObject(b []byte, dec *json.Decoder) ([]byte, error) {
	var keys []string
	values := map[string][]byte{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return b, err
		}
		key, _ := tok.(string)
		value, err := appendValue(nil, dec)
		if err != nil {
			return b, err
		}
		if _, seen := values[key]; !seen {
			keys = append(keys, key)
		}
		values[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return b, err
	}
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendString(b, key)
		b = append(b, ": "...)
		b = append(b, values[key]...)
	}
	return append(b, '}'), nil
}

func appendNumber(b []byte, s string) ([]byte, error) {
	if !strings.ContainsAny(s, ".eE") {
		if s == "-0" {
			s = "0"
		}
		return append(b, s...), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return b, err
	}
	return AppendFloat(b, f), nil
}
