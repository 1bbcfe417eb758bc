package numpy

import (
	"fmt"
	"math/bits"
)

// A Python is CPython's random.Random.
type Python struct{ twister twister }

// NewPython is random.Random(seed).
func NewPython(seed uint64) *Python {
	p := new(Python)
	p.Seed(seed)
	return p
}

// Seed is random.seed(seed).
func (p *Python) Seed(seed uint64) {
	words := []uint32{uint32(seed), uint32(seed >> 32)}
	if words[1] == 0 {
		words = words[:1]
	}
	p.twister.seedWords(words)
	p.twister.pos = twisterWords
}

// Float64 is random.random().
func (p *Python) Float64() float64 { return p.twister.float64() }

// Bits is random.getrandbits(k), for k from 0 to 64.
func (p *Python) Bits(k int) uint64 {
	switch {
	case k <= 0:
		return 0
	case k <= 32:
		return uint64(p.twister.uint32() >> (32 - k))
	}
	low := uint64(p.twister.uint32())
	return uint64(p.twister.uint32()>>(64-k))<<32 | low
}

// IntN is random.randrange(n), and the index that random.choice takes of n values. It
// panics if n is not positive.
func (p *Python) IntN(n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("numpy: randrange below %d", n))
	}
	k := bits.Len(uint(n))
	for {
		if v := p.Bits(k); v < uint64(n) {
			return int(v)
		}
	}
}

// Shuffle is random.shuffle of n values of which swap exchanges two.
func (p *Python) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, p.IntN(i+1))
	}
}

// Choices is the indices that random.choices takes of n values, count times with replacement.
func (p *Python) Choices(n, count int) []int {
	out := make([]int, count)
	for i := range out {
		out[i] = int(p.Float64() * float64(n))
	}
	return out
}
