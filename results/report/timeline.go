package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"

	"servebench/results/summary"
)

//go:embed timeline.html
var timelineText string

// timelineEvents is how many gaps a page shows one by one; beyond it neighbours of one kind are drawn as one.
const timelineEvents = 2_000_000

type timelineKey struct {
	Label string
	Color template.CSS
}

// Timeline writes a page with one row a successful request, the first on top: the time to the first token, then each gap, in the
// colour of its length. Limits are the two bounds between the colours, in milliseconds. The page needs nothing but a browser.
func Timeline(w io.Writer, s *summary.Summary, limits [2]float64) error {
	if s.Outputs == nil && s.Completed > 0 {
		return errors.New("timeline: the run is too long: its requests were not kept")
	}
	if !(limits[0] >= 0 && limits[1] >= limits[0]) {
		return fmt.Errorf("timeline: bounds %g and %g do not ascend", limits[0], limits[1])
	}
	low, high := strconv.FormatFloat(limits[0], 'f', -1, 64), strconv.FormatFloat(limits[1], 'f', -1, 64)
	names := []string{"TTFT", "ITL < " + low + "ms", low + "ms ≤ ITL < " + high + "ms", "ITL ≥ " + high + "ms"}
	colors := []string{"#636EFA", "#109618", "#FF7F0E", "#D62728"}
	keys := make([]timelineKey, len(names))
	for i := range names {
		keys[i] = timelineKey{names[i], template.CSS(colors[i])}
	}
	return template.Must(template.New("timeline").Parse(timelineText)).Execute(w, map[string]any{
		"Title": title(&s.Manifest.Settings), "Keys": keys, "Names": names, "Colors": colors,
		"Rows": template.JS(timelineRows(s, limits, timelineEvents)),
	})
}

// timelineRows is the page's data: numbers and digits only, so it is safe in a script.
func timelineRows(s *summary.Summary, limits [2]float64, most int) []byte {
	first, events := math.Inf(1), 0
	for i := range s.Outputs {
		if o := &s.Outputs[i]; o.Success {
			first = min(first, o.Start)
			events += len(o.ITL)
		}
	}
	kind := func(seconds float64) int {
		switch ms := seconds * 1000; {
		case ms < limits[0]:
			return 1
		case ms < limits[1]:
			return 2
		}
		return 3
	}
	b := []byte{'['}
	for i := range s.Outputs {
		o := &s.Outputs[i]
		if !o.Success {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',', '\n')
		}
		tokens := o.OutputTokens
		if i < len(s.VLLM.OutputLens) {
			tokens = s.VLLM.OutputLens[i]
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ',')
		b = microseconds(b, o.Start-first)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(o.PromptLen), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(tokens), 10)
		b = append(b, ',', '[')
		b = microseconds(b, o.TTFT)
		kinds := []byte{'0'}
		for j := 0; j < len(o.ITL); j++ {
			gap := o.ITL[j]
			kinds = append(kinds, '0'+byte(kind(gap)))
			if events > most {
				for j+1 < len(o.ITL) && kind(o.ITL[j+1]) == kind(o.ITL[j]) {
					j++
					gap += o.ITL[j]
				}
			}
			b = append(b, ',')
			b = microseconds(b, gap)
		}
		b = append(b, ']', ',', '"')
		b = append(b, kinds...)
		b = append(b, '"', ']')
	}
	return append(b, ']')
}

func microseconds(b []byte, seconds float64) []byte {
	us := math.Round(seconds*1e7) / 10
	if math.IsNaN(us) || math.IsInf(us, 0) {
		us = 0
	}
	return strconv.AppendFloat(b, us, 'f', -1, 64)
}
