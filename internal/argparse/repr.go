package argparse

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"

	"servebench/internal/python"
)

// Repr is Python's repr of a value.
func Repr(value any) string {
	switch v := value.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int:
		return strconv.Itoa(v)
	case *big.Int:
		return v.String()
	case float64:
		return FloatRepr(v)
	case string:
		return stringRepr(v)
	case []string:
		parts := make([]string, len(v))
		for i, element := range v {
			parts[i] = stringRepr(element)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []any:
		return "[" + strings.Join(reprs(v), ", ") + "]"
	case Tuple:
		if len(v) == 1 {
			return "(" + Repr(v[0]) + ",)"
		}
		return "(" + strings.Join(reprs(v), ", ") + ")"
	case *Dict:
		var parts []string
		for key, element := range v.All() {
			parts = append(parts, Repr(key)+": "+Repr(element))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(value)
}

func reprs(list []any) []string {
	parts := make([]string, len(list))
	for i, element := range list {
		parts[i] = Repr(element)
	}
	return parts
}

// Str is Python's str of a value: text as it is, anything else as its repr.
func Str(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	return Repr(value)
}

// FloatRepr is Python's repr of a float: the shortest text that reads back the same, with an
// exponent from 1e16 up and below 1e-4, and always recognisable as a float.
func FloatRepr(f float64) string { return python.Float(f) }

func stringRepr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var out strings.Builder
	out.WriteByte(quote)
	for len(s) > 0 {
		r, size := nextRune(s)
		s = s[size:]
		switch {
		case r == rune(quote) || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteByte(quote)
	return out.String()
}
