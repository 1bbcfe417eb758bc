package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestJinja compares templates with what jinja2 (3.1.6), set up as transformers
// sets it up, rendered.
func TestJinja(t *testing.T) {
	type row struct {
		Template string
		Messages json.RawMessage
		Want     string
		Fails    bool
	}
	rows := 0
	eachLine(t, filepath.Join("testdata", "jinja.jsonl"), func(line int, r row) {
		rows++
		messages, err := fromJSON(r.Messages)
		if err != nil {
			t.Fatal(err)
		}
		vars := map[string]jvalue{"messages": messages, "tools": nil, "documents": nil, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"}
		template, err := parseJinja(r.Template)
		got := ""
		if err == nil {
			got, err = template.render(vars, time.Now)
		}
		if (err != nil) != r.Fails || got != r.Want {
			t.Errorf("line %d: %s\n got %q, %v\nwant %q", line, r.Template, got, err, r.Want)
		}
	})
	if rows < 100 {
		t.Errorf("only %d templates", rows)
	}
}

func TestJinjaRefusesByName(t *testing.T) {
	for source, want := range map[string]string{
		"{% include 'x' %}":                               `line 1: tag "include" is not supported`,
		"\n{% extends 'x' %}":                             `line 2: tag "extends" is not supported`,
		"{{ 1|urlize }}":                                  `filter "urlize" is not supported`,
		"{{ 1 is odorous }}":                              `test "odorous" is not supported`,
		"{{ 'a'.zfill(3) }}":                              "str.zfill: is not supported",
		"{% for i in range(1000000) %}{% endfor %}":       "range too big",
		"{{ [1].append(2) }}":                             "unsafe",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "too deep",
		"{{ 'a' * 100000000 }}":                           "grows beyond",
		"{{ 9223372036854775807 + 1 }}":                   "64 bits",
		"{{ strftime_now('%Q') }}":                        "strftime code %Q",
		"{% break %}":                                     "outside of a loop",
	} {
		template, err := parseJinja(source)
		if err == nil {
			_, err = template.render(map[string]jvalue{}, time.Now)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", source, err, want)
		}
	}
}

func TestRenderChoosesATemplate(t *testing.T) {
	tok, err := loadTiny(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	messages := json.RawMessage(`[{"role":"user","content":"hi"}]`)
	if _, err := tok.Render(messages, true, nil); err == nil || !strings.Contains(err.Error(), "has no chat template") {
		t.Errorf("Render without a template: %v", err)
	}
	tok.config.templates = map[string]string{
		"default":  "{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}",
		"tool_use": "tools: {{ tools|length }}",
	}
	for _, tc := range []struct {
		generation bool
		kwargs     map[string]json.RawMessage
		want       string
	}{
		{true, nil, "<s>hi>"},
		{false, nil, "<s>hi"},
		{false, map[string]json.RawMessage{"bos_token": json.RawMessage(`"B"`)}, "Bhi"},
		{false, map[string]json.RawMessage{"tools": json.RawMessage(`[{},{}]`)}, "tools: 2"},
		{false, map[string]json.RawMessage{"chat_template": json.RawMessage(`"{{ x }}!"`), "x": json.RawMessage(`1.0`)}, "1.0!"},
	} {
		if got, err := tok.Render(messages, tc.generation, tc.kwargs); err != nil || got != tc.want {
			t.Errorf("Render(%t, %s) = %q, %v; want %q", tc.generation, tc.kwargs, got, err, tc.want)
		}
	}
	if _, err := tok.Render(json.RawMessage(`{"role":"user"}`), true, nil); err == nil {
		t.Error("an object was taken for a list of messages")
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)
	for format, want := range map[string]string{
		"%d %b %Y": "04 Mar 2026", "%Y-%m-%d %H:%M:%S": "2026-03-04 05:06:07", "%B %-d, %A %j": "March 4, Wednesday 063", "100%% %p %I": "100% AM 05",
	} {
		if got, err := strftime(format, at); err != nil || got != want {
			t.Errorf("strftime(%q) = %q, %v; want %q", format, got, err, want)
		}
	}
}
