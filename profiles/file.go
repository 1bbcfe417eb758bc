package profiles

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/internal/lazy"
)

// forms are the names profilers give to their files; the first that matches says the kind.
var forms = []struct {
	pattern string
	kind    Kind
}{
	{"*.async_llm.*.pt.trace.json*", FrontEnd},
	{"*.pt.trace.json*", Trace},
	{"merged-*.trace.json*", Merged},
	{"*.trace.json*", Trace},
	{"server_events_*.json", Events},
	{"*.hltv", Viewer},
	{"profiler_out_*.txt", Table},
	{"*.profiler_out.txt", Table},
}

// patterns are the names that are looked for.
func patterns() []string {
	return []string{"*.trace.json*", "server_events_*.json", "*.hltv", "*profiler_out*.txt"}
}

// ownMerge is the name of our own result, which is no profiler's.
const ownMerge = "merged.trace.json"

func kindOf(name string) (Kind, bool) {
	if strings.HasPrefix(name, ownMerge) || strings.HasPrefix(name, ".") {
		return "", false
	}
	for _, f := range forms {
		if ok, _ := filepath.Match(f.pattern, name); !ok {
			continue
		}
		// Behind .json only .gz may come: .json.tmp and the like are other things.
		if i := strings.LastIndex(name, ".json"); i >= 0 && name[i+len(".json"):] != "" && name[i+len(".json"):] != ".gz" {
			return "", false
		}
		return f.kind, true
	}
	return "", false
}

func kindOrder(k Kind) int {
	return slices.Index([]Kind{Trace, Merged, Events, FrontEnd, Viewer, Table}, k)
}

var (
	// stampNs is vLLM's, Gaudi's and torch's: Unix ns before the ending.
	stampNs = lazy.Regexp(`\.(\d{18,19})\.pt\.trace\.json(?:\.gz)?$`)
	// stampS is SGLang's: Unix seconds with decimals, before the ranks.
	stampS = lazy.Regexp(`(?:^|-)(\d{10})(?:\.(\d{1,9}))?(?:-TP-|\.trace\.json)`)
)

// stampOf is the time that a file's name carries, in Unix ns.
func stampOf(name string) (int64, bool) {
	if m := stampNs().FindStringSubmatch(name); m != nil {
		ns, err := strconv.ParseInt(m[1], 10, 64)
		return ns, err == nil
	}
	if m := stampS().FindStringSubmatch(name); m != nil {
		ns, err := strconv.ParseInt(m[1]+(m[2] + "000000000")[:9], 10, 64)
		return ns, err == nil
	}
	return 0, false
}

// writer is the part of a name that says which process wrote it.
func writer(path string) string {
	name := filepath.Base(path)
	if i := stampNs().FindStringIndex(name); i != nil {
		return name[:i[0]]
	}
	return stampS().ReplaceAllString(name, "")
}

var rankInName = []*regexp.Regexp{
	regexp.MustCompile(`(?:^|_)rank(\d+)(?:[._]|$)`),
	regexp.MustCompile(`-rank-(\d+)`),
	regexp.MustCompile(`TP-(\d+)`),
}

// rankOf is the rank that a file's name carries.
func rankOf(name string) (int, bool) {
	for _, r := range rankInName {
		if m := r.FindStringSubmatch(name); m != nil {
			n, err := strconv.Atoi(m[1])
			return n, err == nil
		}
	}
	return -1, false
}

// rankTheUnranked gives traces whose rank nobody knows the ranks that are left, in the order of the process
// ids in their names, else of the names. files are sorted.
func rankTheUnranked(files []File) {
	taken := make(map[int]bool)
	var unknown []*File
	for i := range files {
		switch f := &files[i]; {
		case f.Kind != Trace:
		case f.Rank >= 0:
			taken[f.Rank] = true
		default:
			unknown = append(unknown, f)
		}
	}
	slices.SortStableFunc(unknown, func(a, b *File) int { return cmp.Compare(pidOf(a.Path), pidOf(b.Path)) })
	next := 0
	for _, f := range unknown {
		for taken[next] {
			next++
		}
		f.Rank = next
		next++
	}
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Rank, b.Rank))
	})
}

var pidInName = lazy.Regexp(`_(\d+)\.`)

func pidOf(path string) int {
	if m := pidInName().FindStringSubmatch(filepath.Base(path)); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return math.MaxInt
}

// quiet is how long a file must not have grown to be taken for complete. A packed file's end can be
// checked. A plain trace ends with a bracket, but so does each event in it. Gaudi appends to its
// events about once a second and never closes the array. A table or a viewer's file has no end to check.
func quiet(f candidate) time.Duration {
	switch {
	case strings.HasSuffix(f.path, ".gz"):
		return 0
	case f.kind == Events:
		return 1500 * time.Millisecond
	case f.kind == Viewer, f.kind == Table:
		return 500 * time.Millisecond
	}
	return time.Second
}

// headLength is how much of a trace is searched for its rank: the keys before the events.
const headLength = 256 << 10

