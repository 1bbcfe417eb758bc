package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/loadgen"
	"servebench/loadgen/sim"
	"servebench/results"
)

// recordedTalks is a file of conversations of so many questions each.
func recordedTalks(t *testing.T, questions ...int) string {
	t.Helper()
	var talks []string
	for c, n := range questions {
		var messages []string
		for q := range n {
			messages = append(messages, fmt.Sprintf(`{"role": "user", "content": "question %d"}, {"role": "assistant", "content": "an answer of some words"}`, q))
		}
		talks = append(talks, fmt.Sprintf(`{"id": "talk-%c", "messages": [%s]}`, 'a'+c, strings.Join(messages, ", ")))
	}
	path := filepath.Join(t.TempDir(), "talks.json")
	if err := os.WriteFile(path, []byte("["+strings.Join(talks, ",\n")+"]"), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// talked runs recorded conversations on the simulator and returns the turns in the order in which they ended, as "kind conversation.turn".
func talked(t *testing.T, c Conversations, users int, questions ...int) (order []string, records []results.Record) {
	t.Helper()
	s := &Scenario{
		Model: "m", Backend: "openai-chat", Dataset: Dataset{Name: "conversations", Path: recordedTalks(t, questions...)},
		Load: Load{Concurrency: users, Conversations: &c}, Sim: Sim{FirstToken: 1, BetweenTokens: 1}, Report: Report{Texts: true},
	}
	if faults := s.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	dir := filepath.Join(t.TempDir(), "run")
	result, err := Run(t.Context(), s, Options{Dir: dir, Sim: true, NoCanary: true})
	if err != nil {
		t.Fatal(err)
	}
	if result.Outcome != results.OK {
		t.Fatalf("%s: %s", result.Outcome, result.Reason)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	ids := map[int]bool{}
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if !rec.OK() || rec.Text == "" || rec.AskedTokens == 0 {
			t.Errorf("%+v", rec)
		}
		if rec.Kind == results.Load && ids[rec.ID] {
			t.Errorf("the id %d comes twice", rec.ID)
		}
		ids[rec.ID] = rec.Kind == results.Load
		order = append(order, fmt.Sprintf("%s %d.%d", rec.Kind, rec.User, rec.Turn))
		records = append(records, *rec)
	}
	return order, records
}

func TestRecordedConversationsAreHeld(t *testing.T) {
	for _, tc := range []struct {
		name string
		talk Conversations
		want string
	}{
		{"one after the other", Conversations{}, "load 0.0, load 0.1, load 1.0, load 2.0, load 2.1, load 2.2"},
		{"at most two turns", Conversations{Turns: 2}, "load 0.0, load 0.1, load 1.0, load 2.0, load 2.1"},
		{"two held", Conversations{Held: 2}, "load 1.0, load 2.0, load 0.0, load 2.1, load 0.1, load 2.2"},
		{"two held, until none is left", Conversations{Held: 2, Together: true}, "load 1.0, load 2.0, load 0.0, load 2.1, load 0.1"},
		{"first turns before", Conversations{WarmFirst: true}, "warmup 0.0, warmup 1.0, warmup 2.0, load 0.1, load 2.1, load 2.2"},
		{"at random", Conversations{Held: 3, Sampling: "random"}, "load 0.0, load 2.0, load 0.1, load 2.1, load 1.0, load 2.2"}, // as random.choice gives after random.seed(1)
	} {
		t.Run(tc.name, func(t *testing.T) {
			order, _ := talked(t, tc.talk, 1, 2, 1, 3)
			if got := strings.Join(order, ", "); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A pause is drawn as a client of the script draws it: numpy.random.seed(seed + client + 1).
func TestConversationsPause(t *testing.T) {
	_, records := talked(t, Conversations{PauseRate: 20, UserRequests: 3}, 1, 4)
	if len(records) != 3 {
		t.Fatalf("%d requests; want 3", len(records))
	}
	for i, want := range []float64{0.02698029, 0.06370626} { // numpy.random.seed(1); numpy.random.exponential(1/20, 2)
		gap, ok := records[i+1].Due.Sub(records[i].Done)
		if got := gap.Seconds(); !ok || got < want || got > want+0.05 {
			t.Errorf("pause %d is %.4f s; want %.4f, and what the client took", i, got, want)
		}
	}
}

func TestConversationsNameThemselves(t *testing.T) {
	for _, c := range []Conversations{{Session: "sometimes"}, {Sampling: "first"}, {Held: -1}, {PauseRate: -1}} {
		s := &Scenario{Dataset: Dataset{Name: "conversations", Path: "x"}, Load: Load{Concurrency: 1, Conversations: &c}}
		if faults := s.Faults(); !slices.ContainsFunc(faults, func(f Fault) bool { return strings.HasPrefix(f.Path, "load.conversations") }) {
			t.Errorf("%+v: %v", c, faults)
		}
	}
}

func TestConversationsTooFewToEndTogether(t *testing.T) {
	s := &Scenario{
		Model: "m", Backend: "openai-chat", Dataset: Dataset{Name: "conversations", Path: recordedTalks(t, 1, 2, 1)},
		Load: Load{Concurrency: 2, Conversations: &Conversations{Held: 2, Together: true}},
	}
	_, err := Run(t.Context(), s, Options{Dir: filepath.Join(t.TempDir(), "run"), Sim: true, NoCanary: true})
	if want := "3 conversations are fewer than the 4 that users hold from the start"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v; want %s", err, want)
	}
}

// The shards of a load number the turns after the first ones as one process does.
func TestConversationsOfShardsAfterTheFirstTurns(t *testing.T) {
	path := recordedTalks(t, 3, 2, 1, 2)
	l := listen(t, sim.Config{Model: "m", FirstToken: time.Millisecond, BetweenTokens: time.Millisecond})
	var ids []int
	for k := range 2 {
		s := &Scenario{
			Model: "m", Backend: "openai-chat", Dataset: Dataset{Name: "conversations", Path: path}, Body: Body{RequestIDPrefix: "r-"},
			Load: Load{Concurrency: 2, Conversations: &Conversations{WarmFirst: true}},
		}
		dir := filepath.Join(t.TempDir(), "run")
		if _, err := Run(t.Context(), s, Options{Dir: dir, URL: l.URL, NoCanary: true, Shard: loadgen.Shard{K: k, N: 2}}); err != nil {
			t.Fatal(err)
		}
		run, err := results.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range run.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Kind == results.Load {
				ids = append(ids, rec.ID)
			}
		}
		run.Close()
	}
	slices.Sort(ids)
	if want := []int{0, 1, 2, 3}; !slices.Equal(ids, want) {
		t.Errorf("ids %v; want %v", ids, want)
	}
}
