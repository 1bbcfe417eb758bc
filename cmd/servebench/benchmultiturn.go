package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/datasets"
	"servebench/internal/argparse"
	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
)

// multiTurnOptions is what a command line of vLLM's multi-turn script asks for. The fields of the first part are the flags; those of
// the second are what they come to.
type multiTurnOptions struct {
	InputFile, Model, URL            string
	OutputFile, StatsFile            *string
	ServedModel, APIKey, Tokenizer   *string
	Seed, NumClients, Timeout        int
	MaxActive, MaxRequests, MaxTurns *int
	WarmupStep, NoEarlyStop          bool
	LimitMin, LimitMax               int
	Rate                             float64
	MaxRetries                       int
	Sampling                         string
	VerifyOutput, NoStream, SendID   bool
	Excel, Verbose, PrintContent     bool
	WarmupPercentages                string
	TrustRemoteCode, Insecure, NoBar bool
	Profile                          bool
	Out, TraceDir                    *string
	ExtraBody                        any

	headers []results.Pair
	// shares are the parts of the requests, from the first on, that are left out of the figures: one table each.
	shares []float64
	held   int
}

const (
	secConversations = "conversations"
	multiTurnSummary = `Loads a server with conversations whose turns carry the answers before them, as benchmark_serving_multi_turn.py of vLLM does: a command line for
that script works unchanged.`
	multiTurnExample = `  servebench sim --port 8000 &
  servebench bench multi-turn -i talks.json -m facebook/opt-125m -u http://localhost:8000 -p 2 --no-early-stop`
)

