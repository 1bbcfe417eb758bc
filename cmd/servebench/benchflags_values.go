package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"servebench/internal/argparse"
	"servebench/loadgen"
)

var inf = math.Inf(1)

// dict is a dictionary of keys and values in turn.
func dict(pairs ...any) *argparse.Dict {
	d := &argparse.Dict{}
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// parseBuckets reads {(height, width, frames): weight} as a Python literal; keys may stand in quotes.
func parseBuckets(word string) (any, error) {
	value, err := argparse.Literal(word)
	if err != nil {
		return nil, err
	}
	given, ok := value.(*argparse.Dict)
	if !ok {
		return nil, errors.New("no dictionary")
	}
	buckets := &argparse.Dict{}
	for key, value := range given.All() {
		if text, ok := key.(string); ok {
			if key, err = argparse.Literal(text); err != nil {
				return nil, err
			}
		}
		size, ok := key.(argparse.Tuple)
		if !ok || len(size) != 3 {
			return nil, fmt.Errorf("bucket %s is not (height, width, frames)", argparse.Repr(key))
		}
		whole := argparse.Tuple{}
		for _, side := range size {
			n, ok := side.(int)
			if b, isBool := side.(bool); isBool { // True is 1 in Python
				n, ok = 0, true
				if b {
					n = 1
				}
			}
			if !ok {
				return nil, fmt.Errorf("bucket %s is not made of whole numbers", argparse.Repr(key))
			}
			whole = append(whole, n)
		}
		weight, err := argparse.ParseFloat(argparse.Str(value))
		if err != nil {
			return nil, fmt.Errorf("weight %s is no number", argparse.Repr(value))
		}
		buckets.Set(whole, weight)
	}
	return buckets, nil
}

// An mmBucket is one size of image (one frame) or video, and how often it comes.
type mmBucket struct {
	Height, Width, Frames int
	Weight                float64
}

func bucketsOf(value any) []mmBucket {
	given, _ := value.(*argparse.Dict)
	if given == nil {
		return nil
	}
	var buckets []mmBucket
	for key, weight := range given.All() {
		size := key.(argparse.Tuple)
		buckets = append(buckets, mmBucket{size[0].(int), size[1].(int), size[2].(int), weight.(float64)})
	}
	return buckets
}

// parseCategories splits at commas; blanks and empty names are dropped.
func parseCategories(word string) (any, error) {
	names := []string{}
	for name := range strings.SplitSeq(word, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

func categories(o *benchOptions) func(any) error {
	return func(value any) error {
		o.BFCLCategories, _ = value.([]string)
		return nil
	}
}

// pairsOf splits KEY=VALUE at the first =. The last value of a key counts, at the place of the first.
func pairsOf(items []string) ([][2]string, error) {
	var pairs [][2]string
next:
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", item)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		for i := range pairs {
			if pairs[i][0] == key {
				pairs[i][1] = value
				continue next
			}
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs, nil
}

// A goal is one objective of --goodput: a bound on ttft, tpot or e2el.
type goal struct {
	Name string
	MS   float64
}

func goalsOf(items []string) ([]goal, error) {
	var goals []goal
next:
	for _, item := range items {
		name, text, ok := strings.Cut(item, ":")
		ms, err := argparse.ParseFloat(text)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q is not NAME:MILLISECONDS, such as ttft:200", item)
		}
		for i := range goals {
			if goals[i].Name == name {
				goals[i].MS = ms
				continue next
			}
		}
		goals = append(goals, goal{name, ms})
	}
	for _, g := range goals {
		if g.Name != "ttft" && g.Name != "tpot" && g.Name != "e2el" {
			return nil, fmt.Errorf("no objective %q: have ttft, tpot, e2el", g.Name)
		}
		if g.MS < 0 {
			return nil, fmt.Errorf("%s:%s is negative", g.Name, argparse.FloatRepr(g.MS))
		}
	}
	return goals, nil
}

// floatsOf reads numbers between commas; blanks around them are fine.
func floatsOf(text string) ([]float64, error) {
	var numbers []float64
	for part := range strings.SplitSeq(text, ",") {
		f, err := argparse.ParseFloat(part)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", part)
		}
		numbers = append(numbers, f)
	}
	return numbers, nil
}

// A spread is --random-range-ratio for prompts and outputs.
type spread struct{ Input, Output float64 }

const ratioMeaning = "since vLLM 0.8.4 the ratio is a half-width (lengths uniform in [len x (1-r), len x (1+r)], so 0.0 is exact); " +
	"before, it was a lower bound (uniform in [len x r, len], so 1.0 was exact)"

// isOne says whether a ratio is exactly 1.
func isOne(text string) bool {
	f, err := argparse.ParseFloat(text)
	return err == nil && f == 1
}

func spreadOf(text string, legacy bool) (spread, error) {
	var s spread
	if f, err := argparse.ParseFloat(text); err == nil {
		s = spread{f, f}
	} else {
		value, err := argparse.Loads(text)
		d, ok := value.(*argparse.Dict)
		if err != nil || !ok {
			return s, fmt.Errorf(`%q is neither a number nor {"input": r, "output": r}`, text)
		}
		for key, into := range map[string]*float64{"input": &s.Input, "output": &s.Output} {
			value, ok := d.Get(key)
			if !ok {
				return s, fmt.Errorf(`%s lacks %q: give {"input": r, "output": r}`, text, key)
			}
			if *into, err = argparse.ParseFloat(argparse.Str(value)); err != nil {
				return s, fmt.Errorf("%s: %q is no number", text, key)
			}
		}
	}
	for _, r := range []float64{s.Input, s.Output} {
		if legacy && !(r >= 0 && r <= 1) {
			return s, fmt.Errorf("%s: with --legacy-range-ratio it must be from 0 to 1", text)
		}
		if !legacy && !(r >= 0 && r < 1) {
			return s, fmt.Errorf("%s: must be at least 0 and below 1: %s; give 0.0 for exact lengths, or --legacy-range-ratio for the old meaning", text, ratioMeaning)
		}
	}
	return s, nil
}

// shardOf reads K/N. K may be auto: the place in a Slurm job or an indexed Kubernetes job; auto alone takes
// N from Slurm too.
func shardOf(text string, getenv func(string) string) (loadgen.Shard, error) {
	first, second, ok := strings.Cut(text, "/")
	if first == "auto" {
		if first = getenv("SLURM_PROCID"); first == "" {
			first = getenv("JOB_COMPLETION_INDEX")
		}
		if first == "" {
			return loadgen.Shard{}, errors.New("auto needs SLURM_PROCID or JOB_COMPLETION_INDEX in the environment")
		}
		if !ok {
			if second = getenv("SLURM_NTASKS"); second == "" {
				return loadgen.Shard{}, errors.New("auto needs SLURM_NTASKS in the environment: give auto/N")
			}
		}
	}
	k, err1 := strconv.Atoi(first)
	n, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil || n < 1 || k < 0 || k >= n {
		return loadgen.Shard{}, fmt.Errorf("%q is not K/N with K from 0 to N-1, such as 0/4", text)
	}
	return loadgen.Shard{K: k, N: n}, nil
}

// startOf reads a moment: RFC 3339, Unix seconds, or +duration from now.
func startOf(text string, now time.Time) (time.Time, error) {
	if after, ok := strings.CutPrefix(text, "+"); ok {
		d, err := time.ParseDuration(after)
		if err == nil && d >= 0 {
			return now.Add(d), nil
		}
	} else if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	} else if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 && seconds < 1e11 {
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(part*1e9)), nil
	}
	return time.Time{}, fmt.Errorf("%q is no moment: write 2026-01-31T12:00:00Z, Unix seconds, or +30s", text)
}

// A failureLimit is --max-failures: a number of requests, or a share of them in percent.
type failureLimit struct {
	Count   int
	Percent float64
	IsShare bool
}

// Exceeded says that so many failures of so many requests are more than the limit allows.
func (l failureLimit) Exceeded(failed, all int) bool {
	if l.IsShare {
		return float64(failed)*100 > l.Percent*float64(all)
	}
	return failed > l.Count
}

func failureLimitOf(text string) (failureLimit, error) {
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(share, 64)
		if err == nil && p >= 0 && p <= 100 {
			return failureLimit{Percent: p, IsShare: true}, nil
		}
	} else if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return failureLimit{Count: n}, nil
	}
	return failureLimit{}, fmt.Errorf("%q is neither a number of requests nor a share such as 1%%", text)
}

func addressesOf(words []string) ([]netip.Addr, error) {
	var addresses []netip.Addr
	for _, word := range words {
		for part := range strings.SplitSeq(word, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(part))
			if err != nil {
				return nil, fmt.Errorf("%q is no IP address", part)
			}
			addresses = append(addresses, a)
		}
	}
	return addresses, nil
}
