package datasets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // for image.Decode
	"image/jpeg"
	_ "image/png" // for image.Decode
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"servebench/internal/numpy"
)

// An hfSet is how the rows of one set become samples.
type hfSet struct {
	id     string
	split  string // the usual split
	subset string // the usual subset
	output int    // the usual length of an answer; 0 where the row says
	media  bool
	// rowIDs numbers samples by their row, where others count only those kept.
	rowIDs bool
	// byPath is found by Path alone.
	byPath bool
	// noSubset ignores what subset is asked for.
	noSubset bool
	make     func(hfJob, row) (hfSample, error)
	load     func(h *HF, b *build, from store) error // instead of make
}

// An hfJob is one set being loaded.
type hfJob struct {
	*HF
	hfSet
	b     *build
	store store
}

type hfSample struct {
	Sample
	keep bool
}

// hfSets lists the sets, by their ids on the Hub.
var hfSets = map[string]hfSet{
	"lmarena-ai/VisionArena-Chat":        {split: "train", output: 128, media: true, rowIDs: true, noSubset: true, make: arena("conversation")},
	"lmarena-ai/vision-arena-bench-v0.1": {split: "train", output: 128, media: true, rowIDs: true, noSubset: true, make: arena("turns")},
	"yale-nlp/MMVU":                      {split: "validation", output: 128, media: true, rowIDs: true, noSubset: true, make: mmvu},
	"Lin-Chen/MMStar":                    {split: "val", output: 128, media: true, rowIDs: true, noSubset: true, make: mmstar},
	"likaixin/InstructCoder":             {split: "train", output: 200, make: templated(coderPrompt)},
	"philschmid/mt-bench":                {split: "train", output: 256, make: templated(firstTurn)},
	"openai/openai_humaneval":            {split: "test", output: 256, make: templated(column("prompt"))},
	"openai/gsm8k":                       {split: "test", subset: "main", output: 256, make: templated(column("question"))},
	"vdaita/edit_5k_char":                {split: "train", output: 4000, rowIDs: true, byPath: true, make: blazedit},
	"vdaita/edit_10k_char":               {split: "train", output: 4000, rowIDs: true, byPath: true, make: blazedit},

	"lmms-lab/LLaVA-OneVision-Data":    {media: true, make: converse},
	"Aeala/ShareGPT_Vicuna_unfiltered": {make: converse},

	"AI-MO/aimo-validation-aime": {split: "train", make: aimo},
	"AI-MO/NuminaMath-1.5":       {split: "train", make: aimo},
	"AI-MO/NuminaMath-CoT":       {split: "train", make: aimo},

	"zed-industries/zeta": {split: "train", make: zeta},

	"mgoin/mlperf-inference-llama2-data":   {split: "train", make: mlperf},
	"mgoin/mlperf-inference-llama3.1-data": {split: "train", make: mlperf},

	"openslr/librispeech_asr":                  speech,
	"facebook/voxpopuli":                       speech,
	"LIUM/tedlium":                             speech,
	"edinburghcstr/ami":                        speech,
	"speechcolab/gigaspeech":                   speech,
	"kensho/spgispeech":                        speech,
	"ArtificialAnalysis/Earnings22-Cleaned-AA": speech,
	"D4nt3/esb-datasets-earnings22-validation-tiny-filtered": speech,

	"gorilla-llm/Berkeley-Function-Calling-Leaderboard": {output: 512, load: loadCalls},
}

var speech = hfSet{split: "train", output: 1024, media: true, make: asr}

// length is the length of an answer: the one given, else the usual one of the set.
func (j hfJob) length() int {
	if j.OutputLen != nil {
		return *j.OutputLen
	}
	return j.output
}

// sample is a sample of a text.
func (j hfJob) sample(text string, output int) (hfSample, error) {
	n, err := j.b.count(text)
	return hfSample{Sample{Prompt: Prompt{Text: text}, InputTokens: n, OutputTokens: output}, true}, err
}

// templated makes a sample of a column, with the chat template around it.
func templated(text func(row) (string, error)) func(hfJob, row) (hfSample, error) {
	return func(j hfJob, r row) (hfSample, error) {
		prompt, err := text(r)
		if err != nil {
			return hfSample{}, err
		}
		return j.templated(prompt)
	}
}

