package datasets_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/datasets"
)

// folder makes a folder of files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func hf(path, name string) *datasets.HF { return &datasets.HF{Path: path, Name: name, MaxDistance: 1} }

var inOrder = datasets.Options{KeepOrder: true, Tokenizer: templatedTokenizer{}, Requests: 100, NoOversample: true}

func TestHFSets(t *testing.T) {
	five, long := `"abcde"`, `"`+strings.Repeat("x", 1100)+`"`
	three := 3
	for _, tc := range []struct {
		name, set string
		rows      []string
		change    func(*datasets.HF, *datasets.Options)
		texts     []string
		outputs   []int
	}{
		{"mt-bench", "philschmid/mt-bench", []string{`{"turns": ["hi", "b"]}`}, nil, []string{"<user:hi>"}, []int{256}},
		{"without template", "philschmid/mt-bench", []string{`{"turns": ["hi", "b"]}`},
			func(h *datasets.HF, o *datasets.Options) { o.SkipTemplate, h.OutputLen = true, &three }, []string{"hi"}, []int{3}},
		{"humaneval", "openai/openai_humaneval", []string{`{"prompt": "def f():"}`}, nil, []string{"<user:def f():>"}, []int{256}},
		{"gsm8k", "openai/gsm8k", []string{`{"question": "1+1?"}`}, nil, []string{"<user:1+1?>"}, []int{256}},
		{"coder", "likaixin/InstructCoder", []string{`{"input": "x", "instruction": "Do."}`}, nil,
			[]string{"<user:x\n\nDo. Just output the code, do not include any explanation.>"}, []int{200}},
		{"conversation", "Aeala/ShareGPT_Vicuna_unfiltered",
			[]string{
				`{"conversations": [{"value": ` + five + `}, {"value": "seven77"}]}`,
				`{"conversations": [{"value": ` + five + `}]}`,
				`{"conversations": [{"value": ` + long + `}, {"value": "seven77"}]}`,
				`{"conversations": [{"value": ` + five + `}, {"value": "b"}]}`,
			}, nil, []string{"abcde"}, []int{8}},
		{"conversation of one length", "Aeala/ShareGPT_Vicuna_unfiltered",
			[]string{`{"conversations": [{"value": "a"}, {"value": "b"}]}`},
			func(h *datasets.HF, _ *datasets.Options) { h.OutputLen = &three }, []string{"a"}, []int{3}},
		{"aimo", "AI-MO/NuminaMath-1.5",
			[]string{`{"problem": ` + long + `, "solution": "abc"}`, `{"problem": "ab", "solution": "abcd"}`}, nil,
			[]string{strings.Repeat("x", 1100)}, []int{4}},
		{"zeta", "zed-industries/zeta", []string{`{"events": "E", "input": "I", "output": "no <|editable_region_start|>yes"}`}, nil,
			[]string{"### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then rewrite an excerpt that the user provides, suggesting the appropriate edits within the excerpt, taking into account the cursor location.\n\n### User Edits:\n\nE\n\n### User Excerpt:\n\nI\n\n### Response:\n\n"},
			[]int{len("<|editable_region_start|>yes") + 1}},
		{"mlperf", "mgoin/mlperf-inference-llama2-data", []string{`{"system_prompt": "S", "question": "Q", "output": "abcd"}`, `{"system_prompt": "S", "question": "Q", "output": "abc"}`}, nil,
			[]string{"<system:S><user:Q>"}, []int{4}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, o := hf(folder(t, map[string]string{"train.jsonl": strings.Join(tc.rows, "\n"), "test.jsonl": strings.Join(tc.rows, "\n")}), tc.set), inOrder
			if tc.change != nil {
				tc.change(h, &o)
			}
			set := mustLoad(t, h, o)
			if got := texts(set); !slices.Equal(got, tc.texts) {
				t.Errorf("prompts %q, want %q", got, tc.texts)
			}
			for i, s := range samples(set) {
				if s.OutputTokens != tc.outputs[i] || s.InputTokens != len(tc.texts[i])+1 {
					t.Errorf("sample %d: %d and %d tokens, want %d and %d", i, s.InputTokens, s.OutputTokens, len(tc.texts[i])+1, tc.outputs[i])
				}
			}
		})
	}
}

