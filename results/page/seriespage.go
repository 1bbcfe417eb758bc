package page

import (
	"encoding/json"
	"html/template"
	"io"
	"slices"

	"servebench/results"
)

// A Series is runs that belong together: the points of a sweep, the tries of a search, repeats. What was not measured is nil.
type Series struct {
	// Name and Kind say what it is: sweep, search, repeats, ab.
	Name, Kind string
	// Began is when the series was begun.
	Began results.Moment
	// Ended of Runs runs have ended.
	Ended, Runs int
	// Result is what a search found, in a sentence; Findings are further ones, such as where a curve bends.
	Result   string
	Findings []string
	// Warnings are doubts about the whole and runs that failed.
	Warnings []string
	Points   []SeriesPoint
	Curves   []SeriesCurve
	// Index is the address of the list of runs.
	Index string
}

// A SeriesPoint is one combination of values with the means of its runs.
type SeriesPoint struct {
	Number int
	Name   string
	Runs   []SeriesRun
	// Rates are per second, latencies milliseconds.
	RequestRate, OutputRate, Failed       *float64
	TTFT50, TTFT99, ITL99, E2EL50, E2EL99 *float64
	Marks                                 []string
	Best, Missed                          bool // the search's answer; a point that misses a bound
}

// A SeriesRun is one run of a point, with the address of its page; empty where it has none.
type SeriesRun struct{ Name, Link string }

// A SeriesCurve is a latency against throughput.
type SeriesCurve struct {
	// Metric is its name in results.Metrics, Statistic p50 or p99, X request_throughput or output_throughput.
	Metric, Statistic, X string
	Points               []SeriesPlace
	// Front are the numbers of the points that no other one beats, Knees those where a line bends.
	Front, Knees []int
}

// A SeriesPlace is a point on a curve. Points of one line differ in their load only.
type SeriesPlace struct {
	Point int
	Line  string
	X, Y  float64
}

// seriesChart is a curve as the script draws it.
type seriesChart struct {
	Label     string       `json:"label"`
	Statistic string       `json:"statistic"`
	X         string       `json:"x"`
	Lines     []seriesLine `json:"lines"`
}

type seriesLine struct {
	Name   string  `json:"name"`
	Points ints    `json:"points"`
	X      doubles `json:"x"`
	Y      doubles `json:"y"`
	// Front and Knee say of each point whether it is one.
	Front ints `json:"front"`
	Knee  ints `json:"knee"`
}

func (c *SeriesCurve) chart() seriesChart {
	out := seriesChart{Label: c.Metric, Statistic: c.Statistic, X: "requests/s", Lines: []seriesLine{}}
	if m, ok := results.MetricNamed(c.Metric); ok {
		out.Label = m.Label
	}
	if c.X == "output_throughput" {
		out.X = "output tokens/s"
	}
	has := func(list []int, n int) int {
		if slices.Contains(list, n) {
			return 1
		}
		return 0
	}
	for _, p := range c.Points {
		i := slices.IndexFunc(out.Lines, func(l seriesLine) bool { return l.Name == p.Line })
		if i < 0 {
			i = len(out.Lines)
			out.Lines = append(out.Lines, seriesLine{Name: p.Line})
		}
		l := &out.Lines[i]
		l.Points, l.X, l.Y = append(l.Points, p.Point), append(l.X, p.X), append(l.Y, p.Y)
		l.Front, l.Knee = append(l.Front, has(c.Front, p.Point)), append(l.Knee, has(c.Knees, p.Point))
	}
	return out
}

// WriteSeries writes the page of a series.
func WriteSeries(w io.Writer, s Series) error {
	charts := []seriesChart{}
	for i := range s.Curves {
		if slices.Contains(charted, s.Curves[i].Metric) {
			charts = append(charts, s.Curves[i].chart())
		}
	}
	data, err := json.Marshal(map[string]any{"curves": charts})
	if err != nil {
		return err
	}
	title := s.Name
	if title == "" {
		title = s.Kind
	}
	return templates.ExecuteTemplate(w, "series.html", shellOf(title, struct {
		Series
		Title, When string
		Charts      bool
		Data        template.JS
	}{s, title, when(s.Began), len(charts) > 0, template.JS(data)}, asset("uPlot.min.js"), asset("draw.js"), asset("series.js")))
}
