package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// WriteReports sums up the run in a folder and writes its reports there.
func WriteReports(dir string) (*summary.Summary, error) {
	run, err := results.Open(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	s, err := summary.OfRun(run)
	if err != nil {
		return nil, err
	}
	texts, err := Texts(s)
	if err != nil {
		return s, err
	}
	var problems []error
	for name, text := range texts {
		if err := results.WriteFile(filepath.Join(dir, name), text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return s, errors.Join(problems...)
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
