package datasets

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"servebench/internal/numpy"
)

// Nothing that a file holds may make a reader panic, and what it accepts has to make sense.

func FuzzLines(f *testing.F) {
	for _, s := range []string{"{\"prompt\": \"a\"}\n\n{\"prompt\": [1, 2.5, null]}\n", "\ufeff{}", "[", "{\"a\": {\"b\": [true]}}", "{\"a\": 1}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := parseLines(bytes.NewReader(data), "f", 0)
		if (err == nil) != (len(rows) > 0) {
			t.Fatalf("%d rows and %v", len(rows), err)
		}
		for _, r := range rows {
			// What was read can be written, read again, and is the same.
			spelled := spell(r.fields)
			again, err := parse([]byte(spelled))
			if err != nil || spell(again) != spelled {
				t.Fatalf("%s: %s became %s, %v", r.place, spelled, spell(again), err)
			}
			promptOf(r.fields)
		}
	})
}

func FuzzRows(f *testing.F) {
	for _, s := range []string{"[{\"a\": 1}, {\"a\": \"b\"}]", "{\"a\": 1} {\"b\": 2}", "a,b\n1,\"2\n3\"\n", "", "[1]", "\ufeff[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(yield func(row, error) bool) bool{
			func(yield func(row, error) bool) bool { return jsonRows(bytes.NewReader(data), "f", yield) },
			func(yield func(row, error) bool) bool { return csvRows(',')(bytes.NewReader(data), "f", yield) },
		} {
			var failed error
			ended := read(func(r row, err error) bool {
				if failed != nil {
					t.Fatalf("a row after the fault %v", failed)
				}
				failed = err
				return err == nil
			})
			if ended == (failed != nil) {
				t.Fatalf("ended %t with %v", ended, failed)
			}
		}
	})
}

func FuzzConversations(f *testing.F) {
	f.Add([]byte(`[{"conversations": [{"value": "a"}, {"value": "b"}], "image": "x"}, {}]`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := readConversations(bytes.NewReader(data), "f", true)
		if (err == nil) != (len(rows) > 0) {
			t.Fatalf("%d rows and %v", len(rows), err)
		}
	})
}

func FuzzWholeConversations(f *testing.F) {
	f.Add([]byte(`[{"id": "a", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}]`))
	f.Add([]byte(`{"filetype": "generate_conversations", "num_conversations": 1, "text_files": ["x"], "prompt_input": {"num_turns": {"distribution": "zipf", "alpha": 1.2, "max": 9},
		"prefix_num_tokens": {"distribution": "lognormal", "average": 9}, "num_tokens": {"distribution": "uniform", "min": 1, "max": 9}}, "prompt_output": {"num_tokens": {"distribution": "poisson", "alpha": 3}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if talks, _, err := readSaid(data); err == nil {
			for _, s := range talks {
				if len(s.turns) == 0 {
					t.Fatalf("a conversation without turns in %q", data)
				}
			}
		}
		s, err := readGenerated(data)
		if err != nil {
			return
		}
		for _, l := range []*lengths{s.Input.Turns, s.Input.Tokens, s.Input.Prefix, s.Output.Tokens} {
			for _, n := range l.sample(numpy.NewLegacy(1), 3) {
				if n < -mostTokens {
					t.Fatalf("%s gave %d", l, n)
				}
			}
		}
	})
}

func FuzzBursts(f *testing.F) {
	f.Add([]byte("Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,2,3\n"))
	f.Add([]byte("Model,Response tokens,a,b\nGPT-4,1,-1,x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := readBursts(bytes.NewReader(data), "f")
		if (err == nil) != (len(rows) > 0) {
			t.Fatalf("%d rows and %v", len(rows), err)
		}
		for _, r := range rows {
			if r.input < 0 || r.input > mostTokens {
				t.Fatalf("a prompt of %d tokens", r.input)
			}
		}
	})
}

func FuzzParquet(f *testing.F) {
	data, err := os.ReadFile("testdata/shapes.parquet")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		read, closeReader, columns, err := openParquet(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		defer closeReader()
		batch := make([]any, 16)
		for range 4 {
			clear(batch)
			n, err := read(batch)
			for _, v := range batch[:n] {
				fieldsOf(columns, v)
			}
			if err != nil {
				return
			}
		}
	})
}

func FuzzSound(f *testing.F) {
	f.Add(wavFile(1, 2, 8000, 16, []byte{1, 2, 3, 4}))
	f.Add([]byte("fLaC\x00"))
	f.Add([]byte("OggS\x00OpusHead"))
	f.Add([]byte{0xff, 0xfb, 0x90, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readClip(data, "f.mp3")
		if err != nil {
			return
		}
		if !(c.seconds >= 0) {
			t.Fatalf("%v seconds", c.seconds)
		}
		if c.format == "wav" {
			again, err := readClip(c.data, "f.wav")
			if err != nil || again.seconds != c.seconds || !bytes.Equal(again.data, c.data) {
				t.Fatalf("%v s became %v s, %v", c.seconds, again.seconds, err)
			}
		}
	})
}

func FuzzBuckets(f *testing.F) {
	f.Add("{(256, 256, 1): 0.5, '(720, 1280, 16)': 0}")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ParseBuckets(s); err == nil && !strings.Contains(s, "{") {
			t.Fatal("accepted")
		}
	})
}

func FuzzQuote(f *testing.F) {
	f.Add("a\"\\\n\x7f\u2028é😀\x00")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		quoted := quote(s)
		var back string
		if err := json.Unmarshal([]byte(quoted), &back); err != nil || back != s {
			t.Fatalf("%q became %s, then %q, %v", s, quoted, back, err)
		}
		for _, c := range []byte(quoted) {
			if c < ' ' || c > '~' {
				t.Fatalf("%s has the byte %#x", quoted, c)
			}
		}
	})
}
