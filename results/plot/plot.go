// Package plot draws figures of many runs as SVG: facets of lines with bands, and Pareto fronts. It knows
// points, curves and panels, and nothing of runs; a page holds any number of figures and needs no script.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
)

// A Figure is a grid of panels that share their axes.
type Figure struct {
	Title, XLabel, YLabel string
	// XLog and YLog make an axis logarithmic. Values that such an axis cannot show are left out, and counted under the figure.
	XLog, YLog bool
	// Height is that of one panel in inches of 100 units; 0 is 6.4.
	Height float64
	// Columns is the number of panels side by side; 0 is one.
	Columns int
	// Panels are row by row.
	Panels []Panel
}

// A Panel is one pair of axes.
type Panel struct {
	Title  string
	Curves []Curve
}

// A Curve is a line through points, or the points alone. Curves of one name have one colour in all panels.
type Curve struct {
	Name string
	// Scatter draws no line. Faint draws it in grey.
	Scatter, Faint bool
	Points         []Point
}

// A Point is a value with its band: Low to High where Low < High. A label is written beside it.
type Point struct {
	X, Y, Low, High float64
	Label           string
}

// colours are told apart by readers with any kind of colour vision, also in print.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5539", "#444444", "#a3a500", "#8b5cf6"}

// dashes take over where colours run out.
var dashes = []string{"", "6 3", "2 3", "8 3 2 3"}

const (
	left, right, top, bottom = 74.0, 18.0, 34.0, 52.0
	legendRow                = 18.0
)

// SVG draws the figure.
func SVG(w io.Writer, f *Figure) error {
	var b bytes.Buffer
	f.draw(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// Page writes an HTML page of figures, each under its name.
func Page(w io.Writer, title string, names []string, figures []*Figure) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>%s</title>\n", escaped(title))
	b.WriteString("<style>body{font:15px/1.4 system-ui,sans-serif;margin:24px;max-width:1400px}svg{max-width:100%;height:auto}figure{margin:0 0 32px}figcaption{color:#555}</style>\n")
	fmt.Fprintf(&b, "<h1>%s</h1>\n", escaped(title))
	for i, f := range figures {
		b.WriteString("<figure>\n")
		f.draw(&b)
		fmt.Fprintf(&b, "<figcaption>%s</figcaption>\n</figure>\n", escaped(names[i]))
	}
	b.WriteString("</html>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (f *Figure) draw(b *bytes.Buffer) {
	height := f.Height * 100
	if height <= 0 {
		height = 640
	}
	columns := max(1, min(f.Columns, len(f.Panels)))
	rows := max(1, (len(f.Panels)+columns-1)/columns)
	width := height * 1.25
	names := f.names()
	perRow := max(1, int((width*float64(columns)-left)/220))
	legend := 0.0
	if len(names) > 1 || len(names) == 1 && names[0] != "" {
		legend = legendRow*float64((len(names)+perRow-1)/perRow) + 8
	}
	head := 0.0
	if f.Title != "" {
		head = 30
	}
	x, hiddenX := f.axis(f.XLog, func(p Point) []float64 { return []float64{p.X} })
	y, hiddenY := f.axis(f.YLog, func(p Point) []float64 {
		if p.Low < p.High {
			return []float64{p.Y, p.Low, p.High}
		}
		return []float64{p.Y}
	})
	foot := 0.0
	if hiddenX+hiddenY > 0 {
		foot = 18
	}
	w, h := width*float64(columns), head+height*float64(rows)+legend+foot
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %s %s\" width=\"%s\" height=\"%s\" font-family=\"system-ui,sans-serif\" font-size=\"12\" role=\"img\">\n",
		num(w), num(h), num(w), num(h))
	fmt.Fprintf(b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", escaped(strings.TrimSpace(f.Title+" "+f.YLabel+" over "+f.XLabel)))
	if f.Title != "" {
		fmt.Fprintf(b, "<text x=\"%s\" y=\"21\" font-size=\"15\" text-anchor=\"middle\">%s</text>\n", num(w/2), escaped(f.Title))
	}
	for i := range f.Panels {
		box := box{
			x: float64(i%columns)*width + left, y: head + float64(i/columns)*height + top, w: width - left - right, h: height - top - bottom,
		}
		f.panel(b, &f.Panels[i], box, x, y, names)
	}
	for i, name := range names {
		if legend == 0 {
			break
		}
		at := left + float64(i%perRow)*220
		line := head + height*float64(rows) + legendRow*float64(i/perRow) + 12
		fmt.Fprintf(b, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" %s/>\n", num(at), num(line), num(at+24), num(line), stroke(i))
		fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\">%s</text>\n", num(at+30), num(line+4), escaped(name))
	}
	if foot > 0 {
		fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\" fill=\"#555\">%d points are not shown: the axes cannot hold them</text>\n", num(left), num(h-5), hiddenX+hiddenY)
	}
	b.WriteString("</svg>\n")
}

