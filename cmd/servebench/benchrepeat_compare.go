package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// A savedMember is one key of a result file.
type savedMember struct {
	key   string
	value json.RawMessage
}

// readSaved reads a result file of one result.
func readSaved(path string) ([]savedMember, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	tok, err := dec.Token()
	if err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("%s: want the JSON object that --save-result writes", path)
	}
	var list []savedMember
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, key, err)
		}
		list = append(list, savedMember{key.(string), value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s holds several results: compare takes one of each file", path)
	}
	return list, nil
}

// compareSaved prints two saved results side by side with the difference in percent of the first. It says nothing of chance:
// for that there is servebench compare.
func compareSaved(w io.Writer, a, b string) error {
	left, err := readSaved(a)
	if err != nil {
		return err
	}
	right, err := readSaved(b)
	if err != nil {
		return err
	}
	find := func(list []savedMember, key string) (json.RawMessage, bool) {
		i := slices.IndexFunc(list, func(m savedMember) bool { return m.key == key })
		if i < 0 {
			return nil, false
		}
		return list[i].value, true
	}
	settings := []string{"backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate", "burstiness", "max_concurrency"}
	t := &lines{w: w}
	t.say("A: %s", a)
	t.say("B: %s", b)
	for _, key := range settings {
		x, _ := find(left, key)
		y, _ := find(right, key)
		if !bytes.Equal(x, y) {
			t.say("they differ in %s: %s and %s", key, orNone(x), orNone(y))
		}
	}
	t.say("%-36s %14s %14s %10s", "", "A", "B", "B - A")
	common := 0
	for _, m := range left {
		x, ok := number(m.value)
		other, there := find(right, m.key)
		y, ok2 := number(other)
		if slices.Contains(settings, m.key) || !ok || there && !ok2 {
			continue
		}
		if !there {
			t.say("%-36s %14.2f %14s", m.key, x, "-")
			continue
		}
		common++
		change := "-"
		if x != 0 {
			change = fmt.Sprintf("%+.2f %%", 100*(y-x)/x)
		}
		t.say("%-36s %14.2f %14.2f %10s", m.key, x, y, change)
	}
	for _, m := range right {
		if y, ok := number(m.value); ok && !slices.Contains(settings, m.key) {
			if _, there := find(left, m.key); !there {
				t.say("%-36s %14s %14.2f", m.key, "-", y)
			}
		}
	}
	if common == 0 {
		return fmt.Errorf("%s and %s have no figure in common", a, b)
	}
	return t.err
}

func orNone(value json.RawMessage) string {
	if value == nil {
		return "(absent)"
	}
	return string(value)
}

func number(value json.RawMessage) (float64, bool) {
	v, err := strconv.ParseFloat(string(value), 64)
	return v, err == nil
}
