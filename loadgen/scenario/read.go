package scenario

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"servebench/internal/lazy"
	"servebench/results"
)

//go:embed presets/*.yaml
var presets embed.FS

// Presets are the names of the built-in scenarios, sorted.
func Presets() []string {
	entries, err := fs.ReadDir(presets, "presets")
	if err != nil {
		panic(err) // they are part of the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// PresetYAML is the text of a preset, with what it extends merged in, so that it can be saved, changed and run.
func PresetYAML(name string) (string, error) {
	l := &loader{}
	node, err := l.load(name, "")
	if err != nil {
		return "", err
	}
	stripTags(node)
	text, err := yaml.Dump(node, yaml.WithIndent(2), yaml.WithLineWidth(120))
	return string(text), err
}

// Read reads a scenario: a preset's name, or a file. Each set is path=value, where the value is YAML, as in
// load.rate=5 or server.before=[]; it has the last word. The error is Problems, which lists every fault found.
func Read(name string, sets []string) (*Scenario, error) {
	l := &loader{}
	node, err := l.load(name, "")
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if err := l.set(node, set); err != nil {
			return nil, err
		}
	}
	return l.decode(node)
}

// Parse reads a scenario from text; source names it in errors.
func Parse(source, text string) (*Scenario, error) {
	l := &loader{}
	node, err := l.parse(source, []byte(text))
	if err != nil {
		return nil, err
	}
	if node, err = l.extend(node, filepath.Dir(source)); err != nil {
		return nil, err
	}
	return l.decode(node)
}

// A Problem is one fault of a scenario, with its place.
type Problem struct {
	// Source is the file, the preset or the setting; Line and Column count from 1, 0 when there is no place.
	Source       string
	Line, Column int
	// Path is the field: load.rate.
	Path    string
	Message string
	// Excerpt is the line itself.
	Excerpt string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Excerpt != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s^", p.Excerpt, strings.Repeat(" ", max(0, p.Column-1)))
	}
	return b.String()
}

// Problems are all faults of a scenario.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// A loader reads the texts that make up one scenario. Lines of the n-th text are counted from n*perSource, so that
// a node of the merged tree still knows where it was written.
type loader struct {
	sources []source
	open    []string // what is being extended, to find circles
}

type source struct {
	name  string
	lines []string
}

const perSource = 1_000_000

func (l *loader) load(name, dir string) (*yaml.Node, error) {
	text, source, err := read(name, dir)
	if err != nil {
		return nil, err
	}
	if slices.Contains(l.open, source) {
		return nil, fmt.Errorf("%s extends itself: %s", source, strings.Join(append(l.open, source), " -> "))
	}
	l.open = append(l.open, source)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	node, err := l.parse(source, text)
	if err != nil {
		return nil, err
	}
	return l.extend(node, filepath.Dir(source))
}

// read finds a preset, or a file beside the one that names it.
func read(name, dir string) (text []byte, source string, err error) {
	if !strings.ContainsAny(name, "/\\") && filepath.Ext(name) == "" {
		text, err := presets.ReadFile(path.Join("presets", name+".yaml"))
		if err == nil {
			return text, "preset " + name, nil
		}
		if _, statErr := os.Stat(name); statErr != nil {
			return nil, "", fmt.Errorf("%w %q: presets are %s", errNoPreset, name, strings.Join(Presets(), ", "))
		}
	}
	if !filepath.IsAbs(name) && dir != "" && dir != "." {
		name = filepath.Join(dir, name)
	}
	text, err = os.ReadFile(name)
	return text, name, err
}

var errNoPreset = errors.New("no preset and no file")

func (l *loader) parse(name string, text []byte) (*yaml.Node, error) {
	l.sources = append(l.sources, source{name, strings.Split(string(text), "\n")})
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		return nil, l.problems(err, len(l.sources)-1)
	}
	node := &doc
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	if node.Kind != yaml.MappingNode {
		return nil, Problems{{Source: name, Line: 1, Column: 1, Message: "a scenario is a mapping of keys to values"}}
	}
	shift(node, (len(l.sources)-1)*perSource)
	return node, nil
}

func shift(n *yaml.Node, lines int) {
	n.Line += lines
	for _, c := range n.Content {
		shift(c, lines)
	}
}

// extend merges the node over what its extends key names.
func (l *loader) extend(node *yaml.Node, dir string) (*yaml.Node, error) {
	i := find(node, "extends")
	if i < 0 {
		return node, nil
	}
	base := node.Content[i+1]
	node.Content = slices.Delete(node.Content, i, i+2)
	parent, err := l.load(base.Value, dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoPreset) {
		p := Problem{Path: "extends", Message: err.Error()}
		l.at(&p, base.Line, base.Column)
		return nil, Problems{p}
	}
	if err != nil {
		return nil, err
	}
	overlay(parent, node)
	return parent, nil
}

