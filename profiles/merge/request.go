package merge

import (
	"fmt"

	"servebench/results"
)

// A request is what merging needs of a record. Times are the client's Unix ns.
type request struct {
	record *results.Record
	name   string // of its row
	id     int

	began     int64 // of its row: the start of connecting, else the first byte's
	connected int64 // 0 when a connection was reused
	send      int64 // the last byte's: what the server can know of
	end       int64
	chunks    []chunk
	prompt    int // tokens, by the server's count if there is one; -1 unknown
	cached    int // of these, from the prefix cache; -1 unknown
	tokens    int // output; 0 when none is known
	guessed   bool
}

// A chunk is an event and the number of tokens in it.
type chunk struct {
	at     int64
	tokens int // -1 unknown
}

// first and last are when the first and the last output came; 0 when none did.
func (q *request) first() int64 {
	if len(q.chunks) == 0 {
		return 0
	}
	return q.chunks[0].at
}

func (q *request) last() int64 {
	if len(q.chunks) == 0 {
		return 0
	}
	return q.chunks[len(q.chunks)-1].at
}

// computed is how many tokens of its prompt the engine had to compute, as far as is known.
func (q *request) computed() int { return q.prompt - max(0, min(q.cached, q.prompt)) }

// requestOf is nil for a record that was never sent.
func requestOf(r *results.Record) *request {
	q := &request{record: r, id: r.ID, prompt: -1, cached: -1}
	q.name = fmt.Sprintf("req %d", r.ID)
	if r.Kind != results.Load && r.Kind != "" {
		q.name = fmt.Sprintf("%s %d", r.Kind, r.ID)
	}
	q.send = firstOf(r.Written, r.WriteBegan, r.Dispatched)
	if q.send == 0 {
		return nil
	}
	q.began = firstOf(r.WriteBegan, r.Written, r.Dispatched)
	if r.Connected != 0 && r.Dispatched != 0 && r.Dispatched <= r.Connected {
		q.began, q.connected = int64(r.Dispatched), int64(r.Connected)
	}
	q.began = min(q.began, q.send)

	q.prompt = r.InputTokens
	if u := r.Usage; u != nil {
		if u.Prompt > 0 {
			q.prompt = u.Prompt
		}
		q.cached = u.Cached
	}
	q.tokens, _ = r.Tokens()
	q.chunks = make([]chunk, len(r.Chunks))
	for i, c := range r.Chunks {
		q.chunks[i] = chunk{int64(c.At), c.Tokens}
	}
	q.guessed = spread(q.chunks, q.tokens)
	if len(q.chunks) == 0 && r.OK() && q.tokens > 0 && r.Done != 0 {
		// Not streamed: all of the answer came at its end.
		q.chunks = []chunk{{int64(r.Done), q.tokens}}
	}
	q.end = max(q.send, int64(r.Headers), q.last(), int64(r.Done))
	return q
}

func firstOf(moments ...results.Moment) int64 {
	for _, m := range moments {
		if m != 0 {
			return int64(m)
		}
	}
	return 0
}

// spread gives the events that do not say how many tokens they hold equal shares of those that
// no other event accounts for. guessed says that the shares are not one token each.
func spread(chunks []chunk, total int) (guessed bool) {
	unknown, left := 0, total
	for _, c := range chunks {
		if c.tokens < 0 {
			unknown++
		} else {
			left -= c.tokens
		}
	}
	if unknown == 0 || left < unknown {
		return unknown > 0 // nothing to share: they stay unknown
	}
	share, more := left/unknown, left%unknown
	for i := range chunks {
		if chunks[i].tokens >= 0 {
			continue
		}
		chunks[i].tokens = share
		if more > 0 {
			chunks[i].tokens++
			more--
		}
	}
	return left != unknown
}
