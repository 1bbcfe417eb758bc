package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseFault(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Fault
	}{
		{"", Fault{}},
		{"status=503, message=busy, try later", Fault{Status: 503, Message: "busy, try later", ErrorMessage: "busy, try later"}},
		{"stall=2s@5,freeze=1s", Fault{Stall: 2 * time.Second, StallAt: 5, Freeze: time.Second, FreezeAt: 1}},
		{"cut=reset@3,share=0.25,from=2,to=9", Fault{Cut: CutReset, CutAt: 3, Share: 0.25, From: 2, To: 9}},
		{"error=-1,malformed=2,interval=4,split=7", Fault{ErrorAt: -1, MalformedAt: 2, Interval: 4, Split: 7}},
		{"comments,crlf,no-space,no-usage,no-done", Fault{Comments: true, CRLF: true, NoSpace: true, NoUsage: true, NoDone: true}},
		{"before-headers=1ms,before-first=2ms", Fault{BeforeHeaders: ms, BeforeFirst: 2 * ms}},
	} {
		if got, err := ParseFault(tc.text); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("ParseFault(%q) = %+v, %v; want %+v", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{"status=200", "status=x", "explode", "cut=softly", "share=2", "share=NaN", "stall=-1s", "interval=-1", "comments=maybe"} {
		if _, err := ParseFault(text); err == nil {
			t.Errorf("ParseFault(%q) was accepted", text)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add("status=503, message=busy, try later")
	f.Add("stall=2s@5,cut=reset@3,share=1e-3")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := ParseFault(text)
		if err == nil && fault.check() != nil {
			t.Errorf("%q gives a fault that is not sound", text)
		}
	})
}

// told asks a quick server with a fault and returns the stream's body.
func told(t *testing.T, s *Server, fault string) string {
	t.Helper()
	return post(t.Context(), s, "/v1/completions", completion(ids(1, 10), 5), "X-Sim-Fault", fault).Body.String()
}

func TestFaultsInTheStream(t *testing.T) {
	s := newServer(t, quick(Config{}))
	defer s.Close()
	plain := told(t, s, "")
	for _, tc := range []struct {
		fault string
		holds func(body string) bool
	}{
		{"crlf", func(b string) bool {
			return strings.Count(b, "\r\n\r\n") == 7 && !strings.Contains(strings.ReplaceAll(b, "\r\n", ""), "\n")
		}},
		{"comments", func(b string) bool { return strings.Count(b, ": ping\n\n") == 7 && strings.Count(b, "data: ") == 7 }},
		{"no-space", func(b string) bool { return strings.Count(b, "data:{") == 6 && strings.HasSuffix(b, "data:[DONE]\n\n") }},
		{"split=3", func(b string) bool { return len(b) == len(plain) }},
		{"no-usage", func(b string) bool { return !strings.Contains(b, "usage") && strings.HasSuffix(b, "[DONE]\n\n") }},
		{"no-done", func(b string) bool { return strings.Contains(b, "usage") && !strings.Contains(b, "[DONE]") }},
		{"interval=3", func(b string) bool { return strings.Count(b, `"index":0`) == 3 }}, // 1, 3, 1
		{"malformed=2", func(b string) bool {
			return strings.Contains(b, "{\"id\":\"malformed\",\"choices\":[{\"index\":0,\"text\":\n\n") && strings.Count(b, `"logprobs"`) == 5
		}},
		{"error=2,message=out of luck", func(b string) bool {
			return strings.Count(b, `"logprobs"`) == 2 && strings.HasSuffix(b, "data: {\"error\": {\"message\": \"out of luck\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}\n\ndata: [DONE]\n\n")
		}},
		{"error=-1", func(b string) bool { return strings.HasPrefix(b, "data: {\"error\": ") }},
		{"cut=end@2", func(b string) bool { return strings.Count(b, `"logprobs"`) == 2 && !strings.Contains(b, "[DONE]") }},
	} {
		if body := told(t, s, tc.fault); !tc.holds(body) {
			t.Errorf("%s: the stream is\n%s", tc.fault, body)
		}
	}
	if body := told(t, s, "explode"); !strings.Contains(body, `no word \"explode\"`) {
		t.Errorf("a wrong wish was answered %s", body)
	}
	// The same wish as a key of the body.
	w := post(t.Context(), s, "/v1/completions", `{"prompt":"x","sim_fault":"status=429,message=slow down"}`)
	if got, want := w.Body.String(), `{"error":{"message":"slow down","type":"TooManyRequests","param":null,"code":429}}`; w.Code != 429 || got != want {
		t.Errorf("%d %s; want 429 %s", w.Code, got, want)
	}
}

func TestFaultsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{FirstToken: 10 * ms, BetweenTokens: 10 * ms})
		defer s.Close()
		for i, tc := range []struct {
			fault   string
			headers time.Duration
			tokens  []time.Duration
		}{
			{"", 0, []time.Duration{10, 20, 30}},
			{"before-headers=50ms", 50, []time.Duration{50, 50, 50}},
			{"before-first=15ms", 0, []time.Duration{25, 25, 30}},
			{"stall=100ms@2", 0, []time.Duration{10, 120, 120}},
			{"freeze=100ms@2", 0, []time.Duration{10, 120, 130}},
		} {
			post(t.Context(), s, "/v1/completions", completion(ids(1, 10), 3), "X-Sim-Fault", tc.fault)
			l := s.Requests()[i]
			if got := time.Duration(l.HeadersDone - l.Received); got != tc.headers*ms {
				t.Errorf("%s: headers after %v; want %v", tc.fault, got, tc.headers*ms)
			}
			for k, token := range l.Tokens {
				if got := time.Duration(token.WriteDone - l.Received); got != tc.tokens[k]*ms {
					t.Errorf("%s: token %d after %v; want %v", tc.fault, k, got, tc.tokens[k]*ms)
				}
			}
			if l.Struck != tc.fault {
				t.Errorf("the log names the fault %q; want %q", l.Struck, tc.fault)
			}
		}
	})
}

