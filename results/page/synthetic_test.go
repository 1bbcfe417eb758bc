package page

import (
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"servebench/results"
)

const syntheticBegan = results.Moment(1_700_000_000_000_000_000)

// requests are n requests with so many tokens each, at a hundred requests a second: what a long run looks like. In every hundredth second each
// gap is two seconds longer, and one request in fifty fails. They are the same at every look.
func requests(n, tokens int) iter.Seq2[*results.Record, error] {
	return func(yield func(*results.Record, error) bool) {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			due := syntheticBegan.Add(time.Duration(i) * 10 * time.Millisecond)
			rec := &results.Record{ID: i, Kind: results.Load, InputTokens: 100 + i%50, Due: due}
			rec.Released = due.Add(time.Duration(rng.IntN(20)) * time.Microsecond)
			rec.Dispatched = rec.Released.Add(2 * time.Microsecond)
			rec.WriteBegan, rec.Written = rec.Dispatched.Add(10*time.Microsecond), rec.Dispatched.Add(30*time.Microsecond)
			at := rec.Written.Add(time.Duration(20e6 + rng.ExpFloat64()*10e6))
			rec.Headers = at
			switch {
			case i%50 == 7:
				rec.Status, rec.Done = 503, at
				rec.Failure = &results.Failure{Class: results.FailStatus, Message: "503 Service Unavailable"}
			default:
				for range tokens {
					rec.Chunks = append(rec.Chunks, results.Chunk{At: at, Lag: time.Duration(rng.IntN(100)) * time.Microsecond, Tokens: 1, Visible: true})
					gap := time.Duration(8e6 + rng.ExpFloat64()*2e6)
					if second := time.Duration(at-syntheticBegan) / time.Second; second%100 == 50 {
						gap += 2 * time.Second
					}
					at = at.Add(gap)
				}
				rec.Status, rec.Done, rec.EndMarked, rec.Finish = 200, at, true, "length"
				rec.Usage = &results.Usage{Prompt: rec.InputTokens, Completion: tokens, Cached: -1}
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func syntheticManifest(n int) results.Manifest {
	return results.Manifest{
		Tool: "servebench test", Command: []string{"servebench", "run", "long run.yaml"}, Basis: results.Service, Stamps: "kernel",
		Settings: results.Settings{ModelID: "a/model", NumPrompts: n, RequestRate: 100, Percentiles: []float64{99}},
	}
}

// synthetic writes a run of them. change changes the manifest, and each record.
func synthetic(t testing.TB, n, tokens int, change func(*results.Manifest, *results.Record)) *results.Run {
	t.Helper()
	dir := t.TempDir() + "/run"
	m := syntheticManifest(n)
	if change != nil {
		change(&m, nil)
	}
	w, err := results.Create(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	var last results.Moment
	for rec := range requests(n, tokens) {
		if change != nil {
			change(nil, rec)
		}
		last = max(last, rec.Done)
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Update(func(m *results.Manifest) { m.Began, m.Ended = syntheticBegan, last }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Close() })
	return run
}
