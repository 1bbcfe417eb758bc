package breakdown

import (
	"math"
	"slices"
	"strings"

	"servebench/profiles/trace"
)

// Rows of processes that merging adds to a trace: the client's requests, steps derived
// from the trace, gaps and compiles derived from it. They are not the server's.
const (
	clientPID  = 2_000_000_001
	lastOwnPID = 2_000_000_003
	joinedPIDs = 10_000_000 // process ids of rank r in a joined file: (r+1) times this and up
)

// A deviceRow is one piece of device work.
type deviceRow struct {
	start, end int64
	corr       int64 // 0 when absent, see hasCorr
	name       uint32
	call       int32 // the call that launched it, -1 when unlinked
	stream     uint16
	device     uint16
	kind       rowKind
	hasCorr    bool
}

type rowKind uint8

const (
	kindCompute rowKind = iota
	kindComm
	kindCopy
)

// A call is an API call that may have launched device work.
type call struct {
	start, end int64
	corr       int64
	thread     uint32
	name       uint32
}

// A mark is a host slice kept in full because it means something by itself.
type mark struct {
	start, end int64
	thread     uint32
	name       uint32
	kind       string
}

// A lateRow is a row whose meaning depends on metadata that stand at the end of the file.
type lateRow struct {
	ev     deviceRow
	pid    trace.ID
	tid    trace.ID
	dev    int64
	class  uint8
	hasDev bool
}

type threadID struct{ pid, tid trace.ID }

// A device is one accelerator of a file.
type device struct {
	pid     trace.ID
	number  int64
	streams []streamID
}

type streamID struct {
	number int64
	name   string // set where the profiler names lanes instead of numbering streams
}

type copyRow struct {
	start, end int64
	bytes      int64
	name       uint32
	device     uint16
	hasBytes   bool
}

// A commRow is a collective with what its args say.
type commRow struct {
	start, end     int64
	device         uint16
	name, group    string
	dtype          string
	size           int64 // ranks in the group
	in, out, seq   int64
	hasSeq, hasLen bool
}

type memoryUse struct {
	peak, reservedPeak             int64
	first, last                    int64
	firstAt, lastAt                int64
	allocations, frees, allocBytes int64
}

// A counterRow is one vLLM counter event on Gaudi.
type counterRow struct {
	ts     int64
	pid    trace.ID
	values map[string]float64
}

// A contents is what the analysis keeps of one file.
type contents struct {
	lex  *lexicon
	meta trace.Meta

	threads   []threadID
	threadOf  map[threadID]uint32
	alias     []uint32 // the thread a thread is another name of, see sameThreads
	lastKey   threadID
	lastID    uint32
	devices   []device
	lastDev   int
	lastPID   trace.ID
	lastSt    streamID
	lastStID  uint16
	rows      []deviceRow
	kernels   int64
	late      []lateRow
	calls     []call
	hosts     hostRows
	pythons   int64
	pyThreads map[uint32]bool

	steps     [ruleCount][]mark
	forwards  []mark // model_forward and the like on Gaudi
	compiles  []mark
	begins    []mark // StreamBeginCapture and StreamEndCapture
	captures  map[string]int64
	launches  map[string]int64
	graphRuns map[string]int64
	graphCall int64
	lookups   int64
	overhead  map[string]*tally

	copies             []copyRow
	comms              []commRow
	memory             map[memoryKey]*memoryUse
	counters           []counterRow
	gaudi              gaudiLog
	blocked, preparing []span // of the host, as Gaudi's rows say
	open               map[uint32][]openRow
	unended            int64 // B without E
	unbegun            int64 // E without B
	requests           requestRows
	moved              int64 // added to the file's times to bring them onto the report's clock
	stepList           []*step
	gaps               []gapRow // of at least the threshold
	below              tally    // shorter ones
	rowStep            []*step  // the step that launched each row, or nil
	beforeWindow       int64
	engineRows         map[uint32]bool // threads that hold vLLM's own rows
	limits             *span           // the window that was asked for
	noDur              int64
}

type memoryKey struct {
	typ, id int64
}

type openRow struct {
	start int64
	name  uint32
	args  gaudiArgs
}

func newContents(lex *lexicon, budget int, dir string) *contents {
	return &contents{
		lex: lex, threadOf: map[threadID]uint32{}, lastID: math.MaxUint32, lastDev: -1,
		hosts: hostRows{budget: budget, dir: dir}, pyThreads: map[uint32]bool{},
		captures: map[string]int64{}, launches: map[string]int64{}, graphRuns: map[string]int64{},
		overhead: map[string]*tally{}, memory: map[memoryKey]*memoryUse{}, open: map[uint32][]openRow{},
	}
}

