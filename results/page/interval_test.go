package page

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestOrderStatistics(t *testing.T) {
	// Published tables of distribution-free intervals: the median of 10 lies between the 2nd and 9th value, that of
	// 100 between the 40th and 61st.
	for _, tc := range []struct {
		n, p      float64
		low, high float64
	}{
		{10, 0.5, 2, 9},
		{100, 0.5, 40, 61},
		{5, 0.5, 0, 6},       // too few for a bound on either side
		{100, 0.99, 97, 101}, // none above
		{1000, 0.99, 983, 997},
		{1_000_000, 0.5, 499020, 500981},
	} {
		if low, high := orderStatistics(tc.n, tc.p); math.Abs(low-tc.low) > 0 || math.Abs(high-tc.high) > 0 {
			t.Errorf("p%v of %v values lies between ranks %v and %v, want %v and %v", 100*tc.p, tc.n, low, high, tc.low, tc.high)
		}
	}
}

// TestIntervalsCover draws many runs whose true figures are known. Neighbouring values of the second kind resemble each other, as those
// of requests that share a queue do; an interval that took them for independent would cover half as often as it says.
func TestIntervalsCover(t *testing.T) {
	const runs, n = 300, 400
	rng := rand.New(rand.NewPCG(7, 7))
	normal := func(previous, keep float64) float64 {
		return keep*previous + math.Sqrt(1-keep*keep)*rng.NormFloat64()
	}
	for _, tc := range []struct {
		name  string
		keep  float64
		least float64
	}{{"independent", 0, 0.93}, {"neighbours alike", 0.8, 0.88}} {
		t.Run(tc.name, func(t *testing.T) {
			// Values are exp(x) of a standard normal x.
			truths := []float64{math.Exp(0.5), 1, math.Exp(1.2815515655)}
			covered := make([]int, 3)
			naive := 0 // intervals of the mean that take values for independent
			for range runs {
				values := make([]float64, n)
				x := rng.NormFloat64()
				for i := range values {
					x = normal(x, tc.keep)
					values[i] = math.Exp(x)
				}
				sorted := slices.Clone(values)
				slices.Sort(sorted)
				for k, p := range []float64{-1, 0.5, 0.9} {
					var s sureness
					mean := 0.0
					for _, v := range values {
						mean += v / n
					}
					at := sorted[int(max(p, 0)*(n-1))]
					for i, v := range values {
						switch {
						case p < 0:
							s.add(v-mean, 1, i*batchCount/n)
						case v <= at:
							s.add(1-p, 1, i*batchCount/n)
						default:
							s.add(-p, 1, i*batchCount/n)
						}
					}
					var low, high float64
					if p < 0 {
						i, _ := s.mean(mean)
						low, high = i.Low, i.High
						if half := normal95 * math.Sqrt(s.squares) / n; math.Abs(mean-truths[0]) <= half {
							naive++
						}
					} else {
						l, h, ok := s.percentile(p)
						if !ok {
							t.Fatal("no interval")
						}
						low, high = math.Inf(-1), math.Inf(1)
						if l >= 0 {
							low = sorted[int(l*(n-1))]
						}
						if !math.IsInf(h, 1) {
							high = sorted[min(int(math.Ceil(h*(n-1))), n-1)]
						}
					}
					if low <= truths[k] && truths[k] <= high {
						covered[k]++
					}
				}
			}
			t.Logf("%.3f of intervals that take values for independent hold the mean", float64(naive)/runs)
			if tc.keep > 0 && float64(naive)/runs > 0.7 {
				t.Errorf("these values are too much alone to show anything: %d of %d", naive, runs)
			}
			for k, name := range []string{"mean", "p50", "p90"} {
				share := float64(covered[k]) / runs
				t.Logf("%s: %.3f of intervals hold the truth", name, share)
				if share < tc.least || share > 0.999 && k > 0 && tc.keep == 0 {
					t.Errorf("%s: %v of 95 %% intervals hold the truth", name, share)
				}
			}
		})
	}
}

func TestIntervalsOfShortRuns(t *testing.T) {
	var s sureness
	for i := range leastRequests - 1 {
		s.add(0.5, 1, i)
	}
	if _, ok := s.mean(1); ok {
		t.Error("nine requests have an interval of the mean")
	}
	if _, _, ok := s.percentile(0.5); ok {
		t.Error("nine requests have an interval of a percentile")
	}
}

func TestHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	h := newHistogram(fine)
	var exact []float64
	for range 20_000 {
		d := time.Duration(math.Exp(rng.NormFloat64()*2) * 1e7)
		h.add(d)
		exact = append(exact, float64(d)/1e6)
	}
	slices.Sort(exact)
	for _, share := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
		got, want := h.at(share), exact[int(math.Round(share*float64(len(exact)-1)))]
		if math.Abs(got/want-1) > 2*fine {
			t.Errorf("share %v lies at %v, want %v", share, got, want)
		}
	}
	edge := newHistogram(coarse)
	for _, d := range []time.Duration{-5, 0, 48 * time.Hour} {
		edge.add(d)
	}
	if edge.n != 3 || edge.at(0) > 0.00101 || edge.at(1) < 0.99*24*3600e3 {
		t.Errorf("%d values at the edges, from %v to %v", edge.n, edge.at(0), edge.at(1))
	}
}

func TestGrid(t *testing.T) {
	for _, tc := range []struct {
		length time.Duration
		most   int
		width  time.Duration
		n      int
	}{
		{10 * time.Second, 100, 100 * time.Millisecond, 100},
		{10 * time.Second, 99, 200 * time.Millisecond, 50},
		{1250 * time.Millisecond, 3, 500 * time.Millisecond, 3}, // the last is 250 ms
		{1200 * time.Millisecond, 3, 500 * time.Millisecond, 2}, // the last is 700 ms
		{1, 100, 1, 1},
	} {
		g := gridOf(tc.length, tc.most)
		if g.width != tc.width || g.n != tc.n {
			t.Errorf("%v in at most %d: %d of %v, want %d of %v", tc.length, tc.most, g.n, g.width, tc.n, tc.width)
		}
		if end := g.to(g.n - 1); end != tc.length {
			t.Errorf("%v ends at %v", tc.length, end)
		}
	}
	g := gridOf(4*time.Second, 4)
	flying := make([]float64, 4)
	g.spread(flying, 500*time.Millisecond, 2250*time.Millisecond)
	g.spread(flying, -time.Second, 9*time.Second)
	for i, want := range []float64{1.5, 2, 1.25, 1} {
		if flying[i] != want {
			t.Errorf("second %d: %v in flight, want %v", i, flying[i], want)
		}
	}
}
