package trace

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func thinOnce(t testing.TB, src string, level int) (ThinResult, string) {
	t.Helper()
	plan, err := survey(src)
	if err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "thin.json.gz")
	r, err := plan.write(dst, level)
	if err != nil {
		t.Fatal(err)
	}
	return r, dst
}

const thinnable = `{"traceEvents": [
{"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "p"}},
{"ph": "X", "cat": "user_annotation", "name": "execute_context_0(0)_generation_1(1)", "pid": 1, "tid": 1, "ts": 0, "dur": 5, "args": {"External id": 3, "Ev Idx": 4}},
{"ph": "X", "cat": "cpu_op", "name": "op", "pid": 1, "tid": 1, "ts": 1, "dur": 20, "args": {"External id": 3, "Input Dims": [[1, 2]]}},
{"ph": "X", "cat": "cpu_op", "name": "tiny", "pid": 1, "tid": 1, "ts": 2, "dur": 3},
{"ph": "X", "cat": "cpu_op", "name": "_compile (dynamo_timed)", "pid": 1, "tid": 1, "ts": 2, "dur": 3},
{"ph": "X", "cat": "cpu_op", "name": "elsewhere", "pid": 1, "tid": 2, "ts": 2, "dur": 300},
{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 3, "dur": 1, "args": {"correlation": 4, "grid": [1, 1, 1]}},
{"ph": "X", "cat": "kernel", "name": "side", "pid": 0, "tid": 8, "ts": 3, "dur": 0.5, "args": {"correlation": 5}},
{"ph": "X", "cat": "cuda_sync", "name": "wait", "pid": 0, "tid": 7, "ts": 3, "dur": 1},
{"ph": "i", "name": "[memory]", "pid": 1, "tid": 1, "ts": 4, "s": "t"},
{"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 4, "pid": 1, "tid": 1, "ts": 1},
{"ph": "B", "cat": "Runtime", "name": "synLaunch", "pid": 10001, "tid": 1, "ts": 1},
{"ph": "X", "name": "req 1", "pid": 2000000001, "tid": 1, "ts": 1, "dur": 1, "args": {"model": "m"}}
]}`

func TestThinLevels(t *testing.T) {
	src := write(t, thinnable)
	all := []string{"process_name", "execute_context_0(0)_generation_1(1)", "op", "tiny", "_compile (dynamo_timed)", "elsewhere", "k", "side", "wait", "[memory]", "ac2g", "synLaunch", "req 1"}
	gone := [][]string{{}, {}, {"synLaunch"}, {"wait", "[memory]"}, {"ac2g"}, {"tiny"}, {"op"}, {}, {}, {}, {"elsewhere"}, {"side"}, {}}
	want := all
	for level := range thinLevels {
		want = slices.DeleteFunc(slices.Clone(want), func(name string) bool { return slices.Contains(gone[level], name) })
		r, dst := thinOnce(t, src, level)
		var got []string
		meta, err := ReadFile(dst, func(ev *Event) error {
			got = append(got, ev.Name)
			if ev.Name == "req 1" {
				if v, _ := ev.ArgString("model"); v != "m" {
					t.Errorf("level %d: the client's arguments are gone", level)
				}
			}
			if _, has := ev.Arg("Input Dims"); has != (level == 0) && ev.Name == "op" {
				t.Errorf("level %d: shapes are there: %t", level, has)
			}
			if ev.Name == "k" && (!ev.HasCorrelation || ev.Correlation != 4) {
				t.Errorf("level %d: the correlation is gone", level)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("level %d (%s): got %q, want %q, %v", level, thinLevels[level].name, got, want, err)
		}
		if v, _ := meta.Key("metadata"); !strings.Contains(string(v), `"servebench_thin"`) || len(r.Removed) != level {
			t.Errorf("level %d: metadata %s, removed %q", level, v, r.Removed)
		}
	}
}

func TestThinDepth(t *testing.T) {
	var b strings.Builder
	b.WriteString(`[`)
	for i := range 20 {
		// Twenty frames, one inside the other; the innermost of one chain holds an operator.
		for _, chain := range []string{"plain", "holds"} {
			at := map[string]string{"plain": "1", "holds": "2"}[chain]
			b.WriteString(`{"ph":"X","cat":"python_function","name":"` + chain + `","pid":1,"tid":1,"ts":` + at + strings.Repeat("0", 6) + `,"dur":` + itoa(int64(900-i)) + `},`)
		}
	}
	b.WriteString(`{"ph":"X","cat":"cpu_op","name":"op","pid":1,"tid":1,"ts":2000000,"dur":300}]`)
	r, dst := thinOnce(t, write(t, b.String()), 9)
	counts := map[string]int{}
	if _, err := ReadFile(dst, func(ev *Event) error { counts[ev.Name]++; return nil }); err != nil {
		t.Fatal(err)
	}
	if counts["plain"] != 5 || counts["holds"] != 20 || counts["op"] != 1 || r.Dropped["deep"] != 15 {
		t.Errorf("%v, dropped %v", counts, r.Dropped)
	}
}

func TestThinMeetsItsTarget(t *testing.T) {
	files := []string{small}
	if os.Getenv("SERVEBENCH_TEST_TRACES") != "" && !underRace {
		files = append(files, realTrace(t, "h100_qwen.pt.trace.json.gz"), realTrace(t, "vllm_prefilldecode.pt.trace.json.gz"))
	}
	for _, src := range files {
		info, err := os.Stat(src)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []int64{10 * info.Size(), info.Size() / 2, 1} {
			dst := filepath.Join(t.TempDir(), "thin.json.gz")
			r, err := Thin(dst, src, target)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(dst)
			if err != nil {
				t.Fatal(err)
			}
			n, err := Check(f)
			f.Close()
			if err != nil || n != r.Kept {
				t.Errorf("Check: %d of %d, %v", n, r.Kept, err)
			}
			if r.Reached != (r.Bytes <= target) || target > 1 && !r.Reached || target == 1 && len(r.Meta.Warnings) == 0 {
				t.Errorf("%s: %d bytes of %d, reached %t, %q", src, r.Bytes, target, r.Reached, r.Meta.Warnings)
			}
			if target == 10*info.Size() && (r.Kept != r.Read || len(r.Removed) != 0) {
				t.Errorf("%s: took away %q without need", src, r.Removed)
			}
		}
	}
	if _, err := Thin(filepath.Join(t.TempDir(), "x.json"), small, 0); err == nil {
		t.Error("a target of nothing was taken")
	}
}
