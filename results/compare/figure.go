package compare

import (
	"math"
	"slices"
	"sort"

	"servebench/internal/numpy"
)

// maxCells is into how many cells a run is cut. A cell is a stretch of neighbouring requests; blocks are whole cells, so
// that a replicate of a run of any length costs the same.
const maxCells = 256

// A figure is one number of one run in a form that can be drawn again: what it needs are sums over cells.
type figure interface {
	// value is the number, cells how many cells the run has.
	value() float64
	cells() int
	// pull is by how much each cell pulls the value away from where it stands. The pulls of a run add up to about zero.
	pull() []float64
	// drawn is the value of the run that consists of the blocks which begin at starts and hold length cells each. It
	// is not a number when nothing in them has a value.
	drawn(starts []int, length int) float64
}

// cellsOf is the number of cells of n requests.
func cellsOf(n int) int { return min(n, maxCells) }

// cellOf is the cell of request i of n.
func cellOf(i, n int) int { return i * cellsOf(n) / n }

// running makes running sums over the cells twice round, so that a block can run over the end into the beginning: its sum
// is running[start+length] - running[start].
func running(cells []float64) []float64 {
	sums := make([]float64, 2*len(cells)+1)
	for i := range 2 * len(cells) {
		sums[i+1] = sums[i] + cells[i%len(cells)]
	}
	return sums
}

// A ratio is a sum over another: a mean, a rate, a share.
type ratio struct {
	over, under []float64 // running sums
	// fixed is added under the line as it is: it does not come with the requests.
	fixed float64
	// least is how many cells a block holds at least.
	least int
}

// ratioOf makes a ratio of what each of n requests adds to either sum.
func ratioOf(n int, adds func(i int) (over, under float64)) *ratio {
	over, under := make([]float64, cellsOf(n)), make([]float64, cellsOf(n))
	for i := range n {
		a, b := adds(i)
		over[cellOf(i, n)] += a
		under[cellOf(i, n)] += b
	}
	return &ratio{over: running(over), under: running(under)}
}

func (r *ratio) cells() int { return len(r.over) / 2 }

func (r *ratio) value() float64 { return r.over[r.cells()] / (r.under[r.cells()] + r.fixed) }

func (r *ratio) pull() []float64 {
	n, v := r.cells(), r.value()
	under := r.under[n] + r.fixed
	scale := 1 / under
	if v > 0 {
		scale /= v
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = (r.over[i+1] - r.over[i] - v*(r.under[i+1]-r.under[i]+r.fixed/float64(n))) * scale
	}
	return out
}

func (r *ratio) drawn(starts []int, length int) float64 {
	var over, under float64
	for _, s := range starts {
		over += r.over[s+length] - r.over[s]
		under += r.under[s+length] - r.under[s]
	}
	return over / (under + r.fixed*float64(len(starts)*length)/float64(r.cells()))
}

// A spread is the distribution of one metric in one run: how many values of each cell lie at or below each of some
// thresholds. The thresholds are values of the run, every one near the percentiles that are asked for and
// ever fewer further away.
type spread struct {
	thresholds []float64
	// next says that no value of the run lies between a threshold and the one before it.
	next []bool
	// below holds running counts over cells for each threshold, count those of all values.
	below [][]uint32
	count []uint32
	// rank is how many values of the run lie at or below each threshold.
	rank   []uint32
	values int
	number int // of cells
	sum    *ratio
	// at are the percentiles that were asked for, 0..100.
	at map[float64]float64
}

