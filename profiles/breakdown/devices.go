package breakdown

import (
	"slices"
	"strings"
)

// A reason says why a device was idle.
type reason uint8

const (
	hostLate reason = iota
	launchLatency
	deviceSide
	unlinked
	reasonCount
)

var reasonNames = [reasonCount]string{"host_late", "launch_latency", "device_side", "unlinked"}

// histogramBounds are where the bins of the histogram of gaps begin.
var histogramBounds = []int64{0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000}

// A busyRun walks rows in the order of their start and finds the holes.
type busyRun struct {
	rows, kernels int64
	first, until  int64
	busy          int64
	gaps          []int64
}

// add takes the next row and returns the hole before it.
func (b *busyRun) add(start, end int64, kernel bool) (gap span, ok bool) {
	b.rows++
	if kernel {
		b.kernels++
	}
	if b.rows == 1 {
		b.first, b.until, b.busy = start, end, end-start
		return span{}, false
	}
	if start > b.until {
		gap, ok = span{b.until, start}, true
		b.gaps = append(b.gaps, start-b.until)
	}
	if end > b.until {
		b.busy += end - max(start, b.until)
		b.until = end
	}
	return gap, ok
}

func (b *busyRun) device(w span) Device {
	d := Device{Rows: b.rows, Kernels: b.kernels, First: b.first, Last: b.until, Span: b.until - b.first, Busy: b.busy}
	d.Idle = d.Span - d.Busy
	d.Gaps = int64(len(b.gaps))
	for i, from := range histogramBounds {
		bin := Bin{From: from}
		if i+1 < len(histogramBounds) {
			bin.To = ptr(histogramBounds[i+1])
		}
		d.Histogram = append(d.Histogram, bin)
	}
	for _, g := range b.gaps {
		i := len(histogramBounds) - 1
		for g < histogramBounds[i] {
			i--
		}
		d.Histogram[i].Count++
		d.Histogram[i].Total += g
		if g >= 1000 {
			d.Gaps1us++
		}
	}
	if len(b.gaps) > 0 {
		d.GapMax, d.GapP50, d.GapP99 = ptr(slices.Max(b.gaps)), ptr(selected(b.gaps, 50)), ptr(selected(b.gaps, 99))
	}
	d.EdgeBefore, d.EdgeAfter = ptr(b.first-w.from), ptr(w.to-b.until)
	if d.Span > 0 {
		d.BusyOfSpan = ptr(round(float64(d.Busy)/float64(d.Span), 6))
	}
	if w.to > w.from {
		d.BusyOfWindow = ptr(round(float64(d.Busy)/float64(w.to-w.from), 6))
	}
	return d
}

// A gapRow is a hole of a device with its reason.
type gapRow struct {
	span
	lateEnd int64  // host_late's part ends here; it begins with the gap
	row     int32  // the device row that ends it
	thread  uint32 // of the call that launched that row
	device  uint16
	file    uint16
	reason  reason
}

// deviceFigures reports busy and idle time of devices and the reasons of gaps.
func (a *analysis) deviceFigures() {
	rows := 0
	for i, c := range a.files {
		a.devicesOf(i, c)
		rows += len(c.rows)
	}
	if rows == 0 {
		a.warn("no device rows: no figures of devices, gaps, kernels, launches and communication")
		return
	}
	if len(a.report.Devices) == 1 && !a.several() {
		d := a.report.Devices[0]
		d.File, d.Device, d.Streams, d.Engines = "", nil, nil, nil
		a.report.AllDevices = &d
		return
	}
	type place struct{ file, row int }
	order := make([]place, 0, rows)
	for i, c := range a.files {
		for _, r := range c.byStart() {
			order = append(order, place{i, r})
		}
	}
	var all busyRun
	if a.several() {
		slices.SortStableFunc(order, func(x, y place) int {
			return cmpInt(a.files[x.file].rows[x.row].start, a.files[y.file].rows[y.row].start)
		})
	}
	for _, p := range order {
		r := &a.files[p.file].rows[p.row]
		all.add(r.start, r.end, r.kind != kindCopy)
	}
	d := all.device(a.window)
	a.report.AllDevices = &d
}

