package datasets_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servebench/datasets"
)

// A templated tokenizer puts a chat into angle brackets.
type templatedTokenizer struct{ bytesTokenizer }

func (templatedTokenizer) Render(messages json.RawMessage, _ bool, args map[string]json.RawMessage) (string, error) {
	var chat []struct{ Role, Content string }
	if err := json.Unmarshal(messages, &chat); err != nil {
		return "", err
	}
	out := ""
	for _, m := range chat {
		out += "<" + m.Role + ":" + m.Content + ">"
	}
	for _, key := range []string{"mode", "tools"} {
		if v, ok := args[key]; ok {
			out += string(v)
		}
	}
	return out, nil
}

// write makes a file of lines and gives its path.
func write(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func texts(set *datasets.Set) []string {
	var out []string
	for _, s := range samples(set) {
		out = append(out, s.Prompt.Text)
	}
	return out
}

func TestCustom(t *testing.T) {
	path := write(t, "p.jsonl", "\ufeff"+`{"prompt": "12", "output_tokens": 7}`, "", `{"prompt": "34", "output_tokens": "8"}`)
	keep := datasets.Options{KeepOrder: true, SkipTemplate: true, Tokenizer: templatedTokenizer{}}

	set := mustLoad(t, &datasets.Custom{Path: path, OutputLen: -1}, keep)
	if got := texts(set); !slices.Equal(got, []string{"12", "34"}) {
		t.Errorf("numeric strings became %q", got)
	}
	if s := set.At(1); s.OutputTokens != 8 || s.InputTokens != 3 || s.ID != "1" {
		t.Errorf("sample 1: %+v", s)
	}
	compat := keep
	compat.Compat = true
	if _, err := datasets.Load(t.Context(), &datasets.Custom{Path: path, OutputLen: 5}, compat); err == nil || !strings.Contains(err.Error(), "p.jsonl:1: the prompt is a number") {
		t.Errorf("as vLLM: %v", err)
	}

	o := datasets.Options{KeepOrder: true, Tokenizer: templatedTokenizer{}, Requests: 3, TemplateArgs: datasets.Members{{Key: "mode", Value: json.RawMessage("1")}}}
	set = mustLoad(t, &datasets.Custom{Path: path, OutputLen: 5}, o)
	if got, want := texts(set)[:2], []string{"<user:12>1", "<user:34>1"}; !slices.Equal(got, want) {
		t.Errorf("templated: %q, want %q", got, want)
	}
	if set.Len() != 3 || set.At(2).ID != "2" {
		t.Errorf("oversampled: %+v", samples(set))
	}
	o.NoOversample = true
	if set = mustLoad(t, &datasets.Custom{Path: path, OutputLen: 5}, o); set.Len() != 2 {
		t.Errorf("%d samples without oversampling", set.Len())
	}

	set = mustLoad(t, &datasets.Custom{Path: path, OutputLen: 5}, datasets.Options{KeepOrder: true})
	if s := set.At(0); s.InputTokens != -1 || s.OutputTokens != 5 {
		t.Errorf("without a tokenizer: %+v", s)
	}
}

func TestCustomPromptsOfEveryKind(t *testing.T) {
	path := write(t, "p.jsonl",
		`{"prompt": ["ab", "cde"]}`, `{"prompt": [7, 8, 9]}`, `{"prompt": {"b": 1.50, "a": "ü"}}`, `{"prompt": null}`, `{"prompt": []}`)
	set := mustLoad(t, &datasets.Custom{Path: path, OutputLen: 5}, datasets.Options{KeepOrder: true})
	if p := set.At(0).Prompt; !slices.Equal(p.List, []string{"ab", "cde"}) {
		t.Errorf("texts: %+v", p)
	}
	if p := set.At(1).Prompt; !slices.Equal(p.IDs, []int{7, 8, 9}) {
		t.Errorf("ids: %+v", p)
	}
	for i, want := range []string{`{"b": 1.50, "a": "\u00fc"}`, "null", "[]"} {
		if got := string(set.At(2 + i).Prompt.JSON); got != want {
			t.Errorf("prompt %d: %s, want %s", 2+i, got, want)
		}
	}
	lines := []string{`{"prompt": ["ab", "cde"]}`, `{"prompt": [7, 8, 9]}`}
	set = mustLoad(t, &datasets.Custom{Path: write(t, "q.jsonl", lines...), OutputLen: 5},
		datasets.Options{KeepOrder: true, SkipTemplate: true, Tokenizer: bytesTokenizer{}})
	if a, b := set.At(0).InputTokens, set.At(1).InputTokens; a != 7 || b != 3 {
		t.Errorf("%d and %d tokens, want 7 and 3", a, b)
	}
}

func TestFilesNameThePlaceOfAFault(t *testing.T) {
	jsonl := func(lines ...string) string { return write(t, "f.jsonl", lines...) }
	custom := func(lines ...string) datasets.Source { return &datasets.Custom{Path: jsonl(lines...), OutputLen: 1} }
	withTokenizer := datasets.Options{Tokenizer: templatedTokenizer{}, Requests: 3}
	trace := func(line string) datasets.Source {
		src, err := datasets.New("timed_trace")
		if err != nil {
			t.Fatal(err)
		}
		src.(*datasets.TimedTrace).Path = jsonl(`{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1]}`, line)
		return src
	}
	for _, tc := range []struct {
		name string
		src  datasets.Source
		want string
	}{
		{"not there", &datasets.Custom{Path: "nowhere.jsonl"}, "nowhere.jsonl: no such file"},
		{"not JSON", custom(`{"prompt": "a"}`, `{"prompt": `), "f.jsonl:2: unexpected EOF"},
		{"two values", custom(`{"prompt": "a"} 1`), "f.jsonl:1: something follows the JSON value"},
		{"no object", custom(`[]`), "f.jsonl:1: a list, not a JSON object"},
		{"not UTF-8", custom("{\"prompt\": \"\xff\"}"), "f.jsonl:1: not UTF-8"},
		{"no rows", custom("", " "), "f.jsonl: no rows"},
		{"no prompt", custom(`{"text": "a"}`), `f.jsonl:1: no "prompt": have text`},
		{"prompt of an object", custom(`{"prompt": {}}`), "f.jsonl:1: the prompt is an object: the chat template wants a string"},
		{"no length", &datasets.Custom{Path: jsonl(`{"prompt": "a"}`), OutputLen: -1}, `f.jsonl:1: no "output_tokens"`},
		{"length of a word", &datasets.Custom{Path: jsonl(`{"prompt": "a", "output_tokens": "many"}`), OutputLen: -1}, `f.jsonl:1: "output_tokens" is "many", not a number`},
		{"deep", custom(strings.Repeat("[", 300) + strings.Repeat("]", 300)), "f.jsonl:1: nested deeper than 200"},

		{"spec_bench", &datasets.SpecBench{Path: jsonl(`{"prompt": "a"}`)}, `f.jsonl:1: no list "turns": have prompt`},
		{"spec_bench category", &datasets.SpecBench{Path: jsonl(`{"turns": ["a"], "category": "qa"}`), Category: "math"}, `no row of category "math": have qa`},
		{"speed_bench folder", &datasets.SpeedBench{Path: jsonl("{}"), Subset: "qualitative"}, "not a folder: speed_bench wants the folder that holds qualitative.jsonl"},
		{"speed_bench message", &datasets.SpeedBench{Path: filepath.Dir(jsonl(`{"messages": [1]}`)), Subset: "f"}, "f.jsonl:1: the first message is a number"},
		{"speed_bench content", &datasets.SpeedBench{Path: filepath.Dir(jsonl(`{"messages": [{}]}`)), Subset: "f"}, `f.jsonl:1: the first message has no "content"`},

		{"sharegpt", &datasets.ShareGPT{Path: write(t, "s.json", `{}`)}, "s.json: not a JSON list of conversations"},
		{"sharegpt short", &datasets.ShareGPT{Path: write(t, "s.json", `[{"conversations": [{"value": "a"}]}]`)}, "s.json: no conversation has two turns"},
		{"sharegpt cut", &datasets.ShareGPT{Path: write(t, "s.json", `[{"conversations": [{"value": "a"}, {"value": "b"}]},`)}, "s.json: "},
		{"sharegpt value", &datasets.ShareGPT{Path: write(t, "s.json", `[{"conversations": [{"value": "a"}, {}]}]`)}, "s.json: conversation 0: a turn has no value"},
		{"sharegpt image", &datasets.ShareGPT{Path: write(t, "s.json", `[{"conversations": [{"value": "a"}, {"value": "b"}], "image": 3}]`)}, "image is not a path or URL"},
		{"sharegpt filtered", &datasets.ShareGPT{Path: write(t, "s.json", `[{"conversations": [{"value": "a"}, {"value": "b"}]}]`)}, "no sample is left to repeat: every row was filtered out"},

		{"burstgpt columns", &datasets.BurstGPT{Path: write(t, "b.csv", "a,b")}, "b.csv:1: the columns are a, b: need Model, Response tokens"},
		{"burstgpt number", &datasets.BurstGPT{Path: write(t, "b.csv", "Timestamp,Model,Request tokens,Response tokens", "1,GPT-4,few,3")}, `b.csv:2: the lengths are "few" and "3"`},
		{"burstgpt answer", &datasets.BurstGPT{Path: write(t, "b.csv", "Timestamp,Model,Request tokens,Response tokens", "1,GPT-4,2,x")}, `b.csv:2: Response tokens is "x", not a number`},
		{"burstgpt ragged", &datasets.BurstGPT{Path: write(t, "b.csv", "Timestamp,Model,Request tokens,Response tokens", "1,GPT-4")}, "b.csv:2: 2 columns, not 4"},
		{"burstgpt empty", &datasets.BurstGPT{Path: write(t, "b.csv", "Timestamp,Model,Request tokens,Response tokens", "1,Other,2,3")}, "b.csv: no answered request to GPT-4"},

		{"trace time", trace(`{"input_length": 1, "output_length": 1}`), `f.jsonl:2: no "timestamp": have input_length, output_length; label_timestamp names the key`},
		{"trace length", trace(`{"timestamp": 1, "input_length": -3, "output_length": 1}`), `f.jsonl:2: "input_length" is -3: not a number of tokens`},
		{"trace word", trace(`{"timestamp": "soon", "input_length": 3, "output_length": 1}`), `f.jsonl:2: "timestamp" is "soon": not a time`},
		{"trace hashes", trace(`{"timestamp": 1, "input_length": 3, "output_length": 1, "hash_ids": 4}`), `f.jsonl:2: "hash_ids" is a number, not a list`},

		{"image rows", &datasets.CustomImage{Path: jsonl(`{"prompt": "a"}`)}, `f.jsonl:1: need "prompt" and "image_files", or "content": have prompt`},
		{"image list", &datasets.CustomImage{Path: jsonl(`{"prompt": "a", "image_files": []}`)}, `f.jsonl:1: "image_files" must be a list with at least one file`},
		{"image part", &datasets.CustomImage{Path: jsonl(`{"content": [{"type": "video"}]}`)}, `f.jsonl:1: content part 0 is of type "video": have text, image, image_url`},
		{"image url", &datasets.CustomImage{Path: jsonl(`{"content": [{"type": "image_url", "image_url": 1}]}`)}, `content part 0: "image_url" must be a string or an object with a url`},
		{"audio", &datasets.CustomAudio{Path: jsonl(`{"prompt": "a"}`)}, `f.jsonl:1: no "audio": have prompt`},
		{"audio file", &datasets.CustomAudio{Path: jsonl(`{"audio": "gone.wav"}`)}, "f.jsonl:1: open gone.wav: no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := datasets.Load(t.Context(), tc.src, withTokenizer); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestTimedTraceShortPrompts(t *testing.T) {
	src := &datasets.TimedTrace{
		Path:      write(t, "t.jsonl", `{"t": 1500, "i": 5, "o": 2, "h": ["x"]}`, `{"t": 1500, "i": 5, "o": 2}`, `{"t": 99, "i": 4, "o": 2, "h": ["x", "y"]}`),
		ChunkSize: 4, Multiplier: 0.001, TimestampKey: "t", InputKey: "i", OutputKey: "o", HashesKey: "h",
	}
	set := mustLoad(t, src, datasets.Options{Requests: 9, Tokenizer: bytesTokenizer{}})
	if set.Len() != 3 {
		t.Fatalf("%d samples", set.Len())
	}
	a, b, c := set.At(0), set.At(1), set.At(2)
	if a.InputTokens != 4 || b.InputTokens != 0 || c.InputTokens != 4 {
		t.Errorf("lengths %d, %d, %d; want 4, 0, 4", a.InputTokens, b.InputTokens, c.InputTokens)
	}
	if !slices.Equal(a.Prompt.IDs, c.Prompt.IDs) {
		t.Errorf("one hash gives %v and %v", a.Prompt.IDs, c.Prompt.IDs)
	}
	if a.Timestamp != 1.5 || !a.Timed {
		t.Errorf("due at %v", a.Timestamp)
	}
	if len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "2 rows have too few hashes") {
		t.Errorf("notes %q", set.Notes)
	}
	src.HashSeed = 5
	if other := mustLoad(t, src, datasets.Options{Requests: 9, Tokenizer: bytesTokenizer{}}).At(0); slices.Equal(other.Prompt.IDs, a.Prompt.IDs) {
		t.Error("another hash seed gives the same ids")
	}
}

func TestSpeedBenchCutsPrompts(t *testing.T) {
	path := write(t, "f.jsonl", `{"messages": [{"content": "abcdefgh"}], "category": "x"}`)
	set := mustLoad(t, &datasets.SpeedBench{Path: filepath.Dir(path), Subset: "f", OutputLen: 2, MaxInputLen: 3},
		datasets.Options{SkipTemplate: true, Tokenizer: bytesTokenizer{}})
	if got := texts(set); !slices.Equal(got, []string{"abc"}) {
		t.Errorf("prompts %q", got)
	}
}

func TestCustomImageInline(t *testing.T) {
	picture := []byte("\x89PNG\r\n\x1a\n and more")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone.png" {
			http.NotFound(w, r)
			return
		}
		w.Write(picture)
	}))
	defer web.Close()
	path := write(t, "f.jsonl", `{"prompt": "a", "image_files": ["beside.png", "`+web.URL+`/web.png", "data:image/gif;base64,AAAA"]}`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "beside.png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	set := mustLoad(t, &datasets.CustomImage{Path: path, OutputLen: 4, Inline: true}, datasets.Options{})
	data := `{"type": "image_url", "image_url": {"url": "data:image/png;base64,` + base64.StdEncoding.EncodeToString(picture) + `"}}`
	want := []string{data, data, `{"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAAA"}}`}
	for i, m := range set.At(0).Media {
		if string(m.JSON) != want[i] {
			t.Errorf("image %d: %s, want %s", i, m.JSON, want[i])
		}
	}
	for ref, fault := range map[string]string{
		web.URL + "/gone.png": "404 Not Found",
		"f.jsonl":             "not an image",
		"none.png":            "no such file",
	} {
		path := write(t, "f.jsonl", `{"prompt": "a", "image_files": ["`+ref+`"]}`)
		if _, err := datasets.Load(t.Context(), &datasets.CustomImage{Path: path, Inline: true}, datasets.Options{}); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: got %v, want %q in it", ref, err, fault)
		}
	}
}

