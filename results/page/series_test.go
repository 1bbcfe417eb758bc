package page

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"
)

// doublesOf are the numbers that travel as base64.
func doublesOf(t *testing.T, v any) (list []float64) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 8 {
		list = append(list, math.Float64frombits(binary.LittleEndian.Uint64(raw[i:])))
	}
	return list
}

func TestSeriesPage(t *testing.T) {
	const bad = `</script><img src=x onerror=alert(1)>`
	rate, latency := 12.5, 40.25
	s := Series{
		Name: bad, Kind: "sweep", Began: syntheticBegan, Ended: 3, Runs: 4, Result: "found " + bad, Findings: []string{bad}, Warnings: []string{bad}, Index: "/",
		Points: []SeriesPoint{
			{Number: 1, Name: bad, Runs: []SeriesRun{{"1", "/run/" + bad}, {Name: "2"}}, RequestRate: &rate, TTFT99: &latency, Marks: []string{"knee", bad}, Best: true},
			{Number: 2, Name: "nothing measured"},
		},
		Curves: []SeriesCurve{{
			Metric: "ttft", Statistic: "p99", X: "request_throughput", Front: []int{1}, Knees: []int{2},
			Points: []SeriesPlace{{Point: 1, Line: "a", X: 10, Y: 20}, {Point: 3, Line: "b", X: 11, Y: 21}, {Point: 2, Line: "a", X: 12, Y: 22}},
		}},
	}
	var b bytes.Buffer
	if err := WriteSeries(&b, s); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if strings.Contains(page, "<img") || strings.Count(page, "</script>") != 4 {
		t.Error("the user's text became markup")
	}
	for _, text := range []string{"3 of 4 ended", `<tr class="best"><td class="n">1</td>`, `<td class="n">12.50</td>`, `<td class="n">40.25</td>`, "2023-11-14 22:13:20 UTC"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %s", text)
		}
	}
	curve := dataOf(t, page)["curves"].([]any)[0].(map[string]any)
	if curve["label"] != "TTFT" || curve["x"] != "requests/s" {
		t.Errorf("%v", curve)
	}
	line := curve["lines"].([]any)[0].(map[string]any)
	y := doublesOf(t, line["y"])
	points, front, knee := whole(t, line["points"]), whole(t, line["front"]), whole(t, line["knee"])
	if !reflect.DeepEqual(points, []int{1, 2}) || !reflect.DeepEqual(front, []int{1, 0}) || !reflect.DeepEqual(knee, []int{0, 1}) || !reflect.DeepEqual(y, []float64{20, 22}) {
		t.Errorf("line a: points %v, front %v, knees %v, y %v", points, front, knee, y)
	}
}

func TestSeriesPageOfSearches(t *testing.T) {
	best, fails, sure, other := 8.0, 9.5, 75.0, 3.0
	s := Series{
		Name: "by length", Kind: "searches", Ended: 2, Runs: 3,
		Points: []SeriesPoint{
			{Number: 1, Name: "dataset.input_len=64", Holds: &best, Fails: &fails, Confidence: &sure, Search: &SeriesRun{"12 runs", "/series/s/searches/p1"}},
			{Number: 2, Name: "dataset.input_len=128", Holds: &other, Search: &SeriesRun{"5 runs", "/series/s/searches/p2"}},
			{Number: 3, Name: "dataset.input_len=256", Search: &SeriesRun{Name: "0 runs"}},
		},
		Capacity: &SeriesCapacity{Field: "dataset.input_len", Search: "load.rate", Points: []SeriesPlace{
			{Point: 1, X: 64, Y: best, Fails: &fails}, {Point: 2, X: 128, Y: other},
		}},
	}
	var b bytes.Buffer
	if err := WriteSeries(&b, s); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, text := range []string{
		"<dt>Searches</dt><dd>2 of 3 ended</dd>", "<h2>load.rate that holds, by dataset.input_len</h2>",
		`<td class="n">8</td><td class="n">9.5</td><td class="n">75.00 %</td>`, `<td class="n">3</td><td class="n"></td><td class="n"></td>`,
		`<a href="/series/s/searches/p1">12 runs</a>`, "<td>0 runs</td>",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %s", text)
		}
	}
	capacity := dataOf(t, page)["capacity"].(map[string]any)
	line := capacity["lines"].([]any)[0].(map[string]any)
	if capacity["label"] != "load.rate" || capacity["x"] != "dataset.input_len" || len(capacity["lines"].([]any)) != 1 {
		t.Errorf("capacity is %v", capacity)
	}
	got := doublesOf(t, line["fails"])
	if y := doublesOf(t, line["y"]); !reflect.DeepEqual(y, []float64{8, 3}) || len(got) != 2 || got[0] != 9.5 || !math.IsNaN(got[1]) {
		t.Errorf("holds %v, fails %v", y, got)
	}
}
