package tokenizer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// compile makes a finder of a regular expression as tokenizer.json has it: in
// Oniguruma's (Ruby's) syntax. The well-known ones become splitters; others are
// rewritten for the engine we have. What cannot be rewritten is refused by name.
func compile(pattern string) (found, error) {
	if make, ok := knownSplitters[pattern]; ok {
		s := make()
		return found{find: splitterFinder(s), splitter: s}, nil
	}
	rewritten, err := rewriteRegex(pattern)
	if err != nil {
		return found{}, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re, err := regexp2.Compile(rewritten, regexp2.None)
	if err != nil {
		return found{}, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	return found{find: regexFinder(re)}, nil
}

// regexFinder lists the matches of re. An empty match right after a match does not
// count.
func regexFinder(re *regexp2.Regexp) finder {
	return func(text string) []stretch {
		runes := []rune(text)
		offsets := make([]int, len(runes)+1) // of runes in text
		for i, r := range runes {
			offsets[i+1] = offsets[i] + utf8.RuneLen(r)
		}
		var found stretches
		last := -1
		for at := 0; at <= len(runes); {
			m, err := re.FindRunesMatchStartingAt(runes, at)
			if err != nil || m == nil { // no timeout is set, and there is no other error
				break
			}
			if m.Length == 0 && m.Index == last {
				at++
				continue
			}
			at = m.Index + m.Length
			last = at
			found.add(offsets[m.Index], offsets[at])
		}
		return found.end(text)
	}
}

// rewriter turns Oniguruma's syntax into regexp2's (.NET's).
type rewriter struct {
	in   []rune
	at   int
	fold bool // inside (?i)
}

func rewriteRegex(pattern string) (string, error) {
	r := &rewriter{in: []rune(pattern)}
	out, err := r.alternatives()
	if err != nil {
		return "", err
	}
	if r.at < len(r.in) {
		return "", fmt.Errorf("unmatched ) at character %d", r.at)
	}
	return out, nil
}

func (r *rewriter) more() bool { return r.at < len(r.in) }

// accept takes text if it comes next.
func (r *rewriter) accept(text string) bool {
	n := 0
	for _, want := range text {
		if r.at+n >= len(r.in) || r.in[r.at+n] != want {
			return false
		}
		n++
	}
	r.at += n
	return true
}

func (r *rewriter) alternatives() (string, error) {
	fold := r.fold
	defer func() { r.fold = fold }()
	var out strings.Builder
	for {
		one, err := r.sequence()
		if err != nil {
			return "", err
		}
		out.WriteString(one)
		if !r.accept("|") {
			return out.String(), nil
		}
		out.WriteByte('|')
	}
}

func (r *rewriter) sequence() (string, error) {
	var out strings.Builder
	for r.more() && r.in[r.at] != '|' && r.in[r.at] != ')' {
		atom, err := r.atom()
		if err != nil {
			return "", err
		}
		for atom != "" {
			quantified, ok, err := r.quantifier(atom)
			if err != nil {
				return "", err
			}
			if !ok {
				break
			}
			atom = "(?:" + quantified + ")"
		}
		out.WriteString(atom)
	}
	return out.String(), nil
}

// quantifier applies the quantifier that comes next, if one does. A + behind makes
// it possessive, which .NET writes as an atomic group.
func (r *rewriter) quantifier(atom string) (string, bool, error) {
	if !r.more() {
		return atom, false, nil
	}
	how := string(r.in[r.at])
	braces := false
	switch r.in[r.at] {
	case '*', '+', '?':
		r.at++
	case '{':
		low, high, n, ok := braceOf(r.in[r.at:])
		if !ok {
			return atom, false, nil
		}
		if high != "" && low != "" && len(low) == len(high) && low > high || len(high) < len(low) && high != "" {
			return "", false, fmt.Errorf("repeat {%s,%s} is upside down", low, high)
		}
		r.at += n
		braces = true
		if low == "" {
			low = "0"
		}
		how = "{" + low + "," + high + "}"
		if low == high {
			how = "{" + low + "}"
		}
	default:
		return atom, false, nil
	}
	switch {
	case r.more() && r.in[r.at] == '?':
		r.at++
		if braces && !strings.Contains(how, ",") {
			return "(?:" + atom + how + ")?", true, nil // {n}? is an optional {n} here
		}
		return atom + how + "?", true, nil
	case !braces && r.more() && r.in[r.at] == '+':
		r.at++
		return "(?>" + atom + how + ")", true, nil
	}
	return atom + how, true, nil
}

// braceOf reads {n}, {n,}, {,m} or {n,m}; n is its length.
func braceOf(in []rune) (low, high string, n int, ok bool) {
	digits := func(i int) int {
		for i < len(in) && in[i] >= '0' && in[i] <= '9' {
			i++
		}
		return i
	}
	i := digits(1)
	low = string(in[1:i])
	high = low
	if i < len(in) && in[i] == ',' {
		j := digits(i + 1)
		high = string(in[i+1 : j])
		i = j
		if low == "" && high == "" {
			return "", "", 0, false
		}
	} else if low == "" {
		return "", "", 0, false
	}
	if i >= len(in) || in[i] != '}' || len(low) > 5 || len(high) > 5 {
		return "", "", 0, false
	}
	return low, high, i + 1, true
}

func (r *rewriter) atom() (string, error) {
	c := r.in[r.at]
	switch c {
	case '(':
		return r.group()
	case '[':
		r.at++
		return r.class()
	case '.':
		r.at++
		return `[^\n]`, nil
	case '^': // a line begins, but not behind the last line end
		r.at++
		return `(?:\A|(?<=\n)(?!\z))`, nil
	case '$':
		r.at++
		return `(?=\n|\z)`, nil
	case '\\':
		return r.escape()
	case '*', '+', '?':
		return "", fmt.Errorf("nothing to repeat at character %d", r.at)
	}
	r.at++
	return r.literal(c), nil
}

// literal is one character to be matched, written so that nothing of it is syntax.
func (r *rewriter) literal(c rune) string {
	if r.fold {
		switch c { // these fold to characters beyond ASCII
		case 's', 'S', 'ſ':
			return `[sSſ]`
		case 'k', 'K', '\u212A':
			return "[kK\u212A]"
		}
	}
	return quoteRune(c)
}

func quoteRune(c rune) string {
	if c < utf8.RuneSelf && !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
		return fmt.Sprintf(`\x%02X`, c)
	}
	return string(c)
}

func (r *rewriter) group() (string, error) {
	start := r.at
	r.at++
	open := "("
	fold := r.fold
	switch {
	case r.accept("?#"):
		for r.more() && r.in[r.at] != ')' {
			r.at++
		}
		if !r.accept(")") {
			return "", fmt.Errorf("comment at character %d has no end", start)
		}
		return "", nil
	case r.accept("?:"):
		open = "(?:"
	case r.accept("?="):
		open = "(?="
	case r.accept("?!"):
		open = "(?!"
	case r.accept("?>"):
		open = "(?>"
	case r.accept("?<="):
		open = "(?<="
	case r.accept("?<!"):
		open = "(?<!"
	case r.accept("?"):
		if r.more() && r.in[r.at] == '<' {
			name := r.at + 1
			for r.more() && r.in[r.at] != '>' {
				r.at++
			}
			if !r.accept(">") || r.at-1 == name {
				return "", fmt.Errorf("group name at character %d has no end", name)
			}
			open = "(?:"
			break
		}
		on := true
		for ; r.more() && r.in[r.at] != ':' && r.in[r.at] != ')'; r.at++ {
			switch c := r.in[r.at]; {
			case c == '-' && on:
				on = false
			case c == 'i':
				r.fold = on
			default:
				r.fold = fold
				return "", fmt.Errorf("group option %q is not supported", c)
			}
		}
		open = "(?-i:"
		if r.fold {
			open = "(?i:"
		}
		if r.accept(")") {
			// The option holds to the end of the group around it, alternatives too.
			body, err := r.alternatives()
			r.fold = fold
			return open + body + ")", err
		}
		if !r.accept(":") {
			return "", fmt.Errorf("group at character %d has no end", start)
		}
	}
	body, err := r.alternatives()
	r.fold = fold
	if err != nil {
		return "", err
	}
	if !r.accept(")") {
		return "", fmt.Errorf("group at character %d has no end", start)
	}
	if open == "(" {
		open = "(?:" // nothing refers to a capture
	}
	return open + body + ")", nil
}

// escape reads a backslash outside of a class.
func (r *rewriter) escape() (string, error) {
	if r.at+1 >= len(r.in) {
		return "", fmt.Errorf("ends in a backslash")
	}
	word := "[" + wordClass() + "]"
	switch r.in[r.at+1] {
	case 'b':
		r.at += 2
		return "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))", nil
	case 'B':
		r.at += 2
		return "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))", nil
	case 'A':
		r.at += 2
		return `\A`, nil
	case 'z':
		r.at += 2
		return `\z`, nil
	case 'Z':
		r.at += 2
		return `(?=\n?\z)`, nil
	}
	item, err := r.classEscape()
	if err != nil {
		return "", err
	}
	if item.isRune {
		return r.literal(item.low), nil
	}
	if item.nested != "" {
		return item.nested, nil
	}
	return "[" + item.text + "]", nil
}

// classItem is a member of a character class: one character, text that stands
// inside brackets, or a class of its own.
type classItem struct {
	isRune bool
	low    rune
	text   string
	nested string
}

// classEscape reads a backslash that means the same inside and outside of a class.
func (r *rewriter) classEscape() (classItem, error) {
	r.at++
	if !r.more() {
		return classItem{}, fmt.Errorf("ends in a backslash")
	}
	c := r.in[r.at]
	r.at++
	one := func(c rune) (classItem, error) { return classItem{isRune: true, low: c}, nil }
	switch c {
	case 'n':
		return one('\n')
	case 't':
		return one('\t')
	case 'r':
		return one('\r')
	case 'f':
		return one('\f')
	case 'v':
		return one('\v')
	case 'a':
		return one('\a')
	case 'e':
		return one(0x1B)
	case 's':
		return classItem{text: `\s`}, nil
	case 'S':
		return classItem{text: `\S`}, nil
	case 'd':
		return classItem{text: property("Nd", false)}, nil
	case 'D':
		return classItem{text: property("Nd", true)}, nil
	case 'w':
		return classItem{text: wordClass()}, nil
	case 'W':
		return classItem{nested: "[^" + wordClass() + "]"}, nil
	case 'h':
		return classItem{text: "0-9a-fA-F"}, nil
	case 'p', 'P':
		return r.property(c == 'P')
	case 'x':
		if r.accept("{") {
			return r.hex(8, "}")
		}
		return r.hex(2, "")
	case 'u':
		return r.hex(4, "")
	}
	if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
		return classItem{}, fmt.Errorf(`escape \%c is not supported`, c)
	}
	return one(c)
}

