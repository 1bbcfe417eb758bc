package summary

import (
	"cmp"
	"slices"
	"time"

	"servebench/results"
)

// The definition of a stall. Source: servebench; no other tool is known to class them.
//
// A stream's usual gap is the 90th percentile of its own gaps, so that a server that sends its tokens in bursts of up to ten does not seem to
// stall between them, and a stream whose every tenth gap is long has none that is unusual. A long gap is longer than StallFactor times that, and than
// StallLeast. Gaps are those that the client saw: a read that came late makes one too.
//
// Long gaps that overlap by half are one stall. What kind it is says the share of the open streams that it holds, and
// whether the kernel had the tokens meanwhile.
const (
	// StallFactor is how many usual gaps a long one is at least.
	StallFactor = 5
	// StallLeast is the length below which no gap is long: the verdict's bound for an error that makes a run client-bound.
	StallLeast = 10 * time.Millisecond
	// StallGaps is how many gaps a stream needs to have a usual one.
	StallGaps = 8
	// StallAll is the share of open streams, two at least, from which a stall is of the server.
	StallAll = 0.8

	// usualRank is the percentile of a stream's gaps that is its usual one.
	usualRank = 0.9
	// stallOverlap is the share of the longer one that two long gaps of one stall have in common.
	stallOverlap = 0.5
	// lateRead is the least lag of a read that brought several events by which it counts as late. A read in time lags by some 50 us.
	lateRead = time.Millisecond
	// worstStalls is how many are listed.
	worstStalls = 5
	// stallLimit is how many long gaps are kept, the longest.
	stallLimit = 1 << 16
)

// A StallKind says who stood still.
type StallKind string

// The kinds of stall.
const (
	// ServerStall held all streams at once (StallAll).
	ServerStall StallKind = "server"
	// GroupStall held several, but not all: one replica of several, say.
	GroupStall StallKind = "group"
	// RequestStall held one stream while others went on.
	RequestStall StallKind = "request"
	// ClientStall is the client's own: in at least half of its gaps the kernel had the tokens long before they were read. Either the event that
	// ended the gap had lain there for half of it; or its read, itself late, brought as many events as half of the gap had usual ones.
	ClientStall StallKind = "client"
	// LoneStall held the only stream that was open: server or request, nobody can tell.
	LoneStall StallKind = "lone"
)

// StallKinds are all kinds in the order of reports.
var StallKinds = []StallKind{ServerStall, GroupStall, RequestStall, ClientStall, LoneStall}

// Stalls are the stalls of a run's successful streams.
type Stalls struct {
	// Streams is how many streams had gaps enough to tell, Short how many had not.
	Streams, Short int
	// Gaps is how many long gaps there were; of more than can be kept Unclassed are in no kind.
	Gaps, Unclassed int
	// ClientTold says that the kernel's stamps were there to tell the client's own stalls from the others.
	ClientTold bool
	// Kinds are those that occurred, in the order of StallKinds.
	Kinds []StallCount
	// Worst are those that cost the most time, the worst first.
	Worst []Stall
}

// A StallCount adds up the stalls of one kind.
type StallCount struct {
	Kind StallKind
	// Count is the number of stalls, Gaps that of their long gaps: one a stream that was held.
	Count, Gaps int
	// Lost is what the gaps took beyond the usual ones, all streams added up. Longest is the longest gap.
	Lost, Longest time.Duration
}

// A Stall is one of them.
type Stall struct {
	Kind StallKind
	// At is when its longest gap began, Length how long that was, Request the request it belonged to.
	At      results.Moment
	Length  time.Duration
	Request int
	// Streams is how many streams it held of Open that were between their first and last token in its middle.
	Streams, Open int
	// Lost is what its gaps took beyond the usual ones.
	Lost time.Duration
}

// A longGap is one that is far beyond what is usual in its stream.
type longGap struct {
	from, to results.Moment
	request  int
	lost     time.Duration
	late     bool // the client read late
}

func (g *longGap) length() time.Duration { return time.Duration(g.to - g.from) }

// stalls collects long gaps of records in any order. It keeps the longest ones, and when each stream was open: from its first token to its last.
type stalls struct {
	streams, short, count int
	gaps                  []longGap
	open                  crowd
	scratch               []time.Duration
}

// LongGap is the length beyond which a gap is long among these of one stream, which it puts in order, and the usual one; false when
// they are too few to tell.
func LongGap(gaps []time.Duration) (long, usual time.Duration, ok bool) {
	if len(gaps) < StallGaps {
		return 0, 0, false
	}
	slices.Sort(gaps)
	usual = gaps[int(usualRank*float64(len(gaps)-1))]
	return max(StallFactor*usual, StallLeast), usual, true
}

