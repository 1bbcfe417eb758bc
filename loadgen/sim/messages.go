package sim

import (
	"fmt"
	"net/http"
)

// withSystem puts the Messages API's system text in front of its messages.
func withSystem(b *body) {
	if system := b.fields["system"]; system != nil {
		if list, ok := b.fields["messages"].([]any); ok {
			b.fields["messages"] = append([]any{map[string]any{"role": "system", "content": system}}, list...)
		}
	}
}

func (s *Server) messages(a *asked) {
	b := a.body
	withSystem(b)
	p := readSampling(b)
	p.n = 1
	b.required("max_tokens")
	p.stop = b.strings("stop_sequences")
	f := b.wrong()
	if f == nil {
		f = s.checkModel(p.model)
	}
	var prompts [][]int
	if f == nil {
		prompts, f = s.conversation(b)
	}
	if f == nil {
		f = p.check(&s.cfg, prompts)
	}
	if f != nil {
		a.fail(f)
		return
	}
	if p.model == "" {
		p.model = s.cfg.Model
	}
	id := s.id(a, "chatcmpl-")
	choices := newChoices(p, s.sequences(a.job, p, prompts), s.cfg.Tokenizer)
	c := choices[0]
	stopReason := func() (reason, sequence string) {
		switch {
		case c.finish == "length":
			return "max_tokens", "null"
		case c.reason != "null":
			return "stop_sequence", c.reason
		}
		return "end_turn", "null"
	}
	if !p.stream {
		s.submit(a, p)
		if s.gather(a, choices) {
			u := a.count(choices)
			reason, _ := stopReason()
			a.plain(s, fmt.Appendf(nil, `{"id":%s,"type":"message","role":"assistant","content":[{"type":"text","text":%s}],"model":%s,"stop_reason":"%s","usage":{"input_tokens":%d,"output_tokens":%d}}`,
				quoted(id), quoted(string(c.text)), quoted(p.model), reason, u.prompt, u.completion), choices)
		}
		return
	}
	st := s.open(a)
	if st.isOver {
		return
	}
	s.submit(a, p)
	isOpen := false
	ok := st.each(choices, func(c *choice, tokens []token) {
		if !isOpen {
			isOpen = true
			st.hold(len(tokens))
			st.send("message_start", fmt.Appendf(nil, `{"type":"message_start","message":{"id":%s,"type":"message","role":"assistant","content":[],"model":%s,"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":0}}}`, quoted(id), quoted(p.model), len(prompts[0])))
			st.send("content_block_start", []byte(`{"type":"content_block_start","content_block":{"type":"text","text":""},"index":0}`))
		}
		st.sendTokens("content_block_delta", []byte(`{"type":"content_block_delta","delta":{"type":"text_delta","text":`+quoted(c.delta())+`},"index":0}`), tokens)
	})
	u := a.count(choices)
	if !ok {
		return
	}
	reason, sequence := stopReason()
	st.send("content_block_stop", []byte(`{"type":"content_block_stop","index":0}`))
	st.send("message_delta", fmt.Appendf(nil, `{"type":"message_delta","delta":{"stop_reason":"%s","stop_sequence":%s},"usage":{"input_tokens":%d,"output_tokens":%d}}`, reason, sequence, u.prompt, u.completion))
	st.send("message_stop", []byte(`{"type":"message_stop"}`))
}

func (s *Server) countTokens(w http.ResponseWriter, r *http.Request) {
	b, f := readBody(r)
	var prompts [][]int
	if f == nil {
		withSystem(b)
		f = s.checkModel(b.str("model", ""))
	}
	if f == nil {
		prompts, f = s.conversation(b)
	}
	if f != nil {
		f.write(w)
		return
	}
	n := len(prompts[0])
	writeJSON(w, http.StatusOK, fmt.Appendf(nil, `{"input_tokens":%d,"context_management":{"original_input_tokens":%d}}`, n, n))
}
