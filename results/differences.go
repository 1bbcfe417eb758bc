package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// A Difference is one place at which two JSON texts disagree. A side that lacks the place is empty.
type Difference struct {
	// Path is the keys and indexes that lead there, with dots between them; empty for the whole text.
	Path string
	A, B string
}

// String is the difference as people read it.
func (d Difference) String() string {
	side := func(s string) string {
		if s == "" {
			return "absent"
		}
		return s
	}
	place := d.Path
	if place == "" {
		place = "the whole"
	}
	return fmt.Sprintf("%s is %s in one, %s in the other", place, side(d.A), side(d.B))
}

// Differences are the places at which two JSON texts disagree, in order. Numbers are compared as they are written, so that
// not a digit is lost.
func Differences(a, b []byte) ([]Difference, error) {
	left, err := tree(a)
	if err != nil {
		return nil, err
	}
	right, err := tree(b)
	if err != nil {
		return nil, err
	}
	return differ(nil, "", left, right), nil
}

// tree is a JSON text as Go values. No text at all is nil, as null is.
func tree(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the end of the JSON value")
	}
	return v, nil
}

func differ(into []Difference, path string, a, b any) []Difference {
	below := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(a)
		maps.Copy(keys, b)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			x, inA := a[key]
			y, inB := b[key]
			if inA && inB {
				into = differ(into, below(key), x, y)
				continue
			}
			d := Difference{Path: below(key)}
			if inA {
				d.A = short(x)
			}
			if inB {
				d.B = short(y)
			}
			into = append(into, d)
		}
		return into
	case []any:
		b, ok := b.([]any)
		if !ok {
			break
		}
		if len(a) != len(b) {
			return append(into, Difference{path, fmt.Sprintf("a list of %d", len(a)), fmt.Sprintf("a list of %d", len(b))})
		}
		for i := range a {
			into = differ(into, below(strconv.Itoa(i)), a[i], b[i])
		}
		return into
	default:
		switch b.(type) {
		case map[string]any, []any:
		default:
			if a == b { // texts, numbers as texts, truth values, null
				return into
			}
		}
	}
	return append(into, Difference{path, short(a), short(b)})
}

// short is a value for a sentence.
func short(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if text := []rune(string(b)); len(text) > 60 {
		return string(text[:57]) + "..."
	}
	return string(b)
}
