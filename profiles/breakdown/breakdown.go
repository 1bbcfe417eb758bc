// Package breakdown answers what happened inside a server while it was profiled: how
// busy its devices were and why they were not, how long prompts and decodes took, what was
// compiled, where Python spent its time, and how much work was padding.
//
// It reads traces as streams and keeps device work in memory, host slices up to a budget
// and beyond it on disk. Every figure is an integer of nanoseconds by the definitions in
// docs/trace-json.md; a figure that a trace cannot give is absent, with a warning that
// says why. The Gaudi forms are built from written descriptions and one recorded log
// fragment, since no complete trace of a Gaudi could be had to test them on.
package breakdown

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"servebench/profiles/trace"
)

// Options narrow and shape an analysis. The zero Options are the usual ones.
type Options struct {
	// From and To narrow the window: times after its start. To 0 means its end.
	From, To time.Duration
	// FirstStep and LastStep narrow the window to these steps, counted from 1 in the order
	// of time; 0 means no such limit.
	FirstStep, LastStep int
	// GapThreshold is the shortest gap that gets a reason; 0 means a microsecond.
	GapThreshold time.Duration
	// Top is how many rows lists of names have; 0 means 50, below 0 all. Steps, kernels and
	// compiles are always complete in JSON.
	Top int
	// By names the table of kernels or Python times that WriteText shows: name, short,
	// group, file, package or module. Empty means short.
	By string
	// Thread limits Python times to threads whose name or id contains it.
	Thread string
	// Warmup is how many steps may compile; 0 means 3.
	Warmup int
	// Memory is how many bytes of host slices are kept before they go to disk; 0 means
	// 256 MiB. TempDir is where they go; empty means the system's folder for that.
	Memory  int64
	TempDir string
}

func (o Options) check() (Options, error) {
	var faults []error
	if o.From < 0 || o.To < 0 || o.To > 0 && o.To <= o.From {
		faults = append(faults, fmt.Errorf("window %v..%v is empty", o.From, o.To))
	}
	if o.FirstStep < 0 || o.LastStep < 0 || o.LastStep > 0 && o.LastStep < o.FirstStep {
		faults = append(faults, fmt.Errorf("steps %d..%d are none", o.FirstStep, o.LastStep))
	}
	if (o.From > 0 || o.To > 0) && (o.FirstStep > 0 || o.LastStep > 0) {
		faults = append(faults, errors.New("a window and steps were given: one is enough"))
	}
	if o.GapThreshold < 0 {
		faults = append(faults, fmt.Errorf("gap threshold %v is below zero", o.GapThreshold))
	}
	if o.GapThreshold == 0 {
		o.GapThreshold = time.Microsecond
	}
	switch {
	case o.Top == 0:
		o.Top = 50
	case o.Top < 0:
		o.Top = 0 // no limit
	}
	switch o.By {
	case "":
		o.By = "short"
	case "name", "short", "group", "file", "package", "module":
	default:
		faults = append(faults, fmt.Errorf("no table by %q: have name, short, group, file, package, module", o.By))
	}
	if o.Warmup == 0 {
		o.Warmup = 3
	}
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	return o, errors.Join(faults...)
}

// Analyze reads the traces in files, which are the ranks of one run, and answers. A file
// that is cut or damaged is answered as far as it goes. The error is a wrong option, a
// file that is no trace, or a fault of the disk.
func Analyze(ctx context.Context, files []string, opts Options) (*Report, error) {
	if len(files) == 0 {
		return nil, errors.New("no trace to analyse")
	}
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	a := &analysis{opts: opts, lex: newLexicon(), report: &Report{Schema: Schema, by: opts.By}}
	defer a.close()
	for _, path := range files {
		if err := a.read(ctx, path, len(files)); err != nil {
			return nil, err
		}
	}
	if err := a.clocks(); err != nil {
		return nil, err
	}
	return a.answer(ctx)
}

// An analysis is one run of Analyze.
type analysis struct {
	opts   Options
	lex    *lexicon
	files  []*contents
	window span
	clip   bool // the window was asked for
	report *Report

	steps []*step // of all files, by file and time
}

func (a *analysis) close() {
	for _, c := range a.files {
		c.hosts.close()
	}
}

func (a *analysis) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	if !slices.Contains(a.report.Warnings, w) {
		a.report.Warnings = append(a.report.Warnings, w)
	}
}