func find(mapping *yaml.Node, key string) int {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

const replaceTag = "!replace"

// overlay puts over on top of base: mappings merge key by key unless tagged !replace, everything else replaces.
func overlay(base, over *yaml.Node) {
	for i := 0; i+1 < len(over.Content); i += 2 {
		key, value := over.Content[i], over.Content[i+1]
		j := find(base, key.Value)
		switch {
		case j < 0:
			base.Content = append(base.Content, key, value)
		case value.Kind == yaml.MappingNode && base.Content[j+1].Kind == yaml.MappingNode && value.Tag != replaceTag:
			overlay(base.Content[j+1], value)
		default:
			base.Content[j], base.Content[j+1] = key, value
		}
	}
}

func stripTags(n *yaml.Node) {
	if n.Tag == replaceTag {
		n.Tag = ""
	}
	for _, c := range n.Content {
		stripTags(c)
	}
}

// set carries out path=value.
func (l *loader) set(root *yaml.Node, text string) error {
	where, value, ok := strings.Cut(text, "=")
	if !ok || where == "" {
		return fmt.Errorf("--set %s: want path=value, as in load.rate=5", text)
	}
	name := "--set " + text
	l.sources = append(l.sources, source{name: name})
	var doc yaml.Node
	if err := yaml.Load([]byte(value), &doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: ""}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		node = doc.Content[0]
	} else if doc.Kind != 0 && doc.Kind != yaml.DocumentNode {
		node = &doc
	}
	shift(node, (len(l.sources)-1)*perSource)
	node.Line = (len(l.sources) - 1) * perSource // a place in the command line has no line
	return setNode(root, name, where, node)
}

// setNode puts a value in the place of a field; name says who wants it so.
func setNode(root *yaml.Node, name, where string, node *yaml.Node) error {
	keys := strings.Split(where, ".")
	at := root
	for i, key := range keys {
		if at.Kind == yaml.SequenceNode {
			var n int
			if _, err := fmt.Sscanf(key, "%d", &n); err != nil || n < 0 || n >= len(at.Content) {
				return fmt.Errorf("%s: %s has %d entries, from 0", name, strings.Join(keys[:i], "."), len(at.Content))
			}
			if i == len(keys)-1 {
				at.Content[n] = node
				return nil
			}
			at = at.Content[n]
			continue
		}
		if at.Kind != yaml.MappingNode {
			return fmt.Errorf("%s: %s is no mapping", name, strings.Join(keys[:i], "."))
		}
		j := find(at, key)
		keyNode := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: node.Line}
		switch {
		case i == len(keys)-1 && j < 0:
			at.Content = append(at.Content, keyNode, node)
		case i == len(keys)-1:
			at.Content[j], at.Content[j+1] = keyNode, node
		case j < 0:
			inner := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: node.Line}
			at.Content = append(at.Content, keyNode, inner)
			at = inner
		default:
			at = at.Content[j+1]
		}
	}
	return nil
}

// decode fills the scenario and checks it.
func (l *loader) decode(node *yaml.Node) (*Scenario, error) {
	stripTags(node)
	s := new(Scenario)
	var found Problems
	var unread []int // lines whose values are missing in s
	if err := node.Load(s, yaml.WithKnownFields()); err != nil {
		var isMany bool
		if found, isMany = l.problems(err, -1).(Problems); !isMany {
			return nil, err
		}
		unread = errorLines(err)
	}
	s.origin = &origin{l, node}
	for _, f := range s.Faults() {
		if slices.ContainsFunc(found, func(p Problem) bool { return strings.Contains(p.Message, "already defined") }) {
			break // which of the two is meant?
		}
		// A fault of something that could not be read whole would be a consequence, not a finding.
		if p, at := l.place(node, f); !slices.ContainsFunc(unread, func(line int) bool { return spans(at, line) }) {
			found = append(found, p)
		}
	}
	for _, p := range s.pointProblems() {
		if !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	if len(found) > 0 {
		slices.SortStableFunc(found, func(a, b Problem) int {
			if a.Source != b.Source {
				return 0
			}
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, found
	}
	return s, nil
}

// errorLines are the lines that the library complains of.
func errorLines(err error) []int {
	var many *yaml.LoadErrors
	if !errors.As(err, &many) {
		return nil
	}
	var lines []int
	for _, e := range many.Errors {
		lines = append(lines, e.Mark.Line)
	}
	return lines
}

// spans says whether a line belongs to a node.
func spans(node *yaml.Node, line int) bool {
	return node.Line == line || slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return spans(n, line) })
}

// place finds where the field of a fault is written: its own value, or the nearest thing around it.
func (l *loader) place(node *yaml.Node, f Fault) (Problem, *yaml.Node) {
	p := Problem{Source: l.sources[0].name, Path: f.Path, Message: f.Message}
	for _, key := range strings.Split(f.Path, ".") {
		if node.Kind == yaml.MappingNode {
			i := find(node, key)
			if i < 0 {
				break
			}
			node = node.Content[i+1]
		} else if node.Kind == yaml.SequenceNode {
			var n int
			if _, err := fmt.Sscanf(key, "%d", &n); err != nil || n >= len(node.Content) {
				break
			}
			node = node.Content[n]
		} else {
			break
		}
		l.at(&p, node.Line, node.Column)
	}
	return p, node
}

// at fills in source, line and excerpt from a line of the merged tree.
func (l *loader) at(p *Problem, line, column int) {
	src := l.sources[min(line/perSource, len(l.sources)-1)]
	p.Source, p.Line, p.Column, p.Excerpt = src.name, line%perSource, column, ""
	if p.Line >= 1 && p.Line <= len(src.lines) {
		p.Excerpt = src.lines[p.Line-1]
	} else {
		p.Line, p.Column = 0, 0
	}
}

// problems turns the library's errors into ours. own is the source of an error without shifted lines, or -1.
func (l *loader) problems(err error, own int) error {
	var many *yaml.LoadErrors
	var list []*yaml.LoadError
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		list = many.Errors
	case errors.As(err, &one):
		list = []*yaml.LoadError{one}
	default:
		return err
	}
	var found Problems
	for _, e := range list {
		line := e.Mark.Line
		if own >= 0 {
			line += own * perSource
		}
		p := Problem{Message: plain(e.Message)}
		l.at(&p, line, e.Mark.Column)
		if key, ok := unknownKey(e.Message); ok && p.Column == 0 { // the library tells the line only
			p.Column = 1 + max(0, strings.Index(p.Excerpt, key))
		}
		found = append(found, p)
	}
	return found
}

