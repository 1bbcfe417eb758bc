package sim

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Server is the simulated server. It takes requests through Handler, or on a port of its own through Serve, and
// runs until Close.
type Server struct {
	cfg     Config
	clock   clock
	metrics *metrics
	engine  *engine
	record  record
	prof    *profiler // nil: started without one
	print   string    // system_fingerprint
	load    atomic.Int64

	mu       sync.Mutex
	arrivals int
	active   sync.WaitGroup
	isClosed bool
	isDead   bool
	http     *http.Server
	conns    map[net.Conn]struct{}
	closing  chan struct{}
}

// New starts a simulated server. Close ends it.
func New(c Config) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: c, clock: newClock(), closing: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	s.print = fmt.Sprintf("vllm-%s-%08x", c.Version, uint32(mix(c.Seed^hash(c.Model))))
	s.metrics = newMetrics(c, s.clock.now())
	s.record.requests.limit = c.Keep
	s.record.out = c.Log
	onStep := s.record.step
	if c.ProfileDir != "" {
		s.prof = newProfiler(c, s.clock)
		onStep = func(step *Step) {
			s.record.step(step)
			s.prof.step(step)
		}
	}
	s.engine = newEngine(c, s.clock, s.metrics, onStep)
	return s, nil
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// Config is the server's configuration with the usual values filled in.
func (s *Server) Config() Config { return s.cfg }

// Close ends the server: its port, its connections, its engine. Requests under way are cut.
func (s *Server) Close() {
	s.mu.Lock()
	if s.isClosed {
		s.mu.Unlock()
		return
	}
	s.isClosed = true
	close(s.closing)
	web := s.http
	s.mu.Unlock()
	if web != nil {
		web.Close()
	}
	s.engine.close()
	s.active.Wait()
}

// Requests are the finished requests, in the order in which they finished. A client can have read its answer
// a moment before the request is among them: wait for the end of the response, or Close first.
func (s *Server) Requests() []RequestLog {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return s.record.requests.all()
}

// Steps are the steps that the engine took.
func (s *Server) Steps() []Step {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	return s.engine.steps.all()
}

// Freeze has the engine stand still for d, between two steps. It returns when that is over.
func (s *Server) Freeze(d time.Duration) {
	s.engine.standStill(func() { s.engine.rest(s.clock.now() + int64(d)) })
}

// Serve answers on the listener until Close, or until the server dies by Config.DieAfter; both end it without an
// error. It accepts its first connection after Config.Startup.
func (s *Server) Serve(l net.Listener) error {
	// Like the real server, it closes connections that were idle for five seconds.
	web := &http.Server{Handler: s.Handler(), ErrorLog: quiet, IdleTimeout: 5 * time.Second}
	s.mu.Lock()
	if s.isClosed || s.http != nil {
		s.mu.Unlock()
		l.Close()
		return fmt.Errorf("sim: serve on %s: the server is closed, or serving already", l.Addr())
	}
	s.http = web
	s.mu.Unlock()
	if s.cfg.Startup > 0 {
		select {
		case <-time.After(s.cfg.Startup):
		case <-s.closing:
		}
	}
	err := web.Serve(&trackedListener{l, s})
	s.mu.Lock()
	ended := s.isClosed || s.isDead
	s.mu.Unlock()
	if ended {
		return nil
	}
	return fmt.Errorf("sim: serve on %s: %w", l.Addr(), err)
}

// trackedListener knows its connections, so that they can be reset.
type trackedListener struct {
	net.Listener
	server *Server
}

func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, server: l.server}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	l.server.conns[tracked] = struct{}{}
	return tracked, nil
}

type trackedConn struct {
	net.Conn
	server *Server
}

