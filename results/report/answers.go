package report

import (
	"fmt"
	"io"
	"strings"

	"servebench/profiles/breakdown"
)

// Server is what a run found in the server's trace, as its folder keeps it.
type Server struct {
	// Trace is the analysis of the traces.
	Trace *breakdown.Report `json:"trace"`
	// Clock says how the clocks of client and server stand; nil without a merged file.
	Clock *ClockNote `json:"clock,omitempty"`
	// Requests compares the client's figures with the server's; nil without requests.
	Requests *RequestNote `json:"requests,omitempty"`
}

// ClockNote is the server's clock minus the client's, with its bounds, in ns.
type ClockNote struct {
	Theta   int64  `json:"theta_ns"`
	Lo      *int64 `json:"theta_lo_ns,omitempty"`
	Hi      *int64 `json:"theta_hi_ns,omitempty"`
	Method  string `json:"method"`
	Aligned bool   `json:"aligned"`
}

// RequestNote splits the time to the first token at the server's steps. Times are means in ns.
type RequestNote struct {
	Linked       int   `json:"linked"`
	Ambiguous    int   `json:"ambiguous"`
	Unlinked     int   `json:"unlinked"`
	NetworkQueue int64 `json:"network_and_queue_mean_ns"`
	Prefill      int64 `json:"prefill_mean_ns"`
	Return       int64 `json:"return_mean_ns"`
	// Counted is how many requests the means are over: linked without a doubt.
	Counted int `json:"counted"`
	// OnDevice says that prefills were traced to their end on the device; else they end where the host's step does.
	OnDevice bool `json:"on_device"`
}

// Answers prints what happened inside the server: steps, gaps, recompilations and Python's times.
func Answers(w io.Writer, s *Server) error {
	t := &table{w: w}
	a := s.Trace.Answers()
	t.title(" Inside the Server ", "=")
	t.text("Trace window (ms):", millis(a.Wall.Nanoseconds()))
	if a.HasBusy {
		t.text("Device busy (%):", fixed(100*a.Busy))
	}
	if c := s.Clock; c != nil {
		t.text("Clock, server minus client (ms):", c.text())
	}
	t.steps(a)
	t.gapsInside(s.Trace, a)
	t.compiled(s.Trace, a)
	t.padding(s.Trace.Padding)
	if len(a.Python) > 0 {
		t.title("Python, Self Time", "-")
		for _, n := range a.Python[:min(5, len(a.Python))] {
			t.text(shortName(n.Name)+":", fmt.Sprintf("%s ms in %d calls", millis(n.Self), n.Count))
		}
	} else if h := s.Trace.Host; h != nil && len(h.TopSelf) > 0 {
		t.title("Host, Self Time", "-")
		for _, n := range h.TopSelf[:min(5, len(h.TopSelf))] {
			t.text(shortName(n.Name)+":", fmt.Sprintf("%s ms in %d calls", millis(n.Self), n.Count))
		}
	}
	t.firstTokens(s.Requests)
	for _, warning := range a.Warnings {
		t.line("note: %s", warning)
	}
	t.title("", "=")
	return t.err
}

func millis(ns int64) string { return fixed(float64(ns) / 1e6) }

func (c *ClockNote) text() string {
	text := millis(c.Theta)
	if c.Lo != nil && c.Hi != nil {
		text += fmt.Sprintf(" within %s..%s", millis(*c.Lo), millis(*c.Hi))
	}
	text += ", " + c.Method
	if !c.Aligned {
		text += ", NOT ALIGNED"
	}
	return text
}

func shortName(name string) string {
	const most = 38
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	if runes[0] == '<' { // <built-in method NAME of ...>: the name comes first
		return string(runes[:most-3]) + "..."
	}
	return "..." + string(runes[len(runes)-most+3:])
}

