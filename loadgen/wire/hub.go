package wire

// A Receiver takes what a Hub reads from a Line.
type Receiver interface {
	// Receive takes the bytes of one read with its stamps, or the error behind which nothing comes: io.EOF when the server closed
	// the connection, net.ErrClosed when the client did. It runs on the Hub's thread: while it does, no other connection is read. It
	// must not call the Line, and may change the bytes but not keep them.
	//
	// What wakes a goroutine does not belong there: the runtime would let that one run first when it next makes the thread stop. It
	// belongs into wake, which is called elsewhere soon afterwards; nil is nothing.
	Receive(b []byte, r Read, err error) (wake func())
}
