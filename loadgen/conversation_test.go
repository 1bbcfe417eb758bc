package loadgen

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"servebench/datasets"
	"servebench/results"
)

// replying answers each request with its id, after 100 ms; the one named fails.
type replying struct{ fails string }

func (r replying) Prepare(q Request) (Call, error) {
	return reply{testCall(100 * ms), q.Sample.ID, q.Sample.ID == r.fails}, nil
}

type reply struct {
	testCall
	id   string
	fail bool
}

func (r reply) Send(ctx context.Context) results.Reply {
	got := r.testCall.Send(ctx)
	got.Text = "reply to " + r.id
	if r.fail {
		got.Failure = &results.Failure{Class: results.FailStatus, Message: "500"}
	}
	return got
}

// talksOf are conversations of so many turns; asked gathers what each turn heard before.
func talksOf(turns []int, asked func(c, turn int, reply string)) *Talks {
	t := &Talks{}
	for _, n := range turns {
		t.Requests += n
	}
	t.Of = func(c int) (Conversation, bool) {
		if c >= len(turns) {
			return Conversation{}, false
		}
		first := 0
		for _, n := range turns[:c] {
			first += n
		}
		return Conversation{First: first, Turns: turns[c], Next: func(turn int, reply string) Request {
			asked(c, turn, reply)
			return Request{Session: fmt.Sprint("s", c), Sample: datasets.Sample{ID: fmt.Sprintf("%d.%d", c, turn)}}
		}}, true
	}
	return t
}

func TestConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := map[string]string{}
		recs := slices.Collect(Run(t.Context(), Plan{
			Sender: replying{}, Clock: testClock{},
			Stages: []Stage{{Users: 1, Think: 50 * ms, Talks: talksOf([]int{3, 2}, func(c, turn int, reply string) {
				heard[fmt.Sprintf("%d.%d", c, turn)] = reply
			})}},
		}))
		due, dispatched, _ := collect(recs)
		// A reply takes 100 ms and the user 50 ms, also between conversations.
		want := []time.Duration{0, 150 * ms, 300 * ms, 450 * ms, 600 * ms}
		if !slices.Equal(due, want) || !slices.Equal(dispatched, want) {
			t.Errorf("due %v, dispatched %v; want %v for both", due, dispatched, want)
		}
		for at, want := range map[string]string{"0.0": "", "0.1": "reply to 0.0", "0.2": "reply to 0.1", "1.0": "", "1.1": "reply to 1.0"} {
			if heard[at] != want {
				t.Errorf("turn %s heard %q; want %q", at, heard[at], want)
			}
		}
		for i, r := range recs {
			if users, turns := []int{0, 0, 0, 1, 1}, []int{0, 1, 2, 0, 1}; r.ID != i || r.User != users[i] || r.Turn != turns[i] || r.Text != "" {
				t.Errorf("record %d: id %d, conversation %d, turn %d, text %q", i, r.ID, r.User, r.Turn, r.Text)
			}
		}
	})
}

func TestConversationsEndWithAFailedTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recs := slices.Collect(Run(t.Context(), Plan{
			Sender: replying{fails: "0.1"}, Clock: testClock{},
			Stages: []Stage{{Users: 2, Talks: talksOf([]int{4, 1}, func(int, int, string) {})}},
		}))
		slices.SortFunc(recs, func(a, b results.Record) int { return a.ID - b.ID })
		if len(recs) != 5 {
			t.Fatalf("%d records; want 5", len(recs))
		}
		for i, want := range []string{"", results.FailStatus, results.FailCancelled, results.FailCancelled, ""} {
			got := ""
			if f := recs[i].Failure; f != nil {
				got = f.Class
			}
			if got != want || (recs[i].Dispatched == 0) != (want == results.FailCancelled) {
				t.Errorf("record %d: failure %q, dispatched %v; want %q", i, got, recs[i].Dispatched, want)
			}
		}
	})
}

// turnsOf are the conversation and the turn of each record, with when it was due.
func turnsOf(recs []results.Record) (turns []string) {
	start := recs[0].Due
	for _, r := range recs {
		at, _ := r.Due.Sub(start)
		turns = append(turns, fmt.Sprintf("%d.%d@%v", r.User, r.Turn, at))
	}
	return turns
}

// A user goes through the conversations that it holds; one that is over makes room for the next, which comes first.
func TestConversationsHeldAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name  string
		talks func(*Talks)
		want  string
	}{
		{"in turn", func(*Talks) {}, "1.0@0s 0.0@100ms 1.1@200ms 2.0@300ms 3.0@400ms 0.1@500ms 3.1@600ms 0.2@700ms"},
		{"the oldest", func(talks *Talks) { talks.Pick = func(_, n int) int { return 0 } }, "0.0@0s 0.1@100ms 0.2@200ms 1.0@300ms 1.1@400ms 2.0@500ms 3.0@600ms 3.1@700ms"},
		{"a pause of its own", func(talks *Talks) {
			talks.Held, talks.Pause = 1, func(user int) time.Duration { return time.Duration(user+1) * 10 * ms }
		}, "0.0@0s 0.1@110ms 0.2@220ms 1.0@330ms 1.1@440ms 2.0@550ms 3.0@660ms 3.1@770ms"},
		{"so many requests", func(talks *Talks) { talks.UserRequests = 3 }, "1.0@0s 0.0@100ms 1.1@200ms"},
		{"none is left", func(talks *Talks) { talks.Together = true }, "1.0@0s 0.0@100ms 1.1@200ms 2.0@300ms 3.0@400ms 0.1@500ms 3.1@600ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				talks := talksOf([]int{3, 2, 1, 2}, func(int, int, string) {})
				talks.Held = 2
				tc.talks(talks)
				got := turnsOf(slices.Collect(Run(t.Context(), Plan{Sender: replying{}, Clock: testClock{}, Stages: []Stage{{Users: 1, Talks: talks}}})))
				if strings.Join(got, " ") != tc.want {
					t.Errorf("got  %s\nwant %s", strings.Join(got, " "), tc.want)
				}
			})
		})
	}
}

// When one user has nothing more to do, the others end with the reply that they wait for.
func TestConversationsEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		talks := talksOf([]int{1, 9, 9}, func(int, int, string) {})
		talks.Together, talks.UserRequests = true, 3
		talks.Pause = func(user int) time.Duration { return time.Duration(user) * 130 * ms }
		n := 0
		for r := range Run(t.Context(), Plan{Sender: replying{}, Clock: testClock{}, Stages: []Stage{{Users: 2, Talks: talks}}}) {
			n++
			if !r.OK() {
				t.Errorf("request %d: %v", r.ID, r.Failure)
			}
		}
		// The first user sends at 0, 100 and 200 ms and has done its part at 300; the second sends at 0 and 230 ms.
		if n != 5 {
			t.Errorf("%d requests; want 5", n)
		}
	})
}

func TestConversationsOfShards(t *testing.T) {
	var ids []int
	for k := range 3 {
		synctest.Test(t, func(t *testing.T) {
			for r := range Run(t.Context(), Plan{
				Sender: replying{}, Clock: testClock{}, Shard: Shard{k, 3},
				Stages: []Stage{{Users: 6, Talks: talksOf([]int{2, 1, 3, 2, 1}, func(int, int, string) {})}},
			}) {
				if r.User%3 != k {
					t.Errorf("shard %d holds conversation %d", k, r.User)
				}
				ids = append(ids, r.ID)
			}
		})
	}
	slices.Sort(ids)
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(ids, want) {
		t.Errorf("requests %v; want %v", ids, want)
	}
}
