package schedule

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"servebench/internal/numpy"
)

// Strategies of a ramp.
const (
	Linear      = "linear"
	Exponential = "exponential"
)

// VLLM is the arrival process of vLLM 0.33's client. The zero value sends everything at
// once.
type VLLM struct {
	// Rate is in requests per second; 0 is infinite, which is all at once.
	Rate float64
	// Burstiness is the shape of the gamma distribution of the gaps: 1 is a Poisson
	// process, less is burstier, more is more regular, infinity is constant. 0 is 1.
	Burstiness float64
	// Ramp is Linear or Exponential, or empty; with it the rate at request i goes from
	// Start to End, in requests per second, and Rate is not used. Progress counts
	// requests, not time.
	Ramp       string
	Start, End int
}

func (v VLLM) normal() VLLM {
	if v.Rate == 0 {
		v.Rate = math.Inf(1)
	}
	if v.Burstiness == 0 {
		v.Burstiness = 1
	}
	return v
}

// RateAt is the rate at request i of n, in requests per second.
func (v VLLM) RateAt(i, n int) float64 {
	progress := float64(i) / float64(max(n-1, 1))
	start := float64(v.Start)
	switch v.Ramp {
	case Linear:
		return start + float64(float64(v.End-v.Start)*progress)
	case Exponential:
		return start * numpy.Pow(float64(v.End)/start, progress)
	}
	return v.normal().Rate
}

// Rates is the rate at each of n requests, in requests per second.
func (v VLLM) Rates(n int) []float64 {
	rates := make([]float64, n)
	for i := range rates {
		rates[i] = v.RateAt(i, n)
	}
	return rates
}

// Offsets is when each of n requests is due, in seconds after the start. Without a ramp the
// last one is due exactly n/Rate seconds after it. The random numbers come from rng, which
// is NumPy's global generator in the state in which the dataset left it. Nothing is drawn
// at infinite rate or burstiness.
//
// A user's flags go through CheckFlags first: there a zero is a zero, and refused.
func (v VLLM) Offsets(n int, rng *numpy.Legacy) ([]float64, error) {
	v = v.normal()
	if err := v.check(n); err != nil {
		return nil, err
	}
	offsets := make([]float64, n)
	at := 0.0
	for i := range offsets {
		rate := v.RateAt(i, n)
		gap := 0.0
		switch {
		case math.IsInf(rate, 1):
		case math.IsInf(v.Burstiness, 1):
			gap = 1 / rate
		default:
			gap = rng.Gamma(v.Burstiness, 1/float64(rate*v.Burstiness))
		}
		at += gap
		offsets[i] = at
	}
	if v.Ramp == "" && at != 0 {
		factor := float64(n) / v.Rate / at
		for i := range offsets {
			offsets[i] = float64(offsets[i] * factor)
		}
	}
	return offsets, nil
}

// Due is Offsets as due times.
func (v VLLM) Due(n int, rng *numpy.Legacy) (iter.Seq[time.Duration], error) {
	offsets, err := v.Offsets(n, rng)
	if err != nil {
		return nil, err
	}
	return Due(offsets), nil
}

// CheckFlags says what vLLM would refuse about n requests at the rate and the burstiness
// given, where a zero is a zero. The words are vLLM's, which scripts look for.
func (v VLLM) CheckFlags(n int) error {
	if !(v.Burstiness > 0) {
		return asVLLM("A positive burstiness factor is expected, but given %s.", float(v.Burstiness))
	}
	return v.check(n)
}

func (v VLLM) check(n int) error {
	switch {
	case !(v.Burstiness > 0):
		return asVLLM("A positive burstiness factor is expected, but given %s.", float(v.Burstiness))
	case n <= 0:
		return asVLLM("No requests provided.")
	case v.Ramp != "" && v.Ramp != Linear && v.Ramp != Exponential:
		return fmt.Errorf("no ramp-up strategy %q: have %s, %s", v.Ramp, Linear, Exponential)
	case v.Ramp == Exponential && v.Start <= 0:
		return fmt.Errorf("an exponential ramp-up cannot start at %d requests per second: start above 0", v.Start)
	}
	for i := range n {
		rate := v.Rate
		if v.Ramp != "" {
			rate = v.RateAt(i, n)
		}
		if !(rate > 0) {
			return asVLLM("Obtained non-positive request rate %s.", float(rate))
		}
		if v.Ramp == "" {
			break
		}
	}
	return nil
}

// asVLLM is an error in vLLM's own words, which scripts look for.
func asVLLM(format string, args ...any) error { return fmt.Errorf(format, args...) }

// float is v as Python prints it.
func float(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	case math.IsNaN(v):
		return "nan"
	}
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		format = 'e'
	}
	s := strconv.FormatFloat(v, format, -1, 64)
	if format == 'f' && !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// A Change is a line of the log of a ramp: at request Request the rate has reached RPS
// whole requests per second.
type Change struct{ RPS, Request int }

// Changes is the log that vLLM keeps of a ramp of n requests: it begins with the start
// rate and has one line for every whole rate reached. Without a ramp there is none.
func (v VLLM) Changes(n int) []Change {
	if v.Ramp == "" || n == 0 {
		return nil
	}
	last := v.Start
	log := []Change{{RPS: last}}
	for i := range n {
		for top := int(v.RateAt(i, n)); last < top; {
			last++
			log = append(log, Change{RPS: last, Request: i})
		}
	}
	return log
}
