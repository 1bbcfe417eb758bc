package scenario

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/loadgen/schedule"
	"servebench/loadgen/server"
	"servebench/results"
)

// Ways of making prompts, as the manifest names them.
const (
	byTokenizer = "tokenizer"
	byServer    = "server"
	byIDs       = "ids"
)

// Where no tokenizer is to be had, prompts are ids of this range: below it lie the special tokens of most models, and
// every model has a vocabulary above it.
const (
	firstPlainID = 1000
	endPlainIDs  = 2000
)

// chooseTokenizer finds what turns text into ids: the scenario's, the model's own, the server's; nil means token ids.
func (r *runner) chooseTokenizer(ctx context.Context) (datasets.Tokenizer, results.Prompts, error) {
	name := r.Tokenizer
	switch name {
	case "none":
		return nil, results.Prompts{Method: byIDs}, nil
	case "server":
		return r.serverTokenizer(ctx)
	case "":
		return r.usualTokenizer(ctx)
	}
	tok, err := tokenizer.Open(ctx, name, tokenizer.Options{})
	if err != nil {
		return nil, results.Prompts{}, fmt.Errorf("tokenizer %s: %w", name, err)
	}
	return tok, results.Prompts{Method: byTokenizer, Detail: name}, nil
}

// usualTokenizer tries what is on this machine, then the server, then does without. Nothing is fetched unasked.
func (r *runner) usualTokenizer(ctx context.Context) (datasets.Tokenizer, results.Prompts, error) {
	hub := tokenizer.NewHub()
	hub.Offline = true
	if path, err := tokenizer.Find(ctx, r.modelID, tokenizer.Options{Hub: hub}); err == nil {
		tok, err := tokenizer.Load(path)
		if err != nil {
			return nil, results.Prompts{}, err // it is there, and it cannot be read
		}
		return tok, results.Prompts{Method: byTokenizer, Detail: r.modelID}, nil
	}
	tok, how, err := r.serverTokenizer(ctx)
	if err == nil {
		return tok, how, nil
	}
	if ctx.Err() != nil {
		return nil, results.Prompts{}, ctx.Err()
	}
	r.note("no tokenizer for %s on this machine, and %v: prompts are token ids", r.modelID, err)
	return nil, results.Prompts{Method: byIDs}, nil
}

func (r *runner) serverTokenizer(ctx context.Context) (datasets.Tokenizer, results.Prompts, error) {
	tok, err := server.AskTokenizer(ctx, r.target, r.servedModel)
	if err != nil {
		return nil, results.Prompts{}, err
	}
	return tok, results.Prompts{Method: byServer, Detail: "/tokenize and /detokenize"}, nil
}

// loadDataset makes the samples.
func (r *runner) loadDataset(ctx context.Context, tok datasets.Tokenizer, requests int) (*datasets.Set, error) {
	d := &r.Dataset
	if r.Body.Exact != nil || d.Prompt != "" {
		return nil, nil
	}
	name := d.Name
	if name == "" {
		name = "random"
	}
	src, err := datasets.New(name)
	if err != nil {
		return nil, fmt.Errorf("dataset.name: %w", err)
	}
	settings := map[string]any{}
	put := func(key string, value *int) {
		if value != nil {
			settings[key] = *value
		}
	}
	put("input_len", d.InputLen)
	put("output_len", d.OutputLen)
	put("prefix_len", d.PrefixLen)
	if d.Path != "" {
		settings["path"] = d.Path
	}
	if d.RangeRatio != (Ratio{}) {
		settings["input_range"], settings["output_range"] = d.RangeRatio.Input, d.RangeRatio.Output
	}
	if d.LegacyRangeRatio {
		settings["legacy_ratio"] = true
	}
	if tok == nil && name == "random" {
		settings["token_ids"], settings["first_id"], settings["vocab_size"] = true, firstPlainID, endPlainIDs
	}
	if err := configure(src, settings); err != nil {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	if d.Options != nil {
		if err := strict(d.Options, src); err != nil {
			return nil, fmt.Errorf("dataset.options: %w", err)
		}
	}
	if err := datasets.CheckBackend(src, r.backend()); err != nil {
		return nil, err
	}
	options := datasets.Options{
		Requests: requests, Seed: uint32(r.Seed), IDPrefix: r.idPrefix, Tokenizer: tok, NoOversample: d.NoOversample, KeepOrder: d.KeepOrder,
		Chat: d.Chat, SkipTemplate: d.SkipTemplate, Compat: r.compat(), MaxModelLen: d.MaxModelLen,
		Conversations: r.Load.Conversations != nil,
	}
	if d.TemplateArgs != nil {
		var args map[string]json.RawMessage
		if err := json.Unmarshal(d.TemplateArgs, &args); err != nil {
			return nil, fmt.Errorf("dataset.template_args: %w", err)
		}
		for _, key := range slices.Sorted(maps.Keys(args)) {
			options.TemplateArgs = append(options.TemplateArgs, datasets.Member{Key: key, Value: args[key]})
		}
	}
	return datasets.Load(ctx, src, options)
}

// configure sets fields of a source by their JSON names. Each kind has its own, and an unknown one is refused by name.
func configure(src datasets.Source, settings map[string]any) error {
	text, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	return strict(text, src)
}

func strict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// newIDPrefix begins request ids as vLLM's client does.
func newIDPrefix() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "bench-" + hex.EncodeToString(b[:]) + "-"
}