// add takes one record and returns the usual gap of its stream; zero when it has too few gaps to tell.
func (s *stalls) add(r *results.Record) (usual time.Duration) {
	n := len(r.Chunks)
	if !r.OK() || n < 2 {
		return 0
	}
	s.open.add(span{r.Chunks[0].At, r.Chunks[n-1].Seen(results.VLLM)})
	seen := s.scratch[:0]
	for i := 1; i < n; i++ {
		seen = append(seen, time.Duration(r.Chunks[i].Seen(results.VLLM)-r.Chunks[i-1].Seen(results.VLLM)))
	}
	s.scratch = seen
	long, usual, ok := LongGap(seen)
	if !ok {
		s.short++
		return 0
	}
	s.streams++
	if seen[len(seen)-1] <= long {
		return usual
	}
	for i := 1; i < n; i++ {
		from, to := r.Chunks[i-1].Seen(results.VLLM), r.Chunks[i].Seen(results.VLLM)
		if gap := time.Duration(to - from); gap > long {
			s.count++
			s.gaps = append(s.gaps, longGap{from, to, r.ID, gap - usual, readLate(r.Chunks[i:], gap, usual)})
		}
	}
	if len(s.gaps) >= 2*stallLimit {
		s.cut()
	}
	return usual
}

// lateFor is the least lag of a read that brought several events by which it counts as late in a stream with this usual gap.
func lateFor(usual time.Duration) time.Duration { return max(lateRead, usual/10) }

// readLate says whether the client is to blame for the gap before the first of the chunks: see ClientStall.
func readLate(chunks []results.Chunk, gap, usual time.Duration) bool {
	lag := chunks[0].Lag
	if 2*lag >= gap {
		return true
	}
	together := 1
	for together < len(chunks) && chunks[together].At == chunks[0].At {
		together++
	}
	return together > 1 && lag >= lateFor(usual) && 2*time.Duration(together)*usual >= gap
}

// cut keeps the longest gaps.
func (s *stalls) cut() {
	if len(s.gaps) <= stallLimit {
		return
	}
	slices.SortFunc(s.gaps, func(a, b longGap) int {
		return cmp.Or(cmp.Compare(b.length(), a.length()), cmp.Compare(a.from, b.from), cmp.Compare(a.request, b.request))
	})
	s.gaps = s.gaps[:stallLimit]
}

// sum classes the stalls; nil when no stream had gaps enough.
func (s *stalls) sum(kernel bool) *Stalls {
	if s.streams == 0 {
		return nil
	}
	s.cut()
	out := &Stalls{Streams: s.streams, Short: s.short, Gaps: s.count, Unclassed: s.count - len(s.gaps), ClientTold: kernel}
	open := s.open.counter()
	counts := map[StallKind]*StallCount{}
	for _, p := range gathered(s.gaps) {
		stall := p.stall(open)
		out.Worst = append(out.Worst, stall)
		c := counts[stall.Kind]
		if c == nil {
			c = &StallCount{Kind: stall.Kind}
			counts[stall.Kind] = c
		}
		c.Count++
		c.Gaps += stall.Streams
		c.Lost += stall.Lost
		c.Longest = max(c.Longest, stall.Length)
	}
	for _, kind := range StallKinds {
		if c := counts[kind]; c != nil {
			out.Kinds = append(out.Kinds, *c)
		}
	}
	slices.SortFunc(out.Worst, func(a, b Stall) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.At, b.At), cmp.Compare(a.Request, b.Request))
	})
	out.Worst = slices.Clip(out.Worst[:min(len(out.Worst), worstStalls)])
	return out
}

// A standstill is long gaps that overlap.
type standstill struct {
	from, to results.Moment // what they have in common
	longest  longGap
	gaps     int
	late     int
	lost     time.Duration
}

// gathered puts long gaps that overlap together.
func gathered(gaps []longGap) []*standstill {
	slices.SortFunc(gaps, func(a, b longGap) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.request, b.request))
	})
	var all, open []*standstill
	for _, g := range gaps {
		open = slices.DeleteFunc(open, func(p *standstill) bool { return p.to <= g.from })
		var home *standstill
		most := stallOverlap
		for _, p := range open {
			// g begins last of all.
			common := float64(min(p.to, g.to) - g.from)
			if share := common / float64(max(g.to-g.from, p.to-p.from)); share >= most {
				home, most = p, share
			}
		}
		if home == nil {
			home = &standstill{from: g.from, to: g.to}
			all, open = append(all, home), append(open, home)
		}
		home.take(g)
	}
	return all
}

func (p *standstill) take(g longGap) {
	p.from, p.to = max(p.from, g.from), min(p.to, g.to)
	if g.length() > p.longest.length() {
		p.longest = g
	}
	p.gaps++
	if g.late {
		p.late++
	}
	p.lost += g.lost
}

// stall classes a standstill. open tells how many streams were open at a moment.
func (p *standstill) stall(open func(results.Moment) int) Stall {
	out := Stall{
		At: p.longest.from, Length: p.longest.length(), Request: p.longest.request, Streams: p.gaps, Open: open(p.from + (p.to-p.from)/2), Lost: p.lost,
	}
	switch {
	case 2*p.late >= p.gaps:
		out.Kind = ClientStall
	case out.Open <= 1:
		out.Kind = LoneStall
	case float64(out.Streams) >= StallAll*float64(out.Open) && out.Streams > 1:
		out.Kind = ServerStall
	case out.Streams == 1:
		out.Kind = RequestStall
	default:
		out.Kind = GroupStall
	}
	return out
}
