package page

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"servebench/results/report"
	"servebench/results/summary"
)

// TestBriefs reads a run's line from its report and from its records: both must say the same.
func TestBriefs(t *testing.T) {
	run := synthetic(t, 150, 6, nil)
	fromRecords, err := BriefOf(run)
	if err != nil {
		t.Fatal(err)
	}
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.JSON(&text, s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run.Dir(), ReportFile), text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	fromReport, err := BriefOf(run)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromReport, fromRecords) {
		t.Errorf("from the report %+v, from the records %+v", fromReport, fromRecords)
	}
	if want, _ := s.Dist("ttft", s.Basis).At(99); *fromReport.TTFT99 != want || fromReport.Completed != 147 || fromReport.Failed != 3 {
		t.Errorf("%+v", fromReport)
	}
	if err := os.WriteFile(filepath.Join(run.Dir(), ReportFile), []byte(`{"schema":"other"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := BriefOf(run); err == nil || !strings.Contains(err.Error(), `layout "other"`) {
		t.Errorf("a report of another layout: %v", err)
	}
}

func TestIndexGolden(t *testing.T) {
	run := synthetic(t, 150, 6, nil)
	older, err := BriefOf(run)
	if err != nil {
		t.Fatal(err)
	}
	older.Name, older.Link = "b/older", "/run/b/older"
	newer := *older
	m := *older.Manifest
	m.Began++
	newer.Manifest, newer.Name, newer.Link, newer.Trace = &m, "a", "/run/a", "/open/a"
	var b bytes.Buffer
	if err := WriteIndex(&b, List{Folder: "runs", Runs: []*Brief{older, &newer}, Series: []SeriesRun{{"sweep", "/series/sweep"}}, Troubles: []Trouble{{"broken", "half a file"}}}); err != nil {
		t.Fatal(err)
	}
	golden(t, "index.html", elided(b.String()))
}

func TestOpener(t *testing.T) {
	var b bytes.Buffer
	o := Opener{Title: "a run", Trace: "/trace/a", FileName: "merged.trace.json.gz", Bytes: 1_500_000, Perfetto: "http://localhost:9/ui/#!/x", Back: "/run/a"}
	if err := WriteOpener(&b, o); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, text := range []string{`"origin":"http://localhost:9"`, `"perfetto":"http://localhost:9/ui/#!/x"`, `"trace":"/trace/a"`, "1.5 MB", "connect-src &#39;self&#39;"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %s", text)
		}
	}
	for _, bad := range []string{"javascript:alert(1)", "ui.perfetto.dev", "", "file:///x"} {
		o.Perfetto = bad
		if err := WriteOpener(&b, o); err == nil {
			t.Errorf("%q was taken for an address of the UI", bad)
		}
	}
}
