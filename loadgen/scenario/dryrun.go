package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/loadgen/api"
	"servebench/loadgen/server"
	"servebench/results"
)

// A Preview is what a run would do, found out without doing it.
type Preview struct {
	Name string
	// Asked is whom a connection was opened to, and why; empty when none was.
	Asked string
	// Steps are the commands that would be run, in order, secrets left out.
	Steps []string
	// Prompts says how prompts are made; Notes are doubts.
	Prompts string
	Notes   []string
	// Input and Output are lengths in tokens; nil when nobody knows them before the server counts.
	Samples       int
	Input, Output *Lengths
	// Warmup is the number of warm-up requests.
	Warmup int
	Stages []StagePreview
	// Request is the first request; nil for a scenario that sends nothing itself. Its headers are redacted.
	Request *http.Request
	Body    []byte
	// Series says what a series would make; empty for a single run.
	Series string
	runs   []string
}

// Lengths sum up lengths in tokens.
type Lengths struct {
	Min, P50, P99, Max int
	Mean               float64
}

// A StagePreview is what one stage would send.
type StagePreview struct {
	Name string
	// Users is the number of users of a closed loop, Limit the most requests of an open loop at once; 0 is none.
	Users, Limit int
	// Requests is how many are sent; 0 when the time decides. Length is how long it sends; 0 when the server decides.
	Requests int
	Length   time.Duration
	// Rates are requests due per second in equal parts of Length; nil for a closed loop.
	Rates []float64
	// AtOnce says that everything is due at the start.
	AtOnce bool
}

func lengthsOf(list []int) *Lengths {
	if len(list) == 0 || slices.Contains(list, -1) {
		return nil
	}
	sorted := slices.Sorted(slices.Values(list))
	at := func(p float64) int { return sorted[int(math.Ceil(p*float64(len(sorted))))-1] }
	l := &Lengths{Min: sorted[0], P50: at(0.5), P99: at(0.99), Max: sorted[len(sorted)-1]}
	for _, n := range sorted {
		l.Mean += float64(n) / float64(len(sorted))
	}
	return l
}

// DryRun finds out what a run would do. Nothing is sent and nothing is started; the one thing that is asked, where only a running server
// or the simulator can turn text into tokens, is its tokenizer, and the preview says so.
func DryRun(ctx context.Context, s *Scenario, o Options) (*Preview, error) {
	p := &Preview{Name: s.Name}
	if s.IsSeries() {
		first, err := p.series(s)
		if err != nil {
			return nil, err
		}
		s = first
	}
	if faults := s.Faults(); len(faults) > 0 {
		var found Problems
		for _, f := range faults {
			found = append(found, Problem{Source: "scenario", Path: f.Path, Message: f.Message})
		}
		return nil, found
	}
	expanded, err := s.expand(&expander{run: "RUN", script: "RUN/script.py"})
	if err != nil {
		return nil, Problems{{Source: "scenario", Message: err.Error()}}
	}
	o.Watcher = previewer{p: p}
	r := &runner{Scenario: expanded, Options: o, clock: newRunClock()}
	if o.URL != "" {
		r.Server.URL = o.URL
	}
	launches := !o.Sim && o.URL == "" && len(r.Server.Command) > 0
	p.steps(r, launches)
	if !s.sends() {
		return p, nil
	}
	return p, p.preview(ctx, r, launches)
}

// A previewer keeps notes.
type previewer struct {
	silent
	p *Preview
}

func (v previewer) Note(text string) { v.p.Notes = append(v.p.Notes, text) }

// series says what a series makes, and gives the scenario of its first run.
func (p *Preview) series(s *Scenario) (*Scenario, error) {
	first := *s
	first.Sweep, first.Search, first.Repeats = nil, nil, 0
	var points []Assignments
	if s.Sweep != nil {
		points = s.Sweep.points()
		for i, a := range points {
			p.runs = append(p.runs, fmt.Sprintf("point %d: %s", i+1, pointName(a)))
		}
		one, err := s.With(points[0])
		if err != nil {
			return nil, err
		}
		first = *one
		first.Search = nil
	}
	switch {
	case s.Search != nil:
		q := s.Search.withDefaults()
		p.Series = fmt.Sprintf("search along %s from %g, times %g while everything holds, then halving down to %.3g %%; at most %d runs", q.Field, q.From, q.Grow,
			float64(q.Tolerance)*100, q.Runs)
		if s.Sweep != nil {
			p.Series = fmt.Sprintf("sweep: %d points, and at each of them a ", len(points)) + p.Series
		}
		for _, b := range s.Objectives.Bounds {
			p.runs = append(p.runs, "to be met: "+b.String())
		}
		q.set(&first.Load, q.From)
	case s.Sweep != nil:
		p.Series = fmt.Sprintf("sweep: %d points, %d runs", len(points), len(points)*max(1, s.Repeats))
	default:
		p.Series = fmt.Sprintf("%d runs of the same scenario", s.Repeats)
	}
	return &first, nil
}

