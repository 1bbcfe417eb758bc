package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"servebench/datasets/tokenizer"
)

var llama3, _ = filepath.Abs(filepath.Join("..", "..", "testdata", "golden", "tokenizers", "llama3"))

// multiTurn runs the command against the recorder, which answers each question with as many " t" as tokens are asked for.
func multiTurn(t *testing.T, file string, args ...string) (r *recorder, status int, stdout, stderr string) {
	t.Helper()
	tok, err := tokenizer.Load(llama3)
	if err != nil {
		t.Fatal(err)
	}
	r = &recorder{tok: tok}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	status, stdout, stderr = servebench(t, append([]string{"bench", "multi-turn", "-i", file, "-m", llama3, "--served-model-name", "served-a", "-u", server.URL, "--disable-tqdm"}, args...)...)
	return r, status, stdout, stderr
}

// asked are the bodies of the chat requests in the order in which they came, and their headers.
func asked(t *testing.T, r *recorder) (bodies []map[string]any, headers []map[string]string) {
	t.Helper()
	for _, q := range r.requests {
		if !strings.HasSuffix(q.Path, "/chat/completions") {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(q.Body), &body); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
		header := map[string]string{}
		for _, h := range q.Headers {
			header[strings.ToLower(h[0])] = h[1]
		}
		headers = append(headers, header)
	}
	return bodies, headers
}

// saidIn are the contents of a body's messages.
func saidIn(body map[string]any) (texts []string) {
	for i, m := range body["messages"].([]any) {
		message := m.(map[string]any)
		if message["role"] != [...]string{"user", "assistant"}[i%2] {
			return []string{fmt.Sprint("message ", i, " is of ", message["role"])}
		}
		texts = append(texts, message["content"].(string))
	}
	return texts
}

const threeTalks = `[
	{"id": "a", "messages": [{"role": "user", "content": "qa1"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "qa2"}, {"role": "assistant", "content": "x"}]},
	{"id": "b", "messages": [{"role": "user", "content": "qb1"}, {"role": "assistant", "content": "y"}]},
	{"id": "c", "messages": [{"role": "user", "content": "qc1"}, {"role": "assistant", "content": "z"}, {"role": "user", "content": "qc2"}, {"role": "assistant", "content": "w"}]}]`

func TestMultiTurnCommandHoldsConversations(t *testing.T) {
	for _, tc := range []struct {
		name, flags, want string
	}{
		{"one client", "--no-early-stop", "qa1 | qa1, t t, qa2 | qb1 | qc1 | qc1, t t, qc2"},
		{"two held", "--no-early-stop -k 2", "qb1 | qc1 | qa1 | qc1, t t, qc2 | qa1, t t, qa2"},
		{"until none is left", "-k2", "qb1 | qc1 | qa1 | qc1, t t, qc2"},
		{"so many requests", "-n 2", "qa1 | qa1, t t, qa2"},
		{"so many messages", "--max-turns 2", "qa1 | qb1 | qc1"},
		{"a question at the bound", "--max-turns 3 -n2", "qa1 | qa1, t t, qa2"},
		{"first questions before", "--warmup-step", "qa1 | qb1 | qc1 | qa1, t t, qa2 | qc1, t t, qc2"},
		{"at random", "--no-early-stop -k 3 --conversation-sampling random", "qa1 | qc1 | qa1, t t, qa2 | qc1, t t, qc2 | qb1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "talks.json"), threeTalks)
			r, status, _, stderr := multiTurn(t, file, append(strings.Fields(tc.flags), "--limit-min-tokens", "2", "--limit-max-tokens", "2")...)
			if status != 0 {
				t.Fatalf("exit %d\n%s", status, stderr)
			}
			bodies, headers := asked(t, r)
			var got []string
			for i, body := range bodies {
				var texts []string
				for _, text := range saidIn(body) {
					texts = append(texts, strings.TrimSpace(text))
				}
				got = append(got, strings.Join(texts, ", "))
				if body["model"] != "served-a" || body["max_completion_tokens"] != 2.0 || body["min_tokens"] != 2.0 || body["stream"] != true || body["conversation_id"] != nil {
					t.Errorf("request %d: %v", i, body)
				}
				if id, ok := headers[i]["x-session-id"]; ok {
					t.Errorf("request %d names the session %s", i, id)
				}
			}
			if all := strings.Join(got, " | "); all != tc.want {
				t.Errorf("\n got %s\nwant %s", all, tc.want)
			}
		})
	}
}

