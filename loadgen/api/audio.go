package api

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
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
	header := textproto.MIMEHeader{}
	header["Content-Type"] = []string{"audio/wav"}
	header["Content-Disposition"] = []string{fmt.Sprintf(`form-data; name="file"; filename=%q`, clip.Name)}
	part, err := w.CreatePart(header)
	if err != nil {
		return Body{}, err
	}
	if _, err := part.Write(clip.Data); err != nil {
		return Body{}, err
	}
	fields := [][2]string{
		{"model", o.model(r)}, {"max_completion_tokens", strconv.Itoa(r.Sample.OutputTokens)}, {"stream", "true"}, {"language", "en"},
		{"stream_include_usage", "true"}, {"stream_continuous_usage_stats", "true"},
	}
	for _, m := range append(append([]datasets.Member(nil), o.Extra...), r.Sample.Extra...) {
		value, err := formValue(m)
		if err != nil {
			return Body{}, err
		}
		fields = setField(fields, m.Key, value)
	}
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			return Body{}, err
		}
	}
	if err := w.Close(); err != nil {
		return Body{}, err
	}
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

func (audio) Stream(compat bool) Stream {
	return &openAI{errorsPass: compat, usageApart: compat, choice: func(choice []byte, d *Delta) error {
		d.Output = true
		return object(choice, func(key, value []byte) error {
			switch string(key) {
			case "delta":
				if isNull(value) {
					return nil
				}
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
	}}
}
