package trace

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// realTrace is a trace of the collection that SERVEBENCH_TEST_TRACES names.
func realTrace(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("SERVEBENCH_TEST_TRACES")
	if dir == "" {
		t.Skip("SERVEBENCH_TEST_TRACES does not say where the real traces are")
	}
	return filepath.Join(dir, name)
}

const small = "testdata/single-uni-nostack.json.gz"

var realTraces = []struct {
	file             string
	sha              string
	events           int64
	text             int64
	pythons, kernels int
}{
	{"vllm_prefilldecode.pt.trace.json.gz", "4eff6c90583855d6", 19289, 4524969, 17038, 413},
	{"vllm_decode_full.pt.trace.json.gz", "da0a9ffe51da7b5c", 1993, 498310, 984, 425},
	{"h100_qwen.pt.trace.json.gz", "7c4a4b817b79db0a", 18221, 8647357, 4262, 1465},
	{"b200_eager.pt.trace.json.gz", "7f5e9c9dc4ba7137", 24656, 14243142, 15230, 768},
	{"hta_nccl.pt.trace.json.gz", "c1cf9c575fdcd7bd", 40573, 9778890, 0, 2700},
	{"kineto_array_2020.pt.trace.json.gz", "9742e847415e84ca", 82276, 30106602, 0, 9538},
}

func TestRealTraces(t *testing.T) {
	for _, tc := range realTraces {
		t.Run(tc.file, func(t *testing.T) {
			pythons, kernels := 0, 0
			meta, err := ReadFile(realTrace(t, tc.file), func(ev *Event) error {
				switch strings.ToLower(ev.Cat) {
				case "python_function":
					pythons++
				case "kernel":
					kernels++
				}
				if !ev.Strict {
					t.Fatalf("%s is not strict", ev.Raw)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if meta.SHA256[:16] != tc.sha || meta.Events != tc.events || meta.TextBytes != tc.text || pythons != tc.pythons || kernels != tc.kernels {
				t.Errorf("got sha %s, %d events, %d bytes, %d python, %d kernels; want %+v", meta.SHA256[:16], meta.Events, meta.TextBytes, pythons, kernels, tc)
			}
			if !meta.Complete || len(meta.Warnings) != 0 {
				t.Errorf("complete %t, warnings %q; want a whole file", meta.Complete, meta.Warnings)
			}
		})
	}
}

// realFiles are the small recorded trace and, where they are to be had, the real ones.
func realFiles(t testing.TB) []string {
	files := []string{small}
	if os.Getenv("SERVEBENCH_TEST_TRACES") == "" {
		return files
	}
	for i, tc := range realTraces {
		if !underRace || i < 2 {
			files = append(files, realTrace(t, tc.file))
		}
	}
	return files
}

// plainEvent is an event as encoding/json sees it.
type plainEvent map[string]json.RawMessage

func plainTrace(t testing.TB, text []byte) []plainEvent {
	t.Helper()
	var events []plainEvent
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		if err := json.Unmarshal(text, &events); err != nil {
			t.Fatal(err)
		}
		return events
	}
	var outer struct{ TraceEvents []plainEvent }
	if err := json.Unmarshal(text, &outer); err != nil {
		t.Fatal(err)
	}
	return outer.TraceEvents
}

func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestAgainstEncodingJSON compares every field of every event with what the standard
// decoder says.
func TestAgainstEncodingJSON(t *testing.T) {
	files := realFiles(t)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := plainTrace(t, gunzip(t, path))
			i := 0
			_, err := ReadFile(path, func(ev *Event) error {
				w := want[i]
				i++
				var name, cat, ph string
				json.Unmarshal(w["name"], &name)
				json.Unmarshal(w["cat"], &cat)
				json.Unmarshal(w["ph"], &ph)
				if ev.Name != WithoutAddress(name) || ev.Cat != cat || string(ev.Phase) != ph {
					t.Fatalf("event %d: got %q %q %c, want %q %q %s", i, ev.Name, ev.Cat, ev.Phase, name, cat, ph)
				}
				for key, got := range map[string]int64{"ts": ev.TS, "dur": ev.Dur} {
					if raw, ok := w[key]; ok {
						if want := slowNanoseconds(t, string(raw)); got != want {
							t.Fatalf("event %d: %s = %d, want %d", i, key, got, want)
						}
					}
				}
				var args map[string]json.RawMessage
				json.Unmarshal(w["args"], &args)
				for key, got := range map[string]struct {
					n  int64
					ok bool
				}{"correlation": {ev.Correlation, ev.HasCorrelation}, "stream": {ev.Stream, ev.HasStream}, "device": {ev.Device, ev.HasDevice}, "bytes": {ev.Bytes, ev.HasBytes}} {
					want, err := strconv.ParseInt(strings.Trim(string(args[key]), `"`), 10, 64)
					if got.ok != (err == nil) || got.n != want {
						t.Fatalf("event %d: %s = %d, %t; want %s", i, key, got.n, got.ok, args[key])
					}
				}
				n := 0
				ev.EachArg(func(key string, value []byte) bool {
					n++
					if string(args[key]) != string(value) {
						t.Fatalf("event %d: arg %q = %s, want %s", i, key, value, args[key])
					}
					return true
				})
				if n != len(args) {
					t.Fatalf("event %d: %d args, want %d", i, n, len(args))
				}
				return nil
			})
			if err != nil || i != len(want) {
				t.Errorf("read %d events, %v; want %d", i, err, len(want))
			}
		})
	}
}

