package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"servebench/internal/python"
	"servebench/loadgen"
)

// responses is /v1/responses: events carry their type, and the stream ends with a terminal event.
type responses struct{}

func (responses) Suffixes() []string { return []string{"responses"} }

func (responses) Body(r loadgen.Request, o *Options) (Body, error) {
	if o.Exact != nil {
		return Body{ContentType: "application/json", Bytes: o.Exact}, nil
	}
	input, err := prompt(r.Sample.Prompt)
	if err != nil {
		return Body{}, err
	}
	var m members
	m.str("model", o.model(r))
	m.add("input", input)
	m.limit("max_output_tokens", r.Sample.OutputTokens)
	m.flag("stream", !o.NoStream)
	m.raw("store", "false")
	return m.finish(r, o)
}

func (responses) Stream(bool) Stream { return new(responseEvents) }

type responseEvents struct{ sawDelta, sawEnd bool }

func (s *responseEvents) Event(data []byte, d *Delta) error {
	d.Tokens = -1
	if string(data) == "[DONE]" {
		return nil
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: %s", errNotJSON, clip(data))
	}
	var kind, delta, failure, response []byte
	err := object(data, func(key, value []byte) error {
		switch string(key) {
		case "type":
			kind = stringBody(value)
		case "delta":
			delta = value
		case "error":
			failure = value
		case "response":
			response = value
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch string(kind) {
	case "response.output_text.delta":
		d.Output = true
		d.text(delta)
		s.sawDelta = true
	case "response.reasoning_text.delta":
		d.Output = true
		s.sawDelta = true
	case "response.completed", "response.incomplete":
		d.End = true
		s.sawEnd = true
		if len(response) > 0 && response[0] == '{' {
			return object(response, func(key, value []byte) error {
				switch string(key) {
				case "usage":
					d.Usage = d.readUsage(value)
				case "status":
					d.Finish = stringBody(value)
				}
				return nil
			})
		}
	case "error", "response.failed":
		d.Error = s.failure(data, failure)
	default:
		if !isEmpty(failure) {
			d.Error = s.failure(data, failure)
		}
	}
	return nil
}

// failure is the error object in Python's spelling, or the whole event without one.
func (s *responseEvents) failure(event, failure []byte) string {
	if isEmpty(failure) {
		failure = event
	}
	spelled, err := python.AppendJSON(nil, failure)
	if err != nil {
		return string(clip(failure))
	}
	return string(spelled)
}

func (s *responseEvents) End() string {
	switch {
	case !s.sawDelta:
		return "Never received a token delta to calculate TTFT.This response will be marked as failed!"
	case !s.sawEnd:
		return "Stream ended without a terminal event.This response will be marked as failed!"
	}
	return ""
}

func (responses) Whole(body []byte, _ http.Header, d *Delta) error {
	if !json.Valid(body) {
		return fmt.Errorf("%w: %s", errNotJSON, clip(body))
	}
	d.Tokens = -1
	return object(body, func(key, value []byte) error {
		switch string(key) {
		case "output":
			d.Output, d.End = true, true
		case "status":
			d.Finish = stringBody(value)
		case "usage":
			d.Usage = d.readUsage(value)
		case "error":
			if !isEmpty(value) {
				d.Error = errorMessage(value)
			}
		}
		return nil
	})
}
