package compare

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/internal/python"
	"servebench/results"
	"servebench/results/summary"
)

// A Run is one run, ready to be compared: the requests of its load in the order in which they were sent.
type Run struct {
	// Name is where it was read from.
	Name string
	// Basis is what its latencies count from.
	Basis results.Basis
	// Fields are what must be alike for a comparison to mean something.
	Fields []Field
	// Requests counts those of the load, Completed and Failed how they ended. Lengths are in tokens; not a number where nobody
	// counted.
	Requests, Completed, Failed int
	InputLength, OutputLength   float64
	// CachedShare is the share of prompt tokens that the server had in its prefix cache; not a number when not said.
	CachedShare float64
	// Incomplete says what is missing of the run; empty when nothing is. Client is the verdict on the client,
	// with its reason.
	Incomplete   string
	Client       summary.State
	ClientReason string
	// Identity is the same for the same run, however it was named.
	Identity uint64

	// load is the same for runs that sent the same requests in the same order.
	load uint64
	rows []row
	// series are by the name of a metric: the values of every request, in milliseconds.
	series map[string]*series
	// objectives says that rows know whether they are good.
	objectives bool
	// duration is the load's in seconds, 0 when not known.
	duration float64
	// written is the scenario as it was written; nil when nobody kept it.
	written any
	// stages are the names of the load's stages, when there are several.
	stages []string
	// stated are figures that a result file states without listing requests, by metric and statistic.
	stated map[string]float64
}

// A Field is one setting or circumstance of a run.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Field is the value of a field, or at a path of the scenario, as dataset.input_len; empty when the run does not say.
func (r *Run) Field(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	switch {
	case name == "input_length" && !math.IsNaN(r.InputLength):
		return strconv.FormatFloat(r.InputLength, 'f', 0, 64)
	case name == "output_length" && !math.IsNaN(r.OutputLength):
		return strconv.FormatFloat(r.OutputLength, 'f', 0, 64)
	}
	return setting(r.written, name)
}

// setting is the value at a path of a scenario, as dataset.input_len; empty when nothing stands there.
func setting(at any, path string) string {
	for _, key := range strings.Split(path, ".") {
		switch inner := at.(type) {
		case map[string]any:
			at = inner[key]
		case []any:
			n, err := strconv.Atoi(key)
			if err != nil || n < 0 || n >= len(inner) {
				return ""
			}
			at = inner[n]
		default:
			return ""
		}
	}
	switch v := at.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return compact(at)
}

// A row is one request.
type row struct {
	id, stage     int
	ok, good      bool
	input, output float64 // tokens, not a number when unknown
	// end is when its reply was over, in seconds since the load began; not a number when unknown.
	end float64
}

// A series holds the values of one metric: those of request i are values[offsets[i]:offsets[i+1]].
type series struct {
	values  []float64
	offsets []int
}

func (s *series) of(i int) []float64 { return s.values[s.offsets[i]:s.offsets[i+1]] }

// only is the series of the requests at these places.
func (s *series) only(places []int) *series {
	out := &series{offsets: make([]int, 1, len(places)+1)}
	for _, i := range places {
		out.values = append(out.values, s.of(i)...)
		out.offsets = append(out.offsets, len(out.values))
	}
	return out
}

// Open reads what path names: a run folder, a result file of vllm bench serve (one result, a list of them, or one a line), or a
// folder that holds either at any depth, such as a sweep. Folders whose name begins with a dot are passed over: a sweep puts what it
// began and could not finish into one.
func Open(path string, o Options) ([]*Run, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openVLLM(path, o)
	}
	if _, err := os.Stat(filepath.Join(path, results.ManifestFile)); err == nil {
		run, err := openFolder(path, o)
		if err != nil {
			return nil, err
		}
		return []*Run{run}, nil
	}
	var runs []*Run
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch base := filepath.Base(name); {
		case entry.IsDir() && name != path && strings.HasPrefix(base, "."):
			return fs.SkipDir
		case entry.IsDir():
			if _, err := os.Stat(filepath.Join(name, results.ManifestFile)); err != nil {
				return nil
			}
			run, err := openFolder(name, o)
			if err != nil {
				return err
			}
			runs = append(runs, run)
			return fs.SkipDir
		case strings.HasPrefix(base, "run=") && strings.HasSuffix(base, ".json") && !strings.HasSuffix(base, ".failure.json"):
			more, err := openVLLM(name, o)
			if err != nil {
				return err
			}
			runs = append(runs, more...)
		}
		return nil
	})
	if err == nil && len(runs) == 0 {
		err = fmt.Errorf("%s holds no run: give a run folder, a folder of them, or a result file of vllm bench serve", path)
	}
	return runs, err
}

