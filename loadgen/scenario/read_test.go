package scenario

import (
	"strings"
	"testing"

	"servebench/results"
)

func TestEveryPresetLoads(t *testing.T) {
	names := Presets()
	if len(names) != 11 {
		t.Errorf("%d presets: %v; want 11", len(names), names)
	}
	for _, name := range names {
		s, err := Read(name, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Name != name || s.About == "" {
			t.Errorf("%s: name %q, about %q", name, s.Name, s.About)
		}
		text, err := PresetYAML(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := Parse(name+".yaml", text)
		if err != nil {
			t.Errorf("%s as shown does not load: %v\n%s", name, err, text)
			continue
		}
		want, _ := s.JSON()
		got, _ := again.JSON()
		if string(got) != string(want) {
			t.Errorf("%s as shown is another scenario:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestGaudiMultiIsTheGuidesCommandLine(t *testing.T) {
	s, err := Read("gaudi-e2e-multi", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *s.Dataset.InputLen != 128 || *s.Dataset.OutputLen != 4 || s.Dataset.RangeRatio != (Ratio{1, 1}) || !s.Dataset.LegacyRangeRatio {
		t.Errorf("dataset %+v; want 128 in, 4 out, ratio 1.0 in its old meaning", s.Dataset)
	}
	if s.Body.Exact != nil || !s.Body.IgnoreEOS {
		t.Errorf("body %+v; want ignore_eos and nothing else", s.Body)
	}
	if s.Load.Requests != 4 || s.Load.Concurrency != 4 || !s.Load.Rate.Infinite() {
		t.Errorf("load %+v; want 4 requests, 4 at a time, at once", s.Load)
	}
	single, err := Read("gaudi-e2e-single", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(single.Body.Exact), `{"model": "facebook/opt-125m", "prompt": "San Francisco is a", "max_tokens": 7, "temperature": 0}`; got != want {
		t.Errorf("body %s; want %s", got, want)
	}
}

func TestSetHasTheLastWord(t *testing.T) {
	s, err := Read("gaudi-e2e-multi", []string{"load.rate=2.5", "server.before=[]", "server.env.VLLM_CPU_KVCACHE_SPACE=1",
		"server.command=python3 'a b' c", "metadata.who=me", "load.duration=1m30s"})
	if err != nil {
		t.Fatal(err)
	}
	if *s.Load.Rate != 2.5 || len(s.Server.Before) != 0 || s.Server.Env["VLLM_CPU_KVCACHE_SPACE"] != "1" || s.Metadata[0] != (results.Pair{Key: "who", Value: "me"}) {
		t.Errorf("settings did not arrive: %+v", s)
	}
	if got := strings.Join(s.Server.Command, "|"); got != "python3|a b|c" {
		t.Errorf("command %s; want python3|a b|c", got)
	}
	if s.Load.Duration.String() != "1m30s" {
		t.Errorf("duration %v; want 1m30s", s.Load.Duration)
	}
}

func TestFaultsAreReportedAtOnceWithTheirPlaces(t *testing.T) {
	_, err := Parse("bad.yaml", `name: bad
load:
  rate: -1
  think: 3s
  concurency: 4
dataset:
  range_ratio: 1.0
seed: many
`)
	if err == nil {
		t.Fatal("a bad scenario loads")
	}
	for _, want := range []string{`bad.yaml:5:3: there is no key "concurency" here`, "    concurency: 4\n      ^", "bad.yaml:8:7:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	_, err = Parse("bad.yaml", `name: bad
load:
  rate: -1
  think: 3s
dataset:
  range_ratio: 1.0
backend: tgi
`)
	if err == nil {
		t.Fatal("a bad scenario loads")
	}
	for _, want := range []string{"bad.yaml:3:9: load.rate: -1 is not above zero", "bad.yaml:4:10: load.think:", "bad.yaml:6:16: dataset.range_ratio: 1.0 meant exact lengths", "bad.yaml:7:10: backend: no backend"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	_, err = Read("gaudi-e2e-multi", []string{"load.rate=-3"})
	if err == nil || !strings.Contains(err.Error(), "--set load.rate=-3: load.rate: -3 is not above zero") {
		t.Errorf("--set: %v", err)
	}
	if _, err = Read("no-such", nil); err == nil || !strings.Contains(err.Error(), "gaudi-e2e-single") {
		t.Errorf("an unknown preset: %v; want the names that exist", err)
	}
}

func TestSplit(t *testing.T) {
	for line, want := range map[string]string{
		`a  b`: "a|b", `a 'b c' d`: "a|b c|d", `a "b \"c\"" ''`: `a|b "c"|`, `a\ b`: "a b", "a \\\n b": "a|b",
		`--x='{"k": "v w"}'`: `--x={"k": "v w"}`,
	} {
		got, err := split(line)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("split(%q) = %q, %v; want %s", line, got, err, want)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`} {
		if got, err := split(line); err == nil {
			t.Errorf("split(%q) = %q; want an error", line, got)
		}
	}
}

func TestExtendsNothingHasItsPlace(t *testing.T) {
	for base, want := range map[string]string{
		"nothing-there": `x.yaml:2:10: extends: no preset and no file "nothing-there": presets are `, "no.yaml": "x.yaml:2:10: extends: open no.yaml",
	} {
		if _, err := Parse("x.yaml", "name: x\nextends: "+base+"\n"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "    extends: "+base+"\n             ^") {
			t.Errorf("%v; want %s and an arrow", err, want)
		}
	}
}
