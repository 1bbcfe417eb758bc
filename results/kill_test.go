package results

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// recordUntilKilled is the process that TestKilledAtRandomMoments kills. It says how many records the disk has whenever there
// are more.
func recordUntilKilled(dir string) {
	w, err := createWith(dir, Manifest{}, writerOptions{limit: 64 << 10, segment: 16 << 10, interval: 2 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	said := 0
	for i := 0; ; i++ {
		if err := w.Record(numbered(i)); err != nil {
			panic(err)
		}
		n := w.Synced()
		for ; n < i-200; n = w.Synced() { // as a run would: a few records a sync, not all that a disk can take
			runtime.Gosched()
		}
		if n > said {
			fmt.Println(n)
			said = n
		}
	}
}

func TestKilledAtRandomMoments(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(worker)))
			for round := worker; round < rounds; round += 4 {
				killed(t, round, time.Duration(rng.Int64N(int64(20*time.Millisecond))))
			}
		})
	}
	workers.Wait()
}

// killed kills a recording process some time after its first sync, and reads what it left.
func killed(t *testing.T, round int, after time.Duration) {
	dir := filepath.Join(t.TempDir(), "run")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "RESULTS_TEST_RECORD_INTO="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := child.Start(); err != nil {
		t.Error(err)
		return
	}
	synced := 0
	words := bufio.NewReader(out)
	for {
		word, err := words.ReadString('\n')
		if err == io.EOF || !strings.HasSuffix(word, "\n") {
			break // dead, perhaps in the middle of a word
		}
		if _, err := fmt.Sscan(word, &synced); err != nil {
			t.Errorf("round %d: the child said %q", round, word)
		}
		if after > 0 {
			time.AfterFunc(after, func() { _ = child.Process.Kill() })
			after = 0
		}
	}
	_ = child.Wait()
	run, err := Open(dir)
	if err != nil {
		t.Errorf("round %d: %v", round, err)
		return
	}
	defer run.Close()
	n, err := readNumbered(run)
	if err != nil {
		t.Errorf("round %d: %v", round, err)
	}
	if n < synced || n != run.Len() || synced == 0 {
		t.Errorf("round %d: %d records were synced, %d are announced, %d can be read", round, synced, run.Len(), n)
	}
	if ok, why := run.Complete(); ok || !strings.Contains(why, fmt.Sprintf("%d records are here", n)) {
		t.Errorf("round %d: complete %t: %s", round, ok, why)
	}
	if m := run.Manifest(); m.Outcome != "" || m.Records != nil {
		t.Errorf("round %d: the manifest claims outcome %q, records %+v", round, m.Outcome, m.Records)
	}
}

// readNumbered counts the records up to the first that cannot be read. The error is that of a record which is not the one recorded.
func readNumbered(run *Run) (int, error) {
	n := 0
	for rec, err := range run.Records() {
		if err != nil {
			break
		}
		if got, want := appendRecord(nil, rec), appendRecord(nil, numbered(n)); !bytes.Equal(got, want) {
			return n, fmt.Errorf("record %d is %s, was recorded as %s", n, got, want)
		}
		n++
	}
	return n, nil
}

// frailDisk is a file of which a crash of the machine leaves what was synced, and of the rest whatever comes.
type frailDisk struct {
	mu     sync.Mutex
	b      []byte
	synced int
}

func (d *frailDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.b = append(d.b, p...)
	return len(p), nil
}

func (d *frailDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = len(d.b)
	return nil
}

func (d *frailDisk) Truncate(int64) error                { return nil }
func (d *frailDisk) Seek(at int64, _ int) (int64, error) { return at, nil }
func (d *frailDisk) Close() error                        { return nil }

// crash is what is left: some of what was not synced arrived, some of it as zeros.
func (d *frailDisk) crash(rng *rand.Rand) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := bytes.Clone(d.b[:d.synced+rng.IntN(len(d.b)-d.synced+1)])
	if lost := len(left) - d.synced; lost > 0 {
		clear(left[d.synced+rng.IntN(lost):])
	}
	return left
}

