package report

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// Schema names the layout of report.json. Within a version keys are only added.
const Schema = "servebench.report/1"

type document struct {
	Schema   string             `json:"schema"`
	Tool     string             `json:"tool,omitempty"`
	Settings *results.Settings  `json:"settings"`
	Seed     int64              `json:"seed"`
	Server   string             `json:"server_version,omitempty"`
	Machine  *results.Machine   `json:"machine"`
	Prompts  *results.Prompts   `json:"prompts"`
	Stamps   string             `json:"stamps,omitempty"`
	HTTP     string             `json:"http_version,omitempty"`
	Outcome  results.Outcome    `json:"outcome,omitempty"`
	Reason   string             `json:"reason,omitempty"`
	Complete bool               `json:"complete"`
	Why      string             `json:"incomplete_because,omitempty"`
	Began    string             `json:"began,omitempty"`
	Ended    string             `json:"ended,omitempty"`
	Duration *float64           `json:"duration_s,omitempty"`
	Basis    results.Basis      `json:"basis"`
	Exact    bool               `json:"exact"`
	Requests requestCounts      `json:"requests"`
	Failures []failureClass     `json:"failures"`
	Tokens   tokenCounts        `json:"tokens"`
	Rates    rates              `json:"throughput"`
	Goodput  *goodput           `json:"goodput,omitempty"`
	Bounds   []objective        `json:"objectives,omitempty"`
	InFlight inFlight           `json:"in_flight"`
	Latency  []distribution     `json:"latency"`
	Stalls   *stalls            `json:"stalls,omitempty"`
	VLLM     json.RawMessage    `json:"vllm"`
	Client   client             `json:"client"`
	Audit    []results.Check    `json:"audit,omitempty"`
	Profile  *results.Profile   `json:"profile,omitempty"`
	Metrics  []metricDefinition `json:"metrics"`
	Warnings []string           `json:"warnings"`
}

