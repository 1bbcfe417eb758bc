package argparse

import (
	"math/big"
	"strconv"
	"strings"
)

// A piece is one dotted option: --extra-body.a.b 1.
type piece struct {
	option *Option
	name   string
	keys   []string
	value  any
	by     Source
}

// dottedOption reads a name with dots. Its head may be abbreviated like any other.
func (r *parse) dottedOption(word, name string, explicit *string) (token, error) {
	name, list := strings.CutSuffix(name, "+")
	path := strings.Split(name, ".")
	o, full, err := r.resolve(path[0], path[0])
	if err != nil {
		return token{}, err
	}
	if o == nil {
		return token{word: word, kind: flagged}, nil
	}
	if o.Type != JSON || o.Action != Store {
		var takers []string
		for _, candidate := range r.options {
			if candidate.Type == JSON {
				takers = append(takers, candidate.Flag)
			}
		}
		return token{}, r.failAt(o, "takes no keys in %s: only the JSON options do (%s)", Repr(word), strings.Join(takers, ", "))
	}
	return token{word: word, kind: flagged, option: o, name: full, explicit: explicit, keys: path[1:], list: list}, nil
}

// dottedValue is the value of a dotted option: JSON, else a number with a suffix, else the text.
func dottedValue(word string, list bool) any {
	if list {
		values := []any{}
		for part := range strings.SplitSeq(word, ",") {
			values = append(values, part)
		}
		return values
	}
	if value, err := Loads(word); err == nil {
		return value
	}
	if value, ok := readableInt(word); ok {
		return value
	}
	return word
}

var suffixes = map[byte]int64{
	'k': 1e3, 'm': 1e6, 'g': 1e9, 't': 1e12,
	'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40,
}

// readableInt reads 10k, 1.5m and 2G: k m g t are powers of 1000 and may follow a
// decimal, which is cut to a whole number; K M G T are powers of 1024.
func readableInt(word string) (any, bool) {
	word = trimSpace(word)
	if word == "" {
		return nil, false
	}
	unit, hasUnit := suffixes[word[len(word)-1]]
	if !hasUnit {
		value, err := ParseInt(word)
		return value, err == nil
	}
	number := word[:len(word)-1]
	whole, fraction, isDecimal := strings.Cut(number, ".")
	if !digits(whole) || isDecimal && !digits(fraction) {
		return nil, false
	}
	if word[len(word)-1] < 'a' {
		if isDecimal || len(whole) > maxDigits {
			return nil, false
		}
		n, _ := new(big.Int).SetString(whole, 10)
		return shrink(n.Mul(n, big.NewInt(unit))), true
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return nil, false
	}
	product := f * float64(unit)
	if product > 1e308 {
		return nil, false
	}
	n, _ := big.NewFloat(product).Int(nil)
	return shrink(n), true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// nest wraps value into one object a key.
func nest(keys []string, value any) *Dict {
	for i := len(keys) - 1; i > 0; i-- {
		inner := &Dict{}
		inner.Set(keys[i], value)
		value = inner
	}
	outer := &Dict{}
	outer.Set(keys[0], value)
	return outer
}

// merge adds update to original: objects key by key, lists end to end, anything else
// replaced. It returns the keys whose value was replaced.
func merge(original, update *Dict) (replaced []string) {
	for key, value := range update.All() {
		before, present := original.Get(key)
		beforeDict, wasDict := before.(*Dict)
		dict, isDict := value.(*Dict)
		beforeList, wasList := before.([]any)
		list, isList := value.([]any)
		switch {
		case isDict && wasDict:
			for _, inner := range merge(beforeDict, dict) {
				replaced = append(replaced, key.(string)+"."+inner)
			}
		case isList && wasList:
			original.Set(key, append(beforeList[:len(beforeList):len(beforeList)], list...))
		default:
			if present {
				replaced = append(replaced, key.(string))
			}
			original.Set(key, value)
		}
	}
	return replaced
}

// fold is the original's own pass over the words: every word that begins with - and has a
// dot in its name is a dotted option, swallows the next word whatever it is, and comes
// back as plain JSON at the end of the line.
func (r *parse) fold(words []string) ([]string, error) {
	var out, order, doubled []string
	seen := map[string]bool{}
	dicts := map[string]*Dict{}
	for i := 0; i < len(words); i++ {
		word := words[i]
		name, value, hasValue := strings.Cut(word, "=")
		if strings.HasPrefix(word, "--") && !strings.Contains(word, ".") {
			if seen[name] {
				doubled = append(doubled, name)
			}
			seen[name] = true
		}
		if !strings.HasPrefix(word, "-") || !strings.Contains(name, ".") {
			out = append(out, word)
			continue
		}
		if !hasValue {
			if i+1 == len(words) {
				e := r.fail("list index out of range")
				e.Raises = "IndexError"
				return nil, e
			}
			i++
			value = words[i]
		}
		name, list := strings.CutSuffix(name, "+")
		path := strings.Split(name, ".")
		if dicts[path[0]] == nil {
			dicts[path[0]] = &Dict{}
			order = append(order, path[0])
		}
		for _, key := range merge(dicts[path[0]], nest(path[1:], dottedValue(value, list))) {
			doubled = append(doubled, path[0]+"."+key)
		}
	}
	if len(doubled) > 0 {
		r.warn = append(r.warn, "Found duplicate keys "+strings.Join(unique(doubled), ", "))
	}
	for _, name := range order {
		out = append(out, name, Dumps(dicts[name]))
	}
	return out, nil
}

func unique(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}
