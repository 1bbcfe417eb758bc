package page

import "math"

// confidence is that of every interval of a page.
const confidence = 0.95

// batchCount is into how many stretches of neighbouring requests a run is cut to see how much they resemble each other.
const batchCount = 20

// leastRequests is how many requests it takes for an interval to mean anything.
const leastRequests = 10

// An Interval is where a figure of a run lies with 95 % confidence, as far as one run can tell. A bound that the run is
// too short for is infinite.
type Interval struct{ Low, High float64 }

// A sureness gathers what an interval needs in one pass. Neighbouring requests share a queue and the gaps of one request
// share a batch, so values are not independent: the figure's spread is taken between requests and between stretches of
// neighbouring requests, and the larger one counts.
type sureness struct {
	// residual is, for each request, how far it lies off the figure: for a percentile p at value q the values at or below
	// q less p times all its values; for a mean the sum of its values less the mean times their number.
	squares  float64
	batches  [batchCount]float64
	requests int
	values   float64
}

func (s *sureness) add(residual, values float64, batch int) {
	s.squares += residual * residual
	s.batches[batch] += residual
	s.requests++
	s.values += values
}

// variance is that of the sum of residuals, and whether the stretches, with their few degrees of freedom, gave it.
func (s *sureness) variance() (v float64, byBatches bool) {
	mean := 0.0
	for _, b := range s.batches {
		mean += b / batchCount
	}
	between := 0.0
	for _, b := range s.batches {
		between += (b - mean) * (b - mean)
	}
	between *= float64(batchCount) / (batchCount - 1)
	if between > s.squares && s.requests >= 2*batchCount {
		return between, true
	}
	return s.squares, false
}

// widths of a 95 % interval in standard errors: the normal distribution's, and Student's with batchCount-1 degrees of freedom.
const (
	normal95  = 1.959964
	student95 = 2.093024
)

// mean is the interval of a mean above zero. It is symmetric on a scale of ratios: a latency is never negative, and
// its spread grows with it.
func (s *sureness) mean(mean float64) (Interval, bool) {
	if s.requests < leastRequests || mean <= 0 {
		return Interval{}, false
	}
	v, byBatches := s.variance()
	width := normal95
	if byBatches {
		width = student95
	}
	factor := math.Exp(width * math.Sqrt(v) / s.values / mean)
	return Interval{mean / factor, mean * factor}, true
}

// percentile is the interval of percentile p, 0..1: the order statistics that the percentile lies between, counted as if the
// run had as many independent values as its spread says. low and high are shares of the ranks; high is infinite and low
// negative when the run is too short for that bound.
func (s *sureness) percentile(p float64) (low, high float64, ok bool) {
	if s.requests < leastRequests || p <= 0 || p >= 1 {
		return 0, 0, false
	}
	v, byBatches := s.variance()
	if byBatches {
		v *= (student95 / normal95) * (student95 / normal95)
	}
	n := s.values
	if independent := p * (1 - p) * s.values; v > independent {
		n = s.values * independent / v
	}
	n = math.Floor(n)
	if n < 2 {
		return 0, 0, false
	}
	l, u := orderStatistics(n, p)
	low, high = -1, math.Inf(1)
	if l >= 1 {
		low = (l - 1) / (n - 1)
	}
	if u <= n {
		high = (u - 1) / (n - 1)
	}
	return low, high, true
}

// orderStatistics are the ranks, from 1, of the values of a sample of n between which the percentile p lies with the page's
// confidence, as much of the doubt on either side. Rank 0 and rank n+1 do not exist: there is no bound then.
func orderStatistics(n, p float64) (low, high float64) {
	tail := (1 - confidence) / 2
	// The number of values below the percentile is binomial. Far out its probabilities are nothing.
	mean, deviation := n*p, math.Sqrt(n*p*(1-p))
	from := math.Max(0, math.Floor(mean-8*deviation-8))
	below := 0.0
	high = n + 1
	for k := from; k <= n; k++ {
		below += binomial(n, k, p)
		if below <= tail {
			low = k + 1
		}
		if below >= 1-tail {
			high = k + 1
			break
		}
	}
	return low, high
}

// binomial is the probability of k successes in n.
func binomial(n, k, p float64) float64 {
	lg := func(x float64) float64 { v, _ := math.Lgamma(x + 1); return v }
	return math.Exp(lg(n) - lg(k) - lg(n-k) + k*math.Log(p) + (n-k)*math.Log1p(-p))
}
