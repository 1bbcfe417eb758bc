// Command k8scheck checks Kubernetes manifests as an API server would read them: each object is decoded strictly into the types of
// the release named in go.mod, and held against that release's own OpenAPI schema, where no unknown field is let pass.
//
//	k8scheck -openapi DIR < manifest.yaml
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

func main() {
	openapi := flag.String("openapi", "", "the `folder` with the release's OpenAPI documents: api/openapi-spec/v3 of k8s.io/kubernetes")
	flag.Parse()
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = check(text, *openapi, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8scheck:", err)
		os.Exit(1)
	}
}

// check says of each object that it is right, or fails.
func check(text []byte, openapi string, w io.Writer) error {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		object, err := reader.Read()
		if errors.Is(err, io.EOF) {
			if number == 1 {
				return errors.New("no object in the manifest")
			}
			return nil
		}
		if err != nil {
			return err
		}
		decoded, kind, err := decoder.Decode(object, nil, nil)
		if err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		if err := roundTrip(object, decoded); err != nil {
			return fmt.Errorf("object %d, %s: %w", number, kind.Kind, err)
		}
		checked := "decodes strictly"
		if openapi != "" {
			if err := validate(object, openapi, kind.Group, kind.Version, kind.Kind); err != nil {
				return fmt.Errorf("object %d, %s: %w", number, kind.Kind, err)
			}
			checked += ", fits the schema"
		}
		fmt.Fprintf(w, "%s %s: %s\n", kind.GroupVersion(), kind.Kind, checked)
	}
}

// roundTrip says whether everything that was written is still there when the decoded object is encoded again: a value in a form that the
// type only tolerates would change.
func roundTrip(object []byte, decoded runtime.Object) error {
	var written, encoded any
	asJSON, err := yaml.YAMLToJSONStrict(object)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(asJSON, &written); err != nil {
		return err
	}
	again, err := json.Marshal(decoded)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(again, &encoded); err != nil {
		return err
	}
	return contains("", encoded, written)
}

// contains says whether all of part is in whole.
func contains(path string, whole, part any) error {
	switch part := part.(type) {
	case map[string]any:
		m, ok := whole.(map[string]any)
		if !ok {
			return fmt.Errorf("%s became %v", path, whole)
		}
		for key, value := range part {
			if err := contains(path+"."+key, m[key], value); err != nil {
				return err
			}
		}
	case []any:
		l, ok := whole.([]any)
		if !ok || len(l) != len(part) {
			return fmt.Errorf("%s became %v", path, whole)
		}
		for i := range part {
			if err := contains(fmt.Sprintf("%s.%d", path, i), l[i], part[i]); err != nil {
				return err
			}
		}
	default:
		if whole != part {
			return fmt.Errorf("%s: %v became %v", path, part, whole)
		}
	}
	return nil
}

// validate holds an object against the schema of its kind.
func validate(object []byte, openapi, group, version, kind string) error {
	file, api := "apis__"+group+"__"+version+"_openapi.json", strings.Split(group, ".")[0]
	if group == "" {
		file, api = "api__"+version+"_openapi.json", "core"
	}
	text, err := os.ReadFile(filepath.Join(openapi, file))
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	schemas := document.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	for _, s := range schemas {
		closeSchema(s)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("mem:///openapi.json", document); err != nil {
		return err
	}
	schema, err := compiler.Compile(fmt.Sprintf("mem:///openapi.json#/components/schemas/io.k8s.api.%s.%s.%s", api, version, kind))
	if err != nil {
		return err
	}
	asJSON, err := yaml.YAMLToJSONStrict(object)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// closeSchema lets no field pass that a schema with fields does not name.
func closeSchema(s any) {
	m, ok := s.(map[string]any)
	if !ok {
		return
	}
	if _, has := m["properties"]; has && m["additionalProperties"] == nil {
		m["additionalProperties"] = false
	}
}
