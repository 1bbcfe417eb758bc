package scenario

import (
	"context"
	"encoding/json"
	"fmt"

	"servebench/results"
)

// RunAB makes runs of two scenarios by turns, there and back: A B B A A B B A, so that a drift of the machine falls on both alike. Run k of either
// has the same seed, so that both send the same prompts. A server that two neighbouring runs share goes on, with its prefix cache
// emptied where it can be.
func RunAB(ctx context.Context, a, b *Scenario, repeats int, o SeriesOptions) (*Index, error) {
	if repeats < 1 {
		return nil, fmt.Errorf("%d repeats: want 1 or more", repeats)
	}
	var points []*sweepPoint
	for i, s := range []*Scenario{a, b} {
		name := string(rune('A' + i))
		if s.IsSeries() {
			return nil, fmt.Errorf("scenario %s makes several runs by itself: take repeats, sweep and search out of it", name)
		}
		if faults := s.Faults(); len(faults) > 0 {
			var found Problems
			for _, f := range faults {
				found = append(found, Problem{Source: "scenario " + name, Path: f.Path, Message: f.Message})
			}
			return nil, found
		}
		points = append(points, &sweepPoint{name: name, scenario: s})
	}
	text, err := json.Marshal(map[string]*Scenario{"a": a, "b": b})
	if err != nil {
		return nil, err
	}
	x := &Index{Kind: "ab", Name: a.Name, Scenario: results.RedactJSON(text), Order: "counterbalanced", Seeds: "repeat", Repeats: repeats}
	if b.Name != a.Name {
		x.Name += "-" + b.Name
	}
	return runPoints(ctx, x, points, a.Seed, o)
}

// Folders are the run folders of a point, by its number, that ended well, in the order in which they were made.
func (x *Index) Folders(point int) []string {
	var list []string
	for _, r := range x.Runs {
		if r.Point == point && r.Status == RunOK {
			list = append(list, r.Folder)
		}
	}
	return list
}

// Differences are the fields in which two scenarios differ, for people.
func Differences(a, b *Scenario) ([]results.Difference, error) {
	x, err := a.JSON()
	if err != nil {
		return nil, err
	}
	y, err := b.JSON()
	if err != nil {
		return nil, err
	}
	return results.Differences(results.RedactJSON(x), results.RedactJSON(y))
}
