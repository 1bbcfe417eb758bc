package breakdown

import (
	"context"
	"slices"
	"strings"
)

// A transitionSum gathers what lies between steps of two phases.
type transitionSum struct {
	from, to string
	count    int64
	host     []int64
	device   []int64
	at       attribution
}

// hostFigures walks every host thread once and answers everything that depends on what
// the host was doing: Python and host times, the reasons of gaps, the time between steps.
func (a *analysis) hostFigures(ctx context.Context) error {
	var late, proxyLate attribution
	transitions := map[[2]string]*transitionSum{}
	host, python, engine := nameSums{}, nameSums{}, nameSums{}
	groups := nameSums{}
	var classSelf [256]int64
	var hostRowsSeen, hostViolations, pythonRows, pythonThreads int64
	var engineName string
	var engineRows int64
	var others []ThreadTimes
	spilled := int64(0)
	pythonClass := a.lex.class("python_function")
	all := &view{lex: a.lex, opClass: a.lex.class("cpu_op")}
	py := &view{lex: a.lex, python: true}
	inner := &innermost{lex: a.lex}
	for file, c := range a.files {
		questions := a.questions(file, c, &late, &proxyLate, transitions)
		var steps []span
		for _, s := range c.stepList {
			steps = append(steps, span{s.start, s.end})
		}
		late.running = union(steps)
		points := c.launchPoints()
		mainThread, haveMain := c.engineThread()
		spilled += c.hosts.spilled
		for id := range c.hosts.threads {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			thread := uint32(id)
			if c.real(thread) != thread {
				continue
			}
			members := []int{id}
			for other := range c.hosts.threads {
				if other != id && c.real(uint32(other)) == thread {
					members = append(members, other)
				}
			}
			inner.ask(questions[thread])
			asked := len(inner.lists) > 0
			all.points = points[thread]
			wanted := a.opts.Thread == "" || strings.Contains(c.threadName(thread), a.opts.Thread)
			err := c.hosts.each(members, func(r *hostRow) {
				row := *r
				row.start += c.moved
				if c.limits != nil {
					from, to := max(row.start, c.limits.from), min(row.end(), c.limits.to)
					if to < from || from == to && row.dur > 0 {
						return
					}
					row.start, row.dur = from, to-from
				}
				all.push(&row)
				if asked {
					inner.push(&row)
				}
				if row.class == pythonClass && wanted {
					py.push(&row)
				}
			})
			if err != nil {
				return err
			}
			all.close()
			py.close()
			inner.close()
			for _, name := range all.touched {
				s := &all.sums[name]
				host.add(uint64(s.class)<<32|uint64(name), s)
			}
			hostRowsSeen += all.rows
			hostViolations += all.violations
			for i, ns := range all.classSelf {
				classSelf[i] += ns
			}
			if py.rows > 0 {
				pythonRows += py.rows
				pythonThreads++
				own := nameSums{}
				for _, name := range py.touched {
					python.add(uint64(name), &py.sums[name])
					own.add(uint64(name), &py.sums[name])
					info := a.lex.info(name)
					for _, g := range [3]uint32{info.file, info.pkg, info.module} {
						if g != 0 {
							groups.add(uint64(g), &nameSum{self: py.sums[name].self})
						}
					}
				}
				for _, g := range py.grouped {
					groups.add(uint64(g), &nameSum{count: py.groups[g].count, total: py.groups[g].total})
				}
				if haveMain && thread == mainThread {
					for key, s := range own {
						engine.add(key, s)
					}
					engineRows += py.rows
					if engineName == "" {
						engineName = c.threadName(thread)
					}
				} else {
					list := a.nameTimes(own, false)
					others = append(others, ThreadTimes{Thread: a.threadLabel(file, thread), Rows: py.rows, TopSelf: sortedBy(list, bySelf, 5)})
				}
			}
			all.reset()
			py.reset()
		}
	}
	a.gapFigures(&late)
	a.proxyGaps(&proxyLate)
	a.reportTransitions(transitions)
	if hostRowsSeen == 0 {
		a.warn("no host rows: no figures of Python and host times")
		return nil
	}
	list := a.nameTimes(host, true)
	a.report.Host = &Host{Rows: hostRowsSeen, Violations: hostViolations, TopSelf: sortedBy(list, bySelf, a.opts.Top)}
	a.report.HostSelf = map[string]int64{}
	for i, ns := range classSelf {
		if ns > 0 {
			a.report.HostSelf[a.lex.classes[i]] += ns
		}
	}
	a.report.Ops = a.opTimes(list)
	if pythonRows == 0 {
		a.warn("no Python rows (the profiler ran without stacks): no Python times")
		return nil
	}
	names := a.nameTimes(python, false)
	p := &Python{Rows: pythonRows, Threads: pythonThreads, Violations: hostViolations, TopSelf: sortedBy(names, bySelf, a.opts.Top), TopTotal: sortedBy(names, byTotal, a.opts.Top)}
	var files, packages, modules []NameTime
	for id, s := range groups {
		name := a.lex.groupNames[id]
		row := NameTime{Name: name[2:], Count: s.count, Total: s.total, Self: s.self}
		switch name[0] {
		case 'f':
			files = append(files, row)
		case 'p':
			packages = append(packages, row)
		default:
			modules = append(modules, row)
		}
	}
	p.ByFile, p.ByPackage = sortedBy(files, bySelf, a.opts.Top), sortedBy(packages, bySelf, a.opts.Top)
	p.ByModule = sortedBy(modules, byTotal, a.opts.Top)
	if engineRows > 0 {
		list := a.nameTimes(engine, false)
		p.Engine = &ThreadTimes{Thread: engineName, Rows: engineRows, TopSelf: sortedBy(list, bySelf, a.opts.Top), TopTotal: sortedBy(list, byTotal, a.opts.Top)}
	}
	slices.SortStableFunc(others, func(x, y ThreadTimes) int { return -cmpInt(x.Rows, y.Rows) })
	p.Others = others
	a.report.Python = p
	return nil
}

