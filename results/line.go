package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// A record is kept as one line of JSON with short keys. Moments are nanoseconds
// after `due`, which itself is Unix nanoseconds; an absent key is a moment that did not happen, a
// number nobody knows, or an empty text. Chunks are kept in columns, because a run has far more of
// them than of anything else.
//
//	id      position in the whole run          kind    absent for load
//	rid     x-request-id                       model   name in the body
//	stage, user, turn   absent when 0          in      input tokens by the client's count
//	ask     output tokens asked for            audio   seconds of audio
//	seqs    sequences of a pooling request     due     Unix nanoseconds
//	rel     released                           disp    dispatched
//	enc     length of encoding                 conn    connected
//	wb, wr  write began, written               hd      headers
//	at      chunks: each moment after the one before, the first after due
//	lag     chunks: user-space stamp minus at; one number when all are equal
//	tok     chunks: tokens; one number when all are equal
//	hid     chunks: indexes without answer text
//	sh      chunks: indexes that shared a read with the one before
//	done    done                               code    HTTP status
//	fin     finish reason                      end     true when the stream said it was over
//	use     [prompt, completion, cached] tokens by the server's count
//	text    output                             out     output tokens by the client's count
//	sqt     server's queue time, ns            sttft   server's time to first token, ns
//	fail    [class, message]
//
// Keys that a reader does not know are skipped, so that a later version can add some.

// appendRecord appends r as one line, without the line's end.
func appendRecord(b []byte, r *Record) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, int64(r.ID), 10)
	if r.Kind != Load {
		b = appendText(b, "kind", string(r.Kind))
	}
	b = appendText(b, "rid", r.RequestID)
	b = appendText(b, "model", r.Model)
	b = appendCount(b, "stage", r.Stage, 0)
	b = appendCount(b, "user", r.User, 0)
	b = appendCount(b, "turn", r.Turn, 0)
	b = appendCount(b, "in", r.InputTokens, -1)
	b = appendCount(b, "ask", r.AskedTokens, 0)
	if r.AudioSeconds != 0 && !math.IsNaN(r.AudioSeconds) && !math.IsInf(r.AudioSeconds, 0) {
		b = append(b, `,"audio":`...)
		b = strconv.AppendFloat(b, r.AudioSeconds, 'g', -1, 64)
	}
	b = appendCount(b, "seqs", r.Sequences, 0)
	b = appendInt(b, "due", int64(r.Due), 0)
	b = appendMoment(b, "rel", r.Released, r.Due)
	b = appendMoment(b, "disp", r.Dispatched, r.Due)
	b = appendInt(b, "enc", int64(r.Encoding), 0)
	b = appendMoment(b, "conn", r.Connected, r.Due)
	b = appendMoment(b, "wb", r.WriteBegan, r.Due)
	b = appendMoment(b, "wr", r.Written, r.Due)
	b = appendMoment(b, "hd", r.Headers, r.Due)
	b = appendChunks(b, r)
	b = appendMoment(b, "done", r.Done, r.Due)
	b = appendCount(b, "code", r.Status, 0)
	b = appendText(b, "fin", r.Finish)
	if r.EndMarked {
		b = append(b, `,"end":true`...)
	}
	if u := r.Usage; u != nil {
		b = append(b, `,"use":[`...)
		b = strconv.AppendInt(b, int64(u.Prompt), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(u.Completion), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(u.Cached), 10)
		b = append(b, ']')
	}
	b = appendText(b, "text", r.Text)
	b = appendCount(b, "out", r.OutputTokens, -1)
	b = appendPointed(b, "sqt", r.ServerQueue)
	b = appendPointed(b, "sttft", r.ServerTTFT)
	if f := r.Failure; f != nil {
		b = append(b, `,"fail":[`...)
		b = appendString(b, f.Class)
		b = append(b, ',')
		b = appendString(b, f.Message)
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendChunks(b []byte, r *Record) []byte {
	chunks := r.Chunks
	if len(chunks) == 0 {
		return b
	}
	b = append(b, `,"at":[`...)
	before := r.Due
	sameLag, sameTokens, hidden, shared := true, true, false, false
	for i := range chunks {
		c := &chunks[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(c.At-before), 10)
		before = c.At
		sameLag = sameLag && c.Lag == chunks[0].Lag
		sameTokens = sameTokens && c.Tokens == chunks[0].Tokens
		hidden = hidden || !c.Visible
		shared = shared || c.Shared
	}
	b = append(b, `],"lag":`...)
	b = appendColumn(b, chunks, sameLag, func(c *Chunk) int64 { return int64(c.Lag) })
	b = append(b, `,"tok":`...)
	b = appendColumn(b, chunks, sameTokens, func(c *Chunk) int64 { return int64(c.Tokens) })
	if hidden {
		b = appendIndexes(b, "hid", chunks, func(c *Chunk) bool { return !c.Visible })
	}
	if shared {
		b = appendIndexes(b, "sh", chunks, func(c *Chunk) bool { return c.Shared })
	}
	return b
}

func appendColumn(b []byte, chunks []Chunk, same bool, value func(*Chunk) int64) []byte {
	if same {
		return strconv.AppendInt(b, value(&chunks[0]), 10)
	}
	for i := range chunks {
		b = append(b, "[,"[min(i, 1)])
		b = strconv.AppendInt(b, value(&chunks[i]), 10)
	}
	return append(b, ']')
}

func appendIndexes(b []byte, key string, chunks []Chunk, holds func(*Chunk) bool) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	separator := byte('[')
	for i := range chunks {
		if holds(&chunks[i]) {
			b = append(b, separator)
			b = strconv.AppendInt(b, int64(i), 10)
			separator = ','
		}
	}
	return append(b, ']')
}

