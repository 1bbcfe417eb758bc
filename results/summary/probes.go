package summary

import (
	"slices"

	"servebench/internal/numpy"
)

// Probes sums up the side stream of one-token probes. Latencies are milliseconds.
type Probes struct {
	Completed, Failed int
	Median, P99, Max  float64
}

// SumUpProbes is nil when no probe succeeded. Latencies of the successful ones are seconds.
func SumUpProbes(latencies []float64, failed int) *Probes {
	if len(latencies) == 0 {
		return nil
	}
	return &Probes{
		Completed: len(latencies), Failed: failed,
		Median: numpy.Median(latencies) * 1000,
		P99:    numpy.Percentile(latencies, 99) * 1000,
		Max:    slices.Max(latencies) * 1000,
	}
}

func ascending(xs []float64) []float64 {
	s := slices.Clone(xs)
	slices.Sort(s)
	return s
}
