package breakdown

import (
	"slices"
	"strconv"
)

// launchFigures reports how long work waited between its call and its start.
func (a *analysis) launchFigures() {
	if a.report.AllDevices == nil {
		return
	}
	out := &Launch{}
	var dCall, dRet, firstCall, firstRet []int64
	for i, c := range a.files {
		perCall := make([]int64, len(c.calls))
		// A call is one launch for each stream that it puts work on. Nearly all use one.
		firstStream := make([]uint32, len(c.calls)) // device and stream, plus one; 0 is none
		more := map[[2]uint32]bool{}
		type queue struct{ calls, starts []int64 }
		queues := map[[2]uint16]*queue{}
		for _, j := range c.byStart() {
			r := &c.rows[j]
			if r.call < 0 {
				out.Unlinked++
				continue
			}
			out.Linked++
			call := &c.calls[r.call]
			perCall[r.call]++
			delay, ret := r.start-call.start, max(0, r.start-call.end)
			dCall, dRet = append(dCall, delay), append(dRet, ret)
			if r.start < call.end {
				out.BeforeReturn++
			}
			if r.start < call.start {
				out.BeforeCall++
			}
			if perCall[r.call] == 1 {
				firstCall, firstRet = append(firstCall, delay), append(firstRet, ret)
			}
			at := uint32(r.device)<<16 | uint32(r.stream) + 1
			switch firstStream[r.call] {
			case 0:
				firstStream[r.call] = at
			case at:
				continue
			default:
				key := [2]uint32{uint32(r.call), at}
				if more[key] {
					continue
				}
				more[key] = true
			}
			k := [2]uint16{r.device, r.stream}
			q := queues[k]
			if q == nil {
				q = &queue{}
				queues[k] = q
			}
			q.calls, q.starts = append(q.calls, call.start), append(q.starts, r.start)
		}
		for _, n := range perCall {
			out.MaxPerCall = max(out.MaxPerCall, n)
		}
		for k, q := range queues {
			slices.Sort(q.calls)
			if out.Queue == nil {
				out.Queue = map[string]Queue{}
			}
			out.Queue[a.streamKey(i, c, k[0], k[1])] = queueOf(q.calls, q.starts)
		}
	}
	out.DCall, out.DRet = delayOf(dCall), delayOf(dRet)
	if len(firstCall) == len(dCall) {
		out.FirstCall, out.FirstRet = out.DCall, out.DRet
	} else {
		out.FirstCall, out.FirstRet = delayOf(firstCall), delayOf(firstRet)
	}
	a.report.Launch = out
	if out.Unlinked > 0 {
		a.warn("%d of %d device rows are linked to no call in the trace: launch figures leave them out", out.Unlinked, out.Linked+out.Unlinked)
	}
}

// queueOf is how many launches waited: one more when a call begins, one fewer when its
// first row starts. Both lists are ascending.
func queueOf(calls, starts []int64) (q Queue) {
	first := min(calls[0], starts[0])
	last := max(calls[len(calls)-1], starts[len(starts)-1])
	depth, area, at := int64(0), int64(0), first
	for len(starts) > 0 {
		// A row that starts leaves before another call joins.
		next, change := starts[0], int64(-1)
		if len(calls) > 0 && calls[0] < next {
			next, change = calls[0], 1
			calls = calls[1:]
		} else {
			starts = starts[1:]
		}
		area += depth * (next - at)
		at = next
		depth += change
		q.Max = max(q.Max, depth)
	}
	for ; len(calls) > 0; calls = calls[1:] { // rows that started before their calls
		area += depth * (calls[0] - at)
		at = calls[0]
		depth++
		q.Max = max(q.Max, depth)
	}
	if last > first {
		q.Average = round(float64(area)/float64(last-first), 6)
	}
	return q
}

// streamKey names a stream: by itself in a trace of one device, else with device and file.
func (a *analysis) streamKey(file int, c *contents, dev, stream uint16) string {
	s := c.devices[dev].streams[stream]
	key := s.name
	if key == "" {
		key = strconv.FormatInt(s.number, 10)
	}
	if len(c.devices) > 1 {
		key = strconv.FormatInt(c.devices[dev].number, 10) + "/" + key
	}
	if a.several() {
		key = a.files[file].meta.Name + "/" + key
	}
	return key
}

func delayOf(ns []int64) *Delay {
	s := statsOf(ns)
	if s == nil {
		return nil
	}
	return &Delay{Count: s.Count, Mean: s.Mean, P50: s.P50, P99: s.P99, Max: s.Max}
}
