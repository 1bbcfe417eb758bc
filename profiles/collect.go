package profiles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Collection says where the files of a bracket are to be found and where they go.
type Collection struct {
	// From are folders or patterns (as a shell's: *, ?, [...]) on this machine.
	From []string
	// Command, when set, brings the files from another machine instead: a shell command in which
	// {dest} stands for an empty folder, such as
	//	scp 'gpu1:/tmp/traces/*' {dest}
	Command string
	// Into is the folder they are copied to; it is made when missing. No file in it is overwritten.
	Into string
	// Marks are the bracket's.
	Marks Marks
	// Before is what stood in From before the bracket (see Look); nil when nobody looked.
	Before Listing
	// Ranks is how many workers write a file each; 0 is what the files themselves say.
	Ranks int
	// Skew is how far the clock that stamps the files may be from ours; zero means 2 s, and a minute
	// with Command.
	Skew time.Duration
	// Patience is how long to wait for files to appear and to be complete; zero means 30 s.
	// The servers answer the stop when the files are written, so it is for slow file systems.
	Patience time.Duration
	// Every is the time between two looks; zero means 200 ms, and 2 s with Command.
	Every time.Duration
	// Progress, when set, hears what is being waited for.
	Progress func(string)
}

// A Kind says what a collected file is.
type Kind string

// The kinds of file.
const (
	Trace    Kind = "trace"    // a worker's trace
	FrontEnd Kind = "frontend" // the API process's trace: no engine work in it
	Merged   Kind = "merged"   // the ranks' traces as the server joined them
	Events   Kind = "events"   // Gaudi's high-level events: a bare array of trace events
	Viewer   Kind = "hltv"     // for Gaudi's own viewer: kept, not read
	Table    Kind = "table"    // torch's table of operators
)

// A File is one file of a bracket.
type File struct {
	// Path is where it is now, Source where it came from.
	Path   string `json:"path"`
	Source string `json:"source"`
	Kind   Kind   `json:"kind"`
	// Rank is the worker's; -1 where there is none.
	Rank int `json:"rank"`
	// WorldSize is how many ranks the file says there are; 0 when it does not.
	WorldSize int `json:"world_size,omitempty"`
	// Stamp is when it was written, in Unix ns of the clock that stamped it: from its name, or else its
	// time of modification (Named says which).
	Stamp int64 `json:"stamp_ns"`
	Named bool  `json:"stamp_in_name"`
	Bytes int64 `json:"bytes"`
}

// Collected are the files of a bracket.
type Collected struct {
	// Files are in the order of kind, rank and name.
	Files []File
	// Warnings are what is missing or doubtful.
	Warnings []string
}

// Of are the files of a kind.
func (c Collected) Of(kind Kind) []File {
	var files []File
	for _, f := range c.Files {
		if f.Kind == kind {
			files = append(files, f)
		}
	}
	return files
}

// ErrNoTraces is a bracket whose files were not found.
var ErrNoTraces = errors.New("no trace files")

// A Listing is what stood in some folders at one moment.
type Listing map[string]version

type version struct {
	size     int64
	modified time.Time
}

// Look lists the profiler's files in folders or patterns. What stands there before a bracket is not
// of the bracket, whatever the clocks say. Folders that do not exist yet are empty.
func Look(from ...string) (Listing, error) {
	l := make(Listing)
	for _, place := range from {
		paths, err := expand(place)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				l[path] = version{info.Size(), info.ModTime()}
			}
		}
	}
	return l, nil
}

