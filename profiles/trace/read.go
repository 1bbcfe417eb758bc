package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrStop ends a reading early and without an error when a visitor returns it. What
// stands after the events is then unknown.
var ErrStop = errors.New("stop reading")

const (
	// maxValue bounds one event or one top-level value; a longer one is damage, an
	// unclosed string most likely.
	maxValue = 64 << 20
	// maxTrial is how far an event may reach that the search after damage tries.
	maxTrial = 1 << 20
	// maxKey is how much of a top-level value is kept.
	maxKey = 1 << 20
)

// Meta is what a file says about itself outside its events, and what the reader says
// about the file.
type Meta struct {
	// Name is the file's name, Format how it was packed: plain, gzip or zstd.
	Name, Format string
	// SHA256 is the hash of the file as it lies on disk, in hex.
	SHA256 string
	// FileBytes and TextBytes are its size on disk and unpacked.
	FileBytes, TextBytes int64
	// Events is how many events were handed out.
	Events int64
	// Complete says that the outer bracket was closed, and the packing, too.
	Complete bool
	// Array says that the file is a bare array of events.
	Array bool
	// Base is the Unix time in nanoseconds of TS 0. See Unix for files without.
	Base    int64
	HasBase bool
	// Rank and World come from distributedInfo; HasRank says that it was there.
	Rank, World int
	HasRank     bool
	// Keys are the top-level keys beside traceEvents, in the file's order.
	Keys []Key
	// Processes are the processes that metadata events name.
	Processes map[ID]*Process
	// Start and End are the recorded window, as the profiler's own Trace slices say;
	// HasWindow says that there was one.
	Start, End int64
	HasWindow  bool
	// First and Last are the earliest start and the latest end of all slices (phases X, B
	// and E) but the window itself; HasSlices says that there was one.
	First, Last int64
	HasSlices   bool
	// Repaired is how many events had to be repaired to be read; Skipped how many
	// stretches of the file could not be read at all.
	Repaired, Skipped int64
	// Loose is how many events are not strict JSON as the file spells them.
	Loose int64
	// Warnings say for people what was wrong with the file.
	Warnings []string
}

// A Key is a top-level member of the file.
type Key struct {
	Name string
	// Value is the JSON text; nil when it was longer than a mebibyte.
	Value []byte
}

// A Process is what metadata events say about a process.
type Process struct {
	Name, Labels string
	SortIndex    int64
	Threads      map[ID]string
}

// Key is the JSON text of a top-level key. The last of several wins.
func (m *Meta) Key(name string) (value []byte, ok bool) {
	for _, k := range m.Keys {
		if k.Name == name && k.Value != nil {
			value, ok = k.Value, true
		}
	}
	return value, ok
}

// Unix is the Unix time in nanoseconds of a time of the file. A file without a base
// holds Unix times when they are large enough; otherwise its clock is unknown.
func (m *Meta) Unix(ts int64) (int64, bool) {
	if m.HasBase {
		return m.Base + ts, true
	}
	return ts, ts > 1e17 // 1e14 us, March 1973: no relative time reaches that
}

// A File is a trace about to be read.
type File struct {
	// Name is used in messages.
	Name string
	// Names may be set to share numbers of names between files.
	Names *Names

	r     io.Reader
	close func() error
}

// Open opens a trace: .json, .json.gz, .json.zst, told apart by content.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s: is a folder: name the trace in it", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{Name: filepath.Base(path), r: f, close: f.Close}, nil
}

// NewFile is a trace that is read from r.
func NewFile(name string, r io.Reader) *File { return &File{Name: name, r: r} }

// Close closes the file.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close()
}

// Read hands out every event in the file's order. It can be called once. The error is
// the visitor's, a fault of the disk, or a [*NotTraceError]; a damaged or cut file is no
// error: Meta.Complete and Meta.Warnings tell.
func (f *File) Read(visit func(*Event) error) (Meta, error) { return f.walk(visit, nil) }

// Read reads a trace from r. See [File.Read].
func Read(r io.Reader, visit func(*Event) error) (Meta, error) { return NewFile("", r).Read(visit) }

// ReadFile reads the trace at path. See [File.Read].
func ReadFile(path string, visit func(*Event) error) (Meta, error) {
	f, err := Open(path)
	if err != nil {
		return Meta{}, err
	}
	defer f.Close()
	return f.Read(visit)
}

