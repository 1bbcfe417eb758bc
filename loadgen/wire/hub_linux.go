package wire

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Hub reads many connections on one thread. It waits for all of them together, reads each once when something came, and hands that on
// at once. So an event costs one system call and its share of another, where a goroutine for each connection costs three and the
// waking of the goroutine, and a burst of other work in the process does not keep arrived bytes unread until more
// lie behind them under the same stamp.
type Hub struct {
	clock        *Clock
	epoll, waker int
	done         chan struct{}
	closing      atomic.Bool
	// keeps says that the thread keeps its place among those that the runtime lets run (GOMAXPROCS) while it waits.
	keeps bool

	mu    sync.Mutex
	lines map[uint64]*Line
	last  uint64

	// What the thread alone uses: where reads go and what they need, the number of the present wait, when the one before began, whether that told
	// of every line with something to read, and what receivers want to have called.
	buffer []byte
	in     *reception
	round  int64
	before int64
	told   bool
	wakes  []func()

	crier crier
}

// hubBuffer is the most that one read takes: an event with many logprobs, or a few hundred ordinary ones.
const hubBuffer = 64 << 10

// NewHub starts a Hub for connections on this clock. The error says why this machine has none: without kernel stamps there is nothing it would do better.
func NewHub(clock *Clock) (*Hub, error) {
	if Stamps() != Kernel {
		return nil, errors.New("this system's kernel does not stamp what comes")
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	waker, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	h := &Hub{clock: clock, epoll: epoll, waker: waker, done: make(chan struct{}), lines: map[uint64]*Line{}, buffer: make([]byte, hubBuffer), in: newReception()}
	if err := h.watch(unix.EPOLL_CTL_ADD, waker, 0, unix.EPOLLIN); err != nil {
		unix.Close(epoll)
		unix.Close(waker)
		return nil, err
	}
	if err := h.crier.start(); err != nil {
		unix.Close(epoll)
		unix.Close(waker)
		return nil, err
	}
	if h.keeps = untold(); h.keeps {
		Room(1)
	}
	go h.run()
	return h, nil
}

// Close closes all lines and ends the Hub's thread.
func (h *Hub) Close() {
	h.closing.Store(true)
	one := [8]byte{1}
	_, _ = unix.Write(h.waker, one[:])
	<-h.done
	if h.keeps {
		Room(-1)
	}
	h.crier.stop()
	h.mu.Lock()
	left := make([]*Line, 0, len(h.lines))
	for _, l := range h.lines {
		left = append(left, l)
	}
	h.mu.Unlock()
	for _, l := range left {
		l.Close()
	}
	unix.Close(h.epoll)
	unix.Close(h.waker)
}

// watch tells the kernel which events of a descriptor the Hub waits for.
func (h *Hub) watch(op, fd int, id uint64, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(h.epoll, op, fd, &e))
}

func (h *Hub) run() {
	defer close(h.done)
	ready, lines := make([]unix.EpollEvent, 256), make([]*Line, 256)
	for !h.closing.Load() {
		began := h.clock.Now()
		n, err := h.wait(ready)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("epoll_wait on a descriptor that nobody else knows: %v", err))
		}
		h.round++
		h.mu.Lock()
		for i := range ready[:n] {
			e := &ready[i]
			lines[i] = h.lines[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
		}
		h.mu.Unlock()
		for i, line := range lines[:n] {
			if line != nil {
				line.serve(ready[i].Events)
			}
		}
		h.before, h.told = began, n < len(ready)
		if len(h.wakes) > 0 {
			h.crier.cry(h.wakes)
			clear(h.wakes)
			h.wakes = h.wakes[:0]
		}
	}
}

// A crier wakes others in the Hub's stead. It is itself woken by the kernel, so that it comes to run elsewhere than on the Hub's thread.
type crier struct {
	bell *os.File // an eventfd, for which the runtime waits
	fd   int
	done chan struct{}

	mu    sync.Mutex
	wakes []func()
	over  bool
}

func (c *crier) start() (err error) {
	if c.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	c.bell = os.NewFile(uintptr(c.fd), "eventfd")
	c.done = make(chan struct{})
	go c.run()
	return nil
}

