//go:build !386 && !s390x

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// start runs a server until the test ends and returns its address.
func start(t *testing.T, c config) string {
	t.Helper()
	c.Listen, c.Model = "127.0.0.1:0", "paced"
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(c)
	if err != nil {
		t.Fatal(err)
	}
	address := s.address()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.serve(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		serving.Wait()
	})
	return address
}

// A line is one line of the log as a stranger reads it: absent times are null.
type line struct {
	ID       string   `json:"id"`
	Conn     int      `json:"conn"`
	Received *int64   `json:"received_ns"`
	Seen     *int64   `json:"seen_ns"`
	Headers  *int64   `json:"headers_sent_ns"`
	Due      []int64  `json:"due_ns"`
	Before   []int64  `json:"before_ns"`
	After    []*int64 `json:"after_ns"`
	Sent     []*int64 `json:"sent_ns"`
	Tokens   []int    `json:"tokens"`
	Done     *int64   `json:"done_ns"`
}

func logOf(t *testing.T, address string) []line {
	t.Helper()
	response, err := http.Get("http://" + address + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var lines []line
	for decoder := json.NewDecoder(response.Body); ; {
		var one line
		if err := decoder.Decode(&one); err == io.EOF {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, one)
	}
}

func post(t *testing.T, address, path, id, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Request-Id", id)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

const ms = time.Millisecond

func TestStream(t *testing.T) {
	for _, tc := range []struct {
		name   string
		config config
		body   string
		tokens []int // of each chunk
		usage  bool
	}{
		{"plain", config{First: 3 * ms, Gap: 2 * ms, Tokens: 4, PerChunk: 1}, `{"stream":true}`, []int{1, 1, 1, 1}, false},
		{"the request says how many", config{First: ms, Gap: ms, Tokens: 4, PerChunk: 1}, `{"stream":true,"max_tokens":2}`, []int{1, 1}, false},
		{"the command line insists", config{First: ms, Gap: ms, Tokens: 3, Force: true, PerChunk: 1}, `{"stream":true,"max_tokens":2}`, []int{1, 1, 1}, false},
		{"several tokens a chunk", config{First: ms, Gap: ms, Tokens: 5, PerChunk: 2}, `{"stream":true}`, []int{2, 2, 1}, false},
		{"usage", config{First: ms, Gap: ms, Tokens: 2, PerChunk: 1}, `{"stream":true,"prompt":[5,6,7],"stream_options":{"include_usage":true}}`, []int{1, 1}, true},
		{"joined", config{First: ms, Gap: ms, Tokens: 2, PerChunk: 1, Joined: true}, `{"stream":true}`, []int{1, 1}, false},
		{"aligned", config{First: ms, Gap: 2 * ms, Tokens: 3, PerChunk: 1, Align: true}, `{"stream":true}`, []int{1, 1, 1}, false},
		{"at once", config{Tokens: 3, PerChunk: 1}, `{"stream":true}`, []int{1, 1, 1}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address := start(t, tc.config)
			status, text := post(t, address, "/v1/completions", "r1", tc.body)
			if status != 200 {
				t.Fatalf("status %d: %s", status, text)
			}
			events := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n")
			want := len(tc.tokens) + 1
			if tc.usage {
				want++
			}
			if len(events) != want || events[want-1] != "data: [DONE]" {
				t.Fatalf("%d events, the last is %q; want %d and [DONE]", len(events), events[len(events)-1], want)
			}
			total := 0
			for i, n := range tc.tokens {
				var chunk struct {
					ID      string
					Choices []struct {
						Text   string
						Finish *string `json:"finish_reason"`
					}
				}
				if err := json.Unmarshal([]byte(strings.TrimPrefix(events[i], "data: ")), &chunk); err != nil {
					t.Fatalf("%v in %q", err, events[i])
				}
				if got := strings.Count(chunk.Choices[0].Text, " token"); got != n || chunk.ID != "cmpl-r1" {
					t.Errorf("chunk %d of %s has %d tokens, want %d of cmpl-r1", i, chunk.ID, got, n)
				}
				if last := i == len(tc.tokens)-1; (chunk.Choices[0].Finish != nil) != last {
					t.Errorf("chunk %d has a finish reason: %t", i, !last)
				}
				total += n
			}
			if tc.usage && !strings.Contains(events[want-2], fmt.Sprintf(`"usage":{"prompt_tokens":3,"total_tokens":%d,"completion_tokens":%d}`, 3+total, total)) {
				t.Errorf("usage %q", events[want-2])
			}

			lines := logOf(t, address)
			if len(lines) != 1 {
				t.Fatalf("%d lines in the log, want 1", len(lines))
			}
			l := lines[0]
			if l.ID != "r1" || fmt.Sprint(l.Tokens) != fmt.Sprint(tc.tokens) || l.Done == nil || l.Headers == nil {
				t.Errorf("log %+v", l)
			}
			if l.Received == nil || *l.Received > *l.Seen {
				t.Fatalf("received %v, seen %v; want the kernel's stamp before the server's", l.Received, l.Seen)
			}
			first := time.Duration(l.Due[0] - *l.Received)
			if tc.config.Align {
				if first < tc.config.First || first >= tc.config.First+tc.config.Gap {
					t.Errorf("the first chunk is due %v after arrival, want the next step after %v", first, tc.config.First)
				}
			} else if first != tc.config.First {
				t.Errorf("the first chunk is due %v after arrival, want %v", first, tc.config.First)
			}
			for i := range l.Due {
				if i > 0 && time.Duration(l.Due[i]-l.Due[i-1]) != tc.config.Gap {
					t.Errorf("chunk %d is due %v after the one before, want %v", i, time.Duration(l.Due[i]-l.Due[i-1]), tc.config.Gap)
				}
				if l.Before[i] < l.Due[i] || l.After[i] == nil || *l.After[i] < l.Before[i] {
					t.Errorf("chunk %d: due %d, write from %d to %v", i, l.Due[i], l.Before[i], l.After[i])
				}
				if l.Sent[i] == nil || *l.Sent[i] < l.Before[i] {
					t.Errorf("chunk %d: write began %d, sent %v", i, l.Before[i], l.Sent[i])
				}
			}
			if headersLast := *l.Headers >= *l.Sent[0]; headersLast != tc.config.Joined {
				t.Errorf("headers sent %d, first chunk %d, joined %t", *l.Headers, *l.Sent[0], tc.config.Joined)
			}
		})
	}
}

// TestChat: the role comes in the same write as the first token, as an event of its own.
func TestChat(t *testing.T) {
	address := start(t, config{First: ms, Gap: ms, Tokens: 9, PerChunk: 1})
	status, text := post(t, address, "/v1/chat/completions", "r1",
		`{"stream":true,"max_completion_tokens":2,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"a b"}]}`)
	const head = `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1,"model":"paced","choices":[`
	want := head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null,"token_ids":null}]}` + "\n\n" +
		head + `{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":"length","token_ids":null}]}` + "\n\n" +
		head + `],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2}}` + "\n\ndata: [DONE]\n\n"
	if status != 200 || text != want {
		t.Errorf("status %d\n%s\nwant\n%s", status, text, want)
	}
	if lines := logOf(t, address); len(lines) != 1 || len(lines[0].Sent) != 2 || lines[0].Sent[1] == nil {
		t.Errorf("log %+v, want one request of two stamped tokens", lines)
	}
}

