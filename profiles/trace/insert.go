package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
)

// Additions are what Insert and Join put into a trace.
type Additions struct {
	// Rows stand directly after the opening bracket of the events. Their times are on
	// the clock of the file they go into.
	Rows iter.Seq[*Row]
	// Keys are added at the top level. A key of that name in the file is replaced.
	Keys []Arg
	// Metadata are added to the top-level object "metadata", whose members Perfetto shows.
	Metadata []Arg
}

// Insert copies the trace src to dst with additions. What was there is copied byte for
// byte, except where it is not strict JSON: that is re-escaped or repaired, and what
// cannot be is left out (Meta.Warnings says so). A bare array becomes an object. A file
// that was cut off is closed.
func Insert(dst io.Writer, src *File, add Additions) (Meta, error) {
	in := &inserter{dst: dst, add: add}
	meta, err := src.walk(nil, in)
	if err != nil {
		return meta, err
	}
	if err := in.flush(0); err != nil {
		return meta, err
	}
	if in.dropped > 0 {
		meta.Warnings = append(meta.Warnings, fmt.Sprintf("%s without a time, or that could not be made strict JSON, left out", count(in.dropped, "event")))
	}
	return meta, nil
}

// InsertFile copies the trace at src to dst with additions; dst is packed as its ending
// says and appears only when it is complete. See [Insert].
func InsertFile(dst, src string, add Additions) (Meta, error) {
	f, err := Open(src)
	if err != nil {
		return Meta{}, err
	}
	defer f.Close()
	out, inner, file, err := create(dst)
	if err != nil {
		return Meta{}, err
	}
	meta, err := Insert(out, f, add)
	return meta, commit(inner, file, dst, err)
}

// An inserter is the sink that copies.
type inserter struct {
	dst io.Writer
	add Additions
	buf []byte
	fix []byte

	members      int  // top-level members written
	inEvents     bool // the bracket of the events is open
	opened       bool // it was open at some time
	closing      []byte
	closed       bool // eventsEnd was seen, but ] is not written yet
	events       int  // events written in the open bracket
	rowsDone     bool
	metadataDone bool
	dropped      int64
}

func (in *inserter) flush(limit int) error {
	if len(in.buf) < limit || len(in.buf) == 0 {
		return nil
	}
	_, err := in.dst.Write(in.buf)
	in.buf = in.buf[:0]
	return err
}

// between writes what stands between two parts: the gap of the file where it is right,
// otherwise what it should have been.
func (in *inserter) between(gap []byte, comma bool) {
	want := ""
	if comma {
		want = ","
	}
	if strictSpace(gap) && string(bytes.Trim(gap, " \t\r\n")) == want {
		in.buf = append(in.buf, gap...)
		return
	}
	in.buf = append(in.buf, want...)
	in.buf = append(in.buf, '\n')
}

// strictSpace says whether b is blanks of JSON and at most one comma.
func strictSpace(b []byte) bool {
	commas := 0
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
		case ',':
			commas++
		default:
			return false
		}
	}
	return commas <= 1
}

func (in *inserter) begin(lead []byte, opener byte) error {
	if opener == '{' {
		in.between(lead, false)
		in.buf = append(in.buf, '{')
		return nil
	}
	in.buf = append(in.buf, "{\"traceEvents\": ["...)
	return in.openEvents()
}

func (in *inserter) openEvents() error {
	in.inEvents, in.opened, in.events, in.members = true, true, 0, in.members+1
	if in.rowsDone || in.add.Rows == nil {
		return nil
	}
	in.rowsDone = true
	for row := range in.add.Rows {
		if in.events > 0 {
			in.buf = append(in.buf, ',')
		}
		in.buf = append(in.buf, '\n')
		var err error
		if in.buf, err = AppendRow(in.buf, row); err != nil {
			return err
		}
		in.events++
		if err := in.flush(1 << 16); err != nil {
			return err
		}
	}
	return nil
}

func (in *inserter) closeEvents() {
	if !in.inEvents {
		return
	}
	in.inEvents, in.closed = false, false
	in.between(in.closing, false)
	in.buf = append(in.buf, ']')
}

