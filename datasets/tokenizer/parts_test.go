package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestParts compares every kind of component, in some hundred combinations, with
// what the tokenizers library (0.23.3) gave for the same text. Each row takes one of
// the recorded tokenizers and changes members of its tokenizer.json.
func TestParts(t *testing.T) {
	file, err := os.Open(filepath.Join("testdata", "parts.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	bases := map[string]map[string]json.RawMessage{}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	rows := 0
	for lines.Scan() {
		var row struct {
			Name   string
			Base   string
			Change map[string]json.RawMessage
			Cases  []struct {
				Text    string
				IDs     []int
				Decoded string
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows++
		if bases[row.Base] == nil {
			data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "tokenizers", row.Base, "tokenizer.json"))
			if err != nil {
				t.Skip(err)
			}
			var base map[string]json.RawMessage
			if err := json.Unmarshal(data, &base); err != nil {
				t.Fatal(err)
			}
			bases[row.Base] = base
		}
		whole := map[string]json.RawMessage{}
		for key, value := range bases[row.Base] {
			whole[key] = value
		}
		for key, value := range row.Change {
			if key == "model" { // members of the model alone
				var model, members map[string]json.RawMessage
				if json.Unmarshal(whole["model"], &model) == nil && json.Unmarshal(value, &members) == nil {
					for name, member := range members {
						model[name] = member
					}
					value, _ = json.Marshal(model)
				}
			}
			whole[key] = value
		}
		data, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), data, 0o666); err != nil {
			t.Fatal(err)
		}
		tok, err := Load(dir)
		if err != nil {
			t.Errorf("%s: %v", row.Name, err)
			continue
		}
		for _, c := range row.Cases {
			ids, err := tok.Encode(c.Text, true)
			if err != nil || !slices.Equal(ids, c.IDs) {
				t.Errorf("%s: Encode(%q)\n got %v, %v\nwant %v", row.Name, c.Text, ids, err, c.IDs)
			}
			text, err := tok.Decode(c.IDs)
			if err != nil || text != c.Decoded {
				t.Errorf("%s: Decode(%v)\n got %q, %v\nwant %q", row.Name, c.IDs, text, err, c.Decoded)
			}
		}
	}
	if err := lines.Err(); err != nil || rows < 100 {
		t.Errorf("read %d rows, %v", rows, err)
	}
}

// TestSplittersEqualTheirPatterns holds the hand-written splitters against the
// patterns themselves, run by the expression engine.
func TestSplittersEqualTheirPatterns(t *testing.T) {
	texts := []string{
		"", " ", "\n", "Hello, World's  we'LL it'ſ don't\n\n \n x", "AAAbbb ÄÖÜäöü ǅabc あAB中文abc 1234567 ١٢٣٤",
		"e\u0301\u0301 \u0301a !!/\n/\r\n//x  \t\u00a0\u3000y\u2028 z ", "\r\n \r\n'S'T'", "a'b 'll'll 'x \U0001F600\U0001F3FD ⅷ²½ \U00020000\U0002EBF0\u1C89x",
	}
	state := uint32(7)
	alphabet := []rune("aA'sS \n\r\t1٣éÉ\u0301中あ!/.-ǅʰ\u00a0\u2028ſ😀")
	for range 400 {
		var text strings.Builder
		for range 12 {
			state = state*1664525 + 1013904223
			text.WriteRune(alphabet[state>>16%uint32(len(alphabet))])
		}
		texts = append(texts, text.String())
	}
	for pattern, make := range knownSplitters {
		slow, err := compile("(?:" + pattern + ")")
		if err != nil {
			t.Fatal(err)
		}
		if slow.splitter != nil {
			t.Fatal("the pattern in a group is taken for the pattern itself")
		}
		fast := splitterFinder(make())
		for _, text := range texts {
			if got, want := fast(text), slow.find(text); !slices.Equal(got, want) {
				t.Errorf("%.40s... on %q\n got %v\nwant %v", pattern, text, got, want)
			}
		}
	}
}

