package report

import (
	"fmt"
	"io"
	"strings"

	"servebench/results"
	"servebench/results/summary"
)

// Options choose what a text report shows. The zero Options show everything.
type Options struct {
	// Bare leaves our own figures out: vLLM's table alone.
	Bare bool
}

// Text prints vLLM's table on the run's basis, then what it does not know: the response latency, the true number in
// flight, failures by class, and the client's own health. A run that the client limited, or that is not
// whole, says so before anything else.
func Text(w io.Writer, s *summary.Summary, opts Options) error {
	t := &table{w: w}
	opened := map[string]bool{}
	if m := s.Manifest; !opts.Bare && m != nil && (m.Outcome == results.Interrupted || m.Outcome == results.Failed) {
		t.line("WARNING: this run did not go to its end: %s", oneLine(m.Reason))
		t.line("")
	}
	if !opts.Bare && grave(s) {
		for _, warning := range s.Warnings {
			t.line("WARNING: %s", warning)
			opened[warning] = true
		}
		t.line("")
	}
	if t.err == nil {
		t.err = Failures(w, s)
	}
	if t.err == nil {
		t.err = VLLMTable(w, s)
	}
	if opts.Bare {
		return t.err
	}
	t.figures(s)
	t.objectives(s)
	t.responses(s)
	t.stalls(s)
	t.failureClasses(s)
	t.health(s)
	t.audit(s)
	t.title("", "=")
	for _, warning := range s.Warnings {
		if !opened[warning] {
			t.line("warning: %s", warning)
		}
	}
	return t.err
}

// grave says that the numbers below should not be read as the server's.
func grave(s *summary.Summary) bool {
	return s.Health.State == summary.ClientBound || !s.Complete || s.Completed == 0
}

func (t *table) text(label, value string) { t.line("%-40s %s", label, value) }

// dist prints the median, the 99th percentile and, if asked, the maximum.
func (t *table) dist(label string, d *summary.Dist, max bool) {
	if d == nil {
		return
	}
	text := ""
	for _, p := range []float64{50, 99} {
		if v, ok := d.At(p); ok {
			text += fmt.Sprintf("%.3f / ", v)
		}
	}
	if max {
		text += fmt.Sprintf("%.3f", d.Max)
	} else if text != "" {
		text = text[:len(text)-3]
	}
	t.text(label, text)
}

// figures are those of the whole run.
func (t *table) figures(s *summary.Summary) {
	t.title(" Beside vLLM's Figures ", "=")
	basis := map[results.Basis]string{
		results.Service: "written to the kernel", results.Response: "due", results.VLLM: "sent, as vLLM counts",
	}[s.Basis]
	t.text("Latencies above count from:", basis)
	if m := s.Manifest; m.Stamps != "" {
		t.text("Chunks stamped by:", map[string]string{"kernel": "the kernel", "user": "the client itself"}[m.Stamps])
	}
	if v := s.Manifest.HTTPVersion; v != "" {
		t.text("HTTP version:", v+", so that stamps are a shared connection's, late at most")
	}
	if p := s.Manifest.Prompts; p.Method != "" {
		text := map[string]string{"tokenizer": "local tokenizer", "server": "the server's tokenizer", "ids": "token ids"}[p.Method]
		if text == "" {
			text = p.Method
		}
		if p.Detail != "" {
			text += " (" + p.Detail + ")"
		}
		t.text("Prompts made by:", text)
	}
	if s.InFlightPeak != nil {
		t.int("Requests in flight, true peak:", *s.InFlightPeak)
	}
	if s.InFlightMean != nil {
		t.float("Requests in flight, mean:", *s.InFlightMean)
	}
	if s.CachedTokens != nil {
		t.int("Prompt tokens from the prefix cache:", *s.CachedTokens)
	}
	if g := s.Goodput; g != nil {
		t.text("Requests that met every objective:", fmt.Sprintf("%d of %d (%.2f %%)", g.Requests, s.Requests, g.Share*100))
	}
	if n := s.Kinds[results.Warmup]; n > 0 {
		t.int("Warm-up requests, in no figure:", n)
	}
	if !s.Exact {
		t.text("Percentiles from:", "histograms of three digits")
	}
}

