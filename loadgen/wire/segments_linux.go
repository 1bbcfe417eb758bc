package wire

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Segments writes to a TCP connection so that each piece leaves as a segment of its own, and knows when each left. At a pace that the kernel's
// timers keep, what was written in time goes out in time however little of a processor this
// process gets: a sender whose moments can be trusted in the very process that they are to judge. The timers' own work lies between a segment's
// leaving and its coming, though: up to 30 us where both are on one machine.
type Segments struct {
	clock *Clock
	raw   syscall.RawConn

	mu       sync.Mutex
	position uint32
	ends     []uint32 // of the pieces whose stamps are awaited, positions of their last bytes
	stamps   []int64
}

// NewSegments takes over the writing side of a line. perSecond is its pace in bytes a second, which the kernel keeps after
// the first ten segments of a connection; with 0 each leaves as it is written.
func NewSegments(line *Line, perSecond int) (*Segments, error) {
	raw := (*lineFD)(line)
	var failed error
	err := raw.Control(func(fd uintptr) {
		const flags = sendStamps | unix.SOF_TIMESTAMPING_TX_SOFTWARE
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags|fromWritten); failed != nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags)
		}
		if failed == nil && perSecond > 0 {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, perSecond)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("segments with stamps of their sending: %w", err)
	}
	return &Segments{clock: line.conn.clock, raw: raw}, nil
}

// Write queues a piece behind those before it.
func (s *Segments) Write(piece []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errno syscall.Errno
	left := piece
	err := s.raw.Write(func(fd uintptr) bool {
		for len(left) > 0 {
			// The record's end keeps the kernel from joining the next piece to this one.
			n, _, e := unix.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&left[0])), uintptr(len(left)), unix.MSG_EOR|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			switch e {
			case 0:
				left = left[n:]
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				errno = e
				return true
			}
		}
		return true
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("sendto", errno)
	}
	s.position += uint32(len(piece) - len(left))
	if err != nil {
		return err
	}
	s.ends = append(s.ends, s.position-1)
	s.stamps = append(s.stamps, 0)
	return nil
}

// Sent returns when each piece since the last Sent left, zero for one that the kernel has not stamped within the wait. Ask when the
// other side has the last of them.
func (s *Segments) Sent(wait time.Duration) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		_ = s.raw.Control(s.collect) // a closed connection has no more stamps to give
		all := true
		for _, at := range s.stamps {
			all = all && at != 0
		}
		if all || time.Now().After(end) {
			break
		}
	}
	stamps := s.stamps
	s.ends, s.stamps = nil, nil
	return stamps
}

func (s *Segments) collect(fd uintptr) {
	var control [256]byte
	for {
		msg := unix.Msghdr{Control: &control[0]}
		msg.SetControllen(len(control))
		_, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&msg)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return
		}
		wall, position, _, ok := sendStamp(control[:msg.Controllen])
		if !ok {
			continue
		}
		for i, end := range s.ends {
			if end == position && s.stamps[i] == 0 { // a second one is of a segment that was sent again
				s.stamps[i], _ = s.clock.fromWall(wall, s.clock.pair())
			}
		}
	}
}
