package breakdown

import (
	"slices"
)

// A question is a stretch of time on one thread, to be attributed to what the thread was
// doing. The questions of one list do not overlap and are ascending.
type question struct {
	from, to int64
	into     *attribution
}

// An attribution is where time went.
type attribution struct {
	asked, covered int64
	class          [256]int64
	name           map[uint64]int64 // class << 32 | name
	label          [labelCount]int64
	// running is when steps ran: waiting inside a step is not waiting for requests.
	running    []span
	waitInStep int64
}

func (a *attribution) add(from, to int64, f *frame) {
	ns := to - from
	a.covered += ns
	a.class[f.class] += ns
	if a.name == nil {
		a.name = map[uint64]int64{}
	}
	a.name[uint64(f.class)<<32|uint64(f.name)] += ns
	if f.label == labelWait {
		inside := within(a.running, from, to)
		a.waitInStep += inside
		ns -= inside
	}
	a.label[f.label] += ns
}

// A launchPoint is device work that a call at a moment started.
type launchPoint struct{ at, device int64 }

// A frame is one slice on a thread's stack.
type frame struct {
	start, end int64
	name       uint32
	class      uint8
	label      uint8
	outermost  bool // no slice of its name around it
	outerGroup [3]bool
}

// nameSum is the time of one name on one thread.
type nameSum struct {
	count, total, self, device int64
	class                      uint8
	depth                      int32
	seen                       bool
}

// A view is one reading of a thread's slices as a stack: of all host rows, or of the
// Python rows alone.
type view struct {
	python bool
	lex    *lexicon
	stack  []frame
	cursor int64

	sums       []nameSum // by name
	touched    []uint32
	groups     []nameSum // by group, Python only
	grouped    []uint32
	violations int64
	rows       int64
	classSelf  [256]int64

	points  []launchPoint
	opClass uint8
}

func (v *view) sum(name uint32) *nameSum {
	for int(name) >= len(v.sums) {
		v.sums = append(v.sums, make([]nameSum, 1+int(name)-len(v.sums))...)
	}
	s := &v.sums[name]
	if !s.seen {
		s.seen = true
		v.touched = append(v.touched, name)
	}
	return s
}

func (v *view) group(id uint32) *nameSum {
	for int(id) >= len(v.groups) {
		v.groups = append(v.groups, make([]nameSum, 1+int(id)-len(v.groups))...)
	}
	g := &v.groups[id]
	if !g.seen {
		g.seen = true
		v.grouped = append(v.grouped, id)
	}
	return g
}

// reset forgets a thread.
func (v *view) reset() {
	for _, name := range v.touched {
		v.sums[name] = nameSum{}
	}
	for _, id := range v.grouped {
		v.groups[id] = nameSum{}
	}
	v.touched, v.grouped, v.stack = v.touched[:0], v.grouped[:0], v.stack[:0]
	v.violations, v.rows, v.classSelf = 0, 0, [256]int64{}
	v.points = nil
}

// segment accounts for the time up to to, in which the top of the stack ran.
func (v *view) segment(to int64) {
	from := v.cursor
	if to <= from {
		return
	}
	v.cursor = to
	top := &v.stack[len(v.stack)-1]
	v.sums[top.name].self += to - from
	if v.python {
		return
	}
	v.classSelf[top.class] += to - from
	for len(v.points) > 0 && v.points[0].at < to {
		p := v.points[0]
		v.points = v.points[1:]
		if p.at < from {
			continue
		}
		for i := range v.stack {
			if f := &v.stack[i]; f.class == v.opClass && f.outermost {
				v.sums[f.name].device += p.device
			}
		}
	}
}

// advance closes what ended by at.
func (v *view) advance(at int64) {
	for n := len(v.stack); n > 0; n = len(v.stack) {
		top := &v.stack[n-1]
		if top.end > at {
			v.segment(at)
			return
		}
		v.segment(top.end)
		v.pop(top)
		v.stack = v.stack[:n-1]
	}
}

func (v *view) pop(f *frame) {
	v.sums[f.name].depth--
	if !v.python {
		return
	}
	info := v.lex.info(f.name)
	for i, id := range [3]uint32{info.file, info.pkg, info.module} {
		if id == 0 {
			continue
		}
		g := &v.groups[id]
		g.depth--
		if f.outerGroup[i] {
			g.total += f.end - f.start
		}
	}
}

// push takes the next row.
func (v *view) push(r *hostRow) {
	v.advance(r.start)
	f := frame{start: r.start, end: r.end(), name: r.name, class: r.class}
	if n := len(v.stack); n > 0 {
		top := &v.stack[n-1]
		if f.end > top.end {
			v.violations++
			f.end = top.end
		}
	}
	v.cursor = r.start
	v.rows++
	s := v.sum(r.name)
	s.count++
	s.class = r.class
	if s.depth == 0 {
		s.total += f.end - f.start
		f.outermost = true
	}
	s.depth++
	if v.python {
		info := v.lex.info(r.name)
		v.lex.groupsOf(r.name, info)
		for i, id := range [3]uint32{info.file, info.pkg, info.module} {
			if id == 0 {
				continue
			}
			g := v.group(id)
			g.count++
			f.outerGroup[i] = g.depth == 0
			g.depth++
		}
	}
	v.stack = append(v.stack, f)
}

