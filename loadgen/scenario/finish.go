package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"servebench/results"
	"servebench/results/report"
)

// Files of a run folder beside those of package results.
const (
	ReportFile = "report.json" // every figure
	ResultFile = "result.json" // vLLM's result
	ServerFile = "server.json" // what the server's trace says
)

// report sums up the closed run and writes its reports. Everything in them follows from the run folder.
func (r *runner) report(result *Result) error {
	m := r.out.Manifest()
	before, err := r.text(results.MetricsBefore)
	if err != nil {
		return err
	}
	after, err := r.text(results.MetricsAfter)
	if err != nil {
		return err
	}
	result.Summary = r.recorder.Summary(&m, before, after)
	var text bytes.Buffer
	var problems []error
	if err := report.JSON(&text, result.Summary); err != nil {
		problems = append(problems, err)
	}
	for _, file := range []struct {
		name string
		text []byte
	}{
		{ResultFile, append(report.VLLMJSON(result.Summary), '\n')},
		{ReportFile, text.Bytes()},
	} {
		if err := results.WriteFile(filepath.Join(r.Dir, file.name), file.text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file.name, err))
		}
	}
	return errors.Join(problems...)
}

// text is a file of the run, empty when it is not there.
func (r *runner) text(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
