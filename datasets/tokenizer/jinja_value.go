package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"servebench/internal/python"
)

// A jvalue is a Python value: nil for None, bool, int64, float64, string, *jlist,
// *jdict, *jundefined, *jnamespace, *jloop, jfunc.
type jvalue any

// jlist is a list or a tuple.
type jlist struct {
	items []jvalue
	tuple bool
}

// jdict keeps its keys in order of insertion.
type jdict struct {
	keys   []jvalue
	values []jvalue
	index  map[any]int
}

// jundefined is what a missing name or attribute gives.
type jundefined struct{ what string }

func (u *jundefined) err() error { return fmt.Errorf("%s", u.what) }

// jnamespace is the one object a template may assign to.
type jnamespace struct{ dict *jdict }

// jfunc is anything that can be called.
type jfunc struct {
	name string
	call func(args jargs) (jvalue, error)
}

type jargs struct {
	pos   []jvalue
	names []string
	named []jvalue
}

func newDict() *jdict { return &jdict{index: map[any]int{}} }

// dictKey makes equal numbers the same key, as Python does.
func dictKey(key jvalue) (any, error) {
	switch k := key.(type) {
	case bool:
		if k {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k), nil
		}
		return k, nil
	case nil, int64, string:
		return k, nil
	case *jlist:
		if k.tuple {
			return "tuple\x00" + repr(k), nil
		}
	}
	return nil, fmt.Errorf("unhashable type: '%s'", typeName(key))
}

func (d *jdict) get(key jvalue) (jvalue, bool) {
	k, err := dictKey(key)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[k]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *jdict) set(key, value jvalue) error {
	k, err := dictKey(key)
	if err != nil {
		return err
	}
	if i, ok := d.index[k]; ok {
		d.values[i] = value
		return nil
	}
	d.index[k] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, value)
	return nil
}

// fromJSON reads a JSON value, objects in their order.
func fromJSON(raw json.RawMessage) (jvalue, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	value, err := readValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return value, nil
}

func readValue(dec *json.Decoder, depth int) (jvalue, error) {
	if depth > 1000 {
		return nil, fmt.Errorf("JSON is nested too deeply")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			list := &jlist{}
			for dec.More() {
				item, err := readValue(dec, depth+1)
				if err != nil {
					return nil, err
				}
				list.items = append(list.items, item)
			}
			_, err := dec.Token()
			return list, err
		}
		dict := newDict()
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			item, err := readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			if err := dict.set(key, item); err != nil {
				return nil, err
			}
		}
		_, err := dec.Token()
		return dict, err
	}
	return token, nil // nil, bool, string
}

func typeName(v jvalue) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *jlist:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *jdict:
		return "dict"
	case *jundefined:
		return "Undefined"
	case *jnamespace:
		return "Namespace"
	case *jloop:
		return "LoopContext"
	}
	return "function"
}

func truth(v jvalue) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *jlist:
		return len(v.items) > 0
	case *jdict:
		return len(v.keys) > 0
	case *jundefined:
		return false
	}
	return true
}

// str is Python's str().
func str(v jvalue) string {
	switch v := v.(type) {
	case string:
		return v
	case *jundefined:
		return ""
	}
	return repr(v)
}

func repr(v jvalue) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return python.Float(v)
	case string:
		return reprString(v)
	case *jlist:
		var out strings.Builder
		open, end := "[", "]"
		if v.tuple {
			open, end = "(", ")"
			if len(v.items) == 1 {
				end = ",)"
			}
		}
		out.WriteString(open)
		for i, item := range v.items {
			if i > 0 {
				out.WriteString(", ")
			}
			out.WriteString(repr(item))
		}
		out.WriteString(end)
		return out.String()
	case *jdict:
		var out strings.Builder
		out.WriteByte('{')
		for i, key := range v.keys {
			if i > 0 {
				out.WriteString(", ")
			}
			out.WriteString(repr(key) + ": " + repr(v.values[i]))
		}
		out.WriteByte('}')
		return out.String()
	case *jundefined:
		return "Undefined"
	case *jnamespace:
		return "<Namespace " + repr(v.dict) + ">"
	}
	return "<" + typeName(v) + ">"
}

