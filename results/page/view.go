package page

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// A view is what the template of a run's page shows.
type view struct {
	Options
	Title, Subject string
	Facts          []fact
	Verdict        verdict
	Warnings       []string
	Tiles          []tile
	Columns        []float64
	Rows           []metricRow
	Few            bool // some percentile rests on too few values
	Basis          string
	Failures       []failure
	Objectives     []objectiveRow
	Trust          *trust
	Health         []fact
	Stages         []stageRow
	Definitions    []*results.Metric
	Answers        *answers
	Drawn          string // which requests the waterfall shows
	Stalls         *stallView
	HasGaps        bool
	Profiled       string
	Windowed       bool // there are percentiles over time
	Command        string
	Launch         string
	Scenario       string
	Settings       []fact
	Data           template.JS
}

type fact struct{ Name, Value string }

// A tile is one large number.
type tile struct{ Name, Value, Unit, Note string }

type verdict struct {
	State   summary.State
	Class   string // good, fair, bad
	Word    string
	Reasons []string
}

type metricRow struct {
	Label, From string
	Doc         string
	Count       int
	Mean        cell
	Percentiles []cell
	Max         float64
}

// A cell is a figure with its interval, where there is one.
type cell struct {
	Known    bool
	Value    float64
	Interval *Interval
	Few      bool
}

type failure struct {
	Class    string
	Count    int
	Share    float64 // percent of the load
	Width    int     // of the bar, 0..100
	Examples []summary.Example
	More     bool
}

type stageRow struct {
	Name  string
	Begin float64
}

// ms is a latency as the text report prints it.
func ms(v float64) string { return grouped(strconv.FormatFloat(v, 'f', 2, 64)) }

// fixed is a number with so many decimals.
func fixed(decimals int, v float64) string { return grouped(strconv.FormatFloat(v, 'f', decimals, 64)) }

func count(n int) string { return grouped(strconv.Itoa(n)) }

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " %" }

