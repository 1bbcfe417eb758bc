package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type jfilter func(s *jscope, v jvalue, args jargs) (jvalue, error)

// jinjaFilters are the filters there are. (Filled by a function: some call others
// by name.)
var jinjaFilters map[string]jfilter

func init() { jinjaFilters = filterTable() }

func filterTable() map[string]jfilter {
	text := func(f func(string) string) jfilter {
		return func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
			a := arguments{jargs: args}
			return f(str(v)), a.done()
		}
	}
	one := func(f func(jvalue) (jvalue, error)) jfilter {
		return func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
			a := arguments{jargs: args}
			if err := a.done(); err != nil {
				return nil, err
			}
			return f(v)
		}
	}
	table := map[string]jfilter{
		"trim":       filterTrim,
		"upper":      text(upper),
		"lower":      text(lowercase),
		"title":      text(filterTitle),
		"capitalize": text(capitalize),
		"string":     text(func(s string) string { return s }),
		"safe":       text(func(s string) string { return s }),
		"escape":     text(escapeHTML),
		"length":     one(lengthOf),
		"list": one(func(v jvalue) (jvalue, error) {
			items, err := iterate(v)
			return &jlist{items: items}, err
		}),
		"first":     one(func(v jvalue) (jvalue, error) { return edge(v, false) }),
		"last":      one(func(v jvalue) (jvalue, error) { return edge(v, true) }),
		"reverse":   one(reversed),
		"abs":       one(absolute),
		"wordcount": text(nil),
		"items": one(func(v jvalue) (jvalue, error) {
			if _, ok := v.(*jundefined); ok {
				return &jlist{}, nil
			}
			d, ok := v.(*jdict)
			if !ok {
				return nil, errors.New("can only get item pairs from a mapping")
			}
			return dictMethod(d, "items")(&arguments{})
		}),
		"tojson":     filterToJSON,
		"default":    filterDefault,
		"join":       filterJoin,
		"replace":    filterReplace,
		"int":        filterInt,
		"float":      filterFloat,
		"round":      filterRound,
		"indent":     filterIndent,
		"map":        filterMap,
		"select":     pick(false, true),
		"reject":     pick(false, false),
		"selectattr": pick(true, true),
		"rejectattr": pick(true, false),
		"sort":       filterSort,
		"unique":     filterUnique,
		"sum":        filterSum,
		"max":        extreme(1),
		"min":        extreme(-1),
		"batch":      filterBatch,
		"groupby":    filterGroupBy,
		"dictsort":   filterDictSort,
		"attr": func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
			a := arguments{jargs: args}
			name := a.text("name", nil)
			if err := a.done("name"); err != nil {
				return nil, err
			}
			if _, isDict := v.(*jdict); isDict {
				if m := method(v, name); m != nil {
					return m, nil
				}
				return &jundefined{"dict object has no attribute " + name}, nil
			}
			return attribute(v, name)
		},
		"format": func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
			return formatPercent(str(v), &jlist{items: args.pos, tuple: true})
		},
	}
	table["wordcount"] = func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
		n := int64(0)
		in := false
		for _, r := range str(v) {
			word := isWord(r)
			if word && !in {
				n++
			}
			in = word
		}
		return n, nil
	}
	table["count"] = table["length"]
	table["d"] = table["default"]
	table["e"] = table["escape"]
	return table
}

func filterTrim(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	chars := a.take("chars", nil)
	if err := a.done("chars"); err != nil {
		return nil, err
	}
	if cut, ok := chars.(string); ok {
		return strings.Trim(str(v), cut), nil
	}
	return strings.TrimFunc(str(v), isPythonSpace), nil
}

// filterTitle begins words after space and some brackets, unlike str.title.
func filterTitle(s string) string {
	var out strings.Builder
	start := true
	for _, r := range s {
		if start {
			out.WriteString(strings.ToUpper(string(r)))
		} else {
			out.WriteString(lowercase(string(r)))
		}
		start = isPythonSpace(r) || strings.ContainsRune("-({[<", r)
	}
	return out.String()
}

func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

