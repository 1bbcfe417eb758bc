package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A Sweep makes one run, or with a search beside it one search, for each of many values of the scenario's fields. Grid, Linked and Points multiply: every combination of
// what they list is a point.
type Sweep struct {
	// Grid are fields by their path, as load.rate, with the values that each takes: a list, or a range {from, to} with one of step,
	// times and count. The first field varies slowest.
	Grid Axes `yaml:"grid,omitempty" json:"grid,omitempty"`
	// Linked are groups of fields that change together: the first value of each, then the second, and so on.
	Linked []Axes `yaml:"linked,omitempty" json:"linked,omitempty"`
	// Points are combinations of values, one by one.
	Points []Assignments `yaml:"points,omitempty" json:"points,omitempty"`
	// Order is that of the runs: given (the default), random (by the seed), or counterbalanced (every second repeat backwards: ABBA).
	// A random order keeps together the points that share a server.
	Order string `yaml:"order,omitempty" json:"order,omitempty" jsonschema:"enum=given,enum=random,enum=counterbalanced"`
	// Seeds says which runs send the same prompts: repeat (the default) gives all points of a repeat the same seed, run each run its own,
	// fixed all runs the scenario's.
	Seeds string `yaml:"seeds,omitempty" json:"seeds,omitempty" jsonschema:"enum=repeat,enum=run,enum=fixed"`
}

// An Axis is a field with the values that it takes.
type Axis struct {
	Field  string
	values []*yaml.Node
}

// Axes are fields with their values, in their order.
type Axes []Axis

// An Assignment gives a field a value.
type Assignment struct {
	Field string
	value *yaml.Node
}

// Assignments are fields with one value each, in their order.
type Assignments []Assignment

// mostPoints bounds a sweep: more is a mistake.
const mostPoints = 10_000

// Value is the value as JSON.
func (a Assignment) Value() json.RawMessage {
	b, err := appendJSON(nil, a.value)
	if err != nil {
		return json.RawMessage(strconv.Quote(a.value.Value))
	}
	return b
}

func (a Assignment) String() string {
	text := string(a.Value())
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	return a.Field + "=" + text
}

func (a Assignments) String() string {
	parts := make([]string, len(a))
	for i := range a {
		parts[i] = a[i].String()
	}
	return strings.Join(parts, " ")
}

// MarshalJSON writes them as an object, in their order.
func (a Assignments) MarshalJSON() ([]byte, error) {
	return appendObject(len(a), func(i int) (string, []byte) { return a[i].Field, a[i].Value() })
}

// UnmarshalJSON reads an object, keys in their order.
func (a *Assignments) UnmarshalJSON(text []byte) error {
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		return err
	}
	node := &doc
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	return a.UnmarshalYAML(node)
}

// UnmarshalYAML reads a mapping from fields to values.
func (a *Assignments) UnmarshalYAML(node *yaml.Node) error {
	*a = nil
	return eachKey(node, func(field string, value *yaml.Node) error {
		*a = append(*a, Assignment{field, value})
		return nil
	})
}

// MarshalJSON writes them as an object of lists, in their order.
func (a Axes) MarshalJSON() ([]byte, error) {
	return appendObject(len(a), func(i int) (string, []byte) {
		list := []byte{'['}
		for j, v := range a[i].values {
			if j > 0 {
				list = append(list, ',')
			}
			list = append(list, Assignment{value: v}.Value()...)
		}
		return a[i].Field, append(list, ']')
	})
}

