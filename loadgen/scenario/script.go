package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"servebench/internal/lazy"
	"servebench/loadgen/server"
	"servebench/profiles"
)

// intended is how a server that profiles one bucket ends.
var intended = lazy.Regexp(`AssertionError|Finished profiling`)

// runScript runs a program that loads and brackets an engine by itself, or a server that profiles one bucket and ends,
// and collects what it wrote.
func (r *runner) runScript(ctx context.Context, result *Result) error {
	from := r.traceSources()
	if len(from) == 0 {
		from = []string{r.traceFolder(r.Dir)}
	}
	if err := os.MkdirAll(r.traceFolder(r.Dir), 0o755); err != nil {
		return err
	}
	earlier, err := profiles.Look(from...)
	if err != nil {
		return err
	}
	if r.Options.Sim {
		return r.simulateScript(ctx, from, earlier)
	}
	if err := r.Scenario.before(ctx, func(text string) { r.Watcher.Note(text) }); err != nil {
		return err
	}
	options := profiles.ScriptOptions{Command: server.Command{
		Args: r.Server.Command, Env: environment(r.Server.Env), Dir: r.Server.Dir, Log: filepath.Join(r.Dir, "server.log"),
	}}
	if r.Server.EndsBy != "" {
		options.Success = intended()
	}
	if r.Script != nil {
		options.Command.Args = r.Script.Command
		options.Command.Env = append(options.Command.Env, "SERVEBENCH_MODEL="+r.Model)
		if r.Script.Program != "" {
			if err := os.WriteFile(filepath.Join(r.Dir, "script.py"), []byte(r.Script.Program), 0o644); err != nil {
				return err
			}
		}
	}
	if options.Command.Dir != "" {
		if err := os.MkdirAll(options.Command.Dir, 0o755); err != nil {
			return err
		}
	}
	script, err := profiles.NewScript(options)
	if err != nil {
		return err
	}
	r.Watcher.Phase("running the program; its output goes to " + options.Command.Log)
	b := profiles.Bracket{
		Profiler: script, Clock: r.clock.Clock.Now, Leave: r.Leave,
		Progress: func(p profiles.Phase, d time.Duration) { r.Watcher.Waiting(d, string(p)) },
	}
	r.session, err = b.Do(ctx, script.Wait)
	if r.session.StopError != nil {
		return err
	}
	r.noteSession("script")
	return errors.Join(err, r.collect(from, earlier))
}

// simulateScript plays the script's part on the simulator: one generation between start and stop.
func (r *runner) simulateScript(ctx context.Context, from []string, earlier profiles.Listing) error {
	h, err := r.Scenario.simulate(r.Dir)
	if err != nil {
		return err
	}
	r.host = h
	defer func() { _ = h.stop() }()
	target := server.Target{BaseURL: h.url, Clock: r.clock.Clock.Now}
	profiler, err := profiles.NewVLLM(target, profiles.VLLMOptions{})
	if err != nil {
		return err
	}
	r.Watcher.Phase("generating on the simulator")
	b := profiles.Bracket{Profiler: profiler, Clock: r.clock.Clock.Now, Leave: r.Leave}
	r.session, err = b.Do(ctx, func(ctx context.Context) error {
		body := fmt.Appendf(nil, `{"model": %q, "prompt": "San Francisco is a", "max_tokens": 7, "temperature": 0}`, r.Model)
		_, err := target.Do(ctx, "POST", "/v1/completions", body)
		return err
	})
	r.noteSession("script")
	if err != nil {
		return err
	}
	return r.collect(from, earlier)
}
