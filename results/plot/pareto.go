package plot

import (
	"cmp"
	"slices"
)

// Frontier are the points that no other beats in both directions, from the largest x on: sorted by x, then y, both
// descending, a point stays when its y is no less than the best so far.
func Frontier(points []Point) []Point {
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b Point) int { return cmp.Or(cmp.Compare(b.X, a.X), cmp.Compare(b.Y, a.Y)) })
	var kept []Point
	for _, p := range sorted {
		if len(kept) == 0 || p.Y >= kept[len(kept)-1].Y-tie {
			kept = append(kept, p)
		}
	}
	return kept
}

// tie is how much less still counts as equal.
const tie = 1e-9
