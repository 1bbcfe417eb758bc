package breakdown

import (
	"fmt"
	"slices"
	"strings"

	"servebench/internal/lazy"
)

// A step is one pass of the engine, with the device work it started.
type step struct {
	mark
	file   int
	info   stepName
	rule   int
	bucket string

	rows, kernels    int64
	devStart, devEnd int64
	devBusy          int64
	busyUntil        int64
	graphs           int64
	graphRows        int64
	forward          int64 // of model_forward, on Gaudi
	period           int64
	hasPeriod        bool
	estimated        bool // the device figures are inferred from the host's calls
	shape            *gaudiShape
}

func (s *step) hasDevice() bool { return s.rows > 0 }

// tokens is how many tokens the step worked on.
func (s *step) tokens() (int64, bool) { return s.info.tokens(), s.info.hasTokens }

// A gaudiShape is the padded shape that a model_forward row names.
type gaudiShape struct {
	batch, seq, ctx int64
	graphs          string
}

var forwardName = lazy.Regexp(`^model_(?:forward|executable|prompt|decode)?_?bs(\d+)_seq(\d+)_ctx(\d+)_graphs([TF])`)

func shapeOf(name string) *gaudiShape {
	m := forwardName().FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	return &gaudiShape{atoi(m[1]), atoi(m[2]), atoi(m[3]), m[4]}
}

func (g *gaudiShape) String() string {
	return fmt.Sprintf("bs%d seq%d ctx%d graphs%s", g.batch, g.seq, g.ctx, g.graphs)
}

// findSteps applies the first rule that yields rows, to each file, and gives steps the
// device work they started.
func (a *analysis) findSteps() {
	a.steps = nil
	for i, c := range a.files {
		c.stepList = nil
		for rule := range ruleCount {
			list := c.stepMarks(rule)
			if len(list) == 0 {
				continue
			}
			for _, m := range list {
				s := &step{mark: m, file: i, rule: rule}
				switch rule {
				case ruleGaudi:
					s.info = stepName{rule: rule, phase: phasePrefill}
					if a.lex.names.Text(m.name) == "decode" {
						s.info.phase = phaseDecode
					}
				case ruleGraph:
					s.info = stepName{rule: rule, phase: phaseOther}
				default:
					s.info = a.lex.info(m.name).step
				}
				c.stepList = append(c.stepList, s)
			}
			break
		}
		c.fillSteps()
		a.steps = append(a.steps, c.stepList...)
	}
}

// stepMarks are the rows of a file that a rule finds.
func (c *contents) stepMarks(rule int) []mark {
	list := c.steps[rule]
	switch rule {
	case ruleGaudi:
		// Events are queued from the start of the process on, warm-up included: only those
		// inside the recorded window count.
		if w, source, ok := c.fileWindow(); ok && source == "trace" {
			var inside []mark
			for _, m := range list {
				if m.start >= w.from && m.start < w.to {
					inside = append(inside, m)
				}
			}
			c.beforeWindow = int64(len(list) - len(inside))
			list = inside
		}
	case rulePython:
		list = outermost(list)
	case ruleGraph:
		if len(c.rows) == 0 {
			return nil
		}
	}
	return list
}

// outermost drops marks that lie inside another of the same thread. The list is sorted.
func outermost(list []mark) []mark {
	until := map[uint32]int64{}
	var out []mark
	for _, m := range list {
		if end, ok := until[m.thread]; ok && m.start < end {
			continue
		}
		until[m.thread] = m.end
		out = append(out, m)
	}
	return out
}

