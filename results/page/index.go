package page

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// ReportFile is the file of a run folder that holds its figures. A list of runs is made from these, so that it need not
// read every record of every run.
const ReportFile = "report.json"

// A Brief is a run in one line of a list. What was not measured is nil.
type Brief struct {
	// Name is what the list calls the run, Link its page.
	Name, Link string
	// Trace is the address of a page that opens its trace; empty without one.
	Trace     string
	Manifest  *results.Manifest
	Complete  bool
	Completed int
	Failed    int
	Client    summary.State
	Requests  *float64 // per second
	Tokens    *float64 // output tokens per second
	TTFT50    *float64 // ms, from the run's basis
	TTFT99    *float64
	ITL99     *float64
	E2EL99    *float64
}

// BriefOf reads a run's line: from its report, or, where there is none, from its records.
func BriefOf(run *results.Run) (*Brief, error) {
	text, err := run.ReadFile(ReportFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s, err := summary.OfRun(run)
		if err != nil {
			return nil, err
		}
		return briefOfSummary(run.Manifest(), s), nil
	case err != nil:
		return nil, err
	}
	var r struct {
		Schema   string        `json:"schema"`
		Complete bool          `json:"complete"`
		Basis    results.Basis `json:"basis"`
		Requests struct{ Completed, Failed int }
		Rates    struct {
			Requests *float64 `json:"requests_per_s"`
			Output   *float64 `json:"output_tokens_per_s"`
		} `json:"throughput"`
		Client struct {
			Verdict summary.State `json:"verdict"`
		} `json:"client"`
		Latency []struct {
			Metric      string             `json:"metric"`
			Basis       results.Basis      `json:"basis"`
			Percentiles map[string]float64 `json:"percentiles"`
		} `json:"latency"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", run.Dir(), ReportFile, err)
	}
	if r.Schema != report.Schema {
		return nil, fmt.Errorf("%s/%s: layout %q, not %q", run.Dir(), ReportFile, r.Schema, report.Schema)
	}
	b := &Brief{
		Manifest: run.Manifest(), Complete: r.Complete, Completed: r.Requests.Completed, Failed: r.Requests.Failed, Client: r.Client.Verdict,
		Requests: r.Rates.Requests, Tokens: r.Rates.Output,
	}
	for _, l := range r.Latency {
		if l.Basis != r.Basis {
			continue
		}
		b.take(l.Metric, func(p string) *float64 {
			if v, ok := l.Percentiles[p]; ok {
				return &v
			}
			return nil
		})
	}
	return b, nil
}

func briefOfSummary(m *results.Manifest, s *summary.Summary) *Brief {
	b := &Brief{
		Manifest: m, Complete: s.Complete, Completed: s.Completed, Failed: s.Failed, Client: s.Health.State,
		Requests: s.RequestRate, Tokens: s.OutputRate,
	}
	for _, d := range s.Dists {
		if d.Basis == s.Basis {
			b.take(d.Metric.Name, func(p string) *float64 {
				v, ok := d.At(map[string]float64{"50": 50, "99": 99}[p])
				if !ok {
					return nil
				}
				return &v
			})
		}
	}
	return b
}

func (b *Brief) take(metric string, at func(p string) *float64) {
	switch metric {
	case "ttft":
		b.TTFT50, b.TTFT99 = at("50"), at("99")
	case "itl":
		b.ITL99 = at("99")
	case "e2el":
		b.E2EL99 = at("99")
	}
}

// Model, Load, Began and Outcome are the words of a line.
func (b *Brief) Model() string { return cmp.Or(b.Manifest.Settings.ModelID, b.Manifest.Settings.Model) }

// Load is the load in a few words.
func (b *Brief) Load() string { return loadWords(b.Manifest) }

// Began is when it began.
func (b *Brief) Began() string { return when(b.moment()) }

func (b *Brief) moment() results.Moment { return cmp.Or(b.Manifest.Began, b.Manifest.Created) }

// Outcome is how it ended.
func (b *Brief) Outcome() string {
	switch {
	case b.Manifest.Outcome == "":
		return "not ended"
	case !b.Complete:
		return string(b.Manifest.Outcome) + ", incomplete"
	}
	return string(b.Manifest.Outcome)
}

// Class is the colour of the client's verdict.
func (b *Brief) Class() string {
	return map[summary.State]string{summary.Healthy: "good", summary.ClientBound: "bad"}[b.Client]
}

// A Trouble is a folder that could not be listed.
type Trouble struct{ Name, Error string }

// A List is what lies below a folder.
type List struct {
	Folder   string
	Runs     []*Brief
	Series   []SeriesRun
	Troubles []Trouble
	// Compare is the address of a page that compares the runs that are ticked; empty without one.
	Compare string
}

// WriteIndex writes the list of runs, the newest first.
func WriteIndex(w io.Writer, l List) error {
	l.Runs = slices.Clone(l.Runs)
	slices.SortStableFunc(l.Runs, func(a, b *Brief) int {
		return cmp.Or(cmp.Compare(b.moment(), a.moment()), cmp.Compare(a.Name, b.Name))
	})
	return templates().ExecuteTemplate(w, "index.html", shellOf("Runs in "+l.Folder, l))
}
