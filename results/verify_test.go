package results

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	w := create(t, dir)
	record(t, w, 0, 25)
	if err := w.Close(OK, ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, RecordsName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		bytes []byte
		wants string
	}{
		{"as closed", whole, ""},
		{"cut", whole[:len(whole)-1], "without its last line"},
		{"longer", append(bytes.Clone(whole), 0), "the manifest says"},
		{"changed", changed(whole, headSize+40), "damaged"},
		{"without the records", whole[lastSegment(whole):], "the last line counts 25 records"},
	} {
		if err := os.WriteFile(path, tc.bytes, 0o666); err != nil {
			t.Fatal(err)
		}
		run, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(run.Verify(), "\n")
		run.Close()
		if !strings.Contains(got, tc.wants) || (tc.wants == "" && got != "") {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.wants)
		}
	}
}

func changed(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// lastSegment is where the last segment begins.
func lastSegment(b []byte) int { return bytes.LastIndex(b, []byte{0x5B, 0x2A, 0x4D, 0x18}) }
