package sim

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"servebench/internal/lazy"
)

// A profiler notes steps between start and stop, and writes them as the traces that a real server's profiler
// would have written. Its work is done on the engine's goroutine: the engine stands still meanwhile.
type profiler struct {
	cfg   Config
	clock clock

	mu       sync.Mutex
	isActive bool // for the server's front end: from start to stop

	// Of the engine's goroutine alone.
	session *session
	earlier []Step // Gaudi: what the first file holds besides, because nothing empties the queue at start
	wrote   bool
	stamped int64
	count   int64 // sessions so far
}

// A session is one recording.
type session struct {
	prefix       string
	delay, limit int // steps to leave out at first; steps to record, 0 for all
	seen         int
	began, ended int64
	steps        []Step
	isWritten    bool // the worker's files are
	err          error
	number       int64
}

func newProfiler(c Config, clk clock) *profiler { return &profiler{cfg: c, clock: clk} }

var goodPrefix = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (p *profiler) step(s *Step) {
	t := p.session
	if t == nil || t.isWritten {
		if p.cfg.Device == Gaudi && !p.wrote && len(p.earlier) < 10*p.cfg.Keep {
			p.earlier = append(p.earlier, *s)
		}
		return
	}
	if t.seen++; t.seen <= t.delay {
		return
	}
	if len(t.steps) == 0 && t.delay > 0 {
		t.began = s.turnBegan()
	}
	t.steps = append(t.steps, *s)
	if t.limit > 0 && len(t.steps) >= t.limit {
		t.ended = p.clock.now()
		t.err = p.writeWorkers(t)
	}
}

func (s *Step) turnBegan() int64 {
	if s.turn > 0 {
		return s.turn
	}
	return s.Began
}

// writeWorkers writes each worker's files.
func (p *profiler) writeWorkers(t *session) error {
	t.isWritten = true
	for rank := range p.cfg.Ranks {
		stamp := p.nameStamp()
		var err error
		if p.cfg.Device == Gaudi {
			err = p.writeFile(fmt.Sprintf("vllm.%d.pt.trace.json.gz", stamp), func(w io.Writer) error { return p.writeGaudi(w, t, rank) })
		} else {
			name := t.named(fmt.Sprintf("rank%d", rank))
			if p.cfg.Device == CUDA {
				name = t.named(fmt.Sprintf("dp0_pp0_tp%d_dcp0_ep%d_rank%d", rank, rank, rank))
			}
			err = p.writeFile(fmt.Sprintf("%s.%d.pt.trace.json.gz", name, stamp), func(w io.Writer) error { return p.writeKineto(w, t, rank) })
			if err == nil {
				err = os.WriteFile(filepath.Join(p.cfg.ProfileDir, name+".profiler_out.txt"), t.table(), 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
	p.wrote, p.earlier = true, nil
	return nil
}

// nameStamp is the time for a file's name, no two alike.
func (p *profiler) nameStamp() int64 {
	p.stamped = max(p.clock.now(), p.stamped+1)
	return p.stamped
}

func (t *session) named(name string) string {
	if t.prefix == "" {
		return name
	}
	return t.prefix + "_" + name
}

// writeFrontEnd writes the front end's file, which holds no step.
func (p *profiler) writeFrontEnd(t *session) error {
	if p.cfg.Device == Gaudi {
		return nil
	}
	name := t.named(fmt.Sprintf("%s_%d.async_llm", hostName(), os.Getpid()))
	return p.writeFile(fmt.Sprintf("%s.%d.pt.trace.json.gz", name, p.nameStamp()), func(w io.Writer) error { return p.writeKineto(w, t, -1) })
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

func (s *Server) startProfile(w http.ResponseWriter, r *http.Request) {
	t := &session{}
	b := &body{fields: map[string]any{}}
	if r.ContentLength != 0 {
		var f *fail
		if b, f = readAnyBody(r); f != nil {
			f.write(w)
			return
		}
	}
	prefix := b.str("profile_prefix", "")
	t.prefix, t.delay, t.limit = prefix, b.strictInt("delay_iterations"), b.strictInt("max_iterations")
	b.object("profiler_kwargs")
	f := b.wrong()
	switch {
	case f != nil:
	case b.fields["profile_prefix"] != nil && !goodPrefix().MatchString(prefix):
		f = badRequest("profile_prefix must be 1-128 ASCII characters, start with a letter or number, and contain only letters, numbers, '.', '_', or '-'")
	case t.delay < 0:
		f = badRequest("delay_iterations must be greater than or equal to 0")
	case t.limit < 0:
		f = badRequest("max_iterations must be greater than or equal to 0")
	}
	if f != nil {
		f.write(w)
		return
	}
	p := s.prof
	p.mu.Lock()
	if p.isActive {
		p.mu.Unlock()
		(&fail{status: http.StatusConflict, kind: "Conflict", message: "A profiling session is already active. Call /stop_profile before starting another session."}).write(w)
		return
	}
	p.isActive = true
	p.mu.Unlock()
	ok := s.engine.standStill(func() {
		began := s.clock.now()
		s.engine.rest(began + int64(p.cfg.ProfileStart)/2)
		p.count++
		t.began, t.number = s.clock.now(), p.count
		p.session = t
		s.engine.rest(began + int64(p.cfg.ProfileStart))
	})
	if !ok {
		badRequest(errClosed.Error()).write(w)
		return
	}
	empty(w, r)
}

func (s *Server) stopProfile(w http.ResponseWriter, r *http.Request) {
	p := s.prof
	p.mu.Lock()
	wasActive := p.isActive
	p.mu.Unlock()
	var err error
	if wasActive {
		s.engine.standStill(func() {
			t := p.session
			if t == nil {
				return // somebody else stopped it meanwhile
			}
			began := s.clock.now()
			p.session = nil
			if t.ended == 0 {
				t.ended = began
			}
			if err = t.err; !t.isWritten {
				err = p.writeWorkers(t)
			}
			if err == nil {
				err = p.writeFrontEnd(t)
			}
			s.engine.rest(began + int64(p.cfg.ProfileStop))
			p.mu.Lock()
			p.isActive = false
			p.mu.Unlock()
		})
	}
	if err != nil {
		// A handler that raises is answered by the framework.
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	empty(w, r)
}
