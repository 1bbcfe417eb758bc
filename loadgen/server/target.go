package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Target is a server as an address: the questions one can ask any server under test,
// started by us or not. The zero Client is a plain one made for the few calls beside a
// load; the load itself never goes through here.
type Target struct {
	// BaseURL is the server's root, such as http://127.0.0.1:8000, without the /v1.
	BaseURL string
	// Headers go out with every call. They hold keys: they are in no error and no result.
	Headers http.Header
	// Client sends; nil means the package's own.
	Client *http.Client
	// Clock tells the time in Unix ns; nil means the system's clock.
	Clock func() int64
}

// A StatusError is an answer with a status that says no, with the server's own words.
type StatusError struct {
	Method, URL string
	Status      int
	// Message is what the server said: the message of its error object where it sent one, else
	// the start of the body.
	Message string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// IsStatus says whether err is an answer with this HTTP status.
func IsStatus(err error, status int) bool {
	var se *StatusError
	return errors.As(err, &se) && se.Status == status
}

// callLimit bounds one short call whose context has no deadline. Calls that may take minutes go
// through Do, which sets none.
const callLimit = 30 * time.Second

// longestAnswer bounds what is read of one answer. A /metrics page of a large deployment has
// a few MB.
const longestAnswer = 64 << 20

var plain = sync.OnceValue(func() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        16,
		MaxIdleConnsPerHost: 8,
		// Below uvicorn's 5 s: a connection that the server closes at the moment of a call is a
		// failure that says nothing.
		IdleConnTimeout: 3 * time.Second,
	}}
})

func (t Target) client() *http.Client {
	if t.Client != nil {
		return t.Client
	}
	return plain()
}

func (t Target) now() int64 {
	if t.Clock != nil {
		return t.Clock()
	}
	return time.Now().UnixNano()
}

// URL is the address of path on the server. A path may carry a query.
func (t Target) URL(path string) string {
	return strings.TrimRight(t.BaseURL, "/") + path
}

// Do sends one request and reads the whole answer. A nil body is sent as an empty one, without a
// content type; any other as JSON. A status of 400 or more comes back as a *StatusError. Only ctx
// limits the time.
func (t Target) Do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	address := t.URL(path)
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, fmt.Errorf("base URL %q: %w", t.BaseURL, err)
	}
	for key, values := range t.Headers {
		request.Header[http.CanonicalHeaderKey(key)] = values
	}
	if body != nil && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if path == "/metrics" {
		request.Header.Set("Accept", metricsAccept)
	}
	// Servers close connections that were idle for a few seconds (uvicorn after five), often in the moment of the next question. A POST on
	// such a connection is lost unless the transport may send it again on a new one; this key says so, and is not sent itself.
	request.Header["Idempotency-Key"] = []string{}
	response, err := t.client().Do(request)
	if err != nil {
		return nil, t.unreachable(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer+1))
	if response.StatusCode >= 400 {
		// A message cut short is better than none.
		return answer, &StatusError{Method: method, URL: redacted(address), Status: response.StatusCode, Message: Message(answer)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: the answer broke off after %d bytes: %w", method, redacted(address), len(answer), err)
	}
	if len(answer) > longestAnswer {
		return nil, fmt.Errorf("%s %s: the answer is longer than %d MiB", method, redacted(address), longestAnswer>>20)
	}
	return answer, nil
}

// unreachable words an error of the transport, with what would do.
func (t Target) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
			return cause // a death or a Ctrl-C says more than "context canceled"
		}
		return err
	}
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("%w: check the host in %s", err, redacted(t.BaseURL))
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w: no server answers at %s: check host and port, or start it", err, redacted(t.BaseURL))
	}
	return err
}

func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Redacted()
}

