package numpy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// golden is the folder of recordings of the real client: $SERVEBENCH_GOLDEN, else the
// project's own.
func golden(parts ...string) string {
	root := os.Getenv("SERVEBENCH_GOLDEN")
	if root == "" {
		root = filepath.Join("..", "..", "testdata", "golden")
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

func draw[T any](n int, f func() T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = f()
	}
	return out
}

func TestGoldenGenerators(t *testing.T) {
	data, err := os.ReadFile(golden("arrivals", "generators.json"))
	if err != nil {
		t.Fatal(err)
	}
	var seeds map[string]map[string]json.RawMessage
	if err := json.Unmarshal(data, &seeds); err != nil {
		t.Fatal(err)
	}
	abc := []string{"a", "b", "c"}
	for name, streams := range seeds {
		seed, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		for stream, want := range streams {
			t.Run(name+"/"+stream, func(t *testing.T) {
				legacy, gen, py := NewLegacy(uint32(seed)), NewGenerator(seed), NewPython(seed)
				var got any
				kind, arg, _ := cutLast(stream, "_")
				switch {
				case stream == "legacy_random_sample":
					got = draw(12, legacy.Float64)
				case kind == "legacy_gamma":
					shape, err := strconv.ParseFloat(arg, 64)
					if err != nil {
						t.Fatal(err)
					}
					got = draw(12, func() float64 { return legacy.Gamma(shape, 0.25) })
				case stream == "legacy_randint_0_2000":
					got = legacy.Ints(2000, 16)
				case stream == "legacy_randint_mixed":
					var mixed [][]int
					for _, n := range []int{1, 2, 7, 256, 1000, 50257, 65536, 128000} {
						mixed = append(mixed, legacy.Ints(n, 3))
					}
					got = mixed
				case stream == "randomstate_choice_30_12":
					got = legacy.Choice(30, 12, false)
				case stream == "randomstate_choice_30_40_replace":
					got = legacy.Choice(30, 40, true)
				case stream == "pcg_integers":
					var all [][]int
					for _, c := range [][2]int{{1, 3}, {2, 5}, {7, 5}, {129, 3}, {2000, 5}, {50257, 4}, {151643, 3}, {1 << 32, 2}, {1 << 40, 2}} {
						all = append(all, gen.Ints(0, c[0]-1, c[1]))
					}
					got = all
				case stream == "pcg_mixed":
					var bytes [5]byte
					mixed := []any{gen.Ints(5, 5, 3), gen.Ints(10, 30, 3), gen.Float64()}
					gen.Bytes(bytes[:])
					ints := make([]int, 5)
					for i, b := range bytes {
						ints[i] = int(b)
					}
					got = append(mixed, ints, gen.IntN(3), gen.Float64(), gen.Weighted([]float64{.1, .2, .3, .4}), gen.Ints(0, 99, 2))
				case stream == "pcg_permutation_12":
					got = gen.Permutation(12)
				case stream == "py_random":
					got = draw(6, py.Float64)
				case stream == "py_shuffle_20", stream == "py_choice_after":
					p := count(20)
					py.Shuffle(20, func(i, j int) { p[i], p[j] = p[j], p[i] })
					got = p
					if stream == "py_choice_after" {
						got = draw(12, func() string { return abc[py.IntN(3)] })
					}
				case stream == "py_choices_1995":
					got = py.Choices(1995, 12)
				default:
					t.Fatalf("no test knows the stream %s", stream)
				}
				encoded, err := json.Marshal(got)
				if err != nil {
					t.Fatal(err)
				}
				var g, w any
				if err := json.Unmarshal(encoded, &g); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(want, &w); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(g, w) {
					t.Errorf("got  %v\nwant %v", g, w)
				}
			})
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func sum(values any) string {
	var b bytes.Buffer
	if ints, ok := values.([]int); ok {
		wide := make([]int64, len(ints))
		for i, v := range ints {
			wide[i] = int64(v)
		}
		values = wide
	}
	if err := binary.Write(&b, binary.LittleEndian, values); err != nil {
		panic(err)
	}
	h := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(h[:])
}

// TestStreams compares thousands of draws of each kind by their checksum; testdata/make.py
// wrote the other side with the real libraries.
func TestStreams(t *testing.T) {
	data, err := os.ReadFile("testdata/streams.json")
	if err != nil {
		t.Fatal(err)
	}
	var seeds map[string]map[string]string
	if err := json.Unmarshal(data, &seeds); err != nil {
		t.Fatal(err)
	}
	for name, want := range seeds {
		t.Run(name, func(t *testing.T) {
			seed, err := strconv.ParseUint(name, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			check := func(stream string, values any) {
				seen++
				if got := sum(values); got != want[stream] {
					t.Errorf("%s: the draws differ: %.300v", stream, values)
				}
			}
			r := NewLegacy(uint32(seed))
			check("legacy_uniform", draw(5000, r.Float64))
			check("legacy_normal", draw(5001, r.Normal))
			for _, shape := range []string{"0.01", "0.05", "0.3", "0.99", "1.0", "1.01", "2.5", "17.0", "1000.0"} {
				k, err := strconv.ParseFloat(shape, 64)
				if err != nil {
					t.Fatal(err)
				}
				check("legacy_gamma "+shape, draw(3000, func() float64 { return r.Gamma(k, 0.37) }))
			}
			check("legacy_exponential", draw(3000, func() float64 { return r.Exponential(0.37) }))
			for _, n := range []int{1, 2, 3, 1000, 50257, 1 << 32, 1 << 40} {
				check(fmt.Sprint("legacy_ints ", n), r.Ints(n, 1000))
			}
			check("legacy_permutation", r.Permutation(1000))
			check("legacy_choice", r.Choice(1000, 10, false))
			check("legacy_choice_replace", r.Choice(10, 1000, true))
			check("legacy_range", draw(1000, func() float64 { return r.Uniform(2.5, 80.25) }))
			var logs []float64
			for _, of := range [][2]float64{{0.1, 2}, {6.745, 0.5701}, {3, 0}, {9.5, 1.25}} {
				logs = append(logs, draw(3001, func() float64 { return r.Lognormal(of[0], of[1]) })...)
			}
			check("legacy_lognormal", logs)
			var counts []int
			for _, a := range []float64{1.05, 1.2, 2, 3.7, 30} {
				counts = append(counts, draw(2000, func() int { return r.Zipf(a) })...)
			}
			check("legacy_zipf", counts)
			counts = nil
			for _, a := range []float64{0, 0.3, 1, 9.99, 10, 12.5, 100, 2500, 1e6} {
				counts = append(counts, draw(3000, func() int { return r.Poisson(a) })...)
			}
			check("legacy_poisson", counts)
			g := NewGenerator(seed)
			for _, n := range []int{1, 2, 3, 1000, 50257, 1<<31 + 1, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<40 + 7} {
				check(fmt.Sprint("generator_ints ", n), g.Ints(0, n-1, 999))
			}
			check("generator_uniform", draw(999, g.Float64))
			pixels := make([]byte, 4999)
			g.Bytes(pixels)
			check("generator_bytes", pixels)
			check("generator_weighted", draw(500, func() int { return g.Weighted([]float64{0.1, 0.15, 0.25, 0.3, 0.2}) }))
			check("generator_permutation", g.Permutation(1000))
			p := NewPython(seed)
			check("python_uniform", draw(2000, p.Float64))
			order := count(1000)
			p.Shuffle(1000, func(i, j int) { order[i], order[j] = order[j], order[i] })
			check("python_shuffle", order)
			var ints []int
			for _, n := range []int{1, 2, 3, 4, 1000, 1 << 31, 1<<33 + 1} {
				ints = append(ints, draw(100, func() int { return p.IntN(n) })...)
			}
			check("python_randrange", ints)
			ints = nil
			for _, k := range []int{1, 7, 31, 32, 33, 53, 63} {
				ints = append(ints, int(p.Bits(k)))
			}
			check("python_bits", ints)
			check("python_choices", p.Choices(777, 1000))
			if seen != len(want) {
				t.Errorf("compared %d streams of %d", seen, len(want))
			}
		})
	}
}

// lines calls f with the fields of each line of a file.
func lines(t *testing.T, path string, f func(line int, fields []string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	n := 0
	for scanner.Scan() {
		n++
		f(n, strings.Fields(scanner.Text()))
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatalf("%s is empty", path)
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLogAndPow holds values of the C library, many of them where it is not correctly
// rounded.
func TestLogAndPow(t *testing.T) {
	lines(t, "testdata/libm.txt", func(line int, f []string) {
		var got float64
		x := number(t, f[1])
		switch f[0] {
		case "log":
			got = Log(x)
		case "pow":
			got = Pow(x, number(t, f[2]))
		}
		if want := number(t, f[len(f)-1]); got != want {
			t.Errorf("libm.txt:%d: %v = %x", line, f, got)
		}
	})
	if got := Log(0); !math.IsInf(got, -1) {
		t.Errorf("Log(0) = %v", got)
	}
	if got := Log(-1); !math.IsNaN(got) {
		t.Errorf("Log(-1) = %v", got)
	}
	if got := Log(math.Inf(1)); !math.IsInf(got, 1) {
		t.Errorf("Log(inf) = %v", got)
	}
	for _, tc := range [][3]float64{{0, 2, 0}, {0, 0, 1}, {-2, 3, -8}, {5, 0, 1}, {1, math.Inf(1), 1}, {2, math.Inf(-1), 0}} {
		if got := Pow(tc[0], tc[1]); got != tc[2] {
			t.Errorf("Pow(%v, %v) = %v, want %v", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestStatistics(t *testing.T) {
	lines(t, "testdata/statistics.txt", func(line int, f []string) {
		seed, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		g := NewGenerator(seed)
		xs := draw(n, func() float64 { u := g.Float64(); return float64(u*u) * 3 })
		got := []float64{Sum(xs), Mean(xs), Std(xs), Median(xs)}
		for _, p := range []float64{0, 1, 25, 33.3, 50, 90, 95, 99, 99.9, 100} {
			got = append(got, Percentile(xs, p))
		}
		for i, v := range got {
			if want := number(t, f[2+i]); v != want {
				t.Errorf("statistics.txt:%d: column %d is %x, want %x", line, i+1, v, want)
			}
		}
	})
}

func TestStatisticsOfNothing(t *testing.T) {
	if got := Sum(nil); got != 0 {
		t.Errorf("Sum(nil) = %v", got)
	}
	for name, f := range map[string]func([]float64) float64{
		"Mean": Mean, "Std": Std, "Median": Median, "Percentile": func(xs []float64) float64 { return Percentile(xs, 50) },
	} {
		if got := f(nil); !math.IsNaN(got) {
			t.Errorf("%s(nil) = %v, want NaN", name, got)
		}
	}
}

// TestStringHash holds values of CPython 3.11 started with PYTHONHASHSEED.
func TestStringHash(t *testing.T) {
	for _, tc := range []struct {
		seed uint32
		text string
		want int64
	}{
		{0, "", 0},
		{0, "a", 4644417185603328019},
		{0, "10:16", 116664092964696349},
		{1, "1000:7", 6417756377713579311},
		{42, "abcdefg", 1375323160596907757},
		{42, "abcdefgh", -5457871895989710762},
		{42, "abcdefghi", -5970266004662334337},
		{1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", -8962158324725501823},
	} {
		if got := StringHash(tc.seed, tc.text); got != tc.want {
			t.Errorf("StringHash(%d, %q) = %d, want %d", tc.seed, tc.text, got, tc.want)
		}
	}
}

// BenchmarkGamma is the cost of one arrival.
func BenchmarkGamma(b *testing.B) {
	r := NewLegacy(0)
	for b.Loop() {
		r.Gamma(2.5, 0.1)
	}
}

func TestSkipBytes(t *testing.T) {
	for n := range 70 {
		for _, before := range []int{0, 1} {
			read, skipped := NewGenerator(3), NewGenerator(3)
			for _, g := range []*Generator{read, skipped} {
				g.Ints(0, 9, before) // with one draw before, half a word waits
			}
			read.Bytes(make([]byte, n))
			skipped.SkipBytes(n)
			if got, want := skipped.Ints(0, 999, 3), read.Ints(0, 999, 3); !reflect.DeepEqual(got, want) {
				t.Errorf("after skipping %d bytes: %v, want %v", n, got, want)
			}
		}
	}
}
