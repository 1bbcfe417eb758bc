package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// A Row is an event to be written. Zero fields are left out, except where the phase
// needs them.
type Row struct {
	Phase     byte
	Cat, Name string
	PID, TID  ID
	// TS and Dur are nanoseconds on the clock of the file that is written. Dur is
	// written for phase X only; metadata rows have no TS.
	TS, Dur int64
	// ID joins the rows of one arrow or async span.
	ID string
	// Scope is the reach of an instant: t (thread, the default), p or g.
	Scope byte
	// BindEnclosing makes an arrow's end bind to the slice around it (bp: "e").
	BindEnclosing bool
	Args          []Arg
}

// An Arg is one member of a row's args. Value may be a string, a bool, an integer or
// float type, a [json.RawMessage], or anything json.Marshal takes.
type Arg struct {
	Key   string
	Value any
}

// ProcessName, ProcessLabels, ProcessSort, ThreadName and ThreadSort are the metadata
// rows that name and order what the viewer shows.
func ProcessName(pid ID, name string) Row {
	return Row{Phase: 'M', Name: "process_name", PID: pid, Args: []Arg{{"name", name}}}
}

// ProcessLabels labels a process. See [ProcessName].
func ProcessLabels(pid ID, labels string) Row {
	return Row{Phase: 'M', Name: "process_labels", PID: pid, Args: []Arg{{"labels", labels}}}
}

// ProcessSort orders processes: the smallest index stands on top.
func ProcessSort(pid ID, index int64) Row {
	return Row{Phase: 'M', Name: "process_sort_index", PID: pid, Args: []Arg{{"sort_index", index}}}
}

// ThreadName names a thread. See [ProcessName].
func ThreadName(pid, tid ID, name string) Row {
	return Row{Phase: 'M', Name: "thread_name", PID: pid, TID: tid, Args: []Arg{{"name", name}}}
}

// ThreadSort orders the threads of a process.
func ThreadSort(pid, tid ID, index int64) Row {
	return Row{Phase: 'M', Name: "thread_sort_index", PID: pid, TID: tid, Args: []Arg{{"sort_index", index}}}
}

// AppendRow appends a row as JSON. It fails only for an argument json.Marshal refuses.
func AppendRow(dst []byte, r *Row) ([]byte, error) {
	dst = append(dst, `{"ph": "`...)
	dst = appendEscapedByte(dst, r.Phase)
	dst = append(dst, '"')
	if r.Cat != "" {
		dst = append(dst, `, "cat": `...)
		dst = AppendString(dst, r.Cat)
	}
	dst = append(dst, `, "name": `...)
	dst = AppendString(dst, r.Name)
	dst = append(dst, `, "pid": `...)
	dst = appendID(dst, r.PID)
	dst = append(dst, `, "tid": `...)
	dst = appendID(dst, r.TID)
	if r.Phase != 'M' {
		dst = append(dst, `, "ts": `...)
		dst = AppendTime(dst, r.TS)
	}
	if r.Phase == 'X' {
		dst = append(dst, `, "dur": `...)
		dst = AppendTime(dst, r.Dur)
	}
	if r.ID != "" {
		dst = append(dst, `, "id": `...)
		if isNumber([]byte(r.ID)) && len(r.ID) <= 15 {
			dst = append(dst, r.ID...)
		} else {
			dst = AppendString(dst, r.ID)
		}
	}
	if r.Phase == 'i' || r.Phase == 'I' {
		scope := r.Scope
		if scope == 0 {
			scope = 't'
		}
		dst = append(dst, `, "s": "`...)
		dst = appendEscapedByte(dst, scope)
		dst = append(dst, '"')
	}
	if r.BindEnclosing {
		dst = append(dst, `, "bp": "e"`...)
	}
	if len(r.Args) > 0 {
		dst = append(dst, `, "args": {`...)
		for i, a := range r.Args {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = AppendString(dst, a.Key)
			dst = append(dst, ": "...)
			var err error
			if dst, err = appendValue(dst, a.Value); err != nil {
				return dst, fmt.Errorf("row %q: arg %q: %w", r.Name, a.Key, err)
			}
		}
		dst = append(dst, '}')
	}
	return append(dst, '}'), nil
}

func appendEscapedByte(dst []byte, c byte) []byte {
	if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
		return append(dst, c)
	}
	return appendEscaped(dst, c)
}

func appendID(dst []byte, id ID) []byte {
	if id.Text {
		return AppendString(dst, id.S)
	}
	return strconv.AppendInt(dst, id.N, 10)
}

func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return AppendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(dst, "null"...), nil
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64), nil
	case json.RawMessage:
		if out, ok := AppendStrict(dst, v); ok {
			return out, nil
		}
		return dst, errors.New("not JSON")
	}
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// A Writer writes a trace: first keys, then events, then more keys. Its methods keep
// the first error, which Close returns.
type Writer struct {
	out   io.Writer
	inner io.Closer // the packer
	file  *os.File  // nil when writing to a stream
	path  string

	buf     []byte
	scratch []byte
	state   int
	events  int64
	err     error
}

const (
	writingHead = iota
	writingEvents
	writingTail
	written
)

