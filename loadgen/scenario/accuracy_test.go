package scenario

import (
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"servebench/loadgen/sim"
	"servebench/results"
)

// TestReportedLatenciesAreTheSimulatorsOwn compares the TTFT and the ITL of each of 100 concurrent requests with the simulator's log:
// at 50 ms to the first token and 10 ms between tokens, within 0.5 ms (p99). A write happened somewhere between its two stamps, and
// the error counts from there. A machine so busy that the simulator itself cannot keep its schedule shows nothing.
func TestReportedLatenciesAreTheSimulatorsOwn(t *testing.T) {
	const bound = 500 * time.Microsecond
	var ttft, itl []time.Duration
	for range 5 {
		var late time.Duration
		ttft, itl, late = measure(t, 100)
		if p99(ttft) <= bound && p99(itl) <= bound {
			t.Logf("TTFT error p99 %v, ITL error p99 %v; the simulator was %v late (p99)", p99(ttft), p99(itl), late)
			return
		}
		if late <= 2*time.Millisecond {
			t.Errorf("TTFT error p99 %v, ITL error p99 %v; want at most %v (the simulator was %v late, p99)", p99(ttft), p99(itl), bound, late)
			return
		}
	}
	t.Skipf("the simulator did not keep its schedule on this machine in five tries: TTFT error p99 %v, ITL error p99 %v show nothing", p99(ttft), p99(itl))
}

func p99(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[(len(list)*99+99)/100-1]
}

// measure runs the load once: the errors of each TTFT and gap, and how late the simulator's tokens were (p99).
func measure(t *testing.T, streams int) (ttft, itl []time.Duration, late time.Duration) {
	t.Helper()
	const first, between, tokens = 50 * time.Millisecond, 10 * time.Millisecond, 20
	server, err := sim.New(sim.Config{Model: "m", FirstToken: first, BetweenTokens: between})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	stop := sync.OnceFunc(func() { server.Close(); serving.Wait() })
	defer stop()
	in, out := 16, tokens
	s := &Scenario{
		Name: "accuracy", Model: "m", Dataset: Dataset{InputLen: &in, OutputLen: &out}, Body: Body{IgnoreEOS: true},
		Load: Load{Requests: 2 * streams, Concurrency: streams},
	}
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := Run(t.Context(), s, Options{Dir: dir, URL: "http://" + l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	stop()
	log := map[string]sim.RequestLog{}
	var delays []time.Duration
	for _, r := range server.Requests() {
		log[r.XRequestID] = r
		for i, tok := range r.Tokens {
			delays = append(delays, time.Duration(tok.WriteDone-r.Received)-first-time.Duration(i)*between)
		}
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		did, ok := log[rec.RequestID]
		if !rec.OK() || !ok || len(rec.Chunks) != tokens || len(did.Tokens) != tokens {
			t.Fatalf("request %d: %+v, in the log %t, %d chunks for %d tokens; want %d", rec.ID, rec.Failure, ok, len(rec.Chunks), len(did.Tokens), tokens)
		}
		// The simulator read the request some time after it left us: what lies between is the network's and its own.
		got, _ := results.TTFT(rec, results.Service)
		sent := time.Duration(did.Received - int64(rec.Written))
		ttft = append(ttft, outside(got, time.Duration(did.Tokens[0].WriteBegan-did.Received), time.Duration(did.Tokens[0].WriteDone-did.Received)+sent))
		for k := 1; k < tokens; k++ {
			gap := time.Duration(rec.Chunks[k].At - rec.Chunks[k-1].At)
			before, after := did.Tokens[k-1], did.Tokens[k]
			itl = append(itl, outside(gap, time.Duration(after.WriteBegan-before.WriteDone), time.Duration(after.WriteDone-before.WriteBegan)))
		}
	}
	return ttft, itl, p99(delays)
}

// outside is how far d lies outside of [lo, hi].
func outside(d, lo, hi time.Duration) time.Duration {
	return max(0, lo-d, d-hi)
}
