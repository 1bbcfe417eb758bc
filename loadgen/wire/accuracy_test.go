//go:build linux

package wire_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"servebench/loadgen/sse"
	"servebench/loadgen/wire"
)

// A pacedRun is one measurement of the client against the paced server.
type pacedRun struct {
	streams, tokens int
	first, gap      time.Duration
	prompt          int // bytes
	// rate is the number of requests a second; zero spreads them over one gap.
	rate float64
	// plain takes connections as net/http makes them, with user-space stamps after the body's Read.
	plain bool
}

// A pacedLog is one line of the paced server's log.
type pacedLog struct {
	ID       string  `json:"id"`
	Received int64   `json:"received_ns"`
	Due      []int64 `json:"due_ns"`
	Before   []int64 `json:"before_ns"`
	After    []int64 `json:"after_ns"`
	Sent     []int64 `json:"sent_ns"`
	Headers  int64   `json:"headers_sent_ns"`
}

// A seen is what the client saw of one stream.
type seen struct {
	due, released int64
	written       wire.Write
	headers       wire.Read
	reads         []wire.Read // of each token's event
	joined        int         // body reads that took several reads of the connection
	shared        int         // events that an earlier event's read completed
	followed      []bool      // events behind which their read brought more, so that their stamp is an upper bound
	err           error
}

// errorsOf are differences in nanoseconds, absolute and sorted.
type errorsOf []int64

func (e errorsOf) at(q float64) float64 {
	if len(e) == 0 {
		return -1
	}
	return float64(e[min(int(q*float64(len(e))), len(e)-1)]) / 1e3
}

func (e errorsOf) String() string {
	return fmt.Sprintf("p50 %8.1f  p90 %8.1f  p99 %8.1f  max %8.1f us", e.at(.5), e.at(.9), e.at(.99), e.at(1))
}

func abs(n int64) int64 { return max(n, -n) }

// startPaced builds and starts the paced server.
func startPaced(t testing.TB, args ...string) (url string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "pacedserver")
	if out, err := exec.Command("go", "build", "-o", binary, "servebench/cmd/pacedserver").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
}

// load runs the streams and returns what the client saw of each.
func (p pacedRun) load(t testing.TB, url string, clock *wire.Clock) []seen {
	t.Helper()
	transport := &http.Transport{
		MaxIdleConnsPerHost: p.streams, DisableCompression: true, ReadBufferSize: 16 << 10, WriteBufferSize: 16 << 10,
	}
	if !p.plain {
		transport.DialContext = (&wire.Dialer{Clock: clock}).DialContext
	}
	defer transport.CloseIdleConnections()
	body := fmt.Sprintf(`{"model":"paced","prompt":%q,"max_tokens":%d,"stream":true}`, strings.Repeat("a ", p.prompt/2), p.tokens)
	all := make([]seen, p.streams)
	pacer := wire.Precise(clock)
	var running sync.WaitGroup
	start := clock.Now() + int64(20*time.Millisecond)
	for i := range all {
		step := float64(p.gap) / float64(p.streams)
		if p.rate > 0 {
			step = 1e9 / p.rate
		}
		all[i].due = start + int64(float64(i)*step)
		if err := pacer.Until(context.Background(), all[i].due); err != nil {
			t.Fatal(err)
		}
		all[i].released = clock.Now()
		running.Go(func() { p.stream(transport, clock, url, i, body, &all[i]) })
	}
	running.Wait()
	return all
}

func (p pacedRun) stream(transport *http.Transport, clock *wire.Clock, url string, i int, body string, s *seen) {
	var x wire.Exchange
	s.reads = make([]wire.Read, 0, p.tokens+1)
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if c := wire.From(info.Conn); c != nil {
				c.Begin(&x)
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if p.plain {
				s.written = wire.Write{At: clock.Now()}
			}
		},
	}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "POST", url+"/v1/completions", strings.NewReader(body))
	if err != nil {
		s.err = err
		return
	}
	request.GetBody = nil
	request.Header.Set("X-Request-Id", strconv.Itoa(i))
	response, err := transport.RoundTrip(request)
	if err != nil {
		s.err = err
		return
	}
	defer response.Body.Close()
	s.headers = x.LastRead()
	last := s.headers.Seq
	var parser sse.Parser
	buffer := make([]byte, 16<<10)
	var read wire.Read
	events, length := 0, 0
	emit := func(e sse.Event) {
		if string(e.Data) != "[DONE]" {
			s.reads = append(s.reads, read)
			s.followed = append(s.followed, e.End < length)
			if events++; events > 1 {
				s.shared++
			}
		}
	}
	for {
		n, err := response.Body.Read(buffer)
		if p.plain {
			at := clock.Now()
			read = wire.Read{At: at, User: at}
		} else if read = x.LastRead(); read.Seq > last+1 {
			s.joined++
		}
		last = read.Seq
		events, length = 0, n
		if err := parser.Feed(buffer[:n], emit); err != nil {
			s.err = err
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			s.err = err
			return
		}
	}
	if s.err = parser.End(); !p.plain {
		s.written, _ = x.Written()
	}
}

