package scenario

import (
	"path/filepath"
	"strings"
	"testing"

	"servebench/results"
)

// Every example of the documentation runs, on the simulator.
func TestExamplesRun(t *testing.T) {
	for _, path := range examples(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Read(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != name {
				t.Errorf("it calls itself %s", s.Name)
			}
			dir := filepath.Join(t.TempDir(), "run")
			if !s.IsSeries() {
				result, err := Run(t.Context(), s, Options{Dir: dir, Sim: true})
				if err != nil {
					t.Fatal(err)
				}
				if result.Outcome != results.OK || result.Summary == nil || result.Summary.Completed == 0 || result.Summary.Failed != 0 {
					t.Errorf("outcome %s (%s), summary %+v", result.Outcome, result.Reason, result.Summary)
				}
				if (result.Merged == "") != (s.Profile == nil) {
					t.Errorf("merged trace %q", result.Merged)
				}
				return
			}
			x, err := RunSeries(t.Context(), s, SeriesOptions{Options: Options{Dir: dir, Sim: true}})
			if err != nil {
				t.Fatal(err)
			}
			if !x.Complete || (x.Search == nil) != (s.Search == nil || s.Sweep != nil) {
				t.Errorf("complete %t, search %+v", x.Complete, x.Search)
			}
			for _, r := range x.Runs {
				if r.Status != RunOK && r.Status != RunStopped {
					t.Errorf("%s is %s: %s", r.Folder, r.Status, r.Reason)
				}
			}
		})
	}
}
