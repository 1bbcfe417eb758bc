package argparse

import (
	"slices"
	"strings"

	"servebench/internal/lazy"
)

// Parse reads the words after the command's name. Its error is an *Error or a *Help.
// Options' Into targets are set only when the whole line is right.
func (p *Parser) Parse(words []string) (*Values, error) {
	run := &parse{Parser: p, options: p.table()}
	words, err := run.prepare(words)
	if err != nil {
		return nil, err
	}
	if err := run.classify(words); err != nil {
		return nil, err
	}
	if err := run.consume(); err != nil {
		return nil, err
	}
	if missing := run.missing(); len(missing) > 0 {
		return nil, p.fail("the following arguments are required: %s", strings.Join(missing, ", "))
	}
	if len(run.extras) > 0 {
		return nil, p.fail("unrecognized arguments: %s%s", strings.Join(run.extras, " "), run.suggestion())
	}
	return run.finish()
}

// missing are the options that the command line lacks.
func (r *parse) missing() (names []string) {
	for _, o := range r.options {
		if o.Required && !slices.ContainsFunc(r.given, func(a assignment) bool { return a.option == o }) {
			names = append(names, o.label())
		}
	}
	return names
}

var (
	helpOption   = Option{Flag: "--help", Action: showHelp, Help: "Show this help; --help=all lists every option, --help=WORD searches."}
	configOption = Option{Flag: "--config", Metavar: "FILE", Extension: true,
		Help: "YAML file of options by name; the command line overrules it, it overrules the defaults."}
)

// table is every option the command line may name, help first as in argparse.
func (p *Parser) table() []*Option {
	table := append([]*Option{&helpOption}, p.Options...)
	if p.ReadConfig != nil {
		table = append(table, &configOption)
	}
	return table
}

// parse is one run over one command line.
type parse struct {
	*Parser
	options []*Option
	search  string // the word of --help=word
	given   []assignment
	dotted  []piece
	extras  []string
	tokens  []token
	warn    []string
}

// An assignment is an option as it was given, converted.
type assignment struct {
	option *Option
	value  any
}

// A token is a word of the command line and what it is: an option (with the value
// after its =), an unknown option, the -- that ends options, or a plain word.
type token struct {
	word     string
	kind     kind
	option   *Option
	name     string // the option's name in full
	explicit *string
	keys     []string // of a dotted option
	list     bool     // a dotted option with +
}

type kind byte

const (
	plain   kind = 'A'
	flagged kind = 'O'
	ends    kind = '-'
)

// prepare spells names with dashes and takes out what only the original's front end
// knows.
func (r *parse) prepare(words []string) ([]string, error) {
	out := make([]string, 0, len(words))
	for i, word := range words {
		if !r.Strict && word == "--" {
			out = append(out, words[i:]...)
			break
		}
		switch {
		case strings.HasPrefix(word, "--help="):
			r.search = strings.ToLower(strings.TrimPrefix(word, "--help="))
			if r.search == "" {
				r.search = "all"
			}
			out = append(out, "--help")
		case strings.HasPrefix(word, "--"):
			out = append(out, dashed(word))
		case r.Strict && strings.HasPrefix(word, "-O") && word != "-O":
			out = append(out, "--optimization-level", strings.TrimPrefix(word[2:], "="))
		case r.Strict && word == "-O" && i+1 < len(words) && slices.Contains([]string{"0", "1", "2", "3"}, words[i+1]):
			out = append(out, "--optimization-level")
		default:
			out = append(out, word)
		}
	}
	if r.Strict {
		return r.fold(out)
	}
	return out, nil
}

// dashed turns _ into - in an option's name up to its first dot. Keys behind the dot
// and the value behind = stay as they are.
func dashed(word string) string {
	name, value, hasValue := strings.Cut(word, "=")
	head, keys, hasKeys := strings.Cut(name, ".")
	name = strings.ReplaceAll(head, "_", "-")
	if hasKeys {
		name += "." + keys
	}
	if hasValue {
		name += "=" + value
	}
	return name
}

// classify decides for every word whether it is an option, before any is carried out:
// an ambiguous name is an error even behind another mistake.
func (r *parse) classify(words []string) error {
	r.tokens = make([]token, 0, len(words))
	for i, word := range words {
		if word == "--" {
			r.tokens = append(r.tokens, token{word: word, kind: ends})
			for _, rest := range words[i+1:] {
				r.tokens = append(r.tokens, token{word: rest, kind: plain})
			}
			return nil
		}
		t, err := r.option(word)
		if err != nil {
			return err
		}
		r.tokens = append(r.tokens, t)
	}
	return nil
}

