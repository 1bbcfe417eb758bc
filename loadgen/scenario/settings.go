package scenario

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v4"

	"servebench/internal/argparse"
)

// ReadSettings reads a YAML file of command-line settings, keys in their order: the file of --config.
func ReadSettings(path string) ([]argparse.Setting, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	l := &loader{}
	l.sources = append(l.sources, source{name: path})
	if err := yaml.Load(text, &doc); err != nil {
		return nil, l.problems(err, 0)
	}
	node := &doc
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want a mapping of flags to values", path, max(1, node.Line))
	}
	var list []argparse.Setting
	for i := 0; i+1 < len(node.Content); i += 2 {
		value, err := plainValue(node.Content[i+1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, node.Content[i].Line, node.Content[i].Value, err)
		}
		list = append(list, argparse.Setting{Key: node.Content[i].Value, Value: value, Line: node.Content[i].Line})
	}
	return list, nil
}

// plainValue is a YAML value as Python would have it.
func plainValue(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range node.Content {
			v, err := plainValue(c)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		d := &argparse.Dict{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			v, err := plainValue(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			d.Set(node.Content[i].Value, v)
		}
		return d, nil
	case yaml.AliasNode:
		return plainValue(node.Alias)
	}
	var value any
	if err := node.Load(&value); err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case nil, bool, int, float64, string:
		return v, nil
	}
	return node.Value, nil // dates and the like are texts
}
