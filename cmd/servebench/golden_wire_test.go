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
	"unicode/utf8"

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
	Stdout   string
	Files    []wireFile
}

// A wireFile is a file that the command line wrote.
type wireFile struct {
	Name            string
	Objects         int
	EndsWithNewline bool `json:"ends_with_newline"`
	Keys            []string
	ConstantValues  map[string]json.RawMessage `json:"constant_values"`
	Records         []struct {
		Metric        string
		Model         json.RawMessage
		BenchmarkKeys []string `json:"benchmark_keys"`
		ArgKeys       []string `json:"arg_keys"`
		ExtraInfoKeys []string `json:"extra_info_keys"`
	}
	RecordCount int `json:"record_count"`
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

// recorded is a request as the recordings have it, and its body as it came.
func recorded(req *http.Request) (wireRequest, []byte) {
	raw, _ := io.ReadAll(req.Body)
	body := raw
	if !utf8.Valid(body) { // as the recording has it: every byte a character
		var latin []rune
		for _, b := range body {
			latin = append(latin, rune(b))
		}
		body = []byte(string(latin))
	}
	var headers [][2]string
	for name, values := range req.Header {
		if name != "User-Agent" && name != "Content-Length" && name != "Host" {
			headers = append(headers, [2]string{name, values[0]})
		}
	}
	return wireRequest{Method: req.Method, Path: req.URL.RequestURI(), Headers: headers, Body: string(body)}, raw
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	request, _ := recorded(req)
	body := []byte(request.Body)
	r.mu.Lock()
	r.requests = append(r.requests, request)
	r.mu.Unlock()
	switch path := "/" + strings.TrimLeft(req.URL.Path, "/"); {
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
		var q struct {
			Input    json.RawMessage
			Encoding string `json:"encoding_format"`
		}
		_ = json.Unmarshal(body, &q)
		inputs := []string{""}
		_ = json.Unmarshal(q.Input, &inputs) // one input is no list, and stays one
		switch q.Encoding {
		case "bytes":
			w.Header().Set("metadata", `{"usage": {"prompt_tokens": 55}}`)
			_, _ = w.Write([]byte{0, 1})
		case "bytes_only":
			_, _ = w.Write([]byte{0, 1})
		default:
			fmt.Fprintf(w, `{"data": [], "usage": {"prompt_tokens": %d}}`, 11*len(inputs))
		}
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
	if strings.Contains(path, "audio") {
		tokens = 3
	}
	for range tokens {
		event(choice)
	}
	metrics := ""
	if r.cfg.RequestMetrics {
		metrics = `, "metrics": {"queue_time_ms": 3.0, "time_to_first_token_ms": 12.5}`
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
	t.Setenv("VLLM_LOGGING_LEVEL", "ERROR") // as in the recording
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
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"bench", "serve"}
	dir := t.TempDir()
	for _, word := range c.Argv {
		argv = append(argv, strings.ReplaceAll(word, "18473", port))
	}
	argv = append(argv, "--compat", "vllm", "--result-dir", dir)
	var out, errs bytes.Buffer
	root := rootCommand(&interrupts{end: t.Context(), leave: context.Background()})
	root.SetArgs(argv)
	root.SetOut(&out)
	root.SetErr(&errs)
	status := exitStatus(root.ExecuteContext(t.Context()), &errs)
	_ = server.Close()
	<-served
	if status != c.Exit {
		t.Errorf("exit %d; want %d\n%s", status, c.Exit, errs.String())
	}
	c.checkFiles(t, dir)
	c.checkStdout(t, out.String(), port)
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

var dates = regexp.MustCompile(`\d{8}-\d{6}`)

// checkFiles compares the files that were written: names, keys in order, values that do not vary.
func (c wireCase) checkFiles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]byte{}
	var names, want []string
	for _, e := range entries {
		name := dates.ReplaceAllString(e.Name(), "DATE")
		names = append(names, name)
		if have[name], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range c.Files {
		want = append(want, f.Name)
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("files %v; want %v", names, want)
		return
	}
	for _, f := range c.Files {
		text := have[f.Name]
		switch {
		case f.Records != nil:
			f.checkPyTorch(t, text)
		case f.Keys != nil:
			keys, values := membersOf(t, text)
			if !slices.Equal(keys, f.Keys) {
				t.Errorf("%s: keys\n got %v\nwant %v", f.Name, keys, f.Keys)
			}
			for key, value := range f.ConstantValues {
				if got := compact(t, values[key]); got != compact(t, value) {
					t.Errorf("%s: %s is %s; want %s", f.Name, key, got, value)
				}
			}
			if got := bytes.HasSuffix(text, []byte("\n")); got != f.EndsWithNewline {
				t.Errorf("%s ends with a newline: %t; want %t", f.Name, got, f.EndsWithNewline)
			}
		}
	}
}

func (f wireFile) checkPyTorch(t *testing.T, text []byte) {
	t.Helper()
	var records []struct {
		Benchmark struct {
			Extra json.RawMessage `json:"extra_info"`
		}
		Model  json.RawMessage
		Metric struct {
			Name  string
			Extra json.RawMessage `json:"extra_info"`
		}
	}
	if err := json.Unmarshal(text, &records); err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	if len(records) != f.RecordCount {
		t.Errorf("%s: %d records; want %d", f.Name, len(records), f.RecordCount)
	}
	for i, want := range f.Records {
		got := records[i]
		keys, values := membersOf(t, got.Benchmark.Extra)
		args, _ := membersOf(t, values["args"])
		extra, _ := membersOf(t, got.Metric.Extra)
		if got.Metric.Name != want.Metric || compact(t, got.Model) != compact(t, want.Model) || !slices.Equal(keys, want.BenchmarkKeys) ||
			!slices.Equal(args, want.ArgKeys) || !slices.Equal(extra, want.ExtraInfoKeys) {
			t.Errorf("%s: record %d is\n%s %s %v\n%v\n%v\nwant\n%s %s %v\n%v\n%v", f.Name, i, got.Metric.Name, got.Model, keys, args, extra,
				want.Metric, want.Model, want.BenchmarkKeys, want.ArgKeys, want.ExtraInfoKeys)
		}
	}
}

// membersOf are the keys of a JSON object in their order, and their values.
func membersOf(t *testing.T, text []byte) (keys []string, values map[string]json.RawMessage) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	values = map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		values[key.(string)] = value
	}
	return keys, values
}

