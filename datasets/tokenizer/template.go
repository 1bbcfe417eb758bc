package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// HasTemplate says whether the folder has a chat template.
func (t *Tokenizer) HasTemplate() bool { return len(t.config.templates) > 0 }

// Render renders chat messages (a JSON list) into the prompt text the model was
// trained on. kwargs are variables for the template; "chat_template" among them is
// the name of one of several templates, or a template. With generationPrompt the
// text ends where the model's turn begins. Of several templates the one called
// tool_use renders when tools are given, else the one called default.
func (t *Tokenizer) Render(messages json.RawMessage, generationPrompt bool, kwargs map[string]json.RawMessage) (string, error) {
	vars := map[string]jvalue{"tools": nil, "documents": nil}
	for name, text := range t.config.named {
		vars[name] = text
	}
	for name, raw := range kwargs {
		value, err := fromJSON(raw)
		if err != nil {
			return "", fmt.Errorf("chat template variable %s: %w", name, err)
		}
		vars[name] = value
	}
	list, err := fromJSON(messages)
	if err != nil {
		return "", fmt.Errorf("messages: %w", err)
	}
	if l, ok := list.(*jlist); !ok || l.tuple {
		return "", errors.New("messages are not a list")
	}
	asked := ""
	if v, ok := vars["chat_template"]; ok {
		asked = str(v)
		delete(vars, "chat_template")
	}
	source, err := t.template(asked, vars["tools"] != nil)
	if err != nil {
		return "", err
	}
	vars["messages"], vars["add_generation_prompt"] = list, generationPrompt
	template, err := t.compiled(source)
	if err != nil {
		return "", err
	}
	text, err := template.render(vars, time.Now)
	if err != nil {
		return "", fmt.Errorf("chat template of %s: %w", t.name, err)
	}
	return text, nil
}

// template finds the source of a template.
func (t *Tokenizer) template(asked string, tools bool) (string, error) {
	have := t.config.templates
	if source, ok := have[asked]; ok {
		return source, nil
	}
	if asked != "" {
		return asked, nil
	}
	if len(have) == 0 {
		return "", fmt.Errorf("tokenizer %s has no chat template", t.name)
	}
	if source, ok := have["tool_use"]; ok && tools {
		return source, nil
	}
	if source, ok := have["default"]; ok {
		return source, nil
	}
	names := slices.Sorted(maps.Keys(have))
	return "", fmt.Errorf("tokenizer %s has the chat templates %s, and none is called default: name one", t.name, strings.Join(names, ", "))
}

// compiled parses a template once.
func (t *Tokenizer) compiled(source string) (*jinjaTemplate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if template, ok := t.parsed[source]; ok {
		return template, nil
	}
	template, err := parseJinja(source)
	if err != nil {
		return nil, fmt.Errorf("chat template of %s: %w", t.name, err)
	}
	if t.parsed == nil || len(t.parsed) > 16 {
		t.parsed = map[string]*jinjaTemplate{}
	}
	t.parsed[source] = template
	return template, nil
}
