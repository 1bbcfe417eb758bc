package breakdown

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// A hostRow is one slice of a host thread: what the processor was doing.
type hostRow struct {
	start, dur int64
	name       uint32
	class      uint8
}

func (r *hostRow) end() int64 { return r.start + r.dur }

// before orders parents before their children.
func (r *hostRow) before(o *hostRow) bool {
	return r.start < o.start || r.start == o.start && r.dur > o.dur
}

func hostLess(a, b *hostRow) bool { return a.before(b) }

const hostRowBytes = 24

// hostRows keeps the slices of every thread, in memory up to a budget and as sorted runs
// on disk beyond it, so that a trace of any length can be walked thread by thread in the
// order of time.
type hostRows struct {
	budget  int // rows in memory
	dir     string
	threads []threadRows
	rows    int
	file    *os.File // the runs that were written out
	written int64
	spilled int64
}

type threadRows struct {
	rows  []hostRow
	runs  []diskRun
	total int64
}

// A diskRun is a sorted stretch of one thread's rows in the file.
type diskRun struct{ at, n int64 }

func (h *hostRows) add(thread uint32, r hostRow) error {
	for int(thread) >= len(h.threads) {
		h.threads = append(h.threads, threadRows{})
	}
	t := &h.threads[thread]
	t.rows = grown(t.rows, r)
	t.total++
	h.rows++
	if h.rows >= h.budget {
		return h.spill()
	}
	return nil
}

// spill writes every thread's rows out as one sorted run each.
func (h *hostRows) spill() error {
	if h.file == nil {
		f, err := os.CreateTemp(h.dir, "servebench-trace-*")
		if err != nil {
			return fmt.Errorf("no room for rows that do not fit in memory: %w", err)
		}
		h.file = f
		// The name goes at once; the space goes when the file is closed, however this ends.
		os.Remove(f.Name())
	}
	w := bufio.NewWriterSize(h.file, 1<<20)
	var b [hostRowBytes]byte
	for i := range h.threads {
		t := &h.threads[i]
		if len(t.rows) == 0 {
			continue
		}
		sortRuns(t.rows, hostLess)
		t.runs = append(t.runs, diskRun{h.written, int64(len(t.rows))})
		for _, r := range t.rows {
			binary.LittleEndian.PutUint64(b[0:], uint64(r.start))
			binary.LittleEndian.PutUint64(b[8:], uint64(r.dur))
			binary.LittleEndian.PutUint32(b[16:], r.name)
			b[20] = r.class
			if _, err := w.Write(b[:]); err != nil {
				return fmt.Errorf("rows that do not fit in memory: %w", err)
			}
		}
		h.written += int64(len(t.rows)) * hostRowBytes
		h.spilled += int64(len(t.rows))
		t.rows = t.rows[:0]
	}
	h.rows = 0
	if err := w.Flush(); err != nil {
		return fmt.Errorf("rows that do not fit in memory: %w", err)
	}
	return nil
}

func (h *hostRows) close() {
	if h.file != nil {
		h.file.Close()
	}
}

// each calls f with every row of the threads, in order.
func (h *hostRows) each(threads []int, f func(*hostRow)) error {
	// Equal rows keep the order of the file: earlier runs first, memory last.
	var heads []*runReader
	for _, thread := range threads {
		if thread >= len(h.threads) {
			continue
		}
		t := &h.threads[thread]
		sortRuns(t.rows, hostLess)
		for _, run := range t.runs {
			heads = append(heads, &runReader{r: bufio.NewReaderSize(io.NewSectionReader(h.file, run.at, run.n*hostRowBytes), 1<<16)})
		}
		if len(t.rows) > 0 {
			heads = append(heads, &runReader{rows: t.rows})
		}
	}
	if len(heads) == 1 && heads[0].r == nil {
		for i := range heads[0].rows {
			f(&heads[0].rows[i])
		}
		return nil
	}
	for _, head := range heads {
		if err := head.next(); err != nil {
			return err
		}
	}
	for {
		var best *runReader
		for _, head := range heads {
			if head.ok && (best == nil || head.row.before(&best.row)) {
				best = head
			}
		}
		if best == nil {
			return nil
		}
		f(&best.row)
		if err := best.next(); err != nil {
			return err
		}
	}
}

// A runReader hands out one sorted run, from disk or from memory.
type runReader struct {
	r    io.Reader
	rows []hostRow
	row  hostRow
	ok   bool
}

func (r *runReader) next() error {
	if r.r == nil {
		if r.ok = len(r.rows) > 0; r.ok {
			r.row, r.rows = r.rows[0], r.rows[1:]
		}
		return nil
	}
	var b [hostRowBytes]byte
	switch _, err := io.ReadFull(r.r, b[:]); err {
	case nil:
		r.row = hostRow{int64(binary.LittleEndian.Uint64(b[0:])), int64(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint32(b[16:]), b[20]}
		r.ok = true
	case io.EOF:
		r.ok = false
	default:
		return fmt.Errorf("rows that did not fit in memory: %w", err)
	}
	return nil
}
