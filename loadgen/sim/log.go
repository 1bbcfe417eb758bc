package sim

import (
	"encoding/json"
	"io"
	"sync"
)

// A RequestLog is what the simulator did for one request that was to be answered by the model, in Unix
// nanoseconds; 0 is what did not happen.
type RequestLog struct {
	// Request counts requests from 1 in the order of their arrival.
	Request    int    `json:"request"`
	ID         string `json:"id"`
	XRequestID string `json:"x_request_id,omitzero"`
	Path       string `json:"path"`
	Streamed   bool   `json:"streamed"`
	Status     int    `json:"status"`

	// Received is when the request's head was read, Submitted when the engine got it, HeadersBegan and HeadersDone enclose
	// the write of the response's head, Done is when everything was written.
	Received     int64 `json:"received_ns"`
	Submitted    int64 `json:"submitted_ns"`
	HeadersBegan int64 `json:"headers_began_ns"`
	HeadersDone  int64 `json:"headers_done_ns"`
	Done         int64 `json:"done_ns"`

	PromptTokens int        `json:"prompt_tokens"`
	CachedTokens int        `json:"cached_tokens"`
	OutputTokens int        `json:"output_tokens"`
	Finish       string     `json:"finish,omitzero"`
	Error        string     `json:"error,omitzero"`
	Tokens       []TokenLog `json:"tokens"`
	// Struck is the fault that struck the request, empty for none.
	Struck string `json:"fault,omitzero"`
}

// A TokenLog is what became of one output token.
type TokenLog struct {
	Choice int `json:"choice"`
	// Step is the Number of the step that computed it, and Computed when that step ended.
	Step     int   `json:"step"`
	Computed int64 `json:"computed_ns"`
	// WriteBegan and WriteDone are right before and right after the write that carried it (in a plain response: the whole
	// body). Tokens with the same stamps went out in one event.
	WriteBegan int64 `json:"write_began_ns"`
	WriteDone  int64 `json:"write_done_ns"`
}

// A record keeps what was done and writes it to a log.
type record struct {
	mu       sync.Mutex
	requests ring[RequestLog]
	out      io.Writer
}

func (r *record) request(l RequestLog) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests.add(l)
	r.write("request", l)
}

func (r *record) step(s *Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write("step", s)
}

// write writes one line: an object with the kind as its first key. A log that cannot be written is
// given up: the log serves tests, and the server goes on.
func (r *record) write(kind string, v any) {
	if r.out == nil {
		return
	}
	line, err := json.Marshal(v)
	if err == nil {
		line = append([]byte(`{"kind":"`+kind+`",`), line[1:]...)
		_, err = r.out.Write(append(line, '\n'))
	}
	if err != nil {
		r.out = nil
	}
}
