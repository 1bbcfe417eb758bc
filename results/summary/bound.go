package summary

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/internal/lazy"
	"servebench/results"
)

// A Bound is a condition on a whole run: a figure, <= or >=, and a limit.
//
//	p99 ttft <= 300ms         a percentile, the mean, median, min or max of a latency
//	goodput >= 99%            the share of all requests that met objectives.goodput
//	failures <= 0             failed requests; with % their share
//	output_throughput >= 900  tokens a second; request_throughput, total_token_throughput likewise
type Bound struct {
	// Metric is the name of a latency, or goodput, failures and so on.
	Metric string
	// Statistic is mean, min, max or a percentile such as p99; empty where the metric has one value a run.
	Statistic string
	// AtMost says that the figure must not exceed Limit; else it must not fall below it.
	AtMost bool
	// Limit is in milliseconds, percent, tokens or requests per second, or a count.
	Limit float64
	// Share says that failures are counted as a share.
	Share bool
	text  string
}

// throughputs are the figures of a run in events per second.
var throughputs = map[string]func(*Summary) *float64{
	"request_throughput":     func(s *Summary) *float64 { return s.RequestRate },
	"output_throughput":      func(s *Summary) *float64 { return s.OutputRate },
	"total_token_throughput": func(s *Summary) *float64 { return s.TotalTokenRate },
}

// BoundPattern is what a bound looks like.
var BoundPattern = lazy.Regexp(`^\s*([a-z0-9_.]+)(?:\s+([a-z0-9_.]+))?\s*(<=|>=)\s*(\S+)\s*$`)

// ParseBound reads a bound.
func ParseBound(text string) (Bound, error) {
	b := Bound{text: strings.Join(strings.Fields(text), " ")}
	m := BoundPattern().FindStringSubmatch(text)
	if m == nil {
		return b, fmt.Errorf("%q is no bound: write p99 ttft <= 300ms, goodput >= 99%% or failures <= 0", text)
	}
	words := []string{m[1]}
	if m[2] != "" {
		words = append(words, m[2])
	}
	b.AtMost = m[3] == "<="
	limit := m[4]
	for _, w := range words {
		switch _, isThroughput := throughputs[w]; {
		case isThroughput || w == "goodput" || w == "failures" || isLatency(w):
			if b.Metric != "" {
				return b, fmt.Errorf("%q names two figures, %s and %s", text, b.Metric, w)
			}
			b.Metric = w
		case b.Statistic == "" && isStatistic(w):
			b.Statistic = strings.Replace(w, "median", "p50", 1)
		default:
			return b, fmt.Errorf("%q: no figure and no statistic %q: have %s; mean, median, min, max, %s", text, w, strings.Join(boundNames(), ", "), percentileNames())
		}
	}
	var err error
	switch _, isThroughput := throughputs[b.Metric]; {
	case b.Metric == "":
		return b, fmt.Errorf("%q names no figure: have %s", text, strings.Join(boundNames(), ", "))
	case isLatency(b.Metric):
		if b.Statistic == "" {
			return b, fmt.Errorf("%q: which of all values? Write p99 %s, mean %s or the like", text, b.Metric, b.Metric)
		}
		if !b.AtMost {
			return b, fmt.Errorf("%q: a latency is bounded from above: write <=", text)
		}
		d, parseErr := time.ParseDuration(limit)
		if parseErr != nil || d <= 0 {
			return b, fmt.Errorf("%q: %q is no duration: write 300ms or 2.5s", text, limit)
		}
		b.Limit = float64(d) / float64(time.Millisecond)
		return b, nil
	case b.Statistic != "":
		return b, fmt.Errorf("%q: %s has one value a run: leave %s out", text, b.Metric, b.Statistic)
	case b.Metric == "goodput":
		if b.AtMost {
			return b, fmt.Errorf("%q: goodput is bounded from below: write >=", text)
		}
		if b.Limit, err = percent(limit); err != nil {
			return b, fmt.Errorf("%q: %w", text, err)
		}
	case b.Metric == "failures":
		if !b.AtMost {
			return b, fmt.Errorf("%q: failures are bounded from above: write <=", text)
		}
		if b.Share = strings.HasSuffix(limit, "%"); b.Share {
			b.Limit, err = percent(limit)
		} else {
			b.Limit, err = strconv.ParseFloat(limit, 64)
		}
		if err != nil || b.Limit < 0 {
			return b, fmt.Errorf("%q: want a number of requests, or a share such as 1%%", text)
		}
	case isThroughput:
		if b.AtMost {
			return b, fmt.Errorf("%q: a throughput is bounded from below: write >=", text)
		}
		if b.Limit, err = strconv.ParseFloat(limit, 64); err != nil || !(b.Limit > 0) {
			return b, fmt.Errorf("%q: want a number per second", text)
		}
	}
	return b, nil
}