// Message finds the server's own words in the body of an error: the message of an OpenAI error
// object, FastAPI's detail, else the start of the body.
func Message(body []byte) string {
	var shaped struct {
		Error   json.RawMessage `json:"error"`
		Detail  json.RawMessage `json:"detail"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &shaped) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(shaped.Error, &inner) == nil && inner.Message != "" {
			return inner.Message
		}
		for _, raw := range []json.RawMessage{shaped.Error, shaped.Detail} {
			var text string
			if json.Unmarshal(raw, &text) == nil && text != "" {
				return text
			}
			if len(raw) > 0 && string(raw) != "null" {
				return clipped(string(raw))
			}
		}
		if shaped.Message != "" {
			return shaped.Message
		}
	}
	return clipped(strings.TrimSpace(string(body)))
}

func clipped(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// call is Do for a short question, answered in JSON into out (nil: the answer is not read).
func (t Target) call(ctx context.Context, method, path string, in, out any) error {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	answer, err := t.Do(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: the answer is no such JSON (%w): %s", method, redacted(t.URL(path)), err, clipped(string(answer)))
	}
	return nil
}

// Health asks /health, or /v1/models where there is no such route.
func (t Target) Health(ctx context.Context) error {
	err := t.call(ctx, http.MethodGet, "/health", nil, nil)
	if IsStatus(err, http.StatusNotFound) {
		return t.call(ctx, http.MethodGet, "/v1/models", nil, nil)
	}
	return err
}

// Version is what the server says its version is.
func (t Target) Version(ctx context.Context) (string, error) {
	var answer struct {
		Version string `json:"version"`
	}
	err := t.call(ctx, http.MethodGet, "/version", nil, &answer)
	if err == nil && answer.Version == "" {
		err = fmt.Errorf("GET %s: the answer names no version", redacted(t.URL("/version")))
	}
	return answer.Version, err
}

// A Model is one name the server serves under.
type Model struct {
	ID     string `json:"id"`
	Root   string `json:"root"`
	Parent string `json:"parent"`
	// MaxLength is the longest sequence in tokens; 0 when not said.
	MaxLength int `json:"max_model_len"`
}

// Models lists what the server serves, in its own order.
func (t Target) Models(ctx context.Context) ([]Model, error) {
	var answer struct {
		Data []Model `json:"data"`
	}
	err := t.call(ctx, http.MethodGet, "/v1/models", nil, &answer)
	if err == nil && len(answer.Data) == 0 {
		err = fmt.Errorf("GET %s: the server lists no model", redacted(t.URL("/v1/models")))
	}
	return answer.Data, err
}

// ServerInfo is the server's settings as it tells them in developer mode
// (VLLM_SERVER_DEV_MODE=1). Otherwise the error is a *StatusError of 404.
//
// Do not put it into a result as it is: it holds the server's environment.
func (t Target) ServerInfo(ctx context.Context) (json.RawMessage, error) {
	var answer json.RawMessage
	err := t.call(ctx, http.MethodGet, "/server_info?config_format=json", nil, &answer)
	return answer, err
}

// ResetPrefixCache empties the server's prefix cache. It exists in developer mode only
// (VLLM_SERVER_DEV_MODE=1); otherwise the error is a *StatusError of 404.
func (t Target) ResetPrefixCache(ctx context.Context) error {
	body, err := t.do(ctx, http.MethodPost, "/reset_prefix_cache")
	if err != nil {
		return err
	}
	var answer struct {
		Success *bool `json:"success"`
	}
	// Servers of older versions answer with an empty body.
	if json.Unmarshal(body, &answer) == nil && answer.Success != nil && !*answer.Success {
		return errors.New("reset_prefix_cache: the server says that it did not succeed; requests may still be running")
	}
	return nil
}

// do is Do with a limit for a context that has none.
func (t Target) do(ctx context.Context, method, path string) ([]byte, error) {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	return t.Do(ctx, method, path, nil)
}

// Tokenize returns the ids of prompt as the model sees them, with the special tokens it puts
// around a prompt if special is set. An empty model is the server's first.
func (t Target) Tokenize(ctx context.Context, model, prompt string, special bool) ([]int, error) {
	var answer struct {
		Tokens []int `json:"tokens"`
	}
	question := struct {
		Model   string `json:"model,omitempty"`
		Prompt  string `json:"prompt"`
		Special bool   `json:"add_special_tokens"`
	}{model, prompt, special}
	err := t.call(ctx, http.MethodPost, "/tokenize", question, &answer)
	return answer.Tokens, err
}

// Detokenize returns the text of ids, special tokens kept.
func (t Target) Detokenize(ctx context.Context, model string, ids []int) (string, error) {
	var answer struct {
		Prompt *string `json:"prompt"`
	}
	if ids == nil {
		ids = []int{} // null is no list
	}
	question := struct {
		Model  string `json:"model,omitempty"`
		Tokens []int  `json:"tokens"`
	}{model, ids}
	if err := t.call(ctx, http.MethodPost, "/detokenize", question, &answer); err != nil {
		return "", err
	}
	if answer.Prompt == nil {
		return "", fmt.Errorf("POST %s: the answer holds no text", redacted(t.URL("/detokenize")))
	}
	return *answer.Prompt, nil
}
