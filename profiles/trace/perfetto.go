package trace

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Fields of Perfetto's messages. Their numbers never change.
const (
	fTracePacket = 1

	fTimestamp      = 8
	fSequence       = 10
	fTrackEvent     = 11
	fInterned       = 12
	fSequenceFlags  = 13
	fClockSnapshot  = 6
	fDefaults       = 59
	fTrackDesc      = 60
	fDefaultClock   = 58 // in the defaults
	fDefaultEvent   = 11 // in the defaults
	fDefaultTrack   = 11 // in the defaults of events
	flagsCleared    = 1
	flagsNeedsState = 2

	fEventType     = 9
	fEventTrack    = 11
	fEventNameIID  = 10
	fEventCatIID   = 3
	fCounterValue  = 30
	fDoubleValue   = 44
	fFlowIDs       = 47
	fFlowEnds      = 48
	fAnnotations   = 4
	typeBegin      = 1
	typeEnd        = 2
	typeInstant    = 3
	typeCounter    = 4
	fAnnNameIID    = 1
	fAnnInt        = 4
	fAnnDouble     = 5
	fAnnBool       = 2
	fAnnString     = 6
	fInternCats    = 1
	fInternNames   = 2
	fInternAnnName = 3

	fDescUUID    = 1
	fDescName    = 2
	fDescProcess = 3
	fDescThread  = 4
	fDescParent  = 5
	fDescCounter = 8
	fDescRank    = 12
	fDescMerge   = 15
	mergeNone    = 2

	clockRealtime = 1
	clockBoot     = 6
	clockOwn      = 64 // the first of the ids that a sequence may define
)

// PerfettoStats count what a protobuf trace holds.
type PerfettoStats struct {
	Slices, Instants, Counters int64
	// Flows are ends of arrows on slices.
	Flows int64
	// Tracks are lanes; Bytes the size before packing.
	Tracks, Bytes int64
	// Left counts events that the form has no place for: arrows without a slice, phases
	// that viewers ignore.
	Left int64
}

// Events is the number of events: slices, instants and samples of counters.
func (s PerfettoStats) Events() int64 { return s.Slices + s.Instants + s.Counters }

// WritePerfetto writes the trace at src in Perfetto's own form, packed as dst's ending
// says. It is several times smaller than JSON and opens faster, but only Perfetto reads it.
// Slices that overlap without nesting, as device rows of one stream may, get lanes of
// their own beneath the stream's. The events are held in memory: cut or thin a large trace
// first.
func WritePerfetto(dst, src string) (PerfettoStats, Meta, error) {
	b := &perfettoBuilder{names: NewNames(), tracks: map[threadKey]*protoTrack{}, counters: map[counterKey]*protoCounter{}}
	f, err := Open(src)
	if err != nil {
		return PerfettoStats{}, Meta{}, err
	}
	defer f.Close()
	f.Names = b.names
	meta, err := f.Read(b.event)
	if err != nil {
		return b.stats, meta, err
	}
	out, err := CreateFile(dst)
	if err != nil {
		return b.stats, meta, err
	}
	b.write(out, &meta)
	return b.stats, meta, out.Close()
}

// A protoSlice is one slice, instant or half of a slice.
type protoSlice struct {
	start, end int64
	name, cat  uint32
	args       []byte // an encoded list of debug annotations
	flows      []protoFlow
	instant    bool
}

type protoFlow struct {
	id     uint64
	arrive bool
}

type protoTrack struct {
	key    threadKey
	slices []protoSlice
	open   []int // begin rows without an end
}

type protoCounter struct {
	samples []protoSample
}

type protoSample struct {
	at    int64
	value float64
}

type pendingFlow struct {
	key    threadKey
	at     int64
	id     uint64
	arrive bool
}

type perfettoBuilder struct {
	names    *Names
	tracks   map[threadKey]*protoTrack
	counters map[counterKey]*protoCounter
	flows    []pendingFlow
	annNames []string // names of arguments, by number - 1
	annIDs   map[string]uint64
	low      int64
	any      bool
	stats    PerfettoStats
	uuid     uint64
	sequence uint64
	out      []byte
}