func reprString(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var out strings.Builder
	out.WriteByte(quote)
	for _, r := range s {
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
		case r < ' ' || r == 0x7F || r < 0x100 && !unicode.IsPrint(r):
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x7F || unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteByte(quote)
	return out.String()
}

// number gives the value of ints, bools and floats.
func number(v jvalue) (i int64, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

func equal(a, b jvalue) bool {
	if ai, af, aInt, ok := number(a); ok {
		bi, bf, bInt, ok := number(b)
		if !ok {
			return false
		}
		if aInt && bInt {
			return ai == bi
		}
		return af == bf
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		b, ok := b.(string)
		return ok && a == b
	case *jundefined:
		_, ok := b.(*jundefined)
		return ok
	case *jlist:
		b, ok := b.(*jlist)
		if !ok || a.tuple != b.tuple || len(a.items) != len(b.items) {
			return false
		}
		for i := range a.items {
			if !equal(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case *jdict:
		b, ok := b.(*jdict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		for i, key := range a.keys {
			other, ok := b.get(key)
			if !ok || !equal(a.values[i], other) {
				return false
			}
		}
		return true
	}
	return a == b
}

// order compares what Python can compare: -1, 0 or 1. NaN compares as greater.
func order(a, b jvalue) (int, error) {
	if u, ok := a.(*jundefined); ok {
		return 0, u.err()
	}
	if u, ok := b.(*jundefined); ok {
		return 0, u.err()
	}
	if ai, af, aInt, ok := number(a); ok {
		if bi, bf, bInt, ok := number(b); ok {
			switch {
			case aInt && bInt && ai < bi, !(aInt && bInt) && af < bf:
				return -1, nil
			case aInt && bInt && ai == bi, !(aInt && bInt) && af == bf:
				return 0, nil
			}
			return 1, nil
		}
	}
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), nil // the order of UTF-8 is the order of code points
		}
	case *jlist:
		if b, ok := b.(*jlist); ok && a.tuple == b.tuple {
			for i := range min(len(a.items), len(b.items)) {
				if !equal(a.items[i], b.items[i]) {
					return order(a.items[i], b.items[i])
				}
			}
			return len(a.items) - len(b.items), nil
		}
	}
	return 0, fmt.Errorf("'<' not supported between instances of '%s' and '%s'", typeName(a), typeName(b))
}

// iterate lists what a for loop would see.
func iterate(v jvalue) ([]jvalue, error) {
	switch v := v.(type) {
	case *jlist:
		return v.items, nil
	case *jdict:
		return v.keys, nil
	case string:
		var out []jvalue
		for _, r := range v {
			out = append(out, string(r))
		}
		return out, nil
	case *jundefined:
		return nil, nil
	}
	return nil, fmt.Errorf("'%s' object is not iterable", typeName(v))
}

func contains(container, item jvalue) (bool, error) {
	switch c := container.(type) {
	case string:
		text, ok := item.(string)
		if !ok {
			return false, fmt.Errorf("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(c, text), nil
	case *jdict:
		_, ok := c.get(item)
		return ok, nil
	case *jlist:
		for _, have := range c.items {
			if equal(have, item) {
				return true, nil
			}
		}
		return false, nil
	case *jundefined:
		return false, nil
	}
	return false, fmt.Errorf("argument of type '%s' is not iterable", typeName(container))
}

// jsonStyle is how tojson writes.
type jsonStyle struct {
	indent    string
	indented  bool
	item, key string // separators
	sorted    bool
	ascii     bool
}

// writeJSON is Python's json.dumps.
func writeJSON(out *strings.Builder, v jvalue, style jsonStyle, depth int) error {
	line := func(depth int) {
		if style.indented {
			out.WriteByte('\n')
			for range depth {
				out.WriteString(style.indent)
			}
		}
	}
	if depth > 1000 {
		return fmt.Errorf("value is nested too deeply for tojson")
	}
	switch v := v.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case int64:
		out.WriteString(strconv.FormatInt(v, 10))
	case float64:
		out.WriteString(string(python.AppendFloat(nil, v)))
	case string:
		writeJSONString(out, v, style.ascii)
	case *jlist:
		if len(v.items) == 0 {
			out.WriteString("[]")
			return nil
		}
		out.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				out.WriteString(style.item)
			}
			line(depth + 1)
			if err := writeJSON(out, item, style, depth+1); err != nil {
				return err
			}
		}
		line(depth)
		out.WriteByte(']')
	case *jdict:
		if len(v.keys) == 0 {
			out.WriteString("{}")
			return nil
		}
		at := make([]int, len(v.keys))
		for i := range at {
			at[i] = i
		}
		if style.sorted {
			var err error
			sortStable(at, func(a, b int) bool {
				n, e := order(v.keys[a], v.keys[b])
				if e != nil {
					err = e
				}
				return n < 0
			})
			if err != nil {
				return err
			}
		}
		out.WriteByte('{')
		for n, i := range at {
			if n > 0 {
				out.WriteString(style.item)
			}
			line(depth + 1)
			key := ""
			switch k := v.keys[i].(type) {
			case string:
				key = k
			case nil:
				key = "null"
			case bool:
				key = strconv.FormatBool(k)
			case int64:
				key = strconv.FormatInt(k, 10)
			case float64:
				key = string(python.AppendFloat(nil, k))
			default:
				return fmt.Errorf("keys must be str, int, float, bool or None, not %s", typeName(k))
			}
			writeJSONString(out, key, style.ascii)
			out.WriteString(style.key)
			if err := writeJSON(out, v.values[i], style, depth+1); err != nil {
				return err
			}
		}
		line(depth)
		out.WriteByte('}')
	default:
		return fmt.Errorf("object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func writeJSONString(out *strings.Builder, s string, ascii bool) {
	if ascii {
		out.Write(python.AppendString(nil, s))
		return
	}
	out.WriteByte('"')
	for _, r := range s {
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
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r < ' ':
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}
