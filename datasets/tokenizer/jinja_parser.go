package tokenizer

import (
	"fmt"
	"slices"
)

// A jexpr computes a value, a jstmt writes to the output. Both are closures made by
// the parser.
type (
	jexpr func(*jscope) (jvalue, error)
	jstmt func(*jscope) error
)

type jinjaParser struct {
	tokens []jtoken
	at     int
	depth  int
}

// jinjaTemplate is a parsed template, safe for concurrent use.
type jinjaTemplate struct{ body jstmt }

func parseJinja(src string) (*jinjaTemplate, error) {
	tokens, err := lexJinja(src)
	if err != nil {
		return nil, err
	}
	p := &jinjaParser{tokens: tokens}
	body, err := p.body()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != "eof" {
		return nil, p.errorf("unknown tag %q", p.tokens[p.at].text)
	}
	return &jinjaTemplate{body}, nil
}

func (p *jinjaParser) peek() jtoken { return p.tokens[p.at] }

func (p *jinjaParser) next() jtoken {
	t := p.tokens[p.at]
	if t.kind != "eof" {
		p.at++
	}
	return t
}

func (p *jinjaParser) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", p.peek().line, fmt.Sprintf(format, args...))
}

func (p *jinjaParser) isOp(text string) bool {
	t := p.peek()
	return t.kind == "op" && t.text == text
}

func (p *jinjaParser) isName(text string) bool {
	t := p.peek()
	return t.kind == "name" && t.text == text
}

func (p *jinjaParser) op(text string) bool {
	if p.isOp(text) {
		p.at++
		return true
	}
	return false
}

func (p *jinjaParser) name(text string) bool {
	if p.isName(text) {
		p.at++
		return true
	}
	return false
}

func (t jtoken) String() string {
	switch t.kind {
	case "eof":
		return "the end of the template"
	case "end":
		return "the end of the tag"
	case "data", "begin":
		return "text"
	}
	return fmt.Sprintf("%q", t.text)
}

func (p *jinjaParser) wantOp(text string) error {
	if !p.op(text) {
		return p.errorf("expected %q, got %s", text, p.peek())
	}
	return nil
}

func (p *jinjaParser) wantName() (string, error) {
	t := p.peek()
	if t.kind != "name" {
		return "", p.errorf("expected a name, got %s", t)
	}
	p.at++
	return t.text, nil
}

func (p *jinjaParser) wantEnd() error {
	if t := p.peek(); t.kind != "end" {
		return p.errorf("expected the end of the tag, got %s", t)
	}
	p.at++
	return nil
}

// body reads up to a block tag of one of the names, whose name comes next.
func (p *jinjaParser) body(until ...string) (jstmt, error) {
	// Templates of strangers must not exhaust the stack.
	if p.depth++; p.depth > 200 {
		return nil, p.errorf("blocks are nested too deeply")
	}
	defer func() { p.depth-- }()
	var list []jstmt
	for {
		switch t := p.peek(); {
		case t.kind == "eof":
			if len(until) > 0 {
				return nil, p.errorf("unexpected end of template: missing %s", until[len(until)-1])
			}
			return sequence(list), nil
		case t.kind == "data":
			p.at++
			text := t.text
			list = append(list, func(s *jscope) error { return s.write(text) })
		case t.text == "variable":
			p.at++
			value, err := p.tuple(true)
			if err != nil {
				return nil, err
			}
			if err := p.wantEnd(); err != nil {
				return nil, err
			}
			list = append(list, at(t.line, func(s *jscope) error {
				v, err := value(s)
				if err != nil {
					return err
				}
				return s.write(str(v))
			}))
		default:
			p.at++
			tag, err := p.wantName()
			if err != nil {
				return nil, err
			}
			if slices.Contains(until, tag) {
				p.at--
				return sequence(list), nil
			}
			stmt, err := p.statement(tag)
			if err != nil {
				return nil, err
			}
			list = append(list, at(t.line, stmt))
		}
	}
}

