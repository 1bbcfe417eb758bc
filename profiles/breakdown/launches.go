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
		perCall := map[int32]int64{}
		type launch struct {
			call   int32
			device uint16
			stream uint16
		}
		first := map[launch]int64{}
		for _, j := range c.byStart() {
			r := &c.rows[j]
			if r.call < 0 {
				out.Unlinked++
				continue
			}
			out.Linked++
			call := &c.calls[r.call]
			perCall[r.call]++
			dCall = append(dCall, r.start-call.start)
			ret := max(0, r.start-call.end)
			dRet = append(dRet, ret)
			if r.start < call.end {
				out.BeforeReturn++
			}
			if r.start < call.start {
				out.BeforeCall++
			}
			if perCall[r.call] == 1 {
				firstCall = append(firstCall, r.start-call.start)
				firstRet = append(firstRet, ret)
			}
			key := launch{r.call, r.device, r.stream}
			if at, ok := first[key]; !ok || r.start < at {
				first[key] = r.start
			}
		}
		for _, n := range perCall {
			out.MaxPerCall = max(out.MaxPerCall, n)
		}
		// Queue depth: one up when a call begins, one down when its first row starts.
		type change struct {
			at    int64
			delta int64
		}
		changes := map[[2]uint16][]change{}
		for key, at := range first {
			k := [2]uint16{key.device, key.stream}
			changes[k] = append(changes[k], change{c.calls[key.call].start, 1}, change{at, -1})
		}
		for k, list := range changes {
			slices.SortFunc(list, func(x, y change) int {
				if x.at != y.at {
					return cmpInt(x.at, y.at)
				}
				return cmpInt(x.delta, y.delta) // a row that starts leaves before another call joins
			})
			var q Queue
			depth, area := int64(0), int64(0)
			for i, ch := range list {
				if i > 0 {
					area += depth * (ch.at - list[i-1].at)
				}
				depth += ch.delta
				q.Max = max(q.Max, depth)
			}
			if length := list[len(list)-1].at - list[0].at; length > 0 {
				q.Average = round(float64(area)/float64(length), 6)
			}
			if out.Queue == nil {
				out.Queue = map[string]Queue{}
			}
			out.Queue[a.streamKey(i, c, k[0], k[1])] = q
		}
	}
	out.DCall, out.DRet = delayOf(dCall), delayOf(dRet)
	out.FirstCall, out.FirstRet = delayOf(firstCall), delayOf(firstRet)
	a.report.Launch = out
	if out.Unlinked > 0 {
		a.warn("%d of %d device rows are linked to no call in the trace: launch figures leave them out", out.Unlinked, out.Linked+out.Unlinked)
	}
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
