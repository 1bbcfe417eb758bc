package scenario

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Curve is a latency against throughput.
type Curve struct {
	// X is output_throughput or, where nobody counted tokens, request_throughput, per second; Y a latency in milliseconds.
	X         string       `json:"x"`
	Metric    string       `json:"metric"`
	Statistic string       `json:"statistic"`
	Points    []CurvePoint `json:"points"`
	// Pareto are the numbers of the points that no other point beats: none has as much throughput and as little latency, and more of one
	// of the two. By ascending throughput.
	Pareto []int `json:"pareto"`
}

// A CurvePoint is a point of a sweep on a curve. Points of the same line differ in their load only; they stand by
// ascending throughput.
type CurvePoint struct {
	Point int     `json:"point"`
	Line  string  `json:"line,omitempty"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
}

// A Knee is where a line bends: the point with the greatest ratio of throughput to mean end-to-end latency, which Kleinrock calls
// power. Below it more load costs little time, beyond it little is gained for it.
type Knee struct {
	Line  string  `json:"line,omitempty"`
	Point int     `json:"point"`
	Power float64 `json:"power"`
	// AtEnd says that it is the first or the last point of its line, so that the bend itself may lie outside.
	AtEnd bool   `json:"at_end,omitempty"`
	Text  string `json:"text"`
}

// throughput is what a curve's x axis shows.
func throughput(points []*PointLine) (name string, of func(*Figures) *float64) {
	for _, p := range points {
		if p.Figures != nil && p.Figures.OutputRate == nil {
			return "request_throughput", func(f *Figures) *float64 { return f.RequestRate }
		}
	}
	return "output_throughput", func(f *Figures) *float64 { return f.OutputRate }
}

// curves are those of all latencies that were measured, and the knees of their lines.
func curves(points []*PointLine) ([]*Curve, []*Knee) {
	name, of := throughput(points)
	var list []*Curve
	for _, metric := range tableMetrics {
		for _, statistic := range []string{"p50", "p99"} {
			c := &Curve{X: name, Metric: metric, Statistic: statistic}
			for _, p := range points {
				if p.Figures == nil {
					continue
				}
				if x, y := of(p.Figures), p.Figures.at(metric, statistic); x != nil && y != nil {
					c.Points = append(c.Points, CurvePoint{p.Number, p.Line, *x, *y})
				}
			}
			if len(c.Points) < 2 {
				continue
			}
			slices.SortStableFunc(c.Points, func(a, b CurvePoint) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.X, b.X)) })
			c.Pareto = pareto(c.Points)
			list = append(list, c)
		}
	}
	return list, knees(points, name, of)
}

// pareto are the numbers of the points that no other one beats.
func pareto(points []CurvePoint) []int {
	byX := slices.Clone(points)
	slices.SortStableFunc(byX, func(a, b CurvePoint) int { return cmp.Or(cmp.Compare(b.X, a.X), cmp.Compare(a.Y, b.Y)) })
	var front []int
	least := math.Inf(1)
	var last CurvePoint
	for _, p := range byX {
		if p.Y < least || len(front) > 0 && p.X == last.X && p.Y == last.Y {
			front = append(front, p.Point)
			least, last = p.Y, p
		}
	}
	slices.Reverse(front)
	return front
}

// knees finds the knee of each line of three points or more.
func knees(points []*PointLine, name string, of func(*Figures) *float64) []*Knee {
	type place struct {
		point    int
		x, power float64
		name     string
	}
	lines := map[string][]place{}
	var order []string
	for _, p := range points {
		if p.Figures == nil {
			continue
		}
		x, r := of(p.Figures), p.Figures.at("e2el", "mean")
		if x == nil || r == nil || *r <= 0 {
			continue
		}
		if lines[p.Line] == nil {
			order = append(order, p.Line)
		}
		lines[p.Line] = append(lines[p.Line], place{p.Number, *x, *x / *r, p.Name})
	}
	var list []*Knee
	for _, line := range order {
		places := lines[line]
		if len(places) < 3 {
			continue
		}
		slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.x, b.x) })
		best := 0
		for i := range places {
			if places[i].power > places[best].power {
				best = i
			}
		}
		k := &Knee{Line: line, Point: places[best].point, Power: places[best].power, AtEnd: best == 0 || best == len(places)-1}
		of := ""
		if line != "" {
			of = " of " + line
		}
		k.Text = fmt.Sprintf("knee%s: point %d (%s), where %s / mean e2el is greatest", of, k.Point, places[best].name, name)
		if k.AtEnd {
			k.Text += "; it is the end of the line, so the bend may lie outside"
		}
		list = append(list, k)
	}
	return list
}

// Curve finds the curve of a latency; nil when it was not measured at two points.
func (x *Index) Curve(metric, statistic string) *Curve {
	for _, c := range x.Curves {
		if c.Metric == metric && c.Statistic == statistic {
			return c
		}
	}
	return nil
}

// picture draws the curve with letters: one a line, a capital on the Pareto front, an asterisk at a knee.
func (c *Curve) picture(w io.Writer, knees []*Knee) {
	const width, height = 64, 16
	lowX, highX, lowY, highY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, p := range c.Points {
		lowX, highX = min(lowX, p.X), max(highX, p.X)
		lowY, highY = min(lowY, p.Y), max(highY, p.Y)
	}
	log := lowY > 0 && highY > 8*lowY
	scale := func(v float64) float64 {
		if log {
			return math.Log(v)
		}
		return v
	}
	place := func(v, low, high float64, n int) int {
		if high <= low {
			return 0
		}
		return int(math.Round((v - low) / (high - low) * float64(n-1)))
	}
	rows := make([][]byte, height)
	for i := range rows {
		rows[i] = []byte(strings.Repeat(" ", width))
	}
	var lines []string
	for _, p := range c.Points {
		if !slices.Contains(lines, p.Line) {
			lines = append(lines, p.Line)
		}
		first := 'a'
		if slices.Contains(c.Pareto, p.Point) {
			first = 'A'
		}
		mark := byte(int(first) + slices.Index(lines, p.Line)%26)
		if slices.ContainsFunc(knees, func(k *Knee) bool { return k.Point == p.Point }) {
			mark = '*'
		}
		rows[height-1-place(scale(p.Y), scale(lowY), scale(highY), height)][place(p.X, lowX, highX, width)] = mark
	}
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	kind := ""
	if log {
		kind = ", logarithmic"
	}
	fmt.Fprintf(w, "%s %s (ms%s) against %s (per s)\n", c.Statistic, strings.ToUpper(c.Metric), kind, c.X)
	for i, row := range rows {
		label := ""
		switch i {
		case 0:
			label = short(highY)
		case height - 1:
			label = short(lowY)
		}
		fmt.Fprintf(w, "%10s |%s\n", label, strings.TrimRight(string(row), " "))
	}
	fmt.Fprintf(w, "%10s +%s\n%10s  %-*s%s\n", "", strings.Repeat("-", width), "", width-len(short(highX)), short(lowX), short(highX))
	for i, line := range lines {
		if line != "" {
			fmt.Fprintf(w, "%12s%c  %s\n", "", 'a'+i%26, line)
		}
	}
	fmt.Fprintln(w, "            capital: no other point has more throughput at less latency; *: the knee")
}
