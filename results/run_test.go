package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("RESULTS_TEST_RECORD_INTO"); dir != "" {
		recordUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// numbered is record i of a made-up run.
func numbered(i int) *Record {
	r := streamed()
	r.ID, r.Kind, r.InputTokens = i, Load, -1
	r.Due += Moment(i)
	if i%10 == 3 {
		r.Reply = Reply{Status: 500, OutputTokens: -1, Failure: &Failure{FailStatus, "boom"}}
	}
	return r
}

func create(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := Create(dir, Manifest{Tool: "test", Seed: 7, Created: 1})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func record(t *testing.T, w *Writer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := w.Record(numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// read opens dir and checks that it holds the records from 0 to n.
func read(t *testing.T, dir string) (run *Run, n int) {
	t.Helper()
	run, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for rec, err := range run.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbered(n), rec); diff != "" {
			t.Fatalf("record %d (-written +read):\n%s", n, diff)
		}
		n++
	}
	if n != run.Len() {
		t.Errorf("Len() = %d, read %d", run.Len(), n)
	}
	return run, n
}

func TestRunFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "run")
	w := create(t, dir)
	record(t, w, 0, 25)
	if err := w.Update(func(m *Manifest) { m.Began, m.Ended = 10, 20; m.Warnings = append(m.Warnings, "odd") }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	run, n := read(t, dir)
	if n != 25 {
		t.Errorf("%d records, want 25", n)
	}
	if ok, why := run.Complete(); !ok {
		t.Errorf("not complete: %s", why)
	}
	m := run.Manifest()
	if m.Outcome != OK || m.Seed != 7 || m.Began != 10 || m.Ended != 20 || len(m.Warnings) != 1 || m.Records.Count != 25 {
		t.Errorf("manifest is %+v", m)
	}
	info, err := os.Stat(filepath.Join(dir, RecordsName))
	if err != nil || info.Size() != m.Records.Bytes {
		t.Errorf("%v bytes, the manifest says %d (%v)", info.Size(), m.Records.Bytes, err)
	}
	if err := w.Close(OK, ""); err == nil {
		t.Error("a second Close went through")
	}
	if err := w.Record(numbered(0)); err == nil {
		t.Error("a closed run took a record")
	}
	if run.end.Failed != 3 {
		t.Errorf("the last line counts %d failures, want 3", run.end.Failed)
	}
}

func TestRecordsFileIsPlainZstd(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir)
	record(t, w, 0, 2)
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, RecordsName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dec, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	text, err := io.ReadAll(dec)
	if err != nil {
		t.Fatal(err)
	}
	want := string(appendRecord(nil, numbered(0))) + "\n" + string(appendRecord(nil, numbered(1))) + "\n" + `{"end":{"records":2,"failed":0}}` + "\n"
	if string(text) != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
}

func TestResultsAreNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir)
	if _, err := Create(dir, Manifest{}); err == nil || !strings.Contains(err.Error(), "holds a run already") {
		t.Errorf("a second Create beside a running one: %v", err)
	}
	record(t, w, 0, 3)
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, Manifest{}); err == nil || !strings.Contains(err.Error(), "holds a run already") {
		t.Errorf("a second Create: %v", err)
	}
	if _, n := read(t, dir); n != 3 {
		t.Errorf("%d records survived, want 3", n)
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	blocker := filepath.Join(dir, "file")
	if err := os.WriteFile(blocker, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(blocker, "run"), Manifest{}); err == nil || !strings.Contains(err.Error(), blocker) {
		t.Errorf("below a file: %v", err)
	}
	if os.Geteuid() != 0 {
		locked := filepath.Join(dir, "locked")
		if err := os.Mkdir(locked, 0o555); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(locked, Manifest{}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("in a folder without write permission: %v", err)
		}
	}
	// What cannot be put into JSON leaves nothing behind.
	odd := filepath.Join(dir, "odd")
	if _, err := Create(odd, Manifest{Settings: Settings{ProbeRate: math.NaN()}}); err == nil {
		t.Error("a manifest that is no JSON went through")
	}
	if w, err := Create(odd, Manifest{}); err != nil {
		t.Errorf("after that: %v", err)
	} else if err := w.Close(OK, ""); err != nil {
		t.Error(err)
	}
}

