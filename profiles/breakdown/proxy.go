package breakdown

import (
	"slices"
	"strings"
)

// Names of Synapse's streams.
const (
	streamCompute = "COMPUTE"
	streamCopy    = "COPY"
)

// A workSpan is work that was outstanding on one of Synapse's streams.
type workSpan struct {
	span
	stream string
	thread uint32
}

// work pairs launches with the waits that ended them. A launch is followed, on its
// stream, by an event record; the next wait on that event that begins after the record
// ends when the host learns that the work is done.
func (g *gaudiLog) work() (spans []workSpan, unmatched int64) {
	calls := slices.Clone(g.calls)
	slices.SortStableFunc(calls, func(x, y gaudiCall) int { return cmpInt(x.start, y.start) })
	type pending struct {
		at     int64
		stream string
		thread uint32
	}
	type awaited struct {
		recorded int64
		launches []pending
	}
	open := map[string][]pending{} // by stream: launches without a record
	waits := map[string]*awaited{} // by event
	var order []*awaited           // records without handles, oldest first, by stream
	inOrder := map[string][]*awaited{}
	stream := func(c *gaudiCall) string {
		switch {
		case c.args.stream != "":
			return c.args.stream
		case c.args.streamName != "":
			return c.args.streamName
		}
		return "thread" // without args: pair in order
	}
	names := map[string]string{}
	for i := range calls {
		c := &calls[i]
		key := stream(c)
		if c.args.streamName != "" {
			names[key] = strings.TrimPrefix(c.args.streamName, "STREAM_TYPE_")
		}
		switch c.kind {
		case gaudiLaunch, gaudiCopy:
			if names[key] == "" {
				names[key] = streamCompute
				if c.kind == gaudiCopy {
					names[key] = streamCopy
				}
			}
			open[key] = append(open[key], pending{c.start, key, c.thread})
		case gaudiRecord:
			a := &awaited{recorded: c.start, launches: open[key]}
			delete(open, key)
			if c.args.event == "" {
				inOrder[key] = append(inOrder[key], a)
				continue
			}
			if old := waits[c.args.event]; old != nil {
				// The handle is used again before anyone waited: the later record ends the
				// earlier work, too.
				a.launches = append(old.launches, a.launches...)
			}
			waits[c.args.event] = a
		case gaudiWait:
			var a *awaited
			if c.args.event != "" {
				a = waits[c.args.event]
				if a == nil || c.start < a.recorded {
					continue
				}
				delete(waits, c.args.event)
			} else if list := inOrder[key]; len(list) > 0 {
				a, inOrder[key] = list[0], list[1:]
			} else {
				continue
			}
			for _, l := range a.launches {
				if c.end > l.at {
					spans = append(spans, workSpan{span{l.at, c.end}, names[l.stream], l.thread})
				}
			}
		}
	}
	for _, list := range open {
		unmatched += int64(len(list))
	}
	for _, a := range waits {
		unmatched += int64(len(a.launches))
	}
	for _, list := range inOrder {
		order = append(order, list...)
	}
	for _, a := range order {
		unmatched += int64(len(a.launches))
	}
	return spans, unmatched
}

// proxyFigures estimates a Gaudi device's work from the host's log, where the device was
// not traced.
func (a *analysis) proxyFigures() {
	if a.report.AllDevices != nil {
		return
	}
	out := &Proxy{Estimate: true}
	streams := map[string][]span{}
	counts := map[string]int64{}
	var blocked, preparing []span
	for _, c := range a.files {
		if len(c.gaudi.calls) == 0 && len(c.forwards) == 0 && len(c.steps[ruleGaudi]) == 0 {
			continue
		}
		spans, unmatched := c.gaudi.work()
		out.Unmatched += unmatched
		for _, s := range spans {
			out.Launches++
			streams[s.stream] = append(streams[s.stream], s.span)
			counts[s.stream]++
		}
		for _, g := range c.gaudi.calls {
			if g.kind == gaudiWait && c.isEngineThread(g.thread) {
				blocked = append(blocked, span{g.start, g.end})
			}
		}
		blocked = append(blocked, c.blocked...)
		preparing = append(preparing, c.preparing...)
	}
	if out.Launches == 0 && len(blocked) == 0 && len(preparing) == 0 {
		return
	}
	var compute []span
	low, high := int64(0), int64(0)
	for name, spans := range streams {
		u := union(spans)
		out.Streams = append(out.Streams, ProxyStream{name, counts[name], length(u)})
		if strings.Contains(name, streamCompute) {
			compute = append(compute, u...)
		}
		if low == 0 || u[0].from < low {
			low = u[0].from
		}
		high = max(high, u[len(u)-1].to)
	}
	slices.SortFunc(out.Streams, func(x, y ProxyStream) int {
		if x.Outstanding != y.Outstanding {
			return -cmpInt(x.Outstanding, y.Outstanding)
		}
		return strings.Compare(x.Stream, y.Stream)
	})
	if out.Streams == nil {
		out.Streams = []ProxyStream{}
	}
	u := union(compute)
	out.BusyMax, out.Span = length(u), high-low
	out.IdleMin = max(0, out.Span-out.BusyMax)
	stuck := union(blocked)
	busy := union(preparing)
	out.Blocked = length(stuck)
	out.Preparing = length(busy) - overlap(busy, stuck)
	rest := a.window.to - a.window.from - length(union(append(slices.Clone(stuck), busy...)))
	out.Other = ptr(max(0, rest))
	a.report.Proxy = out
	a.warn("the device was not traced: device_estimate is inferred from the host's calls, busy an upper and idle a lower bound")
}

// isEngineThread says whether steps run on a thread; where none are known, every thread may.
func (c *contents) isEngineThread(thread uint32) bool {
	engine, ok := c.engineThread()
	return len(c.stepList) == 0 || !ok || c.real(thread) == engine
}

// proxyQuestions are the stretches in which nothing was outstanding on the compute
// stream: up to the next launch, on its thread.
func (c *contents) proxyQuestions(into *attribution) map[uint32][]question {
	spans, _ := c.gaudi.work()
	var compute []span
	next := map[int64]uint32{} // who launched at a moment
	for _, s := range spans {
		if strings.Contains(s.stream, streamCompute) {
			compute = append(compute, s.span)
			next[s.from] = s.thread
		}
	}
	out := map[uint32][]question{}
	u := union(compute)
	for i := 1; i < len(u); i++ {
		thread := c.real(next[u[i].from])
		out[thread] = append(out[thread], question{u[i-1].to, u[i].from, into})
		into.asked += u[i].from - u[i-1].to
	}
	return out
}

// proxyGaps reports what the host did while nothing was outstanding.
func (a *analysis) proxyGaps(late *attribution) {
	if a.report.Proxy == nil || late.asked == 0 {
		return
	}
	a.report.Proxy.HostGapByClass = a.byClass(late)
	for key, ns := range late.name {
		a.report.Proxy.HostGapTop = append(a.report.Proxy.HostGapTop, HostLate{a.lex.classes[key>>32], a.lex.names.Text(uint32(key)), ns})
	}
	slices.SortFunc(a.report.Proxy.HostGapTop, func(x, y HostLate) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		return strings.Compare(x.Name, y.Name)
	})
	if list := a.report.Proxy.HostGapTop; a.opts.Top > 0 && len(list) > a.opts.Top {
		a.report.Proxy.HostGapTop = list[:a.opts.Top]
	}
}
