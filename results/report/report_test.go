package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

var update = flag.Bool("update", false, "accept the reports as they are now")

const ms = time.Millisecond

// sample is a run of 120 requests, 10 ms apart, of which two failed.
func sample(change func(*results.Manifest, int, *results.Record)) (*results.Manifest, []*results.Record) {
	const zero = results.Moment(1_700_000_000_000_000_000)
	cpu, pause, scheduler, step := 300*ms, 150*time.Microsecond, 40*time.Microsecond, -2*time.Microsecond
	pauses, retransmits, drops := int64(3), int64(0), int64(2)
	wait, steal, own := 12*ms, 30*ms, &results.Error{P50: 4 * time.Microsecond, P99: 38 * time.Microsecond, Max: 90 * time.Microsecond}
	m := &results.Manifest{
		Version: 1, Tool: "servebench 1.2.3", Seed: 7, Stamps: "kernel", Basis: results.Service,
		Created: zero, Began: zero, Ended: zero.Add(2 * time.Second), Outcome: results.OK,
		Machine: results.Machine{CPU: "Test CPU", Cores: 2, OS: "linux", Arch: "amd64", Go: "go1"},
		Server:  results.Server{Version: "0.33.0"}, Prompts: results.Prompts{Method: "tokenizer", Detail: "llama3"},
		Client: &results.Client{
			CPU: &cpu, Cores: 2, GCPauses: &pauses, GCPauseMax: &pause, GCPauseTotal: &pause, SchedulerP99: &scheduler, Retransmits: &retransmits, ClockStep: &step,
			ReceiveQueue: &results.ReceiveQueue{Looks: 400, Waiting: 3, Most: 512},
			CPUWait:      &wait, Steal: &steal, PacketDrops: &drops, Pressure: map[string]float64{"cpu": 0.125, "io": 0},
			TTFTError: &own.P99, ITLError: &own.P50, Canary: &results.Canary{Requests: 16, Events: 80, TTFT: own, ITL: own},
		},
		Audit: []results.Check{
			{Name: "output tokens: replies and server", State: results.Passed, Detail: "in replies 472, at the server 472 (+0, tolerance 0.5 %)"},
			{Name: "TTFT: client and server", State: results.NotCheckable, Detail: "the server has no such counter"},
		},
		Settings: results.Settings{
			Backend: "openai", Endpoint: "/v1/completions", ModelID: "org/m-7b", Tokenizer: "llama3", NumPrompts: 120, Date: "20260102-030405",
			RequestRate: 100, Burstiness: 1, MaxConcurrency: 64, Metrics: []string{"ttft", "tpot", "itl"}, Percentiles: []float64{99},
			Goodput: []results.Objective{{Metric: "ttft", MS: 110}},
			Bounds:  []string{"p99 ttft <= 120ms", "goodput >= 99%", "failures <= 5", "output_throughput >= 200"},
		},
	}
	var recs []*results.Record
	for i := range 120 {
		due := zero.Add(time.Duration(i) * 10 * ms)
		r := &results.Record{
			ID: i, Kind: results.Load, RequestID: "r", InputTokens: 100, AskedTokens: 4, Due: due, Released: due.Add(20 * time.Microsecond),
			Dispatched: due.Add(ms), Reply: results.Reply{WriteBegan: due.Add(ms), Written: due.Add(ms + 50*time.Microsecond), OutputTokens: -1, Status: 200},
		}
		switch i {
		case 50:
			r.Done, r.Status, r.Failure = due.Add(5*ms), 429, &results.Failure{Class: results.FailStatus, Message: "too many\nrequests | <b>"}
		case 51:
			r.Status, r.Failure = 0, &results.Failure{Class: results.FailConnect, Message: "connection refused"}
		default:
			at := r.Written.Add(100*ms + time.Duration(i)*100*time.Microsecond)
			r.Headers = r.Written.Add(2 * ms)
			for range 4 {
				r.Chunks = append(r.Chunks, results.Chunk{At: at, Lag: 30 * time.Microsecond, Tokens: 1, Visible: true})
				at = at.Add(10 * ms)
			}
			r.Done, r.Finish, r.EndMarked = at, "length", true
			r.Usage = &results.Usage{Prompt: 101, Completion: 4, Cached: 64}
		}
		if change != nil {
			change(m, i, r)
		}
		recs = append(recs, r)
	}
	return m, recs
}

