package loadgen

import "sync"

// A mailbox is a queue without a limit, on purpose: neither a stalled disk behind the records nor a
// full server behind the concurrency limit may hold up the one who puts.
type mailbox[T any] struct {
	mu     sync.Mutex
	more   sync.Cond
	items  []T
	closed bool
}

func newMailbox[T any]() *mailbox[T] {
	m := new(mailbox[T])
	m.more.L = &m.mu
	return m
}

func (m *mailbox[T]) put(item T) {
	m.mu.Lock()
	m.items = append(m.items, item)
	m.mu.Unlock()
	m.more.Signal()
}

// close lets takers end once the mailbox is empty.
func (m *mailbox[T]) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.more.Broadcast()
}

// take waits for the next item; false when the mailbox is closed and empty.
func (m *mailbox[T]) take() (item T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.items) == 0 {
		if m.closed {
			return item, false
		}
		m.more.Wait()
	}
	item = m.items[0]
	var zero T
	m.items[0] = zero
	m.items = m.items[1:]
	return item, true
}
