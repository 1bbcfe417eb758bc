package trace

import (
	"math"
	"strconv"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// AppendTime appends nanoseconds as the microseconds of a trace: three decimals.
func AppendTime(dst []byte, ns int64) []byte {
	u := uint64(ns)
	if ns < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1000, 10)
	f := u % 1000
	return append(dst, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
}

// Nanoseconds reads a decimal number of microseconds, quoted or not, as whole
// nanoseconds; further decimals are rounded half away from zero. It is false for
// anything that is not a number or does not fit.
func Nanoseconds(raw []byte) (int64, bool) { return decimal(unquoted(raw), 3) }

// Integer reads a whole number, quoted or not. A fraction of zeros is allowed. It is
// false for anything else.
func Integer(raw []byte) (int64, bool) {
	b := unquoted(raw)
	for i, c := range b {
		switch c {
		case '.':
			for _, d := range b[i+1:] {
				if d != '0' {
					return decimalWhole(b)
				}
			}
			return decimal(b, 0)
		case 'e', 'E':
			return decimalWhole(b)
		}
	}
	return decimal(b, 0)
}

// decimalWhole is for numbers with a fraction or an exponent: whole only if scaling by a
// thousand shows no remainder.
func decimalWhole(b []byte) (int64, bool) {
	if n, ok := decimal(b, 3); ok && n%1000 != 0 {
		return 0, false
	}
	return decimal(b, 0)
}

func unquoted(raw []byte) []byte {
	if len(raw) >= 2 && raw[0] == '"' && raw[len(raw)-1] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	for len(raw) > 0 && raw[0] <= ' ' {
		raw = raw[1:]
	}
	for len(raw) > 0 && raw[len(raw)-1] <= ' ' {
		raw = raw[:len(raw)-1]
	}
	return raw
}

// decimal reads b times 10^shift as an integer, rounding half away from zero.
func decimal(b []byte, shift int) (int64, bool) {
	i := 0
	negative := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	var mantissa uint64
	digits, point, seen := 0, false, false
	scale := shift
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' {
			if point {
				return 0, false
			}
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen = true
		if digits >= 19 { // further digits are beyond int64; they only scale
			if !point {
				scale++
			}
			continue
		}
		mantissa = mantissa*10 + uint64(c-'0')
		if mantissa != 0 {
			digits++
		}
		if point {
			scale--
		}
	}
	if !seen {
		return 0, false
	}
	if i < len(b) {
		if b[i] != 'e' && b[i] != 'E' {
			return 0, false
		}
		exp, err := strconv.Atoi(string(b[i+1:]))
		if err != nil || exp > 1000 || exp < -1000 {
			return 0, false
		}
		scale += exp
	}
	if mantissa == 0 {
		return 0, true
	}
	for ; scale > 0; scale-- {
		if mantissa > math.MaxInt64/10 {
			return 0, false
		}
		mantissa *= 10
	}
	if scale < 0 {
		half := false
		for ; scale < 0; scale++ {
			half = mantissa%10 >= 5
			mantissa /= 10
			if mantissa == 0 && scale < -1 {
				half = false
				break
			}
		}
		if half {
			mantissa++
		}
	}
	if mantissa > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(mantissa), true
	}
	return int64(mantissa), true
}
