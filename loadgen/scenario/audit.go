package scenario

import (
	"time"

	"servebench/loadgen/audit"
	"servebench/results"
)

// blockTokens is the length of a prefix cache's blocks: a prompt is found in it by whole ones.
const blockTokens = 16

// ledger is an empty one for the records of the load.
func (r *runner) ledger() *audit.Ledger {
	l := &audit.Ledger{}
	if r.Load.Concurrency == 0 && r.Load.Ramp == nil && !r.Load.Replay && len(r.Stages) == 0 && !r.Load.Rate.Infinite() && r.Shard.N <= 1 {
		l.Arrivals = audit.Arrivals{Rate: float64(*r.Load.Rate), Burstiness: float64(r.settings().Burstiness)}
	}
	return l
}

// audit holds the figures of the load against each other and against the server's own.
func (r *runner) audit(ledger *audit.Ledger, busy, duration time.Duration, before, after []byte) []results.Check {
	f := audit.Facts{Before: before, After: after, Busy: busy, Duration: duration}
	f.CachedShare, f.CachedWithin = r.cachedShare()
	if r.sharded() {
		// The server counted what the other shards sent too: the merged run is held against it.
		f.Before, f.After = nil, nil
	}
	return ledger.Checks(f)
}

// cachedShare is the share of prompt tokens that the server's prefix cache should hold, as far as the dataset tells.
func (r *runner) cachedShare() (*float64, float64) {
	d := r.Dataset
	requests := float64(r.Load.Requests)
	if d.Name != "random" && d.Name != "" || d.PrefixLen == nil || *d.PrefixLen == 0 || d.InputLen == nil || d.Options != nil || requests == 0 {
		return nil, 0
	}
	prefix, rest := float64(*d.PrefixLen), float64(*d.InputLen)
	share := prefix / (prefix + rest) * (requests - 1) / requests
	// A block that is not full is not found, and requests that start together find nothing of each other.
	together := max(1, float64(r.Load.Concurrency))
	return &share, blockTokens/(prefix+rest) + share*min(1, together/requests) + 0.02
}
