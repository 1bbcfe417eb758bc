package api

import (
	"bytes"
	"encoding/json"

	"servebench/datasets"
	"servebench/internal/python"
	"servebench/loadgen"
)

// chat is /v1/chat/completions.
type chat struct{ onlyStream }

func (chat) Suffixes() []string { return []string{"chat/completions"} }

func (chat) Body(r loadgen.Request, o *Options) (Body, error) {
	if o.Exact != nil {
		return Body{ContentType: "application/json", Bytes: o.Exact}, nil
	}
	list, err := messages(r.Sample, false)
	if err != nil {
		return Body{}, err
	}
	var m members
	m.str("model", o.model(r))
	m.add("messages", list)
	m.limit("max_completion_tokens", r.Sample.OutputTokens)
	m.stream(o)
	return m.finish(r, o)
}

// messages are a sample's chat messages: its own, or a prompt that already is a list of messages, or one user message with the
// prompt's text (or its typed parts) and the media.
func messages(s datasets.Sample, mediaFirst bool) ([]byte, error) {
	if s.Messages != nil {
		return python.AppendJSON(nil, s.Messages)
	}
	if isMessages(s.Prompt.JSON) {
		return python.AppendJSON(nil, s.Prompt.JSON)
	}
	var parts [][]byte
	text := func() error {
		if s.Prompt.JSON != nil && bytes.HasPrefix(bytes.TrimSpace(s.Prompt.JSON), []byte("[")) {
			return elements(s.Prompt.JSON, func(part []byte) error {
				spelled, err := python.AppendJSON(nil, part)
				parts = append(parts, spelled)
				return err
			})
		}
		value, err := prompt(s.Prompt)
		part := append([]byte(`{"type": "text", "text": `), value...)
		parts = append(parts, append(part, '}'))
		return err
	}
	media := func() error {
		for _, item := range s.Media {
			if item.JSON == nil {
				return errRawAudio
			}
			spelled, err := python.AppendJSON(nil, item.JSON)
			if err != nil {
				return err
			}
			parts = append(parts, spelled)
		}
		return nil
	}
	order := []func() error{text, media}
	if mediaFirst {
		order = []func() error{media, text}
	}
	for _, add := range order {
		if err := add(); err != nil {
			return nil, err
		}
	}
	b := append([]byte(`[{"role": "user", "content": [`), bytes.Join(parts, []byte(", "))...)
	return append(b, "]}]"...), nil
}

// isMessages says whether a JSON value is a list of objects with a role.
func isMessages(value json.RawMessage) bool {
	var list []map[string]json.RawMessage
	if json.Unmarshal(value, &list) != nil || len(list) == 0 {
		return false
	}
	for _, m := range list {
		if _, ok := m["role"]; !ok {
			return false
		}
	}
	return true
}

func (chat) Stream(compat bool) Stream {
	c := &chatChoice{compat: compat}
	return &openAI{choice: c.read, errorsPass: compat, usageApart: compat}
}

type chatChoice struct{ compat bool }

// read reads one choice of a chat stream. Output is what the model said, thought or called; the opening event with the role
// alone is none, and neither is an empty delta.
func (c *chatChoice) read(choice []byte, d *Delta) error {
	return object(choice, func(key, value []byte) error {
		switch string(key) {
		case "delta":
			if isNull(value) {
				return nil
			}
			return c.delta(value, d)
		case "finish_reason":
			d.Finish = stringBody(value)
		case "token_ids":
			d.countTokens(value)
		}
		return nil
	})
}

func (c *chatChoice) delta(value []byte, d *Delta) error {
	hasRole, emptyContent := false, false
	err := object(value, func(key, value []byte) error {
		switch string(key) {
		case "content":
			d.text(value)
			emptyContent = string(value) == `""`
			d.Output = d.Output || len(d.Text) > 0
		case "role":
			hasRole = true
		case "reasoning", "tool_calls", "function_call":
			d.Output = d.Output || !isEmpty(value)
			d.Plain = false
		case "reasoning_content":
			d.Output = d.Output || !c.compat && !isEmpty(value)
			d.Plain = false
		default:
			d.Plain = false
		}
		return nil
	})
	if emptyContent && !hasRole {
		d.Output = true
	}
	d.Plain = d.Plain && !hasRole && len(d.Text) > 0
	return err
}
