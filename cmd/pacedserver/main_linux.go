//go:build !386 && !s390x

package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	soTimestamping = 65 // SO_TIMESTAMPING_NEW, and the type of its control messages
	stampReceived  = 1 << 3
	stampSoftware  = 1 << 4
	stampSending   = 1 << 1
	stampNumber    = 1 << 7
	stampOnly      = 1 << 11
	stampWritten   = 1 << 16 // numbers count from the last byte written; Linux 6.2

	sysEpollPwait2   = 441
	prSetTimerslack  = 29
	msgErrqueue      = 0x2000
	readBuffer       = 64 << 10
	acceptBacklog    = 4096
	edgeTriggered    = 1 << 31
	originTimestamps = 4
)

// A server is the one thread, its sockets and its log.
type server struct {
	config
	epoll, listener int
	conns           map[int]*conn
	due             schedule
	records         []*record
	connections     int
	origin          int64 // of the engine's steps
	scratch, out    []byte
	stopping        atomic.Bool
	wake            [2]int // a pipe that ends the wait
}

// A conn is one client's connection.
type conn struct {
	fd, number int
	in         []byte
	received   int64 // the kernel's stamp of the latest read
	seen       int64
	out        []byte // what a full send buffer left over
	position   uint32 // bytes sent
	stamps     bool
	stream     *stream
	closes     bool
	closed     bool
}

func now() int64 { return time.Now().UnixNano() }

func run(c config) error {
	s, err := newServer(c)
	if err != nil {
		return err
	}
	// The log grows as long as the run lasts and is short-lived: a collection would only delay a deadline.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(4 << 30)
	fmt.Printf("listening on %s\n", s.address())
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupts
		s.stop()
	}()
	if err := s.serve(); err != nil {
		return err
	}
	if c.Log == "" {
		return nil
	}
	file, err := os.Create(c.Log)
	if err != nil {
		return err
	}
	return errors.Join(writeLog(file, s.records), file.Close())
}

func newServer(c config) (*server, error) {
	address, err := net.ResolveTCPAddr("tcp4", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	s := &server{config: c, conns: map[int]*conn{}, scratch: make([]byte, readBuffer), origin: now()}
	if s.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	local := &syscall.SockaddrInet4{Port: address.Port}
	copy(local.Addr[:], address.IP.To4())
	// Stamping from before the first connection: the kernel takes a moment to begin.
	syscall.SetsockoptInt(s.listener, syscall.SOL_SOCKET, soTimestamping, stampReceived|stampSoftware)
	syscall.SetsockoptInt(s.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(s.listener, local); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	if err := syscall.Listen(s.listener, acceptBacklog); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	if s.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := syscall.Pipe2(s.wake[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	return s, errors.Join(s.watch(s.listener, syscall.EPOLLIN), s.watch(s.wake[0], syscall.EPOLLIN))
}

func (s *server) address() string {
	name, err := syscall.Getsockname(s.listener)
	if err != nil {
		return s.Listen
	}
	local := name.(*syscall.SockaddrInet4)
	return net.JoinHostPort(net.IP(local.Addr[:]).String(), strconv.Itoa(local.Port))
}

// stop ends serve, from any goroutine.
func (s *server) stop() {
	s.stopping.Store(true)
	syscall.Write(s.wake[1], []byte{0})
}

func (s *server) watch(fd int, events uint32) error {
	return syscall.EpollCtl(s.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// serve is the loop: send what is due, else read what has come, else sleep until something is due or comes.
func (s *server) serve() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
	defer s.close()
	events := make([]syscall.EpollEvent, 1024)
	for !s.stopping.Load() {
		// What has come is looked at once per burst, so that requests do not wait for a long step of many streams.
		timeout := int64(-1)
		if len(s.due) > 0 {
			timeout = max(s.due[0].due-now()-int64(s.Spin), 0)
		}
		n, err := s.wait(events, timeout)
		if err != nil {
			return fmt.Errorf("epoll_pwait2: %w", err)
		}
		for _, event := range events[:n] {
			s.handle(int(event.Fd), event.Events)
		}
		for burst := 0; len(s.due) > 0 && burst < 64; burst++ {
			left := s.due[0].due - now()
			if left > int64(s.Spin) || left > 0 && burst > 0 {
				break
			}
			for s.due[0].due > now() {
			}
			s.send(s.due.next())
		}
	}
	return nil
}

func (s *server) wait(events []syscall.EpollEvent, timeout int64) (int, error) {
	var limit *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(timeout)
		limit = &t
	}
	n, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(s.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(limit)), 0, 0)
	if errno == syscall.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (s *server) close() {
	for _, c := range s.conns {
		syscall.Close(c.fd)
	}
	for _, fd := range []int{s.listener, s.epoll, s.wake[0], s.wake[1]} {
		syscall.Close(fd)
	}
}

func (s *server) handle(fd int, events uint32) {
	switch {
	case fd == s.listener:
		s.accept()
		return
	case fd == s.wake[0]:
		return
	}
	c := s.conns[fd]
	if c == nil {
		return
	}
	if events&syscall.EPOLLERR != 0 {
		c.sentStamp(0)
	}
	if events&syscall.EPOLLOUT != 0 && len(c.out) > 0 {
		s.flush(c)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLRDHUP) != 0 {
		s.read(c)
	}
}

func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return // none left; or no descriptor left, and the client waits
		}
		c := &conn{fd: fd, number: s.connections}
		s.connections++
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		const flags = stampReceived | stampSoftware | stampSending | stampOnly | stampNumber
		c.stamps = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soTimestamping, flags|stampWritten) == nil ||
			syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soTimestamping, flags) == nil
		if s.watch(fd, syscall.EPOLLIN|syscall.EPOLLOUT|syscall.EPOLLRDHUP|edgeTriggered) != nil {
			syscall.Close(fd)
			continue
		}
		s.conns[fd] = c
		s.read(c)
	}
}

