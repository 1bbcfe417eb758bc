package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every key of report.json stands in its manual.
func TestManualNamesEveryKey(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "report-json.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		// These are described as a whole.
		for _, key := range []string{"vllm", "machine"} {
			delete(doc, key)
		}
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				if strings.HasSuffix(path, "percentiles") {
					return
				}
				for key, inner := range v {
					if !bytes.Contains(manual, []byte("`"+key+"`")) && !bytes.Contains(manual, []byte("."+key+"`")) && key != "detail" {
						t.Errorf("%s: %s.%s is not in the manual", file, path, key)
					}
					walk(path+"."+key, inner)
				}
			case []any:
				for _, inner := range v {
					walk(path, inner)
				}
			case nil:
				t.Errorf("%s: %s is null", file, path)
			}
		}
		walk("", doc)
	}
}
