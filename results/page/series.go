package page

import (
	"time"

	"servebench/results"
)

// A series holds the load over time: a value a stretch of the run.
type series struct {
	grid grid
	// due, done and failed count requests, tokens the output tokens of successful ones.
	due, done, failed, tokens []float64
	// inFlight and queued are mean numbers of requests.
	inFlight, queued []float64
	hasTokens        bool
	hasQueue         bool
}

func newSeries(g grid) *series {
	room := func() []float64 { return make([]float64, g.n) }
	return &series{grid: g, due: room(), done: room(), failed: room(), tokens: room(), inFlight: room(), queued: room()}
}

func (s *series) add(rec *results.Record, began results.Moment) {
	at := func(m results.Moment) time.Duration { return time.Duration(m - began) }
	if rec.Due != 0 {
		s.due[s.grid.index(at(rec.Due))]++
	}
	end := endOf(rec)
	if end != 0 {
		if rec.OK() {
			s.done[s.grid.index(at(end))]++
		} else {
			s.failed[s.grid.index(at(end))]++
		}
	}
	if rec.Dispatched != 0 && end > rec.Dispatched {
		s.grid.spread(s.inFlight, at(rec.Dispatched), at(end))
	}
	if queue, ok := rec.QueueTime(); ok && queue > 0 {
		s.hasQueue = s.hasQueue || queue > 100*time.Microsecond
		s.grid.spread(s.queued, at(rec.Released), at(rec.Dispatched))
	}
	s.addTokens(rec, at, end)
}

// addTokens spreads a reply's tokens over its events. Where an event does not tell its tokens, the reply's total does.
func (s *series) addTokens(rec *results.Record, at func(results.Moment) time.Duration, end results.Moment) {
	total, known := rec.Tokens()
	if !rec.OK() || !known {
		return
	}
	s.hasTokens = true
	if len(rec.Chunks) == 0 {
		s.tokens[s.grid.index(at(end))] += float64(total)
		return
	}
	told := 0
	for i := range rec.Chunks {
		if rec.Chunks[i].Tokens < 0 {
			told = -1
			break
		}
		told += rec.Chunks[i].Tokens
	}
	for i := range rec.Chunks {
		c := &rec.Chunks[i]
		n := float64(total) / float64(len(rec.Chunks))
		if told == total {
			n = float64(c.Tokens)
		}
		s.tokens[s.grid.index(at(c.At))] += n
	}
}

// perSecond turns counts into rates.
func (s *series) perSecond(counts []float64) []float64 {
	rates := make([]float64, len(counts))
	for i, n := range counts {
		rates[i] = n / (s.grid.to(i) - s.grid.from(i)).Seconds()
	}
	return rates
}
