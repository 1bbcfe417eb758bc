package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
)

// printed is what a command prints to stdout.
func printed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	i := watchInterrupts()
	defer i.close()
	root := rootCommand(i)
	for _, cmd := range []*cobra.Command{slurmCommand(), k8sCommand()} {
		if found, _, err := root.Find([]string{cmd.Name()}); err != nil || found == root {
			root.AddCommand(cmd)
		}
	}
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// matchGolden compares a text with a file of testdata; SERVEBENCH_UPDATE_GOLDEN=1 writes it.
func matchGolden(t *testing.T, path, got string) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if os.Getenv("SERVEBENCH_UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is right: SERVEBENCH_UPDATE_GOLDEN=1 go test ./cmd/servebench\n--- got\n%s--- want\n%s", path, got, want)
	}
}

func TestSlurmScripts(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Log("no bash here: whether the scripts are bash is not checked")
	}
	for name, args := range map[string][]string{
		"slurm/vllm-torch.sh": {"vllm-torch", "--ntasks", "4", "--nodes", "2", "--partition", "gpu", "--account", "a b", "--sbatch=--gres=gpu:8", "--time", "26h30m", "--set", "load.requests=1000", "--set", "load.concurrency=64",
			"--clock-reference", "time.cluster"},
		"slurm/gaudi.sh": {"gaudi-e2e-multi", "--ntasks", "2", "--nodes", "1", "--setup", "module load habana", "--out", "/scratch/$USER/it's here", "--servebench", "/opt/bin/servebench"},
		"slurm/url.sh":   {"vllm-torch", "--ntasks", "3", "--url", "http://inference:8000", "--trace-dir", "/mnt/traces", "--set", "load.requests=9"},
	} {
		got, err := printed(t, append([]string{"slurm"}, args...)...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		matchGolden(t, name, got)
		if bash == "" {
			continue
		}
		check := exec.Command(bash, "-n")
		check.Stdin = strings.NewReader(got)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s is no bash: %v\n%s", name, err, out)
		}
	}
}

func TestSlurmRefuses(t *testing.T) {
	for wants, args := range map[string][]string{
		"load.concurrency is 4, and each of 8 shards": {"vllm-torch", "--ntasks", "8"},
		"--ntasks 0":                         {"vllm-torch", "--ntasks", "0"},
		"4 tasks take up to 4 nodes":         {"vllm-torch", "--ntasks", "4", "--nodes", "5"},
		"want one option on one line":        {"vllm-torch", "--ntasks", "4", "--sbatch", "--a\nrm -rf /"},
		"loads its engine by itself":         {"gaudi-script", "--ntasks", "2"},
		"listens on this machine's own addr": {"vllm-torch", "--ntasks", "4", "--set", "server.command=vllm serve m --host 127.0.0.1"},
		"no server: give --url":              {"vllm-torch", "--ntasks", "4", "--set", "server={}"},
		"slurm takes one scenario":           {"--ntasks", "4"},
		"no preset and no file":              {"no-such-thing", "--ntasks", "4"},
	} {
		if out, err := printed(t, append([]string{"slurm"}, args...)...); err == nil || !strings.Contains(err.Error(), wants) {
			t.Errorf("slurm %q: error %v, want %q\n%s", args, err, wants, out)
		}
	}
}

func TestShellWord(t *testing.T) {
	t.Setenv("RUN", "/r u n")
	t.Setenv("NAME", "va'l \"ue")
	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, []byte("in side"), 0o666); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                             "",
		"plain":                        "plain",
		"a b":                          "a b",
		"it's":                         "it's",
		"$HOME `id` \\ \"x\" !":        "$HOME `id` \\ \"x\" !",
		"${run}/traces":                "/r u n/traces",
		"${env:NAME}":                  "va'l \"ue",
		"a${env:NAME}b${run}":          "ava'l \"ueb/r u n",
		"<${file:" + file + "}>":       "<in side>",
		"${HOME} ${env:} ${dest}":      "${HOME} ${env:} ${dest}",
		"*?[a]{b,c} ~ # ; & | > <\nxy": "*?[a]{b,c} ~ # ; & | > <\nxy",
	} {
		out, err := exec.Command("bash", "-c", "printf %s "+shellWord(text)).Output()
		if err != nil {
			t.Skipf("no bash here: %v", err)
		}
		if string(out) != want {
			t.Errorf("shellWord(%q) is %s, which bash takes for %q; want %q", text, shellWord(text), out, want)
		}
	}
}

func TestSlurmTime(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Minute: "00:01:00", 90 * time.Minute: "01:30:00", 49 * time.Hour: "2-01:00:00"} {
		if got := slurmTime(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestCarriedScenario holds the text that scripts carry against the scenario itself.
func TestCarriedScenario(t *testing.T) {
	for _, name := range scenario.Presets() {
		sets := []string{"load.requests=7"}
		want, err := scenario.Read(name, sets)
		if err != nil {
			t.Fatal(err)
		}
		text, err := scenario.YAML(name, sets)
		if err != nil {
			t.Fatal(err)
		}
		got, err := scenario.Parse("carried", text)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		a, _ := want.JSON()
		b, _ := got.JSON()
		if string(a) != string(b) {
			t.Errorf("%s as carried is another scenario:\n got %s\nwant %s", name, b, a)
		}
	}
}
