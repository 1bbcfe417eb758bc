package loadgen

import (
	"sync/atomic"

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
}

// A Conversation is a number of turns whose requests depend on the replies before.
type Conversation struct {
	// First is the number of the first turn's request in the stage; the other turns follow it.
	First, Turns int
	// Next gives the request of a turn. It is called once for each turn, in order; reply is the text of the turn
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
	if s.index == 0 {
		s.Live.Started.Store(int64(s.start))
	}
	if s.began != nil {
		s.began()
	}
	var taken atomic.Int64
	var users conc.WaitGroup
	for u := range s.Users {
		if !s.Shard.Has(u) {
			continue
		}
		users.Go(func() {
			free := s.start
			for {
				// Conversations are dealt out by number, so that a shard holds the same ones whatever their order.
				c := int(taken.Add(1)-1)*s.Shard.step() + max(s.Shard.K, 0)
				talk, ok := s.Talks.Of(c)
				if !ok || s.ctx.Err() != nil || s.isOver() {
					return
				}
				free = s.converse(c, talk, free)
			}
		})
	}
	users.Wait()
	s.end = s.Clock.Now()
	s.finish()
}

// isOver says that the stage's time is up.
func (s *stageRun) isOver() bool {
	return s.For > 0 && s.Clock.Now() >= s.start.Add(s.For)
}

// converse holds one conversation and returns when its user is free again. A turn that fails ends it: what would have come
// after it is recorded as not sent, so that it counts against the server as the requests that it would have been.
func (s *stageRun) converse(number int, talk Conversation, due results.Moment) results.Moment {
	reply, broken := "", ""
	for turn := range talk.Turns {
		r := talk.Next(turn, reply)
		r.ID = s.base + talk.First + turn
		if r.Kind == "" {
			r.Kind = results.Load
		}
		j := job{Request: r, stage: s.index, user: number, turn: turn}
		if broken != "" {
			rec := s.record(&j, 0, 0)
			rec.Failure = &results.Failure{Class: results.FailCancelled, Message: broken}
			s.Live.Done.Add(1)
			s.Live.Failed.Add(1)
			s.records.put(rec)
			continue
		}
		// Worded while the user thinks: the body is ready when it is due, unless there is no time to think.
		began := s.Clock.Now()
		j.call, j.err = s.Sender.Prepare(r)
		j.encoding, _ = s.Clock.Now().Sub(began)
		if s.Clock.Until(s.ctx, due) != nil {
			return due
		}
		s.Live.Released.Add(1)
		rec := s.exchange(&j, due, s.Clock.Now())
		reply = rec.Text
		if !s.Talks.KeepTexts {
			rec.Text = ""
		}
		s.records.put(rec)
		due = s.Clock.Now().Add(s.Think)
		switch {
		case !rec.OK():
			broken = "not sent: an earlier turn of the conversation failed"
		case s.isOver():
			return due
		}
	}
	return due
}
