package report

import (
	"bytes"
	"encoding/json"
	"math"
	"path"
	"strings"

	"servebench/internal/python"
	"servebench/results/summary"
)

// pytorchMetrics are the keys that become records of a PyTorch benchmark file, in vLLM's order.
var pytorchMetrics = []string{
	"median_ttft_ms", "mean_ttft_ms", "std_ttft_ms", "p99_ttft_ms",
	"mean_tpot_ms", "median_tpot_ms", "std_tpot_ms", "p99_tpot_ms",
	"median_itl_ms", "mean_itl_ms", "std_itl_ms", "p99_itl_ms",
}

// An Arg is one value of the command line, as JSON.
type Arg struct {
	Name  string
	Value json.RawMessage
}

// PyTorchJSON is the PyTorch benchmark file: a record a metric. args are all values of the command line, already
// redacted; model is --model, file the result file's name. It is nil when no metric is there.
func PyTorchJSON(s *summary.Summary, args []Arg, model, file string) ([]byte, error) {
	result := resultObject(s)
	skip := map[string]bool{
		"ttfts": true, "itls": true, "generated_texts": true, "errors": true, "server_queue_times": true, "server_ttfts": true,
	}
	for _, key := range pytorchMetrics {
		skip[key] = true
	}
	extra := &object{}
	for _, key := range result.keys {
		if !skip[key] {
			extra.set(key, finite(result.values[key]))
		}
	}
	given := &object{}
	for _, arg := range args {
		value, err := python.AppendJSON(nil, arg.Value)
		if err != nil {
			return nil, err
		}
		given.set(arg.Name, finite(value))
	}
	if size, ok := extra.values["tensor_parallel_size"]; ok && empty(given.values["tensor_parallel_size"]) {
		given.set("tensor_parallel_size", size)
	}
	mode := metadata(s, "compilation_config.mode")
	info := &object{}
	info.set("args", given.append(nil))
	info.str("compilation_config.mode", mode)
	info.str("optimization_level", metadata(s, "optimization_level"))
	if mode == "0" || strings.Contains(path.Base(file), "eager") {
		info.set("use_compile", []byte("false"))
	} else {
		info.set("use_compile", []byte("true"))
	}

	var records [][]byte
	for _, key := range pytorchMetrics {
		value, ok := result.values[key]
		if !ok {
			continue
		}
		var benchmark, modelPart, metric, record object
		benchmark.str("name", "vLLM benchmark")
		benchmark.set("extra_info", info.append(nil))
		modelPart.str("name", model)
		metric.str("name", key)
		metric.set("benchmark_values", append(append([]byte{'['}, finite(value)...), ']'))
		metric.set("extra_info", extra.append(nil))
		record.set("benchmark", benchmark.append(nil))
		record.set("model", modelPart.append(nil))
		record.set("metric", metric.append(nil))
		records = append(records, record.append(nil))
	}
	if len(records) == 0 {
		return nil, nil
	}
	b := append([]byte{'['}, bytes.Join(records, []byte(", "))...)
	return append(b, ']'), nil
}

// finite spells an infinite number as this file does.
func finite(value []byte) []byte {
	if string(value) == "Infinity" {
		return python.AppendString(nil, python.Float(math.Inf(1)))
	}
	return value
}

func empty(value []byte) bool {
	switch string(value) {
	case "", "null", "0", "false", `""`:
		return true
	}
	return false
}

func metadata(s *summary.Summary, key string) string {
	for _, pair := range s.Manifest.Settings.Metadata {
		if pair.Key == key {
			return pair.Value
		}
	}
	return ""
}
