package argparse

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// table is a small command in the likeness of the real one.
func table() *Parser {
	return &Parser{
		Prog:    "tool run",
		Summary: "Runs.",
		Example: "  tool run --num-prompts 3",
		Groups:  []Group{{"load", "how much"}, {"body", "what is sent"}},
		Options: []*Option{
			{Flag: "--num-prompts", Group: "load", Type: Int, Default: 1000, Help: "How many requests."},
			{Flag: "--num-warmups", Group: "load", Type: Int, Default: 0},
			{Flag: "--rate", Group: "load", Type: Float, Default: 1},
			{Flag: "--penalty", Group: "body", Type: Float},
			{Flag: "--header", Group: "body", Nargs: ZeroOrMore, Secret: true},
			{Flag: "--goodput", Group: "load", Nargs: OneOrMore},
			{Flag: "--extra-body", Group: "body", Type: JSON},
			{Flag: "--limits", Group: "body", Type: JSON, Default: func() *Dict { d := &Dict{}; d.Set("image", 255); return d }()},
			{Flag: "--self-timed", Group: "load", Action: OnOff},
			{Flag: "--profile", Group: "load", Action: StoreTrue, Default: false},
			{Flag: "--backend", Group: "body", Default: "openai", Choices: []string{"openai", "vllm"}},
			{Flag: "--label", Group: "body"},
			{Flag: "--level", Group: "body", Nargs: Optional, Type: Int, Const: 9},
			{Flag: "--profile-optional", Group: "load", Action: StoreTrue, Default: false, Extension: true},
			{Flag: "--num-runs", Group: "load", Type: Int, Default: 1, Extension: true},
		},
	}
}