func lengthOf(v jvalue) (jvalue, error) {
	switch v := v.(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), nil
	case *jlist:
		return int64(len(v.items)), nil
	case *jdict:
		return int64(len(v.keys)), nil
	case *jundefined:
		return int64(0), nil
	}
	return nil, fmt.Errorf("object of type '%s' has no len()", typeName(v))
}

func edge(v jvalue, last bool) (jvalue, error) {
	items, err := iterate(v)
	switch {
	case err != nil:
		return nil, err
	case len(items) == 0:
		return &jundefined{"No first item, sequence was empty."}, nil
	case last:
		return items[len(items)-1], nil
	}
	return items[0], nil
}

func reversed(v jvalue) (jvalue, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	items = slices.Clone(items)
	slices.Reverse(items)
	if _, ok := v.(string); ok {
		var out strings.Builder
		for _, item := range items {
			out.WriteString(item.(string))
		}
		return out.String(), nil
	}
	return &jlist{items: items}, nil
}

func absolute(v jvalue) (jvalue, error) {
	i, f, isInt, ok := number(v)
	switch {
	case !ok:
		return nil, fmt.Errorf("bad operand type: '%s'", typeName(v))
	case isInt:
		return max(i, -i), nil
	}
	return math.Abs(f), nil
}

func filterToJSON(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	style := jsonStyle{item: ", ", key: ": "}
	style.ascii = truth(a.take("ensure_ascii", false))
	switch indent := a.take("indent", nil).(type) {
	case nil:
	case string:
		style.indent, style.indented = indent, true
	default:
		n, _, isInt, ok := number(indent)
		if !ok || !isInt || n > 100 {
			return nil, errors.New("indent must be a small integer or a string")
		}
		style.indent, style.indented = strings.Repeat(" ", int(max(n, 0))), true
	}
	if style.indented {
		style.item = ","
	}
	if separators := a.take("separators", nil); separators != nil {
		list, ok := separators.(*jlist)
		if !ok || len(list.items) != 2 {
			return nil, errors.New("separators must be two strings")
		}
		style.item, style.key = str(list.items[0]), str(list.items[1])
	}
	style.sorted = truth(a.take("sort_keys", false))
	if err := a.done("ensure_ascii", "indent", "separators", "sort_keys"); err != nil {
		return nil, err
	}
	var out strings.Builder
	if err := writeJSON(&out, v, style, 0); err != nil {
		return nil, err
	}
	return out.String(), nil
}

func filterDefault(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	usual, boolean := a.take("default_value", ""), truth(a.take("boolean", false))
	_, undefined := v.(*jundefined)
	if undefined || boolean && !truth(v) {
		v = usual
	}
	return v, a.done("default_value", "boolean")
}

func filterJoin(s *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	with, attr := str(a.take("d", "")), a.take("attribute", nil)
	if err := a.done("d", "attribute"); err != nil {
		return nil, err
	}
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	for i, item := range items {
		if attr != nil {
			if item, err = follow(item, attr); err != nil {
				return nil, err
			}
		}
		parts[i] = str(item)
	}
	return strings.Join(parts, with), nil
}

func filterReplace(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	old, with, count := str(a.take("old", nil)), str(a.take("new", nil)), a.take("count", nil)
	n := -1
	if c, _, isInt, ok := number(count); ok && isInt {
		n = int(c)
	}
	return strings.Replace(str(v), old, with, n), a.done("old", "new", "count")
}

func filterInt(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	usual, base := a.take("default", int64(0)), a.int("base", 10)
	if err := a.done("default", "base"); err != nil {
		return nil, err
	}
	if i, f, isInt, ok := number(v); ok {
		switch {
		case isInt:
			return i, nil
		case math.IsNaN(f) || math.Abs(f) >= 1<<62:
			return usual, nil
		}
		return int64(f), nil
	}
	s, ok := v.(string)
	if !ok {
		return usual, nil
	}
	s = strings.TrimFunc(s, isPythonSpace)
	if i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), base, 64); err == nil {
		return i, nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<62 {
		return int64(f), nil
	}
	return usual, nil
}

