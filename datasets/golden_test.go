package datasets_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
	"servebench/loadgen/schedule"
)

// goldenRoot is the folder of recordings of the real client: $SERVEBENCH_GOLDEN, else the
// project's own.
func goldenRoot() string {
	if root := os.Getenv("SERVEBENCH_GOLDEN"); root != "" {
		return root
	}
	return filepath.Join("..", "testdata", "golden")
}

// A goldenCase is one command line of the real client and the samples it made.
type goldenCase struct {
	Name     string
	Argv     []string
	Requests []struct {
		Prompt    json.RawMessage
		PromptLen int             `json:"prompt_len"`
		OutputLen int             `json:"expected_output_len"`
		RequestID *string         `json:"request_id"`
		Timestamp *float64        `json:"timestamp"`
		Media     json.RawMessage `json:"multi_modal_data"`
	}
	Mismatches []int        `json:"token_mismatch"`
	Offsets    [][2]any     `json:"offsets"`
	Media      []goldenItem `json:"media_in_order"`
	SelfTimed  bool         `json:"self_timed"`
	Error      *struct{ Type, Starts string }
}

type goldenItem struct {
	Kind                  string
	Height, Width, Frames int
	SHA256                string `json:"sha256"`
}

// flags is a command line as far as these tests need it: the last value of each flag.
type flags map[string]string

var switches = map[string]bool{
	"no-stream": true, "no-oversample": true, "disable-shuffle": true, "skip-chat-template": true,
	"enable-multimodal-chat": true, "no-reranker": true, "no-self-timed": true, "self-timed": true,
	"skip-tokenizer-init": true, "custom-ensure-client-side-data": true,
}

func parseFlags(t *testing.T, argv []string) flags {
	t.Helper()
	f := flags{}
	for i := 0; i < len(argv); i++ {
		name, ok := strings.CutPrefix(argv[i], "--")
		if !ok {
			t.Fatalf("argument %q is no flag", argv[i])
		}
		name, value, inline := strings.Cut(name, "=")
		name = strings.ReplaceAll(name, "_", "-")
		switch {
		case inline:
		case switches[name]:
			value = "true"
		default:
			i++
			value = argv[i]
		}
		f[name] = value
	}
	return f
}

func (f flags) text(name, usual string) string {
	if v, ok := f[name]; ok {
		return v
	}
	return usual
}

func (f flags) int(t *testing.T, name string, usual int) int {
	t.Helper()
	v, ok := f[name]
	if !ok {
		return usual
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("--%s: %v", name, err)
	}
	return n
}

func (f flags) float(t *testing.T, name string, usual float64) float64 {
	t.Helper()
	v, ok := f[name]
	if !ok {
		return usual
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		t.Fatalf("--%s: %v", name, err)
	}
	return n
}

// optional is a flag without a usual value: -1 when it is absent.
func (f flags) optional(t *testing.T, name string) *int {
	t.Helper()
	if _, ok := f[name]; !ok {
		return nil
	}
	n := f.int(t, name, 0)
	return &n
}