func TestMachineCrash(t *testing.T) {
	disk := &frailDisk{}
	w, err := newWriterWith(t.TempDir(), disk, Manifest{}, writerOptions{segment: 4 << 10, limit: 64 << 10, interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 0))
	most := 0
	for i := range 2000 {
		if err := w.Record(numbered(i)); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(60) > 0 {
			continue
		}
		synced := w.Synced()
		left := disk.crash(rng)
		run := &Run{}
		if err := run.index(bytes.NewReader(left), int64(len(left))); err != nil && len(left) > 0 && synced > 0 {
			t.Fatal(err)
		}
		n, err := readNumbered(run)
		if err != nil || n < synced || n > i+1 {
			t.Fatalf("after %d records, %d of them synced, %d were read: %v", i+1, synced, n, err)
		}
		if ok, _ := run.Complete(); ok {
			t.Fatalf("a run of %d records that was cut calls itself complete", i+1)
		}
		most = max(most, synced)
	}
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	if w.Synced() != 2000 || most == 0 {
		t.Errorf("%d of 2000 records are synced at the end, %d were before it", w.Synced(), most)
	}
}

func TestDiskIsWatched(t *testing.T) {
	dir := t.TempDir()
	w, err := createWith(filepath.Join(dir, "run"), Manifest{}, writerOptions{free: func() (int64, bool) { return 77 << 20, true }})
	if err != nil {
		t.Fatal(err)
	}
	record(t, w, 0, 5)
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	if got := w.Manifest().Warnings; len(got) != 1 || got[0] != "only 77 MiB were left on the disk while the run was recorded" {
		t.Errorf("warnings %q", got)
	}
	if n, ok := FreeDisk(dir); ok && n <= 0 {
		t.Errorf("the disk has %d bytes", n)
	}
}

func TestDiskEstimate(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	for _, tc := range []struct{ requests, events int }{{3000, 0}, {3000, 1}, {1000, 30}, {100, 1000}} {
		dir := filepath.Join(t.TempDir(), "run")
		w := create(t, dir)
		for i := range tc.requests {
			r := &Record{ID: i, Kind: Load, RequestID: fmt.Sprintf("run-%08x-%d", rng.Uint32(), i), InputTokens: rng.IntN(4096), AskedTokens: tc.events, Due: 1_767_323_045_000_000_000 + Moment(rng.Int64N(1e12))}
			at := r.Due
			next := func(mean time.Duration) Moment {
				at = at.Add(time.Duration(rng.ExpFloat64() * float64(mean)))
				return at
			}
			r.Released, r.Dispatched = next(20*time.Microsecond), next(20*time.Microsecond)
			r.Encoding = time.Duration(rng.Int64N(1e6))
			r.WriteBegan, r.Written, r.Headers = next(time.Millisecond), next(time.Millisecond), next(100*time.Millisecond)
			for range tc.events {
				r.Chunks = append(r.Chunks, Chunk{At: next(50 * time.Millisecond), Lag: time.Duration(rng.ExpFloat64() * 1e5), Tokens: 1, Visible: true, Shared: rng.IntN(10) == 0})
			}
			r.Done, r.Status, r.Finish, r.EndMarked = next(time.Millisecond), 200, "length", true
			r.Usage = &Usage{r.InputTokens, tc.events, 0}
			r.OutputTokens = -1
			if err := w.Record(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(OK, ""); err != nil {
			t.Fatal(err)
		}
		took, estimate := w.Manifest().Records.Bytes, EstimateDisk(tc.requests, tc.events, 0)
		if took > estimate || took < estimate/3 {
			t.Errorf("%d requests with %d events took %d bytes (%.1f a request), the estimate was %d", tc.requests, tc.events, took, float64(took)/float64(tc.requests), estimate)
		}
	}
}
