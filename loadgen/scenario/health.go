package scenario

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"servebench/loadgen/wire"
	"servebench/results"
)

// A healthCheck is what the client process looks at in itself before the load, to be compared after it.
type healthCheck struct {
	cpu                  time.Duration
	hasCPU               bool
	gcPauses, schedulers *metrics.Float64Histogram
	steps                int64
	offset               time.Duration
}

const (
	gcPauseMetric   = "/sched/pauses/total/gc:seconds"
	schedulerMetric = "/sched/latencies:seconds"
)

func checkHealth(clock *wire.Clock) healthCheck {
	samples := []metrics.Sample{{Name: gcPauseMetric}, {Name: schedulerMetric}}
	metrics.Read(samples)
	h := healthCheck{steps: clock.Check(), offset: clock.Offset()}
	h.gcPauses, h.schedulers = histogram(samples[0]), histogram(samples[1])
	h.cpu, h.hasCPU = cpuTime()
	return h
}

// histogram copies what the runtime may use again.
func histogram(s metrics.Sample) *metrics.Float64Histogram {
	if s.Value.Kind() != metrics.KindFloat64Histogram {
		return nil
	}
	h := s.Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: append([]uint64(nil), h.Counts...), Buckets: h.Buckets}
}

// processors is how many processors the client may use.
var processors = runtime.GOMAXPROCS(0)

// roomForPacer lets the runtime run a thread more than there are processors: the pacer of an open loop keeps its place while it waits.
var roomForPacer = sync.OnceFunc(func() { wire.Room(1) })

// since is what the client measured about itself from the earlier check to this one.
func (h healthCheck) since(earlier healthCheck) *results.Client {
	c := &results.Client{Cores: processors}
	if h.hasCPU && earlier.hasCPU {
		used := h.cpu - earlier.cpu
		c.CPU = &used
	}
	if pauses, ok := difference(h.gcPauses, earlier.gcPauses); ok {
		count, total, most := int64(0), 0.0, 0.0
		for i, n := range pauses.Counts {
			if n == 0 {
				continue
			}
			count += int64(n)
			top := bound(pauses, i)
			most = max(most, top)
			total += float64(n) * top
		}
		longest, sum := seconds(most), seconds(total)
		c.GCPauses, c.GCPauseMax, c.GCPauseTotal = &count, &longest, &sum
	}
	if waits, ok := difference(h.schedulers, earlier.schedulers); ok {
		if p99, ok := quantile(waits, 0.99); ok {
			wait := seconds(p99)
			c.SchedulerP99 = &wait
		}
	}
	if h.steps != earlier.steps {
		step := h.offset - earlier.offset
		c.ClockStep = &step
	}
	return c
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func difference(now, before *metrics.Float64Histogram) (*metrics.Float64Histogram, bool) {
	if now == nil || before == nil || len(now.Counts) != len(before.Counts) {
		return nil, false
	}
	d := &metrics.Float64Histogram{Counts: make([]uint64, len(now.Counts)), Buckets: now.Buckets}
	for i := range d.Counts {
		d.Counts[i] = now.Counts[i] - before.Counts[i]
	}
	return d, true
}

// bound is the upper end of bucket i, or its lower end where that is infinite.
func bound(h *metrics.Float64Histogram, i int) float64 {
	if top := h.Buckets[i+1]; !math.IsInf(top, 1) {
		return top
	}
	return h.Buckets[i]
}

// quantile is an upper bound of the q-quantile; false when nothing was counted.
func quantile(h *metrics.Float64Histogram, q float64) (float64, bool) {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	rank, seen := uint64(math.Ceil(q*float64(total))), uint64(0)
	for i, n := range h.Counts {
		if seen += n; seen >= rank {
			return bound(h, i), true
		}
	}
	return 0, false
}
