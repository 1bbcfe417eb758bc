//go:build !linux

package wire

import (
	"context"
	"syscall"
	"time"
)

var control func(ctx context.Context, network, address string, raw syscall.RawConn) error

// smallestStep is the smallest change between the wall clock and the monotonic clock that counts as a step, in nanoseconds: above the
// grain of either.
const smallestStep = int64(20 * time.Millisecond)

func probeStamps() Kind { return User }
