package sim

import (
	"fmt"
	"time"
)

// inputText is the prompt of /v1/responses: a text, or a list of messages.
func (s *Server) inputText(b *body) (string, *fail) {
	switch v := b.required("input").(type) {
	case string:
		b.fields["messages"] = []any{map[string]any{"role": "user", "content": v}}
	case []any:
		b.fields["messages"] = v
	default:
		if b.fields["input"] != nil {
			b.fault("string_type", "input", "Input should be a valid string", v)
		}
		return "", b.wrong()
	}
	return s.template(b)
}

func (s *Server) responses(a *asked) {
	b := a.body
	p := readSampling(b)
	p.max, p.n, p.wantsUsage = b.int("max_output_tokens", unset), 1, true
	text, f := s.inputText(b)
	if f == nil {
		f = b.wrong()
	}
	if f == nil {
		f = s.checkModel(p.model)
	}
	if f != nil {
		a.fail(f)
		return
	}
	prompts := [][]int{s.cfg.Tokenizer.Encode(text, false)}
	if f := p.check(&s.cfg, prompts); f != nil {
		a.fail(f)
		return
	}
	if p.model == "" {
		p.model = s.cfg.Model
	}
	id := s.id(a, "resp_")
	item := fmt.Sprintf("msg_%016x", mix(hash(id)^s.cfg.Seed))
	created := s.clock.now() / int64(time.Second)
	choices := newChoices(p, s.sequences(a.job, p, prompts), s.cfg.Tokenizer)
	c := choices[0]

	message := func() string {
		return fmt.Sprintf(`{"id":%s,"content":[{"annotations":[],"text":%s,"type":"output_text","logprobs":null}],"role":"assistant","status":"completed","type":"message","phase":null}`, quoted(item), quoted(string(c.text)))
	}
	object := func(isDone bool) string {
		output, status, why, use := "", "in_progress", "null", "null"
		if isDone {
			output, status = message(), "completed"
			if c.finish == "length" {
				status, why = "incomplete", `{"reason":"max_output_tokens"}`
			}
			u := a.count(choices)
			if !a.fault.NoUsage {
				use = fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":%d}`,
					u.prompt, u.cached, u.completion, u.prompt+u.completion)
			}
		}
		return fmt.Sprintf(`{"id":%s,"created_at":%d,"incomplete_details":%s,"instructions":null,"metadata":null,"model":%s,"object":"response","output":[%s],"parallel_tool_calls":true,"temperature":%s,"tool_choice":"none","tools":[],"top_p":1.0,"background":false,"max_output_tokens":%d,"max_tool_calls":null,"previous_response_id":null,"prompt":null,"reasoning":null,"service_tier":"auto","status":"%s","text":null,"top_logprobs":null,"truncation":"disabled","usage":%s,"user":null,"presence_penalty":0.0,"frequency_penalty":0.0,"kv_transfer_params":null,"ec_transfer_params":null,"input_messages":null,"output_messages":null}`,
			quoted(id), created, why, quoted(p.model), output, pyFloat(p.temperature), c.seq.max, status, use)
	}

	if !p.stream {
		s.submit(a, p)
		if s.gather(a, choices) {
			a.plain(s, []byte(object(true)), choices)
		}
		return
	}
	st := s.open(a)
	if st.isOver {
		return
	}
	s.submit(a, p)
	number := 0
	send := func(kind, fields string, tokens []token) {
		between := ""
		if kind == "response.output_text.done" {
			between = `"text":` + quoted(string(c.text)) + ","
		}
		data := fmt.Sprintf(`{%s,"sequence_number":%d,%s"type":"%s"}`, fields, number, between, kind)
		number++
		if tokens != nil {
			st.sendTokens(kind, []byte(data), tokens)
		} else {
			st.send(kind, []byte(data))
		}
	}
	send("response.created", `"response":`+object(false), nil)
	send("response.in_progress", `"response":`+object(false), nil)
	isOpen := false
	begin := func() {
		if isOpen {
			return
		}
		isOpen = true
		send("response.output_item.added", `"item":{"id":`+quoted(item)+`,"content":[],"role":"assistant","status":"in_progress","type":"message","phase":null},"output_index":0`, nil)
		send("response.content_part.added", `"content_index":0,"item_id":`+quoted(item)+`,"output_index":0,"part":{"annotations":[],"text":"","type":"output_text","logprobs":[]}`, nil)
	}
	ok := st.each(choices, func(c *choice, tokens []token) {
		st.hold(len(tokens))
		begin()
		send("response.output_text.delta", `"content_index":0,"delta":`+quoted(c.delta())+`,"item_id":`+quoted(item)+`,"logprobs":[],"output_index":0`, tokens)
	})
	final := object(true)
	if !ok {
		return
	}
	part := `{"annotations":[],"text":` + quoted(string(c.text)) + `,"type":"output_text","logprobs":null}`
	send("response.output_text.done", `"content_index":0,"item_id":`+quoted(item)+`,"logprobs":[],"output_index":0`, nil)
	send("response.content_part.done", `"content_index":0,"item_id":`+quoted(item)+`,"output_index":0,"part":`+part, nil)
	send("response.output_item.done", `"item":`+message()+`,"output_index":0`, nil)
	send("response.completed", `"response":`+final, nil)
}
