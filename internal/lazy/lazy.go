// Package lazy makes package variables when they are first used: a benchmark's first request does not wait for the patterns of the
// trace reader.
package lazy

import (
	"os"
	"regexp"
	"strings"
	"sync"
)

// Regexp returns the expression, compiled at the first call. A wrong one panics there; in a test, at once.
func Regexp(expression string) func() *regexp.Regexp {
	if strings.HasSuffix(os.Args[0], ".test") {
		regexp.MustCompile(expression)
	}
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
