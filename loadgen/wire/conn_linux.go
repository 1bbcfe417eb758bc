package wire

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveStamps asks for a software stamp of each packet that comes. It can be set before connecting.
	receiveStamps = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	// sendStamps has send stamps reported without the packet and numbered by the position of their byte;
	// which writes get one is said with each write. It needs a connected socket.
	sendStamps = receiveStamps | unix.SOF_TIMESTAMPING_OPT_TSONLY | unix.SOF_TIMESTAMPING_OPT_ID
	// fromWritten counts that position from the last byte written, not from the last one
	// acknowledged; the two are the same on a fresh connection. Linux 6.2.
	fromWritten = 1 << 16

	// eachSend asks for two stamps of a write: when its last byte was queued for the network device, and when the
	// device's driver took it. Few drivers give only the former, which then has to do.
	eachSend = unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_SOFTWARE

	// muchTooEarly is the patience with a connection that no Hub reads.
	muchTooEarly = int64(500 * time.Microsecond)

	originTimestamping = 4 // SO_EE_ORIGIN_TIMESTAMPING
	stampSent          = 0 // SCM_TSTAMP_SND: taken by the driver
	stampQueued        = 1 // SCM_TSTAMP_SCHED: queued for the device
)

// A kernelConn reads and writes a TCP socket with kernel stamps.
type kernelConn struct {
	conn *Conn
	raw  syscall.RawConn

	// What one read needs, under readMu. The functions are made once: a closure for each
	// read would be an allocation for each token.
	readMu   sync.Mutex
	readFunc func(fd uintptr) bool
	in       *reception
	// asked is right before the latest recvmsg; empty is that of the latest one that found nothing, before
	// which nothing can have been there to read.
	asked, empty int64
	// last is the stamp of the read before.
	last int64
	// doubtful is the number of reads whose stamps are not believed.
	doubtful int
	// patience is how much later than its stamp the client may see a read, in nanoseconds, before the stamp is doubted.
	patience int64
	// watching says that segments came out of order on this connection.
	watching atomic.Bool

	// What asking for the state of the connection needs, under infoMu.
	infoMu   sync.Mutex
	infoFunc func(fd uintptr)
	info     unix.TCPInfo
	infoErr  syscall.Errno
	// outOfOrder is the number of segments out of order that is known.
	outOfOrder uint32
	// told is what News told last.
	told Info

	writeMu   sync.Mutex
	writeFunc func(fd uintptr) bool
	writeMsg  unix.Msghdr
	writeVec  unix.Iovec
	writeCtl  [24]byte
	writeLeft []byte
	writeErr  syscall.Errno

	// sends says that the kernel takes send stamps.
	sends bool
	// position is the number of bytes written since send stamps were turned on.
	position uint32

	// What the collection of send stamps needs, under sentMu.
	sentMu   sync.Mutex
	sentFunc func(fd uintptr)
	sentMsg  unix.Msghdr
	sentCtl  [256]byte
	// awaited is the position of the byte whose stamp is awaited, awaiting the exchange it is for; nil when none is.
	awaited  uint32
	awaiting *Exchange
	// tries is how many more reads look for it.
	tries atomic.Int32
}

// A reception is what recvmsg fills, and what came of it. A Hub's lines share one, which stays in the processor's cache.
type reception struct {
	msg     unix.Msghdr
	vec     unix.Iovec
	control [128]byte
	n       int
	err     syscall.Errno
}

func newReception() *reception {
	in := &reception{}
	in.msg.Iov, in.msg.Control = &in.vec, &in.control[0]
	in.msg.SetIovlen(1)
	return in
}