// grouped puts a thin gap between thousands of long numbers.
func grouped(digits string) string {
	whole, rest, _ := strings.Cut(digits, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	if rest != "" {
		rest = "." + rest
	}
	if len(whole) < 5 {
		return sign + whole + rest
	}
	var b strings.Builder
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return sign + b.String() + rest
}

// text is an interval as the table shows it.
func (i Interval) text() string {
	switch {
	case math.IsInf(i.Low, -1) && math.IsInf(i.High, 1):
		return "no bounds"
	case math.IsInf(i.Low, -1):
		return "≤ " + ms(i.High)
	case math.IsInf(i.High, 1):
		return "≥ " + ms(i.Low)
	}
	return ms(i.Low) + " – " + ms(i.High)
}

// columnsOf are the percentiles of the table: the usual ones and what the run asked for.
func columnsOf(set *results.Settings) []float64 {
	list := slices.Concat([]float64{50, 90, 99}, set.Percentiles)
	slices.Sort(list)
	return slices.Compact(list)
}

func (v *view) fill(m *results.Manifest, s *summary.Summary, g *gathering) {
	set := &m.Settings
	v.Subject = cmp.Or(set.ModelID, set.Model, "Load test")
	v.Title = v.Subject
	if set.Label != "" {
		v.Title = set.Label + " · " + v.Subject
	}
	v.facts(m, s)
	v.verdict(s)
	v.Warnings = slices.DeleteFunc(slices.Clone(s.Warnings), func(text string) bool {
		// The verdict stands above already.
		return strings.HasPrefix(text, "the client, not the server, limited the run") || strings.HasPrefix(text, "the client's own error is worth knowing")
	})
	v.tiles(s)
	v.table(g)
	v.Basis = map[results.Basis]string{
		results.Service: "from the last byte of the request in the kernel's hands to the kernel's receive stamps",
		results.VLLM:    "as vllm bench serve counts: from before the connection to what the client itself saw",
	}[s.Basis]
	if v.Basis == "" {
		v.Basis = "from the moment the schedule wanted the request sent to the kernel's receive stamps"
	}
	v.Objectives, v.Trust = objectivesOf(s), trustOf(m, &s.Health)
	v.failures(s)
	v.health(s)
	names := stageNames(m)
	if len(g.stages) > 1 {
		for i, at := range g.stages {
			if at != 0 {
				v.Stages = append(v.Stages, stageRow{stageName(names, i), time.Duration(at - g.extent.began).Seconds()})
			}
		}
	}
	for _, d := range s.Dists {
		if !slices.Contains(v.Definitions, d.Metric) {
			v.Definitions = append(v.Definitions, d.Metric)
		}
	}
	v.Drawn = fmt.Sprintf("All %s requests", count(len(g.rows.rows)))
	if n := len(g.extent.ids); n > len(g.rows.rows) {
		v.Drawn = fmt.Sprintf("%s of %s requests: every %s one, and those that stand out", count(len(g.rows.rows)), count(n), ordinal(g.rows.stride))
	}
	v.HasGaps = g.heat.gaps > 0
	v.Stalls = stallsOf(s, g.extent.began)
	v.Command = commandLine(m.Command)
	v.Launch = commandLine(m.Server.Command)
	v.settings(m)
}

func ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2 && n%100 != 12:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3 && n%100 != 13:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

func (v *view) facts(m *results.Manifest, s *summary.Summary) {
	add := func(name, value string) {
		if value != "" {
			v.Facts = append(v.Facts, fact{name, value})
		}
	}
	set := &m.Settings
	add("Began", when(cmp.Or(m.Began, m.Created)))
	server := set.BaseURL + set.Endpoint
	if m.Server.Version != "" {
		server += " (version " + m.Server.Version + ")"
	}
	add("Server", server)
	add("Load", loadWords(m))
	add("Client", machineWords(&m.Machine))
	add("Made by", m.Tool)
}

func when(at results.Moment) string {
	if at == 0 {
		return ""
	}
	return at.Time().UTC().Format("2006-01-02 15:04:05 UTC")
}

func loadWords(m *results.Manifest) string {
	set := &m.Settings
	var words []string
	switch names := stageNames(m); {
	case len(names) > 0:
		for i := range names {
			names[i] = stageName(names, i)
		}
		words = append(words, fmt.Sprintf("%d stages (%s)", len(names), strings.Join(names[:min(len(names), 6)], ", ")))
	case set.RampUp != nil:
		words = append(words, fmt.Sprintf("%d to %d requests/s (%s)", set.RampUp.StartRPS, set.RampUp.EndRPS, set.RampUp.Strategy))
	case set.RequestRate.Infinite() && set.MaxConcurrency > 0:
		words = append(words, fmt.Sprintf("%d at a time", set.MaxConcurrency))
	case set.RequestRate.Infinite():
		words = append(words, "all at once")
	case set.RequestRate > 0:
		words = append(words, strconv.FormatFloat(float64(set.RequestRate), 'g', -1, 64)+" requests/s")
	}
	if set.MaxConcurrency > 0 && len(words) > 0 && !strings.HasSuffix(words[0], "at a time") {
		words = append(words, fmt.Sprintf("at most %d in flight", set.MaxConcurrency))
	}
	if set.Dataset != "" {
		words = append(words, "dataset "+set.Dataset)
	}
	return strings.Join(words, ", ")
}

func machineWords(m *results.Machine) string {
	text := m.Host
	if m.Cores > 0 {
		text = strings.TrimPrefix(fmt.Sprintf("%s, %d × %s", text, m.Cores, cmp.Or(m.CPU, m.Arch)), ", ")
	}
	return text
}

func (v *view) verdict(s *summary.Summary) {
	h := &s.Health
	v.Verdict = verdict{State: h.State, Reasons: h.Reasons}
	switch h.State {
	case summary.Healthy:
		v.Verdict.Class, v.Verdict.Word = "good", "The client kept up"
		v.Verdict.Reasons = []string{"its own error is inside every bound"}
	case summary.Degraded:
		v.Verdict.Class, v.Verdict.Word = "fair", "The client's own error is worth knowing"
	case summary.ClientBound:
		v.Verdict.Class, v.Verdict.Word = "bad", "The client, not the server, limited this run"
	default:
		v.Verdict.Class, v.Verdict.Word = "fair", "Whether the client kept up was not measured"
	}
}

func (v *view) tiles(s *summary.Summary) {
	add := func(name, value, unit, note string) { v.Tiles = append(v.Tiles, tile{name, value, unit, note}) }
	failed := "none failed"
	if s.Failed > 0 {
		failed = count(s.Failed) + " failed"
	}
	add("Successful requests", count(s.Completed), "", failed)
	if s.Duration > 0 {
		add("Duration", fixed(2, s.Duration), "s", "")
	}
	if s.RequestRate != nil {
		note := ""
		if r := s.Manifest.Settings.RequestRate; !r.Infinite() && r > 0 && s.Manifest.Settings.RampUp == nil {
			note = "asked for " + strconv.FormatFloat(float64(r), 'g', -1, 64)
		}
		add("Requests", fixed(2, *s.RequestRate), "/s", note)
	}
	if s.OutputRate != nil {
		add("Output tokens", fixed(1, *s.OutputRate), "/s", count(*s.OutputTokens)+" in all")
	}
	if s.InputRate != nil {
		note := count(*s.InputTokens) + " in all"
		if s.CachedTokens != nil {
			note = count(*s.CachedTokens) + " from the prefix cache"
		}
		add("Input tokens", fixed(1, *s.InputRate), "/s", note)
	}
	if s.InFlightPeak != nil {
		note := ""
		if s.InFlightMean != nil {
			note = fixed(2, *s.InFlightMean) + " on average"
		}
		add("In flight, peak", count(*s.InFlightPeak), "", note)
	}
	if gp := s.Goodput; gp != nil {
		var bounds []string
		for _, o := range gp.Objectives {
			bounds = append(bounds, fmt.Sprintf("%s ≤ %g ms", o.Metric, o.MS))
		}
		add("Goodput", percent(100*gp.Share), "", strings.Join(bounds, ", "))
	}
}

// table fills in the headline.
func (v *view) table(g *gathering) {
	for _, c := range g.curves {
		d := c.dist
		row := metricRow{Label: d.Metric.Label, Doc: d.Metric.Doc, Count: d.Count, Max: d.Max}
		if d.Metric.Based && d.Basis == results.Response && g.basis != results.Response {
			row.From = "from the due time"
		}
		for _, f := range c.figures {
			x := cell{Known: true, Value: f.value}
			if i, ok := c.interval(f); ok {
				x.Interval = &i
			}
			if f.isMean {
				row.Mean = x
				continue
			}
			x.Few = float64(d.Count)*min(f.p, 100-f.p) < 100
			v.Few = v.Few || x.Few
			for len(row.Percentiles) < len(v.Columns) && v.Columns[len(row.Percentiles)] != f.p {
				row.Percentiles = append(row.Percentiles, cell{})
			}
			row.Percentiles = append(row.Percentiles, x)
		}
		for len(row.Percentiles) < len(v.Columns) {
			row.Percentiles = append(row.Percentiles, cell{})
		}
		v.Rows = append(v.Rows, row)
	}
}

func (v *view) failures(s *summary.Summary) {
	most := 0
	for _, class := range s.Failures {
		most = max(most, class.Count)
	}
	for _, class := range s.Failures {
		v.Failures = append(v.Failures, failure{
			Class: class.Class, Count: class.Count, Share: 100 * float64(class.Count) / float64(max(s.Requests, 1)),
			Width: max(1, 100*class.Count/most), Examples: class.Examples, More: class.Count > len(class.Examples),
		})
	}
}

func (v *view) health(s *summary.Summary) {
	h := &s.Health
	add := func(name, value string) { v.Health = append(v.Health, fact{name, value}) }
	three := func(name string, d *summary.Dist, most bool) {
		if d == nil {
			return
		}
		var parts []string
		for _, p := range []float64{50, 99} {
			if x, ok := d.At(p); ok {
				parts = append(parts, fixed(3, x))
			}
		}
		if most {
			parts = append(parts, fixed(3, d.Max))
		}
		add(name, strings.Join(parts, " / ")+" ms")
	}
	three("Lateness, p50 / p99 / max", h.Lateness, true)
	if h.Dated > 0 {
		add("Left more than 1 ms late", fmt.Sprintf("%s of %s", count(h.Late), count(h.Dated)))
	}
	three("Kernel-to-user lag, p50 / p99", h.ReadLag, false)
	if share, ok := h.SharedShare(); ok {
		add("Events that shared a read", percent(share*100))
	}
	if h.CPUShare != nil {
		add("Processor time", fmt.Sprintf("%s of %d processors", percent(*h.CPUShare*100), h.Client.Cores))
	}
	if c := h.Client; c != nil {
		inMS := func(d *time.Duration) string { return fixed(3, float64(*d)/1e6) + " ms" }
		if c.GCPauses != nil && c.GCPauseMax != nil {
			add("Collector pauses", fmt.Sprintf("%s, longest %s", count(int(*c.GCPauses)), inMS(c.GCPauseMax)))
		}
		if c.SchedulerP99 != nil {
			add("Scheduler latency, p99", inMS(c.SchedulerP99))
		}
		if c.CPUWait != nil {
			add("Waited for a processor", fixed(3, c.CPUWait.Seconds())+" s")
		}
		if len(c.Pressure) > 0 {
			var parts []string
			for _, what := range slices.Sorted(maps.Keys(c.Pressure)) {
				parts = append(parts, what+" "+percent(c.Pressure[what]*100))
			}
			add("Tasks of the machine waited, of the time", strings.Join(parts, ", "))
		}
		if c.Steal != nil && *c.Steal > 0 {
			add("Taken by the machine's host", fixed(2, c.Steal.Seconds())+" s")
		}
		if c.PacketDrops != nil && *c.PacketDrops > 0 {
			add("Packets dropped by the machine", count(int(*c.PacketDrops)))
		}
		if c.Retransmits != nil {
			add("TCP segments sent again", count(int(*c.Retransmits)))
		}
		if q := c.ReceiveQueue; q != nil && q.Looks > 0 {
			add("Receive queues not empty", fmt.Sprintf("%s of %s looks, at most %s bytes", percent(100*float64(q.Waiting)/float64(q.Looks)), count(q.Looks), count(q.Most)))
		}
		if c.ClockStep != nil {
			add("Wall clock moved by", inMS(c.ClockStep))
		}
	}
	if h.NoUsage > 0 {
		add("Replies without a token count", count(h.NoUsage))
	}
	if h.Truncated > 0 {
		add("Truncated streams", count(h.Truncated))
	}
	if st := s.Manifest.Stamps; st != "" {
		add("Chunks stamped by", map[string]string{"kernel": "the kernel", "user": "the client itself"}[st])
	}
	if v := s.Manifest.HTTPVersion; v != "" {
		add("HTTP version", v+": stamps are a shared connection's")
	}
}

func (v *view) settings(m *results.Manifest) {
	add := func(name, value string) {
		if value != "" {
			v.Settings = append(v.Settings, fact{name, value})
		}
	}
	add("Backend", m.Settings.Backend)
	add("Model", m.Settings.Model)
	add("Tokenizer", m.Settings.Tokenizer)
	if p := m.Prompts; p.Method != "" {
		text := map[string]string{"tokenizer": "local tokenizer", "server": "the server's tokenizer", "ids": "token ids"}[p.Method]
		if p.Detail != "" {
			text += " (" + p.Detail + ")"
		}
		add("Prompts made by", text)
	}
	add("Seed", strconv.FormatInt(m.Seed, 10))
	if sh := m.Shard; sh != nil {
		add("Shard", fmt.Sprintf("%d of %d", sh.K, sh.N))
	}
	outcome := string(m.Outcome)
	if outcome == "" {
		outcome = "not ended"
	}
	if m.Reason != "" {
		outcome += ": " + m.Reason
	}
	add("Outcome", outcome)
	add("Operating system", strings.TrimSpace(m.Machine.OS+"/"+m.Machine.Arch+" "+m.Machine.Kernel))
	for _, p := range m.Settings.Metadata {
		add(p.Key, p.Value)
	}
}
