package results

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mergeManifests is the manifest of the whole run, and what is worth telling of how its parts fit.
func mergeManifests(parts []*part, merging *Merging, o MergeOptions) (Manifest, []string) {
	m := parts[0].manifest
	merging.Shards = nil
	for _, p := range parts {
		pm := &p.manifest
		merging.Shards = append(merging.Shards, MergedShard{
			Shard: p.shard, Folder: filepath.Base(p.dir), Command: pm.Command, Machine: pm.Machine, Began: pm.Began, Ended: pm.Ended,
			Client: pm.Client, Audit: pm.Audit, Offsets: pm.Offsets, Outcome: pm.Outcome, Reason: pm.Reason, Records: pm.Records,
		})
		if pm.Created != 0 && (pm.Created < m.Created || m.Created == 0) {
			m.Created = pm.Created
		}
		if pm.Began != 0 && (pm.Began < m.Began || m.Began == 0) {
			m.Began = pm.Began
		}
		m.Ended = max(m.Ended, pm.Ended)
		if len(m.RateChanges) == 0 {
			m.RateChanges = pm.RateChanges
		}
	}
	m.Shard, m.Merge, m.Records, m.Files, m.Offsets, m.Audit = nil, merging, nil, nil, nil, nil
	m.Outcome, m.Reason = "", ""
	m.Machine = mergeMachines(parts)
	m.Client = mergeClients(parts)
	m.Profile = nil
	if p := bracketOf(parts); p != nil {
		m.Profile, m.Clocks = p.manifest.Profile, p.manifest.Clocks
		if m.Server.Command == nil {
			m.Server = p.manifest.Server
		}
	}
	m.Stamps = ""
	for _, p := range parts {
		// One machine without kernel stamps is enough to make the doubt general.
		if s := p.manifest.Stamps; m.Stamps == "" || s == "user" {
			m.Stamps = s
		}
	}
	var notes []string
	m.Warnings, notes = mergeWarnings(parts, merging, o)
	return m, notes
}

// bracketOf is the part that held the profiler's bracket; nil when there was none.
func bracketOf(parts []*part) *part {
	for _, p := range parts {
		if p.manifest.Profile != nil {
			return p
		}
	}
	return nil
}

// byHost are the parts by the machine they ran on, machines in the order in which they come first.
func byHost(parts []*part) [][]*part {
	var hosts [][]*part
	index := map[string]int{}
	for _, p := range parts {
		name := p.manifest.Machine.Host
		i, known := index[name]
		if !known || name == "" { // machines without a name are taken for different ones
			index[name] = len(hosts)
			hosts = append(hosts, []*part{p})
			continue
		}
		hosts[i] = append(hosts[i], p)
	}
	return hosts
}

// mergeMachines describes all machines as one: their names, and all their processors.
func mergeMachines(parts []*part) Machine {
	m := parts[0].manifest.Machine
	hosts := byHost(parts)
	if len(hosts) == 1 {
		return m
	}
	m.Cores = 0
	text := func(of func(Machine) string) string {
		var different []string
		for _, h := range hosts {
			if s := of(h[0].manifest.Machine); s != "" && !slices.Contains(different, s) {
				different = append(different, s)
			}
		}
		if n := len(different); n > 8 {
			different = append(different[:8], fmt.Sprintf("and %d more", n-8))
		}
		return strings.Join(different, ", ")
	}
	for _, h := range hosts {
		m.Cores += h[0].manifest.Machine.Cores
	}
	m.Host = text(func(m Machine) string { return m.Host })
	m.CPU = text(func(m Machine) string { return m.CPU })
	m.Kernel = text(func(m Machine) string { return m.Kernel })
	m.OS = text(func(m Machine) string { return m.OS })
	m.Arch = text(func(m Machine) string { return m.Arch })
	m.Go = text(func(m Machine) string { return m.Go })
	return m
}

