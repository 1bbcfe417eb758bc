package page

import (
	"encoding/json"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func roundTrip(t *testing.T, text string) {
	t.Helper()
	var want any
	if json.Unmarshal([]byte(text), &want) != nil {
		return
	}
	if _, ok := want.(map[string]any); !ok {
		return // a scenario is a mapping
	}
	words, err := yamlOf(json.RawMessage(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var read any
	if err := yaml.Unmarshal([]byte(words), &read); err != nil {
		t.Fatalf("%s became\n%s\nwhich is no YAML: %v", text, words, err)
	}
	again, err := json.Marshal(read)
	if err != nil {
		t.Fatalf("%s became\n%s\n: %v", text, words, err)
	}
	var got any
	if err := json.Unmarshal(again, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s became\n%s\nwhich is %s", text, words, again)
	}
}

var scenarios = []string{
	`{"name":"a","load":{"rate":"inf","requests":300},"server":{"command":["vllm","serve","a b","--port","8000"],"env":{"A":"1","B":"yes"}}}`,
	`{"empty":{},"none":[],"null":null,"t":true,"f":1.5,"list":[[1,2],{"a":1,"b":[{"c":"d"}]},{}]}`,
	`{"odd":["- x","a: b","#c","a #c","","null","~","yes","1e3","0x10","'q'","\"q\"","line\nline","tab\t","é","  pad  ","!tag","&a","*a","%x","@x","|",">","{a","[a","a:","?","2026-01-01","1_000","${run}/x","off","12:30:00","=","<<"]}`,
}

func TestScenarioAsYAML(t *testing.T) {
	for _, text := range scenarios {
		roundTrip(t, text)
	}
	got, err := yamlOf(json.RawMessage(scenarios[1]))
	if err != nil {
		t.Fatal(err)
	}
	const want = `empty: {}
none: []
"null": null
t: true
f: 1.5
list:
  -
    - 1
    - 2
  - a: 1
    b:
      - c: d
  - {}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzScenarioAsYAML(f *testing.F) {
	for _, text := range scenarios {
		f.Add("x", text)
		f.Add(text, "y")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		text, err := json.Marshal(map[string]any{key: value, "list": []any{value, map[string]any{key: []any{value}}}})
		if err != nil {
			return
		}
		roundTrip(t, string(text))
	})
}

func TestCommandLine(t *testing.T) {
	words := []string{"servebench", "run", "a b", "it's", "", "--set=x.y=1", "$HOME", "tab\there", "é"}
	line := commandLine(words)
	if want := `servebench run 'a b' 'it'\''s' '' --set=x.y=1 '$HOME' 'tab	here' 'é'`; line != want {
		t.Errorf("got %s, want %s", line, want)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell to read it")
	}
	out, err := exec.Command(sh, "-c", "for w in "+line+`; do printf '%s\n' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); !reflect.DeepEqual(got, words) {
		t.Errorf("the shell reads %q, not %q", got, words)
	}
}
