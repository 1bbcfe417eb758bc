package page

import (
	"fmt"
	"strings"

	"servebench/results"
	"servebench/results/summary"
)

// trust says how far the figures of a run are to be relied on: the client's own error, and figures held against each other.
type trust struct {
	// Error is the client's own error; nil when it was not measured.
	Error *ownError
	Audit []auditRow
	// Counts are the checks by their state, those that are there.
	Counts []auditCount
}

// ownError is what the client measured wrong on a stream whose times are known, in milliseconds.
type ownError struct {
	Requests, Events int
	Rows             []ownErrorRow
	// Late are the errors of the load itself that are larger: of tokens that a late read brought together.
	Late []string
}

type ownErrorRow struct {
	Label         string
	P50, P99, Max float64
}

type auditRow struct {
	results.Check
	Class string // good, bad, none
}

type auditCount struct {
	N     int
	Class string
	Word  string
}

// objectiveRow is an objective of the whole run.
type objectiveRow struct {
	Bound, Measured, Word, Class string
}

func trustOf(m *results.Manifest, h *summary.Health) *trust {
	t := &trust{}
	if c := m.Client; c != nil && c.Canary != nil {
		e := &ownError{Requests: c.Canary.Requests, Events: c.Canary.Events}
		for _, one := range []struct {
			label string
			of    *results.Error
		}{{"TTFT", c.Canary.TTFT}, {"ITL", c.Canary.ITL}} {
			if one.of != nil {
				e.Rows = append(e.Rows, ownErrorRow{one.label, float64(one.of.P50) / 1e6, float64(one.of.P99) / 1e6, float64(one.of.Max) / 1e6})
			}
		}
		if len(e.Rows) > 0 {
			t.Error = e
		}
	}
	for _, e := range h.OwnErrors() {
		if e.Late && t.Error != nil {
			t.Error.Late = append(t.Error.Late, fmt.Sprintf("%s ± %.3f ms", e.Metric, float64(e.P99)/1e6))
		}
	}
	for _, state := range []struct {
		of    results.CheckState
		class string
	}{{results.Missed, "bad"}, {results.Passed, "good"}, {results.NotCheckable, "none"}} {
		n := 0
		for _, check := range m.Audit {
			if check.State == state.of {
				t.Audit = append(t.Audit, auditRow{check, state.class})
				n++
			}
		}
		if n > 0 {
			t.Counts = append(t.Counts, auditCount{n, state.class, string(state.of)})
		}
	}
	return t
}

// Sentence is the error in the words of a measurement.
func (e *ownError) Sentence() string {
	var parts []string
	for _, r := range e.Rows {
		parts = append(parts, fmt.Sprintf("%s ± %s ms", r.Label, fixed(3, r.P99)))
	}
	return strings.Join(parts, ", ")
}

// objectivesOf are the objectives of the whole run with what was measured.
func objectivesOf(s *summary.Summary) (list []objectiveRow) {
	for _, b := range s.Bounds {
		row := objectiveRow{b.Bound, b.Measured(), "missed", "bad"}
		if b.Met {
			row.Word, row.Class = "met", "good"
		}
		list = append(list, row)
	}
	return list
}
