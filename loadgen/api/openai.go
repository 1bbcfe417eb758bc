package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"servebench/results"
)

var (
	errNotJSON  = errors.New("the event is no JSON")
	errRawAudio = errors.New("raw audio goes to openai-audio only: a chat message takes it as an input_audio part")
)

// openAI reads the event streams of completions and chat: data lines with a JSON object each, [DONE] at the end.
type openAI struct {
	// choice reads the first choice.
	choice func(choice []byte, d *Delta) error
	// errorsPass lets error events pass unseen, and usageApart ignores usage in events that carry output, both as vLLM's client does.
	errorsPass, usageApart bool
	sawOutput              bool
}

// noChunk is what vLLM's client says of a stream without output.
const noChunk = "Never received a valid chunk to calculate TTFT.This response will be marked as failed!"

func (s *openAI) Event(data []byte, d *Delta) error {
	d.Tokens, d.Plain = -1, true
	if bytes.Equal(data, []byte("[DONE]")) {
		d.End, d.Plain = true, false
		return nil
	}
	if !json.Valid(data) {
		return fmt.Errorf("%w: %s", errNotJSON, clip(data))
	}
	var usage *results.Usage
	err := object(data, func(key, value []byte) error {
		switch string(key) {
		case "choices":
			if isEmpty(value) {
				return nil
			}
			first := true
			return elements(value, func(choice []byte) error {
				if !first {
					d.Plain = false
					return nil
				}
				first = false
				return s.choice(choice, d)
			})
		case "usage":
			usage = d.readUsage(value)
		case "error":
			if !s.errorsPass && !isEmpty(value) {
				d.Error = errorMessage(value)
			}
		case "metrics":
			d.timings(value)
		}
		return nil
	})
	if usage != nil {
		d.Plain = false
		if !d.Output || !s.usageApart {
			d.Usage = usage
		}
	}
	if d.Finish != nil || d.Tokens >= 0 {
		d.Plain = false
	}
	d.Plain = d.Plain && d.Output
	s.sawOutput = s.sawOutput || d.Output
	return err
}

func (s *openAI) End() string {
	if !s.sawOutput {
		return noChunk
	}
	return ""
}

// onlyStream is embedded by dialects whose replies are streams; a whole document is read like one event.
type onlyStream struct{}

// Whole reads a completion or chat completion that came in one piece.
func (onlyStream) Whole(body []byte, _ http.Header, d *Delta) error {
	if !json.Valid(body) {
		return fmt.Errorf("%w: %s", errNotJSON, clip(body))
	}
	d.Tokens = -1
	return object(body, func(key, value []byte) error {
		switch string(key) {
		case "choices":
			if isEmpty(value) {
				return nil
			}
			first := true
			return elements(value, func(choice []byte) error {
				if !first {
					return nil
				}
				first = false
				d.Output, d.End = true, true
				return object(choice, func(key, value []byte) error {
					switch string(key) {
					case "text":
						d.text(value)
					case "message":
						return object(value, func(key, value []byte) error {
							if string(key) == "content" {
								d.text(value)
							}
							return nil
						})
					case "finish_reason":
						d.Finish = stringBody(value)
					}
					return nil
				})
			})
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

// readUsage reads a usage object; nil when it is null or empty.
func (d *Delta) readUsage(value []byte) *results.Usage {
	if isEmpty(value) {
		return nil
	}
	u := &d.usage
	*u = results.Usage{Cached: -1}
	_ = object(value, func(key, value []byte) error {
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			u.Prompt = integer(value)
		case "completion_tokens", "output_tokens":
			u.Completion = integer(value)
		case "prompt_tokens_details", "input_tokens_details":
			if !isNull(value) {
				return object(value, func(key, value []byte) error {
					if string(key) == "cached_tokens" && !isNull(value) {
						u.Cached = integer(value)
					}
					return nil
				})
			}
		}
		return nil
	})
	return u
}

// errorMessage is the server's own sentence, or the whole error when it has none.
func errorMessage(value []byte) string {
	message := ""
	if len(value) > 0 && value[0] == '{' {
		_ = object(value, func(key, v []byte) error {
			if k := string(key); k == "message" || k == "detail" && message == "" {
				message = unquote(v)
			}
			return nil
		})
	} else if len(value) > 0 && value[0] == '"' {
		message = unquote(value)
	}
	if message == "" {
		return string(clip(value))
	}
	return message
}

func (d *Delta) text(value []byte) {
	if body := stringBody(value); len(body) > 0 {
		d.Text, d.Visible = body, true
	}
}

func (d *Delta) countTokens(value []byte) {
	if isNull(value) {
		return
	}
	n := 0
	if elements(value, func([]byte) error { n++; return nil }) == nil {
		d.Tokens = n
	}
}

// timings reads the object that servers with per-request metrics put on an event; both values follow the last one.
func (d *Delta) timings(value []byte) {
	if isEmpty(value) || value[0] != '{' {
		return
	}
	d.Plain = false
	_ = object(value, func(key, value []byte) error {
		ms, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return nil
		}
		t := time.Duration(ms * float64(time.Millisecond))
		switch string(key) {
		case "queue_time_ms":
			d.Queue = &t
		case "time_to_first_token_ms":
			d.TTFT = &t
		}
		return nil
	})
}

func integer(value []byte) int {
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return 0
	}
	return int(n)
}

func unquote(value []byte) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return string(clip(value))
	}
	return s
}

// clip keeps messages readable: a server can answer with pages.
func clip(b []byte) []byte {
	const most = 400
	if len(b) <= most {
		return b
	}
	return append(append([]byte(nil), b[:most]...), " ..."...)
}
