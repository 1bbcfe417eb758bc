package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/internal/lazy"
	"servebench/loadgen/server"
	"servebench/loadgen/sim"
)

// A host is the server under test as this run knows it: launched, simulated, or running already.
type host struct {
	url     string
	process *server.Server // nil unless launched
	sim     *sim.Server    // nil unless simulated
	stopSim func()
	command []string
}

// stop ends what the run started. It has its own limit, so that it works after an interruption too.
func (h *host) stop() error {
	switch {
	case h == nil:
		return nil
	case h.process != nil:
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return h.process.Stop(ctx)
	case h.stopSim != nil:
		h.stopSim()
	}
	return nil
}

// traceFolder is where a server that this run starts writes its traces.
func (s *Scenario) traceFolder(run string) string {
	if s.Profile != nil && s.Profile.Traces != "" && !strings.ContainsAny(s.Profile.Traces, "*?[") {
		return s.Profile.Traces
	}
	return filepath.Join(run, "server-traces")
}

// simulate starts the built-in simulator on a free port.
func (s *Scenario) simulate(run string) (*host, error) {
	config := sim.Config{
		Model: s.Model, AnyModel: true, Seed: uint64(s.Seed), MaxNumSeqs: s.Sim.MaxNumSeqs, Warmup: s.Sim.Warmup, Stacks: s.Sim.Stacks,
		FirstToken: time.Duration(s.Sim.FirstToken), BetweenTokens: time.Duration(s.Sim.BetweenTokens),
		DevMode: true, // so that a series can empty its prefix cache between runs
	}
	kind := s.Sim.Profiler
	if kind == "" && s.Profile != nil {
		kind = "cuda"
	}
	if kind != "" && kind != "none" {
		config.Device = kind
		config.ProfileDir = s.traceFolder(run)
		if err := os.MkdirAll(config.ProfileDir, 0o755); err != nil {
			return nil, err
		}
	}
	server, err := sim.New(config)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		server.Close()
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return &host{url: "http://" + listener.Addr().String(), sim: server, stopSim: func() { server.Close(); <-served }}, nil
}

// launch runs the steps before the server, then the server.
func (s *Scenario) launch(ctx context.Context, run string, note func(string)) (*host, error) {
	if err := s.before(ctx, note); err != nil {
		return nil, err
	}
	command := slices.Clone([]string(s.Server.Command))
	if s.wantsProfilerFlag(ctx, note) {
		command = append(command, "--profiler-config", fmt.Sprintf(`{"profiler": "torch", "torch_profiler_dir": %q}`, s.traceFolder(run)))
	}
	if s.Profile != nil {
		if err := os.MkdirAll(s.traceFolder(run), 0o755); err != nil {
			return nil, err
		}
	}
	if s.Server.Dir != "" {
		if err := os.MkdirAll(s.Server.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	listen := ""
	if u, err := url.Parse(s.Server.URL); err == nil {
		listen = u.Host
	}
	note("starting: " + strings.Join(command, " "))
	process, err := server.Start(ctx, server.Command{
		Args: command, Env: environment(s.Server.Env), Dir: s.Server.Dir, Log: filepath.Join(run, "server.log"), Listen: listen,
	})
	if err != nil {
		return nil, err
	}
	return &host{url: s.Server.URL, process: process, command: command}, nil
}

// before runs the steps that come before the server.
func (s *Scenario) before(ctx context.Context, note func(string)) error {
	for i, words := range s.Server.Before {
		note("running: " + strings.Join(words, " "))
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Env = append(os.Environ(), environment(s.Server.Env)...)
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, exec.ErrNotFound):
			return fmt.Errorf("server.before.%d: %s is not on this machine; where the step is not needed, leave it out with --set server.before=[]", i, words[0])
		case err != nil:
			return fmt.Errorf("server.before.%d: %s: %w\n%s", i, strings.Join(words, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

func environment(env map[string]string) []string {
	var list []string
	for _, key := range sortedKeys(env) {
		list = append(list, key+"="+env[key])
	}
	return list
}

// wantsProfilerFlag says whether the launched server is to get --profiler-config: vLLM knows the flag from 0.13
// on and mounts its profiler routes by it alone from 0.16 on.
func (s *Scenario) wantsProfilerFlag(ctx context.Context, note func(string)) bool {
	if s.Profile == nil || s.Profile.Kind == "none" || s.Profile.Kind == "sglang" || slices.Contains(s.Server.Command, "--profiler-config") {
		return false
	}
	switch s.Server.ProfilerFlag {
	case "always":
		return true
	case "never":
		return false
	}
	major, minor, ok := vllmVersion(ctx, s.Server.Command[0])
	if !ok {
		note("the version of vLLM could not be found out: --profiler-config is not given; if the profiler's routes are missing (404), add --set server.profiler_flag=always")
		return false
	}
	return major > 0 || minor >= 13
}

var versionNumber = lazy.Regexp(`^(\d+)\.(\d+)`)

// vllmVersion asks the Python that a command runs in for the version of vLLM installed there, without loading it.
func vllmVersion(ctx context.Context, program string) (major, minor int, ok bool) {
	python := program
	if !strings.HasPrefix(filepath.Base(program), "python") {
		found, err := exec.LookPath(program)
		if err != nil {
			return 0, 0, false
		}
		python = filepath.Join(filepath.Dir(found), "python3")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", "import importlib.metadata as m; print(m.version('vllm'))").Output()
	if err != nil {
		return 0, 0, false
	}
	m := versionNumber().FindStringSubmatch(strings.TrimSpace(string(out)))
	if m == nil {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	return major, minor, true
}