// at puts the line before an error, once.
func at(line int, stmt jstmt) jstmt {
	return func(s *jscope) error {
		err := stmt(s)
		switch err.(type) {
		case nil, *jinjaError, loopControl:
			return err
		}
		return &jinjaError{line, err}
	}
}

type jinjaError struct {
	line int
	err  error
}

func (e *jinjaError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *jinjaError) Unwrap() error { return e.err }

func sequence(list []jstmt) jstmt {
	return func(s *jscope) error {
		for _, stmt := range list {
			if err := stmt(s); err != nil {
				return err
			}
		}
		return nil
	}
}

// block reads a body and the tag that ends it.
func (p *jinjaParser) block(end string) (jstmt, error) {
	body, err := p.body(end)
	if err != nil {
		return nil, err
	}
	p.at++
	return body, p.wantEnd()
}

func (p *jinjaParser) statement(tag string) (jstmt, error) {
	switch tag {
	case "if":
		return p.ifStatement()
	case "for":
		return p.forStatement()
	case "set":
		return p.setStatement()
	case "macro":
		return p.macroStatement()
	case "call":
		return p.callStatement()
	case "with":
		return p.withStatement()
	case "filter":
		return p.filterStatement()
	case "break", "continue":
		return func(*jscope) error { return loopControl(tag) }, p.wantEnd()
	case "generation":
		if err := p.wantEnd(); err != nil {
			return nil, err
		}
		body, err := p.block("endgeneration")
		return func(s *jscope) error { return body(s.child()) }, err
	}
	return nil, p.errorf("tag %q is not supported", tag)
}

func (p *jinjaParser) ifStatement() (jstmt, error) {
	test, err := p.tuple(false)
	if err != nil {
		return nil, err
	}
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	then, err := p.body("elif", "else", "endif")
	if err != nil {
		return nil, err
	}
	otherwise := jstmt(func(*jscope) error { return nil })
	switch tag := p.next().text; tag {
	case "elif":
		otherwise, err = p.ifStatement()
	case "else":
		if err := p.wantEnd(); err != nil {
			return nil, err
		}
		otherwise, err = p.block("endif")
	default:
		err = p.wantEnd()
	}
	return func(s *jscope) error {
		v, err := test(s)
		if err != nil {
			return err
		}
		if truth(v) {
			return then(s)
		}
		return otherwise(s)
	}, err
}

func (p *jinjaParser) forStatement() (jstmt, error) {
	assign, err := p.targets()
	if err != nil {
		return nil, err
	}
	if !p.name("in") {
		return nil, p.errorf("expected \"in\", got %s", p.peek())
	}
	f := &forLoop{assign: assign}
	if f.list, err = p.tuple(false, "recursive"); err != nil {
		return nil, err
	}
	if p.name("if") {
		if f.test, err = p.expression(); err != nil {
			return nil, err
		}
	}
	f.recursive = p.name("recursive")
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	if f.body, err = p.body("else", "endfor"); err != nil {
		return nil, err
	}
	if p.next().text == "else" {
		if err := p.wantEnd(); err != nil {
			return nil, err
		}
		if f.otherwise, err = p.block("endfor"); err != nil {
			return nil, err
		}
		return f.run, nil
	}
	return f.run, p.wantEnd()
}

// An assigner stores a value in names or a namespace.
type assigner func(*jscope, jvalue) error