// devicesOf reports the devices of one file. Its rows are sorted by device and start.
func (a *analysis) devicesOf(file int, c *contents) {
	w := a.window
	if !a.clip {
		w, _, _ = c.fileWindow()
	}
	for from := 0; from < len(c.rows); {
		to := from
		dev := c.rows[from].device
		for to < len(c.rows) && c.rows[to].device == dev {
			to++
		}
		var run busyRun
		streams := make([]busyRun, len(c.devices[dev].streams))
		engines := map[string]*busyRun{}
		hpu := isHPU(&c.meta, c.devices[dev].pid)
		for i := from; i < to; i++ {
			r := &c.rows[i]
			if gap, ok := run.add(r.start, r.end, r.kind != kindCopy); ok {
				if n := gap.to - gap.from; n < int64(a.opts.GapThreshold) {
					c.below.add(n)
				} else {
					c.gaps = grown(c.gaps, c.reason(gap, file, i))
				}
			}
			streams[r.stream].add(r.start, r.end, true)
			if !hpu {
				continue
			}
			if kind := c.engineKind(r); kind != "" {
				if engines[kind] == nil {
					engines[kind] = &busyRun{}
				}
				engines[kind].add(r.start, r.end, true)
			}
		}
		d := run.device(w)
		d.File, d.Device = c.meta.Name, ptr(c.devices[dev].number)
		for i := range streams {
			s := &streams[i]
			if s.rows == 0 {
				continue
			}
			var name any = c.devices[dev].streams[i].number
			if n := c.devices[dev].streams[i].name; n != "" {
				name = n
			}
			d.Streams = append(d.Streams, Stream{name, s.rows, s.busy, s.until - s.first})
		}
		sortStreams(d.Streams)
		for kind, e := range engines {
			d.Engines = append(d.Engines, Stream{kind, e.rows, e.busy, e.until - e.first})
		}
		sortStreams(d.Engines)
		a.report.Devices = append(a.report.Devices, d)
		from = to
	}
}

