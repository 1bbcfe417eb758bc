package scenario

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"servebench/results"
)

// A machineCheck is what the machine, and the process in it, went through so far. Nil and absent is what this system does not tell.
type machineCheck struct {
	at       time.Time
	wait     *time.Duration
	steal    *time.Duration
	pressure map[string]time.Duration
	drops    *int64
}

// checkMachine reads it.
func checkMachine() machineCheck {
	m := machineCheck{at: time.Now(), pressure: map[string]time.Duration{}}
	if waits, err := filepath.Glob("/proc/self/task/*/schedstat"); err == nil {
		for _, path := range waits {
			// Time on a processor, time ready and waiting for one, turns.
			fields := fieldsOf(path)
			if len(fields) < 2 {
				continue
			}
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				if m.wait == nil {
					m.wait = new(time.Duration)
				}
				*m.wait += time.Duration(n)
			}
		}
	}
	if fields := fieldsOf("/proc/stat"); len(fields) > 8 && fields[0] == "cpu" {
		const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
		if n, err := strconv.ParseInt(fields[8], 10, 64); err == nil {
			m.steal = new(time.Duration(n) * tick)
		}
	}
	for _, what := range []string{"cpu", "memory", "io"} {
		if fields := fieldsOf("/proc/pressure/" + what); len(fields) == 5 && fields[0] == "some" {
			if n, err := strconv.ParseInt(strings.TrimPrefix(fields[4], "total="), 10, 64); err == nil {
				m.pressure[what] = time.Duration(n) * time.Microsecond
			}
		}
	}
	if b, err := os.ReadFile("/proc/net/softnet_stat"); err == nil {
		drops := int64(0)
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 1 {
				n, _ := strconv.ParseInt(fields[1], 16, 64) // the kernel's own line
				drops += n
			}
		}
		m.drops = &drops
	}
	return m
}

// fieldsOf are the words of a file's first line.
func fieldsOf(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.Fields(line)
}

// since puts what happened from the earlier check to this one into c. A thread that ended in between takes its waiting with it, so
// that the sum is a lower bound.
func (m machineCheck) since(earlier machineCheck, c *results.Client) {
	if m.wait != nil && earlier.wait != nil {
		c.CPUWait = new(max(0, *m.wait-*earlier.wait))
	}
	if m.steal != nil && earlier.steal != nil {
		c.Steal = new(*m.steal - *earlier.steal)
	}
	if m.drops != nil && earlier.drops != nil {
		c.PacketDrops = new(*m.drops - *earlier.drops)
	}
	span := m.at.Sub(earlier.at)
	for what, now := range m.pressure {
		if then, ok := earlier.pressure[what]; ok && span > 0 {
			if c.Pressure == nil {
				c.Pressure = map[string]float64{}
			}
			c.Pressure[what] = min(1, float64(now-then)/float64(span))
		}
	}
}
