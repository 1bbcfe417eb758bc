package scenario

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDryRunOfEveryExampleAndPreset(t *testing.T) {
	names := append(Presets(), examples(t)...)
	for _, name := range names {
		s, err := Read(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := DryRun(t.Context(), s, Options{Sim: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var text bytes.Buffer
		if err := p.Text(&text); err != nil {
			t.Fatal(err)
		}
		want := "POST http://"
		if s.Script != nil || s.Server.EndsBy != "" {
			want = "nothing was sent"
		}
		if !strings.Contains(text.String(), want) || !strings.Contains(text.String(), "dry run: ") || (p.Series != "") != s.IsSeries() {
			t.Errorf("%s: the preview lacks %q:\n%s", name, want, text.String())
		}
	}
}

// Without a tokenizer to ask, no connection is opened, and nothing is left on the disk.
func TestDryRunOpensNoConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{})
	go func() {
		defer close(came)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Error("somebody connected")
			conn.Close()
		}
	}()
	here := t.TempDir()
	t.Chdir(here)
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	s := parsed(t, `
model: m
server: {url: "http://`+listener.Addr().String()+`"}
tokenizer: none
headers: {X-Api-Key: hidden, X-Team: red}
dataset: {input_len: 20, output_len: 4}
warmup: {requests: 2}
load: {requests: 12, rate: 10, arrival: constant, concurrency: 3}
`)
	p, err := DryRun(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	<-came
	if p.Asked != "" || p.Samples != 12 || *p.Input != (Lengths{Min: 20, P50: 20, P99: 20, Max: 20, Mean: 20}) || *p.Output != (Lengths{Min: 4, P50: 4, P99: 4, Max: 4, Mean: 4}) {
		t.Errorf("asked %q, %d samples, input %+v, output %+v", p.Asked, p.Samples, p.Input, p.Output)
	}
	if len(p.Stages) != 1 || p.Stages[0].Requests != 12 || p.Stages[0].Limit != 3 || p.Stages[0].Users != 0 {
		t.Errorf("stages %+v", p.Stages)
	}
	var text bytes.Buffer
	if err := p.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"prompts:  token ids", "warm-up:  2 requests", "load:     12 requests, over ", "at most 3 in flight", "POST http://" + listener.Addr().String() + "/v1/completions",
		"Authorization: ***", "X-Api-Key: ***", "X-Team: red", `"max_tokens": 4`, "no connection was opened, nothing was sent",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the preview lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "secret") || strings.Contains(text.String(), "hidden") {
		t.Errorf("a key is shown:\n%s", text.String())
	}
	if entries, err := os.ReadDir(here); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestPreviewOfSchedules(t *testing.T) {
	for _, tc := range []struct {
		load            string
		requests, users int
		length          time.Duration
		atOnce          bool
		sum             float64 // of the rates times the length of a part
	}{
		{"{requests: 8, concurrency: 2}", 8, 2, 0, false, 0},
		{"{requests: 8}", 8, 0, 0, true, 0},
		{"{duration: 2s, concurrency: 4}", 0, 4, 2 * time.Second, false, 0},
		{"{duration: 2s, rate: 50, arrival: constant}", 100, 0, 2 * time.Second, false, 100},
	} {
		s := parsed(t, "model: m\ntokenizer: none\nserver: {url: http://127.0.0.1:1}\nload: "+tc.load)
		p, err := DryRun(t.Context(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := p.Stages[0]
		sum := 0.0
		for _, r := range got.Rates {
			sum += r * got.Length.Seconds() / pictureParts
		}
		if got.Requests < tc.requests-1 || got.Requests > tc.requests || got.Users != tc.users || got.Length != tc.length || got.AtOnce != tc.atOnce || sum > tc.sum+0.01 || sum < tc.sum-1.01 {
			t.Errorf("%s: %+v, %.2f requests in the picture; want %+v", tc.load, got, sum, tc)
		}
	}
}

func TestCheckFileReportsAllFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	text := "load: {requests: many, rate: 0}\nbackend: nonsense\ndatset: {}\nseed: -1\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := CheckFile(path, nil)
	if err == nil {
		t.Fatal("no faults found")
	}
	for _, want := range []string{`:1:18: "many" is no whole number`, `:3:1: there is no key "datset"`, ":2:10: backend: ", ":4:7: seed: -1 is outside"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no fault %q in\n%v", want, err)
		}
	}
	if err := os.WriteFile(path, []byte("load: {requests: 1}\ndataset: {name: custom, path: /nowhere/x.jsonl}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckFile(path, nil); err == nil || !strings.Contains(err.Error(), ":2:31: dataset.path: ") {
		t.Errorf("a dataset that is not there: %v", err)
	}
}
