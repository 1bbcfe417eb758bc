package sim

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// submit hands the request's sequences to the engine.
func (s *Server) submit(a *asked, p *sampling) {
	most := 0
	for _, seq := range a.job.seqs {
		most = max(most, seq.max)
	}
	s.metrics.asked(p.n, most)
	a.job.log.Submitted = s.clock.now()
	s.engine.submit(a.job.seqs)
}

func (s *Server) completions(a *asked) {
	b := a.body
	p := readSampling(b)
	if b.fields["logprobs"] != nil {
		p.logprobs = b.int("logprobs", -1)
	}
	prompts := s.prompts(b)
	if f := p.checkOptions(b); f != nil {
		a.fail(f)
		return
	}
	if len(prompts) == 0 {
		a.fail(badValue("prompt", "", "Either prompt or prompt_embeds must be provided and non-empty."))
		return
	}
	if f := s.checkModel(p.model); f != nil {
		a.fail(f)
		return
	}
	if p.max == unset {
		p.max = 16 // the usual of this endpoint
		for _, prompt := range prompts {
			p.max = max(min(p.max, s.cfg.MaxModelLen-len(prompt)), 1)
		}
	}
	if f := p.check(&s.cfg, prompts); f != nil {
		a.fail(f)
		return
	}
	if p.model == "" {
		p.model = s.cfg.Model
	}
	var unknown *fail
	for _, prompt := range prompts {
		if unknown == nil {
			unknown = s.checkVocabulary(prompt)
		}
	}
	if unknown != nil && !p.stream {
		a.fail(unknown)
		return
	}
	id := s.id(a, "cmpl-")
	created := s.clock.now() / int64(time.Second)
	choices := newChoices(p, s.sequences(a.job, p, prompts), s.cfg.Tokenizer)
	if !p.stream {
		s.submit(a, p)
		if s.gather(a, choices) {
			a.plain(s, s.completion(a, p, id, created, choices), choices)
		}
		return
	}

	st := s.open(a)
	if unknown != nil {
		// The status is out before the prompt is looked at all the way.
		st.fail(unknown)
		return
	}
	if st.isOver {
		return
	}
	s.submit(a, p)
	head := fmt.Sprintf(`{"id":%s,"object":"text_completion","created":%d,"model":%s,"choices":[`, quoted(id), created, quoted(p.model))
	offsets := make([]int, len(choices))
	ok := st.each(choices, func(c *choice, tokens []token) {
		text, prompt := c.delta(), "null"
		logprobs := c.completionLogprobs(tokens, c.tokens-len(tokens), offsets[c.index])
		offsets[c.index] += utf8.RuneCountInString(text)
		if isFirst := c.tokens == len(tokens); isFirst {
			prompt = c.promptJSON()
			if p.echo {
				text = s.cfg.Tokenizer.Decode(withoutBOS(c.seq.prompt)) + text
			}
		}
		e := append([]byte(head), `{"index":`...)
		e = fmt.Append(e, c.index)
		e = append(e, `,"text":`...)
		e = appendString(e, text)
		e = append(e, `,"logprobs":`...)
		e = append(e, logprobs...)
		e = append(e, `,"finish_reason":`...)
		e = append(e, c.finishJSON()...)
		e = append(e, `,"stop_reason":`...)
		e = append(e, c.reason...)
		e = append(e, `,"prompt_token_ids":`...)
		e = append(e, prompt...)
		e = append(e, `,"token_ids":`...)
		e = append(e, c.idsJSON(tokens)...)
		e = append(e, "}]"...)
		if p.runUsage && !a.fault.NoUsage {
			u := usage{prompt: len(c.seq.prompt), completion: c.tokens, cached: c.seq.cached}
			e = append(append(e, `,"usage":`...), s.streamed(u)...)
		}
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

// timings are the server's own figures of a request, where it was started to give them.
func (s *Server) timings(choices []*choice) string {
	if !s.cfg.RequestMetrics {
		return ""
	}
	seq := choices[0].seq
	return fmt.Sprintf(`,"metrics":{"queue_time_ms":%s,"time_to_first_token_ms":%s}`,
		pyFloat(float64(seq.scheduled-seq.arrived)/1e6), pyFloat(float64(seq.firstToken-seq.arrived)/1e6))
}

func withoutBOS(ids []int) []int {
	if len(ids) > 0 && ids[0] == EOS {
		return ids[1:]
	}
	return ids
}

// plainMetrics is the last key of a plain answer.
func (s *Server) plainMetrics(choices []*choice) string {
	if t := s.timings(choices); t != "" {
		return strings.TrimPrefix(t, `,"metrics":`)
	}
	return "null"
}

func (s *Server) completion(a *asked, p *sampling, id string, created int64, choices []*choice) []byte {
	out := fmt.Appendf(nil, `{"id":%s,"object":"text_completion","created":%d,"model":%s,"choices":[`, quoted(id), created, quoted(p.model))
	for i, c := range choices {
		if i > 0 {
			out = append(out, ',')
		}
		text := string(c.text)
		if p.echo {
			text = s.cfg.Tokenizer.Decode(withoutBOS(c.seq.prompt)) + text
		}
		out = fmt.Appendf(out, `{"index":%d,"text":%s,"logprobs":%s,"finish_reason":%s,"stop_reason":%s,"token_ids":%s,"prompt_logprobs":null,"prompt_token_ids":%s,"routed_experts":null}`,
			c.index, quoted(text), c.completionLogprobs(c.held, 0, 0), c.finishJSON(), c.reason, c.idsJSON(c.held), c.promptJSON())
	}
	u := a.count(choices)
	body := s.plain(u)
	if a.fault.NoUsage {
		body = "null"
	}
	return fmt.Appendf(out, `],"service_tier":null,"system_fingerprint":%s,"usage":%s,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":%s}`, quoted(s.print), body, s.plainMetrics(choices))
}
