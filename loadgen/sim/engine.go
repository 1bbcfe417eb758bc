package sim

import (
	"slices"
	"sync"
	"time"
)

// An engine takes steps on one goroutine, from newEngine until close. Sequences queue, run, and hand their tokens
// to their job, which never blocks the engine.
type engine struct {
	cfg     Config
	clock   clock
	alarm   *alarm
	content *content
	metrics *metrics
	prefix  *prefixCache // nil: none

	mu       sync.Mutex
	waiting  []*sequence
	running  []*sequence
	fixed    []*sequence // with fixed delays: a heap by due
	orders   []func()    // carried out by the engine's goroutine between two steps
	isClosed bool
	steps    ring[Step]

	// Of the engine's goroutine alone.
	used      int // cache blocks
	number    int
	iteration int
	idle      bool // the empty last step is done
	ended     int64
	compiled  map[Bucket]bool
	onStep    func(*Step) // the log's and the profiler's ear
	done      chan struct{}
}

func newEngine(c Config, clk clock, m *metrics, onStep func(*Step)) *engine {
	e := &engine{
		cfg: c, clock: clk, alarm: newAlarm(clk), content: newContent(c), metrics: m, onStep: onStep,
		idle: true, compiled: make(map[Bucket]bool), done: make(chan struct{}),
	}
	e.steps.limit = 10 * c.Keep
	if !c.NoPrefixCache {
		e.prefix = newPrefixCache(c.BlockSize, c.Blocks)
	}
	for _, b := range c.WarmBuckets {
		e.compiled[b] = true
	}
	if c.Warmup {
		for _, b := range c.Buckets.all() {
			e.compiled[b] = true
		}
	}
	go e.run()
	return e
}

func (b Buckets) all() []Bucket {
	var all []Bucket
	for _, batch := range b.PromptBatch.Sizes() {
		for _, seq := range b.PromptSeq.Sizes() {
			for _, blocks := range append([]int{0}, b.PromptBlocks.Sizes()...) {
				all = append(all, Bucket{Prefill, batch, seq, blocks})
			}
		}
	}
	for _, batch := range b.DecodeBatch.Sizes() {
		for _, blocks := range b.DecodeBlocks.Sizes() {
			all = append(all, Bucket{Decode, batch, 1, blocks})
		}
	}
	return all
}

func (e *engine) close() {
	e.mu.Lock()
	e.isClosed = true
	e.mu.Unlock()
	e.alarm.poke()
	<-e.done
	e.alarm.close()
}

// submit hands sequences to the engine.
func (e *engine) submit(seqs []*sequence) {
	now := e.clock.now()
	e.mu.Lock()
	for _, s := range seqs {
		s.arrived = now
		if e.cfg.FirstToken > 0 {
			s.due = s.job.log.Received + int64(e.cfg.FirstToken)
			e.push(s)
		} else {
			e.waiting = append(e.waiting, s)
		}
	}
	e.mu.Unlock()
	e.alarm.poke()
}

// abort takes sequences back that are not finished: their client is gone, or has what it wanted.
func (e *engine) abort(seqs []*sequence, finish string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range seqs {
		if s.finish == "" && !s.isAborted {
			s.isAborted = true
			e.metrics.finished(s, finish, e.clock.now())
		}
	}
}

