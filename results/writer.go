package results

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The files of a run folder that this package writes. Others add theirs beside them.
const (
	ManifestFile = "manifest.json"
	RecordsName  = "records.jsonl.zst"
	// MetricsBefore and MetricsAfter are the server's /metrics right before and right after the load.
	MetricsBefore = "server-metrics-before.txt"
	MetricsAfter  = "server-metrics-after.txt"
)

// SyncInterval is how much of a run a crash of the machine can cost: records are compressed,
// written and synced at this interval. After the death of the process alone, what was recorded
// longer ago than this is in the folder as well.
const SyncInterval = time.Second

const (
	// segmentSize is how much JSON makes a segment before its interval is over.
	segmentSize = 1 << 20
	// pendingLimit is how much JSON waits in memory while the disk stalls; Record blocks beyond it.
	pendingLimit = 256 << 20
	// maxSegment bounds what a reader must hold. It is what the largest record may come to.
	maxSegment = 512 << 20
)

// The records file is a sequence of zstd frames that `zstd -dc` reads. Before each frame of
// records stands a skippable frame that says how long it is and how many lines it holds, so that a
// reader can tell a whole segment from one that a crash cut short, and count without decompressing.
const (
	segmentMagic = 0x184D2A5B
	headSize     = 8 + 12
)

// file is what the writer needs of *os.File; tests give it a disk that fills up.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}

// A Writer puts a run into its folder. Record never waits for the disk, unless that stalls for very long.
// All methods may be called from any goroutine.
type Writer struct {
	dir      string
	file     file
	zstd     *zstd.Encoder
	sum      hash.Hash
	finished chan struct{}
	wake     chan struct{}
	stop     chan struct{}
	largest  int                  // what a record may come to
	limit    int                  // how much may be pending
	segment  int                  // how much makes a segment
	patient  bool                 // segments are made when they are full
	interval time.Duration        // between two syncs
	free     func() (int64, bool) // room on the disk

	mu       sync.Mutex
	room     *sync.Cond // pending has shrunk
	manifest Manifest
	drafted  bool   // the manifest was written since the disk had it last
	pending  []byte // lines
	recorded int    // records taken
	failures int
	written  int   // records in the file
	synced   int   // of those, the records that the disk has
	size     int64 // of the file
	err      error // the first one of the file
	closed   bool
}

// Create makes the folder of a run and writes its manifest. A folder that holds a run already is
// refused: results are never overwritten.
func Create(dir string, m Manifest) (*Writer, error) { return createWith(dir, m, writerOptions{}) }

func createWith(dir string, m Manifest, o writerOptions) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	path := filepath.Join(dir, RecordsName)
	if _, err := os.Lstat(filepath.Join(dir, ManifestFile)); err == nil {
		return nil, fmt.Errorf("%s holds a run already: choose another folder, or move that one away", dir)
	}
	// Creating the records file is what claims the folder, should two runs want it at once.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s holds a run already: choose another folder, or move that one away", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	w, err := newWriterWith(dir, f, m, o)
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return w, nil
}

func newWriter(dir string, f file, m Manifest) (*Writer, error) {
	return newWriterWith(dir, f, m, writerOptions{})
}

// writerOptions are for who knows better than the usual writer of a run; zero is the usual.
type writerOptions struct {
	limit, segment int
	interval       time.Duration
	level          zstd.EncoderLevel
	// unhurried makes segments when they are full, and only then: a second that has passed makes none.
	unhurried bool
	free      func() (int64, bool)
}

func newWriterWith(dir string, f file, m Manifest, o writerOptions) (*Writer, error) {
	m.Version = ManifestVersion
	if m.Created == 0 {
		m.Created = Moment(time.Now().UnixNano())
	}
	if err := writeManifest(dir, m, false); err != nil {
		return nil, err
	}
	// Looking back further than a segment is long takes 16 MB and finds nothing.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(cmp.Or(o.level, zstd.SpeedDefault)), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true),
		zstd.WithWindowSize(segmentSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	w := &Writer{
		dir: dir, file: f, zstd: enc, sum: sha256.New(), manifest: m, drafted: true,
		finished: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}), largest: maxSegment / 2,
		limit: cmp.Or(o.limit, pendingLimit), segment: cmp.Or(o.segment, segmentSize), patient: o.unhurried, interval: cmp.Or(o.interval, SyncInterval),
		free: o.free,
	}
	if w.free == nil {
		w.free = func() (int64, bool) { return FreeDisk(dir) }
	}
	w.room = sync.NewCond(&w.mu)
	go w.writeSegments()
	return w, nil
}

// Dir is the folder.
func (w *Writer) Dir() string { return w.dir }

