package breakdown

import (
	"slices"
	"strings"

	"servebench/profiles/trace"
)

// A requestRow is one request of the client in a merged trace, or its wait for the first
// token.
type requestRow struct {
	name       string
	lane       string // thread, or the id of an async span
	start, end int64
	prompt     int64 // tokens of the prompt that were not cached; 0 when unknown
	output     int64 // tokens of the answer; 0 when unknown
}

// An arrow leads from a request to the step that began its prompt.
type arrow struct {
	lane      string
	from, to  int64
	hasFrom   bool
	hasTo     bool
	ambiguous bool
}

// requestRows are the client's rows of a merged trace.
type requestRows struct {
	list   []requestRow
	waits  []requestRow
	flows  []requestRow          // from the first token to the last
	open   map[string]requestRow // async spans, by id and name
	arrows map[string]*arrow
}

const firstToken = "wait first token"

// add takes a slice.
func (r *requestRows) add(ev *trace.Event) {
	if ev.PID == trace.Num(clientPID) {
		r.row(ev, ev.TID.String(), ev.TS, ev.End())
	}
}

func (r *requestRows) row(ev *trace.Event, lane string, start, end int64) {
	row := requestRow{name: ev.Name, lane: lane, start: start, end: end}
	switch {
	case strings.HasPrefix(ev.Name, "req "):
		row.prompt = promptTokens(ev)
		row.output, _ = ev.ArgInt("output_tokens")
		r.list = append(r.list, row)
	case ev.Name == firstToken:
		r.waits = append(r.waits, row)
	case ev.Name == "stream":
		r.flows = append(r.flows, row)
	}
}

func promptTokens(ev *trace.Event) int64 {
	n, _ := ev.ArgInt("prompt_tokens")
	cached, _ := ev.ArgInt("cached_tokens")
	return max(0, n-cached)
}

