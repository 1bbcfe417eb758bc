package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"servebench/internal/argparse"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// saves says whether a result file is wanted.
func (o *benchOptions) saves() bool { return o.SaveResult || o.AppendResult }

// wantsPyTorch says whether the PyTorch benchmark file is wanted.
func wantsPyTorch() bool { return os.Getenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT") != "" }

// crashesLate says that the original dies on the PyTorch file, with the result already written.
func (o *benchOptions) crashesLate() bool {
	return o.Strict && wantsPyTorch() && o.ResultFilename == nil
}

// files makes sure before the run that its result can be written after it.
func (o *benchOptions) files() error {
	if !o.saves() && !o.PlotTimeline && !o.PlotDatasetStats {
		return nil
	}
	dir := filepath.Dir(filepath.Join(deref(o.ResultDir), deref(o.ResultFilename)))
	if o.ResultFilename == nil {
		dir = deref(o.ResultDir)
	}
	if dir == "" {
		dir = "."
	}
	if o.ResultFilename != nil && filepath.IsAbs(*o.ResultFilename) {
		dir = filepath.Dir(*o.ResultFilename)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failed(fmt.Errorf("--result-dir: %w", err))
	}
	probe, err := os.CreateTemp(dir, ".servebench-*")
	if err != nil {
		return failed(fmt.Errorf("the result could not be written: %w; choose another --result-dir", err))
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// save writes vLLM's files. part is the run's name among several; extra are members that the Python client's file does not have.
func (o *benchOptions) save(stdout io.Writer, s *summary.Summary, part string, extra []report.Arg) error {
	settings := &s.Manifest.Settings
	if o.ResultFilename == nil { // the usual name tells the points of a sweep apart
		part = part[strings.LastIndexByte(part, '/')+1:]
		if !strings.HasPrefix(part, "run=") {
			part = ""
		}
	}
	file := partName(report.ResultName(settings, deref(o.ResultDir), deref(o.ResultFilename), settings.Date), part)
	var problems []error
	if o.saves() {
		write := report.Save
		if o.AppendResult {
			write = report.Append
		}
		problems = append(problems, write(file, withMembers(report.VLLMJSON(s), extra)))
		if wantsPyTorch() && !o.crashesLate() {
			problems = append(problems, o.savePyTorch(s, file))
		}
	}
	if o.PlotTimeline {
		name := report.TimelineName(file)
		err := draw(name, func(w io.Writer) error { return report.Timeline(w, s, o.TimelineMS) })
		if err == nil && o.Strict {
			fmt.Fprintln(stdout, "Timeline plot saved to: "+name)
		}
		problems = append(problems, err)
	}
	if o.PlotDatasetStats {
		problems = append(problems, draw(report.DatasetStatsName(file), func(w io.Writer) error { return report.DatasetStats(w, s) }))
	}
	return errors.Join(problems...)
}

// withMembers puts more members at the end of a JSON object.
func withMembers(object []byte, extra []report.Arg) []byte {
	for _, m := range extra {
		object = bytes.TrimSuffix(object, []byte("}"))
		object = append(object, fmt.Appendf(nil, ", %s: %s}", argparse.Dumps(m.Name), m.Value)...)
	}
	return object
}

func (o *benchOptions) savePyTorch(s *summary.Summary, file string) error {
	text, err := report.PyTorchJSON(s, o.arguments(), deref(o.Model), file)
	if err != nil || text == nil {
		return err
	}
	return report.Save(report.PyTorchName(file), text)
}

// draw writes a picture whole or not at all.
func draw(file string, picture func(io.Writer) error) error {
	var buf bytes.Buffer
	if err := picture(&buf); err != nil {
		return err
	}
	return report.Save(file, buf.Bytes())
}

// arguments are all values of the command line as the PyTorch file lists them.
func (o *benchOptions) arguments() []report.Arg {
	const object = `"<Object of type %s is not JSON serializable>"`
	args := []report.Arg{
		{Name: "subparser", Value: []byte(`"bench"`)}, {Name: "bench_type", Value: []byte(`"serve"`)},
		{Name: "dispatch_function", Value: fmt.Appendf(nil, object, "function")},
	}
	for v := range o.values.All() {
		if v.Option.Extension {
			continue
		}
		value := jsonable(v.Value)
		if v.Option.Secret && value != nil && !isEmptyList(value) {
			value = results.Redacted
		}
		args = append(args, report.Arg{Name: v.Option.Dest(), Value: []byte(argparse.Dumps(value))})
	}
	return append(args, report.Arg{Name: "log_config_file", Value: []byte("null")},
		report.Arg{Name: "logging_config", Value: fmt.Appendf(nil, object, "LoggingConfig")})
}

// jsonable is a value that JSON can hold: what is infinite becomes a text, and so do keys that are tuples.
func jsonable(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return argparse.FloatRepr(v)
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = jsonable(v[i])
		}
		return list
	case argparse.Tuple:
		return jsonable([]any(v))
	case *argparse.Dict:
		d := &argparse.Dict{}
		for key, value := range v.All() {
			if t, ok := key.(argparse.Tuple); ok {
				key = argparse.Str(t)
			}
			d.Set(key, jsonable(value))
		}
		return d
	}
	return value
}
