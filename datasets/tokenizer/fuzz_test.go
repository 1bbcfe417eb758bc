package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// parts are components of every kind, for tests that combine them.
var parts = map[string][]string{
	"normalizer": {
		`null`, `{"type":"NFC"}`, `{"type":"NFKD"}`, `{"type":"Lowercase"}`, `{"type":"StripAccents"}`, `{"type":"Nmt"}`, `{"type":"ByteLevel"}`,
		`{"type":"Prepend","prepend":"ab"}`, `{"type":"Replace","pattern":{"String":"a"},"content":"bb"}`, `{"type":"Replace","pattern":{"Regex":"[ab]+ ?"},"content":""}`,
		`{"type":"Strip","strip_left":true,"strip_right":true}`, `{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}`,
		`{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Strip","strip_left":false,"strip_right":true},{"type":"NFKC"}]}`,
	},
	"pre_tokenizer": {
		`null`, `{"type":"BertPreTokenizer"}`, `{"type":"Whitespace"}`, `{"type":"WhitespaceSplit"}`, `{"type":"Punctuation"}`, `{"type":"UnicodeScripts"}`,
		`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`, `{"type":"Digits","individual_digits":false}`,
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}`, `{"type":"FixedLength","length":2}`, `{"type":"CharDelimiterSplit","delimiter":"a"}`,
		`{"type":"Split","pattern":{"Regex":"\\s+(?!\\S)|b"},"behavior":"MergedWithNext","invert":false}`,
		`{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}]}`,
	},
	"decoder": {
		`null`, `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`, `{"type":"WordPiece","prefix":"##","cleanup":true}`,
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}`, `{"type":"CTC","pad_token":"a","word_delimiter_token":"b","cleanup":true}`,
		`{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":"a","start":1,"stop":1}]}`,
	},
	"model": {
		`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`, `{"type":"BPE","unk_token":"a","fuse_unk":true,"byte_fallback":true,"vocab":{"a":0,"<0x20>":1,"▁":2},"merges":[]}`,
		`{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["ab",-1.5],["▁",-2]]}`, `{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":9,"vocab":{"[UNK]":0,"a":1,"##b":2}}`,
		`{"type":"WordLevel","unk_token":"a","vocab":{"a":0,"ab":1}}`,
	},
	"added_tokens": {
		`[]`, `[{"id":9,"content":"ab ","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,"special":false},{"id":10,"content":" ","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,"special":true}]`,
	},
	"post_processor": {
		`null`, `{"type":"BertProcessing","sep":["b",1],"cls":["a",0]}`, `{"type":"RobertaProcessing","sep":["b",1],"cls":["a",0],"trim_offsets":true,"add_prefix_space":true}`,
	},
}

// FuzzEncode puts every kind of part together and asks for ids of any text: there
// may be an error, never a panic, and what was encoded can be decoded.
func FuzzEncode(f *testing.F) {
	f.Add("", uint32(0))
	f.Add(" ab  a\n1…½ﬁ é", uint32(12345))
	f.Add("…", uint32(99))
	f.Add("\x0bİ 한글 🇩🇪 ab ", uint32(7777777))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string, choice uint32) {
		whole := map[string]json.RawMessage{}
		for _, key := range []string{"normalizer", "pre_tokenizer", "decoder", "model", "added_tokens", "post_processor"} {
			list := parts[key]
			whole[key] = json.RawMessage(list[choice%uint32(len(list))])
			choice /= uint32(len(list))
		}
		data, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), data, 0o666); err != nil {
			t.Fatal(err)
		}
		tok, err := Load(dir)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		ids, err := tok.Encode(text, true)
		if !utf8.ValidString(text) {
			if err == nil {
				t.Errorf("Encode(%q) took what is not UTF-8", text)
			}
			return
		}
		if err != nil {
			return
		}
		if _, err := tok.Decode(ids); err != nil {
			t.Errorf("Decode(%v): %v", ids, err)
		}
	})
}

// FuzzLossless holds byte-level tokenizers to what they promise: any text comes
// back as it was.
func FuzzLossless(f *testing.F) {
	f.Add("Hello, wörld!\r\n\t  'LL we'll 12345 <|endoftext|> 你好 🏳️‍🌈 \u2028")
	f.Add("  \n \x00 e\u0301 ǅ")
	var all []*Tokenizer
	for _, name := range []string{"gpt2", "llama3"} {
		tok, err := Load(filepath.Join(goldenDir(f), name))
		if err != nil {
			f.Skip(err)
		}
		all = append(all, tok)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		for _, tok := range all {
			ids, err := tok.Encode(text, false)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tok.Decode(ids); err != nil || got != text {
				t.Errorf("%s: Decode(Encode(%q)) = %q, %v", tok.Name(), text, got, err)
			}
		}
	})
}

