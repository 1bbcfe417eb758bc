package api

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"strconv"
	"strings"

	"servebench/datasets"
	"servebench/internal/python"
	"servebench/loadgen"
)

// audio is /v1/audio/transcriptions and translations: a multipart form, answered like a completion.
type audio struct{ onlyStream }

func (audio) Suffixes() []string { return []string{"transcriptions", "translations"} }

func (audio) Body(r loadgen.Request, o *Options) (Body, error) {
	if len(r.Sample.Media) != 1 || r.Sample.Media[0].Data == nil {
		return Body{}, errors.New("openai-audio needs one raw clip of audio a request: use --dataset-name custom_audio or hf")
	}
	clip := r.Sample.Media[0]
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	// The part's own writer would sort its headers; the Python client has the type first.
	fmt.Fprintf(&buf, "--%s\r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\n", w.Boundary(), clip.Name)
	buf.Write(clip.Data)
	buf.WriteString("\r\n")
	fields := [][2]string{
		{"model", o.model(r)}, {"max_completion_tokens", strconv.Itoa(r.Sample.OutputTokens)}, {"stream", "True"}, {"language", "en"},
		{"stream_include_usage", "True"}, {"stream_continuous_usage_stats", "True"},
	}
	for _, m := range append(append([]datasets.Member(nil), o.Extra...), r.Sample.Extra...) {
		value, err := formValue(m)
		if err != nil {
			return Body{}, err
		}
		fields = setField(fields, m.Key, value)
	}
	for _, f := range fields {
		fmt.Fprintf(&buf, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", w.Boundary(), f[0], f[1])
	}
	fmt.Fprintf(&buf, "--%s--\r\n", w.Boundary())
	return Body{ContentType: w.FormDataContentType(), Bytes: buf.Bytes()}, nil
}

func setField(fields [][2]string, key, value string) [][2]string {
	for i := range fields {
		if fields[i][0] == key {
			fields[i][1] = value
			return fields
		}
	}
	return append(fields, [2]string{key, value})
}

// formValue is a JSON value as Python's str() spells it in a form field.
func formValue(m datasets.Member) (string, error) {
	raw := strings.TrimSpace(string(m.Value))
	switch {
	case raw == "true":
		return "True", nil
	case raw == "false":
		return "False", nil
	case raw == "null":
		return "None", nil
	case strings.HasPrefix(raw, `"`):
		return unquote([]byte(raw)), nil
	}
	spelled, err := python.AppendJSON(nil, []byte(raw))
	return string(spelled), err
}

// errNoDelta is a choice that says nothing: vLLM's client stumbles over it.
var errNoDelta = errors.New("a choice without a delta")

func (audio) Stream(compat bool) Stream {
	return &openAI{errorsPass: compat, usageApart: compat, choice: func(choice []byte, d *Delta) error {
		d.Output = true
		hasDelta := false
		err := object(choice, func(key, value []byte) error {
			switch string(key) {
			case "delta":
				if isNull(value) {
					return nil
				}
				hasDelta = true
				return object(value, func(key, value []byte) error {
					if string(key) == "content" {
						d.text(value)
					}
					return nil
				})
			case "finish_reason":
				d.Finish = stringBody(value)
			}
			return nil
		})
		if compat && !hasDelta {
			d.Output = false
			return errNoDelta
		}
		return err
	}}
}
