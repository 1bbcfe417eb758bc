package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servebench/datasets/tokenizer"
)

// A chatTurn is what one request of a conversation said.
type chatTurn struct {
	session  string
	messages []struct {
		Role    string
		Content string
	}
}

// talked runs conversations against the recorder and sorts their requests by session.
func talked(t *testing.T, args ...string) (sessions map[string][]chatTurn, stdout string) {
	t.Helper()
	tok := filepath.Join("..", "..", "testdata", "golden", "tokenizers", "llama3")
	loaded, err := tokenizer.Load(tok)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{tok: loaded}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	status, stdout, stderr := servebench(t, append([]string{"bench", "serve", "--base-url", server.URL, "--model", "served-a", "--tokenizer", tok, "--backend", "openai-chat",
		"--multi-turn", "--disable-tqdm", "--random-input-len", "20", "--random-output-len", "2", "--max-concurrency", "2"}, args...)...)
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	sessions = map[string][]chatTurn{}
	for _, q := range r.requests {
		if !strings.HasSuffix(q.Path, "/chat/completions") {
			continue
		}
		var turn chatTurn
		var body struct {
			Messages json.RawMessage
		}
		if err := json.Unmarshal([]byte(q.Body), &body); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body.Messages, &turn.messages); err != nil {
			t.Fatalf("%s: %v", body.Messages, err)
		}
		for _, h := range q.Headers {
			if strings.EqualFold(h[0], "X-Session-ID") {
				turn.session = h[1]
			}
		}
		sessions[turn.session] = append(sessions[turn.session], turn)
	}
	return sessions, stdout
}

func TestMultiTurnCarriesTheHistory(t *testing.T) {
	dir := t.TempDir()
	sessions, out := talked(t, "--num-prompts", "4", "--multi-turn-num-turns", "3", "--per-turn-input-len", "5", "--request-id-prefix", "p-",
		"--save-result", "--result-dir", dir, "--result-filename", "r.json")
	if len(sessions) != 4 {
		t.Fatalf("%d sessions; want 4", len(sessions))
	}
	said := map[string]bool{}
	for c := range 4 {
		turns := sessions[fmt.Sprintf("p-session-%d", c)]
		if len(turns) != 3 {
			t.Fatalf("conversation %d has %d turns; want 3", c, len(turns))
		}
		for n, turn := range turns {
			if len(turn.messages) != 2*n+1 {
				t.Fatalf("turn %d carries %d messages; want %d", n, len(turn.messages), 2*n+1)
			}
			for i, m := range turn.messages {
				if i%2 == 1 {
					if m.Role != "assistant" || m.Content != " t t" {
						t.Errorf("message %d of turn %d: %s %q; want the reply", i, n, m.Role, m.Content)
					}
					continue
				}
				if m.Role != "user" || m.Content != turns[i/2].messages[i].Content {
					t.Errorf("message %d of turn %d is %s %q", i, n, m.Role, m.Content)
				}
			}
			said[turn.messages[2*n].Content] = true
		}
	}
	if len(said) != 12 {
		t.Errorf("%d different things said; want 12", len(said))
	}
	if !strings.Contains(out, "Successful requests:                     12") || !strings.Contains(out, " By Turn: ") {
		t.Errorf("output:\n%s", out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "r.json"))
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		NumPrompts int `json:"num_prompts"`
		Duration   float64
		Turns      []struct {
			Turn      int `json:"turn_index"`
			Samples   int `json:"num_samples"`
			Completed int
			TTFT      float64 `json:"mean_ttft_ms"`
			Output    float64 `json:"mean_output_tokens"`
			Total     int     `json:"total_output_tokens"`
			Rate      float64 `json:"output_throughput"`
		} `json:"per_turn_metrics"`
	}
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	if result.NumPrompts != 4 || len(result.Turns) != 3 {
		t.Fatalf("%d prompts, %d turns; want 4, 3", result.NumPrompts, len(result.Turns))
	}
	for n, turn := range result.Turns {
		if turn.Turn != n || turn.Samples != 4 || turn.Completed != 4 || turn.TTFT <= 0 || turn.Output != 2 || turn.Total != 8 || math.Abs(turn.Rate*result.Duration-8) > 1e-9 {
			t.Errorf("turn %d: %+v", n, turn)
		}
	}
}

func TestMultiTurnOfRecordedConversations(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "talks.json"), `[
		{"conversations": [{"value": "one two three four five"}, {"value": "answer number one is this"}, {"value": "and then"}, {"value": "that"}, {"value": "third"}, {"value": "x y"}]},
		{"conversations": [{"value": "only this one thing here"}, {"value": "answer to only this thing"}]}]`)
	for _, tc := range []struct {
		flags string
		want  int
	}{{"", 4}, {"--multi-turn-num-turns 2", 3}, {"--multi-turn-max-turns 2", 3}} {
		sessions, _ := talked(t, append([]string{"--dataset-name", "sharegpt", "--dataset-path", file, "--num-prompts", "2", "--disable-shuffle"}, strings.Fields(tc.flags)...)...)
		n := 0
		for _, turns := range sessions {
			n += len(turns)
			last := turns[len(turns)-1].messages
			if len(turns) > 1 && (last[0].Content != "one two three four five" || last[2].Content != "and then") {
				t.Errorf("the last turn says %v", last)
			}
		}
		if len(sessions) != 2 || n != tc.want {
			t.Errorf("%q: %d sessions, %d turns; want 2, %d", tc.flags, len(sessions), n, tc.want)
		}
	}
}

func TestMultiTurnPrefixes(t *testing.T) {
	sessions, _ := talked(t, "--num-prompts", "3", "--multi-turn-min-turns", "1", "--multi-turn-max-turns", "3", "--multi-turn-prefix-global-ratio", "0.25",
		"--multi-turn-prefix-conversation-ratio", "0.25")
	var all []string
	for _, turns := range sessions {
		var texts []string
		for _, turn := range turns {
			if len(turn.messages) != 1 {
				t.Fatalf("a turn carries %d messages; want 1", len(turn.messages))
			}
			texts = append(texts, turn.messages[0].Content)
		}
		all = append(all, texts...)
		if len(texts) > 1 && common(texts) <= common(all) && len(sessions) > 1 && len(all) > len(texts) {
			t.Errorf("turns of a conversation share %d bytes, all prompts %d: %q", common(texts), common(all), texts)
		}
	}
	if common(all) < 5 {
		t.Errorf("all prompts share %d bytes: %q", common(all), all)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != len(all) {
		t.Errorf("%d different prompts of %d", n, len(all))
	}
}

// common is how many bytes texts begin alike with.
func common(texts []string) int {
	n := len(texts[0])
	for _, text := range texts[1:] {
		i := 0
		for i < min(n, len(text)) && text[i] == texts[0][i] {
			i++
		}
		n = i
	}
	return n
}
