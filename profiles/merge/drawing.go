package merge

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"time"

	"servebench/profiles/trace"
	"servebench/results"
)

// The processes of the rows we add. Linux process ids end at 4,194,304, Gaudi's rows and those of joined ranks
// stay below these, and viewers keep 32 bits without a sign.
var (
	clientPID = trace.Num(2_000_000_001)
	stepsPID  = trace.Num(2_000_000_002)
	othersPID = trace.Num(2_000_000_003)
)

// manyLanes is beyond how many requests in flight lanes are unreadable, and async spans are drawn.
const manyLanes = 512

// mostTokenMarks bounds the marks of events in all: each is a row that the viewer has to hold.
const mostTokenMarks = 50_000

// category is that of the arrows, so that their ids are no other arrows'.
const category = "client2step"

// A drawing lays out the rows.
type drawing struct {
	*joined
	in    Input
	lane  []int // by request, from 0
	lanes int
	async bool
	gaps  []pause
	marks int // how many events a request may have to be marked; 0 none
}

// lay gives each request a lane: the lowest that is free from its beginning to its end.
func (d *drawing) lay() {
	order := make([]int, len(d.requests))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(d.requests[a].began, d.requests[b].began), cmp.Compare(a, b))
	})
	d.lane = make([]int, len(d.requests))
	free := &queue{less: func(a, b int) bool { return a < b }}
	ends := make([]int64, 0, 64) // by lane
	busy := &queue{less: func(a, b int) bool { return cmp.Or(cmp.Compare(ends[a], ends[b]), cmp.Compare(a, b)) < 0 }}
	for _, i := range order {
		q := d.requests[i]
		for busy.Len() > 0 && ends[busy.items[0]] <= q.began {
			heap.Push(free, heap.Pop(busy))
		}
		lane := len(ends)
		if free.Len() > 0 {
			lane = heap.Pop(free).(int)
		} else {
			ends = append(ends, 0)
		}
		ends[lane] = max(q.end, q.began+1)
		heap.Push(busy, lane)
		d.lane[i] = lane
	}
	d.lanes = len(ends)
	d.gaps = d.pauses()
	d.async = d.lanes > manyLanes

	d.marks = d.in.TokenMarks
	if d.marks == 0 {
		d.marks = 200
	}
	sum := 0
	for _, q := range d.requests {
		if len(q.chunks) <= d.marks {
			sum += len(q.chunks)
		}
	}
	if sum > mostTokenMarks || d.marks < 0 {
		d.marks = 0
	}
}

// ts is a client's moment on the merged file's clock.
func (d *drawing) ts(client int64) int64 { return client + d.clock.Theta - d.base }

// rows yields all rows that are added. Enclosing slices come before those within.
func (d *drawing) rows() iter.Seq[*trace.Row] {
	return func(yield func(*trace.Row) bool) {
		p := &pen{yield: yield}
		d.names(p)
		d.moments(p)
		for i := range d.requests {
			if !p.stopped {
				d.request(p, i)
			}
		}
		d.inFlight(p)
		d.throughput(p)
		d.serverSteps(p)
		d.serverOthers(p)
		d.arrows(p)
	}
}

// A pen hands rows on until nobody wants more.
type pen struct {
	yield   func(*trace.Row) bool
	stopped bool
}

func (p *pen) draw(r trace.Row) {
	if !p.stopped && !p.yield(&r) {
		p.stopped = true
	}
}

func (d *drawing) names(p *pen) {
	p.process(clientPID, "client: requests", "servebench", -30)
	if !d.async {
		for lane := range d.lanes {
			p.thread(clientPID, int64(lane+1), fmt.Sprintf("lane %d", lane+1))
		}
	}
	if len(d.all) > 0 {
		p.process(stepsPID, "server: steps", "derived", -20)
		for _, rank := range d.ranks() {
			p.thread(stepsPID, stepsTID(rank), fmt.Sprintf("rank %d", rank))
		}
	}
	if len(d.in.Others)+len(d.gaps) > 0 {
		p.process(othersPID, "server: gaps and compiles", "derived", -10)
		for key, tid := range d.otherTIDs() {
			p.thread(othersPID, tid, fmt.Sprintf("rank %d %s", key.rank, key.kind))
		}
	}
}