func (c *crier) run() {
	defer close(c.done)
	var wakes []func()
	var count [8]byte
	for over := false; !over; {
		_, _ = c.bell.Read(count[:]) // woken for nothing, it finds nothing
		c.mu.Lock()
		wakes, c.wakes = c.wakes, wakes[:0]
		over = c.over
		c.mu.Unlock()
		for i, wake := range wakes {
			wake()
			wakes[i] = nil
		}
	}
}

func (c *crier) cry(wakes []func()) {
	c.mu.Lock()
	c.wakes = append(c.wakes, wakes...)
	c.mu.Unlock()
	c.ring()
}

func (c *crier) ring() {
	one := [8]byte{1}
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&one[0])), uintptr(len(one)))
}

// stop has it call what is left, and ends it.
func (c *crier) stop() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.ring()
	<-c.done
	c.bell.Close()
}

// wait waits for events, untold where the Hub has a place to keep.
func (h *Hub) wait(ready []unix.EpollEvent) (int, error) {
	if !h.keeps {
		return unix.EpollWait(h.epoll, ready, -1)
	}
	const forEver = ^uintptr(0)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(h.epoll), uintptr(unsafe.Pointer(&ready[0])), uintptr(len(ready)), forEver, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// A Line is a connection that a Hub reads.
type Line struct {
	hub  *Hub
	conn *Conn
	id   uint64

	// open guards the descriptor: held for reading while it is used, for writing to close it.
	open   sync.RWMutex
	fd     int
	closed bool
	// writable is told when the kernel takes more bytes.
	writable chan struct{}

	// mu holds the receiver still while it receives.
	mu       sync.Mutex
	receiver Receiver
	// over is closed when there is nothing more to read, or came what nobody awaited; ended says the same under mu, to each event for less.
	over  chan struct{}
	ended bool

	round int64 // the wait that told of it last
}

// Take has the Hub read a connection from now on, in place of its Read method, for the receiver; nil is nobody yet. The connection must be a Dialer's, of kernel stamps.
func (h *Hub) Take(c *Conn, r Receiver) (*Line, error) {
	if c.kernel == nil {
		return nil, errors.New("the connection has no kernel stamps")
	}
	l := &Line{hub: h, conn: c, receiver: r, fd: -1, over: make(chan struct{}), writable: make(chan struct{}, 1)}
	// A second descriptor of the socket, since the first one is the runtime's to wait for.
	var dupErr error
	err := c.kernel.raw.Control(func(fd uintptr) { l.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr)); err != nil {
		return nil, err
	}
	local, remote := c.inner.LocalAddr(), c.inner.RemoteAddr()
	c.inner.Close()
	c.inner = &handle{line: l, local: local, remote: remote}
	c.kernel.raw, c.kernel.in = (*lineFD)(l), h.in
	// Behind a burst on many lines each is read late, and asking about each would be a system call for each event. One asks when an exchange ends.
	c.kernel.patience = math.MaxInt64
	h.mu.Lock()
	h.last++
	l.id = h.last
	h.lines[l.id] = l
	h.mu.Unlock()
	if err := h.watch(unix.EPOLL_CTL_ADD, l.fd, l.id, unix.EPOLLIN); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Conn is the connection, to write to, to begin exchanges on and to ask about.
func (l *Line) Conn() *Conn { return l.conn }

// Attach hands what comes to the receiver from now on. It is false when the line has ended.
func (l *Line) Attach(r Receiver) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.receiver = r
	return true
}

// Detach ends that. When it has returned, the receiver gets nothing more. It is false when the line has ended. A line that gets bytes while nobody receives has
// ended: they are the answer to nothing.
func (l *Line) Detach() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receiver = nil
	return !l.ended
}

// Rest has the Hub leave the line alone until Resume: nothing is read, and nothing wakes it. It is false when the line rests already, or is over.
func (l *Line) Rest() bool { return l.watch(unix.EPOLL_CTL_DEL, 0) == nil }

// Resume ends that.
func (l *Line) Resume() { _ = l.rewatch(unix.EPOLLIN) }

// rewatch has the Hub watch a line that rests, unless it is over: its end would wake the Hub for ever.
func (l *Line) rewatch(events uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return net.ErrClosed
	}
	return l.watch(unix.EPOLL_CTL_ADD, events)
}

