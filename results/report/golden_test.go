package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servebench/results"
	"servebench/results/summary"
)

// golden is the folder of recorded cases. Other sets of the same form can be run by naming theirs.
func golden(t *testing.T, parts ...string) string {
	t.Helper()
	dir := os.Getenv("SERVEBENCH_GOLDEN")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "golden")
	}
	return filepath.Join(append([]string{dir}, parts...)...)
}

func goldenLines(t *testing.T, parts ...string) [][]byte {
	t.Helper()
	f, err := os.Open(golden(t, parts...))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines [][]byte
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		lines = append(lines, bytes.Clone(scan.Bytes()))
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// flags is a command line cut into flags and their values.
type flags map[string][]string

func parseArgs(argv []string) flags {
	f := flags{}
	name := ""
	for _, word := range argv {
		if strings.HasPrefix(word, "--") {
			var value string
			var ok bool
			name, value, ok = strings.Cut(word, "=")
			f[name] = nil
			if ok {
				f[name] = []string{value}
			}
			continue
		}
		f[name] = append(f[name], word)
	}
	return f
}

func (f flags) has(name string) bool { _, ok := f[name]; return ok }

func (f flags) str(name, usual string) string {
	if len(f[name]) == 0 {
		return usual
	}
	return f[name][0]
}

func (f flags) float(name string, usual float64) float64 {
	v, err := strconv.ParseFloat(f.str(name, ""), 64)
	if err != nil {
		return usual
	}
	return v
}

func (f flags) int(name string, usual int) int { return int(f.float(name, float64(usual))) }

// settings are what the flags mean to a report.
func (f flags) settings() (results.Settings, error) {
	s := results.Settings{
		Backend: f.str("--backend", "openai"), ModelID: f.str("--model", ""), Label: f.str("--label", ""),
		NumPrompts: f.int("--num-prompts", 1000), Date: "20260102-030405", Detailed: f.has("--save-detailed"),
		RequestRate: results.Number(f.float("--request-rate", math.Inf(1))), Burstiness: results.Number(f.float("--burstiness", 1)),
		MaxConcurrency: f.int("--max-concurrency", 0), ProbeRate: f.float("--probe-request-rate", 0),
	}
	s.Pooling = strings.Contains(s.Backend, "embeddings") || strings.Contains(s.Backend, "pooling") || strings.Contains(s.Backend, "rerank")
	if !f.has("--skip-tokenizer-init") {
		s.Tokenizer = f.str("--tokenizer", s.ModelID)
	}
	if f.has("--ramp-up-strategy") {
		s.RampUp = &results.RampUp{Strategy: f.str("--ramp-up-strategy", ""), StartRPS: f.int("--ramp-up-start-rps", 0), EndRPS: f.int("--ramp-up-end-rps", 0)}
	}
	for _, pair := range f["--metadata"] {
		key, value, _ := strings.Cut(pair, "=")
		s.Metadata = append(s.Metadata, results.Pair{Key: key, Value: value})
	}
	for _, pair := range f["--goodput"] {
		name, value, _ := strings.Cut(pair, ":")
		bound, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return s, err
		}
		s.Goodput = append(s.Goodput, results.Objective{Metric: name, MS: bound})
	}
	usual := "ttft,tpot,itl"
	if s.Pooling {
		usual = "e2el"
	}
	s.Metrics = strings.Split(f.str("--percentile-metrics", usual), ",")
	for _, word := range strings.Split(f.str("--metric-percentiles", "99"), ",") {
		p, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
		if err != nil {
			return s, fmt.Errorf("could not convert string to float: '%s'", word)
		}
		if p < 0 || p > 100 {
			return s, fmt.Errorf("Percentiles must be in the range [0, 100]") //nolint:staticcheck // vLLM's words
		}
		s.Percentiles = append(s.Percentiles, p)
	}
	return s, nil
}

type goldenOutput struct {
	Text       string    `json:"generated_text"`
	Success    bool      `json:"success"`
	Latency    float64   `json:"latency"`
	Tokens     *int      `json:"output_tokens"`
	TTFT       float64   `json:"ttft"`
	ITL        []float64 `json:"itl"`
	PromptLen  int       `json:"prompt_len"`
	Start      float64   `json:"start_time"`
	Error      string    `json:"error"`
	Queue      *float64  `json:"server_queue_time"`
	ServerTTFT *float64  `json:"server_ttft"`
	Sequences  *int      `json:"num_input_sequences"`
	Audio      float64   `json:"input_audio_duration"`
}

type goldenCase struct {
	Name          string         `json:"name"`
	Argv          []string       `json:"argv"`
	Duration      float64        `json:"duration"`
	DispatchTimes []float64      `json:"dispatch_times"`
	Outputs       []goldenOutput `json:"outputs"`
	PromptLens    []int          `json:"prompt_lens"`
	Probes        []goldenOutput `json:"probes"`
	ServerMetrics []string       `json:"server_metrics"`
	Stdout        string         `json:"stdout"`
	File          string         `json:"result_file"`
	JSON          string         `json:"result_json"`
	Error         *struct {
		Starts string `json:"starts"`
	} `json:"error"`
}

