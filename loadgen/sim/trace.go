package sim

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// raster is the grid of moments from which traces count their time: three average months in
// nanoseconds. Every process of one quarter uses the same one.
const raster = 7_889_238_000_000_000

func baseOf(at int64) int64 { return at / raster * raster }

// writeFile writes a compressed trace, under its final name from the beginning, as the real profilers do.
func (p *profiler) writeFile(name string, write func(io.Writer) error) error {
	if err := os.MkdirAll(p.cfg.ProfileDir, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(p.cfg.ProfileDir, name))
	if err != nil {
		return err
	}
	packed := gzip.NewWriter(file)
	buffered := bufio.NewWriterSize(packed, 1<<16)
	err = write(buffered)
	for _, finish := range []func() error{buffered.Flush, packed.Close, file.Close} {
		if e := finish(); err == nil {
			err = e
		}
	}
	return err
}

// A row is one trace event. Times are nanoseconds since the base.
type row struct {
	ph       string
	cat      string
	name     string
	pid, tid any // a number, or a string for the recorder's own rows
	ts, dur  int64
	args     string // the inside of an object; empty: no args
	id       int64  // of an arrow
	scope    string // of an instant
}

// micros is a time as traces write it: microseconds with three decimals.
func micros(ns int64) string {
	b := make([]byte, 0, 24)
	if ns < 0 {
		b, ns = append(b, '-'), -ns
	}
	b = strconv.AppendInt(b, ns/1000, 10)
	return string(append(b, '.', byte('0'+ns/100%10), byte('0'+ns/10%10), byte('0'+ns%10)))
}

func place(v any) string {
	if s, ok := v.(string); ok {
		return quoted(s)
	}
	return fmt.Sprint(v)
}

// A rowWriter writes rows one after the other.
type rowWriter struct {
	w     io.Writer
	n     int
	err   error
	style func(*bytes.Buffer, *row)
	buf   bytes.Buffer
	sep   string
}

func (rw *rowWriter) add(r row) {
	if rw.err != nil {
		return
	}
	rw.buf.Reset()
	if rw.n > 0 {
		rw.buf.WriteString(rw.sep)
	}
	rw.n++
	rw.style(&rw.buf, &r)
	_, rw.err = rw.w.Write(rw.buf.Bytes())
}

// kineto is how PyTorch's exporter lays a row out.
func kineto(b *bytes.Buffer, r *row) {
	fmt.Fprintf(b, "  {\n    \"ph\": \"%s\",\n", r.ph)
	switch r.ph {
	case "M":
		fmt.Fprintf(b, "    \"name\": %s,\n    \"ts\": %s,\n    \"pid\": %s,\n    \"tid\": %s,\n    \"args\": {\n      %s\n    }\n  }", quoted(r.name), micros(r.ts), place(r.pid), place(r.tid), r.args)
		return
	case "i":
		fmt.Fprintf(b, "    \n    \"s\": \"%s\",\n    \"name\": %s,\n    \"pid\": %s,\n    \"tid\": %s,\n    \"ts\": %s\n    \n  }", r.scope, quoted(r.name), place(r.pid), place(r.tid), micros(r.ts))
		return
	case "s", "f":
		fmt.Fprintf(b, "    \"id\": %d,\n    \"pid\": %s,\n    \"tid\": %s,\n    \"ts\": %s,\n    \"cat\": \"%s\",\n    \"name\": %s", r.id, place(r.pid), place(r.tid), micros(r.ts), r.cat, quoted(r.name))
		if r.ph == "f" {
			b.WriteString(",\n    \"bp\": \"e\"")
		}
		b.WriteString("\n  }")
		return
	}
	fmt.Fprintf(b, "    \"cat\": \"%s\",\n    \"name\": %s,\n    \"pid\": %s,\n    \"tid\": %s,\n    \"ts\": %s,\n    \"dur\": %s\n", r.cat, quoted(r.name), place(r.pid), place(r.tid), micros(r.ts), micros(r.dur))
	if r.args != "" {
		fmt.Fprintf(b, "    ,\n    \"args\": {\n      %s\n    }\n", r.args)
	}
	b.WriteString("  }")
}

// sorted is a row with its keys in alphabetical order on one line, as the Gaudi bridge and Python's JSON writer leave it.
func sorted(b *bytes.Buffer, r *row) {
	b.WriteByte('{')
	if r.args != "" {
		fmt.Fprintf(b, `"args": {%s}, `, r.args)
	}
	if r.cat != "" {
		fmt.Fprintf(b, `"cat": "%s", `, r.cat)
	}
	if r.ph == "X" {
		fmt.Fprintf(b, `"dur": %s, `, micros(r.dur))
	}
	fmt.Fprintf(b, `"name": %s, "ph": "%s", "pid": %s`, quoted(r.name), r.ph, place(r.pid))
	if r.scope != "" {
		fmt.Fprintf(b, `, "s": "%s"`, r.scope)
	}
	fmt.Fprintf(b, `, "tid": %s, "ts": %s}`, place(r.tid), micros(r.ts))
}

// traceID is 32 hex digits, new for every session.
func (p *profiler) traceID(t *session, rank int) string {
	from := mix(p.cfg.Seed ^ mix(uint64(t.number)<<8+uint64(rank+1)))
	return fmt.Sprintf("%016X%016X", from, mix(from))
}

// table is the table of totals that torch leaves beside a trace.
func (t *session) table() []byte {
	var b bytes.Buffer
	rule := "----------------------------------------  ------------  ------------  \n"
	fmt.Fprintf(&b, "%s%40s  %12s  %12s  \n%s", rule, "Name", "CPU total", "# of Calls", rule)
	totals, calls, names := map[string]int64{}, map[string]int{}, []string{}
	for i := range t.steps {
		name := t.steps[i].annotation(false)
		if calls[name] == 0 {
			names = append(names, name)
		}
		calls[name]++
		totals[name] += t.steps[i].Dispatched - t.steps[i].Began
	}
	for _, name := range names {
		fmt.Fprintf(&b, "%40s  %10.3fms  %12d  \n", name, float64(totals[name])/1e6, calls[name])
	}
	b.WriteString(rule)
	return b.Bytes()
}
