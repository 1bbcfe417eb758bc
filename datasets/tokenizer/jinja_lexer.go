package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The jinja files render chat templates: the Jinja of Python's jinja2 as
// transformers sets it up (trim_blocks, lstrip_blocks, a sandbox that changes no
// list or dict, loop controls, generation blocks). What it does not know it refuses
// by name. The Go libraries were tried and differ silently where it matters here:
// negative indices, slices, the order of dicts, None, integer division.

type jtoken struct {
	kind string // data, name, string, int, float, op, begin (of {% or {{), end, eof
	text string
	line int
	num  int64
	flt  float64
}

// jinjaLexer cuts a template into tokens. begin and end carry "block" or "variable".
type jinjaLexer struct {
	src   string
	at    int
	line  int
	out   []jtoken
	fresh bool // the text before ended a line
}

func lexJinja(src string) ([]jtoken, error) {
	src = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(src)
	src = strings.TrimSuffix(src, "\n")
	l := &jinjaLexer{src: src, line: 1, fresh: true}
	for l.at < len(l.src) {
		if err := l.root(); err != nil {
			return nil, err
		}
	}
	l.out = append(l.out, jtoken{kind: "eof", line: l.line})
	return l.out, nil
}

func (l *jinjaLexer) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", l.line, fmt.Sprintf(format, args...))
}

func (l *jinjaLexer) emit(t jtoken) {
	t.line = l.line
	l.out = append(l.out, t)
}

// skip moves over n bytes.
func (l *jinjaLexer) skip(n int) {
	part := l.src[l.at : l.at+n]
	l.line += strings.Count(part, "\n")
	l.at += n
	if n > 0 {
		l.fresh = part[n-1] == '\n'
	}
}

// data emits the text up to the tag at at+n, as the tag's sign asks.
func (l *jinjaLexer) data(n int, sign byte, isBlock bool) {
	text := l.src[l.at : l.at+n]
	fresh := l.fresh
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isPythonSpace)
	case sign != '+' && isBlock:
		start := strings.LastIndexByte(text, '\n') + 1
		if (start > 0 || fresh) && strings.TrimFunc(text[start:], isPythonSpace) == "" {
			text = text[:start]
		}
	}
	if text != "" {
		l.emit(jtoken{kind: "data", text: text})
	}
	l.skip(n)
}

func (l *jinjaLexer) root() error {
	rest := l.src[l.at:]
	n := strings.IndexByte(rest, '{')
	for n >= 0 && (n+1 >= len(rest) || rest[n+1] != '{' && rest[n+1] != '%' && rest[n+1] != '#') {
		next := strings.IndexByte(rest[n+1:], '{')
		if next < 0 {
			n = -1
			break
		}
		n += 1 + next
	}
	if n < 0 {
		l.emit(jtoken{kind: "data", text: rest})
		l.skip(len(rest))
		return nil
	}
	kind := rest[n+1]
	sign := byte(0)
	if n+2 < len(rest) && (rest[n+2] == '-' || rest[n+2] == '+' && kind != '{') {
		sign = rest[n+2]
	}
	l.data(n, sign, kind != '{')
	open := 2
	if sign != 0 {
		open = 3
	}
	switch kind {
	case '#':
		end := strings.Index(l.src[l.at+open:], "#}")
		if end < 0 {
			return l.errorf("missing end of comment tag")
		}
		end += open
		closing := l.src[l.at+end-1]
		if end == open {
			closing = 0
		}
		l.skip(end + 2)
		l.afterTag(closing)
		return nil
	case '{':
		l.emit(jtoken{kind: "begin", text: "variable"})
		l.skip(open)
		return l.expression("}}", "variable")
	}
	if raw, ok := l.rawTag("raw"); ok {
		l.skip(raw)
		return l.raw()
	}
	l.emit(jtoken{kind: "begin", text: "block"})
	l.skip(open)
	return l.expression("%}", "block")
}

