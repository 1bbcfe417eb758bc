package results

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MergeOptions say what a merge lets pass, and what it asks.
type MergeOptions struct {
	// AllowMissing merges what there is of a run: shards that are not given, and shards that died. The merged run
	// says that it is partial.
	AllowMissing bool
	// AllowLate merges shards whose load began later than it was told to.
	AllowLate bool
	// Judge says how the merged run ended, from the load's requests, those of them that failed and the message of the
	// first one, when every shard ended well; nil is well. One shard cannot know how many requests failed in the whole run.
	Judge func(m *Manifest, requests, failed int, example string) (Outcome, string)
	// Doubts are doubts about one shard that its manifest tells; they become warnings of the merged run.
	Doubts func(m *Manifest) []string
	// Progress hears now and then how many records of all were merged.
	Progress func(done, all int)
}

// A Merged is a run that was merged.
type Merged struct {
	Manifest Manifest
	// Notes are worth telling, but no doubts about the numbers.
	Notes []string
}

// mergePending bounds what a merge holds for a disk that is slower than itself.
const mergePending = 2 << 20

// Merge puts the shards of one run together into the new run folder out. Every figure of the merged run is
// what it would be had one process recorded the same requests: the records are the shards' own lines, in the order in which their
// requests ended. One segment of each shard is in memory at a time.
//
// Shards that do not belong together, are missing, incomplete or late are refused by name, all that is wrong at once.
func Merge(out string, dirs []string, o MergeOptions) (*Merged, error) {
	parts, err := openParts(dirs)
	defer func() {
		for _, p := range parts {
			p.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	merging, err := o.check(parts)
	if err != nil {
		return nil, err
	}
	m, notes := mergeManifests(parts, merging, o)
	fresh := !exists(out)
	w, err := createWith(out, m, writerOptions{limit: mergePending})
	if err != nil {
		return nil, err
	}
	load, err := mergeRecords(w, parts, o.Progress)
	if err == nil {
		err = mergeFiles(out, parts)
	}
	if err != nil {
		// Half a merge is worth nothing: the shards are all still there.
		_ = w.Close(Failed, err.Error())
		err = errors.Join(err, discard(out, fresh))
		return nil, err
	}
	outcome, reason := mergeOutcome(parts, len(merging.Missing) > 0)
	if outcome == OK && o.Judge != nil {
		outcome, reason = o.Judge(&m, load.requests, load.failed, load.example)
	}
	if err := w.Close(outcome, reason); err != nil {
		return nil, err
	}
	return &Merged{Manifest: w.Manifest(), Notes: notes}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// discard removes what a merge has made; the folder too when it made it.
func discard(dir string, whole bool) error {
	if whole {
		return os.RemoveAll(dir)
	}
	return errors.Join(os.Remove(filepath.Join(dir, RecordsName)), os.Remove(filepath.Join(dir, ManifestFile)))
}

// A part is one shard to be merged.
type part struct {
	*Run
	shard Shard
	// incomplete is why not everything of the shard is here.
	incomplete string
}

// name is the shard with its folder.
func (p *part) name() string { return fmt.Sprintf("shard %s (%s)", p.shard, p.dir) }

// openParts opens the folders, in the order of their shards. What was opened is returned with an error too.
func openParts(dirs []string) ([]*part, error) {
	if len(dirs) == 0 {
		return nil, errors.New("no shards to merge: give the run folder of each")
	}
	var parts []*part
	var problems []error
	for _, dir := range dirs {
		run, err := Open(dir)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		p := &part{Run: run}
		parts = append(parts, p)
		switch s := run.manifest.Shard; {
		case s == nil && run.manifest.Merge != nil:
			problems = append(problems, fmt.Errorf("%s was merged already: give merge the shards themselves", dir))
		case s == nil:
			problems = append(problems, fmt.Errorf("%s is no shard: one process recorded the whole run, there is nothing to merge", dir))
		case s.N < 1 || s.K < 0 || s.K >= s.N:
			problems = append(problems, fmt.Errorf("%s says that it is shard %s, which there is not", dir, s))
		default:
			p.shard = *s
		}
		if ok, why := run.Complete(); !ok {
			p.incomplete = why
		}
	}
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.shard.K, b.shard.K) })
	return parts, errors.Join(problems...)
}

