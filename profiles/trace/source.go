package trace

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// blockSize is small enough for a block to be still in the cache when the walker gets it.
	blockSize = 256 << 10
	// blockRoom before each block takes the beginning of an event that the block before
	// left unfinished, so that most events are never moved twice.
	blockRoom = 32 << 10
)

// A tally counts and hashes what is read from a file, and keeps the file's own error
// apart from those of the decompressor.
type tally struct {
	r   io.Reader
	n   int64
	sum hash.Hash
	err error
}

func (t *tally) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	t.sum.Write(p[:n])
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// decoder unpacks what the first bytes say is packed.
func decoder(t *tally) (r io.Reader, format string, closer func(), err error) {
	head := make([]byte, 4)
	n, err := io.ReadFull(t, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, "", nil, err
	}
	head = head[:n]
	whole := io.MultiReader(bytes.NewReader(head), t)
	none := func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(whole) // reads every member of the file
		if err != nil {
			return broken{err}, "gzip", none, nil
		}
		return z, "gzip", func() { z.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return broken{err}, "zstd", none, nil
		}
		return z, "zstd", z.Close, nil
	}
	return whole, "plain", none, nil
}

// broken is a stream that is damaged from its first byte.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

type block struct {
	data []byte // blockRoom bytes of room, then text
	err  error
}

// A pump unpacks a file in a goroutine of its own, a few blocks ahead of the walker.
type pump struct {
	blocks chan block
	free   chan []byte
	stop   chan struct{}
	ended  chan struct{}
}

func startPump(r io.Reader) *pump {
	p := &pump{
		blocks: make(chan block, 6),
		free:   make(chan []byte, 8),
		stop:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
	go p.run(r)
	return p
}

func (p *pump) run(r io.Reader) {
	defer close(p.ended)
	defer close(p.blocks)
	for {
		var data []byte
		select {
		case data = <-p.free:
		default:
			data = make([]byte, blockRoom+blockSize)
		}
		data = data[:cap(data)]
		n := blockRoom
		var err error
		for empty := 0; n < len(data) && err == nil; {
			var got int
			got, err = r.Read(data[n:])
			n += got
			if empty++; got > 0 {
				empty = 0
			} else if empty > 100 && err == nil {
				err = io.ErrNoProgress
			}
		}
		select {
		case p.blocks <- block{data[:n], err}:
		case <-p.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// close ends the goroutine and waits for it.
func (p *pump) close() {
	close(p.stop)
	for range p.blocks {
	}
	<-p.ended
}

func (p *pump) recycle(data []byte) {
	if cap(data) != blockRoom+blockSize {
		return
	}
	select {
	case p.free <- data:
	default:
	}
}

// A NotTraceError says what a file is that is no trace.
type NotTraceError struct {
	File string
	Is   string
}

func (e *NotTraceError) Error() string {
	file := ""
	if e.File != "" {
		file = e.File + ": "
	}
	return fmt.Sprintf("%snot a trace but %s: want Chrome trace-event JSON (an object with traceEvents, or an array), plain, .gz or .zst", file, e.Is)
}

// describe names what a file is by its first bytes, for people.
func describe(head []byte) string {
	trimmed := bytes.TrimLeft(head, " \t\r\n\x00")
	has := func(prefix string) bool { return bytes.HasPrefix(head, []byte(prefix)) }
	switch {
	case len(head) == 0:
		return "an empty file"
	case len(trimmed) == 0:
		return "a file of blanks"
	case has("\x7fELF"):
		return "an ELF program"
	case has("PK\x03\x04"):
		return "a zip archive (unpack it first)"
	case has("\x89PNG"):
		return "a PNG image"
	case has("%PDF"):
		return "a PDF"
	case has("SQLite format 3"):
		return "a SQLite database (an Nsight Systems export?)"
	case has("BZh"):
		return "a bzip2 file (unpack it first)"
	case has("\xfd7zXZ"):
		return "an xz file (unpack it first)"
	case has("\x80\x02") || has("\x80\x03") || has("\x80\x04") || has("\x80\x05"):
		return "a Python pickle"
	case has("PAR1"):
		return "a Parquet file"
	case has("perfetto_manifest"):
		return "a Perfetto manifest"
	case bytes.HasPrefix(bytes.ToLower(trimmed), []byte("<!doctype")) || bytes.HasPrefix(bytes.ToLower(trimmed), []byte("<html")):
		return "an HTML page"
	case trimmed[0] == '<':
		return "XML"
	case len(head) > 262 && string(head[257:262]) == "ustar":
		return "a tar archive (unpack it first)"
	case head[0] == 0x0a && isPackets(head):
		return "a Perfetto protobuf trace (only JSON can be analysed)"
	case bytes.HasPrefix(trimmed, []byte("version https://git-lfs")):
		return "a Git LFS pointer (the file itself was not fetched)"
	case bytes.HasPrefix(trimmed, []byte("-----")):
		return "a table of text (profiler_out?)"
	case isText(head):
		line, _, _ := strings.Cut(string(trimmed), "\n")
		if len(line) > 40 {
			line = strings.ToValidUTF8(line[:40], "") + "..."
		}
		return fmt.Sprintf("text that begins with %q", line)
	}
	return fmt.Sprintf("binary data that begins with % x", head[:min(len(head), 8)])
}

func isText(b []byte) bool {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 && len(b)-i >= utf8.UTFMax {
			return false
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		i += size
	}
	return true
}

// isPackets says whether b begins with a length-delimited field that fits a TracePacket.
func isPackets(b []byte) bool { return len(b) > 2 && (b[1] >= 0x80 || int(b[1]) < 100) }

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func newTally(r io.Reader) *tally { return &tally{r: r, sum: sha256.New()} }

// isCut says whether a decompressor's error means that the file ends too early.
func isCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
