package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAppendRow(t *testing.T) {
	for _, tc := range []struct {
		name string
		row  Row
		want string
	}{
		{"slice", Row{Phase: 'X', Cat: "client", Name: "req \"1\"", PID: Num(2000000001), TID: Num(1), TS: 4651955906029139, Dur: 5, Args: []Arg{{"model", "m\n"}, {"tokens", 7}, {"ttft_ms", 1.25}, {"ok", true}, {"list", json.RawMessage(`[1, 2]`)}}},
			`{"ph": "X", "cat": "client", "name": "req \"1\"", "pid": 2000000001, "tid": 1, "ts": 4651955906029.139, "dur": 0.005, "args": {"model": "m\n", "tokens": 7, "ttft_ms": 1.25, "ok": true, "list": [1, 2]}}`},
		{"arrow", Row{Phase: 'f', Cat: "client2step", Name: "a", PID: Str("Spans"), TID: Str(""), TS: -1, ID: "12", BindEnclosing: true},
			`{"ph": "f", "cat": "client2step", "name": "a", "pid": "Spans", "tid": "", "ts": -0.001, "id": 12, "bp": "e"}`},
		{"instant", Row{Phase: 'i', Name: "mark", Scope: 'g'}, `{"ph": "i", "name": "mark", "pid": 0, "tid": 0, "ts": 0.000, "s": "g"}`},
		{"metadata", ProcessSort(Num(7), -30), `{"ph": "M", "name": "process_sort_index", "pid": 7, "tid": 0, "args": {"sort_index": -30}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := AppendRow(nil, &tc.row)
			if err != nil || string(got) != tc.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tc.want)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
}

func TestWriterRoundTrip(t *testing.T) {
	for _, name := range []string{"t.json", "t.json.gz", "t.json.zst"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			w, err := Create(path)
			if err != nil {
				t.Fatal(err)
			}
			w.Base(1790857026000000000)
			for i := range 20000 {
				w.Row(&Row{Phase: 'X', Cat: "kernel", Name: fmt.Sprint("k", i%7), PID: Num(0), TID: Num(7), TS: int64(i) * 1001, Dur: 999, Args: []Arg{{"correlation", i}}})
			}
			w.Key("metadata", map[string]any{"tool": "test"})
			if _, err := os.Stat(path); err == nil {
				t.Error("the file has its name before it is complete")
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			i := 0
			meta, err := ReadFile(path, func(ev *Event) error {
				if ev.Name != fmt.Sprint("k", i%7) || ev.TS != int64(i)*1001 || ev.Dur != 999 || ev.Correlation != int64(i) {
					t.Fatalf("event %d: %s", i, ev.Raw)
				}
				i++
				return nil
			})
			if err != nil || i != 20000 || !meta.Complete || meta.Base != 1790857026000000000 || meta.Loose != 0 {
				t.Errorf("%d events, %+v, %v", i, meta.Warnings, err)
			}
			f, _ := os.Open(path)
			defer f.Close()
			if n, err := Check(f); n != 20000 || err != nil {
				t.Errorf("Check: %d, %v", n, err)
			}
			if left, _ := filepath.Glob(path + ".part"); len(left) != 0 {
				t.Error("the part file was left")
			}
		})
	}
}

func TestEmptyTraceAndAbort(t *testing.T) {
	var out bytes.Buffer
	if err := NewWriter(&out).Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := Check(&out); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	path := filepath.Join(t.TempDir(), "x.json.gz")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Row(&Row{Phase: 'i', Name: "x"})
	w.Abort()
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	w = NewWriter(&out)
	w.Row(&Row{Phase: 'i'})
	w.Key("after", 1)
	w.Row(&Row{Phase: 'i'})
	if err := w.Close(); err == nil {
		t.Error("an event after the closing keys was taken")
	}
}

func rows(list ...Row) Additions {
	return Additions{Rows: func(yield func(*Row) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}}
}

func insert(t testing.TB, text string, add Additions) (string, Meta) {
	t.Helper()
	var out bytes.Buffer
	meta, err := Insert(&out, NewFile("in", strings.NewReader(text)), add)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), meta
}

// TestInsertCopiesByteForByte takes the additions out again: the rest is the file as it was.
func TestInsertCopiesByteForByte(t *testing.T) {
	files := realFiles(t)
	add := rows(ProcessName(Num(2000000001), "client"), Row{Phase: 'X', Name: "req 0", PID: Num(2000000001), TS: 5, Dur: 6})
	const added = "\n" + `{"ph": "M", "name": "process_name", "pid": 2000000001, "tid": 0, "args": {"name": "client"}},` +
		"\n" + `{"ph": "X", "name": "req 0", "pid": 2000000001, "tid": 0, "ts": 0.005, "dur": 0.006},`
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text := string(gunzip(t, path))
			got, meta := insert(t, text, add)
			if n, err := Check(strings.NewReader(got)); err != nil || n != meta.Events+2 {
				t.Fatalf("Check: %d of %d, %v", n, meta.Events+2, err)
			}
			if meta.Array {
				got = strings.TrimPrefix(got, `{"traceEvents": `)
			}
			without := strings.Replace(got, added, "", 1)
			if len(without) != len(got)-len(added) {
				t.Fatal("the rows are not in the file as they should be")
			}
			if meta.Array {
				without = strings.TrimRight(without, "} \n")
				text = strings.TrimRight(text, " \n")
				without = strings.TrimLeft(without, " \n")
				text = strings.TrimLeft(text, " \n")
			}
			if without != text {
				i := 0
				for i < min(len(without), len(text)) && without[i] == text[i] {
					i++
				}
				t.Errorf("differs at byte %d: got %.60q want %.60q", i, without[i:], text[i:])
			}
		})
	}
}

func TestInsert(t *testing.T) {
	x := Row{Phase: 'i', Name: "x"}
	const xs = "\n" + `{"ph": "i", "name": "x", "pid": 0, "tid": 0, "ts": 0.000, "s": "t"}`
	keyed := rows(x)
	keyed.Keys = []Arg{{"loadTrace", 1}}
	keyed.Metadata = []Arg{{"run", "r"}}
	for _, tc := range []struct {
		name, text string
		add        Additions
		want       string
	}{
		{"object", `{"a": 1, "traceEvents": [ {"ph":"M"} ], "b": 2 }` + "\n", rows(x), `{"a": 1, "traceEvents": [` + xs + `, {"ph":"M"} ], "b": 2 }` + "\n"},
		{"no event", `{"traceEvents":[]}`, rows(x), `{"traceEvents":[` + xs + `]}`},
		{"nothing added", `{"traceEvents":[{"ph":"M"}]}`, Additions{}, `{"traceEvents":[{"ph":"M"}]}`},
		{"keys", `{"traceEvents":[{"ph":"M"}]}`, keyed, `{"traceEvents":[` + xs + `,{"ph":"M"}],` + "\n" + `"loadTrace": 1,` + "\n" + `"metadata": {` + "\n" + `"run": "r"}}`},
		{"metadata that is there", `{"metadata": {"old": 1}, "traceEvents":[{"ph":"M"}]}`, keyed, `{"metadata": {"old": 1,` + "\n" + `"run": "r"}, "traceEvents":[` + xs + `,{"ph":"M"}],` + "\n" + `"loadTrace": 1}`},
		{"a key that is there", `{"loadTrace": 7, "traceEvents":[{"ph":"M"}]}`, keyed, `{` + "\n" + `"traceEvents":[` + xs + `,{"ph":"M"}],` + "\n" + `"loadTrace": 1,` + "\n" + `"metadata": {` + "\n" + `"run": "r"}}`},
		{"array", `[{"ph":"M"}]`, rows(x), `{"traceEvents": [` + xs + `,{"ph":"M"}]}`},
		{"array never closed", `[{"ph":"M"},`, rows(x), `{"traceEvents": [` + xs + `,{"ph":"M"}]}`},
		{"cut", `{"traceEvents":[{"ph":"M"},{"ph":"X","na`, rows(x), `{"traceEvents":[` + xs + `,{"ph":"M"}]}`},
		{"cut before the events", `{"a":1,"b`, rows(x), `{"a":1,` + "\n" + `"traceEvents": [` + xs + `]}`},
		{"trailing comma", `{"traceEvents":[{"ph":"M"},],}`, Additions{}, `{"traceEvents":[{"ph":"M"}` + "\n]\n}"},
		{"control character", "{\"traceEvents\":[{\"ph\":\"M\",\"name\":\"a\x01\n\"}]}", Additions{}, `{"traceEvents":[{"ph":"M", "name":"a\u0001\n"}]}`},
		{"control character in the head", "{\"k\":\"a\x02\",\"traceEvents\":[]}", Additions{}, `{"k":"a\u0002","traceEvents":[]}`},
		{"no duration", `{"traceEvents":[{"ph":"X","ts":1,"dur":NaN},{"ph":"i","ts":null},{"ph":"X","ts":1,"dur":2}]}`, Additions{}, `{"traceEvents":[
{"ph":"X","ts":1,"dur":2}]}`},
		{"NaN", `{"traceEvents":[{"ph":"C","ts":1,"args":{"x":NaN}},{"ph":"M"}]}`, Additions{}, `{"traceEvents":[{"ph":"C", "ts":1, "args":{"x":null}},{"ph":"M"}]}`},
		{"bracket missing", `{"traceEvents":[{"ph":"M"},"k":1}`, rows(x), `{"traceEvents":[` + xs + `,{"ph":"M"}],"k":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := insert(t, tc.text, tc.add)
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if _, err := Check(strings.NewReader(got)); err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

func TestInsertFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json.gz")
	meta, err := InsertFile(path, small, rows(Row{Phase: 'i', Name: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(path, nil)
	if err != nil || again.Events != meta.Events+1 || again.Base != meta.Base || again.Loose != 0 {
		t.Errorf("%d events from %d, %v", again.Events, meta.Events, err)
	}
	if _, err := InsertFile(filepath.Join(t.TempDir(), "o.json"), "trace.go", Additions{}); err == nil {
		t.Error("a Go file was taken for a trace")
	}
}

func TestJoin(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a.json", `{"distributedInfo":{"rank":0,"world_size":2},"traceEvents":[
		{"ph":"M","name":"process_name","pid":5,"tid":0,"args":{"name":"python"}},
		{"ph":"X","name":"k","pid":0,"tid":7,"ts":10.001,"dur":1,"args":{"stream":7,"correlation":3}},
		{"ph":"s","id":3,"pid":5,"tid":5,"ts":9,"cat":"ac2g","name":"ac2g"}],"baseTimeNanoseconds":1000000000}`)
	b := write("b.json", "{\"baseTimeNanoseconds\":1000002000,\"traceEvents\":[\n"+
		"{\"args\":{\"correlation\":3,\"note\":\"\x01\"},\"ph\":\"X\",\"name\":\"k\",\"pid\":0,\"tid\":7,\"ts\":1,\"dur\":1},"+
		`{"ph":"X","name":"w","pid":"Spans","tid":"p","ts":2,"dur":1},{"ph":"f","id":"0x3","pid":-1,"tid":5,"ts":9,"cat":"ac2g","name":"ac2g"}]}`)
	out := filepath.Join(dir, "out.json")
	add := rows(Row{Phase: 'i', Name: "mark", TS: 1})
	add.Metadata = []Arg{{"tool", "t"}}
	metas, err := Join(out, []Rank{{Path: a, Rank: 0}, {Path: b, Rank: 1}}, add)
	if err != nil || len(metas) != 2 {
		t.Fatal(err)
	}
	var got []string
	meta, err := ReadFile(out, func(ev *Event) error {
		id := ""
		if ev.id.ok() {
			id = string(ev.id.of(ev.Raw))
		}
		arg, _ := ev.ArgString("name")
		got = append(got, fmt.Sprintf("%c %s %v/%v %d %s c%d %s", ev.Phase, ev.Name, ev.PID, ev.TID, ev.TS, id, ev.Correlation, arg))
		return nil
	})
	want := []string{
		"i mark 0/0 1  c0 ",
		"M process_name 10000005/0 0  c0 rank 0 python",
		"X k 10000000/7 10001  c3 ",
		"s ac2g 10000005/5 9000 3 c0 ",
		"X k 20000000/7 3000  c1099511627779 ",
		"X w r1 Spans/p 4000  c0 ",
		`f ac2g 19999999/5 11000 "r1 0x3" c0 `,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
	if meta.Base != 1000000000 || meta.Loose != 0 || !meta.HasRank {
		t.Errorf("%+v", meta)
	}
	if v, _ := meta.Key("ranks"); !strings.Contains(string(v), `"base_time_ns":1000002000`) {
		t.Errorf("ranks %s", v)
	}
	c := write("c.json", `{"traceEvents":[{"ph":"X","name":"k","pid":0,"tid":7,"ts":1,"dur":1}]}`)
	if _, err := Join(out, []Rank{{Path: a}, {Path: c, Rank: 1}}, Additions{}); err == nil {
		t.Error("a rank without a clock was joined")
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"traceEvents":[{"ph":"X","name":"a","ts":1.5,"dur":2,"pid":1,"tid":"2","args":{"correlation":3,"x":[1,{"y":null}]}}],"baseTimeNanoseconds":5}`,
		`[{"ph":"X","name":"say "hi", twice","ts":NaN,},`, "{\"traceEvents\":[{\"ph\":\"M\",\"name\":\"\x01\\q\\ud800\xff\"}", `{"a":1,"traceEvents":[{"ph":"B"},"k":2}`,
		"\x1f\x8b\x08", "{\"ph\":\"X\"}\n{\"ph\":\"E\"}", `"dur":3},{"ph":"i","id":"0x1"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		type row struct {
			phase     byte
			name, cat string
			pid, tid  ID
			ts, dur   int64
			corr      int64
		}
		collect := func(list *[]row) func(*Event) error {
			return func(ev *Event) error {
				*list = append(*list, row{ev.Phase, ev.Name, ev.Cat, ev.PID, ev.TID, ev.TS, ev.Dur, ev.Correlation})
				return nil
			}
		}
		drawn := func(list *[]row) func(*Event) error {
			add := collect(list)
			return func(ev *Event) error {
				if !ev.drawable() {
					return nil
				}
				return add(ev)
			}
		}
		var before, after []row
		meta, err := Read(bytes.NewReader(text), drawn(&before))
		if err != nil {
			return
		}
		// Written after reading, the same drawable events come back, and strict parsers read them.
		var out bytes.Buffer
		copied, err := Insert(&out, NewFile("", bytes.NewReader(text)), Additions{})
		if err != nil {
			t.Fatal(err)
		}
		if copied.Events != meta.Events {
			t.Fatalf("copied %d of %d", copied.Events, meta.Events)
		}
		if !json.Valid(out.Bytes()) {
			t.Fatalf("not JSON: %q from %q", out.Bytes(), text)
		}
		again, err := Read(bytes.NewReader(out.Bytes()), collect(&after))
		if err != nil && meta.Events > 0 {
			t.Fatalf("%v reading %q", err, out.Bytes())
		}
		if !slices.Equal(before, after) {
			t.Fatalf("before %v\nafter  %v\n%q\n%q", before, after, text, out.Bytes())
		}
		if again.Loose > 0 || len(after) > 0 && !again.Complete {
			t.Fatalf("copy is loose or cut: %q", out.Bytes())
		}
	})
}
