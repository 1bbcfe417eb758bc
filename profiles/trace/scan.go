package trace

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Results of walking a value. A position below zero is one of these.
const (
	needMore = -1 // the text ends inside the value
	isBad    = -2 // not JSON, or only after repair
)

// maxDepth bounds nesting; Perfetto and most readers give up at the same depth.
const maxDepth = 512

// space holds the blanks of JSON.
var space = [256]bool{' ': true, '\t': true, '\n': true, '\r': true}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// What a string holds beside plain ASCII.
const (
	hasEscape  = 1 << iota
	hasControl // a raw control character, which strict JSON forbids
	hasHigh    // bytes of multi-byte UTF-8
	hasOddity  // an escape that JSON does not know
)

// scanString finds the closing quote of a string; i is right after the opening one.
func scanString(buf []byte, i int) (end int, flags uint8) {
	n := len(buf)
	for {
		for i+8 <= n {
			w := binary.LittleEndian.Uint64(buf[i:])
			q := w ^ (ones * '"')
			e := w ^ (ones * '\\')
			m := ((q-ones)&^q | (e-ones)&^e | (w-ones*0x20)&^w | w) & highs
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= n {
			return needMore, flags
		}
		switch c := buf[i]; {
		case c == '"':
			return i, flags
		case c == '\\':
			flags |= hasEscape
			if i+1 >= n {
				return needMore, flags
			}
			switch buf[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+6 > n {
					return needMore, flags
				}
				for _, h := range buf[i+2 : i+6] {
					if !isHex(h) {
						flags |= hasOddity
					}
				}
			default:
				flags |= hasOddity
			}
			i += 2
		case c < ' ':
			flags |= hasControl
			i++
		case c >= 0x80:
			flags |= hasHigh
			i++
		default: // only reached within the last seven bytes
			i++
		}
	}
}

// strictString says whether a string with these flags is valid JSON.
func strictString(s []byte, flags uint8) bool {
	return flags&(hasControl|hasOddity) == 0 && (flags&hasHigh == 0 || utf8.Valid(s))
}

// skipValue walks over one value that starts at i. It tolerates trailing commas, bare
// words such as NaN and odd numbers, and then reports that the text is not strict.
func skipValue(buf []byte, i, depth int) (end int, strict bool) {
	if i >= len(buf) {
		return needMore, false
	}
	switch c := buf[i]; c {
	case '"':
		e, flags := scanString(buf, i+1)
		if e < 0 {
			return e, false
		}
		return e + 1, flags&^hasEscape == 0 || strictString(buf[i+1:e], flags)
	case '{', '[':
		if depth >= maxDepth {
			return isBad, false
		}
		return skipNest(buf, i+1, c, depth+1)
	default:
		return skipBare(buf, i)
	}
}

func skipNest(buf []byte, i int, opened byte, depth int) (end int, strict bool) {
	n := len(buf)
	strict = true
	closer := opened + 2 // both pairs are two apart
	wantValue := false   // a comma was read
	for first := true; ; first = false {
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore, false
		}
		if buf[i] == closer {
			return i + 1, strict && !wantValue
		}
		if !first && !wantValue {
			return isBad, false
		}
		if opened == '{' {
			if buf[i] != '"' {
				return isBad, false
			}
			e, flags := scanString(buf, i+1)
			if e < 0 {
				return e, false
			}
			if flags&^hasEscape != 0 && !strictString(buf[i+1:e], flags) {
				strict = false
			}
			i = e + 1
			for i < n && space[buf[i]] {
				i++
			}
			if i >= n {
				return needMore, false
			}
			if buf[i] != ':' {
				return isBad, false
			}
			i++
			for i < n && space[buf[i]] {
				i++
			}
		}
		e, ok := skipValue(buf, i, depth)
		if e < 0 {
			return e, false
		}
		strict = strict && ok
		i = e
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore, false
		}
		wantValue = buf[i] == ','
		if wantValue {
			i++
		}
	}
}