func sortStreams(list []Stream) {
	slices.SortFunc(list, func(a, b Stream) int {
		if a.Busy != b.Busy {
			return -cmpInt(a.Busy, b.Busy)
		}
		x, xn := a.Stream.(int64)
		y, yn := b.Stream.(int64)
		if xn && yn {
			return cmpInt(x, y)
		}
		if xn != yn {
			if xn {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Stream.(string), b.Stream.(string))
	})
}

// engineKind is the kind of a Gaudi lane by its name: MME, TPC, DMA or NIC.
func (c *contents) engineKind(r *deviceRow) string {
	d := &c.devices[r.device]
	if !isHPU(&c.meta, d.pid) {
		return ""
	}
	s := d.streams[r.stream]
	lane := s.name
	if p := c.meta.Processes[d.pid]; p != nil && lane == "" {
		for id, name := range p.Threads {
			if !id.Text && id.N == s.number {
				lane = name
			}
		}
	}
	for _, kind := range []string{"MME", "TPC", "DMA", "NIC"} {
		if strings.Contains(strings.ToUpper(lane), kind) {
			return kind
		}
	}
	return "other"
}

// reason says why a device was idle before one of its rows.
func (c *contents) reason(gap span, file, row int) gapRow {
	r := &c.rows[row]
	g := gapRow{span: gap, file: uint16(file), device: r.device, row: int32(row)}
	if r.call < 0 {
		g.reason = unlinked
		return g
	}
	call := &c.calls[r.call]
	g.thread = call.thread
	if call.start <= gap.from {
		g.reason = deviceSide // the work had been handed over before the gap began
		return g
	}
	g.reason = hostLate
	// A call that began after its row (a poor conversion of clocks) cannot be later than
	// the gap.
	g.lateEnd = min(call.start, gap.to)
	return g
}

// gapFigures reports the reasons of gaps; what the host did was filled into late before.
func (a *analysis) gapFigures(late *attribution) {
	if a.report.AllDevices == nil {
		return
	}
	out := &Gaps{Threshold: int64(a.opts.GapThreshold), Reasons: map[string]Total{}}
	var reasons [reasonCount]Total
	var steps []span
	var inside int64
	var longest []gapRow // descending
	for _, c := range a.files {
		steps = steps[:0]
		for _, s := range c.stepList {
			steps = append(steps, span{s.start, s.end})
		}
		running := union(steps)
		out.Below.Count += c.below.count
		out.Below.Total += c.below.total
		out.Count += int64(len(c.gaps))
		for i := range c.gaps {
			g := &c.gaps[i]
			n := g.to - g.from
			longest = keepLongest(longest, g)
			reasons[g.reason].Count++
			if g.reason != hostLate {
				reasons[g.reason].Total += n
				continue
			}
			part := g.lateEnd - g.from
			reasons[hostLate].Total += part
			reasons[launchLatency].Total += n - part
			inside += within(running, g.from, g.lateEnd)
		}
	}
	for i, t := range reasons {
		if t.Count > 0 || t.Total > 0 {
			out.Reasons[reasonNames[i]] = t
		}
	}
	// The reasons and the gaps below the threshold must add up to the idle time; anything
	// else is a fault of this program, and the figures are not to be trusted.
	sum, idle := out.Below.Total, int64(0)
	for _, t := range out.Reasons {
		sum += t.Total
	}
	for _, d := range a.report.Devices {
		idle += d.Idle
	}
	if sum != idle {
		a.warn("internal fault: the reasons of gaps add up to %d ns, but the idle time is %d ns: no reasons are given", sum, idle)
		return
	}
	if total, ok := out.Reasons[reasonNames[hostLate]]; ok {
		out.ByClass = a.byClass(late)
		out.ByLabel = late.byLabel()
		if len(a.steps) > 0 {
			out.InsideSteps, out.BetweenSteps = ptr(inside), ptr(total.Total-inside)
		}
		for key, ns := range late.name {
			out.Top = append(out.Top, HostLate{a.lex.classes[key>>32], a.lex.names.Full(uint32(key)), ns})
		}
		if rest := late.asked - late.covered; rest > 0 {
			out.Top = append(out.Top, HostLate{a.lex.classes[0], "", rest})
		}
		slices.SortFunc(out.Top, func(x, y HostLate) int {
			switch {
			case x.Total != y.Total:
				return -cmpInt(x.Total, y.Total)
			case x.Name != y.Name:
				return strings.Compare(x.Name, y.Name)
			}
			return strings.Compare(x.Class, y.Class)
		})
		if a.opts.Top > 0 && len(out.Top) > a.opts.Top {
			out.Top = out.Top[:a.opts.Top]
		}
	}
	for _, g := range longest {
		c := a.files[g.file]
		out.Longest = append(out.Longest, Gap{a.fileName(int(g.file)), c.devices[g.device].number, g.from, g.to - g.from, reasonNames[g.reason], a.lex.names.Text(c.rows[g.row].name)})
	}
	a.report.Gaps = out
	if n := out.Reasons[reasonNames[unlinked]]; n.Count > 0 {
		a.warn("%d of %d gaps end with work that no call in the trace is linked to", n.Count, out.Count)
	}
}

// byClass is an attribution by class; time in no slice is (none).
func (a *analysis) byClass(at *attribution) map[string]int64 {
	out := map[string]int64{}
	for i, ns := range at.class {
		if ns > 0 {
			out[a.lex.classes[i]] += ns
		}
	}
	if rest := at.asked - at.covered; rest > 0 {
		out[a.lex.classes[0]] += rest
	}
	return out
}

func (at *attribution) byLabel() map[string]int64 {
	out := map[string]int64{}
	for i, ns := range at.label {
		if i > 0 && ns > 0 {
			out[labelNames[i]] = ns
		}
	}
	if at.waitInStep > 0 {
		out["waiting_inside_step"] = at.waitInStep
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// keepLongest keeps the twenty longest gaps, the earliest of equal ones first.
func keepLongest(list []gapRow, g *gapRow) []gapRow {
	const most = 20
	n := g.to - g.from
	if len(list) == most && n <= list[most-1].to-list[most-1].from {
		return list
	}
	i := len(list)
	for i > 0 && n > list[i-1].to-list[i-1].from {
		i--
	}
	list = slices.Insert(list, i, *g)
	return list[:min(len(list), most)]
}