func newKernelConn(c *Conn) *kernelConn {
	tcp, ok := c.inner.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	k := &kernelConn{conn: c, raw: raw, patience: muchTooEarly}
	var rxErr error
	err = raw.Control(func(fd uintptr) {
		for _, flags := range []int{sendStamps | fromWritten, sendStamps} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags) == nil {
				k.sends = true
				return
			}
		}
		rxErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, receiveStamps)
	})
	if err != nil || rxErr != nil {
		return nil
	}
	k.readFunc, k.writeFunc, k.sentFunc, k.infoFunc = k.readOnce, k.writeOnce, k.sentAll, k.infoOnce
	k.in = newReception()
	k.writeMsg.Iov = &k.writeVec
	k.writeMsg.SetIovlen(1)
	if k.sends {
		header := (*unix.Cmsghdr)(unsafe.Pointer(&k.writeCtl[0]))
		header.Level, header.Type = unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW
		header.SetLen(unix.CmsgLen(4))
		binary.NativeEndian.PutUint32(k.writeCtl[unix.CmsgLen(0):], eachSend)
		k.writeMsg.Control = &k.writeCtl[0]
		k.writeMsg.SetControllen(unix.CmsgSpace(4))
	}
	k.sentMsg.Control = &k.sentCtl[0]
	return k
}

// readOnce tries to read without blocking; false asks to be called again when there is something to read.
func (k *kernelConn) readOnce(fd uintptr) bool {
	for {
		k.asked = k.conn.clock.Now()
		k.in.msg.SetControllen(len(k.in.control))
		// It never waits, so the runtime need not be told: that would cost as much again, and could cost the processor.
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&k.in.msg)), unix.MSG_DONTWAIT)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			k.empty = k.asked
			k.in.err = errno
			return false
		}
		k.in.n, k.in.err = int(n), errno
		return true
	}
}

func (k *kernelConn) read(b []byte) (Read, error) {
	k.readMu.Lock()
	defer k.readMu.Unlock()
	in := k.in
	in.vec.Base = &b[0]
	in.vec.SetLen(len(b))
	in.n, in.err = 0, 0
	err := k.raw.Read(k.readFunc)
	if err != nil && isNotPollable(err) {
		err = k.readUnpolled()
	}
	seen := k.conn.clock.pair()
	in.vec.Base = nil
	if k.tries.Load() > 0 {
		k.tries.Add(-1)
		k.collect()
	}
	if err != nil {
		return Read{}, asRead(err)
	}
	if in.err != 0 {
		return Read{}, k.opError("read", os.NewSyscallError("recvmsg", in.err))
	}
	if in.n == 0 {
		return Read{}, io.EOF
	}
	r := Read{At: seen, User: seen, Bytes: in.n, Kind: User}
	if wall, ok := receiveStamp(in.control[:in.msg.Controllen]); ok {
		if at, ok := k.conn.clock.fromWall(wall, seen); ok && !k.early(at, seen, r.Bytes == len(b)) {
			r.At, r.Kind = at, Kernel
		}
	}
	k.last = r.At
	return r, nil
}

// early says that a stamp may lie before the bytes were there to read. That happens when a segment was lost or overtaken: those behind it
// wait for it, and keep their older stamps. Asking the kernel at each read whether it happened would cost too much, so only a stamp that could be much
// too early makes it ask, and once it did happen every one does. full says that the read filled its buffer.
func (k *kernelConn) early(at, seen int64, full bool) bool {
	if !k.watching.Load() && seen-at <= k.patience && at >= k.empty && at >= k.last {
		return false
	}
	if k.disordered() {
		// What waits behind the gap comes with this read, or with the next one if this read only cleared what lay before the gap.
		k.doubtful = 2
	}
	if k.doubtful == 0 {
		return false
	}
	if !full {
		k.doubtful--
	}
	return true
}

// disordered says whether segments came out of order since it was asked last, and notes it in the exchange.
func (k *kernelConn) disordered() bool {
	k.infoMu.Lock()
	defer k.infoMu.Unlock()
	if !k.askInfo() || k.info.Rcv_ooopack == k.outOfOrder {
		return false
	}
	k.outOfOrder = k.info.Rcv_ooopack
	k.watching.Store(true)
	if x := k.conn.exchange.Load(); x != nil {
		x.noteDisorder(k.conn)
	}
	return true
}

// askInfo fills k.info.
func (k *kernelConn) askInfo() bool {
	k.infoErr = unix.EBADF // of a closed connection, which Control refuses
	return k.raw.Control(k.infoFunc) == nil && k.infoErr == 0
}

func (k *kernelConn) infoOnce(fd uintptr) {
	size := uint32(unsafe.Sizeof(k.info))
	_, _, k.infoErr = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&k.info)), uintptr(unsafe.Pointer(&size)), 0)
}