// mergeClients is what all client processes together measured about themselves. What one of them did not
// measure, they did not measure together.
func mergeClients(parts []*part) *Client {
	var total Client
	for i, p := range parts {
		c := p.manifest.Client
		if c == nil {
			return nil
		}
		if i == 0 {
			total = *c
			continue
		}
		sum(&total.CPU, c.CPU)
		sum(&total.GCPauses, c.GCPauses)
		sum(&total.GCPauseTotal, c.GCPauseTotal)
		worst(&total.GCPauseMax, c.GCPauseMax)
		worst(&total.SchedulerP99, c.SchedulerP99)
		worst(&total.TTFTError, c.TTFTError)
		worst(&total.ITLError, c.ITLError)
		sum(&total.CPUWait, c.CPUWait)
		total.Canary = worseCanary(total.Canary, c.Canary)
		if total.ReceiveQueue != nil && c.ReceiveQueue != nil {
			both := *total.ReceiveQueue
			both.Add(*c.ReceiveQueue)
			total.ReceiveQueue = &both
		} else {
			total.ReceiveQueue = nil
		}
		if c.ClockStep != nil && (total.ClockStep == nil || c.ClockStep.Abs() > total.ClockStep.Abs()) {
			total.ClockStep = c.ClockStep // absent means that there was none
		}
	}
	total.Cores, total.Steal, total.PacketDrops, total.Retransmits, total.Pressure = 0, new(time.Duration), new(int64), new(int64), nil
	for _, host := range byHost(parts) {
		cores := 0
		// What the machine went through is one thing for all processes on it.
		steal, drops, sentAgain := new(time.Duration), new(int64), new(int64)
		for _, p := range host {
			c := p.manifest.Client
			cores += c.Cores
			worst(&steal, c.Steal)
			worst(&drops, c.PacketDrops)
			worst(&sentAgain, c.Retransmits)
			for what, share := range c.Pressure {
				if total.Pressure == nil {
					total.Pressure = map[string]float64{}
				}
				total.Pressure[what] = max(total.Pressure[what], share)
			}
		}
		sum(&total.Steal, steal)
		sum(&total.PacketDrops, drops)
		sum(&total.Retransmits, sentAgain)
		// Processes that share a machine share its processors.
		if all := host[0].manifest.Machine.Cores; len(host) > 1 && all > 0 {
			cores = min(cores, all)
		}
		total.Cores += cores
	}
	return &total
}

func sum[T int64 | time.Duration](into **T, v *T) {
	if *into == nil || v == nil {
		*into = nil
		return
	}
	*into = new(**into + *v)
}

// worseCanary is the worse of two, in every figure.
func worseCanary(a, b *Canary) *Canary {
	if a == nil || b == nil {
		return nil
	}
	worse := func(a, b *Error) *Error {
		if a == nil || b == nil {
			return nil
		}
		return &Error{max(a.P50, b.P50), max(a.P99, b.P99), max(a.Max, b.Max)}
	}
	return &Canary{a.Requests + b.Requests, a.Events + b.Events, worse(a.TTFT, b.TTFT), worse(a.ITL, b.ITL)}
}

func worst[T int64 | time.Duration](into **T, v *T) {
	if *into == nil || v == nil {
		*into = nil
		return
	}
	*into = new(max(**into, *v))
}

// mergeWarnings are the doubts of the parts, those of the merge, and notes.
func mergeWarnings(parts []*part, merging *Merging, o MergeOptions) (warnings, notes []string) {
	var texts []string
	of := map[string][]Shard{}
	for _, p := range parts {
		doubts := p.manifest.Warnings
		if o.Doubts != nil {
			doubts = slices.Concat(doubts, o.Doubts(&p.manifest))
		}
		for _, text := range doubts {
			if of[text] == nil {
				texts = append(texts, text)
			}
			if list := of[text]; len(list) == 0 || list[len(list)-1] != p.shard {
				of[text] = append(list, p.shard)
			}
		}
	}
	for _, text := range texts {
		if len(of[text]) < len(parts) {
			text = shards(of[text]) + ": " + text
		}
		warnings = append(warnings, text)
	}
	warnings = append(warnings, lateness(parts)...)

	addresses := map[string]bool{}
	stamps := map[string]bool{}
	for _, p := range parts {
		addresses[p.manifest.Settings.BaseURL] = true
		stamps[p.manifest.Stamps] = true
	}
	if len(addresses) > 1 {
		warnings = append(warnings, "the shards went to different addresses, and perhaps to different servers: "+strings.Join(slices.Sorted(maps.Keys(addresses)), ", "))
	}
	if stamps["kernel"] && stamps["user"] {
		warnings = append(warnings, "some shards stamped chunks in the kernel, others in user space: their latencies are not measured alike")
	}
	more, note := compareClocks(parts, merging)
	return append(warnings, more...), append(notes, note...)
}

