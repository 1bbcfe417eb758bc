package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A recordingProxy passes requests on to a server and keeps what they said and when they came.
type recordingProxy struct {
	proxy *httputil.ReverseProxy

	mu       sync.Mutex
	requests []wireRequest
	came     []time.Time
}

func (p *recordingProxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	came := time.Now()
	request, body := recorded(req)
	p.mu.Lock()
	p.requests = append(p.requests, request)
	p.came = append(p.came, came)
	p.mu.Unlock()
	req.Body = io.NopCloser(bytes.NewReader(body))
	p.proxy.ServeHTTP(w, req)
}

// throughProxy gives run the URL of a recording proxy before the server.
func throughProxy(t *testing.T, port string, run func(url string)) *recordingProxy {
	t.Helper()
	target, err := url.Parse("http://127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	p := &recordingProxy{proxy: httputil.NewSingleHostReverseProxy(target)}
	p.proxy.FlushInterval = -1
	server := httptest.NewServer(p)
	defer server.Close()
	run(server.URL)
	return p
}

// byNumber are the requests that came, those of the load in the order of their numbers: what is sent within 20 ms may arrive in any
// order, anything else must come in that of the numbers.
func (p *recordingProxy) byNumber(t *testing.T) []string {
	t.Helper()
	type arrival struct {
		number int // -1 for what is not of the load
		text   string
		came   time.Time
	}
	var list []arrival
	for i, q := range p.requests {
		a := arrival{number: -1, text: q.normal(t), came: p.came[i]}
		for _, h := range q.Headers {
			if !strings.EqualFold(h[0], "x-request-id") {
				continue
			}
			id := h[1]
			var err error
			if a.number, err = strconv.Atoi(id[strings.LastIndex(id, "-")+1:]); err != nil {
				t.Fatalf("request %d has the id %q", i, id)
			}
		}
		if n := len(list); n > 0 && a.number >= 0 && list[n-1].number > a.number && a.came.Sub(list[n-1].came) > 20*time.Millisecond {
			t.Errorf("request %d came %v after request %d", a.number, a.came.Sub(list[n-1].came), list[n-1].number)
		}
		list = append(list, a)
	}
	slices.SortStableFunc(list, func(a, b arrival) int {
		if a.number < 0 || b.number < 0 {
			return 0
		}
		return a.number - b.number
	})
	var texts []string
	for _, a := range list {
		texts = append(texts, a.text)
	}
	return texts
}

// TestVLLMClient runs vLLM's own client and ours with the same command lines on one real server. What the server was sent must be the
// same, byte for byte. The results of vLLM's client are left as cases for TestGoldenMetrics, which computes every figure, the table and the
// result file again from the times that the client kept (scripts/vllm-cpu/test.sh runs it on them).
func TestVLLMClient(t *testing.T) {
	dir := vllm(t)
	t.Setenv("VLLM_LOGGING_LEVEL", "ERROR") // stdout is compared
	t.Setenv("OPENAI_API_KEY", "k-1")
	model := filepath.Join(dir, "models", "tiny-qwen")
	port := startVLLM(t, dir, "tiny-qwen")
	golden := filepath.Join(dir, "golden", "metrics")
	if err := os.MkdirAll(golden, 0o777); err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	talks := write(t, filepath.Join(files, "talks.json"), conversationsFile())
	prompts := write(t, filepath.Join(files, "prompts.jsonl"), promptsFile())
	var cases bytes.Buffer
	for _, tc := range []struct{ name, words string }{
		{"random-closed-loop", "--backend openai --dataset-name random --random-input-len 48 --random-output-len 8 --random-range-ratio 0.5 --num-prompts 12 " +
			"--max-concurrency 4 --seed 3 --percentile-metrics ttft,tpot,itl,e2el,client_queue_time --metric-percentiles 5,50,99.9 --goodput ttft:100 e2el:300"},
		{"random-rate", "--backend vllm --dataset-name random --random-input-len 64 --random-output-len 12 --random-prefix-len 16 --num-prompts 16 --request-rate 8 " +
			"--burstiness 2 --max-concurrency 2 --seed 11 --temperature 0 --num-warmups 2 --ready-check-timeout-sec 30 " +
			"--percentile-metrics ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue"},
		{"random-chat-rate", "--backend openai-chat --endpoint /v1/chat/completions --dataset-name random --random-input-len 32 --random-output-len 6 --num-prompts 10 " +
			"--request-rate 10 --seed 5 --top-k 5 --percentile-metrics ttft,tpot,itl,e2el"},
		{"sharegpt-chat-closed-loop", "--backend openai-chat --endpoint /v1/chat/completions --dataset-name sharegpt --dataset-path " + talks +
			" --num-prompts 14 --max-concurrency 3 --seed 7 --percentile-metrics ttft,tpot,itl,e2el --header X-Who=us --extra-body {\"min_tokens\":2}"},
		{"sharegpt-rate", "--backend vllm --dataset-name sharegpt --dataset-path " + talks + " --sharegpt-output-len 9 --num-prompts 8 --request-rate 12 --seed 1 " +
			"--ignore-eos --logprobs 2 --percentile-metrics ttft,tpot,itl,e2el"},
		{"custom-one-at-a-time", "--backend openai --dataset-name custom --dataset-path " + prompts + " --custom-output-len 5 --num-prompts 9 --max-concurrency 1 --seed 2 " +
			"--percentile-metrics ttft,tpot,itl,e2el"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			argv := append(strings.Fields(tc.words), "--model", model, "--request-id-prefix", "p-", "--disable-tqdm", "--save-result", "--save-detailed")
			theirs := t.TempDir()
			var stdout []byte
			want := throughProxy(t, port, func(url string) {
				client := exec.CommandContext(t.Context(), filepath.Join(dir, "venv", "bin", "vllm"),
					append(append([]string{"bench", "serve"}, argv...), "--base-url", url, "--result-dir", theirs)...)
				client.Dir = files
				var err error
				if stdout, err = client.Output(); err != nil {
					var exit *exec.ExitError
					if errors.As(err, &exit) {
						t.Logf("%s", exit.Stderr)
					}
					t.Fatalf("vLLM's client: %v\n%s", err, stdout)
				}
			}).byNumber(t)
			got := throughProxy(t, port, func(url string) {
				status, stdout, stderr := servebench(t, append(append([]string{"bench", "serve"}, argv...), "--base-url", url, "--result-dir", t.TempDir(), "--compat", "vllm")...)
				if status != 0 {
					t.Fatalf("exit %d\n%s\n%s", status, stdout, stderr)
				}
			}).byNumber(t)
			t.Logf("%d requests of vLLM's client, %d of ours", len(want), len(got))
			for i := range max(len(got), len(want)) {
				g, w := "(none)", "(none)"
				if i < len(got) {
					g = got[i]
				}
				if i < len(want) {
					w = want[i]
				}
				if g != w {
					t.Fatalf("request %d:\n got %s\nwant %s", i, clipped(g), clipped(w))
				}
			}
			cases.Write(metricsCase(t, tc.name, argv, stdout, theirs))
		})
	}
	if err := os.WriteFile(filepath.Join(golden, "cases.jsonl"), cases.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestVLLMMultiTurn runs vLLM's multi-turn script, which no package holds, and ours on one real server that answers the same each time: the same
// questions must be asked in the same order, with the same histories and limits.
func TestVLLMMultiTurn(t *testing.T) {
	dir := vllm(t)
	script := os.Getenv("SERVEBENCH_MULTI_TURN")
	if script == "" {
		t.Skip("needs the folder of vLLM's script: SERVEBENCH_MULTI_TURN=.../benchmarks/multi_turn")
	}
	model := filepath.Join(dir, "models", "tiny-qwen")
	port := startVLLM(t, dir, "tiny-qwen", "--override-generation-config", `{"temperature": 0}`)
	license, err := filepath.Abs(filepath.Join("..", "..", "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	spec := write(t, filepath.Join(files, "spec.json"), fmt.Sprintf(`{"filetype": "generate_conversations", "num_conversations": 5, "text_files": [%q], "prompt_input": {
		"num_turns": {"distribution": "uniform", "min": 2, "max": 7}, "common_prefix_num_tokens": {"distribution": "constant", "value": 30},
		"prefix_num_tokens": {"distribution": "lognormal", "average": 20, "max": 60}, "num_tokens": {"distribution": "poisson", "alpha": 70}},
		"prompt_output": {"num_tokens": {"distribution": "uniform", "min": 3, "max": 9}}}`, license))
	for _, words := range []string{"--seed 4", "--seed 9 -k 3", "-k 3 --conversation-sampling random --request-rate 50", "--warmup-step --max-turns 3", "-k2 -n 5 --limit-min-tokens 2 --limit-max-tokens 4"} {
		t.Run(words, func(t *testing.T) {
			argv := append(strings.Fields(words), "-i", spec, "-m", model)
			want := questions(t, throughProxy(t, port, func(url string) {
				client := exec.CommandContext(t.Context(), filepath.Join(dir, "venv", "bin", "python"), append([]string{filepath.Join(script, "benchmark_serving_multi_turn.py"), "-u", url}, argv...)...)
				if out, err := client.CombinedOutput(); err != nil {
					t.Fatalf("the script: %v\n%s", err, out)
				}
			}))
			got := questions(t, throughProxy(t, port, func(url string) {
				if status, _, stderr := servebench(t, append([]string{"bench", "multi-turn", "-u", url}, argv...)...); status != 0 {
					t.Fatalf("exit %d\n%s", status, stderr)
				}
			}))
			t.Logf("%d questions", len(want))
			if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
				t.Errorf("questions (-script +ours):\n%s", diff)
			}
		})
	}
}

// questions are the messages and limits of the chat requests in the order in which they came.
func questions(t *testing.T, p *recordingProxy) (list []string) {
	t.Helper()
	for _, q := range p.requests {
		if q.Path != "/v1/chat/completions" {
			continue
		}
		var b struct {
			Model    string
			Messages json.RawMessage
			Max      *int `json:"max_tokens"`
			Limit    *int `json:"max_completion_tokens"`
			Stream   bool
		}
		if err := json.Unmarshal([]byte(q.Body), &b); err != nil {
			t.Fatal(err)
		}
		limit := "no limit"
		for _, n := range []*int{b.Max, b.Limit} {
			if n != nil {
				limit = strconv.Itoa(*n)
			}
		}
		list = append(list, fmt.Sprintf("%s %t %s %s", b.Model, b.Stream, limit, b.Messages))
	}
	return list
}

// metricsCase is a run of vLLM's client as a line of testdata/golden/metrics/cases.jsonl.
func metricsCase(t *testing.T, name string, argv []string, stdout []byte, dir string) []byte {
	t.Helper()
	written, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(written) != 1 {
		t.Fatalf("vLLM's client wrote %v, %v; want one file", written, err)
	}
	text, err := os.ReadFile(written[0])
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Date       string
		Duration   float64
		Completed  int
		InputLens  []int       `json:"input_lens"`
		OutputLens []int       `json:"output_lens"`
		TTFTs      []float64   `json:"ttfts"`
		ITLs       [][]float64 `json:"itls"`
		Latencies  []float64
		Starts     []float64 `json:"start_times"`
		Queues     []float64 `json:"queue_times"`
		Texts      []string  `json:"generated_texts"`
		Errors     []string
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Completed != len(r.Starts) || r.Completed == 0 {
		t.Fatalf("%d of %d requests completed", r.Completed, len(r.Starts))
	}
	var outputs []map[string]any
	var dispatched []float64
	for i, start := range r.Starts {
		outputs = append(outputs, map[string]any{
			"success": true, "generated_text": r.Texts[i], "latency": r.Latencies[i], "output_tokens": r.OutputLens[i], "ttft": r.TTFTs[i], "itl": r.ITLs[i],
			"prompt_len": r.InputLens[i], "start_time": start, "error": r.Errors[i],
		})
		// Exact: the queue time was a difference of two such numbers.
		dispatched = append(dispatched, start-r.Queues[i])
	}
	_, table, ok := bytes.Cut(stdout, []byte("Starting initial single prompt test run...\n"))
	_, table, ok2 := bytes.Cut(table, []byte("Starting main benchmark run...\n"))
	if !ok || !ok2 {
		t.Fatalf("stdout of vLLM's client:\n%s", stdout)
	}
	const date = "20260102-030405" // that of the cases
	line, err := json.Marshal(map[string]any{
		"name": name, "argv": argv, "duration": r.Duration, "dispatch_times": dispatched, "outputs": outputs, "prompt_lens": r.InputLens,
		"stdout":      "Starting initial single prompt test run...\nSkipping endpoint ready check.\nStarting main benchmark run...\n" + string(table),
		"result_file": strings.Replace(filepath.Base(written[0]), r.Date, date, 1),
		"result_json": strings.Replace(string(text), r.Date, date, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

// conversationsFile is a ShareGPT file of ten conversations of ordinary English.
func conversationsFile() string {
	var rows []string
	for i := range 10 {
		rows = append(rows, fmt.Sprintf(`{"id": "c%d", "conversations": [{"from": "human", "value": "Question %d: what does the function return when its %d argument is empty?"},`+
			`{"from": "gpt", "value": "It returns the value number %d of the list, or None when there is no such value at all."}, {"from": "human", "value": "and then?"}]}`, i, i, i+2, i*i))
	}
	return "[" + strings.Join(rows, ",\n") + "]"
}

// promptsFile is a custom dataset of six prompts, one of them not ASCII.
func promptsFile() string {
	var b strings.Builder
	for i, prompt := range []string{"The license of this file", "def main(argv):", "Grüße aus dem Süden, 你好", "A list of names:\\n1.", "for i in range(10):", "See also the manual"} {
		fmt.Fprintf(&b, `{"prompt": "%s %d"}`+"\n", prompt, i)
	}
	return b.String()
}
