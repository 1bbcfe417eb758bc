package datasets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A value is one JSON value, or what stands for it in a Parquet file: nil, bool, string,
// json.Number, int64, float64, []byte, []value or fields.
type value any

// fields are the members of an object in the order of the file.
type fields []field

type field struct {
	key   string
	value value
}

// get is the member of a key; of equal keys the last one counts.
func (f fields) get(key string) (value, bool) {
	for i := len(f) - 1; i >= 0; i-- {
		if f[i].key == key {
			return f[i].value, true
		}
	}
	return nil, false
}

func (f fields) keys() string {
	if len(f) == 0 {
		return "none"
	}
	names := make([]string, len(f))
	for i := range f {
		names[i] = f[i].key
	}
	return strings.Join(names, ", ")
}

// text is a member that must be a string.
func (f fields) text(key string) (string, error) {
	v, ok := f.get(key)
	if !ok {
		return "", fmt.Errorf("no %q: have %s", key, f.keys())
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%q is %s, not a string", key, kindOf(v))
	}
	return s, nil
}

// kindOf names what a value is, for errors.
func kindOf(v value) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case json.Number, int64, float64:
		return "a number"
	case []byte:
		return "bytes"
	case []value:
		return "a list"
	case fields:
		return "an object"
	}
	return fmt.Sprintf("%T", v)
}

// number is a value as a float; numeric strings count.
func number(v value) (float64, bool) {
	var s string
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		s = string(v)
	case string:
		s = strings.TrimSpace(v)
	default:
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsNaN(n)
}

// whole is a value as an integer; what follows the decimal point is cut off.
func whole(v value) (int, bool) {
	n, ok := number(v)
	if !ok || math.Abs(n) > 1<<53 {
		return 0, false
	}
	return int(n), true
}

// parse reads one JSON value.
func parse(data []byte) (value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := next(d, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

const deepest = 200

// next reads the next value of a stream.
func next(d *json.Decoder, depth int) (value, error) {
	if depth > deepest {
		return nil, fmt.Errorf("nested deeper than %d", deepest)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	var v value
	if delim == '[' {
		v, err = nextItems(d, depth)
	} else {
		v, err = nextFields(d, depth)
	}
	if err == nil {
		_, err = d.Token() // the end
	}
	if errors.Is(err, io.EOF) { // which is not the end of the file here
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func nextItems(d *json.Decoder, depth int) ([]value, error) {
	items := []value{}
	for d.More() {
		v, err := next(d, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

func nextFields(d *json.Decoder, depth int) (fields, error) {
	object := fields{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := next(d, depth+1)
		if err != nil {
			return nil, err
		}
		object = append(object, field{key.(string), v})
	}
	return object, nil
}

// spell writes a value as Python's json module does.
func spell(v value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return quote(v)
	case json.Number:
		return string(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		data, err := json.Marshal(v)
		if err != nil {
			return "null"
		}
		return string(data)
	case []byte:
		return quote(string(v))
	case []value:
		items := make([]string, len(v))
		for i := range v {
			items[i] = spell(v[i])
		}
		return list(items...)
	case fields:
		pairs := make([]string, 0, 2*len(v))
		for _, f := range v {
			pairs = append(pairs, f.key, spell(f.value))
		}
		return object(pairs...)
	}
	return "null"
}

// promptOf is a JSON value as a prompt.
func promptOf(v value) Prompt {
	switch v := v.(type) {
	case string:
		return Prompt{Text: v}
	case []value:
		if texts, ok := all(v, func(v value) (string, bool) { s, ok := v.(string); return s, ok }); ok {
			return Prompt{List: texts}
		}
		if ids, ok := all(v, func(v value) (int, bool) {
			n, ok := v.(json.Number)
			if !ok {
				return 0, false
			}
			i, err := strconv.Atoi(string(n))
			return i, err == nil
		}); ok {
			return Prompt{IDs: ids}
		}
	}
	return Prompt{JSON: json.RawMessage(spell(v))}
}

// all converts every item of a list, of which there must be one.
func all[T any](items []value, f func(value) (T, bool)) ([]T, bool) {
	out := make([]T, len(items))
	for i, item := range items {
		var ok bool
		if out[i], ok = f(item); !ok {
			return nil, false
		}
	}
	return out, len(items) > 0
}
