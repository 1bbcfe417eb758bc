package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestSVG(t *testing.T) {
	f := &Figure{Title: "a<b", XLabel: "rate", YLabel: "ttft", Columns: 2, Panels: []Panel{
		{Title: "tp=1", Curves: []Curve{{Name: "x", Points: []Point{{X: 1, Y: 10, Low: 8, High: 12}, {X: 2, Y: 20, Low: 15, High: 25}}}}},
		{Title: "tp=2", Curves: []Curve{{Name: "y", Points: []Point{{X: math.Inf(1), Y: 3}, {X: 4, Y: 5, Label: "4 & 5"}}}}},
	}}
	var b bytes.Buffer
	if err := SVG(&b, f); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.Bytes())
	text := b.String()
	if n := strings.Count(text, "<circle"); n != 3 {
		t.Errorf("%d points drawn; want 3", n)
	}
	if n := strings.Count(text, "<polygon"); n != 1 {
		t.Errorf("%d bands; want 1", n)
	}
	for _, want := range []string{"a&lt;b", "4 &amp; 5", "1 points are not shown", ">tp=1<", ">tp=2<"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error("a coordinate is no number")
	}
}

func TestTicks(t *testing.T) {
	if got := (axis{low: 0, high: 10.5}).ticks(); !slices.Equal(got, []float64{0, 2, 4, 6, 8, 10}) {
		t.Errorf("ticks %v", got)
	}
	if got := (axis{low: 0, high: 3, log: true}).ticks(); !slices.Equal(got, []float64{1, 10, 100, 1000}) {
		t.Errorf("decades %v", got)
	}
}

func TestFrontier(t *testing.T) {
	got := Frontier([]Point{{X: 1, Y: 9}, {X: 2, Y: 4}, {X: 3, Y: 5}, {X: 3, Y: 2}, {X: 4, Y: 1}, {X: 2, Y: 5}})
	want := []Point{{X: 4, Y: 1}, {X: 3, Y: 5}, {X: 2, Y: 5}, {X: 1, Y: 9}}
	if !slices.Equal(got, want) {
		t.Errorf("frontier %v; want %v", got, want)
	}
}

func FuzzSVG(f *testing.F) {
	f.Add(1.0, 2.0, 0.0, 3.0, "a", true)
	f.Add(math.Inf(1), math.NaN(), 1e308, -1e308, "<&\x00", false)
	f.Fuzz(func(t *testing.T, x, y, low, high float64, name string, log bool) {
		fig := &Figure{Title: name, XLabel: name, XLog: log, YLog: log, Panels: []Panel{{Title: name, Curves: []Curve{{Name: name, Points: []Point{
			{X: x, Y: y, Low: low, High: high, Label: name}, {X: y, Y: x},
		}}}}}}
		var b bytes.Buffer
		if err := SVG(&b, fig); err != nil {
			t.Fatal(err)
		}
		wellFormed(t, b.Bytes())
		if b.Len() > 1<<20 {
			t.Fatalf("%d bytes for two points", b.Len())
		}
	})
}