// shown is the values that were given, as key=repr.
func shown(v *Values) string {
	var parts []string
	for value := range v.All() {
		if value.By != Default {
			parts = append(parts, value.Option.Dest()+"="+Repr(value.Value))
		}
	}
	return strings.Join(parts, " ")
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		line    string // words between blanks; ␣ is a blank in a word
		want    string
		wantErr string
		strict  string // where Strict differs: the values, or "error: ..."
	}{
		{line: "", want: ""},
		{line: "--num_prompts 3", want: "num_prompts=3"},
		{line: "--num-p=3", want: "num_prompts=3"},
		{line: "--num 3", wantErr: "ambiguous option: --num could match --num-prompts, --num-warmups"},
		{line: "--prof", want: "profile=True"},
		{line: "--profile-o", want: "profile_optional=True"},
		{line: "--num-r 2", want: "num_runs=2"},
		{line: "--rate -inf", want: "rate=-inf", strict: "error: argument --rate: expected one argument"},
		{line: "--rate -1e-3", want: "rate=-0.001", strict: "error: argument --rate: expected one argument"},
		{line: "--penalty -1.5", want: "penalty=-1.5", strict: "error: list index out of range"},
		{line: "--penalty -.5 --num-prompts 2", want: "num_prompts=2 penalty=-0.5", strict: "error: unrecognized arguments: - {\"5\": \"--num-prompts\"}"},
		{line: "--penalty 1e3", want: "penalty=1000.0"},
		{line: "--num-prompts 1_000", want: "num_prompts=1000"},
		{line: "--num-prompts 1e3", wantErr: "argument --num-prompts: invalid int value: '1e3'"},
		{line: "--num-prompts 99999999999999999999", wantErr: "argument --num-prompts: int value out of range: '99999999999999999999'"},
		{line: "--rate 0x10", wantErr: "argument --rate: invalid float value: '0x10'"},
		{line: "--header", want: "header=[]"},
		{line: "--header a=1 -5 b --rate 2", want: "rate=2.0 header=['a=1', '-5', 'b']"},
		{line: "--header=a b", wantErr: "unrecognized arguments: b"},
		{line: "--header a -- b", wantErr: "unrecognized arguments: -- b"},
		{line: "--label -- b", wantErr: "argument --label: expected one argument"},
		{line: "--label -x␣y", want: "label='-x y'"},
		{line: "--label -", want: "label='-'"},
		{line: "--label=", want: "label=''"},
		{line: "--goodput", wantErr: "argument --goodput: expected at least one argument"},
		{line: "--level", want: "level=9"},
		{line: "--level --profile", want: "profile=True level=9"},
		{line: "--level 4", want: "level=4"},
		{line: "--no-self-timed", want: "self_timed=False"},
		{line: "--no-self-timed --self_timed", want: "self_timed=True"},
		{line: "--self-timed=1", wantErr: "argument --self-timed/--no-self-timed: ignored explicit argument '1'"},
		{line: "--profile x", wantErr: "unrecognized arguments: x"},
		{line: "--backend tgi", wantErr: "argument --backend: invalid choice: 'tgi' (choose from 'openai', 'vllm')"},
		{line: "--num-promts 3", wantErr: "unrecognized arguments: --num-promts 3 (did you mean --num-prompts?)", strict: "error: unrecognized arguments: --num-promts 3"},
		{line: "--nothing-like-it 3", wantErr: "unrecognized arguments: --nothing-like-it 3"},
		{line: "-hx", wantErr: "argument -h/--help: ignored explicit argument 'x'"},
		{line: "--extra-body.a.b 1 --extra-b.a.c=x", want: `extra_body={'a': {'b': 1, 'c': 'x'}}`, strict: `extra_body={'a': {'c': 'x'}}`},
		{line: `--extra-body {"a":1,"b":[1]} --extra-body.b+ 2,3 --extra-body.c 1.5k`, want: "extra_body={'a': 1, 'b': [1, '2', '3'], 'c': 1500}",
			strict: "extra_body={'b': ['2', '3'], 'c': 1500}"},
		{line: `--extra-body [1] --extra-body.a 1`, wantErr: "argument --extra-body: keys cannot be merged into [1], which is no object", strict: "extra_body={'a': 1}"},
		{line: `--limits.video 3`, want: "limits={'video': 3}"},
		{line: "--extra-body.a", wantErr: "argument --extra-body.a: expected one argument", strict: "error: list index out of range"},
		{line: "--extra-body.a --profile", wantErr: "argument --extra-body.a: expected one argument", strict: "extra_body={'a': '--profile'}"},
		{line: "--label.x 3", wantErr: "argument --label: takes no keys in '--label.x': only the JSON options do (--extra-body, --limits)", strict: `label='{"x": 3}'`},
		{line: "--label -a.b", wantErr: "argument --label: expected one argument", strict: "error: list index out of range"},
		{line: "-O3", wantErr: "unrecognized arguments: -O3", strict: "error: unrecognized arguments: --optimization-level 3"},
		{line: "--extra-body.a 007 --extra-body.b 0x7 --extra-body.c 1.5M --extra-body.d 1_0", want: "extra_body={'a': 7, 'b': '0x7', 'c': '1.5M', 'd': 10}"},
	} {
		words := strings.Fields(tc.line)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "␣", " ")
		}
		for _, strict := range []bool{false, true} {
			name := tc.line
			want := tc.want
			if tc.wantErr != "" {
				want = "error: " + tc.wantErr
			}
			if strict {
				name = "strict/" + name
				if tc.strict != "" {
					want = tc.strict
				}
			}
			t.Run(name, func(t *testing.T) {
				p := table()
				p.Strict = strict
				v, err := p.Parse(words)
				var got string
				if err != nil {
					got = "error: " + err.Error()
				} else {
					got = shown(v)
				}
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

func TestErrorTextAndStatus(t *testing.T) {
	_, err := table().Parse([]string{"--num-prompts", "x"})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	want := "usage: tool run [options]\ntool run: error: argument --num-prompts: invalid int value: 'x'\n"
	if e.Text() != want || e.Status() != 2 {
		t.Errorf("got %q, %d; want %q, 2", e.Text(), e.Status(), want)
	}
	strict := table()
	strict.Strict = true
	_, err = strict.Parse([]string{"--penalty", "-1.5"})
	if !errors.As(err, &e) || e.Raises != "IndexError" || e.Status() != 1 {
		t.Errorf("got %v (%+v), want an IndexError with status 1", err, e)
	}
}

func TestRepeatedOptionsWarn(t *testing.T) {
	for _, tc := range []struct {
		strict bool
		words  []string
		want   []string
	}{
		{false, []string{"--num-prompts", "1", "--num-p", "2"}, []string{"--num-prompts is given more than once: the last one counts"}},
		{true, []string{"--num-prompts", "1", "--num_prompts=2"}, []string{"Found duplicate keys --num-prompts"}},
		{true, []string{"--extra-body.a", "1", "--extra-body.a", "2", "--rate", "1", "--rate", "1"}, []string{"Found duplicate keys --extra-body.a, --rate"}},
		{false, []string{"--extra-body.a", "1", "--extra-body.a", "2"}, []string{"--extra-body.a is given more than once: the last one counts"}},
		{false, []string{"--extra-body.a", "1", "--extra-body.b", "2"}, nil},
	} {
		p := table()
		p.Strict = tc.strict
		v, err := p.Parse(tc.words)
		if err != nil {
			t.Errorf("%q: %v", tc.words, err)
			continue
		}
		if !slices.Equal(v.Warnings, tc.want) {
			t.Errorf("%q: got %q, want %q", tc.words, v.Warnings, tc.want)
		}
	}
}

func TestConfigIsOverruledByTheCommandLine(t *testing.T) {
	body := &Dict{}
	body.Set("a", 1)
	body.Set("b", 2)
	p := table()
	p.ReadConfig = func(path string) ([]Setting, error) {
		if path != "run.yaml" {
			return nil, errors.New("cannot open " + path)
		}
		return []Setting{
			{Key: "num_prompts", Value: 7}, {Key: "rate", Value: 2.5}, {Key: "profile", Value: true},
			{Key: "self-timed", Value: false}, {Key: "header", Value: []any{"a=1", 2}}, {Key: "extra-body", Value: body},
			{Key: "extra_body.c", Value: "x"}, {Key: "label", Value: nil}, {Key: "num-warmups", Value: 3},
		}, nil
	}
	v, err := p.Parse([]string{"--num-prompts", "9", "--config", "run.yaml", "--extra-body.b", "5"})
	if err != nil {
		t.Fatal(err)
	}
	want := "num_prompts=9 num_warmups=3 rate=2.5 header=['a=1', '2'] extra_body={'a': 1, 'b': 5, 'c': 'x'} self_timed=False profile=True"
	if shown(v) != want {
		t.Errorf("got  %s\nwant %s", shown(v), want)
	}
	for dest, want := range map[string]Source{"num_prompts": CommandLine, "num_warmups": File, "backend": Default, "extra_body": CommandLine} {
		if got := v.SetBy(dest); got != want {
			t.Errorf("%s: set by %v, want %v", dest, got, want)
		}
	}
	if b, _ := body.Get("b"); b != 2 || body.Len() != 2 {
		t.Errorf("the file's own object was changed: %s", Repr(body))
	}
	if v.ConfigPath != "run.yaml" {
		t.Errorf("config path %q", v.ConfigPath)
	}
}

func TestConfigFaultsNameTheirLine(t *testing.T) {
	for _, tc := range []struct {
		setting Setting
		want    string
	}{
		{Setting{Key: "num_promts", Value: 7, Line: 3}, `run.yaml:3: unknown key "num_promts" (did you mean num-prompts?)`},
		{Setting{Key: "num_prompts", Value: 7.5, Line: 2}, "run.yaml:2: argument --num-prompts: invalid int value: '7.5'"},
		{Setting{Key: "profile", Value: "yes", Line: 2}, "run.yaml:2: argument --profile: takes true or false, not 'yes'"},
		{Setting{Key: "label", Value: true, Line: 2}, "run.yaml:2: argument --label: expected one argument, not True"},
		{Setting{Key: "goodput", Value: []any{}, Line: 2}, "run.yaml:2: argument --goodput: expected at least one argument"},
		{Setting{Key: "label.x", Value: 1}, "run.yaml: --label takes no keys"},
		{Setting{Key: "config", Value: "b.yaml"}, "run.yaml: --config has no place in a config file"},
	} {
		p := table()
		p.ReadConfig = func(string) ([]Setting, error) { return []Setting{tc.setting}, nil }
		_, err := p.Parse([]string{"--config=run.yaml"})
		if err == nil || err.Error() != tc.want {
			t.Errorf("%+v: got %v, want %s", tc.setting, err, tc.want)
		}
	}
}

func TestInto(t *testing.T) {
	var (
		number   int
		maybe    *int
		rate     float64
		penalty  *float64
		headers  []string
		body     any
		timed    *bool
		label    *string
		backend  string
		profile  bool
		function any
	)
	p := table()
	targets := map[string]any{"--num-prompts": &number, "--level": &maybe, "--rate": &rate, "--penalty": &penalty, "--header": &headers,
		"--extra-body": &body, "--self-timed": &timed, "--label": &label, "--backend": &backend, "--profile": &profile,
		"--goodput": func(v any) error {
			function = v
			if v != nil && v.([]string)[0] == "bad" {
				return errors.New("no such metric")
			}
			return nil
		}}
	for _, o := range p.Options {
		o.Into = targets[o.Flag]
	}
	if _, err := p.Parse(strings.Fields("--penalty 0 --header a b --no-self-timed --goodput x:1")); err != nil {
		t.Fatal(err)
	}
	if number != 1000 || maybe != nil || rate != 1 || penalty == nil || *penalty != 0 || !slices.Equal(headers, []string{"a", "b"}) ||
		body != nil || timed == nil || *timed || label != nil || backend != "openai" || profile || Repr(function) != "['x:1']" {
		t.Errorf("wrong values: %v %v %v %v %v %v %v %v %v %v %v", number, maybe, rate, penalty, headers, body, timed, label, backend, profile, function)
	}
	_, err := p.Parse(strings.Fields("--goodput bad"))
	if err == nil || err.Error() != "argument --goodput: no such metric" {
		t.Errorf("got %v", err)
	}
}

func TestHelp(t *testing.T) {
	for _, tc := range []struct {
		word string
		has  []string
		not  []string
	}{
		{"--help", []string{"usage: tool run [options]", "Runs.", "load", "how much", "tool run --num-prompts 3"}, []string{"--num-warmups"}},
		{"-h", []string{"usage: tool run [options]"}, []string{"--num-warmups"}},
		{"--help=all", []string{"--num-prompts N", "How many requests. (default: 1000)", "--self-timed, --no-self-timed", "--header [TEXT ...]", "--goodput TEXT [TEXT ...]", "{openai,vllm}"}, nil},
		{"--help=Load", []string{"load:", "--rate X"}, []string{"--header"}},
		{"--help=warm", []string{`Options matching "warm":`, "--num-warmups N"}, []string{"--rate"}},
		{"--help=num_w", []string{"--num-warmups N"}, []string{"--rate"}},
		{"--help=zzz", []string{`no group or option matches "zzz"`}, nil},
	} {
		_, err := table().Parse([]string{tc.word})
		var h *Help
		if !errors.As(err, &h) {
			t.Errorf("%s: got %v, want *Help", tc.word, err)
			continue
		}
		for _, part := range tc.has {
			if !strings.Contains(h.Text, part) {
				t.Errorf("%s: no %q in:\n%s", tc.word, part, h.Text)
			}
		}
		for _, part := range tc.not {
			if strings.Contains(h.Text, part) {
				t.Errorf("%s: %q in:\n%s", tc.word, part, h.Text)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	for _, tc := range []struct {
		words []string
		last  string
		want  string
	}{
		{nil, "--num_", "--num-prompts --num-warmups --num-runs"},
		{nil, "--no", "--no-self-timed"},
		{[]string{"--backend"}, "v", "vllm"},
		{nil, "--backend=o", "--backend=openai"},
		{[]string{"--label"}, "x", ""},
		{nil, "x", ""},
	} {
		var got []string
		for _, c := range table().Complete(tc.words, tc.last) {
			got = append(got, c.Word)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q %q: got %q, want %q", tc.words, tc.last, got, tc.want)
		}
	}
}

// TestShortOptions holds letters, switches behind one dash, options that add up and those that must be given against Python 3.11's argparse.
func TestShortOptions(t *testing.T) {
	parser := &Parser{Prog: "tool", Options: []*Option{
		{Flag: "--input-file", Short: "-i", Required: true},
		{Flag: "--model", Short: "-m", Required: true},
		{Flag: "--num-clients", Short: "-p", Type: Int, Default: 1},
		{Flag: "--excel-output", Short: "-e", Action: StoreTrue, Default: false},
		{Flag: "--verbose", Short: "-v", Action: StoreTrue, Default: false},
		{Flag: "--header", Action: Append},
		{Flag: "--limit", Type: Int, Default: 0},
	}}
	for _, tc := range []struct{ line, want string }{
		{"-i a -m b", "input_file='a' model='b'"},
		{"-ia -mb -p4", "input_file='a' model='b' num_clients=4"},
		{"-i=a -m b -p=4", "input_file='a' model='b' num_clients=4"},
		{"-i a -m b -ev", "input_file='a' model='b' excel_output=True verbose=True"},
		{"-i a -m b -evp3", "input_file='a' model='b' num_clients=3 excel_output=True verbose=True"},
		{"-i a -m b -ex", "error: argument -e/--excel-output: ignored explicit argument 'x'"},
		{"-i a -m b -e=1", "error: argument -e/--excel-output: ignored explicit argument '1'"},
		{"-i a", "error: the following arguments are required: -m/--model"},
		{"", "error: the following arguments are required: -i/--input-file, -m/--model"},
		{"-m b --nope", "error: the following arguments are required: -i/--input-file"},
		{"-i a -m b -x", "error: unrecognized arguments: -x"},
		{"-i a -m b -p", "error: argument -p/--num-clients: expected one argument"},
		{"-i a -m b -p x", "error: argument -p/--num-clients: invalid int value: 'x'"},
		{"-i a -m b -pe", "error: argument -p/--num-clients: invalid int value: 'e'"},
		{"-i a -m b --limit -1 --header a=b --header=c", "input_file='a' model='b' header=['a=b', 'c'] limit=-1"},
		{"--inp a --mod b", "input_file='a' model='b'"},
	} {
		got := ""
		if values, err := parser.Parse(strings.Fields(tc.line)); err != nil {
			got = "error: " + err.Error()
		} else {
			got = shown(values)
			if len(values.Warnings) > 0 {
				t.Errorf("%q warns: %q", tc.line, values.Warnings)
			}
		}
		if got != tc.want {
			t.Errorf("%q\n got %s\nwant %s", tc.line, got, tc.want)
		}
	}
	if help := parser.Help("model"); !strings.Contains(help, "-m, --model TEXT") {
		t.Errorf("help:\n%s", help)
	}
}