func TestHFBlazedit(t *testing.T) {
	root := folder(t, map[string]string{"vdaita/edit_5k_char/train.jsonl": `
		{"code": "a", "change_request": "b", "norm_distance": 0.1}
		{"code": "c", "change_request": "d", "norm_distance": 0.5}
		{"code": "e", "change_request": "f", "norm_distance": 0.9}`})
	t.Chdir(root)
	h := hf("vdaita/edit_5k_char", "")
	h.MinDistance, h.MaxDistance = 0.5, 0.9
	o := inOrder
	o.SkipTemplate = true
	set := mustLoad(t, h, o)
	want := "Given a code file, please apply the change requests and generate the new file.\n\nOriginal file:\n```python\nc\n```\n\nChange request:\nd\n\nPlease generate the new code file in the \"New file\" section below."
	if set.Len() != 2 || set.At(0).Prompt.Text != want || set.At(0).ID != "1" || set.At(0).OutputTokens != 4000 {
		t.Errorf("%+v", samples(set))
	}
	// Ids are row numbers, and rows were passed over: the copies collide.
	o.NoOversample, o.Requests = false, 3
	if _, err := datasets.Load(t.Context(), h, o); err == nil || !strings.Contains(err.Error(), "two samples have the id 2") {
		t.Errorf("oversampled: %v", err)
	}
	if _, err := datasets.Load(t.Context(), hf(root, "vdaita/edit_5k_char"), o); err == nil || !strings.Contains(err.Error(), "and none vdaita/edit_5k_char") {
		t.Errorf("by name: %v", err)
	}
}

func TestHFVideo(t *testing.T) {
	root := folder(t, map[string]string{"validation.json": `[{"question": "Q?", "choices": {"A": "x", "B": "y", "C": null},
		"video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/1.mp4"},
		{"question": "", "choices": {}, "video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/2.mp4"}]`, "videos/1.mp4": ""})
	set := mustLoad(t, hf(root, "yale-nlp/MMVU"), inOrder)
	s := set.At(0)
	if s.Prompt.Text != "Q? A.x B.y C.None" {
		t.Errorf("prompt %q", s.Prompt.Text)
	}
	if want := `{"type": "video_url", "video_url": {"url": "file://` + root + `/videos/1.mp4"}}`; string(s.Media[0].JSON) != want {
		t.Errorf("video %s, want %s", s.Media[0].JSON, want)
	}
	if m := string(set.At(1).Media[0].JSON); !strings.Contains(m, `"https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/2.mp4"`) {
		t.Errorf("a video that is not here is %s", m)
	}
}

