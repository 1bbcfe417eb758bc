package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"servebench/results/summary"
)

// A Severity is how grave a doubt about a comparison is.
type Severity string

// The severities.
const (
	// Refusal means that figures side by side would say something else than they seem to.
	Refusal Severity = "refusal"
	// Doubt means that the figures hold, with a reservation.
	Doubt Severity = "warning"
	// Remark is worth knowing; where servers differ, it is mostly what is being compared.
	Remark Severity = "note"
)

// A Finding is one doubt.
type Finding struct {
	Severity Severity `json:"severity"`
	// Field is the setting or circumstance, as --vary names it.
	Field string `json:"field"`
	Text  string `json:"text"`
}

// How grave a difference is: between two groups, and between runs of one group, which ought to be repeats.
var fieldRules = map[string]struct{ between, within Severity }{
	"model":           {Refusal, Refusal},
	"backend":         {Refusal, Refusal},
	"endpoint":        {Doubt, Doubt},
	"basis":           {Refusal, Refusal},
	"compat":          {Doubt, Doubt},
	"dataset":         {Refusal, Refusal},
	"dataset_options": {Refusal, Refusal},
	"body":            {Doubt, Refusal},
	"load":            {Refusal, Refusal},
	"stages":          {Refusal, Refusal},
	"tokenizer":       {Doubt, Doubt},
	"requests":        {Doubt, Doubt},
	"rate":            {Refusal, Refusal},
	"burstiness":      {Refusal, Refusal},
	"concurrency":     {Refusal, Refusal},
	"seed":            {Doubt, Remark},
	"stamps":          {Doubt, Doubt},
	"server_version":  {Remark, Refusal},
	"server_command":  {Remark, Refusal},
	"server_settings": {Remark, Doubt},
	"client_machine":  {Doubt, Doubt},
	"tool":            {Remark, Remark},
}

const (
	// lengthTolerance is by how much mean lengths may differ.
	lengthTolerance = 0.01
	// cachedDoubt and cachedRefusal are by how much the shares of cached prompt tokens may differ.
	cachedDoubt, cachedRefusal = 0.01, 0.10
	// failureDoubt is the share of failed requests beyond which latencies are those of a chosen few.
	failureDoubt = 0.01
)

// findings are the doubts about comparing two groups, the gravest first. Fields in vary are meant to differ.
func findings(a, b *Group, vary []string) []Finding {
	var out []Finding
	add := func(s Severity, field, format string, args ...any) {
		if slices.Contains(vary, field) {
			s = Remark
		}
		f := Finding{s, field, fmt.Sprintf(format, args...)}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	for _, g := range []*Group{a, b} {
		for _, r := range g.Runs {
			r.doubts(add)
		}
		for _, r := range g.Runs[1:] {
			differences(g.Runs[0], r, fmt.Sprintf("inside %s", g.Name), func(field string) Severity { return fieldRules[field].within }, add)
		}
	}
	seen := map[uint64]string{}
	for _, g := range []*Group{a, b} {
		for _, r := range g.Runs {
			if first, known := seen[r.Identity]; known {
				add(Refusal, "run", "%s and %s are the same run", first, r.Name)
			}
			seen[r.Identity] = r.Name
		}
	}
	differences(a.Runs[0], b.Runs[0], fmt.Sprintf("between %s and %s", a.Name, b.Name), func(field string) Severity { return fieldRules[field].between }, add)
	gravestFirst(out)
	return out
}

func gravestFirst(list []Finding) {
	rank := map[Severity]int{Refusal: 0, Doubt: 1, Remark: 2}
	slices.SortStableFunc(list, func(x, y Finding) int { return rank[x.Severity] - rank[y.Severity] })
}

// doubts are those about one run.
func (r *Run) doubts(add func(s Severity, field, format string, args ...any)) {
	if r.Incomplete != "" {
		add(Refusal, "incomplete", "%s is not whole: %s", r.Name, r.Incomplete)
	}
	switch r.Client {
	case summary.ClientBound:
		add(Refusal, "client", "%s says more about the client than about the server: %s", r.Name, r.ClientReason)
	case summary.Degraded:
		add(Doubt, "client", "%s: the client's own error is worth knowing: %s", r.Name, r.ClientReason)
	}
	if r.Completed == 0 {
		add(Refusal, "failures", "%s: no request succeeded", r.Name)
	} else if share := float64(r.Failed) / float64(r.Requests); share > failureDoubt {
		add(Doubt, "failures", "%s: %.1f %% of requests failed, so its latencies are those of the others", r.Name, share*100)
	}
}

// differences are those between two runs.
func differences(a, b *Run, where string, severity func(field string) Severity, add func(s Severity, field, format string, args ...any)) {
	var names []string
	for _, r := range []*Run{a, b} {
		for _, f := range r.Fields {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	for _, name := range names {
		va, vb := a.Field(name), b.Field(name)
		// A result file that lacks a field says nothing about it.
		if va == vb || va == "" || vb == "" {
			continue
		}
		grade := severity(name)
		if grade == "" {
			grade = Remark // metadata, in the user's own words
		}
		if name == "requests" && a.Field("rate") == "inf" && a.Field("concurrency") == "none" {
			grade = Refusal // everything is sent at once: their number is the load
		}
		add(grade, name, "%s differs %s: %s", name, where, changed(va, vb))
	}
	length := func(field string, x, y float64) {
		if x > 0 && y > 0 && math.Abs(x-y) > lengthTolerance*max(x, y) {
			add(Refusal, field, "%s differs %s: %.1f, %.1f tokens on average", field, where, x, y)
		}
	}
	length("input_length", a.InputLength, b.InputLength)
	length("output_length", a.OutputLength, b.OutputLength)
	if gap := math.Abs(a.CachedShare - b.CachedShare); gap > cachedDoubt {
		grade := Doubt
		if gap > cachedRefusal {
			grade = Refusal
		}
		add(grade, "prefix_cache", "prefix_cache differs %s: %.1f %%, %.1f %% of prompt tokens were cached", where, a.CachedShare*100, b.CachedShare*100)
	}
}

// changed shows two values; of long ones, where they part.
func changed(a, b string) string {
	const limit = 60
	if len(a) <= limit && len(b) <= limit {
		return a + ", " + b
	}
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	from := max(at-12, 0)
	cut := func(s string) string {
		part := s[from:min(from+limit, len(s))]
		if from > 0 {
			part = "..." + part
		}
		if from+limit < len(s) {
			part += "..."
		}
		return strings.ToValidUTF8(part, "")
	}
	return cut(a) + ", " + cut(b)
}
