package profiles

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"servebench/loadgen/server"
)

// SGLangOptions are what SGLang's /start_profile takes. All are optional; what is zero is not sent.
type SGLangOptions struct {
	// OutputDir is a folder on the server's machine; empty means SGLANG_TORCH_PROFILER_DIR, or /tmp.
	OutputDir string `json:"output_dir,omitempty"`
	// StartStep and NumSteps record engine steps by number; with NumSteps it stops by itself.
	StartStep int `json:"start_step,omitempty"`
	NumSteps  int `json:"num_steps,omitempty"`
	// Activities are CPU, GPU, MEM, RPD.
	Activities []string `json:"activities,omitempty"`
	// ByStage writes prefill and decode into files of their own.
	ByStage bool `json:"profile_by_stage,omitempty"`
	// WithStack and RecordShapes are torch's; nil is the server's choice.
	WithStack    *bool `json:"with_stack,omitempty"`
	RecordShapes *bool `json:"record_shapes,omitempty"`
	// MergeProfiles makes the server join the ranks' files.
	MergeProfiles bool `json:"merge_profiles,omitempty"`
	// Prefix is put before the names of the files (newer versions).
	Prefix string `json:"profile_prefix,omitempty"`
}

// SGLang is the profiler of SGLang.
type SGLang struct {
	target server.Target
	body   []byte
	starts bool // by a step's number
	stops  bool // by itself
}

// NewSGLang makes the profiler of the SGLang at target.
func NewSGLang(target server.Target, o SGLangOptions) (*SGLang, error) {
	if o.StartStep < 0 || o.NumSteps < 0 {
		return nil, fmt.Errorf("profile of %d steps from step %d: want 0 (not said) or more", o.NumSteps, o.StartStep)
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return &SGLang{target: target, body: body, starts: o.StartStep > 0, stops: o.NumSteps > 0}, nil
}

var sglangHints = hints{
	notConfigured:  "this server has no profiler route: is it SGLang? For vLLM take the profiler vllm",
	alreadyRunning: "somebody started the profiler before: POST /stop_profile ends that session, and try again",
}

// Start posts /start_profile.
func (s *SGLang) Start(ctx context.Context) error {
	_, err := s.target.Do(ctx, http.MethodPost, "/start_profile", s.body)
	return refusal("start_profile", err, sglangHints)
}

// Stop posts /stop_profile. A profile of so many steps has then ended already, and the server
// says so with an error that is none.
func (s *SGLang) Stop(ctx context.Context) error {
	_, err := s.target.Do(ctx, http.MethodPost, "/stop_profile", nil)
	if s.stops && (server.IsStatus(err, http.StatusInternalServerError) || server.IsStatus(err, http.StatusBadRequest)) {
		return nil
	}
	return refusal("stop_profile", err, sglangHints)
}

func (s *SGLang) loose() (start, stop bool) { return s.starts, s.stops }