func sumUp(m *results.Manifest, recs []*results.Record) *summary.Summary {
	r := summary.NewRecorder(summary.ConfigOf(m))
	r.Add(&results.Record{Kind: results.Warmup})
	for _, rec := range recs {
		r.Add(rec)
	}
	return r.Summary(m, "", "")
}

func TestReports(t *testing.T) {
	clientBound := func(m *results.Manifest, i int, r *results.Record) {
		r.Released = r.Due.Add(30 * ms)
		r.Dispatched = r.Released
		m.Warnings = []string{"the disk is slow"}
	}
	pooling := func(m *results.Manifest, i int, r *results.Record) {
		m.Settings.Pooling, m.Settings.Backend, m.Settings.Metrics, m.Settings.Goodput = true, "openai-embeddings", []string{"e2el"}, nil
		m.Client, m.Stamps, m.Server, m.Prompts, m.Machine.CPU = nil, "user", results.Server{}, results.Prompts{}, ""
		r.Chunks, r.Sequences = nil, 2
		if r.Usage != nil {
			r.Usage.Completion, r.Usage.Cached = 0, -1
		}
	}
	failed := func(m *results.Manifest, i int, r *results.Record) {
		r.Chunks, r.Usage, r.Status, r.Written = nil, nil, 0, 0
		r.Failure = &results.Failure{Class: results.FailConnect, Message: "connection refused"}
	}
	// All streams stand still for 200 ms half a second into the load, and one of them by itself.
	stalled := func(m *results.Manifest, i int, r *results.Record) {
		m.HTTPVersion = "2"
		if !r.OK() {
			return
		}
		for len(r.Chunks) < 40 {
			r.Chunks = append(r.Chunks, results.Chunk{At: r.Chunks[len(r.Chunks)-1].At.Add(10 * ms), Tokens: 1, Visible: true})
		}
		for j := range r.Chunks {
			if r.Chunks[j].At >= m.Began.Add(500*ms) {
				r.Chunks[j].At = r.Chunks[j].At.Add(200 * ms)
			}
			if i == 80 && j >= 20 {
				r.Chunks[j].At = r.Chunks[j].At.Add(90 * ms)
			}
		}
		r.Done = r.Chunks[39].At
		r.Usage.Completion = 40
	}
	for _, tc := range []struct {
		name   string
		change func(*results.Manifest, int, *results.Record)
	}{{"sample", nil}, {"client-bound", clientBound}, {"pooling", pooling}, {"all-failed", failed}, {"stalled", stalled}} {
		m, recs := sample(tc.change)
		s := sumUp(m, recs)
		for format, file := range map[string]string{"text": ".txt", "json": ".json", "markdown": ".md", "csv": ".csv", "junit": ".junit.xml"} {
			t.Run(tc.name+file, func(t *testing.T) {
				var got bytes.Buffer
				if err := Write(&got, format, s, seqOf(recs)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", tc.name+file)
				if *update {
					if err := os.MkdirAll("testdata", 0o777); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, got.Bytes(), 0o666); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s differs; if that is right: go test ./results/report -update\n--- got\n%s--- want\n%s", path, got.Bytes(), want)
				}
			})
		}
	}
}