func (c *trackedConn) Close() error {
	c.server.mu.Lock()
	delete(c.server.conns, c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}

// reset has the connection end with a TCP reset when it is closed.
func reset(conn net.Conn) {
	if tracked, ok := conn.(*trackedConn); ok {
		conn = tracked.Conn
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// die is the sudden end: connections are reset, the port is closed.
func (s *Server) die() {
	s.mu.Lock()
	s.isDead = true
	for conn := range s.conns {
		reset(conn)
	}
	web := s.http
	s.mu.Unlock()
	if web != nil {
		web.Close()
	}
}

// arrive counts a request that the model is to answer. It is false when that was one too many.
func (s *Server) arrive() (number int, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals++
	return s.arrivals, s.cfg.DieAfter == 0 || s.arrivals <= s.cfg.DieAfter
}

// cut ends the connection under the request.
func (s *Server) cut(w http.ResponseWriter, how string) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if how == CutReset {
			reset(conn)
		}
		conn.Close()
		return
	}
	panic(http.ErrAbortHandler)
}

type route struct {
	methods string
	handle  http.HandlerFunc
}

// Handler answers everything that the server answers.
func (s *Server) Handler() http.Handler {
	routes := map[string]route{
		"/health":                   {"GET", empty},
		"/ping":                     {"GET, POST", empty},
		"/version":                  {"GET", s.version},
		"/load":                     {"GET", s.serverLoad},
		"/metrics":                  {"GET", s.serveMetrics},
		"/v1/models":                {"GET", s.models},
		"/tokenize":                 {"POST", s.tokenize},
		"/detokenize":               {"POST", s.detokenize},
		"/v1/completions":           {"POST", s.answer(s.completions)},
		"/v1/chat/completions":      {"POST", s.answer(s.chat)},
		"/v1/responses":             {"POST", s.answer(s.responses)},
		"/v1/messages":              {"POST", s.answer(s.messages)},
		"/v1/messages/count_tokens": {"POST", s.countTokens},
		"/v1/embeddings":            {"POST", s.answer(s.embeddings)},
		"/pooling":                  {"POST", s.answer(s.pooling)},
		"/rerank":                   {"POST", s.answer(s.rerank)},
		"/v1/rerank":                {"POST", s.answer(s.rerank)},
		"/v2/rerank":                {"POST", s.answer(s.rerank)},
		"/v1/audio/transcriptions":  {"POST", s.answer(s.transcriptions)},
		"/v1/audio/translations":    {"POST", s.answer(s.transcriptions)},
	}
	if s.prof != nil {
		routes["/start_profile"] = route{"POST", s.startProfile}
		routes["/stop_profile"] = route{"POST", s.stopProfile}
	}
	if s.cfg.DevMode {
		routes["/reset_prefix_cache"] = route{"POST", s.resetPrefixCache}
		routes["/reset_mm_cache"] = route{"POST", empty}
		routes["/reset_encoder_cache"] = route{"POST", empty}
		routes["/server_info"] = route{"GET", s.serverInfo}
		routes["/is_sleeping"] = route{"GET", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, []byte(`{"is_sleeping":false}`))
		}}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.isClosed || s.isDead {
			s.mu.Unlock()
			s.cut(w, CutReset)
			return
		}
		s.active.Add(1)
		s.mu.Unlock()
		defer s.active.Done()
		s.load.Add(1)
		defer s.load.Add(-1)
		h := w.Header()
		h.Set("Server", "uvicorn")
		h.Set("Vary", "Origin")
		h["Content-Type"] = nil // none, rather than a guess
		rt, known := routes[r.URL.Path]
		switch {
		case !known:
			writeDetail(w, http.StatusNotFound)
			s.metrics.answered("none", r.Method, http.StatusNotFound)
		case !slices.Contains(strings.Split(rt.methods, ", "), r.Method):
			h.Set("Allow", rt.methods)
			writeDetail(w, http.StatusMethodNotAllowed)
			s.metrics.answered(r.URL.Path, r.Method, http.StatusMethodNotAllowed)
		case s.cfg.APIKey != "" && strings.HasPrefix(r.URL.Path, "/v1") && !s.isAllowed(r):
			writeJSON(w, http.StatusUnauthorized, []byte(`{"error":"Unauthorized"}`))
			s.metrics.answered(r.URL.Path, r.Method, http.StatusUnauthorized)
		default:
			seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
			rt.handle(seen, r)
			s.metrics.answered(r.URL.Path, r.Method, seen.status)
		}
	})
}

func (s *Server) isAllowed(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.APIKey)) == 1
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func empty(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, []byte(`{"version":`+quoted(s.cfg.Version)+`}`))
}

func (s *Server) serverLoad(w http.ResponseWriter, _ *http.Request) {
	// The question itself is no load.
	writeJSON(w, http.StatusOK, fmt.Appendf(nil, `{"server_load":%d}`, s.load.Load()-1))
}

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	page := s.metrics.text()
	w.Header().Set("Content-Type", "text/plain; version=1.0.0; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(page)))
	w.WriteHeader(http.StatusOK)
	w.Write(page)
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	created := s.clock.now() / int64(time.Second)
	b := []byte(`{"object":"list","data":[`)
	for i, name := range append([]string{s.cfg.Model}, s.cfg.Aliases...) {
		parent, length := "null", fmt.Sprint(s.cfg.MaxModelLen)
		if i > 0 {
			b = append(b, ',')
			parent, length = quoted(s.cfg.Model), "null"
		}
		b = fmt.Appendf(b, `{"id":%s,"object":"model","created":%d,"owned_by":"vllm","root":%s,"parent":%s,"max_model_len":%s,"permission":[{"id":"modelperm-%016x","object":"model_permission","created":%d,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}`,
			quoted(name), created, quoted(s.cfg.Root), parent, length, mix(hash(name)^s.cfg.Seed), created)
	}
	writeJSON(w, http.StatusOK, append(b, "]}"...))
}

