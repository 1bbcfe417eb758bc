package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// A Suite is what a JUnit file says of one run, or of one point of a sweep.
type Suite struct {
	Name string
	// Began and Seconds may be zero: not known.
	Began   results.Moment
	Seconds float64
	Host    string
	// Properties say what was run.
	Properties []results.Pair
	Cases      []Case
}

// A Case is one thing that was to hold.
type Case struct {
	// Class groups cases: run, objectives, client, audit, search.
	Class, Name string
	// Seconds may be zero: not known.
	Seconds float64
	State   CaseState
	// Message says in a sentence why it did not hold or was skipped, Output anything else worth reading.
	Message, Output string
}

// A CaseState is how a case ended.
type CaseState int

// The states: it holds; it does not; it could not be carried out; there was nothing to judge by.
const (
	CasePassed CaseState = iota
	CaseFailed
	CaseError
	CaseSkipped
)

type junitFile struct {
	XMLName xml.Name     `xml:"testsuites"`
	Name    string       `xml:"name,attr"`
	Counts  junitCounts  `xml:",any,attr"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Counts     junitCounts     `xml:",any,attr"`
	Timestamp  string          `xml:"timestamp,attr,omitempty"`
	Host       string          `xml:"hostname,attr,omitempty"`
	Properties []junitProperty `xml:"properties>property,omitempty"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitCounts []xml.Attr

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr,omitempty"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
}

// WriteJUnit writes suites as JUnit XML, which pipelines show as tests.
func WriteJUnit(w io.Writer, name string, suites []Suite) error {
	file := junitFile{Name: name}
	var all junitCount
	for _, suite := range suites {
		out := junitSuite{Name: suite.Name, Host: suite.Host}
		if suite.Began != 0 {
			out.Timestamp = suite.Began.Time().UTC().Format("2006-01-02T15:04:05")
		}
		for _, p := range suite.Properties {
			out.Properties = append(out.Properties, junitProperty{p.Key, p.Value})
		}
		count := junitCount{seconds: suite.Seconds}
		for _, c := range suite.Cases {
			one := junitCase{Class: c.Class, Name: c.Name, Time: seconds(c.Seconds), Output: c.Output}
			message := &junitMessage{Message: c.Message, Type: c.Class}
			count.tests++
			switch c.State {
			case CaseFailed:
				one.Failure = message
				count.failures++
			case CaseError:
				one.Error = message
				count.errors++
			case CaseSkipped:
				one.Skipped = &junitMessage{Message: c.Message}
				count.skipped++
			}
			out.Cases = append(out.Cases, one)
		}
		out.Counts = count.attributes()
		all.add(count)
		file.Suites = append(file.Suites, out)
	}
	file.Counts = all.attributes()
	text, err := xml.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	return err
}

type junitCount struct {
	tests, failures, errors, skipped int
	seconds                          float64
}

func (c *junitCount) add(d junitCount) {
	c.tests, c.failures, c.errors, c.skipped, c.seconds = c.tests+d.tests, c.failures+d.failures, c.errors+d.errors, c.skipped+d.skipped, c.seconds+d.seconds
}

func (c *junitCount) attributes() junitCounts {
	attribute := func(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }
	list := junitCounts{
		attribute("tests", strconv.Itoa(c.tests)), attribute("failures", strconv.Itoa(c.failures)), attribute("errors", strconv.Itoa(c.errors)),
		attribute("skipped", strconv.Itoa(c.skipped)),
	}
	if c.seconds > 0 {
		list = append(list, attribute("time", seconds(c.seconds)))
	}
	return list
}

// seconds is a time as JUnit writes it; empty when not known.
func seconds(s float64) string {
	if s == 0 {
		return ""
	}
	return strconv.FormatFloat(s, 'f', 3, 64)
}

// JUnit writes the run as one suite: that it went to its end, each objective, that the client kept up, and each check of the audit.
func JUnit(w io.Writer, s *summary.Summary) error {
	m := s.Manifest
	suite := Suite{Name: title(&m.Settings), Began: m.Began, Seconds: s.Duration, Host: m.Machine.Host, Properties: properties(m)}
	suite.Cases = append(suite.Cases, ended(s))
	for _, b := range s.Bounds {
		suite.Cases = append(suite.Cases, ObjectiveCase("", b))
	}
	suite.Cases = append(suite.Cases, ClientCase("", s.Health.State, s.Health.Reasons))
	for _, check := range m.Audit {
		c := Case{Class: "audit", Name: check.Name}
		switch check.State {
		case results.Missed:
			c.State, c.Message = CaseFailed, check.Detail
		case results.NotCheckable:
			c.State, c.Message = CaseSkipped, check.Detail
		default:
			c.Output = check.Detail
		}
		suite.Cases = append(suite.Cases, c)
	}
	return WriteJUnit(w, "servebench", []Suite{suite})
}

// ended says whether the run went to its end.
func ended(s *summary.Summary) Case {
	c := Case{
		Class: "run", Name: "the run goes to its end", Seconds: s.Duration,
		Output: fmt.Sprintf("%d requests completed, %d failed", s.Completed, s.Failed),
	}
	switch m := s.Manifest; {
	case m.Outcome == results.Failed || m.Outcome == results.Interrupted:
		c.State, c.Message = CaseError, oneLine(m.Reason)
	case !s.Complete:
		c.State, c.Message = CaseError, s.Why
	}
	return c
}

// ObjectiveCase is an objective as a case, with the value that was measured; prefix goes before its name.
func ObjectiveCase(prefix string, b summary.BoundResult) Case {
	c := Case{Class: "objectives", Name: prefix + b.Bound}
	switch {
	case b.Met:
		c.Output = "measured: " + b.Measured()
	case b.Value == nil:
		c.State, c.Message = CaseFailed, fmt.Sprintf("the figure of %s could not be measured", b.Bound)
	default:
		c.State, c.Message = CaseFailed, fmt.Sprintf("measured %s, the bound is %s", b.Measured(), b.Bound)
	}
	return c
}

// ClientCase says whether the client kept up with the load. A degraded one still measured: its reasons stand beside.
func ClientCase(prefix string, state summary.State, reasons []string) Case {
	c := Case{Class: "client", Name: prefix + "the client keeps up with the load", Output: string(state)}
	if len(reasons) > 0 {
		c.Output += ": " + strings.Join(reasons, "; ")
	}
	switch state {
	case summary.ClientBound:
		c.State, c.Message = CaseFailed, "the client, not the server, limited the run"
		if len(reasons) > 0 {
			c.Message += ": " + strings.Join(reasons, "; ")
		}
	case summary.Unmeasured:
		c.State, c.Message = CaseSkipped, "nothing was measured to judge it by"
	}
	return c
}

// properties say what was run.
func properties(m *results.Manifest) []results.Pair {
	set := &m.Settings
	var list []results.Pair
	add := func(key, value string) {
		if value != "" {
			list = append(list, results.Pair{Key: key, Value: value})
		}
	}
	add("tool", m.Tool)
	add("model", set.ModelID)
	add("server", m.Server.Version)
	add("backend", set.Backend)
	add("dataset", set.Dataset)
	add("seed", strconv.FormatInt(m.Seed, 10))
	if m.Ended != 0 {
		add("ended", m.Ended.Time().UTC().Format(time.RFC3339Nano))
	}
	for _, p := range set.Metadata {
		add("metadata."+p.Key, p.Value)
	}
	return list
}
