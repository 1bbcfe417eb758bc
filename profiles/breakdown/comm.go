package breakdown

import (
	"slices"
	"strings"
)

// bytesOf are the sizes of torch's element types.
var bytesOf = map[string]int64{
	"float": 4, "float32": 4, "half": 2, "float16": 2, "bfloat16": 2, "double": 8, "float64": 8, "byte": 1, "uint8": 1, "char": 1, "int8": 1,
	"int": 4, "int32": 4, "long": 8, "int64": 8, "short": 2, "int16": 2, "bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
}

// commFigures reports communication, and how much of it computation hides.
func (a *analysis) commFigures() {
	if a.report.AllDevices == nil {
		return
	}
	out := &Comm{}
	for _, c := range a.files {
		// Devices are compared with themselves only. Rows are in the order of device and start.
		for from := 0; from < len(c.rows); {
			dev := c.rows[from].device
			var active, hidden []span // active is of communication
			var compute []span
			for ; from < len(c.rows) && c.rows[from].device == dev; from++ {
				r := &c.rows[from]
				s := span{r.start, r.end}
				if r.kind == kindComm {
					out.Kernels++
					active = extended(active, s)
					continue
				}
				hidden = extended(hidden, s)
				if r.kind == kindCompute {
					compute = extended(compute, s)
				}
			}
			out.Comm += length(active)
			out.Compute += length(compute)
			out.Overlap += overlap(active, compute)
			out.ExposedCopies += length(active) - overlap(active, hidden)
		}
	}
	out.Exposed = out.Comm - out.Overlap
	if out.Comm > 0 {
		out.Ratio = ptr(round(float64(out.Overlap)/float64(out.Comm), 6))
	}
	out.Collectives = a.collectives()
	out.Skew = a.skew()
	if out.Kernels > 0 || out.Compute > 0 {
		a.report.Comm = out
	}
}

func (a *analysis) collectives() []Collective {
	type key struct {
		name string
		size int64
	}
	type sum struct {
		Collective
		busBytes float64
		known    bool
	}
	sums := map[key]*sum{}
	for _, c := range a.files {
		for i := range c.comms {
			r := &c.comms[i]
			k := key{r.name, r.size}
			s := sums[k]
			if s == nil {
				s = &sum{Collective: Collective{Name: r.name}, known: true}
				if r.size > 0 {
					s.GroupSize = ptr(r.size)
				}
				sums[k] = s
			}
			s.Count++
			s.Total += r.end - r.start
			width, ok := bytesOf[strings.ToLower(r.dtype)]
			if !ok || !r.hasLen {
				s.known = false
				continue
			}
			n := max(r.in, r.out) * width
			if s.Bytes == nil {
				s.Bytes = ptr(int64(0))
			}
			*s.Bytes += n
			s.busBytes += float64(n) * busFactor(r.name, r.size)
		}
	}
	var out []Collective
	for _, s := range sums {
		if !s.known {
			s.Bytes = nil
		} else if s.Total > 0 && s.GroupSize != nil && *s.GroupSize > 1 {
			s.BusBandwidth = ptr(round(s.busBytes/float64(s.Total), 6))
		}
		out = append(out, s.Collective)
	}
	slices.SortFunc(out, func(x, y Collective) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		if x.Name != y.Name {
			return strings.Compare(x.Name, y.Name)
		}
		return cmpInt(groupSize(x), groupSize(y))
	})
	return out
}

func groupSize(c Collective) int64 {
	if c.GroupSize == nil {
		return 0
	}
	return *c.GroupSize
}

// busFactor turns the size of a message into what each link carries, as nccl-tests
// defines bus bandwidth.
func busFactor(name string, ranks int64) float64 {
	if ranks < 2 {
		return 0
	}
	n := float64(ranks)
	switch s := strings.ToLower(strings.ReplaceAll(name, "_", "")); {
	case strings.Contains(s, "allreduce"):
		return 2 * (n - 1) / n
	case strings.Contains(s, "allgather"), strings.Contains(s, "reducescatter"), strings.Contains(s, "alltoall"):
		return (n - 1) / n
	}
	return 1
}

// skew compares the ranks' calls of the same collective: by group and sequence number,
// else by their order.
func (a *analysis) skew() *Skew {
	if !a.several() {
		return nil
	}
	type key struct {
		name, group string
		seq         int64
		numbered    bool
	}
	type call struct {
		start, length int64
		file          int
	}
	calls := map[key][]call{}
	for i, c := range a.files {
		rows := slices.Clone(c.comms)
		slices.SortStableFunc(rows, func(x, y commRow) int { return cmpInt(x.start, y.start) })
		order := map[key]int64{}
		for _, r := range rows {
			k := key{name: r.name, group: r.group}
			if r.hasSeq {
				k.seq, k.numbered = r.seq, true
			} else {
				n := order[k]
				order[k]++
				k.seq = n
			}
			calls[k] = append(calls[k], call{r.start, r.end - r.start, i})
		}
	}
	out := &Skew{Waiting: map[string]int64{}}
	var spread []int64
	for _, list := range calls {
		files := map[int]bool{}
		for _, c := range list {
			files[c.file] = true
		}
		// A sequence number that one file used twice says nothing.
		if len(list) < 2 || len(files) != len(list) {
			continue
		}
		out.Matched++
		low, high, least := list[0].start, list[0].start, list[0].length
		for _, c := range list {
			low, high, least = min(low, c.start), max(high, c.start), min(least, c.length)
		}
		spread = append(spread, high-low)
		for _, c := range list {
			out.Waiting[a.files[c.file].meta.Name] += c.length - least
		}
	}
	if out.Matched == 0 {
		return nil
	}
	out.Start = statsOf(spread)
	return out
}

// copyFigures reports copies by kind.
func (a *analysis) copyFigures() {
	type sum struct {
		Copy
		sizes []int64
		small int64
	}
	sums := map[uint32]*sum{}
	for _, c := range a.files {
		if len(c.copies) == 0 {
			continue
		}
		compute := map[uint16][]span{}
		for i := range c.rows {
			if r := &c.rows[i]; r.kind != kindCopy {
				compute[r.device] = extended(compute[r.device], span{r.start, r.end})
			}
		}
		for _, r := range c.copies {
			s := sums[r.name]
			if s == nil {
				s = &sum{Copy: Copy{Name: a.lex.names.Text(r.name)}}
				sums[r.name] = s
			}
			s.Count++
			s.Total += r.end - r.start
			s.Overlapped += within(compute[r.device], r.start, r.end)
			if r.hasBytes {
				s.sizes = append(s.sizes, r.bytes)
				if r.bytes < 64<<10 {
					s.small++
				}
			}
		}
	}
	for _, s := range sums {
		if st := statsOf(s.sizes); st != nil && st.Count == s.Count {
			s.Bytes, s.P50Bytes = ptr(st.Total), ptr(st.P50)
			s.Small = ptr(round(float64(s.small)/float64(s.Count), 6))
			if s.Total > 0 {
				s.Bandwidth = ptr(round(float64(st.Total)/float64(s.Total), 6))
			}
		}
		a.report.Copies = append(a.report.Copies, s.Copy)
	}
	slices.SortFunc(a.report.Copies, func(x, y Copy) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		return strings.Compare(x.Name, y.Name)
	})
}
