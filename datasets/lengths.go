package datasets

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"servebench/internal/numpy"
)

// lengths is a distribution of lengths, as the file spells it.
type lengths struct {
	Distribution string      `json:"distribution"`
	Value        json.Number `json:"value"`
	Min          json.Number `json:"min"`
	Max          json.Number `json:"max"`
	Alpha        json.Number `json:"alpha"`
	Average      json.Number `json:"average"`
	MedianRatio  json.Number `json:"median_ratio"`
	Mean         json.Number `json:"mean"`
	Sigma        json.Number `json:"sigma"`
}

// check says what is wrong with a distribution. whole: its values are used as they are, so they must be whole numbers.
func (l *lengths) check(whole bool) error {
	number := func(name string, of json.Number, least, most float64) error {
		v, err := of.Float64()
		switch {
		case of == "":
			return fmt.Errorf("%s needs %q", l.Distribution, name)
		case err != nil || !(v >= least && v <= most):
			return fmt.Errorf("%s is %s; want %s to %s", name, of, strconv.FormatFloat(least, 'g', -1, 64), strconv.FormatFloat(most, 'g', -1, 64))
		}
		return nil
	}
	wholeNumber := func(name string, of json.Number) error {
		if !isWhole(of) {
			return fmt.Errorf("%s is %s; want a whole number", name, of)
		}
		return nil
	}
	var errs []error
	switch l.Distribution {
	case "constant":
		errs = append(errs, number("value", l.Value, -mostTokens, mostTokens))
		if whole {
			errs = append(errs, wholeNumber("value", l.Value))
		}
	case "uniform":
		errs = append(errs, number("min", l.Min, math.SmallestNonzeroFloat64, mostTokens), number("max", l.Max, l.float(l.Min), mostTokens))
		if whole {
			errs = append(errs, wholeNumber("min", l.Min), wholeNumber("max", l.Max))
		}
	case "zipf":
		errs = append(errs, number("alpha", l.Alpha, math.Nextafter(1, 2), 1000))
	case "poisson":
		errs = append(errs, number("alpha", l.Alpha, 0, mostTokens))
	case "lognormal":
		if l.Average != "" {
			errs = append(errs, number("average", l.Average, 1, mostTokens))
			if l.MedianRatio != "" {
				errs = append(errs, number("median_ratio", l.MedianRatio, math.SmallestNonzeroFloat64, math.Nextafter(1, 0)))
			}
			break
		}
		errs = append(errs, number("mean", l.Mean, math.SmallestNonzeroFloat64, 100), number("sigma", l.Sigma, 0, 100))
	default:
		return fmt.Errorf("no distribution %q: have constant, uniform, lognormal, zipf, poisson", l.Distribution)
	}
	if l.Max != "" && l.Distribution != "uniform" {
		errs = append(errs, number("max", l.Max, 0, mostTokens), wholeNumber("max", l.Max))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lengths) float(of json.Number) float64 {
	v, _ := of.Float64() // checked
	return v
}

// isWhole says that a number is written as one: Python takes 12.0 for another kind.
func isWhole(of json.Number) bool { return !strings.ContainsAny(string(of), ".eE") }

// sample draws n lengths as vLLM's multi-turn script does from NumPy's global generator.
func (l *lengths) sample(rng *numpy.Legacy, n int) []int {
	values := make([]float64, n)
	draw := func(one func() float64) {
		for i := range values {
			values[i] = one()
		}
	}
	switch l.Distribution {
	case "constant":
		draw(func() float64 { return l.float(l.Value) })
	case "uniform":
		low, high := l.float(l.Min), l.float(l.Max)
		if isWhole(l.Min) && isWhole(l.Max) {
			draw(func() float64 { return float64(rng.Between(int(low), int(high))) })
		} else {
			draw(func() float64 { return rng.Uniform(low, high) })
		}
	case "zipf":
		draw(func() float64 { return float64(rng.Zipf(l.float(l.Alpha))) })
	case "poisson":
		draw(func() float64 { return float64(rng.Poisson(l.float(l.Alpha))) })
	case "lognormal":
		mean, sigma := l.beneath()
		draw(func() float64 { return rng.Lognormal(mean, sigma) })
		if l.Average != "" {
			scale := l.float(l.Average) / numpy.Mean(values)
			for i := range values {
				values[i] *= scale
			}
		}
	}
	most := math.Inf(1)
	if v := l.float(l.Max); v > 0 && l.Distribution != "uniform" {
		most = v
	}
	out := make([]int, n)
	for i, v := range values {
		v = min(v, most)
		if l.Distribution == "lognormal" {
			v = math.RoundToEven(v)
		}
		out[i] = int(min(v, 1<<53)) // what is too long for its text is told by name later
	}
	return out
}

// beneath are the parameters of the normal distribution beneath a lognormal one: given, or those that give an average and
// the ratio of median and average.
func (l *lengths) beneath() (mean, sigma float64) {
	if l.Average == "" {
		return l.float(l.Mean), l.float(l.Sigma)
	}
	ratio := 0.85
	if l.MedianRatio != "" {
		ratio = l.float(l.MedianRatio)
	}
	average := l.float(l.Average)
	median := float64(average * ratio)
	return numpy.Log(median), math.Sqrt(float64(2 * numpy.Log(average/median)))
}

// String is a distribution as the script's report names it.
func (l *lengths) String() string {
	if l == nil {
		return "Constant[0]"
	}
	or := func(v string) string {
		if v == "" {
			return "None"
		}
		return v
	}
	switch l.Distribution {
	case "constant":
		return fmt.Sprintf("Constant[%s]", l.Value)
	case "uniform":
		return fmt.Sprintf("UniformDistribution[%s, %s]", l.Min, l.Max)
	case "zipf":
		return fmt.Sprintf("ZipfDistribution[%s]", l.Alpha)
	case "poisson":
		return fmt.Sprintf("PoissonDistribution[%s]", l.Alpha)
	}
	if l.Average != "" {
		ratio := string(l.MedianRatio)
		if ratio == "" {
			ratio = "0.85"
		}
		return fmt.Sprintf("LognormalDistribution[%s, %s, %s]", l.Average, ratio, or(string(l.Max)))
	}
	return fmt.Sprintf("LognormalDistribution[%s, %s, %s]", l.Mean, l.Sigma, or(string(l.Max)))
}
