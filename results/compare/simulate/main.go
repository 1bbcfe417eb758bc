// Command simulate measures the error rates of comparisons on runs whose truth is known: how often it finds a change where there is
// none, and how often it finds one of 5 %. It prints the tables of docs/statistics.md.
//
//	go run ./results/compare/simulate
package main

import (
	"flag"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"servebench/results"
	"servebench/results/compare"
)

// A world is where latencies come from.
type world struct {
	name string
	// times are the first-token times of n requests in multiples of the mean service time. load drives what a seed fixes, the
	// arrivals and the lengths; own what differs from run to run. Service takes slow times as long.
	times func(n int, load, own *rand.Rand, slow float64) []float64
}

func lognormal(r *rand.Rand, sigma float64) float64 {
	return math.Exp(sigma*r.NormFloat64() - sigma*sigma/2)
}

func independent(n int, _, own *rand.Rand, slow float64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = slow * lognormal(own, 0.5)
	}
	return xs
}

// autoregressive is a latency whose logarithm is an AR(1) of coefficient 0.9.
func autoregressive(n int, _, own *rand.Rand, slow float64) []float64 {
	xs := make([]float64, n)
	x := own.NormFloat64()
	for i := range xs {
		xs[i] = slow * math.Exp(0.5*x)
		x = 0.9*x + math.Sqrt(1-0.81)*own.NormFloat64()
	}
	return xs
}

// queue is a single server with Poisson arrivals and lognormal service, busy for a share of the time: M/G/1. A tenth of the
// spread of service is the run's own, the rest the load's. The queue starts empty and has run for a while.
func queue(busy float64) func(n int, load, own *rand.Rand, slow float64) []float64 {
	return func(n int, load, own *rand.Rand, slow float64) []float64 {
		xs := make([]float64, n)
		wait := 0.0
		for i := -500; i < n; i++ {
			service := slow * lognormal(load, 0.7) * lognormal(own, 0.1)
			if i >= 0 {
				xs[i] = wait + service
			}
			wait = max(wait+service-load.ExpFloat64()/busy, 0)
		}
		return xs
	}
}

var worlds = []world{
	{"independent", independent},
	{"AR(1) 0.9", autoregressive},
	{"M/G/1 50 %", queue(0.5)},
	{"M/G/1 70 %", queue(0.7)},
	{"M/G/1 80 %", queue(0.8)},
}

// unit is the mean service time.
const unit = 50 * time.Millisecond