// multiTurnParser is the parser that fills o, in the order of the original's table.
func multiTurnParser(o *multiTurnOptions) *argparse.Parser {
	const (
		on     = argparse.StoreTrue
		number = argparse.Int
	)
	retries := 0
	if n, err := strconv.Atoi(os.Getenv("MULTITURN_BENCH_MAX_RETRIES")); err == nil {
		retries = n
	}
	return &argparse.Parser{
		Prog: "servebench bench multi-turn", Summary: multiTurnSummary, Example: multiTurnExample,
		Groups: []argparse.Group{
			{Title: secTarget, Summary: "the server, the model and how to reach them"},
			{Title: secConversations, Summary: "what is said"},
			{Title: secLoad, Summary: "how many clients there are, and when they speak"},
			{Title: secRequest, Summary: "what goes into every request"},
			{Title: secReport, Summary: "what is printed"},
			{Title: secResults, Summary: "files in the original's formats"},
			{Title: secRun, Summary: "our own record of the run"},
			{Title: secProfile, Summary: "the server's profiler around the load"},
		},
		Options: []*argparse.Option{
			{Flag: "--input-file", Short: "-i", Section: secConversations, Metavar: "FILE", Required: true, Into: &o.InputFile,
				Help: `JSON: a list of conversations, [{"id": "a", "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}, ...], or an object with "filetype": "generate_conversations" that says how to cut them out of text files.`},
			{Flag: "--output-file", Short: "-o", Section: secResults, Metavar: "FILE", Into: &o.OutputFile,
				Help: "Writes the conversations that were held to their end, with the server's answers, in the form of --input-file."},
			{Flag: "--seed", Section: secLoad, Type: number, Default: 0, Into: &o.Seed,
				Help: "Seeds the made-up conversations and, with its number added, each client."},
			{Flag: "--model", Short: "-m", Section: secTarget, Metavar: "NAME|DIR", Required: true, Into: &o.Model,
				Help: "The model, whose tokenizer counts and cuts texts."},
			{Flag: "--served-model-name", Section: secTarget, Metavar: "NAME", Into: &o.ServedModel,
				Help: "The model's name in requests; without it --model."},
			{Flag: "--url", Short: "-u", Section: secTarget, Default: "http://localhost:8000", Into: &o.URL,
				Help: "The server's address, without the path."},
			{Flag: "--api-key", Section: secTarget, Secret: true, Into: &o.APIKey,
				Help: "Sent as Authorization: Bearer; it is kept nowhere."},
			{Flag: "--header", Section: secRequest, Action: argparse.Append, Metavar: "NAME=VALUE", Secret: true, Into: o.header,
				Help: "A header of every request, Name: value or Name=value. Can be given more than once."},
			{Flag: "--num-clients", Short: "-p", Section: secLoad, Type: number, Default: 1, Into: &o.NumClients,
				Help: "Clients that speak at the same time. Each sends one request at a time."},
			{Flag: "--max-active-conversations", Short: "-k", Section: secLoad, Type: number, Into: &o.MaxActive,
				Help: "Conversations under way at once, of all clients; without it one for each client. A client goes through its own by turns."},
			{Flag: "--max-num-requests", Short: "-n", Section: secLoad, Type: number, Into: &o.MaxRequests,
				Help: "Most requests of all clients together; each client gets its equal part."},
			{Flag: "--warmup-step", Section: secLoad, Action: on, Into: &o.WarmupStep,
				Help: "First sends the first question of every conversation, measured apart; the load begins with the second."},
			{Flag: "--max-turns", Section: secConversations, Type: number, Into: &o.MaxTurns,
				Help: "Most messages of a conversation, questions and answers together."},
			{Flag: "--no-early-stop", Section: secLoad, Action: on, Into: &o.NoEarlyStop,
				Help: "Holds all conversations to their end. Without it the load ends as soon as one client has nothing more to do."},
			{Flag: "--limit-max-tokens", Section: secRequest, Type: number, Default: 0, Into: &o.LimitMax,
				Help: "Most tokens of every answer. 0 takes the length of the answer in the file, a negative number sets no limit. Above 0 it needs --limit-min-tokens."},
			{Flag: "--limit-min-tokens", Section: secRequest, Type: number, Default: 0, Into: &o.LimitMin,
				Help: "Least tokens of every answer, if above 0; then it needs --limit-max-tokens."},
			{Flag: "--request-rate", Section: secLoad, Type: argparse.Float, Default: 0, Into: &o.Rate,
				Help: "After each reply a client pauses for an exponentially distributed time of 1/rate seconds on average; 0 is no pause."},
			{Flag: "--max-retries", Section: secLoad, Type: number, Default: retries, Into: &o.MaxRetries,
				Help: "Accepted for old command lines. A failed request is a result and is never sent again."},
			{Flag: "--conversation-sampling", Section: secLoad, Type: argparse.Custom, TypeName: "ConversationSampling", Default: "round_robin", Choices: samplings,
				Convert: samplingOf, Into: &o.Sampling,
				Help: "Which of its conversations a client goes on with."},
			{Flag: "--verify-output", Section: secReport, Action: on, Into: &o.VerifyOutput,
				Help: "Compares answers with those in the file; a difference is told, and the exit status is 1."},
			{Flag: "--request-timeout-sec", Section: secRequest, Type: number, Default: 120, Into: &o.Timeout,
				Help: "Seconds that a request may take; at least 0.2 s for each token of the longest answer asked for."},
			{Flag: "--no-stream", Section: secRequest, Action: on, Into: &o.NoStream,
				Help: "Asks for whole replies: the time to the first token is that to the end then."},
			{Flag: "--send-conversation-id", Section: secRequest, Action: on, Into: &o.SendID,
				Help: "Sends the conversation's id, as X-Session-ID and as conversation_id in the body, for proxies that keep a conversation on one server."},
			{Flag: "--excel-output", Short: "-e", Section: secResults, Action: on, Into: &o.Excel,
				Help: "Writes the tables and the requests as two CSV files, which spreadsheets open; there are no .xlsx files here."},
			{Flag: "--stats-json-output", Section: secResults, Metavar: "FILE", Into: &o.StatsFile,
				Help: "Writes the figures of each request as JSON."},
			{Flag: "--verbose", Short: "-v", Section: secReport, Action: on, Into: &o.Verbose,
				Help: "A line for each request."},
			{Flag: "--print-content", Section: secReport, Action: on, Into: &o.PrintContent,
				Help: "Prints questions and answers."},
			{Flag: "--warmup-percentages", Section: secReport, Metavar: "LIST", Default: "0%", Into: &o.WarmupPercentages,
				Help: "Shares of the requests, from the first on, that are left out of the figures: one table for each, as 0%,50%."},
			{Flag: "--trust-remote-code", Section: secTarget, Action: on, Into: &o.TrustRemoteCode,
				Help: "Accepted for old command lines. Nothing is ever executed."},

			{Flag: "--tokenizer", Section: secTarget, Metavar: "NAME|DIR", Extension: true, Into: &o.Tokenizer,
				Help: "Tokenizer's name or folder; without it the model's, else the server's."},
			{Flag: "--insecure", Section: secTarget, Action: on, Extension: true, Into: &o.Insecure, Help: "Does not check TLS certificates."},
			{Flag: "--extra-body", Section: secRequest, Type: argparse.JSON, Extension: true, Into: &o.ExtraBody,
				Help: `JSON object merged into every request's body, e.g. '{"temperature": 0}'.`},
			{Flag: "--disable-tqdm", Section: secReport, Action: on, Extension: true, Into: &o.NoBar, Help: "Shows no progress."},
			{Flag: "--out", Section: secRun, Metavar: "DIR", Extension: true, Into: &o.Out,
				Help: "Keeps the run: every request with all its stamps, the report, traces. Nothing there is overwritten."},
			{Flag: "--profile", Section: secProfile, Action: on, Extension: true, Into: &o.Profile,
				Help: "Starts the server's profiler before the load and stops it after; keeps the run."},
			{Flag: "--trace-dir", Section: secProfile, Metavar: "DIR|GLOB", Extension: true, Into: &o.TraceDir,
				Help: "Where the server writes its trace files, as seen from here."},
		},
	}
}