// check says whether the parts are the shards of one run, all of them.
func (o MergeOptions) check(parts []*part) (*Merging, error) {
	var problems []error
	fault := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	first := parts[0]
	m := &Merging{N: first.shard.N}
	have := map[int]*part{}
	for _, p := range parts {
		switch other := have[p.shard.K]; {
		case p.shard.N != m.N:
			fault("%s and %s are not shards of one run", first.name(), p.name())
			continue
		case other != nil:
			fault("shard %s is given twice: %s and %s", p.shard, other.dir, p.dir)
			continue
		}
		have[p.shard.K] = p
		for _, d := range unlike(first, p) {
			fault("%s and %s are not shards of one run: %s", first.name(), p.name(), d)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	var missing, partial []string
	for k := range m.N {
		if have[k] == nil {
			m.Missing = append(m.Missing, k)
			missing = append(missing, Shard{K: k, N: m.N}.String())
		}
	}
	switch n := len(missing); {
	case n == 1:
		partial = append(partial, fmt.Sprintf("shard %s is missing", missing[0]))
	case n > 20:
		partial = append(partial, fmt.Sprintf("%d of %d shards are missing: %s and others", n, m.N, strings.Join(missing[:20], ", ")))
	case n > 1:
		partial = append(partial, fmt.Sprintf("shards %s are missing", strings.Join(missing, ", ")))
	}
	for _, p := range parts {
		if p.incomplete != "" {
			partial = append(partial, fmt.Sprintf("%s is not whole: %s", p.name(), p.incomplete))
		}
	}
	if len(partial) > 0 && !o.AllowMissing {
		for _, text := range partial {
			fault("%s", text)
		}
		fault("give merge the folders of all %d shards, or merge what there is with --allow-missing", m.N)
	}
	m.Partial = strings.Join(partial, "; ")
	if late := lateness(parts); len(late) > 0 && !o.AllowLate {
		for _, text := range late {
			fault("%s", text)
		}
		fault("the load was not the planned one; merge it all the same with --allow-late")
	}
	return m, errors.Join(problems...)
}

// unlike says what keeps two parts from being shards of one run.
func unlike(a, b *part) []string {
	x, y := &a.manifest, &b.manifest
	var list []string
	differ := func(what string, one, other any) {
		if one != other {
			list = append(list, fmt.Sprintf("%s is %v in one, %v in the other", what, one, other))
		}
	}
	differ("the version of servebench", x.Tool, y.Tool)
	differ("the seed", x.Seed, y.Seed)
	differ("the server's version", x.Server.Version, y.Server.Version)
	differ("how prompts were made", x.Prompts.Method, y.Prompts.Method)
	differ("the basis of latencies", x.Basis, y.Basis)
	differ("the model", x.Settings.ModelID, y.Settings.ModelID)
	differ("the name of the model", x.Settings.Model, y.Settings.Model)
	differ("the number of requests planned", x.Settings.NumPrompts, y.Settings.NumPrompts)
	found, err := Differences(x.Scenario, y.Scenario)
	if err != nil {
		list = append(list, fmt.Sprintf("the scenario cannot be read: %v", err))
	}
	for _, d := range found {
		if !ownAffair[d.Path] && !strings.HasPrefix(d.Path, "server.source_addresses") {
			list = append(list, "the scenario's "+d.String())
		}
	}
	return list
}

// ownAffair are the fields of a scenario in which shards may differ: by which way each gets to the server.
var ownAffair = map[string]bool{"server.url": true}

// lateness says which shards began later than they were told to, or were told something else.
func lateness(parts []*part) []string {
	var list []string
	for _, p := range parts {
		if p.shard.Late > 0 {
			list = append(list, fmt.Sprintf("%s came %v too late for the common start", p.name(), p.shard.Late.Round(time.Millisecond)))
		}
		if a, b := parts[0].shard.StartAt, p.shard.StartAt; a != b {
			list = append(list, fmt.Sprintf("%s and %s were to begin at different moments: %s and %s", parts[0].name(), p.name(), start(a), start(b)))
		}
	}
	return list
}

func start(m Moment) string {
	if m == 0 {
		return "as soon as ready"
	}
	return m.Time().UTC().Format(time.RFC3339Nano)
}

// loadCount counts the load's own requests.
type loadCount struct {
	requests, failed int
	// example is the message of the first failure.
	example string
}

// mergeRecords copies the lines of all parts in the order in which their requests ended.
func mergeRecords(w *Writer, parts []*part, progress func(done, all int)) (loadCount, error) {
	var count loadCount
	var queue cursors
	all := 0
	for _, p := range parts {
		all += p.Len()
		c := &cursor{run: p.Run, shard: p.shard}
		ok, err := c.next()
		if err != nil {
			return count, err
		}
		if ok {
			queue = append(queue, c)
		}
	}
	heap.Init(&queue)
	met := bits{}
	for done := 0; len(queue) > 0; done++ {
		c := queue[0]
		if c.head.kind == Load {
			count.requests++
			if c.head.failed {
				count.failed++
				if count.failed == 1 {
					if rec, err := parseRecord(c.text); err == nil && rec.Failure != nil {
						count.example = rec.Failure.Message
					}
				}
			}
			switch {
			case c.head.id%c.shard.N != c.shard.K:
				return count, fmt.Errorf("%s: record %d is request %d, which is not one of shard %s", c.run.name(), c.number, c.head.id, c.shard)
			case !met.add(c.head.id):
				return count, fmt.Errorf("%s: record %d is request %d, which was there already", c.run.name(), c.number, c.head.id)
			}
		}
		if err := w.line(c.text, c.head.failed); err != nil {
			return count, err
		}
		if progress != nil && done%(1<<14) == 0 {
			progress(done, all)
		}
		ok, err := c.next()
		switch {
		case err != nil:
			return count, err
		case ok:
			heap.Fix(&queue, 0)
		default:
			heap.Pop(&queue)
		}
	}
	return count, nil
}

// cursors are a heap: the first one's record is the next.
type cursors []*cursor

func (q cursors) Len() int { return len(q) }

func (q cursors) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(cmp.Compare(a.head.end, b.head.end), cmp.Compare(a.head.id, b.head.id), cmp.Compare(a.shard.K, b.shard.K)) < 0
}

func (q cursors) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *cursors) Push(x any) { *q = append(*q, x.(*cursor)) }

