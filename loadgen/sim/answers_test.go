package sim

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"mime/multipart"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// answerOf decodes a JSON answer.
func answerOf(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return out
}

// textOf is the first choice's text of a plain completion.
func textOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	return answerOf(t, w)["choices"].([]any)[0].(map[string]any)["text"].(string)
}

// streamText joins a stream's texts of one choice.
func streamText(t *testing.T, body string, index int) (text string, last map[string]any) {
	t.Helper()
	for _, line := range strings.Split(body, "\n") {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var event struct{ Choices []map[string]any }
		if err := json.Unmarshal([]byte("{"+data), &event); err != nil {
			t.Fatal(err)
		}
		for _, c := range event.Choices {
			if c["index"].(float64) == float64(index) {
				text += c["text"].(string)
				last = c
			}
		}
	}
	return text, last
}

func TestStreamSaysWhatThePlainAnswerSays(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	for _, body := range []string{
		`{"prompt":"San Francisco is a","max_tokens":9%s}`,
		`{"prompt":"San Francisco is a","max_tokens":9,"echo":true%s}`,
		`{"prompt":[[1,2,3],[4,5,6]],"max_tokens":9,"n":2%s}`,
		`{"prompt":"San Francisco is a","max_tokens":40,"allowed_token_ids":[4,5,99,100,130,160,161,190,200,201,225,240,250]%s}`,
	} {
		plain := answerOf(t, post(t.Context(), s, "/v1/completions", fmt.Sprintf(body, "")))
		stream := post(t.Context(), s, "/v1/completions", fmt.Sprintf(body, `,"stream":true`)).Body.String()
		for i, c := range plain["choices"].([]any) {
			want := c.(map[string]any)["text"].(string)
			if got, _ := streamText(t, stream, i); got != want {
				t.Errorf("%s: choice %d says %q in a stream; want %q", body, i, got, want)
			}
		}
	}
}

// A token can hold part of a character; its text comes with the token that completes it.
func TestTokenIsNotAText(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	lead, follow := idOfByte(0xC3), idOfByte(0xA9)
	body := post(t.Context(), s, "/v1/completions", fmt.Sprintf(`{"prompt":"x","max_tokens":64,"ignore_eos":true,"allowed_token_ids":[%d,%d],"stream":true}`, lead, follow)).Body.String()
	text, _ := streamText(t, body, 0)
	empty := strings.Count(body, `"text":""`)
	if events := strings.Count(body, `"logprobs"`); events != 64 || empty == 0 {
		t.Errorf("%d events, %d of them without text; want 64 and some", events, empty)
	}
	if !strings.Contains(text, "é") || strings.Contains(text, "\ufffd") || !utf8.ValidString(text) {
		t.Errorf("text %q", text)
	}
}