func (p *pen) process(pid trace.ID, name, labels string, index int64) {
	p.draw(trace.ProcessName(pid, name))
	p.draw(trace.ProcessLabels(pid, labels))
	p.draw(trace.ProcessSort(pid, index))
}

func (p *pen) thread(pid trace.ID, tid int64, name string) {
	p.draw(trace.ThreadName(pid, trace.Num(tid), name))
	p.draw(trace.ThreadSort(pid, trace.Num(tid), tid))
}

func stepsTID(rank int) int64 { return int64(rank) + 1 }

func (d *drawing) ranks() []int {
	var ranks []int
	for _, s := range d.all {
		if !slices.Contains(ranks, s.Rank) {
			ranks = append(ranks, s.Rank)
		}
	}
	slices.Sort(ranks)
	return ranks
}

// gapRow is the row of the time between steps: gaps while requests were in flight, idle time while none was.
const gapRow = "gaps"

// A row of other things.
type otherRow struct {
	rank int
	kind string
}

// otherTIDs yields the rows of other things in a fixed order, with their thread ids.
func (d *drawing) otherTIDs() iter.Seq2[otherRow, int64] {
	var keys []otherRow
	for _, g := range d.gaps {
		if key := (otherRow{g.rank, gapRow}); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, o := range d.in.Others {
		if key := (otherRow{o.Rank, o.Kind}); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b otherRow) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.kind, b.kind)) })
	return func(yield func(otherRow, int64) bool) {
		for i, key := range keys {
			if !yield(key, int64(i+1)) {
				return
			}
		}
	}
}

// moments marks the profiler's calls and the load's boundaries.
func (d *drawing) moments(p *pen) {
	mark := func(name string, at int64) {
		if at != 0 {
			p.draw(trace.Row{Phase: 'i', Cat: "client", Name: name, PID: clientPID, TS: d.ts(at), Scope: 'g'})
		}
	}
	m := d.in.Marks
	if m.Called {
		mark("start_profile sent", m.StartSent)
		mark("start_profile returned", m.StartAnswered)
		mark("stop_profile sent", m.StopSent)
		mark("stop_profile returned", m.StopAnswered)
	}
	began, ended := int64(math.MaxInt64), int64(0)
	stages := make(map[int]int64)
	for _, q := range d.requests {
		if q.record.Kind != results.Load && q.record.Kind != "" {
			continue
		}
		began, ended = min(began, q.began), max(ended, q.end)
		if at, ok := stages[q.record.Stage]; !ok || q.began < at {
			stages[q.record.Stage] = q.began
		}
	}
	if ended == 0 {
		return
	}
	mark("load began", began)
	if len(stages) > 1 {
		var order []int
		for stage := range stages {
			order = append(order, stage)
		}
		slices.Sort(order)
		for _, stage := range order {
			mark(fmt.Sprintf("stage %d began", stage), stages[stage])
		}
	}
	mark("load ended", ended)
}

