package datasets

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// kinds lists the sources, each with its usual configuration.
var kinds = map[string]func() Source{
	"random": func() Source { return &Random{InputLen: 1024, OutputLen: 128, BatchSize: 1} },
}

// Kinds lists the names of the sources.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

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