func (s *server) drop(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	delete(s.conns, c.fd)
	syscall.Close(c.fd)
}

// read reads all that has come and answers the requests in it.
func (s *server) read(c *conn) {
	var control [256]byte
	for !c.closed {
		vec := syscall.Iovec{Base: &s.scratch[0]}
		vec.SetLen(len(s.scratch))
		msg := syscall.Msghdr{Iov: &vec, Control: &control[0]}
		msg.Iovlen = 1
		msg.SetControllen(len(control))
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&msg)), 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return
		case errno != 0 || n == 0:
			s.drop(c)
			return
		}
		c.seen = now()
		c.received = 0
		eachControl(control[:msg.Controllen], func(level, kind int32, data []byte) {
			if level == syscall.SOL_SOCKET && kind == soTimestamping && len(data) >= 16 {
				c.received = int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
			}
		})
		c.in = append(c.in, s.scratch[:n]...)
		s.answer(c)
	}
}

// answer answers the requests that are complete. One that comes while a stream is under way waits for its end.
func (s *server) answer(c *conn) {
	for c.stream == nil && len(c.out) == 0 && !c.closed && len(c.in) > 0 {
		r, taken, err := parseRequest(c.in)
		if err != nil {
			c.closes = true
			s.write(c, refusal("400 Bad Request", err.Error(), 400))
			return
		}
		if taken == 0 {
			return
		}
		c.closes = r.closes
		switch r.method + " " + r.path {
		case "POST /v1/completions":
			s.begin(c, r, &completions)
		case "POST /v1/chat/completions":
			s.begin(c, r, &chat)
		case "GET /health":
			s.write(c, reply("200 OK", "text/plain", nil))
		case "GET /version":
			s.write(c, reply("200 OK", "application/json", []byte(`{"version":"pacedserver"}`)))
		case "GET /v1/models":
			s.write(c, reply("200 OK", "application/json", []byte(`{"object":"list","data":[{"id":"`+s.Model+`","object":"model","owned_by":"pacedserver","root":"`+s.Model+`","max_model_len":1048576}]}`)))
		case "GET /log":
			var log bytes.Buffer
			if err := writeLog(&log, s.records); err != nil {
				s.write(c, refusal("500 Internal Server Error", err.Error(), 500))
				break
			}
			s.write(c, reply("200 OK", "application/jsonl", log.Bytes()))
		case "POST /reset":
			s.records = nil
			s.write(c, reply("200 OK", "text/plain", nil))
		default:
			s.write(c, reply("404 Not Found", "application/json", []byte(`{"detail":"Not Found"}`)))
		}
		if !c.closed {
			c.in = append(c.in[:0], c.in[taken:]...)
		}
	}
}

// begin starts a stream.
func (s *server) begin(c *conn, r request, words *wording) {
	var body completion
	if err := json.Unmarshal(r.body, &body); err != nil {
		s.write(c, refusal("400 Bad Request", err.Error(), 400))
		return
	}
	if !body.Stream {
		s.write(c, refusal("400 Bad Request", "only streams are served here: set stream to true", 400))
		return
	}
	tokens := s.Tokens
	if asked := max(body.MaxTokens, body.MaxCompletionTokens); asked > 0 && !s.Force {
		tokens = asked
	}
	chunks := (tokens + s.PerChunk - 1) / s.PerChunk
	number := len(s.records)
	id := r.id
	if id == "" || strings.ContainsAny(id, "\"\\") {
		id = strconv.Itoa(number)
	}
	arrived := c.received
	if arrived == 0 {
		arrived = c.seen
	}
	times := make(moments, 4*chunks) // one allocation for the four lists
	record := &record{
		ID: id, Conn: c.number, Received: moment(c.received), Seen: moment(c.seen),
		Due: times[:0:chunks], Before: times[chunks : chunks : 2*chunks], After: times[2*chunks : 2*chunks : 3*chunks], Sent: times[3*chunks : 3*chunks],
		Tokens: make([]int, 0, chunks),
	}
	s.records = append(s.records, record)
	c.stream = &stream{
		conn: c, words: words, number: number, left: tokens, record: record, planned: s.firstDue(arrived, s.origin),
		usage: body.StreamOptions.IncludeUsage, prompt: promptTokens(cmp.Or(string(body.Prompt), string(body.Messages))),
	}
	c.stream.due = c.stream.planned
	if !s.Joined {
		record.HeadersBefore, record.HeadersAfter, record.HeadersSent = s.write(c, []byte(streamHead))
	}
	if !c.closed {
		s.due.add(c.stream)
	}
}

