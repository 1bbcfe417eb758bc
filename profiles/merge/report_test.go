package merge

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"servebench/profiles/breakdown"
)

func p[T any](v T) *T { return &v }

func TestFound(t *testing.T) {
	r := &breakdown.Report{
		Files: []breakdown.FileInfo{{File: "rank0.json", Base: p(int64(1000))}, {File: "rank3.json", Base: p(int64(700))}},
		Steps: []breakdown.Step{
			{File: "rank0.json", Name: "execute_context_2(20)_generation_3(12)", Phase: "mixed", HostStart: 100, HostNS: 50, Prompts: p(int64(2)), Generations: p(int64(3)), Tokens: p(int64(32))},
			{File: "rank3.json", Name: "step[DECODE bs=4]", Phase: "decode", Bucket: "4", HostStart: 100, HostNS: 50, DevStart: p(int64(110)), DevEnd: p(int64(170)), DevBusy: p(int64(40)), Prompts: p(int64(0)), Generations: p(int64(4)), Tokens: p(int64(4))},
			{File: "rank0.json", Name: "prefill", Phase: "prefill", HostStart: 200, HostNS: 10},
		},
		Compiles: &breakdown.Compiles{List: []breakdown.Compile{{File: "rank3.json", Kind: "gaudi", Name: "graph7", Start: 120, Total: 30, Bucket: "bs1 seq128"}}},
		Gaps:     &breakdown.Gaps{Longest: []breakdown.Gap{{File: "rank0.json", Device: 2, Start: 160, Total: 5, Reason: "host_late", Kernel: "mm"}}},
	}
	steps, others, err := Found(r, []Trace{{Rank: 0}, {Rank: 3}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{Rank: 0, Phase: "mixed", Name: "execute_context_2(20)_generation_3(12)", Start: 100, End: 150, Prompts: 2, PromptTokens: 20, Decodes: 3, DecodeTokens: 12},
		// What happened at 100 on the first file's clock is at 400 on one whose zero is 300 ns earlier.
		{Rank: 3, Phase: "decode", Bucket: "4", Name: "step[DECODE bs=4]", Start: 400, End: 450, OnDevice: true, DevStart: 410, DevEnd: 470, Busy: 40 * time.Nanosecond, Decodes: 4, DecodeTokens: 4},
		{Rank: 0, Phase: "prefill", Name: "prefill", Start: 200, End: 210, Prompts: -1, PromptTokens: -1, Decodes: -1, DecodeTokens: -1},
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps\n%+v\nwant\n%+v", steps, want)
	}
	if len(others) != 2 || others[0].Kind != "compiles" || others[0].Start != 420 || others[0].End != 450 || others[0].Rank != 3 ||
		others[1].Kind != "longest gaps of device 2" || others[1].Name != "host_late" || others[1].Start != 160 || others[1].End != 165 {
		t.Errorf("others %+v", others)
	}
	if _, _, err := Found(r, []Trace{{}}); err == nil || err.Error() != "merge: the analysis is of 2 files, not of these 1" {
		t.Errorf("with one trace: %v", err)
	}
	r.Files[1].File = "rank0.json"
	if _, _, err := Found(r, []Trace{{}, {Rank: 3}}); err == nil || !strings.Contains(err.Error(), "two traces are called rank0.json") {
		t.Errorf("with one name twice: %v", err)
	}
}

// TestFoundOnAccelerators holds the steps of real traces against known figures.
func TestFoundOnAccelerators(t *testing.T) {
	root := os.Getenv("SERVEBENCH_TEST_TRACES")
	if root == "" {
		t.Skip("SERVEBENCH_TEST_TRACES names no folder of traces")
	}
	path := filepath.Join(root, "vllm_prefilldecode.pt.trace.json.gz")
	report, err := breakdown.Analyze(t.Context(), []string{path}, breakdown.Options{})
	if err != nil {
		t.Fatal(err)
	}
	steps, _, err := Found(report, []Trace{{Path: path}})
	if err != nil || len(steps) != 1 {
		t.Fatalf("%d steps, %v; want 1", len(steps), err)
	}
	s := steps[0]
	if s.Prompts != 9 || s.PromptTokens != 8155 || s.Decodes != 37 || s.DecodeTokens != 37 || s.Phase != Mixed {
		t.Errorf("it holds %+v; want 9 prompts of 8155 tokens and 37 decodes", s)
	}
	if s.End-s.Start != 26353441 || !s.OnDevice || s.DevStart-s.Start != 151231271 || s.Busy != 156085793 {
		t.Errorf("it took %d on the host, %d to the device, which was busy %d", s.End-s.Start, s.DevStart-s.Start, s.Busy)
	}
	if s.ready() != s.DevEnd {
		t.Error("what it computed was ready before the device ended")
	}
}