// fillSteps gives each step of a file its device work, bucket and period.
func (c *contents) fillSteps() {
	steps := c.stepList
	if len(steps) == 0 {
		return
	}
	// Gaudi's rows stand on threads of their own, beside the ones that launch.
	anyThread := steps[0].rule == ruleProfilerStep || steps[0].rule == ruleGaudi
	byThread := map[uint32][]*step{}
	for _, s := range steps {
		s.devStart, s.busyUntil = 0, 0
		key := s.thread
		if anyThread {
			key = 0
		}
		byThread[key] = append(byThread[key], s)
	}
	find := func(thread uint32, at int64) *step {
		if anyThread {
			thread = 0
		}
		list := byThread[thread]
		// The last step that began by then; steps of one thread do not overlap.
		i, _ := slices.BinarySearchFunc(list, at, func(s *step, at int64) int {
			if s.start <= at {
				return -1
			}
			return 1
		})
		if i == 0 || list[i-1].end <= at {
			return nil
		}
		return list[i-1]
	}
	c.rowStep = make([]*step, len(c.rows))
	order := c.byStart()
	for _, i := range order {
		r := &c.rows[i]
		if r.call < 0 {
			continue
		}
		call := &c.calls[r.call]
		s := find(call.thread, call.start)
		if s == nil {
			continue
		}
		c.rowStep[i] = s
		s.work(span{r.start, r.end})
		if r.kind != kindCopy {
			s.kernels++
		}
		if c.lex.info(call.name).launch {
			s.graphRows++
		}
	}
	for _, m := range c.steps[ruleGraph] {
		if s := find(m.thread, m.start); s != nil {
			s.graphs++
		}
	}
	for _, m := range c.forwards {
		thread := m.thread
		if s := find(thread, m.start); s != nil && m.end <= s.end {
			if shape := shapeOf(c.lex.names.Text(m.name)); shape != nil {
				s.shape = shape
			}
			s.forward = m.end - m.start
		}
	}
	if len(c.rows) == 0 {
		c.estimateSteps(find)
	}
	c.periods(byThread)
	for _, s := range steps {
		s.bucket = s.bucketName(len(c.rows) > 0)
	}
}

// estimateSteps gives steps the device work that the host's calls let one infer, where a
// Gaudi was not traced itself.
func (c *contents) estimateSteps(find func(thread uint32, at int64) *step) {
	spans, _ := c.gaudi.work()
	slices.SortStableFunc(spans, func(x, y workSpan) int { return cmpInt(x.from, y.from) })
	for _, w := range spans {
		if !strings.Contains(w.stream, streamCompute) {
			continue
		}
		if s := find(w.thread, w.from); s != nil {
			s.estimated = true
			s.work(w.span)
		}
	}
}

// work adds a row of device work to a step, in the order of start.
func (s *step) work(w span) {
	if s.rows == 0 {
		s.devStart, s.devEnd, s.busyUntil = w.from, w.to, w.from
	}
	s.rows++
	if w.to > s.busyUntil {
		s.devBusy += w.to - max(w.from, s.busyUntil)
		s.busyUntil = w.to
	}
	s.devEnd = max(s.devEnd, w.to)
}

// work is when any device of the file worked.
func (c *contents) work() []span {
	var out []span
	for _, i := range c.byStart() {
		r := &c.rows[i]
		out = extended(out, span{r.start, r.end})
	}
	return out
}

// byStart is the order of the rows in time over all devices.
func (c *contents) byStart() []int {
	order := make([]int, len(c.rows))
	for i := range order {
		order[i] = i
	}
	if len(c.devices) > 1 {
		sortRuns(order, func(a, b *int) bool { return c.rows[*a].start < c.rows[*b].start })
	}
	return order
}

func (c *contents) periods(byThread map[uint32][]*step) {
	for _, list := range byThread {
		for i := 1; i < len(list); i++ {
			prev, s := list[i-1], list[i]
			if prev.hasDevice() && s.hasDevice() {
				s.period = s.devEnd - prev.devEnd
			} else {
				s.period = s.start - prev.start
			}
			s.hasPeriod = true
		}
	}
}