func (s *Server) resetPrefixCache(w http.ResponseWriter, _ *http.Request) {
	s.engine.order(func() {
		if s.engine.prefix != nil {
			s.engine.prefix.reset()
		}
	})
	writeJSON(w, http.StatusOK, []byte(`{"success":true}`))
}

// serverInfo says the settings as one Python string or, when asked for, as JSON.
func (s *Server) serverInfo(w http.ResponseWriter, r *http.Request) {
	c := s.cfg
	profiler := "null"
	if s.prof != nil {
		profiler = `"torch"`
	}
	var config string
	switch format := r.URL.Query().Get("config_format"); format {
	case "", "text":
		config = quoted(fmt.Sprintf("model=%s, tokenizer=%s, dtype=torch.bfloat16, max_seq_len=%d, tensor_parallel_size=%d, device_config=%s, seed=%d, served_model_name=%s, enable_prefix_caching=%s, enable_chunked_prefill=%s",
			pyRepr(c.Root), pyRepr(c.Root), c.MaxModelLen, c.Ranks, c.Device, c.Seed, c.Model, pyBool(!c.NoPrefixCache), pyBool(!c.NoChunkedPrefill)))
	case "json":
		config = fmt.Sprintf(`{"model_config":{"model":%s,"tokenizer":%s,"dtype":"torch.bfloat16","seed":%d,"max_model_len":%d,"served_model_name":%s},"cache_config":{"block_size":%d,"enable_prefix_caching":%t,"num_gpu_blocks":%d},"parallel_config":{"tensor_parallel_size":%d,"world_size":%d},"scheduler_config":{"max_num_batched_tokens":%d,"max_num_seqs":%d,"enable_chunked_prefill":%t,"policy":"fcfs","stream_interval":%d},"device_config":{"device":%s},"profiler_config":{"profiler":%s,"torch_profiler_dir":%s}}`,
			quoted(c.Root), quoted(c.Root), c.Seed, c.MaxModelLen, quoted(c.Model), c.BlockSize, !c.NoPrefixCache, c.Blocks, c.Ranks, c.Ranks,
			c.MaxNumBatchedTokens, c.MaxNumSeqs, !c.NoChunkedPrefill && c.Device != Gaudi, c.StreamInterval, quoted(c.Device), profiler, quoted(c.ProfileDir))
	default:
		invalid("query.config_format", fmt.Sprintf("{'type': 'literal_error', 'loc': 'query.config_format', 'msg': \"Input should be 'text' or 'json'\", 'input': %s}", pyRepr(format))).write(w)
		return
	}
	writeJSON(w, http.StatusOK, fmt.Appendf(nil, `{"vllm_config":%s,"vllm_env":{"VLLM_SERVER_DEV_MODE":true},"system_env":{"vllm_version":%s}}`, config, quoted(c.Version)))
}

// checkModel is the complaint about an unknown model.
func (s *Server) checkModel(name string) *fail {
	if name == "" || name == s.cfg.Model || s.cfg.AnyModel || slices.Contains(s.cfg.Aliases, name) {
		return nil
	}
	return &fail{
		status: http.StatusNotFound, kind: "NotFoundError", param: "model",
		message: fmt.Sprintf("The model `%s` does not exist. Valid aliases: %s.", name, strings.Join(append([]string{s.cfg.Model}, s.cfg.Aliases...), ", ")),
	}
}

func (s *Server) tokenize(w http.ResponseWriter, r *http.Request) {
	b, f := readBody(r)
	if f != nil {
		f.write(w)
		return
	}
	name := b.str("model", "")
	withStrings := b.bool("return_token_strs", false)
	var ids []int
	if _, isChat := b.fields["messages"]; isChat {
		text, fault := s.template(b)
		if fault != nil {
			fault.write(w)
			return
		}
		ids = s.cfg.Tokenizer.Encode(text, b.bool("add_special_tokens", false))
	} else {
		b.required("prompt")
		ids = s.cfg.Tokenizer.Encode(b.str("prompt", ""), b.bool("add_special_tokens", true) && !s.cfg.NoBOS)
	}
	if f := b.wrong(); f != nil {
		f.write(w)
		return
	}
	if f := s.checkModel(name); f != nil {
		f.write(w)
		return
	}
	out := fmt.Appendf(nil, `{"count":%d,"max_model_len":%d,"tokens":`, len(ids), s.cfg.MaxModelLen)
	out = appendInts(out, ids)
	out = append(out, `,"token_strs":`...)
	if withStrings {
		out = append(out, '[')
		for i, id := range ids {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendString(out, strings.ReplaceAll(s.cfg.Tokenizer.Decode([]int{id}), " ", "Ġ"))
		}
		out = append(out, "]}"...)
	} else {
		out = append(out, "null}"...)
	}
	writeJSON(w, http.StatusOK, out)
}

