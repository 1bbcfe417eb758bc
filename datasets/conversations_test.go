package datasets_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
)

func llama3(t *testing.T) datasets.Tokenizer {
	t.Helper()
	root, err := filepath.Abs(goldenRoot())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(filepath.Join(root, "tokenizers", "llama3"))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestGeneratedConversations holds conversations against those that vLLM's multi-turn script made of the same specs and seeds.
func TestGeneratedConversations(t *testing.T) {
	tok := llama3(t)
	t.Chdir("testdata") // the specs name a file from here
	file, err := os.ReadFile("conversations.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, 1<<20)
	cases := 0
	for ; lines.Scan(); cases++ {
		var c struct {
			Seed          uint32
			Spec          json.RawMessage
			Conversations []struct {
				ID            string
				Messages      int
				SHA256, First string
				Tokens        []int
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "spec.json")
		if err := os.WriteFile(path, c.Spec, 0o666); err != nil {
			t.Fatal(err)
		}
		set, err := datasets.Load(t.Context(), &datasets.Conversations{Path: path}, datasets.Options{Seed: c.Seed, Tokenizer: tok})
		if err != nil {
			t.Fatalf("%s: %v", c.Spec, err)
		}
		if set.Len() != len(c.Conversations) {
			t.Fatalf("%s: %d conversations; want %d", c.Spec, set.Len(), len(c.Conversations))
		}
		for i, want := range c.Conversations {
			s := set.At(i)
			turns := append([]datasets.Turn{{Text: s.Prompt.Text, Answer: s.Answer, InputTokens: s.InputTokens, OutputTokens: s.OutputTokens}}, s.Later...)
			var texts []string
			var tokens []int
			for _, turn := range turns {
				texts = append(texts, turn.Text, turn.Answer)
				tokens = append(tokens, turn.InputTokens, turn.OutputTokens)
			}
			hash := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
			if s.ID != want.ID || len(texts) != want.Messages || hex.EncodeToString(hash[:]) != want.SHA256 || !slices.Equal(tokens, want.Tokens) {
				t.Errorf("seed %d, %s:\n got %d messages of %v tokens: %.200q\nwant %d messages of %v tokens: %.200q", c.Seed, want.ID,
					len(texts), tokens, texts[0], want.Messages, want.Tokens, want.First)
			}
		}
	}
	if cases != 6 {
		t.Errorf("%d cases; want 6", cases)
	}
}

const oneTalk = `{"id": "a", "messages": [{"role": "user", "content": "hello you"}, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "what now"},
	{"role": "assistant", "content": ""}, {"role": "user", "content": "unanswered"}]}`

func TestRecordedConversations(t *testing.T) {
	tok := llama3(t)
	path := filepath.Join(t.TempDir(), "talks.json")
	if err := os.WriteFile(path, []byte("["+oneTalk+`, {"id": "b", "messages": [{"role": "user", "content": "only a question"}]}]`), 0o666); err != nil {
		t.Fatal(err)
	}
	set, err := datasets.Load(t.Context(), &datasets.Conversations{Path: path}, datasets.Options{Tokenizer: tok})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 1 || len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "2 last questions") {
		t.Fatalf("%d conversations, notes %q", set.Len(), set.Notes)
	}
	s := set.At(0)
	if s.ID != "a" || s.Prompt.Text != "hello you" || s.Answer != "hi" || s.OutputTokens != 1 || len(s.Later) != 1 ||
		s.Later[0].Text != "what now" || s.Later[0].Answer != "" || s.Later[0].OutputTokens != 1 || s.Later[0].InputTokens != 5 {
		t.Errorf("got %+v", s)
	}
}

func TestConversationFilesThatMakeNoSense(t *testing.T) {
	tok := llama3(t)
	spec := func(change string) string {
		return fmt.Sprintf(`{"filetype": "generate_conversations", "num_conversations": 2, "text_files": [%q], "prompt_input": {"num_turns": {"distribution": "constant", "value": 2},
			"prefix_num_tokens": {"distribution": "constant", "value": 0}, "num_tokens": %s}, "prompt_output": {"num_tokens": {"distribution": "constant", "value": 3}}}`,
			filepath.Join("..", "LICENSE"), change)
	}
	for text, want := range map[string]string{
		`"x"`:                               "neither a JSON list of conversations nor an object",
		`[]`:                                "no conversation has a question and an answer",
		`[{"messages":1}]`:                  "conversation 0: json: cannot unmarshal number",
		`[{"messages":[]}]`:                 `conversation 0 has no "id"`,
		`[{"id":"a"}]`:                      `conversation 0 (a) has no "messages"`,
		"[" + oneTalk + "," + oneTalk + "]": `conversation 1 has the id "a" of an earlier one`,
		`[{"id":"a","messages":[{"role":"system","content":"x"}]}]`:                           `message 0 is of role "system"; want user`,
		`[{"id":"a","messages":[{"role":"user"}]}]`:                                           "message 0 lacks its role or content",
		`{"filetype": "other"}`:                                                               `filetype is "other"; want "generate_conversations"`,
		`{"filetype": "generate_conversations", "num_turns": 1}`:                              `unknown field "num_turns"`,
		`{"filetype": "generate_conversations"}`:                                              "num_conversations is 0",
		`{"filetype": "generate_conversations", "num_conversations": 1}`:                      "text_files is empty",
		`{"filetype": "generate_conversations", "num_conversations": 1, "text_files": ["x"]}`: "prompt_input.num_turns is missing",
		spec(`{"distribution": "normal"}`):                                                    `prompt_input.num_tokens: no distribution "normal": have constant, uniform`,
		spec(`{"distribution": "uniform", "min": 3}`):                                         `prompt_input.num_tokens: uniform needs "max"`,
		spec(`{"distribution": "uniform", "min": 3, "max": 2}`):                               "prompt_input.num_tokens: max is 2; want 3 to",
		spec(`{"distribution": "zipf", "alpha": 1}`):                                          "prompt_input.num_tokens: alpha is 1; want 1",
		spec(`{"distribution": "lognormal", "average": 5, "median_ratio": 1}`):                "median_ratio is 1; want",
		spec(`{"distribution": "poisson", "alpha": 5, "max": 7.5}`):                           "max is 7.5; want a whole number",
		spec(`{"distribution": "constant", "value": 100000}`):                                 "conversation 0, message 0: 99", // tokens of text are wanted
	} {
		path := filepath.Join(t.TempDir(), "talks.json")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := datasets.Load(t.Context(), &datasets.Conversations{Path: path}, datasets.Options{Tokenizer: tok})
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