func (r *rewriter) hex(most int, end string) (classItem, error) {
	from := r.at
	for r.more() && r.at-from < most && strings.ContainsRune("0123456789abcdefABCDEF", r.in[r.at]) {
		r.at++
	}
	value, err := strconv.ParseInt(string(r.in[from:r.at]), 16, 32)
	if err != nil || end == "" && most == 4 && r.at-from != 4 || !r.accept(end) || !utf8.ValidRune(rune(value)) {
		return classItem{}, fmt.Errorf("character number at character %d is not valid", from)
	}
	return classItem{isRune: true, low: rune(value)}, nil
}

// longNames are the categories' names in full.
var longNames = map[string]string{
	"letter": "L", "mark": "M", "number": "N", "punctuation": "P", "symbol": "S", "separator": "Z", "other": "C",
	"uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm", "otherletter": "Lo",
	"nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me", "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No",
	"connectorpunctuation": "Pc", "dashpunctuation": "Pd", "openpunctuation": "Ps", "closepunctuation": "Pe",
	"initialpunctuation": "Pi", "finalpunctuation": "Pf", "otherpunctuation": "Po",
	"mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk", "othersymbol": "So",
	"spaceseparator": "Zs", "lineseparator": "Zl", "paragraphseparator": "Zp", "control": "Cc", "format": "Cf", "privateuse": "Co",
	"digit": "Nd",
}

