package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/sim"
)

func simCommand() *cobra.Command {
	var c sim.Config
	var faults []string
	host, port := "127.0.0.1", 8000
	logFile := ""
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run the built-in simulator of a vLLM server",
		Long: `sim answers like a vLLM server: the OpenAI API with streams, /tokenize, /metrics and the profiler's calls. Behind it runs an engine
that batches continuously and takes time as a real one does. What it says means nothing; when it says it is recorded.`,
		Example: "  servebench sim --port 8000 --profile-dir traces --device gaudi\n  servebench sim --first-token 50ms --between-tokens 10ms",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, text := range faults {
				fault, err := sim.ParseFault(text)
				if err != nil {
					return fmt.Errorf("--fault: %w", err)
				}
				c.Faults = append(c.Faults, fault)
			}
			if logFile != "" {
				f, err := os.Create(logFile)
				if err != nil {
					return failed(err)
				}
				defer f.Close()
				c.Log = f
			}
			server, err := sim.New(c)
			if err != nil {
				return err
			}
			defer server.Close()
			listener, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			if err != nil {
				return failed(fmt.Errorf("%w: choose another --port, or 0 for a free one", err))
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "simulator: serving %s at http://%s\n", server.Config().Model, listener.Addr())
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			select {
			case err := <-served:
				return failed(err)
			case <-cmd.Context().Done():
				server.Close()
				return failed(<-served)
			}
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&host, "host", host, "listen at this `address`")
	f.IntVar(&port, "port", port, "listen at this `port`; 0 takes a free one")
	f.StringVar(&c.Model, "model", "facebook/opt-125m", "the `name` of the model")
	f.BoolVar(&c.AnyModel, "any-model", false, "serve whatever model is asked for")
	f.StringVar(&c.Device, "device", sim.CUDA, "the `kind` of engine and trace: cuda, gaudi, cpu")
	f.StringVar(&c.ProfileDir, "profile-dir", "", "write traces to this `folder`; without it the server has no profiler (404)")
	f.Uint64Var(&c.Seed, "seed", 0, "seed of answers and faults")
	f.IntVar(&c.MaxNumSeqs, "max-num-seqs", 128, "the most sequences that run at once; others queue")
	f.IntVar(&c.MaxModelLen, "max-model-len", 2048, "the longest prompt and answer together, in tokens")
	f.DurationVar(&c.FirstToken, "first-token", 0, "fixed delays instead of an engine: `time` to the first token")
	f.DurationVar(&c.BetweenTokens, "between-tokens", 0, "fixed delays: `time` between tokens")
	f.DurationVar(&c.StepBase, "step", 4*time.Millisecond, "device `time` of any step")
	f.DurationVar(&c.PromptToken, "prompt-token", 10*time.Microsecond, "device `time` a prompt token")
	f.DurationVar(&c.Sequence, "sequence", 30*time.Microsecond, "device `time` a decoding sequence")
	f.DurationVar(&c.CompileTime, "compile", 400*time.Millisecond, "`time` that the first use of a bucket costs (gaudi)")
	f.BoolVar(&c.Warmup, "warmup", false, "compile all buckets at the start (gaudi)")
	f.IntVar(&c.StreamInterval, "stream-interval", 1, "tokens in an event of a stream")
	f.IntVar(&c.Ranks, "ranks", 1, "workers, each with a trace of its own")
	f.BoolVar(&c.Stacks, "stacks", false, "put Python stacks into the traces")
	f.BoolVar(&c.DevMode, "dev", false, "open the development routes: /server_info, /reset_prefix_cache")
	f.StringArrayVar(&faults, "fault", nil, "what goes `wrong`, as in status=503,share=0.1; may be repeated")
	f.IntVar(&c.DieAfter, "die-after", 0, "die after `n` requests")
	f.StringVar(&logFile, "log", "", "write what was done when to this `file`, a JSON line each request and step")
	return cmd
}
