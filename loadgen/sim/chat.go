package sim

import (
	"fmt"
	"time"
)

// conversation reads what all chat-like endpoints share: the prompt made of messages.
func (s *Server) conversation(b *body) ([][]int, *fail) {
	text, f := s.template(b)
	if f != nil {
		return nil, f
	}
	return [][]int{s.cfg.Tokenizer.Encode(text, false)}, nil
}

func (s *Server) chat(a *asked) {
	b := a.body
	p := readSampling(b)
	if n := b.int("max_completion_tokens", unset); n != unset {
		p.max = n
	}
	if b.bool("logprobs", false) {
		p.logprobs = b.int("top_logprobs", 0)
	}
	p.echo = false
	b.required("messages")
	if f := p.checkOptions(b); f != nil {
		a.fail(f)
		return
	}
	if f := s.checkModel(p.model); f != nil {
		a.fail(f)
		return
	}
	prompts, f := s.conversation(b)
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
	created := s.clock.now() / int64(time.Second)
	choices := newChoices(p, s.sequences(a.job, p, prompts), s.cfg.Tokenizer)
	if !p.stream {
		s.submit(a, p)
		if s.gather(a, choices) {
			a.plain(s, s.chatCompletion(a, p, id, created, choices), choices)
		}
		return
	}
	st := s.open(a)
	if st.isOver {
		return
	}
	s.submit(a, p)
	head := fmt.Sprintf(`{"id":%s,"object":"chat.completion.chunk","created":%d,"model":%s,"choices":[`, quoted(id), created, quoted(p.model))
	running := func(c *choice) string {
		if !p.runUsage || a.fault.NoUsage {
			return ""
		}
		u := usage{prompt: len(c.seq.prompt), completion: c.tokens, cached: c.seq.cached}
		return fmt.Sprintf(`,"usage":{%v,"completion_tokens_details":null}`, u)
	}
	isOpen := false
	ok := st.each(choices, func(c *choice, tokens []token) {
		if !isOpen {
			// The opening events come with the first token, not before.
			isOpen = true
			st.hold(len(tokens))
			for _, c := range choices {
				taken := c.tokens
				c.tokens = 0
				st.send("", fmt.Appendf([]byte(head), `{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]%s,"prompt_token_ids":%s,"prompt_text":null}`, c.index, running(c), c.promptJSON()))
				c.tokens = taken
			}
		}
		stop := ""
		if c.finish != "" {
			stop = `,"stop_reason":` + c.reason
		}
		e := append([]byte(head), `{"index":`...)
		e = fmt.Append(e, c.index)
		e = append(e, `,"delta":{"content":`...)
		e = appendString(e, c.delta())
		e = append(e, `},"logprobs":`...)
		e = append(e, c.chatLogprobs(tokens, c.tokens-len(tokens))...)
		e = append(e, `,"finish_reason":`...)
		e = append(e, c.finishJSON()...)
		e = append(e, stop...)
		e = append(e, `,"token_ids":`...)
		e = append(e, c.idsJSON(tokens)...)
		e = append(e, "}]"...)
		e = append(e, running(c)...)
		if c.finish != "" && !p.wantsUsage {
			e = append(append(e, `,"system_fingerprint":`...), quoted(s.print)...)
			e = append(e, s.timings(choices)...)
		}
		st.sendTokens("", append(e, '}'), tokens)
	})
	u := a.count(choices)
	if !ok {
		return
	}
	if p.wantsUsage && !a.fault.NoUsage {
		st.send("", fmt.Appendf([]byte(head), `],"usage":%s,"system_fingerprint":%s%s}`, s.streamed(u), quoted(s.print), s.timings(choices)))
	}
	st.done()
}

func (s *Server) chatCompletion(a *asked, p *sampling, id string, created int64, choices []*choice) []byte {
	out := fmt.Appendf(nil, `{"id":%s,"object":"chat.completion","created":%d,"model":%s,"choices":[`, quoted(id), created, quoted(p.model))
	for i, c := range choices {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"index":%d,"message":{"role":"assistant","content":%s,"refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":%s,"finish_reason":%s,"stop_reason":%s,"token_ids":%s,"routed_experts":null}`,
			c.index, quoted(string(c.text)), c.chatLogprobs(c.held, 0), c.finishJSON(), c.reason, c.idsJSON(c.held))
	}
	u := a.count(choices)
	body := s.plain(u)
	if a.fault.NoUsage {
		body = "null"
	}
	return fmt.Appendf(out, `],"service_tier":null,"system_fingerprint":%s,"usage":%s,"prompt_logprobs":null,"prompt_token_ids":%s,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":%s}`,
		quoted(s.print), body, choices[0].promptJSON(), s.plainMetrics(choices))
}
