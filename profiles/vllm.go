package profiles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"servebench/internal/lazy"
	"servebench/loadgen/server"
)

// VLLMOptions are what vLLM's /start_profile takes. Zero options send an empty body, as vLLM's own
// client does, which every version understands.
type VLLMOptions struct {
	// Prefix is put before the names of the files.
	Prefix string
	// DelayIterations is how many engine steps pass before the worker records.
	DelayIterations int
	// MaxIterations is after how many recorded steps the worker stops by itself and writes; 0 is no
	// limit.
	MaxIterations int
}

// VLLM is the profiler of vLLM, on any device.
type VLLM struct {
	target  server.Target
	options VLLMOptions
	body    []byte
}

// prefixes are the prefixes vLLM takes.
var prefixes = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// NewVLLM makes the profiler of the vLLM at target.
func NewVLLM(target server.Target, o VLLMOptions) (*VLLM, error) {
	var faults []error
	if o.Prefix != "" && !prefixes().MatchString(o.Prefix) {
		faults = append(faults, fmt.Errorf("profile prefix %q: want 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first", o.Prefix))
	}
	if o.DelayIterations < 0 {
		faults = append(faults, fmt.Errorf("profile delay of %d iterations: want 0 or more", o.DelayIterations))
	}
	if o.MaxIterations < 0 {
		faults = append(faults, fmt.Errorf("profile limit of %d iterations: want 0 (none) or more", o.MaxIterations))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	v := &VLLM{target: target, options: o}
	if o != (VLLMOptions{}) {
		body, err := json.Marshal(struct {
			Prefix string `json:"profile_prefix,omitempty"`
			Delay  int    `json:"delay_iterations,omitempty"`
			Max    int    `json:"max_iterations,omitempty"`
		}{o.Prefix, o.DelayIterations, o.MaxIterations})
		if err != nil {
			return nil, err
		}
		v.body = body
	}
	return v, nil
}

var vllmHints = hints{
	notConfigured: `the server runs without a profiler: start it with --profiler-config '{"profiler":"torch","torch_profiler_dir":"DIR"}' ` +
		`(vLLM 0.13 and later) or with VLLM_TORCH_PROFILER_DIR=DIR in its environment (before 0.16); on Gaudi set both; --profile-optional goes on without a profile`,
	alreadyRunning: "somebody started the profiler before: POST /stop_profile ends that session (its files are written then), and try again",
	notEnabled:     "the worker has no folder to write to: set VLLM_TORCH_PROFILER_DIR=DIR in the server's environment (the Gaudi worker reads it beside --profiler-config)",
}

// Start posts /start_profile.
func (v *VLLM) Start(ctx context.Context) error {
	_, err := v.target.Do(ctx, http.MethodPost, "/start_profile", v.body)
	return refusal("start_profile", err, vllmHints)
}

// Stop posts /stop_profile.
func (v *VLLM) Stop(ctx context.Context) error {
	_, err := v.target.Do(ctx, http.MethodPost, "/stop_profile", nil)
	return refusal("stop_profile", err, vllmHints)
}

// loose says that the worker begins to record later than it answers, or ends on its own.
func (v *VLLM) loose() (start, stop bool) {
	return v.options.DelayIterations > 0, v.options.MaxIterations > 0
}
