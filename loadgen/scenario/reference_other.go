//go:build !linux

package scenario

import "time"

// kernelClockError is known on Linux only.
func kernelClockError() (time.Duration, bool) { return 0, false }