// A frozen engine delays everybody, a stall only the one it strikes.
func TestFreezeStopsEverybody(t *testing.T) {
	for fault, want := range map[string]time.Duration{"freeze=1s@3": time.Second, "stall=1s@3": 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, costs(Config{}))
			defer s.Close()
			var group sync.WaitGroup
			group.Go(func() {
				post(context.Background(), s, "/v1/completions", completion(ids(1, 10), 6), "X-Sim-Fault", fault)
			})
			time.Sleep(time.Millisecond)
			group.Go(func() { post(context.Background(), s, "/v1/completions", completion(ids(2, 10), 10)) })
			group.Wait()
			for _, l := range s.Requests() {
				if l.Struck != "" {
					continue
				}
				var gap time.Duration
				for i := 1; i < len(l.Tokens); i++ {
					gap = max(gap, time.Duration(l.Tokens[i].WriteDone-l.Tokens[i-1].WriteDone))
				}
				if gap < want || gap > want+20*ms {
					t.Errorf("%s: the other stream's longest gap is %v; want about %v", fault, gap, want)
				}
			}
		})
	}
}

// While a stream stands still its tokens pile up; then they go out together.
func TestWaitingTokensAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{FirstToken: 10 * ms, BetweenTokens: 10 * ms})
		defer s.Close()
		body := strings.TrimSuffix(completion(ids(1, 10), 8), "}") + `,"return_token_ids":true}`
		stream := post(t.Context(), s, "/v1/completions", body, "X-Sim-Fault", "join,stall=45ms@2").Body.String()
		var events []int
		for _, part := range strings.Split(stream, `"token_ids":[`)[1:] {
			ids, _, _ := strings.Cut(part, "]")
			events = append(events, strings.Count(ids, ",")+1)
		}
		// The second waits from 20 to 65 ms; by then the third to sixth are there.
		if want := []int{1, 1, 4, 1, 1}; !slices.Equal(events, want) {
			t.Errorf("events of %v tokens; want %v", events, want)
		}
	})
}