// mark takes the ends of async spans and of arrows.
func (r *requestRows) mark(ev *trace.Event) {
	id := ev.ID()
	switch ev.Phase {
	case 'b':
		if r.open == nil {
			r.open = map[string]requestRow{}
		}
		begun := requestRow{start: ev.TS, prompt: promptTokens(ev)}
		begun.output, _ = ev.ArgInt("output_tokens")
		r.open[id+" "+ev.Name] = begun
	case 'e':
		if begun, ok := r.open[id+" "+ev.Name]; ok {
			delete(r.open, id+" "+ev.Name)
			n := len(r.list)
			r.row(ev, "async "+id, begun.start, ev.TS)
			if len(r.list) > n {
				r.list[n].prompt, r.list[n].output = begun.prompt, begun.output
			}
		}
	case 's', 'f':
		if ev.Cat != "client2step" || ev.Name != "prompt" {
			return
		}
		if r.arrows == nil {
			r.arrows = map[string]*arrow{}
		}
		a := r.arrows[id]
		if a == nil {
			a = &arrow{}
			r.arrows[id] = a
		}
		if ev.Phase == 's' {
			a.lane, a.from, a.hasFrom = ev.TID.String(), ev.TS, true
		} else {
			a.to, a.hasTo = ev.TS, true
		}
		if v, ok := ev.Arg("ambiguous"); ok && string(v) == "true" {
			a.ambiguous = true
		}
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
	waits := map[string][]requestRow{}
	for _, w := range c.requests.waits {
		waits[w.lane] = append(waits[w.lane], w)
	}
	streams := map[string][]requestRow{}
	for _, f := range c.requests.flows {
		streams[f.lane] = append(streams[f.lane], f)
	}
	var perToken, periods []int64
	linker := newLinker(a.engineSteps(), &c.requests)
	out := &Requests{}
	var ttft, queue, prefill, back []int64
	var flight []span
	for i := range list {
		r := &list[i]
		out.Count++
		row := Request{Name: r.name, Start: r.start, End: r.end}
		for _, f := range streams[r.lane] {
			if f.start >= r.start && f.end <= r.end && r.output > 1 {
				perToken = append(perToken, (f.end-f.start)/(r.output-1))
				if period, ok := decodePeriod(linker.steps, f.start, f.end); ok {
					periods = append(periods, period)
				}
			}
		}
		flight = append(flight, span{r.start, r.end})
		var wait *requestRow
		for j := range waits[r.lane] {
			if w := &waits[r.lane][j]; w.start >= r.start && w.end <= r.end {
				wait = w
			}
		}
		if wait == nil {
			out.Unlinked++
			out.List = append(out.List, row)
			continue
		}
		row.TTFT = ptr(wait.end - wait.start)
		ttft = append(ttft, *row.TTFT)
		first, last, ambiguous, ok := linker.link(r, wait)
		switch {
		case !ok:
			out.Unlinked++
			out.List = append(out.List, row)
			continue
		case ambiguous:
			out.Ambiguous++
			row.Ambiguous = true
		default:
			out.Linked++
		}
		start, end := linker.steps[first].start, min(linker.steps[last].finish(), wait.end)
		row.Step, row.Queue, row.Prefill, row.Return = ptr(first+1), ptr(start-wait.start), ptr(end-start), ptr(wait.end-end)
		queue, prefill, back = append(queue, *row.Queue), append(prefill, *row.Prefill), append(back, *row.Return)
		out.List = append(out.List, row)
	}
	out.TTFT, out.Queue, out.Prefill, out.Return = statsOf(ttft), statsOf(queue), statsOf(prefill), statsOf(back)
	active := union(flight)
	out.InFlight = length(active)
	out.PerToken, out.DecodePeriod = statsOf(perToken), statsOf(periods)
	if steps := linker.steps; len(steps) > 0 {
		busy := int64(0)
		for i := 1; i < len(steps); i++ {
			if steps[i].thread == steps[i-1].thread && steps[i].start > steps[i-1].end {
				busy += within(active, steps[i-1].end, steps[i].start)
			}
		}
		out.BetweenSteps = ptr(busy)
	}
	if a.report.AllDevices != nil {
		out.IdleInFlight = ptr(out.InFlight - overlap(active, c.work()))
	}
	if out.Unlinked+out.Ambiguous > 0 {
		a.warn("of %d requests %d fit no step and %d fit several: their split is by order or missing", out.Count, out.Unlinked, out.Ambiguous)
	}
	return out
}

// finish is when a step ended, on the device where that is known.
func (s *step) finish() int64 {
	if s.hasDevice() {
		return max(s.end, s.devEnd)
	}
	return s.end
}

// A linker finds the steps that computed a request's prompt: as the arrows of the merge
// say, else by order: requests in the order of sending take the prompts that steps name.
type linker struct {
	steps  []*step
	room   []int64
	arrows map[string][]*arrow // by lane
}

func newLinker(steps []*step, r *requestRows) *linker {
	l := &linker{steps: steps, room: make([]int64, len(steps)), arrows: map[string][]*arrow{}}
	for i, s := range steps {
		l.room[i] = s.info.prompts
		if s.rule == ruleGaudi && s.info.phase == phasePrefill {
			l.room[i] = max(1, l.room[i])
		}
	}
	for _, a := range r.arrows {
		if a.hasFrom && a.hasTo {
			l.arrows[a.lane] = append(l.arrows[a.lane], a)
		}
	}
	return l
}

// link returns the first and the last of the request's steps.
func (l *linker) link(r, wait *requestRow) (first, last int, ambiguous, ok bool) {
	first = -1
	if len(l.arrows) > 0 {
		for _, a := range l.arrows[r.lane] {
			if a.from < r.start || a.from >= r.end {
				continue
			}
			for i, s := range l.steps {
				if a.to >= s.start && a.to < max(s.end, s.start+1) {
					first, ambiguous = i, a.ambiguous
				}
			}
		}
	} else {
		candidates := 0
		for i, s := range l.steps {
			if s.start < wait.start || s.finish() > wait.end || l.room[i] == 0 {
				continue
			}
			candidates++
			if first < 0 {
				first = i
			}
		}
		ambiguous = candidates > 1
		if first >= 0 {
			l.room[first]--
		}
	}
	if first < 0 {
		return 0, 0, false, false
	}
	// A prompt that is longer than what the step worked on goes on in the next ones.
	last = first
	need := r.prompt - l.steps[first].info.promptTokens
	for r.prompt > 0 && l.steps[first].info.hasTokens && need > 0 && last+1 < len(l.steps) && l.steps[last+1].finish() <= wait.end {
		last++
		need -= l.steps[last].info.promptTokens
	}
	return first, last, ambiguous, true
}

// decodePeriod is the mean period of the steps that generated tokens and ended while an
// answer streamed.
func decodePeriod(steps []*step, from, to int64) (int64, bool) {
	var sum, n int64
	for _, s := range steps {
		generates := s.info.generations > 0 || s.rule == ruleGaudi && s.info.phase == phaseDecode
		if at := s.finish(); generates && s.hasPeriod && at >= from && at < to {
			sum += s.period
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	return sum / n, true
}
