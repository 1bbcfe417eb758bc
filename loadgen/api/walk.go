package api

import "bytes"

// These functions walk JSON that is known to be valid, without building anything: an event is read
// tens of thousands of times a second. Values are slices of the input.

// object calls f for each member of a JSON object, with the key's body and the value's text.
func object(b []byte, f func(key, value []byte) error) error {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return errNotJSON
	}
	for i = space(b, i+1); i < len(b) && b[i] != '}'; {
		end := value(b, i)
		if end-i < 2 || b[i] != '"' {
			return errNotJSON
		}
		key := b[i+1 : end-1]
		i = space(b, end)
		if i >= len(b) || b[i] != ':' {
			return errNotJSON
		}
		i = space(b, i+1)
		end = value(b, i)
		if end <= i {
			return errNotJSON
		}
		if err := f(key, b[i:end]); err != nil {
			return err
		}
		if i = space(b, end); i < len(b) && b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return nil
}

// elements calls f for each element of a JSON list.
func elements(b []byte, f func(element []byte) error) error {
	i := space(b, 0)
	if i >= len(b) || b[i] != '[' {
		return errNotJSON
	}
	for i = space(b, i+1); i < len(b) && b[i] != ']'; {
		end := value(b, i)
		if end <= i {
			return errNotJSON
		}
		if err := f(b[i:end]); err != nil {
			return err
		}
		if i = space(b, end); i < len(b) && b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return nil
}

// value is where the value that begins at i ends.
func value(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return text(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				i = text(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(b) && bytes.IndexByte([]byte(",]} \t\r\n"), b[i]) < 0 {
		i++
	}
	return i
}

// text is where the string that begins at i ends, its closing quote included.
func text(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return min(i, len(b))
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// stringBody is what stands between the quotes; nil for anything but a string.
func stringBody(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

func isNull(value []byte) bool { return string(value) == "null" }

// isEmpty says whether Python would take the value for false.
func isEmpty(value []byte) bool {
	switch string(value) {
	case "", "null", "false", `""`, "[]", "{}", "0", "0.0":
		return true
	}
	return false
}