// compact is a value in one spelling: recordings escape what is not ASCII, or do not.
func compact(t *testing.T, value json.RawMessage) string {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return string(value)
	}
	return asJSON(t, v)
}

func clipped(s string) string {
	if len(s) > 1500 {
		return s[:1500] + "..."
	}
	return s
}

var (
	decimals   = regexp.MustCompile(`(?m)^(\S.*:\s+|  Position \d+:\s+)-?\d+\.\d+\s*$`)
	numbers    = regexp.MustCompile(`-?\d+\.\d+\s*$`)
	ownFlags   = regexp.MustCompile(`, compat='vllm'\)$`)
	resultDirs = regexp.MustCompile(`result_dir=('[^']*'|None)`)
	probes     = regexp.MustCompile(`(?m)^(Probe requests completed:).*$`) // as many as there was time for
	// What the Python client tells of a connection that failed is the text of its HTTP library.
	traceback   = regexp.MustCompile(`(?s)(Error \d+: )Traceback.*?\n\n`)
	refusal     = regexp.MustCompile(`(?m)^(Error \d+: ).*(connect|Connect).*$`)
	unreachable = regexp.MustCompile(`(?m)^(WARNING: \S+ unreachable) \(.*\), skipping`)
)

// checkStdout compares what was printed, numbers masked as in the recording: the table's decimals, and where the Python client
// quotes its HTTP library, the quotation. Only three recordings kept the line with all values.
func (c wireCase) checkStdout(t *testing.T, stdout, port string) {
	t.Helper()
	mask := func(text string) []string {
		text = decimals.ReplaceAllStringFunc(text, func(line string) string { return numbers.ReplaceAllString(line, "N.NN") })
		text = probes.ReplaceAllString(text, "${1}N")
		text = traceback.ReplaceAllString(text, "${1}...\n")
		text = refusal.ReplaceAllString(text, "${1}...")
		text = unreachable.ReplaceAllString(text, "$1 (...), skipping")
		return strings.Split(text, "\n")
	}
	stdout = strings.ReplaceAll(stdout, port, "18473")
	if c.Name == "connection-refused" {
		stdout = strings.ReplaceAll(stdout, "18473", "9")
	}
	got, want := mask(stdout), mask(c.Stdout)
	if !strings.HasPrefix(c.Stdout, "Namespace(") && strings.HasPrefix(stdout, "Namespace(") {
		got = got[1:]
	}
	for i, lines := range [][]string{got, want} {
		for j, line := range lines {
			line = ownFlags.ReplaceAllString(line, ")")
			line = resultDirs.ReplaceAllString(line, "result_dir=...")
			if i == 0 && strings.Contains(line, " plot saved to: ") {
				before, path, _ := strings.Cut(line, ": ")
				line = before + ": RESULT_DIR/" + filepath.Base(path)
			}
			lines[j] = line
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
			t.Errorf("stdout line %d:\n got %s\nwant %s", i+1, g, w)
			return
		}
	}
}
