package python

import (
	"encoding/json"
	"math"
	"testing"
)

func TestFloat(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0.0", 1: "1.0", 0.1: "0.1", 1e-4: "0.0001", 1e-5: "1e-05", 1.5e-7: "1.5e-07", 1e15: "1000000000000000.0",
		1e16: "1e+16", 1.25e22: "1.25e+22", -2.5: "-2.5", 1e100: "1e+100", math.Inf(1): "inf", math.Inf(-1): "-inf",
	} {
		if got := Float(f); got != want {
			t.Errorf("Float(%g) = %s; want %s", f, got, want)
		}
	}
	if got := Float(math.Copysign(0, -1)); got != "-0.0" {
		t.Errorf("Float(-0) = %s; want -0.0", got)
	}
}

func TestAppendJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"b":[1.50,true,null,"é日😀\u007f\u0001"],"a":2}`: `{"a": 2, "b": [1.5, true, null, "\u00e9\u65e5\ud83d\ude00\u007f\u0001"]}`,
		`[]`: `[]`, `{}`: `{}`, `1e400`: `Infinity`, `-0`: `0`, `123456789012345678901234567890`: `123456789012345678901234567890`,
		`"/\/\"\\\n"`: `"//\"\\\n"`,
	} {
		got, err := AppendJSON(nil, []byte(in))
		if err != nil || string(got) != want {
			t.Errorf("AppendJSON(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{``, `{`, `[1,`, `1 2`, `{"a"}`} {
		if got, err := AppendJSON(nil, []byte(in)); err == nil {
			t.Errorf("AppendJSON(%q) = %s; want an error", in, got)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\u2028\U0001F600\x00")
	f.Fuzz(func(t *testing.T, s string) {
		want, _ := json.Marshal(s)
		var a, b string
		if err := json.Unmarshal(AppendString(nil, s), &a); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(want, &b)
		if a != b {
			t.Errorf("%q reads back as %q", s, a)
		}
	})
}
