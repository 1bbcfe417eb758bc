package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"servebench/loadgen"
	"servebench/loadgen/sse"
	"servebench/loadgen/wire"
	"servebench/results"
)

// Config says how a Client talks to its server.
type Config struct {
	// URL is the full address of requests.
	URL string
	// Kind is the backend.
	Kind Kind
	// Options go into every request.
	Options Options
	// Headers go with every request, in this order; a later one replaces an earlier one of the same name whatever
	// its case. RequestID is the name of the header for request ids; empty is x-request-id.
	Headers [][2]string
	// Clock is the run's clock; required.
	Clock *wire.Clock
	// Timeout limits one request from its dispatch; 0 is none. ConnectTimeout limits the connection, 0 is ten seconds.
	Timeout, ConnectTimeout time.Duration
	// Insecure leaves TLS certificates unchecked.
	Insecure bool
	// Sources are local addresses to connect from, in turn. Socket is the path of a Unix socket.
	Sources []netip.Addr
	Socket  string
	// KeepTexts keeps the generated texts in the replies.
	KeepTexts bool
	// Count counts the tokens of a text where the server sends no usage; nil when nothing can.
	Count func(text string) (int, error)
	// Compat reads streams with the rules, and the weaknesses, of vLLM's Python client.
	Compat bool
	// HTTP2 speaks HTTP/2 and nothing else: agreed on in the TLS handshake, or as prior knowledge where there is none. HTTP/1.1 is the rule: with HTTP/2
	// requests share a connection, so a stamp is that of the connection's latest read when the client came to see the event, late at most, and the end
	// of a request's writing is known from user space only.
	HTTP2 bool
	// Warm is how many connections WarmUp opens, so that no request of the load waits for one.
	Warm int
	// Hub reads the connections where they are plain HTTP/1.1 over TCP and through no proxy. Others, or all without one, are net/http's to
	// read. It must be on the same Clock, and is closed after the Client.
	Hub *wire.Hub
	// Proxy chooses a proxy for a request; nil takes the environment's.
	Proxy func(*http.Request) (*url.URL, error)
}

// A Client sends requests to one server and times them. It is safe for concurrent use; it is a loadgen.Sender.
type Client struct {
	cfg       Config
	dialer    *wire.Dialer
	transport *http.Transport
	header    http.Header
	url       *url.URL
	warm      warm
	direct    *direct // nil when connections are net/http's
	tally     tally
	// kernel and user count connections by who stamps them.
	kernel, user atomic.Int64
}

// Stamps says who stamped the replies so far: kernel, user, both (mixed), or nobody ("").
func (c *Client) Stamps() string {
	switch kernel, user := c.kernel.Load() > 0, c.user.Load() > 0; {
	case kernel && user:
		return "mixed"
	case kernel:
		return wire.Kernel.String()
	case user:
		return wire.User.String()
	}
	return ""
}

// idleFor is how long an unused connection is kept. It is shorter than the 5 s of the usual server (uvicorn), so that
// a connection is not taken up in the moment that the server closes it.
const idleFor = 4 * time.Second

// New makes a client. The error names what is wrong with the configuration.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("server address: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("server address %q: want http://host:port or https://host:port", cfg.URL)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	c := &Client{cfg: cfg, url: u, header: http.Header{}}
	c.dialer = &wire.Dialer{Clock: cfg.Clock, Sources: cfg.Sources, Socket: cfg.Socket, Timeout: cfg.ConnectTimeout}
	c.transport = &http.Transport{
		DialContext: c.dial,
		Proxy:       cfg.Proxy,
		// One connection a request in flight, as many as it takes: a pool's limit would be a queue that nobody records.
		MaxIdleConns: 0, MaxIdleConnsPerHost: 1 << 20, IdleConnTimeout: idleFor,
		DisableCompression:  true,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: cfg.Insecure},
		TLSHandshakeTimeout: cfg.ConnectTimeout,
		Protocols:           new(http.Protocols),
		// A stream waits with its buffers, and a thousand streams with a thousand of them. Events beyond this size are read past it.
		ReadBufferSize: smallBuffer,
	}
	c.transport.Protocols.SetHTTP1(!cfg.HTTP2)
	c.transport.Protocols.SetHTTP2(cfg.HTTP2)
	c.transport.Protocols.SetUnencryptedHTTP2(cfg.HTTP2)
	if u.Scheme == "https" && cfg.Warm > 0 && !cfg.HTTP2 {
		c.transport.DialTLSContext = c.dialTLS
	}
	c.set("Accept", "*/*")
	if cfg.Compat {
		c.set("Accept-Encoding", "gzip, deflate")
	} else {
		c.set("Accept-Encoding", "identity") // unpacking would stand between the socket and the clock
	}
	c.set("User-Agent", "servebench")
	for _, h := range cfg.Headers {
		c.set(h[0], h[1])
	}
	if proxy, err := cfg.Proxy(&http.Request{URL: u}); cfg.Hub != nil && u.Scheme == "http" && cfg.Socket == "" && !cfg.HTTP2 && proxy == nil && err == nil {
		c.direct = &direct{client: c, hub: cfg.Hub}
	}
	return c, nil
}