// afterTag eats what the end of a block or comment eats.
func (l *jinjaLexer) afterTag(sign byte) {
	switch {
	case sign == '-':
		rest := l.src[l.at:]
		l.skip(len(rest) - len(strings.TrimLeftFunc(rest, isPythonSpace)))
	case sign != '+' && strings.HasPrefix(l.src[l.at:], "\n"):
		l.skip(1)
	}
}

// rawTag says whether {% name %} stands at the position; n is its length up to %},
// and space when it ends in -%}.
func (l *jinjaLexer) rawTag(name string) (n int, ok bool) {
	rest := l.src[l.at+2:]
	n = 2
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		rest, n = rest[1:], n+1
	}
	trimmed := strings.TrimLeftFunc(rest, isPythonSpace)
	if !strings.HasPrefix(trimmed, name) {
		return 0, false
	}
	n += len(rest) - len(trimmed) + len(name)
	rest = trimmed[len(name):]
	trimmed = strings.TrimLeftFunc(rest, isPythonSpace)
	n += len(rest) - len(trimmed)
	switch {
	case strings.HasPrefix(trimmed, "-%}"):
		after := trimmed[3:]
		return n + 3 + len(after) - len(strings.TrimLeftFunc(after, isPythonSpace)), true
	case strings.HasPrefix(trimmed, "+%}"):
		return n + 3, true
	case strings.HasPrefix(trimmed, "%}"):
		return n + 2, true
	}
	return 0, false
}

// raw emits everything up to {% endraw %}.
func (l *jinjaLexer) raw() error {
	from := l.at
	for at := from; ; {
		n := strings.Index(l.src[at:], "{%")
		if n < 0 {
			return l.errorf("missing end of raw directive")
		}
		at += n
		l.at = at
		length, ok := l.rawTag("endraw")
		l.at = from
		if !ok {
			at += 2
			continue
		}
		sign := byte(0)
		if c := l.src[at+2]; c == '-' || c == '+' {
			sign = c
		}
		l.data(at-from, sign, true)
		tag := l.src[at : at+length]
		l.skip(length)
		if !strings.HasSuffix(strings.TrimRightFunc(tag, isPythonSpace), "-%}") && !strings.HasSuffix(tag, "+%}") && strings.HasPrefix(l.src[l.at:], "\n") {
			l.skip(1)
		}
		return nil
	}
}

var jinjaOperators = []string{
	"//", "**", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", "<", ">", "=", ".", ":", "|", ",", ";",
}

// expression emits the tokens inside a tag and its end.
func (l *jinjaLexer) expression(closing, kind string) error {
	var open []byte
	for {
		rest := l.src[l.at:]
		if rest == "" {
			return l.errorf("unexpected end of template inside a %s tag", kind)
		}
		if len(open) == 0 {
			sign, n := byte(0), 0
			switch {
			case strings.HasPrefix(rest, closing):
				n = 2
			case strings.HasPrefix(rest, "-"+closing):
				sign, n = '-', 3
			case kind == "block" && strings.HasPrefix(rest, "+"+closing):
				sign, n = '+', 3
			}
			if n > 0 {
				l.emit(jtoken{kind: "end", text: kind})
				l.skip(n)
				if kind == "block" || sign == '-' {
					l.afterTag(sign)
				}
				return nil
			}
		}
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case isPythonSpace(r):
			l.skip(size)
		case r == '_' || unicode.IsLetter(r):
			n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if n < 0 {
				n = len(rest)
			}
			l.emit(jtoken{kind: "name", text: rest[:n]})
			l.skip(n)
		case r >= '0' && r <= '9':
			if err := l.number(rest); err != nil {
				return err
			}
		case r == '\'' || r == '"':
			if err := l.text(rest); err != nil {
				return err
			}
		default:
			op := ""
			for _, have := range jinjaOperators {
				if strings.HasPrefix(rest, have) {
					op = have
					break
				}
			}
			switch op {
			case "":
				return l.errorf("unexpected character %q", r)
			case "{", "(", "[":
				open = append(open, op[0])
			case "}", ")", "]":
				want := map[string]byte{"}": '{', ")": '(', "]": '['}[op]
				if len(open) == 0 || open[len(open)-1] != want {
					return l.errorf("unexpected %q", op)
				}
				open = open[:len(open)-1]
			}
			l.emit(jtoken{kind: "op", text: op})
			l.skip(len(op))
		}
	}
}

