package sim

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// vectorSize is the number of values in an embedding, that of OPT-125m.
const vectorSize = 768

// vector is a made-up embedding of unit length of a prompt.
func (s *Server) vector(prompt []int, size int) []float64 {
	from := s.engine.content.source(prompt, 0, 0)
	v := make([]float64, size)
	norm := 0.0
	for i := range v {
		v[i] = float64(mix(from+uint64(i))>>11)/(1<<52) - 1
		norm += v[i] * v[i]
	}
	for i := range v {
		v[i] = float64(float32(v[i] / math.Sqrt(norm)))
	}
	return v
}

func appendFloats(b []byte, v []float64) []byte {
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, pyFloat(x)...)
	}
	return append(b, ']')
}

// pool has the engine compute the prompts, without any output, and returns their tokens.
func (s *Server) pool(a *asked, p *sampling, prompts [][]int) (tokens int, ok bool) {
	cut := a.body.int("truncate_prompt_tokens", 0)
	for i := range prompts {
		if limit := cut; limit != 0 {
			if limit < 0 {
				limit = s.cfg.MaxModelLen
			}
			prompts[i] = prompts[i][max(len(prompts[i])-limit, 0):]
		}
		tokens += len(prompts[i])
	}
	f := a.body.wrong()
	if f == nil {
		f = s.checkModel(p.model)
	}
	if f == nil {
		f = tooLong(&s.cfg, prompts)
	}
	for _, prompt := range prompts {
		if f == nil {
			f = s.checkVocabulary(prompt)
		}
	}
	if f != nil {
		a.fail(f)
		return 0, false
	}
	if p.model == "" {
		p.model = s.cfg.Model
	}
	p.n, p.max = 1, 0
	s.sequences(a.job, p, prompts)
	a.job.log.Submitted = s.clock.now()
	s.engine.submit(a.job.seqs)
	for range a.job.seqs {
		if _, err := a.job.out.next(a.ctx, s.closing); err != nil {
			a.job.log.Error = err.Error()
			s.engine.abort(a.job.seqs, "abort")
			return 0, false
		}
	}
	return tokens, true
}

// inputs are the prompts of a pooling request: a text, token ids, a list of either, or a conversation.
func (s *Server) inputs(b *body) ([][]int, *fail) {
	if _, isChat := b.fields["messages"]; isChat {
		return s.conversation(b)
	}
	b.fields["prompt"] = b.required("input")
	prompts := s.prompts(b)
	if f := b.wrong(); f != nil {
		return nil, f
	}
	if len(prompts) == 0 {
		return nil, badRequest("Either prompt or prompt_embeds must be provided and non-empty.")
	}
	return prompts, nil
}

func (s *Server) poolingUsage(tokens int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":0,"prompt_tokens_details":null}`, tokens, tokens)
}

func (s *Server) embeddings(a *asked) { s.vectors(a, "embd-", "embedding", "embedding") }
func (s *Server) pooling(a *asked)    { s.vectors(a, "pool-", "pooling", "data") }

func (s *Server) vectors(a *asked, prefix, object, key string) {
	b := a.body
	p := &sampling{model: b.str("model", "")}
	format := b.str("encoding_format", "float")
	size := b.int("dimensions", vectorSize)
	prompts, f := s.inputs(b)
	if f == nil && (size < 1 || size > vectorSize) {
		f = badValue("dimensions", fmt.Sprint(size), fmt.Sprintf("dimensions must be from 1 to %d, got %d.", vectorSize, size))
	}
	if f != nil {
		a.fail(f)
		return
	}
	id := s.id(a, prefix)
	tokens, ok := s.pool(a, p, prompts)
	if !ok {
		return
	}
	out := fmt.Appendf(nil, `{"id":%s,"object":"list","created":%d,"model":%s,"data":[`, quoted(id), s.clock.now()/int64(time.Second), quoted(p.model))
	for i, prompt := range prompts {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"index":%d,"object":"%s","%s":`, i, object, key)
		v := s.vector(prompt, size)
		if format == "base64" {
			var raw []byte
			for _, x := range v {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(x)))
			}
			out = append(out, quoted(base64.StdEncoding.EncodeToString(raw))...)
		} else {
			out = appendFloats(out, v)
		}
		out = append(out, '}')
	}
	a.plain(s, fmt.Appendf(out, `],"usage":%s}`, s.poolingUsage(tokens)), nil)
}

func (s *Server) rerank(a *asked) {
	b := a.body
	p := &sampling{model: b.str("model", "")}
	b.required("query")
	query := b.str("query", "")
	b.required("documents")
	documents := b.strings("documents")
	top := b.int("top_n", 0)
	if f := b.wrong(); f != nil {
		a.fail(f)
		return
	}
	var prompts [][]int
	for _, d := range documents {
		prompts = append(prompts, s.cfg.Tokenizer.Encode(query+"\n"+d, !s.cfg.NoBOS))
	}
	id := s.id(a, "rerank-")
	tokens, ok := s.pool(a, p, prompts)
	if !ok {
		return
	}
	type result struct {
		index int
		score float64
	}
	var results []result
	for i, prompt := range prompts {
		results = append(results, result{i, float64(float32(float64(s.engine.content.source(prompt, 0, 0)>>11) / (1 << 53)))})
	}
	slices.SortStableFunc(results, func(a, b result) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	if top > 0 && top < len(results) {
		results = results[:top]
	}
	var rows []string
	for _, r := range results {
		rows = append(rows, fmt.Sprintf(`{"index":%d,"document":{"text":%s,"multi_modal":null},"relevance_score":%s}`, r.index, quoted(documents[r.index]), pyFloat(r.score)))
	}
	a.plain(s, fmt.Appendf(nil, `{"id":%s,"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d},"results":[%s]}`, quoted(id), quoted(p.model), tokens, tokens, strings.Join(rows, ",")), nil)
}