// set puts a header in its own spelling, in the place of any other spelling of it.
func (c *Client) set(name, value string) { setHeader(c.header, name, value) }

func setHeader(h http.Header, name, value string) {
	for other := range h {
		if strings.EqualFold(other, name) {
			delete(h, other)
		}
	}
	h[name] = []string{value}
}

// Direct says that a Hub reads the connections.
func (c *Client) Direct() bool { return c.direct != nil }

// Close closes idle connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	if c.direct != nil {
		c.direct.close()
	}
	c.warm.close()
}

// Prepare words and encodes a request.
func (c *Client) Prepare(r loadgen.Request) (loadgen.Call, error) {
	body, err := c.cfg.Kind.Dialect.Body(r, &c.cfg.Options)
	if err != nil {
		return nil, err
	}
	header := maps.Clone(c.header)
	if !hasHeader(header, "Content-Type") {
		header["Content-Type"] = []string{body.ContentType}
	}
	if r.Sample.ID != "" {
		setHeader(header, "x-request-id", r.Sample.ID)
	}
	if r.Session != "" {
		setHeader(header, "X-Session-ID", r.Session)
	}
	made := &call{client: c, body: body, header: header, asked: r.Sample.OutputTokens}
	if c.direct != nil {
		if err := made.write(); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func hasHeader(h http.Header, name string) bool {
	for other := range h {
		if strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

type call struct {
	client *Client
	body   Body
	header http.Header
	asked  int // output tokens
	// bytes is the request as it goes out, head and body; nil when net/http writes it.
	bytes []byte
}

// request is the request for net/http to write.
func (c *call) request() *http.Request {
	return &http.Request{
		Method: http.MethodPost, URL: c.client.url, Host: c.client.url.Host, Header: c.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		// No GetBody, so that nothing is sent a second time: net/http takes another connection only when the kept one turns out to be
		// closed before a byte of the request was written.
		Body: io.NopCloser(bytes.NewReader(c.body.Bytes)), ContentLength: int64(len(c.body.Bytes)),
	}
}

// write makes the bytes of the request, ahead of the moment that it is due.
func (c *call) write() error {
	var b bytes.Buffer
	b.Grow(len(c.body.Bytes) + 512)
	if err := c.request().Write(&b); err != nil {
		return err
	}
	c.bytes = b.Bytes()
	c.body.Bytes = c.bytes[len(c.bytes)-len(c.body.Bytes):] // kept once
	return nil
}

func (c *call) Size() int { return len(c.body.Bytes) }

func (c *call) Sequences() int { return c.body.Sequences }

// smallBuffer is the size of the buffers that streams begin with: some fifteen events. largeBuffer is what they go on with once a read fills
// that: events with many logprobs have up to a megabyte.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// Send carries out the request. The stopwatch is the connection's: what this goroutine does late shows in the lags, never in
// the latencies.
func (c *call) Send(ctx context.Context) results.Reply {
	reply := results.Reply{OutputTokens: -1}
	if limit := c.client.cfg.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeout)
		defer cancel()
	}
	switch {
	case c.client.direct != nil:
		c.client.direct.send(ctx, c, &reply)
	case c.client.cfg.HTTP2:
		c.sendHTTP2(ctx, &reply)
	default:
		c.sendHTTP(ctx, &reply)
	}
	return reply
}

// sendHTTP leaves the connections to net/http.
func (c *call) sendHTTP(ctx context.Context, reply *results.Reply) {
	var exchange wire.Exchange
	began := c.client.cfg.Clock.Now()
	// Little is asked for, so that the trace is one small object a request.
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if conn := wire.From(info.Conn); conn != nil {
			if before := exchange.Conn(); before != nil { // a kept one that turned out to be closed
				c.client.tally.end(before)
			}
			conn.Begin(&exchange)
			c.began(reply, conn, info.Reused, began)
		}
	}}
	resp, err := c.client.transport.RoundTrip(c.request().WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		c.unanswered(ctx, reply, &exchange, err)
		return
	}
	defer resp.Body.Close()
	headers := exchange.LastRead()
	c.read(ctx, resp, headers, reply, exchange.LastRead)
	c.finish(reply, &exchange, exchange.LastRead(), headers)
}

