package scenario

import (
	"fmt"
	"os"
	"strings"

	"servebench/internal/lazy"
	"servebench/results"
)

// placeholder is ${run}, ${script}, ${dest}, ${env:NAME} or ${file:PATH}. Nothing else in a scenario is expanded.
var placeholder = lazy.Regexp(`\$\{([a-z]+)(?::([^}]*))?\}`)

// An expander fills in placeholders.
type expander struct {
	// run is the run folder, script the file of the script's program.
	run, script string
	err         error
}

func (e *expander) text(s string) string {
	return placeholder().ReplaceAllStringFunc(s, func(match string) string {
		parts := placeholder().FindStringSubmatch(match)
		switch parts[1] {
		case "run":
			return e.run
		case "script":
			return e.script
		case "dest":
			return "{dest}"
		case "env":
			value, ok := os.LookupEnv(parts[2])
			if !ok {
				e.fail("%s: the environment has no %s", match, parts[2])
			}
			return value
		case "file":
			b, err := os.ReadFile(parts[2])
			if err != nil {
				e.fail("%s: %v", match, err)
			}
			return strings.TrimRight(string(b), "\n")
		}
		e.fail("%s: no such placeholder: have ${run}, ${script}, ${dest}, ${env:NAME}, ${file:PATH}", match)
		return match
	})
}

func (e *expander) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

func (e *expander) words(list Words) Words {
	out := make(Words, len(list))
	for i, w := range list {
		out[i] = e.text(w)
	}
	return out
}

func (e *expander) table(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = e.text(v)
	}
	return out
}

// expand returns the scenario with all placeholders filled in.
func (s Scenario) expand(e *expander) (*Scenario, error) {
	s.Server.Command = e.words(s.Server.Command)
	before := make([]Words, len(s.Server.Before))
	for i, words := range s.Server.Before {
		before[i] = e.words(words)
	}
	s.Server.Before = before
	s.Server.Env = e.table(s.Server.Env)
	s.Server.Dir = e.text(s.Server.Dir)
	s.Server.URL = e.text(s.Server.URL)
	headers := make(Pairs, len(s.Headers))
	for i, h := range s.Headers {
		headers[i] = results.Pair{Key: h.Key, Value: e.text(h.Value)}
	}
	s.Headers = headers
	metadata := make(Pairs, len(s.Metadata))
	for i, p := range s.Metadata {
		metadata[i] = p // free text, which only these two forms make an offer of
		if strings.Contains(p.Value, "${env:") || strings.Contains(p.Value, "${file:") {
			metadata[i].Value = e.text(p.Value)
		}
	}
	s.Metadata = metadata
	for _, text := range []*string{&s.Model, &s.ServedModel, &s.Tokenizer, &s.Endpoint} {
		*text = e.text(*text)
	}
	s.Dataset.Path = e.text(s.Dataset.Path)
	s.Dataset.Prompt = e.text(s.Dataset.Prompt)
	if s.Script != nil {
		script := *s.Script
		script.Command = e.words(script.Command)
		s.Script = &script
	}
	if s.Profile != nil {
		profile := *s.Profile
		profile.Traces = e.text(profile.Traces)
		profile.Collect = e.text(profile.Collect)
		s.Profile = &profile
	}
	return &s, e.err
}
