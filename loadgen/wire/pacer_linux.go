package wire

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// coarse is how long before the moment runtime timers, which wake up to 1.2 ms late, are left for an exact sleep. No context interrupts that.
	coarse = 4 * time.Millisecond
	// fine is how long before the moment spinning begins: an exact sleep wakes 40 us late, 95 us at p99.
	fine = 60 * time.Microsecond
)

// exactSleep sleeps for d in the kernel, with the thread's timer slack turned off: it is 50 us by default.
func exactSleep(d time.Duration) {
	// The slack belongs to the thread, and the goroutine may be on another one each time. The call costs less than asking which.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	t := unix.NsecToTimespec(int64(d))
	// Woken early, the caller looks at the clock again.
	if untold() {
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	} else {
		_ = unix.Nanosleep(&t, nil)
	}
}