func appendCount(b []byte, key string, value, absent int) []byte {
	return appendInt(b, key, int64(value), int64(absent))
}

func appendInt(b []byte, key string, value, absent int64) []byte {
	if value == absent {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, value, 10)
}

func appendMoment(b []byte, key string, m, due Moment) []byte {
	if m == 0 {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, int64(m-due), 10)
}

func appendPointed(b []byte, key string, d *time.Duration) []byte {
	if d == nil {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, int64(*d), 10)
}

func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return appendString(b, value)
}

// appendString quotes s for JSON. Bytes that are no UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[from:i]...)
			b = append(b, "\ufffd"...)
			i++
			from = i
			continue
		}
		i += size
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// A line is one line of JSON being read.
type line struct {
	b []byte
	i int
}

var errShort = errors.New("the line ends too early")

// parseRecord reads what appendRecord wrote.
func parseRecord(b []byte) (*Record, error) {
	r := &Record{Kind: Load, InputTokens: -1, Reply: Reply{OutputTokens: -1}}
	l := &line{b: b}
	var columns chunkColumns
	var moments momentOffsets
	err := l.object(func(key []byte) error { return l.member(key, r, &moments, &columns) })
	if err != nil {
		return nil, err
	}
	l.space()
	if l.i != len(l.b) {
		return nil, fmt.Errorf("column %d: text after the record", l.i+1)
	}
	moments.apply(r)
	if err := columns.apply(r); err != nil {
		return nil, err
	}
	return r, nil
}

// momentOffsets are the moments of a record until due is known: keys may come in any order.
type momentOffsets struct {
	released, dispatched, connected, writeBegan, written, headers, done offset
}

type offset struct {
	ns  int64
	set bool
}

func (o offset) moment(due Moment) Moment {
	if !o.set {
		return 0
	}
	return due + Moment(o.ns)
}

func (o momentOffsets) apply(r *Record) {
	r.Released = o.released.moment(r.Due)
	r.Dispatched = o.dispatched.moment(r.Due)
	r.Connected = o.connected.moment(r.Due)
	r.WriteBegan = o.writeBegan.moment(r.Due)
	r.Written = o.written.moment(r.Due)
	r.Headers = o.headers.moment(r.Due)
	r.Done = o.done.moment(r.Due)
}

// chunkColumns are the chunks of a record as they stand in its line.
type chunkColumns struct {
	at, lag, tok, hidden, shared []int64
	lagOne, tokOne               bool
}

func (c *chunkColumns) apply(r *Record) error {
	n := len(c.at)
	if n == 0 {
		return nil
	}
	if (!c.lagOne && len(c.lag) != n) || (!c.tokOne && len(c.tok) != n) {
		return fmt.Errorf("%d chunks, but %d lags and %d token counts", n, len(c.lag), len(c.tok))
	}
	chunks := make([]Chunk, n)
	at := r.Due
	for i := range chunks {
		at += Moment(c.at[i])
		lag, tok := c.lag[0], c.tok[0]
		if !c.lagOne {
			lag = c.lag[i]
		}
		if !c.tokOne {
			tok = c.tok[i]
		}
		chunks[i] = Chunk{At: at, Lag: time.Duration(lag), Tokens: int(tok), Visible: true}
	}
	for _, i := range c.hidden {
		if i < 0 || i >= int64(n) {
			return fmt.Errorf("chunk %d is hidden, but there are %d", i, n)
		}
		chunks[i].Visible = false
	}
	for _, i := range c.shared {
		if i < 0 || i >= int64(n) {
			return fmt.Errorf("chunk %d shared a read, but there are %d", i, n)
		}
		chunks[i].Shared = true
	}
	r.Chunks = chunks
	return nil
}

