package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// namedTokens are the special tokens every configuration may name, in the order
// transformers keeps them.
var namedTokens = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// config is what the files beside tokenizer.json add to it.
type config struct {
	cleanUp bool // ask for clean-up of spaces after decoding
	// cleanUpBPE does it for BPE too, where it is otherwise refused.
	cleanUpBPE bool
	// named are the special tokens by name (bos_token...), texts only.
	named map[string]string
	// extra are special tokens without a name.
	extra []string
	// templates are the chat templates by name; the usual one is "default".
	templates map[string]string
}

// tokenText is a token in a configuration: a string or an object with content.
type tokenText struct {
	addedToken
	set bool
	// plain says it was a mere string.
	plain bool
}

func (t *tokenText) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case 'n':
		return nil
	case '"':
		t.set, t.plain, t.special = true, true, true
		return json.Unmarshal(data, &t.content)
	case '{':
		var f struct {
			Content    *string `json:"content"`
			SingleWord bool    `json:"single_word"`
			LStrip     bool    `json:"lstrip"`
			RStrip     bool    `json:"rstrip"`
			Normalized *bool   `json:"normalized"`
			Special    bool    `json:"special"`
		}
		if err := json.Unmarshal(data, &f); err != nil {
			return err
		}
		if f.Content == nil {
			return errors.New("a token has no content")
		}
		t.set = true
		t.addedToken = addedToken{*f.Content, f.SingleWord, f.LStrip, f.RStrip, !f.Special, f.Special}
		if f.Normalized != nil {
			t.normalized = *f.Normalized
		}
		return nil
	}
	return errors.New("a token is neither a string nor an object")
}

// readJSON reads one file of the folder; a missing one leaves into as it is.
func readJSON(dir, name string, into any) (found bool, err error) {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("%s: %s", path, plainJSON(err))
	}
	return true, nil
}

// readConfig reads tokenizer_config.json. modern says that it lists the added tokens.
func readConfig(dir string) (fields map[string]json.RawMessage, modern bool, err error) {
	fields = map[string]json.RawMessage{}
	if _, err := readJSON(dir, "tokenizer_config.json", &fields); err != nil {
		return nil, false, err
	}
	if _, modern = fields["added_tokens_decoder"]; modern {
		return fields, true, nil
	}
	// Older folders keep the named tokens in a file of their own, which wins.
	older := map[string]json.RawMessage{}
	if _, err := readJSON(dir, "special_tokens_map.json", &older); err != nil {
		return nil, false, err
	}
	maps.Copy(fields, older)
	return fields, false, nil
}

// configure reads the files beside tokenizer.json and adds the tokens they name,
// in the order transformers 5 adds them: it decides their ids.
func (t *Tokenizer) configure(dir string, fields map[string]json.RawMessage, modern bool) error {
	where := filepath.Join(dir, "tokenizer_config.json")
	c := &t.config
	read := func(name string, into any) error {
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			return nil
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("%s: %s: %s", where, name, plainJSON(err))
		}
		return nil
	}
	if err := firstError(read("clean_up_tokenization_spaces", &c.cleanUp), read("split_special_tokens", &t.added.split)); err != nil {
		return err
	}
	var anyway bool
	if err := read("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", &anyway); err != nil {
		return err
	}
	c.cleanUpBPE = anyway

	// Tokens the file gives ids to, and those that it only names.
	var tokens []addedToken
	known := map[string]addedToken{}
	if modern {
		byID := map[int64]tokenText{}
		if err := read("added_tokens_decoder", &byID); err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			token := byID[id]
			if !token.set || token.plain {
				return fmt.Errorf("%s: added_tokens_decoder: %d is not an object", where, id)
			}
			tokens = append(tokens, token.addedToken)
			known[token.content] = token.addedToken
		}
	} else {
		// The legacy path: added_tokens.json, then what tokenizer.json has.
		var byText map[string]int64
		if _, err := readJSON(dir, "added_tokens.json", &byText); err != nil {
			return err
		}
		special := map[string]bool{}
		for _, name := range namedTokens {
			var token tokenText
			if err := read(name, &token); err != nil {
				return err
			}
			if token.set {
				special[token.content] = true
			}
		}
		byID := map[int64]addedToken{}
		for text, id := range byText {
			byID[id] = addedToken{content: text, normalized: !special[text], special: special[text]}
		}
		for id, token := range t.added.tokens {
			byID[int64(id)] = token
		}
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			tokens = append(tokens, byID[id])
			known[byID[id].content] = byID[id]
		}
	}
	have := func(text string) bool {
		if _, ok := t.added.ids[text]; ok {
			return true
		}
		return slices.ContainsFunc(tokens, func(token addedToken) bool { return token.content == text })
	}

	c.named = map[string]string{}
	names := slices.Clone(namedTokens)
	order, err := keysOf(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return err
	}
	for _, name := range order {
		if !slices.Contains(names, name) && strings.HasSuffix(name, "_token") && len(fields[name]) > 0 && fields[name][0] == '"' {
			names = append(names, name) // image_token and the like
		}
	}
	for _, name := range names {
		var token tokenText
		if err := read(name, &token); err != nil {
			return err
		}
		if !token.set {
			continue
		}
		c.named[name] = token.content
		if !have(token.content) {
			if same, ok := known[token.content]; ok {
				token.addedToken = same
			}
			token.special = true
			tokens = append(tokens, token.addedToken)
		}
	}
	extra, err := extraTokens(fields, where)
	if err != nil {
		return err
	}
	for _, token := range extra {
		if token.name != "" {
			c.named[token.name] = token.content
		} else {
			c.extra = append(c.extra, token.content)
		}
		if !have(token.content) {
			if token.name != "" {
				token.special = true
			}
			tokens = append(tokens, token.addedToken)
		}
	}
	for i, token := range tokens {
		for _, text := range c.named {
			tokens[i].special = tokens[i].special || text == token.content
		}
	}
	t.add(tokens)
	if err := t.added.build(); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return t.readTemplates(dir, fields)
}

