package trace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Cut says which part of a trace to keep.
type Cut struct {
	// Start and End are times of the file's clock: what touches [Start, End) is kept.
	Start, End int64
	// Clip cuts slices that reach over the edges there, and marks them with the argument
	// clipped; otherwise they are kept whole.
	Clip bool
	// Calls keeps the API calls that launched kept device work even where they lie
	// before Start: arrows need them, and so does the question why a device was idle.
	Calls bool
	// Note is put into the metadata beside the cut itself.
	Note string
}

// A SliceResult says what Slice kept.
type SliceResult struct {
	Read, Kept, Clipped int64
	Meta                Meta
}

// Slice writes the part of the trace at src that a cut keeps to dst. Metadata stay; of
// begin and end rows the stack open at the start is opened there and what is open at the
// end is closed there; counters repeat their last value at the start; arrows stay when
// both ends do. Figures of a slice are not those of the trace: device work that was
// launched before it is missing.
func Slice(dst, src string, cut Cut) (SliceResult, error) {
	if cut.End <= cut.Start {
		return SliceResult{}, fmt.Errorf("%s: the window from %s to %s us is empty", src, AppendTime(nil, cut.Start), AppendTime(nil, cut.End))
	}
	s := &slicer{Cut: cut, kept: map[int64]bool{}, flows: map[flowKey]uint8{}, threads: map[threadKey]*openStack{}, counters: map[counterKey][]byte{}}
	meta, err := ReadFile(src, s.look)
	if err != nil {
		return SliceResult{}, err
	}
	w, err := Create(dst)
	if err != nil {
		return SliceResult{}, err
	}
	s.w = w
	note := map[string]any{"from_us": json.RawMessage(AppendTime(nil, cut.Start)), "to_us": json.RawMessage(AppendTime(nil, cut.End)), "source": meta.Name, "clipped": cut.Clip, "source_events": meta.Events}
	if cut.Note != "" {
		note["note"] = cut.Note
	}
	writeHead(w, &meta, "servebench_slice", note)
	meta, err = ReadFile(src, s.write)
	if err == nil {
		s.finish()
		err = w.Close()
	} else {
		w.Abort()
	}
	return SliceResult{Read: meta.Events, Kept: w.Events(), Clipped: s.clipped, Meta: meta}, err
}

// writeHead writes a file's top-level keys again, with a note in its metadata.
func writeHead(w *Writer, meta *Meta, key string, note any) {
	metadata := map[string]any{}
	for _, k := range meta.Keys {
		if k.Value == nil {
			continue
		}
		fixed, ok := AppendStrict(nil, k.Value)
		if !ok {
			continue
		}
		switch k.Name {
		case "metadata":
			EachMember(fixed, func(key string, value []byte) bool {
				metadata[key] = json.RawMessage(value)
				return true
			})
			if fixed[0] != '{' {
				metadata["metadata"] = json.RawMessage(fixed)
			}
		case "traceEvents":
		default:
			w.Key(k.Name, json.RawMessage(fixed))
		}
	}
	metadata[key] = note
	w.Key("metadata", metadata)
}

type flowKey struct {
	cat, name uint32
	id        string
}

type threadKey struct{ pid, tid ID }

type counterKey struct {
	pid  ID
	name string
}

// An openStack is the begin rows of a thread that have not ended.
type openStack struct {
	open   []string // their text
	names  []string
	opened bool // the window has begun on this thread
	closed bool // and ended
}

type slicer struct {
	Cut
	editor
	w        *Writer
	kept     map[int64]bool // correlations of kept device rows
	flows    map[flowKey]uint8
	threads  map[threadKey]*openStack
	order    []threadKey
	counters map[counterKey][]byte
	clipped  int64
}

// The two ends of an arrow.
const (
	flowFrom uint8 = 1 << iota
	flowTo
)

func isDeviceRow(ev *Event) bool {
	switch len(ev.Cat) {
	case len("kernel"), len("gpu_memcpy"), len("mtia_ccp_events"): // memcpy and memset are as long
	default:
		return false
	}
	switch strings.ToLower(ev.Cat) {
	case "kernel", "gpu_memcpy", "gpu_memset", "memcpy", "memset", "mtia_ccp_events":
		return true
	}
	return false
}

func isCallRow(ev *Event) bool {
	switch strings.ToLower(ev.Cat) {
	case "cuda_runtime", "cuda_driver", "runtime", "mtia_runtime", "xpu_runtime", "xpu_driver":
		return true
	}
	return false
}

func (s *slicer) touches(ev *Event) bool {
	if ev.Dur <= 0 {
		return ev.TS >= s.Start && ev.TS < s.End
	}
	return ev.TS < s.End && ev.End() > s.Start
}

func (s *slicer) inside(ev *Event) bool { return ev.TS >= s.Start && ev.TS < s.End }

func (s *slicer) key(ev *Event) flowKey {
	return flowKey{ev.CatID, ev.NameID, strings.Trim(string(ev.id.of(ev.Raw)), `"`)}
}

