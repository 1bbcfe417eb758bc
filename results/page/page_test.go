package page

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/profiles/breakdown"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

var update = flag.Bool("update", false, "accept what the golden files would be")

func written(t testing.TB, run *results.Run, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, run, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elided is a page without what is the same on every page, and without its data.
func elided(page string) string {
	for _, re := range []string{`(?s)<style>(.*?)</style>`, `(?s)<script>(.*?)</script>`, `(?s)id="data">(.*?)</script>`, `(?s)content="(default-src.*?)"`, `(?s)uPlot:</p><pre>(.*?)</pre>`} {
		page = regexp.MustCompile(re).ReplaceAllStringFunc(page, func(s string) string {
			inner := regexp.MustCompile(re).FindStringSubmatch(s)[1]
			return strings.Replace(s, inner, "…", 1)
		})
	}
	return page
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is right: go test ./results/page -update\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// answered is a server's trace in a few figures.
func answered() *report.Server {
	st := &breakdown.Stats{Mean: 2.5e6, P50: 2e6, P90: 3e6, P99: 4e6, Max: 5e6, Total: 100e6, Count: 40}
	lo, hi := int64(-1000), int64(2000)
	late, busy := int64(1e6), 0.25
	return &report.Server{
		Trace: &breakdown.Report{
			Window:  &breakdown.Window{Start: 0, End: 2e9},
			Devices: []breakdown.Device{{Busy: 500e6, BusyOfWindow: &busy}},
			Gaps: &breakdown.Gaps{
				Reasons:     map[string]breakdown.Total{"host_late": {Count: 3, Total: 7e6}, "device_side": {Count: 1, Total: 1e6}},
				InsideSteps: &late, Top: []breakdown.HostLate{{Class: "py", Name: "prepare <inputs>", Total: 4e6}},
			},
			ByPhase:     []breakdown.Phase{{Phase: "prefill", Count: 40, Host: st, Period: st}},
			Transitions: []breakdown.Transition{{From: "prefill", To: "decode", Count: 4, HostGap: st}},
			Compiles:    &breakdown.Compiles{Count: 2, Total: 800e6, After: &breakdown.AfterWarmup{Count: 1}, List: []breakdown.Compile{{Name: "graph", Bucket: "bs 4", Total: 400e6}}},
			Kernels:     []breakdown.Kernel{{Name: "gemm_long", Short: "gemm", Count: 10, Mean: 1e6, Total: 10e6, ShareOfBusy: 0.02}},
			Python:      &breakdown.Python{TopSelf: []breakdown.NameTime{{Name: "model.py(3): forward", Count: 9, Self: 12e6}}},
			Warnings:    []string{"no stacks & no <luck>"},
		},
		Clock:    &report.ClockNote{Theta: 500, Lo: &lo, Hi: &hi, Method: "same host", Aligned: true},
		Requests: &report.RequestNote{Linked: 8, Ambiguous: 1, Unlinked: 2, Counted: 8, NetworkQueue: 1e6, Prefill: 2e6, Return: 3e5},
	}
}

func staged(m *results.Manifest, rec *results.Record) {
	if rec != nil {
		rec.Stage = rec.ID / 60
		return
	}
	m.Scenario = json.RawMessage(`{"name":"two","stages":[{"name":"calm","rate":"10"},{"rate":"20"}],"server":{"command":["vllm","serve","it's"]}}`)
	m.Server.Command = []string{"vllm", "serve", "it's"}
	m.Profile = &results.Profile{Kind: "vllm"}
	m.Profile.Start.Answered, m.Profile.Stop.Sent = 1_700_000_000_200_000_000, 1_700_000_000_700_000_000
	m.Settings.Goodput = []results.Objective{{Metric: "ttft", MS: 50}}
	m.Machine = results.Machine{Host: "here", Cores: 2, CPU: "a processor", OS: "linux", Arch: "amd64"}
}

func TestGolden(t *testing.T) {
	run := synthetic(t, 120, 8, staged)
	page := written(t, run, Options{Server: answered(), Trace: "merged.trace.json.gz"})
	golden(t, "run.html", elided(page))
	golden(t, "served.html", elided(written(t, run, Options{Server: answered(), Trace: "merged.trace.json.gz", Viewer: "/open/a%20run", Index: "/"})))
}

// TestNumbersAreTheSummarys reads the headline back from the page.
func TestNumbersAreTheSummarys(t *testing.T) {
	run := synthetic(t, 400, 20, nil)
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	page := written(t, run, Options{})
	table := page[strings.Index(page, `id="headline"`):]
	table = table[:strings.Index(table, "</table>")]
	rows := regexp.MustCompile(`(?s)<tr><th scope="row".*?</tr>`).FindAllString(table, -1)
	want := headline(s)
	if len(rows) != len(want) || len(rows) < 6 {
		t.Fatalf("%d rows, %d distributions", len(rows), len(want))
	}
	cell := regexp.MustCompile(`<td class="n[^"]*">([^<]*)`)
	plain := func(text string) string { return strings.ReplaceAll(text, "\u202f", "") }
	for i, row := range rows {
		d := want[i]
		figures := []string{fmt.Sprint(d.Count), fmt.Sprintf("%.2f", d.Mean)}
		for _, p := range []float64{50, 90, 99} {
			v, _ := d.At(p)
			figures = append(figures, fmt.Sprintf("%.2f", v))
		}
		figures = append(figures, fmt.Sprintf("%.2f", d.Max))
		var got []string
		for _, m := range cell.FindAllStringSubmatch(row, -1) {
			got = append(got, plain(m[1]))
		}
		if strings.Join(got, " ") != strings.Join(figures, " ") {
			t.Errorf("%s %s: %q, want %q", d.Metric.Name, d.Basis, got, figures)
		}
	}
	for _, text := range []string{
		fmt.Sprintf(">%d<", s.Completed), fmt.Sprintf(">%.2f<", *s.RequestRate), fmt.Sprintf(">%.1f<", *s.OutputRate), fmt.Sprintf(">%d<", *s.InFlightPeak),
	} {
		if !strings.Contains(plain(page), text) {
			t.Errorf("the page has no %s", text)
		}
	}
}

// data is the page's data with its arrays unpacked.
func dataOf(t testing.TB, page string) map[string]any {
	t.Helper()
	_, text, _ := strings.Cut(page, `id="data">`)
	text, _, _ = strings.Cut(text, "</script>")
	var d map[string]any
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func singles(t testing.TB, v any) []float64 {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	var out []float64
	for i := 0; i < len(b); i += 4 {
		out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))))
	}
	return out
}