func TestCustomAudio(t *testing.T) {
	clip := filepath.Join(goldenRoot(), "datasets", "files", "pics", "clip.wav")
	data, err := os.ReadFile(clip)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "f.jsonl", `{"prompt": "Say it.", "audio": "clip.wav", "output_tokens": 9}`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "clip.wav"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	upload := mustLoad(t, &datasets.CustomAudio{Path: path, OutputLen: 5}, datasets.Options{Tokenizer: templatedTokenizer{}}).At(0)
	if upload.Prompt.Text != "<user:Say it.>" || upload.OutputTokens != 5 || upload.InputTokens != 15 {
		t.Errorf("upload: %+v", upload.Prompt)
	}
	if m := upload.Media[0]; m.Type != "audio" || m.Name != "audio.wav" || string(m.Data) != string(data) || m.Seconds != 0.05 {
		t.Errorf("upload: %s %s of %d bytes and %v s", m.Type, m.Name, len(m.Data), m.Seconds)
	}
	chat := mustLoad(t, &datasets.CustomAudio{Path: path, OutputLen: -1}, datasets.Options{Tokenizer: templatedTokenizer{}, Chat: true}).At(0)
	want := `{"type": "input_audio", "input_audio": {"data": "` + base64.StdEncoding.EncodeToString(data) + `", "format": "wav"}}`
	if m := chat.Media[0]; m.Type != "input_audio" || string(m.JSON) != want {
		t.Errorf("chat: %s %s", m.Type, m.JSON)
	}
	if chat.Prompt.Text != "Say it." || chat.OutputTokens != 9 {
		t.Errorf("chat: %+v", chat)
	}
}