func TestHFParquetImages(t *testing.T) {
	shapes, err := os.ReadFile(filepath.Join("testdata", "shapes.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	root := folder(t, map[string]string{"data/train-00000-of-00001.parquet": string(shapes)})
	set := mustLoad(t, hf(root, "lmarena-ai/vision-arena-bench-v0.1"), inOrder)
	if got := texts(set); !slices.Equal(got, []string{"Look at this.", "And this?"}) {
		t.Errorf("prompts %q", got)
	}
	var part struct {
		ImageURL struct{ URL string } `json:"image_url"`
	}
	if err := json.Unmarshal(set.At(0).Media[0].JSON, &part); err != nil {
		t.Fatal(err)
	}
	data, ok := strings.CutPrefix(part.ImageURL.URL, "data:image/jpeg;base64,")
	if !ok {
		t.Fatalf("image %.60s", part.ImageURL.URL)
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(raw))
	if err != nil || img.Bounds().Dx() != 4 || img.Bounds().Dy() != 3 {
		t.Errorf("image %v, %v; want 4 by 3", img.Bounds(), err)
	}
	o := inOrder
	o.Chat = true
	s := mustLoad(t, hf(root, "lmarena-ai/vision-arena-bench-v0.1"), o).At(1)
	if !strings.HasPrefix(string(s.Prompt.JSON), `[{"role": "user", "content": [{"text": "And this?", "type": "text"}, {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,`) {
		t.Errorf("chat %.200s", s.Prompt.JSON)
	}
}

func TestHFStar(t *testing.T) {
	root := folder(t, map[string]string{"val.jsonl": `{"question": "What is it? Options: A, B", "image": "pic.png"}`})
	s := mustLoad(t, hf(root, "Lin-Chen/MMStar"), inOrder).At(0)
	if s.Prompt.Text != "What is it?" || string(s.Media[0].JSON) != `{"type": "image_url", "image_url": {"url": "file://pic.png"}}` {
		t.Errorf("%+v", s)
	}
	o := inOrder
	o.Chat = true
	if s := mustLoad(t, hf(root, "Lin-Chen/MMStar"), o).At(0); s.Media != nil {
		t.Errorf("the image is in the message and beside it: %s", s.Media[0].JSON)
	}
}

func TestHFSpeech(t *testing.T) {
	clip, err := os.ReadFile(filepath.Join(goldenRoot(), "datasets", "files", "pics", "clip.wav"))
	if err != nil {
		t.Fatal(err)
	}
	root := folder(t, map[string]string{
		"train.jsonl": `{"audio": {"path": "clip.wav"}}` + "\n" + `{"url": "clip.wav"}`, "clip.wav": string(clip),
	})
	h := hf(root, "openslr/librispeech_asr")
	h.TokenizerName = "openai/whisper-tiny"
	set := mustLoad(t, h, inOrder)
	if s := set.At(1); set.Len() != 2 || s.Prompt.Text != "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>" || s.Media[0].Seconds != 0.05 || s.OutputTokens != 1024 {
		t.Errorf("%d samples: %+v", set.Len(), s.Prompt)
	}
	h.TokenizerName = "CohereLabs/x"
	if s := mustLoad(t, h, inOrder).At(0); !strings.HasPrefix(s.Prompt.Text, "<|startofcontext|>") {
		t.Errorf("prompt %q", s.Prompt.Text)
	}
	h.TokenizerName, h.MaxAudio = "other", 0.01
	set = mustLoad(t, h, inOrder)
	if set.Len() != 0 || len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "2 rows were left out by their lengths") {
		t.Errorf("%d samples, notes %q", set.Len(), set.Notes)
	}
}

func TestHFCalls(t *testing.T) {
	row := func(id, question string) string {
		return `{"id": "` + id + `", "question": [[{"role": "system", "content": "S"}, {"role": "user", "content": "` + question + `"}]],` +
			` "function": [{"name": "f", "parameters": {"type": "dict", "properties": {"a": {"type": "float"}, "b": {"type": "tuple", "items": {"type": "any"}}}}}]}`
	}
	root := folder(t, map[string]string{
		"BFCL_v3_simple.json":   row("s0", "one") + "\n" + `{"question": [], "function": []}` + "\n" + row("s1", "three"),
		"BFCL_v3_multiple.json": row("m0", "two"),
	})
	h := hf(root, "gorilla-llm/Berkeley-Function-Calling-Leaderboard")
	h.Categories = []string{"simple", "multiple"}
	set := mustLoad(t, h, inOrder)
	if got := texts(set); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("prompts %q", got)
	}
	s := set.At(0)
	tools := `[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "array", "items": {"type": "string"}}}}}}]`
	if string(s.Extra[0].Value) != tools || s.Extra[0].Key != "tools" || s.Extra[1].Key != "tool_choice" || string(s.Extra[1].Value) != `"auto"` {
		t.Errorf("extra %s", s.Extra)
	}
	if want := `[{"role": "system", "content": "S"}, {"role": "user", "content": "one"}]`; string(s.Messages) != want {
		t.Errorf("messages %s, want %s", s.Messages, want)
	}
	if want := len("<system:S><user:one>"+tools) + 1; s.InputTokens != want || s.OutputTokens != 512 || s.ID != "0" {
		t.Errorf("%d and %d tokens, id %s; want %d and 512", s.InputTokens, s.OutputTokens, s.ID, want)
	}
	h.Categories = nil
	if _, err := datasets.Load(t.Context(), h, inOrder); err == nil || !strings.Contains(err.Error(), `no category "live_simple"`) {
		t.Errorf("default categories: %v", err)
	}
}

