package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// jstate belongs to one rendering.
type jstate struct {
	out   *strings.Builder
	depth int
	now   func() time.Time
}

// jscope holds names. A loop's body, a macro's body and the like get a child; what
// they set does not leak.
type jscope struct {
	parent *jscope
	vars   map[string]jvalue
	state  *jstate
}

const (
	mostOutput = 64 << 20
	mostRange  = 100000 // the sandbox's MAX_RANGE
	mostDepth  = 200    // of macros that call macros
)

func (s *jscope) child() *jscope {
	return &jscope{parent: s, vars: map[string]jvalue{}, state: s.state}
}

func (s *jscope) set(name string, v jvalue) { s.vars[name] = v }

func (s *jscope) lookup(name string) (jvalue, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (s *jscope) get(name string) jvalue {
	if v, ok := s.lookup(name); ok {
		return v
	}
	if f, ok := jinjaGlobals[name]; ok {
		return &jfunc{name, func(args jargs) (jvalue, error) { return f(s.state, args) }}
	}
	return &jundefined{fmt.Sprintf("'%s' is undefined", name)}
}

func (s *jscope) write(text string) error {
	if s.state.out.Len()+len(text) > mostOutput {
		return fmt.Errorf("the text grows beyond %d bytes", mostOutput)
	}
	s.state.out.WriteString(text)
	return nil
}

// capture runs body in a scope of its own and returns what it writes.
func (s *jscope) capture(body jstmt) (string, error) {
	outer := s.state.out
	s.state.out = &strings.Builder{}
	err := body(s.child())
	text := s.state.out.String()
	s.state.out = outer
	return text, err
}

// loopControl is break or continue on its way to the loop.
type loopControl string

func (c loopControl) Error() string { return string(c) + " outside of a loop" }

func (t *jinjaTemplate) render(vars map[string]jvalue, now func() time.Time) (string, error) {
	state := &jstate{out: &strings.Builder{}, now: now}
	root := &jscope{vars: vars, state: state}
	if err := t.body(root); err != nil {
		return "", err
	}
	return state.out.String(), nil
}

// forLoop is a for statement.
type forLoop struct {
	assign    assigner
	list      jexpr
	test      jexpr
	body      jstmt
	otherwise jstmt
	recursive bool
}

// jloop is the loop variable.
type jloop struct {
	items   []jvalue
	at      int
	depth   int
	changed jvalue
	seen    bool
	again   func(jvalue) (jvalue, error) // for recursive loops
}

func (f *forLoop) run(s *jscope) error {
	v, err := f.list(s)
	if err != nil {
		return err
	}
	return f.over(s, v, 1)
}

func (f *forLoop) over(s *jscope, v jvalue, depth int) error {
	items, err := iterate(v)
	if err != nil {
		return err
	}
	if f.test != nil {
		var kept []jvalue
		for _, item := range items {
			inner := s.child()
			if err := f.assign(inner, item); err != nil {
				return err
			}
			ok, err := f.test(inner)
			if err != nil {
				return err
			}
			if truth(ok) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	loop := &jloop{items: items, depth: depth}
	if f.recursive {
		loop.again = func(v jvalue) (jvalue, error) {
			if depth > mostDepth {
				return nil, errors.New("a recursive loop goes too deep")
			}
			return s.capture(func(inner *jscope) error { return f.over(inner, v, depth+1) })
		}
	}
	for i, item := range items {
		loop.at = i
		inner := s.child()
		inner.set("loop", loop)
		if err := f.assign(inner, item); err != nil {
			return err
		}
		err := f.body(inner)
		if c, ok := err.(loopControl); ok {
			if c == "break" {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(items) == 0 && f.otherwise != nil {
		return f.otherwise(s.child())
	}
	return nil
}

func (l *jloop) attribute(name string) (jvalue, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.at + 1), true
	case "index0":
		return int64(l.at), true
	case "revindex":
		return int64(n - l.at), true
	case "revindex0":
		return int64(n - l.at - 1), true
	case "first":
		return l.at == 0, true
	case "last":
		return l.at == n-1, true
	case "length":
		return int64(n), true
	case "depth":
		return int64(l.depth), true
	case "depth0":
		return int64(l.depth - 1), true
	case "previtem":
		if l.at == 0 {
			return &jundefined{"there is no previous item"}, true
		}
		return l.items[l.at-1], true
	case "nextitem":
		if l.at == n-1 {
			return &jundefined{"there is no next item"}, true
		}
		return l.items[l.at+1], true
	case "cycle":
		return &jfunc{"cycle", func(args jargs) (jvalue, error) {
			if len(args.pos) == 0 {
				return nil, errors.New("no items for cycling given")
			}
			return args.pos[l.at%len(args.pos)], nil
		}}, true
	case "changed":
		return &jfunc{"changed", func(args jargs) (jvalue, error) {
			now := &jlist{items: args.pos, tuple: true}
			if l.seen && equal(l.changed, now) {
				return false, nil
			}
			l.changed, l.seen = now, true
			return true, nil
		}}, true
	}
	return nil, false
}

// bind makes a macro callable; it sees the names around its definition.
func (m *macro) bind(outer *jscope) *jfunc {
	return &jfunc{m.name, func(args jargs) (jvalue, error) {
		state := outer.state
		if state.depth++; state.depth > mostDepth {
			return nil, fmt.Errorf("macro %s: calls go too deep", m.name)
		}
		defer func() { state.depth-- }()
		inner := outer.child()
		given := map[string]jvalue{}
		kwargs := newDict()
		for i, name := range args.names {
			if name == "\x00caller" {
				inner.set("caller", args.named[i])
				continue
			}
			if slices.Contains(m.params, name) {
				given[name] = args.named[i]
			} else if err := kwargs.set(name, args.named[i]); err != nil {
				return nil, err
			}
		}
		for i, name := range m.params {
			if i < len(args.pos) {
				if _, twice := given[name]; twice {
					return nil, fmt.Errorf("macro %s got %s twice", m.name, name)
				}
				inner.set(name, args.pos[i])
				continue
			}
			v, ok := given[name]
			switch {
			case ok:
			case m.defaults[i] != nil:
				var err error
				if v, err = m.defaults[i](inner); err != nil {
					return nil, err
				}
			default:
				v = &jundefined{fmt.Sprintf("parameter '%s' was not provided", name)}
			}
			inner.set(name, v)
		}
		inner.set("kwargs", kwargs)
		inner.set("varargs", &jlist{tuple: true, items: args.pos[min(len(m.params), len(args.pos)):]})
		return inner.capture(m.body)
	}}
}

func callValue(s *jscope, f jvalue, args jargs) (jvalue, error) {
	switch f := f.(type) {
	case *jfunc:
		if caller, ok := s.vars["\x00caller"]; ok {
			args.names, args.named = append(args.names, "\x00caller"), append(args.named, caller)
		}
		return f.call(args)
	case *jloop:
		if f.again == nil || len(args.pos) != 1 {
			return nil, errors.New("loop can be called with one list, in a recursive loop")
		}
		return f.again(args.pos[0])
	case *jundefined:
		return nil, f.err()
	}
	return nil, fmt.Errorf("'%s' object is not callable", typeName(f))
}

// attribute is v.name: a method or attribute first, then an item.
func attribute(v jvalue, name string) (jvalue, error) {
	switch v := v.(type) {
	case *jundefined:
		return nil, v.err()
	case *jloop:
		if a, ok := v.attribute(name); ok {
			return a, nil
		}
	case *jnamespace:
		if a, ok := v.dict.get(name); ok {
			return a, nil
		}
	case *jdict:
		if m := method(v, name); m != nil {
			return m, nil
		}
		if item, ok := v.get(name); ok {
			return item, nil
		}
		return &jundefined{fmt.Sprintf("'dict object' has no attribute '%s'", name)}, nil
	default:
		if m := method(v, name); m != nil {
			return m, nil
		}
	}
	return &jundefined{fmt.Sprintf("'%s object' has no attribute '%s'", typeName(v), name)}, nil
}

// subscript is v[index]: an item first, then a method.
func subscript(v, index jvalue) (jvalue, error) {
	switch v := v.(type) {
	case *jundefined:
		return nil, v.err()
	case *jdict:
		if item, ok := v.get(index); ok {
			return item, nil
		}
	case *jlist:
		if i, _, isInt, ok := number(index); ok && isInt {
			if i < 0 {
				i += int64(len(v.items))
			}
			if i >= 0 && i < int64(len(v.items)) {
				return v.items[i], nil
			}
		}
	case string:
		if i, _, isInt, ok := number(index); ok && isInt {
			runes := []rune(v)
			if i < 0 {
				i += int64(len(runes))
			}
			if i >= 0 && i < int64(len(runes)) {
				return string(runes[i]), nil
			}
		}
	}
	if name, ok := index.(string); ok {
		if loop, ok := v.(*jloop); ok {
			return attribute(loop, name)
		}
		if m := method(v, name); m != nil {
			return m, nil
		}
		return &jundefined{fmt.Sprintf("'%s object' has no attribute '%s'", typeName(v), name)}, nil
	}
	return &jundefined{fmt.Sprintf("%s object has no element %s", typeName(v), repr(index))}, nil
}

// slice is v[start:stop:step].
func slice(v, start, stop, step jvalue) (jvalue, error) {
	var bounds [3]*int64
	for i, b := range []jvalue{start, stop, step} {
		if b == nil {
			continue
		}
		n, _, isInt, ok := number(b)
		if !ok || !isInt {
			return nil, fmt.Errorf("slice indices must be integers or None, not %s", typeName(b))
		}
		bounds[i] = &n
	}
	var runes []rune
	size := 0
	switch v := v.(type) {
	case string:
		runes = []rune(v)
		size = len(runes)
	case *jlist:
		size = len(v.items)
	case *jundefined:
		return nil, v.err()
	default:
		// jinja2 turns the failed subscript into an undefined value.
		return &jundefined{fmt.Sprintf("%s object has no slice", typeName(v))}, nil
	}
	by := int64(1)
	if bounds[2] != nil {
		if by = *bounds[2]; by == 0 {
			return nil, errors.New("slice step cannot be zero")
		}
	}
	n := int64(size)
	low, high := int64(0), n
	if by < 0 {
		low, high = -1, n-1
	}
	clip := func(b *int64, usual int64) int64 {
		if b == nil {
			return usual
		}
		i := *b
		if i < 0 {
			i = max(i+n, low)
		}
		return min(i, high)
	}
	first, last := clip(bounds[0], low), clip(bounds[1], high)
	if by < 0 {
		first, last = clip(bounds[0], high), clip(bounds[1], low)
	}
	var at []int
	for i := first; by > 0 && i < last || by < 0 && i > last; i += by {
		at = append(at, int(i))
	}
	if list, ok := v.(*jlist); ok {
		out := &jlist{tuple: list.tuple}
		for _, i := range at {
			out.items = append(out.items, list.items[i])
		}
		return out, nil
	}
	var out strings.Builder
	for _, i := range at {
		out.WriteRune(runes[i])
	}
	return out.String(), nil
}

func compareValues(op string, a, b jvalue) (bool, error) {
	switch op {
	case "==":
		return equal(a, b), nil
	case "!=":
		return !equal(a, b), nil
	case "in":
		return contains(b, a)
	case "not in":
		ok, err := contains(b, a)
		return !ok, err
	}
	n, err := order(a, b)
	if err != nil {
		return false, err
	}
	switch op {
	case "<":
		return n < 0, nil
	case "<=":
		return n <= 0, nil
	case ">":
		return n > 0, nil
	}
	return n >= 0, nil
}

func sign(v jvalue, negative bool) (jvalue, error) {
	i, f, isInt, ok := number(v)
	switch {
	case !ok:
		if u, undefined := v.(*jundefined); undefined {
			return nil, u.err()
		}
		return nil, fmt.Errorf("bad operand type for unary sign: '%s'", typeName(v))
	case isInt && negative:
		if i == math.MinInt64 {
			return nil, errTooLarge
		}
		return -i, nil
	case isInt:
		return i, nil
	case negative:
		return -f, nil
	}
	return f, nil
}

var errTooLarge = errors.New("an integer grows beyond 64 bits, which is not supported")

// arithmetic is a op b with Python's rules.
func arithmetic(op string, a, b jvalue) (jvalue, error) {
	if op == "~" {
		return str(a) + str(b), nil
	}
	for _, v := range []jvalue{a, b} {
		if u, ok := v.(*jundefined); ok {
			return nil, u.err()
		}
	}
	if text, ok := a.(string); ok && op == "%" {
		return formatPercent(text, b)
	}
	ai, af, aInt, aOK := number(a)
	bi, bf, bInt, bOK := number(b)
	if aOK && bOK {
		if aInt && bInt && op != "/" {
			return integers(op, ai, bi)
		}
		return floats(op, af, bf)
	}
	switch op {
	case "+":
		if x, ok := a.(string); ok {
			if y, ok := b.(string); ok {
				if len(x)+len(y) > mostOutput {
					return nil, fmt.Errorf("a string grows beyond %d bytes", mostOutput)
				}
				return x + y, nil
			}
			return nil, fmt.Errorf("can only concatenate str (not \"%s\") to str", typeName(b))
		}
		if x, ok := a.(*jlist); ok {
			if y, ok := b.(*jlist); ok && x.tuple == y.tuple {
				return &jlist{items: slices.Concat(x.items, y.items), tuple: x.tuple}, nil
			}
		}
	case "*":
		if aOK && aInt {
			return repeat(b, ai)
		}
		if bOK && bInt {
			return repeat(a, bi)
		}
	}
	return nil, fmt.Errorf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

func repeat(v jvalue, n int64) (jvalue, error) {
	n = max(n, 0)
	switch v := v.(type) {
	case string:
		if int64(len(v))*n > mostOutput || n > mostOutput {
			return nil, fmt.Errorf("a string grows beyond %d bytes", mostOutput)
		}
		return strings.Repeat(v, int(n)), nil
	case *jlist:
		if int64(len(v.items))*n > 1<<20 || n > 1<<20 {
			return nil, errors.New("a list grows too long")
		}
		return &jlist{items: slices.Repeat(v.items, int(n)), tuple: v.tuple}, nil
	}
	return nil, fmt.Errorf("cannot repeat '%s'", typeName(v))
}

func integers(op string, a, b int64) (jvalue, error) {
	switch op {
	case "+":
		if c := a + b; (c > a) == (b > 0) {
			return c, nil
		}
	case "-":
		if c := a - b; (c < a) == (b > 0) {
			return c, nil
		}
	case "*":
		if a == 0 || b == 0 {
			return int64(0), nil
		}
		if c := a * b; c/b == a && (a != -1 || b != math.MinInt64) && (b != -1 || a != math.MinInt64) {
			return c, nil
		}
	case "//", "%":
		if b == 0 {
			return nil, errors.New("integer division or modulo by zero")
		}
		if a == math.MinInt64 && b == -1 {
			return nil, errTooLarge
		}
		quotient, rest := a/b, a%b
		if rest != 0 && (rest < 0) != (b < 0) {
			quotient--
			rest += b
		}
		if op == "%" {
			return rest, nil
		}
		return quotient, nil
	case "**":
		if b < 0 {
			return floats(op, float64(a), float64(b))
		}
		result := jvalue(int64(1))
		for range min(b, 65) {
			var err error
			if result, err = integers("*", result.(int64), a); err != nil {
				return nil, err
			}
		}
		if b > 65 && a != 0 && a != 1 && a != -1 {
			return nil, errTooLarge
		}
		if a == -1 && b%2 == 0 {
			return int64(1), nil
		}
		return result, nil
	}
	return nil, errTooLarge
}

func floats(op string, a, b float64) (jvalue, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	case "**":
		return math.Pow(a, b), nil
	}
	if b == 0 {
		return nil, errors.New("division by zero")
	}
	if op == "/" {
		return a / b, nil
	}
	rest := math.Mod(a, b)
	if rest != 0 && (rest < 0) != (b < 0) {
		rest += b
	}
	if op == "%" {
		return rest, nil
	}
	return math.Round((a - rest) / b), nil
}

// formatPercent is Python's text % values.
func formatPercent(text string, values jvalue) (jvalue, error) {
	var list []jvalue
	dict, named := values.(*jdict)
	if tuple, ok := values.(*jlist); ok && tuple.tuple {
		list = tuple.items
	} else {
		list = []jvalue{values}
	}
	used := 0
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out.WriteByte(text[i])
			continue
		}
		if i++; i >= len(text) {
			return nil, errors.New("incomplete format")
		}
		if text[i] == '%' {
			out.WriteByte('%')
			continue
		}
		var value jvalue
		if text[i] == '(' {
			end := strings.IndexByte(text[i:], ')')
			if end < 0 || !named {
				return nil, errors.New("format requires a mapping")
			}
			v, ok := dict.get(text[i+1 : i+end])
			if !ok {
				return nil, fmt.Errorf("format has no value for %q", text[i+1:i+end])
			}
			value = v
			i += end + 1
		} else {
			if used >= len(list) {
				return nil, errors.New("not enough arguments for format string")
			}
			value = list[used]
			used++
		}
		spec := i
		for i < len(text) && strings.IndexByte("-+ #0123456789.", text[i]) >= 0 {
			i++
		}
		if i >= len(text) {
			return nil, errors.New("incomplete format")
		}
		flags := text[spec:i]
		if len(flags) > 8 {
			return nil, fmt.Errorf("format %%%s is not supported", flags)
		}
		number, f, isInt, isNumber := number(value)
		switch c := text[i]; c {
		case 's':
			fmt.Fprintf(&out, "%"+flags+"s", str(value))
		case 'r':
			fmt.Fprintf(&out, "%"+flags+"s", repr(value))
		case 'd', 'i', 'x', 'X', 'o':
			if !isNumber {
				return nil, fmt.Errorf("%%%c format: a number is required, not %s", c, typeName(value))
			}
			if !isInt {
				number = int64(f)
			}
			if c == 'i' {
				c = 'd'
			}
			fmt.Fprintf(&out, "%"+flags+string(c), number)
		case 'f', 'F', 'e', 'E', 'g', 'G':
			if !isNumber {
				return nil, fmt.Errorf("must be real number, not %s", typeName(value))
			}
			if (c == 'g' || c == 'G') && !strings.Contains(flags, ".") {
				flags += ".6"
			}
			fmt.Fprintf(&out, "%"+flags+string(c), f)
		default:
			return nil, fmt.Errorf("format %%%c is not supported", c)
		}
	}
	if used < len(list) && !named {
		return nil, errors.New("not all arguments converted during string formatting")
	}
	return out.String(), nil
}

// formatBraces is str.format for {}, {0} and {name} without a format behind a colon.
func formatBraces(text string, args jargs) (jvalue, error) {
	var out strings.Builder
	next := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{' && i+1 < len(text) && text[i+1] == '{', c == '}' && i+1 < len(text) && text[i+1] == '}':
			out.WriteByte(c)
			i++
		case c == '}':
			return nil, errors.New("single '}' encountered in format string")
		case c == '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return nil, errors.New("single '{' encountered in format string")
			}
			field := text[i+1 : i+end]
			i += end
			if strings.ContainsAny(field, ":!.[{") {
				return nil, fmt.Errorf("format field {%s} is not supported", field)
			}
			index := -1
			if field == "" {
				index = next
				next++
			} else if n, err := strconv.Atoi(field); err == nil {
				index = n
			}
			switch at := slices.Index(args.names, field); {
			case index >= 0 && index < len(args.pos):
				out.WriteString(str(args.pos[index]))
			case index < 0 && at >= 0:
				out.WriteString(str(args.named[at]))
			default:
				return nil, fmt.Errorf("format field {%s} has no value", field)
			}
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

// isTitleBreak tells where str.title begins a new word.
func titleCase(s string) string {
	var out strings.Builder
	inWord := false
	for _, r := range s {
		if inWord {
			out.WriteString(lowercase(string(r)))
		} else {
			out.WriteRune(unicode.ToTitle(r))
		}
		inWord = unicode.IsLetter(r)
	}
	return out.String()
}

func capitalize(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return strings.ToTitle(s[:size]) + lowercase(s[size:])
}

func upper(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "ß", "SS") }
