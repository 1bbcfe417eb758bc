package scenario

import (
	"path/filepath"
	"strings"
	"testing"

	"servebench/datasets"
	"servebench/results"
)

// answers is a data set of which only the lengths of answers are known.
type answers []int

func (a answers) Len() int { return len(a) }

func (a answers) At(i int) datasets.Sample { return datasets.Sample{OutputTokens: a[i]} }

func TestEstimateDisk(t *testing.T) {
	long := make(answers, 1000)
	for i := range long {
		long[i] = 2*i + 1
	}
	for _, tc := range []struct {
		name     string
		data     datasets.Dataset
		requests int
		texts    bool
		want     int64
	}{
		{"nothing is known", nil, 10, false, 10 * (160 + 512*10)},
		{"one token each", answers{1, 1}, 10, false, 10 * (160 + 10)},
		{"no limit", answers{0, 0}, 10, false, 10 * (160 + 512*10)},
		{"texts are kept", answers{100}, 10, true, 10 * (160 + 100*10 + 300)},
		{"rising lengths", long, 1000, false, 1000 * (160 + 996*10)},
	} {
		if got := estimateDisk(tc.data, tc.requests, tc.texts); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestCheckDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	out, err := results.Create(dir, results.Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close(results.OK, "")
	free, known := results.FreeDisk(dir)
	if !known {
		t.Skip("this system does not tell how much room a disk has")
	}
	r := &runner{Scenario: &Scenario{}, Options: Options{Dir: dir, Watcher: silent{}}, out: out}
	perRequest := int64(160 + 512*10)
	for _, tc := range []struct {
		share   float64
		refused bool
		warned  bool
	}{{0.1, false, false}, {0.75, false, true}, {3, true, true}} {
		err := r.checkDisk(nil, int(float64(free)*tc.share/float64(perRequest)))
		if (err != nil) != tc.refused || err != nil && !strings.Contains(err.Error(), "give --out on another disk") {
			t.Errorf("%g of the disk: error %v", tc.share, err)
		}
		if warned := len(out.Manifest().Warnings) > 0; warned != tc.warned {
			t.Errorf("%g of the disk: warnings %q", tc.share, out.Manifest().Warnings)
		}
	}
}
