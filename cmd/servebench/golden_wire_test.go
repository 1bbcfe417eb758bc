package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"servebench/datasets/tokenizer"
)

// A wireCase is a command line of the Python client and the requests it sent.
type wireCase struct {
	Name     string
	Server   recorderConfig
	Env      map[string]string
	Argv     []string
	Exit     int
	Requests []wireRequest
}

type wireRequest struct {
	Conn    *int
	Method  string
	Path    string
	Headers [][2]string
	Body    string
}

// recorderConfig is how the recording server behaves.
type recorderConfig struct {
	Models         *[]json.RawMessage
	Fail           map[string]int
	Profile        int
	Metrics        []string
	Tokenize       string
	Delay          float64
	RequestMetrics bool `json:"request_metrics"`
}

// A recorder is the small server that the golden requests were recorded with, rebuilt.
type recorder struct {
	cfg recorderConfig
	tok *tokenizer.Tokenizer

	mu       sync.Mutex
	requests []wireRequest
	metrics  int
	model    int
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	var headers [][2]string
	for name, values := range req.Header {
		if name != "User-Agent" && name != "Content-Length" && name != "Host" {
			headers = append(headers, [2]string{name, values[0]})
		}
	}
	r.mu.Lock()
	r.requests = append(r.requests, wireRequest{Method: req.Method, Path: req.URL.RequestURI(), Headers: headers, Body: string(body)})
	r.mu.Unlock()
	switch path := req.URL.Path; {
	case path == "/v1/models":
		models := []json.RawMessage{json.RawMessage(`{"id": "served-a", "root": "root/model-a"}`)}
		if r.cfg.Models != nil {
			models = *r.cfg.Models
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": models})
	case path == "/tokenize":
		r.tokenize(w, body)
	case path == "/detokenize":
		var q struct{ Tokens []int }
		_ = json.Unmarshal(body, &q)
		text, _ := r.tok.Decode(q.Tokens)
		_ = json.NewEncoder(w).Encode(map[string]any{"prompt": text})
	case path == "/metrics":
		if r.cfg.Metrics == nil {
			http.NotFound(w, req)
			return
		}
		r.mu.Lock()
		text := r.cfg.Metrics[min(r.metrics, len(r.cfg.Metrics)-1)]
		r.metrics++
		r.mu.Unlock()
		_, _ = io.WriteString(w, text)
	case strings.HasSuffix(path, "_profile"):
		if r.cfg.Profile != 0 {
			w.WriteHeader(r.cfg.Profile)
		}
	default:
		r.answer(w, path, body)
	}
}

func (r *recorder) tokenize(w http.ResponseWriter, body []byte) {
	var q struct{ Prompt string }
	_ = json.Unmarshal(body, &q)
	switch r.cfg.Tokenize {
	case "":
		http.Error(w, `{"detail":"Not Found"}`, http.StatusNotFound)
		return
	case "500":
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	ids, _ := r.tok.Encode(q.Prompt, false)
	if r.cfg.Tokenize == "longer" {
		ids = slices.Insert(ids, 3, 7, 8)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"count": len(ids), "tokens": ids})
}

func (r *recorder) answer(w http.ResponseWriter, path string, body []byte) {
	r.mu.Lock()
	n := r.model
	r.model++
	r.mu.Unlock()
	if status, ok := r.cfg.Fail[fmt.Sprint(n)]; ok {
		w.WriteHeader(status)
		return
	}
	time.Sleep(time.Duration(r.cfg.Delay * float64(time.Second)))
	if !strings.Contains(path, "completions") && !strings.Contains(path, "responses") && !strings.Contains(path, "audio") {
		_, _ = io.WriteString(w, `{"data": [], "usage": {"prompt_tokens": 21}}`)
		return
	}
	event := func(text string) { fmt.Fprintf(w, "data: %s\n\n", text) }
	w.Header().Set("Content-Type", "text/event-stream")
	if strings.HasSuffix(path, "responses") {
		event(`{"type": "response.output_text.delta", "delta": " t"}`)
		event(`{"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 21, "output_tokens": 4}}}`)
		return
	}
	choice := `{"choices": [{"index": 0, "text": " t", "finish_reason": null}]}`
	if !strings.HasSuffix(path, "/completions") || strings.Contains(path, "chat") {
		choice = `{"choices": [{"index": 0, "delta": {"content": " t"}}]}`
	}
	var q struct {
		Max     int `json:"max_tokens"`
		MaxChat int `json:"max_completion_tokens"`
	}
	_ = json.Unmarshal(body, &q)
	tokens := max(1, q.Max, q.MaxChat)
	for range tokens {
		event(choice)
	}
	metrics := ""
	if r.cfg.RequestMetrics {
		metrics = `, "metrics": {"queue_time_ms": 1.5, "time_to_first_token_ms": 2.5}`
	}
	event(fmt.Sprintf(`{"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": %d}%s}`, tokens, metrics))
	event("[DONE]")
}

// boundary is what multipart bodies are separated by.
var boundary = regexp.MustCompile(`[0-9a-f]{60}`)

// normal is a request in the form that two clients can be compared in.
func (q wireRequest) normal(t *testing.T) string {
	t.Helper()
	var headers []string
	multipart := ""
	for _, h := range q.Headers {
		name := strings.ToLower(h[0])
		if name == "user-agent" || name == "content-length" {
			continue
		}
		if name == "content-type" && strings.HasPrefix(h[1], "multipart/") {
			h[1] = boundary.ReplaceAllString(h[1], "BOUNDARY")
			multipart = "BOUNDARY"
		}
		headers = append(headers, name+": "+h[1])
	}
	sort.Strings(headers)
	body := q.Body
	if multipart != "" {
		body = boundary.ReplaceAllString(body, "BOUNDARY")
	}
	return q.Method + " " + q.Path + "\n" + strings.Join(headers, "\n") + "\n" + body
}

// TestGoldenWire runs each recorded command line, counting as vLLM does, and compares the requests and the exit status.
func TestGoldenWire(t *testing.T) {
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(root, "wire", "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := tokenizer.Load(filepath.Join(root, "tokenizers", "llama3"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root) // the command lines name files of the set
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var c wireCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		t.Run(c.Name, func(t *testing.T) { c.run(t, tok) })
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func (c wireCase) run(t *testing.T, tok *tokenizer.Tokenizer) {
	for _, name := range []string{"OPENAI_API_KEY", "SAVE_TO_PYTORCH_BENCHMARK_FORMAT"} {
		t.Setenv(name, "")
	}
	t.Setenv("PYTHONHASHSEED", "0")
	for name, value := range c.Env {
		t.Setenv(name, value)
	}
	r := &recorder{cfg: c.Server, tok: tok}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if len(c.Requests) == 0 && c.Name == "connection-refused" {
		l.Close()
	}
	argv := []string{"bench", "serve"}
	dir := t.TempDir()
	for _, word := range c.Argv {
		argv = append(argv, strings.ReplaceAll(word, "127.0.0.1:18473", l.Addr().String()))
	}
	argv = append(argv, "--compat", "vllm", "--result-dir", dir)
	var out, errs bytes.Buffer
	root := rootCommand(&interrupts{end: t.Context(), leave: context.Background()})
	root.SetArgs(argv)
	root.SetOut(&out)
	root.SetErr(&errs)
	status := exitStatus(root.ExecuteContext(t.Context()), io.Discard)
	_ = server.Close()
	<-served
	if status != c.Exit {
		t.Errorf("exit %d; want %d\n%s", status, c.Exit, errs.String())
	}
	var got, want []string
	for _, q := range r.requests {
		got = append(got, q.normal(t))
	}
	for _, q := range c.Requests {
		want = append(want, q.normal(t))
	}
	if strings.HasPrefix(c.Name, "align-longer") || c.Name == "probe" { // what runs at the same time has no order
		slices.Sort(got)
		slices.Sort(want)
		if c.Name == "probe" {
			got = slices.Compact(got) // only the first probe was kept
			want = slices.Compact(want)
		}
	}
	for i := range max(len(got), len(want)) {
		g, w := "(none)", "(none)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("request %d of %d (want %d):\n got %s\nwant %s\n%s", i, len(got), len(want), clipped(g), clipped(w), errs.String())
		}
	}
}

func clipped(s string) string {
	if len(s) > 1500 {
		return s[:1500] + "..."
	}
	return s
}
