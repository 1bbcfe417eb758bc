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
			Points: []SeriesPlace{{1, "a", 10, 20}, {3, "b", 11, 21}, {2, "a", 12, 22}},
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
	raw, err := base64.StdEncoding.DecodeString(line["y"].(string))
	if err != nil {
		t.Fatal(err)
	}
	var y []float64
	for i := 0; i < len(raw); i += 8 {
		y = append(y, math.Float64frombits(binary.LittleEndian.Uint64(raw[i:])))
	}
	points, front, knee := whole(t, line["points"]), whole(t, line["front"]), whole(t, line["knee"])
	if !reflect.DeepEqual(points, []int{1, 2}) || !reflect.DeepEqual(front, []int{1, 0}) || !reflect.DeepEqual(knee, []int{0, 1}) || !reflect.DeepEqual(y, []float64{20, 22}) {
		t.Errorf("line a: points %v, front %v, knees %v, y %v", points, front, knee, y)
	}
}
