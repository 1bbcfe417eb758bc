package tokenizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A class is what transformers 5 makes of a tokenizer_class with a constructor of its own: it takes the vocabulary from
// tokenizer.json and sets the parts around it anew, whatever the file says of them.
type class struct {
	kind  string         // of the model it takes
	model map[string]any // members of the model that it sets; others get the library's usual values
	parts func(o *classOptions) classParts
	// names are its special tokens where the configuration names none.
	names map[string]string
}

// classParts are in the form of tokenizer.json; a nil post keeps the file's.
type classParts struct{ normalizer, cuts, decoder, post any }

// classOptions are the arguments of the constructors, out of tokenizer_config.json.
type classOptions struct {
	PrefixSpace  *bool `json:"add_prefix_space"`
	Legacy       bool  `json:"legacy"`
	LowerCase    *bool `json:"do_lower_case"`
	ChineseChars *bool `json:"tokenize_chinese_chars"`
	StripAccents *bool `json:"strip_accents"`

	charsMap any // the file's Precompiled normalizer; nil without
	token    func(name string) string
	id       func(token string) int64
}

func (o *classOptions) prefixSpace(usual bool) bool {
	if o.PrefixSpace != nil {
		return *o.PrefixSpace
	}
	return usual
}

// A spec is a component in the form of tokenizer.json.
type spec = map[string]any

func byteLevelPart(prefixSpace, regex bool) spec {
	return spec{"type": "ByteLevel", "add_prefix_space": prefixSpace, "use_regex": regex}
}

func sequencePart(name string, parts ...any) spec {
	return spec{"type": "Sequence", name: parts}
}

// around is a template with special tokens before and behind the text.
func (o *classOptions) around(before, behind []string) spec {
	single, tokens := []any{}, spec{}
	add := func(names []string) {
		for _, name := range names {
			text := o.token(name)
			single = append(single, spec{"SpecialToken": spec{"id": text}})
			tokens[text] = spec{"ids": []int64{o.id(text)}}
		}
	}
	add(before)
	single = append(single, spec{"Sequence": spec{"id": "A"}})
	add(behind)
	return spec{"type": "TemplateProcessing", "single": single, "pair": []any{}, "special_tokens": tokens}
}

func (o *classOptions) metaspaceWords(scheme string) any {
	return sequencePart("pretokenizers", spec{"type": "WhitespaceSplit"}, spec{"type": "Metaspace", "replacement": string(wordMark), "prepend_scheme": scheme, "split": true})
}

// bytesClass is byte-level BPE: a normalizer and what cuts before the bytes.
func bytesClass(normalizer any, names map[string]string, before func(o *classOptions) []any) class {
	return class{kind: "BPE", names: names, parts: func(o *classOptions) classParts {
		return classParts{normalizer: normalizer, cuts: sequencePart("pretokenizers", before(o)...), decoder: byteLevelPart(true, true)}
	}}
}

func endOfText(names ...string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		all[name] = "<|endoftext|>"
	}
	return all
}

func qwenClass(pattern string) class {
	return bytesClass(spec{"type": "NFC"}, endOfText("unk_token", "eos_token", "pad_token"), func(o *classOptions) []any {
		return []any{spec{"type": "Split", "pattern": spec{"Regex": pattern}, "behavior": "Isolated", "invert": false}, byteLevelPart(o.prefixSpace(false), false)}
	})
}

var bertClass = class{
	kind:  "WordPiece",
	names: map[string]string{"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"},
	parts: func(o *classOptions) classParts {
		return classParts{
			normalizer: spec{
				"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": o.ChineseChars == nil || *o.ChineseChars,
				"strip_accents": o.StripAccents, "lowercase": o.LowerCase == nil || *o.LowerCase,
			},
			cuts: spec{"type": "BertPreTokenizer"}, decoder: spec{"type": "WordPiece", "prefix": "##", "cleanup": true},
			post: o.around([]string{"cls_token"}, []string{"sep_token"}),
		}
	},
}

