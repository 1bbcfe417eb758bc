package argparse

import (
	"math/big"
	"strings"
)

// Literal reads a Python literal as ast.literal_eval does: None, True, False, numbers, strings,
// tuples, lists, dicts. Sets, bytes and complex numbers are refused.
func Literal(text string) (any, error) {
	s := &literal{scanner{text: strings.TrimLeft(text, " \t")}}
	value, err := s.literal(0)
	if err != nil {
		return nil, err
	}
	s.blank()
	if s.at < len(s.text) {
		return nil, s.fault("extra text")
	}
	return value, nil
}

type literal struct{ scanner }

func (s *literal) blank() {
	for s.at < len(s.text) && strings.IndexByte(" \t\n\r\f", s.text[s.at]) >= 0 {
		s.at++
	}
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func (s *literal) word(name string) bool {
	rest := s.text[s.at:]
	if strings.HasPrefix(rest, name) && (len(rest) == len(name) || !isWordByte(rest[len(name)])) {
		s.at += len(name)
		return true
	}
	return false
}

func (s *literal) literal(depth int) (any, error) {
	if depth > 90 { // Python's own parser stops at 100 brackets
		return nil, s.fault("nested too deeply")
	}
	s.blank()
	if s.at == len(s.text) {
		return nil, s.fault("expected a value")
	}
	switch {
	case s.word("None"):
		return nil, nil
	case s.word("True"):
		return true, nil
	case s.word("False"):
		return false, nil
	}
	switch c := s.text[s.at]; {
	case c == '\'' || c == '"':
		return s.strings()
	case c == '(':
		s.at++
		list, commas, err := s.elements(')', depth)
		if err != nil {
			return nil, err
		}
		if len(list) == 1 && commas == 0 {
			return list[0], nil
		}
		return Tuple(list), nil
	case c == '[':
		s.at++
		list, _, err := s.elements(']', depth)
		return list, err
	case c == '{':
		s.at++
		return s.dict(depth)
	case c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9':
		return s.numeral()
	}
	return nil, s.fault("expected a value")
}

func (s *literal) elements(closing byte, depth int) (list []any, commas int, err error) {
	list = []any{}
	for {
		s.blank()
		if s.skip(string(closing)) {
			return list, commas, nil
		}
		if len(list) > commas {
			return nil, 0, s.fault("expected , or " + string(closing))
		}
		value, err := s.literal(depth + 1)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, value)
		s.blank()
		if s.skip(",") {
			commas++
		}
	}
}

func (s *literal) dict(depth int) (any, error) {
	dict := &Dict{}
	for separated := true; ; {
		s.blank()
		if s.skip("}") {
			return dict, nil
		}
		if !separated {
			return nil, s.fault("expected , or }")
		}
		key, err := s.literal(depth + 1)
		if err != nil {
			return nil, err
		}
		if !hashable(key) {
			return nil, s.fault("a list or dict cannot be a key")
		}
		s.blank()
		if !s.skip(":") {
			return nil, s.fault("expected :")
		}
		value, err := s.literal(depth + 1)
		if err != nil {
			return nil, err
		}
		dict.Set(key, value)
		s.blank()
		separated = s.skip(",")
	}
}

func hashable(key any) bool {
	switch k := key.(type) {
	case *Dict, []any:
		return false
	case Tuple:
		for _, element := range k {
			if !hashable(element) {
				return false
			}
		}
	}
	return true
}

// numeral reads a number with an optional sign.
func (s *literal) numeral() (any, error) {
	sign := ""
	if s.skip("-") {
		sign = "-"
	} else {
		s.skip("+")
	}
	s.blank()
	from := s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		exponentSign := (c == '-' || c == '+') && s.at > from && (s.text[s.at-1] == 'e' || s.text[s.at-1] == 'E')
		if !isWordByte(c) && c != '.' && !exponentSign {
			break
		}
		s.at++
	}
	text := s.text[from:s.at]
	if text == "" || !strings.ContainsAny(text[:1], "0123456789.") {
		return nil, s.fault("expected a number")
	}
	if value, err := ParseInt(sign + text); err == nil {
		if len(text) > 1 && text[0] == '0' && strings.Trim(text, "0_") != "" {
			return nil, s.fault("a whole number begins with 0")
		}
		return value, nil
	}
	if n, ok := new(big.Int).SetString(sign+text, 0); ok { // 0x10, 0o17, 0b1
		return shrink(n), nil
	}
	value, err := ParseFloat(sign + text)
	if err != nil {
		return nil, s.fault("expected a number")
	}
	return value, nil
}

// strings reads one string, or several side by side, which are one.
func (s *literal) strings() (any, error) {
	var all string
	for s.at < len(s.text) && (s.text[s.at] == '\'' || s.text[s.at] == '"') {
		part, err := s.quoted()
		if err != nil {
			return nil, err
		}
		all += part
		s.blank()
	}
	return all, nil
}

// quoted reads a string in single or double quotes; of the escapes only the plain ones.
func (s *literal) quoted() (string, error) {
	quote := s.text[s.at]
	s.at++
	var out strings.Builder
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == quote:
			return out.String(), nil
		case c == '\n':
			return "", s.fault("unfinished string")
		case c != '\\':
			out.WriteByte(c)
		case s.at == len(s.text):
			return "", s.fault("unfinished string")
		default:
			escaped := s.text[s.at]
			s.at++
			plain, ok := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '\\': '\\', '\'': '\'', '"': '"'}[escaped]
			if !ok {
				return "", s.fault("unknown escape")
			}
			out.WriteByte(plain)
		}
	}
	return "", s.fault("unfinished string")
}
