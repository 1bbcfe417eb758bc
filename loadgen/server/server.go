// Package server is the server under test, seen from outside. It starts the
// command that runs it and keeps its log, waits until it is ready and warm, asks
// for its version, its models and its metrics, and stops it again with everything
// it started. A server that runs elsewhere is a Target alone: the same questions,
// without the process.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Command says how to run a server.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Env are settings (KEY=VALUE) added to this process's own environment; of two
	// with one key the last counts.
	Env []string
	// Dir is the working folder; empty is this process's.
	Dir string
	// Log is the file that the command writes to, both streams. What an earlier command
	// wrote stays in it.
	Log string
	// Listen is the host:port that the command will listen on. Start refuses when
	// someone listens there already; empty is not checked.
	Listen string
	// Patience is how long Stop waits after each signal.
	Patience Patience
}

// Patience is how long Stop waits for the server to end after each signal.
type Patience struct {
	Interrupt time.Duration // after SIGINT; zero means 20 s
	Terminate time.Duration // after SIGTERM; zero means 10 s
	Kill      time.Duration // after SIGKILL; zero means 10 s
}

func (p Patience) orUsual() Patience {
	usual := func(d *time.Duration, u time.Duration) {
		if *d <= 0 {
			*d = u
		}
	}
	usual(&p.Interrupt, 20*time.Second)
	usual(&p.Terminate, 10*time.Second)
	usual(&p.Kill, 10*time.Second)
	return p
}

// A Server is a command that was started. It is safe for concurrent use.
type Server struct {
	cmd      *exec.Cmd
	patience Patience
	log      logFile
	family   family
	done     chan struct{}

	mu      sync.Mutex
	stopped bool // Stop was called: an end is no surprise any more
	exit    *ExitError
}

// An ExitError is a server that ended, with its last words.
type ExitError struct {
	// Program is the command's first word.
	Program string
	// Code is its exit status; -1 when a signal ended it.
	Code int
	// Signal is the signal that ended it; zero when it ended by itself.
	Signal syscall.Signal
	// Log is the file it wrote to and Lines the last lines in it.
	Log   string
	Lines []string
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = "signal " + e.Signal.String()
	}
	text := fmt.Sprintf("the server (%s) ended: %s; its log is %s", e.Program, how, e.Log)
	if len(e.Lines) > 0 {
		text += "; it ends with\n    " + strings.Join(e.Lines, "\n    ")
	}
	return text
}

// Success says that the command ended by itself with status 0.
func (e *ExitError) Success() bool { return e.Code == 0 }

// ErrInUse is a port that someone listens on already.
var ErrInUse = errors.New("the port is in use")

// lastLines is how many lines of the log an error quotes.
const lastLines = 20

// Start runs the command in a process group of its own, so that a Ctrl-C meant for this
// process does not reach it. The command writes straight into its log file: it goes on
// writing should this process be killed. Where the system can (Linux), the command is
// told to terminate when this process dies. ctx bounds the start alone; end the server
// with Stop.
func Start(ctx context.Context, c Command) (*Server, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return nil, errors.New("server: no command: name the program to run and its arguments")
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if c.Listen != "" {
		if err := free(ctx, c.Listen); err != nil {
			return nil, err
		}
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			return nil, fmt.Errorf("server: its working folder: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("server: its working folder: %s is not a folder", c.Dir)
		}
	}
	name := c.Log
	if name == "" {
		name = os.DevNull
	}
	out, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("server: its log: %w", err)
	}
	defer out.Close() // the command has its own copy of the descriptor
	size, err := out.Seek(0, 2)
	if err != nil {
		return nil, fmt.Errorf("server: its log: %w", err)
	}

	s := &Server{
		cmd:      exec.Command(c.Args[0], c.Args[1:]...),
		patience: c.Patience.orUsual(),
		log:      logFile{path: c.Log, from: size},
		done:     make(chan struct{}),
	}
	s.family.mark()
	s.cmd.Env = append(append(os.Environ(), c.Env...), s.family.env())
	s.cmd.Dir = c.Dir
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = ownGroup()

	started := make(chan error)
	go s.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("server: start %s: %w", c.Args[0], err)
	}
	return s, nil
}

