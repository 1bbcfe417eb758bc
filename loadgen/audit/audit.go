// Package audit holds the figures of a run against each other and against the server's own. Figures of one run
// hang together: requests in flight follow from rate and latency, the server's counters from the replies. Where they do not, one
// of them is wrong, or something happened that the run's reader must know.
package audit

import (
	"fmt"
	"math"
	"time"

	"servebench/loadgen/server"
	"servebench/results"
)

// A Ledger keeps of the records what the audit needs. It is not for concurrent use.
type Ledger struct {
	// Arrivals is how the requests are to come.
	Arrivals Arrivals

	requests, failed int
	// Of the successful ones, probes included.
	completed, output, outputKnown     int
	prompt, promptKnown, asked, probes int
	cached, cachedKnown                int
	first, rest, spans                 time.Duration // sums of TTFT, of the time from the first event to the last, and of whole requests
	firsts, gaps, spanned              int
	released                           []results.Moment // of the first requests of an open loop
}

// arrivals is how many requests' release is kept, those of the lowest ids: later ones may end before earlier ones.
const arrivals = 1 << 18

// Add takes one record.
func (l *Ledger) Add(r *results.Record) {
	switch r.Kind {
	case results.Load, results.Probe:
	default:
		return
	}
	if span, ok := r.Done.Sub(r.Dispatched); ok && r.Kind == results.Load {
		l.spans += span
		l.spanned++
	}
	if r.Kind == results.Load {
		l.requests++
		if l.Arrivals.fixed() && r.ID < arrivals && r.Due != 0 && r.Released != 0 {
			l.released = append(l.released, r.Released)
		}
	} else {
		l.probes++
	}
	if !r.OK() {
		l.failed++
		return
	}
	l.completed++
	if u := r.Usage; u != nil {
		l.output += u.Completion
		l.outputKnown++
		if u.Prompt > 0 {
			l.prompt += u.Prompt
			l.promptKnown++
			l.asked += r.InputTokens
		}
		if u.Cached >= 0 {
			l.cached += u.Cached
			l.cachedKnown++
		}
	}
	if n := len(r.Chunks); n > 0 {
		if ttft, ok := r.Chunks[0].At.Sub(r.Written); ok {
			l.first += ttft
			l.firsts++
		}
		if span, ok := r.Chunks[n-1].At.Sub(r.Chunks[0].At); ok {
			l.rest += span
			l.gaps += n - 1
		}
	}
}

// Facts are what the run knows besides its records.
type Facts struct {
	// Before and After are the server's metrics pages around the load; nil when there were none.
	Before, After []byte
	// Busy is the time integral of the requests in flight, as the engine counted them; 0 when it did not. Duration is the load's length.
	Busy, Duration time.Duration
	// CachedShare is the share of prompt tokens that the prefix cache should hold by the dataset; nil when that cannot be told.
	// CachedWithin is by how much that may be wrong, for blocks that are not full.
	CachedShare  *float64
	CachedWithin float64
}

// Checks are all comparisons, each passed, failed or not checkable.
func (l *Ledger) Checks(f Facts) []results.Check {
	before, after := page(f.Before), page(f.After)
	s := &served{ledger: l, before: before, after: after}
	return []results.Check{
		l.little(f), arrived(l.released, l.Arrivals), s.outputTokens(), s.promptTokens(), l.askedTokens(),
		s.ttft(), s.itl(), s.cache(f),
	}
}

func page(b []byte) *server.Metrics {
	if len(b) == 0 {
		return nil
	}
	m, err := server.ParseMetrics(b)
	if err != nil {
		return nil // a page that breaks off could show a counter too low
	}
	return m
}

func check(name string, ok bool, format string, args ...any) results.Check {
	c := results.Check{Name: name, State: results.Missed, Detail: fmt.Sprintf(format, args...)}
	if ok {
		c.State = results.Passed
	}
	return c
}

func none(name, why string) results.Check {
	return results.Check{Name: name, State: results.NotCheckable, Detail: why}
}

