package summary

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"servebench/results"
)

func TestCrowdPeak(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spans []span
		want  int
	}{
		{"none", nil, 0},
		{"one", []span{{1, 5}}, 1},
		{"end to end", []span{{1, 5}, {5, 9}}, 1},
		{"nested", []span{{1, 9}, {2, 3}, {4, 5}}, 2},
		{"three at once", []span{{1, 9}, {2, 8}, {3, 4}}, 3},
		{"of no length", []span{{1, 1}}, 1},
	} {
		var c crowd
		for _, s := range tc.spans {
			c.add(s)
		}
		if got := c.peak(); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestCrowdCoarse: a coarse crowd says at its moments what an exact one says there, in any order, and does not grow with its spans.
func TestCrowdCoarse(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const users, length = 40, 2 * time.Hour
	var spans []span
	for u := range users {
		at := results.Moment(1e18) + results.Moment(u)*results.Moment(time.Second)
		for stop := at.Add(length); at < stop; {
			to := at.Add(time.Duration(rng.ExpFloat64() * float64(20*time.Second)))
			spans = append(spans, span{at, to})
			at = to.Add(time.Duration(rng.ExpFloat64() * float64(10*time.Second)))
		}
	}
	var exact, early, late crowd
	early.coarsen()
	for _, s := range spans {
		exact.add(s)
		early.add(s)
	}
	rng.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
	for i, s := range spans {
		late.add(s)
		if i == len(spans)/2 {
			late.coarsen()
		}
	}
	if early.extent() != exact.extent() || early.grain() != late.grain() || early.peak() != late.peak() || early.coarse.base != late.coarse.base ||
		!slices.Equal(early.coarse.cells, late.coarse.cells) {
		t.Errorf("the order of spans shows: grains of %v and %v, peaks of %d and %d", early.grain(), late.grain(), early.peak(), late.peak())
	}
	// Two hours and some in 2^19 grains.
	if got, want := early.grain(), time.Duration(1<<24); got != want || exact.grain() != 0 || len(early.coarse.cells) > grains {
		t.Errorf("%d grains of %v, want %v", len(early.coarse.cells), got, want)
	}
	countExact, countCoarse, sampled := exact.counter(), early.counter(), 0
	for i := range early.coarse.cells {
		edge := results.Moment((early.coarse.base + int64(i) + 1) << early.coarse.shift)
		began, touching := 0, 0
		if i%997 == 0 {
			for _, s := range spans {
				if s.from < edge && s.to >= edge {
					began++
				}
				if s.from < edge && s.to >= edge.Add(-early.grain()) {
					touching++
				}
			}
			if got := countExact(edge - 1); got < began {
				t.Fatalf("%d hold the moment before %d, want at least %d", got, edge, began)
			}
			if got := countCoarse(edge - 1); got != touching {
				t.Fatalf("%d touch grain %d, want %d", got, i, touching)
			}
			sampled = max(sampled, began)
		}
	}
	if peak := early.peak(); peak < sampled || peak > exact.peak() || peak < exact.peak()-1 {
		t.Errorf("peak %d, of its moments at least %d, exactly %d", peak, sampled, exact.peak())
	}
}
