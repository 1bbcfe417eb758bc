package sim

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

const clockMonotonic = 1

// A kernelTimer is a timerfd that the runtime's poller waits on: no thread is blocked, and no
// millisecond is rounded.
type kernelTimer struct {
	file *os.File
	raw  syscall.RawConn
}

func newKernelTimer() *kernelTimer {
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil
	}
	file := os.NewFile(fd, "timerfd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil
	}
	return &kernelTimer{file: file, raw: raw}
}

// set arms the timer to fire in ns nanoseconds, instead of whenever it was to fire; 0 is never.
func (k *kernelTimer) set(ns int64) {
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(ns)}
	k.raw.Control(func(fd uintptr) {
		syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
}

func (k *kernelTimer) wait() bool {
	var count [8]byte
	_, err := k.file.Read(count[:])
	return err == nil
}

func (k *kernelTimer) close() { k.file.Close() }

// timeIsFaked says that the process's clock is a test's own (testing/synctest), which the
// kernel's timers know nothing of.
func timeIsFaked() bool {
	var tv syscall.Timeval
	if syscall.Gettimeofday(&tv) != nil {
		return true
	}
	return time.Since(time.Unix(tv.Unix())).Abs() > time.Hour
}
