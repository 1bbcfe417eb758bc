package wire

import (
	"net"
	"testing"
	"time"
)

// TestSegmentsLeaveOneByOne writes pieces at once and finds each in a read of its own, stamped by both sides alike.
func TestSegmentsLeaveOneByOne(t *testing.T) {
	if Stamps() != Kernel {
		t.Skip("this kernel stamps nothing")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clock := NewClock()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	reader := Wrap(client, clock)
	defer reader.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	hub, err := NewHub(clock)
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	line, err := hub.Take(Wrap(accepted, clock), nil)
	if err != nil {
		t.Fatal(err)
	}
	line.Rest()
	const size, pieces = 256, 20
	s, err := NewSegments(line, size*200) // one each 5 ms
	if err != nil {
		t.Skip(err)
	}
	for range pieces {
		if err := s.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	var reads []Read
	for got := 0; got < size*pieces; {
		n, err := reader.Read(make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		got += n
		reads = append(reads, reader.LastRead())
	}
	sent := s.Sent(time.Second)
	if len(sent) != pieces || len(reads) != pieces {
		t.Fatalf("%d stamps of %d pieces in %d reads", len(sent), pieces, len(reads))
	}
	for i, at := range sent {
		// A busy machine delays either side, but nothing comes before it left, and the kernel spaces what it paces.
		if at == 0 || reads[i].At < at {
			t.Errorf("piece %d left at %d and came at %d", i, at, reads[i].At)
		}
		if i > 10 && at-sent[i-1] < int64(4*time.Millisecond) {
			t.Errorf("piece %d left %v after the one before; want 5 ms or more", i, time.Duration(at-sent[i-1]))
		}
	}
	if again := s.Sent(0); len(again) != 0 {
		t.Errorf("the stamps come twice: %v", again)
	}
}