func whole(t testing.TB, v any) []int {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for i := 0; i < len(b); i += 4 {
		out = append(out, int(int32(binary.LittleEndian.Uint32(b[i:]))))
	}
	return out
}

// TestChartsHoldTheRecords unpacks what the script draws and compares it with the records.
func TestChartsHoldTheRecords(t *testing.T) {
	run := synthetic(t, 200, 10, staged)
	d := dataOf(t, written(t, run, Options{}))
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d["cdfs"].([]any) {
		curve := c.(map[string]any)
		dist := s.Dist(curve["name"].(string), s.Basis)
		values, shares := singles(t, curve["values"]), singles(t, curve["shares"])
		for i, p := range shares {
			if i > 0 && values[i] < values[i-1] {
				t.Errorf("%s falls from %v to %v", curve["name"], values[i-1], values[i])
			}
			if v, ok := dist.At(p); ok && float64(float32(v)) != values[i] {
				t.Errorf("%s p%v is drawn at %v, and is %v", curve["name"], p, values[i], v)
			}
		}
		if first, last := values[0], values[len(values)-1]; first != float64(float32(dist.Min)) || last != float64(float32(dist.Max)) {
			t.Errorf("%s runs from %v to %v, not from %v to %v", curve["name"], first, last, dist.Min, dist.Max)
		}
	}

	byID := map[int]*results.Record{}
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		byID[rec.ID] = rec
	}
	rows := d["rows"].(map[string]any)
	ids, ttft, e2el, failed, stage := whole(t, rows["id"]), singles(t, rows["ttft"]), singles(t, rows["e2el"]), whole(t, rows["failed"]), whole(t, rows["stage"])
	if len(ids) != 200 {
		t.Fatalf("%d rows", len(ids))
	}
	for i, id := range ids {
		rec := byID[id]
		if rec.OK() != (failed[i] == 0) || stage[i] != rec.Stage {
			t.Errorf("request %d: failed %d, stage %d", id, failed[i], stage[i])
		}
		if !rec.OK() {
			if !math.IsNaN(ttft[i]) {
				t.Errorf("request %d failed and has a TTFT of %v", id, ttft[i])
			}
			continue
		}
		first, _ := results.TTFT(rec, results.Service)
		last, _ := results.E2EL(rec, results.Service)
		if ttft[i] != float64(float32(float64(first)/1e6)) || e2el[i] != float64(float32(float64(last)/1e6)) {
			t.Errorf("request %d: %v and %v ms, want %v and %v", id, ttft[i], e2el[i], first, last)
		}
	}
	followed, counts := whole(t, rows["followed"]), whole(t, rows["counts"])
	packed, err := base64.StdEncoding.DecodeString(rows["gaps"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if len(followed) < 150 {
		t.Errorf("tokens of %d requests", len(followed))
	}
	for k, row := range followed {
		rec := byID[ids[row]]
		if counts[k] != max(len(rec.Chunks)-1, 0) {
			t.Fatalf("request %d: %d gaps", rec.ID, counts[k])
		}
		for i := range counts[k] {
			us, n := binary.Uvarint(packed)
			packed = packed[n:]
			want := math.Round(float64(rec.Chunks[i+1].At-rec.Chunks[i].At) / 1e3)
			if float64(us) != want {
				t.Errorf("request %d, gap %d: %d us, want %v", rec.ID, i, us, want)
			}
		}
	}
	if len(packed) != 0 {
		t.Errorf("%d bytes of gaps are left", len(packed))
	}

	marks := fmt.Sprint(d["marks"])
	for _, text := range []string{"calm", "stage 2", "profiled", "from:0.2", "to:0.7"} {
		if !strings.Contains(marks, text) {
			t.Errorf("no %s in marks %s", text, marks)
		}
	}
	load := d["load"].(map[string]any)
	edges, tokens, done, flying := singles(t, load["edges"]), singles(t, load["tokens"]), singles(t, load["done"]), singles(t, load["inFlight"])
	var sumTokens, sumDone, sumFlying float64
	for i := range tokens {
		sumTokens += tokens[i] * (edges[i+1] - edges[i])
		sumDone += done[i] * (edges[i+1] - edges[i])
		sumFlying += flying[i] * (edges[i+1] - edges[i])
	}
	if math.Abs(sumTokens-float64(*s.OutputTokens)) > 0.01 || math.Abs(sumDone-float64(s.Completed)) > 0.01 {
		t.Errorf("charts add up to %v tokens and %v requests; they are %d and %d", sumTokens, sumDone, *s.OutputTokens, s.Completed)
	}
	if mean := sumFlying / edges[len(edges)-1]; math.Abs(mean-*s.InFlightMean) > 1e-3**s.InFlightMean {
		t.Errorf("%v in flight on average, want %v", mean, *s.InFlightMean)
	}
	heat := d["heat"].(map[string]any)
	gaps := 0
	for _, n := range whole(t, heat["cells"]) {
		gaps += n
	}
	if itl := s.Dist("itl", s.Basis); gaps != itl.Count {
		t.Errorf("the map holds %d gaps of %d", gaps, itl.Count)
	}
}

// TestNothingOfTheUsersIsMarkup puts markup into every text that a run can bring.
func TestNothingOfTheUsersIsMarkup(t *testing.T) {
	const bad = `</script><img src=x onerror=alert(1)>"'&{{.}}`
	run := synthetic(t, 60, 4, func(m *results.Manifest, rec *results.Record) {
		if rec != nil {
			rec.Stage = rec.ID / 30
			if rec.Failure != nil {
				rec.Failure.Class, rec.Failure.Message = bad, bad
			}
			return
		}
		quoted, _ := json.Marshal(bad)
		m.Scenario = fmt.Appendf(nil, `{"name":%s,%s:1,"stages":[{"name":%s},{}]}`, quoted, quoted, quoted)
		m.Settings = results.Settings{
			ModelID: bad, Model: bad, Label: bad, Backend: bad, Endpoint: bad, BaseURL: bad, Tokenizer: bad, Dataset: bad,
			Metadata: []results.Pair{{Key: bad, Value: bad}}, RampUp: &results.RampUp{Strategy: bad}, Goodput: []results.Objective{{Metric: bad, MS: 1}},
		}
		m.Tool, m.Command, m.Reason, m.Warnings = bad, []string{bad}, bad, []string{bad}
		m.Machine = results.Machine{Host: bad, CPU: bad, Cores: 1, OS: bad, Kernel: bad, Arch: bad}
		m.Server = results.Server{Version: bad, Command: []string{bad}}
		m.Prompts = results.Prompts{Method: bad, Detail: bad}
		m.Stamps = "user"
	})
	server := answered()
	server.Clock.Method = bad
	server.Trace.Warnings = []string{bad}
	server.Trace.Kernels[0].Short, server.Trace.Python.TopSelf[0].Name, server.Trace.Compiles.List[0].Name = bad, bad, bad
	pages := map[string]string{"run": written(t, run, Options{Server: server, Trace: bad, Viewer: "/" + bad, Index: "/" + bad})}
	b, err := BriefOf(run)
	if err != nil {
		t.Fatal(err)
	}
	b.Name, b.Link, b.Trace = bad, "/"+bad, "/"+bad
	var index, opener bytes.Buffer
	if err := WriteIndex(&index, List{bad, []*Brief{b}, []SeriesRun{{bad, "/" + bad}}, []Trouble{{bad, bad}}, "/" + bad}); err != nil {
		t.Fatal(err)
	}
	if err := WriteOpener(&opener, Opener{Title: bad, Trace: "/" + bad, FileName: bad, Perfetto: DefaultPerfetto, Back: "/" + bad}); err != nil {
		t.Fatal(err)
	}
	pages["index"], pages["opener"] = index.String(), opener.String()
	scripts := map[string]int{"run": 4, "index": 0, "opener": 2}
	for name, page := range pages {
		if strings.Contains(page, "<img") || strings.Contains(page, "{{.}}\"'") {
			t.Errorf("%s: the user's text became markup", name)
		}
		if n := strings.Count(page, "</script>"); n != scripts[name] {
			t.Errorf("%s: %d scripts end, want %d", name, n, scripts[name])
		}
		if !strings.Contains(html.UnescapeString(page), bad) {
			t.Errorf("%s: the user's text is not there", name)
		}
	}
}

// TestAPageAsksNobody holds that a page names no address but those of its notices.
func TestAPageAsksNobody(t *testing.T) {
	page := written(t, synthetic(t, 60, 4, nil), Options{})
	for _, tag := range []string{"<link", "<iframe", "@import", "url(", " src=", "import("} {
		if strings.Contains(page, tag) {
			t.Errorf("the page holds %s", tag)
		}
	}
	if !strings.Contains(page, "default-src &#39;none&#39;") {
		t.Error("the page has no policy")
	}
	if strings.Contains(page, "connect-src") {
		t.Error("the page may connect")
	}
	if !strings.Contains(page, "Copyright (c) 2022 Leon Sorokin") {
		t.Error("the page holds uPlot without its licence")
	}
}

// TestSizeIsBounded makes pages of a long run, and of one with long answers.
func TestSizeIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name             string
		requests, tokens int
		most             int
	}{
		{"100,000 requests", 100_000, 2, 1_500_000}, // three million are allowed
		{"200,000 tokens", 1_000, 200, 1_000_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, load := syntheticManifest(tc.requests), requests(tc.requests, tc.tokens)
			m.Began, m.Ended = syntheticBegan, syntheticBegan.Add(time.Duration(tc.requests)*10*time.Millisecond)
			recorder := summary.NewRecorder(summary.ConfigOf(&m))
			for rec := range load {
				recorder.Add(rec)
			}
			var b strings.Builder
			if err := write(&b, &m, recorder.Summary(&m, "", ""), load, Options{}); err != nil {
				t.Fatal(err)
			}
			page := b.String()
			if len(page) > tc.most {
				t.Errorf("%d bytes, want %d at most", len(page), tc.most)
			}
			rows := dataOf(t, page)["rows"].(map[string]any)
			if n := len(whole(t, rows["id"])); n > mostRows+700 || n < min(tc.requests, mostRows*3/4) {
				t.Errorf("%d of %d requests are drawn", n, tc.requests)
			}
			failed := 0
			for _, f := range whole(t, rows["failed"]) {
				if f > 0 {
					failed++
				}
			}
			if failed < min(500, tc.requests/50) {
				t.Errorf("%d failures are drawn", failed)
			}
		})
	}
}

