package breakdown

import (
	"strconv"
	"strings"

	"servebench/internal/lazy"
	"servebench/profiles/trace"
)

// A role is what a category's rows are to the analysis.
type role uint8

const (
	roleNone role = iota // of no interest, or unknown
	roleKernel
	roleCopy
	roleMaybeDevice // cat Runtime: an API call, or work on a Gaudi lane
	roleRuntime
	roleOp
	rolePython
	roleAnnotation
	roleEngine // rows of vLLM on Gaudi, which have no category
	roleOverhead
	roleWindow
)

// roles maps lower-case categories, those of 2020 included.
var roles = map[string]role{
	"kernel": roleKernel, "mtia_ccp_events": roleKernel,
	"gpu_memcpy": roleCopy, "gpu_memset": roleCopy, "memcpy": roleCopy, "memset": roleCopy,
	"runtime":      roleMaybeDevice,
	"cuda_runtime": roleRuntime, "cuda_driver": roleRuntime, "mtia_runtime": roleRuntime, "xpu_runtime": roleRuntime,
	"xpu_driver": roleRuntime, "privateuse1_runtime": roleRuntime, "privateuse1_driver": roleRuntime, "glow_runtime": roleRuntime,
	"cpu_op": roleOp, "operator": roleOp, "hpu_op": roleOp,
	"python_function": rolePython,
	"user_annotation": roleAnnotation,
	"overhead":        roleOverhead,
	"trace":           roleWindow,
}

// classNames are today's names of categories that were called otherwise.
var classNames = map[string]string{"operator": "cpu_op"}

// What the name of a device row says.
var commName = lazy.Regexp(`(?i)nccl|rccl|hccl|cross_device_reduce|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|multimem|one_?shot|two_?shot|symm_mem`)

// The rules by which steps are found, in order of precedence.
const (
	ruleGaudi = iota
	ruleVLLM
	ruleSGLang
	ruleProfilerStep
	rulePython
	ruleGraph
	ruleCount
)

var ruleNames = [ruleCount]string{"gaudi", "vllm_annotation", "sglang_annotation", "profiler_step", "python_frame", "graph_launch"}

// Phases of a step.
const (
	phasePrefill = "prefill"
	phaseDecode  = "decode"
	phaseMixed   = "mixed"
	phaseEmpty   = "empty" // a step without requests: vLLM cleans up after the last one
	phaseOther   = "step"  // the rule cannot tell
)

// A stepName is what the name of a step says.
type stepName struct {
	rule                    int
	phase                   string
	prompts, generations    int64 // requests
	promptTokens, genTokens int64
	padded                  int64 // batch after padding, when the name tells
	hasTokens               bool
}

func (s *stepName) tokens() int64 { return s.promptTokens + s.genTokens }

var (
	vllmStep  = lazy.Regexp(`^execute_(?:(\d+)_)?context_(\d+)\(([^)]*)\)_generation_(\d+)\(([^)]*)\)$`)
	vllmOld   = lazy.Regexp(`^execute_new_(\d+)_cached_(\d+)$`)
	sglang    = lazy.Regexp(`^step\[(\w+)\s*([^\]]*)\]`)
	atom      = lazy.Regexp(`^(prefill|decode)\[([^\]]*)\]`)
	diffusion = lazy.Regexp(`^execute_diffusion_(\d+)_\d+x\d+$`)
	profiler  = lazy.Regexp(`^ProfilerStep#?\d*`)
	modelRun  = lazy.Regexp(`(^|/)(gpu|hpu)_model_runner\.py\(\d+\): execute_model$`)
	batchRun  = lazy.Regexp(`^sglang/.*\.py\(\d+\): _?run_batch`)
	firstInt  = lazy.Regexp(`\d+`)
)

// annotatedStep reads the name of an annotation.
func annotatedStep(name string) (stepName, bool) {
	if !strings.HasPrefix(name, "execute_") && !strings.HasPrefix(name, "step[") && !strings.HasPrefix(name, "ProfilerStep") &&
		!strings.HasPrefix(name, "prefill[") && !strings.HasPrefix(name, "decode[") {
		return stepName{}, false
	}
	if m := vllmStep().FindStringSubmatch(name); m != nil {
		s := stepName{rule: ruleVLLM, prompts: atoi(m[2]), generations: atoi(m[4]), hasTokens: true}
		s.promptTokens, s.genTokens = inner(m[3]), inner(m[5])
		s.phase = phaseOf(s.prompts, s.generations)
		return s, true
	}
	if m := vllmOld().FindStringSubmatch(name); m != nil {
		s := stepName{rule: ruleVLLM, prompts: atoi(m[1]), generations: atoi(m[2])}
		s.phase = phaseOf(s.prompts, s.generations)
		return s, true
	}
	if m := sglang().FindStringSubmatch(name); m != nil {
		return sglangStep(m[1], fields(m[2])), true
	}
	if m := atom().FindStringSubmatch(name); m != nil {
		return atomStep(m[1], fields(m[2])), true
	}
	if m := diffusion().FindStringSubmatch(name); m != nil {
		return stepName{rule: ruleSGLang, phase: phaseOther, generations: atoi(m[1])}, true
	}
	if profiler().MatchString(name) {
		return stepName{rule: ruleProfilerStep, phase: phaseOther}, true
	}
	return stepName{}, false
}