// property reads {Name} or {^Name}.
func (r *rewriter) property(negated bool) (classItem, error) {
	if !r.accept("{") {
		return classItem{}, fmt.Errorf(`\p without {} is not supported`)
	}
	if r.accept("^") {
		negated = !negated
	}
	from := r.at
	for r.more() && r.in[r.at] != '}' {
		r.at++
	}
	name := string(r.in[from:r.at])
	if !r.accept("}") {
		return classItem{}, fmt.Errorf(`\p{%s has no end`, name)
	}
	plain := strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(name))
	if short, ok := longNames[plain]; ok {
		return classItem{text: property(short, negated)}, nil
	}
	if plain == "space" || plain == "whitespace" {
		if negated {
			return classItem{text: `\S`}, nil
		}
		return classItem{text: `\s`}, nil
	}
	for have := range unicode.Categories {
		// LC and Cn are groups the engine and the library disagree on.
		if strings.ToLower(have) == plain && len(have) <= 2 && have != "LC" && have != "Cn" && have != "C" {
			return classItem{text: property(have, negated)}, nil
		}
	}
	for have := range unicode.Scripts {
		if strings.ToLower(strings.ReplaceAll(have, "_", "")) == plain {
			return classItem{text: property(have, negated)}, nil
		}
	}
	return classItem{}, fmt.Errorf(`property \p{%s} is not known`, name)
}

