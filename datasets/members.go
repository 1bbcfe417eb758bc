package datasets

import (
	"encoding/json"
	"strings"
)

// Members are the keys of a JSON object whose order matters.
type Members []Member

// Map is the members without their order; of equal keys the last one counts.
func (m Members) Map() map[string]json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]json.RawMessage, len(m))
	for _, member := range m {
		out[member.Key] = member.Value
	}
	return out
}

// object writes a JSON object of alternating keys and values, which are JSON. The
// spelling is that of Python's json module.
func object(pairs ...string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(pairs[i]))
		b.WriteString(": ")
		b.WriteString(pairs[i+1])
	}
	b.WriteByte('}')
	return b.String()
}

// list writes a JSON list of values, which are JSON.
func list(values ...string) string { return "[" + strings.Join(values, ", ") + "]" }

// quote writes a JSON string as Python's json module does: everything outside ASCII is
// escaped.
func quote(s string) string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	unit := func(u rune) {
		b = append(b, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == '\b':
			b = append(b, '\\', 'b')
		case r == '\f':
			b = append(b, '\\', 'f')
		case r < 0x20:
			unit(r)
		case r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			unit(0xd800 + r>>10)
			unit(0xdc00 + r&0x3ff)
		default:
			unit(r)
		}
	}
	return string(append(b, '"'))
}
