package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// transcriptions answers speech with text. The sound's length in seconds becomes 50 prompt tokens each, and, as
// nobody listens, the text is made up; it is 3 words a second long unless the request limits it.
func (s *Server) transcriptions(a *asked) {
	form, f := readForm(a.r)
	if f != nil {
		a.fail(f)
		return
	}
	b := &body{fields: form}
	p := &sampling{
		model: b.str("model", ""), n: 1, max: b.int("max_completion_tokens", unset), temperature: b.float("temperature", 0), logprobs: -1, ignoreEOS: true,
		stream: b.bool("stream", false), wantsUsage: b.bool("stream_include_usage", false), runUsage: b.bool("stream_continuous_usage_stats", false),
	}
	sound, _ := b.required("file").(string)
	f = b.wrong()
	if f == nil {
		f = s.checkModel(p.model)
	}
	if f != nil {
		a.fail(f)
		return
	}
	seconds := soundLength([]byte(sound))
	prompt := make([]int, min(1+int(50*seconds), s.cfg.MaxModelLen/2))
	for i := range prompt {
		prompt[i] = int(hash(sound)+uint64(i)) & 0x7f
	}
	most := max(int(3*seconds), 1)
	if p.max == unset || p.max > most {
		p.max = min(most, s.cfg.MaxModelLen-len(prompt))
	}
	if f := p.check(&s.cfg, [][]int{prompt}); f != nil {
		a.fail(f)
		return
	}
	if p.model == "" {
		p.model = s.cfg.Model
	}
	id := s.id(a, "trsc-")
	created := s.clock.now() / int64(time.Second)
	choices := newChoices(p, s.sequences(a.job, p, [][]int{prompt}), s.cfg.Tokenizer)
	if !p.stream {
		s.submit(a, p)
		if s.gather(a, choices) {
			a.count(choices)
			a.plain(s, fmt.Appendf(nil, `{"text":%s,"usage":{"type":"duration","seconds":%d}}`, quoted(string(choices[0].text)), int(seconds+0.999)), choices)
		}
		return
	}
	st := s.open(a)
	if st.isOver {
		return
	}
	s.submit(a, p)
	head := fmt.Sprintf(`{"id":%s,"object":"transcription.chunk","created":%d,"model":%s,"choices":[`, quoted(id), created, quoted(p.model))
	ok := st.each(choices, func(c *choice, tokens []token) {
		e := fmt.Appendf([]byte(head), `{"delta":{"content":%s},"finish_reason":%s,"stop_reason":%s}]`, quoted(c.delta()), c.finishJSON(), c.reason)
		if p.runUsage {
			e = fmt.Appendf(e, `,"usage":{%v}`, usage{prompt: len(prompt), completion: c.tokens})
		}
		st.sendTokens("", append(e, '}'), tokens)
	})
	u := a.count(choices)
	if !ok {
		return
	}
	if p.wantsUsage && !a.fault.NoUsage {
		st.send("", fmt.Appendf([]byte(head), `],"usage":{%v}}`, u))
	}
	st.done()
}

// readForm reads a multipart form; numbers and truth values stay text, which the body's readers take.
func readForm(r *http.Request) (map[string]any, *fail) {
	reader, err := r.MultipartReader()
	if err != nil {
		return nil, invalid("body.file", "{'type': 'missing', 'loc': 'body.file', 'msg': 'Field required', 'input': None}")
	}
	form := make(map[string]any)
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return form, nil
		}
		if err == nil {
			var text []byte
			if text, err = io.ReadAll(io.LimitReader(part, maxBody)); err == nil {
				form[strings.TrimSuffix(part.FormName(), "[]")] = string(text)
				continue
			}
		}
		return nil, badRequest("There was an error parsing the body")
	}
}

// soundLength is the length of a WAV file in seconds; anything else counts as 16,000 bytes a second.
func soundLength(b []byte) float64 {
	if len(b) > 44 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WAVE" {
		rate := 0
		for at := 12; at+8 <= len(b); {
			size := int(binary.LittleEndian.Uint32(b[at+4:]))
			switch name := string(b[at : at+4]); {
			case name == "fmt " && at+20 <= len(b):
				rate = int(binary.LittleEndian.Uint32(b[at+16:]))
			case name == "data" && rate > 0:
				return float64(min(size, len(b)-at-8)) / float64(rate)
			}
			at += 8 + size + size%2
		}
	}
	return float64(len(b)) / 16000
}