// send writes a stream's next chunk, which is due.
func (s *server) send(x *stream) {
	c, r := x.conn, x.record
	if c.closed {
		return
	}
	if len(c.out) > 0 { // the client reads too slowly: try again a little later, and let the log show it
		x.due = now() + int64(time.Millisecond)
		s.due.add(x)
		return
	}
	n := min(s.PerChunk, x.left)
	x.left -= n
	s.out = s.out[:0]
	if s.Joined && x.written == 0 {
		s.out = append(s.out, streamHead...)
	}
	s.out = x.words.tokens(s.out, r.ID, s.Model, n, x.written == 0, x.left == 0)
	before, after, sent := s.write(c, s.out)
	r.Due, r.Before, r.After, r.Sent = append(r.Due, moment(x.planned)), append(r.Before, before), append(r.After, after), append(r.Sent, sent)
	r.Tokens = append(r.Tokens, n)
	if s.Joined && x.written == 0 {
		r.HeadersBefore, r.HeadersAfter, r.HeadersSent = before, after, sent
	}
	x.written++
	if c.closed {
		return
	}
	if x.left > 0 {
		x.planned += int64(s.Gap)
		x.due = x.planned
		s.due.add(x)
		return
	}
	total := 0
	for _, n := range r.Tokens {
		total += n
	}
	s.out = x.words.end(s.out[:0], r.ID, s.Model, x.usage, x.prompt, total)
	c.stream = nil // before the write, which closes the connection if the client asked for that
	_, r.Done, _ = s.write(c, s.out)
	s.answer(c) // the next request may have come already
}

// write sends b and stamps it: right before, right after, and by the kernel.
func (s *server) write(c *conn, b []byte) (before, after, sent moment) {
	if c.closed {
		return 0, 0, 0
	}
	if len(c.out) > 0 {
		c.out = append(c.out, b...)
		return 0, 0, 0
	}
	before = moment(now())
	n := s.push(c, b)
	after = moment(now())
	if c.closed {
		return 0, 0, 0
	}
	if n < len(b) {
		c.out = append(c.out, b[n:]...)
		return before, 0, 0
	}
	sent = c.sentStamp(c.position - 1)
	if c.closes && c.stream == nil {
		s.drop(c)
	}
	return before, after, sent
}

// push sends as much of b as the send buffer takes.
func (s *server) push(c *conn, b []byte) int {
	done := 0
	for done < len(b) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&b[done])), uintptr(len(b)-done))
		switch errno {
		case 0:
			done += int(n)
			c.position += uint32(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return done
		default:
			s.drop(c)
			return done
		}
	}
	return done
}

func (s *server) flush(c *conn) {
	n := s.push(c, c.out)
	c.out = append(c.out[:0], c.out[n:]...)
	if len(c.out) > 0 || c.closed {
		return
	}
	if c.closes && c.stream == nil {
		s.drop(c)
		return
	}
	s.answer(c)
}

// sentStamp reads all send stamps there are and returns that of the byte at position, or 0.
func (c *conn) sentStamp(position uint32) (stamp moment) {
	if !c.stamps {
		return 0
	}
	var control [256]byte
	for {
		msg := syscall.Msghdr{Control: &control[0]}
		msg.SetControllen(len(control))
		_, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&msg)), msgErrqueue|syscall.MSG_DONTWAIT)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return stamp
		}
		var at int64
		var number uint32
		known := false
		eachControl(control[:msg.Controllen], func(level, kind int32, data []byte) {
			switch {
			case level == syscall.SOL_SOCKET && kind == soTimestamping && len(data) >= 16:
				at = int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
			case level == syscall.SOL_IP && kind == syscall.IP_RECVERR && len(data) >= 16:
				known = data[4] == originTimestamps
				number = binary.NativeEndian.Uint32(data[12:])
			}
		})
		if known && number == position {
			stamp = moment(at)
		}
	}
}

// eachControl walks the control messages of a read.
func eachControl(b []byte, f func(level, kind int32, data []byte)) {
	for len(b) >= syscall.SizeofCmsghdr {
		header := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(header.Len)
		if length < syscall.SizeofCmsghdr || length > len(b) {
			return
		}
		f(header.Level, header.Type, b[syscall.SizeofCmsghdr:length])
		b = b[min(syscall.CmsgSpace(length-syscall.SizeofCmsghdr), len(b)):]
	}
}
