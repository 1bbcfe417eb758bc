//go:build !linux

package sim

// Elsewhere the runtime's timers have to do.
type kernelTimer struct{}

func newKernelTimer() *kernelTimer { return nil }
func (*kernelTimer) set(int64)     {}
func (*kernelTimer) wait() bool    { return false }
func (*kernelTimer) close()        {}

func timeIsFaked() bool { return true }