// Record takes one record. An error is the disk's: it is the same on every later call, and
// records that came before it may be lost.
func (w *Writer) Record(r *Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.wait(); err != nil {
		return err
	}
	before := len(w.pending)
	w.pending = append(appendRecord(w.pending, r), '\n')
	if n := len(w.pending) - before; n > w.largest {
		w.pending = w.pending[:before]
		return fmt.Errorf("%s: request %d comes to %d bytes, more than a record can hold: run without keeping texts", w.dir, r.ID, n)
	}
	w.taken(!r.OK())
	return nil
}

// line takes a record as it stands in another run's file.
func (w *Writer) line(text []byte, failed bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.wait(); err != nil {
		return err
	}
	w.pending = append(append(w.pending, text...), '\n')
	w.taken(failed)
	return nil
}

// wait returns when there is room for a record, with the mutex held.
func (w *Writer) wait() error {
	for len(w.pending) > w.limit && w.err == nil {
		w.room.Wait()
	}
	if w.err == nil && w.closed {
		return fmt.Errorf("%s: the run was closed", w.dir)
	}
	return w.err
}

// taken counts the record that was put at the end of pending.
func (w *Writer) taken(failed bool) {
	w.recorded++
	if failed {
		w.failures++
	}
	if len(w.pending) >= w.segment {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Synced is how many records the disk surely has: a crash of the machine cannot take them back.
func (w *Writer) Synced() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.synced
}

// Update changes the manifest and writes it at once, so that a crash of the program does not lose the change. The disk has it with the next
// records, or within the same time: a change does not wait for that, nor a record for the change.
func (w *Writer) Update(change func(*Manifest)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.manifest)
	w.manifest.Version = ManifestVersion
	w.drafted = true
	return writeManifest(w.dir, w.manifest, false)
}

// Amend changes the manifest of a run that is over: what follows from its records, and can be told only when they were read.
func Amend(dir string, change func(*Manifest)) error {
	run, err := Open(dir)
	if err != nil {
		return err
	}
	defer run.Close()
	change(&run.manifest)
	return writeManifest(dir, run.manifest, true)
}

// Manifest is a copy of the manifest as it stands.
func (w *Writer) Manifest() Manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manifest
}

// Close writes what is left, the last line with its counts, and how the run ended. It returns
// the first error of the whole file; the folder opens all the same.
func (w *Writer) Close(outcome Outcome, reason string) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return fmt.Errorf("%s: the run was closed already", w.dir)
	}
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.finished

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		_, w.err = w.flush(append(w.endLine(), '\n'), true)
	}
	w.manifest.Outcome, w.manifest.Reason = outcome, reason
	if w.err != nil {
		w.manifest.Outcome = Failed
		w.manifest.Reason = joinReasons(w.err.Error(), reason)
		w.manifest.Warnings = append(w.manifest.Warnings,
			fmt.Sprintf("%d of %d records are in the file: %v", w.written, w.recorded, w.err))
	} else {
		w.manifest.Records = &RecordsFile{Count: w.recorded, Bytes: w.size, SHA256: hex.EncodeToString(w.sum.Sum(nil))}
		w.manifest.Files = hashFiles(w.dir)
	}
	err := w.err
	if closeErr := w.file.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	w.zstd.Close()
	if manifestErr := writeManifest(w.dir, w.manifest, true); err == nil {
		err = manifestErr
	}
	return err
}

func joinReasons(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// hashFiles are the hashes of the files beside the records that figures are derived from.
func hashFiles(dir string) map[string]string {
	sums := map[string]string{}
	for _, name := range []string{MetricsBefore, MetricsAfter} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			sum := sha256.Sum256(b)
			sums[name] = hex.EncodeToString(sum[:])
		}
	}
	return sums
}

// endLine is the last line of a run that was closed.
func (w *Writer) endLine() []byte {
	b := []byte(`{"end":{"records":`)
	b = strconv.AppendInt(b, int64(w.recorded), 10)
	b = append(b, `,"failed":`...)
	b = strconv.AppendInt(b, int64(w.failures), 10)
	return append(b, "}}"...)
}