// steps are the commands around the load.
func (p *Preview) steps(r *runner, launches bool) {
	say := func(format string, args ...any) { p.Steps = append(p.Steps, fmt.Sprintf(format, args...)) }
	words := func(w Words) string { return strings.Join(results.RedactArgs(w), " ") }
	if !r.sends() {
		if r.Script != nil {
			say("run %s", words(r.Script.Command))
		} else {
			say("run %s, which ends by itself", words(r.Server.Command))
		}
		return
	}
	switch {
	case r.Options.Sim:
		say("start the simulator")
	case launches:
		for _, b := range r.Server.Before {
			say("run %s", words(b))
		}
		for _, key := range sortedKeys(r.Server.Env) {
			value := r.Server.Env[key]
			if results.Secret(key) {
				value = results.Redacted
			}
			say("set %s=%s", key, value)
		}
		say("start %s", words(r.Server.Command))
	}
	if r.Profile != nil {
		when := "around the load"
		switch {
		case r.Profile.From > 0:
			when = fmt.Sprintf("from %v after its start, for %v", r.Profile.From, r.Profile.For)
		case r.Profile.OnceRunning > 0:
			when = fmt.Sprintf("once %d requests run, for %v", r.Profile.OnceRunning, r.Profile.For)
		case r.Profile.OnceInFlight > 0:
			when = fmt.Sprintf("once %d requests are in flight, for %v", r.Profile.OnceInFlight, r.Profile.For)
		case r.Profile.Stage != "" && r.Profile.For > 0:
			when = fmt.Sprintf("from the beginning of stage %s, for %v", r.Profile.Stage, r.Profile.For)
		case r.Profile.Stage != "":
			when = "stage " + r.Profile.Stage
		}
		say("profile %s", when)
	}
}

// preview makes the prompts and the schedule.
func (p *Preview) preview(ctx context.Context, r *runner, launches bool) error {
	r.host = &host{url: r.Server.URL}
	if r.Options.Sim {
		r.host.url = "http://simulator"
	} else if r.host.url == "" {
		return errors.New("no server: give --url http://host:port, --sim, or a scenario with server.command")
	}
	var err error
	if r.kind, err = api.KindOf(r.backend()); err != nil {
		return err
	}
	r.modelID, r.servedModel = r.Model, r.ServedModel
	tok, stop, err := p.tokenizer(ctx, r, launches)
	if err != nil {
		return err
	}
	defer stop()
	if r.modelID == "" {
		r.modelID = "(what the server says)"
		p.Notes = append(p.Notes, "the scenario names no model: the run asks the server for it")
	}
	if r.servedModel == "" {
		r.servedModel = r.modelID
	}
	if r.idPrefix = r.Body.RequestIDPrefix; r.idPrefix == "" {
		r.idPrefix = "bench-xxxxxxxx-"
		p.Notes = append(p.Notes, "xxxxxxxx in the request id is drawn anew for every run")
	}
	planned := r.prompts()
	set, err := r.loadDataset(ctx, tok, planned)
	if err != nil {
		return err
	}
	if path := r.Dataset.Path; r.Dataset.Name == "hf" && path != "" {
		if _, err := os.Stat(path); err != nil {
			if p.Asked != "" {
				p.Asked += ", and "
			}
			p.Asked += "the Hub for the dataset " + path + ", unless the cache has it"
		}
	}
	var data datasets.Dataset
	rng := numpy.NewLegacy(uint32(r.Seed))
	var names []string
	if set != nil {
		if set.Len() == 0 {
			return errNoSamples
		}
		p.Notes = append(p.Notes, set.Notes...)
		data, rng = set, set.Legacy
		if len(r.Stages) == 0 && r.Load.Duration == 0 {
			planned = set.Len()
			r.Load.Requests = planned
		}
		var inputs, outputs []int
		for i := range set.Len() {
			sample := set.At(i)
			inputs, outputs = append(inputs, sample.InputTokens), append(outputs, sample.OutputTokens)
		}
		p.Samples, p.Input, p.Output = set.Len(), lengthsOf(inputs), lengthsOf(outputs)
		if r.Lora != nil {
			names = r.loraNames(set.Python, planned)
		}
	}
	p.Warmup = r.Warmup.Requests
	stages, err := r.stages(orNone(data), rng)
	if err != nil {
		return err
	}
	for _, stage := range stages {
		p.Stages = append(p.Stages, previewOf(stage))
	}
	r.target = r.newTarget()
	if err := r.connect(tok, data); err != nil {
		return err
	}
	defer r.client.Close()
	first, ok := r.requests(data, planned, names)(0)
	if !ok {
		return nil
	}
	if p.Request, err = r.client.Show(first); err != nil {
		return err
	}
	if p.Body, err = io.ReadAll(p.Request.Body); err != nil {
		return err
	}
	p.Request.Header = p.Request.Header.Clone()
	for name, values := range p.Request.Header {
		for i := range values {
			values[i] = results.RedactHeader(name, values[i])
		}
	}
	return nil
}

