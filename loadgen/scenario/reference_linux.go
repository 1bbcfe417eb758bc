package scenario

import (
	"syscall"
	"time"
)

// kernelClockError is the most by which the system's clock is off UTC, as the kernel keeps it for the time service that
// steers the clock; false when none does.
func kernelClockError() (time.Duration, bool) {
	const unsynchronised = 0x40 // STA_UNSYNC
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	if err != nil || state == 5 /* TIME_ERROR */ || t.Status&unsynchronised != 0 || t.Maxerror <= 0 {
		return 0, false
	}
	return time.Duration(t.Maxerror) * time.Microsecond, true
}
