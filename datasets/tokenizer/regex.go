package tokenizer

import "fmt"

// compile makes a finder of a regular expression.
func compile(pattern string) (found, error) {
	if make, ok := knownSplitters[pattern]; ok {
		s := make()
		return found{find: splitterFinder(s), splitter: s}, nil
	}
	return found{}, fmt.Errorf("regular expression %q is not known", pattern)
}