func TestStop(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	const ask = `{"prompt":"San Francisco is a","max_tokens":20,"ignore_eos":true,"return_token_ids":true%s}`
	whole := answerOf(t, post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, "")))["choices"].([]any)[0].(map[string]any)
	text := whole["text"].(string)
	stop := text[5:11] // from inside the second token to inside the third
	stopJSON := fmt.Sprintf(`,"stop":[%s]`, quoted(stop))

	w := post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, stopJSON))
	c := answerOf(t, w)["choices"].([]any)[0].(map[string]any)
	if c["text"] != text[:5] || c["finish_reason"] != "stop" || c["stop_reason"] != stop {
		t.Errorf("stopped with %v; want the text %q", c, text[:5])
	}
	if n := answerOf(t, w)["usage"].(map[string]any)["completion_tokens"]; n != 3.0 {
		t.Errorf("%v tokens; want 3", n)
	}
	kept := textOf(t, post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, stopJSON+`,"include_stop_str_in_output":true`)))
	if kept != text[:11] {
		t.Errorf("kept %q; want %q", kept, text[:11])
	}
	stream := post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, stopJSON+`,"stream":true`)).Body.String()
	if got, last := streamText(t, stream, 0); got != text[:5] || last["finish_reason"] != "stop" {
		t.Errorf("the stream says %q and ends with %v; want %q", got, last, text[:5])
	}
	if !strings.HasPrefix(stream[strings.Index(stream, `"text":`):], `"text":""`) {
		t.Error("the first event has text: none can go out before it is known to be no stop string")
	}

	third := int(whole["token_ids"].([]any)[2].(float64))
	c = answerOf(t, post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, fmt.Sprintf(`,"stop_token_ids":[%d]`, third))))["choices"].([]any)[0].(map[string]any)
	if c["text"] != text[:8] || c["finish_reason"] != "stop" || c["stop_reason"] != float64(third) {
		t.Errorf("stopped with %v; want the text %q", c, text[:8])
	}
	c = answerOf(t, post(t.Context(), s, "/v1/completions", fmt.Sprintf(ask, fmt.Sprintf(`,"stop_token_ids":[%d],"min_tokens":5`, third))))["choices"].([]any)[0].(map[string]any)
	if c["finish_reason"] != "length" {
		t.Errorf("stopped with %v in spite of min_tokens", c)
	}
}

