package breakdown

import (
	"strconv"
	"strings"

	"servebench/profiles/trace"
)

// Kinds of calls in the Gaudi bridge's and Synapse's logs from which the device's work
// can be inferred when the device itself was not traced.
const (
	gaudiNone   uint8 = iota
	gaudiLaunch       // work is handed to the device
	gaudiCopy
	gaudiRecord // an event is put behind the work
	gaudiWait   // the host waits for that event
)

func gaudiKind(name string) uint8 {
	if !strings.Contains(name, "syn") && !strings.Contains(name, "enqueueWithExternalEvents") {
		return gaudiNone
	}
	switch {
	case strings.Contains(name, "synLaunch"), strings.Contains(name, "enqueueWithExternalEvents"):
		return gaudiLaunch
	case strings.Contains(name, "synMemCopyAsync"):
		return gaudiCopy
	case strings.Contains(name, "synEventRecord"):
		return gaudiRecord
	case strings.Contains(name, "synEventSynchronize"):
		return gaudiWait
	}
	return gaudiNone
}

// gaudiArgs are the handles a call names.
type gaudiArgs struct {
	event, stream, streamName string
}

// A gaudiCall is one such call.
type gaudiCall struct {
	start, end int64
	kind       uint8
	thread     uint32
	name       uint32
	args       gaudiArgs
}

// A gaudiLog is the calls of one file.
type gaudiLog struct{ calls []gaudiCall }

func (g *gaudiLog) args(ev *trace.Event) (a gaudiArgs) {
	if !strings.Contains(ev.Name, "syn") {
		return a
	}
	ev.EachArg(func(key string, value []byte) bool {
		switch key {
		case "eventHandle":
			a.event = trace.Text(value)
		case "streamHandle":
			a.stream = trace.Text(value)
		case "streamName":
			a.streamName = trace.Text(value)
		}
		return true
	})
	return a
}

func (g *gaudiLog) slice(c *contents, ev *trace.Event) {
	if kind := c.lex.info(ev.NameID).gaudi; kind != gaudiNone {
		g.calls = append(g.calls, gaudiCall{ev.TS, ev.End(), kind, c.thread(ev.PID, ev.TID), ev.NameID, g.args(ev)})
	}
}

func (g *gaudiLog) pair(c *contents, row openRow, end int64, thread uint32) {
	if kind := c.lex.info(row.name).gaudi; kind != gaudiNone {
		g.calls = append(g.calls, gaudiCall{row.start, end, kind, thread, row.name, row.args})
	}
}

// isEngineRow says whether a row without a category is one of vLLM's own on Gaudi.
func isEngineRow(ev *trace.Event) bool {
	return !ev.TID.Text && ev.TID.N >= 1 && ev.TID.N <= 3
}

// engine takes a row of vLLM's own on Gaudi.
func (c *contents) engine(ev *trace.Event) error {
	thread := c.thread(ev.PID, ev.TID)
	if c.engineRows == nil {
		c.engineRows = map[uint32]bool{}
	}
	c.engineRows[thread] = true
	m := mark{start: ev.TS, end: ev.End(), thread: thread, name: ev.NameID}
	switch name := ev.Name; {
	case name == "prefill" || name == "prompt" || name == "decode":
		c.steps[ruleGaudi] = append(c.steps[ruleGaudi], m)
	case strings.HasPrefix(name, "model_"):
		c.forwards = append(c.forwards, m)
		c.preparing = append(c.preparing, span{m.start, m.end})
	case strings.HasPrefix(name, "prepare_input"), strings.HasPrefix(name, "compute_logits"), name == "sampler":
		c.preparing = append(c.preparing, span{m.start, m.end})
	case name == "sampler_postprocessing":
		c.blocked = append(c.blocked, span{m.start, m.end})
	}
	if info := c.lex.info(ev.NameID); info.compile != "" {
		m.kind = info.compile
		c.compiles = append(c.compiles, m)
	}
	return c.hosts.add(thread, hostRow{ev.TS, ev.Dur, ev.NameID, c.lex.class("engine")})
}

// counter keeps a counter event of vLLM's own on Gaudi.
func (c *contents) counter(ev *trace.Event) {
	row := counterRow{ts: ev.TS, pid: ev.PID}
	ev.EachArg(func(key string, value []byte) bool {
		if v, err := strconv.ParseFloat(strings.Trim(string(value), `"`), 64); err == nil {
			if row.values == nil {
				row.values = map[string]float64{}
			}
			row.values[key] = v
		}
		return true
	})
	if row.values != nil {
		c.counters = append(c.counters, row)
	}
}

// Process ids of the bridge's and Synapse's logs count from the process's own.
const (
	synapseLogPID = 10_000
	bridgeLogPID  = 20_000
)

// sameThreads joins what a Gaudi trace shows as different threads and is one: the logs of
// Synapse and of the bridge stand under process ids of their own, with the thread ids of the
// system, and vLLM's own rows on small made-up threads.
func (c *contents) sameThreads() {
	c.alias = make([]uint32, len(c.threads))
	for i := range c.alias {
		c.alias[i] = uint32(i)
	}
	join := func(i int, pid, tid int64) {
		if to, ok := c.threadOf[threadID{trace.Num(pid), trace.Num(tid)}]; ok && c.alias[to] == to {
			c.alias[i] = to
		}
	}
	for i, t := range c.threads {
		if t.pid.Text || t.tid.Text {
			continue
		}
		name := ""
		if p := c.meta.Processes[t.pid]; p != nil {
			name = p.Name
		}
		switch {
		case strings.Contains(name, "Synapse Logger"):
			join(i, t.pid.N-synapseLogPID, t.tid.N)
		case strings.Contains(name, "Bridge Logs"):
			join(i, t.pid.N-bridgeLogPID, t.tid.N)
		case t.tid.N >= 1 && t.tid.N <= 3 && c.engineRows[uint32(i)]:
			// The engine runs on the process's main thread.
			pid := t.pid.N
			if pid == 1 {
				pid = c.onlyProcess()
			}
			join(i, pid, pid)
		}
	}
}

// onlyProcess is the process with operators or Python rows, if there is just one; else 0.
func (c *contents) onlyProcess() int64 {
	only := int64(0)
	for id, t := range c.threads {
		if id >= len(c.hosts.threads) || c.hosts.threads[id].total == 0 || t.pid.Text || t.tid != t.pid || t.pid.N <= 3 {
			continue
		}
		if only != 0 && only != t.pid.N {
			return 0
		}
		only = t.pid.N
	}
	return only
}

// real is the thread that a thread is.
func (c *contents) real(thread uint32) uint32 {
	if int(thread) < len(c.alias) {
		return c.alias[thread]
	}
	return thread
}