func (b *perfettoBuilder) track(pid, tid ID) *protoTrack {
	key := threadKey{pid, tid}
	t := b.tracks[key]
	if t == nil {
		t = &protoTrack{key: key}
		b.tracks[key] = t
	}
	return t
}

func (b *perfettoBuilder) saw(ts int64) {
	if !b.any || ts < b.low {
		b.low, b.any = ts, true
	}
}

func (b *perfettoBuilder) event(ev *Event) error {
	if ev.Phase != 'M' && !ev.HasTS {
		b.stats.Left++
		return nil
	}
	switch ev.Phase {
	case 'M':
		return nil
	case 'X':
		if !ev.HasDur {
			b.stats.Left++
			return nil
		}
		t := b.track(ev.PID, ev.TID)
		t.slices = append(t.slices, protoSlice{start: ev.TS, end: ev.TS + max(0, ev.Dur), name: ev.NameID, cat: ev.CatID, args: b.annotations(ev)})
	case 'B':
		t := b.track(ev.PID, ev.TID)
		t.open = append(t.open, len(t.slices))
		t.slices = append(t.slices, protoSlice{start: ev.TS, end: math.MinInt64, name: ev.NameID, cat: ev.CatID, args: b.annotations(ev)})
	case 'E':
		t := b.track(ev.PID, ev.TID)
		i := len(t.open) - 1
		for i >= 0 && ev.Name != "" && t.slices[t.open[i]].name != ev.NameID {
			i--
		}
		if i < 0 {
			b.stats.Left++ // it began before the trace
			return nil
		}
		for _, j := range t.open[i:] {
			t.slices[j].end = max(ev.TS, t.slices[j].start)
		}
		t.open = t.open[:i]
	case 'i', 'I', 'R':
		t := b.track(ev.PID, ev.TID)
		t.slices = append(t.slices, protoSlice{start: ev.TS, end: ev.TS, name: ev.NameID, cat: ev.CatID, args: b.annotations(ev), instant: true})
	case 'C':
		ev.EachArg(func(key string, value []byte) bool {
			v, err := strconv.ParseFloat(strings.Trim(string(value), `"`), 64)
			if err != nil {
				return true
			}
			name := ev.Name
			if key != "" {
				name += " " + key
			}
			k := counterKey{ev.PID, name}
			if b.counters[k] == nil {
				b.counters[k] = &protoCounter{}
			}
			b.counters[k].samples = append(b.counters[k].samples, protoSample{ev.TS, v})
			return true
		})
	case 's', 't', 'f':
		if !ev.id.ok() {
			b.stats.Left++
			return nil
		}
		id := flowHash(ev.Cat, ev.Name, strings.Trim(string(ev.id.of(ev.Raw)), `"`))
		b.flows = append(b.flows, pendingFlow{threadKey{ev.PID, ev.TID}, ev.TS, id, ev.Phase == 'f'})
	default:
		b.stats.Left++
		return nil
	}
	b.saw(ev.TS)
	return nil
}

// flowHash is the number of an arrow: FNV-1a over what identifies it.
func flowHash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h
}

// annotations are the arguments of an event that are single values.
func (b *perfettoBuilder) annotations(ev *Event) []byte {
	var out, one []byte
	ev.EachArg(func(key string, value []byte) bool {
		one = one[:0]
		switch c := value[0]; {
		case c == '"':
			one = appendText(one, fAnnString, strings.ToValidUTF8(Text(value), "\ufffd"))
		case c == 't' || c == 'f':
			n := uint64(0)
			if c == 't' {
				n = 1
			}
			one = appendUvarint(one, fAnnBool, n)
		case c == '-' || c >= '0' && c <= '9':
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				one = appendUvarint(one, fAnnInt, uint64(n))
			} else if v, err := strconv.ParseFloat(string(value), 64); err == nil {
				one = appendFixed64(one, fAnnDouble, math.Float64bits(v))
			} else {
				return true
			}
		default:
			return true // lists and objects: shapes, stacks
		}
		if b.annIDs == nil {
			b.annIDs = map[string]uint64{}
		}
		id, ok := b.annIDs[key]
		if !ok {
			b.annNames = append(b.annNames, key)
			id = uint64(len(b.annNames))
			b.annIDs[key] = id
		}
		body := appendUvarint(make([]byte, 0, len(one)+4), fAnnNameIID, id)
		body = append(body, one...)
		out = appendBytes(out, fAnnotations, body)
		return true
	})
	return out
}

