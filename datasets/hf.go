package datasets

import (
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode"

	"servebench/datasets/tokenizer"
	"servebench/internal/numpy"
)

// HF is the source hf: sets of the Hugging Face Hub that have a known shape, as JSON, JSON
// Lines, CSV or Parquet files.
type HF struct {
	// Path is a folder, a file, or the id of a set on the Hub.
	Path string `json:"path" yaml:"path"`
	// Name is the id of the set that a local Path holds.
	Name   string `json:"name,omitempty" yaml:"name,omitempty"`
	Subset string `json:"subset,omitempty" yaml:"subset,omitempty"`
	Split  string `json:"split,omitempty" yaml:"split,omitempty"`
	// OutputLen is the length of every answer in tokens; nil takes what is usual for the
	// set.
	OutputLen *int `json:"output_len,omitempty" yaml:"output_len,omitempty"`
	// NoStream reads all rows before it shuffles them, where else it shuffles a thousand
	// at a time.
	NoStream bool `json:"no_stream,omitempty" yaml:"no_stream,omitempty"`
	// MinDistance and MaxDistance keep the rows of the blazedit sets whose edit is so
	// large, ends included.
	MinDistance float64 `json:"min_distance,omitempty" yaml:"min_distance,omitempty"`
	MaxDistance float64 `json:"max_distance" yaml:"max_distance"`
	// MinAudio and MaxAudio keep the rows of speech sets that are so long, in seconds,
	// ends included; a MaxAudio of 0 has no limit.
	MinAudio float64 `json:"min_audio_len_sec,omitempty" yaml:"min_audio_len_sec,omitempty"`
	MaxAudio float64 `json:"max_audio_len_sec,omitempty" yaml:"max_audio_len_sec,omitempty"`
	// Categories are those of the function-calling set; none is simple, live_simple and
	// multiple.
	Categories []string `json:"categories,omitempty" yaml:"categories,omitempty"`
	// TextColumn reads a set that is not known here: the column that holds its prompts,
	// which get the chat template.
	TextColumn string `json:"text_column,omitempty" yaml:"text_column,omitempty"`
	// TokenizerName is the name by which the tokenizer was asked for; speech models are known by it.
	TokenizerName string `json:"-" yaml:"-"`
	// Hub is where sets come from that are not on this machine; nil is the usual one.
	Hub *tokenizer.Hub `json:"-" yaml:"-"`
}

// set finds the known set that the configuration names.
func (h *HF) set() (hfSet, error) {
	for _, id := range []string{h.Path, h.Name} {
		if s, ok := hfSets[id]; ok && (id == h.Path || !s.byPath) {
			s.id = id
			if _, named := hfSets[h.Name]; named {
				s.id = h.Name
			}
			return s, nil
		}
	}
	if h.TextColumn != "" {
		return hfSet{output: 256, make: templated(column(h.TextColumn))}, nil
	}
	if h.Name != "" {
		return hfSet{}, fmt.Errorf("no dataset %s, and none %s: hf knows %s", h.Path, h.Name, strings.Join(sortedKeys(hfSets), ", "))
	}
	return hfSet{}, fmt.Errorf("no dataset %s: hf knows %s; for a local copy, name the one it holds; for another set, the column of its prompts", h.Path, strings.Join(sortedKeys(hfSets), ", "))
}

func (h *HF) needs() needs {
	s, err := h.set()
	if err != nil {
		return needs{tokenizer: true}
	}
	return needs{tokenizer: true, media: s.media, embeds: true, chat: s.load != nil}
}

