package page

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"regexp"
	"strings"
	"testing"

	"servebench/results"
	"servebench/results/compare"
)

func comparison(t *testing.T, names [2]string, gates ...string) *compare.Report {
	t.Helper()
	o := compare.Options{Force: true, Percentiles: []float64{50, 90}}
	for _, text := range gates {
		g, err := compare.ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Gates = append(o.Gates, g)
	}
	var groups []*compare.Group
	for i, name := range names {
		run := synthetic(t, 400, 10, func(m *results.Manifest, rec *results.Record) {
			if m != nil {
				m.Settings.ModelID = fmt.Sprintf("<b>model %d</b>", i)
				return
			}
			// The second server takes a quarter longer to the first token.
			if n := len(rec.Chunks); i == 1 && n > 0 {
				late := (rec.Chunks[0].At - rec.Written) / 4
				for k := range rec.Chunks {
					rec.Chunks[k].At += late
				}
				rec.Done += late
			}
		})
		read, err := compare.Open(run.Dir(), o)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, &compare.Group{Name: name, Runs: read})
	}
	r, err := compare.Compare(groups, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestComparisonPage(t *testing.T) {
	const bad = `</script><img src=x onerror=alert(1)>`
	r := comparison(t, [2]string{"before", bad}, "p50 ttft +5%", "output_throughput -30%")
	var b bytes.Buffer
	if err := WriteComparison(&b, r, "/"); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if strings.Contains(page, "<img") || strings.Contains(page, "<b>model") || strings.Count(page, "</script>") != 4 {
		t.Error("the user's text became markup")
	}
	c := r.Comparisons[0]
	rows := regexp.MustCompile(`(?s)<tr><th scope="row">([^<]*)</th><td class="n">([^<]*)</td><td class="n">([^<]*)</td><td class="n">([^<]*)</td>.*?<td class="state ([a-z]*)">([a-z]+)`).FindAllStringSubmatch(page, -1)
	if len(rows) != len(c.Rows) {
		t.Fatalf("%d rows on the page, %d in the report", len(rows), len(c.Rows))
	}
	for i, row := range c.Rows {
		got := rows[i]
		scale := 1.0
		if row.Unit == "share" {
			scale = 100
		}
		if got[2] != figured(row.Baseline*scale) || got[3] != figured(row.Candidate*scale) || got[6] != string(row.Verdict) {
			t.Errorf("%s %s: %q", row.Metric, row.Statistic, got[1:])
		}
		if row.Ratio != nil {
			if want := signed((*row.Ratio-1)*100) + " %"; html.UnescapeString(got[4]) != want {
				t.Errorf("%s %s changed by %s, want %s", row.Metric, row.Statistic, got[4], want)
			}
		}
		if row.Metric == "ttft" && row.Statistic == "p50" && (row.Verdict != compare.Worse || got[5] != "bad") {
			t.Errorf("a quarter more is %s, %s", row.Verdict, got[5])
		}
	}
	for _, g := range r.Gates {
		if !strings.Contains(html.UnescapeString(page), g.Text) {
			t.Errorf("the page has no gate %q", g.Text)
		}
	}
	curves := dataOf(t, page)["comparisons"].([]any)[0].(map[string]any)["curves"].([]any)
	if len(curves) != len(c.Curves) || len(curves) == 0 {
		t.Fatalf("%d curves, want %d", len(curves), len(c.Curves))
	}
	for i, curve := range c.Curves {
		drawn := curves[i].(map[string]any)
		shift, low, base := singles(t, drawn["shift"]), singles(t, drawn["low"]), singles(t, drawn["baseline"])
		for k, p := range curve.Points {
			if base[k] != float64(float32(p.Baseline)) || shift[k] != float64(float32((*p.Ratio-1)*100)) {
				t.Errorf("%s p%v is drawn at %v with a shift of %v", curve.Metric, p.P, base[k], shift[k])
			}
			if (p.RatioInterval == nil) != math.IsNaN(low[k]) {
				t.Errorf("%s p%v: interval %v, drawn from %v", curve.Metric, p.P, p.RatioInterval, low[k])
			}
		}
	}
}

func TestRefusal(t *testing.T) {
	refused := &compare.RefusedError{Findings: []compare.Finding{
		{Severity: compare.Refusal, Field: "model", Text: "model differs: <a> and b"}, {Severity: compare.Remark, Text: "no matter"},
	}}
	var b bytes.Buffer
	if err := WriteRefusal(&b, refused, "/compare?force=1&run=a", "/"); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if !strings.Contains(page, "<li>model differs: &lt;a&gt; and b</li>") || strings.Contains(page, "no matter") || !strings.Contains(page, `href="/compare?force=1&amp;run=a"`) {
		t.Error(page)
	}
}

func TestSigned(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", -0.001: "0.00", 1.234: "+1.23", -1.5: "−1.50", 12.34: "+12.3", -123.4: "−123"} {
		if got := signed(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0.00", 1.23456: "1.235", 12.3456: "12.35", 1234.56: "1234.6", 12345.6: "12\u202f346"} {
		if got := figured(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
