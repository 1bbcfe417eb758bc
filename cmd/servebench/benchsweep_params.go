package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"servebench/internal/argparse"
)

// nameKey holds the name of a set of parameters in its file and in every result.
const nameKey = "_benchmark_name"

// A paramSet is one set of parameters for a command: flags and their values in order.
type paramSet struct{ *argparse.Dict }

// readParams reads a parameter file: a list of objects, or an object of named ones. Without a file there is one set, an
// empty one.
func readParams(path string) ([]paramSet, error) {
	if path == "" {
		return []paramSet{{&argparse.Dict{}}}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	value, err := argparse.Loads(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var sets []paramSet
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			d, ok := item.(*argparse.Dict)
			if !ok {
				return nil, fmt.Errorf("%s: entry %d is no object of flags and values", path, i)
			}
			sets = append(sets, paramSet{d})
		}
	case *argparse.Dict:
		for name, item := range v.All() {
			d, ok := item.(*argparse.Dict)
			if !ok {
				return nil, fmt.Errorf("%s: %v is no object of flags and values", path, name)
			}
			named := &argparse.Dict{}
			named.Set(nameKey, name)
			for key, value := range d.All() {
				named.Set(key, value)
			}
			sets = append(sets, paramSet{named})
		}
	default:
		return nil, fmt.Errorf("%s: want a list of objects, or an object of named ones", path)
	}
	var names []any
	for _, s := range sets {
		if name, ok := s.Get(nameKey); ok {
			if slices.Contains(names, name) {
				return nil, fmt.Errorf("%s: two sets are called %v", path, name)
			}
			names = append(names, name)
		}
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("%s holds no set of parameters", path)
	}
	return sets, nil
}

// spellings are the ways a key may be written. What follows a dot is a key inside the value and stands as it is.
func spellings(key string) []string {
	head, tail, dotted := strings.Cut(key, ".")
	if dotted {
		tail = "." + tail
	}
	return []string{strings.ReplaceAll(head, "_", "-") + tail, strings.ReplaceAll(head, "-", "_") + tail, head + tail}
}

// param is the value of a key in any of its spellings.
func (p paramSet) param(key string) (any, bool) {
	for _, k := range spellings(key) {
		if v, ok := p.Get(k); ok {
			return v, true
		}
	}
	return nil, false
}

// with is the set with more in it.
func (p paramSet) with(pairs ...any) paramSet {
	d := &argparse.Dict{}
	for key, value := range p.All() {
		d.Set(key, value)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return paramSet{d}
}

// apply puts the set into a command: what stands there is replaced, the rest appended.
func (p paramSet) apply(command []string) []string {
	command = slices.Clone(command)
	for k, value := range p.All() {
		key, _ := k.(string)
		if key == nameKey {
			continue
		}
		flags := spellings(key)
		for i := range flags {
			flags[i] = "--" + flags[i]
		}
		words := flagWords(flags[0], value)
		at := slices.IndexFunc(command, func(word string) bool { return slices.Contains(flags, word) })
		switch {
		case at < 0:
			command = append(command, words...)
		case len(words) == 1:
			command[at] = words[0]
		case at+1 < len(command):
			command[at], command[at+1] = words[0], words[1]
		default:
			command = append(command[:at], words...)
		}
	}
	return command
}

// flagWords are a flag and its value as the command takes them. Everything but booleans and objects is spelled as Python's str.
func flagWords(flag string, value any) []string {
	switch v := value.(type) {
	case bool:
		switch {
		case strings.Contains(flag, "."):
			return []string{fmt.Sprintf("%s=%t", flag, v)}
		case v:
			return []string{flag}
		}
		return []string{"--no-" + strings.TrimPrefix(flag, "--")}
	case *argparse.Dict:
		return []string{flag, argparse.Dumps(v)}
	}
	return []string{flag, argparse.Str(value)}
}

// text is the set in a folder's name: its own name, or its keys and values.
func (p paramSet) text() string {
	if name, ok := p.Get(nameKey); ok {
		return argparse.Str(name)
	}
	var parts []string
	for key, value := range p.All() {
		parts = append(parts, argparse.Str(key)+"="+argparse.Str(value))
	}
	return strings.Join(parts, "-")
}

// folder joins labelled sets into the name of a folder: SERVE--a=1-BENCH--b=2. Empty sets have no part in it.
func folder(parts ...any) string {
	var words []string
	for i := 0; i+1 < len(parts); i += 2 {
		set := parts[i+1].(paramSet)
		if set.Dict != nil && set.Len() > 0 {
			words = append(words, parts[i].(string)+"-", set.text())
		}
	}
	return sanitized(strings.Join(words, "-"))
}

// sanitized keeps a name inside its folder.
func sanitized(name string) string {
	name = strings.ReplaceAll(strings.ReplaceAll(name, "/", "_"), "..", "__")
	return strings.Trim(strings.Trim(name, "'"), `"`)
}

// A link is a parameter of the server that must equal one of the benchmark.
type link struct{ serve, bench string }

func readLinks(text string) ([]link, error) {
	var links []link
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		serve, bench, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("--link-vars %s: want serve_key=bench_key", part)
		}
		links = append(links, link{strings.TrimSpace(serve), strings.TrimSpace(bench)})
	}
	return links, nil
}

// linked says whether the pair belongs together.
func linked(links []link, serve, bench paramSet) bool {
	for _, l := range links {
		a, ok := serve.param(l.serve)
		b, ok2 := bench.param(l.bench)
		if !ok || !ok2 || argparse.Dumps(a) != argparse.Dumps(b) {
			return false
		}
	}
	return true
}