func TestMultiTurnCommandWithoutALimit(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "talks.json"), threeTalks)
	r, status, _, stderr := multiTurn(t, file, "--limit-max-tokens", "-1", "--extra-body", `{"temperature": 0}`)
	bodies, _ := asked(t, r)
	if status != 0 || len(bodies) != 5 {
		t.Fatalf("exit %d, %d questions\n%s", status, len(bodies), stderr)
	}
	for _, body := range bodies {
		if _, ok := body["max_completion_tokens"]; ok || body["temperature"] != 0.0 {
			t.Errorf("body %v", body)
		}
	}
}

func TestMultiTurnCommandFiles(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "talks.json"), threeTalks)
	answers, figures := filepath.Join(dir, "answers.json"), filepath.Join(dir, "made", "figures.json")
	r, status, stdout, stderr := multiTurn(t, file, "-p", "3", "--no-early-stop", "--send-conversation-id", "--header", "X-Who: us", "--header=X-Also=them", "--api-key", "sk-secret-1",
		"-o", answers, "--stats-json-output", figures, "--warmup-percentages", "40%,0", "-v", "--print-content", "--out", filepath.Join(dir, "run"))
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	bodies, headers := asked(t, r)
	tok, err := tokenizer.Load(llama3)
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]int{} // tokens of the answers in the file
	for question, answer := range map[string]string{"qa1": "one", "qa2": "x", "qb1": "y", "qc1": "z", "qc2": "w"} {
		ids, _ := tok.Encode(answer, false)
		wanted[question] = len(ids)
	}
	for i, body := range bodies {
		texts := saidIn(body)
		last := texts[len(texts)-1]
		if body["max_completion_tokens"] != float64(wanted[last]) || body["min_tokens"] != nil {
			t.Errorf("%s asks for %v tokens, at least %v; want %d", last, body["max_completion_tokens"], body["min_tokens"], wanted[last])
		}
		if id := string(last[1]); body["conversation_id"] != id || headers[i]["x-session-id"] != id {
			t.Errorf("%s is of %v, %q", last, body["conversation_id"], headers[i]["x-session-id"])
		}
		if headers[i]["x-who"] != "us" || headers[i]["x-also"] != "them" || headers[i]["authorization"] != "Bearer sk-secret-1" {
			t.Errorf("headers of %s: %v", last, headers[i])
		}
	}
	var talks []struct {
		ID       string
		Messages []struct{ Role, Content string }
	}
	readJSON(t, answers, &talks)
	want := strings.Repeat(" t", wanted["qa1"])
	if len(talks) != 3 || talks[0].ID != "a" || len(talks[0].Messages) != 4 || talks[0].Messages[1].Content != want || talks[0].Messages[2].Content != "qa2" {
		t.Errorf("answers %+v", talks)
	}
	var list []map[string]any
	readJSON(t, figures, &list)
	if len(list) != 5 {
		t.Fatalf("%d requests in the figures; want 5", len(list))
	}
	for _, q := range list {
		if q["input_num_tokens"] != 21.0 || q["latency_ms"].(float64) <= 0 || q["ttft_ms"].(float64) > q["latency_ms"].(float64) {
			t.Errorf("figures %v", q)
		}
		if second := q["input_num_turns"] == 3.0; second != (q["approx_cached_percent"].(float64) > 0) {
			t.Errorf("a turn of %v messages has %v %% from before", q["input_num_turns"], q["approx_cached_percent"])
		}
	}
	for _, want := range []string{
		"num_clients=3\nnum_conversations=3\nactive_conversations=None\nseed=0\n", "Statistics summary (assuming 0% warmup samples):\nruntime_sec = ",
		"Statistics summary (assuming 40% warmup samples):", "Successful requests:                     5 ", " By Turn: ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if rows := rowsOf(stdout, "input_num_turns"); len(rows) != 2 || rows[0][1] != "5" || rows[0][2] != "1.80" || rows[0][3] != "1.10" || rows[1][1] != "3" {
		t.Errorf("rows of input_num_turns: %v", rows)
	}
	if !strings.Contains(stderr, "a, question 2: qa2") || !strings.Contains(stderr, "a, turn 2: TTFT ") {
		t.Errorf("stderr:\n%s", stderr)
	}
	_ = filepath.WalkDir(filepath.Join(dir, "run"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), "sk-secret-1") {
				t.Errorf("%s holds the key", path)
			}
		}
		return err
	})
}