// request draws one request and what is inside it.
func (d *drawing) request(p *pen, i int) {
	q := d.requests[i]
	r := q.record
	args := []trace.Arg{{Key: "id", Value: r.ID}}
	text := func(key, value string) {
		if value != "" {
			args = append(args, trace.Arg{Key: key, Value: value})
		}
	}
	text("model", r.Model)
	if q.prompt >= 0 {
		args = append(args, trace.Arg{Key: "prompt_tokens", Value: q.prompt})
	}
	if q.cached >= 0 && r.Usage != nil {
		args = append(args, trace.Arg{Key: "cached_tokens", Value: q.cached})
	}
	if q.tokens > 0 {
		args = append(args, trace.Arg{Key: "output_tokens", Value: q.tokens})
	}
	if v, ok := results.TTFT(r, results.Service); ok && r.OK() {
		args = append(args, trace.Arg{Key: "ttft_ms", Value: ms(v)})
	}
	if v, ok := results.E2EL(r, results.Service); ok && r.OK() {
		args = append(args, trace.Arg{Key: "e2e_ms", Value: ms(v)})
	}
	if v, ok := r.QueueTime(); ok {
		args = append(args, trace.Arg{Key: "client_queue_ms", Value: ms(v)})
	}
	if r.Status != 0 {
		args = append(args, trace.Arg{Key: "status", Value: r.Status})
	}
	text("finish_reason", r.Finish)
	text("request_id", r.RequestID)
	text("url", d.in.URL)
	if d.in.Seed != nil {
		args = append(args, trace.Arg{Key: "seed", Value: *d.in.Seed})
	}
	if f := r.Failure; f != nil {
		text("failure", f.Class)
	}
	l := &d.links[i]
	switch {
	case l.found() && l.ambiguous:
		text("link", "ambiguous")
	case l.found():
		text("link", "unique")
	case q.first() != 0 && len(d.steps) > 0:
		text("link", "none")
	}

	s := d.span(p, i)
	s.slice(q.name, q.began, q.end, args)
	if q.connected != 0 {
		s.slice("connect", q.began, min(q.connected, q.send), nil)
	}
	if first := q.first(); first != 0 {
		s.slice("wait first token", q.send, first, nil)
		s.slice("stream", first, q.last(), []trace.Arg{{Key: "events", Value: len(q.chunks)}})
		if len(q.chunks) <= d.marks && !d.async {
			for _, c := range q.chunks {
				row := trace.Row{Phase: 'i', Cat: "client", Name: "token", PID: clientPID, TID: s.tid, TS: d.ts(c.at)}
				if c.tokens >= 0 {
					row.Args = []trace.Arg{{Key: "tokens", Value: c.tokens}}
				}
				p.draw(row)
			}
		}
	}
	if f := r.Failure; f != nil {
		p.draw(trace.Row{Phase: 'i', Cat: "client", Name: "error: " + f.Class, PID: clientPID, TID: s.tid, TS: d.ts(q.end),
			Args: []trace.Arg{{Key: "request", Value: r.ID}, {Key: "message", Value: f.Message}}})
	}
	s.close()
}

// A span draws slices of one request, in a lane or as async spans.
type span struct {
	d    *drawing
	p    *pen
	tid  trace.ID
	id   string
	ends []trace.Row // async spans that are open
}

func (d *drawing) span(p *pen, i int) *span {
	s := &span{d: d, p: p, tid: trace.Num(int64(d.lane[i] + 1))}
	if d.async {
		s.tid, s.id = trace.Num(0), strconv.Itoa(i+1)
	}
	return s
}

func (s *span) slice(name string, from, to int64, args []trace.Arg) {
	to = max(to, from)
	if s.id == "" {
		s.p.draw(trace.Row{Phase: 'X', Cat: "client", Name: name, PID: clientPID, TID: s.tid, TS: s.d.ts(from), Dur: to - from, Args: args})
		return
	}
	s.until(from)
	s.p.draw(trace.Row{Phase: 'b', Cat: "request", Name: name, PID: clientPID, TID: s.tid, ID: s.id, TS: s.d.ts(from), Args: args})
	s.ends = append(s.ends, trace.Row{Phase: 'e', Cat: "request", Name: name, PID: clientPID, TID: s.tid, ID: s.id, TS: s.d.ts(to)})
}

// until ends the inner async spans that end by then: those of one id nest.
func (s *span) until(at int64) {
	for len(s.ends) > 1 && s.ends[len(s.ends)-1].TS <= s.d.ts(at) {
		s.p.draw(s.ends[len(s.ends)-1])
		s.ends = s.ends[:len(s.ends)-1]
	}
}

func (s *span) close() {
	for len(s.ends) > 0 {
		s.p.draw(s.ends[len(s.ends)-1])
		s.ends = s.ends[:len(s.ends)-1]
	}
}

