package scenario

import (
	"path/filepath"
	"strings"
	"testing"

	"servebench/results"
)

// A stage is profiled from its beginning to that of the next; a bracket by requests in flight begins once there are so many.
func TestBracketsInsideTheLoad(t *testing.T) {
	t.Parallel()
	const stages = `
name: x
dataset: {input_len: 16, output_len: 4}
stages:
  - {name: calm, concurrency: 1, requests: 20}
  - {name: busy, concurrency: 4, requests: 60}
  - {concurrency: 1, requests: 20}
sim: {profiler: cpu, first_token: 2ms, between_tokens: 1ms}
`
	for _, tc := range []struct {
		name, profile string
		stage         int // in which the bracket begins
		whole         bool
	}{
		{"by name", "{stage: busy}", 1, true},
		{"by number, the last", "{stage: 3}", 2, false}, // it ends with the load
		{"once so many are in flight", "{once_in_flight: 3, for: 10ms}", 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			result, err := Run(t.Context(), parsed(t, stages+"profile: "+tc.profile), Options{Dir: dir, Sim: true})
			if err != nil || result.Outcome != results.OK || result.Merged == "" {
				t.Fatalf("%v, %+v", err, result)
			}
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			m := run.Manifest()
			var began [4]results.Moment
			for rec, err := range run.Records() {
				if err != nil {
					t.Fatal(err)
				}
				if began[rec.Stage] == 0 || rec.Due < began[rec.Stage] {
					began[rec.Stage] = rec.Due
				}
			}
			began[3] = m.Ended
			// The bracket hears of a beginning up to a millisecond later, on a busy machine later still.
			start, stop := m.Profile.Start.Sent, m.Profile.Stop.Sent
			if start < began[tc.stage] || start > began[tc.stage+1] || stop < start || tc.whole && stop < began[tc.stage+1] {
				t.Errorf("profiled from %d to %d; stages began at %v", start, stop, began)
			}
		})
	}
	for _, tc := range []struct{ profile, want string }{
		{"{stage: rush}", `profile.stage: no stage "rush": have calm, busy, 3`},
		{"{stage: 4}", `profile.stage: no stage "4": have calm, busy, 3`},
		{"{stage: busy, once_in_flight: 3}", "the bracket starts once: give one of once_in_flight, stage"},
		{"{once_in_flight: 3}", "profile.for: a bracket inside the load needs a length"},
	} {
		if _, err := Parse("x.yaml", stages+"profile: "+tc.profile); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %s", tc.profile, err, tc.want)
		}
	}
	if _, err := Parse("x.yaml", "load: {requests: 1}\nprofile: {stage: 1}"); err == nil || !strings.Contains(err.Error(), "the load has no stages") {
		t.Errorf("a stage of none: %v", err)
	}
}
