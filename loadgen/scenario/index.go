package scenario

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"servebench/results"
	"servebench/results/summary"
)

// Files of a series' folder; a sweep of searches has PointsFile in place of TableFile. Its runs lie in RunsFolder; what an interruption left unfinished is moved to AsideFolder.
const (
	IndexFile   = "index.json"
	TableFile   = "runs.csv"
	PointsFile  = "points.csv"
	RunsFolder  = "runs"
	AsideFolder = ".unfinished"
)

// IndexSchema names the layout of IndexFile.
const IndexSchema = "servebench.index/1"

// An Index is what a series of runs is and what came of it. It is written as a whole after every run: a series that was
// interrupted and taken up again has the index of one that was not, apart from what was measured and when.
type Index struct {
	Schema string `json:"schema"`
	// Kind is sweep, repeats, search, searches (one at each point of a sweep) or ab.
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	Tool string `json:"tool"`
	// Digest is that of everything that decides what is run. A folder is taken up again only with the same.
	Digest string `json:"digest"`
	// Scenario is the scenario as it was written, secrets left out.
	Scenario json.RawMessage `json:"scenario,omitempty"`
	Order    string          `json:"order,omitempty"`
	Seeds    string          `json:"seeds,omitempty"`
	Repeats  int             `json:"repeats"`
	// Created is when the series was begun, Updated when this was written.
	Created results.Moment `json:"created"`
	Updated results.Moment `json:"updated"`
	// Complete says that every run has ended.
	Complete bool         `json:"complete"`
	Points   []*PointLine `json:"points"`
	Runs     []*RunLine   `json:"runs"`
	// Curves are latency against throughput, Knees the knee of each of their lines.
	Curves []*Curve      `json:"curves,omitempty"`
	Knees  []*Knee       `json:"knees,omitempty"`
	Search *SearchResult `json:"search,omitempty"`
	// Capacity is what searches found, against the field that is swept.
	Capacity *Capacity `json:"capacity,omitempty"`
	// Notes are doubts about the whole.
	Notes []string `json:"notes,omitempty"`

	// formats are the reports that the folder keeps beside the index and the table.
	formats []string
}

// A PointLine is one combination of values, with the means of its runs.
type PointLine struct {
	// Number counts from 1.
	Number int    `json:"number"`
	Name   string `json:"name"`
	// Settings are the fields that make it what it is.
	Settings Assignments `json:"settings,omitempty"`
	// Line groups the points that differ in their load only.
	Line string `json:"line,omitempty"`
	// Runs counts those that went well; Figures are their means.
	Runs    int      `json:"runs"`
	Figures *Figures `json:"figures,omitempty"`
	// Met says whether all bounds were met in every run that ended; absent without bounds.
	Met *bool `json:"met,omitempty"`
	// Folder is that of the point's own search, seen from the index, and Search what it found; Runs then counts all runs of it, and Figures are
	// those of the highest value that held.
	Folder string        `json:"folder,omitempty"`
	Search *SearchResult `json:"search,omitempty"`
	// Error is why the point's search could not be carried out.
	Error string `json:"error,omitempty"`
}

// The states of a run in an index.
const (
	RunPending = "pending"
	RunOK      = "ok"
	RunFailed  = "failed"
	RunStopped = "stopped" // a search saw enough
)

