package results

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRecordLine(t *testing.T) {
	queue := 2 * ms
	r := streamed()
	r.ID, r.RequestID, r.Model, r.Kind = 7, "bench-1-7", "org/m", Probe
	r.InputTokens, r.AskedTokens, r.AudioSeconds = 12, 5, 1.5
	r.Status, r.Finish, r.EndMarked, r.Text = 200, "stop", true, "a\"\n\x01é"
	r.ServerQueue, r.Failure = &queue, &Failure{FailCut, "gone"}
	r.Chunks[2].Shared = true
	want := `{"id":7,"kind":"probe","rid":"bench-1-7","model":"org/m","in":12,"ask":5,"audio":1.5,"due":1000000000,` +
		`"rel":2000000,"disp":20000000,"enc":3000000,"conn":24000000,"wb":24000000,"wr":25000000,"hd":27000000,` +
		`"at":[125000000,10000000,20000000],"lag":[1000000,1000000,2000000],"tok":[1,1,3],"hid":[0],"sh":[2],` +
		`"done":160000000,"code":200,"fin":"stop","end":true,"use":[7,5,-1],"text":"a\"\n\u0001é","sqt":2000000,"fail":["cut","gone"]}`
	got := appendRecord(nil, r)
	if string(got) != want {
		t.Errorf("line is\n%s\nwant\n%s", got, want)
	}
	back, err := parseRecord(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
}

func TestRecordLineOfNothing(t *testing.T) {
	got := appendRecord(nil, &Record{Kind: Load, InputTokens: -1, Reply: Reply{OutputTokens: -1}})
	if string(got) != `{"id":0}` {
		t.Errorf("an empty record is %s", got)
	}
}

func TestRecordLineTakesAnyOrderAndUnknownKeys(t *testing.T) {
	got, err := parseRecord([]byte(` { "tok" : 1, "new":{"a":[1,{"b":"}"}],"c":null}, "lag": 0, "done": 5, "at":[1, 2 ],"due":100 , "x":-1.5e3, "id":3}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Record{ID: 3, Kind: Load, InputTokens: -1, Due: 100, Reply: Reply{
		Done: 105, OutputTokens: -1,
		Chunks: []Chunk{{At: 101, Tokens: 1, Visible: true}, {At: 103, Tokens: 1, Visible: true}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadRecordLines(t *testing.T) {
	for _, tc := range []struct{ line, wants string }{
		{``, "ends too early"},
		{`[]`, "'{' should be"},
		{`{"id":1`, "ends too early"},
		{`{"id":x}`, "id: column 7: no whole number"},
		{`{"id":99999999999999999999}`, "too large"},
		{`{"id":9223372036854775808}`, "too large"},
		{`{"id":1}{`, "text after the record"},
		{`{"id":1;}`, "where ',' or '}' should be"},
		{`{"at":[1,2],"lag":[1],"tok":1}`, "2 chunks, but 1 lags"},
		{`{"at":[1],"lag":1}`, "1 chunks, but 1 lags and 0 token counts"},
		{`{"at":[1],"lag":1,"tok":1,"hid":[1]}`, "chunk 1 is hidden, but there are 1"},
		{`{"at":[1],"lag":1,"tok":1,"sh":[-1]}`, "chunk -1 shared"},
		{`{"use":[1]}`, "use has 1 numbers"},
		{`{"fail":["x"]}`, "1 texts, not 2"},
		{`{"end":maybe}`, "neither true nor false"},
		{`{"audio":NaN}`, "no number"},
		{`{"rid":"\q"}`, "rid"},
		{`{"new":}`, "no value"},
		{`{"new":,}`, "no value"},
		{`{"rid":"x`, "ends too early"},
		{`{"rid":"x\`, "ends too early"},
	} {
		if r, err := parseRecord([]byte(tc.line)); err == nil || !strings.Contains(err.Error(), tc.wants) {
			t.Errorf("%s: %v, %v; want an error with %q", tc.line, r, err, tc.wants)
		}
	}
}

func TestRecordLineIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		b := appendRecord(nil, r)
		if !json.Valid(b) {
			t.Fatalf("no JSON: %s", b)
		}
		back, err := parseRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(r, back); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, b)
		}
	})
}

// drawRecord is any record that a run could make, and many it could not.
func drawRecord(t *rapid.T) *Record {
	moment := rapid.OneOf(rapid.Just(Moment(0)), rapid.Map(rapid.Int64(), func(v int64) Moment { return Moment(v) }))
	draw := func(name string) Moment { return moment.Draw(t, name) }
	count := rapid.IntRange(-1, math.MaxInt)
	text := rapid.String()
	r := &Record{
		ID: count.Draw(t, "id"), Kind: rapid.SampledFrom([]Kind{Load, Warmup, Ready, Probe}).Draw(t, "kind"),
		RequestID: text.Draw(t, "rid"), Model: text.Draw(t, "model"), Stage: count.Draw(t, "stage"),
		User: count.Draw(t, "user"), Turn: count.Draw(t, "turn"), InputTokens: count.Draw(t, "in"),
		AskedTokens: count.Draw(t, "ask"), AudioSeconds: rapid.Float64().Draw(t, "audio"), Sequences: count.Draw(t, "seqs"),
		Due: draw("due"), Released: draw("rel"), Dispatched: draw("disp"),
		Encoding: time.Duration(rapid.Int64().Draw(t, "enc")),
		Reply: Reply{
			Connected: draw("conn"), WriteBegan: draw("wb"), Written: draw("wr"), Headers: draw("hd"), Done: draw("done"),
			Status: count.Draw(t, "code"), Finish: text.Draw(t, "fin"), EndMarked: rapid.Bool().Draw(t, "end"),
			Text: text.Draw(t, "text"), OutputTokens: count.Draw(t, "out"),
		},
	}
	for range rapid.IntRange(0, 5).Draw(t, "chunks") {
		r.Chunks = append(r.Chunks, Chunk{
			At: draw("at"), Lag: time.Duration(rapid.Int64().Draw(t, "lag")), Tokens: count.Draw(t, "tok"),
			Visible: rapid.Bool().Draw(t, "visible"), Shared: rapid.Bool().Draw(t, "shared"),
		})
	}
	if rapid.Bool().Draw(t, "usage") {
		r.Usage = &Usage{count.Draw(t, "prompt"), count.Draw(t, "completion"), count.Draw(t, "cached")}
	}
	if rapid.Bool().Draw(t, "failed") {
		r.Failure = &Failure{text.Draw(t, "class"), text.Draw(t, "message")}
	}
	if rapid.Bool().Draw(t, "timed") {
		d := time.Duration(rapid.Int64().Draw(t, "queue"))
		r.ServerQueue, r.ServerTTFT = &d, &d
	}
	return r
}

func FuzzParseRecord(f *testing.F) {
	f.Add(appendRecord(nil, streamed()))
	f.Add([]byte(`{"id":1,"x":[{"y":"\\"}],"at":[1,2],"lag":0,"tok":[1,2],"hid":[1],"use":[1,2,3],"fail":["a","b"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		again, err := parseRecord(appendRecord(nil, r))
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("(-once +twice):\n%s", diff)
		}
	})
}

func BenchmarkRecordLine(b *testing.B) {
	r := streamed()
	for i := range 100 {
		r.Chunks = append(r.Chunks, Chunk{At: r.Done.Add(time.Duration(i) * 10_123_456), Lag: time.Duration(3000 + i), Tokens: 1, Visible: true})
	}
	line := appendRecord(nil, r)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line = appendRecord(line[:0], r)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(r.Chunks)), "ns/chunk")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseRecord(line); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(r.Chunks)), "ns/chunk")
	})
}