// source builds the source that a command line asks for.
func (f flags) source(t *testing.T) (datasets.Source, error) {
	t.Helper()
	name := f.text("dataset-name", "random")
	src, err := datasets.New(name)
	if err != nil {
		return nil, err
	}
	// --input-len and --output-len set the flags of the sources.
	if v, ok := f["input-len"]; ok {
		f["random-input-len"] = v
	}
	if v, ok := f["output-len"]; ok {
		for _, to := range []string{"random", "sharegpt", "custom", "hf", "spec-bench", "prefix-repetition"} {
			f[to+"-output-len"] = v
		}
	}
	switch s := src.(type) {
	case *datasets.Random:
		s.InputLen = f.int(t, "random-input-len", s.InputLen)
		s.OutputLen = f.int(t, "random-output-len", s.OutputLen)
		s.PrefixLen = f.int(t, "random-prefix-len", 0)
		s.BatchSize = f.int(t, "random-batch-size", 1)
		s.InputRange, s.OutputRange, err = datasets.ParseRangeRatio(f.text("random-range-ratio", "0.0"))
	case *datasets.RandomRerank:
		s.InputLen = f.int(t, "random-input-len", s.InputLen)
		s.BatchSize = f.int(t, "random-batch-size", 1)
		s.NoReranker = f["no-reranker"] != ""
		s.InputRange, _, err = datasets.ParseRangeRatio(f.text("random-range-ratio", "0.0"))
	case *datasets.PrefixRepetition:
		s.PrefixLen = f.int(t, "prefix-repetition-prefix-len", s.PrefixLen)
		s.SuffixLen = f.int(t, "prefix-repetition-suffix-len", s.SuffixLen)
		s.Prefixes = f.int(t, "prefix-repetition-num-prefixes", s.Prefixes)
		s.OutputLen = f.int(t, "prefix-repetition-output-len", s.OutputLen)
	case *datasets.ShareGPT:
		s.Path, s.OutputLen = f["dataset-path"], f.optional(t, "sharegpt-output-len")
	case *datasets.BurstGPT:
		s.Path = f["dataset-path"]
	case *datasets.TimedTrace:
		s.Path = f["dataset-path"]
		s.ChunkSize = f.int(t, "timed-trace-chunk-hash-size", s.ChunkSize)
		s.Multiplier = f.float(t, "timed-trace-sec-multiplier", s.Multiplier)
		s.TimestampKey = f.text("timed-trace-label-timestamp", s.TimestampKey)
		s.InputKey = f.text("timed-trace-label-input-length", s.InputKey)
		s.OutputKey = f.text("timed-trace-label-output-length", s.OutputKey)
		s.HashesKey = f.text("timed-trace-label-hash-ids", s.HashesKey)
	case *datasets.Custom:
		s.Path, s.OutputLen = f["dataset-path"], f.int(t, "custom-output-len", s.OutputLen)
	case *datasets.CustomImage:
		s.Path, s.OutputLen = f["dataset-path"], f.int(t, "custom-output-len", s.OutputLen)
	case *datasets.RandomMM:
		s.InputLen = f.int(t, "random-input-len", s.InputLen)
		s.OutputLen = f.int(t, "random-output-len", s.OutputLen)
		s.PrefixLen = f.int(t, "random-prefix-len", 0)
		if s.InputRange, s.OutputRange, err = datasets.ParseRangeRatio(f.text("random-range-ratio", "0.0")); err != nil {
			return nil, err
		}
		s.Items = f.int(t, "random-mm-base-items-per-request", s.Items)
		s.ItemsRange = f.float(t, "random-mm-num-mm-items-range-ratio", 0)
		if v, ok := f["random-mm-limit-mm-per-prompt"]; ok {
			s.Limits = nil
			if err := json.Unmarshal([]byte(v), &s.Limits); err != nil {
				t.Fatal(err)
			}
		}
		if v, ok := f["random-mm-bucket-config"]; ok {
			if s.Buckets, err = datasets.ParseBuckets(v); err != nil {
				t.Fatal(err)
			}
		}
	case *datasets.HF:
		s.Path, s.Name, s.Subset, s.Split = f["dataset-path"], f["hf-name"], f["hf-subset"], f["hf-split"]
		s.OutputLen, s.NoStream = f.optional(t, "hf-output-len"), f["no-stream"] != ""
		s.MinDistance, s.MaxDistance = f.float(t, "blazedit-min-distance", 0), f.float(t, "blazedit-max-distance", 1)
	case *datasets.SpecBench:
		s.Path, s.OutputLen = f["dataset-path"], f.int(t, "spec-bench-output-len", s.OutputLen)
		s.Category = f["spec-bench-category"]
	case *datasets.SpeedBench:
		s.Path, s.OutputLen = f["dataset-path"], f.int(t, "speed-bench-output-len", s.OutputLen)
		s.Category = f["speed-bench-category"]
		s.Subset = f.text("speed-bench-dataset-subset", s.Subset)
	default:
		t.Fatalf("the tests do not know the flags of %s", name)
	}
	return src, err
}

func (f flags) options(t *testing.T) datasets.Options {
	t.Helper()
	o := datasets.Options{
		Requests:     f.int(t, "num-prompts", 1000),
		Seed:         uint32(f.int(t, "seed", 0)),
		IDPrefix:     f["request-id-prefix"],
		NoOversample: f["no-oversample"] != "",
		KeepOrder:    f["disable-shuffle"] != "",
		Chat:         f["enable-multimodal-chat"] != "",
		SkipTemplate: f["skip-chat-template"] != "",
		Compat:       true,
	}
	if args, ok := f["chat-template-kwargs"]; ok {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(args), &m); err != nil {
			t.Fatal(err)
		}
		for key, value := range m {
			o.TemplateArgs = append(o.TemplateArgs, datasets.Member{Key: key, Value: value})
		}
	}
	if f["skip-tokenizer-init"] == "" {
		tok, err := tokenizer.Load(filepath.Join(goldenRoot(), f["tokenizer"]))
		if err != nil {
			t.Fatal(err)
		}
		o.Tokenizer = tok
	}
	return o
}

