package breakdown

import (
	"regexp"
	"slices"
	"strings"

	"servebench/internal/lazy"
)

// shortName is a kernel's name without return type, template and argument lists.
func shortName(name string) string {
	const anonymous = "(anonymous namespace)"
	var out strings.Builder
	angle, round := 0, 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '(' && strings.HasPrefix(name[i:], anonymous):
			if angle == 0 && round == 0 {
				out.WriteString(anonymous[:10] + "_namespace)")
			}
			i += len(anonymous) - 1
		case c == '(':
			round++
		case c == ')':
			if round > 0 {
				round--
			}
		case c == '<' && round == 0 && !strings.HasPrefix(name[:i], "operator"):
			angle++
		case c == '>' && round == 0 && angle > 0:
			angle--
		case angle == 0 && round == 0:
			out.WriteByte(c)
		}
	}
	s := strings.TrimSpace(out.String())
	// What stands before the last blank is the return type; copies keep their words.
	if i := strings.LastIndexByte(s, ' '); i >= 0 && strings.Contains(name, "(") && !strings.HasPrefix(name, "Mem") {
		s = s[i+1:]
	}
	s = strings.ReplaceAll(s, "(anonymous_namespace)", anonymous)
	if s == "" {
		return name
	}
	return s
}

// kernelGroups put kernels into groups by name: the first that matches wins.
var kernelGroups = []struct {
	group string
	name  func() *regexp.Regexp
}{
	{"comm", commName},
	{"copy", lazy.Regexp(`(?i)^mem(cpy|set)`)},
	{"kv-cache", lazy.Regexp(`(?i)reshape_and_cache|kv_?cache|cache_kernel|concat_and_cache|copy_blocks|swap_blocks`)},
	{"attention", lazy.Regexp(`(?i)attention|attn|flash|fmha|\bmla|paged|sdpa|mha_`)},
	{"moe", lazy.Regexp(`(?i)moe|expert|routing|router|topk_?gating|_matmul_ogs|grouped_?gemm|bmm_.*_Mx|sum_bitmatrix|_topk_forward`)},
	{"sampling", lazy.Regexp(`(?i)sampl|softmax|top_?k|top_?p|argmax|multinomial|radix|sort|logit|penalt|rejection|distribution_`)},
	{"quantisation", lazy.Regexp(`(?i)quant|fp8|scaled_fp|nvfp4|mxfp|cvt_fp|per_token_group`)},
	{"gemm", lazy.Regexp(`(?i)gemm|matmul|cutlass|Cijk_|bmm|nvjet|xmma|wgmma|splitK|gemv|cublas`)},
	{"norm", lazy.Regexp(`(?i)norm|bn_(fw|bw)`)},
	{"rope", lazy.Regexp(`(?i)rope|rotary`)},
	{"activation", lazy.Regexp(`(?i)silu|gelu|relu|swiglu|act_and_mul|activation|sigmoid|tanh|threshold`)},
	{"convolution", lazy.Regexp(`(?i)conv|cudnn|winograd|nchw|nhwc`)},
	{"triton", lazy.Regexp(`^triton_`)},
	{"elementwise", lazy.Regexp(`(?i)elementwise|vectorized|unrolled|reduce_kernel|index|gather|scatter|CatArray|fill|embedding|cumsum|scan|arange|where`)},
}

const otherGroup = "other"

func kernelGroup(name string, kind rowKind) string {
	if kind == kindComm {
		return "comm"
	}
	for _, g := range kernelGroups {
		if g.name().MatchString(name) {
			return g.group
		}
	}
	return otherGroup
}