func (h *HF) load(b *build) error {
	s, err := h.set()
	if err != nil {
		return err
	}
	from, err := h.store(b)
	if err != nil {
		return err
	}
	if s.load != nil {
		return s.load(h, b, from)
	}
	split := h.Split
	if split == "" {
		split = s.split
	}
	subset := h.Subset
	if s.noSubset {
		subset = ""
	}
	names, err := from.list()
	if err != nil {
		return err
	}
	files := names
	if _, ok := from.(single); !ok {
		files, err = splitFiles(names, subset, s.subset, split)
	} else if readers[extension(h.Path)] == nil {
		err = fmt.Errorf("cannot read %q files: have %s", extension(h.Path), strings.Join(sortedKeys(readers), ", "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	skipped := 0
	job := hfJob{HF: h, hfSet: s, b: b, store: from}
	err = inBatches(b.ctx, h.rows(b, from, files), min(8*b.Workers, b.Requests), b.Workers, func(r row) (hfSample, error) {
		out, err := s.make(job, r)
		if err != nil {
			return out, fmt.Errorf("%s: %w", r.place, err)
		}
		return out, nil
	}, func(i int, out hfSample) (bool, error) {
		if !out.keep {
			skipped++
			return true, nil
		}
		out.ID = b.id(len(b.samples))
		if s.rowIDs {
			out.ID = b.id(i)
		}
		b.samples = append(b.samples, out.Sample)
		return len(b.samples) < b.Requests, nil
	})
	if err != nil {
		return err
	}
	if skipped > 0 {
		b.note("%s: %d rows were left out by their lengths", from, skipped)
	}
	if err := b.oversample(b.Seed, b.Requests); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

// splitWords are the words by which the datasets library knows a split in a file's path.
var splitWords = map[string]string{
	"train": "train", "training": "train",
	"validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
	"test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}

// splitOf is the split that a path belongs to; empty when it names none.
func splitOf(path string) string {
	words := strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return !unicode.IsLetter(r) })
	for _, w := range slices.Backward(words) {
		if s, ok := splitWords[w]; ok {
			return s
		}
	}
	return ""
}

// splitFiles finds the data files of a split among the names of files. Files whose paths
// name no split are the training split.
func splitFiles(names []string, subset, usualSubset, split string) ([]string, error) {
	paths := slices.DeleteFunc(slices.Clone(names), func(p string) bool { return readers[extension(p)] == nil })
	if len(paths) == 0 {
		return nil, fmt.Errorf("no data files among %s: have readers for %s", few(names), strings.Join(sortedKeys(readers), ", "))
	}
	if subset == "" {
		subset = usualSubset
	}
	if subset != "" {
		in := slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
			folder, file := path.Split(p)
			return !slices.Contains(strings.Split(folder, "/"), subset) && !strings.HasPrefix(file, subset+".") && !strings.HasPrefix(file, subset+"-")
		})
		switch {
		case len(in) > 0:
			paths = in
		case subset != usualSubset && subset != "default": // what a folder without subsets is called
			return nil, fmt.Errorf("no subset %q: the files are %s", subset, few(paths))
		}
	}
	splits := map[string][]string{}
	for _, p := range paths {
		if s := splitOf(p); s != "" {
			splits[s] = append(splits[s], p)
		}
	}
	if len(splits) == 0 {
		splits["train"] = paths
	}
	want := split
	if s, ok := splitWords[split]; ok {
		want = s
	}
	if want == "" {
		want = "train"
		if len(splits) == 1 {
			want = sortedKeys(splits)[0]
		}
	}
	files := splits[want]
	if len(files) == 0 {
		return nil, fmt.Errorf("no split %q: have %s", split, strings.Join(sortedKeys(splits), ", "))
	}
	slices.Sort(files)
	return files, nil
}

func few(paths []string) string {
	if len(paths) > 8 {
		return strings.Join(paths[:8], ", ") + " and more"
	}
	return strings.Join(paths, ", ")
}

// rows are the rows of files, in the order in which the datasets library of Python gives
// them after shuffle(seed).
func (h *HF) rows(b *build, from store, files []string) iter.Seq2[row, error] {
	if b.KeepOrder {
		return rowsOf(from, files)
	}
	if h.NoStream {
		return shuffledRows(rowsOf(from, files), uint64(b.Seed))
	}
	order := numpy.NewGenerator(uint64(b.Seed)).Permutation(len(files))
	mixed := make([]string, len(files))
	for i, k := range order {
		mixed[i] = files[k]
	}
	return streamShuffled(interleaved(from, mixed), uint64(b.Seed))
}

// The numbers of the datasets library: it shuffles a buffer of a thousand rows, which it
// fills a hundred at a time, in turn from up to ten groups of files.
const (
	bufferRows = 1000
	mostGroups = 10
	batchRows  = bufferRows / mostGroups
)

// interleaved gives batches of rows, in turn from groups of files. The last batch of a group
// can be smaller.
func interleaved(from store, files []string) iter.Seq2[[]row, error] {
	return func(yield func([]row, error) bool) {
		groups := min(len(files), mostGroups)
		var nexts []func() (row, error, bool)
		for i := range groups {
			start := i*(len(files)/groups) + min(i, len(files)%groups)
			end := (i+1)*(len(files)/groups) + min(i+1, len(files)%groups)
			next, stop := iter.Pull2(rowsOf(from, files[start:end]))
			defer stop()
			nexts = append(nexts, next)
		}
		for len(nexts) > 0 {
			left := nexts[:0:0]
			for _, next := range nexts {
				var batch []row
				for len(batch) < batchRows {
					r, err, ok := next()
					if !ok {
						break
					}
					if err != nil {
						yield(nil, err)
						return
					}
					batch = append(batch, r)
				}
				if len(batch) > 0 && !yield(batch, nil) {
					return
				}
				if len(batch) == batchRows {
					left = append(left, next)
				}
			}
			nexts = left
		}
	}
}

// shuffledRows reads everything first.
func shuffledRows(seq iter.Seq2[row, error], seed uint64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		var rows []row
		for r, err := range seq {
			if err != nil {
				yield(r, err)
				return
			}
			rows = append(rows, r)
		}
		for _, i := range numpy.NewGenerator(seed).Permutation(len(rows)) {
			if !yield(rows[i], nil) {
				return
			}
		}
	}
}

