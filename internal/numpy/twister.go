package numpy

const (
	twisterWords = 624
	twisterShift = 397
)

// A twister is the Mersenne Twister MT19937, the engine below Legacy and Python.
type twister struct {
	key [twisterWords]uint32
	pos int
}

// seed fills the state from one word by Knuth's recurrence.
func (t *twister) seed(s uint32) {
	for i := range t.key {
		t.key[i] = s
		s = 1812433253*(s^s>>30) + uint32(i) + 1
	}
	t.pos = twisterWords
}

// seedWords fills the state from a list of words, of which there must be one.
func (t *twister) seedWords(words []uint32) {
	t.seed(19650218)
	i, j := 1, 0
	wrap := func() {
		if i++; i == twisterWords {
			t.key[0] = t.key[twisterWords-1]
			i = 1
		}
	}
	for range max(twisterWords, len(words)) {
		prev := t.key[i-1]
		t.key[i] = (t.key[i] ^ (prev^prev>>30)*1664525) + words[j] + uint32(j)
		wrap()
		if j++; j == len(words) {
			j = 0
		}
	}
	for range twisterWords - 1 {
		prev := t.key[i-1]
		t.key[i] = (t.key[i] ^ (prev^prev>>30)*1566083941) - uint32(i)
		wrap()
	}
	t.key[0] = 1 << 31
}

func (t *twister) refill() {
	twist := func(u, v uint32) uint32 {
		y := u&(1<<31) | v&(1<<31-1)
		return y>>1 ^ -(v&1)&0x9908b0df
	}
	k := &t.key
	for i := range twisterWords - twisterShift {
		k[i] = k[i+twisterShift] ^ twist(k[i], k[i+1])
	}
	for i := twisterWords - twisterShift; i < twisterWords-1; i++ {
		k[i] = k[i+twisterShift-twisterWords] ^ twist(k[i], k[i+1])
	}
	k[twisterWords-1] = k[twisterShift-1] ^ twist(k[twisterWords-1], k[0])
	t.pos = 0
}

// uint32 is the next word of the stream.
func (t *twister) uint32() uint32 {
	if t.pos == twisterWords {
		t.refill()
	}
	y := t.key[t.pos]
	t.pos++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// float64 is uniform in [0, 1) with 53 bits, from two words.
func (t *twister) float64() float64 {
	a, b := t.uint32()>>5, t.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// masked is uniform in [0, top] by rejection of masked words.
func (t *twister) masked(top uint64) uint64 {
	mask := onesUpTo(top)
	for {
		var v uint64
		if top <= 1<<32-1 {
			v = uint64(t.uint32()) & mask
		} else {
			high := uint64(t.uint32())
			v = (high<<32 | uint64(t.uint32())) & mask
		}
		if v <= top {
			return v
		}
	}
}
