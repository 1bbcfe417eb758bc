package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"servebench/loadgen"
)

// Show is a request as Send would send it, which it is not. Its header holds keys: redact it before it is printed.
func (c *Client) Show(r loadgen.Request) (*http.Request, error) {
	prepared, err := c.Prepare(r)
	if err != nil {
		return nil, err
	}
	made, ok := prepared.(*call)
	if !ok {
		return nil, fmt.Errorf("a request of type %T cannot be shown", prepared)
	}
	return &http.Request{
		Method: http.MethodPost, URL: c.url, Host: c.url.Host, Header: made.header,
		Body: io.NopCloser(bytes.NewReader(made.body.Bytes)), ContentLength: int64(len(made.body.Bytes)),
	}, nil
}