func openFolder(dir string, o Options) (*Run, error) {
	run, err := results.Open(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	out, err := OfRecords(dir, run.Manifest(), run.Records(), o)
	if err != nil {
		return nil, err
	}
	if ok, why := run.Complete(); !ok {
		out.Incomplete = why
	}
	return out, nil
}

// OfRecords makes a Run of a run's manifest and records.
func OfRecords(name string, m *results.Manifest, records iter.Seq2[*results.Record, error], o Options) (*Run, error) {
	basis := cmp.Or(o.Basis, m.Basis, results.Service)
	r := &Run{Name: name, Basis: basis, series: map[string]*series{}, objectives: len(m.Settings.Goodput) > 0}
	config := summary.ConfigOf(m)
	config.Basis, config.Limit = basis, 1 // the values are kept here; it is asked about the client alone
	recorder := summary.NewRecorder(config)
	metrics := o.latencies()
	unsorted := make([]*series, len(metrics))
	for i := range unsorted {
		unsorted[i] = &series{offsets: []int{0}}
	}
	var room []time.Duration
	var cached, prompts float64
	cachedKnown := false
	began := m.Began
	for rec, err := range records {
		if err != nil {
			return nil, err
		}
		recorder.Add(rec)
		if rec.Kind != results.Load {
			continue
		}
		if began == 0 {
			began = cmp.Or(rec.Due, rec.Dispatched)
		}
		r.rows = append(r.rows, rowOf(rec, began, basis, m.Settings.Goodput))
		if u := rec.Usage; u != nil && u.Cached >= 0 && u.Prompt > 0 {
			cached, prompts, cachedKnown = cached+float64(u.Cached), prompts+float64(u.Prompt), true
		}
		for i, metric := range metrics {
			s := unsorted[i]
			if rec.OK() || metric.Failures {
				room = metric.Append(room[:0], rec, basis)
				for _, v := range room {
					s.values = append(s.values, float64(v)/1e6)
				}
			}
			s.offsets = append(s.offsets, len(s.values))
		}
	}
	places := make([]int, len(r.rows))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(r.rows[a].id, r.rows[b].id) })
	rows := make([]row, 0, len(r.rows))
	for _, i := range places {
		rows = append(rows, r.rows[i])
	}
	r.rows = rows
	for i, metric := range metrics {
		if s := unsorted[i].only(places); len(s.values) > 0 {
			r.series[metric.Name] = s
		}
	}
	s := recorder.Summary(m, "", "")
	r.duration = s.Duration
	r.Client, r.CachedShare = s.Health.State, math.NaN()
	if len(s.Health.Reasons) > 0 {
		r.ClientReason = s.Health.Reasons[0]
	}
	if cachedKnown {
		r.CachedShare = cached / prompts
	}
	switch {
	case m.Outcome == "":
		r.Incomplete = "it has not ended, or died"
	case m.Outcome != results.OK:
		r.Incomplete = "it ended as " + string(m.Outcome)
		if m.Reason != "" {
			r.Incomplete += ": " + m.Reason
		}
	}
	r.Identity = hash(strconv.FormatInt(int64(m.Created), 10), m.Machine.Host, strconv.Itoa(len(r.rows)), strconv.FormatInt(int64(m.Ended), 10))
	r.fields(m)
	r.count(strconv.FormatInt(m.Seed, 10))
	return r, nil
}

func rowOf(rec *results.Record, began results.Moment, b results.Basis, objectives []results.Objective) row {
	w := row{id: rec.ID, stage: rec.Stage, ok: rec.OK(), input: math.NaN(), output: math.NaN(), end: math.NaN()}
	if rec.InputTokens >= 0 {
		w.input = float64(rec.InputTokens)
	}
	if u := rec.Usage; u != nil && u.Prompt > 0 {
		w.input = float64(u.Prompt)
	}
	if n, ok := rec.Tokens(); ok && rec.OK() {
		w.output = float64(n)
	}
	end := rec.Done
	if n := len(rec.Chunks); end == 0 && n > 0 {
		end = rec.Chunks[n-1].At
	}
	if d, ok := cmp.Or(end, rec.Dispatched).Sub(began); ok {
		w.end = d.Seconds()
	}
	w.good = w.ok
	for _, o := range objectives {
		m, known := results.MetricNamed(o.Metric)
		if !known || !w.ok {
			w.good = false
			break
		}
		for _, v := range m.Append(nil, rec, b) {
			w.good = w.good && v.Seconds() <= o.MS/1000
		}
	}
	return w
}