func TestReportOfASavedRunIsTheSame(t *testing.T) {
	m, recs := sample(nil)
	dir := t.TempDir()
	w, err := results.Create(dir, *m)
	if err != nil {
		t.Fatal(err)
	}
	r := summary.NewRecorder(summary.ConfigOf(m))
	for _, rec := range recs {
		r.Add(rec)
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	live := r.Summary(m, "", "")
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	saved, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats() {
		var a, b bytes.Buffer
		if err := Write(&a, format, live, seqOf(recs)); err != nil {
			t.Fatal(err)
		}
		if err := Write(&b, format, saved, run.Records()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: live\n%s\nsaved\n%s", format, a.Bytes(), b.Bytes())
		}
	}
}

func TestIncompleteRunSaysSoFirst(t *testing.T) {
	m, recs := sample(nil)
	s := sumUp(m, recs)
	s.Complete, s.Why = false, "cut short"
	s.Warnings = append([]string{s.Why}, s.Warnings...)
	var out bytes.Buffer
	if err := Text(&out, s, Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "WARNING: cut short\n") || strings.Count(out.String(), "cut short") != 1 {
		t.Errorf("report begins\n%.300s", out.String())
	}
	out.Reset()
	if err := Text(&out, s, Options{Bare: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "Failed requests during") || strings.Contains(out.String(), "Verdict") {
		t.Errorf("the bare report is\n%s", out.String())
	}
}

func TestRunTooLongToKeepHasNoLists(t *testing.T) {
	m, recs := sample(nil)
	m.Settings.Detailed = true
	r := summary.NewRecorder(summary.Config{Limit: 1})
	for _, rec := range recs {
		r.Add(rec)
	}
	var result map[string]any
	if err := json.Unmarshal(VLLMJSON(r.Summary(m, "", "")), &result); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"latencies", "ttfts", "queue_times", "errors"} {
		if v, ok := result[key]; ok {
			t.Errorf("%s is %v", key, v)
		}
	}
	if result["completed"] != 118.0 || math.Abs(result["mean_ttft_ms"].(float64)-105.96) > 0.1 {
		t.Errorf("%v completed, TTFT %v", result["completed"], result["mean_ttft_ms"])
	}
}

func TestUnknownFormat(t *testing.T) {
	err := Write(&bytes.Buffer{}, "xml", nil, nil)
	if err == nil || err.Error() != `no report format "xml": have csv, json, junit, markdown, parquet, requests-csv, text, vllm, vllm-json` {
		t.Errorf("got %v", err)
	}
}

func seqOf(recs []*results.Record) Records {
	return func(yield func(*results.Record, error) bool) {
		for _, rec := range recs {
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func TestRequestsCSV(t *testing.T) {
	m, recs := sample(nil)
	var out bytes.Buffer
	if err := RequestsCSV(&out, sumUp(m, recs), seqOf(recs)); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 121 {
		t.Fatalf("%d rows, want 121", len(rows))
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, tc := range []struct {
		row        int
		name, want string
	}{
		{1, "ttft_ms", "100"}, {1, "e2el_ms", "130"}, {1, "tpot_ms", "10"}, {1, "lateness_ms", "0.02"}, {1, "input_tokens", "101"},
		{1, "output_tokens", "4"}, {1, "ok", "true"}, {1, "due_ns", "1700000000000000000"}, {51, "ok", "false"}, {51, "ttft_ms", ""},
		{51, "failure", "status"}, {51, "lateness_ms", "0.02"}, {51, "output_tokens", ""}, {51, "first_event_ns", ""}, {1, "server_ttft_ms", ""},
	} {
		if got := rows[tc.row][column[tc.name]]; got != tc.want {
			t.Errorf("row %d, %s: %q, want %q", tc.row, tc.name, got, tc.want)
		}
	}
}

func TestSaveAndAppend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "r.json")
	for _, step := range []struct {
		do   func(string, []byte) error
		text string
		want string
	}{
		{Append, "1", "1"}, {Append, "2", "1\n2"}, {Save, "3", "3"}, {Append, "4", "3\n4"}, {Save, "", ""}, {Append, "5", "5"},
	} {
		if err := step.do(file, []byte(step.text)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(file); string(got) != step.want {
			t.Errorf("after %q: %q, want %q", step.text, got, step.want)
		}
	}
	below := filepath.Join(file, "x.json")
	if err := Append(below, nil); err == nil || !strings.Contains(err.Error(), "result file") {
		t.Errorf("below a file: %v", err)
	}
	if err := Save(below, nil); err == nil || !strings.Contains(err.Error(), "result file") {
		t.Errorf("below a file: %v", err)
	}
}

func TestPyTorchJSON(t *testing.T) {
	m, recs := sample(nil)
	m.Settings.Burstiness = results.Number(math.Inf(1))
	m.Settings.Detailed = true
	m.Settings.Metadata = []results.Pair{{Key: "tensor_parallel_size", Value: "4"}, {Key: "compilation_config.mode", Value: "3"}}
	s := sumUp(m, recs)
	args := []Arg{{"num_prompts", json.RawMessage("120")}, {"header", json.RawMessage(`{"a":"***"}`)}, {"tensor_parallel_size", json.RawMessage("null")}}
	b, err := PyTorchJSON(s, args, "org/m-7b", "dir/run-eager.json")
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"benchmark": {"name": "vLLM benchmark", "extra_info": {"args": {"num_prompts": 120, "header": {"a": "***"}, "tensor_parallel_size": "4"}, ` +
		`"compilation_config.mode": "3", "optimization_level": "", "use_compile": false}}, "model": {"name": "org/m-7b"}, ` +
		`"metric": {"name": "median_ttft_ms", "benchmark_values": [106.05`
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("begins\n%.*s\nwant\n%s", len(want), b, want)
	}
	var records []struct {
		Metric struct {
			Name   string         `json:"name"`
			Values []float64      `json:"benchmark_values"`
			Extra  map[string]any `json:"extra_info"`
		} `json:"metric"`
	}
	if err := json.Unmarshal(b, &records); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range records {
		names = append(names, r.Metric.Name)
		for _, key := range append([]string{"ttfts", "itls", "generated_texts", "errors"}, pytorchMetrics...) {
			if _, ok := r.Metric.Extra[key]; ok {
				t.Errorf("%s carries %s", r.Metric.Name, key)
			}
		}
		if r.Metric.Extra["burstiness"] != "inf" || r.Metric.Extra["completed"] != 118.0 {
			t.Errorf("%s: extra %v", r.Metric.Name, r.Metric.Extra)
		}
	}
	if got := strings.Join(names, " "); got != strings.Join(pytorchMetrics, " ") {
		t.Errorf("metrics %s", got)
	}
	m.Settings.Metrics = []string{"e2el"}
	if b, err := PyTorchJSON(sumUp(m, recs), nil, "m", "f"); b != nil || err != nil {
		t.Errorf("without a metric: %s, %v", b, err)
	}
	m.Settings.Metrics = []string{"itl"}
	if b, err := PyTorchJSON(sumUp(m, recs), nil, "m", "f"); err != nil || bytes.Count(b, []byte("benchmark_values")) != 4 || !bytes.Contains(b, []byte(`"use_compile": true`)) {
		t.Errorf("ITL alone: %.300s, %v", b, err)
	}
}

// full is a writer with no room left.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.room {
		return 0, os.ErrClosed
	}
	f.room -= len(b)
	return len(b), nil
}

func TestWritersReportTheirErrors(t *testing.T) {
	m, recs := sample(nil)
	s := sumUp(m, recs)
	for _, format := range Formats() {
		for _, room := range []int{0, 100, 400} {
			if err := Write(&full{room}, format, s, seqOf(recs)); err == nil {
				t.Errorf("%s with room for %d bytes: no error", format, room)
			}
		}
	}
	if err := Traffic(&full{}, &m.Settings); err == nil {
		t.Error("traffic: no error")
	}
}
