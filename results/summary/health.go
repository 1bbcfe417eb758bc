package summary

import (
	"fmt"
	"math"
	"time"

	"servebench/results"
)

// The bounds of the verdict. A client beyond a Degraded bound adds an error that its report shows; beyond a Bound one it,
// not the server, limited the run.
const (
	// LateAfter is when a request counts as late.
	LateAfter = time.Millisecond

	// LatenessDegraded and LatenessBound bound the 99th percentile of lateness, in milliseconds.
	LatenessDegraded = 1.0
	LatenessBound    = 10.0
	// BurstBound bounds it where everything is due at once: as a share of the load's duration.
	BurstBound = 0.1
	// ReadLagBound bounds the 99th percentile of the kernel-to-user lag of a closed loop, in milliseconds: there a reply that is seen late
	// delays the next request. The kernel's stamps do not suffer from it, so that no other lag counts.
	ReadLagBound = 50.0
	// ErrorDegraded and ErrorBound bound the 99th percentile of the client's own error, in milliseconds: see Health.OwnError.
	ErrorDegraded = 1.0
	ErrorBound    = 10.0
	// SharedDegraded bounds the share of events that shared a read with another, so that the stamps of all but the read's last are
	// upper bounds and the gaps between them read zero.
	SharedDegraded = 0.1
	// FirstSharedDegraded bounds the share of streams whose first token was read together with the second, so that their TTFT is
	// too long by up to the gap between them. A stall of that kind can be too short for the canary to meet.
	FirstSharedDegraded = 0.01
	// CPUDegraded and CPUBound bound the share of its processors that the client used.
	CPUDegraded = 0.7
	CPUBound    = 0.9
	// GCPauseDegraded bounds one stop of the whole program, in milliseconds, where the client itself takes the stamps.
	GCPauseDegraded = 5.0
)

// A State is the verdict in a word.
type State string

// The states.
const (
	// Healthy clients kept every bound.
	Healthy State = "ok"
	// Degraded clients made an error worth knowing.
	Degraded State = "degraded"
	// ClientBound runs say more about the client than about the server.
	ClientBound State = "client-bound"
	// Unmeasured runs hold nothing to judge by.
	Unmeasured State = "unmeasured"
)

// Health is what the client's own error was.
type Health struct {
	State State
	// Reasons say which bound was crossed, the gravest first.
	Reasons []string

	// Lateness and ReadLag are nil when not measured; ReadLag needs kernel stamps.
	Lateness, ReadLag *Dist
	// Late counts requests that were released more than LateAfter behind schedule, of Dated that have both moments.
	Late, Dated int
	// Shared counts events that shared a read with another one, of Events.
	Shared, Events int
	// FirstShared counts streams whose first token's event shared its read with the second's, of Streams.
	FirstShared, Streams int
	// NoUsage counts successful requests without the server's token count; Estimated those of them counted by the
	// client, Unknown those whose output tokens nobody knows.
	NoUsage, Estimated, Unknown int
	// Truncated counts streams that ended cleanly but without their end mark; they are failures.
	Truncated int
	// CPUShare is the share of its processors that the client used, 0..1; nil when not measured.
	CPUShare *float64
	// Client is what the client process measured; nil when it did not.
	Client *results.Client
	// LateTTFT and LateITL are the 99th percentiles, over all streams and gaps, of the error that tokens have because a late read brought several, estimated; nil
	// without kernel stamps, which alone tell late reads.
	LateTTFT, LateITL *time.Duration
}

// An OwnError is the client's own error of one metric.
type OwnError struct {
	Metric string
	// P99 is the larger of two: what the canary found, and what late reads did to the load itself.
	P99 time.Duration
	// Late says that it is the latter.
	Late bool
}

