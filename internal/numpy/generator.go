package numpy

import (
	"fmt"
	"math/bits"
	"sort"
)

// A Generator is numpy.random.default_rng: a PCG64 whose state comes from a SeedSequence.
type Generator struct {
	hi, lo       uint64 // state
	incHi, incLo uint64
	// Draws of 32 bits take the low half of a word first; the high half waits here.
	half    uint32
	hasHalf bool
}

// NewGenerator is numpy.random.default_rng(seed).
func NewGenerator(seed uint64) *Generator {
	words := seedSequence(seed)
	g := &Generator{
		incHi: words[2]<<1 | words[3]>>63,
		incLo: words[3]<<1 | 1,
	}
	g.step()
	var carry uint64
	g.lo, carry = bits.Add64(g.lo, words[1], 0)
	g.hi, _ = bits.Add64(g.hi, words[0], carry)
	g.step()
	return g
}

// seedSequence is SeedSequence(seed).generate_state(4, uint64).
func seedSequence(seed uint64) [4]uint64 {
	const (
		initA, multA = 0x43b0d7e5, 0x931e8875
		initB, multB = 0x8b51f9dd, 0x58f38ded
		mixL, mixR   = 0xca01f9dd, 0x4973f715
	)
	hash := uint32(initA)
	hashed := func(v uint32) uint32 {
		v ^= hash
		hash *= multA
		v *= hash
		return v ^ v>>16
	}
	pool := [4]uint32{uint32(seed), uint32(seed >> 32)}
	for i := range pool {
		pool[i] = hashed(pool[i])
	}
	for src := range pool {
		for dst := range pool {
			if src != dst {
				v := mixL*pool[dst] - mixR*hashed(pool[src])
				pool[dst] = v ^ v>>16
			}
		}
	}
	hash = initB
	var out [4]uint64
	for i := range 8 {
		v := pool[i%4] ^ hash
		hash *= multB
		v *= hash
		v ^= v >> 16
		out[i/2] |= uint64(v) << (32 * (i % 2))
	}
	return out
}

func (g *Generator) step() {
	const multHi, multLo = 2549297995355413924, 4865540595714422341
	hi, lo := bits.Mul64(g.lo, multLo)
	hi += g.hi*multLo + g.lo*multHi
	var carry uint64
	g.lo, carry = bits.Add64(lo, g.incLo, 0)
	g.hi, _ = bits.Add64(hi, g.incHi, carry)
}

// Uint64 is the next word of the stream.
func (g *Generator) Uint64() uint64 {
	g.step()
	return bits.RotateLeft64(g.hi^g.lo, -int(g.hi>>58))
}

func (g *Generator) uint32() uint32 {
	if g.hasHalf {
		g.hasHalf = false
		return g.half
	}
	w := g.Uint64()
	g.half, g.hasHalf = uint32(w>>32), true
	return uint32(w)
}

// Float64 is random(): uniform in [0, 1), from a fresh word.
func (g *Generator) Float64() float64 { return float64(g.Uint64()>>11) / (1 << 53) }

// IntN is integers(0, n). It panics if n is not positive; n = 1 draws nothing.
func (g *Generator) IntN(n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("numpy: integers below %d", n))
	}
	top := uint64(n - 1)
	switch {
	case top == 0:
		return 0
	case top < 1<<32-1:
		excl := uint32(n)
		m := uint64(g.uint32()) * uint64(excl)
		if uint32(m) < excl {
			for limit := -excl % excl; uint32(m) < limit; {
				m = uint64(g.uint32()) * uint64(excl)
			}
		}
		return int(m >> 32)
	case top == 1<<32-1:
		return int(g.uint32())
	}
	excl := uint64(n)
	hi, lo := bits.Mul64(g.Uint64(), excl)
	if lo < excl {
		for limit := -excl % excl; lo < limit; {
			hi, lo = bits.Mul64(g.Uint64(), excl)
		}
	}
	return int(hi)
}

// Between is integers(low, high+1): both ends included. It panics if high is below low.
func (g *Generator) Between(low, high int) int { return low + g.IntN(high-low+1) }

// Ints is integers(low, high+1, size=count): both ends included.
func (g *Generator) Ints(low, high, count int) []int {
	out := make([]int, count)
	for i := range out {
		out[i] = g.Between(low, high)
	}
	return out
}

// Bytes fills p as integers(0, 256, size=len(p), dtype=uint8) does: four bytes a
// draw of 32 bits, low byte first; what is left of the last draw is dropped.
func (g *Generator) Bytes(p []byte) {
	for len(p) > 0 {
		w := g.uint32()
		for i := range min(4, len(p)) {
			p[i] = byte(w >> (8 * i))
		}
		p = p[min(4, len(p)):]
	}
}

// Weighted is choice(len(weights), p=weights). The weights must add up to something positive.
func (g *Generator) Weighted(weights []float64) int {
	sums := make([]float64, len(weights))
	sum := 0.0
	for i, w := range weights {
		sum += w
		sums[i] = sum
	}
	u := g.Float64()
	return sort.Search(len(sums), func(i int) bool { return sums[i]/sum > u })
}

// Shuffle is shuffle() of n values of which swap exchanges two.
func (g *Generator) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		mask := uint32(onesUpTo(uint64(i)))
		j := g.uint32() & mask
		for j > uint32(i) {
			j = g.uint32() & mask
		}
		swap(i, int(j))
	}
}

// Permutation is permutation(n).
func (g *Generator) Permutation(n int) []int {
	p := count(n)
	g.Shuffle(n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}

// SkipBytes leaves the stream as Bytes of n bytes would.
func (g *Generator) SkipBytes(n int) {
	draws := (n + 3) / 4
	if g.hasHalf && draws > 0 {
		g.uint32()
		draws--
	}
	g.advance(uint64(draws / 2))
	if draws%2 == 1 {
		g.uint32()
	}
}

// advance moves n steps on, in time that grows with the logarithm of n: the step is
// affine, and so is its square.
func (g *Generator) advance(n uint64) {
	mulHi, mulLo := uint64(2549297995355413924), uint64(4865540595714422341)
	addHi, addLo := g.incHi, g.incLo
	times := func(aHi, aLo, bHi, bLo uint64) (hi, lo uint64) {
		hi, lo = bits.Mul64(aLo, bLo)
		return hi + aHi*bLo + aLo*bHi, lo
	}
	plus := func(aHi, aLo, bHi, bLo uint64) (hi, lo uint64) {
		lo, carry := bits.Add64(aLo, bLo, 0)
		hi, _ = bits.Add64(aHi, bHi, carry)
		return hi, lo
	}
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			g.hi, g.lo = times(g.hi, g.lo, mulHi, mulLo)
			g.hi, g.lo = plus(g.hi, g.lo, addHi, addLo)
		}
		oneHi, oneLo := plus(mulHi, mulLo, 0, 1)
		addHi, addLo = times(addHi, addLo, oneHi, oneLo)
		mulHi, mulLo = times(mulHi, mulLo, mulHi, mulLo)
	}
}