// A sink gets every part of the file, for those who write it again. Slices hold only
// during the call. gap is the text between the part before and this one.
type sink interface {
	begin(lead []byte, opener byte) error
	member(gap, keyAndColon, value []byte, key string) error
	eventsBegin(gap, opening []byte) error
	event(gap []byte, ev *Event) error
	eventsEnd(gap []byte) error
	end(gap, tail []byte) error
}

func (f *File) walk(visit func(*Event) error, to sink) (Meta, error) {
	t := newTally(f.r)
	r, format, closer, err := decoder(t)
	if err != nil {
		return Meta{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	if f.Names == nil {
		f.Names = NewNames()
	}
	p := startPump(r)
	s := &scanner{
		meta: Meta{Name: f.Name, Format: format, Processes: map[ID]*Process{}},
		pump: p, walker: walker{names: f.Names}, visit: visit, to: to,
	}
	s.wellKnown()
	err = s.file()
	p.close()
	closer()
	m := &s.meta
	m.TextBytes = s.text
	if errors.Is(err, ErrStop) {
		s.finish()
		return *m, nil
	}
	if t.err != nil {
		return *m, fmt.Errorf("%s: byte %d: %w", f.Name, t.n, t.err)
	}
	if err != nil {
		var not *NotTraceError
		if errors.As(err, &not) {
			not.File = f.Name
			return *m, not
		}
		return *m, err
	}
	if _, err := io.Copy(io.Discard, t); err != nil {
		return *m, fmt.Errorf("%s: byte %d: %w", f.Name, t.n, err)
	}
	m.FileBytes, m.SHA256 = t.n, hexSum(t.sum)
	s.finish()
	return *m, nil
}

// A scanner walks the text of a file: the outer brackets, the top-level members and the
// events.
type scanner struct {
	walker
	meta  Meta
	pump  *pump
	visit func(*Event) error
	to    sink

	buf   []byte
	block []byte // what buf lies in, when it is a block of the pump
	pos   int
	mark  int // where the text begins that the sink has not seen
	end   bool
	cut   error // why the packing ended early
	text  int64 // bytes of text so far
	head  []byte

	ev    Event
	fixed []byte

	hasPhase        bool
	sawEvents       bool
	known           struct{ processName, processLabels, processSort, threadName, trace uint32 }
	skippedBytes    int64
	firstSkipped    int64
	closedArray     bool
	missingBrackets bool
}

func (s *scanner) wellKnown() {
	s.known.processName = s.names.ID("process_name")
	s.known.processLabels = s.names.ID("process_labels")
	s.known.processSort = s.names.ID("process_sort_index")
	s.known.threadName = s.names.ID("thread_name")
	s.known.trace = s.names.ID("Trace")
}

// warn notes a fault for people.
func (s *scanner) warn(format string, args ...any) {
	s.meta.Warnings = append(s.meta.Warnings, fmt.Sprintf(format, args...))
}

// at is the position in the unpacked text of an index of the buffer.
func (s *scanner) at(i int) int64 { return s.text - int64(len(s.buf)) + int64(i) }

// fill brings in more text. Everything before pos, or before mark when there is a sink,
// may go. It is false at the end of the file.
func (s *scanner) fill() bool {
	if s.end {
		return false
	}
	b, ok := <-s.pump.blocks
	if !ok {
		s.end = true
		return false
	}
	if b.err != nil {
		s.end = true
		if b.err != io.EOF {
			s.cut = b.err
		}
	}
	fresh := b.data[blockRoom:]
	s.text += int64(len(fresh))
	if len(s.head) < 512 {
		s.head = append(s.head, fresh[:min(len(fresh), 512-len(s.head))]...)
	}
	keep := s.pos
	if s.to != nil {
		keep = min(keep, s.mark)
	}
	tail := s.buf[keep:]
	s.pos -= keep
	s.mark -= keep
	switch {
	case len(tail) <= blockRoom:
		copy(b.data[blockRoom-len(tail):], tail)
		s.pump.recycle(s.block)
		s.block = b.data
		s.buf = b.data[blockRoom-len(tail):]
	default:
		if keep == 0 && s.block == nil {
			s.buf = append(s.buf, fresh...)
		} else {
			s.buf = append(append(make([]byte, 0, 2*len(tail)+len(fresh)), tail...), fresh...)
		}
		s.pump.recycle(s.block)
		s.block = nil
		s.pump.recycle(b.data)
	}
	return len(fresh) > 0 || !s.end
}

// grow brings in enough text to make another attempt at a long value worthwhile.
func (s *scanner) grow() bool {
	want := 2 * (len(s.buf) - s.pos)
	grew := false
	for len(s.buf)-s.pos < want || !grew {
		if !s.fill() {
			return grew
		}
		grew = true
	}
	return grew
}

// peek is the next byte that is no space; false at the end of the file.
func (s *scanner) peek() (byte, bool) {
	for {
		for s.pos < len(s.buf) {
			if c := s.buf[s.pos]; c > ' ' {
				return c, true
			}
			s.pos++
		}
		if !s.fill() && s.pos >= len(s.buf) {
			return 0, false
		}
	}
}

// gap is the text since the sink's last part.
func (s *scanner) gap() []byte {
	if s.to == nil {
		return nil
	}
	return s.buf[s.mark:s.pos]
}

// file reads the whole file.
func (s *scanner) file() error {
	for len(s.buf) < 3 && s.fill() {
	}
	if bytes.HasPrefix(s.buf, []byte("\xef\xbb\xbf")) {
		s.pos = 3
		s.mark = 3 // a byte order mark is not JSON: it is not copied
	}
	c, ok := s.peek()
	if !ok {
		if s.cut != nil {
			return &NotTraceError{Is: s.packed()}
		}
		return &NotTraceError{Is: describe(s.head)}
	}
	switch {
	case c == '{' && !s.looseEvents():
		return s.object()
	case c == '[':
		return s.array()
	}
	return s.fragment()
}

// looseEvents says whether the file begins with an event itself, a line of JSON or a cut
// array, instead of an object that holds events.
func (s *scanner) looseEvents() bool {
	var ev Event
	if s.walker.event(s.buf, s.pos, &ev) < 0 || ev.Phase == 0 {
		return false
	}
	holds := false
	eachMember(ev.Raw, func(key string, _ []byte) bool {
		holds = holds || key == "traceEvents"
		return !holds
	})
	return !holds
}

func (s *scanner) packed() string {
	return fmt.Sprintf("a %s file that is damaged or cut before its first byte of text (%v)", s.meta.Format, s.cut)
}

func (s *scanner) object() error {
	if s.to != nil {
		if err := s.to.begin(s.gap(), '{'); err != nil {
			return err
		}
	}
	s.pos++
	s.mark = s.pos
	for {
		c, ok := s.peek()
		if !ok {
			return s.cutOff()
		}
		switch c {
		case ',':
			s.pos++
			continue
		case '}':
			gap := s.gap()
			s.pos++
			if !s.sawEvents {
				return &NotTraceError{Is: s.withoutEvents()}
			}
			s.meta.Complete = s.closedArray
			if !s.closedArray {
				s.warn("the events are not followed by a closing bracket")
			}
			return s.finishText(gap)
		case '"':
			done, err := s.member()
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		// Damage between members.
		if s.sawEvents {
			s.warn("the text after the events is damaged at byte %d: the rest was not read", s.at(s.pos))
			return s.cutOff()
		}
		if !s.findEvents() {
			return s.cutOff()
		}
	}
}

// member reads one top-level member. done is false when it is damaged.
func (s *scanner) member() (done bool, err error) {
	gapEnd := s.pos
	keyFrom := s.pos + 1
	var keyTo int
	for {
		var st int
		st, _ = scanString(s.buf, keyFrom)
		if st >= 0 {
			keyTo = st
			break
		}
		if len(s.buf)-s.pos > maxTrial || !s.more(&gapEnd, &keyFrom) {
			return false, nil
		}
	}
	i := keyTo + 1
	key := string(appendUnescaped(nil, s.buf[keyFrom:keyTo]))
	for colon := false; ; i++ {
		if i >= len(s.buf) {
			if !s.more(&gapEnd, &keyFrom, &keyTo, &i) {
				return false, nil
			}
			i--
			continue
		}
		c := s.buf[i]
		if c == ':' && !colon {
			colon = true
			continue
		}
		if c > ' ' {
			if !colon {
				return false, nil
			}
			break
		}
	}
	if key == "traceEvents" && s.buf[i] == '[' {
		s.sawEvents = true
		if s.to != nil {
			if err := s.to.eventsBegin(s.buf[s.mark:gapEnd], s.buf[gapEnd:i+1]); err != nil {
				return true, err
			}
		}
		s.pos = i + 1
		s.mark = s.pos
		return true, s.events()
	}
	for {
		end, _ := skipValue(s.buf, i, 0)
		if end == needMore && len(s.buf)-s.pos < maxValue {
			if s.moreDouble(&gapEnd, &i) {
				continue
			}
			return false, nil
		}
		if end < 0 {
			return false, nil
		}
		value := s.buf[i:end]
		if s.to != nil {
			if err := s.to.member(s.buf[s.mark:gapEnd], s.buf[gapEnd:i], value, key); err != nil {
				return true, err
			}
		}
		k := Key{Name: key}
		if len(value) <= maxKey {
			k.Value = bytes.Clone(value)
		}
		s.meta.Keys = append(s.meta.Keys, k)
		s.pos = end
		s.mark = s.pos
		return true, nil
	}
}

// more fills the buffer and moves indices along with it.
func (s *scanner) more(indices ...*int) bool {
	before := s.pos
	if !s.fill() {
		return false
	}
	for _, i := range indices {
		*i += s.pos - before
	}
	return true
}

func (s *scanner) moreDouble(indices ...*int) bool {
	before := s.pos
	if !s.grow() {
		return false
	}
	for _, i := range indices {
		*i += s.pos - before
	}
	return true
}

// findEvents looks for the events behind damage in the head of the file.
func (s *scanner) findEvents() bool {
	from := s.at(s.pos)
	s.pos = min(s.pos+1, len(s.buf)) // what stands here was tried
	for {
		if i := bytes.Index(s.buf[s.pos:], []byte(`"traceEvents"`)); i >= 0 {
			s.skipped(from, s.at(s.pos+i)-from)
			s.pos += i
			s.mark = s.pos
			return true
		}
		s.pos = max(s.pos, len(s.buf)-len(`"traceEvents"`)+1)
		s.mark = s.pos
		if !s.fill() {
			return false
		}
	}
}

func (s *scanner) skipped(at, n int64) {
	if s.meta.Skipped == 0 {
		s.firstSkipped = at
	}
	s.meta.Skipped++
	s.skippedBytes += n
}

func (s *scanner) array() error {
	s.meta.Array = true
	s.sawEvents = true
	if s.to != nil {
		if err := s.to.begin(s.gap(), '['); err != nil {
			return err
		}
	}
	s.pos++
	s.mark = s.pos
	if err := s.events(); err != nil {
		return err
	}
	if s.meta.Events > 0 && !s.hasPhase {
		return &NotTraceError{Is: "a JSON array of objects without ph"}
	}
	if s.meta.Events == 0 && s.meta.Skipped > 0 {
		return &NotTraceError{Is: "a JSON array of other things than events"}
	}
	if !s.closedArray {
		return s.cutOff()
	}
	s.meta.Complete = true
	return s.finishText(nil)
}

// fragment reads events out of a text that has no head.
func (s *scanner) fragment() error {
	s.meta.Array = true
	if s.to != nil {
		if err := s.to.begin(nil, '['); err != nil {
			return err
		}
		s.mark = s.pos
	}
	if c, _ := s.peek(); c != '{' {
		if !s.resync() {
			return &NotTraceError{Is: describe(s.head)}
		}
		s.warn("the file begins in the middle of a trace")
	}
	for {
		if err := s.events(); err != nil {
			return err
		}
		if _, ok := s.peek(); !ok || !s.closedArray {
			break
		}
		s.closedArray = false
	}
	if !s.hasPhase {
		return &NotTraceError{Is: describe(s.head)}
	}
	return s.cutOff()
}

// finishText takes what stands after the outer bracket.
func (s *scanner) finishText(gap []byte) error {
	if s.to != nil {
		// gap may have moved: peek below can fill.
		gap = bytes.Clone(gap)
	}
	s.mark = s.pos
	if c, ok := s.peek(); ok && c != 0 {
		s.warn("text after the end of the trace, from byte %d, was not read", s.at(s.pos))
		for {
			s.pos, s.mark = len(s.buf), len(s.buf)
			if !s.fill() {
				break
			}
		}
	}
	if s.to != nil {
		return s.to.end(gap, s.gap())
	}
	return nil
}

// cutOff ends a file that was not closed.
func (s *scanner) cutOff() error {
	s.meta.Complete = false
	for { // read on, for the hash and to learn whether the packing is whole
		s.pos, s.mark = len(s.buf), len(s.buf)
		if !s.fill() {
			break
		}
	}
	if s.cut == nil {
		switch {
		case s.missingBrackets:
			s.warn("the events are not followed by a closing bracket")
		case s.meta.Array:
			s.warn("the array of events is not closed: the file is cut off, or its writer never closes it")
		case !s.sawEvents:
			s.warn("the file is cut off before its events")
		default:
			s.warn("the file is cut off: answers reach up to the cut")
		}
	}
	if s.to != nil {
		return s.to.end(nil, nil)
	}
	return nil
}

// events reads events up to the closing bracket.
func (s *scanner) events() error {
	for {
		c, ok := s.peek()
		if !ok {
			return nil
		}
		switch c {
		case ',':
			s.pos++
		case '{':
			if err := s.oneEvent(); err != nil {
				return err
			}
		case ']':
			s.closedArray = true
			gap := s.gap()
			s.pos++
			if s.to != nil {
				if err := s.to.eventsEnd(gap); err != nil {
					return err
				}
			}
			s.mark = s.pos
			return nil
		case '}':
			if !s.meta.Array && s.onlyBlanksFollow() {
				s.missingBrackets = true
				s.pos++
				return nil
			}
			s.skipTo()
		default:
			if c == '"' && !s.meta.Array && s.isMember() {
				// The bracket is missing and the next top-level key follows.
				s.missingBrackets = true
				return nil
			}
			if end, _ := skipValue(s.buf, s.pos, 1); end > 0 {
				s.skipped(s.at(s.pos), int64(end-s.pos)) // null, a number: no event
				s.pos = end
				continue
			}
			s.skipTo()
		}
	}
}

// onlyBlanksFollow says whether the } at pos is the last thing in the file.
func (s *scanner) onlyBlanksFollow() bool {
	for i := s.pos + 1; ; i++ {
		for i >= len(s.buf) {
			if !s.more(&i) {
				return true
			}
		}
		if s.buf[i] > ' ' {
			return false
		}
	}
}

// isMember says whether a key and a colon stand at pos.
func (s *scanner) isMember() bool {
	end, _ := scanString(s.buf, s.pos+1)
	if end < 0 || end-s.pos > 100 {
		return false
	}
	rest := bytes.TrimLeft(s.buf[end+1:], " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}

// skipTo leaves out damaged text up to the next event.
func (s *scanner) skipTo() {
	from := s.at(s.pos)
	s.pos++
	s.resync()
	s.skipped(from, s.at(s.pos)-from)
}

// resync moves to the next text that reads as an event. At the end of the file it is
// false.
func (s *scanner) resync() bool {
	for {
		i := bytes.IndexByte(s.buf[s.pos:], '{')
		if i < 0 {
			s.pos = len(s.buf)
			if !s.fill() {
				return false
			}
			continue
		}
		s.pos += i
		if s.to != nil {
			s.mark = s.pos
		}
		for {
			end := s.walker.event(s.buf, s.pos, &s.ev)
			if end == needMore && len(s.buf)-s.pos < maxTrial && s.grow() {
				continue
			}
			if end > 0 && s.ev.Phase != 0 {
				return true
			}
			break
		}
		s.pos++
	}
}

// oneEvent reads the event at pos and hands it out.
func (s *scanner) oneEvent() error {
	end := 0
	for {
		end = s.walker.event(s.buf, s.pos, &s.ev)
		if end != needMore || len(s.buf)-s.pos >= maxValue || !s.grow() {
			break
		}
	}
	if end < 0 {
		end = s.repair()
	}
	if end < 0 {
		from := s.at(s.pos)
		s.pos++
		if !s.resync() {
			// Nothing readable follows: this is where the file was cut.
			return nil
		}
		s.skipped(from, s.at(s.pos)-from)
		return nil
	}
	ev := &s.ev
	s.meta.Events++
	if !ev.Strict {
		s.meta.Loose++
	}
	s.note(ev)
	if s.to != nil {
		if err := s.to.event(s.gap(), ev); err != nil {
			return err
		}
	}
	if s.visit != nil {
		if err := s.visit(ev); err != nil {
			return err
		}
	}
	s.pos = end
	s.mark = end
	return nil
}

// repair reads the event at pos as damaged text.
func (s *scanner) repair() (end int) {
	window := s.buf[s.pos:]
	if len(window) > maxTrial {
		window = window[:maxTrial]
	}
	r := repairer{buf: window, out: s.fixed[:0], atEnd: s.end}
	n := r.value(0, 0)
	s.fixed = r.out
	if n < 0 {
		return n
	}
	if e := s.walker.event(s.fixed, 0, &s.ev); e < 0 {
		return isBad
	}
	if s.ev.Phase == 0 {
		return isBad
	}
	s.meta.Repaired++
	return s.pos + n
}

// note keeps what an event says about the file.
func (s *scanner) note(ev *Event) {
	if ev.Phase != 0 {
		s.hasPhase = true
	}
	switch ev.Phase {
	case 'X':
		if !ev.HasTS {
			return
		}
		if ev.CatID == s.known.trace || ev.Cat == "Trace" {
			if !s.meta.HasWindow || ev.TS < s.meta.Start {
				s.meta.Start = ev.TS
			}
			if !s.meta.HasWindow || ev.End() > s.meta.End {
				s.meta.End = ev.End()
			}
			s.meta.HasWindow = true
			return
		}
		s.extend(ev.TS, ev.End())
	case 'B', 'E':
		if ev.HasTS {
			s.extend(ev.TS, ev.TS)
		}
	case 'M':
		s.metadata(ev)
	}
}

func (s *scanner) extend(from, to int64) {
	if !s.meta.HasSlices {
		s.meta.First, s.meta.Last, s.meta.HasSlices = from, to, true
		return
	}
	s.meta.First = min(s.meta.First, from)
	s.meta.Last = max(s.meta.Last, to)
}

func (s *scanner) metadata(ev *Event) {
	p := s.meta.Processes[ev.PID]
	if p == nil {
		p = &Process{Threads: map[ID]string{}}
		s.meta.Processes[ev.PID] = p
	}
	switch ev.NameID {
	case s.known.processName:
		p.Name, _ = ev.ArgString("name")
	case s.known.processLabels:
		p.Labels, _ = ev.ArgString("labels")
	case s.known.processSort:
		p.SortIndex, _ = ev.ArgInt("sort_index")
	case s.known.threadName:
		p.Threads[ev.TID], _ = ev.ArgString("name")
	}
}

// finish turns what was read into Meta.
func (s *scanner) finish() {
	m := &s.meta
	if s.cut != nil {
		m.Complete = false
		if isCut(s.cut) {
			s.warn("the %s file is cut off: answers reach up to the cut", m.Format)
		} else {
			s.warn("the %s file is damaged after %d bytes of text (%v): answers reach up to there", m.Format, s.text, s.cut)
		}
	}
	if m.Repaired > 0 {
		s.warn("%s could be read only after repair", count(m.Repaired, "event"))
	}
	if m.Skipped > 0 {
		s.warn("%s of damaged text left out (%d bytes), the first at byte %d", count(m.Skipped, "stretch"), s.skippedBytes, s.firstSkipped)
	}
	if v, ok := m.Key("baseTimeNanoseconds"); ok {
		if base, ok := Integer(v); ok {
			m.Base, m.HasBase = base, true
		} else {
			s.warn("baseTimeNanoseconds is %s, no whole number: the file's clock is unknown", Text(v))
		}
	}
	if v, ok := m.Key("distributedInfo"); ok {
		EachMember(v, func(key string, value []byte) bool {
			switch key {
			case "rank":
				if n, ok := Integer(value); ok {
					m.Rank, m.HasRank = int(n), true
				}
			case "world_size":
				if n, ok := Integer(value); ok {
					m.World = int(n)
				}
			}
			return true
		})
	}
}

func count(n int64, what string) string {
	s := strconv.FormatInt(n, 10) + " " + what
	if n == 1 {
		return s
	}
	if strings.HasSuffix(what, "h") {
		return s + "es"
	}
	return s + "s"
}

// withoutEvents describes an object that holds no events.
func (s *scanner) withoutEvents() string {
	if len(s.meta.Keys) == 0 {
		return "an empty JSON object"
	}
	var keys []string
	for _, k := range s.meta.Keys[:min(len(s.meta.Keys), 6)] {
		keys = append(keys, k.Name)
	}
	return fmt.Sprintf("a JSON object without traceEvents (its keys: %s)", strings.Join(keys, ", "))
}
