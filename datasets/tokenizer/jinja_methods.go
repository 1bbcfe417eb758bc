package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// args reads the arguments of a method or filter by name or position.
type arguments struct {
	jargs
	used int
	err  error
}

// take returns an argument, or usual when it was not given.
func (a *arguments) take(name string, usual jvalue) jvalue {
	at := a.used
	a.used++
	if at < len(a.pos) {
		return a.pos[at]
	}
	if i := slices.Index(a.names, name); i >= 0 {
		return a.named[i]
	}
	return usual
}

func (a *arguments) text(name string, usual jvalue) string {
	v := a.take(name, usual)
	s, ok := v.(string)
	if !ok && v != nil && a.err == nil {
		a.err = fmt.Errorf("%s must be a string, not %s", name, typeName(v))
	}
	return s
}

func (a *arguments) int(name string, usual int64) int {
	v := a.take(name, usual)
	i, _, isInt, ok := number(v)
	if (!ok || !isInt) && a.err == nil {
		a.err = fmt.Errorf("%s must be an integer, not %s", name, typeName(v))
	}
	return int(i)
}

// done refuses arguments nothing asked for. known are the names that were taken.
func (a *arguments) done(known ...string) error {
	if a.err != nil {
		return a.err
	}
	if len(a.pos) > a.used {
		return fmt.Errorf("takes %d arguments, got %d", a.used, len(a.pos))
	}
	for _, name := range a.names {
		if !slices.Contains(known, name) && name != "\x00caller" {
			return fmt.Errorf("argument %q is not supported", name)
		}
	}
	return nil
}

// changing are the methods that change a list or dict; the sandbox has none of them.
var changing = map[string][]string{
	"list": {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"},
	"dict": {"update", "pop", "popitem", "setdefault", "clear"},
}

// method is a Python method of a value, or nil.
func method(v jvalue, name string) jvalue {
	var call func(a *arguments) (jvalue, error)
	switch v := v.(type) {
	case string:
		call = stringMethod(v, name)
	case *jdict:
		call = dictMethod(v, name)
	case *jlist:
		call = listMethod(v, name)
	}
	if call != nil {
		return &jfunc{name, func(args jargs) (jvalue, error) {
			out, err := call(&arguments{jargs: args})
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", typeName(v), name, err)
			}
			return out, nil
		}}
	}
	if slices.Contains(changing[typeName(v)], name) {
		return &jundefined{fmt.Sprintf("access to attribute '%s' of '%s' object is unsafe", name, typeName(v))}
	}
	return nil
}

func dictMethod(d *jdict, name string) func(*arguments) (jvalue, error) {
	list := func(f func(i int) jvalue) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			out := &jlist{}
			for i := range d.keys {
				out.items = append(out.items, f(i))
			}
			return out, a.done()
		}
	}
	switch name {
	case "items":
		return list(func(i int) jvalue { return pairOf(d.keys[i], d.values[i]) })
	case "keys":
		return list(func(i int) jvalue { return d.keys[i] })
	case "values":
		return list(func(i int) jvalue { return d.values[i] })
	case "copy":
		return func(a *arguments) (jvalue, error) { return d, a.done() } // nothing can change it
	case "get":
		return func(a *arguments) (jvalue, error) {
			key, usual := a.take("key", nil), a.take("default", nil)
			if v, ok := d.get(key); ok {
				return v, a.done()
			}
			return usual, a.done()
		}
	}
	return nil
}

func pairOf(a, b jvalue) *jlist { return &jlist{items: []jvalue{a, b}, tuple: true} }

func listMethod(l *jlist, name string) func(*arguments) (jvalue, error) {
	switch name {
	case "index":
		return func(a *arguments) (jvalue, error) {
			want := a.take("value", nil)
			for i, item := range l.items {
				if equal(item, want) {
					return int64(i), a.done()
				}
			}
			return nil, fmt.Errorf("%s is not in list", repr(want))
		}
	case "count":
		return func(a *arguments) (jvalue, error) {
			want, n := a.take("value", nil), int64(0)
			for _, item := range l.items {
				if equal(item, want) {
					n++
				}
			}
			return n, a.done()
		}
	case "copy":
		if !l.tuple {
			return func(a *arguments) (jvalue, error) { return l, a.done() }
		}
	}
	return nil
}

func textList(parts []string) *jlist {
	out := &jlist{}
	for _, part := range parts {
		out.items = append(out.items, part)
	}
	return out
}

