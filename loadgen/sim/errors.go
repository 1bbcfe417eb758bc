package sim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A fail is an error as the server words it to its clients.
type fail struct {
	status  int
	kind    string
	message string
	param   string // empty: null
}

// badValue is a complaint of the checks about a parameter's value, badRequest one about none.
func badRequest(message string) *fail {
	return &fail{status: http.StatusBadRequest, kind: "BadRequestError", message: message}
}

func badValue(param, value, message string) *fail {
	suffix := fmt.Sprintf(" (parameter=%s)", param)
	if value != "" {
		suffix = fmt.Sprintf(" (parameter=%s, value=%s)", param, value)
	}
	return &fail{status: http.StatusBadRequest, kind: "BadRequestError", message: message + suffix, param: param}
}

// invalid is a complaint of the parser, one line for each fault.
func invalid(param string, lines ...string) *fail {
	plural := ""
	if len(lines) != 1 {
		plural = "s"
	}
	message := fmt.Sprintf("%d validation error%s:\n  %s", len(lines), plural, strings.Join(lines, "\n  "))
	return &fail{status: http.StatusBadRequest, kind: "Bad Request", message: message, param: param}
}

func (f *fail) body() []byte {
	param := "null"
	if f.param != "" {
		param = quoted(f.param)
	}
	return fmt.Appendf(nil, `{"error":{"message":%s,"type":%s,"param":%s,"code":%d}}`, quoted(f.message), quoted(f.kind), param, f.status)
}

// event is the error as an event inside a stream: Python's own JSON writer made it, with blanks and
// without characters outside ASCII.
func (f *fail) event() []byte {
	param := "null"
	if f.param != "" {
		param = asciiString(f.param)
	}
	return fmt.Appendf(nil, `{"error": {"message": %s, "type": %s, "param": %s, "code": %d}}`, asciiString(f.message), asciiString(f.kind), param, f.status)
}

func asciiString(s string) string {
	var b strings.Builder
	for _, r := range quoted(s) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		}
	}
	return b.String()
}

func (f *fail) write(w http.ResponseWriter) { writeJSON(w, f.status, f.body()) }

// writeDetail answers what the web framework answers before the server's own code is asked.
func writeDetail(w http.ResponseWriter, status int) {
	writeJSON(w, status, []byte(`{"detail":`+quoted(http.StatusText(status))+`}`))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}
