package report

import (
	"fmt"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"

	"servebench/results/summary"
)

// The picture has 14 by 10 inches at 150 dots an inch, as vLLM's.
const (
	statsWidth  = 2100
	statsHeight = 1500
	statsBins   = 30
)

var (
	promptColor = color.RGBA{0x63, 0x6e, 0xfa, 0xff}
	outputColor = color.RGBA{0xff, 0x7f, 0x0e, 0xff}
	totalColor  = color.RGBA{0x10, 0x96, 0x18, 0xff}
	gridColor   = color.RGBA{0xdd, 0xdd, 0xdd, 0xff}
)

// DatasetStats draws, as PNG, how long prompts, outputs and both together are: three histograms of thirty
// bins, and a bar for each request.
func DatasetStats(w io.Writer, s *summary.Summary) error {
	var prompts, outputs []int
	for i := range s.Outputs {
		output := s.Outputs[i].OutputTokens
		if i < len(s.VLLM.OutputLens) {
			output = s.VLLM.OutputLens[i]
		}
		prompts = append(prompts, s.Outputs[i].PromptLen)
		outputs = append(outputs, output)
	}
	if len(prompts) == 0 {
		return fmt.Errorf("dataset statistics: the lengths of %d requests were not kept", s.Requests)
	}
	totals := make([]int, len(prompts))
	for i := range totals {
		totals[i] = prompts[i] + outputs[i]
	}
	p := newPicture(statsWidth, statsHeight)
	third := statsWidth / 3
	for i, part := range []struct {
		title string
		list  []int
		c     color.Color
	}{{"Prompt tokens", prompts, promptColor}, {"Output tokens", outputs, outputColor}, {"Total tokens", totals, totalColor}} {
		histogram(frame{p, i * third, 0, third, statsHeight / 2}, part.title, part.list, part.c)
	}
	bars(frame{p, 0, statsHeight / 2, statsWidth, statsHeight / 2}, prompts, outputs)
	return png.Encode(w, p)
}

// A frame is a part of a picture with room for axes.
type frame struct {
	p                   picture
	x, y, width, height int
}

const margin = 110

// inner is the box in which values are drawn.
func (f frame) inner() (x, y, width, height int) {
	return f.x + margin, f.y + margin, f.width - margin - 40, f.height - 2*margin
}

// axes draws the grid and its numbers for x in [low, high] and y in [0, top], and returns the nice top.
func (f frame) axes(title, note, xName, yName string, low, high, top float64) float64 {
	x, y, width, height := f.inner()
	f.p.text(f.x+(f.width-textWidth(title, 4))/2, f.y+25, title, 4, false)
	f.p.text(f.x+(f.width-textWidth(note, 2))/2, f.y+70, note, 2, false)
	step := niceStep(top, 5)
	top = math.Ceil(top/step) * step
	for v := 0.0; v <= top+step/2; v += step {
		at := y + height - int(v/top*float64(height))
		f.p.box(x, at, width, 1, gridColor)
		label := axisNumber(v)
		f.p.text(x-8-textWidth(label, 2), at-7, label, 2, false)
	}
	step = niceStep(high-low, 5)
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		at := x + int((v-low)/(high-low)*float64(width))
		f.p.box(at, y+height, 1, 6, color.Black)
		label := axisNumber(v)
		f.p.text(at-textWidth(label, 2)/2, y+height+12, label, 2, false)
	}
	f.p.text(x+(width-textWidth(xName, 3))/2, y+height+45, xName, 3, false)
	f.p.text(f.x+10, y+(height+textWidth(yName, 3))/2, yName, 3, true)
	return top
}

func (f frame) border() {
	x, y, width, height := f.inner()
	f.p.box(x, y+height, width, 2, color.Black)
	f.p.box(x, y, 2, height, color.Black)
}

func histogram(f frame, title string, list []int, c color.Color) {
	low, high := float64(slices.Min(list)), float64(slices.Max(list))
	if low == high {
		low, high = low-0.5, high+0.5
	}
	counts := binned(list, low, high)
	top := f.axes(title, describe(list), "tokens", "requests", low, high, float64(slices.Max(counts[:])))
	x, y, width, height := f.inner()
	for i, n := range counts {
		from, to := x+i*width/statsBins, x+(i+1)*width/statsBins
		tall := int(float64(n) / top * float64(height))
		f.p.box(from+1, y+height-tall, max(to-from-1, 1), tall, c)
	}
	f.border()
}

// binned counts in bins of equal width; the last one includes its upper end.
func binned(list []int, low, high float64) (counts [statsBins]int) {
	for _, v := range list {
		bin := int((float64(v) - low) / (high - low) * statsBins)
		counts[min(bin, statsBins-1)]++
	}
	return counts
}

func bars(f frame, prompts, outputs []int) {
	n, highest := len(prompts), 1
	for i := range prompts {
		highest = max(highest, prompts[i]+outputs[i])
	}
	top := f.axes("Tokens of each request", "", "request", "tokens", 0, float64(n), float64(highest))
	x, y, width, height := f.inner()
	for i := range prompts {
		from := x + int(float64(i)/float64(n)*float64(width))
		to := x + int(float64(i+1)/float64(n)*float64(width))
		wide := max(to-from, 1)
		if wide > 3 {
			wide--
		}
		prompt := int(float64(prompts[i]) / top * float64(height))
		output := int(float64(outputs[i]) / top * float64(height))
		f.p.box(from, y+height-prompt, wide, prompt, promptColor)
		f.p.box(from, y+height-prompt-output, wide, output, outputColor)
	}
	f.border()
	at := x + width - 420
	for i, key := range []struct {
		name string
		c    color.Color
	}{{"Prompt", promptColor}, {"Output", outputColor}} {
		f.p.box(at+i*210, f.y+70, 20, 20, key.c)
		f.p.text(at+i*210+30, f.y+70, key.name, 3, false)
	}
}

func describe(list []int) string {
	sorted := slices.Sorted(slices.Values(list))
	sum := 0
	for _, v := range sorted {
		sum += v
	}
	median := float64(sorted[(len(sorted)-1)/2]+sorted[len(sorted)/2]) / 2
	return fmt.Sprintf("mean %.1f   median %s   min %d   max %d", float64(sum)/float64(len(sorted)), axisNumber(median), sorted[0], sorted[len(sorted)-1])
}

// niceStep is 1, 2 or 5 times a power of ten, so that about n of them make span.
func niceStep(span float64, n int) float64 {
	if span <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(span/float64(n))))
	for _, m := range []float64{1, 2, 5} {
		if span/(m*power) <= float64(n)+0.5 {
			return m * power
		}
	}
	return 10 * power
}

func axisNumber(v float64) string { return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) }
