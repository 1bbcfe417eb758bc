package argparse

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

var errSyntax = errors.New("invalid syntax")

// maxDigits is Python's limit on the digits of a whole number in text.
const maxDigits = 4300

// trimSpace drops the blanks that Python's int() and float() overlook.
func trimSpace(s string) string {
	return strings.TrimFunc(s, unicode.IsSpace)
}

// ParseInt is Python's int(text): an int, or a *big.Int where that does not fit.
func ParseInt(text string) (any, error) {
	text = trimSpace(text)
	unsigned := strings.TrimPrefix(text, "-")
	if unsigned == text {
		unsigned = strings.TrimPrefix(text, "+")
	}
	unsigned, ok := withoutUnderscores(unsigned)
	if !ok || !digits(unsigned) || len(unsigned) > maxDigits {
		return nil, errSyntax
	}
	n, _ := new(big.Int).SetString(unsigned, 10)
	if strings.HasPrefix(text, "-") {
		n.Neg(n)
	}
	return shrink(n), nil
}

// withoutUnderscores drops single underscores between digits.
func withoutUnderscores(s string) (string, bool) {
	if !strings.Contains(s, "_") {
		return s, true
	}
	isDigit := func(i int) bool { return i >= 0 && i < len(s) && s[i] >= '0' && s[i] <= '9' }
	for i := range len(s) {
		if s[i] == '_' && (!isDigit(i-1) || !isDigit(i+1)) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}

func shrink(n *big.Int) any {
	if n.IsInt64() && int64(int(n.Int64())) == n.Int64() {
		return int(n.Int64())
	}
	return n
}

// ParseFloat is Python's float(text): blanks around it, inf, nan and 1e3 are fine.
func ParseFloat(text string) (float64, error) {
	text, ok := withoutUnderscores(trimSpace(text))
	if !ok {
		return 0, errSyntax
	}
	if strings.EqualFold(strings.TrimLeft(text, "+-"), "nan") && len(text) <= 4 {
		return math.NaN(), nil // Go allows it no sign
	}
	// Go also reads hexadecimal numbers, Python does not.
	if strings.ContainsAny(text, "xXpP") {
		return 0, errSyntax
	}
	value, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		return value, nil // an infinity, as in Python
	}
	if err != nil {
		return 0, errSyntax
	}
	return value, nil
}