func serverLog(t testing.TB, url string) map[string]pacedLog {
	t.Helper()
	response, err := http.Get(url + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	logs := map[string]pacedLog{}
	for lines := json.NewDecoder(response.Body); ; {
		var one pacedLog
		if err := lines.Decode(&one); err == io.EOF {
			return logs
		} else if err != nil {
			t.Fatal(err)
		}
		logs[one.ID] = one
	}
}

// An accuracy is how far the client was from the server's log.
type accuracy struct {
	ttft, itl               errorsOf // against the kernel's send stamps of the server
	itlBound                errorsOf // those of them where a stamp is an upper bound
	lag, write              errorsOf // reads: user minus kernel; requests: kernel stamp to the server's receive stamp
	late, serverLate        errorsOf
	early                   int // client stamps before the server's write began
	events, joined, shared  int
	kernelReads, kernelSent int
	cpu                     time.Duration
}

func (p pacedRun) measure(t testing.TB, url string) accuracy {
	clock := wire.NewClock()
	before := cpuTime()
	all := p.load(t, url, clock)
	a := accuracy{cpu: cpuTime() - before}
	logs := serverLog(t, url)
	for i, s := range all {
		l, ok := logs[strconv.Itoa(i)]
		if s.err != nil || !ok || len(s.reads) != len(l.Sent) {
			t.Errorf("stream %d: %v; %d tokens seen, %d sent", i, s.err, len(s.reads), len(l.Sent))
			continue
		}
		a.events += len(s.reads)
		a.joined += s.joined
		a.shared += s.shared
		if s.written.Kind == wire.Kernel {
			a.kernelSent++
		}
		a.write = append(a.write, abs(l.Received-s.written.At))
		a.late = append(a.late, s.released-s.due)
		a.ttft = append(a.ttft, abs((s.reads[0].At-s.written.At)-(l.Sent[0]-l.Received)))
		for k, r := range s.reads {
			if r.Kind == wire.Kernel {
				a.kernelReads++
			}
			a.lag = append(a.lag, int64(r.Lag()))
			if r.At < l.Before[k] {
				a.early++
			}
			a.serverLate = append(a.serverLate, l.Before[k]-l.Due[k])
			if k > 0 && (s.followed[k] || s.followed[k-1]) {
				a.itlBound = append(a.itlBound, abs((r.At-s.reads[k-1].At)-(l.Sent[k]-l.Sent[k-1])))
			} else if k > 0 {
				a.itl = append(a.itl, abs((r.At-s.reads[k-1].At)-(l.Sent[k]-l.Sent[k-1])))
			}
		}
	}
	for _, e := range []errorsOf{a.ttft, a.itl, a.itlBound, a.lag, a.late, a.serverLate, a.write} {
		slices.Sort(e)
	}
	return a
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestAccuracy measures the client against the paced server's log and prints what it sees. It needs a quiet
// machine, so it runs only when asked: SERVEBENCH_ACCURACY=1 go test -run TestAccuracy -v ./loadgen/wire
func TestAccuracy(t *testing.T) {
	if os.Getenv("SERVEBENCH_ACCURACY") == "" {
		t.Skip("set SERVEBENCH_ACCURACY=1 to measure against the paced server")
	}
	type variant struct {
		name  string
		run   pacedRun
		flags []string
	}
	base := pacedRun{tokens: 50, first: 50 * time.Millisecond, gap: 20 * time.Millisecond, prompt: 4000, rate: 1000}
	var variants []variant
	for _, streams := range []int{1, 100, 500, 1000, 2000} {
		p := base
		p.streams = streams
		if streams > 1000 {
			p.gap = 40 * time.Millisecond
		}
		plain := p
		plain.plain = true
		variants = append(variants, variant{"spread", p, nil}, variant{"aligned", p, []string{"-align"}}, variant{"plain net/http", plain, nil})
	}
	few := base
	few.streams = 100
	large := few
	large.prompt, large.rate = 1<<20, 20
	variants = append(variants,
		variant{"headers with the first event", few, []string{"-joined"}},
		variant{"no wait for the first token", few, []string{"-joined", "-first", "0"}},
		variant{"1 MiB prompts", large, nil})
	for _, v := range variants {
		p := v.run
		t.Run(fmt.Sprintf("%d streams, %s", p.streams, v.name), func(t *testing.T) {
			url := startPaced(t, append([]string{"-first", p.first.String(), "-gap", p.gap.String()}, v.flags...)...)
			a := p.measure(t, url)
			t.Logf("%d events, %d kernel-stamped, %d of %d sends kernel-stamped, %d shared, %d joined, %d early, %.1f us CPU/event",
				a.events, a.kernelReads, a.kernelSent, p.streams, a.shared, a.joined, a.early, float64(a.cpu.Microseconds())/float64(a.events))
			t.Logf("|TTFT error|    %v", a.ttft)
			t.Logf("|ITL error|     %v", a.itl)
			t.Logf("  %5d bounds  %v", len(a.itlBound), a.itlBound)
			t.Logf("read lag        %v", a.lag)
			t.Logf("written-arrived %v", a.write)
			t.Logf("client late     %v", a.late)
			t.Logf("server late     %v", a.serverLate)
		})
	}
}
