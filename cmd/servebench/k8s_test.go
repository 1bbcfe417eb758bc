package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestK8sManifests(t *testing.T) {
	for name, args := range map[string][]string{
		"k8s/claim.yaml": {"vllm-torch", "--shards", "2", "--image", "registry.example/servebench:1", "--url", "http://vllm:8000", "--start-at", "2099-01-31T12:00:00Z"},
		"k8s/upload.yaml": {"vllm-torch", "--shards", "2", "--image", "registry.example/servebench:1", "--url", "http://vllm:8000", "--start-at", "2099-01-31T12:00:00Z",
			"--namespace", "bench", "--one-to-a-node", "--node", "pool=clients", "--secret", "keys", "--pull-policy", "Always", "--deadline", "2h", "--clock-reference", "time.example",
			"--upload-image", "registry.example/s3cmd:1", "--upload-command", `s3cmd sync "$RUN" "s3://bench/shard-$SHARD"`},
	} {
		got, err := printed(t, append([]string{"k8s"}, args...)...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		matchGolden(t, name, got)
	}
}

func TestK8sRefuses(t *testing.T) {
	base := []string{"vllm-torch", "--shards", "2", "--image", "i", "--url", "http://vllm:8000"}
	for wants, args := range map[string][]string{
		"load.concurrency is 4, and each of 8 shards": {"--shards", "8"},
		"--shards 0":                           {"--shards", "0"},
		"--image: the pods need an image":      {"--image", ""},
		"no server: give --url":                {"--url", ""},
		`--name "Not_A_Name"`:                  {"--name", "Not_A_Name"},
		"want at most 50 small letters":        {"--name", strings.Repeat("a", 51)},
		`--memory "4 Gi"`:                      {"--memory", "4 Gi"},
		`--cpu "-1"`:                           {"--cpu", "-1"},
		`--node "pool"`:                        {"--node", "pool"},
		`--pull-policy "always"`:               {"--pull-policy", "always"},
		`--namespace "a b"`:                    {"--namespace", "a b"},
		"needs both --upload-image":            {"--upload-image", "i"},
		"give --claim or an upload, not both":  {"--upload-image", "i", "--upload-command", "c", "--claim", "x"},
		"2001-01-01T00:00:00Z, has passed":     {"--start-at", "2001-01-01T00:00:00Z"},
		"--start-at: \"tomorrow\" is no momen": {"--start-at", "tomorrow"},
	} {
		if out, err := printed(t, append(append([]string{"k8s"}, base...), args...)...); err == nil || !strings.Contains(err.Error(), wants) {
			t.Errorf("k8s %q: error %v, want %q\n%s", args, err, wants, out)
		}
	}
}

func TestK8sJobName(t *testing.T) {
	for name, want := range map[string]string{
		"vllm-torch": "vllm-torch", "": "servebench", "Load_Test.1": "load-test-1", "--": "servebench", strings.Repeat("a", 49) + "-b": strings.Repeat("a", 49),
	} {
		s := mustScenario(t, name)
		if got := (&k8sFlags{}).jobName(s); got != want {
			t.Errorf("%q: job %q, want %q", name, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "plain", `a "b" \ c`, "line\nline", "<&>", "# : - {x}", "\u2028", "yes"} {
		got := quote(text)
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != text || strings.ContainsAny(got, "\n") {
			t.Errorf("quote(%q) is %s, which reads %q, %v", text, got, back, err)
		}
	}
}
