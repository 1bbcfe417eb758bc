//go:build unix && !freebsd && !dragonfly

package wire

import "syscall"

func setLimit(l *syscall.Rlimit, soft, hard uint64) { l.Cur, l.Max = soft, hard }
