//go:build !linux

package wire

import "time"

const (
	coarse = 4 * time.Millisecond
	fine   = 500 * time.Microsecond
)

func exactSleep(d time.Duration) { time.Sleep(d) }
