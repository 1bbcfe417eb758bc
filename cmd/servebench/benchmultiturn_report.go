package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/datasets"
	"servebench/internal/argparse"
	"servebench/internal/numpy"
	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
)

// A multiTurnReport is what the multi-turn script says of a load, and its files.
type multiTurnReport struct {
	o   *multiTurnOptions
	set datasets.Dataset

	requests []multiTurnRequest
	// replies are the answers of each conversation, by its turns, and lengths their tokens.
	replies map[int]map[int]string
	lengths map[int]map[int]int
	// warmup is how long the first turns took, where they were sent before the load.
	warmup time.Duration
}

// A multiTurnRequest is one request that was answered, in the script's figures. A figure that could not be measured is NaN.
type multiTurnRequest struct {
	id               string
	start            float64
	ttft, tpot, e2el float64
	messages         int
	input, output    float64
	chunks, first    float64
	cached           float64
}

// turn is what the source has for a record's turn.
func (r *multiTurnReport) turn(rec *results.Record) datasets.Turn {
	return turnOf(r.set.At(rec.User), rec.Turn)
}

func turnOf(s datasets.Sample, turn int) datasets.Turn {
	if turn == 0 {
		return datasets.Turn{Text: s.Prompt.Text, Answer: s.Answer, InputTokens: s.InputTokens, OutputTokens: s.OutputTokens}
	}
	return s.Later[turn-1]
}

// finish prints the script's tables and writes the files.
func (r *multiTurnReport) finish(out, talk io.Writer, result *scenario.Result) error {
	if err := r.read(result); err != nil {
		return err
	}
	if len(r.requests) == 0 {
		return nil // why is said by the outcome
	}
	parameters, err := (&datasets.Conversations{Path: r.o.InputFile}).Parameters()
	if err != nil {
		return err
	}
	tables := r.tables()
	if err := r.print(out, parameters, tables); err != nil {
		return err
	}
	return errors.Join(r.save(talk, parameters, tables), r.verify(out))
}