func (l *line) member(key []byte, r *Record, m *momentOffsets, c *chunkColumns) (err error) {
	switch string(key) {
	case "id":
		r.ID, err = l.count()
	case "kind":
		var s string
		s, err = l.str()
		r.Kind = Kind(s)
	case "rid":
		r.RequestID, err = l.str()
	case "model":
		r.Model, err = l.str()
	case "stage":
		r.Stage, err = l.count()
	case "user":
		r.User, err = l.count()
	case "turn":
		r.Turn, err = l.count()
	case "in":
		r.InputTokens, err = l.count()
	case "ask":
		r.AskedTokens, err = l.count()
	case "audio":
		r.AudioSeconds, err = l.float()
	case "seqs":
		r.Sequences, err = l.count()
	case "due":
		var ns int64
		ns, err = l.int()
		r.Due = Moment(ns)
	case "rel":
		m.released, err = l.offset()
	case "disp":
		m.dispatched, err = l.offset()
	case "enc":
		var ns int64
		ns, err = l.int()
		r.Encoding = time.Duration(ns)
	case "conn":
		m.connected, err = l.offset()
	case "wb":
		m.writeBegan, err = l.offset()
	case "wr":
		m.written, err = l.offset()
	case "hd":
		m.headers, err = l.offset()
	case "at":
		c.at, err = l.ints(c.at[:0])
	case "lag":
		c.lag, c.lagOne, err = l.column(c.lag[:0], len(c.at))
	case "tok":
		c.tok, c.tokOne, err = l.column(c.tok[:0], len(c.at))
	case "hid":
		c.hidden, err = l.ints(c.hidden[:0])
	case "sh":
		c.shared, err = l.ints(c.shared[:0])
	case "done":
		m.done, err = l.offset()
	case "code":
		r.Status, err = l.count()
	case "fin":
		r.Finish, err = l.str()
	case "end":
		r.EndMarked, err = l.bool()
	case "use":
		var use []int64
		if use, err = l.ints(nil); err == nil {
			if len(use) != 3 {
				return fmt.Errorf("use has %d numbers, not 3", len(use))
			}
			r.Usage = &Usage{Prompt: int(use[0]), Completion: int(use[1]), Cached: int(use[2])}
		}
	case "text":
		r.Text, err = l.str()
	case "out":
		r.OutputTokens, err = l.count()
	case "sqt":
		r.ServerQueue, err = l.pointed()
	case "sttft":
		r.ServerTTFT, err = l.pointed()
	case "fail":
		r.Failure, err = l.failure()
	default:
		err = l.skip()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (l *line) space() {
	for l.i < len(l.b) && (l.b[l.i] == ' ' || l.b[l.i] == '\t' || l.b[l.i] == '\r' || l.b[l.i] == '\n') {
		l.i++
	}
}

func (l *line) peek() (byte, error) {
	l.space()
	if l.i >= len(l.b) {
		return 0, errShort
	}
	return l.b[l.i], nil
}

func (l *line) expect(c byte) error {
	got, err := l.peek()
	if err != nil {
		return err
	}
	if got != c {
		return fmt.Errorf("column %d: %q where %q should be", l.i+1, got, c)
	}
	l.i++
	return nil
}

// object calls member for each key; member reads the value.
func (l *line) object(member func(key []byte) error) error {
	if err := l.expect('{'); err != nil {
		return err
	}
	if c, err := l.peek(); err != nil {
		return err
	} else if c == '}' {
		l.i++
		return nil
	}
	for {
		key, err := l.raw()
		if err != nil {
			return err
		}
		if err := l.expect(':'); err != nil {
			return err
		}
		if err := member(key[1 : len(key)-1]); err != nil {
			return err
		}
		c, err := l.peek()
		if err != nil {
			return err
		}
		l.i++
		switch c {
		case ',':
		case '}':
			return nil
		default:
			return fmt.Errorf("column %d: %q where ',' or '}' should be", l.i, c)
		}
	}
}

// list calls item for each value of an array.
func (l *line) list(item func() error) error {
	if err := l.expect('['); err != nil {
		return err
	}
	if c, err := l.peek(); err != nil {
		return err
	} else if c == ']' {
		l.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		c, err := l.peek()
		if err != nil {
			return err
		}
		l.i++
		switch c {
		case ',':
		case ']':
			return nil
		default:
			return fmt.Errorf("column %d: %q where ',' or ']' should be", l.i, c)
		}
	}
}

// ints is a list of whole numbers. Lines consist of these, so it has its own loop.
func (l *line) ints(into []int64) ([]int64, error) {
	if err := l.expect('['); err != nil {
		return into, err
	}
	if c, err := l.peek(); err != nil {
		return into, err
	} else if c == ']' {
		l.i++
		return into, nil
	}
	for {
		v, err := l.int()
		if err != nil {
			return into, err
		}
		into = append(into, v)
		if l.i < len(l.b) && l.b[l.i] == ',' {
			l.i++
			continue
		}
		c, err := l.peek()
		if err != nil {
			return into, err
		}
		l.i++
		switch c {
		case ',':
		case ']':
			return into, nil
		default:
			return into, fmt.Errorf("column %d: %q where ',' or ']' should be", l.i, c)
		}
	}
}

// column is a list, or one number that stands for every chunk.
func (l *line) column(into []int64, n int) ([]int64, bool, error) {
	c, err := l.peek()
	if err != nil {
		return into, false, err
	}
	if c == '[' {
		if into == nil {
			into = make([]int64, 0, n)
		}
		into, err = l.ints(into)
		return into, false, err
	}
	v, err := l.int()
	return append(into, v), true, err
}

func (l *line) int() (int64, error) {
	if _, err := l.peek(); err != nil {
		return 0, err
	}
	start, i, negative := l.i, l.i, false
	if l.b[i] == '-' {
		negative = true
		i++
	}
	var v uint64
	first := i
	for i < len(l.b) {
		d := l.b[i] - '0'
		if d > 9 {
			break
		}
		if v > (math.MaxUint64-9)/10 {
			return 0, fmt.Errorf("column %d: a number too large", start+1)
		}
		v = v*10 + uint64(d)
		i++
	}
	if i == first {
		return 0, fmt.Errorf("column %d: no whole number", start+1)
	}
	l.i = i
	switch {
	case negative && v <= 1<<63:
		return -int64(v), nil
	case !negative && v < 1<<63:
		return int64(v), nil
	}
	return 0, fmt.Errorf("column %d: a number too large", start+1)
}

func (l *line) count() (int, error) {
	v, err := l.int()
	return int(v), err
}

func (l *line) offset() (offset, error) {
	v, err := l.int()
	return offset{v, true}, err
}

func (l *line) pointed() (*time.Duration, error) {
	v, err := l.int()
	d := time.Duration(v)
	return &d, err
}

func (l *line) float() (float64, error) {
	if _, err := l.peek(); err != nil {
		return 0, err
	}
	start := l.i
	for l.i < len(l.b) && l.b[l.i] != ',' && l.b[l.i] != '}' && l.b[l.i] != ']' {
		l.i++
	}
	v, err := strconv.ParseFloat(string(l.b[start:l.i]), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("column %d: no number", start+1)
	}
	return v, nil
}

func (l *line) bool() (bool, error) {
	if _, err := l.peek(); err != nil {
		return false, err
	}
	for word, value := range map[string]bool{"true": true, "false": false} {
		if len(l.b)-l.i >= len(word) && string(l.b[l.i:l.i+len(word)]) == word {
			l.i += len(word)
			return value, nil
		}
	}
	return false, fmt.Errorf("column %d: neither true nor false", l.i+1)
}

// raw is a string as it stands, its quotes included.
func (l *line) raw() ([]byte, error) {
	if err := l.expect('"'); err != nil {
		return nil, err
	}
	start := l.i - 1
	for l.i < len(l.b) {
		switch l.b[l.i] {
		case '\\':
			l.i += 2
		case '"':
			l.i++
			return l.b[start:l.i], nil
		default:
			l.i++
		}
	}
	return nil, errShort
}

func (l *line) str() (string, error) {
	raw, err := l.raw()
	if err != nil {
		return "", err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", err
	}
	return s, nil
}

func (l *line) failure() (*Failure, error) {
	var words []string
	err := l.list(func() error {
		s, err := l.str()
		words = append(words, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(words) != 2 {
		return nil, fmt.Errorf("%d texts, not 2", len(words))
	}
	return &Failure{Class: words[0], Message: words[1]}, nil
}

// skip passes over a value of any form.
func (l *line) skip() error {
	depth := 0
	for {
		c, err := l.peek()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			if _, err := l.raw(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			l.i++
			continue
		case '}', ']':
			depth--
			l.i++
			if depth < 0 {
				return fmt.Errorf("column %d: no value", l.i)
			}
		case ',', ':':
			if depth == 0 {
				return fmt.Errorf("column %d: no value", l.i+1)
			}
			l.i++
			continue
		default:
			for l.i < len(l.b) && !isDelimiter(l.b[l.i]) {
				l.i++
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

func isDelimiter(c byte) bool {
	switch c {
	case ',', ':', '{', '}', '[', ']', '"', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}
