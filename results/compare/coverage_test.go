package compare

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"servebench/results"
)

// A queue is a run of one server with Poisson arrivals, busy 60 % of the time: neighbours are alike, as they are behind any
// scheduler. What the seed drives is the load; own is the run.
func queue(t testing.TB, n int, seed, own uint64, slow float64) *Run {
	t.Helper()
	load, self := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(own, 2))
	wait := 0.0
	records := func(yield func(*results.Record, error) bool) {
		for i := range n {
			service := slow * math.Exp(0.7*load.NormFloat64()+0.1*self.NormFloat64())
			due := zero.Add(time.Duration(i) * 10 * ms)
			first := due.Add(time.Duration((wait + service) * 1e7))
			wait = max(wait+service-load.ExpFloat64()*2, 0)
			rec := &results.Record{
				ID: i, Kind: results.Load, InputTokens: 100, Due: due, Released: due, Dispatched: due,
				Reply: results.Reply{Written: due, Chunks: []results.Chunk{{At: first, Tokens: 1}}, Done: first, Status: 200, OutputTokens: 1},
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
	m := &results.Manifest{Seed: int64(seed), Created: results.Moment(own), Outcome: results.OK, Settings: results.Settings{NumPrompts: n}}
	r, err := OfRecords(fmt.Sprint(own), m, records, Options{Metrics: []string{"ttft"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sides repeats a comparison of runs that differ by a factor in speed; the i-th draws from seed i.
func repeated(t *testing.T, repetitions, requests, runs int, sameSeed bool, slow float64, each func(*Report)) {
	t.Helper()
	gate, err := ParseGate("p50 ttft +5%")
	if err != nil {
		t.Fatal(err)
	}
	for i := range repetitions {
		a, b := &Group{Name: "A"}, &Group{Name: "B"}
		for k := range runs {
			id := uint64(1000*i + 2*k)
			seeds := [2]uint64{id, id + 1}
			if sameSeed {
				seeds = [2]uint64{uint64(i), uint64(i)}
			}
			a.Runs = append(a.Runs, queue(t, requests, seeds[0], id, 1))
			b.Runs = append(b.Runs, queue(t, requests, seeds[1], id+1, slow))
		}
		r, err := Compare([]*Group{a, b}, Options{Metrics: []string{"ttft"}, Percentiles: []float64{50, 90}, Seed: uint64(i), Draws: 150, Plain: true, Gates: []Gate{gate}})
		if err != nil {
			t.Fatal(err)
		}
		each(r)
	}
}

// Under no change, an interval of 95 % excludes it in one comparison of twenty, and the gate of a pipeline is missed in no more. The bounds
// leave room for the chance of so few repetitions; docs/statistics.md has the figures of thousands.
func TestFalseAlarms(t *testing.T) {
	for _, tc := range []struct {
		name              string
		requests, runs    int
		sameSeed          bool
		mostWrong, decide int
	}{
		{"one run a side", 2000, 1, false, 7, 60},
		{"one run a side, same seed", 2000, 1, true, 7, 60},
		{"three runs a side", 200, 3, false, 7, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const repetitions = 60
			wrong, decided, missed, judged := map[string]int{}, map[string]int{}, 0, 0
			repeated(t, repetitions, tc.requests, tc.runs, tc.sameSeed, 1, func(r *Report) {
				for _, row := range r.Comparisons[0].Rows {
					if i := row.RatioInterval; i != nil {
						decided[row.Statistic]++
						if i.Low > 1 || i.High < 1 {
							wrong[row.Statistic]++
						}
					}
					if row.Verdict == Better || row.Verdict == Worse {
						judged++
					}
				}
				if r.Has(Missed) {
					missed++
				}
			})
			for _, s := range []string{"mean", "p50", "p90"} {
				if wrong[s] > tc.mostWrong {
					t.Errorf("%s: %d of %d intervals exclude that nothing changed", s, wrong[s], repetitions)
				}
				if decided[s]*100 < tc.decide*repetitions/2 {
					t.Errorf("%s: only %d of %d comparisons have an interval", s, decided[s], repetitions)
				}
			}
			if missed > tc.mostWrong {
				t.Errorf("the gate was missed in %d of %d comparisons without a change", missed, repetitions)
			}
			if judged > 2*tc.mostWrong {
				t.Errorf("%d verdicts in %d comparisons without a change", judged, repetitions)
			}
		})
	}
}

// A change of 25 % is found, and the same comparison says the same each time.
func TestGateFindsAndDoesNotFlap(t *testing.T) {
	missed := 0
	var first []GateResult
	repeated(t, 10, 8000, 1, true, 1.25, func(r *Report) {
		if r.Has(Missed) {
			missed++
		}
		if first == nil {
			first = r.Gates
		}
	})
	if missed < 10 {
		t.Errorf("the gate was missed in %d of 10 comparisons with a change of 25 %%", missed)
	}
	repeated(t, 1, 8000, 1, true, 1.25, func(r *Report) {
		if g := r.Gates[0]; *g.P != *first[0].P || *g.Change != *first[0].Change || g.Outcome != first[0].Outcome {
			t.Errorf("the same comparison gave %+v, then %+v", first[0], g)
		}
	})
}

// What the load of one seed does to both sides cancels: the interval is a fraction of what two loads leave.
func TestSameSeedCancels(t *testing.T) {
	width := func(sameSeed bool) float64 {
		sum, n := 0.0, 0.0
		repeated(t, 10, 4000, 1, sameSeed, 1, func(r *Report) {
			if i := rowNamed(t, r, "ttft", "p50").RatioInterval; i != nil {
				sum += math.Log(i.High / i.Low)
				n++
			}
			if r.Comparisons[0].Paired != sameSeed {
				t.Errorf("paired is %t for the same seed %t", r.Comparisons[0].Paired, sameSeed)
			}
		})
		return sum / n
	}
	if same, other := width(true), width(false); same > other/2 {
		t.Errorf("an interval with the same seed is %.3f wide, with another %.3f", same, other)
	}
}

// Where a run holds few independent stretches, there is no interval to be wrong.
func TestTooFewBlocks(t *testing.T) {
	a, b := queue(t, 300, 1, 1, 2), queue(t, 300, 2, 2, 2) // 120 % busy: the queue only grows
	r, err := Compare([]*Group{{"A", []*Run{a}}, {"B", []*Run{b}}}, Options{Metrics: []string{"ttft"}})
	if err != nil {
		t.Fatal(err)
	}
	row := rowNamed(t, r, "ttft", "mean")
	if row.Verdict != Inconclusive || row.RatioInterval != nil || row.Needs == nil {
		t.Errorf("%s in %v: %s", row.Verdict, row.RatioInterval, row.Note)
	}
}

// BenchmarkCompare compares two runs of a hundred thousand requests with a hundred gaps each: ten million gaps a side. It must stay
// far below the time that such runs take.
func BenchmarkCompare(b *testing.B) {
	list := func(own uint64) *Run {
		self := rand.New(rand.NewPCG(own, 2))
		records := func(yield func(*results.Record, error) bool) {
			for i := range 100000 {
				due := zero.Add(time.Duration(i) * ms)
				rec := &results.Record{ID: i, Kind: results.Load, InputTokens: 100, Due: due, Released: due, Dispatched: due, Reply: results.Reply{Written: due, Status: 200, OutputTokens: 101}}
				at := due.Add(time.Duration(50e6 * math.Exp(0.3*self.NormFloat64())))
				rec.Chunks = make([]results.Chunk, 0, 101)
				for range 101 {
					rec.Chunks = append(rec.Chunks, results.Chunk{At: at, Tokens: 1})
					at = at.Add(time.Duration(10e6 * math.Exp(0.3*self.NormFloat64())))
				}
				rec.Done = at
				if !yield(rec, nil) {
					return
				}
			}
		}
		r, err := OfRecords(fmt.Sprint(own), &results.Manifest{Created: results.Moment(own), Outcome: results.OK}, records, Options{})
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	x, y := list(1), list(2)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compare([]*Group{{"A", []*Run{x}}, {"B", []*Run{y}}}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