// streamShuffled permutes the buffer whenever it is full, gives it out but for half of its
// size, and what is left at the end.
func streamShuffled(batches iter.Seq2[[]row, error], seed uint64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		rng := numpy.NewGenerator(seed)
		var buffer []row
		give := func(keep int) bool {
			mixed := make([]row, len(buffer))
			for i, k := range rng.Permutation(len(buffer)) {
				mixed[i] = buffer[k]
			}
			out := len(mixed) - keep
			for _, r := range mixed[:out] {
				if !yield(r, nil) {
					return false
				}
			}
			buffer = mixed[out:]
			return true
		}
		for batch, err := range batches {
			if err != nil {
				yield(row{}, err)
				return
			}
			if buffer = append(buffer, batch...); len(buffer) >= bufferRows && !give(bufferRows/2) {
				return
			}
		}
		give(0)
	}
}

// inBatches runs work on several goroutines for some rows at a time, and hands the results
// to take in order, which stops it by returning false or an error.
func inBatches[T any](ctx context.Context, rows iter.Seq2[row, error], size, workers int, work func(row) (T, error), take func(i int, v T) (bool, error)) error {
	at := 0
	batch := make([]row, 0, size)
	flush := func() (bool, error) {
		more := true
		err := inOrder(ctx, len(batch), workers, func(i int) (T, error) { return work(batch[i]) }, func(i int, v T) (bool, error) {
			var err error
			more, err = take(at+i, v)
			return more, err
		})
		at += len(batch)
		batch = batch[:0]
		return more, err
	}
	for r, err := range rows {
		if err != nil {
			return err
		}
		if batch = append(batch, r); len(batch) < size {
			continue
		}
		if more, err := flush(); err != nil || !more {
			return err
		}
	}
	_, err := flush()
	return err
}
