package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"servebench/datasets"
	"servebench/internal/lazy"
	"servebench/internal/python"
	"servebench/loadgen"
)

// document is embedded by dialects that are answered by one document without output tokens.
type document struct{}

func (document) Stream(bool) Stream { return nil }

// Whole reads the usage of an embedding or a score. With encoding_format "bytes" it stands in a header.
func (document) Whole(body []byte, header http.Header, d *Delta) error {
	d.Output, d.End, d.Tokens = true, true, -1
	if meta := header.Get("metadata"); meta != "" {
		body = []byte(meta)
	}
	if !json.Valid(body) {
		if strings.HasPrefix(header.Get("Content-Type"), "application/json") || header.Get("Content-Type") == "" {
			return fmt.Errorf("%w: %s", errNotJSON, clip(body))
		}
		return nil // raw vectors say nothing of their prompt
	}
	if len(body) == 0 || body[space(body, 0)] != '{' {
		return nil
	}
	return object(body, func(key, value []byte) error {
		switch string(key) {
		case "usage":
			d.Usage = d.readUsage(value)
		case "error":
			if !isEmpty(value) {
				d.Error = errorMessage(value)
			}
		}
		return nil
	})
}

// pooled is the end of every pooling body: the number of inputs, and the length the client knows.
func (m members) pooled(r loadgen.Request, o *Options) (Body, error) {
	b, err := m.finish(r, o)
	b.Sequences = max(1, len(r.Sample.Prompt.List))
	if list := lists(r.Sample.Prompt.JSON); list > 0 {
		b.Sequences = list
	}
	if r.Sample.InputTokens >= 0 {
		b.InputTokens = &r.Sample.InputTokens
	}
	return b, err
}

// lists is how many inputs a JSON list of strings or lists holds.
func lists(value json.RawMessage) int {
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil || len(list) == 0 || list[0][0] != '"' && list[0][0] != '[' {
		return 0
	}
	return len(list)
}

// embeddings is /v1/embeddings with texts.
type embeddings struct{ document }

func (embeddings) Suffixes() []string { return []string{"embeddings"} }

func (embeddings) Body(r loadgen.Request, o *Options) (Body, error) {
	input, err := prompt(r.Sample.Prompt)
	if err != nil {
		return Body{}, err
	}
	var m members
	m.str("model", o.model(r))
	m.add("input", input)
	m.raw("truncate_prompt_tokens", "-1")
	return m.pooled(r, o)
}

// embeddingsChat is /v1/embeddings with chat messages, so that media can be embedded too.
type embeddingsChat struct {
	document
	clip    bool // the text is dropped when there is media
	vlm2vec bool // media first, the text becomes an instruction
}

func (embeddingsChat) Suffixes() []string { return []string{"embeddings"} }

// trailingNumber finds the sample's number at the end of its request id.
var trailingNumber = lazy.Regexp(`(\d+)$`)

func (e embeddingsChat) Body(r loadgen.Request, o *Options) (Body, error) {
	s := r.Sample
	if len(s.Media) > 0 && s.Prompt.JSON == nil {
		switch {
		case e.clip:
			s.Prompt = datasets.Prompt{}
		case e.vlm2vec:
			s.Prompt = datasets.Prompt{Text: instruction(s)}
		}
	}
	list, err := messages(datasets.Sample{Prompt: s.Prompt, Media: s.Media}, e.vlm2vec)
	if err != nil {
		return Body{}, err
	}
	var m members
	m.str("model", o.model(r))
	m.add("messages", list)
	m.raw("truncate_prompt_tokens", "-1")
	return m.pooled(r, o)
}

// instruction is what VLM2Vec models expect beside a picture: alone for even requests, with the question for odd ones.
func instruction(s datasets.Sample) string {
	number := 0
	if m := trailingNumber().FindString(s.ID); m != "" {
		number, _ = strconv.Atoi(m)
	}
	if number%2 == 0 {
		return "Represent the given image."
	}
	return "Represent the given image with the following question: " + s.Prompt.Text
}

// infinity is the embedding server of that name.
type infinity struct {
	document
	clip bool
}

func (infinity) Suffixes() []string { return []string{"embeddings"} }

func (i infinity) Body(r loadgen.Request, o *Options) (Body, error) {
	s := r.Sample
	if i.clip && len(s.Media) > 0 {
		s.Prompt = datasets.Prompt{}
	}
	var m members
	m.str("model", o.model(r))
	isText := s.Prompt.IDs != nil || s.Prompt.List != nil || s.Prompt.JSON != nil || s.Prompt.Text != ""
	switch {
	case isText || len(s.Media) == 0:
		input, err := prompt(s.Prompt)
		if err != nil {
			return Body{}, err
		}
		m.add("input", input)
	case len(s.Media) > 1:
		return Body{}, errors.New("infinity embeds one picture or clip a request, the sample has several")
	default:
		url, modality, err := mediaURL(s.Media[0].JSON)
		if err != nil {
			return Body{}, err
		}
		m.str("input", url)
		m.str("modality", modality)
	}
	return m.pooled(r, o)
}

// mediaURL takes the address and the kind out of a content part such as {"type": "image_url", "image_url": {"url": ...}}.
func mediaURL(part json.RawMessage) (url, modality string, err error) {
	var fields map[string]json.RawMessage
	var kind string
	if err := json.Unmarshal(part, &fields); err != nil {
		return "", "", fmt.Errorf("media: %w", err)
	}
	if err := json.Unmarshal(fields["type"], &kind); err != nil {
		return "", "", fmt.Errorf("media type: %w", err)
	}
	var inner struct{ URL string }
	if err := json.Unmarshal(fields[kind], &inner); err != nil {
		return "", "", fmt.Errorf("media %s: %w", kind, err)
	}
	modality, _, _ = strings.Cut(kind, "_")
	return inner.URL, modality, nil
}

// pooling is vLLM's own /pooling.
type pooling struct{ document }

func (pooling) Suffixes() []string { return []string{"pooling"} }

func (pooling) Body(r loadgen.Request, o *Options) (Body, error) {
	var m members
	m.str("model", o.model(r))
	m.raw("truncate_prompt_tokens", "-1")
	if p := r.Sample.Prompt.JSON; p != nil && p[space(p, 0)] == '{' {
		err := object(p, func(key, value []byte) error {
			spelled, err := python.AppendJSON(nil, value)
			m.set(unquote(append(append([]byte{'"'}, key...), '"')), spelled)
			return err
		})
		if err != nil {
			return Body{}, err
		}
		return m.pooled(r, o)
	}
	input, err := prompt(r.Sample.Prompt)
	if err != nil {
		return Body{}, err
	}
	m.add("input", input)
	return m.pooled(r, o)
}

// rerank scores documents against a query: the prompt is a list of the query and the documents.
type rerank struct{ document }

func (rerank) Suffixes() []string { return []string{"rerank"} }

func (rerank) Body(r loadgen.Request, o *Options) (Body, error) {
	list := r.Sample.Prompt.List
	if len(list) < 2 {
		return Body{}, errors.New("vllm-rerank needs a query and at least one document a request: use --dataset-name random-rerank")
	}
	var m members
	m.str("model", o.model(r))
	m.str("query", list[0])
	m.add("documents", python.AppendStrings(nil, list[1:]))
	m.raw("truncate_prompt_tokens", "-1")
	b := Body{ContentType: "application/json", Bytes: m.encode(), Sequences: len(list) - 1}
	if r.Sample.InputTokens >= 0 {
		b.InputTokens = &r.Sample.InputTokens
	}
	return b, nil
}