// kernelFigures reports kernels by name, short name and group.
func (a *analysis) kernelFigures() {
	if a.report.AllDevices == nil {
		return
	}
	// Durations by name, each name's side by side: counted first, then placed.
	counts := make([]int, a.lex.names.Len()+1)
	kinds := make([]rowKind, a.lex.names.Len())
	rows := 0
	for _, c := range a.files {
		for i := range c.rows {
			if r := &c.rows[i]; r.kind != kindCopy {
				counts[r.name+1]++
				rows++
			}
		}
	}
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
	begins := slices.Clone(counts)
	durations := make([]int64, rows)
	var phases []string
	inPhase := map[string]map[uint32]*Total{}
	for _, c := range a.files {
		var last map[uint32]*Total
		var lastPhase string
		for i := range c.rows {
			r := &c.rows[i]
			if r.kind == kindCopy {
				continue
			}
			durations[counts[r.name]] = r.end - r.start
			counts[r.name]++
			kinds[r.name] = r.kind
			if c.rowStep == nil || c.rowStep[i] == nil {
				continue
			}
			phase := c.rowStep[i].info.phase
			if last == nil || phase != lastPhase {
				if last = inPhase[phase]; last == nil {
					last = map[uint32]*Total{}
					inPhase[phase] = last
					phases = append(phases, phase)
				}
				lastPhase = phase
			}
			t := last[r.name]
			if t == nil {
				t = &Total{}
				last[r.name] = t
			}
			t.Count++
			t.Total += r.end - r.start
		}
	}
	var busy, total int64
	for _, d := range a.report.Devices {
		busy += d.Busy
	}
	for _, ns := range durations {
		total += ns
	}
	share := func(n, of int64) float64 {
		if of == 0 {
			return 0
		}
		return round(float64(n)/float64(of), 6)
	}
	for id := range kinds {
		group := durations[begins[id]:begins[id+1]]
		if len(group) == 0 {
			continue
		}
		name := a.lex.names.Text(uint32(id))
		k := Kernel{Name: name, Short: shortName(name), Group: kernelGroup(name, kinds[id]), Count: int64(len(group))}
		for _, ns := range group {
			k.Total += ns
		}
		for _, phase := range phases {
			if t := inPhase[phase][uint32(id)]; t != nil {
				if k.Phases == nil {
					k.Phases = map[string]Total{}
				}
				k.Phases[phase] = *t
			}
		}
		k.Mean = round(float64(k.Total)/float64(k.Count), 3)
		k.Min, k.Max, k.P50 = slices.Min(group), slices.Max(group), selected(group, 50)
		k.ShareOfBusy, k.ShareOfTotal = share(k.Total, busy), share(k.Total, total)
		a.report.Kernels = append(a.report.Kernels, k)
	}
	slices.SortFunc(a.report.Kernels, func(x, y Kernel) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		return strings.Compare(x.Name, y.Name)
	})
	sums := func(by func(*Kernel) string) []KernelSum {
		byName := map[string]*KernelSum{}
		for i := range a.report.Kernels {
			k := &a.report.Kernels[i]
			s := byName[by(k)]
			if s == nil {
				s = &KernelSum{Name: by(k)}
				byName[by(k)] = s
			}
			s.Count += k.Count
			s.Total += k.Total
			for phase, t := range k.Phases {
				if s.Phases == nil {
					s.Phases = map[string]Total{}
				}
				old := s.Phases[phase]
				s.Phases[phase] = Total{old.Count + t.Count, old.Total + t.Total}
			}
		}
		var out []KernelSum
		for _, s := range byName {
			s.ShareOfTotal = share(s.Total, total)
			out = append(out, *s)
		}
		slices.SortFunc(out, func(x, y KernelSum) int {
			if x.Total != y.Total {
				return -cmpInt(x.Total, y.Total)
			}
			return strings.Compare(x.Name, y.Name)
		})
		return out
	}
	if len(a.report.Kernels) == 0 {
		return
	}
	tables := &KernelTables{
		Short: sums(func(k *Kernel) string { return k.Short }),
		Group: sums(func(k *Kernel) string { return k.Group }),
	}
	for _, g := range tables.Group {
		if g.Name == otherGroup {
			tables.Unmatched = g.ShareOfTotal
		}
	}
	a.report.KernelsBy = tables
}