func (a *analysis) threadLabel(file int, thread uint32) string {
	name := a.files[file].threadName(thread)
	if a.several() {
		return a.files[file].meta.Name + " " + name
	}
	return name
}

func (a *analysis) nameTimes(sums nameSums, classes bool) []NameTime {
	out := make([]NameTime, 0, len(sums))
	for key, s := range sums {
		n := NameTime{Name: a.lex.names.Full(uint32(key)), Count: s.count, Total: s.total, Self: s.self}
		if classes {
			n.Class = a.lex.classes[key>>32]
			if s.device > 0 {
				n.Device = ptr(s.device)
			}
		}
		out = append(out, n)
	}
	return out
}

// opTimes are the operators of a list, by the device work they started, else by time.
func (a *analysis) opTimes(list []NameTime) []NameTime {
	var ops []NameTime
	for _, n := range list {
		if n.Class == "cpu_op" {
			n.Class = ""
			ops = append(ops, n)
		}
	}
	return sortedBy(ops, byTotal, a.opts.Top)
}

// engineThread is the thread of the steps, else the one with most host rows.
func (c *contents) engineThread() (uint32, bool) {
	if len(c.stepList) > 0 {
		// vLLM's rows on Gaudi may stand on a thread of their own that holds nothing else.
		if t := c.real(c.stepList[0].thread); t != c.stepList[0].thread || c.stepList[0].rule != ruleGaudi {
			return t, true
		}
	}
	best, most := uint32(0), int64(0)
	for id := range c.hosts.threads {
		if n := c.hosts.threads[id].total; n > most {
			best, most = uint32(id), n
		}
	}
	return best, most > 0
}

// launchPoints are, by thread, the moments at which device work was handed over.
func (c *contents) launchPoints() map[uint32][]launchPoint {
	if len(c.rows) == 0 {
		return nil
	}
	perCall := make([]int64, len(c.calls))
	for i := range c.rows {
		if r := &c.rows[i]; r.call >= 0 {
			perCall[r.call] += r.end - r.start
		}
	}
	out := map[uint32][]launchPoint{}
	for call, ns := range perCall {
		if ns > 0 {
			k := &c.calls[call]
			thread := c.real(k.thread)
			out[thread] = append(out[thread], launchPoint{k.start, ns})
		}
	}
	for _, list := range out {
		sortRuns(list, func(x, y *launchPoint) bool { return x.at < y.at })
	}
	return out
}

// questions are, by thread, the stretches of time whose cause is asked for.
func (a *analysis) questions(file int, c *contents, late, proxyLate *attribution, transitions map[[2]string]*transitionSum) map[uint32][][]question {
	out := map[uint32][][]question{}
	// Gaps of different devices may overlap, so each device has a list of its own.
	perDevice := map[uint32]map[uint16][]question{}
	for i := range c.gaps {
		g := &c.gaps[i]
		if g.reason != hostLate {
			continue
		}
		late.asked += g.lateEnd - g.from
		thread := c.real(g.thread)
		if perDevice[thread] == nil {
			perDevice[thread] = map[uint16][]question{}
		}
		perDevice[thread][g.device] = append(perDevice[thread][g.device], question{g.from, g.lateEnd, late})
	}
	for thread, devices := range perDevice {
		for _, list := range devices {
			out[thread] = append(out[thread], list)
		}
	}
	if len(c.rows) == 0 {
		for thread, list := range c.proxyQuestions(proxyLate) {
			out[thread] = append(out[thread], list)
		}
	}
	steps := a.engineSteps()
	if len(steps) == 0 || steps[0].file != file {
		return out
	}
	work := c.work()
	last := map[uint32]*step{}
	between := map[uint32][]question{}
	for _, s := range steps {
		prev := last[s.thread]
		last[s.thread] = s
		if prev == nil {
			continue
		}
		key := [2]string{prev.info.phase, s.info.phase}
		t := transitions[key]
		if t == nil {
			t = &transitionSum{from: key[0], to: key[1]}
			transitions[key] = t
		}
		t.count++
		gap := max(0, s.start-prev.end)
		t.host = append(t.host, gap)
		t.at.asked += gap
		if gap > 0 {
			thread := c.real(s.thread)
			between[thread] = append(between[thread], question{prev.end, s.start, &t.at})
		}
		if prev.hasDevice() && s.hasDevice() {
			free := int64(0)
			if s.devStart > prev.devEnd {
				free = s.devStart - prev.devEnd - within(work, prev.devEnd, s.devStart)
			}
			t.device = append(t.device, free)
		}
	}
	for thread, list := range between {
		out[thread] = append(out[thread], list)
	}
	return out
}

func (a *analysis) reportTransitions(sums map[[2]string]*transitionSum) {
	window := a.window.to - a.window.from
	for _, t := range sums {
		out := Transition{From: t.from, To: t.to, Count: t.count, HostGap: statsOf(t.host), DevGap: statsOf(t.device), ByClass: a.byClass(&t.at)}
		if window > 0 {
			out.Share = ptr(round(float64(out.HostGap.Total)/float64(window), 6))
		}
		a.report.Transitions = append(a.report.Transitions, out)
	}
	slices.SortFunc(a.report.Transitions, func(x, y Transition) int {
		if x.HostGap.Total != y.HostGap.Total {
			return -cmpInt(x.HostGap.Total, y.HostGap.Total)
		}
		return strings.Compare(x.From+"\x00"+x.To, y.From+"\x00"+y.To)
	})
}
