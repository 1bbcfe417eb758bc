package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
)

// goldenLines are the lines of a file of recordings of the original.
func goldenLines(t *testing.T, parts ...string) []string {
	t.Helper()
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	path := filepath.Join(append([]string{root}, parts...)...)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []string
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		if strings.TrimSpace(scanner.Text()) != "" {
			lines = append(lines, scanner.Text())
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	if len(lines) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return lines
}

// plainJSON is a value the way the recordings spell it: infinities and NaN as text, tuple keys as text.
func plainJSON(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return argparse.FloatRepr(v)
		}
	case int:
		return float64(v)
	case []string:
		list := []any{}
		for _, s := range v {
			list = append(list, s)
		}
		return list
	case []any:
		list := []any{}
		for _, e := range v {
			list = append(list, plainJSON(e))
		}
		return list
	case *argparse.Dict:
		object := map[string]any{}
		for key, e := range v.All() {
			object[argparse.Str(key)] = plainJSON(e)
		}
		return object
	}
	return value
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGoldenCLIFlags(t *testing.T) {
	type row struct {
		Group   string   `json:"group"`
		Flags   []string `json:"flags"`
		Dest    string   `json:"dest"`
		Action  string   `json:"action"`
		Nargs   any      `json:"nargs"`
		Type    any      `json:"type"`
		Default any      `json:"default"`
		Choices []string `json:"choices"`
	}
	ours := map[string]row{}
	for _, o := range benchCommandParser().Options {
		if o.Extension {
			continue
		}
		r := row{Group: o.Group, Flags: o.Names(), Dest: o.Dest(), Choices: o.Choices, Default: plainJSON(o.Default)}
		switch o.Action {
		case argparse.StoreTrue:
			r.Action, r.Nargs = "StoreTrueAction", 0.0
		case argparse.OnOff:
			r.Action, r.Nargs = "EnableDisableAction", 0.0
		default:
			r.Action = "StoreAction"
			switch o.Nargs {
			case argparse.ZeroOrMore:
				r.Nargs = "*"
			case argparse.OneOrMore:
				r.Nargs = "+"
			default:
				r.Type = map[argparse.Type]string{argparse.String: "str", argparse.Int: "int", argparse.Float: "float", argparse.JSON: "loads", argparse.Custom: o.TypeName}[o.Type]
			}
		}
		ours[r.Dest] = r
	}
	lines := goldenLines(t, "cli", "flags.jsonl")
	for _, line := range lines {
		var want row
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		t.Run(want.Dest, func(t *testing.T) {
			got, ok := ours[want.Dest]
			if !ok {
				t.Fatal("no such flag")
			}
			if want.Dest == "request_id_prefix" {
				if !regexp.MustCompile(`^bench-[0-9a-f]{8}-$`).MatchString(got.Default.(string)) {
					t.Errorf("default %q, want bench-<8 hex digits>-", got.Default)
				}
				got.Default = want.Default
			}
			if g, w := asJSON(t, got), asJSON(t, want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
	if len(ours) != len(lines) {
		t.Errorf("%d flags, want %d", len(ours), len(lines))
	}
}

// betterThanTheOriginal are the recorded command lines that mean something else without --compat
// vllm: what they come to then.
var betterThanTheOriginal = map[string]string{
	"--extra-body {\"a\": 1} --extra-body.b 2": `changed {"extra_body":{"a":1,"b":2}}`,
	"--presence-penalty -1.5":                  `changed {"presence_penalty":-1.5}`,
	"--presence-penalty -1.5 --seed 3":         `changed {"presence_penalty":-1.5,"seed":3}`,
	"--extra-body.a":                           "error argument --extra-body.a: expected one argument",
	"-O3":                                      "error unrecognized arguments: -O3",
	"-O 2":                                     "error unrecognized arguments: -O 2",
	"--seed.x 3": "error argument --seed: takes no keys in '--seed.x': only the JSON options do " +
		"(--random-mm-limit-mm-per-prompt, --chat-template-kwargs, --extra-body)",
}

func TestGoldenCLIParse(t *testing.T) {
	for i, line := range goldenLines(t, "cli", "parse.jsonl") {
		var want struct {
			Argv      []string       `json:"argv"`
			Changed   map[string]any `json:"changed"`
			Exit      int            `json:"exit"`
			ErrorEnds string         `json:"error_ends"`
			Raises    string         `json:"raises"`
			Starts    string         `json:"starts"`
		}
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		name := strings.Join(want.Argv, " ")
		t.Run(fmt.Sprintf("%03d %s", i+1, name), func(t *testing.T) {
			expected := "changed " + asJSON(t, want.Changed)
			switch {
			case want.Raises != "":
				expected = "raises " + want.Raises + " " + want.Starts
			case want.Exit != 0:
				expected = "error " + want.ErrorEnds
			}
			for _, strict := range []bool{true, false} {
				p := benchCommandParser()
				p.Strict = strict
				expected := expected
				if better, ok := betterThanTheOriginal[name]; ok && !strict {
					expected = better
				}
				if !strict && os.Getenv("SERVEBENCH_GOLDEN") != "" {
					continue // of another set, nobody wrote down what is better
				}
				got := outcome(t, p, want.Argv)
				// The recording cuts off the list of choices.
				if got != expected && !(strings.HasPrefix(expected, "error ") && strings.HasPrefix(got, expected)) {
					t.Errorf("strict %t\ngot  %s\nwant %s", strict, got, expected)
				}
			}
		})
	}
}

// outcome is what a command line comes to: the values that differ from their defaults, or the error.
func outcome(t *testing.T, p *argparse.Parser, argv []string) string {
	t.Helper()
	values, err := p.Parse(argv)
	if err != nil {
		var e *argparse.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		if e.Raises != "" {
			return "raises " + e.Raises + " " + e.Message
		}
		if e.Status() != 2 {
			t.Errorf("status %d, want 2", e.Status())
		}
		return "error " + e.Message
	}
	changed := map[string]any{}
	for v := range values.All() {
		if asJSON(t, plainJSON(v.Value)) != asJSON(t, plainJSON(v.Option.Default)) {
			changed[v.Option.Dest()] = plainJSON(v.Value)
		}
	}
	return "changed " + asJSON(t, changed)
}

// TestArgparseAgrees compares 500 odd command lines with what CPython's argparse and a rendering of the
// original's front end made of them: the values given, or the beginning of the error.
func TestArgparseAgrees(t *testing.T) {
	file, err := os.Open(filepath.Join("testdata", "argparse.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); lines++ {
		var argv []string
		var want string
		if err := json.Unmarshal(scanner.Bytes(), &[]any{&argv, &want}); err != nil {
			t.Fatal(err)
		}
		p := benchCommandParser()
		p.Strict = true
		values, err := p.Parse(argv)
		var parts []string
		if err != nil {
			parts = []string{"ERR", err.Error()}
		} else {
			for v := range values.All() {
				if v.By != argparse.Default && v.Value != nil {
					parts = append(parts, v.Option.Dest()+"="+argparse.Repr(v.Value))
				}
			}
		}
		if got := []rune(strings.Join(parts, " ")); string(got[:min(200, len(got))]) != want {
			t.Errorf("%q\ngot  %s\nwant %s", argv, string(got), want)
		}
	}
	if lines != 500 {
		t.Errorf("%d lines, want 500", lines)
	}
}

func TestGoldenCLINamespace(t *testing.T) {
	found := 0
	for _, line := range goldenLines(t, "wire", "cases.jsonl") {
		var c struct {
			Name   string   `json:"name"`
			Argv   []string `json:"argv"`
			Stdout string   `json:"stdout"`
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		for want := range strings.Lines(c.Stdout) {
			want = strings.TrimRight(want, "\n")
			if !strings.HasPrefix(want, "Namespace(") {
				continue
			}
			found++
			t.Run(c.Name, func(t *testing.T) {
				o, err := parseBench(c.Argv, benchEnv{})
				if err != nil {
					t.Fatal(err)
				}
				got := o.namespace(func(name string) string { return map[string]string{"VLLM_LOGGING_LEVEL": "ERROR"}[name] })
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
	if found == 0 {
		t.Error("no recording holds a namespace")
	}
}

func TestNamespaceHidesHeadersAndAddsOurFlags(t *testing.T) {
	o, err := parseBench([]string{"--header", "Authorization=Bearer s3cret", "--out", "runs/it's", "--label", "a\tb"}, benchEnv{})
	if err != nil {
		t.Fatal(err)
	}
	line := o.namespace(func(string) string { return "" })
	if strings.Contains(line, "s3cret") || !strings.Contains(line, "header='***'") {
		t.Error("the header is not hidden:", line)
	}
	if !strings.HasSuffix(line, `logging_config=LoggingConfig(log_level='INFO', formatter='text', configure_logging=True, pylogging_config_file=None), out="runs/it's")`) {
		t.Error("wrong end:", line)
	}
	if !strings.Contains(line, `label='a\tb'`) {
		t.Error("wrong label:", line)
	}
}

// mustParse is for command lines that are right.
func mustParse(t *testing.T, words ...string) *benchOptions {
	t.Helper()
	o, err := parseBench(words, benchEnv{Now: time.Unix(1_800_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestGoldenWireCommandLinesFailAsTheOriginalDoes(t *testing.T) {
	for _, line := range goldenLines(t, "wire", "cases.jsonl") {
		var c struct {
			Name     string            `json:"name"`
			Argv     []string          `json:"argv"`
			Env      map[string]string `json:"env"`
			Exit     int               `json:"exit"`
			Error    string            `json:"error_starts"`
			Requests []struct {
				Path string `json:"path"`
			} `json:"requests"`
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{"no-models", "ready-check-fails", "config-file"}, c.Name) {
			continue // fails on what the server says, or works here
		}
		t.Run(c.Name, func(t *testing.T) {
			env := benchEnv{Getenv: func(name string) string { return c.Env[name] }}
			o, err := parseBench(append([]string{"--compat", "vllm"}, c.Argv...), env)
			got := -1 // the moment, -1 for none
			if err != nil {
				var status interface{ Status() int }
				if !errors.As(err, &status) || status.Status() != c.Exit {
					t.Fatalf("got %v, want exit status %d", err, c.Exit)
				}
				got = int(atStart)
			} else {
				for when := atStart; when <= afterRun && got < 0; when++ {
					if o.FaultAt(when) != nil {
						got = int(when)
					}
				}
			}
			switch {
			case (got >= 0) != (c.Exit != 0):
				t.Errorf("fault at moment %d, want exit status %d %s", got, c.Exit, c.Error)
			case got >= 0:
				var paths []string
				for _, r := range c.Requests {
					paths = append(paths, r.Path)
				}
				sent := atStart // by the requests sent: the latest moment at which it can have failed
				switch {
				case slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, "/v1/") && p != "/v1/models" }):
					sent = afterRun
				case slices.Contains(paths, "/metrics"):
					sent = inRun
				case slices.Contains(paths, "/tokenize"):
					sent = afterDataset
				case benchMoment(got) == afterModel || c.Name == "audio":
					sent = benchMoment(got)
				}
				near := map[benchMoment]benchMoment{afterAdvice: afterDataset, beforeCheck: afterDataset, afterLoad: afterRun}
				if at, ok := near[benchMoment(got)]; ok { // the same requests
					got = int(at)
				}
				if benchMoment(got) != sent {
					t.Errorf("fault at moment %d, but the original sent %q", got, paths)
				}
			}
		})
	}
}

func TestFaultsAreToldBeforeTheFirstRequest(t *testing.T) {
	for _, tc := range []struct {
		line string
		want string // part of the message; "" means that it is right
	}{
		{"", ""},
		{"--max-concurrency 0", "--max-concurrency 0: must be above 0"},
		{"--seed -1", "--seed -1: must be from 0 to 2^32-1"},
		{"--seed 4294967296", "must be from 0 to 2^32-1"},
		{"--seed 4294967295", ""},
		{"--plot-timeline --timeline-itl-thresholds 5", "needs two values"},
		{"--timeline-itl-thresholds 5", ""},
		{"--ramp-up-strategy linear", "needs --ramp-up-start-rps"},
		{"--ramp-up-strategy linear --ramp-up-start-rps 1 --ramp-up-end-rps 2 --request-rate 3", "--request-rate has no place"},
		{"--ramp-up-strategy linear --ramp-up-start-rps 3 --ramp-up-end-rps 2", "--ramp-up-start-rps 3 is above"},
		{"--ramp-up-strategy linear --ramp-up-start-rps 0 --ramp-up-end-rps 2", "the first request is never due"},
		{"--ramp-up-strategy exponential --ramp-up-start-rps 0 --ramp-up-end-rps 2", "has to start above 0"},
		{"--ramp-up-strategy linear --ramp-up-start-rps -1 --ramp-up-end-rps 2", "must not be negative"},
		{"--header novalue", `"novalue" is not KEY=VALUE`},
		{"--header a␣b=1", "is no name of a header"},
		{"--base-url localhost:8000", "must be http://host:port"},
		{"--port 70000", "--port 70000: must be from 1 to 65535"},
		{"--host http://x", "goes into --base-url"},
		{"--dataset-path x", "--dataset-path has no place beside --dataset-name random"},
		{"--dataset-name sharegpt", "needs --dataset-path"},
		{"--self-timed", "are for --dataset-name timed_trace"},
		{"--dataset-name timed_trace --dataset-path x --backend openai-chat", "--backend must be vllm or openai"},
		{"--dataset-name random-mm", "--backend must be openai-chat or openai-audio"},
		{"--num-prompts 0", "--num-prompts 0: dataset random has no end"},
		{"--dataset-name custom --dataset-path x --num-prompts -1", ""},
		{"--random-range-ratio 1.0", ""},
		{"--random-range-ratio 1.5", "--legacy-range-ratio for the old meaning"},
		{"--random-range-ratio 1.0 --legacy-range-ratio", ""},
		{"--random-range-ratio 1.1 --legacy-range-ratio", "must be from 0 to 1"},
		{"--random-range-ratio nan", "must be at least 0 and below 1"},
		{"--random-range-ratio abc", "is neither a number nor"},
		{`--random-range-ratio {"input":0.1}`, `lacks "output"`},
		{"--goodput ttft:1:2", "is not NAME:MILLISECONDS"},
		{"--goodput itl:10", `no objective "itl"`},
		{"--goodput ttft:-1", "is negative"},
		{"--backend openai-audio --temperature 0", "sampling parameters have no meaning for --backend openai-audio"},
		{"--backend openai-embeddings --temperature 0", ""},
		{"--use-beam-search", "--use-beam-search has no effect"},
		{"--extra-body [1]", "--extra-body [1]: must be a JSON object"},
		{"--extra-body null", ""},
		{"--chat-template-kwargs 3", "--chat-template-kwargs 3: must be a JSON object"},
		{"--metric-percentiles 50,x", `"x" is no number`},
		{"--metric-percentiles 50,101", "101.0 is not from 0 to 100"},
		{"--percentile-metrics ttft,e2e", `no metric "e2e": have ttft`},
		{"--percentile-metrics ttft,␣e2el", ""},
		{"--metadata novalue", `--metadata: "novalue" is not KEY=VALUE`},
		{"--plot-dataset-stats", ""},
		{"--backend openai-chat", ""},
		{"--backend openai-chat --endpoint /v1/completions", "--endpoint: backend openai-chat speaks to paths that end in chat/completions"},
		{"--request-rate 0", "--request-rate 0.0: must be above 0"},
		{"--request-rate nan", "--request-rate nan: must be above 0"},
		{"--burstiness 0 --request-rate 1", "--burstiness 0.0: must be above 0"},
		{"--out 128", "--out 128 would be a folder: for the length of outputs write --output-len"},
		{"--compare a", "--compare needs two files, not 1"},
		{"--compare a b", ""},
		{"--sweep-max-concurrency 1,x", `"x" is no number from 1 on`},
		{"--sweep-request-rate 1,0", "0.0 must be above 0"},
		{"--sweep-max-concurrency 1 --sweep-request-rate 1", "give one of them"},
		{"--num-runs 0", "--num-runs 0: must be above 0"},
		{"--max-model-len 0", "--max-model-len 0: must be above 0"},
		{"--profile-batch-threshold 4", "needs --profile"},
		{"--random-cache-ratio 0.5", "need --prompt-token-ids"},
		{"--random-cache-ratio 1.5 --prompt-token-ids", "must be from 0 to 1"},
		{"--prompt-token-ids --backend openai-chat", "--prompt-token-ids: --backend must be vllm or openai"},
		{"--multi-turn", "--multi-turn: --backend must be openai-chat"},
		{"--multi-turn --backend openai-chat", ""},
		{"--multi-turn --backend openai-chat --multi-turn-min-turns 3 --multi-turn-max-turns 2", "give 1 <= min <= max"},
		{"--max-failures x", "neither a number of requests nor a share"},
		{"--shard 4/4", "is not K/N"},
		{"--start-at yesterday", "is no moment"},
		{"--start-at 2020-01-01T00:00:00Z", "has passed"},
		{"--source-address x", `"x" is no IP address`},
		{"--connect-timeout-sec -1", "must be from 0 to"},
		{"--max-concurrency 0 --seed -1", "--max-concurrency 0: must be above 0; leave it out for no limit\n--seed -1"},
	} {
		t.Run(tc.line, func(t *testing.T) {
			words := strings.Fields(tc.line)
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "␣", " ")
			}
			_, err := parseBench(words, benchEnv{Now: time.Unix(1_800_000_000, 0)})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want no fault", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			case tc.want != "":
				var e *benchError
				if !errors.As(err, &e) || e.Status() != 2 || !strings.HasPrefix(e.Text(), "servebench bench serve: error: ") {
					t.Errorf("got %#v, want a benchError with status 2", err)
				}
			}
		})
	}
}

func TestBothMeaningsOfTheRangeRatioAreExplained(t *testing.T) {
	_, err := parseBench([]string{"--random-range-ratio", "1.5"}, benchEnv{})
	want := "--random-range-ratio 1.5: must be at least 0 and below 1: since vLLM 0.8.4 the ratio is a half-width (lengths uniform in " +
		"[len x (1-r), len x (1+r)], so 0.0 is exact); before, it was a lower bound (uniform in [len x r, len], so 1.0 was exact); " +
		"give 0.0 for exact lengths, or --legacy-range-ratio for the old meaning"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant %s", err, want)
	}
	// A pasted command of the old kind works, and says which meaning was taken.
	o, err := parseBench([]string{"--random-range-ratio", "1.0"}, benchEnv{})
	if err != nil || !o.LegacyRangeRatio || o.RangeRatio != (spread{1, 1}) {
		t.Fatalf("1.0: %v, legacy %t, %v; want the old meaning", err, o.LegacyRangeRatio, o.RangeRatio)
	}
	if len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], "is taken in its old meaning, exact lengths") {
		t.Errorf("warnings %q; want one that says the meaning", o.Warnings)
	}
	if _, err := parseBench([]string{"--random-range-ratio", "1.0", "--compat", "vllm"}, benchEnv{}); err != nil {
		t.Errorf("--compat vllm: %v; want it told later, as the original does", err)
	}
}

func TestWhatTheFlagsComeTo(t *testing.T) {
	o := mustParse(t, "--backend", "openai-chat", "--host", "::1", "--header", "X-A= 1 ", "k=a=b", "X-A=2", "--metadata", "a = b", "--top-k", "5", "--temperature", "0",
		"--extra-body", `{"top_k": 1e3, "note": "é"}`, "--goodput", "ttft:200", "e2el:1e3", "--metric-percentiles", "50, 99.9", "--input-len", "7", "--output-len", "9",
		"--random-range-ratio", `{"input": 0.1, "output": "0.5"}`, "--shard", "1/4", "--out", "part", "--start-at", "+1m30s", "--max-failures", "2.5%", "--source-address", "127.0.0.2,127.0.0.3", "::1")
	for _, tc := range []struct {
		what      string
		got, want any
	}{
		{"url", o.URL, "http://[::1]:8000/v1/chat/completions"},
		{"headers", o.Headers, [][2]string{{"X-A", "2"}, {"k", "a=b"}}},
		{"metadata", o.Metadata, [][2]string{{"a", "b"}}},
		{"goodput", o.Goodput, []goal{{"ttft", 200}, {"e2el", 1000}}},
		{"percentiles", o.Percentiles, []float64{50, 99.9}},
		{"metrics", o.Metrics, []string{"ttft", "tpot", "itl"}},
		{"lengths", []int{o.RandomInputLen, o.RandomOutputLen, *o.ShareGPTOutputLen, o.CustomOutputLen, *o.HFOutputLen, o.SpecBenchOutputLen, o.PrefixOutputLen}, []int{7, 9, 9, 9, 9, 9, 9}},
		{"speed bench", o.SpeedBenchOutputLen, 4096},
		{"spread", o.RangeRatio, spread{0.1, 0.5}},
		{"shard", fmt.Sprint(o.Shard), "{1 4}"},
		{"start", o.StartAt.Unix(), int64(1_800_000_090)},
		{"failures", *o.MaxFailures, failureLimit{Percent: 2.5, IsShare: true}},
		{"sources", fmt.Sprint(o.Sources), "[127.0.0.2 127.0.0.3 ::1]"},
		{"ignore eos", o.IgnoreEOS, true},
		{"buckets", o.MMBuckets, []mmBucket{{256, 256, 1, 0.5}, {720, 1280, 1, 0.5}, {720, 1280, 16, 0}}},
		{"limits", o.MMLimit, map[string]int{"image": 255, "video": 1}},
	} {
		if fmt.Sprintf("%#v", tc.got) != fmt.Sprintf("%#v", tc.want) {
			t.Errorf("%s: got %#v, want %#v", tc.what, tc.got, tc.want)
		}
	}
	var body []string
	for _, m := range o.Extra {
		body = append(body, m.Key+": "+string(m.Value))
	}
	if got, want := strings.Join(body, ", "), `top_k: 1000.0, temperature: 0.0, note: "\u00e9"`; got != want {
		t.Errorf("extra: got %s, want %s", got, want)
	}
	if o := mustParse(t, "--backend", "openai-embeddings"); o.URL != "http://127.0.0.1:8000/v1/embeddings" || !slices.Equal(o.Metrics, []string{"e2el"}) || o.IgnoreEOS {
		t.Errorf("embeddings: %s %q %t", o.URL, o.Metrics, o.IgnoreEOS)
	}
	if o := mustParse(t, "--dataset-name", "timed-trace", "--dataset-path", "x"); !o.SelfTimed || !o.IgnoreEOS || o.DatasetName != "timed_trace" {
		t.Errorf("timed trace: %t %t %s", o.SelfTimed, o.IgnoreEOS, o.DatasetName)
	}
	for words, want := range map[string]scenario.Server{
		"":                   {},
		"--http-version 1.1": {},
		"--http-version 2 --insecure --proxy http://p:3128": {HTTP2: true, Insecure: true, Proxy: "http://p:3128"},
	} {
		s, err := mustParse(t, strings.Fields(words)...).scenario()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Server; got.HTTP2 != want.HTTP2 || got.Insecure != want.Insecure || got.Proxy != want.Proxy {
			t.Errorf("%q: %+v; want %+v", words, got, want)
		}
	}
	if o := mustParse(t, "--compat", "vllm"); !o.Strict || o.Endpoint != "/v1/completions" {
		t.Errorf("compat: %t %s", o.Strict, o.Endpoint)
	}
}

func TestShardFromTheLauncher(t *testing.T) {
	for _, tc := range []struct {
		text string
		env  map[string]string
		want string
	}{
		{"auto", map[string]string{"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, "{2 8}"},
		{"auto/4", map[string]string{"JOB_COMPLETION_INDEX": "3"}, "{3 4}"},
		{"auto", map[string]string{"JOB_COMPLETION_INDEX": "3"}, "auto needs SLURM_NTASKS in the environment: give auto/N"},
		{"auto", nil, "auto needs SLURM_PROCID or JOB_COMPLETION_INDEX in the environment"},
		{"0/1", nil, "{0 1}"},
		{"-1/2", nil, `"-1/2" is not K/N with K from 0 to N-1, such as 0/4`},
	} {
		shard, err := shardOf(tc.text, func(name string) string { return tc.env[name] })
		got := fmt.Sprint(shard)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s with %v: got %s, want %s", tc.text, tc.env, got, tc.want)
		}
	}
}

func TestFailureLimit(t *testing.T) {
	for _, tc := range []struct {
		limit       failureLimit
		failed, all int
		want        bool
	}{
		{failureLimit{Count: 2}, 2, 10, false},
		{failureLimit{Count: 2}, 3, 10, true},
		{failureLimit{Percent: 10, IsShare: true}, 1, 10, false},
		{failureLimit{Percent: 10, IsShare: true}, 2, 10, true},
	} {
		if got := tc.limit.Exceeded(tc.failed, tc.all); got != tc.want {
			t.Errorf("%+v: %d of %d: got %t, want %t", tc.limit, tc.failed, tc.all, got, tc.want)
		}
	}
}

func TestBenchHelp(t *testing.T) {
	p := benchCommandParser()
	for _, o := range p.Options {
		if o.Help == "" || !strings.HasSuffix(o.Help, ".") {
			t.Errorf("%s: help %q is no sentence", o.Flag, o.Help)
		}
		if o.Into == nil {
			t.Errorf("%s fills nothing", o.Flag)
		}
		title := o.Section
		if title == "" {
			title = o.Group
		}
		if !slices.ContainsFunc(p.Groups, func(g argparse.Group) bool { return g.Title == title }) {
			t.Errorf("%s: no group %q", o.Flag, title)
		}
	}
	all := p.Help("all")
	for _, g := range p.Groups {
		if !strings.Contains(all, "\n"+g.Title+":\n") {
			t.Errorf("group %q has no options", g.Title)
		}
	}
	short := p.Help("")
	if !strings.Contains(short, "servebench bench serve --port 8000 --num-prompts 50") || strings.Contains(short, "--burstiness") {
		t.Errorf("wrong short help:\n%s", short)
	}
}

// FuzzParseBench wants no command line to crash, and every right one to print its namespace.
func FuzzParseBench(f *testing.F) {
	for _, seed := range []string{"--num-prompts\x003", "--extra-body.a.b+\x001,2", "--header\x00a=1\x00--compat\x00vllm", "--random-mm-bucket-config\x00{(1,2,3):1}",
		"--presence-penalty\x00-1.5\x00--compat=vllm", "--random-range-ratio\x00{\"input\":0.3,\"output\":0.5}", "--help=all", "--shard\x00auto/3", "--start-at\x00+3s", "--\x00x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		env := benchEnv{Getenv: func(string) string { return "1" }, Now: time.Unix(1_800_000_000, 0)}
		o, err := parseBench(strings.Split(line, "\x00"), env)
		if (o == nil) && err == nil {
			t.Fatal("neither options nor an error")
		}
		if err == nil && !strings.HasPrefix(o.namespace(env.Getenv), "Namespace(subparser='bench'") {
			t.Fatal("no namespace")
		}
	})
}