func filterFloat(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	usual := a.take("default", 0.0)
	if _, f, _, ok := number(v); ok {
		return f, a.done("default")
	}
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimFunc(s, isPythonSpace), 64); err == nil {
			return f, a.done("default")
		}
	}
	return usual, a.done("default")
}

func filterRound(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	digits, how := a.int("precision", 0), a.text("method", "common")
	if err := a.done("precision", "method"); err != nil {
		return nil, err
	}
	i, f, isInt, ok := number(v)
	if !ok {
		return nil, fmt.Errorf("'%s' cannot be rounded", typeName(v))
	}
	if digits < -300 || digits > 300 {
		return nil, errors.New("precision is out of range")
	}
	switch how {
	case "common":
		if isInt && digits >= 0 {
			return i, nil
		}
		out, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', max(digits, 0), 64), 64)
		if digits < 0 {
			scale := math.Pow(10, float64(-digits))
			out = math.RoundToEven(f/scale) * scale
		}
		return out, err
	case "ceil", "floor":
		scale := math.Pow(10, float64(digits))
		if how == "ceil" {
			return math.Ceil(f*scale) / scale, nil
		}
		return math.Floor(f*scale) / scale, nil
	}
	return nil, errors.New("method must be common, ceil or floor")
}

func filterIndent(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	width, first, blank := a.take("width", int64(4)), truth(a.take("first", false)), truth(a.take("blank", false))
	if err := a.done("width", "first", "blank"); err != nil {
		return nil, err
	}
	by, ok := width.(string)
	if !ok {
		n, _, isInt, ok := number(width)
		if !ok || !isInt || n > 1000 {
			return nil, errors.New("width must be a small integer or a string")
		}
		by = strings.Repeat(" ", int(max(n, 0)))
	}
	lines := splitLines(str(v)+"\n", false)
	for i, line := range lines {
		if i == 0 && first || i > 0 && (line != "" || blank) {
			lines[i] = by + line
		}
	}
	return strings.Join(lines, "\n"), nil
}

// follow follows an attribute such as "function.name" or 0.
func follow(v jvalue, attr jvalue) (jvalue, error) {
	name, ok := attr.(string)
	if !ok {
		return subscript(v, attr)
	}
	for part := range strings.SplitSeq(name, ".") {
		key := jvalue(part)
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			key = n
		}
		var err error
		if v, err = subscript(v, key); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func filterMap(s *jscope, v jvalue, args jargs) (jvalue, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	out := &jlist{}
	if i := slices.Index(args.names, "attribute"); i >= 0 && len(args.pos) == 0 {
		for _, item := range items {
			got, err := follow(item, args.named[i])
			if err != nil {
				return nil, err
			}
			if _, undefined := got.(*jundefined); undefined {
				if d := slices.Index(args.names, "default"); d >= 0 {
					got = args.named[d]
				}
			}
			out.items = append(out.items, got)
		}
		return out, nil
	}
	if len(args.pos) == 0 {
		return nil, errors.New("requires a filter argument")
	}
	name := str(args.pos[0])
	filter, ok := jinjaFilters[name]
	if !ok {
		return nil, fmt.Errorf("filter %q is not supported", name)
	}
	rest := args
	rest.pos = args.pos[1:]
	for _, item := range items {
		got, err := filter(s, item, rest)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, got)
	}
	return out, nil
}

// pick is select, reject and their attr forms.
func pick(byAttr, keep bool) jfilter {
	return func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
		items, err := iterate(v)
		if err != nil {
			return nil, err
		}
		rest := args.pos
		var attr jvalue
		if byAttr {
			if len(rest) == 0 {
				return nil, errors.New("missing parameter for attribute name")
			}
			attr, rest = rest[0], rest[1:]
		}
		test := func(v jvalue, _ []jvalue) (bool, error) { return truth(v), nil }
		if len(rest) > 0 {
			name := str(rest[0])
			var ok bool
			if test, ok = jinjaTests[name]; !ok {
				return nil, fmt.Errorf("test %q is not supported", name)
			}
			rest = rest[1:]
		}
		out := &jlist{}
		for _, item := range items {
			what := item
			if byAttr {
				if what, err = follow(item, attr); err != nil {
					return nil, err
				}
			}
			ok, err := test(what, rest)
			if err != nil {
				return nil, err
			}
			if ok == keep {
				out.items = append(out.items, item)
			}
		}
		return out, nil
	}
}