// A RunLine is one run of a series.
type RunLine struct {
	// Position counts from 1 in the order in which runs are made, Point is a point's number, Repeat counts from 1.
	Position int   `json:"position"`
	Point    int   `json:"point"`
	Repeat   int   `json:"repeat"`
	Seed     int64 `json:"seed"`
	// Folder is the run's, seen from the index.
	Folder string `json:"folder"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	// Began and Ended are those of the run, preparations included.
	Began results.Moment `json:"began,omitempty"`
	Ended results.Moment `json:"ended,omitempty"`
	// Cache is what became of the server's prefix cache before it: fresh server, reset, or why it was not reset.
	Cache   string                `json:"cache,omitempty"`
	Figures *Figures              `json:"figures,omitempty"`
	Bounds  []summary.BoundResult `json:"bounds,omitempty"`
	Trend   *Trend                `json:"trend,omitempty"`
	// Held is a search's verdict, Why what decided it.
	Held *bool  `json:"held,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Figures are those of a run, or the means of several. What was not measured is absent.
type Figures struct {
	Requests     float64  `json:"requests"`
	Completed    float64  `json:"completed"`
	Failed       float64  `json:"failed"`
	InputTokens  *float64 `json:"input_tokens,omitempty"`
	OutputTokens *float64 `json:"output_tokens,omitempty"`
	Duration     *float64 `json:"duration_s,omitempty"`
	RequestRate  *float64 `json:"request_throughput,omitempty"`
	OutputRate   *float64 `json:"output_throughput,omitempty"`
	TotalRate    *float64 `json:"total_token_throughput,omitempty"`
	Goodput      *float64 `json:"goodput_percent,omitempty"`
	InFlight     *float64 `json:"in_flight_mean,omitempty"`
	// Latency holds mean, p50, p90 and p99 in milliseconds by metric, from the run's basis.
	Latency map[string]map[string]float64 `json:"latency_ms,omitempty"`
	// Client is the verdict on the client; of several runs the gravest.
	Client summary.State `json:"client,omitempty"`
}

// indexStatistics are the statistics of a latency that an index keeps.
var indexStatistics = []string{"mean", "p50", "p90", "p99"}

// figuresOf takes a run's figures from its summary.
func figuresOf(s *summary.Summary) *Figures {
	number := func(v *int) *float64 {
		if v == nil {
			return nil
		}
		f := float64(*v)
		return &f
	}
	f := &Figures{
		Requests: float64(s.Requests), Completed: float64(s.Completed), Failed: float64(s.Failed),
		InputTokens: number(s.InputTokens), OutputTokens: number(s.OutputTokens),
		RequestRate: s.RequestRate, OutputRate: s.OutputRate, TotalRate: s.TotalTokenRate, InFlight: s.InFlightMean, Client: s.Health.State,
	}
	if s.Duration > 0 {
		f.Duration = &s.Duration
	}
	if s.Goodput != nil {
		share := s.Goodput.Share * 100
		f.Goodput = &share
	}
	for _, d := range s.Dists {
		if d.Basis != s.Basis || d.Metric.Client {
			continue
		}
		values := map[string]float64{}
		for _, name := range indexStatistics {
			if v, ok := d.Statistic(name); ok {
				values[name] = v
			}
		}
		if f.Latency == nil {
			f.Latency = map[string]map[string]float64{}
		}
		f.Latency[d.Metric.Name] = values
	}
	return f
}

// numbers are the figures that have one value a run, by their column.
func (f *Figures) numbers() []column {
	return []column{
		{"requests", &f.Requests}, {"completed", &f.Completed}, {"failed", &f.Failed}, {"input_tokens", f.InputTokens}, {"output_tokens", f.OutputTokens},
		{"duration_s", f.Duration}, {"request_throughput", f.RequestRate}, {"output_throughput", f.OutputRate},
		{"total_token_throughput", f.TotalRate}, {"goodput_percent", f.Goodput}, {"in_flight_mean", f.InFlight},
	}
}

type column struct {
	name  string
	value *float64
}

// meanOf is the mean of several runs' figures. A figure that one of them lacks is left out.
func meanOf(list []*Figures) *Figures {
	if len(list) == 0 {
		return nil
	}
	n := float64(len(list))
	mean := func(of func(*Figures) *float64) *float64 {
		sum := 0.0
		for _, f := range list {
			v := of(f)
			if v == nil {
				return nil
			}
			sum += *v / n
		}
		return &sum
	}
	m := &Figures{
		Requests:  *mean(func(f *Figures) *float64 { return &f.Requests }),
		Completed: *mean(func(f *Figures) *float64 { return &f.Completed }), Failed: *mean(func(f *Figures) *float64 { return &f.Failed }),
		InputTokens: mean(func(f *Figures) *float64 { return f.InputTokens }), OutputTokens: mean(func(f *Figures) *float64 { return f.OutputTokens }),
		Duration: mean(func(f *Figures) *float64 { return f.Duration }), RequestRate: mean(func(f *Figures) *float64 { return f.RequestRate }),
		OutputRate: mean(func(f *Figures) *float64 { return f.OutputRate }), TotalRate: mean(func(f *Figures) *float64 { return f.TotalRate }),
		Goodput: mean(func(f *Figures) *float64 { return f.Goodput }), InFlight: mean(func(f *Figures) *float64 { return f.InFlight }),
	}
	for metric, values := range list[0].Latency {
		for name := range values {
			v := mean(func(f *Figures) *float64 {
				if v, ok := f.Latency[metric][name]; ok {
					return &v
				}
				return nil
			})
			if v == nil {
				continue
			}
			if m.Latency == nil {
				m.Latency = map[string]map[string]float64{}
			}
			if m.Latency[metric] == nil {
				m.Latency[metric] = map[string]float64{}
			}
			m.Latency[metric][name] = *v
		}
	}
	grave := []summary.State{summary.Healthy, summary.Unmeasured, summary.Degraded, summary.ClientBound}
	for _, f := range list {
		if slices.Index(grave, f.Client) >= slices.Index(grave, m.Client) {
			m.Client = f.Client
		}
	}
	return m
}

// at is a latency; nil when it was not measured.
func (f *Figures) at(metric, statistic string) *float64 {
	if f == nil {
		return nil
	}
	if v, ok := f.Latency[metric][statistic]; ok {
		return &v
	}
	return nil
}

// OpenIndex reads the index of a series' folder.
func OpenIndex(dir string) (*Index, error) {
	path := filepath.Join(dir, IndexFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	x := new(Index)
	if err := json.Unmarshal(text, x); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if x.Schema != IndexSchema {
		return nil, fmt.Errorf("%s: layout %q, not %q", path, x.Schema, IndexSchema)
	}
	return x, nil
}

// derive computes what follows from the runs.
func (x *Index) derive() {
	if x.Kind == "searches" {
		x.Complete, x.Capacity = x.searched(), x.capacities()
		return
	}
	x.Complete = len(x.Runs) > 0
	x.Notes = nil
	var resets []string
	for _, r := range x.Runs {
		if r.Status == RunPending {
			x.Complete = false
		}
		if strings.HasPrefix(r.Cache, "not reset") && !slices.Contains(resets, r.Cache) {
			resets = append(resets, r.Cache)
		}
	}
	if x.Kind == "search" && x.Search == nil {
		x.Complete = false
	}
	for _, text := range resets {
		x.Notes = append(x.Notes, "prompts of an earlier run may have been in the server's prefix cache: "+text)
	}
	for _, p := range x.Points {
		var list []*Figures
		p.Met = nil
		for _, r := range x.Runs {
			if r.Point != p.Number {
				continue
			}
			if r.Status == RunOK && r.Figures != nil {
				list = append(list, r.Figures)
			}
			for _, b := range r.Bounds {
				met := b.Met && (p.Met == nil || *p.Met)
				p.Met = &met
			}
		}
		p.Runs, p.Figures = len(list), meanOf(list)
	}
	x.Curves, x.Knees = curves(x.Points)
}

// write replaces the index and its table on the disk.
func (x *Index) write(dir string) error {
	x.derive()
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	if err := results.WriteFile(filepath.Join(dir, IndexFile), append(text, '\n')); err != nil {
		return err
	}
	var table strings.Builder
	if err := x.CSV(&table); err != nil {
		return err
	}
	if err := results.WriteFile(filepath.Join(dir, x.Table()), []byte(table.String())); err != nil {
		return err
	}
	return x.keepReports(dir)
}

// Table is the name of the table beside the index.
func (x *Index) Table() string {
	if x.Kind == "searches" {
		return PointsFile
	}
	return TableFile
}

// fields are the names of all settings of the points, in their order.
func (x *Index) fields() []string {
	var names []string
	for _, p := range x.Points {
		for _, a := range p.Settings {
			if !slices.Contains(names, a.Field) {
				names = append(names, a.Field)
			}
		}
	}
	return names
}

func (a Assignments) of(field string) string {
	for _, one := range a {
		if one.Field == field {
			_, value, _ := strings.Cut(one.String(), "=")
			return value
		}
	}
	return ""
}

// tableMetrics are the latencies of tables.
var tableMetrics = []string{"ttft", "tpot", "itl", "e2el"}

// numberText is a number in a table; empty when it was not measured.
func numberText(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// figureColumns are the columns of figures in a table, cells their values.
func figureColumns() []string {
	var head []string
	for _, c := range new(Figures).numbers() {
		head = append(head, c.name)
	}
	for _, m := range tableMetrics {
		for _, s := range indexStatistics {
			head = append(head, m+"_"+s+"_ms")
		}
	}
	return head
}

func (f *Figures) cells() []string {
	if f == nil {
		return make([]string, len(figureColumns()))
	}
	var row []string
	for _, c := range f.numbers() {
		row = append(row, numberText(c.value))
	}
	for _, m := range tableMetrics {
		for _, s := range indexStatistics {
			row = append(row, numberText(f.at(m, s)))
		}
	}
	return row
}

// CSV writes one row a run: its point's settings, then its figures. What was not measured is empty. Of searches it writes a row each.
func (x *Index) CSV(w io.Writer) error {
	if x.Kind == "searches" {
		return x.searchesCSV(w)
	}
	out := csv.NewWriter(w)
	head := []string{"position", "point", "repeat", "seed", "status", "folder"}
	fields := x.fields()
	head = append(append(head, fields...), figureColumns()...)
	if err := out.Write(append(head, "client", "held", "reason")); err != nil {
		return err
	}
	for _, r := range x.Runs {
		row := []string{strconv.Itoa(r.Position), strconv.Itoa(r.Point), strconv.Itoa(r.Repeat), strconv.FormatInt(r.Seed, 10), r.Status, r.Folder}
		for _, name := range fields {
			row = append(row, x.Points[r.Point-1].Settings.of(name))
		}
		f := r.Figures
		row = append(row, f.cells()...)
		client, held := "", ""
		if f != nil {
			client = string(f.Client)
		}
		if r.Held != nil {
			held = strconv.FormatBool(*r.Held)
		}
		if err := out.Write(append(row, client, held, cmp.Or(r.Reason, r.Why))); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// Text writes the series for a terminal: a line a point, the curve with its knee, and what a search found.
func (x *Index) Text(w io.Writer) error {
	if x.Kind == "searches" {
		return x.searchesText(w)
	}
	ended := 0
	for _, r := range x.Runs {
		if r.Status != RunPending {
			ended++
		}
	}
	fmt.Fprintf(w, "%s %s: %d of %d runs ended\n\n", x.Kind, cmp.Or(x.Name, "without a name"), ended, len(x.Runs))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fields := x.fields()
	head := "point\t"
	for _, name := range fields {
		head += name + "\t"
	}
	if len(fields) == 0 {
		head += "\t"
	}
	fmt.Fprintln(t, head+"runs\treq/s\tout tok/s\tTTFT p50\tp99\tITL p99\tE2EL p50\tp99\tfailed\t\t")
	for _, p := range x.Points {
		row := strconv.Itoa(p.Number) + "\t"
		for _, name := range fields {
			row += x.short(p, name) + "\t"
		}
		if len(fields) == 0 {
			row += p.Name + "\t"
		}
		row += strconv.Itoa(p.Runs) + "\t" + p.Figures.columns()
		var failed *float64
		if p.Figures != nil {
			failed = &p.Figures.Failed
		}
		row += shown(failed, 1) + "\t"
		fmt.Fprintln(t, row+strings.Join(x.Marks(p), ", ")+"\t")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "Latencies are milliseconds; a point's figures are the means of its runs.")
	if c := x.Curve("e2el", "p99"); c != nil && len(c.Points) > 2 {
		fmt.Fprintln(w)
		c.picture(w, x.Knees)
	}
	for _, k := range x.Knees {
		if k.Text != "" {
			fmt.Fprintln(w, k.Text)
		}
	}
	for _, r := range x.Runs {
		if r.Status == RunFailed {
			fmt.Fprintf(w, "failed: %s: %s\n", r.Folder, firstLine(r.Reason))
		}
	}
	for _, n := range x.Notes {
		fmt.Fprintln(w, "warning: "+n)
	}
	if x.Search != nil {
		fmt.Fprintln(w, "\n"+x.Search.Text)
	}
	return nil
}

// shown is a number in a text, with so many digits or, if negative, as many as it has; a dash when it was not measured.
func shown(v *float64, digits int) string {
	switch {
	case v == nil:
		return "-"
	case digits < 0:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	return strconv.FormatFloat(*v, 'f', digits, 64)
}

// columns are the figures of a line of the text: rates, then latencies.
func (f *Figures) columns() string {
	var rate, output *float64
	if f != nil {
		rate, output = f.RequestRate, f.OutputRate
	}
	return shown(rate, 2) + "\t" + shown(output, 1) + "\t" + shown(f.at("ttft", "p50"), 1) + "\t" + shown(f.at("ttft", "p99"), 1) + "\t" +
		shown(f.at("itl", "p99"), 2) + "\t" + shown(f.at("e2el", "p50"), 1) + "\t" + shown(f.at("e2el", "p99"), 1) + "\t"
}

// Marks are what is remarkable of a point.
func (x *Index) Marks(p *PointLine) []string {
	var list []string
	for _, k := range x.Knees {
		if k.Point == p.Number {
			list = append(list, "knee")
		}
	}
	if c := x.Curve("ttft", "p99"); c != nil && slices.Contains(c.Pareto, p.Number) && len(c.Pareto) < len(x.Points) {
		list = append(list, "Pareto")
	}
	if p.Met != nil {
		list = append(list, map[bool]string{true: "meets the bounds", false: "misses a bound"}[*p.Met])
	}
	switch f := p.Figures; {
	case f != nil && f.Client == summary.ClientBound:
		list = append(list, "client-bound")
	case f != nil && f.Client == summary.Degraded:
		list = append(list, "client degraded")
	}
	if x.IsAnswer(p) {
		list = append(list, "the answer")
	}
	return list
}

// IsAnswer says whether a point is the highest value that held in a search.
func (x *Index) IsAnswer(p *PointLine) bool {
	if x.Search == nil || x.Search.Best == nil {
		return false
	}
	v, err := strconv.ParseFloat(p.Settings.of(x.Search.Field), 64)
	return err == nil && v == *x.Search.Best
}

// short is a point's value of a field, short enough for a column. Of long values, such as commands, what all have in common at their
// beginning is left out: what remains tells them apart.
func (x *Index) short(p *PointLine, field string) string {
	const most = 40
	value, common := p.Settings.of(field), ""
	for i, q := range x.Points {
		other := q.Settings.of(field)
		if i == 0 {
			common = other
		}
		for !strings.HasPrefix(other, common) {
			common = common[:len(common)-1]
		}
	}
	// The word before the difference says what it is of.
	if cut := strings.LastIndexByte(strings.TrimRight(common[:strings.LastIndexByte(common, ' ')+1], " "), ' ') + 1; len(value) > most && cut > 0 && common != value {
		value = "... " + value[cut:]
	}
	return shorten(value, most)
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-3], "") + "..."
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// errOther says that a folder holds another series.
var errOther = errors.New("the folder holds another series: choose another folder, or carry on with the scenario that began this one")
