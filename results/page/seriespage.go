package page

import (
	"encoding/json"
	"html/template"
	"io"
	"math"
	"slices"

	"servebench/results"
)

// A Series is runs that belong together: the points of a sweep, the tries of a search, repeats. What was not measured is nil.
type Series struct {
	// Name and Kind say what it is: sweep, search, searches, repeats, ab.
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
	// Capacity is what searches found, against a field that is swept; nil without.
	Capacity *SeriesCapacity
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
	// Search is the point's own search, Holds the highest value that held, Fails the lowest above it that did not, Confidence in percent.
	Search                   *SeriesRun
	Holds, Fails, Confidence *float64
}

// A SeriesCapacity is the highest value of Search that held, against Field.
type SeriesCapacity struct {
	Field, Search string
	Points        []SeriesPlace
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

// A SeriesPlace is a point on a curve. Points of one line differ in their load only, those of a capacity in its field only.
type SeriesPlace struct {
	Point int
	Line  string
	X, Y  float64
	// Fails is the lowest value above Y that did not hold; nil elsewhere than in a capacity, and where none failed.
	Fails *float64
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
	// Fails is NaN where nothing failed.
	Fails doubles `json:"fails,omitempty"`
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
		l := out.line(p.Line)
		l.Points, l.X, l.Y = append(l.Points, p.Point), append(l.X, p.X), append(l.Y, p.Y)
		l.Front, l.Knee = append(l.Front, has(c.Front, p.Point)), append(l.Knee, has(c.Knees, p.Point))
	}
	return out
}

// line is the line of that name.
func (c *seriesChart) line(name string) *seriesLine {
	i := slices.IndexFunc(c.Lines, func(l seriesLine) bool { return l.Name == name })
	if i < 0 {
		i = len(c.Lines)
		c.Lines = append(c.Lines, seriesLine{Name: name})
	}
	return &c.Lines[i]
}

func (c *SeriesCapacity) chart() *seriesChart {
	if c == nil {
		return nil
	}
	out := &seriesChart{Label: c.Search, X: c.Field, Lines: []seriesLine{}}
	for _, p := range c.Points {
		fails := math.NaN()
		if p.Fails != nil {
			fails = *p.Fails
		}
		l := out.line(p.Line)
		l.Points, l.X, l.Y, l.Fails = append(l.Points, p.Point), append(l.X, p.X), append(l.Y, p.Y), append(l.Fails, fails)
		l.Front, l.Knee = append(l.Front, 1), append(l.Knee, 0)
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
	data, err := json.Marshal(map[string]any{"curves": charts, "capacity": s.Capacity.chart()})
	if err != nil {
		return err
	}
	title := s.Name
	if title == "" {
		title = s.Kind
	}
	return templates().ExecuteTemplate(w, "series.html", shellOf(title, struct {
		Series
		Title, When string
		Charts      bool
		Searches    bool
		Data        template.JS
	}{s, title, when(s.Began), len(charts) > 0 || s.Capacity != nil, s.Kind == "searches", template.JS(data)}, asset("uPlot.min.js"), asset("draw.js"), asset("series.js")))
}