func appendObject(n int, member func(i int) (string, []byte)) ([]byte, error) {
	out := []byte{'{'}
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		key, value := member(i)
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// UnmarshalYAML reads a mapping from fields to lists or ranges.
func (a *Axes) UnmarshalYAML(node *yaml.Node) error {
	*a = nil
	return eachKey(node, func(field string, value *yaml.Node) error {
		axis := Axis{Field: field}
		switch value.Kind {
		case yaml.SequenceNode:
			axis.values = value.Content
		case yaml.MappingNode:
			var r span
			if err := value.Load(&r, yaml.WithKnownFields()); err != nil {
				return err
			}
			numbers, err := r.values(isWhole(field))
			if err != nil {
				return fmt.Errorf("%s: %w", field, err)
			}
			for _, text := range numbers {
				axis.values = append(axis.values, &yaml.Node{Kind: yaml.ScalarNode, Value: text, Line: value.Line, Column: value.Column})
			}
		default:
			return fmt.Errorf("%s: want a list of values, or a range {from, to} with step, times or count", field)
		}
		if len(axis.values) == 0 {
			return fmt.Errorf("%s: the list is empty", field)
		}
		*a = append(*a, axis)
		return nil
	})
}

// eachKey calls f for each key of a mapping of fields.
func eachKey(node *yaml.Node, f func(field string, value *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return errors.New("want a mapping from fields, such as load.rate, to values")
	}
	var seen []string
	for i := 0; i+1 < len(node.Content); i += 2 {
		field, value := node.Content[i].Value, node.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if slices.Contains(seen, field) {
			return fmt.Errorf("%s stands here twice", field)
		}
		seen = append(seen, field)
		if err := f(field, value); err != nil {
			return err
		}
	}
	return nil
}

// A span is a range of numbers.
type span struct {
	// From and To are its ends; To is one of its values where the steps meet it.
	From *float64 `yaml:"from" json:"from" jsonschema:"required"`
	To   *float64 `yaml:"to" json:"to" jsonschema:"required"`
	// Step is the distance between two values, Times their ratio, Count the number of values.
	Step  float64 `yaml:"step,omitempty" json:"step,omitempty"`
	Times float64 `yaml:"times,omitempty" json:"times,omitempty"`
	Count int     `yaml:"count,omitempty" json:"count,omitempty"`
	// Scale of a count is linear (the default) or log.
	Scale string `yaml:"scale,omitempty" json:"scale,omitempty" jsonschema:"enum=linear,enum=log"`
}

// values are the numbers of the range; whole ones where the field takes no others.
func (r *span) values(whole bool) ([]string, error) {
	if r.From == nil || r.To == nil {
		return nil, errors.New("a range needs from and to")
	}
	from, to := *r.From, *r.To
	given := 0
	for _, set := range []bool{r.Step != 0, r.Times != 0, r.Count != 0} {
		if set {
			given++
		}
	}
	log := r.Times != 0 || r.Scale == "log"
	switch {
	case given != 1:
		return nil, errors.New("a range needs one of step, times and count")
	case math.IsInf(from, 0) || math.IsInf(to, 0) || math.IsNaN(from) || math.IsNaN(to):
		return nil, errors.New("the ends of a range are numbers")
	case r.Scale != "" && r.Scale != "linear" && r.Scale != "log":
		return nil, fmt.Errorf("no scale %q: have linear, log", r.Scale)
	case r.Scale != "" && r.Count == 0:
		return nil, errors.New("a scale belongs to a count")
	case to < from:
		return nil, errors.New("the range runs from its lower end to its upper end")
	case r.Step < 0 || r.Times != 0 && !(r.Times > 1) || r.Count < 0:
		return nil, errors.New("step must be above 0, times above 1, count above 0")
	case log && from <= 0:
		return nil, errors.New("a range of ratios begins above 0")
	}
	n := r.Count
	switch {
	case r.Step > 0:
		n = int(math.Min(mostPoints, math.Floor((to-from)/r.Step+1e-9))) + 1
	case r.Times > 0:
		n = int(math.Min(mostPoints, math.Floor(math.Log(to/from)/math.Log(r.Times)+1e-9))) + 1
	}
	if n > mostPoints {
		return nil, fmt.Errorf("the range has more than %d values", mostPoints)
	}
	var out []string
	for i := range n {
		v, share := from, 0.0
		if n > 1 {
			share = float64(i) / float64(n-1)
		}
		switch {
		case r.Step > 0:
			v = from + float64(i)*r.Step
		case r.Times > 0:
			v = from * math.Pow(r.Times, float64(i))
		case log:
			v = from * math.Pow(to/from, share)
		default:
			v = from + share*(to-from)
		}
		text := ""
		if whole {
			text = strconv.FormatInt(int64(math.Round(v)), 10)
		} else {
			text = strconv.FormatFloat(v, 'g', 6, 64) // steps such as 0.1 leave dust behind
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out, nil
}

// isWhole says whether a field takes whole numbers only.
func isWhole(field string) bool {
	t, ok := fieldType(field)
	return ok && (t.Kind() == reflect.Int || t.Kind() == reflect.Int64) && t.Name() != "Duration"
}

// fieldType is the type of the scenario's field at a path.
func fieldType(path string) (reflect.Type, bool) {
	t := reflect.TypeFor[Scenario]()
	for _, key := range strings.Split(path, ".") {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Slice, reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			found := false
			for _, f := range reflect.VisibleFields(t) {
				if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.IsExported() && name == key && !f.Anonymous {
					t, found = f.Type, true
					break
				}
			}
			if !found {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, true
}

// checkSeries finds what is wrong with how often a scenario is to run.
func (s *Scenario) checkSeries(f *faults) {
	if s.Repeats < 0 {
		f.add("repeats", "%d is negative", s.Repeats)
	}
	if w := s.Sweep; w != nil {
		if !slices.Contains([]string{"", "given", "random", "counterbalanced"}, w.Order) {
			f.add("sweep.order", "no order %q: have given, random, counterbalanced", w.Order)
		}
		if w.Order == "counterbalanced" && (s.Repeats < 2 || s.Repeats%2 != 0) {
			f.add("sweep.order", "a counterbalanced order goes there and back: give repeats: 2, or another even number")
		}
		if !slices.Contains([]string{"", "repeat", "run", "fixed"}, w.Seeds) {
			f.add("sweep.seeds", "%q is none of repeat, run, fixed", w.Seeds)
		}
		w.check(f)
		if s.Search != nil {
			s.checkSearches(f)
		}
		return
	}
	s.checkSearch(f)
}

// check finds what is wrong with the points as a whole; what is wrong with each is found when it is made.
func (w *Sweep) check(f *faults) {
	owner := map[string]string{}
	field := func(at, name string) {
		switch {
		case name == "extends" || name == "repeats" || name == "sweep" || name == "search" || strings.HasPrefix(name, "sweep.") || strings.HasPrefix(name, "search."):
			f.add(at, "%s cannot be swept", name)
		case name == "seed" && w.Seeds != "fixed":
			f.add(at, "seeds follow from sweep.seeds: to sweep the seed itself, give sweep.seeds: fixed")
		}
		for _, other := range slices.Sorted(maps.Keys(owner)) {
			if other == name || strings.HasPrefix(other, name+".") || strings.HasPrefix(name, other+".") {
				f.add(at, "%s is set by %s in %s too", name, other, owner[other])
			}
		}
		owner[name] = at
	}
	if len(w.Grid)+len(w.Linked)+len(w.Points) == 0 {
		f.add("sweep", "it has no points: give grid, linked or points")
	}
	for _, axis := range w.Grid {
		field("sweep.grid", axis.Field)
	}
	for i, group := range w.Linked {
		at := fmt.Sprintf("sweep.linked.%d", i)
		for _, axis := range group {
			field(at, axis.Field)
			if n := len(group[0].values); len(axis.values) != n {
				f.add(at, "%s has %d values and %s %d: linked fields change together", axis.Field, len(axis.values), group[0].Field, n)
			}
		}
		if len(group) == 0 {
			f.add(at, "the group is empty")
		}
	}
	var names []string
	for i, p := range w.Points {
		at := fmt.Sprintf("sweep.points.%d", i)
		if len(p) == 0 {
			f.add(at, "the point is empty")
		}
		for _, a := range p {
			if !slices.Contains(names, a.Field) {
				names = append(names, a.Field)
				field("sweep.points", a.Field)
			}
		}
	}
	if n := w.size(); n > mostPoints {
		f.add("sweep", "it has more than %d points", mostPoints)
	}
}

// size is the number of points, or more than mostPoints.
func (w *Sweep) size() int {
	n := 1
	times := func(k int) {
		if n = n * max(1, k); n > mostPoints {
			n = mostPoints + 1
		}
	}
	for _, axis := range w.Grid {
		times(len(axis.values))
	}
	for _, group := range w.Linked {
		if len(group) > 0 {
			times(len(group[0].values))
		}
	}
	times(len(w.Points))
	return n
}

// points are all combinations, in the order in which they are written.
func (w *Sweep) points() []Assignments {
	list := []Assignments{nil}
	multiply := func(n int, add func(i int) Assignments) {
		var next []Assignments
		for _, p := range list {
			for i := range n {
				next = append(next, append(slices.Clip(p), add(i)...))
			}
		}
		list = next
	}
	for _, axis := range w.Grid {
		multiply(len(axis.values), func(i int) Assignments { return Assignments{{axis.Field, axis.values[i]}} })
	}
	for _, group := range w.Linked {
		multiply(len(group[0].values), func(i int) Assignments {
			var a Assignments
			for _, axis := range group {
				a = append(a, Assignment{axis.Field, axis.values[i]})
			}
			return a
		})
	}
	if len(w.Points) > 0 {
		multiply(len(w.Points), func(i int) Assignments { return w.Points[i] })
	}
	return list
}

// An origin is the text that a scenario was read from.
type origin struct {
	loader *loader
	root   *yaml.Node
}

// With is the scenario with other values in some fields, without its sweep and repeats. Only a scenario that was read
// from a text can be changed so. The error is Problems.
func (s *Scenario) With(a Assignments) (*Scenario, error) {
	if s.origin == nil {
		return nil, errors.New("the scenario was not read from a text: its fields cannot be changed by their paths")
	}
	root := clone(s.origin.root)
	for _, key := range []string{"sweep", "repeats"} {
		if i := find(root, key); i >= 0 {
			root.Content = slices.Delete(root.Content, i, i+2)
		}
	}
	l := &loader{sources: slices.Clip(s.origin.loader.sources)}
	for _, one := range a {
		if err := setNode(root, one.Field, one.Field, clone(one.value)); err != nil {
			p := Problem{Path: one.Field, Message: err.Error()}
			l.at(&p, one.value.Line, one.value.Column)
			return nil, Problems{p}
		}
	}
	return l.decode(root)
}

// clone copies a tree, so that a value set in it leaves the original alone. What aliases share stays shared.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, inner := range n.Content {
		c.Content[i] = clone(inner)
	}
	return &c
}

// pointProblems are those of the sweep's points, each said once.
func (s *Scenario) pointProblems() Problems {
	var f faults
	if s.Sweep == nil {
		return nil
	}
	if s.Sweep.check(&f); len(f) > 0 {
		return nil // what the points are is not sure
	}
	const most = 50
	var found Problems
	for _, p := range s.Sweep.points() {
		_, err := s.With(p)
		var problems Problems
		if err != nil && !errors.As(err, &problems) {
			problems = Problems{{Source: "sweep", Message: err.Error()}}
		}
		for _, one := range problems {
			if !slices.Contains(found, one) && len(found) < most {
				found = append(found, one)
			}
		}
	}
	return found
}

// sameJSON says whether two values have the same JSON form.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// IsSeries says that the scenario makes several runs: RunSeries carries it out.
func (s *Scenario) IsSeries() bool { return s.Sweep != nil || s.Search != nil || s.Repeats > 1 }
