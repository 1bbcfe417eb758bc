package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDifferencesNameRealFlags holds docs/differences.md against the program: every row has a way back or says that there is none, and
// every flag it names exists.
func TestDifferencesNameRealFlags(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"--fig-dpi": true, "--host": true, "--config": true}
	for _, o := range append(benchCommandParser().Options, multiTurnParser(&multiTurnOptions{}).Options...) {
		for _, name := range o.Names() {
			known[name] = true
		}
	}
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	rows := 0
	for i, line := range strings.Split(string(text), "\n") {
		for _, name := range flag.FindAllString(line, -1) {
			if !known[name] {
				t.Errorf("line %d: no flag %s", i+1, name)
			}
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| what ") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if len(cells) != 4 {
			t.Errorf("line %d: %d cells; want what, the original, ours, the way back", i+1, len(cells))
			continue
		}
		if back := strings.TrimSpace(cells[3]); back != "none" && !regexp.MustCompile("^`--[a-z-]+( vllm)?`$").MatchString(back) {
			t.Errorf("line %d: the way back is %q; want one flag or none", i+1, back)
		}
	}
	if rows < 50 {
		t.Errorf("%d rows; is the page cut?", rows)
	}
}