// splitSpace is str.split() without a separator.
func splitSpace(s string, most int, right bool) []string {
	words := strings.FieldsFunc(s, isPythonSpace)
	if most < 0 || len(words) <= most {
		return words
	}
	if right {
		rest := strings.TrimRightFunc(s, isPythonSpace)
		var tail []string
		for range most {
			cut := strings.LastIndexFunc(rest, isPythonSpace)
			_, size := utf8.DecodeRuneInString(rest[cut:])
			tail = append(tail, rest[cut+size:])
			rest = strings.TrimRightFunc(rest[:cut], isPythonSpace)
		}
		slices.Reverse(tail)
		return append([]string{strings.TrimLeftFunc(rest, isPythonSpace)}, tail...)
	}
	rest := strings.TrimLeftFunc(s, isPythonSpace)
	var head []string
	for range most {
		cut := strings.IndexFunc(rest, isPythonSpace)
		head = append(head, rest[:cut])
		rest = strings.TrimLeftFunc(rest[cut:], isPythonSpace)
	}
	return append(head, rest)
}

func stringMethod(s, name string) func(*arguments) (jvalue, error) {
	plain := func(f func(string) jvalue) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) { return f(s), a.done() }
	}
	trim := func(space func(string, func(rune) bool) string, cut func(string, string) string) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			chars := a.take("chars", nil)
			switch chars := chars.(type) {
			case nil:
				return space(s, isPythonSpace), a.done()
			case string:
				return cut(s, chars), a.done()
			}
			return nil, fmt.Errorf("arg must be None or str, not %s", typeName(chars))
		}
	}
	every := func(is func(rune) bool) func(*arguments) (jvalue, error) {
		return plain(func(s string) jvalue {
			return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
		})
	}
	ends := func(has func(string, string) bool) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			switch what := a.take("prefix", nil).(type) {
			case string:
				return has(s, what), a.done()
			case *jlist:
				for _, item := range what.items {
					if text, ok := item.(string); ok && has(s, text) {
						return true, a.done()
					}
				}
				return false, a.done()
			}
			return nil, errors.New("first arg must be str or a tuple of str")
		}
	}
	find := func(index func(string, string) int, must bool) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			at := index(s, a.text("sub", nil))
			if at < 0 {
				if must && a.err == nil {
					return nil, errors.New("substring not found")
				}
				return int64(-1), a.done()
			}
			return int64(utf8.RuneCountInString(s[:at])), a.done()
		}
	}
	split := func(right bool) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			sep, most := a.take("sep", nil), a.int("maxsplit", -1)
			if err := a.done("sep", "maxsplit"); err != nil {
				return nil, err
			}
			if sep == nil {
				return textList(splitSpace(s, most, right)), nil
			}
			text, ok := sep.(string)
			switch {
			case !ok:
				return nil, fmt.Errorf("must be str or None, not %s", typeName(sep))
			case text == "":
				return nil, errors.New("empty separator")
			case most < 0:
				return textList(strings.Split(s, text)), nil
			case !right:
				return textList(strings.SplitN(s, text, most+1)), nil
			}
			var tail []string
			rest := s
			for range most {
				cut := strings.LastIndex(rest, text)
				if cut < 0 {
					break
				}
				tail = append(tail, rest[cut+len(text):])
				rest = rest[:cut]
			}
			tail = append(tail, rest)
			slices.Reverse(tail)
			return textList(tail), nil
		}
	}
	pad := func(left, right func(gap int) int) func(*arguments) (jvalue, error) {
		return func(a *arguments) (jvalue, error) {
			width, fill := a.int("width", 0), a.text("fillchar", " ")
			gap := max(width-utf8.RuneCountInString(s), 0)
			if gap > mostRange || utf8.RuneCountInString(fill) != 1 {
				return nil, errors.New("a width this large, or a fill of more than one character, is not supported")
			}
			return strings.Repeat(fill, left(gap)) + s + strings.Repeat(fill, right(gap)), a.done()
		}
	}
	switch name {
	case "strip":
		return trim(strings.TrimFunc, strings.Trim)
	case "lstrip":
		return trim(strings.TrimLeftFunc, strings.TrimLeft)
	case "rstrip":
		return trim(strings.TrimRightFunc, strings.TrimRight)
	case "upper":
		return plain(func(s string) jvalue { return upper(s) })
	case "lower", "casefold":
		return plain(func(s string) jvalue { return lowercase(s) })
	case "title":
		return plain(func(s string) jvalue { return titleCase(s) })
	case "capitalize":
		return plain(func(s string) jvalue { return capitalize(s) })
	case "swapcase":
		return plain(func(s string) jvalue {
			return strings.Map(func(r rune) rune {
				if unicode.IsUpper(r) {
					return unicode.ToLower(r)
				}
				return unicode.ToUpper(r)
			}, s)
		})
	case "isdigit", "isdecimal", "isnumeric":
		return every(unicode.IsDigit)
	case "isalpha":
		return every(unicode.IsLetter)
	case "isalnum":
		return every(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	case "isspace":
		return every(isPythonSpace)
	case "isupper":
		return plain(func(s string) jvalue { return s == strings.ToUpper(s) && s != strings.ToLower(s) })
	case "islower":
		return plain(func(s string) jvalue { return s == strings.ToLower(s) && s != strings.ToUpper(s) })
	case "startswith":
		return ends(strings.HasPrefix)
	case "endswith":
		return ends(strings.HasSuffix)
	case "removeprefix":
		return func(a *arguments) (jvalue, error) { return strings.TrimPrefix(s, a.text("prefix", nil)), a.done() }
	case "removesuffix":
		return func(a *arguments) (jvalue, error) { return strings.TrimSuffix(s, a.text("suffix", nil)), a.done() }
	case "find":
		return find(strings.Index, false)
	case "rfind":
		return find(strings.LastIndex, false)
	case "index":
		return find(strings.Index, true)
	case "rindex":
		return find(strings.LastIndex, true)
	case "count":
		return func(a *arguments) (jvalue, error) { return int64(strings.Count(s, a.text("sub", nil))), a.done() }
	case "replace":
		return func(a *arguments) (jvalue, error) {
			old, with, count := a.text("old", nil), a.text("new", nil), a.int("count", -1)
			return strings.Replace(s, old, with, count), a.done("count")
		}
	case "split":
		return split(false)
	case "rsplit":
		return split(true)
	case "splitlines":
		return func(a *arguments) (jvalue, error) {
			keep := truth(a.take("keepends", false))
			return textList(splitLines(s, keep)), a.done("keepends")
		}
	case "partition", "rpartition":
		return func(a *arguments) (jvalue, error) {
			sep := a.text("sep", nil)
			if err := a.done(); err != nil || sep == "" {
				return nil, errors.Join(err, errors.New("empty separator"))
			}
			at := strings.Index(s, sep)
			if name == "rpartition" {
				at = strings.LastIndex(s, sep)
			}
			parts := []jvalue{s, "", ""}
			if at >= 0 {
				parts = []jvalue{s[:at], sep, s[at+len(sep):]}
			} else if name == "rpartition" {
				parts = []jvalue{"", "", s}
			}
			return &jlist{items: parts, tuple: true}, nil
		}
	case "join":
		return func(a *arguments) (jvalue, error) {
			items, err := iterate(a.take("iterable", nil))
			if err != nil {
				return nil, err
			}
			parts := make([]string, len(items))
			for i, item := range items {
				text, ok := item.(string)
				if !ok {
					return nil, fmt.Errorf("sequence item %d: expected str instance, %s found", i, typeName(item))
				}
				parts[i] = text
			}
			return strings.Join(parts, s), a.done()
		}
	case "format":
		return func(a *arguments) (jvalue, error) { return formatBraces(s, a.jargs) }
	case "ljust":
		return pad(func(int) int { return 0 }, func(gap int) int { return gap })
	case "rjust":
		return pad(func(gap int) int { return gap }, func(int) int { return 0 })
	case "center":
		return func(a *arguments) (jvalue, error) {
			width := a.int("width", 0)
			a.used = 0
			return pad(func(gap int) int { return gap/2 + gap&width&1 }, func(gap int) int { return gap - gap/2 - gap&width&1 })(a)
		}
	case "encode", "expandtabs", "isidentifier", "isprintable", "istitle", "maketrans", "translate", "zfill", "format_map":
		return func(*arguments) (jvalue, error) { return nil, errors.New("is not supported") }
	}
	return nil
}

// splitLines is str.splitlines.
func splitLines(s string, keep bool) []string {
	var out []string
	for len(s) > 0 {
		at := strings.IndexFunc(s, func(r rune) bool {
			return r >= '\n' && r <= '\r' || r >= 0x1C && r <= 0x1E || r == 0x85 || r == 0x2028 || r == 0x2029
		})
		if at < 0 {
			return append(out, s)
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			size = 2
		}
		if keep {
			out = append(out, s[:at+size])
		} else {
			out = append(out, s[:at])
		}
		s = s[at+size:]
	}
	return out
}

func sortStable(list []int, less func(a, b int) bool) {
	sort.SliceStable(list, func(i, j int) bool { return less(list[i], list[j]) })
}