// count fills in what follows from the rows.
func (r *Run) count(seed string) {
	r.Requests = len(r.rows)
	var input, output, known, answered float64
	h := fnv.New64a()
	fmt.Fprintln(h, len(r.rows), seed)
	for i := range r.rows {
		w := &r.rows[i]
		if w.ok {
			r.Completed++
		} else {
			r.Failed++
		}
		if !math.IsNaN(w.input) {
			input, known = input+w.input, known+1
		}
		if !math.IsNaN(w.output) {
			output, answered = output+w.output, answered+1
		}
		_ = binary.Write(h, binary.LittleEndian, w.input)
	}
	r.InputLength, r.OutputLength = input/known, output/answered
	r.load = h.Sum64()
}

// fields are the circumstances of a run folder.
func (r *Run) fields(m *results.Manifest) {
	s := &m.Settings
	add := func(name, value string) {
		if value != "" {
			r.Fields = append(r.Fields, Field{name, value})
		}
	}
	add("model", cmp.Or(s.ModelID, s.Model))
	add("backend", s.Backend)
	add("endpoint", s.Endpoint)
	add("basis", string(r.Basis))
	add("compat", s.Compat)
	add("dataset", s.Dataset)
	add("tokenizer", s.Tokenizer)
	add("requests", strconv.Itoa(s.NumPrompts))
	rate := python.Float(float64(s.RequestRate))
	if p := s.RampUp; p != nil {
		rate = fmt.Sprintf("%s %d to %d", p.Strategy, p.StartRPS, p.EndRPS)
	}
	add("rate", rate)
	add("burstiness", python.Float(float64(s.Burstiness)))
	add("concurrency", concurrency(s.MaxConcurrency))
	add("seed", strconv.FormatInt(m.Seed, 10))
	add("stamps", m.Stamps)
	add("server_version", m.Server.Version)
	add("server_command", command(m.Server.Command))
	add("server_settings", settings(m.Server.Settings))
	add("client_machine", strings.TrimSpace(m.Machine.Host+" "+m.Machine.CPU))
	add("tool", m.Tool)
	for _, pair := range s.Metadata {
		add("metadata."+pair.Key, pair.Value)
	}
	r.scenario(m.Scenario, add)
}

// scenario are the circumstances that only the scenario tells.
func (r *Run) scenario(raw json.RawMessage, add func(name, value string)) {
	var s struct {
		Stages  []map[string]any `json:"stages"`
		Dataset map[string]any   `json:"dataset"`
		Body    map[string]any   `json:"body"`
		Load    map[string]any   `json:"load"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || json.Unmarshal(raw, &r.written) != nil {
		return
	}
	for _, key := range []string{"rate", "concurrency", "requests", "burstiness"} {
		delete(s.Load, key) // they are fields of their own
	}
	add("load", compact(s.Load))
	add("stages", compact(s.Stages))
	add("dataset_options", compact(s.Dataset))
	add("body", compact(s.Body))
	for i, stage := range s.Stages {
		name, _ := stage["name"].(string)
		r.stages = append(r.stages, cmp.Or(name, "stage "+strconv.Itoa(i+1)))
	}
}

// compact is JSON with its keys in order: what says the same is the same. Nothing is "none", to differ from something.
func compact(v any) string {
	b, err := json.Marshal(v)
	if text := string(b); err == nil && text != "null" && text != "{}" && text != "[]" {
		return text
	}
	return "none"
}

// command is a server's command line without its profiler's settings: they name the folder of the run.
func command(words []string) string {
	var kept []string
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--profiler-config":
			i++
		case strings.HasPrefix(w, "--profiler-config"):
		default:
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// settings are a server's own, without its profiler's.
func settings(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return compact(withoutProfiler(v))
}

func withoutProfiler(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if strings.Contains(strings.ToLower(key), "profil") {
				delete(v, key)
				continue
			}
			v[key] = withoutProfiler(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutProfiler(v[i])
		}
	}
	return v
}

func concurrency(n int) string {
	if n <= 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func hash(words ...string) uint64 {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// stage is the part of a run that one stage of its load sent.
func (r *Run) stage(index int) *Run {
	part := *r
	part.rows, part.series, part.stated, part.stages = nil, map[string]*series{}, nil, nil
	part.duration, part.Completed, part.Failed = 0, 0, 0
	var places []int
	for i := range r.rows {
		if r.rows[i].stage == index {
			places = append(places, i)
			part.rows = append(part.rows, r.rows[i])
		}
	}
	for name, s := range r.series {
		if only := s.only(places); len(only.values) > 0 {
			part.series[name] = only
		}
	}
	part.count(strconv.FormatUint(r.load, 16))
	return &part
}
