//go:build !linux

package wire

import (
	"context"
	"syscall"
)

var control func(ctx context.Context, network, address string, raw syscall.RawConn) error

func probeStamps() Kind { return User }
