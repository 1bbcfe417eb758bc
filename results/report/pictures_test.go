package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"regexp"
	"slices"
	"strings"
	"testing"

	"servebench/results"
	"servebench/results/summary"
)

// timelineData are the rows that a page carries.
func timelineData(t *testing.T, page string) [][]any {
	t.Helper()
	found := regexp.MustCompile(`(?s)const rows = (\[.*?\]), colors`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no rows in\n%.2000s", page)
	}
	var rows [][]any
	if err := json.Unmarshal([]byte(found[1]), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestTimeline(t *testing.T) {
	m, recs := sample(func(m *results.Manifest, i int, r *results.Record) {
		m.Settings.Label = "</script><b>"
		if i == 0 {
			r.Chunks[2].At += results.Moment(20 * ms) // gaps of 10, 30 and -10 ms
			r.Chunks[3].At += results.Moment(100 * ms)
		}
	})
	var page bytes.Buffer
	if err := Timeline(&page, sumUp(m, recs), [2]float64{25, 50}); err != nil {
		t.Fatal(err)
	}
	rows := timelineData(t, page.String())
	if len(rows) != 118 {
		t.Errorf("%d rows, want 118", len(rows))
	}
	if got, want := fmt.Sprint(rows[0]), "[0 0 101 4 [100000 10000 30000 90000] 0123]"; got != want {
		t.Errorf("the first row is %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(rows[1][1]), "10000"; got != want {
		t.Errorf("the second row starts at %s, want %s", got, want)
	}
	for _, text := range []string{"#636EFA", "#109618", "#FF7F0E", "#D62728", "ITL &lt; 25ms", "25ms ≤ ITL &lt; 50ms", "ITL ≥ 50ms", "Request ID"} {
		if !strings.Contains(page.String(), text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	if strings.Contains(page.String(), "</script><b>") {
		t.Error("the label breaks the page")
	}
	if err := Timeline(&page, sumUp(m, recs), [2]float64{50, 25}); err == nil {
		t.Error("bounds that descend were taken")
	}
	if err := Timeline(&page, &summary.Summary{Manifest: m, Completed: 3}, [2]float64{25, 50}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a run that was not kept: %v", err)
	}
}

func TestTimelineOfManyEvents(t *testing.T) {
	gaps := slices.Repeat([]float64{0.001}, 9)
	gaps = append(gaps, 0.1, 0.001)
	s := &summary.Summary{Outputs: []summary.Output{{Success: true, TTFT: 0.5, ITL: gaps}}, VLLM: &summary.VLLM{}}
	if got, want := string(timelineRows(s, [2]float64{25, 50}, 10)), `[[0,0,0,0,[500000,9000,100000,1000],"0131"]]`; got != want {
		t.Errorf("rows are %s, want %s", got, want)
	}
	if got, want := string(timelineRows(s, [2]float64{25, 50}, 11)), `"011111111131"`; !strings.Contains(got, want) {
		t.Errorf("rows are %s, want kinds %s", got, want)
	}
}

func TestDatasetStats(t *testing.T) {
	m, recs := sample(func(m *results.Manifest, i int, r *results.Record) {
		if r.Usage != nil {
			r.Usage.Prompt = 50 + i
		}
	})
	var out bytes.Buffer
	if err := DatasetStats(&out, sumUp(m, recs)); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if b := picture.Bounds(); b.Dx() != 2100 || b.Dy() != 1500 {
		t.Errorf("the picture is %v", b)
	}
	colors := map[[3]uint32]int{}
	for y := range 1500 {
		for x := range 2100 {
			r, g, b, _ := picture.At(x, y).RGBA()
			colors[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	for _, c := range [][3]uint32{{0x63, 0x6e, 0xfa}, {0xff, 0x7f, 0x0e}, {0x10, 0x96, 0x18}, {0, 0, 0}} {
		if colors[c] < 1000 {
			t.Errorf("%d dots of colour %x", colors[c], c)
		}
	}
	if err := DatasetStats(&out, &summary.Summary{Manifest: m}); err == nil {
		t.Error("no lengths, no error")
	}
}

func TestBins(t *testing.T) {
	got := binned([]int{0, 1, 29, 30, 30}, 0, 30)
	if got[0] != 1 || got[1] != 1 || got[29] != 3 {
		t.Errorf("bins %v", got)
	}
}

func TestNiceStep(t *testing.T) {
	for span, want := range map[float64]float64{5: 1, 10: 2, 26: 5, 99: 20, 1000: 200, 0: 1, 0.4: 0.1} {
		if got := niceStep(span, 5); got != want {
			t.Errorf("niceStep(%v) = %v, want %v", span, got, want)
		}
	}
}

// Every word that a picture writes has its letters.
func TestGlyphs(t *testing.T) {
	for _, text := range []string{"Prompt tokens", "Output tokens", "Total tokens", "Tokens of each request", "requests", "Prompt", "Output", describe([]int{1, 2}), "-1234567890.,"} {
		for _, r := range text {
			if _, ok := glyphs[r]; !ok && r != ' ' {
				t.Errorf("%q has no %q", text, r)
			}
		}
	}
	for r, rows := range glyphs {
		for _, row := range rows {
			if len(row) != 5 {
				t.Errorf("%q has a row of %d dots", r, len(row))
			}
		}
	}
}
