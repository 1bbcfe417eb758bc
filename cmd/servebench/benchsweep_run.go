package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"servebench/internal/argparse"
	"servebench/loadgen/server"
)

// A sweepServer is a server that the sweep started.
type sweepServer struct {
	process *server.Server
	target  server.Target
	words   []string
}

// withServer runs what is to be run on one configuration, with the server around it. The server is a process group of its own and
// leaves nothing behind.
func (s *sweep) withServer(ctx context.Context, serve paramSet, run func(*sweepServer) error) (err error) {
	words := ours(serve.apply(s.serveWords))
	if s.dryRun {
		fmt.Fprintf(s.out, "server: %s\n", quoted(words))
		return run(nil)
	}
	address := addressOf(words)
	log := filepath.Join(s.dir, "SERVE-"+sanitized(serve.text())+".log")
	fmt.Fprintf(s.errs, "server: %s\n", quoted(words))
	process, err := server.Start(ctx, server.Command{
		Args: words, Env: []string{"VLLM_SERVER_DEV_MODE=1"}, Log: log, Listen: address,
	})
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := process.Stop(context.WithoutCancel(ctx)); stopErr != nil {
			err = errors.Join(err, stopErr)
		}
		if s.showStdout {
			if text, readErr := os.ReadFile(log); readErr == nil {
				_, _ = s.out.Write(text)
			}
		}
	}()
	target := server.Target{BaseURL: "http://" + address}
	if _, err := target.WaitReady(ctx, server.Readiness{
		Server: process, Every: time.Second, Limit: time.Duration(s.readyTimeout) * time.Second,
	}); err != nil {
		return err
	}
	return run(&sweepServer{process, target, words})
}

// bench1 is one run of the load: its result, with the parameters in it. What is there already is taken as it is.
func (s *sweep) bench1(ctx context.Context, srv *sweepServer, serve, bench paramSet, dir, file string, n int) (*argparse.Dict, error) {
	path := filepath.Join(dir, file)
	if !s.dryRun && exists(path) && n >= 0 {
		return readObject(path)
	}
	words := append(ours(bench.apply(s.benchWords)), "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-dir", dir, "--result-filename", file)
	if s.dryRun {
		fmt.Fprintf(s.out, "load:   %s\n", quoted(words))
		return nil, nil
	}
	if srv == nil {
		return nil, fmt.Errorf("%s is missing, and its server is not running", path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintf(s.errs, "load:   %s\n", quoted(words))
	guarded, release := srv.process.Guard(ctx)
	err := s.command(guarded, words)
	release()
	if died := srv.process.Died(); died != nil {
		err = died
	}
	if err != nil {
		return nil, err
	}
	result, err := readObject(path)
	if err != nil {
		return nil, fmt.Errorf("the load wrote no result: %w", err)
	}
	if n >= 0 {
		result.Set("run_number", n)
	}
	for _, set := range []paramSet{serve, bench} {
		for key, value := range set.All() {
			result.Set(key, value)
		}
	}
	if err := saveIndented(path, result, 4); err != nil {
		return nil, err
	}
	return result, s.afterRun(ctx, srv)
}

// command runs a program to its end. When it fails, the error holds its last words.
func (s *sweep) command(ctx context.Context, words []string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that a run of ours ends in good order
	cmd.WaitDelay = time.Minute
	var last tail
	cmd.Stdout, cmd.Stderr = io.Writer(&last), io.Writer(&last)
	if s.showStdout {
		cmd.Stdout = io.MultiWriter(s.out, &last)
		cmd.Stderr = io.MultiWriter(s.errs, &last)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w\n%s", quoted(words), err, strings.TrimSpace(last.String()))
	}
	return nil
}

// afterRun leaves the server as the next run should find it.
func (s *sweep) afterRun(ctx context.Context, srv *sweepServer) error {
	if len(s.afterWords) > 0 {
		return s.command(ctx, ours(s.afterWords))
	}
	program := filepath.Base(s.serveWords[0])
	switch {
	case program == "infinity_emb":
		return nil
	case !strings.HasSuffix(program, "vllm") && program != "servebench":
		return fmt.Errorf("how to empty the caches of %s is not known: give --after-bench-cmd, such as true", program)
	}
	for _, path := range []string{"/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"} {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		_, err := srv.target.Do(limited, http.MethodPost, path, nil)
		cancel()
		if server.IsStatus(err, http.StatusNotFound) && (path != "/reset_prefix_cache" || program == "servebench") {
			continue // older servers, and those without media, lack it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ours replaces the words of vLLM's load, and our own name, by this very program.
func ours(words []string) []string {
	self, err := selfPath()
	if err != nil {
		return words
	}
	switch {
	case len(words) > 0 && words[0] == "servebench":
		return append([]string{self}, words[1:]...)
	case len(words) > 2 && words[0] == "vllm" && words[1] == "bench" && words[2] == "serve":
		return append([]string{self}, words[1:]...)
	}
	return slices.Clone(words)
}

// selfPath is where this program lies. It is a variable for tests.
var selfPath = os.Executable

// addressOf is where a server's command listens.
func addressOf(words []string) string {
	host, port := "localhost", "8000"
	for i, word := range words {
		name, value, joined := strings.Cut(word, "=")
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		switch name {
		case "--host":
			host = value
		case "--port", "-p":
			port = value
		}
	}
	if host == "0.0.0.0" || host == "::" || host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// quoted is a command as one would type it.
func quoted(words []string) string {
	var list []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$&|;<>(){}*?#~`") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		list = append(list, w)
	}
	return strings.Join(list, " ")
}

// errorType is one word for a failure file.
func errorType(err error) string {
	var exit *exec.ExitError
	var died *server.ExitError
	switch {
	case errors.As(err, &died):
		return "ServerDied"
	case errors.As(err, &exit):
		return "CommandFailed"
	case errors.Is(err, context.DeadlineExceeded):
		return "Timeout"
	}
	return "Error"
}

const tailBytes = 4 << 10

// A tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if len(t.text) > 2*tailBytes {
		t.text = bytes.Clone(t.text[len(t.text)-tailBytes:])
	}
	return len(b), nil
}

func (t *tail) String() string { return string(t.text[max(0, len(t.text)-tailBytes):]) }
