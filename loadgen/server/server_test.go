//go:build linux

package server

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pipe makes a named pipe, through which a script says where it stands. next waits for its
// next word.
func pipe(t *testing.T) (path string, next func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Read and write, so that opening waits for nobody and no end of file comes between two words.
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	words := bufio.NewScanner(file)
	return path, func() string {
		t.Helper()
		// A script that says nothing fails the test instead of hanging it.
		_ = file.SetReadDeadline(time.Now().Add(time.Minute))
		if !words.Scan() {
			t.Fatalf("the script says nothing: %v", words.Err())
		}
		return words.Text()
	}
}

func launch(t *testing.T, script string, p Patience, env ...string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Command{
		Args: []string{"/bin/sh", "-c", script}, Env: env,
		Log: filepath.Join(t.TempDir(), "server.log"), Patience: p,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killed, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Stop(killed); err != nil {
			t.Error(err)
		}
	})
	return s
}

func alive(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("process id %q: %v", pid, err)
	}
	p, ok := readProcess(n)
	return ok && !p.zombie
}

func TestADeathIsNoticedWithTheLastWords(t *testing.T) {
	s := launch(t, `echo loading; echo "out of memory" >&2; exit 3`, Patience{})
	guarded, cancel := s.Guard(t.Context())
	defer cancel()
	<-guarded.Done()
	var exit *ExitError
	if err := context.Cause(guarded); !errors.As(err, &exit) {
		t.Fatalf("cause %v; want an ExitError", err)
	}
	if exit.Code != 3 || exit.Signal != 0 || !slices.Equal(exit.Lines, []string{"loading", "out of memory"}) {
		t.Errorf("got %+v; want status 3 and both lines", exit)
	}
	want := "the server (sh) ended: exit status 3; its log is " + s.Log() + "; it ends with\n    loading\n    out of memory"
	if exit.Error() != want {
		t.Errorf("got  %s\nwant %s", exit, want)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stopping a dead server: %v", err)
	}
	if s.Died() == nil {
		t.Error("after Stop the death is forgotten")
	}
}

func TestAServerKilledFromOutside(t *testing.T) {
	path, next := pipe(t)
	s := launch(t, `echo up > "$PIPE"; sleep 1000`, Patience{}, "PIPE="+path)
	next()
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit, err := s.Wait(t.Context())
	if err != nil || exit.Code != -1 || exit.Signal != syscall.SIGKILL || !strings.Contains(exit.Error(), "ended: signal killed") {
		t.Errorf("got %v, %v; want signal killed", exit, err)
	}
}

func TestStopIsNoDeath(t *testing.T) {
	path, next := pipe(t)
	s := launch(t, `trap 'echo bye; exit 0' INT; echo up > "$PIPE"; while :; do sleep 0.02; done`, Patience{}, "PIPE="+path)
	guarded, cancel := s.Guard(t.Context())
	defer cancel()
	next()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Died(); err != nil {
		t.Errorf("Died() = %v", err)
	}
	if exit := s.Exit(); exit == nil || !exit.Success() {
		t.Errorf("Exit() = %+v; want the status 0 of its own ending", exit)
	}
	if got := s.Tail(1); !slices.Equal(got, []string{"bye"}) {
		t.Errorf("the log ends with %q; want bye: the interrupt comes first", got)
	}
	if err := guarded.Err(); err != nil {
		t.Errorf("the guarded context ended: %v", err)
	}
}

func TestStopKillsWhatIgnoresSignals(t *testing.T) {
	path, next := pipe(t)
	s := launch(t, `trap 'echo int > "$PIPE"' INT; trap 'echo term > "$PIPE"' TERM; echo up > "$PIPE"; while :; do sleep 0.02; done`,
		Patience{Interrupt: 300 * time.Millisecond, Terminate: 300 * time.Millisecond}, "PIPE="+path)
	next()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := []string{next(), next()}; !slices.Equal(got, []string{"int", "term"}) {
		t.Errorf("signals came as %v; want int, then term", got)
	}
	if exit := s.Exit(); exit == nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("Exit() = %+v; want killed", exit)
	}
}