func TestHFFiles(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprintln(z, `{"question": "zipped"}`)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	line := func(q string) string { return `{"question": "` + q + `"}` }
	for _, tc := range []struct {
		name          string
		files         map[string]string
		subset, split string
		want          []string
		fault         string
	}{
		{"default split", map[string]string{"test.jsonl": line("a"), "train.jsonl": line("b")}, "", "", []string{"a"}, ""},
		{"named split", map[string]string{"test.jsonl": line("a"), "train.jsonl": line("b")}, "", "train", []string{"b"}, ""},
		{"several files", map[string]string{"data/test-1.jsonl": line("b"), "data/test-0.json": "[" + line("a") + "]"}, "", "", []string{"a", "b"}, ""},
		{"folder of a split", map[string]string{"eval/x.csv": "question\n\"a, \"\"b\"\"\"\nc\n"}, "", "", []string{`a, "b"`, "c"}, ""},
		{"usual subset", map[string]string{"main/test.jsonl": line("m"), "socratic/test.jsonl": line("s")}, "", "", []string{"m"}, ""},
		{"subset", map[string]string{"main/test.jsonl": line("m"), "socratic/test.jsonl": line("s")}, "socratic", "", []string{"s"}, ""},
		{"the only subset by its name", map[string]string{"test.jsonl": line("a")}, "default", "", []string{"a"}, ""},
		{"zipped", map[string]string{"test.jsonl.gz": zipped.String()}, "", "", []string{"zipped"}, ""},
		{"tabs", map[string]string{"test.tsv": "id\tquestion\n1\ta, b\n"}, "", "", []string{"a, b"}, ""},
		{"hidden files", map[string]string{"test.jsonl": line("a"), ".cache/test.jsonl": line("b"), "README.md": "x"}, "", "", []string{"a"}, ""},

		{"no split", map[string]string{"train.jsonl": line("a")}, "", "", nil, `no split "test": have train`},
		{"no subset", map[string]string{"test.jsonl": line("a")}, "other", "", nil, `no subset "other": the files are test.jsonl`},
		{"no files", map[string]string{"README.md": "x"}, "", "", nil, "no data files among README.md: have readers for .csv"},
		{"no column", map[string]string{"test.jsonl": `{"a": 1}`}, "", "", nil, `test.jsonl: row 1: no "question": have a`},
		{"broken", map[string]string{"test.jsonl": line("a") + "\n{"}, "", "", nil, "test.jsonl: row 2: unexpected EOF"},
		{"broken list", map[string]string{"test.json": "[" + line("a")}, "", "", nil, "test.json: "},
		{"numbers", map[string]string{"test.json": "[1]"}, "", "", nil, "test.json: row 1: a number, not an object"},
		{"empty", map[string]string{"test.json": " \n"}, "", "", nil, "test.json: no rows"},
		{"ragged", map[string]string{"test.csv": "question,b\n1\n"}, "", "", nil, "test.csv: record on line 2: wrong number of fields"},
		{"not zipped", map[string]string{"test.csv.gz": "question"}, "", "", nil, "test.csv.gz: "},
		{"not Parquet", map[string]string{"test.parquet": "PAR1 and nothing PAR1"}, "", "", nil, "test.parquet: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := hf(folder(t, tc.files), "openai/gsm8k")
			h.Subset, h.Split = tc.subset, tc.split
			o := inOrder
			o.SkipTemplate = true
			set, err := datasets.Load(t.Context(), h, o)
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("got %v, want %q in it", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := texts(set); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestHFFromTheCache(t *testing.T) {
	const commit = "aaaaaaaabbbbbbbbccccccccddddddddeeeeeeee"
	cache := folder(t, map[string]string{
		"hub/datasets--openai--gsm8k/refs/main":                                commit,
		"hub/datasets--openai--gsm8k/snapshots/" + commit + "/main/test.jsonl": `{"question": "cached"}`,
		"hub/datasets--openai--gsm8k/snapshots/old/main/test.jsonl":            `{"question": "old"}`,
	})
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HOME", cache)
	t.Setenv("HF_HUB_OFFLINE", "1")
	o := inOrder
	o.SkipTemplate = true
	if got := texts(mustLoad(t, hf("openai/gsm8k", ""), o)); !slices.Equal(got, []string{"cached"}) {
		t.Errorf("got %q", got)
	}
	if _, err := datasets.Load(t.Context(), hf("openai/openai_humaneval", ""), o); err == nil || !strings.Contains(err.Error(), "openai/openai_humaneval is not in the cache") {
		t.Errorf("got %v", err)
	}
}

// Only the files that are needed are fetched: not the other split, and not the second part
// of this one, since the first has enough rows.
func TestHFFromTheHub(t *testing.T) {
	files := map[string]string{
		"README.md": "x", "data/train-0.jsonl": "{}",
		"data/test-0.jsonl": `{"question": "one"}` + "\n" + `{"question": "two"}`, "data/test-1.jsonl": `{"question": "three"}`,
	}
	var fetched []string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/datasets/openai/gsm8k/revision/main" {
			var siblings []map[string]string
			for name := range files {
				siblings = append(siblings, map[string]string{"rfilename": name})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"siblings": siblings})
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/datasets/openai/gsm8k/resolve/main/")
		content, exists := files[name]
		if !ok || !exists {
			w.Header().Set("X-Error-Code", "EntryNotFound")
			http.NotFound(w, r)
			return
		}
		w.Header().Set("X-Repo-Commit", strings.Repeat("a", 40))
		w.Header().Set("ETag", `"`+strings.ReplaceAll(name, "/", "-")+`"`)
		if r.Method == http.MethodGet {
			fetched = append(fetched, name)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}))
	defer web.Close()
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_ENDPOINT", web.URL)
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	o := inOrder
	o.SkipTemplate, o.Requests = true, 2
	if got := texts(mustLoad(t, hf("openai/gsm8k", ""), o)); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(fetched, []string{"data/test-0.jsonl"}) {
		t.Errorf("fetched %q", fetched)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := datasets.Load(ctx, hf("openai/gsm8k", ""), o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A buffer of a thousand is given out by halves: the first 500 rows out come from the first
// 1,000 in, and no row is lost.
func TestHFStreamShuffle(t *testing.T) {
	var lines strings.Builder
	const n = 2700
	for i := range n {
		fmt.Fprintf(&lines, "{\"question\": \"%d\"}\n", i)
	}
	root := folder(t, map[string]string{"test.jsonl": lines.String()})
	o := datasets.Options{Requests: n, Seed: 4, SkipTemplate: true, Tokenizer: templatedTokenizer{}}
	got := texts(mustLoad(t, hf(root, "openai/gsm8k"), o))
	seen := map[string]bool{}
	for i, text := range got {
		var row int
		if _, err := fmt.Sscan(text, &row); err != nil {
			t.Fatal(err)
		}
		if filled := 1000 + i/500*500; row >= filled {
			t.Fatalf("row %d came out at %d, when %d rows had been read", row, i, filled)
		}
		seen[text] = true
	}
	if len(got) != n || len(seen) != n {
		t.Errorf("%d rows out, %d different ones, of %d", len(got), len(seen), n)
	}
	if few := texts(mustLoad(t, hf(root, "openai/gsm8k"), datasets.Options{Requests: 7, Seed: 4, SkipTemplate: true, Tokenizer: templatedTokenizer{}})); !slices.Equal(few, got[:7]) {
		t.Errorf("the first seven are %q, of all they are %q", few, got[:7])
	}
	stored := hf(root, "openai/gsm8k")
	stored.NoStream = true
	if all := texts(mustLoad(t, stored, o)); slices.Equal(all, got) {
		t.Error("shuffled as a whole, the order is that of the stream")
	}
}

func TestHFTextColumn(t *testing.T) {
	root := folder(t, map[string]string{"anything.csv": "id,ask\n1,hello\n"})
	for _, path := range []string{root, filepath.Join(root, "anything.csv")} {
		h := hf(path, "")
		h.TextColumn = "ask"
		if s := mustLoad(t, h, inOrder).At(0); s.Prompt.Text != "<user:hello>" || s.OutputTokens != 256 {
			t.Errorf("%s: %+v", path, s)
		}
	}
	h := hf(write(t, "x.txt", "hello"), "")
	h.TextColumn = "ask"
	if _, err := datasets.Load(t.Context(), h, inOrder); err == nil || !strings.Contains(err.Error(), `x.txt: cannot read ".txt" files: have .csv`) {
		t.Errorf("text: %v", err)
	}
}

// The orders are those of the datasets library 5.2.0 for files of so many rows, as
// checksums: streamed, and read as a whole.
func TestHFShuffleOrder(t *testing.T) {
	tiny := []int{150, 150, 203, 90, 37, 37, 90, 203, 150, 150, 90, 90, 90, 150, 150, 150, 90, 37, 37, 150, 37, 203, 37, 203, 90}
	for _, tc := range []struct {
		name           string
		rows           []int
		seed           uint32
		stream, stored string
	}{
		{"five files", []int{700, 700, 700, 700, 700}, 4, "d678e77bf4449a0d", "b70da9c09e8f707a"},
		{"five files", []int{700, 700, 700, 700, 700}, 11, "6c4858417ee9ad61", "bd78affd7e4dc51a"},
		{"many small files", tiny, 4, "65531476d13b67a8", "96c2a0fb6cc8bf1e"},
		{"many small files", tiny, 11, "0c200bf894100478", "df28238d6045af0e"},
		{"uneven files", []int{1230, 55, 777}, 4, "d25f4a15e2cb638e", "80169fe33444cfaf"},
		{"uneven files", []int{1230, 55, 777}, 11, "6d5ec05a65a16182", "2df90d289b9aa073"},
	} {
		t.Run(fmt.Sprint(tc.name, tc.seed), func(t *testing.T) {
			files := map[string]string{}
			total := 0
			for k, n := range tc.rows {
				var lines strings.Builder
				for i := range n {
					fmt.Fprintf(&lines, "{\"question\": \"%d:%d\"}\n", k, i)
				}
				files[fmt.Sprintf("test-%02d.jsonl", k)] = lines.String()
				total += n
			}
			h := hf(folder(t, files), "openai/gsm8k")
			o := datasets.Options{Requests: total, Seed: tc.seed, SkipTemplate: true, Tokenizer: templatedTokenizer{}}
			for _, want := range []string{tc.stream, tc.stored} {
				got := texts(mustLoad(t, h, o))
				if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(got, "\n"))))[:16]; sum != want {
					t.Errorf("stored %t: the order %.9q... has the sum %s, want %s", h.NoStream, got, sum, want)
				}
				h.NoStream = true
			}
		})
	}
}
