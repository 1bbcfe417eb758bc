package merge

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A Comparison holds the client's figures beside the server's.
type Comparison struct {
	// Requests are those whose steps were found, in the order of sending.
	Requests []Split
	// Linked, Ambiguous and Unlinked count the requests that got output: an ambiguous one is linked to a
	// step that another could have been instead, an unlinked one to none. Neither is guessed silently.
	Linked, Ambiguous, Unlinked int
	// Parts are those of the linked requests that are not ambiguous.
	Parts
	// WithAmbiguous are those of all that were linked, taking the engine to serve first come, first served. Say
	// so beside the figures.
	WithAmbiguous Parts
	// OnDevice says that every prefill was traced to its end on the device. Without device rows it ends where
	// the host's step does: on an accelerator that is the dispatch alone, and Return holds the rest.
	OnDevice bool
	// InFlight is how long at least one request was in flight, and Idle how much of that no step ran: from
	// the start of a step on the host to its end, on the device where it has one.
	InFlight, Idle time.Duration
	// HasIdle says that there were steps to tell.
	HasIdle bool
	// StepsPerToken is the number of steps that generated over the number of tokens received in them, for
	// all requests together: 1 with one request at a time, less with batches. Batch is the mean number of
	// requests in a step, weighted by its time. Zero when the steps' counts are unknown.
	StepsPerToken, Batch float64
}

// Parts are the parts of a latency, in distributions over requests.
type Parts struct {
	// NetworkQueue, Prefill and Return are the parts of the time to the first token; see Split.
	NetworkQueue, Prefill, Return Distribution
	// TokenGap is the client's mean time between tokens and Period the mean period of the steps that
	// generated meanwhile, a value per request.
	TokenGap, Period Distribution
}

func partsOf(splits []Split) Parts {
	of := func(value func(Split) (time.Duration, bool)) Distribution {
		var all []time.Duration
		for _, s := range splits {
			if v, ok := value(s); ok {
				all = append(all, v)
			}
		}
		return describe(all)
	}
	return Parts{
		NetworkQueue: of(func(s Split) (time.Duration, bool) { return s.NetworkQueue, true }),
		Prefill:      of(func(s Split) (time.Duration, bool) { return s.Prefill, true }),
		Return:       of(func(s Split) (time.Duration, bool) { return s.Return, true }),
		TokenGap:     of(func(s Split) (time.Duration, bool) { return s.TokenGap, s.HasGap && s.HasSteps }),
		Period:       of(func(s Split) (time.Duration, bool) { return s.Period, s.HasGap && s.HasSteps }),
	}
}

// A Split is one request's.
type Split struct {
	// ID is the record's.
	ID int
	// NetworkQueue is from the request's last byte sent to the start of its first prefill step, Prefill
	// from there to the end of its last (on the device where it has one), Return from there to the first
	// output received. Together they are the time to the first token.
	NetworkQueue, Prefill, Return time.Duration
	// TokenGap is (last output - first output) / (tokens - 1) and Period the mean period of the steps that
	// generated between them; false when there are too few.
	TokenGap, Period time.Duration
	HasGap, HasSteps bool
	// Steps is how many steps computed for it: prefill and generation; 0 when unknown.
	Steps int
	// Ambiguous says that another step could have been its prefill.
	Ambiguous bool
}

// A Distribution describes some durations. A percentile q is the element at index ceil(q*n)-1.
type Distribution struct {
	N                        int
	Mean, P50, P90, P99, Max time.Duration
}

func describe(values []time.Duration) Distribution {
	if len(values) == 0 {
		return Distribution{}
	}
	slices.Sort(values)
	at := func(q float64) time.Duration {
		return values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
	}
	var sum float64
	for _, v := range values {
		sum += float64(v)
	}
	return Distribution{
		N: len(values), Mean: time.Duration(math.Round(sum / float64(len(values)))),
		P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: values[len(values)-1],
	}
}

