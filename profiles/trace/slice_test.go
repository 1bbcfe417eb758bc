package trace

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// rowsOf lists a trace's events in one line each.
func rowsOf(t testing.TB, path string) ([]string, Meta) {
	t.Helper()
	var rows []string
	meta, err := ReadFile(path, func(ev *Event) error {
		row := fmt.Sprintf("%c %s %d", ev.Phase, ev.Name, ev.TS/1000)
		if ev.HasDur {
			row += fmt.Sprintf("+%d", ev.Dur/1000)
		}
		if v, ok := ev.Arg("clipped"); ok {
			row += " clipped " + string(v)
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := Check(f); err != nil || n != int64(len(rows)) {
		t.Errorf("Check: %d, %v", n, err)
	}
	return rows, meta
}

const sliceable = `{"baseTimeNanoseconds": 7, "metadata": {"a": 1}, "traceEvents": [
{"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "p"}},
{"ph": "X", "name": "before", "pid": 1, "tid": 1, "ts": 10, "dur": 90},
{"ph": "X", "name": "over", "pid": 1, "tid": 1, "ts": 50, "dur": 200, "args": {"x": 1}},
{"ph": "X", "name": "in", "pid": 1, "tid": 1, "ts": 110, "dur": 5},
{"ph": "X", "name": "edge", "pid": 1, "tid": 1, "ts": 190, "dur": 20},
{"ph": "X", "name": "after", "pid": 1, "tid": 1, "ts": 200, "dur": 5},
{"ph": "X", "cat": "cuda_runtime", "name": "launch", "pid": 1, "tid": 1, "ts": 80, "dur": 5, "args": {"correlation": 4}},
{"ph": "X", "cat": "cuda_runtime", "name": "other", "pid": 1, "tid": 1, "ts": 85, "dur": 5, "args": {"correlation": 5}},
{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 150, "dur": 10, "args": {"correlation": 4}},
{"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 4, "pid": 1, "tid": 1, "ts": 80},
{"ph": "f", "cat": "ac2g", "name": "ac2g", "id": 4, "pid": 0, "tid": 7, "ts": 150, "bp": "e"},
{"ph": "f", "cat": "ac2g", "name": "ac2g", "id": 6, "pid": 0, "tid": 7, "ts": 151, "bp": "e"},
{"ph": "s", "cat": "c", "name": "c", "id": 9, "pid": 0, "tid": 7, "ts": 120},
{"ph": "f", "cat": "c", "name": "c", "id": 9, "pid": 0, "tid": 7, "ts": 130},
{"ph": "B", "name": "outer", "pid": 2, "tid": 2, "ts": 20},
{"ph": "B", "name": "gone", "pid": 2, "tid": 2, "ts": 30},
{"ph": "E", "name": "gone", "pid": 2, "tid": 2, "ts": 40},
{"ph": "B", "name": "inner", "pid": 2, "tid": 2, "ts": 120},
{"ph": "E", "name": "inner", "pid": 2, "tid": 2, "ts": 125},
{"ph": "E", "name": "outer", "pid": 2, "tid": 2, "ts": 300},
{"ph": "B", "name": "through", "pid": 2, "tid": 3, "ts": 20},
{"ph": "C", "name": "n", "pid": 1, "tid": 0, "ts": 5, "args": {"v": 1}},
{"ph": "C", "name": "n", "pid": 1, "tid": 0, "ts": 60, "args": {"v": 2}},
{"ph": "C", "name": "n", "pid": 1, "tid": 0, "ts": 160, "args": {"v": 3}},
{"ph": "i", "name": "mark", "pid": 1, "tid": 1, "ts": 199.999, "s": "t"},
{"ph": "i", "name": "late", "pid": 1, "tid": 1, "ts": 200, "s": "t"},
{"ph": "X", "cat": "Trace", "name": "window", "pid": "Spans", "tid": "p", "ts": 0, "dur": 1000}
]}`

func TestSlice(t *testing.T) {
	src := write(t, sliceable)
	for _, tc := range []struct {
		name string
		cut  Cut
		want []string
	}{
		{"clipped", Cut{Clip: true}, []string{
			"M process_name 0", "X over 100+100 clipped true", "X in 110+5", "X edge 190+10 clipped true", "X k 150+10",
			"s c 120", "f c 130", "B outer 100", "B inner 120", "E inner 125", "E outer 200", "C n 160", "i mark 199", "X window 100+100 clipped true",
			"B through 100", "E through 200", "C n 100",
		}},
		{"whole, with calls", Cut{Calls: true}, []string{
			"M process_name 0", "X over 50+200", "X in 110+5", "X edge 190+20", "X launch 80+5", "X k 150+10",
			"s ac2g 80", "f ac2g 150", "s c 120", "f c 130", "B outer 100", "B inner 120", "E inner 125", "E outer 200", "C n 160", "i mark 199", "X window 100+100 clipped true",
			"B through 100", "E through 200", "C n 100",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cut := tc.cut
			cut.Start, cut.End = 100000, 200000
			dst := filepath.Join(t.TempDir(), "out.json.gz")
			res, err := Slice(dst, src, cut)
			if err != nil {
				t.Fatal(err)
			}
			got, meta := rowsOf(t, dst)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if res.Kept != int64(len(tc.want)) || res.Read != 27 || meta.Base != 7 {
				t.Errorf("%+v", res)
			}
			if v, _ := meta.Key("metadata"); !strings.Contains(string(v), `"a":1`) || !strings.Contains(string(v), `"from_us":100.000`) {
				t.Errorf("metadata %s", v)
			}
		})
	}
	if _, err := Slice(filepath.Join(t.TempDir(), "x.json"), src, Cut{Start: 5, End: 5}); err == nil {
		t.Error("an empty window was taken")
	}
}

// TestSliceOfEverything keeps every row of a real trace.
func TestSliceOfEverything(t *testing.T) {
	files := realFiles(t)
	for _, src := range files {
		dst := filepath.Join(t.TempDir(), "out.json")
		res, err := Slice(dst, src, Cut{Start: 0, End: 1 << 62, Calls: true})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(dst)
		if err != nil {
			t.Fatal(err)
		}
		n, err := Check(f)
		f.Close()
		if err != nil || n != res.Kept || n > res.Read || n < res.Read/2 {
			t.Errorf("%s: %d of %d, %v", src, n, res.Read, err)
		}
	}
}
