package numpy

import (
	"encoding/binary"
	"math/bits"
)

// StringHash is CPython's hash() of an ASCII string in a process started with
// PYTHONHASHSEED=seed: SipHash-1-3 under a key that the seed expands to.
func StringHash(seed uint32, s string) int64 {
	if s == "" {
		return 0
	}
	var key [16]byte
	if seed != 0 {
		x := seed
		for i := range key {
			x = x*214013 + 2531011
			key[i] = byte(x >> 16)
		}
	}
	h := int64(siphash13(binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:]), s))
	if h == -1 {
		return -2 // -1 means an error inside CPython
	}
	return h
}

func siphash13(k0, k1 uint64, s string) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v1
		v0 += v3
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(s)) << 56
	for ; len(s) >= 8; s = s[8:] {
		m := binary.LittleEndian.Uint64([]byte(s[:8]))
		v3 ^= m
		round()
		v0 ^= m
	}
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	v3 ^= last
	round()
	v0 ^= last
	v2 ^= 0xff
	round()
	round()
	round()
	return v0 ^ v1 ^ v2 ^ v3
}
