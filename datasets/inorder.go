package datasets

import (
	"context"
	"sync"
)

// inOrder runs work for 0 .. n-1 on several goroutines and hands the results to take one
// at a time and in order, which stops it by returning false or an error; so does ctx. Work
// runs only a little ahead of take, so that not all results have to be kept. All
// goroutines have ended when it returns.
func inOrder[T any](ctx context.Context, n, workers int, work func(i int) (T, error), take func(i int, v T) (bool, error)) error {
	type result struct {
		value T
		err   error
	}
	workers = max(1, min(workers, n))
	window := 8 * workers
	slots := make([]chan result, window)
	for i := range slots {
		slots[i] = make(chan result, 1)
	}
	jobs := make(chan int, window)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range jobs {
				v, err := work(i)
				slots[i%window] <- result{v, err}
			}
		})
	}
	defer wg.Wait()
	defer close(jobs)
	next := 0
	for i := range n {
		// A slot is free once its result has been taken, so nothing here can block.
		for ; next < n && next < i+window; next++ {
			jobs <- next
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r := <-slots[i%window]
		if r.err != nil {
			return r.err
		}
		if more, err := take(i, r.value); err != nil || !more {
			return err
		}
	}
	return nil
}
