package trace

import (
	"bytes"
	"fmt"
	"testing"
)

// generated is a trace in Kineto's layout: steps of Python frames, operators, launches and
// kernels, with names and numbers that do not compress as well as a constant would.
func generated(size int) []byte {
	var b bytes.Buffer
	b.Grow(size + 1000)
	b.WriteString("{\n  \"schemaVersion\": 1,\n  \"baseTimeNanoseconds\": 1790857026000000000,\n  \"traceEvents\": [\n")
	x := uint64(88172645463325252)
	next := func(n int) int {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(n))
	}
	ts := int64(4651955906029139)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteString(",\n")
		}
		ts += int64(next(20000))
		us, ns := ts/1000, ts%1000
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "  {\n    \"ph\": \"X\", \"cat\": \"python_function\", \"name\": \"vllm/v1/worker/gpu_model_runner.py(%d): f%d\", \"pid\": 20955, \"tid\": 20955,\n    \"ts\": %d.%03d, \"dur\": %d.%03d,\n    \"args\": {\n      \"Python parent id\": %d, \"Python id\": %d, \"Ev Idx\": %d\n    }\n  }", next(3000), next(40), us, ns, next(500), next(1000), i, i+1, i)
		case 1:
			fmt.Fprintf(&b, "  {\n    \"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"aten::op%d\", \"pid\": 20955, \"tid\": 20955,\n    \"ts\": %d.%03d, \"dur\": %d.%03d,\n    \"args\": {\n      \"External id\": %d,\"Record function id\": 0, \"Concrete Inputs\": [\"\", \"\", \"[%d, 128]\"], \"Input type\": [\"c10::BFloat16\", \"\"], \"Input Dims\": [[%d, 4096], []], \"Ev Idx\": %d\n    }\n  }", next(200), us, ns, next(90), next(1000), i, next(900), next(900), i)
		case 2:
			fmt.Fprintf(&b, "  {\n    \"ph\": \"X\", \"cat\": \"cuda_runtime\", \"name\": \"cudaLaunchKernel\", \"pid\": 20955, \"tid\": 20955,\n    \"ts\": %d.%03d, \"dur\": %d.%03d,\n    \"args\": {\n      \"External id\": %d, \"cbid\": 211, \"correlation\": %d\n    }\n  }", us, ns, next(9), next(1000), i-1, i)
		default:
			fmt.Fprintf(&b, "  {\n    \"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"void at::native::vectorized_elementwise_kernel<4, at::native::op%d>(int)\", \"pid\": 0, \"tid\": 7,\n    \"ts\": %d.%03d, \"dur\": %d.%03d,\n    \"args\": {\n      \"External id\": %d, \"queued\": 0, \"device\": 0, \"context\": 1, \"stream\": 7, \"correlation\": %d, \"registers per thread\": 32, \"grid\": [%d, 1, 1], \"block\": [128, 1, 1]\n    }\n  }", next(60), us, ns, next(30), next(1000), i-2, i-1, next(4000))
		}
	}
	b.WriteString("\n  ], \"traceName\": \"/tmp/x.json\"\n}\n")
	return b.Bytes()
}

// BenchmarkRead is the cost of walking a trace, per megabyte of its text. It must stay
// above the speed of a disk.
func BenchmarkRead(b *testing.B) {
	text := generated(64 << 20)
	for name, file := range map[string][]byte{"plain": text, "gzip": zip(b, text)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Read(bytes.NewReader(file), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInsert is the cost of a merge without packing the result.
func BenchmarkInsert(b *testing.B) {
	text := generated(64 << 20)
	file := zip(b, text)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Insert(discard{}, NewFile("", bytes.NewReader(file)), Additions{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
