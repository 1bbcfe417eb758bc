//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package tokenizer

import (
	"context"
	"sync"
)

var oneDownload sync.Mutex

// lock keeps other goroutines from the same download; this system has no flock for
// other processes.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	oneDownload.Lock()
	return oneDownload.Unlock, ctx.Err()
}
