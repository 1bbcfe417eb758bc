package breakdown

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteText writes the report for people: the answers first, then the tables behind them.
func (r *Report) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	p := r.page()
	for _, f := range p.Files {
		fmt.Fprintln(out, f)
	}
	for i, t := range p.Tables {
		fmt.Fprintf(out, "\n%s\n", t.Title)
		tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprintln(tw, "  "+strings.Join(row, "\t"))
		}
		tw.Flush()
		if i == 0 && len(p.Warnings) > 0 {
			fmt.Fprintln(out)
			for _, w := range p.Warnings {
				fmt.Fprintf(out, "warning: %s\n", w)
			}
		}
	}
	return out.Flush()
}

// A page is a report as people read it, before it is laid out.
type page struct {
	Files    []string
	Warnings []string
	Tables   []table // the answers first
}

type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

func (r *Report) page() *page {
	t := &texter{}
	t.summary(r)
	t.tables(r)
	t.page.Warnings = r.Answers().Warnings
	return &t.page
}

// A texter gathers the tables of a page.
type texter struct{ page page }

// table adds a table; the first row is its head, columns are separated by tabs. A table
// without rows is left out.
func (t *texter) table(title string, rows []string) {
	if len(rows) < 2 {
		return
	}
	out := table{Title: title, Head: strings.Split(rows[0], "\t")}
	for _, row := range rows[1:] {
		out.Rows = append(out.Rows, strings.Split(row, "\t"))
	}
	t.page.Tables = append(t.page.Tables, out)
}

// cell is a name that cannot break a table.
func cell(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// duration prints nanoseconds with four significant digits or so.
func duration(ns int64) string {
	abs := ns
	if abs < 0 {
		abs = -abs
	}
	switch {
	case abs < 1_000:
		return strconv.FormatInt(ns, 10) + " ns"
	case abs < 1_000_000:
		return strconv.FormatFloat(float64(ns)/1e3, 'f', 2, 64) + " us"
	case abs < 1_000_000_000:
		return strconv.FormatFloat(float64(ns)/1e6, 'f', 3, 64) + " ms"
	}
	return strconv.FormatFloat(float64(ns)/1e9, 'f', 3, 64) + " s"
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 2, 64) + " %" }

// cutName shortens a name from its middle, where names differ least.
func cutName(s string, n int) string {
	s = cell(s)
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n*2/3]) + "..." + string(r[len(r)-(n-n*2/3-3):])
}

