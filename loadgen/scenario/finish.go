package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"servebench/profiles/merge"
	"servebench/results"
	"servebench/results/page"
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

// page writes the page that people look at.
func (r *runner) page(result *Result) error {
	run, err := results.Open(r.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	trace, err := page.TraceOf(os.DirFS(r.Dir), merge.FileName)
	if err != nil {
		return err
	}
	var html bytes.Buffer
	if err := page.Write(&html, run, page.Options{Server: result.Server, Trace: trace}); err != nil {
		return fmt.Errorf("%s: %w", page.FileName, err)
	}
	return results.WriteFile(filepath.Join(r.Dir, page.FileName), html.Bytes())
}

// text is a file of the run, empty when it is not there.
func (r *runner) text(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}
