package datasets_test

import (
	"path/filepath"
	"testing"

	"servebench/datasets"
	"servebench/datasets/tokenizer"
)

// BenchmarkRandom is the cost of a random prompt of 1,024 tokens. A hundred thousand of
// them must take seconds, so a prompt has a few hundred microseconds.
func BenchmarkRandom(b *testing.B) {
	for _, name := range []string{"gpt2", "llama3", "llama2"} {
		b.Run(name, func(b *testing.B) {
			tok, err := tokenizer.Load(filepath.Join(goldenRoot(), "tokenizers", name))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			const prompts = 500
			for b.Loop() {
				src, err := datasets.New("random")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := datasets.Load(b.Context(), src, datasets.Options{Requests: prompts, Tokenizer: tok}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*prompts), "µs/prompt")
		})
	}
}