// read reads a reply that net/http has brought, headers being the read that they came with.
func (c *call) read(ctx context.Context, resp *http.Response, headers wire.Read, reply *results.Reply, lastRead func() wire.Read) {
	reply.Status, reply.Headers = resp.StatusCode, results.Moment(headers.At)
	switch {
	case packed(resp) != "":
		reply.Failure = unpackable(resp)
	case resp.StatusCode != http.StatusOK:
		body, _ := io.ReadAll(io.LimitReader(resp.Body, mostRefused))
		c.refused(resp, body, reply)
	case c.whole():
		body, err := io.ReadAll(resp.Body)
		c.document(ctx, resp, body, err, reply)
	default:
		c.stream(ctx, resp, reply, lastRead)
	}
}

// began notes the connection that a request has got. since is when the request asked for one: a connection that was opened before counts as kept.
func (c *call) began(reply *results.Reply, conn *wire.Conn, reused bool, since int64) {
	c.client.tally.begin(conn)
	if conn.Kind() == wire.Kernel {
		c.client.kernel.Add(1)
	} else {
		c.client.user.Add(1)
	}
	if !reused && conn.Ready() >= since {
		reply.Connected = results.Moment(conn.Ready())
	}
}

// unanswered ends a reply that never began.
func (c *call) unanswered(ctx context.Context, reply *results.Reply, exchange *wire.Exchange, err error) {
	class := results.FailConnect
	if exchange.Conn() != nil {
		class = results.FailCut
	}
	reply.Failure = c.client.failure(ctx, err, class)
	c.written(reply, exchange)
	c.client.tally.add(exchange)
	reply.Done = results.Moment(c.client.cfg.Clock.Now())
}

// whole says that the reply is to come as one document.
func (c *call) whole() bool { return c.client.cfg.Kind.Pooling || c.client.cfg.Options.NoStream }

// packed is the compression of a reply, "" for none.
func packed(resp *http.Response) string {
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "identity" {
		return encoding
	}
	return ""
}

func unpackable(resp *http.Response) *results.Failure {
	return &results.Failure{Class: results.FailStream, Message: "the server packed its reply (" + packed(resp) +
		") although it was asked not to: unpacking hides when tokens came; turn compression off, in a proxy perhaps"}
}

// mostRefused is how much of a refusal is read.
const mostRefused = 64 << 10

var errTimeout = errors.New("the request took longer than its limit")

// finish takes the stamps that are sure only once the reply has ended.
func (c *call) finish(reply *results.Reply, exchange *wire.Exchange, last, headers wire.Read) {
	if closed := exchange.Closed(); reply.Failure != nil && closed != 0 {
		reply.Done = results.Moment(closed)
	} else if last.Seq > 0 {
		reply.Done = results.Moment(last.At)
	}
	c.client.tally.add(exchange)
	if exchange.Disordered() {
		// The kernel's stamps of segments that waited for a lost one can be early. The client's own are late at most.
		c.client.tally.disordered.Add(1)
		if reply.Done == results.Moment(last.At) {
			reply.Done = results.Moment(last.User)
		}
		reply.Headers = results.Moment(headers.User)
		for i := range reply.Chunks {
			chunk := &reply.Chunks[i]
			chunk.At, chunk.Lag = chunk.At.Add(chunk.Lag), 0
		}
	}
	c.written(reply, exchange)
}

func (c *call) written(reply *results.Reply, exchange *wire.Exchange) {
	w, ok := exchange.Written()
	if !ok {
		return
	}
	reply.WriteBegan = results.Moment(w.Began)
	if !w.Busy && w.Count > 0 {
		reply.Written = results.Moment(w.At)
	}
}

// refused keeps what the server said of a status other than 200.
func (c *call) refused(resp *http.Response, body []byte, reply *results.Reply) {
	status := resp.Status
	if c.client.cfg.Compat {
		_, reason, _ := strings.Cut(status, " ")
		reply.Failure = &results.Failure{Class: results.FailStatus, Message: reason}
		return
	}
	if message := serverMessage(body); message != "" {
		status += ": " + message
	}
	reply.Failure = &results.Failure{Class: results.FailStatus, Message: status}
}