func (j hfJob) templated(prompt string) (hfSample, error) {
	if !j.b.SkipTemplate {
		var err error
		if prompt, err = j.b.template(userMessage(quote(prompt)), nil); err != nil {
			return hfSample{}, err
		}
	}
	return j.sample(prompt, j.length())
}

func column(key string) func(row) (string, error) {
	return func(r row) (string, error) { return r.text(key) }
}

func firstTurn(r row) (string, error) {
	turns, _ := r.get("turns")
	items, ok := turns.([]value)
	if !ok || len(items) == 0 {
		return "", fmt.Errorf("no list \"turns\": have %s", r.keys())
	}
	text, ok := items[0].(string)
	if !ok {
		return "", fmt.Errorf("the first of \"turns\" is %s, not a string", kindOf(items[0]))
	}
	return text, nil
}

func coderPrompt(r row) (string, error) {
	input, err := r.text("input")
	if err != nil {
		return "", err
	}
	instruction, err := r.text("instruction")
	return input + "\n\n" + instruction + " Just output the code, do not include any explanation.", err
}

// blazedit asks for an edit of a file, whose size the row tells.
func blazedit(j hfJob, r row) (hfSample, error) {
	v, _ := r.get("norm_distance")
	distance, ok := number(v)
	if !ok {
		return hfSample{}, fmt.Errorf("\"norm_distance\" is %s, not a number", spell(v))
	}
	if distance < j.MinDistance || distance > j.MaxDistance {
		return hfSample{}, nil
	}
	code, err := r.text("code")
	if err != nil {
		return hfSample{}, err
	}
	change, err := r.text("change_request")
	if err != nil {
		return hfSample{}, err
	}
	return j.templated("Given a code file, please apply the change requests and generate the new file.\n\n" +
		"Original file:\n```python\n" + code + "\n```\n\nChange request:\n" + change +
		"\n\nPlease generate the new code file in the \"New file\" section below.")
}

// converse takes the first turn as prompt and the second for its length.
func converse(j hfJob, r row) (hfSample, error) {
	v, _ := r.get("conversations")
	turns, ok := v.([]value)
	if !ok {
		return hfSample{}, fmt.Errorf("no list \"conversations\": have %s", r.keys())
	}
	if len(turns) < 2 {
		return hfSample{}, nil
	}
	var texts [2]string
	for i := range texts {
		turn, ok := turns[i].(fields)
		if !ok {
			return hfSample{}, fmt.Errorf("turn %d is %s", i, kindOf(turns[i]))
		}
		var err error
		if texts[i], err = turn.text("value"); err != nil {
			return hfSample{}, fmt.Errorf("turn %d: %w", i, err)
		}
	}
	out, err := j.answered(texts[0], texts[1], 1024, 2048)
	if err != nil || !out.keep {
		return out, err
	}
	if img, ok := r.get("image"); ok && img != nil {
		m, err := j.image(img)
		if err != nil {
			return out, err
		}
		out.Media = []Media{m}
	}
	j.b.chatted(&out.Sample)
	return out, nil
}

// answered is a sample whose answer is as long as a text, unless a length is given; then
// it is kept whatever its lengths are.
func (j hfJob) answered(prompt, answer string, maxPrompt, maxTotal int) (hfSample, error) {
	output, err := j.b.count(answer)
	if err != nil {
		return hfSample{}, err
	}
	out, err := j.sample(prompt, output)
	if err != nil {
		return out, err
	}
	if j.OutputLen != nil {
		out.OutputTokens = *j.OutputLen
		if out.OutputTokens < 1 {
			return out, fmt.Errorf("an output length of %d: give one above 0", out.OutputTokens)
		}
		return out, nil
	}
	out.keep = fits(out.InputTokens, output, maxPrompt, maxTotal, false)
	return out, nil
}

func aimo(j hfJob, r row) (hfSample, error) {
	problem, err := r.text("problem")
	if err != nil {
		return hfSample{}, err
	}
	solution, err := r.text("solution")
	if err != nil {
		return hfSample{}, err
	}
	return j.answered(problem, solution, 2048, 32000)
}

