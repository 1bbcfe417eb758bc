package main

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/summary"
)

// junit is what a pipeline reads of a JUnit file.
type junit struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Suites   []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Class   string `xml:"classname,attr"`
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func readJUnit(t *testing.T, path string) (j junit) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, &j); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return j
}

// objectivesScenario meets its bounds on ten requests of 2 ms to the first token, whatever the machine.
const objectivesScenario = `
name: objectives
dataset: {input_len: 8, output_len: 3}
load: {requests: 10, concurrency: 2}
warmup: {requests: 2}
sim: {first_token: 2ms, between_tokens: 1ms}
objectives: {bounds: ["failures <= 0", "max ttft <= 1m"]}
report: {formats: [junit, parquet, requests-csv]}
`

func TestObjectivesDecideTheExitStatus(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	if err := os.WriteFile(file, []byte(objectivesScenario), 0o644); err != nil {
		t.Fatal(err)
	}
	met := filepath.Join(dir, "met")
	status, stdout, stderr := servebench(t, "run", file, "--sim", "--out", met)
	if status != 0 || !strings.Contains(stdout, "met     failures <= 0: 0 requests\nmet     max ttft <= 1m: ") {
		t.Fatalf("exit %d; want 0 and both objectives met\n%s\n%s", status, stdout, stderr)
	}
	if j := readJUnit(t, filepath.Join(met, "junit.xml")); len(j.Suites) != 1 || j.Errors != 0 || j.Suites[0].Cases[1].Name != "failures <= 0" || j.Suites[0].Cases[2].Failure != nil {
		t.Errorf("junit.xml says %+v", j)
	}
	status, table, _ := servebench(t, "report", "--format", "requests-csv", met)
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if status != 0 || err != nil || len(rows) != 13 {
		t.Errorf("exit %d, %v, %d lines; want 0, none, 13: a head, 2 warm-ups, 10 requests", status, err, len(rows))
	}
	kept, err := os.ReadFile(filepath.Join(met, "requests.csv"))
	if err != nil || string(kept) != table {
		t.Errorf("requests.csv (%v) is not what report prints", err)
	}
	status, file2, _ := servebench(t, "report", "--format", "parquet", met)
	kept, err = os.ReadFile(filepath.Join(met, "requests.parquet"))
	if status != 0 || err != nil || string(kept) != file2 || !strings.HasPrefix(file2, "PAR1") {
		t.Errorf("requests.parquet (%v) is not what report writes (exit %d)", err, status)
	}
	status, verified, _ := servebench(t, "verify", met)
	if status != 0 || !strings.Contains(verified, "junit.xml with the records, requests.parquet with the records, requests.csv with the records") {
		t.Errorf("verify: exit %d: %s", status, verified)
	}
	if err := os.WriteFile(filepath.Join(met, "requests.parquet"), append(kept, 'x'), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, verified, _ := servebench(t, "verify", met); status != 1 || !strings.Contains(verified, "requests.parquet is not what the records give") {
		t.Errorf("verify of a file with a byte more: exit %d: %s", status, verified)
	}

	missed := filepath.Join(dir, "missed")
	status, stdout, stderr = servebench(t, "run", file, "--sim", "--out", missed, "--set", `objectives.bounds=["min ttft <= 1us", "failures <= 0", "p99 itl <= 1m"]`)
	if status != 3 || !strings.Contains(stdout, "MISSED  min ttft <= 1us: ") || !strings.Contains(stderr, "servebench: objectives were missed: min ttft <= 1us: ") {
		t.Errorf("exit %d; want 3 and what was missed\n%s\n%s", status, stdout, stderr)
	}
	var report struct {
		Objectives []struct {
			Bound, Unit string
			Value       *float64
			Met         bool
		}
	}
	text, err := os.ReadFile(filepath.Join(missed, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := report.Objectives
	if len(o) != 3 || o[0].Met || o[0].Value == nil || *o[0].Value < 1 || o[0].Unit != "ms" || !o[1].Met || *o[1].Value != 0 || !o[2].Met {
		t.Errorf("report.json says %+v", o)
	}
	if j := readJUnit(t, filepath.Join(missed, "junit.xml")); j.Suites[0].Cases[1].Failure == nil || !strings.Contains(j.Suites[0].Cases[1].Failure.Message, " ms, the bound is min ttft <= 1us") {
		t.Errorf("junit.xml says %+v", j)
	}
	page, err := os.ReadFile(filepath.Join(missed, "report.html"))
	if err != nil || !strings.Contains(string(page), "min ttft &lt;= 1us") {
		t.Errorf("the page (%v) does not name the objective", err)
	}
	// A run that failed is no run that missed.
	status, _, stderr = servebench(t, "run", file, "--sim", "--out", filepath.Join(dir, "failed"), "--set", "endpoint=/v9/completions")
	if status != 1 || !strings.Contains(stderr, "all requests failed") {
		t.Errorf("exit %d; want 1\n%s", status, stderr)
	}
	// Repeats of one scenario have its bar too.
	status, _, stderr = servebench(t, "run", file, "--sim", "--out", filepath.Join(dir, "repeats"), "--set", "repeats=2", "--set", `objectives.bounds=["min ttft <= 1us"]`)
	if status != 3 || !strings.Contains(stderr, "min ttft <= 1us in repeat 1: ") || !strings.Contains(stderr, "in repeat 2: ") {
		t.Errorf("repeats: exit %d; want 3\n%s", status, stderr)
	}
	if j := readJUnit(t, filepath.Join(dir, "repeats", "junit.xml")); len(j.Suites) != 1 || j.Suites[0].Name != "objectives" || j.Failures < 2 {
		t.Errorf("junit.xml of repeats says %+v", j)
	}
}

func TestReportOfASweep(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	text := strings.Replace(objectivesScenario, "max ttft <= 1m", "min ttft <= 1us", 1) + "sweep: {points: [{load.concurrency: 1}, {endpoint: /v1/nothing}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "sweep")
	if status, _, stderr := servebench(t, "run", file, "--sim", "--out", out); status != 1 || !strings.Contains(stderr, "1 of 2 runs failed") {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	j := readJUnit(t, filepath.Join(out, "junit.xml"))
	if len(j.Suites) != 2 || j.Suites[0].Name != "load.concurrency=1" || j.Suites[1].Name != "endpoint=/v1/nothing" || j.Errors != 1 {
		t.Errorf("junit.xml says %+v", j)
	}
	var names []string
	for _, c := range j.Suites[0].Cases {
		if c.Class == "objectives" {
			names = append(names, c.Name)
		}
	}
	if strings.Join(names, "; ") != "failures <= 0; min ttft <= 1us" || j.Suites[0].Cases[2].Failure == nil {
		t.Errorf("objectives of the first point: %q", names)
	}
	kept, err := os.ReadFile(filepath.Join(out, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"junit": string(kept), "text": "sweep objectives: 2 of 2 runs ended", "csv": "position,point,", "json": `"servebench.index/1"`, "html": "<!doctype html>"} {
		if status, got, stderr := servebench(t, "report", "--format", format, out); status != 0 || !strings.Contains(got, want) {
			t.Errorf("%s: exit %d\n%s\n%.300s", format, status, stderr, got)
		}
	}
	if _, page, _ := servebench(t, "report", "--format", "html", out); strings.Contains(page, `href="/`) {
		t.Error("the page in a file leads to pages that somebody would have to serve")
	}
	if status, _, stderr := servebench(t, "report", "--format", "parquet", out); status != 1 || !strings.Contains(stderr, `no format "parquet" of a series: have csv, json, junit, text`) {
		t.Errorf("parquet of a sweep: exit %d\n%s", status, stderr)
	}
}

func TestRequireValid(t *testing.T) {
	bound := &summary.Summary{Health: summary.Health{State: summary.ClientBound}, Warnings: []string{"late", "busy"}}
	for _, tc := range []struct {
		name    string
		summary *summary.Summary
		require bool
		want    string
	}{
		{"the client is ok", &summary.Summary{Health: summary.Health{State: summary.Healthy}}, true, ""},
		{"it is not", bound, true, "--require-valid: late; busy"},
		{"nobody asked", bound, false, ""},
		{"nothing was measured", nil, true, "--require-valid: nothing was measured"},
		{"a script measures nothing of its own", nil, false, ""},
	} {
		got := ""
		if err := verdictOn(&scenario.Result{Outcome: results.OK, Summary: tc.summary}, tc.require); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestUnknownReportFormatHasItsPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("load: {requests: 1}\nreport:\n  formats: [junit, xml]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := servebench(t, "run", "--check", file)
	if status != 2 || !strings.Contains(stderr, `:3:20: report.formats.1: no report format "xml": have csv, json, junit, markdown, parquet, requests-csv, text, vllm, vllm-json`) {
		t.Errorf("exit %d: %s", status, stderr)
	}
}