// OwnErrors are the client's own errors of TTFT and ITL, as far as they were measured.
func (h *Health) OwnErrors() []OwnError {
	var list []OwnError
	var c results.Client
	if h.Client != nil {
		c = *h.Client
	}
	for _, e := range []struct {
		metric       string
		canary, late *time.Duration
	}{{"TTFT", c.TTFTError, h.LateTTFT}, {"ITL", c.ITLError, h.LateITL}} {
		switch {
		case e.late != nil && *e.late > 0 && (e.canary == nil || *e.late > *e.canary):
			list = append(list, OwnError{e.metric, *e.late, true})
		case e.canary != nil:
			list = append(list, OwnError{e.metric, *e.canary, false})
		}
	}
	return list
}

// SharedShare is the share of events that shared a read; false without events.
func (h *Health) SharedShare() (float64, bool) {
	if h.Events == 0 {
		return 0, false
	}
	return float64(h.Shared) / float64(h.Events), true
}

// health fills in the client's health and puts its verdict first among the warnings.
func (r *Recorder) health(s *Summary) {
	c := &r.counts
	h := &s.Health
	h.Lateness = s.Dist("lateness", s.Basis)
	if s.Manifest.Stamps == "kernel" {
		h.ReadLag = s.Dist("read_lag", s.Basis)
		h.LateTTFT, h.LateITL = r.smear.ttft.p99(), r.smear.itl.p99()
	}
	h.Late, h.Dated = c.late, c.dated
	h.Shared, h.Events = c.shared, c.chunks
	h.FirstShared, h.Streams = c.firstShared, c.streams
	h.Truncated = c.truncated
	if !r.config.Pooling {
		h.NoUsage, h.Estimated, h.Unknown = c.noUsage, c.estimated, c.unknownOutput
	}
	h.Client = s.Manifest.Client
	if cl := h.Client; cl != nil && cl.CPU != nil && cl.Cores > 0 && s.Duration > 0 {
		h.CPUShare = new(cl.CPU.Seconds() / s.Duration / float64(cl.Cores))
	}
	// The users of a closed loop all begin at once too.
	h.judge(s, closedLoop(&s.Manifest.Settings) || c.requests > 1 && time.Duration(c.lastDue-c.firstDue) < LateAfter)
	var first []string
	switch h.State {
	case ClientBound:
		first = append(first, "the client, not the server, limited the run")
	case Degraded:
		first = append(first, "the client's own error is worth knowing")
	}
	for i := range first {
		for j, reason := range h.Reasons {
			separator := ": "
			if j > 0 {
				separator = "; "
			}
			first[i] += separator + reason
		}
	}
	if c.requests > 0 && c.completed == 0 {
		first = append(first, "every request failed: the zeros of vLLM's figures were not measured")
	}
	s.Warnings = append(first, s.Warnings...)
	s.Warnings = append(s.Warnings, s.Manifest.Warnings...)
	if s.Manifest.Stamps == "user" {
		s.warn("chunks were stamped in user space, not by the kernel: every latency includes the client's own delay")
	}
	if v := s.Manifest.HTTPVersion; v != "" {
		s.warn(fmt.Sprintf("over HTTP/%s requests share connections: a stamp is the connection's, late by up to its lag, and a request counts as written when the client had handed it over", v))
	}
	if h.Truncated > 0 {
		s.warn(fmt.Sprintf("%s ended without an end mark or finish reason", plural(h.Truncated, "stream")))
	}
	if h.Estimated > 0 {
		s.warn(fmt.Sprintf("the server sent no token count for %s: their output tokens are the client's own count", plural(h.Estimated, "reply")))
	}
	if h.Unknown > 0 {
		s.warn(fmt.Sprintf("nobody knows the output tokens of %s: they count as one token each in vLLM's figures, and not at all in ours", plural(h.Unknown, "reply")))
	}
	for _, p := range s.Manifest.Settings.Percentiles {
		if need := needed(p); c.completed > 0 && c.completed < need {
			s.warn(fmt.Sprintf("p%g needs %d replies, there are %d", p, need, c.completed))
		}
	}
}