// steps prints a line a phase.
func (t *table) steps(a breakdown.Answers) {
	if len(a.Phases) == 0 {
		return
	}
	t.title("Engine Steps (ms)", "-")
	t.line("%-12s %7s %9s %9s %9s %9s", "", "n", "mean", "p50", "p99", "total")
	row := func(name string, s *breakdown.Stats) {
		if s != nil {
			t.line("%-12s %7d %9s %9s %9s %9s", name, s.Count, fixed(s.Mean/1e6), millis(s.P50), millis(s.P99), millis(s.Total))
		}
	}
	for _, p := range a.Phases {
		row(p.Phase, p.Host)
		row("  device", p.Device)
		row("  period", p.Period)
	}
}

// gapsInside prints idle times of devices by their reason, or, where no device was traced, the gaps between steps.
func (t *table) gapsInside(r *breakdown.Report, a breakdown.Answers) {
	t.title("Host Gaps (ms)", "-")
	for _, g := range a.Gaps {
		t.text(strings.ReplaceAll(g.Reason, "_", " ")+":", fmt.Sprintf("%s in %d", millis(g.Total.Nanoseconds()), g.Count))
	}
	for _, tr := range r.Transitions {
		if tr.HostGap != nil {
			t.text(fmt.Sprintf("between steps, %s to %s:", tr.From, tr.To),
				fmt.Sprintf("%s in %d, p99 %s", millis(tr.HostGap.Total), tr.Count, millis(tr.HostGap.P99)))
		}
	}
	if p := r.Proxy; p != nil {
		t.text("device busy, at most (estimate):", millis(p.BusyMax))
		t.text("device idle, at least (estimate):", millis(p.IdleMin))
		t.text("host blocked by the device:", millis(p.Blocked))
		t.text("host preparing batches:", millis(p.Preparing))
	}
	if g := r.Gaps; g != nil {
		for _, late := range g.Top {
			if late.Name != "" && late.Class != "(none)" { // else no slice was open on the launching thread
				t.text("most of host late in:", shortName(late.Name))
				break
			}
		}
	}
}

func (t *table) compiled(r *breakdown.Report, a breakdown.Answers) {
	if r.Compiles == nil {
		return
	}
	t.title("Recompilations", "-")
	t.text("Compiled:", fmt.Sprintf("%d, %s ms", a.Compiles, millis(a.CompileTime.Nanoseconds())))
	if a.Compiles > 0 {
		t.text("after the first steps:", fmt.Sprint(a.LateCompiles))
	}
	for _, c := range r.Compiles.List[:min(5, len(r.Compiles.List))] {
		t.text(shortName(c.Name)+":", strings.TrimSpace(millis(c.Total)+" ms "+c.Bucket))
	}
	if n := len(r.Compiles.List); n > 5 {
		t.line("and %d more", n-5)
	}
	if n := len(r.Compiles.Suspected); n > 0 {
		t.text("suspected, from slow steps:", fmt.Sprint(n))
	}
}

func (t *table) padding(p *breakdown.Padding) {
	if p == nil {
		return
	}
	t.title("Padding to Buckets", "-")
	for _, part := range []struct {
		name  string
		share *float64
	}{{"Batch slots wasted (%):", p.Batch}, {"Prompt tokens wasted (%):", p.PromptTokens}, {"Decode blocks wasted (%):", p.DecodeBlocks}} {
		if part.share != nil {
			t.text(part.name, fixed(100**part.share))
		}
	}
}

func (t *table) firstTokens(r *RequestNote) {
	if r == nil {
		return
	}
	t.title("Time to First Token, Split", "-")
	t.text("Requests linked to their steps:", fmt.Sprintf("%d, %d with a doubt, %d not", r.Linked, r.Ambiguous, r.Unlinked))
	if r.Counted > 0 {
		t.text("Network and queue, mean (ms):", millis(r.NetworkQueue))
		prefill := "Prefill on the host, mean (ms):"
		if r.OnDevice {
			prefill = "Prefill, mean (ms):"
		}
		t.text(prefill, millis(r.Prefill))
		t.text("Way back, mean (ms):", millis(r.Return))
	}
}
