package wire

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"
)

// control sets up a socket before it connects. Neither option is worth failing for: stamps say of which kind they are.
func control(_ context.Context, _, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, receiveStamps)
		// Choose the local port when connecting, not when binding to a source address: then one port serves for several servers.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}
