package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"servebench/datasets"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/results"
)

// conversations are what the users of a closed loop say: the dataset's samples begin the conversations, and samples of the next seed
// go on with them.
func (r *runner) conversations(ctx context.Context, tok datasets.Tokenizer, first datasets.Dataset) (*talk, error) {
	c := r.Load.Conversations
	if first == nil || first.Len() == 0 {
		return nil, errors.New("conversations need a dataset")
	}
	n := r.Load.Requests
	if n == 0 {
		n = first.Len()
	}
	if err := r.enough(n, ""); err != nil {
		return nil, err
	}
	recorded := r.Dataset.Name == "sharegpt" || r.Dataset.Name == "conversations"
	turns, begins := c.turns(n, uint64(r.Seed), func(i int) int {
		if !recorded {
			return -1
		}
		sample := first.At(i % first.Len())
		return 1 + len(sample.Later)
	})
	total := begins[n]
	talk := &talk{runner: r, turns: turns, begins: begins, first: first, recorded: recorded}
	var err error
	switch {
	case recorded && (c.SharedPrefix+c.OwnPrefix > 0 || c.TurnInputLen > 0):
		return nil, fmt.Errorf("conversations of %s are recorded ones: they have no lengths and prefixes to choose", r.Dataset.Name)
	case recorded:
	case c.SharedPrefix+c.OwnPrefix > 0:
		if err := talk.share(ctx, tok, total); err != nil {
			return nil, err
		}
	case total > n:
		var length *int
		if c.TurnInputLen > 0 {
			length = &c.TurnInputLen
		}
		if talk.later, err = r.samples(ctx, tok, total-n, length, 1); err != nil {
			return nil, err
		}
	}
	for _, set := range []datasets.Dataset{first, talk.later} {
		if set != nil && (set.At(0).Prompt.Text == "" || len(set.At(0).Media) > 0) {
			return nil, errors.New("conversations are made of texts: give a dataset of texts, and a tokenizer")
		}
	}
	return talk, nil
}

// enough says whether conversations are as many as users hold from the start: where all end together, the load would end at once.
func (r *runner) enough(conversations int, when string) error {
	c := r.Load.Conversations
	if needed := max(r.Load.Concurrency, 1) * max(c.Held, 1); c.Together && conversations < needed {
		return fmt.Errorf("load.conversations: %s%d conversations are fewer than the %d that users hold from the start: with together the load would end at once",
			when, conversations, needed)
	}
	return nil
}

// stage is the load of conversations. Their first turns are sent here, if that is to be done before it.
func (t *talk) stage(ctx context.Context) (loadgen.Stage, error) {
	users := t.Load.Concurrency
	if users == 0 {
		users = len(t.turns)
	}
	if t.Load.Conversations.WarmFirst {
		if err := t.warm(ctx, users); err != nil {
			return loadgen.Stage{}, err
		}
	}
	return loadgen.Stage{Users: users, Think: time.Duration(t.Load.Think), For: time.Duration(t.Load.Duration), Talks: t.talks(users)}, nil
}

// talks are the conversations as the engine takes them. Each user has random numbers of its own: those of a client of vLLM's multi-turn
// script, which is seeded with its number.
func (t *talk) talks(users int) *loadgen.Talks {
	c := t.Load.Conversations
	talks := &loadgen.Talks{KeepTexts: t.Report.Texts, Of: t.of, Held: c.Held, UserRequests: c.UserRequests, Together: c.Together}
	for i, n := range t.turns {
		if t.warmed != nil {
			n = t.warmed[i].Turns
		}
		talks.Requests += n
	}
	if n := c.UserRequests * users; n > 0 {
		talks.Requests = min(talks.Requests, n)
	}
	seed := func(user int) uint32 { return uint32(t.Seed) + uint32(user) + 1 }
	if c.Sampling == "random" {
		random := make([]*numpy.Python, users)
		for u := range random {
			random[u] = numpy.NewPython(uint64(seed(u)))
		}
		talks.Pick = func(user, n int) int { return random[user].IntN(n) }
	}
	if c.PauseRate > 0 {
		random := make([]*numpy.Legacy, users)
		for u := range random {
			random[u] = numpy.NewLegacy(seed(u))
		}
		talks.Pause = func(user int) time.Duration {
			return time.Duration(random[user].Exponential(1/c.PauseRate) * float64(time.Second))
		}
	}
	return talks
}

