package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// Texts are the reports of a run as its folder keeps them, by file name. They follow from the summary alone, so that they can be
// made again from the records and held against the files.
func Texts(s *summary.Summary) (map[string][]byte, error) {
	var full bytes.Buffer
	if err := report.JSON(&full, s); err != nil {
		return nil, err
	}
	return map[string][]byte{ReportFile: full.Bytes(), ResultFile: append(report.VLLMJSON(s), '\n')}, nil
}

// WriteReports sums up the run in a folder and writes its reports there. A merged run is audited on the way: only all shards
// together sent what the server counted.
func WriteReports(dir string) (*summary.Summary, error) {
	run, err := results.Open(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if m := run.Manifest(); m.Merge != nil && m.Audit == nil {
		checks, err := auditMerged(run)
		if err != nil {
			return nil, err
		}
		m.Audit = checks
		if err := results.Amend(dir, func(m *results.Manifest) { m.Audit = checks }); err != nil {
			return nil, err
		}
	}
	s, err := summary.OfRun(run)
	if err != nil {
		return nil, err
	}
	return s, keepReports(run, s)
}

// keepReports writes the reports of a run into its folder: the usual ones, and those that its scenario asks for.
func keepReports(run *results.Run, s *summary.Summary) error {
	texts, err := Texts(s)
	if err != nil {
		return err
	}
	var problems []error
	for name, text := range texts {
		problems = append(problems, results.WriteFile(filepath.Join(run.Dir(), name), text))
	}
	for _, format := range s.Manifest.Settings.Formats {
		name := report.FileName(format)
		if _, kept := texts[name]; kept || name == "" { // a format of a later version has no name here
			continue
		}
		problems = append(problems, results.WriteStream(filepath.Join(run.Dir(), name), func(w io.Writer) error {
			return report.Write(w, format, s, run.Records())
		}))
	}
	return errors.Join(problems...)
}

// auditMerged holds the figures of a merged run against each other and against the server's. What only the shards could check
// is what they found.
func auditMerged(run *results.Run) ([]results.Check, error) {
	m := run.Manifest()
	s := new(Scenario)
	if len(m.Scenario) > 0 {
		if err := json.Unmarshal(m.Scenario, s); err != nil {
			return nil, fmt.Errorf("%s: its scenario: %w", run.Dir(), err)
		}
	}
	merged := &runner{Scenario: s}
	ledger := merged.ledger()
	for rec, err := range run.Records() {
		if err != nil {
			return nil, err
		}
		ledger.Add(rec)
	}
	var pages [2][]byte
	for i, name := range []string{results.MetricsBefore, results.MetricsAfter} {
		page, err := run.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		pages[i] = page
	}
	if m.Merge.Partial != "" {
		pages = [2][]byte{} // the server counted what is not here too
	}
	duration, _ := m.Ended.Sub(m.Began)
	checks := merged.audit(ledger, 0, duration, pages[0], pages[1])
	for i := range checks {
		if checks[i].State == results.NotCheckable {
			checks[i] = ofShards(checks[i], m.Merge.Shards)
		}
	}
	return checks, nil
}

// ofShards is a check as the shards found it: failed if one of them did, passed if all of them did.
func ofShards(c results.Check, shards []results.MergedShard) results.Check {
	passed := 0
	for _, s := range shards {
		for _, found := range s.Audit {
			switch {
			case found.Name != c.Name:
			case found.State == results.Missed:
				return results.Check{Name: c.Name, State: results.Missed, Detail: fmt.Sprintf("shard %s: %s", s.Shard, found.Detail)}
			case found.State == results.Passed:
				passed++
			}
		}
	}
	if passed > 0 && passed == len(shards) {
		return results.Check{Name: c.Name, State: results.Passed, Detail: fmt.Sprintf("in each of %d shards", passed)}
	}
	return c
}

// Judge says how a run ended by the bound that its scenario sets on failures, as one process would have judged it.
func Judge(m *results.Manifest, requests, failed int, example string) (results.Outcome, string) {
	var s struct{ Objectives Objectives }
	if len(m.Scenario) > 0 {
		if err := json.Unmarshal(m.Scenario, &s); err != nil {
			return results.Failed, "its scenario cannot be read: " + err.Error()
		}
	}
	r := runner{Scenario: &Scenario{Objectives: s.Objectives}, tally: tally{requests: requests, failed: failed, example: example}}
	return r.judge()
}

// YAML is the text of a scenario, whole: with what it extends and what the sets change, ready to be saved and run elsewhere.
func YAML(name string, sets []string) (string, error) {
	l := &loader{}
	node, err := l.load(name, "")
	if err != nil {
		return "", err
	}
	for _, set := range sets {
		if err := l.set(node, set); err != nil {
			return "", err
		}
	}
	stripTags(node)
	text, err := yaml.Dump(node, yaml.WithIndent(2), yaml.WithLineWidth(120))
	return string(text), err
}

// TraceFlag is the words that tell vLLM's profiler where to write its traces, for a server that is started outside a run.
func TraceFlag(folder string) []string {
	return []string{"--profiler-config", fmt.Sprintf(`{"profiler": "torch", "torch_profiler_dir": %q}`, folder)}
}