func percent(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(v >= 0 && v <= 100) || !strings.HasSuffix(text, "%") {
		return 0, fmt.Errorf("%q is no share: write 99%%", text)
	}
	return v, nil
}

func isLatency(name string) bool {
	m, ok := results.MetricNamed(name)
	return ok && !m.Client
}

func isStatistic(w string) bool {
	if slices.Contains([]string{"mean", "median", "min", "max"}, w) {
		return true
	}
	p, err := strconv.ParseFloat(strings.TrimPrefix(w, "p"), 64)
	return err == nil && strings.HasPrefix(w, "p") && slices.Contains(Percentiles, p)
}

func boundNames() []string {
	var names []string
	for _, m := range results.Metrics {
		if !m.Client {
			names = append(names, m.Name)
		}
	}
	return append(names, "goodput", "failures", "request_throughput", "output_throughput", "total_token_throughput")
}

func percentileNames() string {
	var names []string
	for _, p := range Percentiles {
		names = append(names, "p"+strconv.FormatFloat(p, 'g', -1, 64))
	}
	return strings.Join(names, ", ")
}

func (b Bound) String() string { return b.text }

// MarshalText writes it as it was read.
func (b Bound) MarshalText() ([]byte, error) { return []byte(b.text), nil }

// UnmarshalText reads it.
func (b *Bound) UnmarshalText(text []byte) error {
	parsed, err := ParseBound(string(text))
	*b = parsed
	return err
}

// Figure is the value of the bound's figure in a run; false when it could not be measured.
func (b Bound) Figure(s *Summary) (float64, bool) {
	switch {
	case b.Metric == "goodput":
		if s.Goodput == nil || s.Requests == 0 {
			return 0, false
		}
		return s.Goodput.Share * 100, true
	case b.Metric == "failures" && b.Share:
		if s.Requests == 0 {
			return 0, false
		}
		return float64(s.Failed) / float64(s.Requests) * 100, true
	case b.Metric == "failures":
		return float64(s.Failed), s.Requests > 0
	}
	if of, ok := throughputs[b.Metric]; ok {
		if v := of(s); v != nil {
			return *v, true
		}
		return 0, false
	}
	d := s.Dist(b.Metric, s.Basis)
	if d == nil {
		return 0, false
	}
	return d.Statistic(b.Statistic)
}

// Statistic is the mean, min, max or a percentile such as p99; false when the distribution has no such value.
func (d *Dist) Statistic(name string) (float64, bool) {
	switch name {
	case "mean":
		return d.Mean, true
	case "min":
		return d.Min, true
	case "max":
		return d.Max, true
	}
	p, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
	if err != nil {
		return 0, false
	}
	return d.At(p)
}

// Unit is that of the bound's limit and figure: ms, %, requests/s, tokens/s or, for a count of failures, requests.
func (b Bound) Unit() string {
	switch {
	case b.Metric == "goodput" || b.Share:
		return "%"
	case b.Metric == "failures":
		return "requests"
	case b.Metric == "request_throughput":
		return "requests/s"
	case throughputs[b.Metric] != nil:
		return "tokens/s"
	}
	return "ms"
}

// A BoundResult is what became of a bound in one run.
type BoundResult struct {
	Bound string `json:"bound"`
	// Value is absent when it could not be measured; then the bound is not met. Unit is that of the value.
	Value *float64 `json:"value,omitempty"`
	Unit  string   `json:"unit,omitempty"`
	Met   bool     `json:"met"`
}

// Measured is the value with its unit.
func (r *BoundResult) Measured() string {
	if r.Value == nil {
		return "could not be measured"
	}
	return strconv.FormatFloat(*r.Value, 'g', 6, 64) + " " + r.Unit
}

// Hold holds a run against bounds.
func Hold(bounds []Bound, s *Summary) []BoundResult {
	var list []BoundResult
	for _, b := range bounds {
		r := BoundResult{Bound: b.String(), Unit: b.Unit()}
		if v, ok := b.Figure(s); ok {
			r.Value = &v
			r.Met = v <= b.Limit
			if !b.AtMost {
				r.Met = v >= b.Limit
			}
		}
		list = append(list, r)
	}
	return list
}

// objectives holds the run against the bounds of its manifest. A shard is not held: the bounds are those of the whole load.
func (s *Summary) objectives() {
	if s.Manifest.Shard != nil {
		return
	}
	var bounds []Bound
	for _, text := range s.Manifest.Settings.Bounds {
		b, err := ParseBound(text)
		if err != nil { // of a later version
			s.warn("an objective cannot be read: " + err.Error())
			continue
		}
		bounds = append(bounds, b)
	}
	s.Bounds = Hold(bounds, s)
}

// Missed are the objectives that the run did not meet.
func (s *Summary) Missed() []BoundResult {
	return slices.DeleteFunc(slices.Clone(s.Bounds), func(r BoundResult) bool { return r.Met })
}
