package tokenizer

import (
	"path/filepath"
	"strings"
	"testing"
)

// proseOf is text of words in many orders, in pieces of about 4 kB: short words
// come again, as they do in prompts.
func proseOf(pieces int) (texts []string, size int) {
	words := strings.Fields(`the server answers each request with a stream of tokens and the client counts
		them as they come; when func main() { return nil } fails we read "error: 0x1F at line 1234" and look
		again. Latency isn't throughput: they'll differ, don't mix them. Größe, naïve café, 你好世界 и снова привет.`)
	state := uint64(1)
	for range pieces {
		var out strings.Builder
		for out.Len() < 4096 {
			state = state*6364136223846793005 + 1442695040888963407
			out.WriteString(words[state>>33%uint64(len(words))])
			if state>>60 == 0 {
				out.WriteString("\n\n")
			} else {
				out.WriteByte(' ')
			}
		}
		texts = append(texts, out.String())
		size += out.Len()
	}
	return texts, size
}

// BenchmarkEncode is the speed of counting prompts. The bar is the Rust library
// (0.23.3) on the same text and machine, one thread. MB/s there and here:
//
//	gpt2 4.9 113, llama3 4.2 102, llama2 5.5 78, unigram 4.8 22, wordpiece 3.4 26
func BenchmarkEncode(b *testing.B) {
	texts, size := proseOf(64)
	dir := goldenDir(b)
	for _, name := range []string{"gpt2", "llama3", "llama2", "unigram", "wordpiece"} {
		b.Run(name, func(b *testing.B) {
			tok, err := Load(filepath.Join(dir, name))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, text := range texts {
					if _, err := tok.Encode(text, true); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkDecode is the speed of turning ids back into text.
func BenchmarkDecode(b *testing.B) {
	texts, size := proseOf(16)
	dir := goldenDir(b)
	for _, name := range []string{"llama3", "llama2"} {
		b.Run(name, func(b *testing.B) {
			tok, err := Load(filepath.Join(dir, name))
			if err != nil {
				b.Fatal(err)
			}
			var ids [][]int
			for _, text := range texts {
				one, err := tok.Encode(text, false)
				if err != nil {
					b.Fatal(err)
				}
				ids = append(ids, one)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				for _, one := range ids {
					if _, err := tok.Decode(one); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkLoad is what a start of the program pays.
func BenchmarkLoad(b *testing.B) {
	dir := filepath.Join(goldenDir(b), "llama3")
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
