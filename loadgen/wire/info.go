package wire

import "time"

// Info is what the kernel knows about a TCP connection, at the moment of asking.
type Info struct {
	// Retransmits is the number of segments this side sent again, since the connection began.
	Retransmits int
	// OutOfOrder is the number of segments that came out of order, since the connection began.
	OutOfOrder int
	// ReceiveQueue is the number of bytes that came and wait for the client to read them,
	// SendQueue the number of bytes that wait to be sent or acknowledged.
	ReceiveQueue, SendQueue int
	// RTT is the smoothed round-trip time, MinRTT the smallest seen.
	RTT, MinRTT time.Duration
}
