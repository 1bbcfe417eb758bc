// Package canary measures how wrong the client is, while it measures. It sings beside the load: a stream from a scripted
// server inside the process, read by the same connections, stamps and reader as the load's streams, whose true times
// are known because the kernel stamps when what that server sends has left. What the client says of this stream
// and what was true differ by the client's own error at that time and on that machine.
//
// It sings in two manners. Paced by the kernel it goes on when the process gets no processor, as a server on another machine would, so that
// a starved canary errs as the load's streams do; but the kernel's timers add work of their own to the way that a segment takes. Spoken by the process it errs
// by microseconds, as a load's streams do that nothing keeps waiting.
package canary

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"servebench/datasets"
	"servebench/loadgen"
	"servebench/loadgen/api"
	"servebench/loadgen/wire"
	"servebench/results"
)

const (
	// events is how many tokens a stream of the canary has, gap the time between them, and every the time between
	// requests: 40 events a second of each manner.
	events = 5
	gap    = 20 * time.Millisecond
	every  = 125 * time.Millisecond

	// timers is the most that the kernel's timers add to an error, with some to spare: 30 us were seen at p99. What is below says nothing of the client.
	timers = 100 * time.Microsecond

	// most is how many samples of each kind are kept: seven hours of gaps.
	most = 1 << 20
)

// A Canary is one at work.
type Canary struct {
	scene   *scene
	stop    context.CancelFunc
	singing sync.WaitGroup
	found   [2]samples // by manner
}

// Start sets a canary to work. hub is what reads the load's connections, nil when that is net/http. The error says why this machine has none: it needs kernel
// stamps.
func Start(clock *wire.Clock, hub *wire.Hub) (*Canary, error) {
	s, err := newScene(clock, hub, gap)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Canary{scene: s, stop: stop}
	for m := range c.found {
		c.singing.Go(func() {
			voice, err := s.voice(ctx, m, manner(m))
			if err != nil {
				return // nothing will have been measured
			}
			defer voice.close()
			pacer := wire.Timers(clock)
			// One sings in the pauses of the other.
			for due := clock.Now() + int64(m)*int64(every)/2; pacer.Until(ctx, due) == nil; due = max(due+int64(every), clock.Now()) {
				voice.sing(ctx, events, &c.found[m])
			}
		})
	}
	return c, nil
}

// Stop ends the canary and returns what it found; nil when it found nothing. kernel says by whose stamps the load was measured: the
// kernel's, or the client's own.
func (c *Canary) Stop(kernel bool) *results.Canary {
	c.stop()
	c.singing.Wait()
	c.scene.close()
	return sum(&c.found, kernel)
}

// Rehearse measures the client's error at a load of so many streams at once, each with so many events one gap apart, without any
// other server. The server's part of the work is done by the kernel, on the same processors, but for one stream in ten, which is spoken.
func Rehearse(ctx context.Context, clock *wire.Clock, streams, events int) (*results.Canary, error) {
	hub, err := wire.NewHub(clock)
	if err != nil {
		return nil, err
	}
	defer hub.Close()
	s, err := newScene(clock, hub, gap)
	if err != nil {
		return nil, err
	}
	defer s.close()
	voices, faults := make([]*voice, streams), make([]error, streams)
	defer func() {
		for _, v := range voices {
			if v != nil {
				v.close()
			}
		}
	}()
	var connecting sync.WaitGroup
	places := make(chan struct{}, 32) // more at a time would overflow the listener's queue
	for i := range voices {
		places <- struct{}{}
		connecting.Go(func() {
			defer func() { <-places }()
			m := paced
			if i%10 == 5 {
				m = spoken
			}
			voices[i], faults[i] = s.voice(ctx, i, m)
		})
	}
	connecting.Wait()
	for i, err := range faults {
		if err != nil {
			return nil, fmt.Errorf("stream %d of %d: %w", i+1, streams, err)
		}
	}
	found := make([]samples, streams)
	var singing sync.WaitGroup
	pacer, began := wire.Precise(clock), clock.Now()
	for i, v := range voices {
		// Spread over a gap, as the streams of a load are.
		if pacer.Until(ctx, began+int64(i)*int64(gap)/int64(streams)) != nil {
			break
		}
		singing.Go(func() { v.sing(ctx, events, &found[i]) })
	}
	singing.Wait()
	var all [2]samples
	for i, v := range voices {
		all[v.manner].join(&found[i])
	}
	return sum(&all, true), ctx.Err()
}

// A voice is a client with one connection.
type voice struct {
	scene  *scene
	client *api.Client
	id     string
	manner manner
}