// serverMessage finds the sentence in an error reply: OpenAI's {"error": {"message"}}, FastAPI's {"detail"}, or
// the text itself.
func serverMessage(body []byte) string {
	body = bytes.TrimSpace(body)
	if !json.Valid(body) || len(body) == 0 || body[0] != '{' {
		return string(clip(body))
	}
	message := ""
	_ = object(body, func(key, value []byte) error {
		switch string(key) {
		case "error", "detail", "message":
			message = errorMessage(value)
		}
		return nil
	})
	if message == "" {
		return string(clip(body))
	}
	return message
}

// document reads a reply that came as a whole, or as far as an error let it.
func (c *call) document(ctx context.Context, resp *http.Response, body []byte, err error, reply *results.Reply) {
	if err != nil {
		reply.Failure = c.client.failure(ctx, err, results.FailCut)
		return
	}
	var d Delta
	if err := c.client.cfg.Kind.Dialect.Whole(body, resp.Header, &d); err != nil {
		reply.Failure = &results.Failure{Class: results.FailStream, Message: err.Error()}
		return
	}
	if d.Error != "" {
		reply.Failure = &results.Failure{Class: results.FailServer, Message: d.Error}
		return
	}
	reply.Usage, reply.EndMarked, reply.Finish = d.Usage, true, string(d.Finish)
	if text := decodeText(d.Text); text != "" {
		c.keep(reply, text)
	}
	if !d.Output {
		reply.Failure = &results.Failure{Class: results.FailEmpty, Message: "the reply holds no output: " + string(clip(body))}
	}
}

// stream reads an event stream. The only work between a read and its stamp is the read's own.
func (c *call) stream(ctx context.Context, resp *http.Response, reply *results.Reply, lastRead func() wire.Read) {
	pool := &smallBuffers
	buffer, _ := pool.Get().(*[]byte)
	defer func() { pool.Put(buffer) }()
	reader := newReader(c, reply)
	var err error
	for err == nil {
		var n int
		n, err = resp.Body.Read(*buffer)
		if n > 0 {
			if problem := reader.feed((*buffer)[:n], lastRead()); problem != nil {
				reply.Failure = problem
				reader.end(false)
				return
			}
		}
		if n == len(*buffer) && pool == &smallBuffers {
			pool.Put(buffer)
			pool = &largeBuffers
			buffer, _ = pool.Get().(*[]byte)
		}
	}
	if !errors.Is(err, io.EOF) {
		reply.Failure = c.client.failure(ctx, err, results.FailCut)
		reader.end(false)
		return
	}
	reply.Failure = reader.end(true)
}

// keep takes the text, and counts it where the server sent no usage.
func (c *call) keep(reply *results.Reply, text string) {
	if c.client.cfg.KeepTexts {
		reply.Text = text
	}
	if count := c.client.cfg.Count; count != nil && (reply.Usage == nil || reply.Usage.Completion == 0) {
		if n, err := count(text); err == nil {
			reply.OutputTokens = n
		}
	}
}

// failure words a transport error.
func (c *Client) failure(ctx context.Context, err error, class string) *results.Failure {
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return &results.Failure{Class: results.FailTimeout, Message: fmt.Sprintf("no complete reply within %v", c.cfg.Timeout)}
	case ctx.Err() != nil:
		return &results.Failure{Class: results.FailCancelled, Message: "the run ended before the reply did"}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &results.Failure{Class: results.FailConnect, Message: err.Error() + connectHint(err)}
	}
	if class == results.FailCut {
		return &results.Failure{Class: class, Message: "the connection ended inside the reply: " + err.Error()}
	}
	return &results.Failure{Class: class, Message: err.Error()}
}

func connectHint(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return " (raise the limit of open files: ulimit -n)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (out of local ports: add addresses with --source-address)"
	case errors.Is(err, syscall.ECONNREFUSED):
		return " (nothing listens there: is the server up, and the port right?)"
	}
	return ""
}

// A reader turns the bytes of one stream into chunks.
type reader struct {
	call   *call
	reply  *results.Reply
	stream Stream
	framer framer

	read    wire.Read // the read that the present bytes came with
	events  int       // output events that this read has completed
	seq     int       // the read before
	running int       // completion tokens by the running usage
	text    []byte    // answer text, still escaped
	delta   Delta     // of the present event; here because a new one for each would be garbage
	usage   results.Usage
	tmpl    template
	problem *results.Failure
	ended   bool
}

// A framer cuts bytes into the data of events, and hands these to what it was made with, saying whether more bytes of the same read
// lie behind the event.
type framer interface {
	feed(b []byte) error
	end() error
}

type standardFramer struct {
	parser sse.Parser
	fed    int
	emit   func(sse.Event) // made once a stream: a closure a read would be garbage a token
}

