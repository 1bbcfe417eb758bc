package schedule

import (
	"bufio"
	"encoding/json"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/internal/numpy"
)

// eachLine calls f with every line of a golden file: one of the folder that
// $SERVEBENCH_GOLDEN names, else of the project's own.
func eachLine(t *testing.T, f func(line int, data []byte), parts ...string) {
	t.Helper()
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	file, err := os.Open(filepath.Join(append([]string{root}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<26)
	n := 0
	for scanner.Scan() {
		n++
		f(n, scanner.Bytes())
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("%v is empty", parts)
	}
}

// number reads a JSON number or the word inf.
type number float64

func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == `"inf"` {
		*n = number(math.Inf(1))
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}

func TestGoldenArrivals(t *testing.T) {
	eachLine(t, func(line int, data []byte) {
		var c struct {
			Seed        uint32
			N           int
			RequestRate number `json:"request_rate"`
			Burstiness  number
			Ramp        string `json:"ramp_up_strategy"`
			Start       int    `json:"ramp_up_start_rps"`
			End         int    `json:"ramp_up_end_rps"`
			Offsets     []float64
			Rates       []float64
			RPSChanges  []int `json:"rps_changes"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("line %d: %v", line, err)
		}
		name, _, _ := strings.Cut(string(data), `, "offsets"`)
		t.Run(name, func(t *testing.T) {
			v := VLLM{Rate: float64(c.RequestRate), Burstiness: float64(c.Burstiness), Ramp: c.Ramp, Start: c.Start, End: c.End}
			if err := v.CheckFlags(c.N); err != nil {
				t.Fatal(err)
			}
			got, err := v.Offsets(c.N, numpy.NewLegacy(c.Seed))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.Offsets) {
				t.Errorf("offsets\ngot  %v\nwant %v", got, c.Offsets)
			}
			if c.Ramp == "" {
				return
			}
			if got := v.Rates(c.N); !slices.Equal(got, c.Rates) {
				t.Errorf("rates\ngot  %v\nwant %v", got, c.Rates)
			}
			var changes []int
			for _, change := range v.Changes(c.N) {
				changes = append(changes, change.RPS)
			}
			if !slices.Equal(changes, c.RPSChanges) {
				t.Errorf("rate changes\ngot  %v\nwant %v", changes, c.RPSChanges)
			}
		})
	}, "arrivals", "offsets.jsonl")
}

func TestGoldenArrivalErrors(t *testing.T) {
	eachLine(t, func(line int, data []byte) {
		var c struct {
			Args  []any
			Error *string
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("line %d: %v", line, err)
		}
		t.Run(string(data), func(t *testing.T) {
			float := func(i int) float64 {
				if c.Args[i] == "inf" {
					return math.Inf(1)
				}
				f, _ := c.Args[i].(float64)
				return f
			}
			ramp, _ := c.Args[3].(string)
			v := VLLM{Rate: float(1), Burstiness: float(2), Ramp: ramp, Start: int(float(4)), End: int(float(5))}
			err := v.CheckFlags(int(float(0)))
			switch {
			case c.Error == nil && err != nil:
				t.Errorf("refused: %v", err)
			case c.Error != nil && (err == nil || err.Error() != *c.Error):
				t.Errorf("got %v, want %s", err, *c.Error)
			}
		})
	}, "arrivals", "errors.jsonl")
}

func TestVLLM(t *testing.T) {
	rng := numpy.NewLegacy(0)
	got, err := VLLM{}.Offsets(3, rng)
	if err != nil || !slices.Equal(got, []float64{0, 0, 0}) {
		t.Errorf("the zero value gives %v, %v; want all at once", got, err)
	}
	if next, fresh := rng.Float64(), numpy.NewLegacy(0).Float64(); next != fresh {
		t.Error("all at once drew random numbers")
	}
	got, err = VLLM{Rate: 7}.Offsets(50, rng)
	if last := got[len(got)-1]; err != nil || math.Abs(last-50.0/7) > 1e-12 {
		t.Errorf("50 requests at 7/s end at %v, %v; want 50/7", last, err)
	}
	for _, tc := range []struct {
		v    VLLM
		want string
	}{
		{VLLM{Ramp: "steep", Start: 1, End: 2}, `no ramp-up strategy "steep": have linear, exponential`},
		{VLLM{Ramp: Exponential, Start: 0, End: 2}, "an exponential ramp-up cannot start at 0 requests per second: start above 0"},
		{VLLM{Burstiness: math.NaN()}, "A positive burstiness factor is expected, but given nan."},
		{VLLM{Rate: -1e-5}, "Obtained non-positive request rate -1e-05."},
	} {
		if _, err := tc.v.Offsets(5, rng); err == nil || err.Error() != tc.want {
			t.Errorf("%+v: got %v, want %s", tc.v, err, tc.want)
		}
	}
}

func TestChangesNameTheRequest(t *testing.T) {
	got := VLLM{Ramp: Linear, Start: 1, End: 5}.Changes(3) // rates 1, 3, 5
	want := []Change{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {5, 2}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func take(seq iter.Seq[time.Duration], n int) []time.Duration {
	var out []time.Duration
	for d := range seq {
		out = append(out, d)
		if len(out) == n {
			break
		}
	}
	return out
}

func ms(values ...int) []time.Duration {
	out := make([]time.Duration, len(values))
	for i, v := range values {
		out[i] = time.Duration(v) * time.Millisecond
	}
	return out
}

func TestStageDue(t *testing.T) {
	inf := math.Inf(1)
	for _, tc := range []struct {
		name  string
		stage Stage
		want  []time.Duration
	}{
		{"at once", Stage{Kind: "at_once", Requests: 3}, ms(0, 0, 0)},
		{"constant, counted", Stage{Rate: 10, Requests: 3}, ms(100, 200, 300)},
		{"constant, timed", Stage{Rate: 10, Duration: 250 * time.Millisecond}, ms(100, 200)},
		{"the last moment belongs to the stage", Stage{Rate: 10, Duration: 200 * time.Millisecond}, ms(100, 200)},
		{"whichever comes first", Stage{Rate: 10, Requests: 1, Duration: time.Second}, ms(100)},
		{"gamma of infinite burstiness", Stage{Kind: "gamma", Rate: 4, Burstiness: inf, Requests: 2}, ms(250, 500)},
		// Rates 1, 2, 3: gaps 1, 1/2, 1/3.
		{"linear by requests", Stage{Kind: "ramp_linear", Rate: 1, To: 3, Requests: 3}, []time.Duration{time.Second, 1500 * time.Millisecond, 1833333333}},
		// The rate t/s integrates to t^2/2: from 2 to 4 in 4 s, 2t + t^2/4 = 1, 2, ...
		{"linear by time", Stage{Kind: "ramp_linear", Rate: 2, To: 4, Duration: 4 * time.Second}, nil},
		{"exponential by requests", Stage{Kind: "ramp_exponential", Rate: 1, To: 4, Requests: 3}, ms(1000, 1500, 1750)},
		{"falling", Stage{Kind: "ramp_linear", Rate: 2, To: 1e-9, Duration: 2 * time.Second}, nil},
		{"replay", Stage{Kind: "replay", Times: ms(5, 5, 9)}, ms(5, 5, 9)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.stage.Check(); err != nil {
				t.Fatal(err)
			}
			got := take(tc.stage.Due(), 100)
			switch tc.name {
			case "linear by time":
				if len(got) != 12 {
					t.Fatalf("%d requests under a mass of 12: %v", len(got), got)
				}
				for k, due := range got {
					s := due.Seconds()
					if mass := 2*s + s*s/4; math.Abs(mass-float64(k+1)) > 1e-8 {
						t.Errorf("request %d is due at mass %v", k, mass)
					}
				}
			case "falling":
				// The mass is 2 t - t^2/2, which reaches 1 at 2 - sqrt 2 and 2 only at 2.
				if len(got) == 0 || got[0] != Seconds(2-math.Sqrt2) {
					t.Errorf("got %v", got)
				}
			default:
				if !slices.Equal(got, tc.want) {
					t.Errorf("got %v, want %v", got, tc.want)
				}
			}
			if again := take(tc.stage.Due(), 100); !slices.Equal(again, got) {
				t.Errorf("the second time: %v, first %v", again, got)
			}
		})
	}
}

func TestConstantDoesNotDrift(t *testing.T) {
	got := take(Stage{Rate: 3, Requests: 300_000}.Due(), 300_000)
	if last := got[len(got)-1]; last != 100_000*time.Second {
		t.Errorf("request 300,000 at 3/s is due at %v", last)
	}
}

func TestRandomStagesKeepTheirRate(t *testing.T) {
	const n = 20_000
	for _, s := range []Stage{
		{Kind: "poisson", Rate: 50, Seed: 1},
		{Kind: "gamma", Rate: 50, Burstiness: 0.5, Seed: 2},
		{Kind: "gamma", Rate: 50, Burstiness: 4, Seed: 3},
	} {
		dues := take(s.Due(), n)
		mean := dues[n-1].Seconds() / n
		// The mean of n gaps is off by 1/sqrt(n*burstiness): five of these.
		bound := 5 / math.Sqrt(n*0.5) / 50
		if math.Abs(mean-1.0/50) > bound {
			t.Errorf("%+v: a mean gap of %v s", s, mean)
		}
		if !slices.IsSorted(dues) {
			t.Errorf("%+v: due times go back", s)
		}
		other := s
		other.Seed++
		if slices.Equal(take(other.Due(), 10), dues[:10]) {
			t.Errorf("%+v: another seed gives the same times", s)
		}
	}
	ramp := Stage{Kind: "ramp_exponential", Rate: 10, To: 1000, Burstiness: 1, Duration: 20 * time.Second}
	// The integral of the rate: (1000-10) / (ln(100)/20).
	want := 990 * 20 / math.Log(100)
	if n := float64(len(take(ramp.Due(), 1e6))); math.Abs(n-want) > 5*math.Sqrt(want) {
		t.Errorf("a Poisson ramp sends %v, the integral of its rate is %v", n, want)
	}
}

func TestStages(t *testing.T) {
	seq, err := Stages(
		Stage{Rate: 10, Duration: 250 * time.Millisecond},    // 100 200, ends at 250
		Stage{Kind: "at_once", Requests: 2},                  // 250 250, ends there
		Stage{Kind: "replay", Times: ms(10, 20)},             // 260 270, ends at 270
		Stage{Rate: 100, Requests: 1, Duration: time.Second}, // 280, ends there
		Stage{Rate: 1000}, // 281 ...
	)
	if err != nil {
		t.Fatal(err)
	}
	var dues []time.Duration
	var stages []int
	for stage, due := range seq {
		stages, dues = append(stages, stage), append(dues, due)
		if len(dues) == 9 {
			break
		}
	}
	if want := ms(100, 200, 250, 250, 260, 270, 280, 281, 282); !slices.Equal(dues, want) {
		t.Errorf("due %v, want %v", dues, want)
	}
	if want := []int{0, 0, 1, 1, 2, 2, 3, 4, 4}; !slices.Equal(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
}

func TestStagesNameEveryFault(t *testing.T) {
	_, err := Stages(
		Stage{Kind: "sinus"},
		Stage{Rate: 1},
		Stage{Kind: "ramp_linear", Rate: 1},
		Stage{Kind: "at_once"},
		Stage{Kind: "replay", Times: ms(2, 1)},
		Stage{Rate: -1, Requests: -1, Duration: -1, Burstiness: -1},
	)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`stage 0: no schedule "sinus": have at_once, constant, gamma, poisson, ramp_exponential, ramp_linear, replay`,
		"stage 1: constant has no end: give requests or a duration",
		"stage 2: ramp_linear: a ramp to 0 requests per second: give a rate above 0",
		"ramp_linear: a ramp is over some requests or some duration: give one of the two",
		"stage 3: at_once: give the number of requests",
		"stage 4: replay: time 1 is 1ms: times ascend from 0",
		"stage 5: constant: -1 requests",
		"constant: a duration of -1ns",
		"constant: a rate of -1 requests per second: give one above 0, or kind at_once",
		"constant: a burstiness of -1: give one above 0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if got := take(Stage{Kind: "sinus"}.Due(), 3); got != nil {
		t.Errorf("a faulty stage is due at %v", got)
	}
}

func TestShardsShareNothingAndMissNothing(t *testing.T) {
	all := take(Stage{Kind: "poisson", Rate: 5}.Due(), 20)
	const n = 3
	got := make([]time.Duration, len(all))
	seen := 0
	for k := range n {
		for i, due := range Shard(slices.Values(all), k, n) {
			if i%n != k {
				t.Errorf("shard %d got request %d", k, i)
			}
			got[i] = due
			seen++
		}
	}
	if seen != len(all) || !slices.Equal(got, all) {
		t.Errorf("the shards sent %d: %v; want %v", seen, got, all)
	}
}

func TestReplay(t *testing.T) {
	times := []float64{3, 1.5, 1.5, 2}
	if got, want := take(Replay(times), 9), ms(3000, 1500, 1500, 2000); !slices.Equal(got, want) {
		t.Errorf("replayed %v, want %v", got, want)
	}
	if got, want := Rebase(times), []float64{1.5, 0, 0, 0.5}; !slices.Equal(got, want) {
		t.Errorf("rebased %v, want %v", got, want)
	}
	if got, want := Order(times), []int{1, 2, 3, 0}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if Rebase(nil) != nil {
		t.Error("nothing rebased is something")
	}
	if got := take(AllAtOnce(2), 9); !slices.Equal(got, ms(0, 0)) {
		t.Errorf("all at once: %v", got)
	}
}

func TestSeconds(t *testing.T) {
	for _, tc := range []struct {
		s    float64
		want time.Duration
	}{
		{0, 0}, {1e-9, 1}, {0.4e-9, 0}, {0.6e-9, 1}, {0.1 + 0.2, 300 * time.Millisecond},
		{1e300, math.MaxInt64}, {math.Inf(-1), math.MinInt64},
	} {
		if got := Seconds(tc.s); got != tc.want {
			t.Errorf("Seconds(%v) = %d, want %d", tc.s, got, tc.want)
		}
	}
}
