package breakdown

import (
	"slices"
	"strings"
)

// compileFigures reports recompilations of every kind.
func (a *analysis) compileFigures() {
	out := &Compiles{List: []Compile{}, Captures: map[string]int64{}, GraphLaunches: map[string]int64{}, Kinds: map[string]Total{}}
	hashes := map[string]bool{}
	for i, c := range a.files {
		for name, n := range c.captures {
			out.Captures[name] += n
		}
		for name, n := range c.launches {
			out.GraphLaunches[name] += n
		}
		for hash := range c.graphRuns {
			hashes[hash] = true
		}
		out.GraphCalls += c.graphCall
		out.Lookups += c.lookups
		a.compilesOf(i, c, out)
	}
	out.CompiledGraphs = int64(len(hashes))
	for _, e := range out.List {
		out.Count++
		out.Total += e.Total
	}
	if n := a.window.to - a.window.from; n > 0 {
		out.Share = ptr(round(float64(out.Total)/float64(n), 6))
	}
	byTime := func(x, y Compile) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		if x.Name != y.Name {
			return strings.Compare(x.Name, y.Name)
		}
		return cmpInt(x.Start, y.Start)
	}
	slices.SortFunc(out.List, byTime)
	slices.SortFunc(out.CaptureList, byTime)
	slices.SortFunc(out.Suspected, byTime)
	if t, ok := out.Kinds[compileLazy]; ok {
		out.LazyLoading = &t
		delete(out.Kinds, compileLazy)
	}
	if steps := a.engineSteps(); len(steps) > a.opts.Warmup {
		after := &AfterWarmup{Steps: a.opts.Warmup}
		from := steps[a.opts.Warmup].start
		for _, e := range out.List {
			if e.Start >= from {
				after.Count++
				after.Total += e.Total
			}
		}
		out.After = after
	}
	if why := a.cannotTellCompiles(out); why != "" {
		a.warn("no figures of recompilations: %s", why)
		return
	}
	a.report.Compiles = out
}

// cannotTellCompiles says why no compile having been found means nothing; empty when it
// means that there was none.
func (a *analysis) cannotTellCompiles(out *Compiles) string {
	if out.Count > 0 || len(out.CaptureList)+len(out.Suspected) > 0 {
		return ""
	}
	rows, gaudi := int64(0), false
	for _, c := range a.files {
		for i := range c.hosts.threads {
			rows += c.hosts.threads[i].total
		}
		gaudi = gaudi || len(c.gaudi.calls) > 0 || len(c.stepList) > 0 && c.stepList[0].rule == ruleGaudi
	}
	switch {
	case rows == 0:
		return "no host rows"
	case gaudi:
		return "a Gaudi records graph compiles only with PT_HPU_METRICS_GC_DETAILS=1, and there are none"
	}
	return ""
}

func (a *analysis) compilesOf(file int, c *contents, out *Compiles) {
	// Rows of compiling nest in each other, in other kinds too: the outermost counts. Times
	// that a Gaudi reports are laid out after the fact and never nest.
	var nesting, apart []mark
	for _, m := range c.compiles {
		switch {
		case m.kind == compileGaudi && strings.HasPrefix(a.lex.names.Text(m.name), "GRAPH COMPILE: "), m.kind == compileLazy:
			apart = append(apart, m)
		default:
			nesting = append(nesting, m)
		}
	}
	hasGaudi := slices.ContainsFunc(apart, func(m mark) bool { return m.kind == compileGaudi })
	list := append(apart, outermost(nesting)...)
	list = append(list, captured(c, a.lex)...)
	sortMarks(list)
	for _, m := range list {
		if m.kind == compileGaudi && hasGaudi && !strings.HasPrefix(a.lex.names.Text(m.name), "GRAPH COMPILE: ") {
			continue // the same compile, seen from the API
		}
		e := Compile{Start: m.start, Total: m.end - m.start, Kind: m.kind, Name: a.lex.names.Text(m.name), Thread: c.threadName(m.thread), File: a.fileName(file)}
		if s := c.stepAt(m.start); s != nil {
			e.Step, e.Bucket = a.lex.names.Text(s.name), s.bucket
		}
		t := out.Kinds[m.kind]
		out.Kinds[m.kind] = Total{t.Count + 1, t.Total + e.Total}
		switch m.kind {
		case compileLazy:
		case compileCapture, compileInstance:
			out.CaptureList = append(out.CaptureList, e)
		default:
			out.List = append(out.List, e)
		}
	}
	if hasGaudi {
		return
	}
	a.suspects(file, c, out)
}

// captured are graph captures: from StreamBeginCapture to StreamEndCapture on a thread.
func captured(c *contents, lex *lexicon) []mark {
	open := map[uint32][]mark{}
	var out []mark
	for _, m := range c.begins {
		if strings.Contains(lex.names.Text(m.name), "BeginCapture") {
			open[m.thread] = append(open[m.thread], m)
			continue
		}
		stack := open[m.thread]
		if len(stack) == 0 {
			continue
		}
		begin := stack[len(stack)-1]
		open[m.thread] = stack[:len(stack)-1]
		// An annotation around it has been counted.
		if slices.ContainsFunc(c.compiles, func(o mark) bool {
			return o.kind == compileCapture && o.thread == m.thread && o.start <= begin.start && o.end >= m.end
		}) {
			continue
		}
		out = append(out, mark{begin.start, m.end, m.thread, begin.name, compileCapture})
	}
	return out
}

// stepAt is the step that was running at a moment, on any thread.
func (c *contents) stepAt(at int64) *step {
	i, _ := slices.BinarySearchFunc(c.stepList, at, func(s *step, at int64) int {
		if s.start <= at {
			return -1
		}
		return 1
	})
	if i == 0 || c.stepList[i-1].end <= at {
		return nil
	}
	return c.stepList[i-1]
}

// suspects are steps of a Gaudi whose forward pass lasted ten times the median of its
// bucket and more than 50 ms: compiling is the usual reason.
func (a *analysis) suspects(file int, c *contents, out *Compiles) {
	byBucket := map[string][]int64{}
	for _, s := range c.stepList {
		if s.forward > 0 {
			byBucket[s.bucket] = append(byBucket[s.bucket], s.forward)
		}
	}
	for bucket, list := range byBucket {
		slices.Sort(list)
		byBucket[bucket] = list
	}
	for _, s := range c.stepList {
		list := byBucket[s.bucket]
		if s.forward > 50_000_000 && s.forward > 10*quantile(list, 50) {
			out.Suspected = append(out.Suspected, Compile{Start: s.start, Total: s.forward, Kind: compileGaudi, Name: "suspected: a long forward pass", Step: a.lex.names.Text(s.name), Bucket: s.bucket, File: a.fileName(file)})
		}
	}
}