func (t *texter) summary(r *Report) {
	a := r.Answers()
	for _, f := range r.Files {
		rank := ""
		if f.Rank != nil {
			rank = fmt.Sprintf(", rank %d of %d", *f.Rank, *f.World)
		}
		cut := ""
		if !f.Complete {
			cut = ", incomplete"
		}
		t.page.Files = append(t.page.Files, fmt.Sprintf("%s: %d events%s%s", f.File, f.Events, rank, cut))
	}
	rows := []string{"figure\tvalue"}
	add := func(name, format string, args ...any) { rows = append(rows, name+"\t"+fmt.Sprintf(format, args...)) }
	if r.Window != nil {
		add("wall ("+r.Window.Source+")", "%s", duration(r.Window.Length()))
	}
	if a.HasBusy {
		add("device busy", "%s of the window (%s)", percent(a.Busy), plural(len(r.Devices), "device"))
	}
	for _, g := range a.Gaps {
		count := ""
		if g.Count > 0 {
			count = fmt.Sprintf(" in %d gaps", g.Count)
		}
		add("idle: "+g.Reason, "%s%s", duration(int64(g.Total)), count)
	}
	if p := r.Proxy; p != nil {
		add("device busy (estimate)", "at most %s of %s", duration(p.BusyMax), duration(p.Span))
		add("host blocked on the device", "%s", duration(p.Blocked))
	}
	for _, p := range r.ByPhase {
		value := fmt.Sprintf("%d steps, host %s", p.Count, duration(p.Host.Total))
		if p.DevBusy != nil {
			value += ", device " + duration(p.DevBusy.Total)
		}
		if p.TokensPerSecond != nil && *p.TokensPerSecond > 0 {
			value += fmt.Sprintf(", %.1f tokens/s", *p.TokensPerSecond)
		}
		if p.Period != nil {
			value += fmt.Sprintf(", period p50 %s p99 %s", duration(p.Period.P50), duration(p.Period.P99))
		}
		add(p.Phase, "%s", value)
	}
	if c := r.Compiles; c != nil {
		value := fmt.Sprintf("%d, %s", c.Count, duration(c.Total))
		if c.After != nil {
			value += fmt.Sprintf("; %d after the first %d steps", c.After.Count, c.After.Steps)
		}
		add("recompilations", "%s", value)
	}
	for i, k := range r.Kernels[:min(len(r.Kernels), 5)] {
		add(fmt.Sprintf("kernel %d", i+1), "%s, %d runs, %s", cutName(k.Short, 60), k.Count, duration(k.Total))
	}
	if r.Gaps != nil {
		for i, h := range r.Gaps.Top[:min(len(r.Gaps.Top), 5)] {
			name := h.Name
			if name == "" {
				name = h.Class
			}
			add(fmt.Sprintf("host-late %d", i+1), "%s (%s), %s", cutName(name, 60), h.Class, duration(h.Total))
		}
	}
	if p := r.Padding; p != nil {
		var parts []string
		for _, v := range []struct {
			name  string
			share *float64
		}{{"batch", p.Batch}, {"prompt tokens", p.PromptTokens}, {"decode blocks", p.DecodeBlocks}} {
			if v.share != nil {
				parts = append(parts, v.name+" "+percent(*v.share))
			}
		}
		add("padding waste", "%s", strings.Join(parts, ", "))
	}
	if c := r.Comm; c != nil && c.Kernels > 0 {
		add("communication", "%s, %s of it hidden", duration(c.Comm), duration(c.Overlap))
	}
	t.table("Answers", rows)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func statsRow(s *Stats) string {
	if s == nil {
		return "-\t-\t-\t-\t-"
	}
	return strings.Join([]string{duration(int64(s.Mean)), duration(s.P50), duration(s.P90), duration(s.P99), duration(s.Max)}, "\t")
}

func (t *texter) tables(r *Report) {
	t.devices(r)
	t.gaps(r)
	t.phases(r)
	t.compiles(r)
	t.kernels(r)
	t.python(r)
	t.rest(r)
}

func (t *texter) devices(r *Report) {
	rows := []string{"device\trows\tkernels\tspan\tbusy\tidle\tgaps >= 1 us\tlongest\tbusy of span"}
	for _, d := range r.Devices {
		longest, share := "-", "-"
		if d.GapMax != nil {
			longest = duration(*d.GapMax)
		}
		if d.BusyOfSpan != nil {
			share = percent(*d.BusyOfSpan)
		}
		name := fmt.Sprintf("%d", *d.Device)
		if len(r.Files) > 1 {
			name = cutName(d.File, 30) + " " + name
		}
		rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%s\t%s\t%s\t%d\t%s\t%s", name, d.Rows, d.Kernels, duration(d.Span), duration(d.Busy), duration(d.Idle), d.Gaps1us, longest, share))
	}
	t.table("Devices", rows)
	rows = []string{"device\tstream\trows\tbusy\tspan"}
	for _, d := range r.Devices {
		for _, s := range append(slices.Clone(d.Streams), d.Engines...) {
			rows = append(rows, fmt.Sprintf("%d\t%v\t%d\t%s\t%s", *d.Device, s.Stream, s.Rows, duration(s.Busy), duration(s.Span)))
		}
	}
	t.table("Streams", rows)
	if d := r.AllDevices; d != nil {
		rows = []string{"gap of\tcount\ttotal"}
		for _, b := range d.Histogram {
			name := "at least " + duration(b.From)
			if b.To != nil {
				name = duration(b.From) + " to " + duration(*b.To)
			}
			rows = append(rows, fmt.Sprintf("%s\t%d\t%s", name, b.Count, duration(b.Total)))
		}
		t.table("Gaps by length (all devices as one)", rows)
	}
}

func (t *texter) gaps(r *Report) {
	g := r.Gaps
	if g == nil {
		return
	}
	rows := []string{"reason\tgaps\ttotal"}
	for _, a := range r.Answers().Gaps {
		rows = append(rows, fmt.Sprintf("%s\t%d\t%s", a.Reason, a.Count, duration(int64(a.Total))))
	}
	rows = append(rows, fmt.Sprintf("below %s\t%d\t%s", duration(g.Threshold), g.Below.Count, duration(g.Below.Total)))
	t.table("Gaps by reason", rows)
	t.table("Host late by class", byTime("class", g.ByClass))
	t.table("Host late by meaning", byTime("meaning", g.ByLabel))
	rows = []string{"total\tclass\tname"}
	for _, h := range g.Top[:min(len(g.Top), 15)] {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s", duration(h.Total), h.Class, cutName(h.Name, 90)))
	}
	t.table("Host late by innermost slice", rows)
}

// byTime lists a map of times, longest first.
func byTime(what string, m map[string]int64) []string {
	keys := slices.Sorted(maps.Keys(m))
	slices.SortStableFunc(keys, func(a, b string) int { return -cmpInt(m[a], m[b]) })
	rows := []string{"total\t" + what}
	for _, k := range keys {
		rows = append(rows, duration(m[k])+"\t"+k)
	}
	return rows
}

func (t *texter) phases(r *Report) {
	rows := []string{"phase\tbucket\tsteps\tfigure\tmean\tp50\tp90\tp99\tmax"}
	add := func(p Phase) {
		for i, f := range []struct {
			name  string
			stats *Stats
		}{{"host (dispatch)", p.Host}, {"period", p.Period}, {"device span", p.DevSpan}, {"device busy", p.DevBusy}} {
			if f.stats == nil {
				continue
			}
			head := "\t\t"
			if i == 0 {
				head = fmt.Sprintf("%s\t%s\t%d", p.Phase, cutName(p.Bucket, 40), p.Count)
			}
			rows = append(rows, head+"\t"+f.name+"\t"+statsRow(f.stats))
		}
	}
	for _, p := range r.ByPhase {
		add(p)
	}
	t.table("Steps by phase", rows)
	rows = rows[:1]
	for _, p := range r.Phases[:min(len(r.Phases), 20)] {
		add(p)
	}
	if len(r.Phases) > len(r.ByPhase) {
		t.table("Steps by phase and bucket (longest 20)", rows)
	}
	rows = []string{"from\tto\tcount\tfigure\tmean\tp50\tp90\tp99\tmax"}
	for _, x := range r.Transitions {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d\thost gap\t%s", x.From, x.To, x.Count, statsRow(x.HostGap)))
		if x.DevGap != nil {
			rows = append(rows, "\t\t\tdevice gap\t"+statsRow(x.DevGap))
		}
	}
	t.table("Between steps", rows)
}

func (t *texter) compiles(r *Report) {
	c := r.Compiles
	if c == nil {
		return
	}
	rows := []string{"time\tkind\tname\tstep\tbucket"}
	list := append(slices.Clone(c.List), c.CaptureList...)
	for _, e := range append(list, c.Suspected...)[:min(len(list)+len(c.Suspected), 20)] {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", duration(e.Total), e.Kind, cutName(e.Name, 60), cutName(e.Step, 40), e.Bucket))
	}
	t.table("Recompilations and captures (longest 20)", rows)
	rows = []string{"call\tcount"}
	for _, m := range []map[string]int64{c.GraphLaunches, c.Captures} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			rows = append(rows, fmt.Sprintf("%s\t%d", k, m[k]))
		}
	}
	if c.GraphCalls > 0 {
		rows = append(rows, fmt.Sprintf("compiled graphs run (%d different)\t%d", c.CompiledGraphs, c.GraphCalls))
	}
	if c.Lookups > 0 {
		rows = append(rows, fmt.Sprintf("lookups of compiled frames\t%d", c.Lookups))
	}
	if c.LazyLoading != nil {
		rows = append(rows, fmt.Sprintf("kernels loaded at first use (%s)\t%d", duration(c.LazyLoading.Total), c.LazyLoading.Count))
	}
	t.table("Graphs", rows)
}