// expand lists the profiler's files of one folder or pattern.
func expand(place string) ([]string, error) {
	if strings.Contains(place, "://") {
		return nil, fmt.Errorf("trace folder %q is no folder of this machine: bring the files with a collect command", place)
	}
	if info, err := os.Stat(place); err == nil && info.IsDir() {
		entries, err := os.ReadDir(place)
		if err != nil {
			return nil, fmt.Errorf("trace folder: %w", err)
		}
		var paths []string
		for _, entry := range entries {
			if _, ok := kindOf(entry.Name()); ok {
				paths = append(paths, filepath.Join(place, entry.Name()))
			}
		}
		return paths, nil
	}
	matches, err := filepath.Glob(place)
	if err != nil {
		return nil, fmt.Errorf("trace pattern %q: %w", place, err)
	}
	var paths []string
	for _, path := range matches {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			inner, err := expand(path)
			if err != nil {
				return nil, err
			}
			paths = append(paths, inner...)
		} else if _, ok := kindOf(filepath.Base(path)); ok {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// Collect finds the files that a bracket produced, waits until each is complete and copies them. Files of
// other sessions are left alone. When nothing is found the error (ErrNoTraces) says what was looked for;
// when something is missing, what was found comes back with warnings.
func Collect(ctx context.Context, c Collection) (Collected, error) {
	if len(c.From) == 0 && c.Command == "" {
		return Collected{}, fmt.Errorf("%w: no place to look for them is known: give --trace-dir DIR|GLOB, or a collect command for another machine", ErrNoTraces)
	}
	remote := c.Command != ""
	usual := func(d *time.Duration, here, there time.Duration) {
		if *d <= 0 {
			*d = here
			if remote {
				*d = there
			}
		}
	}
	usual(&c.Skew, 2*time.Second, time.Minute)
	usual(&c.Patience, 30*time.Second, 30*time.Second)
	usual(&c.Every, 200*time.Millisecond, 2*time.Second)
	if err := os.MkdirAll(c.Into, 0o755); err != nil {
		return Collected{}, fmt.Errorf("collect traces: %w", err)
	}
	round := collector{Collection: c, since: time.Now(), sizes: make(map[string]int64), still: make(map[string]time.Time), done: make(map[string]File)}
	for {
		settled, err := round.look(ctx)
		if err != nil {
			return Collected{}, err
		}
		waited := time.Since(round.since)
		if settled || waited >= c.Patience {
			return round.result()
		}
		if c.Progress != nil {
			c.Progress(round.waitingFor())
		}
		timer := time.NewTimer(min(c.Every, c.Patience-waited))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Collected{}, context.Cause(ctx)
		}
	}
}

// A collector is one collection under way.
type collector struct {
	Collection
	since time.Time

	sizes map[string]int64     // of each candidate, at the last look
	still map[string]time.Time // since when the size has not changed
	done  map[string]File      // copied, by source

	candidates []candidate
	others     []candidate       // of the right kind, but of another session
	unfinished map[string]string // path: what it lacks
	failure    error             // of the command
}

// A candidate is a file that may be of this bracket.
type candidate struct {
	path  string
	kind  Kind
	stamp int64
	named bool
	size  int64
}

// look makes one round: list, choose, copy what is complete. It says whether nothing more is to come.
func (r *collector) look(ctx context.Context) (settled bool, err error) {
	from := r.From
	if r.Command != "" {
		dest, err := os.MkdirTemp(r.Into, ".collect-")
		if err != nil {
			return false, fmt.Errorf("collect traces: %w", err)
		}
		defer os.RemoveAll(dest)
		if r.failure = fetch(ctx, r.Command, dest); r.failure != nil {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, nil
		}
		from = []string{dest}
	}
	if err := r.choose(from); err != nil {
		return false, err
	}
	r.unfinished = make(map[string]string)
	for _, f := range r.candidates {
		key := r.key(f.path)
		if _, ok := r.done[key]; ok {
			continue
		}
		size, seen := r.sizes[key]
		if !seen || size != f.size {
			r.sizes[key], r.still[key] = f.size, time.Now()
			if r.Command == "" {
				// What is being written grows between two looks; a command brings a file when it is there.
				r.unfinished[key] = "it is still being written"
				continue
			}
		}
		if wait := quiet(f) - time.Since(r.still[key]); wait > 0 && r.Command == "" {
			r.unfinished[key] = "it has no end that could be checked, and was just written"
			continue
		}
		file, missing, err := keep(f, r.Into)
		if err != nil {
			return false, err
		}
		if missing != "" {
			r.unfinished[key] = missing
			continue
		}
		file.Source = key
		r.done[key] = file
	}
	return len(r.done) > 0 && len(r.unfinished) == 0 && r.missing() == 0 && r.hasTrace(), nil
}

// key names a candidate from one look to the next: by its path, or where a command brings it anew each
// time, by its name.
func (r *collector) key(path string) string {
	if r.Command != "" {
		return filepath.Base(path)
	}
	return path
}

// choose lists the candidates of this bracket.
func (r *collector) choose(from []string) error {
	into, err := filepath.Abs(r.Into)
	if err != nil {
		return fmt.Errorf("collect traces: %w", err)
	}
	r.candidates, r.others = nil, nil
	seen := make(map[string]bool)
	for _, place := range from {
		paths, err := expand(place)
		if err != nil {
			return err
		}
		for _, path := range paths {
			abs, err := filepath.Abs(path)
			if err != nil || seen[abs] || filepath.Dir(abs) == into {
				continue
			}
			seen[abs] = true
			info, err := os.Stat(path)
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			f := candidate{path: path, size: info.Size()}
			name := filepath.Base(path)
			f.kind, _ = kindOf(name)
			if f.stamp, f.named = stampOf(name); !f.named {
				f.stamp = info.ModTime().UnixNano()
			}
			before, was := r.Before[path]
			old := was && before.size == info.Size() && before.modified.Equal(info.ModTime())
			if old || !r.inside(f) {
				r.others = append(r.others, f)
				continue
			}
			r.candidates = append(r.candidates, f)
		}
	}
	r.candidates = slices.DeleteFunc(r.candidates, r.superseded)
	return nil
}

// inside says whether a file was written during the bracket. A trace is written after its start, and
// before the stop was answered.
func (r *collector) inside(f candidate) bool {
	if r.Command != "" && !f.named {
		return true // copying gave it a new time
	}
	if r.Marks.StartSent != 0 && f.stamp < r.Marks.StartSent-int64(r.Skew) {
		return false
	}
	return r.Marks.StopAnswered == 0 || f.stamp <= r.Marks.StopAnswered+int64(r.Skew)
}

// superseded says whether another candidate makes f one of an earlier session that is only inside by
// the skew, or the plain file that a packed one was made from.
func (r *collector) superseded(f candidate) bool {
	for _, g := range r.candidates {
		if g.path == f.path {
			continue
		}
		if g.path == f.path+".gz" {
			return true
		}
		if g.named && f.named && writer(g.path) == writer(f.path) && f.stamp < r.Marks.StartSent && f.stamp < g.stamp {
			return true
		}
	}
	return false
}

// missing is how many ranks have no complete file yet.
func (r *collector) missing() int {
	want := r.Ranks
	have := make(map[int]bool)
	unranked := 0
	for _, f := range r.done {
		if f.Kind != Trace {
			continue
		}
		want = max(want, f.WorldSize)
		if f.Rank >= 0 {
			have[f.Rank] = true
		} else {
			unranked++
		}
	}
	return max(0, want-len(have)-unranked)
}

func (r *collector) hasTrace() bool {
	for _, f := range r.done {
		if f.Kind != Table && f.Kind != FrontEnd {
			return true
		}
	}
	return false
}

func (r *collector) waitingFor() string {
	switch {
	case r.failure != nil:
		return r.failure.Error()
	case len(r.unfinished) > 0:
		path := slices.Sorted(maps.Keys(r.unfinished))[0]
		return fmt.Sprintf("%s: %s", path, r.unfinished[path])
	case r.missing() > 0:
		return fmt.Sprintf("the traces of %d more ranks", r.missing())
	}
	return "trace files in " + strings.Join(r.From, ", ")
}

func (r *collector) result() (Collected, error) {
	var c Collected
	for _, f := range r.done {
		c.Files = append(c.Files, f)
	}
	slices.SortFunc(c.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Path, b.Path))
	})
	rankTheUnranked(c.Files)
	for _, path := range slices.Sorted(maps.Keys(r.unfinished)) {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s is not complete and was left out: %s", path, r.unfinished[path]))
	}
	if n := r.missing(); n > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("the traces of %d ranks are missing", n))
	}
	if r.hasTrace() {
		return c, nil
	}
	return c, r.nothing()
}

