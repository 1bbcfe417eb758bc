package trace

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// thinLevels are what Thin takes away, one after the other, each on top of the ones
// before it.
var thinLevels = []struct {
	name   string
	change func(*thinner)
}{
	{"nothing", func(*thinner) {}},
	{"spaces, and arguments other than links, streams and sizes", func(t *thinner) { t.compact = true }},
	{"logs of the Gaudi bridge and of Synapse", func(t *thinner) { t.dropLogs = true }},
	{"memory events and waits of streams", func(t *thinner) { t.dropMemory = true }},
	{"arrows", func(t *thinner) { t.dropFlows = true }},
	{"host slices shorter than 10 us", func(t *thinner) { t.shortest = 10_000 }},
	{"host slices shorter than 50 us", func(t *thinner) { t.shortest = 50_000 }},
	{"host slices shorter than 200 us", func(t *thinner) { t.shortest = 200_000 }},
	{"Python frames deeper than 12 that hold nothing else", func(t *thinner) { t.depth = 12 }},
	{"Python frames deeper than 5 that hold nothing else", func(t *thinner) { t.depth = 5 }},
	{"threads other than the engine's", func(t *thinner) { t.oneThread = true }},
	{"streams other than the busiest, and 63 of 64 lanes of Gaudi's TPC", func(t *thinner) { t.oneStream = true }},
	{"the ends of long names", func(t *thinner) { t.longest = 80 }},
}

// A ThinResult says what Thin took away.
type ThinResult struct {
	Read, Kept int64
	// Bytes is the size of the file that was written.
	Bytes int64
	// Removed names what was taken away, in order; Dropped counts events by what they were.
	Removed []string
	Dropped map[string]int64
	// Reached says that the target was met. A trace that is still too large when all that
	// may go is gone is written all the same.
	Reached bool
	Meta    Meta
}

// Thin writes the trace at src to dst in at most target bytes, taking away no more than it
// has to: first what viewers do not show, last what people came to see. Device work,
// annotations, steps and compiles always stay. No figure may be worked out on the result.
func Thin(dst, src string, target int64) (ThinResult, error) {
	if target <= 0 {
		return ThinResult{}, fmt.Errorf("%s: a target of %d bytes cannot be met", src, target)
	}
	plan, err := survey(src)
	if err != nil {
		return ThinResult{}, err
	}
	// Every level is smaller than the one before, so the least that is enough is found by
	// halving: each trial is a whole pass.
	trial := func(level int) (ThinResult, error) { return plan.write(dst, level) }
	low, high := 0, len(thinLevels)-1
	best := -1
	var done ThinResult
	for low <= high {
		level := (low + high) / 2
		r, err := trial(level)
		if err != nil {
			return r, err
		}
		done, best = r, level
		if r.Bytes <= target {
			high = level - 1
		} else {
			low = level + 1
		}
	}
	final := min(low, len(thinLevels)-1)
	if best != final {
		if done, err = trial(final); err != nil {
			return done, err
		}
	}
	done.Reached = done.Bytes <= target
	if !done.Reached {
		done.Meta.Warnings = append(done.Meta.Warnings, fmt.Sprintf("all that may go is gone, but %d bytes are still above the target of %d: take a slice first", done.Bytes, target))
	}
	return done, nil
}

// A thinPlan is what is known about a trace before thinning it.
type thinPlan struct {
	src     string
	meta    Meta
	engine  threadKey
	streams map[streamKey]bool // the busiest of each device
}

type streamKey struct {
	pid    ID
	stream ID
}