// requests gives request i of the load.
func (r *runner) requests(set datasets.Dataset, planned int, names []string) func(i int) (loadgen.Request, bool) {
	timed := len(r.Stages) > 0 || r.Load.Duration > 0
	return func(i int) (loadgen.Request, bool) {
		if !timed && i >= planned {
			return loadgen.Request{}, false
		}
		var sample datasets.Sample
		if set != nil {
			sample = set.At(i % set.Len())
			if i >= set.Len() && sample.ID != "" {
				sample.ID = fmt.Sprint(r.idPrefix, i)
			}
		} else {
			sample = datasets.Sample{Prompt: datasets.Prompt{Text: r.Dataset.Prompt}, InputTokens: -1}
			if r.Body.Exact == nil {
				sample.ID = fmt.Sprint(r.idPrefix, i)
			}
			if n := r.Dataset.OutputLen; n != nil {
				sample.OutputTokens = *n
			}
		}
		if r.compat() && r.backend() != "openai-audio" { // only there does the Python client count the seconds of audio
			sample.Media = slices.Clone(sample.Media)
			for i := range sample.Media {
				sample.Media[i].Seconds = 0
			}
		}
		q := loadgen.Request{Sample: sample}
		if len(names) > 0 {
			q.Model = names[i%len(names)]
		}
		return q, true
	}
}

// loraNames are the adapters of the requests in order.
func (r *runner) loraNames(random *numpy.Python, planned int) []string {
	if r.Lora == nil || len(r.Lora.Modules) == 0 {
		return nil
	}
	if r.Lora.Assignment == "round-robin" {
		return r.Lora.Modules
	}
	names := make([]string, planned)
	for i := range names {
		names[i] = r.Lora.Modules[random.IntN(len(r.Lora.Modules))]
	}
	return names
}

// align compares the length of the first prompt with the server's count of it, as vLLM's client does for prompts that it made
// itself: a server whose tokenizer differs gets prompts that its own tokenizer cuts to the wanted length.
func (r *runner) align(ctx context.Context, set *datasets.Set) (datasets.Dataset, error) {
	name := r.Dataset.Name
	if set == nil || set.Len() == 0 || name != "" && name != "random" && name != "prefix_repetition" {
		return set, nil
	}
	first := set.At(0)
	if first.Prompt.IDs != nil || first.Prompt.List != nil || first.Prompt.JSON != nil {
		return set, nil
	}
	target := r.target
	model := r.servedModel
	if r.compat() { // the Python client asks for the model's own name, and without the user's headers
		target.Headers, model = nil, r.modelID
	}
	ids, err := target.Tokenize(ctx, model, first.Prompt.Text, false)
	if r.Aligned != nil {
		r.Aligned(len(ids), first.InputTokens, err)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		r.note("the server's /tokenize gives no answer (%v): prompt lengths are the client's own count", err)
		return set, nil
	case len(ids) == first.InputTokens:
		return set, nil
	}
	r.warn("the server counts %d tokens in the first prompt, the client %d: prompts are cut to length with the server's tokenizer", len(ids), first.InputTokens)
	return r.realign(ctx, target, model, set)
}

// realign asks the server about every prompt, 64 at a time. A prompt that the server finds too long is cut; one for which
// it has no answer stays.
func (r *runner) realign(ctx context.Context, target server.Target, model string, set *datasets.Set) (datasets.Dataset, error) {
	samples := make(samples, set.Len())
	var wg sync.WaitGroup
	slots := make(chan struct{}, 64)
	for i := range samples {
		samples[i] = set.At(i)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s := &samples[i]
			ids, err := target.Tokenize(ctx, model, s.Prompt.Text, false)
			if err != nil || len(ids) <= s.InputTokens {
				return
			}
			if text, err := target.Detokenize(ctx, model, ids[:s.InputTokens]); err == nil {
				s.Prompt.Text = text
			}
		})
	}
	wg.Wait()
	return samples, ctx.Err()
}

// rebased is the set in the order of its time stamps, which begin at 0.
func rebased(set datasets.Dataset) datasets.Dataset {
	times := make([]float64, set.Len())
	for i := range times {
		sample := set.At(i)
		times[i] = sample.Timestamp
	}
	from := schedule.Rebase(times)
	list := make(samples, 0, len(times))
	for _, i := range schedule.Order(times) {
		sample := set.At(i)
		sample.Timestamp = from[i]
		list = append(list, sample)
	}
	return list
}

// samples are a dataset of their own.
type samples []datasets.Sample

func (s samples) Len() int                 { return len(s) }
func (s samples) At(i int) datasets.Sample { return s[i] }

var errNoSamples = errors.New("the dataset has no samples")
