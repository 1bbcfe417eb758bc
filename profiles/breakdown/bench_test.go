package breakdown

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"compress/gzip"
)

// benchSize is how much text the generated traces have, in MB. SERVEBENCH_BENCH_MB makes
// them larger: 2000 for the bar of 2 GB in 1 GiB of memory. SERVEBENCH_BENCH_DIR names a
// folder to leave them in, for a comparison with other programs.
func benchSize() int {
	if n, err := strconv.Atoi(os.Getenv("SERVEBENCH_BENCH_MB")); err == nil && n > 0 {
		return n
	}
	return 48
}

// generate writes a trace in Kineto's layout and grouping (operators and annotations
// first, then Python, then calls and kernels), with numbers that do not repeat, and
// returns the bytes of its text.
func generate(b *testing.B, path string, megabytes int, python bool) int64 {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		b.Fatal(err)
	}
	out := &counter{w: bufio.NewWriterSize(z, 1<<20)}
	x := uint64(88172645463325252)
	next := func(n int) int {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(n))
	}
	fmt.Fprint(out, "{\n  \"schemaVersion\": 1,\n  \"displayTimeUnit\": \"ms\",\n  \"baseTimeNanoseconds\": 1790857026000000000,\n  \"traceEvents\": [\n")
	first := true
	row := func(cat, name string, ts, dur int64, pid, tid int, args string) {
		if !first {
			fmt.Fprint(out, ",\n")
		}
		first = false
		fmt.Fprintf(out, "  {\n    \"ph\": \"X\",\n    \"cat\": \"%s\",\n    \"name\": \"%s\",\n    \"pid\": %d,\n    \"tid\": %d,\n    \"ts\": %d.%03d,\n    \"dur\": %d.%03d\n    ,\n    \"args\": {\n      %s\n    }\n  }", cat, name, pid, tid, ts/1000, ts%1000, dur/1000, dur%1000, args)
	}
	const pid = 20955
	const opsPerStep = 400
	id := 0
	// One chunk is a few hundred steps: a profiler flushes its groups like this per session;
	// here it bounds what the generator has to remember.
	for chunk := int64(0); out.n < int64(megabytes)<<20; chunk++ {
		begin := int64(4651955906029139) + chunk*20*10_000_000
		for s := int64(0); s < 20; s++ {
			at := begin + s*10_000_000
			row("user_annotation", fmt.Sprintf("execute_context_0(0)_generation_%d(%d)", 1+s%8, 1+s%8), at, 9_000_000, pid, pid, fmt.Sprintf("\"External id\": %d,\"Record function id\": 0, \"Ev Idx\": %d", id, id))
			for i := int64(0); i < opsPerStep; i++ {
				id++
				row("cpu_op", fmt.Sprintf("aten::op%d", next(120)), at+i*20_000+int64(next(500)), 9_000+int64(next(2000)), pid, pid, fmt.Sprintf("\"External id\": %d,\"Record function id\": 0, \"Ev Idx\": %d", id, id))
			}
		}
		if python {
			for s := int64(0); s < 20; s++ {
				at := begin + s*10_000_000 + 100
				row("python_function", "vllm/v1/worker/gpu_model_runner.py(3939): execute_model", at, 8_900_000, pid, pid, fmt.Sprintf("\"Python parent id\": null, \"Python id\": %d, \"Ev Idx\": %d", id, id))
				for i := int64(0); i < opsPerStep; i++ {
					for depth := int64(0); depth < 8; depth++ {
						row("python_function", fmt.Sprintf("vllm/model_executor/layers/f%d.py(%d): forward", next(40), 10+depth), at+i*20_000+depth*10, 18_000-depth*50, pid, pid, fmt.Sprintf("\"Python parent id\": %d, \"Python id\": %d, \"Ev Idx\": %d", id, id+1, id))
					}
				}
			}
		}
		for s := int64(0); s < 20; s++ {
			at := begin + s*10_000_000
			for i := int64(0); i < opsPerStep; i++ {
				id++
				launch := at + i*20_000 + 2_000
				row("cuda_runtime", "cudaLaunchKernel", launch, 3_000, pid, pid, fmt.Sprintf("\"External id\": %d, \"cbid\": 211, \"correlation\": %d", id, id))
				row("kernel", fmt.Sprintf("void at::native::vectorized_elementwise_kernel<4, at::native::op%d>(int, float*)", next(60)), launch+4_000+int64(next(1000)), 8_000+int64(next(7000)), 0, 7, fmt.Sprintf("\"External id\": %d, \"queued\": 0, \"device\": 0, \"context\": 1,\n      \"stream\": 7, \"correlation\": %d,\n      \"registers per thread\": 32, \"shared memory\": 0, \"blocks per SM\": 1.5, \"warps per SM\": 6.0,\n      \"grid\": [%d, 1, 1], \"block\": [128, 1, 1], \"est. achieved occupancy %%\": 9", id, id, next(4000)))
			}
		}
	}
	fmt.Fprint(out, "\n  ], \"traceName\": \"/tmp/x.json\"\n}\n")
	if err := out.w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return out.n
}

type counter struct {
	w *bufio.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}

// BenchmarkAnalyze is the cost of every answer, from a .gz, per megabyte of text. On two
// cores the aim is 500 MB/s without Python rows and 250 with them.
func BenchmarkAnalyze(b *testing.B) {
	for _, python := range []bool{false, true} {
		b.Run(fmt.Sprintf("python=%t", python), func(b *testing.B) {
			dir := os.Getenv("SERVEBENCH_BENCH_DIR")
			if dir == "" {
				dir = b.TempDir()
			}
			path := filepath.Join(dir, fmt.Sprintf("python-%t.json.gz", python))
			size := generate(b, path, benchSize(), python)
			b.SetBytes(size)
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				if _, err := Analyze(context.Background(), []string{path}, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-from-system")
		})
	}
}