// packet writes one TracePacket.
func (b *perfettoBuilder) packet(w io.Writer, body []byte) {
	b.out = appendBytes(b.out[:0], fTracePacket, body)
	b.stats.Bytes += int64(len(b.out))
	w.Write(b.out)
}

func (b *perfettoBuilder) write(w io.Writer, meta *Meta) {
	// One clock reading joins the trace's time to wall time. Perfetto drops what lies before
	// zero, so the first event is second 0 when its time is below.
	zero := int64(0)
	if b.low < 0 {
		zero = b.low
	}
	if base, ok := meta.Unix(b.low); ok && base > 0 {
		var clocks []byte
		for _, c := range [2][2]uint64{{clockBoot, uint64(b.low - zero)}, {clockRealtime, uint64(base)}} {
			one := appendUvarint(nil, 1, c[0])
			clocks = appendBytes(clocks, 1, appendUvarint(one, 2, c[1]))
		}
		b.packet(w, appendBytes(appendUvarint(nil, fSequence, 1), fClockSnapshot, clocks))
	}
	b.sequence = 1
	for _, t := range b.tracks {
		for _, i := range t.open { // still open when the trace ended
			t.slices[i].end = max(meta.Last, t.slices[i].start)
		}
		slices.SortStableFunc(t.slices, func(x, y protoSlice) int {
			return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(y.end, x.end))
		})
	}
	b.bindFlows()
	processes := map[ID]uint64{}
	process := func(pid ID) uint64 {
		if id := processes[pid]; id != 0 {
			return id
		}
		b.uuid++
		processes[pid] = b.uuid
		b.describeProcess(w, meta, pid, b.uuid)
		return b.uuid
	}
	keys := slices.SortedFunc(maps.Keys(b.tracks), threadKey.compare)
	for _, key := range keys {
		b.thread(w, meta, b.tracks[key], process(key.pid), zero)
	}
	for _, key := range slices.SortedFunc(maps.Keys(b.counters), func(x, y counterKey) int {
		return cmp.Or(x.pid.Compare(y.pid), strings.Compare(x.name, y.name))
	}) {
		b.counter(w, key, b.counters[key], process(key.pid), zero)
	}
}

// bindFlows puts the ends of arrows onto the slices around them.
func (b *perfettoBuilder) bindFlows() {
	slices.SortStableFunc(b.flows, func(x, y pendingFlow) int { return cmp.Or(x.key.compare(y.key), cmp.Compare(x.at, y.at)) })
	for i := 0; i < len(b.flows); {
		t := b.tracks[b.flows[i].key]
		var stack []int
		next := 0
		for key := b.flows[i].key; i < len(b.flows) && b.flows[i].key == key; i++ {
			f := b.flows[i]
			if t == nil {
				b.stats.Left++
				continue
			}
			for next < len(t.slices) && t.slices[next].start <= f.at {
				if !t.slices[next].instant {
					stack = append(stack, next)
				}
				next++
			}
			for len(stack) > 0 && t.slices[stack[len(stack)-1]].end < f.at {
				stack = stack[:len(stack)-1]
			}
			// The innermost slice that is still open there. Slices that overlap without nesting
			// may hide an ended one beneath.
			at := -1
			for j := len(stack) - 1; j >= 0; j-- {
				if t.slices[stack[j]].end >= f.at {
					at = stack[j]
					break
				}
			}
			if at < 0 {
				b.stats.Left++
				continue
			}
			t.slices[at].flows = append(t.slices[at].flows, protoFlow{f.id, f.arrive})
			b.stats.Flows++
		}
	}
}

