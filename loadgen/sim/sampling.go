package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// unset is a limit that the request does not set.
const unset = math.MinInt

// sampling is what a request says about how it wants to be answered.
type sampling struct {
	model                string
	max, min, n          int // max is unset when not said
	temperature          float64
	seed                 int
	stop                 []string
	stopIDs, allowed     []int
	ignoreEOS, keepStop  bool
	echo                 bool
	logprobs             int // -1: none
	returnIDs            bool
	stream               bool
	wantsUsage, runUsage bool // at the end; with every event
}

// readSampling reads what completions and chat have in common. Its complaints are in the body.
func readSampling(b *body) *sampling {
	p := &sampling{
		model: b.str("model", ""), max: b.int("max_tokens", unset), min: b.int("min_tokens", 0), n: b.int("n", 1),
		temperature: b.float("temperature", 1), seed: b.int("seed", 0), stop: b.strings("stop"),
		stopIDs: b.ints("stop_token_ids"), allowed: b.ints("allowed_token_ids"), ignoreEOS: b.bool("ignore_eos", false),
		keepStop: b.bool("include_stop_str_in_output", false), echo: b.bool("echo", false), logprobs: -1,
		returnIDs: b.bool("return_token_ids", false), stream: b.bool("stream", false),
	}
	options := body{fields: b.object("stream_options")}
	p.wantsUsage = options.bool("include_usage", false)
	p.runUsage = p.wantsUsage && options.bool("continuous_usage_stats", false)
	b.float("top_p", 1)
	b.int("top_k", 0)
	b.float("min_p", 0)
	b.float("frequency_penalty", 0)
	b.float("presence_penalty", 0)
	b.float("repetition_penalty", 1)
	return p
}

// checkOptions are the checks that come with parsing, before the model's name is looked at.
func (p *sampling) checkOptions(b *body) *fail {
	if f := b.wrong(); f != nil {
		return f
	}
	if b.fields["stream_options"] != nil && !p.stream {
		return badValue("stream_options", "", "Stream options can only be defined when `stream=True`.")
	}
	return nil
}

// tooLong is the complaint about a prompt that is longer than the model's context. It says one token too many, whatever the
// length: the server stops counting there.
func tooLong(c *Config, prompts [][]int) *fail {
	for _, prompt := range prompts {
		if len(prompt) > c.MaxModelLen {
			return badValue("input_tokens", fmt.Sprint(c.MaxModelLen+1), fmt.Sprintf("This model's maximum context length is %d tokens. However, your prompt contains at least %d input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.", c.MaxModelLen, c.MaxModelLen+1))
		}
	}
	return nil
}

// check are the checks of the values.
func (p *sampling) check(c *Config, prompts [][]int) *fail {
	longest := 0
	for _, prompt := range prompts {
		longest = max(longest, len(prompt))
	}
	if f := tooLong(c, prompts); f != nil {
		return f
	}
	if p.max > c.MaxModelLen {
		return badValue("max_tokens", fmt.Sprint(p.max), fmt.Sprintf("max_tokens=%d cannot be greater than max_model_len=%d. Please request fewer output tokens.", p.max, c.MaxModelLen))
	}
	if p.max > 0 && p.max+longest > c.MaxModelLen || p.max == unset && longest == c.MaxModelLen {
		wanted := max(p.max, 1)
		return badValue("input_tokens", fmt.Sprint(longest), fmt.Sprintf("This model's maximum context length is %d tokens. However, you requested %d output tokens and your prompt contains at least %d input tokens, for a total of at least %d tokens. Please reduce the length of the input prompt or the number of requested output tokens.", c.MaxModelLen, wanted, longest, longest+wanted))
	}
	if p.n < 1 {
		return badValue("n", fmt.Sprint(p.n), fmt.Sprintf("n must be at least 1, got %d.", p.n))
	}
	if p.temperature < 0 {
		return badValue("temperature", pyFloat(p.temperature), fmt.Sprintf("temperature must be non-negative, got %s.", pyFloat(p.temperature)))
	}
	if slices.Contains(p.stop, "") {
		return badRequest("stop cannot contain an empty string.")
	}
	if p.max != unset && p.max < 1 {
		return badValue("max_tokens", fmt.Sprint(p.max), fmt.Sprintf("max_tokens must be at least 1, got %d.", p.max))
	}
	if p.min < 0 {
		return badValue("min_tokens", fmt.Sprint(p.min), fmt.Sprintf("min_tokens must be greater than or equal to 0, got %d.", p.min))
	}
	if p.max > 0 && p.min > p.max {
		return badValue("min_tokens", fmt.Sprint(p.min), fmt.Sprintf("min_tokens must be less than or equal to max_tokens=%d, got %d.", p.max, p.min))
	}
	if p.n > 1 && p.temperature == 0 {
		return badValue("n", fmt.Sprint(p.n), fmt.Sprintf("n must be 1 when using greedy sampling, got %d.", p.n))
	}
	return nil
}