func (l *jinjaLexer) number(rest string) error {
	digits := func(i int) int {
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '_' && i+1 < len(rest) && rest[i+1] >= '0' && rest[i+1] <= '9') {
			i++
		}
		return i
	}
	if len(rest) > 2 && rest[0] == '0' && strings.ContainsRune("xXoObB", rune(rest[1])) {
		n := 2
		for n < len(rest) && strings.ContainsRune("0123456789abcdefABCDEF_", rune(rest[n])) {
			n++
		}
		value, err := strconv.ParseInt(rest[:n], 0, 64)
		if err != nil {
			return l.errorf("number %s: %v", rest[:n], err)
		}
		l.emit(jtoken{kind: "int", text: rest[:n], num: value})
		l.skip(n)
		return nil
	}
	n := digits(0)
	isFloat := false
	if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
		n = digits(n + 1)
		isFloat = true
	}
	if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
		m := n + 1
		if m < len(rest) && (rest[m] == '+' || rest[m] == '-') {
			m++
		}
		if m < len(rest) && rest[m] >= '0' && rest[m] <= '9' {
			n = digits(m)
			isFloat = true
		}
	}
	text := strings.ReplaceAll(rest[:n], "_", "")
	if isFloat {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return l.errorf("number %s: %v", text, err)
		}
		l.emit(jtoken{kind: "float", text: text, flt: value})
	} else {
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return l.errorf("number %s is too large", text)
		}
		l.emit(jtoken{kind: "int", text: text, num: value})
	}
	l.skip(n)
	return nil
}

// text reads a string literal with Python's escapes.
func (l *jinjaLexer) text(rest string) error {
	quote := rest[0]
	var out strings.Builder
	i := 1
	for {
		if i >= len(rest) {
			return l.errorf("a string has no end")
		}
		c := rest[i]
		if c == quote {
			break
		}
		i++
		if c != '\\' {
			out.WriteByte(c)
			continue
		}
		if i >= len(rest) {
			return l.errorf("a string has no end")
		}
		c = rest[i]
		i++
		hex := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		switch {
		case c == '\n':
		case strings.IndexByte(`\'"`, c) >= 0:
			out.WriteByte(c)
		case strings.IndexByte("abfnrtv", c) >= 0:
			out.WriteByte("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case hex > 0:
			if i+hex > len(rest) {
				return l.errorf(`escape \%c is cut short`, c)
			}
			value, err := strconv.ParseUint(rest[i:i+hex], 16, 32)
			if err != nil || !utf8.ValidRune(rune(value)) {
				return l.errorf(`escape \%c%s is not a character`, c, rest[i:i+hex])
			}
			out.WriteRune(rune(value))
			i += hex
		case c >= '0' && c <= '7':
			value := rune(c - '0')
			for n := 1; n < 3 && i < len(rest) && rest[i] >= '0' && rest[i] <= '7'; n++ {
				value = value*8 + rune(rest[i]-'0')
				i++
			}
			out.WriteRune(value)
		case c == 'N':
			return l.errorf(`escape \N{name} is not supported`)
		default:
			out.WriteByte('\\')
			out.WriteByte(c)
		}
	}
	l.emit(jtoken{kind: "string", text: out.String()})
	l.skip(i + 1)
	return nil
}

// isPythonSpace is str.isspace of one character.
func isPythonSpace(r rune) bool { return isWhite(r) || r >= 0x1C && r <= 0x1F }