func TestOtherRequests(t *testing.T) {
	address := start(t, config{First: ms, Gap: ms, Tokens: 1, PerChunk: 1})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	for _, tc := range []struct {
		request string
		status  int
		body    string // a part of it
	}{
		{"GET /health HTTP/1.1\r\n\r\n", 200, ""},
		{"GET /version HTTP/1.1\r\n\r\n", 200, `{"version":"pacedserver"}`},
		{"GET /v1/models HTTP/1.1\r\n\r\n", 200, `"id":"paced"`},
		{"GET /nowhere HTTP/1.1\r\n\r\n", 404, `{"detail":"Not Found"}`},
		{"POST /v1/completions HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400, "unexpected end of JSON input"},
		{"POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400, "set stream to true"},
		{"POST /v1/completions HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"stream\":true}", 200, "data: [DONE]\n\n"},
		{"GET /log HTTP/1.1\r\n\r\n", 200, `"id":"0"`},
		{"POST /reset HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"GET /log HTTP/1.1\r\n\r\n", 200, ""},
		{"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "send a content-length"},
	} {
		// Byte by byte: a request may come in any pieces.
		for _, b := range []byte(tc.request) {
			if _, err := conn.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		response, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatalf("%q: %v", tc.request, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != tc.status || !bytes.Contains(body, []byte(tc.body)) || tc.body == "" && len(body) > 0 {
			t.Errorf("%q: %d %q, %v; want %d with %q", tc.request, response.StatusCode, body, err, tc.status, tc.body)
		}
	}
	if _, err := replies.ReadByte(); err != io.EOF {
		t.Errorf("after a request it cannot read the server left the connection open: %v", err)
	}
}

// TestConnectionsAreUsedAgain also sends two requests at once: the second waits for its turn.
func TestConnectionsAreUsedAgain(t *testing.T) {
	address := start(t, config{First: ms, Gap: ms, Tokens: 2, PerChunk: 1})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const one = "POST /v1/completions HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"stream\":true}"
	if _, err := io.WriteString(conn, one+one); err != nil {
		t.Fatal(err)
	}
	replies := bufio.NewReader(conn)
	for range 2 {
		response, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || strings.Count(string(body), "data: ") != 3 {
			t.Errorf("body %q, %v; want three events", body, err)
		}
	}
	lines := logOf(t, address)
	if len(lines) != 2 || lines[0].Conn != lines[1].Conn || *lines[1].Headers < *lines[0].Done-int64(10*ms) {
		t.Errorf("log %+v", lines)
	}
}

func TestConnectionClose(t *testing.T) {
	address := start(t, config{First: ms, Gap: ms, Tokens: 2, PerChunk: 1})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{\"stream\":true}"); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn) // to the end of the connection
	if err != nil || !bytes.HasSuffix(all, []byte("data: [DONE]\n\n\r\n0\r\n\r\n")) {
		t.Errorf("%q, %v", all, err)
	}
	if lines := logOf(t, address); lines[0].Done == nil {
		t.Errorf("log %+v, want a stream that was done", lines)
	}
}

// TestSlowReader: a client that does not read holds up its own stream only, and the log shows it.
func TestSlowReader(t *testing.T) {
	address := start(t, config{First: 0, Gap: 0, Tokens: 40_000, PerChunk: 1})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(32 << 10)
	if _, err := io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"stream\":true}"); err != nil {
		t.Fatal(err)
	}
	if status, text := post(t, address, "/v1/completions", "quick", `{"stream":true,"max_tokens":3}`); status != 200 || strings.Count(text, "data: ") != 4 {
		t.Errorf("the other client got %d, %q", status, text)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || strings.Count(string(body), "data: ") != 40_001 {
		t.Errorf("%d events, %v; want 40001", strings.Count(string(body), "data: "), err)
	}
	held := 0
	for _, after := range logOf(t, address)[0].After {
		if after == nil {
			held++
		}
	}
	if held == 0 {
		t.Error("no write of 10 MB was held up by a client that did not read")
	}
}

func TestClientThatLeaves(t *testing.T) {
	address := start(t, config{First: ms, Gap: ms, Tokens: 1_000_000, PerChunk: 1})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nContent-Length: 36\r\n\r\n{\"stream\":true,\"max_tokens\":1000000}")
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if status, _ := post(t, address, "/v1/completions", "next", `{"stream":true,"max_tokens":3}`); status != 200 {
		t.Errorf("the next client got %d", status)
	}
	if lines := logOf(t, address); len(lines) != 2 || lines[0].Done != nil || lines[1].Done == nil {
		t.Errorf("log %+v, want the first stream unfinished", lines)
	}
}

func TestFirstDue(t *testing.T) {
	plain := config{First: 50, Gap: 20}
	aligned := config{First: 50, Gap: 20, Align: true}
	for _, tc := range []struct {
		config                config
		arrived, origin, want int64
	}{
		{plain, 1000, 7, 1050},
		{aligned, 1000, 10, 1050},
		{aligned, 1001, 10, 1070},
		{aligned, 999, 10, 1050},
		{aligned, 1000, 2010, 1050},
		{aligned, 1001, 2010, 1070},
	} {
		if got := tc.config.firstDue(tc.arrived, tc.origin); got != tc.want {
			t.Errorf("arrived %d, steps from %d, aligned %t: due %d, want %d", tc.arrived, tc.origin, tc.config.Align, got, tc.want)
		}
	}
}