// slowNanoseconds moves the point of a decimal three places by hand.
func slowNanoseconds(t testing.TB, s string) int64 {
	t.Helper()
	whole, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
	if err != nil || len(frac) > 3 {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

func TestMetaOfACPUTrace(t *testing.T) {
	meta, err := ReadFile(small, nil)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Base != 1790857026000000000 || !meta.HasBase || meta.Rank != 0 || !meta.HasRank || meta.World != 1 {
		t.Errorf("base %d, rank %d of %d", meta.Base, meta.Rank, meta.World)
	}
	if p := meta.Processes[Num(20955)]; p == nil || p.Name != "VLLM::EngineCore" || p.Labels != "CPU" || p.SortIndex != 20955 {
		t.Errorf("process 20955 is %+v", p)
	}
	var keys []string
	for _, k := range meta.Keys {
		keys = append(keys, k.Name)
	}
	want := "schemaVersion deviceProperties trace_id vllm_version_tuple distributedInfo vllm_version host_name displayTimeUnit baseTimeNanoseconds"
	if got := strings.Join(keys, " "); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "traceName") {
		t.Errorf("keys %s", got)
	}
	if !meta.HasWindow || meta.End-meta.Start <= 0 || meta.Format != "gzip" {
		t.Errorf("window %d to %d in a %s file", meta.Start, meta.End, meta.Format)
	}
	if at, ok := meta.Unix(1500); !ok || at != 1790857026000001500 {
		t.Errorf("Unix(1500) = %d, %t", at, ok)
	}
}

func TestGaudiFragment(t *testing.T) {
	phases := map[byte]int{}
	threads := map[ID]bool{}
	meta, err := ReadFile(realTrace(t, "gaudi_synapse_logger_fragment.json"), func(ev *Event) error {
		phases[ev.Phase]++
		threads[ev.TID] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if meta.Complete || meta.Events != 439 || phases['B'] != 216 || phases['E'] != 223 || len(threads) != 4 {
		t.Errorf("complete %t, %d events, %v, %d threads", meta.Complete, meta.Events, phases, len(threads))
	}
	if meta.First != 1661619207988636000 || meta.Last != 1661619207993513000 {
		t.Errorf("from %d to %d", meta.First, meta.Last)
	}
}

// names reads a text and lists the names of its events.
func names(t testing.TB, text string) ([]string, Meta, error) {
	t.Helper()
	var got []string
	meta, err := Read(strings.NewReader(text), func(ev *Event) error {
		if (json.Valid(ev.Raw) && utf8.Valid(ev.Raw)) != ev.Strict {
			t.Errorf("%q: strict is %t", ev.Raw, ev.Strict)
		}
		if fixed, ok := AppendStrict(nil, ev.Raw); !ok || !json.Valid(fixed) {
			t.Errorf("%q becomes %q, %t", ev.Raw, fixed, ok)
		}
		got = append(got, ev.Name)
		return nil
	})
	return got, meta, err
}

func TestDamagedFilesAreReadAsFarAsTheyGo(t *testing.T) {
	const a, b = `{"ph":"X","name":"a","ts":1,"dur":2}`, `{"ph":"X","name":"b","ts":2,"dur":2}`
	for _, tc := range []struct {
		name, text string
		want       string
		complete   bool
		warns      bool
	}{
		{"object", `{"traceEvents":[` + a + `,` + b + `]}`, "a b", true, false},
		{"array", `[` + a + `,` + b + `]`, "a b", true, false},
		{"empty array", `[]`, "", true, false},
		{"empty events", `{"traceEvents":[{},` + a + `]}`, " a", true, false},
		{"byte order mark", "\xef\xbb\xbf[" + a + `]`, "a", true, false},
		{"trailing commas", `{"traceEvents":[` + a + `,` + b + `,],}`, "a b", true, false},
		{"trailing comma in an event", `[{"ph":"X","name":"a","args":{"x":[1,],},},]`, "a", true, false},
		{"array never closed", `[` + a + `,` + b + `,`, "a b", false, true},
		{"cut in an event", `{"traceEvents":[` + a + `,` + b[:20], "a", false, true},
		{"cut after the events", `{"traceEvents":[` + a + `,` + b + `]`, "a b", false, true},
		{"cut in the head", `{"schemaVersion":1,"deviceProp`, "", false, true},
		{"bracket missing", `{"traceEvents":[` + a + `,` + b + `}`, "a b", false, true},
		{"bracket missing before a key", `{"traceEvents":[` + a + `,` + b + `,"baseTimeNanoseconds":1}`, "a b", false, true},
		{"comma missing", `[` + a + b + `]`, "a b", true, false},
		{"control characters", "[{\"ph\":\"X\",\"name\":\"a\x01\tb\"}]", "a\x01\tb", true, false},
		{"unescaped quotes", `[{"ph":"X","name":"say "hi", twice","ts":1},` + b + `]`, `say "hi", twice b`, true, true},
		{"unescaped backslash", `[{"ph":"X","name":"C:\dir","ts":1}]`, `C:\dir`, true, false},
		{"NaN", `[{"ph":"X","name":"a","ts":NaN,"dur":-Infinity,"args":{"x":NaN}}]`, "a", true, false},
		{"args null", `[{"ph":"X","name":"a","args":null,"dur":null}]`, "a", true, false},
		{"duplicate keys", `[{"ph":"B","ph":"X","name":"a","name":"b"}]`, "b", true, false},
		{"garbage between", `[` + a + `, ]]] garbage {"x" "y"} , ` + b + `]`, "a", true, true},
		{"a broken event between", `[` + a + `,{"ph":"X","name":"x" "ts":3},` + b + `]`, "a b", true, true},
		{"other things", `[null,` + a + `,3]`, "a", true, true},
		{"from the middle", `"dur":3},` + a + `,` + b + `]`, "a b", false, true},
		{"lines", a + "\n" + b + "\n", "a b", false, true},
		{"text after the end", `[` + a + `] and more`, "a", true, true},
		{"bad UTF-8", "[{\"ph\":\"X\",\"name\":\"a\xff\"}]", "a\ufffd", true, false},
		{"surrogates", `[{"ph":"X","name":"\ud83d\ude00\ud800"}]`, "😀\ufffd", true, false},
		{"deep", `[{"ph":"X","name":"a","args":{"x":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}}]`, "a", true, false},
		{"too deep", `[{"ph":"X","name":"x","args":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `},` + a + `]`, "a", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, meta, err := names(t, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Join(got, " "); s != tc.want || meta.Complete != tc.complete || (len(meta.Warnings) > 0) != tc.warns {
				t.Errorf("got %q, complete %t, warnings %q; want %q, %t, %t", s, meta.Complete, meta.Warnings, tc.want, tc.complete, tc.warns)
			}
		})
	}
}

func TestNumbersAndIDs(t *testing.T) {
	text := `[{"ph":"X","name":"a","pid":"12","tid":-549452224,"ts":"1606910596297023.25","dur":" 3 "},
		{"ph":"X","name":"b","pid":"Spans","tid":"","ts":1661619207988636.2501,"dur":1e3},
		{"ph":"X","name":"c","pid":7.0,"tid":null,"ts":0.0005,"dur":"x","args":{"correlation":"77","stream":"seven"}},
		{"ph":"X","name":007,"pid":00,"tid":01.5,"ts":0,"dur":-nan}]`
	var got []string
	_, err := Read(strings.NewReader(text), func(ev *Event) error {
		got = append(got, fmt.Sprintf("%s %v/%v %d %d %t %d %t %t", ev.Name, ev.PID, ev.TID, ev.TS, ev.Dur, ev.HasDur, ev.Correlation, ev.HasCorrelation, ev.HasStream))
		return nil
	})
	want := []string{
		"a 12/-549452224 1606910596297023250 3000 true 0 false false",
		"b Spans/ 1661619207988636250 1000000 true 0 false false",
		"c 7/0 1 0 false 77 true false",
		"007 00/01.5 0 0 false 0 false false", // as they read once repaired
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestDecimal(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "1": "1000", "1.5": "1500", "0.001": "1", "-2.25": "-2250", "1.0004": "1000", "1.0005": "1001", "-1.0005": "-1001",
		"4651955906029.139": "4651955906029139", "9223372036854775.807": "9223372036854775807", "9223372036854775.808": "no",
		"1e3": "1000000", "12E-1": "1200", "1e-9": "0", "6e-4": "1", "": "no", "x": "no", "1.2.3": "no", "--1": "no", "1e": "no", "1e99": "no",
		"0.00000000000000000000000000000000001": "0", "100000000000000000000000000": "no", "\"7\"": "7000",
	} {
		got := "no"
		if n, ok := Nanoseconds([]byte(text)); ok {
			got = itoa(n)
		}
		if got != want {
			t.Errorf("Nanoseconds(%s) = %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"1790857026000000000": "1790857026000000000", "1.0": "1", "1.5": "no", "\"12\"": "12", "1.790857026e18": "1790857026000000000", "-3": "-3", "25e-1": "no",
	} {
		got := "no"
		if n, ok := Integer([]byte(text)); ok {
			got = itoa(n)
		}
		if got != want {
			t.Errorf("Integer(%s) = %s, want %s", text, got, want)
		}
	}
	for ns, want := range map[int64]string{0: "0.000", 1: "0.001", -1500: "-1.500", 4651955906029139: "4651955906029.139", -9223372036854775808: "-9223372036854775.808"} {
		if got := string(AppendTime(nil, ns)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", ns, got, want)
		}
	}
}

func TestFilesThatAreNoTraces(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "an empty file"},
		{"blanks", " \n ", "a file of blanks"},
		{"zip", "PK\x03\x04xxxx", "a zip archive (unpack it first)"},
		{"page", "<!DOCTYPE html><html>", "an HTML page"},
		{"table", "-------  ----\nName  x\n", "a table of text (profiler_out?)"},
		{"text", "hello there\nyou", `text that begins with "hello there"`},
		{"other JSON", `{"model":"x","results":[1]}`, "a JSON object without traceEvents (its keys: model, results)"},
		{"numbers", `[1,2,3]`, "a JSON array of other things than events"},
		{"records", `[{"ttft":1},{"ttft":2}]`, "a JSON array of objects without ph"},
		{"gzip cut in its head", "\x1f\x8b\x08\x00", "a gzip file that is damaged or cut before its first byte of text (unexpected EOF)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewFile("f.json", strings.NewReader(tc.text)).Read(nil)
			var not *NotTraceError
			if !errors.As(err, &not) || not.Is != tc.want || !strings.HasPrefix(err.Error(), "f.json: not a trace but ") {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func zip(t testing.TB, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPackings(t *testing.T) {
	text := gunzip(t, small)
	half := len(text) / 2
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := zip(t, text)
	const events = 2733
	for _, tc := range []struct {
		name     string
		file     []byte
		events   int64
		complete bool
	}{
		{"plain", text, events, true},
		{"gzip", packed, events, true},
		{"two members", append(zip(t, text[:half]), zip(t, text[half:])...), events, true},
		{"zstd", encoder.EncodeAll(text, nil), events, true},
		{"gzip without its trailer", packed[:len(packed)-5], events, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			meta, err := Read(bytes.NewReader(tc.file), nil)
			if err != nil || meta.Events != tc.events || meta.Complete != tc.complete || meta.FileBytes != int64(len(tc.file)) {
				t.Errorf("%d events, complete %t, %d bytes, %v", meta.Events, meta.Complete, meta.FileBytes, err)
			}
		})
	}
	for _, whole := range [][]byte{packed, encoder.EncodeAll(text, nil)} {
		cut := len(whole) * 2 / 3
		meta, err := Read(bytes.NewReader(whole[:cut]), nil)
		if err != nil || meta.Complete || meta.Events == 0 || meta.Events >= events || len(meta.Warnings) == 0 {
			t.Errorf("cut at %d: %d events, complete %t, %q, %v", cut, meta.Events, meta.Complete, meta.Warnings, err)
		}
	}
}

// TestCutAnywhere cuts a trace at every byte: the events before the cut come out, and
// only those.
func TestCutAnywhere(t *testing.T) {
	text := `{"schemaVersion": 1, "traceEvents": [` + "\n" +
		`{"ph": "X", "name": "a \"b\"", "ts": 1.5, "dur": 2, "args": {"x": [1, {"y": null}]}},` + "\n" +
		`{"ph": "i", "name": "c", "ts": 3, "s": "g"}` + "\n" + `], "baseTimeNanoseconds": 5}`
	first, second := strings.Index(text, "},\n")+1, strings.Index(text, `"g"}`)+4
	for cut := 1; cut <= len(text); cut++ {
		want := int64(0)
		if cut >= first {
			want++
		}
		if cut >= second {
			want++
		}
		meta, err := Read(strings.NewReader(text[:cut]), nil)
		if err != nil || meta.Events != want || meta.Complete != (cut == len(text)) {
			t.Fatalf("cut at %d: %d events, complete %t, %v; want %d", cut, meta.Events, meta.Complete, err, want)
		}
	}
}

// oneByte hands out little at a time.
type fewBytes struct {
	r io.Reader
	n int
}

func (f fewBytes) Read(p []byte) (int, error) { return f.r.Read(p[:min(len(p), f.n)]) }

func TestLongEventsCrossBlocks(t *testing.T) {
	long := strings.Repeat("x", 3*blockSize+17)
	text := `{"big":"` + long + `","traceEvents":[{"ph":"X","name":"a","args":{"s":"` + long + `"}},{"ph":"X","name":"b"}]}`
	got := ""
	meta, err := Read(fewBytes{strings.NewReader(text), 4099}, func(ev *Event) error {
		got += ev.Name
		if v, ok := ev.ArgString("s"); ok && v != long {
			t.Error("the long argument differs")
		}
		return nil
	})
	if err != nil || got != "ab" || !meta.Complete {
		t.Errorf("%q, %+v, %v", got, meta.Warnings, err)
	}
}

func TestStopAndFailures(t *testing.T) {
	n := 0
	meta, err := ReadFile(small, func(*Event) error {
		if n++; n == 3 {
			return ErrStop
		}
		return nil
	})
	if err != nil || meta.Events != 3 {
		t.Errorf("stopped after %d, %v", meta.Events, err)
	}
	own := errors.New("my own")
	if _, err := ReadFile(small, func(*Event) error { return own }); !errors.Is(err, own) {
		t.Errorf("error %v, want the visitor's", err)
	}
	disk := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader(`[{"ph":"X"},`), failing{disk})
	if _, err := NewFile("x.json", r).Read(nil); !errors.Is(err, disk) {
		t.Errorf("error %v, want the disk's", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestNamesWithAddresses(t *testing.T) {
	n := NewNames()
	text := `[{"ph":"X","name":"<built-in method f of T object at 0x7f01>"},{"ph":"X","name":"<built-in method f of T object at 0x7f02>"},
		{"ph":"X","name":"<built-in method g of T object at 0x7f03>"},{"ph":"X","name":"<built-in method g of T object at 0x7f03>"}]`
	f := NewFile("", strings.NewReader(text))
	f.Names = n
	counts := map[string]int{}
	if _, err := f.Read(func(ev *Event) error { counts[ev.Name]++; return nil }); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"<built-in method f of T object>": 2, "<built-in method g of T object>": 2}
	if !maps.Equal(counts, want) {
		t.Errorf("counts %v, want %v", counts, want)
	}
	if got := n.Full(n.ID("<built-in method g of T object>")); got != "<built-in method g of T object at 0x7f03>" {
		t.Errorf("Full = %s", got)
	}
	if got := n.Full(n.ID("<built-in method f of T object>")); got != "<built-in method f of T object>" {
		t.Errorf("Full = %s", got)
	}
}