// Close closes the connection. A receiver that is attached is told.
func (l *Line) Close() {
	l.hub.mu.Lock()
	delete(l.hub.lines, l.id)
	l.hub.mu.Unlock()
	l.open.Lock()
	was := l.closed
	if !was {
		l.closed = true
		unix.Close(l.fd) // which ends the kernel's watch too
	}
	l.open.Unlock()
	if !was {
		l.mu.Lock()
		wake := l.end(net.ErrClosed)
		l.mu.Unlock()
		if wake != nil {
			wake()
		}
	}
}

// end tells the receiver of the end, once.
func (l *Line) end(err error) (wake func()) {
	if l.ended {
		return nil
	}
	l.ended = true
	close(l.over)
	if l.receiver != nil {
		wake = l.receiver.Receive(nil, Read{}, err)
	}
	// Else an end that nobody reads would wake the Hub for ever.
	_ = l.watch(unix.EPOLL_CTL_DEL, 0)
	return wake
}

// serve does what an event asks for, on the Hub's thread.
func (l *Line) serve(events uint32) {
	h, k := l.hub, l.conn.kernel
	if events&unix.EPOLLERR != 0 {
		k.collect() // a send stamp shows as an error
	}
	if events&unix.EPOLLOUT != 0 {
		_ = l.watch(unix.EPOLL_CTL_MOD, unix.EPOLLIN)
		select {
		case l.writable <- struct{}{}:
		default:
		}
	}
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	if h.told && l.round != h.round-1 {
		k.empty = max(k.empty, h.before) // the wait before this one would have told of anything to read
	}
	l.round = h.round
	r, err := l.conn.take(h.buffer)
	var wake func()
	switch {
	case err == errWouldBlock:
	case err != nil:
		wake = l.end(err)
	case l.receiver == nil:
		wake = l.end(nil)
	default:
		wake = l.receiver.Receive(h.buffer[:r.Bytes], r, nil)
	}
	l.mu.Unlock()
	if wake != nil {
		h.wakes = append(h.wakes, wake)
	}
}

// watch changes what the Hub waits for on this line.
func (l *Line) watch(op int, events uint32) error {
	l.open.RLock()
	defer l.open.RUnlock()
	if l.closed {
		return net.ErrClosed
	}
	return l.hub.watch(op, l.fd, l.id, events)
}

// A lineFD is a Line as the syscall.RawConn that a kernelConn works on.
type lineFD Line

func (f *lineFD) Control(do func(fd uintptr)) error {
	f.open.RLock()
	defer f.open.RUnlock()
	if f.closed {
		return net.ErrClosed
	}
	do(uintptr(f.fd))
	return nil
}

// Read does not wait: the Hub does.
func (f *lineFD) Read(do func(fd uintptr) bool) error {
	f.open.RLock()
	defer f.open.RUnlock()
	switch {
	case f.closed:
		return net.ErrClosed
	case !do(uintptr(f.fd)):
		return errWouldBlock
	}
	return nil
}

// Write rests the line while the kernel takes the bytes: the send stamp would wake the Hub between the moment that it tells of and the packet's leaving, or
// its arrival where that is on this machine, so that the moment would be too early.
func (f *lineFD) Write(do func(fd uintptr) bool) error {
	l := (*Line)(f)
	rests := l.Rest()
	for {
		done := false
		if err := f.Control(func(fd uintptr) { done = do(fd) }); err != nil || done {
			if rests {
				l.Resume()
			}
			return err
		}
		var err error
		if rests {
			rests, err = false, l.rewatch(unix.EPOLLIN|unix.EPOLLOUT)
		} else {
			err = l.watch(unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
		}
		if err != nil {
			return net.ErrClosed // the line is over and not watched any more
		}
		select {
		case <-f.writable:
		case <-f.over:
			return net.ErrClosed
		}
	}
}

// errWouldBlock is a read that found nothing. Like a timeout it is not the end.
var errWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// A handle is what is left of a net.Conn that a Hub reads: addresses, and an end.
type handle struct {
	line          *Line
	local, remote net.Addr
}

func (h *handle) Read([]byte) (int, error)  { return 0, errors.ErrUnsupported }
func (h *handle) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }
func (h *handle) Close() error              { h.line.Close(); return nil }
func (h *handle) LocalAddr() net.Addr       { return h.local }
func (h *handle) RemoteAddr() net.Addr      { return h.remote }

func (h *handle) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (h *handle) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (h *handle) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