func (a *analysis) read(ctx context.Context, path string, n int) error {
	f, err := trace.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Names = a.lex.names
	c := newContents(a.lex, max(1000, int(a.opts.Memory)/n/(hostRowBytes+8)), a.opts.TempDir)
	a.files = append(a.files, c)
	events := 0
	c.meta, err = f.Read(func(ev *trace.Event) error {
		if events++; events&0xffff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return c.visit(ev)
	})
	if err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	info := FileInfo{File: c.meta.Name, SHA256: c.meta.SHA256, Events: c.meta.Events, Complete: c.meta.Complete, Warnings: c.meta.Warnings}
	if info.Warnings == nil {
		info.Warnings = []string{}
	}
	if c.meta.HasBase {
		info.Base = ptr(c.meta.Base)
	} else if _, known := c.meta.Unix(c.meta.First); !known && c.meta.HasSlices {
		info.Warnings = append(info.Warnings, "no baseTimeNanoseconds and small times: how they relate to wall time is unknown")
	}
	if c.meta.HasRank {
		info.Rank, info.World = ptr(c.meta.Rank), ptr(c.meta.World)
	}
	if c.noDur > 0 {
		info.Warnings = append(info.Warnings, fmt.Sprintf("%d slices without a start or a length left out", c.noDur))
	}
	if c.unbegun+c.unended > 0 {
		info.Warnings = append(info.Warnings, fmt.Sprintf("%d ends without a begin and %d begins without an end left out, as at the edges of a window", c.unbegun, c.unended))
	}
	a.report.Files = append(a.report.Files, info)
	return nil
}

// clocks puts all files onto the clock of the first.
func (a *analysis) clocks() error {
	first := &a.files[0].meta
	zero := func(m *trace.Meta) (int64, bool) { // the Unix time of TS 0
		if m.HasBase {
			return m.Base, true
		}
		_, absolute := m.Unix(m.First)
		return 0, absolute && m.HasSlices
	}
	base, known := zero(first)
	for i, c := range a.files[1:] {
		b, ok := zero(&c.meta)
		if !known || !ok {
			a.warn("%s: no common clock with %s: times of the two cannot be compared", c.meta.Name, first.Name)
			continue
		}
		if b != base {
			a.files[i+1].shift(b - base)
		}
	}
	return nil
}

// shift moves every time of a file.
func (c *contents) shift(by int64) {
	c.moved = by
	m := &c.meta
	m.Start, m.End, m.First, m.Last = m.Start+by, m.End+by, m.First+by, m.Last+by
	for i := range c.rows {
		c.rows[i].start += by
		c.rows[i].end += by
	}
	for i := range c.calls {
		c.calls[i].start += by
		c.calls[i].end += by
	}
	marks := [][]mark{c.forwards, c.compiles, c.begins}
	for _, list := range c.steps {
		marks = append(marks, list)
	}
	for _, list := range marks {
		for i := range list {
			list[i].start += by
			list[i].end += by
		}
	}
	for i := range c.copies {
		c.copies[i].start += by
		c.copies[i].end += by
	}
	for i := range c.comms {
		c.comms[i].start += by
		c.comms[i].end += by
	}
	for i := range c.counters {
		c.counters[i].ts += by
	}
	for i := range c.gaudi.calls {
		c.gaudi.calls[i].start += by
		c.gaudi.calls[i].end += by
	}
	for _, list := range [][]requestRow{c.requests.list, c.requests.waits} {
		for i := range list {
			list[i].start += by
			list[i].end += by
		}
	}
	for _, a := range c.requests.arrows {
		a.from += by
		a.to += by
	}
}

// fileWindow is the recorded window of one file.
func (c *contents) fileWindow() (w span, source string, ok bool) {
	switch {
	case c.meta.HasWindow:
		return span{c.meta.Start, c.meta.End}, "trace", true
	case c.meta.HasSlices:
		return span{c.meta.First, c.meta.Last}, "extent", true
	}
	return span{}, "", false
}

func (a *analysis) answer(ctx context.Context) (*Report, error) {
	whole := span{math.MaxInt64, math.MinInt64}
	source := ""
	for _, c := range a.files {
		w, s, ok := c.fileWindow()
		if !ok {
			a.warn("%s: holds no slices", c.meta.Name)
			continue
		}
		whole.from, whole.to = min(whole.from, w.from), max(whole.to, w.to)
		if source == "" || s == "extent" {
			source = s
		}
	}
	if source == "" {
		a.warn("no slices in any file: nothing to answer")
		return a.report, nil
	}
	if source == "extent" {
		a.warn("the profiler's own window is not in every trace: the window is from the first start to the last end")
	}
	a.window = whole
	for _, c := range a.files {
		c.prepare()
	}
	a.findSteps()
	switch {
	case a.opts.From > 0 || a.opts.To > 0:
		w := span{whole.from + int64(a.opts.From), whole.to}
		if a.opts.To > 0 {
			w.to = min(w.to, whole.from+int64(a.opts.To))
		}
		if w.to <= w.from {
			return nil, fmt.Errorf("the window begins %v after the start of a trace of %v", a.opts.From, time.Duration(whole.to-whole.from))
		}
		a.window, a.clip, source = w, true, "window"
	case a.opts.FirstStep > 0 || a.opts.LastStep > 0:
		w, err := a.stepWindow()
		if err != nil {
			return nil, err
		}
		a.window, a.clip, source = w, true, "steps"
	}
	a.report.Window = &Window{a.window.from, a.window.to, source}
	if a.clip {
		for _, c := range a.files {
			c.clip(a.window)
		}
		a.findSteps()
	}
	for _, ask := range []func(){a.deviceFigures, a.stepFigures, a.launchFigures, a.kernelFigures, a.commFigures, a.copyFigures, a.memoryFigures, a.compileFigures, a.paddingFigures, a.proxyFigures, a.requestFigures} {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ask()
	}
	if err := a.hostFigures(ctx); err != nil {
		return nil, err
	}
	return a.report, nil
}

