//go:build !linux

package wire

import (
	"errors"
	"net"
	"time"
)

// Segments needs Linux: no other kernel paces and stamps what a connection sends.
type Segments struct{}

// NewSegments returns an error on this system.
func NewSegments(*Line, int) (*Segments, error) {
	return nil, errors.New("segments with stamps of their sending: only Linux has them")
}

// Write is never called on this system.
func (*Segments) Write([]byte) error { return net.ErrClosed }

// Sent is never called on this system.
func (*Segments) Sent(time.Duration) []int64 { return nil }