var samplings = []string{"round_robin", "random"}

func samplingOf(word string) (any, error) {
	if !slices.Contains(samplings, word) {
		return nil, errors.New("unknown")
	}
	return word, nil
}

// header takes the words of --header.
func (o *multiTurnOptions) header(value any) error {
	o.headers = nil
	words, _ := value.([]any)
	for _, word := range words {
		text := word.(string)
		separator := ":"
		if !strings.Contains(text, separator) {
			separator = "="
		}
		name, value, ok := strings.Cut(text, separator)
		if name = strings.TrimSpace(name); !ok || name == "" {
			//lint:ignore ST1005 the script's words
			return errors.New("Headers must be provided as 'Header-Name: value' or 'Header-Name=value'")
		}
		o.headers = append(o.headers, results.Pair{Key: name, Value: strings.TrimSpace(value)})
	}
	return nil
}

// check says what of the command line makes no sense, before anything is asked.
func (o *multiTurnOptions) check() error {
	above := func(flag string, n *int) error {
		if n != nil && *n < 1 {
			return fmt.Errorf("%s %d: must be at least 1", flag, *n)
		}
		return nil
	}
	err := errors.Join(above("--num-clients", &o.NumClients), above("--max-active-conversations", o.MaxActive), above("--max-num-requests", o.MaxRequests),
		above("--max-turns", o.MaxTurns), above("--request-timeout-sec", &o.Timeout))
	if o.Rate < 0 {
		err = errors.Join(err, fmt.Errorf("--request-rate %s: must not be negative", argparse.FloatRepr(o.Rate)))
	}
	if o.Seed < 0 || o.Seed > 1<<32-1 {
		err = errors.Join(err, fmt.Errorf("--seed %d: must be 0 to 4294967295", o.Seed))
	}
	switch {
	case (o.LimitMin > 0 || o.LimitMax > 0) && (o.LimitMin < 1 || o.LimitMax < 1):
		err = errors.Join(err, errors.New("--limit-min-tokens and --limit-max-tokens: give both above 0, or neither"))
	case o.LimitMin > 0 && o.LimitMin > o.LimitMax:
		err = errors.Join(err, fmt.Errorf("--limit-min-tokens %d is more than --limit-max-tokens %d", o.LimitMin, o.LimitMax))
	}
	if object, isObject := o.ExtraBody.(*argparse.Dict); o.ExtraBody != nil && !isObject {
		err = errors.Join(err, errors.New("--extra-body: want a JSON object"))
	} else if object == nil {
		o.ExtraBody = nil
	}
	if err != nil {
		return err
	}
	active := o.NumClients
	if o.MaxActive != nil {
		active = *o.MaxActive
	}
	if o.held = active / o.NumClients; o.held < 1 {
		return fmt.Errorf("--max-active-conversations %d: must be at least --num-clients %d, each client has one", active, o.NumClients)
	}
	if o.MaxRequests != nil && *o.MaxRequests < o.NumClients {
		return fmt.Errorf("--max-num-requests %d: must be at least --num-clients %d, each client sends one", *o.MaxRequests, o.NumClients)
	}
	o.shares = []float64{0}
	if o.WarmupStep {
		return nil // as the script: what was warmed up needs no share left out
	}
	o.shares = nil
	for word := range strings.SplitSeq(o.WarmupPercentages, ",") {
		p, err := argparse.ParseFloat(strings.ReplaceAll(word, "%", ""))
		if err != nil || !(p >= 0 && p < 100) {
			return fmt.Errorf("--warmup-percentages %s: %q is no percentage from 0 to below 100", o.WarmupPercentages, word)
		}
		o.shares = append(o.shares, p/100)
	}
	slices.Sort(o.shares)
	return nil
}

