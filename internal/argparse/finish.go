package argparse

import (
	"fmt"
	"slices"
	"strings"
)

// finish puts the values together: defaults, then the config file, then the command
// line, then the dotted pieces over whatever JSON is there.
func (r *parse) finish() (*Values, error) {
	v := &Values{index: map[string]int{}}
	for _, o := range r.Options {
		v.index[o.Dest()] = len(v.list)
		v.list = append(v.list, Value{Option: o, Value: o.Default})
	}
	for _, a := range r.given {
		if a.option == &configOption {
			v.ConfigPath = a.value.(string)
		}
	}
	var pieces []piece
	if v.ConfigPath != "" {
		given, dotted, err := r.config(v.ConfigPath)
		if err != nil {
			return nil, err
		}
		for _, a := range given {
			v.set(a, File)
		}
		pieces = dotted
	}
	count := map[*Option]int{}
	for _, a := range r.given {
		if count[a.option]++; count[a.option] == 2 && !r.Strict {
			r.warn = append(r.warn, a.option.label()+" is given more than once: the last one counts")
		}
		v.set(a, CommandLine)
	}
	if err := r.mergePieces(v, append(pieces, r.dotted...)); err != nil {
		return nil, err
	}
	v.Warnings = r.warn
	for _, value := range v.list {
		if err := r.assign(value.Option, value.Value); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *Values) set(a assignment, by Source) {
	if i, ok := v.index[a.option.Dest()]; ok {
		v.list[i].Value, v.list[i].By = a.value, by
	}
}

// mergePieces merges dotted options into the plain JSON given beside them; never into
// a default, which any given value replaces.
func (r *parse) mergePieces(v *Values, pieces []piece) error {
	var copied []*Option
	for _, p := range pieces {
		at := &v.list[v.index[p.option.Dest()]]
		base := &Dict{}
		if at.By != Default && at.Value != nil {
			dict, ok := at.Value.(*Dict)
			if !ok {
				return r.failAt(p.option, "keys cannot be merged into %s, which is no object", Dumps(at.Value))
			}
			base = dict
			if !slices.Contains(copied, p.option) {
				base = dict.clone()
			}
		}
		copied = append(copied, p.option)
		for _, key := range merge(base, nest(p.keys, p.value)) {
			// A command line that overrules its file is no mistake.
			if p.by == CommandLine && at.By == CommandLine {
				r.warn = append(r.warn, fmt.Sprintf("%s.%s is given more than once: the last one counts", p.option.Flag, key))
			}
		}
		at.Value, at.By = base, max(at.By, p.by)
	}
	r.warn = unique(r.warn)
	return nil
}

// assign writes a value where the option wants it.
func (p *Parser) assign(o *Option, value any) error {
	number := func() (float64, bool) {
		switch n := value.(type) {
		case float64:
			return n, true
		case int: // a default such as 1
			return float64(n), true
		}
		return 0, false
	}
	switch into := o.Into.(type) {
	case nil:
	case *string:
		*into, _ = value.(string)
	case **string:
		*into = pointer[string](value)
	case *int:
		*into, _ = value.(int)
	case **int:
		*into = pointer[int](value)
	case *bool:
		*into, _ = value.(bool)
	case **bool:
		*into = pointer[bool](value)
	case *float64:
		*into, _ = number()
	case **float64:
		*into = nil
		if n, ok := number(); ok {
			*into = &n
		}
	case *[]string:
		*into = nil
		if list, ok := value.([]string); ok {
			*into = list
		}
	case *any:
		*into = value
	case func(any) error:
		if err := into(value); err != nil {
			return p.failAt(o, "%s", err)
		}
	default:
		panic(fmt.Sprintf("option %s: cannot fill a %T", o.Flag, o.Into))
	}
	return nil
}

func pointer[T any](value any) *T {
	if v, ok := value.(T); ok {
		return &v
	}
	return nil
}

// A Setting is one key of a config file. Its value is nil, a bool, int, float64 or string, a
// []any or a *Dict. Line is 0 when it is not known.
type Setting struct {
	Key   string
	Value any
	Line  int
}

// config reads the file of --config: true gives a flag, false its --no- form where there is one, a list
// the words of a list, an object JSON. Keys are names in full, with _ or -.
func (r *parse) config(path string) ([]assignment, []piece, error) {
	settings, err := r.ReadConfig(path)
	if err != nil {
		return nil, nil, r.fail("argument --config: %s", err)
	}
	var given []assignment
	var pieces []piece
	for _, s := range settings {
		place := path
		if s.Line > 0 {
			place = fmt.Sprintf("%s:%d", path, s.Line)
		}
		name := dashed("--" + strings.TrimLeft(s.Key, "-"))
		head, keys, isDotted := strings.Cut(name, ".")
		o := r.named(head)
		if o == &helpOption || o == &configOption {
			return nil, nil, r.fail("%s: %s has no place in a config file", place, head)
		}
		if o == nil {
			hint := ""
			if near := r.nearest(head); near != "" {
				hint = fmt.Sprintf(" (did you mean %s?)", strings.TrimPrefix(near, "--"))
			}
			return nil, nil, r.fail("%s: unknown key %q%s", place, s.Key, hint)
		}
		if isDotted {
			if o.Type != JSON {
				return nil, nil, r.fail("%s: %s takes no keys", place, head)
			}
			pieces = append(pieces, piece{option: o, keys: strings.Split(keys, "."), value: s.Value, by: File})
			continue
		}
		value, isSet, err := r.setting(o, head, s.Value)
		if err != nil {
			return nil, nil, r.fail("%s: %s", place, err)
		}
		if isSet {
			given = append(given, assignment{o, value})
		}
	}
	return given, pieces, nil
}

// setting converts the value of a config file's key as if it stood on the command line. It is false
// where the file leaves the option alone.
func (p *Parser) setting(o *Option, name string, value any) (any, bool, error) {
	if value == nil {
		return nil, false, nil
	}
	on, isBool := value.(bool)
	list, isList := value.([]any)
	switch {
	case o.Action == StoreTrue || o.Action == OnOff:
		if !isBool {
			return nil, false, fmt.Errorf("argument %s: takes true or false, not %s", o.label(), Repr(value))
		}
		return on == (name == o.Flag), true, nil
	case o.Type == JSON:
		if text, ok := value.(string); ok {
			value, err := p.convert(o, []string{text})
			return value, true, err
		}
		return value, true, nil
	case o.Nargs == ZeroOrMore || o.Nargs == OneOrMore:
		if !isList {
			list = []any{value}
		}
		if o.Nargs == OneOrMore && len(list) == 0 {
			return nil, false, fmt.Errorf("argument %s: expected at least one argument", o.label())
		}
		words := make([]string, len(list))
		for i, element := range list {
			words[i] = Str(element)
		}
		value, err := p.convert(o, words)
		return value, true, err
	case isBool || isList:
		return nil, false, fmt.Errorf("argument %s: expected one argument, not %s", o.label(), Repr(value))
	}
	converted, err := p.convert(o, []string{Str(value)})
	return converted, true, err
}