// newMembers are what the library's Unicode has beyond Go's.
var newMembers = map[string][][]rune{
	"L": {newUpper, newLower, newModifier, newLetter}, "Lu": {newUpper}, "Ll": {newLower}, "Lm": {newModifier}, "Lo": {newLetter},
	"M": {newMark}, "N": {newNumber}, "Nd": {newDigit}, "P": {newPunctuation}, "S": {newSymbol}, "Han": {newHan},
}

// property is a Unicode property inside brackets.
func property(name string, negated bool) string {
	if negated {
		return `\P{` + name + `}`
	}
	var out strings.Builder
	out.WriteString(`\p{` + name + `}`)
	for _, list := range newMembers[name] {
		writeRanges(&out, list)
	}
	return out.String()
}

func writeRanges(out *strings.Builder, list []rune) {
	for i := 0; i < len(list); i += 2 {
		out.WriteString(quoteRune(list[i]))
		if list[i] != list[i+1] {
			out.WriteByte('-')
			out.WriteString(quoteRune(list[i+1]))
		}
	}
}

// wordClass is \w inside brackets, as the library has it: with superscripts and
// fractions of Latin-1, without the joiners.
func wordClass() string {
	var out strings.Builder
	out.WriteString(`\p{L}\p{M}\p{Nd}\p{Pc}\u00B2\u00B3\u00B9\u00BC-\u00BE`)
	i := slices.Index(wordOnly, 0x200C)
	writeRanges(&out, wordOnly[:i])
	writeRanges(&out, wordOnly[i+2:])
	return out.String()
}