func TestRunsWithoutFigures(t *testing.T) {
	fail := func(m *results.Manifest, rec *results.Record) {
		if rec != nil {
			rec.Chunks, rec.Status, rec.Usage = nil, 500, nil
			rec.Failure = &results.Failure{Class: results.FailStatus, Message: "500"}
		}
	}
	for name, run := range map[string]*results.Run{
		"all failed": synthetic(t, 20, 4, fail), "nothing sent": synthetic(t, 0, 4, nil), "one request": synthetic(t, 1, 4, nil),
		"whole replies": synthetic(t, 20, 1, func(m *results.Manifest, rec *results.Record) {
			if rec != nil {
				rec.Chunks = nil
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			page := written(t, run, Options{})
			if shown := elided(page); strings.Contains(shown, "NaN") || strings.Contains(shown, "Inf") {
				t.Error("the page shows a number that does not exist")
			}
			dataOf(t, page)
		})
	}
}

// TestARunThatDied has neither an end in its manifest nor a last line.
func TestARunThatDied(t *testing.T) {
	dir := t.TempDir() + "/died"
	w, err := results.Create(dir, results.Manifest{Basis: results.Service, Settings: results.Settings{Model: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	at := results.Moment(1_700_000_000_000_000_000)
	for i := range 20 {
		rec := &results.Record{ID: i, Kind: results.Load, Due: at, Released: at, Dispatched: at, InputTokens: 3}
		rec.Written, rec.Chunks, rec.Done = at+1, []results.Chunk{{At: at + 1000000, Tokens: 1}}, at+2000000
		at += 10000000
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("", ""); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	page := written(t, run, Options{})
	if !strings.Contains(page, "does not say how the run ended") {
		t.Error("the page does not say that the run is not whole")
	}
	if got, want := dataOf(t, page)["length"].(float64), 0.192; got != want {
		t.Errorf("%v s long, want %v", got, want)
	}
}

func TestStalls(t *testing.T) {
	h := newHeat(4096 * time.Millisecond)
	if h.moments.width != time.Millisecond {
		t.Fatalf("a moment is %v", h.moments.width)
	}
	const began = results.Moment(1e18)
	// A stream has a token every 10 ms, but for these stretches.
	stream := func(still ...[2]int) {
		rec := &results.Record{Kind: results.Load}
		for at := 950; at <= 2200; at += 10 {
			if !slices.ContainsFunc(still, func(s [2]int) bool { return s[0] < at && at < s[1] }) {
				rec.Chunks = append(rec.Chunks, results.Chunk{At: began + results.Moment(at)*1e6})
			}
		}
		h.add(rec, results.Service, began)
	}
	// Two of three streams wait from 1000 to 1200 ms, all three from 2000 to 2100 ms, and none for long at 1500 ms.
	stream([2]int{1000, 1200}, [2]int{1500, 1540}, [2]int{2000, 2100})
	stream([2]int{1000, 1200}, [2]int{1500, 1540}, [2]int{2000, 2100})
	stream([2]int{2000, 2100})
	shares := h.stalled()
	at := func(ms int) float64 { return shares[h.columns.index(time.Duration(ms)*time.Millisecond)] }
	for ms, want := range map[int]float64{500: 0, 1100: 2.0 / 3, 1520: 0, 2050: 1, 3000: 0} {
		if got := at(ms); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %d ms %v of the streams waited, want %v", ms, got, want)
		}
	}
}

// TestStallTables: the synthetic run stands still in every hundredth second.
func TestStallTables(t *testing.T) {
	run := synthetic(t, 6000, 20, nil)
	s, err := summary.OfRun(run)
	if err != nil {
		t.Fatal(err)
	}
	page := written(t, run, Options{})
	for _, want := range []string{"A gap is long above 5 times what is usual in its stream, 10.00 ms at least.", `id="stalls"`, "<h3>The worst, marked on the map</h3>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	worst := singles(t, dataOf(t, page)["heat"].(map[string]any)["worst"])
	if len(worst) != len(s.Stalls.Worst) || worst[0] < 50 || worst[0] > 53 {
		t.Errorf("marks at %v, want the %d worst, in the 51st second", worst, len(s.Stalls.Worst))
	}
}

// TestPageSaysHowFarToTrustIt reads the client's own error, the audit and the objectives back from the page.
func TestPageSaysHowFarToTrustIt(t *testing.T) {
	run := synthetic(t, 120, 8, func(m *results.Manifest, _ *results.Record) {
		if m == nil {
			return
		}
		ttft := results.Error{P50: 4 * time.Microsecond, P99: 38 * time.Microsecond, Max: 1234567 * time.Nanosecond}
		itl := results.Error{P50: time.Microsecond, P99: 44 * time.Microsecond, Max: 90 * time.Microsecond}
		m.Client = &results.Client{TTFTError: &ttft.P99, ITLError: &itl.P99, Canary: &results.Canary{Requests: 1234, Events: 56789, TTFT: &ttft, ITL: &itl}}
		m.Audit = []results.Check{
			{Name: "tokens", State: results.Passed, Detail: "472 and 472 (tolerance 0.5 %)"},
			{Name: "cache <hits>", State: results.NotCheckable, Detail: "nobody tells"},
			{Name: "Little", State: results.Missed, Detail: "counted 3, derived 4 (tolerance 5 %)"},
		}
		m.Settings.Bounds = []string{"max ttft <= 1h", "failures <= 0", "min ttft <= 1us"}
	})
	page := written(t, run, Options{})
	for _, text := range []string{
		"<strong>TTFT ± 0.038 ms, ITL ± 0.044 ms</strong>",
		`<th scope="row">TTFT</th><td class="n">0.004</td><td class="n">0.038</td><td class="n">1.235</td>`,
		"on 1234 requests with 56\u202f789 tokens of a stream",
		"1 failed, 1 passed, 1 not checkable",
		`<tr><td class="state bad">failed</td><th scope="row">Little</th><td>counted 3, derived 4 (tolerance 5 %)</td></tr>` + "\n" +
			`<tr><td class="state good">passed</td><th scope="row">tokens</th><td>472 and 472 (tolerance 0.5 %)</td></tr>` + "\n" +
			`<tr><td class="state none">not checkable</td><th scope="row">cache &lt;hits&gt;</th><td>nobody tells</td></tr>`,
		"<li>figures that must agree do not: Little: counted 3, derived 4 (tolerance 5 %)</li>",
		`<th scope="row">max ttft &lt;= 1h</th>`, `<td class="state good">met</td>`, `<td class="state bad">missed</td>`,
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %s", text)
		}
	}
	if page := written(t, synthetic(t, 30, 4, nil), Options{}); !strings.Contains(page, "It was not measured in this run.") || strings.Contains(page, `id="audit"`) || strings.Contains(page, `id="objectives"`) {
		t.Error("a run without a canary, an audit and objectives says something of them")
	}
}
