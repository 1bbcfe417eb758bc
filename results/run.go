package results

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A Run is a run folder, opened to be read. It may have ended well, badly, or not at all.
type Run struct {
	dir      string
	manifest Manifest
	file     io.ReaderAt
	closer   io.Closer
	segments []segment
	// records counts the lines that segments announce, without the last line.
	records int
	end     *endLine
	// torn says what stands behind the last whole segment.
	torn string
}

// A segment is one piece of the records file: the place of its frame, its sizes and its lines.
type segment struct {
	at                  int64
	length, raw, claims uint32
}

type endLine struct {
	Records int `json:"records"`
	Failed  int `json:"failed"`
}

// Open opens a run folder. A run that died, or is still going on, opens too: Complete says so.
func Open(dir string) (*Run, error) {
	b, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is no run folder: it has no %s", dir, ManifestFile)
	}
	if err != nil {
		return nil, err
	}
	r := &Run{dir: dir}
	if err := json.Unmarshal(b, &r.manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	if v := r.manifest.Version; v < 1 || v > ManifestVersion {
		return nil, fmt.Errorf("%s: version %d: this program reads up to %d, a newer one may help", filepath.Join(dir, ManifestFile), v, ManifestVersion)
	}
	f, err := os.Open(filepath.Join(dir, RecordsName))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = r.index(f, info.Size())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	r.closer = f
	return r, nil
}

// index walks over the heads of the segments. What follows the last whole segment is left alone.
func (r *Run) index(f io.ReaderAt, size int64) error {
	r.file = f
	var head [headSize]byte
	for at := int64(0); at < size; {
		if size-at < headSize {
			r.torn = fmt.Sprintf("%d bytes at the end belong to no whole segment", size-at)
			break
		}
		if _, err := f.ReadAt(head[:], at); err != nil {
			return err
		}
		s := segment{
			at:     at + headSize,
			length: binary.LittleEndian.Uint32(head[8:]),
			raw:    binary.LittleEndian.Uint32(head[12:]),
			claims: binary.LittleEndian.Uint32(head[16:]),
		}
		if binary.LittleEndian.Uint32(head[0:]) != segmentMagic || binary.LittleEndian.Uint32(head[4:]) != headSize-8 {
			if at == 0 {
				return errors.New("this is no records file of servebench")
			}
			r.torn = fmt.Sprintf("no segment begins at byte %d, %d bytes before the end", at, size-at)
			break
		}
		if s.at+int64(s.length) > size {
			r.torn = fmt.Sprintf("the last %d bytes are an unfinished segment", size-at)
			break
		}
		r.segments = append(r.segments, s)
		r.records += int(s.claims)
		at = s.at + int64(s.length)
	}
	return r.readEnd()
}

// readEnd looks whether the last segment is the one that Close writes.
func (r *Run) readEnd() error {
	if len(r.segments) == 0 {
		return nil
	}
	last := r.segments[len(r.segments)-1]
	if last.claims != 1 || last.raw > 1<<10 {
		return nil
	}
	lines, err := r.decode(last)
	if err != nil {
		return nil // Records reports it with its place
	}
	var line struct {
		End *endLine `json:"end"`
	}
	if json.Unmarshal(lines, &line) == nil && line.End != nil {
		r.end = line.End
		r.records--
		r.segments = r.segments[:len(r.segments)-1]
	}
	return nil
}

// Close ends reading.
func (r *Run) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Dir is the folder.
func (r *Run) Dir() string { return r.dir }

// Manifest is how the run was made and how it ended.
func (r *Run) Manifest() *Manifest { return &r.manifest }

// Len is the number of records in the folder, of every kind.
func (r *Run) Len() int { return r.records }

// Complete says whether everything that was recorded is here. If not, why is a sentence with what there is.
func (r *Run) Complete() (ok bool, why string) {
	switch {
	case r.end == nil && r.torn != "":
		return false, fmt.Sprintf("the run ended without its last line: %d records are here, %s", r.records, r.torn)
	case r.end == nil && r.manifest.Reason != "":
		return false, fmt.Sprintf("the run ended without its last line (%s): %d records are here", r.manifest.Reason, r.records)
	case r.end == nil:
		return false, fmt.Sprintf("the run ended without its last line, or is still going on: %d records are here", r.records)
	case r.end.Records != r.records:
		return false, fmt.Sprintf("the last line counts %d records, but %d are here", r.end.Records, r.records)
	case r.manifest.Merge != nil && r.manifest.Merge.Partial != "":
		return false, r.manifest.Merge.Partial
	case r.manifest.Outcome == "":
		return false, fmt.Sprintf("all %d records are here, but the manifest does not say how the run ended", r.records)
	}
	return true, ""
}

// ReadFile reads another file of the run.
func (r *Run) ReadFile(name string) ([]byte, error) { return os.ReadFile(filepath.Join(r.dir, name)) }

// Records are the records in the order in which their requests ended, one segment in memory at a
// time. An error ends the sequence; what came before it holds.
func (r *Run) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		number := 0
		for _, s := range r.segments {
			lines, err := r.decode(s)
			if err != nil {
				yield(nil, fmt.Errorf("%s: after record %d: %w", r.name(), number, err))
				return
			}
			for len(lines) > 0 {
				text, rest, _ := bytes.Cut(lines, []byte{'\n'})
				lines = rest
				number++
				rec, err := parseRecord(text)
				if err != nil {
					yield(nil, fmt.Errorf("%s: record %d: %w", r.name(), number, err))
					return
				}
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}

func (r *Run) name() string { return filepath.Join(r.dir, RecordsName) }

// decoder is shared: decoding whole frames needs no state of its own, and may happen at the same time.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxSegment), zstd.WithDecoderLowmem(true))
})

// decode is the lines of a segment, checked against its checksum and its head.
func (r *Run) decode(s segment) ([]byte, error) {
	var frame []byte
	return r.decodeInto(s, &frame, nil)
}

// decodeInto is decode with room to use again: frame for what is read, lines for what comes out.
func (r *Run) decodeInto(s segment, room *[]byte, lines []byte) ([]byte, error) {
	if s.raw > maxSegment {
		return nil, fmt.Errorf("the segment at byte %d claims %d MB", s.at, s.raw>>20)
	}
	*room = slices.Grow((*room)[:0], int(s.length))
	frame := (*room)[:s.length]
	if _, err := r.file.ReadAt(frame, s.at); err != nil {
		return nil, err
	}
	dec, err := decoder()
	if err != nil {
		return nil, err
	}
	// The head's size is a claim: room is made for it only as far as the frame could hold it.
	lines, err = dec.DecodeAll(frame, slices.Grow(lines[:0], int(min(int64(s.raw), 64*int64(s.length)+1024))))
	if err != nil {
		return nil, fmt.Errorf("the segment at byte %d is damaged: %w", s.at, err)
	}
	if len(lines) != int(s.raw) || bytes.Count(lines, []byte{'\n'}) != int(s.claims) || (len(lines) > 0 && lines[len(lines)-1] != '\n') {
		return nil, fmt.Errorf("the segment at byte %d is damaged: its head does not fit its lines", s.at)
	}
	return lines, nil
}