func (q *cursors) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return c
}

// A cursor goes through the lines of a run without making records of them.
type cursor struct {
	run     *Run
	shard   Shard
	segment int // the next one
	number  int // of the line
	text    []byte
	head    lineHead

	rest, frame, lines []byte
}

// next is false when there are no more lines.
func (c *cursor) next() (bool, error) {
	for len(c.rest) == 0 {
		if c.segment == len(c.run.segments) {
			return false, nil
		}
		if cap(c.lines) > 4*segmentSize {
			c.lines, c.frame = nil, nil // an unusual one
		}
		lines, err := c.run.decodeInto(c.run.segments[c.segment], &c.frame, c.lines)
		if err != nil {
			return false, fmt.Errorf("%s: after record %d: %w", c.run.name(), c.number, err)
		}
		c.segment++
		c.lines, c.rest = lines, lines
	}
	c.text, c.rest, _ = bytes.Cut(c.rest, []byte{'\n'})
	c.number++
	var err error
	if c.head, err = parseHead(c.text); err != nil {
		return false, fmt.Errorf("%s: record %d: %w", c.run.name(), c.number, err)
	}
	return true, nil
}

// A lineHead is what a merge needs to know of a line.
type lineHead struct {
	id     int
	kind   Kind
	failed bool
	// end is when the request was over.
	end Moment
}

