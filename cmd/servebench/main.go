// Command servebench loads an LLM server, brackets the load with the server's profiler, and says what happened: to each
// request, and inside the server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. A run that failed is 1, a wrong command 2, a bar that was missed 3.
const (
	exitFailed = 1
	exitUsage  = 2
	exitMissed = 3
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the program; its result is the exit code.
func run(args []string) int {
	interrupts := watchInterrupts()
	defer interrupts.close()
	root := rootCommand(interrupts)
	root.SetArgs(args)
	return exitStatus(root.ExecuteContext(interrupts.end), os.Stderr)
}

// exitStatus is the status for a command's error, which it prints.
func exitStatus(err error, w io.Writer) int {
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintln(w, "servebench: "+code.err.Error())
		}
		return code.code
	}
	fmt.Fprintln(w, "servebench: "+err.Error())
	return exitUsage
}

// An exitCode is an error with the status that the program ends with.
type exitCode struct {
	code int
	err  error
}

func (e exitCode) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e exitCode) Unwrap() error { return e.err }

// failed makes err a failed run.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return exitCode{exitFailed, err}
}

// interrupts are the two Ctrl-C of a run: the first ends the load, the second everything.
type interrupts struct {
	// end is done at the first, leave at the second.
	end, leave context.Context
	signals    chan os.Signal
	done       chan struct{}
}

func watchInterrupts() *interrupts {
	end, stop := context.WithCancel(context.Background())
	leave, abandon := context.WithCancel(context.Background())
	i := &interrupts{end: end, leave: leave, signals: make(chan os.Signal, 2), done: make(chan struct{})}
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(i.done)
		defer abandon()
		defer stop()
		first := true
		for range i.signals {
			if first {
				fmt.Fprintln(os.Stderr, "\nstopping: the load ends, the profiler is stopped and what was measured is reported; again to leave at once")
				stop()
				first = false
				continue
			}
			abandon()
			fmt.Fprintln(os.Stderr, "\nleaving at once")
			os.Exit(exitFailed)
		}
	}()
	return i
}

func (i *interrupts) close() {
	signal.Stop(i.signals)
	close(i.signals)
	<-i.done
}

func rootCommand(i *interrupts) *cobra.Command {
	root := &cobra.Command{
		Use:   "servebench",
		Short: "Load an LLM server, profile it, and say what happened",
		Long: `servebench loads an LLM server, brackets the load with the server's profiler, puts the client's requests into the server's
trace on the same clock, and says what happened: to each request, and inside the server.`,
		Example: `  servebench run gaudi-e2e-multi --sim
  servebench bench serve --model facebook/opt-125m --port 8000 --num-prompts 100 --request-rate 10
  servebench report runs/gaudi-e2e-multi-20260102-030405`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	root.AddCommand(benchCommand(i), runCommand(i), presetsCommand(), reportCommand(), traceCommand(), compareCommand(), mergeCommand(), compactCommand(), slurmCommand(), k8sCommand(),
		verifyCommand(), viewCommand(), simCommand(), schemaCommand(), abCommand(i), doctorCommand(), versionCommand())
	return root
}

// list joins words for a sentence.
func list(words []string) string { return strings.Join(words, ", ") }
