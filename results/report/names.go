package report

import (
	"path"
	"strconv"
	"strings"

	"servebench/internal/python"
	"servebench/results"
)

// ResultName is the name that vLLM gives its result file. dir and name are --result-dir and
// --result-filename, empty when not given; date is YYYYMMDD-HHMMSS.
func ResultName(s *results.Settings, dir, name, date string) string {
	if name == "" {
		label := s.Label
		if label == "" {
			label = s.Backend
		}
		concurrency := ""
		if s.MaxConcurrency > 0 {
			concurrency = "-concurrency" + strconv.Itoa(s.MaxConcurrency)
		}
		model := s.ModelID[strings.LastIndexByte(s.ModelID, '/')+1:]
		load := python.Float(float64(s.RequestRate)) + "qps"
		if r := s.RampUp; r != nil {
			load = "ramp-up-" + r.Strategy + "-" + strconv.Itoa(r.StartRPS) + "qps-" + strconv.Itoa(r.EndRPS) + "qps"
		}
		name = label + "-" + load + concurrency + "-" + model + "-" + date + ".json"
	}
	switch {
	case dir == "" || strings.HasPrefix(name, "/"):
		return name
	case strings.HasSuffix(dir, "/"):
		return dir + name
	}
	return dir + "/" + name
}

// TimelineName and DatasetStatsName replace the last suffix of a result file's name; PyTorchName cuts it off.
// Only a name that ends in a dot tells the two rules apart.
func TimelineName(file string) string     { return withSuffix(file, ".timeline.html") }
func DatasetStatsName(file string) string { return withSuffix(file, ".dataset_stats.png") }

// PyTorchName is the name of the PyTorch benchmark file.
func PyTorchName(file string) string {
	dir, base := path.Split(file)
	if dot := strings.LastIndexByte(base, '.'); dot > 0 && strings.Trim(base[:dot], ".") != "" {
		base = base[:dot]
	}
	return dir + base + ".pytorch.json"
}

// withSuffix is pathlib's with_suffix: a leading dot is part of the name, and so is one at the end.
func withSuffix(file, suffix string) string {
	dir, base := path.Split(file)
	if dot := strings.LastIndexByte(base, '.'); dot > 0 && dot < len(base)-1 {
		base = base[:dot]
	}
	return dir + base + suffix
}