// zeta asks for the next edit; the answer is what the row has from the editable region on.
func zeta(j hfJob, r row) (hfSample, error) {
	var texts [3]string
	for i, key := range []string{"events", "input", "output"} {
		var err error
		if texts[i], err = r.text(key); err != nil {
			return hfSample{}, err
		}
	}
	answer := texts[2]
	if at := strings.Index(answer, "<|editable_region_start|>"); at >= 0 {
		answer = answer[at:]
	} else if runes := []rune(answer); len(runes) > 0 {
		answer = string(runes[len(runes)-1:]) // as Python's index of -1 has it
	}
	n, err := j.b.count(answer)
	if err != nil {
		return hfSample{}, err
	}
	return j.sample("### Instruction:\nYou are a code completion assistant and your task is to analyze user edits and then rewrite an excerpt "+
		"that the user provides, suggesting the appropriate edits within the excerpt, taking into account the cursor location.\n\n"+
		"### User Edits:\n\n"+texts[0]+"\n\n### User Excerpt:\n\n"+texts[1]+"\n\n### Response:\n\n", n)
}

func mlperf(j hfJob, r row) (hfSample, error) {
	var texts [3]string
	for i, key := range []string{"system_prompt", "question", "output"} {
		var err error
		if texts[i], err = r.text(key); err != nil {
			return hfSample{}, err
		}
	}
	prompt, err := j.b.template(list(
		object("role", `"system"`, "content", quote(texts[0])),
		object("role", `"user"`, "content", quote(texts[1])),
	), nil)
	if err != nil {
		return hfSample{}, err
	}
	answer, err := j.b.Tokenizer.Encode(texts[2], false)
	if err != nil {
		return hfSample{}, err
	}
	output := len(answer)
	if j.OutputLen != nil {
		output = *j.OutputLen
	}
	out, err := j.sample(prompt, output)
	out.keep = fits(out.InputTokens, output, 1024, 2048, false)
	return out, err
}

// arena takes the first message of the first turn, and the first image.
func arena(key string) func(hfJob, row) (hfSample, error) {
	return func(j hfJob, r row) (hfSample, error) {
		v, _ := r.get(key)
		for range 2 {
			items, ok := v.([]value)
			if !ok || len(items) == 0 {
				return hfSample{}, fmt.Errorf("%q does not begin with a list of messages", key)
			}
			v = items[0]
		}
		message, ok := v.(fields)
		if !ok {
			return hfSample{}, fmt.Errorf("the first message of %q is %s", key, kindOf(v))
		}
		text, err := message.text("content")
		if err != nil {
			return hfSample{}, err
		}
		images, _ := r.get("images")
		items, ok := images.([]value)
		if !ok || len(items) == 0 {
			return hfSample{}, errors.New("no \"images\"")
		}
		out, err := j.sample(text, j.length())
		if err != nil {
			return out, err
		}
		m, err := j.image(items[0])
		out.Media = []Media{m}
		j.b.chatted(&out.Sample)
		return out, err
	}
}

// mmvu asks about a video, with the choices behind the question.
func mmvu(j hfJob, r row) (hfSample, error) {
	question, err := r.text("question")
	if err != nil {
		return hfSample{}, err
	}
	v, _ := r.get("choices")
	choices, ok := v.(fields)
	if !ok {
		return hfSample{}, errors.New("\"choices\" is not an object")
	}
	words := make([]string, len(choices))
	for i, c := range choices {
		text, ok := c.value.(string)
		if !ok {
			if text = spell(c.value); c.value == nil {
				text = "None" // as Python writes it
			}
		}
		words[i] = c.key + "." + text
	}
	video, err := r.text("video")
	if err != nil {
		return hfSample{}, err
	}
	if rest, ok := strings.CutPrefix(video, "https://huggingface.co/datasets/"+j.id+"/resolve/main"); ok {
		switch path, err := j.store.file(strings.TrimPrefix(rest, "/")); {
		case err == nil:
			video = path
		case !errors.Is(err, fs.ErrNotExist): // then the server may fetch it
			return hfSample{}, err
		}
	}
	out, err := j.sample(question+" "+strings.Join(words, " "), j.length())
	out.Media = []Media{videoURL(video)}
	j.b.chatted(&out.Sample)
	return out, err
}