func orNone(d datasets.Dataset) datasets.Dataset {
	if d == nil {
		return samples{}
	}
	return d
}

// tokenizer finds what turns text into tokens, as the run would; stop ends what was started for it.
func (p *Preview) tokenizer(ctx context.Context, r *runner, launches bool) (datasets.Tokenizer, func(), error) {
	none := func() {}
	if r.Body.Exact != nil || r.Dataset.Prompt != "" {
		p.Prompts = "written in the scenario"
		return nil, none, nil
	}
	switch r.Tokenizer {
	case "none":
		p.Prompts = "token ids: no tokenizer is wanted"
		return nil, none, nil
	case "", "server":
		if r.Tokenizer == "" && r.modelID != "" {
			if tok, err := tokenizer.Load(r.modelID); err == nil {
				p.Prompts = "by the tokenizer of " + r.modelID
				return tok, none, nil
			}
		}
	default:
		tok, err := tokenizer.Load(r.Tokenizer)
		if err != nil {
			return nil, none, fmt.Errorf("tokenizer %s: %w", r.Tokenizer, err)
		}
		p.Prompts = "by the tokenizer " + r.Tokenizer
		return tok, none, nil
	}
	if launches {
		p.Prompts = "here token ids; the run asks the server's tokenizer, which is not started for a dry run"
		return nil, none, nil
	}
	stop := none
	if r.Options.Sim {
		// Its traces would lie in a run folder, which a dry run does not make.
		plain := *r.Scenario
		plain.Profile, plain.Sim.Profiler = nil, "none"
		h, err := plain.simulate("")
		if err != nil {
			return nil, none, err
		}
		r.host, stop = h, h.stopSim
		p.Asked = "the simulator, for its tokenizer"
	} else {
		p.Asked = results.RedactURL(r.host.url) + ", for its tokenizer"
	}
	target := r.newTarget()
	if r.modelID == "" {
		models, err := target.Models(ctx)
		if err != nil {
			stop()
			return nil, none, fmt.Errorf("the model is not named, and the server does not tell: %w; give model", err)
		}
		p.Asked += " and its model"
		r.servedModel = models[0].ID
		if r.modelID = models[0].Root; r.modelID == "" {
			r.modelID = r.servedModel
		}
	}
	if r.servedModel == "" {
		r.servedModel = r.modelID
	}
	tok, err := server.AskTokenizer(ctx, target, r.servedModel)
	if err != nil {
		if r.Tokenizer == "server" {
			stop()
			return nil, none, err
		}
		p.Prompts = "token ids: no tokenizer on this machine, and the server has none to ask"
		return nil, stop, nil
	}
	p.Prompts = "by the server's tokenizer"
	return tok, stop, nil
}

// pictureParts is the number of lines of a schedule's picture.
const pictureParts = 16

// previewOf counts what a stage sends when.
func previewOf(s loadgen.Stage) StagePreview {
	v := StagePreview{Name: s.Name, Users: s.Users, Limit: s.Limit, Requests: s.Count, Length: s.For}
	if s.Due == nil {
		return v
	}
	const most = 5_000_000
	var due []time.Duration
	for at := range s.Due {
		if s.Count > 0 && len(due) == s.Count || s.For > 0 && at >= s.For || len(due) == most {
			break
		}
		due = append(due, at)
	}
	v.Requests = len(due)
	if len(due) == 0 {
		return v
	}
	last := due[len(due)-1]
	if v.Length == 0 {
		v.Length = last
	}
	if last == 0 {
		v.AtOnce = true
		return v
	}
	v.Rates = make([]float64, pictureParts)
	part := v.Length.Seconds() / pictureParts
	for _, at := range due {
		v.Rates[min(pictureParts-1, int(at.Seconds()/part))] += 1 / part
	}
	return v
}

// longestBody is how much of a body a preview prints.
const longestBody = 2000