func (in *inserter) member(gap, keyAndColon, value []byte, key string) error {
	in.closeEvents()
	if key == "traceEvents" || slices.ContainsFunc(in.add.Keys, func(a Arg) bool { return a.Key == key }) {
		return nil
	}
	fixed, ok := AppendStrict(in.fix[:0], value)
	in.fix = fixed
	if !ok {
		in.dropped++
		return nil
	}
	in.between(gap, in.members > 0)
	in.key(keyAndColon, key)
	in.members++
	if key == "metadata" && value[0] == '{' && len(in.add.Metadata) > 0 && !in.metadataDone {
		in.metadataDone = true
		body := bytes.TrimRight(fixed[:len(fixed)-1], " \t\r\n")
		in.buf = append(in.buf, body...)
		return in.addMembers(in.add.Metadata, len(bytes.TrimSpace(body[1:])) > 0, "}")
	}
	in.buf = append(in.buf, fixed...)
	return in.flush(1 << 16)
}

func (in *inserter) key(keyAndColon []byte, key string) {
	end, flags := scanString(keyAndColon, 1)
	if end > 0 && strictString(keyAndColon[1:end], flags) && strictSpace(bytes.ReplaceAll(keyAndColon[end+1:], []byte(":"), nil)) {
		in.buf = append(in.buf, keyAndColon...)
		return
	}
	in.buf = AppendString(in.buf, key)
	in.buf = append(in.buf, ": "...)
}

// addMembers appends members to an open object.
func (in *inserter) addMembers(members []Arg, comma bool, end string) error {
	for _, a := range members {
		if comma {
			in.buf = append(in.buf, ',')
		}
		comma = true
		in.buf = append(in.buf, '\n')
		in.buf = AppendString(in.buf, a.Key)
		in.buf = append(in.buf, ": "...)
		var err error
		if in.buf, err = appendValue(in.buf, a.Value); err != nil {
			return fmt.Errorf("key %q: %w", a.Key, err)
		}
	}
	in.buf = append(in.buf, end...)
	return nil
}

func (in *inserter) eventsBegin(gap, opening []byte) error {
	in.closeEvents()
	in.between(gap, in.members > 0)
	in.key(opening[:len(opening)-1], "traceEvents")
	in.buf = append(in.buf, '[')
	return in.openEvents()
}

func (in *inserter) event(gap []byte, ev *Event) error {
	if !ev.drawable() {
		in.dropped++
		return nil
	}
	raw := ev.Raw
	if !ev.Strict {
		fixed, ok := AppendStrict(in.fix[:0], raw)
		in.fix = fixed
		if !ok {
			in.dropped++
			return nil
		}
		raw = fixed
	}
	in.closed = false
	if in.events == 0 || bytes.IndexByte(gap, ',') >= 0 {
		in.between(gap, in.events > 0)
	} else { // the first event of the file, behind rows that were added
		in.buf = append(in.buf, ',')
		in.between(gap, false)
	}
	in.buf = append(in.buf, raw...)
	in.events++
	return in.flush(1 << 16)
}

func (in *inserter) eventsEnd(gap []byte) error {
	// The bracket waits: a damaged file may go on with events.
	in.closed = true
	in.closing = append(in.closing[:0], gap...)
	return nil
}

func (in *inserter) end(gap, tail []byte) error {
	if !in.opened {
		// The file was cut before its events.
		in.between(nil, in.members > 0)
		in.buf = append(in.buf, "\"traceEvents\": ["...)
		if err := in.openEvents(); err != nil {
			return err
		}
	}
	in.closeEvents()
	if err := in.addMembers(in.add.Keys, in.members > 0, ""); err != nil {
		return err
	}
	if len(in.add.Metadata) > 0 && !in.metadataDone {
		in.buf = append(in.buf, ",\n\"metadata\": {"...)
		if err := in.addMembers(in.add.Metadata, false, "}"); err != nil {
			return err
		}
	}
	in.between(gap, false)
	in.buf = append(in.buf, '}')
	if strictSpace(tail) {
		in.buf = append(in.buf, tail...)
	}
	return in.flush(0)
}