// little is Little's law: the mean number in flight is the rate times the mean latency. The engine counted the first, the second is
// from the records' stamps.
func (l *Ledger) little(f Facts) results.Check {
	const name = "requests in flight = rate x latency"
	if f.Busy <= 0 || f.Duration <= 0 || l.spanned == 0 {
		return none(name, "the engine did not count, or no request ended")
	}
	counted, derived := f.Busy.Seconds()/f.Duration.Seconds(), l.spans.Seconds()/f.Duration.Seconds()
	const tolerance = 0.05
	return check(name, near(derived, counted, tolerance), "counted %.3f, derived %.3f (%+.1f %%, tolerance %.0f %%)",
		counted, derived, (derived/counted-1)*100, tolerance*100)
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

// askedTokens compares the prompt tokens that the dataset meant with what the server counted.
func (l *Ledger) askedTokens() results.Check {
	const name = "prompt tokens: asked and counted"
	if l.promptKnown == 0 {
		return none(name, "the server sent no usage")
	}
	each := float64(l.prompt-l.asked) / float64(l.promptKnown)
	const few, tolerance = 1.0, 0.01 // a token at the beginning is usual
	return check(name, math.Abs(each) <= few || near(float64(l.prompt), float64(l.asked), tolerance),
		"asked %d, counted %d (%+.2f a request; tolerance %.0f or %.0f %%)", l.asked, l.prompt, each, few, tolerance*100)
}

// served compares with the server's own counts between two readings.
type served struct {
	ledger        *Ledger
	before, after *server.Metrics
}

// grown is by how much a counter grew.
func (s *served) grown(read func(*server.Metrics) (float64, bool)) (float64, bool) {
	if s.before == nil || s.after == nil {
		return 0, false
	}
	then, ok := read(s.before)
	if !ok {
		then = 0 // a counter that has counted nothing yet may be missing
	}
	now, known := read(s.after)
	return now - then, known && now >= then
}

const noPage = "the server has no such counter, or its metrics could not be read"

// counted compares a counter's growth with what the replies say. Failed requests, which the server may have counted, make the server's the
// larger one.
func (s *served) counted(name string, replies, known int, read func(*server.Metrics) (float64, bool)) results.Check {
	grown, ok := s.grown(read)
	switch {
	case !ok:
		return none(name, noPage)
	case known < s.ledger.completed || known == 0:
		return none(name, fmt.Sprintf("%d of %d replies came with usage", known, s.ledger.completed))
	}
	const tolerance = 0.005
	detail := fmt.Sprintf("in replies %d, at the server %.0f (%+.0f, tolerance %.1f %%)", replies, grown, grown-float64(replies), tolerance*100)
	if s.ledger.failed > 0 && grown > float64(replies) {
		return none(name, detail+fmt.Sprintf("; the server may have counted %d failed requests", s.ledger.failed))
	}
	c := check(name, near(grown, float64(replies), tolerance), "%s", detail)
	if c.State == results.Missed && grown > float64(replies) {
		c.Detail += ": did others use the server?"
	}
	return c
}

func (s *served) outputTokens() results.Check {
	return s.counted("output tokens: replies and server", s.ledger.output, s.ledger.outputKnown, (*server.Metrics).GenerationTokens)
}

func (s *served) promptTokens() results.Check {
	return s.counted("prompt tokens: replies and server", s.ledger.prompt, s.ledger.promptKnown, (*server.Metrics).PromptTokens)
}

// histogram is what a histogram of the server counted between the readings, by the first name that it has.
func (s *served) histogram(names ...string) (server.Histogram, bool) {
	if s.before == nil || s.after == nil {
		return server.Histogram{}, false
	}
	for _, name := range names {
		now, ok := s.after.Histogram(name, nil)
		if !ok {
			continue
		}
		then, ok := s.before.Histogram(name, nil)
		if !ok {
			return now, now.Count > 0
		}
		h, ok := now.Since(then)
		return h, ok && h.Count > 0
	}
	return server.Histogram{}, false
}

// ttft compares the mean times to the first token. The client's holds the server's, the network and whatever lies between
// the server's HTTP part and its clock.
func (s *served) ttft() results.Check {
	const name = "TTFT: client and server"
	h, ok := s.histogram("vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds")
	switch {
	case !ok:
		return none(name, noPage)
	case s.ledger.firsts == 0:
		return none(name, "no reply has both moments")
	case int(h.Count) != s.ledger.firsts:
		return none(name, fmt.Sprintf("the server timed %d requests, the client %d", h.Count, s.ledger.firsts))
	}
	client, own := s.ledger.first.Seconds()*1e3/float64(s.ledger.firsts), h.Sum*1e3/float64(h.Count)
	budget := max(5, 0.1*own)
	return check(name, client >= own-0.5 && client <= own+budget,
		"client %.3f ms, server %.3f ms on average: network and client %+.3f ms (budget %.3f ms)", client, own, client-own, budget)
}

// itl compares the time from the first token to the last, which does not depend on how tokens were put into events.
func (s *served) itl() results.Check {
	const name = "ITL: client and server"
	h, ok := s.histogram("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds", "sglang:inter_token_latency_seconds")
	switch {
	case !ok:
		return none(name, noPage)
	case s.ledger.gaps == 0:
		return none(name, "no stream has two events")
	case s.ledger.failed > 0:
		return none(name, fmt.Sprintf("the server may have timed %d failed requests", s.ledger.failed))
	}
	client, own := s.ledger.rest.Seconds(), h.Sum
	const tolerance, each = 0.02, 0.0001 // seconds a gap
	return check(name, math.Abs(client-own) <= max(tolerance*own, each*float64(s.ledger.gaps)),
		"client %.3f s, server %.3f s from first tokens to last in all: %+.4f ms a gap (tolerance %.0f %%, or %.1f ms a gap)",
		client, own, (client-own)*1e3/float64(s.ledger.gaps), tolerance*100, each*1e3)
}

// cache compares the prefix cache's hits with what the dataset should give, or at least with the replies.
func (s *served) cache(f Facts) results.Check {
	const name = "prefix cache: expected and hit"
	queries, ok := s.grown(func(m *server.Metrics) (float64, bool) { q, _, ok := m.PrefixCache(); return q, ok })
	hits, okHits := s.grown(func(m *server.Metrics) (float64, bool) { _, h, ok := m.PrefixCache(); return h, ok })
	switch {
	case !ok || !okHits || queries == 0:
		return none(name, noPage)
	case f.CachedShare != nil:
		share := hits / queries
		return check(name, math.Abs(share-*f.CachedShare) <= f.CachedWithin,
			"%.1f %% of prompt tokens were hits, the dataset should give %.1f %% (tolerance %.1f points)", share*100, *f.CachedShare*100, f.CachedWithin*100)
	case s.ledger.cachedKnown == s.ledger.completed && s.ledger.failed == 0 && s.ledger.completed > 0:
		const tolerance = 0.005
		return check(name, near(hits, float64(s.ledger.cached), tolerance), "in replies %d, at the server %.0f (tolerance %.1f %%)", s.ledger.cached, hits, tolerance*100)
	}
	return none(name, fmt.Sprintf("the dataset does not tell what should be found; %.1f %% of prompt tokens were hits", hits/queries*100))
}