// option is argparse's reading of one word.
func (r *parse) option(word string) (token, error) {
	t := token{word: word, kind: plain}
	if len(word) < 2 || word[0] != '-' {
		return t, nil
	}
	if o := r.named(word); o != nil {
		return token{word: word, kind: flagged, option: o, name: word}, nil
	}
	name, value, hasValue := strings.Cut(word, "=")
	var explicit *string
	if hasValue {
		explicit = &value
	}
	if !r.Strict && strings.HasPrefix(name, "--") && strings.Contains(name, ".") {
		return r.dottedOption(word, name, explicit)
	}
	o, full, err := r.resolve(name, word)
	if err != nil {
		return t, err
	}
	if o != nil {
		return token{word: word, kind: flagged, option: o, name: full, explicit: explicit}, nil
	}
	if word[1] != '-' {
		if o := r.named(word[:2]); o != nil { // its value, or more letters, follow at once
			rest := word[2:]
			return token{word: word, kind: flagged, option: o, name: word[:2], explicit: &rest}, nil
		}
	}
	if r.isNegative(word) || strings.Contains(word, " ") {
		return t, nil
	}
	return token{word: word, kind: flagged}, nil
}

func (r *parse) named(name string) *Option {
	for _, o := range r.options {
		if slices.Contains(o.Names(), name) {
			return o
		}
	}
	return nil
}

// resolve finds the one option whose name begins with the given text, or none. Word is what
// an error calls it.
func (r *parse) resolve(name, word string) (*Option, string, error) {
	if o := r.named(name); o != nil {
		return o, name, nil
	}
	if !strings.HasPrefix(name, "--") {
		return nil, "", nil
	}
	for _, extension := range []bool{false, true} {
		var found *Option
		var names []string
		for _, o := range r.options {
			for _, n := range o.Names() {
				if o.Extension == extension && strings.HasPrefix(n, name) {
					found, names = o, append(names, n)
				}
			}
		}
		if len(names) == 1 {
			return found, names[0], nil
		}
		if len(names) > 1 {
			return nil, "", r.fail("ambiguous option: %s could match %s", word, strings.Join(names, ", "))
		}
	}
	return nil, "", nil
}

var negative = lazy.Regexp(`^-\d+$|^-\d*\.\d+$`)

// isNegative says that a word which begins with - is a number and so a value. Strictly
// only plain decimals are; else whatever float() takes, so that -1e-3 and -inf are values too.
func (r *parse) isNegative(word string) bool {
	if negative().MatchString(word) {
		return true
	}
	_, err := ParseFloat(word)
	return !r.Strict && err == nil
}

// consume carries the options out from left to right.
func (r *parse) consume() error {
	for i := 0; i < len(r.tokens); {
		t := r.tokens[i]
		if t.kind != flagged {
			r.extras = append(r.extras, t.word)
			i++
			continue
		}
		if t.option == nil {
			r.extras = append(r.extras, t.word)
			i++
			continue
		}
		t, err := r.letters(t)
		if err != nil {
			return err
		}
		words, next, err := r.arguments(t, i+1)
		if err != nil {
			return err
		}
		if err := r.take(t, words); err != nil {
			return err
		}
		i = next
	}
	return nil
}

// letters carries out the switches that stand together behind one dash, all but the last of which t becomes.
func (r *parse) letters(t token) (token, error) {
	for t.explicit != nil && *t.explicit != "" && !t.option.takesWords() && len(t.name) == 2 {
		name := "-" + (*t.explicit)[:1]
		next := r.named(name)
		if next == nil {
			break // told as a value that nobody wants
		}
		if err := r.take(token{word: t.word, kind: flagged, option: t.option, name: t.name}, nil); err != nil {
			return t, err
		}
		rest := (*t.explicit)[1:]
		t = token{word: t.word, kind: flagged, option: next, name: name}
		if rest != "" {
			t.explicit = &rest
		}
	}
	return t, nil
}