// sortKey is what items are compared by: without regard to case unless asked.
func sortKey(item, attr jvalue, caseSensitive bool) (jvalue, error) {
	if attr != nil {
		var err error
		if item, err = follow(item, attr); err != nil {
			return nil, err
		}
	}
	if s, ok := item.(string); ok && !caseSensitive {
		return lowercase(s), nil
	}
	return item, nil
}

func sorted(items []jvalue, attr jvalue, caseSensitive, reverse bool) ([]jvalue, error) {
	keys := make([]jvalue, len(items))
	at := make([]int, len(items))
	for i, item := range items {
		at[i] = i
		var err error
		if keys[i], err = sortKey(item, attr, caseSensitive); err != nil {
			return nil, err
		}
	}
	var failed error
	sortStable(at, func(a, b int) bool {
		if reverse {
			a, b = b, a
		}
		n, err := order(keys[a], keys[b])
		if err != nil {
			failed = err
		}
		return n < 0
	})
	out := make([]jvalue, len(items))
	for i, j := range at {
		out[i] = items[j]
	}
	return out, failed
}

func filterSort(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	reverse, cased, attr := truth(a.take("reverse", false)), truth(a.take("case_sensitive", false)), a.take("attribute", nil)
	if err := a.done("reverse", "case_sensitive", "attribute"); err != nil {
		return nil, err
	}
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	items, err = sorted(items, attr, cased, reverse)
	return &jlist{items: items}, err
}

