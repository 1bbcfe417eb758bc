package wire

import (
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// smallestStep is the smallest change between the wall clock and the monotonic clock that counts as a step, in nanoseconds. On Linux both are
// the same counter plus a constant.
const smallestStep = int64(time.Microsecond)

// stampsOn opens a socket that asks for stamps and stays open for the life of the process, so that the kernel goes on stamping
// between connections.
var stampsOn = sync.OnceValue(func() *net.UDPConn {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil
	}
	set := false
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, receiveStamps) == nil
	})
	if err != nil || !set {
		conn.Close()
		return nil
	}
	return conn
})

// probeStamps sends itself datagrams until one is stamped.
func probeStamps() Kind {
	conn := stampsOn()
	if conn == nil {
		return User
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return User
	}
	self := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if _, err := conn.WriteToUDPAddrPort([]byte{0}, self); err != nil {
			return User
		}
		stamped, control := false, make([]byte, 128)
		err := raw.Control(func(fd uintptr) {
			// Over loopback the datagram is there when the send returns; if it is not, the next round finds two.
			_, n, _, _, err := unix.Recvmsg(int(fd), make([]byte, 1), control, unix.MSG_DONTWAIT)
			if err == nil {
				_, stamped = receiveStamp(control[:n])
			}
		})
		if err != nil {
			return User
		}
		if stamped {
			return Kernel
		}
	}
	return User
}
