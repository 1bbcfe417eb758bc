package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"servebench/internal/argparse"
	"servebench/results/report"
)

// indented is a value as Python's json.dumps writes it with so many blanks of indentation.
func indented(value any, blanks int) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(argparse.Dumps(value)), "", strings.Repeat(" ", blanks)); err != nil { // NaN and Infinity are no JSON
		return nil, err
	}
	return b.Bytes(), nil
}

func saveIndented(path string, value any, blanks int) error {
	text, err := indented(value, blanks)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return report.Save(path, text)
}

// readObject reads a file of one JSON object.
func readObject(path string) (*argparse.Dict, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	value, err := argparse.Loads(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d, ok := value.(*argparse.Dict)
	if !ok {
		return nil, fmt.Errorf("%s: want a JSON object", path)
	}
	return d, nil
}

// readSummary reads a summary.json: a list of runs.
func readSummary(path string) ([]*argparse.Dict, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	value, err := argparse.Loads(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: want a list of runs", path)
	}
	var runs []*argparse.Dict
	for i, item := range list {
		d, ok := item.(*argparse.Dict)
		if !ok {
			return nil, fmt.Errorf("%s: run %d is no object", path, i)
		}
		runs = append(runs, d)
	}
	return runs, nil
}

// saveSummary writes the runs of one combination.
func saveSummary(path string, runs []*argparse.Dict) error {
	list := make([]any, len(runs))
	for i, r := range runs {
		list[i] = r
	}
	return saveIndented(path, list, 4)
}

// saveCSV writes all runs as pandas would: an index in the first column, empty cells for what a run lacks, and a column of whole
// numbers with holes in it as decimals.
func saveCSV(path string, runs []*argparse.Dict) error {
	var keys []string
	seen := map[string]int{}
	for _, r := range runs {
		for key := range r.All() {
			k := argparse.Str(key)
			if _, ok := seen[k]; !ok {
				seen[k] = len(keys)
				keys = append(keys, k)
			}
		}
	}
	asFloat := make([]bool, len(keys))
	for i, key := range keys {
		holes, floats, others := false, false, false
		for _, r := range runs {
			switch v, _ := r.Get(key); v.(type) {
			case nil:
				holes = true
			case int:
			case float64:
				floats = true
			default:
				others = true
			}
		}
		asFloat[i] = !others && (holes || floats)
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(append([]string{""}, keys...)) // a buffer takes everything
	for n, r := range runs {
		row := []string{strconv.Itoa(n)}
		for i, key := range keys {
			cell := ""
			switch v, _ := r.Get(key); v := v.(type) {
			case nil:
			case int:
				cell = strconv.Itoa(v)
				if asFloat[i] {
					cell += ".0"
				}
			default:
				cell = argparse.Str(v)
			}
			row = append(row, cell)
		}
		_ = w.Write(row)
	}
	w.Flush()
	return report.Save(path, b.Bytes())
}

func makeParent(path string) error { return os.MkdirAll(filepath.Dir(path), 0o755) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// summariesBelow are all runs of the summary.json files below a folder, in the order of their paths.
func summariesBelow(dir string) ([]*argparse.Dict, error) {
	var runs []*argparse.Dict
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || entry.Name() != "summary.json" {
			return nil
		}
		list, err := readSummary(path)
		runs = append(runs, list...)
		return err
	})
	if err == nil && len(runs) == 0 {
		err = fmt.Errorf("%s: no summary.json below it: give the folder of a sweep", dir)
	}
	return runs, err
}