// A run is cut at every byte, as by a crash: it opens, every record of a whole segment is there, nothing else is.
func TestRunCutAtEveryByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := create(t, dir)
		var sizes []int64
		size := func() int64 {
			info, err := os.Stat(filepath.Join(dir, RecordsName))
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		for i := range 3 {
			record(t, w, 4*i, 4*i+4)
			time.Sleep(SyncInterval + time.Millisecond)
			synctest.Wait()
			sizes = append(sizes, size())
		}
		run, n := read(t, dir) // while it is still going on
		if ok, why := run.Complete(); ok || n != 12 || !strings.Contains(why, "still going on: 12 records are here") {
			t.Errorf("a running run: %d records, complete %t: %s", n, ok, why)
		}
		if err := w.Close(Interrupted, "Ctrl-C"); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(filepath.Join(dir, RecordsName))
		if err != nil {
			t.Fatal(err)
		}
		for cut := range whole {
			if err := os.WriteFile(filepath.Join(dir, RecordsName), whole[:cut], 0o666); err != nil {
				t.Fatal(err)
			}
			want := 0
			for i, s := range sizes {
				if int64(cut) >= s {
					want = 4 * (i + 1)
				}
			}
			run, n := read(t, dir)
			ok, why := run.Complete()
			if n != want || ok || !strings.Contains(why, fmt.Sprintf("%d records are here", want)) {
				t.Fatalf("cut at %d of %d: %d records, want %d; complete %t: %s", cut, len(whole), n, want, ok, why)
			}
		}
	})
}

func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir)
	record(t, w, 0, 12)
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, RecordsName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	run, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	run.Close()
	silent := 0
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		run := &Run{dir: dir, manifest: Manifest{Outcome: OK}}
		if err := run.index(bytes.NewReader(damaged), int64(len(damaged))); err != nil {
			continue
		}
		n := 0
		found := false
		for rec, err := range run.Records() {
			if err != nil {
				found = true
				break
			}
			if diff := cmp.Diff(numbered(n), rec); diff != "" {
				t.Fatalf("byte %d changed a record without a word:\n%s", i, diff)
			}
			n++
		}
		if ok, _ := run.Complete(); ok && !found {
			silent++
		}
	}
	// Reserved bits and the like may change without changing what is read.
	if silent > 8 {
		t.Errorf("%d of %d flipped bits went unnoticed", silent, len(whole))
	}
}

// fullDisk takes so many bytes and no more.
type fullDisk struct {
	mu     sync.Mutex
	room   int
	stored []byte
	fail   error
}

func (d *fullDisk) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(b), d.room)
	d.stored = append(d.stored, b[:n]...)
	d.room -= n
	if n < len(b) {
		return n, d.fail
	}
	return n, nil
}

func (d *fullDisk) Truncate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stored = d.stored[:size]
	return nil
}
func (d *fullDisk) Seek(offset int64, _ int) (int64, error) { return offset, nil }
func (d *fullDisk) Sync() error                             { return nil }
func (d *fullDisk) Close() error                            { return nil }

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		disk := &fullDisk{room: 1000, fail: syscall.ENOSPC}
		w, err := newWriter(dir, disk, Manifest{})
		if err != nil {
			t.Fatal(err)
		}
		record(t, w, 0, 3)
		time.Sleep(SyncInterval + time.Millisecond)
		synctest.Wait()
		kept := len(disk.stored)
		for i := 3; i < 500; i++ {
			if err = w.Record(numbered(i)); err != nil {
				break
			}
			time.Sleep(SyncInterval / 4)
			synctest.Wait()
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), RecordsName) {
			t.Errorf("Record on a full disk: %v", err)
		}
		if err := w.Close(OK, ""); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Close on a full disk: %v", err)
		}
		if len(disk.stored) < kept {
			t.Errorf("%d bytes are left of %d", len(disk.stored), kept)
		}
		if err := os.WriteFile(filepath.Join(dir, RecordsName), disk.stored, 0o666); err != nil {
			t.Fatal(err)
		}
		run, n := read(t, dir)
		ok, why := run.Complete()
		if ok || n < 3 || !strings.Contains(why, "no space left on device") {
			t.Errorf("%d records, complete %t: %s", n, ok, why)
		}
		if m := run.Manifest(); m.Outcome != Failed || len(m.Warnings) != 1 || !strings.HasPrefix(m.Warnings[0], fmt.Sprintf("%d of ", n)) {
			t.Errorf("manifest says %q: %q", m.Outcome, m.Warnings)
		}
	})
}

// stalledDisk does not answer until told.
type stalledDisk struct {
	fullDisk
	released chan struct{}
}

func (d *stalledDisk) Write(b []byte) (int, error) {
	<-d.released
	return d.fullDisk.Write(b)
}

func TestRecordDoesNotWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &stalledDisk{fullDisk: fullDisk{room: math.MaxInt}, released: make(chan struct{})}
		w, err := newWriter(t.TempDir(), disk, Manifest{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		record(t, w, 0, 10)
		time.Sleep(10 * SyncInterval)
		record(t, w, 10, 5000)
		if took := time.Since(start); took != 10*SyncInterval {
			t.Errorf("Record waited %v for a stalled disk", took-10*SyncInterval)
		}
		close(disk.released)
		if err := w.Close(OK, ""); err != nil {
			t.Fatal(err)
		}
		run := &Run{dir: "stalled"}
		if err := run.index(bytes.NewReader(disk.stored), int64(len(disk.stored))); err != nil {
			t.Fatal(err)
		}
		if run.Len() != 5000 {
			t.Errorf("%d records came through, want 5000", run.Len())
		}
	})
}

func TestTooLargeARecordIsRefused(t *testing.T) {
	w := create(t, t.TempDir())
	w.largest = 1000
	r := numbered(0)
	r.Text = strings.Repeat("x", 1001)
	if err := w.Record(r); err == nil || !strings.Contains(err.Error(), "more than a record can hold") {
		t.Errorf("got %v", err)
	}
	if err := w.Record(numbered(0)); err != nil {
		t.Errorf("the next one: %v", err)
	}
	if err := w.Close(OK, ""); err != nil {
		t.Error(err)
	}
}

func TestOpenWhatIsNoRun(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no run folder") {
		t.Errorf("an empty folder: %v", err)
	}
	for _, tc := range []struct{ manifest, records, wants string }{
		{`{`, "", "manifest.json"},
		{`{"version":99}`, "", "version 99"},
		{`{}`, "", "version 0"},
		{`{"version":1}`, "this is not a records file at all", "no records file"},
	} {
		if err := os.WriteFile(filepath.Join(dir, ManifestFile), []byte(tc.manifest), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, RecordsName), []byte(tc.records), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), tc.wants) {
			t.Errorf("%s with %q: %v, want %q", tc.manifest, tc.records, err, tc.wants)
		}
	}
}

func TestManifestReadsBack(t *testing.T) {
	pause, count := 3*ms, int64(4)
	m := Manifest{
		Version: 1, Tool: "t", Command: []string{"a"}, Scenario: json.RawMessage(`{"x":1}`), Seed: -1,
		Settings: Settings{RequestRate: Number(math.Inf(1)), Burstiness: 0.5, RampUp: &RampUp{"linear", 1, 2}, Goodput: []Objective{{"ttft", 1.5}}},
		Shard:    &Shard{K: 1, N: 4}, Machine: ThisMachine(), Clocks: []ClockPair{{1, 2, 3}}, Stamps: "kernel", Basis: Service, Created: 5,
		Profile: &Profile{Kind: "vllm", Start: Call{Sent: 1, Answered: 2, Status: 200}},
		Client:  &Client{GCPauseMax: &pause, GCPauses: &count},
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back Manifest
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if !strings.Contains(string(b), `"request_rate":"inf"`) || strings.Contains(string(b), `"cpu_ns"`) {
		t.Errorf("%s", b)
	}
}

func TestMachine(t *testing.T) {
	if got := cpuModel("processor : 0\nmodel name\t: Fast One\nmodel name: Other\n"); got != "Fast One" {
		t.Errorf("cpuModel = %q", got)
	}
	if m := ThisMachine(); m.Cores < 1 || !strings.HasPrefix(m.Go, "go") {
		t.Errorf("ThisMachine = %+v", m)
	}
	if !strings.HasPrefix(ToolVersion(), "servebench") {
		t.Errorf("ToolVersion = %q", ToolVersion())
	}
}

func TestWriteFileIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != text {
			t.Errorf("%q is in the file, want %q", b, text)
		}
	}
	if err := WriteFile(filepath.Join(dir, "none", "a"), nil); err == nil {
		t.Error("no error without a folder")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), nil); err == nil {
		t.Error("a folder was replaced by a file")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("%d entries are left: %v", len(entries), entries)
	}
}

func FuzzRecordsFile(f *testing.F) {
	dir := f.TempDir()
	w, err := Create(dir, Manifest{})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 4 {
		if err := w.Record(numbered(i)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(OK, ""); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, RecordsName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		run := &Run{}
		if run.index(bytes.NewReader(b), int64(len(b))) != nil {
			return
		}
		n := 0
		for _, err := range run.Records() {
			if err != nil {
				return
			}
			n++
		}
		if n != run.Len() {
			t.Fatalf("Len() = %d, read %d", run.Len(), n)
		}
	})
}
