package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctorOnAMachinesFiles(t *testing.T) {
	for _, tc := range []struct {
		name        string
		concurrency int
		files       map[string]string
		want        []string // beginnings of lines, in order, of what is amiss or unknown
	}{
		{"well", 100, map[string]string{
			"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n", "proc/loadavg": "0.10 0.2 0.3 1/2 3\n", "proc/pressure/cpu": "some avg10=1.25 avg60=0 avg300=0 total=5\n",
			"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
		}, nil},
		{"a bad one", 60_000, map[string]string{
			"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n", "proc/loadavg": "900.00 0.2 0.3 1/2 3\n",
			"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
		}, []string{"change local ports: 28232 to one", "change governor: powersave on 1", "change clock source: hpet", "change other load: 900.00 tasks"}},
		{"silent", 100, nil, []string{"unknown local ports", "unknown governor", "unknown clock source", "unknown other load"}},
	} {
		root := t.TempDir()
		for name, text := range tc.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, f := range examine(root, tc.concurrency) {
			if f.state != fine && f.what != "processors" && f.what != "open files" {
				got = append(got, f.state+" "+f.what+": "+f.says)
			}
			if f.what == "local ports" && tc.concurrency == 60_000 && !strings.Contains(f.change, "give 3 addresses") {
				t.Errorf("%s: to change: %s; want 3 addresses", tc.name, f.change)
			}
		}
		for i, line := range got {
			if i >= len(tc.want) || !strings.HasPrefix(line, tc.want[i]) {
				t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
				break
			}
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	defer server.Close()
	for _, tc := range []struct {
		address  string
		insecure bool
		state    string
		change   string
	}{
		{server.URL, true, noticed, ""},
		{server.URL, false, amiss, "give --insecure"},
		{closed.URL, false, amiss, "is the server up"},
		{"here:80", false, amiss, "give http://host:port"},
	} {
		list := roundTrip(t.Context(), tc.address, tc.insecure)
		if len(list) != 1 || list[0].state != tc.state || !strings.Contains(list[0].change, tc.change) || (list[0].change == "") != (tc.change == "") {
			t.Errorf("%s, insecure %t: %+v; want %s and %q", tc.address, tc.insecure, list, tc.state, tc.change)
		}
	}
}

func TestDoctorRehearsesAndAsksTheServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	cmd := doctorCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--concurrency", "3", "--url", server.URL})
	cmd.SetContext(t.Context())
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kernel stamps", "expected error", "round trip         ", "ms for an empty question", "to change\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
