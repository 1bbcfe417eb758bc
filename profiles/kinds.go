package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"servebench/loadgen/server"
)

// A Config is the configuration of any kind of profiler; each kind reads its own part.
type Config struct {
	// Target is the server whose profiler is meant: vllm and sglang.
	Target server.Target
	VLLM   VLLMOptions
	SGLang SGLangOptions
	// Script is the program to run: script.
	Script ScriptOptions
}

// kinds are the profilers by name.
var kinds = map[string]func(Config) (Profiler, error){
	"vllm":   func(c Config) (Profiler, error) { return NewVLLM(c.Target, c.VLLM) },
	"sglang": func(c Config) (Profiler, error) { return NewSGLang(c.Target, c.SGLang) },
	"script": func(c Config) (Profiler, error) { return NewScript(c.Script) },
	"none":   func(Config) (Profiler, error) { return None{}, nil },
}

// Kinds are the names that New takes.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// New makes a profiler of a kind.
func New(kind string, c Config) (Profiler, error) {
	profiler, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("no profiler %q: have %s", kind, strings.Join(Kinds(), ", "))
	}
	return profiler(c)
}
