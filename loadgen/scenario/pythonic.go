package scenario

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"servebench/internal/python"
)

// pythonic words the questions beside the load as vLLM's client does, byte for byte: its headers, and JSON in Python's
// spelling. Some servers and proxies tell the difference, and recorded runs are compared with it.
type pythonic struct {
	next http.RoundTripper
	// slash says that the server's address ends in one: the Python client joins address and path as they are.
	slash bool
}

func (p pythonic) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	usual := func(name, value string) {
		if req.Header.Get(name) == "" || strings.HasSuffix(req.URL.Path, "/metrics") { // what the user says goes before, where it is sent at all
			req.Header[name] = []string{value}
		}
	}
	usual("Accept", "*/*")
	usual("Accept-Encoding", "gzip, deflate")
	if p.slash {
		req.URL.Path = "/" + req.URL.Path
	}
	switch {
	case req.Body != nil && req.Body != http.NoBody:
		body, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		if spelled, err := python.AppendJSON(nil, body); err == nil {
			body = spelled
		}
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	case req.Method == http.MethodPost:
		usual("Content-Type", "application/octet-stream")
	}
	return p.next.RoundTrip(req)
}