// shards names shards for a sentence.
func shards(list []Shard) string {
	var names []string
	for _, s := range list {
		names = append(names, s.String())
	}
	if n := len(names); n > 8 {
		names = append(names[:8], fmt.Sprintf("and %d more", n-8))
	}
	if len(list) == 1 {
		return "shard " + names[0]
	}
	return "shards " + strings.Join(names, ", ")
}

// clockWarning is the difference between two clocks that a merge makes a warning of, when it is sure.
const clockWarning = time.Millisecond

const clocksMatter = "that moves arrivals against each other, and what was in flight at once; it moves no latency"

// compareClocks says how far the clocks of the parts' machines differ, by the reference that tells it best.
func compareClocks(parts []*part, merging *Merging) (warnings, notes []string) {
	hosts := byHost(parts)
	if len(hosts) == 1 {
		return nil, nil // one clock
	}
	best := ""
	var bestMost, bestLeast time.Duration
	for _, candidate := range hosts[0][0].manifest.Offsets {
		offsets := make([]ClockOffset, 0, len(hosts))
		for _, h := range hosts {
			for _, o := range h[0].manifest.Offsets {
				if o.Reference == candidate.Reference {
					offsets = append(offsets, o)
					break
				}
			}
		}
		if len(offsets) < len(hosts) {
			continue
		}
		most, least := apart(offsets)
		if best == "" || most < bestMost {
			best, bestMost, bestLeast = candidate.Reference, most, least
		}
	}
	if best == "" {
		return nil, []string{"how far the clocks of the shards' machines differ was not measured; " + clocksMatter}
	}
	merging.ClockReference, merging.ClockDifference = best, &bestMost
	notes = []string{fmt.Sprintf("the clocks of the shards' machines differ by at most %v, by %s; %s", bestMost.Round(time.Microsecond), best, clocksMatter)}
	if bestLeast > clockWarning {
		warnings = []string{fmt.Sprintf("the clocks of the shards' machines differ by at least %v, by %s; %s", bestLeast.Round(time.Microsecond), best, clocksMatter)}
	}
	return warnings, notes
}

// apart bounds the largest difference between two clocks: the most it can be, and the least it must be.
func apart(offsets []ClockOffset) (most, least time.Duration) {
	for i, a := range offsets {
		for _, b := range offsets[:i] {
			difference, within := (a.Offset - b.Offset).Abs(), a.Within+b.Within
			most = max(most, difference+within)
			least = max(least, difference-within)
		}
	}
	return most, least
}

// mergeOutcome is the worst of the parts' outcomes, with its reasons.
func mergeOutcome(parts []*part, missing bool) (Outcome, string) {
	worst := OK
	var reasons []string
	of := map[string][]Shard{}
	rank := map[Outcome]int{OK: 0, Interrupted: 1, Failed: 2}
	for _, p := range parts {
		outcome, reason := p.manifest.Outcome, p.manifest.Reason
		if outcome == "" {
			outcome, reason = Interrupted, "it ended without saying how"
		}
		if rank[outcome] > rank[worst] {
			worst = outcome
		}
		if outcome == OK {
			continue
		}
		if of[reason] == nil {
			reasons = append(reasons, reason)
		}
		of[reason] = append(of[reason], p.shard)
	}
	for i, reason := range reasons {
		if list := of[reason]; len(list) < len(parts) || missing {
			reasons[i] = shards(list) + ": " + reason
		}
	}
	if worst == OK && missing {
		worst, reasons = Interrupted, []string{"shards are missing"}
	}
	return worst, strings.Join(reasons, "; ")
}

func copyFile(source, dest string) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