// read gathers the run's records.
func (r *multiTurnReport) read(result *scenario.Result) error {
	run, err := results.Open(result.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	basis := result.Summary.Basis
	r.replies, r.lengths = map[int]map[int]string{}, map[int]map[int]int{}
	var records []*results.Record
	var from, to results.Moment
	for rec, err := range run.Records() {
		if err != nil {
			return err
		}
		if !rec.OK() || rec.Kind != results.Load && rec.Kind != results.Warmup {
			continue
		}
		if r.replies[rec.User] == nil {
			r.replies[rec.User], r.lengths[rec.User] = map[int]string{}, map[int]int{}
		}
		r.replies[rec.User][rec.Turn] = rec.Text
		if n, ok := rec.Tokens(); ok {
			r.lengths[rec.User][rec.Turn] = n
		}
		if rec.Kind == results.Warmup {
			if from == 0 || rec.Dispatched < from {
				from = rec.Dispatched
			}
			to = max(to, rec.Done)
			continue
		}
		records = append(records, rec)
	}
	r.warmup, _ = to.Sub(from)
	slices.SortStableFunc(records, func(a, b *results.Record) int { return cmp.Compare(a.Start(basis), b.Start(basis)) })
	for _, rec := range records {
		r.requests = append(r.requests, r.figures(rec, basis))
	}
	return nil
}

func (r *multiTurnReport) figures(rec *results.Record, basis results.Basis) multiTurnRequest {
	ms := func(d time.Duration, ok bool) float64 {
		if !ok {
			return math.NaN()
		}
		return float64(d) / float64(time.Millisecond)
	}
	q := multiTurnRequest{
		id: r.set.At(rec.User).ID, start: float64(rec.Start(basis)) / 1e6, messages: 2*rec.Turn + 1,
		input: math.NaN(), output: math.NaN(), first: math.NaN(), cached: math.NaN(), chunks: float64(max(0, len(rec.Chunks)-1)),
	}
	q.ttft = ms(results.TTFT(rec, basis))
	q.tpot = ms(results.TPOT(rec, basis))
	q.e2el = ms(rec.Done.Sub(rec.Start(basis)))
	if n, ok := rec.Tokens(); ok {
		q.output = float64(n)
	}
	if len(rec.Chunks) > 0 && rec.Chunks[0].Tokens >= 0 {
		q.first = float64(rec.Chunks[0].Tokens)
	}
	if history, ok := r.history(rec); ok {
		question := r.turn(rec).InputTokens
		if q.input = float64(history + question); q.input > 0 {
			q.cached = 100 * float64(history) / q.input
		}
	}
	if rec.Usage != nil && rec.Usage.Prompt > 0 {
		q.input = float64(rec.Usage.Prompt) // the template's tokens included
	}
	return q
}

// history is how many tokens were said before a turn, false when the length of an answer is not known.
func (r *multiTurnReport) history(rec *results.Record) (tokens int, known bool) {
	sample := r.set.At(rec.User)
	for n := range rec.Turn {
		answer, ok := r.lengths[rec.User][n]
		if !ok {
			return 0, false
		}
		tokens += turnOf(sample, n).InputTokens + answer
	}
	return tokens, true
}

// A multiTurnTable is the summary of the requests that are left when a share of them is taken for a warm-up.
type multiTurnTable struct {
	share     float64
	facts     [][2]any
	quantiles []float64
	rows      []multiTurnRow
}

type multiTurnRow struct {
	name   string
	values []float64 // count, mean, std, min, the quantiles, max
}

func (r *multiTurnReport) tables() []multiTurnTable {
	quantiles := []float64{25, 50, 75, 90}
	for _, q := range []struct {
		from int
		p    float64
	}{{100, 99}, {1000, 99.9}, {10000, 99.99}} {
		if len(r.requests) >= q.from {
			quantiles = append(quantiles, q.p)
		}
	}
	var tables []multiTurnTable
	for _, share := range r.o.shares {
		left := r.requests[int(share*float64(len(r.requests))):]
		end := 0.0
		for _, q := range left {
			end = max(end, q.start+q.e2el)
		}
		runtime := (end - left[0].start) / 1000
		t := multiTurnTable{share: share, quantiles: quantiles, facts: [][2]any{{"runtime_sec", runtime}, {"requests_per_sec", float64(len(left)) / runtime}}}
		if r.o.WarmupStep {
			t.facts = append(t.facts, [2]any{"warmup_runtime_sec", r.warmup.Seconds()}, [2]any{"total_runtime_incl_warmup_sec", runtime + r.warmup.Seconds()})
		}
		for _, column := range multiTurnColumns {
			if !column.inTable {
				continue
			}
			var values []float64
			for _, q := range left {
				if v := column.of(q); !math.IsNaN(v) {
					values = append(values, v)
				}
			}
			t.rows = append(t.rows, multiTurnRow{column.name, describe(values, quantiles)})
		}
		tables = append(tables, t)
	}
	return tables
}

// multiTurnColumns are the figures of a request, in the script's order and by its names.
var multiTurnColumns = []struct {
	name    string
	inTable bool
	of      func(multiTurnRequest) float64
}{
	{"ttft_ms", true, func(q multiTurnRequest) float64 { return q.ttft }},
	{"tpot_ms", true, func(q multiTurnRequest) float64 { return q.tpot }},
	{"latency_ms", true, func(q multiTurnRequest) float64 { return q.e2el }},
	{"start_time_ms", false, func(q multiTurnRequest) float64 { return q.start }},
	{"input_num_turns", true, func(q multiTurnRequest) float64 { return float64(q.messages) }},
	{"input_num_tokens", true, func(q multiTurnRequest) float64 { return q.input }},
	{"output_num_tokens", true, func(q multiTurnRequest) float64 { return q.output }},
	{"output_num_chunks", true, func(q multiTurnRequest) float64 { return q.chunks }},
	{"output_num_first_chunk_tokens", false, func(q multiTurnRequest) float64 { return q.first }},
	{"approx_cached_percent", false, func(q multiTurnRequest) float64 { return q.cached }},
}

// describe is count, mean, standard deviation of a sample, minimum, quantiles and maximum. What nothing gives is NaN.
func describe(values, quantiles []float64) []float64 {
	slices.Sort(values)
	n := len(values)
	mean, std := numpy.Mean(values), math.NaN()
	if n > 1 {
		std = numpy.Std(values) * math.Sqrt(float64(n)/float64(n-1))
	}
	out := []float64{float64(n), mean, std, numpy.PercentileSorted(values, 0)}
	for _, p := range quantiles {
		out = append(out, numpy.PercentileSorted(values, p))
	}
	return append(out, numpy.PercentileSorted(values, 100))
}

func (t *multiTurnTable) heads() []string {
	heads := []string{"count", "mean", "std", "min"}
	for _, p := range t.quantiles {
		heads = append(heads, percent(p)+"%")
	}
	return append(heads, "max")
}

// settings are the load in the script's words.
func (r *multiTurnReport) settings() [][2]any {
	o := r.o
	active := any(nil)
	if o.MaxActive != nil {
		active = *o.MaxActive
	}
	list := [][2]any{{"model", o.Model}, {"num_clients", o.NumClients}, {"num_conversations", r.set.Len()}, {"active_conversations", active}, {"seed", o.Seed}}
	if o.LimitMin > 0 {
		list = append(list, [2]any{"min_tokens", o.LimitMin})
	}
	if o.LimitMax > 0 {
		list = append(list, [2]any{"max_tokens", o.LimitMax})
	}
	return list
}

func (r *multiTurnReport) print(w io.Writer, parameters [][2]string, tables []multiTurnTable) error {
	t := &lines{w: w}
	rule := strings.Repeat("-", 100)
	t.say("%s\nParameters:", rule)
	for _, p := range r.settings() {
		t.say("%s=%s", p[0], argparse.Str(p[1]))
	}
	if parameters != nil {
		t.say("Conversations Generation Parameters:")
		for _, p := range parameters {
			t.say("%s=%s", p[0], p[1])
		}
	}
	t.say("%s", rule)
	for _, table := range tables {
		if len(tables) > 1 || table.share > 0 {
			t.say("Statistics summary (assuming %.0f%% warmup samples):", table.share*100)
		} else {
			t.say("Statistics summary:")
		}
		for _, fact := range table.facts {
			t.say("%s = %.3f", fact[0], fact[1])
		}
		t.say("%s", rule)
		t.say("%s", table.text())
		t.say("%s", rule)
	}
	return t.err
}

// text is the table in columns.
func (t *multiTurnTable) text() string {
	grid := [][]string{append([]string{""}, t.heads()...)}
	for _, row := range t.rows {
		cells := []string{row.name, strconv.Itoa(int(row.values[0]))}
		for _, v := range row.values[1:] {
			if math.IsNaN(v) {
				cells = append(cells, "-")
			} else {
				cells = append(cells, fmt.Sprintf("%.2f", v))
			}
		}
		grid = append(grid, cells)
	}
	var b strings.Builder
	for i, row := range grid {
		if i > 0 {
			b.WriteByte('\n')
		}
		for c, cell := range row {
			width := 0
			for _, other := range grid {
				width = max(width, len(other[c]))
			}
			if c == 0 {
				fmt.Fprintf(&b, "%-*s", width, cell)
			} else {
				fmt.Fprintf(&b, "  %*s", width, cell)
			}
		}
	}
	return b.String()
}

// save writes the files that were asked for.
func (r *multiTurnReport) save(talk io.Writer, parameters [][2]string, tables []multiTurnTable) error {
	var err error
	if path := r.o.OutputFile; path != nil {
		err = errors.Join(err, saveIndented(*path, r.conversations(), 4))
	}
	if path := r.o.StatsFile; path != nil {
		if dir := filepath.Dir(*path); dir != "." {
			err = errors.Join(err, os.MkdirAll(dir, 0o777))
		}
		err = errors.Join(err, saveIndented(*path, r.requestList(), 2))
	}
	if r.o.Excel {
		name := fmt.Sprintf("statistics_%d_clients__%s", r.o.NumClients, time.Now().Format("02-01-2006_15-04-05"))
		err = errors.Join(err, saveSheet(name+"_summary.csv", r.summarySheet(parameters, tables)), saveSheet(name+"_requests.csv", r.requestSheet()))
		fmt.Fprintf(talk, "note: no .xlsx file is written; spreadsheets open %s_summary.csv and %s_requests.csv\n", name, name)
	}
	return err
}

// conversations are those that were held to their end, with the server's answers in place of the file's.
func (r *multiTurnReport) conversations() []any {
	list := []any{}
	for c := range r.set.Len() {
		sample := r.set.At(c)
		wanted := 1 + len(sample.Later)
		if r.o.MaxTurns != nil {
			wanted = min(wanted, (*r.o.MaxTurns+1)/2)
		}
		if len(r.replies[c]) < wanted {
			continue
		}
		messages := []any{}
		for n := range 1 + len(sample.Later) {
			turn := turnOf(sample, n)
			answer, ok := r.replies[c][n]
			if !ok {
				answer = turn.Answer
			}
			messages = append(messages, pairs([][2]any{{"role", "user"}, {"content", turn.Text}}), pairs([][2]any{{"role", "assistant"}, {"content", answer}}))
		}
		list = append(list, pairs([][2]any{{"id", sample.ID}, {"messages", messages}}))
	}
	return list
}

// requestList are the requests as JSON; what is not known is null.
func (r *multiTurnReport) requestList() []any {
	list := []any{}
	for _, q := range r.requests {
		d := &argparse.Dict{}
		for _, c := range multiTurnColumns {
			switch v := c.of(q); {
			case math.IsNaN(v):
				d.Set(c.name, nil)
			case strings.HasPrefix(c.name, "input_num") || strings.HasPrefix(c.name, "output_num"):
				d.Set(c.name, int(v))
			default:
				d.Set(c.name, v)
			}
		}
		d.Set("conversation_id", q.id)
		list = append(list, d)
	}
	return list
}

func (r *multiTurnReport) requestSheet() [][]string {
	var head []string
	for _, c := range multiTurnColumns {
		head = append(head, c.name)
	}
	rows := [][]string{append(head, "conversation_id")}
	for _, q := range r.requests {
		var row []string
		for _, c := range multiTurnColumns {
			row = append(row, figure(c.of(q)))
		}
		rows = append(rows, append(row, q.id))
	}
	return rows
}

func (r *multiTurnReport) summarySheet(parameters [][2]string, tables []multiTurnTable) [][]string {
	var rows [][]string
	for _, p := range r.settings() {
		rows = append(rows, []string{p[0].(string), argparse.Str(p[1])})
	}
	for _, p := range parameters {
		rows = append(rows, []string{p[0], p[1]})
	}
	for _, t := range tables {
		rows = append(rows, nil, []string{"warmup samples", percent(t.share*100) + "%"})
		for _, fact := range t.facts {
			rows = append(rows, []string{fact[0].(string), figure(fact[1].(float64))})
		}
		rows = append(rows, append([]string{""}, t.heads()...))
		for _, row := range t.rows {
			cells := []string{row.name}
			for _, v := range row.values {
				cells = append(cells, figure(v))
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

// figure is a number as a cell; what was not measured is empty.
func figure(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func saveSheet(path string, rows [][]string) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return report.Save(path, b.Bytes())
}

// verify compares answers with those of the file.
func (r *multiTurnReport) verify(out io.Writer) error {
	if !r.o.VerifyOutput {
		return nil
	}
	const most = 10
	differ, compared := 0, 0
	t := &lines{w: out}
	for c := range r.set.Len() {
		sample := r.set.At(c)
		for n := range 1 + len(sample.Later) {
			got, ok := r.replies[c][n]
			if !ok {
				continue
			}
			compared++
			want := turnOf(sample, n).Answer
			if got == want {
				continue
			}
			if differ++; differ <= most {
				t.say("%s, answer %d is %s (%d bytes); the file has %s (%d bytes)", sample.ID, n+1, shortened(got), len(got), shortened(want), len(want))
			}
		}
	}
	if differ == 0 {
		t.say("all %d answers are those of %s", compared, r.o.InputFile)
		return t.err
	}
	return errors.Join(t.err, fmt.Errorf("--verify-output: %d of %d answers are not those of %s", differ, compared, r.o.InputFile))
}

// shortened is a text in quotes, its middle left out where it is long.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 100 {
		text = string(runes[:40]) + "..." + string(runes[len(runes)-40:])
	}
	return strconv.Quote(text)
}
