package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// compactSegment is how much JSON makes a segment of a compacted run: nobody waits for its records any more.
const compactSegment = 8 << 20

// Compact copies a run that is over into the new folder out, its records packed as tightly as they can be without losing any.
// The other files of the run come along.
func Compact(out, dir string) (*Merged, error) {
	run, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if ok, why := run.Complete(); !ok && (run.manifest.Merge == nil || run.manifest.Merge.Partial != why) {
		return nil, fmt.Errorf("%s: %s: only a run that is whole is compacted", dir, why)
	}
	fresh := !exists(out)
	outcome, reason := run.manifest.Outcome, run.manifest.Reason
	m := run.manifest
	m.Records, m.Files, m.Outcome, m.Reason = nil, nil, "", ""
	w, err := createWith(out, m, writerOptions{limit: 2 * compactSegment, segment: compactSegment, level: zstd.SpeedBestCompression, unhurried: true})
	if err != nil {
		return nil, err
	}
	c := &cursor{run: run}
	ok, err := c.next()
	for ok && err == nil {
		if err = w.line(c.text, c.head.failed); err == nil {
			ok, err = c.next()
		}
	}
	if err == nil {
		err = compactFiles(out, dir)
	}
	if err != nil {
		_ = w.Close(Failed, err.Error())
		return nil, errors.Join(err, discard(out, fresh))
	}
	if err := w.Close(outcome, reason); err != nil {
		return nil, err
	}
	return &Merged{Manifest: w.Manifest()}, nil
}

// compactFiles brings all plain files of the run but those that a Writer writes.
func compactFiles(out, dir string) error {
	into, err := os.Stat(out)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if info, err := entry.Info(); err == nil && os.SameFile(info, into) {
				return fs.SkipDir // the new folder may lie in the old one
			}
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || !entry.Type().IsRegular() || name == ManifestFile || name == RecordsName {
			return err
		}
		return link(dir, out, name)
	})
}
