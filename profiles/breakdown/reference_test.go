package breakdown

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// The figures below are worked out from the definitions a second time, plainly and
// slowly, with the standard JSON decoder: no code is shared with the analysis.

type slowEvent struct {
	Ph, Cat, Name string
	Pid, Tid      any
	Ts, Dur       json.Number
	Args          map[string]any
	start, end    int64
}

func slowNS(t testing.TB, n json.Number) int64 {
	t.Helper()
	whole, frac, _ := strings.Cut(n.String(), ".")
	v, err := strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func slowRead(t testing.TB, path string) []slowEvent {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var outer struct{ TraceEvents []slowEvent }
	if err := d.Decode(&outer); err != nil {
		t.Fatal(err)
	}
	for i := range outer.TraceEvents {
		e := &outer.TraceEvents[i]
		if e.Ph == "X" {
			e.start = slowNS(t, e.Ts)
			e.end = e.start + slowNS(t, e.Dur)
		}
	}
	return outer.TraceEvents
}

type slowStep struct {
	name, phase    string
	start, end     int64
	period         int64
	promptN, genN  int64
	promptT, genT  int64
	hasPredecessor bool
}

var slowStepName = regexp.MustCompile(`^execute_(\d+_)?context_(\d+)\((sq)?(\d+).*\)_generation_(\d+)\((sq)?(\d+).*\)$`)

func slowSteps(events []slowEvent) []slowStep {
	var steps []slowStep
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	for _, e := range events {
		m := slowStepName.FindStringSubmatch(e.Name)
		if e.Cat != "user_annotation" || m == nil {
			continue
		}
		s := slowStep{name: e.Name, start: e.start, end: e.end, promptN: number(m[2]), promptT: number(m[4]), genN: number(m[5]), genT: number(m[7])}
		switch {
		case s.promptN > 0 && s.genN > 0:
			s.phase = "mixed"
		case s.promptN > 0:
			s.phase = "prefill"
		case s.genN > 0:
			s.phase = "decode"
		default:
			s.phase = "empty"
		}
		steps = append(steps, s)
	}
	sort.Slice(steps, func(i, j int) bool { return steps[i].start < steps[j].start })
	for i := 1; i < len(steps); i++ {
		steps[i].period, steps[i].hasPredecessor = steps[i].start-steps[i-1].start, true
	}
	return steps
}

// slowStats sorts and picks by the definition: the element at index ceil(q*n)-1.
func slowStats(values []int64) *Stats {
	if len(values) == 0 {
		return nil
	}
	sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
	at := func(q int) int64 {
		i := 0
		for i*100 < q*len(values) {
			i++
		}
		return values[i-1]
	}
	s := &Stats{P50: at(50), P90: at(90), P99: at(99), Max: values[len(values)-1], Count: int64(len(values))}
	for _, v := range values {
		s.Total += v
	}
	mean, _ := strconv.ParseFloat(fmt.Sprintf("%.3f", float64(s.Total)/float64(len(values))), 64)
	s.Mean = mean
	return s
}

func TestStepsAgainstASlowReference(t *testing.T) {
	for _, tc := range []struct {
		file     string
		requests int64 // P + G over all steps: the tokens the client received, or -1
		counts   map[string]int
	}{
		{"testdata/eight-nostack.json.gz", 128, map[string]int{"prefill": 2, "mixed": 2, "decode": 30, "empty": 2}},
		{"testdata/four-stack.json.gz", -1, nil},
		{"testdata/three-steps.json.gz", -1, nil},
	} {
		t.Run(tc.file, func(t *testing.T) {
			want := slowSteps(slowRead(t, tc.file))
			r := analyze(t, Options{}, tc.file)
			if len(r.Steps) != len(want) || len(want) == 0 {
				t.Fatalf("%d steps, want %d", len(r.Steps), len(want))
			}
			var requests int64
			counts := map[string]int{}
			host, period := map[string][]int64{}, map[string][]int64{}
			gaps := map[[2]string][]int64{}
			for i, w := range want {
				g := r.Steps[i]
				requests += w.promptN + w.genN
				counts[w.phase]++
				host[w.phase] = append(host[w.phase], w.end-w.start)
				got := []any{g.Name, g.Phase, g.HostStart, g.HostNS, *g.Prompts, *g.Generations, *g.Tokens, g.Rule, g.DevBusy == nil}
				wanted := []any{w.name, w.phase, w.start, w.end - w.start, w.promptN, w.genN, w.promptT + w.genT, "vllm_annotation", true}
				if !reflect.DeepEqual(got, wanted) {
					t.Fatalf("step %d: got %v, want %v", i, got, wanted)
				}
				if w.hasPredecessor {
					period[w.phase] = append(period[w.phase], w.period)
					if *g.Period != w.period {
						t.Errorf("step %d: period %d, want %d", i, *g.Period, w.period)
					}
					key := [2]string{want[i-1].phase, w.phase}
					gaps[key] = append(gaps[key], w.start-want[i-1].end)
				} else if g.Period != nil {
					t.Errorf("step %d: has a period", i)
				}
			}
			if tc.requests >= 0 && requests != tc.requests {
				t.Errorf("steps name %d requests, the client received %d tokens", requests, tc.requests)
			}
			if tc.counts != nil && !maps.Equal(counts, tc.counts) {
				t.Errorf("counts %v, want %v", counts, tc.counts)
			}
			if len(r.ByPhase) != len(counts) {
				t.Errorf("%d phases, want %v", len(r.ByPhase), counts)
			}
			for _, p := range r.ByPhase {
				if !reflect.DeepEqual(p.Host, slowStats(host[p.Phase])) || !reflect.DeepEqual(p.Period, slowStats(period[p.Phase])) || p.Count != int64(counts[p.Phase]) {
					t.Errorf("%s: host %+v, period %+v; want %+v, %+v", p.Phase, p.Host, p.Period, slowStats(host[p.Phase]), slowStats(period[p.Phase]))
				}
			}
			var byBucket int64
			for _, p := range r.Phases {
				byBucket += p.Count
			}
			if byBucket != int64(len(want)) {
				t.Errorf("buckets hold %d steps, want %d", byBucket, len(want))
			}
			if len(r.Transitions) != len(gaps) {
				t.Errorf("%d transitions, want %d", len(r.Transitions), len(gaps))
			}
			for _, x := range r.Transitions {
				if want := slowStats(gaps[[2]string{x.From, x.To}]); !reflect.DeepEqual(x.HostGap, want) {
					t.Errorf("%s to %s: %+v, want %+v", x.From, x.To, x.HostGap, want)
				}
				var sum int64
				for _, ns := range x.ByClass {
					sum += ns
				}
				if sum != x.HostGap.Total {
					t.Errorf("%s to %s: classes add up to %d of %d", x.From, x.To, sum, x.HostGap.Total)
				}
			}
		})
	}
}

// slowTimes works out self and total times by comparing every slice of a thread with
// every other. It needs slices that nest.
func slowTimes(t *testing.T, events []slowEvent, keep func(*slowEvent) bool) (names map[string]nameRow, classes map[string]int64) {
	t.Helper()
	threads := map[string][]*slowEvent{}
	for i := range events {
		if e := &events[i]; e.Ph == "X" && keep(e) {
			key := fmt.Sprint(e.Pid, "/", e.Tid)
			threads[key] = append(threads[key], e)
		}
	}
	names, classes = map[string]nameRow{}, map[string]int64{}
	address := regexp.MustCompile(` at 0x[0-9a-f]+`)
	for _, rows := range threads {
		self := make([]int64, len(rows))
		plain := make([]string, len(rows))
		for i, e := range rows {
			plain[i] = address.ReplaceAllString(e.Name, "")
		}
		for i, e := range rows {
			self[i] += e.end - e.start
			parent, nested := -1, false
			name := plain[i]
			for j, o := range rows {
				if i == j || o.start > e.start || o.end < e.end || o.start == e.start && o.end == e.end && j > i {
					if j != i && o.start < e.end && e.start < o.end && !(e.start <= o.start && o.end <= e.end) && !(o.start <= e.start && e.end <= o.end) {
						t.Fatalf("%s and %s do not nest: the reference does not apply", e.Name, o.Name)
					}
					continue
				}
				if e.start == e.end && o.end == e.start {
					continue // an empty slice at the very end of another is behind it
				}
				nested = nested || plain[j] == name
				if parent < 0 || o.end-o.start < rows[parent].end-rows[parent].start || o.end-o.start == rows[parent].end-rows[parent].start && j > parent {
					parent = j
				}
			}
			if parent >= 0 {
				self[parent] -= e.end - e.start
			}
			n := names[name]
			n.name = name
			n.count++
			if !nested {
				n.total += e.end - e.start
			}
			names[name] = n
		}
		for i, e := range rows {
			n := names[plain[i]]
			n.self += self[i]
			names[n.name] = n
			classes[e.Cat] += self[i]
		}
	}
	return names, classes
}

func TestPythonTimesAgainstASlowReference(t *testing.T) {
	files := []string{"testdata/three-steps.json.gz"}
	if !underRace {
		files = append(files, "testdata/four-stack.json.gz")
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			events := slowRead(t, file)
			want, _ := slowTimes(t, events, func(e *slowEvent) bool { return e.Cat == "python_function" })
			r := analyze(t, Options{}, file)
			address := regexp.MustCompile(` at 0x[0-9a-f]+`)
			rows := int64(0)
			for i, n := range r.Python.TopSelf {
				name := address.ReplaceAllString(n.Name, "")
				if got := (nameRow{name, n.Count, n.Total, n.Self}); got != want[name] {
					t.Errorf("got %+v, want %+v", got, want[name])
				}
				if i > 0 && r.Python.TopSelf[i-1].Self < n.Self {
					t.Errorf("%s is out of order", n.Name)
				}
				rows += n.Count
			}
			if len(r.Python.TopSelf) != len(want) || rows != r.Python.Rows {
				t.Errorf("%d names of %d rows, want %d; the report says %d", len(r.Python.TopSelf), rows, len(want), r.Python.Rows)
			}
			// Groups: the self times of their names add up.
			files := map[string]int64{}
			for name, n := range want {
				if i := strings.LastIndex(name, ".py("); i > 0 {
					files[name[:i+3]] += n.self
				}
			}
			for _, g := range r.Python.ByFile {
				if w, ok := files[g.Name]; ok && w != g.Self {
					t.Errorf("%s: self %d, want %d", g.Name, g.Self, w)
				}
			}
		})
	}
}

