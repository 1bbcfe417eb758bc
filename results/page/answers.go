package page

import (
	"fmt"
	"strings"

	"servebench/profiles/breakdown"
	"servebench/results/report"
)

// answers are what the server's trace says, as tables.
type answers struct {
	Tiles  []tile
	Tables []answerTable
	Notes  []string
}

// An answerTable has its texts on the left and its numbers on the right.
type answerTable struct {
	Title, Note string
	Head        []string
	Rows        [][]string
	Texts       int // columns of text
	// Long says that the first column holds long names, Wide that the table takes the whole width.
	Long, Wide bool
}

// mostListed is how many rows a list of names shows.
const mostListed = 12

func answersOf(s *report.Server) *answers {
	a := s.Trace.Answers()
	out := &answers{Notes: a.Warnings}
	out.tiles(s, a)
	out.steps(a)
	out.gaps(s.Trace, a)
	out.compiles(s.Trace, a)
	out.estimate(s.Trace)
	out.padding(s.Trace.Padding)
	out.kernels(s.Trace)
	out.python(s.Trace, a)
	out.firstTokens(s.Requests)
	return out
}

func nanos(ns int64) string { return ms(float64(ns) / 1e6) }

func (a *answers) table(t answerTable) {
	if len(t.Rows) > 0 {
		a.Tables = append(a.Tables, t)
	}
}

func (a *answers) tiles(s *report.Server, x breakdown.Answers) {
	a.Tiles = append(a.Tiles, tile{"Trace window", fixed(2, x.Wall.Seconds()), "s", ""})
	if x.HasBusy {
		note := ""
		if n := len(s.Trace.Devices); n > 1 {
			note = fmt.Sprintf("mean of %d devices", n)
		}
		a.Tiles = append(a.Tiles, tile{"Device busy", fixed(1, 100*x.Busy), "%", note})
	}
	if s.Trace.Compiles != nil {
		note := ""
		if x.Compiles > 0 {
			note = fmt.Sprintf("%s ms; %d after the first steps", ms(float64(x.CompileTime)/1e6), x.LateCompiles)
		}
		a.Tiles = append(a.Tiles, tile{"Recompilations", count(int(x.Compiles)), "", note})
	}
	if c := s.Clock; c != nil {
		note := c.Method
		if c.Lo != nil && c.Hi != nil {
			note = nanos(*c.Lo) + " … " + nanos(*c.Hi) + ", " + note
		}
		if !c.Aligned {
			note = "NOT ALIGNED; " + note
		}
		a.Tiles = append(a.Tiles, tile{"Server's clock minus the client's", nanos(c.Theta), "ms", note})
	}
}

func (a *answers) steps(x breakdown.Answers) {
	t := answerTable{Title: "Engine steps", Head: []string{"phase", "measured", "steps", "mean ms", "p50 ms", "p99 ms", "total ms"}, Texts: 2, Wide: true}
	for _, p := range x.Phases {
		name := p.Phase
		for _, part := range []struct {
			what  string
			stats *breakdown.Stats
		}{{"on the host", p.Host}, {"on the device", p.Device}, {"from step to step", p.Period}} {
			if st := part.stats; st != nil {
				t.Rows = append(t.Rows, []string{name, part.what, count(int(st.Count)), ms(st.Mean / 1e6), nanos(st.P50), nanos(st.P99), nanos(st.Total)})
				name = ""
			}
		}
	}
	a.table(t)
}

func (a *answers) gaps(r *breakdown.Report, x breakdown.Answers) {
	t := answerTable{Title: "Why the device was idle", Head: []string{"reason", "gaps", "total ms"}, Texts: 1}
	for _, g := range x.Gaps {
		t.Rows = append(t.Rows, []string{strings.ReplaceAll(g.Reason, "_", " "), count(int(g.Count)), nanos(g.Total.Nanoseconds())})
	}
	a.table(t)
	t = answerTable{Title: "Host gaps between steps", Head: []string{"from", "to", "gaps", "p50 ms", "p99 ms", "total ms"}, Texts: 2}
	for _, tr := range r.Transitions {
		if g := tr.HostGap; g != nil {
			t.Rows = append(t.Rows, []string{tr.From, tr.To, count(int(tr.Count)), nanos(g.P50), nanos(g.P99), nanos(g.Total)})
		}
	}
	a.table(t)
	if r.Gaps == nil {
		return
	}
	t = answerTable{Title: "What the host did while the device waited for it", Head: []string{"inside", "total ms"}, Texts: 1, Long: true}
	for _, g := range r.Gaps.Top[:min(len(r.Gaps.Top), mostListed)] {
		name := g.Name
		if name == "" {
			name = "nothing that was traced"
		}
		t.Rows = append(t.Rows, []string{name, nanos(g.Total)})
	}
	a.table(t)
}

