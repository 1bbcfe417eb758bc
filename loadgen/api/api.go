// Package api speaks to inference servers. One Client owns the connections and the one
// stopwatch; many Dialects know how a kind of server words requests and streamed events,
// and never see a clock.
package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"servebench/datasets"
	"servebench/internal/python"
	"servebench/loadgen"
	"servebench/results"
)

// A Dialect is how one kind of server words requests and replies. It sees no clock and no
// connection, so a new one cannot get the timing wrong.
type Dialect interface {
	// Suffixes are the ends of the path that the dialect may be sent to; any of them fits.
	Suffixes() []string
	// Body words a request.
	Body(r loadgen.Request, o *Options) (Body, error)
	// Stream reads the events of one reply; nil when the reply is one whole document.
	Stream(compat bool) Stream
	// Whole reads a reply that came as one document.
	Whole(body []byte, header http.Header, d *Delta) error
}

// A Stream reads the events of one reply, in order.
type Stream interface {
	// Event reads the data of one event into d, which comes zeroed.
	Event(data []byte, d *Delta) error
	// End says, after a clean end of the stream, why the reply is no success all the same; "" if it is.
	End() string
}

// A Body is an encoded request body.
type Body struct {
	ContentType string
	Bytes       []byte
	// Sequences is the number of inputs of a pooling request, 0 for any other.
	Sequences int
	// InputTokens, if not nil, is the prompt length when the reply itself does not say.
	InputTokens *int
}

// Options are what goes into every request besides its own content.
type Options struct {
	// Model is the name that requests carry unless they have their own.
	Model string
	// Logprobs asks for the log probabilities of so many tokens; only completions send it.
	Logprobs *int
	// IgnoreEOS makes the server go on to the length asked for.
	IgnoreEOS bool
	// Extra are members merged over the body in order: first the sampling parameters, then the user's own.
	Extra []datasets.Member
	// Exact is a body that goes out as it is, for every request.
	Exact json.RawMessage
	// NoStream asks for the reply as one document; it has no time to the first token.
	NoStream bool
	// Plain leaves out what vLLM's client adds to completions unasked (repetition_penalty and logprobs),
	// for servers that refuse unknown members.
	Plain bool
}

// A Delta is what one event, or one whole document, brings.
type Delta struct {
	// Output says that the event carried output: it starts or continues the token clock.
	Output bool
	// Visible says that it carried answer text (Text), as opposed to reasoning, a tool call or nothing yet.
	Visible bool
	// Text is the answer text as it stands inside the JSON string, escapes and all; it points into the event.
	Text []byte
	// Tokens is the number of output tokens in the event; -1 when only the usage can tell.
	Tokens int
	// Finish is the finish reason; empty when there is none yet.
	Finish []byte
	// Usage is set when the event had one; it lies in the Delta.
	Usage *results.Usage
	usage results.Usage
	// End says that the stream is over.
	End bool
	// Error is the server's message when the event is an error.
	Error string
	// Queue and TTFT are the server's own timings.
	Queue, TTFT *time.Duration
	// Plain says that the same event with another text would mean the same: nothing but Text varies.
	Plain bool
}

// members is an ordered JSON object whose values are spelled already.
type members []member

type member struct {
	key   string
	value []byte
}

func (m *members) add(key string, value []byte) { *m = append(*m, member{key, value}) }

func (m *members) str(key, value string) { m.add(key, python.AppendString(nil, value)) }
func (m *members) num(key string, n int) { m.add(key, fmt.Appendf(nil, "%d", n)) }

// limit adds how many tokens an answer may have, 0 too, as vLLM's client does; a negative number sets no limit.
func (m *members) limit(key string, n int) {
	if n >= 0 {
		m.num(key, n)
	}
}

func (m *members) raw(key, value string)    { m.add(key, []byte(value)) }
func (m *members) flag(key string, on bool) { m.add(key, fmt.Appendf(nil, "%t", on)) }

// merge puts over on top: a key that is there keeps its place and takes the new value.
func (m *members) merge(over []datasets.Member) error {
	for _, o := range over {
		value, err := python.AppendJSON(nil, o.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		m.set(o.Key, value)
	}
	return nil
}

func (m *members) set(key string, value []byte) {
	if i := slices.IndexFunc(*m, func(x member) bool { return x.key == key }); i >= 0 {
		(*m)[i].value = value
		return
	}
	m.add(key, value)
}

func (m members) encode() []byte {
	size := 2
	for _, x := range m {
		size += len(x.key) + len(x.value) + 6
	}
	b := append(make([]byte, 0, size), '{')
	for i, x := range m {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = python.AppendString(b, x.key)
		b = append(b, ": "...)
		b = append(b, x.value...)
	}
	return append(b, '}')
}

// finish adds what every body ends with, merges and encodes.
func (m members) finish(r loadgen.Request, o *Options) (Body, error) {
	if o.IgnoreEOS {
		m.raw("ignore_eos", "true")
	}
	if err := m.merge(o.Extra); err != nil {
		return Body{}, err
	}
	if err := m.merge(r.Sample.Extra); err != nil {
		return Body{}, err
	}
	return Body{ContentType: "application/json", Bytes: m.encode()}, nil
}

func (o *Options) model(r loadgen.Request) string {
	if r.Model != "" {
		return r.Model
	}
	return o.Model
}

// prompt is the prompt as a JSON value.
func prompt(p datasets.Prompt) ([]byte, error) {
	switch {
	case p.JSON != nil:
		return python.AppendJSON(nil, p.JSON)
	case p.IDs != nil:
		return python.AppendInts(nil, p.IDs), nil
	case p.List != nil:
		return python.AppendStrings(nil, p.List), nil
	}
	return python.AppendString(nil, p.Text), nil
}

// Fits says whether requests of the dialect may go to path, and if not, what would.
func Fits(name string, d Dialect, path string) error {
	for _, suffix := range d.Suffixes() {
		if strings.HasSuffix(path, suffix) {
			return nil
		}
	}
	return fmt.Errorf("backend %s speaks to paths that end in %s, not to %q: give --endpoint", name, strings.Join(d.Suffixes(), " or "), path)
}