// classes are those of transformers 5.19 that models served today name; others are read as their file says.
var classes = map[string]class{
	"LlamaTokenizer": {
		kind: "BPE", model: map[string]any{"fuse_unk": true, "byte_fallback": true},
		names: map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
		parts: func(o *classOptions) classParts {
			scheme := "first"
			switch {
			case !o.prefixSpace(true):
				scheme = "never"
			case o.Legacy:
				scheme = "always"
			}
			decoders := []any{
				spec{"type": "Replace", "pattern": spec{"String": string(wordMark)}, "content": " "}, spec{"type": "ByteFallback"}, spec{"type": "Fuse"},
			}
			if scheme != "never" {
				decoders = append(decoders, spec{"type": "Strip", "content": " ", "start": 1, "stop": 0})
			}
			return classParts{
				cuts:    spec{"type": "Metaspace", "replacement": string(wordMark), "prepend_scheme": scheme, "split": false},
				decoder: sequencePart("decoders", decoders...),
			}
		},
	},
	"GemmaTokenizer": {
		kind: "BPE", model: map[string]any{"fuse_unk": true, "byte_fallback": true, "unk_token": "<unk>"},
		names: map[string]string{"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "mask_token": "<mask>"},
		parts: func(o *classOptions) classParts {
			return classParts{
				normalizer: spec{"type": "Replace", "pattern": spec{"String": " "}, "content": string(wordMark)},
				cuts:       spec{"type": "Split", "pattern": spec{"String": " "}, "behavior": "MergedWithPrevious", "invert": false},
				decoder: sequencePart("decoders", spec{"type": "Replace", "pattern": spec{"String": string(wordMark)}, "content": " "},
					spec{"type": "ByteFallback"}, spec{"type": "Fuse"}),
			}
		},
	},
	"GPT2Tokenizer": bytesClass(nil, endOfText("unk_token", "bos_token", "eos_token"), func(o *classOptions) []any {
		return []any{byteLevelPart(o.prefixSpace(false), true)}
	}),
	"CohereTokenizer": bytesClass(spec{"type": "NFC"}, map[string]string{
		"unk_token": "<UNK>", "bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>", "pad_token": "<PAD>", "cls_token": "<CLS>",
		"sep_token": "<SEP>", "mask_token": "<MASK_TOKEN>",
	}, func(o *classOptions) []any {
		return []any{spec{"type": "Digits", "individual_digits": true}, byteLevelPart(o.prefixSpace(false), true)}
	}),
	"Qwen2Tokenizer":      qwenClass(`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`),
	"Qwen3_5Tokenizer":    qwenClass(`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`),
	"BertTokenizer":       bertClass,
	"DistilBertTokenizer": bertClass,
	"RobertaTokenizer": {
		kind: "BPE", names: map[string]string{
			"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
		},
		parts: func(o *classOptions) classParts {
			cls, sep := o.token("cls_token"), o.token("sep_token")
			return classParts{
				cuts: byteLevelPart(o.prefixSpace(false), true), decoder: byteLevelPart(true, true),
				post: spec{"type": "RobertaProcessing", "sep": []any{sep, o.id(sep)}, "cls": []any{cls, o.id(cls)}},
			}
		},
	},
	"XLMRobertaTokenizer": {
		kind: "Unigram", model: map[string]any{"unk_id": 3}, names: map[string]string{
			"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
		},
		parts: func(o *classOptions) classParts {
			scheme := "always"
			if !o.prefixSpace(true) {
				scheme = "never"
			}
			return classParts{
				normalizer: o.charsMap, cuts: o.metaspaceWords(scheme),
				decoder: spec{"type": "Metaspace", "replacement": string(wordMark), "prepend_scheme": scheme, "split": true},
				post:    o.around([]string{"bos_token"}, []string{"eos_token"}),
			}
		},
	},
	"T5Tokenizer": {
		kind: "Unigram", model: map[string]any{"unk_id": 2}, names: map[string]string{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
		parts: func(o *classOptions) classParts {
			return classParts{
				normalizer: o.charsMap, cuts: o.metaspaceWords("always"),
				decoder: spec{"type": "Metaspace", "replacement": string(wordMark), "prepend_scheme": "always", "split": true},
				post:    o.around(nil, []string{"eos_token"}),
			}
		},
	},
}

// plainTypes are the types of models for which transformers takes the file as it is, whatever class is named.
var plainTypes = strings.Fields(`arctic aria bigbird_pegasus canary chameleon chatlm deepseek_ocr deepseek_ocr2 deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4
	deepseek_vl deepseek_vl_hybrid deepseek_vl_v2 ernie4_5 ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe glm_image glmasr got_ocr2
	gpt_bigcode granite granitemoe granitemoehybrid granitemoeshared h2ovl_chat hyperclovax hyperclovax_vlm internlm2 jamba janus kimi_k25 kimi_linear kosmos-2
	llava llava_next mimo_v2_flash minicpm3 minicpmv minicpmv4_6 minicpmv4_7 minimax_m2 ministral ministral3 mistral mistral3 mixtral modernbert modernbert-decoder
	molmo molmo2 nemotron nvfp4 nystromformer olmo2 olmo3 olmo_hybrid opencua openvla paddleocr_vl pegasus_x persimmon phi3 phi3_v phimoe pix2struct pixtral
	smolvlm stablelm step3_vl step3p5 step3p7 step5 step5_vl umt5 unlimited-ocr unlimited_ocr vipllava voxtral voxtral_realtime xlm-roberta-xl`)

// forcedTypes are the types of models whose folders name a wrong class.
var forcedTypes = map[string]string{
	"qwen2": "Qwen2Tokenizer", "qwen3_5": "Qwen3_5Tokenizer", "qwen3_5_moe": "Qwen3_5Tokenizer", "qwen3_5_moe_text": "Qwen3_5Tokenizer",
	"qwen4_exp": "Qwen3_5Tokenizer", "hyperclovax_vision_v2": "GPT2Tokenizer",
}

// rebuild replaces the parts of a file by those of the class that its folder names.
func (f *file) rebuild(dir string, fields map[string]json.RawMessage) error {
	var model struct {
		Type string `json:"model_type"`
	}
	if _, err := readJSON(dir, "config.json", &model); err != nil {
		return err
	}
	fail := func(name string, err error) error {
		return fmt.Errorf("%s/tokenizer_config.json: %s: %s", dir, name, plainJSON(err))
	}
	var name string
	if raw, ok := fields["tokenizer_class"]; ok {
		if err := json.Unmarshal(raw, &name); err != nil {
			return fail("tokenizer_class", err)
		}
	}
	name = strings.TrimSuffix(name, "Fast")
	if name == "" || slices.Contains(plainTypes, model.Type) {
		return nil
	}
	name = cmp.Or(forcedTypes[model.Type], name)
	c, known := classes[name]
	var m map[string]json.RawMessage
	var kind string
	if err := json.Unmarshal(f.Model, &m); err != nil || !known {
		return nil // parse tells what is wrong with the model
	}
	_ = json.Unmarshal(m["type"], &kind)
	if kind != c.kind {
		return nil
	}
	if name == "LlamaTokenizer" && string(m["byte_fallback"]) != "true" {
		return nil // a byte-level vocabulary under this class: transformers makes nonsense of it unless it knows the model's name
	}
	// The named tokens of the class stand in where the folder names none.
	for name, text := range c.names {
		if _, ok := fields[name]; !ok {
			fields[name], _ = json.Marshal(text) // a string always has a JSON form
		}
	}
	o := &classOptions{charsMap: f.charsMap()}
	arguments, _ := json.Marshal(fields) // raw messages that were read have one
	if err := json.Unmarshal(arguments, o); err != nil {
		return fail("arguments of "+name, err)
	}
	o.token = func(name string) string {
		var t tokenText
		_ = json.Unmarshal(fields[name], &t) // configure tells what is wrong with it
		return t.content
	}
	o.id = f.idOf
	parts := c.parts(o)
	members := map[string]json.RawMessage{"type": m["type"], "vocab": m["vocab"]}
	if c.kind == "BPE" {
		members["merges"] = m["merges"]
	}
	set := maps.Clone(c.model)
	if c.kind == "WordPiece" {
		set = map[string]any{"unk_token": o.token("unk_token")}
	}
	encode := func(v any) json.RawMessage {
		raw, _ := json.Marshal(v) // plain values always have a JSON form
		return raw
	}
	for key, value := range set {
		members[key] = encode(value)
	}
	f.Model, f.Normalizer, f.PreTokenizer, f.Decoder = encode(members), encode(parts.normalizer), encode(parts.cuts), encode(parts.decoder)
	if parts.post != nil {
		f.PostProcessor = encode(parts.post)
	}
	f.exact = true // Python reads the scores here
	return nil
}

// charsMap is the Precompiled normalizer of the file.
func (f *file) charsMap() any {
	type normalizer struct {
		Type        string
		Map         string `json:"precompiled_charsmap"`
		Normalizers []struct {
			Type string
			Map  string `json:"precompiled_charsmap"`
		}
	}
	var n normalizer
	if json.Unmarshal(f.Normalizer, &n) != nil {
		return nil
	}
	if n.Type == "Precompiled" {
		return spec{"type": n.Type, "precompiled_charsmap": n.Map}
	}
	for _, inner := range n.Normalizers {
		if inner.Type == "Precompiled" {
			return spec{"type": inner.Type, "precompiled_charsmap": inner.Map}
		}
	}
	return nil
}

// idOf is the id of a special token; 0 when there is none.
func (f *file) idOf(token string) int64 {
	for _, added := range f.AddedTokens {
		if added.Content == token {
			return added.ID
		}
	}
	var model struct{ Vocab json.RawMessage }
	_ = json.Unmarshal(f.Model, &model)
	var ids map[string]int64
	if json.Unmarshal(model.Vocab, &ids) == nil {
		return ids[token]
	}
	var scored [][]json.RawMessage
	_ = json.Unmarshal(model.Vocab, &scored)
	for i, pair := range scored {
		var text string
		if len(pair) > 0 && json.Unmarshal(pair[0], &text) == nil && text == token {
			return int64(i)
		}
	}
	return 0
}