// targets reads a name, namespace.name, or several with commas.
func (p *jinjaParser) targets() (assigner, error) {
	var list []assigner
	several := false
	for {
		if p.op("(") {
			inner, err := p.targets()
			if err != nil {
				return nil, err
			}
			if err := p.wantOp(")"); err != nil {
				return nil, err
			}
			list = append(list, inner)
		} else {
			name, err := p.wantName()
			if err != nil {
				return nil, err
			}
			if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, name) {
				return nil, p.errorf("cannot assign to %q", name)
			}
			if p.op(".") {
				attr, err := p.wantName()
				if err != nil {
					return nil, err
				}
				list = append(list, func(s *jscope, v jvalue) error {
					ns, ok := s.get(name).(*jnamespace)
					if !ok {
						return fmt.Errorf("cannot assign attribute on non-namespace object %q", name)
					}
					return ns.dict.set(attr, v)
				})
			} else {
				list = append(list, func(s *jscope, v jvalue) error {
					s.set(name, v)
					return nil
				})
			}
		}
		if !p.op(",") {
			break
		}
		several = true
		if p.isName("in") || p.isOp("=") || p.isOp(")") {
			break
		}
	}
	if !several {
		return list[0], nil
	}
	return func(s *jscope, v jvalue) error {
		items, err := iterate(v)
		if err != nil {
			return err
		}
		if len(items) != len(list) {
			return fmt.Errorf("%d values to unpack into %d names", len(items), len(list))
		}
		for i, assign := range list {
			if err := assign(s, items[i]); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (p *jinjaParser) setStatement() (jstmt, error) {
	assign, err := p.targets()
	if err != nil {
		return nil, err
	}
	if p.op("=") {
		value, err := p.tuple(true)
		if err != nil {
			return nil, err
		}
		return func(s *jscope) error {
			v, err := value(s)
			if err != nil {
				return err
			}
			return assign(s, v)
		}, p.wantEnd()
	}
	return p.filteredBlock("endset", assign)
}

func (p *jinjaParser) filterStatement() (jstmt, error) {
	p.at-- // turn "filter" into the | the expression parser knows
	p.tokens[p.at] = jtoken{kind: "op", text: "|", line: p.tokens[p.at].line}
	return p.filteredBlock("endfilter", func(s *jscope, v jvalue) error { return s.write(str(v)) })
}

// filteredBlock reads filters, the end of the tag and the body up to the tag end, and
// hands what the filters made of the body's text to use.
func (p *jinjaParser) filteredBlock(end string, use func(*jscope, jvalue) error) (jstmt, error) {
	filters, err := p.filters(func(s *jscope) (jvalue, error) { return s.get("\x00body"), nil })
	if err != nil {
		return nil, err
	}
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	body, err := p.block(end)
	return func(s *jscope) error {
		text, err := s.capture(body)
		if err != nil {
			return err
		}
		inner := s.child()
		inner.set("\x00body", text)
		v, err := filters(inner)
		if err != nil {
			return err
		}
		return use(s, v)
	}, err
}

func (p *jinjaParser) withStatement() (jstmt, error) {
	type binding struct {
		assign assigner
		value  jexpr
	}
	var list []binding
	for p.peek().kind != "end" {
		if len(list) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
		}
		assign, err := p.targets()
		if err != nil {
			return nil, err
		}
		if err := p.wantOp("="); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		list = append(list, binding{assign, value})
	}
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	body, err := p.block("endwith")
	return func(s *jscope) error {
		inner := s.child()
		for _, b := range list {
			v, err := b.value(s)
			if err != nil {
				return err
			}
			if err := b.assign(inner, v); err != nil {
				return err
			}
		}
		return body(inner)
	}, err
}

// macro is a template's own function.
type macro struct {
	name     string
	params   []string
	defaults []jexpr // nil: none
	body     jstmt
}

// signature reads (a, b=1).
func (p *jinjaParser) signature(m *macro) error {
	if err := p.wantOp("("); err != nil {
		return err
	}
	for !p.op(")") {
		if len(m.params) > 0 {
			if err := p.wantOp(","); err != nil {
				return err
			}
		}
		name, err := p.wantName()
		if err != nil {
			return err
		}
		var value jexpr
		if p.op("=") {
			if value, err = p.expression(); err != nil {
				return err
			}
		} else if n := len(m.defaults); n > 0 && m.defaults[n-1] != nil {
			return p.errorf("parameter %q without a default follows one that has one", name)
		}
		m.params = append(m.params, name)
		m.defaults = append(m.defaults, value)
	}
	return nil
}

func (p *jinjaParser) macroStatement() (jstmt, error) {
	name, err := p.wantName()
	if err != nil {
		return nil, err
	}
	m := &macro{name: name}
	if err := p.signature(m); err != nil {
		return nil, err
	}
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	m.body, err = p.block("endmacro")
	return func(s *jscope) error {
		s.set(name, m.bind(s))
		return nil
	}, err
}

func (p *jinjaParser) callStatement() (jstmt, error) {
	m := &macro{name: "caller"}
	if p.isOp("(") {
		if err := p.signature(m); err != nil {
			return nil, err
		}
	}
	start := p.at
	// The caller goes to the outermost call as a hidden argument.
	value, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.tokens[p.at-1].text != ")" || start == p.at {
		return nil, p.errorf("expected a call")
	}
	if err := p.wantEnd(); err != nil {
		return nil, err
	}
	m.body, err = p.block("endcall")
	return func(s *jscope) error {
		inner := s.child()
		inner.set("\x00caller", m.bind(s))
		v, err := value(inner)
		if err != nil {
			return err
		}
		return s.write(str(v))
	}, err
}

// tuple reads an expression, or several with commas between. A conditional
// expression is allowed where conditional is set.
func (p *jinjaParser) tuple(conditional bool, extraEnd ...string) (jexpr, error) {
	one := p.or
	if conditional {
		one = p.expression
	}
	first, err := one()
	if err != nil {
		return nil, err
	}
	if !p.isOp(",") {
		return first, nil
	}
	list := []jexpr{first}
	for p.op(",") {
		t := p.peek()
		if t.kind == "end" || p.isOp(")") || p.isName("in") || t.kind == "name" && slices.Contains(extraEnd, t.text) {
			break
		}
		item, err := one()
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return listOf(list, true), nil
}

func listOf(items []jexpr, tuple bool) jexpr {
	return func(s *jscope) (jvalue, error) {
		out := &jlist{items: make([]jvalue, len(items)), tuple: tuple}
		for i, item := range items {
			v, err := item(s)
			if err != nil {
				return nil, err
			}
			out.items[i] = v
		}
		return out, nil
	}
}

// expression reads a conditional expression: the widest there is.
func (p *jinjaParser) expression() (jexpr, error) {
	if p.depth++; p.depth > 200 {
		return nil, p.errorf("expressions are nested too deeply")
	}
	defer func() { p.depth-- }()
	value, err := p.or()
	if err != nil {
		return nil, err
	}
	for p.name("if") {
		test, err := p.or()
		if err != nil {
			return nil, err
		}
		otherwise := jexpr(func(*jscope) (jvalue, error) {
			return &jundefined{"the inline if-expression evaluated to false and no else section was defined"}, nil
		})
		if p.name("else") {
			if otherwise, err = p.expression(); err != nil {
				return nil, err
			}
		}
		then := value
		value = func(s *jscope) (jvalue, error) {
			v, err := test(s)
			if err != nil {
				return nil, err
			}
			if truth(v) {
				return then(s)
			}
			return otherwise(s)
		}
	}
	return value, nil
}

func (p *jinjaParser) or() (jexpr, error) {
	left, err := p.and()
	for err == nil && p.name("or") {
		var right jexpr
		right, err = p.and()
		left = short(left, right, true)
	}
	return left, err
}

func (p *jinjaParser) and() (jexpr, error) {
	left, err := p.not()
	for err == nil && p.name("and") {
		var right jexpr
		right, err = p.not()
		left = short(left, right, false)
	}
	return left, err
}

// short stops at the left value when its truth is stop.
func short(left, right jexpr, stop bool) jexpr {
	return func(s *jscope) (jvalue, error) {
		v, err := left(s)
		if err != nil || truth(v) == stop {
			return v, err
		}
		return right(s)
	}
}

func (p *jinjaParser) not() (jexpr, error) {
	if !p.name("not") {
		return p.compare()
	}
	if p.depth++; p.depth > 200 {
		return nil, p.errorf("expressions are nested too deeply")
	}
	defer func() { p.depth-- }()
	value, err := p.not()
	return func(s *jscope) (jvalue, error) {
		v, err := value(s)
		return !truth(v), err
	}, err
}

func (p *jinjaParser) compare() (jexpr, error) {
	first, err := p.sum()
	if err != nil {
		return nil, err
	}
	type link struct {
		op    string
		right jexpr
	}
	var chain []link
	for {
		op := ""
		for _, have := range []string{"==", "!=", "<", "<=", ">", ">="} {
			if p.isOp(have) {
				op = have
			}
		}
		switch {
		case op != "":
			p.at++
		case p.name("in"):
			op = "in"
		case p.isName("not") && p.tokens[p.at+1].kind == "name" && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		default:
			if len(chain) == 0 {
				return first, nil
			}
			return func(s *jscope) (jvalue, error) {
				left, err := first(s)
				if err != nil {
					return nil, err
				}
				for _, link := range chain {
					right, err := link.right(s)
					if err != nil {
						return nil, err
					}
					ok, err := compareValues(link.op, left, right)
					if err != nil || !ok {
						return false, err
					}
					left = right
				}
				return true, nil
			}, nil
		}
		right, err := p.sum()
		if err != nil {
			return nil, err
		}
		chain = append(chain, link{op, right})
	}
}

// binary reads a chain of one level of operators, from the left.
func (p *jinjaParser) binary(lower func() (jexpr, error), ops ...string) (jexpr, error) {
	left, err := lower()
	for err == nil {
		op := ""
		for _, have := range ops {
			if p.isOp(have) {
				op = have
			}
		}
		if op == "" {
			return left, nil
		}
		p.at++
		var right jexpr
		if right, err = lower(); err != nil {
			return nil, err
		}
		a, b := left, right
		left = func(s *jscope) (jvalue, error) {
			x, err := a(s)
			if err != nil {
				return nil, err
			}
			y, err := b(s)
			if err != nil {
				return nil, err
			}
			return arithmetic(op, x, y)
		}
	}
	return nil, err
}

func (p *jinjaParser) sum() (jexpr, error)     { return p.binary(p.concat, "+", "-") }
func (p *jinjaParser) concat() (jexpr, error)  { return p.binary(p.product, "~") }
func (p *jinjaParser) product() (jexpr, error) { return p.binary(p.power, "*", "/", "//", "%") }
func (p *jinjaParser) power() (jexpr, error) {
	return p.binary(func() (jexpr, error) { return p.unary(true) }, "**")
}

func (p *jinjaParser) unary(filtered bool) (jexpr, error) {
	if p.depth++; p.depth > 200 {
		return nil, p.errorf("expressions are nested too deeply")
	}
	defer func() { p.depth-- }()
	var value jexpr
	var err error
	switch {
	case p.isOp("-"), p.isOp("+"):
		negative := p.next().text == "-"
		inner, err := p.unary(false)
		if err != nil {
			return nil, err
		}
		value = func(s *jscope) (jvalue, error) {
			v, err := inner(s)
			if err != nil {
				return nil, err
			}
			return sign(v, negative)
		}
	default:
		if value, err = p.primary(); err != nil {
			return nil, err
		}
	}
	if value, err = p.postfix(value); err != nil || !filtered {
		return value, err
	}
	return p.filters(value)
}

func constant(v jvalue) jexpr { return func(*jscope) (jvalue, error) { return v, nil } }

func (p *jinjaParser) primary() (jexpr, error) {
	t := p.next()
	switch t.kind {
	case "name":
		switch t.text {
		case "true", "True":
			return constant(true), nil
		case "false", "False":
			return constant(false), nil
		case "none", "None":
			return constant(nil), nil
		}
		name := t.text
		return func(s *jscope) (jvalue, error) { return s.get(name), nil }, nil
	case "string":
		text := t.text
		for p.peek().kind == "string" {
			text += p.next().text
		}
		return constant(text), nil
	case "int":
		return constant(t.num), nil
	case "float":
		return constant(t.flt), nil
	case "op":
		switch t.text {
		case "(":
			if p.op(")") {
				return listOf(nil, true), nil
			}
			value, err := p.tuple(true)
			if err != nil {
				return nil, err
			}
			return value, p.wantOp(")")
		case "[":
			var items []jexpr
			for !p.op("]") {
				if len(items) > 0 {
					if err := p.wantOp(","); err != nil {
						return nil, err
					}
					if p.op("]") {
						break
					}
				}
				item, err := p.expression()
				if err != nil {
					return nil, err
				}
				items = append(items, item)
			}
			return listOf(items, false), nil
		case "{":
			return p.dict()
		}
	}
	p.at = max(p.at-1, 0)
	return nil, p.errorf("unexpected %s", t)
}

func (p *jinjaParser) dict() (jexpr, error) {
	var keys, values []jexpr
	for !p.op("}") {
		if len(keys) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
			if p.op("}") {
				break
			}
		}
		key, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.wantOp(":"); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		keys, values = append(keys, key), append(values, value)
	}
	return func(s *jscope) (jvalue, error) {
		out := newDict()
		for i := range keys {
			k, err := keys[i](s)
			if err != nil {
				return nil, err
			}
			v, err := values[i](s)
			if err != nil {
				return nil, err
			}
			if err := out.set(k, v); err != nil {
				return nil, err
			}
		}
		return out, nil
	}, nil
}

func (p *jinjaParser) postfix(value jexpr) (jexpr, error) {
	for {
		on := value
		switch {
		case p.op("."):
			t := p.next()
			switch t.kind {
			case "name":
				name := t.text
				value = func(s *jscope) (jvalue, error) {
					v, err := on(s)
					if err != nil {
						return nil, err
					}
					return attribute(v, name)
				}
			case "int":
				index := t.num
				value = func(s *jscope) (jvalue, error) {
					v, err := on(s)
					if err != nil {
						return nil, err
					}
					return subscript(v, index)
				}
			default:
				return nil, p.errorf("expected a name or a number after the dot")
			}
		case p.op("["):
			var err error
			if value, err = p.subscript(on); err != nil {
				return nil, err
			}
		case p.isOp("("):
			args, err := p.arguments()
			if err != nil {
				return nil, err
			}
			value = func(s *jscope) (jvalue, error) {
				f, err := on(s)
				if err != nil {
					return nil, err
				}
				a, err := args(s)
				if err != nil {
					return nil, err
				}
				return callValue(s, f, a)
			}
		default:
			return value, nil
		}
	}
}

// subscript reads what stands in [ ]: an index, or a slice.
func (p *jinjaParser) subscript(on jexpr) (jexpr, error) {
	var bounds [3]jexpr
	n, isSlice := 0, false
	for !p.isOp("]") {
		if p.op(":") {
			isSlice = true
			if n++; n > 2 {
				return nil, p.errorf("too many colons in a slice")
			}
			continue
		}
		var err error
		if bounds[n], err = p.expression(); err != nil {
			return nil, err
		}
		if !p.isOp(":") && !p.isOp("]") {
			return nil, p.errorf("expected \"]\", got %s", p.peek())
		}
	}
	p.at++
	if !isSlice {
		index := bounds[0]
		if index == nil {
			return nil, p.errorf("an index is missing")
		}
		return func(s *jscope) (jvalue, error) {
			v, err := on(s)
			if err != nil {
				return nil, err
			}
			i, err := index(s)
			if err != nil {
				return nil, err
			}
			return subscript(v, i)
		}, nil
	}
	return func(s *jscope) (jvalue, error) {
		v, err := on(s)
		if err != nil {
			return nil, err
		}
		var at [3]jvalue
		for i, bound := range bounds {
			if bound == nil {
				continue
			}
			if at[i], err = bound(s); err != nil {
				return nil, err
			}
		}
		return slice(v, at[0], at[1], at[2])
	}, nil
}

// arguments reads (a, b, c=d, *e, **f).
func (p *jinjaParser) arguments() (func(*jscope) (jargs, error), error) {
	if err := p.wantOp("("); err != nil {
		return nil, err
	}
	type argument struct {
		name  string
		stars int
		value jexpr
	}
	var list []argument
	for !p.op(")") {
		if len(list) > 0 {
			if err := p.wantOp(","); err != nil {
				return nil, err
			}
			if p.op(")") {
				break
			}
		}
		a := argument{}
		switch {
		case p.op("*"):
			a.stars = 1
		case p.op("**"):
			a.stars = 2
		case p.peek().kind == "name" && p.tokens[p.at+1].kind == "op" && p.tokens[p.at+1].text == "=":
			a.name = p.next().text
			p.at++
		default:
			if len(list) > 0 && list[len(list)-1].name != "" {
				return nil, p.errorf("a positional argument follows a named one")
			}
		}
		var err error
		if a.value, err = p.expression(); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return func(s *jscope) (jargs, error) {
		var out jargs
		for _, a := range list {
			v, err := a.value(s)
			if err != nil {
				return out, err
			}
			switch {
			case a.name != "":
				out.names, out.named = append(out.names, a.name), append(out.named, v)
			case a.stars == 1:
				items, err := iterate(v)
				if err != nil {
					return out, err
				}
				out.pos = append(out.pos, items...)
			case a.stars == 2:
				d, ok := v.(*jdict)
				if !ok {
					return out, fmt.Errorf("argument after ** must be a mapping, not %s", typeName(v))
				}
				for i, key := range d.keys {
					out.names, out.named = append(out.names, str(key)), append(out.named, d.values[i])
				}
			default:
				out.pos = append(out.pos, v)
			}
		}
		return out, nil
	}, nil
}

// filters reads | filter, is test, and calls of what they give.
func (p *jinjaParser) filters(value jexpr) (jexpr, error) {
	for {
		on := value
		switch {
		case p.op("|"):
			name, args, err := p.nameAndArguments()
			if err != nil {
				return nil, err
			}
			filter, ok := jinjaFilters[name]
			if !ok {
				return nil, p.errorf("filter %q is not supported", name)
			}
			value = func(s *jscope) (jvalue, error) {
				v, err := on(s)
				if err != nil {
					return nil, err
				}
				a, err := args(s)
				if err != nil {
					return nil, err
				}
				out, err := filter(s, v, a)
				if err != nil {
					return nil, fmt.Errorf("filter %s: %w", name, err)
				}
				return out, nil
			}
		case p.name("is"):
			negated := p.name("not")
			test, err := p.test()
			if err != nil {
				return nil, err
			}
			value = func(s *jscope) (jvalue, error) {
				v, err := on(s)
				if err != nil {
					return nil, err
				}
				ok, err := test(s, v)
				return ok != negated, err
			}
		case p.isOp("("):
			var err error
			if value, err = p.postfix(on); err != nil {
				return nil, err
			}
		default:
			return value, nil
		}
	}
}

func noArguments(*jscope) (jargs, error) { return jargs{}, nil }

func (p *jinjaParser) nameAndArguments() (string, func(*jscope) (jargs, error), error) {
	name, err := p.wantName()
	if err != nil {
		return "", nil, err
	}
	args := noArguments
	if p.isOp("(") {
		args, err = p.arguments()
	}
	return name, args, err
}

// test reads the name of a test and its argument, which may come without brackets.
func (p *jinjaParser) test() (func(*jscope, jvalue) (bool, error), error) {
	name, err := p.wantName()
	if err != nil {
		return nil, err
	}
	test, ok := jinjaTests[name]
	if !ok {
		return nil, p.errorf("test %q is not supported", name)
	}
	args := noArguments
	t := p.peek()
	bare := t.kind == "name" && !slices.Contains([]string{"else", "or", "and"}, t.text) ||
		t.kind == "string" || t.kind == "int" || t.kind == "float" || p.isOp("[") || p.isOp("{")
	switch {
	case p.isOp("("):
		if args, err = p.arguments(); err != nil {
			return nil, err
		}
	case p.isName("is"):
		return nil, p.errorf("tests cannot be chained with is")
	case bare:
		value, err := p.primary()
		if err != nil {
			return nil, err
		}
		if value, err = p.postfix(value); err != nil {
			return nil, err
		}
		args = func(s *jscope) (jargs, error) {
			v, err := value(s)
			return jargs{pos: []jvalue{v}}, err
		}
	}
	return func(s *jscope, v jvalue) (bool, error) {
		a, err := args(s)
		if err != nil {
			return false, err
		}
		ok, err := test(v, a.pos)
		if err != nil {
			return false, fmt.Errorf("test %s: %w", name, err)
		}
		return ok, nil
	}, nil
}
