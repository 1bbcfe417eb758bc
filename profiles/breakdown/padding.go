package breakdown

import (
	"slices"
	"strings"
)

// paddingFigures joins counters to steps and reports how much of the work was padding.
func (a *analysis) paddingFigures() {
	type bucketKey struct{ phase, bucket string }
	type waste struct{ batch, prompt, blocks, seconds weighted }
	buckets := map[bucketKey]*waste{}
	counts := map[bucketKey]*PaddingBucket{}
	var all waste
	out := &Padding{}
	var wastedTokens float64
	any, anyTokens := false, false
	for _, c := range a.files {
		used := map[*step]bool{}
		for _, row := range c.counters {
			phase := ""
			for _, p := range []string{"prompt", "decode"} {
				if _, ok := row.values[p+"_bucket_batch_size"]; ok {
					phase = p
				}
			}
			if phase == "" {
				continue
			}
			any = true
			s := c.counted(row, phase, used)
			if s == nil {
				out.Unjoined++
				continue
			}
			used[s] = true
			out.Joined++
			ns := s.end - s.start
			bucketBatch, batch := row.values[phase+"_bucket_batch_size"], row.values[phase+"_batch_size"]
			if s.shape == nil {
				s.shape = &gaudiShape{batch: int64(bucketBatch), seq: int64(row.values[phase+"_bucket_seq_len"]), ctx: int64(row.values[phase+"_bucket_ctx_blocks"]), graphs: "?"}
				s.bucket = s.shape.String()
			}
			k := bucketKey{s.info.phase, s.bucket}
			w, b := buckets[k], counts[k]
			if w == nil {
				w, b = &waste{}, &PaddingBucket{Phase: k.phase, Bucket: k.bucket}
				buckets[k], counts[k] = w, b
			}
			b.Count++
			b.Total += ns
			if bucketBatch > 0 {
				v := 1 - batch/bucketBatch
				w.batch.add(v, ns)
				all.batch.add(v, ns)
			}
			if phase == "prompt" {
				if u, ok := row.values["prompt_batch_token_utilization"]; ok {
					w.prompt.add(1-u, ns)
					all.prompt.add(1-u, ns)
					all.seconds.add(1-u, ns)
					if seq := row.values["prompt_bucket_seq_len"]; seq > 0 && bucketBatch > 0 {
						wastedTokens += (1 - u) * bucketBatch * seq
						anyTokens = true
					}
				}
				continue
			}
			if bucketBatch > 0 {
				all.seconds.add(1-batch/bucketBatch, ns)
			}
			if ctx := row.values["decode_bucket_ctx_blocks"]; ctx > 0 {
				if blocks, ok := row.values["cache_num_blocks_used"]; ok {
					v := 1 - blocks/ctx
					w.blocks.add(v, ns)
					all.blocks.add(v, ns)
				}
			}
		}
	}
	if !any {
		return
	}
	for k, b := range counts {
		w := buckets[k]
		b.Batch, b.PromptTokens, b.DecodeBlocks = w.batch.mean(), w.prompt.mean(), w.blocks.mean()
		out.Buckets = append(out.Buckets, *b)
	}
	slices.SortFunc(out.Buckets, func(x, y PaddingBucket) int {
		if x.Total != y.Total {
			return -cmpInt(x.Total, y.Total)
		}
		return strings.Compare(x.Phase+x.Bucket, y.Phase+y.Bucket)
	})
	out.Batch, out.PromptTokens, out.DecodeBlocks = all.batch.mean(), all.prompt.mean(), all.blocks.mean()
	if anyTokens {
		out.WastedTokens = ptr(round(wastedTokens, 3))
	}
	if all.seconds.ns > 0 {
		out.WastedSeconds = ptr(round(all.seconds.sum/1e9, 9))
	}
	a.report.Padding = out
	if out.Unjoined > 0 {
		a.warn("%d padding counters could not be joined to a step", out.Unjoined)
	}
	// A bucket may have become known only now.
	if len(a.report.Steps) == len(a.steps) {
		for i, s := range a.steps {
			a.report.Steps[i].Bucket = s.bucket
		}
		a.report.Phases = a.phases(a.engineSteps(), true)
	}
}

// weighted is a mean weighted by time.
type weighted struct {
	sum float64
	ns  int64
}

func (w *weighted) add(v float64, ns int64) {
	w.sum += v * float64(ns)
	w.ns += ns
}

func (w *weighted) mean() *float64 {
	if w.ns == 0 {
		return nil
	}
	return ptr(round(w.sum/float64(w.ns), 6))
}

// counted is the step that a counter belongs to: the nearest one of its phase that
// begins within a millisecond after it, on the same process where they say so.
func (c *contents) counted(row counterRow, phase string, used map[*step]bool) *step {
	want := phasePrefill
	if phase == "decode" {
		want = phaseDecode
	}
	var later *step
	for _, s := range c.stepList {
		if s.rule != ruleGaudi || s.info.phase != want || used[s] || s.start < row.ts || c.threads[s.thread].pid != row.pid {
			continue
		}
		if later == nil || s.start < later.start {
			later = s
		}
	}
	if later != nil && later.start-row.ts < 1_000_000 {
		return later
	}
	return later // by order: the next of its phase that has no counter yet
}