// thread is the number of a (process, thread) pair.
func (c *contents) thread(pid, tid trace.ID) uint32 {
	key := threadID{pid, tid}
	if key == c.lastKey && c.lastID != math.MaxUint32 {
		return c.lastID
	}
	id, ok := c.threadOf[key]
	if !ok {
		id = uint32(len(c.threads))
		c.threads = append(c.threads, key)
		c.threadOf[key] = id
	}
	c.lastKey, c.lastID = key, id
	return id
}

// visit takes one event.
func (c *contents) visit(ev *trace.Event) error {
	switch ev.Phase {
	case 'X':
		return c.slice(ev)
	case 'B':
		c.begin(ev)
	case 'E':
		return c.ends(ev)
	case 'i', 'I':
		if ev.Name == "[memory]" && ev.HasTS {
			c.memoryEvent(ev)
		}
	case 'b', 'e', 's', 'f':
		if own(ev.PID) && ev.HasTS {
			c.requests.mark(ev)
		}
	case 'C':
		if ev.Name == "utils" && ev.HasTS {
			c.counter(ev)
		}
	}
	return nil
}

func own(pid trace.ID) bool { return !pid.Text && pid.N >= clientPID && pid.N <= lastOwnPID }

func (c *contents) slice(ev *trace.Event) error {
	if !ev.HasTS || !ev.HasDur || ev.Dur < 0 || ev.End() < ev.TS {
		c.noDur++
		return nil
	}
	if own(ev.PID) {
		c.requests.add(ev)
		return nil
	}
	cat := c.lex.cat(ev.CatID)
	switch cat.role {
	case roleKernel, roleCopy:
		c.deviceRow(ev, cat.role)
		return nil
	case roleMaybeDevice:
		c.maybeDevice(ev, cat)
		return nil
	case roleWindow:
		return nil
	case roleOverhead:
		t := c.overhead[ev.Name]
		if t == nil {
			t = &tally{}
			c.overhead[ev.Name] = t
		}
		t.add(ev.Dur)
		if ev.Name == "Lazy Function Loading" {
			c.compiles = append(c.compiles, mark{ev.TS, ev.End(), c.thread(ev.PID, ev.TID), ev.NameID, compileLazy})
		}
		return nil
	case roleRuntime:
		return c.runtime(ev.TS, ev.End(), ev.Correlation, ev.HasCorrelation, ev.NameID, cat.class, ev.PID, ev.TID)
	case roleOp, rolePython, roleAnnotation:
		return c.host(ev, cat)
	}
	if ev.Cat == "" && isEngineRow(ev) {
		return c.engine(ev)
	}
	return nil
}

// deviceOf is the index of the device a row ran on, streamOf of its stream.
func (c *contents) deviceOf(pid trace.ID, number int64, has bool) int {
	if c.lastDev >= 0 && c.lastPID == pid {
		return c.lastDev
	}
	i := slices.IndexFunc(c.devices, func(d device) bool { return d.pid == pid })
	if i < 0 {
		if !has {
			number = pid.N
			if !pid.Text && number >= joinedPIDs {
				number %= joinedPIDs
			}
		}
		i = len(c.devices)
		c.devices = append(c.devices, device{pid: pid, number: number})
	}
	c.lastDev, c.lastPID = i, pid
	c.lastStID = math.MaxUint16
	return i
}

func (c *contents) streamOf(dev int, s streamID) uint16 {
	if c.lastStID != math.MaxUint16 && c.lastSt == s {
		return c.lastStID
	}
	d := &c.devices[dev]
	i := slices.Index(d.streams, s)
	if i < 0 {
		i = len(d.streams)
		d.streams = append(d.streams, s)
	}
	c.lastSt, c.lastStID = s, uint16(i)
	return uint16(i)
}

func streamName(hasStream bool, number int64, tid trace.ID) streamID {
	switch {
	case hasStream:
		return streamID{number: number}
	case tid.Text:
		return streamID{name: tid.S}
	}
	return streamID{number: tid.N}
}

