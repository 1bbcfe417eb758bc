package api

import (
	"strconv"

	"servebench/loadgen"
)

// completions is the plain text form: /v1/completions.
type completions struct{ onlyStream }

func (completions) Suffixes() []string { return []string{"completions"} }

func (completions) Body(r loadgen.Request, o *Options) (Body, error) {
	if o.Exact != nil {
		return Body{ContentType: "application/json", Bytes: o.Exact}, nil
	}
	text, err := prompt(r.Sample.Prompt)
	if err != nil {
		return Body{}, err
	}
	var m members
	m.str("model", o.model(r))
	m.add("prompt", text)
	if !o.Plain {
		m.raw("repetition_penalty", "1.0")
	}
	m.limit("max_tokens", r.Sample.OutputTokens)
	switch {
	case o.Logprobs != nil:
		m.raw("logprobs", strconv.Itoa(*o.Logprobs))
	case !o.Plain:
		m.raw("logprobs", "null")
	}
	m.stream(o)
	return m.finish(r, o)
}

// stream asks for a stream and the usage at its end.
func (m *members) stream(o *Options) {
	m.flag("stream", !o.NoStream)
	if !o.NoStream {
		m.raw("stream_options", `{"include_usage": true}`)
	}
}

func (completions) Stream(compat bool) Stream {
	return &openAI{choice: completionChoice, errorsPass: compat, usageApart: compat}
}

// completionChoice reads one choice of a completion: any choice is output, and its text may be empty, since a
// token can hold part of a character.
func completionChoice(choice []byte, d *Delta) error {
	d.Output = true
	return object(choice, func(key, value []byte) error {
		switch string(key) {
		case "text":
			d.text(value)
		case "finish_reason":
			d.Finish = stringBody(value)
		case "token_ids":
			d.countTokens(value)
		case "prompt_token_ids":
			d.Plain = d.Plain && isNull(value)
		}
		return nil
	})
}
