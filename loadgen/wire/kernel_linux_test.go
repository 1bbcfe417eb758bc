package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
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

// TestStampOfALostSegment: on a connection where segments came out of order, a stamp from before the bytes can have come is
// not believed; on any other it is.
func TestStampOfALostSegment(t *testing.T) {
	for _, outOfOrder := range []bool{false, true} {
		client, server := connPair(t)
		var x Exchange
		client.Begin(&x)
		send(t, server, "a")
		receive(t, client, "a")
		// As if the read before had been stamped later than what comes next will be.
		client.kernel.last += 1 << 40
		if outOfOrder {
			client.kernel.outOfOrder = 1 // differs from the connection's true count
		}
		send(t, server, "b")
		receive(t, client, "b")
		r := x.LastRead()
		want := Kernel
		if outOfOrder {
			want = User
		}
		if r.Kind != want || r.Lag() < 0 || x.Disordered() != outOfOrder {
			t.Errorf("out of order %t: read %+v, disordered %t; want kind %v", outOfOrder, r, x.Disordered(), want)
		}
	}
}

func TestDescriptorThatIsNotPollable(t *testing.T) {
	client, server := connPair(t)
	k := client.kernel
	// What Read falls back to while the runtime's poller refuses the descriptor.
	for _, text := range []string{"there already", "again"} {
		send(t, server, text)
		b := make([]byte, 100)
		k.readVec.Base = &b[0]
		k.readVec.SetLen(len(b))
		if err := k.readUnpolled(); err != nil || string(b[:k.readN]) != text {
			t.Errorf("read %q, %v; want %q", b[:k.readN], err, text)
		}
	}
	k.readVec.Base = nil
}

func unsafeBytes(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
}