func TestStopInAHurryKillsAtOnce(t *testing.T) {
	path, next := pipe(t)
	s := launch(t, `trap '' INT TERM; echo up > "$PIPE"; while :; do sleep 0.02; done`, Patience{Interrupt: time.Hour, Terminate: time.Hour}, "PIPE="+path)
	next()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestStopEndsTheWholeFamily(t *testing.T) {
	for _, tc := range []struct{ name, start string }{
		{"child in the group", `sleep 1000 & echo $! > "$PIPE"`},
		{"child in a session of its own", `setsid sleep 1000 & echo $! > "$PIPE"`},
		{"orphan in the group", `(sleep 1000 & echo $! > "$PIPE")`},
		{"orphan in a session of its own", `(setsid sh -c 'echo $$ > "$PIPE"; exec sleep 1000' &)`},
		{"orphan without the mark", `(PIPE2=$PIPE; env -i PIPE="$PIPE2" setsid sh -c 'echo $$ > "$PIPE"; exec sleep 1000' &)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, next := pipe(t)
			s := launch(t, tc.start+`; echo up > "$PIPE"; exec sleep 1000`, Patience{Interrupt: 200 * time.Millisecond}, "PIPE="+path)
			words := []string{next(), next()}
			child := words[0]
			if child == "up" {
				child = words[1]
			}
			if !alive(t, child) {
				t.Fatalf("process %s is not there to begin with", child)
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if alive(t, child) {
				t.Errorf("process %s is left", child)
			}
		})
	}
}

func TestStopLeavesStrangersAlone(t *testing.T) {
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	path, next := pipe(t)
	s := launch(t, `echo up > "$PIPE"; exec sleep 1000`, Patience{}, "PIPE="+path)
	other := launch(t, `echo up > "$PIPE"; exec sleep 1000`, Patience{}, "PIPE="+path)
	next()
	next()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !alive(t, strconv.Itoa(stranger.Process.Pid)) {
		t.Error("a child of this process's was ended with the server")
	}
	if other.Exit() != nil || !alive(t, strconv.Itoa(other.Pid())) {
		t.Error("another server was ended with the server")
	}
}

// TestTheServerEndsWithItsLauncher runs this test binary as the launcher, and kills it.
func TestTheServerEndsWithItsLauncher(t *testing.T) {
	if path := os.Getenv("LAUNCHER_PIPE"); path != "" {
		_, err := Start(context.Background(), Command{
			Args: []string{"/bin/sh", "-c", `trap 'echo term > "$PIPE"; exit' TERM; echo up > "$PIPE"; while :; do sleep 0.02; done`},
			Env:  []string{"PIPE=" + path},
			Log:  path + ".log",
		})
		if err != nil {
			t.Fatal(err)
		}
		select {}
	}
	path, next := pipe(t)
	launcher := exec.Command(os.Args[0], "-test.run=^TestTheServerEndsWithItsLauncher$")
	launcher.Env = append(os.Environ(), "LAUNCHER_PIPE="+path)
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "up" {
		t.Errorf("the server says %q; want up", got)
	}
	_ = launcher.Process.Kill()
	_ = launcher.Wait()
	if got := next(); got != "term" {
		t.Errorf("the server says %q; want term", got)
	}
}

func TestAPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	marker := filepath.Join(t.TempDir(), "ran")
	for _, listen := range []string{address, "0.0.0.0:" + port, ":" + port} {
		_, err = Start(t.Context(), Command{Args: []string{"touch", marker}, Listen: listen})
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), listen) {
			t.Errorf("%s: got %v; want the port in use", listen, err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the command ran all the same")
	}
}

func TestStartRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		c    Command
		want string
	}{
		{"nothing to run", Command{}, "server: no command: name the program to run and its arguments"},
		{"no such program", Command{Args: []string{"no-such-program-here"}}, `server: start no-such-program-here: exec: "no-such-program-here": executable file not found in $PATH`},
		{"no such folder", Command{Args: []string{"true"}, Dir: filepath.Join(dir, "none")}, "server: its working folder: stat " + filepath.Join(dir, "none") + ": no such file or directory"},
		{"a file as folder", Command{Args: []string{"true"}, Dir: file}, "server: its working folder: " + file + " is not a folder"},
		{"log without a folder", Command{Args: []string{"true"}, Log: filepath.Join(dir, "none", "log")}, "server: its log: open " + filepath.Join(dir, "none", "log") + ": no such file or directory"},
		{"an address without port", Command{Args: []string{"true"}, Listen: "here"}, `server: listen address "here": want host:port: address here: missing port in address`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Start(t.Context(), tc.c); err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestTheLogIsKeptAndReadFromItsStart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "server.log")
	if err := os.WriteFile(log, []byte("an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Command{Args: []string{"/bin/sh", "-c", `printf 'loading  1%%\rloading 50%%\rloading 100%%\n'; echo "$SETTING"; pwd`},
		Env: []string{"SETTING=one", "SETTING=two"}, Dir: "/", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Tail(10), []string{"loading 100%", "two", "/"}; !slices.Equal(got, want) {
		t.Errorf("Tail() = %q; want %q", got, want)
	}
	whole, err := os.ReadFile(log)
	if err != nil || !strings.HasPrefix(string(whole), "an earlier run\n") {
		t.Errorf("the log of the earlier run is gone: %q, %v", whole, err)
	}
}

func TestWaitReadyWatchesTheProcess(t *testing.T) {
	target, _ := replay(t, map[string]string{"GET /health": "health.response"})
	path, next := pipe(t)
	s := launch(t, `echo "Warmup finished in 35 secs, allocated 1.2 GiB of device memory"; echo "Application startup complete."; echo up > "$PIPE"; exec sleep 1000`, Patience{}, "PIPE="+path)
	next()
	ready, err := target.WaitReady(t.Context(), Readiness{Server: s, Line: regexp.MustCompile("startup complete"), Every: 10 * time.Millisecond})
	if err != nil || ready.Warmed != "Warmup finished in 35 secs, allocated 1.2 GiB of device memory" {
		t.Errorf("WaitReady() = %+v, %v; want the line of the warm-up", ready, err)
	}
	_, err = target.WaitReady(t.Context(), Readiness{Server: s, Line: regexp.MustCompile("never said"), Every: 10 * time.Millisecond, Limit: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), `no line of `+s.Log()+` matches "never said"; the last is "Application startup complete."`) {
		t.Errorf("a line that does not come: %v", err)
	}
}

func TestWaitReadyEndsWithTheProcess(t *testing.T) {
	// Somebody answers at the address, but it is not the server that we started.
	target, _ := replay(t, map[string]string{"GET /health": "health.response"})
	s := launch(t, `echo "ValueError: no such model"; exit 1`, Patience{})
	<-s.Done()
	_, err := target.WaitReady(t.Context(), Readiness{Server: s})
	if err == nil || !strings.HasPrefix(err.Error(), "not ready: the server (sh) ended: exit status 1;") || !strings.HasSuffix(err.Error(), "ValueError: no such model") {
		t.Errorf("got %v", err)
	}
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat(7, []byte("7 (a) (b c) S 5 6 4 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 2"))
	if want := (process{pid: 7, parent: 5, group: 6, session: 4, started: 123456}); p != want || !ok {
		t.Errorf("got %+v, %t; want %+v", p, ok, want)
	}
	if _, ok := parseStat(7, []byte("7 (a")); ok {
		t.Error("a line cut short was taken")
	}
}
