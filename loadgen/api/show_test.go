package api

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"servebench/datasets"
	"servebench/loadgen"
	"servebench/loadgen/wire"
)

// What Show shows is what Send sends: method, address, headers and body.
func TestShowIsWhatIsSent(t *testing.T) {
	type request struct {
		*http.Request
		body []byte
	}
	arrived := make(chan request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- request{r.Clone(context.Background()), body}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	kind, err := KindOf("vllm")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{URL: server.URL + "/v1/completions", Kind: kind, Clock: wire.NewClock(), Headers: [][2]string{{"authorization", "Bearer x"}},
		Options: Options{Model: "m", IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := loadgen.Request{Sample: datasets.Sample{ID: "r-1", Prompt: datasets.Prompt{Text: "Hello"}, OutputTokens: 3}}
	shown, err := c.Show(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(shown.Body)
	if err != nil {
		t.Fatal(err)
	}
	call, err := c.Prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	call.Send(t.Context())
	got := <-arrived
	if got.Method != shown.Method || "http://"+got.Host+got.URL.Path != shown.URL.String() || string(got.body) != string(want) || got.ContentLength != shown.ContentLength {
		t.Fatalf("sent %v with %s; shown %v with %s", got.Request, got.body, shown, want)
	}
	header := http.Header{}
	for name, values := range shown.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	sent := got.Header.Clone()
	sent.Del("Content-Length")
	if !maps.EqualFunc(header, sent, func(a, b []string) bool { return len(a) == 1 && len(b) == 1 && a[0] == b[0] }) {
		t.Errorf("sent headers %v; shown %v", sent, header)
	}
}