// fits says whether there are conversations enough.
func (o *multiTurnOptions) fits(set datasets.Dataset) error {
	switch n := set.Len(); {
	case n < o.NumClients:
		return fmt.Errorf("%s has %d conversations for %d clients: give fewer --num-clients", o.InputFile, n, o.NumClients)
	case n < o.held*o.NumClients:
		return fmt.Errorf("%s has %d conversations: --max-active-conversations must not be more", o.InputFile, n)
	}
	return nil
}

func multiTurnCommand(i *interrupts) *cobra.Command {
	return &cobra.Command{
		Use:                "multi-turn",
		Aliases:            []string{"multi_turn"},
		Short:              "Load a server with conversations, with the flags of vLLM's multi-turn script",
		DisableFlagParsing: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, last string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, c := range multiTurnParser(&multiTurnOptions{}).Complete(args, last) {
				words = append(words, c.Word+"\t"+c.Help)
			}
			return words, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error { return benchMultiTurn(cmd, i, args) },
	}
}

func benchMultiTurn(cmd *cobra.Command, i *interrupts, args []string) error {
	o := &multiTurnOptions{}
	values, err := multiTurnParser(o).Parse(args)
	var help *argparse.Help
	var usage *argparse.Error
	switch {
	case errors.As(err, &help):
		_, err := fmt.Fprint(cmd.OutOrStdout(), help.Text)
		return err
	case errors.As(err, &usage):
		fmt.Fprint(cmd.ErrOrStderr(), usage.Text())
		return exitCode{code: usage.Status()}
	case err != nil:
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	warnings := values.Warnings
	if o.MaxRetries > 0 {
		warnings = append(warnings, fmt.Sprintf("--max-retries %d: a failed request is a result here and is not sent again", o.MaxRetries))
	}
	if o.WarmupStep && values.Given("warmup_percentages") {
		warnings = append(warnings, "--warmup-percentages is left aside: --warmup-step sends what is not to be counted before the load")
	}
	for _, w := range warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
	}
	return o.run(cmd, i)
}

// scenario turns the flags into one.
func (o *multiTurnOptions) scenario() *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "bench-multi-turn", Seed: int64(o.Seed), Model: o.Model, ServedModel: deref(o.ServedModel), Tokenizer: deref(o.Tokenizer), Backend: "openai-chat",
		Server: scenario.Server{
			URL: o.URL, Insecure: o.Insecure, AnswerWithin: seconds(float64(o.Timeout)), TokenWithin: seconds(0.2),
		},
		Headers: o.headers,
		Dataset: scenario.Dataset{Name: "conversations", Path: o.InputFile},
		Body:    scenario.Body{NoStream: o.NoStream},
		Load: scenario.Load{Concurrency: o.NumClients, Conversations: &scenario.Conversations{
			Held: o.held, Sampling: o.Sampling, PauseRate: o.Rate, Together: !o.NoEarlyStop, WarmFirst: o.WarmupStep, Session: "none",
		}},
		Report: scenario.Report{Texts: true},
	}
	talk := s.Load.Conversations
	if o.APIKey != nil {
		s.Headers = append(s.Headers, results.Pair{Key: "Authorization", Value: "Bearer " + *o.APIKey})
	}
	switch {
	case o.LimitMax < 0:
		s.Dataset.Options = scenario.JSON(`{"no_limit": true}`)
	case o.LimitMax > 0:
		s.Dataset.OutputLen = &o.LimitMax
	}
	extra, _ := o.ExtraBody.(*argparse.Dict)
	if o.LimitMin > 0 {
		merged := &argparse.Dict{}
		merged.Set("min_tokens", o.LimitMin)
		if extra != nil {
			for key, value := range extra.All() {
				merged.Set(key, value)
			}
		}
		extra = merged
	}
	if extra != nil {
		s.Body.Extra = scenario.JSON(argparse.Dumps(extra))
	}
	if o.MaxTurns != nil {
		talk.Turns = (*o.MaxTurns + 1) / 2 // a question at the bound is still asked
	}
	if o.MaxRequests != nil {
		talk.UserRequests = *o.MaxRequests / o.NumClients
	}
	if o.SendID {
		talk.Session = "body"
	}
	if o.Profile {
		s.Profile = &scenario.Profile{}
	}
	return s
}

