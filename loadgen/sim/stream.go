package sim

import (
	"bytes"
	"net/http"
	"time"
)

// A stream writes events, one write each, and whatever a fault makes of them.
type stream struct {
	server *Server
	a      *asked
	flush  *http.ResponseController
	tokens int // that went out, over all choices
	held   int // tokens that were held back as they were to be
	isOver bool
}

// open writes the response's head, in a write of its own.
func (s *Server) open(a *asked) *stream {
	st := &stream{server: s, a: a, flush: http.NewResponseController(a.w)}
	a.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	log := &a.job.log
	log.Streamed, log.Status = true, http.StatusOK
	log.HeadersBegan = s.clock.now()
	a.w.WriteHeader(http.StatusOK)
	st.flush.Flush()
	log.HeadersDone = s.clock.now()
	st.strike()
	return st
}

// send writes one event; name is its type, for the dialects that name theirs.
func (st *stream) send(name string, data []byte) (began, done int64) {
	if st.isOver {
		return 0, 0
	}
	f := &st.a.fault
	line := make([]byte, 0, len(data)+len(name)+16)
	if name != "" {
		line = append(append(append(line, "event: "...), name...), '\n')
	}
	line = append(line, "data: "...)
	if f.NoSpace {
		line = line[:len(line)-1]
	}
	line = append(append(line, data...), "\n\n"...)
	if f.Comments {
		line = append([]byte(": ping\n\n"), line...)
	}
	if f.CRLF {
		line = bytes.ReplaceAll(line, []byte("\n"), []byte("\r\n"))
	}
	began = st.server.clock.now()
	for piece := range pieces(line, f.Split) {
		_, err := st.a.w.Write(piece)
		if err == nil {
			err = st.flush.Flush()
		}
		if err != nil {
			st.isOver = true
			st.a.job.log.Error = "the client is gone"
			break
		}
	}
	return began, st.server.clock.now()
}

func pieces(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for size > 0 && len(b) > size {
			if !yield(b[:size]) {
				return
			}
			b = b[size:]
		}
		yield(b)
	}
}

// sendTokens writes an event that carries these tokens.
func (st *stream) sendTokens(name string, data []byte, tokens []token) {
	if st.isOver {
		return
	}
	st.hold(len(tokens))
	if st.isOver {
		return
	}
	began, done := st.send(name, data)
	if done == 0 {
		return
	}
	for _, t := range tokens {
		st.a.job.log.Tokens = append(st.a.job.log.Tokens, TokenLog{Choice: t.choice, Step: t.step, Computed: t.computed, WriteBegan: began, WriteDone: done})
	}
	st.tokens += len(tokens)
	st.strike()
}

// hold is what delays the next n tokens.
func (st *stream) hold(n int) {
	f := &st.a.fault
	from := max(st.tokens, st.held)
	st.held = st.tokens + n
	within := func(at int) bool { return at > from && at <= st.held }
	wait := time.Duration(0)
	if from == 0 {
		wait += f.BeforeFirst
	}
	if within(f.StallAt) {
		wait += f.Stall
	}
	if within(f.FreezeAt) && f.Freeze > 0 {
		st.server.Freeze(f.Freeze)
	}
	if wait > 0 && !st.server.pause(st.a.ctx, wait) {
		st.isOver = true
	}
}

// strike does what is to happen after the tokens that went out so far.
func (st *stream) strike() {
	f := &st.a.fault
	if f.MalformedAt > 0 && st.tokens >= f.MalformedAt {
		f.MalformedAt = 0
		st.send("", []byte(`{"id":"malformed","choices":[{"index":0,"text":`))
	}
	if f.ErrorAt == -1 || f.ErrorAt > 0 && st.tokens >= f.ErrorAt {
		e := &fail{status: http.StatusInternalServerError, kind: "InternalServerError", message: f.ErrorMessage}
		if e.message == "" {
			e.message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
		}
		st.fail(e)
	}
	if f.Cut != "" && st.tokens >= f.CutAt && !st.isOver {
		st.isOver = true
		st.a.job.log.Error = "cut: " + f.Cut
		if f.Cut != CutEnd {
			st.server.cut(st.a.w, f.Cut)
		}
	}
}