// bucketName is the shape a step belongs to.
func (s *step) bucketName(devices bool) string {
	if s.shape != nil {
		return s.shape.String()
	}
	var parts []string
	if s.info.prompts > 0 {
		part := fmt.Sprintf("context %d", s.info.prompts)
		if s.info.hasTokens {
			part += fmt.Sprintf("(%d)", s.info.promptTokens)
		}
		parts = append(parts, part)
	}
	if s.info.generations > 0 {
		part := fmt.Sprintf("generation %d", s.info.generations)
		if s.info.padded > 0 {
			part += fmt.Sprintf("/%d", s.info.padded)
		}
		if s.info.hasTokens && s.info.genTokens != s.info.generations {
			part += fmt.Sprintf("(%d)", s.info.genTokens)
		}
		parts = append(parts, part)
	}
	if devices && s.rows > 0 && s.rule != ruleProfilerStep && s.rule != ruleGraph {
		parts = append(parts, s.graphMode())
	}
	return strings.Join(parts, " ")
}

// graphMode says whether the step ran as captured graphs.
func (s *step) graphMode() string {
	switch {
	case s.graphs == 1 && s.graphRows*2 > s.rows:
		return "FULL"
	case s.graphs > 1:
		return "PIECEWISE"
	}
	return "NONE"
}

// stepWindow is the window of the steps that were asked for.
func (a *analysis) stepWindow() (span, error) {
	steps := a.engineSteps()
	first, last := max(a.opts.FirstStep, 1), a.opts.LastStep
	if last == 0 {
		last = len(steps)
	}
	if first > len(steps) {
		return span{}, fmt.Errorf("step %d was asked for, but the trace has %d", first, len(steps))
	}
	last = min(last, len(steps))
	w := span{steps[first-1].start, steps[first-1].end}
	for _, s := range steps[first-1 : last] {
		w.from, w.to = min(w.from, s.start), max(w.to, s.end)
		if s.hasDevice() {
			w.to = max(w.to, s.devEnd)
		}
	}
	return w, nil
}

