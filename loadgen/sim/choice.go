package sim

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// A choice is one of a request's answers as the front end knows it: tokens become text, text is searched for stop strings
// and parcelled into events.
type choice struct {
	index int
	seq   *sequence
	tok   Tokenizer
	p     *sampling

	pending []int // tokens that are not whole characters yet
	text    []byte
	sent    int // bytes of text that went out
	tokens  int
	held    []token // since the last event
	finish  string
	reason  string // stop_reason as JSON
}

func newChoices(p *sampling, seqs []*sequence, tok Tokenizer) []*choice {
	var out []*choice
	for _, s := range seqs {
		out = append(out, &choice{index: s.choice, seq: s, tok: tok, p: p, reason: "null"})
	}
	return out
}

// take adds a token. It is false once the choice has ended.
func (c *choice) take(t token) bool {
	if c.finish != "" {
		return false
	}
	c.tokens++
	c.held = append(c.held, t)
	c.finish = t.finish
	isStop := t.finish == "stop"
	if isStop && t.stopID > 0 {
		c.reason = fmt.Sprint(t.stopID)
	}
	before := len(c.text)
	if !isStop {
		// A token that ends the answer is no part of its text.
		c.pending = append(c.pending, t.id)
	}
	if isWhole(c.tok, c.pending) || c.finish != "" {
		c.text = append(c.text, c.tok.Decode(c.pending)...)
		c.pending = c.pending[:0]
	}
	c.stopAt(before)
	return true
}

// stopAt ends the answer at the first stop string that the text beyond old completes.
func (c *choice) stopAt(old int) {
	found, stop := -1, ""
	for _, s := range c.p.stop {
		from := max(old-len(s)+1, 0)
		if i := bytes.Index(c.text[from:], []byte(s)); i >= 0 && (found < 0 || from+i < found) {
			found, stop = from+i, s
		}
	}
	if found < 0 || c.tokens <= c.p.min {
		return
	}
	if c.p.keepStop {
		found += len(stop)
	}
	c.text = c.text[:found]
	c.sent = min(c.sent, found)
	c.pending = nil
	c.finish, c.reason = "stop", quoted(stop)
}

// delta is the text that can go out now. Where there are stop strings, as much is held back as
// could be the beginning of one.
func (c *choice) delta() string {
	end := len(c.text)
	if c.finish == "" {
		hold := 0
		for _, s := range c.p.stop {
			hold = max(hold, utf8.RuneCountInString(s)-1)
		}
		for ; hold > 0 && end > 0; hold-- {
			_, n := utf8.DecodeLastRune(c.text[:end])
			end -= n
		}
	}
	end = max(end, c.sent)
	text := string(c.text[c.sent:end])
	c.sent = end
	return text
}

// isDue says that the held tokens make an event, with so many tokens in each after the first.
func (c *choice) isDue(interval int) bool {
	return len(c.held) > 0 && (c.finish != "" || c.tokens == len(c.held) || len(c.held) >= interval)
}

func (c *choice) finishJSON() string {
	if c.finish == "" {
		return "null"
	}
	return quoted(c.finish)
}

// idsJSON are the ids of the tokens, when they were asked for.
func (c *choice) idsJSON(tokens []token) string {
	if !c.p.returnIDs {
		return "null"
	}
	ids := make([]int, len(tokens))
	for i, t := range tokens {
		ids[i] = t.id
	}
	return string(appendInts(nil, ids))
}

func (c *choice) promptJSON() string {
	if !c.p.returnIDs && !c.p.echo {
		return "null"
	}
	return string(appendInts(nil, c.seq.prompt))
}

// isWhole says that the tokens are whole characters.
func isWhole(tok Tokenizer, ids []int) bool {
	words, ok := tok.(*Words)
	if !ok {
		return !strings.HasSuffix(tok.Decode(ids), "\ufffd")
	}
	var raw []byte
	for _, id := range ids {
		raw = words.appendToken(raw, id)
	}
	for i := len(raw) - 1; i >= 0 && i >= len(raw)-utf8.UTFMax; i-- {
		if utf8.RuneStart(raw[i]) {
			return utf8.FullRune(raw[i:])
		}
	}
	return true
}

// logprob is a made-up log-probability of a token, and the further tokens that would have been less likely.
func (c *choice) logprob(t token, position, further int) (float64, []int, []float64) {
	draw := mix(c.seq.from ^ uint64(position)<<32 ^ uint64(t.id))
	own := float64(float32(-math.Log1p(float64(draw>>40) / (1 << 22))))
	ids, values := []int{t.id}, []float64{own}
	for i := 1; i < further; i++ {
		ids = append(ids, (t.id+i*7919)%c.tok.Vocabulary())
		values = append(values, float64(float32(own-float64(i)/4)))
	}
	return own, ids, values
}

// completionLogprobs are the log-probabilities of tokens as completions write them; offset is where their text begins.
func (c *choice) completionLogprobs(tokens []token, first, offset int) string {
	if c.p.logprobs < 0 {
		return "null"
	}
	var offsets, own, texts, tops []string
	for i, t := range tokens {
		text := c.tok.Decode([]int{t.id})
		lp, ids, values := c.logprob(t, first+i, max(c.p.logprobs, 1))
		offsets = append(offsets, fmt.Sprint(offset))
		offset += utf8.RuneCountInString(text)
		own = append(own, pyFloat(lp))
		texts = append(texts, quoted(text))
		var top []string
		for k, id := range ids {
			top = append(top, quoted(c.tok.Decode([]int{id}))+":"+pyFloat(values[k]))
		}
		tops = append(tops, "{"+strings.Join(top, ",")+"}")
	}
	return fmt.Sprintf(`{"text_offset":[%s],"token_logprobs":[%s],"tokens":[%s],"top_logprobs":[%s]}`,
		strings.Join(offsets, ","), strings.Join(own, ","), strings.Join(texts, ","), strings.Join(tops, ","))
}

// chatLogprobs are the log-probabilities of tokens as chat writes them.
func (c *choice) chatLogprobs(tokens []token, first int) string {
	if c.p.logprobs < 0 {
		return "null"
	}
	one := func(id int, lp float64) string {
		text := c.tok.Decode([]int{id})
		raw := make([]int, len(text))
		for i := range len(text) {
			raw[i] = int(text[i])
		}
		return fmt.Sprintf(`"token":%s,"logprob":%s,"bytes":%s`, quoted(text), pyFloat(lp), appendInts(nil, raw))
	}
	var all []string
	for i, t := range tokens {
		lp, ids, values := c.logprob(t, first+i, c.p.logprobs)
		var top []string
		if c.p.logprobs > 0 {
			for k, id := range ids {
				top = append(top, "{"+one(id, values[k])+"}")
			}
		}
		all = append(all, fmt.Sprintf(`{%s,"top_logprobs":[%s]}`, one(t.id, lp), strings.Join(top, ",")))
	}
	return `{"content":[` + strings.Join(all, ",") + "]}"
}
