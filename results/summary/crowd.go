package summary

import (
	"slices"
	"time"

	"servebench/results"
)

// A span is a stretch of time, its end not in it.
type span struct{ from, to results.Moment }

// A crowd knows how many of many spans overlap, whatever the order they come in. It keeps each one, 16 bytes, until it is made coarse; from
// then on it counts by stretches of time, in a room that does not grow.
type crowd struct {
	n           int
	first, last results.Moment // of all spans
	exact       []span
	coarse      *strip
}

// add takes a span that does not end before it begins.
func (c *crowd) add(s span) {
	if c.n == 0 || s.from < c.first {
		c.first = s.from
	}
	if c.n == 0 || s.to > c.last {
		c.last = s.to
	}
	c.n++
	if c.coarse != nil {
		c.coarse.add(s)
		return
	}
	c.exact = append(c.exact, s)
}

// coarsen gives the exact moments up.
func (c *crowd) coarsen() {
	if c.coarse != nil {
		return
	}
	c.coarse = &strip{shift: finest}
	for _, s := range c.exact {
		c.coarse.add(s)
	}
	c.exact = nil
}

// extent is the time from the first span's start to the last one's end.
func (c *crowd) extent() time.Duration { return time.Duration(c.last - c.first) }

// grain is how far apart the moments are that the crowd can tell; zero when it knows them exactly.
func (c *crowd) grain() time.Duration {
	if c.coarse == nil {
		return 0
	}
	return c.coarse.grain()
}

// peak is the largest number of spans that overlap; of a coarse crowd, the largest at any of the moments one grain apart. A span ends before another that
// starts at the same moment.
func (c *crowd) peak() int {
	if c.coarse != nil {
		return c.coarse.peak()
	}
	starts, ends := c.sorted()
	peak, ended := 0, 0
	for i, at := range starts {
		for ended < len(ends) && ends[ended] <= at {
			ended++
		}
		// A span of no length has ended before it began; it was in flight all the same.
		peak = max(peak, i+1-min(ended, i))
	}
	return peak
}

// counter returns how many spans hold a moment, their ends included; of a coarse crowd, how many touch the grain that it lies in.
func (c *crowd) counter() func(results.Moment) int {
	if c.coarse != nil {
		return c.coarse.counter()
	}
	starts, ends := c.sorted()
	return func(at results.Moment) int {
		began, _ := slices.BinarySearch(starts, at+1)
		ended, _ := slices.BinarySearch(ends, at)
		return began - ended
	}
}

func (c *crowd) sorted() (starts, ends []results.Moment) {
	starts, ends = make([]results.Moment, len(c.exact)), make([]results.Moment, len(c.exact))
	for i, s := range c.exact {
		starts[i], ends[i] = s.from, s.to
	}
	slices.Sort(starts)
	slices.Sort(ends)
	return starts, ends
}

const (
	// finest is the finest grain, 2^20 ns: about a millisecond.
	finest = 20
	// grains is how many there are at most, 8 bytes each: nine minutes of the finest.
	grains = 1 << 19
)

// A strip counts what begins and ends in each grain of time, 2^shift ns. Where there would be too many, two become one: a grain's place depends on all
// spans together, not on their order.
type strip struct {
	shift uint
	base  int64 // the first grain's number, counted from the zero moment
	cells []cell
}

type cell struct{ began, ended int32 }

func (s *strip) grain() time.Duration { return 1 << s.shift }

func (s *strip) add(v span) {
	s.cell(v.from).began++
	s.cell(v.to).ended++
}

// cell makes room for a moment.
func (s *strip) cell(at results.Moment) *cell {
	if len(s.cells) == 0 {
		s.base = int64(at) >> s.shift
		s.cells = append(s.cells, cell{})
	}
	for {
		i := int64(at)>>s.shift - s.base
		switch {
		case i < 0 && int64(len(s.cells))-i <= grains:
			s.cells = slices.Insert(s.cells, 0, make([]cell, -i)...)
			s.base += i
		case i >= 0 && i < grains:
			if n := int(i) + 1; n > len(s.cells) {
				s.cells = slices.Grow(s.cells, n-len(s.cells))[:n]
			}
			return &s.cells[i]
		default:
			s.halve()
		}
	}
}

// halve makes one grain of two.
func (s *strip) halve() {
	base := s.base >> 1
	wide := make([]cell, (s.base+int64(len(s.cells))-1)>>1-base+1)
	for i, c := range s.cells {
		to := &wide[(s.base+int64(i))>>1-base]
		to.began += c.began
		to.ended += c.ended
	}
	s.shift, s.base, s.cells = s.shift+1, base, wide
}

// peak is the largest number of spans open at the end of any grain.
func (s *strip) peak() int {
	peak, open := 0, 0
	for _, c := range s.cells {
		open += int(c.began) - int(c.ended)
		peak = max(peak, open)
	}
	return peak
}

func (s *strip) counter() func(results.Moment) int {
	touching, open := make([]int32, len(s.cells)), int32(0)
	for i, c := range s.cells {
		touching[i] = open + c.began
		open += c.began - c.ended
	}
	return func(at results.Moment) int {
		i := int64(at)>>s.shift - s.base
		if i < 0 || i >= int64(len(touching)) {
			return 0
		}
		return int(touching[i])
	}
}