func eachGolden(t *testing.T, file string, f func(t *testing.T, c goldenCase)) {
	t.Helper()
	data, err := os.Open(filepath.Join(goldenRoot(), "datasets", file))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	scanner := bufio.NewScanner(data)
	scanner.Buffer(nil, 1<<26)
	n := 0
	for scanner.Scan() {
		n++
		var c goldenCase
		decoder := json.NewDecoder(bytes.NewReader(scanner.Bytes()))
		if err := decoder.Decode(&c); err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		t.Run(c.Name, func(t *testing.T) { f(t, c) })
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("%s is empty", file)
	}
}

func load(t *testing.T, f flags) (*datasets.Set, error) {
	t.Helper()
	src, err := f.source(t)
	if err != nil {
		return nil, err
	}
	if err := datasets.CheckBackend(src, f.text("backend", "openai")); err != nil {
		return nil, err
	}
	return datasets.Load(t.Context(), src, f.options(t))
}

// promptJSON is a prompt as vLLM's client holds it.
func promptJSON(t *testing.T, p datasets.Prompt) json.RawMessage {
	t.Helper()
	var v any = p.Text
	switch {
	case p.JSON != nil:
		return p.JSON
	case p.IDs != nil:
		v = p.IDs
	case p.List != nil:
		v = p.List
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sameJSON(t *testing.T, got, want json.RawMessage) bool {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	return reflect.DeepEqual(g, w)
}

// mediaJSON is media as vLLM's client holds them, with the data of data URLs left out.
func mediaJSON(media []datasets.Media) string {
	var items []string
	for _, m := range media {
		items = append(items, cutData(string(m.JSON)))
	}
	return "[" + strings.Join(items, ",") + "]"
}

func cutData(s string) string {
	for from := 0; ; {
		i := strings.Index(s[from:], ";base64,")
		if i < 0 {
			return s
		}
		start := from + i + len(";base64,")
		end := start + strings.IndexByte(s[start:], '"')
		if end-start > 100 { // those of the files are short, and kept
			s = s[:start] + "..." + s[end:]
		}
		from = start
	}
}

func checkGolden(t *testing.T, c goldenCase) {
	f := parseFlags(t, c.Argv)
	if path, ok := f["dataset-path"]; ok && strings.HasPrefix(path, "datasets/files/") {
		f["dataset-path"] = filepath.Join(goldenRoot(), path)
	}
	set, err := load(t, f)
	if c.Error != nil {
		if err == nil {
			t.Fatalf("accepted, where vLLM says %s", c.Error.Starts)
		}
		want, ok := refusals[c.Error.Starts]
		if !ok && os.Getenv("SERVEBENCH_GOLDEN") == "" {
			t.Errorf("no words of ours for %q", c.Error.Starts)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %q, where vLLM says %q", err, c.Error.Starts)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != len(c.Requests) {
		t.Fatalf("%d samples, want %d", set.Len(), len(c.Requests))
	}
	for i, want := range c.Requests {
		got := set.At(i)
		if prompt := json.RawMessage(cutData(string(promptJSON(t, got.Prompt)))); !sameJSON(t, prompt, want.Prompt) {
			t.Errorf("prompt %d\ngot  %s\nwant %s", i, prompt, want.Prompt)
		}
		if got.InputTokens != want.PromptLen || got.OutputTokens != want.OutputLen {
			t.Errorf("lengths %d: got %d and %d, want %d and %d", i, got.InputTokens, got.OutputTokens, want.PromptLen, want.OutputLen)
		}
		id := ""
		if want.RequestID != nil {
			id = *want.RequestID
		}
		if got.ID != id {
			t.Errorf("id %d: got %q, want %q", i, got.ID, id)
		}
		if got.Timed != (want.Timestamp != nil) || got.Timed && got.Timestamp != *want.Timestamp {
			t.Errorf("time stamp %d: got %v, %t, want %v", i, got.Timestamp, got.Timed, want.Timestamp)
		}
		media := want.Media
		if len(media) == 0 || string(media) == "null" {
			media = json.RawMessage("[]")
		}
		if media[0] != '[' {
			media = json.RawMessage("[" + string(media) + "]")
		}
		if got := json.RawMessage(mediaJSON(got.Media)); !sameJSON(t, got, media) {
			t.Errorf("media %d\ngot  %s\nwant %s", i, got, media)
		}
	}
	if got, want := fmt.Sprint(set.Mismatches), fmt.Sprint(c.Mismatches); got != want && len(set.Mismatches)+len(c.Mismatches) > 0 {
		t.Errorf("token mismatches: got %s, want %s", got, want)
	}
	checkOffsets(t, c, f, set)
}

func checkOffsets(t *testing.T, c goldenCase, f flags, set *datasets.Set) {
	if c.Offsets == nil {
		return
	}
	var want, rates []float64
	for _, o := range c.Offsets {
		want = append(want, o[0].(float64))
		rate, ok := o[1].(float64)
		if !ok {
			rate = math.Inf(1)
		}
		rates = append(rates, rate)
	}
	var got []float64
	if c.SelfTimed {
		for i := range set.Len() {
			got = append(got, max(0, set.At(i).Timestamp))
		}
	} else {
		v := schedule.VLLM{Rate: f.float(t, "request-rate", math.Inf(1)), Burstiness: f.float(t, "burstiness", 1)}
		var err error
		if got, err = v.Offsets(set.Len(), set.Legacy); err != nil {
			t.Fatal(err)
		}
		if r := v.Rates(set.Len()); !reflect.DeepEqual(r, rates) {
			t.Errorf("rates: got %v, want %v", r, rates)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("offsets\ngot  %v\nwant %v", got, want)
	}
}

// refusals are our words where vLLM refuses with those on the left; of other sets, that we refuse too is enough.
var refusals = map[string]string{
	"--random-input-len is too small: with tokenizer special tokens 1 and i": "is too small: with 1 special tokens",
	"If no output length is provided the custom dataset must contain an 'ou": `no "output_tokens": every row needs it`,
	"text input must be of type `str` (single example), `list[str]` (batch ": "custom_odd.jsonl:1: the prompt is a number",
	"Only JSONL format is supported for CustomDataset.":                      "sharegpt.json: the custom sources read JSON Lines only: give a .jsonl file",
	"num_requests (2) must be greater than or equal to num_prefixes (3)":     "2 requests are fewer than 3 prefixes",
	"Input length field 'input_length' not found in trace entry. Available ": `trace_labels.jsonl:1: no "input_length": have ts, in, out, h; label_input_length names the key`,
	"timed_trace dataset passes pre-tokenized prompts (list[int]) and requi": "backend openai-chat does not send: use vllm or openai",
	"Unsupported dataset path: someone/else. Huggingface dataset only suppo": "no dataset someone/else",
	"dataset_path datasets/files/spec_bench.jsonl is not a directory. Pleas": "spec_bench.jsonl: not a folder: speed_bench wants the folder that holds qualitative.jsonl",
	"When range_ratio is a dict it must contain 'input' and 'output' keys, ": "the object must have both keys, input and output",
}

func TestGoldenRandom(t *testing.T) { eachGolden(t, "random.jsonl", checkGolden) }

func TestGoldenCustomImage(t *testing.T)      { eachGolden(t, "custom_image.jsonl", checkGolden) }
func TestGoldenHF(t *testing.T)               { eachGolden(t, "hf.jsonl", checkGolden) }
func TestGoldenRandomRerank(t *testing.T)     { eachGolden(t, "random_rerank.jsonl", checkGolden) }
func TestGoldenPrefixRepetition(t *testing.T) { eachGolden(t, "prefix_repetition.jsonl", checkGolden) }
func TestGoldenShareGPT(t *testing.T)         { eachGolden(t, "sharegpt.jsonl", checkGolden) }
func TestGoldenBurstGPT(t *testing.T)         { eachGolden(t, "burstgpt.jsonl", checkGolden) }
func TestGoldenTimedTrace(t *testing.T)       { eachGolden(t, "timed_trace.jsonl", checkGolden) }
func TestGoldenCustom(t *testing.T)           { eachGolden(t, "custom.jsonl", checkGolden) }
func TestGoldenSpecBench(t *testing.T)        { eachGolden(t, "spec_bench.jsonl", checkGolden) }
func TestGoldenSpeedBench(t *testing.T)       { eachGolden(t, "speed_bench.jsonl", checkGolden) }

func TestGoldenRandomMM(t *testing.T) {
	eachGolden(t, "random_mm.jsonl", func(t *testing.T, c goldenCase) {
		checkGolden(t, c)
		if c.Error != nil {
			return
		}
		f := parseFlags(t, c.Argv)
		src, err := f.source(t)
		if err != nil {
			t.Fatal(err)
		}
		var got []goldenItem
		src.(*datasets.RandomMM).OnPixels(func(b datasets.Bucket, rgb []byte) {
			item := goldenItem{Kind: "image", Height: b.Height, Width: b.Width, SHA256: fmt.Sprintf("%x", sha256.Sum256(rgb))}
			if b.Frames > 1 {
				item.Kind, item.Frames = "video", b.Frames
			}
			got = append(got, item)
		})
		o := f.options(t)
		o.Workers = 1
		if _, err := datasets.Load(t.Context(), src, o); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, c.Media) {
			t.Errorf("pixels\ngot  %v\nwant %v", got, c.Media)
		}
	})
}