// mmstar asks about an image; the options behind the question are left out.
func mmstar(j hfJob, r row) (hfSample, error) {
	question := ""
	if _, ok := r.get("question"); ok {
		var err error
		if question, err = r.text("question"); err != nil {
			return hfSample{}, err
		}
	}
	question, _, _ = strings.Cut(question, "Options:")
	img, _ := r.get("image")
	m, err := j.image(img)
	if err != nil {
		return hfSample{}, err
	}
	out, err := j.sample(strings.TrimSpace(question), j.length())
	out.Media = []Media{m}
	if j.b.chatted(&out.Sample); j.b.Chat {
		out.Media = nil
	}
	return out, err
}

// image is an image of a row: a path or URL, or its bytes, which become JPEG.
func (j hfJob) image(v value) (Media, error) {
	if ref, ok := v.(string); ok {
		return imageURL(ref), nil
	}
	data, ok := v.([]byte)
	if object, is := v.(fields); is {
		b, _ := object.get("bytes")
		data, ok = b.([]byte)
		if path, is := pathOf(object); !ok && is {
			return imageURL(j.local(path)), nil
		}
	}
	if !ok {
		return Media{}, fmt.Errorf("an image that is %s", kindOf(v))
	}
	kind := http.DetectContentType(data)
	if img, _, err := image.Decode(bytes.NewReader(data)); err == nil {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 75}); err != nil {
			return Media{}, err
		}
		data, kind = out.Bytes(), "image/jpeg"
	}
	if !strings.HasPrefix(kind, "image/") {
		return Media{}, fmt.Errorf("an image of type %s", kind)
	}
	return imageURL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)), nil
}

func pathOf(f fields) (string, bool) {
	v, _ := f.get("path")
	path, ok := v.(string)
	return path, ok && path != ""
}

// local is where a file that a row names is: with the rows, if the set has it, else where
// it says.
func (j hfJob) local(path string) string {
	if at, err := j.store.file(path); err == nil {
		return at
	}
	return path
}

// asr sends speech, with the control tokens that some models want as prompt.
func asr(j hfJob, r row) (hfSample, error) {
	name := j.TokenizerName
	if t, ok := j.b.Tokenizer.(interface{ Name() string }); ok && name == "" {
		name = t.Name()
	}
	prompt := ""
	switch {
	case strings.Contains(name, "openai"):
		prompt = "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"
	case strings.Contains(strings.ToLower(name), "cohere"):
		prompt = "<|startofcontext|><|startoftranscript|><|emo:undefined|><|en|><|en|><|pnc|><|noitn|><|notimestamp|><|nodiarize|>"
	}
	sound, err := j.clip(r)
	if err != nil {
		return hfSample{}, err
	}
	if sound.seconds < j.MinAudio || j.MaxAudio > 0 && sound.seconds > j.MaxAudio {
		return hfSample{}, nil
	}
	out, err := j.sample(prompt, j.length())
	out.Media = []Media{sound.media(false)}
	return out, err
}

// clip is the sound of a row.
func (j hfJob) clip(r row) (clip, error) {
	v, ok := r.get("audio")
	if !ok {
		v, ok = r.get("url") // the cleaned earnings calls name their files there
	}
	if !ok {
		return clip{}, fmt.Errorf("no \"audio\": have %s", r.keys())
	}
	if object, is := v.(fields); is {
		if data, _ := object.get("bytes"); data != nil {
			b, ok := data.([]byte)
			if !ok {
				return clip{}, fmt.Errorf("the bytes of \"audio\" are %s", kindOf(data))
			}
			path, _ := pathOf(object)
			return readClip(b, path)
		}
		path, ok := pathOf(object)
		if !ok {
			return clip{}, errors.New("\"audio\" has neither bytes nor a path: decoded arrays are not read")
		}
		v = path
	}
	path, ok := v.(string)
	if !ok {
		return clip{}, fmt.Errorf("\"audio\" is %s", kindOf(v))
	}
	data, err := os.ReadFile(j.local(path))
	if err != nil {
		return clip{}, err
	}
	return readClip(data, path)
}

