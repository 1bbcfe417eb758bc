package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"servebench/internal/lazy"
	"servebench/internal/python"
	"servebench/results"
	"servebench/results/summary"
)

// maxFile bounds a result file: a hundred thousand requests of a thousand gaps each come to 2 GB.
const maxFile = 4 << 30

// A vllmResult is what a result file of `vllm bench serve` says, as far as a comparison needs it. Lists have one entry a
// request, failures included; most are there with --save-detailed only.
type vllmResult struct {
	Date           string          `json:"date"`
	Backend        string          `json:"backend"`
	EndpointType   string          `json:"endpoint_type"`
	ModelID        string          `json:"model_id"`
	TokenizerID    string          `json:"tokenizer_id"`
	NumPrompts     *int            `json:"num_prompts"`
	RequestRate    *results.Number `json:"request_rate"`
	Burstiness     *results.Number `json:"burstiness"`
	MaxConcurrency *int            `json:"max_concurrency"`
	RampUp         string          `json:"ramp_up_strategy"`
	RampUpStart    float64         `json:"ramp_up_start_rps"`
	RampUpEnd      float64         `json:"ramp_up_end_rps"`

	Duration         *float64 `json:"duration"`
	Completed        *int     `json:"completed"`
	Failed           *int     `json:"failed"`
	TotalInput       *float64 `json:"total_input_tokens"`
	TotalOutput      *float64 `json:"total_output_tokens"`
	RequestRateDone  *float64 `json:"request_throughput"`
	Goodput          *float64 `json:"request_goodput"`
	OutputThroughput *float64 `json:"output_throughput"`
	TotalThroughput  *float64 `json:"total_token_throughput"`

	InputLens  []float64   `json:"input_lens"`
	OutputLens []float64   `json:"output_lens"`
	TTFTs      []float64   `json:"ttfts"`
	ITLs       [][]float64 `json:"itls"`
	Latencies  []float64   `json:"latencies"`
	StartTimes []float64   `json:"start_times"`
	QueueTimes []float64   `json:"queue_times"`
	Errors     []string    `json:"errors"`
}

func openVLLM(path string, o Options) ([]*Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadVLLM(path, io.LimitReader(f, maxFile), o)
}

// ReadVLLM reads the result file of `vllm bench serve`: one result, several one a line (--append-result), or a
// list of them (a sweep's summary).
func ReadVLLM(name string, r io.Reader, o Options) ([]*Run, error) {
	if o.Basis != "" && o.Basis != results.VLLM {
		return nil, fmt.Errorf("%s: a result file of vllm bench serve counts as vLLM does: basis %s needs a run folder", name, o.Basis)
	}
	var runs []*Run
	dec := json.NewDecoder(r)
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: byte %d: this is no result file of vllm bench serve: %w", name, dec.InputOffset(), err)
		}
		list := []json.RawMessage{raw}
		if bytes.HasPrefix(raw, []byte("[")) {
			list = nil
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		for _, one := range list {
			run, err := ofVLLM(one, o)
			if err != nil {
				return nil, fmt.Errorf("%s: result %d: %w", name, len(runs)+1, err)
			}
			run.Name = name
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("%s holds no result", name)
	}
	if len(runs) > 1 {
		for i, run := range runs {
			run.Name = fmt.Sprintf("%s#%d", name, i+1)
		}
	}
	return runs, nil
}

// statedKey is how a result file names its statistics.
var statedKey = lazy.Regexp(`^(mean|median|p[0-9.]+)_([a-z0-9_]+)_ms$`)

func ofVLLM(raw json.RawMessage, o Options) (*Run, error) {
	var v vllmResult
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	if v.Completed == nil || v.Duration == nil {
		return nil, errors.New("it has no completed or duration: this is no result of vllm bench serve")
	}
	n := max(len(v.Latencies), len(v.TTFTs))
	failed := 0
	if v.Failed != nil {
		failed = *v.Failed
	}
	if *v.Completed < 0 || failed < 0 || *v.Duration < 0 {
		return nil, errors.New("completed, failed and duration cannot be negative")
	}
	for _, list := range []struct {
		name   string
		length int
	}{
		{"input_lens", len(v.InputLens)}, {"output_lens", len(v.OutputLens)}, {"ttfts", len(v.TTFTs)}, {"itls", len(v.ITLs)},
		{"latencies", len(v.Latencies)}, {"start_times", len(v.StartTimes)}, {"queue_times", len(v.QueueTimes)}, {"errors", len(v.Errors)},
	} {
		if list.length != 0 && list.length != n {
			return nil, fmt.Errorf("%s has %d entries, other lists %d", list.name, list.length, n)
		}
	}
	r := &Run{
		Basis: results.VLLM, series: map[string]*series{}, duration: *v.Duration, CachedShare: math.NaN(),
		Client: summary.Unmeasured, Identity: hash(string(raw)), stated: map[string]float64{},
	}
	r.vllmRows(&v, n, failed)
	if n > 0 && r.Completed != *v.Completed {
		return nil, fmt.Errorf("%d requests of its lists succeeded, but completed says %d", r.Completed, *v.Completed)
	}
	r.vllmSeries(&v, o)
	r.vllmStated(raw, &v)
	r.vllmFields(&v)
	return r, nil
}

