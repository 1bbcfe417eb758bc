package compare

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"servebench/results"
)

var everything = Options{Metrics: []string{"ttft", "tpot", "itl", "e2el", "client_queue_time", "request_throughput", "output_throughput"}, Percentiles: []float64{50, 90, 99}}

// What is computed from a file's lists is what vLLM itself states in the same file.
func TestListsAgreeWithStatedFigures(t *testing.T) {
	checked := 0
	for _, name := range []string{"vllm.jsonl", "vllm-recorded.json"} {
		runs, err := Open(filepath.Join("testdata", name), everything)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"vllm.jsonl": 8, "vllm-recorded.json": 1}[name]; len(runs) != want {
			t.Fatalf("%s: %d results, want %d", name, len(runs), want)
		}
		for _, r := range runs {
			for key, want := range r.stated {
				metric, statistic, _ := strings.Cut(key, " ")
				s := r.series[metric]
				if s == nil {
					continue
				}
				spread := spreadOf(len(r.rows), s.values, s.offsets, []float64{50, 90, 99})
				got := spread.sum.value()
				if p, ok := percentileOf(statistic); ok {
					q := spread.quantile(p)
					if q == nil {
						continue
					}
					got = q.value()
				} else if statistic != "mean" {
					continue
				}
				checked++
				if math.Abs(got-want) > 1e-9*max(math.Abs(want), 1e-6) {
					t.Errorf("%s: %s is %v, the file says %v", r.Name, key, got, want)
				}
			}
			if f := rates[0].of(r); f != nil {
				if want := r.stated["request_throughput "+rateStatistic]; math.Abs(f.value()-want) > 1e-9*want {
					t.Errorf("%s: %v requests a second, the file says %v", r.Name, f.value(), want)
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d figures were there twice", checked)
	}
}

func TestVLLMFields(t *testing.T) {
	runs, err := Open(filepath.Join("testdata", "vllm.jsonl"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := runs[2] // failures
	if r.Requests != 25 || r.Completed != 14 || r.Failed != 11 || r.Basis != results.VLLM || !strings.HasSuffix(r.Name, "vllm.jsonl#3") {
		t.Errorf("%s: %d requests, %d completed, %d failed, basis %s", r.Name, r.Requests, r.Completed, r.Failed, r.Basis)
	}
	for name, want := range map[string]string{"model": "org/m-7b", "rate": "inf", "concurrency": "none", "requests": "25", "basis": "vllm"} {
		if got := r.Field(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := runs[7].Field("rate"); !regexp.MustCompile(`^(linear|exponential) \d+ to \d+$`).MatchString(got) {
		t.Errorf("rate of a ramp is %q", got)
	}
}

func TestVLLMMistakes(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "f holds no result"},
		{"{", "f: byte 0: this is no result file of vllm bench serve: unexpected EOF"},
		{"{}", "f: result 1: it has no completed or duration: this is no result of vllm bench serve"},
		{`{"completed":1,"duration":1,"ttfts":[1,2],"latencies":[1]}`, "f: result 1: latencies has 1 entries, other lists 2"},
		{`{"completed":3,"duration":1,"latencies":[1,2]}`, "f: result 1: 2 requests of its lists succeeded, but completed says 3"},
		{`{"completed":-1,"duration":1}`, "f: result 1: completed, failed and duration cannot be negative"},
	} {
		if _, err := ReadVLLM("f", strings.NewReader(tc.text), Options{}); err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v; want %s", tc.text, err, tc.want)
		}
	}
	if _, err := ReadVLLM("f", strings.NewReader("{}"), Options{Basis: results.Service}); err == nil {
		t.Error("a result file has no service basis")
	}
}

// Files without lists can be compared when there are enough of them; with fewer, the values stand without an interval.
func TestStatedFiguresOnly(t *testing.T) {
	file := func(name string, ttft float64) *Run {
		text := `{"completed":500,"failed":0,"duration":10,"num_prompts":500,"model_id":"m","request_rate":5.0,"mean_ttft_ms":` +
			strconv.FormatFloat(ttft, 'g', -1, 64) + `,"p99_ttft_ms":` + strconv.FormatFloat(2*ttft, 'g', -1, 64) + `,"request_throughput":50.0}`
		runs, err := ReadVLLM(name, strings.NewReader(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return runs[0]
	}
	a := &Group{"A", []*Run{file("1", 100), file("2", 101), file("3", 102)}}
	b := &Group{"B", []*Run{file("4", 200), file("5", 202), file("6", 204)}}
	r, err := Compare([]*Group{a, b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, statistic := range []string{"mean", "p99"} {
		row := rowNamed(t, r, "ttft", statistic)
		if row.Verdict != Worse || math.Abs(*row.Ratio-2) > 1e-9 {
			t.Errorf("ttft %s: ratio %v, %s", statistic, *row.Ratio, row.Verdict)
		}
	}
	if row := rowNamed(t, r, "request_throughput", rateStatistic); row.Verdict != Same {
		t.Errorf("equal throughputs: %s", row.Verdict)
	}
	r, err = Compare([]*Group{{"A", a.Runs[:1]}, {"B", b.Runs[:1]}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	row := rowNamed(t, r, "ttft", "mean")
	if row.Verdict != Inconclusive || row.RatioInterval != nil || math.Abs(*row.Ratio-2) > 1e-9 || row.Note != "a result file lists no requests for it: 3 runs a side give an interval" {
		t.Errorf("one file a side: %+v", row)
	}
}

func FuzzReadVLLM(f *testing.F) {
	for _, name := range []string{"vllm.jsonl", "vllm-recorded.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			f.Add(line)
		}
	}
	f.Add([]byte(`[{"completed":1,"duration":1e308,"latencies":[1e308],"start_times":[-1e308],"ttfts":[1e-308],"output_lens":[1e308],"itls":[[0,-1]]}]`))
	f.Add([]byte(`[{"completed":2,"duration":1,"latencies":[1e308,1e-308],"ttfts":[1e-308,1e300]},{"completed":1,"duration":0,"failed":9,"mean_ttft_ms":1e308,"p50_ttft_ms":-1,"request_rate":"nan","request_throughput":1e-320}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, err := ReadVLLM("f", bytes.NewReader(b), everything)
		if err != nil {
			return
		}
		for i, r := range runs {
			other := *runs[len(runs)-1-i]
			other.Identity++
			o := everything
			o.Force, o.Draws = true, 5
			report, err := Compare([]*Group{{"A", []*Run{r}}, {"B", []*Run{&other}}}, o)
			if err != nil {
				t.Fatal(err)
			}
			for format := range formats {
				var out bytes.Buffer
				if err := Write(&out, format, report); err != nil {
					t.Fatalf("%s: %v", format, err)
				}
			}
		}
	})
}

// A folder of results is read at any depth, and what lies below a folder whose name begins with a dot is not.
func TestOpenPassesOverHiddenFolders(t *testing.T) {
	recorded, err := os.ReadFile(filepath.Join("testdata", "vllm-recorded.json"))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), ".hidden-itself")
	for _, dir := range []string{"a", "b/deep", ".unfinished/a"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "run=0.json"), recorded, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range runs {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.Name, root+string(filepath.Separator)), "#")
		got = append(got, filepath.ToSlash(name))
	}
	if want := "a/run=0.json b/deep/run=0.json"; strings.Join(got, " ") != want {
		t.Errorf("read %q, want %q", got, want)
	}
}
