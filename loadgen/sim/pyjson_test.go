package sim

import (
	"encoding/json"
	"testing"
)

// What Python 3.11's JSON reader says, asked of it.
func TestPythonSyntax(t *testing.T) {
	const (
		value   = "Expecting value"
		name    = "Expecting property name enclosed in double quotes"
		colon   = "Expecting ':' delimiter"
		comma   = "Expecting ',' delimiter"
		extra   = "Extra data"
		open    = "Unterminated string starting at"
		escape  = `Invalid \uXXXX escape`
		control = "Invalid control character at"
	)
	for _, tc := range []struct {
		text, message string
		at            int
	}{
		{"", value, 0}, {"  ", value, 2}, {"{", name, 1}, {`{"a"`, colon, 4}, {`{"a":`, value, 5}, {`{"a":1`, comma, 6}, {`{"a":1,`, name, 7},
		{`{"a":1,}`, name, 7}, {`{"a" 1}`, colon, 5}, {"{a:1}", name, 1}, {`{"a":"b" "c":1}`, comma, 9}, {`{"k":[}`, value, 6},
		{"[", value, 1}, {"[1", comma, 2}, {"[1,", value, 3}, {"[1,]", value, 3}, {"[1 2]", comma, 3}, {"[tru]", value, 1}, {"[1.5e3,", value, 7},
		{`"abc`, open, 0}, {"\"a\nb\"", control, 2}, {`"\x"`, `Invalid \escape`, 1}, {`"\u12"`, escape, 2}, {`"\u12g4"`, escape, 2}, {`"\`, open, 0}, {`"a\`, open, 0}, {`"\uD800`, escape, 2},
		{"tru", value, 0}, {"-", value, 0}, {"-x", value, 0}, {"01", extra, 1}, {"1.", extra, 1}, {"1.e5", extra, 1}, {"1e", extra, 1}, {"1e+", extra, 1}, {"[1.]", comma, 2},
		{"{} x", extra, 3}, {`{"a":1} {}`, extra, 8}, {"1 2", extra, 2}, {`{"é":`, value, 5}, {"é", value, 0},
	} {
		got := pythonSyntax(tc.text)
		if got == nil || got.message != tc.message || got.at != tc.at {
			t.Errorf("%q: %+v; want %s at %d", tc.text, got, tc.message, tc.at)
		}
	}
	for _, text := range []string{"[NaN]", "-Infinity", `{"a":[1,-2.5e-3,"\u00e9\n",null,true,{}]}`, " [] "} {
		if got := pythonSyntax(text); got != nil {
			t.Errorf("%q: %+v; want no fault", text, got)
		}
	}
}

func TestLenientValues(t *testing.T) {
	read := func(value string) *body {
		b, f := parseBody([]byte(`{"k":` + value + `}`))
		if f != nil {
			t.Fatal(f.message)
		}
		return b
	}
	for value, want := range map[string]int{"3": 3, `"3"`: 3, "3.0": 3, "true": 1, "false": 0, "null": 7} {
		if b := read(value); b.int("k", 7) != want || b.wrong() != nil {
			t.Errorf("int of %s is %d, %v; want %d", value, b.int("k", 7), b.wrong(), want)
		}
	}
	for value, want := range map[string]float64{"3": 3, `"2.5"`: 2.5, "true": 1, "false": 0, "null": 7} {
		if b := read(value); b.float("k", 7) != want || b.wrong() != nil {
			t.Errorf("float of %s is %v; want %v", value, b.float("k", 7), want)
		}
	}
	for value, want := range map[string]bool{"true": true, `"yes"`: true, `"off"`: false, "1": true, "0": false, "null": true} {
		if b := read(value); b.bool("k", true) != want || b.wrong() != nil {
			t.Errorf("bool of %s is %t; want %t", value, b.bool("k", true), want)
		}
	}
	for _, tc := range []struct {
		value string
		read  func(*body)
		want  string
	}{
		{"1.5", func(b *body) { b.int("k", 0) }, "{'type': 'int_from_float', 'loc': 'body.k', 'msg': 'Input should be a valid integer, got a number with a fractional part', 'input': 1.5}"},
		{"[1]", func(b *body) { b.int("k", 0) }, "{'type': 'int_type', 'loc': 'body.k', 'msg': 'Input should be a valid integer', 'input': '<list of 1 items>'}"},
		{`"it's"`, func(b *body) { b.float("k", 0) }, `{'type': 'float_parsing', 'loc': 'body.k', 'msg': 'Input should be a valid number, unable to parse string as a number', 'input': "it's"}`},
		{"{}", func(b *body) { b.float("k", 0) }, "{'type': 'float_type', 'loc': 'body.k', 'msg': 'Input should be a valid number', 'input': '<dict of 0 items>'}"},
		{`"maybe"`, func(b *body) { b.bool("k", false) }, "{'type': 'bool_parsing', 'loc': 'body.k', 'msg': 'Input should be a valid boolean, unable to interpret input', 'input': 'maybe'}"},
		{"2", func(b *body) { b.bool("k", false) }, "{'type': 'bool_type', 'loc': 'body.k', 'msg': 'Input should be a valid boolean', 'input': 2}"},
		{"5", func(b *body) { b.str("k", "") }, "{'type': 'string_type', 'loc': 'body.k', 'msg': 'Input should be a valid string', 'input': 5}"},
		{"true", func(b *body) { b.object("k") }, "{'type': 'dict_type', 'loc': 'body.k', 'msg': 'Input should be a valid dictionary', 'input': True}"},
		{`["a",1]`, func(b *body) { b.strings("k") }, "{'type': 'string_type', 'loc': 'body.k.1', 'msg': 'Input should be a valid string', 'input': 1}"},
		{`"a"`, func(b *body) { b.ints("k") }, "{'type': 'list_type', 'loc': 'body.k', 'msg': 'Input should be a valid list', 'input': 'a'}"},
	} {
		b := read(tc.value)
		tc.read(b)
		if len(b.faults) != 1 || b.faults[0] != tc.want {
			t.Errorf("%s: %q; want %q", tc.value, b.faults, tc.want)
		}
	}
}

func TestStringsAreWrittenLikeTheServerDoes(t *testing.T) {
	const text = "é \"q\" \\ \n\r\t\b\f\x10 \u2028<&>"
	if got, want := quoted(text), `"é \"q\" \\ \n\r\t\b\f\u0010 `+"\u2028"+`<&>"`; got != want {
		t.Errorf("quoted: %s; want %s", got, want)
	}
	if got, want := asciiString("é😀"), `"\u00e9\ud83d\ude00"`; got != want {
		t.Errorf("asciiString: %s; want %s", got, want)
	}
	for text, want := range map[string]string{"a": "'a'", "it's": `"it's"`, `'"`: `'\'"'`, "a\n\x01": `'a\n\x01'`} {
		if got := pyRepr(text); got != want {
			t.Errorf("pyRepr(%q) = %s; want %s", text, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0.0", -1: "-1.0", 0.1: "0.1", 1e-5: "1e-05", 123456.0: "123456.0", 1234567: "1.234567e+06", 1795508933.1: "1.7955089331e+09"} {
		if got := promFloat(v); got != want {
			t.Errorf("promFloat(%v) = %s; want %s", v, got, want)
		}
	}
}

func FuzzPythonSyntax(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"\u00e9"]}`, `{"a":`, "[1,]", `"\`, "-Infinity", "1e+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault := pythonSyntax(text)
		if fault == nil {
			return
		}
		if json.Valid([]byte(text)) && fault.message != "maximum recursion depth exceeded" {
			t.Errorf("%q is JSON, but: %+v", text, fault)
		}
		if fault.at < 0 || fault.at > len(text) {
			t.Errorf("%q: the fault is at %d", text, fault.at)
		}
	})
}