// writeSegments is the goroutine that owns the file. Close ends it.
func (w *Writer) writeSegments() {
	defer close(w.finished)
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	var batch []byte
	unsynced, warned := false, false
	for {
		var sync, last bool
		select {
		case <-w.wake:
		case <-tick.C:
			sync = true
		case <-w.stop:
			sync, last = true, true
		}
		if sync {
			w.syncManifest()
		}
		w.mu.Lock()
		if w.patient && !last && len(w.pending) < w.segment {
			w.mu.Unlock()
			continue
		}
		batch, w.pending = w.pending, batch[:0]
		failed := w.err != nil
		w.room.Broadcast()
		w.mu.Unlock()

		if failed {
			batch = batch[:0]
		}
		var written int
		var err error
		if len(batch) > 0 {
			written, err = w.flush(batch, sync)
			unsynced = !sync
		} else if sync && unsynced {
			err = w.file.Sync()
			unsynced = false
		}
		w.mu.Lock()
		w.written += written
		if sync && err == nil && !failed {
			w.synced = w.written
		}
		if err != nil && w.err == nil {
			w.err = fmt.Errorf("%s: %w", filepath.Join(w.dir, RecordsName), err)
			w.room.Broadcast()
		}
		w.mu.Unlock()
		if cap(batch) > 4*w.segment {
			batch = nil // a stall is over; give its memory back
		}
		if sync && !warned {
			warned = w.warnOfDisk()
		}
		if last {
			return
		}
	}
}

// syncManifest waits until the disk has the manifest. Where that fails the records' own sync tells, and Close tries again.
func (w *Writer) syncManifest() {
	w.mu.Lock()
	drafted := w.drafted
	w.drafted = false
	w.mu.Unlock()
	if !drafted {
		return
	}
	if f, err := os.Open(filepath.Join(w.dir, ManifestFile)); err == nil {
		_ = f.Sync()
		f.Close()
		syncFolder(w.dir)
	}
}

// warnOfDisk notes, once, that there is little room left. What comes when there is none is an error of Record.
func (w *Writer) warnOfDisk() bool {
	free, known := w.free()
	if !known || free >= lowDisk {
		return false
	}
	_ = w.Update(func(m *Manifest) {
		m.Warnings = append(m.Warnings, fmt.Sprintf("only %d MiB were left on the disk while the run was recorded", free>>20))
	})
	return true
}

// flush writes lines as segments and, if told, waits until the disk has them. It returns how many
// lines the file took. Only the owner of the file calls it.
func (w *Writer) flush(batch []byte, sync bool) (written int, err error) {
	for len(batch) > 0 {
		part, lines := cutLines(batch, maxSegment/2)
		batch = batch[len(part):]
		segment := w.encode(part, lines)
		if _, err := w.file.Write(segment); err != nil {
			// Half a segment must not stand in the file: take it off again, so that the folder opens clean.
			if cutErr := w.file.Truncate(w.size); cutErr == nil {
				_, _ = w.file.Seek(w.size, io.SeekStart)
			}
			return written, err
		}
		w.size += int64(len(segment))
		w.sum.Write(segment)
		written += lines
	}
	if sync {
		err = w.file.Sync()
	}
	return written, err
}

// cutLines is the whole lines at the front of batch that come to at most limit, and one line at least.
func cutLines(batch []byte, limit int) (part []byte, lines int) {
	end := 0
	for i, c := range batch {
		if c != '\n' {
			continue
		}
		if end > 0 && i+1 > limit {
			break
		}
		end = i + 1
		lines++
	}
	return batch[:end], lines
}

// encode makes the segment of lines: its head and its frame.
func (w *Writer) encode(lines []byte, n int) []byte {
	segment := make([]byte, headSize, headSize+len(lines)/4)
	segment = w.zstd.EncodeAll(lines, segment)
	binary.LittleEndian.PutUint32(segment[0:], segmentMagic)
	binary.LittleEndian.PutUint32(segment[4:], headSize-8)
	binary.LittleEndian.PutUint32(segment[8:], uint32(len(segment)-headSize))
	binary.LittleEndian.PutUint32(segment[12:], uint32(len(lines)))
	binary.LittleEndian.PutUint32(segment[16:], uint32(n))
	return segment
}

func writeManifest(dir string, m Manifest, sync bool) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	return replace(filepath.Join(dir, ManifestFile), bytesTo(append(b, '\n')), sync)
}

// WriteFile writes a whole file or nothing: under another name first, synced, then renamed.
func WriteFile(path string, data []byte) error { return WriteStream(path, bytesTo(data)) }

// WriteStream is WriteFile for what need not be in memory whole.
func WriteStream(path string, write func(io.Writer) error) error { return replace(path, write, true) }

func bytesTo(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// replace is WriteStream. Without sync it does not wait for the disk: a crash of the machine can leave the file empty.
func replace(path string, write func(io.Writer) error, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("%s: %w", path, err)
	}
	if sync {
		syncFolder(filepath.Dir(path))
	}
	return nil
}

// syncFolder makes names in a folder outlive a crash of the machine, where the system can.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync() // not every file system has it
		f.Close()
	}
}
