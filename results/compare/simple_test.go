package compare

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"servebench/internal/numpy"
)

func TestStudent(t *testing.T) {
	for _, tc := range []struct{ t, df, want float64 }{
		{0, 5, 0.5},
		{12.706204736432095, 1, 0.025}, // the tables' 12.706
		{2.776445105197793, 4, 0.025},
		{2.5705818366147395, 5, 0.025},
		{1.959963984540054, math.Inf(1), 0.025},
		{3.169272667175838, 10, 0.005},
		{-2.776445105197793, 4, 0.975},
		{1, 1, 0.25}, // Cauchy: 1/2 - atan(1)/pi
	} {
		if got := tTail(tc.t, tc.df); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("tTail(%v, %v) = %v, want %v", tc.t, tc.df, got, tc.want)
		}
		if tc.want <= 0.5 {
			if got := tQuantile(tc.want, tc.df); math.Abs(got-tc.t) > 1e-7*max(tc.t, 1) {
				t.Errorf("tQuantile(%v, %v) = %v, want %v", tc.want, tc.df, got, tc.t)
			}
		}
	}
}

func TestHolm(t *testing.T) {
	nan := math.NaN()
	// The smallest of three times 3, the next times 2, and never less than the one before.
	got := holm([]float64{0.03, nan, 0.01, 0.02})
	for i, want := range []float64{0.04, nan, 0.03, 0.04} {
		if math.Abs(got[i]-want) > 1e-15 || math.IsNaN(got[i]) != math.IsNaN(want) {
			t.Errorf("holm %d: %v, want %v", i, got[i], want)
		}
	}
}

// Welch's t of the textbook's kind: means 1 and 3, variances of the means 1/3 and 1/3, four degrees of freedom.
func TestBetweenRuns(t *testing.T) {
	e := betweenRuns([]float64{0, 1, 2}, []float64{2, 3, 4}, false)
	if e.change != 2 || math.Abs(e.se-math.Sqrt(2.0/3)) > 1e-15 || math.Abs(e.df-4) > 1e-12 {
		t.Errorf("%+v", e)
	}
	// t = 2.449 with 4 degrees: p = 0.0705.
	if p := e.p(); math.Abs(p-0.0704837) > 1e-6 {
		t.Errorf("p = %v", p)
	}
	low, high := e.interval(0.95)
	if math.Abs(low-(2-2.776445*0.8164966)) > 1e-5 || math.Abs(high-(2+2.776445*0.8164966)) > 1e-5 {
		t.Errorf("interval %v .. %v", low, high)
	}
	// On logarithms a doubling is a doubling, whatever the unit.
	e = betweenRuns([]float64{1, 10, 100}, []float64{2, 20, 200}, true)
	if math.Abs(math.Exp(e.change)-2) > 1e-12 {
		t.Errorf("ratio %v", math.Exp(e.change))
	}
}

// A quantile of drawn blocks is NumPy's quantile of the requests in them.
func TestDrawnQuantiles(t *testing.T) {
	// Of few values every one is a threshold; of many, those far from the percentiles are thinned out, and a value between
	// two thresholds is known to a few per cent.
	for _, tc := range []struct {
		requests int
		within   float64
	}{{40, 1e-12}, {200, 0.07}} {
		n := tc.requests
		rng := rand.New(rand.NewPCG(1, 1))
		values, offsets := []float64{}, []int{0}
		for range n {
			for range rng.IntN(3) { // several values a request, or none
				values = append(values, math.Round(100*rng.ExpFloat64()))
			}
			offsets = append(offsets, len(values))
		}
		s := spreadOf(n, values, offsets, []float64{10, 50, 90, 99})
		for range 300 {
			length := 1 + rng.IntN(n/5)
			starts := make([]int, 1+rng.IntN(20))
			var drawn []float64
			for i := range starts {
				starts[i] = rng.IntN(n)
				for k := range length {
					at := (starts[i] + k) % n
					drawn = append(drawn, values[offsets[at]:offsets[at+1]]...)
				}
			}
			if len(drawn) == 0 {
				continue
			}
			slices.Sort(drawn)
			sum := 0.0
			for _, v := range drawn {
				sum += v
			}
			if got, want := s.sum.drawn(starts, length), sum/float64(len(drawn)); math.Abs(got-want) > 1e-9*want {
				t.Fatalf("mean of blocks at %v of %d: %v, want %v", starts, length, got, want)
			}
			for _, p := range []float64{10, 50, 90, 99} {
				if got, want := s.quantile(p).drawn(starts, length), numpy.PercentileSorted(drawn, p); math.Abs(got-want) > tc.within*max(want, 20) {
					t.Fatalf("p%v of blocks at %v of %d: %v, want %v", p, starts, length, got, want)
				}
			}
		}
		// Every request once is the run itself.
		for _, p := range []float64{10, 50, 90, 99} {
			q := s.quantile(p)
			if got := q.drawn([]int{0}, n); math.Abs(got-q.value()) > 1e-9 {
				t.Errorf("p%v of the whole run: %v, want %v", p, got, q.value())
			}
		}
	}
}

func TestCorrelationTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	series := func(n int, coefficient float64) []float64 {
		xs := make([]float64, n)
		x := 0.0
		for i := range xs {
			x = coefficient*x + rng.NormFloat64()
			xs[i] = x
		}
		return xs
	}
	// (1+c)/(1-c) for an AR(1).
	for _, tc := range []struct{ coefficient, want float64 }{{0, 1}, {0.5, 3}, {0.8, 9}} {
		if got := correlationTime(series(20000, tc.coefficient)); math.Abs(got-tc.want) > 0.2*tc.want {
			t.Errorf("coefficient %v: %v, want %v", tc.coefficient, got, tc.want)
		}
	}
	if got := correlationTime(make([]float64, 10)); got != 1 {
		t.Errorf("of nothing: %v", got)
	}
}

// Blocks of equal sums have the least kurtosis, 1; one block that holds everything the most, their number.
func TestKurtosis(t *testing.T) {
	if k, _ := kurtosis([]float64{1, -1, 1, -1}, 1); k != 1 {
		t.Errorf("of equal sums: %v", k)
	}
	if k, _ := kurtosis([]float64{4, 0, 0, 0, 0, 0, 0, 0}, 1); k != 8 {
		t.Errorf("of one sum: %v", k)
	}
	if _, ok := kurtosis([]float64{0, 0, 0}, 1); ok {
		t.Error("of nothing there is none")
	}
}

func TestParseGate(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Gate
	}{
		{"p99 ttft +5%", Gate{Metric: "ttft", Statistic: "p99", Limit: 5, Unit: "%"}},
		{"ttft median", Gate{Metric: "ttft", Statistic: "p50", Unit: "%"}},
		{"mean itl +2.5ms", Gate{Metric: "itl", Statistic: "mean", Limit: 2.5, Unit: "ms"}},
		{"p99.9 E2EL +10%", Gate{Metric: "e2el", Statistic: "p99.9", Limit: 10, Unit: "%"}},
		{"output_throughput -3%", Gate{Metric: "output_throughput", Statistic: rateStatistic, Limit: 3, Unit: "%"}},
		{"failures +1%", Gate{Metric: "failures", Statistic: rateStatistic, Limit: 1, Unit: "points"}},
	} {
		tc.want.Text = tc.text
		if got, err := ParseGate(tc.text); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.text, got, err, tc.want)
		}
	}
	for text, want := range map[string]string{
		"":                      `gate "": it names no metric: write it like "p99 ttft +5%"`,
		"ttft +5%":              `gate "ttft +5%": say which statistic of ttft: write it like "p99 ttft +5%"`,
		"p99 ttft +5":           `gate "p99 ttft +5": +5 is no change in % or ms: write it like "p99 ttft +5%"`,
		"p99 ttft -5%":          `gate "p99 ttft -5%": ttft gets worse the other way: write it like "p99 ttft +5%"`,
		"output_throughput +3%": `gate "output_throughput +3%": output_throughput gets worse the other way: write it like "p99 ttft +5%"`,
		"p99 failures +1%":      `gate "p99 failures +1%": failures has no p99: write it like "p99 ttft +5%"`,
		"p99 p50 ttft":          `gate "p99 p50 ttft": it has two statistics: write it like "p99 ttft +5%"`,
		"p99 ttft +5% +6%":      `gate "p99 ttft +5% +6%": it has two changes: write it like "p99 ttft +5%"`,
		"failures +2ms":         `gate "failures +2ms": failures is no time: write it like "p99 ttft +5%"`,
		"p99 ttft itl":          `gate "p99 ttft itl": it names both ttft and itl: write it like "p99 ttft +5%"`,
	} {
		if _, err := ParseGate(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	f.Add("p99 ttft +5%")
	f.Add("output_throughput -3%")
	f.Fuzz(func(t *testing.T, text string) {
		if g, err := ParseGate(text); err == nil && (g.Metric == "" || g.Statistic == "" || g.Limit < 0 || math.IsNaN(g.Limit)) {
			t.Errorf("%q: %+v", text, g)
		}
	})
}
