package breakdown

import (
	"slices"
	"strings"

	"servebench/profiles/trace"
)

// A requestRow is one request of the client in a merged trace.
type requestRow struct {
	name       string
	lane       trace.ID
	start, end int64
	firstToken int64
	hasFirst   bool
	args       map[string]string
}

// requestRows are the client's rows of a merged trace.
type requestRows struct {
	list  []requestRow
	waits []requestRow
}

func (r *requestRows) add(ev *trace.Event) {
	if ev.PID != trace.Num(clientPID) {
		return
	}
	row := requestRow{name: ev.Name, lane: ev.TID, start: ev.TS, end: ev.End()}
	switch {
	case strings.HasPrefix(ev.Name, "req "):
		row.args = map[string]string{}
		ev.EachArg(func(key string, value []byte) bool {
			row.args[key] = trace.Text(value)
			return true
		})
		r.list = append(r.list, row)
	case ev.Name == "wait first token":
		r.waits = append(r.waits, row)
	}
}

// requestFigures joins the client's requests to the server's steps, in a merged trace.
func (a *analysis) requestFigures() {
	for _, c := range a.files {
		if len(c.requests.list) > 0 {
			a.report.Requests = a.requestsOf(c)
			return
		}
	}
}

func (a *analysis) requestsOf(c *contents) *Requests {
	list := slices.Clone(c.requests.list)
	slices.SortStableFunc(list, func(x, y requestRow) int { return cmpInt(x.start, y.start) })
	firsts := map[trace.ID][]requestRow{}
	for _, w := range c.requests.waits {
		firsts[w.lane] = append(firsts[w.lane], w)
	}
	out := &Requests{}
	var ttft, queue, prefill, back []int64
	var flight []span
	// Prompts are taken in the order of sending by the steps in the order of time; a step
	// takes as many as its name says.
	steps := a.engineSteps()
	room := make([]int64, len(steps))
	for i, s := range steps {
		room[i] = s.info.prompts
		if s.rule == ruleGaudi && s.info.phase == phasePrefill {
			room[i] = max(1, room[i])
		}
	}
	for _, r := range list {
		out.Count++
		row := Request{Name: r.name, Start: r.start, End: r.end}
		flight = append(flight, span{r.start, r.end})
		first, ok := r.start, false
		for _, w := range firsts[r.lane] {
			if w.start >= r.start && w.end <= r.end {
				first, ok = w.end, true
			}
		}
		if !ok {
			out.Unlinked++
			out.List = append(out.List, row)
			continue
		}
		row.TTFT = ptr(first - r.start)
		ttft = append(ttft, first-r.start)
		took, candidates := -1, 0
		for i, s := range steps {
			end := s.end
			if s.hasDevice() {
				end = max(end, s.devEnd)
			}
			if s.start < r.start || end > first || room[i] == 0 {
				continue
			}
			candidates++
			if took < 0 {
				took = i
			}
		}
		switch {
		case candidates == 0:
			out.Unlinked++
			out.List = append(out.List, row)
			continue
		case candidates > 1:
			out.Ambiguous++
			row.Ambiguous = true
		default:
			out.Linked++
		}
		s := steps[took]
		room[took]--
		end := s.end
		if s.hasDevice() {
			end = max(end, s.devEnd)
		}
		queue = append(queue, s.start-r.start)
		prefill = append(prefill, end-s.start)
		back = append(back, first-end)
		row.Step, row.Queue, row.Prefill, row.Return = ptr(took+1), ptr(s.start-r.start), ptr(end-s.start), ptr(first-end)
		out.List = append(out.List, row)
	}
	out.TTFT, out.Queue, out.Prefill, out.Return = statsOf(ttft), statsOf(queue), statsOf(prefill), statsOf(back)
	active := union(flight)
	out.InFlight = length(active)
	if a.report.AllDevices != nil {
		out.IdleInFlight = ptr(out.InFlight - overlap(active, c.work()))
	}
	if out.Unlinked+out.Ambiguous > 0 {
		a.warn("of %d requests %d fit no step and %d fit several: their split is by order or missing", out.Count, out.Unlinked, out.Ambiguous)
	}
	return out
}
