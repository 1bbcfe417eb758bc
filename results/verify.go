package results

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
)

// Verify reads the whole records file and holds it against its last line and the manifest. It returns every
// disagreement; none means that the folder holds what was recorded.
func (r *Run) Verify() []string {
	var problems []string
	if ok, why := r.Complete(); !ok {
		problems = append(problems, why)
	}
	count, failed := 0, 0
	for rec, err := range r.Records() {
		if err != nil {
			problems = append(problems, err.Error())
			break
		}
		count++
		if !rec.OK() {
			failed++
		}
	}
	if r.end != nil && (r.end.Records != count || r.end.Failed != failed) {
		problems = append(problems, fmt.Sprintf("the last line counts %d records and %d failures, the file holds %d and %d", r.end.Records, r.end.Failed, count, failed))
	}
	problems = append(problems, r.verifyFiles()...)
	said := r.manifest.Records
	if said == nil {
		return problems
	}
	if said.Count != count {
		problems = append(problems, fmt.Sprintf("the manifest counts %d records, the file holds %d", said.Count, count))
	}
	sum := sha256.New()
	size, err := io.Copy(sum, io.NewSectionReader(r.file, 0, math.MaxInt64))
	switch got := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		problems = append(problems, fmt.Sprintf("%s: %v", r.name(), err))
	case size != said.Bytes:
		problems = append(problems, fmt.Sprintf("%s has %d bytes, the manifest says %d", r.name(), size, said.Bytes))
	case got != said.SHA256:
		problems = append(problems, fmt.Sprintf("%s is not the file that was closed: its SHA-256 is %s, the manifest says %s", r.name(), got, said.SHA256))
	}
	return problems
}

// verifyFiles holds the other files against their hashes.
func (r *Run) verifyFiles() []string {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(r.manifest.Files)) {
		b, err := r.ReadFile(filepath.Base(name))
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		sum := sha256.Sum256(b)
		if got, want := hex.EncodeToString(sum[:]), r.manifest.Files[name]; got != want {
			problems = append(problems, fmt.Sprintf("%s is not the file that was kept: its SHA-256 is %s, the manifest says %s", filepath.Join(r.dir, name), got, want))
		}
	}
	return problems
}