// parseHead reads the head of a line and passes over the rest.
func parseHead(b []byte) (lineHead, error) {
	h := lineHead{kind: Load}
	l := &line{b: b}
	var due int64
	var released, dispatched, done offset
	chunks := -1 // where the column begins
	err := l.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			h.id, err = l.count()
		case "kind":
			var s string
			s, err = l.str()
			h.kind = Kind(s)
		case "due":
			due, err = l.int()
		case "rel":
			released, err = l.offset()
		case "disp":
			dispatched, err = l.offset()
		case "done":
			done, err = l.offset()
		case "fail":
			h.failed = true
			err = l.skip()
		case "at":
			chunks = l.i
			err = l.skipNumbers()
		case "lag", "tok", "hid", "sh":
			err = l.skipNumbers()
		default:
			err = l.skip()
		}
		return err
	})
	if err != nil {
		return h, err
	}
	l.space()
	if l.i != len(l.b) {
		return h, fmt.Errorf("column %d: text after the record", l.i+1)
	}
	if h.id < 0 {
		return h, fmt.Errorf("a request %d", h.id)
	}
	switch {
	case done.set:
		h.end = done.moment(Moment(due))
	case chunks >= 0:
		h.end = Moment(due)
		l.i = chunks
		column, err := l.ints(nil)
		if err != nil {
			return h, err
		}
		for _, step := range column {
			h.end += Moment(step)
		}
	default:
		h.end = cmp.Or(dispatched.moment(Moment(due)), released.moment(Moment(due)), Moment(due))
	}
	return h, nil
}

// skipNumbers passes over a list of numbers, or whatever else it is.
func (l *line) skipNumbers() error {
	c, err := l.peek()
	if err != nil {
		return err
	}
	if c == '[' {
		if n := bytes.IndexByte(l.b[l.i:], ']'); n > 0 {
			if inside := l.b[l.i+1 : l.i+n]; bytes.IndexByte(inside, '"') < 0 && bytes.IndexByte(inside, '[') < 0 {
				l.i += n + 1
				return nil
			}
		}
	}
	return l.skip()
}

// bits are a set of numbers, a bit each, in pages made when needed.
type bits map[int]*[1 << 10]uint64

// add is false when n is there already.
func (b bits) add(n int) bool {
	page := b[n>>16]
	if page == nil {
		page = new([1 << 10]uint64)
		b[n>>16] = page
	}
	word, bit := &page[n>>6&(1<<10-1)], uint64(1)<<(n&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// mergeFiles brings the files beside the records: the server's metrics from before the first load and after the last, and
// the traces with the server's log from the shard that held the bracket.
func mergeFiles(out string, parts []*part) error {
	before, after, bracket := parts[0], parts[0], bracketOf(parts)
	for _, p := range parts {
		if b := p.manifest.Began; b != 0 && (b < before.manifest.Began || before.manifest.Began == 0) && p.has(MetricsBefore) {
			before = p
		}
		if p.manifest.Ended > after.manifest.Ended && p.has(MetricsAfter) {
			after = p
		}
	}
	for name, p := range map[string]*part{MetricsBefore: before, MetricsAfter: after} {
		if err := link(p.dir, out, name); err != nil {
			return err
		}
	}
	if bracket == nil {
		return nil
	}
	if err := link(bracket.dir, out, "server.log"); err != nil {
		return err
	}
	err := filepath.WalkDir(filepath.Join(bracket.dir, "traces"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(bracket.dir, path)
		if err != nil {
			return err
		}
		return link(bracket.dir, out, name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (p *part) has(name string) bool { return exists(filepath.Join(p.dir, name)) }

// link makes a file of one folder a file of another; none is fine. Where the system cannot share it, it is copied.
func link(from, to, name string) error {
	source, dest := filepath.Join(from, name), filepath.Join(to, name)
	info, err := os.Stat(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no plain file", source)
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o777); err != nil {
		return err
	}
	if os.Link(source, dest) == nil {
		return nil
	}
	return copyFile(source, dest)
}
