package profiles

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"servebench/loadgen/server"
)

// What a refusal is; ask with errors.Is.
var (
	// ErrRefused is any answer that says no to a start.
	ErrRefused = errors.New("the server refused to start its profiler")
	// ErrNotConfigured is a server that was started without a profiler.
	ErrNotConfigured = errors.New("the server runs without a profiler")
	// ErrAlreadyRunning is a profiler that somebody else started.
	ErrAlreadyRunning = errors.New("a profiling session is already running")
)

// A RefusedError is a start or stop that the server refused, with its own words and what would help.
type RefusedError struct {
	// Call is start_profile or stop_profile.
	Call string
	// Status is the HTTP status.
	Status int
	// Message is what the server said.
	Message string
	// Hint is what would help; empty when nothing is known.
	Hint string

	kind  error
	cause error
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%s: %d %s", e.Call, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// Unwrap gives the kinds of refusal it is, and the answer itself.
func (e *RefusedError) Unwrap() []error {
	all := []error{ErrRefused, e.cause}
	if e.kind != nil {
		all = append(all, e.kind)
	}
	return all
}

// hints are what would help with an engine's refusals.
type hints struct{ notConfigured, alreadyRunning, notEnabled string }

// refusal words err, what an engine answered to call; nil stays nil and an error that is no answer
// stays as it is.
func refusal(call string, err error, h hints) error {
	var status *server.StatusError
	if !errors.As(err, &status) {
		if err != nil {
			return fmt.Errorf("%s: %w", call, err)
		}
		return nil
	}
	refused := &RefusedError{Call: call, Status: status.Status, Message: status.Message, cause: err}
	said := strings.ToLower(status.Message)
	switch {
	case status.Status == http.StatusNotFound:
		refused.kind, refused.Hint = ErrNotConfigured, h.notConfigured
	case status.Status == http.StatusMethodNotAllowed:
		refused.Hint = "this is not the server's own address: look at the base URL and at proxies before it"
	case status.Status == http.StatusConflict, strings.Contains(said, "already in progress"), strings.Contains(said, "already active"), strings.Contains(said, "already running"):
		refused.kind, refused.Hint = ErrAlreadyRunning, h.alreadyRunning
	case strings.Contains(said, "profiler is not enabled"):
		refused.kind, refused.Hint = ErrNotConfigured, h.notEnabled
	case status.Status == http.StatusUnauthorized, status.Status == http.StatusForbidden:
		refused.Hint = "the server wants a key: give it with a header"
	}
	return refused
}
