//go:build !linux

package wire

import "errors"

// A Hub does not exist here: it needs kernel stamps.
type Hub struct{}

// NewHub says why there is none.
func NewHub(*Clock) (*Hub, error) {
	return nil, errors.New("this system's kernel does not stamp what comes")
}

// Close does nothing.
func (*Hub) Close() {}

// Take fails.
func (*Hub) Take(*Conn, Receiver) (*Line, error) { return nil, errors.ErrUnsupported }

// A Line does not exist here.
type Line struct{}

// Conn is nil.
func (*Line) Conn() *Conn { return nil }

// Attach fails.
func (*Line) Attach(Receiver) bool { return false }

// Detach fails.
func (*Line) Detach() bool { return false }

// Rest does nothing.
func (*Line) Rest() {}

// Resume does nothing.
func (*Line) Resume() {}

// Close does nothing.
func (*Line) Close() {}
