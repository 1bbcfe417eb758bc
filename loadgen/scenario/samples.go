package scenario

import (
	"context"
	"errors"

	"servebench/datasets"
	"servebench/loadgen/api"
	"servebench/results"
)

// Samples makes a scenario's dataset and sends nothing of it. The server is asked only for what the scenario leaves
// to it: the model's name, and token counts where no tokenizer is at hand. The set is nil where the scenario has no dataset but one
// body or prompt.
func Samples(ctx context.Context, s *Scenario, o Options) (*datasets.Set, results.Prompts, error) {
	if faults := s.Faults(); len(faults) > 0 {
		var found Problems
		for _, f := range faults {
			found = append(found, Problem{Source: "scenario", Path: f.Path, Message: f.Message})
		}
		return nil, results.Prompts{}, found
	}
	if o.Watcher == nil {
		o.Watcher = silent{}
	}
	expanded, err := s.expand(&expander{run: o.Dir})
	if err != nil {
		return nil, results.Prompts{}, Problems{{Source: "scenario", Message: err.Error()}}
	}
	r := &runner{Scenario: expanded, Options: o, clock: newRunClock()}
	if o.URL != "" {
		r.Server.URL = o.URL
	}
	r.host = &host{url: r.Server.URL}
	r.target = r.newTarget()
	r.modelID, r.servedModel = r.Model, r.ServedModel
	if r.kind, err = api.KindOf(r.backend()); err != nil {
		return nil, results.Prompts{}, err
	}
	if r.modelID == "" && r.Tokenizer == "" { // the tokenizer is the model's
		models, err := r.target.Models(ctx)
		if err != nil {
			return nil, results.Prompts{}, errors.Join(err, errors.New("the dataset needs a tokenizer: give --model or --tokenizer"))
		}
		r.servedModel, r.modelID = models[0].ID, models[0].Root
		if r.modelID == "" {
			r.modelID = r.servedModel
		}
	}
	if r.servedModel == "" {
		r.servedModel = r.modelID
	}
	if r.idPrefix = r.Body.RequestIDPrefix; r.idPrefix == "" {
		r.idPrefix = newIDPrefix()
	}
	tok, how, err := r.chooseTokenizer(ctx)
	if err != nil {
		return nil, how, err
	}
	set, err := r.loadDataset(ctx, tok, r.prompts())
	return set, how, err
}