// keysOf lists the keys of a JSON file in their order: it decides the ids of tokens
// that are only named. A missing file has none.
func keysOf(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return orderOfKeys(data)
}

// orderOfKeys lists the keys of a JSON object, each once.
func orderOfKeys(raw json.RawMessage) ([]string, error) {
	value, err := fromJSON(raw)
	if err != nil {
		return nil, err
	}
	object, ok := value.(*jdict)
	if !ok {
		return nil, errors.New("not an object")
	}
	var names []string
	for _, key := range object.keys {
		names = append(names, key.(string))
	}
	return names, nil
}

type extraToken struct {
	tokenText
	name string
}

// extraTokens reads extra_special_tokens, once called additional_special_tokens: a
// list, or an object that names them.
func extraTokens(fields map[string]json.RawMessage, where string) ([]extraToken, error) {
	name := "extra_special_tokens"
	empty := func(raw json.RawMessage) bool {
		text := strings.TrimSpace(string(raw))
		return text == "" || text == "null" || text == "[]" || text == "{}"
	}
	if empty(fields[name]) {
		name = "additional_special_tokens"
	}
	raw := fields[name]
	if empty(raw) {
		return nil, nil
	}
	fail := func(err error) error { return fmt.Errorf("%s: %s: %s", where, name, plainJSON(err)) }
	var out []extraToken
	if raw[0] == '{' {
		var byName map[string]tokenText
		if err := json.Unmarshal(raw, &byName); err != nil {
			return nil, fail(err)
		}
		order, err := orderOfKeys(raw)
		if err != nil {
			return nil, fail(err)
		}
		for _, key := range order {
			out = append(out, extraToken{byName[key], key})
		}
		return out, nil
	}
	var list []tokenText
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fail(err)
	}
	for _, token := range list {
		out = append(out, extraToken{token, ""})
	}
	return out, nil
}

// SpecialIDs are the ids of the named special tokens (bos, eos, unk, sep, pad, cls,
// mask, additional ones), ascending.
func (t *Tokenizer) SpecialIDs() []int {
	var ids []int
	add := func(text string) {
		id, ok := t.added.ids[text]
		if !ok {
			id, ok = t.model.id(text)
		}
		if ok && !slices.Contains(ids, int(id)) {
			ids = append(ids, int(id))
		}
	}
	for _, text := range t.config.named {
		add(text)
	}
	for _, text := range t.config.extra {
		add(text)
	}
	slices.Sort(ids)
	return ids
}

// readTemplates finds the chat templates: files first, then the configuration.
func (t *Tokenizer) readTemplates(dir string, fields map[string]json.RawMessage) error {
	t.config.templates = map[string]string{}
	where := filepath.Join(dir, "tokenizer_config.json")
	if raw, ok := fields["chat_template"]; ok && string(raw) != "null" {
		switch raw[0] {
		case '"':
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return fmt.Errorf("%s: chat_template: %s", where, plainJSON(err))
			}
			t.config.templates["default"] = text
		case '[':
			var list []struct{ Name, Template string }
			if err := json.Unmarshal(raw, &list); err != nil {
				return fmt.Errorf("%s: chat_template: %s", where, plainJSON(err))
			}
			for _, one := range list {
				t.config.templates[one.Name] = one.Template
			}
		default:
			if err := json.Unmarshal(raw, &t.config.templates); err != nil {
				return fmt.Errorf("%s: chat_template: %s", where, plainJSON(err))
			}
		}
	}
	files := map[string]string{}
	var old struct {
		Template *string `json:"chat_template"`
	}
	if _, err := readJSON(dir, "chat_template.json", &old); err != nil {
		return err
	}
	if old.Template != nil {
		files["default"] = *old.Template
	}
	add := func(name, path string) error {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files[name] = string(data)
		}
		return err
	}
	if err := add("default", filepath.Join(dir, "chat_template.jinja")); err != nil {
		return err
	}
	more, err := filepath.Glob(filepath.Join(dir, "additional_chat_templates", "*.jinja"))
	if err != nil {
		return err
	}
	for _, path := range more {
		if err := add(strings.TrimSuffix(filepath.Base(path), ".jinja"), path); err != nil {
			return err
		}
	}
	if len(files) > 0 {
		t.config.templates = files
	}
	return nil
}
