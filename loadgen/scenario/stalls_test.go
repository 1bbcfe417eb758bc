package scenario

import (
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"servebench/loadgen/sim"
	"servebench/results/summary"
)

// TestStallsOfTheSimulator has the simulator stand still as a whole, and with one stream alone: the report says which, and for how long.
func TestStallsOfTheSimulator(t *testing.T) {
	const streams, stall = 6, 500 * time.Millisecond
	for _, tc := range []struct {
		name, fault string
		kind        summary.StallKind
		held        int
	}{
		{"engine", "freeze=500ms@20,from=3,to=3", summary.ServerStall, streams},
		{"request", "stall=500ms@20,join,from=3,to=3", summary.RequestStall, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fault, err := sim.ParseFault(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			// A stall of a stream holds it back alone: its tokens are computed meanwhile, and the engine goes on for the others until they are done.
			server, err := sim.New(sim.Config{Model: "m", StepBase: 15 * time.Millisecond, Faults: []sim.Fault{fault}})
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(l) })
			defer func() { server.Close(); serving.Wait() }()
			in, out := 16, 60
			s := &Scenario{
				Name: "stalls", Model: "m", Dataset: Dataset{InputLen: &in, OutputLen: &out}, Body: Body{IgnoreEOS: true},
				Load: Load{Requests: streams, Concurrency: streams},
			}
			result, err := Run(t.Context(), s, Options{Dir: filepath.Join(t.TempDir(), "run"), URL: "http://" + l.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			st := result.Summary.Stalls
			if st == nil || len(st.Worst) == 0 {
				t.Fatalf("no stalls: %+v", st)
			}
			// A busy machine adds stalls of its own.
			if !slices.ContainsFunc(st.Worst, func(w summary.Stall) bool {
				return w.Kind == tc.kind && w.Streams == tc.held && w.Open == streams && w.Length >= stall-50*time.Millisecond
			}) {
				t.Errorf("no stall of kind %s that held %d of %d streams for %v among %+v", tc.kind, tc.held, streams, stall, st.Worst)
			}
		})
	}
}