// rowsOf are the words of the lines that begin with a name.
func rowsOf(text, name string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+" ") {
			rows = append(rows, strings.Fields(line))
		}
	}
	return rows
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func TestMultiTurnCommandVerifies(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "talks.json"), `[{"id": "a", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " t t"}]}]`)
	limits := []string{"--verify-output", "--limit-min-tokens", "1", "--limit-max-tokens"}
	if _, status, stdout, stderr := multiTurn(t, file, append(limits, "2")...); status != 0 || !strings.Contains(stdout, "all 1 answers are those of "+file) {
		t.Errorf("exit %d\n%s\n%s", status, stdout, stderr)
	}
	_, status, stdout, stderr := multiTurn(t, file, append(limits, "3")...)
	if status != 1 || !strings.Contains(stdout, `a, answer 1 is " t t t" (6 bytes); the file has " t t" (4 bytes)`) || !strings.Contains(stderr, "1 of 1 answers are not those of "+file) {
		t.Errorf("exit %d\n%s\n%s", status, stdout, stderr)
	}
}

func TestMultiTurnCommandSheets(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "text.txt", strings.Repeat("some words of a text. ", 100))
	file := write(t, "spec.json", `{"filetype": "generate_conversations", "num_conversations": 4, "text_files": ["text.txt"], "prompt_input": {
		"num_turns": {"distribution": "uniform", "min": 2, "max": 4}, "common_prefix_num_tokens": {"distribution": "constant", "value": 5},
		"prefix_num_tokens": {"distribution": "lognormal", "average": 10, "max": 50}, "num_tokens": {"distribution": "poisson", "alpha": 60}},
		"prompt_output": {"num_tokens": {"distribution": "zipf", "alpha": 2, "max": 5}}}`)
	_, status, stdout, stderr := multiTurn(t, file, "-ep2", "--no-early-stop", "--request-rate", "1000")
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	if want := "Conversations Generation Parameters:\ntext_files=text.txt\ninput_num_turns=UniformDistribution[2, 4]\n" +
		"input_common_prefix_num_tokens=Constant[5]\ninput_prefix_num_tokens=LognormalDistribution[10, 0.85, 50]\n" +
		"input_num_tokens=PoissonDistribution[60]\noutput_num_tokens=ZipfDistribution[2]\n"; !strings.Contains(stdout, want) {
		t.Errorf("no %q in\n%s", want, stdout)
	}
	sheets, _ := filepath.Glob("statistics_2_clients__*.csv")
	if len(sheets) != 2 || !strings.Contains(stderr, "no .xlsx file is written") {
		t.Fatalf("sheets %v\n%s", sheets, stderr)
	}
	slices.Sort(sheets)
	requests, _ := os.ReadFile(sheets[0])
	lines := strings.Split(strings.TrimSpace(string(requests)), "\n")
	if !strings.HasPrefix(lines[0], "ttft_ms,tpot_ms,latency_ms,start_time_ms,input_num_turns,") || len(lines) < 5 || !strings.HasSuffix(lines[1], ",CONV_ID_0") && !strings.HasSuffix(lines[1], ",CONV_ID_1") {
		t.Errorf("requests:\n%s", requests)
	}
	if n := strconv.Itoa(len(lines) - 1); !strings.Contains(string(requireFile(t, sheets[1])), "\nlatency_ms,"+n+",") {
		t.Errorf("summary:\n%s", requireFile(t, sheets[1]))
	}
}

func requireFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMultiTurnCommandLinesThatMakeNoSense(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "talks.json"), threeTalks)
	for _, tc := range []struct {
		line   string
		status int
		want   string
	}{
		{"", 2, "error: the following arguments are required: -i/--input-file, -m/--model"},
		{"-i F -m m --header nonsense", 2, "argument --header: Headers must be provided as 'Header-Name: value' or 'Header-Name=value'"},
		{"-i F -m m --conversation-sampling first", 2, "argument --conversation-sampling: invalid ConversationSampling value: 'first'"},
		{"-i F -m m --num-clients x", 2, "argument -p/--num-clients: invalid int value: 'x'"},
		{"-i F -m m --num-client", 2, "argument -p/--num-clients: expected one argument"},
		{"-i F -m m --excel", 0, ""}, // an abbreviation; it goes on to the server that is not there
		{"-i F -m m -p 0", 2, "--num-clients 0: must be at least 1"},
		{"-i F -m m -p 4 -k 3", 2, "--max-active-conversations 3: must be at least --num-clients 4"},
		{"-i F -m m -p 4 -n 3", 2, "--max-num-requests 3: must be at least --num-clients 4"},
		{"-i F -m m --max-turns 0", 2, "--max-turns 0: must be at least 1"},
		{"-i F -m m --limit-max-tokens 5", 2, "--limit-min-tokens and --limit-max-tokens: give both above 0, or neither"},
		{"-i F -m m --limit-max-tokens 5 --limit-min-tokens 6", 2, "--limit-min-tokens 6 is more than --limit-max-tokens 5"},
		{"-i F -m m --warmup-percentages 0%,100%", 2, `--warmup-percentages 0%,100%: "100%" is no percentage from 0 to below 100`},
		{"-i F -m m --request-timeout-sec 0", 2, "--request-timeout-sec 0: must be at least 1"},
		{"-i F -m m --request-rate -1", 2, "--request-rate -1.0: must not be negative"},
		{"-i F -m m --extra-body [1]", 2, "--extra-body: want a JSON object"},
	} {
		line := strings.ReplaceAll(tc.line, "F", file)
		status, _, stderr := servebench(t, append([]string{"bench", "multi-turn", "-u", "http://127.0.0.1:9"}, strings.Fields(line)...)...)
		if tc.status == 0 {
			if status != 1 || !strings.Contains(stderr, "no server answers") {
				t.Errorf("%s: exit %d\n%s", line, status, stderr)
			}
			continue
		}
		if status != tc.status || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit %d; want %d and %q\n%s", line, status, tc.status, tc.want, stderr)
		}
	}
	for _, tc := range []struct{ flags, want string }{
		{"-p 4", "has 3 conversations for 4 clients: give fewer --num-clients"},
		{"-k 4", "has 3 conversations: --max-active-conversations must not be more"},
		{"-p 3 --warmup-step", "after the first turns 2 conversations are fewer than the 3 that users hold from the start"},
	} {
		if _, status, _, stderr := multiTurn(t, file, strings.Fields(tc.flags)...); status != 1 || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit %d; want 1 and %q\n%s", tc.flags, status, tc.want, stderr)
		}
	}
	if _, status, _, stderr := multiTurn(t, file, "--max-retries", "2", "--warmup-step", "--warmup-percentages", "5%"); status != 0 ||
		!strings.Contains(stderr, "warning: --max-retries 2: ") || !strings.Contains(stderr, "warning: --warmup-percentages is left aside") {
		t.Errorf("exit %d\n%s", status, stderr)
	}
}