// A Rank is one file of several that Join puts into one.
type Rank struct {
	Path string
	// Rank is its number; Meta what a reading of the file found, or nil to have it read.
	Rank int
	Meta *Meta
}

// Where the rows of each rank go, so that no two ranks share a process, an arrow or a
// correlation. Linux pids stay below 4,194,304 and Gaudi adds up to 30,000.
const (
	rankPID = 10_000_000
	rankID  = 1 << 40
	maxSafe = 1 << 53 // the largest integer JavaScript holds exactly
)

// JoinBase is the base of the file that Join makes of these ranks: the first known base.
func JoinBase(ranks []Rank) (base int64, known bool) {
	for _, r := range ranks {
		if r.Meta != nil && r.Meta.HasBase {
			return r.Meta.Base, true
		}
	}
	return 0, false
}

// Join writes the traces of several ranks as one. Process ids become
// 10,000,000*(rank+1) + pid, names in place of ids get the prefix "r<rank> ", arrows
// and correlations move by rank * 2^40, and all times go onto the base of the first rank
// that has one (see [JoinBase]); the rows of add are on that clock. Top-level keys are
// those of the first rank, with "ranks" listing where each rank came from.
func Join(dst string, ranks []Rank, add Additions) ([]Meta, error) {
	if len(ranks) == 0 {
		return nil, fmt.Errorf("%s: no traces to join", dst)
	}
	ranks = slices.Clone(ranks)
	for i := range ranks {
		if ranks[i].Meta == nil {
			meta, err := ReadFile(ranks[i].Path, nil)
			if err != nil {
				return nil, err
			}
			ranks[i].Meta = &meta
		}
	}
	w, err := Create(dst)
	if err != nil {
		return nil, err
	}
	metas, err := join(w, ranks, add)
	if err != nil {
		w.Abort()
		return metas, err
	}
	return metas, w.Close()
}

func join(w *Writer, ranks []Rank, add Additions) ([]Meta, error) {
	base, known := JoinBase(ranks)
	taken := map[string]bool{"baseTimeNanoseconds": true, "ranks": true, "metadata": true, "traceName": true}
	for _, a := range add.Keys {
		taken[a.Key] = true
	}
	for _, k := range ranks[0].Meta.Keys {
		if !taken[k.Name] && k.Value != nil {
			taken[k.Name] = true
			w.Key(k.Name, json.RawMessage(k.Value))
		}
	}
	if known {
		w.Base(base)
	}
	var list []map[string]any
	for _, r := range ranks {
		entry := map[string]any{"rank": r.Rank, "file": r.Meta.Name}
		if r.Meta.HasBase {
			entry["base_time_ns"] = r.Meta.Base
		}
		list = append(list, entry)
	}
	w.Key("ranks", list)
	if add.Rows != nil {
		for row := range add.Rows {
			w.Row(row)
		}
	}
	var metas []Meta
	for _, r := range ranks {
		shift, err := rankShift(r, base, known)
		if err != nil {
			return metas, err
		}
		mover := mover{rank: r.Rank, shift: shift}
		meta, err := ReadFile(r.Path, func(ev *Event) error {
			raw, ok := mover.move(ev)
			if ok {
				w.Raw(raw, true)
			}
			return w.err
		})
		if err != nil {
			return metas, err
		}
		if mover.dropped > 0 {
			meta.Warnings = append(meta.Warnings, fmt.Sprintf("%s without a time, or that could not be made strict JSON, left out", count(mover.dropped, "event")))
		}
		metas = append(metas, meta)
	}
	for _, a := range add.Keys {
		w.Key(a.Key, a.Value)
	}
	metadata := map[string]any{}
	if v, ok := ranks[0].Meta.Key("metadata"); ok {
		EachMember(v, func(key string, value []byte) bool {
			if fixed, ok := AppendStrict(nil, value); ok {
				metadata[key] = json.RawMessage(fixed)
			}
			return true
		})
	}
	for _, a := range add.Metadata {
		metadata[a.Key] = a.Value
	}
	if len(metadata) > 0 {
		w.Key("metadata", metadata)
	}
	return metas, w.err
}