type requestCounts struct {
	Planned   int `json:"planned,omitempty"`
	Sent      int `json:"sent"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Warmups   int `json:"warmups"`
}

type failureClass struct {
	Class    string    `json:"class"`
	Count    int       `json:"count"`
	Examples []example `json:"examples"`
}

type example struct {
	ID      int    `json:"id"`
	Status  int    `json:"status,omitempty"`
	Message string `json:"message"`
}

type tokenCounts struct {
	Input         *int `json:"input,omitempty"`
	Output        *int `json:"output,omitempty"`
	Cached        *int `json:"cached,omitempty"`
	InputUnknown  int  `json:"requests_with_unknown_input"`
	OutputUnknown int  `json:"requests_with_unknown_output"`
	Estimated     int  `json:"requests_counted_by_client"`
}

type rates struct {
	Requests *float64 `json:"requests_per_s,omitempty"`
	Input    *float64 `json:"input_tokens_per_s,omitempty"`
	Output   *float64 `json:"output_tokens_per_s,omitempty"`
	Total    *float64 `json:"total_tokens_per_s,omitempty"`
}

type goodput struct {
	Objectives []results.Objective `json:"objectives"`
	Requests   int                 `json:"requests"`
	Share      float64             `json:"share"`
	PerSecond  *float64            `json:"requests_per_s,omitempty"`
}

// An objective is one of the whole run, and what became of it.
type objective = summary.BoundResult

type inFlight struct {
	Peak *int     `json:"peak,omitempty"`
	Mean *float64 `json:"mean,omitempty"`
}

type distribution struct {
	Metric      string        `json:"metric"`
	Basis       results.Basis `json:"basis"`
	Unit        string        `json:"unit"`
	Count       int           `json:"count"`
	Mean        float64       `json:"mean"`
	Std         float64       `json:"std"`
	Min         float64       `json:"min"`
	Max         float64       `json:"max"`
	Percentiles percentiles   `json:"percentiles"`
	Exact       bool          `json:"exact"`
	Outside     int           `json:"outside_histogram,omitempty"`
}

// percentiles is an object whose keys ascend.
type percentiles []summary.Percentile

// MarshalJSON writes {"50":1.5,"99.9":2}.
func (p percentiles) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, v := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(v.Value)
		if err != nil {
			return nil, err
		}
		b.WriteString(`"` + percentileName(v.P) + `":`)
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type client struct {
	Verdict     summary.State `json:"verdict"`
	Reasons     []string      `json:"reasons"`
	Late        int           `json:"late_over_1ms"`
	Dated       int           `json:"requests_with_lateness"`
	Events      int           `json:"events"`
	Shared      int           `json:"events_sharing_a_read"`
	SharedShare *float64      `json:"share_of_events_sharing_a_read,omitempty"`
	NoUsage     int           `json:"replies_without_usage"`
	Truncated   int           `json:"truncated_streams"`
	CPUShare    *float64      `json:"cpu_share,omitempty"`
	CPUSeconds  *float64      `json:"cpu_s,omitempty"`
	Cores       int           `json:"cores,omitempty"`
	GCPauses    *int64        `json:"gc_pauses,omitempty"`
	GCMax       *float64      `json:"gc_pause_max_ms,omitempty"`
	GCTotal     *float64      `json:"gc_pause_total_ms,omitempty"`
	Scheduler   *float64      `json:"scheduler_p99_ms,omitempty"`
	CPUWait     *float64      `json:"cpu_wait_s,omitempty"`
	Steal       *float64      `json:"steal_s,omitempty"`
	// Pressure is in shares of the time, as the kernel's pressure files are.
	Pressure    map[string]float64 `json:"pressure,omitempty"`
	PacketDrops *int64             `json:"packet_drops,omitempty"`
	Retransmits *int64             `json:"tcp_retransmits,omitempty"`
	// Queue is as the manifest has it.
	Queue     *results.ReceiveQueue `json:"receive_queue,omitempty"`
	ClockStep *float64              `json:"clock_step_ms,omitempty"`
	TTFTError *float64              `json:"ttft_error_p99_ms,omitempty"`
	ITLError  *float64              `json:"itl_error_p99_ms,omitempty"`
	LateTTFT  *float64              `json:"late_reads_ttft_error_p99_ms,omitempty"`
	LateITL   *float64              `json:"late_reads_itl_error_p99_ms,omitempty"`
	Canary    *canary               `json:"canary,omitempty"`
}

type canary struct {
	Requests int       `json:"requests"`
	Events   int       `json:"events"`
	TTFT     *ownError `json:"ttft_error_ms,omitempty"`
	ITL      *ownError `json:"itl_error_ms,omitempty"`
}

type ownError struct {
	P50 float64 `json:"50"`
	P99 float64 `json:"99"`
	Max float64 `json:"max"`
}

func ownErrorOf(e *results.Error) *ownError {
	if e == nil {
		return nil
	}
	return &ownError{float64(e.P50) / 1e6, float64(e.P99) / 1e6, float64(e.Max) / 1e6}
}

type metricDefinition struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Unit   string `json:"unit"`
	Doc    string `json:"definition"`
	Source string `json:"source"`
}

// JSON writes every figure of the report; docs/report-json.md explains its keys.
func JSON(w io.Writer, s *summary.Summary) error {
	m := s.Manifest
	d := document{
		Schema: Schema, Tool: m.Tool, Settings: &m.Settings, Seed: m.Seed, Server: m.Server.Version, Machine: &m.Machine, Prompts: &m.Prompts,
		Stamps: m.Stamps, HTTP: m.HTTPVersion, Outcome: m.Outcome, Reason: m.Reason, Complete: s.Complete, Why: s.Why,
		Began: stamp(m.Began), Ended: stamp(m.Ended), Basis: s.Basis, Exact: s.Exact,
		Requests: requestCounts{m.Settings.NumPrompts, s.Requests, s.Completed, s.Failed, s.Kinds[results.Warmup]},
		Failures: []failureClass{},
		Tokens:   tokenCounts{s.InputTokens, s.OutputTokens, s.CachedTokens, s.InputUnknown, s.OutputUnknown, s.Health.Estimated},
		Rates:    rates{s.RequestRate, s.InputRate, s.OutputRate, s.TotalTokenRate},
		Bounds:   s.Bounds,
		InFlight: inFlight{s.InFlightPeak, s.InFlightMean},
		Latency:  []distribution{}, Stalls: stallsOf(s), VLLM: vllmFigures(s), Client: clientOf(s), Audit: m.Audit, Profile: m.Profile,
		Warnings: append([]string{}, s.Warnings...),
	}
	if s.Duration > 0 {
		d.Duration = &s.Duration
	}
	if g := s.Goodput; g != nil {
		d.Goodput = &goodput{g.Objectives, g.Requests, g.Share, g.PerSecond}
	}
	for _, class := range s.Failures {
		f := failureClass{class.Class, class.Count, nil}
		for _, e := range class.Examples {
			f.Examples = append(f.Examples, example(e))
		}
		d.Failures = append(d.Failures, f)
	}
	for _, dist := range s.Dists {
		d.Latency = append(d.Latency, distribution{
			dist.Metric.Name, dist.Basis, dist.Metric.Unit, dist.Count, dist.Mean, dist.Std, dist.Min, dist.Max,
			dist.Percentiles, dist.Exact, dist.Outside,
		})
	}
	for _, metric := range results.Metrics {
		d.Metrics = append(d.Metrics, metricDefinition{metric.Name, metric.Title, metric.Unit, metric.Doc, metric.Source})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

func stamp(m results.Moment) string {
	if m == 0 {
		return ""
	}
	return m.Time().UTC().Format(time.RFC3339Nano)
}

func clientOf(s *summary.Summary) client {
	h := &s.Health
	c := client{
		Verdict: h.State, Reasons: append([]string{}, h.Reasons...), Late: h.Late, Dated: h.Dated, Events: h.Events, Shared: h.Shared,
		NoUsage: h.NoUsage, Truncated: h.Truncated, CPUShare: h.CPUShare,
	}
	if share, ok := h.SharedShare(); ok {
		c.SharedShare = &share
	}
	if cl := h.Client; cl != nil {
		c.Cores, c.GCPauses, c.Retransmits = cl.Cores, cl.GCPauses, cl.Retransmits
		c.Pressure, c.PacketDrops, c.Queue = cl.Pressure, cl.PacketDrops, cl.ReceiveQueue
		if cl.CPUWait != nil {
			c.CPUWait = new(cl.CPUWait.Seconds())
		}
		if cl.Steal != nil {
			c.Steal = new(cl.Steal.Seconds())
		}
		if k := cl.Canary; k != nil {
			c.Canary = &canary{k.Requests, k.Events, ownErrorOf(k.TTFT), ownErrorOf(k.ITL)}
		}
		if cl.CPU != nil {
			c.CPUSeconds = new(cl.CPU.Seconds())
		}
		c.GCMax, c.GCTotal, c.Scheduler = inMilliseconds(cl.GCPauseMax), inMilliseconds(cl.GCPauseTotal), inMilliseconds(cl.SchedulerP99)
		c.ClockStep = inMilliseconds(cl.ClockStep)
	}
	for _, e := range h.OwnErrors() {
		if e.Metric == "TTFT" {
			c.TTFTError = inMilliseconds(&e.P99)
		} else {
			c.ITLError = inMilliseconds(&e.P99)
		}
	}
	c.LateTTFT, c.LateITL = inMilliseconds(h.LateTTFT), inMilliseconds(h.LateITL)
	return c
}

func inMilliseconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	return new(float64(*d) / 1e6)
}

// vllmFigures are the numbers of vLLM's result file, without its lists of requests. Nothing measured is zero there, as in vLLM.
func vllmFigures(s *summary.Summary) json.RawMessage {
	result := &object{}
	resultPart(result, s)
	figures := &object{}
	for _, key := range result.keys {
		switch value := result.values[key]; {
		case value[0] == '[' && key != "spec_decode_per_position_acceptance_rates":
		case !json.Valid(value): // NaN, Infinity
		default:
			figures.set(key, value)
		}
	}
	return figures.append(nil)
}
