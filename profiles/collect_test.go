package profiles

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// second is a moment of the tests, in Unix ns, s seconds after the bracket's start was sent.
func second(s float64) int64 { return 1795508980_000000000 + int64(s*1e9) }

var tenSeconds = Marks{StartSent: second(0), StartAnswered: second(0.1), StopSent: second(9), StopAnswered: second(10), Called: true}

// packed is a trace file with a rank, as gzip.
func packed(rank, world int) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if world > 0 {
		fmt.Fprintf(w, `{"schemaVersion": 1, "distributedInfo": {"backend": "gloo", "pg_config": [{"ranks": [0], "rank": 99}], "rank": %d, "world_size": %d}, `, rank, world)
	} else {
		fmt.Fprint(w, `{"schemaVersion": 1, `)
	}
	fmt.Fprint(w, `"traceEvents": [{"ph": "X", "args": {"rank": 77}}]}`)
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// put writes a file whose time of modification is s seconds after the start.
func put(t *testing.T, dir, name string, s float64, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(0, second(s))
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return path
}

// names are the names of the collected files, with kind and rank.
func names(c Collected) []string {
	var all []string
	for _, f := range c.Files {
		all = append(all, fmt.Sprintf("%s %d %s", f.Kind, f.Rank, filepath.Base(f.Path)))
	}
	return all
}

func named(form string, s float64) string { return fmt.Sprintf(form, second(s)) }

func TestCollectTakesTheFilesOfThisBracket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, into := t.TempDir(), filepath.Join(t.TempDir(), "traces")
		old := named("rank0.%d.pt.trace.json.gz", -600)
		one := named("rank0.%d.pt.trace.json.gz", 9.1)
		two := named("dp0_pp0_tp1_dcp0_ep1_rank1.%d.pt.trace.json.gz", 9.2)
		front := named("vm_20699.async_llm.%d.pt.trace.json.gz", 9.05)
		later := named("rank0.%d.pt.trace.json.gz", 900)
		put(t, dir, old, 5, packed(0, 2)) // its name counts, not its time
		want := put(t, dir, one, -600, packed(0, 2))
		put(t, dir, two, 9.5, packed(0, 0)) // rank by name only
		put(t, dir, front, 9.3, packed(0, 0))
		put(t, dir, later, 5, packed(0, 2))
		put(t, dir, "rank0.profiler_out.txt", 9.6, []byte("table"))
		put(t, dir, "profiler_out_1.txt", -600, []byte("table of an older run"))
		put(t, dir, "node.hltv", 9, []byte{1, 2})
		put(t, dir, "notes.json", 9, []byte("{}"))
		put(t, dir, "merged.trace.json.gz", 9, packed(0, 0))
		put(t, dir, one+".tmp", 9, nil)
		if err := os.Mkdir(filepath.Join(dir, "capture_traces"), 0o700); err != nil {
			t.Fatal(err)
		}
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: into, Marks: tenSeconds})
		if err != nil {
			t.Fatal(err)
		}
		wanted := []string{"trace 0 " + one, "trace 1 " + two, "frontend -1 " + front, "hltv -1 node.hltv", "table -1 rank0.profiler_out.txt"}
		if got := names(c); !slices.Equal(got, wanted) || len(c.Warnings) != 0 {
			t.Errorf("collected %q, warnings %q\nwant %q", got, c.Warnings, wanted)
		}
		f := c.Files[0]
		if f.Source != want || f.WorldSize != 2 || f.Stamp != second(9.1) || !f.Named || f.Bytes != int64(len(packed(0, 2))) {
			t.Errorf("rank 0 is %+v", f)
		}
		data, err := os.ReadFile(f.Path)
		if err != nil || !bytes.Equal(data, packed(0, 2)) {
			t.Errorf("the copy differs (%v)", err)
		}
		if left, _ := filepath.Glob(filepath.Join(into, ".*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

func TestCollectByPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, node := range []string{"node0", "node1", "other"} {
			if err := os.Mkdir(filepath.Join(dir, node), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		name := named("rank0.%d.pt.trace.json.gz", 9)
		put(t, filepath.Join(dir, "node0"), name, 9, packed(0, 0))
		put(t, filepath.Join(dir, "node1"), name, 9, packed(0, 0))
		put(t, filepath.Join(dir, "other"), name, 9, packed(0, 0))
		c, err := Collect(t.Context(), Collection{From: []string{filepath.Join(dir, "node*")}, Into: t.TempDir(), Marks: tenSeconds})
		if got, want := names(c), []string{"trace 0 2-" + name, "trace 0 " + name}; err != nil || !slices.Equal(got, want) {
			t.Errorf("collected %q, %v; want both of one name, neither overwritten: %q", got, err, want)
		}
	})
}

func TestCollectWaitsUntilComplete(t *testing.T) {
	whole := packed(0, 2)
	for _, tc := range []struct {
		name  string
		grow  []byte // what is there at first
		full  []byte
		after time.Duration // between two looks, which are a fifth of a second apart
	}{
		{named("rank0.%d.pt.trace.json.gz", 9), whole[:len(whole)-4], whole, 2900 * time.Millisecond},
		{named("rank0.%d.pt.trace.json", 9), []byte(`{"traceEvents": [{"ph": "X"}`), []byte(`{"traceEvents": [{"ph": "X"}]}`), 900 * time.Millisecond},
		{"server_events_vllm-instance-7-0.json", []byte(`[{"ph": "X"},`), []byte(`[{"ph": "X"},{"ph": "X"},`), 900 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				put(t, dir, tc.name, 9, tc.grow)
				put(t, dir, named("rank1.%d.pt.trace.json.gz", 9), 9, packed(1, 0))
				began := time.Now()
				time.AfterFunc(tc.after, func() { put(t, dir, tc.name, 9.5, tc.full) })
				var heard []string
				c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds, Progress: func(s string) { heard = append(heard, s) }})
				if err != nil || len(c.Warnings) != 0 {
					t.Fatalf("Collect() = %v, warnings %q", err, c.Warnings)
				}
				for _, f := range c.Files {
					if strings.HasSuffix(f.Path, tc.name) && f.Bytes != int64(len(tc.full)) {
						t.Errorf("%s was taken with %d of %d bytes", tc.name, f.Bytes, len(tc.full))
					}
				}
				if len(c.Files) != 2 || time.Since(began) < tc.after || len(heard) == 0 {
					t.Errorf("%d files after %v, progress %q", len(c.Files), time.Since(began), heard)
				}
			})
		})
	}
}

func TestCollectWaitsForEveryRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, named("vllm.%d.pt.trace.json.gz", 9), 9, packed(1, 2))
		time.AfterFunc(5*time.Second, func() { put(t, dir, named("vllm.%d.pt.trace.json.gz", 9.4), 9.4, packed(0, 2)) })
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds})
		if err != nil || len(c.Files) != 2 || c.Files[0].Rank != 0 || c.Files[0].Stamp != second(9.4) {
			t.Errorf("collected %q, %v; want rank 0, which came last, first", names(c), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, named("vllm.%d.pt.trace.json.gz", 9), 9, packed(1, 8))
		put(t, dir, named("dp0_rank2.%d.pt.trace.json.gz", 9), 9, packed(0, 0)[:20])
		began := time.Now()
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds, Patience: 10 * time.Second})
		want := []string{
			filepath.Join(dir, named("dp0_rank2.%d.pt.trace.json.gz", 9)) + " is not complete and was left out: the gzip stream is cut off",
			"the traces of 7 ranks are missing",
		}
		if err != nil || len(c.Files) != 1 || !slices.Equal(c.Warnings, want) || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %q, %v, warnings\n%s\nwant\n%s", time.Since(began), names(c), err, strings.Join(c.Warnings, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestCollectTakesThePackedFileOfAPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		plain := named("vllm.%d.pt.trace.json", 9)
		put(t, dir, plain, 9, []byte("{}"))
		put(t, dir, plain+".gz", 9, packed(0, 1))
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds})
		if got, want := names(c), []string{"trace 0 " + plain + ".gz"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("collected %q, %v; want %q", got, err, want)
		}
	})
}