// order has the engine's goroutine carry something out between two steps, and waits for it. It is false when
// the engine was closed first.
func (e *engine) order(what func()) bool {
	done := make(chan struct{})
	e.mu.Lock()
	e.orders = append(e.orders, func() {
		defer close(done)
		what()
	})
	e.mu.Unlock()
	e.alarm.poke()
	select {
	case <-done:
		return true
	case <-e.done:
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// rest stands still, on the engine's goroutine, until the deadline or the end.
func (e *engine) rest(deadline int64) {
	for e.alarm.wait(deadline) {
		e.mu.Lock()
		isClosed := e.isClosed
		e.mu.Unlock()
		if isClosed {
			return
		}
	}
}

func (e *engine) run() {
	defer close(e.done)
	for {
		e.mu.Lock()
		if e.isClosed {
			e.mu.Unlock()
			return
		}
		if orders := e.orders; len(orders) > 0 {
			e.orders = nil
			e.mu.Unlock()
			for _, o := range orders {
				o()
			}
			continue
		}
		if e.cfg.FirstToken > 0 {
			wake := e.deliverDue()
			e.mu.Unlock()
			e.alarm.wait(wake)
			continue
		}
		e.dropAborted()
		hasWork := len(e.running)+len(e.waiting) > 0
		e.mu.Unlock()
		switch {
		case !hasWork && e.idle:
			e.alarm.wait(never)
		case e.ended > 0 && e.alarm.wait(e.ended+int64(e.cfg.HostGap)):
			// Something came up: look again.
		case hasWork:
			e.step()
		default:
			e.emptyStep()
		}
	}
}

// standStill is order for what keeps the engine from its work: afterwards it goes on where it was, so what is due with fixed delays is
// due that much later.
func (e *engine) standStill(what func()) bool {
	return e.order(func() {
		began := e.clock.now()
		what()
		stood := e.clock.now() - began
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, s := range e.fixed {
			s.due += stood
		}
	})
}

func (e *engine) dropAborted() {
	gone := func(s *sequence) bool {
		if s.isAborted {
			e.release(s)
		}
		return s.isAborted
	}
	e.running = slices.DeleteFunc(e.running, gone)
	e.waiting = slices.DeleteFunc(e.waiting, gone)
	e.metrics.gauges(len(e.running), len(e.waiting), e.used)
}

func (e *engine) release(s *sequence) {
	e.used -= s.blocks
	s.blocks = 0
}

// hold has the sequence hold the blocks for n tokens. It is false when there are not enough.
func (e *engine) hold(s *sequence, n int) bool {
	need := (n + e.cfg.BlockSize - 1) / e.cfg.BlockSize
	if more := need - s.blocks; more > 0 {
		if e.used+more > e.cfg.Blocks {
			return false
		}
		e.used += more
		s.blocks = need
	}
	return true
}

// A part is a sequence's share of one step.
type part struct {
	*sequence
	tokens   int
	isPrompt bool
}

// schedule decides who is in the next step: first those that run, in their order, then those that wait,
// first come first served, as far as places, tokens and blocks go.
func (e *engine) schedule(now int64) []part {
	budget := e.cfg.MaxNumBatchedTokens
	isFull := false
	var parts []part
	for i := 0; i < len(e.running) && budget > 0; i++ {
		s := e.running[i]
		n := min(s.total()-s.computed, budget)
		for !e.hold(s, s.computed+n) {
			// The youngest gives way, perhaps s itself.
			last := e.running[len(e.running)-1]
			e.running = e.running[:len(e.running)-1]
			e.release(last)
			last.computed = 0
			isFull = true
			last.preempted++
			e.metrics.preempted()
			e.waiting = slices.Insert(e.waiting, 0, last)
			if last == s {
				n = 0
				break
			}
		}
		if n > 0 {
			parts = append(parts, part{s, n, s.isPrompt() || n > 1})
			budget -= n
		}
	}
	// Where one had to give way nobody is let in: it would take the blocks back at once.
	for !isFull && len(e.waiting) > 0 && len(e.running) < e.cfg.MaxNumSeqs && budget > 0 {
		s := e.waiting[0]
		cached := 0
		if e.prefix != nil {
			cached = e.prefix.find(s)
		}
		n := s.total() - cached
		if n > budget {
			whole := e.cfg.NoChunkedPrefill || e.cfg.Device == Gaudi
			if whole && budget < e.cfg.MaxNumBatchedTokens {
				break
			}
			if !whole {
				n = budget
			}
		}
		if !e.hold(s, cached+n) {
			break
		}
		s.computed = cached
		if s.scheduled == 0 {
			s.scheduled, s.cached = now, cached
		}
		e.metrics.admitted(s)
		e.waiting = e.waiting[1:]
		e.running = append(e.running, s)
		parts = append(parts, part{s, n, true})
		budget -= n
	}
	e.metrics.gauges(len(e.running), len(e.waiting), e.used)
	return parts
}

// batches splits an iteration's parts into the steps that compute them.
func (e *engine) batches(parts []part) [][]part {
	if e.cfg.Device != Gaudi {
		return [][]part{parts}
	}
	var prompts, decoding []part
	for _, p := range parts {
		if p.isPrompt {
			prompts = append(prompts, p)
		} else {
			decoding = append(decoding, p)
		}
	}
	var out [][]part
	for b := range slices.Chunk(prompts, e.cfg.PromptBatch) {
		out = append(out, b)
	}
	if len(decoding) > 0 {
		out = append(out, decoding)
	}
	return out
}

// step is one turn: decide, take the time that it takes, hand out the tokens.
func (e *engine) step() {
	began := e.clock.now()
	e.mu.Lock()
	parts := e.schedule(began)
	e.mu.Unlock()
	if len(parts) == 0 {
		return
	}
	e.idle = false
	e.iteration++
	batches := e.batches(parts)
	steps := make([]Step, len(batches))
	host, device := began, began
	if e.cfg.Device == Gaudi {
		host += int64(e.cfg.Launch) / 2 // preparing inputs comes before the first batch
	}
	for i, batch := range batches {
		steps[i] = e.plan(batch, host, device)
		steps[i].turn = began
		host, device = steps[i].Dispatched, steps[i].DeviceEnded
	}
	e.rest(device)
	ended := e.clock.now()
	e.mu.Lock()
	for i, batch := range batches {
		steps[i].Ended = ended
		e.hand(batch, &steps[i])
		e.steps.add(steps[i])
	}
	e.running = slices.DeleteFunc(e.running, func(s *sequence) bool {
		if s.finish != "" {
			e.release(s)
		}
		return s.finish != ""
	})
	e.metrics.gauges(len(e.running), len(e.waiting), e.used)
	e.mu.Unlock()
	e.ended = ended
	for i := range steps {
		e.onStep(&steps[i])
	}
}

// plan is the step that computes the batch when the host comes to it at host and the device has
// work until device.
func (e *engine) plan(batch []part, host, device int64) Step {
	e.number++
	s := Step{Number: e.number, Iteration: e.iteration, Began: host, used: e.used, capacity: e.cfg.Blocks}
	for _, p := range batch {
		s.Requests = append(s.Requests, p.job.log.Request)
		s.Blocks += p.blocks
		length := p.computed + p.tokens
		s.context = max(s.context, length)
		if p.isPrompt {
			s.Prompts++
			s.PromptTokens += p.tokens
			s.Longest = max(s.Longest, p.tokens)
			s.promptLen += length
			s.promptSquares += p.tokens * p.tokens
			s.promptProducts += p.tokens * length
		} else {
			s.Sequences++
			s.decodeLen += length
		}
	}
	switch {
	case s.Sequences == 0:
		s.Phase = Prefill
	case s.Prompts == 0:
		s.Phase = Decode
	default:
		s.Phase = Mixed
	}
	tokens, seqs, launch := s.PromptTokens, s.Sequences, int64(e.cfg.Launch)
	if e.cfg.Device == Gaudi {
		s.Bucket = e.bucket(batch, &s)
		if s.Phase == Prefill {
			tokens, seqs = s.Bucket.Batch*s.Bucket.Seq, 0
		} else {
			tokens, seqs = 0, s.Bucket.Batch
		}
		if !e.compiled[s.Bucket] {
			e.compiled[s.Bucket] = true
			s.Compile = e.cfg.CompileTime
		}
		launch = launch/2 + int64(s.Compile)
	}
	work := int64(e.cfg.StepBase) + int64(tokens)*int64(e.cfg.PromptToken) + int64(seqs)*int64(e.cfg.Sequence)
	s.DeviceBegan = max(host+launch, device)
	s.DeviceEnded = s.DeviceBegan + work
	switch e.cfg.Device {
	case Gaudi:
		s.Dispatched = host + launch
	case CPU:
		s.Dispatched = s.DeviceEnded
	default:
		// Many launches keep the host busy for a part of the device's time; a graph needs one.
		s.Dispatched = s.DeviceBegan + work/8
		if s.Phase != Decode {
			s.Dispatched = s.DeviceBegan + work*3/5
		}
	}
	return s
}

func (e *engine) bucket(batch []part, s *Step) Bucket {
	if s.Phase == Decode {
		return Bucket{Decode, e.cfg.Buckets.DecodeBatch.Pad(len(batch)), 1, e.cfg.Buckets.DecodeBlocks.Pad(s.Blocks)}
	}
	context := 0
	for _, p := range batch {
		context += p.computed / e.cfg.BlockSize
	}
	if context > 0 {
		context = e.cfg.Buckets.PromptBlocks.Pad(context)
	}
	return Bucket{Prefill, e.cfg.Buckets.PromptBatch.Pad(len(batch)), e.cfg.Buckets.PromptSeq.Pad(s.Longest), context}
}

// hand gives every sequence of the step its token, except where the prompt is not complete.
func (e *engine) hand(batch []part, s *Step) {
	for _, p := range batch {
		p.computed += p.tokens
		if p.isAborted || p.computed < p.total() {
			continue
		}
		if p.isPrompt && e.prefix != nil {
			e.prefix.add(p.sequence, p.computed)
		}
		s.NewTokens += e.give(p.sequence, s)
		if p.finish != "" && e.prefix != nil {
			e.prefix.add(p.sequence, p.computed)
		}
	}
	e.metrics.step(s.PromptTokens + s.Sequences)
}

// give hands the sequence's next token to its job and returns the number of output tokens in it.
func (e *engine) give(s *sequence, step *Step) int {
	t := s.next(e.content)
	t.step, t.computed = step.Number, step.Ended
	e.metrics.token(s, step.Ended)
	if s.finish != "" {
		e.metrics.finished(s, s.finish, step.Ended)
	}
	s.job.out.put(t)
	if t.id < 0 {
		return 0
	}
	return 1
}

// emptyStep is the turn after the last request, in which a real engine clears up.
func (e *engine) emptyStep() {
	e.idle = true
	if e.cfg.Device == Gaudi {
		return
	}
	e.number++
	e.iteration++
	began := e.clock.now()
	end := began + int64(100*time.Microsecond)
	s := Step{
		Number: e.number, Iteration: e.iteration, Phase: Empty, used: e.used, capacity: e.cfg.Blocks,
		Began: began, Dispatched: end, DeviceBegan: end, DeviceEnded: end,
	}
	e.rest(end)
	s.Ended = e.clock.now()
	e.ended = s.Ended
	e.mu.Lock()
	e.steps.add(s)
	e.mu.Unlock()
	e.onStep(&s)
}
