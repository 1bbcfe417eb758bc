package numpy

import "math"

// Log, Pow and Exp give the last bit that the C library gives on x86-64 with fused
// multiply-add, where math.Log and math.Pow are a bit off once in a few draws. Correct
// rounding would not do either: the C library misses it about once in 1,200.

// Log is the natural logarithm of x.
func Log(x float64) float64 {
	switch {
	case x == 1:
		return 0
	case x == 0, x < 0, math.IsNaN(x), math.IsInf(x, 1):
		return math.Log(x)
	case x >= 1-0x1p-4 && x < 1+0x1.09p-4:
		return logNearOne(x - 1)
	}
	ix := math.Float64bits(x)
	if x < 0x1p-1022 {
		ix = math.Float64bits(x*0x1p52) - 52<<52
	}
	const off = 0x3fe6000000000000
	tmp := ix - off
	c := &logTable[tmp>>45&127]
	k := float64(int64(tmp) >> 52)
	z := math.Float64frombits(ix - tmp&(0xfff<<52))

	r := math.FMA(z, c[0], -1)
	w := math.FMA(k, ln2hi, c[1])
	hi := w + r
	lo := math.FMA(k, ln2lo, w-hi+r)
	r2 := float64(r * r)
	lo = math.FMA(r2, logPoly[0], lo)
	p := math.FMA(math.FMA(r, logPoly[4], logPoly[3]), r2, math.FMA(r, logPoly[2], logPoly[1]))
	return math.FMA(float64(r*r2), p, lo) + hi
}

// logNearOne is log(1+r), where the table would lose digits.
func logNearOne(r float64) float64 {
	b := &logNearOnePoly
	r2 := float64(r * r)
	r3 := float64(r * r2)
	p := math.FMA(r2, b[9], math.FMA(r, b[8], b[7]))
	p = math.FMA(r3, b[10], p)
	p = math.FMA(p, r3, math.FMA(r2, b[6], math.FMA(r, b[5], b[4])))
	p = math.FMA(p, r3, math.FMA(r2, b[3], math.FMA(r, b[2], b[1])))
	high := math.FMA(-0x1p27, r, math.FMA(r, 0x1p27, r))
	low := r - high
	square := float64(high * high)
	hi := math.FMA(square, b[0], r)
	lo := math.FMA(square, b[0], r-hi)
	lo = math.FMA(float64(b[0]*low), r+high, lo)
	return hi + math.FMA(p, r3, lo)
}

// Pow is x to the power of y.
func Pow(x, y float64) float64 {
	ay := math.Abs(y)
	if !(x > 0) || math.IsInf(x, 1) || !(ay > 0x1p-65 && ay < 0x1p63) {
		return math.Pow(x, y) // the result is exact, or the reason for calling is gone
	}
	ix := math.Float64bits(x)
	if x < 0x1p-1022 {
		ix = math.Float64bits(x*0x1p52) - 52<<52
	}
	const off = 0x3fe6955500000000
	tmp := ix - off
	c := &powTable[tmp>>45&127]
	k := float64(int64(tmp) >> 52)
	z := math.Float64frombits(ix - tmp&(0xfff<<52))

	// log(x) = hi + tail
	a := &powPoly
	r := math.FMA(z, c[0], -1)
	t1 := math.FMA(k, ln2hi, c[1])
	t2 := t1 + r
	lo1 := math.FMA(k, ln2lo, c[2])
	lo2 := t1 - t2 + r
	ar := float64(a[0] * r)
	ar2 := float64(r * ar)
	ar3 := float64(r * ar2)
	hi := t2 + ar2
	lo3 := math.FMA(ar, r, -ar2)
	lo4 := t2 - hi + ar2
	p := math.FMA(math.FMA(r, a[6], a[5]), ar2, math.FMA(r, a[4], a[3]))
	p = math.FMA(ar2, p, math.FMA(r, a[2], a[1]))
	lo := math.FMA(ar3, p, lo1+lo2+lo3+lo4)
	log := hi + lo
	tail := hi - log + lo

	ehi := float64(y * log)
	elo := math.FMA(y, tail, math.FMA(y, log, -ehi))
	return expSum(ehi, elo)
}

// Exp is e to the power of x.
func Exp(x float64) float64 {
	if math.IsNaN(x) {
		return x
	}
	return expSum(x, 0)
}

// expSum is exp(x+tail).
func expSum(x, tail float64) float64 {
	top := math.Float64bits(x) >> 52 & 0x7ff
	big := false
	if top-0x3c9 >= 0x3f { // |x| < 2^-54 or |x| >= 512
		switch {
		case top < 0x3c9:
			return 1 + x
		case top >= 0x409 && x < 0:
			return 0
		case top >= 0x409:
			return math.Inf(1)
		}
		big = true
	}
	shifted := math.FMA(x, invLn2N, expShift)
	ki := math.Float64bits(shifted)
	kd := shifted - expShift
	r := math.FMA(kd, negLn2loN, math.FMA(kd, negLn2hiN, x)) + tail
	e := &expTable[ki&127]
	bits := e[1] + ki<<45
	r2 := float64(r * r)
	c := &expPoly
	t := math.FMA(math.FMA(r, c[1], c[0]), r2, r+math.Float64frombits(e[0]))
	t = math.FMA(math.FMA(r, c[3], c[2]), float64(r2*r2), t)
	if !big {
		scale := math.Float64frombits(bits)
		return math.FMA(t, scale, scale)
	}
	if ki&(1<<31) == 0 {
		scale := math.Float64frombits(bits - 1009<<52)
		return 0x1p1009 * math.FMA(scale, t, scale)
	}
	// The result may be subnormal: round once, at its own precision.
	scale := math.Float64frombits(bits + 1022<<52)
	product := float64(t * scale)
	v := scale + product
	if v < 1 {
		lo := scale - v + product
		h := 1 + v
		v = 1 - h + v + lo + h - 1
	}
	return 0x1p-1022 * v
}