// class reads a bracket expression behind its [ . Classes within classes are
// unions, && is intersection; .NET has neither, so they become alternatives and
// look-aheads.
func (r *rewriter) class() (string, error) {
	start := r.at
	negated := r.accept("^")
	var parts []string // operands of &&
	var items strings.Builder
	var nested []string
	finish := func() {
		all := nested
		if items.Len() > 0 {
			all = append([]string{"[" + items.String() + "]"}, nested...)
		}
		switch len(all) {
		case 0:
			parts = append(parts, `(?!)`)
		case 1:
			parts = append(parts, all[0])
		default:
			parts = append(parts, "(?:"+strings.Join(all, "|")+")")
		}
		items.Reset()
		nested = nil
	}
	for first := true; ; first = false {
		if !r.more() {
			return "", fmt.Errorf("class at character %d has no end", start-1)
		}
		if !first && r.accept("]") {
			break
		}
		if r.accept("&&") {
			finish()
			continue
		}
		if r.accept("[:") {
			item, err := r.posix()
			if err != nil {
				return "", err
			}
			items.WriteString(item)
			continue
		}
		if r.accept("[") {
			inner, err := r.class()
			if err != nil {
				return "", err
			}
			nested = append(nested, inner)
			continue
		}
		low, err := r.classMember()
		if err != nil {
			return "", err
		}
		if low.nested != "" {
			nested = append(nested, low.nested)
			continue
		}
		if !low.isRune {
			items.WriteString(low.text)
			continue
		}
		if r.at+1 < len(r.in) && r.in[r.at] == '-' && r.in[r.at+1] != ']' && !(r.in[r.at+1] == '[') {
			r.at++
			high, err := r.classMember()
			if err != nil {
				return "", err
			}
			if !high.isRune || high.low < low.low {
				return "", fmt.Errorf("range in the class at character %d is not valid", start-1)
			}
			items.WriteString(quoteRune(low.low) + "-" + quoteRune(high.low))
			r.foldInto(&items, low.low, high.low)
			continue
		}
		items.WriteString(quoteRune(low.low))
		r.foldInto(&items, low.low, low.low)
	}
	simple := len(parts) == 0 && len(nested) == 0 && items.Len() > 0
	if simple && negated {
		return "[^" + items.String() + "]", nil
	}
	finish()
	out := parts[len(parts)-1]
	if len(parts) > 1 {
		var all strings.Builder
		for _, part := range parts[:len(parts)-1] {
			all.WriteString("(?=" + part + ")")
		}
		out = "(?:" + all.String() + out + ")"
	}
	if negated {
		out = "(?:(?!" + out + `)[\s\S])`
	}
	return out, nil
}

func (r *rewriter) classMember() (classItem, error) {
	if r.in[r.at] == '\\' {
		if r.at+1 < len(r.in) && r.in[r.at+1] == 'b' {
			r.at += 2
			return classItem{isRune: true, low: '\b'}, nil
		}
		return r.classEscape()
	}
	c := r.in[r.at]
	r.at++
	return classItem{isRune: true, low: c}, nil
}

// foldInto adds what s and k fold to beyond ASCII.
func (r *rewriter) foldInto(items *strings.Builder, low, high rune) {
	if !r.fold {
		return
	}
	within := func(c rune) bool { return c >= low && c <= high }
	if within('s') || within('S') || within('ſ') {
		items.WriteString("sSſ")
	}
	if within('k') || within('K') || within('\u212A') {
		items.WriteString("kK\u212A")
	}
}

// posix reads the rest of [:name:].
func (r *rewriter) posix() (string, error) {
	negated := r.accept("^")
	from := r.at
	for r.more() && r.in[r.at] != ':' {
		r.at++
	}
	name := string(r.in[from:r.at])
	if !r.accept(":]") {
		return "", fmt.Errorf("class [:%s has no end", name)
	}
	switch {
	case name == "digit":
		return property("Nd", negated), nil
	case name == "cntrl":
		return property("Cc", negated), nil
	case name == "space" && negated:
		return `\S`, nil
	case name == "space":
		return `\s`, nil
	case name == "word" && !negated:
		return wordClass(), nil
	case name == "xdigit" && !negated:
		return "0-9a-fA-F", nil
	}
	return "", fmt.Errorf("class [:%s:] is not supported", name)
}