func (a *answers) compiles(r *breakdown.Report, x breakdown.Answers) {
	if r.Compiles == nil {
		return
	}
	t := answerTable{Title: "Recompilations", Head: []string{"what", "bucket", "ms"}, Texts: 2, Long: true}
	for _, c := range r.Compiles.List[:min(len(r.Compiles.List), mostListed)] {
		t.Rows = append(t.Rows, []string{c.Name, c.Bucket, nanos(c.Total)})
	}
	if n := len(r.Compiles.List); n > mostListed {
		t.Note = fmt.Sprintf("and %d more", n-mostListed)
	}
	if n := len(r.Compiles.Suspected); n > 0 {
		t.Note = strings.TrimPrefix(t.Note+fmt.Sprintf("; %d more suspected from slow steps", n), "; ")
	}
	a.table(t)
}

func (a *answers) estimate(r *breakdown.Report) {
	p := r.Proxy
	if p == nil {
		return
	}
	a.table(answerTable{
		Title: "The device, estimated from the host", Note: "No device rows were traced; these are bounds.", Head: []string{"", "ms"}, Texts: 1,
		Rows: [][]string{
			{"busy, at most", nanos(p.BusyMax)}, {"idle, at least", nanos(p.IdleMin)},
			{"host blocked by the device", nanos(p.Blocked)}, {"host preparing batches", nanos(p.Preparing)},
		},
	})
}

func (a *answers) padding(p *breakdown.Padding) {
	if p == nil {
		return
	}
	t := answerTable{Title: "Wasted on padding to buckets", Head: []string{"", "share"}, Texts: 1}
	for _, part := range []struct {
		name  string
		share *float64
	}{{"batch slots", p.Batch}, {"prompt tokens", p.PromptTokens}, {"decode blocks", p.DecodeBlocks}} {
		if part.share != nil {
			t.Rows = append(t.Rows, []string{part.name, percent(100 * *part.share)})
		}
	}
	a.table(t)
}

func (a *answers) kernels(r *breakdown.Report) {
	t := answerTable{Title: "Device programs", Head: []string{"name", "runs", "mean ms", "total ms", "of busy time"}, Texts: 1, Long: true}
	for _, k := range r.Kernels[:min(len(r.Kernels), mostListed)] {
		name := k.Short
		if name == "" {
			name = k.Name
		}
		t.Rows = append(t.Rows, []string{name, count(int(k.Count)), fixed(3, k.Mean/1e6), nanos(k.Total), percent(100 * k.ShareOfBusy)})
	}
	a.table(t)
}

func (a *answers) python(r *breakdown.Report, x breakdown.Answers) {
	t := answerTable{Title: "Python, self time", Head: []string{"function", "calls", "self ms"}, Texts: 1, Long: true}
	list := x.Python
	if len(list) == 0 && r.Host != nil {
		t.Title, t.Head[0] = "Host, self time", "slice"
		list = r.Host.TopSelf
	}
	for _, n := range list[:min(len(list), mostListed)] {
		t.Rows = append(t.Rows, []string{n.Name, count(int(n.Count)), nanos(n.Self)})
	}
	a.table(t)
}

func (a *answers) firstTokens(r *report.RequestNote) {
	if r == nil {
		return
	}
	t := answerTable{
		Title: "Time to first token, split at the server's steps", Head: []string{"part", "mean ms"}, Texts: 1,
		Note: fmt.Sprintf("%s requests linked to their steps, %s of them with a doubt, %s not linked.",
			count(r.Linked+r.Ambiguous), count(r.Ambiguous), count(r.Unlinked)),
	}
	if r.Counted > 0 {
		t.Rows = [][]string{{"network and queue", nanos(r.NetworkQueue)}, {"prefill", nanos(r.Prefill)}, {"way back", nanos(r.Return)}}
	}
	a.table(t)
}
