package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"servebench/internal/lazy"
)

// Readiness says what to wait for before a server is ready for a load.
type Readiness struct {
	// Server is the process behind the target, when we started it: its death ends the wait at once,
	// and its log tells the progress.
	Server *Server
	// Line has to appear in the log as well; nil asks for none. It needs Server.
	Line *regexp.Regexp
	// Every is the time between two questions; zero means half a second.
	Every time.Duration
	// Limit ends the wait; zero means that only ctx does.
	Limit time.Duration
	// Progress, when set, hears after every question how things stand.
	Progress func(Waiting)
}

// Waiting is how things stand with a server that is not ready yet.
type Waiting struct {
	Elapsed time.Duration
	// Answer is what the health check said last.
	Answer error
	// Line is the last line of the log; empty without one.
	Line string
}

// Ready is a server that was waited for.
type Ready struct {
	// After is how long it took.
	After time.Duration
	// Warmed is the log line that said that the warm-up was over (or skipped); empty when
	// none did, and then the health check alone says so: engines listen after their warm-up.
	Warmed string
}

// warmed are the words with which engines end their warm-up.
//
//   - vLLM on Gaudi: "Warmup finished in 35 secs, allocated ...", "Skipping warmup..."
//   - vLLM: "init engine (profile, create kv cache, warmup model) took 12.3 seconds"
var warmed = lazy.Regexp(`(?i)warm-?up finished|skipping warm-?up|init engine \(.*warmup.*\) took`)

// WaitReady asks the server until it is healthy and, where asked for, its log has said so. A
// status that no waiting will change (401, 403) ends it.
func (t Target) WaitReady(ctx context.Context, r Readiness) (Ready, error) {
	if r.Line != nil && (r.Server == nil || r.Server.Log() == "") {
		return Ready{}, errors.New("server: waiting for a line of the log needs a server that we started with a log")
	}
	every := r.Every
	if every <= 0 {
		every = 500 * time.Millisecond
	}
	began := time.Now()
	var deadline <-chan time.Time
	if r.Limit > 0 {
		timer := time.NewTimer(r.Limit)
		defer timer.Stop()
		deadline = timer.C
	}
	var died <-chan struct{}
	var log follower
	if r.Server != nil {
		died = r.Server.Done()
		log.log = r.Server.log
	}
	defer log.close()
	tick := time.NewTicker(every)
	defer tick.Stop()

	var state Ready
	var last Waiting
	sawLine := r.Line == nil
	for {
		asked, cancel := context.WithTimeout(ctx, max(every, 5*time.Second))
		last.Answer = t.Health(asked)
		cancel()
		for _, line := range log.lines() {
			if line != "" {
				last.Line = line
			}
			if warmed().MatchString(line) {
				state.Warmed = line
			}
			sawLine = sawLine || r.Line.MatchString(line)
		}
		last.Elapsed = time.Since(began)
		if r.Server != nil && r.Server.ended() {
			// Whoever answers there, it is not the server we started.
			return state, fmt.Errorf("not ready: %w", r.Server.Exit())
		}
		if last.Answer == nil && sawLine {
			state.After = last.Elapsed
			return state, nil
		}
		if IsStatus(last.Answer, http.StatusUnauthorized) || IsStatus(last.Answer, http.StatusForbidden) {
			return state, last.Answer
		}
		if r.Progress != nil {
			r.Progress(last)
		}
		select {
		case <-tick.C:
		case <-died:
			return state, fmt.Errorf("not ready: %w", r.Server.Exit())
		case <-deadline:
			return state, notReady(r, last)
		case <-ctx.Done():
			return state, context.Cause(ctx)
		}
	}
}

func notReady(r Readiness, last Waiting) error {
	if last.Answer != nil {
		return fmt.Errorf("not ready after %v: %w", r.Limit, last.Answer)
	}
	return fmt.Errorf("not ready after %v: the server is healthy, but no line of %s matches %q; the last is %q",
		r.Limit, r.Server.Log(), r.Line, last.Line)
}
