package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"servebench/loadgen/wire"
	"servebench/results"
)

// golden opens a file of the golden set: testdata/golden, or the set that SERVEBENCH_GOLDEN names.
func golden(t *testing.T, name string) *os.File {
	t.Helper()
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A streamCase is a scripted stream and what the Python client made of it.
type streamCase struct {
	Backend, Name    string
	Status           int
	Writes           []json.RawMessage
	Success          bool
	GeneratedText    string   `json:"generated_text"`
	OutputTokens     *int     `json:"output_tokens"`
	PromptLen        *int     `json:"prompt_len"`
	EventsAfterFirst int      `json:"events_after_first"`
	HasTTFT          bool     `json:"has_ttft"`
	LatencyZero      bool     `json:"latency_zero"`
	ServerQueue      *float64 `json:"server_queue_time"`
	ServerTTFT       *float64 `json:"server_ttft"`
	ErrorLastLine    string   `json:"error_last_line"`
}

// bytesOf is one write; false for a cut connection.
func bytesOf(t *testing.T, raw json.RawMessage) ([]byte, bool) {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text), text != "__abort"
	}
	var latin struct{ Latin1 string }
	if err := json.Unmarshal(raw, &latin); err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, r := range latin.Latin1 {
		b = append(b, byte(r))
	}
	return b, true
}

// play feeds a scripted stream to a reader, one write a read, and returns the reply.
func play(t *testing.T, c streamCase, compat bool) results.Reply {
	t.Helper()
	kind, err := KindOf(c.Backend)
	if err != nil {
		t.Fatal(err)
	}
	call := &call{client: &Client{cfg: Config{Kind: kind, Compat: compat, KeepTexts: true}}}
	reply := results.Reply{Status: c.Status, OutputTokens: -1}
	if c.Status != http.StatusOK {
		body, _ := bytesOf(t, append(c.Writes, json.RawMessage(`""`))[0])
		// The script says OK for 201, as its server did.
		reason := http.StatusText(c.Status)
		if c.Status == http.StatusCreated {
			reason = "OK"
		}
		resp := &http.Response{StatusCode: c.Status, Status: fmt.Sprint(c.Status, " ", reason)}
		call.refused(resp, body, &reply)
		return reply
	}
	r := newReader(call, &reply)
	for i, raw := range c.Writes {
		b, ok := bytesOf(t, raw)
		if !ok {
			r.end(false)
			reply.Failure = &results.Failure{Class: results.FailCut}
			return reply
		}
		now := int64(1000 * (i + 1))
		if problem := r.feed(b, wire.Read{Seq: i + 1, At: now, User: now + 3}); problem != nil {
			r.end(false)
			reply.Failure = problem
			return reply
		}
	}
	reply.Failure = r.end(true)
	return reply
}

// TestGoldenStream reads every scripted stream as the Python client did.
func TestGoldenStream(t *testing.T) {
	lines := bufio.NewScanner(golden(t, "stream/cases.jsonl"))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		c := streamCase{Status: http.StatusOK}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		t.Run(c.Backend+"/"+c.Name, func(t *testing.T) {
			reply := play(t, c, true)
			if got := reply.Failure == nil; got != c.Success {
				t.Errorf("success %t (%v); want %t", got, reply.Failure, c.Success)
			}
			if got := max(0, len(reply.Chunks)-1); got != c.EventsAfterFirst {
				t.Errorf("%d events after the first; want %d", got, c.EventsAfterFirst)
			}
			if got := len(reply.Chunks) > 0; got != c.HasTTFT {
				t.Errorf("has a first event: %t; want %t", got, c.HasTTFT)
			}
			// Messages of Python's own exceptions are not ours to repeat.
			pythons := strings.Contains(c.ErrorLastLine, "Error: ")
			text := reply.Text
			if !c.Success && (pythons || c.Backend != "openai-responses") {
				text = "" // the Python client loses the text of a failed reply
			}
			if text != c.GeneratedText {
				t.Errorf("text %q; want %q", text, c.GeneratedText)
			}
			want := 0
			if c.OutputTokens != nil {
				want = *c.OutputTokens
			}
			got := 0
			if reply.Usage != nil {
				got = reply.Usage.Completion
			}
			if got != want {
				t.Errorf("%d output tokens; want %d", got, want)
			}
			if c.ServerQueue != nil && (reply.ServerQueue == nil || reply.ServerQueue.Seconds() != *c.ServerQueue) {
				t.Errorf("server queue time %v; want %v s", reply.ServerQueue, *c.ServerQueue)
			}
			if c.ServerTTFT != nil && (reply.ServerTTFT == nil || reply.ServerTTFT.Seconds() != *c.ServerTTFT) {
				t.Errorf("server TTFT %v; want %v s", reply.ServerTTFT, *c.ServerTTFT)
			}
			if !pythons && c.ErrorLastLine != "" && reply.Failure != nil && !strings.HasPrefix(reply.Failure.Message, c.ErrorLastLine) {
				t.Errorf("error %q; want it to begin with %q", reply.Failure.Message, c.ErrorLastLine)
			}
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
