package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCompareGroups(t *testing.T) {
	for _, tc := range []struct {
		groups []string
		args   []string
		dash   int
		want   []namedPaths
		err    string
	}{
		{args: []string{"runs/a", "runs/b"}, dash: -1, want: []namedPaths{{"a", []string{"runs/a"}}, {"b", []string{"runs/b"}}}},
		{args: []string{"x/a", "y/a"}, dash: -1, want: []namedPaths{{"A", []string{"x/a"}}, {"B", []string{"y/a"}}}},
		{args: []string{"a", "b", "c"}, dash: 1, want: []namedPaths{{"A", []string{"a"}}, {"B", []string{"b", "c"}}}},
		{args: []string{"a", "b", "--", "c"}, dash: 1, want: []namedPaths{{"a", []string{"a"}}, {"b", []string{"b"}}, {"c", []string{"c"}}}},
		{groups: []string{"one=a,b", "two=c"}, dash: -1, want: []namedPaths{{"one", []string{"a", "b"}}, {"two", []string{"c"}}}},
		{args: []string{"a", "b", "c"}, dash: -1, err: `3 runs without a "--" between them: write A... -- B..., or two runs alone`},
		{args: []string{"a"}, dash: 1, err: `there is no run on one side of the "--"`},
		{args: []string{"a", "b", "--fail-on", "p99 ttft"}, dash: 1, err: `--fail-on stands behind the "--": flags come before the runs`},
		{groups: []string{"one=a"}, dash: -1, err: "one --group is not enough: a comparison takes two"},
		{groups: []string{"one=a", "two"}, dash: -1, err: "--group two: want NAME=A,B"},
		{groups: []string{"one=a", "two=b"}, args: []string{"c"}, dash: -1, err: "c stands outside every group: with --group, all runs belong to one"},
	} {
		f := compareFlags{groups: tc.groups}
		got, err := f.grouped(tc.args, tc.dash)
		if text := fmt.Sprint(err); err != nil && text != tc.err || err == nil && tc.err != "" {
			t.Errorf("%v %v: %v, want %s", tc.groups, tc.args, err, tc.err)
		}
		if err == nil && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v %v: %v, want %v", tc.groups, tc.args, got, tc.want)
		}
	}
}

// result writes a result file of vllm bench serve whose requests take first milliseconds or so.
func result(t *testing.T, dir, name string, first float64, seed int) string {
	t.Helper()
	var ttfts, latencies []string
	for i := range 100 {
		v := first / 1000 * (1 + float64((i*37+seed*11)%100)/500)
		ttfts = append(ttfts, fmt.Sprintf("%.6f", v))
		latencies = append(latencies, fmt.Sprintf("%.6f", v+0.1))
	}
	text := fmt.Sprintf(`{"model_id":"m","num_prompts":100,"request_rate":"inf","max_concurrency":8,"completed":100,"failed":0,"duration":10.%d,"request_throughput":10.%d,"ttfts":[%s],"latencies":[%s]}`,
		seed, seed, strings.Join(ttfts, ","), strings.Join(latencies, ","))
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompareCommand(t *testing.T) {
	dir := t.TempDir()
	var before, after []string
	for i := range 3 {
		before = append(before, result(t, dir, fmt.Sprintf("before-%d.json", i), 50, i))
		after = append(after, result(t, dir, fmt.Sprintf("after-%d.json", i), 60, i+5))
	}
	groups := append(append(append([]string{}, before...), "--"), after...)
	with := func(flags ...string) []string { return append(flags, groups...) }
	for _, tc := range []struct {
		name     string
		args     []string
		code     int
		out, err string
	}{
		{"table", with(), 0, "  p50                            54.95       65.94   +20.0 %", ""},
		{"gate missed", with("--fail-on", "p50 ttft +5%"), exitMissed, "missed     p50 ttft +5%", "missed p50 ttft +5%: B against A"},
		{"gate passed", with("--fail-on", "p50 ttft +50%"), 0, "passed     p50 ttft +50%", ""},
		{"gate undecided", append([]string{"--fail-on", "request_throughput -50%"}, after[0], before[0]), 0, "undecided  request_throughput -50%", ""},
		{"undecided fails", append([]string{"--fail-undecided", "--fail-on", "request_throughput -50%"}, after[0], before[0]), exitMissed, "undecided  request_throughput -50%", "undecided request_throughput"},
		{"gate without figure", with("--fail-on", "p99 tpot +5%"), exitFailed, "absent     p99 tpot +5%", "absent p99 tpot +5%"},
		{"same run", []string{before[0], before[0]}, exitFailed, "", "are the same run"},
		{"no such file", []string{before[0], filepath.Join(dir, "none")}, exitFailed, "", "no such file"},
		{"bad gate", with("--fail-on", "p99"), exitUsage, "", "--fail-on"},
		{"bad format", with("--format", "pdf"), exitUsage, "", "no format"},
		{"bad margin", with("--margin", "x"), exitUsage, "", "--margin x"},
		{"bad metric", with("--metric", "speed"), exitUsage, "", "no metric speed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := compareCommand()
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			var out, talk bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&talk)
			cmd.SetArgs(tc.args)
			err := cmd.Execute()
			code := 0
			if err != nil {
				code = exitUsage
				var status exitCode
				if errors.As(err, &status) {
					code = status.code
				}
			}
			if code != tc.code {
				t.Errorf("exit status %d (%v), want %d", code, err, tc.code)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v lacks %q", err, tc.err)
			}
			if !strings.Contains(out.String(), tc.out) {
				t.Errorf("output lacks %q:\n%s", tc.out, out.String())
			}
			if tc.name == "gate undecided" && !strings.HasPrefix(talk.String(), "warning: undecided request_throughput -50%") {
				t.Errorf("an undecided gate is no warning: %s", talk.String())
			}
		})
	}
}
