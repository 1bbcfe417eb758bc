package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"servebench/results"
	"servebench/results/summary"
)

// ownError is the client's own error in the words of a measurement: the figures above are right to within it.
func (t *table) ownError(h *summary.Health) {
	var parts []string
	late := false
	for _, e := range h.OwnErrors() {
		parts = append(parts, fmt.Sprintf("%s ± %.3f", e.Metric, float64(e.P99)/1e6))
		late = late || e.Late
	}
	if len(parts) == 0 {
		return
	}
	text := strings.Join(parts, ", ")
	if c := h.Client; c != nil && c.Canary != nil {
		text += fmt.Sprintf(" (p99 of %d requests, %d tokens", c.Canary.Requests, c.Canary.Events)
		if late {
			text += "; of what late reads brought together, estimated"
		}
		text += ")"
	}
	t.text("The client's own error (ms):", text)
}

// machine is what the machine did to the client.
func (t *table) machine(c *results.Client) {
	if len(c.Pressure) > 0 {
		var parts []string
		for _, what := range slices.Sorted(maps.Keys(c.Pressure)) {
			parts = append(parts, fmt.Sprintf("%s %.1f", what, c.Pressure[what]*100))
		}
		t.text("Tasks waited, of the time (%):", strings.Join(parts, ", "))
	}
	if c.Steal != nil && *c.Steal > 0 {
		t.text("Taken by the machine's host (s):", fmt.Sprintf("%.2f", c.Steal.Seconds()))
	}
	if c.PacketDrops != nil && *c.PacketDrops > 0 {
		t.int("Packets dropped by the machine:", int(*c.PacketDrops))
	}
}

// audit prints the comparisons of figures that must agree.
func (t *table) audit(s *summary.Summary) {
	if len(s.Manifest.Audit) == 0 {
		return
	}
	t.title("Audit", "-")
	for _, c := range s.Manifest.Audit {
		t.line("%-13s  %s: %s", c.State, c.Name, c.Detail)
	}
}
