package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxBody is the largest request that is read.
const maxBody = 64 << 20

// A body is a request's JSON object. Its readers take a key's value in the lenient way of the
// real server (a number in a string will do), and collect what is wrong in faults.
type body struct {
	fields map[string]any
	faults []string
	first  string // the first fault's place
}

// readBody reads a JSON object.
func readBody(r *http.Request) (*body, *fail) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		f := invalid("", "Unsupported Media Type: Only 'application/json' is allowed")
		return nil, f
	}
	return readAnyBody(r)
}

func readAnyBody(r *http.Request) (*body, *fail) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, badRequest("the body could not be read")
	}
	if len(text) > maxBody {
		return nil, &fail{status: http.StatusRequestEntityTooLarge, kind: "BadRequestError", message: "the body is too large"}
	}
	return parseBody(text)
}

func parseBody(text []byte) (*body, *fail) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); more == io.EOF {
			fields, ok := v.(map[string]any)
			if !ok {
				return nil, invalid("body", fmt.Sprintf("{'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary or object to extract fields from', 'input': %s}", pyInput(v)))
			}
			return &body{fields: fields}, nil
		}
	}
	e := pythonSyntax(string(text))
	if e == nil {
		// Python reads what Go refuses: NaN and the like.
		e = &syntaxError{"Expecting value", 0}
	}
	place := "body." + strconv.Itoa(e.at)
	return nil, invalid(place, fmt.Sprintf("{'type': 'json_invalid', 'loc': '%s', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': %s}}", place, pyRepr(e.message)))
}

// pyInput is how the server shows the value that it complains about.
func pyInput(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return pyBool(v)
	case json.Number:
		return v.String()
	case string:
		return pyRepr(v)
	case []any:
		return fmt.Sprintf("'<list of %d items>'", len(v))
	case map[string]any:
		return fmt.Sprintf("'<dict of %d items>'", len(v))
	}
	return "None"
}

func (b *body) fault(kind, key, message string, v any) {
	place := "body." + key
	if b.first == "" {
		b.first = place
	}
	b.faults = append(b.faults, fmt.Sprintf("{'type': '%s', 'loc': '%s', 'msg': '%s', 'input': %s}", kind, place, message, pyInput(v)))
}

// wrong is the complaint about everything that was read so far, nil when all was well.
func (b *body) wrong() *fail {
	if len(b.faults) == 0 {
		return nil
	}
	return invalid(b.first, b.faults...)
}

// required complains when the key is missing.
func (b *body) required(key string) any {
	v, ok := b.fields[key]
	if !ok {
		b.fault("missing", key, "Field required", b.fields)
	}
	return v
}

func (b *body) str(key, otherwise string) string {
	switch v := b.fields[key].(type) {
	case nil:
		return otherwise
	case string:
		return v
	default:
		b.fault("string_type", key, "Input should be a valid string", v)
		return otherwise
	}
}

func (b *body) int(key string, otherwise int) int {
	switch v := b.fields[key].(type) {
	case nil:
		return otherwise
	case bool:
		if v {
			return 1
		}
		return 0
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && f == float64(int(f)) {
			return int(f)
		}
		b.fault("int_from_float", key, "Input should be a valid integer, got a number with a fractional part", v)
	case string:
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			return n
		}
		b.fault("int_parsing", key, "Input should be a valid integer, unable to parse string as an integer", v)
	default:
		b.fault("int_type", key, "Input should be a valid integer", v)
	}
	return otherwise
}

// strictInt is an integer, 0 when missing, that may come as nothing else.
func (b *body) strictInt(key string) int {
	switch v := b.fields[key].(type) {
	case nil:
		return 0
	case json.Number:
		if n, err := strconv.Atoi(v.String()); err == nil {
			return n
		}
	}
	b.fault("int_type", key, "Input should be a valid integer", b.fields[key])
	return 0
}

func (b *body) float(key string, otherwise float64) float64 {
	switch v := b.fields[key].(type) {
	case nil:
		return otherwise
	case bool:
		if v {
			return 1
		}
		return 0
	case json.Number:
		f, _ := v.Float64()
		return f
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return f
		}
		b.fault("float_parsing", key, "Input should be a valid number, unable to parse string as a number", v)
	default:
		b.fault("float_type", key, "Input should be a valid number", v)
	}
	return otherwise
}

func (b *body) bool(key string, otherwise bool) bool {
	switch v := b.fields[key].(type) {
	case nil:
		return otherwise
	case bool:
		return v
	case json.Number:
		if s := v.String(); s == "0" || s == "1" {
			return s == "1"
		}
	case string:
		switch strings.ToLower(v) {
		case "true", "t", "yes", "y", "on", "1":
			return true
		case "false", "f", "no", "n", "off", "0":
			return false
		}
		b.fault("bool_parsing", key, "Input should be a valid boolean, unable to interpret input", v)
		return otherwise
	}
	b.fault("bool_type", key, "Input should be a valid boolean", b.fields[key])
	return otherwise
}

// object is the value of a key that holds an object, nil when it is missing or null.
func (b *body) object(key string) map[string]any {
	switch v := b.fields[key].(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	default:
		b.fault("dict_type", key, "Input should be a valid dictionary", v)
		return nil
	}
}

// strings is a string or a list of strings.
func (b *body) strings(key string) []string {
	switch v := b.fields[key].(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []any:
		var out []string
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				b.fault("string_type", fmt.Sprintf("%s.%d", key, i), "Input should be a valid string", item)
				return nil
			}
			out = append(out, s)
		}
		return out
	default:
		b.fault("string_type", key, "Input should be a valid string", v)
		return nil
	}
}

// ints is a list of integers.
func (b *body) ints(key string) []int {
	switch v := b.fields[key].(type) {
	case nil:
		return nil
	case []any:
		if out, ok := toInts(v); ok {
			return out
		}
		b.fault("int_type", key, "Input should be a valid integer", v)
	default:
		b.fault("list_type", key, "Input should be a valid list", v)
	}
	return nil
}

func toInts(items []any) ([]int, bool) {
	out := make([]int, 0, len(items))
	for _, item := range items {
		number, ok := item.(json.Number)
		if !ok {
			return nil, false
		}
		n, err := strconv.Atoi(number.String())
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}