// nothing words a search without result.
func (r *collector) nothing() error {
	place := "looked in " + strings.Join(r.From, ", ")
	if r.Command != "" {
		place = "the collect command brought none"
	}
	text := fmt.Sprintf("%s for %s", place, strings.Join(patterns(), ", "))
	if r.Marks.StartSent != 0 {
		text += " written from " + clock(r.Marks.StartSent)
		if r.Marks.StopAnswered != 0 {
			text += " to " + clock(r.Marks.StopAnswered)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(r.unfinished)) {
		text += fmt.Sprintf("; %s is there but not complete: %s", path, r.unfinished[path])
	}
	if len(r.others) > 0 {
		latest := slices.MaxFunc(r.others, func(a, b candidate) int { return cmp.Compare(a.stamp, b.stamp) })
		text += fmt.Sprintf("; %d of other sessions are there, the latest %s of %s", len(r.others), filepath.Base(latest.path), clock(latest.stamp))
	}
	if r.failure != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoTraces, text, r.failure)
	}
	for _, place := range r.From {
		if _, err := os.Stat(place); err != nil && !strings.ContainsAny(place, "*?[") {
			text += "; " + place + " does not exist on this machine"
		}
	}
	return fmt.Errorf("%w: %s: is that the folder the server writes to (torch_profiler_dir of its --profiler-config, or VLLM_TORCH_PROFILER_DIR), "+
		"and does it run on this machine? Give --trace-dir DIR|GLOB, or a collect command for another machine; "+
		"a profile limited to some steps writes nothing when too few ran", ErrNoTraces, text)
}

func clock(ns int64) string { return time.Unix(0, ns).Format("2006-01-02 15:04:05.000") }

// fetch runs the collect command.
func fetch(ctx context.Context, command, dest string) error {
	line := strings.ReplaceAll(command, "{dest}", "'"+strings.ReplaceAll(dest, "'", `'\''`)+"'")
	run := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	run.WaitDelay = 2 * time.Second
	said, err := run.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := strings.TrimSpace(string(said))
	if lines := strings.Split(text, "\n"); len(lines) > 5 {
		text = strings.Join(lines[len(lines)-5:], "\n")
	}
	return fmt.Errorf("collect command %q: %w: %s", command, err, text)
}