// run makes one run of a world.
func run(w world, n int, seed int64, load, own *rand.Rand, slow float64) *compare.Run {
	const zero = results.Moment(1_700_000_000_000_000_000)
	times := w.times(n, load, own, slow)
	last := zero
	records := func(yield func(*results.Record, error) bool) {
		for i, t := range times {
			due := zero.Add(time.Duration(i) * 100 * time.Millisecond)
			first := due.Add(time.Duration(t * float64(unit)))
			last = max(last, first)
			rec := &results.Record{
				ID: i, Kind: results.Load, InputTokens: 100, AskedTokens: 1, Due: due, Released: due, Dispatched: due,
				Reply: results.Reply{WriteBegan: due, Written: due, Headers: due, Chunks: []results.Chunk{{At: first, Tokens: 1}}, Done: first, Status: 200, OutputTokens: 1},
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
	m := &results.Manifest{
		Version: 1, Seed: seed, Basis: results.Service, Created: results.Moment(own.Uint64() >> 2), Outcome: results.OK,
		Settings: results.Settings{ModelID: "m", Backend: "vllm", NumPrompts: n, RequestRate: 10, Burstiness: 1},
	}
	r, err := compare.OfRecords("run", m, iter.Seq2[*results.Record, error](records), options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
	return r
}

var options = compare.Options{Metrics: []string{"ttft"}, Percentiles: []float64{50, 90, 99}, Plain: true}

// A design is how a comparison is set up.
type design struct {
	world
	// requests are those of a run, runs how many a side has.
	requests, runs int
	// paired says that both sides have the same seed; spread is the standard deviation of a run's speed, as a share.
	paired bool
	spread float64
	// slow is how much longer service takes on the second side.
	slow float64
}

// statistics are the figures in tables.
var statistics = []string{"mean", "p50", "p90", "p99"}

// A tally counts over repetitions.
type tally struct {
	repetitions int
	// excludes counts intervals that exclude no change, none those that were not given, by statistic.
	excludes, none map[string]int
	// wrong counts comparisons with any verdict of better or worse, right those where a figure is rightly called worse, by statistic.
	any   int
	worse map[string]int
	// equivalent counts verdicts of equivalence.
	equivalent map[string]int
	// barred and plain count gates missed: "p99 ttft +5%" and "p50 ttft +5%", and the same without a bar.
	missed map[string]int
}

func (t *tally) add(o tally) {
	t.repetitions += o.repetitions
	t.any += o.any
	for _, pair := range [][2]map[string]int{{t.excludes, o.excludes}, {t.none, o.none}, {t.worse, o.worse}, {t.equivalent, o.equivalent}, {t.missed, o.missed}} {
		for k, v := range pair[1] {
			pair[0][k] += v
		}
	}
}

func newTally() tally {
	return tally{excludes: map[string]int{}, none: map[string]int{}, worse: map[string]int{}, equivalent: map[string]int{}, missed: map[string]int{}}
}

// gates are held one at a time, as a pipeline with one gate would.
var gates = []string{"p50 ttft", "p50 ttft +5%", "p99 ttft", "p99 ttft +5%"}

func (d *design) repeat(repetition int, t *tally) {
	source := func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(repetition), stream)) }
	side := func(first uint64, slow float64, seed int64) *compare.Group {
		g := &compare.Group{Name: fmt.Sprint("side ", first)}
		for i := range d.runs {
			own := source(first + uint64(i))
			load := source(1000 + uint64(seed))
			if d.runs > 1 && !d.paired {
				seed = int64(first) + int64(i)
				load = source(1000 + uint64(seed))
			}
			speed := slow * math.Exp(d.spread*own.NormFloat64())
			g.Runs = append(g.Runs, run(d.world, d.requests, seed, load, own, speed))
		}
		return g
	}
	second := int64(101)
	if d.paired {
		second = 1
	}
	a, b := side(1, 1, 1), side(101, d.slow, second)
	o := options
	o.Seed = uint64(repetition)
	report, err := compare.Compare([]*compare.Group{a, b}, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
	t.repetitions++
	found := false
	for _, row := range report.Comparisons[0].Rows {
		s := row.Statistic
		switch i := row.RatioInterval; {
		case i == nil:
			t.none[s]++
		case i.Low > 1 || i.High < 1:
			t.excludes[s]++
		}
		switch row.Verdict {
		case compare.Worse:
			t.worse[s]++
			found = true
		case compare.Better:
			found = true
		case compare.Equivalent:
			t.equivalent[s]++
		}
	}
	if found {
		t.any++
	}
	for _, text := range gates {
		gate, err := compare.ParseGate(text)
		if err != nil {
			panic(err)
		}
		for _, g := range report.Hold([]compare.Gate{gate}) {
			if g.Outcome == compare.Missed {
				t.missed[text]++
			}
		}
	}
}

// measure repeats a design; repetition i draws from seed i, whatever goroutine carries it out.
func (d *design) measure(repetitions int) tally {
	workers := runtime.GOMAXPROCS(0)
	parts := make([]tally, workers)
	var wait sync.WaitGroup
	for w := range workers {
		parts[w] = newTally()
		wait.Go(func() {
			for i := w; i < repetitions; i += workers {
				d.repeat(i, &parts[w])
			}
		})
	}
	wait.Wait()
	total := newTally()
	for _, p := range parts {
		total.add(p)
	}
	return total
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", 100*float64(n)/float64(of))
}

func main() {
	repetitions := flag.Int("repetitions", 500, "most repetitions of a row")
	table := flag.Int("table", 0, "only this table, from 1")
	only := flag.String("only", "", "only rows whose words hold this")
	flag.Parse()
	var within []design
	for _, w := range worlds {
		for _, n := range []int{1000, 5000, 20000} {
			for _, paired := range []bool{false, true} {
				if paired && w.name[0] != 'M' {
					continue // nothing in them belongs to the load
				}
				within = append(within, design{world: w, requests: n, runs: 1, paired: paired})
			}
		}
	}
	var between []design
	for _, w := range []world{worlds[0], worlds[3]} {
		for _, spread := range []float64{0, 0.02} {
			for _, runs := range []int{3, 5, 10} {
				between = append(between, design{world: w, requests: 1000, runs: runs, spread: spread, paired: true})
			}
		}
	}
	for _, runs := range []int{3, 5, 10} {
		between = append(between, design{world: worlds[3], requests: 1000, runs: runs})
	}
	// What requests cannot tell: the runs themselves differ.
	within = append(within,
		design{world: worlds[0], requests: 5000, runs: 1, spread: 0.02},
		design{world: worlds[3], requests: 5000, runs: 1, spread: 0.02, paired: true})
	// Where nothing changes, a per cent matters; power may be coarse.
	fewer := func(d design) int {
		n := *repetitions
		if d.slow != 1 {
			n /= 5
		}
		if d.runs > 1 {
			n /= 2
		}
		if d.slow == 1 && d.runs*d.requests >= 10000 {
			n = n * 2 / 5
		}
		return max(n, 1)
	}
	number := 0

	for _, part := range []struct {
		title   string
		designs []design
	}{{"One run a side: requests are the sample", within}, {"Repeats: runs are the sample", between}} {
		for _, slow := range []float64{1, 1.05} {
			number++
			if *table != 0 && *table != number {
				continue
			}
			fmt.Printf("\n### %s, %s\n\n", part.title, map[float64]string{1: "no change", 1.05: "service 5 % slower"}[slow])
			head(slow)
			pooled := newTally()
			for _, d := range part.designs {
				d.slow = slow
				if !strings.Contains(d.words(), *only) {
					continue
				}
				t := d.measure(fewer(d))
				print(d.words(), slow, &t)
				if d.runs > 1 || d.spread == 0 {
					pooled.add(t) // not what requests cannot tell
				}
			}
			if slow == 1 {
				print("all rows | without those of single runs whose speeds are spread | ", slow, &pooled)
			}
		}
	}
}

func head(slow float64) {
	fmt.Print("| latencies | side | same seed | repetitions ")
	for _, s := range statistics {
		fmt.Printf("| %s ", s)
	}
	if slow == 1 {
		fmt.Print("| any verdict ")
	}
	for _, g := range gates {
		fmt.Printf("| `%s` ", g)
	}
	fmt.Println("|")
	fmt.Print("|---|---|---|---:")
	for range len(statistics) + len(gates) {
		fmt.Print("|---:")
	}
	if slow == 1 {
		fmt.Print("|---:")
	}
	fmt.Println("|")
}

// words say which design it is.
func (d *design) words() string {
	side := fmt.Sprintf("%d requests", d.requests)
	if d.runs > 1 {
		side = fmt.Sprintf("%d runs of %d", d.runs, d.requests)
	}
	if d.spread > 0 {
		side += fmt.Sprintf(", speeds spread by %.0f %%", d.spread*100)
	}
	return fmt.Sprintf("%s | %s | %s", d.name, side, map[bool]string{true: "yes", false: "no"}[d.paired])
}

func print(words string, slow float64, t *tally) {
	fmt.Printf("| %s | %d ", words, t.repetitions)
	for _, s := range statistics {
		text := percent(t.excludes[s], t.repetitions)
		if n := t.none[s]; n > 0 {
			text += fmt.Sprintf(" (%.0f)", 100*float64(n)/float64(t.repetitions))
		}
		fmt.Printf("| %s ", text)
	}
	if slow == 1 {
		fmt.Printf("| %s ", percent(t.any, t.repetitions))
	}
	for _, g := range gates {
		fmt.Printf("| %s ", percent(t.missed[g], t.repetitions))
	}
	fmt.Println("|")
}