func (c *contents) deviceRow(ev *trace.Event, r role) {
	dev := c.deviceOf(ev.PID, ev.Device, ev.HasDevice)
	row := deviceRow{
		start: ev.TS, end: ev.End(), corr: ev.Correlation, hasCorr: ev.HasCorrelation,
		name: ev.NameID, call: -1, device: uint16(dev), stream: c.streamOf(dev, streamName(ev.HasStream, ev.Stream, ev.TID)),
	}
	info := c.lex.info(ev.NameID)
	switch {
	case r == roleCopy:
		row.kind = kindCopy
		c.copies = append(c.copies, copyRow{row.start, row.end, ev.Bytes, row.name, row.device, ev.HasBytes})
	case info.comm:
		row.kind = kindComm
		c.comm(ev, dev)
	case ev.HasCollective:
		row.kind = kindComm
		c.comm(ev, dev)
	}
	if r == roleKernel {
		c.kernels++
	}
	c.rows = grown(c.rows, row)
}

func (c *contents) comm(ev *trace.Event, dev int) {
	row := commRow{start: ev.TS, end: ev.End(), device: uint16(dev)}
	lengths := 0
	ev.EachArg(func(key string, value []byte) bool {
		switch key {
		case "Collective name":
			row.name = trace.Text(value)
		case "Process Group Name":
			row.group = trace.Text(value)
		case "dtype":
			row.dtype = trace.Text(value)
		case "Group size":
			row.size, _ = trace.Integer(value)
		case "In msg nelems":
			if n, ok := trace.Integer(value); ok {
				row.in = n
				lengths++
			}
		case "Out msg nelems":
			if n, ok := trace.Integer(value); ok {
				row.out = n
				lengths++
			}
		case "Seq":
			row.seq, row.hasSeq = trace.Integer(value)
		}
		return true
	})
	row.hasLen = lengths == 2
	if row.name == "" {
		row.name = shortName(ev.Name)
	}
	c.comms = append(c.comms, row)
}

// maybeDevice keeps a row of the category Runtime until the metadata have said whether
// its process is a Gaudi device.
func (c *contents) maybeDevice(ev *trace.Event, cat *catInfo) {
	c.late = append(c.late, lateRow{
		ev:  deviceRow{start: ev.TS, end: ev.End(), corr: ev.Correlation, hasCorr: ev.HasCorrelation, name: ev.NameID, call: -1},
		pid: ev.PID, tid: ev.TID, dev: ev.Device, hasDev: ev.HasDevice, class: cat.class,
	})
	c.gaudi.slice(c, ev)
}

// settle decides the late rows once the file has been read.
func (c *contents) settle() error {
	for i := range c.late {
		r := &c.late[i]
		if isHPU(&c.meta, r.pid) {
			row := r.ev
			c.lastDev = -1
			dev := c.deviceOf(r.pid, r.dev, r.hasDev)
			row.device = uint16(dev)
			row.stream = c.streamOf(dev, streamName(false, 0, r.tid))
			if c.lex.info(row.name).comm || strings.Contains(c.lane(r.pid, r.tid), "NIC") {
				row.kind = kindComm
				c.comms = append(c.comms, commRow{start: row.start, end: row.end, device: row.device, name: c.lex.names.Text(row.name)})
			}
			c.rows = append(c.rows, row)
			continue
		}
		if err := c.runtime(r.ev.start, r.ev.end, r.ev.corr, r.ev.hasCorr, r.ev.name, r.class, r.pid, r.tid); err != nil {
			return err
		}
	}
	c.late = nil
	c.sameThreads()
	for _, rows := range c.open {
		c.unended += int64(len(rows))
	}
	return nil
}

func (c *contents) lane(pid, tid trace.ID) string {
	if p := c.meta.Processes[pid]; p != nil {
		return p.Threads[tid]
	}
	return ""
}

func isHPU(m *trace.Meta, pid trace.ID) bool {
	p := m.Processes[pid]
	return p != nil && strings.HasPrefix(strings.TrimLeft(strings.TrimPrefix(p.Name, "rank"), " 0123456789"), "/device:HPU:")
}

func (c *contents) runtime(start, end, corr int64, hasCorr bool, name uint32, class uint8, pid, tid trace.ID) error {
	thread := c.thread(pid, tid)
	info := c.lex.info(name)
	if hasCorr {
		c.calls = grown(c.calls, call{start, end, corr, thread, name})
	}
	if info.launch {
		c.launches[c.lex.names.Text(name)]++
		c.steps[ruleGraph] = append(c.steps[ruleGraph], mark{start: start, end: end, thread: thread, name: name})
	}
	if info.capture {
		text := c.lex.names.Text(name)
		c.captures[text]++
		if strings.Contains(text, "BeginCapture") || strings.Contains(text, "EndCapture") {
			c.begins = append(c.begins, mark{start: start, end: end, thread: thread, name: name})
		}
	}
	if info.compile != "" {
		c.compiles = append(c.compiles, mark{start, end, thread, name, info.compile})
	}
	return c.hosts.add(thread, hostRow{start, end - start, name, class})
}