func TestShareOfRequestsIsStruckBySeed(t *testing.T) {
	struck := func(seed uint64) (which string, n int) {
		f := Fault{Share: 0.3, From: 11, To: 1010}
		for i := 1; i <= 1100; i++ {
			if f.strikes(i, seed, hash(fmt.Sprintf("bench-%d", i))) {
				which += fmt.Sprint(i, " ")
				n++
			}
		}
		return which, n
	}
	one, n := struck(1)
	again, _ := struck(1)
	other, _ := struck(2)
	if n < 250 || n > 350 {
		t.Errorf("%d of 1000 were struck; want about 300", n)
	}
	if one != again || one == other {
		t.Error("the draw does not hang on the seed alone")
	}
}

// ask sends a request over a connection of its own and returns what came before the connection's end, and how it ended.
func ask(t *testing.T, addr, fault string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := completion(ids(1, 10), 5)
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Sim-Fault: %s\r\nContent-Length: %d\r\n\r\n%s", fault, len(body), body)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func TestCutConnections(t *testing.T) {
	_, addr := start(t, quick(Config{}))
	for _, tc := range []struct {
		fault string
		most  int
		want  error
	}{
		{"cut=reset@2", 2, syscall.ECONNRESET},
		{"cut=close@2", 2, io.ErrUnexpectedEOF},
		{"cut=close", 0, io.ErrUnexpectedEOF},
		{"cut=end@2", 2, nil},
	} {
		body, err := ask(t, addr, tc.fault)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: the connection ended with %v; want %v", tc.fault, err, tc.want)
		}
		// A reset can overtake what was sent before it.
		if n := strings.Count(body, `"logprobs"`); n > tc.most || n != tc.most && tc.want != syscall.ECONNRESET {
			t.Errorf("%s: %d tokens; want %d", tc.fault, n, tc.most)
		}
	}
}

func TestServerThatDies(t *testing.T) {
	s, addr := start(t, quick(Config{DieAfter: 2}))
	for range 2 {
		if _, err := ask(t, addr, ""); err != nil {
			t.Fatal(err)
		}
	}
	if body, err := ask(t, addr, ""); err == nil {
		t.Errorf("the third request was answered %s", body)
	}
	// The port closes as part of dying, on the server's own goroutine.
	for range 100 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("connecting to a dead server: %v", err)
			}
			break
		}
		conn.Close()
	}
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d requests in the log; want 2", n)
	}
}

func TestLogIsOneLineEach(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, costs(Config{Log: &log}))
		post(t.Context(), s, "/v1/completions", completion(ids(1, 10), 2), "X-Request-Id", "bench-7")
		time.Sleep(time.Second)
		s.Close()
		var kinds []string
		for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			var head struct{ Kind string }
			if err := json.Unmarshal([]byte(line), &head); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			kinds = append(kinds, head.Kind)
			if head.Kind == "request" {
				var l RequestLog
				if err := json.Unmarshal([]byte(line), &l); err != nil || !reflect.DeepEqual(l, s.Requests()[0]) {
					t.Errorf("%v: line %s; want %+v", err, line, s.Requests()[0])
				}
				if l.ID != "cmpl-bench-7" {
					t.Errorf("id %s", l.ID)
				}
			}
		}
		// A step is logged when its tokens are on their way, so that the request's line can overtake it.
		slices.Sort(kinds)
		if got, want := strings.Join(kinds, " "), "request step step step"; got != want {
			t.Errorf("lines %s; want %s", got, want)
		}
	})
}

func TestOldThingsAreForgotten(t *testing.T) {
	s := newServer(t, quick(Config{Keep: 3}))
	defer s.Close()
	for range 20 {
		post(t.Context(), s, "/v1/completions", completion(ids(1, 10), 3))
	}
	var numbers []int
	for _, l := range s.Requests() {
		numbers = append(numbers, l.Request)
	}
	if !reflect.DeepEqual(numbers, []int{18, 19, 20}) {
		t.Errorf("kept %v; want 18, 19, 20", numbers)
	}
	if steps := s.Steps(); len(steps) != 30 || steps[29].Number != steps[0].Number+29 {
		t.Errorf("kept %d steps; want 30 in order", len(steps))
	}
}