// run carries the load out, prints what came of it and writes the files.
func (o *multiTurnOptions) run(cmd *cobra.Command, i *interrupts) error {
	s := o.scenario()
	options := scenario.Options{URL: o.URL, Traces: deref(o.TraceDir), Command: o.command(), Leave: i.leave}
	keep := true
	switch {
	case o.Out != nil:
		options.Dir = *o.Out
	case o.Profile:
		options.Dir = freshFolder(filepath.Join("runs", s.Name+"-"+time.Now().Format("20060102-150405")))
	default:
		dir, err := os.MkdirTemp("", "servebench-")
		if err != nil {
			return failed(err)
		}
		defer os.RemoveAll(dir)
		options.Dir, keep = filepath.Join(dir, "run"), false
	}
	r := &multiTurnReport{o: o}
	options.Samples = func(set datasets.Dataset) error {
		r.set = set
		return o.fits(set)
	}
	bar := newProgress(cmd.ErrOrStderr())
	bar.quiet = o.NoBar
	options.Watcher = &multiTurnWatcher{progress: bar, r: r}
	result, err := scenario.Run(cmd.Context(), s, options)
	bar.close()
	if result == nil {
		return err
	}
	if result.Summary != nil {
		err = errors.Join(err, printRun(cmd.OutOrStdout(), result.Summary, result.Server, report.Options{}))
		_, turnsErr := printTurns(cmd.OutOrStdout(), result)
		if err = errors.Join(err, turnsErr); err == nil {
			err = r.finish(cmd.OutOrStdout(), cmd.ErrOrStderr(), result)
		}
		if keep {
			err = errors.Join(err, savePage(result.Dir))
		}
	}
	if keep {
		where(cmd.ErrOrStderr(), result)
	}
	switch {
	case err != nil:
		return failed(err)
	case result.Outcome != results.OK:
		return failed(errors.New(result.Reason))
	}
	return nil
}

// command is the command line as it is kept: the key may stand behind a flag that was cut short.
func (o *multiTurnOptions) command() []string {
	words := slices.Clone(os.Args)
	if key := deref(o.APIKey); key != "" {
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], key, results.Redacted)
		}
	}
	return words
}

// A multiTurnWatcher shows requests as they end, beside the progress.
type multiTurnWatcher struct {
	*progress
	r *multiTurnReport
}

func (w *multiTurnWatcher) Record(rec *results.Record) {
	w.progress.Record(rec)
	o := w.r.o
	if rec.Kind != results.Load || !o.Verbose && !o.PrintContent {
		return
	}
	id := w.r.set.At(rec.User).ID
	if o.PrintContent {
		w.line("%s, question %d: %s", id, rec.Turn+1, w.r.turn(rec).Text)
		w.line("%s, answer %d: %s", id, rec.Turn+1, rec.Text)
	}
	if !o.Verbose {
		return
	}
	if !rec.OK() {
		w.line("%s, turn %d: failed: %s", id, rec.Turn+1, rec.Failure.Message)
		return
	}
	text := fmt.Sprintf("%s, turn %d:", id, rec.Turn+1)
	for _, name := range []string{"ttft", "tpot", "e2el"} {
		m, _ := results.MetricNamed(name)
		if d, ok := m.Value(rec, results.Service); ok {
			text += fmt.Sprintf(" %s %.2f ms", m.Label, float64(d)/float64(time.Millisecond))
		}
	}
	if n, ok := rec.Tokens(); ok {
		text += fmt.Sprintf(", tokens: %d", n)
	}
	w.line("%s", text)
}

// pairs is a JSON object of names and values in their order.
func pairs(list [][2]any) *argparse.Dict {
	d := &argparse.Dict{}
	for _, p := range list {
		d.Set(p[0], p[1])
	}
	return d
}