// unknownKey is the key that a message of the library complains of.
func unknownKey(message string) (string, bool) {
	field, rest, ok := strings.Cut(strings.TrimPrefix(message, "field "), " not found in type")
	return field, ok && rest != ""
}

// plain takes Go's type names out of the library's messages.
func plain(message string) string {
	if field, ok := unknownKey(message); ok {
		return fmt.Sprintf("there is no key %q here: servebench schema lists all", field)
	}
	for _, prefix := range []string{"scenario.", "*scenario."} {
		message = strings.ReplaceAll(message, prefix, "")
	}
	if m := constructed().FindStringSubmatch(message); m != nil {
		if want, ok := map[string]string{"int": "whole number", "int64": "whole number", "float64": "number", "bool": "yes or no: write true or false"}[m[2]]; ok {
			return fmt.Sprintf("%q is no %s", m[1], want)
		}
	}
	return message
}

// constructed is how the library words a value of the wrong type.
var constructed = lazy.Regexp("^cannot construct !!\\w+ `(.*)` into (\\w+)$")

// UnmarshalYAML reads words from a list or a line.
func (w *Words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		words, err := split(node.Value)
		if err != nil {
			return err
		}
		*w = words
		return nil
	}
	return node.Load((*[]string)(w))
}

// UnmarshalYAML reads one number for both, or a mapping.
func (r *Ratio) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		if err := node.Load(&r.Input); err != nil {
			return err
		}
		r.Output = r.Input
		return nil
	}
	type plainRatio Ratio
	return node.Load((*plainRatio)(r), yaml.WithKnownFields())
}

// UnmarshalYAML reads a mapping, keys in their order.
func (p *Pairs) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return errors.New("want a mapping of names to texts")
	}
	*p = nil
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i+1].Kind != yaml.ScalarNode {
			return fmt.Errorf("%s: want a text", node.Content[i].Value)
		}
		*p = append(*p, results.Pair{Key: node.Content[i].Value, Value: node.Content[i+1].Value})
	}
	return nil
}

// A JSON is a JSON value that is written as YAML; the order of its keys is kept.
type JSON json.RawMessage

// UnmarshalYAML turns YAML into JSON, keys in their order.
func (j *JSON) UnmarshalYAML(node *yaml.Node) error {
	b, err := appendJSON(nil, node)
	*j = b
	return err
}

// MarshalJSON is the value itself.
func (j JSON) MarshalJSON() ([]byte, error) {
	if j == nil {
		return []byte("null"), nil
	}
	return j, nil
}

// UnmarshalJSON keeps the value as it is.
func (j *JSON) UnmarshalJSON(b []byte) error {
	*j = append((*j)[:0], b...)
	return nil
}

func appendJSON(b []byte, node *yaml.Node) ([]byte, error) {
	var err error
	switch node.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(node.Content); i += 2 {
			if i > 0 {
				b = append(b, ", "...)
			}
			key, err := json.Marshal(node.Content[i].Value)
			if err != nil {
				return b, err
			}
			b = append(append(b, key...), ": "...)
			if b, err = appendJSON(b, node.Content[i+1]); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range node.Content {
			if i > 0 {
				b = append(b, ", "...)
			}
			if b, err = appendJSON(b, c); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case yaml.AliasNode:
		return appendJSON(b, node.Alias)
	}
	var value any
	if err := node.Load(&value); err != nil {
		return b, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return b, fmt.Errorf("%s has no JSON form", node.Value)
	}
	return append(b, text...), nil
}
