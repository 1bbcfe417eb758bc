package loadgen

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"

	"servebench/results"
)

// Talks make the users of a closed loop hold conversations: a user takes the next one, sends its turns one after the other, each when
// the reply before has come and the user has thought, and then takes another.
type Talks struct {
	// Of gives conversation c of the stage, false when there is none. It is called from several goroutines.
	Of func(c int) (Conversation, bool)
	// Requests is the number of turns of all conversations.
	Requests int
	// KeepTexts leaves the replies' texts in the records; the conversations see them either way.
	KeepTexts bool
	// Held is how many conversations a user has under way, still one request at a time; 0 is 1.
	Held int
	// Pick says which of n conversations under way, the oldest first, a user goes on with; nil goes through them in turn,
	// beginning with the newest. It and Pause are called from the user's own goroutine.
	Pick func(user, n int) int
	// Pause is how long a user waits after a reply; nil is the stage's Think.
	Pause func(user int) time.Duration
	// UserRequests ends a user's part after so many requests; 0 has no limit.
	UserRequests int
	// Together ends the part of every user as soon as one finds no further conversation or has sent its UserRequests: what was
	// measured then had all users in it. Turns that are left are not sent and have no record.
	Together bool
}

// A Conversation is a number of turns whose requests depend on the replies before.
type Conversation struct {
	// First is the number of the first turn's request in the stage; the other turns follow it.
	First, Turns int
	// Done is how many turns the conversation had before; Turns are those after them.
	Done int
	// Next gives the request of a turn, from 0. It is called once for each turn, in order; reply is the text of the turn
	// before, empty for the first.
	Next func(turn int, reply string) Request
}

// talk carries out a stage of conversations. It returns when all of them are over, or none begins any more.
func (s *stageRun) talk() {
	s.end = s.start
	if s.start == 0 {
		s.start = s.Clock.Now()
	} else if s.Clock.Until(s.ctx, s.start) != nil {
		return
	}
	s.end = s.start
	s.begins()
	pool := &talkPool{stageRun: s}
	var users conc.WaitGroup
	for u := range s.Users {
		if s.Shard.Has(u) {
			users.Go(func() { pool.user(u) })
		}
	}
	users.Wait()
	s.end = s.Clock.Now()
	s.finish()
}

// isOver says that the stage's time is up.
func (s *stageRun) isOver() bool {
	return s.For > 0 && s.Clock.Now() >= s.start.Add(s.For)
}

// A talkPool is the conversations of a stage as its users take them.
type talkPool struct {
	*stageRun
	taken atomic.Int64
	ended atomic.Bool // all users are to end
}

// next is the next conversation that nobody holds, false when there is none. One that has no turns is passed over.
func (p *talkPool) next() (*heldTalk, bool) {
	for {
		// Conversations are dealt out by number, so that a shard holds the same ones whatever their order.
		c := int(p.taken.Add(1)-1)*p.Shard.step() + max(p.Shard.K, 0)
		if talk, ok := p.Talks.Of(c); !ok || talk.Turns > 0 {
			return &heldTalk{Conversation: talk, number: c}, ok
		}
	}
}

// A heldTalk is a conversation under way.
type heldTalk struct {
	Conversation
	number, turn int
	reply        string
}

// user is one user's part.
func (p *talkPool) user(u int) {
	if p.Talks.Together {
		defer p.ended.Store(true)
	}
	free, more := p.start, true
	var held []*heldTalk
	for sent := 0; p.Talks.UserRequests == 0 || sent < p.Talks.UserRequests; sent++ {
		for more && len(held) < max(p.Talks.Held, 1) {
			var h *heldTalk
			if h, more = p.next(); more {
				held = append(held, h)
			}
		}
		if p.ctx.Err() != nil || p.isOver() || p.ended.Load() || len(held) == 0 || !more && p.Talks.Together {
			return
		}
		at := len(held) - 1
		if p.Talks.Pick != nil {
			at = p.Talks.Pick(u, len(held))
		}
		h := held[at]
		goesOn, wasSent := p.turn(h, free)
		if !wasSent {
			return
		}
		pause := p.Think
		if p.Talks.Pause != nil {
			pause = p.Talks.Pause(u)
		}
		free = p.Clock.Now().Add(pause)
		switch {
		case !goesOn:
			held = slices.Delete(held, at, at+1)
		case p.Talks.Pick == nil: // the others come first
			copy(held[1:], held[:at])
			held[0] = h
		}
	}
}

// turn sends the next turn of a conversation when its user is free, and says whether the conversation goes on. A turn that fails
// ends it: what would have come after it is recorded as not sent, so that it counts against the server as the requests that it would
// have been.
func (p *talkPool) turn(h *heldTalk, due results.Moment) (goesOn, wasSent bool) {
	j := p.job(h)
	// Worded while the user thinks: the body is ready when it is due, unless there is no time to think.
	began := p.Clock.Now()
	j.call, j.err = p.Sender.Prepare(j.Request)
	j.encoding, _ = p.Clock.Now().Sub(began)
	if p.Clock.Until(p.ctx, due) != nil || p.ended.Load() {
		return false, false
	}
	p.Live.Released.Add(1)
	rec := p.exchange(&j, due, p.Clock.Now())
	h.reply = rec.Text
	if !p.Talks.KeepTexts {
		rec.Text = ""
	}
	ok := rec.OK()
	p.records.put(rec)
	for !ok && h.turn < h.Turns {
		j := p.job(h)
		rec := p.record(&j, 0, 0)
		rec.Failure = &results.Failure{Class: results.FailCancelled, Message: "not sent: an earlier turn of the conversation failed"}
		p.Live.Done.Add(1)
		p.Live.Failed.Add(1)
		p.records.put(rec)
	}
	return h.turn < h.Turns, true
}

// job is the next turn of a conversation.
func (p *talkPool) job(h *heldTalk) job {
	r := h.Next(h.turn, h.reply)
	r.ID = p.base + h.First + h.turn
	if r.Kind == "" {
		r.Kind = results.Load
	}
	j := job{Request: r, stage: p.index, user: h.number, turn: h.Done + h.turn}
	h.turn++
	return j
}
