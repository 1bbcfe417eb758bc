//go:build unix

package profiles

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"servebench/loadgen/server"
)

func script(t *testing.T, line string, success *regexp.Regexp) *Script {
	t.Helper()
	p, err := NewScript(ScriptOptions{Success: success, Command: server.Command{
		Args: []string{"/bin/sh", "-c", line},
		Env:  []string{"VLLM_PROFILER_ENABLED=full"},
		Log:  filepath.Join(t.TempDir(), "script.log"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAScriptRunsWithItsEnvironment(t *testing.T) {
	p := script(t, `echo "mode $VLLM_PROFILER_ENABLED"`, nil)
	session, err := Bracket{Profiler: p}.Do(t.Context(), p.Wait)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Program().Tail(1); !slices.Equal(got, []string{"mode full"}) {
		t.Errorf("it said %q", got)
	}
	if m := session.Marks; m.Called || m.StartSent == 0 || m.StopAnswered < m.StartSent {
		t.Errorf("marks %+v; want moments of no calls", m)
	}
}

func TestAScriptThatFails(t *testing.T) {
	p := script(t, `echo "AssertionError: Finished profiling"; exit 1`, nil)
	_, err := Bracket{Profiler: p}.Do(t.Context(), p.Wait)
	if err == nil || !strings.HasPrefix(err.Error(), "profiler script: the server (sh) ended: exit status 1;") || !strings.HasSuffix(err.Error(), "AssertionError: Finished profiling") {
		t.Errorf("got %v", err)
	}
	p = script(t, `echo "AssertionError: Finished profiling"; exit 1`, regexp.MustCompile("AssertionError: Finished"))
	if _, err := (Bracket{Profiler: p}).Do(t.Context(), p.Wait); err != nil {
		t.Errorf("an intended assertion: %v", err)
	}
}

func TestAScriptIsInterrupted(t *testing.T) {
	p := script(t, `sleep 1000`, nil)
	cause := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Bracket{Profiler: p}.Do(ctx, func(ctx context.Context) error {
		cancel(cause)
		return p.Wait(ctx)
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v; want the Ctrl-C", err)
	}
	if p.Program().Exit() == nil {
		t.Error("the program still runs")
	}
}