func (b *perfettoBuilder) describeProcess(w io.Writer, meta *Meta, pid ID, uuid uint64) {
	name := pid.String()
	rank := int64(0)
	hasRank := false
	if p := meta.Processes[pid]; p != nil {
		if p.Name != "" {
			name = p.Name
		}
		if p.Labels != "" {
			name += " (" + p.Labels + ")"
		}
		rank, hasRank = p.SortIndex, p.SortIndex != 0
	}
	desc := appendUvarint(nil, fDescUUID, uuid)
	if !pid.Text && pid.N > 0 && pid.N < math.MaxInt32 {
		var p []byte
		p = appendUvarint(p, 1, uint64(pid.N))
		p = appendText(p, 6, name)
		desc = appendBytes(desc, fDescProcess, p)
	} else {
		// Device 0, names and negative numbers are no processes to Perfetto: a plain group.
		desc = appendText(desc, fDescName, name)
	}
	if hasRank {
		desc = appendUvarint(desc, fDescRank, uint64(rank))
	}
	b.packet(w, appendBytes(appendUvarint(nil, fSequence, 1), fTrackDesc, desc))
}

// thread writes a thread's slices, on as many lanes as it takes for them to nest.
func (b *perfettoBuilder) thread(w io.Writer, meta *Meta, t *protoTrack, process uint64, zero int64) {
	name := t.key.tid.String()
	if p := meta.Processes[t.key.pid]; p != nil && p.Threads[t.key.tid] != "" {
		name = p.Threads[t.key.tid]
	}
	lanes := nestingLanes(t.slices)
	b.uuid++
	uuid := b.uuid
	desc := appendUvarint(nil, fDescUUID, uuid)
	pid, tid := t.key.pid, t.key.tid
	if !pid.Text && !tid.Text && pid.N > 0 && pid.N < math.MaxInt32 && tid.N > 0 && tid.N < math.MaxInt32 {
		var th []byte
		th = appendUvarint(th, 1, uint64(pid.N))
		th = appendUvarint(th, 2, uint64(tid.N))
		th = appendText(th, 5, name)
		desc = appendBytes(desc, fDescThread, th)
	} else {
		desc = appendText(desc, fDescName, name)
		desc = appendUvarint(desc, fDescParent, process)
	}
	b.packet(w, appendBytes(appendUvarint(nil, fSequence, 1), fTrackDesc, desc))
	for lane, rows := range lanes {
		track := uuid
		if lane > 0 {
			b.uuid++
			track = b.uuid
			desc := appendUvarint(nil, fDescUUID, track)
			desc = appendUvarint(desc, fDescParent, uuid)
			desc = appendText(desc, fDescName, name+" overlapping "+strconv.Itoa(lane))
			desc = appendUvarint(desc, fDescMerge, mergeNone)
			b.packet(w, appendBytes(appendUvarint(nil, fSequence, 1), fTrackDesc, desc))
		}
		b.stats.Tracks++
		b.lane(w, t, rows, track, zero)
	}
}

// nestingLanes distributes slices, sorted by start and then the longest first, so that
// those of one lane nest.
func nestingLanes(rows []protoSlice) [][]int {
	var lanes [][]int
	var stacks [][]int64 // ends of what is open
	for i := range rows {
		r := &rows[i]
		placed := false
		for lane := range lanes {
			stack := stacks[lane]
			for len(stack) > 0 && stack[len(stack)-1] <= r.start {
				// An empty slice at the very end of another is behind it.
				stack = stack[:len(stack)-1]
			}
			stacks[lane] = stack
			if len(stack) > 0 && r.end > stack[len(stack)-1] {
				continue
			}
			if !r.instant {
				stacks[lane] = append(stack, r.end)
			}
			lanes[lane] = append(lanes[lane], i)
			placed = true
			break
		}
		if !placed {
			lanes = append(lanes, []int{i})
			var stack []int64
			if !r.instant {
				stack = []int64{r.end}
			}
			stacks = append(stacks, stack)
		}
	}
	return lanes
}