func rankShift(r Rank, base int64, known bool) (int64, error) {
	switch {
	case r.Meta.HasBase:
		return r.Meta.Base - base, nil
	case !known:
		return 0, nil
	}
	if _, absolute := r.Meta.Unix(r.Meta.First); absolute && r.Meta.HasSlices {
		return -base, nil
	}
	return 0, fmt.Errorf("%s: has no baseTimeNanoseconds, so its times cannot be put beside those of the other ranks", r.Meta.Name)
}

// A mover rewrites the events of one rank.
type mover struct {
	editor
	rank    int
	shift   int64
	dropped int64
}

func (m *mover) move(ev *Event) (raw []byte, ok bool) {
	drawable := ev.drawable()
	if ev, ok = m.strict(ev); !ok || !drawable {
		m.dropped++
		return nil, false
	}
	prefix := "r" + strconv.Itoa(m.rank) + " "
	if ev.PID.Text {
		m.replace(ev.pid, AppendString(nil, prefix+ev.PID.S))
	} else {
		m.replace(ev.pid, strconv.AppendInt(nil, rankPID*int64(m.rank+1)+ev.PID.N, 10))
	}
	if m.shift != 0 {
		m.replace(ev.ts, AppendTime(nil, ev.TS+m.shift))
	}
	if ev.id.ok() {
		m.replace(ev.id, m.moveID(ev.id.of(ev.Raw), prefix))
	}
	if ev.HasCorrelation {
		m.replace(ev.corr, m.number(ev.Correlation))
	}
	if ev.Phase == 'M' && ev.Name == "process_name" {
		if at, ok := argSpan(ev, "name"); ok {
			m.replace(at, AppendString(nil, "rank "+strconv.Itoa(m.rank)+" "+Text(at.of(ev.Raw))))
		}
	}
	return m.apply(ev), true
}

func (m *mover) moveID(raw []byte, prefix string) []byte {
	if raw[0] != '"' {
		if n, ok := Integer(raw); ok {
			return m.number(n)
		}
	}
	return AppendString(nil, prefix+Text(raw))
}

func (m *mover) number(n int64) []byte {
	if m.rank == 0 {
		return strconv.AppendInt(nil, n, 10)
	}
	if n > math.MaxInt64-int64(m.rank)*rankID {
		return AppendString(nil, "r"+strconv.Itoa(m.rank)+" "+strconv.FormatInt(n, 10))
	}
	n += int64(m.rank) * rankID
	if n > maxSafe || n < -maxSafe {
		return AppendString(nil, strconv.FormatInt(n, 10))
	}
	return strconv.AppendInt(nil, n, 10)
}

// argSpan finds a member of args within the event's text.
func argSpan(ev *Event, key string) (at span, ok bool) {
	base := ev.args.from
	args := ev.Args()
	ev.EachArg(func(k string, v []byte) bool {
		if k == key {
			// v is a slice of args: its capacity tells where it begins.
			from := base + cap(args) - cap(v)
			at, ok = span{from, from + len(v)}, true
		}
		return true
	})
	return at, ok
}

// CreateFile makes a file at path for bytes of one's own, packed as its ending says. It
// appears under its name when Close succeeds and the writing was not given up.
func CreateFile(path string) (*Output, error) {
	out, inner, file, err := create(path)
	if err != nil {
		return nil, err
	}
	return &Output{out: out, inner: inner, file: file, path: path}, nil
}

// An Output is a packed file that is being written.
type Output struct {
	out   io.Writer
	inner io.Closer
	file  *os.File
	path  string
	err   error
}

func (o *Output) Write(p []byte) (int, error) {
	n, err := o.out.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// Close completes the file. When a Write had failed, the file is removed instead.
func (o *Output) Close() error { return commit(o.inner, o.file, o.path, o.err) }
