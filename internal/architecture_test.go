package internal

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors is the plan of the house (docs/architecture.md, "Packages"). A package may import only
// packages of a lower floor.
var floors = map[string]int{
	"internal/lazy":            0,
	"internal/numpy":           0,
	"internal/python":          0,
	"internal/argparse":        1,
	"datasets/tokenizer":       1,
	"results":                  1,
	"loadgen/sse":              1,
	"loadgen/wire":             1,
	"loadgen/server":           1,
	"profiles/trace":           1,
	"datasets":                 2,
	"loadgen/schedule":         2,
	"loadgen/sim":              2,
	"results/summary":          2,
	"profiles":                 2,
	"profiles/breakdown":       2,
	"loadgen":                  3,
	"profiles/merge":           3,
	"results/report":           3,
	"results/compare":          3,
	"results/page":             4,
	"results/plot":             4,
	"results/compare/simulate": 4,
	"loadgen/api":              4,
	"loadgen/audit":            4,
	"loadgen/canary":           5,
	"loadgen/scenario":         6,
	"cmd/servebench":           7,
}

// doors names the packages that may import a third-party module. A module that is not here
// has no business in the tree.
var doors = map[string][]string{
	"github.com/sourcegraph/conc":              {"loadgen"},
	"golang.org/x/time":                        {"loadgen"},
	"github.com/HdrHistogram/hdrhistogram-go":  {"results/summary"},
	"github.com/schollz/progressbar/v3":        {"cmd/servebench"},
	"github.com/spf13/cobra":                   {"cmd/servebench"},
	"github.com/spf13/pflag":                   {"cmd/servebench"},
	"golang.org/x/term":                        {"cmd/servebench"},
	"github.com/parquet-go/parquet-go":         {"datasets", "results/report"},
	"go.yaml.in/yaml/v4":                       {"loadgen/scenario"},
	"github.com/invopop/jsonschema":            {"loadgen/scenario"},
	"github.com/santhosh-tekuri/jsonschema/v6": {"loadgen/scenario"},
	"github.com/prometheus/common":             {"loadgen/server"},
	"github.com/prometheus/client_model":       {"loadgen/server"},
	"github.com/klauspost/compress":            {"results", "profiles/trace"},
	"github.com/klauspost/pgzip":               {"profiles/trace"},
	"github.com/dlclark/regexp2":               {"datasets/tokenizer"},
	"golang.org/x/text":                        {"datasets/tokenizer"},
	"golang.org/x/sys":                         {"loadgen/wire", "loadgen/server"},
	"github.com/go-json-experiment/json":       {"profiles/trace"},
}

// testOnly are modules that only tests may import, anywhere.
var testOnly = []string{
	"go.uber.org/goleak", "pgregory.net/rapid", "github.com/google/go-cmp",
}

func TestImportsKeepToTheirFloor(t *testing.T) {
	root := ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, name)
		}
		check(t, filepath.ToSlash(filepath.Dir(rel)), rel, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, pkg, file string, imports []string) {
	t.Helper()
	isTest := strings.HasSuffix(file, "_test.go")
	for _, path := range imports {
		if inner, ok := strings.CutPrefix(path, "servebench/"); ok {
			if isTest {
				continue
			}
			from, known := floorOf(pkg)
			if !known {
				t.Errorf("%s: package %s has no floor: give it one here and in docs/architecture.md", file, pkg)
				return
			}
			if to, ok := floorOf(inner); !ok || to >= from {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d)", file, pkg, from, inner, to)
			}
			continue
		}
		if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
			continue // the standard library
		}
		if isTest && slices.ContainsFunc(testOnly, func(m string) bool { return within(path, m) }) {
			continue
		}
		module, ok := moduleOf(path)
		if !ok {
			t.Errorf("%s imports %s, which has no door", file, path)
			continue
		}
		if !isTest && !slices.ContainsFunc(doors[module], func(p string) bool { return pkg == p }) {
			t.Errorf("%s: %s comes in by %s, not by %s", file, module, strings.Join(doors[module], ", "), pkg)
		}
	}
}

func floorOf(pkg string) (int, bool) {
	floor, ok := floors[pkg]
	return floor, ok
}

func moduleOf(path string) (string, bool) {
	for module := range doors {
		if within(path, module) {
			return module, true
		}
	}
	return "", false
}

func within(path, module string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

func TestEveryFloorExists(t *testing.T) {
	for pkg := range floors {
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(pkg))); err != nil {
			t.Errorf("package %s has a floor and no folder", pkg)
		}
	}
}

// TestTheMapIsTrue holds the table of docs/architecture.md against the floors.
func TestTheMapIsTrue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	for pkg, floor := range floors {
		if row := fmt.Sprintf("| %d | `%s` |", floor, pkg); !strings.Contains(string(text), row) {
			t.Errorf("docs/architecture.md has no row %q", row)
		}
	}
}
