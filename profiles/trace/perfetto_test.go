package trace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPerfettoRoundTrip compares every slice, instant and counter of a trace with what the
// strict reader finds in its protobuf form.
func TestPerfettoRoundTrip(t *testing.T) {
	files := append(realFiles(t), write(t, sliceable), write(t, thinnable))
	if os.Getenv("SERVEBENCH_TEST_TRACES") != "" {
		files = append(files, realTrace(t, "gaudi_synapse_logger_fragment.json"))
	}
	for _, src := range files {
		t.Run(filepath.Base(src), func(t *testing.T) {
			var want []string
			begins := 0
			flows := int64(0)
			_, err := ReadFile(src, func(ev *Event) error {
				switch ev.Phase {
				case 'X':
					want = append(want, fmt.Sprintf("X %s %s %d %d", ev.Name, ev.Cat, ev.TS, ev.Dur))
				case 'i':
					want = append(want, fmt.Sprintf("i %s %s %d 0", ev.Name, ev.Cat, ev.TS))
				case 'B':
					begins++
				case 's', 'f':
					flows++
				case 'C':
					ev.EachArg(func(key string, value []byte) bool {
						want = append(want, fmt.Sprintf("C %s %s %d %s", ev.Name, key, ev.TS, value))
						return true
					})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			dst := filepath.Join(t.TempDir(), "t.pftrace.gz")
			stats, _, err := WritePerfetto(dst, src)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(dst)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got []string
			halves := 0
			back, err := ReadPerfetto(f, func(e *PerfettoEvent) error {
				switch {
				case e.Kind == 'C':
					name, series, _ := strings.Cut(e.Name, " ")
					got = append(got, fmt.Sprintf("C %s %s %d %v", name, series, e.Start, e.Value))
				case strings.HasPrefix(src, os.TempDir()) && slices.Contains([]string{"outer", "inner", "gone", "through", "synLaunch"}, e.Name) || strings.Contains(src, "gaudi"):
					halves++ // of begin and end rows
				default:
					got = append(got, fmt.Sprintf("%c %s %s %d %d", e.Kind, e.Name, e.Category, e.Start, e.Dur))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Fatalf("%d of %d events; the first that differs: got %s, want %s", len(got), len(want), got[i], want[i])
					}
				}
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			left := stats.Left
			stats.Left = 0
			if back != stats || halves != begins {
				t.Errorf("read %+v, wrote %+v; %d of %d begin rows", back, stats, halves, begins)
			}
			// Arrows that found no slice are counted, not lost silently; so are ends without a
			// begin.
			if !strings.Contains(src, "gaudi") && stats.Flows+left != flows {
				t.Errorf("%d arrows' ends of %d, %d left", stats.Flows, flows, left)
			}
		})
	}
}

func TestPerfettoLanesAndArgs(t *testing.T) {
	src := write(t, `{"baseTimeNanoseconds": 1790857026000000000, "traceEvents": [
{"ph": "M", "name": "process_name", "pid": 0, "tid": 0, "args": {"name": "python"}},
{"ph": "M", "name": "process_labels", "pid": 0, "tid": 0, "args": {"labels": "GPU 0"}},
{"ph": "M", "name": "thread_name", "pid": 0, "tid": 7, "args": {"name": "stream 7"}},
{"ph": "X", "name": "a", "pid": 0, "tid": 7, "ts": 1, "dur": 2, "args": {"correlation": 5, "kind": "x", "f": 1.5, "yes": true, "grid": [1, 2]}},
{"ph": "X", "name": "b", "pid": 0, "tid": 7, "ts": 2, "dur": 2},
{"ph": "X", "name": "c", "pid": 0, "tid": 7, "ts": 4, "dur": 0},
{"ph": "X", "name": "neg", "pid": -1, "tid": -5, "ts": -3, "dur": 1},
{"ph": "B", "name": "open", "pid": 9, "tid": 9, "ts": 1}
]}`)
	dst := filepath.Join(t.TempDir(), "t.pftrace")
	stats, meta, err := WritePerfetto(dst, src)
	if err != nil || !meta.HasBase {
		t.Fatal(err)
	}
	var got []string
	f, err := os.Open(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := ReadPerfetto(f, func(e *PerfettoEvent) error {
		got = append(got, fmt.Sprintf("%s %d+%d on %s of %s %v", e.Name, e.Start, e.Dur, e.Track, e.Process, e.Args))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Times begin at 0 where the trace begins before it.
	want := []string{
		"neg 0+1000 on -5 of -1 map[]",
		"a 4000+2000 on stream 7 of python (GPU 0) map[correlation:5 f:1.5 kind:x yes:true]",
		"c 7000+0 on stream 7 of python (GPU 0) map[]",
		"b 5000+2000 on stream 7 overlapping 1 of stream 7 map[]",
		"open 4000+3000 on 9 of  map[]",
	}
	if !slices.Equal(got, want) || stats.Tracks != 4 || stats.Slices != 5 {
		t.Errorf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(want, "\n"), stats)
	}
}

func TestReadPerfettoIsStrict(t *testing.T) {
	packet := func(body []byte) []byte { return appendBytes(nil, fTracePacket, body) }
	begin := func(body []byte) []byte {
		return appendUvarint(appendUvarint(body, fSequence, 2), fSequenceFlags, flagsNeedsState)
	}
	for name, data := range map[string][]byte{
		"empty":            {},
		"no packet":        appendUvarint(nil, 3, 1),
		"no sequence":      packet(appendUvarint(nil, fTimestamp, 1)),
		"state needed":     packet(begin(nil)),
		"unknown parent":   packet(appendBytes(appendUvarint(nil, fSequence, 1), fTrackDesc, appendUvarint(appendUvarint(nil, fDescUUID, 4), fDescParent, 9))),
		"an unknown field": packet(appendUvarint(appendUvarint(nil, fSequence, 1), 99, 1)),
		"cut":              {0x0a, 0x20, 1},
		"event, no clock":  packet(appendBytes(appendUvarint(appendUvarint(nil, fSequence, 2), fSequenceFlags, flagsCleared), fTrackEvent, appendUvarint(nil, fEventType, 1))),
	} {
		if _, err := ReadPerfetto(bytes.NewReader(data), nil); err == nil {
			t.Errorf("%s: taken without an error", name)
		}
	}
}

func FuzzReadPerfetto(f *testing.F) {
	dst := filepath.Join(f.TempDir(), "t.pftrace")
	path := filepath.Join(f.TempDir(), "in.json")
	if err := os.WriteFile(path, []byte(sliceable), 0o644); err != nil {
		f.Fatal(err)
	}
	if _, _, err := WritePerfetto(dst, path); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(dst)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0x0a, 0x02, 0x50, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) { ReadPerfetto(bytes.NewReader(data), nil) })
}
