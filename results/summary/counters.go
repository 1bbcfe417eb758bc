package summary

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// SpecDecode is what speculative decoding did between two readings of /metrics.
type SpecDecode struct {
	// AcceptanceRate is in percent, AcceptanceLength in tokens a draft, the bonus token included.
	AcceptanceRate, AcceptanceLength    float64
	Drafts, DraftTokens, AcceptedTokens int
	// PerPosition is the share of drafts whose token at this position was accepted, by ascending position.
	PerPosition []float64
}

// Diffusion is what a diffusion model did between two readings of /metrics.
type Diffusion struct {
	CommittedThroughput, StepsPerCanvas, CommittedPerStep float64
	CommittedTokens, DenoisingSteps, CanvasPositions      int
}

type specCounters struct {
	drafts, draftTokens, accepted int
	positions                     map[int]int
}

// SpecDecoding compares two texts of /metrics; nil when they tell nothing of speculative decoding, or nothing happened.
// It reads them as vLLM's client does: see counterLines.
func SpecDecoding(before, after string) *SpecDecode {
	b, a := readSpec(before), readSpec(after)
	if a == nil || b == nil {
		return nil
	}
	s := &SpecDecode{
		Drafts: a.drafts - b.drafts, DraftTokens: a.draftTokens - b.draftTokens, AcceptedTokens: a.accepted - b.accepted,
	}
	if s.DraftTokens <= 0 {
		return nil
	}
	s.AcceptanceRate = float64(s.AcceptedTokens) / float64(s.DraftTokens) * 100
	if s.Drafts > 0 {
		s.AcceptanceLength = 1 + float64(s.AcceptedTokens)/float64(s.Drafts)
		positions := maps.Clone(b.positions)
		maps.Copy(positions, a.positions)
		for _, p := range slices.Sorted(maps.Keys(positions)) {
			now, ok := a.positions[p]
			if !ok {
				now = b.positions[p]
			}
			s.PerPosition = append(s.PerPosition, float64(now-b.positions[p])/float64(s.Drafts))
		}
	}
	return s
}

func readSpec(text string) *specCounters {
	c := specCounters{positions: map[int]int{}}
	found := false
	for name, line := range counterLines(text, "vllm:spec_decode") {
		found = true
		switch {
		case strings.Contains(name, "num_drafts"):
			c.drafts += line.value
		case strings.Contains(name, "num_draft_tokens"):
			c.draftTokens += line.value
		case strings.Contains(name, "num_accepted_tokens_per_pos"):
			if p, ok := positionOf(line.labels); ok {
				c.positions[p] += line.value
			}
		case strings.Contains(name, "num_accepted_tokens"):
			c.accepted += line.value
		}
	}
	if !found {
		return nil
	}
	return &c
}

func positionOf(labels string) (int, bool) {
	_, rest, ok := strings.Cut(labels, `position="`)
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return 0, false
	}
	p, err := strconv.Atoi(digits)
	return p, err == nil
}

// DiffusionDecoding compares two texts of /metrics; nil when they tell nothing of diffusion, or nothing was committed.
func DiffusionDecoding(before, after string, duration float64) *Diffusion {
	b, a := readDiffusion(before), readDiffusion(after)
	if a == nil || b == nil {
		return nil
	}
	d := &Diffusion{CanvasPositions: a[1] - b[1], CommittedTokens: a[2] - b[2]}
	steps, committed := float64(a[0]-b[0]), float64(d.CommittedTokens)
	if steps <= 0 || committed <= 0 {
		return nil
	}
	block := float64(d.CanvasPositions) / steps
	canvases := 0.0
	if block > 0 {
		canvases = committed / block
	}
	// A canvas ends with one step that commits it and denoises nothing.
	denoising := steps - canvases
	d.DenoisingSteps = int(denoising)
	d.CommittedThroughput = committed / duration
	if canvases > 0 {
		d.StepsPerCanvas = denoising / canvases
	}
	if denoising > 0 {
		d.CommittedPerStep = committed / denoising
	}
	return d
}

func readDiffusion(text string) *[3]int {
	var c [3]int
	found := false
	for name, line := range counterLines(text, "vllm:diffusion") {
		found = true
		switch {
		case strings.Contains(name, "num_denoising_steps"):
			c[0] += line.value
		case strings.Contains(name, "num_canvas_positions"):
			c[1] += line.value
		case strings.Contains(name, "num_committed_tokens"):
			c[2] += line.value
		}
	}
	if !found {
		return nil
	}
	return &c
}

type counterLine struct {
	labels string
	value  int
}

// counterLines are the counters of a /metrics text whose name starts with prefix and ends in _total, read by
// the rule of vLLM's client: the name ends at a brace or blank, the value is everything after the first
// blank, cut to a whole number. So a label value with a blank, or a time stamp, makes a line unreadable, and it is passed over.
func counterLines(text, prefix string) func(yield func(name string, line counterLine) bool) {
	return func(yield func(string, counterLine) bool) {
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			if !strings.HasPrefix(line, prefix) {
				continue
			}
			end := strings.IndexAny(line, "{ \t")
			if end < 0 || !strings.HasSuffix(line[:end], "_total") {
				continue
			}
			blank := strings.IndexAny(line, " \t")
			if blank < 0 {
				continue
			}
			f, err := strconv.ParseFloat(strings.TrimSpace(line[blank:]), 64)
			if err != nil || math.IsNaN(f) || math.Abs(f) > 1<<62 {
				continue
			}
			if !yield(line[:end], counterLine{line[end:blank], int(f)}) {
				return
			}
		}
	}
}