func (s *Server) detokenize(w http.ResponseWriter, r *http.Request) {
	b, f := readBody(r)
	if f != nil {
		f.write(w)
		return
	}
	name := b.str("model", "")
	b.required("tokens")
	ids := b.ints("tokens")
	if f := b.wrong(); f != nil {
		f.write(w)
		return
	}
	if f := s.checkModel(name); f != nil {
		f.write(w)
		return
	}
	if f := s.checkVocabulary(ids); f != nil {
		f.write(w)
		return
	}
	writeJSON(w, http.StatusOK, []byte(`{"prompt":`+quoted(s.cfg.Tokenizer.Decode(ids))+`}`))
}

func (s *Server) checkVocabulary(ids []int) *fail {
	for _, id := range ids {
		if id < 0 || id >= s.cfg.Tokenizer.Vocabulary() {
			return badRequest(fmt.Sprintf("Token id %d is out of vocabulary", id))
		}
	}
	return nil
}

func appendInts(b []byte, ids []int) []byte {
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Append(b, id)
	}
	return append(b, ']')
}

// An asked is a request that the model is to answer, before anything is known about it.
type asked struct {
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context
	body  *body
	job   *job
	fault Fault
}

// answer prepares what all requests to the model have in common: a number, a log entry, perhaps a fault.
func (s *Server) answer(with func(*asked)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		received := s.clock.now()
		number, alive := s.arrive()
		if !alive {
			s.die()
			panic(http.ErrAbortHandler)
		}
		a := &asked{w: w, r: r, ctx: r.Context(), job: &job{out: newOutlet()}}
		a.job.log = RequestLog{Request: number, Received: received, Path: r.URL.Path, XRequestID: r.Header.Get("X-Request-Id"), Tokens: []TokenLog{}}
		defer func() {
			a.job.log.Done = s.clock.now()
			s.record.request(a.job.log)
		}()
		var f *fail
		if !strings.HasPrefix(r.URL.Path, "/v1/audio/") {
			a.body, f = readBody(r)
		}
		if f == nil {
			f = s.chooseFault(a)
		}
		if f != nil {
			a.fail(f)
			return
		}
		if a.fault.BeforeHeaders > 0 && !s.pause(a.ctx, a.fault.BeforeHeaders) {
			return
		}
		if a.fault.Status != 0 {
			f := &fail{status: a.fault.Status, kind: strings.ReplaceAll(http.StatusText(a.fault.Status), " ", ""), message: a.fault.Message}
			if f.message == "" {
				f.message = http.StatusText(f.status)
			}
			a.fail(f)
			return
		}
		with(a)
	}
}

// fail answers with an error.
func (a *asked) fail(f *fail) {
	a.job.log.Status, a.job.log.Error = f.status, f.message
	f.write(a.w)
}

// pause is false when the client, or the server, went meanwhile.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closing:
	}
	return false
}

// chooseFault is the fault that the request asks for, else the first configured one that strikes it.
func (s *Server) chooseFault(a *asked) *fail {
	wish := a.r.Header.Get("X-Sim-Fault")
	if wish == "" && a.body != nil {
		wish = a.body.str("sim_fault", "")
	}
	log := &a.job.log
	if wish != "" {
		f, err := ParseFault(wish)
		if err != nil {
			return badRequest(err.Error())
		}
		a.fault, log.Struck = f, wish
		return nil
	}
	key := uint64(log.Request)
	if log.XRequestID != "" {
		key = hash(log.XRequestID)
	}
	for i, f := range s.cfg.Faults {
		if f.strikes(log.Request, s.cfg.Seed+uint64(i), key) {
			text, _ := json.Marshal(f)
			a.fault, log.Struck = f, string(text)
			return nil
		}
	}
	return nil
}

// id is what the request is called in its answer.
func (s *Server) id(a *asked, prefix string) string {
	if x := a.job.log.XRequestID; x != "" {
		a.job.log.ID = prefix + x
	} else {
		a.job.log.ID = fmt.Sprintf("%s%016x", prefix, mix(s.cfg.Seed^mix(uint64(a.job.log.Request))))
	}
	return a.job.log.ID
}
