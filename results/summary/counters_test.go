package summary

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpecDecoding(t *testing.T) {
	before := "# HELP x\nvllm:spec_decode_num_drafts_total{engine=\"0\"} 10\nvllm:spec_decode_num_drafts_total{engine=\"1\"} 10\n" +
		"vllm:spec_decode_num_draft_tokens_total 40\nvllm:spec_decode_num_accepted_tokens_total 5\n" +
		"vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"1\"} 2\n"
	after := "vllm:spec_decode_num_drafts_total{engine=\"0\"} 30\nvllm:spec_decode_num_draft_tokens_total 60\n" +
		"vllm:spec_decode_num_accepted_tokens_total 15.9\r\nvllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 4\n" +
		"vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"x\"} 4\nvllm:spec_decode_num_drafts_created 7\nvllm:spec_decode_num_drafts_total{a=\"b c\"} 9\n"
	want := &SpecDecode{AcceptanceRate: 50, AcceptanceLength: 2, Drafts: 10, DraftTokens: 20, AcceptedTokens: 10, PerPosition: []float64{0.4, 0}}
	if diff := cmp.Diff(want, SpecDecoding(before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := SpecDecoding("", after); got != nil {
		t.Errorf("without a first reading: %+v", got)
	}
	if got := SpecDecoding(after, after); got != nil {
		t.Errorf("without progress: %+v", got)
	}
}

func FuzzCounters(f *testing.F) {
	f.Add("vllm:spec_decode_num_drafts_total 1\n", "vllm:diffusion_num_denoising_steps_total{a=\"b\"} 2e3\n")
	f.Add("vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"", "vllm:diffusion_num_committed_tokens_total\t1\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, texts := range [][2]string{{before, after}, {after, before + after}} {
			if s := SpecDecoding(texts[0], texts[1]); s != nil && (s.DraftTokens <= 0 || math.IsNaN(s.AcceptanceRate)) {
				t.Fatalf("%+v", s)
			}
			if d := DiffusionDecoding(texts[0], texts[1], 1); d != nil && math.IsNaN(d.StepsPerCanvas) {
				t.Fatalf("%+v", d)
			}
		}
	})
}