func TestUsage(t *testing.T) {
	s := newServer(t, quick(Config{PromptTokensDetails: true, RequestMetrics: true, BlockSize: 16}))
	defer s.Close()
	for range 2 {
		post(t.Context(), s, "/v1/completions", completion(ids(1, 40), 4))
	}
	body := post(t.Context(), s, "/v1/completions", completion(ids(1, 40), 4)).Body.String()
	for _, want := range []string{
		`"usage":{"prompt_tokens":40,"total_tokens":44,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":32}},"system_fingerprint":`,
		`"metrics":{"queue_time_ms":`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	chat := answerOf(t, post(t.Context(), s, "/v1/chat/completions", `{"messages":[{"role":"user","content":" abc"}],"max_tokens":3}`))
	prompt := len(s.cfg.Tokenizer.Encode("user:  abc\nassistant:", false))
	if u := chat["usage"].(map[string]any); u["prompt_tokens"] != float64(prompt) || u["completion_tokens"] != 3.0 {
		t.Errorf("usage %v; want %d prompt tokens and 3 others", u, prompt)
	}
}

func TestTokenizeAndBack(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	got := answerOf(t, post(t.Context(), s, "/tokenize", `{"prompt":" abc def"}`))
	if got["count"] != 3.0 || got["tokens"].([]any)[0] != float64(EOS) {
		t.Errorf("tokenize says %v; want 3 ids, the first %d", got, EOS)
	}
	got = answerOf(t, post(t.Context(), s, "/tokenize", `{"prompt":" abc def","add_special_tokens":false,"return_token_strs":true}`))
	if !slices.Equal(got["token_strs"].([]any), []any{"Ġabc", "Ġdef"}) {
		t.Errorf("token_strs %v", got["token_strs"])
	}
	tokens, _ := json.Marshal(got["tokens"])
	back := answerOf(t, post(t.Context(), s, "/detokenize", `{"tokens":`+string(tokens)+`}`))
	if back["prompt"] != " abc def" {
		t.Errorf("detokenize says %q", back["prompt"])
	}
	for path, body := range map[string]string{
		"/tokenize":   `{"model":"nobody","prompt":"x"}`,
		"/detokenize": `{"tokens":[999999]}`,
	} {
		if w := post(t.Context(), s, path, body); w.Code < 400 {
			t.Errorf("%s of %s was answered %d %s", path, body, w.Code, w.Body)
		}
	}
	w := post(t.Context(), s, "/detokenize", `{}`)
	if got, want := w.Body.String(), `{"error":{"message":"1 validation error:\n  {'type': 'missing', 'loc': 'body.tokens', 'msg': 'Field required', 'input': '<dict of 0 items>'}","type":"Bad Request","param":"body.tokens","code":400}}`; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestPooling(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	got := answerOf(t, post(t.Context(), s, "/v1/embeddings", `{"input":[" abc"," def ghi"],"truncate_prompt_tokens":-1}`))
	data := got["data"].([]any)
	if got["object"] != "list" || len(data) != 2 || got["usage"].(map[string]any)["prompt_tokens"] != 5.0 {
		t.Errorf("embeddings %v", got["usage"])
	}
	norm := 0.0
	vector := data[1].(map[string]any)["embedding"].([]any)
	for _, x := range vector {
		norm += x.(float64) * x.(float64)
	}
	if len(vector) != vectorSize || math.Abs(norm-1) > 1e-4 {
		t.Errorf("%d values of length %.5f", len(vector), norm)
	}
	packed := answerOf(t, post(t.Context(), s, "/v1/embeddings", `{"input":" def ghi","encoding_format":"base64","dimensions":4}`))
	raw, err := base64.StdEncoding.DecodeString(packed["data"].([]any)[0].(map[string]any)["embedding"].(string))
	if err != nil || len(raw) != 16 {
		t.Errorf("base64 of %d bytes (%v); want 16", len(raw), err)
	}
	pooled := answerOf(t, post(t.Context(), s, "/pooling", `{"input":[2,5000,6000]}`))
	if d := pooled["data"].([]any)[0].(map[string]any); d["object"] != "pooling" || len(d["data"].([]any)) != vectorSize {
		t.Errorf("pooling %v", d["object"])
	}
	ranked := answerOf(t, post(t.Context(), s, "/v1/rerank", `{"query":"q","documents":["a","b","c"],"top_n":2}`))
	results := ranked["results"].([]any)
	if len(results) != 2 || results[0].(map[string]any)["relevance_score"].(float64) < results[1].(map[string]any)["relevance_score"].(float64) {
		t.Errorf("results %v", results)
	}
	// Pooling is one prompt step, and no token comes of it.
	for _, step := range s.Steps() {
		if step.Phase != Empty && (step.Phase != Prefill || step.NewTokens != 0) {
			t.Errorf("step %+v", step)
		}
	}
	if w := post(t.Context(), s, "/v1/embeddings", `{"input":" abc","dimensions":100000}`); w.Code != 400 {
		t.Errorf("too many dimensions were answered %d", w.Code)
	}
}

// wav is a silent sound of so many seconds, 16,000 16-bit values a second.
func wav(seconds int) []byte {
	var b bytes.Buffer
	size := uint32(seconds * 32000)
	b.WriteString("RIFF")
	binary.Write(&b, binary.LittleEndian, 36+size)
	b.WriteString("WAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(1), uint32(16000), uint32(32000), uint16(2), uint16(16)} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, size)
	b.Write(make([]byte, size))
	return b.Bytes()
}

func TestTranscription(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	send := func(fields map[string]string) *httptest.ResponseRecorder {
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		file, _ := form.CreateFormFile("file", "audio.wav")
		file.Write(wav(2))
		for k, v := range fields {
			form.WriteField(k, v)
		}
		form.Close()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/audio/transcriptions", &b)
		r.Header.Set("Content-Type", form.FormDataContentType())
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	plain := answerOf(t, send(map[string]string{"max_completion_tokens": "4"}))
	if u := plain["usage"].(map[string]any); u["seconds"] != 2.0 || plain["text"] == "" {
		t.Errorf("%v", plain)
	}
	stream := send(map[string]string{"max_completion_tokens": "4", "stream": "True", "stream_include_usage": "True"}).Body.String()
	if strings.Count(stream, `"delta"`) != 4 || !strings.Contains(stream, `"choices":[],"usage":{"prompt_tokens":101,"total_tokens":105,"completion_tokens":4}`) || !strings.HasSuffix(stream, "data: [DONE]\n\n") {
		t.Errorf("stream\n%s", stream)
	}
	if got := soundLength(wav(3)); got != 3 {
		t.Errorf("a sound of 3 s is %v s long", got)
	}
}

func TestKeyIsAsked(t *testing.T) {
	s := newServer(t, quick(Config{APIKey: "secret"}))
	defer s.Close()
	const body = `{"prompt":"x","max_tokens":1}`
	if w := post(t.Context(), s, "/v1/completions", body); w.Code != 401 || w.Body.String() != `{"error":"Unauthorized"}` {
		t.Errorf("without a key: %d %s", w.Code, w.Body)
	}
	if w := post(t.Context(), s, "/v1/completions", body, "Authorization", "Bearer secret"); w.Code != 200 {
		t.Errorf("with the key: %d %s", w.Code, w.Body)
	}
	if w := post(t.Context(), s, "/tokenize", `{"prompt":"x"}`); w.Code != 200 {
		t.Errorf("outside /v1: %d", w.Code)
	}
}

func TestModelNames(t *testing.T) {
	s := newServer(t, quick(Config{Model: "base", Aliases: []string{"lora"}}))
	defer s.Close()
	for name, want := range map[string]int{"base": 200, "lora": 200, "other": 404, "": 200} {
		if w := post(t.Context(), s, "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"x","max_tokens":1}`, name)); w.Code != want {
			t.Errorf("model %q: %d; want %d", name, w.Code, want)
		}
	}
	any := newServer(t, quick(Config{AnyModel: true}))
	defer any.Close()
	if w := post(t.Context(), any, "/v1/completions", `{"model":"whatever","prompt":"x","max_tokens":1}`); !strings.Contains(w.Body.String(), `"model":"whatever"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Whatever is sent, the server answers, and with JSON where it refuses.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"x","max_tokens":2}`, `{"prompt":[1,2],"max_tokens":"2","stream":true}`, `{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"max_tokens":2}`,
		`{"prompt":"x",`, `[1,2`, `{"prompt":"\u00e9","stop":["é"],"max_tokens":4}`, `nul`, `{"a":NaN}`, `"\ud800"`, `{"prompt":"x","logprobs":3,"max_tokens":2,"n":2}`,
		`{"input":[[1,2],[3]],"truncate_prompt_tokens":1}`, `{"query":"a","documents":["b"]}`, `{"model":1,"temperature":"hot"}`,
	} {
		for i := range 6 {
			f.Add(i, seed)
		}
	}
	s := newServer(f, quick(Config{MaxModelLen: 64}))
	f.Cleanup(s.Close)
	paths := []string{"/v1/completions", "/v1/chat/completions", "/tokenize", "/v1/embeddings", "/v1/rerank", "/v1/responses"}
	f.Fuzz(func(t *testing.T, which int, body string) {
		w := post(t.Context(), s, paths[uint(which)%uint(len(paths))], body)
		if w.Code != 200 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Code == 200 && w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s", w.Body)
		}
	})
}

func TestMessages(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	count := func(body string) float64 {
		return answerOf(t, post(t.Context(), s, "/v1/messages/count_tokens", body))["input_tokens"].(float64)
	}
	plain := count(`{"messages":[{"role":"user","content":" abc"}]}`)
	if got := count(`{"system":" def","messages":[{"role":"user","content":" abc"}]}`); got <= plain {
		t.Errorf("%v tokens with a system text; want more than %v", got, plain)
	}
	got := answerOf(t, post(t.Context(), s, "/v1/messages", `{"messages":[{"role":"user","content":" abc"}],"max_tokens":3}`))
	if u := got["usage"].(map[string]any); u["input_tokens"] != plain || u["output_tokens"] != 3.0 || got["stop_reason"] != "max_tokens" {
		t.Errorf("%v", got)
	}
	text := got["content"].([]any)[0].(map[string]any)["text"].(string)
	stopped := answerOf(t, post(t.Context(), s, "/v1/messages", fmt.Sprintf(`{"messages":[{"role":"user","content":" abc"}],"max_tokens":3,"stop_sequences":[%q]}`, text[4:8])))
	if stopped["stop_reason"] != "stop_sequence" || stopped["content"].([]any)[0].(map[string]any)["text"] != text[:4] {
		t.Errorf("%v; want it to stop before %q", stopped, text[4:8])
	}
	if w := post(t.Context(), s, "/v1/messages", `{"messages":[]}`); w.Code != 400 {
		t.Errorf("without max_tokens: %d", w.Code)
	}
}

func TestLimitsOfARequest(t *testing.T) {
	s := newServer(t, quick(Config{Model: "m", MaxModelLen: 32}))
	defer s.Close()
	for _, tc := range []struct{ path, body, want string }{
		{"/v1/completions", `{"prompt":` + ids(1, 30) + `,"max_tokens":5}`, "However, you requested 5 output tokens and your prompt contains at least 30 input tokens, for a total of at least 35 tokens."},
		{"/v1/completions", `{"prompt":"x","n":0}`, "n must be at least 1, got 0."},
		{"/v1/completions", `{"prompt":"x","n":2,"temperature":0}`, "n must be 1 when using greedy sampling, got 2."},
		{"/v1/completions", `{"prompt":"x","min_tokens":-1}`, "min_tokens must be greater than or equal to 0, got -1."},
		{"/v1/completions", `{"prompt":"x","min_tokens":5,"max_tokens":4}`, "min_tokens must be less than or equal to max_tokens=4, got 5."},
		{"/v1/completions", `{"prompt":["x",5]}`, "'loc': 'body.prompt.list[str].1'"},
		{"/v1/completions", `{"prompt":5}`, "'loc': 'body.prompt.str'"},
		{"/v1/completions", `{"prompt":[40000]}`, "Token id 40000 is out of vocabulary"},
		{"/v1/completions", `[]`, "Input should be a valid dictionary"},
		{"/v1/chat/completions", `{"messages":5}`, "'loc': 'body.messages'"},
		{"/v1/chat/completions", `{"messages":[{"content":"x"}]}`, "'loc': 'body.messages.0.role'"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":5}]}`, "must be a string or a list of parts"},
		{"/v1/responses", `{"max_output_tokens":3}`, "'loc': 'body.input'"},
		{"/v1/embeddings", `{"input":` + ids(1, 33) + `}`, "Please reduce the length of the input prompt."},
		{"/pooling", `{}`, "'loc': 'body.input'"},
		{"/rerank", `{"query":"x"}`, "'loc': 'body.documents'"},
	} {
		w := post(t.Context(), s, tc.path, tc.body)
		var e struct {
			Error struct {
				Message string
				Code    int
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 400 || e.Error.Code != 400 || !strings.Contains(e.Error.Message, tc.want) {
			t.Errorf("%s %s: %d %s; want 400 and %q", tc.path, tc.body, w.Code, w.Body, tc.want)
		}
	}
	// The longest that fits, and a prompt of a full context where nothing is generated.
	if w := post(t.Context(), s, "/v1/completions", `{"prompt":`+ids(1, 30)+`}`); !strings.Contains(w.Body.String(), `"completion_tokens":2,`) {
		t.Errorf("%d %s; want 2 tokens", w.Code, w.Body)
	}
	if w := post(t.Context(), s, "/v1/embeddings", `{"input":`+ids(1, 32)+`}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestMediaInChat(t *testing.T) {
	s := newServer(t, quick(Config{Multimodal: true}))
	defer s.Close()
	body := post(t.Context(), s, "/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"text","text":" abc"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"max_tokens":1}`)
	if n := answerOf(t, body)["usage"].(map[string]any)["prompt_tokens"].(float64); n < 64 || n > 80 {
		t.Errorf("%v prompt tokens; want the image's 64 and a few", n)
	}
}