// needed is how many values it takes for one to lie beyond percentile p.
func needed(p float64) int {
	if p <= 0 || p >= 100 {
		return 0
	}
	rest := min(p, 100-p)
	return int(100/rest + 0.5)
}

// judge holds the client against the bounds. atOnce says that many requests were due at the same moment, so that some
// must leave later than others.
func (h *Health) judge(s *Summary, atOnce bool) {
	var bound, degraded []string
	measured := false
	check := func(value, degradedAt, boundAt float64, text func(limit float64) string) {
		measured = true
		switch {
		case boundAt > 0 && value > boundAt:
			bound = append(bound, text(boundAt))
		case value > degradedAt:
			degraded = append(degraded, text(degradedAt))
		}
	}
	if d := h.Lateness; d != nil {
		if p99, ok := d.At(99); ok {
			degradedAt, boundAt := LatenessDegraded, LatenessBound
			if atOnce {
				boundAt = BurstBound * s.Duration * 1e3
				degradedAt = boundAt
			}
			check(p99, degradedAt, boundAt, func(limit float64) string {
				return fmt.Sprintf("requests left up to %.2f ms late (p99; bound %.4g ms)", p99, limit)
			})
		}
	}
	if h.CPUShare != nil {
		check(*h.CPUShare, CPUDegraded, CPUBound, func(limit float64) string {
			return fmt.Sprintf("it used %.0f %% of its %d processors (bound %.0f %%)", *h.CPUShare*100, h.Client.Cores, limit*100)
		})
	}
	if d := h.ReadLag; d != nil {
		if p99, ok := d.At(99); ok {
			limit := math.Inf(1)
			if closedLoop(&s.Manifest.Settings) {
				limit = ReadLagBound
			}
			check(p99, limit, limit, func(limit float64) string {
				return fmt.Sprintf("it read events up to %.2f ms after the kernel had them, which delayed the requests that came after (p99; bound %.4g ms)", p99, limit)
			})
		}
	}
	for _, e := range h.OwnErrors() {
		p99, source := milliseconds(e.P99), "of its canary"
		if e.Late {
			source = "of tokens that a late read brought together"
		}
		check(p99, ErrorDegraded, ErrorBound, func(limit float64) string {
			return fmt.Sprintf("its own error of %s was up to %.2f ms (p99 %s; bound %.4g ms)", e.Metric, p99, source, limit)
		})
	}
	if share, ok := h.SharedShare(); ok {
		check(share, SharedDegraded, 0, func(limit float64) string {
			return fmt.Sprintf("%.1f %% of events shared a read with another, so gaps between them are not known (bound %.0f %%)", share*100, limit*100)
		})
	}
	if h.Streams > 0 {
		share := float64(h.FirstShared) / float64(h.Streams)
		check(share, FirstSharedDegraded, 0, func(limit float64) string {
			return fmt.Sprintf("%.1f %% of first tokens were read together with the second, so that their TTFT is too long by up to a gap (bound %.0f %%)", share*100, limit*100)
		})
	}
	if c := h.Client; c != nil && c.GCPauseMax != nil && s.Manifest.Stamps != "kernel" {
		pause := milliseconds(*c.GCPauseMax)
		check(pause, GCPauseDegraded, 0, func(limit float64) string {
			return fmt.Sprintf("its collector stopped it for %.2f ms (bound %.4g ms)", pause, limit)
		})
	}
	h.Reasons = append(bound, degraded...)
	switch {
	case len(bound) > 0:
		h.State = ClientBound
	case len(degraded) > 0:
		h.State = Degraded
	case measured:
		h.State = Healthy
	default:
		h.State = Unmeasured
	}
}

// closedLoop says whether the end of a reply lets the next request go.
func closedLoop(st *results.Settings) bool {
	return st.MaxConcurrency > 0 && st.RampUp == nil && (st.RequestRate == 0 || st.RequestRate.Infinite())
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "reply" {
		noun = "replie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