// survey reads the trace once: which thread is the engine's and which streams are busiest.
func survey(src string) (*thinPlan, error) {
	p := &thinPlan{src: src, streams: map[streamKey]bool{}}
	rows := map[threadKey]int64{}
	stepped := map[threadKey]int64{}
	busy := map[streamKey]int64{}
	meta, err := ReadFile(src, func(ev *Event) error {
		if ev.Phase != 'X' {
			return nil
		}
		switch {
		case isDeviceRow(ev):
			busy[streamKey{ev.PID, ev.TID}] += ev.Dur
		case ev.Cat == "user_annotation" && isStepName(ev.Name):
			stepped[threadKey{ev.PID, ev.TID}]++
		case isHostCat(ev.Cat):
			rows[threadKey{ev.PID, ev.TID}]++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.meta = meta
	if len(stepped) == 0 {
		stepped = rows
	}
	most := int64(-1)
	for key, n := range stepped {
		if n > most || n == most && key.compare(p.engine) < 0 {
			p.engine, most = key, n
		}
	}
	best := map[ID]streamKey{}
	for key, ns := range busy {
		b, ok := best[key.pid]
		if !ok || ns > busy[b] || ns == busy[b] && key.stream.Compare(b.stream) < 0 {
			best[key.pid] = key
		}
	}
	for _, key := range best {
		p.streams[key] = true
	}
	return p, nil
}

func (k threadKey) compare(o threadKey) int {
	if c := k.pid.Compare(o.pid); c != 0 {
		return c
	}
	return k.tid.Compare(o.tid)
}

func isStepName(name string) bool {
	return strings.HasPrefix(name, "execute_") || strings.HasPrefix(name, "step[") || strings.HasPrefix(name, "ProfilerStep")
}

func isHostCat(cat string) bool {
	switch cat {
	case "cpu_op", "python_function", "cuda_runtime", "cuda_driver", "Operator", "Runtime", "hpu_op", "xpu_runtime", "xpu_driver", "mtia_runtime":
		return true
	}
	return false
}

// A thinner decides and rewrites, event by event.
type thinner struct {
	editor
	plan *thinPlan
	w    *Writer

	compact, dropLogs, dropMemory, dropFlows bool
	shortest                                 int64
	depth                                    int
	oneThread, oneStream                     bool
	longest                                  int

	deep    map[int64]bool // Python rows that lie too deep, by position in the file
	at      int64
	dropped map[string]int64
	text    []byte
}

func (p *thinPlan) write(dst string, level int) (ThinResult, error) {
	t := &thinner{plan: p, dropped: map[string]int64{}}
	var removed []string
	for i := 1; i <= level; i++ {
		thinLevels[i].change(t)
		removed = append(removed, thinLevels[i].name)
	}
	if t.depth > 0 {
		if err := t.findDeep(); err != nil {
			return ThinResult{}, err
		}
	}
	w, err := Create(dst)
	if err != nil {
		return ThinResult{}, err
	}
	t.w = w
	writeHead(w, &p.meta, "servebench_thin", map[string]any{"source": p.meta.Name, "source_events": p.meta.Events, "removed": removed})
	t.at = -1
	meta, err := ReadFile(p.src, t.event)
	if err != nil {
		w.Abort()
		return ThinResult{}, err
	}
	r := ThinResult{Read: meta.Events, Kept: w.Events(), Removed: removed, Dropped: t.dropped, Meta: meta}
	if err := w.Close(); err != nil {
		return r, err
	}
	info, err := os.Stat(dst)
	if err != nil {
		return r, err
	}
	r.Bytes = info.Size()
	return r, nil
}

func (t *thinner) event(ev *Event) error {
	t.at++
	if why := t.drop(ev); why != "" {
		t.dropped[why]++
		return nil
	}
	strict, ok := t.strict(ev)
	if !ok {
		t.dropped["damaged"]++
		return nil
	}
	switch {
	case t.compact:
		t.text = t.small(t.text[:0], strict)
		t.w.Raw(t.text, true)
	default:
		t.w.Raw(strict.Raw, true)
	}
	return t.w.err
}

// drop says why an event goes; empty when it stays.
func (t *thinner) drop(ev *Event) string {
	switch ev.Phase {
	case 'M':
		return ""
	case 's', 't', 'f':
		if t.dropFlows && ev.Cat != "client2step" {
			return "arrow"
		}
		return ""
	case 'i', 'I':
		if t.dropMemory && ev.Name == "[memory]" {
			return "memory"
		}
		return ""
	case 'B', 'E':
		if t.dropLogs {
			return "log"
		}
		return ""
	case 'X':
	default:
		return ""
	}
	if isDeviceRow(ev) {
		if t.oneStream {
			if p := t.plan.meta.Processes[ev.PID]; p != nil && strings.Contains(p.Name, "/device:HPU:") {
				if lane := p.Threads[ev.TID]; strings.Contains(lane, "TPC") && !strings.HasSuffix(lane, "TPC 0") {
					return "lane"
				}
			} else if !t.plan.streams[streamKey{ev.PID, ev.TID}] {
				return "stream"
			}
		}
		return ""
	}
	switch ev.Cat {
	case "cuda_sync", "cuda_event", "xpu_sync":
		if t.dropMemory {
			return "wait"
		}
		return ""
	case "Runtime":
		if t.dropLogs && !t.isDeviceProcess(ev.PID) && (strings.Contains(ev.Name, "syn") || strings.Contains(ev.Name, "enqueue")) {
			return "log"
		}
	}
	if !isHostCat(ev.Cat) || t.isDeviceProcess(ev.PID) || isCompileName(ev.Name) {
		return "" // annotations, steps, the client's rows, what this program does not know
	}
	switch {
	case t.oneThread && t.plan.engine != (threadKey{ev.PID, ev.TID}):
		return "thread"
	case ev.HasDur && ev.Dur < t.shortest:
		return "short"
	case t.depth > 0 && ev.Cat == "python_function" && t.deep[t.at]:
		return "deep"
	}
	return ""
}

func (t *thinner) isDeviceProcess(pid ID) bool {
	p := t.plan.meta.Processes[pid]
	return p != nil && strings.Contains(p.Name, "/device:")
}

func isCompileName(name string) bool {
	for _, part := range []string{"(dynamo_timed)", "GRAPH COMPILE", "convert_frame.py", "compile_fx.py", "GraphInstantiate", "BeginCapture", "EndCapture", "CompiledFxGraph"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// findDeep decides which Python rows lie too deep. A deep frame stays when it holds a row
// that is no Python row.
func (t *thinner) findDeep() error {
	type row struct {
		start, end int64
		at         int64
		python     bool
	}
	threads := map[threadKey][]row{}
	t.at = -1
	depth := t.depth
	t.depth = 0 // ask drop without it
	_, err := ReadFile(t.plan.src, func(ev *Event) error {
		t.at++
		if ev.Phase != 'X' || !ev.HasTS || isDeviceRow(ev) || t.drop(ev) != "" {
			return nil
		}
		python := ev.Cat == "python_function"
		if python || isHostCat(ev.Cat) || ev.Cat == "user_annotation" {
			key := threadKey{ev.PID, ev.TID}
			threads[key] = append(threads[key], row{ev.TS, ev.End(), t.at, python})
		}
		return nil
	})
	t.depth = depth
	if err != nil {
		return err
	}
	t.deep = map[int64]bool{}
	for _, rows := range threads {
		slices.SortStableFunc(rows, func(a, b row) int {
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
		var stack []row
		for _, r := range rows {
			for len(stack) > 0 && stack[len(stack)-1].end <= r.start {
				stack = stack[:len(stack)-1]
			}
			if !r.python {
				for _, outer := range stack {
					delete(t.deep, outer.at)
				}
			} else if len(stack) >= depth {
				t.deep[r.at] = true
			}
			stack = append(stack, r)
		}
	}
	return nil
}

// keptArgs are the arguments that stay when the others go.
var keptArgs = map[string]bool{
	"correlation": true, "stream": true, "device": true, "bytes": true, "External id": true, "external id": true, "clipped": true,
	"Collective name": true, "Group size": true, "In msg nelems": true, "Out msg nelems": true, "dtype": true, "Process Group Name": true, "Seq": true,
}

// small is the event without spaces and without the arguments that may go.
func (t *thinner) small(dst []byte, ev *Event) []byte {
	dst = append(dst, '{')
	first := true
	eachRawMember(ev.Raw, func(key string, rawKey, value []byte) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, rawKey...), ':')
		switch {
		case key == "args" && value[0] == '{' && t.trims(ev):
			dst = append(dst, '{')
			inner := true
			eachRawMember(value, func(key string, rawKey, value []byte) {
				if !keptArgs[key] {
					return
				}
				if !inner {
					dst = append(dst, ',')
				}
				inner = false
				dst = append(append(dst, rawKey...), ':')
				dst = appendCompact(dst, value)
			})
			dst = append(dst, '}')
		case key == "name" && t.longest > 0 && len(value) > t.longest+2:
			dst = AppendString(dst, shortened(ev.Name, t.longest))
		default:
			dst = appendCompact(dst, value)
		}
	})
	return append(dst, '}')
}

// trims says whether an event's arguments may be reduced: those of a profiler's rows, not
// those of rows that other programs added.
func (t *thinner) trims(ev *Event) bool {
	return ev.Phase == 'X' && (isHostCat(ev.Cat) || isDeviceRow(ev) || ev.Cat == "user_annotation" || ev.Cat == "gpu_user_annotation" || ev.Cat == "cuda_sync" || ev.Cat == "cuda_event" || ev.Cat == "overhead")
}

// shortened cuts a name at a rune.
func shortened(name string, n int) string {
	if len(name) <= n {
		return name
	}
	for n > 0 && name[n]&0xc0 == 0x80 {
		n--
	}
	return name[:n] + "..."
}

// eachRawMember is eachMember with the key also as JSON.
func eachRawMember(raw []byte, f func(key string, rawKey, value []byte)) {
	eachMember(raw, func(key string, value []byte) bool {
		f(key, AppendString(nil, key), value)
		return true
	})
}

// appendCompact appends a strict JSON value without the blanks between its tokens.
func appendCompact(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		switch c := value[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '"':
			end, _ := scanString(value, i+1)
			if end < 0 {
				return append(dst, value[i:]...)
			}
			dst = append(dst, value[i:end+1]...)
			i = end + 1
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}
