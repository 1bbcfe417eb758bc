package profiles

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"servebench/loadgen/server"
)

// ScriptOptions are the program of a Script.
type ScriptOptions struct {
	Command server.Command
	// Success is a line of the log that makes up for a status other than 0: single-bucket
	// profiles end with an intended assertion. Nil is none.
	Success *regexp.Regexp
}

// A Script is a program that brackets its own generation. No request is sent to it and no
// profiler call made: it is started, waited for, and what it wrote is collected.
type Script struct {
	options ScriptOptions

	mu      sync.Mutex
	program *server.Server
}

// NewScript makes a Script of a command.
func NewScript(o ScriptOptions) (*Script, error) {
	if len(o.Command.Args) == 0 {
		return nil, errors.New("profiler script: no program: name it and its arguments")
	}
	return &Script{options: o}, nil
}

// Start starts the program.
func (s *Script) Start(ctx context.Context) error {
	program, err := server.Start(ctx, s.options.Command)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.program = program
	return nil
}

// Program is the running program; nil before Start.
func (s *Script) Program() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program
}

// Wait is the load of a bracket around a Script: it returns when the program has ended, or interrupts
// it when ctx is done.
func (s *Script) Wait(ctx context.Context) error {
	program := s.Program()
	if program == nil {
		return errors.New("profiler script: not started")
	}
	if _, err := program.Wait(ctx); err != nil {
		return errors.Join(err, program.Stop(context.WithoutCancel(ctx)))
	}
	return nil
}

// Stop waits until the program has ended and says whether it succeeded. When ctx is done, it
// kills the program.
func (s *Script) Stop(ctx context.Context) error {
	program := s.Program()
	if program == nil {
		return errors.New("profiler script: not started")
	}
	exit, err := program.Wait(ctx)
	if err != nil {
		return errors.Join(err, program.Stop(ctx))
	}
	if exit.Success() {
		return nil
	}
	if s.options.Success != nil {
		for _, line := range program.Tail(1000) {
			if s.options.Success.MatchString(line) {
				return nil
			}
		}
	}
	return fmt.Errorf("profiler script: %w", exit)
}