// run starts the command and waits for its end. It keeps its thread for that long: the
// signal sent at the parent's death is sent when the starting thread ends.
func (s *Server) run(started chan<- error) {
	unlock := lockThread()
	defer unlock()
	err := s.cmd.Start()
	if err == nil {
		s.family.lead(s.cmd.Process.Pid)
	}
	started <- err
	if err != nil {
		return
	}
	_ = s.cmd.Wait() // how it ended is in ProcessState
	exit := &ExitError{
		Program: filepath.Base(s.cmd.Path),
		Code:    s.cmd.ProcessState.ExitCode(),
		Log:     s.log.path,
		Lines:   s.log.tail(lastLines),
	}
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		exit.Signal = status.Signal()
	}
	s.mu.Lock()
	s.exit = exit
	s.mu.Unlock()
	close(s.done)
}

// Pid is the process id of the command, and on Unix of its group.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Log is the path of the log file.
func (s *Server) Log() string { return s.log.path }

// Tail is the last n lines that this server wrote to its log.
func (s *Server) Tail(n int) []string { return s.log.tail(n) }

// Done is closed when the command has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.done }

// Exit is how the command ended; nil while it runs.
func (s *Server) Exit() *ExitError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit
}

// Died is the command's end if nobody asked for it, as an error; nil while it runs and
// after Stop.
func (s *Server) Died() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exit == nil || s.stopped {
		return nil
	}
	return s.exit
}

// Wait waits for a command that ends by itself. It returns how it ended, or ctx's error
// while it still runs.
func (s *Server) Wait(ctx context.Context) (*ExitError, error) {
	select {
	case <-s.done:
		return s.Exit(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Guard returns a context that is cancelled when the server dies, with its *ExitError as
// the cause. Stop does not cancel it.
func (s *Server) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	guarded, cancel := context.WithCancelCause(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-s.done:
			if err := s.Died(); err != nil {
				cancel(err)
			}
		case <-guarded.Done():
		}
	}()
	return guarded, func() { cancel(nil); <-left }
}

// Stop ends the server and everything it started: it signals the group to interrupt, then
// to terminate, then kills it, waiting after each as Patience says; processes that left the
// group are ended after it. When ctx is done it goes to the kill at once. It returns nil
// when nothing of the server is left, also when it had ended before.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.exit == nil { // what had died by itself stays a death
		s.stopped = true
	}
	s.mu.Unlock()

	s.family.remember()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{
		{syscall.SIGINT, s.patience.Interrupt},
		{syscall.SIGTERM, s.patience.Terminate},
	} {
		if s.gone() {
			break
		}
		s.family.signal(step.signal)
		if s.waitGone(ctx, step.wait) {
			break
		}
	}
	if !s.gone() {
		s.family.signal(syscall.SIGKILL)
		s.waitGone(context.WithoutCancel(ctx), s.patience.Kill)
	}
	s.family.forget()
	if left := s.family.members(); len(left) > 0 || !s.ended() {
		return fmt.Errorf("server: %s was killed and does not end: processes %v", filepath.Base(s.cmd.Path), left)
	}
	return nil
}

func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// gone says that neither the command nor anything it started is left.
func (s *Server) gone() bool {
	return s.ended() && len(s.family.members()) == 0
}

func (s *Server) waitGone(ctx context.Context, limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	done := s.done
	for {
		select {
		case <-done:
			done = nil // closed: look at the others by the clock
		case <-look.C:
		case <-deadline.C:
			return s.gone()
		case <-ctx.Done():
			return s.gone()
		}
		if s.gone() {
			return true
		}
	}
}

// free says whether nobody listens on address. An address that is not this machine's is
// left to the command to complain about.
func free(ctx context.Context, address string) error {
	inUse := func() error {
		return fmt.Errorf("server: %s: %w: stop what listens there, give the server another port, or measure that server by its URL instead of starting one", address, ErrInUse)
	}
	var dialer net.Dialer
	quick, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("server: listen address %q: want host:port: %w", address, err)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	if conn, err := dialer.DialContext(quick, "tcp", net.JoinHostPort(host, port)); err == nil {
		conn.Close()
		return inUse()
	}
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return inUse()
	}
	if err == nil {
		listener.Close()
	}
	return nil
}
