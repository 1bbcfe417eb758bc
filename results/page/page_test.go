package page

import (
	"encoding/json"
	"os"
	"testing"

	"servebench/results"
	"servebench/results/report"
)

func TestTry(t *testing.T) {
	dir := os.Getenv("TRY")
	if dir == "" {
		t.Skip()
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var o Options
	if text, err := run.ReadFile("server.json"); err == nil {
		o.Server = new(report.Server)
		if err := json.Unmarshal(text, o.Server); err != nil {
			t.Fatal(err)
		}
		o.Trace = "merged.trace.json.gz"
	}
	f, err := os.Create(dir + "/report.html")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, run, o); err != nil {
		t.Fatal(err)
	}
}
