package wire

// noteSent adds the kernel's stamp of the last byte written. A later one, taken further down, replaces it.
func (x *Exchange) noteSent(c *Conn, at int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn != c {
		return
	}
	x.sent = at
	if !x.write.Busy && x.write.Count > 0 {
		x.write.At, x.write.Kind = at, Kernel
	}
}

// noteDisorder notes that segments came out of order.
func (x *Exchange) noteDisorder(c *Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn == c {
		x.disorder = true
	}
}