// warm sends the first turns of all conversations. Those that fail are left out of the load.
func (t *talk) warm(ctx context.Context, users int) error {
	t.Watcher.Phase("asking the first questions")
	begun := make([]loadgen.Conversation, len(t.turns))
	replies := make([]*string, len(t.turns))
	talks := t.talks(users)
	talks.Held, talks.Pick, talks.UserRequests, talks.Together, talks.KeepTexts, talks.Requests = 1, nil, 0, false, true, len(t.turns)
	talks.Of = func(c int) (loadgen.Conversation, bool) {
		whole, ok := t.of(c)
		if !ok {
			return whole, false
		}
		begun[c] = whole
		return loadgen.Conversation{First: c, Turns: 1, Next: func(int, string) loadgen.Request {
			q := whole.Next(0, "")
			q.Kind = results.Warmup
			return q
		}}, true
	}
	for rec := range loadgen.Run(ctx, loadgen.Plan{Sender: t.client, Model: t.servedModel, Clock: t.clock, Shard: t.Shard,
		Stages: []loadgen.Stage{{Users: users, Think: time.Duration(t.Load.Think), Talks: talks}}}) {
		if rec.OK() {
			reply := rec.Text
			replies[rec.User] = &reply
		} else {
			t.warn("conversation %d is left out, its first turn failed: %s", rec.User, rec.Failure.Message)
		}
		if !t.Report.Texts {
			rec.Text = ""
		}
		if err := t.out.Record(&rec); err != nil {
			return err
		}
	}
	left := 0
	t.warmed = make([]loadgen.Conversation, len(t.turns))
	for c, whole := range begun {
		if replies[c] == nil || whole.Turns == 1 {
			continue
		}
		left++
		// Numbered as if no first turn had failed, so that the shards of a load agree.
		t.warmed[c] = loadgen.Conversation{First: t.begins[c] - c, Turns: whole.Turns - 1, Done: 1, Next: func(turn int, reply string) loadgen.Request {
			if turn == 0 {
				reply = *replies[c]
			}
			return whole.Next(turn+1, reply)
		}}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case left == 0:
		return errors.New("nothing is left after the first turns: they all failed, or no conversation has a second")
	case t.Shard.N > 1: // the others are not known
		return nil
	}
	return t.enough(left, "after the first turns ")
}

// usualTurns is the length of a conversation that nothing else says.
const usualTurns = 3

// turns are the lengths of n conversations, and the number of turns before each and all of them. limit is how many turns a
// conversation has to give, -1 when it has no end.
func (c *Conversations) turns(n int, seed uint64, limit func(i int) int) (turns, begins []int) {
	random := numpy.NewPython(seed)
	begins = make([]int, n+1)
	turns = make([]int, n)
	for i := range turns {
		turns[i] = c.Turns
		if c.MaxTurns > 0 {
			turns[i] = c.MinTurns + random.IntN(c.MaxTurns-c.MinTurns+1)
		}
		switch most := limit(i); {
		case most >= 0 && (turns[i] == 0 || turns[i] > most):
			turns[i] = most
		case turns[i] == 0:
			turns[i] = usualTurns
		}
		begins[i+1] = begins[i] + turns[i]
	}
	return turns, begins
}

// samples are n samples of the scenario's dataset, of another length and seed.
func (r *runner) samples(ctx context.Context, tok datasets.Tokenizer, n int, inputLen *int, seed int64) (datasets.Dataset, error) {
	s := *r.Scenario
	s.Seed = (s.Seed + seed) % (1 << 32)
	if inputLen != nil {
		s.Dataset.InputLen = inputLen
	}
	other := &runner{Scenario: &s, Options: r.Options, idPrefix: r.idPrefix, kind: r.kind}
	set, err := other.loadDataset(ctx, tok, n)
	if err != nil {
		return nil, err
	}
	if set == nil || set.Len() == 0 {
		return nil, errNoSamples
	}
	return set, nil
}

