package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servebench/loadgen/scenario"
	"servebench/results"
)

func mustScenario(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	return &scenario.Scenario{Name: name}
}

// command runs the program and returns what it prints, and its exit code.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	i := watchInterrupts()
	defer i.close()
	root := rootCommand(i)
	var out, talk bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&talk)
	root.SetArgs(args)
	code = exitStatus(root.ExecuteContext(context.Background()), &talk)
	return out.String(), talk.String(), code
}

const began = results.Moment(1_767_323_045_000_000_000)

// shard writes the run folder of shard k of 3, some of whose requests fail.
func shard(t *testing.T, k int, change func(*results.Manifest)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("shard-%d", k))
	m := results.Manifest{
		Tool: results.ToolVersion(), Scenario: json.RawMessage(`{"objectives":{"max_failures":5}}`), Basis: results.Service, Stamps: "kernel",
		Shard: &results.Shard{K: k, N: 3}, Began: began, Ended: began.Add(3 * time.Second),
		Settings: results.Settings{NumPrompts: 30, RequestRate: 10, Burstiness: 1, Metrics: []string{"ttft"}, Percentiles: []float64{99}, Date: "20260102-030405"},
	}
	if change != nil {
		change(&m)
	}
	w, err := results.Create(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	for id := k; id < 30; id += 3 {
		at := began.Add(time.Duration(id) * 100 * time.Millisecond)
		r := results.Record{ID: id, Kind: results.Load, InputTokens: 5, AskedTokens: 2, Due: at, Released: at.Add(1000), Dispatched: at.Add(2000),
			Reply: results.Reply{WriteBegan: at.Add(3000), Written: at.Add(4000), Status: 200, OutputTokens: 2, Done: at.Add(50 * time.Millisecond), EndMarked: true}}
		if id < 6 {
			r.Failure = &results.Failure{Class: results.FailStatus, Message: "status 500"}
		} else {
			r.Chunks = []results.Chunk{{At: at.Add(20 * time.Millisecond), Tokens: 1, Visible: true}, {At: at.Add(40 * time.Millisecond), Tokens: 1, Visible: true}}
		}
		if err := w.Record(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMergeCommand(t *testing.T) {
	dirs := []string{shard(t, 0, nil), shard(t, 1, nil), shard(t, 2, func(m *results.Manifest) {
		used := 19 * time.Second
		m.Client = &results.Client{CPU: &used, Cores: 7}
	})}
	out := filepath.Join(t.TempDir(), "merged")
	_, talk, code := command(t, "merge", dirs[0], dirs[2], "--out", out)
	if code != exitFailed || !strings.Contains(talk, "servebench: shard 1/3 is missing") {
		t.Errorf("a missing shard: exit %d: %s", code, talk)
	}
	// Two failures in each shard are within the bound of five, six in the whole run are not.
	text, talk, code := command(t, append([]string{"merge", "--out", out}, dirs...)...)
	if code != exitFailed || !strings.Contains(talk, "servebench: 6 of 30 requests failed, 5 allowed: status 500") {
		t.Errorf("exit %d: %s", code, talk)
	}
	for _, want := range []string{"shard 0/3: shard-0 on ", "shard 2/3: shard-2 on ", "10 records\n", "run:    "} {
		if !strings.Contains(talk, want) {
			t.Errorf("the merge does not say %q: %s", want, talk)
		}
	}
	for _, want := range []string{"Successful requests:                     24", "shard 2/3: the client used 90 % of its 7 processors (bound 90 %)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	again, _, code := command(t, "report", out)
	if code != 0 || again != text {
		t.Errorf("report prints another text, exit %d:\n%s", code, again)
	}
	if text, talk, code = command(t, "verify", out); code != 0 || text != out+": 30 records agree with the last line and the manifest, report.json with the records, result.json with the records\n" {
		t.Errorf("verify: exit %d: %s%s", code, text, talk)
	}

	packed := filepath.Join(t.TempDir(), "packed")
	if _, talk, code = command(t, "compact", out, "--out", packed); code != 0 || !strings.Contains(talk, "records: ") {
		t.Errorf("compact: exit %d: %s", code, talk)
	}
	if text, talk, code = command(t, "verify", packed); code != 0 || !strings.Contains(text, "report.json with the records") {
		t.Errorf("verify of the packed run: exit %d: %s%s", code, text, talk)
	}
}

func TestVerifySaysWhatDoesNotAgree(t *testing.T) {
	out := filepath.Join(t.TempDir(), "merged")
	if _, err := results.Merge(out, []string{shard(t, 0, nil), shard(t, 1, nil), shard(t, 2, nil)}, results.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := scenario.WriteReports(out); err != nil {
		t.Fatal(err)
	}
	change := func(name, from, to string) {
		t.Helper()
		path := filepath.Join(out, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(from)) {
			t.Fatalf("%s has no %q:\n%s", name, from, b)
		}
		if err := os.WriteFile(path, bytes.Replace(b, []byte(from), []byte(to), 1), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	change(scenario.ResultFile, `"completed": 24`, `"completed": 25`)
	change(scenario.ReportFile, `"complete": true`, `"complete": false`)
	change(results.ManifestFile, `"count": 30`, `"count": 31`)
	text, _, code := command(t, "verify", out)
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		"result.json: completed is 25, the records give 24", "report.json: complete is false, the records give true", "the manifest counts 31 records, the file holds 30",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("verify does not say %q:\n%s", want, text)
		}
	}
}

func TestScaleCommandsAskForWhatTheyNeed(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		wants string
	}{
		{[]string{"merge"}, "merge takes the run folders of the shards"},
		{[]string{"merge", "a"}, "merge needs --out"},
		{[]string{"compact", "a", "b"}, "compact takes one run folder, not 2"},
		{[]string{"compact", "a"}, "compact needs --out"},
		{[]string{"verify"}, "verify takes run folders"},
	} {
		if _, talk, code := command(t, tc.args...); code != exitUsage || !strings.Contains(talk, tc.wants) {
			t.Errorf("%q: exit %d: %s", tc.args, code, talk)
		}
	}
	if _, talk, code := command(t, "verify", "nowhere"); code != exitFailed || !strings.Contains(talk, "nowhere is no run folder") {
		t.Errorf("verify nowhere: exit %d: %s", code, talk)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{512: "0.5 KiB", 3 << 19: "1.5 MiB", 5 << 29: "2.5 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
