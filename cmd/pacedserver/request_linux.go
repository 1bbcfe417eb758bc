//go:build !386 && !s390x

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxRequest is the largest request that is read, in bytes.
const maxRequest = 64 << 20

// A request is what the server reads of an HTTP request.
type request struct {
	method, path, id string
	closes           bool // the client wants the connection closed
	body             []byte
}

// parseRequest reads the first request in b and says how many bytes it took; 0 when it is not all there.
func parseRequest(b []byte) (request, int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > 1<<20 {
			return request{}, 0, fmt.Errorf("no end of the headers within %d bytes", len(b))
		}
		return request{}, 0, nil
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	words := strings.Fields(lines[0])
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") {
		return request{}, 0, fmt.Errorf("request line %q is not HTTP/1.1", lines[0])
	}
	path, _, _ := strings.Cut(words[1], "?")
	r := request{method: words[0], path: path, closes: words[2] == "HTTP/1.0"}
	length := 0
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxRequest {
				return request{}, 0, fmt.Errorf("content-length %q is no length up to %d", value, maxRequest)
			}
			length = n
		case "transfer-encoding":
			return request{}, 0, fmt.Errorf("transfer-encoding %q is not supported: send a content-length", value)
		case "x-request-id":
			r.id = value
		case "connection":
			r.closes = r.closes || strings.EqualFold(value, "close")
		}
	}
	start := end + len("\r\n\r\n")
	if len(b) < start+length {
		return request{}, 0, nil
	}
	r.body = b[start : start+length]
	return r, start + length, nil
}

// A completion is what the server reads of a request's body. Chat has messages, and a second name for the number of tokens.
type completion struct {
	MaxTokens           int  `json:"max_tokens"`
	MaxCompletionTokens int  `json:"max_completion_tokens"`
	Stream              bool `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Prompt   json.RawMessage `json:"prompt"`
	Messages json.RawMessage `json:"messages"`
}

// promptTokens counts the token ids of a prompt, or the words of a text or of messages, roughly: it must not take long, for other streams wait.
func promptTokens(prompt string) int {
	if len(prompt) > 1 && prompt[0] == '[' && prompt[1] != '{' {
		return strings.Count(prompt, ",") + 1
	}
	return strings.Count(prompt, " ") + 1
}

const streamHead = "HTTP/1.1 200 OK\r\n" +
	"server: pacedserver\r\n" +
	"content-type: text/event-stream; charset=utf-8\r\n" +
	"transfer-encoding: chunked\r\n\r\n"

// appendEvent adds one event in one chunk.
func appendEvent(b []byte, data string) []byte {
	b = strconv.AppendInt(b, int64(len("data: ")+len(data)+len("\n\n")), 16)
	b = append(b, "\r\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n\r\n"...)
}

// A wording is how the events of one endpoint are worded.
type wording struct {
	id, object string
	// first comes with the first token; before and after stand around the text of each, rest behind its finish reason.
	first, before, after, rest string
}

var (
	completions = wording{"cmpl-", "text_completion", "", `{"index":0,"text":"`, `"`, `,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}`}
	chat        = wording{
		"chatcmpl-", "chat.completion.chunk", `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{"content":"`, `"}`, `,"token_ids":null}`,
	}
)

func (w *wording) head(id, model string) string {
	return `{"id":"` + w.id + id + `","object":"` + w.object + `","created":1,"model":"` + model + `","choices":[`
}

// tokens adds the event of a chunk of n tokens, the first ones of the stream, or the last.
func (w *wording) tokens(b []byte, id, model string, n int, first, last bool) []byte {
	if first && w.first != "" {
		b = appendEvent(b, w.head(id, model)+w.first+"]}")
	}
	finish := "null"
	if last {
		finish = `"length"`
	}
	return appendEvent(b, w.head(id, model)+w.before+strings.Repeat(" token", n)+w.after+`,"logprobs":null,"finish_reason":`+finish+w.rest+"]}")
}

// end adds the end of a stream: the usage if it was asked for, the end mark and the last chunk.
func (w *wording) end(b []byte, id, model string, usage bool, prompt, tokens int) []byte {
	if usage {
		b = appendEvent(b, w.head(id, model)+fmt.Sprintf(`],"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}}`, prompt, prompt+tokens, tokens))
	}
	b = appendEvent(b, "[DONE]")
	return append(b, "0\r\n\r\n"...)
}

// reply is a whole answer that is no stream.
func reply(status, kind string, body []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 %s\r\nserver: pacedserver\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n", status, kind, len(body))
	return append([]byte(head), body...)
}

func refusal(status, message string, code int) []byte {
	body, err := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": "BadRequestError", "param": nil, "code": code}})
	if err != nil { // strings and a number always encode
		panic(err)
	}
	return reply(status, "application/json", body)
}