// compare derives the figures.
func (j *joined) compare() Comparison {
	var c Comparison
	var generating []int
	for i := range j.steps {
		if s := &j.steps[i]; s.Decodes > 0 || s.Decodes < 0 && s.Phase != Prefill {
			generating = append(generating, i)
		}
	}
	var unique []Split
	c.OnDevice = true
	for i, q := range j.requests {
		if q.first() == 0 {
			continue
		}
		l := &j.links[i]
		switch {
		case !l.found():
			c.Unlinked++
			continue
		case l.ambiguous:
			c.Ambiguous++
		default:
			c.Linked++
		}
		begin, end := &j.steps[l.first], &j.steps[l.last]
		s := Split{
			ID: q.id, Ambiguous: l.ambiguous,
			NetworkQueue: time.Duration(begin.Start - q.send),
			Prefill:      time.Duration(end.ready() - begin.Start),
			Return:       time.Duration(q.first() - end.ready()),
		}
		if q.tokens > 1 && q.last() > q.first() {
			s.TokenGap, s.HasGap = time.Duration((q.last()-q.first())/int64(q.tokens-1)), true
		}
		if l.final >= 0 {
			from, _ := slices.BinarySearch(generating, l.last+1)
			to, _ := slices.BinarySearch(generating, l.final+1)
			s.Period, s.HasSteps = j.period(l.last, generating[from:to])
			s.Steps = to - from
			for k := l.first; k <= l.last; k++ {
				if j.steps[k].Prompts != 0 {
					s.Steps++
				}
			}
		}
		c.Requests = append(c.Requests, s)
		c.OnDevice = c.OnDevice && end.OnDevice
		if !s.Ambiguous {
			unique = append(unique, s)
		}
	}
	c.OnDevice = c.OnDevice && len(c.Requests) > 0
	c.Parts, c.WithAmbiguous = partsOf(unique), partsOf(c.Requests)
	j.idle(&c)
	j.batches(&c)
	return c
}

// period is the mean time from the end of one step to the end of the next, over the given steps, counted from
// the end of the step before: on the device, or where that is not traced on the host. Ends, because it
// stands beside the times at which tokens came, and a token comes after its step.
func (j *joined) period(before int, steps []int) (time.Duration, bool) {
	if len(steps) == 0 {
		return 0, false
	}
	first, final := &j.steps[before], &j.steps[steps[len(steps)-1]]
	if first.OnDevice != final.OnDevice {
		return 0, false
	}
	return time.Duration((final.ready() - first.ready()) / int64(len(steps))), true
}

// A stretch is [from, to).
type stretch struct{ from, to int64 }

// union merges stretches; touching ones become one.
func union(all []stretch) []stretch {
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var merged []stretch
	for _, s := range all {
		if n := len(merged); n > 0 && s.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
		} else if s.to > s.from {
			merged = append(merged, s)
		}
	}
	return merged
}

func total(all []stretch) (sum int64) {
	for _, s := range all {
		sum += s.to - s.from
	}
	return sum
}

// common is how much two unions share.
func common(a, b []stretch) (sum int64) {
	for i, k := 0, 0; i < len(a) && k < len(b); {
		sum += max(0, min(a[i].to, b[k].to)-max(a[i].from, b[k].from))
		if a[i].to < b[k].to {
			i++
		} else {
			k++
		}
	}
	return sum
}

// flights is when at least one request was in flight: from its sending to its last output. What follows
// that keeps no engine waiting.
func (j *joined) flights() []stretch {
	var all []stretch
	for _, q := range j.requests {
		end := q.last()
		if end == 0 {
			end = q.end
		}
		all = append(all, stretch{q.send, end})
	}
	return union(all)
}

func (j *joined) idle(c *Comparison) {
	var busy []stretch
	for i := range j.all {
		s := &j.all[i]
		busy = append(busy, stretch{s.Start, s.ready()})
	}
	inFlight, working := j.flights(), union(busy)
	c.InFlight = time.Duration(total(inFlight))
	if len(working) > 0 {
		c.Idle, c.HasIdle = time.Duration(total(inFlight)-common(inFlight, working)), true
	}
}

// A pause is the time between two steps of one rank.
type pause struct {
	rank     int
	from, to int64
	between  string // the phases
	// waiting is how much of it passed with a request in flight: only that is overhead.
	waiting time.Duration
}

// shortest is below what a pause is none.
const shortest = int64(time.Microsecond)

func (j *joined) pauses() []pause {
	inFlight := j.flights()
	before := make(map[int]*Step)
	var all []pause
	for i := range j.all {
		s := &j.all[i]
		b := before[s.Rank]
		before[s.Rank] = s
		if b == nil || s.Start-b.End < shortest {
			continue
		}
		gap := []stretch{{b.End, s.Start}}
		from, _ := slices.BinarySearchFunc(inFlight, b.End, func(f stretch, t int64) int { return cmp.Compare(f.to, t) })
		all = append(all, pause{s.Rank, b.End, s.Start, b.Phase + " to " + s.Phase, time.Duration(common(gap, inFlight[from:]))})
	}
	return all
}

func (j *joined) batches(c *Comparison) {
	var steps, tokens int
	var weighted, time float64
	for i := range j.steps {
		s := &j.steps[i]
		if s.Prompts < 0 || s.Decodes < 0 {
			return
		}
		if s.Decodes > 0 {
			steps++
			tokens += s.Decodes
		}
		weighted += float64(s.Prompts+s.Decodes) * float64(s.End-s.Start)
		time += float64(s.End - s.Start)
	}
	if tokens > 0 {
		c.StepsPerToken = float64(steps) / float64(tokens)
	}
	if time > 0 {
		c.Batch = weighted / time
	}
}