func filterUnique(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	cased, attr := truth(a.take("case_sensitive", false)), a.take("attribute", nil)
	if err := a.done("case_sensitive", "attribute"); err != nil {
		return nil, err
	}
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	out := &jlist{}
	seen := newDict()
	for _, item := range items {
		key, err := sortKey(item, attr, cased)
		if err != nil {
			return nil, err
		}
		if _, ok := seen.get(key); ok {
			continue
		}
		if err := seen.set(key, true); err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

func filterSum(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	attr, total := a.take("attribute", nil), a.take("start", int64(0))
	if err := a.done("attribute", "start"); err != nil {
		return nil, err
	}
	items, err := iterate(v)
	for _, item := range items {
		if attr != nil {
			if item, err = follow(item, attr); err != nil {
				return nil, err
			}
		}
		if total, err = arithmetic("+", total, item); err != nil {
			return nil, err
		}
	}
	return total, err
}

func extreme(sign int) jfilter {
	return func(_ *jscope, v jvalue, args jargs) (jvalue, error) {
		a := arguments{jargs: args}
		cased, attr := truth(a.take("case_sensitive", false)), a.take("attribute", nil)
		if err := a.done("case_sensitive", "attribute"); err != nil {
			return nil, err
		}
		items, err := iterate(v)
		if err != nil {
			return nil, err
		}
		best := jvalue(&jundefined{"No aggregated item, sequence was empty."})
		var bestKey jvalue
		for i, item := range items {
			key, err := sortKey(item, attr, cased)
			if err != nil {
				return nil, err
			}
			n := sign
			if i > 0 {
				if n, err = order(key, bestKey); err != nil {
					return nil, err
				}
			}
			if n*sign > 0 {
				best, bestKey = item, key
			}
		}
		return best, nil
	}
}

func filterBatch(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	n, fill := a.int("linecount", 0), a.take("fill_with", nil)
	if err := a.done("linecount", "fill_with"); err != nil {
		return nil, err
	}
	if n < 1 || n > mostRange {
		return nil, errors.New("linecount must be a small positive number")
	}
	items, err := iterate(v)
	out := &jlist{}
	for chunk := range slices.Chunk(items, n) {
		row := &jlist{items: slices.Clone(chunk)}
		for fill != nil && len(row.items) < n {
			row.items = append(row.items, fill)
		}
		out.items = append(out.items, row)
	}
	return out, err
}

func filterGroupBy(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	attr := a.take("attribute", nil)
	if err := a.done("attribute"); err != nil {
		return nil, err
	}
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	if items, err = sorted(items, attr, false, false); err != nil {
		return nil, err
	}
	out := &jlist{}
	var last jvalue
	var group *jlist
	for _, item := range items {
		key, err := sortKey(item, attr, false)
		if err != nil {
			return nil, err
		}
		if group == nil || !equal(key, last) {
			name, err := follow(item, attr)
			if err != nil {
				return nil, err
			}
			group = &jlist{}
			out.items = append(out.items, pairOf(name, group))
			last = key
		}
		group.items = append(group.items, item)
	}
	return out, nil
}

func filterDictSort(_ *jscope, v jvalue, args jargs) (jvalue, error) {
	a := arguments{jargs: args}
	cased, by, reverse := truth(a.take("case_sensitive", false)), a.text("by", "key"), truth(a.take("reverse", false))
	if err := a.done("case_sensitive", "by", "reverse"); err != nil {
		return nil, err
	}
	d, ok := v.(*jdict)
	if !ok {
		return nil, fmt.Errorf("'%s' is no dict", typeName(v))
	}
	attr := map[string]jvalue{"key": int64(0), "value": int64(1)}[by]
	if attr == nil {
		return nil, errors.New(`by must be "key" or "value"`)
	}
	pairs, err := dictMethod(d, "items")(&arguments{})
	if err != nil {
		return nil, err
	}
	items, err := sorted(pairs.(*jlist).items, attr, cased, reverse)
	return &jlist{items: items}, err
}

// jinjaTests are the tests there are.
var jinjaTests = func() map[string]func(jvalue, []jvalue) (bool, error) {
	kind := func(is func(jvalue) bool) func(jvalue, []jvalue) (bool, error) {
		return func(v jvalue, _ []jvalue) (bool, error) { return is(v), nil }
	}
	compare := func(op string) func(jvalue, []jvalue) (bool, error) {
		return func(v jvalue, args []jvalue) (bool, error) {
			if len(args) != 1 {
				return false, errors.New("needs one argument")
			}
			return compareValues(op, v, args[0])
		}
	}
	parity := func(want int64) func(jvalue, []jvalue) (bool, error) {
		return func(v jvalue, _ []jvalue) (bool, error) {
			n, err := arithmetic("%", v, int64(2))
			return err == nil && equal(n, want), err
		}
	}
	isType := func(names ...string) func(jvalue, []jvalue) (bool, error) {
		return kind(func(v jvalue) bool { return slices.Contains(names, typeName(v)) })
	}
	table := map[string]func(jvalue, []jvalue) (bool, error){
		"defined":   kind(func(v jvalue) bool { _, ok := v.(*jundefined); return !ok }),
		"undefined": isType("Undefined"),
		"none":      kind(func(v jvalue) bool { return v == nil }),
		"boolean":   isType("bool"),
		"true":      kind(func(v jvalue) bool { return v == true }),
		"false":     kind(func(v jvalue) bool { return v == false }),
		"integer":   isType("int"),
		"float":     isType("float"),
		"number":    isType("int", "float", "bool"),
		"string":    isType("str"),
		"mapping":   isType("dict"),
		"sequence":  isType("str", "list", "tuple", "dict", "Undefined"),
		"iterable":  isType("str", "list", "tuple", "dict", "Undefined"),
		"callable":  isType("function"),
		"lower":     kind(func(v jvalue) bool { s := str(v); return s == strings.ToLower(s) && s != strings.ToUpper(s) }),
		"upper":     kind(func(v jvalue) bool { s := str(v); return s == strings.ToUpper(s) && s != strings.ToLower(s) }),
		"even":      parity(0),
		"odd":       parity(1),
		"divisibleby": func(v jvalue, args []jvalue) (bool, error) {
			if len(args) != 1 {
				return false, errors.New("needs one argument")
			}
			n, err := arithmetic("%", v, args[0])
			return err == nil && equal(n, int64(0)), err
		},
		"sameas": func(v jvalue, args []jvalue) (bool, error) {
			if len(args) != 1 {
				return false, errors.New("needs one argument")
			}
			return typeName(v) == typeName(args[0]) && equal(v, args[0]), nil
		},
		"in": compare("in"),
		"eq": compare("=="), "ne": compare("!="), "lt": compare("<"), "le": compare("<="), "gt": compare(">"), "ge": compare(">="),
		"equalto": compare("=="), "lessthan": compare("<"), "greaterthan": compare(">"),
	}
	for _, op := range []string{"==", "!=", "<", "<=", ">", ">="} {
		table[op] = compare(op) // select('==', 1)
	}
	return table
}()

// jinjaGlobals are the functions a template can call.
var jinjaGlobals = map[string]func(*jstate, jargs) (jvalue, error){
	"namespace": func(_ *jstate, args jargs) (jvalue, error) {
		d, err := dictOf(args)
		return &jnamespace{d}, err
	},
	"dict": func(_ *jstate, args jargs) (jvalue, error) { return dictOf(args) },
	"range": func(_ *jstate, args jargs) (jvalue, error) {
		a := arguments{jargs: args}
		start, stop, step := 0, a.int("stop", 0), 1
		switch {
		case len(args.pos) == 0:
			return nil, errors.New("range expected at least 1 argument, got 0")
		case len(args.pos) > 1:
			start, stop = stop, a.int("stop", 0)
		}
		if len(args.pos) > 2 {
			step = a.int("step", 1)
		}
		if err := a.done(); err != nil {
			return nil, err
		}
		if step == 0 {
			return nil, errors.New("range() arg 3 must not be zero")
		}
		out := &jlist{}
		for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
			if len(out.items) >= mostRange {
				return nil, fmt.Errorf("range too big: the sandbox allows %d items", mostRange)
			}
			out.items = append(out.items, int64(i))
		}
		return out, nil
	},
	"raise_exception": func(_ *jstate, args jargs) (jvalue, error) {
		a := arguments{jargs: args}
		return nil, fmt.Errorf("the chat template says: %s", str(a.take("message", "")))
	},
	"strftime_now": func(s *jstate, args jargs) (jvalue, error) {
		a := arguments{jargs: args}
		format := a.text("format", nil)
		if err := a.done("format"); err != nil {
			return nil, err
		}
		return strftime(format, s.now())
	},
}

func dictOf(args jargs) (*jdict, error) {
	d := newDict()
	for _, v := range args.pos {
		if from, ok := v.(*jdict); ok {
			for i, key := range from.keys {
				if err := d.set(key, from.values[i]); err != nil {
					return nil, err
				}
			}
			continue
		}
		pairs, err := iterate(v)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			kv, err := iterate(p)
			if err != nil || len(kv) != 2 {
				return nil, errors.New("dict needs pairs")
			}
			if err := d.set(kv[0], kv[1]); err != nil {
				return nil, err
			}
		}
	}
	for i, name := range args.names {
		if err := d.set(name, args.named[i]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// strftime writes a time as C's strftime does, in English.
func strftime(format string, t time.Time) (string, error) {
	codes := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'B': "January", 'b': "Jan", 'h': "Jan",
		'A': "Monday", 'a': "Mon", 'p': "PM", 'I': "03", 'e': "_2", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'j': "002",
	}
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			out.WriteByte(format[i])
			continue
		}
		bare := i+2 < len(format) && format[i+1] == '-'
		if bare {
			i++
		}
		if i++; i >= len(format) {
			return "", errors.New("the format ends in %")
		}
		code, ok := codes[format[i]]
		switch {
		case format[i] == '%':
			out.WriteByte('%')
		case !ok:
			return "", fmt.Errorf("strftime code %%%c is not supported", format[i])
		case bare:
			out.WriteString(strings.TrimLeft(t.Format(code), "0 "))
		default:
			out.WriteString(t.Format(code))
		}
	}
	return out.String(), nil
}