// close ends the thread.
func (v *view) close() {
	for n := len(v.stack); n > 0; n = len(v.stack) {
		top := &v.stack[n-1]
		v.segment(top.end)
		v.pop(top)
		v.stack = v.stack[:n-1]
	}
}

// An innermost answers questions about one thread: what the innermost slice was at each
// moment of a stretch. Slices nest with few exceptions; where one reaches over the slice
// around it, it is cut there, judged among the slices that reach into the stretch.
type innermost struct {
	lex    *lexicon
	active []frame // slices that may still run, in the order of their start
	lists  []questionList
}

// A questionList is the questions of one kind, with the stack of the one being answered.
type questionList struct {
	questions []question
	open      bool
	stack     []frame
	cursor    int64
}

func (n *innermost) ask(lists [][]question) {
	n.active = n.active[:0]
	n.lists = n.lists[:0]
	for _, l := range lists {
		n.lists = append(n.lists, questionList{questions: l})
	}
}

// advance answers what can be answered before at.
func (n *innermost) advance(at int64) {
	for i := range n.lists {
		l := &n.lists[i]
		for len(l.questions) > 0 {
			q := &l.questions[0]
			if !l.open {
				if q.from > at {
					break
				}
				l.open, l.cursor, l.stack = true, q.from, l.stack[:0]
				for j := range n.active {
					if n.active[j].end > q.from {
						l.push(n.active[j])
					}
				}
			}
			l.run(min(at, q.to))
			if at < q.to {
				break
			}
			l.open = false
			l.questions = l.questions[1:]
		}
	}
}

func (l *questionList) push(f frame) {
	if len(l.stack) > 0 {
		top := &l.stack[len(l.stack)-1]
		f.end = min(f.end, top.end)
		if f.label == labelNone {
			f.label = top.label
		}
	}
	l.stack = append(l.stack, f)
}

// run accounts for the time up to to.
func (l *questionList) run(to int64) {
	for len(l.stack) > 0 {
		top := &l.stack[len(l.stack)-1]
		if until := min(top.end, to); until > l.cursor {
			l.questions[0].into.add(l.cursor, until, top)
			l.cursor = until
		}
		if top.end > to {
			return
		}
		l.stack = l.stack[:len(l.stack)-1]
	}
	l.cursor = to
}

func (n *innermost) push(r *hostRow) {
	n.advance(r.start)
	info := n.lex.info(r.name)
	f := frame{end: r.end(), name: r.name, class: r.class, label: info.label}
	for i := range n.lists {
		if l := &n.lists[i]; l.open {
			l.push(f)
		}
	}
	for len(n.active) > 0 && n.active[len(n.active)-1].end <= r.start {
		n.active = n.active[:len(n.active)-1]
	}
	n.active = append(n.active, f)
}

// close ends the thread.
func (n *innermost) close() { n.advance(1<<63 - 1) }

// groupsOf works out which file, package and module a Python name belongs to.
func (l *lexicon) groupsOf(id uint32, n *nameInfo) {
	if n.grouped {
		return
	}
	n.grouped = true
	file, pkg, module := pythonGroups(l.names.Text(id))
	n.file, n.pkg, n.module = l.groupID("f "+file), l.groupID("p "+pkg), l.groupID("m "+module)
}

func (l *lexicon) groupID(key string) uint32 {
	if len(key) == 2 {
		return 0
	}
	if id, ok := l.groupIDs[key]; ok {
		return id
	}
	id := uint32(len(l.groupNames))
	l.groupNames = append(l.groupNames, key)
	l.groupIDs[key] = id
	return id
}

// sums gathers names over threads.
type nameSums map[uint64]*nameSum // class << 32 | name, or the group's id

func (s nameSums) add(key uint64, n *nameSum) {
	t := s[key]
	if t == nil {
		t = &nameSum{class: n.class}
		s[key] = t
	}
	t.count += n.count
	t.total += n.total
	t.self += n.self
	t.device += n.device
}

// sortedBy lists names by a figure, longest first, then by name.
func sortedBy(list []NameTime, figure func(*NameTime) int64, top int) []NameTime {
	slices.SortFunc(list, func(a, b NameTime) int {
		switch x, y := figure(&a), figure(&b); {
		case x > y:
			return -1
		case x < y:
			return 1
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		case a.Class < b.Class:
			return -1
		case a.Class > b.Class:
			return 1
		}
		return 0
	})
	if top > 0 && len(list) > top {
		list = list[:top]
	}
	return slices.Clone(list)
}

func bySelf(n *NameTime) int64  { return n.Self }
func byTotal(n *NameTime) int64 { return n.Total }