// objectives are the bounds of the whole run, with what was measured.
func (t *table) objectives(s *summary.Summary) {
	if len(s.Bounds) == 0 {
		return
	}
	t.title("Objectives", "-")
	for _, b := range s.Bounds {
		t.line("%-6s  %s: %s", map[bool]string{true: "met", false: "MISSED"}[b.Met], b.Bound, b.Measured())
	}
}

// responses are the latencies that a user would have seen, from the due time.
func (t *table) responses(s *summary.Summary) {
	if s.Basis == results.Response {
		return
	}
	titled := false
	for i := range results.Metrics {
		m := &results.Metrics[i]
		d := s.Dist(m.Name, results.Response)
		// A whole reply has one moment: its TTFT is its E2EL.
		if d == nil || m.Name != "e2el" && (m.Name != "ttft" || s.Manifest.Settings.Pooling) {
			continue
		}
		if !titled {
			t.title("Response Latency (from the due time)", "-")
			titled = true
		}
		t.float("Mean "+m.Label+" (ms):", d.Mean)
		if v, ok := d.At(50); ok {
			t.float("Median "+m.Label+" (ms):", v)
		}
		for _, p := range s.Manifest.Settings.Percentiles {
			if v, ok := d.At(p); ok {
				t.float("P"+percentileName(p)+" "+m.Label+" (ms):", v)
			}
		}
	}
}

func (t *table) failureClasses(s *summary.Summary) {
	if len(s.Failures) == 0 {
		return
	}
	t.title("Failures", "-")
	for _, class := range s.Failures {
		t.int(class.Class+":", class.Count)
		for _, e := range class.Examples {
			status := ""
			if e.Status != 0 {
				status = fmt.Sprintf("HTTP %d: ", e.Status)
			}
			t.line("  request %d: %s%.200s", e.ID, status, oneLine(e.Message))
		}
	}
}

// oneLine is text without line breaks.
func oneLine(text string) string {
	b := []rune(text)
	for i, r := range b {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			b[i] = ' '
		}
	}
	return string(b)
}

func (t *table) health(s *summary.Summary) {
	h := &s.Health
	t.title("Health of the Client", "-")
	t.text("Verdict:", strings.ToUpper(string(h.State)))
	for _, reason := range h.Reasons {
		t.line("  %s", reason)
	}
	t.ownError(h)
	t.dist("Lateness p50 / p99 / max (ms):", h.Lateness, true)
	if h.Dated > 0 {
		t.text("Late by more than 1 ms:", fmt.Sprintf("%d of %d", h.Late, h.Dated))
	}
	if share, ok := h.SharedShare(); ok {
		t.float("Events that shared a read (%):", share*100)
	}
	t.dist("Kernel-to-user lag p50 / p99 (ms):", h.ReadLag, false)
	if h.NoUsage > 0 {
		t.int("Replies without a token count:", h.NoUsage)
	}
	if h.Truncated > 0 {
		t.int("Truncated streams:", h.Truncated)
	}
	if h.CPUShare != nil {
		t.text("Client CPU:", fmt.Sprintf("%.1f %% of %d processors", *h.CPUShare*100, h.Client.Cores))
	}
	c := h.Client
	if c == nil {
		return
	}
	if c.GCPauses != nil && c.GCPauseMax != nil {
		t.text("Collector pauses, longest (ms):", fmt.Sprintf("%d, %.3f", *c.GCPauses, float64(*c.GCPauseMax)/1e6))
	}
	if c.SchedulerP99 != nil {
		t.text("Scheduler latency p99 (ms):", fmt.Sprintf("%.3f", float64(*c.SchedulerP99)/1e6))
	}
	if c.CPUWait != nil {
		t.text("Waited for a processor (s):", fmt.Sprintf("%.3f", c.CPUWait.Seconds()))
	}
	t.machine(c)
	if c.Retransmits != nil {
		t.int("TCP segments sent again:", int(*c.Retransmits))
	}
	if q := c.ReceiveQueue; q != nil && q.Looks > 0 {
		t.text("Receive queues not empty, most bytes:", fmt.Sprintf("%.2f %% of %d looks, %d", 100*float64(q.Waiting)/float64(q.Looks), q.Looks, q.Most))
	}
	if c.ClockStep != nil {
		t.text("Wall clock moved by (ms):", fmt.Sprintf("%.3f", float64(*c.ClockStep)/1e6))
	}
}
