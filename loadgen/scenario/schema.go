package scenario

import (
	"embed"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strings"
	"sync"

	"github.com/invopop/jsonschema"

	"servebench/datasets"
	"servebench/internal/lazy"
	"servebench/loadgen/api"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// The sources are where the schema's descriptions come from, so that the file's manual and the code's comments are one text.
//
//go:embed scenario.go sweep.go search.go
var sources embed.FS

// Schema is the JSON Schema of a scenario file (draft 2020-12): editors complete and check with it. What it refuses, the loader refuses. The loader
// refuses more: combinations that make no sense.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Mapper:        mapType,
		LookupComment: comment,
	}
	s := r.Reflect(Scenario{})
	s.Version = jsonschema.Version
	s.Title = "servebench scenario"
	s.Properties.Set("extends", described(scalar(), "a preset or a file, seen from this one, that this scenario is laid over: "+strings.Join(Presets(), ", ")))
	s.Properties.Set("backend", enumerated(s, "backend", api.Kinds()))
	if d := s.Definitions["Dataset"]; d != nil {
		d.Properties.Set("name", enumerated(d, "name", datasets.Kinds()))
	}
	if d := s.Definitions["Report"]; d != nil {
		if metrics, ok := d.Properties.Get("metrics"); ok {
			metrics.Items = enumeration(allMetrics())
		}
		if formats, ok := d.Properties.Get("formats"); ok {
			formats.Items = enumeration(report.Formats())
		}
	}
	loosen(s)
	allowNull(s)
	for _, d := range s.Definitions {
		loosen(d)
		allowNull(d)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func allMetrics() []string {
	var names []string
	for _, m := range results.Metrics {
		names = append(names, m.Name)
	}
	return names
}

func enumeration(values []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

// enumerated is the property of a schema with its values spelt out.
func enumerated(of *jsonschema.Schema, name string, values []string) *jsonschema.Schema {
	s := enumeration(values)
	if old, ok := of.Properties.Get(name); ok {
		s.Description = old.Description
	}
	return s
}

func described(s *jsonschema.Schema, text string) *jsonschema.Schema {
	s.Description = text
	return s
}

// types is a schema that allows several JSON types.
func types(names ...string) *jsonschema.Schema {
	return &jsonschema.Schema{Extras: map[string]any{"type": names}}
}

// scalar is what a text may be written as: YAML's numbers and booleans are texts too, where a text is wanted.
func scalar() *jsonschema.Schema { return types("string", "number", "boolean") }

const (
	durationPattern = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$|^0$`
	numberPattern   = `^\.?[iI]nf$|^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`
	sharePattern    = `^([0-9]{1,2}(\.[0-9]*)?|\.[0-9]+)%$|^0?\.[0-9]+$|^0$`
)

// mapType gives the schema of types that are not written as Go would write them.
func mapType(t reflect.Type) *jsonschema.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	oneOf := func(list ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: list} }
	switch t {
	case reflect.TypeFor[Duration]():
		return oneOf(&jsonschema.Schema{Type: "string", Pattern: durationPattern}, &jsonschema.Schema{Const: 0})
	case reflect.TypeFor[Rate]():
		return oneOf(&jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "string", Pattern: numberPattern})
	case reflect.TypeFor[Share]():
		return oneOf(&jsonschema.Schema{Type: "number", Minimum: "0", ExclusiveMaximum: "1"}, &jsonschema.Schema{Type: "string", Pattern: sharePattern})
	case reflect.TypeFor[Words]():
		return oneOf(scalar(), &jsonschema.Schema{Type: "array", Items: types("string", "number", "boolean", "null")})
	case reflect.TypeFor[Ratio]():
		number := &jsonschema.Schema{Type: "number"}
		both := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
		both.Properties.Set("input", number)
		both.Properties.Set("output", number)
		return oneOf(number, both)
	case reflect.TypeFor[Pairs](), reflect.TypeFor[map[string]string]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: types("string", "number", "boolean", "null")}
	case reflect.TypeFor[JSON]():
		return &jsonschema.Schema{}
	case reflect.TypeFor[summary.Bound]():
		return &jsonschema.Schema{Type: "string", Pattern: summary.BoundPattern().String(), Examples: []any{"p99 ttft <= 300ms", "goodput >= 99%", "failures <= 0"}}
	case reflect.TypeFor[Axes]():
		span := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema, Required: []string{"from", "to"},
			Description: "a range: from its lower end to its upper end by step (a distance), times (a ratio), or count (of values, on a linear or log scale)"}
		for _, name := range []string{"from", "to", "step", "times"} {
			span.Properties.Set(name, &jsonschema.Schema{Type: "number"})
		}
		span.Properties.Set("count", &jsonschema.Schema{Type: "integer"})
		span.Properties.Set("scale", enumeration([]string{"linear", "log"}))
		one := uint64(1)
		return &jsonschema.Schema{Type: "object", AdditionalProperties: oneOf(&jsonschema.Schema{Type: "array", MinItems: &one}, span)}
	case reflect.TypeFor[Assignments]():
		return &jsonschema.Schema{Type: "object"}
	}
	return nil
}

// loosen lets every text that is not one of a few words be written without quotes.
func loosen(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Type == "string" && len(s.Enum) == 0 && s.Pattern == "" {
		s.Type, s.Extras = "", scalar().Extras
	}
	loosen(s.Items)
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			loosen(p.Value)
		}
	}
}

// allowNull lets a part be taken back from what is extended, as in profile: null.
func allowNull(s *jsonschema.Schema) {
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if v := p.Value; v.Ref != "" || v.Type == "object" || v.Type == "array" {
			p.Value = &jsonschema.Schema{Description: v.Description, AnyOf: []*jsonschema.Schema{v, {Type: "null"}}}
			v.Description = ""
		}
	}
}

// comment is the comment on a type or on one of its fields.
func comment(t reflect.Type, field string) string { return comments()[t.Name()+"."+field] }

// lineBreaks are those inside a paragraph.
var lineBreaks = lazy.Regexp(`([^\n])\n([^\n\t])`)

// comments are all comments on the sources' types, by Type. and Type.Field. A field without one shares the line above it.
var comments = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	entries, err := fs.ReadDir(sources, ".")
	if err != nil {
		panic(err) // they are part of the program
	}
	clean := func(text string) string { return strings.TrimSpace(lineBreaks().ReplaceAllString(text, "$1 $2")) }
	set := token.NewFileSet()
	for _, e := range entries {
		text, err := sources.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		file, err := parser.ParseFile(set, e.Name(), text, parser.ParseComments)
		if err != nil {
			panic(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, spec := range decl.Specs {
				typed, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				out[typed.Name.Name+"."] = clean(decl.Doc.Text())
				fields, ok := typed.Type.(*ast.StructType)
				if !ok {
					continue
				}
				above, line := "", 0
				for _, f := range fields.Fields.List {
					doc := clean(f.Doc.Text())
					if doc == "" && set.Position(f.Pos()).Line == line+1 {
						doc = above
					}
					for _, name := range f.Names {
						out[typed.Name.Name+"."+name.Name] = doc
					}
					above, line = doc, set.Position(f.End()).Line
				}
			}
			return false
		})
	}
	return out
})