// loadCalls makes chats with tools of the function-calling leaderboard, which has a file
// for each category.
func loadCalls(h *HF, b *build, from store) error {
	categories := h.Categories
	if len(categories) == 0 {
		categories = []string{"simple", "live_simple", "multiple"}
	}
	var files [][]row
	most := 0
	for _, c := range categories {
		path, err := from.file("BFCL_v3_" + c + ".json")
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: no category %q: %w", from, c, err)
		}
		if err != nil {
			return err
		}
		rows, err := readLines(path, 0)
		if err != nil {
			return err
		}
		files = append(files, rows)
		most = max(most, len(rows))
	}
	// In turn, so that a part of them is balanced even in the order of the files.
	var rows []row
	for i := range most {
		for _, f := range files {
			if i < len(f) {
				rows = append(rows, f[i])
			}
		}
	}
	if !b.KeepOrder {
		numpy.NewPython(uint64(b.Seed)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
	output := hfJob{HF: h, hfSet: hfSet{output: 512}}.length()
	err := inOrder(b.ctx, len(rows), b.Workers, func(i int) (hfSample, error) {
		out, err := call(b, rows[i], output)
		if err != nil {
			return out, fmt.Errorf("%s: %w", rows[i].place, err)
		}
		return out, nil
	}, func(_ int, out hfSample) (bool, error) {
		if out.keep {
			out.ID = b.id(len(b.samples))
			b.samples = append(b.samples, out.Sample)
		}
		return len(b.samples) < b.Requests, nil
	})
	if err != nil {
		return err
	}
	return b.oversample(b.Seed, b.Requests)
}

// call is a chat with tools; a row without a question or a function is left out.
func call(b *build, r row, output int) (hfSample, error) {
	turns, _ := r.get("question")
	outer, ok := turns.([]value)
	if !ok || len(outer) == 0 {
		return hfSample{}, nil
	}
	messages, ok := outer[0].([]value)
	if !ok || len(messages) == 0 {
		return hfSample{}, nil
	}
	functions, _ := r.get("function")
	var tools []string
	switch f := functions.(type) {
	case nil:
		return hfSample{}, nil
	case []value:
		for _, one := range f {
			tools = append(tools, object("type", `"function"`, "function", spell(strictSchema(one))))
		}
	default:
		tools = []string{object("type", `"function"`, "function", spell(strictSchema(f)))}
	}
	if len(tools) == 0 {
		return hfSample{}, nil
	}
	contents := make([]string, len(messages))
	for i, m := range messages {
		if f, ok := m.(fields); ok {
			contents[i], _ = f.text("content") // absent is empty
		}
	}
	chat, toolList := spell(messages), list(tools...)
	rendered, err := b.template(chat, Members{{"tools", json.RawMessage(toolList)}})
	if err != nil {
		rendered = strings.Join(contents, "\n") // the length is an estimate then
	}
	n, err := b.count(rendered)
	return hfSample{Sample{
		Prompt: Prompt{Text: contents[len(contents)-1]}, InputTokens: n, OutputTokens: output,
		Messages: json.RawMessage(chat),
		Extra:    []Member{{"tools", json.RawMessage(toolList)}, {"tool_choice", json.RawMessage(`"auto"`)}},
	}, true}, err
}

// strictSchema replaces type names that are not those of JSON Schema.
func strictSchema(v value) value {
	switch v := v.(type) {
	case []value:
		out := slices.Clone(v)
		for i := range out {
			out[i] = strictSchema(out[i])
		}
		return out
	case fields:
		out := make(fields, len(v))
		for i, f := range v {
			out[i] = field{f.key, strictSchema(f.value)}
			if name, ok := f.value.(string); ok && f.key == "type" {
				if strict, ok := map[string]string{"dict": "object", "float": "number", "tuple": "array", "any": "string"}[name]; ok {
					out[i].value = strict
				}
			}
		}
		return out
	}
	return v
}
