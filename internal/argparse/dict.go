package argparse

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// A Dict is a JSON object or a Python dict: it keeps the order of its keys, and a key
// set again keeps its place. The zero Dict is empty.
type Dict struct {
	items []item
	index map[string]int
}

type item struct{ key, value any }

// A Tuple is a Python tuple.
type Tuple []any

// keyText is the same for keys that are equal in Python: 1, 1.0 and True are.
func keyText(key any) string {
	switch k := key.(type) {
	case string:
		return "s" + k
	case bool:
		if k {
			return "v1"
		}
		return "v0"
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return "v" + strconv.FormatFloat(k+0, 'f', 0, 64)
		}
	case Tuple:
		var text strings.Builder
		text.WriteString("t")
		for _, element := range k {
			part := keyText(element)
			fmt.Fprintf(&text, "%d:%s", len(part), part)
		}
		return text.String()
	}
	return "v" + Repr(key)
}

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.items) }

// Get is the value of key.
func (d *Dict) Get(key any) (any, bool) {
	if i, ok := d.index[keyText(key)]; ok {
		return d.items[i].value, true
	}
	return nil, false
}

// Set sets the value of key.
func (d *Dict) Set(key, value any) {
	text := keyText(key)
	if i, ok := d.index[text]; ok {
		d.items[i].value = value
		return
	}
	if d.index == nil {
		d.index = map[string]int{}
	}
	d.index[text] = len(d.items)
	d.items = append(d.items, item{key, value})
}

// All goes through keys and values in order.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for _, it := range d.items {
			if !yield(it.key, it.value) {
				return
			}
		}
	}
}

// clone copies the dict and the dicts and lists inside it, so that merging into the copy
// leaves the original alone.
func (d *Dict) clone() *Dict {
	out := &Dict{}
	for key, value := range d.All() {
		switch v := value.(type) {
		case *Dict:
			value = v.clone()
		case []any:
			value = append([]any{}, v...)
		}
		out.Set(key, value)
	}
	return out
}
