package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"servebench/loadgen/server"
)

// A keeper holds on to the server between the runs of a series, and starts another one only where the server's part of the scenario
// changes. A nil keeper starts one for every run.
type keeper struct {
	host *host
	key  string
	// general is the key with the run folder taken out.
	general string
	// launches counts the servers that were started; fresh says that the last one was started for the present run.
	launches int
	fresh    bool
	// cache says what became of the prefix cache before the present run.
	cache string
}

// What became of the server's prefix cache before a run.
const (
	cacheFresh = "fresh server"
	cacheReset = "reset"
)

// take gives the run its server: the one that runs already, if it is the same, else a new one.
func (k *keeper) take(r *runner, what string, start func() (*host, error)) (*host, error) {
	if k == nil {
		r.Watcher.Phase("starting " + what)
		return start()
	}
	key, err := r.serverKey()
	if err != nil {
		return nil, err
	}
	if k.host != nil && k.key == key && k.alive() {
		k.fresh = false
		return k.host, nil
	}
	general := strings.ReplaceAll(key, r.Dir, "${run}")
	if k.host != nil && k.general == general && k.alive() {
		r.note("%s is started anew for every run, because its command, its environment or its traces' folder names ${run}", what)
	}
	if err := k.stop(); err != nil {
		r.Watcher.Warn("stopping the server: " + err.Error())
	}
	r.Watcher.Phase("starting " + what)
	h, err := start()
	if err != nil {
		return nil, err
	}
	k.host, k.key, k.general, k.fresh = h, key, general, true
	k.launches++
	return h, nil
}

func (k *keeper) alive() bool { return k.host.process == nil || k.host.process.Exit() == nil }

// goesOn says that the run's server has served a run before.
func (k *keeper) goesOn() bool { return k != nil && k.host != nil && !k.fresh }

// stop ends the server that is kept.
func (k *keeper) stop() error {
	if k == nil || k.host == nil {
		return nil
	}
	err := k.host.stop()
	k.host = nil
	return err
}

// reset empties the prefix cache of a server that may have answered prompts before.
func (k *keeper) reset(ctx context.Context, r *runner) error {
	if k == nil {
		return nil
	}
	if k.fresh && k.host != nil {
		k.cache = cacheFresh
		return nil
	}
	k.cache = cacheReset
	if err := r.target.ResetPrefixCache(ctx); err != nil {
		var status *server.StatusError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &status) && status.Status == 404:
			k.cache = "not reset: the server has no /reset_prefix_cache (vLLM has it when started with VLLM_SERVER_DEV_MODE=1)"
		default:
			k.cache = "not reset: " + err.Error()
		}
		r.warn("prompts of an earlier run may lie in the server's prefix cache: %s; sweep.seeds: run gives every run its own prompts", k.cache)
	}
	return nil
}

// serverKey is the same for two runs that can share a server. Placeholders are filled in by then, so that a command that names its
// run folder is another one in every run.
func (r *runner) serverKey() (string, error) {
	about := map[string]any{}
	if r.Options.Sim {
		about["sim"], about["model"] = r.Scenario.Sim, r.Model
	} else {
		about["before"], about["command"], about["env"], about["dir"] = r.Server.Before, r.Server.Command, r.Server.Env, r.Server.Dir
		about["url"], about["flag"] = r.Server.URL, r.Server.ProfilerFlag
	}
	if r.Profile != nil {
		about["traces"], about["profiler"] = r.traceFolder(r.Dir), r.Profile.Kind
	}
	text, err := json.Marshal(about)
	return string(text), err
}

// A stopEarly is why a run of a search was ended before its end.
type stopEarly struct{ reason string }

func (e *stopEarly) Error() string { return fmt.Sprintf("stopped early: %s", e.reason) }

// stoppedEarly is why a search ended the run; nil when it did not.
func stoppedEarly(ctx context.Context) *stopEarly {
	var early *stopEarly
	if errors.As(context.Cause(ctx), &early) {
		return early
	}
	return nil
}
