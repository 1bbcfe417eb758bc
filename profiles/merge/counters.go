package merge

import (
	"math"
	"strconv"
	"time"

	"servebench/profiles/trace"
)

// A counter is a sample of Gaudi's per-step counters: how many requests, and of a prompt how many
// tokens, a batch held. The rows of the steps themselves do not say. Times are the file's.
type counter struct {
	at            int64
	prompt        bool
	batch, tokens int // -1 unknown
}

// counterOf reads the sample of one event.
func counterOf(e *trace.Event) (c counter, ok bool) {
	if e.Phase != 'C' || e.Name != "utils" || !e.HasTS {
		return counter{}, false
	}
	value := func(key string) (float64, bool) {
		text, ok := e.ArgString(key)
		if !ok {
			return 0, false
		}
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v >= 0 && v < math.MaxInt32
	}
	c = counter{at: e.TS, batch: -1, tokens: -1}
	if batch, has := value("prompt_batch_size"); has {
		c.prompt, c.batch = true, int(batch)
		use, ok1 := value("prompt_batch_token_utilization")
		bucketBatch, ok2 := value("prompt_bucket_batch_size")
		bucketLength, ok3 := value("prompt_bucket_seq_len")
		if ok1 && ok2 && ok3 {
			c.tokens = int(math.Round(use * bucketBatch * bucketLength))
		}
		return c, true
	}
	if batch, has := value("decode_batch_size"); has {
		c.batch = int(batch)
		return c, true
	}
	return counter{}, false
}

// near is how long after its sample a step may begin.
const near = int64(time.Millisecond)

// count gives the steps of one rank that do not say how many requests they held what the counters say.
// Each sample belongs to the step of its phase that follows within a millisecond. Both are in order
// of time.
func count(steps []*Step, counters []counter) {
	for _, prompt := range []bool{true, false} {
		next := 0
		for _, s := range steps {
			if s.Prompts >= 0 || s.Decodes >= 0 || (s.Phase == Prefill) != prompt || s.Phase != Prefill && s.Phase != Decode {
				continue
			}
			found := -1
			for ; next < len(counters) && counters[next].at <= s.Start; next++ {
				if counters[next].prompt == prompt && s.Start-counters[next].at < near {
					found = next // the latest before the step
				}
			}
			if found < 0 {
				continue
			}
			c := counters[found]
			if prompt {
				s.Prompts, s.PromptTokens, s.Decodes, s.DecodeTokens = c.batch, c.tokens, 0, 0
			} else {
				s.Prompts, s.PromptTokens, s.Decodes, s.DecodeTokens = 0, 0, c.batch, c.batch
			}
		}
	}
}
