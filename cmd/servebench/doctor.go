package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/canary"
	"servebench/loadgen/wire"
)

// A finding is one thing that the doctor looked at.
type finding struct {
	state, what, says string
	// change is what to do about it; empty when nothing is to be done.
	change string
}

// The states of a finding.
const (
	fine    = "ok"
	amiss   = "change"
	untold  = "unknown"
	noticed = "note"
)

func doctorCommand() *cobra.Command {
	var address string
	var concurrency int
	var insecure bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether this machine can measure, how exactly, and what to change",
		Long: `doctor looks at what limits or spoils a measurement on this machine: limits of files and ports, the processors' governor, clocks, other
load. It then rehearses a load against a server inside the process, whose times the kernel knows, and says how wrong the client is at that
concurrency. With --url it also measures the round trip to a server, without sending it any work.`,
		Example: `  servebench doctor --concurrency 1000
  servebench doctor --url http://127.0.0.1:8000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if concurrency < 1 {
				return fmt.Errorf("--concurrency %d: want at least 1", concurrency)
			}
			list := examine("/", concurrency)
			list = append(list, stamps(), clockSync(), rehearse(cmd.Context(), concurrency))
			if address != "" {
				list = append(list, roundTrip(cmd.Context(), address, insecure)...)
			}
			return tell(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().StringVar(&address, "url", "", "address of a server, to measure the round trip to it")
	cmd.Flags().IntVar(&concurrency, "concurrency", 100, "streams at once that the machine is to measure")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "do not check its TLS certificate")
	return cmd
}

// tell prints the findings, and then what to change.
func tell(w io.Writer, list []finding) error {
	var faults []error
	changes := 0
	for _, f := range list {
		_, err := fmt.Fprintf(w, "%-8s %-18s %s\n", f.state, f.what, f.says)
		faults = append(faults, err)
		if f.change != "" {
			_, err = fmt.Fprintf(w, "%-27s -> %s\n", "", f.change)
			faults = append(faults, err)
			changes++
		}
	}
	last := "nothing to change"
	if changes > 0 {
		last = fmt.Sprintf("%d to change", changes)
	}
	_, err := fmt.Fprintln(w, last)
	return errors.Join(append(faults, err)...)
}

// examine looks at the machine's own files, below root.
func examine(root string, concurrency int) []finding {
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	return []finding{
		processors(), files(concurrency), ports(read("proc/sys/net/ipv4/ip_local_port_range"), concurrency), governor(root),
		clockSource(read("sys/devices/system/clocksource/clocksource0/current_clocksource")),
		otherLoad(read("proc/loadavg"), read("proc/pressure/cpu")),
	}
}

func processors() finding {
	f := finding{state: fine, what: "processors", says: fmt.Sprintf("%d of %d may be used", runtime.GOMAXPROCS(0), runtime.NumCPU())}
	if runtime.GOMAXPROCS(0) < 2 {
		f.state, f.change = amiss, "one processor reads and writes in turn: give the client two"
	}
	return f
}

func files(concurrency int) finding {
	want := uint64(2*concurrency + 1024)
	have, err := wire.RaiseFileLimit(want)
	f := finding{state: fine, what: "open files", says: fmt.Sprintf("%d may be open, %d are wanted for %d streams", have, want, concurrency)}
	if err != nil {
		f.state, f.change = amiss, err.Error()
	}
	return f
}

// ports compares the local ports of one address with the streams that need one each.
func ports(span string, concurrency int) finding {
	f := finding{state: untold, what: "local ports", says: "this system does not tell"}
	bounds := strings.Fields(span)
	if len(bounds) != 2 {
		return f
	}
	first, err1 := strconv.Atoi(bounds[0])
	last, err2 := strconv.Atoi(bounds[1])
	if err1 != nil || err2 != nil || last < first {
		return f
	}
	n := last - first + 1
	f.state, f.says = fine, fmt.Sprintf("%d to one server from one address", n)
	// A port of a closed connection rests for a minute.
	if concurrency > n*9/10 {
		f.state = amiss
		f.change = fmt.Sprintf("give %d addresses with --source-address (on loopback: 127.0.0.2 127.0.0.3 ...), or more ports: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"", concurrency/(n*9/10)+1)
	}
	return f
}

func governor(root string) finding {
	f := finding{state: untold, what: "governor", says: "not told here, as in most virtual machines"}
	names, err := filepath.Glob(filepath.Join(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
	if err != nil || len(names) == 0 {
		return f
	}
	found := map[string]int{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil {
			found[strings.TrimSpace(string(b))]++
		}
	}
	var words []string
	for _, g := range slices.Sorted(maps.Keys(found)) {
		words = append(words, fmt.Sprintf("%s on %d", g, found[g]))
	}
	f.state, f.says = fine, strings.Join(words, ", ")
	if found["performance"] < len(names) {
		f.state, f.change = amiss, "a processor that has to wake up first is late: cpupower frequency-set -g performance"
	}
	return f
}

func clockSource(name string) finding {
	f := finding{state: fine, what: "clock source", says: name}
	switch name {
	case "":
		f.state, f.says = untold, "this system does not tell"
	case "hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit":
		f.state, f.change = amiss, "reading it takes a microsecond or is coarse: boot with clocksource=tsc if the processor's counter is constant"
	}
	return f
}

func otherLoad(loadavg, pressure string) finding {
	f := finding{state: untold, what: "other load", says: "this system does not tell"}
	one, _, _ := strings.Cut(loadavg, " ")
	load, err := strconv.ParseFloat(one, 64)
	if err != nil {
		return f
	}
	cores := runtime.NumCPU()
	f.state, f.says = fine, fmt.Sprintf("%.2f tasks on %d processors in the last minute", load, cores)
	if _, rest, ok := strings.Cut(pressure, "avg10="); ok {
		share, _, _ := strings.Cut(rest, " ")
		f.says += ", some waited for one in " + share + " % of the last 10 s"
	}
	if load > float64(cores)/2 {
		f.state, f.change = amiss, "stop what else runs here, keep processors for the client (taskset, cpusets), or give it precedence (nice -n -10)"
	}
	return f
}

func stamps() finding {
	if wire.Stamps() == wire.Kernel {
		return finding{state: fine, what: "kernel stamps", says: "the kernel stamps what comes and leaves, so that a busy client does not change a latency"}
	}
	return finding{
		state: amiss, what: "kernel stamps", says: "the kernel stamps nothing: every latency holds the client's own delay",
		change: "measure from a Linux machine, outside of sandboxes that have a network stack of their own (gVisor)",
	}
}

// rehearsed is the most streams of a rehearsal, which needs a connection's both ends on this machine.
const rehearsed = 2000

func rehearse(ctx context.Context, concurrency int) finding {
	f := finding{state: untold, what: "expected error"}
	streams := min(concurrency, rehearsed)
	if _, err := wire.RaiseFileLimit(uint64(2*streams + 1024)); err != nil {
		f.says = "not rehearsed: " + err.Error()
		return f
	}
	c, err := canary.Rehearse(ctx, wire.NewClock(), streams, 40)
	if err != nil || c == nil || c.TTFT == nil || c.ITL == nil {
		f.says = fmt.Sprintf("not rehearsed: %v", err)
		return f
	}
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	f.state = fine
	f.says = fmt.Sprintf("TTFT ± %.3f ms, ITL ± %.3f ms (p99) with %d streams of 50 tokens a second, %d tokens", ms(c.TTFT.P99), ms(c.ITL.P99), streams, c.Events)
	if c.TTFT.P99 > time.Millisecond || c.ITL.P99 > time.Millisecond {
		f.state, f.change = amiss, "fewer streams, more processors, or several clients (--shard); a server on the same machine takes processors from them"
	}
	return f
}

// roundTrip measures the way to a server: the connection, as the kernels see it, and an empty question.
func roundTrip(ctx context.Context, address string, insecure bool) []finding {
	const what = "round trip"
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return []finding{{state: amiss, what: what, says: fmt.Sprintf("%q is no address", address), change: "give http://host:port"}}
	}
	const tries = 10
	clock := wire.NewClock()
	dialer := &wire.Dialer{Clock: clock, Timeout: 5 * time.Second}
	var kernel time.Duration
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, to)
		if err == nil {
			if info, ok := wire.From(conn).Info(); ok {
				kernel = info.MinRTT
			}
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	best := time.Duration(0)
	for range tries {
		began := clock.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(address, "/")+"/health", nil)
		if err != nil {
			return []finding{{state: amiss, what: what, says: err.Error(), change: "give http://host:port"}}
		}
		resp, err := client.Do(req)
		if err != nil {
			f := finding{state: amiss, what: what, says: err.Error(), change: "is the server up, and the address right?"}
			var certificate *tls.CertificateVerificationError
			if errors.As(err, &certificate) {
				f.change = "let this machine know who signed the server's certificate, or give --insecure, here and to the load"
			}
			return []finding{f}
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if took := time.Duration(clock.Now() - began); best == 0 || took < best {
			best = took
		}
	}
	f := finding{state: noticed, what: what, says: fmt.Sprintf("%.3f ms for an empty question, the shortest of %d", float64(best)/1e6, tries)}
	if kernel > 0 {
		f.says += fmt.Sprintf("; %.3f ms of it the network's", float64(kernel)/1e6)
	}
	f.says += ": each TTFT holds one round trip"
	return []finding{f}
}