// disordered notes in the present exchange whether segments came out of order.
func (c *Conn) disordered() {
	if c.kernel != nil {
		_ = c.kernel.disordered()
	}
}

// isNotPollable recognises the error with which the runtime refuses to wait for a descriptor whose only event was EPOLLERR. A send stamp raises that event, and it stands alone while
// the send buffer is full.
func isNotPollable(err error) bool {
	op, ok := err.(*net.OpError)
	return ok && op.Err.Error() == "not pollable"
}

// readUnpolled reads without the runtime's poller until that takes the descriptor again, which it does at its next event.
func (k *kernelConn) readUnpolled() error {
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		k.collect()
		done := false
		if err := k.raw.Control(func(fd uintptr) { done = k.readOnce(fd) }); err != nil || done {
			return err
		}
		time.Sleep(pause)
		if err := k.raw.Read(k.readFunc); err == nil || !isNotPollable(err) {
			return err
		}
	}
}

func (k *kernelConn) writeOnce(fd uintptr) bool {
	for len(k.writeLeft) > 0 {
		k.writeVec.Base = &k.writeLeft[0]
		k.writeVec.SetLen(len(k.writeLeft))
		// It never waits either: see readOnce.
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&k.writeMsg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			k.writeLeft = k.writeLeft[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		case unix.EINVAL:
			if k.sends { // a kernel that knows the option but not the request for one write
				k.sends = false
				k.writeMsg.Control = nil
				k.writeMsg.SetControllen(0)
				continue
			}
			k.writeErr = errno
			return true
		default:
			k.writeErr = errno
			return true
		}
	}
	return true
}

func (k *kernelConn) write(b []byte, x *Exchange) (int, error) {
	k.writeMu.Lock()
	defer k.writeMu.Unlock()
	k.writeLeft, k.writeErr = b, 0
	k.await(k.position+uint32(len(b))-1, x)
	err := k.raw.Write(k.writeFunc)
	after := k.conn.clock.Now()
	n := len(b) - len(k.writeLeft)
	k.writeLeft, k.writeVec.Base = nil, nil
	k.position += uint32(n)
	if x != nil {
		x.noteWrite(k.conn, n, after)
		// On a fast path the stamp is there already: the send call itself brought the packet to the device.
		if k.sends && n > 0 && !k.collect() {
			k.tries.Store(3)
		}
	}
	switch {
	case err != nil:
		return n, asWrite(err)
	case k.writeErr != 0:
		return n, k.opError("write", os.NewSyscallError("sendmsg", k.writeErr))
	}
	return n, nil
}

// await says which byte's stamp is awaited and for whom, nil for nobody: what was awaited before is not the last byte any more. It is said before the byte is written,
// since a Hub may find the stamp before the write returns.
func (k *kernelConn) await(position uint32, x *Exchange) {
	k.tries.Store(0)
	k.sentMu.Lock()
	k.awaited, k.awaiting = position, x
	k.sentMu.Unlock()
}

// collect reads the send stamps there are and says whether none is awaited any more.
func (k *kernelConn) collect() bool {
	k.sentMu.Lock()
	defer k.sentMu.Unlock()
	if !k.sends {
		return true
	}
	// A closed connection has no more stamps to give.
	_ = k.raw.Control(k.sentFunc)
	return k.awaiting == nil
}

func (k *kernelConn) sentAll(fd uintptr) {
	for {
		k.sentMsg.SetControllen(len(k.sentCtl))
		_, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&k.sentMsg)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return
		}
		wall, position, what, ok := sendStamp(k.sentCtl[:k.sentMsg.Controllen])
		if !ok || k.awaiting == nil || position != k.awaited {
			continue
		}
		if at, ok := k.conn.clock.fromWall(wall, k.conn.clock.pair()); ok {
			k.awaiting.noteSent(k.conn, at)
		}
		if what == stampSent {
			k.awaiting = nil
			k.tries.Store(0)
		}
	}
}

// receiveStamp finds the receive stamp among control messages: nanoseconds of the wall clock.
func receiveStamp(control []byte) (int64, bool) {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest := nextControl(control)
		if header == nil {
			break
		}
		if header.Level == unix.SOL_SOCKET && header.Type == unix.SO_TIMESTAMPING_NEW {
			return stampOf(data)
		}
		control = rest
	}
	return 0, false
}

