package argparse

import (
	"fmt"
	"slices"
	"strings"
)

const (
	helpWidth  = 100
	helpColumn = 28
)

const jsonTip = `JSON options can be given key by key: --x.a.b 1 --x.c text is --x '{"a": {"b": 1}, "c": "text"}'.
A + appends to a list: --x.l+ 1,2. Numbers may end in k m g t (powers of 1000) or K M G T (powers of 1024).
`

// help is the text for --help (word empty) and --help=word: all, a group's title, or a part of a name.
func (r *parse) help(word string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "_", "-")
	var out strings.Builder
	switch {
	case word == "":
		r.writeHead(&out)
		fmt.Fprintf(&out, "\nGroups of options (--help=GROUP, --help=WORD, --help=all):\n")
		for _, g := range r.groups() {
			writeRow(&out, g.Title, g.Summary)
		}
		r.writeExample(&out)
		return out.String()
	case word == "all":
		r.writeHead(&out)
		for _, g := range r.groups() {
			r.writeGroup(&out, g)
		}
		out.WriteString("\n" + jsonTip)
		r.writeExample(&out)
		return out.String()
	}
	for _, g := range r.groups() {
		if strings.ToLower(g.Title) == word {
			r.writeGroup(&out, g)
			return out.String() + "\n" + jsonTip
		}
	}
	var found []*Option
	for _, o := range r.options {
		if strings.ToLower(o.Group) == word || slices.ContainsFunc(o.Names(), func(n string) bool { return strings.Contains(n, word) }) {
			found = append(found, o)
		}
	}
	if len(found) == 0 {
		return fmt.Sprintf("no group or option matches %q: --help lists the groups, --help=all every option\n", word)
	}
	fmt.Fprintf(&out, "Options matching %q:\n", word)
	for _, o := range found {
		r.writeOption(&out, o)
	}
	return out.String()
}

// groups are those of the table, with one for the options of every command in front.
func (r *parse) groups() []Group {
	groups := append([]Group{{"general", "help and config file"}}, r.Groups...)
	for _, o := range r.Options {
		if !slices.ContainsFunc(groups, func(g Group) bool { return g.Title == o.title() }) {
			groups = append(groups, Group{Title: o.title()})
		}
	}
	return groups
}

func (r *parse) writeHead(out *strings.Builder) {
	fmt.Fprintf(out, "%s\n", r.usage())
	if r.Summary != "" {
		out.WriteString("\n" + wrap(r.Summary, helpWidth, "") + "\n")
	}
}

func (r *parse) writeExample(out *strings.Builder) {
	if r.Example != "" {
		fmt.Fprintf(out, "\nExample:\n%s\n", strings.TrimRight(r.Example, "\n"))
	}
}

func (r *parse) writeGroup(out *strings.Builder, g Group) {
	fmt.Fprintf(out, "\n%s:\n", g.Title)
	if g.Summary != "" {
		out.WriteString("  " + wrap(g.Summary, helpWidth-2, "  ") + "\n")
	}
	for _, o := range r.options {
		general := o == &helpOption || o == &configOption
		if o.title() == g.Title && !general || general && g.Title == "general" {
			r.writeOption(out, o)
		}
	}
}

func (r *parse) writeOption(out *strings.Builder, o *Option) {
	names := strings.Join(o.Names(), ", ")
	text := o.Help
	if o.takesWords() {
		meta := o.Metavar
		choices := strings.Join(o.Choices, ",")
		switch {
		case len(choices) > helpWidth-2*helpColumn:
			meta = "NAME"
			text += " One of " + strings.Join(o.Choices, ", ") + "."
		case o.Choices != nil:
			meta = "{" + choices + "}"
		case meta == "":
			meta = [...]string{"TEXT", "N", "X", "JSON", "VALUE"}[o.Type]
		}
		switch o.Nargs {
		case ZeroOrMore:
			meta = "[" + meta + " ...]"
		case OneOrMore:
			meta += " [" + meta + " ...]"
		case Optional:
			meta = "[" + meta + "]"
		}
		names += " " + meta
	}
	if o.Default != nil && o.Action == Store && Str(o.Default) != "" {
		text += " (default: " + Str(o.Default) + ")"
	}
	writeRow(out, names, text)
}

// writeRow writes a name and its explanation beside it, or below where the name is long.
func writeRow(out *strings.Builder, name, text string) {
	indent := strings.Repeat(" ", helpColumn)
	text = wrap(text, helpWidth-helpColumn, indent)
	if text == "" {
		fmt.Fprintf(out, "  %s\n", name)
		return
	}
	if len(name) > helpColumn-4 {
		fmt.Fprintf(out, "  %s\n%s%s\n", name, indent, text)
		return
	}
	fmt.Fprintf(out, "  %-*s%s\n", helpColumn-2, name, text)
}

// wrap breaks text into lines of at most width letters; lines after the first begin with indent.
func wrap(text string, width int, indent string) string {
	var out strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			out.WriteString("\n" + indent)
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}

// Help is the text of --help=word; the empty word gives that of --help.
func (p *Parser) Help(word string) string {
	return (&parse{Parser: p, options: p.table()}).help(word)
}

// A Completion is a word that could stand at the end of a command line.
type Completion struct{ Word, Help string }

// Complete lists what the last word of a command line could become: names of options, or
// the choices of the option before it. Words are those before the last.
func (p *Parser) Complete(words []string, last string) []Completion {
	r := &parse{Parser: p, options: p.table()}
	if name, value, ok := strings.Cut(last, "="); ok && strings.HasPrefix(last, "--") {
		o, _, err := r.resolve(dashed(name), last)
		if err != nil || o == nil {
			return nil
		}
		return choices(o, name+"=", value)
	}
	if !strings.HasPrefix(last, "-") {
		if len(words) == 0 {
			return nil
		}
		o, _, err := r.resolve(dashed(words[len(words)-1]), last)
		if err != nil || o == nil || o.Action != Store {
			return nil
		}
		return choices(o, "", last)
	}
	var found []Completion
	for _, o := range r.options {
		for _, name := range o.Names() {
			if strings.HasPrefix(name, dashed(last)) {
				found = append(found, Completion{name, o.Help})
			}
		}
	}
	return found
}

func choices(o *Option, before, begun string) []Completion {
	var found []Completion
	for _, choice := range o.Choices {
		if strings.HasPrefix(choice, begun) {
			found = append(found, Completion{Word: before + choice})
		}
	}
	return found
}