func ms(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// inFlight counts the requests between their first byte and their end.
func (d *drawing) inFlight(p *pen) {
	type change struct {
		at int64
		by int
	}
	changes := make([]change, 0, 2*len(d.requests))
	for _, q := range d.requests {
		changes = append(changes, change{q.began, 1}, change{max(q.end, q.began), -1})
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	now := 0
	for i, c := range changes {
		now += c.by
		if i+1 < len(changes) && changes[i+1].at == c.at {
			continue // one sample a moment
		}
		p.draw(trace.Row{Phase: 'C', Cat: "client", Name: "client", PID: clientPID, TS: d.ts(c.at), Args: []trace.Arg{{Key: "in_flight", Value: now}}})
	}
}

// bin is that of the throughput.
const bin = int64(100 * time.Millisecond)

// throughput draws tokens per second in bins: output tokens when they were received, those of a prompt when
// its first output was.
func (d *drawing) throughput(p *pen) {
	type tokens struct{ output, prompt int }
	bins := make(map[int64]*tokens)
	begin := int64(math.MaxInt64)
	for _, q := range d.requests {
		begin = min(begin, q.began)
	}
	at := func(t int64) *tokens {
		k := (t - begin) / bin
		if bins[k] == nil {
			bins[k] = &tokens{}
		}
		return bins[k]
	}
	for _, q := range d.requests {
		for _, c := range q.chunks {
			at(c.at).output += max(0, c.tokens)
		}
		if q.first() != 0 {
			at(q.first()).prompt += max(0, q.prompt)
		}
	}
	var order []int64
	for k := range bins {
		order = append(order, k)
	}
	slices.Sort(order)
	sample := func(k int64, n tokens) {
		per := func(n int) float64 { return float64(n) * float64(time.Second) / float64(bin) }
		p.draw(trace.Row{Phase: 'C', Cat: "client", Name: "tokens/s", PID: clientPID, TS: d.ts(begin + k*bin),
			Args: []trace.Arg{{Key: "output", Value: per(n.output)}, {Key: "prompt", Value: per(n.prompt)}}})
	}
	for i, k := range order {
		sample(k, *bins[k])
		// A counter keeps its value until the next sample: empty bins and the end are zeros.
		if i+1 == len(order) || order[i+1] != k+1 {
			sample(k+1, tokens{})
		}
	}
}

// serverSteps draws each step anew, so that arrows have a clean end.
func (d *drawing) serverSteps(p *pen) {
	ends := make(map[int]int64) // of the step before, by rank
	for i := range d.all {
		s := &d.all[i]
		args := []trace.Arg{{Key: "phase", Value: s.Phase}}
		if s.Bucket != "" {
			args = append(args, trace.Arg{Key: "bucket", Value: s.Bucket})
		}
		for _, n := range []struct {
			key   string
			value int
		}{{"prompts", s.Prompts}, {"prompt_tokens", s.PromptTokens}, {"decodes", s.Decodes}, {"decode_tokens", s.DecodeTokens}} {
			if n.value >= 0 {
				args = append(args, trace.Arg{Key: n.key, Value: n.value})
			}
		}
		if s.OnDevice {
			us := func(t int64) float64 { return float64(t-s.Start) / 1e3 }
			args = append(args, trace.Arg{Key: "dev_start_us", Value: us(s.DevStart)}, trace.Arg{Key: "dev_end_us", Value: us(s.DevEnd)},
				trace.Arg{Key: "busy_us", Value: float64(s.Busy) / 1e3})
		}
		if end, ok := ends[s.Rank]; ok {
			args = append(args, trace.Arg{Key: "gap_before_us", Value: float64(s.Start-end) / 1e3})
		}
		ends[s.Rank] = s.End
		if s.Name != "" && s.Name != s.Phase {
			args = append(args, trace.Arg{Key: "row", Value: s.Name})
		}
		p.draw(trace.Row{Phase: 'X', Cat: "step", Name: s.Phase, PID: stepsPID, TID: trace.Num(stepsTID(s.Rank)), TS: d.ts(s.Start), Dur: s.End - s.Start, Args: args})
	}
}

func (d *drawing) serverOthers(p *pen) {
	tids := make(map[otherRow]int64)
	for key, tid := range d.otherTIDs() {
		tids[key] = tid
	}
	for _, g := range d.gaps {
		name := "idle"
		if g.waiting > 0 {
			name = "gap"
		}
		p.draw(trace.Row{Phase: 'X', Cat: gapRow, Name: name, PID: othersPID, TID: trace.Num(tids[otherRow{g.rank, gapRow}]), TS: d.ts(g.from), Dur: g.to - g.from,
			Args: []trace.Arg{{Key: "between", Value: g.between}, {Key: "requests_in_flight_us", Value: float64(g.waiting) / 1e3}}})
	}
	for _, o := range d.in.Others {
		start := o.Start + d.bases[o.Rank] - d.base
		p.draw(trace.Row{Phase: 'X', Cat: o.Kind, Name: o.Name, PID: othersPID, TID: trace.Num(tids[otherRow{o.Rank, o.Kind}]), TS: start, Dur: max(0, o.End-o.Start), Args: o.Args})
	}
}

// arrows leads from a request to the step of its prompt, and from the step of its last token back. An end is
// bound to the slice that is open on its row at that moment.
func (d *drawing) arrows(p *pen) {
	if d.async {
		return // there is no slice to bind to
	}
	for i, q := range d.requests {
		l := &d.links[i]
		if !l.found() {
			continue
		}
		lane := trace.Num(int64(d.lane[i] + 1))
		var doubt []trace.Arg
		if l.ambiguous {
			doubt = []trace.Arg{{Key: "ambiguous", Value: true}}
		}
		step := &d.steps[l.first]
		d.arrow(p, "prompt", 2*i, doubt, lane, within(q.send+1, q.began, q.end), step, step.Start+1, true)
		if l.final < 0 {
			continue
		}
		if !l.sure {
			doubt = []trace.Arg{{Key: "ambiguous", Value: true}}
		}
		step = &d.steps[l.final]
		d.arrow(p, "last token", 2*i+1, doubt, lane, within(q.last()-1, q.began, q.end), step, step.End-1, false)
	}
}

// within moves a moment into [from, to).
func within(t, from, to int64) int64 { return max(from, min(t, to-1)) }

func (d *drawing) arrow(p *pen, name string, id int, args []trace.Arg, lane trace.ID, at int64, step *Step, in int64, toStep bool) {
	client := trace.Row{Cat: category, Name: name, ID: strconv.Itoa(id), PID: clientPID, TID: lane, TS: d.ts(at), Args: args}
	server := trace.Row{Cat: category, Name: name, ID: strconv.Itoa(id), PID: stepsPID, TID: trace.Num(stepsTID(step.Rank)), TS: d.ts(within(in, step.Start, step.End)), Args: args}
	from, to := client, server
	if !toStep {
		from, to = server, client
	}
	from.Phase, to.Phase, to.BindEnclosing = 's', 'f', true
	p.draw(from)
	p.draw(to)
}

// about is the top-level key that says how the file came about.
type about struct {
	RunID     string `json:"run_id,omitempty"`
	Tool      string `json:"tool,omitempty"`
	Clock     Clock  `json:"clock"`
	Requests  int    `json:"requests"`
	Lanes     int    `json:"lanes"`
	Async     bool   `json:"async_spans,omitempty"`
	Linked    int    `json:"linked"`
	Ambiguous int    `json:"ambiguous"`
	Unlinked  int    `json:"unlinked"`
	// Files are the traces it was made of.
	Files []aboutFile `json:"files"`
	// Guessed is how many requests have events of which nobody said how many tokens they hold.
	Guessed int `json:"requests_with_guessed_tokens,omitempty"`
}

type aboutFile struct {
	Name string `json:"name"`
	Rank int    `json:"rank"`
}

func (d *drawing) about(r Result) about {
	a := about{
		RunID: d.in.RunID, Tool: d.in.Tool, Clock: r.Clock, Requests: r.Requests, Lanes: d.lanes, Async: d.async,
		Linked: r.Comparison.Linked, Ambiguous: r.Comparison.Ambiguous, Unlinked: r.Comparison.Unlinked,
	}
	for _, t := range d.in.Traces {
		a.Files = append(a.Files, aboutFile{t.Meta.Name, t.Rank})
	}
	for _, q := range d.requests {
		if q.guessed {
			a.Guessed++
		}
	}
	return a
}

// metadata is the same in short, where viewers show it.
func (d *drawing) metadata(r Result) []trace.Arg {
	args := []trace.Arg{
		{Key: "load_theta_ns", Value: r.Clock.Theta},
		{Key: "load_clock_method", Value: r.Clock.Method},
		{Key: "load_clock_aligned", Value: r.Clock.Aligned},
		{Key: "load_requests", Value: r.Requests},
	}
	if r.Clock.HasLo {
		args = append(args, trace.Arg{Key: "load_theta_lo_ns", Value: r.Clock.Lo})
	}
	if r.Clock.HasHi {
		args = append(args, trace.Arg{Key: "load_theta_hi_ns", Value: r.Clock.Hi})
	}
	if d.in.RunID != "" {
		args = append(args, trace.Arg{Key: "load_run_id", Value: d.in.RunID})
	}
	if d.in.Tool != "" {
		args = append(args, trace.Arg{Key: "load_tool", Value: d.in.Tool})
	}
	return args
}