// sequences are the sequences that answer the prompts, n for each.
func (s *Server) sequences(j *job, p *sampling, prompts [][]int) []*sequence {
	seed := uint64(0)
	if p.temperature > 0 {
		seed = uint64(p.seed) + 1
	}
	for i, prompt := range prompts {
		for k := range p.n {
			most := p.max
			if most == unset {
				most = s.cfg.MaxModelLen - len(prompt)
			}
			j.seqs = append(j.seqs, &sequence{
				job: j, choice: i*p.n + k, prompt: prompt, min: p.min, max: most, stops: p.stopIDs, eos: !p.ignoreEOS,
				allowed: p.allowed, from: s.engine.content.source(prompt, seed, k),
			})
		}
		j.log.PromptTokens += len(prompt)
	}
	return j.seqs
}

// prompts reads the prompt of a completion: a text, token ids, or a list of either.
func (s *Server) prompts(b *body) [][]int {
	text := func(t string) []int {
		return s.cfg.Tokenizer.Encode(t, b.bool("add_special_tokens", true) && !s.cfg.NoBOS)
	}
	switch v := b.fields["prompt"].(type) {
	case nil:
	case string:
		if v != "" {
			return [][]int{text(v)}
		}
	case []any:
		if ids, ok := toInts(v); ok {
			if len(ids) > 0 {
				return [][]int{ids}
			}
			return nil
		}
		var out [][]int
		for i, item := range v {
			switch item := item.(type) {
			case string:
				out = append(out, text(item))
				continue
			case []any:
				if ids, ok := toInts(item); ok && len(ids) > 0 {
					out = append(out, ids)
					continue
				}
			}
			b.fault("string_type", fmt.Sprintf("prompt.list[str].%d", i), "Input should be a valid string", item)
			return nil
		}
		return out
	default:
		b.fault("string_type", "prompt.str", "Input should be a valid string", v)
	}
	return nil
}

// template words a conversation as one prompt.
func (s *Server) template(b *body) (string, *fail) {
	list, ok := b.required("messages").([]any)
	if f := b.wrong(); f != nil {
		return "", f
	}
	if !ok {
		b.fault("list_type", "messages", "Input should be a valid list", b.fields["messages"])
		return "", b.wrong()
	}
	var text strings.Builder
	for i, item := range list {
		m, ok := item.(map[string]any)
		role, isText := m["role"].(string)
		if !ok || !isText {
			b.fault("missing", fmt.Sprintf("messages.%d.role", i), "Field required", item)
			return "", b.wrong()
		}
		content, f := s.flatten(m["content"])
		if f != nil {
			return "", f
		}
		text.WriteString(role + ": " + content + "\n")
	}
	if b.bool("add_generation_prompt", true) {
		text.WriteString("assistant:")
	}
	return text.String(), nil
}

// mediaText stands for an image, a video or a sound in a prompt.
var mediaText = strings.Repeat(" med", 64)

// flatten is the text of a message's content, a string or a list of parts.
func (s *Server) flatten(content any) (string, *fail) {
	switch content := content.(type) {
	case nil:
		return "", nil
	case string:
		return content, nil
	case []any:
		var texts []string
		for _, item := range content {
			part, _ := item.(map[string]any)
			if text, ok := part["text"].(string); ok {
				texts = append(texts, text)
				continue
			}
			if !s.cfg.Multimodal {
				return "", badRequest(s.cfg.Model + " is not a multimodal model")
			}
			texts = append(texts, mediaText)
		}
		return strings.Join(texts, "\n"), nil
	}
	return "", badRequest("a message's content must be a string or a list of parts")
}

// usage is a count of tokens.
type usage struct{ prompt, completion, cached int }

func (u usage) String() string {
	return fmt.Sprintf(`"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d`, u.prompt, u.prompt+u.completion, u.completion)
}

// details are what a server says about cached tokens when it was started to.
func (s *Server) details(u usage) string {
	if s.cfg.PromptTokensDetails {
		return fmt.Sprintf(`{"cached_tokens":%d}`, u.cached)
	}
	return "null"
}

// streamed is the usage as a stream's event has it.
func (s *Server) streamed(u usage) string {
	if s.cfg.PromptTokensDetails {
		return fmt.Sprintf(`{%v,"prompt_tokens_details":%s}`, u, s.details(u))
	}
	return fmt.Sprintf(`{%v}`, u)
}

// plain is the usage as a plain answer has it.
func (s *Server) plain(u usage) string {
	return fmt.Sprintf(`{%v,"prompt_tokens_details":%s,"completion_tokens_details":null}`, u, s.details(u))
}