func phaseOf(prompts, generations int64) string {
	switch {
	case prompts > 0 && generations > 0:
		return phaseMixed
	case prompts > 0:
		return phasePrefill
	case generations > 0:
		return phaseDecode
	}
	return phaseEmpty
}

// inner is the number of tokens inside a step name's parentheses: the first integer.
func inner(s string) int64 { return atoi(firstInt().FindString(s)) }

func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// fields are the key=value pairs of a step name.
func fields(s string) map[string]string {
	out := map[string]string{}
	for _, f := range strings.Fields(s) {
		if k, v, ok := strings.Cut(f, "="); ok {
			out[k] = v
		}
	}
	return out
}

func sglangStep(mode string, f map[string]string) stepName {
	s := stepName{rule: ruleSGLang}
	bs, toks := inner(f["bs"]), inner(f["toks"])
	_, s.hasTokens = f["toks"]
	switch strings.ToUpper(mode) {
	case "EXTEND", "PREFILL":
		s.phase, s.prompts, s.promptTokens = phasePrefill, bs, toks
	case "DECODE", "TARGET_VERIFY", "DRAFT_EXTEND":
		s.phase, s.generations, s.genTokens = phaseDecode, bs, max(toks, bs)
		s.hasTokens = true // one token a sequence unless the name says more
	case "MIXED":
		s.phase, s.prompts, s.generations = phaseMixed, inner(f["c"]), inner(f["g"])
		s.promptTokens = max(toks-s.generations, 0)
		s.genTokens = min(toks, s.generations)
	case "IDLE":
		s.phase = phaseEmpty
	default:
		s.phase = phaseOther
	}
	return s
}

func atomStep(mode string, f map[string]string) stepName {
	s := stepName{rule: ruleSGLang}
	real, padded, _ := strings.Cut(f["bs"], "/")
	bs, tokens := inner(real), inner(f["tok"])
	_, s.hasTokens = f["tok"]
	s.padded = inner(padded)
	if mode == "prefill" {
		s.phase, s.prompts, s.promptTokens = phasePrefill, bs, tokens
	} else {
		s.phase, s.generations, s.genTokens = phaseDecode, bs, tokens
	}
	return s
}

// Kinds of recompilation.
const (
	compileGaudi    = "gaudi_graph"
	compileTorch    = "torch_compile"
	compileTriton   = "triton"
	compileCapture  = "graph_capture"
	compileInstance = "graph_instantiate"
	compileLazy     = "lazy_loading"
)

var (
	tritonCompile = lazy.Regexp(`(^|/)triton/(.*/)?compiler\.py\(\d+\): compile$`)
	dynamoFrame   = lazy.Regexp(`(^|/)torch/_dynamo/convert_frame\.py\(\d+\): `)
	// compile_fx.py also holds what runs when a compiled graph is called: run, wrapper and the like.
	inductorFrame = lazy.Regexp(`(^|/)torch/_inductor/compile_fx\.py\(\d+\): \w*compile\w*$`)
	gaudiCompile  = lazy.Regexp(`synGraphCompile|graphCompile|compileGraph`)
	graphLaunch   = lazy.Regexp(`^(cuda|hip|cu)GraphLaunch`)
	graphInstance = lazy.Regexp(`^(cuda|hip|cu)GraphInstantiate`)
)

// pythonCompile is the kind of compilation a Python frame stands for; empty for none.
func pythonCompile(name string) string {
	if !strings.Contains(name, "compil") && !strings.Contains(name, "convert_frame") {
		return ""
	}
	switch {
	case dynamoFrame().MatchString(name), inductorFrame().MatchString(name):
		return compileTorch
	case tritonCompile().MatchString(name):
		return compileTriton
	case strings.Contains(name, "habana_frameworks") && strings.Contains(name, "compile_"):
		return compileGaudi
	}
	return ""
}

// Labels of host time that mean more than the name of the slice.
const (
	labelNone uint8 = iota
	labelSync
	labelCompile
	labelGC
	labelInput
	labelSampling
	labelScheduler
	labelWait
	labelCount
)

var labelNames = [labelCount]string{"", "blocking_sync", "compile", "garbage_collection", "input_preparation", "sampling", "scheduler", "waiting"}

