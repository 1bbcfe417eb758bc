package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelStamps says that this system stamps TCP.
const kernelStamps = true

// control builds control messages from level, type and data.
func controlOf(messages ...any) []byte {
	var b []byte
	for i := 0; i < len(messages); i += 3 {
		level, kind, data := messages[i].(int), messages[i+1].(int), messages[i+2].([]byte)
		one := make([]byte, unix.CmsgSpace(len(data)))
		word := unix.CmsgLen(0) - 8 // the length's size
		if word == 8 {
			binary.NativeEndian.PutUint64(one, uint64(unix.CmsgLen(len(data))))
		} else {
			binary.NativeEndian.PutUint32(one, uint32(unix.CmsgLen(len(data))))
		}
		binary.NativeEndian.PutUint32(one[word:], uint32(level))
		binary.NativeEndian.PutUint32(one[word+4:], uint32(kind))
		copy(one[unix.CmsgLen(0):], data)
		b = append(b, one...)
	}
	return b
}

func times(sec, nsec uint64) []byte {
	b := make([]byte, 48)
	binary.NativeEndian.PutUint64(b, sec)
	binary.NativeEndian.PutUint64(b[8:], nsec)
	return b
}

func extended(origin byte, info, data uint32) []byte {
	b := make([]byte, 16)
	b[4] = origin
	binary.NativeEndian.PutUint32(b[8:], info)
	binary.NativeEndian.PutUint32(b[12:], data)
	return b
}

func TestControlMessages(t *testing.T) {
	stamp := controlOf(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, times(7, 5))
	const at int64 = 7_000_000_005
	for _, tc := range []struct {
		name     string
		control  []byte
		received bool
		sent     bool
		position uint32
		what     uint32
	}{
		{"nothing", nil, false, false, 0, 0},
		{"a receive stamp", stamp, true, false, 0, 0},
		{"behind another message", append(controlOf(unix.SOL_IP, unix.IP_TTL, []byte{1, 0, 0, 0}), stamp...), true, false, 0, 0},
		{"no software stamp", controlOf(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, times(0, 0)), false, false, 0, 0},
		{"too short", controlOf(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, make([]byte, 8)), false, false, 0, 0},
		{"cut", stamp[:len(stamp)-1], false, false, 0, 0},
		{"a send stamp", append(bytes.Clone(stamp), controlOf(unix.SOL_IP, unix.IP_RECVERR, extended(4, 0, 99))...), true, true, 99, 0},
		{"over IPv6", append(bytes.Clone(stamp), controlOf(unix.SOL_IPV6, unix.IPV6_RECVERR, extended(4, 0, 99))...), true, true, 99, 0},
		{"of another origin", append(bytes.Clone(stamp), controlOf(unix.SOL_IP, unix.IP_RECVERR, extended(2, 0, 99))...), true, false, 0, 0},
		{"of the queue, not the driver", append(bytes.Clone(stamp), controlOf(unix.SOL_IP, unix.IP_RECVERR, extended(4, 1, 99))...), true, true, 99, 1},
		{"of the acknowledgement", append(bytes.Clone(stamp), controlOf(unix.SOL_IP, unix.IP_RECVERR, extended(4, 2, 99))...), true, false, 0, 0},
		{"an error cut short", append(bytes.Clone(stamp), controlOf(unix.SOL_IP, unix.IP_RECVERR, make([]byte, 8))...), true, false, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := receiveStamp(tc.control)
			if ok != tc.received || ok && got != at {
				t.Errorf("receive stamp %d, %t; want %d, %t", got, ok, at, tc.received)
			}
			got, position, what, ok := sendStamp(tc.control)
			if ok != tc.sent || ok && (got != at || position != tc.position || what != tc.what) {
				t.Errorf("send stamp %d of byte %d, kind %d, %t; want %d, %d, %d, %t", got, position, what, ok, at, tc.position, tc.what, tc.sent)
			}
		})
	}
}

func FuzzControlMessages(f *testing.F) {
	f.Add(controlOf(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, times(7, 5), unix.SOL_IP, unix.IP_RECVERR, extended(4, 0, 99)))
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, control []byte) {
		// Aligned, as the kernel writes them.
		aligned := make([]uint64, len(control)/8+1)
		b := unsafeBytes(aligned)[:len(control)]
		copy(b, control)
		receiveStamp(b)
		sendStamp(b)
	})
}

// TestStampOfALostSegment: when segments came out of order, a stamp that may be from before the bytes were there to read is not
// believed, nor is the next one; where none did, every stamp is.
func TestStampOfALostSegment(t *testing.T) {
	const us = int64(time.Microsecond)
	for _, tc := range []struct {
		name       string
		outOfOrder bool
		lag        int64
		afterLast  int64 // from the stamp of the read before
		full       bool
		early      [4]bool // of four reads like it
	}{
		{"in order", false, 10 * us, us, false, [4]bool{}},
		{"in order, seen late", false, 10_000 * us, us, false, [4]bool{}},
		{"in order, before the last look", false, 10 * us, -us, false, [4]bool{}},
		{"disordered, seen late", true, 10_000 * us, us, false, [4]bool{true, true}},
		{"disordered, seen late, with more to come", true, 10_000 * us, us, true, [4]bool{true, true, true, true}},
		{"disordered, seen at once", true, 10 * us, us, false, [4]bool{}},
		{"disordered, before the read before it", true, 30 * us, -us, false, [4]bool{true, true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, _ := connPair(t)
			var x Exchange
			client.Begin(&x)
			k := client.kernel
			if tc.outOfOrder {
				k.outOfOrder = 1 // differs from the connection's true count
			}
			seen := client.Clock().Now()
			var early [4]bool
			for i := range early {
				k.last = seen - tc.lag - tc.afterLast
				k.empty = k.last
				early[i] = k.early(seen-tc.lag, seen, tc.full)
			}
			if early != tc.early {
				t.Errorf("early %v, want %v", early, tc.early)
			}
			if got := x.isDisordered(); got != tc.early[0] {
				t.Errorf("found disordered: %t, want %t", got, tc.early[0])
			}
			// Whatever the reads found, asking finds it; and so does the next request's Begin.
			var next Exchange
			client.Begin(&next)
			if x.Disordered() != tc.outOfOrder || next.Disordered() {
				t.Errorf("in the end disordered: %t, and the next exchange: %t", x.Disordered(), next.Disordered())
			}
			// From then on every read asks, however soon it was seen.
			if tc.outOfOrder {
				k.outOfOrder, k.doubtful, k.last, k.empty = 2, 0, 0, 0
				if !k.early(seen-10*us, seen, false) {
					t.Error("on a connection known for disorder a new one went unnoticed")
				}
			}
		})
	}
}

func TestStateCostsNoAllocation(t *testing.T) {
	client, _ := connPair(t)
	if allocs := testing.AllocsPerRun(100, client.disordered); allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func TestDescriptorThatIsNotPollable(t *testing.T) {
	client, server := connPair(t)
	k := client.kernel
	// What Read falls back to while the runtime's poller refuses the descriptor.
	for _, text := range []string{"there already", "again"} {
		send(t, server, text)
		b := make([]byte, 100)
		k.in.vec.Base = &b[0]
		k.in.vec.SetLen(len(b))
		if err := k.readUnpolled(); err != nil || string(b[:k.in.n]) != text {
			t.Errorf("read %q, %v; want %q", b[:k.in.n], err, text)
		}
	}
	k.in.vec.Base = nil
}

func unsafeBytes(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
}
