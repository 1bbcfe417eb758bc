package scenario

import (
	"errors"
	"strings"
)

// split takes a line apart as a POSIX shell would: blanks separate words, quotes and backslashes join them. Nothing is expanded.
func split(line string) (Words, error) {
	var words Words
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("a ' is not closed")
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			inWord = true
		case '"':
			closed := false
			for i++; i < len(line); i++ {
				if line[i] == '"' {
					closed = true
					break
				}
				if line[i] == '\\' && i+1 < len(line) && strings.IndexByte("\"\\$`", line[i+1]) >= 0 {
					i++
				}
				word.WriteByte(line[i])
			}
			if !closed {
				return nil, errors.New(`a " is not closed`)
			}
			inWord = true
		case '\\':
			if i++; i == len(line) {
				return nil, errors.New("the line ends in a backslash")
			}
			if line[i] != '\n' {
				word.WriteByte(line[i])
				inWord = true
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// SplitWords splits a command line as a shell would, quotes respected.
func SplitWords(line string) (Words, error) { return split(line) }