// skipBare walks over a number or a word. It needs one byte more than the word, to know
// that it ended.
func skipBare(buf []byte, i int) (end int, strict bool) {
	start := i
	for i < len(buf) && isBare(buf[i]) {
		i++
	}
	if i == len(buf) {
		return needMore, false
	}
	if i == start {
		return isBad, false
	}
	word := buf[start:i]
	if isNumber(word) {
		return i, true
	}
	switch string(word) {
	case "true", "false", "null":
		return i, true
	case "NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "-nan", "-NaN", "None", "True", "False", "undefined":
		return i, false
	}
	if c := word[0]; c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' {
		return i, false
	}
	return isBad, false
}

func isBare(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' || c == '+'
}

// isNumber is the number grammar of JSON.
func isNumber(b []byte) bool {
	i, n := 0, len(b)
	if i < n && b[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < n && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < n && b[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < n && b[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < n && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < n && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == n
}

// scanTime reads a plain number of microseconds with at most three decimals, the form
// profilers write. Anything else is left to Nanoseconds.
func scanTime(buf []byte, i int) (ns int64, end int, ok bool) {
	start := i
	var u int64
	for i < len(buf) && buf[i]-'0' <= 9 {
		u = u*10 + int64(buf[i]-'0')
		i++
	}
	if i == start || i-start > 16 || u > 9e15 || i == len(buf) {
		return 0, 0, false
	}
	scale := int64(1000)
	if buf[i] == '.' {
		i++
		for i < len(buf) && buf[i]-'0' <= 9 {
			if scale == 1 {
				return 0, 0, false
			}
			u = u*10 + int64(buf[i]-'0')
			scale /= 10
			i++
		}
		if i == len(buf) || scale == 1000 {
			return 0, 0, false
		}
	}
	if isBare(buf[i]) || buf[start] == '0' && i-start > 1 && buf[start+1] != '.' {
		return 0, 0, false
	}
	return u * scale, i, true
}

// scanInteger reads a plain whole number of at most 18 digits.
func scanInteger(buf []byte, i int) (v int64, end int, ok bool) {
	start := i
	negative := i < len(buf) && buf[i] == '-'
	if negative {
		i++
	}
	first := i
	for i < len(buf) && buf[i]-'0' <= 9 {
		v = v*10 + int64(buf[i]-'0')
		i++
	}
	if i == first || i-start > 18 || i == len(buf) || isBare(buf[i]) || buf[first] == '0' && i-first > 1 {
		return 0, 0, false
	}
	if negative {
		v = -v
	}
	return v, i, true
}

// A walker takes one event apart.
type walker struct {
	names *Names
	text  []byte // unescaped names

	lastCat   []byte // categories come in runs
	lastCatID uint32
}

// event reads the event whose { is at i into ev. On success ev.Raw is a slice of buf.
func (w *walker) event(buf []byte, i int, ev *Event) (end int) {
	n := len(buf)
	start := i
	*ev = Event{Strict: true}
	i++
	wantMember := false
	for first := true; ; first = false {
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		if buf[i] == '}' {
			if wantMember {
				ev.Strict = false
			}
			i++
			ev.Raw = buf[start:i:i]
			return i
		}
		if !first && !wantMember || buf[i] != '"' {
			return isBad
		}
		keyFrom := i + 1
		keyTo, flags := scanString(buf, keyFrom)
		if keyTo < 0 {
			return keyTo
		}
		if flags != 0 && !strictString(buf[keyFrom:keyTo], flags) {
			ev.Strict = false
		}
		i = keyTo + 1
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		if buf[i] != ':' {
			return isBad
		}
		i++
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		i = w.member(buf, i, start, buf[keyFrom:keyTo], ev)
		if i < 0 {
			return i
		}
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		wantMember = buf[i] == ','
		if wantMember {
			i++
		}
	}
}

// member reads the value at i that belongs to key.
func (w *walker) member(buf []byte, i, start int, key []byte, ev *Event) (end int) {
	switch string(key) {
	case "ph":
		s, end, ok := w.string(buf, i, ev)
		if ok && len(s) > 0 {
			ev.Phase = s[0]
		}
		return end
	case "cat":
		s, end, ok := w.string(buf, i, ev)
		if ok {
			if !bytes.Equal(s, w.lastCat) {
				w.lastCatID = w.names.intern(s)
				w.lastCat = append(w.lastCat[:0], s...)
			}
			ev.CatID = w.lastCatID
			ev.Cat = w.names.text[ev.CatID]
		}
		return end
	case "name":
		s, end, ok := w.string(buf, i, ev)
		if ok {
			ev.NameID = w.names.intern(s)
			ev.Name = w.names.text[ev.NameID]
			ev.name = span{i - start, end - start}
		}
		return end
	case "ts":
		ns, end, ok := w.time(buf, i, ev)
		if ok {
			ev.TS, ev.HasTS = ns, true
			ev.ts = span{i - start, end - start}
		}
		return end
	case "dur":
		ns, end, ok := w.time(buf, i, ev)
		if ok {
			ev.Dur, ev.HasDur = ns, true
			ev.dur = span{i - start, end - start}
		}
		return end
	case "pid":
		id, end, ok := w.id(buf, i, ev)
		if ok {
			ev.PID = id
			ev.pid = span{i - start, end - start}
		}
		return end
	case "tid":
		id, end, ok := w.id(buf, i, ev)
		if ok {
			ev.TID = id
			ev.tid = span{i - start, end - start}
		}
		return end
	case "id":
		end, strict := skipValue(buf, i, 1)
		if end > 0 {
			ev.HasID = true
			ev.id = span{i - start, end - start}
			ev.Strict = ev.Strict && strict
		}
		return end
	case "args":
		if buf[i] == '{' {
			return w.args(buf, i, start, ev)
		}
	}
	end, strict := skipValue(buf, i, 1)
	ev.Strict = ev.Strict && strict
	return end
}

// string reads a string value, unescaped, or a bare word that repair makes one of. Another
// kind of value is walked over.
func (w *walker) string(buf []byte, i int, ev *Event) (s []byte, end int, ok bool) {
	if buf[i] != '"' {
		end, strict := skipValue(buf, i, 1)
		ev.Strict = ev.Strict && strict
		if end > 0 && !strict && isLikeNumber(buf[i:end]) {
			return buf[i:end], end, true
		}
		return nil, end, false
	}
	e, flags := scanString(buf, i+1)
	if e < 0 {
		return nil, e, false
	}
	s = buf[i+1 : e]
	if flags != 0 {
		if !strictString(s, flags) {
			ev.Strict = false
		}
		if flags&hasEscape != 0 || flags&hasHigh != 0 && !ev.Strict {
			w.text = appendUnescaped(w.text[:0], s)
			s = w.text
		}
	}
	return s, e + 1, true
}

func (w *walker) time(buf []byte, i int, ev *Event) (ns int64, end int, ok bool) {
	if ns, end, ok = scanTime(buf, i); ok {
		return ns, end, true
	}
	end, strict := skipValue(buf, i, 1)
	if end < 0 {
		return 0, end, false
	}
	ev.Strict = ev.Strict && strict
	if c := buf[i]; c == '{' || c == '[' {
		return 0, end, false
	}
	ns, ok = Nanoseconds(buf[i:end])
	return ns, end, ok
}

func (w *walker) integer(buf []byte, i int, ev *Event) (v int64, end int, ok bool) {
	if v, end, ok = scanInteger(buf, i); ok {
		return v, end, true
	}
	end, strict := skipValue(buf, i, 2)
	if end < 0 {
		return 0, end, false
	}
	ev.Strict = ev.Strict && strict
	if c := buf[i]; c == '{' || c == '[' {
		return 0, end, false
	}
	v, ok = Integer(buf[i:end])
	return v, end, ok
}

func (w *walker) id(buf []byte, i int, ev *Event) (id ID, end int, ok bool) {
	if v, end, ok := scanInteger(buf, i); ok {
		return ID{N: v}, end, true
	}
	if s, end, ok := w.string(buf, i, ev); ok {
		if v, isNum := decimal(s, 0); isNum && isNumber(s) {
			return ID{N: v}, end, true
		}
		return ID{S: w.names.text[w.names.intern(s)], Text: true}, end, true
	}
	v, end, ok := w.integer(buf, i, ev)
	return ID{N: v}, end, ok
}

// args reads the members of args that most analyses need.
func (w *walker) args(buf []byte, i, start int, ev *Event) (end int) {
	n := len(buf)
	from := i
	i++
	wantMember := false
	for first := true; ; first = false {
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		if buf[i] == '}' {
			if wantMember {
				ev.Strict = false
			}
			i++
			ev.args = span{from - start, i - start}
			return i
		}
		if !first && !wantMember || buf[i] != '"' {
			return isBad
		}
		keyFrom := i + 1
		keyTo, flags := scanString(buf, keyFrom)
		if keyTo < 0 {
			return keyTo
		}
		key := buf[keyFrom:keyTo]
		if flags != 0 && !strictString(key, flags) {
			ev.Strict = false
		}
		i = keyTo + 1
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		if buf[i] != ':' {
			return isBad
		}
		i++
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		var v int64
		var ok bool
		switch string(key) {
		case "correlation":
			at := i
			if v, i, ok = w.integer(buf, i, ev); ok {
				ev.Correlation, ev.HasCorrelation = v, true
				ev.corr = span{at - start, i - start}
			}
		case "External id", "external id":
			if v, i, ok = w.integer(buf, i, ev); ok {
				ev.External, ev.HasExternal = v, true
			}
		case "stream":
			if v, i, ok = w.integer(buf, i, ev); ok {
				ev.Stream, ev.HasStream = v, true
			}
		case "device":
			if v, i, ok = w.integer(buf, i, ev); ok {
				ev.Device, ev.HasDevice = v, true
			}
		case "bytes":
			if v, i, ok = w.integer(buf, i, ev); ok {
				ev.Bytes, ev.HasBytes = v, true
			}
		default:
			ev.HasCollective = ev.HasCollective || string(key) == "Collective name"
			var strict bool
			i, strict = skipValue(buf, i, 2)
			ev.Strict = ev.Strict && strict
		}
		if i < 0 {
			return i
		}
		for i < n && space[buf[i]] {
			i++
		}
		if i >= n {
			return needMore
		}
		wantMember = buf[i] == ','
		if wantMember {
			i++
		}
	}
}

// eachMember walks the members of an object that skipValue accepted.
func eachMember(raw []byte, f func(key string, value []byte) bool) {
	i := 1
	for {
		for i < len(raw) && (raw[i] <= ' ' || raw[i] == ',') {
			i++
		}
		if i >= len(raw) || raw[i] != '"' {
			return
		}
		from := i + 1
		to, flags := scanString(raw, from)
		if to < 0 {
			return
		}
		key := string(raw[from:to])
		if flags&hasEscape != 0 {
			key = string(appendUnescaped(nil, raw[from:to]))
		}
		i = to + 1
		for i < len(raw) && (raw[i] <= ' ' || raw[i] == ':') {
			i++
		}
		end, _ := skipValue(raw, i, 0)
		if end < 0 {
			return
		}
		if !f(key, raw[i:end]) {
			return
		}
		i = end
	}
}

// EachMember calls f with each member of a JSON object, until it returns false.
func EachMember(raw []byte, f func(key string, value []byte) bool) {
	if len(raw) > 0 && raw[0] == '{' {
		eachMember(raw, f)
	}
}

// Text is a JSON value as text: a string unescaped, anything else as written.
func Text(raw []byte) string {
	if len(raw) >= 2 && raw[0] == '"' {
		return string(appendUnescaped(nil, raw[1:len(raw)-1]))
	}
	return string(raw)
}
