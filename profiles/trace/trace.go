// Package trace reads and writes profiler traces: the Chrome trace-event JSON that
// PyTorch's Kineto, vLLM, SGLang and the Gaudi bridge write, however large the file
// and however damaged.
//
// A trace is read once, as a stream: one goroutine decompresses, another walks the
// text and hands out one [Event] at a time. Times are whole nanoseconds taken from the
// decimal text; a float64 holds a 19-digit time only to a quarter of a microsecond, so
// none is used. What a profiler leaves behind when it is killed, or what old versions
// wrote wrongly, is read as far as it goes, and [Meta] says what was wrong.
//
// Times of a file count from the file's own base ([Meta.Base]), which may stand after
// the events: [Meta.Unix] turns them into Unix time once the file has been read.
package trace

// An Event is one row of a trace. The reader reuses it: what a visitor keeps it must
// copy. Strings may be kept, Raw and what comes from Args may not.
type Event struct {
	// Phase is the ph field: X for a slice, B and E for its ends, i for an instant, C
	// for a counter, M for metadata, s, t and f for arrows; 0 when absent.
	Phase byte
	// Cat and Name are the category and the name, unescaped. The address of an object in
	// a Python name ("... at 0x7f1736f58870>") is left out, so that names can be counted;
	// Raw has it, and so has [Names.Full].
	Cat, Name string
	// CatID and NameID are their numbers in the file's [Names].
	CatID, NameID uint32
	// PID and TID are the process and the thread, or what a profiler puts there:
	// device, stream, lane.
	PID, TID ID
	// TS and Dur are nanoseconds on the file's clock. HasTS and HasDur say whether the
	// event had them as numbers.
	TS, Dur       int64
	HasTS, HasDur bool
	// Correlation links a call to its device rows, External a row to its operator.
	// Stream and Device are what args say. The Has fields say which were there.
	Correlation, External, Stream, Device, Bytes                int64
	HasCorrelation, HasExternal, HasStream, HasDevice, HasBytes bool
	// HasCollective says that args name a collective.
	HasCollective bool
	// HasID says that the event carries an id, as arrows do.
	HasID bool

	// Raw is the event's text as the file has it, from { to }. When the reader had to
	// repair the text, it is the repaired text.
	Raw []byte
	// Strict says that Raw is valid JSON as it stands; otherwise see [AppendStrict].
	Strict bool

	args, pid, tid, ts, dur, id, corr span
	name                              span
}

// drawable says that the event has the times that its phase needs: else no viewer draws it, and a strict one refuses the file. A slice whose
// duration was NaN has none.
func (ev *Event) drawable() bool {
	switch ev.Phase {
	case 0, 'M':
		return true
	case 'X':
		return ev.HasTS && ev.HasDur
	}
	return ev.HasTS
}

// A span is a range of an event's Raw; a zero span is absent.
type span struct{ from, to int }

func (s span) of(raw []byte) []byte { return raw[s.from:s.to] }
func (s span) ok() bool             { return s.to > s.from }

// End is when a slice ends: TS + Dur.
func (e *Event) End() int64 { return e.TS + e.Dur }

// Args is the raw text of the event's args object; nil when it has none.
func (e *Event) Args() []byte {
	if !e.args.ok() {
		return nil
	}
	return e.args.of(e.Raw)
}

// EachArg calls f with each member of args: its key without quotes, as written, and
// the raw text of its value. It stops when f returns false.
func (e *Event) EachArg(f func(key string, value []byte) bool) {
	raw := e.Args()
	if len(raw) == 0 {
		return
	}
	eachMember(raw, f)
}

// ID is the event's id as text, as arrows and async spans carry it; empty when it has none.
func (e *Event) ID() string {
	if !e.id.ok() {
		return ""
	}
	return Text(e.id.of(e.Raw))
}

// Arg is the raw text of one member of args. The last of several wins.
func (e *Event) Arg(key string) (value []byte, ok bool) {
	e.EachArg(func(k string, v []byte) bool {
		if k == key {
			value, ok = v, true
		}
		return true
	})
	return value, ok
}

// ArgInt is a whole-number member of args, also where it was written as a string.
func (e *Event) ArgInt(key string) (int64, bool) {
	raw, ok := e.Arg(key)
	if !ok {
		return 0, false
	}
	return Integer(raw)
}

// ArgString is a member of args as text: a string unescaped, anything else as written.
func (e *Event) ArgString(key string) (string, bool) {
	raw, ok := e.Arg(key)
	if !ok {
		return "", false
	}
	return Text(raw), true
}

// An ID is what a trace puts into pid and tid: mostly a number, sometimes a name. A
// number written as a string is a number. IDs can be compared with ==.
type ID struct {
	N    int64
	S    string
	Text bool // S counts, even when empty
}

// Num is the ID of a number.
func Num(n int64) ID { return ID{N: n} }

// Str is the ID of a name.
func Str(s string) ID { return ID{S: s, Text: true} }

// String is the ID as people read it.
func (id ID) String() string {
	if id.Text {
		return id.S
	}
	return itoa(id.N)
}

// Compare orders numbers before names.
func (id ID) Compare(other ID) int {
	switch {
	case id.Text != other.Text:
		if other.Text {
			return -1
		}
		return 1
	case id.Text && id.S != other.S:
		if id.S < other.S {
			return -1
		}
		return 1
	case id.N < other.N:
		return -1
	case id.N > other.N:
		return 1
	}
	return 0
}