var (
	syncName  = lazy.Regexp(`Synchronize|aten::item$|aten::_local_scalar_dense|\.tolist|_cuda_synchronize|method (item|tolist) of|copy_\w*D2H|\bsynchronize>?$`)
	gcName    = lazy.Regexp(`^gc\.py|built-in function collect>|<built-in method collect`)
	inputName = lazy.Regexp(`: _prepare_inputs$|prepare_input|: _update_states$|gpu_model_runner: preprocess`)
	sampName  = lazy.Regexp(`(?i)(^|[^a-z])(sampler|sample)([^a-z]|$)|sampler\.py`)
	schedName = lazy.Regexp(`(?i)scheduler\.py\(\d+\): schedule|^schedule: `)
	waitName  = lazy.Regexp(`: (select|poll|recv|wait|recv_multipart|_poll)$|<built-in method (poll|recv|acquire|select|wait) of|<built-in function (select|epoll_wait)>`)
)

// label is what host time in a slice of this name means.
func label(name string, compiles string) uint8 {
	switch {
	case compiles != "":
		return labelCompile
	case gcName().MatchString(name):
		return labelGC
	case syncName().MatchString(name):
		return labelSync
	case inputName().MatchString(name):
		return labelInput
	case schedName().MatchString(name):
		return labelScheduler
	case sampName().MatchString(name):
		return labelSampling
	case waitName().MatchString(name):
		return labelWait
	}
	return labelNone
}

// A nameInfo is what one name means, worked out once.
type nameInfo struct {
	known  bool
	label  uint8
	isStep bool
	step   stepName

	comm    bool
	launch  bool // launches a whole graph
	capture bool // an API call about graph capture, queries included
	compile string
	graphID string // the hash of a compiled graph's run
	lookup  bool   // a look into the cache of compiled frames
	gaudi   uint8  // see gaudi.go

	grouped           bool
	file, pkg, module uint32 // ids of the groups a Python name belongs to
}

// lexicon holds what names and categories mean.
type lexicon struct {
	names   *trace.Names
	infos   []nameInfo
	cats    []catInfo
	classes []string
	classOf map[string]uint8

	groupNames []string // f, p or m, a blank, and the file, package or module
	groupIDs   map[string]uint32
}

type catInfo struct {
	known bool
	role  role
	class uint8
}

func newLexicon() *lexicon {
	l := &lexicon{names: trace.NewNames(), classOf: map[string]uint8{}, groupNames: []string{""}, groupIDs: map[string]uint32{}}
	l.class("(none)")
	return l
}

// class is the number of a class of host time.
func (l *lexicon) class(name string) uint8 {
	if c, ok := l.classOf[name]; ok {
		return c
	}
	if len(l.classes) == 255 {
		return 0
	}
	c := uint8(len(l.classes))
	l.classes = append(l.classes, name)
	l.classOf[name] = c
	return c
}

func (l *lexicon) cat(id uint32) *catInfo {
	for int(id) >= len(l.cats) {
		l.cats = append(l.cats, catInfo{})
	}
	c := &l.cats[id]
	if !c.known {
		lower := strings.ToLower(l.names.Text(id))
		c.known, c.role = true, roles[lower]
		switch c.role {
		case roleRuntime, roleOp, rolePython, roleAnnotation, roleMaybeDevice:
			if today := classNames[lower]; today != "" {
				lower = today
			}
			c.class = l.class(lower)
		}
	}
	return c
}

func (l *lexicon) info(id uint32) *nameInfo {
	for int(id) >= len(l.infos) {
		l.infos = append(l.infos, nameInfo{})
	}
	n := &l.infos[id]
	if !n.known {
		l.learn(n, l.names.Text(id))
	}
	return n
}

func (l *lexicon) learn(n *nameInfo, name string) {
	n.known = true
	n.step, n.isStep = annotatedStep(name)
	if !n.isStep && strings.Contains(name, ".py(") {
		switch {
		case modelRun().MatchString(name), batchRun().MatchString(name):
			n.isStep, n.step = true, stepName{rule: rulePython, phase: phaseOther}
		}
	}
	n.comm = commName().MatchString(name)
	n.launch = graphLaunch().MatchString(name)
	n.capture = strings.Contains(name, "Capture") // IsCapturing is asked all the time and says nothing
	n.gaudi = gaudiKind(name)
	switch {
	case strings.HasPrefix(name, "GRAPH COMPILE: "), gaudiCompile().MatchString(name):
		n.compile = compileGaudi
	case strings.HasSuffix(name, " (dynamo_timed)"):
		n.compile = compileTorch
	case graphInstance().MatchString(name):
		n.compile = compileInstance
	default:
		n.compile = pythonCompile(name)
	}
	if hash, ok := strings.CutPrefix(name, "## Call CompiledFxGraph "); ok {
		n.graphID = strings.TrimSuffix(hash, " ##")
	}
	n.lookup = name == "TorchDynamo Cache Lookup"
	n.label = label(name, n.compile)
}
