package trace

import (
	"bytes"
	"strings"
)

// Names gives every distinct name and category a small number, so that rows can be
// kept by number. Files that share one Names share the numbers. It is not safe for
// concurrent use.
type Names struct {
	ids  map[string]uint32
	text []string
	// full is the first complete spelling of a name whose address was left out; it is
	// emptied once a second address shows that the spelling stands for several objects.
	full map[uint32]string
	cut  []byte
}

// NewNames is an empty table. Number 0 is the empty name.
func NewNames() *Names {
	return &Names{ids: map[string]uint32{"": 0}, text: []string{""}, full: map[uint32]string{}}
}

// Len is how many names there are.
func (n *Names) Len() int { return len(n.text) }

// Text is the name with a number.
func (n *Names) Text(id uint32) string { return n.text[id] }

// Full is the name as the file spells it: with the object's address where every row of
// that name had the same one, without it otherwise.
func (n *Names) Full(id uint32) string {
	if full := n.full[id]; full != "" {
		return full
	}
	return n.text[id]
}

// ID is the number of a name, which is added when it is new.
func (n *Names) ID(name string) uint32 {
	if id, ok := n.ids[name]; ok {
		return id
	}
	return n.add(name)
}

func (n *Names) add(name string) uint32 {
	id := uint32(len(n.text))
	n.ids[name] = id
	n.text = append(n.text, name)
	return id
}

// intern is the number of the name in b, which may be unescaped text of the buffer.
func (n *Names) intern(b []byte) uint32 {
	// Only names of Python objects, "<built-in method ...>", carry addresses.
	if len(b) > 8 && b[0] == '<' {
		if at := bytes.Index(b, []byte(" at 0x")); at >= 0 {
			return n.internAddress(b, at)
		}
	}
	if id, ok := n.ids[string(b)]; ok {
		return id
	}
	return n.add(string(b))
}

func (n *Names) internAddress(b []byte, at int) uint32 {
	n.cut = n.cut[:0]
	rest := b
	for at >= 0 {
		n.cut = append(n.cut, rest[:at]...)
		rest = rest[at+len(" at 0x"):]
		for len(rest) > 0 && isHex(rest[0]) {
			rest = rest[1:]
		}
		at = bytes.Index(rest, []byte(" at 0x"))
	}
	n.cut = append(n.cut, rest...)
	id, known := n.ids[string(n.cut)]
	if !known {
		id = n.add(string(n.cut))
		n.full[id] = string(b)
		return id
	}
	if full := n.full[id]; full != "" && full != string(b) {
		n.full[id] = ""
	}
	return id
}

// WithoutAddress is a Python name without the addresses of objects.
func WithoutAddress(name string) string {
	at := strings.Index(name, " at 0x")
	if at < 0 {
		return name
	}
	var out strings.Builder
	for at >= 0 {
		out.WriteString(name[:at])
		name = name[at+len(" at 0x"):]
		for len(name) > 0 && isHex(name[0]) {
			name = name[1:]
		}
		at = strings.Index(name, " at 0x")
	}
	out.WriteString(name)
	return out.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
