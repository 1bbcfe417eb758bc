package datasets

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// kinds lists the sources, each with its usual configuration.
var kinds = map[string]func() Source{
	"random":        func() Source { return &Random{InputLen: 1024, OutputLen: 128, BatchSize: 1} },
	"random-rerank": func() Source { return &RandomRerank{InputLen: 1024, BatchSize: 1} },
	"prefix_repetition": func() Source {
		return &PrefixRepetition{PrefixLen: 256, SuffixLen: 256, Prefixes: 10, OutputLen: 128}
	},
	"sharegpt":      func() Source { return &ShareGPT{} },
	"conversations": func() Source { return &Conversations{} },
	"burstgpt":      func() Source { return &BurstGPT{} },
	"timed_trace": func() Source {
		return &TimedTrace{
			ChunkSize: 16, Multiplier: 1,
			TimestampKey: "timestamp", InputKey: "input_length", OutputKey: "output_length", HashesKey: "hash_ids",
		}
	},
	"random-mm": func() Source {
		return &RandomMM{
			InputLen: 1024, OutputLen: 128, Items: 1,
			Limits:  map[string]int{"image": 255, "video": 1},
			Buckets: []Bucket{{256, 256, 1, 0.5}, {720, 1280, 1, 0.5}, {720, 1280, 16, 0}},
		}
	},
	"custom_image": func() Source { return &CustomImage{OutputLen: 256} },
	"custom_audio": func() Source { return &CustomAudio{OutputLen: 256} },
	"hf":           func() Source { return &HF{MaxDistance: 1} },
	"custom":       func() Source { return &Custom{OutputLen: 256} },
	"spec_bench":   func() Source { return &SpecBench{OutputLen: 256} },
	"speed_bench":  func() Source { return &SpeedBench{Subset: "qualitative", OutputLen: 4096} },
}

// Kinds lists the names of the sources.
func Kinds() []string { return sortedKeys(kinds) }

// New is the usual configuration of a source, to be changed and loaded.
func New(name string) (Source, error) {
	make, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("no dataset %q: have %s", name, strings.Join(Kinds(), ", "))
	}
	return make(), nil
}

// nameOf is the name of a source.
func nameOf(src Source) string {
	for name, make := range kinds {
		if reflect.TypeOf(make()) == reflect.TypeOf(src) {
			return name
		}
	}
	return fmt.Sprintf("%T", src)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
