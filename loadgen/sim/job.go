package sim

import (
	"context"
	"errors"
	"sync"
)

// A job is one request on its way: its sequences are with the engine, its tokens come back here.
type job struct {
	log  RequestLog
	seqs []*sequence
	out  outlet
}

// An outlet is a queue of tokens without a limit, so that the engine never waits for a stream.
type outlet struct {
	mu     sync.Mutex
	tokens []token
	more   chan struct{}
}

func newOutlet() outlet { return outlet{more: make(chan struct{}, 1)} }

func (o *outlet) put(t token) {
	o.mu.Lock()
	o.tokens = append(o.tokens, t)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// isEmpty says that no token waits.
func (o *outlet) isEmpty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.tokens) == 0
}

// errClosed is what a request ends with when the server is closed under it.
var errClosed = errors.New("the server was closed")

// next waits for the next token.
func (o *outlet) next(ctx context.Context, closing <-chan struct{}) (token, error) {
	for {
		o.mu.Lock()
		if len(o.tokens) > 0 {
			t := o.tokens[0]
			o.tokens = o.tokens[1:]
			o.mu.Unlock()
			return t, nil
		}
		o.mu.Unlock()
		select {
		case <-o.more:
		case <-ctx.Done():
			return token{}, ctx.Err()
		case <-closing:
			return token{}, errClosed
		}
	}
}