func (c *contents) host(ev *trace.Event, cat *catInfo) error {
	thread := c.thread(ev.PID, ev.TID)
	info := c.lex.info(ev.NameID)
	if info.isStep {
		rule := info.step.rule
		python := cat.role == rolePython
		if python == (rule == rulePython) {
			c.steps[rule] = append(c.steps[rule], mark{start: ev.TS, end: ev.End(), thread: thread, name: ev.NameID})
		}
	}
	switch cat.role {
	case rolePython:
		c.pythons++
		c.pyThreads[thread] = true
	case roleAnnotation:
		if strings.HasPrefix(ev.Name, "capture_") {
			c.compiles = append(c.compiles, mark{ev.TS, ev.End(), thread, ev.NameID, compileCapture})
		}
	}
	if info.graphID != "" {
		c.graphCall++
		c.graphRuns[info.graphID]++
	}
	if info.lookup {
		c.lookups++
	}
	if info.compile != "" {
		c.compiles = append(c.compiles, mark{ev.TS, ev.End(), thread, ev.NameID, info.compile})
	}
	return c.hosts.add(thread, hostRow{ev.TS, ev.Dur, ev.NameID, cat.class})
}

// begin and ends pair the halves of slices, as the Gaudi bridge writes them.
func (c *contents) begin(ev *trace.Event) {
	if !ev.HasTS || own(ev.PID) {
		return
	}
	thread := c.thread(ev.PID, ev.TID)
	c.open[thread] = append(c.open[thread], openRow{ev.TS, ev.NameID, c.gaudi.args(ev)})
}

func (c *contents) ends(ev *trace.Event) error {
	if !ev.HasTS || own(ev.PID) {
		return nil
	}
	thread := c.thread(ev.PID, ev.TID)
	stack := c.open[thread]
	// An end without a name closes what is on top; one with a name the innermost of it.
	i := len(stack) - 1
	for i >= 0 && ev.Name != "" && stack[i].name != ev.NameID {
		i--
	}
	if i < 0 || ev.TS < stack[i].start {
		c.unbegun++
		return nil
	}
	c.unended += int64(len(stack) - 1 - i)
	row := stack[i]
	c.open[thread] = stack[:i]
	c.gaudi.pair(c, row, ev.TS, thread)
	if strings.HasPrefix(ev.Name, "copy_hpu_lazy_D2H") {
		c.blocked = append(c.blocked, span{row.start, ev.TS})
	}
	class := c.lex.class("runtime")
	info := c.lex.info(row.name)
	if info.compile != "" {
		c.compiles = append(c.compiles, mark{row.start, ev.TS, thread, row.name, info.compile})
	}
	return c.hosts.add(thread, hostRow{row.start, ev.TS - row.start, row.name, class})
}

func (c *contents) memoryEvent(ev *trace.Event) {
	var key memoryKey
	var bytes, total, reserved int64
	var hasTotal bool
	ev.EachArg(func(k string, v []byte) bool {
		switch k {
		case "Bytes":
			bytes, _ = trace.Integer(v)
		case "Total Allocated":
			total, hasTotal = trace.Integer(v)
		case "Total Reserved":
			reserved, _ = trace.Integer(v)
		case "Device Id":
			key.id, _ = trace.Integer(v)
		case "Device Type":
			key.typ, _ = trace.Integer(v)
		}
		return true
	})
	m := c.memory[key]
	if m == nil {
		m = &memoryUse{firstAt: math.MaxInt64, lastAt: math.MinInt64}
		c.memory[key] = m
	}
	if bytes >= 0 {
		m.allocations++
		m.allocBytes += bytes
	} else {
		m.frees++
	}
	if !hasTotal {
		return
	}
	m.peak, m.reservedPeak = max(m.peak, total), max(m.reservedPeak, reserved)
	if ev.TS < m.firstAt {
		m.first, m.firstAt = total, ev.TS
	}
	if ev.TS >= m.lastAt {
		m.last, m.lastAt = total, ev.TS
	}
}

// grown appends by doubling. The standard growth of a quarter would copy rows that come by
// the million several times more often.
func grown[T any](s []T, v T) []T {
	if len(s) == cap(s) {
		s = append(make([]T, 0, max(64, 2*cap(s))), s...)
	}
	return append(s, v)
}

// A tally counts occurrences and their time.
type tally struct{ count, total int64 }

func (t *tally) add(ns int64) { t.count++; t.total += ns }