// prepare sorts what was collected and joins device rows to their calls.
func (c *contents) prepare() {
	sortRuns(c.rows, func(a, b *deviceRow) bool { return c.rowLess(a, b) })
	for _, list := range c.steps {
		sortMarks(list)
	}
	sortMarks(c.forwards)
	sortMarks(c.compiles)
	sortMarks(c.begins)
	c.link()
}

// rowLess orders rows by device and start, ties by stream and correlation.
func (c *contents) rowLess(a, b *deviceRow) bool {
	if a.device != b.device {
		return a.device < b.device
	}
	if a.start != b.start {
		return a.start < b.start
	}
	if a.stream != b.stream {
		x, y := c.devices[a.device].streams[a.stream], c.devices[b.device].streams[b.stream]
		if x.number != y.number {
			return x.number < y.number
		}
		return x.name < y.name
	}
	return a.corr < b.corr
}

func sortMarks(list []mark) {
	slices.SortStableFunc(list, func(a, b mark) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		case a.end > b.end:
			return -1
		case a.end < b.end:
			return 1
		}
		return 0
	})
}

// link finds the earliest call of each row's correlation.
func (c *contents) link() {
	if len(c.calls) == 0 || len(c.rows) == 0 {
		return
	}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range c.calls {
		low, high = min(low, c.calls[i].corr), max(high, c.calls[i].corr)
	}
	earlier := func(i, j int32) bool { return c.calls[i].start < c.calls[j].start }
	// Correlations are counted up, so a plain table is both small and fast; a file whose
	// numbers are scattered (several ranks in one) gets a map.
	if width := uint64(high) - uint64(low); width < uint64(16*len(c.calls)+1<<20) {
		table := make([]int32, width+1)
		for i := range c.calls {
			at := c.calls[i].corr - low
			if table[at] == 0 || earlier(int32(i), table[at]-1) {
				table[at] = int32(i) + 1
			}
		}
		for i := range c.rows {
			if r := &c.rows[i]; r.hasCorr && r.corr >= low && r.corr <= high {
				r.call = table[r.corr-low] - 1
			}
		}
		return
	}
	table := make(map[int64]int32, len(c.calls))
	for i := range c.calls {
		if j, ok := table[c.calls[i].corr]; !ok || earlier(int32(i), j) {
			table[c.calls[i].corr] = int32(i)
		}
	}
	for i := range c.rows {
		if r := &c.rows[i]; r.hasCorr {
			if j, ok := table[r.corr]; ok {
				r.call = j
			}
		}
	}
}

// clip narrows a file to a window. Calls stay: what runs inside may have been launched
// before.
func (c *contents) clip(w span) {
	cut := func(from, to *int64) bool {
		if *to <= w.from && !(*from == *to && *from == w.from) || *from >= w.to {
			return false
		}
		*from, *to = max(*from, w.from), min(*to, w.to)
		return true
	}
	c.rows = slices.DeleteFunc(c.rows, func(r deviceRow) bool {
		return !(r.end > w.from && r.start < w.to || r.start == r.end && r.start >= w.from && r.start < w.to)
	})
	c.kernels = 0
	for i := range c.rows {
		r := &c.rows[i]
		r.start, r.end = max(r.start, w.from), min(r.end, w.to)
		if r.kind != kindCopy {
			c.kernels++
		}
	}
	starts := func(m mark) bool { return m.start < w.from || m.start >= w.to }
	for i := range c.steps {
		c.steps[i] = slices.DeleteFunc(c.steps[i], starts)
	}
	c.forwards = slices.DeleteFunc(c.forwards, starts)
	c.compiles = slices.DeleteFunc(c.compiles, starts)
	c.begins = slices.DeleteFunc(c.begins, starts)
	c.copies = slices.DeleteFunc(c.copies, func(r copyRow) bool { return !cut(&r.start, &r.end) })
	c.comms = slices.DeleteFunc(c.comms, func(r commRow) bool { return !cut(&r.start, &r.end) })
	c.counters = slices.DeleteFunc(c.counters, func(r counterRow) bool { return r.ts < w.from || r.ts >= w.to })
	c.gaudi.calls = slices.DeleteFunc(c.gaudi.calls, func(g gaudiCall) bool { return g.end <= w.from || g.start >= w.to })
	c.limits = &w
}

// threadName is how people know a thread.
func (c *contents) threadName(id uint32) string {
	t := c.threads[id]
	name := t.tid.String()
	if t.pid != t.tid {
		name = t.pid.String() + "/" + name
	}
	if p := c.meta.Processes[t.pid]; p != nil {
		if n := p.Threads[t.tid]; n != "" {
			return name + " " + strings.TrimPrefix(n, "thread "+t.tid.String()+" ")
		}
	}
	return name
}
