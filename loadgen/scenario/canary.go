package scenario

import (
	"sync"
	"time"

	"servebench/loadgen/canary"
	"servebench/loadgen/wire"
	"servebench/results"
)

// startCanary sets a canary to sing beside the load; nil where there can be none, or none is wanted.
func (r *runner) startCanary() *canary.Canary {
	if r.NoCanary {
		return nil
	}
	var hub *wire.Hub
	if r.client.Direct() { // else the canary goes the load's way, which is another one
		hub = r.hub
	}
	c, err := canary.Start(r.clock.Clock, hub)
	if err != nil {
		r.note("the client's own error is not measured: %v", err)
		return nil
	}
	return c
}

// noteCanary ends the canary and puts what it found, and what the connections went through, into the client's part of the manifest.
func (r *runner) noteCanary(c *canary.Canary, client *results.Client) {
	if n, ok := r.client.Retransmits(); ok {
		client.Retransmits = &n
	}
	if q, ok := r.client.Queues(); ok {
		client.ReceiveQueue = &q
	}
	if c == nil {
		return
	}
	client.Canary = c.Stop(r.client.Stamps() == "kernel")
	if found := client.Canary; found != nil {
		if found.TTFT != nil {
			client.TTFTError = &found.TTFT.P99
		}
		if found.ITL != nil {
			client.ITLError = &found.ITL.P99
		}
	}
}

// lookIntoQueues looks ten times a second until the function that it returns is called.
func (r *runner) lookIntoQueues() (stop func()) {
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-tick.C:
				r.client.LookIntoQueues()
			case <-done:
				tick.Stop()
				return
			}
		}
	})
	return func() { close(done); looking.Wait() }
}

// warmConnections is how many connections are opened before the load: as many as it can have in flight.
func (r *runner) warmConnections() int {
	const most = 1000 // of a load that sets no limit
	switch {
	case !r.WarmConnections || r.Server.HTTP2: // there requests share what was opened to find out whether the server speaks it
		return 0
	case r.Load.Concurrency > 0:
		return r.Load.Concurrency
	}
	return min(r.Load.Requests, most)
}