// Text writes the preview for people.
func (p *Preview) Text(w io.Writer) error {
	var b strings.Builder
	if p.Series != "" {
		fmt.Fprintf(&b, "series:   %s\n", p.Series)
		for i, line := range p.runs {
			if i == 20 {
				fmt.Fprintf(&b, "          and %d more\n", len(p.runs)-i)
				break
			}
			fmt.Fprintf(&b, "          %s\n", line)
		}
		fmt.Fprintln(&b, "          what follows is its first run")
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%-10s%s\n", map[bool]string{true: "steps:"}[i == 0], s)
	}
	if p.Prompts != "" {
		fmt.Fprintf(&b, "prompts:  %s\n", p.Prompts)
	}
	if p.Samples > 0 {
		fmt.Fprintf(&b, "dataset:  %d samples\n\n", p.Samples)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "tokens\tmin\tmean\tp50\tp99\tmax\t")
		for _, row := range []struct {
			name string
			*Lengths
		}{{"input", p.Input}, {"output", p.Output}} {
			if row.Lengths == nil {
				fmt.Fprintf(t, "%s\tnot known before the server counts\n", row.name)
				continue
			}
			fmt.Fprintf(t, "%s\t%d\t%.1f\t%d\t%d\t%d\t\n", row.name, row.Min, row.Mean, row.P50, row.P99, row.Max)
		}
		t.Flush()
		fmt.Fprintln(&b)
	}
	if p.Warmup > 0 {
		fmt.Fprintf(&b, "warm-up:  %d requests, measured apart\n", p.Warmup)
	}
	for i := range p.Stages {
		p.Stages[i].text(&b, i+1, len(p.Stages))
	}
	if p.Request != nil {
		fmt.Fprintf(&b, "first request:\n\n%s %s\n", p.Request.Method, results.RedactURL(p.Request.URL.String()))
		for _, name := range slices.Sorted(maps.Keys(p.Request.Header)) {
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(p.Request.Header[name], ", "))
		}
		fmt.Fprintf(&b, "Content-Length: %d\n\n%s\n\n", len(p.Body), bodyText(p.Body))
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	switch {
	case p.Asked == "":
		fmt.Fprintln(&b, "dry run: nothing was started, no connection was opened, nothing was sent")
	default:
		fmt.Fprintf(&b, "dry run: no request of the load was sent; asked was %s\n", p.Asked)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func bodyText(body []byte) string {
	if !utf8.Valid(body) {
		return fmt.Sprintf("(%d bytes that are no text)", len(body))
	}
	if len(body) > longestBody {
		return strings.ToValidUTF8(string(body[:longestBody]), "") + fmt.Sprintf("... (%d bytes in all)", len(body))
	}
	return string(body)
}

// text writes a stage: what it is in a line, and its requests over time as a picture.
func (s *StagePreview) text(w io.Writer, number, of int) {
	name := "load:"
	if of > 1 {
		name = fmt.Sprintf("stage %d:", number)
	}
	if s.Name != "" {
		name += " " + s.Name + ","
	}
	var words []string
	switch {
	case s.Requests > 0:
		words = append(words, fmt.Sprintf("%d requests", s.Requests))
	case s.Length > 0:
		words = append(words, "as many requests as fit")
	}
	switch {
	case s.AtOnce:
		words = append(words, "all at once")
	case s.Length > 0:
		words = append(words, fmt.Sprintf("over %v", s.Length.Round(time.Millisecond)))
	}
	switch {
	case s.Users > 0:
		words = append(words, fmt.Sprintf("%d in flight: each user sends, waits for the reply, sends again", s.Users))
	case s.Limit > 0:
		words = append(words, fmt.Sprintf("at most %d in flight", s.Limit))
	default:
		words = append(words, "however many are in flight")
	}
	fmt.Fprintf(w, "%-10s%s\n", name, strings.Join(words, ", "))
	if s.Rates == nil {
		return
	}
	highest := slices.Max(s.Rates)
	const width = 50
	fmt.Fprintf(w, "\n%12s  requests/s\n", "from")
	for i, rate := range s.Rates {
		at := time.Duration(float64(s.Length) * float64(i) / float64(len(s.Rates)))
		bar := strings.Repeat("#", int(math.Round(rate/highest*width)))
		fmt.Fprintf(w, "%12s  %-*s %.2f\n", at.Round(time.Millisecond), width, bar, rate)
	}
	fmt.Fprintln(w)
}

// CheckFile reads a scenario and finds all its faults, also those that show only when its files are opened: its dataset and program.
func CheckFile(name string, sets []string) (*Scenario, error) {
	s, err := Read(name, sets)
	if err != nil {
		return nil, err
	}
	var found Problems
	if path := s.Dataset.Path; path != "" && strings.ContainsAny(path, "/\\") && !placeholder().MatchString(path) && (path[0] == '/' || path[0] == '.') {
		if _, err := os.Stat(path); err != nil {
			p := Problem{Source: name, Path: "dataset.path", Message: err.Error()}
			if s.origin != nil {
				p, _ = s.origin.loader.place(s.origin.root, Fault{"dataset.path", err.Error()})
			}
			found = append(found, p)
		}
	}
	if len(found) > 0 {
		return nil, found
	}
	return s, nil
}