// fail ends the stream with an error event.
func (st *stream) fail(e *fail) {
	st.a.job.log.Error = e.message
	st.send("", e.event())
	st.done()
	st.isOver = true
}

// done writes the end mark.
func (st *stream) done() {
	if !st.a.fault.NoDone {
		st.send("", []byte("[DONE]"))
	}
}

// each calls with for every choice that has tokens to go out, until all choices have ended. It is false when
// the stream ended before them.
func (st *stream) each(choices []*choice, with func(*choice, []token)) bool {
	a, s := st.a, st.server
	interval := s.cfg.StreamInterval
	if a.fault.Interval > 0 {
		interval = a.fault.Interval
	}
	for open := len(choices); open > 0 && !st.isOver; {
		t, err := a.job.out.next(a.ctx, s.closing)
		if err != nil {
			a.job.log.Error = err.Error()
			st.isOver = true
			break
		}
		c := choices[t.choice]
		if !c.take(t) {
			continue
		}
		if c.finish != "" {
			open--
			s.engine.abort(a.job.seqs[c.index:c.index+1], c.finish)
		}
		if !a.fault.Join {
			if c.isDue(interval) {
				st.emit(c, with)
			}
			continue
		}
		if a.job.out.isEmpty() || open == 0 {
			for _, c := range choices {
				if c.isDue(1) {
					st.emit(c, with)
				}
			}
		}
	}
	if st.isOver {
		s.engine.abort(a.job.seqs, "abort")
		return false
	}
	return true
}

// emit has the choice's tokens go out.
func (st *stream) emit(c *choice, with func(*choice, []token)) {
	held := c.held
	c.held = nil
	with(c, held)
}

// gather collects all tokens of all choices, for a plain answer.
func (s *Server) gather(a *asked, choices []*choice) bool {
	for open := len(choices); open > 0; {
		t, err := a.job.out.next(a.ctx, s.closing)
		if err != nil {
			a.job.log.Error = err.Error()
			s.engine.abort(a.job.seqs, "abort")
			return false
		}
		c := choices[t.choice]
		if !c.take(t) {
			continue
		}
		if c.finish != "" {
			open--
			s.engine.abort(a.job.seqs[c.index:c.index+1], c.finish)
		}
	}
	return true
}

// plain writes a whole answer, whose tokens went out with it.
func (a *asked) plain(s *Server, body []byte, choices []*choice) {
	log := &a.job.log
	if a.fault.BeforeFirst > 0 && !s.pause(a.ctx, a.fault.BeforeFirst) {
		return
	}
	if a.fault.Cut != "" && a.fault.Cut != CutEnd {
		log.Error = "cut: " + a.fault.Cut
		s.cut(a.w, a.fault.Cut)
		return
	}
	log.Status = http.StatusOK
	began := s.clock.now()
	log.HeadersBegan = began
	writeJSON(a.w, http.StatusOK, body)
	http.NewResponseController(a.w).Flush()
	done := s.clock.now()
	log.HeadersDone = done
	for _, c := range choices {
		for _, t := range c.held {
			log.Tokens = append(log.Tokens, TokenLog{Choice: t.choice, Step: t.step, Computed: t.computed, WriteBegan: began, WriteDone: done})
		}
	}
}

// count is the usage so far, and notes it in the log.
func (a *asked) count(choices []*choice) usage {
	u := usage{prompt: a.job.log.PromptTokens}
	for _, c := range choices {
		u.completion += c.tokens
		if c.index%c.p.n == 0 {
			u.cached += c.seq.cached
		}
	}
	log := &a.job.log
	log.OutputTokens, log.CachedTokens = u.completion, u.cached
	log.Finish = choices[0].finish
	return u
}
