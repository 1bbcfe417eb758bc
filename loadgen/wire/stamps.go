package wire

import "sync"

// Stamps is the kind of stamps that TCP connections get on this system: Kernel, or User where the kernel gives none. The first call
// turns the kernel's stamping on and waits, a few milliseconds at most, until it works: it starts some time
// after the first socket asks for it, and a run's first replies must not be the ones that come too early for it.
// The first connection of a Dialer does the same.
func Stamps() Kind { return stamps() }

var stamps = sync.OnceValue(probeStamps)