// A protoSequence writes the events of one track, in the order of time.
type protoSequence struct {
	b       *perfettoBuilder
	w       io.Writer
	id      uint64
	clock   int64
	zero    int64
	begun   bool
	names   map[uint32]uint64
	cats    map[uint32]uint64
	ann     map[uint64]bool
	pending []byte // interned data the next packet brings along
	track   uint64
}

// emit writes one event at a time that is not before the last one's.
func (s *protoSequence) emit(at int64, event []byte) {
	body := appendUvarint(nil, fSequence, s.id)
	if !s.begun {
		// The first packet of a sequence declares its clock, which counts on from event to
		// event, and the track that all its events belong to.
		s.begun = true
		var clocks []byte
		one := appendUvarint(nil, 1, clockBoot)
		clocks = appendBytes(clocks, 1, appendUvarint(one, 2, uint64(at-s.zero)))
		one = appendUvarint(nil, 1, clockOwn)
		one = appendUvarint(one, 2, uint64(at-s.zero))
		clocks = appendBytes(clocks, 1, appendUvarint(one, 3, 1))
		first := appendUvarint(appendUvarint(nil, fSequence, s.id), fSequenceFlags, flagsCleared)
		defaults := appendUvarint(nil, fDefaultClock, clockOwn)
		defaults = appendBytes(defaults, fDefaultEvent, appendUvarint(nil, fDefaultTrack, s.track))
		first = appendBytes(first, fDefaults, defaults)
		s.b.packet(s.w, appendBytes(first, fClockSnapshot, clocks))
		s.clock = at
	}
	body = appendUvarint(body, fSequenceFlags, flagsNeedsState)
	body = appendUvarint(body, fTimestamp, uint64(at-s.clock))
	s.clock = at
	if len(s.pending) > 0 {
		body = appendBytes(body, fInterned, s.pending)
		s.pending = s.pending[:0]
	}
	s.b.packet(s.w, appendBytes(body, fTrackEvent, event))
}

func (s *protoSequence) intern(seen map[uint32]uint64, id uint32, kind int) uint64 {
	if iid := seen[id]; iid != 0 {
		return iid
	}
	iid := uint64(len(seen) + 1)
	seen[id] = iid
	one := appendUvarint(nil, 1, iid)
	one = appendText(one, 2, strings.ToValidUTF8(s.b.names.Text(id), "\ufffd"))
	s.pending = appendBytes(s.pending, kind, one)
	return iid
}

// internArgs brings along the names of arguments.
func (s *protoSequence) internArgs(args []byte) {
	eachField(args, func(f field) error {
		return eachField(f.bytes, func(x field) error {
			if x.number == fAnnNameIID && !s.ann[x.value] {
				s.ann[x.value] = true
				one := appendUvarint(nil, 1, x.value)
				one = appendText(one, 2, strings.ToValidUTF8(s.b.annNames[x.value-1], "\ufffd"))
				s.pending = appendBytes(s.pending, fInternAnnName, one)
			}
			return nil
		})
	})
}

func (b *perfettoBuilder) newSequence(w io.Writer, track uint64, zero int64) *protoSequence {
	b.sequence++
	return &protoSequence{b: b, w: w, id: b.sequence, zero: zero, track: track, names: map[uint32]uint64{}, cats: map[uint32]uint64{}, ann: map[uint64]bool{}}
}

