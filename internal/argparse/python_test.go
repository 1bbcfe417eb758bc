package argparse

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestPython compares with what CPython 3.11 makes of numbers, JSON, literals and strings: in each line of
// the file the kind, the text, its value's repr ("error" if none), and for JSON json.dumps of the value.
func TestPython(t *testing.T) {
	file, err := os.Open("testdata/cpython.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); lines++ {
		var line []string
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		kind, text, want := line[0], line[1], strings.Join(line[2:], " ")
		var value any
		var err error
		switch kind {
		case "int":
			value, err = ParseInt(text)
		case "float":
			value, err = ParseFloat(text)
		case "json":
			value, err = Loads(text)
		case "literal":
			value, err = Literal(text)
		case "repr":
			value = text
		}
		got := Repr(value)
		if kind == "json" {
			got += " " + Dumps(value)
		}
		if err != nil {
			got = strings.TrimSpace(strings.Repeat("error ", len(line)-2))
		}
		if got != want {
			t.Errorf("%s %q: got %s, want %s", kind, text, got, want)
		}
	}
	if lines != 1200 {
		t.Errorf("%d lines, want 1200", lines)
	}
}

func TestPythonByHand(t *testing.T) {
	surrogate, err := Loads(`"\ud800x\udc00"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ got, want string }{
		{Repr(surrogate), `'\ud800x\udc00'`},
		{Dumps(surrogate), `"\ud800x\udc00"`},
		{Repr("\xff"), `'\udcff'`}, // a byte of a command line that is no UTF-8
		{Dumps("\xff😀"), `"\udcff\ud83d\ude00"`},
		{Repr(Tuple{1}), "(1,)"},
		{Repr([]string{"a", "it's"}), `['a', "it's"]`},
		{Dumps([]string{"a"}), `["a"]`},
		{Dumps(Tuple{1, nil}), "[1, null]"},
		{FloatRepr(1e16), "1e+16"},
		{FloatRepr(123456789012345680), "1.2345678901234568e+17"},
		{FloatRepr(0.0001), "0.0001"},
		{FloatRepr(0.00001), "1e-05"},
		{Str("x"), "x"},
		{Str(nil), "None"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
	deep := strings.Repeat("[", 100_000)
	if _, err := Loads(deep); err == nil {
		t.Error("a hundred thousand brackets were read")
	}
	if _, err := Literal(deep); err == nil {
		t.Error("a hundred thousand brackets were read as a literal")
	}
	if _, err := ParseInt(strings.Repeat("9", 4301)); err == nil {
		t.Error("4301 digits were read")
	}
}

// FuzzJSON wants what was read to be written so that it reads the same.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a": [1, 2.5, null, true, NaN], "a": "é\ud83d\ude00\u0000"}`, `-Infinity`, `"\ud800"`, `1e400`, `[`, `{"a":}`, `123456789012345678901234567890`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := Loads(text)
		if err != nil {
			return
		}
		once := Dumps(value)
		if !utf8.ValidString(once) {
			t.Fatalf("%q is no UTF-8", once)
		}
		again, err := Loads(once)
		if err != nil {
			t.Fatalf("%q does not read back: %v", once, err)
		}
		if Dumps(again) != once || Repr(again) == "" {
			t.Fatalf("%q became %q", once, Dumps(again))
		}
	})
}

// FuzzLiteral wants a literal's repr to be a literal of the same value.
func FuzzLiteral(f *testing.F) {
	for _, seed := range []string{"{(256, 256, 1): 0.5}", "{'(1,2,3)': 1,}", "(1,)", "-1_0", "0x1f", `"a\n" 'b'`, "[", "{[]:1}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := Literal(text)
		if err != nil {
			return
		}
		shown := Repr(value)
		if strings.Contains(shown, `\x`) || strings.Contains(shown, `\u`) || strings.Contains(shown, `\U`) || strings.Contains(shown, "inf") {
			return // spellings that Literal has no need to read
		}
		again, err := Literal(shown)
		if err != nil || Repr(again) != shown {
			t.Fatalf("%q became %q, %v", shown, Repr(again), err)
		}
	})
}

// FuzzParse wants every command line to end in values or an error, in both modes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"--num-prompts\x003", "--extra-body.a.b+\x001,2\x00--extra-body\x00{}", "--header\x00a\x00--\x00b", "-h", "--help=x", "--penalty\x00-1.5", "--x.+", "--=", "-.+=", "--config\x00f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, strict := range []bool{false, true} {
			p := table()
			p.Strict = strict
			p.ReadConfig = func(path string) ([]Setting, error) { return []Setting{{Key: path, Value: path}}, nil }
			words := strings.Split(line, "\x00")
			values, err := p.Parse(words)
			if (values == nil) == (err == nil) {
				t.Fatalf("values %v, error %v", values, err)
			}
			p.Complete(words, words[len(words)-1])
		}
	})
}
