package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree reads YAML as an editor's schema check sees it.
func tree(t testing.TB, text string) any {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	node := &doc
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	stripTags(node)
	b, err := appendJSON(nil, node)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func examples(t testing.TB) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/scenarios/*.yaml")
	if err != nil || len(list) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	return list
}

func TestPresetsAndExamplesFitTheSchema(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range Presets() {
		text, err := presets.ReadFile("presets/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(tree(t, string(text))); err != nil {
			t.Errorf("preset %s: %v", name, err)
		}
	}
	for _, path := range examples(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(tree(t, string(text))); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := Read(path, nil); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSchemaDescribesEveryField(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]json.RawMessage
		Defs       map[string]struct{ Properties map[string]json.RawMessage } `json:"$defs"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	bare := []string{"Stage.name"} // says itself
	check := func(at string, properties map[string]json.RawMessage) {
		for name, p := range properties {
			if !bytes.Contains(p, []byte(`"description"`)) && !slices.Contains(bare, at+name) {
				t.Errorf("%s%s has no description: comment its field", at, name)
			}
		}
	}
	check("", s.Properties)
	for name, d := range s.Defs {
		check(name+".", d.Properties)
	}
	if len(s.Properties) < 20 || len(s.Defs) < 10 {
		t.Errorf("%d properties, %d definitions", len(s.Properties), len(s.Defs))
	}
}

// everything is a scenario that uses every kind of field. It makes no sense as a whole; its parts have the right types.
const everything = `
name: x
about: y
seed: 1
server: {url: "http://a:1", before: [[a, b], "c d"], command: "a b", env: {A: b}, dir: /tmp, profiler_flag: auto, ready_within: 5s, ready_log: x, ends_by: assertion, insecure: true,
  connect_within: 1s, answer_within: 1m, source_addresses: [127.0.0.1], http2: true, proxy: none}
script: {command: [a], program: p}
model: m
served_model: m
tokenizer: none
backend: vllm
endpoint: /v1
headers: {A: b}
dataset: {name: random, path: p, input_len: 1, output_len: 2, prefix_len: 3, range_ratio: {input: 0.1, output: 0.2}, legacy_range_ratio: true, prompts: 3, no_oversample: true,
  keep_order: true, skip_template: true, chat: true, template_args: {a: 1}, options: {b: [1]}}
body: {exact: {a: 1}, ignore_eos: true, logprobs: 1, request_id_prefix: r, no_stream: true, extra: {t: 0}}
warmup: {requests: 1, ready_check: 1s}
load: {requests: 1, duration: 1s, concurrency: 2, rate: 3.5, arrival: gamma, burstiness: 2, ramp: {shape: linear, from: 1, to: 2.5}, replay: true, think: 1s, max_rate: 2.5, probe_rate: 1}
stages: [{name: a, requests: 3, rate: inf}]
profile: {kind: vllm, optional: true, traces: t, collect: c, ranks: 1, within: 1s, from: 1s, for: 1s, once_running: 1, once_in_flight: 1, stage: s, steps: 1, skip: 1, prefix: p, unverified: [u]}
objectives: {goodput: {ttft: 1s}, max_failures: 1, bounds: ["p99 ttft <= 1s"]}
report: {metrics: [ttft], percentiles: [99.9], texts: true, compat: vllm}
sim: {profiler: gaudi, warmup: true, stacks: true, max_num_seqs: 1, first_token: 1ms, between_tokens: 1ms}
lora: {modules: [a], assignment: random}
metadata: {a: b}
repeats: 2
sweep: {grid: {load.rate: [1, 2], seed: {from: 1, to: 2, step: 1}}, linked: [{a.b: [1]}], points: [{c: 1}], order: random, seeds: run}
search: {field: load.rate, from: 1.5, to: 2, grow: 2, tolerance: 5%, repeats: 3, runs: 10, to_the_end: true}
`

// Whatever is put in the place of any value, or added under any key: the schema refuses what the loader cannot read, and the other way round.
func TestSchemaAndLoaderAgree(t *testing.T) {
	schema := compiledSchema(t)
	readable := func(text []byte) error {
		l := &loader{}
		node, err := l.parse("x", text)
		if err != nil {
			return err
		}
		return node.Load(new(Scenario), yaml.WithKnownFields())
	}
	whole := tree(t, everything)
	if err := schema.Validate(whole); err != nil {
		t.Fatalf("the whole does not fit: %v", err)
	}
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := readable(text); err != nil {
		t.Fatalf("the whole cannot be read: %v", err)
	}
	// Signs are a matter of meaning too.
	replacements := []string{`"5s"`, `"nonsense!"`, `"300"`, `"5%"`, `"inf"`, `7`, `-7`, `0`, `2.5`, `true`, `[]`, `["a"]`, `[[1]]`, `{}`, `{"nonsense": 1}`, `{"ttft": "1s"}`, `{"a": [1]}`}
	tried, refused := 0, 0
	top := map[string]any{} // one key at a time, which is quicker
	compare := func(what string) {
		text, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		tried++
		invalid := schema.Validate(top)
		unreadable := readable(text)
		if invalid != nil {
			refused++
		}
		// The words of enumerations are a matter of the loader's check of meaning: see TestEnumerationsAreTheLoaders.
		field, _, _ := strings.Cut(what, ":")
		if _, isEnum := enumerations[field]; invalid != nil && unreadable == nil && !isEnum {
			t.Errorf("%s: the loader reads what the schema refuses: %v", what, invalid)
		}
		// So is whether the ends and steps of a range fit together.
		if invalid == nil && unreadable != nil && !strings.HasPrefix(field, "sweep.grid.seed.") {
			t.Errorf("%s: the schema takes what the loader refuses: %v", what, unreadable)
		}
	}
	var walk func(v any, at string, set func(any))
	walk = func(v any, at string, set func(any)) {
		for _, r := range replacements {
			other, err := jsonschema.UnmarshalJSON(strings.NewReader(r))
			if err != nil {
				t.Fatal(err)
			}
			set(other)
			compare(fmt.Sprintf("%s: %s", at, r))
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			v["surely_unknown"] = json.Number("1")
			compare(at + ".surely_unknown: 1")
			delete(v, "surely_unknown")
			for key, inner := range v {
				walk(inner, at+"."+key, func(n any) { v[key] = n })
			}
		case []any:
			for i, inner := range v {
				walk(inner, fmt.Sprintf("%s.%d", at, i), func(n any) { v[i] = n })
			}
		}
	}
	for key, v := range whole.(map[string]any) {
		clear(top)
		top[key] = v
		walk(v, key, func(n any) { top[key] = n })
	}
	top["surely_unknown"] = json.Number("1")
	compare("surely_unknown: 1")
	t.Logf("%d changes, %d refused by the schema", tried, refused)
	if tried < 2000 || refused < 1000 {
		t.Errorf("only %d changes were tried, %d refused", tried, refused)
	}
}

// enumerations are the fields that the schema enumerates, in the scenario that uses every kind of field, with what they stand in.
var enumerations = map[string]string{
	"backend": "", "dataset.name": "", "server.profiler_flag": "", "server.ends_by": "", "load.arrival": "", "load.ramp.shape": "", "stages.0.arrival": "",
	"profile.kind": "", "report.metrics.0": "report.metrics", "report.metrics": "", "report.compat": "", "lora.assignment": "", "sim.profiler": "",
	"sweep.order": "", "sweep.seeds": "", "search.field": "",
}

// What the schema enumerates is what the loader takes.
func TestEnumerationsAreTheLoaders(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	for field := range enumerations {
		if field == "stages.0.arrival" || field == "report.metrics" {
			continue // as load.arrival; its elements
		}
		values := enumOf(t, doc, field)
		if len(values) == 0 {
			t.Errorf("%s: the schema enumerates nothing", field)
		}
		for _, v := range append(values, "nonsense") {
			set, value := field, v
			if base := enumerations[field]; base != "" {
				set, value = base, "["+v+"]"
			}
			text := "load: {requests: 4}\nlora: {modules: [a]}\nsweep: {grid: {load.rate: [1, 2]}}\nrepeats: 2\n"
			if !strings.HasPrefix(field, "sweep.") {
				text = strings.Split(text, "sweep:")[0]
			}
			if field == "load.ramp.shape" {
				text = "load: {requests: 4, ramp: {from: 1, to: 2}}\n"
			}
			if field == "load.arrival" {
				text = "load: {requests: 4, burstiness: 1, rate: 1}\n"
			}
			if field == "search.field" {
				text = "load: {duration: 4s}\nobjectives: {bounds: [failures <= 0]}\n"
			}
			l := &loader{}
			node, err := l.parse("x", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.set(node, set+"="+value); err != nil {
				t.Fatal(err)
			}
			_, err = l.decode(node)
			complains := err != nil && strings.Contains(err.Error(), v)
			if complains != (v == "nonsense") && (v == "nonsense" || !strings.Contains(err.Error(), "burstiness")) {
				t.Errorf("%s=%s: %v", field, v, err)
			}
			found++
		}
	}
	if found < 60 {
		t.Errorf("only %d values were tried", found)
	}
}

// enumOf are the words that a schema allows at a path.
func enumOf(t *testing.T, doc any, path string) []string {
	t.Helper()
	root := doc.(map[string]any)
	at := root
	resolve := func(s map[string]any) map[string]any {
		for {
			if list, ok := s["anyOf"].([]any); ok {
				s = list[0].(map[string]any)
			} else if ref, ok := s["$ref"].(string); ok {
				s = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			} else {
				return s
			}
		}
	}
	for _, key := range strings.Split(path, ".") {
		at = resolve(at)
		if items, ok := at["items"].(map[string]any); ok && key == "0" {
			at = resolve(items)
			continue
		}
		next, ok := at["properties"].(map[string]any)[key].(map[string]any)
		if !ok {
			t.Fatalf("the schema has no %s", path)
		}
		at = resolve(next)
	}
	var words []string
	list, _ := at["enum"].([]any)
	for _, v := range list {
		words = append(words, v.(string))
	}
	return words
}