// TestUnknownIsRefusedByName loads files with something in them that is not known:
// the error names the file, the component and the thing.
func TestUnknownIsRefusedByName(t *testing.T) {
	for _, tc := range []struct {
		key, value string
		want       []string
	}{
		{"model", `{"type":"Morfessor"}`, []string{"tokenizer.json", "model", `unknown type "Morfessor"`, "BPE"}},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}`, []string{"model (BPE)", "dropout"}},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":["a b"]}`, []string{"model (BPE)", `merges[0]`, `"b" is not in the vocabulary`}},
		{"model", `{"type":"BPE","vocab":{"a":0},"merges":["a"]}`, []string{"merges[0]", "two tokens"}},
		{"model", `{"type":"Unigram","vocab":[["a",-1]],"unk_id":7}`, []string{"unk_id 7"}},
		{"normalizer", `{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Rot13"}]}`, []string{"normalizer.normalizers[1]", `"Rot13"`}},
		{"normalizer", `{"type":"Precompiled","precompiled_charsmap":"AAAA"}`, []string{"normalizer (Precompiled)", "shorter"}},
		{"normalizer", `{"type":"Replace","pattern":{"Regex":"a*"},"content":"b"}`, []string{"normalizer (Replace)", "between characters"}},
		{"pre_tokenizer", `{"type":"Clairvoyance"}`, []string{"pre_tokenizer", `"Clairvoyance"`}},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"\\X"},"behavior":"Isolated","invert":false}`, []string{"pre_tokenizer (Split)", `\X`, "not supported"}},
		{"pre_tokenizer", `{"type":"Split","pattern":{"Regex":"\\p{Klingon}"},"behavior":"Isolated","invert":false}`, []string{"Klingon"}},
		{"pre_tokenizer", `{"type":"Split","pattern":{"String":"a"},"behavior":"Exploded","invert":false}`, []string{"Exploded"}},
		{"pre_tokenizer", `{"type":"Metaspace","replacement":"ab"}`, []string{"replacement", "one character"}},
		{"post_processor", `{"type":"Envelope"}`, []string{"post_processor", `"Envelope"`}},
		{"post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}}],"pair":[],"special_tokens":{}}`, []string{"post_processor (TemplateProcessing)", `"x" is not among special_tokens`}},
		{"decoder", `{"type":"Sequence","decoders":[{"type":"Enigma"}]}`, []string{"decoder.decoders[0]", `"Enigma"`}},
		{"version", `"2.0"`, []string{"version", `"2.0"`}},
	} {
		_, err := loadTiny(t, map[string]string{tc.key: tc.value})
		if err == nil {
			t.Errorf("%s %s was taken", tc.key, tc.value)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %q says nothing of %q", tc.key, tc.value, err, want)
			}
		}
	}
}