// arguments are the words that belong to the option before position next.
func (r *parse) arguments(t token, next int) ([]string, int, error) {
	o := t.option
	least, most := 1, 1
	switch {
	case !o.takesWords():
		least, most = 0, 0
	case o.Nargs == ZeroOrMore:
		least, most = 0, len(r.tokens)
	case o.Nargs == OneOrMore:
		most = len(r.tokens)
	case o.Nargs == Optional:
		least = 0
	}
	if t.keys != nil {
		least, most = 1, 1
	}
	if t.explicit != nil {
		if most == 0 {
			return nil, 0, r.failAt(o, "ignored explicit argument %s", Repr(*t.explicit))
		}
		return []string{*t.explicit}, next, nil
	}
	var words []string
	for ; next < len(r.tokens) && len(words) < most && r.tokens[next].kind == plain; next++ {
		words = append(words, r.tokens[next].word)
	}
	if len(words) < least {
		what := "expected one argument"
		if o.Nargs == OneOrMore {
			what = "expected at least one argument"
		}
		if t.keys != nil {
			return nil, 0, r.fail("argument %s: expected one argument", t.word)
		}
		return nil, 0, r.failAt(o, "%s", what)
	}
	return words, next, nil
}

// take converts an option's words and notes the result.
func (r *parse) take(t token, words []string) error {
	o := t.option
	if t.keys != nil {
		r.dotted = append(r.dotted, piece{option: o, keys: t.keys, value: dottedValue(words[0], t.list), name: t.name, by: CommandLine})
		return nil
	}
	switch o.Action {
	case showHelp:
		return &Help{Text: r.help(r.search)}
	case StoreTrue:
		r.note(t, true)
		return nil
	case OnOff:
		r.note(t, t.name == o.Flag)
		return nil
	}
	value, err := r.convert(o, words)
	if err != nil {
		return err
	}
	if o.Action == Append {
		i := slices.IndexFunc(r.given, func(a assignment) bool { return a.option == o })
		if i >= 0 {
			r.given[i].value = append(r.given[i].value.([]any), value)
			return nil
		}
		value = []any{value}
	}
	r.note(t, value)
	return nil
}

// note keeps an option's value. When an option comes again the last one wins, which is seldom what was
// meant, so it is said.
func (r *parse) note(t token, value any) {
	r.given = append(r.given, assignment{t.option, value})
}

// convert is the value of an option's words: a list where the option takes one.
func (p *Parser) convert(o *Option, words []string) (any, error) {
	if o.Nargs == Optional && len(words) == 0 {
		return o.Const, nil
	}
	if o.Nargs == ZeroOrMore || o.Nargs == OneOrMore {
		if o.Type == String {
			return append([]string{}, words...), nil
		}
		list := []any{}
		for _, word := range words {
			value, err := p.convertWord(o, word)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	return p.convertWord(o, words[0])
}

func (p *Parser) convertWord(o *Option, word string) (any, error) {
	if meant, ok := o.Aliases[word]; ok && !p.Strict {
		word = meant
	}
	var value any = word
	var err error
	switch o.Type {
	case Int:
		value, err = ParseInt(word)
		if err == nil {
			if _, small := value.(int); !small {
				return nil, p.failAt(o, "int value out of range: %s", Repr(word))
			}
		}
	case Float:
		value, err = ParseFloat(word)
	case JSON:
		value, err = Loads(word)
	case Custom:
		value, err = o.Convert(word)
	}
	if err != nil {
		return nil, p.failAt(o, "invalid %s value: %s", o.typeName(), Repr(word))
	}
	if o.Choices != nil && !slices.Contains(o.Choices, word) {
		quoted := make([]string, len(o.Choices))
		for i, choice := range o.Choices {
			quoted[i] = Repr(choice)
		}
		return nil, p.failAt(o, "invalid choice: %s (choose from %s)", Repr(word), strings.Join(quoted, ", "))
	}
	return value, nil
}

// suggestion names the option that an unknown one may have meant.
func (r *parse) suggestion() string {
	if r.Strict {
		return ""
	}
	for _, extra := range r.extras {
		if !strings.HasPrefix(extra, "--") || len(extra) < 4 {
			continue
		}
		name, _, _ := strings.Cut(extra, "=")
		if near := r.nearest(name); near != "" {
			return " (did you mean " + near + "?)"
		}
	}
	return ""
}

// nearest is the option's name that differs least from name, at most by a third.
func (r *parse) nearest(name string) string {
	best, least := "", max(1, len(name)/3)
	for _, o := range r.options {
		for _, candidate := range o.Names() {
			if d := distance(name, candidate); d < least || d == least && best == "" {
				best, least = candidate, d
			}
		}
	}
	return best
}

// distance is the number of letters to change, add or drop to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
