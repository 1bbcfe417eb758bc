//go:build linux

package canary_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// A logged request is a line of the paced server's log.
type logged struct {
	ID       string  `json:"id"`
	Received int64   `json:"received_ns"`
	Due      []int64 `json:"due_ns"`
	Before   []int64 `json:"before_ns"`
	Sent     []int64 `json:"sent_ns"`
}

// differences are nanoseconds without sign.
type differences []int64

func (d differences) at(q float64) float64 {
	if len(d) == 0 {
		return -1
	}
	return float64(d[int(q*float64(len(d)-1)+0.5)]) / 1e6
}

func (d differences) String() string {
	return fmt.Sprintf("%.4f / %.4f / %.4f", d.at(.5), d.at(.99), d.at(1))
}

func abs(n int64) int64 { return max(n, -n) }

// TestAccuracy measures the whole command against a server that shares no code with it, and holds what the canary said of the client's error
// against what it was. It runs only when asked:
//
//	SERVEBENCH_ACCURACY=1 go test -run TestAccuracy -v -timeout 30m ./loadgen/canary
//
// SERVEBENCH_STREAMS lists other numbers of streams than the usual, SERVEBENCH_TOKENS another number of tokens; SERVEBENCH_PREFIX is put before the client's command
// (taskset, nice) and SERVEBENCH_FLAGS behind it.
func TestAccuracy(t *testing.T) {
	if os.Getenv("SERVEBENCH_ACCURACY") == "" {
		t.Skip("set SERVEBENCH_ACCURACY=1 to measure against the paced server")
	}
	dir := t.TempDir()
	for _, name := range []string{"servebench", "pacedserver"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, name), "servebench/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("milliseconds, p50 / p99 / max; load of the machine before: %s", strings.TrimSpace(string(load)))
	tokens := cmp.Or(os.Getenv("SERVEBENCH_TOKENS"), "100")
	for _, streams := range strings.Split(cmp.Or(os.Getenv("SERVEBENCH_STREAMS"), "1,100,500,1000,2000"), ",") {
		n, err := strconv.Atoi(streams)
		if err != nil {
			t.Fatal(err)
		}
		measure(t, dir, n, tokens)
	}
}

func measure(t *testing.T, dir string, streams int, tokens string) {
	server := exec.Command(filepath.Join(dir, "pacedserver"), "-listen", "127.0.0.1:0", "-first", "50ms", "-gap", "20ms", "-tokens", tokens, "-force-tokens")
	server.Stderr = os.Stderr
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on "))

	out := filepath.Join(dir, fmt.Sprintf("run-%d", streams))
	prompts := max(2*streams, 20)
	args := append(strings.Fields(os.Getenv("SERVEBENCH_PREFIX")), filepath.Join(dir, "servebench"), "bench", "serve", "--backend", "openai", "--base-url", url,
		"--model", "paced", "--dataset-name", "random", "--random-input-len", "100", "--random-output-len", tokens, "--num-prompts", strconv.Itoa(prompts),
		"--max-concurrency", strconv.Itoa(streams), "--skip-tokenizer-init", "--disable-tqdm", "--out", out)
	args = append(args, strings.Fields(os.Getenv("SERVEBENCH_FLAGS"))...)
	client := exec.Command(args[0], args[1:]...)
	client.Stderr = os.Stderr
	began := time.Now()
	if err := client.Run(); err != nil {
		t.Fatal(err)
	}
	usage := client.ProcessState.SysUsage().(*syscall.Rusage)

	resp, err := http.Get(url + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	truth, first := map[string]logged{}, int64(1<<62)
	for dec := json.NewDecoder(resp.Body); dec.More(); {
		var r logged
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		truth[r.ID], first = r, min(first, r.Received)
	}
	run, err := results.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	recorder := summary.NewRecorder(summary.ConfigOf(run.Manifest()))
	var ttft, itl, alone, late differences
	events, failed := 0, 0
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		recorder.Add(rec)
		true, ok := truth[rec.RequestID]
		if !rec.OK() || !ok || len(rec.Chunks) != len(true.Sent) {
			failed++
			continue
		}
		events += len(rec.Chunks)
		ttft = append(ttft, abs(int64(rec.Chunks[0].At-rec.Written)-(true.Sent[0]-true.Received)))
		for i := range rec.Chunks {
			late = append(late, true.Before[i]-true.Due[i])
			if i == 0 {
				continue
			}
			e := abs(int64(rec.Chunks[i].At-rec.Chunks[i-1].At) - (true.Sent[i] - true.Sent[i-1]))
			itl = append(itl, e)
			if !rec.Chunks[i].Shared && !rec.Chunks[i-1].Shared {
				alone = append(alone, e)
			}
		}
	}
	for _, d := range []differences{ttft, itl, alone, late} {
		slices.Sort(d)
	}
	if failed > 0 || events == 0 {
		t.Errorf("%d streams: %d requests failed or are not in the server's log", streams, failed)
	}
	health := recorder.Summary(run.Manifest(), "", "").Health
	stated := ""
	for _, e := range health.OwnErrors() {
		stated += fmt.Sprintf("%s %.4f, ", e.Metric, float64(e.P99)/1e6)
	}
	canary := "none"
	if c := run.Manifest().Client; c != nil && c.Canary != nil {
		canary = fmt.Sprintf("%.4f, %.4f", float64(c.Canary.TTFT.P99)/1e6, float64(c.Canary.ITL.P99)/1e6)
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	t.Logf("%5d streams: TTFT error %v | ITL error %v (%.1f %% of gaps beside no shared read: %v) | the report says p99 %s(its canary %s) and %s | server late p99 %.3f | %.2f CPU s per million events, %d MB, %.1f ms from exec to the first request, %d major faults",
		streams, ttft, itl, 100*float64(len(alone))/float64(max(1, len(itl))), alone, stated, canary, health.State, late.at(.99),
		cpu.Seconds()/float64(events)*1e6, usage.Maxrss>>10, float64(first-began.UnixNano())/1e6, usage.Majflt)
}