// voice connects, and lets the first segments of the connection pass, which the kernel does not pace.
func (s *scene) voice(ctx context.Context, number int, m manner) (*voice, error) {
	kind, err := api.KindOf("openai")
	if err != nil {
		return nil, err
	}
	client, err := api.New(api.Config{
		URL: s.url(m), Kind: kind, Clock: s.clock, Timeout: time.Minute, Options: api.Options{Model: "canary"}, Proxy: api.NoProxy, Hub: s.hub,
	})
	if err != nil {
		return nil, err
	}
	v := &voice{scene: s, client: client, id: fmt.Sprintf("canary-%d", number), manner: m}
	var unpaced samples
	v.sing(ctx, 10, &unpaced)
	if unpaced.requests == 0 && ctx.Err() == nil {
		client.Close()
		return nil, fmt.Errorf("the canary does not sing: %s", unpaced.why)
	}
	return v, nil
}

func (v *voice) close() { v.client.Close() }

// sing sends a request and adds what was measured wrong of its reply.
func (v *voice) sing(ctx context.Context, events int, into *samples) {
	call, err := v.client.Prepare(loadgen.Request{Sample: datasets.Sample{ID: v.id, Prompt: datasets.Prompt{Text: "sing"}, OutputTokens: events}})
	if err != nil {
		into.why = err.Error()
		return
	}
	heard := v.scene.expect(v.id)
	reply := call.Send(ctx)
	truth, ok := heard(ctx)
	switch {
	case reply.Failure != nil:
		into.why = reply.Failure.Message
	case !ok || len(truth.sent) != events || len(reply.Chunks) != events || reply.Written == 0:
		into.why = "the kernel did not stamp what was sent"
	default:
		into.add(&reply, truth)
	}
}

// samples are differences between measured and true in nanoseconds, without sign.
type samples struct {
	requests int
	// by holds them by whose stamps: the kernel's, and the client's own.
	by  [2]struct{ ttft, itl []int64 }
	why string
}

// A truth is what the server's side knows of a request: when its last byte came, and when each event left.
type truth struct {
	received int64
	sent     []int64
}

func (s *samples) add(reply *results.Reply, t truth) {
	s.requests++
	for i := range s.by {
		by := &s.by[i]
		seen := func(n int) int64 {
			c := &reply.Chunks[n]
			if i == 1 {
				return int64(c.At.Add(c.Lag))
			}
			return int64(c.At)
		}
		if len(by.itl) >= most {
			continue
		}
		by.ttft = append(by.ttft, abs(seen(0)-int64(reply.Written)-(t.sent[0]-t.received)))
		for n := 1; n < len(t.sent); n++ {
			by.itl = append(by.itl, abs(seen(n)-seen(n-1)-(t.sent[n]-t.sent[n-1])))
		}
	}
}

// join takes in what another has found.
func (s *samples) join(other *samples) {
	s.requests += other.requests
	for i := range s.by {
		by, more := &s.by[i], &other.by[i]
		by.ttft, by.itl = append(by.ttft, more.ttft...), append(by.itl, more.itl...)
	}
}

// sum is what both manners found, nil when that is nothing.
func sum(found *[2]samples, kernel bool) *results.Canary {
	whose := 1
	if kernel {
		whose = 0
	}
	p, o := &found[paced].by[whose], &found[spoken].by[whose]
	if len(p.ttft)+len(o.ttft) == 0 {
		return nil
	}
	return &results.Canary{
		Requests: found[paced].requests + found[spoken].requests, Events: len(p.itl) + len(p.ttft) + len(o.itl) + len(o.ttft),
		TTFT: together(errorOf(p.ttft), errorOf(o.ttft)), ITL: together(errorOf(p.itl), errorOf(o.itl)),
	}
}

// together is the error by both manners: the larger one, but for what the kernel's timers may have added.
func together(paced, spoken *results.Error) *results.Error {
	switch {
	case spoken == nil:
		return paced
	case paced == nil:
		return spoken
	}
	of := func(paced, spoken time.Duration) time.Duration {
		if paced < timers {
			return spoken
		}
		return max(paced, spoken)
	}
	return &results.Error{P50: of(paced.P50, spoken.P50), P99: of(paced.P99, spoken.P99), Max: of(paced.Max, spoken.Max)}
}

func errorOf(list []int64) *results.Error {
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	at := func(q float64) time.Duration { return time.Duration(list[int(q*float64(len(list)-1))]) }
	return &results.Error{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

func abs(n int64) int64 { return max(n, -n) }
