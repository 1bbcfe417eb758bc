// Package argparse reads command lines the way Python's argparse does, as vLLM
// extends it: names may be abbreviated and spelled with _ or -, lists take words
// until the next option, a repeated option replaces the earlier one, JSON options
// can be given key by key (--extra-body.a.b 1), and --help=word searches.
//
// People paste command lines that were written for another program, so the rules
// matter more than taste: what that program accepts means the same here, and what
// it refuses is refused in the same words. Where it is plainly wrong (a negative
// decimal swallows the next word, a dotted key erases the plain JSON beside it) the
// default is to do what was meant; Parser.Strict keeps the original's way.
//
// Values are Python's: a Value printed by Repr or Dumps reads as Python would spell it.
package argparse

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Type is how the words of an option become values.
type Type int

// The types of an option's value.
const (
	String Type = iota
	Int         // Python's int(): no suffixes, underscores between digits allowed
	Float       // Python's float(): inf, nan and 1e3 included
	JSON        // json.loads: any JSON value
	Custom      // Option.Convert
)

// An Action is what giving an option does.
type Action int

// The actions of an option.
const (
	Store     Action = iota
	StoreTrue        // takes no value
	OnOff            // --x and --no-x; nil when neither was given
	Append           // a list to which each time it is given adds one
	showHelp
)

// Nargs is how many words an option takes.
type Nargs int

// The arities of an option that stores.
const (
	One        Nargs = iota
	ZeroOrMore       // a list, possibly empty
	OneOrMore        // a list
	Optional         // one word or none; none stores Option.Const
)

// An Option is one row of the table of options.
type Option struct {
	// Flag is the full name, with dashes: --num-prompts. Short is the one letter it can be called by, such as -p.
	Flag, Short string
	// Group is the title under which help lists it; Section, where it is set, is a finer one.
	Group, Section string
	Action         Action
	Type           Type
	Nargs          Nargs
	// Default is the value when it is not given; nil is Python's None.
	Default any
	// Const is stored by an Optional option given without a word.
	Const any
	// Choices are the only values allowed, as typed; nil allows all.
	Choices []string
	// Aliases are other spellings of words, each with the word it means. The strict parser has none.
	Aliases map[string]string
	// Convert makes the value of a Custom option, and TypeName is what its error calls the type.
	Convert  func(word string) (any, error)
	TypeName string
	// Into receives the value after a successful parse: a *string, *int, *float64, *bool,
	// a pointer to such a pointer (nil for None), a *[]string, an *any, or a func(any) error,
	// whose error refuses the command line.
	Into any
	// Metavar stands for the value in help texts, Help explains the option.
	Metavar, Help string
	// Extension marks an option the original does not have. An abbreviation means an extension
	// only where it means no other option, so that old command lines keep their meaning.
	Extension bool
	// Required refuses command lines without it.
	Required bool
	// Secret values are printed as ***.
	Secret bool
}

// Dest is the option's key among the values: its name with underscores.
func (o *Option) Dest() string {
	return strings.ReplaceAll(strings.TrimLeft(o.Flag, "-"), "-", "_")
}

// Names are the words that name the option in full.
func (o *Option) Names() []string {
	switch o.Action {
	case OnOff:
		return []string{o.Flag, "--no-" + strings.TrimPrefix(o.Flag, "--")}
	case showHelp:
		return []string{"-h", "--help"}
	}
	if o.Short != "" {
		return []string{o.Short, o.Flag}
	}
	return []string{o.Flag}
}

// takesWords says that the option has a value to be given.
func (o *Option) takesWords() bool { return o.Action == Store || o.Action == Append }

// title is where help lists the option.
func (o *Option) title() string {
	if o.Section != "" {
		return o.Section
	}
	return o.Group
}

func (o *Option) label() string { return strings.Join(o.Names(), "/") }

func (o *Option) typeName() string {
	switch o.Type {
	case Int:
		return "int"
	case Float:
		return "float"
	case JSON:
		return "loads"
	case Custom:
		return o.TypeName
	}
	return "str"
}

// A Group is a titled part of the help text.
type Group struct{ Title, Summary string }

// A Parser is a command's table of options.
type Parser struct {
	// Prog is the command as it is called: servebench bench serve.
	Prog string
	// Summary is the first paragraph of help, Example the last: a command line that runs.
	Summary, Example string
	// Groups is the order of help; Options the order of the original's table, which is
	// the order of printed values and of the names in "could match".
	Groups  []Group
	Options []*Option
	// Strict keeps the original's traps: see the package comment.
	Strict bool
	// ReadConfig reads the file of --config: its settings in the file's order. Without
	// it there is no such option.
	ReadConfig func(path string) ([]Setting, error)
}

// A Source says who set a value.
type Source int

// The sources of a value, each overruling the ones before.
const (
	Default Source = iota
	File
	CommandLine
)

func (s Source) String() string {
	return [...]string{"default", "config file", "command line"}[s]
}

// A Value is one option and what it was set to.
type Value struct {
	Option *Option
	Value  any
	By     Source
}

// Values are the result of a parse, in the order of the parser's table.
type Values struct {
	// Warnings are doubts about the command line that do not stop it.
	Warnings []string
	// ConfigPath is the file that --config named.
	ConfigPath string

	list  []Value
	index map[string]int
}

// All goes through the values in the order of the table.
func (v *Values) All() iter.Seq[Value] { return slices.Values(v.list) }

// Get is the value of an option by its key, such as num_prompts. It is nil for None
// and for a key that no option has.
func (v *Values) Get(dest string) any {
	if i, ok := v.index[dest]; ok {
		return v.list[i].Value
	}
	return nil
}

// SetBy says who set the option with that key.
func (v *Values) SetBy(dest string) Source {
	if i, ok := v.index[dest]; ok {
		return v.list[i].By
	}
	return Default
}

// Given says that the option was set by the command line or the config file.
func (v *Values) Given(dest string) bool { return v.SetBy(dest) != Default }

// An Error is a command line that cannot be carried out.
type Error struct {
	Prog, Usage string
	// Message is argparse's text without the program's name.
	Message string
	// Raises names the Python exception that the original dies with instead of a message
	// (only with Parser.Strict).
	Raises string
}

func (e *Error) Error() string { return e.Message }

// Status is the exit status: 2, or 1 where the original dies of an exception.
func (e *Error) Status() int {
	if e.Raises != "" {
		return 1
	}
	return 2
}

// Text is what argparse prints: the usage line and the message.
func (e *Error) Text() string {
	message := e.Message
	if e.Raises != "" {
		message = e.Raises + ": " + message
	}
	return fmt.Sprintf("%s\n%s: error: %s\n", e.Usage, e.Prog, message)
}

// Help is returned as an error by a command line that asks for help: print Text
// to standard output and exit with 0.
type Help struct{ Text string }

func (h *Help) Error() string { return "help was asked for" }

func (p *Parser) fail(format string, args ...any) *Error {
	return &Error{Prog: p.Prog, Usage: p.usage(), Message: fmt.Sprintf(format, args...)}
}

func (p *Parser) failAt(o *Option, format string, args ...any) *Error {
	return p.fail("argument %s: %s", o.label(), fmt.Sprintf(format, args...))
}

func (p *Parser) usage() string { return "usage: " + p.Prog + " [options]" }