func (c *goldenCase) summary(set results.Settings, count func(string) int) *summary.Summary {
	var outputs []summary.Output
	for i, o := range c.Outputs {
		out := summary.Output{
			Success: o.Success, PromptLen: o.PromptLen, TTFT: o.TTFT, Latency: o.Latency, ITL: o.ITL, Start: o.Start,
			QueueTime: o.Start - c.DispatchTimes[i], Text: o.Text, Error: o.Error,
			ServerQueue: o.Queue, ServerTTFT: o.ServerTTFT, Sequences: 1, AudioSeconds: o.Audio,
		}
		if o.Tokens != nil {
			out.OutputTokens = *o.Tokens
		}
		if o.Sequences != nil {
			out.Sequences = *o.Sequences
		}
		outputs = append(outputs, out)
	}
	m := &results.Manifest{Settings: set}
	s := &summary.Summary{Manifest: m, Complete: true, Outputs: outputs}
	s.VLLM = summary.SumUp(outputs, summary.VLLMOptions{
		Duration: c.Duration, Pooling: set.Pooling, CountTokens: count, Percentiles: set.Percentiles, Goodput: set.Goodput,
	})
	var latencies []float64
	failed := 0
	for _, p := range c.Probes {
		if p.Success {
			latencies = append(latencies, p.Latency)
		} else {
			failed++
		}
	}
	s.Probes = summary.SumUpProbes(latencies, failed)
	if n := len(c.ServerMetrics); n > 0 {
		read := func(i int) string { return c.ServerMetrics[min(i, n-1)] }
		s.Spec = summary.SpecDecoding(read(0), read(2))
		s.Diffusion = summary.DiffusionDecoding(read(1), read(3), c.Duration)
	}
	if r := set.RampUp; r != nil {
		for rps := r.StartRPS; rps <= r.EndRPS; rps++ {
			m.RateChanges = append(m.RateChanges, results.RateChange{RPS: rps, Timestamp: "2026-01-02T03:04:05.678901"})
		}
	}
	return s
}

// stdout is what vLLM prints around its table; the lines before the load and the tip are not the table's.
func stdout(w io.Writer, s *summary.Summary) error {
	fmt.Fprint(w, "Starting initial single prompt test run...\nSkipping endpoint ready check.\nStarting main benchmark run...\n")
	if err := Traffic(w, &s.Manifest.Settings); err != nil {
		return err
	}
	if err := Failures(w, s); err != nil {
		return err
	}
	if !s.Manifest.Settings.Pooling && s.VLLM.Completed > 0 {
		fmt.Fprintln(w, "tip: install termplotlib and gnuplot to plot the metrics")
	}
	return VLLMTable(w, s)
}

func TestGoldenMetrics(t *testing.T) {
	for _, line := range goldenLines(t, "metrics", "cases.jsonl") {
		var c goldenCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		t.Run(c.Name, func(t *testing.T) {
			args := parseArgs(c.Argv)
			set, err := args.settings()
			if c.Error != nil {
				if err == nil || !strings.HasPrefix(err.Error(), c.Error.Starts) {
					t.Fatalf("error is %v, want %q", err, c.Error.Starts)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := c.summary(set, counter(t, set.Tokenizer))
			var out bytes.Buffer
			if err := stdout(&out, s); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(c.Stdout, "\n"), strings.Split(out.String(), "\n")); diff != "" {
				t.Errorf("stdout (-vLLM +ours):\n%s", diff)
			}
			if got := string(VLLMJSON(s)); got != c.JSON {
				i := 0
				for i < min(len(got), len(c.JSON)) && got[i] == c.JSON[i] {
					i++
				}
				t.Errorf("result file differs at byte %d:\ngot  ...%.300s\nwant ...%.300s", i, got[max(i-80, 0):], c.JSON[max(i-80, 0):])
			}
			if got := ResultName(&set, "", args.str("--result-filename", ""), set.Date); got != c.File {
				t.Errorf("result file is named %q, want %q", got, c.File)
			}
		})
	}
}

func TestGoldenNamesOfResults(t *testing.T) {
	for i, line := range goldenLines(t, "names", "result_files.jsonl") {
		var c struct {
			Argv []string `json:"argv"`
			ID   string   `json:"model_id"`
			Date string   `json:"date"`
			File *string  `json:"file"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		t.Run(strconv.Itoa(i+1), func(t *testing.T) {
			args := parseArgs(c.Argv)
			set, err := args.settings()
			if err != nil {
				t.Fatal(err)
			}
			set.ModelID = c.ID
			wanted := slices.ContainsFunc([]string{"--save-result", "--append-result", "--plot-timeline"}, args.has)
			if wanted != (c.File != nil) {
				t.Fatalf("%q: a name is wanted: %t", c.Argv, wanted)
			}
			if !wanted {
				return
			}
			if got := ResultName(&set, args.str("--result-dir", ""), args.str("--result-filename", ""), c.Date); got != *c.File {
				t.Errorf("%q with %s: %q, want %q", c.Argv, c.ID, got, *c.File)
			}
		})
	}
}

func TestGoldenNamesOfCompanions(t *testing.T) {
	for _, line := range goldenLines(t, "names", "derived_files.jsonl") {
		var c struct{ File, Timeline, Stats, PyTorch string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		t.Run(strings.ReplaceAll(c.File, "/", "_"), func(t *testing.T) {
			if got := [3]string{TimelineName(c.File), DatasetStatsName(c.File), PyTorchName(c.File)}; got != [3]string{c.Timeline, c.Stats, c.PyTorch} {
				t.Errorf("%q gives %q, want %q, %q, %q", c.File, got, c.Timeline, c.Stats, c.PyTorch)
			}
		})
	}
}