// engineSteps are the steps of the file that leads: that of the lowest rank, else the
// first, with steps. Ranks that work on the same batches would count them again.
func (a *analysis) engineSteps() []*step {
	best := -1
	for i, c := range a.files {
		if len(c.stepList) == 0 {
			continue
		}
		if best < 0 || c.meta.HasRank && a.files[best].meta.HasRank && c.meta.Rank < a.files[best].meta.Rank {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return a.files[best].leading()
}

// leading are the steps of one engine: those of the thread with the most, of the lowest
// process where several have as many, as in a file of several ranks.
func (c *contents) leading() []*step {
	counts := map[uint32]int{}
	for _, s := range c.stepList {
		counts[s.thread]++
	}
	if len(counts) == 1 || c.stepList[0].rule == ruleProfilerStep || c.stepList[0].rule == ruleGaudi {
		return c.stepList
	}
	best := c.stepList[0].thread
	for thread, n := range counts {
		switch x, y := c.threads[thread], c.threads[best]; {
		case n != counts[best]:
			if n > counts[best] {
				best = thread
			}
		case x.pid.Compare(y.pid) < 0, x.pid == y.pid && x.tid.Compare(y.tid) < 0:
			best = thread
		}
	}
	var out []*step
	for _, s := range c.stepList {
		if s.thread == best {
			out = append(out, s)
		}
	}
	return out
}

func (a *analysis) several() bool { return len(a.files) > 1 }

func (a *analysis) fileName(i int) string {
	if !a.several() {
		return ""
	}
	return a.files[i].meta.Name
}

// stepFigures reports steps, phases and what lies between steps.
func (a *analysis) stepFigures() {
	if len(a.steps) == 0 {
		a.warn("no engine steps were recognised: no figures per phase")
		return
	}
	withSteps := 0
	for i, c := range a.files {
		if len(c.stepList) > 0 {
			withSteps++
		}
		if c.beforeWindow > 0 {
			a.warn("%s: %d steps from outside the recorded window left out", a.files[i].meta.Name, c.beforeWindow)
		}
	}
	steps := a.engineSteps()
	leads := map[*step]bool{}
	for _, s := range steps {
		leads[s] = true
	}
	for _, s := range a.steps {
		row := a.reportStep(s)
		row.Aside = !leads[s]
		a.report.Steps = append(a.report.Steps, row)
	}
	if lead := a.files[steps[0].file]; len(steps) < len(lead.stepList) {
		a.warn("%s: steps run on several threads, as with several ranks in one file: phases are those of %s", lead.meta.Name, lead.threadName(steps[0].thread))
	}
	if withSteps > 1 {
		a.warn("phases are those of %s; the list of steps has those of all files", a.files[steps[0].file].meta.Name)
	}
	a.report.Phases = a.phases(steps, true)
	a.report.ByPhase = a.phases(steps, false)
	if !steps[0].anyDevice(steps) {
		a.warn("steps have no device work: durations are the host's, periods from start to start")
	}
}

func (*step) anyDevice(steps []*step) bool {
	return slices.ContainsFunc(steps, func(s *step) bool { return s.hasDevice() })
}

func (a *analysis) reportStep(s *step) Step {
	c := a.files[s.file]
	out := Step{
		Name: a.lex.names.Text(s.name), Rule: ruleNames[s.rule], Phase: s.info.phase, Bucket: s.bucket,
		HostStart: s.start, HostNS: s.end - s.start, File: a.fileName(s.file), Thread: c.threadName(s.thread),
	}
	if s.hasDevice() {
		out.DevStart, out.DevEnd, out.DevBusy, out.DevRows = ptr(s.devStart), ptr(s.devEnd), ptr(s.devBusy), ptr(s.rows)
		out.DevLead, out.Estimated = ptr(s.devStart-s.start), s.estimated
		if !s.estimated {
			out.Kernels, out.Graphs = ptr(s.kernels), ptr(s.graphs)
		}
	}
	if s.hasPeriod {
		out.Period = ptr(s.period)
	}
	if s.rule == ruleVLLM || s.rule == ruleSGLang {
		out.Prompts, out.Generations = ptr(s.info.prompts), ptr(s.info.generations)
	}
	if n, ok := s.tokens(); ok {
		out.Tokens = ptr(n)
	}
	return out
}

// phases sums steps up, by bucket or by phase alone.
func (a *analysis) phases(steps []*step, buckets bool) []Phase {
	type key struct{ phase, bucket string }
	groups := map[key][]*step{}
	var keys []key
	for _, s := range steps {
		k := key{phase: s.info.phase}
		if buckets {
			k.bucket = s.bucket
		}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], s)
	}
	var out []Phase
	for _, k := range keys {
		p := Phase{Phase: k.phase, Bucket: k.bucket, Count: int64(len(groups[k]))}
		var host, period, devSpan, devBusy []int64
		var tokens, timed int64
		known := true
		for _, s := range groups[k] {
			host = append(host, s.end-s.start)
			n, ok := s.tokens()
			known = known && ok
			tokens += n
			if s.hasPeriod {
				period = append(period, s.period)
				timed += n
			}
			if s.hasDevice() {
				devSpan = append(devSpan, s.devEnd-s.devStart)
				devBusy = append(devBusy, s.devBusy)
			}
		}
		p.Host, p.Period, p.DevSpan, p.DevBusy = statsOf(host), statsOf(period), statsOf(devSpan), statsOf(devBusy)
		if known {
			p.Tokens = ptr(tokens)
			if p.Period != nil && p.Period.Total > 0 && timed > 0 {
				p.TokensPerSecond = ptr(round(float64(timed)/float64(p.Period.Total)*1e9, 3))
			}
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(x, y Phase) int {
		switch {
		case x.Host.Total != y.Host.Total:
			return -cmpInt(x.Host.Total, y.Host.Total)
		case x.Phase != y.Phase:
			return strings.Compare(x.Phase, y.Phase)
		}
		return strings.Compare(x.Bucket, y.Bucket)
	})
	return out
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
