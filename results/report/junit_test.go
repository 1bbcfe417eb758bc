package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"servebench/results"
	"servebench/results/summary"
)

// elements of a JUnit file as Jenkins' schema has them: the attributes that each may and must have, and its children in their order.
var elements = map[string]struct{ must, may, children []string }{
	"testsuites": {[]string{"name", "tests", "failures", "errors", "skipped"}, []string{"time"}, []string{"testsuite"}},
	"testsuite":  {[]string{"name", "tests", "failures", "errors", "skipped"}, []string{"time", "timestamp", "hostname"}, []string{"properties", "testcase"}},
	"properties": {nil, nil, []string{"property"}},
	"property":   {[]string{"name", "value"}, nil, nil},
	"testcase":   {[]string{"name", "classname"}, []string{"time"}, []string{"failure", "error", "skipped", "system-out"}},
	"failure":    {[]string{"message", "type"}, nil, nil},
	"error":      {[]string{"message", "type"}, nil, nil},
	"skipped":    {[]string{"message"}, nil, nil},
	"system-out": {nil, nil, nil},
}

// readJUnit checks a file against elements and its own counts, and gives each case as classname, name, state and message.
func readJUnit(t *testing.T, text []byte) []string {
	t.Helper()
	if !bytes.HasPrefix(text, []byte(xml.Header)) {
		t.Errorf("no declaration: %.80q", text)
	}
	var open, cases []string
	var lastChild []int
	counts := map[string]map[string]int{"testsuites": {}, "testsuite": {}}
	said := map[string]map[string]string{}
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			name := token.Name.Local
			about, known := elements[name]
			if !known {
				t.Fatalf("there is no <%s> in JUnit", name)
			}
			attributes := map[string]string{}
			for _, a := range token.Attr {
				attributes[a.Name.Local] = a.Value
			}
			for _, must := range about.must {
				if _, ok := attributes[must]; !ok {
					t.Errorf("<%s> has no %s: %v", name, must, attributes)
				}
			}
			for key := range attributes {
				if !strings.Contains(" "+strings.Join(append(about.must, about.may...), " ")+" ", " "+key+" ") {
					t.Errorf("<%s> may not have %s", name, key)
				}
			}
			if len(open) > 0 {
				at := -1
				for i, child := range elements[open[len(open)-1]].children {
					if child == name {
						at = i
					}
				}
				if at < lastChild[len(lastChild)-1] {
					t.Errorf("<%s> in <%s>: not there, or not at that place", name, open[len(open)-1])
				}
				lastChild[len(lastChild)-1] = at
			} else if name != "testsuites" {
				t.Errorf("the file is a <%s>", name)
			}
			open, lastChild = append(open, name), append(lastChild, 0)
			switch name {
			case "testsuites", "testsuite":
				said[name] = attributes
				if name == "testsuite" {
					counts[name] = map[string]int{}
				}
			case "testcase":
				cases = append(cases, attributes["classname"]+": "+attributes["name"])
				counts["testsuites"]["tests"]++
				counts["testsuite"]["tests"]++
			case "failure", "error", "skipped":
				cases[len(cases)-1] += ": " + name + ": " + attributes["message"]
				key := map[string]string{"failure": "failures", "error": "errors", "skipped": "skipped"}[name]
				counts["testsuites"][key]++
				counts["testsuite"][key]++
			}
		case xml.EndElement:
			name := open[len(open)-1]
			open, lastChild = open[:len(open)-1], lastChild[:len(lastChild)-1]
			if name == "testsuites" || name == "testsuite" {
				for _, key := range []string{"tests", "failures", "errors", "skipped"} {
					if said[name][key] != strconv.Itoa(counts[name][key]) {
						t.Errorf("<%s> says %s %s, it holds %d", name, said[name][key], key, counts[name][key])
					}
				}
			}
		}
	}
	return cases
}

func TestJUnit(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(s *summary.Summary)
		want   []string
	}{
		{"objectives, audit", func(*summary.Summary) {}, []string{
			"run: the run goes to its end",
			"objectives: p99 ttft <= 120ms",
			"objectives: goodput >= 99%: failure: measured 82.5 %, the bound is goodput >= 99%",
			"objectives: failures <= 5",
			"objectives: output_throughput >= 200",
			"client: the client keeps up with the load",
			"audit: output tokens: replies and server",
			"audit: TTFT: client and server: skipped: the server has no such counter",
		}},
		{"nothing asked for, cut short, the client too slow", func(s *summary.Summary) {
			s.Bounds, s.Manifest.Audit = nil, []results.Check{{Name: "<Little>", State: results.Missed, Detail: "1 & 2 differ\x00"}}
			s.Manifest.Outcome, s.Manifest.Reason = results.Interrupted, "stopped\nbefore its end"
			s.Health.State, s.Health.Reasons = summary.ClientBound, []string{"late by 30 ms"}
		}, []string{
			"run: the run goes to its end: error: stopped before its end",
			"client: the client keeps up with the load: failure: the client, not the server, limited the run: late by 30 ms",
			"audit: <Little>: failure: 1 & 2 differ\uFFFD",
		}},
		{"a figure that nobody measured", func(s *summary.Summary) {
			s.Bounds, s.Manifest.Audit = []summary.BoundResult{{Bound: "mean itl <= 1s", Unit: "ms"}}, nil
			s.Health.State, s.Health.Reasons = summary.Unmeasured, nil
		}, []string{
			"run: the run goes to its end",
			"objectives: mean itl <= 1s: failure: the figure of mean itl <= 1s could not be measured",
			"client: the client keeps up with the load: skipped: nothing was measured to judge it by",
		}},
	} {
		m, recs := sample(nil)
		m.Machine.Host = "node \"1\""
		s := sumUp(m, recs)
		tc.change(s)
		var out bytes.Buffer
		if err := Write(&out, "junit", s, nil); err != nil {
			t.Fatal(err)
		}
		if got := readJUnit(t, out.Bytes()); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
			t.Errorf("%s:\n%s\nwant\n%s\n%s", tc.name, strings.Join(got, "\n"), strings.Join(tc.want, "\n"), out.Bytes())
		}
	}
}

func TestJUnitOfManySuitesCountsThemAll(t *testing.T) {
	var out bytes.Buffer
	if err := WriteJUnit(&out, "sweep", []Suite{
		{Name: "a", Seconds: 1.5, Cases: []Case{{Class: "run", Name: "1"}, {Class: "run", Name: "2", State: CaseError, Message: "died"}}},
		{Name: "b", Seconds: 2, Cases: []Case{{Class: "run", Name: "1", State: CaseSkipped, Message: "pending"}, {Class: "objectives", Name: "x", State: CaseFailed}}},
	}); err != nil {
		t.Fatal(err)
	}
	if got := readJUnit(t, out.Bytes()); len(got) != 4 {
		t.Errorf("cases are %q", got)
	}
	if want := `<testsuites name="sweep" tests="4" failures="1" errors="1" skipped="1" time="3.500">`; !strings.Contains(out.String(), want) {
		t.Errorf("want %s in\n%s", want, out.String())
	}
}