func newStandardFramer(emit func(data []byte, more bool)) *standardFramer {
	f := &standardFramer{}
	f.emit = func(e sse.Event) { emit(e.Data, e.End < f.fed) }
	return f
}

func (f *standardFramer) feed(b []byte) error {
	f.fed = len(b)
	return f.parser.Feed(b, f.emit)
}
func (f *standardFramer) end() error { return f.parser.End() }

func newReader(c *call, reply *results.Reply) *reader {
	r := &reader{call: c, reply: reply, stream: c.client.cfg.Kind.Dialect.Stream(c.client.cfg.Compat)}
	// One chunk a token is the rule; the list of a stream beyond the most grows.
	const most = 1024
	reply.Chunks = make([]results.Chunk, 0, min(max(c.asked, 0), most)+1)
	if c.client.cfg.Compat {
		_, typed := r.stream.(*responseEvents)
		r.framer = &vllmFramer{typed: typed, emit: r.event}
	} else {
		r.framer = newStandardFramer(r.event)
	}
	return r
}

// feed takes the bytes of one read of the body, stamped by the connection's last read.
func (r *reader) feed(b []byte, read wire.Read) *results.Failure {
	if read.Seq != r.seq {
		r.events = 0
	}
	r.seq, r.read = read.Seq, read
	if err := r.framer.feed(b); err != nil && r.problem == nil {
		r.problem = &results.Failure{Class: results.FailStream, Message: err.Error()}
	}
	return r.problem
}

// event takes the data of one event. more says that its read brought bytes behind it.
func (r *reader) event(data []byte, more bool) {
	if r.problem != nil {
		return
	}
	if body, ok := r.tmpl.match(data); ok {
		r.output(body, true, -1, more)
		return
	}
	d := &r.delta
	*d = Delta{}
	if err := r.stream.Event(data, d); err != nil {
		r.problem = &results.Failure{Class: results.FailStream, Message: err.Error()}
		return
	}
	switch {
	case d.Error != "":
		r.problem = &results.Failure{Class: results.FailServer, Message: d.Error}
		return
	case d.End:
		r.ended = true
	}
	if d.Usage != nil {
		if d.Output && d.Tokens < 0 {
			d.Tokens = max(0, d.Usage.Completion-r.running)
		}
		r.running = d.Usage.Completion
		r.usage = *d.Usage
		r.reply.Usage = &r.usage
	}
	if d.Queue != nil {
		r.reply.ServerQueue = d.Queue
	}
	if d.TTFT != nil {
		r.reply.ServerTTFT = d.TTFT
	}
	if len(d.Finish) > 0 {
		r.reply.Finish = string(d.Finish)
	}
	if d.Output {
		r.output(d.Text, d.Visible, d.Tokens, more)
	}
	if d.Plain {
		r.tmpl.learn(data, d.Text)
	}
}

// output adds a chunk. A stamp belongs to the last byte of a read, so that it is exact for the event that the read ends with, and an
// upper bound for any other.
func (r *reader) output(text []byte, visible bool, tokens int, more bool) {
	chunks := r.reply.Chunks
	if r.events > 0 && len(chunks) > 0 {
		chunks[len(chunks)-1].Shared = true
	}
	r.reply.Chunks = append(chunks, results.Chunk{
		At: results.Moment(r.read.At), Lag: r.read.Lag(), Tokens: tokens, Visible: visible && len(text) > 0, Shared: more || r.events > 0,
	})
	r.events++
	r.text = append(r.text, text...)
}

// end judges the stream after its last byte; clean says that it ended as HTTP says it should.
func (r *reader) end(clean bool) *results.Failure {
	if text := decodeText(r.text); text != "" {
		r.call.keep(r.reply, text)
	}
	r.reply.EndMarked = r.ended
	if !clean {
		return nil
	}
	if err := r.framer.end(); err != nil {
		return &results.Failure{Class: results.FailCut, Message: err.Error()}
	}
	if why := r.stream.End(); why != "" {
		return &results.Failure{Class: results.FailEmpty, Message: why}
	}
	if !r.ended && r.reply.Finish == "" && !r.call.client.cfg.Compat {
		return &results.Failure{Class: results.FailTruncated, Message: "the stream ended without a finish reason or [DONE]"}
	}
	return nil
}

// decodeText turns the body of a JSON string, or several in a row, into text.
func decodeText(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	if bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	var s string
	quoted := append(append(append(make([]byte, 0, len(body)+2), '"'), body...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return string(body)
	}
	return s
}
