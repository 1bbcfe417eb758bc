package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"servebench/loadgen"
	"servebench/results"
	"servebench/results/summary"
)

// progress shows how a run goes: a bar on a terminal, a line each ten seconds elsewhere. It never holds up
// the run: the bar is drawn by a goroutine of its own, from counters.
type progress struct {
	w        io.Writer
	terminal bool
	quiet    bool // no bar: --disable-tqdm

	mu       sync.Mutex
	phase    string
	bar      *progressbar.ProgressBar
	recent   *summary.Rolling
	live     *loadgen.Live
	planned  int
	span     time.Duration
	began    time.Time
	stop     chan struct{}
	stopped  sync.WaitGroup
	lastWait time.Time
	dirty    bool // an unfinished line is on the terminal
}

// recently is how far the live latencies look back.
const recently = 10 * time.Second

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// clear removes an unfinished line.
func (p *progress) clear() {
	if p.dirty {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.dirty = false
	}
}

func (p *progress) Phase(text string) {
	p.mu.Lock()
	p.phase, p.lastWait = text, time.Now()
	p.mu.Unlock()
	if text != "" {
		p.line("%s", text)
	}
}

func (p *progress) Waiting(elapsed time.Duration, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		return
	}
	if p.terminal {
		p.clear()
		const most = 90
		if len(detail) > most {
			detail = detail[:most] + "..."
		}
		fmt.Fprintf(p.w, "  %s %s", elapsed.Round(time.Second), detail)
		p.dirty = true
		return
	}
	if time.Since(p.lastWait) >= 10*time.Second {
		p.lastWait = time.Now()
		fmt.Fprintf(p.w, "  %s: %s %s\n", p.phase, elapsed.Round(time.Second), detail)
	}
}

func (p *progress) Note(text string) { p.line("note: %s", text) }
func (p *progress) Warn(text string) { p.line("warning: %s", text) }

func (p *progress) Loading(live *loadgen.Live, planned int, span time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live, p.planned, p.span, p.began = live, planned, span, time.Now()
	p.recent = summary.NewRolling(recently)
	p.stop = make(chan struct{})
	every := 10 * time.Second
	if p.terminal && !p.quiet {
		every = 100 * time.Millisecond
		top := int64(planned)
		if span > 0 {
			top = span.Milliseconds()
		}
		p.bar = progressbar.NewOptions64(top, progressbar.OptionSetWriter(p.w), progressbar.OptionSetWidth(24),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
			progressbar.OptionUseANSICodes(true))
	}
	p.stopped.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.show()
			case <-p.stop:
				return
			}
		}
	})
}

// show draws the load as it stands.
func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := p.status()
	if p.bar == nil {
		fmt.Fprintln(p.w, "  "+status)
		return
	}
	at := p.live.Done.Load()
	if p.span > 0 {
		at = min(time.Since(p.began), p.span).Milliseconds()
	}
	p.bar.Describe(status)
	_ = p.bar.Set64(at)
}

func (p *progress) status() string {
	done, elapsed := p.live.Done.Load(), time.Since(p.began)
	text := fmt.Sprintf("%d", done)
	if p.planned > 0 && p.span == 0 {
		text += fmt.Sprintf("/%d", p.planned)
	}
	text += fmt.Sprintf(" done, %.1f/s, %d in flight", float64(done)/elapsed.Seconds(), p.live.InFlight.Load())
	if n := p.live.Queued.Load(); n > 0 {
		text += fmt.Sprintf(", %d queued here", n)
	}
	if n := p.live.Failed.Load(); n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	ttft, itl := p.recent.Latencies(time.Now())
	if (ttft != nil || itl != nil) && elapsed > recently {
		text += fmt.Sprintf(", last %v:", recently)
	} else if ttft != nil || itl != nil {
		text += ","
	}
	for i, f := range []struct {
		name   string
		values *[2]float64
	}{{"TTFT", ttft}, {"ITL", itl}} {
		if f.values != nil {
			if i > 0 && ttft != nil {
				text += ","
			}
			text += fmt.Sprintf(" %s p50 %.1f p99 %.1f ms", f.name, f.values[0], f.values[1])
		}
	}
	return text
}

func (p *progress) Record(rec *results.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.recent != nil && rec.Kind == results.Load {
		p.recent.Add(rec, time.Now())
	}
}

func (p *progress) Loaded() {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
	fmt.Fprintln(p.w, "load ended: "+p.status())
}

func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}
