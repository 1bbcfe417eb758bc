package trace

import (
	"bytes"
	"slices"
)

// An edit replaces a stretch of an event's text.
type edit struct {
	at   span
	text []byte
}

// An editor rewrites parts of events and leaves the rest of their text alone.
type editor struct {
	names *Names
	fixed []byte
	again Event
	edits []edit
	out   []byte
}

// strict is the event as strict JSON: itself, or read again after repair. It is false
// when the text is beyond repair.
func (e *editor) strict(ev *Event) (*Event, bool) {
	if ev.Strict {
		return ev, true
	}
	fixed, ok := AppendStrict(e.fixed[:0], ev.Raw)
	e.fixed = fixed
	if e.names == nil {
		e.names = NewNames()
	}
	w := walker{names: e.names}
	if !ok || w.event(fixed, 0, &e.again) < 0 {
		return nil, false
	}
	return &e.again, true
}

// replace notes an edit; a part that the event does not have is left out.
func (e *editor) replace(at span, text []byte) {
	if at.ok() {
		e.edits = append(e.edits, edit{at, text})
	}
}

// arg adds a member to args, which it makes if there are none.
func (e *editor) arg(ev *Event, key string, value []byte) {
	member := AppendString(nil, key)
	member = append(member, ": "...)
	member = append(member, value...)
	if !ev.args.ok() {
		end := len(ev.Raw) - 1
		text := append([]byte(`, "args": {`), member...)
		e.edits = append(e.edits, edit{span{end, end}, append(text, '}')})
		return
	}
	at := ev.args.from + 1
	if len(bytes.TrimSpace(ev.Raw[at:ev.args.to-1])) > 0 {
		member = append(member, ", "...)
	}
	e.edits = append(e.edits, edit{span{at, at}, member})
}

// apply is the event's text with the edits, valid until the next call.
func (e *editor) apply(ev *Event) []byte {
	slices.SortStableFunc(e.edits, func(a, b edit) int { return a.at.from - b.at.from })
	e.out = e.out[:0]
	from := 0
	for _, d := range e.edits {
		e.out = append(e.out, ev.Raw[from:d.at.from]...)
		e.out = append(e.out, d.text...)
		from = d.at.to
	}
	e.out = append(e.out, ev.Raw[from:]...)
	e.edits = e.edits[:0]
	return e.out
}