func (b *perfettoBuilder) lane(w io.Writer, t *protoTrack, rows []int, track uint64, zero int64) {
	s := b.newSequence(w, track, zero)
	var ends []int64
	end := appendUvarint(nil, fEventType, typeEnd)
	closeTo := func(at int64) {
		for len(ends) > 0 && ends[len(ends)-1] <= at {
			s.emit(ends[len(ends)-1], end)
			ends = ends[:len(ends)-1]
		}
	}
	for _, i := range rows {
		r := &t.slices[i]
		closeTo(r.start)
		kind := uint64(typeBegin)
		if r.instant {
			kind = typeInstant
			b.stats.Instants++
		} else {
			b.stats.Slices++
		}
		ev := appendUvarint(nil, fEventType, kind)
		ev = appendUvarint(ev, fEventNameIID, s.intern(s.names, r.name, fInternNames))
		if r.cat != 0 {
			ev = appendUvarint(ev, fEventCatIID, s.intern(s.cats, r.cat, fInternCats))
		}
		s.internArgs(r.args)
		ev = append(ev, r.args...)
		for _, f := range r.flows {
			number := fFlowIDs
			if f.arrive {
				number = fFlowEnds
			}
			ev = appendFixed64(ev, number, f.id)
		}
		s.emit(r.start, ev)
		if !r.instant {
			ends = append(ends, r.end)
		}
	}
	closeTo(math.MaxInt64)
}

func (b *perfettoBuilder) counter(w io.Writer, key counterKey, c *protoCounter, process uint64, zero int64) {
	b.uuid++
	desc := appendUvarint(nil, fDescUUID, b.uuid)
	desc = appendUvarint(desc, fDescParent, process)
	desc = appendText(desc, fDescName, strings.ToValidUTF8(key.name, "\ufffd"))
	desc = appendBytes(desc, fDescCounter, nil)
	b.packet(w, appendBytes(appendUvarint(nil, fSequence, 1), fTrackDesc, desc))
	b.stats.Tracks++
	slices.SortStableFunc(c.samples, func(x, y protoSample) int { return cmp.Compare(x.at, y.at) })
	s := b.newSequence(w, b.uuid, zero)
	for _, v := range c.samples {
		ev := appendUvarint(nil, fEventType, typeCounter)
		if v.value == math.Trunc(v.value) && math.Abs(v.value) < 1<<53 {
			ev = appendUvarint(ev, fCounterValue, uint64(int64(v.value)))
		} else {
			ev = appendFixed64(ev, fDoubleValue, math.Float64bits(v.value))
		}
		s.emit(v.at, ev)
		b.stats.Counters++
	}
}

// A PerfettoEvent is one event of a protobuf trace.
type PerfettoEvent struct {
	// Process and Track are the names of the process and of the track.
	Process, Track string
	Name, Category string
	// Start and Dur are nanoseconds; Dur is 0 for instants and counters.
	Start, Dur int64
	Kind       byte // X, i or C, as in JSON
	Value      float64
	Args       map[string]string
}

// ReadPerfetto reads a protobuf trace of the kind WritePerfetto makes and checks it
// strictly: that every name was declared, that time never runs backwards on a track, and
// that slices nest and end. It calls visit with each event when it ends.
func ReadPerfetto(r io.Reader, visit func(*PerfettoEvent) error) (PerfettoStats, error) {
	plain, _, closer, err := decoder(newTally(r))
	if err != nil {
		return PerfettoStats{}, err
	}
	defer closer()
	data, err := io.ReadAll(plain)
	if err != nil {
		return PerfettoStats{}, err
	}
	p := &perfettoReader{visit: visit, sequences: map[uint64]*readSequence{}, tracks: map[uint64]*readTrack{}}
	p.stats.Bytes = int64(len(data))
	n := 0
	err = eachField(data, func(f field) error {
		if f.number != fTracePacket || f.wire != wireBytes {
			return fmt.Errorf("field %d beside the packets", f.number)
		}
		n++
		if err := p.packet(f.bytes); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		return nil
	})
	if err != nil {
		return p.stats, err
	}
	for uuid, t := range p.tracks {
		if len(t.open) > 0 {
			return p.stats, fmt.Errorf("track %d (%s): %d slices never end", uuid, t.name, len(t.open))
		}
	}
	if n == 0 {
		return p.stats, &NotTraceError{Is: "an empty file"}
	}
	return p.stats, nil
}

type readSequence struct {
	cleared          bool
	clock            uint64
	hasClock         bool
	track            uint64
	last             uint64
	names, cats, ann map[uint64]string
}