// NewWriter writes plain JSON to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{out: w, buf: append(make([]byte, 0, 1<<16), '{')}
}

// Create makes the file at path, gzip or zstd by its ending (.gz, .zst), else plain. The
// file appears under its name when Close succeeds; until then it is called path + ".part".
func Create(path string) (*Writer, error) {
	out, inner, file, err := create(path)
	if err != nil {
		return nil, err
	}
	w := NewWriter(out)
	w.inner, w.file, w.path = inner, file, path
	return w, nil
}

// create opens path + ".part" behind the packer that the ending asks for.
func create(path string) (out io.Writer, inner io.Closer, file *os.File, err error) {
	file, err = os.Create(path + ".part")
	if err != nil {
		return nil, nil, nil, err
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		// Level 1 packs at several times the speed of the default for a fifth more bytes.
		z, err := pgzip.NewWriterLevel(file, pgzip.BestSpeed)
		if err == nil {
			err = z.SetConcurrency(1<<20, 4)
		}
		if err != nil {
			file.Close()
			return nil, nil, nil, err
		}
		return z, z, file, nil
	case ".zst":
		z, err := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			file.Close()
			return nil, nil, nil, err
		}
		return z, z, file, nil
	}
	b := bufio.NewWriterSize(file, 1<<18)
	return b, flusher{b}, file, nil
}

type flusher struct{ w *bufio.Writer }

func (f flusher) Close() error { return f.w.Flush() }

// commit closes what create opened and gives the file its name; on an error it removes
// what was written.
func commit(inner io.Closer, file *os.File, path string, err error) error {
	if inner != nil {
		if e := inner.Close(); err == nil {
			err = e
		}
	}
	if file == nil {
		return err
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path + ".part")
		return err
	}
	return os.Rename(path+".part", path)
}

func (w *Writer) flush(limit int) {
	if len(w.buf) < limit || w.err != nil {
		return
	}
	_, w.err = w.out.Write(w.buf)
	w.buf = w.buf[:0]
}

// Key writes a top-level key. Before the first event it goes into the head of the file,
// otherwise ends the events: no event can follow.
func (w *Writer) Key(name string, value any) {
	if w.err != nil {
		return
	}
	switch w.state {
	case writingHead:
		if len(w.buf) > 1 {
			w.buf = append(w.buf, ',')
		}
	case writingEvents:
		w.endEvents()
		fallthrough
	default:
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, '\n')
	w.buf = AppendString(w.buf, name)
	w.buf = append(w.buf, ": "...)
	var err error
	if w.buf, err = appendValue(w.buf, value); err != nil {
		w.err = fmt.Errorf("key %q: %w", name, err)
	}
	if w.state == writingHead {
		return
	}
	w.flush(1 << 16)
}

// Base writes baseTimeNanoseconds: the Unix time of TS 0.
func (w *Writer) Base(ns int64) { w.Key("baseTimeNanoseconds", ns) }

func (w *Writer) beginEvent() bool {
	if w.err != nil {
		return false
	}
	switch w.state {
	case writingHead:
		if len(w.buf) > 1 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, "\n\"traceEvents\": [\n"...)
		w.state = writingEvents
	case writingEvents:
		w.buf = append(w.buf, ",\n"...)
	default:
		w.err = errors.New("a trace has no room for events after its closing keys")
		return false
	}
	w.events++
	return true
}

// Row writes an event of one's own.
func (w *Writer) Row(r *Row) {
	if !w.beginEvent() {
		return
	}
	w.buf, w.err = AppendRow(w.buf, r)
	w.flush(1 << 16)
}

// Raw writes the JSON text of an event. strict says that the text is known to be strict
// JSON; otherwise it is repaired, and refused when that cannot be done.
func (w *Writer) Raw(raw []byte, strict bool) {
	if !strict {
		fixed, ok := AppendStrict(w.scratch[:0], raw)
		if !ok {
			if w.err == nil {
				w.err = fmt.Errorf("event %d is not JSON: %.80q", w.events, raw)
			}
			return
		}
		w.scratch = fixed
		raw = fixed
	}
	if !w.beginEvent() {
		return
	}
	w.buf = append(w.buf, raw...)
	w.flush(1 << 16)
}

// Events is how many events were written so far.
func (w *Writer) Events() int64 { return w.events }

func (w *Writer) endEvents() {
	w.buf = append(w.buf, "\n]"...)
	w.state = writingTail
}

// Close ends the trace and, for a file, gives it its name.
func (w *Writer) Close() error {
	if w.state == written {
		return w.err
	}
	if w.state == writingHead && w.err == nil {
		if len(w.buf) > 1 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, "\n\"traceEvents\": ["...)
		w.state = writingEvents
	}
	if w.state == writingEvents {
		w.endEvents()
	}
	w.buf = append(w.buf, "\n}\n"...)
	w.flush(0)
	w.state = written
	w.err = commit(w.inner, w.file, w.path, w.err)
	return w.err
}

// Abort gives up: a file that was begun is removed.
func (w *Writer) Abort() {
	if w.state == written {
		return
	}
	w.state = written
	if w.err == nil {
		w.err = errors.New("writing was given up")
	}
	commit(w.inner, w.file, w.path, w.err)
}
