package trace

import (
	"bytes"
	"unicode/utf8"
)

// AppendStrict appends the JSON value raw as strict JSON: control characters escaped,
// trailing commas left out, NaN and other bare words turned into null, invalid UTF-8
// into U+FFFD, a quote inside a string escaped where what follows shows that the string
// goes on. Text that is strict already is appended byte for byte. It is false when raw is
// beyond repair; then dst is returned as it was.
func AppendStrict(dst, raw []byte) ([]byte, bool) {
	// A bare word at the very end needs a byte after it to be seen whole.
	if end, strict := skipValue(raw, 0, 0); strict && end == len(raw) {
		return append(dst, raw...), true
	}
	r := repairer{buf: raw, atEnd: true, out: dst}
	end := r.value(0, 0)
	if end < 0 {
		return dst, false
	}
	for ; end < len(raw); end++ {
		if raw[end] > ' ' {
			return dst, false
		}
	}
	return r.out, true
}

// A repairer rewrites a damaged value as strict JSON.
type repairer struct {
	buf   []byte
	atEnd bool // buf is all there is
	out   []byte
}

func (r *repairer) space(i int) int {
	for i < len(r.buf) && r.buf[i] <= ' ' {
		switch c := r.buf[i]; c {
		case ' ', '\t', '\n', '\r':
			r.out = append(r.out, c)
		}
		i++
	}
	return i
}

func (r *repairer) value(i, depth int) (end int) {
	if i >= len(r.buf) {
		return needMore
	}
	switch c := r.buf[i]; c {
	case '"':
		return r.string(i, valueString)
	case '{', '[':
		if depth >= maxDepth {
			return isBad
		}
		return r.nest(i, c, depth+1)
	default:
		return r.bare(i)
	}
}

func (r *repairer) bare(i int) (end int) {
	from := i
	for i < len(r.buf) && isBare(r.buf[i]) {
		i++
	}
	if i == len(r.buf) && !r.atEnd {
		return needMore
	}
	if i == from {
		return isBad
	}
	word := r.buf[from:i]
	if known := constant(word); known != "" {
		r.out = append(r.out, known...)
	} else if isNumber(word) {
		r.out = append(r.out, word...)
	} else if isLikeNumber(word) {
		r.out = AppendString(r.out, string(word))
	} else {
		return isBad
	}
	return i
}

// constant is what a bare word that is no number means in JSON, "" if nothing.
func constant(word []byte) string {
	switch string(word) {
	case "true", "True":
		return "true"
	case "false", "False":
		return "false"
	case "null", "None", "undefined", "NaN", "nan", "-nan", "-NaN", "Infinity", "-Infinity", "inf", "-inf":
		return "null"
	}
	return ""
}

// isLikeNumber tells the bare words that are kept as text because they begin like a number and are
// none, such as 007 or +1.
func isLikeNumber(word []byte) bool {
	c := word[0]
	return (c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.') && !isNumber(word) && constant(word) == ""
}

func (r *repairer) nest(i int, opened byte, depth int) (end int) {
	r.out = append(r.out, opened)
	closer := opened + 2
	i++
	for first := true; ; first = false {
		comma := false
		for i < len(r.buf) && (r.buf[i] <= ' ' || r.buf[i] == ',') {
			comma = comma || r.buf[i] == ','
			i++
		}
		if i >= len(r.buf) {
			return needMore
		}
		if r.buf[i] == closer {
			r.out = append(r.out, closer)
			return i + 1
		}
		if !first {
			if !comma {
				return isBad
			}
			r.out = append(r.out, ',', ' ')
		}
		kind := elementString
		if opened == '{' {
			if r.buf[i] != '"' {
				return isBad
			}
			if i = r.string(i, keyString); i < 0 {
				return i
			}
			i = r.space(i)
			if i >= len(r.buf) {
				return needMore
			}
			if r.buf[i] != ':' {
				return isBad
			}
			r.out = append(r.out, ':')
			i = r.space(i + 1)
			kind = valueString
		}
		if i < len(r.buf) && r.buf[i] == '"' {
			i = r.string(i, kind)
		} else {
			i = r.value(i, depth)
		}
		if i < 0 {
			return i
		}
	}
}

// Where a string stands decides what may follow its closing quote.
const (
	keyString = iota
	valueString
	elementString
)

func (r *repairer) string(i, kind int) (end int) {
	r.out = append(r.out, '"')
	i++
	for i < len(r.buf) {
		c := r.buf[i]
		switch {
		case c == '"':
			closes, known := r.closes(i, kind)
			if !known && !r.atEnd {
				return needMore
			}
			if closes || !known {
				r.out = append(r.out, '"')
				return i + 1
			}
			r.out = append(r.out, '\\', '"')
			i++
		case c == '\\':
			if i+1 >= len(r.buf) {
				return needMore
			}
			switch e := r.buf[i+1]; e {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				r.out = append(r.out, '\\', e)
				i += 2
			case 'u':
				if _, ok := hexRune(r.buf[i:]); ok {
					r.out = append(r.out, r.buf[i:i+6]...)
					i += 6
					break
				}
				fallthrough
			default:
				r.out = append(r.out, '\\', '\\')
				i++
			}
		case c == '}' && eventFollows(r.buf[i:]):
			// The string would swallow the next event: this one is beyond repair.
			return isBad
		case c < ' ':
			r.out = appendEscaped(r.out, c)
			i++
		case c < utf8.RuneSelf:
			r.out = append(r.out, c)
			i++
		default:
			ru, size := utf8.DecodeRune(r.buf[i:])
			r.out = utf8.AppendRune(r.out, ru)
			i += size
		}
	}
	return needMore
}

// closes says whether the quote at i ends its string, judged by what follows it.
func (r *repairer) closes(i, kind int) (closes, known bool) {
	c, at := r.next(i + 1)
	if at < 0 {
		return false, false
	}
	switch kind {
	case keyString:
		return c == ':', true
	case elementString:
		if c == ',' || c == ']' {
			return true, true
		}
	default:
		if c == '}' {
			return true, true
		}
		if c == ',' {
			c, at = r.next(at + 1)
			if at < 0 {
				return false, false
			}
			return c == '"' || c == '}', true
		}
	}
	return false, true
}

// next is the first byte from i on that is no space.
func (r *repairer) next(i int) (c byte, at int) {
	for i < len(r.buf) {
		if r.buf[i] > ' ' {
			return r.buf[i], i
		}
		i++
	}
	return 0, -1
}

// eventFollows says whether b, which begins with }, goes on with a comma and the
// beginning of another event.
func eventFollows(b []byte) bool {
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	if len(b) == 0 || b[0] != ',' {
		return false
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	return len(b) > 0 && b[0] == '"'
}