func TestWhatStoodThereBeforeIsNotOfTheBracket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, named("rank0.%d.pt.trace.json.gz", 1), 1, packed(0, 1)) // the server's clock is ahead
		table := put(t, dir, "rank0.profiler_out.txt", 1, []byte("old"))
		before, err := Look(dir, filepath.Join(dir, "missing"))
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, named("rank0.%d.pt.trace.json.gz", 9), 9, packed(0, 1))
		if err := os.WriteFile(table, []byte("newer"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(0, second(9))
		if err := os.Chtimes(table, at, at); err != nil {
			t.Fatal(err)
		}
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds, Before: before})
		want := []string{"trace 0 " + named("rank0.%d.pt.trace.json.gz", 9), "table -1 rank0.profiler_out.txt"}
		if got := names(c); err != nil || !slices.Equal(got, want) {
			t.Errorf("collected %q, %v; want %q", got, err, want)
		}
	})
}

func TestAnEarlierSessionInsideTheSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, named("rank0.%d.pt.trace.json.gz", -1), -1, packed(0, 1))
		put(t, dir, named("rank0.%d.pt.trace.json.gz", 3), 3, packed(0, 1)) // limited: written before the stop
		c, err := Collect(t.Context(), Collection{From: []string{dir}, Into: t.TempDir(), Marks: tenSeconds})
		want := []string{"trace 0 " + named("rank0.%d.pt.trace.json.gz", 3)}
		if got := names(c); err != nil || !slices.Equal(got, want) {
			t.Errorf("collected %q, %v; want %q", got, err, want)
		}
	})
}

func TestCollectFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		old := named("rank0.%d.pt.trace.json.gz", -600)
		put(t, dir, old, -600, packed(0, 1))
		missing := filepath.Join(dir, "missing")
		_, err := Collect(t.Context(), Collection{From: []string{dir, missing}, Into: t.TempDir(), Marks: tenSeconds})
		if !errors.Is(err, ErrNoTraces) {
			t.Fatalf("got %v", err)
		}
		for _, part := range []string{
			"looked in " + dir + ", " + missing + " for *.trace.json*, server_events_*.json, *.hltv, *profiler_out*.txt",
			"written from " + clock(second(0)) + " to " + clock(second(10)),
			"1 of other sessions are there, the latest " + old + " of " + clock(second(-600)),
			missing + " does not exist on this machine",
			"torch_profiler_dir", "VLLM_TORCH_PROFILER_DIR", "--trace-dir DIR|GLOB", "collect command",
		} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not say %q:\n%v", part, err)
			}
		}
	})
	if _, err := Collect(t.Context(), Collection{Into: t.TempDir()}); !errors.Is(err, ErrNoTraces) || !strings.Contains(err.Error(), "--trace-dir") {
		t.Errorf("without a place: %v", err)
	}
	if _, err := Collect(t.Context(), Collection{From: []string{"gs://bucket/x"}, Into: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no folder of this machine") {
		t.Errorf("with a URI: %v", err)
	}
}

func TestCollectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("Ctrl-C")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := Collect(ctx, Collection{From: []string{t.TempDir()}, Into: t.TempDir()}); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCollectWithACommand(t *testing.T) {
	remote := t.TempDir()
	name := named("rank0.%d.pt.trace.json.gz", 9+30) // that machine's clock is half a minute ahead
	put(t, remote, name, -600, packed(0, 1))
	put(t, remote, named("rank0.%d.pt.trace.json.gz", -600), -600, packed(0, 1))
	put(t, remote, "it's.hltv", 0, []byte{1})
	into := filepath.Join(t.TempDir(), "it's here")
	c, err := Collect(t.Context(), Collection{Command: "cp " + remote + "/* {dest}", Into: into, Marks: tenSeconds})
	want := []string{"trace 0 " + name, "hltv -1 it's.hltv"}
	if got := names(c); err != nil || !slices.Equal(got, want) {
		t.Errorf("collected %q, %v; want %q", got, err, want)
	}
	if c.Files[0].Source != name {
		t.Errorf("its source is %q; want the name it had there", c.Files[0].Source)
	}
	if left, _ := filepath.Glob(filepath.Join(into, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCollectCommandFails(t *testing.T) {
	_, err := Collect(t.Context(), Collection{Command: "echo no route to host >&2; exit 7", Into: t.TempDir(), Patience: time.Millisecond})
	if !errors.Is(err, ErrNoTraces) || !strings.HasSuffix(err.Error(), `collect command "echo no route to host >&2; exit 7": exit status 7: no route to host`) {
		t.Errorf("got %v", err)
	}
}

func TestCollectIntoAnUnwritableFolder(t *testing.T) {
	file := put(t, t.TempDir(), "file", 0, nil)
	if _, err := Collect(t.Context(), Collection{From: []string{t.TempDir()}, Into: filepath.Join(file, "traces")}); err == nil || !strings.HasPrefix(err.Error(), "collect traces: mkdir ") {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kind   Kind
		stamp  int64
		rank   int
		writer string
	}{
		{"rank0.1795508981606821544.pt.trace.json.gz", Trace, 1795508981606821544, 0, "rank0"},
		{"three-steps_rank0.1795509266100129066.pt.trace.json", Trace, 1795509266100129066, 0, "three-steps_rank0"},
		{"dp0_pp0_tp3_dcp0_ep3_rank3.1795509266100129066.pt.trace.json.gz", Trace, 1795509266100129066, 3, "dp0_pp0_tp3_dcp0_ep3_rank3"},
		{"inst-1-rank-2.1795509266100129066.pt.trace.json.gz", Trace, 1795509266100129066, 2, "inst-1-rank-2"},
		{"vllm.1795509266100129066.pt.trace.json.gz", Trace, 1795509266100129066, -1, "vllm"},
		{"vm_24648.async_llm.1795509168619292070.pt.trace.json.gz", FrontEnd, 1795509168619292070, -1, "vm_24648.async_llm"},
		{"1700000000.25-TP-1-DECODE.trace.json.gz", Trace, 1700000000_250000000, 1, "1-DECODE.trace.json.gz"},
		{"x-1700000000-TP-0.trace.json.gz", Trace, 1700000000_000000000, 0, "x0.trace.json.gz"},
		{"merged-1700000000.25.trace.json.gz", Merged, 1700000000_250000000, -1, "merged.gz"},
		{"server_events_vllm-instance-7-00ff.json", Events, 0, -1, ""},
		{"default.hltv", Viewer, 0, -1, ""},
		{"profiler_out_0.txt", Table, 0, -1, ""},
		{"rank0.profiler_out.txt", Table, 0, -1, ""},
		{"merged.trace.json.gz", "", 0, -1, ""},
		{"rank0.1795508981606821544.pt.trace.json.gz.tmp", "", 1795508981606821544, -1, ""},
		{"result.json", "", 0, -1, ""},
	} {
		kind, _ := kindOf(tc.name)
		if kind != tc.kind {
			t.Errorf("%s is %q; want %q", tc.name, kind, tc.kind)
		}
		if kind == "" {
			continue
		}
		if stamp, _ := stampOf(tc.name); stamp != tc.stamp {
			t.Errorf("%s is stamped %d; want %d", tc.name, stamp, tc.stamp)
		}
		if rank, _ := rankOf(tc.name); kind == Trace && rank != tc.rank {
			t.Errorf("%s has rank %d; want %d", tc.name, rank, tc.rank)
		}
		if got := writer(tc.name); tc.writer != "" && got != tc.writer {
			t.Errorf("%s was written by %q; want %q", tc.name, got, tc.writer)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte(`{"distributedInfo": {"rank": 1, "world_size": 2}}`))
	f.Add([]byte(`{"distributedInfo": {"rank": "1"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &head{}
		_, _ = h.Write(data)
		if rank, world, ok := h.distributed(); ok && (rank < 0 || world < 0) {
			t.Errorf("rank %d of %d", rank, world)
		}
	})
}
