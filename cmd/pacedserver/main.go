// Command pacedserver is the other end of the stopwatch: a server that streams tokens on a schedule
// and writes down when each of them left it, to measure how wrong a client's figures are.
//
// It answers POST /v1/completions and /v1/chat/completions as vLLM does, one server-sent event a chunk. The first token is due
// a fixed time after the request arrived, by the kernel's stamp of its last segment, and each further one a fixed gap later, on
// absolute deadlines. GET /log returns, one JSON line a request, when it arrived and for each chunk when it was due, when its
// write began and returned, and when the kernel sent it. POST /reset forgets the log.
//
// It shares no code with the client it measures, and is one thread around raw sockets so that no scheduler but the
// kernel's stands between a deadline and its write. All times are CLOCK_REALTIME nanoseconds: do not set the
// clock during a measurement.
//
//	pacedserver -listen 127.0.0.1:8000 -first 50ms -gap 20ms -tokens 100 -log server.jsonl
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// A config is what the command line asked for.
type config struct {
	Listen   string        // address to listen on
	First    time.Duration // from the request's arrival to its first token
	Gap      time.Duration // from a chunk to the next
	Tokens   int           // tokens a stream, where the request names no max_tokens or Force is set
	Force    bool          // ignore the request's max_tokens
	PerChunk int           // tokens a chunk
	Joined   bool          // the headers leave in one write with the first chunk
	Align    bool          // chunks of all streams are due at common steps, Gap apart
	Spin     time.Duration // how long before a deadline to spin instead of sleeping
	Model    string        // the name of the model it pretends to serve
	Log      string        // file that gets the log at the end; empty for none
}

func main() {
	var c config
	flag.StringVar(&c.Listen, "listen", "127.0.0.1:8000", "`address` to listen on; port 0 takes a free one, printed on stdout")
	flag.DurationVar(&c.First, "first", 50*time.Millisecond, "time from the arrival of a request to its first token")
	flag.DurationVar(&c.Gap, "gap", 20*time.Millisecond, "time from one chunk to the next")
	flag.IntVar(&c.Tokens, "tokens", 100, "tokens of a stream whose request names no max_tokens")
	flag.BoolVar(&c.Force, "force-tokens", false, "send -tokens tokens whatever max_tokens says")
	flag.IntVar(&c.PerChunk, "per-chunk", 1, "tokens in a chunk")
	flag.BoolVar(&c.Joined, "joined", false, "send the headers in one write with the first chunk, not on their own before it")
	flag.BoolVar(&c.Align, "align", false, "send the chunks of all streams at common steps, as an engine does")
	flag.DurationVar(&c.Spin, "spin", 20*time.Microsecond, "how long before a deadline to spin instead of sleeping")
	flag.StringVar(&c.Model, "model", "paced", "`name` of the model")
	flag.StringVar(&c.Log, "log", "", "`file` for the log when the server ends (SIGINT, SIGTERM)")
	flag.Parse()
	if err := c.check(); err != nil {
		fmt.Fprintln(os.Stderr, "pacedserver:", err)
		os.Exit(2)
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "pacedserver:", err)
		os.Exit(1)
	}
}

func (c config) check() error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: everything is a flag", flag.Arg(0))
	case c.First < 0 || c.Gap < 0 || c.Spin < 0:
		return fmt.Errorf("-first %v, -gap %v, -spin %v: none may be negative", c.First, c.Gap, c.Spin)
	case c.Align && c.Gap == 0:
		return fmt.Errorf("-align needs a -gap above 0")
	case c.Tokens < 1 || c.PerChunk < 1:
		return fmt.Errorf("-tokens %d, -per-chunk %d: both must be at least 1", c.Tokens, c.PerChunk)
	}
	return nil
}