// look is the first pass: which correlations and arrows survive.
func (s *slicer) look(ev *Event) error {
	switch ev.Phase {
	case 'X':
		if s.Calls && isDeviceRow(ev) && ev.HasCorrelation && ev.HasTS && s.touches(ev) {
			s.kept[ev.Correlation] = true
		}
	case 's', 't', 'f':
		if !ev.id.ok() || !ev.HasTS {
			return nil
		}
		// An arrow from a call before the window survives with its call; whether it does is
		// known only after the pass, so it is asked again then.
		if s.inside(ev) {
			s.flows[s.key(ev)] |= flowSide(ev)
		}
	}
	return nil
}

func flowSide(ev *Event) uint8 {
	if ev.Phase == 's' {
		return flowFrom
	}
	return flowTo
}

// flowSurvives says whether both ends of the arrow do.
func (s *slicer) flowSurvives(ev *Event) bool {
	if !ev.id.ok() || !ev.HasTS {
		return false
	}
	sides := s.flows[s.key(ev)]
	launched := false
	if s.Calls {
		if id, ok := Integer(ev.id.of(ev.Raw)); ok && (ev.Cat == "ac2g" || strings.HasPrefix(ev.Cat, "async")) {
			launched = s.kept[id]
		}
	}
	if launched {
		sides |= flowFrom
	}
	return sides == flowFrom|flowTo && (s.inside(ev) || launched && ev.Phase == 's')
}

func (s *slicer) write(ev *Event) error {
	switch ev.Phase {
	case 'M':
		s.emit(ev)
	case 'X':
		s.slice(ev)
	case 'B', 'E':
		s.half(ev)
	case 's', 't', 'f':
		if s.flowSurvives(ev) {
			s.emit(ev)
		}
	case 'C':
		if !ev.HasTS {
			return nil
		}
		if ev.TS < s.Start {
			if strict, ok := s.strict(ev); ok {
				s.replace(strict.ts, AppendTime(nil, s.Start))
				s.counters[counterKey{ev.PID, ev.Name}] = append([]byte(nil), s.apply(strict)...)
			}
			return nil
		}
		if s.inside(ev) {
			s.emit(ev)
		}
	default:
		if ev.HasTS && s.inside(ev) {
			s.emit(ev)
		}
	}
	return s.w.err
}

func (s *slicer) emit(ev *Event) {
	if strict, ok := s.strict(ev); ok {
		s.w.Raw(strict.Raw, true)
	}
}

func (s *slicer) slice(ev *Event) {
	if !ev.HasTS || !ev.HasDur {
		return
	}
	if !s.touches(ev) {
		if s.Calls && ev.HasCorrelation && ev.TS < s.Start && s.kept[ev.Correlation] && isCallRow(ev) {
			s.emit(ev)
		}
		return
	}
	over := ev.TS < s.Start || ev.End() > s.End
	// The recorded window itself always shrinks to what is left of it.
	if !over || !s.Clip && ev.Cat != "Trace" {
		s.emit(ev)
		return
	}
	strict, ok := s.strict(ev)
	if !ok {
		return
	}
	from, to := max(ev.TS, s.Start), min(ev.End(), s.End)
	s.replace(strict.ts, AppendTime(nil, from))
	s.replace(strict.dur, AppendTime(nil, to-from))
	s.arg(strict, "clipped", []byte("true"))
	s.w.Raw(s.apply(strict), true)
	s.clipped++
}

func (s *slicer) stack(ev *Event) *openStack {
	key := threadKey{ev.PID, ev.TID}
	st := s.threads[key]
	if st == nil {
		st = &openStack{}
		s.threads[key] = st
		s.order = append(s.order, key)
	}
	return st
}

// half takes a begin or an end row.
func (s *slicer) half(ev *Event) {
	strict, ok := s.strict(ev)
	if !ok || !ev.HasTS {
		return
	}
	st := s.stack(ev)
	if ev.TS >= s.Start && !st.opened {
		s.open(st)
	}
	if ev.TS >= s.End {
		s.shut(st, threadKey{ev.PID, ev.TID})
		return
	}
	if ev.Phase == 'B' {
		s.replace(strict.ts, AppendTime(nil, s.Start))
		st.open = append(st.open, string(s.apply(strict)))
		st.names = append(st.names, ev.Name)
	} else {
		n := len(st.open) - 1
		for n >= 0 && ev.Name != "" && st.names[n] != ev.Name {
			n--
		}
		if n < 0 {
			return // it began before the file
		}
		st.open, st.names = st.open[:n], st.names[:n]
	}
	if st.opened {
		s.w.Raw(strict.Raw, true)
	}
}

// open begins the window on a thread: what runs then begins again.
func (s *slicer) open(st *openStack) {
	st.opened = true
	for _, text := range st.open {
		s.w.Raw([]byte(text), true)
	}
}

// shut ends the window on a thread: what still runs ends there.
func (s *slicer) shut(st *openStack, key threadKey) {
	if st.closed {
		return
	}
	if !st.opened {
		s.open(st)
	}
	st.closed = true
	for i := len(st.names) - 1; i >= 0; i-- {
		s.w.Row(&Row{Phase: 'E', Name: st.names[i], PID: key.pid, TID: key.tid, TS: s.End})
	}
}

func (s *slicer) finish() {
	for _, key := range s.order {
		s.shut(s.threads[key], key)
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.counters), func(a, b counterKey) int {
		return cmp.Or(a.pid.Compare(b.pid), strings.Compare(a.name, b.name))
	}) {
		s.w.Raw(s.counters[key], true)
	}
}