// names are those of the curves in the order in which they first come; faint ones have no place in the legend.
func (f *Figure) names() []string {
	var names []string
	seen := map[string]bool{}
	for i := range f.Panels {
		for _, c := range f.Panels[i].Curves {
			if !seen[c.Name] && !c.Faint {
				seen[c.Name] = true
				names = append(names, c.Name)
			}
		}
	}
	return names
}

type box struct{ x, y, w, h float64 }

func (f *Figure) panel(b *bytes.Buffer, p *Panel, at box, x, y axis, names []string) {
	fmt.Fprintf(b, "<g>\n<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>\n", num(at.x+at.w/2), num(at.y-10), escaped(p.Title))
	for _, t := range x.ticks() {
		px := at.x + x.at(t)*at.w
		fmt.Fprintf(b, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"#e3e3e3\"/>\n", num(px), num(at.y), num(px), num(at.y+at.h))
		fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\" text-anchor=\"middle\" fill=\"#333\">%s</text>\n", num(px), num(at.y+at.h+18), tick(t))
	}
	for _, t := range y.ticks() {
		py := at.y + at.h - y.at(t)*at.h
		fmt.Fprintf(b, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"#e3e3e3\"/>\n", num(at.x), num(py), num(at.x+at.w), num(py))
		fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\" text-anchor=\"end\" fill=\"#333\">%s</text>\n", num(at.x-6), num(py+4), tick(t))
	}
	fmt.Fprintf(b, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"none\" stroke=\"#888\"/>\n", num(at.x), num(at.y), num(at.w), num(at.h))
	fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>\n", num(at.x+at.w/2), num(at.y+at.h+40), escaped(f.XLabel))
	fmt.Fprintf(b, "<text transform=\"translate(%s %s) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", num(at.x-56), num(at.y+at.h/2), escaped(f.YLabel))
	place := func(px, py float64) (string, string) {
		return num(at.x + x.at(px)*at.w), num(at.y + at.h - y.at(py)*at.h)
	}
	for i := range p.Curves {
		c := &p.Curves[i]
		number := index(names, c.Name)
		colour := colours[max(number, 0)%len(colours)]
		if c.Faint {
			colour = "#bbbbbb"
		}
		var shown []Point
		for _, q := range c.Points {
			if x.holds(q.X) && y.holds(q.Y) {
				shown = append(shown, q)
			}
		}
		f.band(b, shown, y, place, colour)
		if !c.Scatter && len(shown) > 1 {
			var path strings.Builder
			for j, q := range shown {
				px, py := place(q.X, q.Y)
				fmt.Fprintf(&path, "%s%s %s", map[bool]string{true: "M", false: "L"}[j == 0], px, py)
			}
			style := stroke(max(number, 0))
			if c.Faint {
				style = "stroke=\"#bbbbbb\" stroke-width=\"1.5\""
			}
			fmt.Fprintf(b, "<path d=\"%s\" fill=\"none\" %s/>\n", path.String(), style)
		}
		for _, q := range shown {
			px, py := place(q.X, q.Y)
			fmt.Fprintf(b, "<circle cx=\"%s\" cy=\"%s\" r=\"3.5\" fill=\"%s\"><title>%s: %s, %s</title></circle>\n", px, py, colour,
				escaped(strings.TrimSpace(c.Name+" "+q.Label)), tick(q.X), tick(q.Y))
			if q.Label != "" {
				fmt.Fprintf(b, "<text x=\"%s\" y=\"%s\" dx=\"6\" dy=\"-6\" font-size=\"11\">%s</text>\n", px, py, escaped(q.Label))
			}
		}
	}
	b.WriteString("</g>\n")
}

// band fills between low and high.
func (f *Figure) band(b *bytes.Buffer, points []Point, y axis, place func(x, y float64) (string, string), colour string) {
	var upper, lower []string
	for _, q := range points {
		if !(q.Low < q.High) {
			continue
		}
		px, high := place(q.X, y.clamp(q.High))
		_, low := place(q.X, y.clamp(q.Low))
		upper = append(upper, px+" "+high)
		lower = append([]string{px + " " + low}, lower...)
		fmt.Fprintf(b, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"%s\" stroke-opacity=\"0.5\"/>\n", px, low, px, high, colour)
	}
	if len(upper) > 1 {
		fmt.Fprintf(b, "<polygon points=\"%s %s\" fill=\"%s\" fill-opacity=\"0.18\"/>\n", strings.Join(upper, " "), strings.Join(lower, " "), colour)
	}
}

func stroke(i int) string {
	s := fmt.Sprintf("stroke=\"%s\" stroke-width=\"2\"", colours[i%len(colours)])
	if d := dashes[i/len(colours)%len(dashes)]; d != "" {
		s += fmt.Sprintf(" stroke-dasharray=\"%s\"", d)
	}
	return s
}

func index(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// num is a coordinate.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }

// tick is a value on an axis.
func tick(v float64) string {
	if v != 0 && (math.Abs(v) >= 1e6 || math.Abs(v) < 1e-3) {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64)
}

// escaped is text that XML can hold.
func escaped(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	return html.EscapeString(text)
}
