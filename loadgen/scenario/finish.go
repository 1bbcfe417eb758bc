package scenario

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"servebench/results"
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
	run, err := results.Open(r.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	return keepReports(run, result.Summary)
}

// text is a file of the run, empty when it is not there.
func (r *runner) text(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