// vllmRows makes the requests. A failed one has a latency of zero.
func (r *Run) vllmRows(v *vllmResult, n, failed int) {
	first := math.Inf(1)
	for _, s := range v.StartTimes {
		first = min(first, s)
	}
	at := func(list []float64, i int) float64 {
		if i < len(list) {
			return list[i]
		}
		return math.NaN()
	}
	for i := range n {
		w := row{id: i, input: at(v.InputLens, i), output: at(v.OutputLens, i), end: math.NaN()}
		switch {
		case i < len(v.Errors) && v.Errors[i] != "":
		case i < len(v.Latencies):
			w.ok = v.Latencies[i] > 0
		default:
			w.ok = v.TTFTs[i] > 0
		}
		if !w.ok {
			w.output = math.NaN()
		}
		if i < len(v.StartTimes) && i < len(v.Latencies) {
			w.end = v.StartTimes[i] - first + v.Latencies[i]
		}
		r.rows = append(r.rows, w)
	}
	r.count("")
	if n == 0 {
		r.Requests, r.Completed, r.Failed = *v.Completed+failed, *v.Completed, failed
	}
	if len(v.InputLens) == 0 {
		r.load = 0 // nothing says that two files hold the same load
		if v.TotalInput != nil && r.Completed > 0 {
			r.InputLength = *v.TotalInput / float64(r.Completed)
		}
	}
	if len(v.OutputLens) == 0 && v.TotalOutput != nil && r.Completed > 0 {
		r.OutputLength = *v.TotalOutput / float64(r.Completed)
	}
}

func (r *Run) vllmSeries(v *vllmResult, o Options) {
	add := func(name string, of func(into []float64, i int) []float64) {
		s := &series{offsets: []int{0}}
		for i := range r.rows {
			if r.rows[i].ok {
				s.values = of(s.values, i)
			}
			s.offsets = append(s.offsets, len(s.values))
		}
		if len(s.values) > 0 {
			r.series[name] = s
		}
	}
	for _, m := range o.latencies() {
		switch m.Name {
		case "ttft":
			if len(v.TTFTs) > 0 {
				add(m.Name, func(into []float64, i int) []float64 { return append(into, v.TTFTs[i]*1e3) })
			}
		case "e2el":
			if len(v.Latencies) > 0 {
				add(m.Name, func(into []float64, i int) []float64 { return append(into, v.Latencies[i]*1e3) })
			}
		case "tpot":
			if len(v.TTFTs) > 0 && len(v.Latencies) > 0 && len(v.OutputLens) > 0 {
				add(m.Name, func(into []float64, i int) []float64 {
					if v.OutputLens[i] < 2 {
						return into
					}
					return append(into, (v.Latencies[i]-v.TTFTs[i])/(v.OutputLens[i]-1)*1e3)
				})
			}
		case "itl":
			if len(v.ITLs) > 0 {
				add(m.Name, func(into []float64, i int) []float64 {
					for _, gap := range v.ITLs[i] {
						into = append(into, gap*1e3)
					}
					return into
				})
			}
		case "client_queue_time":
			if len(v.QueueTimes) > 0 {
				add(m.Name, func(into []float64, i int) []float64 { return append(into, v.QueueTimes[i]*1e3) })
			}
		}
	}
}

// vllmStated keeps the statistics that the file states.
func (r *Run) vllmStated(raw json.RawMessage, v *vllmResult) {
	var keys map[string]json.RawMessage
	if json.Unmarshal(raw, &keys) != nil {
		return
	}
	for key, value := range keys {
		match := statedKey().FindStringSubmatch(key)
		number, err := strconv.ParseFloat(string(value), 64)
		if match == nil || err != nil {
			continue
		}
		statistic := match[1]
		if statistic == "median" {
			statistic = "p50"
		}
		if r.Completed > 0 {
			r.stated[match[2]+" "+statistic] = number
		}
	}
	for name, value := range map[string]*float64{
		"request_throughput": v.RequestRateDone, "output_throughput": v.OutputThroughput, "total_token_throughput": v.TotalThroughput, "goodput": v.Goodput,
	} {
		if value != nil {
			r.stated[name+" "+rateStatistic] = *value
		}
	}
}

func (r *Run) vllmFields(v *vllmResult) {
	add := func(name, value string) {
		if value != "" {
			r.Fields = append(r.Fields, Field{name, value})
		}
	}
	add("model", v.ModelID)
	backend := v.Backend
	if backend == "" {
		backend = v.EndpointType
	}
	add("backend", backend)
	add("basis", string(r.Basis))
	add("tokenizer", v.TokenizerID)
	if v.NumPrompts != nil {
		add("requests", strconv.Itoa(*v.NumPrompts))
	}
	switch {
	case v.RampUp != "":
		add("rate", fmt.Sprintf("%s %g to %g", v.RampUp, v.RampUpStart, v.RampUpEnd))
	case v.RequestRate != nil:
		add("rate", python.Float(float64(*v.RequestRate)))
	}
	if v.Burstiness != nil {
		add("burstiness", python.Float(float64(*v.Burstiness)))
	}
	limit := 0
	if v.MaxConcurrency != nil {
		limit = *v.MaxConcurrency
	}
	add("concurrency", concurrency(limit))
}
