//go:build linux

package wire_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"servebench/loadgen/wire"
)

// epollReader is the least that a client can do: one thread that waits for all connections and reads each as it becomes ready, counting
// events. It returns how many it saw.
func epollReader(t testing.TB, address string, streams int, body string) int {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	request := fmt.Appendf(nil, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for range streams {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, request); err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			t.Fatal(err)
		}
	}
	ready := make([]unix.EpollEvent, 256)
	buffer := make([]byte, 32<<10)
	events, done := 0, 0
	for done < streams {
		n, err := unix.EpollWait(epoll, ready, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range ready[:n] {
			n, err := unix.Read(int(one.Fd), buffer)
			if err != nil || n == 0 {
				t.Fatalf("read %d, %v", n, err)
			}
			events += bytes.Count(buffer[:n], []byte("\n\n"))
			if bytes.HasSuffix(buffer[:n], []byte("0\r\n\r\n")) {
				done++
			}
		}
	}
	return events - streams // less [DONE]
}

// TestCost compares the processor time that a lone event costs, net of setting up: with a bare epoll loop, with net/http
// as it is, and with net/http on stamping connections. It runs only when asked:
// SERVEBENCH_ACCURACY=1 go test -run TestCost -v ./loadgen/wire
func TestCost(t *testing.T) {
	if os.Getenv("SERVEBENCH_ACCURACY") == "" {
		t.Skip("set SERVEBENCH_ACCURACY=1 to measure against the paced server")
	}
	for _, v := range []struct {
		streams int
		gap     time.Duration
		aligned bool
	}{
		{64, 5 * time.Millisecond, true},
		{64, 5 * time.Millisecond, false},
		{1000, 25 * time.Millisecond, true},
		{1000, 25 * time.Millisecond, false},
	} {
		url := startPaced(t, "-first", "600ms", "-gap", v.gap.String(), fmt.Sprintf("-align=%t", v.aligned))
		// spent is the processor time of a run with so many tokens a stream.
		spent := func(kind string, tokens int) float64 {
			p := pacedRun{streams: v.streams, tokens: tokens, gap: v.gap, prompt: 100, plain: kind == "net/http"}
			before := cpuTime()
			if kind == "epoll" {
				body := fmt.Sprintf(`{"model":"paced","prompt":%q,"max_tokens":%d,"stream":true}`, strings.Repeat("a ", p.prompt/2), tokens)
				if events := epollReader(t, url, v.streams, body); events != v.streams*tokens {
					t.Errorf("the epoll loop saw %d events, want %d", events, v.streams*tokens)
				}
			} else {
				for _, s := range p.load(t, url, wire.NewClock()) {
					if s.err != nil || len(s.reads) != tokens {
						t.Errorf("%s saw %d tokens, %v; want %d", kind, len(s.reads), s.err, tokens)
					}
				}
			}
			return float64((cpuTime() - before).Nanoseconds()) / 1e3
		}
		const few, many = 10, 110
		cost := map[string]float64{}
		for _, kind := range []string{"epoll", "net/http", "stamped"} {
			cost[kind] = (spent(kind, many) - spent(kind, few)) / float64((many-few)*v.streams)
		}
		t.Logf("%4d streams, aligned %t: epoll %.2f, net/http %.2f (%.2f times), stamped %.2f us/event (%.2f times epoll, %.2f times net/http)",
			v.streams, v.aligned, cost["epoll"], cost["net/http"], cost["net/http"]/cost["epoll"],
			cost["stamped"], cost["stamped"]/cost["epoll"], cost["stamped"]/cost["net/http"])
	}
}