// A talk makes the requests of conversations.
type talk struct {
	*runner
	turns, begins []int
	// first begin the conversations, later go on with them.
	first, later datasets.Dataset
	// recorded says that the first samples hold the later turns.
	recorded bool
	// shared is what all prompts begin with, own what those of each conversation go on with; rest is what each turn ends with. With them
	// no history grows.
	shared string
	own    datasets.Dataset
	rest   datasets.Dataset
	fixed  int // tokens of shared and own
	// warmed are the conversations whose first turns were sent before the load; nil when none were.
	warmed []loadgen.Conversation
}

// share makes the parts of prompts that have beginnings in common.
func (t *talk) share(ctx context.Context, tok datasets.Tokenizer, total int) error {
	c := t.Load.Conversations
	length := t.first.At(0).InputTokens
	if n := t.Dataset.InputLen; n != nil {
		length = *n
	}
	shared, own := int(float64(length)*c.SharedPrefix), int(float64(length)*c.OwnPrefix)
	rest := length - shared - own
	if rest < 1 {
		return fmt.Errorf("conversations: prompts of %d tokens leave nothing beside their common parts", length)
	}
	t.fixed = shared + own
	if shared > 0 {
		set, err := t.samples(ctx, tok, 1, &shared, 2)
		if err != nil {
			return err
		}
		t.shared = set.At(0).Prompt.Text
	}
	var err error
	if own > 0 {
		if t.own, err = t.samples(ctx, tok, len(t.turns), &own, 3); err != nil {
			return err
		}
	}
	t.rest, err = t.samples(ctx, tok, total, &rest, 1)
	return err
}

// of is conversation number c.
func (t *talk) of(c int) (loadgen.Conversation, bool) {
	if c >= len(t.turns) {
		return loadgen.Conversation{}, false
	}
	if t.warmed != nil {
		return t.warmed[c], true
	}
	name := fmt.Sprint(t.idPrefix, "session-", c)
	if t.Dataset.Name == "conversations" {
		name = t.first.At(c % t.first.Len()).ID
	}
	var history []byte
	return loadgen.Conversation{First: t.begins[c], Turns: t.turns[c], Next: func(turn int, reply string) loadgen.Request {
		number := t.begins[c] + turn
		sample := t.sample(c, turn, number)
		text := sample.Prompt.Text
		if t.rest != nil {
			history = nil
		} else if turn > 0 {
			history = append(history, ", "...)
			history = append(append(history, message("assistant", reply)...), ", "...)
		}
		history = append(history, message("user", text)...)
		messages := append(append([]byte("["), history...), ']')
		if t.rest == nil && (turn > 0 || t.Dataset.Name == "conversations") {
			sample.InputTokens = -1 // the template's share is the server's to know
		}
		sample.Prompt, sample.Messages, sample.ID = datasets.Prompt{}, messages, fmt.Sprint(t.idPrefix, number)
		q := loadgen.Request{Sample: sample}
		switch t.Load.Conversations.Session {
		case "", "header":
			q.Session = name
		case "body":
			q.Session = name
			id, _ := json.Marshal(name) // a string always has a JSON form
			q.Sample.Extra = append(slices.Clone(sample.Extra), datasets.Member{Key: "conversation_id", Value: id})
		}
		return q
	}}, true
}

// sample is what the user says in a turn.
func (t *talk) sample(c, turn, number int) datasets.Sample {
	switch {
	case t.rest != nil:
		s := t.rest.At(number % t.rest.Len())
		own := ""
		if t.own != nil {
			own = t.own.At(c % t.own.Len()).Prompt.Text
		}
		s.Prompt.Text = t.shared + own + s.Prompt.Text
		if s.InputTokens >= 0 {
			s.InputTokens += t.fixed
		}
		return s
	case turn == 0:
		return t.first.At(c % t.first.Len())
	case t.recorded:
		s := t.first.At(c % t.first.Len())
		later := s.Later[turn-1]
		s.Prompt, s.OutputTokens = datasets.Prompt{Text: later.Text}, later.OutputTokens
		return s
	}
	return t.later.At((t.begins[c] - c + turn - 1) % t.later.Len())
}

// message is one chat message.
func message(role, text string) []byte {
	content, _ := json.Marshal(text) // a string always has a JSON form
	return fmt.Appendf(nil, `{"role": %q, "content": %s}`, role, content)
}