// spreadOf makes the spread of values, where request i of n has values[offsets[i]:offsets[i+1]].
func spreadOf(n int, values []float64, offsets []int, percentiles []float64) *spread {
	s := &spread{values: len(values), number: cellsOf(n), at: map[float64]float64{}}
	s.sum = ratioOf(n, func(i int) (float64, float64) {
		total := 0.0
		for _, v := range values[offsets[i]:offsets[i+1]] {
			total += v
		}
		return total, float64(offsets[i+1] - offsets[i])
	})
	if len(values) == 0 {
		return s
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	s.thresholds = thresholdsOf(sorted, percentiles)
	s.next = make([]bool, len(s.thresholds))
	for j := 1; j < len(s.next); j++ {
		at := sort.SearchFloat64s(sorted, s.thresholds[j])
		s.next[j] = sorted[at-1] == s.thresholds[j-1]
	}
	for _, p := range percentiles {
		s.at[p] = numpy.PercentileSorted(sorted, p)
	}

	// First how many values of each cell fall between two thresholds, then sums over both.
	cell := make([][]uint32, len(s.thresholds))
	s.below = make([][]uint32, len(s.thresholds))
	for j := range cell {
		s.below[j] = make([]uint32, 2*s.number+1)
		cell[j] = s.below[j][1 : s.number+1]
	}
	perCell := make([]uint32, s.number)
	for i := range n {
		c := cellOf(i, n)
		for _, v := range values[offsets[i]:offsets[i+1]] {
			cell[sort.SearchFloat64s(s.thresholds, v)][c]++
			perCell[c]++
		}
	}
	for j := 1; j < len(cell); j++ {
		for c, more := range cell[j-1] {
			cell[j][c] += more
		}
	}
	for j := range cell {
		round(s.below[j], s.number)
		s.rank = append(s.rank, s.below[j][s.number])
	}
	s.count = make([]uint32, 2*s.number+1)
	copy(s.count[1:], perCell)
	round(s.count, s.number)
	return s
}

// round turns the counts of n cells, which stand from index 1, into running counts twice round.
func round(counts []uint32, n int) {
	for i := 1; i <= n; i++ {
		counts[n+i] = counts[i]
	}
	for i := 1; i <= 2*n; i++ {
		counts[i] += counts[i-1]
	}
}

// thresholdsOf picks different values out of sorted ones, the largest and the smallest among them.
func thresholdsOf(sorted, percentiles []float64) []float64 {
	n := len(sorted)
	ranks := []int{0, n - 1}
	for i := range 64 {
		ranks = append(ranks, i*(n-1)/63)
	}
	for _, p := range percentiles {
		at := int(math.Round(float64(n-1) * p / 100))
		ranks = append(ranks, at)
		for step := 1.0; step < float64(n); step = max(step+1, step*1.2) {
			ranks = append(ranks, max(at-int(step), 0), min(at+int(step), n-1))
		}
	}
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	thresholds := make([]float64, 0, len(ranks))
	for _, r := range ranks {
		thresholds = append(thresholds, sorted[r])
	}
	return slices.Compact(thresholds)
}

// A quantile is one percentile of a spread.
type quantile struct {
	*spread
	p float64 // 0..1
	v float64
}

// quantile is the percentile p of 0..100; nil when it was not asked for or the
// spread has no values.
func (s *spread) quantile(p float64) *quantile {
	v, ok := s.at[p]
	if !ok {
		return nil
	}
	return &quantile{s, p / 100, v}
}

func (q *quantile) cells() int     { return q.number }
func (q *quantile) value() float64 { return q.v }

func (q *quantile) pull() []float64 {
	out := make([]float64, q.number)
	j := min(sort.SearchFloat64s(q.thresholds, q.v), len(q.thresholds)-1)
	// Of values above a quantile, each cell has its share or more.
	share := 1 - float64(q.rank[j])/float64(q.values)
	for i := range out {
		count := float64(q.count[i+1] - q.count[i])
		above := count - float64(q.below[j][i+1]-q.below[j][i])
		out[i] = above - share*count
	}
	return out
}

func (q *quantile) drawn(starts []int, length int) float64 {
	sum := func(counts []uint32) (total uint64) {
		for _, s := range starts {
			total += uint64(counts[s+length] - counts[s])
		}
		return total
	}
	n := sum(q.count)
	if n == 0 {
		return math.NaN()
	}
	// NumPy's percentile lies on the line between the values of these two ranks, counted from 1.
	exact := 1 + float64(n-1)*q.p
	rank := uint64(exact)
	last := len(q.thresholds) - 1
	at := func(j int) uint64 { return sum(q.below[j]) }
	// The answer is near the run's own quantile: widen a bracket from there.
	middle := min(sort.SearchFloat64s(q.thresholds, q.v), last)
	low, high := middle-1, middle
	for step := 2; high < last && at(high) < rank; step *= 2 {
		low, high = high, min(high+step, last)
	}
	for step := 2; low >= 0 && at(low) >= rank; step *= 2 {
		low, high = low-step, low
	}
	low = max(low, -1)
	for high-low > 1 {
		if m := (low + high) / 2; at(m) >= rank {
			high = m
		} else {
			low = m
		}
	}
	var below uint64
	if low >= 0 {
		below = at(low)
	}
	upTo := at(high)
	v := q.ranked(rank, below, upTo, high)
	part := exact - float64(rank)
	if part == 0 {
		return v
	}
	for rank+1 > upTo && high < last {
		high++
		below, upTo = upTo, at(high)
	}
	return v + part*(q.ranked(rank+1, below, upTo, high)-v)
}

// ranked is the value of a rank that lies above threshold j-1 and up to threshold j, which have so many values below and up to
// them. Where the run has other values between the two, those drawn are taken to be spread evenly.
func (s *spread) ranked(rank, below, upTo uint64, j int) float64 {
	if j == 0 || s.next[j] || upTo <= below {
		return s.thresholds[j]
	}
	from, to := s.thresholds[j-1], s.thresholds[j]
	return from + (to-from)*(float64(min(rank, upTo)-below)-0.5)/float64(upTo-below)
}
