package breakdown

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// realTrace is a trace of the collection that SERVEBENCH_TEST_TRACES names.
func realTrace(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("SERVEBENCH_TEST_TRACES")
	if dir == "" {
		t.Skip("SERVEBENCH_TEST_TRACES does not say where the real traces are")
	}
	return filepath.Join(dir, name)
}

func analyze(t testing.TB, opts Options, files ...string) *Report {
	t.Helper()
	opts.Top = -1
	r, err := Analyze(context.Background(), files, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type kernelRow struct {
	name         string // cut at 60 bytes
	count, total int64
}

type nameRow struct {
	name               string
	count, total, self int64
}

type stepRow struct {
	name                      string
	host, rows, lead, devBusy int64
}

// golden are figures that were worked out once by another program, from the definitions.
var golden = []struct {
	file                                                 string
	events, rows, kernels, span, busy, idle, gaps, gaps1 int64
	pythons                                              int64
	top                                                  []kernelRow
	reasons, counts                                      map[string]int64
	belowCount, below                                    int64
	byClass                                              map[string]int64
	comm                                                 *Comm
	launch                                               *Launch
	steps                                                []stepRow
	python                                               []nameRow
	hostSelf                                             map[string]int64
	violations                                           int64
	captures                                             map[string]int64
	graphCalls, lookups                                  int64
}{
	{
		file: "vllm_prefilldecode.pt.trace.json.gz", events: 19289, rows: 423, kernels: 413, span: 156466417, busy: 156085793, idle: 380624, gaps: 421, gaps1: 38, pythons: 17038,
		top: []kernelRow{
			{"_matmul_ogs_NNT_bf16xbf16xmxfp4_128x128x128x1_swiglu", 24, 83288347},
			{"_matmul_ogs_NNT_bf16xbf16xmxfp4_128x128x128x1", 24, 39243916},
			{"Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x192x64_MI", 24, 9153921},
			{"Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT160x256x64_MI", 24, 7556131},
			{"kernel_unified_attention_2d", 24, 5146906},
		},
		steps:      []stepRow{{"execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)", 26353441, 423, 151231271, 156085793}},
		python:     []nameRow{{"triton/runtime/jit.py(574): run", 24, 13237556, 3630072}, {"<string>(2): dynamic_func", 24, 7997583, 1957653}, {"triton/runtime/jit.py(325): specialize_impl", 648, 6039930, 1197144}},
		hostSelf:   map[string]int64{"cpu_op": 2006871, "cuda_runtime": 1632993, "python_function": 22636277, "user_annotation": 77300},
		violations: 1,
	},
	{
		file: "vllm_decode_full.pt.trace.json.gz", events: 1993, rows: 434, kernels: 425, span: 10743181, busy: 10717708, idle: 25473, gaps: 433, gaps1: 3, pythons: 984,
		top: []kernelRow{
			{"_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x256x1", 24, 3761878},
			{"_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x256x1_swiglu", 24, 3272717},
			{"kernel_unified_attention_3d", 12, 493906},
			{"Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT32x32x256_MI1", 24, 387013},
			{"Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT32x32x256_MI1", 24, 366213},
		},
		launch: &Launch{Linked: 434, Unlinked: 0, MaxPerCall: 421, DCall: &Delay{P50: 11866489, Max: 17268179}, DRet: &Delay{Mean: 11450167.233, P50: 11359721, Max: 16761411}, BeforeReturn: 0, Queue: map[string]Queue{"0": {14, 7.250743}}},
		steps:  []stepRow{{"execute_32_context_0(sq0sk0sqsq0sqsk0)_generation_32(sq32sk55086sqsq32sqsk55086)", 2408598, 434, 8370878, 10717708}},
	},
	{
		file: "h100_qwen.pt.trace.json.gz", events: 18221, rows: 1707, kernels: 1465, span: 49652832, busy: 45647300, idle: 4005532, gaps: 1706, gaps1: 1471, pythons: 4262,
		top: []kernelRow{
			{"sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_", 241, 12789918},
			{"void at::native::elementwise_kernel<128, 4, at::native::gpu_", 207, 5581642},
			{"void at::native::elementwise_kernel<128, 4, at::native::gpu_", 136, 3918808},
			{"void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fw", 34, 3855468},
			{"void at::native::(anonymous namespace)::CatArrayBatchedCopy<", 68, 2849970},
		},
		reasons: map[string]int64{"unlinked": 656924, "host_late": 1312030, "launch_latency": 188573, "device_side": 1628690},
		counts:  map[string]int64{"unlinked": 432, "host_late": 25, "device_side": 1014}, belowCount: 235, below: 219315,
		byClass:    map[string]int64{"cpu_op": 571543, "cuda_runtime": 23815, "python_function": 714962, "user_annotation": 1710},
		launch:     &Launch{Linked: 1198, Unlinked: 509, MaxPerCall: 1, DCall: &Delay{P50: 1206173, Max: 3124669}, DRet: &Delay{Mean: 1356679.290, P50: 1203133, Max: 3121709}, BeforeReturn: 1, Queue: map[string]Queue{"7": {111, 46.722752}}},
		python:     []nameRow{{"threading.py(359): wait", 1, 49763172, 49763172}, {"<built-in function _cuda_synchronize>", 2, 16276249, 16276249}, {"<built-in function linear>", 168, 10278515, 10278515}},
		hostSelf:   map[string]int64{"cpu_op": 16690969, "cuda_driver": 6980, "cuda_runtime": 21612394, "python_function": 61191961, "user_annotation": 8990},
		violations: 1,
	},
	{
		file: "b200_eager.pt.trace.json.gz", events: 24656, rows: 929, kernels: 768, span: 84487178, busy: 11596482, idle: 72890696, gaps: 854, gaps1: 840, pythons: 15230,
		top: []kernelRow{
			{"bmm_MxE4m3_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3_et128x16_m128x", 36, 3181785},
			{"void (anonymous namespace)::multimem_all_reduce_kernel<c10::", 73, 2119548},
			{"bmm_Bfloat16_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3_et128x16_m12", 36, 2033052},
			{"std::enable_if<(((8)>(0)))&&vllm::_typeConvert<c10::BFloat16", 72, 452068},
			{"void at::native::elementwise_kernel<128, 4, at::native::gpu_", 72, 380568},
		},
		reasons: map[string]int64{"host_late": 63613365, "launch_latency": 8856728, "device_side": 412029},
		counts:  map[string]int64{"host_late": 711, "device_side": 129}, belowCount: 14, below: 8574,
		byClass:  map[string]int64{"cpu_op": 24496902, "cuda_runtime": 177995, "python_function": 38832726, "user_annotation": 105742},
		comm:     &Comm{Kernels: 74, Comm: 2141501, Compute: 8652137, Overlap: 0},
		launch:   &Launch{Linked: 929, Unlinked: 0, MaxPerCall: 1, DCall: &Delay{P50: 10388, Max: 205793}, DRet: &Delay{Mean: 10801.950, P50: 3008, Max: 192551}, BeforeReturn: 70, Queue: map[string]Queue{"7": {2, 0.220754}}},
		steps:    []stepRow{{"execute_context_1(888_788544)_generation_0(0)", 87412863, 929, 2641664, 11596482}},
		python:   []nameRow{{"<built-in function _disabled_torch_function_impl>", 72, 10549378, 10549378}, {"flashinfer/fused_moe/core.py(1633): trtllm_fp4_block_scale_moe_op", 36, 12743082, 9734204}, {"<built-in method copy_ of Tensor object at 0x7fdc681f0eb0>", 157, 6134097, 6134097}},
		hostSelf: map[string]int64{"cpu_op": 29276123, "cuda_driver": 1872720, "cuda_runtime": 7142287, "python_function": 48878569, "user_annotation": 243164}, violations: 4,
		captures: map[string]int64{"cudaStreamGetCaptureInfo_v2": 1}, graphCalls: 1, lookups: 1,
	},
	{
		file: "hta_nccl.pt.trace.json.gz", events: 40573, rows: 3774, kernels: 2700, span: 660551005, busy: 157500014, idle: 503050991, gaps: 3480, gaps1: 3450,
		top: []kernelRow{
			{"ncclKernel_AllReduce_RING_LL_Sum_float(ncclDevComm*, unsigne", 15, 46762159},
			{"void cudnn::ops::nchwToNhwcKernel<float, float, float, false", 474, 12616974},
			{"void cudnn::bn_bw_1C11_kernel_new<float, float, float2, 128,", 33, 9592287},
			{"void at::native::vectorized_elementwise_kernel<4, at::native", 96, 8818791},
			{"void at::native::vectorized_elementwise_kernel<4, at::native", 147, 8086128},
		},
		reasons: map[string]int64{"host_late": 471913020, "launch_latency": 29137837, "device_side": 1970404},
		counts:  map[string]int64{"host_late": 2440, "device_side": 1010}, belowCount: 30, below: 29730,
		byClass: map[string]int64{"(none)": 28199833, "cpu_op": 393555605, "cuda_runtime": 4619368, "user_annotation": 45538214},
		comm:    &Comm{Kernels: 21, Comm: 46876493, Compute: 115655847, Overlap: 7317025},
		launch:  &Launch{Linked: 3774, Unlinked: 0, MaxPerCall: 1, DCall: &Delay{P50: 12253, Max: 969786}, DRet: &Delay{Mean: 27342.939, P50: 1956, Max: 964931}, BeforeReturn: 15, Queue: map[string]Queue{"40": {1, 0.00309}, "7": {10, 0.207567}}},
		steps:   []stepRow{{"ProfilerStep#4", 222442191, 1258, 6092115, 49438921}, {"ProfilerStep#5", 219726905, 1258, 5643641, 49728926}, {"ProfilerStep#6", 224936243, 1258, 5589366, 58332167}},
	},
	{
		file: "kineto_array_2020.pt.trace.json.gz", events: 82276, rows: 9927, kernels: 9538, span: 1292150000, busy: 649472000, idle: 642678000, gaps: 9902, gaps1: 9902,
	},
}

func TestGoldenFigures(t *testing.T) {
	for _, g := range golden {
		t.Run(g.file, func(t *testing.T) {
			r := analyze(t, Options{}, realTrace(t, g.file))
			same := func(what string, got, want any) {
				t.Helper()
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", what, got, want)
				}
			}
			d := r.Devices[0]
			same("events", r.Files[0].Events, g.events)
			same("rows, kernels, span, busy, idle, gaps, gaps of 1 us", []int64{d.Rows, d.Kernels, d.Span, d.Busy, d.Idle, d.Gaps, d.Gaps1us}, []int64{g.rows, g.kernels, g.span, g.busy, g.idle, g.gaps, g.gaps1})
			if len(r.Devices) != 1 || r.AllDevices.Busy != d.Busy || r.AllDevices.Gaps != d.Gaps {
				t.Errorf("%d devices, all of them busy %d", len(r.Devices), r.AllDevices.Busy)
			}
			if r.Python != nil {
				same("python rows", r.Python.Rows, g.pythons)
			} else {
				same("python rows", int64(0), g.pythons)
			}
			var top []kernelRow
			for _, k := range r.Kernels[:min(len(r.Kernels), len(g.top))] {
				top = append(top, kernelRow{k.Name[:min(len(k.Name), 60)], k.Count, k.Total})
			}
			same("kernels", top, g.top)
			if g.reasons != nil {
				reasons, counts := map[string]int64{}, map[string]int64{}
				for name, v := range r.Gaps.Reasons {
					reasons[name] = v.Total
					if v.Count > 0 {
						counts[name] = v.Count
					}
				}
				same("gap reasons", reasons, g.reasons)
				same("gap counts", counts, g.counts)
				same("gaps below the threshold", r.Gaps.Below, Below{g.belowCount, g.below})
				same("host_late by class", r.Gaps.ByClass, g.byClass)
			}
			if g.comm != nil {
				same("comm", []int64{r.Comm.Kernels, r.Comm.Comm, r.Comm.Compute, r.Comm.Overlap}, []int64{g.comm.Kernels, g.comm.Comm, g.comm.Compute, g.comm.Overlap})
			}
			if w := g.launch; w != nil {
				l := r.Launch
				same("launches", []any{l.Linked, l.Unlinked, l.MaxPerCall, l.DCall.P50, l.DCall.Max, l.DRet.Mean, l.DRet.P50, l.DRet.Max, l.BeforeReturn},
					[]any{w.Linked, w.Unlinked, w.MaxPerCall, w.DCall.P50, w.DCall.Max, w.DRet.Mean, w.DRet.P50, w.DRet.Max, w.BeforeReturn})
				same("queues", l.Queue, w.Queue)
			}
			for i, w := range g.steps {
				if len(r.Steps) != len(g.steps) {
					t.Fatalf("%d steps, want %d", len(r.Steps), len(g.steps))
				}
				s := r.Steps[i]
				same("step", stepRow{s.Name, s.HostNS, *s.DevRows, *s.DevLead, *s.DevBusy}, w)
			}
			if want := map[string]string{"vllm_prefilldecode.pt.trace.json.gz": "context 9(8155) generation 37 PIECEWISE", "vllm_decode_full.pt.trace.json.gz": "generation 32 FULL", "b200_eager.pt.trace.json.gz": "context 1(888) NONE"}[g.file]; want != "" {
				same("bucket", r.Steps[0].Bucket, want)
			}
			for i, w := range g.python {
				n := r.Python.TopSelf[i]
				same("python", nameRow{n.Name, n.Count, n.Total, n.Self}, w)
			}
			if g.hostSelf != nil {
				same("host self by class", r.HostSelf, g.hostSelf)
				same("violations", r.Python.Violations, g.violations)
			}
			if g.captures != nil {
				same("captures", r.Compiles.Captures, g.captures)
				same("compiled graph calls, lookups", []int64{r.Compiles.GraphCalls, r.Compiles.Lookups}, []int64{g.graphCalls, g.lookups})
				same("graph launches", r.Compiles.GraphLaunches, map[string]int64{})
			}
			b, err := r.JSON()
			if err != nil || !json.Valid(b) {
				t.Error(err)
			}
		})
	}
}
