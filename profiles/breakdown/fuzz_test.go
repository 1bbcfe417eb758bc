package breakdown

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAnalyze feeds the analysis whatever the reader lets through: it must answer or
// refuse, never panic, and the reasons of gaps must add up.
func FuzzAnalyze(f *testing.F) {
	f.Add([]byte(smallCUDA))
	f.Add([]byte(gaudiRows))
	f.Add([]byte(`[{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":9e15,"dur":9e12,"args":{"correlation":-1}},{"ph":"X","cat":"Runtime","name":"synLaunch","pid":0,"tid":1,"ts":-5,"dur":0}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "t.json")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Analyze(context.Background(), []string{path, path}, Options{Memory: 1})
		if err != nil {
			return
		}
		for _, w := range r.Warnings {
			if strings.HasPrefix(w, "internal fault") {
				t.Fatal(w)
			}
		}
		if _, err := r.JSON(); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteText(&strings.Builder{}); err != nil {
			t.Fatal(err)
		}
	})
}