// sendStamp finds a send stamp, the position of its byte, and what happened to that.
func sendStamp(control []byte) (wall int64, position, what uint32, ok bool) {
	var hasStamp, hasPosition bool
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest := nextControl(control)
		if header == nil {
			break
		}
		switch {
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_TIMESTAMPING_NEW:
			wall, hasStamp = stampOf(data)
		case header.Level == unix.SOL_IP && header.Type == unix.IP_RECVERR,
			header.Level == unix.SOL_IPV6 && header.Type == unix.IPV6_RECVERR:
			if len(data) < 16 { // struct sock_extended_err
				break
			}
			what = binary.NativeEndian.Uint32(data[8:])
			if data[4] == originTimestamping && (what == stampSent || what == stampQueued) {
				position, hasPosition = binary.NativeEndian.Uint32(data[12:]), true
			}
		}
		control = rest
	}
	return wall, position, what, hasStamp && hasPosition
}

// nextControl takes the first control message off. The header is nil when it does not fit.
func nextControl(control []byte) (header *unix.Cmsghdr, data, rest []byte) {
	header = (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	length := int(header.Len)
	if length < unix.CmsgLen(0) || length > len(control) {
		return nil, nil, nil
	}
	data = control[unix.CmsgLen(0):length]
	return header, data, control[min(unix.CmsgSpace(len(data)), len(control)):]
}

// stampOf reads the software stamp of a struct scm_timestamping64: two 64-bit numbers, seconds and nanoseconds.
func stampOf(data []byte) (int64, bool) {
	if len(data) < 16 {
		return 0, false
	}
	sec, nsec := int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:]))
	return sec*int64(time.Second) + nsec, sec != 0
}

// Info is what the kernel knows about the connection. It is false when the connection is closed or no TCP.
func (c *Conn) Info() (Info, bool) {
	if c.kernel == nil {
		return Info{}, false
	}
	k := c.kernel
	k.infoMu.Lock()
	defer k.infoMu.Unlock()
	if !k.askInfo() {
		return Info{}, false
	}
	t := &k.info
	info := Info{
		Retransmits: int(t.Total_retrans), OutOfOrder: int(t.Rcv_ooopack),
		RTT: time.Duration(t.Rtt) * time.Microsecond, MinRTT: time.Duration(t.Min_rtt) * time.Microsecond,
	}
	err := k.raw.Control(func(fd uintptr) {
		info.ReceiveQueue, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		info.SendQueue, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return info, err == nil
}

// News is Info with the counts since the last News: connections serve many requests.
func (c *Conn) News() (Info, bool) {
	info, ok := c.Info()
	if !ok {
		return Info{}, false
	}
	k := c.kernel
	k.infoMu.Lock()
	defer k.infoMu.Unlock()
	news := info
	news.Retransmits -= k.told.Retransmits
	news.OutOfOrder -= k.told.OutOfOrder
	k.told = info
	return news, true
}

// Unread is how many bytes came that the client has not read; false when the kernel does not tell.
func (c *Conn) Unread() (int, bool) {
	if c.kernel == nil {
		return 0, false
	}
	n, asked := 0, error(unix.EBADF) // of a closed connection, which Control refuses
	err := c.kernel.raw.Control(func(fd uintptr) { n, asked = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return n, err == nil && asked == nil
}

// Quiet says that the connection is open and has nothing to read. One that the server has closed is not quiet: it
// has its end to read.
func (c *Conn) Quiet() bool {
	if c.kernel == nil {
		return true // nobody can tell
	}
	quiet := false
	err := c.kernel.raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
	})
	return err == nil && quiet
}

func (k *kernelConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: k.conn.inner.LocalAddr(), Addr: k.conn.inner.RemoteAddr(), Err: err}
}

// asRead and asWrite word the errors of raw calls as those of a net.Conn.
func asRead(err error) error  { return worded(err, "read") }
func asWrite(err error) error { return worded(err, "write") }

func worded(err error, op string) error {
	if e, ok := err.(*net.OpError); ok {
		e.Op = op
	}
	return err
}