// keep copies a file into a folder if it is complete, and otherwise says what it lacks.
func keep(f candidate, into string) (file File, missing string, err error) {
	name := filepath.Base(f.path)
	source, err := os.Open(f.path)
	if err != nil {
		return File{}, "", fmt.Errorf("collect traces: %w", err)
	}
	defer source.Close()
	target, err := os.CreateTemp(into, ".part-*")
	if err != nil {
		return File{}, "", fmt.Errorf("collect traces: %w", err)
	}
	defer os.Remove(target.Name()) // after the rename there is nothing left to remove
	defer target.Close()

	head := &head{}
	switch {
	case strings.HasSuffix(name, ".gz"):
		missing, err = copyPacked(target, source, head)
	default:
		end := &tail{}
		_, err = io.Copy(io.MultiWriter(target, head, end), source)
		if f.kind != Events && f.kind != Viewer && f.kind != Table && !end.closed() {
			missing = "its closing bracket is not there"
		}
	}
	if err != nil {
		return File{}, "", fmt.Errorf("collect %s: %w", f.path, err)
	}
	if info, err := source.Stat(); missing == "" && (err != nil || info.Size() != f.size) {
		missing = "it is still being written"
	}
	if missing != "" {
		return File{}, missing, nil
	}
	if err := target.Chmod(0o644); err != nil {
		return File{}, "", fmt.Errorf("collect %s: %w", f.path, err)
	}
	if err := target.Close(); err != nil {
		return File{}, "", fmt.Errorf("collect %s: %w", f.path, err)
	}
	path, err := place(target.Name(), into, name)
	if err != nil {
		return File{}, "", fmt.Errorf("collect %s: %w", f.path, err)
	}
	file = File{Path: path, Kind: f.kind, Rank: -1, Stamp: f.stamp, Named: f.named, Bytes: f.size}
	rank, world, ok := head.distributed()
	file.WorldSize = world
	if f.kind == Trace {
		if ok {
			file.Rank = rank
		} else if rank, ok := rankOf(name); ok {
			file.Rank = rank
		}
	}
	return file, "", nil
}

// place gives a finished file its name in a folder. Two folders may hold files of one name: the second
// gets a number in front.
func place(finished, into, name string) (path string, err error) {
	for n := 1; ; n++ {
		path = filepath.Join(into, name)
		if n > 1 {
			path = filepath.Join(into, fmt.Sprintf("%d-%s", n, name))
		}
		// A link fails where a rename would overwrite.
		err := os.Link(finished, path)
		if err == nil {
			return path, nil
		}
		if _, taken := os.Lstat(path); taken == nil {
			continue
		}
		return path, os.Rename(finished, path) // no links on this file system
	}
}

// copyPacked copies a gzip file and checks it on the way, to its trailer.
func copyPacked(target io.Writer, source io.Reader, head *head) (missing string, err error) {
	reader := &readError{r: source}
	tee := bufio.NewReaderSize(io.TeeReader(reader, target), 1<<18)
	unpacked, err := gzip.NewReader(tee)
	if err == nil {
		_, err = io.Copy(head, unpacked)
	}
	if reader.err != nil {
		return "", reader.err
	}
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the gzip stream is cut off", nil
	case errors.Is(err, gzip.ErrChecksum):
		return "the gzip checksum does not match", nil
	case errors.Is(err, gzip.ErrHeader):
		return "it is no gzip file", nil
	}
	var writing *os.PathError
	if errors.As(err, &writing) {
		return "", err
	}
	return "the gzip stream is damaged (" + err.Error() + ")", nil
}

// readError remembers an error of the file itself, to tell it from a damaged stream.
type readError struct {
	r   io.Reader
	err error
}

func (r *readError) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// A head keeps the beginning of what is written to it.
type head struct{ data []byte }

func (h *head) Write(p []byte) (int, error) {
	h.data = append(h.data, p[:min(len(p), headLength-len(h.data))]...)
	return len(p), nil
}

// distributed is the rank and the number of ranks that a trace says of itself.
func (h *head) distributed() (rank, world int, ok bool) {
	_, after, found := bytes.Cut(h.data, []byte(`"distributedInfo"`))
	if !found {
		return -1, 0, false
	}
	_, after, found = bytes.Cut(after, []byte(":"))
	if !found {
		return -1, 0, false
	}
	var info struct {
		Rank  *int `json:"rank"`
		World int  `json:"world_size"`
	}
	if json.NewDecoder(bytes.NewReader(after)).Decode(&info) != nil || info.Rank == nil || *info.Rank < 0 || info.World < 0 {
		return -1, 0, false
	}
	return *info.Rank, info.World, true
}

// A tail keeps the last byte written to it that is no blank.
type tail struct{ last byte }

func (t *tail) Write(p []byte) (int, error) {
	if trimmed := bytes.TrimRight(p, " \t\r\n"); len(trimmed) > 0 {
		t.last = trimmed[len(trimmed)-1]
	}
	return len(p), nil
}

func (t *tail) closed() bool { return t.last == '}' || t.last == ']' }