func TestEncodeAndDecodeByHand(t *testing.T) {
	tok, err := loadTiny(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := tok.Encode("aabb", true); err != nil || !slices.Equal(ids, []int{3, 0, 2, 1}) {
		t.Errorf("Encode(aabb) = %v, %v; want [3 0 2 1]", ids, err)
	}
	if ids, err := tok.Encode("a<s>b", false); err != nil || !slices.Equal(ids, []int{0, 3, 1}) {
		t.Errorf("Encode(a<s>b) = %v, %v; want [0 3 1]", ids, err)
	}
	if _, err := tok.Encode("a\xffb", false); err == nil {
		t.Error("a text that is not UTF-8 was taken")
	}
	if text, err := tok.Decode([]int{3, 2, 99}); err != nil || text != "<s> ab" {
		t.Errorf("Decode = %q, %v; want \"<s> ab\" (no decoder joins with spaces, 99 is nothing)", text, err)
	}
	if text, err := tok.DecodeSkipSpecial([]int{3, 2}); err != nil || text != "ab" {
		t.Errorf("DecodeSkipSpecial = %q, %v; want ab", text, err)
	}
	if _, err := tok.Decode([]int{-1}); err == nil {
		t.Error("the id -1 was taken")
	}
	if tok.VocabSize() != 3 || tok.SpecialTokens() != 1 || !slices.Equal(tok.SpecialIDs(), []int{3}) || !slices.Equal(tok.AddedSpecialIDs(), []int{3}) || tok.Kind() != "BPE" {
		t.Errorf("sizes %d %d %v %v %s, want 3 1 [3] [3] BPE", tok.VocabSize(), tok.SpecialTokens(), tok.SpecialIDs(), tok.AddedSpecialIDs(), tok.Kind())
	}
}

// TestAllIDs: timed traces draw from every id that is not special, those of ordinary added tokens too.
func TestAllIDs(t *testing.T) {
	tok, err := loadTiny(t, map[string]string{"post_processor": "null", "added_tokens": `[{"id":3,"content":"<s>","special":true},{"id":4,"content":"<tool_call>","special":false}]`})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.AllIDs(), []int{0, 1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("AllIDs() = %v, want %v", got, want)
	}
	if got, want := tok.AddedSpecialIDs(), []int{3}; !slices.Equal(got, want) {
		t.Errorf("AddedSpecialIDs() = %v, want %v", got, want)
	}
}

// TestGapsInAddedTokensClose: the library gives added tokens the next free ids,
// whatever the file says.
func TestGapsInAddedTokensClose(t *testing.T) {
	tok, err := loadTiny(t, map[string]string{"post_processor": "null", "added_tokens": `[{"id":3,"content":"<s>","special":true},{"id":90,"content":"<x>","special":true}]`})
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := tok.Encode("<x>", true); err != nil || !slices.Equal(ids, []int{4}) {
		t.Errorf("Encode(<x>) = %v, %v; want [4]", ids, err)
	}
}

func TestTiktoken(t *testing.T) {
	var lines strings.Builder
	const encoding = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for b := range 256 { // one byte in base 64
		lines.WriteString(string([]byte{encoding[b>>2], encoding[b&3<<4], '=', '=', ' '}))
		number, _ := json.Marshal(b)
		lines.Write(number)
		lines.WriteByte('\n')
	}
	lines.WriteString("YWI= 256\nYWJj 257\nYmM= 258\n") // ab, abc, bc
	dir := t.TempDir()
	path := filepath.Join(dir, "cl100k_base.tiktoken")
	if err := os.WriteFile(path, []byte(lines.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, path} {
		tok, err := Load(at)
		if err != nil {
			t.Fatal(err)
		}
		// abc is a token; abcb merges ab first (rank 256), then abc (257).
		for text, want := range map[string][]int{"abc": {257}, "abcb": {257, 'b'}, "xbc\n": {'x', 258, '\n'}, "a<|endoftext|>": {'a', 100257}, "1234": {'1', '2', '3', '4'}} {
			ids, err := tok.Encode(text, true)
			if err != nil || !slices.Equal(ids, want) {
				t.Errorf("Encode(%q) = %v, %v; want %v", text, ids, err, want)
			}
			if back, err := tok.Decode(want); err != nil || back != text {
				t.Errorf("Decode(%v) = %q, %v; want %q", want, back, err, text)
			}
		}
	}
	model := filepath.Join(t.TempDir(), "tokenizer.model")
	if err := os.WriteFile(model, []byte("\x0a\x0e\x0a\x05<unk>"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(model); err == nil || !strings.Contains(err.Error(), "SentencePiece") {
		t.Errorf("a SentencePiece model: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.tiktoken"), []byte("!!! x\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "several") {
		t.Errorf("two files: %v", err)
	}
}

// TestManyAtOnce encodes from many goroutines; run with -race it holds the caches
// to their promise.
func TestManyAtOnce(t *testing.T) {
	tok, err := Load(filepath.Join(goldenDir(t), "llama3"))
	if err != nil {
		t.Skip(err)
	}
	texts, _ := proseOf(8)
	want := make([][]int, len(texts))
	for i, text := range texts {
		if want[i], err = tok.Encode(text, true); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan string)
	for i := range 16 {
		go func() {
			at := i % len(texts)
			ids, err := tok.Encode(texts[at], true)
			back, _ := tok.DecodeSkipSpecial(ids)
			switch {
			case err != nil:
				done <- err.Error()
			case !slices.Equal(ids, want[at]) || back != texts[at]:
				done <- "another encoding than alone"
			default:
				done <- ""
			}
		}()
	}
	for range 16 {
		if fault := <-done; fault != "" {
			t.Error(fault)
		}
	}
}