func (t *texter) kernels(r *Report) {
	if r.KernelsBy == nil {
		return
	}
	const head = "total\tshare\truns\t"
	rows := []string{head + "kernel"}
	switch r.by {
	case "name":
		for _, k := range r.Kernels[:min(len(r.Kernels), 20)] {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s", duration(k.Total), percent(k.ShareOfTotal), k.Count, cutName(k.Name, 100)))
		}
	case "group":
	default:
		for _, k := range r.KernelsBy.Short[:min(len(r.KernelsBy.Short), 20)] {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s", duration(k.Total), percent(k.ShareOfTotal), k.Count, cutName(k.Name, 100)))
		}
	}
	t.table("Kernels", rows)
	rows = []string{head + "group"}
	for _, k := range r.KernelsBy.Group {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s", duration(k.Total), percent(k.ShareOfTotal), k.Count, k.Name))
	}
	t.table("Kernels by group", rows)
}

func nameRows(list []NameTime, n int, what string) []string {
	rows := []string{"self\ttotal\tcount\t" + what}
	for _, x := range list[:min(len(list), n)] {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s", duration(x.Self), duration(x.Total), x.Count, cutName(x.Name, 90)))
	}
	return rows
}

func (t *texter) python(r *Report) {
	if p := r.Python; p != nil {
		switch {
		case r.by == "file":
			t.table("Python by file (all threads)", nameRows(p.ByFile, 20, "file"))
		case r.by == "package":
			t.table("Python by package (all threads)", nameRows(p.ByPackage, 20, "package"))
		case r.by == "module":
			t.table("Python by module (all threads)", nameRows(p.ByModule, 20, "module"))
		case p.Engine != nil:
			t.table("Python on the engine's thread ("+p.Engine.Thread+"), by self time", nameRows(p.Engine.TopSelf, 15, "frame"))
			t.table("Python on the engine's thread, by total time", nameRows(p.Engine.TopTotal, 15, "frame"))
		default:
			t.table("Python by self time", nameRows(p.TopSelf, 15, "frame"))
		}
		rows := []string{"thread\trows\tmost self time"}
		for _, o := range p.Others[:min(len(p.Others), 10)] {
			top := ""
			if len(o.TopSelf) > 0 {
				top = duration(o.TopSelf[0].Self) + " " + cutName(o.TopSelf[0].Name, 60)
			}
			rows = append(rows, fmt.Sprintf("%s\t%d\t%s", o.Thread, o.Rows, top))
		}
		t.table("Other threads", rows)
	}
	t.table("Host self time by class", byTime("class", r.HostSelf))
	rows := []string{"total\tself\tdevice\tcount\toperator"}
	for _, o := range r.Ops[:min(len(r.Ops), 15)] {
		dev := "-"
		if o.Device != nil {
			dev = duration(*o.Device)
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%d\t%s", duration(o.Total), duration(o.Self), dev, o.Count, cutName(o.Name, 80)))
	}
	t.table("Operators", rows)
}

func (t *texter) rest(r *Report) {
	if l := r.Launch; l != nil {
		rows := []string{"figure\tmean\tp50\tp99\tmax"}
		for _, d := range []struct {
			name  string
			delay *Delay
		}{{"from call", l.DCall}, {"from return", l.DRet}, {"from call, first row", l.FirstCall}, {"from return, first row", l.FirstRet}} {
			if d.delay != nil {
				rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", d.name, duration(int64(d.delay.Mean)), duration(d.delay.P50), duration(d.delay.P99), duration(d.delay.Max)))
			}
		}
		t.table(fmt.Sprintf("Launch delay (%d rows linked, %d not)", l.Linked, l.Unlinked), rows)
		rows = []string{"stream\tmost waiting\ton average"}
		for _, k := range slices.Sorted(maps.Keys(l.Queue)) {
			rows = append(rows, fmt.Sprintf("%s\t%d\t%.3f", k, l.Queue[k].Max, l.Queue[k].Average))
		}
		t.table("Launch queue", rows)
	}
	if c := r.Comm; c != nil && c.Kernels > 0 {
		t.table("Communication", []string{"kernels\tcomm\tcompute\toverlap\texposed", fmt.Sprintf("%d\t%s\t%s\t%s\t%s", c.Kernels, duration(c.Comm), duration(c.Compute), duration(c.Overlap), duration(c.Exposed))})
		rows := []string{"collective\tranks\tcount\ttotal\tbus GB/s"}
		for _, x := range c.Collectives {
			ranks, bus := "-", "-"
			if x.GroupSize != nil {
				ranks = strconv.FormatInt(*x.GroupSize, 10)
			}
			if x.BusBandwidth != nil {
				bus = strconv.FormatFloat(*x.BusBandwidth, 'f', 3, 64)
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s\t%s", cutName(x.Name, 60), ranks, x.Count, duration(x.Total), bus))
		}
		t.table("Collectives", rows)
		if c.Skew != nil {
			t.table("Ranks apart at the start of a collective", []string{"matched\tmean\tp50\tp90\tp99\tmax", fmt.Sprintf("%d\t%s", c.Skew.Matched, statsRow(c.Skew.Start))})
		}
	}
	rows := []string{"copy\tcount\ttotal\tbytes\tGB/s\thidden by compute"}
	for _, c := range r.Copies {
		bytes, rate := "-", "-"
		if c.Bytes != nil {
			bytes = strconv.FormatInt(*c.Bytes, 10)
		}
		if c.Bandwidth != nil {
			rate = strconv.FormatFloat(*c.Bandwidth, 'f', 3, 64)
		}
		rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s", c.Name, c.Count, duration(c.Total), bytes, rate, duration(c.Overlapped)))
	}
	t.table("Copies", rows)
	rows = []string{"memory of\tpeak bytes\tstart\tend\tallocations"}
	for _, k := range slices.Sorted(maps.Keys(r.Memory)) {
		m := r.Memory[k]
		rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%d\t%d", k, m.Peak, m.Start, m.End, m.Allocations))
	}
	t.table("Memory", rows)
	if p := r.Padding; p != nil {
		rows = []string{"phase\tbucket\tsteps\ttime\tbatch\tprompt tokens\tdecode blocks"}
		share := func(v *float64) string {
			if v == nil {
				return "-"
			}
			return percent(*v)
		}
		for _, b := range p.Buckets {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s", b.Phase, b.Bucket, b.Count, duration(b.Total), share(b.Batch), share(b.PromptTokens), share(b.DecodeBlocks)))
		}
		t.table("Padding waste by bucket", rows)
	}
	if p := r.Proxy; p != nil {
		rows = []string{"stream\tlaunches\toutstanding"}
		for _, s := range p.Streams {
			rows = append(rows, fmt.Sprintf("%s\t%d\t%s", s.Stream, s.Launches, duration(s.Outstanding)))
		}
		t.table("Outstanding work (estimate from the host's calls)", rows)
		t.table("Host while nothing was outstanding (estimate)", byTime("class", p.HostGapByClass))
	}
	if q := r.Requests; q != nil {
		rows = []string{"part\tmean\tp50\tp90\tp99\tmax"}
		for _, s := range []struct {
			name  string
			stats *Stats
		}{{"time to first token", q.TTFT}, {"network and queue", q.Queue}, {"prefill", q.Prefill}, {"way back", q.Return}, {"time per token, by request", q.PerToken}, {"period of the steps meanwhile", q.DecodePeriod}} {
			if s.stats != nil {
				rows = append(rows, s.name+"\t"+statsRow(s.stats))
			}
		}
		t.table(fmt.Sprintf("Requests (%d: %d linked to a step, %d to one of several, %d to none)", q.Count, q.Linked, q.Ambiguous, q.Unlinked), rows)
	}
}