type readTrack struct {
	name    string
	process string
	parent  uint64
	counter bool
	used    bool
	open    []PerfettoEvent
}

type perfettoReader struct {
	visit     func(*PerfettoEvent) error
	sequences map[uint64]*readSequence
	tracks    map[uint64]*readTrack
	stats     PerfettoStats
}

func (p *perfettoReader) packet(b []byte) error {
	var seq, flags, stamp uint64
	var hasStamp bool
	var event, interned, desc, defaults, clocks []byte
	err := eachField(b, func(f field) error {
		switch f.number {
		case fTimestamp:
			stamp, hasStamp = f.value, true
		case fSequence:
			seq = f.value
		case fSequenceFlags:
			flags = f.value
		case fTrackEvent:
			event = f.bytes
		case fInterned:
			interned = f.bytes
		case fTrackDesc:
			desc = f.bytes
		case fDefaults:
			defaults = f.bytes
		case fClockSnapshot:
			clocks = f.bytes
		default:
			return fmt.Errorf("field %d is not one this program writes", f.number)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if seq == 0 {
		return fmt.Errorf("it belongs to no sequence")
	}
	s := p.sequences[seq]
	if s == nil {
		s = &readSequence{}
		p.sequences[seq] = s
	}
	if flags&flagsCleared != 0 {
		*s = readSequence{cleared: true, names: map[uint64]string{}, cats: map[uint64]string{}, ann: map[uint64]string{}}
	}
	if flags&flagsNeedsState != 0 && !s.cleared {
		return fmt.Errorf("it needs the state of sequence %d, which has none", seq)
	}
	if clocks != nil {
		if err := s.snapshot(clocks); err != nil {
			return err
		}
	}
	if defaults != nil {
		if err := s.defaults(defaults); err != nil {
			return err
		}
	}
	if interned != nil {
		if err := s.intern(interned); err != nil {
			return err
		}
	}
	if desc != nil {
		return p.describe(desc)
	}
	if event == nil {
		return nil
	}
	if !hasStamp || !s.hasClock {
		return fmt.Errorf("an event without a time")
	}
	s.last += stamp
	return p.event(s, event)
}

func (s *readSequence) snapshot(b []byte) error {
	return eachField(b, func(f field) error {
		var id, at, incremental uint64
		if err := eachField(f.bytes, func(x field) error {
			switch x.number {
			case 1:
				id = x.value
			case 2:
				at = x.value
			case 3:
				incremental = x.value
			}
			return nil
		}); err != nil {
			return err
		}
		if id == clockOwn {
			if incremental != 1 {
				return fmt.Errorf("clock %d does not count on", id)
			}
			s.last, s.hasClock = at, true
		}
		return nil
	})
}

func (s *readSequence) defaults(b []byte) error {
	return eachField(b, func(f field) error {
		switch f.number {
		case fDefaultClock:
			s.clock = f.value
		case fDefaultEvent:
			return eachField(f.bytes, func(x field) error {
				if x.number == fDefaultTrack {
					s.track = x.value
				}
				return nil
			})
		}
		return nil
	})
}

func (s *readSequence) intern(b []byte) error {
	if !s.cleared {
		return fmt.Errorf("names without a sequence's first packet")
	}
	return eachField(b, func(f field) error {
		var iid uint64
		var name string
		if err := eachField(f.bytes, func(x field) error {
			switch x.number {
			case 1:
				iid = x.value
			case 2:
				name = string(x.bytes)
			}
			return nil
		}); err != nil {
			return err
		}
		into := map[int]map[uint64]string{fInternCats: s.cats, fInternNames: s.names, fInternAnnName: s.ann}[f.number]
		if into == nil || iid == 0 {
			return fmt.Errorf("interned field %d, number %d", f.number, iid)
		}
		if old, ok := into[iid]; ok && old != name {
			return fmt.Errorf("number %d means both %q and %q", iid, old, name)
		}
		into[iid] = name
		return nil
	})
}

func (p *perfettoReader) describe(b []byte) error {
	t := &readTrack{}
	var uuid uint64
	err := eachField(b, func(f field) error {
		switch f.number {
		case fDescUUID:
			uuid = f.value
		case fDescName:
			t.name = string(f.bytes)
		case fDescParent:
			t.parent = f.value
		case fDescCounter:
			t.counter = true
		case fDescProcess, fDescThread:
			return eachField(f.bytes, func(x field) error {
				if x.number == 6 || x.number == 5 {
					t.name = string(x.bytes)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if uuid == 0 || p.tracks[uuid] != nil {
		return fmt.Errorf("track %d is described twice, or is none", uuid)
	}
	if t.parent != 0 {
		parent := p.tracks[t.parent]
		if parent == nil {
			return fmt.Errorf("track %d lies in track %d, which was not described", uuid, t.parent)
		}
		t.process = parent.name
	}
	p.tracks[uuid] = t
	return nil
}

func (p *perfettoReader) event(s *readSequence, b []byte) error {
	var kind, nameID, catID uint64
	e := PerfettoEvent{Start: int64(s.last)}
	err := eachField(b, func(f field) error {
		switch f.number {
		case fEventType:
			kind = f.value
		case fEventNameIID:
			nameID = f.value
		case fEventCatIID:
			catID = f.value
		case fFlowIDs, fFlowEnds:
			if f.wire != wireFixed {
				return fmt.Errorf("an arrow's number is no fixed64")
			}
			p.stats.Flows++
		case fCounterValue:
			e.Value = float64(int64(f.value))
		case fDoubleValue:
			e.Value = math.Float64frombits(f.value)
		case fAnnotations:
			return s.annotation(f.bytes, &e)
		default:
			return fmt.Errorf("field %d of an event is not one this program writes", f.number)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := p.tracks[s.track]
	if t == nil {
		return fmt.Errorf("an event on track %d, which was not described", s.track)
	}
	if !t.used {
		t.used = true
		p.stats.Tracks++
	}
	e.Track, e.Process = t.name, t.process
	var ok bool
	if kind == typeBegin || kind == typeInstant {
		if e.Name, ok = s.names[nameID]; !ok {
			return fmt.Errorf("name %d was not declared", nameID)
		}
		if catID != 0 {
			if e.Category, ok = s.cats[catID]; !ok {
				return fmt.Errorf("category %d was not declared", catID)
			}
		}
	}
	switch kind {
	case typeBegin:
		t.open = append(t.open, e)
		return nil
	case typeEnd:
		n := len(t.open) - 1
		if n < 0 {
			return fmt.Errorf("an end without a begin on track %d (%s)", s.track, t.name)
		}
		begun := t.open[n]
		t.open = t.open[:n]
		begun.Dur, begun.Kind = e.Start-begun.Start, 'X'
		e = begun
		p.stats.Slices++
	case typeInstant:
		e.Kind = 'i'
		p.stats.Instants++
	case typeCounter:
		if !t.counter {
			return fmt.Errorf("a counter's value on track %d, which is none", s.track)
		}
		e.Kind, e.Name = 'C', t.name
		p.stats.Counters++
	default:
		return fmt.Errorf("event type %d", kind)
	}
	if p.visit == nil {
		return nil
	}
	return p.visit(&e)
}

func (s *readSequence) annotation(b []byte, e *PerfettoEvent) error {
	var name, value string
	err := eachField(b, func(f field) error {
		switch f.number {
		case fAnnNameIID:
			var ok bool
			if name, ok = s.ann[f.value]; !ok {
				return fmt.Errorf("argument %d was not declared", f.value)
			}
		case fAnnBool:
			value = strconv.FormatBool(f.value == 1)
		case fAnnInt:
			value = strconv.FormatInt(int64(f.value), 10)
		case fAnnDouble:
			value = strconv.FormatFloat(math.Float64frombits(f.value), 'g', -1, 64)
		case fAnnString:
			value = string(f.bytes)
		}
		return nil
	})
	if e.Args == nil {
		e.Args = map[string]string{}
	}
	e.Args[name] = value
	return err
}