// FuzzLoad reads any tokenizer.json: an error or a tokenizer that works, no panic.
func FuzzLoad(f *testing.F) {
	for _, list := range parts {
		for _, text := range list {
			f.Add(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":`+text+`}`, "a b")
			f.Add(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":`+text+`}`, "a b")
			f.Add(`{"model":`+text+`,"decoder":`+text+`}`, "a b")
		}
	}
	f.Add(tinyFiles()["tokenizer.json"], "ab")
	f.Fuzz(func(t *testing.T, data, text string) {
		tok, err := parse([]byte(data))
		if err != nil {
			return
		}
		if err := tok.added.build(); err != nil {
			return
		}
		tok.table = tok.newDecodeTable()
		if ids, err := tok.Encode(text, true); err == nil {
			if _, err := tok.Decode(ids); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzClasses: whatever a folder says of its class is built or refused.
func FuzzClasses(f *testing.F) {
	models := []string{
		`{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"],"byte_fallback":true}`, `{"type":"WordPiece","vocab":{"a":0,"[UNK]":1}}`,
		`{"type":"Unigram","vocab":[["a",-1],["<unk>",-2.5],["▁",-3],["b",-1]]}`,
	}
	for name, c := range classes {
		for _, model := range models {
			f.Add(`{"model":`+model+`}`, `{"tokenizer_class":"`+name+`","do_lower_case":false}`, `{"model_type":"qwen2"}`, "a b")
			f.Add(`{"model":`+model+`,"normalizer":{"type":"Precompiled","precompiled_charsmap":""}}`, `{"tokenizer_class":"`+name+`Fast"}`, c.kind, "a b")
		}
	}
	f.Fuzz(func(t *testing.T, data, config, model, text string) {
		var fields map[string]json.RawMessage
		file, err := readFile([]byte(data))
		if err != nil || json.Unmarshal([]byte(config), &fields) != nil || fields == nil {
			return
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(model), 0o666); err != nil {
			t.Fatal(err)
		}
		if file.rebuild(dir, fields) != nil {
			return
		}
		tok, err := file.build()
		if err != nil || tok.configure(dir, fields, false) != nil {
			return
		}
		tok.table = tok.newDecodeTable()
		if ids, err := tok.Encode(text, true); err == nil {
			if _, err := tok.Decode(ids); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzRegex rewrites any pattern: an error or a finder whose stretches cover the text.
func FuzzRegex(f *testing.F) {
	f.Add(patternO200k, "Hello World 123")
	f.Add(`(?i)[k-t&&[^s]]++|\b(?<=a)x{,3}?|[[:digit:]\W]`, "aKſt x")
	f.Add(`a{2}{3}|(?:b|)*`, "aaaaaab")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 60 || len(text) > 30 || !utf8.ValidString(text) || strings.Count(pattern, "*")+strings.Count(pattern, "+")+strings.Count(pattern, "{") > 3 {
			return // a backtracking engine may take for ever
		}
		made, err := compile(pattern)
		if err != nil {
			return
		}
		at := 0
		for _, s := range made.find(text) {
			if s.from != at || s.to < s.from {
				t.Fatalf("%q on %q: stretch %v begins not at %d", pattern, text, s, at)
			}
			at = s.to
		}
		if at != len(text) {
			t.Fatalf("%q on %q: ends at %d", pattern, text, at)
		}
	})
}

// FuzzTemplate renders any template: an error or a text, no panic and no hang.
func FuzzTemplate(f *testing.F) {
	f.Add(`{% for m in messages %}{{ m.role ~ m['content'][1:-1] | trim }}{% if loop.last %}{% break %}{% endif %}{% endfor %}`)
	f.Add(`{%- set ns = namespace(a=[1,2.5,none]) -%}{% macro f(x, y=1) %}{{ x|tojson(indent=2) }}{{ caller() }}{% endmacro %}{% call f({'a': (1,)}) %}z{% endcall %}`)
	f.Add(`{{ '%5.2f|%s'|format(1, 'x') }}{{ -7 // 2 ** 3 % 2 }}{{ "a b".split()|map('upper')|join }}{# c #}{% raw %}{{{% endraw %}`)
	f.Add(`{% if a is defined and not b in [1] %}{% elif c is divisibleby 3 %}{% else %}{% endif %}`)
	messages, err := fromJSON(json.RawMessage(`[{"role":"user","content":"héllo"}]`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "range") || strings.Contains(source, "*") || strings.Count(source, "for")+strings.Count(source, "macro") > 2 {
			return // loops may be long
		}
		template, err := parseJinja(source)
		if err != nil {
			return
		}
		_, _ = template.render(map[string]jvalue{"messages": messages}, nil)
	})
}