func TestHostTimesAgainstASlowReference(t *testing.T) {
	const file = "testdata/four-nostack.json.gz"
	names, classes := slowTimes(t, slowRead(t, file), func(e *slowEvent) bool { return e.Cat == "cpu_op" || e.Cat == "user_annotation" })
	r := analyze(t, Options{}, file)
	if !maps.Equal(r.HostSelf, classes) || r.Host.Violations != 0 || r.Python != nil {
		t.Errorf("host self %v, want %v; %d violations", r.HostSelf, classes, r.Host.Violations)
	}
	for _, n := range r.Host.TopSelf {
		if got := (nameRow{n.Name, n.Count, n.Total, n.Self}); got != names[n.Name] {
			t.Errorf("got %+v, want %+v", got, names[n.Name])
		}
	}
	if len(r.Host.TopSelf) != len(names) {
		t.Errorf("%d names, want %d", len(r.Host.TopSelf), len(names))
	}
	if r.AllDevices != nil || r.Gaps != nil || r.Kernels != nil || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, "no device rows") }) {
		t.Errorf("a CPU trace has figures of devices, or no warning: %q", r.Warnings)
	}
}

// TestFrontEnd reads the file of a server's front end, which holds marks and no work: every
// figure is absent, and the report says why.
func TestFrontEnd(t *testing.T) {
	r := analyze(t, Options{}, "testdata/frontend.json.gz")
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(b, &sections); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(sections)), []string{"files", "schema", "warnings", "window"}; !slices.Equal(got, want) {
		t.Errorf("sections %q, want %q", got, want)
	}
	if r.Files[0].Events != 7 || !r.Files[0].Complete || r.Window.Source != "trace" || len(r.Warnings) != 4 {
		t.Errorf("%+v %+v %q", r.Files[0], r.Window, r.Warnings)
	}
	if a := r.Answers(); a.HasBusy || len(a.Gaps)+len(a.Phases)+len(a.Python) != 0 || a.Wall <= 0 {
		t.Errorf("answers %+v", a)
	}
}

// TestSpillingChangesNothing keeps few rows in memory: the same report comes from disk.
func TestSpillingChangesNothing(t *testing.T) {
	files := []string{"testdata/four-stack.json.gz", "testdata/eight-nostack.json.gz"}
	if os.Getenv("SERVEBENCH_TEST_TRACES") != "" && !underRace {
		files = append(files, realTrace(t, "b200_eager.pt.trace.json.gz"))
	}
	for _, file := range files {
		want, err := analyze(t, Options{}, file).JSON()
		if err != nil {
			t.Fatal(err)
		}
		got, err := analyze(t, Options{Memory: 1, TempDir: t.TempDir()}, file).JSON()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the report differs when rows go to disk", file)
		}
	}
}
